/* transfer.c: an operand's image between DRAM, or where the tensor lives, and its place in SRAM.
 *
 * An image becomes the sides of a copy: one for each component of the access, joined where both ends allow it. What a descriptor does not hold becomes
 * loops around its start. A queue moves a row in a cycle at least, so that short rows leave DRAM idle: such transfers are cut along a side into parts
 * that several queues move at once.
 *
 *   image [64][256 B], rows 8 KiB apart       ==>      queue 0: rows 0..31      queue 1: rows 32..63 */
#include "emit.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

enum { MOST_UNRETIRED = 32 }; /* transfers of one operand that are not waited for one by one */

static int64_t frame_slot(uint32_t slot)
{
	return 8 * (int64_t)slot;
}

static vreg sreg(struct emit *e)
{
	return mreg(e->f, CLASS_S);
}

vreg slot_load(struct mcursor *at, uint32_t slot)
{
	vreg r = mreg(at->f, CLASS_S);
	at->mem = FRAME_MEM;
	EMIT(at, sld64, R(r), 0, frame_slot(slot));
	at->mem = MEM_NONE;
	return r;
}

void slot_store(struct mcursor *at, uint32_t slot, vreg v)
{
	at->mem = FRAME_MEM;
	EMIT(at, sst64, R(v), 0, frame_slot(slot));
	at->mem = MEM_NONE;
}

vreg frame_load(struct emit *e, uint32_t slot)
{
	return slot_load(&e->at, slot);
}

void frame_store(struct emit *e, uint32_t slot, vreg v)
{
	slot_store(&e->at, slot, v);
}

/* Start of the tile in dimension d. */
vreg coordinate(struct emit *e, uint32_t d)
{
	if (!e->tiled[d] || e->where == AT_FIRST)
		return (vreg){ 0 };
	return frame_load(e, (e->where == AT_NEXT ? SLOT_NEXT : SLOT_NOW) + d);
}

/* base + sum over tiled dimensions of coordinate * coef[d] */
vreg affine(struct emit *e, int64_t base, const int64_t *coef)
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

/* On to the part at hand, where stages run part by part. */
static vreg to_part(struct emit *e, const struct operand *o, vreg base)
{
	for (uint32_t l = 0; l < MAX_SHARED; l++) {
		if (!o->part[l])
			continue;
		vreg at = frame_load(e, (e->next_part ? SLOT_NEXT_PART : SLOT_PART) + l), bytes = sreg(e), sum = sreg(e);
		EMIT(&e->at, smuli, R(bytes), R(at), o->part[l]);
		EMIT(&e->at, sadd, R(sum), R(base), R(bytes));
		base = sum;
	}
	return base;
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
	return to_part(e, o, affine(e, (o->home ? (int64_t)o->home : TG_DRAM_BASE + (int64_t)o->dram) + base * bytes, coef));
}

vreg transfer_dram(struct emit *e, uint32_t operand)
{
	return dram_base(e, &e->p->operand[operand]);
}

/* Bytes from where a tensor that is worked on in place has its first tile to where it has this one. */
vreg tile_offset(struct emit *e, const struct operand *o)
{
	int64_t coef[MAX_DIMS] = { 0 }, bytes = elem_bytes(o->dtype);
	bool moves = false;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++) {
			coef[o->comp[i].term[k].dim] += o->comp[i].term[k].coef * o->comp[i].stride * bytes;
			moves |= e->tiled[o->comp[i].term[k].dim];
		}
	return to_part(e, o, moves ? affine(e, 0, coef) : (vreg){ 0 });
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

static void set_types(const struct operand *o, bool out, struct tg_dma_desc *d)
{
	static const uint8_t plain[] = { [1] = TG_DMA_8, [2] = TG_DMA_16, [4] = TG_DMA_32, [8] = TG_DMA_64 };
	bool widened = o->dtype != o->sram_dtype;
	uint8_t dram = widened ? TG_DMA_i64 : plain[elem_bytes(o->dtype)], sram = widened ? TG_DMA_i32 : plain[elem_bytes(o->sram_dtype)];
	d->src_type = out ? sram : dram;
	d->dst_type = out ? dram : sram;
}

static void fill_side(struct tg_dma_desc *d, uint32_t at, const struct side *s, bool out, const struct operand *o)
{
	int64_t sram = s->sram * elem_bytes(o->sram_dtype), dram = s->dram * elem_bytes(o->dtype);
	d->size[at] = d->hi[at] = s->size;
	d->src_stride[at] = out ? sram : dram;
	d->dst_stride[at] = out ? dram : sram;
}

static uint32_t part_queue(const struct transfer *t, uint32_t part)
{
	return t->queue + (t->first + part) % t->n_queues;
}

/* Outer sides beyond what a descriptor holds become loops: unguarded ones, since clamps of a loop would move. */
static void choose_loops(struct emit *e, struct transfer *t, uint32_t most)
{
	t->extra = t->n_sides > most ? t->n_sides - most : 0;
	for (uint32_t i = 0; i < t->extra; i++) {
		uint32_t k = i;
		while (k < t->n_sides && t->side[k].guarded)
			k++;
		if (k == t->n_sides) {
			e->failed = "more guarded dimensions than a transfer has";
			t->n_sides = t->extra = 0;
			return;
		}
		struct side s = t->side[k];
		memmove(&t->side[i + 1], &t->side[i], (k - i) * sizeof s);
		t->side[i] = s;
	}
}

/* Parts along the outermost side that has enough entries; never along the elements of a row. */
static void choose_parts(struct emit *e, const struct operand *o, struct transfer *t)
{
	uint32_t want = plan_transfer_parts(e->p, o);
	want = want < t->n_queues ? want : t->n_queues;
	t->n_parts = 1;
	if (t->extra || t->desc[0].kind != TG_DMA_COPY)
		return;
	for (uint32_t i = 0; i < t->n_sides && want > 1; i++) {
		const struct side *s = &t->side[i];
		bool row = s->dram == 1 && s->sram == 1;
		int64_t most = s->size < want ? s->size : want;
		if ((s->guarded && t->dynamic) || row || most <= t->n_parts)
			continue;
		t->cut = i;
		t->cut_size = ceil_div(s->size, most);
		t->n_parts = (uint32_t)ceil_div(s->size, t->cut_size);
	}
}

static void set_clamps(struct emit *e, struct transfer *t, struct tg_dma_desc *d)
{
	uint32_t n = t->n_sides - t->extra;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = 4 - n + i;
		const struct side *s = &t->side[t->extra + i];
		if (!s->guarded)
			continue;
		t->moves[i] = clamp_of(e, s, &t->lo[i], &t->hi[i], t->move[i]);
		t->dynamic |= t->moves[i];
		d->lo[at] = narrow_clamp(t->lo[i], d->size[at]);
		d->hi[at] = narrow_clamp(t->hi[i], d->size[at]);
	}
}

static void set_gather(const struct plan *p, const struct operand *o, const struct comp *gather, struct tg_dma_desc *d)
{
	const struct operand *list = &p->operand[gather->gather];
	d->kind = TG_DMA_GATHER;
	d->size[0] = d->hi[0] = gather->len;
	d->src_stride[0] = gather->stride * elem_bytes(o->dtype);
	d->dst_stride[0] = gather->sram_stride * elem_bytes(o->sram_dtype);
	d->list_addr = (uint32_t)list->sram;
	d->list_bound = (uint32_t)gather->size;
}

static const struct comp *gathered(struct emit *e, const struct operand *o)
{
	const struct comp *gather = NULL;
	for (uint32_t i = 0; i < o->n_comps; i++)
		if (o->comp[i].gather >= 0) {
			e->failed = gather ? "two gathered indices in one operand" : e->failed;
			gather = &o->comp[i];
		}
	return gather;
}

/* A descriptor for each part along a side with edges: what of the tensor lies in it. */
static void cut_edges(struct transfer *t, uint32_t at, int64_t last)
{
	const struct tg_dma_desc whole = t->desc[0];
	t->n_descs = t->n_parts;
	for (uint32_t i = 0; i < t->n_parts; i++) {
		int64_t from = i * t->cut_size, size = i + 1 == t->n_parts ? last : t->cut_size;
		t->desc[i] = whole;
		t->desc[i].size[at] = size;
		t->desc[i].lo[at] = narrow_clamp(whole.lo[at] - from, size);
		t->desc[i].hi[at] = narrow_clamp(whole.hi[at] - from, size);
	}
}

static void describe_as(struct emit *e, const struct operand *o, bool out, struct transfer *t)
{
	t->known = true;
	struct tg_dma_desc *d = &t->desc[0];
	*d = (struct tg_dma_desc){ .kind = TG_DMA_COPY, .outside = out ? TG_DMA_SKIP : TG_DMA_FILL_OUTSIDE, .fill_bits = o->fill_bits };
	for (uint32_t i = 0; i < 4; i++)
		d->size[i] = d->hi[i] = 1;
	set_types(o, out, d);
	const struct comp *gather = gathered(e, o);
	t->n_sides = merge_sides(t->side, transfer_sides(e, o, t->side));
	choose_loops(e, t, gather ? 3 : 4);
	uint32_t n = t->n_sides - t->extra;
	for (uint32_t i = 0; i < n; i++)
		fill_side(d, 4 - n + i, &t->side[t->extra + i], out, o);
	if (gather)
		set_gather(e->p, o, gather, d);
	set_clamps(e, t, d);
	choose_parts(e, o, t);
	t->n_descs = 1;
	if (t->n_parts > 1) {
		uint32_t at = 4 - n + t->cut;
		int64_t last = t->side[t->cut].size - (t->n_parts - 1) * t->cut_size;
		if (t->side[t->cut].guarded) {
			cut_edges(t, at, last);
			return;
		}
		t->desc[1] = *d;
		d->size[at] = d->hi[at] = t->cut_size;
		t->desc[1].size[at] = t->desc[1].hi[at] = last;
		t->n_descs = last == t->cut_size ? 1 : 2;
	}
}

static struct transfer *describe(struct emit *e, uint32_t operand)
{
	struct transfer *t = &e->transfer[operand];
	if (!t->known)
		describe_as(e, &e->p->operand[operand], operand == e->p->n_ops, t);
	return t;
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------------ */

static int64_t desc_dram(const struct emit *e, uint32_t number)
{
	return TG_DRAM_BASE + (int64_t)(e->descs->dram + number * (uint64_t)TG_DMA_DESC_BYTES);
}

static void make_descs(struct emit *e, struct transfer *t)
{
	for (uint32_t i = 0; i < t->n_descs && !t->made; i++) {
		t->number[i] = (uint32_t)e->descs->list.n;
		*TG_PUSH(e->f->arena, &e->descs->list) = t->desc[i];
	}
	t->made = true;
}

static void copy_desc(struct emit *e, uint32_t from, uint64_t to)
{
	struct tg_dma_desc copy = { .kind = TG_DMA_COPY, .src_type = TG_DMA_64, .dst_type = TG_DMA_64 };
	for (int i = 0; i < 4; i++)
		copy.size[i] = copy.hi[i] = 1;
	copy.size[3] = copy.hi[3] = TG_DMA_DESC_BYTES / 8;
	copy.src_stride[3] = copy.dst_stride[3] = 8;
	vreg copier = sreg(e), number = sreg(e), source = sreg(e), target = sreg(e);
	EMIT(&e->at, smov, R(copier), desc_dram(e, (uint32_t)e->descs->list.n));
	*TG_PUSH(e->f->arena, &e->descs->list) = copy;
	EMIT(&e->at, smov, R(source), desc_dram(e, from));
	EMIT(&e->at, smov, R(target), (int64_t)to);
	EMIT(&e->at, dma_start, R(number), 0, R(copier), R(source), R(target));
	EMIT(&e->at, dma_wait, 0, R(number));
}

void prepare_transfer(struct emit *e, uint32_t operand)
{
	struct transfer *t = describe(e, operand);
	make_descs(e, t);
	if (!t->dynamic || t->copied)
		return;
	t->copied = true;
	assert(t->n_descs <= MOST_COPIES); /* edges that move are not cut: only the last part may differ */
	for (uint32_t i = 0; i < t->n_descs; i++) {
		t->copy[i] = 8 * N_SLOTS + (uint64_t)e->n_copies++ * TG_DMA_DESC_BYTES;
		copy_desc(e, t->number[i], t->copy[i]);
	}
}

/* Writes the clamps of the tile at hand into the copies. */
static void set_copies(struct emit *e, struct transfer *t)
{
	uint32_t n = t->n_sides - t->extra;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = 4 - n + i;
		int64_t minus[MAX_DIMS];
		if (!t->moves[i])
			continue;
		for (uint32_t k = 0; k < MAX_DIMS; k++)
			minus[k] = -t->move[i][k];
		vreg low = affine(e, t->lo[i] < -(INT64_C(1) << 40) ? -(INT64_C(1) << 40) : t->lo[i], minus);
		vreg high = affine(e, t->hi[i] > INT64_C(1) << 40 ? INT64_C(1) << 40 : t->hi[i], minus);
		for (uint32_t c = 0; c < t->n_descs; c++) {
			vreg base = m_const(&e->at, (int64_t)t->copy[c]);
			e->at.mem = MEM_ALL;
			EMIT(&e->at, sst64, R(low), R(base), (int64_t)(offsetof(struct tg_dma_desc, lo) + 8 * at));
			EMIT(&e->at, sst64, R(high), R(base), (int64_t)(offsetof(struct tg_dma_desc, hi) + 8 * at));
			e->at.mem = MEM_NONE;
		}
	}
}

/* Registers with the descriptors' addresses: in DRAM where they hold for the tile at hand, else copies in SRAM whose clamps are set here. */
static void place_descs(struct emit *e, uint32_t operand, vreg *at)
{
	struct transfer *t = describe(e, operand);
	make_descs(e, t);
	bool changed = t->dynamic && e->where != AT_FIRST;
	if (changed) {
		prepare_transfer(e, operand);
		set_copies(e, t);
	}
	for (uint32_t i = 0; i < t->n_descs; i++)
		at[i] = m_const(&e->at, changed ? (int64_t)t->copy[i] : desc_dram(e, t->number[i]));
}

/* ---- transfers ----------------------------------------------------------------------------------------------------------------------- */

/* Loops around the starts of one transfer, from `at` on; closes them again. */
struct around { struct mcursor outer[MAX_COMPS]; };

static void open_loops(struct emit *e, const struct transfer *t, struct around *a)
{
	for (uint32_t i = 0; i < t->extra; i++) {
		a->outer[i] = e->at;
		e->at = mloop(&a->outer[i], m_const(&a->outer[i], t->side[i].size));
	}
}

static void close_loops(struct emit *e, const struct operand *o, const struct transfer *t, const struct around *a, vreg sram, vreg dram)
{
	for (uint32_t i = t->extra; i-- > 0;) {
		const struct side *s = &t->side[i], *in = i + 1 < t->extra ? s + 1 : NULL; /* the loop inside has gone all its way */
		EMIT(&e->at, saddi, R(sram), R(sram), (s->sram - (in ? in->size * in->sram : 0)) * elem_bytes(o->sram_dtype));
		EMIT(&e->at, saddi, R(dram), R(dram), (s->dram - (in ? in->size * in->dram : 0)) * elem_bytes(o->dtype));
		e->at = a->outer[i];
	}
}

/* base + bytes from part 0 to part `i` */
static vreg part_of(struct emit *e, vreg base, int64_t bytes)
{
	if (!bytes)
		return base;
	vreg r = sreg(e);
	EMIT(&e->at, saddi, R(r), R(base), bytes);
	return r;
}

static void start_at(struct emit *e, uint32_t operand, vreg sram, vreg dram, vreg when, struct started *s)
{
	const struct operand *o = &e->p->operand[operand];
	struct transfer *t = describe(e, operand);
	bool out = operand == e->p->n_ops;
	vreg desc[MAX_TRANSFER_PARTS] = { { 0 } };
	place_descs(e, operand, desc);
	struct around a;
	s->number[0] = sreg(e);
	if (t->extra) /* whoever reads it behind the loops finds something on every path */
		EMIT(&e->at, smov, R(s->number[0]), 0);
	open_loops(e, t, &a);
	int64_t starts = 1;
	for (uint32_t i = 0; i < t->extra; i++)
		starts *= t->side[i].size;
	s->n = t->n_parts;
	for (uint32_t i = 0; i < t->n_parts; i++) {
		const struct side *cut = &t->side[t->cut];
		int64_t from = i * t->cut_size;
		vreg sram_part = part_of(e, sram, i ? from * cut->sram * elem_bytes(o->sram_dtype) : 0);
		vreg dram_part = part_of(e, dram, i ? from * cut->dram * elem_bytes(o->dtype) : 0);
		s->number[i] = i ? sreg(e) : s->number[0];
		s->queue[i] = part_queue(t, i);
		e->at.pred = when;
		EMIT(&e->at, dma_start, R(s->number[i]), s->queue[i], R(desc[t->n_descs == t->n_parts ? i : i + 1 == t->n_parts ? t->n_descs - 1 : 0]), out ? R(sram_part) : R(dram_part),
		     out ? R(dram_part) : R(sram_part));
		if (starts > MOST_UNRETIRED)
			EMIT(&e->at, dma_wait, s->queue[i], R(s->number[i]));
		e->at.pred = (vreg){ 0 };
	}
	close_loops(e, o, t, &a, sram, dram);
}

void start_transfer(struct emit *e, uint32_t operand, vreg place, vreg when, struct started *s)
{
	const struct operand *o = &e->p->operand[operand];
	vreg dram = dram_base(e, o), sram = sreg(e);
	EMIT(&e->at, saddi, R(sram), R(place), (int64_t)o->sram);
	start_at(e, operand, sram, dram, when, s);
}

bool stream_move_of(struct emit *e, uint32_t operand, const struct operand *o, uint32_t most_parts, int64_t sram, int64_t dram, struct stream_move *m)
{
	struct transfer *t = tg_alloc(e->f->arena, sizeof *t);
	bool out = operand == e->p->n_ops;
	t->n_queues = most_parts;
	describe_as(e, o, out, t);
	const struct side *cut = &t->side[t->cut];
	*m = (struct stream_move){ .operand = operand, .n_parts = t->n_parts };
	if (t->dynamic || t->extra)
		return false;
	for (uint32_t i = 0; i < t->n_parts; i++) {
		struct tg_dma_desc d = t->desc[t->n_descs == t->n_parts ? i : i + 1 == t->n_parts ? t->n_descs - 1 : 0];
		int64_t from = i * t->cut_size, here = i ? from * cut->sram * elem_bytes(o->sram_dtype) : 0, there = i ? from * cut->dram * elem_bytes(o->dtype) : 0;
		d.src_offset = out ? sram + here : dram + there;
		d.dst_offset = out ? dram + there : sram + here;
		m->part[i] = (struct stream_part){ .desc = desc_dram(e, (uint32_t)e->descs->list.n), .sram = here };
		*TG_PUSH(e->f->arena, &e->descs->list) = d;
	}
	return true;
}

uint32_t first_queue(const struct emit *e, uint32_t operand)
{
	return part_queue(&e->transfer[operand], 0);
}

enum { MIN_CHUNK_BYTES = 4096 }; /* rows may be cut as far as that */

bool cut_transfer(struct emit *e, uint32_t operand, int64_t chunks)
{
	struct transfer *t = describe(e, operand);
	int64_t bytes = elem_bytes(e->p->operand[operand].sram_dtype);
	uint32_t n = t->n_sides;
	if (t->extra || t->made || t->n_parts > 1)
		return chunks == 1;
	for (uint32_t i = 0; i < n && chunks > 1; i++) {
		struct side *s = &t->side[i];
		if (s->guarded || s->size % chunks || (s->sram == 1 && s->dram == 1 && s->size / chunks * bytes < MIN_CHUNK_BYTES))
			continue;
		s->size /= chunks;
		t->chunk_sram = s->size * s->sram;
		t->chunk_dram = s->size * s->dram;
		t->desc[0].size[4 - n + i] = t->desc[0].hi[4 - n + i] = s->size;
		return true;
	}
	return chunks == 1;
}

void start_chunk(struct emit *e, uint32_t operand, vreg which, vreg when, struct started *s)
{
	const struct operand *o = &e->p->operand[operand];
	const struct transfer *t = describe(e, operand);
	vreg dram = dram_base(e, o), sram = m_const(&e->at, (int64_t)o->sram), moved = sreg(e), to = sreg(e), from = sreg(e);
	EMIT(&e->at, smuli, R(moved), R(which), t->chunk_sram * elem_bytes(o->sram_dtype));
	EMIT(&e->at, sadd, R(to), R(sram), R(moved));
	vreg far = sreg(e);
	EMIT(&e->at, smuli, R(far), R(which), t->chunk_dram * elem_bytes(o->dtype));
	EMIT(&e->at, sadd, R(from), R(dram), R(far));
	start_at(e, operand, to, from, when, s);
}

uint64_t transfer_queues(struct emit *e, uint32_t operand)
{
	struct transfer *t = describe(e, operand);
	uint64_t queues = 0;
	for (uint32_t i = 0; i < t->n_parts; i++)
		queues |= UINT64_C(1) << part_queue(t, i);
	return queues;
}

static uint32_t flush_queue(const struct emit *e)
{
	return e->n_queues - 1;
}

void start_flush(struct emit *e, const struct flush *w)
{
	struct tg_dma_desc d = { .kind = TG_DMA_COPY, .src_type = TG_DMA_8, .dst_type = TG_DMA_8 };
	for (int i = 0; i < 4; i++)
		d.size[i] = d.hi[i] = 1;
	d.size[3] = d.hi[3] = (int64_t)w->bytes;
	d.src_stride[3] = d.dst_stride[3] = 1;
	vreg desc = m_const(&e->at, desc_dram(e, (uint32_t)e->descs->list.n)), number = sreg(e);
	*TG_PUSH(e->f->arena, &e->descs->list) = d;
	vreg sram = m_const(&e->at, (int64_t)w->sram), dram = m_const(&e->at, TG_DRAM_BASE + (int64_t)w->dram);
	EMIT(&e->at, dma_start, R(number), flush_queue(e), R(desc), R(sram), R(dram));
	frame_store(e, SLOT_FLUSHED + w->slot, number);
}

void start_margin(struct emit *e, const struct margin *m, uint64_t home)
{
	vreg number = { 0 };
	for (uint32_t i = 0; i < m->n_fills; i++) {
		vreg desc = m_const(&e->at, desc_dram(e, (uint32_t)e->descs->list.n)), to = m_const(&e->at, (int64_t)home + m->fill_at[i]);
		*TG_PUSH(e->f->arena, &e->descs->list) = m->fill_box[i];
		number = sreg(e);
		EMIT(&e->at, dma_start, R(number), flush_queue(e), R(desc), R(to), R(to));
	}
	frame_store(e, SLOT_FILLED, number);
}

void wait_margin(struct emit *e)
{
	vreg number = frame_load(e, SLOT_FILLED);
	EMIT(&e->at, dma_wait, flush_queue(e), R(number));
}

void wait_flush(struct emit *e, uint32_t slot)
{
	vreg number = frame_load(e, SLOT_FLUSHED + slot);
	EMIT(&e->at, dma_wait, flush_queue(e), R(number));
}

void wait_started(struct emit *e, const struct started *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		EMIT(&e->at, dma_wait, s->queue[i], R(s->number[i]));
}

void load_numbers(struct emit *e, uint64_t queues, uint32_t row, vreg *number)
{
	for (uint32_t q = 0; q < e->n_queues; q++)
		if (queues >> q & 1)
			number[q] = frame_load(e, row + q);
}

void wait_numbers(struct emit *e, uint64_t queues, const vreg *number)
{
	for (uint32_t q = 0; q < e->n_queues; q++)
		if (queues >> q & 1)
			EMIT(&e->at, dma_wait, q, R(number[q]));
}

uint64_t tg_fill_bits(enum tg_dtype t, uint64_t bits)
{
	double v;
	uint8_t raw[8] = { 0 };
	uint64_t out;
	memcpy(&v, &bits, sizeof v);
	if (tg_is_float(tg_compute_type(t)))
		tg_put_f64(t, raw, 0, v);
	else
		tg_put_i64(t, raw, 0, (int64_t)bits);
	memcpy(&out, raw, sizeof out);
	return out;
}

static void set_fill(struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		o->fill_bits = tg_fill_bits(o->sram_dtype, p->stage->ins[i].guarded ? p->stage->ins[i].fill : 0);
		if (p->pixels && (int)i == p->rhs)
			o->fill_bits = UINT64_MAX; /* no weight: pixels.c */
	}
}

void emit_begin(struct emit *e, struct mfn *f, struct plan *p, struct descriptors *descs, struct mcursor at)
{
	*e = (struct emit){ .f = f, .p = p, .descs = descs, .at = at, .n_queues = p->chip->dma_queues < MAX_QUEUES ? p->chip->dma_queues : MAX_QUEUES };
	set_fill(p);
	e->transfer = tg_alloc_n(f->arena, p->n_ops + 1, sizeof *e->transfer);
	for (uint32_t i = 0; i < p->n_loops; i++)
		e->tiled[p->loop_order[i]] = true;
	/* What is fetched ahead has queues of its own: a queue completes its transfers in order. */
	uint32_t n = e->n_queues, ahead = n / 2, own = n - ahead, next[2] = { 0, 0 };
	uint32_t streams = stream_queues(p, own); /* these carry nothing else while the stage is at work: their transfers can be numbered beforehand */
	for (uint32_t i = 0; i <= p->n_ops; i++) { /* in turn: what is cut into parts has a queue for each while there are some */
		if (i < p->n_ops && !plan_fetches(e->p, i))
			continue;
		struct transfer *t = &e->transfer[i];
		bool handed = (p->operand[i].apart || streams == own) && ahead; /* handed or not: whoever starts it must find the same queues */
		t->n_queues = handed ? ahead : own - streams;
		t->queue = handed ? own : streams;
		t->first = next[handed];
		next[handed] = (next[handed] + describe(e, i)->n_parts) % t->n_queues;
	}
}
