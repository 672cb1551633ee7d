/* numerics.c: the transcendentals against MPFR, the conversions against the definitions in base/.
 *
 * MPFR gives the exact value to 80 bits; the error is measured in units of the last place of the result's binade. A stride of the whole
 * float range is tested, with TG_NUMERICS_STRIDE=1 all of it. */
#include "check_run.h"
#include "isa.h"
#include "numerics.h"

#include <math.h>
#include <mpfr.h>
#include <stdlib.h>

static int rec(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_ui_div(r, 1, x, m); }
static int rec_sqrt(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_rec_sqrt(r, x, m); }
static int exp_2(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_exp2(r, x, m); }
static int log_2(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_log2(r, x, m); }
static int tanh_(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_tanh(r, x, m); }
static int erf_(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_erf(r, x, m); }
static int sin_(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_sin(r, x, m); }
static int cos_(mpfr_t r, mpfr_t x, mpfr_rnd_t m) { return mpfr_cos(r, x, m); }

static const struct {
	const char *name;
	uint32_t (*ours)(uint32_t);
	int (*exact)(mpfr_t, mpfr_t, mpfr_rnd_t);
	uint32_t at_nan, at_inf, at_minus_inf, at_zero, at_minus_zero, at_minus_one;
} fns[] = {
	{"exp2", tg_f32_exp2, exp_2, TG_F32_NAN, TG_F32_INF, 0, 0x3f800000, 0x3f800000, 0x3f000000},
	{"log2", tg_f32_log2, log_2, TG_F32_NAN, TG_F32_INF, TG_F32_NAN, 0xff800000, 0xff800000, TG_F32_NAN},
	{"rcp", tg_f32_rcp, rec, TG_F32_NAN, 0, 0x80000000, TG_F32_INF, 0xff800000, 0xbf800000},
	{"rsqrt", tg_f32_rsqrt, rec_sqrt, TG_F32_NAN, 0, TG_F32_NAN, TG_F32_INF, 0xff800000, TG_F32_NAN},
	{"tanh", tg_f32_tanh, tanh_, TG_F32_NAN, 0x3f800000, 0xbf800000, 0, 0x80000000, 0xbf42f7d5},
	{"erf", tg_f32_erf, erf_, TG_F32_NAN, 0x3f800000, 0xbf800000, 0, 0x80000000, 0xbf57bb3d},
	{"sin", tg_f32_sin, sin_, TG_F32_NAN, TG_F32_NAN, TG_F32_NAN, 0, 0x80000000, 0xbf576aa5},
	{"cos", tg_f32_cos, cos_, TG_F32_NAN, TG_F32_NAN, TG_F32_NAN, 0x3f800000, 0x3f800000, 0x3f0a5140},
};

/* |ours - exact| in ulp of the exact value's binade; a result past the largest float counts as 2^128. */
static double error_ulp(uint32_t got, mpfr_t want)
{
	float g = tg_float(got);
	mpfr_t e;
	if (mpfr_nan_p(want))
		return got == TG_F32_NAN ? 0 : INFINITY;
	if (mpfr_inf_p(want) || g != g)
		return isinf(g) && (g < 0) == (mpfr_sgn(want) < 0) ? 0 : INFINITY;
	if (isinf(g) && mpfr_get_exp(want) > 128) /* past 2^128: what overflow gives */
		return (g < 0) == (mpfr_sgn(want) < 0) ? 0 : INFINITY;
	mpfr_init2(e, 80);
	if (isinf(g))
		mpfr_set_ui_2exp(e, 1, 128, MPFR_RNDN), mpfr_setsign(e, e, g < 0, MPFR_RNDN);
	else
		mpfr_set_flt(e, g, MPFR_RNDN);
	long exponent = mpfr_zero_p(want) || mpfr_get_exp(want) < -125 ? -125 : mpfr_get_exp(want) > 128 ? 128 : mpfr_get_exp(want);
	mpfr_sub(e, e, want, MPFR_RNDN);
	mpfr_mul_2si(e, e, 24 - exponent, MPFR_RNDN);
	double u = fabs(mpfr_get_d(e, MPFR_RNDN));
	mpfr_clear(e);
	return u;
}

static uint32_t stride(void)
{
	const char *s = getenv("TG_NUMERICS_STRIDE");
	return s ? (uint32_t)strtoul(s, NULL, 10) : 20011;
}

START_TEST(within_two_ulp)
{
	mpfr_t x, y;
	double worst = 0;
	uint32_t at = 0;
	mpfr_init2(x, 24);
	mpfr_init2(y, 80);
	for (uint64_t u = 0; u < UINT64_C(1) << 32; u += stride()) {
		float v = tg_float((uint32_t)u);
		if (v != v || (fns[_i].ours == tg_f32_exp2 && fabsf(v) > 200))
			continue;
		mpfr_set_flt(x, v, MPFR_RNDN);
		fns[_i].exact(y, x, MPFR_RNDN);
		double e = error_ulp(fns[_i].ours((uint32_t)u), y);
		if (e > worst) {
			worst = e;
			at = (uint32_t)u;
		}
	}
	mpfr_clears(x, y, (mpfr_ptr)0);
	printf("%s: %.3f ulp at %08x\n", fns[_i].name, worst, at);
	ck_assert_msg(worst <= 2, "%s: %.3f ulp at %08x", fns[_i].name, worst, at);
}
END_TEST

START_TEST(special_values)
{
	ck_assert_uint_eq(fns[_i].ours(0x7fc00000), fns[_i].at_nan);
	ck_assert_uint_eq(fns[_i].ours(0xffc12345), fns[_i].at_nan);
	ck_assert_uint_eq(fns[_i].ours(0x7f800001), fns[_i].at_nan);
	ck_assert_uint_eq(fns[_i].ours(0x7f800000), fns[_i].at_inf);
	ck_assert_uint_eq(fns[_i].ours(0xff800000), fns[_i].at_minus_inf);
	ck_assert_uint_eq(fns[_i].ours(0), fns[_i].at_zero);
	ck_assert_uint_eq(fns[_i].ours(0x80000000), fns[_i].at_minus_zero);
	ck_assert_uint_eq(fns[_i].ours(0xbf800000), fns[_i].at_minus_one);
}
END_TEST

/* exp2 past both ends of the range, and exact at whole numbers */
START_TEST(exp2_ends)
{
	ck_assert_uint_eq(tg_f32_exp2(tg_bits(128)), TG_F32_INF);
	ck_assert_uint_eq(tg_f32_exp2(tg_bits(1e30f)), TG_F32_INF);
	ck_assert_uint_eq(tg_f32_exp2(tg_bits(-150)), 0);
	ck_assert_uint_eq(tg_f32_exp2(tg_bits(-149)), 1);
	ck_assert_uint_eq(tg_f32_exp2(tg_bits(-1e30f)), 0);
	for (int n = -149; n < 128; n++)
		ck_assert_uint_eq(tg_f32_exp2(tg_bits((float)n)), tg_bits(ldexpf(1, n)));
}
END_TEST

/* rcp_core divides; the chip's definition is a guess and four Newton steps */
START_TEST(reciprocal_steps)
{
	for (uint32_t bits = 0x3f800000; bits < 0x40000000; bits++) {
		float m = tg_float(bits), y = tg_float(UINT32_C(0x7ef311c7) - bits);
		for (int i = 0; i < 4; i++)
			y = fmaf(y, fmaf(-m, y, 1.0f), y);
		ck_assert_msg(tg_rcp_core(m) == y, "1/%a = %a, expected %a", (double)m, (double)tg_rcp_core(m), (double)y);
	}
}
END_TEST

/* Every value of the narrow formats; every f32 pattern of the stride rounds as base/ defines it. */
static const struct {
	enum tg_dtype type;
	unsigned bits;
	uint32_t (*from)(uint32_t), (*to)(uint32_t);
	uint32_t nan;
} formats[] = {
	{TG_bf16, 16, tg_from_bf16, tg_to_bf16, 0x7fc0},
	{TG_f16, 16, tg_from_f16, tg_to_f16, 0x7e00},
	{TG_f8e4m3fn, 8, tg_from_e4m3, tg_to_e4m3, 0x7f},
	{TG_f8e5m2, 8, tg_from_e5m2, tg_to_e5m2, 0x7f},
};

START_TEST(narrow_formats)
{
	for (uint32_t h = 0; h < 1u << formats[_i].bits; h++) {
		double want = tg_get_f64(formats[_i].type, &h, 0);
		uint32_t got = formats[_i].from(h);
		if (want != want)
			ck_assert_uint_eq(got, TG_F32_NAN);
		else
			ck_assert_uint_eq(got, tg_bits((float)want));
		if (want == want && !isinf(want))
			ck_assert_uint_eq(formats[_i].to(got), h);
	}
	for (uint64_t u = 0; u < UINT64_C(1) << 32; u += 4001) {
		float v = tg_float((uint32_t)u);
		uint32_t want = 0, got = formats[_i].to((uint32_t)u);
		tg_put_f64(formats[_i].type, &want, 0, v);
		if (v != v)
			ck_assert_uint_eq(got, formats[_i].nan);
		else
			ck_assert_msg(got == want, "%08x: %x, expected %x", (uint32_t)u, got, want);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("numerics");
	TCase *t = tcase_create("numerics");
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, within_two_ulp, 0, TG_ARRAY_LEN(fns));
	tcase_add_loop_test(t, special_values, 0, TG_ARRAY_LEN(fns));
	tcase_add_test(t, exp2_ends);
	tcase_add_test(t, reciprocal_steps);
	tcase_add_loop_test(t, narrow_formats, 0, TG_ARRAY_LEN(formats));
	suite_add_tcase(s, t);
	return run_suite(s);
}
