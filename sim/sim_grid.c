/* sim_grid.c: sides of DMA transfers as grids of rows (grid.h).
 *
 *   parts of 144 bytes of rows of 576, as weights that come in four pieces:    n 144, one level of step 576
 *   two such pieces: boxes meet, but modulo 576 they lie beside each other, and the 432 bytes between a piece's rows are nobody's business */
#include "grid.h"

#include <stdlib.h>
#include <string.h>

/* Puts the dimension where its step belongs. */
static void add_level(struct grid *g, int64_t size, int64_t step)
{
	unsigned k = g->levels++;
	for (; k > 0 && g->step[k - 1] > step; k--) {
		g->size[k] = g->size[k - 1];
		g->step[k] = g->step[k - 1];
	}
	g->size[k] = size;
	g->step[k] = step;
}

/* Rows that are less than `gap` bytes apart become one, from the innermost level on. */
static void join_rows(struct grid *g, int64_t gap)
{
	unsigned joined = 0;
	while (joined < g->levels && g->step[joined] - g->n < gap) {
		g->n += (g->size[joined] - 1) * g->step[joined];
		joined++;
	}
	g->levels -= joined;
	memmove(g->size, g->size + joined, g->levels * sizeof *g->size);
	memmove(g->step, g->step + joined, g->levels * sizeof *g->step);
}

struct grid grid_of_side(const struct tg_dma_plan *p, bool src)
{
	int64_t first = src ? p->src_first : p->dst_first, end = src ? p->src_end : p->dst_end;
	struct grid g = {.first = first, .end = end, .n = end - first};
	bool whole = !src && (p->fill_outside || p->kind == TG_DMA_FILL);
	if (src && p->kind == TG_DMA_FILL)
		return (struct grid){0};
	g.listed = p->kind == (src ? TG_DMA_GATHER : TG_DMA_SCATTER);
	if (first == end || g.listed)
		return g;
	g.n = src ? p->src_bytes : p->dst_bytes;
	for (int k = 0; k < 4; k++) {
		int64_t size = whole ? p->size[k] : p->hi[k] - p->lo[k];
		int64_t step = llabs(src ? p->src_stride[k] : p->dst_stride[k]);
		if (size > 1 && step)
			add_level(&g, size, step);
	}
	join_rows(&g, 1);
	return g;
}

struct grid grid_in_sram(const struct tg_dma_plan *p, bool src)
{
	return (src ? p->src_first : p->dst_first) >= TG_DRAM_BASE ? (struct grid){0} : grid_of_side(p, src);
}

struct grid grid_coarse(const struct grid *g, int64_t gap)
{
	struct grid c = *g;
	join_rows(&c, gap);
	return c;
}

/* Rows of both begin at multiples of m from their firsts; do they lie beside each other modulo m? */
static bool beside(const struct grid *a, const struct grid *b)
{
	int64_t m = 0;
	for (unsigned k = 0; k < a->levels; k++)
		m = grid_gcd(a->step[k], m);
	for (unsigned k = 0; k < b->levels; k++)
		m = grid_gcd(b->step[k], m);
	return m && grid_beside(b->first - a->first, m, a->n, b->n);
}

/* Each level steps over all that lies below it, so rows ascend. */
static bool ascends(const struct grid *g)
{
	int64_t extent = g->n;
	for (unsigned k = 0; k < g->levels; k++) {
		if (g->step[k] < extent)
			return false;
		extent += (g->size[k] - 1) * g->step[k];
	}
	return !g->listed;
}

/* The lower levels of a grid, at some index of those above. */
struct piece {
	const struct grid *of;
	unsigned levels;
	int64_t at, end;
};

/* Both ascend. The longer one is taken apart, and of its parts those that lie beside the other are not looked at: rows of both, at most, are. */
static bool pieces_meet(const struct piece *a, const struct piece *b)
{
	if (a->at >= b->end || b->at >= a->end)
		return false;
	if (!a->levels && !b->levels)
		return true;
	if (!a->levels || (b->levels && b->end - b->at > a->end - a->at))
		return pieces_meet(b, a);
	const struct grid *g = a->of;
	int64_t step = g->step[a->levels - 1], size = g->size[a->levels - 1], length = a->end - a->at - (size - 1) * step;
	int64_t low = b->at - a->at - length, high = b->end - 1 - a->at; /* parts that begin in (low, high] */
	for (int64_t i = low < 0 ? 0 : low / step + 1; i < size && i * step <= high; i++) {
		const struct piece part = {g, a->levels - 1, a->at + i * step, a->at + i * step + length};
		if (pieces_meet(&part, b))
			return true;
	}
	return false;
}

enum meeting grids_meet(const struct grid *a, const struct grid *b)
{
	if (!a->n || !b->n || a->first >= b->end || b->first >= a->end || beside(a, b))
		return APART;
	if (!ascends(a) || !ascends(b))
		return PERHAPS;
	const struct piece x = {a, a->levels, a->first, a->end}, y = {b, b->levels, b->first, b->end};
	return pieces_meet(&x, &y) ? MEET : APART;
}
