/* eval_memory.c: tensor elements to columns and back. Tensors may lie anywhere in a mapped file, so elements are not assumed to be aligned.
 *
 * Rounding to small floats is done here in f64: adding and subtracting a power of two that is 2^52 units of the target's last place lets the
 * host's nearest-even addition do it. */
#include <math.h>
#include <string.h>

#include "eval_internal.h"

typedef float __attribute__((aligned(1), may_alias)) f32_any;
typedef double __attribute__((aligned(1), may_alias)) f64_any;
typedef int16_t __attribute__((aligned(1), may_alias)) i16_any;
typedef uint16_t __attribute__((aligned(1), may_alias)) u16_any;
typedef int32_t __attribute__((aligned(1), may_alias)) i32_any;
typedef uint32_t __attribute__((aligned(1), may_alias)) u32_any;
typedef int64_t __attribute__((aligned(1), may_alias)) i64_any;
typedef uint64_t __attribute__((aligned(1), may_alias)) u64_any;

/* ---- rounding ---- */

struct small_float { int mantissa, min_exponent; double largest; bool has_inf, has_nan, has_minus_zero; };
static const struct small_float small_floats[TG_N_DTYPES] = {
	[TG_f32] = { 23, -126, 0x1.fffffep127, true, true, true }, [TG_f16] = { 10, -14, 65504, true, true, true },
	[TG_bf16] = { 7, -126, 0x1.fep127, true, true, true },	   [TG_f8e4m3fn] = { 3, -6, 448, false, true, true },
	[TG_f8e4m3fnuz] = { 3, -7, 240, false, true, false },	   [TG_f8e5m2] = { 2, -14, 57344, true, true, true },
	[TG_f8e5m2fnuz] = { 2, -15, 57344, false, true, false },   [TG_f4e2m1] = { 1, 0, 6, false, false, true },
};

static double at_exponent(int e)
{
	uint64_t bits = (uint64_t)(e + 1023) << 52;
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static int exponent_of(double a)
{
	uint64_t bits;
	memcpy(&bits, &a, sizeof bits);
	return (int)(bits >> 52 & 0x7ff) - 1023;
}

double tg_round_to(enum tg_dtype memory, double v, bool saturate)
{
	const struct small_float *f = &small_floats[memory];
	if (memory == TG_f64)
		return v;
	if (f->mantissa == 0) { /* f8e8m0: powers of two */
		uint8_t b;
		tg_put_f64(memory, &b, 0, v);
		return tg_get_f64(memory, &b, 0);
	}
	double a = fabs(v);
	if (v != v)
		return f->has_nan ? v : 0;
	if (a < 0x1p130) { /* beyond every small float anyway */
		int e = exponent_of(a);
		double magic = at_exponent((e < f->min_exponent ? f->min_exponent : e) - f->mantissa + 52);
		volatile double up = a + magic; /* keeps the compiler from cancelling */
		a = up - magic;
	}
	if (a > f->largest) {
		bool keep_inf = f->has_inf && !(saturate && tg_dtypes[memory].bits <= 8);
		a = keep_inf ? INFINITY : saturate || !f->has_nan ? f->largest : NAN;
	}
	if (a == 0 && !f->has_minus_zero)
		return 0;
	return copysign(a, v);
}

/* ---- 16-bit floats ---- */

static inline float from_bf16(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static inline float from_f16(uint16_t h)
{
	uint32_t e = h >> 10 & 31, m = h & 1023U, sign = (uint32_t)(h & 0x8000U) << 16, u;
	float f;
	if (e == 0) {
		f = (float)m * 0x1p-24f;
		return sign ? -f : f;
	}
	u = sign | (e == 31 ? 0x7f800000U : (e + 112) << 23) | m << 13;
	memcpy(&f, &u, sizeof f);
	return f;
}

static uint16_t to_bf16(float x)
{
	float r = (float)tg_round_to(TG_bf16, x, false);
	uint32_t u;
	memcpy(&u, &r, sizeof u);
	return r != r ? (uint16_t)(u >> 16 | 0x40) : (uint16_t)(u >> 16);
}

static uint16_t to_f16(float x)
{
	double r = tg_round_to(TG_f16, x, false), a = fabs(r);
	uint16_t sign = signbit(r) ? 0x8000 : 0;
	if (r != r)
		return (uint16_t)(sign | 0x7e00);
	if (a == INFINITY)
		return (uint16_t)(sign | 0x7c00);
	if (a < 0x1p-14)
		return (uint16_t)(sign | (uint16_t)(a * 0x1p24));
	int e = exponent_of(a);
	return (uint16_t)(sign | (e + 15) << 10 | ((int)(a * at_exponent(10 - e)) & 1023));
}

/* f8e5m2 has infinities, which only a saturating conversion avoids: that was asked for by `sat`. */
static void put_small(enum tg_dtype t, void *data, size_t i, float v)
{
	if (t == TG_f8e5m2 && fabsf(v) == INFINITY)
		((uint8_t *)data)[i] = signbit(v) ? 0xfc : 0x7c;
	else
		tg_put_f64(t, data, i, v);
}

/* ---- loads ---- */

/* The way from each memory type to its column: CASE(dtype, type in memory, type in the column, conversion of x) */
#define DIRECT_TYPES(CASE) \
	CASE(f32, f32_any, float, x) CASE(f64, f64_any, double, x) CASE(i8, int8_t, int32_t, x) CASE(u8, uint8_t, uint32_t, x) \
	CASE(i16, i16_any, int32_t, x) CASE(u16, u16_any, uint32_t, x) CASE(i32, i32_any, int32_t, x) CASE(u32, u32_any, uint32_t, x) \
	CASE(i64, i64_any, int64_t, x) CASE(u64, u64_any, uint64_t, x) CASE(f16, u16_any, float, from_f16(x)) \
	CASE(bf16, u16_any, float, from_bf16(x)) CASE(bool, uint8_t, uint8_t, x != 0)

#define LOAD(dtype, M, C, conv) \
	static void load_##dtype(void *col, const void *data, int64_t stride, size_t n) \
	{ \
		C *r = col; \
		const M *p = data; \
		if (stride == 1) \
			for (size_t i = 0; i < n; i++) { \
				M x = p[i]; \
				r[i] = (C)(conv); \
			} \
		else \
			for (size_t i = 0; i < n; i++) { \
				M x = p[(int64_t)i * stride]; \
				r[i] = (C)(conv); \
			} \
	} \
	static void load_at_##dtype(void *col, const void *data, const int64_t *at, size_t n) \
	{ \
		C *r = col; \
		const M *p = data; \
		for (size_t i = 0; i < n; i++) \
			if (at[i] >= 0) { \
				M x = p[at[i]]; \
				r[i] = (C)(conv); \
			} \
	}
DIRECT_TYPES(LOAD)

static void load_odd(enum tg_dtype t, void *col, const void *data, size_t at, size_t i)
{
	switch (tg_compute_type(t)) {
	case TG_f32: ((float *)col)[i] = (float)tg_get_f64(t, data, at); break;
	case TG_u32: ((uint32_t *)col)[i] = (uint32_t)tg_get_i64(t, data, at); break;
	default: ((int32_t *)col)[i] = (int32_t)tg_get_i64(t, data, at); break;
	}
}

void tg_col_load(enum tg_dtype memory, void *col, const void *data, int64_t offset, int64_t stride, size_t n)
{
	switch (memory) {
#define LOAD_CASE(dtype, M, C, conv) \
	case TG_##dtype: load_##dtype(col, (const M *)data + offset, stride, n); return;
		DIRECT_TYPES(LOAD_CASE)
	default:
		for (size_t i = 0; i < n; i++)
			load_odd(memory, col, data, (size_t)(offset + (int64_t)i * stride), i);
	}
}

void tg_col_load_at(enum tg_dtype memory, void *col, const void *data, const int64_t *offsets, size_t n)
{
	switch (memory) {
#define LOAD_AT_CASE(dtype, M, C, conv) \
	case TG_##dtype: load_at_##dtype(col, data, offsets, n); return;
		DIRECT_TYPES(LOAD_AT_CASE)
	default:
		for (size_t i = 0; i < n; i++)
			if (offsets[i] >= 0)
				load_odd(memory, col, data, (size_t)offsets[i], i);
	}
}

/* ---- stores ---- */

#define STORE_TYPES(CASE) \
	CASE(f32, f32_any, float, x) CASE(f64, f64_any, double, x) CASE(i8, int8_t, int32_t, x) CASE(u8, uint8_t, uint32_t, x) \
	CASE(i16, i16_any, int32_t, x) CASE(u16, u16_any, uint32_t, x) CASE(i32, i32_any, int32_t, x) CASE(u32, u32_any, uint32_t, x) \
	CASE(i64, i64_any, int64_t, x) CASE(u64, u64_any, uint64_t, x) CASE(f16, u16_any, float, to_f16(x)) \
	CASE(bf16, u16_any, float, to_bf16(x)) CASE(bool, uint8_t, uint8_t, x != 0)

#define STORE(dtype, M, C, conv) \
	static void store_##dtype(void *data, int64_t stride, const void *col, size_t n) \
	{ \
		M *p = data; \
		const C *r = col; \
		for (size_t i = 0; i < n; i++) { \
			C x = r[i]; \
			p[(int64_t)i * stride] = (M)(conv); \
		} \
	}
STORE_TYPES(STORE)

static void store_odd(enum tg_dtype t, void *data, size_t at, const void *col, size_t i)
{
	switch (tg_compute_type(t)) {
	case TG_f32: put_small(t, data, at, ((const float *)col)[i]); break;
	case TG_u32: tg_put_i64(t, data, at, ((const uint32_t *)col)[i]); break;
	default: tg_put_i64(t, data, at, ((const int32_t *)col)[i]); break;
	}
}

void tg_col_store(enum tg_dtype memory, void *data, int64_t offset, int64_t stride, const void *col, size_t n)
{
	switch (memory) {
#define STORE_CASE(dtype, M, C, conv) \
	case TG_##dtype: store_##dtype((M *)data + offset, stride, col, n); return;
		STORE_TYPES(STORE_CASE)
	default:
		for (size_t i = 0; i < n; i++)
			store_odd(memory, data, (size_t)(offset + (int64_t)i * stride), col, i);
	}
}
