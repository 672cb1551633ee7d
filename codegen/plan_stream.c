/* plan_stream.c: products whose contracted dimension comes in chunks.
 *
 * A tile that holds its factors from end to end waits for all of them before it begins, and its sums need no more of the accumulators than a block of columns.
 * In chunks, a tile holds two pieces of each factor, the one at work and the next; every block of columns has accumulators of its own, so the result's
 * tile may be large, and the kernel's one loop runs from its first multiply to its last while the pieces come and go (stream.c). */
#include "plan_int.h"

int64_t plan_column_blocks(const struct plan *p)
{
	int64_t blocks = ceil_div(ceil_div(p->tile[p->lane], p->chip->array_cols), p->chip->n_arrays);
	for (uint32_t d = 0; d < p->n_dims; d++)
		if ((p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH) && (int)d != p->lane)
			blocks *= p->tile[d];
	return blocks;
}

/* One run of equal blocks of columns: there is one loop. */
static bool equal_columns(const struct plan *p)
{
	int64_t n = p->tile[p->lane], cols = p->chip->array_cols, blocks = n / cols;
	if (n < cols)
		return true;
	return n % cols == 0 && (blocks < p->chip->n_arrays || blocks % p->chip->n_arrays == 0);
}

/* A descriptor that holds for every chunk of every tile. */
static bool same_for_all(const struct plan *p, const struct operand *o)
{
	if (o->n_comps > 4)
		return false;
	for (uint32_t i = 0; i < o->n_comps; i++) {
		const struct comp *c = &o->comp[i];
		if (c->gather >= 0 || (c->n > 1 && mentions(c, p->contract)))
			return false;
		for (uint32_t k = 0; k < c->n && c->guarded; k++)
			if (p->tile[c->term[k].dim] < p->extent[c->term[k].dim])
				return false;
	}
	return true;
}

bool plan_may_stream(const struct plan *p)
{
	int64_t chunk = p->tile[p->contract];
	if (p->pixels || p->plain || p->chip->dma_queues < 2 || chunk % p->chip->array_rows || p->extent[p->contract] % (2 * chunk) || !equal_columns(p))
		return false;
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (p->role[d] == ROLE_BATCH && p->tile[d] > 1)
			return false;
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].is_list)
			return false;
	const int factor[] = { p->lhs, p->rhs };
	bool comes = false;
	for (size_t i = 0; i < TG_ARRAY_LEN(factor); i++) {
		const struct operand *o = factor[i] < 0 ? NULL : &p->operand[factor[i]];
		if (!o || o->constant)
			continue;
		comes |= !o->direct;
		if (!o->direct && !same_for_all(p, o))
			return false;
	}
	return comes;
}

bool plan_is_flat(const struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		if ((p->role[d] == ROLE_M && (int)d != p->row) || (p->role[d] == ROLE_N && (int)d != p->lane))
			if (p->tile[d] > 1)
				return false;
	return p->row != NO_DIM;
}
