/* parts.h: what passes share that run stages for a part of their points at a time (images.c, cascade.c): which dimensions walk which indices. Internal to passes/. */
#ifndef TG_PASSES_PARTS_H
#define TG_PASSES_PARTS_H

#include "join.h"

static inline struct tg_stage *part_stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static inline bool part_is_plain(const struct tg_index *x)
{
	return x->div == 1 && x->mod == 0 && x->gather < 0;
}

/* The index is dimension d and nothing else. */
static inline bool part_walks_alone(const struct tg_stage *s, const struct tg_index *x, uint32_t d)
{
	for (uint32_t k = 0; k < s->n_dims; k++)
		if (x->coef[k] != (k == d))
			return false;
	return part_is_plain(x) && x->offset == 0;
}

/* Index `at` is d alone and no other index knows d. */
static inline bool part_only_index(const struct tg_stage *s, const struct tg_map *map, uint32_t at, uint32_t d)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (i != at && map->index[i].coef[d])
			return false;
	return at < map->rank && part_walks_alone(s, &map->index[at], d);
}

static inline bool part_walks(const struct tg_map *map, uint32_t d)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (map->index[i].coef[d])
			return true;
	return false;
}

/* A part of the tensor is reached by moving the indices. */
static inline bool part_can_move(const struct tg_map *map, uint32_t d)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (map->index[i].coef[d] && !part_is_plain(&map->index[i]))
			return false;
	return true;
}

static inline bool part_is_candidate(const struct tg_op *op)
{
	return op->code == TG_TILE_stage && op->n_out == 1 && part_stage_of(op)->n_outs == 1 && !op->attrs[TG_AT(tile_stage, into)].i && !tg_stage_beyond_lanes(part_stage_of(op));
}

/* The dimension that alone walks index `at` of a map, or -1. */
static inline int part_walker(const struct tg_stage *s, const struct tg_map *map, uint32_t at)
{
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_PARALLEL && part_only_index(s, map, at, d))
			return (int)d;
	return -1;
}

/* parts.c. Is a result of the run ops[first..last] read by others, or from outside of the module? */
bool part_is_read_outside(const struct tg_module *m, struct tg_op *const *ops, uint32_t first, uint32_t last, tg_val v);
/* A copy of `op` in front of `before`: other operands, its result of another shape, or one that writes into its last operand. */
struct part_stage { struct tg_stage *body; const tg_val *in; uint32_t n_in; bool into; };
tg_val part_new_stage(struct tg_module *m, struct tg_op *before, const struct tg_op *op, const struct part_stage *s, const struct tg_shape *shape);
/* Behind the run's last op: an empty tensor like its result, for the parts to write into; in the end they stand for the run. */
tg_val part_new_whole(struct tg_module *m, struct tg_op *end);
void part_replace(struct tg_module *m, struct tg_op *const *ops, uint32_t first, uint32_t last, tg_val collected);

#endif
