/* walker.h: an odometer in scalar registers: nested counted levels in one flat loop, and addresses that follow them.
 *
 * A flat loop visits every combination of its levels, innermost fastest. Parts of its body that belong to different stages of the pipeline (pushing
 * weights, multiplying, reading results) each keep a walker of their own, so that none has to wait for another's registers. */
#ifndef TG_WALKER_H
#define TG_WALKER_H

#include "kernel.h"

enum { MAX_LEVELS = 8, MAX_FOLLOWERS = 24 };

struct follower {
	vreg reg;
	int64_t step[MAX_LEVELS]; /* change from one position of a level to the next */
	int64_t moved;            /* what the body itself has added (post-increments) when level moved_at steps on */
	uint32_t moved_at;
	int64_t overlap;          /* by how much the last position of level 0 lies closer to the one before */
};
struct walker {
	uint32_t n_levels, n;
	int64_t count[MAX_LEVELS]; /* [0] innermost */
	vreg left[MAX_LEVELS];     /* positions left, this one included */
	bool asked[MAX_LEVELS];    /* the body reads `left` */
	struct follower at[MAX_FOLLOWERS];
	bool overlaps;
};

/* A level of n positions outside of those there are; one position makes no level. Its number, or -1. */
int walker_level(struct mfn *f, struct walker *w, int64_t n);
/* A register that follows, starting at `start`; NULL when there are too many. */
struct follower *walker_follow(struct kernel *k, struct walker *w, struct mcursor *before, vreg start, int64_t offset);
/* Predicate: level l stands at its first or its last position. */
vreg walker_at_first(struct walker *w, struct mcursor *at, int l);
vreg walker_at_last(struct walker *w, struct mcursor *at, int l);
/* Sets the counters, in front of the loop, once the levels are known. */
void walker_begin(struct walker *w, struct mcursor *before);
/* At the end of the body: on to the next position. */
void walker_advance(struct walker *w, struct mcursor *at);

#endif
