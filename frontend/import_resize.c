/* import_resize.c: Resize and Upsample: one `interp` for each axis that changes, with tables of indices and weights.
 *
 * The tables are computed in double. For output o the place in the operand is found by the coordinate mode; its neighbours (1 for nearest, 2 for
 * linear, 4 for cubic, more when antialiased) get weights; neighbours beyond the edge are the edge, or are left out and the rest rescaled. */
#include "import.h"

#include <math.h>
#include <string.h>

enum { TABLE_MAX = 1 << 24 };
enum mode { NEAREST, LINEAR, CUBIC };
enum coord { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, TF_CROP, TF_HALF_PIXEL, N_COORDS };
enum nearest { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, SIMPLE };

struct resize {
	enum mode mode;
	enum coord coord;
	enum nearest nearest;
	double cubic_a, extrapolation;
	bool exclude_outside, antialias;
	/* for each axis of the operand */
	int64_t out[TG_MAX_RANK];
	double scale[TG_MAX_RANK], roi_lo[TG_MAX_RANK], roi_hi[TG_MAX_RANK];
};

static uint32_t choose(struct tg_im *im, const char *name, const char *dflt, const char *const *words, uint32_t n)
{
	const char *s = tg_im_str(im, name, dflt);
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(s, words[i]))
			return i;
	tg_im_error(im, "attribute %s is %s, which Resize does not know", name, tg_quoted(im->tmp, s));
	return 0;
}

/* ---- coordinates ---- */

static double place(const struct resize *r, uint32_t axis, int64_t in, int64_t o)
{
	double n = (double)in, out = (double)r->out[axis], scale = r->scale[axis], x = (double)o;
	switch (r->coord) {
	case HALF_PIXEL_SYMMETRIC: {
		double adjustment = out / (scale * n);
		return n / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5;
	}
	case PYTORCH_HALF_PIXEL:
		return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
	case ALIGN_CORNERS:
		return out > 1 ? x * (n - 1) / (out - 1) : 0;
	case ASYMMETRIC:
		return x / scale;
	case TF_HALF_PIXEL:
		return (x + 0.5) / scale;
	case TF_CROP:
		return out > 1 ? r->roi_lo[axis] * (n - 1) + x * (r->roi_hi[axis] - r->roi_lo[axis]) * (n - 1) / (out - 1)
			       : 0.5 * (r->roi_lo[axis] + r->roi_hi[axis]) * (n - 1);
	default:
		return (x + 0.5) / scale - 0.5;
	}
}

static int64_t nearest_index(enum nearest how, double x, double scale)
{
	switch (how) {
	case ROUND_PREFER_FLOOR:
		return (int64_t)ceil(x - 0.5);
	case ROUND_PREFER_CEIL:
		return (int64_t)floor(x + 0.5);
	case CEIL:
		return (int64_t)ceil(x);
	case SIMPLE:
		return scale < 1 ? (int64_t)ceil(x) : (int64_t)x;
	default:
		return (int64_t)floor(x);
	}
}

/* ---- weights of the neighbours base + first ... base + first + n - 1, for a place at base + ratio ---- */

static double linear_weight(double d)
{
	d = fabs(d);
	return d < 1 ? 1 - d : 0;
}

/* Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15 with a general a */
static double cubic_weight(double d, double a)
{
	d = fabs(d);
	if (d <= 1)
		return ((a + 2) * d - (a + 3)) * d * d + 1;
	return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* An antialiasing filter is the same one, stretched by 1 / scale. */
static int64_t first_tap(const struct resize *r, double scale)
{
	double half = r->mode == LINEAR ? 1 : 2;
	return (int64_t)floor(-half / scale) + 1;
}

struct table { int32_t *index; float *weight; int64_t taps; };

static void fill_row(const struct resize *r, uint32_t axis, int64_t in, int64_t o, const struct table *t)
{
	double x = place(r, axis, in, o), scale = r->antialias && r->scale[axis] < 1 ? r->scale[axis] : 1, total = 0;
	int32_t *index = t->index + o * t->taps;
	if (r->coord == TF_CROP && (x < 0 || x > (double)(in - 1))) {
		for (int64_t k = 0; k < t->taps; k++) {
			index[k] = -1;
			if (t->weight)
				t->weight[o * t->taps + k] = k == 0;
		}
		return;
	}
	if (r->mode == NEAREST) {
		int64_t i = nearest_index(r->nearest, x, r->scale[axis]);
		index[0] = (int32_t)(i < 0 ? 0 : i >= in ? in - 1 : i);
		return;
	}
	/* the pixel on the left is preferred: 0 < ratio <= 1 */
	double base = ceil(x) - 1, ratio = x - base;
	int64_t first = first_tap(r, scale);
	float *out = t->weight + o * t->taps;
	for (uint32_t pass = 0; pass < 2; pass++)
		for (int64_t k = 0; k < t->taps; k++) {
			double d = ((double)(first + k) - ratio) * scale, i = base + (double)(first + k);
			double v = r->mode == LINEAR ? linear_weight(d) : cubic_weight(d, r->cubic_a);
			v = r->exclude_outside && (i < 0 || i >= (double)in) ? 0 : v;
			index[k] = (int32_t)(i < 0 ? 0 : i >= (double)in ? (double)(in - 1) : i);
			if (pass == 0)
				total += v;
			else
				out[k] = (float)(v / (total != 0 ? total : 1));
		}
}

static tg_val resize_axis(struct tg_im *im, tg_val x, const struct resize *r, uint32_t axis)
{
	int64_t in = tg_im_shape(im, x)->dim[axis], out = r->out[axis];
	double scale = r->antialias && r->scale[axis] < 1 ? r->scale[axis] : 1;
	struct table t = { NULL, NULL, 1 };
	if (r->mode != NEAREST) {
		if (scale * TABLE_MAX < 8) {
			tg_im_refuse(im, "Resize by a factor of %g", r->scale[axis]);
			return x;
		}
		t.taps = 2 - 2 * first_tap(r, scale);
	}
	if (in == 0 || in > INT32_MAX || out * t.taps > TABLE_MAX || out > TABLE_MAX) {
		tg_im_refuse(im, "Resize of an axis from %lld to %lld elements", (long long)in, (long long)out);
		return x;
	}
	t.index = tg_alloc_n(im->arena, (size_t)(out * t.taps) + 1, sizeof *t.index);
	t.weight = r->mode == NEAREST ? NULL : tg_alloc_n(im->arena, (size_t)(out * t.taps) + 1, sizeof *t.weight);
	for (int64_t o = 0; o < out; o++)
		fill_row(r, axis, in, o, &t);
	struct tg_shape s = { 2, { out, t.taps } };
	union tg_attr a[4];
	a[TG_AT(interp, axis)].i = axis;
	a[TG_AT(interp, index)].c = tg_const_dense(im->arena, TG_i32, &s, t.index, true);
	a[TG_AT(interp, weight)].c = t.weight ? tg_const_dense(im->arena, TG_f32, &s, t.weight, true) : NULL;
	a[TG_AT(interp, outside)].f = r->extrapolation;
	return tg_im_op(im, TG_OP_interp, &x, 1, a);
}

static tg_val resize(struct tg_im *im, tg_val x, const struct resize *r)
{
	enum tg_dtype t = tg_im_type(im, x);
	bool widen = r->mode != NEAREST && t != TG_f32 && t != TG_f64;
	tg_val y = widen ? tg_im_cast(im, x, TG_f32) : x;
	for (uint32_t i = 0; i < tg_im_rank(im, x) && !im->failed; i++) {
		bool crop = r->coord == TF_CROP && (r->roi_lo[i] != 0 || r->roi_hi[i] != 1);
		if (r->out[i] != tg_im_shape(im, x)->dim[i] || crop || r->scale[i] != 1)
			y = resize_axis(im, y, r, i);
	}
	return tg_im_cast(im, y, t);
}

/* ---- operands ---- */

static bool numbers(struct tg_im *im, uint32_t k, const char *what, const struct tg_const **c, int64_t *n)
{
	*n = 0;
	*c = NULL;
	if (!tg_im_in(im, k) || tg_im_count(im, im->in[k]) == 0)
		return false;
	*c = tg_im_const(im, im->in[k], what, true);
	*n = tg_im_count(im, im->in[k]);
	return *c;
}

static bool set_scales(struct tg_im *im, struct resize *r, const uint32_t *axis, uint32_t n, const double *scale)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	for (uint32_t i = 0; i < n; i++) {
		if (!(scale[i] > 0) || scale[i] * (double)s->dim[axis[i]] > INT32_MAX) {
			tg_im_error(im, "scale %u of the operator is %g", i, scale[i]);
			return false;
		}
		r->scale[axis[i]] = scale[i];
		/* as in single precision, where 0.7 x 10 is 7 */
		r->out[axis[i]] = (int64_t)floorf((float)scale[i] * (float)s->dim[axis[i]]);
	}
	return true;
}

static bool set_sizes(struct tg_im *im, struct resize *r, const uint32_t *axis, uint32_t n, const struct tg_const *sizes)
{
	static const char *const policies[] = { "stretch", "not_larger", "not_smaller" };
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	uint32_t policy = im->opset >= 18 ? choose(im, "keep_aspect_ratio_policy", "stretch", policies, 3) : 0;
	double common = 0;
	for (uint32_t i = 0; i < n; i++) {
		int64_t want = tg_const_i64(sizes, i), have = s->dim[axis[i]];
		if (want < 0 || want > INT32_MAX || have == 0) {
			tg_im_error(im, "size %u of Resize is %lld, from %lld", i, (long long)want, (long long)have);
			return false;
		}
		double scale = (double)want / (double)have;
		common = i == 0 || (policy == 1 ? scale < common : scale > common) ? scale : common;
		r->out[axis[i]] = want;
		r->scale[axis[i]] = scale;
	}
	for (uint32_t i = 0; policy && i < n; i++) {
		r->scale[axis[i]] = common;
		r->out[axis[i]] = (int64_t)floor(common * (double)s->dim[axis[i]] + 0.5);
	}
	return true;
}

static bool read_axes(struct tg_im *im, uint32_t *axis, uint32_t *n)
{
	struct tg_ints given;
	uint32_t rank = tg_im_rank(im, im->in[0]);
	bool has = im->opset >= 18 && tg_im_attr_ints(im, "axes", &given);
	*n = has ? given.n : rank;
	if (has)
		tg_im_axes(im, given, rank);
	for (uint32_t i = 0; i < *n && !im->failed; i++)
		axis[i] = has ? tg_im_axis(im, given.at[i], rank) : i;
	return !im->failed;
}

static bool read_roi(struct tg_im *im, struct resize *r, const uint32_t *axis, uint32_t n)
{
	const struct tg_const *c;
	int64_t have;
	if (r->coord != TF_CROP)
		return true;
	if (!numbers(im, 1, "roi of Resize", &c, &have))
		return !im->failed;
	if (have != 2 * (int64_t)n) {
		tg_im_error(im, "roi has %lld elements, expected %u", (long long)have, 2 * n);
		return false;
	}
	for (uint32_t i = 0; i < n; i++) {
		r->roi_lo[axis[i]] = tg_const_f64(c, i);
		r->roi_hi[axis[i]] = tg_const_f64(c, i + n);
	}
	return true;
}

static void begin(struct tg_im *im, struct resize *r)
{
	*r = (struct resize){ .mode = NEAREST };
	for (uint32_t i = 0; i < tg_im_rank(im, im->in[0]); i++) {
		r->out[i] = tg_im_shape(im, im->in[0])->dim[i];
		r->scale[i] = r->roi_hi[i] = 1;
	}
}

static void read_attrs(struct tg_im *im, struct resize *r)
{
	static const char *const modes[] = { "nearest", "linear", "cubic" };
	static const char *const coords[] = { "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
					      "tf_half_pixel_for_nn" };
	static const char *const nearests[] = { "round_prefer_floor", "round_prefer_ceil", "floor", "ceil" };
	r->mode = (enum mode)choose(im, "mode", "nearest", modes, 3);
	r->coord = (enum coord)choose(im, "coordinate_transformation_mode", "half_pixel", coords, N_COORDS);
	r->nearest = (enum nearest)choose(im, "nearest_mode", "round_prefer_floor", nearests, 4);
	r->cubic_a = tg_im_float(im, "cubic_coeff_a", -0.75);
	r->extrapolation = tg_im_float(im, "extrapolation_value", 0);
	r->exclude_outside = tg_im_int(im, "exclude_outside", 0);
	r->antialias = im->opset >= 18 && tg_im_int(im, "antialias", 0) && r->mode != NEAREST;
}

void tg_im_import_resize(struct tg_im *im)
{
	struct resize r;
	uint32_t axis[TG_MAX_RANK], n;
	const struct tg_const *scales = NULL, *sizes = NULL;
	int64_t n_scales, n_sizes = 0;
	double scale[TG_MAX_RANK];
	if (!tg_im_in(im, 0)) {
		tg_im_error(im, "Resize has no operand");
		return;
	}
	begin(im, &r);
	read_attrs(im, &r);
	if (im->failed || !read_axes(im, axis, &n) || !read_roi(im, &r, axis, n))
		return;
	numbers(im, 2, "scales of Resize", &scales, &n_scales);
	numbers(im, 3, "sizes of Resize", &sizes, &n_sizes);
	if (im->failed)
		return;
	if (!scales == !sizes || (scales ? n_scales : n_sizes) != (int64_t)n) {
		tg_im_error(im, "Resize needs %u scales or sizes, it has %lld and %lld", n, (long long)n_scales, (long long)n_sizes);
		return;
	}
	for (uint32_t i = 0; scales && i < n; i++)
		scale[i] = tg_const_f64(scales, i);
	if (scales ? set_scales(im, &r, axis, n, scale) : set_sizes(im, &r, axis, n, sizes))
		im->out[0] = resize(im, im->in[0], &r);
}

/* Upsample and the first Resize: scales alone, asymmetric. */
void tg_im_import_upsample(struct tg_im *im)
{
	static const char *const modes[] = { "nearest", "linear", "bilinear" };
	struct resize r;
	uint32_t axis[TG_MAX_RANK], rank = tg_im_rank(im, im->in[0]);
	double scale[TG_MAX_RANK];
	const double *given = NULL;
	uint32_t n_given = 0;
	const struct tg_const *c;
	int64_t n;
	begin(im, &r);
	r.mode = choose(im, "mode", "nearest", modes, 3) ? LINEAR : NEAREST;
	r.coord = ASYMMETRIC;
	r.nearest = SIMPLE;
	if (numbers(im, 1, "scales of Upsample", &c, &n)) {
		for (uint32_t i = 0; i < rank && i < n; i++)
			scale[i] = tg_const_f64(c, i);
	} else if (!im->failed && tg_im_attr_floats(im, "scales", &given, &n_given)) {
		n = n_given;
		for (uint32_t i = 0; i < rank && i < n; i++)
			scale[i] = given[i];
	} else if (!im->failed && rank == 4 && tg_im_has(im, "height_scale")) {
		n = 4;
		scale[0] = scale[1] = 1;
		scale[2] = tg_im_float(im, "height_scale", 1);
		scale[3] = tg_im_float(im, "width_scale", 1);
	}
	if (!im->failed && n != (int64_t)rank)
		tg_im_error(im, "the operator has %lld scales, expected %u", (long long)n, rank);
	for (uint32_t i = 0; i < rank; i++)
		axis[i] = i;
	if (!im->failed && set_scales(im, &r, axis, rank, scale))
		im->out[0] = resize(im, im->in[0], &r);
}
