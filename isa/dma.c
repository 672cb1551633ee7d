/* dma.c: DMA descriptors: legality, the rows that a transfer moves, and their cost. docs/isa.md states the cost model. */
#include "isa_int.h"

#include <string.h>

static const uint8_t type_bytes[] = {[TG_DMA_8] = 1,	[TG_DMA_16] = 2,   [TG_DMA_32] = 4,  [TG_DMA_64] = 8, [TG_DMA_f32] = 4,
				     [TG_DMA_bf16] = 2, [TG_DMA_f16] = 2, [TG_DMA_i32] = 4, [TG_DMA_i64] = 8};

static bool can_convert(unsigned src, unsigned dst)
{
	static const uint8_t pairs[][2] = {{TG_DMA_f32, TG_DMA_bf16}, {TG_DMA_f32, TG_DMA_f16}, {TG_DMA_bf16, TG_DMA_f32},
					   {TG_DMA_f16, TG_DMA_f32},  {TG_DMA_i32, TG_DMA_i64}, {TG_DMA_i64, TG_DMA_i32}};
	if (src == dst)
		return true;
	for (size_t i = 0; i < TG_ARRAY_LEN(pairs); i++) {
		if (pairs[i][0] == src && pairs[i][1] == dst)
			return true;
	}
	return false;
}

/* Adds the extent of one dimension, indices first .. last, to [*lo, *hi]. */
static bool stretch(int64_t stride, int64_t first, int64_t last, int64_t *lo, int64_t *hi)
{
	int64_t a, b;
	if (__builtin_mul_overflow(stride, first, &a) || __builtin_mul_overflow(stride, last, &b))
		return false;
	return !__builtin_add_overflow(*lo, a < b ? a : b, lo) && !__builtin_add_overflow(*hi, a < b ? b : a, hi);
}

static bool in_memory(const struct tg_chip *c, int64_t first, int64_t end)
{
	if (first >= TG_DRAM_BASE)
		return end - TG_DRAM_BASE <= (int64_t)c->dram_bytes;
	return first >= 0 && end <= (int64_t)c->sram_bytes;
}

static bool list_dim(const struct tg_dma_plan *p, bool src)
{
	return p->kind == (src ? TG_DMA_GATHER : TG_DMA_SCATTER);
}

/* The bytes [first, end) that one side touches; `whole`: also outside lo .. hi. */
static bool side_extent(const struct tg_dma_plan *p, bool src, bool whole, int64_t *first, int64_t *end)
{
	int64_t lo = src ? p->src : p->dst, hi = lo;
	for (int k = 0; k < 4; k++) {
		int64_t from = whole ? 0 : p->lo[k], to = whole ? p->size[k] : p->hi[k];
		if (from >= to) {
			*first = *end = src ? p->src : p->dst;
			return true;
		}
		if (k == 0 && list_dim(p, src)) {
			from = 0;
			to = p->list_bound;
		}
		if (!stretch(src ? p->src_stride[k] : p->dst_stride[k], from, to - 1, &lo, &hi))
			return false;
	}
	*first = lo;
	return !__builtin_add_overflow(hi, src ? p->src_bytes : p->dst_bytes, end);
}

/* Joins dimension k with k + 1 when one follows on the other on both sides and k + 1 has no outside. */
static void join_dims(struct tg_dma_plan *p)
{
	int outermost = p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER ? 1 : 0; /* a listed dimension stays where it is */
	for (int k = 2; k >= outermost; k--) {
		bool whole = p->lo[k + 1] == 0 && p->hi[k + 1] == p->size[k + 1];
		bool follows = p->src_stride[k] == p->size[k + 1] * p->src_stride[k + 1] && p->dst_stride[k] == p->size[k + 1] * p->dst_stride[k + 1];
		bool unit = p->size[k] == 1 && p->lo[k] == 0 && p->hi[k] == 1;
		if (!unit && !(whole && follows))
			continue;
		if (!unit) {
			p->lo[k + 1] = p->lo[k] * p->size[k + 1];
			p->hi[k + 1] = p->hi[k] * p->size[k + 1];
			p->size[k + 1] *= p->size[k];
		}
		/* the dimensions outside of k move in by one; a dimension of size 1 comes in at the front */
		for (int j = k; j > outermost; j--) {
			p->size[j] = p->size[j - 1];
			p->lo[j] = p->lo[j - 1];
			p->hi[j] = p->hi[j - 1];
			p->src_stride[j] = p->src_stride[j - 1];
			p->dst_stride[j] = p->dst_stride[j - 1];
		}
		p->size[outermost] = p->hi[outermost] = 1;
		p->lo[outermost] = p->src_stride[outermost] = p->dst_stride[outermost] = 0;
	}
}

static const char *copy_fields(const struct tg_dma_desc *d, struct tg_dma_plan *p)
{
	if (d->kind > TG_DMA_SCATTER || d->outside > TG_DMA_FILL_OUTSIDE || d->reserved)
		return "the descriptor's kind or reserved bits are not defined";
	if (d->src_type > TG_DMA_i64 || d->dst_type > TG_DMA_i64 || (d->kind != TG_DMA_FILL && !can_convert(d->src_type, d->dst_type)))
		return "no such DMA conversion";
	*p = (struct tg_dma_plan){.kind = d->kind, .src_type = d->src_type, .dst_type = d->dst_type, .fill_outside = d->outside == TG_DMA_FILL_OUTSIDE};
	p->src_bytes = d->kind == TG_DMA_FILL ? 0 : type_bytes[d->src_type];
	p->dst_bytes = type_bytes[d->dst_type];
	p->fill_bits = d->fill_bits;
	p->list_addr = d->list_addr;
	p->list_bound = d->list_bound;
	for (int k = 0; k < 4; k++) {
		if (d->size[k] < 0)
			return "a DMA size is negative";
		p->size[k] = d->size[k];
		p->lo[k] = d->lo[k] < 0 ? 0 : d->lo[k] > d->size[k] ? d->size[k] : d->lo[k];
		p->hi[k] = d->hi[k] < p->lo[k] ? p->lo[k] : d->hi[k] > d->size[k] ? d->size[k] : d->hi[k];
		p->src_stride[k] = d->src_stride[k];
		p->dst_stride[k] = d->dst_stride[k];
		if (d->kind == TG_DMA_FILL) {
			p->lo[k] = 0;
			p->hi[k] = d->size[k];
			p->src_stride[k] = d->dst_stride[k];
		}
	}
	return NULL;
}

/* Elements that are written; more than the memory has bytes means that a byte is written twice. */
static bool countable(const struct tg_dma_plan *p, bool whole, int64_t limit)
{
	int64_t n = 1;
	for (int k = 0; k < 4; k++) {
		if (__builtin_mul_overflow(n, whole ? p->size[k] : p->hi[k] - p->lo[k], &n))
			return false;
	}
	return n <= limit / p->dst_bytes;
}

const char *tg_dma_plan(const struct tg_chip *c, const struct tg_dma_desc *d, int64_t src_base, int64_t dst_base, struct tg_dma_plan *p)
{
	const char *why = copy_fields(d, p);
	if (why)
		return why;
	bool whole = p->fill_outside || p->kind == TG_DMA_FILL;
	if (__builtin_add_overflow(src_base, p->kind == TG_DMA_FILL ? 0 : d->src_offset, &p->src) || __builtin_add_overflow(dst_base, d->dst_offset, &p->dst))
		return "a DMA address overflows";
	if (!side_extent(p, false, whole, &p->dst_first, &p->dst_end) || (p->kind != TG_DMA_FILL && !side_extent(p, true, false, &p->src_first, &p->src_end)))
		return "a DMA address overflows";
	if (p->kind == TG_DMA_FILL || p->src_first == p->src_end)
		p->src_first = p->src_end = 0;
	if (p->dst_first == p->dst_end)
		p->dst_first = p->dst_end = 0;
	if (!in_memory(c, p->src_first, p->src_end))
		return "the DMA source lies outside the memory";
	if (!in_memory(c, p->dst_first, p->dst_end))
		return "the DMA destination lies outside the memory";
	if (!countable(p, whole, p->dst_first >= TG_DRAM_BASE ? (int64_t)c->dram_bytes : (int64_t)c->sram_bytes))
		return "the DMA transfer writes a byte twice";
	if (p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER) {
		if (p->list_bound > INT32_MAX || p->size[0] > ((int64_t)c->sram_bytes - (int64_t)p->list_addr) / 4)
			return "the DMA index list lies outside SRAM";
	}
	/* nothing to move: no walk over dimensions that are all outside */
	if (p->dst_first == p->dst_end)
		memset(p->size, 0, sizeof p->size);
	else
		join_dims(p);
	return NULL;
}

/* ---- boxes ---- */

static bool listed(const struct tg_dma_plan *p)
{
	return p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER;
}

void tg_dma_boxes_init(struct tg_dma_boxes *w, const struct tg_dma_plan *p, const void *list)
{
	w->plan = p;
	w->list = list;
	w->i0 = 0;
	w->end0 = 1;
	w->parts = 1;
	for (int k = 0; k < 4 && p->fill_outside; k++)
		w->parts |= (unsigned)(p->lo[k] > 0) << (2 * k + 1) | (unsigned)(p->hi[k] < p->size[k]) << (2 * k + 2);
	if (listed(p)) {
		w->i0 = p->fill_outside ? 0 : p->lo[0];
		w->end0 = p->fill_outside ? p->size[0] : p->hi[0];
	}
	w->left = w->parts;
}

/* What the index i0 adds to an address. */
static int64_t index_at(const struct tg_dma_boxes *w, bool src)
{
	const struct tg_dma_plan *p = w->plan;
	int64_t at = w->i0;
	int32_t v = 0;
	if (p->kind == (src ? TG_DMA_GATHER : TG_DMA_SCATTER) && w->list) {
		memcpy(&v, (const uint8_t *)w->list + 4 * w->i0, sizeof v);
		at = v;
	} else if (p->kind == (src ? TG_DMA_GATHER : TG_DMA_SCATTER)) {
		at = at < p->list_bound ? at : 0;
	}
	return at * (src ? p->src_stride[0] : p->dst_stride[0]);
}

struct range {
	int64_t from, to;
};
/* Bit i of `parts`: part i is not empty for its own dimension. Part 0 is the inside. Behind it, for each dimension, what lies below lo and from hi on there, inside in the dimensions around it, anywhere in those within. */
static struct range range_of(const struct tg_dma_plan *p, int part, int k)
{
	int outside = (part - 1) / 2; /* in which dimension */
	if (part == 0 || k < outside)
		return (struct range){p->lo[k], p->hi[k]};
	if (k > outside)
		return (struct range){0, p->size[k]};
	return part % 2 ? (struct range){0, p->lo[k]} : (struct range){p->hi[k], p->size[k]};
}

/* Puts a dimension inside of those that are there; one index needs none. */
static void add_dim(struct tg_dma_box *b, int64_t size, int64_t src_step, int64_t dst_step)
{
	if (size == 1)
		return;
	for (int k = 0; k < 3; k++) {
		b->size[k] = b->size[k + 1];
		b->src_step[k] = b->src_step[k + 1];
		b->dst_step[k] = b->dst_step[k + 1];
	}
	b->size[3] = size;
	b->src_step[3] = src_step;
	b->dst_step[3] = dst_step;
}

/* A part; of a listed dimension all but what the index adds. False: it is empty. */
static bool box_of(const struct tg_dma_boxes *w, struct tg_dma_box *b)
{
	const struct tg_dma_plan *p = w->plan;
	bool fill = w->part != 0 || p->kind == TG_DMA_FILL;
	*b = (struct tg_dma_box){.fill = fill, .src = fill ? 0 : p->src, .dst = p->dst, .n = 1, .size = {1, 1, 1, 1}};
	for (int k = 0; k < 4; k++) {
		struct range r = range_of(p, w->part, k);
		int64_t src_step = fill ? 0 : p->src_stride[k];
		if (k == 0 && listed(p)) {
			if (w->i0 < r.from || w->i0 >= r.to)
				return false;
			continue;
		}
		if (r.from >= r.to)
			return false;
		b->src += r.from * src_step;
		b->dst += r.from * p->dst_stride[k];
		if (k == 3 && p->dst_stride[3] == p->dst_bytes && (fill || p->src_stride[3] == p->src_bytes))
			b->n = r.to - r.from;
		else
			add_dim(b, r.to - r.from, src_step, p->dst_stride[k]);
	}
	return true;
}

/* The next index of a listed dimension; without an outside their boxes differ in nothing but addresses. */
static bool next_listed(struct tg_dma_boxes *w, struct tg_dma_box *out)
{
	if (w->i0 >= w->end0 || (w->left && !box_of(w, &w->first)))
		return false;
	w->left = 0;
	*out = w->first;
	out->src += out->fill ? 0 : index_at(w, true);
	out->dst += index_at(w, false);
	w->i0++;
	return true;
}

bool tg_dma_next_box(struct tg_dma_boxes *w, struct tg_dma_box *out)
{
	w->part = 0;
	if (listed(w->plan) && w->parts == 1)
		return next_listed(w, out);
	for (; w->i0 < w->end0; w->i0++, w->left = w->parts) {
		while (w->left) {
			w->part = __builtin_ctz(w->left);
			w->left &= w->left - 1;
			if (!box_of(w, out))
				continue;
			if (listed(w->plan)) {
				out->src += out->fill ? 0 : index_at(w, true);
				out->dst += index_at(w, false);
			}
			return true;
		}
	}
	return false;
}

/* ---- cost ---- */

static uint64_t bursts(const struct tg_chip *c, int64_t at, uint64_t n)
{
	uint64_t b = c->dram_burst, first = (uint64_t)(at - TG_DRAM_BASE), last = first + n - 1;
	return (last | (b - 1)) - (first & ~(b - 1)) + 1; /* a burst is a power of two: a division would cost more than the rest */
}

/* Rows at steps of whole bursts cost what the first does. */
static bool all_alike(const struct tg_chip *c, const struct tg_dma_rows *g, bool src_dram, bool dst_dram)
{
	int64_t within = (int64_t)c->dram_burst - 1; /* a power of two less one */
	return !((src_dram ? g->src_step & within : 0) | (dst_dram ? g->dst_step & within : 0));
}

void tg_dma_cost(const struct tg_chip *c, const struct tg_dma_plan *p, const void *list, struct tg_dma_cost *out)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	memset(out, 0, sizeof *out);
	uint64_t width = c->dram_bytes_per_cycle, total = 0;
	for (tg_dma_walk_init(&w, p, list); tg_dma_walk_next(&w, &g);) {
		uint64_t src_n = g.fill ? 0 : (uint64_t)g.n * p->src_bytes, dst_n = (uint64_t)g.n * p->dst_bytes;
		bool src_dram = !g.fill && g.src >= TG_DRAM_BASE, dst_dram = g.dst >= TG_DRAM_BASE;
		uint64_t pieces = ((src_n > dst_n ? src_n : dst_n) + 31) / 32 * 32, rows = (uint64_t)g.rows;
		uint64_t times = all_alike(c, &g, src_dram, dst_dram) ? rows : 1;
		for (uint64_t r = 0; r < rows; r += times) {
			uint64_t in = src_dram ? bursts(c, g.src + (int64_t)r * g.src_step, src_n) : 0;
			uint64_t to = dst_dram ? bursts(c, g.dst + (int64_t)r * g.dst_step, dst_n) : 0;
			uint64_t most = in + to > pieces ? in + to : pieces;
			out->engine_cycles += times * (most <= width ? 1 : (most + width - 1) / width);
			out->dram_read_bytes += times * in;
			out->dram_written_bytes += times * to;
			total += times * (in + to);
		}
		out->rows += rows;
		out->sram_bytes += (src_dram ? 0 : src_n * rows) + (dst_dram ? 0 : dst_n * rows);
	}
	out->dram_cycles = (total + width - 1) / width;
}
