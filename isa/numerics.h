/* numerics.h: the chip's arithmetic, defined to the bit. docs/numerics.md states formulas and bounds.
 *
 * f32 is IEEE 754 binary32, round to nearest even, denormals kept; a NaN result is 0x7fc00000. Everything here uses only IEEE add,
 * subtract, multiply, fma, conversions and integer operations, so that two hosts cannot differ. The host must be in its default
 * floating-point environment and the file compiled with -ffp-contract=off. Functions are branch-free where that is cheap, so that loops
 * over lanes vectorise; they are inline so that the simulator can compile them for several levels of the host's instruction set
 * (without hardware fma, __builtin_fmaf is libm's correctly rounded one: same bits, slower). */
#ifndef TG_NUMERICS_H
#define TG_NUMERICS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TG_F32_NAN UINT32_C(0x7fc00000)
#define TG_F32_INF UINT32_C(0x7f800000)

static inline uint32_t tg_bits(float v)
{
	uint32_t u;
	memcpy(&u, &v, sizeof u);
	return u;
}

static inline float tg_float(uint32_t u)
{
	float v;
	memcpy(&v, &u, sizeof v);
	return v;
}

/* Bits of v, NaN made canonical. */
static inline uint32_t tg_canon(float v)
{
	return v == v ? tg_bits(v) : TG_F32_NAN;
}

static inline uint32_t tg_sel(bool c, uint32_t a, uint32_t b)
{
	return c ? a : b;
}

/* 2^n as f32, -126 <= n <= 127 */
static inline float tg_pow2i(int32_t n)
{
	return tg_float((uint32_t)(n + 127) << 23);
}

/* ---- add, multiply, fma, minimum and maximum; operands and results as bits ---- */

static inline uint32_t tg_f32_add(uint32_t a, uint32_t b) { return tg_canon(tg_float(a) + tg_float(b)); }
static inline uint32_t tg_f32_sub(uint32_t a, uint32_t b) { return tg_canon(tg_float(a) - tg_float(b)); }
static inline uint32_t tg_f32_mul(uint32_t a, uint32_t b) { return tg_canon(tg_float(a) * tg_float(b)); }
static inline uint32_t tg_f32_fma(uint32_t a, uint32_t b, uint32_t c)
{
	return tg_canon(__builtin_fmaf(tg_float(a), tg_float(b), tg_float(c)));
}
static inline uint32_t tg_f32_fnma(uint32_t a, uint32_t b, uint32_t c)
{
	return tg_canon(__builtin_fmaf(-tg_float(a), tg_float(b), tg_float(c)));
}
static inline bool tg_f32_is_nan(uint32_t a) { return (a & 0x7fffffff) > TG_F32_INF; }
/* An integer that orders like the float: -0 below +0. NaNs are handled apart. */
static inline int32_t tg_f32_key(uint32_t a)
{
	return (int32_t)(a ^ ((uint32_t)((int32_t)a >> 31) & 0x7fffffff));
}
static inline uint32_t tg_f32_min(uint32_t a, uint32_t b)
{
	uint32_t m = tg_f32_key(a) < tg_f32_key(b) ? a : b;
	return tg_f32_is_nan(a) || tg_f32_is_nan(b) ? TG_F32_NAN : m;
}
static inline uint32_t tg_f32_max(uint32_t a, uint32_t b)
{
	uint32_t m = tg_f32_key(a) > tg_f32_key(b) ? a : b;
	return tg_f32_is_nan(a) || tg_f32_is_nan(b) ? TG_F32_NAN : m;
}
static inline uint32_t tg_f32_floor(uint32_t a) { return tg_canon(__builtin_floorf(tg_float(a))); }
static inline uint32_t tg_f32_ceil(uint32_t a) { return tg_canon(__builtin_ceilf(tg_float(a))); }
static inline uint32_t tg_f32_trunc(uint32_t a) { return tg_canon(__builtin_truncf(tg_float(a))); }
static inline uint32_t tg_f32_rne(uint32_t a) { return tg_canon(__builtin_rintf(tg_float(a))); }

/* ---- f32 to and from the narrow formats. Encoders return the narrow bits, decoders f32 bits ---- */

static inline uint32_t tg_to_bf16(uint32_t a)
{
	uint32_t r = (a + 0x7fff + (a >> 16 & 1)) >> 16;
	return tg_f32_is_nan(a) ? 0x7fc0 : r;
}
static inline uint32_t tg_from_bf16(uint32_t h)
{
	uint32_t a = h << 16;
	return tg_f32_is_nan(a) ? TG_F32_NAN : a;
}

/* Rounds |a| to a format with `man` fraction bits and the exponent bias `bias`, without a limit upwards: the caller cuts.
 * Small values: adding a power of two whose ulp is the format's smallest step lets the f32 adder do the rounding. */
static inline uint32_t tg_round_small(uint32_t mag, uint32_t man, uint32_t bias)
{
	uint32_t magic = (127 - bias + 23 - man + 1) << 23;
	return tg_bits(tg_float(mag) + tg_float(magic)) - magic;
}
static inline uint32_t tg_round_normal(uint32_t mag, uint32_t man, uint32_t bias)
{
	uint32_t shift = 23 - man;
	return (mag - ((127 - bias) << 23) + ((UINT32_C(1) << (shift - 1)) - 1) + (mag >> shift & 1)) >> shift;
}
static inline uint32_t tg_to_f16(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a >> 16 & 0x8000;
	uint32_t small = tg_round_small(mag < 0x38800000 ? mag : 0, 10, 15);
	uint32_t r = mag < 0x38800000 ? small : tg_round_normal(mag, 10, 15);
	r = mag >= 0x47800000 ? 0x7c00 : r;
	return mag > TG_F32_INF ? 0x7e00 : (r | sign);
}
static inline uint32_t tg_from_f16(uint32_t h)
{
	uint32_t mag = h & 0x7fff, sign = (h & 0x8000) << 16;
	uint32_t small = tg_bits((float)(int32_t)mag * 0x1p-24f);
	uint32_t r = mag < 0x400 ? small : (mag << 13) + (112u << 23);
	r = mag >= 0x7c00 ? TG_F32_INF : r;
	return mag > 0x7c00 ? TG_F32_NAN : (r | sign);
}
static inline uint32_t tg_to_e5m2(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a >> 24 & 0x80;
	uint32_t small = tg_round_small(mag < 0x38800000 ? mag : 0, 2, 15);
	uint32_t r = mag < 0x38800000 ? small : tg_round_normal(mag < TG_F32_INF ? mag : TG_F32_INF, 2, 15);
	r = r > 0x7b ? 0x7b : r;
	return mag > TG_F32_INF ? 0x7f : (r | sign);
}
static inline uint32_t tg_from_e5m2(uint32_t h)
{
	return tg_from_f16((h & 0xff) << 8);
}
static inline uint32_t tg_to_e4m3(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a >> 24 & 0x80;
	uint32_t small = tg_round_small(mag < 0x3c800000 ? mag : 0, 3, 7);
	uint32_t r = mag < 0x3c800000 ? small : tg_round_normal(mag < TG_F32_INF ? mag : TG_F32_INF, 3, 7);
	r = r > 0x7e ? 0x7e : r;
	return mag > TG_F32_INF ? 0x7f : (r | sign);
}
static inline uint32_t tg_from_e4m3(uint32_t h)
{
	uint32_t mag = h & 0x7f, sign = (h & 0x80) << 24;
	uint32_t small = tg_bits((float)(int32_t)mag * 0x1p-9f);
	uint32_t r = mag < 8 ? small : (mag << 20) + (120u << 23);
	return mag == 0x7f ? TG_F32_NAN : (r | sign);
}

/* ---- f32 to and from integers ---- */

static inline uint32_t tg_f2i(uint32_t a)
{
	float v = tg_float(a);
	bool low = v < -2147483648.0f, high = v >= 2147483648.0f, fits = !low && !high && v == v;
	uint32_t r = (uint32_t)(int32_t)(fits ? v : 0.0f);
	r = low ? 0x80000000 : r;
	return high ? 0x7fffffff : r;
}
static inline uint32_t tg_f2u(uint32_t a)
{
	float v = tg_float(a);
	bool fits = v > 0.0f && v < 4294967296.0f, upper = v >= 2147483648.0f;
	float in_range = fits ? v : 0.0f;
	uint32_t low = (uint32_t)(int32_t)(upper ? in_range - (fits ? 2147483648.0f : 0.0f) : in_range);
	uint32_t r = upper ? low + 0x80000000 : low;
	return v >= 4294967296.0f ? 0xffffffff : r;
}
static inline uint32_t tg_i2f(uint32_t a) { return tg_bits((float)(int32_t)a); }
/* Two exact halves and one rounding add: the same value as a direct conversion, and it vectorises. */
static inline uint32_t tg_u2f(uint32_t a)
{
	return tg_bits((float)(int32_t)(a >> 16) * 65536.0f + (float)(int32_t)(a & 0xffff));
}

/* ---- transcendentals: at most 2 ulp from the exact value; measured bounds are in docs/numerics.md ---- */

/* Coefficients from the highest power down, by Horner's rule with fma. */
static inline float tg_polynomial(float x, const float *c, unsigned n)
{
	float p = c[0];
	for (unsigned i = 1; i < n; i++)
		p = __builtin_fmaf(p, x, c[i]);
	return p;
}
#define TG_POLYNOMIAL(x, ...) tg_polynomial(x, (const float[]){ __VA_ARGS__ }, (unsigned)(sizeof((const float[]){ __VA_ARGS__ }) / sizeof(float)))

/* 2^x for -151 <= x <= 129, no special values. x = n + f, |f| <= 1/2; a polynomial for 2^f; scaled in two steps so that a denormal or
 * infinite result is rounded once, by the last multiplication. */
static inline float tg_exp2_core(float x)
{
	float t = x + 0x1.8p23f;
	int32_t n = (int32_t)(tg_bits(t) - UINT32_C(0x4b400000));
	float f = x - (t - 0x1.8p23f);
	float p = TG_POLYNOMIAL(f, 0x1.417a5cp-13f, 0x1.5f0946p-10f, 0x1.3b2dd2p-7f, 0x1.c6af7ap-5f, 0x1.ebfbdcp-3f, 0x1.62e430p-1f, 1.0f);
	int32_t half = n >> 1;
	return p * tg_pow2i(half) * tg_pow2i(n - half);
}
static inline uint32_t tg_f32_exp2(uint32_t a)
{
	float x = tg_float(a);
	x = x > -151.0f ? x : -151.0f;
	x = x < 129.0f ? x : 129.0f;
	uint32_t r = tg_bits(tg_exp2_core(x));
	return tg_f32_is_nan(a) ? TG_F32_NAN : r;
}

/* log2 x = e + log2(1 + r), 2/3 <= 1 + r < 4/3; log2(1 + r) = r c + r (r P(r)) with c = 1 / ln 2 in two parts. */
static inline uint32_t tg_f32_log2(uint32_t a)
{
	bool tiny = a < 0x00800000;
	uint32_t u = tiny ? tg_bits(tg_float(a & 0x7fffff) * 0x1p23f) : a;
	int32_t e = (int32_t)(u - UINT32_C(0x3f2aaaab)) >> 23;
	float r = tg_float(u - ((uint32_t)e << 23)) - 1.0f;
	float p = TG_POLYNOMIAL(r, -0x1.7bcb64p-3f, 0x1.9cddeep-3f, -0x1.685292p-3f, 0x1.9de5bap-3f, -0x1.ecd0b6p-3f, 0x1.279d70p-2f, -0x1.7153e0p-2f, 0x1.ec7030p-2f, -0x1.715476p-1f);
	float s = __builtin_fmaf(r, p * r, r * 0x1.4ae0c0p-26f);
	float m = __builtin_fmaf(r, 0x1.715476p+0f, s);
	uint32_t v = tg_bits((float)(tiny ? e - 23 : e) + m);
	v = a == TG_F32_INF ? TG_F32_INF : v;
	v = a > TG_F32_INF ? TG_F32_NAN : v; /* negative numbers and NaNs, as unsigned bits */
	return (a & 0x7fffffff) == 0 ? 0xff800000 : v;
}

/* 1/m for 1 <= m < 2: a linear guess in the bits and four Newton steps. */
static inline float tg_rcp_core(float m)
{
	float y = tg_float(UINT32_C(0x7ef311c7) - tg_bits(m));
	y = __builtin_fmaf(y, __builtin_fmaf(-m, y, 1.0f), y);
	y = __builtin_fmaf(y, __builtin_fmaf(-m, y, 1.0f), y);
	y = __builtin_fmaf(y, __builtin_fmaf(-m, y, 1.0f), y);
	return __builtin_fmaf(y, __builtin_fmaf(-m, y, 1.0f), y);
}
static inline uint32_t tg_f32_rcp(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a & 0x80000000;
	bool tiny = mag < 0x00800000;
	uint32_t u = tiny ? tg_bits(tg_float(mag) * 0x1p23f) : mag;
	u = mag == 0 || mag >= TG_F32_INF ? 0x3f800000 : u;
	int32_t e = (int32_t)(u >> 23) - 127;
	float y = tg_rcp_core(tg_float(u - ((uint32_t)e << 23)));
	e = -(tiny ? e - 23 : e);
	int32_t half = e >> 1;
	uint32_t r = tg_bits(y * tg_pow2i(half) * tg_pow2i(e - half));
	r = mag == 0 ? TG_F32_INF : r;
	r = mag == TG_F32_INF ? 0 : r;
	return mag > TG_F32_INF ? TG_F32_NAN : (r | sign);
}

/* 1 / sqrt(m 4^k), 1 <= m < 4 */
static inline uint32_t tg_f32_rsqrt(uint32_t a)
{
	bool tiny = a < 0x00800000;
	uint32_t u = tiny ? tg_bits(tg_float(a & 0x7fffff) * 0x1p24f) : a;
	bool bad = u - 1 >= TG_F32_INF - 1; /* zero, infinity, NaN, negative */
	u = bad ? 0x3f800000 : u;
	int32_t k = ((int32_t)(u >> 23) - 127) >> 1;
	float m = tg_float(u - ((uint32_t)k << 24));
	float y = tg_float(UINT32_C(0x5f3759df) - (tg_bits(m) >> 1));
	y = __builtin_fmaf(0.5f * y, __builtin_fmaf(-(m * y), y, 1.0f), y);
	y = __builtin_fmaf(0.5f * y, __builtin_fmaf(-(m * y), y, 1.0f), y);
	y = __builtin_fmaf(0.5f * y, __builtin_fmaf(-(m * y), y, 1.0f), y);
	y = __builtin_fmaf(0.5f * y, __builtin_fmaf(-(m * y), y, 1.0f), y);
	uint32_t r = tg_bits(y * tg_pow2i(tiny ? 12 - k : -k));
	r = bad ? TG_F32_NAN : r;
	r = a == TG_F32_INF ? 0 : r;
	return (a & 0x7fffffff) == 0 ? (a | TG_F32_INF) : r;
}

/* |x| < 0.625: x + x^3 P(x^2); else 1 - 2 / (2^(2 x / ln 2) + 1), which is 1 from 9.02 on. */
static inline uint32_t tg_f32_tanh(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a & 0x80000000;
	float x = tg_float(mag > 0x41200000 ? 0x41200000 : mag);
	float s = x * x;
	float p = TG_POLYNOMIAL(s, 0x1.1ace3ep-9f, -0x1.0c895ep-7f, 0x1.63ad18p-6f, -0x1.b9f220p-5f, 0x1.11107cp-3f, -0x1.555554p-2f);
	uint32_t near = tg_bits(__builtin_fmaf(x * s, p, x));
	float w = tg_exp2_core(x * 0x1.715476p+1f) + 1.0f;
	uint32_t wb = tg_bits(w);
	int32_t e = (int32_t)(wb >> 23) - 127;
	float q = tg_rcp_core(tg_float(wb - ((uint32_t)e << 23))) * tg_pow2i(-e);
	uint32_t far = tg_bits(__builtin_fmaf(-2.0f, q, 1.0f));
	uint32_t r = mag < 0x3f200000 ? near : far;
	return mag > TG_F32_INF ? TG_F32_NAN : (r | sign);
}

/* |x| < 0.92: x + x Q(x^2); else 1 - 2^(-x R(x)), which is 1 from 4 on. */
static inline uint32_t tg_f32_erf(uint32_t a)
{
	uint32_t mag = a & 0x7fffffff, sign = a & 0x80000000;
	float x = tg_float(mag > 0x40800000 ? 0x40800000 : mag);
	float s = x * x;
	float p = TG_POLYNOMIAL(s, 0x1.4fa924p-14f, -0x1.a61810p-11f, 0x1.544b08p-8f, -0x1.b80124p-6f, 0x1.ce2d64p-4f, -0x1.812740p-2f, 0x1.06eba8p-3f);
	uint32_t near = tg_bits(__builtin_fmaf(x, p, x));
	float q = TG_POLYNOMIAL(x, -0x1.c92fe6p-19f, 0x1.c646bap-15f, -0x1.67dcbap-12f, 0x1.b97526p-11f, 0x1.39431ap-9f, -0x1.f21160p-6f, 0x1.335e98p-3f, 0x1.d5e72cp-1f, 0x1.a0c592p+0f);
	uint32_t far = tg_bits(1.0f - tg_exp2_core(-(x * q)));
	uint32_t r = mag < 0x3f6b851f ? near : far;
	r = mag >= 0x40800000 ? 0x3f800000 : r;
	return mag > TG_F32_INF ? TG_F32_NAN : (r | sign);
}

/* |x| = (quadrant + f) pi/2 with |f| <= 1/2, by multiplying the integer fraction of x with the 96 bits of 2/pi that matter
 * (Payne and Hanek 1983); returns f pi/2. Needs pi/4 < |x| < infinity. */
static inline float tg_reduce_half_pi(uint32_t mag, uint32_t *quadrant)
{
	static const uint32_t two_over_pi[8] = {0, 0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
	uint32_t man = (mag & 0x7fffff) | 0x800000;
	uint32_t at = (mag >> 23) - 150 - 2 + 32; /* index of the bit of weight 2: bits above it only add multiples of 4 */
	uint32_t word = at >> 5, off = at & 31;
	uint64_t w0 = two_over_pi[word], w1 = two_over_pi[word + 1], w2 = two_over_pi[word + 2], w3 = two_over_pi[word + 3];
	uint64_t hi = (w0 << 32 | w1) << off >> 32 & 0xffffffff;
	uint64_t mid = (w1 << 32 | w2) << off >> 32 & 0xffffffff;
	uint64_t lo = (w2 << 32 | w3) << off >> 32 & 0xffffffff;
	uint64_t h = (hi * man << 32) + mid * man + (lo * man >> 32);
	*quadrant = (uint32_t)((h + (UINT64_C(1) << 61)) >> 62);
	uint64_t f = h << 2;
	bool minus = f >> 63;
	f = minus ? 0 - f : f;
	f = f ? f : 1; /* no f32 is a multiple of pi/2; keeps clz defined */
	int zeros = __builtin_clzll(f);
	uint64_t product = (f << zeros >> 32) * UINT64_C(0xc90fdaa2);
	float r = (float)product * 0x1p-63f * tg_pow2i(-zeros);
	return minus ? -r : r;
}

static inline float tg_sin_poly(float r)
{
	float s = r * r;
	float p = TG_POLYNOMIAL(s, 0x1.7cd842p-19f, -0x1.a05bbap-13f, 0x1.111176p-7f, -0x1.555556p-3f);
	return __builtin_fmaf(r * s, p, r);
}
static inline float tg_cos_poly(float r)
{
	float s = r * r;
	float p = TG_POLYNOMIAL(s, -0x1.37243ap-22f, 0x1.a075e8p-16f, -0x1.6c1762p-10f, 0x1.555556p-5f);
	return __builtin_fmaf(s * s, p, __builtin_fmaf(-0.5f, s, 1.0f));
}
static inline uint32_t tg_sin_or_cos(uint32_t a, uint32_t turn)
{
	uint32_t mag = a & 0x7fffffff, quadrant = 0;
	if (mag >= TG_F32_INF)
		return TG_F32_NAN;
	float r = tg_float(mag);
	if (mag > 0x3f490fda)
		r = tg_reduce_half_pi(mag, &quadrant);
	quadrant += turn;
	uint32_t v = tg_bits(quadrant & 1 ? tg_cos_poly(r) : tg_sin_poly(r));
	v ^= (quadrant & 2) << 30;
	return turn ? v : v ^ (a & 0x80000000);
}
static inline uint32_t tg_f32_sin(uint32_t a) { return tg_sin_or_cos(a, 0); }
static inline uint32_t tg_f32_cos(uint32_t a) { return tg_sin_or_cos(a, 1); }

/* ---- numerics.c ---- */

/* The function of a one-operand vector instruction (enum tg_opcode: V1 rows of isa.def that compute on a lane), or NULL. */
typedef uint32_t tg_lane_fn(uint32_t);
tg_lane_fn *tg_lane_function(unsigned op);

#endif
