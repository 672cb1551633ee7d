/* shrink.c: smaller variants of a failing program, one step at a time. Crude: the caller tries each and keeps what still fails. A step may leave an
 * invalid module (the verifier says so) but never a broken one. */
#include <string.h>

#include "fuzz.h"

struct shrinker { struct tg_module *m; uint32_t step, at; bool hit, applies; };

/* Is it this step's turn? */
static bool turn(struct shrinker *s)
{
	if (s->hit || s->at++ != s->step)
		return false;
	return s->hit = true;
}

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->code == TG_TILE_stage ? op->attrs[TG_AT(tile_stage, body)].stage : NULL;
}

/* ---- what nothing reads goes ---- */

static void drop_nodes(struct tg_module *m, struct tg_stage *s)
{
	bool *keep = tg_alloc(m->arena, s->n_nodes + 1);
	uint32_t *now = tg_alloc_n(m->arena, s->n_nodes + 1, sizeof *now), n = 0;
	for (uint32_t i = 0; i < s->n_reds; i++)
		keep[s->reds[i].value.id] = true;
	for (uint32_t i = 0; i < s->n_outs; i++)
		keep[s->outs[i].value.id] = true;
	for (uint32_t i = s->n_nodes; i-- > 0;)
		if (keep[i + 1])
			keep[s->nodes[i].a.id] = keep[s->nodes[i].b.id] = keep[s->nodes[i].c.id] = true;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		struct tg_node x = s->nodes[i];
		if (!keep[i + 1])
			continue;
		x.a.id = now[x.a.id];
		x.b.id = now[x.b.id];
		x.c.id = now[x.c.id];
		s->nodes[n++] = x;
		now[i + 1] = n;
	}
	now[0] = 0;
	for (uint32_t i = 0; i < s->n_reds; i++)
		s->reds[i].value.id = now[s->reds[i].value.id];
	for (uint32_t i = 0; i < s->n_outs; i++)
		s->outs[i].value.id = now[s->outs[i].value.id];
	s->n_nodes = n;
}

static bool reads(const struct tg_stage *s, uint32_t in)
{
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if ((s->nodes[i].op == TG_X_arg || s->nodes[i].op == TG_X_inside) && (uint32_t)s->nodes[i].k == in)
			return true;
	for (uint32_t i = 0; i < s->n_ins; i++)
		for (uint32_t r = 0; r < s->ins[i].map.rank; r++)
			if (s->ins[i].map.index[r].gather == (int32_t)in)
				return true;
	return false;
}

static void drop_in(struct tg_op *op, struct tg_stage *s, uint32_t in)
{
	memmove(&s->ins[in], &s->ins[in + 1], (s->n_ins - in - 1) * sizeof *s->ins);
	memmove(&op->in[in], &op->in[in + 1], (op->n_in - in - 1) * sizeof *op->in);
	s->n_ins--;
	op->n_in--;
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if ((s->nodes[i].op == TG_X_arg || s->nodes[i].op == TG_X_inside) && (uint32_t)s->nodes[i].k > in)
			s->nodes[i].k--;
	for (uint32_t i = 0; i < s->n_ins; i++)
		for (uint32_t r = 0; r < s->ins[i].map.rank; r++)
			s->ins[i].map.index[r].gather -= s->ins[i].map.index[r].gather > (int32_t)in;
}

static void clean(struct tg_module *m)
{
	for (struct tg_op *op = m->body.first; op; op = op->next) {
		struct tg_stage *s = stage_of(op);
		if (!s)
			continue;
		drop_nodes(m, s);
		for (uint32_t i = s->n_ins; i-- > 0;)
			if (!reads(s, i))
				drop_in(op, s, i);
	}
	for (struct tg_op *op = m->body.last, *prev; op; op = prev) {
		prev = op->prev;
		tg_count_uses(m);
		bool used = false;
		for (size_t i = 0; i < m->outputs.n; i++)
			used |= m->outputs.at[i].value.id == op->out[0].id;
		if (!used && tg_value_of(m, op->out[0])->n_uses == 0)
			tg_op_remove(op);
	}
	tg_count_uses(m);
	size_t n = 0;
	for (size_t i = 0; i < m->inputs.n; i++) {
		bool out = false;
		for (size_t k = 0; k < m->outputs.n; k++)
			out |= m->outputs.at[k].value.id == m->inputs.at[i].value.id;
		if (out || tg_value_of(m, m->inputs.at[i].value)->n_uses)
			m->inputs.at[n++] = m->inputs.at[i];
	}
	m->inputs.n = n;
}

/* ---- steps ---- */

/* The size of the index that v's elements select, 0 when it is no index list. */
static int64_t list_bound(const struct tg_module *m, tg_val v)
{
	for (const struct tg_op *op = m->body.first; op; op = op->next) {
		const struct tg_stage *s = stage_of(op);
		for (uint32_t i = 0; s && i < s->n_ins; i++)
			for (uint32_t r = 0; r < s->ins[i].map.rank; r++) {
				int32_t g = s->ins[i].map.index[r].gather;
				if (g >= 0 && op->in[g].id == v.id)
					return tg_value_get(m, op->in[i])->shape.dim[r];
			}
	}
	return 0;
}

/* v becomes an input; its definition goes. */
static void cut(struct tg_module *m, struct tg_op *op)
{
	struct tg_value old = *tg_value_of(m, op->out[0]);
	int64_t bound = list_bound(m, op->out[0]);
	const char *name = bound ? tg_asprintf(m->arena, "idx%lldn%u", (long long)bound, op->out[0].id) : tg_asprintf(m->arena, "c%u", op->out[0].id);
	tg_val v = tg_value_new(m, TG_TENSOR, (enum tg_dtype)old.dtype, &old.shape, name);
	for (size_t i = m->outputs.n; i-- > 0;) /* an input is not an output */
		if (m->outputs.at[i].value.id == op->out[0].id) {
			memmove(&m->outputs.at[i], &m->outputs.at[i + 1], (m->outputs.n - i - 1) * sizeof m->outputs.at[0]);
			m->outputs.n--;
		}
	tg_replace_uses(m, op->out[0], v);
	tg_op_remove(op);
	*TG_PUSH(m->arena, &m->inputs) = (struct tg_port){ name, v };
}

static void isolate(struct shrinker *s)
{
	for (struct tg_op *op = s->m->body.first; op; op = op->next) {
		if (!stage_of(op) || !turn(s))
			continue;
		s->m->outputs.at[0] = (struct tg_port){ "y", op->out[0] };
		s->m->outputs.n = 1;
		for (struct tg_op *o = op->prev, *prev; o; o = prev) {
			prev = o->prev;
			cut(s->m, o);
		}
		s->applies = s->m->outputs.n == 1;
	}
}

static void fewer_outputs(struct shrinker *s)
{
	for (size_t i = 0; i < s->m->outputs.n && s->m->outputs.n > 1; i++)
		if (turn(s)) {
			memmove(&s->m->outputs.at[i], &s->m->outputs.at[i + 1], (s->m->outputs.n - i - 1) * sizeof s->m->outputs.at[0]);
			s->m->outputs.n--;
			s->applies = true;
		}
}

static void cut_ops(struct shrinker *s)
{
	for (struct tg_op *op = s->m->body.last, *prev; op; op = prev) {
		prev = op->prev;
		if (turn(s)) {
			cut(s->m, op);
			s->applies = s->m->outputs.n > 0;
		}
	}
}

static void replace_node(struct tg_stage *st, uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < st->n_nodes; i++) {
		struct tg_node *n = &st->nodes[i];
		n->a.id = n->a.id == from ? to : n->a.id;
		n->b.id = n->b.id == from ? to : n->b.id;
		n->c.id = n->c.id == from ? to : n->c.id;
	}
	for (uint32_t i = 0; i < st->n_reds; i++)
		st->reds[i].value.id = st->reds[i].value.id == from ? to : st->reds[i].value.id;
	for (uint32_t i = 0; i < st->n_outs; i++)
		st->outs[i].value.id = st->outs[i].value.id == from ? to : st->outs[i].value.id;
}

static void fewer_nodes(struct shrinker *s, struct tg_stage *st)
{
	for (uint32_t i = st->n_nodes; i-- > 0;) {
		struct tg_node *n = &st->nodes[i];
		const uint32_t to[3] = { n->a.id, n->b.id, n->c.id };
		for (int k = 0; k < 3; k++)
			if (to[k] && st->nodes[to[k] - 1].dtype == n->dtype && turn(s)) {
				replace_node(st, i + 1, to[k]);
				s->applies = true;
				return;
			}
		if (n->op != TG_X_const && n->op != TG_X_acc && turn(s)) {
			*n = (struct tg_node){ .op = TG_X_const, .dtype = n->dtype, .bits = tg_type_is_float((enum tg_dtype)n->dtype) ? tg_bits_of_f64((enum tg_dtype)n->dtype, 1) : 1 };
			s->applies = true;
			return;
		}
	}
}

/* Result indices that walk one dimension plainly shrink with it. */
static void set_extent(struct tg_module *m, struct tg_op *op, struct tg_stage *st, uint32_t d, int64_t extent)
{
	struct tg_value *out = tg_value_of(m, op->out[0]);
	bool into = op->attrs[TG_AT(tile_stage, into)].i;
	for (uint32_t r = 0; !into && r < st->outs[0].map.rank; r++) {
		struct tg_index *x = &st->outs[0].map.index[r];
		int64_t hi = x->offset, below = 1;
		if (x->coef[d] == 0)
			continue;
		x->coef[d] = x->coef[d] < 0 ? -1 : 1;
		x->offset = x->coef[d] < 0 ? extent - 1 : 0;
		hi = extent - 1;
		for (uint32_t k = 0; k < st->n_dims; k++)
			if (k != d && x->coef[k]) { /* a joined index: the other one inside */
				below = st->dims[k].extent;
				x->coef[k] = 1;
				x->coef[d] = below;
				hi = below * extent - 1;
			}
		out->shape.dim[r] = hi + 1;
	}
	st->dims[d].extent = extent;
}

static void smaller_dims(struct shrinker *s, struct tg_op *op, struct tg_stage *st)
{
	for (uint32_t d = 0; d < st->n_dims; d++) {
		int64_t e = st->dims[d].extent, tries[4] = { 1, e / 2, e - 1, 2 };
		for (int k = 0; k < 4; k++)
			if (tries[k] >= 1 && tries[k] < e && turn(s)) {
				set_extent(s->m, op, st, d, tries[k]);
				s->applies = true;
				return;
			}
	}
}

static void simpler_maps(struct shrinker *s, struct tg_stage *st)
{
	for (uint32_t i = 0; i < st->n_ins; i++) {
		for (uint32_t r = 0; r < st->ins[i].map.rank; r++) {
			struct tg_index *x = &st->ins[i].map.index[r];
			for (uint32_t d = 0; d < st->n_dims; d++)
				if (x->coef[d] && turn(s)) {
					x->coef[d] = 0;
					s->applies = true;
					return;
				}
			if (x->offset && turn(s)) {
				x->offset = 0;
				s->applies = true;
				return;
			}
		}
		if (st->ins[i].guarded && turn(s)) {
			st->ins[i].guarded = false;
			s->applies = true;
			return;
		}
	}
}

/* Stages of groups by themselves: the other steps see only those. */
static void no_groups(struct shrinker *s)
{
	bool any = false;
	for (const struct tg_op *op = s->m->body.first; op; op = op->next)
		any |= op->code == TG_TILE_group;
	if (any && turn(s)) {
		tg_ungroup(s->m);
		s->applies = true;
	}
}

/* An input no larger than its maps reach. */
static void smaller_inputs(struct shrinker *s)
{
	for (size_t i = 0; i < s->m->inputs.n; i++) {
		struct tg_value *v = tg_value_of(s->m, s->m->inputs.at[i].value);
		for (uint32_t r = 0; r < v->shape.rank; r++)
			if (v->shape.dim[r] > 1) {
				int64_t tries[2] = { v->shape.dim[r] / 2, v->shape.dim[r] - 1 };
				for (int k = 0; k < 2; k++)
					if (turn(s)) {
						v->shape.dim[r] = tries[k];
						s->applies = true;
						return;
					}
			}
	}
}

bool fuzz_shrink(struct tg_module *m, uint32_t step, bool *applies)
{
	struct shrinker s = { m, step, 0, false, false };
	no_groups(&s);
	isolate(&s);
	fewer_outputs(&s);
	if (!s.hit)
		cut_ops(&s);
	for (struct tg_op *op = m->body.first; op && !s.hit; op = op->next) {
		struct tg_stage *st = stage_of(op);
		if (!st)
			continue;
		fewer_nodes(&s, st);
		if (!s.hit)
			smaller_dims(&s, op, st);
		if (!s.hit)
			simpler_maps(&s, st);
	}
	if (!s.hit)
		smaller_inputs(&s);
	*applies = s.applies;
	if (s.applies)
		clean(m);
	return s.hit;
}
