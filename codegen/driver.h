/* driver.h: the state of one run of the back end. */
#ifndef TG_DRIVER_H
#define TG_DRIVER_H

#include "plan.h"

enum { MAX_DIMS_IN_STAGE = 64 };

struct run_part;
struct driver {
	struct tg_diag *d;
	struct tg_arena *a;
	struct tg_arena *work;   /* of one stage's code; `a` where the code is written down and must last */
	struct tg_module *m;
	const struct tg_chip *chip;
	const struct tg_codegen_options *options;
	struct tg_exe *x;
	uint32_t n_ops;
	struct tg_op **ops;      /* of the module's body, in order */
	bool *host;              /* by op: evaluated by the host part */
	const char **reason;     /* by op: why */
	struct run_part **part;  /* by op: what it does in its run (runs.h), or NULL */
	bool *partial;           /* by value: made in a run for others in it, so a part of it exists at a time */
	bool *plain;             /* by op: what takes many registers has failed */
	uint32_t *storage;       /* by value: the value whose DRAM place it has */
	bool *shared;            /* by storage: more than one value */
	bool *pinned, *laid;     /* by storage: layout */
	uint64_t *dram;          /* by value: byte offset */
	bool *in_dram;           /* by value: constants that something reads from DRAM */
	uint64_t *home;          /* by value: SRAM address while it lives, 0: in DRAM */
	struct margin **margin;  /* by storage that lives in SRAM, NULL: none */
	uint64_t *limit;         /* by op: end of the SRAM that tiles may use */
	const struct tg_op **given; /* by value: the code that the module has for its stage, or NULL */
	struct stage_code **selected; /* by op, when code is to be written into the module */
	vreg *reg;               /* by value: scratch of mach_read */
	uint32_t *flushed;       /* by op: the storage that it writes last, lives in SRAM and is an output: copied to DRAM behind it; 0: none */
	uint32_t *last_use;      /* by storage: op */
	struct ahead *ahead;     /* plans (ahead.h) */
	struct mcode code;
	struct descriptors descs;
	uint64_t dram_top;
};

/* Machine code of one stage before scheduling. */
struct stage_code {
	struct mfn *f;
	uint32_t window, n_descs, n_buffers, n_births;
	uint32_t spare, n_regs; /* n_regs: registers before pipelines add their own */
	uint64_t predicted; /* cycles that the plan expects; 0: no plan */
	bool pipelines; /* innermost loops are overlapped with themselves */
	struct tg_dma_desc *descs;
	struct tg_sram_buffer *buffers; /* without their extent in code */
	struct tg_birth *births;        /* SRAM whose contents begin with the stage; without the word */
};
/* mach_ir.c: a stage's code as a mach.code behind it, and back (of a verified module). reg: room by value. */
void mach_write(struct tg_module *m, struct tg_arena *scratch, struct tg_op *stage, const struct stage_code *c);
void mach_read(struct tg_arena *a, const struct tg_chip *chip, const struct tg_module *m, const struct tg_op *code, vreg *reg, struct stage_code *c);

void driver_reside(struct driver *dr);  /* residency.c */
void driver_margins(struct driver *dr, const bool *outside); /* margins.c: of which tensors margins would help */
void driver_layout(struct driver *dr);  /* layout.c */
bool driver_place(struct driver *dr);   /* dram.c: storage, lifetimes, offsets, segments */
void driver_storage(struct driver *dr);
bool driver_segments(struct driver *dr);

#endif
