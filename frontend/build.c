/* build.c: graph ops for the importers, with constants folded on the way.
 *
 * Every op is built in the module, which infers and checks its type. If all operands are constants it may then be replaced by one:
 *   - an elementwise op over splats is computed once, whatever its shape;
 *   - an op that only moves elements of one splat gives that splat;
 *   - anything else of up to TG_IM_FOLD_ELEMENTS elements is expanded and evaluated in a module of its own. */
#include "import.h"

#include <stdarg.h>
#include <string.h>

/* ---- attributes live as long as the module ---- */

static const union tg_attr *keep_attrs(struct tg_im *im, enum tg_op_code code, const union tg_attr *attrs)
{
	const struct tg_op_info *info = tg_op_info((uint16_t)code);
	if (!attrs || !info->n_attrs)
		return attrs;
	union tg_attr *copy = tg_alloc_n(im->arena, info->n_attrs, sizeof *copy);
	memcpy(copy, attrs, info->n_attrs * sizeof *copy);
	for (uint32_t i = 0; i < info->n_attrs; i++)
		if (info->attrs[i].kind == TG_ATTR_STR && copy[i].s) {
			copy[i].s = tg_strdup(im->arena, copy[i].s);
		} else if (info->attrs[i].kind == TG_ATTR_INTS) {
			int64_t *at = tg_alloc_n(im->arena, copy[i].ints.n + 1u, sizeof *at);
			if (copy[i].ints.n)
				memcpy(at, copy[i].ints.at, copy[i].ints.n * sizeof *at);
			copy[i].ints.at = at;
		}
	return copy;
}

/* ---- folding ---- */

static bool all_consts(const struct tg_im *im, const tg_val *in, uint32_t n, const struct tg_const **c)
{
	for (uint32_t i = 0; i < n; i++) {
		c[i] = tg_const_of(im->m, in[i]);
		if (!c[i])
			return false;
	}
	return true;
}

static size_t element_bytes(enum tg_dtype t)
{
	return tg_dtypes[t].bits < 8 ? 1 : tg_dtypes[t].bits / 8;
}

static bool same_element(const struct tg_const *a, const struct tg_const *b)
{
	return a->dtype == b->dtype && !memcmp(a->data, b->data, element_bytes(a->dtype));
}

static bool is_splat(const struct tg_const *c)
{
	int64_t n;
	return c->kind == TG_CONST_SPLAT || (tg_shape_count(&c->shape, &n) && n == 1);
}

static struct tg_const *with_shape(struct tg_im *im, const struct tg_const *c, const struct tg_shape *s)
{
	struct tg_const *k = tg_alloc(im->arena, sizeof *k);
	*k = *c;
	k->kind = TG_CONST_SPLAT;
	k->shape = *s;
	return k;
}

/* Moves elements of one splat: the result is that splat. */
static struct tg_const *move_splat(struct tg_im *im, enum tg_op_code code, const struct tg_const **c, uint32_t n, const struct tg_shape *s)
{
	if (!(tg_op_info((uint16_t)code)->traits & T_SHAPE) || tg_dtypes[c[0]->dtype].bits < 8)
		return NULL;
	uint32_t n_data = code == TG_OP_gather ? 1 : n;
	if (code == TG_OP_pad && n == 1)
		return NULL;
	for (uint32_t i = 0; i < n_data; i++)
		if (!is_splat(c[i]) || !same_element(c[0], c[i]))
			return NULL;
	return with_shape(im, c[0], s);
}

/* Expands and evaluates one op in a scratch module; NULL: it could not be done, which is no error. */
static struct tg_const *evaluate(struct tg_im *im, enum tg_op_code code, const struct tg_const *const *c, uint32_t n, const union tg_attr *attrs)
{
	struct tg_arena *a = im->fold;
	tg_arena_reset(a);
	struct tg_diag quiet;
	tg_diag_init(&quiet, a);
	struct tg_module *m = tg_module_new(a, "fold");
	*TG_PUSH(a, &m->nodes) = (struct tg_node_ref){ 0, "fold", "Constant" };
	tg_prov prov = tg_prov_node(m, 0);
	tg_val *in = tg_alloc_n(a, n + 1u, sizeof *in);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_const *k = tg_alloc(a, sizeof *k);
		*k = *c[i];
		k->file = -1;
		in[i] = tg_graph_const(m, prov, k);
	}
	tg_val v = tg_graph_op(&quiet, im->loc, m, prov, code, in, n, attrs);
	if (!tg_has(v))
		return NULL;
	*TG_PUSH(a, &m->outputs) = (struct tg_port){ "y", v };
	struct tg_tensor y;
	if (!tg_expand_module(&quiet, m) || !tg_eval_module(&quiet, a, m, NULL, &y, NULL, NULL))
		return NULL;
	return tg_const_dense(im->arena, y.dtype, &y.shape, y.data, false);
}

static bool may_fold(struct tg_im *im, enum tg_op_code code, const struct tg_const **c, uint32_t n, const struct tg_shape *s)
{
	switch (code) {
	case TG_OP_matmul:
	case TG_OP_conv:
	case TG_OP_conv_transpose:
	case TG_OP_pool_max:
	case TG_OP_pool_sum:
	case TG_OP_interp:
		return false;
	default:
		break;
	}
	uint64_t cost = 64;
	int64_t count;
	for (uint32_t i = 0; i <= n; i++) {
		if (!tg_shape_count(i < n ? &c[i]->shape : s, &count) || count > TG_IM_FOLD_ELEMENTS)
			return false;
		cost += (uint64_t)count;
	}
	if (cost > im->fold_left)
		return false;
	im->fold_left -= cost;
	return true;
}

/* An elementwise op over splats: one element decides. */
static struct tg_const *fold_splats(struct tg_im *im, enum tg_op_code code, const struct tg_const **c, uint32_t n, const union tg_attr *attrs, const struct tg_shape *s)
{
	static const struct tg_shape scalar;
	const struct tg_const **one = tg_alloc_n(im->tmp, n + 1u, sizeof *one);
	if (!(tg_op_info((uint16_t)code)->traits & T_ELEMENTWISE) || im->fold_left < 64)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		if (!is_splat(c[i]) || tg_dtypes[c[i]->dtype].bits < 8)
			return NULL;
		one[i] = with_shape(im, c[i], &scalar);
	}
	im->fold_left -= 64;
	struct tg_const *k = evaluate(im, code, one, n, attrs);
	return k && tg_dtypes[k->dtype].bits >= 8 ? with_shape(im, k, s) : NULL;
}

static struct tg_const *fold(struct tg_im *im, enum tg_op_code code, const tg_val *in, uint32_t n, const union tg_attr *attrs, const struct tg_shape *s)
{
	const struct tg_const **c = tg_alloc_n(im->tmp, n + 1u, sizeof *c);
	int64_t count;
	if (!all_consts(im, in, n, c) || !tg_shape_count(s, &count))
		return NULL;
	if (code == TG_OP_iota && count > TG_IM_FOLD_ELEMENTS / 16)
		return NULL;
	struct tg_const *k = n ? move_splat(im, code, c, n, s) : NULL;
	if (!k && n && count > 1)
		k = fold_splats(im, code, c, n, attrs, s);
	if (!k && may_fold(im, code, c, n, s))
		k = evaluate(im, code, c, n, attrs);
	return k;
}

tg_val tg_im_put_const(struct tg_im *im, struct tg_const *c)
{
	return tg_graph_const(im->m, im->prov, c);
}

tg_val tg_im_op(struct tg_im *im, enum tg_op_code code, const tg_val *in, uint32_t n, const union tg_attr *attrs)
{
	tg_val none = { 0 };
	if (im->failed)
		return none;
	for (uint32_t i = 0; i < n; i++)
		if (!tg_has(in[i])) {
			tg_im_error(im, "an operand that the operator needs is left out");
			return none;
		}
	attrs = keep_attrs(im, code, attrs);
	uint32_t before = im->d->n_errors;
	tg_val v = tg_graph_op(im->d, im->loc, im->m, im->prov, code, in, n, attrs);
	if (!tg_has(v)) {
		im->failed = true;
		im->stop |= im->d->n_errors != before && im->d->status != TG_ERR_UNSUPPORTED;
		return none;
	}
	struct tg_shape s = *tg_im_shape(im, v);
	struct tg_const *k = fold(im, code, in, n, attrs, &s);
	if (!k)
		return v;
	tg_op_remove(tg_value_get(im->m, v)->def);
	return tg_im_put_const(im, k);
}

/* ---- constants ---- */

struct tg_shape tg_im_shape_of(uint32_t rank, const int64_t *dim)
{
	struct tg_shape s = { .rank = rank };
	for (uint32_t i = 0; i < rank && i < TG_MAX_RANK; i++)
		s.dim[i] = dim[i];
	return s;
}

tg_val tg_im_splat(struct tg_im *im, enum tg_dtype t, const struct tg_shape *s, double v)
{
	return im->failed ? (tg_val){ 0 } : tg_im_put_const(im, tg_const_splat(im->arena, t, s, v));
}

tg_val tg_im_scalar(struct tg_im *im, enum tg_dtype t, double v)
{
	struct tg_shape s = { 0 };
	return tg_im_splat(im, t, &s, v);
}

tg_val tg_im_scalar_i64(struct tg_im *im, enum tg_dtype t, int64_t v)
{
	struct tg_shape s = { 0 };
	return im->failed ? (tg_val){ 0 } : tg_im_put_const(im, tg_const_splat_i64(im->arena, t, &s, v));
}

tg_val tg_im_i64s(struct tg_im *im, const int64_t *v, uint32_t n)
{
	return im->failed ? (tg_val){ 0 } : tg_im_put_const(im, tg_const_ints(im->arena, v, n));
}

int64_t *tg_im_dims(struct tg_im *im, uint32_t n, int64_t fill)
{
	int64_t *v = tg_alloc_n(im->arena, n + 1u, sizeof *v);
	for (uint32_t i = 0; i < n; i++)
		v[i] = fill;
	return v;
}

/* ---- arithmetic ---- */

tg_val tg_im_1(struct tg_im *im, enum tg_op_code code, tg_val x)
{
	return tg_im_op(im, code, &x, 1, NULL);
}

static tg_val cast(struct tg_im *im, tg_val x, enum tg_dtype t, int64_t saturate)
{
	union tg_attr a[2];
	a[TG_AT(cast, to)].dtype = t;
	a[TG_AT(cast, saturate)].i = saturate;
	return tg_im_type(im, x) == t ? x : tg_im_op(im, TG_OP_cast, &x, 1, a);
}

tg_val tg_im_cast(struct tg_im *im, tg_val x, enum tg_dtype t)
{
	return cast(im, x, t, 0);
}

tg_val tg_im_cast_sat(struct tg_im *im, tg_val x, enum tg_dtype t)
{
	return cast(im, x, t, 1);
}

tg_val tg_im_widen(struct tg_im *im, tg_val x)
{
	enum tg_dtype t = tg_im_type(im, x);
	return t == TG_f16 || t == TG_bf16 ? tg_im_cast(im, x, TG_f32) : x;
}

/* ---- shapes ---- */

static bool shape_is(const struct tg_im *im, tg_val x, const struct tg_shape *s)
{
	return tg_has(x) && tg_shape_equal(tg_im_shape(im, x), s);
}

tg_val tg_im_reshape(struct tg_im *im, tg_val x, const struct tg_shape *s)
{
	union tg_attr a[1];
	a[TG_AT(reshape, shape)].ints.at = s->dim;
	a[TG_AT(reshape, shape)].ints.n = s->rank;
	return shape_is(im, x, s) ? x : tg_im_op(im, TG_OP_reshape, &x, 1, a);
}

tg_val tg_im_reshape_n(struct tg_im *im, tg_val x, uint32_t rank, ...)
{
	struct tg_shape s = { .rank = rank };
	va_list ap;
	va_start(ap, rank);
	for (uint32_t i = 0; i < rank; i++)
		s.dim[i] = va_arg(ap, int64_t);
	va_end(ap);
	return tg_im_reshape(im, x, &s);
}

tg_val tg_im_broadcast(struct tg_im *im, tg_val x, const struct tg_shape *s)
{
	union tg_attr a[1];
	a[TG_AT(broadcast, shape)].ints.at = s->dim;
	a[TG_AT(broadcast, shape)].ints.n = s->rank;
	return shape_is(im, x, s) ? x : tg_im_op(im, TG_OP_broadcast, &x, 1, a);
}

bool tg_im_broadcast_shape(const struct tg_shape *a, const struct tg_shape *b, struct tg_shape *out)
{
	uint32_t rank = a->rank > b->rank ? a->rank : b->rank;
	struct tg_shape s = { .rank = rank };
	for (uint32_t i = 0; i < rank; i++) {
		int64_t x = i + a->rank < rank ? 1 : a->dim[i + a->rank - rank], y = i + b->rank < rank ? 1 : b->dim[i + b->rank - rank];
		if (x != y && x != 1 && y != 1)
			return false;
		s.dim[i] = x == 1 ? y : x;
	}
	*out = s;
	return true;
}

tg_val tg_im_transpose(struct tg_im *im, tg_val x, const int64_t *perm)
{
	uint32_t rank = tg_im_rank(im, x);
	bool identity = true;
	for (uint32_t i = 0; i < rank; i++)
		identity &= perm[i] == i;
	union tg_attr a[1];
	a[TG_AT(transpose, perm)].ints.at = perm;
	a[TG_AT(transpose, perm)].ints.n = rank;
	return identity ? x : tg_im_op(im, TG_OP_transpose, &x, 1, a);
}

tg_val tg_im_swap_last(struct tg_im *im, tg_val x)
{
	uint32_t rank = tg_im_rank(im, x);
	int64_t perm[TG_MAX_RANK];
	if (rank < 2)
		return x;
	for (uint32_t i = 0; i < rank; i++)
		perm[i] = i;
	perm[rank - 1] = rank - 2;
	perm[rank - 2] = rank - 1;
	return tg_im_transpose(im, x, perm);
}

tg_val tg_im_slice(struct tg_im *im, tg_val x, uint32_t axis, int64_t start, int64_t size)
{
	struct tg_shape s = *tg_im_shape(im, x);
	int64_t from[TG_MAX_RANK] = { 0 }, step[TG_MAX_RANK];
	if (im->failed || (start == 0 && size == s.dim[axis]))
		return x;
	for (uint32_t i = 0; i < s.rank; i++)
		step[i] = 1;
	from[axis] = start;
	s.dim[axis] = size;
	union tg_attr a[3];
	a[TG_AT(slice, start)].ints.at = from;
	a[TG_AT(slice, step)].ints.at = step;
	a[TG_AT(slice, size)].ints.at = s.dim;
	for (uint32_t i = 0; i < 3; i++)
		a[i].ints.n = s.rank;
	return tg_im_op(im, TG_OP_slice, &x, 1, a);
}

tg_val tg_im_concat(struct tg_im *im, const tg_val *x, uint32_t n, uint32_t axis)
{
	union tg_attr a[1];
	a[TG_AT(concat, axis)].i = axis;
	return n == 1 ? x[0] : tg_im_op(im, TG_OP_concat, x, n, a);
}

tg_val tg_im_gather(struct tg_im *im, tg_val x, tg_val index, uint32_t axis)
{
	union tg_attr a[1];
	a[TG_AT(gather, axis)].i = axis;
	return tg_im_op(im, TG_OP_gather, (tg_val[]){ x, index }, 2, a);
}

tg_val tg_im_pad(struct tg_im *im, tg_val x, const int64_t *lo, const int64_t *hi, const char *mode, tg_val fill)
{
	uint32_t rank = tg_im_rank(im, x);
	bool nothing = true;
	for (uint32_t i = 0; i < rank; i++)
		nothing &= !lo[i] && !hi[i];
	union tg_attr a[3];
	a[TG_AT(pad, lo)].ints.at = lo;
	a[TG_AT(pad, lo)].ints.n = rank;
	a[TG_AT(pad, hi)].ints.at = hi;
	a[TG_AT(pad, hi)].ints.n = rank;
	a[TG_AT(pad, mode)].s = mode;
	return nothing ? x : tg_im_op(im, TG_OP_pad, (tg_val[]){ x, fill }, tg_has(fill) ? 2 : 1, a);
}

tg_val tg_im_iota(struct tg_im *im, enum tg_dtype t, const struct tg_shape *s, uint32_t axis)
{
	union tg_attr a[3];
	a[TG_AT(iota, shape)].ints.at = s->dim;
	a[TG_AT(iota, shape)].ints.n = s->rank;
	a[TG_AT(iota, axis)].i = axis;
	a[TG_AT(iota, dtype)].dtype = t;
	return tg_im_op(im, TG_OP_iota, NULL, 0, a);
}

tg_val tg_im_reduce(struct tg_im *im, enum tg_op_code code, tg_val x, uint32_t axes_mask, bool keep)
{
	int64_t axes[TG_MAX_RANK];
	uint32_t n = 0;
	for (uint32_t i = 0; i < tg_im_rank(im, x); i++)
		if (axes_mask >> i & 1)
			axes[n++] = i;
	union tg_attr a[2];
	a[TG_AT(reduce_sum, axes)].ints.at = axes;
	a[TG_AT(reduce_sum, axes)].ints.n = n;
	a[TG_AT(reduce_sum, keep)].i = keep;
	return n ? tg_im_op(im, code, &x, 1, a) : x;
}

tg_val tg_im_along(struct tg_im *im, tg_val x, uint32_t axis, uint32_t rank)
{
	struct tg_shape s = { .rank = rank };
	if (im->failed)
		return x;
	if (tg_im_rank(im, x) == 0)
		return x;
	for (uint32_t i = 0; i < rank; i++)
		s.dim[i] = 1;
	s.dim[axis] = tg_im_count(im, x);
	return tg_im_reshape(im, x, &s);
}

/* ---- what several importers compose ---- */

tg_val tg_im_mean(struct tg_im *im, tg_val x, uint32_t axes_mask, bool keep)
{
	double n = 1;
	for (uint32_t i = 0; i < tg_im_rank(im, x); i++)
		n *= axes_mask >> i & 1 ? (double)tg_im_shape(im, x)->dim[i] : 1;
	tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, x, axes_mask, keep);
	return axes_mask ? X_DIV(sum, X_NUM(sum, n)) : sum;
}

tg_val tg_im_softmax(struct tg_im *im, tg_val x, uint32_t axes_mask, bool log)
{
	enum tg_dtype t = tg_im_type(im, x);
	x = tg_im_widen(im, x);
	tg_val shifted = X_SUB(x, tg_im_reduce(im, TG_OP_reduce_max, x, axes_mask, true));
	tg_val e = tg_im_1(im, TG_OP_exp, shifted);
	tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, e, axes_mask, true);
	/* one reciprocal for each row, not a division for each element */
	tg_val y = log ? X_SUB(shifted, tg_im_1(im, TG_OP_log, sum)) : X_MUL(e, tg_im_1(im, TG_OP_recip, sum));
	return tg_im_cast(im, y, t);
}
