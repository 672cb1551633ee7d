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

static inline bool tiles_reduction(const struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (is_reduction(p, d) && p->tile[d] < p->extent[d])
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
/* plan_cost.c: predicted cycles of the stage. */
double plan_cost(struct plan *p);
/* plan_tile.c: the cheapest tile found whose images fit SRAM from `base` on; false: none does. */
bool plan_search_tile(struct plan *p, uint64_t base);
bool plan_is_legal(struct plan *p, uint64_t base);

#endif
