/* import_reduce.c: reductions, softmax and the searches for a maximum. */
#include "import.h"

#include <string.h>

/* What the row of a reduction says. */
enum kind { R_SUM, R_MEAN, R_MAX, R_MIN, R_PROD, R_L1, R_L2, R_LOG_SUM, R_LOG_SUM_EXP, R_SUM_SQUARE };

static tg_val sum(struct tg_im *im, tg_val x, uint32_t mask, bool keep)
{
	return tg_im_reduce(im, TG_OP_reduce_sum, x, mask, keep);
}

/* The largest element is taken out first, so that exp does not overflow; an infinite one stays in. */
static tg_val log_sum_exp(struct tg_im *im, tg_val x, uint32_t mask, bool keep)
{
	tg_val top = tg_im_reduce(im, TG_OP_reduce_max, x, mask, true);
	top = tg_im_select(im, tg_im_1(im, TG_OP_is_inf, top), X_NUM(top, 0), top);
	tg_val y = X_ADD(tg_im_1(im, TG_OP_log, sum(im, tg_im_1(im, TG_OP_exp, X_SUB(x, top)), mask, true)), top);
	if (keep || im->failed)
		return y;
	struct tg_shape s = { 0 };
	for (uint32_t i = 0; i < tg_im_rank(im, y); i++)
		if (!(mask >> i & 1))
			s.dim[s.rank++] = tg_im_shape(im, y)->dim[i];
	return tg_im_reshape(im, y, &s);
}

/* L2 and LogSumExp of integers are computed in f64 and cast back. */
static tg_val as_float(struct tg_im *im, tg_val x)
{
	return tg_is_float(tg_im_type(im, x)) ? x : tg_im_cast(im, x, TG_f64);
}

static tg_val reduce(struct tg_im *im, enum kind kind, tg_val x, uint32_t mask, bool keep)
{
	switch (kind) {
	case R_SUM:
		return sum(im, x, mask, keep);
	case R_MEAN:
		return tg_im_mean(im, x, mask, keep);
	case R_MAX:
		return tg_im_reduce(im, TG_OP_reduce_max, x, mask, keep);
	case R_MIN:
		return tg_im_reduce(im, TG_OP_reduce_min, x, mask, keep);
	case R_PROD:
		return tg_im_reduce(im, TG_OP_reduce_prod, x, mask, keep);
	case R_L1:
		return sum(im, tg_im_1(im, TG_OP_abs, x), mask, keep);
	case R_L2:
		x = as_float(im, x);
		return tg_im_1(im, TG_OP_sqrt, sum(im, X_MUL(x, x), mask, keep));
	case R_LOG_SUM:
		return tg_im_1(im, TG_OP_log, sum(im, as_float(im, x), mask, keep));
	case R_LOG_SUM_EXP:
		return log_sum_exp(im, as_float(im, x), mask, keep);
	case R_SUM_SQUARE:
		return sum(im, X_MUL(x, x), mask, keep);
	}
	return (tg_val){ 0 };
}

/* Max and Min of bool: or and and, through u8. */
void tg_im_import_reduce(struct tg_im *im)
{
	tg_val x = im->in[0];
	enum tg_dtype t = tg_im_type(im, x);
	uint32_t rank = tg_im_rank(im, x);
	struct tg_ints axes;
	bool keep = tg_im_int(im, "keepdims", 1) != 0;
	bool given = tg_im_ints_of(im, 1, "axes", &axes) && axes.n;
	/* engines let a scalar be reduced over axis 0 */
	given &= rank > 0 || (axes.n && axes.at[0] != 0 && axes.at[0] != -1);
	uint32_t mask = given ? tg_im_axes(im, axes, rank) : (uint32_t)((1ul << rank) - 1);
	if (!given && tg_im_int(im, "noop_with_empty_axes", 0))
		mask = 0;
	x = t == TG_bool ? tg_im_cast(im, x, TG_u8) : tg_im_widen(im, x);
	im->out[0] = tg_im_cast(im, reduce(im, (enum kind)im->row->arg, x, mask, keep), t);
}

/* ---- ArgMax, ArgMin ---- */

void tg_im_import_arg(struct tg_im *im)
{
	union tg_attr a[3];
	a[TG_AT(arg_max, axis)].i = tg_im_axis(im, tg_im_int(im, "axis", 0), tg_im_rank(im, im->in[0]));
	a[TG_AT(arg_max, keep)].i = tg_im_int(im, "keepdims", 1) != 0;
	a[TG_AT(arg_max, last)].i = tg_im_int(im, "select_last_index", 0) != 0;
	im->out[0] = tg_im_op(im, (enum tg_op_code)im->row->arg, im->in, im->n_in ? 1 : 0, a);
}

/* ---- softmax ---- */

/* Before opset 13 the operand is seen as a matrix: dimensions from `axis` on are one. */
static uint32_t softmax_mask(struct tg_im *im)
{
	uint32_t rank = tg_im_rank(im, im->in[0]);
	if (im->opset >= 13)
		return 1u << tg_im_axis(im, tg_im_int(im, "axis", -1), rank);
	int64_t axis = tg_im_int(im, "axis", 1);
	uint32_t first = axis == (int64_t)rank ? rank : tg_im_axis(im, axis, rank), mask = 0;
	for (uint32_t i = first; i < rank; i++)
		mask |= 1u << i;
	return mask;
}

void tg_im_import_softmax(struct tg_im *im)
{
	im->out[0] = tg_im_softmax(im, im->in[0], softmax_mask(im), im->row->arg);
}

/* One at the first maximum, zero elsewhere. Over several dimensions (old opsets) they are flattened first. */
void tg_im_import_hardmax(struct tg_im *im)
{
	tg_val x = im->in[0];
	struct tg_shape s = *tg_im_shape(im, x), flat = { 0 };
	uint32_t mask = softmax_mask(im), axis = s.rank;
	for (uint32_t i = 0; i < s.rank; i++) {
		if (!(mask >> i & 1)) {
			flat.dim[flat.rank++] = s.dim[i];
		} else if (axis < s.rank) {
			flat.dim[axis] *= s.dim[i];
		} else {
			axis = flat.rank;
			flat.dim[flat.rank++] = s.dim[i];
		}
	}
	if (im->failed || axis == s.rank) {
		im->out[0] = tg_im_splat(im, tg_im_type(im, x), &s, 1);
		return;
	}
	tg_val v = tg_im_reshape(im, x, &flat);
	union tg_attr a[3];
	a[TG_AT(arg_max, axis)].i = axis;
	a[TG_AT(arg_max, keep)].i = 1;
	a[TG_AT(arg_max, last)].i = 0;
	tg_val at = tg_im_op(im, TG_OP_arg_max, &v, 1, a);
	struct tg_shape line = { .rank = flat.rank };
	for (uint32_t i = 0; i < flat.rank; i++)
		line.dim[i] = i == axis ? flat.dim[i] : 1;
	tg_val hit = X_EQ(tg_im_iota(im, TG_i64, &line, axis), at);
	im->out[0] = tg_im_reshape(im, tg_im_cast(im, hit, tg_im_type(im, x)), &s);
}

/* ---- running sums and products: log2(n) shifted steps (Hillis and Steele, 1986) ---- */

static tg_val shifted(struct tg_im *im, tg_val x, uint32_t axis, int64_t by, tg_val identity)
{
	int64_t lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 };
	lo[axis] = by;
	hi[axis] = -by;
	return tg_im_pad(im, x, lo, hi, "constant", identity);
}

void tg_im_import_cumulative(struct tg_im *im)
{
	tg_val x = im->in[0];
	enum tg_dtype t = tg_im_type(im, x);
	struct tg_ints axes;
	if (!tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "axis of a running sum", &axes) || axes.n != 1) {
		tg_im_error(im, "the axis operand must have one element");
		return;
	}
	uint32_t axis = tg_im_axis(im, axes.at[0], tg_im_rank(im, x));
	if (im->failed)
		return;
	int64_t n = tg_im_shape(im, x)->dim[axis];
	bool product = im->row->arg == TG_OP_mul, reverse = tg_im_int(im, "reverse", 0);
	x = tg_im_widen(im, x);
	tg_val identity = X_NUM(x, product);
	int64_t sign = reverse ? -1 : 1;
	if (tg_im_int(im, "exclusive", 0) && n)
		x = shifted(im, x, axis, sign, identity);
	for (int64_t by = 1; by < n && !im->failed; by *= 2)
		x = tg_im_2(im, (enum tg_op_code)im->row->arg, x, shifted(im, x, axis, sign * by, identity));
	im->out[0] = tg_im_cast(im, x, t);
}

/* ---- TopK by counting: element i comes at the place that says how many precede it ---- */

enum { TOPK_MAX_PAIRS = 1 << 26 };

void tg_im_import_topk(struct tg_im *im)
{
	tg_val x = im->in[0];
	uint32_t rank = tg_im_rank(im, x);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", -1), rank);
	bool largest = tg_im_int(im, "largest", 1);
	struct tg_ints ks = { NULL, 0 };
	int64_t k = tg_im_int(im, "k", -1);
	if (im->opset >= 10 && tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "k of TopK", &ks) && ks.n == 1)
		k = ks.at[0];
	if (im->failed)
		return;
	struct tg_shape s = *tg_im_shape(im, x);
	int64_t n = s.dim[axis], outer = n ? tg_im_count(im, x) / n : 0, perm[TG_MAX_RANK], back[TG_MAX_RANK];
	if (k < 0 || k > n) {
		tg_im_error(im, "k is %lld, expected 0 to %lld", (long long)k, (long long)n);
		return;
	}
	if (n && outer * n > TOPK_MAX_PAIRS / n) {
		tg_im_refuse(im, "TopK over %lld elements compares more than %d pairs", (long long)n, TOPK_MAX_PAIRS);
		return;
	}
	for (uint32_t i = 0, p = 0; i < rank; i++)
		if (i != axis)
			perm[p++] = i;
	perm[rank - 1] = axis;
	for (uint32_t i = 0; i < rank; i++)
		back[perm[i]] = i;
	tg_val rows = tg_im_reshape_n(im, tg_im_transpose(im, x, perm), 2, outer, n);
	tg_val a = tg_im_reshape_n(im, rows, 3, outer, n, (int64_t)1), b = tg_im_reshape_n(im, rows, 3, outer, (int64_t)1, n);
	struct tg_shape col = { 3, { 1, n, 1 } }, row = { 3, { 1, 1, n } }, line = { 3, { 1, 1, k } };
	tg_val ia = tg_im_iota(im, TG_i32, &col, 1), ib = tg_im_iota(im, TG_i32, &row, 2);
	/* b precedes a: it is larger (smaller), or equal and comes first */
	tg_val before = X_OR(largest ? X_LT(a, b) : X_LT(b, a), X_AND(X_EQ(a, b), X_LT(ib, ia)));
	tg_val place = tg_im_reduce(im, TG_OP_reduce_sum, tg_im_cast(im, before, TG_i32), 4, true);
	tg_val hit = X_EQ(place, tg_im_iota(im, TG_i32, &line, 2));
	tg_val index = tg_im_reduce(im, TG_OP_reduce_sum, tg_im_select(im, hit, ia, tg_im_scalar_i64(im, TG_i32, 0)), 2, false);
	struct tg_shape lines = { 2, { outer, 1 } };
	tg_val flat = X_ADD(index, X_MUL(tg_im_iota(im, TG_i32, &lines, 0), tg_im_scalar_i64(im, TG_i32, n)));
	tg_val values = n ? tg_im_gather(im, tg_im_reshape_n(im, rows, 1, outer * n), flat, 0) : tg_im_reshape_n(im, rows, 2, outer, k);
	struct tg_shape moved = { .rank = rank };
	for (uint32_t i = 0; i + 1 < rank; i++)
		moved.dim[i] = s.dim[perm[i]];
	moved.dim[rank - 1] = k;
	im->out[0] = tg_im_transpose(im, tg_im_reshape(im, values, &moved), back);
	if (im->n_out > 1)
		im->out[1] = tg_im_transpose(im, tg_im_reshape(im, tg_im_cast(im, index, TG_i64), &moved), back);
}
