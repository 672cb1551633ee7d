/* emit_stage.c: loops over tiles, DMA, and the kernel inside.
 *
 *   for every tile of the outer dimensions:        (software loops; the tile's start lives in a frame in SRAM)
 *     fetch the images that depend on it           (each image at the innermost loop that moves it)
 *     for every reduction tile: fetch, accumulate
 *     finish, send the output image out
 *
 * The last tile of a parallel dimension starts at extent - tile: it overlaps its neighbour instead of being smaller, so tiles have one shape and the
 * overlap is written twice with the same bytes. The last tile of a reduction reaches beyond the end; there DMA fills, and the vector path masks. */
#include "kernel.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

struct emit {
	struct mfn *f;
	struct plan *p;
	struct descriptors *descs;
	struct mcursor at;
	uint64_t frame;       /* SRAM: tile starts, 8 bytes each */
	uint64_t desc_sram;   /* SRAM: descriptors that are changed at run time */
	uint32_t n_dynamic;
	bool tiled[MAX_DIMS];
	uint32_t unroll, queue;
	const char *failed;
};
/* One dimension of a transfer. */
struct side { int64_t size, sram, dram; const struct comp *comp; uint32_t limit_dim; bool guarded; };

enum { FRAME_MEM = 1 };
_Static_assert(FRAME_MEM < 2, "operands' buffers are numbered from 2");

static vreg sreg(struct emit *e)
{
	return mreg(e->f, CLASS_S);
}

/* Start of the present tile in dimension d. */
static vreg coordinate(struct emit *e, uint32_t d)
{
	if (!e->tiled[d])
		return (vreg){ 0 };
	vreg r = sreg(e);
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sld64, R(r), 0, (int64_t)(e->frame + 8 * d));
	e->at.mem = MEM_NONE;
	return r;
}

/* base + sum over tiled dimensions of coordinate * coef[d] */
static vreg affine(struct emit *e, int64_t base, const int64_t *coef)
{
	vreg r = sreg(e);
	EMIT(&e->at, smov, R(r), base);
	for (uint32_t d = 0; d < e->p->n_dims; d++) {
		if (!coef[d] || !e->tiled[d])
			continue;
		vreg part = sreg(e), sum = sreg(e);
		EMIT(&e->at, smuli, R(part), R(coordinate(e, d)), coef[d]);
		EMIT(&e->at, sadd, R(sum), R(r), R(part));
		r = sum;
	}
	return r;
}

/* Index of the image's first entry at tile start 0, and how it moves with the tile. */
static int64_t origin(const struct plan *p, const struct comp *c, int64_t *move)
{
	int64_t at = c->offset;
	memset(move, 0, MAX_DIMS * sizeof *move);
	for (uint32_t i = 0; c->gather < 0 && i < c->n; i++) {
		move[c->term[i].dim] += c->term[i].coef;
		if (c->n > 1 && c->term[i].coef < 0)
			at += c->term[i].coef * (p->tile[c->term[i].dim] - 1);
	}
	return at;
}

/* Address in DRAM of the image's first entry. */
static vreg dram_base(struct emit *e, const struct operand *o)
{
	int64_t base = o->base, coef[MAX_DIMS] = { 0 }, bytes = elem_bytes(o->dtype);
	for (uint32_t i = 0; i < o->n_comps; i++) {
		int64_t move[MAX_DIMS];
		if (o->comp[i].gather >= 0)
			continue;
		base += origin(e->p, &o->comp[i], move) * o->comp[i].stride;
		for (uint32_t d = 0; d < e->p->n_dims; d++)
			coef[d] += move[d] * o->comp[i].stride * bytes;
	}
	return affine(e, TG_DRAM_BASE + (int64_t)o->dram + base * bytes, coef);
}

/* ---- the dimensions of a transfer ------------------------------------------------------------------------------------------- */

static bool ragged(const struct plan *p, uint32_t d)
{
	return is_reduction(p, d) && p->extent[d] % p->tile[d] != 0;
}

static uint32_t transfer_sides(struct emit *e, const struct operand *o, struct side *s)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < o->n_comps; i++) {
		const struct comp *c = &o->comp[i];
		if (c->gather >= 0)
			continue;
		struct side one = { c->len, c->sram_stride, c->stride, c, UINT32_MAX, c->guarded };
		if (c->n == 1) {
			one.dram *= c->term[0].coef;
			if (ragged(e->p, c->term[0].dim)) {
				one.limit_dim = c->term[0].dim;
				one.guarded = true;
			}
		}
		for (uint32_t k = 0; c->n > 1 && k < c->n; k++)
			one.guarded |= ragged(e->p, c->term[k].dim); /* the last tile's window may reach past the tensor */
		s[n++] = one;
	}
	/* outermost (largest stride in DRAM) first */
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t k = i; k > 0; k--) {
			int64_t a = s[k - 1].dram < 0 ? -s[k - 1].dram : s[k - 1].dram, b = s[k].dram < 0 ? -s[k].dram : s[k].dram;
			if (a >= b)
				break;
			struct side t = s[k];
			s[k] = s[k - 1];
			s[k - 1] = t;
		}
	return n;
}

static uint32_t merge_sides(struct side *s, uint32_t n)
{
	for (uint32_t i = 0; i + 1 < n;) {
		struct side *a = &s[i], *b = &s[i + 1];
		bool one = !a->guarded && !b->guarded && a->dram == b->size * b->dram && a->sram == b->size * b->sram;
		bool unit = (a->size == 1 && !a->guarded) || (b->size == 1 && !b->guarded);
		if (!one && !unit) {
			i++;
			continue;
		}
		if (unit && !(b->size == 1 && !b->guarded))
			*a = *b;
		else if (!unit)
			*a = (struct side){ a->size * b->size, b->sram, b->dram, NULL, UINT32_MAX, false };
		memmove(b, b + 1, (n - i - 2) * sizeof *b);
		n--;
		i = i ? i - 1 : 0;
	}
	return n;
}

/* Valid entries of a guarded side are [lo, hi) minus the tile's movement. */
static bool clamp_of(const struct emit *e, const struct side *s, int64_t *lo, int64_t *hi, int64_t *move)
{
	const struct comp *c = s->comp;
	int64_t at = origin(e->p, c, move);
	*lo = 0;
	*hi = INT64_MAX / 4;
	if (c->n == 1) {
		int64_t k = c->term[0].coef, m = k < 0 ? -k : k;
		memset(move, 0, MAX_DIMS * sizeof *move);
		move[c->term[0].dim] = 1;
		if (c->guarded) {
			/* k > 0: 0 <= at + k (t + i) < size */
			int64_t first = k > 0 ? -at : at - c->size + 1, end = k > 0 ? c->size - at : at + 1;
			*lo = first <= 0 ? -(-first / m) : ceil_div(first, m);
			*hi = end <= 0 ? -(-end / m) : ceil_div(end, m);
		}
		if (!c->guarded)
			*lo = INT64_MIN / 4; /* no lower bound, whatever the movement */
		if (s->limit_dim != UINT32_MAX && e->p->extent[s->limit_dim] < *hi)
			*hi = e->p->extent[s->limit_dim];
	} else {
		*lo = -at;
		*hi = c->size - at;
	}
	for (uint32_t d = 0; d < e->p->n_dims; d++)
		if (move[d] && e->tiled[d])
			return true;
	return false;
}

static int64_t narrow_clamp(int64_t v, int64_t size)
{
	return v < 0 ? 0 : v > size ? size : v;
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------------ */

static void set_types(const struct operand *o, bool out, struct tg_dma_desc *d)
{
	static const uint8_t plain[] = { [1] = TG_DMA_8, [2] = TG_DMA_16, [4] = TG_DMA_32, [8] = TG_DMA_64 };
	bool widened = o->dtype != o->sram_dtype;
	uint8_t dram = widened ? TG_DMA_i64 : plain[elem_bytes(o->dtype)], sram = widened ? TG_DMA_i32 : plain[elem_bytes(o->sram_dtype)];
	d->src_type = out ? sram : dram;
	d->dst_type = out ? dram : sram;
}

/* Writes a descriptor's address register: in DRAM when it never changes, else a copy in SRAM whose clamps are set here. */
static vreg place_descriptor(struct emit *e, struct tg_dma_desc *d, const struct side *s, uint32_t n)
{
	bool dynamic = false;
	uint64_t slot = e->desc_sram + (uint64_t)e->n_dynamic * TG_DMA_DESC_BYTES;
	int64_t lo[4], hi[4], move[4][MAX_DIMS];
	bool moves[4] = { false };
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = 4 - n + i;
		if (!s[i].guarded)
			continue;
		moves[i] = clamp_of(e, &s[i], &lo[i], &hi[i], move[i]);
		dynamic |= moves[i];
		d->lo[at] = narrow_clamp(lo[i], d->size[at]);
		d->hi[at] = narrow_clamp(hi[i], d->size[at]);
	}
	*TG_PUSH(e->f->arena, &e->descs->list) = *d;
	int64_t dram = TG_DRAM_BASE + (int64_t)(e->descs->dram + (e->descs->list.n - 1) * TG_DMA_DESC_BYTES);
	vreg in_dram = sreg(e);
	EMIT(&e->at, smov, R(in_dram), dram);
	if (!dynamic)
		return in_dram;
	/* copy it, then set the clamps */
	struct tg_dma_desc copy = { .kind = TG_DMA_COPY, .src_type = TG_DMA_64, .dst_type = TG_DMA_64 };
	for (int i = 0; i < 4; i++)
		copy.size[i] = copy.hi[i] = 1;
	copy.size[3] = copy.hi[3] = TG_DMA_DESC_BYTES / 8;
	copy.src_stride[3] = copy.dst_stride[3] = 8;
	*TG_PUSH(e->f->arena, &e->descs->list) = copy;
	vreg copier = sreg(e), in_sram = sreg(e), number = sreg(e);
	EMIT(&e->at, smov, R(copier), dram + TG_DMA_DESC_BYTES);
	EMIT(&e->at, smov, R(in_sram), (int64_t)slot);
	EMIT(&e->at, dma_start, R(number), 0, R(copier), R(in_dram), R(in_sram));
	EMIT(&e->at, dma_wait, 0, R(number));
	e->n_dynamic++;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = 4 - n + i;
		int64_t minus[MAX_DIMS];
		if (!s[i].guarded || !moves[i])
			continue;
		for (uint32_t k = 0; k < MAX_DIMS; k++)
			minus[k] = -move[i][k];
		vreg low = affine(e, lo[i] < -(INT64_C(1) << 40) ? -(INT64_C(1) << 40) : lo[i], minus);
		vreg high = affine(e, hi[i] > INT64_C(1) << 40 ? INT64_C(1) << 40 : hi[i], minus);
		e->at.mem = MEM_ALL;
		EMIT(&e->at, sst64, R(low), R(in_sram), (int64_t)(offsetof(struct tg_dma_desc, lo) + 8 * at));
		EMIT(&e->at, sst64, R(high), R(in_sram), (int64_t)(offsetof(struct tg_dma_desc, hi) + 8 * at));
		e->at.mem = MEM_NONE;
	}
	return in_sram;
}

static void fill_side(struct tg_dma_desc *d, uint32_t at, const struct side *s, bool out, const struct operand *o)
{
	int64_t sram = s->sram * elem_bytes(o->sram_dtype), dram = s->dram * elem_bytes(o->dtype);
	d->size[at] = d->hi[at] = s->size;
	d->src_stride[at] = out ? sram : dram;
	d->dst_stride[at] = out ? dram : sram;
}

/* ---- transfers ----------------------------------------------------------------------------------------------------------------------- */

struct transfer { uint32_t queue; vreg number; };

/* Outer sides beyond what one descriptor holds become loops around the start. */
static struct transfer start_transfer(struct emit *e, const struct operand *o, bool out)
{
	struct side s[MAX_COMPS];
	struct tg_dma_desc d = { .kind = TG_DMA_COPY, .outside = out ? TG_DMA_SKIP : TG_DMA_FILL_OUTSIDE, .fill_bits = o->fill_bits };
	const struct comp *gather = NULL;
	for (uint32_t i = 0; i < o->n_comps; i++)
		if (o->comp[i].gather >= 0) {
			e->failed = gather ? "two gathered indices in one operand" : e->failed;
			gather = &o->comp[i];
		}
	uint32_t n = merge_sides(s, transfer_sides(e, o, s)), most = gather ? 3 : 4, extra = n > most ? n - most : 0;
	for (uint32_t i = 0; i < 4; i++)
		d.size[i] = d.hi[i] = 1;
	set_types(o, out, &d);
	/* Loops are made of unguarded sides: their clamps would move. */
	for (uint32_t i = 0; i < extra; i++) {
		uint32_t k = i;
		while (k < n && s[k].guarded)
			k++;
		if (k == n) {
			e->failed = "more guarded dimensions than a transfer has";
			return (struct transfer){ 0 };
		}
		struct side t = s[k];
		memmove(&s[i + 1], &s[i], (k - i) * sizeof t);
		s[i] = t;
	}
	for (uint32_t i = extra; i < n; i++)
		fill_side(&d, 4 - n + i, &s[i], out, o);
	if (gather) {
		const struct operand *list = &e->p->operand[gather->gather];
		d.kind = TG_DMA_GATHER;
		d.size[0] = d.hi[0] = gather->len;
		d.src_stride[0] = gather->stride * elem_bytes(o->dtype);
		d.dst_stride[0] = gather->sram_stride * elem_bytes(o->sram_dtype);
		d.list_addr = (uint32_t)list->sram;
		d.list_bound = (uint32_t)gather->size;
	}
	vreg desc = place_descriptor(e, &d, s + extra, n - extra), dram = dram_base(e, o), sram = sreg(e), number = sreg(e);
	EMIT(&e->at, smov, R(sram), (int64_t)o->sram);
	uint32_t q = e->queue++ % e->f->chip->dma_queues;
	struct mcursor outer[MAX_COMPS];
	for (uint32_t i = 0; i < extra; i++) {
		outer[i] = e->at;
		e->at = mloop(&outer[i], m_const(&outer[i], s[i].size));
	}
	EMIT(&e->at, dma_start, R(number), q, R(desc), out ? R(sram) : R(dram), out ? R(dram) : R(sram));
	for (uint32_t i = extra; i-- > 0;) {
		int64_t back = i + 1 < extra ? s[i + 1].size : 0;
		int64_t ds = (s[i].sram - back * (i + 1 < extra ? s[i + 1].sram : 0)) * elem_bytes(o->sram_dtype);
		int64_t dd = (s[i].dram - back * (i + 1 < extra ? s[i + 1].dram : 0)) * elem_bytes(o->dtype);
		EMIT(&e->at, saddi, R(sram), R(sram), ds);
		EMIT(&e->at, saddi, R(dram), R(dram), dd);
		e->at = outer[i];
	}
	return (struct transfer){ q, number };
}

static bool moved_by(const struct operand *o, uint32_t d)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if (o->comp[i].term[k].dim == d)
				return true;
	return false;
}

/* Loops that must be open before the operand's image is known. */
static uint32_t depth_of(const struct plan *p, const struct operand *o)
{
	uint32_t depth = 0;
	for (uint32_t i = 0; i < p->n_loops; i++)
		if (moved_by(o, (uint32_t)p->loop_order[i]))
			depth = i + 1;
	return depth;
}

static bool is_read(const struct plan *p, uint32_t operand)
{
	if (p->operand[operand].is_list)
		return true;
	for (uint32_t i = 0; i < p->stage->n_nodes; i++)
		if (p->stage->nodes[i].op == TG_X_arg && (uint32_t)p->stage->nodes[i].k == operand)
			return true;
	return false;
}

static void fetch_at(struct emit *e, uint32_t depth)
{
	for (int lists = 1; lists >= 0; lists--) { /* index lists first: gathers read them */
		struct transfer started[MAX_OPERANDS];
		uint32_t n = 0;
		for (uint32_t i = 0; i < e->p->n_ops; i++) {
			const struct operand *o = &e->p->operand[i];
			if (o->is_list == (lists == 1) && !o->constant && is_read(e->p, i) && depth_of(e->p, o) == depth)
				started[n++] = start_transfer(e, o, false);
		}
		for (uint32_t i = 0; i < n; i++)
			EMIT(&e->at, dma_wait, started[i].queue, R(started[i].number));
	}
}

/* ---- tiles ----------------------------------------------------------------------------------------------------------------------------- */

static void set_fill(struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		uint64_t bits = p->stage->ins[i].guarded ? p->stage->ins[i].fill : 0;
		double v;
		uint8_t raw[8] = { 0 };
		memcpy(&v, &bits, sizeof v);
		if (tg_is_float(tg_compute_type(o->dtype)))
			tg_put_f64(o->sram_dtype, raw, 0, p->stage->ins[i].guarded ? v : 0);
		else
			tg_put_i64(o->sram_dtype, raw, 0, (int64_t)bits);
		memcpy(&o->fill_bits, raw, sizeof raw);
	}
}

static void run_kernel(struct emit *e, enum kernel_mode mode)
{
	struct kernel k;
	vreg at[MAX_DIMS];
	/* Before and after the loops over reduction tiles there is no reduction tile. */
	bool outside = mode == KERNEL_INIT || mode == KERNEL_FINISH;
	for (uint32_t d = 0; d < e->p->n_dims; d++)
		at[d] = outside && is_reduction(e->p, d) ? (vreg){ 0 } : coordinate(e, d);
	kernel_begin(&k, e->f, e->p, &e->at, at, e->unroll);
	if (e->p->path == PATH_MATRIX)
		kernel_matrix_path(&k, mode);
	else
		kernel_vector_path(&k, mode);
	kernel_end(&k, &e->at);
	e->failed = e->failed ? e->failed : k.failed;
}

/* Opens the loop over tiles of dimension d; the step to the next tile is added by close_loop at the end of the body. */
static struct mcursor open_loop(struct emit *e, uint32_t d, vreg *again)
{
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sst64, 0, 0, (int64_t)(e->frame + 8 * d));
	e->at.mem = MEM_NONE;
	struct mcursor outer = e->at;
	*again = mreg(e->f, CLASS_P);
	e->at = mrepeat(&outer, *again);
	return outer;
}

static void close_loop(struct emit *e, uint32_t d, vreg again, struct mcursor outer)
{
	int64_t n = e->p->extent[d], t = e->p->tile[d], last = is_reduction(e->p, d) ? (ceil_div(n, t) - 1) * t : n - t;
	vreg now = coordinate(e, d), next = sreg(e), in_range = sreg(e);
	EMIT(&e->at, plti, R(again), R(now), last);
	EMIT(&e->at, saddi, R(next), R(now), t);
	EMIT(&e->at, smini, R(in_range), R(next), last);
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sst64, R(in_range), 0, (int64_t)(e->frame + 8 * d));
	e->at.mem = MEM_NONE;
	e->at = outer;
}

static void send_output(struct emit *e)
{
	struct transfer t = start_transfer(e, &e->p->operand[e->p->n_ops], true);
	EMIT(&e->at, dma_wait, t.queue, R(t.number));
}

const char *emit_stage(struct mfn *f, struct plan *p, struct descriptors *descs, uint32_t prov, uint64_t frame_sram, const struct emit_options *o)
{
	struct emit e = { .f = f, .p = p, .descs = descs, .frame = frame_sram, .desc_sram = frame_sram + 8 * MAX_DIMS, .unroll = o->unroll };
	e.at = (struct mcursor){ .f = f, .seq = &f->top, .prov = prov };
	uint32_t n_parallel = 0;
	struct mcursor outer[MAX_DIMS];
	vreg again[MAX_DIMS];
	set_fill(p);
	for (uint32_t i = 0; i < p->n_loops; i++) {
		e.tiled[p->loop_order[i]] = true;
		n_parallel += !is_reduction(p, (uint32_t)p->loop_order[i]);
	}
	bool partial = n_parallel < p->n_loops;
	fetch_at(&e, 0);
	for (uint32_t i = 0; i < p->n_loops; i++) {
		if (i == n_parallel && partial)
			run_kernel(&e, KERNEL_INIT);
		outer[i] = open_loop(&e, (uint32_t)p->loop_order[i], &again[i]);
		fetch_at(&e, i + 1);
	}
	run_kernel(&e, partial ? KERNEL_ACCUMULATE : KERNEL_WHOLE);
	for (uint32_t i = p->n_loops; i-- > n_parallel;)
		close_loop(&e, (uint32_t)p->loop_order[i], again[i], outer[i]);
	if (partial)
		run_kernel(&e, KERNEL_FINISH);
	send_output(&e);
	for (uint32_t i = n_parallel; i-- > 0;)
		close_loop(&e, (uint32_t)p->loop_order[i], again[i], outer[i]);
	return e.failed;
}
