/* eval_stage.c: executes one stage by its definition, column by column.
 *
 * One dimension is the inner one: its points form columns of up to TG_COL elements, the others are counted by odometers. Without reductions
 * and with a parallel inner dimension the outputs are columns; with a reduce dimension inside, columns are folded into one element. Operands
 * with linear maps are read by offset and stride, with the run inside the tensor found by dividing; the others get a column of offsets. */
#include <string.h>

#include "eval_internal.h"

enum { NO_DIM = UINT32_MAX };

struct run {
	struct tg_diag *d;
	struct tg_loc loc;
	struct tg_arena *scratch;
	const struct tg_stage *s;
	struct tg_access *access;
	struct tg_tensor *out;
	uint64_t out0, *out_lin;
	uint32_t inner; /* dimension, or NO_DIM: columns have one element */
	int64_t *at;    /* current point */
	void **col;     /* by node */
	bool *in_red, *in_out;
	void **acc;     /* by reduction */
	/* sums that were computed before, by eval_contract.c */
	void *sums;
	int64_t *sums_lin;
};

/* ---- plan ---- */

static int64_t coef(const int64_t *c, uint32_t dim) { return dim == NO_DIM ? 0 : c[dim]; }

static bool index_is_affine(const struct tg_index *ix) { return ix->div == 1 && ix->mod == 0 && ix->gather < 0; }

static bool plan_operand(struct run *r, uint32_t i, const struct tg_source *src)
{
	const struct tg_stage *s = r->s;
	const struct tg_map *map = &s->ins[i].map;
	struct tg_access *a = &r->access[i];
	*a = (struct tg_access){ .src = src, .in = &s->ins[i], .compute = tg_compute_type(src->dtype), .linear = true };
	a->lin = tg_alloc_n(r->scratch, s->n_dims + 1, sizeof *a->lin);
	a->stride = tg_alloc_n(r->scratch, map->rank + 1, sizeof *a->stride);
	a->check = tg_alloc_n(r->scratch, map->rank + 1, sizeof *a->check);
	if (map->rank != src->shape->rank || a->compute == TG_none)
		return tg_internal(r->d, r->loc, "stage operand %u has rank %u, its map %u", i, src->shape->rank, map->rank);
	for (uint32_t k = map->rank; k-- > 0;) {
		const struct tg_index *ix = &map->index[k];
		int64_t lo = 0, hi = 0, extent = src->shape->dim[k];
		a->stride[k] = src->splat ? 0 : k + 1 == map->rank ? 1 : a->stride[k + 1] * (src->shape->dim[k + 1] ? src->shape->dim[k + 1] : 1);
		a->linear &= index_is_affine(ix);
		if (!tg_index_range(s, ix, &lo, &hi))
			return tg_error(r->d, r->loc, "index %u of stage operand %u leaves 64 bits", k, i);
		bool inside = ix->gather < 0 && lo >= 0 && hi < extent;
		if (!inside && ix->gather < 0 && !s->ins[i].guarded)
			return tg_error(r->d, r->loc, "index %u of stage operand %u runs from %lld to %lld, expected 0 to %lld", k, i, (long long)lo,
					(long long)hi, (long long)extent - 1);
		if (!inside)
			a->check[a->n_checks++] = (struct tg_check){ ix->coef, ix->offset, extent };
		a->lin0 += (uint64_t)ix->offset * (uint64_t)a->stride[k];
		for (uint32_t n = 0; n < s->n_dims; n++)
			a->lin[n] += (uint64_t)ix->coef[n] * (uint64_t)a->stride[k];
	}
	if (!a->linear)
		a->offsets = tg_alloc_n(r->scratch, TG_COL, sizeof *a->offsets);
	return true;
}

static bool plan_out(struct run *r)
{
	const struct tg_stage *s = r->s;
	const struct tg_map *map = &s->outs[0].map;
	int64_t stride = 1;
	r->out_lin = tg_alloc_n(r->scratch, s->n_dims + 1, sizeof *r->out_lin);
	if (map->rank != r->out->shape.rank)
		return tg_internal(r->d, r->loc, "stage result has rank %u, its map %u", r->out->shape.rank, map->rank);
	for (uint32_t k = map->rank; k-- > 0; stride *= r->out->shape.dim[k] ? r->out->shape.dim[k] : 1) {
		const struct tg_index *ix = &map->index[k];
		int64_t lo, hi;
		if (!index_is_affine(ix) || !tg_index_range(s, ix, &lo, &hi) || lo < 0 || hi >= r->out->shape.dim[k])
			return tg_error(r->d, r->loc, "index %u of the stage's result is not affine or leaves the tensor", k);
		r->out0 += (uint64_t)ix->offset * (uint64_t)stride;
		for (uint32_t n = 0; n < s->n_dims; n++)
			r->out_lin[n] += (uint64_t)ix->coef[n] * (uint64_t)stride;
	}
	return true;
}

/* Which nodes the reductions' values need, and which the outputs. */
static void plan_nodes(struct run *r)
{
	const struct tg_stage *s = r->s;
	r->in_red = tg_alloc(r->scratch, s->n_nodes + 1);
	r->in_out = tg_alloc(r->scratch, s->n_nodes + 1);
	for (uint32_t i = 0; i < s->n_reds; i++)
		r->in_red[s->reds[i].value.id] = true;
	for (uint32_t i = 0; i < s->n_outs; i++)
		r->in_out[s->outs[i].value.id] = true;
	for (uint32_t i = s->n_nodes; i-- > 0;) {
		const struct tg_node *n = &s->nodes[i];
		if (r->in_red[i + 1])
			r->in_red[n->a.id] = r->in_red[n->b.id] = r->in_red[n->c.id] = true;
		if (r->in_out[i + 1])
			r->in_out[n->a.id] = r->in_out[n->b.id] = r->in_out[n->c.id] = true;
	}
	r->col = tg_alloc_n(r->scratch, s->n_nodes + 1, sizeof *r->col);
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		r->col[i + 1] = tg_alloc_n(r->scratch, TG_COL, tg_col_size((enum tg_dtype)n->dtype));
		if (n->op == TG_X_const)
			tg_col_fill((enum tg_dtype)n->dtype, r->col[i + 1], n->bits, TG_COL);
	}
}

/* A guess at the time with `dim` inside, in ns: what a row costs, and what its strides cost. */
static double inner_cost(const struct run *r, uint32_t dim)
{
	const struct tg_stage *s = r->s;
	double points = 1, parallel = 1, each = 0;
	for (uint32_t i = 0; i < s->n_dims; i++) {
		points *= (double)s->dims[i].extent;
		parallel *= s->dims[i].kind == TG_DIM_PARALLEL ? (double)s->dims[i].extent : 1;
	}
	for (uint32_t i = 0; i < s->n_ins; i++)
		each += !r->access[i].linear ? 8 : r->access[i].lin[dim] + 1 <= 2 ? 0.5 : 3;
	each += 0.5 * s->n_nodes;
	double rows = points / (double)s->dims[dim].extent, row_cost = 20 * (1 + s->n_nodes) + 40 * s->n_ins;
	bool reduce = s->dims[dim].kind == TG_DIM_REDUCE;
	return points * each + rows * row_cost + (reduce ? parallel * row_cost : 0);
}

static uint32_t pick_inner(const struct run *r)
{
	uint32_t best = NO_DIM;
	double cost = 0;
	for (uint32_t i = 0; i < r->s->n_dims; i++) {
		if (r->sums && r->s->dims[i].kind == TG_DIM_REDUCE)
			continue;
		double c = inner_cost(r, i);
		if (best == NO_DIM || c < cost) {
			best = i;
			cost = c;
		}
	}
	return best;
}

/* ---- columns of operands ---- */

/* Points [first, first + n) of the inner dimension that are inside, as [*lo, *hi) counted from first. */
static void inside_run(const struct run *r, const struct tg_access *a, int64_t first, int64_t n, int64_t *lo, int64_t *hi)
{
	*lo = 0;
	*hi = n;
	for (uint32_t k = 0; k < a->n_checks; k++) {
		const struct tg_check *c = &a->check[k];
		int64_t v = c->offset, step = coef(c->coef, r->inner);
		for (uint32_t i = 0; i < r->s->n_dims; i++)
			v += i == r->inner ? 0 : c->coef[i] * r->at[i];
		v += step * first;
		if (step == 0) {
			if (v < 0 || v >= c->extent)
				*hi = 0;
			continue;
		}
		/* 0 <= v + step i <= extent - 1 */
		int64_t from = step > 0 ? -tg_floordiv(v, step) : -tg_floordiv(v - (c->extent - 1), step);
		int64_t to = step > 0 ? tg_floordiv(c->extent - 1 - v, step) : tg_floordiv(-v, step);
		*lo = from > *lo ? from : *lo;
		*hi = to + 1 < *hi ? to + 1 : *hi;
	}
	if (*hi < *lo)
		*hi = *lo;
}

static int64_t linear_offset(const struct run *r, const struct tg_access *a, int64_t inner_at)
{
	uint64_t v = a->lin0;
	for (uint32_t i = 0; i < r->s->n_dims; i++)
		v += a->lin[i] * (uint64_t)(i == r->inner ? inner_at : r->at[i]);
	return (int64_t)v;
}

static void load_linear(const struct run *r, const struct tg_access *a, int64_t first, size_t n, void *col)
{
	int64_t lo, hi, stride = r->inner == NO_DIM ? 0 : (int64_t)a->lin[r->inner];
	size_t each = tg_col_size(a->compute);
	inside_run(r, a, first, (int64_t)n, &lo, &hi);
	if (hi - lo < (int64_t)n)
		tg_col_fill(a->compute, col, a->in->fill, n);
	if (hi > lo)
		tg_col_load(a->src->dtype, (char *)col + (size_t)lo * each, a->src->data, linear_offset(r, a, first + lo), stride, (size_t)(hi - lo));
}

static bool general_offsets(struct run *r, uint32_t in, int64_t first, size_t n);

/* The elements of a gather's index operand as i64. */
static bool gathered(struct run *r, uint32_t in, int64_t first, size_t n, int64_t *out)
{
	struct tg_access *a = &r->access[in];
	uint64_t raw[TG_COL];
	if (a->linear)
		load_linear(r, a, first, n, raw);
	else if (!general_offsets(r, in, first, n))
		return false;
	else {
		tg_col_fill(a->compute, raw, a->in->fill, n);
		tg_col_load_at(a->src->dtype, raw, a->src->data, a->offsets, n);
	}
	tg_kernel *k = tg_kernel_cast(a->compute, TG_i64);
	k(out, raw, NULL, NULL, n);
	return true;
}

/* Adds index k of operand `in` to the offsets; those outside become negative. */
static bool add_index(struct run *r, uint32_t in, uint32_t k, int64_t first, size_t n)
{
	struct tg_access *a = &r->access[in];
	const struct tg_index *ix = &a->in->map.index[k];
	int64_t list[TG_COL], base = ix->offset, step = coef(ix->coef, r->inner), extent = a->src->shape->dim[k];
	for (uint32_t i = 0; i < r->s->n_dims; i++)
		base += i == r->inner ? 0 : ix->coef[i] * r->at[i];
	if (ix->gather >= 0 && !gathered(r, (uint32_t)ix->gather, first, n, list))
		return false;
	for (size_t i = 0; i < n; i++) {
		int64_t v = base + step * (first + (int64_t)i);
		if (ix->div > 1)
			v = tg_floordiv(v, ix->div);
		if (ix->mod > 0)
			v = tg_floormod(v, ix->mod);
		if (ix->gather >= 0 && __builtin_add_overflow(v, list[i], &v))
			v = -1;
		if (v >= 0 && v < extent) {
			a->offsets[i] = a->offsets[i] < 0 ? -1 : a->offsets[i] + v * a->stride[k];
			continue;
		}
		if (!a->in->guarded)
			return tg_error(r->d, r->loc, "index %lld is outside dimension %u of extent %lld", (long long)v, k, (long long)extent);
		a->offsets[i] = -1;
	}
	return true;
}

/* No cycles: an index operand has no gather of its own (checked at the start). */
static bool general_offsets(struct run *r, uint32_t in, int64_t first, size_t n)
{
	memset(r->access[in].offsets, 0, n * sizeof(int64_t));
	for (uint32_t k = 0; k < r->access[in].in->map.rank; k++)
		if (!add_index(r, in, k, first, n))
			return false;
	return true;
}

static bool load_operand(struct run *r, uint32_t in, int64_t first, size_t n, void *col)
{
	struct tg_access *a = &r->access[in];
	if (a->linear) {
		load_linear(r, a, first, n, col);
		return true;
	}
	if (!general_offsets(r, in, first, n))
		return false;
	if (a->in->guarded)
		tg_col_fill(a->compute, col, a->in->fill, n);
	tg_col_load_at(a->src->dtype, col, a->src->data, a->offsets, n);
	return true;
}

static bool inside_column(struct run *r, uint32_t in, int64_t first, size_t n, uint8_t *col)
{
	struct tg_access *a = &r->access[in];
	int64_t lo, hi;
	if (!a->linear) {
		if (!general_offsets(r, in, first, n))
			return false;
		for (size_t i = 0; i < n; i++)
			col[i] = a->offsets[i] >= 0;
		return true;
	}
	inside_run(r, a, first, (int64_t)n, &lo, &hi);
	for (size_t i = 0; i < n; i++)
		col[i] = (int64_t)i >= lo && (int64_t)i < hi;
	return true;
}

/* ---- columns of nodes ---- */

static void load_sums(struct run *r, enum tg_dtype t, int64_t first, size_t n, void *col)
{
	int64_t at = 0;
	for (uint32_t i = 0; i < r->s->n_dims; i++)
		at += r->sums_lin[i] * (i == r->inner ? first : r->at[i]);
	tg_col_load(t, col, r->sums, at, r->inner == NO_DIM ? 0 : r->sums_lin[r->inner], n);
}

static bool run_node(struct run *r, uint32_t i, int64_t first, size_t n)
{
	const struct tg_node *x = &r->s->nodes[i];
	enum tg_dtype t = (enum tg_dtype)x->dtype, ta = x->a.id ? (enum tg_dtype)r->s->nodes[x->a.id - 1].dtype : t;
	void *col = r->col[i + 1];
	const void *a = r->col[x->a.id], *b = r->col[x->b.id], *c = r->col[x->c.id];
	switch ((enum tg_expr_op)x->op) {
	case TG_X_const: return true;
	case TG_X_arg: return load_operand(r, (uint32_t)x->k, first, n, col);
	case TG_X_inside: return inside_column(r, (uint32_t)x->k, first, n, col);
	case TG_X_index: {
		bool inner = (uint32_t)x->k == r->inner;
		tg_col_index(col, inner ? first : r->at[x->k], inner, n);
		return true;
	}
	case TG_X_acc:
		if (r->sums)
			load_sums(r, t, first, n, col);
		else
			tg_acc_end((enum tg_combine)r->s->reds[x->k].combine, t, col, r->acc[x->k], n);
		return true;
	case TG_X_cast: tg_kernel_cast(ta, t)(col, a, NULL, NULL, n); return true;
	case TG_X_wrap:
	case TG_X_sat: tg_col_narrow(t, (enum tg_dtype)x->k, x->op == TG_X_sat, col, a, n); return true;
	default: tg_kernel_of((enum tg_expr_op)x->op, x->op == TG_X_select ? t : ta)(col, a, b, c, n); return true;
	}
}

static bool run_nodes(struct run *r, const bool *needed, int64_t first, size_t n)
{
	for (uint32_t i = 0; i < r->s->n_nodes; i++)
		if (needed[i + 1] && !run_node(r, i, first, n))
			return false;
	return true;
}

static void store(struct run *r, int64_t first, size_t n)
{
	uint64_t at = r->out0;
	for (uint32_t i = 0; i < r->s->n_dims; i++)
		at += r->out_lin[i] * (uint64_t)(i == r->inner ? first : r->at[i]);
	tg_col_store(r->out->dtype, r->out->data, (int64_t)at, r->inner == NO_DIM ? 0 : (int64_t)r->out_lin[r->inner], r->col[r->s->outs[0].value.id], n);
}

/* ---- loops ---- */

/* The next point of the dimensions of this kind but the inner one; false when they are through (and back at zero). */
static bool advance(struct run *r, enum tg_dim_kind kind)
{
	for (uint32_t i = r->s->n_dims; i-- > 0;) {
		if (r->s->dims[i].kind != kind || i == r->inner)
			continue;
		if (++r->at[i] < r->s->dims[i].extent)
			return true;
		r->at[i] = 0;
	}
	return false;
}

static int64_t inner_extent(const struct run *r) { return r->inner == NO_DIM ? 1 : r->s->dims[r->inner].extent; }

static void acc_init(struct run *r, size_t n)
{
	for (uint32_t i = 0; i < r->s->n_reds; i++) {
		const struct tg_reduction *red = &r->s->reds[i];
		tg_acc_init((enum tg_combine)red->combine, (enum tg_dtype)r->s->nodes[red->value.id - 1].dtype, r->acc[i], n);
	}
}

typedef void fold_fn(enum tg_combine c, enum tg_dtype t, void *acc, const void *v, size_t n);

static void fold(struct run *r, fold_fn *f, size_t n)
{
	for (uint32_t i = 0; i < r->s->n_reds; i++) {
		const struct tg_reduction *red = &r->s->reds[i];
		f((enum tg_combine)red->combine, (enum tg_dtype)r->s->nodes[red->value.id - 1].dtype, r->acc[i], r->col[red->value.id], n);
	}
}

static bool loop_parallel(struct run *r)
{
	bool reduce = r->s->n_reds > 0 && !r->sums;
	int64_t extent = inner_extent(r);
	do {
		for (int64_t first = 0; first < extent; first += TG_COL) {
			size_t n = (size_t)(extent - first < TG_COL ? extent - first : TG_COL);
			if (reduce) {
				acc_init(r, n);
				do {
					if (!run_nodes(r, r->in_red, first, n))
						return false;
					fold(r, tg_acc_column, n);
				} while (advance(r, TG_DIM_REDUCE));
			}
			if (!run_nodes(r, r->in_out, first, n))
				return false;
			store(r, first, n);
		}
	} while (advance(r, TG_DIM_PARALLEL));
	return true;
}

static bool reduce_point(struct run *r)
{
	int64_t extent = inner_extent(r);
	acc_init(r, 1);
	do {
		for (int64_t first = 0; first < extent; first += TG_COL) {
			size_t n = (size_t)(extent - first < TG_COL ? extent - first : TG_COL);
			if (!run_nodes(r, r->in_red, first, n))
				return false;
			fold(r, tg_acc_row, n);
		}
	} while (advance(r, TG_DIM_REDUCE));
	return true;
}

static bool loop_reduce(struct run *r)
{
	do {
		if (!reduce_point(r) || !run_nodes(r, r->in_out, 0, 1))
			return false;
		store(r, 0, 1);
	} while (advance(r, TG_DIM_PARALLEL));
	return true;
}

/* ---- entry ---- */

static bool node_defined(const struct tg_stage *s, const struct tg_node *x)
{
	enum tg_dtype t = (enum tg_dtype)x->dtype, ta = x->a.id ? (enum tg_dtype)s->nodes[x->a.id - 1].dtype : t;
	switch ((enum tg_expr_op)x->op) {
	case TG_X_arg:
	case TG_X_inside:
	case TG_X_acc:
	case TG_X_index:
	case TG_X_const: return true;
	case TG_X_cast: return tg_kernel_cast(ta, t) != NULL;
	case TG_X_wrap:
	case TG_X_sat: return tg_narrow_defined(t, (enum tg_dtype)x->k);
	default: return tg_kernel_of((enum tg_expr_op)x->op, x->op == TG_X_select ? t : ta) != NULL;
	}
}

static bool check_stage(struct run *r)
{
	const struct tg_stage *s = r->s;
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (!node_defined(s, &s->nodes[i]))
			return tg_unsupported(r->d, r->loc, "stage node %s of type %s is not defined", tg_expr_infos[s->nodes[i].op].name,
					      tg_dtypes[s->nodes[i].dtype].name);
	for (uint32_t i = 0; i < s->n_ins; i++)
		for (uint32_t k = 0; k < s->ins[i].map.rank; k++) {
			int32_t g = s->ins[i].map.index[k].gather;
			for (uint32_t j = 0; g >= 0 && j < s->ins[g].map.rank; j++)
				if (s->ins[g].map.index[j].gather >= 0)
					return tg_unsupported(r->d, r->loc, "stage operand %d is an index operand with a gather of its own", g);
		}
	return true;
}

static void sums_strides(struct run *r)
{
	int64_t n = 1;
	r->sums_lin = tg_alloc_n(r->scratch, r->s->n_dims + 1, sizeof *r->sums_lin);
	for (uint32_t i = r->s->n_dims; i-- > 0;)
		if (r->s->dims[i].kind == TG_DIM_PARALLEL) {
			r->sums_lin[i] = n;
			n *= r->s->dims[i].extent;
		}
}

bool tg_eval_stage_on(struct tg_diag *d, struct tg_loc loc, struct tg_arena *scratch, const struct tg_stage *s, const struct tg_source *ins,
		      struct tg_tensor *out)
{
	struct run r = { .d = d, .loc = loc, .scratch = scratch, .s = s, .out = out };
	for (uint32_t i = 0; i < s->n_dims; i++)
		if (s->dims[i].extent < 1)
			return tg_error(d, loc, "stage dimension %u has extent %lld, expected 1 or more", i, (long long)s->dims[i].extent);
	r.access = tg_alloc_n(scratch, s->n_ins + 1, sizeof *r.access);
	r.at = tg_alloc_n(scratch, s->n_dims + 1, sizeof *r.at);
	if (!check_stage(&r))
		return false;
	for (uint32_t i = 0; i < s->n_ins; i++)
		if (!plan_operand(&r, i, &ins[i]))
			return false;
	if (!plan_out(&r))
		return false;
	plan_nodes(&r);
	r.acc = tg_alloc_n(scratch, s->n_reds + 1, sizeof *r.acc);
	for (uint32_t i = 0; i < s->n_reds; i++)
		r.acc[i] = tg_alloc_n(scratch, TG_COL, sizeof(double));
	r.sums = tg_eval_contraction(scratch, s, r.access);
	sums_strides(&r);
	r.inner = pick_inner(&r);
	bool reduce = r.inner != NO_DIM && s->dims[r.inner].kind == TG_DIM_REDUCE;
	return reduce ? loop_reduce(&r) : loop_parallel(&r);
}

bool tg_eval_stage(struct tg_diag *d, struct tg_loc loc, const struct tg_stage *s, const struct tg_tensor *ins, struct tg_tensor *out)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(d->arena));
	struct tg_source *src = tg_alloc_n(scratch, s->n_ins + 1, sizeof *src);
	for (uint32_t i = 0; i < s->n_ins; i++)
		src[i] = (struct tg_source){ ins[i].dtype, &ins[i].shape, ins[i].data, false };
	bool ok = tg_eval_stage_on(d, loc, scratch, s, src, out);
	tg_arena_free(scratch);
	return ok;
}
