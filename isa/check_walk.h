/* check_walk.h: between the walk and what makes its steps. */
#ifndef TG_CHECK_WALK_H
#define TG_CHECK_WALK_H

#include "check_int.h"

#define NO_NODE UINT32_MAX

enum walk_kind {
	STEP_BOOK_PREDICATE, /* the predicate itself is read: also when it is false */
	STEP_BOOK,           /* `open`: a conflict here is open */
	STEP_ROWS_READ,      /* accumulator rows a + imm ... n more */
	STEP_ROWS_KEEP,
	STEP_OPEN_VECTOR,    /* vector access at a + imm, strides b and c, extent d, n bits an element */
	STEP_OPEN_ROWS,      /* rows a + imm ... n more, below limit */
	STEP_OPEN,           /* any other access */
	STEP_TRANSFER,       /* descriptor a, source b, destination c; `open`: its bounds are */
	STEP_SCALAR,         /* d = a op (b or imm) */
	STEP_COMPARE,        /* the same into a predicate */
	STEP_LOGIC,          /* predicates d = a op b */
	STEP_LEVEL,          /* first or last trip of the loop imm levels out */
	STEP_UNKNOWN,        /* d, a predicate when `immediate`, from where the walk does not look */
	STEP_LOAD,           /* d = n bytes at a + imm */
	STEP_INCREMENT,      /* a += b */
	STEP_STORE,          /* n bytes at a + imm = b */
	STEP_FORGET_VECTOR,  /* as OPEN_VECTOR: a store that may hit known words */
	STEP_FORGET,         /* all known words */
	STEP_IDLE,
	STEP_LOOP,           /* a times */
	STEP_BRANCH,         /* to word imm */
	STEP_HALT,
};
struct walk_step {
	uint8_t kind, pred, op, book;
	uint8_t a, b, c, d;
	bool immediate, open, lane_stride;
	uint16_t id, bundles; /* of a booking */
	uint32_t insn, booking, n;
	int64_t imm, limit;
};
struct walk_loop {
	uint32_t first, behind; /* nodes; behind: NO_NODE when the code ends there */
	bool fast;              /* trips are alike but for registers that grow by the same each time */
	uint32_t linear;        /* those, a bit each */
	struct span writes;     /* bytes that vector stores and transfers within may touch */
};
struct walk_plan {
	TG_VEC(struct walk_step) steps;
	uint32_t *first;        /* by node, and one more */
	uint32_t *after;        /* by node: the one that follows in the code */
	struct walk_loop *loop; /* by loop */
	uint8_t *open;          /* by instruction: what is to be decided */
	bool *reported;         /* by instruction: a conflict has been */
	uint64_t longest;       /* the longest latency or occupancy */
	struct span words;      /* bytes of SRAM that are worth knowing: what scalar stores may write, and a descriptor around it */
};
/* check_step.c: also takes everything open as decided; the walk says where it is not. */
void plan_walk(struct check *c, struct walk_plan *p);

#endif
