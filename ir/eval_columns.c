/* eval_columns.c: the scalar operations of exprs.def on columns. Integers wrap; f32 functions are computed by libm in f64 and rounded once;
 * f32 arithmetic is f32. Shares nothing with the simulator. */
#include <math.h>
#include <string.h>

#include "eval_internal.h"

typedef float f32;
typedef double f64;
typedef int32_t i32;
typedef uint32_t u32;
typedef int64_t i64;
typedef uint64_t u64;
typedef uint8_t b8;

#define UNUSED3 (void)pb, (void)pc
#define UNARY(op, T, expr) \
	static void op##_##T(void *out, const void *pa, const void *pb, const void *pc, size_t n) \
	{ \
		T *r = out; \
		const T *a = pa; \
		UNUSED3; \
		for (size_t i = 0; i < n; i++) { \
			T x = a[i]; \
			r[i] = (T)(expr); \
		} \
	}
#define BINARY_TO(op, T, R, expr) \
	static void op##_##T(void *out, const void *pa, const void *pb, const void *pc, size_t n) \
	{ \
		R *r = out; \
		const T *a = pa, *b = pb; \
		(void)pc; \
		for (size_t i = 0; i < n; i++) { \
			T x = a[i], y = b[i]; \
			r[i] = (R)(expr); \
		} \
	}
#define BINARY(op, T, expr) BINARY_TO(op, T, T, expr)
#define SELECT(T) \
	static void select_##T(void *out, const void *pa, const void *pb, const void *pc, size_t n) \
	{ \
		T *r = out; \
		const b8 *a = pa; \
		const T *b = pb, *c = pc; \
		for (size_t i = 0; i < n; i++) \
			r[i] = a[i] ? b[i] : c[i]; \
	}
#define COMPARES(T) \
	BINARY_TO(eq, T, b8, x == y) BINARY_TO(ne, T, b8, x != y) BINARY_TO(lt, T, b8, x < y) BINARY_TO(le, T, b8, x <= y) SELECT(T)

/* ---- floats ---- */

/* NaN wins, -0 < +0 */
#define EXTREMES(T, isneg) \
	static inline T max2_##T(T a, T b) \
	{ \
		if (a > b || b > a) \
			return a > b ? a : b; \
		if (a == b) \
			return isneg(a) ? b : a; \
		return a != a ? a : b; \
	} \
	static inline T min2_##T(T a, T b) \
	{ \
		if (a < b || b < a) \
			return a < b ? a : b; \
		if (a == b) \
			return isneg(a) ? a : b; \
		return a != a ? a : b; \
	}
EXTREMES(f32, signbit)
EXTREMES(f64, signbit)

static inline f64 mod2(f64 x, f64 y)
{
	f64 r = fmod(x, y);
	return r != 0 && (r < 0) != (y < 0) ? r + y : r == 0 ? copysign(0.0, y) : r;
}

#define FLOATS(T) \
	BINARY(add, T, x + y) BINARY(sub, T, x - y) BINARY(mul, T, x * y) BINARY(div, T, x / y) \
	BINARY(rem, T, fmod(x, y)) BINARY(mod, T, mod2(x, y)) BINARY(pow, T, pow(x, y)) \
	BINARY(min, T, min2_##T(x, y)) BINARY(max, T, max2_##T(x, y)) \
	UNARY(neg, T, -x) UNARY(abs, T, fabs((f64)x)) UNARY(sign, T, x > 0 ? 1 : x < 0 ? -1 : x) \
	UNARY(floor, T, floor((f64)x)) UNARY(ceil, T, ceil((f64)x)) UNARY(trunc, T, trunc((f64)x)) UNARY(rne, T, rint((f64)x)) \
	UNARY(recip, T, 1 / x) UNARY(rsqrt, T, 1 / sqrt((f64)x)) UNARY(exp, T, exp((f64)x)) UNARY(log, T, log((f64)x)) \
	UNARY(sin, T, sin((f64)x)) UNARY(cos, T, cos((f64)x)) UNARY(tan, T, tan((f64)x)) \
	UNARY(asin, T, asin((f64)x)) UNARY(acos, T, acos((f64)x)) UNARY(atan, T, atan((f64)x)) \
	UNARY(sinh, T, sinh((f64)x)) UNARY(cosh, T, cosh((f64)x)) UNARY(tanh, T, tanh((f64)x)) \
	UNARY(asinh, T, asinh((f64)x)) UNARY(acosh, T, acosh((f64)x)) UNARY(atanh, T, atanh((f64)x)) UNARY(erf, T, erf((f64)x)) \
	COMPARES(T)
FLOATS(f32)
FLOATS(f64)
UNARY(sqrt, f32, sqrtf(x))
UNARY(sqrt, f64, sqrt(x))

#define FMA(T, f) \
	static void fma_##T(void *out, const void *pa, const void *pb, const void *pc, size_t n) \
	{ \
		T *r = out; \
		const T *a = pa, *b = pb, *c = pc; \
		for (size_t i = 0; i < n; i++) \
			r[i] = f(a[i], b[i], c[i]); \
	}
FMA(f32, fmaf)
FMA(f64, fma)

/* ---- integers: T signed or unsigned, U its unsigned twin ---- */

#define INT_HELPERS(T, U, S) \
	static inline T div2_##T(T a, T b) { return b == 0 ? 0 : (S) && b == (T)-1 ? (T)(0 - (U)a) : (T)(a / b); } \
	static inline T rem2_##T(T a, T b) { return b == 0 || ((S) && b == (T)-1) ? 0 : (T)(a % b); } \
	static inline T mod2_##T(T a, T b) \
	{ \
		T r = rem2_##T(a, b); \
		return (S) && r != 0 && (r < (T)1) != (b < (T)1) ? (T)(r + b) : r; \
	} \
	static inline T pow2_##T(T a, T b) \
	{ \
		U base = (U)a, r = 1; \
		if ((S) && b < (T)1 && b != 0) /* the real result, truncated */ \
			return a == 1 ? 1 : (S) && a == (T)-1 ? (T)(b & 1 ? -1 : 1) : 0; \
		for (U e = (U)b; e; e >>= 1, base *= base) \
			r = e & 1 ? r * base : r; \
		return (T)r; \
	} \
	static inline T shl2_##T(T a, T b) { return (U)b >= 8 * sizeof(T) ? 0 : (T)((U)a << (U)b); } \
	static inline T shr2_##T(T a, T b) \
	{ \
		return (U)b < 8 * sizeof(T) ? (T)(a >> b) : (T)((S) && a < (T)1 && a != 0 ? -1 : 0); \
	}
#define INTS(T, U, S) \
	INT_HELPERS(T, U, S) \
	BINARY(add, T, (U)x + (U)y) BINARY(sub, T, (U)x - (U)y) BINARY(mul, T, (U)x *(U)y) BINARY(div, T, div2_##T(x, y)) \
	BINARY(rem, T, rem2_##T(x, y)) BINARY(mod, T, mod2_##T(x, y)) BINARY(pow, T, pow2_##T(x, y)) \
	BINARY(min, T, x < y ? x : y) BINARY(max, T, x > y ? x : y) BINARY(and, T, x &y) BINARY(or, T, x | y) BINARY(xor, T, x ^ y) \
	BINARY(shl, T, shl2_##T(x, y)) BINARY(shr, T, shr2_##T(x, y)) UNARY(neg, T, 0 - (U)x) \
	UNARY(abs, T, (S) && x < (T)1 ? 0 - (U)x : (U)x) UNARY(sign, T, x == 0 ? 0 : (S) && x < (T)1 ? -1 : 1) UNARY(not, T, ~x) COMPARES(T)
INTS(i32, u32, 1)
INTS(u32, u32, 0)
INTS(i64, u64, 1)
INTS(u64, u64, 0)

BINARY(and, b8, x && y)
BINARY(or, b8, x || y)
BINARY(xor, b8, !x != !y)
BINARY(min, b8, x && y)
BINARY(max, b8, x || y)
UNARY(not, b8, !x)
COMPARES(b8)

/* ---- the table ---- */

enum { C_f32, C_f64, C_i32, C_u32, C_i64, C_u64, C_b8, N_C };

static int column_of(enum tg_dtype t)
{
	switch (t) {
	case TG_f32: return C_f32;
	case TG_f64: return C_f64;
	case TG_i32: return C_i32;
	case TG_u32: return C_u32;
	case TG_i64: return C_i64;
	case TG_u64: return C_u64;
	case TG_bool: return C_b8;
	default: return -1;
	}
}

#define F_(op) [TG_X_##op] = { [C_f32] = op##_f32, [C_f64] = op##_f64 }
#define I_(op) [TG_X_##op] = { [C_i32] = op##_i32, [C_u32] = op##_u32, [C_i64] = op##_i64, [C_u64] = op##_u64, [C_b8] = op##_b8 }
#define NUM(op) [C_f32] = op##_f32, [C_f64] = op##_f64, [C_i32] = op##_i32, [C_u32] = op##_u32, [C_i64] = op##_i64, [C_u64] = op##_u64
#define N_(op) [TG_X_##op] = { NUM(op) }
#define A_(op) [TG_X_##op] = { NUM(op), [C_b8] = op##_b8 }
#define S_(op) [TG_X_##op] = { [C_i32] = op##_i32, [C_u32] = op##_u32, [C_i64] = op##_i64, [C_u64] = op##_u64 }

static tg_kernel *const kernels[TG_N_EXPRS][N_C] = {
	N_(add),   N_(sub),  N_(mul),  N_(div),   N_(rem),   N_(mod),   N_(pow),  A_(min),  A_(max),  F_(fma),  N_(neg),	N_(abs),
	N_(sign),  F_(floor), F_(ceil), F_(trunc), F_(rne),  F_(sqrt),	F_(rsqrt), F_(recip), F_(exp), F_(log),  F_(sin),	F_(cos),
	F_(tan),   F_(asin), F_(acos), F_(atan),  F_(sinh),  F_(cosh),	F_(tanh), F_(asinh), F_(acosh), F_(atanh), F_(erf), A_(eq),
	A_(ne),	   A_(lt),   A_(le),   I_(and),	  I_(or),    I_(xor),	I_(not),  S_(shl),  S_(shr),  A_(select),
};

tg_kernel *tg_kernel_of(enum tg_expr_op op, enum tg_dtype t)
{
	int c = column_of(t);
	return c < 0 || op >= TG_N_EXPRS ? NULL : kernels[op][c];
}

size_t tg_col_size(enum tg_dtype t) { return t == TG_bool ? 1 : tg_dtypes[t].bits / 8; }

/* ---- conversions ---- */

static inline i32 to_i32(f64 x) { return x != x ? 0 : x >= 2147483648.0 ? INT32_MAX : x <= -2147483649.0 ? INT32_MIN : (i32)x; }
static inline u32 to_u32(f64 x) { return !(x > 0) ? 0 : x >= 4294967296.0 ? UINT32_MAX : (u32)x; }
static inline i64 to_i64(f64 x) { return x != x ? 0 : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (i64)x; }
static inline u64 to_u64(f64 x) { return !(x > 0) ? 0 : x >= 0x1p64 ? UINT64_MAX : (u64)x; }

#define CAST(S, T, expr) \
	static void cast_##S##_##T(void *out, const void *pa, const void *pb, const void *pc, size_t n) \
	{ \
		T *r = out; \
		const S *a = pa; \
		UNUSED3; \
		for (size_t i = 0; i < n; i++) { \
			S x = a[i]; \
			r[i] = (T)(expr); \
		} \
	}
#define CASTS_FLOAT(S) \
	CAST(S, f32, x) CAST(S, f64, x) CAST(S, i32, to_i32((f64)x)) CAST(S, u32, to_u32((f64)x)) CAST(S, i64, to_i64((f64)x)) \
	CAST(S, u64, to_u64((f64)x)) CAST(S, b8, x != 0)
#define CASTS_INT(S) CAST(S, f32, x) CAST(S, f64, x) CAST(S, i32, x) CAST(S, u32, x) CAST(S, i64, x) CAST(S, u64, x) CAST(S, b8, x != 0)
CASTS_FLOAT(f32)
CASTS_FLOAT(f64)
CASTS_INT(i32)
CASTS_INT(u32)
CASTS_INT(i64)
CASTS_INT(u64)
CASTS_INT(b8)

#define ROW(S) \
	[C_##S] = { cast_##S##_f32, cast_##S##_f64, cast_##S##_i32, cast_##S##_u32, cast_##S##_i64, cast_##S##_u64, cast_##S##_b8 }
static tg_kernel *const casts[N_C][N_C] = { ROW(f32), ROW(f64), ROW(i32), ROW(u32), ROW(i64), ROW(u64), ROW(b8) };

tg_kernel *tg_kernel_cast(enum tg_dtype from, enum tg_dtype to)
{
	int a = column_of(from), b = column_of(to);
	return a < 0 || b < 0 ? NULL : casts[a][b];
}

bool tg_narrow_defined(enum tg_dtype t, enum tg_dtype k)
{
	if (k >= TG_N_DTYPES || t >= TG_N_DTYPES || t == TG_bool || column_of(t) < 0)
		return false;
	return tg_type_is_float(t) ? tg_is_float(k) : tg_is_int(k);
}

static i64 wrap_int(i64 v, unsigned bits, bool is_signed)
{
	if (bits >= 64)
		return v;
	u64 u = (u64)v << (64 - bits);
	return is_signed ? (i64)u >> (64 - bits) : (i64)(u >> (64 - bits));
}

/* v is a value of a column type, unsigned 64-bit ones as their bit pattern */
static i64 sat_int(i64 v, bool from_u64, enum tg_dtype k)
{
	i64 lo, hi;
	tg_int_range(k, &lo, &hi);
	if (from_u64)
		return (u64)v > (u64)hi ? hi : v;
	if (k == TG_u64)
		return v < 0 ? 0 : v;
	return v < lo ? lo : v > hi ? hi : v;
}

#define NARROW_INT(T) \
	static void narrow_##T(enum tg_dtype k, bool sat, T *r, const T *a, bool from_u64, size_t n) \
	{ \
		unsigned bits = tg_dtypes[k].bits; \
		bool is_signed = tg_dtypes[k].kind == TG_KIND_SIGNED; \
		for (size_t i = 0; i < n; i++) \
			r[i] = (T)(sat ? sat_int((i64)a[i], from_u64, k) : wrap_int((i64)a[i], bits, is_signed)); \
	}
NARROW_INT(i32)
NARROW_INT(u32)
NARROW_INT(i64)

void tg_col_narrow(enum tg_dtype t, enum tg_dtype k, bool sat, void *out, const void *a, size_t n)
{
	const f32 *a32 = a;
	const f64 *a64 = a;
	switch (t) {
	case TG_f32:
		for (size_t i = 0; i < n; i++)
			((f32 *)out)[i] = (f32)tg_round_to(k, a32[i], sat);
		break;
	case TG_f64:
		for (size_t i = 0; i < n; i++)
			((f64 *)out)[i] = tg_round_to(k, a64[i], sat);
		break;
	case TG_i32: narrow_i32(k, sat, out, a, false, n); break;
	case TG_u32: narrow_u32(k, sat, out, a, false, n); break;
	default: narrow_i64(k, sat, out, a, t == TG_u64, n); break;
	}
}

void tg_col_fill(enum tg_dtype t, void *col, uint64_t bits, size_t n)
{
	f64 v;
	memcpy(&v, &bits, sizeof v);
	for (size_t i = 0; i < n; i++)
		switch (t) {
		case TG_f32: ((f32 *)col)[i] = (f32)v; break;
		case TG_f64: ((f64 *)col)[i] = v; break;
		case TG_i32: ((i32 *)col)[i] = (i32)bits; break;
		case TG_u32: ((u32 *)col)[i] = (u32)bits; break;
		case TG_bool: ((b8 *)col)[i] = bits != 0; break;
		default: ((u64 *)col)[i] = bits; break;
		}
}

void tg_col_index(int32_t *col, int64_t first, int64_t step, size_t n)
{
	for (size_t i = 0; i < n; i++)
		col[i] = (i32)(first + (int64_t)i * step);
}

/* ---- accumulators ---- */

static const enum tg_expr_op combine_op[TG_N_COMBINES] = { [TG_SUM] = TG_X_add, [TG_PROD] = TG_X_mul, [TG_MAX] = TG_X_max, [TG_MIN] = TG_X_min };

static bool wide(enum tg_combine c, enum tg_dtype t) { return t == TG_f32 && (c == TG_SUM || c == TG_PROD); }

void tg_acc_init(enum tg_combine c, enum tg_dtype t, void *acc, size_t n)
{
	tg_col_fill(wide(c, t) ? TG_f64 : t, acc, tg_identity_bits(c, t), n);
}

void tg_acc_column(enum tg_combine c, enum tg_dtype t, void *acc, const void *v, size_t n)
{
	f64 *a = acc;
	const f32 *x = v;
	if (!wide(c, t)) {
		tg_kernel_of(combine_op[c], t)(acc, acc, v, NULL, n);
		return;
	}
	if (c == TG_SUM)
		for (size_t i = 0; i < n; i++)
			a[i] += x[i];
	else
		for (size_t i = 0; i < n; i++)
			a[i] *= x[i];
}

#define FOLD(T, expr) \
	do { \
		const T *p = v; \
		T x = *(T *)acc; \
		for (size_t i = 0; i < n; i++) { \
			T y = p[i]; \
			x = (T)(expr); \
		} \
		*(T *)acc = x; \
	} while (0)

static void row_wide(enum tg_combine c, f64 *acc, const f32 *v, size_t n)
{
	f64 s[4] = { 0 };
	if (c == TG_PROD) {
		for (size_t i = 0; i < n; i++)
			*acc *= v[i];
		return;
	}
	size_t i = 0;
	for (; i + 4 <= n; i += 4)
		for (size_t j = 0; j < 4; j++)
			s[j] += v[i + j];
	for (; i < n; i++)
		s[0] += v[i];
	*acc += (s[0] + s[1]) + (s[2] + s[3]);
}

void tg_acc_row(enum tg_combine c, enum tg_dtype t, void *acc, const void *v, size_t n)
{
	if (wide(c, t)) {
		row_wide(c, acc, v, n);
	} else if (t == TG_f32 && c == TG_MAX) {
		FOLD(f32, max2_f32(x, y));
	} else if (t == TG_f32) {
		FOLD(f32, min2_f32(x, y));
	} else { /* rare types: one element at a time */
		tg_kernel *k = tg_kernel_of(combine_op[c], t);
		size_t each = tg_col_size(t);
		for (size_t i = 0; i < n; i++)
			k(acc, acc, (const char *)v + i * each, NULL, 1);
	}
}

void tg_acc_end(enum tg_combine c, enum tg_dtype t, void *out, const void *acc, size_t n)
{
	const f64 *a = acc;
	if (!wide(c, t)) {
		memcpy(out, acc, n * tg_col_size(t));
		return;
	}
	for (size_t i = 0; i < n; i++)
		((f32 *)out)[i] = (f32)a[i];
}
