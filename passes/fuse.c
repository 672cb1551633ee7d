/* fuse.c: put an elementwise stage into the stage that feeds it, or into the one that reads it.
 *
 *   %c = stage(%x, %w) { acc = sum(x * w); acc }             %y = stage(%x, %w) { acc = sum(x * w); max(acc, 0) }
 *   %y = stage(%c) { max(c, 0) }                     ==>
 *
 *   %t = stage(%a) { a[j, i] }                               %y = stage(%a) { exp(a[j, i]) }      (maps are composed)
 *   %y = stage(%t) { exp(t[i, j]) }                  ==>
 *
 * In: tile stages. Out: fewer of them. A producer with two readers stays: computing it twice costs more than its trip through DRAM would, unless it only
 * moves elements. A stage for the host (f64, division of 64-bit integers) takes in nothing that the chip can do. An operand of a sum of products stays a tensor, so that the matrix unit can stream it. */
#include "join.h"

bool pass_fuse(struct tg_pass *cx, struct tg_module *m);

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool is_stage(const struct tg_op *op)
{
	return op && op->code == TG_TILE_stage && op->n_out == 1 && stage_of(op)->n_outs == 1;
}

/* A producer may read a tensor that a stage between the two writes into: the pass `own` copies that tensor then. */
static bool fuse_operand(struct tg_module *m, struct tg_op *c, uint32_t in, const uint32_t *uses)
{
	struct tg_pair x = { m, tg_value_get(m, c->in[in])->def, c, in };
	if (!is_stage(x.p) || x.p == c)
		return false;
	const struct tg_stage *p = stage_of(x.p);
	if (tg_stage_beyond_lanes(p) != tg_stage_beyond_lanes(stage_of(c)) && !tg_stage_moves(p))
		return false;
	/* A value that is read twice by one consumer is handled when the copies have become one operand. */
	bool only_reader = uses[x.p->out[0].id] == 1;
	if (only_reader && tg_join_into_producer(&x))
		return true; /* the joint stage runs where the consumer stood; everything the producer read is still there */
	if (!tg_stage_moves(p) && (!only_reader || tg_stage_points(stage_of(c)) > tg_stage_points(p)))
		return false;
	if (!tg_join_fits_consumer(&x))
		return false;
	tg_join_into_consumer(&x);
	return true;
}

bool pass_fuse(struct tg_pass *cx, struct tg_module *m)
{
	uint32_t *uses = tg_alloc_n(cx->scratch, m->values.n, sizeof *uses);
	tg_count_readers(m, uses);
	for (struct tg_op *c = m->body.first; c; c = c->next) {
		for (uint32_t i = 0; is_stage(c) && i < stage_of(c)->n_ins; i++) {
			struct tg_op *p = tg_value_get(m, c->in[i])->def, before = *c;
			if (!fuse_operand(m, c, i, uses))
				continue;
			tg_count_operands(&before, uses, -1);
			tg_count_operands(c, uses, 1); /* equal operands of the two have become one */
			if (uses[p->out[0].id] == 0) {
				tg_count_operands(p, uses, -1);
				tg_op_remove(p);
			}
			i = UINT32_MAX; /* operands have been renumbered: look again from the first */
		}
	}
	return true;
}
