/* graph_expand_util.c: what the expansions have in common: tile ops, broadcast operands, conversions, the frame of elementwise ops. */
#include "ir_internal.h"

static tg_val tile_op(struct tg_expand *x, uint16_t code, const tg_val *in, uint32_t n_in, enum tg_dtype t, const struct tg_shape *s)
{
	struct tg_op *op = tg_op_new(x->m, &x->m->body, x->op, code, in, n_in, 1, x->prov);
	op->out[0] = tg_value_new(x->m, TG_TENSOR, t, s, NULL);
	tg_value_of(x->m, op->out[0])->def = op;
	return op->out[0];
}

tg_val tg_tile_data(struct tg_expand *x, struct tg_const *c)
{
	tg_val v = tile_op(x, TG_TILE_data, NULL, 0, c->dtype, &c->shape);
	tg_value_of(x->m, v)->def->attrs[TG_AT(tile_data, value)].c = c;
	return v;
}

tg_val tg_tile_empty(struct tg_expand *x, enum tg_dtype t, const struct tg_shape *s) { return tile_op(x, TG_TILE_empty, NULL, 0, t, s); }

tg_val tg_tile_view(struct tg_expand *x, tg_val v, const struct tg_shape *s)
{
	if (tg_shape_equal(&tg_value_of(x->m, v)->shape, s))
		return v;
	return tile_op(x, TG_TILE_view, &v, 1, (enum tg_dtype)tg_value_of(x->m, v)->dtype, s);
}

const struct tg_shape *tg_shape_of(const struct tg_expand *x, uint32_t in) { return &tg_value_get(x->m, x->in[in])->shape; }

enum tg_dtype tg_dtype_of(const struct tg_expand *x, uint32_t in) { return (enum tg_dtype)tg_value_get(x->m, x->in[in])->dtype; }

/* ---- operands ---- */

uint32_t tg_body_in_broadcast(struct tg_body *b, tg_val v, uint32_t first_dim, uint32_t out_rank)
{
	uint32_t in = tg_body_in(b, v);
	const struct tg_shape *s = &tg_value_get(tg_body_module(b), v)->shape;
	for (uint32_t i = 0; i < s->rank; i++)
		if (s->dim[i] != 1)
			tg_body_term(b, in, i, first_dim + out_rank - s->rank + i, 1);
	return in;
}

tg_expr tg_body_operand(struct tg_body *b, tg_val v, uint32_t first_dim, uint32_t out_rank)
{
	const struct tg_const *c = tg_const_of(tg_body_module(b), v);
	if (c && tg_const_is_splat(c))
		return tg_node_bits(b, tg_compute_type(c->dtype), tg_const_bits(c, 0));
	return tg_body_arg(b, tg_body_in_broadcast(b, v, first_dim, out_rank));
}

/* ---- conversions ---- */

tg_expr tg_cast_node(struct tg_body *b, enum tg_dtype compute, tg_expr e)
{
	return tg_node_type(b, e) == compute ? e : tg_node_new(b, TG_X_cast, compute, e, (tg_expr){ 0 }, (tg_expr){ 0 });
}

static bool is_narrow(enum tg_dtype t) { return tg_dtypes[t].kind != TG_KIND_BOOL && tg_dtypes[t].bits < 32; }

static tg_expr narrow(struct tg_body *b, enum tg_dtype t, tg_expr e, bool saturate)
{
	return tg_node_k(b, saturate ? TG_X_sat : TG_X_wrap, tg_node_type(b, e), (int32_t)t, e);
}

tg_expr tg_wrap_to(struct tg_body *b, enum tg_dtype t, tg_expr e) { return is_narrow(t) ? narrow(b, t, e, false) : e; }

/* Every value of integer type `from` is one of `to`. */
static bool contains(enum tg_dtype to, enum tg_dtype from)
{
	unsigned tb = tg_dtypes[to].bits, fb = tg_dtypes[from].bits;
	bool ts = tg_dtypes[to].kind == TG_KIND_SIGNED, fs = tg_dtypes[from].kind == TG_KIND_SIGNED;
	if (tg_dtypes[from].kind == TG_KIND_BOOL)
		return true;
	return ts == fs ? tb >= fb : ts && tb > fb;
}

static tg_expr float_to_int(struct tg_body *b, tg_expr e, enum tg_dtype to, bool saturate)
{
	if (!is_narrow(to))
		return tg_cast_node(b, tg_compute_type(to), e);
	return tg_cast_node(b, tg_compute_type(to), narrow(b, to, tg_cast_node(b, TG_i32, e), saturate));
}

static tg_expr int_to_int(struct tg_body *b, tg_expr e, enum tg_dtype from, enum tg_dtype to, bool saturate)
{
	bool fits = contains(to, from);
	if (saturate && !fits)
		e = narrow(b, to, e, true);
	e = tg_cast_node(b, tg_compute_type(to), e);
	return fits || saturate ? e : tg_wrap_to(b, to, e);
}

/* A float is rounded once, before its compute type gets narrower. */
tg_expr tg_cast_expr(struct tg_body *b, tg_expr e, enum tg_dtype from, enum tg_dtype to, bool saturate)
{
	enum tg_dtype ct = tg_compute_type(to);
	if (from == to)
		return e;
	if (to == TG_bool)
		return tg_cast_node(b, TG_bool, e);
	if (tg_dtypes[from].kind != TG_KIND_FLOAT && tg_dtypes[to].kind != TG_KIND_FLOAT)
		return int_to_int(b, e, from, to, saturate);
	if (tg_dtypes[to].kind != TG_KIND_FLOAT)
		return float_to_int(b, e, to, saturate);
	if (tg_dtypes[from].kind != TG_KIND_FLOAT)
		e = tg_cast_node(b, ct, e);
	if (is_narrow(to))
		e = narrow(b, to, e, saturate);
	return tg_cast_node(b, ct, e);
}

/* ---- elementwise ---- */

tg_val tg_expand_elementwise(struct tg_expand *x, tg_elem_fn *f, bool exact)
{
	struct tg_body *b = tg_body_new(x->m, x->prov);
	tg_expr in[3] = { { 0 } };
	for (uint32_t i = 0; i < x->shape.rank; i++)
		tg_body_dim(b, TG_DIM_PARALLEL, x->shape.dim[i]);
	for (uint32_t i = 0; i < x->n_in; i++)
		in[i] = tg_body_operand(b, x->in[i], 0, x->shape.rank);
	struct tg_elem e = { .b = b, .in = in, .attrs = x->attrs, .from = tg_dtype_of(x, 0), .to = x->dtype };
	e.t = tg_compute_type(e.from);
	tg_expr r = f(&e);
	return tg_body_end(b, x->op, x->dtype, &x->shape, exact ? r : tg_wrap_to(b, x->dtype, r), NULL, (tg_val){ 0 });
}
