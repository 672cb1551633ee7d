/* guard.c: walks the wire format before protobuf-c may see it.
 *
 * protobuf-c recurses over nested messages, copies every byte field, keeps unknown fields and merges repeated singular messages in
 * quadratic time. So one pass over the bytes, with a stack of its own, checks every tag and length, bounds nesting, refuses a singular message
 * that comes twice, adds up what unpacking would allocate, and writes a skeleton: the same messages with only the fields that onnx.proto
 * knows, and without the contents of large tensors, whose place in the file is noted instead (tg_field, tg_offset, tg_length). The
 * skeleton is what protobuf-c unpacks, into an arena with a budget. Lengths in the skeleton are varints padded to five bytes, so that they
 * can be filled in when a message ends. */
#include "guard.h"

#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { NOTE_FIRST = 536870001 };

struct level {
	const ProtobufCMessageDescriptor *desc;
	size_t end;         /* of the message in the input */
	size_t length_at;   /* of its length in the skeleton; 0 for the outermost */
	size_t n_fields;
	uint64_t seen;      /* singular message fields that have come, by position in the descriptor */
	bool elided;
};
struct walk {
	struct tg_diag *d;
	struct tg_loc loc;
	const uint8_t *in;
	size_t n, at;
	struct tg_buf out;
	size_t heap_bytes; /* what unpacking will take */
	struct level stack[TG_PB_MAX_DEPTH];
	uint32_t depth;
};

/* ---- bytes ---- */

static bool read_varint(struct walk *w, size_t end, uint64_t *v)
{
	*v = 0;
	for (uint32_t shift = 0; shift < 70; shift += 7) {
		if (w->at >= end)
			return tg_error(w->d, w->loc, "the file ends inside a number at byte %zu", w->at);
		uint8_t byte = w->in[w->at++];
		*v |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
		if (!(byte & 0x80))
			return true;
	}
	return tg_error(w->d, w->loc, "a number at byte %zu has more than 10 bytes", w->at);
}

static void put_varint(struct tg_buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	tg_buf_add(b, bytes, n);
}

/* A length of exactly five bytes: continuation bits on the first four. */
static void patch_length(struct tg_buf *b, size_t at, size_t length)
{
	for (uint32_t i = 0; i < 5; i++, length >>= 7)
		b->at[at + i] = (char)((length & 0x7f) | (i < 4 ? 0x80u : 0));
}

/* ---- what a field costs ---- */

static bool charge(struct walk *w, size_t bytes)
{
	w->heap_bytes += (bytes + 15) / 16 * 16;
	if (w->heap_bytes > TG_PB_MAX_HEAP)
		return tg_limit(w->d, w->loc, "unpacking takes more than %zu MiB before byte %zu", TG_PB_MAX_HEAP >> 20, w->at);
	return w->out.n <= TG_PB_MAX_SKELETON ||
	       tg_limit(w->d, w->loc, "the model without its weights takes more than %zu MiB before byte %zu", TG_PB_MAX_SKELETON >> 20, w->at);
}

static size_t element_bytes(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 8;
	}
}

static enum wire expected_wire(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32;
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

/* ---- levels ---- */

static bool open_level(struct walk *w, const ProtobufCMessageDescriptor *desc, size_t end, size_t length_at)
{
	if (w->depth == TG_PB_MAX_DEPTH)
		return tg_limit(w->d, w->loc, "messages are nested more than %u deep at byte %zu", TG_PB_MAX_DEPTH, w->at);
	w->stack[w->depth++] = (struct level){ .desc = desc, .end = end, .length_at = length_at };
	return charge(w, desc->sizeof_message);
}

static bool close_level(struct walk *w)
{
	struct level *l = &w->stack[--w->depth];
	if (l->length_at)
		patch_length(&w->out, l->length_at, w->out.n - l->length_at - 5);
	/* protobuf-c scans into slabs: 16 members on its stack, then doubling slabs from the allocator, which an arena does not take back. */
	return l->n_fields <= 16 || charge(w, l->n_fields * 112);
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *desc, uint64_t number)
{
	for (uint32_t i = 0; i < desc->n_fields; i++)
		if (desc->fields[i].id == number)
			return number < NOTE_FIRST ? &desc->fields[i] : NULL;
	return NULL;
}

/* ---- fields ---- */

static bool is_tensor_data(const ProtobufCMessageDescriptor *desc, uint32_t number)
{
	return desc == &onnx__tensor_proto__descriptor && ((number >= 4 && number <= 7 && number != 6) || (number >= 9 && number <= 11));
}

static bool elide(struct walk *w, struct level *l, uint32_t number, size_t length)
{
	if (l->elided)
		return tg_error(w->d, w->loc, "a tensor has its data twice, at byte %zu", w->at);
	l->elided = true;
	l->n_fields += 3;
	uint64_t notes[3] = { w->at, length, number };
	for (uint32_t i = 0; i < 3; i++) {
		put_varint(&w->out, (uint64_t)(NOTE_FIRST + i) << 3 | WIRE_VARINT);
		put_varint(&w->out, notes[i]);
	}
	w->at += length;
	return true;
}

static bool check_packed(struct walk *w, const ProtobufCFieldDescriptor *f, size_t length)
{
	size_t each = f->type == PROTOBUF_C_TYPE_FLOAT ? 4 : f->type == PROTOBUF_C_TYPE_DOUBLE ? 8 : 1;
	if (length % each)
		return tg_error(w->d, w->loc, "packed field '%s' at byte %zu has %zu bytes, expected a multiple of %zu", f->name, w->at, length, each);
	return charge(w, length / each * 8);
}

static bool open_message(struct walk *w, const ProtobufCFieldDescriptor *f, size_t length)
{
	struct level *l = &w->stack[w->depth - 1];
	size_t index = (size_t)(f - l->desc->fields);
	if (f->label != PROTOBUF_C_LABEL_REPEATED) {
		if (l->seen >> index & 1)
			return tg_error(w->d, w->loc, "field '%s' of %s comes twice, at byte %zu", f->name, l->desc->short_name, w->at);
		l->seen |= (uint64_t)1 << index;
	}
	put_varint(&w->out, (uint64_t)f->id << 3 | WIRE_BYTES);
	size_t length_at = w->out.n;
	tg_buf_add(&w->out, "\0\0\0\0\0", 5);
	return open_level(w, f->descriptor, w->at + length, length_at);
}

static bool copy_field(struct walk *w, const ProtobufCFieldDescriptor *f, enum wire wire, size_t from, size_t length)
{
	if (f->type == PROTOBUF_C_TYPE_STRING && memchr(w->in + w->at, 0, length))
		return tg_error(w->d, w->loc, "field '%s' at byte %zu has a NUL byte in a string", f->name, w->at);
	if (wire == WIRE_BYTES && f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_BYTES && !check_packed(w, f, length))
		return false;
	w->at += length;
	tg_buf_add(&w->out, w->in + from, w->at - from);
	return charge(w, length + 1);
}

static bool field_length(struct walk *w, enum wire wire, size_t end, size_t *length)
{
	uint64_t v = 0;
	switch (wire) {
	case WIRE_VARINT:
		*length = 0;
		return read_varint(w, end, &v);
	case WIRE_64:
		v = 8;
		break;
	case WIRE_32:
		v = 4;
		break;
	case WIRE_BYTES:
		if (!read_varint(w, end, &v))
			return false;
		break;
	default:
		return tg_error(w->d, w->loc, "wire type %d at byte %zu is not used by ONNX", (int)wire, w->at);
	}
	*length = (size_t)v;
	return v <= end - w->at || tg_error(w->d, w->loc, "a field at byte %zu has %llu bytes, %zu are left", w->at, (unsigned long long)v, end - w->at);
}

static bool walk_field(struct walk *w)
{
	struct level *l = &w->stack[w->depth - 1];
	size_t from = w->at, length;
	uint64_t tag;
	if (!read_varint(w, l->end, &tag))
		return false;
	if (tag >> 3 == 0 || tag >> 3 > 536870911)
		return tg_error(w->d, w->loc, "field number %llu at byte %zu is not possible", (unsigned long long)(tag >> 3), from);
	enum wire wire = (enum wire)(tag & 7);
	if (!field_length(w, wire, l->end, &length))
		return false;
	const ProtobufCFieldDescriptor *f = find_field(l->desc, tag >> 3);
	if (!f) {
		w->at += length;
		return true;
	}
	bool packed = wire == WIRE_BYTES && f->label == PROTOBUF_C_LABEL_REPEATED;
	if (wire != expected_wire(f->type) && !packed)
		return tg_error(w->d, w->loc, "field '%s' of %s at byte %zu has wire type %d", f->name, l->desc->short_name, from, (int)wire);
	if (wire == WIRE_BYTES && length >= TG_PB_ELIDE_BYTES && is_tensor_data(l->desc, f->id))
		return elide(w, l, f->id, length);
	l->n_fields++;
	if (!charge(w, f->label == PROTOBUF_C_LABEL_REPEATED ? element_bytes(f->type) : 0))
		return false;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return open_message(w, f, length);
	return copy_field(w, f, wire, from, length);
}

static bool walk_all(struct walk *w, const ProtobufCMessageDescriptor *desc)
{
	if (!open_level(w, desc, w->n, 0))
		return false;
	while (w->depth) {
		if (w->at == w->stack[w->depth - 1].end) {
			if (!close_level(w))
				return false;
		} else if (!walk_field(w)) {
			return false;
		}
	}
	return true;
}

/* ---- the allocator ---- */

struct budget {
	struct tg_arena *arena;
	size_t left;
	bool spent;
};

static void *budget_alloc(void *user, size_t bytes)
{
	struct budget *b = user;
	if (bytes > b->left) {
		b->spent = true;
		return NULL;
	}
	b->left -= bytes;
	return tg_alloc(b->arena, bytes ? bytes : 1);
}

static void budget_free(void *user, void *p)
{
	(void)user, (void)p; /* the arena frees everything at once */
}

ProtobufCMessage *tg_pb_unpack(struct tg_diag *d, struct tg_arena *a, const char *path, const uint8_t *bytes, size_t n, const ProtobufCMessageDescriptor *desc)
{
	struct tg_loc loc = tg_at_file(path);
	if (n > TG_PB_MAX_FILE) {
		tg_limit(d, loc, "the file has %zu bytes, a protobuf file at most %zu", n, TG_PB_MAX_FILE);
		return NULL;
	}
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
	struct walk *w = tg_alloc(scratch, sizeof *w);
	*w = (struct walk){ .d = d, .loc = loc, .in = bytes, .n = n };
	tg_buf_init(&w->out, scratch);
	ProtobufCMessage *m = NULL;
	if (walk_all(w, desc)) {
		struct budget b = { a, TG_PB_MAX_HEAP + ((size_t)16 << 20), false };
		ProtobufCAllocator allocator = { budget_alloc, budget_free, &b };
		m = protobuf_c_message_unpack(desc, &allocator, w->out.n, (const uint8_t *)w->out.at);
		if (!m && b.spent)
			tg_limit(d, loc, "unpacking takes more than %zu MiB", TG_PB_MAX_HEAP >> 20);
		else if (!m)
			tg_error(d, loc, "not a valid %s", desc->short_name);
	}
	tg_arena_free(scratch);
	return m;
}
