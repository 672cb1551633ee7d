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
	bool has_branches;
	bool ok;
	uint32_t n_unproven, n_proven;
};
enum verdict { NOT_SEEN, PROVEN, UNPROVEN, WRONG };

/* Reports once a place; always false. */
bool check_error(struct check *c, const struct node *n, const struct tg_insn *in, const char *fmt, ...) TG_PRINTF(4, 5);

void check_values(struct check *c);  /* check_value.c: memory bounds, trip counts */
void check_schedule(struct check *c); /* check_time.c: latencies and units on every path */

#endif
