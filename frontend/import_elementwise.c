/* import_elementwise.c: ops that compute each element on its own, and the broadcasting of old opsets. */
#include "import.h"

#include <math.h>
#include <string.h>

/* The graph op that the row names, over all operands. */
void tg_im_import_unary(struct tg_im *im)
{
	im->out[0] = tg_im_1(im, (enum tg_op_code)im->row->arg, im->in[0]);
}

void tg_im_import_identity(struct tg_im *im)
{
	im->out[0] = im->in[0];
	im->out_list[0] = im->in_list[0];
	if (!tg_has(im->out[0]) && !im->out_list[0])
		tg_im_error(im, "the operand is left out");
}

/* Before opset 7 the second operand is broadcast only when asked, with its dimensions starting at `axis`. */
static tg_val legacy_broadcast(struct tg_im *im, tg_val a, tg_val b)
{
	uint32_t ra = tg_im_rank(im, a), rb = tg_im_rank(im, b);
	if (im->opset >= 7 || !tg_im_int(im, "broadcast", 0) || !tg_im_has(im, "axis") || rb > ra)
		return b;
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), ra);
	if (im->failed || axis + rb > ra)
		return b;
	struct tg_shape s = { .rank = ra - axis };
	for (uint32_t i = 0; i < s.rank; i++)
		s.dim[i] = i < rb ? tg_im_shape(im, b)->dim[i] : 1;
	return tg_im_reshape(im, b, &s);
}

static bool two(struct tg_im *im)
{
	if (!tg_im_in(im, 0) || !tg_im_in(im, 1))
		tg_im_error(im, "the operator needs two operands");
	return !im->failed;
}

void tg_im_import_binary(struct tg_im *im)
{
	if (two(im))
		im->out[0] = tg_im_2(im, (enum tg_op_code)im->row->arg, im->in[0], legacy_broadcast(im, im->in[0], im->in[1]));
}

/* Greater and GreaterOrEqual: the row's op with its operands exchanged. */
void tg_im_import_swapped(struct tg_im *im)
{
	if (two(im))
		im->out[0] = tg_im_2(im, (enum tg_op_code)im->row->arg, legacy_broadcast(im, im->in[0], im->in[1]), im->in[0]);
}

void tg_im_import_mod(struct tg_im *im)
{
	union tg_attr a[1];
	a[TG_AT(mod, fmod)].i = tg_im_int(im, "fmod", 0) != 0;
	if (two(im))
		im->out[0] = tg_im_op(im, TG_OP_mod, im->in, 2, a);
}

void tg_im_import_bit_shift(struct tg_im *im)
{
	const char *dir = tg_im_str(im, "direction", "");
	if (strcmp(dir, "LEFT") && strcmp(dir, "RIGHT"))
		tg_im_error(im, "attribute direction is %s, expected LEFT or RIGHT", tg_quoted(im->tmp, dir));
	else if (two(im))
		im->out[0] = tg_im_2(im, *dir == 'L' ? TG_OP_shl : TG_OP_shr, im->in[0], im->in[1]);
}

/* Sum, Max, Min: any number of operands; Mean divides by their number. */
void tg_im_import_variadic(struct tg_im *im)
{
	if (!im->n_in || !tg_im_in(im, 0)) {
		tg_im_error(im, "the operator has no operands");
		return;
	}
	enum tg_dtype t = tg_im_type(im, im->in[0]);
	bool mean = im->row->arg == TG_OP_none;
	enum tg_op_code code = mean ? TG_OP_add : (enum tg_op_code)im->row->arg;
	bool widen = code == TG_OP_add && im->n_in > 2;
	tg_val y = widen ? tg_im_widen(im, im->in[0]) : im->in[0];
	for (uint32_t i = 1; i < im->n_in; i++)
		y = tg_im_2(im, code, y, widen ? tg_im_widen(im, im->in[i]) : im->in[i]);
	if (mean && im->n_in > 1)
		y = X_DIV(y, X_NUM(y, im->n_in));
	im->out[0] = tg_im_cast(im, y, t);
}

void tg_im_import_where(struct tg_im *im)
{
	if (!tg_im_in(im, 2))
		tg_im_error(im, "Where needs three operands");
	im->out[0] = tg_im_select(im, im->in[0], im->in[1], im->in[2]);
}

/* ---- one float attribute: its name and default come with the graph op's own row ---- */

static tg_val with_floats(struct tg_im *im, enum tg_op_code code, const char *a0, double d0, const char *a1, double d1)
{
	union tg_attr a[2];
	a[0].f = tg_im_float(im, a0, d0);
	a[1].f = a1 ? tg_im_float(im, a1, d1) : 0;
	return tg_im_op(im, code, im->in, im->n_in ? 1 : 0, a);
}

void tg_im_import_leaky_relu(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_leaky_relu, "alpha", im->opset >= 6 ? (double)0.01f : (double)0.01f, NULL, 0);
}

void tg_im_import_elu(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_elu, "alpha", 1, NULL, 0);
}

void tg_im_import_celu(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_celu, "alpha", 1, NULL, 0);
}

void tg_im_import_selu(struct tg_im *im)
{
	im->out[0] = im->opset < 6 ? with_floats(im, TG_OP_selu, "alpha", (double)1.6732f, "gamma", (double)1.0507f)
				   : with_floats(im, TG_OP_selu, "alpha", 1.67326319217681884765625, "gamma", 1.05070102214813232421875);
}

void tg_im_import_hard_sigmoid(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_hard_sigmoid, "alpha", (double)0.2f, "beta", 0.5);
}

void tg_im_import_hard_swish(struct tg_im *im)
{
	union tg_attr a[2];
	a[TG_AT(hard_sigmoid, alpha)].f = 1.0 / 6;
	a[TG_AT(hard_sigmoid, beta)].f = 0.5;
	im->out[0] = X_MUL(im->in[0], tg_im_op(im, TG_OP_hard_sigmoid, im->in, 1, a));
}

void tg_im_import_thresholded_relu(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_thresholded_relu, "alpha", 1, NULL, 0);
}

void tg_im_import_shrink(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_shrink, "lambd", 0.5, "bias", 0);
}

void tg_im_import_swish(struct tg_im *im)
{
	im->out[0] = with_floats(im, TG_OP_swish, "alpha", 1, NULL, 0);
}

void tg_im_import_gelu(struct tg_im *im)
{
	const char *how = tg_im_str(im, "approximate", "none");
	union tg_attr a[1];
	a[TG_AT(gelu, tanh)].i = !strcmp(how, "tanh");
	if (strcmp(how, "tanh") && strcmp(how, "none"))
		tg_im_error(im, "attribute approximate is %s, expected none or tanh", tg_quoted(im->tmp, how));
	im->out[0] = tg_im_op(im, TG_OP_gelu, im->in, im->n_in ? 1 : 0, a);
}

void tg_im_import_is_inf(struct tg_im *im)
{
	union tg_attr a[2];
	a[TG_AT(is_inf, positive)].i = tg_im_int(im, "detect_positive", 1) != 0;
	a[TG_AT(is_inf, negative)].i = tg_im_int(im, "detect_negative", 1) != 0;
	im->out[0] = tg_im_op(im, TG_OP_is_inf, im->in, im->n_in ? 1 : 0, a);
}

/* The slope is broadcast to x; before opset 7 a slope of one dimension lies along the channels. */
void tg_im_import_prelu(struct tg_im *im)
{
	if (!two(im))
		return;
	tg_val x = im->in[0], slope = im->in[1];
	uint32_t rank = tg_im_rank(im, x);
	int64_t n = tg_im_count(im, slope);
	if (im->opset < 7 && rank > 1 && tg_im_rank(im, slope) == 1 && n == tg_im_shape(im, x)->dim[1])
		slope = tg_im_along(im, slope, 1, rank);
	struct tg_shape s;
	if (!tg_im_broadcast_shape(tg_im_shape(im, x), tg_im_shape(im, slope), &s) || !tg_shape_equal(&s, tg_im_shape(im, x)))
		tg_im_error(im, "the slope cannot be broadcast to the operand's shape");
	im->out[0] = tg_im_2(im, TG_OP_prelu, x, slope);
}

/* ---- Clip ---- */

static tg_val clip_bound(struct tg_im *im, uint32_t k, const char *attr)
{
	if (im->opset < 11)
		return tg_im_has(im, attr) ? X_NUM(im->in[0], tg_im_float(im, attr, 0)) : (tg_val){ 0 };
	if (!tg_im_in(im, k))
		return (tg_val){ 0 };
	if (tg_im_count(im, im->in[k]) != 1)
		tg_im_error(im, "the bound %s has %lld elements, expected a scalar", attr, (long long)tg_im_count(im, im->in[k]));
	return tg_im_reshape_n(im, im->in[k], 0);
}

void tg_im_import_clip(struct tg_im *im)
{
	tg_val lo = clip_bound(im, 1, "min"), hi = clip_bound(im, 2, "max"), y = im->in[0];
	y = tg_has(lo) ? X_MAX(y, lo) : y;
	y = tg_has(hi) ? X_MIN(y, hi) : y;
	im->out[0] = y;
}

/* ---- Cast ---- */

static bool is_f8(enum tg_dtype t)
{
	return t == TG_f8e4m3fn || t == TG_f8e4m3fnuz || t == TG_f8e5m2 || t == TG_f8e5m2fnuz;
}

static tg_val cast_to(struct tg_im *im, tg_val x, enum tg_dtype t)
{
	if (t == TG_none)
		tg_im_error(im, "the target type is not one that ONNX defines");
	else if (t == TG_str || tg_dtypes[t].kind == TG_KIND_COMPLEX)
		tg_im_refuse(im, "the target type is %s, which the chip does not have", tg_dtypes[t].name);
	else if (t == TG_f8e8m0 || tg_im_type(im, x) == TG_f8e8m0)
		tg_im_refuse(im, "the type f8e8m0 (scales of microscaling formats) is not supported");
	/* The default, saturate = 1, means the 8-bit floats only. */
	bool saturate = is_f8(t) && tg_im_int(im, "saturate", 1);
	return saturate ? tg_im_cast_sat(im, x, t) : tg_im_cast(im, x, t);
}

void tg_im_import_cast(struct tg_im *im)
{
	static const char *const old_names[] = { "UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE",
						 "UINT32", "UINT64" };
	int64_t to = 0;
	if (im->opset < 6) {
		const char *name = tg_im_str(im, "to", "");
		for (uint32_t i = 1; i < TG_ARRAY_LEN(old_names); i++)
			if (!strcmp(name, old_names[i]))
				to = i;
	} else {
		to = tg_im_int(im, "to", 0);
	}
	enum tg_dtype t = to < 0 || to > 1000 ? TG_none : tg_dtype_from_onnx((int32_t)to);
	im->out[0] = cast_to(im, im->in[0], t);
}

void tg_im_import_cast_like(struct tg_im *im)
{
	if (two(im))
		im->out[0] = cast_to(im, im->in[0], tg_im_type(im, im->in[1]));
}

void tg_im_import_dropout(struct tg_im *im)
{
	bool training = false;
	double ratio = im->opset < 12 ? tg_im_float(im, "ratio", 0.5) : 0.5;
	if (im->opset < 7)
		training = !tg_im_int(im, "is_test", 0) && im->n_out > 1;
	if (im->opset >= 12 && tg_im_in(im, 2)) {
		const struct tg_const *c = tg_im_const(im, im->in[2], "training_mode of Dropout", false);
		training = c && tg_const_i64(c, 0);
		c = training && tg_im_in(im, 1) ? tg_im_const(im, im->in[1], "ratio of Dropout", true) : NULL;
		ratio = c ? tg_const_f64(c, 0) : ratio;
	}
	if (training && ratio != 0)
		tg_im_refuse(im, "Dropout in training mode draws random numbers");
	im->out[0] = im->in[0];
	/* before opset 10 the mask has the data's type; before 12 engines leave it 0 */
	if (im->n_out > 1)
		im->out[1] = tg_im_splat(im, im->opset >= 10 ? TG_bool : tg_im_type(im, im->in[0]), tg_im_shape(im, im->in[0]), im->opset >= 12);
}
