/* plan_image.c: the SRAM images of a stage's operands: which entries they have, in which order, and how far a step of each dimension moves in them. */
#include "plan_int.h"

#include <string.h>

static int64_t image_len(const struct plan *p, const struct comp *c)
{
	int64_t len = 1;
	if (c->gather >= 0 || c->n == 1) {
		for (uint32_t i = 0; i < c->n; i++)
			len *= p->tile[c->term[i].dim];
		return len;
	}
	for (uint32_t i = 0; i < c->n; i++)
		len += magnitude(c->term[i].coef) * (p->tile[c->term[i].dim] - 1);
	return len;
}

/* Components from innermost to outermost: those of the wanted dimensions first, then by ascending DRAM stride. */
static void order_comps(const struct operand *o, const int *inner, uint32_t n_inner, uint32_t *order)
{
	uint32_t n = 0;
	bool taken[MAX_COMPS] = { false };
	for (uint32_t w = 0; w < n_inner; w++)
		for (uint32_t i = 0; i < o->n_comps; i++)
			if (!taken[i] && inner[w] != NO_DIM && mentions(&o->comp[i], inner[w])) {
				taken[i] = true;
				order[n++] = i;
			}
	while (n < o->n_comps) {
		uint32_t best = UINT32_MAX;
		for (uint32_t i = 0; i < o->n_comps; i++) {
			int64_t mine = magnitude(o->comp[i].stride * (o->comp[i].n == 1 ? o->comp[i].term[0].coef : 1));
			if (taken[i])
				continue;
			if (best == UINT32_MAX ||
			    mine < magnitude(o->comp[best].stride * (o->comp[best].n == 1 ? o->comp[best].term[0].coef : 1)))
				best = i;
		}
		taken[best] = true;
		order[n++] = best;
	}
}

static void set_steps(struct plan *p, struct operand *o)
{
	memset(o->step, 0, sizeof o->step);
	o->start = 0;
	for (uint32_t i = 0; i < o->n_comps; i++) {
		const struct comp *c = &o->comp[i];
		int64_t radix = 1;
		for (uint32_t k = c->n; k-- > 0;) {
			uint32_t d = c->term[k].dim;
			if (c->gather >= 0) {
				o->step[d] += radix * c->sram_stride;
				radix *= p->tile[d];
			} else {
				o->step[d] += (c->n == 1 ? 1 : c->term[k].coef) * c->sram_stride;
				if (c->n > 1 && c->term[k].coef < 0) /* a window that is walked backwards begins at its far end */
					o->start -= c->term[k].coef * (p->tile[d] - 1) * c->sram_stride;
			}
		}
	}
}

/* Lays the image out; false when it does not fit 2^40 elements. */
static bool place_image(struct plan *p, struct operand *o, const int *inner, uint32_t n_inner)
{
	uint32_t order[MAX_COMPS];
	int64_t at = 1;
	order_comps(o, inner, n_inner, order);
	for (uint32_t i = 0; i < o->n_comps; i++) {
		struct comp *c = &o->comp[order[i]];
		c->len = image_len(p, c);
		c->sram_stride = at;
		if (__builtin_mul_overflow(at, c->len, &at) || at > INT64_C(1) << 40)
			return false;
	}
	o->bytes = (uint64_t)at * elem_bytes(o->sram_dtype);
	set_steps(p, o);
	return true;
}

/* The tensor itself serves as image where nothing has to be filled, gathered or converted and the lanes find their elements side by side. */
static bool place_direct(struct plan *p, uint32_t i)
{
	struct operand *o = &p->operand[i];
	bool weights = p->path == PATH_MATRIX && (int)i == p->rhs;
	int lane = p->path == PATH_MATRIX && ((int)i == p->lhs || (weights && p->transposed)) ? p->contract : p->lane;
	o->direct = false;
	if (!o->home || o->is_list || o->constant || o->dtype != o->sram_dtype)
		return false;
	for (uint32_t k = 0; k < o->n_comps; k++)
		if (o->comp[k].guarded || o->comp[k].gather >= 0)
			return false;
	for (uint32_t k = 0; k < p->n_ops; k++) /* read and written at once: as if through DRAM */
		if (p->operand[k].storage == p->operand[p->n_ops].storage && p->operand[k].storage == o->storage)
			return false;
	if (i == p->n_ops && p->path == PATH_VECTOR && tiles_reduction(p)) /* partial sums lie as the result's image does */
		return false;
	for (uint32_t d = 0; d < p->n_dims; d++) /* a ragged reduction tile must be filled up */
		if (is_reduction(p, d) && p->extent[d] % p->tile[d] && depends(o, d))
			return false;
	memset(o->step, 0, sizeof o->step);
	o->start = o->base;
	for (uint32_t k = 0; k < o->n_comps; k++) {
		o->start += o->comp[k].offset * o->comp[k].stride;
		for (uint32_t t = 0; t < o->comp[k].n; t++)
			o->step[o->comp[k].term[t].dim] += o->comp[k].term[t].coef * o->comp[k].stride;
	}
	if (p->pixels && (int)i != p->lhs && o->step[p->pixel_dim] != p->extent[p->lane] * o->step[p->lane])
		return false;
	if (lane != NO_DIM && p->extent[lane] > 1 && o->step[lane] != 1 && (o->step[lane] != 0 || i == p->n_ops || p->path == PATH_MATRIX))
		return false;
	o->bytes = 0;
	o->direct = true;
	return true;
}

bool plan_place_all(struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		if (place_direct(p, i))
			continue;
		int inner[2] = { p->lane, p->pixels ? p->pixel_dim : NO_DIM }; /* rows may lie anywhere: in DRAM's order, transfers have long rows */
		if (p->path == PATH_MATRIX && (int)i == p->lhs) {
			inner[0] = p->contract;
			inner[1] = NO_DIM;
		} else if (p->path == PATH_MATRIX && (int)i == p->rhs) {
			inner[0] = p->transposed ? p->contract : p->lane;
			inner[1] = p->transposed ? p->lane : p->contract;
		} else if (o->is_list) { /* in DRAM's own order, the last index fastest: gathers count on it */
			inner[0] = inner[1] = NO_DIM;
		}
		if (!place_image(p, o, inner, 2))
			return false;
	}
	return true;
}

bool plan_steps_fit(const struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		const struct operand *o = &p->operand[i];
		int lane = p->lane;
		if (o->is_list || o->constant || (p->path == PATH_MATRIX && (int)i == p->rhs && p->transposed))
			continue;
		if (p->path == PATH_MATRIX && (int)i == p->lhs)
			lane = p->contract;
		if (lane != NO_DIM && o->step[lane] != 0 && o->step[lane] != 1)
			return false;
	}
	for (uint32_t i = 0; i <= p->n_ops && p->pixels; i++)
		if ((int)i != p->lhs && (int)i != p->rhs && !p->operand[i].constant && p->operand[i].step[p->pixel_dim] != p->extent[p->lane] * p->operand[i].step[p->lane])
			return false;
	const struct operand *out = &p->operand[p->n_ops];
	if (p->path == PATH_MATRIX && p->lane != NO_DIM && p->extent[p->lane] > 1 && out->step[p->lane] != 1)
		return false;
	if (p->path == PATH_MATRIX && p->transposed && p->operand[p->rhs].step[p->contract] != 1)
		return false;
	return true;
}
