/* net_write.c: the model to disk in one pass: sizes first, then bytes; whole or not at all. */
#include "net.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

#define IR_VERSION 8
#define OPSET 17
#define CHUNK 65536
#define MAX_MODEL_BYTES (((uint64_t)1 << 31) - 1) /* of a protobuf message */

/* ---- elements ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* FNV-1a over the name, so that each tensor has its own stream. */
static uint64_t stream_of(const struct net *n, const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ mix(n->o.seed + 1);
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return mix(h);
}

/* Element i of a stream in [0, 1): splitmix64 with i as its state. */
static double uniform(uint64_t stream, int64_t i)
{
	return (double)(mix(stream + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

static double element(const struct net_tensor *t, uint64_t stream, int64_t i)
{
	const struct fill *f = &t->fill;
	switch (f->kind) {
	case FILL_UNIFORM: return f->b + f->a * (2 * uniform(stream, i) - 1);
	case FILL_VALUE: return f->a;
	case FILL_RANGE: return f->a + (double)i;
	case FILL_BELOW: return floor(f->a * uniform(stream, i));
	case FILL_POWER: return pow(f->a, -(double)i * f->b);
	case FILL_LIST: return f->list[i];
	case FILL_CAUSAL: break;
	}
	int64_t cols = t->shape.dim[t->shape.rank - 1], rows = t->shape.dim[t->shape.rank - 2];
	return i % cols <= i / cols % rows + (cols - rows) ? f->a : f->b;
}

void net_fill(const struct net *n, const struct net_tensor *t, int64_t first, int64_t count, void *out)
{
	uint64_t stream = stream_of(n, t->name);
	float *f32 = t->dtype == TG_f32 ? out : NULL;
	for (int64_t i = 0; i < count; i++) {
		double v = element(t, stream, first + i);
		if (f32)
			f32[i] = (float)v;
		else if (tg_is_float(t->dtype))
			tg_put_f64(t->dtype, out, (size_t)i, v);
		else
			tg_put_i64(t->dtype, out, (size_t)i, (int64_t)v);
	}
}

/* ---- files ---- */

struct sink { FILE *file; const char *path, *temporary; };

static bool open_sink(struct tg_diag *d, struct tg_arena *a, const char *path, struct sink *s)
{
	*s = (struct sink){ .path = path, .temporary = tg_asprintf(a, "%s.%ld.tmp", path, (long)getpid()) };
	s->file = fopen(s->temporary, "wbe");
	return s->file || tg_io_error(d, tg_at_file(path), "cannot be written: %s", strerror(errno));
}

static bool close_sink(struct tg_diag *d, struct sink *s)
{
	bool ok = !ferror(s->file) && fflush(s->file) == 0 && fsync(fileno(s->file)) == 0;
	int error = errno;
	ok &= fclose(s->file) == 0;
	if (ok && rename(s->temporary, s->path) == 0)
		return true;
	error = ok ? errno : error;
	unlink(s->temporary);
	return tg_io_error(d, tg_at_file(s->path), "cannot be written: %s", strerror(error));
}

/* A TensorProto up to its data, whose length is *data. */
static void tensor_head(struct tg_buf *b, const struct net_tensor *t, uint64_t *data)
{
	int64_t count = 0;
	for (uint32_t i = 0; i < t->shape.rank; i++)
		wire_int(b, 1, t->shape.dim[i]);
	wire_int(b, 2, tg_dtypes[t->dtype].onnx);
	wire_bytes(b, 8, t->name, strlen(t->name));
	tg_shape_count(&t->shape, &count);
	*data = (uint64_t)count * tg_dtypes[t->dtype].bits / 8;
	wire_length(b, 9, *data);
}

static void write_data(FILE *f, const struct net *n, const struct net_tensor *t)
{
	static const size_t widest = 8;
	int64_t count = 0;
	uint8_t *chunk = tg_alloc_n(n->arena, CHUNK, widest);
	tg_shape_count(&t->shape, &count);
	for (int64_t at = 0; at < count; at += CHUNK) {
		int64_t some = count - at < CHUNK ? count - at : CHUNK;
		net_fill(n, t, at, some, chunk);
		fwrite(chunk, tg_dtypes[t->dtype].bits / 8, (size_t)some, f);
	}
}

static void write_buf(FILE *f, const struct tg_buf *b)
{
	if (b->n)
		fwrite(b->at, 1, b->n, f);
}

static void add_inputs(struct net *n, struct tg_buf *b)
{
	for (size_t i = 0; i < n->inputs.n; i++) {
		struct tg_buf info;
		tg_buf_init(&info, n->arena);
		wire_value_info(n->arena, &info, n->inputs.at[i].name, n->inputs.at[i].dtype, &n->inputs.at[i].shape);
		wire_bytes(b, 11, info.at, info.n);
	}
}

bool net_write(struct tg_diag *d, struct net *n, const char *path)
{
	struct tg_buf *heads = tg_alloc_n(n->arena, n->weights.n + 1, sizeof *heads), opset, inputs, front;
	uint64_t data, graph = 0;
	struct sink s;
	for (size_t i = 0; i < n->weights.n; i++) { /* each with its field's tag and length in front */
		struct tg_buf head;
		tg_buf_init(&head, n->arena);
		tg_buf_init(&heads[i], n->arena);
		tensor_head(&head, &n->weights.at[i], &data);
		wire_length(&heads[i], 5, head.n + data);
		tg_buf_add(&heads[i], head.at, head.n);
		graph += heads[i].n + data;
	}
	tg_buf_init(&inputs, n->arena);
	tg_buf_init(&opset, n->arena);
	tg_buf_init(&front, n->arena);
	wire_bytes(&inputs, 2, "main_graph", 10);
	add_inputs(n, &inputs);
	wire_bytes(&opset, 1, "", 0);
	wire_int(&opset, 2, OPSET);
	wire_int(&front, 1, IR_VERSION);
	wire_bytes(&front, 2, "tegula-bench", 12);
	wire_bytes(&front, 8, opset.at, opset.n);
	graph += n->nodes.n + inputs.n + n->outputs.n;
	wire_length(&front, 7, graph);
	if (graph + front.n > MAX_MODEL_BYTES)
		return tg_limit(d, tg_at_file(path), "the model would have %llu bytes, a protobuf file at most %llu; choose narrower --weights",
				(unsigned long long)(graph + front.n), (unsigned long long)MAX_MODEL_BYTES);
	if (!open_sink(d, n->arena, path, &s))
		return false;
	write_buf(s.file, &front);
	write_buf(s.file, &n->nodes);
	for (size_t i = 0; i < n->weights.n; i++) {
		write_buf(s.file, &heads[i]);
		write_data(s.file, n, &n->weights.at[i]);
	}
	write_buf(s.file, &inputs);
	write_buf(s.file, &n->outputs);
	return close_sink(d, &s);
}

bool net_write_data(struct tg_diag *d, struct net *n, const char *folder)
{
	if (mkdir(folder, 0777) != 0 && errno != EEXIST)
		return tg_io_error(d, tg_at_file(folder), "cannot be made: %s", strerror(errno));
	for (size_t i = 0; i < n->inputs.n; i++) {
		struct tg_buf head;
		struct sink s;
		uint64_t data;
		tg_buf_init(&head, n->arena);
		tensor_head(&head, &n->inputs.at[i], &data);
		if (!open_sink(d, n->arena, tg_asprintf(n->arena, "%s/input_%zu.pb", folder, i), &s))
			return false;
		write_buf(s.file, &head);
		write_data(s.file, n, &n->inputs.at[i]);
		if (!close_sink(d, &s))
			return false;
	}
	return true;
}
