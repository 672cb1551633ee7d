/* group.c: stages into a group and out of it.
 *
 *   %3 = tile.stage(%1)            tile.group(%1, %2) {dims = [0, 0], tile = [0]} {
 *   %4 = tile.stage(%3, %2)  ==>     %3 = tile.stage(%1)
 *                                    %4 = tile.stage(%3, %2)
 *                                  } yields(%4)
 *
 * The results keep their values: who read them reads them still. */
#include <string.h>

#include "ir_internal.h"

static void move_op(struct tg_block *to, struct tg_op *before, struct tg_op *op)
{
	tg_op_remove(op);
	tg_op_insert(to, before, op);
}

static bool defined_by(const struct tg_module *m, const struct tg_group *g, tg_val v)
{
	const struct tg_op *def = tg_value_get(m, v)->def;
	for (uint32_t i = 0; i < g->n_stages; i++)
		if (g->stages[i] == def)
			return true;
	return false;
}

/* The tensors that the stages read from outside, each once, in order of their first reading. */
static tg_val *outside(const struct tg_module *m, const struct tg_group *g, uint32_t *n)
{
	TG_VEC(tg_val) in = { 0 };
	for (uint32_t i = 0; i < g->n_stages; i++) {
		for (uint32_t k = 0; k < g->stages[i]->n_in; k++) {
			tg_val v = g->stages[i]->in[k];
			size_t at = 0;
			while (at < in.n && in.at[at].id != v.id)
				at++;
			if (at == in.n && !defined_by(m, g, v))
				*TG_PUSH(m->arena, &in) = v;
		}
	}
	*n = (uint32_t)in.n;
	return in.at;
}

static void set_ints(struct tg_module *m, union tg_attr *a, const int64_t *v, uint32_t n)
{
	int64_t *copy = tg_alloc_n(m->arena, n + 1, sizeof *copy);
	memcpy(copy, v, n * sizeof *copy);
	a->ints.at = copy;
	a->ints.n = n;
}

struct tg_op *tg_group_new(struct tg_module *m, const struct tg_group *g)
{
	uint32_t n_in;
	tg_val *in = outside(m, g, &n_in);
	tg_prov prov = { 0 };
	for (uint32_t i = 0; i < g->n_stages; i++)
		prov = tg_prov_union(m, prov, g->stages[i]->prov);
	struct tg_op *last = g->stages[g->n_stages - 1];
	struct tg_op *op = tg_op_new(m, last->block, last, TG_TILE_group, in, n_in, g->n_results, prov);
	struct tg_block *region = tg_region_new(m, op);
	for (uint32_t i = 0; i < g->n_stages; i++)
		move_op(region, NULL, g->stages[i]);
	for (uint32_t i = 0; i < g->n_results; i++)
		op->out[i] = g->results[i];
	set_ints(m, &op->attrs[TG_AT(tile_group, dims)], g->dims, g->n_stages * g->n_shared);
	set_ints(m, &op->attrs[TG_AT(tile_group, tile)], g->tile, g->n_shared);
	return op;
}

void tg_group_inline(struct tg_module *m, struct tg_op *group)
{
	(void)m;
	for (struct tg_op *op = group->regions[0]->first, *next; op; op = next) {
		next = op->next;
		move_op(group->block, group, op);
	}
	tg_op_remove(group);
}

void tg_ungroup(struct tg_module *m)
{
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_group)
			tg_group_inline(m, op);
	}
}
