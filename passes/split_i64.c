/* split_i64.c: 64-bit integers become pairs of 32-bit words.
 *
 *   %y: i64[4] = stage(%a, %b) { add i64 a, b }     ==>     %aw: u32[4x2] = words %a   (the same bytes)        %bw likewise
 *                                                           %e = empty u32[4x2]
 *                                                           %l = stage(%aw, %bw) into %e { a.lo + b.lo }               at [d0, 0]
 *                                                           %h = stage(%aw, %bw) into %l { a.hi + b.hi + carry }       at [d0, 1]
 *                                                           %y = words %h
 *
 * In: fused tile stages. Out: no stage whose body is 64-bit addition, multiplication, comparison, logic, shift, selection or conversion. A stage that only
 * moves 64-bit elements (f64 too) moves words. Division, remainder, powers and reductions of 64 bits stay as they are: the host evaluates them. What DMA
 * converts by itself (tg_computes_wide) is left alone. */
#include "passes.h"

#include <string.h>

bool pass_split_i64(struct tg_pass *cx, struct tg_module *m);

struct pair { tg_expr lo, hi; }; /* hi is zero for what is not wide */
struct split {
	struct tg_module *m;
	struct tg_op *op;
	const struct tg_stage *from;
	struct tg_stage *to;
	tg_val *operands;
	struct pair *of;    /* by node of `from` */
	uint32_t *lo_in;    /* by operand of `from`: its number, or that of its low word; the high word follows */
	size_t cap;
	bool failed;
};

static bool is_wide(enum tg_dtype t)
{
	return t == TG_i64 || t == TG_u64;
}

static bool is_64_bit(enum tg_dtype t)
{
	return tg_dtypes[t].bits == 64 && t != TG_c64;
}

/* ---- building -------------------------------------------------------------------------------------------------------------- */

static tg_expr put(struct split *x, enum tg_expr_op op, enum tg_dtype t, int32_t k, uint64_t bits, tg_expr a, tg_expr b, tg_expr c)
{
	struct tg_stage *s = x->to;
	s->nodes = tg_vec_room(x->m->arena, s->nodes, s->n_nodes, &x->cap, sizeof *s->nodes);
	s->nodes[s->n_nodes++] = (struct tg_node){ .op = (uint8_t)op, .dtype = (uint8_t)t, .k = k, .bits = bits, .a = a, .b = b, .c = c };
	return (tg_expr){ s->n_nodes };
}

#define NONE ((tg_expr){ 0 })
static tg_expr put_of(struct split *x, enum tg_expr_op op, enum tg_dtype t, const tg_expr *in) { return put(x, op, t, 0, 0, in[0], in[1], in[2]); }
/* Operands are often calls that make nodes themselves: an initializer list evaluates them in order, a function call in any (ir/graph_expand_elem.c). */
#define one(x, op, t, a) put_of(x, op, t, (const tg_expr[3]){ a })
#define two(x, op, t, a, b) put_of(x, op, t, (const tg_expr[3]){ a, b })
#define select(x, t, c, a, b) put_of(x, TG_X_select, t, (const tg_expr[3]){ c, a, b })
#define add(x, a, b) two(x, TG_X_add, TG_u32, a, b)
#define sub(x, a, b) two(x, TG_X_sub, TG_u32, a, b)
#define mul(x, a, b) two(x, TG_X_mul, TG_u32, a, b)
#define shl(x, a, b) two(x, TG_X_shl, TG_u32, a, b)
#define shr(x, a, b) two(x, TG_X_shr, TG_u32, a, b)
#define below(x, a, b) two(x, TG_X_lt, TG_bool, a, b)
#define and_u(x, a, b) two(x, TG_X_and, TG_u32, a, b)
#define or_u(x, a, b) two(x, TG_X_or, TG_u32, a, b)
static tg_expr u(struct split *x, uint32_t v) { return put(x, TG_X_const, TG_u32, 0, v, NONE, NONE, NONE); }
static tg_expr f(struct split *x, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	return put(x, TG_X_const, TG_f32, 0, bits, NONE, NONE, NONE);
}
static tg_expr to(struct split *x, enum tg_dtype t, tg_expr a)
{
	return x->to->nodes[a.id - 1].dtype == t ? a : one(x, TG_X_cast, t, a);
}
/* all bits the sign of a word */
static tg_expr sign_word(struct split *x, tg_expr hi)
{
	return to(x, TG_u32, two(x, TG_X_shr, TG_i32, to(x, TG_i32, hi), put(x, TG_X_const, TG_i32, 0, 31, NONE, NONE, NONE)));
}
static tg_expr is_negative(struct split *x, tg_expr hi)
{
	return below(x, to(x, TG_i32, hi), put(x, TG_X_const, TG_i32, 0, 0, NONE, NONE, NONE));
}
static struct pair constant(struct split *x, uint64_t v) { return (struct pair){ u(x, (uint32_t)v), u(x, (uint32_t)(v >> 32)) }; }

/* ---- arithmetic of pairs -------------------------------------------------------------------------------------------------------- */

static struct pair add_pair(struct split *x, struct pair a, struct pair b)
{
	tg_expr lo = add(x, a.lo, b.lo), carry = select(x, TG_u32, below(x, lo, a.lo), u(x, 1), u(x, 0));
	return (struct pair){ lo, add(x, add(x, a.hi, b.hi), carry) };
}

static struct pair sub_pair(struct split *x, struct pair a, struct pair b)
{
	tg_expr borrow = select(x, TG_u32, below(x, a.lo, b.lo), u(x, 1), u(x, 0));
	return (struct pair){ sub(x, a.lo, b.lo), sub(x, sub(x, a.hi, b.hi), borrow) };
}

/* High word of a 32 x 32 bit product, from 16-bit halves. */
static tg_expr high_product(struct split *x, tg_expr a, tg_expr b)
{
	tg_expr half = u(x, 16), mask = u(x, 0xffff);
	tg_expr al = and_u(x, a, mask), ah = shr(x, a, half), bl = and_u(x, b, mask), bh = shr(x, b, half);
	tg_expr p0 = mul(x, al, bl), p1 = mul(x, ah, bl), p2 = mul(x, al, bh), p3 = mul(x, ah, bh);
	tg_expr mid = add(x, add(x, shr(x, p0, half), and_u(x, p1, mask)), and_u(x, p2, mask));
	return add(x, add(x, add(x, p3, shr(x, p1, half)), shr(x, p2, half)), shr(x, mid, half));
}

static struct pair mul_pair(struct split *x, struct pair a, struct pair b)
{
	tg_expr hi = add(x, high_product(x, a.lo, b.lo), add(x, mul(x, a.lo, b.hi), mul(x, a.hi, b.lo)));
	return (struct pair){ mul(x, a.lo, b.lo), hi };
}

struct choice { tg_expr c; struct pair a, b; };
static struct pair select_pair_of(struct split *x, struct choice s)
{
	return (struct pair){ select(x, TG_u32, s.c, s.a.lo, s.b.lo), select(x, TG_u32, s.c, s.a.hi, s.b.hi) };
}
#define select_pair(x, c, a, b) select_pair_of(x, (struct choice){ c, a, b })

static tg_expr equal(struct split *x, struct pair a, struct pair b)
{
	return two(x, TG_X_and, TG_bool, two(x, TG_X_eq, TG_bool, a.lo, b.lo), two(x, TG_X_eq, TG_bool, a.hi, b.hi));
}

static tg_expr less(struct split *x, enum tg_dtype t, struct pair a, struct pair b)
{
	tg_expr high = t == TG_i64 ? below(x, to(x, TG_i32, a.hi), to(x, TG_i32, b.hi)) : below(x, a.hi, b.hi);
	tg_expr low = two(x, TG_X_and, TG_bool, two(x, TG_X_eq, TG_bool, a.hi, b.hi), below(x, a.lo, b.lo));
	return two(x, TG_X_or, TG_bool, high, low);
}

static struct pair magnitude(struct split *x, struct pair a)
{
	return select_pair(x, is_negative(x, a.hi), sub_pair(x, constant(x, 0), a), a);
}

/* Shifts by n: words move by n, or by n - 32; counts of 64 and more leave nothing (or the sign). */
static struct pair shift(struct split *x, enum tg_expr_op op, enum tg_dtype t, struct pair a, struct pair by)
{
	tg_expr n = select(x, TG_u32, two(x, TG_X_eq, TG_bool, by.hi, u(x, 0)), by.lo, u(x, 64));
	n = two(x, TG_X_min, TG_u32, n, u(x, 64));
	tg_expr rest = sub(x, u(x, 32), n), over = sub(x, n, u(x, 32)), small = below(x, n, u(x, 32));
	if (op == TG_X_shl)
		return (struct pair){ shl(x, a.lo, n), select(x, TG_u32, small, or_u(x, shl(x, a.hi, n), shr(x, a.lo, rest)), shl(x, a.lo, over)) };
	tg_expr hi = shr(x, a.hi, n), far = shr(x, a.hi, over);
	if (t == TG_i64) {
		hi = to(x, TG_u32, two(x, TG_X_shr, TG_i32, to(x, TG_i32, a.hi), to(x, TG_i32, n)));
		far = to(x, TG_u32, two(x, TG_X_shr, TG_i32, to(x, TG_i32, a.hi), to(x, TG_i32, over)));
	}
	return (struct pair){ select(x, TG_u32, small, or_u(x, shr(x, a.lo, n), shl(x, a.hi, rest)), far), hi };
}

static struct pair from_float(struct split *x, enum tg_dtype t, tg_expr v)
{
	tg_expr whole = one(x, TG_X_trunc, TG_f32, v), m = one(x, TG_X_abs, TG_f32, whole), negative = below(x, whole, f(x, 0));
	tg_expr top = one(x, TG_X_floor, TG_f32, two(x, TG_X_mul, TG_f32, m, f(x, 0x1p-32)));
	tg_expr low = two(x, TG_X_sub, TG_f32, m, two(x, TG_X_mul, TG_f32, top, f(x, 0x1p32)));
	struct pair r = { to(x, TG_u32, low), to(x, TG_u32, top) };
	if (t == TG_u64) {
		r = select_pair(x, two(x, TG_X_le, TG_bool, f(x, 0x1p64), m), constant(x, UINT64_MAX), r);
		return select_pair(x, negative, constant(x, 0), r);
	}
	struct pair minus = sub_pair(x, constant(x, 0), r);
	tg_expr beyond = two(x, TG_X_le, TG_bool, f(x, 0x1p63), m);
	r = select_pair(x, beyond, constant(x, INT64_MAX), r);
	return select_pair(x, negative, select_pair(x, beyond, constant(x, (uint64_t)INT64_MIN), minus), r);
}

static tg_expr to_float(struct split *x, enum tg_dtype t, struct pair a)
{
	struct pair m = t == TG_i64 ? magnitude(x, a) : a;
	tg_expr v = put_of(x, TG_X_fma, TG_f32, (const tg_expr[3]){ to(x, TG_f32, m.hi), f(x, 0x1p32), to(x, TG_f32, m.lo) });
	return t == TG_i64 ? select(x, TG_f32, is_negative(x, a.hi), one(x, TG_X_neg, TG_f32, v), v) : v;
}

static struct pair widen(struct split *x, enum tg_dtype t, tg_expr v)
{
	switch (x->to->nodes[v.id - 1].dtype) {
	case TG_f32: return from_float(x, t, v);
	case TG_bool: return (struct pair){ select(x, TG_u32, v, u(x, 1), u(x, 0)), u(x, 0) };
	case TG_i32: return (struct pair){ to(x, TG_u32, v), sign_word(x, v) };
	default: return (struct pair){ v, u(x, 0) };
	}
}

static struct pair narrow(struct split *x, const struct tg_node *n, struct pair a)
{
	const struct tg_dtype_info *k = &tg_dtypes[n->k];
	bool is_signed = k->kind == TG_KIND_SIGNED;
	if (n->op == TG_X_wrap) {
		if (k->bits >= 64)
			return a;
		tg_expr lo = to(x, TG_u32, put(x, TG_X_wrap, is_signed ? TG_i32 : TG_u32, n->k, 0, to(x, is_signed ? TG_i32 : TG_u32, a.lo), NONE, NONE));
		return (struct pair){ lo, is_signed ? sign_word(x, lo) : u(x, 0) };
	}
	uint64_t most = is_signed ? (UINT64_C(1) << (k->bits - 1)) - 1 : k->bits == 64 ? UINT64_MAX : (UINT64_C(1) << k->bits) - 1;
	uint64_t least = is_signed ? ~most : 0;
	if (n->dtype == TG_i64) {
		bool cut = most > (uint64_t)INT64_MAX; /* u64: every positive value fits */
		a = select_pair(x, less(x, TG_i64, a, constant(x, least)), constant(x, least), a);
		return cut ? a : select_pair(x, less(x, TG_i64, constant(x, most), a), constant(x, most), a);
	}
	return select_pair(x, less(x, TG_u64, constant(x, most), a), constant(x, most), a);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------------ */

static struct pair wide_node(struct split *x, const struct tg_node *n, const struct pair *in)
{
	enum tg_dtype t = (enum tg_dtype)n->dtype;
	struct pair zero;
	switch (n->op) {
	case TG_X_arg:
		return (struct pair){ put(x, TG_X_arg, TG_u32, (int32_t)x->lo_in[n->k], 0, NONE, NONE, NONE),
				      put(x, TG_X_arg, TG_u32, (int32_t)x->lo_in[n->k] + 1, 0, NONE, NONE, NONE) };
	case TG_X_const: return constant(x, n->bits);
	case TG_X_add: return add_pair(x, in[0], in[1]);
	case TG_X_sub: return sub_pair(x, in[0], in[1]);
	case TG_X_mul: return mul_pair(x, in[0], in[1]);
	case TG_X_neg: return sub_pair(x, constant(x, 0), in[0]);
	case TG_X_abs: return t == TG_i64 ? magnitude(x, in[0]) : in[0];
	case TG_X_min: return select_pair(x, less(x, t, in[0], in[1]), in[0], in[1]);
	case TG_X_max: return select_pair(x, less(x, t, in[0], in[1]), in[1], in[0]);
	case TG_X_and: case TG_X_or: case TG_X_xor:
		return (struct pair){ two(x, (enum tg_expr_op)n->op, TG_u32, in[0].lo, in[1].lo), two(x, (enum tg_expr_op)n->op, TG_u32, in[0].hi, in[1].hi) };
	case TG_X_not: return (struct pair){ one(x, TG_X_not, TG_u32, in[0].lo), one(x, TG_X_not, TG_u32, in[0].hi) };
	case TG_X_shl: case TG_X_shr: return shift(x, (enum tg_expr_op)n->op, t, in[0], in[1]);
	case TG_X_select: return select_pair(x, in[0].lo, in[1], in[2]);
	case TG_X_floor: case TG_X_ceil: case TG_X_trunc: case TG_X_rne: return in[0];
	case TG_X_sign:
		zero = constant(x, 0);
		zero = select_pair(x, equal(x, in[0], zero), zero, constant(x, 1));
		return t == TG_i64 ? select_pair(x, is_negative(x, in[0].hi), constant(x, UINT64_MAX), zero) : zero;
	case TG_X_cast: return in[0].hi.id ? in[0] : widen(x, t, in[0].lo);
	case TG_X_wrap: case TG_X_sat: return narrow(x, n, in[0]);
	default: x->failed = true; return constant(x, 0);
	}
}

/* What reads a pair and is not one. */
static tg_expr narrow_node(struct split *x, const struct tg_node *n, enum tg_dtype from, const struct pair *in)
{
	switch (n->op) {
	case TG_X_eq: return equal(x, in[0], in[1]);
	case TG_X_ne: return one(x, TG_X_not, TG_bool, equal(x, in[0], in[1]));
	case TG_X_lt: return less(x, from, in[0], in[1]);
	case TG_X_le: return one(x, TG_X_not, TG_bool, less(x, from, in[1], in[0]));
	case TG_X_cast:
		if (n->dtype == TG_f32)
			return to_float(x, from, in[0]);
		if (n->dtype == TG_bool)
			return one(x, TG_X_not, TG_bool, equal(x, in[0], constant(x, 0)));
		return to(x, (enum tg_dtype)n->dtype, in[0].lo);
	default: x->failed = true; return u(x, 0);
	}
}

static void rewrite_nodes(struct split *x)
{
	for (uint32_t i = 0; i < x->from->n_nodes && !x->failed; i++) {
		const struct tg_node *n = &x->from->nodes[i];
		struct pair none = { { 0 }, { 0 } }, in[3] = { n->a.id ? x->of[n->a.id - 1] : none, n->b.id ? x->of[n->b.id - 1] : none, n->c.id ? x->of[n->c.id - 1] : none };
		bool reads_pair = in[0].hi.id != 0;
		if (is_wide((enum tg_dtype)n->dtype)) {
			x->of[i] = wide_node(x, n, in);
		} else if (reads_pair) {
			x->of[i] = (struct pair){ narrow_node(x, n, (enum tg_dtype)x->from->nodes[n->a.id - 1].dtype, in), { 0 } };
		} else {
			int32_t k = n->op == TG_X_arg || n->op == TG_X_inside ? (int32_t)x->lo_in[n->k] : n->k;
			x->of[i] = (struct pair){ put(x, (enum tg_expr_op)n->op, (enum tg_dtype)n->dtype, k, n->bits, in[0].lo, in[1].lo, in[2].lo), { 0 } };
		}
	}
}

/* ---- operands and results ----------------------------------------------------------------------------------------------------------- */

static struct tg_shape words_shape(const struct tg_shape *s)
{
	struct tg_shape w = *s;
	w.dim[w.rank++] = 2;
	return w;
}

static tg_val words(struct split *x, tg_val v, bool back, enum tg_dtype t, const struct tg_shape *shape)
{
	struct tg_op *op = tg_op_new(x->m, &x->m->body, x->op, TG_TILE_words, &v, 1, 1, x->op->prov);
	op->out[0] = tg_value_new(x->m, TG_TENSOR, back ? t : TG_u32, shape, NULL);
	tg_value_of(x->m, op->out[0])->def = op;
	return op->out[0];
}

/* The map with a further index: the constant `word`, or dimension `dim` when that is not negative. */
static struct tg_map word_map(struct split *x, const struct tg_map *map, uint32_t n_dims, int64_t word, int dim)
{
	struct tg_map m = { map->rank + 1, tg_alloc_n(x->m->arena, map->rank + 1u, sizeof *m.index) };
	for (uint32_t i = 0; i <= map->rank; i++) {
		m.index[i] = i < map->rank ? map->index[i] : (struct tg_index){ NULL, dim < 0 ? word : 0, 1, 0, -1 };
		int64_t *coef = tg_alloc_n(x->m->arena, n_dims, sizeof *coef);
		if (i < map->rank)
			memcpy(coef, map->index[i].coef, x->from->n_dims * sizeof *coef);
		else if (dim >= 0)
			coef[dim] = 1;
		m.index[i].coef = coef;
	}
	return m;
}

static void add_operand(struct split *x, tg_val v, struct tg_stage_in in)
{
	x->to->ins[x->to->n_ins] = in;
	x->operands[x->to->n_ins++] = v;
}

static void split_operands(struct split *x)
{
	for (uint32_t i = 0; i < x->from->n_ins; i++) {
		tg_val v = x->op->in[i];
		struct tg_stage_in in = x->from->ins[i];
		const struct tg_value val = *tg_value_get(x->m, v);
		x->lo_in[i] = x->to->n_ins;
		if (!is_wide((enum tg_dtype)val.dtype)) {
			add_operand(x, v, in);
			continue;
		}
		struct tg_shape shape = words_shape(&val.shape);
		tg_val w = words(x, v, false, TG_u32, &shape);
		for (int64_t word = 0; word < 2; word++) {
			struct tg_stage_in half = { word_map(x, &in.map, x->from->n_dims, word, -1), in.guarded, word ? in.fill >> 32 : in.fill & 0xffffffffu };
			add_operand(x, w, half);
		}
	}
	for (uint32_t i = 0; i < x->to->n_ins; i++)
		for (uint32_t k = 0; k < x->to->ins[i].map.rank; k++)
			if (x->to->ins[i].map.index[k].gather >= 0)
				x->to->ins[i].map.index[k].gather = (int32_t)x->lo_in[x->to->ins[i].map.index[k].gather];
}

/* Appends what `e` needs and then `e` itself, operands first and in order. */
static void append_needed(const struct split *x, struct tg_stage *o, tg_expr e, tg_expr *moved)
{
	const struct tg_node *from = x->to->nodes;
	TG_VEC(tg_expr) stack = { 0 };
	*TG_PUSH(x->m->arena, &stack) = e;
	while (stack.n) {
		tg_expr now = stack.at[stack.n - 1];
		struct tg_node n = from[now.id - 1];
		tg_expr in[3] = { n.a, n.b, n.c }, missing = { 0 };
		for (int k = 2; k >= 0; k--)
			if (in[k].id && !moved[in[k].id - 1].id)
				missing = in[k];
		if (missing.id) {
			*TG_PUSH(x->m->arena, &stack) = missing;
			continue;
		}
		stack.n--;
		if (moved[now.id - 1].id)
			continue;
		n.a = n.a.id ? moved[n.a.id - 1] : n.a;
		n.b = n.b.id ? moved[n.b.id - 1] : n.b;
		n.c = n.c.id ? moved[n.c.id - 1] : n.c;
		o->nodes[o->n_nodes++] = n;
		moved[now.id - 1] = (tg_expr){ o->n_nodes };
	}
}

/* The nodes that one result needs, in an order that follows from the expression alone: C leaves the order in which arguments are evaluated open, so the
 * order in which nodes were made must not show. */
static struct tg_stage *only(struct split *x, tg_expr value, struct tg_map map)
{
	const struct tg_stage *s = x->to;
	struct tg_stage *o = tg_alloc(x->m->arena, sizeof *o);
	tg_expr *moved = tg_alloc_n(x->m->arena, s->n_nodes + 1, sizeof *moved);
	*o = *s;
	o->nodes = tg_alloc_n(x->m->arena, s->n_nodes + 1, sizeof *o->nodes);
	o->n_nodes = 0;
	o->reds = tg_alloc_n(x->m->arena, s->n_reds + 1, sizeof *o->reds);
	for (uint32_t r = 0; r < s->n_reds; r++) {
		append_needed(x, o, s->reds[r].value, moved);
		o->reds[r] = (struct tg_reduction){ s->reds[r].combine, moved[s->reds[r].value.id - 1] };
	}
	append_needed(x, o, value, moved);
	o->n_outs = 1;
	o->outs = tg_alloc(x->m->arena, sizeof *o->outs);
	o->outs[0] = (struct tg_stage_out){ map, moved[value.id - 1] };
	return o;
}

static tg_val stage_before(struct split *x, struct tg_stage *s, tg_val into, enum tg_dtype t, const struct tg_shape *shape)
{
	tg_val *in = tg_alloc_n(x->m->arena, s->n_ins + 1u, sizeof *in);
	memcpy(in, x->operands, s->n_ins * sizeof *in);
	uint32_t n = s->n_ins;
	if (tg_has(into))
		in[n++] = into;
	struct tg_op *op = tg_op_new(x->m, &x->m->body, x->op, TG_TILE_stage, in, n, 1, x->op->prov);
	op->attrs[TG_AT(tile_stage, body)].stage = s;
	op->attrs[TG_AT(tile_stage, into)].i = tg_has(into);
	op->out[0] = tg_value_new(x->m, TG_TENSOR, t, shape, NULL);
	tg_value_of(x->m, op->out[0])->def = op;
	return op->out[0];
}

static tg_val empty_before(struct split *x, enum tg_dtype t, const struct tg_shape *shape)
{
	struct tg_op *op = tg_op_new(x->m, &x->m->body, x->op, TG_TILE_empty, NULL, 0, 1, x->op->prov);
	op->out[0] = tg_value_new(x->m, TG_TENSOR, t, shape, NULL);
	tg_value_of(x->m, op->out[0])->def = op;
	return op->out[0];
}

static tg_val old_contents(struct split *x)
{
	return x->op->attrs[TG_AT(tile_stage, into)].i ? x->op->in[x->op->n_in - 1] : (tg_val){ 0 };
}

static void replace(struct split *x, tg_val with)
{
	tg_value_of(x->m, with)->name = tg_value_get(x->m, x->op->out[0])->name;
	tg_replace_uses(x->m, x->op->out[0], with);
	tg_op_remove(x->op);
}

static void finish(struct split *x)
{
	const struct tg_value out = *tg_value_get(x->m, x->op->out[0]);
	const struct tg_stage_out *o = &x->from->outs[0];
	struct pair v = x->of[o->value.id - 1];
	tg_val old = old_contents(x);
	if (!is_wide((enum tg_dtype)out.dtype)) {
		replace(x, stage_before(x, only(x, v.lo, o->map), old, (enum tg_dtype)out.dtype, &out.shape));
		return;
	}
	struct tg_shape shape = words_shape(&out.shape);
	tg_val w = tg_has(old) ? words(x, old, false, TG_u32, &shape) : empty_before(x, TG_u32, &shape);
	w = stage_before(x, only(x, v.lo, word_map(x, &o->map, x->from->n_dims, 0, -1)), w, TG_u32, &shape);
	w = stage_before(x, only(x, v.hi, word_map(x, &o->map, x->from->n_dims, 1, -1)), w, TG_u32, &shape);
	replace(x, words(x, w, true, (enum tg_dtype)out.dtype, &out.shape));
}

/* ---- stages that only move 64-bit elements ------------------------------------------------------------------------------------------- */

static bool only_moves(const struct tg_module *m, const struct tg_op *op, const struct tg_stage *s)
{
	enum tg_dtype t = (enum tg_dtype)tg_value_get(m, op->out[0])->dtype;
	if (s->n_nodes != 1 || s->nodes[0].op != TG_X_arg || s->n_reds || !is_64_bit(t))
		return false;
	uint32_t in = (uint32_t)s->nodes[0].k;
	return tg_value_get(m, op->in[in])->dtype == t && (!s->ins[in].guarded || s->ins[in].fill == 0);
}

static void move_words(struct split *x)
{
	uint32_t n_dims = x->from->n_dims + 1, moved = (uint32_t)x->from->nodes[0].k;
	const struct tg_value out = *tg_value_get(x->m, x->op->out[0]);
	struct tg_shape shape = words_shape(&out.shape);
	x->to->n_dims = n_dims;
	x->to->dims = tg_alloc_n(x->m->arena, n_dims, sizeof *x->to->dims);
	memcpy(x->to->dims, x->from->dims, x->from->n_dims * sizeof *x->to->dims);
	x->to->dims[n_dims - 1] = (struct tg_dim){ 2, TG_DIM_PARALLEL };
	for (uint32_t i = 0; i < x->from->n_ins; i++) {
		struct tg_stage_in in = x->from->ins[i];
		tg_val v = x->op->in[i];
		bool pair = i == moved;
		in.map = word_map(x, &in.map, n_dims, 0, pair ? (int)n_dims - 1 : -1);
		in.map.rank -= !pair;
		if (pair) {
			struct tg_shape wide = words_shape(&tg_value_get(x->m, v)->shape);
			v = words(x, v, false, TG_u32, &wide);
		}
		add_operand(x, v, in);
	}
	tg_expr e = put(x, TG_X_arg, TG_u32, (int32_t)moved, 0, NONE, NONE, NONE);
	tg_val old = old_contents(x);
	if (tg_has(old))
		old = words(x, old, false, TG_u32, &shape);
	tg_val w = stage_before(x, only(x, e, word_map(x, &x->from->outs[0].map, n_dims, 0, (int)n_dims - 1)), old, TG_u32, &shape);
	replace(x, words(x, w, true, (enum tg_dtype)out.dtype, &out.shape));
}

static bool splits(const struct tg_module *m, const struct tg_op *op, const struct tg_stage *s)
{
	if (tg_value_get(m, op->out[0])->shape.rank + 1 > TG_MAX_RANK || s->n_outs != 1)
		return false;
	for (uint32_t i = 0; i < s->n_ins; i++)
		if (tg_value_get(m, op->in[i])->shape.rank + 1 > TG_MAX_RANK)
			return false;
	for (uint32_t r = 0; r < s->n_reds; r++)
		if (is_wide((enum tg_dtype)s->nodes[s->reds[r].value.id - 1].dtype))
			return false;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		bool hard = n->op == TG_X_div || n->op == TG_X_rem || n->op == TG_X_mod || n->op == TG_X_pow;
		if ((is_wide((enum tg_dtype)n->dtype) && hard) || n->dtype == TG_f64)
			return false;
	}
	return true;
}

static void split_stage(struct tg_module *m, struct tg_op *op)
{
	const struct tg_stage *s = op->attrs[TG_AT(tile_stage, body)].stage;
	struct split x = { .m = m, .op = op, .from = s, .to = tg_alloc(m->arena, sizeof *x.to) };
	bool moves = only_moves(m, op, s) && tg_value_get(m, op->out[0])->shape.rank < TG_MAX_RANK;
	if (!moves && (!tg_computes_wide(s) || !splits(m, op, s)))
		return;
	x.to->dims = s->dims;
	x.to->n_dims = s->n_dims;
	x.to->ins = tg_alloc_n(m->arena, 2 * s->n_ins + 1u, sizeof *x.to->ins);
	x.operands = tg_alloc_n(m->arena, 2 * s->n_ins + 2u, sizeof *x.operands);
	x.lo_in = tg_alloc_n(m->arena, s->n_ins + 1u, sizeof *x.lo_in);
	x.of = tg_alloc_n(m->arena, s->n_nodes + 1u, sizeof *x.of);
	if (moves) {
		move_words(&x);
		return;
	}
	split_operands(&x);
	rewrite_nodes(&x);
	x.to->n_reds = s->n_reds;
	x.to->reds = tg_alloc_n(m->arena, s->n_reds + 1u, sizeof *x.to->reds);
	for (uint32_t r = 0; r < s->n_reds && !x.failed; r++)
		x.to->reds[r] = (struct tg_reduction){ s->reds[r].combine, x.of[s->reds[r].value.id - 1].lo };
	if (!x.failed)
		finish(&x);
}

bool pass_split_i64(struct tg_pass *cx, struct tg_module *m)
{
	(void)cx;
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_stage && op->n_out == 1)
			split_stage(m, op);
	}
	return true;
}
