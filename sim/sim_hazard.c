/* sim_hazard.c: which transfers may be under way together, and which bytes of SRAM they hold meanwhile.
 *
 * Transfers are compared pair by pair, by the grids of their rows (grid.h). In SRAM, where those may meet or a load or store reaches into one, the exact
 * bytes get marks (core.h) that decide; most transfers never need them. In DRAM, which only transfers reach, rows are compared then. */
#include "dma.h"

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

void hazard_leave(struct tg_sim *s, const struct transfer *x)
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

/* Whether two sides share a byte; grids first, then row by row in ascending order. */
static bool sides_meet(struct tg_sim *s, const struct tg_dma_plan *a, bool a_src, const struct tg_dma_plan *b, bool b_src)
{
	int64_t a0 = a_src ? a->src_first : a->dst_first, a1 = a_src ? a->src_end : a->dst_end;
	int64_t b0 = b_src ? b->src_first : b->dst_first, b1 = b_src ? b->src_end : b->dst_end;
	if (!in_dram(a0) || !in_dram(b0) || !meet(a0, a1, b0, b1))
		return false;
	const struct grid x_grid = grid_of_side(a, a_src), y_grid = grid_of_side(b, b_src);
	enum meeting known = grids_meet(&x_grid, &y_grid);
	if (known != PERHAPS)
		return known == MEET;
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
	if (!in_dram(p->dst_first) || (p->kind != TG_DMA_SCATTER && depth_of(p, false) == 1))
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

/* ---- start ---- */

const char *hazard_prepare(struct tg_sim *s, struct transfer *x)
{
	x->src = grid_in_sram(&x->plan, true);
	x->dst = grid_in_sram(&x->plan, false);
	x->depth = x->src.n && x->plan.kind != TG_DMA_GATHER ? depth_of(&x->plan, true) : 1;
	return check_list(s, x);
}

const char *hazard_enter(struct tg_sim *s, struct transfer *x)
{
	const char *why = enter_sram(s, x);
	return why ? why : check_dram(s, &x->plan);
}
