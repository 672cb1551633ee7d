/* generate.c: random programs of stages.
 *
 * Every expression carries a bound of its magnitude and how many binary places it has behind the point; floats whose bound and places together
 * leave 24 bits are not built, so that no operation ever rounds but where rounding is itself defined to the bit (conversions, narrow stores).
 * Operands come from earlier results, inputs and constants; maps are built first and tensors made to fit, or fitted to tensors that exist. */
#include "generate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- reductions ---- */

static int64_t reduce_points(const struct gen *g)
{
	int64_t n = 1;
	for (uint32_t i = 0; i < g->n_dims; i++)
		n *= g->kind[i] == TG_DIM_REDUCE ? g->extent[i] : 1;
	return n;
}

static void reduce(struct gen *g)
{
	static const uint8_t types[] = { TG_f32, TG_f32, TG_f32, TG_i32, TG_u32, TG_bool };
	enum tg_dtype t = (enum tg_dtype)types[some(g, 0, (int64_t)TG_ARRAY_LEN(types) - 1)];
	struct known k, sum, product;
	tg_expr e = gen_gathered(g, t, true, &k);
	double n = (double)reduce_points(g);
	enum tg_combine c = (enum tg_combine)some(g, 0, TG_N_COMBINES - 1);
	sum = (struct known){ k.bound * n, k.places };
	product = (struct known){ pow(k.bound, n), (int)fmin(1000, k.places * n) };
	if (t == TG_bool && c < TG_MAX)
		c = TG_MAX;
	if ((c == TG_SUM && !gen_exact(t, sum)) || (c == TG_PROD && !gen_exact(t, product)))
		c = TG_MIN;
	k = gen_cap(t, c == TG_SUM ? sum : c == TG_PROD ? product : k);
	tg_expr acc = tg_body_reduce(g->b, c, e);
	for (uint32_t i = 0; i < g->n_pool; i++)
		g->pool[i].used |= g->pool[i].varies;
	if (chance(g, 6)) /* two reductions: while no result is in the pool yet */
		tg_body_reduce(g->b, TG_MAX, e);
	gen_add_pool(g, acc, t, k, false);
}

/* ---- results ---- */

/* Parallel dimensions in some order, some joined into one index, some walked backwards. */
static struct tg_map result_map(struct gen *g, struct tg_shape *s, bool plain)
{
	uint32_t dims[MAX_GEN_DIMS], n = gen_usable(g, false, dims), rank = 0;
	struct tg_map m = tg_map_new(g->b, MAX_GEN_DIMS);
	*s = (struct tg_shape){ 0 };
	if (!plain && chance(g, 30))
		gen_shuffle(g, dims, n);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_index *x = &m.index[rank];
		uint32_t d = dims[i];
		int64_t size = g->extent[d];
		x->coef[d] = 1;
		if (!plain && i + 1 < n && chance(g, 10)) {
			x->coef[d] = g->extent[dims[i + 1]];
			x->coef[dims[++i]] = 1;
			size *= g->extent[dims[i]];
		} else if (!plain && chance(g, 4)) {
			x->coef[d] = -1;
			x->offset = size - 1;
		}
		s->dim[rank++] = size;
	}
	if (!plain && chance(g, 5))
		s->dim[rank++] = 1;
	m.rank = s->rank = rank;
	return m;
}

static struct known stored(enum tg_dtype t, struct known k)
{
	switch (t) {
	case TG_i8: case TG_u8: return (struct known){ 256, 0 };
	case TG_i16: case TG_u16: return (struct known){ 65536, 0 };
	case TG_f16: case TG_bf16: return (struct known){ k.bound * 1.01, k.places };
	default: return k;
	}
}

static enum tg_dtype result_type(struct gen *g)
{
	return chance(g, 3) ? TG_i64 : gen_some_type(g);
}

/* The output expression for memory type t. */
static tg_expr final_value(struct gen *g, enum tg_dtype t, struct known *k)
{
	enum tg_dtype c = tg_compute_type(t);
	tg_expr e;
	if (t == TG_i64) {
		e = gen_gathered(g, TG_i32, false, k);
		e = tg_node_new(g->b, TG_X_cast, TG_i64, e, (tg_expr){ 0 }, (tg_expr){ 0 });
	} else {
		e = gen_gathered(g, c, false, k);
	}
	if (t == TG_f16 && k->bound > 60000) {
		e = tg_node_new(g->b, TG_X_min, c, e, tg_node_const_i64(g->b, c, 1000), (tg_expr){ 0 });
		e = tg_node_new(g->b, TG_X_max, c, e, tg_node_const_i64(g->b, c, -1000), (tg_expr){ 0 });
		k->bound = 1000;
	}
	*k = stored(t, *k);
	return e;
}

static void done(struct gen *g, tg_val v, struct known k)
{
	gen_know(g, v, k);
	*TG_PUSH(g->a, &g->vals) = v;
}

/* ---- stages ---- */

/* Dimensions like an earlier result's, so that stages chain and fuse. */
static bool dims_of(struct gen *g, tg_val v)
{
	const struct tg_value *val = gen_value(g, v);
	if (val->shape.rank > 5 || gen_value(g, v)->dtype == TG_i64)
		return false;
	for (uint32_t r = 0; r < val->shape.rank; r++)
		if (val->shape.dim[r] > g->max_points / gen_points(g))
			return false;
	int64_t n;
	if (!tg_shape_count(&val->shape, &n) || n > g->max_points)
		return false;
	for (uint32_t r = 0; r < val->shape.rank; r++)
		gen_add_dim(g, TG_DIM_PARALLEL, val->shape.dim[r]);
	return true;
}

/* onward: it reads the last result. */
static void general_stage(struct gen *g, bool onward)
{
	gen_begin(g);
	bool chained = g->vals.n && (onward || chance(g, 60));
	tg_val from = { 0 };
	if (chained) {
		from = g->vals.at[onward ? (int64_t)g->vals.n - 1 : some(g, 0, (int64_t)g->vals.n - 1)];
		chained = dims_of(g, from);
	}
	if (!chained)
		for (int64_t n = some(g, chance(g, 10) ? 0 : 1, 4); n > 0; n--)
			gen_add_dim(g, TG_DIM_PARALLEL, gen_some_extent(g));
	bool reduces = chance(g, 40);
	for (int64_t n = reduces ? some(g, 1, 3) : 0; n > 0; n--)
		gen_add_dim(g, TG_DIM_REDUCE, gen_some_extent(g));
	if (chained)
		gen_plain_operand(g, from);
	for (int64_t n = some(g, chained ? 0 : 1, 3); n > 0; n--)
		gen_some_operand(g, reduces);
	if (chance(g, 10) || g->n_pool == 0)
		gen_index_node(g, reduces);
	if (reduces) {
		gen_grow(g, true, some(g, 0, 5));
		reduce(g);
		for (int64_t n = some(g, 0, 1); n > 0; n--)
			gen_some_operand(g, false);
	}
	gen_grow(g, false, some(g, 0, chance(g, 15) ? 30 : 7));
	enum tg_dtype t = result_type(g);
	struct tg_shape s;
	struct tg_map m = result_map(g, &s, chance(g, 50));
	struct known k;
	tg_expr e = final_value(g, t, &k);
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, (tg_val){ 0 }), k);
}

static tg_expr factor(struct gen *g, tg_expr e, enum tg_dtype from, enum tg_dtype to)
{
	return from == to ? e : tg_node_new(g->b, TG_X_cast, to, e, (tg_expr){ 0 }, (tg_expr){ 0 });
}

/* An operand of a contraction: its dimensions in random order, a window over pairs (image, kernel) where given. */
static tg_expr contraction_operand(struct gen *g, enum tg_dtype t, uint32_t *dims, uint32_t n, const int64_t *stride, const int64_t *dilation,
				   const uint32_t *image, const uint32_t *kernel, uint32_t n_windows)
{
	struct shape_map m = { 0 };
	if (chance(g, 50))
		gen_shuffle(g, dims, n);
	for (uint32_t i = 0; i < n; i++)
		m.at[m.rank++] = (struct index){ .n = 1, .div = 1, .dim = { dims[i] }, .coef = { 1 } };
	for (uint32_t w = 0; w < n_windows; w++) {
		uint32_t where = (uint32_t)some(g, 0, m.rank);
		memmove(&m.at[where + 1], &m.at[where], (m.rank - where) * sizeof m.at[0]);
		m.at[where] = (struct index){ .n = 2, .div = 1, .dim = { image[w], kernel[w] }, .coef = { stride[w], dilation[w] } };
		m.rank++;
	}
	int64_t count = 1;
	m.shape.rank = m.rank;
	for (uint32_t r = 0; r < m.rank; r++) {
		int64_t lo, hi;
		gen_span(g, &m.at[r], &lo, &hi);
		int64_t before = m.at[r].n == 2 ? some(g, 0, 2) : 0, after = m.at[r].n == 2 ? some(g, 0, 2) : 0, size = hi + 1 - before - after;
		m.guarded |= before || after;
		m.at[r].offset = -before;
		m.shape.dim[r] = size < 1 ? 1 : size;
		m.guarded |= size < 1;
		count *= m.shape.dim[r];
	}
	if (count > 4 * MAX_ELEMENTS)
		m.rank = m.shape.rank = 0, m.guarded = false;
	tg_val v = gen_make_tensor(g, t, &m.shape);
	uint32_t in = tg_body_in(g->b, v);
	gen_apply_map(g, in, &m);
	if (m.guarded)
		tg_body_guard(g->b, in, 0);
	g->n_ins++;
	return tg_body_arg(g->b, in);
}

struct contraction { enum tg_dtype lhs, rhs, node; };

static void contraction_stage(struct gen *g)
{
	static const struct contraction kinds[] = { { TG_f32, TG_f32, TG_f32 }, { TG_f32, TG_f32, TG_f32 }, { TG_f16, TG_f16, TG_f32 }, { TG_bf16, TG_bf16, TG_f32 },
						    { TG_i8, TG_i8, TG_i32 }, { TG_u8, TG_u8, TG_i32 }, { TG_u8, TG_i8, TG_i32 }, { TG_i8, TG_u8, TG_i32 },
						    { TG_i16, TG_i8, TG_i32 }, { TG_f32, TG_f16, TG_f32 }, { TG_u8, TG_u8, TG_u32 } };
	const struct contraction *k = &kinds[some(g, 0, (int64_t)TG_ARRAY_LEN(kinds) - 1)];
	uint32_t lhs[MAX_GEN_DIMS], rhs[MAX_GEN_DIMS], n_l = 0, n_r = 0, image[2], kernel[2], n_windows = chance(g, 50) ? (uint32_t)some(g, 1, 2) : 0;
	int64_t stride[2] = { some(g, 1, 3), some(g, 1, 2) }, dilation[2] = { some(g, 1, 2), some(g, 1, 2) }, old = g->max_points;
	g->max_points *= 8;
	gen_begin(g);
	if (chance(g, 35)) { /* batch or groups */
		lhs[n_l++] = rhs[n_r++] = g->n_dims;
		gen_add_dim(g, TG_DIM_PARALLEL, some(g, 1, 4));
	}
	for (uint32_t w = 0; w < n_windows; w++) {
		image[w] = g->n_dims;
		gen_add_dim(g, TG_DIM_PARALLEL, some(g, 1, 20));
	}
	for (int64_t n = some(g, n_windows ? 0 : 1, n_windows ? 1 : 2); n > 0 && g->n_dims < 5; n--) {
		lhs[n_l++] = g->n_dims;
		gen_add_dim(g, TG_DIM_PARALLEL, n_windows ? some(g, 1, 3) : gen_some_extent(g));
	}
	for (int64_t n = some(g, chance(g, 10) ? 0 : 1, 1); n > 0; n--) {
		rhs[n_r++] = g->n_dims;
		gen_add_dim(g, TG_DIM_PARALLEL, gen_some_extent(g));
	}
	for (uint32_t w = 0; w < n_windows; w++) {
		kernel[w] = rhs[n_r++] = g->n_dims;
		gen_add_dim(g, TG_DIM_REDUCE, some(g, 1, 4));
	}
	for (int64_t n = some(g, n_windows ? 0 : 1, 1); n > 0 && g->n_dims < MAX_GEN_DIMS; n--) {
		lhs[n_l++] = rhs[n_r++] = g->n_dims;
		gen_add_dim(g, TG_DIM_REDUCE, chance(g, 30) ? 16 * some(g, 1, 8) : gen_some_extent(g));
	}
	tg_expr a = factor(g, contraction_operand(g, k->lhs, lhs, n_l, stride, dilation, image, kernel, n_windows), tg_compute_type(k->lhs), k->node);
	tg_expr b = factor(g, contraction_operand(g, k->rhs, rhs, n_r, NULL, NULL, NULL, NULL, 0), tg_compute_type(k->rhs), k->node);
	g->max_points = old;
	if (k->node == TG_i32 && chance(g, 35)) /* zero points */
		a = tg_node_new(g->b, TG_X_sub, TG_i32, a, tg_node_const_i64(g->b, TG_i32, some(g, -3, 130)), (tg_expr){ 0 });
	if (k->node == TG_i32 && chance(g, 20))
		b = tg_node_new(g->b, TG_X_sub, TG_i32, b, tg_node_const_i64(g->b, TG_i32, some(g, -3, 130)), (tg_expr){ 0 });
	bool swap = chance(g, 30);
	tg_expr p = tg_node_new(g->b, TG_X_mul, k->node, swap ? b : a, swap ? a : b, (tg_expr){ 0 });
	bool has_reduce = false;
	for (uint32_t i = 0; i < g->n_dims; i++)
		has_reduce |= g->kind[i] == TG_DIM_REDUCE;
	struct known known = { k->node == TG_f32 ? 65536.0 * (double)reduce_points(g) : 4294967296.0, 0 };
	gen_add_pool(g, has_reduce ? tg_body_reduce(g->b, TG_SUM, p) : p, k->node, known, false);
	if (chance(g, 50)) {
		for (int64_t n = some(g, 0, 2); n > 0; n--)
			gen_some_operand(g, false);
		gen_grow(g, false, some(g, 0, 6));
	}
	enum tg_dtype t = chance(g, 60) ? (k->node == TG_f32 ? TG_f32 : TG_i32) : result_type(g);
	if (t == TG_f16)
		t = TG_f32;
	struct tg_shape s;
	struct tg_map m = result_map(g, &s, chance(g, 60));
	tg_expr e;
	if (g->n_pool == 1) {
		struct item x = g->pool[0];
		e = tg_compute_type(t) == x.t ? x.e : final_value(g, t, &known);
		known = stored(t, known);
	} else {
		e = final_value(g, t, &known);
	}
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, (tg_val){ 0 }), known);
}

/* A convolution over few channels with constant weights, as networks begin with: what packs taps and neighbours into the array. */
static void narrow_conv_stage(struct gen *g)
{
	enum tg_dtype t = chance(g, 60) ? TG_bf16 : TG_f32;
	bool channels_last = chance(g, 70), guarded = chance(g, 60);
	int64_t kw = some(g, 1, 4), kh = chance(g, 30) ? 1 : some(g, 1, 3), stride = chance(g, 60) ? 1 : some(g, 2, 3), pad = guarded ? some(g, 0, 2) : 0, old = g->max_points;
	g->max_points = 1 << 20;
	gen_begin(g);
	int64_t w = some(g, 1, 6) * some(g, 1, 8), h = some(g, 1, 6), n = chance(g, 50) ? 1 : some(g, 1, 9), m = chance(g, 70) ? some(g, 1, 40) : some(g, 41, 140), c = some(g, 1, 40);
	const int64_t extents[] = { n, m, h, w, c, kh, kw };
	for (uint32_t d = 0; d < 7; d++)
		gen_add_dim(g, d < 4 ? TG_DIM_PARALLEL : TG_DIM_REDUCE, extents[d]);
	g->max_points = old;
	int64_t width = (g->extent[3] - 1) * stride + g->extent[6] - 2 * pad, height = (g->extent[2] - 1) * stride + g->extent[5] - 2 * pad;
	width = width < 1 ? 1 : width;
	height = height < 1 ? 1 : height;
	struct index in_n = { .n = 1, .div = 1, .dim = { 0 }, .coef = { 1 } }, in_c = { .n = 1, .div = 1, .dim = { 4 }, .coef = { 1 } };
	struct index in_h = { .n = 2, .div = 1, .dim = { 2, 5 }, .coef = { stride, 1 }, .offset = -pad }, in_w = { .n = 2, .div = 1, .dim = { 3, 6 }, .coef = { stride, 1 }, .offset = -pad };
	struct shape_map x = { .rank = 4, .guarded = true };
	x.at[0] = in_n;
	x.at[channels_last ? 3 : 1] = in_c;
	x.at[channels_last ? 1 : 2] = in_h;
	x.at[channels_last ? 2 : 3] = in_w;
	x.shape = (struct tg_shape){ .rank = 4, .dim = { g->extent[0], channels_last ? height : g->extent[4], channels_last ? width : height, channels_last ? g->extent[4] : width } };
	struct shape_map k = { .rank = 4, .shape = { .rank = 4, .dim = { g->extent[1], g->extent[4], g->extent[5], g->extent[6] } } };
	const uint32_t at[] = { 1, 4, 5, 6 };
	for (uint32_t i = 0; i < 4; i++)
		k.at[i] = (struct index){ .n = 1, .div = 1, .dim = { at[i] }, .coef = { 1 } };
	tg_val vx = gen_make_tensor(g, t, &x.shape), vk = gen_make_data(g, t, &k.shape);
	uint32_t ix = tg_body_in(g->b, vx), ik = tg_body_in(g->b, vk);
	gen_apply_map(g, ix, &x);
	gen_apply_map(g, ik, &k);
	tg_body_guard(g->b, ix, 0);
	g->n_ins += 2;
	tg_expr p = tg_node_new(g->b, TG_X_mul, TG_f32, tg_body_arg(g->b, ix), tg_body_arg(g->b, ik), (tg_expr){ 0 });
	struct known known = { 2048.0 * (double)reduce_points(g), 0 };
	gen_add_pool(g, tg_body_reduce(g->b, TG_SUM, p), TG_f32, known, false);
	for (int64_t more = some(g, 0, 2); more > 0; more--)
		gen_some_operand(g, false);
	gen_grow(g, false, some(g, 0, 4));
	enum tg_dtype to = chance(g, 50) ? TG_f32 : TG_bf16;
	struct tg_shape s = { .rank = 4 };
	struct tg_map out = tg_map_new(g->b, 4);
	static const uint32_t last[] = { 0, 2, 3, 1 }, first[] = { 0, 1, 2, 3 };
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t d = channels_last ? last[i] : first[i];
		out.index[i].coef[d] = 1;
		s.dim[i] = g->extent[d];
	}
	struct known kk;
	tg_expr e = final_value(g, to, &kk);
	done(g, tg_body_end(g->b, NULL, to, &s, e, &out, (tg_val){ 0 }), kk);
}

/* Parts side by side (or interleaved) along one axis of an empty tensor. */
static void into_chain(struct gen *g)
{
	enum tg_dtype t = result_type(g);
	uint32_t rank = (uint32_t)some(g, 1, 3), axis = (uint32_t)some(g, 0, rank - 1), n_parts = (uint32_t)some(g, 2, 3);
	bool interleaved = chance(g, 20);
	struct tg_shape s = { .rank = rank };
	int64_t part[3], at = 0, room = g->max_points;
	for (uint32_t r = 0; r < rank; r++) {
		s.dim[r] = gen_some_extent(g);
		s.dim[r] = s.dim[r] > room ? room : s.dim[r];
		room /= s.dim[r];
	}
	s.dim[axis] = 0;
	for (uint32_t i = 0; i < n_parts; i++) {
		part[i] = interleaved && i ? part[0] : some(g, 1, 12);
		s.dim[axis] += part[i];
	}
	struct tg_op *empty = tg_op_new(g->m, &g->m->body, NULL, TG_TILE_empty, NULL, 0, 1, g->prov);
	tg_val v = empty->out[0] = tg_value_new(g->m, TG_TENSOR, t, &s, NULL);
	tg_value_of(g->m, v)->def = empty;
	struct known all = { 0, 0 };
	for (uint32_t i = 0; i < n_parts; i++) {
		struct known k;
		gen_begin(g);
		for (uint32_t r = 0; r < rank; r++)
			gen_add_dim(g, TG_DIM_PARALLEL, r == axis ? part[i] : s.dim[r]);
		if (gen_points(g) > g->max_points)
			return;
		for (int64_t n = some(g, 1, 2); n > 0; n--)
			gen_some_operand(g, false);
		gen_grow(g, false, some(g, 0, 3));
		tg_expr e = final_value(g, t, &k);
		struct tg_map m = tg_map_new(g->b, rank);
		for (uint32_t r = 0; r < rank; r++)
			m.index[r].coef[r] = 1;
		m.index[axis].coef[axis] = interleaved ? n_parts : 1;
		m.index[axis].offset = interleaved ? i : at;
		bool short_dim = false;
		for (uint32_t r = 0; r < rank; r++)
			short_dim |= g->extent[r] != (r == axis ? part[i] : s.dim[r]);
		if (short_dim)
			return;
		v = tg_body_end(g->b, NULL, t, &s, e, &m, v);
		at += part[i];
		all = (struct known){ fmax(all.bound, k.bound), all.places > k.places ? all.places : k.places };
	}
	done(g, v, all);
}

/* Overwrites a part of an earlier result, which others may still read. */
static void overwrite(struct gen *g)
{
	tg_val old = g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)];
	struct tg_shape s = gen_value(g, old)->shape;
	enum tg_dtype t = (enum tg_dtype)gen_value(g, old)->dtype;
	int64_t n;
	if (s.rank == 0 || s.rank > 4 || t == TG_i64 || !tg_shape_count(&s, &n) || n > g->max_points)
		return;
	gen_begin(g);
	struct tg_map m = { 0 };
	int64_t step[4], from[4];
	for (uint32_t r = 0; r < s.rank; r++) {
		int64_t extent = some(g, 1, s.dim[r]), most = extent > 1 ? (s.dim[r] - 1) / (extent - 1) : 1;
		step[r] = some(g, 1, most > 3 ? 3 : most);
		from[r] = some(g, 0, s.dim[r] - 1 - step[r] * (extent - 1));
		gen_add_dim(g, TG_DIM_PARALLEL, extent);
		if (g->extent[r] != extent)
			return;
	}
	gen_some_operand(g, false);
	gen_grow(g, false, some(g, 0, 3));
	struct known k, was = g->known.at[old.id];
	tg_expr e = final_value(g, t, &k);
	m = tg_map_new(g->b, s.rank);
	for (uint32_t r = 0; r < s.rank; r++) {
		m.index[r].coef[r] = step[r];
		m.index[r].offset = from[r];
	}
	k = (struct known){ fmax(k.bound, was.bound), k.places > was.places ? k.places : was.places };
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, old), k);
}

static void view(struct gen *g)
{
	tg_val v = g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)];
	struct tg_shape s = gen_value(g, v)->shape, to = { 0 };
	int64_t n, d;
	if (!tg_shape_count(&s, &n) || n < 1)
		return;
	for (uint32_t r = (uint32_t)some(g, 0, 2); r > 0 && n > 1; r--) {
		for (d = some(g, 1, n < 40 ? n : 40); n % d; d--)
			;
		to.dim[to.rank++] = d;
		n /= d;
	}
	to.dim[to.rank++] = n;
	struct tg_op *op = tg_op_new(g->m, &g->m->body, NULL, TG_TILE_view, &v, 1, 1, g->prov);
	op->out[0] = tg_value_new(g->m, TG_TENSOR, (enum tg_dtype)gen_value(g, v)->dtype, &to, NULL);
	tg_value_of(g->m, op->out[0])->def = op;
	done(g, op->out[0], g->known.at[v.id]);
}

/* ---- programs ---- */

/* What nobody reads, and a few others. */
static void pick_outputs(struct gen *g)
{
	tg_count_uses(g->m);
	for (size_t i = 0; i < g->vals.n; i++) {
		struct tg_value *v = tg_value_of(g->m, g->vals.at[i]);
		if (!v->def || v->def->code == TG_TILE_data || (v->n_uses && !chance(g, 15)))
			continue;
		*TG_PUSH(g->a, &g->m->outputs) = (struct tg_port){ tg_asprintf(g->a, "y%zu", g->m->outputs.n), g->vals.at[i] };
	}
}

struct tg_module *fuzz_generate(struct tg_arena *a, uint64_t seed)
{
	struct gen *g = tg_alloc(a, sizeof *g);
	*g = (struct gen){ .r = { seed }, .a = a, .m = tg_module_new(a, "fuzz") };
	*TG_PUSH(a, &g->m->nodes) = (struct tg_node_ref){ 0, "fuzz", "Fuzz" };
	g->prov = tg_prov_node(g->m, 0);
	g->m->level = "expand";
	g->max_points = chance(g, 10) ? 200000 : chance(g, 40) ? 20000 : 3000;
	for (int64_t n = some(g, 1, chance(g, 50) ? 2 : 6); n > 0; n--) {
		int64_t how = some(g, 0, 99);
		if (how < 55)
			general_stage(g, false);
		else if (how < 76)
			contraction_stage(g);
		else if (how < 82)
			narrow_conv_stage(g);
		else if (how < 90)
			into_chain(g);
		else if (g->vals.n && how < 94)
			overwrite(g);
		else if (g->vals.n)
			view(g);
	}
	bool grouped = chance(g, 50);
	for (int64_t n = grouped ? some(g, 0, 3) : 0; n > 0; n--)
		general_stage(g, true);
	pick_outputs(g);
	if (grouped)
		gen_groups(g);
	return g->m;
}
