/* parts.c: what images.c and cascade.c share: whether a run of stages is closed, and copies of its stages in place of it. */
#include "parts.h"

bool part_is_read_outside(const struct tg_module *m, struct tg_op *const *ops, uint32_t first, uint32_t last, tg_val v)
{
	for (const struct tg_op *op = ops[first]->next; op; op = op->next) {
		bool inside = false, reads = false;
		for (uint32_t i = 0; i < op->n_in; i++)
			reads |= op->in[i].id == v.id;
		for (uint32_t i = first; i <= last && reads; i++)
			inside |= ops[i] == op;
		if (reads && !inside)
			return true;
	}
	for (size_t i = 0; i < m->outputs.n; i++)
		if (m->outputs.at[i].value.id == v.id)
			return true;
	return false;
}

static tg_val new_result(struct tg_module *m, struct tg_op *op, tg_val like, const struct tg_shape *shape)
{
	op->out[0] = tg_value_new(m, TG_TENSOR, (enum tg_dtype)tg_value_get(m, like)->dtype, shape, NULL);
	tg_value_of(m, op->out[0])->def = op;
	return op->out[0];
}

tg_val part_new_stage(struct tg_module *m, struct tg_op *before, const struct tg_op *op, const struct part_stage *s, const struct tg_shape *shape)
{
	struct tg_op *c = tg_op_new(m, &m->body, before, TG_TILE_stage, s->in, s->n_in, 1, op->prov);
	for (uint32_t i = 0; i < tg_op_info(op->code)->n_attrs; i++)
		c->attrs[i] = op->attrs[i];
	c->attrs[TG_AT(tile_stage, body)].stage = s->body;
	c->attrs[TG_AT(tile_stage, into)].i = s->into;
	return new_result(m, c, op->out[0], shape);
}

tg_val part_new_whole(struct tg_module *m, struct tg_op *end)
{
	struct tg_shape shape = tg_value_get(m, end->out[0])->shape; /* a copy: values move when one is made */
	return new_result(m, tg_op_new(m, &m->body, end->next, TG_TILE_empty, NULL, 0, 1, end->prov), end->out[0], &shape);
}

void part_replace(struct tg_module *m, struct tg_op *const *ops, uint32_t first, uint32_t last, tg_val collected)
{
	tg_val whole = ops[last]->out[0];
	tg_value_of(m, collected)->name = tg_value_get(m, whole)->name;
	tg_replace_uses(m, whole, collected);
	for (uint32_t i = first; i <= last; i++)
		tg_op_remove(ops[i]);
}
