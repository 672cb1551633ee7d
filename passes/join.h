/* join.h: joining two stages (join.c). Internal to passes/. */
#ifndef TG_PASSES_JOIN_H
#define TG_PASSES_JOIN_H

#include "passes.h"

struct tg_pair {
	struct tg_module *m;
	struct tg_op *p, *c; /* producer, consumer: stages with one result each */
	uint32_t in;         /* operand of c that is p's result */
};
/* The reader moves into its producer, which nothing else reads; false: it does not fit, and nothing has changed. c holds the joint stage then. */
bool tg_join_into_producer(struct tg_pair *x);
/* The producer can move into this reader (p stays for its other readers); c holds the joint stage then. */
bool tg_join_fits_consumer(const struct tg_pair *x);
void tg_join_into_consumer(struct tg_pair *x);

bool tg_stage_moves(const struct tg_stage *s);     /* its result is an operand's element */
double tg_tensor_bytes(const struct tg_module *m, tg_val v); /* of a tensor; 0: a constant of one value, or beyond all sizes */
int64_t tg_stage_points(const struct tg_stage *s); /* of the iteration space; INT64_MAX beyond */
/* The stage computes what the chip's lanes do not hold: it will go to the host, and whatever joined it would go too. */
bool tg_stage_beyond_lanes(const struct tg_stage *s);
/* Readers of every value, by value; an output counts as two, since it must exist as a tensor. */
void tg_count_readers(const struct tg_module *m, uint32_t *uses);
void tg_count_operands(const struct tg_op *op, uint32_t *uses, int by);

#endif
