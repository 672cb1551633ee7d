/* plan_int.h: what the files that make a plan share. */
#ifndef TG_PLAN_INT_H
#define TG_PLAN_INT_H

#include "plan.h"

static inline int64_t magnitude(int64_t x)
{
	return x < 0 ? -x : x;
}

static inline bool mentions(const struct comp *c, int d)
{
	for (uint32_t i = 0; i < c->n; i++)
		if ((int)c->term[i].dim == d)
			return true;
	return false;
}

static inline bool depends(const struct operand *o, uint32_t d)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		if (mentions(&o->comp[i], (int)d))
			return true;
	return false;
}

/* Its tiles are no loop around the kernel but levels of the kernel's own. */
static inline bool is_chunked(const struct plan *p, uint32_t d)
{
	return p->chunks && (int)d == p->contract;
}

static inline bool tiles_reduction(const struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (is_reduction(p, d) && p->tile[d] < p->extent[d] && !is_chunked(p, d))
			return true;
	return false;
}

static inline int64_t tiles_of(const struct plan *p, uint32_t d)
{
	return ceil_div(p->extent[d], p->tile[d]);
}

/* plan_image.c: SRAM images of all operands for the tile as it is; false beyond all sizes. */
bool plan_place_all(struct plan *p);
bool plan_steps_fit(const struct plan *p); /* the lanes find their elements side by side */
/* plan_stream.c: may the contracted dimension be taken in chunks, as the tile is now? */
bool plan_may_stream(const struct plan *p);
int64_t plan_column_blocks(const struct plan *p); /* of a tile: each with accumulators of its own on one of the arrays */
/* plan_cost.c: predicted cycles of the stage. */
double plan_cost(struct plan *p);
/* plan_tile.c: the cheapest tile found whose images fit SRAM from `base` on; false: none does. */
bool plan_search_tile(struct plan *p, uint64_t base);
bool plan_is_legal(struct plan *p, uint64_t base);

#endif
