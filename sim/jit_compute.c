/* jit_compute.c: what the lane-wise instructions give for a strip of lanes. A value is f32 until somebody wants its bits; NaNs are made canonical
 * then, and not before: arithmetic gives a NaN for a NaN whatever its payload. */
#ifdef TG_HAS_LLVM
#include "jit_lanes.h"

#define CLASS_LIST                                                                                                                                   \
	X(vadd_f32) X(vsub_f32) X(vmul_f32) X(vfma_f32) X(vfnma_f32) X(vmin_f32) X(vmax_f32) X(vclamp_f32) X(vabs_f32) X(vneg_f32) X(vfloor_f32)       \
	X(vceil_f32) X(vtrunc_f32) X(vrne_f32) X(vrnd_bf16) X(veq_f32) X(vne_f32) X(vlt_f32) X(vle_f32) X(vi2f) X(vu2f) X(vadd_i32)     \
	X(vsub_i32) X(vmul_i32) X(vmulh_u32) X(vmin_i32) X(vmax_i32) X(vmin_u32) X(vmax_u32) X(vand) X(vor) X(vxor) X(vshl) X(vshr) X(vsar)             \
	X(veq_i32) X(vne_i32) X(vlt_i32) X(vle_i32) X(vlt_u32) X(vle_u32) X(vmov) X(vmovi) X(vsplat) X(vsel) X(mand) X(mor) X(mxor) X(mext) X(xlane)    \
	X(xrow)

bool lanes_has(unsigned op)
{
	switch (op) {
#define X(name) case TG_I_##name:
		CLASS_LIST
#undef X
		return true;
	default:
		return tg_insn_info((enum tg_opcode)op)->n_fields == 2 && lane_has_math(op);
	}
}

unsigned lanes_effort(unsigned op)
{
	return lane_has_math(op) ? 8 : 1;
}

/* ---- constants and values ---- */

val lane_splat(struct gen *g, val one, LLVMTypeRef vector)
{
	val v = g->L->BuildInsertElement(g->b, g->L->GetPoison(vector), one, gen_int(g, 0), "");
	return g->L->BuildShuffleVector(g->b, v, g->L->GetPoison(vector), g->L->ConstNull(g->iv), "");
}

val lane_const(struct gen *g, uint32_t x)
{
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, x, 0);
	return g->L->ConstVector(each, g->strip);
}

val lane_intrinsic(struct gen *g, const char *name, LLVMTypeRef *types, unsigned n_types, val *args, unsigned n)
{
	LLVMTypeRef in[4], result = types[0];
	for (unsigned i = 0; i < n; i++)
		in[i] = n_types == 2 ? types[1] : types[0];
	val f = g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID(name, strlen(name)), types, n_types);
	return g->L->BuildCall2(g->b, g->L->FunctionType(result, in, n, 0), f, args, n, "");
}

static val unordered(struct gen *g, val a, val b)
{
	return g->L->BuildFCmp(g->b, LLVMRealUNO, a, b, "");
}

val lane_bits(struct gen *g, struct lane_value *v)
{
	if (!v->i)
		v->i = g->L->BuildSelect(g->b, unordered(g, v->f, v->f), lane_const(g, TG_F32_NAN), g->L->BuildBitCast(g->b, v->f, g->iv, ""), "");
	return v->i;
}

val lane_raw(struct gen *g, struct lane_value *v)
{
	return v->i ? v->i : g->L->BuildBitCast(g->b, v->f, g->iv, "");
}

val lane_float(struct gen *g, struct lane_value *v)
{
	if (!v->f)
		v->f = g->L->BuildBitCast(g->b, v->i, g->fv, "");
	return v->f;
}

val lane_register_at(struct body *y, unsigned r)
{
	return gen_at(y->g, y->lanes_at, gen_int(y->g, (int64_t)jit_register_bytes(&y->g->s->core, r)));
}

struct lane_value *lane_reg(struct body *y, unsigned r)
{
	struct gen *g = y->g;
	struct lane_value *v = &y->reg[r];
	if (v->i || v->f)
		return v;
	if (r == JIT_MASK) {
		v->i = lane_const(g, UINT32_MAX);
		return v;
	}
	v->i = g->L->BuildLoad2(g->b, g->iv, lane_register_at(y, r), "");
	g->L->SetAlignment(v->i, g->strip * 4);
	return v;
}

val lane_numbers(struct body *y)
{
	struct gen *g = y->g;
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, i, 0);
	return g->L->BuildAdd(g->b, lane_splat(g, g->L->BuildTrunc(g->b, y->lane, g->i32, ""), g->iv), g->L->ConstVector(each, g->strip), "");
}

/* ---- instructions ---- */

struct lane_value lane_of_float(val f)
{
	return (struct lane_value){.f = f};
}
struct lane_value lane_of_bits(val i)
{
	return (struct lane_value){.i = i};
}
static struct lane_value of_test(struct gen *g, val c)
{
	return lane_of_bits(g->L->BuildSExt(g->b, c, g->iv, ""));
}

/* minimum or maximum of IEEE 754-2019: the host's instruction gives its second operand when both are zero, so asked both ways round the
 * two answers differ in the sign of a zero only. */
static struct lane_value min_max(struct gen *g, struct lane_value *a, struct lane_value *b, bool max)
{
	LLVMRealPredicate better = max ? LLVMRealOGT : LLVMRealOLT;
	val x = lane_float(g, a), y = lane_float(g, b);
	val one = g->L->BuildSelect(g->b, g->L->BuildFCmp(g->b, better, x, y, ""), x, y, "");
	val two = g->L->BuildSelect(g->b, g->L->BuildFCmp(g->b, better, y, x, ""), y, x, "");
	val i = g->L->BuildBitCast(g->b, one, g->iv, ""), k = g->L->BuildBitCast(g->b, two, g->iv, "");
	val m = max ? g->L->BuildAnd(g->b, i, k, "") : g->L->BuildOr(g->b, i, k, "");
	return lane_of_bits(g->L->BuildSelect(g->b, unordered(g, x, y), lane_const(g, TG_F32_NAN), m, ""));
}

val lane_round_bf16(struct gen *g, struct lane_value *a)
{
	val i = lane_bits(g, a);
	val odd = g->L->BuildAnd(g->b, g->L->BuildLShr(g->b, i, lane_const(g, 16), ""), lane_const(g, 1), "");
	val r = g->L->BuildAnd(g->b, g->L->BuildAdd(g->b, g->L->BuildAdd(g->b, i, lane_const(g, 0x7fff), ""), odd, ""), lane_const(g, 0xffff0000), "");
	val f = g->L->BuildBitCast(g->b, i, g->fv, "");
	return g->L->BuildSelect(g->b, unordered(g, f, f), lane_const(g, TG_F32_NAN), r, "");
}

static struct lane_value float_unary(struct gen *g, const char *name, struct lane_value *a)
{
	val x = lane_float(g, a);
	return lane_of_float(lane_intrinsic(g, name, &g->fv, 1, &x, 1));
}

static val small_shift(struct gen *g, val b)
{
	return g->L->BuildAnd(g->b, b, lane_const(g, 31), "");
}

static struct lane_value shift(struct gen *g, unsigned op, val a, val b)
{
	val big = g->L->BuildICmp(g->b, LLVMIntUGT, b, lane_const(g, 31), "");
	if (op == TG_I_vsar)
		return lane_of_bits(g->L->BuildAShr(g->b, a, g->L->BuildSelect(g->b, big, lane_const(g, 31), b, ""), ""));
	val r = op == TG_I_vshl ? g->L->BuildShl(g->b, a, small_shift(g, b), "") : g->L->BuildLShr(g->b, a, small_shift(g, b), "");
	return lane_of_bits(g->L->BuildSelect(g->b, big, lane_const(g, 0), r, ""));
}

val lane_pick(struct gen *g, LLVMIntPredicate p, val a, val b, val x, val y)
{
	return g->L->BuildSelect(g->b, g->L->BuildICmp(g->b, p, a, b, ""), x, y, "");
}

static struct lane_value high_half(struct gen *g, val a, val b)
{
	LLVMTypeRef wide = g->L->VectorType(g->i64, g->strip);
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = gen_int(g, 32);
	val p = g->L->BuildMul(g->b, g->L->BuildZExt(g->b, a, wide, ""), g->L->BuildZExt(g->b, b, wide, ""), "");
	return lane_of_bits(g->L->BuildTrunc(g->b, g->L->BuildLShr(g->b, p, g->L->ConstVector(each, g->strip), ""), g->iv, ""));
}

static struct lane_value fma_of(struct gen *g, struct lane_value *a, struct lane_value *b, struct lane_value *c, bool minus)
{
	val x[3] = {lane_float(g, a), lane_float(g, b), lane_float(g, c)};
	if (minus)
		x[0] = g->L->BuildFNeg(g->b, x[0], "");
	return lane_of_float(lane_intrinsic(g, "llvm.fma", &g->fv, 1, x, 3));
}

static struct lane_value inside_extent(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	val row_in = g->L->BuildICmp(g->b, LLVMIntULT, y->row, o->a, "");
	val lane_in = g->L->BuildICmp(g->b, LLVMIntULT, lane_numbers(y), lane_splat(g, g->L->BuildTrunc(g->b, o->b, g->i32, ""), g->iv), "");
	return of_test(g, g->L->BuildAnd(g->b, lane_in, lane_splat(g, row_in, g->cv), ""));
}

/* Operands without a register: constants, scalars, positions. */
static bool compute_plain(struct body *y, const struct lane_op *o, struct lane_value *out)
{
	struct gen *g = y->g;
	switch (o->u->in.op) {
	case TG_I_vmovi:
		*out = lane_of_bits(lane_const(g, (uint32_t)o->u->in.f[1]));
		return true;
	case TG_I_vsplat:
		*out = lane_of_bits(lane_splat(g, g->L->BuildTrunc(g->b, o->a, g->i32, ""), g->iv));
		return true;
	case TG_I_mext:
		*out = inside_extent(y, o);
		return true;
	case TG_I_xlane:
		*out = lane_of_bits(lane_numbers(y));
		return true;
	case TG_I_xrow:
		*out = lane_of_bits(lane_splat(g, g->L->BuildTrunc(g->b, y->row, g->i32, ""), g->iv));
		return true;
	default:
		return false;
	}
}

static bool compute_masks(struct body *y, const struct lane_op *o, struct lane_value *out)
{
	struct gen *g = y->g;
	const struct tg_insn *in = &o->u->in;
	val a, b;
	if (in->op == TG_I_vsel) {
		val m = lane_bits(g, lane_reg(y, JIT_MASK + (unsigned)in->f[1]));
		a = lane_bits(g, lane_reg(y, (unsigned)in->f[2]));
		b = lane_bits(g, lane_reg(y, (unsigned)in->f[3]));
		*out = lane_of_bits(lane_pick(g, LLVMIntNE, m, lane_const(g, 0), a, b));
		return true;
	}
	if (in->op != TG_I_mand && in->op != TG_I_mor && in->op != TG_I_mxor)
		return false;
	a = lane_bits(g, lane_reg(y, JIT_MASK + (unsigned)in->f[1]));
	b = lane_bits(g, lane_reg(y, JIT_MASK + (unsigned)in->f[2]));
	*out = lane_of_bits(in->op == TG_I_mand ? g->L->BuildAnd(g->b, a, b, "") : in->op == TG_I_mor ? g->L->BuildOr(g->b, a, b, "") : g->L->BuildXor(g->b, a, b, ""));
	return true;
}

static bool compute_float(struct gen *g, unsigned op, struct lane_value *a, struct lane_value *b, struct lane_value *c, struct lane_value *out)
{
#define ON(name, ...)                                                                                                                                \
	case TG_I_##name:                                                                                                                            \
		*out = __VA_ARGS__;                                                                                                                  \
		return true
#define TEST(name, how) ON(name, of_test(g, g->L->BuildFCmp(g->b, how, lane_float(g, a), lane_float(g, b), "")))
	struct lane_value t;
	switch (op) {
		ON(vadd_f32, lane_of_float(g->L->BuildFAdd(g->b, lane_float(g, a), lane_float(g, b), "")));
		ON(vsub_f32, lane_of_float(g->L->BuildFSub(g->b, lane_float(g, a), lane_float(g, b), "")));
		ON(vmul_f32, lane_of_float(g->L->BuildFMul(g->b, lane_float(g, a), lane_float(g, b), "")));
		ON(vfma_f32, fma_of(g, a, b, c, false));
		ON(vfnma_f32, fma_of(g, a, b, c, true));
		ON(vmin_f32, min_max(g, a, b, false));
		ON(vmax_f32, min_max(g, a, b, true));
	case TG_I_vclamp_f32:
		t = min_max(g, a, b, true);
		*out = min_max(g, &t, c, false);
		return true;
		ON(vabs_f32, lane_of_bits(g->L->BuildAnd(g->b, lane_bits(g, a), lane_const(g, 0x7fffffff), "")));
		ON(vneg_f32, lane_of_bits(g->L->BuildXor(g->b, lane_bits(g, a), lane_const(g, 0x80000000), "")));
		ON(vfloor_f32, float_unary(g, "llvm.floor", a));
		ON(vceil_f32, float_unary(g, "llvm.ceil", a));
		ON(vtrunc_f32, float_unary(g, "llvm.trunc", a));
		ON(vrne_f32, float_unary(g, "llvm.rint", a));
		ON(vrnd_bf16, lane_of_bits(lane_round_bf16(g, a)));
		TEST(veq_f32, LLVMRealOEQ);
		TEST(vne_f32, LLVMRealUNE);
		TEST(vlt_f32, LLVMRealOLT);
		TEST(vle_f32, LLVMRealOLE);
		ON(vi2f, lane_of_float(g->L->BuildSIToFP(g->b, lane_bits(g, a), g->fv, "")));
		ON(vu2f, lane_of_float(g->L->BuildUIToFP(g->b, lane_bits(g, a), g->fv, "")));
	default:
		return false;
	}
#undef TEST
}

static struct lane_value compute_int(struct gen *g, unsigned op, struct lane_value *va, struct lane_value *vb)
{
	val a = lane_bits(g, va), b = vb ? lane_bits(g, vb) : NULL;
	switch (op) {
	case TG_I_vadd_i32:
		return lane_of_bits(g->L->BuildAdd(g->b, a, b, ""));
	case TG_I_vsub_i32:
		return lane_of_bits(g->L->BuildSub(g->b, a, b, ""));
	case TG_I_vmul_i32:
		return lane_of_bits(g->L->BuildMul(g->b, a, b, ""));
	case TG_I_vmulh_u32:
		return high_half(g, a, b);
	case TG_I_vmin_i32:
		return lane_of_bits(lane_pick(g, LLVMIntSLT, a, b, a, b));
	case TG_I_vmax_i32:
		return lane_of_bits(lane_pick(g, LLVMIntSLT, a, b, b, a));
	case TG_I_vmin_u32:
		return lane_of_bits(lane_pick(g, LLVMIntULT, a, b, a, b));
	case TG_I_vmax_u32:
		return lane_of_bits(lane_pick(g, LLVMIntULT, a, b, b, a));
	case TG_I_vand:
		return lane_of_bits(g->L->BuildAnd(g->b, a, b, ""));
	case TG_I_vor:
		return lane_of_bits(g->L->BuildOr(g->b, a, b, ""));
	case TG_I_vxor:
		return lane_of_bits(g->L->BuildXor(g->b, a, b, ""));
	case TG_I_vshl:
	case TG_I_vshr:
	case TG_I_vsar:
		return shift(g, op, a, b);
	case TG_I_veq_i32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntEQ, a, b, ""));
	case TG_I_vne_i32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntNE, a, b, ""));
	case TG_I_vlt_i32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntSLT, a, b, ""));
	case TG_I_vle_i32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntSLE, a, b, ""));
	case TG_I_vlt_u32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntULT, a, b, ""));
	case TG_I_vle_u32:
		return of_test(g, g->L->BuildICmp(g->b, LLVMIntULE, a, b, ""));
	default: /* vmov */
		return lane_of_bits(a);
	}
}

struct lane_value lane_compute(struct body *y, const struct lane_op *o)
{
	struct lane_value out = {0}, *in[3] = {NULL, NULL, NULL};
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)o->u->in.op);
	if (compute_plain(y, o, &out) || compute_masks(y, o, &out))
		return out;
	for (unsigned i = 1; i < info->n_fields && i < 4; i++)
		in[i - 1] = lane_reg(y, (unsigned)o->u->in.f[i]);
	if (lane_has_math(o->u->in.op))
		return lane_of_bits(lane_math(y->g, o->u->in.op, lane_raw(y->g, in[0])));
	if (compute_float(y->g, o->u->in.op, in[0], in[1], in[2], &out))
		return out;
	return compute_int(y->g, o->u->in.op, in[0], in[1]);
}
#else
typedef int jit_compute_is_empty;
#endif
