/* test_ir_ops.c: every row of graph_ops.def: random small operands, results compared with plain loops in f64 written here. A row without
 * build_NAME and ref_NAME does not compile. */
#include <math.h>
#include <string.h>

#include "ir_harness.h"

typedef void build_fn(struct h *h);
typedef double ref_fn(struct h *h, const int64_t *at);

#define A(op, field) (&h->attrs[TG_AT(op, field)])

/* ---- elementwise: kinds of types, range of values, one expression ---- */

static enum tg_dtype pick_type(struct h *h, const char *kinds)
{
	static const enum tg_dtype floats[] = { TG_f32, TG_f32, TG_f16, TG_bf16, TG_f64 }, ints[] = { TG_i32, TG_i8, TG_u8, TG_i16, TG_i64, TG_u32, TG_u16, TG_u64 };
	switch (kinds[h_random(h) % strlen(kinds)]) {
	case 'f': return floats[h_random(h) % 5];
	case 'i': return ints[h_random(h) % 8];
	default: return TG_bool;
	}
}

static void elementwise(struct h *h, uint32_t n, const char *kinds, double lo, double hi)
{
	struct tg_shape s = h_shape(h, 0, 4, 5);
	enum tg_dtype t = pick_type(h, kinds);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_shape o = s;
		if (n > 1 && s.rank && h_random(h) % 2) { /* broadcast: drop leading dimensions, squash some */
			uint32_t drop = (uint32_t)h_between(h, 0, s.rank);
			memmove(o.dim, o.dim + drop, (s.rank - drop) * sizeof *o.dim);
			o.rank -= drop;
			for (uint32_t k = 0; k < o.rank; k++)
				o.dim[k] = h_random(h) % 3 ? o.dim[k] : 1;
		}
		h_input(h, t, &o, lo, hi);
	}
}

#define V(k) h_at_broadcast(&h->x[k], at, h->y.shape.rank)
#define ELEM(name, n, kinds, lo, hi, expr) \
	static void build_##name(struct h *h) { elementwise(h, n, kinds, lo, hi); } \
	static double ref_##name(struct h *h, const int64_t *at) \
	{ \
		double a = V(0), b = n > 1 ? V(n > 1) : 0; \
		bool is_float = tg_is_float(h->x[0].dtype), is_bool = h->x[0].dtype == TG_bool; \
		(void)b, (void)is_float, (void)is_bool; \
		return expr; \
	}
#define LL(x) ((long long)(x))
static double softplus(double x) { return x > 30 ? x : log1p(exp(x)); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double python_mod(double a, double b) { return b == 0 ? NAN : a - b * floor(a / b); }

ELEM(neg, 1, "fi", -20, 20, -a)
ELEM(abs, 1, "fi", -20, 20, fabs(a))
ELEM(sign, 1, "fi", -20, 20, (a > 0) - (a < 0))
ELEM(floor, 1, "f", -9, 9, floor(a))
ELEM(ceil, 1, "f", -9, 9, ceil(a))
ELEM(round, 1, "f", -9, 9, nearbyint(a))
ELEM(sqrt, 1, "f", 0, 9, sqrt(a))
ELEM(recip, 1, "f", 1, 9, 1 / a)
ELEM(exp, 1, "f", -4, 4, exp(a))
ELEM(log, 1, "f", 1, 9, log(a))
ELEM(sin, 1, "f", -4, 4, sin(a))
ELEM(cos, 1, "f", -4, 4, cos(a))
ELEM(tan, 1, "f", -1, 1, tan(a))
ELEM(asin, 1, "f", -1, 1, asin(a))
ELEM(acos, 1, "f", -1, 1, acos(a))
ELEM(atan, 1, "f", -9, 9, atan(a))
ELEM(sinh, 1, "f", -2, 2, sinh(a))
ELEM(cosh, 1, "f", -2, 2, cosh(a))
ELEM(tanh, 1, "f", -2, 2, tanh(a))
ELEM(asinh, 1, "f", -2, 2, asinh(a))
ELEM(acosh, 1, "f", 1, 4, acosh(a))
ELEM(atanh, 1, "f", -0.9, 0.9, atanh(a))
ELEM(erf, 1, "f", -2, 2, erf(a))
ELEM(not, 1, "ib", -9, 9, is_bool ? a == 0 : (double)~LL(a))
ELEM(relu, 1, "fi", -9, 9, a > 0 ? a : 0)
ELEM(leaky_relu, 1, "f", -9, 9, a < 0 ? 0.01 * a : a)
ELEM(elu, 1, "f", -4, 4, a < 0 ? exp(a) - 1 : a)
ELEM(selu, 1, "f", -4, 4, 1.05070098 * (a <= 0 ? 1.67326324 * exp(a) - 1.67326324 : a))
ELEM(celu, 1, "f", -4, 4, fmax(0, a) + fmin(0, exp(a) - 1))
ELEM(sigmoid, 1, "f", -9, 9, sigmoid(a))
ELEM(hard_sigmoid, 1, "f", -9, 9, fmin(1, fmax(0, 0.2 * a + 0.5)))
ELEM(softplus, 1, "f", -9, 9, softplus(a))
ELEM(softsign, 1, "f", -9, 9, a / (1 + fabs(a)))
ELEM(mish, 1, "f", -9, 9, a * tanh(softplus(a)))
ELEM(swish, 1, "f", -9, 9, a * sigmoid(a))
ELEM(thresholded_relu, 1, "f", -9, 9, a > 1 ? a : 0)
ELEM(shrink, 1, "fi", -9, 9, a < -0.5 ? a : a > 0.5 ? a : 0)
ELEM(is_nan, 1, "f", -9, 9, isnan(a))
ELEM(is_inf, 1, "f", -9, 9, isinf(a))
ELEM(add, 2, "fi", -50, 50, a + b)
ELEM(sub, 2, "fi", -50, 50, a - b)
ELEM(mul, 2, "fi", -50, 50, a *b)
ELEM(div, 2, "fi", 1, 50, is_float ? a / b : trunc(a / b))
ELEM(min, 2, "fi", -50, 50, a < b ? a : b)
ELEM(max, 2, "fi", -50, 50, a > b ? a : b)
ELEM(and, 2, "ib", -50, 50, (double)(LL(a) & LL(b)))
ELEM(or, 2, "ib", -50, 50, (double)(LL(a) | LL(b)))
ELEM(xor, 2, "ib", -50, 50, (double)(LL(a) ^ LL(b)))
ELEM(shl, 2, "i", 0, 7, (double)(LL(a) << LL(b)))
ELEM(shr, 2, "i", 0, 90, LL(b) > 31 && (a < 0 || tg_dtypes[h->x[0].dtype].bits < 64) ? 0 : LL(b) > 63 ? 0 : (double)(LL(a) >> LL(b)))
ELEM(prelu, 2, "fi", -9, 9, a < 0 ? a * b : a)
ELEM(eq, 2, "fib", -2, 2, a == b)
ELEM(lt, 2, "fi", -2, 2, a < b)
ELEM(le, 2, "fi", -2, 2, a <= b)

static void build_gelu(struct h *h)
{
	elementwise(h, 1, "f", -4, 4);
	A(gelu, tanh)->i = h_between(h, 0, 1);
}
static double ref_gelu(struct h *h, const int64_t *at)
{
	double a = V(0);
	return A(gelu, tanh)->i ? 0.5 * a * (1 + tanh(sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))) : 0.5 * a * (1 + erf(a / sqrt(2)));
}

static void build_mod(struct h *h)
{
	elementwise(h, 2, "fi", -20, 20);
	A(mod, fmod)->i = h_between(h, 0, 1);
}
static double ref_mod(struct h *h, const int64_t *at)
{
	double a = V(0), b = V(1);
	if (b == 0)
		return tg_is_float(h->x[0].dtype) ? NAN : 0;
	return A(mod, fmod)->i ? fmod(a, b) : python_mod(a, b);
}

static void build_pow(struct h *h)
{
	struct tg_shape s = h_shape(h, 0, 3, 4);
	h_input(h, pick_type(h, "fi"), &s, 1, 3);
	h_input(h, pick_type(h, "fi"), &s, 0, 3);
}
static double ref_pow(struct h *h, const int64_t *at)
{
	double r = pow(V(0), V(1));
	return tg_is_float(h->x[0].dtype) ? r : trunc(r * (1 + 1e-7));
}

static void build_select(struct h *h)
{
	struct tg_shape s = h_shape(h, 1, 3, 4), one = { 0 };
	enum tg_dtype t = pick_type(h, "fib");
	h_input(h, TG_bool, &s, 0, 1);
	h_input(h, t, &s, -9, 9);
	h_input(h, t, h_random(h) % 2 ? &s : &one, -9, 9);
}
static double ref_select(struct h *h, const int64_t *at) { return V(0) != 0 ? V(1) : V(2); }

static void build_cast(struct h *h)
{
	static const enum tg_dtype types[] = { TG_f32, TG_f16, TG_bf16, TG_f64, TG_i8, TG_u8, TG_i16, TG_i32, TG_i64, TG_u32, TG_u64, TG_bool,
					       TG_i4, TG_u4, TG_f8e4m3fn, TG_f8e5m2, TG_f8e4m3fnuz, TG_f8e5m2fnuz };
	struct tg_shape s = h_shape(h, 1, 3, 6);
	enum tg_dtype from = types[h_random(h) % TG_ARRAY_LEN(types)], to = types[h_random(h) % TG_ARRAY_LEN(types)];
	bool small = tg_dtypes[from].bits < 8 || tg_dtypes[to].bits < 8;
	A(cast, to)->dtype = to;
	A(cast, saturate)->i = h_between(h, 0, 1);
	bool unsig = tg_dtypes[to].kind == TG_KIND_UNSIGNED || tg_dtypes[from].kind == TG_KIND_UNSIGNED;
	h_input(h, from, &s, unsig ? 0 : small ? -7 : -100, small ? 7 : 100);
}
static double ref_cast(struct h *h, const int64_t *at)
{
	double v = V(0);
	enum tg_dtype to = A(cast, to)->dtype;
	uint8_t raw[8] = { 0 };
	if (to == TG_bool)
		return v != 0;
	if (!tg_is_float(to))
		return trunc(v);
	tg_put_f64(to, raw, 0, v);
	return tg_get_f64(to, raw, 0);
}

/* ---- shape and place ---- */

static void build_constant(struct h *h)
{
	struct tg_shape s = h_shape(h, 0, 3, 6);
	h_input(h, pick_type(h, "fib"), &s, -9, 9);
	A(constant, value)->c = h_random(h) % 2 ? tg_const_dense(h->a, h->x[0].dtype, &s, h->x[0].data, false)
						 : tg_const_splat(h->a, h->x[0].dtype, &s, h_at(&h->x[0], (int64_t[TG_MAX_RANK]){ 0 }));
	h->n_in = 0;
}
static double ref_constant(struct h *h, const int64_t *at)
{
	int64_t i = 0;
	for (uint32_t k = 0; k < h->y.shape.rank; k++)
		i = i * h->y.shape.dim[k] + at[k];
	const struct tg_const *c = A(constant, value)->c;
	return tg_is_float(c->dtype) ? tg_const_f64(c, i) : (double)tg_const_i64(c, i);
}

static void any_input(struct h *h, uint32_t lo_rank, uint32_t hi_rank)
{
	struct tg_shape s = h_shape(h, lo_rank, hi_rank, 5);
	h_input(h, pick_type(h, "fib"), &s, -9, 9);
}

static void build_transpose(struct h *h)
{
	int64_t perm[4] = { 0, 1, 2, 3 };
	any_input(h, 0, 4);
	uint32_t r = h->x[0].shape.rank;
	for (uint32_t i = r; i-- > 1;) {
		int64_t j = h_between(h, 0, i), t = perm[i];
		perm[i] = perm[j];
		perm[j] = t;
	}
	h_set_ints(h, TG_AT(transpose, perm), perm, r);
}
static double ref_transpose(struct h *h, const int64_t *at)
{
	int64_t from[4] = { 0 };
	for (uint32_t i = 0; i < h->y.shape.rank; i++)
		from[A(transpose, perm)->ints.at[i]] = at[i];
	return h_at(&h->x[0], from);
}

static void build_reshape(struct h *h)
{
	any_input(h, 0, 4);
	int64_t s[3] = { 1, 1, 1 };
	for (uint32_t i = 0; i < h->x[0].shape.rank; i++)
		s[h_random(h) % 3] *= h->x[0].shape.dim[i];
	h_set_ints(h, TG_AT(reshape, shape), s, 3);
}
static double ref_reshape(struct h *h, const int64_t *at)
{
	struct tg_tensor flat = h->x[0];
	flat.shape = h->y.shape;
	return h_at(&flat, at);
}

static void build_broadcast(struct h *h)
{
	struct tg_shape s = h_shape(h, 0, 4, 4), o = s;
	for (uint32_t i = 0; i < s.rank; i++)
		o.dim[i] = h_random(h) % 2 ? 1 : s.dim[i];
	h_input(h, TG_f32, &o, -9, 9);
	h_set_ints(h, TG_AT(broadcast, shape), s.dim, s.rank);
}
static double ref_broadcast(struct h *h, const int64_t *at) { return V(0); }

static void build_tile(struct h *h)
{
	int64_t r[4];
	any_input(h, 0, 4);
	for (int i = 0; i < 4; i++)
		r[i] = h_between(h, h_random(h) % 10 == 0 ? 0 : 1, 3);
	h_set_ints(h, TG_AT(tile, repeats), r, h->x[0].shape.rank);
}
static double ref_tile(struct h *h, const int64_t *at)
{
	int64_t from[4];
	for (uint32_t i = 0; i < h->y.shape.rank; i++)
		from[i] = at[i] % h->x[0].shape.dim[i];
	return h_at(&h->x[0], from);
}

static void build_slice(struct h *h)
{
	int64_t start[4], step[4], size[4];
	any_input(h, 0, 4);
	for (uint32_t i = 0; i < h->x[0].shape.rank; i++) {
		int64_t n = h->x[0].shape.dim[i];
		step[i] = h_between(h, 1, 2) * (h_random(h) % 2 ? 1 : -1);
		start[i] = h_between(h, 0, n - 1);
		size[i] = h_between(h, 0, 1 + (step[i] > 0 ? (n - 1 - start[i]) / step[i] : start[i] / -step[i]));
	}
	h_set_ints(h, TG_AT(slice, start), start, h->x[0].shape.rank);
	h_set_ints(h, TG_AT(slice, step), step, h->x[0].shape.rank);
	h_set_ints(h, TG_AT(slice, size), size, h->x[0].shape.rank);
}
static double ref_slice(struct h *h, const int64_t *at)
{
	int64_t from[4];
	for (uint32_t i = 0; i < h->y.shape.rank; i++)
		from[i] = A(slice, start)->ints.at[i] + A(slice, step)->ints.at[i] * at[i];
	return h_at(&h->x[0], from);
}

static void build_pad(struct h *h)
{
	static const char *const modes[] = { "constant", "edge", "reflect", "wrap" };
	int64_t lo[3], hi[3];
	struct tg_shape scalar = { 0 };
	any_input(h, 1, 3);
	A(pad, mode)->s = modes[h_random(h) % 4];
	for (uint32_t i = 0; i < h->x[0].shape.rank; i++) {
		lo[i] = h_between(h, -1, 4);
		hi[i] = h_between(h, lo[i] < 0 && h->x[0].shape.dim[i] == 1 ? 0 : -1, 4);
		if (h->x[0].shape.dim[i] + lo[i] + hi[i] < 0)
			hi[i] = 0;
	}
	h_set_ints(h, TG_AT(pad, lo), lo, h->x[0].shape.rank);
	h_set_ints(h, TG_AT(pad, hi), hi, h->x[0].shape.rank);
	if (A(pad, mode)->s[0] == 'c' && h_random(h) % 2)
		h_input(h, h->x[0].dtype, &scalar, 1, 9);
}
static double ref_pad(struct h *h, const int64_t *at)
{
	int64_t from[3] = { 0 };
	char mode = A(pad, mode)->s[0];
	for (uint32_t i = 0; i < h->y.shape.rank; i++) {
		int64_t n = h->x[0].shape.dim[i], k = at[i] - A(pad, lo)->ints.at[i];
		if ((k < 0 || k >= n) && mode == 'c')
			return h->n_in == 2 ? h_at(&h->x[1], from) : 0;
		while (mode == 'w' && (k < 0 || k >= n))
			k += k < 0 ? n : -n;
		while (mode == 'r' && (k < 0 || k >= n))
			k = n == 1 ? 0 : k < 0 ? -k : 2 * (n - 1) - k;
		from[i] = k < 0 ? 0 : k >= n ? n - 1 : k;
	}
	return h_at(&h->x[0], from);
}

static void build_concat(struct h *h)
{
	struct tg_shape s = h_shape(h, 1, 3, 4);
	enum tg_dtype t = pick_type(h, "fib");
	A(concat, axis)->i = h_between(h, 0, s.rank - 1);
	for (int64_t i = h_between(h, 1, 4); i > 0; i--) {
		s.dim[A(concat, axis)->i] = h_between(h, 0, 3);
		h_input(h, t, &s, -9, 9);
	}
}
static double ref_concat(struct h *h, const int64_t *at)
{
	int64_t from[3], axis = A(concat, axis)->i;
	uint32_t k = 0;
	memcpy(from, at, h->y.shape.rank * sizeof *from);
	while (from[axis] >= h->x[k].shape.dim[axis])
		from[axis] -= h->x[k++].shape.dim[axis];
	return h_at(&h->x[k], from);
}

static void build_gather(struct h *h)
{
	any_input(h, 1, 3);
	struct tg_shape s = h_shape(h, 0, 2, 3);
	A(gather, axis)->i = h_between(h, 0, h->x[0].shape.rank - 1);
	int64_t n = h->x[0].shape.dim[A(gather, axis)->i];
	h_input(h, h_random(h) % 2 ? TG_i32 : TG_i64, &s, (double)-n, (double)n - 1);
}
static double ref_gather(struct h *h, const int64_t *at)
{
	int64_t from[3], axis = A(gather, axis)->i;
	uint32_t r = h->x[1].shape.rank;
	double i = h_at(&h->x[1], at + axis);
	for (uint32_t k = 0; k < h->x[0].shape.rank; k++)
		from[k] = k < axis ? at[k] : k == axis ? (int64_t)i + (i < 0 ? h->x[0].shape.dim[axis] : 0) : at[k + r - 1];
	return h_at(&h->x[0], from);
}

static void build_space_to_depth(struct h *h)
{
	int64_t b = A(space_to_depth, block)->i = h_between(h, 1, 3);
	struct tg_shape s = { 4, { 2, 3, 2 * b, 3 * b } };
	h_input(h, TG_f32, &s, -9, 9);
}
static double ref_space_to_depth(struct h *h, const int64_t *at)
{
	int64_t b = A(space_to_depth, block)->i, c = h->x[0].shape.dim[1], off = at[1] / c;
	return h_at(&h->x[0], (int64_t[]){ at[0], at[1] % c, at[2] * b + off / b, at[3] * b + off % b });
}

static void build_depth_to_space(struct h *h)
{
	int64_t b = A(depth_to_space, block)->i = h_between(h, 1, 3);
	A(depth_to_space, crd)->i = h_between(h, 0, 1);
	struct tg_shape s = { 4, { 2, 2 * b * b, 2, 3 } };
	h_input(h, TG_i8, &s, -9, 9);
}
static double ref_depth_to_space(struct h *h, const int64_t *at)
{
	int64_t b = A(depth_to_space, block)->i, c = h->y.shape.dim[1], off = at[2] % b * b + at[3] % b;
	return h_at(&h->x[0], (int64_t[]){ at[0], A(depth_to_space, crd)->i ? at[1] * b * b + off : off * c + at[1], at[2] / b, at[3] / b });
}

static void build_iota(struct h *h)
{
	struct tg_shape s = h_shape(h, 1, 3, 9);
	h_set_ints(h, TG_AT(iota, shape), s.dim, s.rank);
	A(iota, axis)->i = h_between(h, 0, s.rank - 1);
	A(iota, dtype)->dtype = pick_type(h, "fi");
}
static double ref_iota(struct h *h, const int64_t *at) { return (double)at[A(iota, axis)->i]; }

static void build_interp(struct h *h)
{
	int64_t mode = h_between(h, 0, 3), taps = mode == 0 ? h_between(h, 1, 4) : 1, out = h_between(h, 1, 9);
	struct tg_shape s = h_shape(h, 1, 3, 6);
	A(interp, axis)->i = h_between(h, 0, s.rank - 1);
	int64_t n = s.dim[A(interp, axis)->i];
	out = mode == 1 ? 2 * n : mode == 2 ? n : out;
	h_input(h, mode ? pick_type(h, "fi") : TG_f32, &s, -9, 9);
	struct tg_shape list = { 2, { out, taps } };
	int32_t index[64];
	float weight[64];
	for (int64_t i = 0; i < out * taps; i++) {
		index[i] = (int32_t)(mode == 1 ? i / 2 : mode == 2 ? n - 1 - i : h_between(h, -1, n));
		weight[i] = (float)h_between(h, -4, 4) / 4;
	}
	A(interp, index)->c = tg_const_dense(h->a, TG_i32, &list, index, false);
	A(interp, weight)->c = mode ? NULL : tg_const_dense(h->a, TG_f32, &list, weight, false);
	A(interp, outside)->f = 3;
}
static double ref_interp(struct h *h, const int64_t *at)
{
	const struct tg_const *index = A(interp, index)->c, *weight = A(interp, weight)->c;
	int64_t axis = A(interp, axis)->i, taps = index->shape.dim[1], from[3];
	double sum = 0;
	memcpy(from, at, h->y.shape.rank * sizeof *from);
	for (int64_t t = 0; t < taps; t++) {
		int64_t i = tg_const_i64(index, at[axis] * taps + t);
		from[axis] = i;
		double v = i < 0 || i >= h->x[0].shape.dim[axis] ? 3 : h_at(&h->x[0], from);
		sum += v * (weight ? tg_const_f64(weight, at[axis] * taps + t) : 1);
	}
	return sum;
}

/* ---- reductions ---- */

static void reduction(struct h *h, uint32_t axes_attr, uint32_t keep_attr, const char *kinds, double lo, double hi)
{
	int64_t axes[4];
	uint32_t n = 0;
	struct tg_shape s = h_shape(h, 0, 4, 4);
	if (s.rank && h_random(h) % 8 == 0)
		s.dim[h_random(h) % s.rank] = 0;
	for (uint32_t i = 0; i < s.rank; i++)
		if (h_random(h) % 2)
			axes[n++] = i;
	h_input(h, pick_type(h, kinds), &s, lo, hi);
	h_set_ints(h, axes_attr, axes, n);
	h->attrs[keep_attr].i = h_between(h, 0, 1);
}

typedef double fold_fn(double a, double b);

static double reduced(struct h *h, const int64_t *at, uint32_t axes_attr, uint32_t keep_attr, fold_fn *f, double start)
{
	struct tg_shape s = h->x[0].shape, inner = { .rank = s.rank };
	int64_t base[4] = { 0 }, r[4] = { 0 }, from[4];
	int64_t n;
	for (uint32_t i = 0, a = 0, o = 0; i < s.rank; i++) {
		bool is = a < h->attrs[axes_attr].ints.n && h->attrs[axes_attr].ints.at[a] == i;
		a += is;
		inner.dim[i] = is ? s.dim[i] : 1;
		base[i] = is ? 0 : at[o];
		o += !is || h->attrs[keep_attr].i;
	}
	if (!tg_shape_count(&inner, &n) || n == 0)
		return start;
	do {
		for (uint32_t i = 0; i < s.rank; i++)
			from[i] = base[i] + r[i];
		start = f(start, h_at(&h->x[0], from));
	} while (h_next(&inner, r));
	return start;
}

static double fold_sum(double a, double b) { return a + b; }
static double fold_prod(double a, double b) { return a * b; }
static double fold_max(double a, double b) { return a > b ? a : b; }
static double fold_min(double a, double b) { return a < b ? a : b; }
static double lowest(enum tg_dtype t)
{
	unsigned bits = tg_dtypes[t].bits;
	return tg_is_float(t) ? -INFINITY : tg_dtypes[t].kind == TG_KIND_SIGNED ? -ldexp(1, (int)bits - 1) : 0;
}
static double highest(enum tg_dtype t)
{
	unsigned bits = tg_dtypes[t].bits;
	if (t == TG_u64)
		return -1; /* as int64 bits */
	return tg_is_float(t) ? INFINITY : t == TG_bool ? 1 : tg_dtypes[t].kind == TG_KIND_SIGNED ? ldexp(1, (int)bits - 1) - 1 : ldexp(1, (int)bits) - 1;
}

#define REDUCE(name, kinds, lo, hi, fold, start) \
	static void build_##name(struct h *h) { reduction(h, TG_AT(name, axes), TG_AT(name, keep), kinds, lo, hi); } \
	static double ref_##name(struct h *h, const int64_t *at) { return reduced(h, at, TG_AT(name, axes), TG_AT(name, keep), fold, start); }
REDUCE(reduce_sum, "fi", -9, 9, fold_sum, 0)
REDUCE(reduce_prod, "fi", -2, 2, fold_prod, 1)
REDUCE(reduce_max, "fib", -9, 9, fold_max, lowest(h->x[0].dtype))
static void build_reduce_min(struct h *h) { reduction(h, TG_AT(reduce_min, axes), TG_AT(reduce_min, keep), "fib", -9, 9); }
static double ref_reduce_min(struct h *h, const int64_t *at)
{
	double r = reduced(h, at, TG_AT(reduce_min, axes), TG_AT(reduce_min, keep), fold_min, 1e300);
	return r == 1e300 ? highest(h->x[0].dtype) : r;
}

static double arg_ref(struct h *h, const int64_t *at, uint32_t axis, bool keep, bool last, double sign)
{
	int64_t from[4], best = 0;
	double top = 0;
	for (uint32_t i = 0, o = 0; i < h->x[0].shape.rank; i++) {
		from[i] = i == axis ? 0 : at[o];
		o += i != axis || keep;
	}
	for (int64_t k = 0; k < h->x[0].shape.dim[axis]; k++) {
		from[axis] = k;
		double v = sign * h_at(&h->x[0], from);
		if (k == 0 || v > top || (v == top && last)) {
			top = v;
			best = k;
		}
	}
	return (double)best;
}

#define ARG(name, sign) \
	static void build_##name(struct h *h) \
	{ \
		struct tg_shape s = h_shape(h, 1, 4, 5); \
		h_input(h, pick_type(h, "fi"), &s, -3, 3); \
		A(name, axis)->i = h_between(h, 0, s.rank - 1); \
		A(name, keep)->i = h_between(h, 0, 1); \
		A(name, last)->i = h_between(h, 0, 1); \
	} \
	static double ref_##name(struct h *h, const int64_t *at) \
	{ \
		return arg_ref(h, at, (uint32_t)A(name, axis)->i, A(name, keep)->i, A(name, last)->i, sign); \
	}
ARG(arg_max, 1)
ARG(arg_min, -1)

/* ---- windows ---- */

static void window_attr(struct h *h, uint32_t attr, uint32_t n, int64_t lo, int64_t hi)
{
	int64_t v[3];
	for (uint32_t i = 0; i < n; i++)
		v[i] = h_between(h, lo, hi);
	h_set_ints(h, attr, v, n);
}

static void pool(struct h *h, uint32_t kernel, uint32_t stride, uint32_t dilation, uint32_t pad, uint32_t out)
{
	struct tg_shape s = h_shape(h, 3, 5, 5);
	h_input(h, pick_type(h, "fi"), &s, -9, 9);
	window_attr(h, kernel, s.rank - 2, 1, 3);
	window_attr(h, stride, s.rank - 2, 1, 2);
	window_attr(h, dilation, s.rank - 2, 1, 2);
	window_attr(h, pad, s.rank - 2, 0, 2);
	window_attr(h, out, s.rank - 2, 1, 4);
}

static double pool_ref(struct h *h, const int64_t *at, const union tg_attr *kernel, const union tg_attr *stride, const union tg_attr *dilation,
		       const union tg_attr *pad, fold_fn *f, double start)
{
	uint32_t n = h->y.shape.rank - 2;
	struct tg_shape taps = { .rank = n };
	int64_t k[3] = { 0 }, from[5] = { at[0], at[1] };
	memcpy(taps.dim, kernel->ints.at, n * sizeof(int64_t));
	do {
		bool inside = true;
		for (uint32_t i = 0; i < n; i++) {
			from[i + 2] = at[i + 2] * stride->ints.at[i] + k[i] * dilation->ints.at[i] - pad->ints.at[i];
			inside &= from[i + 2] >= 0 && from[i + 2] < h->x[0].shape.dim[i + 2];
		}
		if (inside)
			start = f(start, h_at(&h->x[0], from));
	} while (h_next(&taps, k));
	return start;
}

#define POOL(name, fold, start) \
	static void build_##name(struct h *h) \
	{ \
		pool(h, TG_AT(name, kernel), TG_AT(name, stride), TG_AT(name, dilation), TG_AT(name, pad), TG_AT(name, out)); \
	} \
	static double ref_##name(struct h *h, const int64_t *at) \
	{ \
		return pool_ref(h, at, A(name, kernel), A(name, stride), A(name, dilation), A(name, pad), fold, start); \
	}
POOL(pool_max, fold_max, lowest(h->x[0].dtype))
POOL(pool_sum, fold_sum, 0)

/* ---- contractions ---- */

static void contraction_types(struct h *h, enum tg_dtype *a, enum tg_dtype *b)
{
	static const enum tg_dtype types[] = { TG_f32, TG_f32, TG_f64, TG_f16, TG_i32, TG_i64 };
	*a = *b = types[h_random(h) % 6];
	if (h_random(h) % 3 == 0) {
		*a = h_random(h) % 2 ? TG_i8 : TG_u8;
		*b = h_random(h) % 2 ? TG_i8 : TG_u8;
	}
}

static void build_matmul(struct h *h)
{
	struct tg_shape a = h_shape(h, 2, 4, 5), b = h_shape(h, 2, 4, 5);
	enum tg_dtype ta, tb;
	if (h_random(h) % 8 == 0)
		a.dim[a.rank - 1] = 0;
	b.dim[b.rank - 2] = a.dim[a.rank - 1];
	for (uint32_t i = 3; i <= a.rank && i <= b.rank; i++) {
		b.dim[b.rank - i] = h_random(h) % 2 ? 1 : a.dim[a.rank - i];
		a.dim[a.rank - i] = h_random(h) % 3 ? a.dim[a.rank - i] : 1;
	}
	contraction_types(h, &ta, &tb);
	h_input(h, ta, &a, -9, 9);
	h_input(h, tb, &b, -9, 9);
}
static double ref_matmul(struct h *h, const int64_t *at)
{
	uint32_t r = h->y.shape.rank;
	double sum = 0;
	for (int64_t k = 0; k < h->x[0].shape.dim[h->x[0].shape.rank - 1]; k++) {
		int64_t pa[TG_MAX_RANK], pb[TG_MAX_RANK];
		memcpy(pa, at, r * sizeof *pa);
		memcpy(pb, at, r * sizeof *pb);
		pa[r - 1] = pb[r - 2] = k;
		sum += h_at_broadcast(&h->x[0], pa, r) * h_at_broadcast(&h->x[1], pb, r);
	}
	return sum;
}

static void conv_operands(struct h *h, bool transposed, int64_t groups)
{
	struct tg_shape x = h_shape(h, 3, 5, 5), w = { .rank = x.rank };
	int64_t c = h_between(h, 1, 3), m = h_between(h, 1, 3);
	enum tg_dtype ta, tb;
	contraction_types(h, &ta, &tb);
	x.dim[1] = c * groups;
	w.dim[0] = transposed ? c * groups : m * groups;
	w.dim[1] = transposed ? m : c;
	for (uint32_t i = 2; i < w.rank; i++)
		w.dim[i] = h_between(h, 1, 3);
	h_input(h, ta, &x, -9, 9);
	h_input(h, tb, &w, -9, 9);
	if (h_random(h) % 2) {
		struct tg_shape b = { 1, { m * groups } };
		h_input(h, tg_dtypes[ta].bits == 8 ? TG_i32 : ta, &b, -9, 9);
	}
}

static void build_conv(struct h *h)
{
	int64_t g = A(conv, groups)->i = h_between(h, 1, 3);
	conv_operands(h, false, g);
	uint32_t n = h->x[0].shape.rank - 2;
	window_attr(h, TG_AT(conv, stride), n, 1, 2);
	window_attr(h, TG_AT(conv, dilation), n, 1, 2);
	window_attr(h, TG_AT(conv, pad), n, 0, 2);
	window_attr(h, TG_AT(conv, out), n, 1, 4);
}
static double ref_conv(struct h *h, const int64_t *at)
{
	uint32_t n = h->y.shape.rank - 2;
	int64_t per = h->y.shape.dim[1] / A(conv, groups)->i, cpg = h->x[1].shape.dim[1], k[3] = { 0 }, px[5] = { at[0] }, pw[5] = { at[1] };
	struct tg_shape taps = { .rank = n };
	memcpy(taps.dim, h->x[1].shape.dim + 2, n * sizeof(int64_t));
	double sum = h->n_in == 3 ? h_at(&h->x[2], at + 1) : 0;
	do {
		bool inside = true;
		for (uint32_t i = 0; i < n; i++) {
			pw[i + 2] = k[i];
			px[i + 2] = at[i + 2] * A(conv, stride)->ints.at[i] + k[i] * A(conv, dilation)->ints.at[i] - A(conv, pad)->ints.at[i];
			inside &= px[i + 2] >= 0 && px[i + 2] < h->x[0].shape.dim[i + 2];
		}
		for (int64_t c = 0; inside && c < cpg; c++) {
			px[1] = at[1] / per * cpg + c;
			pw[1] = c;
			sum += h_at(&h->x[0], px) * h_at(&h->x[1], pw);
		}
	} while (h_next(&taps, k));
	return sum;
}

static void build_conv_transpose(struct h *h)
{
	int64_t g = A(conv_transpose, groups)->i = h_between(h, 1, 3);
	conv_operands(h, true, g);
	uint32_t n = h->x[0].shape.rank - 2;
	window_attr(h, TG_AT(conv_transpose, stride), n, 1, 3);
	window_attr(h, TG_AT(conv_transpose, dilation), n, 1, 2);
	window_attr(h, TG_AT(conv_transpose, pad), n, 0, 2);
	window_attr(h, TG_AT(conv_transpose, out), n, 1, 7);
}
/* by scattering, as its definition has it: for all inputs and taps, does this product land here? */
static double ref_conv_transpose(struct h *h, const int64_t *at)
{
	uint32_t n = h->y.shape.rank - 2;
	int64_t mpg = h->x[1].shape.dim[1], cpg = h->x[1].shape.dim[0] / A(conv_transpose, groups)->i, g = at[1] / mpg;
	struct tg_shape all = { .rank = 2 * n };
	int64_t p[6] = { 0 }, px[5] = { at[0] }, pw[5] = { 0, at[1] % mpg };
	memcpy(all.dim, h->x[0].shape.dim + 2, n * sizeof(int64_t));
	memcpy(all.dim + n, h->x[1].shape.dim + 2, n * sizeof(int64_t));
	double sum = h->n_in == 3 ? h_at(&h->x[2], at + 1) : 0;
	do {
		bool here = true;
		for (uint32_t i = 0; i < n; i++) {
			px[i + 2] = p[i];
			pw[i + 2] = p[n + i];
			here &= at[i + 2] == p[i] * A(conv_transpose, stride)->ints.at[i] + p[n + i] * A(conv_transpose, dilation)->ints.at[i] -
						     A(conv_transpose, pad)->ints.at[i];
		}
		for (int64_t c = 0; here && c < cpg; c++) {
			px[1] = pw[0] = g * cpg + c;
			sum += h_at(&h->x[0], px) * h_at(&h->x[1], pw);
		}
	} while (h_next(&all, p));
	return sum;
}

/* ---- the walk ---- */

static const struct { const char *name; uint16_t code; build_fn *build; ref_fn *ref; } rows[] = {
#define OP(name, lo, hi, out, traits, doc) { #name, TG_OP_##name, build_##name, ref_##name },
#include "graph_ops.def"
};

static double tolerance(enum tg_dtype t)
{
	return t == TG_f32 ? 2e-5 : t == TG_f64 ? 1e-6 : t == TG_f16 ? 4e-3 : t == TG_bf16 ? 2e-2 : tg_is_float(t) ? 0.13 : 0;
}

/* as the type holds it */
static double stored(enum tg_dtype t, double v)
{
	uint8_t raw[8] = { 0 };
	if (tg_is_float(t) || t == TG_bool)
		return v;
	if (v >= 9.2e18)
		return v;
	tg_put_i64(t, raw, 0, (int64_t)v);
	return (double)tg_get_i64(t, raw, 0);
}

static void compare(struct h *h, uint32_t row, int round)
{
	int64_t at[TG_MAX_RANK] = { 0 }, n;
	ck_assert(tg_shape_count(&h->y.shape, &n));
	if (n == 0)
		return;
	do {
		double got = h_at(&h->y, at), want = stored(h->y.dtype, rows[row].ref(h, at));
		bool same = (isnan(got) && isnan(want)) || got == want || fabs(got - want) <= tolerance(h->y.dtype) * (1 + fabs(want));
		ck_assert_msg(same, "%s round %d, type %s: got %.9g, want %.9g", rows[row].name, round, tg_dtypes[h->y.dtype].name, got, want);
	} while (h_next(&h->y.shape, at));
}

START_TEST(every_row)
{
	static struct h h;
	for (int round = 0; round < 40; round++) {
		h_open(&h, (uint64_t)round * 1000 + (uint64_t)_i);
		h.code = (enum tg_op_code)rows[_i].code;
		const struct tg_op_info *info = tg_op_info((uint16_t)h.code);
		for (uint32_t i = 0; i < info->n_attrs; i++)
			if (info->attrs[i].kind == TG_ATTR_FLOAT)
				h.attrs[i].f = info->attrs[i].dflt;
			else if (info->attrs[i].kind == TG_ATTR_INT)
				h.attrs[i].i = (int64_t)info->attrs[i].dflt;
		rows[_i].build(&h);
		uint32_t n_in = h.n_in;
		h_run(&h);
		h.n_in = n_in;
		compare(&h, (uint32_t)_i, round);
		h_close(&h);
	}
}
END_TEST

/* Operands that are constants of one value become part of the body and give the same result. */
START_TEST(splats_enter_the_body)
{
	static struct h h;
	struct tg_shape s = { 2, { 3, 4 } };
	h_open(&h, 1);
	tg_val x = h_input(&h, TG_f32, &s, -9, 9);
	tg_val two = tg_graph_const(h.m, h.prov, tg_const_splat(h.a, TG_f32, &s, 2));
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_mul, (tg_val[]){ x, two }, 2, NULL);
	h_run_module(&h, y);
	int64_t at[2] = { 0 };
	do
		ck_assert(h_at(&h.y, at) == 2 * h_at(&h.x[0], at));
	while (h_next(&s, at));
	ck_assert(tg_expand_module(&h.d, h.m));
	for (struct tg_op *op = h.m->body.first; op; op = op->next)
		if (op->code == TG_TILE_stage)
			ck_assert_uint_eq(op->n_in, 1);
	h_close(&h);
}
END_TEST

START_TEST(narrow_results_wrap)
{
	static struct h h;
	struct tg_shape s = { 1, { 2 } };
	h_open(&h, 1);
	tg_val a = h_input(&h, TG_i8, &s, 100, 100), b = h_input(&h, TG_i8, &s, 100, 100);
	tg_val sum = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_add, (tg_val[]){ a, b }, 2, NULL);
	tg_val half = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_shr, (tg_val[]){ sum, tg_graph_const(h.m, h.prov, tg_const_splat(h.a, TG_i8, &s, 1)) }, 2, NULL);
	h_run_module(&h, half);
	ck_assert(h_at(&h.y, (int64_t[]){ 0 }) == -28); /* (100 + 100 - 256) >> 1 */
	h_close(&h);
}
END_TEST

/* Bad graph ops are refused with a message that names what was found. */
START_TEST(inference_refuses)
{
	static struct h h;
	struct tg_shape a = { 2, { 3, 4 } }, b = { 2, { 3, 5 } };
	union tg_attr at[8] = { 0 };
	h_open(&h, 1);
	tg_val x = h_input(&h, TG_f32, &a, 0, 1), y = h_input(&h, TG_f32, &b, 0, 1), i = h_input(&h, TG_i32, &a, 0, 1);
	const struct { uint16_t code; tg_val in[3]; uint32_t n; const char *says; } bad[] = {
		{ TG_OP_add, { x, y }, 2, "expected 1 or 4" },
		{ TG_OP_add, { x, i }, 2, "operand 1 of add is i32, expected f32" },
		{ TG_OP_add, { x }, 1, "has 1 operands" },
		{ TG_OP_sqrt, { i }, 1, "expected a float" },
		{ TG_OP_matmul, { x, y }, 2, "has 3 rows, expected 4" },
		{ TG_OP_conv, { x, y }, 2, "has rank 2, expected 3 or more" },
		{ TG_OP_transpose, { x }, 1, "has 0 entries, expected 2" },
		{ TG_OP_reshape, { x }, 1, "12 elements" },
		{ TG_OP_cast, { x }, 1, "is none" },
		{ TG_OP_constant, { x }, 0, "missing" },
		{ TG_OP_gather, { x, y }, 2, "expected i32 or i64" },
		{ TG_OP_pad, { x }, 1, "expected constant, edge" },
	};
	for (size_t k = 0; k < TG_ARRAY_LEN(bad); k++) {
		tg_diag_init(&h.d, h.a);
		ck_assert(!tg_has(tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, (enum tg_op_code)bad[k].code, bad[k].in, bad[k].n, at)));
		ck_assert_msg(strstr(h_first_error(&h), bad[k].says) != NULL, "%s", h_first_error(&h));
	}
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir ops");
	TCase *c = tcase_create("rows");
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_loop_test(c, every_row, 0, (int)TG_ARRAY_LEN(rows));
	tcase_add_test(c, splats_enter_the_body);
	tcase_add_test(c, narrow_results_wrap);
	tcase_add_test(c, inference_refuses);
	suite_add_tcase(s, c);
	return run_suite(s);
}
