/* own.c: what a stage overwrites belongs to it alone.
 *
 *   %b = stage(%x) into %a              %c = stage(%a) { arg }
 *   %y = stage(%a, %b)          ==>     %b = stage(%x) into %c
 *                                       %y = stage(%a, %b)
 *
 * In: any tile module. Out: no tensor that a stage writes into is an input, a constant, or read (under any name: views and earlier `into` results share
 * its storage) behind that stage, or read by the stage itself at other points than it writes. Code generation relies on it: such a stage writes in place. */
#include "passes.h"

#include <string.h>

bool pass_own(struct tg_pass *cx, struct tg_module *m);

/* Values of one storage; last: the position of the last op that reads one of them, the end for outputs. */
struct class { uint32_t last; bool foreign; };
struct owner {
	struct tg_module *m;
	uint32_t *last;     /* by value */
	uint32_t *class_of; /* by value */
	struct class *classes;
	uint32_t n;
};

static void last_uses(struct owner *x)
{
	uint32_t at = 1;
	for (const struct tg_op *op = x->m->body.first; op; op = op->next, at++)
		for (uint32_t i = 0; i < op->n_in; i++)
			x->last[op->in[i].id] = at;
	for (size_t i = 0; i < x->m->outputs.n; i++)
		x->last[x->m->outputs.at[i].value.id] = UINT32_MAX;
}

static void join(struct owner *x, tg_val v, uint32_t class)
{
	x->class_of[v.id] = class;
	if (x->last[v.id] > x->classes[class].last)
		x->classes[class].last = x->last[v.id];
}

static void fresh(struct owner *x, tg_val v, bool foreign)
{
	x->classes[x->n] = (struct class){ 0, foreign };
	join(x, v, x->n++);
}

static bool same_index(const struct tg_index *a, const struct tg_index *b, uint32_t n_dims)
{
	return a->offset == b->offset && a->div == b->div && a->mod == b->mod && a->gather == b->gather && !memcmp(a->coef, b->coef, n_dims * sizeof *a->coef);
}

/* The stage reads the tensor that it writes, but for the very element of each point. */
static bool reads_elsewhere(const struct owner *x, const struct tg_op *op, tg_val old)
{
	const struct tg_stage *s = op->attrs[TG_AT(tile_stage, body)].stage;
	for (uint32_t i = 0; i < s->n_ins; i++) {
		if (x->class_of[op->in[i].id] != x->class_of[old.id])
			continue;
		const struct tg_map *in = &s->ins[i].map, *out = &s->outs[0].map;
		bool same = op->in[i].id == old.id && !s->ins[i].guarded && s->n_reds == 0;
		for (uint32_t k = 0; k < in->rank && same; k++)
			same = same_index(&in->index[k], &out->index[k], s->n_dims);
		if (!same)
			return true;
	}
	return false;
}

static tg_val copy_of(struct tg_module *m, struct tg_op *before, tg_val v)
{
	struct tg_shape shape = tg_value_get(m, v)->shape;
	enum tg_dtype t = (enum tg_dtype)tg_value_get(m, v)->dtype;
	struct tg_body *b = tg_body_new(m, before->prov);
	uint32_t in = tg_body_in(b, v);
	for (uint32_t i = 0; i < shape.rank; i++)
		tg_body_term(b, in, i, tg_body_dim(b, TG_DIM_PARALLEL, shape.dim[i]), 1);
	return tg_body_end(b, before, t, &shape, tg_body_arg(b, in), NULL, (tg_val){ 0 });
}

/* Copies need no class: the result that is written into one has it. */
static void walk(struct owner *x)
{
	uint32_t at = 1;
	for (struct tg_op *op = x->m->body.first; op; op = op->next, at++) {
		bool into = op->code == TG_TILE_stage && op->attrs[TG_AT(tile_stage, into)].i;
		tg_val old = op->n_in ? op->in[op->n_in - 1] : (tg_val){ 0 };
		if (op->code == TG_TILE_view) {
			join(x, op->out[0], x->class_of[old.id]);
			continue;
		}
		if (into) {
			const struct class *c = &x->classes[x->class_of[old.id]];
			if (!c->foreign && c->last <= at && !reads_elsewhere(x, op, old)) {
				join(x, op->out[0], x->class_of[old.id]);
				continue;
			}
			op->in[op->n_in - 1] = copy_of(x->m, op, old);
		}
		for (uint32_t i = 0; i < op->n_out; i++)
			fresh(x, op->out[i], op->code == TG_TILE_data);
	}
}

bool pass_own(struct tg_pass *cx, struct tg_module *m)
{
	size_t n = m->values.n;
	struct owner x = { .m = m };
	x.last = tg_alloc_n(cx->scratch, n, sizeof *x.last);
	x.class_of = tg_alloc_n(cx->scratch, n, sizeof *x.class_of);
	x.classes = tg_alloc_n(cx->scratch, n + 1, sizeof *x.classes);
	last_uses(&x);
	for (size_t i = 0; i < m->inputs.n; i++)
		fresh(&x, m->inputs.at[i].value, true);
	walk(&x);
	return true;
}
