/* consts.c: constant tensors, and constants of a stage's body as bits (f64 bits for floats, i64 for integers and bool). */
#include <math.h>
#include <string.h>

#include "ir_internal.h"

/* The part that element *i lies in, and its number there. */
static const struct tg_const *part_at(const struct tg_const *c, int64_t *i)
{
	int64_t inner = 1, at;
	uint32_t p = 0;
	for (uint32_t d = c->axis + 1; d < c->shape.rank; d++)
		inner *= c->shape.dim[d];
	at = *i / inner % c->shape.dim[c->axis];
	int64_t outer = *i / inner / c->shape.dim[c->axis], rest = *i % inner;
	for (; at >= c->parts[p]->shape.dim[c->axis]; p++)
		at -= c->parts[p]->shape.dim[c->axis];
	*i = (outer * c->parts[p]->shape.dim[c->axis] + at) * inner + rest;
	return c->parts[p];
}

double tg_const_f64(const struct tg_const *c, int64_t i)
{
	if (c->kind == TG_CONST_PARTS)
		c = part_at(c, &i);
	return tg_get_f64(c->dtype, c->data, c->kind == TG_CONST_SPLAT ? 0 : (size_t)i);
}

int64_t tg_const_i64(const struct tg_const *c, int64_t i)
{
	if (c->kind == TG_CONST_PARTS)
		c = part_at(c, &i);
	return tg_get_i64(c->dtype, c->data, c->kind == TG_CONST_SPLAT ? 0 : (size_t)i);
}

bool tg_const_join(struct tg_const *c, uint32_t axis, struct tg_const *const *parts, uint32_t n)
{
	int64_t along = 0;
	size_t bytes;
	*c = (struct tg_const){ .kind = TG_CONST_PARTS, .dtype = parts[0]->dtype, .shape = parts[0]->shape, .file = -1, .parts = parts, .n_parts = n, .axis = axis };
	for (uint32_t i = 0; i < n; i++) {
		const struct tg_const *p = parts[i];
		if (p->kind == TG_CONST_PARTS || p->dtype != c->dtype || tg_dtypes[p->dtype].bits < 8 || p->shape.rank != c->shape.rank || axis >= p->shape.rank ||
		    !tg_shape_bytes(&p->shape, p->dtype, &bytes) || bytes == 0 || __builtin_add_overflow(along, p->shape.dim[axis], &along))
			return false;
		for (uint32_t d = 0; d < p->shape.rank; d++)
			if (d != axis && p->shape.dim[d] != c->shape.dim[d])
				return false;
	}
	c->shape.dim[axis] = along;
	return tg_shape_bytes(&c->shape, c->dtype, &bytes);
}

uint64_t tg_const_bits(const struct tg_const *c, int64_t i)
{
	enum tg_dtype t = tg_compute_type(c->dtype);
	if (tg_type_is_float(t))
		return tg_bits_of_f64(t, tg_const_f64(c, i));
	int64_t v = tg_const_i64(c, i);
	return t == TG_bool ? v != 0 : (uint64_t)v;
}

bool tg_bits_fit(enum tg_dtype t, uint64_t bits)
{
	uint64_t memory[2] = { 0 };
	if (tg_type_is_float(tg_compute_type(t))) {
		double v;
		memcpy(&v, &bits, sizeof v);
		tg_put_f64(t, memory, 0, v);
		double back = tg_get_f64(t, memory, 0);
		return back == v || (isnan(back) && isnan(v));
	}
	tg_put_i64(t, memory, 0, (int64_t)bits);
	return (uint64_t)tg_get_i64(t, memory, 0) == bits;
}

bool tg_const_is_splat(const struct tg_const *c)
{
	int64_t n;
	if (!tg_shape_count(&c->shape, &n) || n == 0 || c->kind == TG_CONST_PARTS)
		return false;
	if (c->kind == TG_CONST_SPLAT || n == 1)
		return true;
	unsigned bits = tg_dtypes[c->dtype].bits;
	if (bits < 8) {
		for (int64_t i = 1; i < n; i++)
			if (tg_get_i64(c->dtype, c->data, (size_t)i) != tg_get_i64(c->dtype, c->data, 0))
				return false;
		return true;
	}
	size_t each = bits / 8;
	/* all equal: the data equals itself moved by one element */
	return !memcmp(c->data, (const char *)c->data + each, ((size_t)n - 1) * each);
}

static struct tg_const *splat(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, void **data)
{
	struct tg_const *c = tg_alloc(a, sizeof *c);
	*data = tg_alloc(a, 16);
	*c = (struct tg_const){ .kind = TG_CONST_SPLAT, .dtype = t, .shape = *s, .data = *data, .file = -1 };
	return c;
}

struct tg_const *tg_const_splat(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, double v)
{
	void *p;
	struct tg_const *c = splat(a, t, s, &p);
	tg_put_f64(t, p, 0, v);
	return c;
}

struct tg_const *tg_const_splat_i64(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, int64_t v)
{
	void *p;
	struct tg_const *c = splat(a, t, s, &p);
	tg_put_i64(t, p, 0, v);
	return c;
}

struct tg_const *tg_const_dense(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, const void *data, bool borrow)
{
	struct tg_const *c = tg_alloc(a, sizeof *c);
	size_t bytes = 0;
	if (!tg_shape_bytes(s, t, &bytes))
		tg_heap_exhausted(tg_arena_heap(a));
	if (!borrow) {
		void *copy = tg_alloc(a, bytes + 1);
		if (bytes)
			memcpy(copy, data, bytes);
		data = copy;
	}
	*c = (struct tg_const){ .kind = TG_CONST_DENSE, .dtype = t, .shape = *s, .data = data, .file = -1 };
	return c;
}

struct tg_const *tg_const_ints(struct tg_arena *a, const int64_t *v, uint32_t n)
{
	struct tg_shape s = { .rank = 1, .dim = { n } };
	return tg_const_dense(a, TG_i64, &s, v, false);
}

uint64_t tg_bits_of_f64(enum tg_dtype compute, double v)
{
	uint64_t bits;
	if (tg_type_is_float(compute)) {
		memcpy(&bits, &v, sizeof bits);
		return bits;
	}
	if (compute == TG_bool)
		return v != 0;
	if (compute == TG_u64)
		return v >= 18446744073709551616.0 ? UINT64_MAX : v > 0 ? (uint64_t)v : 0;
	if (v >= 9223372036854775808.0)
		return INT64_MAX;
	return v >= -9223372036854775808.0 ? (uint64_t)(int64_t)v : (uint64_t)INT64_MIN; /* NaN too */
}

void tg_int_range(enum tg_dtype t, int64_t *lo, int64_t *hi)
{
	unsigned bits = tg_dtypes[t].bits;
	switch (tg_dtypes[t].kind) {
	case TG_KIND_SIGNED:
		*hi = (int64_t)(UINT64_MAX >> (65 - bits));
		*lo = -*hi - 1;
		return;
	case TG_KIND_UNSIGNED:
		*lo = 0;
		*hi = (int64_t)(UINT64_MAX >> (64 - bits));
		return;
	default:
		*lo = 0;
		*hi = 1;
	}
}

double tg_lowest(enum tg_dtype memory)
{
	int64_t lo, hi;
	if (tg_dtypes[memory].kind == TG_KIND_FLOAT)
		return -INFINITY;
	tg_int_range(memory, &lo, &hi);
	return (double)lo;
}

double tg_highest(enum tg_dtype memory)
{
	int64_t lo, hi;
	if (tg_dtypes[memory].kind == TG_KIND_FLOAT)
		return INFINITY;
	tg_int_range(memory, &lo, &hi);
	return tg_dtypes[memory].kind == TG_KIND_UNSIGNED ? (double)(uint64_t)hi : (double)hi;
}

uint64_t tg_identity_bits(enum tg_combine c, enum tg_dtype compute)
{
	int64_t lo, hi;
	if (c == TG_SUM || c == TG_PROD)
		return tg_bits_of_f64(compute, c == TG_PROD);
	if (tg_type_is_float(compute))
		return tg_bits_of_f64(compute, c == TG_MAX ? -INFINITY : INFINITY);
	tg_int_range(compute, &lo, &hi);
	return (uint64_t)(c == TG_MAX ? lo : hi);
}
