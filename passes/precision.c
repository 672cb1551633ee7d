/* precision.c: --precision bf16 or f16: the factors of sums of products are rounded to that type; sums, and everything else, stay f32.
 *
 *   %2: f32[8x16] = tile.data() {w}                      %2: bf16[8x16] = tile.data() {w}
 *   %3: f32[4x8] = stage(%1) { max(x, 0) }        ==>    %3: bf16[4x8] = stage(%1) { max(x, 0) }
 *   %4: f32[4x16] = stage(%3, %2) { sum(x * w) }         %4: f32[4x16] = stage(%3, %2) { sum(x * w) }
 *
 * In: tile stages, fused. Out: the same stages. Each f32 factor gets a `wrap` around it, which says what is computed; then every tensor that all its
 * readers round has that type itself (its storage: views and stages that write in parts included), and their `wrap` goes. Stages that only move or select
 * elements (transposes, maximum pooling, Relu) commute with rounding, so they pass the request on to what they read. Inputs and outputs of the model keep their
 * types. Constants keep their f32 bytes in the file until the executable is written.
 *
 * A product is only rounded where one factor is used again along some dimension, as on the matrix unit: a plain dot product, such as the
 * sum of squares of a normalisation, stays as it is. So does one whose factors are narrow already, and what --keep-f32 names. */
#include "passes.h"

#include <string.h>

bool pass_precision(struct tg_pass *cx, struct tg_module *m);

struct narrowing {
	struct tg_pass *cx;
	struct tg_module *m;
	enum tg_dtype t;
	uint32_t *class_of; /* by value: values of one storage */
	bool *fits;         /* by class: every reader rounds */
};

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool writes_in_part(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, into)].i != 0;
}

/* The nearest value of the narrow type. */
static double rounded(enum tg_dtype t, double v)
{
	uint16_t half = 0;
	tg_put_f64(t, &half, 0, v);
	return tg_get_f64(t, &half, 0);
}

static double bits_as_f64(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

/* ---- which stages --------------------------------------------------------------------------------------------------- */

static bool names(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");
		if (len == n && !memcmp(p, name, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

static bool kept(const struct tg_module *m, const struct tg_op *op, const char *keep)
{
	const struct tg_prov_set *set = &m->provs.at[op->prov.id];
	for (uint32_t i = 0; keep && i < set->n; i++)
		if (m->nodes.at[set->nodes[i]].name && names(keep, m->nodes.at[set->nodes[i]].name))
			return true;
	return false;
}

static bool check_names(struct tg_diag *d, const struct tg_module *m, const char *keep)
{
	for (const char *p = keep; p && *p;) {
		size_t len = strcspn(p, ",");
		bool found = len == 0;
		for (size_t i = 0; i < m->nodes.n && !found; i++)
			found = m->nodes.at[i].name && strlen(m->nodes.at[i].name) == len && !memcmp(m->nodes.at[i].name, p, len);
		if (!found)
			return tg_usage(d, TG_NOWHERE, "--keep-f32 names '%s', which is no node of the model", tg_quoted(d->arena, tg_strndup(d->arena, p, len)));
		p += len + (p[len] == ',');
	}
	return true;
}

static bool walks(const struct tg_stage *s, int32_t in, uint32_t dim)
{
	for (uint32_t i = 0; in >= 0 && i < s->ins[in].map.rank; i++)
		if (s->ins[in].map.index[i].coef[dim])
			return true;
	return false;
}

/* One factor is the same along a dimension of the result. */
static bool used_again(const struct tg_stage *s, const struct tg_factor *f)
{
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_PARALLEL && s->dims[d].extent > 1 && !(walks(s, f[0].in, d) && walks(s, f[1].in, d)))
			return true;
	return false;
}

static bool is_half(const struct tg_module *m, const struct tg_op *op, const struct tg_factor *f)
{
	return f->round != TG_none || (f->in >= 0 && tg_dtypes[tg_value_get(m, op->in[f->in])->dtype].bits <= 16);
}

/* ---- rounding ------------------------------------------------------------------------------------------------------------- */

/* The factor's node, rounded; it may be a new one at the end of the list. */
static tg_expr round_factor(struct narrowing *x, const struct tg_op *op, struct tg_stage *s, tg_expr e)
{
	const struct tg_node n = s->nodes[e.id - 1];
	if (n.op == TG_X_arg && (enum tg_dtype)tg_value_get(x->m, op->in[n.k])->dtype == x->t && !s->ins[n.k].guarded)
		return e;
	struct tg_node *to = &s->nodes[s->n_nodes++];
	if (n.op == TG_X_const) {
		double v = rounded(x->t, bits_as_f64(n.bits));
		*to = n;
		memcpy(&to->bits, &v, sizeof v);
	} else {
		*to = (struct tg_node){ .op = TG_X_wrap, .dtype = TG_f32, .k = (int32_t)x->t, .a = e };
	}
	return (tg_expr){ s->n_nodes };
}

static tg_expr moved(tg_expr e, const tg_expr *to)
{
	return e.id ? to[e.id - 1] : e;
}

/* Users behind the nodes they use, again. */
static void renumber(struct tg_stage *s, const tg_expr *to)
{
	for (uint32_t i = 0; i < s->n_reds; i++)
		s->reds[i].value = moved(s->reds[i].value, to);
	for (uint32_t i = 0; i < s->n_outs; i++)
		s->outs[i].value = moved(s->outs[i].value, to);
}

/* A copy of the stage with rounded factors; the product comes behind them. */
static struct tg_stage *rounded_stage(struct narrowing *x, const struct tg_op *op)
{
	const struct tg_stage *from = stage_of(op);
	struct tg_stage *s = tg_alloc(x->m->arena, sizeof *s);
	tg_expr *to = tg_alloc_n(x->cx->scratch, from->n_nodes + 1u, sizeof *to);
	*s = *from;
	s->nodes = tg_alloc_n(x->m->arena, from->n_nodes + 2u, sizeof *s->nodes);
	s->reds = tg_alloc_n(x->m->arena, from->n_reds, sizeof *s->reds);
	s->outs = tg_alloc_n(x->m->arena, from->n_outs, sizeof *s->outs);
	memcpy(s->reds, from->reds, from->n_reds * sizeof *s->reds);
	memcpy(s->outs, from->outs, from->n_outs * sizeof *s->outs);
	s->n_nodes = 0;
	for (uint32_t i = 0; i < from->n_nodes; i++) {
		struct tg_node n = from->nodes[i];
		n.a = moved(n.a, to);
		n.b = moved(n.b, to);
		n.c = moved(n.c, to);
		if (i + 1 == from->reds[0].value.id) {
			n.a = round_factor(x, op, s, n.a);
			n.b = round_factor(x, op, s, n.b);
		}
		s->nodes[s->n_nodes++] = n;
		to[i] = (tg_expr){ s->n_nodes };
	}
	renumber(s, to);
	return s;
}

static void round_products(struct narrowing *x, const char *keep)
{
	for (struct tg_op *op = x->m->body.first; op; op = op->next) {
		struct tg_factor f[2];
		if (op->code != TG_TILE_stage || !tg_stage_product(stage_of(op), f) || kept(x->m, op, keep))
			continue;
		const struct tg_stage *s = stage_of(op);
		if (s->nodes[s->reds[0].value.id - 1].dtype != TG_f32 || !used_again(s, f) || (is_half(x->m, op, &f[0]) && is_half(x->m, op, &f[1])))
			continue;
		op->attrs[TG_AT(tile_stage, body)].stage = rounded_stage(x, op);
	}
}

/* ---- storage ----------------------------------------------------------------------------------------------------------------- */

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
			if (n->dtype != TG_f32 || rounded(x->t, v) != v)
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
	if (s->ins[in].guarded && rounded(x->t, fill) != fill)
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
		    (!s->ins[a->k].guarded || rounded(x->t, bits_as_f64(s->ins[a->k].fill)) == bits_as_f64(s->ins[a->k].fill))) {
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

bool pass_precision(struct tg_pass *cx, struct tg_module *m)
{
	const struct tg_options *o = cx->options;
	size_t n = m->values.n;
	if (!o || (o->precision != TG_bf16 && o->precision != TG_f16))
		return true;
	if (!check_names(cx->d, m, o->keep_f32))
		return false;
	struct narrowing x = { cx, m, o->precision, tg_alloc_n(cx->scratch, n, sizeof(uint32_t)), tg_alloc_n(cx->scratch, n, sizeof(bool)) };
	round_products(&x, o->keep_f32);
	make_classes(&x);
	settle(&x);
	store_narrow(&x);
	return true;
}
