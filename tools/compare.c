/* compare.c: how far a tensor is from the expected one. */
#include "tensor_files.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* Distance of two numbers in units of the last place of the tensor's type, by the order of their bit patterns. */
static double ulps(enum tg_dtype t, double have, double want)
{
	uint32_t mantissa = t == TG_f64 ? 52 : t == TG_f32 ? 23 : t == TG_f16 ? 10 : t == TG_bf16 ? 7 : 2;
	int exponent;
	double m = fabs(want) > fabs(have) ? want : have;
	if (m == 0)
		return 0;
	frexp(m, &exponent);
	return fabs(have - want) / ldexp(1, exponent - 1 - (int)mantissa);
}

struct sums { double dot, have2, want2, diff2; int64_t n_finite; };

/* False: the elements do not count as equal under the tolerance. */
static bool element(const struct tg_tolerance *tol, enum tg_dtype t, double have, double want, struct tg_comparison *c, struct sums *s, double *violation)
{
	*violation = 0;
	if (isnan(want) || isnan(have) || isinf(want) || isinf(have)) {
		bool same = (isnan(want) && isnan(have)) || want == have;
		if (!same) {
			c->max_abs = c->max_rel = c->max_ulp = c->rtol_needed = INFINITY;
			*violation = INFINITY;
		}
		return same;
	}
	double diff = fabs(have - want), rel = diff == 0 ? 0 : want != 0 ? diff / fabs(want) : INFINITY;
	c->max_abs = fmax(c->max_abs, diff);
	c->max_rel = fmax(c->max_rel, rel);
	c->max_ulp = fmax(c->max_ulp, ulps(t, have, want));
	if (diff > tol->atol)
		c->rtol_needed = fmax(c->rtol_needed, want != 0 ? (diff - tol->atol) / fabs(want) : INFINITY);
	s->dot += have * want;
	s->have2 += have * have;
	s->want2 += want * want;
	s->diff2 += diff * diff;
	s->n_finite++;
	*violation = diff - tol->atol - tol->rtol * fabs(want);
	return *violation <= 0;
}

static void compare_floats(const struct tg_tensor *have, const struct tg_tensor *want, const struct tg_tolerance *tol, struct tg_comparison *c)
{
	struct sums s = { 0 };
	bool odd = false;
	double worst = -INFINITY;
	for (int64_t i = 0; i < c->n; i++) {
		double h = tg_get_f64(have->dtype, have->data, (size_t)i), w = tg_get_f64(want->dtype, want->data, (size_t)i), violation;
		bool ok = element(tol, want->dtype, h, w, c, &s, &violation);
		odd |= isinf(violation);
		c->n_bad += !ok;
		if (violation > worst && (h != w) && !(isnan(h) && isnan(w))) {
			worst = violation;
			c->worst = i;
			c->worst_have = h;
			c->worst_want = w;
		}
	}
	c->cosine = s.have2 > 0 && s.want2 > 0 ? s.dot / sqrt(s.have2) / sqrt(s.want2) : s.have2 == s.want2 ? 1 : 0;
	c->sqnr_db = s.diff2 > 0 ? 10 * log10(s.want2 / s.diff2) : INFINITY;
	double rms_diff = s.n_finite ? sqrt(s.diff2 / (double)s.n_finite) : 0, rms_want = s.n_finite ? sqrt(s.want2 / (double)s.n_finite) : 0;
	c->nrmse = odd ? INFINITY : rms_want > 0 ? rms_diff / rms_want : rms_diff;
	/* with no reference power the bound is absolute */
	if (tol->use_nrmse)
		c->ok = c->nrmse <= (rms_want > 0 ? tol->nrmse : 1e-7);
	else
		c->ok = c->n_bad == 0;
}

static void compare_ints(const struct tg_tensor *have, const struct tg_tensor *want, struct tg_comparison *c)
{
	double worst = 0;
	for (int64_t i = 0; i < c->n; i++) {
		int64_t h = tg_get_i64(have->dtype, have->data, (size_t)i), w = tg_get_i64(want->dtype, want->data, (size_t)i);
		double diff = fabs((double)h - (double)w);
		if (h == w)
			continue;
		c->n_bad++;
		diff = diff > 0 ? diff : 1;
		if (diff > worst) {
			worst = diff;
			c->worst = i;
			c->worst_have = (double)h;
			c->worst_want = (double)w;
		}
		c->max_abs = fmax(c->max_abs, diff);
		c->max_rel = fmax(c->max_rel, w ? diff / fabs((double)w) : INFINITY);
	}
	c->max_ulp = c->max_abs;
	c->rtol_needed = c->n_bad ? INFINITY : 0;
	c->ok = c->n_bad == 0;
}

void tg_compare(const struct tg_tensor *have, const struct tg_tensor *want, const struct tg_tolerance *tol, struct tg_comparison *out)
{
	memset(out, 0, sizeof *out);
	out->worst = -1;
	out->cosine = 1;
	out->sqnr_db = INFINITY;
	out->same_type = have->dtype == want->dtype;
	out->same_shape = tg_shape_equal(&have->shape, &want->shape) && tg_shape_count(&want->shape, &out->n);
	if (!out->same_type || !out->same_shape)
		return;
	if (tg_is_float(want->dtype))
		compare_floats(have, want, tol, out);
	else
		compare_ints(have, want, out);
}

void tg_comparison_print(struct tg_buf *b, const struct tg_comparison *c)
{
	if (!c->same_type || !c->same_shape) {
		tg_buf_printf(b, "another %s", c->same_type ? "shape" : "type");
		return;
	}
	tg_buf_printf(b, "max abs %.3g, rel %.3g, ulp %.3g, cosine %.9g, SQNR %.4g dB, nrmse %.3g, rtol needed %.3g", c->max_abs, c->max_rel, c->max_ulp, c->cosine,
		      c->sqnr_db, c->nrmse, c->rtol_needed);
	if (c->worst >= 0)
		tg_buf_printf(b, ", worst at %lld: %.9g, expected %.9g", (long long)c->worst, c->worst_have, c->worst_want);
	if (c->n_bad)
		tg_buf_printf(b, ", %lld of %lld differ", (long long)c->n_bad, (long long)c->n);
}

/* ---- tolerance.json ---- */

static bool number_of(struct tg_diag *d, const char *path, const json_t *root, const char *key, double *out)
{
	const json_t *v = json_object_get(root, key);
	if (!v)
		return true;
	*out = json_number_value(v);
	return (json_is_number(v) && *out >= 0) || tg_error(d, tg_at_file(path), "%s is not a number of at least 0", key);
}

bool tg_tolerance_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tolerance *out)
{
	struct tg_file f;
	struct tg_diag quiet;
	tg_diag_init(&quiet, a);
	if (!tg_file_map(&quiet, a, path, 65536, &f))
		return true;
	json_error_t e;
	json_t *root = json_loadb((const char *)f.at, f.n, JSON_REJECT_DUPLICATES, &e);
	tg_file_unmap(&f);
	if (!json_is_object(root)) {
		json_decref(root);
		return tg_error(d, tg_at_line(path, (uint32_t)(e.line > 0 ? e.line : 1), 0), "not a JSON object: %s", tg_quoted(d->arena, e.text));
	}
	out->use_nrmse = json_object_get(root, "nrmse");
	bool ok = number_of(d, path, root, "rtol", &out->rtol) && number_of(d, path, root, "atol", &out->atol) && number_of(d, path, root, "nrmse", &out->nrmse);
	json_decref(root);
	return ok;
}
