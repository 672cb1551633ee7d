/* import_conv.c: windows, Conv, ConvTranspose and the poolings. */
#include "window.h"

#include <math.h>
#include <string.h>

enum { EXTENT_LIMIT = 1 << 30 };

/* ---- windows ---- */

static bool per_axis(struct tg_im *im, const char *name, uint32_t n, int64_t lo, int64_t dflt, int64_t *v)
{
	struct tg_ints given;
	bool has = tg_im_attr_ints(im, name, &given) && given.n;
	if (has && given.n != n) {
		tg_im_error(im, "attribute %s has %u entries, expected %u", name, given.n, n);
		return false;
	}
	for (uint32_t i = 0; i < n; i++) {
		v[i] = has ? given.at[i] : dflt;
		if (v[i] < lo || v[i] > EXTENT_LIMIT) {
			tg_im_error(im, "entry %u of attribute %s is %lld", i, name, (long long)v[i]);
			return false;
		}
	}
	return !im->failed;
}

static int64_t reach(const struct tg_window *w, uint32_t i)
{
	return (w->kernel[i] - 1) * w->dilation[i] + 1;
}

static bool pads(struct tg_im *im, struct tg_window *w)
{
	const char *how = tg_im_str(im, "auto_pad", "NOTSET");
	int64_t both[2 * TG_MAX_RANK] = { 0 };
	bool same = !strcmp(how, "SAME_UPPER") || !strcmp(how, "SAME_LOWER"), set = !*how || !strcmp(how, "NOTSET");
	if (!same && !set && strcmp(how, "VALID")) {
		tg_im_error(im, "attribute auto_pad is %s, expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", tg_quoted(im->tmp, how));
		return false;
	}
	if (set && !per_axis(im, "pads", 2 * w->n, -EXTENT_LIMIT, 0, both))
		return false;
	for (uint32_t i = 0; i < w->n; i++) {
		int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i], total = (out - 1) * w->stride[i] + reach(w, i) - w->in[i];
		total = total > 0 ? total : 0;
		w->before[i] = set ? both[i] : same ? (how[5] == 'U' ? total / 2 : total - total / 2) : 0;
		w->after[i] = set ? both[i + w->n] : same ? total - w->before[i] : 0;
	}
	return true;
}

bool tg_im_window(struct tg_im *im, tg_val x, tg_val weight, struct tg_window *w)
{
	const struct tg_shape *s = tg_im_shape(im, x);
	memset(w, 0, sizeof *w);
	if (im->failed)
		return false;
	if (s->rank < 3 || (tg_has(weight) && tg_im_rank(im, weight) != s->rank)) {
		if (s->rank < 3)
			tg_im_error(im, "the operand has rank %u, expected 3 or more", s->rank);
		else
			tg_im_error(im, "the weight has rank %u, expected %u, that of the operand", tg_im_rank(im, weight), s->rank);
		return false;
	}
	w->n = s->rank - 2;
	for (uint32_t i = 0; i < w->n; i++)
		w->in[i] = s->dim[i + 2];
	bool has_kernel = tg_im_has(im, "kernel_shape");
	if (!has_kernel && !tg_has(weight)) {
		tg_im_error(im, "the operator has no kernel_shape");
		return false;
	}
	for (uint32_t i = 0; tg_has(weight) && i < w->n; i++)
		w->kernel[i] = tg_im_shape(im, weight)->dim[i + 2];
	int64_t kernel[TG_MAX_RANK];
	if (has_kernel && !per_axis(im, "kernel_shape", w->n, 1, 1, kernel))
		return false;
	for (uint32_t i = 0; has_kernel && i < w->n; i++) {
		if (tg_has(weight) && w->kernel[i] != kernel[i])
			tg_im_error(im, "kernel_shape %lld does not match the weight's %lld in dimension %u", (long long)kernel[i], (long long)w->kernel[i], i);
		w->kernel[i] = kernel[i];
	}
	return per_axis(im, "strides", w->n, 1, 1, w->stride) && per_axis(im, "dilations", w->n, 1, 1, w->dilation) && pads(im, w);
}

bool tg_im_window_out(struct tg_im *im, struct tg_window *w, bool ceil)
{
	for (uint32_t i = 0; i < w->n; i++) {
		int64_t room = w->in[i] + w->before[i] + w->after[i] - reach(w, i), step = w->stride[i];
		if (room < 0 && !(ceil && room + step > 0)) {
			tg_im_error(im, "the window of %lld does not fit into dimension %u of %lld with padding %lld and %lld", (long long)reach(w, i), i,
				    (long long)w->in[i], (long long)w->before[i], (long long)w->after[i]);
			return false;
		}
		w->out[i] = (room + (ceil ? step - 1 : 0)) / step + 1;
		/* a last window that would start in the padding behind the data is left out */
		if (ceil && (w->out[i] - 1) * step >= w->in[i] + w->before[i])
			w->out[i]--;
	}
	return true;
}

static void set_ints(union tg_attr *a, const int64_t *at, uint32_t n)
{
	a->ints.at = at;
	a->ints.n = n;
}

tg_val tg_im_pool(struct tg_im *im, enum tg_op_code code, tg_val x, const struct tg_window *w)
{
	union tg_attr a[5];
	set_ints(&a[TG_AT(pool_max, kernel)], w->kernel, w->n);
	set_ints(&a[TG_AT(pool_max, stride)], w->stride, w->n);
	set_ints(&a[TG_AT(pool_max, dilation)], w->dilation, w->n);
	set_ints(&a[TG_AT(pool_max, pad)], w->before, w->n);
	set_ints(&a[TG_AT(pool_max, out)], w->out, w->n);
	return tg_im_op(im, code, &x, 1, a);
}

/* ---- Conv ---- */

static tg_val convolve(struct tg_im *im, enum tg_op_code code, tg_val x, tg_val weight, tg_val bias, const struct tg_window *w, int64_t groups)
{
	union tg_attr a[5];
	set_ints(&a[TG_AT(conv, stride)], w->stride, w->n);
	set_ints(&a[TG_AT(conv, dilation)], w->dilation, w->n);
	set_ints(&a[TG_AT(conv, pad)], w->before, w->n);
	set_ints(&a[TG_AT(conv, out)], w->out, w->n);
	a[TG_AT(conv, groups)].i = groups;
	return tg_im_op(im, code, (tg_val[]){ x, weight, bias }, tg_has(bias) ? 3 : 2, a);
}

tg_val tg_im_conv(struct tg_im *im, tg_val x, tg_val weight, tg_val bias, const struct tg_window *w, int64_t groups)
{
	return convolve(im, TG_OP_conv, x, weight, bias, w, groups);
}

static bool needs(struct tg_im *im, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!tg_im_in(im, i))
			tg_im_error(im, "operand %u is left out", i);
	return !im->failed;
}

void tg_im_import_conv(struct tg_im *im)
{
	struct tg_window w;
	if (!needs(im, 2) || !tg_im_window(im, im->in[0], im->in[1], &w) || !tg_im_window_out(im, &w, false))
		return;
	im->out[0] = tg_im_conv(im, im->in[0], im->in[1], tg_im_in(im, 2) ? im->in[2] : (tg_val){ 0 }, &w, tg_im_int(im, "group", 1));
}

/* output_shape decides the padding; else the padding decides the output. */
static bool transposed_out(struct tg_im *im, struct tg_window *w)
{
	int64_t extra[TG_MAX_RANK], want[TG_MAX_RANK];
	struct tg_ints shape;
	const char *how = tg_im_str(im, "auto_pad", "NOTSET");
	bool same = !strncmp(how, "SAME", 4), upper = !strcmp(how, "SAME_UPPER");
	if (!per_axis(im, "output_padding", w->n, 0, 0, extra))
		return false;
	bool given = tg_im_attr_ints(im, "output_shape", &shape) && shape.n;
	if (given && shape.n == w->n + 2) {
		shape.at += 2;
		shape.n -= 2;
	}
	if (given && shape.n != w->n) {
		tg_im_error(im, "output_shape has %u entries, expected %u", shape.n, w->n);
		return false;
	}
	for (uint32_t i = 0; i < w->n; i++) {
		int64_t full = w->stride[i] * (w->in[i] - 1) + extra[i] + reach(w, i);
		want[i] = given ? shape.at[i] : w->in[i] * w->stride[i];
		if (given || same) {
			int64_t total = full - want[i] > 0 ? full - want[i] : 0;
			w->before[i] = upper ? total / 2 : total - total / 2;
			w->out[i] = want[i];
		} else {
			w->out[i] = full - w->before[i] - w->after[i];
		}
		if (w->out[i] < 0 || w->out[i] > EXTENT_LIMIT)
			tg_im_error(im, "the output has extent %lld in dimension %u", (long long)w->out[i], i);
	}
	return !im->failed;
}

void tg_im_import_conv_transpose(struct tg_im *im)
{
	struct tg_window w;
	if (!needs(im, 2) || !tg_im_window(im, im->in[0], im->in[1], &w) || !transposed_out(im, &w))
		return;
	im->out[0] = convolve(im, TG_OP_conv_transpose, im->in[0], im->in[1], tg_im_in(im, 2) ? im->in[2] : (tg_val){ 0 }, &w, tg_im_int(im, "group", 1));
}

/* ---- MaxPool ---- */

enum { INDICES_MAX_TAPS = 256 };

/* The place, counted over the whole tensor, that a tap reads at each output; -1 where it reads padding. */
static tg_val tap_place(struct tg_im *im, const struct tg_window *w, const int64_t *tap, bool column_major, tg_val *inside)
{
	struct tg_shape line = { .rank = w->n + 2 };
	tg_val place = { 0 };
	int64_t stride = 1;
	*inside = (tg_val){ 0 };
	for (uint32_t k = 0; k < w->n; k++) {
		uint32_t d = column_major ? k : w->n - 1 - k;
		for (uint32_t i = 0; i < line.rank; i++)
			line.dim[i] = i == d + 2 ? w->out[d] : 1;
		tg_val at = X_MUL(tg_im_iota(im, TG_i64, &line, d + 2), tg_im_scalar_i64(im, TG_i64, w->stride[d]));
		at = X_ADD(at, tg_im_scalar_i64(im, TG_i64, tap[d] * w->dilation[d] - w->before[d]));
		tg_val ok = X_AND(X_LE(tg_im_scalar_i64(im, TG_i64, 0), at), X_LT(at, tg_im_scalar_i64(im, TG_i64, w->in[d])));
		tg_val part = X_MUL(at, tg_im_scalar_i64(im, TG_i64, stride));
		place = tg_has(place) ? X_ADD(place, part) : part;
		*inside = tg_has(*inside) ? X_AND(*inside, ok) : ok;
		stride *= w->in[d];
	}
	return place;
}

/* The elements that a tap reads: x padded so that every window lies inside, then sliced. */
static tg_val tap_elements(struct tg_im *im, tg_val padded, const struct tg_window *w, const int64_t *tap)
{
	uint32_t rank = w->n + 2;
	int64_t start[TG_MAX_RANK] = { 0 }, step[TG_MAX_RANK], size[TG_MAX_RANK];
	for (uint32_t i = 0; i < rank; i++) {
		step[i] = i < 2 ? 1 : w->stride[i - 2];
		size[i] = i < 2 ? tg_im_shape(im, padded)->dim[i] : w->out[i - 2];
		start[i] = i < 2 ? 0 : tap[i - 2] * w->dilation[i - 2];
	}
	union tg_attr a[3];
	set_ints(&a[TG_AT(slice, start)], start, rank);
	set_ints(&a[TG_AT(slice, step)], step, rank);
	set_ints(&a[TG_AT(slice, size)], size, rank);
	return tg_im_op(im, TG_OP_slice, &padded, 1, a);
}

static bool next_tap(const struct tg_window *w, int64_t *tap)
{
	for (uint32_t d = 0; d < w->n; d++) {
		if (--tap[d] >= 0)
			return true;
		tap[d] = w->kernel[d] - 1;
	}
	return false;
}

/* Taps from the last to the first, so that the first that attains the maximum is the one that stays. */
static tg_val max_indices(struct tg_im *im, tg_val x, tg_val y, const struct tg_window *w, bool column_major)
{
	int64_t tap[TG_MAX_RANK], lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 }, taps = 1, plane = 1;
	for (uint32_t i = 0; i < w->n; i++) {
		int64_t end = (w->out[i] - 1) * w->stride[i] + reach(w, i);
		lo[i + 2] = w->before[i];
		hi[i + 2] = end > w->in[i] + w->before[i] ? end - w->in[i] - w->before[i] : 0;
		tap[w->n - 1 - i] = w->kernel[w->n - 1 - i] - 1;
		taps = taps > INDICES_MAX_TAPS ? taps : taps * w->kernel[i];
		plane *= w->in[i];
	}
	if (taps > INDICES_MAX_TAPS) {
		tg_im_refuse(im, "the Indices of a MaxPool over more than %d elements", INDICES_MAX_TAPS);
		return x;
	}
	struct tg_shape s = *tg_im_shape(im, x);
	tg_val padded = tg_im_pad(im, x, lo, hi, "constant", X_NUM(x, 0));
	tg_val index = tg_im_splat(im, TG_i64, tg_im_shape(im, y), 0);
	/* the tap order must run over the last dimension first */
	struct tg_window r = *w;
	for (uint32_t i = 0; i < w->n; i++)
		r.kernel[i] = w->kernel[w->n - 1 - i];
	int64_t rtap[TG_MAX_RANK];
	for (uint32_t i = 0; i < w->n; i++)
		rtap[i] = r.kernel[i] - 1;
	do {
		for (uint32_t i = 0; i < w->n; i++)
			tap[i] = rtap[w->n - 1 - i];
		tg_val inside, place = tap_place(im, w, tap, column_major, &inside);
		tg_val hit = X_AND(X_EQ(tap_elements(im, padded, w, tap), y), inside);
		index = tg_im_select(im, hit, place, index);
	} while (!im->failed && next_tap(&r, rtap));
	struct tg_shape planes = { .rank = s.rank };
	for (uint32_t i = 0; i < s.rank; i++)
		planes.dim[i] = i < 2 ? s.dim[i] : 1;
	struct tg_shape flat = { 1, { s.dim[0] * s.dim[1] } };
	tg_val base = X_MUL(tg_im_reshape(im, tg_im_iota(im, TG_i64, &flat, 0), &planes), tg_im_scalar_i64(im, TG_i64, plane));
	return X_ADD(index, base);
}

void tg_im_import_max_pool(struct tg_im *im)
{
	struct tg_window w;
	if (!needs(im, 1) || !tg_im_window(im, im->in[0], (tg_val){ 0 }, &w) || !tg_im_window_out(im, &w, tg_im_int(im, "ceil_mode", 0)))
		return;
	im->out[0] = tg_im_pool(im, TG_OP_pool_max, im->in[0], &w);
	if (im->n_out > 1 && im->want[1])
		im->out[1] = max_indices(im, im->in[0], im->out[0], &w, tg_im_int(im, "storage_order", 0));
}

/* ---- AveragePool ---- */

/* 1 / elements that a window covers; where the count is the same everywhere it is one number. */
static tg_val reciprocal_counts(struct tg_im *im, const struct tg_window *w, bool with_pad)
{
	int64_t *count[TG_MAX_RANK], total = 1;
	struct tg_shape s = { .rank = w->n + 2, .dim = { 1, 1 } };
	bool uniform = true;
	for (uint32_t d = 0; d < w->n; d++) {
		count[d] = tg_im_dims(im, (uint32_t)w->out[d], 0);
		for (int64_t o = 0; o < w->out[d]; o++) {
			int64_t from = o * w->stride[d] - w->before[d];
			int64_t lo = with_pad ? -w->before[d] : 0, hi = with_pad ? w->in[d] + w->after[d] : w->in[d];
			for (int64_t k = 0; k < w->kernel[d]; k++)
				count[d][o] += from + k * w->dilation[d] >= lo && from + k * w->dilation[d] < hi;
			uniform &= count[d][o] == count[d][0];
		}
		s.dim[d + 2] = w->out[d];
		total *= w->out[d];
	}
	struct tg_shape one = { 0 };
	if (uniform || total == 0)
		total = 1;
	else
		one = s;
	float *v = tg_alloc_n(im->arena, (size_t)total, sizeof *v);
	for (int64_t i = 0; i < total; i++) {
		int64_t rest = i, n = 1;
		for (uint32_t d = w->n; d--; rest /= w->out[d] ? w->out[d] : 1)
			n *= w->out[d] ? count[d][rest % w->out[d]] : 1;
		v[i] = (float)(1.0 / (double)(n ? n : 1));
	}
	return tg_im_put_const(im, tg_const_dense(im->arena, TG_f32, &one, v, true));
}

enum { AVERAGE_MAX_WORK = 1 << 28 };

void tg_im_import_average_pool(struct tg_im *im)
{
	struct tg_window w;
	if (!needs(im, 1) || !tg_im_window(im, im->in[0], (tg_val){ 0 }, &w) || !tg_im_window_out(im, &w, tg_im_int(im, "ceil_mode", 0)))
		return;
	enum tg_dtype t = tg_im_type(im, im->in[0]);
	int64_t work = 1;
	for (uint32_t i = 0; i < w.n; i++) {
		if (w.kernel[i] * w.out[i] > AVERAGE_MAX_WORK || (work *= w.out[i] + 1) > AVERAGE_MAX_WORK) {
			tg_im_refuse(im, "AveragePool with windows or outputs beyond %d", AVERAGE_MAX_WORK);
			return;
		}
	}
	tg_val x = tg_im_widen(im, im->in[0]);
	tg_val n = tg_im_cast(im, reciprocal_counts(im, &w, tg_im_int(im, "count_include_pad", 0)), tg_im_type(im, x));
	im->out[0] = tg_im_cast(im, X_MUL(tg_im_pool(im, TG_OP_pool_sum, x, &w), n), t);
}

/* ---- LpPool, global poolings ---- */

static double norm_order(struct tg_im *im)
{
	return im->opset < 2 ? tg_im_float(im, "p", 2) : (double)tg_im_int(im, "p", 2);
}

static tg_val power(struct tg_im *im, tg_val x, double p)
{
	return p == 1 ? tg_im_1(im, TG_OP_abs, x) : p == 2 ? X_MUL(x, x) : tg_im_2(im, TG_OP_pow, tg_im_1(im, TG_OP_abs, x), X_NUM(x, p));
}

static tg_val root(struct tg_im *im, tg_val x, double p)
{
	return p == 1 ? x : p == 2 ? tg_im_1(im, TG_OP_sqrt, x) : tg_im_2(im, TG_OP_pow, x, X_NUM(x, 1 / p));
}

void tg_im_import_lp_pool(struct tg_im *im)
{
	struct tg_window w;
	if (!needs(im, 1) || !tg_im_window(im, im->in[0], (tg_val){ 0 }, &w) || !tg_im_window_out(im, &w, tg_im_int(im, "ceil_mode", 0)))
		return;
	double p = norm_order(im);
	enum tg_dtype t = tg_im_type(im, im->in[0]);
	tg_val sum = tg_im_pool(im, TG_OP_pool_sum, power(im, tg_im_widen(im, im->in[0]), p), &w);
	im->out[0] = tg_im_cast(im, root(im, sum, p), t);
}

static uint32_t spatial_mask(struct tg_im *im, tg_val x)
{
	uint32_t rank = tg_im_rank(im, x);
	if (rank < 2 && !im->failed)
		tg_im_error(im, "the operand has rank %u, expected 2 or more", rank);
	return (uint32_t)((1ul << rank) - 1) & ~3u;
}

void tg_im_import_global_pool(struct tg_im *im)
{
	tg_val x = tg_im_widen(im, im->in[0]);
	enum tg_dtype t = tg_im_type(im, im->in[0]);
	uint32_t mask = spatial_mask(im, x);
	im->out[0] = tg_im_cast(im, im->row->arg == TG_OP_max ? tg_im_reduce(im, TG_OP_reduce_max, x, mask, true) : tg_im_mean(im, x, mask, true), t);
}

void tg_im_import_global_lp_pool(struct tg_im *im)
{
	tg_val x = tg_im_widen(im, im->in[0]);
	double p = norm_order(im);
	tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, power(im, x, p), spatial_mask(im, x), true);
	im->out[0] = tg_im_cast(im, root(im, sum, p), tg_im_type(im, im->in[0]));
}
