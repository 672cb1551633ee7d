/* run.c: imports the nodes of a frame one after the other, and the frames that they enter.
 *
 * Control flow and functions do not recurse: an importer that wants a body imported calls tg_im_enter and returns; the body becomes the top
 * frame, and when its nodes are done, `done` is called with its results, in the context of the node that entered. `done` may enter again
 * (the next iteration of a loop) or set the node's results. */
#include "frames.h"

#include <string.h>

static const char *text(const char *s)
{
	return s ? s : "";
}

static void save(const struct tg_im *im, struct tg_im_node *n)
{
	*n = (struct tg_im_node){ im->node, im->row, im->frame, im->opset, im->loc, im->prov, im->n_in, im->n_out, im->in, im->out, im->want,
				  im->in_list, im->out_list };
}

static void restore(struct tg_im *im, const struct tg_im_node *n)
{
	im->node = n->node, im->row = n->row, im->frame = n->frame, im->opset = n->opset, im->loc = n->loc, im->prov = n->prov;
	im->n_in = n->n_in, im->n_out = n->n_out, im->in = n->in, im->out = n->out, im->want = n->want;
	im->in_list = n->in_list, im->out_list = n->out_list;
	im->failed = false;
}

/* ---- entering ---- */

static bool push(struct tg_im *im, struct tg_im_frame *f, tg_im_done_fn *done, void *state)
{
	struct tg_im_driver *dr = tg_im_driver(im);
	if (dr->depth >= TG_IM_MAX_FRAMES) {
		im->failed = im->stop = true;
		return tg_limit(im->d, im->loc, "functions and subgraphs are nested more than %u deep", TG_IM_MAX_FRAMES);
	}
	save(im, &f->caller);
	f->parent = dr->top;
	f->done = done;
	f->state = state;
	if (!tg_im_frame_order(im, f)) {
		im->failed = im->stop = true;
		return false;
	}
	dr->top = f;
	dr->depth++;
	return true;
}

bool tg_im_enter(struct tg_im *im, const Onnx__GraphProto *g, const tg_val *actual, uint32_t n_actual, tg_im_done_fn *done, void *state)
{
	if (im->failed)
		return false;
	if (g->n_input != n_actual) {
		tg_im_error(im, "the subgraph has %zu inputs, expected %u", g->n_input, n_actual);
		return false;
	}
	struct tg_im_frame *f = tg_im_frame_new(im);
	f->outer = im->frame;
	f->fn = im->frame->fn;
	f->nodes = g->node;
	f->n_nodes = (uint32_t)g->n_node;
	f->opsets = im->frame->opsets;
	f->n_opsets = im->frame->n_opsets;
	f->n_outputs = (uint32_t)g->n_output;
	f->outputs = tg_alloc_n(im->tmp, g->n_output + 1, sizeof *f->outputs);
	for (size_t i = 0; i < g->n_output; i++)
		f->outputs[i] = text(g->output[i]->name);
	for (uint32_t i = 0; i < n_actual; i++)
		if (!tg_im_define(im, f, (struct tg_im_slot){ .name = text(g->input[i]->name), .state = TG_IM_READY, .producer = -1, .v = actual[i] })) {
			im->failed = true;
			return false;
		}
	if (!tg_im_define_tensors(im, f, g)) {
		im->failed = true;
		return false;
	}
	return push(im, f, done, state);
}

static void copy_results(struct tg_im *im, void *state, const tg_val *results, uint32_t n)
{
	(void)state;
	for (uint32_t i = 0; i < n && i < im->n_out; i++)
		im->out[i] = results[i];
}

bool tg_im_enter_branch(struct tg_im *im, const Onnx__GraphProto *g, const tg_val *actual, uint32_t n_actual)
{
	return tg_im_enter(im, g, actual, n_actual, copy_results, NULL);
}

static void bind_attrs(struct tg_im *im, struct tg_im_frame *f, const Onnx__FunctionProto *fn)
{
	for (size_t i = 0; i < im->node->n_attribute; i++) {
		const char *name = text(im->node->attribute[i]->name);
		const Onnx__AttributeProto *a = tg_im_attr(im, name);
		if (a)
			*TG_PUSH(im->tmp, &f->attrs) = (struct tg_im_bound_attr){ name, a };
	}
	for (size_t i = 0; i < fn->n_attribute_proto; i++) {
		const char *name = text(fn->attribute_proto[i]->name);
		if (!tg_im_has(im, name))
			*TG_PUSH(im->tmp, &f->attrs) = (struct tg_im_bound_attr){ name, fn->attribute_proto[i] };
	}
}

static void enter_function(struct tg_im *im, const Onnx__FunctionProto *fn)
{
	if (im->n_in > fn->n_input || im->n_out > fn->n_output) {
		tg_im_error(im, "the function takes %zu operands and gives %zu results, the node has %u and %u", fn->n_input, fn->n_output, im->n_in,
			    im->n_out);
		return;
	}
	struct tg_im_frame *f = tg_im_frame_new(im);
	f->fn = f;
	f->nodes = fn->node;
	f->n_nodes = (uint32_t)fn->n_node;
	f->opsets = fn->opset_import;
	f->n_opsets = fn->n_opset_import;
	f->n_outputs = im->n_out;
	f->outputs = tg_alloc_n(im->tmp, fn->n_output + 1, sizeof *f->outputs);
	for (uint32_t i = 0; i < im->n_out; i++)
		f->outputs[i] = text(fn->output[i]);
	bind_attrs(im, f, fn);
	for (size_t i = 0; i < fn->n_input; i++) {
		struct tg_im_slot s = { .name = text(fn->input[i]), .state = TG_IM_READY, .producer = -1 };
		if (i < im->n_in) {
			s.v = im->in[i];
			s.list = im->in_list[i];
		}
		if (!tg_im_define(im, f, s)) {
			im->failed = true;
			return;
		}
	}
	push(im, f, copy_results, NULL);
}

/* ---- one node ---- */

static int64_t opset_of(const struct tg_im_frame *f, const char *domain)
{
	if (!strcmp(domain, "ai.onnx"))
		domain = "";
	for (size_t i = 0; i < f->n_opsets; i++) {
		const char *have = text(f->opsets[i]->domain);
		if (!strcmp(domain, !strcmp(have, "ai.onnx") ? "" : have))
			return f->opsets[i]->version;
	}
	/* exporters leave these out, and there is one version of them */
	return !strcmp(domain, "com.microsoft") || !strcmp(domain, "ai.onnx.ml") ? 1 : -1;
}

static const Onnx__FunctionProto *find_function(struct tg_im *im)
{
	struct tg_im_driver *dr = tg_im_driver(im);
	if (!dr->functions.n)
		return NULL;
	const char *key = tg_asprintf(im->tmp, "%s\1%s\1%s", text(im->node->domain), text(im->node->op_type), text(im->node->overload));
	uint32_t *at = tg_names_find(&dr->functions, key);
	return at ? dr->model->functions[*at] : NULL;
}

static void begin(struct tg_im *im, struct tg_im_frame *f, uint32_t index)
{
	const Onnx__NodeProto *n = f->nodes[index];
	im->failed = false;
	im->node = n;
	im->frame = f;
	im->n_in = (uint32_t)n->n_input;
	im->n_out = (uint32_t)n->n_output;
	im->in = tg_alloc_n(im->tmp, n->n_input + 1, sizeof *im->in);
	im->in_list = tg_alloc_n(im->tmp, n->n_input + 1, sizeof *im->in_list);
	im->out = tg_alloc_n(im->tmp, n->n_output + 1, sizeof *im->out);
	im->out_list = tg_alloc_n(im->tmp, n->n_output + 1, sizeof *im->out_list);
	im->want = tg_alloc_n(im->tmp, n->n_output + 1, sizeof *im->want);
	for (size_t k = 0; k < n->n_output; k++)
		im->want[k] = *n->output[k];
	if (f->is_main) {
		im->loc = (struct tg_loc){ .file = im->src.path, .node = (int32_t)index };
		im->prov = tg_prov_node(im->m, index);
	} else {
		im->loc = f->caller.loc;
		im->prov = f->caller.prov;
	}
	im->loc.name = tg_strdup(im->d->arena, text(n->name));
	im->loc.op_type = tg_strdup(im->d->arena, text(n->op_type));
}

/* False: an operand comes from a node that was refused, so this one is left out too. */
static bool read_operands(struct tg_im *im)
{
	for (uint32_t k = 0; k < im->n_in; k++) {
		const char *name = im->node->input[k];
		struct tg_im_slot *s = *name ? tg_im_lookup(im->frame, name) : NULL;
		if (!s)
			continue;
		if (!tg_im_slot_value(im, s, &im->in[k]))
			return false;
		im->in_list[k] = s->list;
	}
	return true;
}

static void dispatch(struct tg_im *im)
{
	const char *domain = text(im->node->domain), *type = text(im->node->op_type);
	const Onnx__FunctionProto *fn = find_function(im);
	im->opset = opset_of(im->frame, domain);
	if (!*type) {
		tg_im_error(im, "the node has no op_type");
	} else if (im->opset < 0) {
		tg_im_error(im, "domain %s has no opset_import", tg_quoted(im->d->arena, domain));
	} else if (fn) {
		if (read_operands(im))
			enter_function(im, fn);
		else
			im->failed = true;
	} else {
		im->row = tg_im_find_row(!strcmp(domain, "ai.onnx") ? "" : domain, type, im->opset);
		if (!im->row)
			tg_im_refuse(im, "unknown operator %s of domain %s, opset %lld", tg_quoted(im->d->arena, type), *domain ? tg_quoted(im->d->arena, domain) : "ai.onnx",
				     (long long)im->opset);
		else if (!im->row->import)
			tg_im_refuse(im, "%s", im->row->reason);
		else if (read_operands(im))
			im->row->import(im);
		else
			im->failed = true;
	}
}

static void name_value(struct tg_im *im, tg_val v, const char *name)
{
	struct tg_value *value = tg_value_of(im->m, v);
	if (!value->name)
		value->name = tg_strdup(im->arena, name);
}

static void finish(struct tg_im *im)
{
	for (uint32_t k = 0; k < im->n_out; k++) {
		const char *name = im->node->output[k];
		if (!*name)
			continue;
		struct tg_im_slot *s = tg_im_lookup(im->frame, name);
		bool has = tg_has(im->out[k]) || im->out_list[k];
		s->state = !im->failed && has ? TG_IM_READY : TG_IM_POISON;
		s->v = im->out[k];
		s->list = im->out_list[k];
		if (s->state == TG_IM_READY && tg_has(s->v) && im->frame->is_main)
			name_value(im, s->v, name);
		if (!im->failed && !has)
			tg_im_refuse(im, "result %u (%s) is not supported", k, tg_quoted(im->d->arena, name));
	}
}

/* The top frame is done: its results go to the node that entered it. */
static void leave(struct tg_im *im)
{
	struct tg_im_driver *dr = tg_im_driver(im);
	struct tg_im_frame *f = dr->top;
	tg_val *results = tg_alloc_n(im->tmp, (size_t)f->n_outputs + 1, sizeof *results);
	restore(im, &f->caller);
	bool ok = true;
	for (uint32_t i = 0; i < f->n_outputs; i++) {
		struct tg_im_slot *s = tg_im_lookup(f, f->outputs[i]);
		ok &= tg_im_slot_value(im, s, &results[i]);
		if (ok && s->list && i < im->n_out)
			im->out_list[i] = s->list;
	}
	dr->top = f->parent;
	dr->depth--;
	im->failed = !ok;
	if (ok)
		f->done(im, f->state, results, f->n_outputs);
	if (dr->top == f->parent)
		finish(im);
}

void tg_im_run(struct tg_im *im, struct tg_im_frame *f)
{
	struct tg_im_driver *dr = tg_im_driver(im);
	dr->top = f;
	while (!im->stop) {
		struct tg_im_frame *top = dr->top;
		if (top->at == top->n_order) {
			if (top == f)
				return;
			leave(im);
			continue;
		}
		if (++dr->n_imported > TG_IM_MAX_NODES) {
			im->stop = true;
			tg_limit(im->d, im->loc, "functions and loops unfold to more than %u nodes", TG_IM_MAX_NODES);
			return;
		}
		begin(im, top, top->order[top->at++]);
		dispatch(im);
		if (dr->top == top)
			finish(im);
	}
}
