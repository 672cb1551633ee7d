/* sim_dma.c: the DMA engine: hazards, data, time. docs/isa.md states the cost model.
 *
 * A transfer lives from its start to the wait that retires it. Transfers are compared pair by pair, by the grids of their rows (grid.h). In SRAM, where
 * those may meet or a load or store reaches into one, the exact bytes get marks (core.h) that decide; most transfers never need them. In DRAM, which only
 * transfers reach, rows are compared. Because nothing may touch what an unretired transfer writes, or write what it reads, the moment at
 * which the bytes move cannot be seen: early moves them at the start, late at the wait, random somewhere between. Time is the same in all three. */
#include "sim_int.h"

#include <stdlib.h>

/* ---- marks in SRAM ---- */

static void count_chunks(uint32_t *count, uint64_t at, uint64_t n, uint32_t by)
{
	for (uint64_t k = at >> CHUNK_SHIFT; k <= (at + n - 1) >> CHUNK_SHIFT; k++)
		count[k] += by;
}

static const char *mark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (marks_have(m, at, n, MARK_WRITER))
		return "a DMA transfer reads bytes that an unretired transfer writes";
	if (!bits_all_set(m->written, at, n))
		return "a DMA transfer reads SRAM bytes that were not written";
	uint8_t full = 0, *mark = m->mark + at;
	for (uint64_t i = 0; i < n; i++) {
		full |= (uint8_t)((mark[i] & MARK_READERS) == MARK_READERS);
		mark[i]++;
	}
	return full ? "more than 126 unretired transfers read a byte" : NULL;
}

static const char *mark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (marks_have(m, at, n, MARK_WRITER | MARK_READERS))
		return "a DMA transfer writes bytes that it or an unretired transfer reads or writes";
	memset(m->mark + at, MARK_WRITER, n);
	bits_set(m->written, at, n);
	return NULL;
}

static void unmark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	uint8_t *mark = m->mark + at;
	for (uint64_t i = 0; i < n; i++)
		mark[i]--;
}

static void unmark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	memset(m->mark + at, 0, n);
}

/* The bytes of one side of a group of rows, as stretches: contiguous rows are one. */
struct stretches {
	int64_t at, n, count, step;
};
static struct stretches side_of(const struct tg_dma_plan *p, const struct tg_dma_rows *g, bool src)
{
	struct stretches t = {src ? g->src : g->dst, g->n * (src ? p->src_bytes : p->dst_bytes), g->rows, src ? g->src_step : g->dst_step};
	if (t.count > 1 && t.step == t.n) {
		t.n *= t.count;
		t.count = 1;
	} else if (src && t.count > 1 && t.step == 0) {
		t.count = 1; /* one element, read again and again */
	}
	return t;
}

static const uint8_t *list_of(const struct tg_sim *s, const struct tg_dma_plan *p)
{
	return p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER ? s->core.mem.at + p->list_addr : NULL;
}

static bool in_dram(int64_t at)
{
	return at >= TG_DRAM_BASE;
}

static bool meet(int64_t a, int64_t a_end, int64_t b, int64_t b_end)
{
	return a < b_end && b < a_end;
}

/* Calls `row` for the stretches of a side in SRAM, until it says why not. */
typedef const char *on_stretch(struct tg_memory *m, uint64_t at, uint64_t n);
static const char *each_stretch(struct tg_sim *s, const struct tg_dma_plan *p, bool src, on_stretch *row)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	const char *why = NULL;
	if ((src ? p->src_first : p->dst_first) >= TG_DRAM_BASE || (src && p->kind == TG_DMA_FILL))
		return NULL;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (!why && tg_dma_walk_next(&w, &g)) {
		if (src && g.fill)
			continue;
		struct stretches t = side_of(p, &g, src);
		for (int64_t i = 0; i < t.count && !why; i++)
			why = row(&s->core.mem, (uint64_t)(t.at + i * t.step), (uint64_t)t.n);
	}
	return why;
}

static const char *take_mark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	unmark_read(m, at, n);
	return NULL;
}
static const char *take_mark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	unmark_write(m, at, n);
	return NULL;
}
static const char *give_mark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	uint8_t *mark = m->mark + at;
	for (uint64_t i = 0; i < n; i++)
		mark[i]++;
	return NULL;
}
static const char *give_mark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	memset(m->mark + at, MARK_WRITER, n);
	return NULL;
}

/* Marks the bytes of a transfer that was found legal without them. */
static void mark_late(struct tg_sim *s, struct transfer *x)
{
	if (x->marked)
		return;
	x->marked = true;
	each_stretch(s, &x->plan, true, give_mark_read);
	each_stretch(s, &x->plan, false, give_mark_write);
	if (x->list_bytes)
		give_mark_read(&s->core.mem, x->plan.list_addr, x->list_bytes);
}

void dma_settle(void *user, uint64_t at, uint64_t n)
{
	struct tg_sim *s = user;
	const struct grid bytes = grid_of_bytes((int64_t)at, (int64_t)n);
	for (struct transfer *x = s->unretired; x; x = x->next) {
		if (!x->marked && (grids_may_meet(&bytes, &x->src) || grids_may_meet(&bytes, &x->dst) || grids_may_meet(&bytes, &x->list)))
			mark_late(s, x);
	}
}

/* Rows with whole chunks between them count apart, so that what is done there is not held up. */
#define FAR_APART (2 << CHUNK_SHIFT)

static void count_grid(struct tg_memory *m, const struct grid *g, bool write, uint32_t by)
{
	const struct grid c = grid_coarse(g, FAR_APART);
	for (struct grid_walk w = grid_begin(&c); !w.done; grid_next(&c, &w)) {
		uint64_t at = (uint64_t)w.at, n = (uint64_t)c.n;
		count_chunks(m->chunk_any, at, n, by);
		if (write)
			count_chunks(m->chunk_write, at, n, by);
		if (by == 1)
			forget_clean(m, at, n, write ? 0 : CLEAN_READ);
	}
}

static void count_transfer(struct tg_sim *s, const struct transfer *x, uint32_t by)
{
	struct tg_memory *m = &s->core.mem;
	count_grid(m, &x->src, false, by);
	count_grid(m, &x->dst, true, by);
	count_grid(m, &x->list, false, by);
	s->n_readers += by * x->depth;
}

/* At most so many rows of a side have a byte in common; 1: none do. From the smallest stride up, each either steps over all that lies below it, or
 * as many of it meet as it takes to do so. */
static uint32_t depth_of(const struct tg_dma_plan *p, bool src)
{
	const int64_t *stride = src ? p->src_stride : p->dst_stride;
	int64_t span = src ? p->src_bytes : p->dst_bytes, depth = 1;
	bool used[4] = {false};
	for (int step = 0; step < 4; step++) {
		int best = -1;
		for (int k = 0; k < 4; k++) {
			if (!used[k] && (best < 0 || llabs(stride[k]) < llabs(stride[best])))
				best = k;
		}
		used[best] = true;
		int64_t by = llabs(stride[best]), n = p->size[best];
		if (n <= 1)
			continue;
		if (by < span)
			depth *= by && (span - 1) / by + 1 < n ? (span - 1) / by + 1 : n;
		if (depth > MARK_READERS)
			return MARK_READERS;
		span += (n - 1) * by;
	}
	return (uint32_t)depth;
}

/* A byte may be read more often than a mark can count: those that only read have to be counted too. */
static bool many(const struct tg_sim *s, const struct transfer *x)
{
	return s->n_readers + x->depth > MARK_READERS - 1;
}

static bool may_meet(const struct transfer *x, const struct transfer *y)
{
	return grids_may_meet(&x->dst, &y->src) || grids_may_meet(&x->dst, &y->dst) || grids_may_meet(&x->dst, &y->list) || grids_may_meet(&x->src, &y->dst) ||
	       grids_may_meet(&x->list, &y->dst);
}

/* Whether marks must decide: something may meet, or many are under way. */
static bool needs_marks(const struct tg_sim *s, const struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	if (many(s, x) || grids_may_meet(&x->dst, &x->src) || grids_may_meet(&x->dst, &x->list))
		return true;
	if ((x->dst.n && (p->kind == TG_DMA_SCATTER || depth_of(p, false) > 1)) || (x->src.n && p->kind == TG_DMA_GATHER))
		return true;
	for (const struct transfer *y = s->unretired; y; y = y->next) {
		if (may_meet(x, y))
			return true;
	}
	return false;
}

static const char *check_list(struct tg_sim *s, struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	const uint8_t *list = list_of(s, p);
	if (!list || p->size[0] <= 0)
		return NULL;
	x->list_bytes = (uint32_t)p->size[0] * 4;
	x->list = grid_of_bytes(p->list_addr, x->list_bytes);
	dma_settle(s, p->list_addr, x->list_bytes);
	const char *why = mark_read(&s->core.mem, p->list_addr, x->list_bytes);
	for (int64_t i = 0; !why && i < p->size[0]; i++) {
		int32_t v;
		memcpy(&v, list + 4 * i, 4);
		if (v < 0 || (uint32_t)v >= p->list_bound)
			why = "a DMA index is out of its bounds";
	}
	return why;
}

static bool grid_written(const struct tg_memory *m, const struct grid *g)
{
	bool all = true;
	for (struct grid_walk w = grid_begin(g); all && !w.done; grid_next(g, &w))
		all = bits_all_set(m->written, (uint64_t)w.at, (uint64_t)g->n);
	return all;
}

/* Of transfers without marks: the grid has the bytes and no others, since neither side goes by a list. */
static const char *take_written(struct tg_memory *m, const struct transfer *x)
{
	if (!grid_written(m, &x->src))
		return "a DMA transfer reads SRAM bytes that were not written"; /* no case: mark_read says it too */
	for (struct grid_walk w = grid_begin(&x->dst); !w.done; grid_next(&x->dst, &w))
		bits_set(m->written, (uint64_t)w.at, (uint64_t)x->dst.n);
	return NULL;
}

/* The SRAM side of a start. The list, if any, is marked already. */
static const char *enter_sram(struct tg_sim *s, struct transfer *x)
{
	const char *why;
	if (needs_marks(s, x)) {
		bool all = many(s, x);
		for (struct transfer *y = s->unretired; y; y = y->next) {
			if (all || may_meet(x, y))
				mark_late(s, y);
		}
		x->marked = true;
		why = each_stretch(s, &x->plan, true, mark_read);
		if (!why)
			why = each_stretch(s, &x->plan, false, mark_write);
	} else {
		if (x->list_bytes)
			unmark_read(&s->core.mem, x->plan.list_addr, x->list_bytes);
		why = take_written(&s->core.mem, x);
	}
	count_transfer(s, x, 1);
	return why;
}

static void note_grid(struct tg_memory *m, const struct grid *g)
{
	const struct grid c = grid_coarse(g, FAR_APART);
	for (struct grid_walk w = grid_begin(&c); !w.done; grid_next(&c, &w))
		note_clean(m, (uint64_t)w.at, (uint64_t)c.n);
}

static void leave_sram(struct tg_sim *s, const struct transfer *x)
{
	if (x->marked) {
		each_stretch(s, &x->plan, true, take_mark_read);
		each_stretch(s, &x->plan, false, take_mark_write);
		if (x->list_bytes)
			unmark_read(&s->core.mem, x->plan.list_addr, x->list_bytes);
	}
	count_transfer(s, x, UINT32_MAX);
	/* what came in is about to be read: find out now, all at once */
	note_grid(&s->core.mem, &x->dst);
	note_grid(&s->core.mem, &x->src);
}

/* ---- hazards in DRAM ---- */

static int by_first(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

static size_t collect(struct tg_sim *s, const struct tg_dma_plan *p, bool src, bool second)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	bool sorted = true;
	struct span last = {INT64_MIN, INT64_MIN};
	size_t n = 0;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (tg_dma_walk_next(&w, &g)) {
		if (src && g.fill)
			continue;
		struct stretches t = side_of(p, &g, src);
		for (int64_t i = 0; i < t.count; i++) {
			struct span v = {t.at + i * t.step, t.at + i * t.step + t.n};
			sorted = sorted && v.first >= last.first;
			last = v;
			if (second)
				*TG_PUSH(s->arena, &s->spans_b) = v;
			else
				*TG_PUSH(s->arena, &s->spans_a) = v;
			n++;
		}
	}
	if (!sorted)
		qsort(second ? s->spans_b.at : s->spans_a.at, n, sizeof(struct span), by_first);
	return n;
}

/* Whether two sides share a byte; boxes first, then row by row in ascending order. */
static bool sides_meet(struct tg_sim *s, const struct tg_dma_plan *a, bool a_src, const struct tg_dma_plan *b, bool b_src)
{
	int64_t a0 = a_src ? a->src_first : a->dst_first, a1 = a_src ? a->src_end : a->dst_end;
	int64_t b0 = b_src ? b->src_first : b->dst_first, b1 = b_src ? b->src_end : b->dst_end;
	if (!in_dram(a0) || !in_dram(b0) || !meet(a0, a1, b0, b1))
		return false;
	s->spans_a.n = s->spans_b.n = 0;
	size_t na = collect(s, a, a_src, false), nb = collect(s, b, b_src, true);
	const struct span *x = s->spans_a.at, *y = s->spans_b.at;
	for (size_t i = 0, k = 0; i < na && k < nb;) {
		if (meet(x[i].first, x[i].end, y[k].first, y[k].end))
			return true;
		if (x[i].end <= y[k].first)
			i++;
		else
			k++;
	}
	return false;
}

/* A transfer that writes a DRAM byte twice, or what it reads. */
static bool meets_itself(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (sides_meet(s, p, false, p, true))
		return true;
	if (!in_dram(p->dst_first))
		return false;
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	int64_t last = INT64_MIN;
	bool ascending = true;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (ascending && tg_dma_walk_next(&w, &g)) {
		struct stretches t = side_of(p, &g, false);
		ascending = t.at >= last && (t.count == 1 || t.step >= t.n);
		last = t.at + (t.count - 1) * t.step + t.n;
	}
	if (ascending)
		return false;
	s->spans_a.n = 0;
	size_t n = collect(s, p, false, false);
	for (size_t i = 1; i < n; i++) {
		if (s->spans_a.at[i].first < s->spans_a.at[i - 1].end)
			return true;
	}
	return false;
}

static const char *check_dram(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->src_first) && !in_dram(p->dst_first))
		return NULL;
	if (in_dram(p->dst_first) && meets_itself(s, p))
		return "a DMA transfer writes a DRAM byte twice, or one that it reads";
	for (const struct transfer *x = s->unretired; x; x = x->next) {
		if (sides_meet(s, p, false, &x->plan, false) || sides_meet(s, p, false, &x->plan, true))
			return "a DMA transfer writes DRAM bytes that an unretired transfer reads or writes";
		if (sides_meet(s, p, true, &x->plan, false))
			return "a DMA transfer reads DRAM bytes that an unretired transfer writes";
	}
	return NULL;
}

/* ---- data ---- */

/* Where the bytes of a side are: a pointer that stands for its address `first`. */
static uint8_t *write_side(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->dst_first))
		return s->core.mem.at + p->dst_first;
	return dram_write(s, (uint64_t)(p->dst_first - TG_DRAM_BASE), (uint64_t)(p->dst_end - TG_DRAM_BASE));
}
static const uint8_t *read_side(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->src_first))
		return s->core.mem.at + p->src_first;
	return dram_read(s, (uint64_t)(p->src_first - TG_DRAM_BASE), (uint64_t)(p->src_end - TG_DRAM_BASE));
}

static void touch_rows(struct tg_sim *s, const struct tg_dma_plan *p, const struct tg_dma_rows *g)
{
	uint64_t at = (uint64_t)(g->dst - TG_DRAM_BASE), n = (uint64_t)g->n * p->dst_bytes;
	for (int64_t i = 0; i < g->rows; i++, at += (uint64_t)g->dst_step) {
		if (at >> DRAM_PAGE_SHIFT != s->last_touched || (at + n - 1) >> DRAM_PAGE_SHIFT != s->last_touched) {
			dram_touch(s, at, n);
			s->last_touched = (at + n - 1) >> DRAM_PAGE_SHIFT;
		}
	}
}

static void fill_row(uint8_t *d, uint64_t bits, unsigned bytes, int64_t n)
{
	if (bytes == 1 || bits == 0) {
		memset(d, (int)(bits & 0xff), (size_t)n * bytes);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		memcpy(d + i * bytes, &bits, bytes);
}

static void convert_row(uint8_t *d, const uint8_t *p, unsigned from, unsigned to, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		uint64_t raw = 0, out = 0;
		if (from == TG_DMA_f32) {
			uint32_t a;
			memcpy(&a, p + 4 * i, 4);
			out = to == TG_DMA_bf16 ? tg_to_bf16(a) : tg_to_f16(a);
			memcpy(d + 2 * i, &out, 2);
		} else if (to == TG_DMA_f32) {
			memcpy(&raw, p + 2 * i, 2);
			out = from == TG_DMA_bf16 ? tg_from_bf16((uint32_t)raw) : tg_from_f16((uint32_t)raw);
			memcpy(d + 4 * i, &out, 4);
		} else if (from == TG_DMA_i32) {
			int32_t a;
			memcpy(&a, p + 4 * i, 4);
			int64_t wide = a;
			memcpy(d + 8 * i, &wide, 8);
		} else {
			int64_t a;
			memcpy(&a, p + 8 * i, 8);
			int32_t low = a < INT32_MIN ? INT32_MIN : a > INT32_MAX ? INT32_MAX : (int32_t)a;
			memcpy(d + 4 * i, &low, 4);
		}
	}
}

static void copy_elements(uint8_t *d, const uint8_t *p, const struct tg_dma_rows *g, unsigned bytes)
{
#define STEP(w)                                                                                                                                      \
	case w:                                                                                                                                      \
		for (int64_t i = 0; i < g->rows; i++)                                                                                                \
			memcpy(d + i * g->dst_step, p + i * g->src_step, w);                                                                         \
		break
	switch (bytes) {
		STEP(1);
		STEP(2);
		STEP(4);
		STEP(8);
	}
}

static void move_rows(const struct tg_dma_plan *p, const struct tg_dma_rows *g, uint8_t *d, const uint8_t *from)
{
	if (!g->fill && g->n == 1 && p->src_type == p->dst_type) {
		copy_elements(d, from, g, p->dst_bytes);
		return;
	}
	for (int64_t i = 0; i < g->rows; i++) {
		if (g->fill)
			fill_row(d + i * g->dst_step, p->fill_bits, p->dst_bytes, g->n);
		else if (p->src_type == p->dst_type)
			memcpy(d + i * g->dst_step, from + i * g->src_step, (size_t)g->n * p->dst_bytes);
		else
			convert_row(d + i * g->dst_step, from + i * g->src_step, p->src_type, p->dst_type, g->n);
	}
}

static void move(struct tg_sim *s, struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	x->moved = true;
	if (p->dst_first == p->dst_end)
		return;
	uint8_t *d = write_side(s, p);
	const uint8_t *from = p->src_first == p->src_end ? NULL : read_side(s, p);
	s->last_touched = UINT64_MAX;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (tg_dma_walk_next(&w, &g)) {
		if (in_dram(g.dst))
			touch_rows(s, p, &g);
		move_rows(p, &g, d + (g.dst - p->dst_first), g.fill ? NULL : from + (g.src - p->src_first));
	}
}

/* ---- time ---- */

/* Transfers of a loop cost the same again and again: what the cost depends on, and the cost. */
#define N_COSTS 256
struct cost_memo {
	struct tg_dma_plan key;
	struct tg_dma_cost cost;
	bool used;
};

void dma_open(struct tg_sim *s)
{
	s->costs = tg_alloc_n(s->arena, N_COSTS, sizeof *s->costs);
}

/* Where a side begins matters within a burst only. */
static int64_t within_burst(const struct tg_sim *s, int64_t at)
{
	return in_dram(at) ? TG_DRAM_BASE + (at - TG_DRAM_BASE) % s->x->chip.dram_burst : 0;
}

static void cost_of(struct tg_sim *s, const struct tg_dma_plan *p, struct tg_dma_cost *out)
{
	struct tg_dma_plan key;
	uint64_t hash = UINT64_C(0xcbf29ce484222325), word;
	if (list_of(s, p)) {
		tg_dma_cost(&s->x->chip, p, list_of(s, p), out);
		return;
	}
	memcpy(&key, p, sizeof key); /* padding too: plans are zeroed first */
	key.fill_bits = 0;
	key.src = within_burst(s, p->src);
	key.dst = within_burst(s, p->dst);
	key.src_first = key.src_end = in_dram(p->src_first);
	key.dst_first = key.dst_end = in_dram(p->dst_first);
	for (size_t i = 0; i + 8 <= sizeof key; i += 8) {
		memcpy(&word, (const uint8_t *)&key + i, 8);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	struct cost_memo *m = &s->costs[hash % N_COSTS];
	if (!m->used || memcmp(&m->key, &key, sizeof key) != 0) {
		m->used = true;
		memcpy(&m->key, &key, sizeof key);
		tg_dma_cost(&s->x->chip, p, NULL, &m->cost);
	}
	*out = m->cost;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The queue's engine takes transfers in order; the DRAM serves queues in the order of their starts; the latency overlaps. */
static void schedule(struct tg_sim *s, struct queue *q, struct transfer *x, const struct tg_dma_cost *cost)
{
	uint64_t begin = later(s->cycle, q->engine_free), end = begin + cost->engine_cycles;
	if (cost->dram_cycles) {
		uint64_t data = later(begin, s->dram_free);
		s->dram_free = data + cost->dram_cycles;
		end = later(end, s->dram_free);
	}
	q->engine_free = end;
	x->done = later(q->last_done, end + (cost->dram_cycles ? s->x->chip.dram_latency : 0));
	q->last_done = x->done;
	q->done[(x->number - 1) % s->x->chip.dma_depth] = x->done;
	if (s->options.trace)
		trace_transfer(s, x, begin, cost);
}

static bool some_of_random(struct tg_sim *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (s->random & 3) == 0;
}

static void random_moves(struct tg_sim *s)
{
	for (struct transfer *x = s->unretired; s->options.dma == TG_DMA_RANDOM && x; x = x->next) {
		if (!x->moved && some_of_random(s))
			move(s, x);
	}
}

/* ---- start and wait ---- */

static bool read_descriptor(struct tg_sim *s, int64_t at, struct tg_dma_desc *d)
{
	if (at % 8)
		return sim_trap(s, "a DMA descriptor is not 8-byte aligned", at, NULL);
	if (in_dram(at)) {
		if ((uint64_t)(at - TG_DRAM_BASE) > s->x->chip.dram_bytes - sizeof *d)
			return sim_trap(s, "a DMA descriptor lies outside DRAM", at, NULL);
		for (const struct transfer *x = s->unretired; x; x = x->next) {
			if (meet(at, at + (int64_t)sizeof *d, x->plan.dst_first, x->plan.dst_end))
				return sim_trap(s, "a DMA descriptor lies where an unretired transfer writes", at, NULL);
		}
	} else {
		const char *why = mem_check_read(&s->core.mem, (uint64_t)at, sizeof *d);
		if (why)
			return sim_trap(s, "a DMA descriptor lies in SRAM that is outside, not written, or being written", at, NULL);
	}
	uint64_t offset = (uint64_t)(at - TG_DRAM_BASE);
	memcpy(d, in_dram(at) ? dram_read(s, offset, offset + sizeof *d) : s->core.mem.at + at, sizeof *d);
	return true;
}

static void wait_for_room(struct tg_sim *s, struct tg_counters *c, struct queue *q)
{
	uint32_t depth = s->x->chip.dma_depth;
	if (q->started < depth)
		return;
	uint64_t free = q->done[q->started % depth];
	if (free > s->cycle) {
		c->stall_dma_full += free - s->cycle;
		s->cycle = free;
	}
}

static struct transfer *new_transfer(struct tg_sim *s)
{
	struct transfer *x = s->spare_transfers;
	if (x)
		s->spare_transfers = x->next;
	else
		x = tg_alloc(s->arena, sizeof *x);
	memset(x, 0, sizeof *x);
	return x;
}

bool dma_start(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in, int64_t *number)
{
	struct queue *q = &s->queues[in->f[1]];
	struct tg_dma_desc d;
	struct tg_dma_cost cost;
	if (!read_descriptor(s, s->core.s[in->f[2]], &d))
		return false;
	wait_for_room(s, c, q);
	struct transfer *x = new_transfer(s);
	const char *why = tg_dma_plan(&s->x->chip, &d, s->core.s[in->f[3]], s->core.s[in->f[4]], &x->plan);
	if (!why) {
		x->src = grid_of_side(&x->plan, true);
		x->dst = grid_of_side(&x->plan, false);
		x->depth = x->src.n && x->plan.kind != TG_DMA_GATHER ? depth_of(&x->plan, true) : 1;
		why = check_list(s, x);
	}
	if (why)
		return sim_trap(s, why, s->core.s[in->f[2]], NULL);
	cost_of(s, &x->plan, &cost);
	if (cost.engine_cycles > s->options.max_cycles)
		return sim_trap(s, "a DMA transfer takes longer than the cycle budget", s->core.s[in->f[2]], NULL);
	why = enter_sram(s, x);
	if (!why)
		why = check_dram(s, &x->plan);
	if (why)
		return sim_trap(s, why, s->core.s[in->f[2]], NULL);
	x->queue = (uint32_t)in->f[1];
	x->number = ++q->started;
	*number = (int64_t)x->number;
	schedule(s, q, x, &cost);
	c->dma_transfers++;
	c->dram_read_bytes += cost.dram_read_bytes;
	c->dram_written_bytes += cost.dram_written_bytes;
	c->sram_bytes += cost.sram_bytes;
	if (s->options.dma == TG_DMA_EARLY)
		move(s, x);
	random_moves(s);
	x->next = s->unretired;
	s->unretired = x;
	return true;
}

static void retire(struct tg_sim *s, struct queue *q, uint32_t queue, uint64_t last, uint64_t *done)
{
	for (struct transfer **at = &s->unretired; *at;) {
		struct transfer *x = *at;
		if (x->queue != queue || x->number > last) {
			at = &x->next;
			continue;
		}
		if (!x->moved)
			move(s, x);
		leave_sram(s, x);
		*done = later(*done, x->done);
		*at = x->next;
		x->next = s->spare_transfers;
		s->spare_transfers = x;
	}
	q->retired = last;
}

bool dma_wait(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in)
{
	uint32_t queue = (uint32_t)in->f[0];
	struct queue *q = &s->queues[queue];
	int64_t last = s->core.s[in->f[1]];
	random_moves(s);
	if (last <= (int64_t)q->retired)
		return true;
	if ((uint64_t)last > q->started)
		return sim_trap(s, "a wait for a DMA transfer that was not started", last, NULL);
	uint64_t done = 0;
	retire(s, q, queue, (uint64_t)last, &done);
	if (done > s->cycle) {
		c->stall_dma_wait += done - s->cycle;
		s->cycle = done;
	}
	return true;
}

void dma_reset(struct tg_sim *s)
{
	for (uint32_t i = 0; i < s->x->chip.dma_queues; i++) {
		s->queues[i].started = s->queues[i].retired = 0;
		s->queues[i].engine_free = s->queues[i].last_done = 0;
	}
	s->dram_free = 0;
}
