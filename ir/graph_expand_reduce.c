/* graph_expand_reduce.c: reductions, windows and contractions: stages with reduce dimensions. */
#include "ir_internal.h"

#define NO_VAL ((tg_val){ 0 })
#define NONE ((tg_expr){ 0 })

static struct tg_body *body(struct tg_expand *x) { return tg_body_new(x->m, x->prov); }

/* ---- reductions over axes ---- */

struct axes { bool is[TG_MAX_RANK]; bool keep; };

static struct axes axes_of(const int64_t *axes, uint32_t n, bool keep)
{
	struct axes a = { .keep = keep };
	for (uint32_t i = 0; i < n; i++)
		a.is[axes[i]] = true;
	return a;
}

/* Parallel dimensions for what stays, then reduce dimensions; dim[i] is the dimension of index i. */
static void reduction_dims(struct tg_body *b, const struct tg_shape *s, const struct axes *a, uint32_t *dim)
{
	for (uint32_t i = 0; i < s->rank; i++)
		if (!a->is[i])
			dim[i] = tg_body_dim(b, TG_DIM_PARALLEL, s->dim[i]);
	for (uint32_t i = 0; i < s->rank; i++)
		if (a->is[i])
			dim[i] = tg_body_dim(b, TG_DIM_REDUCE, s->dim[i]);
}

/* Result indices: kept dimensions, and constant 0 for reduced ones that stay with extent 1. */
static struct tg_map reduction_map(struct tg_body *b, const struct tg_shape *in, const struct axes *a, const uint32_t *dim, uint32_t rank)
{
	struct tg_map out = tg_map_new(b, rank);
	for (uint32_t i = 0, o = 0; i < in->rank; i++) {
		if (!a->is[i])
			out.index[o].coef[dim[i]] = 1;
		o += !a->is[i] || a->keep;
	}
	return out;
}

static uint32_t whole_operand(struct tg_body *b, tg_val v, uint32_t rank, const uint32_t *dim)
{
	uint32_t in = tg_body_in(b, v);
	for (uint32_t i = 0; i < rank; i++)
		tg_body_term(b, in, i, dim[i], 1);
	return in;
}

static tg_val reduce(struct tg_expand *x, enum tg_combine c, uint32_t axes_attr, uint32_t keep_attr)
{
	struct tg_shape s = *tg_shape_of(x, 0);
	struct axes a = axes_of(x->attrs[axes_attr].ints.at, x->attrs[axes_attr].ints.n, x->attrs[keep_attr].i != 0);
	uint32_t dim[TG_MAX_RANK];
	bool trivial = true, empty = false;
	for (uint32_t i = 0; i < s.rank; i++) {
		trivial &= !a.is[i] || s.dim[i] == 1;
		empty |= a.is[i] && s.dim[i] == 0;
	}
	if (trivial)
		return tg_tile_view(x, x->in[0], &x->shape);
	struct tg_body *b = body(x);
	reduction_dims(b, &s, &a, dim);
	struct tg_map out = reduction_map(b, &s, &a, dim, x->shape.rank);
	tg_expr e = tg_body_reduce(b, c, tg_body_arg(b, whole_operand(b, x->in[0], s.rank, dim)));
	if (c == TG_SUM || c == TG_PROD)
		e = tg_wrap_to(b, x->dtype, e);
	else if (empty && tg_dtypes[x->dtype].kind != TG_KIND_FLOAT) /* the identity is that of the compute type */
		e = tg_node_const(b, tg_node_type(b, e), c == TG_MAX ? tg_lowest(x->dtype) : tg_highest(x->dtype));
	return tg_body_end(b, x->op, x->dtype, &x->shape, e, &out, NO_VAL);
}

#define REDUCE(name, combine) \
	tg_val expand_##name(struct tg_expand *x) { return reduce(x, combine, TG_AT(name, axes), TG_AT(name, keep)); }
REDUCE(reduce_sum, TG_SUM)
REDUCE(reduce_prod, TG_PROD)
REDUCE(reduce_max, TG_MAX)
REDUCE(reduce_min, TG_MIN)

/* The extreme value first, then the least (or greatest) index that attains it; the first NaN is the extreme of floats. */
static tg_val arg_extreme(struct tg_expand *x, enum tg_combine c, uint32_t axis, bool keep, bool last)
{
	struct tg_shape s = *tg_shape_of(x, 0), top_shape = { 0 };
	struct axes a = { .keep = keep };
	enum tg_dtype t = tg_dtype_of(x, 0);
	uint32_t dim[TG_MAX_RANK];
	a.is[axis] = true;
	for (uint32_t i = 0; i < s.rank; i++)
		if (i != axis)
			top_shape.dim[top_shape.rank++] = s.dim[i];

	struct tg_body *b = body(x);
	reduction_dims(b, &s, &a, dim);
	tg_expr e = tg_body_reduce(b, c, tg_body_arg(b, whole_operand(b, x->in[0], s.rank, dim)));
	tg_val top = tg_body_end(b, x->op, t, &top_shape, e, NULL, NO_VAL);

	b = body(x);
	reduction_dims(b, &s, &a, dim);
	struct tg_map out = reduction_map(b, &s, &a, dim, x->shape.rank);
	tg_expr v = tg_body_arg(b, whole_operand(b, x->in[0], s.rank, dim));
	uint32_t top_in = tg_body_in(b, top);
	for (uint32_t i = 0, o = 0; i < s.rank; i++)
		if (i != axis)
			tg_body_term(b, top_in, o++, dim[i], 1);
	tg_expr hit = tg_node_new(b, TG_X_eq, TG_bool, v, tg_body_arg(b, top_in), NONE);
	if (tg_dtypes[t].kind == TG_KIND_FLOAT)
		hit = tg_node_new(b, TG_X_or, TG_bool, hit, tg_node_new(b, TG_X_ne, TG_bool, v, v, NONE), NONE);
	tg_expr index = tg_node_k(b, TG_X_index, TG_i32, (int32_t)dim[axis], NONE);
	tg_expr miss = tg_node_const_i64(b, TG_i32, last ? -1 : s.dim[axis]);
	e = tg_body_reduce(b, last ? TG_MAX : TG_MIN, tg_node_new(b, TG_X_select, TG_i32, hit, index, miss));
	return tg_body_end(b, x->op, TG_i64, &x->shape, tg_cast_node(b, TG_i64, e), &out, NO_VAL);
}

#define ARG_EXTREME(name, combine) \
	tg_val expand_##name(struct tg_expand *x) \
	{ \
		return arg_extreme(x, combine, (uint32_t)x->attrs[TG_AT(name, axis)].i, x->attrs[TG_AT(name, keep)].i != 0, \
				   x->attrs[TG_AT(name, last)].i != 0); \
	}
ARG_EXTREME(arg_max, TG_MAX)
ARG_EXTREME(arg_min, TG_MIN)

/* ---- windows ---- */

/* One spatial dimension: index = out * stride + tap * dilation - pad. A kernel of one tap has no dimension. */
struct window {
	uint32_t n;
	uint32_t out[TG_MAX_RANK], tap[TG_MAX_RANK];
	int64_t kernel[TG_MAX_RANK];
	const int64_t *stride, *dilation, *pad;
};

static void out_dims(struct tg_body *b, struct window *w, const struct tg_shape *result)
{
	w->n = result->rank - 2;
	for (uint32_t i = 0; i < w->n; i++)
		w->out[i] = tg_body_dim(b, TG_DIM_PARALLEL, result->dim[i + 2]);
}

static void tap_dims(struct tg_body *b, struct window *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		w->tap[i] = w->kernel[i] == 1 ? UINT32_MAX : tg_body_dim(b, TG_DIM_REDUCE, w->kernel[i]);
}

static void tap_term(struct tg_body *b, const struct window *w, uint32_t in, uint32_t i, int64_t coef)
{
	if (w->tap[i] != UINT32_MAX)
		tg_body_term(b, in, i + 2, w->tap[i], coef);
}

/* Spatial indices of the operand; guarded with `fill` where a window leaves it. */
static void window_indices(struct tg_body *b, const struct window *w, uint32_t in, const struct tg_shape *s, const struct tg_shape *result, double fill)
{
	bool outside = false;
	for (uint32_t i = 0; i < w->n; i++) {
		int64_t reach = (w->kernel[i] - 1) * w->dilation[i];
		int64_t first = (reach < 0 ? reach : 0) - w->pad[i];
		int64_t last = (result->dim[i + 2] - 1) * w->stride[i] + (reach > 0 ? reach : 0) - w->pad[i];
		tg_body_term(b, in, i + 2, w->out[i], w->stride[i]);
		tap_term(b, w, in, i, w->dilation[i]);
		tg_body_offset(b, in, i + 2, -w->pad[i]);
		outside |= first < 0 || last >= s->dim[i + 2];
	}
	if (outside)
		tg_body_guard(b, in, fill);
}

static tg_val pool(struct tg_expand *x, enum tg_combine c, struct window *w, const int64_t *kernel)
{
	const struct tg_shape s = *tg_shape_of(x, 0);
	struct tg_body *b = body(x);
	uint32_t n = tg_body_dim(b, TG_DIM_PARALLEL, s.dim[0]), ch = tg_body_dim(b, TG_DIM_PARALLEL, s.dim[1]);
	bool one_tap = true;
	out_dims(b, w, &x->shape);
	for (uint32_t i = 0; i < w->n; i++) {
		w->kernel[i] = kernel[i];
		one_tap &= kernel[i] == 1;
	}
	tap_dims(b, w);
	uint32_t in = tg_body_in(b, x->in[0]);
	tg_body_term(b, in, 0, n, 1);
	tg_body_term(b, in, 1, ch, 1);
	window_indices(b, w, in, &s, &x->shape, c == TG_MAX ? tg_lowest(x->dtype) : 0);
	tg_expr e = tg_body_arg(b, in);
	if (!one_tap)
		e = tg_body_reduce(b, c, e);
	return tg_body_end(b, x->op, x->dtype, &x->shape, c == TG_SUM ? tg_wrap_to(b, x->dtype, e) : e, NULL, NO_VAL);
}

#define WINDOW_ATTRS(name) \
	.stride = x->attrs[TG_AT(name, stride)].ints.at, .dilation = x->attrs[TG_AT(name, dilation)].ints.at, \
	.pad = x->attrs[TG_AT(name, pad)].ints.at
#define POOL(name, combine) \
	tg_val expand_##name(struct tg_expand *x) \
	{ \
		struct window w = { WINDOW_ATTRS(name) }; \
		return pool(x, combine, &w, x->attrs[TG_AT(name, kernel)].ints.at); \
	}
POOL(pool_max, TG_MAX)
POOL(pool_sum, TG_SUM)

/* ---- contractions ---- */

/* sum of a * b in compute type t, wrapped to the result's memory type */
static tg_expr dot(struct tg_body *b, enum tg_dtype t, uint32_t p, uint32_t q)
{
	tg_expr x = tg_cast_node(b, t, tg_body_arg(b, p)), y = tg_cast_node(b, t, tg_body_arg(b, q));
	return tg_body_reduce(b, TG_SUM, tg_node_new(b, TG_X_mul, t, x, y, NONE));
}

tg_val expand_matmul(struct tg_expand *x)
{
	struct tg_body *b = body(x);
	uint32_t rank = x->shape.rank, in[2];
	for (uint32_t i = 0; i < rank; i++)
		tg_body_dim(b, TG_DIM_PARALLEL, x->shape.dim[i]);
	uint32_t k = tg_body_dim(b, TG_DIM_REDUCE, tg_shape_of(x, 0)->dim[tg_shape_of(x, 0)->rank - 1]);
	for (uint32_t o = 0; o < 2; o++) {
		const struct tg_shape *s = tg_shape_of(x, o);
		in[o] = tg_body_in(b, x->in[o]);
		for (uint32_t i = 0; i + 2 < s->rank; i++)
			if (s->dim[i] != 1)
				tg_body_term(b, in[o], i, rank - s->rank + i, 1);
		tg_body_term(b, in[o], s->rank - 2, o ? k : rank - 2, 1);
		tg_body_term(b, in[o], s->rank - 1, o ? rank - 1 : k, 1);
	}
	tg_expr e = dot(b, tg_compute_type(x->dtype), in[0], in[1]);
	return tg_body_end(b, x->op, x->dtype, &x->shape, tg_wrap_to(b, x->dtype, e), NULL, NO_VAL);
}

/* A convolution: x [N, C, ...] with window w, weights whose index 0 or 1 counts output channels. */
struct conv {
	struct window w;
	int64_t groups;
	bool transposed; /* weights [C, M / groups, ...], dilation negated */
	tg_val x;
};

static tg_expr bias_of(struct tg_expand *x, struct tg_body *b, uint32_t g, uint32_t m, int64_t per_group)
{
	const struct tg_const *c = tg_const_of(x->m, x->in[2]);
	if (c && tg_const_is_splat(c))
		return tg_node_bits(b, tg_compute_type(c->dtype), tg_const_bits(c, 0));
	uint32_t in = tg_body_in(b, x->in[2]);
	tg_body_term(b, in, 0, m, 1);
	if (g != UINT32_MAX)
		tg_body_term(b, in, 0, g, per_group);
	return tg_body_arg(b, in);
}

static tg_val conv(struct tg_expand *x, struct conv *c)
{
	const struct tg_shape ws = *tg_shape_of(x, 1), xs = tg_value_get(x->m, c->x)->shape;
	enum tg_dtype t = tg_compute_type(x->dtype);
	int64_t per_group = x->shape.dim[1] / c->groups, c_per_group = xs.dim[1] / c->groups;
	bool grouped = c->groups > 1;
	struct tg_body *b = body(x);

	uint32_t n = tg_body_dim(b, TG_DIM_PARALLEL, x->shape.dim[0]);
	uint32_t g = grouped ? tg_body_dim(b, TG_DIM_PARALLEL, c->groups) : UINT32_MAX;
	uint32_t m = tg_body_dim(b, TG_DIM_PARALLEL, per_group);
	out_dims(b, &c->w, &x->shape);
	uint32_t ch = tg_body_dim(b, TG_DIM_REDUCE, c_per_group);
	for (uint32_t i = 0; i < c->w.n; i++)
		c->w.kernel[i] = ws.dim[i + 2];
	tap_dims(b, &c->w);

	uint32_t in = tg_body_in(b, c->x), wt = tg_body_in(b, x->in[1]);
	tg_body_term(b, in, 0, n, 1);
	tg_body_term(b, in, 1, ch, 1);
	if (grouped)
		tg_body_term(b, in, 1, g, c_per_group);
	window_indices(b, &c->w, in, &xs, &x->shape, 0);
	tg_body_term(b, wt, c->transposed ? 1 : 0, m, 1);
	tg_body_term(b, wt, c->transposed ? 0 : 1, ch, 1);
	if (grouped)
		tg_body_term(b, wt, 0, g, c->transposed ? c_per_group : per_group);
	for (uint32_t i = 0; i < c->w.n; i++)
		tap_term(b, &c->w, wt, i, 1);

	struct tg_map out = tg_map_new(b, x->shape.rank);
	out.index[0].coef[n] = 1;
	out.index[1].coef[m] = 1;
	if (grouped)
		out.index[1].coef[g] = per_group;
	for (uint32_t i = 0; i < c->w.n; i++)
		out.index[i + 2].coef[c->w.out[i]] = 1;
	tg_expr e = dot(b, t, in, wt);
	if (x->n_in == 3)
		e = tg_node_new(b, TG_X_add, t, e, bias_of(x, b, g, m, per_group), NONE);
	return tg_body_end(b, x->op, x->dtype, &x->shape, tg_wrap_to(b, x->dtype, e), &out, NO_VAL);
}

tg_val expand_conv(struct tg_expand *x)
{
	struct conv c = { .w = { WINDOW_ATTRS(conv) }, .groups = x->attrs[TG_AT(conv, groups)].i, .x = x->in[0] };
	return conv(x, &c);
}

/* x with stride - 1 zeros between neighbours: a stage of zeros, then one that writes into it. */
static tg_val insert_zeros(struct tg_expand *x, tg_val v, const int64_t *stride)
{
	struct tg_shape s = tg_value_get(x->m, v)->shape, wide = s;
	enum tg_dtype t = (enum tg_dtype)tg_value_get(x->m, v)->dtype;
	bool same = true;
	for (uint32_t i = 2; i < s.rank; i++) {
		wide.dim[i] = s.dim[i] ? (s.dim[i] - 1) * stride[i - 2] + 1 : 0;
		same &= wide.dim[i] == s.dim[i];
	}
	if (same)
		return v;
	struct tg_body *b = body(x);
	for (uint32_t i = 0; i < s.rank; i++)
		tg_body_dim(b, TG_DIM_PARALLEL, wide.dim[i]);
	tg_val zeros = tg_body_end(b, x->op, t, &wide, tg_node_const(b, tg_compute_type(t), 0), NULL, NO_VAL);
	b = body(x);
	uint32_t dim[TG_MAX_RANK];
	for (uint32_t i = 0; i < s.rank; i++)
		dim[i] = tg_body_dim(b, TG_DIM_PARALLEL, s.dim[i]);
	struct tg_map out = tg_map_new(b, s.rank);
	for (uint32_t i = 0; i < s.rank; i++)
		out.index[i].coef[i] = i < 2 ? 1 : stride[i - 2];
	return tg_body_end(b, x->op, t, &wide, tg_body_arg(b, whole_operand(b, v, s.rank, dim)), &out, zeros);
}

/* out[o] = sum over taps k of x_wide[o + pad - k * dilation] * w[k]: a conv of stride 1 with negated dilation and padding. */
tg_val expand_conv_transpose(struct tg_expand *x)
{
	struct conv c = { .groups = x->attrs[TG_AT(conv_transpose, groups)].i, .transposed = true };
	int64_t one[TG_MAX_RANK], dilation[TG_MAX_RANK], pad[TG_MAX_RANK];
	for (uint32_t i = 0; i + 2 < x->shape.rank; i++) {
		one[i] = 1;
		dilation[i] = -x->attrs[TG_AT(conv_transpose, dilation)].ints.at[i];
		pad[i] = -x->attrs[TG_AT(conv_transpose, pad)].ints.at[i];
	}
	c.x = insert_zeros(x, x->in[0], x->attrs[TG_AT(conv_transpose, stride)].ints.at);
	c.w.stride = one;
	c.w.dilation = dilation;
	c.w.pad = pad;
	return conv(x, &c);
}
