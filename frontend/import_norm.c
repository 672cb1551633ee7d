/* import_norm.c: normalisations, composed of means, products and square roots. Half-precision operands are computed in f32. */
#include "window.h"

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : tg_im_widen(im, im->in[k]);
}

static uint32_t axes_from(uint32_t axis, uint32_t rank)
{
	return (uint32_t)((1ul << rank) - 1) & ~(uint32_t)((1ul << axis) - 1);
}

/* mean, and 1 / sqrt(variance + epsilon), over the axes, which stay */
struct moments { tg_val mean, inv_std, centred; };

static struct moments moments(struct tg_im *im, tg_val x, uint32_t mask, double epsilon)
{
	struct moments m;
	m.mean = tg_im_mean(im, x, mask, true);
	m.centred = X_SUB(x, m.mean);
	tg_val var = tg_im_mean(im, X_MUL(m.centred, m.centred), mask, true);
	m.inv_std = tg_im_1(im, TG_OP_recip, tg_im_1(im, TG_OP_sqrt, X_ADD(var, X_NUM(var, epsilon))));
	return m;
}

/* ---- BatchNormalization ---- */

/* Without training the statistics are operands, so all of it is one multiply and one add per channel. */
static tg_val batch_norm(struct tg_im *im, tg_val x, tg_val scale, tg_val bias, tg_val mean, tg_val var, double epsilon)
{
	uint32_t rank = tg_im_rank(im, x);
	uint32_t axis = rank > 1 ? 1 : 0;
	enum tg_dtype t = tg_im_type(im, x);
	tg_val a = X_DIV(tg_im_cast(im, scale, t), tg_im_1(im, TG_OP_sqrt, X_ADD(tg_im_cast(im, var, t), tg_im_scalar(im, t, epsilon))));
	tg_val b = X_SUB(tg_im_cast(im, bias, t), X_MUL(tg_im_cast(im, mean, t), a));
	return X_ADD(X_MUL(x, tg_im_along(im, a, axis, rank)), tg_im_along(im, b, axis, rank));
}

static void batch_norm_training(struct tg_im *im, tg_val x, double epsilon)
{
	uint32_t rank = tg_im_rank(im, x);
	double momentum = tg_im_float(im, "momentum", (double)0.9f);
	uint32_t mask = (uint32_t)((1ul << rank) - 1) & ~2u;
	tg_val mean = tg_im_mean(im, x, mask, false);
	tg_val centred = X_SUB(x, tg_im_along(im, mean, 1, rank));
	tg_val var = tg_im_mean(im, X_MUL(centred, centred), mask, false);
	im->out[0] = tg_im_cast(im, batch_norm(im, x, operand(im, 1), operand(im, 2), mean, var, epsilon), tg_im_type(im, im->in[0]));
	tg_val now[2] = { mean, var };
	for (uint32_t i = 0; i < 2 && i + 1 < im->n_out; i++) {
		tg_val old = operand(im, 3 + i);
		tg_val mixed = X_ADD(X_MUL(old, X_NUM(old, momentum)), X_MUL(tg_im_cast(im, now[i], tg_im_type(im, old)), X_NUM(old, 1 - momentum)));
		im->out[1 + i] = im->failed ? old : tg_im_cast(im, mixed, tg_im_type(im, im->in[3 + i]));
	}
}

void tg_im_import_batch_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	double epsilon = tg_im_float(im, "epsilon", (double)1e-5f);
	bool training = im->opset >= 14 ? tg_im_int(im, "training_mode", 0) : im->opset < 7 ? !tg_im_int(im, "is_test", 0) && im->n_out > 1 : im->n_out > 1;
	if (im->opset < 9 && !tg_im_int(im, "spatial", 1))
		tg_im_refuse(im, "BatchNormalization with spatial = 0");
	if (training && im->opset < 14)
		tg_im_refuse(im, "BatchNormalization in training mode before opset 14");
	if (training)
		batch_norm_training(im, x, epsilon);
	else
		im->out[0] = tg_im_cast(im, batch_norm(im, x, operand(im, 1), operand(im, 2), operand(im, 3), operand(im, 4), epsilon),
					im->failed ? TG_f32 : tg_im_type(im, im->in[0]));
}

/* ---- InstanceNormalization, LayerNormalization, RMSNormalization ---- */

void tg_im_import_instance_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1), bias = operand(im, 2);
	uint32_t rank = tg_im_rank(im, x);
	if (rank < 3)
		tg_im_error(im, "InstanceNormalization of rank %u, expected 3 or more", rank);
	if (im->failed)
		return;
	struct moments m = moments(im, x, axes_from(2, rank), tg_im_float(im, "epsilon", (double)1e-5f));
	tg_val y = X_MUL(m.centred, X_MUL(m.inv_std, tg_im_along(im, scale, 1, rank)));
	im->out[0] = tg_im_cast(im, X_ADD(y, tg_im_along(im, bias, 1, rank)), tg_im_type(im, im->in[0]));
}

void tg_im_import_layer_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1);
	uint32_t rank = tg_im_rank(im, x), axis = tg_im_axis(im, tg_im_int(im, "axis", -1), rank);
	if (im->failed)
		return;
	enum tg_dtype t = tg_im_type(im, im->in[0]);
	struct moments m = moments(im, x, axes_from(axis, rank), tg_im_float(im, "epsilon", (double)1e-5f));
	tg_val y = X_MUL(X_MUL(m.centred, m.inv_std), tg_im_cast(im, scale, tg_im_type(im, x)));
	if (tg_im_in(im, 2))
		y = X_ADD(y, tg_im_cast(im, im->in[2], tg_im_type(im, x)));
	if (!im->failed && !tg_shape_equal(tg_im_shape(im, y), tg_im_shape(im, x)))
		tg_im_error(im, "the scale or bias cannot be broadcast to the operand's shape");
	im->out[0] = tg_im_cast(im, y, t);
	if (im->n_out > 1)
		im->out[1] = m.mean;
	if (im->n_out > 2)
		im->out[2] = m.inv_std;
}

void tg_im_import_rms_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1);
	uint32_t rank = tg_im_rank(im, x), axis = tg_im_axis(im, tg_im_int(im, "axis", -1), rank);
	if (im->failed)
		return;
	tg_val square = tg_im_mean(im, X_MUL(x, x), axes_from(axis, rank), true);
	tg_val rms = tg_im_1(im, TG_OP_sqrt, X_ADD(square, X_NUM(square, tg_im_float(im, "epsilon", (double)1e-5f))));
	tg_val y = X_MUL(X_DIV(x, rms), tg_im_cast(im, scale, tg_im_type(im, x)));
	im->out[0] = tg_im_cast(im, y, tg_im_type(im, im->in[0]));
	if (im->n_out > 1)
		im->out[1] = tg_im_1(im, TG_OP_recip, rms);
}

/* com.microsoft SkipLayerNormalization and its simplified (RMS) form: operands are x, skip, gamma, [beta], [bias]. */
void tg_im_import_skip_norm(struct tg_im *im)
{
	bool simple = im->row->arg;
	tg_val x = operand(im, 0), skip = operand(im, 1), gamma = operand(im, 2);
	uint32_t k_bias = simple ? 3 : 4;
	enum tg_dtype t = im->failed ? TG_f32 : tg_im_type(im, im->in[0]);
	uint32_t last = tg_im_rank(im, x) - 1;
	if (!im->failed && last > 2)
		tg_im_error(im, "the operand has rank %u, expected 1 to 3", last + 1);
	tg_val sum = X_ADD(x, skip);
	if (tg_im_in(im, k_bias))
		sum = X_ADD(sum, operand(im, k_bias));
	if (im->failed)
		return;
	double epsilon = tg_im_float(im, "epsilon", (double)1e-12f);
	tg_val y, mean = { 0 }, inv_std;
	if (simple) {
		tg_val square = tg_im_mean(im, X_MUL(sum, sum), 1u << last, true);
		inv_std = tg_im_1(im, TG_OP_recip, tg_im_1(im, TG_OP_sqrt, X_ADD(square, X_NUM(square, epsilon))));
		y = X_MUL(X_MUL(sum, inv_std), gamma);
	} else {
		struct moments m = moments(im, sum, 1u << last, epsilon);
		y = X_MUL(X_MUL(m.centred, m.inv_std), gamma);
		y = tg_im_in(im, 3) ? X_ADD(y, operand(im, 3)) : y;
		mean = m.mean;
		inv_std = m.inv_std;
	}
	if (!im->failed && !tg_shape_equal(tg_im_shape(im, y), tg_im_shape(im, x)))
		tg_im_error(im, "an operand cannot be broadcast to the shape of the first");
	tg_val results[4] = { tg_im_cast(im, y, t), simple ? X_MUL(inv_std, X_NUM(inv_std, 0)) : mean, inv_std, tg_im_cast(im, sum, t) };
	for (uint32_t i = 0; i < im->n_out && i < 4; i++)
		im->out[i] = results[i];
}

/* ---- GroupNormalization: scale and bias are per group (opset 18) or per channel (21); a single element serves all ---- */

/* v for each group (y is [N, groups, channels, inner]) or each channel, in y's shape. */
static tg_val for_groups(struct tg_im *im, tg_val v, const struct tg_shape *y)
{
	tg_val x = tg_im_cast(im, v, TG_f32);
	int64_t n = tg_im_count(im, x);
	if (n == 1)
		return tg_im_reshape_n(im, x, 0);
	if (n == y->dim[1] && im->opset < 21)
		return tg_im_along(im, x, 1, 4);
	return tg_im_reshape_n(im, x, 4, (int64_t)1, y->dim[1], y->dim[2], (int64_t)1);
}

void tg_im_import_group_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0), scale = operand(im, 1), bias = operand(im, 2);
	const struct tg_shape s = *tg_im_shape(im, x);
	int64_t groups = tg_im_int(im, "num_groups", 0), inner = 1;
	if (!im->failed && (s.rank < 2 || groups < 1 || s.dim[1] % groups))
		tg_im_error(im, "%lld groups do not divide the channels", (long long)groups);
	if (im->failed)
		return;
	for (uint32_t i = 2; i < s.rank; i++)
		inner *= s.dim[i];
	tg_val g = tg_im_reshape_n(im, x, 4, s.dim[0], groups, s.dim[1] / groups, inner);
	struct moments m = moments(im, g, 12, tg_im_float(im, "epsilon", (double)1e-5f));
	tg_val y = X_MUL(m.centred, m.inv_std);
	const struct tg_shape by = *tg_im_shape(im, y);
	y = X_MUL(y, for_groups(im, scale, &by));
	y = X_ADD(y, for_groups(im, bias, &by));
	im->out[0] = tg_im_cast(im, tg_im_reshape(im, y, &s), tg_im_type(im, im->in[0]));
}

/* ---- MeanVarianceNormalization, LpNormalization, LRN ---- */

void tg_im_import_mvn(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	struct tg_ints axes;
	static const int64_t usual[] = { 0, 2, 3 };
	if (!tg_im_attr_ints(im, "axes", &axes))
		axes = (struct tg_ints){ usual, 3 };
	uint32_t mask = tg_im_axes(im, axes, tg_im_rank(im, x));
	tg_val mean = tg_im_mean(im, x, mask, true), centred = X_SUB(x, mean);
	tg_val var = tg_im_mean(im, X_MUL(centred, centred), mask, true);
	tg_val std = X_ADD(tg_im_1(im, TG_OP_sqrt, var), X_NUM(var, 1e-9));
	im->out[0] = tg_im_cast(im, X_DIV(centred, std), im->failed ? TG_f32 : tg_im_type(im, im->in[0]));
}

void tg_im_import_lp_norm(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	uint32_t mask = 1u << tg_im_axis(im, tg_im_int(im, "axis", -1), tg_im_rank(im, x));
	int64_t p = tg_im_int(im, "p", 2);
	if (p != 1 && p != 2)
		tg_im_error(im, "p is %lld, expected 1 or 2", (long long)p);
	tg_val n = tg_im_reduce(im, TG_OP_reduce_sum, p == 1 ? tg_im_1(im, TG_OP_abs, x) : X_MUL(x, x), mask, true);
	n = p == 1 ? n : tg_im_1(im, TG_OP_sqrt, n);
	/* a zero norm leaves zeros */
	tg_val y = tg_im_select(im, X_EQ(n, X_NUM(n, 0)), X_NUM(n, 0), X_DIV(x, n));
	im->out[0] = tg_im_cast(im, y, im->failed ? TG_f32 : tg_im_type(im, im->in[0]));
}

/* The sum of squares over neighbouring channels is a pooling over [N, 1, C, rest]. */
void tg_im_import_lrn(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	const struct tg_shape s = *tg_im_shape(im, x);
	int64_t size = tg_im_int(im, "size", 0), inner = 1;
	double alpha = tg_im_float(im, "alpha", (double)0.0001f), beta = tg_im_float(im, "beta", 0.75), bias = tg_im_float(im, "bias", 1);
	if (!im->failed && (s.rank < 2 || size < 1 || size > 1 << 20))
		tg_im_error(im, "LRN of rank %u over %lld channels", s.rank, (long long)size);
	if (im->failed)
		return;
	for (uint32_t i = 2; i < s.rank; i++)
		inner *= s.dim[i];
	struct tg_window w = { .n = 2, .kernel = { size, 1 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, .before = { (size - 1) / 2, 0 }, .out = { s.dim[1], inner } };
	tg_val square = tg_im_reshape_n(im, X_MUL(x, x), 4, s.dim[0], (int64_t)1, s.dim[1], inner);
	tg_val sum = tg_im_reshape(im, tg_im_pool(im, TG_OP_pool_sum, square, &w), &s);
	tg_val base = X_ADD(X_MUL(sum, X_NUM(sum, alpha / (double)size)), X_NUM(sum, bias));
	im->out[0] = tg_im_cast(im, X_DIV(x, tg_im_2(im, TG_OP_pow, base, X_NUM(base, beta))), tg_im_type(im, im->in[0]));
}
