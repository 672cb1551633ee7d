/* generate_groups.c: some of a program's chains of stages become groups, where the verifier lets them: the same program by other means. */
#include <string.h>

#include "generate.h"

enum { MAX_CHAIN = 4 };
struct chain { struct tg_op *stage[MAX_CHAIN]; int64_t dims[MAX_CHAIN][MAX_GEN_DIMS]; uint32_t n, n_shared; };

static const struct tg_stage *body(const struct tg_op *op) { return op->attrs[TG_AT(tile_stage, body)].stage; }

/* The operand by which `to` reads what `from` makes, or -1. */
static int reads(const struct tg_op *from, const struct tg_op *to)
{
	for (uint32_t i = 0; to->code == TG_TILE_stage && i < body(to)->n_ins; i++)
		if (to->in[i].id == from->out[0].id)
			return (int)i;
	return -1;
}

static bool mentions(const struct tg_op *op, tg_val v)
{
	for (uint32_t i = 0; i < op->n_in; i++)
		if (op->in[i].id == v.id)
			return true;
	return false;
}

/* The consumer's dimension that moves the operand as the producer's dimension d moves it, or -1. */
static int64_t follow(const struct tg_stage *p, const struct tg_stage *c, uint32_t in, int64_t d)
{
	for (uint32_t k = 0; k < c->ins[in].map.rank; k++) {
		int64_t coef = p->outs[0].map.index[k].coef[d];
		for (uint32_t e = 0; coef && e < c->n_dims; e++)
			if (c->ins[in].map.index[k].coef[e] == coef && c->dims[e].kind == TG_DIM_PARALLEL && c->dims[e].extent == p->dims[d].extent)
				return e;
	}
	return -1;
}

/* The next stage of the chain; what stands between it and the last one must not need a result of the chain, which moves behind it. */
static struct tg_op *next_of(const struct chain *c)
{
	struct tg_op *last = c->stage[c->n - 1];
	for (struct tg_op *op = last->next; op; op = op->next) {
		if (mentions(op, last->out[0]))
			return reads(last, op) >= 0 ? op : NULL;
		for (uint32_t i = 0; i + 1 < c->n; i++)
			if (mentions(op, c->stage[i]->out[0]))
				return NULL;
	}
	return NULL;
}

/* Adds the stage and the dimensions that follow the chain's loops; the second stage says which loops there are. */
static bool add(struct gen *g, struct chain *c, struct tg_op *op)
{
	struct tg_op *last = c->stage[c->n - 1];
	const struct tg_stage *p = body(last), *s = body(op);
	uint32_t in = (uint32_t)reads(last, op), n = 0;
	for (uint32_t d = 0; c->n == 1 && d < p->n_dims && c->n_shared < MAX_GEN_DIMS; d++)
		if (p->dims[d].kind == TG_DIM_PARALLEL && follow(p, s, in, d) >= 0 && (c->n_shared == 0 || chance(g, 70)))
			c->dims[0][c->n_shared++] = d;
	for (; n < c->n_shared; n++) {
		c->dims[c->n][n] = follow(p, s, in, c->dims[c->n - 1][n]);
		if (c->dims[c->n][n] < 0)
			return false;
	}
	c->stage[c->n++] = op;
	return true;
}

/* A legal group, or the stages as they were (at the place of the last one). */
static void make(struct gen *g, const struct chain *c)
{
	int64_t dims[MAX_CHAIN * MAX_GEN_DIMS], tile[MAX_GEN_DIMS];
	tg_val results[MAX_CHAIN];
	struct tg_diag quiet;
	struct tg_group x = { .stages = c->stage, .n_stages = c->n, .n_shared = c->n_shared, .dims = dims, .tile = tile, .results = results };
	for (uint32_t i = 0; i < c->n; i++) {
		memcpy(dims + i * c->n_shared, c->dims[i], c->n_shared * sizeof *dims);
		if (i + 1 == c->n || tg_value_get(g->m, c->stage[i]->out[0])->n_uses > 1)
			results[x.n_results++] = c->stage[i]->out[0];
	}
	for (uint32_t k = 0; k < c->n_shared; k++)
		tile[k] = chance(g, 50) ? 0 : some(g, 1, body(c->stage[0])->dims[dims[k]].extent);
	struct tg_op *op = tg_group_new(g->m, &x);
	tg_diag_init(&quiet, g->a);
	if (!tg_group_check(&quiet, g->m, op))
		tg_group_inline(g->m, op);
}

void gen_groups(struct gen *g)
{
	tg_count_uses(g->m);
	for (struct tg_op *op = g->m->body.first, *next; op; op = next) {
		struct chain c = { .stage = { op }, .n = 1 };
		next = op->next;
		if (op->code != TG_TILE_stage || !chance(g, 85))
			continue;
		for (struct tg_op *s; c.n < MAX_CHAIN && (c.n < 2 || chance(g, 60)) && (s = next_of(&c));)
			if (!add(g, &c, s))
				break;
		if (c.n < 2 || c.n_shared == 0)
			continue;
		next = c.stage[c.n - 1]->next;
		make(g, &c);
	}
}
