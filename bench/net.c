/* net.c: nodes, value infos and descriptions of weights, in the wire format of frontend/onnx.proto. */
#include "net.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

void net_init(struct net *n, struct tg_arena *a, const struct net_options *o)
{
	*n = (struct net){ .arena = a, .o = *o };
	tg_buf_init(&n->nodes, a);
	tg_buf_init(&n->outputs, a);
}

const char *net_named(struct net *n, const char *fmt, ...)
{
	struct tg_buf b;
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	tg_buf_init(&b, n->arena);
	tg_buf_puts(&b, text);
	return b.at;
}

static uint64_t elems(const struct tg_shape *s)
{
	int64_t count = 0;
	return tg_shape_count(s, &count) ? (uint64_t)count : 0;
}

static uint64_t bytes(const struct tg_shape *s, enum tg_dtype t)
{
	return (elems(s) * tg_dtypes[t].bits + 7) / 8;
}

void wire_value_info(struct tg_arena *a, struct tg_buf *b, const char *name, enum tg_dtype t, const struct tg_shape *s)
{
	struct tg_buf dims, tensor, type;
	tg_buf_init(&dims, a);
	tg_buf_init(&tensor, a);
	tg_buf_init(&type, a);
	for (uint32_t i = 0; i < s->rank; i++) {
		struct tg_buf dim;
		tg_buf_init(&dim, a);
		wire_int(&dim, 1, s->dim[i]);
		wire_bytes(&dims, 1, dim.at, dim.n);
	}
	wire_int(&tensor, 1, tg_dtypes[t].onnx);
	wire_bytes(&tensor, 2, dims.at, dims.n);
	wire_bytes(&type, 1, tensor.at, tensor.n);
	wire_bytes(b, 1, name, strlen(name));
	wire_bytes(b, 2, type.at, type.n);
}

const char *net_input(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s, struct fill f)
{
	*TG_PUSH(n->arena, &n->inputs) = (struct net_tensor){ name, t, s, f };
	n->io_bytes += bytes(&s, t);
	return name;
}

void net_output(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s)
{
	struct tg_buf info;
	tg_buf_init(&info, n->arena);
	wire_value_info(n->arena, &info, name, t, &s);
	wire_bytes(&n->outputs, 12, info.at, info.n);
	n->io_bytes += bytes(&s, t);
}

const char *net_const(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s, struct fill f)
{
	*TG_PUSH(n->arena, &n->weights) = (struct net_tensor){ name, t, s, f };
	return name;
}

const char *net_weight(struct net *n, const char *name, struct tg_shape s, struct fill f)
{
	n->weight_elems += elems(&s);
	return net_const(n, name, TG_f32, s, f);
}

const char *net_table(struct net *n, const char *name, struct tg_shape s, struct fill f, int64_t rows)
{
	n->weight_elems += elems(&s) / (uint64_t)s.dim[0] * (uint64_t)(rows < s.dim[0] ? rows : s.dim[0]);
	return net_const(n, name, TG_f32, s, f);
}

const char *net_ints(struct net *n, const char *name, uint32_t count, const int64_t *v)
{
	double *list = tg_alloc_n(n->arena, count + 1, sizeof *list);
	for (uint32_t i = 0; i < count; i++)
		list[i] = (double)v[i];
	return net_const(n, name, TG_i64, DIMS(count), (struct fill){ FILL_LIST, 0, 0, list });
}

const char *net_matrix(struct net *n, const char *name, struct tg_shape s, double std)
{
	n->weight_elems += elems(&s);
	net_const(n, name, n->o.weights, s, UNIFORM(std));
	return n->o.weights == TG_f32 ? name : net_op(n, NULL, "Cast", "to=1", name, NULL);
}

/* ---- nodes ---- */

enum { ATTR_FLOAT = 1, ATTR_INT = 2, ATTR_STRING = 3, ATTR_INTS = 7 };

static void attribute(struct net *n, struct tg_buf *node, const char *name, size_t n_name, const char *value, size_t n_value)
{
	struct tg_buf b;
	char text[128];
	tg_buf_init(&b, n->arena);
	assert(n_value < sizeof text);
	memcpy(text, value, n_value);
	text[n_value] = 0;
	wire_bytes(&b, 1, name, n_name);
	if (text[0] == ':') {
		wire_bytes(&b, 4, text + 1, n_value - 1);
		wire_int(&b, 20, ATTR_STRING);
	} else if (strchr(text, ',')) {
		for (char *at = text; *at; at += *at == ',')
			wire_int(&b, 8, strtoll(at, &at, 10));
		wire_int(&b, 20, ATTR_INTS);
	} else if (strpbrk(text, ".e")) {
		wire_float(&b, 2, strtof(text, NULL));
		wire_int(&b, 20, ATTR_FLOAT);
	} else {
		wire_int(&b, 3, strtoll(text, NULL, 10));
		wire_int(&b, 20, ATTR_INT);
	}
	wire_bytes(node, 5, b.at, b.n);
}

static void attributes(struct net *n, struct tg_buf *node, const char *at)
{
	while (*at) {
		size_t name = strcspn(at, "="), value = strcspn(at + name + 1, " ");
		attribute(n, node, at, name, at + name + 1, value);
		at += name + 1 + value;
		at += strspn(at, " ");
	}
}

static void add_node(struct net *n, struct tg_buf *node, const char *type, const char *attrs)
{
	const char *name = net_named(n, "/%s_%u", type, n->n_nodes++);
	wire_bytes(node, 3, name, strlen(name));
	wire_bytes(node, 4, type, strlen(type));
	attributes(n, node, attrs);
	wire_bytes(&n->nodes, 1, node->at, node->n);
}

const char *net_op(struct net *n, const char *out, const char *type, const char *attrs, ...)
{
	struct tg_buf node;
	va_list ap;
	const char *result = out ? out : net_named(n, "/%s_%u_output_0", type, n->n_nodes);
	tg_buf_init(&node, n->arena);
	va_start(ap, attrs);
	for (const char *in; (in = va_arg(ap, const char *)) != NULL;)
		wire_bytes(&node, 1, in, strlen(in));
	va_end(ap);
	wire_bytes(&node, 2, result, strlen(result));
	add_node(n, &node, type, attrs);
	return result;
}

void net_split(struct net *n, const char *x, int64_t axis, uint32_t parts, int64_t each, const char **out)
{
	struct tg_buf node;
	int64_t sizes[8];
	assert(parts <= TG_ARRAY_LEN(sizes));
	for (uint32_t i = 0; i < parts; i++)
		sizes[i] = each;
	const char *split = net_ints(n, net_named(n, "/Split_%u_sizes", n->n_nodes), parts, sizes);
	tg_buf_init(&node, n->arena);
	wire_bytes(&node, 1, x, strlen(x));
	wire_bytes(&node, 1, split, strlen(split));
	for (uint32_t i = 0; i < parts; i++) {
		out[i] = net_named(n, "/Split_%u_output_%u", n->n_nodes, i);
		wire_bytes(&node, 2, out[i], strlen(out[i]));
	}
	add_node(n, &node, "Split", net_named(n, "axis=%lld", (long long)axis));
}
