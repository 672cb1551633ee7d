/* wire.h: fields of the protobuf wire format. */
#ifndef TG_BENCH_WIRE_H
#define TG_BENCH_WIRE_H

#include <string.h>

#include "base.h"

static inline size_t wire_varint_bytes(uint64_t v)
{
	size_t n = 1;
	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

static inline void wire_varint(struct tg_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		tg_buf_add(b, &(uint8_t){ (uint8_t)(v | 0x80) }, 1);
	tg_buf_add(b, &(uint8_t){ (uint8_t)v }, 1);
}

static inline void wire_int(struct tg_buf *b, uint32_t field, int64_t v)
{
	wire_varint(b, (uint64_t)field << 3);
	wire_varint(b, (uint64_t)v);
}

static inline void wire_length(struct tg_buf *b, uint32_t field, uint64_t n)
{
	wire_varint(b, (uint64_t)field << 3 | 2);
	wire_varint(b, n);
}

static inline void wire_bytes(struct tg_buf *b, uint32_t field, const void *p, size_t n)
{
	wire_length(b, field, n);
	if (n)
		tg_buf_add(b, p, n);
}

static inline void wire_float(struct tg_buf *b, uint32_t field, float v)
{
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	wire_varint(b, (uint64_t)field << 3 | 5);
	for (int i = 0; i < 4; i++)
		tg_buf_add(b, &(uint8_t){ (uint8_t)(bits >> 8 * i) }, 1);
}

void wire_value_info(struct tg_arena *a, struct tg_buf *b, const char *name, enum tg_dtype t, const struct tg_shape *s);

#endif
