/* import_window.c: the window functions of signal processing, sums of cosines over a constant number of points. */
#include "import.h"

#include <math.h>

enum { MAX_POINTS = 1 << 20, BLACKMAN = 0, HAMMING = 1, HANN = 2 };

void tg_im_import_window(struct tg_im *im)
{
	static const double terms[3][3] = { { 0.42, -0.5, 0.08 }, { 25.0 / 46, -21.0 / 46, 0 }, { 0.5, -0.5, 0 } };
	struct tg_ints size = { NULL, 0 };
	int64_t code = tg_im_int(im, "output_datatype", 1);
	enum tg_dtype t = code > 0 && code < 64 ? tg_dtype_from_onnx((int32_t)code) : TG_none;
	bool periodic = tg_im_int(im, "periodic", 1);
	if (!tg_im_ints(im, im->n_in ? im->in[0] : (tg_val){ 0 }, "length of a window", &size))
		return;
	if (size.n != 1 || size.at[0] < 0 || size.at[0] > MAX_POINTS || (t != TG_f32 && t != TG_f64 && t != TG_f16 && t != TG_bf16)) {
		tg_im_refuse(im, "a window of that length or type: 0 to %d points of a float type are supported", MAX_POINTS);
		return;
	}
	int64_t n = size.at[0];
	double period = (double)(periodic || n < 2 ? n : n - 1);
	const double *a = terms[im->row->arg];
	double *v = tg_alloc_n(im->arena, (size_t)n + 1, sizeof *v);
	for (int64_t i = 0; i < n; i++) {
		double angle = 2 * 3.14159265358979323846 * (double)i / period;
		v[i] = a[0] + a[1] * cos(angle) + a[2] * cos(2 * angle);
	}
	struct tg_shape s = { 1, { n } };
	im->out[0] = tg_im_cast(im, tg_im_put_const(im, tg_const_dense(im->arena, TG_f64, &s, v, true)), t);
}
