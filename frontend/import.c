/* import.c: a model file to a module of graph ops.
 *
 * The model is imported once with the input values that are known to enter. When a node turns out to need the value of a further graph input (a
 * Reshape's shape, say) and the options offer it, the import starts over with that input as a constant: an input enters everywhere or nowhere. */
#include "frames.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	struct tg_im im;
	struct tg_im_driver dr;
	const Onnx__GraphProto *g;
	struct tg_names symbols; /* dimension name -> index in sizes */
	TG_VEC(int64_t) sizes;
	TG_VEC(const char *) missing; /* --dim flags */
	TG_VEC(uint32_t) port_input;  /* graph input of each module input */
	struct tg_file map;
};

static const char *text(const char *s)
{
	return s ? s : "";
}

/* ---- the model as a whole ---- */

static bool check_model(struct tg_diag *d, struct tg_loc loc, const Onnx__ModelProto *p)
{
	if (!p->graph)
		return tg_error(d, loc, "the file holds no graph: it is not an ONNX model, or it is cut short");
	for (size_t i = 0; i < p->n_opset_import; i++) {
		const char *domain = text(p->opset_import[i]->domain);
		int64_t v = p->opset_import[i]->version;
		if (v < 1 || v > 1000000)
			return tg_error(d, loc, "domain %s has opset version %lld", tg_quoted(d->arena, domain), (long long)v);
		if (!*domain && v > 27)
			return tg_unsupported(d, loc, "the model uses opset %lld, the newest supported is 27", (long long)v);
	}
	return true;
}

static bool list_functions(struct entry *e)
{
	struct tg_im *im = &e->im;
	const Onnx__ModelProto *p = e->dr.model;
	tg_names_init(&e->dr.functions, im->tmp, e->dr.seed);
	for (size_t i = 0; i < p->n_functions; i++) {
		const Onnx__FunctionProto *f = p->functions[i];
		const char *key = tg_asprintf(im->tmp, "%s\1%s\1%s", text(f->domain), text(f->name), text(f->overload));
		bool is_new;
		tg_names_add(&e->dr.functions, key, (uint32_t)i, &is_new);
		if (!is_new)
			return tg_error(im->d, im->loc, "function %s is defined twice", tg_quoted(im->d->arena, text(f->name)));
	}
	return true;
}

static void list_nodes(struct entry *e)
{
	struct tg_module *m = e->im.m;
	for (size_t i = 0; i < e->g->n_node; i++) {
		const Onnx__NodeProto *n = e->g->node[i];
		*TG_PUSH(m->arena, &m->nodes) = (struct tg_node_ref){ (uint32_t)i, tg_strdup(m->arena, text(n->name)), tg_strdup(m->arena, text(n->op_type)) };
	}
	/* What no node made (an initializer that is an output) comes from the graph itself. */
	*TG_PUSH(m->arena, &m->nodes) = (struct tg_node_ref){ (uint32_t)e->g->n_node, tg_strdup(m->arena, text(e->g->name)), "Graph" };
}

/* ---- inputs ---- */

static const struct tg_tensor *given(const struct tg_input_value *list, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(list[i].name, name))
			return &list[i].tensor;
	return NULL;
}

/* "x:2" names dimension 2 of input x. */
static bool names_dim(const char *flag, const char *input, size_t axis)
{
	size_t n = strlen(input);
	if (strncmp(flag, input, n) || flag[n] != ':' || !flag[n + 1])
		return false;
	char *end;
	unsigned long v = strtoul(flag + n + 1, &end, 10);
	return !*end && v == axis;
}

static bool find_dim(const struct entry *e, const char *symbol, const char *input, size_t axis, int64_t *size)
{
	const struct tg_import_options *o = e->dr.o;
	for (uint32_t i = 0; i < o->n_dims; i++)
		if (names_dim(o->dims[i].name, input, axis) || (*symbol && !strcmp(o->dims[i].name, symbol))) {
			*size = o->dims[i].value;
			return true;
		}
	uint32_t *at = *symbol ? tg_names_find(&e->symbols, symbol) : NULL;
	if (at) {
		*size = e->sizes.at[*at];
		return true;
	}
	for (uint32_t i = 0; i < o->n_dims; i++)
		if (!strcmp(o->dims[i].name, "*")) {
			*size = o->dims[i].value;
			return true;
		}
	return false;
}

static void bind_symbol(struct entry *e, const char *symbol, int64_t size)
{
	bool is_new;
	tg_names_add(&e->symbols, symbol, (uint32_t)e->sizes.n, &is_new);
	if (is_new)
		*TG_PUSH(e->im.tmp, &e->sizes) = size;
}

static const Onnx__TypeProto__Tensor *tensor_type(const Onnx__ValueInfoProto *v)
{
	return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type : NULL;
}

static bool is_initializer(const struct entry *e, const struct tg_names *names, size_t input)
{
	return tg_names_find(names, text(e->g->input[input]->name));
}

/* The shape that the options give, checked against the declared one; symbols take their size from it. */
static bool shape_from_given(struct entry *e, const Onnx__ValueInfoProto *v, const Onnx__TensorShapeProto *s, const struct tg_shape *have)
{
	struct tg_diag *d = e->im.d;
	if (!s)
		return true;
	const char *name = tg_quoted(d->arena, text(v->name));
	if (s->n_dim != have->rank)
		return tg_usage(d, e->im.loc, "input %s was given rank %u, the model declares rank %zu", name, have->rank, s->n_dim);
	for (uint32_t i = 0; i < have->rank; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = s->dim[i];
		if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *text(dim->dim_param))
			bind_symbol(e, dim->dim_param, have->dim[i]);
		if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && dim->dim_value > 0 && dim->dim_value != have->dim[i])
			return tg_usage(d, e->im.loc, "input %s was given dimension %u = %lld, the model declares %lld", name, i, (long long)have->dim[i],
					(long long)dim->dim_value);
	}
	return true;
}

static bool shape_from_model(struct entry *e, const Onnx__ValueInfoProto *v, const Onnx__TensorShapeProto *s, struct tg_shape *out)
{
	struct tg_diag *d = e->im.d;
	const char *name = text(v->name);
	if (!s) {
		for (out->rank = 0; out->rank < TG_MAX_RANK && find_dim(e, "", name, out->rank, &out->dim[out->rank]); out->rank++)
			;
		if (!out->rank)
			*TG_PUSH(e->im.tmp, &e->missing) = tg_asprintf(d->arena, "--dim %s:0=N ... (its rank is not declared)", tg_quoted(d->arena, name));
		return true;
	}
	if (s->n_dim > TG_MAX_RANK)
		return tg_unsupported(d, e->im.loc, "input %s has rank %zu, at most %d is supported", tg_quoted(d->arena, name), s->n_dim, TG_MAX_RANK);
	out->rank = (uint32_t)s->n_dim;
	for (uint32_t i = 0; i < out->rank; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = s->dim[i];
		bool fixed = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && dim->dim_value >= 0;
		bool named = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
		const char *symbol = named ? text(dim->dim_param) : "";
		if (fixed)
			out->dim[i] = dim->dim_value;
		else if (!find_dim(e, symbol, name, i, &out->dim[i]))
			*TG_PUSH(e->im.tmp, &e->missing) = *symbol ? tg_asprintf(d->arena, "--dim %s=N", tg_quoted(d->arena, symbol))
								   : tg_asprintf(d->arena, "--dim %s:%u=N", tg_quoted(d->arena, name), i);
	}
	return true;
}

static bool input_type(struct entry *e, const Onnx__ValueInfoProto *v, const Onnx__TypeProto__Tensor *t, enum tg_dtype *type)
{
	struct tg_diag *d = e->im.d;
	const char *name = tg_quoted(d->arena, text(v->name));
	if (!v->type || v->type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET)
		return tg_error(d, e->im.loc, "input %s has no type", name);
	if (!t)
		return tg_unsupported(d, e->im.loc, "input %s is a sequence, map, optional or sparse tensor; only tensors are supported", name);
	*type = tg_dtype_from_onnx(t->elem_type);
	if (*type == TG_none)
		return tg_error(d, e->im.loc, "input %s has element type %d, which ONNX does not define", name, (int)t->elem_type);
	if (*type == TG_str || tg_dtypes[*type].kind == TG_KIND_COMPLEX)
		return tg_unsupported(d, e->im.loc, "input %s has element type %s, which the chip does not have", name, tg_dtypes[*type].name);
	return true;
}

static bool add_input(struct entry *e, struct tg_im_frame *f, uint32_t index)
{
	struct tg_im *im = &e->im;
	const Onnx__ValueInfoProto *v = e->g->input[index];
	const Onnx__TypeProto__Tensor *t = tensor_type(v);
	const struct tg_import_options *o = e->dr.o;
	const struct tg_tensor *have = given(o->shapes, o->n_shapes, text(v->name));
	enum tg_dtype type = TG_none;
	struct tg_shape shape = { 0 };
	size_t bytes;
	if (!input_type(e, v, t, &type))
		return false;
	if (have && have->dtype != type)
		return tg_usage(im->d, im->loc, "input %s was given as %s, the model declares %s", tg_quoted(im->d->arena, text(v->name)),
				tg_dtypes[have->dtype].name, tg_dtypes[type].name);
	if (have)
		shape = have->shape;
	else if (!shape_from_model(e, v, t->shape, &shape))
		return false;
	if (!e->missing.n && !tg_shape_bytes(&shape, type, &bytes))
		return tg_error(im->d, im->loc, "the dimensions of input %s are negative or too large", tg_quoted(im->d->arena, text(v->name)));
	const char *name = tg_strdup(im->arena, text(v->name));
	tg_val value = tg_value_new(im->m, TG_TENSOR, type, &shape, name);
	*TG_PUSH(im->arena, &im->m->inputs) = (struct tg_port){ name, value };
	struct tg_im_slot slot = { .name = name, .state = TG_IM_READY, .is_input = true, .producer = -1, .v = value };
	const struct tg_tensor *entered = e->dr.bound[index] ? given(o->values, o->n_values, name) : NULL;
	if (entered) {
		if (!tg_shape_equal(&entered->shape, &shape) || entered->dtype != type)
			return tg_usage(im->d, im->loc, "the value bound to input %s has another type or shape than the input",
					tg_quoted(im->d->arena, name));
		slot.v = tg_im_put_const(im, tg_const_dense(im->arena, type, &shape, entered->data, false));
	}
	return tg_im_define(im, f, slot);
}

static bool add_inputs(struct entry *e, struct tg_im_frame *f)
{
	struct tg_im *im = &e->im;
	struct tg_names tensors;
	bool is_new;
	tg_names_init(&tensors, im->tmp, e->dr.seed);
	for (size_t i = 0; i < e->g->n_initializer; i++)
		tg_names_add(&tensors, text(e->g->initializer[i]->name), 0, &is_new);
	for (size_t i = 0; i < e->g->n_sparse_initializer; i++)
		tg_names_add(&tensors, e->g->sparse_initializer[i]->values ? text(e->g->sparse_initializer[i]->values->name) : "", 0, &is_new);
	for (uint32_t i = 0; i < e->g->n_input; i++) {
		const Onnx__ValueInfoProto *v = e->g->input[i];
		const Onnx__TypeProto__Tensor *t = tensor_type(v);
		const struct tg_tensor *have = given(e->dr.o->shapes, e->dr.o->n_shapes, text(v->name));
		if (have && t && !is_initializer(e, &tensors, i) && !shape_from_given(e, v, t->shape, &have->shape))
			return false;
	}
	for (uint32_t i = 0; i < e->g->n_input; i++) {
		if (is_initializer(e, &tensors, i))
			continue;
		*TG_PUSH(im->tmp, &e->port_input) = i;
		if (!add_input(e, f, i))
			return false;
	}
	e->dr.port_input = e->port_input.at;
	for (size_t i = 0; i < e->missing.n; i++)
		tg_usage(im->d, im->loc, "a dimension is not known: %s", e->missing.at[i]);
	if (e->missing.n)
		tg_help(im->d, "--dim '*=N' gives every unknown dimension a size");
	return !e->missing.n;
}

/* ---- outputs ---- */

/* Declared types are binding, declared shapes are hints: exporters get them wrong. */
static bool check_output(struct entry *e, const Onnx__ValueInfoProto *v, tg_val value)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(v);
	const struct tg_value *have = tg_value_get(e->im.m, value);
	struct tg_diag *d = e->im.d;
	const char *name = tg_quoted(d->arena, text(v->name));
	if (!t)
		return true;
	enum tg_dtype type = tg_dtype_from_onnx(t->elem_type);
	if (type != TG_none && type != have->dtype)
		return tg_error(d, e->im.loc, "output %s is declared as %s, its node gives %s", name, tg_dtypes[type].name, tg_dtypes[have->dtype].name);
	if (!t->shape)
		return true;
	bool differs = t->shape->n_dim != have->shape.rank;
	for (uint32_t i = 0; !differs && i < have->shape.rank; i++)
		differs = t->shape->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && t->shape->dim[i]->dim_value > 0 &&
			  t->shape->dim[i]->dim_value != have->shape.dim[i];
	if (differs) {
		struct tg_buf b;
		tg_buf_init(&b, e->im.tmp);
		tg_shape_print(&b, &have->shape);
		tg_warning(d, e->im.loc, "output %s is declared with another shape than its node gives (%s); the node is right", name, b.at);
	}
	return true;
}

static bool add_outputs(struct entry *e, struct tg_im_frame *f)
{
	struct tg_im *im = &e->im;
	bool ok = true;
	im->loc = tg_at_file(im->src.path);
	im->prov = tg_prov_node(im->m, (uint32_t)e->g->n_node);
	im->failed = false;
	if (!e->g->n_output)
		return tg_error(im->d, im->loc, "the graph has no outputs");
	for (size_t i = 0; i < e->g->n_output && !im->stop; i++) {
		const Onnx__ValueInfoProto *v = e->g->output[i];
		struct tg_im_slot *s = tg_im_lookup(f, text(v->name));
		tg_val value;
		if (!s || !tg_im_slot_value(im, s, &value)) {
			ok = false;
			continue;
		}
		if (!tg_has(value))
			ok = tg_unsupported(im->d, im->loc, "output %s is a sequence or optional; only tensors are supported", tg_quoted(im->d->arena, text(v->name)));
		else if (!check_output(e, v, value))
			return false;
		else
			*TG_PUSH(im->arena, &im->m->outputs) = (struct tg_port){ tg_strdup(im->arena, text(v->name)), value };
	}
	return ok;
}

/* ---- dead ops ---- */

static void drop_dead(struct tg_module *m)
{
	tg_count_uses(m);
	for (struct tg_op *op = m->body.last, *prev; op; op = prev) {
		prev = op->prev;
		bool used = false;
		for (uint32_t i = 0; i < op->n_out; i++)
			used |= tg_value_of(m, op->out[i])->n_uses != 0;
		if (used)
			continue;
		for (uint32_t i = 0; i < op->n_in; i++)
			if (tg_has(op->in[i]))
				tg_value_of(m, op->in[i])->n_uses--;
		tg_op_remove(op);
	}
}

/* ---- one attempt, and all of them ---- */

static bool import_once(struct entry *e)
{
	struct tg_im *im = &e->im;
	im->loc = tg_at_file(im->src.path);
	list_nodes(e);
	im->prov = tg_prov_node(im->m, (uint32_t)e->g->n_node);
	struct tg_im_frame *f = tg_im_frame_new(im);
	f->is_main = true;
	f->nodes = e->g->node;
	f->n_nodes = (uint32_t)e->g->n_node;
	f->opsets = e->dr.model->opset_import;
	f->n_opsets = e->dr.model->n_opset_import;
	f->n_outputs = (uint32_t)e->g->n_output;
	f->outputs = tg_alloc_n(im->tmp, e->g->n_output + 1, sizeof *f->outputs);
	for (uint32_t i = 0; i < f->n_outputs; i++)
		f->outputs[i] = text(e->g->output[i]->name);
	if (!list_functions(e) || !add_inputs(e, f) || !tg_im_define_tensors(im, f, e->g) || !tg_im_frame_order(im, f))
		return false;
	tg_im_run(im, f);
	return !im->stop && add_outputs(e, f) && im->d->status == TG_OK;
}

static uint64_t seed_of(const uint8_t sha[32])
{
	uint64_t seed;
	memcpy(&seed, sha, sizeof seed);
	return seed;
}

static const char *folder_of(struct tg_arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return ".";
	return slash == path ? "/" : tg_strndup(a, path, (size_t)(slash - path));
}

static void begin_module(struct entry *e, struct tg_arena *a, const char *path, const uint8_t sha[32])
{
	struct tg_im *im = &e->im;
	struct tg_module *m = tg_module_new(a, tg_strdup(a, path));
	const char *slash = strrchr(path, '/');
	struct tg_module_file *f = TG_PUSH(a, &m->files);
	*f = (struct tg_module_file){ .path = tg_strdup(a, slash ? slash + 1 : path), .map = e->map };
	memcpy(f->sha256, sha, 32);
	im->m = m;
	im->arena = a;
	im->src = (struct tg_pb_source){ .path = m->source, .folder = folder_of(a, path), .bytes = e->map.at, .file = 0, .module = m };
	im->fold_left = (uint64_t)1 << 26;
	e->dr.seed = seed_of(sha);
	im->driver = &e->dr;
}

/* Messages and files of an attempt that will be made again. */
static void forget(struct entry *e, const struct tg_diag *before)
{
	e->im.d->list.n = before->list.n;
	e->im.d->status = before->status;
	e->im.d->n_errors = before->n_errors;
	for (size_t i = 1; i < e->im.m->files.n; i++)
		tg_file_unmap(&e->im.m->files.at[i].map);
}

static bool attempts(struct tg_diag *d, struct tg_arena *a, struct tg_arena *tmp, const struct tg_file *map, const Onnx__ModelProto *p, const char *path,
		     const struct tg_import_options *o, struct entry **last, bool **bound)
{
	struct tg_arena *fold = tg_arena_new(tg_arena_heap(a));
	uint8_t sha[32];
	struct tg_sha256 h;
	tg_sha256_init(&h);
	tg_sha256_add(&h, map->at, map->n);
	tg_sha256_end(&h, sha);
	*bound = tg_alloc_n(tmp, p->graph->n_input + 1, sizeof **bound);
	struct tg_diag before = *d;
	for (;;) {
		struct entry *e = *last = tg_alloc(tmp, sizeof *e);
		e->g = p->graph;
		e->map = *map;
		e->im.d = d;
		e->im.tmp = tmp;
		e->im.fold = fold;
		e->dr.model = p;
		e->dr.o = o;
		e->dr.bound = *bound;
		begin_module(e, a, path, sha);
		tg_names_init(&e->symbols, tmp, e->dr.seed);
		bool ok = import_once(e);
		if (e->im.stop || !e->im.to_bind.n) {
			tg_arena_free(fold);
			return ok;
		}
		bool progress = false;
		for (size_t i = 0; i < e->im.to_bind.n; i++) {
			progress |= !(*bound)[e->im.to_bind.at[i]];
			(*bound)[e->im.to_bind.at[i]] = true;
		}
		if (!progress) { /* binding again would ask for the same again */
			tg_arena_free(fold);
			return ok;
		}
		forget(e, &before);
	}
}

bool tg_import_onnx(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_import_options *o, struct tg_import_result *out)
{
	static const struct tg_import_options none;
	struct tg_file map;
	*out = (struct tg_import_result){ 0 };
	if (!tg_file_map(d, a, path, TG_PB_MAX_FILE, &map))
		return false;
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	const Onnx__ModelProto *p = (const Onnx__ModelProto *)tg_pb_unpack(d, tmp, path, map.at, map.n, &onnx__model_proto__descriptor);
	struct entry *e = NULL;
	bool *bound;
	bool ok = p && check_model(d, tg_at_file(path), p) && attempts(d, a, tmp, &map, p, path, o ? o : &none, &e, &bound);
	if (ok) {
		drop_dead(e->im.m);
		out->module = e->im.m;
		for (size_t i = 0; i < p->graph->n_input; i++)
			if (bound[i])
				*TG_PUSH(a, &out->bound_inputs) = tg_strdup(a, text(p->graph->input[i]->name));
	} else if (e) {
		for (size_t i = 0; i < e->im.m->files.n; i++)
			tg_file_unmap(&e->im.m->files.at[i].map);
	} else {
		tg_file_unmap(&map);
	}
	tg_arena_free(tmp);
	return ok;
}

bool tg_onnx_inputs(struct tg_diag *d, struct tg_arena *a, const char *path, const char *const **names, uint32_t *n)
{
	struct tg_file map;
	if (!tg_file_map(d, a, path, TG_PB_MAX_FILE, &map))
		return false;
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	const Onnx__ModelProto *p = (const Onnx__ModelProto *)tg_pb_unpack(d, tmp, path, map.at, map.n, &onnx__model_proto__descriptor);
	bool ok = p && check_model(d, tg_at_file(path), p), is_new;
	const char **list = tg_alloc_n(a, ok ? p->graph->n_input + 1 : 1, sizeof *list);
	struct tg_names tensors;
	tg_names_init(&tensors, tmp, map.n);
	*n = 0;
	for (size_t i = 0; ok && i < p->graph->n_initializer; i++)
		tg_names_add(&tensors, text(p->graph->initializer[i]->name), 0, &is_new);
	for (size_t i = 0; ok && i < p->graph->n_input; i++)
		if (!tg_names_find(&tensors, text(p->graph->input[i]->name)))
			list[(*n)++] = tg_strdup(a, text(p->graph->input[i]->name));
	*names = list;
	tg_arena_free(tmp);
	tg_file_unmap(&map);
	return ok;
}
