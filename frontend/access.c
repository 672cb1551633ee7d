/* access.c: a node's attributes and operands as the importers see them. */
#include "frames.h"

#include <stdarg.h>
#include <string.h>

static const char *text(const char *s)
{
	return s ? s : "";
}

static const char *formatted(struct tg_im *im, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *s = tg_alloc(im->tmp, (size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}

void tg_im_error(struct tg_im *im, const char *fmt, ...)
{
	va_list ap;
	if (im->failed)
		return;
	im->failed = im->stop = true;
	va_start(ap, fmt);
	tg_error(im->d, im->loc, "%s", formatted(im, fmt, ap));
	va_end(ap);
}

void tg_im_refuse(struct tg_im *im, const char *fmt, ...)
{
	va_list ap;
	if (im->failed)
		return;
	im->failed = true;
	va_start(ap, fmt);
	tg_unsupported(im->d, im->loc, "%s", formatted(im, fmt, ap));
	va_end(ap);
}

/* ---- attributes ---- */

const Onnx__AttributeProto *tg_im_attr(struct tg_im *im, const char *name)
{
	for (size_t i = 0; i < im->node->n_attribute; i++) {
		const Onnx__AttributeProto *a = im->node->attribute[i];
		if (strcmp(text(a->name), name))
			continue;
		const struct tg_im_frame *fn = im->frame->fn;
		if (!*text(a->ref_attr_name))
			return a;
		for (size_t k = 0; fn && k < fn->attrs.n; k++)
			if (!strcmp(fn->attrs.at[k].name, a->ref_attr_name))
				return fn->attrs.at[k].attr;
		return NULL;
	}
	return NULL;
}

bool tg_im_has(struct tg_im *im, const char *name)
{
	return tg_im_attr(im, name) != NULL;
}

static const Onnx__AttributeProto *typed(struct tg_im *im, const char *name, int32_t type)
{
	const Onnx__AttributeProto *a = tg_im_attr(im, name);
	if (a && a->has_type && a->type != type) {
		tg_im_error(im, "attribute %s has type %d, expected %d", name, (int)a->type, (int)type);
		return NULL;
	}
	return a;
}

int64_t tg_im_int(struct tg_im *im, const char *name, int64_t dflt)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
	return a ? a->i : dflt;
}

double tg_im_float(struct tg_im *im, const char *name, double dflt)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
	return a ? (double)a->f : dflt;
}

const char *tg_im_str(struct tg_im *im, const char *name, const char *dflt)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
	return a ? tg_strndup(im->tmp, (const char *)a->s.data, a->s.len) : dflt;
}

bool tg_im_attr_ints(struct tg_im *im, const char *name, struct tg_ints *out)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
	*out = (struct tg_ints){ NULL, 0 };
	if (!a)
		return false;
	*out = (struct tg_ints){ a->ints, (uint32_t)a->n_ints };
	return true;
}

bool tg_im_attr_floats(struct tg_im *im, const char *name, const double **at, uint32_t *n)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
	*n = 0;
	if (!a)
		return false;
	double *v = tg_alloc_n(im->tmp, a->n_floats + 1, sizeof *v);
	for (size_t i = 0; i < a->n_floats; i++)
		v[i] = (double)a->floats[i];
	*at = v;
	*n = (uint32_t)a->n_floats;
	return true;
}

struct tg_const *tg_im_attr_tensor(struct tg_im *im, const char *name)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
	struct tg_const *c = NULL;
	if (!a || im->failed)
		return NULL;
	if (!a->t) {
		tg_im_error(im, "attribute %s holds no tensor", name);
		return NULL;
	}
	uint32_t before = im->d->n_errors;
	if (tg_pb_tensor(im->d, im->arena, im->loc, &im->src, a->t, &c))
		return c;
	im->failed = true;
	im->stop |= im->d->n_errors != before && im->d->status != TG_ERR_UNSUPPORTED;
	return NULL;
}

const Onnx__GraphProto *tg_im_graph(struct tg_im *im, const char *name)
{
	const Onnx__AttributeProto *a = typed(im, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH);
	if (!a || !a->g)
		tg_im_error(im, "the node has no subgraph %s", name);
	return im->failed ? NULL : a->g;
}

/* ---- operands ---- */

bool tg_im_in(const struct tg_im *im, uint32_t k)
{
	return k < im->n_in && tg_has(im->in[k]);
}

enum tg_dtype tg_im_type(const struct tg_im *im, tg_val v)
{
	return tg_has(v) ? tg_value_get(im->m, v)->dtype : TG_f32;
}

const struct tg_shape *tg_im_shape(const struct tg_im *im, tg_val v)
{
	static const struct tg_shape scalar;
	return tg_has(v) ? &tg_value_get(im->m, v)->shape : &scalar;
}

uint32_t tg_im_rank(const struct tg_im *im, tg_val v)
{
	return tg_im_shape(im, v)->rank;
}

int64_t tg_im_count(const struct tg_im *im, tg_val v)
{
	int64_t n = 0;
	return tg_shape_count(tg_im_shape(im, v), &n) ? n : 0;
}

const struct tg_const *tg_im_peek(const struct tg_im *im, tg_val v)
{
	return tg_has(v) ? tg_const_of(im->m, v) : NULL;
}

enum { MAX_BOUND_FLOATS = 64 };

/* The module inputs that a value is computed from. */
struct trace {
	TG_VEC(tg_val) todo;
	TG_VEC(uint32_t) inputs; /* module inputs */
	uint8_t *seen;
};

static void trace_input(struct tg_im *im, struct trace *t, tg_val v)
{
	for (uint32_t i = 0; i < im->m->inputs.n; i++)
		if (im->m->inputs.at[i].value.id == v.id)
			*TG_PUSH(im->tmp, &t->inputs) = i;
}

static void trace(struct tg_im *im, struct trace *t, tg_val v)
{
	t->seen = tg_alloc(im->tmp, im->m->values.n + 1);
	*TG_PUSH(im->tmp, &t->todo) = v;
	while (t->todo.n) {
		tg_val at = t->todo.at[--t->todo.n];
		if (!tg_has(at) || t->seen[at.id])
			continue;
		t->seen[at.id] = 1;
		const struct tg_op *op = tg_value_get(im->m, at)->def;
		if (!op)
			trace_input(im, t, at);
		for (uint32_t i = 0; op && i < op->n_in; i++)
			*TG_PUSH(im->tmp, &t->todo) = op->in[i];
	}
}

static bool is_offered(const struct tg_im *im, const char *name)
{
	const struct tg_import_options *o = tg_im_driver(im)->o;
	for (uint32_t i = 0; i < o->n_values; i++)
		if (!strcmp(o->values[i].name, name) && o->values[i].tensor.data)
			return true;
	return false;
}

/* Asks for another attempt with the inputs bound that decide `v`. */
static void ask_binding(struct tg_im *im, tg_val v, const char *what, bool floats)
{
	struct trace t = { 0 };
	trace(im, &t, v);
	if (!t.inputs.n) {
		tg_im_refuse(im, "the %s takes more arithmetic than shapes may (%d elements a step)", what, TG_IM_FOLD_ELEMENTS);
		return;
	}
	for (size_t i = 0; i < t.inputs.n; i++) {
		const struct tg_port *p = &im->m->inputs.at[t.inputs.at[i]];
		const char *name = tg_quoted(im->tmp, p->name);
		/* a scale or a bound may be a small float operand, a data tensor may not decide a shape */
		if (tg_is_float(tg_im_type(im, p->value)) && (!floats || tg_im_count(im, p->value) > MAX_BOUND_FLOATS)) {
			tg_im_refuse(im, "the %s depends on the value of input %s, which is not an integer: shapes must be known at compile time", what, name);
			return;
		}
		if (!is_offered(im, p->name)) {
			tg_im_refuse(im, "the value of input %s decides the %s: bind it with --bind", name, what);
			return;
		}
	}
	im->failed = true;
	for (size_t i = 0; i < t.inputs.n; i++)
		*TG_PUSH(im->tmp, &im->to_bind) = tg_im_driver(im)->port_input[t.inputs.at[i]];
}

const struct tg_const *tg_im_const(struct tg_im *im, tg_val v, const char *what, bool floats)
{
	const struct tg_const *c = tg_im_peek(im, v);
	if (!c && !im->failed)
		ask_binding(im, v, what, floats);
	return im->failed ? NULL : c;
}

const struct tg_const *tg_im_try_const(struct tg_im *im, tg_val v)
{
	const struct tg_const *c = tg_im_peek(im, v);
	struct trace t = { 0 };
	if (c || im->failed || !tg_has(v))
		return c;
	trace(im, &t, v);
	for (size_t i = 0; i < t.inputs.n; i++) {
		const struct tg_port *p = &im->m->inputs.at[t.inputs.at[i]];
		if (tg_is_float(tg_im_type(im, p->value)) || !is_offered(im, p->name))
			return NULL;
	}
	if (t.inputs.n)
		ask_binding(im, v, "condition", false);
	return NULL;
}

bool tg_im_ints(struct tg_im *im, tg_val v, const char *what, struct tg_ints *out)
{
	*out = (struct tg_ints){ NULL, 0 };
	if (!tg_has(v) || im->failed)
		return false;
	const struct tg_const *c = tg_im_const(im, v, what, false);
	if (!c)
		return false;
	int64_t n = tg_im_count(im, v);
	if (tg_is_float(c->dtype)) {
		tg_im_error(im, "the %s has type %s, expected integers", what, tg_dtypes[c->dtype].name);
		return false;
	}
	if (n > TG_IM_FOLD_ELEMENTS) {
		tg_im_error(im, "the %s has %lld elements", what, (long long)n);
		return false;
	}
	int64_t *at = tg_alloc_n(im->arena, (size_t)n + 1, sizeof *at);
	for (int64_t i = 0; i < n; i++)
		at[i] = tg_const_i64(c, i);
	*out = (struct tg_ints){ at, (uint32_t)n };
	return true;
}

bool tg_im_ints_of(struct tg_im *im, uint32_t k, const char *name, struct tg_ints *out)
{
	if (tg_im_in(im, k))
		return tg_im_ints(im, im->in[k], name, out);
	return tg_im_attr_ints(im, name, out);
}

uint32_t tg_im_axis(struct tg_im *im, int64_t axis, uint32_t rank)
{
	if (axis < -(int64_t)rank || axis >= (int64_t)rank) {
		tg_im_error(im, "axis %lld is outside rank %u", (long long)axis, rank);
		return 0;
	}
	return (uint32_t)(axis < 0 ? axis + rank : axis);
}

uint32_t tg_im_axes(struct tg_im *im, struct tg_ints axes, uint32_t rank)
{
	uint32_t mask = 0;
	for (uint32_t i = 0; i < axes.n && !im->failed; i++) {
		uint32_t bit = 1u << tg_im_axis(im, axes.at[i], rank);
		if (!im->failed && (mask & bit))
			tg_im_error(im, "axis %lld is named twice", (long long)axes.at[i]);
		mask |= bit;
	}
	return mask;
}
