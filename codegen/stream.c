/* stream.c: the factors of a product come in chunks of the contracted dimension, while one loop (kernel_matrix.c) multiplies.
 *
 *   start chunks 0 and 1
 *   for every tile:  one loop over chunks, blocks and rows:
 *                            push:      wait for the weights of its chunk, ...
 *                            multiply:  wait for the rows of its chunk, ...
 *                            in a chunk's first iteration: start the next one in the place of the one before
 *
 * What follows a tile's last chunk is the next tile's first, so DRAM does not rest between tiles. Chunks are even in number: chunk c of every tile lies
 * in place c % 2. The queues that bring them carry nothing else meanwhile, so the number of a chunk's transfers follows from its own number. */
#include "emit.h"
#include "matrix.h"

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

/* ---- pieces ------------------------------------------------------------------------------------------------------------------- */

/* What a part of dimension d looks like in an operand's transfer; bytes from one part to the next at both ends. False: its entries do not lie in rows of their own. */
static bool part_along(struct operand *o, int d, int64_t entries, int64_t *sram, int64_t *dram)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++) {
			struct comp *c = &o->comp[i];
			if ((int)c->term[k].dim != d)
				continue;
			if (c->n > 1 || c->guarded || c->term[k].coef < 0 || c->gather >= 0 || entries > c->len)
				return false;
			c->len = entries;
			*sram = entries * c->sram_stride * elem_bytes(o->sram_dtype);
			*dram = entries * c->term[k].coef * c->stride * elem_bytes(o->dtype);
			return true;
		}
	return false;
}

static int64_t block_columns(const struct plan *p)
{
	int64_t cols = p->chip->array_cols, n = p->tile[p->lane], side_by_side = n / cols < p->chip->n_arrays ? n / cols : p->chip->n_arrays;
	return n < cols ? n : cols * side_by_side;
}

static int64_t column_blocks(const struct plan *p)
{
	return p->tile[p->lane] / block_columns(p);
}

/* A queue numbers the pieces of one factor one after the other; none has to wait for room in it. */
static void describe_pieces(struct emit *e, struct stream *s, struct stream_factor *x, uint32_t *used)
{
	const struct plan *p = e->p;
	uint32_t operand = x->chunk.operand, own = e->n_queues - e->n_queues / 2;
	bool rows = (int)operand == p->lhs;
	int64_t n = rows ? s->rows.blocks : column_blocks(p);
	struct operand piece = p->operand[operand];
	uint32_t spare = e->n_queues - own - *used, later = operand == s->factor[0].chunk.operand && s->n > 1;
	if (piece.handed || !s->rows.blocks || !plan_is_flat(p) || n > p->chip->dma_depth || spare <= later)
		return;
	if (!part_along(&piece, rows ? p->row : p->lane, rows ? s->rows.rows : block_columns(p), &x->piece_sram, &x->piece_dram))
		return;
	bool by_row = !rows && !p->transposed && p->tile[p->contract] == p->chip->array_rows && p->chip->n_arrays == 1;
	if (!stream_move_of(e, operand, &piece, spare - later, &x->piece))
		return;
	for (uint32_t k = 0; k < x->piece.n_parts; k++) {
		x->piece.part[k].queue = own + (*used)++;
		if (transfer_queues(e, p->n_ops) >> x->piece.part[k].queue & 1)
			return; /* results leave there */
	}
	x->pieces = n;
	x->piece_by_row = by_row;
}

/* Queues side by side for results: their own and the one behind it, when nobody else uses that. */
static uint32_t result_queues(struct emit *e, const struct stream *s)
{
	uint32_t next = first_queue(e, e->p->n_ops) + 1;
	if (next >= e->n_queues || next == e->n_queues - e->n_queues / 2 || s->n == 0)
		return 1;
	for (uint32_t i = 0; i < e->p->n_ops; i++)
		if (plan_fetches(e->p, i) && !stream_has(s, i) && (transfer_queues(e, i) >> next & 1))
			return 1;
	return transfer_queues(e, e->p->n_ops) >> next & 1 ? 1 : 2;
}

/* Of a block's results on their way. */
static double block_cycles(const struct plan *p, const struct stream *s)
{
	return plan_transfer_cycles(p, &p->operand[p->n_ops]) * (double)s->rows.rows / (double)p->tile[p->row] / (double)column_blocks(p);
}

/* In how many transfers an iteration's results leave, and on how many queues: the last transfer is what a stage ends with. None has to wait for room in its queue. */
static uint32_t result_parts(struct emit *e, const struct stream *s, uint32_t *queues)
{
	const struct plan *p = e->p;
	double each = block_cycles(p, s);
	bool even = s->rows.rows == (int64_t)s->rows.groups * p->chip->sublanes; /* else parts of whole groups differ */
	uint32_t parts = p->n_loops || p->eased || !even ? 1 : MOST_RESULT_PARTS, most = result_queues(e, s); /* between tiles, chunks and results meet: fewer transfers then */
	for (; parts > 1; parts /= 2)
		for (*queues = 1; *queues <= most; ++*queues)
			if (s->rows.groups % parts == 0 && p->chip->dram_latency / (each / parts) + 2 <= (double)(p->chip->dma_depth * *queues))
				return parts;
	*queues = 1;
	return 1;
}

static void describe_results(struct emit *e, struct stream *s)
{
	const struct plan *p = e->p;
	struct operand piece = p->operand[p->n_ops];
	int64_t columns;
	if (piece.direct || piece.start || !s->rows.blocks || s->rows.apart || !plan_is_flat(p))
		return;
	if (block_cycles(p, s) * p->chip->rate_num[p->array] > (double)(s->rows.rows * p->chip->rate_den[p->array]))
		return; /* they would hold the loop up */
	for (uint32_t l = 0; l < p->n_loops; l++)
		if (p->extent[p->loop_order[l]] % p->tile[p->loop_order[l]])
			return; /* tiles overlap: the last one must not be on its way before the others have arrived */
	uint32_t queues, parts = result_parts(e, s, &queues);
	if (!part_along(&piece, p->row, s->rows.rows / parts, &s->part_sram, &s->part_dram) || !part_along(&piece, p->lane, block_columns(p), &columns, &s->result_cols) ||
	    !stream_move_of(e, p->n_ops, &piece, 1, &s->result))
		return;
	s->results = parts;
	s->result_rows = parts * (s->part_dram - s->part_sram);
	s->result_cols -= columns;
	s->result.n_parts = queues;
	for (uint32_t i = 0; i < s->result.n_parts; i++)
		s->result.part[i] = (struct stream_part){ .queue = first_queue(e, p->n_ops) + i, .desc = s->result.part[0].desc };
}

void stream_describe(struct emit *e, struct stream *s)
{
	const struct plan *p = e->p;
	const int factor[] = { p->lhs, p->rhs };
	uint32_t own = e->n_queues - e->n_queues / 2, next = 0, used = 0;
	*s = (struct stream){ .chunks = p->chunks, .n_queues = stream_queues(p, own) };
	kernel_matrix_rows(e->f, e->p, e->unroll, &s->rows);
	for (size_t i = 0; i < TG_ARRAY_LEN(factor); i++) {
		if (!comes(p, factor[i]))
			continue;
		struct stream_factor *x = &s->factor[s->n++];
		x->step = chunk_step(p, &p->operand[factor[i]]);
		if (!stream_move_of(e, (uint32_t)factor[i], &p->operand[factor[i]], own, &x->chunk))
			e->failed = "its transfers change from tile to tile";
		for (uint32_t k = 0; k < x->chunk.n_parts; k++) {
			x->chunk.part[k].queue = next++ % s->n_queues;
			s->starts[x->chunk.part[k].queue]++;
		}
	}
	for (uint32_t i = 0; i < s->n; i++)
		describe_pieces(e, s, &s->factor[i], &used);
	describe_results(e, s);
}

static const struct stream_factor *factor_of(const struct stream *s, uint32_t operand)
{
	for (uint32_t i = 0; s && i < s->n; i++)
		if (s->factor[i].chunk.operand == operand)
			return &s->factor[i];
	return NULL;
}

bool stream_has(const struct stream *s, uint32_t operand)
{
	return factor_of(s, operand) != NULL;
}

bool stream_in_pieces(const struct stream *s, uint32_t operand)
{
	const struct stream_factor *x = factor_of(s, operand);
	return x && x->pieces;
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

static uint32_t result_slot(const struct plan *p, uint32_t part)
{
	return (part ? SLOT_NOW : SLOT_NEXT) + (uint32_t)p->contract;
}

/* A move from `sram` and `dram` bytes behind the operand's first place and the first tile's image. Numbers by part. */
static void start_move(struct emit *e, const struct stream_move *m, vreg from, int64_t sram, int64_t dram, vreg when, vreg *number)
{
	const struct operand *o = &e->p->operand[m->operand];
	for (uint32_t k = 0; k < m->n_parts; k++) {
		vreg desc = m_const(&e->at, m->part[k].desc), to = m_const(&e->at, (int64_t)o->sram + sram + m->part[k].sram), at = from;
		if (dram + m->part[k].dram)
			at = plus(e, from, dram + m->part[k].dram);
		number[k] = sreg(e);
		e->at.pred = when;
		EMIT(&e->at, dma_start, R(number[k]), m->part[k].queue, R(desc), R(at), R(to));
		e->at.pred = (vreg){ 0 };
	}
}

/* The number that a piece is waited for with is this less what the loop's counter has left. */
static void start_piece(struct emit *e, const struct stream_factor *x, int64_t i, vreg from)
{
	vreg number[MAX_STREAM_PARTS];
	start_move(e, &x->piece, from, i * x->piece_sram, i * x->piece_dram, (vreg){ 0 }, number);
	for (uint32_t k = 0; k < x->piece.n_parts && i == x->pieces - 1; k++)
		frame_store(e, SLOT_STORED + x->piece.part[k].queue, plus(e, number[k], 1));
}

/* Pieces in the order in which the loop comes to them: rows follow each other, columns when the rows before are through. */
static void start_pieces(struct emit *e, const vreg *from)
{
	const struct stream *s = e->stream;
	int64_t done[MAX_FACTORS] = { 0 }, lead = e->p->chip->array_rows / e->p->chip->push_rows_per_cycle;
	for (;;) {
		uint32_t pick = MAX_FACTORS;
		int64_t least = INT64_MAX;
		for (uint32_t i = 0; i < s->n; i++) {
			const struct stream_factor *x = &s->factor[i];
			int64_t each = (int)x->chunk.operand == e->p->lhs ? s->rows.rows : s->rows.rows * s->rows.blocks, when = done[i] * each - (each > s->rows.rows || s->rows.blocks == 1 ? lead : 0);
			if (done[i] < x->pieces && when < least) {
				least = when;
				pick = i;
			}
		}
		if (pick == MAX_FACTORS)
			return;
		start_piece(e, &s->factor[pick], done[pick]++, from[pick]);
	}
}

/* Chunk 0 of the first tile where it comes in pieces, and chunk 1. Its numbers tell those of all that follow. */
void stream_begin(struct emit *e)
{
	const struct stream *s = e->stream;
	vreg from[MAX_FACTORS], number[MAX_STREAM_PARTS];
	for (uint32_t i = 0; i < s->n; i++)
		from[i] = transfer_dram(e, s->factor[i].chunk.operand);
	start_pieces(e, from);
	for (uint32_t i = 0; i < s->n; i++) {
		const struct stream_factor *x = &s->factor[i];
		start_move(e, &x->chunk, from[i], e->p->operand[x->chunk.operand].place_step, x->step, (vreg){ 0 }, number);
		for (uint32_t k = 0; k < x->chunk.n_parts; k++) /* the queue's last one counts */
			frame_store(e, SLOT_STREAM + STREAM_NUMBER + x->chunk.part[k].queue, plus(e, number[k], -s->starts[x->chunk.part[k].queue]));
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
		frame_store(e, SLOT_PLACE + x->chunk.operand, plus(e, transfer_dram(e, x->chunk.operand), x->step));
		if (e->p->n_loops) {
			e->where = AT_NEXT;
			frame_store(e, SLOT_NEXT_PLACE + x->chunk.operand, plus(e, transfer_dram(e, x->chunk.operand), (1 - s->chunks) * x->step));
			e->where = was;
		}
	}
	if (s->results) {
		int64_t rows = s->rows.blocks > 1 ? s->rows.blocks * s->result_rows : 0, blocks = column_blocks(e->p);
		const struct operand *o = &e->p->operand[e->p->n_ops];
		vreg far = plus(e, transfer_dram(e, e->p->n_ops), rows + (blocks > 1 ? blocks * s->result_cols : 0) - (int64_t)o->sram);
		if (o->places > 1) {
			vreg from = sreg(e);
			EMIT(&e->at, ssub, R(from), R(far), R(frame_load(e, SLOT_PLACE + e->p->n_ops)));
			far = from;
		}
		frame_store(e, SLOT_NEXT_PLACE + e->p->n_ops, far);
	}
	vreg fewer = sreg(e);
	EMIT(&e->at, smuli, R(fewer), R(none), -1);
	frame_store(e, SLOT_STREAM + STREAM_LIMIT, plus(e, fewer, s->chunks));
}

uint64_t stream_result_queues(const struct stream *s)
{
	uint64_t queues = 0;
	for (uint32_t i = 0; s && s->results && i < s->result.n_parts; i++)
		queues |= UINT64_C(1) << s->result.part[i].queue;
	return queues;
}

void stream_left(struct emit *e, struct started *r)
{
	r->n = e->stream->result.n_parts;
	for (uint32_t i = 0; i < r->n; i++) {
		r->queue[i] = e->stream->result.part[i].queue;
		r->number[i] = frame_load(e, result_slot(e->p, i));
	}
}

/* Behind it: the next tile's chunk 1. */
void stream_tile_end(struct emit *e)
{
	const struct stream *s = e->stream;
	enum tile_at was = e->where;
	vreg number[MAX_STREAM_PARTS], follows = mreg(e->f, CLASS_P);
	EMIT(&e->at, peqi, R(follows), R(frame_load(e, SLOT_STREAM + STREAM_LIMIT)), s->chunks);
	e->where = AT_NEXT;
	for (uint32_t i = 0; i < s->n && e->p->n_loops; i++)
		start_move(e, &s->factor[i].chunk, transfer_dram(e, s->factor[i].chunk.operand), e->p->operand[s->factor[i].chunk.operand].place_step, s->factor[i].step, follows, number);
	e->where = was;
	for (uint32_t q = 0; q < s->n_queues; q++)
		if (s->starts[q])
			frame_store(e, SLOT_STREAM + STREAM_NUMBER + q, plus(e, frame_load(e, SLOT_STREAM + STREAM_NUMBER + q), s->chunks * s->starts[q]));
}

/* ---- in the loop ------------------------------------------------------------------------------------------------------------------ */

static vreg kreg(struct kernel *k)
{
	return mreg(k->f, CLASS_S);
}

static vreg sum(struct kernel *k, vreg a, vreg b)
{
	vreg r = kreg(k);
	EMIT(&k->at, sadd, R(r), R(a), R(b));
	return r;
}

static vreg slot(struct kernel *k, uint32_t number)
{
	vreg r = kreg(k);
	k->at.mem = FRAME_MEM;
	EMIT(&k->at, sld64, R(r), 0, 8 * (int64_t)number);
	k->at.mem = MEM_NONE;
	return r;
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
	for (uint32_t i = 0; i < x->chunk.n_parts; i++) {
		uint32_t q = x->chunk.part[i].queue;
		if (done >> q & 1)
			continue;
		done |= UINT64_C(1) << q;
		vreg base = slot(k, SLOT_STREAM + STREAM_NUMBER + q), by = chunk;
		if (k->stream->starts[q] > 1) {
			by = kreg(k);
			EMIT(&k->at, smuli, R(by), R(chunk), k->stream->starts[q]);
		}
		vreg number = sum(k, base, by);
		k->at.mem = k->p->operand[x->chunk.operand].mem;
		EMIT(&k->at, dma_wait, q, R(number));
		k->at.mem = MEM_NONE;
	}
}

/* After the first chunk of the first tile the pieces have come. */
static void wait_for_piece(struct kernel *k, struct walker *w, const struct stream_factor *x, int level, int64_t from, int64_t until)
{
	for (uint32_t i = 0; i < x->piece.n_parts && x->pieces; i++) {
		if (x->piece.part[i].sram < from || x->piece.part[i].sram >= until)
			continue;
		vreg number = kreg(k), end = slot(k, SLOT_STORED + x->piece.part[i].queue);
		if (level >= 0) {
			w->asked[level] = true;
			EMIT(&k->at, ssub, R(number), R(end), R(w->left[level]));
		} else {
			EMIT(&k->at, saddi, R(number), R(end), -1);
		}
		k->at.mem = k->p->operand[x->chunk.operand].mem;
		EMIT(&k->at, dma_wait, x->piece.part[i].queue, R(number));
		k->at.mem = MEM_NONE;
	}
}

/* Where the walker's iteration finds an operand, in chunk 0: counters that are there anyway, as a register that follows them would be one too many. */
static vreg address(struct kernel *k, struct walker *w, const struct flat *f, const int *level, uint32_t operand)
{
	const struct operand *o = &k->p->operand[operand];
	int64_t elem = elem_bytes(o->sram_dtype), base = (int64_t)o->sram + o->start * elem;
	vreg at = { 0 };
	for (uint32_t i = 0; i < f->n; i++) {
		int64_t step = f->level[i].dim == CHUNK_DIM || level[i] < 0 ? 0 : k->dim[f->level[i].dim].step[operand] * elem * f->level[i].block;
		if (!step)
			continue;
		vreg back = kreg(k);
		w->asked[level[i]] = true;
		EMIT(&k->at, smuli, R(back), R(w->left[level[i]]), -step);
		at = at.id ? sum(k, at, back) : back;
		base += f->level[i].count * step;
	}
	vreg r = kreg(k);
	EMIT(&k->at, saddi, R(r), R(at), base);
	return r;
}

vreg stream_number(struct kernel *k, struct walker *w, const struct flat *f, const int *level, int64_t unit)
{
	int64_t radix = unit, base = 0;
	vreg at = { 0 }, r = kreg(k);
	for (uint32_t i = 0; i < f->n; i++) {
		if (f->level[i].role != ROLE_M && f->level[i].role != ROLE_N)
			continue;
		if (level[i] >= 0) {
			vreg back = kreg(k);
			w->asked[level[i]] = true;
			EMIT(&k->at, smuli, R(back), R(w->left[level[i]]), -radix);
			at = at.id ? sum(k, at, back) : back;
			base += f->level[i].count * radix;
		}
		radix *= f->level[i].count;
	}
	EMIT(&k->at, saddi, R(r), R(at), base);
	return r;
}

vreg stream_place(struct kernel *k, struct walker *w, struct flat *f, const int *level, vreg chunk, uint32_t operand, const struct cut *cut)
{
	const struct stream_factor *x = factor_of(k->stream, operand);
	const struct operand *o = &k->p->operand[operand];
	int64_t step = o->step[k->p->contract] * k->p->tile[k->p->contract] * (int64_t)elem_bytes(o->sram_dtype); /* worked on where it lives */
	vreg first = { 0 }, odd = chunk, by = kreg(k);
	if (x && !w->overlaps) {
		first = address(k, w, f, level, operand);
	} else {
		struct follower *r = matrix_follow(k, w, f, level, operand, cut);
		first = r ? r->reg : first;
	}
	if (x) {
		wait_for_piece(k, w, x, level_of_role(f, level, cut ? ROLE_M : ROLE_N), 0, x->piece_by_row ? 1 : INT64_MAX);
		wait_for(k, chunk, x);
		odd = kreg(k);
		EMIT(&k->at, sandi, R(odd), R(chunk), 1);
		step = o->place_step;
	}
	EMIT(&k->at, smuli, R(by), R(odd), step);
	return sum(k, first, by);
}

void stream_weights(struct kernel *k, struct walker *w, int level, int64_t from, int64_t until)
{
	const struct stream_factor *x = k->stream ? factor_of(k->stream, (uint32_t)k->p->rhs) : NULL;
	if (x && x->piece_by_row)
		wait_for_piece(k, w, x, level, from > 1 ? from : 1, until);
}

/* other: 1 where the chunk to start is the next tile's, else 0. */
static void start_factor(struct kernel *k, uint32_t i, vreg chunk, vreg odd, vreg other, vreg when)
{
	const struct stream_factor *x = &k->stream->factor[i];
	const struct operand *o = &k->p->operand[x->chunk.operand];
	vreg by = kreg(k), place = kreg(k), dram = kreg(k), base = kreg(k), row = { 0 };
	if (other.id) {
		row = kreg(k);
		EMIT(&k->at, smuli, R(row), R(other), 8 * (SLOT_NEXT_PLACE - SLOT_PLACE));
	}
	k->at.mem = FRAME_MEM;
	EMIT(&k->at, sld64, R(base), R(row), 8 * (int64_t)(SLOT_PLACE + x->chunk.operand));
	k->at.mem = MEM_NONE;
	EMIT(&k->at, smuli, R(by), R(chunk), x->step);
	EMIT(&k->at, sadd, R(dram), R(base), R(by));
	EMIT(&k->at, smuli, R(place), R(odd), -o->place_step);
	for (uint32_t part = 0; part < x->chunk.n_parts; part++) {
		vreg desc = m_const(&k->at, x->chunk.part[part].desc), from = dram, to = kreg(k);
		EMIT(&k->at, saddi, R(to), R(place), (int64_t)o->sram + o->place_step + x->chunk.part[part].sram);
		if (x->chunk.part[part].dram) {
			from = kreg(k);
			EMIT(&k->at, saddi, R(from), R(dram), x->chunk.part[part].dram);
		}
		k->at.pred = when;
		k->at.mem = o->mem;
		EMIT(&k->at, dma_start, 0, x->chunk.part[part].queue, R(desc), R(from), R(to));
		k->at.mem = MEM_NONE;
		k->at.pred = (vreg){ 0 };
	}
}

/* Predicates are rare: conditions are numbers that are largest where they hold, and it is their sum that is compared. Chunk 1 has been started in front of the
 * loop, and behind the last tile's last chunk there is none. */
void stream_start_part(struct kernel *k, struct flat *f, struct walker *w, const int *level, vreg chunk)
{
	vreg when = mreg(k->f, CLASS_P), left = kreg(k), may = kreg(k), all = kreg(k), odd = kreg(k), other = { 0 };
	int64_t most = 2;
	EMIT(&k->at, ssub, R(left), R(slot(k, SLOT_STREAM + STREAM_LIMIT)), R(chunk));
	EMIT(&k->at, smini, R(may), R(left), 1);
	EMIT(&k->at, smini, R(all), R(chunk), 1);
	all = sum(k, all, may);
	for (uint32_t i = 0; i < f->n; i++) {
		if (f->level[i].dim == CHUNK_DIM || level[i] < 0)
			continue;
		w->asked[level[i]] = true;
		all = sum(k, all, w->left[level[i]]);
		most += f->level[i].count;
	}
	EMIT(&k->at, peqi, R(when), R(all), most);
	EMIT(&k->at, sandi, R(odd), R(chunk), 1);
	if (k->p->n_loops) {
		vreg from = kreg(k);
		other = kreg(k);
		EMIT(&k->at, saddi, R(from), R(chunk), 2 - k->stream->chunks);
		EMIT(&k->at, smaxi, R(other), R(from), 0);
	}
	for (uint32_t i = 0; i < k->stream->n; i++)
		start_factor(k, i, chunk, odd, other, when);
}

vreg stream_results(struct kernel *k, struct flat *f, struct walker *w, const int *level)
{
	const struct stream *s = k->stream;
	const struct { int level; int64_t step; } moves[] = { { level_of_role(f, level, ROLE_M), s->result_rows }, { level_of_role(f, level, ROLE_N), s->result_cols } };
	vreg to = sum(k, k->ptr[k->p->n_ops], slot(k, SLOT_NEXT_PLACE + k->p->n_ops));
	for (size_t i = 0; i < TG_ARRAY_LEN(moves); i++) {
		if (moves[i].level < 0 || !moves[i].step)
			continue;
		vreg back = kreg(k), less = kreg(k);
		w->asked[moves[i].level] = true;
		EMIT(&k->at, smuli, R(back), R(w->left[moves[i].level]), moves[i].step);
		EMIT(&k->at, ssub, R(less), R(to), R(back));
		to = less;
	}
	return to;
}

void stream_result(struct kernel *k, vreg when, vreg first, uint32_t part)
{
	const struct stream *s = k->stream;
	const struct stream_part *x = &s->result.part[part % s->result.n_parts];
	vreg desc = m_const(&k->at, x->desc), number = kreg(k), from = k->ptr[k->p->n_ops], to = first;
	if (part) {
		from = kreg(k);
		to = kreg(k);
		EMIT(&k->at, saddi, R(from), R(k->ptr[k->p->n_ops]), part * s->part_sram);
		EMIT(&k->at, saddi, R(to), R(first), part * s->part_dram);
	}
	k->at.pred = when;
	k->at.mem = k->p->operand[k->p->n_ops].mem;
	EMIT(&k->at, dma_start, R(number), x->queue, R(desc), R(from), R(to))->fresh = true;
	k->at.mem = RESULT_MEM;
	if (part + s->result.n_parts >= s->results)
		EMIT(&k->at, sst64, R(number), 0, 8 * (int64_t)(result_slot(k->p, part % s->result.n_parts)));
	k->at.mem = MEM_NONE;
	k->at.pred = (vreg){ 0 };
}
