/* import_gather.c: ops that read or write through indices, and the makers of constant patterns.
 *
 * Everything becomes a gather from a flat tensor by indices that are computed. A scatter is turned round: for each place of the result, which
 * update, if any, lands there. When the indices are constant that inverse is found here; otherwise by comparing all pairs, within a budget. */
#include "import.h"

#include <string.h>

enum { SCATTER_MAX_PAIRS = 1 << 24 };

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : im->in[k];
}

static tg_val num(struct tg_im *im, tg_val like, int64_t v)
{
	return tg_im_scalar_i64(im, tg_im_type(im, like), v);
}

/* Negative indices count from the end of `n` elements. */
static tg_val from_start(struct tg_im *im, tg_val index, int64_t n)
{
	return tg_im_select(im, X_LT(index, num(im, index, 0)), X_ADD(index, num(im, index, n)), index);
}

void tg_im_import_gather(struct tg_im *im)
{
	tg_val x = operand(im, 0), index = operand(im, 1);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), tg_im_rank(im, x));
	const struct tg_const *c = tg_im_peek(im, index);
	int64_t n = im->failed ? 0 : tg_im_shape(im, x)->dim[axis];
	for (int64_t i = 0; c && !im->failed && i < tg_im_count(im, index) && i < TG_IM_FOLD_ELEMENTS; i++)
		if (tg_const_i64(c, i) < -n || tg_const_i64(c, i) >= n)
			tg_im_error(im, "index %lld is outside the axis of %lld elements", (long long)tg_const_i64(c, i), (long long)n);
	im->out[0] = im->failed ? (tg_val){ 0 } : tg_im_gather(im, x, index, axis);
}

/* The row-major place of each element of an index tensor of shape `s` in data of shape `data`, with dimension `axis` taken from `index`. */
static tg_val flat_place(struct tg_im *im, const struct tg_shape *data, const struct tg_shape *s, uint32_t axis, tg_val index)
{
	tg_val flat = { 0 };
	int64_t stride = 1;
	for (uint32_t k = data->rank; k--; stride *= data->dim[k]) {
		struct tg_shape line = { .rank = s->rank };
		for (uint32_t i = 0; i < s->rank; i++)
			line.dim[i] = i == k ? s->dim[i] : 1;
		if (k != axis && s->dim[k] == 1)
			continue;
		tg_val at = k == axis ? from_start(im, index, data->dim[axis]) : tg_im_iota(im, TG_i64, &line, k);
		at = stride == 1 ? at : X_MUL(at, num(im, at, stride));
		flat = tg_has(flat) ? X_ADD(flat, at) : at;
	}
	return flat;
}

static bool fits_data(struct tg_im *im, const struct tg_shape *data, const struct tg_shape *s, uint32_t axis)
{
	bool ok = data->rank == s->rank;
	for (uint32_t i = 0; ok && i < s->rank; i++)
		ok = i == axis || s->dim[i] <= data->dim[i];
	if (!ok)
		tg_im_error(im, "the indices do not lie within the data's shape");
	return ok && !im->failed;
}

static tg_val flatten(struct tg_im *im, tg_val x)
{
	return tg_im_reshape_n(im, x, 1, tg_im_count(im, x));
}

void tg_im_import_gather_elements(struct tg_im *im)
{
	tg_val x = operand(im, 0), index = tg_im_cast(im, operand(im, 1), TG_i64);
	struct tg_shape data = *tg_im_shape(im, x), s = *tg_im_shape(im, index);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), data.rank);
	if (im->failed || !fits_data(im, &data, &s, axis))
		return;
	tg_val flat = flatten(im, x), place = flat_place(im, &data, &s, axis, index);
	im->out[0] = tg_im_gather(im, flat, place, 0);
}

/* Index tuples [..., k] into dimensions b .. b + k of data, as one index into those dimensions flattened. */
static tg_val tuple_place(struct tg_im *im, const struct tg_shape *data, uint32_t b, tg_val index)
{
	struct tg_shape s = *tg_im_shape(im, index);
	uint32_t k = (uint32_t)s.dim[s.rank - 1], last = s.rank - 1;
	struct tg_shape heads = { .rank = last };
	for (uint32_t i = 0; i < last; i++)
		heads.dim[i] = s.dim[i];
	tg_val flat = { 0 };
	int64_t stride = 1;
	for (uint32_t j = k; j--; stride *= data->dim[b + j]) {
		tg_val at = from_start(im, tg_im_reshape(im, tg_im_slice(im, index, last, j, 1), &heads), data->dim[b + j]);
		at = stride == 1 ? at : X_MUL(at, num(im, at, stride));
		flat = tg_has(flat) ? X_ADD(flat, at) : at;
	}
	for (uint32_t j = b; j--; stride *= data->dim[j]) {
		struct tg_shape line = { .rank = last };
		for (uint32_t i = 0; i < last; i++)
			line.dim[i] = i == j ? heads.dim[i] : 1;
		flat = X_ADD(flat, X_MUL(tg_im_iota(im, TG_i64, &line, j), tg_im_scalar_i64(im, TG_i64, stride)));
	}
	return flat;
}

static bool tuples_fit(struct tg_im *im, const struct tg_shape *data, const struct tg_shape *s, uint32_t b)
{
	bool ok = s->rank >= 1 && b < s->rank && b < data->rank && s->dim[s->rank - 1] >= 1 && s->dim[s->rank - 1] <= (int64_t)(data->rank - b);
	for (uint32_t i = 0; ok && i < b; i++)
		ok = s->dim[i] == data->dim[i];
	if (!ok)
		tg_im_error(im, "the index tuples do not fit the data's rank");
	return ok && !im->failed;
}

void tg_im_import_gather_nd(struct tg_im *im)
{
	tg_val x = operand(im, 0), index = tg_im_cast(im, operand(im, 1), TG_i64);
	struct tg_shape data = *tg_im_shape(im, x), s = *tg_im_shape(im, index), rows = { .rank = 1, .dim = { 1 } };
	int64_t batch = tg_im_int(im, "batch_dims", 0);
	uint32_t b = batch < 0 || batch > TG_MAX_RANK ? TG_MAX_RANK : (uint32_t)batch;
	if (im->failed || !tuples_fit(im, &data, &s, b))
		return;
	uint32_t n_flat = b + (uint32_t)s.dim[s.rank - 1];
	for (uint32_t i = 0; i < data.rank; i++) {
		if (i < n_flat)
			rows.dim[0] *= data.dim[i];
		else
			rows.dim[rows.rank++] = data.dim[i];
	}
	tg_val flat = tg_im_reshape(im, x, &rows), place = tuple_place(im, &data, b, index);
	im->out[0] = tg_im_gather(im, flat, place, 0);
}

/* ---- scatter ---- */

/* x [n, inner], place i64 [m], updates [m, inner] */
struct scatter { tg_val x, place, updates; int64_t n, m, inner; };

/* For each row of x the update that lands there, or -1: constant places. */
static tg_val inverse_const(struct tg_im *im, const struct scatter *s, const struct tg_const *c)
{
	int64_t *inv = tg_im_dims(im, (uint32_t)s->n, -1);
	for (int64_t i = 0; i < s->m; i++) {
		int64_t at = tg_const_i64(c, i);
		if (at < 0 || at >= s->n) {
			tg_im_error(im, "index %lld is outside the data", (long long)at);
			return (tg_val){ 0 };
		}
		inv[at] = i;
	}
	return tg_im_i64s(im, inv, (uint32_t)s->n);
}

static tg_val hits(struct tg_im *im, const struct scatter *s)
{
	struct tg_shape col = { 2, { s->n, 1 } };
	return X_EQ(tg_im_iota(im, TG_i64, &col, 0), tg_im_reshape_n(im, s->place, 2, (int64_t)1, s->m));
}

static tg_val inverse(struct tg_im *im, const struct scatter *s)
{
	struct tg_shape row = { 2, { 1, s->m } };
	tg_val which = tg_im_select(im, hits(im, s), tg_im_iota(im, TG_i32, &row, 1), tg_im_scalar_i64(im, TG_i32, -1));
	return tg_im_reduce(im, TG_OP_reduce_max, which, 2, false);
}

static tg_val replace(struct tg_im *im, const struct scatter *s)
{
	const struct tg_const *c = tg_im_peek(im, s->place);
	tg_val inv = c && s->n <= 1 << 20 ? inverse_const(im, s, c) : inverse(im, s);
	tg_val from = X_MAX(inv, num(im, inv, 0));
	tg_val has = tg_im_reshape_n(im, X_LE(num(im, inv, 0), inv), 2, s->n, (int64_t)1);
	return tg_im_select(im, has, tg_im_gather(im, s->updates, from, 0), s->x);
}

static tg_val accumulate(struct tg_im *im, const struct scatter *s, const char *how)
{
	static const struct { const char *name; enum tg_op_code reduce, op; } table[] = {
		{ "add", TG_OP_reduce_sum, TG_OP_add }, { "mul", TG_OP_reduce_prod, TG_OP_mul },
		{ "max", TG_OP_reduce_max, TG_OP_max }, { "min", TG_OP_reduce_min, TG_OP_min } };
	for (uint32_t i = 0; i < TG_ARRAY_LEN(table); i++) {
		if (strcmp(how, table[i].name))
			continue;
		tg_val hit = tg_im_reshape_n(im, hits(im, s), 3, s->n, s->m, (int64_t)1);
		tg_val upd = tg_im_reshape_n(im, s->updates, 3, (int64_t)1, s->m, s->inner);
		/* what is not hit contributes the identity; for max and min the element itself */
		tg_val idle = i < 2 ? X_NUM(s->x, i) : tg_im_reshape_n(im, s->x, 3, s->n, (int64_t)1, s->inner);
		tg_val sum = tg_im_reduce(im, table[i].reduce, tg_im_select(im, hit, upd, idle), 2, false);
		return tg_im_2(im, table[i].op, s->x, sum);
	}
	tg_im_refuse(im, "attribute reduction is %s; the operator knows none, add, mul, max and min", tg_quoted(im->tmp, how));
	return (tg_val){ 0 };
}

static tg_val scatter(struct tg_im *im, const struct scatter *s)
{
	const char *how = tg_im_str(im, "reduction", "none");
	bool none = !strcmp(how, "none");
	if (im->failed || !s->m || !s->n || !s->inner)
		return s->x;
	bool is_const = none && tg_im_peek(im, s->place) && s->n <= 1 << 20;
	int64_t cost = none ? 1 : s->inner;
	if (!is_const && s->n > SCATTER_MAX_PAIRS / s->m / cost) {
		tg_im_refuse(im, "a scatter of %lld updates over %lld places with indices from the data compares more than %d pairs", (long long)s->m,
			     (long long)s->n, SCATTER_MAX_PAIRS);
		return s->x;
	}
	return none ? replace(im, s) : accumulate(im, s, how);
}

void tg_im_import_scatter_elements(struct tg_im *im)
{
	tg_val x = operand(im, 0), index = tg_im_cast(im, operand(im, 1), TG_i64), updates = operand(im, 2);
	struct tg_shape data = *tg_im_shape(im, x), s = *tg_im_shape(im, index);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), data.rank);
	if (im->failed || !fits_data(im, &data, &s, axis))
		return;
	if (!tg_shape_equal(&s, tg_im_shape(im, updates))) {
		tg_im_error(im, "the updates have not the shape of the indices");
		return;
	}
	int64_t n = tg_im_count(im, x), m = tg_im_count(im, index);
	tg_val place = m ? flatten(im, tg_im_broadcast(im, flat_place(im, &data, &s, axis, index), &s)) : index;
	struct scatter sc = { tg_im_reshape_n(im, x, 2, n, (int64_t)1), place, tg_im_reshape_n(im, updates, 2, m, (int64_t)1), n, m, 1 };
	im->out[0] = tg_im_reshape(im, scatter(im, &sc), &data);
}

void tg_im_import_scatter_nd(struct tg_im *im)
{
	tg_val x = operand(im, 0), index = tg_im_cast(im, operand(im, 1), TG_i64), updates = operand(im, 2);
	struct tg_shape data = *tg_im_shape(im, x), s = *tg_im_shape(im, index);
	if (im->failed || !tuples_fit(im, &data, &s, 0))
		return;
	int64_t n = 1, inner = 1, m = 1;
	for (uint32_t i = 0; i < data.rank; i++)
		*(i < s.dim[s.rank - 1] ? &n : &inner) *= data.dim[i];
	for (uint32_t i = 0; i + 1 < s.rank; i++)
		m *= s.dim[i];
	if (tg_im_count(im, updates) != m * inner) {
		tg_im_error(im, "the updates have %lld elements, expected %lld", (long long)tg_im_count(im, updates), (long long)(m * inner));
		return;
	}
	struct scatter sc = { tg_im_reshape_n(im, x, 2, n, inner), flatten(im, tuple_place(im, &data, 0, index)), tg_im_reshape_n(im, updates, 2, m, inner), n,
			      m, inner };
	im->out[0] = tg_im_reshape(im, scatter(im, &sc), &data);
}

/* ---- patterns ---- */

void tg_im_import_one_hot(struct tg_im *im)
{
	tg_val index = operand(im, 0), values = operand(im, 2);
	const struct tg_const *c = tg_im_const(im, operand(im, 1), "depth of OneHot", true);
	if (!c || im->failed)
		return;
	int64_t depth = tg_is_float(c->dtype) ? (int64_t)tg_const_f64(c, 0) : tg_const_i64(c, 0);
	struct tg_shape s = *tg_im_shape(im, index), column, line = { .rank = s.rank + 1 };
	if (depth < 0 || depth > INT32_MAX || s.rank + 1 > TG_MAX_RANK || tg_im_count(im, values) != 2) {
		tg_im_error(im, "OneHot has depth %lld and %lld values", (long long)depth, (long long)tg_im_count(im, values));
		return;
	}
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", -1), s.rank + 1);
	column = s;
	column.rank++;
	for (uint32_t i = s.rank; i > axis; i--)
		column.dim[i] = column.dim[i - 1];
	column.dim[axis] = 1;
	for (uint32_t i = 0; i < line.rank; i++)
		line.dim[i] = i == axis ? depth : 1;
	tg_val at = from_start(im, tg_im_reshape(im, tg_im_cast(im, index, TG_i64), &column), depth);
	tg_val hit = X_EQ(tg_im_iota(im, TG_i64, &line, axis), at);
	tg_val off = tg_im_reshape_n(im, tg_im_slice(im, values, 0, 0, 1), 0), on = tg_im_reshape_n(im, tg_im_slice(im, values, 0, 1, 1), 0);
	im->out[0] = tg_im_select(im, hit, on, off);
}

/* bool [rows, cols]: column - row <op> k */
static tg_val diagonal(struct tg_im *im, int64_t rows, int64_t cols, enum tg_op_code op, int64_t k)
{
	struct tg_shape r = { 2, { rows, 1 } }, c = { 2, { 1, cols } };
	tg_val row = X_ADD(tg_im_iota(im, TG_i64, &r, 0), tg_im_scalar_i64(im, TG_i64, k));
	return tg_im_2(im, op, tg_im_iota(im, TG_i64, &c, 1), row);
}

void tg_im_import_eye_like(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	enum tg_dtype t = tg_im_has(im, "dtype") ? tg_dtype_from_onnx((int32_t)tg_im_int(im, "dtype", 1)) : tg_im_type(im, x);
	if (!im->failed && tg_im_rank(im, x) != 2)
		tg_im_error(im, "EyeLike of rank %u, expected 2", tg_im_rank(im, x));
	if (im->failed)
		return;
	const struct tg_shape *s = tg_im_shape(im, x);
	im->out[0] = tg_im_cast(im, diagonal(im, s->dim[0], s->dim[1], TG_OP_eq, tg_im_int(im, "k", 0)), t);
}

void tg_im_import_trilu(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	uint32_t rank = tg_im_rank(im, x);
	struct tg_ints k = { NULL, 0 };
	if (im->n_in > 1 && tg_im_in(im, 1) && !tg_im_ints(im, im->in[1], "diagonal of Trilu", &k))
		return;
	if (rank < 2) {
		tg_im_error(im, "Trilu of rank %u, expected 2 or more", rank);
		return;
	}
	const struct tg_shape *s = tg_im_shape(im, x);
	int64_t at = k.n ? k.at[0] : 0, limit = (int64_t)1 << 40;
	at = at > limit ? limit : at < -limit ? -limit : at;
	bool upper = tg_im_int(im, "upper", 1);
	/* upper keeps column - row >= k, lower keeps column - row <= k */
	tg_val drop = diagonal(im, s->dim[rank - 2], s->dim[rank - 1], upper ? TG_OP_lt : TG_OP_le, at);
	tg_val zero = X_NUM(x, 0);
	im->out[0] = upper ? tg_im_select(im, drop, zero, x) : tg_im_select(im, drop, x, zero);
}

void tg_im_import_range(struct tg_im *im)
{
	const struct tg_const *c[3];
	for (uint32_t i = 0; i < 3; i++) {
		c[i] = tg_im_const(im, operand(im, i), "length of Range", true);
		if (!c[i])
			return;
	}
	enum tg_dtype t = c[0]->dtype;
	double start = tg_const_f64(c[0], 0), limit = tg_const_f64(c[1], 0), step = tg_const_f64(c[2], 0), n;
	if (step == 0) {
		tg_im_error(im, "the step of Range is 0");
		return;
	}
	n = (limit - start) / step;
	int64_t count = n > 0 ? (int64_t)n : 0;
	count += (double)count < n;
	if (!(n < (double)INT32_MAX)) {
		tg_im_error(im, "Range gives %g elements", n);
		return;
	}
	struct tg_shape s = { 1, { count } };
	tg_val i = tg_im_iota(im, t, &s, 0);
	bool plain = tg_is_float(t);
	tg_val first = plain ? tg_im_scalar(im, t, start) : tg_im_scalar_i64(im, t, tg_const_i64(c[0], 0));
	tg_val by = plain ? tg_im_scalar(im, t, step) : tg_im_scalar_i64(im, t, tg_const_i64(c[2], 0));
	im->out[0] = X_ADD(X_MUL(i, by), first);
}

/* ---- constants ---- */

static tg_val floats_const(struct tg_im *im, const double *v, uint32_t n, uint32_t rank)
{
	struct tg_shape s = { rank, { n } };
	float *at = tg_alloc_n(im->arena, n + 1u, sizeof *at);
	for (uint32_t i = 0; i < n; i++)
		at[i] = (float)v[i];
	return tg_im_put_const(im, tg_const_dense(im->arena, TG_f32, &s, at, true));
}

void tg_im_import_constant(struct tg_im *im)
{
	struct tg_ints ints;
	const double *floats;
	uint32_t n;
	const Onnx__AttributeProto *sparse = tg_im_attr(im, "sparse_value");
	if (tg_im_has(im, "value")) {
		struct tg_const *c = tg_im_attr_tensor(im, "value");
		im->out[0] = c ? tg_im_put_const(im, c) : (tg_val){ 0 };
	} else if (tg_im_has(im, "value_int")) {
		im->out[0] = tg_im_scalar_i64(im, TG_i64, tg_im_int(im, "value_int", 0));
	} else if (tg_im_has(im, "value_float")) {
		im->out[0] = tg_im_scalar(im, TG_f32, tg_im_float(im, "value_float", 0));
	} else if (tg_im_attr_ints(im, "value_ints", &ints)) {
		im->out[0] = tg_im_i64s(im, ints.at, ints.n);
	} else if (tg_im_attr_floats(im, "value_floats", &floats, &n)) {
		im->out[0] = floats_const(im, floats, n, 1);
	} else if (sparse && sparse->sparse_tensor) {
		struct tg_const *c;
		uint32_t before = im->d->n_errors;
		if (tg_pb_sparse(im->d, im->arena, im->loc, &im->src, sparse->sparse_tensor, &c)) {
			im->out[0] = tg_im_put_const(im, c);
		} else {
			im->failed = true;
			im->stop |= im->d->n_errors != before && im->d->status != TG_ERR_UNSUPPORTED;
		}
	} else if (tg_im_has(im, "value_string") || tg_im_has(im, "value_strings")) {
		tg_im_refuse(im, "a constant of strings, which the chip does not have");
	} else if (!im->failed) {
		tg_im_error(im, "Constant has no value");
	}
}

void tg_im_import_constant_of_shape(struct tg_im *im)
{
	struct tg_ints want;
	struct tg_const *value = tg_im_attr_tensor(im, "value");
	if (!tg_im_ints(im, operand(im, 0), "shape of ConstantOfShape", &want) || im->failed)
		return;
	if (want.n > TG_MAX_RANK) {
		tg_im_refuse(im, "ConstantOfShape of rank %u, at most %d is supported", want.n, TG_MAX_RANK);
		return;
	}
	struct tg_shape s = tg_im_shape_of(want.n, want.at);
	int64_t n;
	if (!tg_shape_count(&s, &n) || (value && (!tg_shape_count(&value->shape, &n) || n != 1))) {
		tg_im_error(im, "ConstantOfShape has an impossible shape, or a value that is not one element");
		return;
	}
	struct tg_const *c = value ? tg_alloc(im->arena, sizeof *c) : tg_const_splat(im->arena, TG_f32, &s, 0);
	if (value) {
		*c = *value;
		c->kind = TG_CONST_SPLAT;
		c->shape = s;
	}
	im->out[0] = tg_im_put_const(im, c);
}

/* ---- results whose shape depends on the data: only of constants ---- */

void tg_im_import_non_zero(struct tg_im *im)
{
	const struct tg_const *c = tg_im_const(im, operand(im, 0), "shape of NonZero's result", false);
	if (!c)
		return;
	int64_t n = tg_im_count(im, im->in[0]), found = 0;
	uint32_t rank = c->shape.rank;
	if (n > TG_IM_FOLD_ELEMENTS * 16) {
		tg_im_refuse(im, "NonZero of %lld constant elements", (long long)n);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		found += tg_const_f64(c, i) != 0;
	int64_t *at = tg_alloc_n(im->arena, (size_t)(found * rank) + 1, sizeof *at);
	for (int64_t i = 0, k = 0; i < n; i++) {
		if (tg_const_f64(c, i) == 0)
			continue;
		int64_t rest = i;
		for (uint32_t r = rank; r--; rest /= c->shape.dim[r])
			at[(int64_t)r * found + k] = rest % c->shape.dim[r];
		k++;
	}
	struct tg_shape s = { 2, { rank, found } };
	im->out[0] = tg_im_put_const(im, tg_const_dense(im->arena, TG_i64, &s, at, true));
}

void tg_im_import_compress(struct tg_im *im)
{
	tg_val x = operand(im, 0);
	const struct tg_const *c = tg_im_const(im, operand(im, 1), "length of Compress's result", false);
	if (!c)
		return;
	bool has_axis = tg_im_has(im, "axis");
	uint32_t axis = has_axis ? tg_im_axis(im, tg_im_int(im, "axis", 0), tg_im_rank(im, x)) : 0;
	x = has_axis ? x : flatten(im, x);
	int64_t n = im->failed ? 0 : tg_im_shape(im, x)->dim[axis], given = tg_im_count(im, im->in[1]), found = 0;
	int64_t *at = tg_im_dims(im, (uint32_t)given, 0);
	for (int64_t i = 0; i < given && i < n; i++)
		if (tg_const_i64(c, i))
			at[found++] = i;
	im->out[0] = tg_im_gather(im, x, tg_im_i64s(im, at, (uint32_t)found), axis);
}
