/* blocks.h: what is known of a program before it runs: its straight-line blocks, the loops around each, scalar registers that are constant
 * at a block's start, and where the schedule surely keeps the rules. The translator builds on it. Private to sim/. */
#ifndef TG_SIM_BLOCKS_H
#define TG_SIM_BLOCKS_H

#include "sim_int.h"

/* A loop as it runs inside others: [start, end) in bundles. */
struct loop_ctx {
	int32_t parent; /* -1: none */
	uint32_t start, end, depth;
	uint64_t trips; /* 0: not known */
};
/* Vector registers and masks, a bit each. */
struct live {
	uint64_t v;
	uint32_t m;
};
static inline void live_add(struct live *l, const uint8_t *regs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		l->v |= regs[i] >= REG_V && regs[i] < REG_M ? UINT64_C(1) << (regs[i] - REG_V) : 0;
		l->m |= regs[i] >= REG_M && regs[i] < REG_P ? UINT32_C(1) << (regs[i] - REG_M) : 0;
	}
}
struct block {
	uint32_t first, end; /* bundles */
	int32_t ctx;         /* -1: outside loops */
	bool interpret;      /* one bundle that only the interpreter runs */
	uint32_t known;      /* bit r: scalar register r has the value s[r] */
	int64_t s[32];
	double weight;       /* how often it runs, estimated */
	uint32_t whole_end;  /* `end`, or bundles that the interpreter runs follow up to here */
	struct live live;    /* behind whole_end: those that may be read before they are written */
};
struct blocks {
	struct loop_ctx *ctx;
	size_t n_ctx;
	struct block *at;
	uint32_t n;
	uint32_t *block_of; /* by bundle: the block that starts there, else UINT32_MAX */
	int32_t *loop_at;   /* by bundle with a loop instruction: the context inside, else -1 */
	bool usable;        /* false: some bundle is reached with different loops around it, or none is reached */
};
/* Made once for a program. */
struct blocks *sim_find_blocks(struct tg_sim *s);
/* The control instruction of a bundle, or NULL. */
const struct uop *sim_control_of(const struct tg_sim *s, const struct decoded *b);
/* The registers that are live before a bundle of the block, or at its end. All are when the program halts. */
struct live sim_live_at(const struct tg_sim *s, const struct block *b, uint32_t bundle);
/* Loops that a taken branch to bundle `to` leaves running. */
int32_t sim_ctx_after_branch(const struct blocks *k, int32_t ctx, uint32_t to);

#endif
