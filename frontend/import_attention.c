/* import_attention.c: attention and what goes with it, composed of matmuls and a softmax.
 *
 * Masks are additive: 0 where a key may be seen, -inf (or the operator's own large number) where not. Only with a mask can a row be without any
 * key; such a row gives 0, so its softmax is guarded. */
#include "import.h"

#include <float.h>
#include <math.h>
#include <string.h>

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : im->in[k];
}

static tg_val optional(const struct tg_im *im, uint32_t k)
{
	return tg_im_in(im, k) ? im->in[k] : (tg_val){ 0 };
}

static tg_val plus(struct tg_im *im, tg_val a, tg_val b)
{
	return !tg_has(a) ? b : tg_has(b) ? X_ADD(a, b) : a;
}

static int64_t dim(const struct tg_im *im, tg_val v, uint32_t i)
{
	return i < tg_im_rank(im, v) ? tg_im_shape(im, v)->dim[i] : 1;
}

/* [batch, length, heads * size] to [batch, heads, length, size], and back */
static tg_val split_heads(struct tg_im *im, tg_val x, int64_t heads)
{
	static const int64_t perm[] = { 0, 2, 1, 3 };
	if (im->failed || tg_im_rank(im, x) == 4)
		return x;
	if (tg_im_rank(im, x) != 3 || heads < 1 || dim(im, x, 2) % heads) {
		tg_im_error(im, "%lld heads do not divide the hidden size", (long long)heads);
		return x;
	}
	return tg_im_transpose(im, tg_im_reshape_n(im, x, 4, dim(im, x, 0), dim(im, x, 1), heads, dim(im, x, 2) / heads), perm);
}

static tg_val join_heads(struct tg_im *im, tg_val x)
{
	static const int64_t perm[] = { 0, 2, 1, 3 };
	tg_val y = tg_im_transpose(im, x, perm);
	return tg_im_reshape_n(im, y, 3, dim(im, y, 0), dim(im, y, 1), dim(im, y, 2) * dim(im, y, 3));
}

static tg_val repeat_heads(struct tg_im *im, tg_val x, int64_t heads)
{
	int64_t have = dim(im, x, 1), times = have ? heads / have : 1;
	struct tg_shape s = { 5, { dim(im, x, 0), have, times, dim(im, x, 2), dim(im, x, 3) } };
	if (im->failed || times == 1)
		return x;
	tg_val y = tg_im_reshape_n(im, x, 5, s.dim[0], have, (int64_t)1, s.dim[3], s.dim[4]);
	return tg_im_reshape_n(im, tg_im_broadcast(im, y, &s), 4, s.dim[0], heads, s.dim[3], s.dim[4]);
}

/* 0 where allowed (bool), else `low` */
static tg_val additive(struct tg_im *im, tg_val allowed, enum tg_dtype t, double low)
{
	return tg_im_select(im, allowed, tg_im_scalar(im, t, 0), tg_im_scalar(im, t, low));
}

/* i32 [1, 1, q, 1] + offset, and i32 [1, 1, 1, k]. offset: a scalar or [batch, 1, 1, 1]. */
static tg_val query_at(struct tg_im *im, int64_t n, tg_val offset)
{
	struct tg_shape s = { 4, { 1, 1, n, 1 } };
	return plus(im, tg_im_iota(im, TG_i32, &s, 2), offset);
}

static tg_val key_at(struct tg_im *im, int64_t n)
{
	struct tg_shape s = { 4, { 1, 1, 1, n } };
	return tg_im_iota(im, TG_i32, &s, 3);
}

static tg_val softmax_guarded(struct tg_im *im, tg_val x)
{
	uint32_t mask = 1u << (tg_im_rank(im, x) - 1);
	enum tg_dtype t = tg_im_type(im, x);
	x = tg_im_widen(im, x);
	tg_val top = tg_im_reduce(im, TG_OP_reduce_max, x, mask, true);
	top = tg_im_select(im, X_EQ(top, X_NUM(top, -INFINITY)), X_NUM(top, 0), top);
	tg_val e = tg_im_1(im, TG_OP_exp, X_SUB(x, top));
	tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, e, mask, true);
	return tg_im_cast(im, X_DIV(e, tg_im_select(im, X_EQ(sum, X_NUM(sum, 0)), X_NUM(sum, 1), sum)), t);
}

/* ---- ONNX Attention ---- */

struct scores { tg_val raw, capped, biased, soft; };

static tg_val attention(struct tg_im *im, tg_val q, tg_val k, tg_val v, tg_val bias, double scale, double softcap, enum tg_dtype precise, struct scores *s)
{
	enum tg_dtype t = tg_im_type(im, q);
	tg_val root = tg_im_scalar(im, t, sqrt(scale));
	int64_t heads = dim(im, q, 1);
	if (!im->failed && (dim(im, k, 1) == 0 || heads % dim(im, k, 1))) {
		tg_im_error(im, "%lld query heads over %lld key heads", (long long)heads, (long long)dim(im, k, 1));
		return q;
	}
	s->raw = tg_im_matmul(im, X_MUL(q, root), X_MUL(tg_im_swap_last(im, repeat_heads(im, k, heads)), root));
	tg_val cap = X_NUM(s->raw, softcap);
	s->capped = softcap > 0 ? X_MUL(tg_im_1(im, TG_OP_tanh, X_DIV(s->raw, cap)), cap) : s->raw;
	s->biased = plus(im, s->capped, bias);
	tg_val x = precise != TG_none ? tg_im_cast(im, s->biased, precise) : s->biased;
	s->soft = tg_im_cast(im, tg_has(bias) ? softmax_guarded(im, x) : tg_im_softmax(im, x, 1u << (tg_im_rank(im, x) - 1), false), t);
	return tg_im_matmul(im, s->soft, repeat_heads(im, v, heads));
}

/* A mask whose last dimension is shorter than the keys is continued with "not allowed". */
static tg_val mask_bias(struct tg_im *im, tg_val mask, enum tg_dtype t, int64_t n_keys)
{
	uint32_t rank = tg_im_rank(im, mask);
	int64_t lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 };
	if (!tg_has(mask) || im->failed)
		return mask;
	if (tg_im_type(im, mask) == TG_bool)
		mask = additive(im, mask, t, -INFINITY);
	if (rank && dim(im, mask, rank - 1) < n_keys && dim(im, mask, rank - 1) != 1) {
		hi[rank - 1] = n_keys - dim(im, mask, rank - 1);
		mask = tg_im_pad(im, mask, lo, hi, "constant", X_NUM(mask, -INFINITY));
	}
	return tg_im_cast(im, mask, t);
}

static tg_val position_bias(struct tg_im *im, enum tg_dtype t, int64_t n_q, int64_t n_k, tg_val offset)
{
	int64_t left = tg_im_int(im, "left_window_size", -1), right = tg_im_int(im, "right_window_size", -1);
	tg_val q = query_at(im, n_q, offset), k = key_at(im, n_k), allowed = { 0 };
	if (tg_im_int(im, "is_causal", 0))
		allowed = X_LE(k, q);
	if (left >= 0) {
		tg_val ok = X_LE(X_SUB(q, k), tg_im_scalar_i64(im, TG_i32, left < INT32_MAX ? left : INT32_MAX));
		allowed = tg_has(allowed) ? X_AND(allowed, ok) : ok;
	}
	if (right >= 0) {
		tg_val ok = X_LE(X_SUB(k, q), tg_im_scalar_i64(im, TG_i32, right < INT32_MAX ? right : INT32_MAX));
		allowed = tg_has(allowed) ? X_AND(allowed, ok) : ok;
	}
	return tg_has(allowed) ? additive(im, allowed, t, -INFINITY) : allowed;
}

void tg_im_import_attention(struct tg_im *im)
{
	tg_val q = operand(im, 0), k = operand(im, 1), v = operand(im, 2), lens = optional(im, 6);
	if (im->failed)
		return;
	enum tg_dtype t = tg_im_type(im, q), precise = TG_none;
	bool flat = tg_im_rank(im, q) == 3;
	q = split_heads(im, q, tg_im_int(im, "q_num_heads", 0));
	k = split_heads(im, k, tg_im_int(im, "kv_num_heads", 0));
	v = split_heads(im, v, tg_im_int(im, "kv_num_heads", 0));
	if (!im->failed && (tg_im_rank(im, q) != 4 || tg_im_rank(im, k) != 4 || tg_im_rank(im, v) != 4))
		tg_im_error(im, "Q, K and V must have rank 3 or 4");
	int64_t past = 0;
	if (tg_im_in(im, 4) && tg_im_in(im, 5)) {
		past = dim(im, im->in[4], 2);
		k = tg_im_concat(im, (tg_val[]){ im->in[4], k }, 2, 2);
		v = tg_im_concat(im, (tg_val[]){ im->in[5], v }, 2, 2);
	}
	int64_t n_q = dim(im, q, 2), n_k = dim(im, k, 2);
	tg_val offset = tg_im_scalar_i64(im, TG_i32, past), bias = mask_bias(im, optional(im, 3), t, n_k);
	if (tg_has(lens)) {
		lens = tg_im_reshape_n(im, tg_im_cast(im, lens, TG_i32), 4, tg_im_count(im, lens), (int64_t)1, (int64_t)1, (int64_t)1);
		offset = X_SUB(lens, tg_im_scalar_i64(im, TG_i32, n_q));
	}
	bias = plus(im, bias, position_bias(im, t, n_q, n_k, offset));
	if (tg_has(lens))
		bias = plus(im, bias, additive(im, X_LT(key_at(im, n_k), lens), t, -INFINITY));
	if (tg_im_has(im, "softmax_precision"))
		precise = tg_dtype_from_onnx((int32_t)tg_im_int(im, "softmax_precision", 1));
	double scale = tg_im_has(im, "scale") ? tg_im_float(im, "scale", 1) : 1 / sqrt((double)dim(im, q, 3));
	struct scores s = { { 0 }, { 0 }, { 0 }, { 0 } };
	tg_val y = attention(im, q, k, v, bias, scale, tg_im_float(im, "softcap", 0), precise, &s);
	if (im->failed)
		return;
	int64_t mode = tg_im_int(im, "qk_matmul_output_mode", 0);
	tg_val shown[4] = { s.raw, s.capped, s.biased, s.soft };
	/* before opset 24's correction, mode 1 was after the mask and mode 2 after the cap */
	tg_val results[4] = { flat ? join_heads(im, y) : y, k, v, shown[mode & 3] };
	for (uint32_t i = 0; i < im->n_out && i < 4; i++)
		im->out[i] = results[i];
}

/* ---- RotaryEmbedding: pairs (x1, x2) are turned by an angle that depends on the position ---- */

void tg_im_import_rotary(struct tg_im *im)
{
	bool contrib = im->row->arg; /* com.microsoft: position_ids are operand 1, and may be one offset */
	tg_val x = operand(im, 0), cos = operand(im, contrib ? 2 : 1), sin = operand(im, contrib ? 3 : 2), ids = optional(im, contrib ? 1 : 3);
	if (im->failed)
		return;
	bool flat = tg_im_rank(im, x) == 3, interleaved = tg_im_int(im, "interleaved", 0);
	int64_t heads = tg_im_int(im, "num_heads", 0);
	if (flat && !heads && contrib)
		heads = dim(im, cos, 1) ? dim(im, x, 2) / (2 * dim(im, cos, 1)) : 0;
	x = split_heads(im, x, heads);
	if (im->failed || tg_im_rank(im, x) != 4)
		return;
	int64_t b = dim(im, x, 0), n = dim(im, x, 2), size = dim(im, x, 3), turn = tg_im_int(im, "rotary_embedding_dim", 0), half;
	turn = turn ? turn : size;
	half = turn / 2;
	if (turn < 0 || turn > size || turn % 2) {
		tg_im_error(im, "rotary_embedding_dim is %lld, the head size %lld", (long long)turn, (long long)size);
		return;
	}
	if (tg_has(ids) && tg_im_count(im, ids) == 1 && contrib) {
		struct tg_shape s = { 2, { 1, n } };
		ids = X_ADD(tg_im_iota(im, TG_i64, &s, 1), tg_im_reshape_n(im, tg_im_cast(im, ids, TG_i64), 0));
	}
	tg_val tables[2] = { cos, sin };
	for (uint32_t i = 0; i < 2; i++) {
		tg_val t = tg_has(ids) ? tg_im_gather(im, tables[i], ids, 0) : tables[i];
		if (!im->failed && dim(im, t, tg_im_rank(im, t) - 1) != half)
			tg_im_error(im, "the tables have not half the rotated size");
		tables[i] = tg_im_reshape_n(im, t, 4, tg_im_rank(im, t) == 3 ? dim(im, t, 0) : (int64_t)1, (int64_t)1, n, half);
	}
	tg_val head = tg_im_slice(im, x, 3, 0, turn), tail = turn < size ? tg_im_slice(im, x, 3, turn, size - turn) : (tg_val){ 0 }, x1, x2, y;
	if (interleaved) {
		tg_val pairs = tg_im_reshape_n(im, head, 5, b, dim(im, x, 1), n, half, (int64_t)2);
		x1 = tg_im_reshape_n(im, tg_im_slice(im, pairs, 4, 0, 1), 4, b, dim(im, x, 1), n, half);
		x2 = tg_im_reshape_n(im, tg_im_slice(im, pairs, 4, 1, 1), 4, b, dim(im, x, 1), n, half);
	} else {
		x1 = tg_im_slice(im, head, 3, 0, half);
		x2 = tg_im_slice(im, head, 3, half, half);
	}
	tg_val real = X_SUB(X_MUL(x1, tables[0]), X_MUL(x2, tables[1])), imag = X_ADD(X_MUL(x1, tables[1]), X_MUL(x2, tables[0]));
	if (interleaved) {
		tg_val parts[2] = { tg_im_reshape_n(im, real, 5, b, dim(im, x, 1), n, half, (int64_t)1),
				    tg_im_reshape_n(im, imag, 5, b, dim(im, x, 1), n, half, (int64_t)1) };
		y = tg_im_reshape_n(im, tg_im_concat(im, parts, 2, 4), 4, b, dim(im, x, 1), n, turn);
	} else {
		y = tg_im_concat(im, (tg_val[]){ real, imag }, 2, 3);
	}
	y = tg_has(tail) ? tg_im_concat(im, (tg_val[]){ y, tail }, 2, 3) : y;
	im->out[0] = flat ? join_heads(im, y) : y;
}

/* ---- com.microsoft Attention and MultiHeadAttention ---- */

/* mask_index: lengths [batch], or 1 = seen as [batch, keys] or [batch, queries, keys] */
static tg_val contrib_mask(struct tg_im *im, tg_val m, int64_t b, int64_t n_k, enum tg_dtype t, double low)
{
	if (!tg_has(m) || im->failed)
		return m;
	uint32_t rank = tg_im_rank(im, m);
	m = tg_im_cast(im, m, TG_i32);
	if (rank == 1 && tg_im_count(im, m) == b) {
		tg_val len = tg_im_reshape_n(im, m, 4, b, (int64_t)1, (int64_t)1, (int64_t)1);
		return additive(im, X_LT(key_at(im, n_k), len), t, low);
	}
	if (rank == 1 && tg_im_count(im, m) == 2 * b) {
		tg_val to = tg_im_reshape_n(im, tg_im_slice(im, m, 0, 0, b), 4, b, (int64_t)1, (int64_t)1, (int64_t)1);
		tg_val from = tg_im_reshape_n(im, tg_im_slice(im, m, 0, b, b), 4, b, (int64_t)1, (int64_t)1, (int64_t)1);
		tg_val k = key_at(im, n_k);
		return additive(im, X_AND(X_LT(k, to), X_LE(from, k)), t, low);
	}
	tg_val seen = X_LT(tg_im_scalar_i64(im, TG_i32, 0), m);
	if (rank == 2)
		seen = tg_im_reshape_n(im, seen, 4, dim(im, m, 0), (int64_t)1, (int64_t)1, dim(im, m, 1));
	else if (rank == 3)
		seen = tg_im_reshape_n(im, seen, 4, dim(im, m, 0), (int64_t)1, dim(im, m, 1), dim(im, m, 2));
	else
		tg_im_refuse(im, "a mask of rank %u and %lld elements", rank, (long long)tg_im_count(im, m));
	return additive(im, seen, t, low);
}

struct contrib { tg_val q, k, v, mask, extra, past_k, past_v; };

static tg_val contrib_attention(struct tg_im *im, struct contrib *c)
{
	enum tg_dtype t = tg_im_type(im, c->q);
	double low = tg_im_float(im, "mask_filter_value", -10000);
	int64_t past = tg_has(c->past_k) ? dim(im, c->past_k, 2) : 0;
	if (tg_has(c->past_k)) {
		c->k = tg_im_concat(im, (tg_val[]){ c->past_k, c->k }, 2, 2);
		c->v = tg_im_concat(im, (tg_val[]){ c->past_v, c->v }, 2, 2);
	}
	int64_t b = dim(im, c->q, 0), n_q = dim(im, c->q, 2), n_k = dim(im, c->k, 2);
	tg_val q = tg_im_widen(im, c->q), k = tg_im_widen(im, c->k), v = tg_im_widen(im, c->v);
	enum tg_dtype wide = tg_im_type(im, q);
	tg_val bias = contrib_mask(im, c->mask, b, n_k, wide, low);
	if (tg_im_int(im, "unidirectional", 0))
		bias = plus(im, bias, additive(im, X_LE(key_at(im, n_k), query_at(im, n_q, tg_im_scalar_i64(im, TG_i32, past))), wide, -FLT_MAX));
	if (tg_has(c->extra))
		bias = plus(im, bias, tg_im_cast(im, c->extra, wide));
	double scale = tg_im_float(im, "scale", 0);
	scale = scale != 0 ? scale : 1 / sqrt((double)dim(im, c->q, 3));
	tg_val x = tg_im_matmul(im, q, tg_im_swap_last(im, k));
	x = plus(im, X_MUL(x, X_NUM(x, scale)), bias);
	return tg_im_cast(im, join_heads(im, tg_im_matmul(im, tg_im_softmax(im, x, 8, false), v)), t);
}

/* input [b, n, h], weights [h, 3 h'], bias [3 h'], mask, past [2, b, heads, p, size], attention bias */
void tg_im_import_contrib_attention(struct tg_im *im)
{
	tg_val x = operand(im, 0), w = operand(im, 1);
	int64_t heads = tg_im_int(im, "num_heads", 0), sizes[3];
	struct tg_ints given;
	if (im->failed)
		return;
	if (heads < 1 || tg_im_rank(im, x) != 3 || tg_im_rank(im, w) != 2 || (tg_im_int(im, "do_rotary", 0) && (tg_im_refuse(im, "Attention with do_rotary"), 1))) {
		tg_im_error(im, "num_heads is %lld, the operands have rank %u and %u", (long long)heads, tg_im_rank(im, x), tg_im_rank(im, w));
		return;
	}
	tg_val all = plus(im, tg_im_matmul(im, x, w), optional(im, 2));
	bool has = tg_im_attr_ints(im, "qkv_hidden_sizes", &given) && given.n == 3;
	tg_val parts[3];
	for (uint32_t i = 0, at = 0; i < 3; i++) {
		sizes[i] = has ? given.at[i] : dim(im, w, 1) / 3;
		if (sizes[i] < 0 || sizes[i] > dim(im, w, 1) - at)
			tg_im_error(im, "the hidden sizes do not fit the weights");
		if (im->failed)
			return;
		parts[i] = split_heads(im, tg_im_slice(im, all, 2, at, sizes[i]), heads);
		at += (uint32_t)sizes[i];
	}
	struct contrib c = { .q = parts[0], .k = parts[1], .v = parts[2], .mask = optional(im, 3), .extra = optional(im, 5) };
	if (tg_im_in(im, 4)) {
		const struct tg_shape s = *tg_im_shape(im, im->in[4]);
		if (s.rank != 5 || s.dim[0] != 2) {
			tg_im_error(im, "past has rank %u, expected 5 with 2 first", s.rank);
			return;
		}
		c.past_k = tg_im_reshape_n(im, tg_im_slice(im, im->in[4], 0, 0, 1), 4, s.dim[1], s.dim[2], s.dim[3], s.dim[4]);
		c.past_v = tg_im_reshape_n(im, tg_im_slice(im, im->in[4], 0, 1, 1), 4, s.dim[1], s.dim[2], s.dim[3], s.dim[4]);
	}
	im->out[0] = contrib_attention(im, &c);
	if (im->n_out > 1 && !im->failed) {
		const struct tg_shape s = *tg_im_shape(im, c.k);
		tg_val both[2] = { tg_im_reshape_n(im, c.k, 5, (int64_t)1, s.dim[0], s.dim[1], s.dim[2], s.dim[3]),
				   tg_im_reshape_n(im, c.v, 5, (int64_t)1, s.dim[0], s.dim[1], s.dim[2], s.dim[3]) };
		im->out[1] = tg_im_concat(im, both, 2, 0);
	}
}

/* query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value */
void tg_im_import_multi_head_attention(struct tg_im *im)
{
	tg_val q = operand(im, 0), k = optional(im, 1), v = optional(im, 2), bias = optional(im, 3);
	int64_t heads = tg_im_int(im, "num_heads", 0), at = 0;
	if (im->failed)
		return;
	if (!tg_has(k) || !tg_has(v) || tg_im_rank(im, q) != 3) {
		tg_im_refuse(im, "MultiHeadAttention with packed operands");
		return;
	}
	tg_val parts[3] = { q, k, v };
	for (uint32_t i = 0; i < 3; i++) {
		int64_t n = tg_im_rank(im, parts[i]) == 3 ? dim(im, parts[i], 2) : dim(im, parts[i], 1) * dim(im, parts[i], 3);
		bool add = tg_has(bias) && tg_im_rank(im, parts[i]) == 3;
		if (add && at + n > tg_im_count(im, bias))
			tg_im_error(im, "the bias has %lld elements", (long long)tg_im_count(im, bias));
		if (add)
			parts[i] = X_ADD(parts[i], tg_im_slice(im, bias, 0, at, n));
		parts[i] = split_heads(im, parts[i], heads);
		at += n;
	}
	struct contrib c = { .q = parts[0], .k = parts[1], .v = parts[2], .mask = optional(im, 4), .extra = optional(im, 5), .past_k = optional(im, 6),
			     .past_v = optional(im, 7) };
	im->out[0] = contrib_attention(im, &c);
	if (im->n_out > 1)
		im->out[1] = c.k;
	if (im->n_out > 2)
		im->out[2] = c.v;
}

/* ---- other com.microsoft operators of transformers ---- */

void tg_im_import_bias_gelu(struct tg_im *im)
{
	union tg_attr a[1];
	a[TG_AT(gelu, tanh)].i = im->row->arg;
	tg_val x = plus(im, operand(im, 0), optional(im, 1));
	im->out[0] = tg_im_op(im, TG_OP_gelu, &x, 1, a);
}

void tg_im_import_quick_gelu(struct tg_im *im)
{
	union tg_attr a[1];
	a[TG_AT(swish, alpha)].f = tg_im_float(im, "alpha", (double)1.702f);
	tg_val x = operand(im, 0);
	im->out[0] = tg_im_op(im, TG_OP_swish, &x, 1, a);
}

/* input_ids, segment_ids, word, position, segment embeddings, gamma, beta, mask, position_ids */
void tg_im_import_embed_layer_norm(struct tg_im *im)
{
	tg_val ids = operand(im, 0), segment = optional(im, 1), gamma = operand(im, 5), beta = operand(im, 6), mask = optional(im, 7), places = optional(im, 8);
	tg_val sum = tg_im_gather(im, operand(im, 2), ids, 0);
	if (im->failed)
		return;
	int64_t b = dim(im, ids, 0), n = dim(im, ids, 1);
	struct tg_shape line = { 2, { 1, n } };
	sum = X_ADD(sum, tg_im_gather(im, operand(im, 3), tg_has(places) ? places : tg_im_iota(im, TG_i64, &line, 1), 0));
	if (tg_has(segment) && tg_im_in(im, 4))
		sum = X_ADD(sum, tg_im_gather(im, im->in[4], segment, 0));
	tg_val x = tg_im_widen(im, sum), mean = tg_im_mean(im, x, 4, true), centred = X_SUB(x, mean);
	tg_val var = tg_im_mean(im, X_MUL(centred, centred), 4, true);
	tg_val std = tg_im_1(im, TG_OP_sqrt, X_ADD(var, X_NUM(var, tg_im_float(im, "epsilon", (double)1e-12f))));
	tg_val y = X_ADD(X_MUL(X_DIV(centred, std), tg_im_widen(im, gamma)), tg_im_widen(im, beta));
	struct tg_shape counts = { 1, { b } };
	tg_val lens = tg_has(mask) ? tg_im_reduce(im, TG_OP_reduce_sum, tg_im_cast(im, mask, TG_i32), 2, false) : tg_im_splat(im, TG_i32, &counts, 0);
	tg_val results[3] = { tg_im_cast(im, y, tg_im_type(im, gamma)), lens, sum };
	for (uint32_t i = 0; i < im->n_out && i < 3; i++)
		im->out[i] = results[i];
}

/* Two 4-bit numbers a byte, the low one first, along the last dimension. */
static tg_val unpack_4(struct tg_im *im, tg_val x)
{
	struct tg_shape s = *tg_im_shape(im, x);
	if (s.rank + 1 > TG_MAX_RANK || im->failed)
		return x;
	s.dim[s.rank++] = 1;
	tg_val two[2] = { tg_im_2(im, TG_OP_and, x, tg_im_scalar_i64(im, TG_u8, 15)), tg_im_2(im, TG_OP_shr, x, tg_im_scalar_i64(im, TG_u8, 4)) };
	two[0] = tg_im_reshape(im, two[0], &s);
	two[1] = tg_im_reshape(im, two[1], &s);
	tg_val y = tg_im_concat(im, two, 2, s.rank - 1);
	s.rank--;
	s.dim[s.rank - 1] *= 2;
	return tg_im_reshape(im, y, &s);
}

/* A [.., K], B u8 [N, blocks, block / 2], scales [N * blocks], zero points packed like B or of A's type */
void tg_im_import_matmul_nbits(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 1), scales = operand(im, 2), zero = optional(im, 3);
	int64_t n = tg_im_int(im, "N", 0), k = tg_im_int(im, "K", 0), block = tg_im_int(im, "block_size", 32);
	if (im->failed)
		return;
	if (tg_im_int(im, "bits", 4) != 4 || tg_im_in(im, 4)) {
		tg_im_refuse(im, "MatMulNBits with other than 4 bits, or reordered groups");
		return;
	}
	int64_t blocks = block > 0 && k > 0 ? (k + block - 1) / block : 0;
	if (n < 1 || blocks < 1 || tg_im_count(im, b) != n * blocks * block / 2 || tg_im_count(im, scales) != n * blocks) {
		tg_im_error(im, "the weights do not fit N = %lld, K = %lld, block_size = %lld", (long long)n, (long long)k, (long long)block);
		return;
	}
	enum tg_dtype t = tg_im_type(im, scales);
	tg_val q = tg_im_cast(im, unpack_4(im, tg_im_reshape_n(im, b, 3, n, blocks, block / 2)), t);
	tg_val z = tg_im_scalar(im, t, 8);
	if (tg_has(zero) && tg_im_type(im, zero) == TG_u8) {
		int64_t bytes = (blocks + 1) / 2;
		z = tg_im_slice(im, unpack_4(im, tg_im_reshape_n(im, zero, 2, n, bytes)), 1, 0, blocks);
		z = tg_im_cast(im, tg_im_reshape_n(im, z, 3, n, blocks, (int64_t)1), t);
	} else if (tg_has(zero)) {
		z = tg_im_reshape_n(im, tg_im_cast(im, zero, t), 3, n, blocks, (int64_t)1);
	}
	tg_val w = X_MUL(X_SUB(q, z), tg_im_reshape_n(im, scales, 3, n, blocks, (int64_t)1));
	w = tg_im_slice(im, tg_im_reshape_n(im, w, 2, n, blocks * block), 1, 0, k);
	bool vector = tg_im_rank(im, a) == 1;
	tg_val y = tg_im_matmul(im, vector ? tg_im_reshape_n(im, a, 2, (int64_t)1, k) : a, tg_im_swap_last(im, w));
	y = vector ? tg_im_reshape_n(im, y, 1, n) : y;
	im->out[0] = tg_im_in(im, 5) ? X_ADD(y, im->in[5]) : y;
}
