/* lower.c: expression nodes → vector operations. f32, i32 and u32 values are vector registers, bool values are masks. */
#include "kernel.h"

#include <math.h>
#include <string.h>

static enum tg_opcode direct(enum tg_expr_op op, enum tg_dtype t)
{
	static const struct { uint8_t expr, type; uint16_t insn; } rows[] = {
#define DIRECT(expr, type, insn) { TG_X_##expr, TG_##type, TG_I_##insn },
#include "lower.def"
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(rows); i++)
		if (rows[i].expr == op && rows[i].type == t)
			return (enum tg_opcode)rows[i].insn;
	return TG_I_none;
}

static uint32_t float_bits(double v)
{
	float f = (float)v;
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	return bits;
}

static vreg vec(struct kernel *k)
{
	return mreg(k->f, CLASS_V);
}

static vreg mask(struct kernel *k)
{
	return mreg(k->f, CLASS_M);
}

/* ---- loads and stores --------------------------------------------------------------------------------------------------- */

static enum tg_opcode load_op(enum tg_dtype t)
{
	switch (t) {
	case TG_f32: return TG_I_vld_f32;
	case TG_bf16: return TG_I_vld_bf16;
	case TG_f16: return TG_I_vld_f16;
	case TG_f8e4m3fn: return TG_I_vld_e4m3;
	case TG_f8e5m2: return TG_I_vld_e5m2;
	case TG_i32: case TG_u32: return TG_I_vld_i32;
	case TG_i16: return TG_I_vld_i16;
	case TG_u16: return TG_I_vld_u16;
	case TG_i8: return TG_I_vld_i8;
	case TG_u8: case TG_bool: return TG_I_vld_u8;
	default: return TG_I_none;
	}
}

static enum tg_opcode store_op(enum tg_dtype t)
{
	switch (t) {
	case TG_f32: case TG_i32: case TG_u32: return TG_I_vst_f32;
	case TG_bf16: return TG_I_vst_bf16;
	case TG_f16: return TG_I_vst_f16;
	case TG_f8e4m3fn: return TG_I_vst_e4m3;
	case TG_f8e5m2: return TG_I_vst_e5m2;
	case TG_i16: case TG_u16: return TG_I_vst_i16;
	case TG_i8: case TG_u8: case TG_bool: return TG_I_vst_i8;
	default: return TG_I_none;
	}
}

static uint32_t const_bits(enum tg_dtype t, uint64_t bits)
{
	double d;
	memcpy(&d, &bits, sizeof d);
	return t == TG_f32 ? float_bits(d) : (uint32_t)bits;
}

vreg kernel_as_mask(struct kernel *k, vreg v)
{
	vreg m = mask(k);
	EMIT(&k->at, vne_i32, R(m), R(v), R(kernel_vector(k, 0)));
	return m;
}

static vreg splat_operand(struct kernel *k, const struct operand *o)
{
	enum tg_dtype t = tg_compute_type(o->dtype);
	if (t == TG_f32)
		return kernel_vector(k, float_bits(tg_const_f64(o->constant, 0)));
	return kernel_vector(k, (uint32_t)tg_const_i64(o->constant, 0));
}

static vreg load(struct kernel *k, uint32_t operand, const struct point *pt)
{
	const struct operand *o = &k->p->operand[operand];
	int64_t imm;
	vreg base, v = vec(k);
	kernel_address(k, operand, pt, &imm, &base);
	bool lanes = k->lane != NO_DIM && k->dim[k->lane].step[operand] != 0;
	int64_t rows = k->row == NO_DIM ? 0 : k->dim[k->row].step[operand] * elem_bytes(o->sram_dtype);
	k->at.mem = o->mem;
	memit(&k->at, load_op(o->sram_dtype),
	      (const int64_t[]){ R(v), R(base), imm, R(kernel_scalar(k, rows)), 0, R(kernel_extent(k, pt->rows, pt->lanes)), 0, 0, lanes, 0 }, 10);
	k->at.mem = MEM_NONE;
	return v;
}

/* A load that the body has made before, or that is made in front of its loop. */
static vreg load_once(struct kernel *k, uint32_t operand, const struct point *pt)
{
	struct load_memo *m = k->memo;
	struct loaded one = { operand, 0, pt->rows, pt->lanes, { 0 } };
	for (uint32_t d = 0; d < k->n_dims; d++)
		one.offset += pt->delta[d] * k->dim[d].step[operand];
	for (size_t i = 0; i < m->list.n; i++) {
		const struct loaded *l = &m->list.at[i];
		if (l->operand == operand && l->offset == one.offset && l->rows == one.rows && l->lanes == one.lanes)
			return l->reg;
	}
	struct mcursor inside = k->at;
	bool steady = m->steady >> operand & 1;
	if (steady)
		k->at = *m->outside;
	one.reg = load(k, operand, pt);
	if (steady)
		k->at = inside;
	*TG_PUSH(k->f->arena, &m->list) = one;
	return one.reg;
}

vreg kernel_load(struct kernel *k, uint32_t operand, const struct point *pt)
{
	const struct operand *o = &k->p->operand[operand];
	vreg v = o->constant ? splat_operand(k, o) : k->memo ? load_once(k, operand, pt) : load(k, operand, pt);
	return o->dtype == TG_bool ? kernel_as_mask(k, v) : v;
}

vreg kernel_from_mask(struct kernel *k, vreg m, uint32_t one)
{
	vreg v = vec(k);
	EMIT(&k->at, vsel, R(v), R(m), R(kernel_vector(k, one)), R(kernel_vector(k, 0)));
	return v;
}

void kernel_store(struct kernel *k, uint32_t operand, const struct point *pt, vreg v, enum tg_dtype node_type)
{
	const struct operand *o = &k->p->operand[operand];
	int64_t imm;
	vreg base;
	if (node_type == TG_bool)
		v = kernel_from_mask(k, v, 1);
	kernel_address(k, operand, pt, &imm, &base);
	int64_t rows = k->row == NO_DIM ? 0 : k->dim[k->row].step[operand] * elem_bytes(o->sram_dtype);
	k->at.mem = o->mem;
	k->at.pred = k->store_pred;
	memit(&k->at, store_op(o->sram_dtype),
	      (const int64_t[]){ R(v), R(base), imm, R(kernel_scalar(k, rows)), 0, R(kernel_extent(k, pt->rows, pt->lanes)), 0, 1, 0 }, 9);
	k->at.pred = (vreg){ 0 };
	k->at.mem = MEM_NONE;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------ */

/* Value of a kernel dimension at every row and lane of a point, i32. */
static vreg index_vector(struct kernel *k, uint32_t d, const struct point *pt)
{
	vreg s = mreg(k->f, CLASS_S), v = vec(k);
	EMIT(&k->at, saddi, R(s), R(k->index[d]), pt->delta[d]);
	EMIT(&k->at, vsplat, R(v), R(s));
	if ((int)d != k->lane && (int)d != k->row)
		return v;
	vreg number = vec(k), sum = vec(k);
	if ((int)d == k->lane)
		EMIT(&k->at, xlane, R(number));
	else
		EMIT(&k->at, xrow, R(number));
	EMIT(&k->at, vadd_i32, R(sum), R(v), R(number));
	return sum;
}

static int kernel_dim(const struct kernel *k, uint32_t plan_dim)
{
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].plan_dim == (int)plan_dim)
			return (int)d;
	return NO_DIM;
}

/* 0 <= index < size for every guarded component, one unsigned comparison each. */
static vreg inside_mask(struct kernel *k, const struct operand *o, const struct point *pt)
{
	vreg all = { 0 };
	for (uint32_t c = 0; c < o->n_comps; c++) {
		const struct comp *x = &o->comp[c];
		if (!x->guarded)
			continue;
		vreg at = kernel_vector(k, (uint32_t)(int32_t)x->offset), m = mask(k);
		for (uint32_t t = 0; t < x->n; t++) {
			int d = kernel_dim(k, x->term[t].dim);
			vreg i = index_vector(k, (uint32_t)d, pt), scaled = vec(k), sum = vec(k);
			EMIT(&k->at, vmul_i32, R(scaled), R(i), R(kernel_vector(k, (uint32_t)(int32_t)x->term[t].coef)));
			EMIT(&k->at, vadd_i32, R(sum), R(at), R(scaled));
			at = sum;
		}
		EMIT(&k->at, vlt_u32, R(m), R(at), R(kernel_vector(k, (uint32_t)x->size)));
		if (all.id) {
			vreg both = mask(k);
			EMIT(&k->at, mand, R(both), R(all), R(m));
			m = both;
		}
		all = m;
	}
	return all;
}

static vreg compare(struct kernel *k, const struct tg_node *n, enum tg_dtype t, vreg a, vreg b)
{
	static const enum tg_opcode f32[] = { TG_I_veq_f32, TG_I_vne_f32, TG_I_vlt_f32, TG_I_vle_f32 };
	static const enum tg_opcode i32[] = { TG_I_veq_i32, TG_I_vne_i32, TG_I_vlt_i32, TG_I_vle_i32 };
	static const enum tg_opcode u32[] = { TG_I_veq_i32, TG_I_vne_i32, TG_I_vlt_u32, TG_I_vle_u32 };
	uint32_t which = n->op == TG_X_eq ? 0 : n->op == TG_X_ne ? 1 : n->op == TG_X_lt ? 2 : 3;
	if (t == TG_bool) {
		a = kernel_from_mask(k, a, 1);
		b = kernel_from_mask(k, b, 1);
	}
	vreg m = mask(k);
	memit(&k->at, t == TG_f32 ? f32[which] : t == TG_u32 ? u32[which] : i32[which], (const int64_t[]){ R(m), R(a), R(b) }, 3);
	return m;
}

static vreg invert(struct kernel *k, vreg m)
{
	vreg out = mask(k);
	EMIT(&k->at, mxor, R(out), R(m), 0);
	return out;
}

static vreg select(struct kernel *k, enum tg_dtype t, vreg c, vreg a, vreg b)
{
	if (t != TG_bool) {
		vreg v = vec(k);
		EMIT(&k->at, vsel, R(v), R(c), R(a), R(b));
		return v;
	}
	vreg x = mask(k), y = mask(k), out = mask(k);
	EMIT(&k->at, mand, R(x), R(c), R(a));
	EMIT(&k->at, mand, R(y), R(invert(k, c)), R(b));
	EMIT(&k->at, mor, R(out), R(x), R(y));
	return out;
}

static vreg cast(struct kernel *k, enum tg_dtype to, enum tg_dtype from, vreg a)
{
	bool same = to == from || (to != TG_f32 && to != TG_bool && from != TG_f32 && from != TG_bool);
	if (same)
		return a;
	if (from == TG_bool)
		return kernel_from_mask(k, a, to == TG_f32 ? float_bits(1) : 1);
	if (to == TG_bool && from != TG_f32)
		return kernel_as_mask(k, a);
	vreg v = to == TG_bool ? mask(k) : vec(k);
	if (to == TG_bool)
		EMIT(&k->at, vne_f32, R(v), R(a), R(kernel_vector(k, 0)));
	else
		memit(&k->at, to == TG_i32 ? TG_I_vf2i : to == TG_u32 ? TG_I_vf2u : from == TG_i32 ? TG_I_vi2f : TG_I_vu2f, (const int64_t[]){ R(v), R(a) }, 2);
	return v;
}

static vreg clamp_range(struct kernel *k, const struct tg_node *n, vreg a)
{
	const struct tg_dtype_info *info = &tg_dtypes[n->k];
	double hi = info->kind == TG_KIND_SIGNED ? ldexp(1, info->bits - 1) - 1 : ldexp(1, info->bits) - 1;
	double lo = info->kind == TG_KIND_SIGNED ? -ldexp(1, info->bits - 1) : 0;
	vreg x = vec(k), y = vec(k);
	if (n->dtype == TG_f32) {
		EMIT(&k->at, vclamp_f32, R(x), R(a), R(kernel_vector(k, float_bits(lo))), R(kernel_vector(k, float_bits(hi))));
		return x;
	}
	bool wide = info->bits == 32;
	if (n->dtype == TG_u32) {
		if (info->kind == TG_KIND_UNSIGNED && wide)
			return a;
		EMIT(&k->at, vmin_u32, R(x), R(a), R(kernel_vector(k, (uint32_t)hi)));
		return x;
	}
	EMIT(&k->at, vmax_i32, R(x), R(a), R(kernel_vector(k, (uint32_t)(int32_t)lo)));
	if (wide)
		return info->kind == TG_KIND_SIGNED ? a : x;
	EMIT(&k->at, vmin_i32, R(y), R(x), R(kernel_vector(k, (uint32_t)(int32_t)hi)));
	return y;
}

static vreg round_to(struct kernel *k, enum tg_opcode op, vreg a)
{
	vreg v = vec(k);
	memit(&k->at, op, (const int64_t[]){ R(v), R(a) }, 2);
	return v;
}

/* Beyond `limit` the unsaturated conversion gives `far` (with the operand's sign). */
static vreg round_unsaturated(struct kernel *k, enum tg_opcode op, vreg a, double limit, uint32_t far)
{
	vreg r = round_to(k, op, a), m = round_to(k, TG_I_vabs_f32, a), over = mask(k), sign = vec(k), big = vec(k), v = vec(k);
	EMIT(&k->at, vlt_f32, R(over), R(kernel_vector(k, float_bits(limit))), R(m));
	EMIT(&k->at, vand, R(sign), R(a), R(kernel_vector(k, 0x80000000u)));
	EMIT(&k->at, vor, R(big), R(sign), R(kernel_vector(k, far)));
	EMIT(&k->at, vsel, R(v), R(over), R(big), R(r));
	return v;
}

static vreg narrow(struct kernel *k, const struct tg_node *n, vreg a)
{
	bool wrap = n->op == TG_X_wrap;
	switch (n->k) {
	case TG_f32: case TG_bool: return a;
	case TG_i32: case TG_u32: return wrap ? a : clamp_range(k, n, a);
	case TG_f16: return round_to(k, TG_I_vrnd_f16, a);
	case TG_bf16: return round_to(k, TG_I_vrnd_bf16, a);
	case TG_f8e4m3fn: return wrap ? round_unsaturated(k, TG_I_vrnd_e4m3, a, 464, 0x7fc00000u) : round_to(k, TG_I_vrnd_e4m3, a);
	case TG_f8e5m2: return wrap ? round_unsaturated(k, TG_I_vrnd_e5m2, a, 61439.99, 0x7f800000u) : round_to(k, TG_I_vrnd_e5m2, a);
	default: break;
	}
	if (!tg_is_int((enum tg_dtype)n->k) || tg_dtypes[n->k].bits > 32) {
		k->failed = "rounding to an element type that the chip does not have";
		return a;
	}
	if (!wrap)
		return clamp_range(k, n, a);
	uint32_t bits = tg_dtypes[n->k].bits;
	vreg x = vec(k), y = vec(k), by = kernel_vector(k, 32 - bits);
	if (tg_dtypes[n->k].kind == TG_KIND_UNSIGNED) {
		EMIT(&k->at, vand, R(x), R(a), R(kernel_vector(k, (1u << bits) - 1)));
		return x;
	}
	EMIT(&k->at, vshl, R(x), R(a), R(by));
	EMIT(&k->at, vsar, R(y), R(x), R(by));
	return y;
}

static vreg eval_node(struct kernel *k, const struct tg_node *n, const struct point *pt, vreg acc, const vreg *in)
{
	const struct tg_stage *s = k->p->stage;
	enum tg_opcode op = direct((enum tg_expr_op)n->op, (enum tg_dtype)n->dtype);
	if (op != TG_I_none) {
		vreg v = mreg(k->f, n->dtype == TG_bool ? CLASS_M : CLASS_V);
		uint32_t arity = tg_expr_infos[n->op].arity;
		memit(&k->at, op, (const int64_t[]){ R(v), R(in[0]), R(in[1]), R(in[2]) }, 1 + arity);
		return v;
	}
	switch (n->op) {
	case TG_X_arg: return kernel_load(k, (uint32_t)n->k, pt);
	case TG_X_acc: return acc;
	case TG_X_const:
		if (n->dtype == TG_bool)
			return n->bits ? (vreg){ 0 } : invert(k, (vreg){ 0 });
		return kernel_vector(k, const_bits((enum tg_dtype)n->dtype, n->bits));
	case TG_X_index: {
		int plan_dim = k->p->dim_of[n->k];
		return plan_dim == NO_DIM ? kernel_vector(k, 0) : index_vector(k, (uint32_t)kernel_dim(k, (uint32_t)plan_dim), pt);
	}
	case TG_X_inside: return inside_mask(k, &k->p->operand[n->k], pt);
	case TG_X_eq: case TG_X_ne: case TG_X_lt: case TG_X_le:
		return compare(k, n, (enum tg_dtype)s->nodes[n->a.id - 1].dtype, in[0], in[1]);
	case TG_X_not:
		if (n->dtype == TG_bool)
			return invert(k, in[0]);
		break;
	case TG_X_select: return select(k, (enum tg_dtype)n->dtype, in[0], in[1], in[2]);
	case TG_X_cast:
		if (n->dtype == TG_i64 || s->nodes[n->a.id - 1].dtype == TG_i64 || s->nodes[n->a.id - 1].dtype == TG_u64)
			return in[0]; /* DMA does the conversion (plan_describe checked) */
		return cast(k, (enum tg_dtype)n->dtype, (enum tg_dtype)s->nodes[n->a.id - 1].dtype, in[0]);
	case TG_X_sat:
		if (n->dtype == TG_i64)
			return in[0]; /* DMA saturated */
		return narrow(k, n, in[0]);
	case TG_X_wrap: return narrow(k, n, in[0]);
	default: break;
	}
	return lower_math(k, n, in);
}

static uint32_t users(const struct tg_stage *s, tg_expr e)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->n_nodes; i++) { /* the same operand twice counts twice */
		n += s->nodes[i].a.id == e.id;
		n += s->nodes[i].b.id == e.id;
		n += s->nodes[i].c.id == e.id;
	}
	for (uint32_t i = 0; i < s->n_reds; i++)
		n += s->reds[i].value.id == e.id;
	return n + (s->outs[0].value.id == e.id);
}

/* min(max(x, lo), hi), and nobody else reads the maximum: one operation, defined as just that. */
static const struct tg_node *clamped(const struct tg_stage *s, const struct tg_node *n)
{
	const struct tg_node *max = n->op == TG_X_min && n->dtype == TG_f32 ? &s->nodes[n->a.id - 1] : NULL;
	return max && max->op == TG_X_max && users(s, n->a) == 1 ? max : NULL;
}

static bool is_inner(const struct tg_stage *s, uint32_t i)
{
	if (s->nodes[i].op != TG_X_max)
		return false;
	for (uint32_t k = i + 1; k < s->n_nodes; k++)
		if (clamped(s, &s->nodes[k]) == &s->nodes[i])
			return true;
	return false;
}

void kernel_eval(struct kernel *k, const bool *wanted, const struct point *pt, vreg acc, vreg *of)
{
	const struct tg_stage *s = k->p->stage;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		if (!wanted[i] || is_inner(s, i))
			continue;
		const struct tg_node *n = &s->nodes[i], *max = clamped(s, n);
		if (max) {
			of[i] = vec(k);
			EMIT(&k->at, vclamp_f32, R(of[i]), R(of[max->a.id - 1]), R(of[max->b.id - 1]), R(of[n->b.id - 1]));
			continue;
		}
		vreg in[3] = { n->a.id ? of[n->a.id - 1] : (vreg){ 0 }, n->b.id ? of[n->b.id - 1] : (vreg){ 0 }, n->c.id ? of[n->c.id - 1] : (vreg){ 0 } };
		of[i] = eval_node(k, n, pt, acc, in);
	}
}

/* ---- reductions ----------------------------------------------------------------------------------------------------------------- */

vreg kernel_identity(struct kernel *k, uint8_t combine, enum tg_dtype t)
{
	switch (combine) {
	case TG_SUM: return kernel_vector(k, 0);
	case TG_PROD: return kernel_vector(k, t == TG_f32 ? float_bits(1) : 1);
	case TG_MAX: return kernel_vector(k, t == TG_f32 ? float_bits(-(double)INFINITY) : t == TG_u32 ? 0 : 0x80000000u);
	default: return kernel_vector(k, t == TG_f32 ? float_bits((double)INFINITY) : t == TG_u32 ? 0xffffffffu : 0x7fffffffu);
	}
}

void kernel_combine(struct kernel *k, vreg to, vreg acc, uint8_t combine, enum tg_dtype t, vreg v)
{
	static const enum tg_expr_op ops[TG_N_COMBINES] = { [TG_SUM] = TG_X_add, [TG_PROD] = TG_X_mul, [TG_MAX] = TG_X_max, [TG_MIN] = TG_X_min };
	memit(&k->at, direct(ops[combine], t), (const int64_t[]){ R(to), R(acc), R(v) }, 3);
}
