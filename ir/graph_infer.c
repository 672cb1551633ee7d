/* graph_infer.c: the result type of each row of graph_ops.def, from its operands and attributes. Everything here may come from a file, so
 * sizes and ranges are checked: an op that was inferred can be expanded. A row without its function is a link error. */
#include <string.h>

#include "ir_internal.h"

enum { F = 1, I = 2, B = 4, ANY = 7 }; /* kinds of element types */

#define A(op, field) (&x->attrs[TG_AT(op, field)])

static const char *name_of(uint8_t dtype) { return tg_dtypes[dtype].name; }

static int kind_of(uint8_t dtype)
{
	switch (tg_dtypes[dtype].kind) {
	case TG_KIND_FLOAT: return F;
	case TG_KIND_BOOL: return B;
	default: return I;
	}
}

static bool of_kind(const struct tg_infer *x, uint32_t i, int kinds)
{
	static const char *const words[8] = { "none", "a float", "an integer", "a number", "bool", "a float or bool", "an integer or bool", "any" };
	if (kind_of(x->in[i]->dtype) & kinds)
		return true;
	return tg_error(x->d, x->loc, "operand %u of %s is %s, expected %s type", i, x->info->name, name_of(x->in[i]->dtype), words[kinds]);
}

static bool same_type(const struct tg_infer *x, uint32_t i, uint32_t j)
{
	if (x->in[i]->dtype == x->in[j]->dtype)
		return true;
	return tg_error(x->d, x->loc, "operand %u of %s is %s, expected %s as operand %u", i, x->info->name, name_of(x->in[i]->dtype),
			name_of(x->in[j]->dtype), j);
}

static bool result(struct tg_infer *x, uint8_t t, const struct tg_shape *s)
{
	size_t bytes;
	x->dtype = (enum tg_dtype)t;
	x->shape = *s;
	if (s->rank > TG_MAX_RANK)
		return tg_limit(x->d, x->loc, "result of %s has rank %u, at most %d is supported", x->info->name, s->rank, TG_MAX_RANK);
	if (!tg_shape_bytes(s, x->dtype, &bytes) || bytes > (size_t)1 << 62)
		return tg_limit(x->d, x->loc, "result of %s is too large", x->info->name);
	return true;
}

/* numpy: aligned at the right, extents equal or 1 */
static bool broadcast_into(const struct tg_infer *x, struct tg_shape *s, const struct tg_shape *o, uint32_t operand)
{
	struct tg_shape r = s->rank >= o->rank ? *s : *o;
	const struct tg_shape *small = s->rank >= o->rank ? o : s;
	for (uint32_t i = 0; i < small->rank; i++) {
		int64_t a = small->dim[small->rank - 1 - i], *b = &r.dim[r.rank - 1 - i];
		if (a != *b && a != 1 && *b != 1)
			return tg_error(x->d, x->loc, "operand %u of %s has extent %lld in dimension %u from the end, expected 1 or %lld", operand,
					x->info->name, (long long)o->dim[o->rank - 1 - i], i + 1, (long long)s->dim[s->rank - 1 - i]);
		*b = a == 1 ? *b : a;
	}
	*s = r;
	return true;
}

static bool broadcast_all(const struct tg_infer *x, struct tg_shape *s)
{
	*s = x->in[0]->shape;
	for (uint32_t i = 1; i < x->n_in; i++)
		if (!broadcast_into(x, s, &x->in[i]->shape, i))
			return false;
	return true;
}

/* ---- elementwise: kinds of operands; operands of one type; result of that type, or bool ---- */

static bool elementwise(struct tg_infer *x, int kinds)
{
	struct tg_shape s;
	for (uint32_t i = 0; i < x->n_in; i++)
		if (!of_kind(x, i, kinds) || (i && !same_type(x, i, 0)))
			return false;
	return broadcast_all(x, &s) && result(x, x->info->traits & T_COMPARE ? TG_bool : x->in[0]->dtype, &s);
}

#define ELEMENTWISE(name, kinds) \
	bool infer_##name(struct tg_infer *x) { return elementwise(x, kinds); }
ELEMENTWISE(neg, F | I)
ELEMENTWISE(abs, F | I)
ELEMENTWISE(sign, F | I)
ELEMENTWISE(floor, F)
ELEMENTWISE(ceil, F)
ELEMENTWISE(round, F)
ELEMENTWISE(sqrt, F)
ELEMENTWISE(recip, F)
ELEMENTWISE(exp, F)
ELEMENTWISE(log, F)
ELEMENTWISE(sin, F)
ELEMENTWISE(cos, F)
ELEMENTWISE(tan, F)
ELEMENTWISE(asin, F)
ELEMENTWISE(acos, F)
ELEMENTWISE(atan, F)
ELEMENTWISE(sinh, F)
ELEMENTWISE(cosh, F)
ELEMENTWISE(tanh, F)
ELEMENTWISE(asinh, F)
ELEMENTWISE(acosh, F)
ELEMENTWISE(atanh, F)
ELEMENTWISE(erf, F)
ELEMENTWISE(not, I | B)
ELEMENTWISE(relu, F | I)
ELEMENTWISE(leaky_relu, F)
ELEMENTWISE(elu, F)
ELEMENTWISE(selu, F)
ELEMENTWISE(celu, F)
ELEMENTWISE(sigmoid, F)
ELEMENTWISE(hard_sigmoid, F)
ELEMENTWISE(softplus, F)
ELEMENTWISE(softsign, F)
ELEMENTWISE(mish, F)
ELEMENTWISE(gelu, F)
ELEMENTWISE(swish, F)
ELEMENTWISE(thresholded_relu, F)
ELEMENTWISE(shrink, F | I)
ELEMENTWISE(is_nan, F)
ELEMENTWISE(is_inf, F)
ELEMENTWISE(add, F | I)
ELEMENTWISE(sub, F | I)
ELEMENTWISE(mul, F | I)
ELEMENTWISE(div, F | I)
ELEMENTWISE(mod, F | I)
ELEMENTWISE(min, F | I)
ELEMENTWISE(max, F | I)
ELEMENTWISE(and, I | B)
ELEMENTWISE(or, I | B)
ELEMENTWISE(xor, I | B)
ELEMENTWISE(shl, I)
ELEMENTWISE(shr, I)
ELEMENTWISE(prelu, F | I)
ELEMENTWISE(eq, ANY)
ELEMENTWISE(lt, F | I)
ELEMENTWISE(le, F | I)

bool infer_pow(struct tg_infer *x)
{
	struct tg_shape s;
	return of_kind(x, 0, F | I) && of_kind(x, 1, F | I) && broadcast_all(x, &s) && result(x, x->in[0]->dtype, &s);
}

bool infer_select(struct tg_infer *x)
{
	struct tg_shape s;
	return of_kind(x, 0, B) && same_type(x, 2, 1) && broadcast_all(x, &s) && result(x, x->in[1]->dtype, &s);
}

static bool type_attr(const struct tg_infer *x, const char *what, enum tg_dtype t)
{
	if (t < TG_N_DTYPES && tg_compute_type(t) != TG_none)
		return true;
	return tg_unsupported(x->d, x->loc, "attribute %s of %s is %s, expected a number type or bool", what, x->info->name,
			      t < TG_N_DTYPES ? tg_dtypes[t].name : "unknown");
}

bool infer_cast(struct tg_infer *x)
{
	enum tg_dtype t = A(cast, to)->dtype;
	return type_attr(x, "to", t) && result(x, (uint8_t)t, &x->in[0]->shape);
}

/* ---- attributes ---- */

/* An INTS attribute has `n` entries, each in lo..hi. */
static bool ints(const struct tg_infer *x, uint32_t attr, uint32_t n, int64_t lo, int64_t hi)
{
	const union tg_attr *a = &x->attrs[attr];
	const char *what = x->info->attrs[attr].name;
	if (a->ints.n != n)
		return tg_error(x->d, x->loc, "attribute %s of %s has %u entries, expected %u", what, x->info->name, a->ints.n, n);
	for (uint32_t i = 0; i < n; i++)
		if (a->ints.at[i] < lo || a->ints.at[i] > hi)
			return tg_error(x->d, x->loc, "entry %u of attribute %s of %s is %lld, expected %lld to %lld", i, what, x->info->name,
					(long long)a->ints.at[i], (long long)lo, (long long)hi);
	return true;
}

static bool int_in(const struct tg_infer *x, uint32_t attr, int64_t lo, int64_t hi)
{
	int64_t v = x->attrs[attr].i;
	if (v >= lo && v <= hi)
		return true;
	if (lo > hi)
		return tg_error(x->d, x->loc, "attribute %s of %s is %lld, but no value is possible for this operand", x->info->attrs[attr].name,
				x->info->name, (long long)v);
	return tg_error(x->d, x->loc, "attribute %s of %s is %lld, expected %lld to %lld", x->info->attrs[attr].name, x->info->name, (long long)v,
			(long long)lo, (long long)hi);
}

static bool axis_in(const struct tg_infer *x, uint32_t attr) { return int_in(x, attr, 0, (int64_t)x->in[0]->shape.rank - 1); }

static bool rank_at_least(const struct tg_infer *x, uint32_t i, uint32_t rank)
{
	if (x->in[i]->shape.rank >= rank)
		return true;
	return tg_error(x->d, x->loc, "operand %u of %s has rank %u, expected %u or more", i, x->info->name, x->in[i]->shape.rank, rank);
}

static bool shape_attr(const struct tg_infer *x, uint32_t attr, struct tg_shape *s)
{
	uint32_t n = x->attrs[attr].ints.n;
	if (n > TG_MAX_RANK)
		return tg_limit(x->d, x->loc, "attribute %s of %s has rank %u, at most %d is supported", x->info->attrs[attr].name, x->info->name, n,
				TG_MAX_RANK);
	if (!ints(x, attr, n, 0, INT64_MAX))
		return false;
	s->rank = n;
	for (uint32_t i = 0; i < n; i++)
		s->dim[i] = x->attrs[attr].ints.at[i];
	return true;
}

/* ---- shape and place ---- */

static bool const_attr(const struct tg_infer *x, const struct tg_const *c, const char *what)
{
	size_t bytes;
	if (!c || (!c->data && !(tg_shape_bytes(&c->shape, c->dtype, &bytes) && bytes == 0)))
		return tg_error(x->d, x->loc, "attribute %s of %s is missing", what, x->info->name);
	return true;
}

bool infer_constant(struct tg_infer *x)
{
	const struct tg_const *c = A(constant, value)->c;
	return const_attr(x, c, "value") && type_attr(x, "value", c->dtype) && result(x, (uint8_t)c->dtype, &c->shape);
}

bool infer_transpose(struct tg_infer *x)
{
	const struct tg_shape *in = &x->in[0]->shape;
	struct tg_shape s = { .rank = in->rank };
	uint32_t seen = 0;
	if (!ints(x, TG_AT(transpose, perm), in->rank, 0, (int64_t)in->rank - 1))
		return false;
	for (uint32_t i = 0; i < in->rank; i++) {
		uint32_t p = (uint32_t)A(transpose, perm)->ints.at[i];
		if (seen & 1U << p)
			return tg_error(x->d, x->loc, "attribute perm of transpose names dimension %u twice, expected a permutation", p);
		seen |= 1U << p;
		s.dim[i] = in->dim[p];
	}
	return result(x, x->in[0]->dtype, &s);
}

bool infer_reshape(struct tg_infer *x)
{
	struct tg_shape s = { 0 };
	int64_t n, found;
	if (!shape_attr(x, TG_AT(reshape, shape), &s))
		return false;
	if (!tg_shape_count(&x->in[0]->shape, &n) || !tg_shape_count(&s, &found) || n != found)
		return tg_error(x->d, x->loc, "attribute shape of reshape does not have the operand's %lld elements", (long long)n);
	return result(x, x->in[0]->dtype, &s);
}

bool infer_broadcast(struct tg_infer *x)
{
	struct tg_shape s = { 0 };
	const struct tg_shape *in = &x->in[0]->shape;
	if (!shape_attr(x, TG_AT(broadcast, shape), &s))
		return false;
	if (s.rank < in->rank)
		return tg_error(x->d, x->loc, "attribute shape of broadcast has rank %u, expected the operand's %u or more", s.rank, in->rank);
	for (uint32_t i = 0; i < in->rank; i++) {
		int64_t from = in->dim[i], to = s.dim[s.rank - in->rank + i];
		if (from != 1 && from != to)
			return tg_error(x->d, x->loc, "operand of broadcast has extent %lld in dimension %u, expected 1 or %lld", (long long)from, i,
					(long long)to);
	}
	return result(x, x->in[0]->dtype, &s);
}

bool infer_tile(struct tg_infer *x)
{
	struct tg_shape s = x->in[0]->shape;
	if (!ints(x, TG_AT(tile, repeats), s.rank, 0, INT64_MAX))
		return false;
	for (uint32_t i = 0; i < s.rank; i++)
		if (__builtin_mul_overflow(s.dim[i], A(tile, repeats)->ints.at[i], &s.dim[i]))
			return tg_limit(x->d, x->loc, "result of tile is too large");
	return result(x, x->in[0]->dtype, &s);
}

bool infer_slice(struct tg_infer *x)
{
	const struct tg_shape *in = &x->in[0]->shape;
	struct tg_shape s = { .rank = in->rank };
	if (!ints(x, TG_AT(slice, start), in->rank, INT64_MIN, INT64_MAX) || !ints(x, TG_AT(slice, step), in->rank, INT64_MIN, INT64_MAX) ||
	    !ints(x, TG_AT(slice, size), in->rank, 0, INT64_MAX))
		return false;
	for (uint32_t i = 0; i < in->rank; i++) {
		int64_t start = A(slice, start)->ints.at[i], step = A(slice, step)->ints.at[i], last;
		s.dim[i] = A(slice, size)->ints.at[i];
		if (s.dim[i] == 0)
			continue;
		if (step == 0 || __builtin_mul_overflow(step, s.dim[i] - 1, &last) || __builtin_add_overflow(last, start, &last) || start < 0 ||
		    start >= in->dim[i] || last < 0 || last >= in->dim[i])
			return tg_error(x->d, x->loc, "slice of %lld elements from %lld in steps of %lld leaves dimension %u of extent %lld",
					(long long)s.dim[i], (long long)start, (long long)step, i, (long long)in->dim[i]);
	}
	return result(x, x->in[0]->dtype, &s);
}

enum { PAD_LIMIT = 1 << 30 };

bool infer_pad(struct tg_infer *x)
{
	static const char *const modes[] = { "constant", "edge", "reflect", "wrap" };
	struct tg_shape s = x->in[0]->shape;
	const char *mode = A(pad, mode)->s ? A(pad, mode)->s : "";
	uint32_t k = 0;
	while (k < TG_ARRAY_LEN(modes) && strcmp(mode, modes[k]) != 0)
		k++;
	if (k == TG_ARRAY_LEN(modes))
		return tg_error(x->d, x->loc, "attribute mode of pad is %s, expected constant, edge, reflect or wrap", tg_quoted(x->d->arena, mode));
	if (!ints(x, TG_AT(pad, lo), s.rank, -PAD_LIMIT, PAD_LIMIT) || !ints(x, TG_AT(pad, hi), s.rank, -PAD_LIMIT, PAD_LIMIT))
		return false;
	int64_t fill_elements = 1;
	if (x->n_in == 2 && (!same_type(x, 1, 0) || !tg_shape_count(&x->in[1]->shape, &fill_elements)))
		return false;
	if (fill_elements != 1)
		return tg_error(x->d, x->loc, "fill of pad has %lld elements, expected 1", (long long)fill_elements);
	for (uint32_t i = 0; i < s.rank; i++) {
		int64_t n = s.dim[i];
		s.dim[i] += A(pad, lo)->ints.at[i] + A(pad, hi)->ints.at[i];
		if (s.dim[i] < 0)
			return tg_error(x->d, x->loc, "pad removes more than the %lld elements of dimension %u", (long long)n, i);
		if (k && n == 0 && s.dim[i] > 0)
			return tg_error(x->d, x->loc, "pad in mode %s of dimension %u, which is empty", mode, i);
		if (k && s.dim[i] > INT32_MAX)
			return tg_limit(x->d, x->loc, "pad in mode %s to %lld elements, at most %d are supported", mode, (long long)s.dim[i], INT32_MAX);
	}
	return result(x, x->in[0]->dtype, &s);
}

bool infer_concat(struct tg_infer *x)
{
	struct tg_shape s = x->in[0]->shape;
	if (!axis_in(x, TG_AT(concat, axis)))
		return false;
	uint32_t axis = (uint32_t)A(concat, axis)->i;
	for (uint32_t i = 1; i < x->n_in; i++) {
		const struct tg_shape *o = &x->in[i]->shape;
		if (!same_type(x, i, 0))
			return false;
		if (o->rank != s.rank)
			return tg_error(x->d, x->loc, "operand %u of concat has rank %u, expected %u", i, o->rank, s.rank);
		for (uint32_t r = 0; r < s.rank; r++)
			if (r != axis && o->dim[r] != s.dim[r])
				return tg_error(x->d, x->loc, "operand %u of concat has extent %lld in dimension %u, expected %lld", i,
						(long long)o->dim[r], r, (long long)s.dim[r]);
		if (__builtin_add_overflow(s.dim[axis], o->dim[axis], &s.dim[axis]))
			return tg_limit(x->d, x->loc, "result of concat is too large");
	}
	return result(x, x->in[0]->dtype, &s);
}

bool infer_gather(struct tg_infer *x)
{
	const struct tg_shape *in = &x->in[0]->shape, *idx = &x->in[1]->shape;
	struct tg_shape s = { 0 };
	if (x->in[1]->dtype != TG_i32 && x->in[1]->dtype != TG_i64)
		return tg_error(x->d, x->loc, "indices of gather are %s, expected i32 or i64", name_of(x->in[1]->dtype));
	if (!axis_in(x, TG_AT(gather, axis)))
		return false;
	uint32_t axis = (uint32_t)A(gather, axis)->i;
	if (in->dim[axis] > INT32_MAX)
		return tg_limit(x->d, x->loc, "gather from an axis of %lld elements, at most %d are supported", (long long)in->dim[axis], INT32_MAX);
	if (in->rank - 1 + idx->rank > TG_MAX_RANK)
		return tg_limit(x->d, x->loc, "result of gather has rank %u, at most %d is supported", in->rank - 1 + idx->rank, TG_MAX_RANK);
	for (uint32_t i = 0; i < in->rank; i++) {
		if (i != axis)
			s.dim[s.rank++] = in->dim[i];
		for (uint32_t j = 0; i == axis && j < idx->rank; j++)
			s.dim[s.rank++] = idx->dim[j];
	}
	int64_t n;
	if (in->dim[axis] == 0 && tg_shape_count(&s, &n) && n > 0)
		return tg_error(x->d, x->loc, "gather from dimension %u, which is empty", axis);
	return result(x, x->in[0]->dtype, &s);
}

static bool rank_4(const struct tg_infer *x)
{
	if (x->in[0]->shape.rank == 4)
		return true;
	return tg_error(x->d, x->loc, "operand of %s has rank %u, expected 4", x->info->name, x->in[0]->shape.rank);
}

static bool divides(const struct tg_infer *x, int64_t n, uint32_t dim)
{
	if (x->in[0]->shape.dim[dim] % n == 0)
		return true;
	return tg_error(x->d, x->loc, "operand of %s has extent %lld in dimension %u, expected a multiple of %lld", x->info->name,
			(long long)x->in[0]->shape.dim[dim], dim, (long long)n);
}

bool infer_space_to_depth(struct tg_infer *x)
{
	struct tg_shape s = x->in[0]->shape;
	int64_t b = A(space_to_depth, block)->i;
	if (!rank_4(x) || !int_in(x, TG_AT(space_to_depth, block), 1, 1 << 15) || !divides(x, b, 2) || !divides(x, b, 3))
		return false;
	if (__builtin_mul_overflow(s.dim[1], b * b, &s.dim[1]))
		return tg_limit(x->d, x->loc, "result of space_to_depth is too large");
	s.dim[2] /= b;
	s.dim[3] /= b;
	return result(x, x->in[0]->dtype, &s);
}

bool infer_depth_to_space(struct tg_infer *x)
{
	struct tg_shape s = x->in[0]->shape;
	int64_t b = A(depth_to_space, block)->i;
	if (!rank_4(x) || !int_in(x, TG_AT(depth_to_space, block), 1, 1 << 15) || !divides(x, b * b, 1))
		return false;
	s.dim[1] /= b * b;
	if (__builtin_mul_overflow(s.dim[2], b, &s.dim[2]) || __builtin_mul_overflow(s.dim[3], b, &s.dim[3]))
		return tg_limit(x->d, x->loc, "result of depth_to_space is too large");
	return result(x, x->in[0]->dtype, &s);
}

bool infer_iota(struct tg_infer *x)
{
	struct tg_shape s = { 0 };
	if (!shape_attr(x, TG_AT(iota, shape), &s) || !type_attr(x, "dtype", A(iota, dtype)->dtype) ||
	    !int_in(x, TG_AT(iota, axis), 0, (int64_t)s.rank - 1))
		return false;
	if (s.dim[A(iota, axis)->i] > INT32_MAX)
		return tg_limit(x->d, x->loc, "iota counts to %lld, at most %d is supported", (long long)s.dim[A(iota, axis)->i], INT32_MAX);
	return result(x, (uint8_t)A(iota, dtype)->dtype, &s);
}

bool infer_interp(struct tg_infer *x)
{
	struct tg_shape s = x->in[0]->shape;
	const struct tg_const *ix = A(interp, index)->c, *w = A(interp, weight)->c;
	if (!axis_in(x, TG_AT(interp, axis)) || !const_attr(x, ix, "index") || (w && !const_attr(x, w, "weight")))
		return false;
	if (ix->dtype != TG_i32 || ix->shape.rank != 2)
		return tg_error(x->d, x->loc, "attribute index of interp is %s of rank %u, expected i32 of rank 2", tg_dtypes[ix->dtype].name,
				ix->shape.rank);
	if (w && (w->dtype != TG_f32 || !tg_shape_equal(&w->shape, &ix->shape)))
		return tg_error(x->d, x->loc, "attribute weight of interp is %s, expected f32 in the shape of index", tg_dtypes[w->dtype].name);
	if (ix->shape.dim[1] < 1 || (!w && ix->shape.dim[1] != 1))
		return tg_error(x->d, x->loc, "attribute index of interp has %lld taps, expected %s", (long long)ix->shape.dim[1],
				w ? "1 or more" : "1 as there are no weights");
	if (w && kind_of(x->in[0]->dtype) != F)
		return tg_error(x->d, x->loc, "operand of interp is %s, expected a float type as there are weights", name_of(x->in[0]->dtype));
	if (s.dim[A(interp, axis)->i] > INT32_MAX)
		return tg_limit(x->d, x->loc, "interp over %lld elements, at most %d are supported", (long long)s.dim[A(interp, axis)->i], INT32_MAX);
	s.dim[A(interp, axis)->i] = ix->shape.dim[0];
	return result(x, x->in[0]->dtype, &s);
}

/* ---- reductions ---- */

static bool reduce(struct tg_infer *x, uint32_t axes_attr, uint32_t keep_attr, int kinds)
{
	const struct tg_shape *in = &x->in[0]->shape;
	const union tg_attr *axes = &x->attrs[axes_attr];
	struct tg_shape s = { 0 };
	if (!of_kind(x, 0, kinds) || !ints(x, axes_attr, axes->ints.n, 0, (int64_t)in->rank - 1) || !int_in(x, keep_attr, 0, 1))
		return false;
	for (uint32_t i = 1; i < axes->ints.n; i++)
		if (axes->ints.at[i] <= axes->ints.at[i - 1])
			return tg_error(x->d, x->loc, "attribute axes of %s has %lld after %lld, expected ascending axes", x->info->name,
					(long long)axes->ints.at[i], (long long)axes->ints.at[i - 1]);
	for (uint32_t i = 0, a = 0; i < in->rank; i++) {
		bool reduced = a < axes->ints.n && axes->ints.at[a] == i;
		a += reduced;
		if (!reduced || x->attrs[keep_attr].i)
			s.dim[s.rank++] = reduced ? 1 : in->dim[i];
	}
	return result(x, x->in[0]->dtype, &s);
}

#define REDUCE(name, kinds) \
	bool infer_##name(struct tg_infer *x) { return reduce(x, TG_AT(name, axes), TG_AT(name, keep), kinds); }
REDUCE(reduce_sum, F | I)
REDUCE(reduce_prod, F | I)
REDUCE(reduce_max, ANY)
REDUCE(reduce_min, ANY)

static bool arg_reduce(struct tg_infer *x, uint32_t axis_attr, uint32_t keep_attr)
{
	const struct tg_shape *in = &x->in[0]->shape;
	struct tg_shape s = { 0 };
	if (!of_kind(x, 0, F | I) || !axis_in(x, axis_attr) || !int_in(x, keep_attr, 0, 1))
		return false;
	int64_t axis = x->attrs[axis_attr].i;
	if (in->dim[axis] < 1 || in->dim[axis] > INT32_MAX)
		return tg_error(x->d, x->loc, "%s over an axis of %lld elements, expected 1 to %d", x->info->name, (long long)in->dim[axis], INT32_MAX);
	for (uint32_t i = 0; i < in->rank; i++)
		if (i != axis || x->attrs[keep_attr].i)
			s.dim[s.rank++] = i == axis ? 1 : in->dim[i];
	return result(x, TG_i64, &s);
}

bool infer_arg_max(struct tg_infer *x) { return arg_reduce(x, TG_AT(arg_max, axis), TG_AT(arg_max, keep)); }
bool infer_arg_min(struct tg_infer *x) { return arg_reduce(x, TG_AT(arg_min, axis), TG_AT(arg_min, keep)); }

/* ---- windows and contractions ---- */

enum { BIG = TG_MAX_WINDOW };

/* The attributes that all windows have, n entries each; s becomes N x channels x out. */
static bool window(const struct tg_infer *x, uint32_t stride, uint32_t dilation, uint32_t pad, uint32_t out, int64_t channels, struct tg_shape *s)
{
	uint32_t n = x->in[0]->shape.rank - 2;
	if (!ints(x, stride, n, 1, BIG) || !ints(x, dilation, n, 1, BIG) || !ints(x, pad, n, -BIG, BIG) || !ints(x, out, n, 0, BIG))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (x->in[0]->shape.dim[i + 2] > BIG)
			return tg_limit(x->d, x->loc, "operand of %s has extent %lld in dimension %u, at most %d is supported", x->info->name,
					(long long)x->in[0]->shape.dim[i + 2], i + 2, BIG);
	s->rank = n + 2;
	s->dim[0] = x->in[0]->shape.dim[0];
	s->dim[1] = channels;
	for (uint32_t i = 0; i < n; i++)
		s->dim[i + 2] = x->attrs[out].ints.at[i];
	return true;
}

#define POOL(name) \
	bool infer_##name(struct tg_infer *x) \
	{ \
		struct tg_shape s = { 0 }; \
		return of_kind(x, 0, F | I) && rank_at_least(x, 0, 3) && \
		       ints(x, TG_AT(name, kernel), x->in[0]->shape.rank - 2, 1, BIG) && \
		       window(x, TG_AT(name, stride), TG_AT(name, dilation), TG_AT(name, pad), TG_AT(name, out), x->in[0]->shape.dim[1], &s) && \
		       result(x, x->in[0]->dtype, &s); \
	}
POOL(pool_max)
POOL(pool_sum)

static bool is_byte(uint8_t t) { return t == TG_i8 || t == TG_u8; }

/* Type of a contraction of operands 0 and 1. */
static bool contraction_type(const struct tg_infer *x, uint8_t *t)
{
	*t = TG_i32;
	if (is_byte(x->in[0]->dtype) && is_byte(x->in[1]->dtype))
		return true;
	*t = x->in[0]->dtype;
	return of_kind(x, 0, F | I) && same_type(x, 1, 0);
}

bool infer_matmul(struct tg_infer *x)
{
	uint8_t t;
	if (!contraction_type(x, &t) || !rank_at_least(x, 0, 2) || !rank_at_least(x, 1, 2))
		return false;
	struct tg_shape a = x->in[0]->shape, b = x->in[1]->shape;
	int64_t m = a.dim[a.rank - 2], k = a.dim[a.rank - 1], k2 = b.dim[b.rank - 2], n = b.dim[b.rank - 1];
	if (k != k2)
		return tg_error(x->d, x->loc, "operand 1 of matmul has %lld rows, expected %lld as operand 0 has columns", (long long)k2, (long long)k);
	a.rank -= 2;
	b.rank -= 2;
	if (!broadcast_into(x, &a, &b, 1))
		return false;
	a.dim[a.rank++] = m;
	a.dim[a.rank++] = n;
	return result(x, t, &a);
}

/* Common to conv and conv_transpose: x, w of equal rank, at least one spatial dimension, bias [m] of the result's type. */
static bool conv_operands(const struct tg_infer *x, int64_t m, uint8_t t)
{
	if (x->n_in < 3)
		return true;
	const struct tg_value *b = x->in[2];
	if (b->dtype != t)
		return tg_error(x->d, x->loc, "bias of %s is %s, expected %s", x->info->name, name_of(b->dtype), name_of(t));
	if (b->shape.rank != 1 || b->shape.dim[0] != m)
		return tg_error(x->d, x->loc, "bias of %s has rank %u and first extent %lld, expected rank 1 and %lld elements", x->info->name,
				b->shape.rank, (long long)(b->shape.rank ? b->shape.dim[0] : 1), (long long)m);
	return true;
}

static bool conv_ranks(const struct tg_infer *x)
{
	uint32_t r = x->in[0]->shape.rank, w = x->in[1]->shape.rank;
	if (!rank_at_least(x, 0, 3))
		return false;
	if (w != r)
		return tg_error(x->d, x->loc, "%s weight has rank %u, expected %u", x->info->name, w, r);
	for (uint32_t i = 2; i < w; i++)
		if (x->in[1]->shape.dim[i] < 1 || x->in[1]->shape.dim[i] > BIG)
			return tg_error(x->d, x->loc, "%s weight has extent %lld in dimension %u, expected 1 to %d", x->info->name,
					(long long)x->in[1]->shape.dim[i], i, BIG);
	return true;
}

bool infer_conv(struct tg_infer *x)
{
	uint8_t t;
	struct tg_shape s = { 0 };
	const struct tg_shape *in = &x->in[0]->shape, *w = &x->in[1]->shape;
	if (!contraction_type(x, &t) || !conv_ranks(x) || !int_in(x, TG_AT(conv, groups), 1, BIG))
		return false;
	int64_t g = A(conv, groups)->i;
	if (in->dim[1] % g || in->dim[1] / g != w->dim[1])
		return tg_error(x->d, x->loc, "conv weight has %lld input channels, expected %lld / %lld groups", (long long)w->dim[1],
				(long long)in->dim[1], (long long)g);
	if (w->dim[0] % g)
		return tg_error(x->d, x->loc, "conv weight has %lld output channels, expected a multiple of %lld groups", (long long)w->dim[0],
				(long long)g);
	return conv_operands(x, w->dim[0], t) &&
	       window(x, TG_AT(conv, stride), TG_AT(conv, dilation), TG_AT(conv, pad), TG_AT(conv, out), w->dim[0], &s) && result(x, t, &s);
}

bool infer_conv_transpose(struct tg_infer *x)
{
	uint8_t t;
	struct tg_shape s = { 0 };
	const struct tg_shape *in = &x->in[0]->shape, *w = &x->in[1]->shape;
	int64_t g = A(conv_transpose, groups)->i, m;
	if (!contraction_type(x, &t) || !conv_ranks(x) || !int_in(x, TG_AT(conv_transpose, groups), 1, BIG))
		return false;
	if (in->dim[1] != w->dim[0] || in->dim[1] % g)
		return tg_error(x->d, x->loc, "conv_transpose weight has %lld input channels, expected %lld, a multiple of %lld groups",
				(long long)w->dim[0], (long long)in->dim[1], (long long)g);
	if (__builtin_mul_overflow(w->dim[1], g, &m))
		return tg_limit(x->d, x->loc, "result of conv_transpose is too large");
	struct tg_shape wide = *in; /* the operand with zeros between its elements must be possible too */
	size_t bytes;
	for (uint32_t i = 2; i < wide.rank && i - 2 < A(conv_transpose, stride)->ints.n; i++)
		if (wide.dim[i] > BIG || A(conv_transpose, stride)->ints.at[i - 2] > BIG ||
		    (wide.dim[i] *= A(conv_transpose, stride)->ints.at[i - 2]) > BIG)
			return tg_limit(x->d, x->loc, "conv_transpose widens dimension %u to more than %d elements", i, BIG);
	if (!tg_shape_bytes(&wide, x->in[0]->dtype, &bytes) && A(conv_transpose, stride)->ints.n == wide.rank - 2 &&
	    A(conv_transpose, stride)->ints.at[0] > 0)
		return tg_limit(x->d, x->loc, "conv_transpose widens its operand too much");
	return conv_operands(x, m, t) &&
	       window(x, TG_AT(conv_transpose, stride), TG_AT(conv_transpose, dilation), TG_AT(conv_transpose, pad), TG_AT(conv_transpose, out), m,
		      &s) &&
	       result(x, t, &s);
}
