/* frames.c: names, order and liveness of one body of nodes.
 *
 * Nodes come in any order. A node depends on the producers of its inputs and of the names that its subgraphs capture. Kahn's algorithm with the
 * smallest index first keeps the file's order wherever that is legal; what remains is a cycle. Nodes that no output needs are left out. */
#include "frames.h"

#include <string.h>

struct tg_im_frame *tg_im_frame_new(struct tg_im *im)
{
	struct tg_im_frame *f = tg_alloc(im->tmp, sizeof *f);
	tg_names_init(&f->names, im->tmp, tg_im_driver(im)->seed);
	return f;
}

static const char *text(const char *s)
{
	return s ? s : "";
}

static struct tg_loc node_loc(const struct tg_im *im, const struct tg_im_frame *f, uint32_t i)
{
	if (!f->is_main)
		return im->loc;
	const Onnx__NodeProto *n = f->nodes[i];
	/* messages outlive the model's names */
	return (struct tg_loc){ .file = im->src.path,
				.node = (int32_t)i,
				.name = tg_strdup(im->d->arena, text(n->name)),
				.op_type = tg_strdup(im->d->arena, text(n->op_type)) };
}

bool tg_im_define(struct tg_im *im, struct tg_im_frame *f, struct tg_im_slot slot)
{
	bool is_new;
	uint32_t *at = tg_names_add(&f->names, slot.name, (uint32_t)f->slots.n, &is_new);
	if (is_new) {
		*TG_PUSH(im->tmp, &f->slots) = slot;
		return true;
	}
	struct tg_im_slot *old = &f->slots.at[*at];
	struct tg_loc loc = slot.producer >= 0 ? node_loc(im, f, (uint32_t)slot.producer) : im->loc;
	/* An initializer may give the default of an input. */
	if (old->is_input && old->state != TG_IM_TENSOR && old->state != TG_IM_SPARSE && (slot.state == TG_IM_TENSOR || slot.state == TG_IM_SPARSE)) {
		slot.is_input = true;
		*old = slot;
		return true;
	}
	im->stop = true;
	return tg_error(im->d, loc, "%s is defined twice", tg_quoted(im->d->arena, slot.name));
}

bool tg_im_define_tensors(struct tg_im *im, struct tg_im_frame *f, const Onnx__GraphProto *g)
{
	for (size_t i = 0; i < g->n_initializer; i++) {
		const Onnx__TensorProto *t = g->initializer[i];
		if (!tg_im_define(im, f, (struct tg_im_slot){ .name = text(t->name), .state = TG_IM_TENSOR, .producer = -1, .tensor = t }))
			return false;
	}
	for (size_t i = 0; i < g->n_sparse_initializer; i++) {
		const Onnx__SparseTensorProto *t = g->sparse_initializer[i];
		const char *name = t->values ? text(t->values->name) : "";
		if (!tg_im_define(im, f, (struct tg_im_slot){ .name = name, .state = TG_IM_SPARSE, .producer = -1, .sparse = t }))
			return false;
	}
	return true;
}

struct tg_im_slot *tg_im_lookup(const struct tg_im_frame *f, const char *name)
{
	for (; f; f = f->outer) {
		uint32_t *at = tg_names_find(&f->names, name);
		if (at)
			return &f->slots.at[*at];
	}
	return NULL;
}

/* ---- dependences ---- */

struct deps {
	uint32_t *first;          /* of each node, and one more */
	TG_VEC(uint32_t) slots;   /* slots of this frame that a node uses */
};

static void use_name(struct tg_im *im, struct tg_im_frame *f, struct deps *deps, const char *name)
{
	uint32_t *at = tg_names_find(&f->names, name);
	if (at)
		*TG_PUSH(im->tmp, &deps->slots) = *at;
}

/* A subgraph within the node that is looked at, and the names it defines itself. */
struct nested { const Onnx__GraphProto *g; const struct nested *outer; struct tg_names own; };

static void list_own(struct tg_im *im, struct nested *s)
{
	bool is_new;
	tg_names_init(&s->own, im->tmp, tg_im_driver(im)->seed);
	for (size_t i = 0; i < s->g->n_input; i++)
		tg_names_add(&s->own, text(s->g->input[i]->name), 0, &is_new);
	for (size_t i = 0; i < s->g->n_initializer; i++)
		tg_names_add(&s->own, text(s->g->initializer[i]->name), 0, &is_new);
	for (size_t i = 0; i < s->g->n_node; i++)
		for (size_t k = 0; k < s->g->node[i]->n_output; k++)
			tg_names_add(&s->own, s->g->node[i]->output[k], 0, &is_new);
}

static void capture(struct tg_im *im, struct tg_im_frame *f, struct deps *deps, const struct nested *s, const char *name)
{
	for (; s; s = s->outer)
		if (tg_names_find(&s->own, name))
			return;
	use_name(im, f, deps, name);
}

struct nested_list { TG_VEC(struct nested *) todo; };

static void push_nested(struct tg_im *im, struct nested_list *list, const Onnx__NodeProto *node, const struct nested *outer)
{
	for (size_t k = 0; k < node->n_attribute; k++) {
		if (!node->attribute[k]->g)
			continue;
		struct nested *s = tg_alloc(im->tmp, sizeof *s);
		*s = (struct nested){ .g = node->attribute[k]->g, .outer = outer };
		list_own(im, s);
		*TG_PUSH(im->tmp, &list->todo) = s;
	}
}

/* Names that the subgraphs of a node, at any depth, use without defining them. */
static void use_captures(struct tg_im *im, struct tg_im_frame *f, struct deps *deps, const Onnx__NodeProto *node)
{
	struct nested_list list = { 0 };
	push_nested(im, &list, node, NULL);
	while (list.todo.n) {
		const struct nested *s = list.todo.at[--list.todo.n];
		for (size_t k = 0; k < s->g->n_output; k++)
			capture(im, f, deps, s, text(s->g->output[k]->name));
		for (size_t i = 0; i < s->g->n_node; i++) {
			for (size_t k = 0; k < s->g->node[i]->n_input; k++)
				capture(im, f, deps, s, s->g->node[i]->input[k]);
			push_nested(im, &list, s->g->node[i], s);
		}
	}
}

static bool collect_deps(struct tg_im *im, struct tg_im_frame *f, struct deps *deps)
{
	deps->first = tg_alloc_n(im->tmp, (size_t)f->n_nodes + 1, sizeof *deps->first);
	for (uint32_t i = 0; i < f->n_nodes; i++) {
		const Onnx__NodeProto *n = f->nodes[i];
		deps->first[i] = (uint32_t)deps->slots.n;
		for (size_t k = 0; k < n->n_input; k++) {
			if (*n->input[k] && !tg_im_lookup(f, n->input[k])) {
				im->stop = true;
				return tg_error(im->d, node_loc(im, f, i), "operand %s is not defined by any node, input or initializer",
						tg_quoted(im->d->arena, n->input[k]));
			}
			use_name(im, f, deps, n->input[k]);
		}
		use_captures(im, f, deps, n);
	}
	deps->first[f->n_nodes] = (uint32_t)deps->slots.n;
	return true;
}

/* ---- order: a heap of ready nodes, smallest index on top ---- */

struct ready { uint32_t *at, n; };

static void push_ready(struct ready *r, uint32_t node)
{
	uint32_t i = r->n++;
	for (; i && r->at[(i - 1) / 2] > node; i = (i - 1) / 2)
		r->at[i] = r->at[(i - 1) / 2];
	r->at[i] = node;
}

static uint32_t pop_ready(struct ready *r)
{
	uint32_t top = r->at[0], last = r->at[--r->n], i = 0;
	for (;;) {
		uint32_t kid = 2 * i + 1;
		if (kid + 1 < r->n && r->at[kid + 1] < r->at[kid])
			kid++;
		if (kid >= r->n || r->at[kid] >= last)
			break;
		r->at[i] = r->at[kid];
		i = kid;
	}
	r->at[i] = last;
	return top;
}

/* users[first[p] .. first[p + 1]): nodes that wait for node p. */
static void list_users(struct tg_im *im, struct tg_im_frame *f, const struct deps *deps, uint32_t *waits, uint32_t **first, uint32_t **users)
{
	uint32_t *at = tg_alloc_n(im->tmp, (size_t)f->n_nodes + 2, sizeof *at);
	*users = tg_alloc_n(im->tmp, deps->slots.n + 1, sizeof **users);
	for (uint32_t pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < f->n_nodes; i++)
			for (uint32_t k = deps->first[i]; k < deps->first[i + 1]; k++) {
				int32_t p = f->slots.at[deps->slots.at[k]].producer;
				if (p < 0)
					continue;
				if (pass == 0) {
					at[p + 2]++;
					waits[i]++;
				} else {
					(*users)[at[p + 1]++] = i;
				}
			}
		for (uint32_t i = 1; pass == 0 && i < f->n_nodes + 2; i++)
			at[i] += at[i - 1];
	}
	*first = at;
}

static bool sort_nodes(struct tg_im *im, struct tg_im_frame *f, const struct deps *deps)
{
	uint32_t *waits = tg_alloc_n(im->tmp, (size_t)f->n_nodes + 1, sizeof *waits), *first, *users;
	struct ready ready = { tg_alloc_n(im->tmp, (size_t)f->n_nodes + 1, sizeof(uint32_t)), 0 };
	list_users(im, f, deps, waits, &first, &users);
	for (uint32_t i = 0; i < f->n_nodes; i++)
		if (!waits[i])
			push_ready(&ready, i);
	f->order = tg_alloc_n(im->tmp, (size_t)f->n_nodes + 1, sizeof *f->order);
	while (ready.n) {
		uint32_t p = pop_ready(&ready);
		f->order[f->n_order++] = p;
		for (uint32_t k = first[p]; k < first[p + 1]; k++)
			if (--waits[users[k]] == 0)
				push_ready(&ready, users[k]);
	}
	if (f->n_order == f->n_nodes)
		return true;
	im->stop = true;
	for (uint32_t i = 0; i < f->n_nodes; i++)
		if (waits[i])
			return tg_error(im->d, node_loc(im, f, i), "the node depends on itself: %u nodes form a cycle or follow one", f->n_nodes - f->n_order);
	return false;
}

static void keep_live(struct tg_im *im, struct tg_im_frame *f, const struct deps *deps)
{
	bool *needed = tg_alloc_n(im->tmp, f->slots.n + 1, sizeof *needed);
	for (uint32_t i = 0; i < f->n_outputs; i++) {
		uint32_t *at = tg_names_find(&f->names, f->outputs[i]);
		if (at)
			needed[*at] = true;
	}
	uint32_t n = f->n_order, kept = n;
	for (uint32_t k = n; k--;) {
		uint32_t i = f->order[k];
		bool live = false;
		for (size_t o = 0; o < f->nodes[i]->n_output; o++) {
			uint32_t *at = *f->nodes[i]->output[o] ? tg_names_find(&f->names, f->nodes[i]->output[o]) : NULL;
			live |= at && needed[*at];
		}
		for (uint32_t u = deps->first[i]; live && u < deps->first[i + 1]; u++)
			needed[deps->slots.at[u]] = true;
		if (live)
			f->order[--kept] = i;
	}
	memmove(f->order, f->order + kept, (n - kept) * sizeof *f->order);
	f->n_order = n - kept;
}

bool tg_im_frame_order(struct tg_im *im, struct tg_im_frame *f)
{
	struct deps deps = { 0 };
	for (uint32_t i = 0; i < f->n_nodes; i++)
		for (size_t k = 0; k < f->nodes[i]->n_output; k++)
			if (*f->nodes[i]->output[k] &&
			    !tg_im_define(im, f, (struct tg_im_slot){ .name = f->nodes[i]->output[k], .producer = (int32_t)i }))
				return false;
	for (uint32_t i = 0; i < f->n_outputs; i++)
		if (!tg_im_lookup(f, f->outputs[i])) {
			im->stop = true;
			return tg_error(im->d, im->loc, "output %s is not defined by any node, input or initializer", tg_quoted(im->d->arena, f->outputs[i]));
		}
	if (!collect_deps(im, f, &deps) || !sort_nodes(im, f, &deps))
		return false;
	keep_live(im, f, &deps);
	return true;
}

bool tg_im_slot_value(struct tg_im *im, struct tg_im_slot *s, tg_val *v)
{
	*v = s->v;
	if (s->state == TG_IM_READY)
		return true;
	if (s->state != TG_IM_TENSOR && s->state != TG_IM_SPARSE)
		return false;
	struct tg_const *c;
	uint32_t before = im->d->n_errors;
	bool ok = s->tensor ? tg_pb_tensor(im->d, im->arena, im->loc, &im->src, s->tensor, &c)
			    : tg_pb_sparse(im->d, im->arena, im->loc, &im->src, s->sparse, &c);
	if (!ok) {
		im->stop |= im->d->n_errors != before && im->d->status != TG_ERR_UNSUPPORTED;
		s->state = TG_IM_POISON;
		return false;
	}
	s->v = *v = tg_im_put_const(im, c);
	struct tg_value *value = tg_value_of(im->m, *v);
	if (!value->name)
		value->name = tg_strdup(im->arena, s->name);
	s->state = TG_IM_READY;
	return true;
}
