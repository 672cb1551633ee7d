/* runs.h: a tile.group as the code generator sees it: a run of stages inside of one loop over parts (runs.c). */
#ifndef TG_RUNS_H
#define TG_RUNS_H

#include "driver.h"

struct run {
	struct tg_op *group;
	uint32_t first, last; /* ops of the driver */
	uint32_t n_loops;
	int64_t extent[MAX_SHARED], tile[MAX_SHARED];
	struct mloop_mark loop;
};
/* By op of the driver: the stage of the group that it stands for, and the dimension that each shared loop walks; NULL and no walk: it is in no run. */
struct run_part { struct run *run; struct tg_op *whole; struct part_walk walk; };

/* May its stages run part by part? In any other group they stand by themselves. */
bool runs_suit(const struct tg_module *m, const struct tg_op *group);
/* Appends the group's stages to the driver's ops, for one part of their points each; results between them have the shape of a part. */
void runs_collect(struct driver *dr, struct tg_op *group);
/* A group with a stage that is not for the chip: its stages must stand by themselves; NULL: there is none. */
struct tg_op *runs_failed(const struct driver *dr);
/* Is op i the first, the last one of a run? Does another run, or none, begin with it? */
struct run *run_of(const struct driver *dr, uint32_t i);
bool run_begins(const struct driver *dr, uint32_t i);
bool run_ends(const struct driver *dr, uint32_t i);
/* The first and the last op during which what op i makes, or reads, must stay as it is: the run's, unless only a part of it exists. */
uint32_t run_first(const struct driver *dr, uint32_t i, tg_val v);
uint32_t run_last(const struct driver *dr, uint32_t i, tg_val v);
tg_val run_result(const struct driver *dr, uint32_t i); /* of the run of op i */
int64_t run_parts(const struct run *r);
/* Code around the run's stages: the loop over parts, and the step from one to the next. */
bool run_open(struct driver *dr, struct run *r);
bool run_close(struct driver *dr, struct run *r);

#endif
