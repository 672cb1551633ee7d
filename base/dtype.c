/* dtype.c: the table of element types and the conversion of single elements. Conversions work on bits, so that they do not depend on
 * the host's rounding mode or on compiler support for small floats. */
#include "base.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct tg_dtype_info tg_dtypes[TG_N_DTYPES] = {
#define DTYPE(name, onnx, bits, kind, npy) [TG_##name] = { #name, onnx, bits, TG_KIND_##kind, npy },
#include "dtypes.def"
};

enum tg_dtype tg_dtype_from_onnx(int32_t code)
{
	for (int t = 1; t < TG_N_DTYPES; t++)
		if (tg_dtypes[t].onnx == code)
			return (enum tg_dtype)t;
	return TG_none;
}

enum tg_dtype tg_dtype_from_name(const char *name, size_t n)
{
	for (int t = 1; t < TG_N_DTYPES; t++)
		if (strlen(tg_dtypes[t].name) == n && memcmp(tg_dtypes[t].name, name, n) == 0)
			return (enum tg_dtype)t;
	return TG_none;
}

bool tg_is_float(enum tg_dtype t)
{
	return tg_dtypes[t].kind == TG_KIND_FLOAT;
}

bool tg_is_int(enum tg_dtype t)
{
	return tg_dtypes[t].kind == TG_KIND_SIGNED || tg_dtypes[t].kind == TG_KIND_UNSIGNED;
}

/* A small binary float: exponent and mantissa bits, bias, and what its all-ones patterns mean. */
struct mini {
	int mant, expo, bias;
	enum { IEEE, FINITE_NAN, FINITE_UZ, FINITE_ONLY } special;
};

static bool mini_of(enum tg_dtype t, struct mini *m)
{
	switch (t) {
	case TG_f16: *m = (struct mini){ 10, 5, 15, IEEE }; return true;
	case TG_bf16: *m = (struct mini){ 7, 8, 127, IEEE }; return true;
	case TG_f8e4m3fn: *m = (struct mini){ 3, 4, 7, FINITE_NAN }; return true;
	case TG_f8e4m3fnuz: *m = (struct mini){ 3, 4, 8, FINITE_UZ }; return true;
	case TG_f8e5m2: *m = (struct mini){ 2, 5, 15, IEEE }; return true;
	case TG_f8e5m2fnuz: *m = (struct mini){ 2, 5, 16, FINITE_UZ }; return true;
	case TG_f4e2m1: *m = (struct mini){ 1, 2, 1, FINITE_ONLY }; return true;
	default: return false;
	}
}

static double mini_decode(const struct mini *m, uint32_t bits)
{
	uint32_t mant = bits & ((1u << m->mant) - 1), expo = bits >> m->mant & ((1u << m->expo) - 1), sign = bits >> (m->mant + m->expo) & 1;
	uint32_t ones = (1u << m->expo) - 1;
	if (m->special == IEEE && expo == ones)
		return mant ? (double)NAN : sign ? -(double)INFINITY : (double)INFINITY;
	if (m->special == FINITE_NAN && expo == ones && mant == (1u << m->mant) - 1)
		return (double)NAN;
	if (m->special == FINITE_UZ && sign && !expo && !mant)
		return (double)NAN;
	double v = expo ? ldexp(1.0 + ldexp((double)mant, -m->mant), (int)expo - m->bias) : ldexp((double)mant, 1 - m->bias - m->mant);
	return sign ? -v : v;
}

static uint32_t mini_largest(const struct mini *m)
{
	uint32_t all = (1u << (m->mant + m->expo)) - 1;
	return m->special == IEEE ? all - (1u << m->mant) : m->special == FINITE_NAN ? all - 1 : all;
}

static uint32_t mini_encode(const struct mini *m, double v)
{
	uint32_t sign_bit = 1u << (m->mant + m->expo), largest = mini_largest(m), sign = signbit(v) ? sign_bit : 0;
	bool small = m->mant + m->expo < 8; /* f8 and f4 saturate, f16 and bf16 overflow to infinity */
	if (isnan(v))
		return m->special == IEEE ? sign | ((1u << m->expo) - 1) << m->mant | 1u << (m->mant - 1)
		       : m->special == FINITE_UZ ? sign_bit : m->special == FINITE_NAN ? sign | (sign_bit - 1) : sign | largest;
	double a = fabs(v);
	if (isinf(v))
		return sign | (small ? largest : largest + 1);
	int e;
	frexp(a, &e);
	if (a == 0 || e - 1 < 1 - m->bias)
		e = 2 - m->bias; /* denormals share the smallest exponent's spacing */
	double scaled = ldexp(a, m->mant - (e - 1)), whole = nearbyint(scaled);
	uint32_t bits = (uint32_t)((int64_t)whole + ((int64_t)(e - 2 + m->bias) << m->mant));
	if (bits > largest)
		bits = small ? largest : largest + 1;
	if (m->special == FINITE_UZ && bits == 0)
		return 0;
	return sign | bits;
}

static uint32_t load_bits(enum tg_dtype t, const void *data, size_t i)
{
	const uint8_t *p = data;
	uint32_t bits = tg_dtypes[t].bits;
	if (bits < 8)
		return (uint32_t)(p[i * bits / 8] >> (i * bits % 8)) & ((1u << bits) - 1);
	if (bits == 8)
		return p[i];
	return (uint32_t)(p[2 * i] | p[2 * i + 1] << 8);
}

static void store_bits(enum tg_dtype t, void *data, size_t i, uint32_t v)
{
	uint8_t *p = data;
	uint32_t bits = tg_dtypes[t].bits;
	if (bits < 8) {
		uint32_t shift = (uint32_t)(i * bits % 8), mask = ((1u << bits) - 1) << shift;
		p[i * bits / 8] = (uint8_t)((p[i * bits / 8] & ~mask) | (v << shift & mask));
	} else {
		p[i * (bits / 8)] = (uint8_t)v;
		if (bits == 16)
			p[2 * i + 1] = (uint8_t)(v >> 8);
	}
}

#define ACCESS(type)                                                                                                                       \
	static type load_##type(const void *data, size_t i)                                                                                \
	{                                                                                                                                  \
		type v;                                                                                                                    \
		memcpy(&v, (const char *)data + i * sizeof v, sizeof v);                                                                   \
		return v;                                                                                                                  \
	}                                                                                                                                  \
	static void store_##type(void *data, size_t i, type v) { memcpy((char *)data + i * sizeof v, &v, sizeof v); }
ACCESS(int64_t)
ACCESS(uint64_t)
ACCESS(uint32_t)
ACCESS(float)
ACCESS(double)

int64_t tg_get_i64(enum tg_dtype t, const void *data, size_t i)
{
	switch (t) {
	case TG_i64: return load_int64_t(data, i);
	case TG_u64: return (int64_t)load_uint64_t(data, i);
	case TG_i32: return (int32_t)load_uint32_t(data, i);
	case TG_u32: return (int64_t)load_uint32_t(data, i);
	case TG_i16: return (int16_t)load_bits(t, data, i);
	case TG_i8: return (int8_t)load_bits(t, data, i);
	case TG_i4: return (int64_t)(load_bits(t, data, i) ^ 8) - 8;
	case TG_i2: return (int64_t)(load_bits(t, data, i) ^ 2) - 2;
	case TG_bool: return load_bits(t, data, i) != 0;
	case TG_u16: case TG_u8: case TG_u4: case TG_u2: return load_bits(t, data, i);
	default: {
		double v = tg_get_f64(t, data, i);
		return isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
	}
	}
}

double tg_get_f64(enum tg_dtype t, const void *data, size_t i)
{
	struct mini m;
	if (t == TG_f32)
		return (double)load_float(data, i);
	if (t == TG_f64)
		return load_double(data, i);
	if (t == TG_u64)
		return (double)load_uint64_t(data, i);
	if (mini_of(t, &m))
		return mini_decode(&m, load_bits(t, data, i));
	if (t == TG_f8e8m0) {
		uint32_t e = load_bits(t, data, i);
		return e == 255 ? (double)NAN : ldexp(1.0, (int)e - 127);
	}
	return (double)tg_get_i64(t, data, i);
}

void tg_put_i64(enum tg_dtype t, void *data, size_t i, int64_t v)
{
	switch (t) {
	case TG_i64: case TG_u64: store_int64_t(data, i, v); break;
	case TG_i32: case TG_u32: store_uint32_t(data, i, (uint32_t)(uint64_t)v); break;
	case TG_bool: store_bits(t, data, i, v != 0); break;
	case TG_i16: case TG_u16: case TG_i8: case TG_u8: case TG_i4: case TG_u4: case TG_i2: case TG_u2: store_bits(t, data, i, (uint32_t)v); break;
	default: tg_put_f64(t, data, i, (double)v);
	}
}

static uint32_t e8m0_encode(double v)
{
	if (isnan(v) || v < 0)
		return 255;
	if (isinf(v))
		return 254;
	int e;
	double f = frexp(v, &e); /* v = f * 2^e, f in [0.5, 1): nearest power of two, ties to the even exponent */
	int up = f > 0.75 || (f == 0.75 && (e & 1) == 0);
	int code = e - 1 + up + 127;
	return (uint32_t)(v == 0 || code < 0 ? 0 : code > 254 ? 254 : code);
}

void tg_put_f64(enum tg_dtype t, void *data, size_t i, double v)
{
	struct mini m;
	if (t == TG_f32)
		store_float(data, i, (float)v);
	else if (t == TG_f64)
		store_double(data, i, v);
	else if (mini_of(t, &m))
		store_bits(t, data, i, mini_encode(&m, v));
	else if (t == TG_f8e8m0)
		store_bits(t, data, i, e8m0_encode(v));
	else if (t == TG_bool)
		store_bits(t, data, i, v != 0);
	else if (t == TG_u64)
		store_uint64_t(data, i, isnan(v) ? 0 : v >= 0x1p64 ? UINT64_MAX : v < 0 ? (uint64_t)(int64_t)(v < -0x1p63 ? -0x1p63 : v) : (uint64_t)v);
	else
		tg_put_i64(t, data, i, isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v);
}

void tg_f64_text(char *out, size_t n, int digits, double v)
{
	char text[64];
	size_t at = 0;
	snprintf(text, sizeof text, "%.*g", digits, v);
	for (const char *p = text; *p && at + 1 < n; p++) { /* what is no part of a number is the locale's point, of one byte or several */
		bool plain = strchr("0123456789+-einfa", *p);
		if (plain || (at && out[at - 1] != '.'))
			out[at++] = plain ? *p : '.';
	}
	out[at] = 0;
}

bool tg_f64_parse(const char *s, size_t n, double *v)
{
	const char *point = nl_langinfo(RADIXCHAR);
	char text[64 + 16], *end;
	size_t at = 0, wide = strlen(point);
	if (n == 0 || n > 63 || wide > 16)
		return false;
	for (size_t i = 0, points = 0; i < n; i++) {
		bool is_point = s[i] == '.';
		if (!strchr("0123456789+-.eE", s[i]) || s[i] == 0 || (points += is_point) > 1)
			return false;
		memcpy(text + at, is_point ? point : &s[i], is_point ? wide : 1);
		at += is_point ? wide : 1;
	}
	text[at] = 0;
	*v = strtod(text, &end);
	return end == text + at;
}

static uint16_t bf16_of(uint32_t bits)
{
	if ((bits & 0x7fffffff) > 0x7f800000)
		return 0x7fc0;
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Shifts the significand so that its last bit is worth 2^-24 at least, rounding what falls out. */
static uint16_t f16_of(uint32_t bits)
{
	uint32_t sign = bits >> 16 & 0x8000, mag = bits & 0x7fffffff;
	if (mag > 0x7f800000)
		return 0x7e00;
	if (mag >= 0x47800000)
		return (uint16_t)(sign | 0x7c00);
	if (mag >= 0x38800000) /* may carry into infinity, as it should */
		return (uint16_t)(sign | ((mag - 0x38000000 + 0xfff + (mag >> 13 & 1)) >> 13));
	uint32_t shift = 126 - (mag >> 23), m = (mag & 0x7fffff) | 0x800000;
	if (shift > 24)
		return (uint16_t)sign;
	uint32_t kept = m >> shift, rest = m & ((1u << shift) - 1), half = 1u << (shift - 1);
	return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
}

void tg_narrow_f32(enum tg_dtype to, void *out, const void *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = load_uint32_t(in, i);
		uint16_t v = to == TG_bf16 ? bf16_of(bits) : f16_of(bits);
		memcpy((char *)out + 2 * i, &v, sizeof v);
	}
}
