/* tensor_io.c: one TensorProto as a file, read through the guard and written by hand (three fields need no library). */
#include "import.h"

#include <string.h>

bool tg_tensor_read_pb(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor *out, const char **name)
{
	struct tg_file map;
	if (!tg_file_map(d, a, path, TG_PB_MAX_FILE, &map))
		return false;
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	const Onnx__TensorProto *t = (const Onnx__TensorProto *)tg_pb_unpack(d, tmp, path, map.at, map.n, &onnx__tensor_proto__descriptor);
	struct tg_pb_source src = { .path = path, .bytes = map.at, .file = -1 };
	struct tg_const *c = NULL;
	bool ok = t && tg_pb_tensor(d, a, tg_at_file(path), &src, t, &c);
	if (ok) {
		*out = (struct tg_tensor){ c->dtype, c->shape, (void *)(uintptr_t)c->data };
		if (name)
			*name = tg_strdup(a, t->name ? t->name : "");
	}
	tg_arena_free(tmp);
	tg_file_unmap(&map);
	return ok;
}

static void put_varint(struct tg_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		tg_buf_add(b, (uint8_t[]){ (uint8_t)(v | 0x80) }, 1);
	tg_buf_add(b, (uint8_t[]){ (uint8_t)v }, 1);
}

static void put_bytes(struct tg_buf *b, uint32_t field, const void *at, size_t n)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, n);
	if (n)
		tg_buf_add(b, at, n);
}

bool tg_tensor_write_pb(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_tensor *t, const char *name)
{
	size_t bytes;
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	struct tg_buf b;
	tg_buf_init(&b, tmp);
	bool ok = tg_shape_bytes(&t->shape, t->dtype, &bytes) && bytes < TG_PB_MAX_FILE - 4096;
	if (!ok)
		tg_limit(d, tg_at_file(path), "the tensor is too large for a protobuf file");
	for (uint32_t i = 0; ok && i < t->shape.rank; i++) {
		put_varint(&b, 1 << 3);
		put_varint(&b, (uint64_t)t->shape.dim[i]);
	}
	if (ok) {
		put_varint(&b, 2 << 3);
		put_varint(&b, tg_dtypes[t->dtype].onnx);
		if (name && *name)
			put_bytes(&b, 8, name, strlen(name));
		put_bytes(&b, 9, t->data, bytes);
		ok = tg_file_write(d, path, b.at, b.n);
	}
	tg_arena_free(tmp);
	return ok;
}
