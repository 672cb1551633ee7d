/* grid.h: the bytes of a DMA transfer's side as a grid of rows, for questions that boxes answer too coarsely and bytes too slowly. Private to sim/. */
#ifndef TG_SIM_GRID_H
#define TG_SIM_GRID_H

#include "isa.h"

/* Rows of n bytes at first + sum ik * step[k], 0 <= ik < size[k]; steps are positive and ascend. Nothing lies outside [first, end). n = 0: nothing at all. */
struct grid {
	int64_t first, end, n;
	int64_t size[4], step[4];
	unsigned levels;
	bool listed; /* it has all bytes between those that a list gives */
};

/* The bytes of a side, all of them and perhaps more where a list gives the places; none when there is no source, or when the side is in DRAM and only SRAM is asked for. */
struct grid grid_of_side(const struct tg_dma_plan *p, bool src);
struct grid grid_in_sram(const struct tg_dma_plan *p, bool src);
static inline struct grid grid_of_bytes(int64_t at, int64_t n)
{
	return (struct grid){.first = at, .end = at + n, .n = n};
}
/* Whether they have a byte in common. PERHAPS where rows interleave, or a list gives them: that would take too long to tell from numbers. */
enum meeting { APART, MEET, PERHAPS };
enum meeting grids_meet(const struct grid *a, const struct grid *b);
static inline bool grids_may_meet(const struct grid *a, const struct grid *b)
{
	return a->n && b->n && a->first < b->end && b->first < a->end && grids_meet(a, b) != APART;
}
/* Of a step of rows and another; 0 is none. */
static inline int64_t grid_gcd(int64_t a, int64_t b)
{
	while (b) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}
/* Rows of a_n bytes, and of b_n bytes `by` behind those, all of them again after each m bytes: whether they lie beside each other. */
static inline bool grid_beside(int64_t by, int64_t m, int64_t a_n, int64_t b_n)
{
	int64_t d = by % m;
	d += d < 0 ? m : 0;
	return d >= a_n && d + b_n <= m;
}
/* The same rows, those together that lie less than `gap` bytes from each other: the bytes between them belong to it then. */
struct grid grid_coarse(const struct grid *g, int64_t gap);

/* Walks over the rows: for (struct grid_walk w = grid_begin(g); !w.done; grid_next(g, &w)) w.at ... */
struct grid_walk {
	int64_t at, i[4];
	bool done;
};
static inline struct grid_walk grid_begin(const struct grid *g)
{
	return (struct grid_walk){.at = g->first, .done = g->n == 0};
}
static inline void grid_next(const struct grid *g, struct grid_walk *w)
{
	for (unsigned k = 0; k < g->levels; k++) {
		w->at += g->step[k];
		if (++w->i[k] < g->size[k])
			return;
		w->at -= g->size[k] * g->step[k];
		w->i[k] = 0;
	}
	w->done = true;
}

#endif
