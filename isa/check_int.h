/* check_int.h: what the static checker's files share: reachable bundles, loops, edges. */
#ifndef TG_CHECK_INT_H
#define TG_CHECK_INT_H

#include "isa_int.h"

#define CHECK_MAX_DEPTH 8
#define NO_LOOP UINT32_MAX

/* A reachable bundle. */
struct node {
	uint32_t word, next_word;
	uint32_t first_insn, n_insn;
	uint32_t first_edge, n_edges;
	uint32_t loop;    /* innermost loop around it, NO_LOOP */
	uint32_t begins;  /* the loop that its loop instruction starts, NO_LOOP */
	uint32_t idle;    /* further empty bundles */
	bool leader;      /* several ways lead here, or one that is not the fall-through */
};
/* A hardware loop; one for each reachable loop instruction. */
struct loop {
	uint32_t node, start, end; /* node of the loop instruction; words of the body */
	uint32_t parent, depth;
	int64_t trips_lo, trips_hi; /* as the value analysis found them; lo > hi: not visited yet */
	uint32_t writes;            /* scalar registers that the body writes, a bit each */
	bool writes_known;
};
enum edge_kind { EDGE_NEXT, EDGE_BRANCH, EDGE_ENTER, EDGE_ZERO, EDGE_REPEAT, EDGE_EXIT };
struct edge {
	uint32_t word; /* of the bundle it leads to */
	uint8_t kind;
	uint32_t loop; /* of all kinds but NEXT and BRANCH */
};
/* Resources that take time: registers, units of the pooled kinds (sorted: the first is the next free), and by array from R_PUSH on. */
enum {
	R_S = 0,
	R_V = 32,
	R_M = 96,
	R_P = 104,
	R_LOAD = 112,
	R_STORE = 120,
	R_PUSH = 128,
	R_MUL = 136,
	R_READ = 144,
	R_SHADOW = 152, /* the last push has landed */
	R_ACC = 160,    /* the last multiply has landed */
	R_TRANSPOSER = 168,
	N_RESOURCES = 169
};
/* An instruction's claim on a resource. All but KEEP and LATE must find it free; it is kept for `bundles` from this one on. */
enum book_kind { BOOK_PREDICATE, BOOK_READ, BOOK_POOL, BOOK_UNIT, BOOK_SWAP, BOOK_TRANSPOSER, BOOK_ROWS, BOOK_KEEP, BOOK_WRITE, BOOK_LATE };
struct booking {
	uint8_t kind;
	uint16_t id, bundles;
};
/* Within a bundle all reads come first and what later bundles wait for last. */
enum book_phase { PHASE_READ, PHASE_UNIT, PHASE_LATE };
enum book_phase book_phase(enum book_kind k);

struct span { int64_t lo, hi; };
static inline bool span_meets(struct span a, struct span b) { return a.lo < b.hi && b.lo < a.hi; }
static inline struct span span_both(struct span a, struct span b) { return (struct span){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi}; }
enum { OPEN_ACCESS = 1, OPEN_TIME = 2 };
struct check {
	struct tg_diag *d;
	struct tg_arena *arena;
	const struct tg_exe *x;
	TG_VEC(struct node) nodes;
	TG_VEC(struct tg_insn) insns;
	TG_VEC(struct edge) edges;
	TG_VEC(struct loop) loops;
	uint32_t *node_at;  /* by word; UINT32_MAX: no reachable bundle starts there */
	uint8_t *verdict;   /* by instruction: enum verdict of its memory access */
	struct span *span;  /* by instruction: the bytes that a proven access may touch; of a transfer: that it may write */
	uint8_t *open;      /* by instruction: what the walk had to decide; NULL before it */
	struct span trusted; /* DRAM addresses whose bytes the proofs took from the executable */
	bool *early;        /* by instruction: a conflict that depends on predicates or rows */
	TG_VEC(struct booking) bookings;
	uint32_t *first_booking; /* by instruction, and one more */
	bool has_branches;
	bool ok;
};
enum verdict { NOT_SEEN, PROVEN, UNPROVEN, WRONG };

/* What a scalar register holds: an interval, `exact` when both ends occur. */
struct val {
	int64_t lo, hi;
	uint16_t sym; /* NO_SYM, or 1 + 32 * depth + register: relative to its value at the head of the loop of that depth */
	bool exact;
};
struct env {
	struct val s[32];
	uint8_t runs; /* predicates known to be true, a bit each; p0 is */
};
#define CHECK_FAR (INT64_C(1) << 62) /* beyond it a bound counts as infinite */


/* Reports once a place; always false. */
bool check_error(struct check *c, const struct node *n, const struct tg_insn *in, const char *fmt, ...) TG_PRINTF(4, 5);

void check_values(struct check *c);  /* check_value.c: memory bounds, trip counts */
struct val check_constant(int64_t v);
/* The bounds of one instruction's access where registers hold what `e` says. */
void check_access(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e);
uint32_t check_writes(struct check *c, struct loop *l); /* scalar registers that the loop's body writes, a bit each */
/* The same for dma_start and its descriptor (where it lies, of any alignment); NULL: not known. */
void check_transfer(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e, const struct tg_dma_desc *desc);
const uint8_t *check_dram_bytes(struct check *c, int64_t at, uint64_t bytes); /* as the executable's segments hold them; NULL: not there */
uint32_t check_element_bits(unsigned op); /* of a vector load or store in memory */
void check_schedule(struct check *c); /* check_time.c: latencies and units on every path */
void check_book_error(struct check *c, const struct node *n, const struct tg_insn *in, const struct booking *b, uint64_t early);
void check_walk(struct check *c); /* check_walk.c: decides what the others left, by stepping the scalar program */

#endif
