/* jit_lanes.c: the loop over the lanes of a segment: a strip at a time through all its lane-wise instructions, in the order of the bundles.
 *
 *   for each range of rows in which the same accesses have bytes
 *     for each row: the rows' addresses; values spread over a row
 *       for each range of lanes in which the same accesses have bytes: for each strip: load, compute, store
 *
 * What lies outside an access is known when the code is made, so tails cost nothing. A value is f32 until somebody wants its bits; NaNs are
 * made canonical then, and not before: arithmetic gives a NaN for a NaN whatever its payload. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

struct lane_value {
	val i, f; /* bits; f32, perhaps with a NaN that is not canonical when i is NULL */
	bool dirty;
};
struct body {
	struct gen *g;
	struct lane_value reg[JIT_TEMP];
	val row, lane;              /* i64: of the strip's first lane */
	val lanes_at;               /* where the strip's lanes of register 0 are */
	uint32_t first_row;         /* of the range */
	uint32_t from, to;          /* the range of lanes */
	val row_at[MAX_LANE_OPS];   /* the row's address, where it has bytes */
	int64_t past[MAX_LANE_OPS]; /* and so many bytes behind it: accesses that differ by constants share one address */
	val spread[MAX_LANE_OPS];   /* a value for the whole row */
};

#define CLASS_LIST                                                                                                                                   \
	X(vadd_f32) X(vsub_f32) X(vmul_f32) X(vfma_f32) X(vfnma_f32) X(vmin_f32) X(vmax_f32) X(vclamp_f32) X(vabs_f32) X(vneg_f32) X(vfloor_f32)       \
	X(vceil_f32) X(vtrunc_f32) X(vrne_f32) X(vrnd_bf16) X(veq_f32) X(vne_f32) X(vlt_f32) X(vle_f32) X(vf2i) X(vf2u) X(vi2f) X(vu2f) X(vadd_i32)     \
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
		return false;
	}
}

unsigned lanes_load_bytes(unsigned op)
{
	switch (op) {
	case TG_I_vld_f32:
	case TG_I_vld_i32:
		return 4;
	case TG_I_vld_bf16:
	case TG_I_vld_i16:
	case TG_I_vld_u16:
		return 2;
	case TG_I_vld_i8:
	case TG_I_vld_u8:
		return 1;
	default:
		return 0;
	}
}

unsigned lanes_store_bytes(unsigned op)
{
	switch (op) {
	case TG_I_vst_f32:
		return 4;
	case TG_I_vst_bf16:
	case TG_I_vst_i16:
	case TG_I_vst_i16s:
	case TG_I_vst_u16s:
		return 2;
	case TG_I_vst_i8:
	case TG_I_vst_i8s:
	case TG_I_vst_u8s:
		return 1;
	default:
		return 0;
	}
}

/* ---- constants and values ---- */

static val splat(struct gen *g, val one, LLVMTypeRef vector)
{
	val v = g->L->BuildInsertElement(g->b, g->L->GetPoison(vector), one, gen_int(g, 0), "");
	return g->L->BuildShuffleVector(g->b, v, g->L->GetPoison(vector), g->L->ConstNull(g->iv), "");
}

static val const_iv(struct gen *g, uint32_t x)
{
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, x, 0);
	return g->L->ConstVector(each, g->strip);
}

static val intrinsic(struct gen *g, const char *name, LLVMTypeRef *types, unsigned n_types, val *args, unsigned n)
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

static val bits_of(struct gen *g, struct lane_value *v)
{
	if (!v->i)
		v->i = g->L->BuildSelect(g->b, unordered(g, v->f, v->f), const_iv(g, TG_F32_NAN), g->L->BuildBitCast(g->b, v->f, g->iv, ""), "");
	return v->i;
}

static val float_of(struct gen *g, struct lane_value *v)
{
	if (!v->f)
		v->f = g->L->BuildBitCast(g->b, v->i, g->fv, "");
	return v->f;
}

static val lanes_of(struct body *y, unsigned r)
{
	return gen_at(y->g, y->lanes_at, gen_int(y->g, (int64_t)jit_register_bytes(&y->g->s->core, r)));
}

static struct lane_value *reg(struct body *y, unsigned r)
{
	struct gen *g = y->g;
	struct lane_value *v = &y->reg[r];
	if (v->i || v->f)
		return v;
	if (r == JIT_MASK) {
		v->i = const_iv(g, UINT32_MAX);
		return v;
	}
	v->i = g->L->BuildLoad2(g->b, g->iv, lanes_of(y, r), "");
	g->L->SetAlignment(v->i, g->strip * 4);
	return v;
}

static val lane_numbers(struct body *y)
{
	struct gen *g = y->g;
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, i, 0);
	return g->L->BuildAdd(g->b, splat(g, g->L->BuildTrunc(g->b, y->lane, g->i32, ""), g->iv), g->L->ConstVector(each, g->strip), "");
}

/* ---- instructions ---- */

static struct lane_value of_float(val f)
{
	return (struct lane_value){.f = f};
}
static struct lane_value of_bits(val i)
{
	return (struct lane_value){.i = i};
}
static struct lane_value of_test(struct gen *g, val c)
{
	return of_bits(g->L->BuildSExt(g->b, c, g->iv, ""));
}

/* minimum or maximum of IEEE 754-2019: the host's instruction gives its second operand when both are zero, so asked both ways round the
 * two answers differ in the sign of a zero only. */
static struct lane_value min_max(struct gen *g, struct lane_value *a, struct lane_value *b, bool max)
{
	LLVMRealPredicate better = max ? LLVMRealOGT : LLVMRealOLT;
	val x = float_of(g, a), y = float_of(g, b);
	val one = g->L->BuildSelect(g->b, g->L->BuildFCmp(g->b, better, x, y, ""), x, y, "");
	val two = g->L->BuildSelect(g->b, g->L->BuildFCmp(g->b, better, y, x, ""), y, x, "");
	val i = g->L->BuildBitCast(g->b, one, g->iv, ""), k = g->L->BuildBitCast(g->b, two, g->iv, "");
	val m = max ? g->L->BuildAnd(g->b, i, k, "") : g->L->BuildOr(g->b, i, k, "");
	return of_bits(g->L->BuildSelect(g->b, unordered(g, x, y), const_iv(g, TG_F32_NAN), m, ""));
}

static val round_bf16(struct gen *g, struct lane_value *a)
{
	val i = bits_of(g, a);
	val odd = g->L->BuildAnd(g->b, g->L->BuildLShr(g->b, i, const_iv(g, 16), ""), const_iv(g, 1), "");
	val r = g->L->BuildAnd(g->b, g->L->BuildAdd(g->b, g->L->BuildAdd(g->b, i, const_iv(g, 0x7fff), ""), odd, ""), const_iv(g, 0xffff0000), "");
	val f = g->L->BuildBitCast(g->b, i, g->fv, "");
	return g->L->BuildSelect(g->b, unordered(g, f, f), const_iv(g, TG_F32_NAN), r, "");
}

static struct lane_value float_unary(struct gen *g, const char *name, struct lane_value *a)
{
	val x = float_of(g, a);
	return of_float(intrinsic(g, name, &g->fv, 1, &x, 1));
}

static struct lane_value to_int(struct gen *g, const char *name, struct lane_value *a)
{
	LLVMTypeRef types[2] = {g->iv, g->fv};
	val x = float_of(g, a);
	return of_bits(intrinsic(g, name, types, 2, &x, 1));
}

static val small_shift(struct gen *g, val b)
{
	return g->L->BuildAnd(g->b, b, const_iv(g, 31), "");
}

static struct lane_value shift(struct gen *g, unsigned op, val a, val b)
{
	val big = g->L->BuildICmp(g->b, LLVMIntUGT, b, const_iv(g, 31), "");
	if (op == TG_I_vsar)
		return of_bits(g->L->BuildAShr(g->b, a, g->L->BuildSelect(g->b, big, const_iv(g, 31), b, ""), ""));
	val r = op == TG_I_vshl ? g->L->BuildShl(g->b, a, small_shift(g, b), "") : g->L->BuildLShr(g->b, a, small_shift(g, b), "");
	return of_bits(g->L->BuildSelect(g->b, big, const_iv(g, 0), r, ""));
}

static val pick(struct gen *g, LLVMIntPredicate p, val a, val b, val x, val y)
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
	return of_bits(g->L->BuildTrunc(g->b, g->L->BuildLShr(g->b, p, g->L->ConstVector(each, g->strip), ""), g->iv, ""));
}

static struct lane_value fma_of(struct gen *g, struct lane_value *a, struct lane_value *b, struct lane_value *c, bool minus)
{
	val x[3] = {float_of(g, a), float_of(g, b), float_of(g, c)};
	if (minus)
		x[0] = g->L->BuildFNeg(g->b, x[0], "");
	return of_float(intrinsic(g, "llvm.fma", &g->fv, 1, x, 3));
}

static struct lane_value inside_extent(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	val row_in = g->L->BuildICmp(g->b, LLVMIntULT, y->row, o->a, "");
	val lane_in = g->L->BuildICmp(g->b, LLVMIntULT, lane_numbers(y), splat(g, g->L->BuildTrunc(g->b, o->b, g->i32, ""), g->iv), "");
	return of_test(g, g->L->BuildAnd(g->b, lane_in, splat(g, row_in, g->cv), ""));
}

/* Operands without a register: constants, scalars, positions. */
static bool compute_plain(struct body *y, const struct lane_op *o, struct lane_value *out)
{
	struct gen *g = y->g;
	switch (o->u->in.op) {
	case TG_I_vmovi:
		*out = of_bits(const_iv(g, (uint32_t)o->u->in.f[1]));
		return true;
	case TG_I_vsplat:
		*out = of_bits(splat(g, g->L->BuildTrunc(g->b, o->a, g->i32, ""), g->iv));
		return true;
	case TG_I_mext:
		*out = inside_extent(y, o);
		return true;
	case TG_I_xlane:
		*out = of_bits(lane_numbers(y));
		return true;
	case TG_I_xrow:
		*out = of_bits(splat(g, g->L->BuildTrunc(g->b, y->row, g->i32, ""), g->iv));
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
		val m = bits_of(g, reg(y, JIT_MASK + (unsigned)in->f[1]));
		a = bits_of(g, reg(y, (unsigned)in->f[2]));
		b = bits_of(g, reg(y, (unsigned)in->f[3]));
		*out = of_bits(pick(g, LLVMIntNE, m, const_iv(g, 0), a, b));
		return true;
	}
	if (in->op != TG_I_mand && in->op != TG_I_mor && in->op != TG_I_mxor)
		return false;
	a = bits_of(g, reg(y, JIT_MASK + (unsigned)in->f[1]));
	b = bits_of(g, reg(y, JIT_MASK + (unsigned)in->f[2]));
	*out = of_bits(in->op == TG_I_mand ? g->L->BuildAnd(g->b, a, b, "") : in->op == TG_I_mor ? g->L->BuildOr(g->b, a, b, "") : g->L->BuildXor(g->b, a, b, ""));
	return true;
}

static bool compute_float(struct gen *g, unsigned op, struct lane_value *a, struct lane_value *b, struct lane_value *c, struct lane_value *out)
{
#define ON(name, ...)                                                                                                                                \
	case TG_I_##name:                                                                                                                            \
		*out = __VA_ARGS__;                                                                                                                  \
		return true
#define TEST(name, how) ON(name, of_test(g, g->L->BuildFCmp(g->b, how, float_of(g, a), float_of(g, b), "")))
	struct lane_value t;
	switch (op) {
		ON(vadd_f32, of_float(g->L->BuildFAdd(g->b, float_of(g, a), float_of(g, b), "")));
		ON(vsub_f32, of_float(g->L->BuildFSub(g->b, float_of(g, a), float_of(g, b), "")));
		ON(vmul_f32, of_float(g->L->BuildFMul(g->b, float_of(g, a), float_of(g, b), "")));
		ON(vfma_f32, fma_of(g, a, b, c, false));
		ON(vfnma_f32, fma_of(g, a, b, c, true));
		ON(vmin_f32, min_max(g, a, b, false));
		ON(vmax_f32, min_max(g, a, b, true));
	case TG_I_vclamp_f32:
		t = min_max(g, a, b, true);
		*out = min_max(g, &t, c, false);
		return true;
		ON(vabs_f32, of_bits(g->L->BuildAnd(g->b, bits_of(g, a), const_iv(g, 0x7fffffff), "")));
		ON(vneg_f32, of_bits(g->L->BuildXor(g->b, bits_of(g, a), const_iv(g, 0x80000000), "")));
		ON(vfloor_f32, float_unary(g, "llvm.floor", a));
		ON(vceil_f32, float_unary(g, "llvm.ceil", a));
		ON(vtrunc_f32, float_unary(g, "llvm.trunc", a));
		ON(vrne_f32, float_unary(g, "llvm.rint", a));
		ON(vrnd_bf16, of_bits(round_bf16(g, a)));
		TEST(veq_f32, LLVMRealOEQ);
		TEST(vne_f32, LLVMRealUNE);
		TEST(vlt_f32, LLVMRealOLT);
		TEST(vle_f32, LLVMRealOLE);
		ON(vf2i, to_int(g, "llvm.fptosi.sat", a));
		ON(vf2u, to_int(g, "llvm.fptoui.sat", a));
		ON(vi2f, of_float(g->L->BuildSIToFP(g->b, bits_of(g, a), g->fv, "")));
		ON(vu2f, of_float(g->L->BuildUIToFP(g->b, bits_of(g, a), g->fv, "")));
	default:
		return false;
	}
#undef TEST
}

static struct lane_value compute_int(struct gen *g, unsigned op, struct lane_value *va, struct lane_value *vb)
{
	val a = bits_of(g, va), b = vb ? bits_of(g, vb) : NULL;
	switch (op) {
	case TG_I_vadd_i32:
		return of_bits(g->L->BuildAdd(g->b, a, b, ""));
	case TG_I_vsub_i32:
		return of_bits(g->L->BuildSub(g->b, a, b, ""));
	case TG_I_vmul_i32:
		return of_bits(g->L->BuildMul(g->b, a, b, ""));
	case TG_I_vmulh_u32:
		return high_half(g, a, b);
	case TG_I_vmin_i32:
		return of_bits(pick(g, LLVMIntSLT, a, b, a, b));
	case TG_I_vmax_i32:
		return of_bits(pick(g, LLVMIntSLT, a, b, b, a));
	case TG_I_vmin_u32:
		return of_bits(pick(g, LLVMIntULT, a, b, a, b));
	case TG_I_vmax_u32:
		return of_bits(pick(g, LLVMIntULT, a, b, b, a));
	case TG_I_vand:
		return of_bits(g->L->BuildAnd(g->b, a, b, ""));
	case TG_I_vor:
		return of_bits(g->L->BuildOr(g->b, a, b, ""));
	case TG_I_vxor:
		return of_bits(g->L->BuildXor(g->b, a, b, ""));
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
		return of_bits(a);
	}
}

static struct lane_value compute(struct body *y, const struct lane_op *o)
{
	struct lane_value out = {0}, *in[3] = {NULL, NULL, NULL};
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)o->u->in.op);
	if (compute_plain(y, o, &out) || compute_masks(y, o, &out))
		return out;
	for (unsigned i = 1; i < info->n_fields && i < 4; i++)
		in[i - 1] = reg(y, (unsigned)o->u->in.f[i]);
	if (compute_float(y->g, o->u->in.op, in[0], in[1], in[2], &out))
		return out;
	return compute_int(y->g, o->u->in.op, in[0], in[1]);
}

/* ---- loads and stores ---- */

static LLVMTypeRef element_type(struct gen *g, unsigned bytes)
{
	return bytes == 4 ? g->i32 : bytes == 2 ? g->i16 : g->i8;
}

static struct lane_value widen(struct gen *g, unsigned op, val raw, LLVMTypeRef to)
{
	bool vector = to == g->iv;
	val h;
	switch (op) {
	case TG_I_vld_bf16:
		h = g->L->BuildZExt(g->b, raw, to, "");
		h = g->L->BuildShl(g->b, h, vector ? const_iv(g, 16) : g->L->ConstInt(g->i32, 16, 0), "");
		return of_bits(h); /* its NaNs: settle_nans */
	case TG_I_vld_i16:
	case TG_I_vld_i8:
		return of_bits(g->L->BuildSExt(g->b, raw, to, ""));
	case TG_I_vld_u16:
	case TG_I_vld_u8:
		return of_bits(g->L->BuildZExt(g->b, raw, to, ""));
	default:
		return of_bits(raw);
	}
}

static struct lane_value settle_nans(struct gen *g, unsigned op, struct lane_value v)
{
	return op == TG_I_vld_bf16 ? of_float(g->L->BuildBitCast(g->b, v.i, g->fv, "")) : v;
}

static val outside(struct gen *g, const struct tg_insn *in)
{
	if (in->op == TG_I_mrd)
		return const_iv(g, 0);
	bool is_float = in->op >= TG_I_vld_f32 && in->op <= TG_I_vld_e5m2;
	if (in->f[7] == 1)
		return const_iv(g, is_float ? TG_F32_INF : 0x7fffffff);
	if (in->f[7] == 2)
		return const_iv(g, is_float ? 0xff800000 : 0x80000000);
	return const_iv(g, 0);
}

/* Lanes of the strip that an access reaches: a constant mask, for the strip in which it ends. */
static val first_lanes(struct gen *g, uint32_t n)
{
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i1, i < n, 0);
	return g->L->ConstVector(each, g->strip);
}

static val acc_of(struct gen *g, const struct lane_op *o)
{
	return gen_field(g, g->ptr, offsetof(struct tg_sim, core.array) + (size_t)o->u->in.f[1] * sizeof(struct tg_array) + offsetof(struct tg_array, acc));
}

/* Memory of a strip; where the predicate is false it is memory that nobody misses. */
static val strip_at(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	val at = g->L->BuildAdd(g->b, y->row_at[k], g->L->BuildMul(g->b, y->lane, gen_int(g, o->at.bytes), ""), "");
	val p = gen_at(g, gen_at(g, o->kind == LANE_ROWS ? acc_of(g, o) : g->mem, at), gen_int(g, y->past[k]));
	val sink = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, JIT_TEMP + JIT_N_TEMPS - 1)));
	return o->pred ? g->L->BuildSelect(g->b, o->pred, p, sink, "") : p;
}

static val masked_load(struct gen *g, LLVMTypeRef vector, val p, val mask)
{
	LLVMTypeRef types[2] = {vector, g->ptr}, in[4] = {g->ptr, g->i32, g->cv, vector};
	val args[4] = {p, g->L->ConstInt(g->i32, 1, 0), mask, g->L->ConstNull(vector)};
	val f = g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID("llvm.masked.load", 16), types, 2);
	return g->L->BuildCall2(g->b, g->L->FunctionType(vector, in, 4, 0), f, args, 4, "");
}

static void masked_store(struct gen *g, LLVMTypeRef vector, val v, val p, val mask)
{
	LLVMTypeRef types[2] = {vector, g->ptr}, in[4] = {vector, g->ptr, g->i32, g->cv};
	val args[4] = {v, p, g->L->ConstInt(g->i32, 1, 0), mask};
	val f = g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID("llvm.masked.store", 17), types, 2);
	g->L->BuildCall2(g->b, g->L->FunctionType(g->L->VoidTypeInContext(g->c), in, 4, 0), f, args, 4, "");
}

/* The lanes of the strip that the access reaches and its mask selects; NULL: all. */
static val reached(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	val inside = y->to > o->at.lanes ? first_lanes(g, o->at.lanes - y->from) : NULL;
	if (!o->at.mask)
		return inside;
	val on = g->L->BuildICmp(g->b, LLVMIntNE, bits_of(g, reg(y, JIT_MASK + o->at.mask)), const_iv(g, 0), "");
	return inside ? g->L->BuildAnd(g->b, inside, on, "") : on;
}

/* What lanes get that are not read: their old value where the mask or the instruction says so, else a constant. */
static val not_read(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	bool part = y->first_row >= o->at.rows || y->to > o->at.lanes;
	if (o->kind == LANE_ROWS || (!o->at.mask && o->u->in.f[7] != 3))
		return outside(g, &o->u->in);
	val old = bits_of(g, reg(y, (unsigned)(o->u->writes[0] - REG_V)));
	if (!part || o->u->in.f[7] == 3)
		return old;
	val on = g->L->BuildICmp(g->b, LLVMIntNE, bits_of(g, reg(y, JIT_MASK + o->at.mask)), const_iv(g, 0), "");
	return g->L->BuildSelect(g->b, on, outside(g, &o->u->in), old, "");
}

static struct lane_value load(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	LLVMTypeRef vector = g->L->VectorType(element_type(g, o->at.bytes), g->strip);
	struct lane_value v;
	if (y->first_row >= o->at.rows || y->from >= o->at.lanes)
		return of_bits(not_read(y, o));
	val some = reached(y, o);
	if (o->at.spread) {
		v = settle_nans(g, o->u->in.op, of_bits(splat(g, y->spread[k], g->iv)));
	} else if (some) {
		v = settle_nans(g, o->u->in.op, widen(g, o->u->in.op, masked_load(g, vector, strip_at(y, k, o), some), g->iv));
	} else {
		val raw = g->L->BuildLoad2(g->b, vector, strip_at(y, k, o), "");
		g->L->SetAlignment(raw, 1);
		v = settle_nans(g, o->u->in.op, widen(g, o->u->in.op, raw, g->iv));
	}
	if (some)
		return of_bits(g->L->BuildSelect(g->b, some, bits_of(g, &v), not_read(y, o), ""));
	return v;
}

static val clamped(struct gen *g, val a, int32_t lo, int32_t hi)
{
	val low = const_iv(g, (uint32_t)lo), high = const_iv(g, (uint32_t)hi);
	a = pick(g, LLVMIntSLT, a, low, low, a);
	return pick(g, LLVMIntSGT, a, high, high, a);
}

static val narrow(struct gen *g, unsigned op, struct lane_value *v, LLVMTypeRef to)
{
	val a = bits_of(g, v);
	switch (op) {
	case TG_I_vst_f32:
		return a;
	case TG_I_vst_bf16:
		a = g->L->BuildLShr(g->b, round_bf16(g, v), const_iv(g, 16), "");
		break;
	case TG_I_vst_i16s:
		a = clamped(g, a, INT16_MIN, INT16_MAX);
		break;
	case TG_I_vst_u16s:
		a = clamped(g, a, 0, UINT16_MAX);
		break;
	case TG_I_vst_i8s:
		a = clamped(g, a, INT8_MIN, INT8_MAX);
		break;
	case TG_I_vst_u8s:
		a = clamped(g, a, 0, UINT8_MAX);
		break;
	default:
		break;
	}
	return g->L->BuildTrunc(g->b, a, to, "");
}

static void store(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	LLVMTypeRef vector = g->L->VectorType(element_type(g, o->at.bytes), g->strip);
	if (y->first_row >= o->at.rows || y->from >= o->at.lanes)
		return;
	val v = narrow(g, o->u->in.op, reg(y, (unsigned)o->u->in.f[0]), vector), p = strip_at(y, k, o);
	val some = reached(y, o);
	if (some)
		masked_store(g, vector, v, p, some);
	else
		g->L->SetAlignment(g->L->BuildStore(g->b, v, p), 1);
}

/* A function for each shape: mask -> lanes that it selects. */
static val selected_for(struct gen *g, const struct place *p)
{
	char name[48];
	snprintf(name, sizeof name, "selected_%u_%u", p->rows, p->lanes);
	val fn = g->L->GetNamedFunction(g->m, name), all = gen_int(g, 0);
	if (fn)
		return fn;
	LLVMTypeRef type = g->L->FunctionType(g->i64, &g->ptr, 1, 0), bits = g->strip == 16 ? g->i16 : g->i8;
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	fn = g->L->AddFunction(g->m, name, type);
	g->L->SetLinkage(fn, LLVMInternalLinkage);
	g->L->PositionBuilderAtEnd(g->b, g->L->AppendBasicBlockInContext(g->c, fn, ""));
	for (uint32_t r = 0; r < p->rows; r++) {
		for (uint32_t j = 0; j < p->lanes; j += g->strip) {
			val at = gen_at(g, g->L->GetParam(fn, 0), gen_int(g, (int64_t)(r * g->s->core.lanes + j) * 4));
			val v = g->L->BuildLoad2(g->b, g->iv, at, ""), on = g->L->BuildICmp(g->b, LLVMIntNE, v, const_iv(g, 0), "");
			g->L->SetAlignment(v, g->strip * 4);
			if (p->lanes - j < g->strip)
				on = g->L->BuildAnd(g->b, on, first_lanes(g, p->lanes - j), "");
			val word = g->L->BuildBitCast(g->b, on, bits, ""), n = intrinsic(g, "llvm.ctpop", &bits, 1, &word, 1);
			all = g->L->BuildAdd(g->b, all, g->L->BuildZExt(g->b, n, g->i64, ""), "");
		}
	}
	g->L->BuildRet(g->b, all);
	g->L->PositionBuilderAtEnd(g->b, here);
	return fn;
}

val gen_selected(struct gen *g, const struct place *p)
{
	val mask = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, JIT_MASK + p->mask)));
	return g->L->BuildCall2(g->b, g->L->FunctionType(g->i64, &g->ptr, 1, 0), selected_for(g, p), &mask, 1, "");
}

static struct lane_value temporary(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	val v = g->L->BuildLoad2(g->b, g->iv, lanes_of(y, JIT_TEMP + o->temp), "");
	g->L->SetAlignment(v, g->strip * 4);
	return of_bits(v);
}

/* ---- the loop ---- */

/* All results of a bundle land together. */
static void strip(struct body *y)
{
	struct gen *g = y->g;
	struct segment *e = &g->seg;
	struct lane_value landing[MAX_LANE_OPS];
	memset(y->reg, 0, sizeof y->reg);
	for (unsigned i = 0; i < e->n_op;) {
		unsigned end = i;
		for (; end < e->n_op && e->op[end].bundle == e->op[i].bundle; end++) {
			const struct lane_op *o = &e->op[end];
			if (o->kind == LANE_VIEW)
				continue;
			if (o->kind == LANE_STORE) {
				store(y, end, o);
				continue;
			}
			landing[end] = o->kind == LANE_ALU ? compute(y, o) : o->kind == LANE_TEMP ? temporary(y, o) : load(y, end, o);
			if (o->pred && o->dest != NO_DEST) {
				val now = bits_of(g, &landing[end]), was = bits_of(g, reg(y, o->dest));
				landing[end] = of_bits(g->L->BuildSelect(g->b, o->pred, now, was, ""));
			}
		}
		for (; i < end; i++) {
			if (e->op[i].kind == LANE_STORE || e->op[i].dest == NO_DEST)
				continue;
			y->reg[e->op[i].dest] = landing[i];
			y->reg[e->op[i].dest].dirty = !e->op[i].lazy;
		}
	}
	for (unsigned r = 0; r < JIT_TEMP; r++) {
		if (!y->reg[r].dirty)
			continue;
		g->L->SetAlignment(g->L->BuildStore(g->b, bits_of(g, &y->reg[r]), lanes_of(y, r)), g->strip * 4);
	}
}

/* A counted loop: from the value of `counter` on; close_loop adds step and goes round until `end`. */
struct counted {
	LLVMBasicBlockRef body;
	val counter;
};
static struct counted open_loop(struct gen *g, uint32_t from)
{
	struct counted l = {.body = g->L->AppendBasicBlockInContext(g->c, g->fn, "")};
	LLVMBasicBlockRef before = g->L->GetInsertBlock(g->b);
	val start = gen_int(g, from);
	g->L->BuildBr(g->b, l.body);
	g->L->PositionBuilderAtEnd(g->b, l.body);
	l.counter = g->L->BuildPhi(g->b, g->i64, "");
	g->L->AddIncoming(l.counter, &start, &before, 1);
	return l;
}
static void close_loop(struct gen *g, struct counted *l, uint32_t step, uint32_t end)
{
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b), out = g->L->AppendBasicBlockInContext(g->c, g->fn, "");
	val next = g->L->BuildAdd(g->b, l->counter, gen_int(g, step), "");
	g->L->AddIncoming(l->counter, &next, &here, 1);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntULT, next, gen_int(g, end), ""), l->body, out);
	g->L->PositionBuilderAtEnd(g->b, out);
}

static void at_lane(struct body *y, val row_element, val lane)
{
	y->lane = lane;
	y->lanes_at = gen_at(y->g, y->g->registers, y->g->L->BuildShl(y->g->b, y->g->L->BuildAdd(y->g->b, row_element, lane, ""), gen_int(y->g, 2), ""));
	strip(y);
}

static void range_of_lanes(struct body *y, val row_element)
{
	struct gen *g = y->g;
	if (y->to - y->from <= 2 * g->strip) {
		for (uint32_t j = y->from; j < y->to; j += g->strip)
			at_lane(y, row_element, gen_int(g, j));
		return;
	}
	struct counted l = open_loop(g, y->from);
	at_lane(y, row_element, l.counter);
	close_loop(g, &l, g->strip, y->to);
}

/* Whether the rows of two accesses lie the same number of bytes from each other everywhere. */
static bool side_by_side(const struct lane_op *x, const struct lane_op *y)
{
	const struct place *a = &x->at, *b = &y->at;
	if (x->kind == LANE_ROWS || y->kind == LANE_ROWS || a->root != b->root || a->bytes != b->bytes || a->n != b->n)
		return false;
	bool same = a->step == b->step && a->block_step == b->block_step;
	return same || (a->fixed && b->fixed && a->rows == b->rows && a->s == b->s && a->t == b->t);
}

/* The first access from whose address that of k follows. */
static unsigned leader_of(struct body *y, unsigned k)
{
	const struct lane_op *op = y->g->seg.op;
	unsigned i = 0;
	while (i < k && !(y->row_at[i] && side_by_side(&op[i], &op[k])))
		i++;
	return i;
}

static val row_address(struct body *y, const struct place *p)
{
	struct gen *g = y->g;
	val r = y->row, at = p->base;
	if (p->n < p->rows) {
		val n = gen_int(g, p->n);
		at = g->L->BuildAdd(g->b, at, g->L->BuildMul(g->b, g->L->BuildUDiv(g->b, r, n, ""), p->block_step, ""), "");
		r = g->L->BuildURem(g->b, r, n, "");
	}
	return g->L->BuildAdd(g->b, at, g->L->BuildMul(g->b, r, p->step, ""), "");
}

static void row_addresses(struct body *y)
{
	struct gen *g = y->g;
	memset(y->row_at, 0, sizeof y->row_at);
	for (unsigned k = 0; k < g->seg.n_op; k++) {
		const struct lane_op *o = &g->seg.op[k];
		const struct place *p = &o->at;
		unsigned leader;
		if (o->kind == LANE_ALU || o->kind == LANE_TEMP || o->kind == LANE_VIEW || y->first_row >= p->rows)
			continue;
		leader = leader_of(y, k);
		y->row_at[k] = leader < k ? y->row_at[leader] : row_address(y, p);
		y->past[k] = leader < k ? (int64_t)((uint64_t)y->past[leader] + (uint64_t)p->off - (uint64_t)g->seg.op[leader].at.off) : 0;
		if (!p->spread)
			continue;
		y->lane = gen_int(g, 0);
		val one = g->L->BuildLoad2(g->b, element_type(g, p->bytes), strip_at(y, k, o), "");
		g->L->SetAlignment(one, 1);
		y->spread[k] = widen(g, o->u->in.op, one, g->i32).i;
	}
}

static void one_row(struct body *y, val row)
{
	struct gen *g = y->g;
	struct segment *e = &g->seg;
	y->row = row;
	row_addresses(y);
	val row_element = g->L->BuildMul(g->b, row, gen_int(g, g->s->core.lanes), "");
	for (unsigned k = 0; k < e->n_lanes; k++) {
		y->from = e->lanes[k];
		y->to = k + 1 < e->n_lanes ? e->lanes[k + 1] : g->s->core.lanes;
		range_of_lanes(y, row_element);
	}
}

void gen_lanes(struct gen *g)
{
	struct segment *e = &g->seg;
	struct body body = {.g = g}, *y = &body;
	bool any = false;
	for (unsigned i = 0; i < e->n_op; i++)
		any = any || e->op[i].kind != LANE_VIEW;
	for (unsigned k = 0; any && k < e->n_rows; k++) {
		uint32_t from = e->rows[k], to = k + 1 < e->n_rows ? e->rows[k + 1] : g->s->core.rows;
		y->first_row = from;
		if (to - from == 1) {
			one_row(y, gen_int(g, from));
			continue;
		}
		struct counted l = open_loop(g, from);
		one_row(y, l.counter);
		close_loop(g, &l, 1, to);
	}
}
#else
typedef int jit_lanes_is_empty;
#endif
