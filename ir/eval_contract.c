/* eval_contract.c: sums of products, which would be slow as columns: convolutions and matmuls.
 *
 *   sum over k of A[n.., b.., k..] * B[m.., b.., k..]
 *
 * Parallel dimensions that only A uses are the n side, those that only B uses the m side, the rest are a batch. Blocks of both sides are
 * packed as f64 (guards and all layouts are dealt with there), and a small register-blocked kernel multiplies panels, as in Goto and van de
 * Geijn, "Anatomy of High-Performance Matrix Multiplication". A product of two f32 is exact in f64; the sums are rounded once at the end.
 * Integers take part where the sum of magnitudes stays below 2^53, so that every step is exact. */
#include <math.h>
#include <string.h>

#include "eval_internal.h"

enum { N_BLOCK = 128, M_BLOCK = 256, K_BLOCK = 256, MR = 4, NR = 4 };
typedef double __attribute__((vector_size(16))) pair;

struct dims { uint32_t n, dim[TG_MAX_DIMS]; int64_t extent[TG_MAX_DIMS], count; };

/* One operand: its elements as float or double, and the points of its own dimensions. */
struct side {
	const struct tg_access *a;
	const float *f32;
	const double *f64;
	double fill;
	enum tg_dtype round; /* elements are rounded to it; TG_none: as they are */
	struct dims own;
};
struct contraction {
	struct tg_arena *scratch;
	const struct tg_stage *s;
	struct side n, m;
	struct dims batch, k;
	int64_t lin[TG_MAX_DIMS]; /* of the sums */
	double *pack_n, *pack_m, *c;
	int64_t *off_point, *off_k;
	int64_t *check_point, *check_k; /* [check][point] */
	enum tg_dtype type;
	void *sums;
};

/* ---- is it one? ---- */

static const struct tg_node *factor(const struct tg_stage *s, tg_expr e, enum tg_dtype *round)
{
	const struct tg_node *n = &s->nodes[e.id - 1];
	*round = TG_none;
	if (n->op == TG_X_wrap && n->dtype == TG_f32 && (n->k == TG_bf16 || n->k == TG_f16)) {
		*round = (enum tg_dtype)n->k;
		n = &s->nodes[n->a.id - 1];
	}
	if (n->op == TG_X_cast && !tg_type_is_float((enum tg_dtype)n->dtype) && n->dtype != TG_bool)
		n = &s->nodes[n->a.id - 1];
	return n->op == TG_X_arg ? n : NULL;
}

static double magnitude(const struct tg_access *a)
{
	unsigned bits = tg_dtypes[a->src->dtype].bits;
	int64_t n = 1;
	double most = 0;
	if (tg_type_is_float(a->compute) || a->compute == TG_bool)
		return INFINITY;
	if (bits < 32)
		return (double)(1U << bits);
	if (!a->src->splat && !tg_shape_count(a->src->shape, &n))
		return INFINITY;
	for (int64_t i = 0; i < n; i++) {
		double v = fabs((double)tg_get_i64(a->src->dtype, a->src->data, (size_t)i));
		most = v > most ? v : most;
	}
	double fill = a->in->guarded ? fabs((double)(int64_t)a->in->fill) : 0;
	return fill > most ? fill : most;
}

static void add_dim(struct dims *d, const struct tg_stage *s, uint32_t i)
{
	d->dim[d->n] = i;
	d->extent[d->n++] = s->dims[i].extent;
	d->count *= s->dims[i].extent;
}

static bool uses(const struct tg_access *a, uint32_t dim)
{
	for (uint32_t k = 0; k < a->in->map.rank; k++)
		if (a->in->map.index[k].coef[dim] != 0)
			return true;
	return false;
}

static bool find(struct contraction *c, const struct tg_access *access)
{
	const struct tg_stage *s = c->s;
	double terms = 1;
	if (s->n_reds != 1 || s->reds[0].combine != TG_SUM)
		return false;
	const struct tg_node *v = &s->nodes[s->reds[0].value.id - 1];
	if (v->op != TG_X_mul)
		return false;
	const struct tg_node *x = factor(s, v->a, &c->n.round), *y = factor(s, v->b, &c->m.round);
	if (!x || !y)
		return false;
	c->type = (enum tg_dtype)v->dtype;
	c->n.a = &access[x->k];
	c->m.a = &access[y->k];
	if (!c->n.a->linear || !c->m.a->linear)
		return false;
	c->n.own.count = c->m.own.count = c->batch.count = c->k.count = 1;
	for (uint32_t i = 0; i < s->n_dims; i++) {
		bool in_n = uses(c->n.a, i), in_m = uses(c->m.a, i);
		if (s->dims[i].kind == TG_DIM_REDUCE)
			add_dim(&c->k, s, i);
		else
			add_dim(in_n && !in_m ? &c->n.own : in_m && !in_n ? &c->m.own : &c->batch, s, i);
	}
	terms = (double)c->k.count;
	if (!tg_type_is_float(c->type))
		return terms * magnitude(c->n.a) * magnitude(c->m.a) < 0x1p53;
	return c->n.a->compute == c->type && c->m.a->compute == c->type;
}

/* ---- operands as f32 or f64 ---- */

static void round_all(struct contraction *c, enum tg_dtype t, float *p, size_t n)
{
	uint16_t *half = tg_alloc_n(c->scratch, TG_COL, sizeof *half);
	for (size_t i = 0; i < n; i += TG_COL) {
		size_t part = n - i < TG_COL ? n - i : TG_COL;
		tg_narrow_f32(t, half, p + i, part);
		tg_col_load(t, p + i, half, 0, 1, part);
	}
}

static void prepare(struct contraction *c, struct side *s)
{
	const struct tg_source *src = s->a->src;
	int64_t n = 1;
	if (!src->splat && !tg_shape_count(src->shape, &n))
		n = 0;
	memcpy(&s->fill, &s->a->in->fill, sizeof s->fill);
	if (!tg_type_is_float(s->a->compute))
		s->fill = s->a->compute == TG_u64 ? (double)s->a->in->fill : (double)(int64_t)s->a->in->fill;
	if (s->round != TG_none) {
		uint16_t half;
		float fill = (float)s->fill;
		tg_narrow_f32(s->round, &half, &fill, 1);
		s->fill = tg_get_f64(s->round, &half, 0);
	}
	bool aligned = (uintptr_t)src->data % (tg_dtypes[src->dtype].bits / 8 ? tg_dtypes[src->dtype].bits / 8 : 1) == 0;
	if (src->dtype == TG_f32 && aligned && s->round == TG_none) {
		s->f32 = src->data;
	} else if (src->dtype == TG_f64 && aligned) {
		s->f64 = src->data;
	} else if (s->a->compute == TG_f32) {
		float *p = tg_alloc_n(c->scratch, (size_t)n + 1, sizeof *p);
		tg_col_load(src->dtype, p, src->data, 0, 1, (size_t)n);
		if (s->round != TG_none)
			round_all(c, s->round, p, (size_t)n);
		s->f32 = p;
	} else {
		double *p = tg_alloc_n(c->scratch, (size_t)n + 1, sizeof *p);
		uint64_t col[TG_COL];
		for (int64_t i = 0; i < n; i += TG_COL) {
			size_t part = (size_t)(n - i < TG_COL ? n - i : TG_COL);
			tg_col_load(src->dtype, col, src->data, i, 1, part);
			tg_kernel_cast(s->a->compute, TG_f64)(p + i, col, NULL, NULL, part);
		}
		s->f64 = p;
	}
}

/* ---- points ---- */

static void decode(const struct dims *d, int64_t i, int64_t *at)
{
	for (uint32_t k = d->n; k-- > 0;) {
		at[k] = i % d->extent[k];
		i /= d->extent[k];
	}
}

static void next(const struct dims *d, int64_t *at)
{
	for (uint32_t k = d->n; k-- > 0;) {
		if (++at[k] < d->extent[k])
			return;
		at[k] = 0;
	}
}

static int64_t dot_lin(const struct dims *d, const int64_t *at, const uint64_t *lin)
{
	uint64_t v = 0;
	for (uint32_t k = 0; k < d->n; k++)
		v += lin[d->dim[k]] * (uint64_t)at[k];
	return (int64_t)v;
}

/* Offsets and checked indices of points [first, first + n) of these dimensions in an operand. */
static void points(const struct dims *d, const struct tg_access *a, int64_t first, int64_t n, int64_t *off, int64_t *check, int64_t stride)
{
	int64_t at[TG_MAX_DIMS];
	decode(d, first, at);
	for (int64_t i = 0; i < n; i++, next(d, at)) {
		off[i] = dot_lin(d, at, a->lin);
		for (uint32_t q = 0; q < a->n_checks; q++) {
			int64_t v = 0;
			for (uint32_t k = 0; k < d->n; k++)
				v += a->check[q].coef[d->dim[k]] * at[k];
			check[q * stride + i] = v;
		}
	}
}

static bool inside(const struct tg_access *a, const int64_t *check_p, int64_t p, const int64_t *check_k, int64_t k)
{
	for (uint32_t q = 0; q < a->n_checks; q++) {
		int64_t v = check_p[q * M_BLOCK + p] + check_k[q * K_BLOCK + k];
		if (v < 0 || v >= a->check[q].extent)
			return false;
	}
	return true;
}

/* out[k][point], `width` points wide with zeros behind `n`; batch offsets are already in off_k and check_k. */
static void pack(const struct contraction *c, const struct side *s, int64_t n, int64_t n_k, int64_t width, double *out)
{
	for (int64_t k = 0; k < n_k; k++) {
		double *row = out + k * width;
		int64_t base = c->off_k[k];
		if (s->a->n_checks)
			for (int64_t p = 0; p < n; p++) {
				int64_t at = base + c->off_point[p];
				row[p] = !inside(s->a, c->check_point, p, c->check_k, k) ? s->fill : s->f32 ? (double)s->f32[at] : s->f64[at];
			}
		else if (s->f32)
			for (int64_t p = 0; p < n; p++)
				row[p] = (double)s->f32[base + c->off_point[p]];
		else
			for (int64_t p = 0; p < n; p++)
				row[p] = s->f64[base + c->off_point[p]];
		for (int64_t p = n; p < width; p++)
			row[p] = 0;
	}
}

static void pack_side(struct contraction *c, const struct side *s, const int64_t *batch_at, int64_t first, int64_t n, int64_t k0, int64_t n_k,
		      int64_t width, double *out)
{
	const struct tg_access *a = s->a;
	int64_t base = (int64_t)a->lin0 + dot_lin(&c->batch, batch_at, a->lin);
	points(&s->own, a, first, n, c->off_point, c->check_point, M_BLOCK);
	points(&c->k, a, k0, n_k, c->off_k, c->check_k, K_BLOCK);
	for (int64_t k = 0; k < n_k; k++)
		c->off_k[k] += base;
	for (uint32_t q = 0; q < a->n_checks; q++) {
		int64_t v = a->check[q].offset;
		for (uint32_t i = 0; i < c->batch.n; i++)
			v += a->check[q].coef[c->batch.dim[i]] * batch_at[i];
		for (int64_t k = 0; k < n_k; k++)
			c->check_k[q * K_BLOCK + k] += v;
	}
	pack(c, s, n, n_k, width, out);
}

/* ---- kernel ---- */

/* c[MR][N_BLOCK at j] += sum over k of b[k][i] * a[k][j] */
static void tile_4x4(const double *a, const double *b, int64_t b_width, int64_t n_k, double *c)
{
	pair s[MR][2] = { { { 0 } } };
	for (int64_t k = 0; k < n_k; k++, a += N_BLOCK, b += b_width) {
		pair a0, a1;
		memcpy(&a0, a, sizeof a0);
		memcpy(&a1, a + 2, sizeof a1);
		for (int i = 0; i < MR; i++) {
			pair w = { b[i], b[i] };
			s[i][0] += w * a0;
			s[i][1] += w * a1;
		}
	}
	for (int i = 0; i < MR; i++)
		for (int j = 0; j < NR; j++)
			c[i * N_BLOCK + j] += s[i][j / 2][j % 2];
}

static void tile_1x4(const double *a, const double *b, int64_t b_width, int64_t n_k, double *c)
{
	pair s0 = { 0 }, s1 = { 0 };
	for (int64_t k = 0; k < n_k; k++, a += N_BLOCK, b += b_width) {
		pair a0, a1, w = { b[0], b[0] };
		memcpy(&a0, a, sizeof a0);
		memcpy(&a1, a + 2, sizeof a1);
		s0 += w * a0;
		s1 += w * a1;
	}
	for (int j = 0; j < NR; j++)
		c[j] += j < 2 ? s0[j] : s1[j - 2];
}

static void multiply(struct contraction *c, int64_t n, int64_t m, int64_t n_k, int64_t m_width)
{
	for (int64_t i = 0; i < m;) {
		bool four = m - i >= MR;
		for (int64_t j = 0; j < n; j += NR)
			(four ? tile_4x4 : tile_1x4)(c->pack_n + j, c->pack_m + i, m_width, n_k, c->c + i * N_BLOCK + j);
		i += four ? MR : 1;
	}
}

/* ---- result ---- */

static void put_sum(const struct contraction *c, int64_t at, double v)
{
	switch (c->type) {
	case TG_f32: ((float *)c->sums)[at] = (float)v; break;
	case TG_f64: ((double *)c->sums)[at] = v; break;
	case TG_i32: ((int32_t *)c->sums)[at] = (int32_t)(int64_t)v; break;
	case TG_u32: ((uint32_t *)c->sums)[at] = (uint32_t)(int64_t)v; break;
	default: ((int64_t *)c->sums)[at] = (int64_t)v; break;
	}
}

static int64_t sum_at(const struct contraction *c, const struct dims *d, int64_t i)
{
	int64_t v = 0;
	for (uint32_t k = d->n; k-- > 0; i /= d->extent[k])
		v += c->lin[d->dim[k]] * (i % d->extent[k]);
	return v;
}

static void unpack(const struct contraction *c, int64_t base, int64_t n0, int64_t n, int64_t m0, int64_t m)
{
	int64_t n_at[N_BLOCK];
	for (int64_t j = 0; j < n; j++)
		n_at[j] = sum_at(c, &c->n.own, n0 + j);
	for (int64_t i = 0; i < m; i++) {
		int64_t at = base + sum_at(c, &c->m.own, m0 + i);
		for (int64_t j = 0; j < n; j++)
			put_sum(c, at + n_at[j], c->c[i * N_BLOCK + j]);
	}
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void block(struct contraction *c, const int64_t *batch_at, int64_t base, int64_t n0, int64_t m0)
{
	int64_t n = least(c->n.own.count - n0, N_BLOCK), m = least(c->m.own.count - m0, M_BLOCK);
	int64_t width = (m + MR - 1) / MR * MR;
	memset(c->c, 0, (size_t)width * N_BLOCK * sizeof *c->c);
	for (int64_t k0 = 0; k0 < c->k.count; k0 += K_BLOCK) {
		int64_t n_k = least(c->k.count - k0, K_BLOCK);
		pack_side(c, &c->n, batch_at, n0, n, k0, n_k, N_BLOCK, c->pack_n);
		pack_side(c, &c->m, batch_at, m0, m, k0, n_k, width, c->pack_m);
		multiply(c, n, m, n_k, width);
	}
	unpack(c, base, n0, n, m0, m);
}

static void all_blocks(struct contraction *c)
{
	int64_t at[TG_MAX_DIMS] = { 0 };
	for (int64_t b = 0; b < c->batch.count; b++, next(&c->batch, at)) {
		int64_t base = sum_at(c, &c->batch, b);
		for (int64_t n0 = 0; n0 < c->n.own.count; n0 += N_BLOCK)
			for (int64_t m0 = 0; m0 < c->m.own.count; m0 += M_BLOCK)
				block(c, at, base, n0, m0);
	}
}

void *tg_eval_contraction(struct tg_arena *scratch, const struct tg_stage *s, const struct tg_access *access)
{
	struct contraction *c = tg_alloc(scratch, sizeof *c);
	int64_t total = 1;
	c->scratch = scratch;
	c->s = s;
	if (s->n_dims > TG_MAX_DIMS || !find(c, access))
		return NULL;
	if (c->m.own.count > c->n.own.count) { /* the longer side goes into vector registers */
		struct side t = c->n;
		c->n = c->m;
		c->m = t;
	}
	for (uint32_t i = s->n_dims; i-- > 0;)
		if (s->dims[i].kind == TG_DIM_PARALLEL) {
			c->lin[i] = total;
			total *= s->dims[i].extent;
		}
	prepare(c, &c->n);
	prepare(c, &c->m);
	uint32_t checks = c->n.a->n_checks > c->m.a->n_checks ? c->n.a->n_checks : c->m.a->n_checks;
	c->pack_n = tg_alloc_n(scratch, (size_t)K_BLOCK * N_BLOCK, sizeof(double));
	c->pack_m = tg_alloc_n(scratch, (size_t)K_BLOCK * M_BLOCK, sizeof(double));
	c->c = tg_alloc_n(scratch, (size_t)M_BLOCK * N_BLOCK, sizeof(double));
	c->off_point = tg_alloc_n(scratch, M_BLOCK, sizeof(int64_t));
	c->off_k = tg_alloc_n(scratch, K_BLOCK, sizeof(int64_t));
	c->check_point = tg_alloc_n(scratch, (size_t)checks * M_BLOCK + 1, sizeof(int64_t));
	c->check_k = tg_alloc_n(scratch, (size_t)checks * K_BLOCK + 1, sizeof(int64_t));
	c->sums = tg_alloc_n(scratch, (size_t)total, tg_col_size(c->type));
	all_blocks(c);
	return c->sums;
}
