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

/* ---- integers to f32 ---- */

static inline uint32_t tg_i2f(uint32_t a) { return tg_bits((float)(int32_t)a); }
/* Two exact halves and one rounding add: the same value as a direct conversion, and it vectorises. */
static inline uint32_t tg_u2f(uint32_t a)
{
	return tg_bits((float)(int32_t)(a >> 16) * 65536.0f + (float)(int32_t)(a & 0xffff));
}

/* ---- conversions and transcendentals: lane_functions.def for one lane ---- */

/* Coefficients from the highest power down, by Horner's rule with fma. */
static inline float tg_polynomial(float x, const float *c, unsigned n)
{
	float p = c[0];
	for (unsigned i = 1; i < n; i++)
		p = __builtin_fmaf(p, x, c[i]);
	return p;
}
#define TG_POLYNOMIAL(x, ...) tg_polynomial(x, (const float[]){ __VA_ARGS__ }, (unsigned)(sizeof((const float[]){ __VA_ARGS__ }) / sizeof(float)))

#define FUNCTION_U(name, a) static inline uint32_t tg_##name(uint32_t a)
#define FUNCTION_F(name, a) static inline float tg_##name(float a)
#define LET_U(x, e) uint32_t x = e;
#define LET_F(x, e) float x = e;
#define GIVES(e) return e;
#define CALL(name, x) tg_##name(x)
#define U(c) ((uint32_t)(c))
#define F(c) (c)
#define AS_F(u) tg_float(u)
#define AS_U(f) tg_bits(f)
#define ADD(x, y) ((x) + (y))
#define SUB(x, y) ((x) - (y))
#define AND(x, y) ((x) & (y))
#define OR(x, y) ((x) | (y))
#define XOR(x, y) ((x) ^ (y))
#define SHL(x, n) ((x) << (n))
#define SHR(x, n) ((x) >> (n))
#define SAR(x, n) ((uint32_t)((int32_t)(x) >> (n)))
#define FADD(x, y) ((x) + (y))
#define FSUB(x, y) ((x) - (y))
#define FMUL(x, y) ((x) * (y))
#define FDIV(x, y) ((x) / (y))
#define FNEG(x) (-(x))
#define FMA(x, y, z) __builtin_fmaf(x, y, z)
#define I2F(u) ((float)(int32_t)(u))
#define F2I(f) ((uint32_t)(int32_t)(f))
#define POLY(x, ...) TG_POLYNOMIAL(x, __VA_ARGS__)
#define ULT(x, y) ((x) < (y))
#define UGE(x, y) ((x) >= (y))
#define UGT(x, y) ((x) > (y))
#define EQ(x, y) ((x) == (y))
#define FLT(x, y) ((x) < (y))
#define FGT(x, y) ((x) > (y))
#define IS_NAN(x) ((x) != (x))
#define PICK(test, x, y) ((test) ? (x) : (y))
#include "lane_functions.def"
#undef FUNCTION_U
#undef FUNCTION_F
#undef LET_U
#undef LET_F
#undef GIVES
#undef CALL
#undef U
#undef F
#undef AS_F
#undef AS_U
#undef ADD
#undef SUB
#undef AND
#undef OR
#undef XOR
#undef SHL
#undef SHR
#undef SAR
#undef FADD
#undef FSUB
#undef FMUL
#undef FDIV
#undef FNEG
#undef FMA
#undef I2F
#undef F2I
#undef POLY
#undef ULT
#undef UGE
#undef UGT
#undef EQ
#undef FLT
#undef FGT
#undef IS_NAN
#undef PICK

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
