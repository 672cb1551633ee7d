/* narrow.c: a tensor that all its readers round to one 16-bit type is stored in that type, and the rounds go.
 *
 *   %2: f32[8x16] = tile.data() {w}                              %2: bf16[8x16] = tile.data() {w}
 *   %3: f32[4x8] = stage(%1) { max(x, 0) }                ==>    %3: bf16[4x8] = stage(%1) { max(x, 0) }
 *   %4 = stage(%3, %2) { sum(wrap bf16 x * wrap bf16 w) }        %4 = stage(%3, %2) { sum(x * w) }
 *
 * In: tile stages, fused. Out: the same stages; the same numbers. Tensors of one storage (views, stages that write in parts) change together. Stages that only
 * move or select elements (transposes, maximum pooling, Relu) commute with rounding, so they pass the request on to what they read. Inputs and outputs of the
 * model keep their types. Constants keep their f32 bytes in the file until the executable is written. */
#include "passes.h"

#include <string.h>

bool pass_narrow(struct tg_pass *cx, struct tg_module *m);

struct narrowing {
	struct tg_pass *cx;
	struct tg_module *m;
	enum tg_dtype t;
	uint32_t *class_of; /* by value: values of one storage */
	bool *fits;         /* by class: every reader rounds, and there is one */
};

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool writes_in_part(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, into)].i != 0;
}

static double bits_as_f64(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static tg_expr moved(tg_expr e, const tg_expr *to)
{
	return e.id ? to[e.id - 1] : e;
}

static void renumber(struct tg_stage *s, const tg_expr *to)
{
	for (uint32_t i = 0; i < s->n_reds; i++)
		s->reds[i].value = moved(s->reds[i].value, to);
	for (uint32_t i = 0; i < s->n_outs; i++)
		s->outs[i].value = moved(s->outs[i].value, to);
}

static uint32_t root(const uint32_t *class_of, uint32_t v)
{
	while (class_of[v] != v)
		v = class_of[v];
	return v;
}

/* A view's operand, or the tensor that a stage writes into; zero for other ops. */
static tg_val same_storage(const struct tg_op *op)
{
	bool shares = op->code == TG_TILE_view || (op->code == TG_TILE_stage && writes_in_part(op));
	return shares ? op->in[op->n_in - 1] : (tg_val){ 0 };
}

static void make_classes(struct narrowing *x)
{
	const struct tg_module *m = x->m;
	for (uint32_t i = 0; i < m->values.n; i++)
		x->class_of[i] = i;
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		if (tg_has(same_storage(op)))
			x->class_of[root(x->class_of, op->out[0].id)] = root(x->class_of, same_storage(op).id);
	for (uint32_t i = 0; i < m->values.n; i++)
		x->class_of[i] = root(x->class_of, i);
	for (uint32_t i = 1; i < m->values.n; i++)
		x->fits[i] = true;
	for (uint32_t i = 1; i < m->values.n; i++) {
		const struct tg_op *def = m->values.at[i].def;
		bool ours = def && (def->code == TG_TILE_stage || def->code == TG_TILE_view || def->code == TG_TILE_empty || def->code == TG_TILE_data);
		if (!ours || m->values.at[i].dtype != TG_f32)
			x->fits[x->class_of[i]] = false;
	}
	for (size_t i = 0; i < m->outputs.n; i++)
		x->fits[x->class_of[m->outputs.at[i].value.id]] = false;
}

/* f(round(x), ...) is round(f(x, ...)): moves, minimum, maximum and signs. */
static bool commutes(const struct narrowing *x, const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_reds; i++)
		if (s->reds[i].combine != TG_MAX && s->reds[i].combine != TG_MIN)
			return false;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		double v = bits_as_f64(n->bits);
		switch (n->op) {
		case TG_X_arg: case TG_X_acc: case TG_X_min: case TG_X_max: case TG_X_neg: case TG_X_abs: break;
		case TG_X_wrap:
			if (n->k != (int32_t)x->t && n->k != TG_f32)
				return false;
			break;
		case TG_X_const:
			if (n->dtype != TG_f32 || tg_nearest(x->t, v) != v)
				return false;
			break;
		default: return false;
		}
		if (n->dtype != TG_f32)
			return false;
	}
	return true;
}

/* Every use of the operand's element is rounded. */
static bool only_rounded(const struct narrowing *x, const struct tg_stage *s, uint32_t in)
{
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		tg_expr e[3] = { n->a, n->b, n->c };
		for (int k = 0; k < 3; k++) {
			const struct tg_node *a = e[k].id ? &s->nodes[e[k].id - 1] : NULL;
			if (a && a->op == TG_X_arg && a->k == (int32_t)in && (n->op != TG_X_wrap || n->k != (int32_t)x->t))
				return false;
		}
	}
	for (uint32_t i = 0; i < s->n_outs; i++)
		if (s->nodes[s->outs[i].value.id - 1].op == TG_X_arg && s->nodes[s->outs[i].value.id - 1].k == (int32_t)in)
			return false;
	for (uint32_t i = 0; i < s->n_reds; i++)
		if (s->nodes[s->reds[i].value.id - 1].op == TG_X_arg && s->nodes[s->reds[i].value.id - 1].k == (int32_t)in)
			return false;
	return true;
}

static bool reads_rounded(const struct narrowing *x, const struct tg_op *op, uint32_t in)
{
	if (op->code == TG_TILE_view)
		return true;
	if (op->code != TG_TILE_stage)
		return false;
	const struct tg_stage *s = stage_of(op);
	if (in >= s->n_ins)
		return true; /* written into */
	double fill = bits_as_f64(s->ins[in].fill);
	if (s->ins[in].guarded && tg_nearest(x->t, fill) != fill)
		return false;
	return only_rounded(x, s, in) || (commutes(x, s) && x->fits[x->class_of[op->out[0].id]]);
}

/* Readers come behind what they read, so walking backwards nearly always settles everything at once. */
static void settle(struct narrowing *x)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (const struct tg_op *op = x->m->body.last; op; op = op->prev)
			for (uint32_t i = 0; i < op->n_in; i++) {
				bool *fits = &x->fits[x->class_of[op->in[i].id]];
				if (!*fits || reads_rounded(x, op, i))
					continue;
				*fits = false;
				changed = true;
			}
	}
}

/* Rounds that change nothing go. */
static void drop_rounds(struct narrowing *x, struct tg_op *op)
{
	struct tg_stage *s = stage_of(op);
	tg_expr *to = tg_alloc_n(x->cx->scratch, s->n_nodes + 1u, sizeof *to);
	uint32_t n = s->n_nodes;
	s->n_nodes = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tg_node node = s->nodes[i];
		node.a = moved(node.a, to);
		node.b = moved(node.b, to);
		node.c = moved(node.c, to);
		const struct tg_node *a = node.a.id ? &s->nodes[node.a.id - 1] : NULL;
		if (node.op == TG_X_wrap && a->op == TG_X_arg && node.k == (int32_t)x->t && (enum tg_dtype)tg_value_get(x->m, op->in[a->k])->dtype == x->t &&
		    (!s->ins[a->k].guarded || tg_nearest(x->t, bits_as_f64(s->ins[a->k].fill)) == bits_as_f64(s->ins[a->k].fill))) {
			to[i] = node.a;
			continue;
		}
		s->nodes[s->n_nodes++] = node;
		to[i] = (tg_expr){ s->n_nodes };
	}
	renumber(s, to);
}

/* One element becomes narrow at once; the elements of a file when the executable is written. */
static void narrow_constant(struct narrowing *x, struct tg_op *op)
{
	struct tg_const *c = op->attrs[TG_AT(tile_data, value)].c;
	if (c->kind == TG_CONST_SPLAT)
		op->attrs[TG_AT(tile_data, value)].c = tg_const_splat(x->m->arena, x->t, &c->shape, tg_const_f64(c, 0));
}

static void store_narrow(struct narrowing *x)
{
	for (uint32_t i = 1; i < x->m->values.n; i++) {
		struct tg_value *v = &x->m->values.at[i];
		if (!x->fits[x->class_of[i]] || !v->def)
			continue;
		v->dtype = (uint8_t)x->t;
		if (v->def->code == TG_TILE_data)
			narrow_constant(x, v->def);
	}
	for (struct tg_op *op = x->m->body.first; op; op = op->next)
		if (op->code == TG_TILE_stage)
			drop_rounds(x, op);
}

static void narrow_to(struct tg_pass *cx, struct tg_module *m, enum tg_dtype t)
{
	size_t n = m->values.n;
	struct narrowing x = { cx, m, t, tg_alloc_n(cx->scratch, n, sizeof(uint32_t)), tg_alloc_n(cx->scratch, n, sizeof(bool)) };
	make_classes(&x);
	settle(&x);
	store_narrow(&x);
}

static bool rounds_to(const struct tg_module *m, enum tg_dtype t)
{
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		for (uint32_t i = 0; op->code == TG_TILE_stage && i < stage_of(op)->n_nodes; i++)
			if (stage_of(op)->nodes[i].op == TG_X_wrap && stage_of(op)->nodes[i].k == (int32_t)t)
				return true;
	return false;
}

bool pass_narrow(struct tg_pass *cx, struct tg_module *m)
{
	if (rounds_to(m, TG_bf16))
		narrow_to(cx, m, TG_bf16);
	if (rounds_to(m, TG_f16))
		narrow_to(cx, m, TG_f16);
	return true;
}
