/* graph_expand_elem.c: elementwise ops: one expression is the whole definition. EXACT rows never leave the result type; the results of the
 * others are wrapped or rounded to a narrow result type. */
#include <math.h>

#include "ir_internal.h"

#define ROW(name, exact) \
	static tg_expr elem_##name(const struct tg_elem *e); \
	tg_val expand_##name(struct tg_expand *x) { return tg_expand_elementwise(x, elem_##name, exact); } \
	static tg_expr elem_##name(const struct tg_elem *e)
#define ELEM(name) ROW(name, false)
#define EXACT(name) ROW(name, true)
#define X0 (e->in[0])
#define X1 (e->in[1])
#define NONE ((tg_expr){ 0 })

/* Operands are often calls that make nodes themselves. Compilers disagree about the order in which a function's arguments are evaluated, and so would
 * the nodes; the elements of an initializer list come in order. */
static tg_expr node_of(const struct tg_elem *e, enum tg_expr_op op, enum tg_dtype t, const tg_expr *in) { return tg_node_new(e->b, op, t, in[0], in[1], in[2]); }
static tg_expr pick_of(const struct tg_elem *e, const tg_expr *in) { return node_of(e, TG_X_select, tg_node_type(e->b, in[1]), in); }
#define un(e, op, a) node_of(e, op, (e)->t, (const tg_expr[3]){ a })
#define bin(e, op, a, b) node_of(e, op, (e)->t, (const tg_expr[3]){ a, b })
#define cmp(e, op, a, b) node_of(e, op, TG_bool, (const tg_expr[3]){ a, b })
#define pick(e, c, a, b) pick_of(e, (const tg_expr[3]){ c, a, b })
#define add(e, a, b) bin(e, TG_X_add, a, b)
#define sub(e, a, b) bin(e, TG_X_sub, a, b)
#define mul(e, a, b) bin(e, TG_X_mul, a, b)
static tg_expr num(const struct tg_elem *e, double v) { return tg_node_const(e->b, e->t, v); }
static tg_expr scale(const struct tg_elem *e, double k, tg_expr a) { return k == 1 ? a : mul(e, num(e, k), a); }
static tg_expr negative(const struct tg_elem *e) { return cmp(e, TG_X_lt, X0, num(e, 0)); }
static tg_expr expm1_of(const struct tg_elem *e, tg_expr a) { return sub(e, un(e, TG_X_exp, a), num(e, 1)); }
static tg_expr sigmoid_of(const struct tg_elem *e, tg_expr a)
{
	return un(e, TG_X_recip, add(e, num(e, 1), un(e, TG_X_exp, un(e, TG_X_neg, a))));
}
/* max(x, 0) + log(1 + exp(-|x|)): exp never overflows */
static tg_expr softplus_of(const struct tg_elem *e, tg_expr a)
{
	tg_expr tail = un(e, TG_X_exp, un(e, TG_X_neg, un(e, TG_X_abs, a)));
	return add(e, bin(e, TG_X_max, a, num(e, 0)), un(e, TG_X_log, add(e, num(e, 1), tail)));
}

/* clang-format off */
ELEM(neg)    { return un(e, TG_X_neg, X0); }
ELEM(abs)    { return un(e, TG_X_abs, X0); }
EXACT(sign)  { return un(e, TG_X_sign, X0); }
EXACT(floor) { return un(e, TG_X_floor, X0); }
EXACT(ceil)  { return un(e, TG_X_ceil, X0); }
EXACT(round) { return un(e, TG_X_rne, X0); }
ELEM(sqrt)   { return un(e, TG_X_sqrt, X0); }
ELEM(recip)  { return un(e, TG_X_recip, X0); }
ELEM(exp)    { return un(e, TG_X_exp, X0); }
ELEM(log)    { return un(e, TG_X_log, X0); }
ELEM(sin)    { return un(e, TG_X_sin, X0); }
ELEM(cos)    { return un(e, TG_X_cos, X0); }
ELEM(tan)    { return un(e, TG_X_tan, X0); }
ELEM(asin)   { return un(e, TG_X_asin, X0); }
ELEM(acos)   { return un(e, TG_X_acos, X0); }
ELEM(atan)   { return un(e, TG_X_atan, X0); }
ELEM(sinh)   { return un(e, TG_X_sinh, X0); }
ELEM(cosh)   { return un(e, TG_X_cosh, X0); }
ELEM(tanh)   { return un(e, TG_X_tanh, X0); }
ELEM(asinh)  { return un(e, TG_X_asinh, X0); }
ELEM(acosh)  { return un(e, TG_X_acosh, X0); }
ELEM(atanh)  { return un(e, TG_X_atanh, X0); }
ELEM(erf)    { return un(e, TG_X_erf, X0); }
ELEM(not)    { return un(e, TG_X_not, X0); }
EXACT(relu)  { return bin(e, TG_X_max, X0, num(e, 0)); }
ELEM(sigmoid)  { return sigmoid_of(e, X0); }
ELEM(softplus) { return softplus_of(e, X0); }
ELEM(mish)     { return mul(e, X0, un(e, TG_X_tanh, softplus_of(e, X0))); }
ELEM(softsign) { return bin(e, TG_X_div, X0, add(e, num(e, 1), un(e, TG_X_abs, X0))); }
EXACT(is_nan)  { return cmp(e, TG_X_ne, X0, X0); }
ELEM(add)    { return add(e, X0, X1); }
ELEM(sub)    { return sub(e, X0, X1); }
ELEM(mul)    { return mul(e, X0, X1); }
ELEM(div)    { return bin(e, TG_X_div, X0, X1); }
EXACT(min)   { return bin(e, TG_X_min, X0, X1); }
EXACT(max)   { return bin(e, TG_X_max, X0, X1); }
EXACT(and)   { return bin(e, TG_X_and, X0, X1); }
EXACT(or)    { return bin(e, TG_X_or, X0, X1); }
EXACT(xor)   { return bin(e, TG_X_xor, X0, X1); }
ELEM(shl)    { return bin(e, TG_X_shl, X0, X1); }
EXACT(shr)   { return bin(e, TG_X_shr, X0, X1); }
ELEM(prelu)  { return pick(e, negative(e), mul(e, X1, X0), X0); }
EXACT(eq)    { return cmp(e, TG_X_eq, X0, X1); }
EXACT(lt)    { return cmp(e, TG_X_lt, X0, X1); }
EXACT(le)    { return cmp(e, TG_X_le, X0, X1); }
EXACT(select) { return pick(e, X0, X1, e->in[2]); }
ELEM(mod)    { return bin(e, e->attrs[TG_AT(mod, fmod)].i ? TG_X_rem : TG_X_mod, X0, X1); }
/* clang-format on */

ELEM(leaky_relu) { return pick(e, negative(e), scale(e, e->attrs[TG_AT(leaky_relu, alpha)].f, X0), X0); }

ELEM(elu) { return pick(e, negative(e), scale(e, e->attrs[TG_AT(elu, alpha)].f, expm1_of(e, X0)), X0); }

ELEM(selu)
{
	double alpha = e->attrs[TG_AT(selu, alpha)].f;
	tg_expr low = sub(e, scale(e, alpha, un(e, TG_X_exp, X0)), num(e, alpha));
	return scale(e, e->attrs[TG_AT(selu, gamma)].f, pick(e, cmp(e, TG_X_le, X0, num(e, 0)), low, X0));
}

ELEM(celu)
{
	double alpha = e->attrs[TG_AT(celu, alpha)].f;
	tg_expr q = alpha == 1 ? X0 : bin(e, TG_X_div, X0, num(e, alpha));
	tg_expr low = bin(e, TG_X_min, num(e, 0), scale(e, alpha, expm1_of(e, q)));
	return add(e, bin(e, TG_X_max, num(e, 0), X0), low);
}

ELEM(hard_sigmoid)
{
	tg_expr line = add(e, scale(e, e->attrs[TG_AT(hard_sigmoid, alpha)].f, X0), num(e, e->attrs[TG_AT(hard_sigmoid, beta)].f));
	return bin(e, TG_X_min, bin(e, TG_X_max, line, num(e, 0)), num(e, 1));
}

/* tanh form: Hendrycks and Gimpel, "Gaussian Error Linear Units" */
ELEM(gelu)
{
	tg_expr half = mul(e, num(e, 0.5), X0), inner;
	if (e->attrs[TG_AT(gelu, tanh)].i) {
		tg_expr cube = mul(e, num(e, 0.044715), mul(e, X0, mul(e, X0, X0)));
		inner = un(e, TG_X_tanh, mul(e, num(e, sqrt(2 / M_PI)), add(e, X0, cube)));
	} else {
		inner = un(e, TG_X_erf, mul(e, num(e, sqrt(0.5)), X0));
	}
	return mul(e, half, add(e, num(e, 1), inner));
}

ELEM(swish) { return mul(e, X0, sigmoid_of(e, scale(e, e->attrs[TG_AT(swish, alpha)].f, X0))); }

EXACT(thresholded_relu) { return pick(e, cmp(e, TG_X_lt, num(e, e->attrs[TG_AT(thresholded_relu, alpha)].f), X0), X0, num(e, 0)); }

ELEM(shrink)
{
	double lambd = e->attrs[TG_AT(shrink, lambd)].f, bias = e->attrs[TG_AT(shrink, bias)].f;
	tg_expr up = pick(e, cmp(e, TG_X_lt, num(e, lambd), X0), sub(e, X0, num(e, bias)), num(e, 0));
	return pick(e, cmp(e, TG_X_lt, X0, num(e, -lambd)), add(e, X0, num(e, bias)), up);
}

EXACT(is_inf)
{
	bool pos = e->attrs[TG_AT(is_inf, positive)].i != 0, neg = e->attrs[TG_AT(is_inf, negative)].i != 0;
	if (!pos && !neg)
		return tg_node_const_i64(e->b, TG_bool, 0);
	if (pos && neg)
		return cmp(e, TG_X_eq, un(e, TG_X_abs, X0), num(e, INFINITY));
	return cmp(e, TG_X_eq, X0, num(e, pos ? INFINITY : -INFINITY));
}

EXACT(cast) { return tg_cast_expr(e->b, X0, e->from, e->to, e->attrs[TG_AT(cast, saturate)].i != 0); }

/* The result has the base's type; an integer base with a float exponent is computed in the exponent's type. */
ELEM(pow)
{
	enum tg_dtype ta = e->t, tb = tg_node_type(e->b, X1);
	enum tg_dtype t = !tg_type_is_float(ta) && tg_type_is_float(tb) ? tb : ta;
	tg_expr base = tg_cast_node(e->b, t, X0), exponent = tg_cast_node(e->b, t, X1), r = tg_node_new(e->b, TG_X_pow, t, base, exponent, NONE);
	return tg_cast_node(e->b, ta, r);
}
