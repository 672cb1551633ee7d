/* jit_math.c: the functions of isa/lane_functions.def for a strip of lanes: the same steps as numerics.h, as LLVM's values. */
#ifdef TG_HAS_LLVM
#include "jit_lanes.h"

static val bits_of(struct gen *g, val f)
{
	return g->L->BuildBitCast(g->b, f, g->iv, "");
}
static val float_of(struct gen *g, val u)
{
	return g->L->BuildBitCast(g->b, u, g->fv, "");
}
static val float_const(struct gen *g, float c)
{
	return float_of(g, lane_const(g, tg_bits(c)));
}
static val fma_of(struct gen *g, val a, val b, val c)
{
	val x[3] = {a, b, c};
	return lane_intrinsic(g, "llvm.fma", &g->fv, 1, x, 3);
}
static val polynomial(struct gen *g, val x, const float *c, size_t n)
{
	val p = float_const(g, c[0]);
	for (size_t i = 1; i < n; i++)
		p = fma_of(g, p, x, float_const(g, c[i]));
	return p;
}

#define BINARY(name, x, y) g->L->Build##name(g->b, x, y, "")
#define FUNCTION_U(name, a) static val make_##name(struct gen *g, val a)
#define FUNCTION_F(name, a) static val make_##name(struct gen *g, val a)
#define LET_U(x, e) val x = e;
#define LET_F(x, e) val x = e;
#define GIVES(e) return e;
#undef CALL /* of jit_gen.h */
#define CALL(name, x) make_##name(g, x)
#define U(c) lane_const(g, (uint32_t)(c))
#define F(c) float_const(g, c)
#define AS_F(u) float_of(g, u)
#define AS_U(f) bits_of(g, f)
#define ADD(x, y) BINARY(Add, x, y)
#define SUB(x, y) BINARY(Sub, x, y)
#define AND(x, y) BINARY(And, x, y)
#define OR(x, y) BINARY(Or, x, y)
#define XOR(x, y) BINARY(Xor, x, y)
#define SHL(x, n) BINARY(Shl, x, U(n))
#define SHR(x, n) BINARY(LShr, x, U(n))
#define SAR(x, n) BINARY(AShr, x, U(n))
#define FADD(x, y) BINARY(FAdd, x, y)
#define FSUB(x, y) BINARY(FSub, x, y)
#define FMUL(x, y) BINARY(FMul, x, y)
#define FDIV(x, y) BINARY(FDiv, x, y)
#define FNEG(x) g->L->BuildFNeg(g->b, x, "")
#define FMA(x, y, z) fma_of(g, x, y, z)
#define I2F(u) g->L->BuildSIToFP(g->b, u, g->fv, "")
#define F2I(f) g->L->BuildFPToSI(g->b, f, g->iv, "")
#define POLY(x, ...) polynomial(g, x, (const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))
#define ULT(x, y) g->L->BuildICmp(g->b, LLVMIntULT, x, y, "")
#define UGE(x, y) g->L->BuildICmp(g->b, LLVMIntUGE, x, y, "")
#define UGT(x, y) g->L->BuildICmp(g->b, LLVMIntUGT, x, y, "")
#define EQ(x, y) g->L->BuildICmp(g->b, LLVMIntEQ, x, y, "")
#define FLT(x, y) g->L->BuildFCmp(g->b, LLVMRealOLT, x, y, "")
#define FGT(x, y) g->L->BuildFCmp(g->b, LLVMRealOGT, x, y, "")
#define IS_NAN(x) g->L->BuildFCmp(g->b, LLVMRealUNO, x, x, "")
#define PICK(test, x, y) g->L->BuildSelect(g->b, test, x, y, "")
#include "lane_functions.def"

/* Hosts that have it convert half precision by themselves, by the same rules; only payloads of NaNs stay. */
static val half_up(struct gen *g, val h)
{
	if (!g->has_half)
		return make_from_f16(g, h);
	val f = g->L->BuildTrunc(g->b, h, g->L->VectorType(g->i16, g->strip), "");
	f = g->L->BuildFPExt(g->b, g->L->BuildBitCast(g->b, f, g->L->VectorType(g->f16, g->strip), ""), g->fv, "");
	return PICK(IS_NAN(f), U(TG_F32_NAN), bits_of(g, f));
}
static val half_down(struct gen *g, val a)
{
	if (!g->has_half)
		return make_to_f16(g, a);
	val f = AS_F(PICK(IS_NAN(AS_F(a)), U(TG_F32_NAN), a));
	f = g->L->BuildFPTrunc(g->b, f, g->L->VectorType(g->f16, g->strip), "");
	return g->L->BuildZExt(g->b, g->L->BuildBitCast(g->b, f, g->L->VectorType(g->i16, g->strip), ""), g->iv, "");
}
static val half_round(struct gen *g, val a)
{
	return g->has_half ? half_up(g, half_down(g, a)) : make_round_f16(g, a);
}

typedef val make(struct gen *g, val a);
static make *const at[TG_N_INSNS] = {
	[TG_I_vexp2] = make_f32_exp2,	      [TG_I_vlog2] = make_f32_log2,	  [TG_I_vrcp] = make_f32_rcp,	       [TG_I_vrsqrt] = make_f32_rsqrt,
	[TG_I_vtanh] = make_f32_tanh,	      [TG_I_verf] = make_f32_erf,	  [TG_I_vrnd_f16] = half_round,        [TG_I_vrnd_e4m3] = make_round_e4m3,
	[TG_I_vrnd_e5m2] = make_round_e5m2,   [TG_I_vld_f16] = half_up,	  [TG_I_vld_e4m3] = make_from_e4m3,    [TG_I_vld_e5m2] = make_from_e5m2,
	[TG_I_vf2i] = make_f2i,		      [TG_I_vf2u] = make_f2u,
	[TG_I_vst_f16] = half_down,	      [TG_I_vst_e4m3] = make_to_e4m3,	  [TG_I_vst_e5m2] = make_to_e5m2_store,
};

bool lane_has_math(unsigned op)
{
	return at[op] != NULL;
}

val lane_math(struct gen *g, unsigned op, val a)
{
	return at[op](g, a);
}
#else
typedef int jit_math_is_empty;
#endif
