/* pipe.h: what the parts of the software pipeliner share: pipeline.c finds the times of a loop's operations, pipeline_code.c the registers' names and the code. */
#ifndef TG_PIPE_H
#define TG_PIPE_H

#include "deps.h"

struct user { uint32_t item; struct user *next; };
struct turn { int64_t urgency; uint32_t item; };
struct need { uint32_t slot, unit, busy, most; }; /* what an item takes: a slot, of so many in a bundle; or an array's unit for so many bundles (else busy is 0) */
struct pipe {
	struct block b;
	struct tg_arena *a;
	const struct tg_chip *chip;
	struct mnode *loop;
	int64_t trips;
	uint32_t least, interval;
	uint32_t stagger;           /* which of the orders is tried: registers may suffice in another one */
	int32_t *time, *last;       /* by item: where it stands; where it stood before it was thrown out */
	struct edge **in;           /* by item: its incoming edges, `to` being where they come from */
	int64_t *height;
	struct turn *order;         /* items, the most urgent first */
	uint32_t *rank, first_open; /* by item: its place in that order; all before first_open are placed */
	struct need *need;          /* by item */
	/* modulo reservation table, by bundle of the interval */
	uint16_t (*used)[TG_N_SLOTS];
	uint8_t (*busy)[3];         /* P, M, R: a bit for each array */
	/* registers */
	uint32_t spare;
	uint32_t n_regs;            /* those of the code before pipelining */
	bool *local;
	struct user **users;        /* by local register */
	int32_t *born, *gone;       /* by register */
	uint32_t *copies_of;        /* by register */
	uint32_t copies, stages;
	bool hopeless;              /* by far too many registers: another order of the same interval will not do */
	uint32_t *window_name;      /* by register: its name in the window that is being written */
	uint32_t *first_copy;       /* by register: its copies are f->classes numbers from here on, 0: itself */
};

static inline uint32_t slot_of(const struct mop *op)
{
	return tg_insn_info(op->op)->slot;
}

static inline uint32_t up(uint64_t a, uint64_t b)
{
	return (uint32_t)((a + b - 1) / b);
}

/* pipeline_code.c */
/* Cuts the timeline into windows where the registers suffice, beside `outside` of each class that hold something throughout the loop. False: nowhere. */
bool pipe_cut_windows(struct pipe *p, const uint32_t *outside);
void pipe_write_code(struct pipe *p);

#endif
