/* codegen.h: a planned tile module → an executable for a chip. */
#ifndef TG_CODEGEN_H
#define TG_CODEGEN_H

#include "ir.h"
#include "isa.h"

struct tg_codegen_options {
	uint32_t window;   /* how far the list scheduler looks ahead, in operations; 0: default */
	uint32_t unroll;   /* most copies of an inner body; 0: default */
	bool no_margins; /* what a window reads outside of a tensor is never kept beside it */
	bool no_residency; /* every tensor between stages goes through DRAM */
	bool no_pipelines; /* no software pipelining of inner loops */
	enum tg_chunks { TG_CHUNKS_AUTO, TG_CHUNKS_NEVER, TG_CHUNKS_ALWAYS } chunks; /* whether products take the contracted dimension in chunks; always: wherever it may be */
	bool write_code;   /* put plans and machine code into the module: the mach level of the IR */
};

/* The whole back end behind the tile passes: DRAM layout, machine code, bundles. Sets the layouts of m's values. */
bool tg_codegen(struct tg_diag *d, struct tg_arena *a, struct tg_module *m, const struct tg_chip *chip, const struct tg_codegen_options *o,
		struct tg_exe *out);

/* mach_ir.c: the instructions of the mach dialect; what tg_module_parse_mach needs to read text of that level. */
const struct tg_insn_table *tg_mach_table(struct tg_arena *a);

/* select.c: the pass of the mach level; its options are tg_options.codegen (passes.h). */
bool pass_select(struct tg_pass *cx, struct tg_module *m);

#endif
