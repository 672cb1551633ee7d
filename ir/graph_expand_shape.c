/* graph_expand_shape.c: ops that move elements: stages with a map on one side or the other. Where an index would need a division, the
 * dimension is split instead, so that maps stay affine. */
#include <string.h>

#include "ir_internal.h"

#define NO_VAL ((tg_val){ 0 })

static struct tg_body *body(struct tg_expand *x) { return tg_body_new(x->m, x->prov); }

static void parallel_dims(struct tg_body *b, const struct tg_shape *s)
{
	for (uint32_t i = 0; i < s->rank; i++)
		tg_body_dim(b, TG_DIM_PARALLEL, s->dim[i]);
}

/* Ends a body whose value is operand `in` as it is. */
static tg_val end_copy(struct tg_expand *x, struct tg_body *b, uint32_t in, const struct tg_map *out)
{
	return tg_body_end(b, x->op, x->dtype, &x->shape, tg_body_arg(b, in), out, NO_VAL);
}

tg_val expand_transpose(struct tg_expand *x)
{
	struct tg_body *b = body(x);
	const int64_t *perm = x->attrs[TG_AT(transpose, perm)].ints.at;
	bool identity = true;
	parallel_dims(b, &x->shape);
	uint32_t in = tg_body_in(b, x->in[0]);
	for (uint32_t i = 0; i < x->shape.rank; i++) {
		identity &= perm[i] == i;
		tg_body_term(b, in, (uint32_t)perm[i], i, 1);
	}
	return identity ? x->in[0] : end_copy(x, b, in, NULL);
}

tg_val expand_reshape(struct tg_expand *x) { return tg_tile_view(x, x->in[0], &x->shape); }

tg_val expand_broadcast(struct tg_expand *x)
{
	if (tg_shape_equal(tg_shape_of(x, 0), &x->shape))
		return x->in[0];
	struct tg_body *b = body(x);
	parallel_dims(b, &x->shape);
	tg_expr e = tg_body_operand(b, x->in[0], 0, x->shape.rank);
	return tg_body_end(b, x->op, x->dtype, &x->shape, e, NULL, NO_VAL);
}

/* out = r * extent + i */
tg_val expand_tile(struct tg_expand *x)
{
	const struct tg_shape *s = tg_shape_of(x, 0);
	uint32_t copy[TG_MAX_RANK], inner[TG_MAX_RANK];
	if (tg_shape_equal(s, &x->shape))
		return x->in[0];
	struct tg_body *b = body(x);
	for (uint32_t i = 0; i < s->rank; i++) {
		copy[i] = tg_body_dim(b, TG_DIM_PARALLEL, x->attrs[TG_AT(tile, repeats)].ints.at[i]);
		inner[i] = tg_body_dim(b, TG_DIM_PARALLEL, s->dim[i]);
	}
	struct tg_map out = tg_map_new(b, s->rank);
	uint32_t in = tg_body_in(b, x->in[0]);
	for (uint32_t i = 0; i < s->rank; i++) {
		out.index[i].coef[copy[i]] = s->dim[i];
		out.index[i].coef[inner[i]] = 1;
		tg_body_term(b, in, i, inner[i], 1);
	}
	return end_copy(x, b, in, &out);
}

tg_val expand_slice(struct tg_expand *x)
{
	const struct tg_shape *s = tg_shape_of(x, 0);
	struct tg_body *b = body(x);
	bool identity = true;
	parallel_dims(b, &x->shape);
	uint32_t in = tg_body_in(b, x->in[0]);
	for (uint32_t i = 0; i < s->rank; i++) {
		int64_t start = x->attrs[TG_AT(slice, start)].ints.at[i], step = x->attrs[TG_AT(slice, step)].ints.at[i];
		identity &= x->shape.dim[i] == s->dim[i] && (s->dim[i] < 2 || step == 1);
		if (x->shape.dim[i] > 1)
			tg_body_term(b, in, i, i, step);
		tg_body_offset(b, in, i, start);
	}
	return identity ? x->in[0] : end_copy(x, b, in, NULL);
}

/* ---- pad ---- */

static bool leaves(int64_t lo, int64_t hi) { return lo > 0 || hi > 0; }

static tg_val pad_constant(struct tg_expand *x, const int64_t *lo, const int64_t *hi)
{
	struct tg_body *b = body(x);
	bool guarded = false;
	parallel_dims(b, &x->shape);
	uint32_t in = tg_body_in(b, x->in[0]);
	for (uint32_t i = 0; i < x->shape.rank; i++) {
		tg_body_term(b, in, i, i, 1);
		tg_body_offset(b, in, i, -lo[i]);
		guarded |= leaves(lo[i], hi[i]);
	}
	if (!guarded)
		return end_copy(x, b, in, NULL);
	const struct tg_const *fill = x->n_in == 2 ? tg_const_of(x->m, x->in[1]) : NULL;
	tg_body_guard_bits(b, in, fill ? tg_const_bits(fill, 0) : tg_bits_of_f64(tg_compute_type(x->dtype), 0));
	if (x->n_in == 1 || fill)
		return end_copy(x, b, in, NULL);
	tg_expr element = tg_body_arg(b, in), other = tg_body_arg(b, tg_body_in(b, x->in[1]));
	tg_expr inside = tg_node_k(b, TG_X_inside, TG_bool, (int32_t)in, (tg_expr){ 0 });
	tg_expr e = tg_node_new(b, TG_X_select, tg_node_type(b, element), inside, element, other);
	return tg_body_end(b, x->op, x->dtype, &x->shape, e, NULL, NO_VAL);
}

static int64_t source_index(char mode, int64_t i, int64_t n)
{
	int64_t period = 2 * (n - 1);
	if (n == 1)
		return 0;
	if (mode == 'w')
		return tg_floormod(i, n);
	if (mode == 'e')
		return i < 0 ? 0 : i < n ? i : n - 1;
	i = tg_floormod(i, period);
	return i < n ? i : period - i;
}

/* A copy of v whose index along `axis` comes from a list: element o is element list[o]. */
static tg_val take(struct tg_expand *x, tg_val v, uint32_t axis, const int32_t *list, int64_t n, bool guarded, double fill)
{
	struct tg_shape s = tg_value_get(x->m, v)->shape, list_shape = { .rank = 1, .dim = { n } };
	enum tg_dtype t = (enum tg_dtype)tg_value_get(x->m, v)->dtype;
	s.dim[axis] = n;
	tg_val index = tg_tile_data(x, tg_const_dense(x->m->arena, TG_i32, &list_shape, list, true));
	struct tg_body *b = body(x);
	parallel_dims(b, &s);
	uint32_t in = tg_body_in(b, v), ix = tg_body_in(b, index);
	for (uint32_t i = 0; i < s.rank; i++)
		if (i != axis)
			tg_body_term(b, in, i, i, 1);
	tg_body_term(b, ix, 0, axis, 1);
	tg_body_gather(b, in, axis, ix);
	if (guarded)
		tg_body_guard(b, in, fill);
	return tg_body_end(b, x->op, t, &s, tg_body_arg(b, in), NULL, NO_VAL);
}

tg_val expand_pad(struct tg_expand *x)
{
	const int64_t *lo = x->attrs[TG_AT(pad, lo)].ints.at, *hi = x->attrs[TG_AT(pad, hi)].ints.at;
	const char *mode = x->attrs[TG_AT(pad, mode)].s;
	const struct tg_shape *s = tg_shape_of(x, 0);
	bool any = false;
	for (uint32_t i = 0; i < s->rank; i++)
		any |= lo[i] != 0 || hi[i] != 0;
	if (!any)
		return x->in[0];
	if (mode[0] == 'c')
		return pad_constant(x, lo, hi);
	int64_t elements;
	if (tg_shape_count(&x->shape, &elements) && elements == 0)
		return tg_tile_empty(x, x->dtype, &x->shape);
	tg_val v = x->in[0];
	for (uint32_t i = 0; i < x->shape.rank; i++) {
		if (lo[i] == 0 && hi[i] == 0)
			continue;
		int64_t n = x->shape.dim[i], was = tg_value_get(x->m, v)->shape.dim[i];
		int32_t *list = tg_alloc_n(x->m->arena, (size_t)n, sizeof *list);
		for (int64_t o = 0; o < n; o++)
			list[o] = (int32_t)source_index(mode[0], o - lo[i], was);
		v = take(x, v, i, list, n, false, 0);
	}
	return v;
}

/* ---- concat, gather ---- */

tg_val expand_concat(struct tg_expand *x)
{
	uint32_t axis = (uint32_t)x->attrs[TG_AT(concat, axis)].i;
	tg_val all = { 0 };
	int64_t at = 0;
	for (uint32_t i = 0; i < x->n_in; i++)
		if (tg_shape_equal(tg_shape_of(x, i), &x->shape))
			return x->in[i];
	all = tg_tile_empty(x, x->dtype, &x->shape);
	for (uint32_t i = 0; i < x->n_in; i++) {
		struct tg_shape s = *tg_shape_of(x, i);
		struct tg_body *b = body(x);
		parallel_dims(b, &s);
		struct tg_map out = tg_map_new(b, s.rank);
		for (uint32_t r = 0; r < s.rank; r++)
			out.index[r].coef[r] = 1;
		out.index[axis].offset = at;
		at += s.dim[axis];
		all = tg_body_end(b, x->op, x->dtype, &x->shape, tg_body_operand(b, x->in[i], 0, s.rank), &out, all);
	}
	return all;
}

/* Indices as i32 in [0, n): negative ones count from the end. */
static tg_val normal_index(struct tg_expand *x, tg_val v, int64_t n)
{
	const struct tg_shape *s = &tg_value_get(x->m, v)->shape;
	enum tg_dtype t = (enum tg_dtype)tg_value_get(x->m, v)->dtype;
	struct tg_body *b = body(x);
	parallel_dims(b, s);
	/* Narrowed first: what saturates lies outside every tensor, and 32 bits are what the chip's lanes hold. */
	tg_expr i = tg_cast_expr(b, tg_body_operand(b, v, 0, s->rank), t, TG_i32, true), none = { 0 };
	tg_expr below = tg_node_new(b, TG_X_lt, TG_bool, i, tg_node_const_i64(b, TG_i32, 0), none);
	tg_expr up = tg_node_new(b, TG_X_add, TG_i32, i, tg_node_const_i64(b, TG_i32, n), none);
	tg_expr e = tg_node_new(b, TG_X_select, TG_i32, below, up, i);
	return tg_body_end(b, x->op, TG_i32, s, e, NULL, NO_VAL);
}

tg_val expand_gather(struct tg_expand *x)
{
	uint32_t axis = (uint32_t)x->attrs[TG_AT(gather, axis)].i, n_index = tg_shape_of(x, 1)->rank;
	const struct tg_shape *s = tg_shape_of(x, 0);
	int64_t extent = s->dim[axis], elements;
	if (tg_shape_count(&x->shape, &elements) && elements == 0)
		return tg_tile_empty(x, x->dtype, &x->shape);
	uint32_t rank = s->rank;
	tg_val index = normal_index(x, x->in[1], extent);
	struct tg_body *b = body(x);
	parallel_dims(b, &x->shape);
	uint32_t in = tg_body_in(b, x->in[0]), ix = tg_body_in(b, index);
	for (uint32_t i = 0; i < rank; i++)
		if (i != axis)
			tg_body_term(b, in, i, i < axis ? i : i + n_index - 1, 1);
	for (uint32_t i = 0; i < n_index; i++)
		tg_body_term(b, ix, i, axis + i, 1);
	tg_body_gather(b, in, axis, ix);
	return end_copy(x, b, in, NULL);
}

/* ---- blocks of space and depth: dims n, bh, bw, c, h, w ---- */

enum { N, BH, BW, C, H, W };

static struct tg_body *block_dims(struct tg_expand *x, int64_t block, int64_t c, int64_t h, int64_t w)
{
	struct tg_body *b = body(x);
	struct tg_shape s = { .rank = 6, .dim = { x->shape.dim[0], block, block, c, h, w } };
	parallel_dims(b, &s);
	return b;
}

tg_val expand_space_to_depth(struct tg_expand *x)
{
	int64_t block = x->attrs[TG_AT(space_to_depth, block)].i, c = tg_shape_of(x, 0)->dim[1];
	struct tg_body *b = block_dims(x, block, c, x->shape.dim[2], x->shape.dim[3]);
	struct tg_map out = tg_map_new(b, 4);
	uint32_t in = tg_body_in(b, x->in[0]);
	tg_body_term(b, in, 0, N, 1);
	tg_body_term(b, in, 1, C, 1);
	tg_body_term(b, in, 2, H, block);
	tg_body_term(b, in, 2, BH, 1);
	tg_body_term(b, in, 3, W, block);
	tg_body_term(b, in, 3, BW, 1);
	out.index[0].coef[N] = 1;
	out.index[1].coef[BH] = block * c;
	out.index[1].coef[BW] = c;
	out.index[1].coef[C] = 1;
	out.index[2].coef[H] = 1;
	out.index[3].coef[W] = 1;
	return end_copy(x, b, in, &out);
}

tg_val expand_depth_to_space(struct tg_expand *x)
{
	int64_t block = x->attrs[TG_AT(depth_to_space, block)].i, c = x->shape.dim[1];
	bool crd = x->attrs[TG_AT(depth_to_space, crd)].i != 0;
	struct tg_body *b = block_dims(x, block, c, tg_shape_of(x, 0)->dim[2], tg_shape_of(x, 0)->dim[3]);
	struct tg_map out = tg_map_new(b, 4);
	uint32_t in = tg_body_in(b, x->in[0]);
	tg_body_term(b, in, 0, N, 1);
	tg_body_term(b, in, 1, BH, crd ? block : block * c);
	tg_body_term(b, in, 1, BW, crd ? 1 : c);
	tg_body_term(b, in, 1, C, crd ? block * block : 1);
	tg_body_term(b, in, 2, H, 1);
	tg_body_term(b, in, 3, W, 1);
	out.index[0].coef[N] = 1;
	out.index[1].coef[C] = 1;
	out.index[2].coef[H] = block;
	out.index[2].coef[BH] = 1;
	out.index[3].coef[W] = block;
	out.index[3].coef[BW] = 1;
	return end_copy(x, b, in, &out);
}

tg_val expand_iota(struct tg_expand *x)
{
	struct tg_body *b = body(x);
	parallel_dims(b, &x->shape);
	tg_expr i = tg_node_k(b, TG_X_index, TG_i32, (int32_t)x->attrs[TG_AT(iota, axis)].i, (tg_expr){ 0 });
	return tg_body_end(b, x->op, x->dtype, &x->shape, tg_cast_expr(b, i, TG_i32, x->dtype, false), NULL, NO_VAL);
}

/* ---- interp ---- */

static int64_t tap(const struct tg_const *c, int64_t o, int64_t t) { return tg_const_i64(c, o * c->shape.dim[1] + t); }

static bool taps_inside(const struct tg_const *c, int64_t n)
{
	for (int64_t i = 0; i < c->shape.dim[0] * c->shape.dim[1]; i++)
		if (tg_const_i64(c, i) < 0 || tg_const_i64(c, i) >= n)
			return false;
	return true;
}

/* index[o] = step * o + index[0] */
static bool is_affine(const struct tg_const *c, int64_t *step)
{
	int64_t n = c->shape.dim[0];
	*step = n > 1 ? tap(c, 1, 0) - tap(c, 0, 0) : 0;
	for (int64_t o = 0; o < n; o++)
		if (tap(c, o, 0) != tap(c, 0, 0) + o * *step)
			return false;
	return true;
}

/* index[o] = o / r with n * r outputs; 0 when it is not so */
static int64_t repeat_of(const struct tg_const *c, int64_t n)
{
	int64_t out = c->shape.dim[0], r = n > 0 && out % n == 0 ? out / n : 0;
	for (int64_t o = 0; r && o < out; o++)
		if (tap(c, o, 0) != o / r)
			return 0;
	return r;
}

static tg_val interp_affine(struct tg_expand *x, uint32_t axis, int64_t first, int64_t step)
{
	struct tg_body *b = body(x);
	parallel_dims(b, &x->shape);
	uint32_t in = tg_body_in(b, x->in[0]);
	for (uint32_t i = 0; i < x->shape.rank; i++)
		tg_body_term(b, in, i, i, i == axis ? step : 1);
	tg_body_offset(b, in, axis, first);
	return end_copy(x, b, in, NULL);
}

static tg_val interp_repeat(struct tg_expand *x, uint32_t axis, int64_t r)
{
	struct tg_body *b = body(x);
	parallel_dims(b, tg_shape_of(x, 0));
	uint32_t copy = tg_body_dim(b, TG_DIM_PARALLEL, r), in = tg_body_in(b, x->in[0]);
	struct tg_map out = tg_map_new(b, x->shape.rank);
	for (uint32_t i = 0; i < x->shape.rank; i++) {
		tg_body_term(b, in, i, i, 1);
		out.index[i].coef[i] = i == axis ? r : 1;
	}
	out.index[axis].coef[copy] = 1;
	return end_copy(x, b, in, &out);
}

static tg_val interp_taps(struct tg_expand *x, uint32_t axis, bool guarded)
{
	struct tg_const *index = x->attrs[TG_AT(interp, index)].c, *weight = x->attrs[TG_AT(interp, weight)].c;
	enum tg_dtype t = tg_compute_type(x->dtype);
	tg_val iv = tg_tile_data(x, index), wv = tg_tile_data(x, weight);
	struct tg_body *b = body(x);
	parallel_dims(b, &x->shape);
	uint32_t taps = tg_body_dim(b, TG_DIM_REDUCE, index->shape.dim[1]);
	uint32_t in = tg_body_in(b, x->in[0]), ix = tg_body_in(b, iv), w = tg_body_in(b, wv);
	for (uint32_t i = 0; i < x->shape.rank; i++)
		if (i != axis)
			tg_body_term(b, in, i, i, 1);
	tg_body_gather(b, in, axis, ix);
	tg_body_term(b, ix, 0, axis, 1);
	tg_body_term(b, ix, 1, taps, 1);
	tg_body_term(b, w, 0, axis, 1);
	tg_body_term(b, w, 1, taps, 1);
	if (guarded)
		tg_body_guard(b, in, x->attrs[TG_AT(interp, outside)].f);
	tg_expr product = tg_node_new(b, TG_X_mul, t, tg_body_arg(b, in), tg_cast_node(b, t, tg_body_arg(b, w)), (tg_expr){ 0 });
	tg_expr e = tg_wrap_to(b, x->dtype, tg_body_reduce(b, TG_SUM, product));
	return tg_body_end(b, x->op, x->dtype, &x->shape, e, NULL, NO_VAL);
}

tg_val expand_interp(struct tg_expand *x)
{
	const struct tg_const *index = x->attrs[TG_AT(interp, index)].c;
	uint32_t axis = (uint32_t)x->attrs[TG_AT(interp, axis)].i;
	int64_t n = tg_shape_of(x, 0)->dim[axis], step, r, elements;
	bool inside = taps_inside(index, n);
	if (tg_shape_count(&x->shape, &elements) && elements == 0)
		return tg_tile_empty(x, x->dtype, &x->shape);
	if (x->attrs[TG_AT(interp, weight)].c)
		return interp_taps(x, axis, !inside);
	if (inside && is_affine(index, &step))
		return step == 1 && n == x->shape.dim[axis] ? x->in[0] : interp_affine(x, axis, tap(index, 0, 0), step);
	if ((r = repeat_of(index, n)) > 0)
		return interp_repeat(x, axis, r);
	int32_t *list = tg_alloc_n(x->m->arena, (size_t)index->shape.dim[0], sizeof *list);
	for (int64_t o = 0; o < index->shape.dim[0]; o++)
		list[o] = (int32_t)tap(index, o, 0);
	return take(x, x->in[0], axis, list, index->shape.dim[0], !inside, x->attrs[TG_AT(interp, outside)].f);
}
