/* numerics.c: the lane functions of numerics.h as addresses, for whoever calls them one value at a time. */
#include "numerics.h"
#include "isa.h"

static uint32_t round_bf16(uint32_t a) { return tg_from_bf16(tg_to_bf16(a)); }
static uint32_t absolute(uint32_t a) { return a & 0x7fffffff; }
static uint32_t negate(uint32_t a) { return a ^ 0x80000000; }
static uint32_t same(uint32_t a) { return a; }

tg_lane_fn *tg_lane_function(unsigned op)
{
	static tg_lane_fn *const at[TG_N_INSNS] = {
		[TG_I_vabs_f32] = absolute,	   [TG_I_vneg_f32] = negate,	     [TG_I_vfloor_f32] = tg_f32_floor,
		[TG_I_vceil_f32] = tg_f32_ceil,	   [TG_I_vtrunc_f32] = tg_f32_trunc, [TG_I_vrne_f32] = tg_f32_rne,
		[TG_I_vrnd_bf16] = round_bf16,	   [TG_I_vrnd_f16] = tg_round_f16,	     [TG_I_vrnd_e4m3] = tg_round_e4m3,
		[TG_I_vrnd_e5m2] = tg_round_e5m2,	   [TG_I_vf2i] = tg_f2i,	     [TG_I_vf2u] = tg_f2u,
		[TG_I_vi2f] = tg_i2f,		   [TG_I_vu2f] = tg_u2f,	     [TG_I_vmov] = same,
		[TG_I_vexp2] = tg_f32_exp2,	   [TG_I_vlog2] = tg_f32_log2,	     [TG_I_vrcp] = tg_f32_rcp,
		[TG_I_vrsqrt] = tg_f32_rsqrt,	   [TG_I_vtanh] = tg_f32_tanh,	     [TG_I_verf] = tg_f32_erf,
		[TG_I_vsin] = tg_f32_sin,	   [TG_I_vcos] = tg_f32_cos,
	};
	return op < TG_N_INSNS ? at[op] : NULL;
}
