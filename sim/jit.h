/* jit.h: the engine that runs translated code. jit_llvm.c makes the code (jit_none.c where LLVM is absent), sim_jit.c runs it. Private to sim/.
 *
 * A block's code does to struct tg_sim what the interpreter would do for its bundles. Before it changes anything for a group of bundles, it
 * checks all that could go wrong in them; when something might, it returns the group's first bundle with JIT_INTERPRET and every register,
 * clock and loop as they stand before that bundle: the interpreter finds the trap, or that there is none, and goes on to the next block.
 * So a trap is found and worded in one place. A load that only pushes and multiplies read, or only its own segment, does not write its register: that
 * gets a view of SRAM, which is settled when anybody else may look at the register or write to these bytes; the interpreter never meets a view. What instructions count is derived from how often blocks ran (jit_count). */
#ifndef TG_SIM_JIT_H
#define TG_SIM_JIT_H

#include "blocks.h"

#define JIT_INTERPRET (UINT64_C(1) << 32)
#define JIT_LEAVE (UINT64_C(1) << 33) /* the same, but it is no sign that the block's code is of little use */

/* Row geometry of an access, as one argument. */
static inline uint64_t jit_shape(uint32_t rows, uint32_t n, uint32_t row_bytes)
{
	return rows | (uint64_t)n << 16 | (uint64_t)row_bytes << 32;
}

/* The same for a view, with its lanes. */
static inline uint64_t jit_view_shape(uint32_t rows, uint32_t n, uint32_t lanes, bool spread)
{
	return rows | (uint64_t)n << 16 | (uint64_t)lanes << 32 | (uint64_t)spread << 63;
}

/* Where register r begins. A line of the host's cache lies between registers: at a distance of a power of two the same lanes of all of them would
 * share a few lines of that cache. */
static inline size_t jit_register_bytes(const struct tg_core *c, uint64_t r)
{
	return r * (c->n * sizeof(uint32_t) + 64);
}

/* What translated code calls; uop is an index in s->uops, bundle one in s->bundles. */
struct jit_calls {
	/* The instruction fetch of a bundle; which: bundle, and from bit 32 on 1 + the number of its block if that is all of a loop: fetch.quiet then says whether the next
	 * round needs to ask. */
	void (*fetch)(struct tg_sim *s, uint64_t which);
	/* Whether what `how` says (CLEAN_READ ...) holds of all these bytes. If so, the proof is widened to them and what lies around. */
	uint64_t (*prove)(struct tg_sim *s, uint64_t proof, uint64_t at, uint64_t bytes, uint64_t how);
	/* whether rows may be read; written; and they were written */
	uint64_t (*may_read)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape);
	uint64_t (*may_write)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape);
	void (*wrote)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape);
	/* the same for the lanes that a mask selects: its number, and from bit 8 on the bytes of an element */
	uint64_t (*may_read_masked)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask);
	uint64_t (*may_write_masked)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask);
	void (*wrote_masked)(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask);
	/* Runs an instruction without side effects; its scalar operands are in s->jit.reads, the result goes to register `to` or s->jit.scalar.
	 * 0: it traps, and nothing has changed. */
	uint64_t (*pure)(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock, uint64_t to);
	/* Whether a store or transposer write would not trap now; and runs it. */
	uint64_t (*may_act)(struct tg_sim *s, uint64_t uop, uint64_t clock);
	void (*act)(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock);
	/* The same for pushes, swaps and multiplies. place: row group or accumulator row; with: a push's extent, or whether a multiply adds;
	 * after: whether the arrays will have been swapped by then: 0 no, 1 perhaps, 2 yes */
	uint64_t (*may_matrix)(struct tg_sim *s, uint64_t uop, uint64_t clock, uint64_t place, uint64_t with, uint64_t after);
	void (*matrix)(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock, uint64_t place, uint64_t with);
	/* Register r is from now on what a load of 32-bit lanes would give. */
	void (*view)(struct tg_sim *s, uint64_t r, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape);
	/* The registers of this set hold their lanes again; the same for those that have bytes in [at, end). */
	void (*settle)(struct tg_sim *s, uint64_t set);
	void (*settle_box)(struct tg_sim *s, uint64_t at, uint64_t end);
	/* whether accumulator rows may be read */
	uint64_t (*may_read_rows)(struct tg_sim *s, uint64_t uop, uint64_t clock, uint64_t place);
};
extern const struct jit_calls jit_calls;

/* sim_jit.c */
void jit_open(struct tg_sim *s);
enum jit_when {
	JIT_AT_ONCE,
	JIT_BESIDE, /* in a thread beside the interpreter */
	JIT_IF_KEPT, /* the same where its first blocks are in the cache; else nothing happens */
};
void jit_begin(struct tg_sim *s, enum jit_when when); /* has the program translated */
/* The step at s->now_bundle, turn by turn: a block's code, or a bundle by the interpreter; begins with {0}. False: trapped. */
struct jit_turn {
	bool halted, checked; /* checked: the loops around are those of the block that comes */
};
bool jit_turn(struct tg_sim *s, struct jit_turn *t);
bool jit_run(struct tg_sim *s); /* all of it */
void jit_count(struct tg_sim *s);
/* Whether the instruction reads nothing but registers, SRAM, accumulators, transposer and changes nothing but its results. */
bool jit_is_pure(const struct uop *u);
uint32_t jit_store_bytes(unsigned op); /* of an element; 0: not a store with whole-byte elements */

/* jit_prove.c */
uint64_t jit_prove(struct tg_sim *s, uint64_t proof, uint64_t at, uint64_t bytes, uint64_t how);

/* jit_llvm.c or jit_none.c */
bool jit_available(void);
/* Fills s->jit.code for the blocks of `order`, now or (not `wait`) bit by bit in a thread of its own; false: cannot. */
bool jit_translate(struct tg_sim *s, const uint32_t *order, uint32_t n, bool wait);
/* Whether the first of these blocks' code is in the cache. */
bool jit_kept(struct tg_sim *s, const uint32_t *order, uint32_t n);
void jit_close(struct tg_sim *s); /* ends the thread; the code is gone */

#endif
