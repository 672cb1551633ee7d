/* mach.h: machine code before and after scheduling: the chip's own instructions with virtual registers, in a tree of loops.
 *
 * Virtual registers may be defined more than once (pointers, accumulators). Register 0 of every class is the fixed one: s0 = 0,
 * p0 = true, m0 = all. A `mseq` is a list of operations and loops; operations between two loops form a basic block. */
#ifndef TG_MACH_H
#define TG_MACH_H

#include "codegen.h"

typedef struct { uint32_t id; } vreg; /* 0: the fixed register of whatever class is asked for */
enum vclass { CLASS_S, CLASS_V, CLASS_M, CLASS_P, N_CLASSES };

/* What an operation touches in SRAM: a buffer number; two different buffers never overlap while both live. */
enum { MEM_NONE = 0, MEM_ALL = UINT32_MAX };
enum { TG_MAX_ACC_GROUPS = 64 };

struct mop {
	uint16_t op;
	uint32_t pred;           /* virtual predicate, 0: always */
	int64_t f[TG_MAX_FIELDS]; /* registers as virtual numbers */
	uint32_t mem;            /* buffer that a load reads or a store writes; DMA operations: the one that they fill or empty, 0: any */
	bool fresh;              /* predicated, and its result is not used when it does not run: nobody waits for the old value */
	uint32_t acc;            /* multiply, read: number of its accumulator rows within the block; 0: any rows */
};
enum mnode_kind { NODE_OP, NODE_LOOP, NODE_REPEAT };
struct mnode;
struct mseq { struct mnode *first, *last; };
struct mnode {
	enum mnode_kind kind;
	uint32_t prov;
	struct mop op;     /* NODE_OP */
	vreg control;      /* NODE_LOOP: trip count; NODE_REPEAT: predicate, tested after the body: true repeats */
	uint32_t acc_reuse; /* NODE_LOOP: trips until numbered accumulator rows are used again, at least; 0: not said */
	uint32_t chunk_trips; /* NODE_LOOP: trips from a start of a transfer to the wait for it, at least, while those between work on what came before; 0: not said */
	struct mseq body;
	struct mnode *next;
	/* after scheduling, on the first node of each run of operations: its bundles */
	struct sched *sched;
	uint32_t start, end;   /* of a loop, in program order */
	struct pipeline *pipe; /* on a loop that pipeline.c has overlapped with itself */
};
struct sched_bundle { uint32_t n; struct mop *ops[TG_MAX_BUNDLE]; uint32_t idle; }; /* idle: empty bundles that follow */
struct sched { struct sched_bundle *at; uint32_t n; const struct mnode *end; };
/* A loop as software pipeline: `before`, `kernel` as often as `rounds` says (absent when not more than once), `after`. */
struct pipeline {
	struct sched before, kernel, after;
	vreg rounds;
	uint32_t joined;           /* 1: the loop shares the last bundle of `before`; 0: it has one of its own */
	uint32_t interval, least;  /* initiation interval: achieved; what units and recurrences allow */
	uint64_t trips;
	uint32_t stages, copies;   /* iterations in flight; copies of the body in the kernel (modulo variable expansion) */
};

struct mbirth { const struct mnode *before; uint64_t sram, bytes; };
struct mfn {
	struct tg_arena *arena;
	const struct tg_chip *chip;
	struct mseq top;
	TG_VEC(uint8_t) classes; /* of each virtual register; [0] unused */
	TG_VEC(uint8_t) physical; /* after allocation */
	bool stretched;           /* a pipeline takes longer than units and recurrences ask for: registers did not suffice */
	bool pipelined;          /* a loop is overlapped with itself */
	bool scalars_short;      /* a loop might start its iterations more often if there were more scalar registers */
};

void mfn_init(struct mfn *f, struct tg_arena *a, const struct tg_chip *c);
vreg mreg(struct mfn *f, enum vclass c);

/* Where operations go: a sequence and the provenance they carry. */
struct mcursor { struct mfn *f; struct mseq *seq; uint32_t prov; vreg pred; uint32_t mem; };
/* Fields in the order of the row; registers by number. Returns the node's op for changes. */
struct mop *memit(struct mcursor *at, enum tg_opcode op, const int64_t *fields, uint32_t n);
#define EMIT(at, op, ...) memit((at), TG_I_##op, (const int64_t[]){ __VA_ARGS__ }, (uint32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)))
#define R(v) ((int64_t)(v).id)
struct mcursor mloop(struct mcursor *at, vreg count);    /* cursor into the new loop's body */
struct mcursor mrepeat(struct mcursor *at, vreg again);
vreg m_const(struct mcursor *at, int64_t v);             /* a new scalar holding v */

/* schedule.c: bundles for every basic block; window: operations looked at beyond the oldest unscheduled one; pipelines: overlap innermost
 * loops, in all registers of a class but `spare`. */
void mach_schedule(struct mfn *f, uint32_t window, bool pipelines, uint32_t spare);
/* After scheduling: bundles that the code takes when nothing stalls; loops whose trips are not known count once. */
double mach_cycles(struct mfn *f);
/* pipeline.c: sets loop->pipe and returns true where the loop is innermost, its trips are known and overlapping them pays. */
struct reg_facts {
	uint32_t n_defs;
	int64_t value;            /* of the only definition, when that is an smov */
	bool constant;
	const struct mnode *home; /* the loop whose body has every access; NULL: several places or none */
	bool seen;
	uint32_t first, last;     /* accesses, in program order */
};
bool mach_pipeline(struct mfn *f, struct mnode *loop, const struct reg_facts *facts, uint32_t n_facts, uint32_t spare, struct tg_arena *scratch);
/* regalloc.c: false when the registers do not suffice. */
bool mach_allocate(struct mfn *f);
/* bundle.c: appends the code to the executable; entry_word: where it starts. halt is added. */
struct mcode {
	struct tg_arena *arena;
	TG_VEC(uint64_t) words;
	TG_VEC(struct tg_debug_range) ranges;
	TG_VEC(struct tg_loop_note) loops;
};
bool mach_emit(struct tg_diag *d, struct mfn *f, struct mcode *code, bool halt);
/* A loop around code of several functions: its instruction behind the code of f, which holds the number of trips in `count`; its end behind what has come since. */
struct mloop_mark { size_t word; int64_t count; };
bool mach_open_loop(struct tg_diag *d, struct mfn *f, vreg count, uint32_t prov, struct mcode *code, struct mloop_mark *m);
bool mach_close_loop(struct tg_diag *d, const struct tg_chip *chip, const struct mloop_mark *m, struct mcode *code);

#endif
