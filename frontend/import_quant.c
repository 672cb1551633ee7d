/* import_quant.c: quantisation, and integer matrix products with zero points.
 *
 * (a - za)(b - zb) summed over k is ab - za sum(b) - sum(a) zb + k za zb: the products stay in 8 bits, for the matrix unit, and the corrections
 * are sums along one axis; those of zero points that are known to be 0 are not made. */
#include "window.h"

#include <string.h>

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : im->in[k];
}

static tg_val optional(struct tg_im *im, uint32_t k)
{
	return tg_im_in(im, k) ? im->in[k] : (tg_val){ 0 };
}

static bool is_zero(const struct tg_im *im, tg_val v)
{
	const struct tg_const *c = tg_im_peek(im, v);
	int64_t n = tg_im_count(im, v);
	if (!tg_has(v))
		return true;
	for (int64_t i = 0; c && i < n && (c->kind == TG_CONST_DENSE || i == 0); i++)
		if (tg_const_f64(c, i) != 0)
			return false;
	return c;
}

/* ---- QuantizeLinear, DequantizeLinear ---- */

/* A scale or zero point, shaped to broadcast over x: one number, one for each place on the axis, or one for each block of it. */
static tg_val per_block(struct tg_im *im, tg_val p, tg_val x)
{
	struct tg_shape s = *tg_im_shape(im, p), xs = *tg_im_shape(im, x);
	int64_t block = tg_im_int(im, "block_size", 0);
	if (im->failed || !tg_has(p))
		return p;
	if (tg_im_count(im, p) == 1 && s.rank <= 1)
		return tg_im_reshape_n(im, p, 0);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 1), xs.rank);
	if (im->failed)
		return p;
	if (!block) {
		if (s.rank != 1 || s.dim[0] != xs.dim[axis])
			tg_im_error(im, "the scale or zero point has not one element for each of the %lld on axis %u", (long long)xs.dim[axis], axis);
		return tg_im_along(im, p, axis, xs.rank);
	}
	if (block < 0 || s.rank != xs.rank || s.rank + 1 > TG_MAX_RANK || s.dim[axis] != (xs.dim[axis] + block - 1) / block) {
		tg_im_error(im, "the scale or zero point does not fit blocks of %lld on axis %u", (long long)block, axis);
		return p;
	}
	struct tg_shape split = { .rank = s.rank + 1 }, wide, flat = s;
	for (uint32_t i = 0, k = 0; i < s.rank; i++) {
		split.dim[k++] = s.dim[i];
		if (i == axis)
			split.dim[k++] = 1;
	}
	wide = split;
	wide.dim[axis + 1] = block;
	flat.dim[axis] *= block;
	tg_val y = tg_im_reshape(im, tg_im_broadcast(im, tg_im_reshape(im, p, &split), &wide), &flat);
	return tg_im_slice(im, y, axis, 0, xs.dim[axis]);
}

static bool known_type(struct tg_im *im, enum tg_dtype t)
{
	if (t == TG_none || t == TG_str || t == TG_f8e8m0 || tg_dtypes[t].kind == TG_KIND_COMPLEX)
		tg_im_refuse(im, "quantisation to or from %s", tg_dtypes[t].name);
	return !im->failed;
}

/* x / scale + zero point, rounded and saturated; all in f32. */
static tg_val quantize(struct tg_im *im, tg_val x, tg_val scale, tg_val zero, enum tg_dtype t)
{
	tg_val y = X_DIV(x, scale);
	if (tg_is_float(t))
		return tg_im_int(im, "saturate", 1) ? tg_im_cast_sat(im, y, t) : tg_im_cast(im, y, t);
	y = tg_im_1(im, TG_OP_round, y);
	if (!is_zero(im, zero))
		y = X_ADD(y, tg_im_cast(im, zero, TG_f32));
	return tg_im_cast_sat(im, y, t);
}

void tg_im_import_quantize(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1), zero = optional(im, 2);
	int64_t want = tg_im_int(im, "output_dtype", 0);
	enum tg_dtype t = tg_has(zero) ? tg_im_type(im, zero) : want ? tg_dtype_from_onnx((int32_t)want) : TG_u8;
	if (!known_type(im, t))
		return;
	if (want && tg_dtype_from_onnx((int32_t)want) != t)
		tg_im_error(im, "output_dtype is %s, the zero point %s", tg_dtypes[tg_dtype_from_onnx((int32_t)want)].name, tg_dtypes[t].name);
	x = tg_im_cast(im, x, TG_f32);
	scale = per_block(im, tg_im_cast(im, scale, TG_f32), x);
	im->out[0] = quantize(im, x, scale, per_block(im, zero, x), t);
}

/* The difference is taken in i32, where it is exact, then scaled. */
static tg_val dequantize(struct tg_im *im, tg_val x, tg_val scale, tg_val zero)
{
	if (is_zero(im, zero) || tg_is_float(tg_im_type(im, x)))
		return X_MUL(tg_im_cast(im, x, TG_f32), scale);
	return X_MUL(tg_im_cast(im, X_SUB(tg_im_cast(im, x, TG_i32), tg_im_cast(im, zero, TG_i32)), TG_f32), scale);
}

void tg_im_import_dequantize(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1), zero = optional(im, 2);
	int64_t want = tg_im_int(im, "output_dtype", 0);
	enum tg_dtype t = want ? tg_dtype_from_onnx((int32_t)want) : tg_im_type(im, scale);
	if (!known_type(im, t) || !known_type(im, tg_im_type(im, x)))
		return;
	if (tg_has(zero) && tg_im_type(im, zero) != tg_im_type(im, x))
		tg_im_error(im, "the zero point is %s, x is %s", tg_dtypes[tg_im_type(im, zero)].name, tg_dtypes[tg_im_type(im, x)].name);
	tg_val scales = per_block(im, tg_im_cast(im, scale, TG_f32), x), zeros = per_block(im, zero, x), y = dequantize(im, x, scales, zeros);
	im->out[0] = tg_im_cast(im, y, t);
}

/* The range of x, widened to hold 0, is mapped onto 0..255. */
static void dynamic_range(struct tg_im *im, tg_val x, tg_val *scale, tg_val *zero)
{
	uint32_t all = (uint32_t)((1ul << tg_im_rank(im, x)) - 1);
	tg_val o = tg_im_scalar(im, TG_f32, 0);
	tg_val hi = X_MAX(tg_im_reduce(im, TG_OP_reduce_max, x, all, false), o), lo = X_MIN(tg_im_reduce(im, TG_OP_reduce_min, x, all, false), o);
	*scale = X_DIV(X_SUB(hi, lo), tg_im_scalar(im, TG_f32, 255));
	tg_val safe = tg_im_select(im, X_EQ(*scale, o), tg_im_scalar(im, TG_f32, 1), *scale);
	*zero = tg_im_cast_sat(im, tg_im_1(im, TG_OP_round, X_DIV(tg_im_1(im, TG_OP_neg, lo), safe)), TG_u8);
}

void tg_im_import_dynamic_quantize(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale, zero;
	dynamic_range(im, x, &scale, &zero);
	tg_val safe = tg_im_select(im, X_EQ(scale, tg_im_scalar(im, TG_f32, 0)), tg_im_scalar(im, TG_f32, 1), scale);
	im->out[0] = quantize(im, x, safe, zero, TG_u8);
	if (im->n_out > 1)
		im->out[1] = scale;
	if (im->n_out > 2)
		im->out[2] = zero;
}

/* ---- integer matmul ---- */

static tg_val sum_i32(struct tg_im *im, tg_val x, uint32_t axis)
{
	return tg_im_reduce(im, TG_OP_reduce_sum, tg_im_cast(im, x, TG_i32), 1u << axis, true);
}

/* A zero point for the rows of a (or the columns of b) as i32, ready to broadcast over the product. */
static tg_val zero_along(struct tg_im *im, tg_val z, uint32_t axis, uint32_t rank)
{
	z = tg_im_cast(im, z, TG_i32);
	if (tg_im_count(im, z) == 1)
		return tg_im_reshape_n(im, z, 0);
	return tg_im_rank(im, z) == 1 ? tg_im_along(im, z, axis, rank) : z;
}

static tg_val matmul_i32(struct tg_im *im, tg_val a, tg_val b, tg_val za, tg_val zb)
{
	uint32_t ra = tg_im_rank(im, a), rb = tg_im_rank(im, b);
	if (im->failed || ra < 2 || rb < 2) {
		tg_im_refuse(im, "an integer matrix product of operands of rank %u and %u", ra, rb);
		return a;
	}
	bool has_a = !is_zero(im, za), has_b = !is_zero(im, zb);
	tg_val y = tg_im_matmul(im, a, b);
	if (has_a)
		za = zero_along(im, za, ra - 2, ra);
	if (has_b)
		zb = zero_along(im, zb, rb - 1, rb);
	if (has_a)
		y = X_SUB(y, X_MUL(za, sum_i32(im, b, rb - 2)));
	if (has_b)
		y = X_SUB(y, X_MUL(sum_i32(im, a, ra - 1), zb));
	if (has_a && has_b)
		y = X_ADD(y, X_MUL(X_MUL(za, zb), tg_im_scalar_i64(im, TG_i32, tg_im_shape(im, a)->dim[ra - 1])));
	return y;
}

void tg_im_import_matmul_integer(struct tg_im *im)
{
	im->out[0] = matmul_i32(im, operand(im, 0), operand(im, 1), optional(im, 2), optional(im, 3));
}

/* The i32 result times sa sb / sy, rounded, plus zy. */
static tg_val requantize(struct tg_im *im, tg_val acc, tg_val factor, tg_val scale, tg_val zero)
{
	tg_val y = X_MUL(tg_im_cast(im, acc, TG_f32), X_DIV(factor, scale));
	return quantize(im, y, tg_im_scalar(im, TG_f32, 1), zero, tg_im_type(im, zero));
}

static tg_val scale_along(struct tg_im *im, tg_val s, uint32_t axis, uint32_t rank)
{
	s = tg_im_cast(im, s, TG_f32);
	if (tg_im_count(im, s) == 1)
		return tg_im_reshape_n(im, s, 0);
	return tg_im_rank(im, s) == 1 ? tg_im_along(im, s, axis, rank) : s;
}

void tg_im_import_qlinear_matmul(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 3);
	for (uint32_t i = 0; i < 8; i++)
		operand(im, i);
	if (im->failed)
		return;
	uint32_t ra = tg_im_rank(im, a), rb = tg_im_rank(im, b);
	tg_val acc = matmul_i32(im, a, b, im->in[2], im->in[5]);
	tg_val factor = X_MUL(scale_along(im, im->in[1], ra - 2, ra), scale_along(im, im->in[4], rb - 1, rb));
	im->out[0] = requantize(im, acc, factor, scale_along(im, im->in[6], ra - 2, ra), tg_im_reshape_n(im, im->in[7], 0));
}

/* ---- integer convolution: padding holds the zero point, so that what it stands for is 0 ---- */

static tg_val conv_i32(struct tg_im *im, tg_val x, tg_val weight, tg_val zx, tg_val zw, tg_val bias)
{
	struct tg_window w;
	uint32_t rank = tg_im_rank(im, x);
	int64_t lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 }, groups = tg_im_int(im, "group", 1);
	if (im->failed || !tg_im_window(im, x, weight, &w) || !tg_im_window_out(im, &w, false))
		return x;
	bool has_x = !is_zero(im, zx), has_w = !is_zero(im, zw);
	if (has_x || has_w) {
		for (uint32_t i = 0; i < w.n; i++) {
			lo[i + 2] = w.before[i];
			hi[i + 2] = w.after[i];
			w.before[i] = w.after[i] = 0;
		}
		x = tg_im_pad(im, x, lo, hi, "constant", has_x ? tg_im_reshape_n(im, zx, 0) : X_NUM(x, 0));
	}
	tg_val y = tg_im_conv(im, x, weight, (tg_val){ 0 }, &w, groups);
	tg_val z_in = has_x ? tg_im_reshape_n(im, tg_im_cast(im, zx, TG_i32), 0) : (tg_val){ 0 };
	tg_val z_w = has_w ? zero_along(im, zw, 1, rank) : (tg_val){ 0 };
	if (has_x) {
		uint32_t mask = (uint32_t)((1ul << rank) - 1) & ~1u;
		tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, tg_im_cast(im, weight, TG_i32), mask, false);
		y = X_SUB(y, X_MUL(z_in, tg_im_along(im, sum, 1, rank)));
	}
	if (has_w) {
		struct tg_shape ones = *tg_im_shape(im, weight);
		tg_val sum = tg_im_conv(im, x, tg_im_splat(im, tg_im_type(im, weight), &ones, 1), (tg_val){ 0 }, &w, groups);
		y = X_SUB(y, X_MUL(z_w, sum));
	}
	if (has_x && has_w) {
		const struct tg_shape *s = tg_im_shape(im, weight);
		int64_t taps = s->dim[0] ? tg_im_count(im, weight) / s->dim[0] : 0;
		y = X_ADD(y, X_MUL(X_MUL(z_in, z_w), tg_im_scalar_i64(im, TG_i32, taps)));
	}
	return tg_has(bias) ? X_ADD(y, tg_im_along(im, tg_im_cast(im, bias, TG_i32), 1, rank)) : y;
}

void tg_im_import_conv_integer(struct tg_im *im)
{
	im->out[0] = conv_i32(im, operand(im, 0), operand(im, 1), optional(im, 2), optional(im, 3), (tg_val){ 0 });
}

void tg_im_import_qlinear_conv(struct tg_im *im)
{
	for (uint32_t i = 0; i < 8; i++)
		operand(im, i);
	if (im->failed)
		return;
	uint32_t rank = tg_im_rank(im, im->in[0]);
	tg_val acc = conv_i32(im, im->in[0], im->in[3], im->in[2], im->in[5], optional(im, 8));
	tg_val factor = X_MUL(scale_along(im, im->in[1], 0, 0), scale_along(im, im->in[4], 1, rank));
	im->out[0] = requantize(im, acc, factor, scale_along(im, im->in[6], 0, 0), tg_im_reshape_n(im, im->in[7], 0));
}

/* ---- com.microsoft: arithmetic between quantised tensors, and products with dequantised results ---- */

static tg_val dequantized(struct tg_im *im, uint32_t k)
{
	tg_val x = operand(im, k), scale = operand(im, k + 1), zero = optional(im, k + 2);
	return dequantize(im, x, scale_along(im, scale, 0, 0), tg_has(zero) ? tg_im_reshape_n(im, zero, 0) : zero);
}

static tg_val quantized(struct tg_im *im, tg_val y, uint32_t k, enum tg_dtype t)
{
	tg_val zero = optional(im, k + 1);
	return quantize(im, y, scale_along(im, operand(im, k), 0, 0), tg_has(zero) ? tg_im_reshape_n(im, zero, 0) : zero, t);
}

void tg_im_import_qlinear_binary(struct tg_im *im)
{
	tg_val y = tg_im_2(im, (enum tg_op_code)im->row->arg, dequantized(im, 0), dequantized(im, 3));
	im->out[0] = quantized(im, y, 6, tg_im_type(im, operand(im, 0)));
}

void tg_im_import_qlinear_unary(struct tg_im *im)
{
	tg_val x = dequantized(im, 0);
	union tg_attr a[1];
	a[0].f = tg_im_float(im, "alpha", (double)0.01f);
	tg_val y = tg_im_op(im, (enum tg_op_code)im->row->arg, &x, 1, im->row->arg == TG_OP_leaky_relu ? a : NULL);
	im->out[0] = quantized(im, y, 3, tg_im_type(im, operand(im, 0)));
}

void tg_im_import_qlinear_concat(struct tg_im *im)
{
	uint32_t n = (im->n_in - 2) / 3;
	tg_val *parts = tg_alloc_n(im->tmp, n + 1u, sizeof *parts);
	if (im->n_in < 5 || (im->n_in - 2) % 3) {
		tg_im_error(im, "QLinearConcat has %u operands, expected 2 and 3 for each tensor", im->n_in);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		parts[i] = dequantized(im, 2 + 3 * i);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), tg_im_rank(im, parts[0]));
	tg_val y = im->failed ? parts[0] : tg_im_concat(im, parts, n, axis);
	im->out[0] = quantized(im, y, 0, tg_im_type(im, operand(im, 2)));
}

void tg_im_import_qlinear_global_average(struct tg_im *im)
{
	tg_val x = dequantized(im, 0);
	uint32_t rank = tg_im_rank(im, x), all = (uint32_t)((1ul << rank) - 1);
	if (tg_im_int(im, "channels_last", 0)) {
		im->out[0] = quantized(im, tg_im_mean(im, x, all & ~1u & ~(1u << (rank - 1)), true), 3, tg_im_type(im, operand(im, 0)));
		return;
	}
	im->out[0] = quantized(im, tg_im_mean(im, x, all & ~3u, true), 3, tg_im_type(im, operand(im, 0)));
}

/* A, B, a_scale, b_scale, [a_zero], [b_zero], [bias] */
void tg_im_import_matmul_integer_to_float(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 1), sa = operand(im, 2), sb = operand(im, 3);
	if (im->failed)
		return;
	uint32_t ra = tg_im_rank(im, a), rb = tg_im_rank(im, b);
	tg_val acc = matmul_i32(im, a, b, optional(im, 4), optional(im, 5));
	tg_val factor = X_MUL(scale_along(im, sa, ra - 2, ra), scale_along(im, sb, rb - 1, rb));
	tg_val y = X_MUL(tg_im_cast(im, acc, TG_f32), factor);
	y = tg_im_in(im, 6) ? X_ADD(y, tg_im_cast(im, im->in[6], TG_f32)) : y;
	im->out[0] = im->failed ? y : tg_im_cast(im, y, tg_im_type(im, im->in[2]));
}

/* A (f32), B, b_scale, [b_zero], [bias] */
void tg_im_import_dynamic_quantize_matmul(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 1), sb = operand(im, 2), sa, za;
	if (im->failed)
		return;
	dynamic_range(im, a, &sa, &za);
	tg_val safe = tg_im_select(im, X_EQ(sa, tg_im_scalar(im, TG_f32, 0)), tg_im_scalar(im, TG_f32, 1), sa);
	uint32_t rb = tg_im_rank(im, b);
	tg_val acc = matmul_i32(im, quantize(im, a, safe, za, TG_u8), b, za, optional(im, 3));
	tg_val y = X_MUL(tg_im_cast(im, acc, TG_f32), X_MUL(sa, scale_along(im, sb, rb - 1, rb)));
	im->out[0] = tg_im_in(im, 4) ? X_ADD(y, im->in[4]) : y;
}
