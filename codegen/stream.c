/* stream.c: the factors of a product come in chunks of the contracted dimension, while one loop (kernel_matrix.c) multiplies.
 *
 *   start chunks 0 and 1
 *   for every tile:  one loop over chunks, blocks and rows:
 *                            push:      wait for the weights of its chunk, ...
 *                            multiply:  wait for the rows of its chunk, ...
 *                            in a chunk's last iteration: start the chunk after the next in the place of this one
 *
 * The chunks that follow a tile's last one are the next tile's first, so DRAM does not rest between tiles. Chunks are even in number: chunk c of every tile lies
 * in place c % 2. The queues that bring them carry nothing else meanwhile, so the number of a chunk's transfers follows from its own number. */
#include "emit.h"
#include "matrix.h"

#include <assert.h>

/* ---- which transfers ---------------------------------------------------------------------------------------------------------- */

static bool comes(const struct plan *p, int operand)
{
	return operand >= 0 && plan_fetches(p, (uint32_t)operand);
}

uint32_t stream_queues(const struct plan *p, uint32_t own)
{
	uint32_t n = 0;
	const int factor[] = { p->lhs, p->rhs };
	for (size_t i = 0; i < TG_ARRAY_LEN(factor) && p->chunks; i++)
		n += comes(p, factor[i]) ? plan_transfer_parts(p, &p->operand[factor[i]]) : 0;
	return n < own ? n : own;
}

/* Bytes between chunks at the far end. */
static int64_t chunk_step(const struct plan *p, const struct operand *o)
{
	int64_t elems = 0;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if ((int)o->comp[i].term[k].dim == p->contract)
				elems += o->comp[i].term[k].coef * o->comp[i].stride;
	return elems * p->tile[p->contract] * elem_bytes(o->dtype);
}

void stream_describe(struct emit *e, struct stream *s)
{
	const struct plan *p = e->p;
	const int factor[] = { p->lhs, p->rhs };
	uint32_t ahead = e->n_queues / 2, next = 0;
	*s = (struct stream){ .chunks = p->chunks, .n_queues = stream_queues(p, e->n_queues - ahead) };
	for (size_t i = 0; i < TG_ARRAY_LEN(factor); i++) {
		if (!comes(p, factor[i]))
			continue;
		struct stream_factor *x = &s->factor[s->n++];
		x->operand = (uint32_t)factor[i];
		x->step = chunk_step(p, &p->operand[factor[i]]);
		stream_part_list(e, x->operand, x);
		for (uint32_t k = 0; k < x->n_parts; k++) {
			x->part[k].queue = next++ % s->n_queues;
			s->starts[x->part[k].queue]++;
		}
	}
}

bool stream_has(const struct stream *s, uint32_t operand)
{
	for (uint32_t i = 0; s && i < s->n; i++)
		if (s->factor[i].operand == operand)
			return true;
	return false;
}

/* ---- around the loop ------------------------------------------------------------------------------------------------------------- */

static vreg sreg(struct emit *e)
{
	return mreg(e->f, CLASS_S);
}

static vreg plus(struct emit *e, vreg a, int64_t by)
{
	vreg r = sreg(e);
	EMIT(&e->at, saddi, R(r), R(a), by);
	return r;
}

/* Chunk 1 of the first tile. Its numbers tell those of all that follow. */
void stream_begin(struct emit *e)
{
	const struct stream *s = e->stream;
	for (uint32_t i = 0; i < s->n; i++) {
		const struct stream_factor *x = &s->factor[i];
		const struct operand *o = &e->p->operand[x->operand];
		vreg dram = transfer_dram(e, x->operand);
		for (uint32_t k = 0; k < x->n_parts; k++) {
			vreg desc = m_const(&e->at, x->part[k].desc), sram = m_const(&e->at, (int64_t)o->sram + o->place_step + x->part[k].sram), number = sreg(e);
			vreg from = plus(e, dram, x->step + x->part[k].dram);
			EMIT(&e->at, dma_start, R(number), x->part[k].queue, R(desc), R(from), R(sram));
			frame_store(e, SLOT_STREAM + STREAM_NUMBER + x->part[k].queue, plus(e, number, -s->starts[x->part[k].queue])); /* the queue's last one counts */
		}
	}
}

/* In front of a tile's loop. none: 1 when no tile follows, else 0. */
void stream_tile(struct emit *e, vreg none)
{
	const struct stream *s = e->stream;
	enum tile_at was = e->where;
	_Static_assert(MAX_STREAM_QUEUES >= MAX_QUEUES - MAX_QUEUES / 2, "a slot for each queue");
	for (uint32_t i = 0; i < s->n; i++) {
		const struct stream_factor *x = &s->factor[i];
		frame_store(e, SLOT_PLACE + x->operand, plus(e, transfer_dram(e, x->operand), 2 * x->step));
		if (e->p->n_loops) {
			e->where = AT_NEXT;
			frame_store(e, SLOT_NEXT_PLACE + x->operand, plus(e, transfer_dram(e, x->operand), (2 - s->chunks) * x->step));
			e->where = was;
		}
	}
	vreg fewer = sreg(e);
	EMIT(&e->at, smuli, R(fewer), R(none), -2);
	frame_store(e, SLOT_STREAM + STREAM_LIMIT, plus(e, fewer, s->chunks));
}

/* Behind it. */
void stream_tile_end(struct emit *e)
{
	const struct stream *s = e->stream;
	for (uint32_t q = 0; q < s->n_queues; q++)
		if (s->starts[q])
			frame_store(e, SLOT_STREAM + STREAM_NUMBER + q, plus(e, frame_load(e, SLOT_STREAM + STREAM_NUMBER + q), s->chunks * s->starts[q]));
}

/* ---- in the loop ------------------------------------------------------------------------------------------------------------------ */

static vreg kreg(struct kernel *k)
{
	return mreg(k->f, CLASS_S);
}

static vreg slot(struct kernel *k, uint32_t number)
{
	vreg r = kreg(k);
	k->at.mem = FRAME_MEM;
	EMIT(&k->at, sld64, R(r), 0, 8 * (int64_t)number);
	k->at.mem = MEM_NONE;
	return r;
}

static const struct stream_factor *factor_of(const struct stream *s, uint32_t operand)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->factor[i].operand == operand)
			return &s->factor[i];
	return NULL;
}

vreg stream_chunk(struct kernel *k, struct walker *w, struct flat *f, const int *level)
{
	struct follower *chunk = walker_follow(k, w, &f->before, (vreg){ 0 }, 0);
	for (uint32_t i = 0; chunk && i < f->n; i++)
		if (f->level[i].dim == CHUNK_DIM)
			chunk->step[level[i]] = 1;
	return chunk ? chunk->reg : (vreg){ 0 };
}

static void wait_for(struct kernel *k, vreg chunk, const struct stream_factor *x)
{
	uint64_t done = 0;
	for (uint32_t i = 0; i < x->n_parts; i++) {
		uint32_t q = x->part[i].queue;
		if (done >> q & 1)
			continue;
		done |= UINT64_C(1) << q;
		vreg base = slot(k, SLOT_STREAM + STREAM_NUMBER + q), by = kreg(k), number = kreg(k);
		EMIT(&k->at, smuli, R(by), R(chunk), k->stream->starts[q]);
		EMIT(&k->at, sadd, R(number), R(base), R(by));
		k->at.mem = k->p->operand[x->operand].mem;
		EMIT(&k->at, dma_wait, q, R(number));
		k->at.mem = MEM_NONE;
	}
}

vreg stream_place(struct kernel *k, vreg chunk, uint32_t operand, vreg first)
{
	const struct stream_factor *x = factor_of(k->stream, operand);
	const struct operand *o = &k->p->operand[operand];
	vreg odd = chunk, by = kreg(k), at = kreg(k);
	int64_t step = o->step[k->p->contract] * k->p->tile[k->p->contract] * (int64_t)elem_bytes(o->sram_dtype); /* worked on where it lives */
	if (x) {
		wait_for(k, chunk, x);
		odd = kreg(k);
		EMIT(&k->at, sandi, R(odd), R(chunk), 1);
		step = o->place_step;
	}
	EMIT(&k->at, smuli, R(by), R(odd), step);
	EMIT(&k->at, sadd, R(at), R(first), R(by));
	return at;
}

static void start_factor(struct kernel *k, uint32_t i, vreg chunk, vreg odd, vreg here, vreg when)
{
	const struct stream_factor *x = &k->stream->factor[i];
	const struct operand *o = &k->p->operand[x->operand];
	vreg by = kreg(k), place = kreg(k), dram = kreg(k);
	vreg base = slot(k, (k->p->n_loops ? SLOT_NEXT_PLACE : SLOT_PLACE) + x->operand);
	if (k->p->n_loops) {
		k->at.pred = here;
		k->at.mem = FRAME_MEM;
		EMIT(&k->at, sld64, R(base), 0, 8 * (int64_t)(SLOT_PLACE + x->operand));
		k->at.mem = MEM_NONE;
		k->at.pred = (vreg){ 0 };
	}
	EMIT(&k->at, smuli, R(by), R(chunk), x->step);
	EMIT(&k->at, sadd, R(dram), R(base), R(by));
	EMIT(&k->at, smuli, R(place), R(odd), o->place_step);
	for (uint32_t part = 0; part < x->n_parts; part++) {
		vreg desc = m_const(&k->at, x->part[part].desc), from = dram, to = kreg(k);
		EMIT(&k->at, saddi, R(to), R(place), (int64_t)o->sram + x->part[part].sram);
		if (x->part[part].dram) {
			from = kreg(k);
			EMIT(&k->at, saddi, R(from), R(dram), x->part[part].dram);
		}
		k->at.pred = when;
		k->at.mem = o->mem;
		EMIT(&k->at, dma_start, 0, x->part[part].queue, R(desc), R(from), R(to));
		k->at.mem = MEM_NONE;
		k->at.pred = (vreg){ 0 };
	}
}

void stream_start_part(struct kernel *k, struct flat *f, struct walker *w, const int *level, vreg chunk)
{
	vreg when = mreg(k->f, CLASS_P), here = mreg(k->f, CLASS_P), odd = kreg(k);
	EMIT(&k->at, plt, R(when), R(chunk), R(slot(k, SLOT_STREAM + STREAM_LIMIT)));
	for (uint32_t i = 0; i < f->n; i++) {
		if (f->level[i].dim == CHUNK_DIM || level[i] < 0)
			continue;
		vreg last = walker_at_last(w, &k->at, level[i]), both = mreg(k->f, CLASS_P);
		EMIT(&k->at, pand, R(both), R(when), R(last));
		when = both;
	}
	EMIT(&k->at, plti, R(here), R(chunk), k->stream->chunks - 2);
	EMIT(&k->at, sandi, R(odd), R(chunk), 1);
	for (uint32_t i = 0; i < k->stream->n; i++)
		start_factor(k, i, chunk, odd, here, when);
}
