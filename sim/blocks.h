/* blocks.h: what is known of a program before it runs: its straight-line blocks, the loops around each, scalar registers that are constant
 * at a block's start, and where the schedule surely keeps the rules; live.h has what is read later. The translator builds on it. Private to sim/. */
#ifndef TG_SIM_BLOCKS_H
#define TG_SIM_BLOCKS_H

#include "sim_int.h"

/* A loop as it runs inside others: [start, end) in bundles. */
struct loop_ctx {
	int32_t parent; /* -1: none */
	uint32_t start, end, depth;
	uint64_t trips; /* 0: not known */
};
/* Scalar registers whose value is known. */
struct constants {
	uint32_t known; /* a bit each */
	int64_t s[32];
};
struct block {
	uint32_t first, end; /* bundles */
	int32_t ctx;         /* -1: outside loops */
	bool interpret;      /* one bundle that only the interpreter runs */
	struct constants at_start;
	double weight;       /* how often it runs, estimated */
	uint32_t whole_end;  /* `end`, or bundles that the interpreter runs follow up to here */
	uint32_t next, n_next; /* in `next` of struct blocks: blocks that may follow */
};
struct blocks {
	struct loop_ctx *ctx;
	size_t n_ctx;
	struct block *at;
	uint32_t n;
	uint32_t *next;
	uint32_t *block_of; /* by bundle: the block that starts there, else UINT32_MAX */
	int32_t *loop_at;   /* by bundle with a loop instruction: the context inside, else -1 */
	bool usable;        /* false: some bundle is reached with different loops around it, or none is reached */
};
/* Made once for a program. */
struct blocks *sim_find_blocks(struct tg_sim *s);
/* The control instruction of a bundle, or NULL. */
const struct uop *sim_control_of(const struct tg_sim *s, const struct decoded *b);
/* What is known behind the bundle, from what was known before it. `scratch`: for evaluating scalar instructions. */
void sim_step_constants(const struct tg_sim *s, struct tg_core *scratch, const struct decoded *b, struct constants *c);
/* Loops that a taken branch to bundle `to` leaves running. */
int32_t sim_ctx_after_branch(const struct blocks *k, int32_t ctx, uint32_t to);

#endif
