/* tensor_proto.c: TensorProto and SparseTensorProto to constants.
 *
 * The contents come from exactly one place: raw_data, one of the typed lists, or an external file. Each is checked against elements times
 * element size before a byte is used. Contents of BORROW_BYTES and more stay in the mapped file; smaller ones are copied, so that they are aligned. */
#include "import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BORROW_BYTES = 16384, SPARSE_MAX_BYTES = 64 << 20 };

/* The list that holds elements of a type, when they are not raw, and how. */
enum list { LIST_NONE, LIST_FLOAT = 4, LIST_INT32 = 5, LIST_INT64 = 7, LIST_RAW = 9, LIST_DOUBLE = 10, LIST_UINT64 = 11 };

static enum list list_of(enum tg_dtype t)
{
	switch (t) {
	case TG_f32:
		return LIST_FLOAT;
	case TG_f64:
		return LIST_DOUBLE;
	case TG_i64:
		return LIST_INT64;
	case TG_u32:
	case TG_u64:
		return LIST_UINT64;
	default:
		return LIST_INT32;
	}
}

/* What is known of a tensor's contents before they are looked at. */
struct contents {
	enum list list;
	const uint8_t *at; /* in the file: raw or packed bytes; NULL: in the message */
	size_t n;          /* bytes, or entries of the message's list */
	int32_t file;
	uint64_t offset;
};

static size_t list_len(const Onnx__TensorProto *t, enum list l)
{
	switch (l) {
	case LIST_FLOAT:
		return t->n_float_data;
	case LIST_INT32:
		return t->n_int32_data;
	case LIST_INT64:
		return t->n_int64_data;
	case LIST_DOUBLE:
		return t->n_double_data;
	case LIST_UINT64:
		return t->n_uint64_data;
	case LIST_RAW:
		return t->has_raw_data ? t->raw_data.len : 0;
	default:
		return 0;
	}
}

static bool find_contents(struct tg_diag *d, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__TensorProto *t, struct contents *c)
{
	static const enum list lists[] = { LIST_FLOAT, LIST_INT32, LIST_INT64, LIST_RAW, LIST_DOUBLE, LIST_UINT64 };
	uint32_t n_found = 0;
	*c = (struct contents){ .file = -1 };
	for (uint32_t i = 0; i < TG_ARRAY_LEN(lists); i++)
		if (list_len(t, lists[i])) {
			n_found++;
			*c = (struct contents){ .list = lists[i], .n = list_len(t, lists[i]), .file = -1 };
		}
	if (t->has_tg_field) {
		n_found++;
		*c = (struct contents){ (enum list)t->tg_field, src->bytes + t->tg_offset, (size_t)t->tg_length, src->file, t->tg_offset };
	}
	if (n_found > 1)
		return tg_error(d, loc, "tensor %s has its data in %u fields, expected one", tg_quoted(d->arena, t->name ? t->name : ""), n_found);
	return true;
}

static bool read_varints(struct tg_diag *d, struct tg_loc loc, const struct contents *c, uint64_t *out, size_t n)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 0;
		uint32_t shift = 0;
		for (bool more = true; more; shift += 7) {
			if (at == c->n || shift >= 70)
				return tg_error(d, loc, "packed tensor data ends after %zu of %zu elements", i, n);
			v |= shift < 64 ? (uint64_t)(c->at[at] & 0x7f) << shift : 0;
			more = c->at[at++] & 0x80;
		}
		out[i] = v;
	}
	return at == c->n || tg_error(d, loc, "tensor data has more than the %zu elements expected", n);
}

static uint64_t message_entry(const Onnx__TensorProto *t, enum list l, size_t i)
{
	switch (l) {
	case LIST_INT32:
		return (uint64_t)(int64_t)t->int32_data[i];
	case LIST_INT64:
		return (uint64_t)t->int64_data[i];
	default:
		return t->uint64_data[i];
	}
}

/* Integer lists: one entry an element, or a byte of two or four packed elements. */
static bool read_entries(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const Onnx__TensorProto *t, const struct contents *c, enum tg_dtype type,
			 size_t bytes, uint8_t *data)
{
	size_t width = tg_dtypes[type].bits < 8 ? 1 : tg_dtypes[type].bits / 8, n = bytes / width;
	if (!c->at && c->n != n)
		return tg_error(d, loc, "tensor %s has %zu entries, expected %zu", tg_quoted(d->arena, t->name ? t->name : ""), c->n, n);
	if (c->at && c->n < n)
		return tg_error(d, loc, "tensor %s has %zu bytes of packed data, expected at least %zu", tg_quoted(d->arena, t->name ? t->name : ""), c->n, n);
	uint64_t *entries = NULL;
	if (c->at) {
		struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
		entries = tg_alloc_n(scratch, n, sizeof *entries);
		bool ok = read_varints(d, loc, c, entries, n);
		for (size_t i = 0; ok && i < n; i++)
			memcpy(data + i * width, &entries[i], width);
		tg_arena_free(scratch);
		return ok;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t v = message_entry(t, c->list, i);
		memcpy(data + i * width, &v, width);
	}
	return true;
}

/* ---- external data ---- */

static bool read_number(const char *s, uint64_t *v)
{
	if (*s < '0' || *s > '9')
		return false;
	char *end;
	errno = 0;
	*v = strtoull(s, &end, 10);
	return !*end && errno == 0;
}

struct external { const char *location; uint64_t offset, length; bool has_length; };

static bool read_external(struct tg_diag *d, struct tg_loc loc, const Onnx__TensorProto *t, struct external *e)
{
	*e = (struct external){ 0 };
	for (size_t i = 0; i < t->n_external_data; i++) {
		const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
		if (!key || !value)
			return tg_error(d, loc, "an entry of external_data lacks its key or value");
		bool ok = true;
		if (!strcmp(key, "location"))
			e->location = value;
		else if (!strcmp(key, "offset"))
			ok = read_number(value, &e->offset);
		else if (!strcmp(key, "length"))
			ok = e->has_length = read_number(value, &e->length);
		if (!ok)
			return tg_error(d, loc, "external data has %s %s, expected a number", key, tg_quoted(d->arena, value));
	}
	return e->location && *e->location ? true : tg_error(d, loc, "external data names no location");
}

static bool open_external(struct tg_diag *d, struct tg_loc loc, const struct tg_pb_source *src, const char *location, int32_t *file)
{
	struct tg_module *m = src->module;
	for (size_t i = (size_t)src->file + 1; i < m->files.n; i++)
		if (!strcmp(m->files.at[i].path, location)) {
			*file = (int32_t)i;
			return true;
		}
	struct tg_file map;
	if (location[0] == '/' || strstr(location, "..") || !strcmp(location, "."))
		return tg_error(d, loc, "external data location %s is not beneath the model's folder", tg_quoted(d->arena, location));
	if (!tg_file_map_beneath(d, m->arena, src->folder, location, loc, SIZE_MAX / 4, &map))
		return false;
	struct tg_module_file *f = TG_PUSH(m->arena, &m->files);
	*f = (struct tg_module_file){ .path = tg_strdup(m->arena, location), .map = map };
	struct tg_sha256 h;
	tg_sha256_init(&h);
	tg_sha256_add(&h, map.at, map.n);
	tg_sha256_end(&h, f->sha256);
	*file = (int32_t)m->files.n - 1;
	return true;
}

static bool find_external(struct tg_diag *d, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__TensorProto *t, size_t bytes, struct contents *c)
{
	struct external e;
	if (!src->folder || !src->module)
		return tg_error(d, loc, "external data is not allowed here");
	int32_t file = -1;
	if (!read_external(d, loc, t, &e) || !open_external(d, loc, src, e.location, &file))
		return false;
	const struct tg_file *map = &src->module->files.at[file].map;
	if (e.has_length && e.length != bytes)
		return tg_error(d, loc, "external data of %s has length %llu, expected %zu", tg_quoted(d->arena, t->name ? t->name : ""),
				(unsigned long long)e.length, bytes);
	if (e.offset > map->n || bytes > map->n - e.offset)
		return tg_error(d, loc, "external data of %s is at %llu + %zu, beyond the %zu bytes of %s", tg_quoted(d->arena, t->name ? t->name : ""),
				(unsigned long long)e.offset, bytes, map->n, tg_quoted(d->arena, e.location));
	*c = (struct contents){ LIST_RAW, map->at + e.offset, bytes, file, e.offset };
	return true;
}

/* ---- tensors ---- */

static bool read_shape(struct tg_diag *d, struct tg_loc loc, const char *name, const int64_t *dims, size_t n, struct tg_shape *s)
{
	if (n > TG_MAX_RANK)
		return tg_unsupported(d, loc, "tensor %s has rank %zu, at most %d is supported", tg_quoted(d->arena, name), n, TG_MAX_RANK);
	s->rank = (uint32_t)n;
	for (uint32_t i = 0; i < n; i++)
		s->dim[i] = dims[i];
	int64_t count;
	if (!tg_shape_count(s, &count))
		return tg_error(d, loc, "the dimensions of tensor %s are negative or too large", tg_quoted(d->arena, name));
	return true;
}

static bool is_bad_bool(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] > 1)
			return true;
	return false;
}

static bool take_raw(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const Onnx__TensorProto *t, const struct contents *c, const struct tg_pb_source *src,
		     size_t bytes, struct tg_const *k)
{
	if (c->n != bytes)
		return tg_error(d, loc, "tensor %s has %zu bytes of data, expected %zu", tg_quoted(d->arena, t->name ? t->name : ""), c->n, bytes);
	const uint8_t *at = c->at ? c->at : t->raw_data.data;
	bool bad = k->dtype == TG_bool && is_bad_bool(at, bytes);
	if (c->at && src->module && bytes >= BORROW_BYTES && !bad) {
		k->data = at;
		k->file = c->file;
		k->file_offset = c->offset;
		return true;
	}
	uint8_t *copy = tg_alloc(a, bytes ? bytes : 1);
	if (bytes)
		memcpy(copy, at, bytes);
	for (size_t i = 0; bad && i < bytes; i++)
		copy[i] = copy[i] != 0;
	k->data = copy;
	return true;
}

static bool take_list(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const Onnx__TensorProto *t, const struct contents *c, size_t bytes, struct tg_const *k)
{
	const char *name = tg_quoted(d->arena, t->name ? t->name : "");
	if (c->list != list_of(k->dtype))
		return tg_error(d, loc, "tensor %s of type %s has its data in field %d, expected %d or raw data", name, tg_dtypes[k->dtype].name, (int)c->list,
				(int)list_of(k->dtype));
	if (c->list == LIST_FLOAT || c->list == LIST_DOUBLE) {
		struct contents raw = *c;
		if (!c->at)
			raw.n *= c->list == LIST_FLOAT ? 4 : 8;
		if (raw.n != bytes)
			return tg_error(d, loc, "tensor %s has %zu bytes of data, expected %zu", name, raw.n, bytes);
		uint8_t *copy = tg_alloc(a, bytes ? bytes : 1);
		const void *from = c->at ? (const void *)c->at : c->list == LIST_FLOAT ? (const void *)t->float_data : (const void *)t->double_data;
		if (bytes)
			memcpy(copy, from, bytes);
		k->data = copy;
		return true;
	}
	/* Before room is made for the elements: their list must be able to hold them. */
	if (bytes / 8 > c->n)
		return tg_error(d, loc, "tensor %s has %zu bytes or entries of data, too few for %zu bytes", name, c->n, bytes);
	uint8_t *data = tg_alloc(a, bytes + 8);
	k->data = data;
	if (!read_entries(d, a, loc, t, c, k->dtype, bytes, data))
		return false;
	for (size_t i = 0; k->dtype == TG_bool && i < bytes; i++)
		data[i] = data[i] != 0;
	return true;
}

bool tg_pb_tensor(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__TensorProto *t, struct tg_const **out)
{
	const char *name = t->name ? t->name : "";
	enum tg_dtype type = tg_dtype_from_onnx(t->data_type);
	struct tg_shape shape = { 0 };
	size_t bytes;
	if (type == TG_none)
		return tg_error(d, loc, "tensor %s has data type %d, which ONNX does not define", tg_quoted(d->arena, name), (int)t->data_type);
	if (!read_shape(d, loc, name, t->dims, t->n_dims, &shape))
		return false;
	if (type == TG_str || tg_dtypes[type].kind == TG_KIND_COMPLEX)
		return tg_unsupported(d, loc, "tensor %s has element type %s, which the chip does not have", tg_quoted(d->arena, name), tg_dtypes[type].name);
	if (t->segment)
		return tg_unsupported(d, loc, "tensor %s is stored in segments", tg_quoted(d->arena, name));
	if (!tg_shape_bytes(&shape, type, &bytes))
		return tg_error(d, loc, "tensor %s has too many bytes", tg_quoted(d->arena, name));
	struct contents c;
	if (!find_contents(d, loc, src, t, &c))
		return false;
	if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
		if (c.list != LIST_NONE)
			return tg_error(d, loc, "tensor %s has external data and data of its own", tg_quoted(d->arena, name));
		if (!find_external(d, loc, src, t, bytes, &c))
			return false;
	}
	if (c.list == LIST_NONE) {
		if (bytes)
			return tg_error(d, loc, "tensor %s has no data, expected %zu bytes", tg_quoted(d->arena, name), bytes);
		c.list = LIST_RAW;
	}
	struct tg_const *k = tg_alloc(a, sizeof *k);
	*k = (struct tg_const){ .kind = TG_CONST_DENSE, .dtype = type, .shape = shape, .file = -1 };
	*out = k;
	return c.list == LIST_RAW ? take_raw(d, a, loc, t, &c, src, bytes, k) : take_list(d, a, loc, t, &c, bytes, k);
}

/* ---- sparse tensors: made dense, within a budget ---- */

static bool flat_index(const struct tg_const *index, const struct tg_shape *shape, int64_t i, int64_t *flat)
{
	int64_t count;
	if (index->shape.rank == 1) {
		*flat = tg_const_i64(index, i);
		return tg_shape_count(shape, &count) && *flat >= 0 && *flat < count;
	}
	*flat = 0;
	for (uint32_t k = 0; k < shape->rank; k++) {
		int64_t at = tg_const_i64(index, i * shape->rank + k);
		if (at < 0 || at >= shape->dim[k])
			return false;
		*flat = *flat * shape->dim[k] + at;
	}
	return true;
}

static bool sparse_fits(const struct tg_const *values, const struct tg_const *index, const struct tg_shape *shape)
{
	if (values->shape.rank != 1 || index->dtype != TG_i64)
		return false;
	int64_t n = values->shape.dim[0];
	if (index->shape.rank == 1)
		return index->shape.dim[0] == n;
	return index->shape.rank == 2 && index->shape.dim[0] == n && index->shape.dim[1] == shape->rank;
}

bool tg_pb_sparse(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__SparseTensorProto *t, struct tg_const **out)
{
	if (!t->values || !t->indices)
		return tg_error(d, loc, "a sparse tensor lacks its values or indices");
	const char *name = t->values->name ? t->values->name : "";
	struct tg_const *values, *index;
	struct tg_shape shape = { 0 };
	size_t bytes;
	if (!read_shape(d, loc, name, t->dims, t->n_dims, &shape) || !tg_pb_tensor(d, a, loc, src, t->values, &values) ||
	    !tg_pb_tensor(d, a, loc, src, t->indices, &index))
		return false;
	if (!sparse_fits(values, index, &shape))
		return tg_error(d, loc, "the values and indices of sparse tensor %s do not belong together", tg_quoted(d->arena, name));
	if (tg_dtypes[values->dtype].bits < 8)
		return tg_unsupported(d, loc, "sparse tensor %s has elements of less than a byte", tg_quoted(d->arena, name));
	if (!tg_shape_bytes(&shape, values->dtype, &bytes) || bytes > SPARSE_MAX_BYTES)
		return tg_limit(d, loc, "sparse tensor %s takes more than %d MiB when dense", tg_quoted(d->arena, name), SPARSE_MAX_BYTES >> 20);
	uint8_t *data = tg_alloc(a, bytes ? bytes : 1);
	size_t width = tg_dtypes[values->dtype].bits / 8;
	for (int64_t i = 0; i < values->shape.dim[0]; i++) {
		int64_t flat;
		if (!flat_index(index, &shape, i, &flat))
			return tg_error(d, loc, "index %lld of sparse tensor %s is outside it", (long long)i, tg_quoted(d->arena, name));
		memcpy(data + (size_t)flat * width, (const uint8_t *)values->data + (size_t)i * width, width);
	}
	*out = tg_const_dense(a, values->dtype, &shape, data, true);
	return true;
}
