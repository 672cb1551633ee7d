/* ahead.h: plans made ahead of the code (ahead.c). */
#ifndef TG_AHEAD_H
#define TG_AHEAD_H

#include "driver.h"
#include "emit.h"

enum { LOOKAHEAD = HANDED_ROWS - 1, RING = LOOKAHEAD + 2, MAX_AHEAD = 32 };

/* A chip's stage in the order of a round; joined: it runs right behind the one before it, in the same step, and both are planned. */
struct stage_ref { uint32_t op; bool joined; };
struct stage_plan {
	const char *why;   /* there is no plan: the reason */
	struct plan plan;
	double idle;       /* cycles in which DRAM still rests */
	uint32_t n_ahead;
	struct fetch_ahead ahead[MAX_AHEAD]; /* what it starts to fetch for later stages */
	const struct margin *margin; /* of what it writes, to be filled; NULL: none */
	struct flush flush; /* the output that goes to DRAM behind it; no bytes: none */
	uint32_t n_waits, waits[MAX_FLUSHES]; /* flushes that end with it */
};
struct placed { uint64_t at, end; uint32_t first, last; const struct operand *owner; }; /* SRAM in use during some stages; owner: by a first image */
struct ahead {
	struct stage_ref *stage;
	uint32_t n_stages, n_planned;
	TG_VEC(struct placed) placed;
	uint32_t flush_ends[MAX_FLUSHES]; /* by slot: the op with which the tensor's life in SRAM ends; 0: the slot is free */
	struct plan *spare;
	struct stage_plan ring[RING];
};

/* At a round's beginning, once it is known who runs what. */
void ahead_begin(struct driver *dr);
/* The plan of stage s, with what its code fetches for later ones; stages in ascending order. Valid until stage s + 1 is asked for. */
struct stage_plan *ahead_plan(struct driver *dr, uint32_t s);

#endif
