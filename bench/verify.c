/* verify.c: are the outputs right? */
#include <math.h>
#include <string.h>

#include "measure.h"

#define SAMPLES 4096
#define OUTLIER 8 /* a row's deviation over the rows' RMS: rounding errors are near normal, and 8 sigma do not happen */
#define SAMPLE_SEED UINT64_C(0x5eed)

static double nrmse_of(double diff2, double want2, uint64_t n)
{
	if (isnan(diff2) || isnan(want2))
		return INFINITY;
	return want2 > 0 ? sqrt(diff2 / want2) : n && diff2 > 0 ? INFINITY : 0;
}

static double compare(const struct tg_tensor *have, const struct tg_tensor *want)
{
	int64_t n = 0;
	double diff2 = 0, want2 = 0;
	if (have->dtype != want->dtype || !tg_shape_equal(&have->shape, &want->shape))
		return INFINITY;
	tg_shape_count(&want->shape, &n);
	for (int64_t i = 0; i < n; i++) {
		double h = tg_get_f64(have->dtype, have->data, (size_t)i), w = tg_get_f64(want->dtype, want->data, (size_t)i);
		if (h == w || (isnan(h) && isnan(w)))
			h = w = isfinite(w) ? w : 0; /* equal infinities have no difference */
		diff2 += (h - w) * (h - w);
		want2 += w * w;
	}
	return nrmse_of(diff2, want2, (uint64_t)n);
}

bool by_evaluator(struct tg_diag *d, struct tg_arena *a, const char *model, const struct tg_tensor *inputs, const struct tg_tensor *have, double *nrmse)
{
	struct tg_compiled c;
	struct tg_compile_options o = { .passes = { .stop_after = "expand" } };
	if (!tg_compile_file(d, a, model, &o, &c))
		return false;
	struct tg_tensor *want = tg_alloc_n(a, c.module->outputs.n + 1, sizeof *want);
	if (!tg_eval_module(d, a, c.module, inputs, want, NULL, NULL))
		return false;
	*nrmse = 0;
	for (size_t i = 0; i < c.module->outputs.n; i++)
		*nrmse = fmax(*nrmse, compare(&have[i], &want[i]));
	return true;
}

/* ---- products ---- */

static double sign_of(uint64_t i)
{
	uint64_t z = (i + SAMPLE_SEED) * UINT64_C(0x9e3779b97f4a7c15);
	return (z ^ z >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 63 ? 1 : -1;
}

/* One row of w at a time: w never is in memory as a whole. */
struct rows { const struct net *n; const struct net_tensor *w; float *row; int64_t k, cols; };

static const float *row_of(struct rows *r, int64_t k)
{
	net_fill(r->n, r->w, k * r->cols, r->cols, r->row);
	return r->row;
}

static double freivalds(struct tg_arena *a, struct rows *r, const float *x, const float *y, int64_t m)
{
	double *wr = tg_alloc_n(a, (size_t)r->k, sizeof *wr), diff2 = 0, want2 = 0, most = 0;
	for (int64_t k = 0; k < r->k; k++) {
		const float *w = row_of(r, k);
		for (int64_t j = 0; j < r->cols; j++)
			wr[k] += sign_of((uint64_t)j) * (double)w[j];
	}
	for (int64_t i = 0; i < m; i++) {
		double want = 0, have = 0;
		for (int64_t k = 0; k < r->k; k++)
			want += (double)x[i * r->k + k] * wr[k];
		for (int64_t j = 0; j < r->cols; j++)
			have += sign_of((uint64_t)j) * (double)y[i * r->cols + j];
		diff2 += (have - want) * (have - want);
		want2 += want * want;
		most = fmax(most, fabs(have - want));
	}
	if (most > OUTLIER * sqrt(diff2 / (double)m) && m > OUTLIER * OUTLIER)
		return INFINITY; /* one row is wrong */
	return nrmse_of(diff2, want2, (uint64_t)m);
}

/* 64 x 64 elements at random rows and columns. */
static double sampled(struct rows *r, const float *x, const float *y, int64_t m)
{
	enum { SIDE = 64 };
	_Static_assert(SIDE * SIDE == SAMPLES, "samples form a square");
	int64_t row[SIDE], column[SIDE];
	double sum[SIDE][SIDE] = { { 0 } }, diff2 = 0, want2 = 0;
	uint64_t z = SAMPLE_SEED;
	for (int i = 0; i < SIDE; i++) {
		z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		row[i] = (int64_t)((z >> 33) % (uint64_t)m);
		z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		column[i] = (int64_t)((z >> 33) % (uint64_t)r->cols);
	}
	for (int64_t k = 0; k < r->k; k++) {
		const float *w = row_of(r, k);
		for (int i = 0; i < SIDE; i++)
			for (int j = 0; j < SIDE; j++)
				sum[i][j] += (double)x[row[i] * r->k + k] * (double)w[column[j]];
	}
	for (int i = 0; i < SIDE; i++)
		for (int j = 0; j < SIDE; j++) {
			double diff = (double)y[row[i] * r->cols + column[j]] - sum[i][j];
			diff2 += diff * diff;
			want2 += sum[i][j] * sum[i][j];
		}
	return nrmse_of(diff2, want2, SAMPLES);
}

bool by_freivalds(struct tg_diag *d, struct tg_arena *a, const struct net *n, const struct tg_tensor *x, const struct tg_tensor *y, double *nrmse)
{
	struct net_tensor w = n->weights.at[0];
	if (n->weights.n != 1 || w.dtype != TG_f32 || x->dtype != TG_f32 || y->dtype != TG_f32)
		return tg_usage(d, TG_NOWHERE, "only products of f32 tensors with one weight can be sampled");
	struct rows r = { n, &w, tg_alloc_n(a, (size_t)w.shape.dim[1], sizeof(float)), w.shape.dim[0], w.shape.dim[1] };
	*nrmse = fmax(freivalds(a, &r, x->data, y->data, n->o.m), sampled(&r, x->data, y->data, n->o.m));
	return true;
}
