/* generate_expr.c: expressions over a stage's operands whose values every type and order of summation represents exactly. */
#include "generate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

bool gen_exact(enum tg_dtype t, struct known k)
{
	return t != TG_f32 || ldexp(k.bound, k.places) <= 16777216.0;
}

static struct item *pick(struct gen *g, enum tg_dtype t, bool varies_ok)
{
	for (int tries = 0; tries < 24; tries++) {
		struct item *x = &g->pool[some(g, 0, (int64_t)g->n_pool - 1)];
		if ((t == TG_none || x->t == t) && (varies_ok || !x->varies) && (!x->used || tries > 12))
			return x;
	}
	for (uint32_t i = g->n_pool; i-- > 0;)
		if ((t == TG_none || g->pool[i].t == t) && (varies_ok || !g->pool[i].varies))
			return &g->pool[i];
	return NULL;
}

struct known gen_cap(enum tg_dtype t, struct known k)
{
	if (t == TG_bool)
		return (struct known){ 1, 0 };
	if (t != TG_f32)
		return (struct known){ fmin(k.bound, 4294967296.0), 0 };
	return k;
}

static struct item constant(struct gen *g, enum tg_dtype t)
{
	int64_t v = t == TG_bool ? some(g, 0, 1) : t == TG_u32 ? some(g, 0, 9) : some(g, -5, 5);
	if (t == TG_f32 && chance(g, 20))
		return (struct item){ tg_node_const(g->b, t, 0.25 * (double)v), t, { 5, 2 }, false, false };
	return (struct item){ tg_node_const_i64(g->b, t, v), t, { 9, 0 }, false, false };
}

static struct item operand_or_constant(struct gen *g, enum tg_dtype t, bool varies)
{
	struct item *x = chance(g, 80) ? pick(g, t, varies) : NULL;
	if (!x)
		return constant(g, t);
	x->used = true;
	return *x;
}

static tg_expr converted(struct gen *g, const struct item *x, enum tg_dtype t, struct known *k)
{
	*k = x->k;
	if (x->t == t)
		return x->e;
	if (t == TG_f32 && x->k.bound > 16777216.0) { /* would round: bring it down first */
		tg_expr small = tg_node_k(g->b, TG_X_wrap, x->t, x->t == TG_u32 ? TG_u8 : TG_i8, x->e);
		*k = (struct known){ 256, 0 };
		return tg_node_new(g->b, TG_X_cast, t, small, (tg_expr){ 0 }, (tg_expr){ 0 });
	}
	if (t == TG_u32 || t == TG_i32)
		k->bound = x->t == TG_f32 ? k->bound : 4294967296.0; /* negative numbers wrap */
	*k = gen_cap(t, *k);
	if (t == TG_u32 && x->t == TG_f32)
		k->places = 0;
	return tg_node_new(g->b, TG_X_cast, t, x->e, (tg_expr){ 0 }, (tg_expr){ 0 });
}

static struct known result(enum tg_expr_op op, enum tg_dtype t, struct known a, struct known b)
{
	struct known k = { fmax(a.bound, b.bound), a.places > b.places ? a.places : b.places };
	switch (op) {
	case TG_X_add: case TG_X_sub: k.bound = a.bound + b.bound; break;
	case TG_X_mul: k = (struct known){ a.bound * b.bound, a.places + b.places }; break;
	case TG_X_floor: case TG_X_ceil: case TG_X_trunc: case TG_X_rne: k = (struct known){ a.bound + 1, 0 }; break;
	case TG_X_sign: k = (struct known){ 1, 0 }; break;
	case TG_X_min: case TG_X_max: case TG_X_neg: case TG_X_abs: break;
	default: k.bound = t == TG_f32 ? k.bound : 4294967296.0;
	}
	if (t == TG_i32 && (op == TG_X_neg || op == TG_X_abs))
		k.bound = fmax(k.bound, 1);
	return gen_cap(t, k);
}

static void binary_or_unary(struct gen *g, bool varies)
{
	static const uint8_t ops[] = { TG_X_add, TG_X_add, TG_X_add, TG_X_sub, TG_X_sub, TG_X_mul, TG_X_mul, TG_X_min, TG_X_max, TG_X_neg, TG_X_abs, TG_X_sign,
				       TG_X_floor, TG_X_ceil, TG_X_trunc, TG_X_rne, TG_X_and, TG_X_or, TG_X_xor, TG_X_not, TG_X_div, TG_X_rem, TG_X_mod };
	struct item *first = pick(g, TG_none, varies);
	if (!first)
		return;
	enum tg_expr_op op = (enum tg_expr_op)ops[some(g, 0, (int64_t)TG_ARRAY_LEN(ops) - 1)];
	enum tg_dtype t = first->t;
	bool divides = op == TG_X_div || op == TG_X_rem || op == TG_X_mod;
	if (!tg_kernel_of(op, t) || (divides && t == TG_f32))
		return;
	first->used = true;
	struct item a = *first, b = tg_expr_infos[op].arity == 2 ? operand_or_constant(g, t, varies) : (struct item){ .k = { 0, 0 } };
	struct known k = result(op, t, a.k, b.k);
	if (!gen_exact(t, k))
		return;
	gen_add_pool(g, tg_node_new(g->b, op, t, a.e, b.e, (tg_expr){ 0 }), t, k, a.varies || b.varies);
}

static void shift(struct gen *g, bool varies)
{
	struct item *x = pick(g, chance(g, 50) ? TG_i32 : TG_u32, varies);
	if (!x)
		return;
	x->used = true;
	tg_expr n = tg_node_const_i64(g->b, x->t, some(g, 0, chance(g, 80) ? 8 : 40));
	struct item *by = pick(g, x->t, varies);
	bool dynamic = by && chance(g, 25);
	if (dynamic)
		n = tg_node_new(g->b, TG_X_and, x->t, by->e, tg_node_const_i64(g->b, x->t, 63), (tg_expr){ 0 });
	enum tg_dtype t = x->t;
	bool v = x->varies || (dynamic && by->varies);
	gen_add_pool(g, tg_node_new(g->b, chance(g, 50) ? TG_X_shl : TG_X_shr, t, x->e, n, (tg_expr){ 0 }), t, (struct known){ 4294967296.0, 0 }, v);
}

static void compare_select(struct gen *g, bool varies)
{
	struct item *x = pick(g, TG_none, varies);
	if (!x)
		return;
	x->used = true;
	struct item a = *x, b = operand_or_constant(g, a.t, varies);
	if (chance(g, 60)) {
		enum tg_expr_op op = (enum tg_expr_op)(TG_X_eq + some(g, 0, 3));
		if (tg_kernel_of(op, a.t))
			gen_add_pool(g, tg_node_new(g->b, op, TG_bool, a.e, b.e, (tg_expr){ 0 }), TG_bool, (struct known){ 1, 0 }, a.varies || b.varies);
		return;
	}
	struct item *c = pick(g, TG_bool, varies);
	if (!c || !tg_kernel_of(TG_X_select, a.t))
		return;
	c->used = true;
	bool v = a.varies || b.varies || c->varies;
	gen_add_pool(g, tg_node_new(g->b, TG_X_select, a.t, c->e, a.e, b.e), a.t, result(TG_X_max, a.t, a.k, b.k), v);
}

static void convert(struct gen *g, bool varies)
{
	static const uint8_t types[] = { TG_f32, TG_i32, TG_u32, TG_bool, TG_f32, TG_i32 };
	static const uint8_t narrow[] = { TG_i8, TG_u8, TG_i16, TG_u16, TG_f16, TG_bf16, TG_bool, TG_i32, TG_u32 };
	struct item *x = pick(g, TG_none, varies);
	if (!x)
		return;
	if (chance(g, 60)) {
		enum tg_dtype t = (enum tg_dtype)types[some(g, 0, (int64_t)TG_ARRAY_LEN(types) - 1)];
		struct known k;
		if (t == x->t || !tg_kernel_cast(x->t, t))
			return;
		x->used = true;
		bool v = x->varies;
		tg_expr e = converted(g, x, t, &k);
		gen_add_pool(g, e, t, k, v);
		return;
	}
	enum tg_dtype n = (enum tg_dtype)narrow[some(g, 0, (int64_t)TG_ARRAY_LEN(narrow) - 1)];
	if (!tg_narrow_defined(x->t, n) || x->k.bound > (x->t == TG_f32 ? 60000 : 1e10))
		return;
	x->used = true;
	enum tg_dtype t = x->t;
	struct known k = x->k;
	if (t != TG_f32)
		k.bound = fmin(4294967296.0, n == TG_i8 || n == TG_u8 ? 256 : n == TG_i16 || n == TG_u16 ? 65536 : n == TG_bool ? 1 : 4294967296.0);
	else
		k.bound *= 1.01;
	bool v = x->varies;
	gen_add_pool(g, tg_node_k(g->b, chance(g, 50) ? TG_X_wrap : TG_X_sat, t, (int32_t)n, x->e), t, k, v);
}

static void fused(struct gen *g, bool varies)
{
	struct item a = operand_or_constant(g, TG_f32, varies), b = operand_or_constant(g, TG_f32, varies), c = operand_or_constant(g, TG_f32, varies);
	struct known k = result(TG_X_add, TG_f32, result(TG_X_mul, TG_f32, a.k, b.k), c.k);
	if (gen_exact(TG_f32, k))
		gen_add_pool(g, tg_node_new(g->b, TG_X_fma, TG_f32, a.e, b.e, c.e), TG_f32, k, a.varies || b.varies || c.varies);
}

void gen_index_node(struct gen *g, bool varies)
{
	uint32_t dims[MAX_GEN_DIMS], n = gen_usable(g, varies, dims);
	if (!n)
		return;
	uint32_t d = dims[some(g, 0, n - 1)];
	gen_add_pool(g, tg_node_k(g->b, TG_X_index, TG_i32, (int32_t)d, (tg_expr){ 0 }), TG_i32, (struct known){ (double)g->extent[d], 0 }, g->kind[d] == TG_DIM_REDUCE);
}

void gen_grow(struct gen *g, bool varies, int64_t n)
{
	for (int64_t i = 0; i < n && g->n_pool; i++) {
		int64_t how = some(g, 0, 99);
		if (how < 55)
			binary_or_unary(g, varies);
		else if (how < 62)
			shift(g, varies);
		else if (how < 78)
			compare_select(g, varies);
		else if (how < 90)
			convert(g, varies);
		else if (how < 96)
			fused(g, varies);
		else
			gen_index_node(g, varies);
	}
}

/* One expression of type t that depends on most of the pool. */
tg_expr gen_gathered(struct gen *g, enum tg_dtype t, bool varies, struct known *k)
{
	tg_expr e = { 0 };
	*k = (struct known){ 0, 0 };
	for (uint32_t i = g->n_pool; i-- > 0;) {
		struct item *x = &g->pool[i];
		struct known mine, both;
		if (x->used || (x->varies && !varies) || (e.id && chance(g, 15)) || (x->t != t && !tg_kernel_cast(x->t, t)))
			continue;
		x->used = true;
		tg_expr c = converted(g, x, t, &mine);
		if (!gen_exact(t, mine))
			continue;
		if (!e.id) {
			e = c;
			*k = mine;
			continue;
		}
		enum tg_expr_op op = t == TG_bool ? (chance(g, 50) ? TG_X_xor : TG_X_or) : chance(g, 70) ? TG_X_add : TG_X_max;
		both = result(op, t, *k, mine);
		if (!gen_exact(t, both))
			continue;
		e = tg_node_new(g->b, op, t, e, c, (tg_expr){ 0 });
		*k = both;
	}
	if (e.id)
		return e;
	struct item c = constant(g, t);
	*k = c.k;
	return c.e;
}
