/* ir_harness.h: what the tests of ir/ share: a module under construction, random operands, and the way graph → text → tiles → text → evaluator. */
#ifndef IR_HARNESS_H
#define IR_HARNESS_H

#include "check_run.h"
#include "ir.h"

enum { H_MAX_IN = 8 };
struct h {
	struct tg_heap heap;
	struct tg_arena *a;
	struct tg_diag d;
	struct tg_module *m;
	tg_prov prov;
	uint64_t seed;
	/* the op under test */
	enum tg_op_code code;
	union tg_attr attrs[8];
	uint32_t n_in;
	tg_val in[H_MAX_IN];
	struct tg_tensor x[H_MAX_IN];
	struct tg_tensor y;
};

void h_open(struct h *h, uint64_t seed);
void h_close(struct h *h);
uint64_t h_random(struct h *h);
int64_t h_between(struct h *h, int64_t lo, int64_t hi); /* both included */
/* A module input with random contents: floats in lo..hi in steps of 1/64, integers in lo..hi. */
tg_val h_input(struct h *h, enum tg_dtype t, const struct tg_shape *s, double lo, double hi);
struct tg_shape h_shape(struct h *h, uint32_t lo_rank, uint32_t hi_rank, int64_t most);
const int64_t *h_ints(struct h *h, uint32_t n, int64_t v);
void h_set_ints(struct h *h, uint32_t attr, const int64_t *v, uint32_t n);
const char *h_first_error(struct h *h);
/* print, parse, print: the same text. Returns the parsed module. */
struct tg_module *h_round_trip(struct h *h, const struct tg_module *m);
/* Builds the op, takes it through text, expansion, text and the evaluator; the result is h->y. */
void h_run(struct h *h);
void h_run_module(struct h *h, tg_val y);
double h_at(const struct tg_tensor *t, const int64_t *at); /* element */
double h_at_broadcast(const struct tg_tensor *t, const int64_t *at, uint32_t rank);
bool h_next(const struct tg_shape *s, int64_t *at);

#endif
