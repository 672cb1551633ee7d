/* lower_math.c: functions that take several vector operations. f32 unless said; each states where its accuracy comes from.
 *
 * Exact division and square root of f32 follow Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor" (1990): one
 * Newton correction with a fused residual. */
#include "kernel.h"

#include <math.h>
#include <string.h>

static vreg k_f32(struct kernel *k, double v)
{
	float f = (float)v;
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return kernel_vector(k, bits);
}

static vreg v1(struct kernel *k, enum tg_opcode op, vreg a)
{
	vreg v = mreg(k->f, CLASS_V);
	memit(&k->at, op, (const int64_t[]){ R(v), R(a) }, 2);
	return v;
}

static vreg emit_of(struct kernel *k, enum tg_opcode op, enum vclass c, const vreg *in, uint32_t n)
{
	vreg v = mreg(k->f, c);
	int64_t f[4] = { R(v) };
	for (uint32_t i = 0; i < n; i++)
		f[i + 1] = R(in[i]);
	memit(&k->at, op, f, n + 1);
	return v;
}

/* Operands are often calls that emit code themselves. Compilers disagree about the order in which a function's arguments are evaluated, and so would
 * the code; the elements of an initializer list come in order. */
#define v2(k, op, a, b) emit_of(k, op, CLASS_V, (const vreg[]){ a, b }, 2)
#define v3(k, op, a, b, c) emit_of(k, op, CLASS_V, (const vreg[]){ a, b, c }, 3)
#define test(k, op, a, b) emit_of(k, op, CLASS_M, (const vreg[]){ a, b }, 2)
#define pick(k, m, a, b) emit_of(k, TG_I_vsel, CLASS_V, (const vreg[]){ m, a, b }, 3)
#define mul(k, a, b) v2(k, TG_I_vmul_f32, a, b)
#define add(k, a, b) v2(k, TG_I_vadd_f32, a, b)
#define sub(k, a, b) v2(k, TG_I_vsub_f32, a, b)
#define fma3(k, a, b, c) v3(k, TG_I_vfma_f32, a, b, c)
#define fnma(k, a, b, c) v3(k, TG_I_vfnma_f32, a, b, c)
#define iop(k, op, a, b) v2(k, op, a, b)
static vreg absf(struct kernel *k, vreg a) { return v1(k, TG_I_vabs_f32, a); }
static vreg rcp(struct kernel *k, vreg a) { return v1(k, TG_I_vrcp, a); }

static vreg with_sign(struct kernel *k, vreg magnitude, vreg sign)
{
	vreg s = v2(k, TG_I_vand, sign, kernel_vector(k, 0x80000000u));
	return v2(k, TG_I_vor, v2(k, TG_I_vand, magnitude, kernel_vector(k, 0x7fffffffu)), s);
}

/* Infinite and NaN quotients have a NaN residual; that of a zero loses the sign. */
static vreg corrected(struct kernel *k, vreg better, vreg q)
{
	return pick(k, test(k, TG_I_vlt_f32, kernel_vector(k, 0), absf(k, better)), better, q);
}

/* Divisors outside [2^-100, 2^100] are scaled, so that neither the reciprocal nor the residual leaves the normal range. */
static vreg divide(struct kernel *k, vreg a, vreg b)
{
	vreg m = absf(k, b);
	vreg huge = test(k, TG_I_vlt_f32, k_f32(k, 0x1p100), m), tiny = test(k, TG_I_vlt_f32, m, k_f32(k, 0x1p-100));
	vreg scale = pick(k, huge, k_f32(k, 0x1p-60), pick(k, tiny, k_f32(k, 0x1p60), k_f32(k, 1)));
	vreg bs = mul(k, b, scale);
	vreg r = rcp(k, bs), q = mul(k, a, r);
	vreg e = fnma(k, q, bs, a), better = fma3(k, e, r, q);
	return mul(k, corrected(k, better, q), scale);
}

/* The same by a number that is known: exact by a power of two, else corrected once. */
static vreg divide_by(struct kernel *k, vreg a, double by)
{
	int exponent;
	double m = fabs(by);
	vreg r = k_f32(k, 1 / by), q = mul(k, a, r);
	if (frexp(m, &exponent) == 0.5)
		return q;
	vreg c = k_f32(k, by), e = fnma(k, q, c, a), better = fma3(k, e, r, q);
	return corrected(k, better, q);
}

/* The divisor, where every point has the same ordinary one; 0: not so. */
static double known_divisor(const struct kernel *k, const struct tg_node *b)
{
	double v = 0;
	if (b->op == TG_X_const)
		memcpy(&v, &b->bits, sizeof v);
	else if (b->op == TG_X_arg && k->p->operand[b->k].constant)
		v = tg_const_f64(k->p->operand[b->k].constant, 0);
	return fabs(v) >= 0x1p-100 && fabs(v) <= 0x1p100 ? v : 0;
}

static vreg square_root(struct kernel *k, vreg x)
{
	vreg tiny = test(k, TG_I_vlt_f32, x, k_f32(k, 0x1p-100));
	vreg xs = mul(k, x, pick(k, tiny, k_f32(k, 0x1p100), k_f32(k, 1)));
	vreg r = v1(k, TG_I_vrsqrt, xs), y = mul(k, xs, r);
	vreg e = fnma(k, y, y, xs), better = fma3(k, mul(k, e, k_f32(k, 0.5)), r, y);
	vreg root = mul(k, better, pick(k, tiny, k_f32(k, 0x1p-50), k_f32(k, 1)));
	root = pick(k, test(k, TG_I_veq_f32, x, kernel_vector(k, 0)), x, root);
	return pick(k, test(k, TG_I_veq_f32, x, k_f32(k, INFINITY)), x, root);
}

/* e^x = 2^t (1 + r ln 2) with t = x log2(e) rounded and r what rounding lost. */
static vreg exponential(struct kernel *k, vreg x)
{
	vreg c = k_f32(k, 1.4426950408889634), t = mul(k, x, c);
	vreg lost = fma3(k, x, c, v1(k, TG_I_vneg_f32, t));
	vreg low = fma3(k, x, k_f32(k, 1.4426950408889634 - (double)(float)1.4426950408889634), lost);
	vreg p = v1(k, TG_I_vexp2, t), better = fma3(k, mul(k, p, low), k_f32(k, 0.6931471805599453), p);
	return pick(k, test(k, TG_I_veq_f32, better, better), better, p);
}

static vreg logarithm(struct kernel *k, vreg x)
{
	return mul(k, v1(k, TG_I_vlog2, x), k_f32(k, 0.6931471805599453));
}

/* log(1 + u) = log(w) u / (w - 1) with w = 1 + u rounded (Kahan): the rounding of w cancels. */
static vreg log1p_of(struct kernel *k, vreg u)
{
	vreg w = add(k, u, k_f32(k, 1)), d = sub(k, w, k_f32(k, 1));
	vreg v = mul(k, logarithm(k, w), divide(k, u, d));
	v = pick(k, test(k, TG_I_veq_f32, d, kernel_vector(k, 0)), u, v);
	return pick(k, test(k, TG_I_veq_f32, w, k_f32(k, INFINITY)), w, v);
}

static vreg polynomial(struct kernel *k, vreg x, const double *c, uint32_t n)
{
	vreg v = k_f32(k, c[n - 1]);
	for (uint32_t i = n - 1; i-- > 0;)
		v = fma3(k, v, x, k_f32(k, c[i]));
	return v;
}

/* atan on [0, tan(pi/8)] by its odd polynomial (Cephes atanf), larger arguments reduced by atan(x) = pi/4 + atan((x-1)/(x+1)) and pi/2 - atan(1/x). */
static vreg arctangent(struct kernel *k, vreg x)
{
	static const double c[] = { -3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2 };
	vreg a = absf(k, x), one = k_f32(k, 1);
	vreg big = test(k, TG_I_vlt_f32, k_f32(k, 2.414213562373095), a), mid = test(k, TG_I_vlt_f32, k_f32(k, 0.4142135623730950), a);
	vreg num = pick(k, big, k_f32(k, -1), pick(k, mid, sub(k, a, one), a));
	vreg den = pick(k, big, a, pick(k, mid, add(k, a, one), one));
	vreg y = divide(k, num, den), z = mul(k, y, y);
	vreg p = fma3(k, mul(k, polynomial(k, z, c, 4), z), y, y);
	vreg base = pick(k, big, k_f32(k, 1.5707963267948966), pick(k, mid, k_f32(k, 0.7853981633974483), kernel_vector(k, 0)));
	return with_sign(k, add(k, base, p), x);
}

/* asin on [0, 1/2] by its odd polynomial (Cephes asinf); above, asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)). */
static void arcsine_parts(struct kernel *k, vreg x, vreg *upper, vreg *p)
{
	static const double c[] = { 1.6666752422e-1, 7.4953002686e-2, 4.5470025998e-2, 2.4181311049e-2, 4.2163199048e-2 };
	vreg a = absf(k, x);
	*upper = test(k, TG_I_vlt_f32, k_f32(k, 0.5), a);
	vreg half = mul(k, sub(k, k_f32(k, 1), a), k_f32(k, 0.5));
	vreg z = pick(k, *upper, half, mul(k, a, a)), y = pick(k, *upper, square_root(k, half), a);
	*p = fma3(k, mul(k, polynomial(k, z, c, 5), z), y, y);
}

static vreg arcsine(struct kernel *k, vreg x)
{
	vreg upper, p;
	arcsine_parts(k, x, &upper, &p);
	return with_sign(k, pick(k, upper, fnma(k, k_f32(k, 2), p, k_f32(k, 1.5707963267948966)), p), x);
}

static vreg arccosine(struct kernel *k, vreg x)
{
	vreg upper, p;
	arcsine_parts(k, x, &upper, &p);
	vreg negative = test(k, TG_I_vlt_f32, x, kernel_vector(k, 0)), twice = add(k, p, p);
	vreg far = pick(k, negative, sub(k, k_f32(k, 3.141592653589793), twice), twice);
	return pick(k, upper, far, sub(k, k_f32(k, 1.5707963267948966), with_sign(k, p, x)));
}

static vreg sinh_of(struct kernel *k, vreg x)
{
	static const double c[] = { 1.0 / 6, 1.0 / 120, 1.0 / 5040, 1.0 / 362880 };
	vreg a = absf(k, x), z = mul(k, x, x);
	vreg small = fma3(k, mul(k, polynomial(k, z, c, 4), z), x, x);
	/* e^(a/2) squared keeps large arguments from overflowing early */
	vreg h = exponential(k, mul(k, a, k_f32(k, 0.5)));
	vreg large = sub(k, mul(k, mul(k, h, k_f32(k, 0.5)), h), mul(k, k_f32(k, 0.5), rcp(k, mul(k, h, h))));
	return pick(k, test(k, TG_I_vlt_f32, a, k_f32(k, 1)), small, with_sign(k, large, x));
}

static vreg cosh_of(struct kernel *k, vreg x)
{
	vreg h = exponential(k, mul(k, absf(k, x), k_f32(k, 0.5)));
	return add(k, mul(k, mul(k, h, k_f32(k, 0.5)), h), mul(k, k_f32(k, 0.5), rcp(k, mul(k, h, h))));
}

/* asinh(x) = log1p(a + a^2 / (1 + sqrt(1 + a^2))); beyond 2^12, log(2 a). */
static vreg asinh_of(struct kernel *k, vreg x)
{
	vreg a = absf(k, x), z = mul(k, a, a), one = k_f32(k, 1);
	vreg small = log1p_of(k, add(k, a, divide(k, z, add(k, one, square_root(k, add(k, z, one))))));
	vreg large = add(k, logarithm(k, a), k_f32(k, 0.6931471805599453));
	return with_sign(k, pick(k, test(k, TG_I_vlt_f32, k_f32(k, 4096), a), large, small), x);
}

/* acosh(x) = log1p(t + sqrt(2 t + t^2)), t = x - 1. */
static vreg acosh_of(struct kernel *k, vreg x)
{
	vreg t = sub(k, x, k_f32(k, 1));
	vreg small = log1p_of(k, add(k, t, square_root(k, fma3(k, t, t, add(k, t, t)))));
	vreg large = add(k, logarithm(k, x), k_f32(k, 0.6931471805599453));
	return pick(k, test(k, TG_I_vlt_f32, k_f32(k, 4096), x), large, small);
}

static vreg atanh_of(struct kernel *k, vreg x)
{
	vreg a = absf(k, x), twice = add(k, a, a), rest = sub(k, k_f32(k, 1), a), u = divide(k, twice, rest);
	return with_sign(k, mul(k, log1p_of(k, u), k_f32(k, 0.5)), x);
}

static vreg tangent(struct kernel *k, vreg x)
{
	vreg s = v1(k, TG_I_vsin, x), c = v1(k, TG_I_vcos, x);
	return divide(k, s, c);
}

/* a^n by squaring: exact wherever the products are. */
static vreg whole_power(struct kernel *k, vreg a, uint32_t n)
{
	vreg v = { 0 }, square = a;
	for (; n; n >>= 1) {
		if (n & 1)
			v = v.id ? mul(k, v, square) : square;
		if (n > 1)
			square = mul(k, square, square);
	}
	return v.id ? v : k_f32(k, 1);
}

/* Exponents that are known: whole ones up to 64, and the square root. Zero register: none of these. */
static vreg known_power(struct kernel *k, vreg a, const struct tg_node *b)
{
	double e;
	memcpy(&e, &b->bits, sizeof e);
	if (b->op != TG_X_const || b->dtype != TG_f32)
		return (vreg){ 0 };
	if (e == 0.5) /* pow(-0, 0.5) is +0, pow(-inf, 0.5) is +inf: adding 0 and the general rule settle both */
		return pick(k, test(k, TG_I_veq_f32, a, k_f32(k, -(double)INFINITY)), k_f32(k, (double)INFINITY), square_root(k, add(k, a, kernel_vector(k, 0))));
	if (e != trunc(e) || fabs(e) > 64)
		return (vreg){ 0 };
	vreg v = whole_power(k, a, (uint32_t)fabs(e));
	return e < 0 ? divide(k, k_f32(k, 1), v) : v;
}

/* Whole exponents of magnitude below 64 at run time, bit by bit. */
static vreg small_whole_power(struct kernel *k, vreg a, vreg b)
{
	vreg n = v1(k, TG_I_vf2i, absf(k, b)), v = k_f32(k, 1), square = a, zero = kernel_vector(k, 0);
	for (uint32_t bit = 0; bit < 6; bit++) {
		vreg set = test(k, TG_I_vne_i32, v2(k, TG_I_vand, n, kernel_vector(k, 1u << bit)), zero);
		v = pick(k, set, mul(k, v, square), v);
		square = mul(k, square, square);
	}
	return pick(k, test(k, TG_I_vlt_f32, b, zero), divide(k, k_f32(k, 1), v), v);
}

/* |a|^b = 2^(b log2 |a|) with the product's rounding error carried; the sign from b's parity (C99 annex F.9.4.4). */
static vreg power(struct kernel *k, vreg a, vreg b)
{
	vreg m = absf(k, a), l = v1(k, TG_I_vlog2, m), t = mul(k, l, b);
	vreg lost = fma3(k, l, b, v1(k, TG_I_vneg_f32, t)), p = v1(k, TG_I_vexp2, t);
	vreg better = fma3(k, mul(k, p, lost), k_f32(k, 0.6931471805599453), p);
	vreg v = pick(k, test(k, TG_I_veq_f32, better, better), better, p);
	vreg whole = test(k, TG_I_veq_f32, v1(k, TG_I_vtrunc_f32, b), b);
	vreg half = mul(k, b, k_f32(k, 0.5)), even = test(k, TG_I_veq_f32, v1(k, TG_I_vtrunc_f32, half), half);
	vreg negative = v2(k, TG_I_vand, a, kernel_vector(k, 0x80000000u));
	vreg sign = pick(k, even, kernel_vector(k, 0), pick(k, whole, negative, kernel_vector(k, 0)));
	v = v2(k, TG_I_vor, v, sign);
	/* a negative base with a broken exponent has no real power */
	vreg below = test(k, TG_I_vlt_f32, a, kernel_vector(k, 0));
	vreg broken = pick(k, whole, v, kernel_vector(k, 0x7fc00000u));
	vreg infinite = test(k, TG_I_veq_f32, m, k_f32(k, INFINITY));
	v = pick(k, below, pick(k, infinite, v, broken), v);
	vreg one = k_f32(k, 1), small = mreg(k->f, CLASS_M);
	EMIT(&k->at, mand, R(small), R(whole), R(test(k, TG_I_vlt_f32, absf(k, b), k_f32(k, 64))));
	v = pick(k, small, small_whole_power(k, a, b), v);
	v = pick(k, test(k, TG_I_veq_f32, b, kernel_vector(k, 0)), one, v);
	return pick(k, test(k, TG_I_veq_f32, a, one), one, v);
}

/* C fmod for quotients below 2^24 is exact through trunc and a fused residual, corrected by one divisor either way. */
static vreg fmod_of(struct kernel *k, vreg a, vreg b)
{
	vreg x = absf(k, a), y = absf(k, b), q = v1(k, TG_I_vtrunc_f32, divide(k, x, y)), r = fnma(k, q, y, x);
	r = pick(k, test(k, TG_I_vlt_f32, r, kernel_vector(k, 0)), add(k, r, y), r);
	r = pick(k, test(k, TG_I_vle_f32, y, r), sub(k, r, y), r);
	r = pick(k, test(k, TG_I_veq_f32, y, k_f32(k, INFINITY)), x, r);
	return with_sign(k, r, a);
}

static vreg mod_of(struct kernel *k, vreg a, vreg b)
{
	vreg r = fmod_of(k, a, b), zero = kernel_vector(k, 0), moved = add(k, r, b);
	vreg product = v2(k, TG_I_vxor, r, b), differ = test(k, TG_I_vlt_i32, product, zero), nonzero = test(k, TG_I_vne_f32, r, zero), both = mreg(k->f, CLASS_M);
	EMIT(&k->at, mand, R(both), R(differ), R(nonzero));
	return pick(k, both, moved, r);
}

static vreg sign_of(struct kernel *k, vreg a)
{
	vreg s = with_sign(k, k_f32(k, 1), a);
	vreg ordinary = test(k, TG_I_vlt_f32, kernel_vector(k, 0), absf(k, a));
	return pick(k, ordinary, s, a); /* zeros and NaN stay */
}

/* ---- integers ------------------------------------------------------------------------------------------------------------ */


/* Unsigned quotient: the f32 estimate is below the quotient by at most 2^-22 of it, so three rounds of estimating the remainder and one final
 * correction reach every 32-bit operand. The estimate is scaled down so that it never exceeds what is left. */
static vreg divide_u32(struct kernel *k, vreg a, vreg b)
{
	vreg r = mul(k, rcp(k, v1(k, TG_I_vu2f, b)), k_f32(k, 1 - 0x1p-21)), q = kernel_vector(k, 0), rest = a;
	for (int round = 0; round < 3; round++) {
		vreg step = v1(k, TG_I_vf2u, mul(k, v1(k, TG_I_vu2f, rest), r));
		q = iop(k, TG_I_vadd_i32, q, step);
		rest = iop(k, TG_I_vsub_i32, rest, iop(k, TG_I_vmul_i32, step, b));
	}
	for (int round = 0; round < 2; round++) {
		vreg more = test(k, TG_I_vle_u32, b, rest);
		q = pick(k, more, iop(k, TG_I_vadd_i32, q, kernel_vector(k, 1)), q);
		rest = pick(k, more, iop(k, TG_I_vsub_i32, rest, b), rest);
	}
	return pick(k, test(k, TG_I_veq_i32, b, kernel_vector(k, 0)), kernel_vector(k, 0), q);
}

static vreg negate_i32(struct kernel *k, vreg a)
{
	return iop(k, TG_I_vsub_i32, kernel_vector(k, 0), a);
}

static vreg abs_i32(struct kernel *k, vreg a)
{
	return iop(k, TG_I_vmax_i32, a, negate_i32(k, a)); /* the smallest stays: its bits are its magnitude as u32 */
}

static vreg divide_i32(struct kernel *k, vreg a, vreg b)
{
	vreg n = abs_i32(k, a), d = abs_i32(k, b), q = divide_u32(k, n, d);
	vreg differ = test(k, TG_I_vlt_i32, iop(k, TG_I_vxor, a, b), kernel_vector(k, 0));
	return pick(k, differ, negate_i32(k, q), q);
}

static vreg remainder_int(struct kernel *k, const struct tg_node *n, vreg a, vreg b)
{
	vreg zero = kernel_vector(k, 0), q = n->dtype == TG_u32 ? divide_u32(k, a, b) : divide_i32(k, a, b);
	vreg r = iop(k, TG_I_vsub_i32, a, iop(k, TG_I_vmul_i32, q, b));
	r = pick(k, test(k, TG_I_veq_i32, b, zero), zero, r);
	if (n->op == TG_X_rem || n->dtype == TG_u32)
		return r;
	vreg differ = test(k, TG_I_vlt_i32, iop(k, TG_I_vxor, r, b), zero), nonzero = test(k, TG_I_vne_i32, r, zero), both = mreg(k->f, CLASS_M);
	EMIT(&k->at, mand, R(both), R(differ), R(nonzero));
	return pick(k, both, iop(k, TG_I_vadd_i32, r, b), r);
}

/* Square and multiply over the exponent's 32 bits. Negative exponents: 1 stays, -1 alternates, everything else truncates to 0. */
static vreg power_int(struct kernel *k, const struct tg_node *n, vreg a, vreg b)
{
	vreg one = kernel_vector(k, 1), zero = kernel_vector(k, 0), v = one, base = a;
	for (uint32_t bit = 0; bit < 32; bit++) {
		vreg set = test(k, TG_I_vne_i32, iop(k, TG_I_vand, b, kernel_vector(k, 1u << bit)), zero);
		v = pick(k, set, iop(k, TG_I_vmul_i32, v, base), v);
		base = iop(k, TG_I_vmul_i32, base, base);
	}
	if (n->dtype == TG_u32)
		return v;
	vreg odd = test(k, TG_I_vne_i32, iop(k, TG_I_vand, b, one), zero), minus = kernel_vector(k, 0xffffffffu);
	vreg inverse = pick(k, test(k, TG_I_veq_i32, a, one), one, pick(k, test(k, TG_I_veq_i32, a, minus), pick(k, odd, minus, one), zero));
	return pick(k, test(k, TG_I_vlt_i32, b, zero), inverse, v);
}

static vreg int_math(struct kernel *k, const struct tg_node *n, const vreg *in)
{
	bool is_unsigned = n->dtype == TG_u32;
	vreg zero = kernel_vector(k, 0), one = kernel_vector(k, 1);
	switch (n->op) {
	case TG_X_neg: return negate_i32(k, in[0]);
	case TG_X_abs: return is_unsigned ? in[0] : abs_i32(k, in[0]);
	case TG_X_sign:
		if (is_unsigned)
			return iop(k, TG_I_vmin_u32, in[0], one);
		return iop(k, TG_I_vmax_i32, iop(k, TG_I_vmin_i32, in[0], one), kernel_vector(k, 0xffffffffu));
	case TG_X_not: return iop(k, TG_I_vxor, in[0], kernel_vector(k, 0xffffffffu));
	case TG_X_div: return is_unsigned ? divide_u32(k, in[0], in[1]) : divide_i32(k, in[0], in[1]);
	case TG_X_rem: case TG_X_mod: return remainder_int(k, n, in[0], in[1]);
	case TG_X_pow: return power_int(k, n, in[0], in[1]);
	case TG_X_floor: case TG_X_ceil: case TG_X_trunc: case TG_X_rne: return in[0];
	default: break;
	}
	k->failed = "an integer function that the chip's code generator does not know";
	return zero;
}

vreg lower_math(struct kernel *k, const struct tg_node *n, const vreg *in)
{
	if (n->dtype != TG_f32)
		return int_math(k, n, in);
	switch (n->op) {
	case TG_X_div: {
		double by = known_divisor(k, &k->p->stage->nodes[n->b.id - 1]);
		return by != 0 ? divide_by(k, in[0], by) : divide(k, in[0], in[1]);
	}
	case TG_X_sqrt: return square_root(k, in[0]);
	case TG_X_exp: return exponential(k, in[0]);
	case TG_X_log: return logarithm(k, in[0]);
	case TG_X_pow: {
		vreg known = known_power(k, in[0], &k->p->stage->nodes[n->b.id - 1]);
		return known.id ? known : power(k, in[0], in[1]);
	}
	case TG_X_rem: return fmod_of(k, in[0], in[1]);
	case TG_X_mod: return mod_of(k, in[0], in[1]);
	case TG_X_sign: return sign_of(k, in[0]);
	case TG_X_tan: return tangent(k, in[0]);
	case TG_X_asin: return arcsine(k, in[0]);
	case TG_X_acos: return arccosine(k, in[0]);
	case TG_X_atan: return arctangent(k, in[0]);
	case TG_X_sinh: return sinh_of(k, in[0]);
	case TG_X_cosh: return cosh_of(k, in[0]);
	case TG_X_asinh: return asinh_of(k, in[0]);
	case TG_X_acosh: return acosh_of(k, in[0]);
	case TG_X_atanh: return atanh_of(k, in[0]);
	default: break;
	}
	k->failed = "a function that the chip's code generator does not know";
	return in[0];
}
