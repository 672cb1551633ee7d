/* layout.c: the order of dimensions in DRAM of every tensor that nobody outside sees.
 *
 * Tensors that share storage (views, stages that write into a tensor) share a layout. Inputs, outputs, views' ends, index lists and whatever the host
 * evaluates are row-major. Everything else takes the order in which its first writer produces it: the columns of a matrix product innermost, else the
 * order of the writer's largest operand. Constants follow their first reader. A small tensor that is read again and again beside a large one then
 * follows its readers instead, where they agree. */
#include "driver.h"

#include <string.h>

static void identity(struct tg_value *v)
{
	for (uint32_t i = 0; i < TG_MAX_RANK; i++)
		v->layout[i] = (uint8_t)i;
}

static const struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static void pin(struct driver *dr, tg_val v)
{
	dr->pinned[dr->storage[v.id]] = true;
}

static void pin_fixed(struct driver *dr)
{
	for (size_t i = 0; i < dr->m->inputs.n; i++)
		pin(dr, dr->m->inputs.at[i].value);
	for (size_t i = 0; i < dr->m->outputs.n; i++)
		pin(dr, dr->m->outputs.at[i].value);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		if (op->code == TG_TILE_view || op->code == TG_TILE_words || (op->code == TG_TILE_stage && dr->host[i])) {
			for (uint32_t k = 0; k < op->n_in; k++)
				pin(dr, op->in[k]);
			pin(dr, op->out[0]);
		}
		for (uint32_t k = 0; op->code == TG_TILE_stage && k < stage_of(op)->n_ins; k++)
			for (uint32_t x = 0; x < stage_of(op)->ins[k].map.rank; x++)
				if (stage_of(op)->ins[k].map.index[x].gather >= 0)
					pin(dr, op->in[stage_of(op)->ins[k].map.index[x].gather]);
	}
}

static bool walks(const struct tg_stage *s, uint32_t in, uint32_t dim)
{
	for (uint32_t i = 0; i < s->ins[in].map.rank; i++)
		if (s->ins[in].map.index[i].coef[dim])
			return true;
	return false;
}

/* For a sum of products: the factor whose dimensions the other lacks, and which lie in the columns: the second one, as exporters write weights second. */
static bool product_factors(const struct tg_stage *s, uint32_t *lhs, uint32_t *rhs)
{
	struct tg_factor f[2];
	if (!tg_stage_product(s, f) || f[0].in < 0 || f[1].in < 0)
		return false;
	*lhs = (uint32_t)f[0].in;
	*rhs = (uint32_t)f[1].in;
	return *lhs != *rhs;
}

/* A rank for each dimension of the stage: large = inner. Dimensions that the largest operand walks are in its order, those it does not outside; the
 * columns of a sum of products are innermost. */
static void dim_ranks(const struct driver *dr, const struct tg_op *op, int64_t *rank)
{
	const struct tg_stage *s = stage_of(op);
	uint32_t lhs, rhs;
	const struct tg_value *largest = NULL;
	int64_t most = 0;
	uint32_t which = 0;
	for (uint32_t d = 0; d < s->n_dims; d++)
		rank[d] = d;
	for (uint32_t i = 0; i < s->n_ins; i++) {
		const struct tg_value *v = tg_value_get(dr->m, op->in[i]);
		int64_t n;
		const struct tg_const *c = tg_const_of(dr->m, op->in[i]);
		if ((!c || c->kind != TG_CONST_SPLAT) && tg_shape_count(&v->shape, &n) && (n > most || (n == most && largest && tg_const_of(dr->m, op->in[which]) && !c))) {
			most = n;
			largest = v;
			which = i;
		}
	}
	bool product = product_factors(s, &lhs, &rhs);
	if (product && largest && !tg_const_of(dr->m, op->in[lhs])) {
		which = lhs;
		largest = tg_value_get(dr->m, op->in[lhs]);
	}
	for (uint32_t at = 0; largest && at < largest->shape.rank; at++)
		for (uint32_t d = 0; d < s->n_dims; d++)
			if (s->ins[which].map.index[largest->layout[at]].coef[d])
				rank[d] = 100 + (int64_t)at * 10;
	for (uint32_t d = 0; product && d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_PARALLEL && walks(s, rhs, d) && !walks(s, lhs, d))
			rank[d] += 1000; /* columns */
}

/* Dimensions of the output by ascending rank of what moves them; a dimension that nothing moves stays outside. */
static void order_by(const struct tg_map *map, const struct tg_stage *s, const int64_t *rank, struct tg_value *v)
{
	int64_t key[TG_MAX_RANK];
	for (uint32_t i = 0; i < v->shape.rank; i++) {
		key[i] = -1;
		for (uint32_t d = 0; d < s->n_dims; d++)
			if (map->index[i].coef[d] && s->dims[d].extent > 1 && rank[d] > key[i])
				key[i] = rank[d];
	}
	identity(v);
	for (uint32_t i = 1; i < v->shape.rank; i++)
		for (uint32_t k = i; k > 0 && key[v->layout[k - 1]] > key[v->layout[k]]; k--) {
			uint8_t t = v->layout[k];
			v->layout[k] = v->layout[k - 1];
			v->layout[k - 1] = t;
		}
}

/* Weights: contracted dimensions in the order of the moving factor, columns innermost. Others: like the stage's result. */
static void lay_constants(struct driver *dr, const struct tg_op *op, const int64_t *out_rank)
{
	const struct tg_stage *s = stage_of(op);
	uint32_t lhs = UINT32_MAX, rhs = UINT32_MAX;
	bool product = product_factors(s, &lhs, &rhs);
	for (uint32_t i = 0; i < s->n_ins; i++) {
		uint32_t id = dr->storage[op->in[i].id];
		struct tg_value *v = tg_value_of(dr->m, op->in[i]);
		if (!tg_const_of(dr->m, op->in[i]) || dr->pinned[id] || dr->laid[id])
			continue;
		int64_t rank[MAX_DIMS_IN_STAGE];
		for (uint32_t d = 0; d < s->n_dims; d++)
			rank[d] = out_rank[d];
		if (product && i == rhs) {
			const struct tg_value *x = tg_value_get(dr->m, op->in[lhs]);
			for (uint32_t at = 0; at < x->shape.rank; at++)
				for (uint32_t d = 0; d < s->n_dims; d++)
					if (s->dims[d].kind == TG_DIM_REDUCE && s->ins[lhs].map.index[x->layout[at]].coef[d])
						rank[d] = 200 + at;
		}
		order_by(&s->ins[i].map, s, rank, v);
		dr->laid[id] = true;
	}
}

static void copy_layout(struct driver *dr, uint32_t storage, const uint8_t *layout)
{
	for (uint32_t i = 1; i < dr->m->values.n; i++)
		if (dr->storage[i] == storage)
			memcpy(dr->m->values.at[i].layout, layout, TG_MAX_RANK);
}

static bool is_ours(const struct driver *dr, uint32_t i)
{
	return dr->ops[i]->code == TG_TILE_stage && !dr->host[i] && stage_of(dr->ops[i])->n_dims <= MAX_DIMS_IN_STAGE;
}

static void lay_result(struct driver *dr, const struct tg_op *op, const int64_t *rank)
{
	uint32_t id = dr->storage[op->out[0].id];
	if (dr->pinned[id] || dr->laid[id])
		return;
	struct tg_value *v = tg_value_of(dr->m, op->out[0]);
	order_by(&stage_of(op)->outs[0].map, stage_of(op), rank, v);
	uint8_t layout[TG_MAX_RANK];
	memcpy(layout, v->layout, sizeof layout);
	if (dr->shared[id])
		copy_layout(dr, id, layout);
	dr->laid[id] = true;
}

static void lay_forward(struct driver *dr)
{
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		if (!is_ours(dr, i))
			continue;
		int64_t rank[MAX_DIMS_IN_STAGE];
		dim_ranks(dr, op, rank);
		lay_result(dr, op, rank);
		lay_constants(dr, op, rank);
	}
}

/* ---- what readers wish ------------------------------------------------------------------------------------------------------------- */

enum { WISH_NONE, WISH_ONE, WISH_SEVERAL };
struct wish { uint8_t state, layout[TG_MAX_RANK]; };
enum { WISH_ROUNDS = 4 };
enum { READ_AGAIN = 4 }; /* a reader counts that needs each element so many times */

static int64_t points_of(const struct tg_stage *s)
{
	int64_t n = 1;
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (__builtin_mul_overflow(n, s->dims[d].extent, &n))
			return INT64_MAX;
	return n;
}

/* Ranks of the stage's dimensions as its result lies. */
static void result_ranks(const struct driver *dr, const struct tg_op *op, int64_t *rank)
{
	const struct tg_stage *s = stage_of(op);
	const struct tg_value *v = tg_value_get(dr->m, op->out[0]);
	for (uint32_t d = 0; d < s->n_dims; d++)
		rank[d] = d;
	for (uint32_t at = 0; at < v->shape.rank; at++)
		for (uint32_t d = 0; d < s->n_dims; d++)
			if (s->outs[0].map.index[v->layout[at]].coef[d])
				rank[d] = 100 + (int64_t)at * 10;
}

/* A small tensor that a stage reads again and again beside a large one should lie as the large one does, not as whoever computes it happens to go; and
 * what the one who computes it reads should then lie so too. */
static void collect_wishes(const struct driver *dr, const bool *granted, struct wish *wish)
{
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		int64_t rank[MAX_DIMS_IN_STAGE], n;
		uint32_t lhs, rhs;
		if (!is_ours(dr, i))
			continue;
		const struct tg_stage *s = stage_of(op);
		bool follows = granted[dr->storage[op->out[0].id]];
		if (follows)
			result_ranks(dr, op, rank);
		else
			dim_ranks(dr, op, rank);
		for (uint32_t k = 0; k < s->n_ins; k++) {
			struct tg_value v = *tg_value_get(dr->m, op->in[k]);
			struct wish *w = &wish[dr->storage[op->in[k].id]];
			if (product_factors(s, &lhs, &rhs) && (k == lhs || k == rhs)) /* laid for the array */
				w->state = WISH_SEVERAL;
			if (!tg_shape_count(&v.shape, &n) || n < 1 || (!follows && points_of(s) / n < READ_AGAIN))
				continue;
			order_by(&s->ins[k].map, s, rank, &v);
			bool same = w->state == WISH_ONE && memcmp(w->layout, v.layout, v.shape.rank) == 0;
			if (w->state == WISH_NONE)
				memcpy(w->layout, v.layout, sizeof w->layout);
			w->state = w->state == WISH_NONE || same ? WISH_ONE : WISH_SEVERAL;
		}
	}
}

/* Grants what is not fixed and is computed by a stage; false: nothing changes. */
static bool grant_wishes(struct driver *dr, const struct wish *wish, bool *granted)
{
	bool any = false;
	for (uint32_t v = 1; v < dr->m->values.n; v++) {
		const struct tg_value *val = &dr->m->values.at[v];
		if (dr->storage[v] != v || dr->pinned[v] || wish[v].state != WISH_ONE || tg_const_of(dr->m, (tg_val){ v }) ||
		    memcmp(wish[v].layout, val->layout, val->shape.rank) == 0)
			continue;
		copy_layout(dr, v, wish[v].layout);
		dr->pinned[v] = granted[v] = any = true;
	}
	return any;
}

void driver_layout(struct driver *dr)
{
	memset(dr->pinned, 0, dr->m->values.n * sizeof *dr->pinned);
	memset(dr->laid, 0, dr->m->values.n * sizeof *dr->laid);
	for (uint32_t i = 1; i < dr->m->values.n; i++)
		identity(&dr->m->values.at[i]);
	pin_fixed(dr);
	lay_forward(dr);
	bool *granted = tg_alloc_n(dr->a, dr->m->values.n, sizeof *granted);
	for (int round = 0; round < WISH_ROUNDS; round++) {
		struct wish *wish = tg_alloc_n(dr->a, dr->m->values.n, sizeof *wish);
		collect_wishes(dr, granted, wish);
		if (!grant_wishes(dr, wish, granted))
			return;
		memset(dr->laid, 0, dr->m->values.n * sizeof *dr->laid);
		lay_forward(dr);
	}
}
