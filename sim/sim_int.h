/* sim_int.h: what the files of sim/ share: the decoded program, the DMA engine's state, the simulator object. */
#ifndef TG_SIM_INT_H
#define TG_SIM_INT_H

#include "core.h"
#include "grid.h"
#include "sim.h"

/* Registers of all kinds in one numbering, for the latency checks. */
enum { REG_S = 0, REG_V = 32, REG_M = 96, REG_P = 104, N_REGS = 112 };
/* Vector registers and masks. */
static inline bool reg_has_lanes(unsigned r)
{
	return r >= REG_V && r < REG_P;
}
#define MAX_READS 10
#define MAX_WRITES 2

/* A decoded instruction. */
struct uop {
	tg_sem *sem; /* NULL: DMA or control */
	struct tg_insn in;
	uint8_t n_reads, n_writes, slot, result; /* result: 'v' 's' 'm' 'p' or 0 */
	uint8_t reads[MAX_READS];
	uint8_t writes[MAX_WRITES]; /* the result first; the post-incremented address last */
	uint32_t latency[MAX_WRITES];
	bool posts; /* the last write is a post-increment */
	uint32_t occupancy;
	uint8_t unit;
};
struct decoded {
	uint32_t first_insn, n_insns;
	uint32_t word, end_word;
	uint32_t prov;   /* index in the counters; provs.n: none */
	uint32_t birth, n_births;
	const char *illegal; /* why it must not run */
};

/* ---- DMA ---- */

struct transfer {
	struct transfer *next;
	struct tg_dma_plan plan;
	struct grid src, dst, list; /* bytes in SRAM */
	uint32_t queue;
	uint64_t number; /* in its queue, from 1 */
	uint64_t done;   /* cycle */
	uint32_t list_bytes;
	uint32_t depth; /* so many of its rows read a byte, at most */
	bool moved;
	bool marked; /* its bytes are marked in SRAM */
};
struct dram_segment;
struct cost_memo;
struct span {
	int64_t first, end;
};
struct queue {
	uint64_t started, retired;
	uint64_t engine_free; /* cycle from which its engine takes the next transfer */
	uint64_t last_done;
	uint64_t *done; /* ring of dma_depth completion cycles */
};

/* ---- instruction fetch ---- */

#define FETCH_LINE_WORDS 64
struct fetch {
	uint32_t n_lines;      /* of the buffer */
	uint32_t total_lines;  /* of the code */
	uint32_t first, end;   /* resident or on their way: lines [first, end) */
	uint32_t line;         /* of the last bundle */
	uint32_t quiet;        /* a block whose lines are all there, and none more are wanted, until another line is reached; UINT32_MAX: none known */
	uint64_t free;         /* cycle from which the code port takes the next line */
	uint64_t *ready;       /* ring of n_lines: the cycle a line arrives */
};

struct loop {
	uint32_t start, end; /* bundle indices */
	uint32_t end_word;
	int64_t index, count;
};
#define MAX_LOOPS 8

/* ---- translated code (jit.h) ---- */

/* Runs a block from its start; returns the bundle to go on with, and in bit 32 whether the interpreter must run that bundle. */
typedef uint64_t jit_code(struct tg_sim *s);
struct jit_calls;
struct workers;
struct blocks;
struct translator;
#define JIT_MAX_READS 8
#define JIT_MAX_PENDING 32
#define JIT_ROUNDS 32
#define JIT_ROUND_SLOTS 48
struct jit_predicated {
	uint32_t insn, prov;
};
struct jit {
	const struct jit_calls *calls;
	struct blocks *found;  /* once somebody looked for them */
	struct blocks *blocks; /* the same; NULL: the interpreter runs all */
	jit_code **code;       /* by block */
	uint64_t *runs;        /* by block: whole runs not yet counted */
	uint64_t *parts;       /* by bundle: runs of blocks that were left early */
	uint64_t *hits;        /* by instruction: predicated ones that ran */
	struct tg_proof *proofs; /* two by instruction: of loads or stores of its segment that lie near each other, itself the first. Of stores one that they may be,
				  * and one that nobody needs to note it */
	bool parted;           /* there are some */
	TG_VEC(struct jit_sum) sums; /* what a run of each block counts; made when first asked for */
	TG_VEC(struct jit_predicated) predicated; /* instructions with a predicate */
	uint8_t *tired;        /* by block: how often it was left early */
	uint32_t *registers;   /* vector registers, masks, temporaries: n lanes each; NULL until translated code has run */
	struct translator *translator;
	uint64_t patience;     /* bundles to interpret before the program is translated; 0: it is, or never will be */
	int64_t reads[JIT_MAX_READS]; /* scalar operands of an instruction that is called */
	int64_t scalar;        /* and its scalar result */
	struct moved {         /* by called instructions of the segment at work: taken back when it is left */
		uint32_t prov;
		uint64_t sram_bytes, acc_bytes;
	} pending[JIT_MAX_PENDING];
	uint32_t n_pending;
	uint64_t left_early;
	uint64_t viewed;       /* bit r: vector register r has what view[r] says, and its lanes do not */
	struct view {          /* rows in SRAM that a load would have copied; outside they are 0 */
		int64_t at, step, block_step;
		int64_t first, end; /* all of it lies between */
		uint32_t rows, n, lanes;
		bool spread; /* a row's element 0 for all its lanes */
	} view[64];
	int64_t views_first, views_end; /* that of all views, and perhaps more */
	uint32_t n_rounds;     /* of a loop, whose lanes wait (jit_rounds.c), and their scalars */
	uint64_t rounds[JIT_ROUNDS * JIT_ROUND_SLOTS];
};
enum { JIT_MASK = 64, JIT_TEMP = 72, JIT_N_TEMPS = 16, JIT_N_REGISTERS = JIT_TEMP + JIT_N_TEMPS };

/* Memory of the host's, outside the arena. */
struct mapping {
	struct mapping *next;
	void *at;
	uint64_t bytes;
};

struct tg_sim {
	struct tg_arena *arena;
	struct mapping *mappings;
	const struct tg_exe *x;
	struct tg_sim_options options;
	struct tg_core core;
	tg_sem *const *sem;
	const struct tg_matrix *matrix; /* of the same level */
	struct workers *workers; /* threads.h; NULL: none */

	struct decoded *bundles;
	uint32_t n_bundles;
	struct uop *uops;     /* instructions that are the same, operands and all, once */
	uint32_t *insns;      /* and which of them each instruction of the code is */
	uint32_t *bundle_at; /* by word; UINT32_MAX: no bundle starts there. n_words + 1 entries */

	uint64_t cycle;
	uint64_t ready[N_REGS];
	uint64_t slot_free[TG_N_SLOTS][16]; /* issue clock at which a unit is free */
	struct loop loops[MAX_LOOPS];
	uint32_t n_loops;
	uint32_t *spare[64]; /* buffers of n lanes that no register uses */
	uint32_t n_spare;
	struct fetch fetch;

	uint64_t dram_bytes; /* mapped */
	uint8_t *dram;
	uint64_t *dram_touched; /* a bit per 64 KiB page */
	struct dram_segment *segments; /* sorted; contents that still stand in the executable */
	size_t n_segments;
	uint64_t dram_free;     /* cycle from which the DRAM takes the next transfer */
	struct queue *queues;
	struct transfer *unretired, *spare_transfers;
	uint32_t n_readers; /* the sum of their depths */
	struct cost_memo *costs;
	uint64_t last_touched; /* DRAM page of the row before */
	TG_VEC(struct span) spans_a, spans_b; /* scratch of the hazard check */
	uint64_t random;

	struct tg_counters *by_prov; /* provs.n + 1: the last has what no range covers */
	uint64_t *fetched;           /* bundles by provenance, without idle ones */
	struct tg_counters total;

	struct tg_counters at_begin; /* of trace.c */
	uint64_t cycle_at_begin;
	struct jit jit;

	/* the trap, if any */
	const char *trap;
	int64_t trap_at;
	const struct uop *trap_op;
	uint32_t now_bundle;
};

#define DRAM_PAGE_SHIFT 16

/* decode.c */
void sim_decode(struct tg_sim *s);
/* dma.c; false: trapped */
bool dma_start(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in, int64_t *number);
bool dma_wait(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in);
void dma_reset(struct tg_sim *s); /* at the start of a run: queues count from 1 */
void dma_open(struct tg_sim *s);
/* hazard.c: marks what unretired transfers hold near these bytes; of struct tg_memory */
void dma_settle(void *user, uint64_t at, uint64_t n);
/* dram.c: offsets in DRAM. Pointers to the bytes [first, end) for reading; for writing, where reads elsewhere no longer see the executable's copy */
void dram_open(struct tg_sim *s);
const uint8_t *dram_read(struct tg_sim *s, uint64_t first, uint64_t end);
uint8_t *dram_write(struct tg_sim *s, uint64_t first, uint64_t end);
void dram_touch(struct tg_sim *s, uint64_t at, uint64_t n);
/* fetch.c */
void fetch_reset(struct tg_sim *s, uint32_t entry_word);
void fetch_bundle(struct tg_sim *s, struct tg_counters *c, const struct decoded *b);
/* Whether to reach these lines, from the loops around the bundle at work, changes nothing. */
bool fetch_is_quiet(const struct tg_sim *s, uint32_t first_line, uint32_t last_line);
/* trace.c; only when options.trace is set. A bundle's share is what its counters gain between begin and end. */
void trace_begin(struct tg_sim *s, const struct tg_counters *c);
void trace_end(struct tg_sim *s, const struct tg_counters *c, const struct decoded *b);
void trace_transfer(struct tg_sim *s, const struct transfer *x, uint64_t begin, const struct tg_dma_cost *cost);
/* sim.c */
void sim_new_weights(struct tg_sim *s, struct tg_weights *w);
void *sim_new_table(struct tg_sim *s, uint64_t n, uint64_t bytes); /* zeroed, in large pages where it has some */
/* exec.c; a run of a step is begin, bundles until one halts or traps, and end, which reports a trap */
/* An instruction by its number in the code. */
static inline const struct uop *sim_insn(const struct tg_sim *s, uint32_t number)
{
	return &s->uops[s->insns[number]];
}

bool sim_begin_run(struct tg_sim *s, struct tg_diag *d, uint32_t entry_word);
bool sim_end_run(struct tg_sim *s, struct tg_diag *d, bool ok);
bool sim_run_bundle(struct tg_sim *s, bool *halted);
/* Adds what an instruction moved to the counters; the occupancy is counted apart. */
void sim_count(struct tg_counters *c, const struct tg_writes *w);
bool sim_trap(struct tg_sim *s, const char *why, int64_t at, const struct uop *op);

#endif
