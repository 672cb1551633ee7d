/* widen.c: a result in f16 or bf16 that is only computed with again keeps its f32 value.
 *
 *   %2: f16 = stage(%1) { a * a }               %2: f32 = stage(%1) { a * a }
 *   %3: f16 = stage(%2, %1) { b - a }    ==>    %3: f32 = stage(%2, %1) { b - a }
 *   output %4 = stage(%3) { exp(c) }            output %4 = stage(%3) { exp(c) }
 *
 * In: tile stages as expanded. Out: the same. The lanes compute in f32 whatever the tensors hold; this drops the roundings in between, as ONNX Runtime does for
 * types that its processors lack (docs/numerics.md). What stays rounded: the model's outputs, factors of sums of products (the matrix unit
 * wants them narrow), a conversion that is only converted or moved again, and what is viewed under another shape or written in parts. */
#include "passes.h"

bool pass_widen(struct tg_pass *cx, struct tg_module *m);

struct widening {
	struct tg_module *m;
	bool *fixed;        /* by value: something other than a stage's operand reads it */
	bool *moved;        /* by value: a stage that computes nothing reads it */
	enum tg_dtype *was; /* by value: its type before; TG_none: as it is */
};

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->code == TG_TILE_stage ? op->attrs[TG_AT(tile_stage, body)].stage : NULL;
}

static bool only_moves(const struct tg_stage *s)
{
	bool rounds = s->n_nodes == 2 && s->nodes[1].op == TG_X_wrap;
	return s->nodes[0].op == TG_X_arg && (s->n_nodes == 1 || rounds);
}

static void find_readers(struct widening *x)
{
	for (const struct tg_op *op = x->m->body.first; op; op = op->next) {
		const struct tg_stage *s = stage_of(op);
		for (uint32_t i = 0; i < op->n_in; i++) {
			x->fixed[op->in[i].id] |= !s || i >= s->n_ins;
			x->moved[op->in[i].id] |= s && only_moves(s);
		}
		if (s && op->n_in > s->n_ins)
			x->fixed[op->out[0].id] = true; /* written in parts */
	}
	for (size_t i = 0; i < x->m->outputs.n; i++)
		x->fixed[x->m->outputs.at[i].value.id] = true;
}

static bool widens(const struct widening *x, const struct tg_op *op)
{
	const struct tg_stage *s = stage_of(op);
	const struct tg_value *v = s ? tg_value_get(x->m, op->out[0]) : NULL;
	if (!s || x->fixed[op->out[0].id] || (v->dtype != TG_f16 && v->dtype != TG_bf16))
		return false;
	if (s->nodes[s->outs[0].value.id - 1].dtype != TG_f32)
		return false;
	return only_moves(s) ? !x->moved[op->out[0].id] && tg_value_get(x->m, op->in[0])->dtype == TG_f32 : true;
}

/* The round at the end of the body, which storing the result would have done too. */
static void drop_last_round(struct tg_stage *s, enum tg_dtype t)
{
	const struct tg_node *last = &s->nodes[s->n_nodes - 1];
	if (last->op != TG_X_wrap || last->k != (int32_t)t || s->outs[0].value.id != s->n_nodes)
		return;
	s->outs[0].value = last->a;
	s->n_nodes--;
}

static void round_again(struct tg_pass *cx, const struct widening *x, struct tg_op *op)
{
	struct tg_factor f[2];
	if (!stage_of(op) || !tg_stage_product(stage_of(op), f) || !tg_reuses_factors(stage_of(op), f))
		return;
	enum tg_dtype a = f[0].in >= 0 ? x->was[op->in[f[0].in].id] : TG_none, b = f[1].in >= 0 ? x->was[op->in[f[1].in].id] : TG_none;
	if (a != TG_none || b != TG_none)
		tg_round_factors(cx, x->m, op, a, b);
}

bool pass_widen(struct tg_pass *cx, struct tg_module *m)
{
	size_t n = m->values.n;
	struct widening x = { m, tg_alloc_n(cx->scratch, n, sizeof(bool)), tg_alloc_n(cx->scratch, n, sizeof(bool)), tg_alloc_n(cx->scratch, n, sizeof(enum tg_dtype)) };
	find_readers(&x);
	for (struct tg_op *op = m->body.first; op; op = op->next)
		if (widens(&x, op)) {
			struct tg_value *v = tg_value_of(m, op->out[0]);
			x.was[op->out[0].id] = (enum tg_dtype)v->dtype;
			v->dtype = TG_f32;
			drop_last_round(stage_of(op), x.was[op->out[0].id]);
		}
	for (struct tg_op *op = m->body.first; op; op = op->next)
		round_again(cx, &x, op);
	return true;
}
