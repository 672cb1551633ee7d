/* eval.c: runs a module of the tile dialect. Every tensor has an arena of its own, which goes after its last use; views share the tensor they
 * look at; `into` writes in place where nobody else needs the old contents. Constants stay where they are; splats stay one element.
 *
 * tile.host and tile.group run the ops of their regions; their results are values that those ops define. */
#include <string.h>

#include "eval_internal.h"

struct store { struct tg_arena *arena; uint32_t users; }; /* contents, shared by views */
struct slot {
	void *data;
	bool ready, splat;
	uint32_t store; /* 0: not ours */
	uint32_t uses_left;
};
struct machine {
	struct tg_diag *d;
	struct tg_arena *arena; /* of this run */
	const struct tg_module *m;
	struct slot *slot; /* by value */
	TG_VEC(struct store) stores;
	tg_watch_fn *watch;
	void *user;
};

bool tg_tensor_alloc(struct tg_diag *d, struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, struct tg_tensor *out)
{
	size_t bytes;
	if (!tg_shape_bytes(s, t, &bytes) || bytes > SIZE_MAX / 2)
		return tg_limit(d, TG_NOWHERE, "tensor is too large");
	*out = (struct tg_tensor){ t, *s, tg_alloc(a, bytes + 16) };
	return true;
}

static const struct tg_value *value(const struct machine *x, tg_val v) { return tg_value_get(x->m, v); }

static void *fresh(struct machine *x, tg_val v)
{
	struct slot *s = &x->slot[v.id];
	const struct tg_value *t = value(x, v);
	struct tg_tensor out = { 0 };
	struct tg_arena *a = tg_arena_new(tg_arena_heap(x->arena));
	if (!tg_tensor_alloc(x->d, a, (enum tg_dtype)t->dtype, &t->shape, &out)) {
		tg_arena_free(a);
		return NULL;
	}
	*TG_PUSH(x->arena, &x->stores) = (struct store){ a, 1 };
	s->store = (uint32_t)x->stores.n - 1;
	return s->data = out.data;
}

static void release(struct machine *x, tg_val v)
{
	struct slot *s = &x->slot[v.id];
	struct store *st = &x->stores.at[s->store];
	if (s->store == 0 || --st->users > 0)
		return;
	tg_arena_free(st->arena);
	st->arena = NULL;
	s->data = NULL;
}

static void used(struct machine *x, tg_val v)
{
	if (x->slot[v.id].uses_left > 0 && --x->slot[v.id].uses_left == 0)
		release(x, v);
}

static struct tg_source source(const struct machine *x, tg_val v)
{
	const struct tg_value *t = value(x, v);
	const struct slot *s = &x->slot[v.id];
	return (struct tg_source){ (enum tg_dtype)t->dtype, &t->shape, s->data, s->splat };
}

static size_t bytes_of(const struct tg_value *v)
{
	size_t n = 0;
	return tg_shape_bytes(&v->shape, (enum tg_dtype)v->dtype, &n) ? n : 0;
}

/* Dense contents of a source. */
static void materialise(const struct tg_value *v, const struct slot *s, void *out)
{
	int64_t n;
	size_t bytes = bytes_of(v), each = tg_dtypes[v->dtype].bits / 8;
	if (!s->splat) {
		if (bytes)
			memcpy(out, s->data, bytes);
		return;
	}
	if (!tg_shape_count(&v->shape, &n))
		return;
	for (int64_t i = 0; i < n; i++)
		if (each)
			memcpy((char *)out + (size_t)i * each, s->data, each);
		else
			tg_put_i64((enum tg_dtype)v->dtype, out, (size_t)i, tg_get_i64((enum tg_dtype)v->dtype, s->data, 0));
}

/* ---- ops ---- */

static bool run_data(struct machine *x, const struct tg_op *op)
{
	const struct tg_const *c = op->attrs[TG_AT(tile_data, value)].c;
	struct slot *s = &x->slot[op->out[0].id];
	int64_t n;
	if (c->kind == TG_CONST_PARTS) {
		enum tg_dtype t = (enum tg_dtype)value(x, op->out[0])->dtype;
		if (!tg_shape_count(&c->shape, &n) || !fresh(x, op->out[0]))
			return false;
		for (int64_t i = 0; i < n; i++)
			if (tg_is_float(t))
				tg_put_f64(t, s->data, (size_t)i, tg_const_f64(c, i));
			else
				tg_put_i64(t, s->data, (size_t)i, tg_const_i64(c, i));
		return true;
	}
	if (c->dtype != (enum tg_dtype)value(x, op->out[0])->dtype) { /* f32 values of a narrower constant */
		if (!tg_shape_count(&c->shape, &n) || !fresh(x, op->out[0]))
			return false;
		tg_narrow_f32((enum tg_dtype)value(x, op->out[0])->dtype, s->data, c->data, (size_t)n);
		return true;
	}
	s->data = (void *)(uintptr_t)c->data;
	s->splat = c->kind == TG_CONST_SPLAT;
	return true;
}

static bool run_view(struct machine *x, const struct tg_op *op)
{
	struct slot *to = &x->slot[op->out[0].id], *from = &x->slot[op->in[0].id];
	to->data = from->data;
	to->splat = from->splat;
	to->store = from->store;
	if (to->store)
		x->stores.at[to->store].users++;
	return true;
}

/* One value for all elements is not one value for all words. */
static bool run_words(struct machine *x, const struct tg_op *op)
{
	if (!x->slot[op->in[0].id].splat)
		return run_view(x, op);
	if (!fresh(x, op->out[0]))
		return false;
	materialise(value(x, op->in[0]), &x->slot[op->in[0].id], x->slot[op->out[0].id].data);
	return true;
}

/* The tensor that `into` starts from: the old one itself when this is its last use. */
static bool start_into(struct machine *x, tg_val old, tg_val out)
{
	struct slot *from = &x->slot[old.id], *to = &x->slot[out.id];
	if (from->store && from->uses_left == 1 && x->stores.at[from->store].users == 1) {
		to->data = from->data;
		to->store = from->store;
		x->stores.at[to->store].users++;
		return true;
	}
	if (!fresh(x, out))
		return false;
	materialise(value(x, old), &x->slot[old.id], x->slot[out.id].data);
	return true;
}

static bool run_stage(struct machine *x, const struct tg_op *op)
{
	const struct tg_stage *s = op->attrs[TG_AT(tile_stage, body)].stage;
	bool into = op->attrs[TG_AT(tile_stage, into)].i != 0;
	if (!s || op->n_in != s->n_ins + into || s->n_outs != 1)
		return tg_internal(x->d, tg_op_loc(x->m, op), "stage has %u operands, its body %u", op->n_in, s ? s->n_ins : 0);
	if (into ? !start_into(x, op->in[op->n_in - 1], op->out[0]) : !fresh(x, op->out[0]))
		return false;
	const struct tg_value *v = value(x, op->out[0]);
	struct tg_tensor out = { (enum tg_dtype)v->dtype, v->shape, x->slot[op->out[0].id].data };
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(x->arena));
	struct tg_source *ins = tg_alloc_n(scratch, op->n_in + 1, sizeof *ins);
	for (uint32_t i = 0; i < s->n_ins; i++)
		ins[i] = source(x, op->in[i]);
	bool ok = tg_eval_stage_on(x->d, tg_op_loc(x->m, op), scratch, s, ins, &out);
	tg_arena_free(scratch);
	return ok;
}

static bool run_op(struct machine *x, const struct tg_op *op)
{
	switch (op->code) {
	case TG_TILE_data: return run_data(x, op);
	case TG_TILE_view: return run_view(x, op);
	case TG_TILE_words: return run_words(x, op);
	case TG_TILE_stage: return run_stage(x, op);
	case TG_TILE_empty: return fresh(x, op->out[0]) != NULL;
	case TG_TILE_group:
	case TG_TILE_host: return true; /* the ops of its region come next */
	default:
		return tg_internal(x->d, tg_op_loc(x->m, op), "the evaluator has no %s.%s", tg_dialect_name(tg_op_info(op->code)->dialect),
				   tg_op_info(op->code)->name);
	}
}

static bool show(struct machine *x, const struct tg_op *op)
{
	for (uint32_t i = 0; x->watch && op->code != TG_TILE_data && !op->n_regions && i < op->n_out; i++) {
		const struct tg_value *v = value(x, op->out[i]);
		const struct slot *s = &x->slot[op->out[i].id];
		if (s->splat || !s->data)
			continue;
		struct tg_tensor t = { (enum tg_dtype)v->dtype, v->shape, s->data };
		if (!x->watch(x->user, x->m, op->out[i], &t))
			return false;
	}
	return true;
}

static bool ready(struct machine *x, const struct tg_op *op)
{
	for (uint32_t i = 0; i < op->n_in; i++)
		if (!x->slot[op->in[i].id].ready)
			return tg_internal(x->d, tg_op_loc(x->m, op), "operand %u of %s is not computed", i, tg_op_info(op->code)->name);
	return true;
}

/* Machine code says again what its stage says. */
static struct tg_op *next_op(struct tg_op *op)
{
	op = tg_op_step(op);
	while (op && op->code == TG_MACH_code)
		op = tg_op_skip(op);
	return op;
}

static bool run_all(struct machine *x)
{
	for (struct tg_op *op = x->m->body.first; op; op = next_op(op)) {
		if (!ready(x, op) || !run_op(x, op) || !show(x, op))
			return false;
		if (op->n_regions)
			continue; /* its operands are counted where its region uses them */
		for (uint32_t i = 0; i < op->n_out; i++) {
			x->slot[op->out[i].id].ready = true;
			if (x->slot[op->out[i].id].uses_left == 0)
				release(x, op->out[i]);
		}
		for (uint32_t i = 0; i < op->n_in; i++)
			used(x, op->in[i]);
	}
	return true;
}

static void count(struct machine *x)
{
	const struct tg_module *m = x->m;
	for (struct tg_op *op = m->body.first; op; op = next_op(op))
		for (uint32_t i = 0; !op->n_regions && i < op->n_in; i++)
			x->slot[value(x, op->in[i]) == &m->values.at[0] ? 0 : op->in[i].id].uses_left++;
	for (size_t i = 0; i < m->outputs.n; i++)
		x->slot[m->outputs.at[i].value.id].uses_left++;
}

static bool bind_inputs(struct machine *x, const struct tg_tensor *inputs)
{
	for (size_t i = 0; i < x->m->inputs.n; i++) {
		const struct tg_port *p = &x->m->inputs.at[i];
		const struct tg_value *v = value(x, p->value);
		if (v->dtype != inputs[i].dtype || !tg_shape_equal(&v->shape, &inputs[i].shape))
			return tg_usage(x->d, tg_at_file(x->m->source), "input %s does not have the model's type %s and shape",
					tg_quoted(x->arena, p->name ? p->name : ""), tg_dtypes[v->dtype].name);
		x->slot[p->value.id].data = inputs[i].data;
		x->slot[p->value.id].ready = true;
	}
	return true;
}

static bool copy_outputs(struct machine *x, struct tg_arena *a, struct tg_tensor *outputs)
{
	for (size_t i = 0; i < x->m->outputs.n; i++) {
		tg_val id = x->m->outputs.at[i].value;
		const struct tg_value *v = value(x, id);
		if (!x->slot[id.id].ready)
			return tg_internal(x->d, tg_at_file(x->m->source), "output %zu is not computed", i);
		if (!tg_tensor_alloc(x->d, a, (enum tg_dtype)v->dtype, &v->shape, &outputs[i]))
			return false;
		materialise(v, &x->slot[id.id], outputs[i].data);
		used(x, id);
	}
	return true;
}

bool tg_eval_module(struct tg_diag *d, struct tg_arena *a, const struct tg_module *m, const struct tg_tensor *inputs, struct tg_tensor *outputs,
		    tg_watch_fn *watch, void *user)
{
	struct machine x = { .d = d, .arena = tg_arena_new(tg_arena_heap(a)), .m = m, .watch = watch, .user = user };
	x.slot = tg_alloc_n(x.arena, m->values.n, sizeof *x.slot);
	*TG_PUSH(x.arena, &x.stores) = (struct store){ 0 };
	count(&x);
	bool ok = bind_inputs(&x, inputs) && run_all(&x) && copy_outputs(&x, a, outputs);
	for (size_t i = 1; i < x.stores.n; i++)
		tg_arena_free(x.stores.at[i].arena);
	tg_arena_free(x.arena);
	return ok;
}
