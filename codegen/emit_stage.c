/* emit_stage.c: the loop over tiles, its transfers, and the kernel inside.
 *
 * A stage of one tile fetches, computes, stores. A stage of several walks them in one flat loop; the images that move with the tile have two places:
 *
 *   start fetching the first tile
 *   for every tile:  wait for its images;  start fetching what the next one needs anew into the other place
 *                    wait until the result before the last one has left;  compute;  start storing the result
 *   wait for the last results
 *
 * The tile's start, the places in use and the numbers of the transfers lie in a frame in SRAM: the kernel has the registers. Reduction tiles are the
 * innermost ones: the first sets the partial sums up, the last finishes and stores.
 *
 * The last tile of a parallel dimension starts at extent - tile: it overlaps its neighbour instead of being smaller, so tiles have one shape and the
 * overlap is written twice with the same bytes. The last tile of a reduction reaches beyond the end; there DMA fills, and the vector path masks. */
#include "kernel.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* A descriptor that is changed at run time: its copy in SRAM, made once. */
struct patched { bool used; uint64_t sram; };
/* Where the tile's start is found: at the first tile it is 0, else in one of two rows of the frame. */
enum tile_at { AT_FIRST, AT_NOW, AT_NEXT };
struct emit {
	struct mfn *f;
	struct plan *p;
	struct descriptors *descs;
	struct mcursor at;
	uint64_t frame;       /* SRAM; see frame_slot */
	uint64_t desc_sram;   /* SRAM: descriptors that are changed at run time */
	uint32_t n_dynamic;
	bool tiled[MAX_DIMS];
	enum tile_at where;
	bool made[MAX_OPERANDS + 1]; /* by operand: it has its descriptor */
	uint32_t desc_number[MAX_OPERANDS + 1];
	struct patched patched[MAX_OPERANDS + 1];
	uint32_t unroll, queue;
	const char *failed;
};
/* One dimension of a transfer. */
struct side { int64_t size, sram, dram; const struct comp *comp; uint32_t limit_dim; bool guarded; };

enum { FRAME_MEM = 1, MOST_UNRETIRED = 32 /* transfers of one operand that are not waited for one by one */ };
_Static_assert(FRAME_MEM < 2, "operands' buffers are numbered from 2");
/* Rows of the frame, each of so many slots of 8 bytes. */
enum { SLOT_NOW = 0, SLOT_NEXT = MAX_DIMS, SLOT_PLACE = 2 * MAX_DIMS, SLOT_NEXT_PLACE = SLOT_PLACE + MAX_OPERANDS + 1,
       SLOT_NUMBER = SLOT_NEXT_PLACE + MAX_OPERANDS + 1, SLOT_STORED = SLOT_NUMBER + MAX_OPERANDS + 1, N_SLOTS = SLOT_STORED + 2 };

static int64_t frame_slot(const struct emit *e, uint32_t slot)
{
	return (int64_t)(e->frame + 8 * slot);
}

static vreg sreg(struct emit *e)
{
	return mreg(e->f, CLASS_S);
}

static vreg frame_load(struct emit *e, uint32_t slot)
{
	vreg r = sreg(e);
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sld64, R(r), 0, frame_slot(e, slot));
	e->at.mem = MEM_NONE;
	return r;
}

static void frame_store(struct emit *e, uint32_t slot, vreg v)
{
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sst64, R(v), 0, frame_slot(e, slot));
	e->at.mem = MEM_NONE;
}

/* Start of the tile in dimension d. */
static vreg coordinate(struct emit *e, uint32_t d)
{
	if (!e->tiled[d] || e->where == AT_FIRST)
		return (vreg){ 0 };
	return frame_load(e, (e->where == AT_NEXT ? SLOT_NEXT : SLOT_NOW) + d);
}

/* base + sum over tiled dimensions of coordinate * coef[d] */
static vreg affine(struct emit *e, int64_t base, const int64_t *coef)
{
	vreg r = sreg(e);
	EMIT(&e->at, smov, R(r), base);
	for (uint32_t d = 0; d < e->p->n_dims; d++) {
		if (!coef[d] || !e->tiled[d])
			continue;
		vreg at = coordinate(e, d), part = sreg(e), sum = sreg(e);
		if (!at.id)
			continue;
		EMIT(&e->at, smuli, R(part), R(at), coef[d]);
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

/* Address, in DRAM or where the tensor lives, of the image's first entry. */
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
	return affine(e, (o->home ? (int64_t)o->home : TG_DRAM_BASE + (int64_t)o->dram) + base * bytes, coef);
}

/* Bytes from where a tensor that is worked on in place has its first tile to where it has this one. */
static vreg tile_offset(struct emit *e, const struct operand *o)
{
	int64_t coef[MAX_DIMS] = { 0 }, bytes = elem_bytes(o->dtype);
	bool moves = false;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++) {
			coef[o->comp[i].term[k].dim] += o->comp[i].term[k].coef * o->comp[i].stride * bytes;
			moves |= e->tiled[o->comp[i].term[k].dim];
		}
	return moves ? affine(e, 0, coef) : (vreg){ 0 };
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
			if (!a || (b && a >= b)) /* a stride of 0 repeats what lies inside of it */
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

/* A register with the descriptor's address: in DRAM when it never changes, else a copy in SRAM whose clamps are set here for the tile at hand. */
static vreg place_descriptor(struct emit *e, uint32_t operand, struct tg_dma_desc *d, const struct side *s, uint32_t n)
{
	bool dynamic = false;
	struct patched *own = &e->patched[operand];
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
	if (!e->made[operand]) {
		e->desc_number[operand] = (uint32_t)e->descs->list.n;
		*TG_PUSH(e->f->arena, &e->descs->list) = *d;
		e->made[operand] = true;
	}
	int64_t dram = TG_DRAM_BASE + (int64_t)(e->descs->dram + e->desc_number[operand] * (uint64_t)TG_DMA_DESC_BYTES);
	vreg in_dram = sreg(e);
	EMIT(&e->at, smov, R(in_dram), dram);
	if (!dynamic)
		return in_dram;
	vreg in_sram = sreg(e);
	if (!own->used) { /* copy it once */
		struct tg_dma_desc copy = { .kind = TG_DMA_COPY, .src_type = TG_DMA_64, .dst_type = TG_DMA_64 };
		for (int i = 0; i < 4; i++)
			copy.size[i] = copy.hi[i] = 1;
		copy.size[3] = copy.hi[3] = TG_DMA_DESC_BYTES / 8;
		copy.src_stride[3] = copy.dst_stride[3] = 8;
		int64_t copier_at = TG_DRAM_BASE + (int64_t)(e->descs->dram + e->descs->list.n * (uint64_t)TG_DMA_DESC_BYTES);
		*TG_PUSH(e->f->arena, &e->descs->list) = copy;
		*own = (struct patched){ true, e->desc_sram + (uint64_t)e->n_dynamic++ * TG_DMA_DESC_BYTES };
		vreg copier = sreg(e), number = sreg(e);
		EMIT(&e->at, smov, R(copier), copier_at);
		EMIT(&e->at, smov, R(in_sram), (int64_t)own->sram);
		EMIT(&e->at, dma_start, R(number), 0, R(copier), R(in_dram), R(in_sram));
		EMIT(&e->at, dma_wait, 0, R(number));
	} else {
		EMIT(&e->at, smov, R(in_sram), (int64_t)own->sram);
	}
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

static uint32_t queue_of(const struct emit *e, uint32_t operand)
{
	return (e->queue + operand) % e->f->chip->dma_queues;
}

/* Starts an operand's transfer for the tile at hand, where `when` is true; `place`: bytes from the operand's first place. Its number.
 * Outer sides beyond what one descriptor holds become loops around the start. */
static vreg start_transfer(struct emit *e, uint32_t operand, vreg place, vreg when)
{
	const struct operand *o = &e->p->operand[operand];
	bool out = operand == e->p->n_ops;
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
			return (vreg){ 0 };
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
	vreg desc = place_descriptor(e, operand, &d, s + extra, n - extra), dram = dram_base(e, o), sram = sreg(e), number = sreg(e);
	EMIT(&e->at, saddi, R(sram), R(place), (int64_t)o->sram);
	uint32_t q = queue_of(e, operand);
	struct mcursor outer[MAX_COMPS];
	for (uint32_t i = 0; i < extra; i++) {
		outer[i] = e->at;
		e->at = mloop(&outer[i], m_const(&outer[i], s[i].size));
	}
	e->at.pred = when;
	EMIT(&e->at, dma_start, R(number), q, R(desc), out ? R(sram) : R(dram), out ? R(dram) : R(sram));
	int64_t starts = 1;
	for (uint32_t i = 0; i < extra; i++)
		starts *= s[i].size;
	if (starts > MOST_UNRETIRED)
		EMIT(&e->at, dma_wait, q, R(number));
	e->at.pred = (vreg){ 0 };
	for (uint32_t i = extra; i-- > 0;) {
		int64_t back = i + 1 < extra ? s[i + 1].size : 0;
		int64_t ds = (s[i].sram - back * (i + 1 < extra ? s[i + 1].sram : 0)) * elem_bytes(o->sram_dtype);
		int64_t dd = (s[i].dram - back * (i + 1 < extra ? s[i + 1].dram : 0)) * elem_bytes(o->dtype);
		EMIT(&e->at, saddi, R(sram), R(sram), ds);
		EMIT(&e->at, saddi, R(dram), R(dram), dd);
		e->at = outer[i];
	}
	return number;
}

static bool moved_by(const struct operand *o, uint32_t d)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if (o->comp[i].term[k].dim == d)
				return true;
	return false;
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
		if (p->pixels && (int)i == p->rhs)
			o->fill_bits = UINT64_MAX; /* no weight: pixels.c */
	}
}

static void run_kernel(struct emit *e, enum kernel_mode mode)
{
	struct kernel k;
	vreg at[MAX_DIMS], place[MAX_OPERANDS + 1];
	/* Before and after the loops over reduction tiles there is no reduction tile. */
	bool outside = mode == KERNEL_INIT || mode == KERNEL_FINISH;
	for (uint32_t d = 0; d < e->p->n_dims; d++)
		at[d] = outside && is_reduction(e->p, d) ? (vreg){ 0 } : coordinate(e, d);
	for (uint32_t i = 0; i <= e->p->n_ops; i++)
		place[i] = e->p->operand[i].direct ? tile_offset(e, &e->p->operand[i]) : e->p->operand[i].places > 1 ? frame_load(e, SLOT_PLACE + i) : (vreg){ 0 };
	EMIT(&e->at, idle, 1); /* ends the block: what moves tiles gives its registers back before the kernel takes many */
	kernel_begin(&k, e->f, e->p, &e->at, at, place, e->unroll);
	if (e->p->path == PATH_MATRIX)
		kernel_matrix_path(&k, mode);
	else
		kernel_vector_path(&k, mode);
	kernel_end(&k, &e->at);
	e->failed = e->failed ? e->failed : k.failed;
}

static bool is_fetched(const struct emit *e, uint32_t i)
{
	return !e->p->operand[i].constant && !e->p->operand[i].direct && is_read(e->p, i);
}

static void wait_for(struct emit *e, uint32_t operand, vreg number)
{
	EMIT(&e->at, dma_wait, queue_of(e, operand), R(number));
}

/* Everything that the tile at hand reads; index lists first: gathers read them. */
static void fetch_all(struct emit *e)
{
	for (int lists = 1; lists >= 0; lists--) {
		vreg number[MAX_OPERANDS];
		for (uint32_t i = 0; i < e->p->n_ops; i++)
			if (is_fetched(e, i) && e->p->operand[i].is_list == (lists == 1))
				number[i] = start_transfer(e, i, (vreg){ 0 }, (vreg){ 0 });
		for (uint32_t i = 0; i < e->p->n_ops; i++)
			if (is_fetched(e, i) && e->p->operand[i].is_list == (lists == 1))
				wait_for(e, i, number[i]);
	}
}

static void one_tile(struct emit *e)
{
	e->where = AT_FIRST;
	fetch_all(e);
	run_kernel(e, KERNEL_WHOLE);
	if (!e->p->operand[e->p->n_ops].direct)
		wait_for(e, e->p->n_ops, start_transfer(e, e->p->n_ops, (vreg){ 0 }, (vreg){ 0 }));
}

static int64_t last_start(const struct plan *p, uint32_t d)
{
	int64_t n = p->extent[d], t = p->tile[d];
	return is_reduction(p, d) ? (ceil_div(n, t) - 1) * t : n - t;
}

/* The tile behind the present one. steps[l]: 1 when loop l moves on (all loops inside of it are at their end), else 0; steps[0] of the loop around
 * all says that there is no further tile. */
static void next_tile(struct emit *e, vreg *steps)
{
	const struct plan *p = e->p;
	vreg carry = m_const(&e->at, 1);
	for (uint32_t l = p->n_loops; l-- > 0;) {
		uint32_t d = (uint32_t)p->loop_order[l];
		int64_t last = last_start(p, d);
		vreg now = coordinate(e, d), left = sreg(e), more = sreg(e), on = sreg(e), capped = sreg(e), to = sreg(e), by = sreg(e), moved = sreg(e), next = sreg(e);
		steps[l + 1] = carry;
		EMIT(&e->at, smuli, R(left), R(now), -1);
		EMIT(&e->at, saddi, R(left), R(left), last);
		EMIT(&e->at, smini, R(more), R(left), 1); /* 0 at the end, else 1 */
		EMIT(&e->at, saddi, R(on), R(now), p->tile[d]);
		EMIT(&e->at, smini, R(capped), R(on), last);
		EMIT(&e->at, smul, R(to), R(capped), R(more));
		EMIT(&e->at, ssub, R(by), R(to), R(now));
		EMIT(&e->at, smul, R(moved), R(by), R(carry));
		EMIT(&e->at, sadd, R(next), R(now), R(moved));
		frame_store(e, SLOT_NEXT + d, next);
		vreg end = sreg(e), on_out = sreg(e);
		EMIT(&e->at, sxor, R(end), R(more), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(on_out), R(carry), R(end));
		carry = on_out;
	}
	steps[0] = carry;
}

/* The innermost loop that moves the operand's image; NO_DIM: none. */
static int innermost_loop(const struct plan *p, const struct operand *o)
{
	for (uint32_t l = p->n_loops; l-- > 0;)
		if (moved_by(o, (uint32_t)p->loop_order[l]))
			return (int)l;
	return NO_DIM;
}

static vreg is_one(struct emit *e, vreg v)
{
	vreg p = mreg(e->f, CLASS_P);
	EMIT(&e->at, peqi, R(p), R(v), 1);
	return p;
}

static vreg other_place(struct emit *e, uint32_t slot, uint64_t bytes)
{
	vreg now = frame_load(e, slot), minus = sreg(e), other = sreg(e);
	EMIT(&e->at, smuli, R(minus), R(now), -1);
	EMIT(&e->at, saddi, R(other), R(minus), (int64_t)bytes);
	return other;
}

/* Starts what the next tile needs and the present one does not have. */
static void prefetch(struct emit *e, const vreg *steps)
{
	e->where = AT_NEXT;
	for (uint32_t i = 0; i < e->p->n_ops; i++) {
		const struct operand *o = &e->p->operand[i];
		int l = innermost_loop(e->p, o);
		if (!is_fetched(e, i) || l == NO_DIM)
			continue;
		vreg none = sreg(e), need = sreg(e), place = other_place(e, SLOT_PLACE + i, o->place_bytes), old = frame_load(e, SLOT_PLACE + i);
		EMIT(&e->at, sxor, R(none), R(steps[0]), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(need), R(steps[l + 1]), R(none));
		vreg when = is_one(e, need), number = start_transfer(e, i, place, when), step = sreg(e), moved = sreg(e), next = sreg(e);
		e->at.pred = is_one(e, need);
		frame_store(e, SLOT_NUMBER + i, number);
		e->at.pred = (vreg){ 0 };
		EMIT(&e->at, ssub, R(step), R(place), R(old));
		EMIT(&e->at, smul, R(moved), R(step), R(need));
		EMIT(&e->at, sadd, R(next), R(old), R(moved));
		frame_store(e, SLOT_NEXT_PLACE + i, next);
	}
	e->where = AT_NOW;
}

/* A body that runs once where all the given starts are the first or last ones, else not at all: a loop of one trip or none. */
static struct mcursor open_when(struct emit *e, bool first)
{
	vreg all = m_const(&e->at, 1);
	for (uint32_t l = 0; l < e->p->n_loops; l++) {
		uint32_t d = (uint32_t)e->p->loop_order[l];
		if (!is_reduction(e->p, d))
			continue;
		vreg now = coordinate(e, d), away = sreg(e), some = sreg(e), here = sreg(e), both = sreg(e);
		if (first) {
			EMIT(&e->at, smini, R(some), R(now), 1);
		} else {
			EMIT(&e->at, smuli, R(away), R(now), -1);
			EMIT(&e->at, saddi, R(away), R(away), last_start(e->p, d));
			EMIT(&e->at, smini, R(some), R(away), 1);
		}
		EMIT(&e->at, sxor, R(here), R(some), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(both), R(all), R(here));
		all = both;
	}
	struct mcursor outer = e->at;
	e->at = mloop(&outer, all);
	return outer;
}

static void wait_for_results(struct emit *e)
{
	for (uint32_t half = 0; half < 2; half++)
		wait_for(e, e->p->n_ops, frame_load(e, SLOT_STORED + half));
}

static bool results_overlap(const struct plan *p)
{
	for (uint32_t l = 0; l < p->n_loops; l++)
		if (!is_reduction(p, (uint32_t)p->loop_order[l]) && p->extent[p->loop_order[l]] % p->tile[p->loop_order[l]])
			return true;
	return false;
}

static void store_result(struct emit *e)
{
	uint32_t out = e->p->n_ops;
	if (e->p->operand[out].direct)
		return;
	if (results_overlap(e->p)) /* the same bytes again, but not at the same time */
		wait_for_results(e);
	vreg place = frame_load(e, SLOT_PLACE + out), number = start_transfer(e, out, place, (vreg){ 0 }), half = sreg(e), slot = sreg(e);
	/* its number goes where the next result in the same place will look */
	EMIT(&e->at, smini, R(half), R(place), 1);
	EMIT(&e->at, smuli, R(slot), R(half), 8);
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sst64, R(number), R(slot), frame_slot(e, SLOT_STORED));
	e->at.mem = MEM_NONE;
	if (e->p->operand[out].places > 1)
		frame_store(e, SLOT_PLACE + out, other_place(e, SLOT_PLACE + out, e->p->operand[out].place_bytes));
}

static void wait_for_place(struct emit *e)
{
	if (e->p->operand[e->p->n_ops].direct)
		return;
	vreg place = frame_load(e, SLOT_PLACE + e->p->n_ops), half = sreg(e), slot = sreg(e), number = sreg(e);
	EMIT(&e->at, smini, R(half), R(place), 1);
	EMIT(&e->at, smuli, R(slot), R(half), 8);
	e->at.mem = FRAME_MEM;
	EMIT(&e->at, sld64, R(number), R(slot), frame_slot(e, SLOT_STORED));
	e->at.mem = MEM_NONE;
	wait_for(e, e->p->n_ops, number);
}

static void start_frame(struct emit *e)
{
	for (uint32_t l = 0; l < e->p->n_loops; l++)
		frame_store(e, SLOT_NOW + (uint32_t)e->p->loop_order[l], (vreg){ 0 });
	for (uint32_t i = 0; i <= e->p->n_ops; i++) {
		frame_store(e, SLOT_PLACE + i, (vreg){ 0 });
		frame_store(e, SLOT_NEXT_PLACE + i, (vreg){ 0 });
	}
	frame_store(e, SLOT_STORED, (vreg){ 0 });
	frame_store(e, SLOT_STORED + 1, (vreg){ 0 });
}

static void many_tiles(struct emit *e, bool prefetches)
{
	const struct plan *p = e->p;
	int64_t tiles = 1;
	bool partial = false;
	vreg steps[MAX_DIMS + 1];
	for (uint32_t l = 0; l < p->n_loops; l++) {
		tiles *= ceil_div(p->extent[p->loop_order[l]], p->tile[p->loop_order[l]]);
		partial |= is_reduction(p, (uint32_t)p->loop_order[l]);
	}
	start_frame(e);
	e->where = AT_FIRST;
	for (uint32_t i = 0; prefetches && i < p->n_ops; i++)
		if (is_fetched(e, i))
			frame_store(e, SLOT_NUMBER + i, start_transfer(e, i, (vreg){ 0 }, (vreg){ 0 }));
	struct mcursor outer = e->at;
	e->at = mloop(&outer, m_const(&outer, tiles));
	e->where = AT_NOW;
	if (prefetches)
		for (uint32_t i = 0; i < p->n_ops; i++)
			if (is_fetched(e, i))
				wait_for(e, i, frame_load(e, SLOT_NUMBER + i));
	next_tile(e, steps);
	if (prefetches)
		prefetch(e, steps);
	else
		fetch_all(e);
	if (partial) {
		struct mcursor around = open_when(e, true);
		run_kernel(e, KERNEL_INIT);
		e->at = around;
	}
	if (!partial)
		wait_for_place(e);
	run_kernel(e, partial ? KERNEL_ACCUMULATE : KERNEL_WHOLE);
	if (partial) {
		struct mcursor around = open_when(e, false);
		wait_for_place(e);
		run_kernel(e, KERNEL_FINISH);
		store_result(e);
		e->at = around;
	} else {
		store_result(e);
	}
	for (uint32_t l = 0; l < p->n_loops; l++)
		frame_store(e, SLOT_NOW + (uint32_t)p->loop_order[l], frame_load(e, SLOT_NEXT + (uint32_t)p->loop_order[l]));
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].places > 1)
			frame_store(e, SLOT_PLACE + i, frame_load(e, SLOT_NEXT_PLACE + i));
	e->at = outer;
	wait_for_results(e);
}

/* Index lists steer later transfers: their stages fetch tile by tile. */
bool plan_prefetches(const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].is_list)
			return false;
	return p->n_loops > 0;
}

const char *emit_stage(struct mfn *f, struct plan *p, struct descriptors *descs, uint32_t prov, uint64_t frame_sram, const struct emit_options *o)
{
	struct emit e = { .f = f, .p = p, .descs = descs, .frame = frame_sram, .desc_sram = frame_sram + 8 * N_SLOTS, .unroll = o->unroll };
	e.at = (struct mcursor){ .f = f, .seq = &f->top, .prov = prov };
	set_fill(p);
	for (uint32_t i = 0; i < p->n_loops; i++)
		e.tiled[p->loop_order[i]] = true;
	if (p->n_loops)
		many_tiles(&e, plan_prefetches(p));
	else
		one_tile(&e);
	return e.failed;
}
