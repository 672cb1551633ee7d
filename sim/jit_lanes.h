/* jit_lanes.h: the body of a segment's loop over the lanes, as jit_lanes.c (accesses, loops) and jit_compute.c (values, instructions) share it. Private to sim/. */
#ifndef TG_JIT_LANES_H
#define TG_JIT_LANES_H

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
	val spread[MAX_LANE_OPS];   /* a value for the whole row, in all lanes of a strip */
};

/* jit_math.c: conversions and transcendentals, by the instruction that they belong to: bits -> bits, NaNs canonical */
bool lane_has_math(unsigned op);
val lane_math(struct gen *g, unsigned op, val a);
/* jit_compute.c */
val lane_splat(struct gen *g, val one, LLVMTypeRef vector);
val lane_const(struct gen *g, uint32_t x);
val lane_intrinsic(struct gen *g, const char *name, LLVMTypeRef *types, unsigned n_types, val *args, unsigned n);
val lane_bits(struct gen *g, struct lane_value *v);  /* NaNs canonical */
val lane_float(struct gen *g, struct lane_value *v);
struct lane_value lane_of_bits(val i);
struct lane_value lane_of_float(val f);
val lane_register_at(struct body *y, unsigned r);    /* where the strip's lanes of a register are */
val lane_numbers(struct body *y);                    /* of the strip */
struct lane_value *lane_reg(struct body *y, unsigned r);
val lane_round_bf16(struct gen *g, struct lane_value *a);
val lane_pick(struct gen *g, LLVMIntPredicate p, val a, val b, val x, val y);
val lane_raw(struct gen *g, struct lane_value *v);   /* bits, where it does not matter which NaN one is */
struct lane_value lane_compute(struct body *y, const struct lane_op *o); /* what an ALU instruction gives */

#endif
