/* graph_expand.c: graph ops to stages. What comes in: a verified module with graph ops. What goes out: the same values, computed by tile.data,
 * tile.stage, tile.empty and tile.view. Every row of graph_ops.def has its expand_NAME, in this file's neighbours.
 *
 *   %c = graph.relu(%x)   ==>   %c = tile.stage(%x) { dims ...; t0 = arg 0; t1 = const 0; t2 = max t0, t1; out t2 }
 */
#include <assert.h>
#include <string.h>

#include "ir_internal.h"

static tg_expand_fn *const expands[TG_FIRST_INSN] = {
#define OP(name, lo, hi, out, traits, doc) [TG_OP_##name] = expand_##name,
#include "graph_ops.def"
};

tg_val expand_constant(struct tg_expand *x) { return tg_tile_data(x, x->attrs[TG_AT(constant, value)].c); }

static void check_result(const struct tg_module *m, tg_val was, tg_val is)
{
	const struct tg_value *a = tg_value_get(m, was), *b = tg_value_get(m, is);
	assert(a->dtype == b->dtype && tg_shape_equal(&a->shape, &b->shape));
	(void)a;
	(void)b;
}

static void expand_op(struct tg_module *m, struct tg_op *op, uint32_t *now)
{
	struct tg_expand x = { .m = m, .op = op, .prov = op->prov, .attrs = op->attrs, .in = op->in, .n_in = op->n_in };
	uint32_t first_new = (uint32_t)m->values.n;
	x.dtype = (enum tg_dtype)tg_value_of(m, op->out[0])->dtype;
	x.shape = tg_value_of(m, op->out[0])->shape;
	tg_val v = expands[op->code](&x);
	check_result(m, op->out[0], v);
	if (v.id >= first_new)
		tg_value_of(m, v)->name = tg_value_of(m, op->out[0])->name;
	now[op->out[0].id] = v.id;
	tg_op_remove(op);
}

bool tg_expand_module(struct tg_diag *d, struct tg_module *m)
{
	size_t n = m->values.n;
	uint32_t *now = tg_alloc_n(m->arena, n, sizeof *now);
	for (uint32_t i = 0; i < n; i++)
		now[i] = i;
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		next = tg_op_step(op);
		for (uint32_t i = 0; i < op->n_in; i++)
			op->in[i].id = op->in[i].id < n ? now[op->in[i].id] : op->in[i].id;
		if (!tg_is_graph_op(op->code))
			continue;
		if (op->block != &m->body || op->n_out != 1)
			return tg_internal(d, tg_op_loc(m, op), "graph op inside a region");
		expand_op(m, op, now);
	}
	for (size_t i = 0; i < m->outputs.n; i++)
		if (m->outputs.at[i].value.id < n)
			m->outputs.at[i].value.id = now[m->outputs.at[i].value.id];
	return true;
}
