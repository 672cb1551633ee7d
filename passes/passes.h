/* passes.h: what turns a graph module into tile stages that codegen can run, and the options that steer it. */
#ifndef TG_PASSES_H
#define TG_PASSES_H

#include "ir.h"

/* What passes are told. */
struct tg_codegen_options;
struct tg_options {
	enum tg_dtype precision;  /* of matrix inputs: bf16, f16; anything else: as the model has them */
	const char *keep_f32;     /* comma list of ONNX nodes that are left out, or NULL */
	const struct tg_codegen_options *codegen; /* for the mach level's pass */
};

extern const struct tg_pass_info tg_passes[]; /* passes.def, in order */
extern const uint32_t tg_n_passes;

/* wide.c: what the chip's DMA converts between i64 in DRAM and i32 in SRAM. */
/* Operand `in` of 64-bit integers is read through sat(i32) only. */
bool tg_reads_saturated(const struct tg_stage *s, uint32_t in);
/* The stage computes with 64-bit integers beyond such reads and a result that is a cast from i32. */
bool tg_computes_wide(const struct tg_stage *s);

/* round.c */
double tg_nearest(enum tg_dtype t, double v); /* of bf16 or f16 */
/* One factor is the same along some dimension of the result: a product for the matrix unit, not a plain dot product. */
bool tg_reuses_factors(const struct tg_stage *s, const struct tg_factor f[2]);
/* Rounds the factors of an f32 product that the stage is (tg_stage_product) to 16-bit types; TG_none: leaves the factor. */
void tg_round_factors(struct tg_pass *cx, struct tg_module *m, struct tg_op *op, enum tg_dtype first, enum tg_dtype second);

#endif
