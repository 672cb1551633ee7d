/* round.c: factors of sums of products, rounded to a 16-bit type. */
#include "passes.h"

#include <string.h>

double tg_nearest(enum tg_dtype t, double v)
{
	uint16_t half = 0;
	tg_put_f64(t, &half, 0, v);
	return tg_get_f64(t, &half, 0);
}

static bool walks(const struct tg_stage *s, int32_t in, uint32_t dim)
{
	for (uint32_t i = 0; in >= 0 && i < s->ins[in].map.rank; i++)
		if (s->ins[in].map.index[i].coef[dim])
			return true;
	return false;
}

bool tg_reuses_factors(const struct tg_stage *s, const struct tg_factor f[2])
{
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_PARALLEL && s->dims[d].extent > 1 && !(walks(s, f[0].in, d) && walks(s, f[1].in, d)))
			return true;
	return false;
}

/* The factor's node, rounded: a new one at the end of the list, unless it has that type already. */
static tg_expr round_factor(const struct tg_module *m, const struct tg_op *op, struct tg_stage *s, tg_expr e, enum tg_dtype t)
{
	const struct tg_node n = s->nodes[e.id - 1];
	if (t == TG_none || n.op == TG_X_wrap ||
	    (n.op == TG_X_arg && (enum tg_dtype)tg_value_get(m, op->in[n.k])->dtype == t && !s->ins[n.k].guarded))
		return e;
	struct tg_node *to = &s->nodes[s->n_nodes++];
	*to = (struct tg_node){ .op = TG_X_wrap, .dtype = TG_f32, .k = (int32_t)t, .a = e };
	if (n.op == TG_X_const) {
		double v;
		memcpy(&v, &n.bits, sizeof v);
		v = tg_nearest(t, v);
		*to = n;
		memcpy(&to->bits, &v, sizeof v);
	}
	return (tg_expr){ s->n_nodes };
}

static tg_expr moved(tg_expr e, const tg_expr *to)
{
	return e.id ? to[e.id - 1] : e;
}

/* A copy of the stage; the product comes behind its rounded factors. */
void tg_round_factors(struct tg_pass *cx, struct tg_module *m, struct tg_op *op, enum tg_dtype first, enum tg_dtype second)
{
	const struct tg_stage *from = op->attrs[TG_AT(tile_stage, body)].stage;
	struct tg_stage *s = tg_alloc(m->arena, sizeof *s);
	tg_expr *to = tg_alloc_n(cx->scratch, from->n_nodes + 1u, sizeof *to);
	*s = *from;
	s->nodes = tg_alloc_n(m->arena, from->n_nodes + 2u, sizeof *s->nodes);
	s->n_nodes = 0;
	for (uint32_t i = 0; i < from->n_nodes; i++) {
		struct tg_node n = from->nodes[i];
		n.a = moved(n.a, to);
		n.b = moved(n.b, to);
		n.c = moved(n.c, to);
		if (i + 1 == from->reds[0].value.id) {
			n.a = round_factor(m, op, s, n.a, first);
			n.b = round_factor(m, op, s, n.b, second);
		}
		s->nodes[s->n_nodes++] = n;
		to[i] = (tg_expr){ s->n_nodes };
	}
	s->reds = tg_alloc(m->arena, sizeof *s->reds);
	*s->reds = (struct tg_reduction){ TG_SUM, moved(from->reds[0].value, to) };
	s->outs = tg_alloc_n(m->arena, from->n_outs, sizeof *s->outs);
	for (uint32_t i = 0; i < from->n_outs; i++)
		s->outs[i] = (struct tg_stage_out){ from->outs[i].map, moved(from->outs[i].value, to) };
	op->attrs[TG_AT(tile_stage, body)].stage = s;
}
