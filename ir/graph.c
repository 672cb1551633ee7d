/* graph.c: building graph ops: defaults, operand count, inference of the result, creation of the value. */
#include <string.h>

#include "ir_internal.h"

static tg_infer_fn *const infers[TG_FIRST_INSN] = {
#define OP(name, lo, hi, out, traits, doc) [TG_OP_##name] = infer_##name,
#include "graph_ops.def"
};

static bool check_operand(struct tg_infer *x, uint32_t i)
{
	const struct tg_value *v = x->in[i];
	if (v->kind != TG_TENSOR || tg_compute_type((enum tg_dtype)v->dtype) == TG_none)
		return tg_unsupported(x->d, x->loc, "operand %u of %s has element type %s, expected a number or bool", i, x->info->name,
				      tg_dtypes[v->dtype].name);
	return true;
}

bool tg_infer_op(struct tg_diag *d, struct tg_loc loc, struct tg_arena *scratch, const struct tg_module *m, uint16_t code, const tg_val *in,
		 uint32_t n_in, const union tg_attr *attrs, enum tg_dtype *t, struct tg_shape *s)
{
	const struct tg_op_info *info = tg_op_info(code);
	if (!tg_is_graph_op(code))
		return tg_internal(d, loc, "op code %u is no graph op", code);
	if ((int64_t)n_in < info->min_in || (info->max_in >= 0 && (int64_t)n_in > info->max_in))
		return tg_error(d, loc, "%s has %u operands, expected %d%s", info->name, n_in, info->min_in,
				info->max_in < 0 ? " or more" : info->max_in > info->min_in ? " or one more" : "");
	const struct tg_value **vals = tg_alloc_n(scratch, n_in, sizeof *vals);
	struct tg_infer x = { .d = d, .loc = loc, .info = info, .in = vals, .n_in = n_in, .attrs = attrs };
	for (uint32_t i = 0; i < n_in; i++) {
		if (in[i].id == 0 || in[i].id >= m->values.n)
			return tg_error(d, loc, "operand %u of %s is missing", i, info->name);
		vals[i] = tg_value_get(m, in[i]);
		if (!check_operand(&x, i))
			return false;
	}
	if (!infers[code](&x))
		return false;
	*t = x.dtype;
	*s = x.shape;
	return true;
}

/* Lists and strings may come from storage that goes before the module does. */
static void own_attributes(struct tg_arena *a, const struct tg_op_info *info, union tg_attr *attrs)
{
	for (uint32_t i = 0; i < info->n_attrs; i++) {
		union tg_attr *x = &attrs[i];
		if (info->attrs[i].kind == TG_ATTR_STR && x->s)
			x->s = tg_strdup(a, x->s);
		else if (info->attrs[i].kind == TG_ATTR_INTS && x->ints.n)
			x->ints.at = tg_grow(a, x->ints.at, x->ints.n * sizeof(int64_t), x->ints.n * sizeof(int64_t));
		else if (info->attrs[i].kind == TG_ATTR_FLOATS && x->floats.n)
			x->floats.at = tg_grow(a, x->floats.at, x->floats.n * sizeof(double), x->floats.n * sizeof(double));
	}
}

tg_val tg_graph_op(struct tg_diag *d, struct tg_loc loc, struct tg_module *m, tg_prov prov, enum tg_op_code code, const tg_val *in, uint32_t n_in,
		   const union tg_attr *attrs)
{
	const struct tg_op_info *info = tg_op_info((uint16_t)code);
	union tg_attr *own = tg_alloc_n(m->arena, info->n_attrs, sizeof *own);
	tg_attrs_default(info, own);
	if (attrs && info->n_attrs)
		memcpy(own, attrs, info->n_attrs * sizeof *own);
	enum tg_dtype t;
	struct tg_shape s;
	if (!tg_infer_op(d, loc, m->arena, m, (uint16_t)code, in, n_in, own, &t, &s))
		return (tg_val){ 0 };
	struct tg_op *op = tg_op_new(m, &m->body, NULL, (uint16_t)code, in, n_in, 1, prov);
	own_attributes(m->arena, info, own);
	op->attrs = own;
	op->out[0] = tg_value_new(m, TG_TENSOR, t, &s, NULL);
	tg_value_of(m, op->out[0])->def = op;
	return op->out[0];
}

tg_val tg_graph_const(struct tg_module *m, tg_prov prov, struct tg_const *c)
{
	struct tg_op *op = tg_op_new(m, &m->body, NULL, TG_OP_constant, NULL, 0, 1, prov);
	op->attrs[TG_AT(constant, value)].c = c;
	op->out[0] = tg_value_new(m, TG_TENSOR, c->dtype, &c->shape, NULL);
	tg_value_of(m, op->out[0])->def = op;
	return op->out[0];
}

const struct tg_const *tg_const_of(const struct tg_module *m, tg_val v)
{
	const struct tg_op *op = tg_value_get(m, v)->def;
	if (!op)
		return NULL;
	if (op->code == TG_OP_constant)
		return op->attrs[TG_AT(constant, value)].c;
	return op->code == TG_TILE_data ? op->attrs[TG_AT(tile_data, value)].c : NULL;
}
