/* size.c: checked arithmetic on sizes. */
#include "base.h"

bool tg_mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

bool tg_add_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

bool tg_shape_count(const struct tg_shape *s, int64_t *n)
{
	int64_t count = 1;
	bool zero = false;
	for (uint32_t i = 0; i < s->rank; i++) {
		if (s->dim[i] < 0)
			return false;
		zero |= s->dim[i] == 0;
		/* 0 x huge is 0 elements, but huge dimensions beside it must not wrap. */
		int64_t d = s->dim[i] ? s->dim[i] : 1;
		if (__builtin_mul_overflow(count, d, &count) || count > INT64_C(1) << 62)
			return false;
	}
	*n = zero ? 0 : count;
	return true;
}

bool tg_shape_bytes(const struct tg_shape *s, enum tg_dtype t, size_t *bytes)
{
	int64_t n;
	size_t bits;
	if (!tg_shape_count(s, &n) || !tg_mul_size((size_t)n, tg_dtypes[t].bits, &bits) || bits > SIZE_MAX - 7)
		return false;
	*bytes = (bits + 7) / 8;
	return true;
}

bool tg_shape_equal(const struct tg_shape *a, const struct tg_shape *b)
{
	if (a->rank != b->rank)
		return false;
	for (uint32_t i = 0; i < a->rank; i++)
		if (a->dim[i] != b->dim[i])
			return false;
	return true;
}

void tg_shape_print(struct tg_buf *b, const struct tg_shape *s)
{
	if (s->rank == 0)
		tg_buf_puts(b, "scalar");
	for (uint32_t i = 0; i < s->rank; i++)
		tg_buf_printf(b, i ? "x%lld" : "%lld", (long long)s->dim[i]);
}
