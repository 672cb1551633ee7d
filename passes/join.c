/* join.c: one stage of a producer and its reader. Two ways: an elementwise reader moves into what it reads, an elementwise producer moves into what
 * reads it; their maps are composed. Whether that pays is for the passes `fuse` and `recompute` to say. An operand of a sum of products stays a tensor, so that the
 * matrix unit can stream it, unless elements only move. */
#include "join.h"

#include <string.h>

/* Every operand takes scalar registers for its pointer and strides, and the loops of a product take more of them than others. */
enum { MAX_FUSED_OPERANDS = 8, MAX_PRODUCT_OPERANDS = 5, MAX_FUSED_NODES = 96, MAX_STAGE_DIMS = 16 };

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool writes_in_part(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, into)].i != 0;
}

static bool plain(const struct tg_index *x)
{
	return x->div == 1 && x->mod == 0 && x->gather < 0;
}

/* The stage writes element (d0, d1, ...) of its result at point (d0, d1, ...): dim_of[i] is the dimension of index i, or -1 for an index that is 0. */
static bool identity_out(const struct tg_stage *s, const struct tg_shape *shape, int *dim_of)
{
	bool used[MAX_STAGE_DIMS] = { false };
	for (uint32_t i = 0; i < shape->rank; i++) {
		const struct tg_index *x = &s->outs[0].map.index[i];
		dim_of[i] = -1;
		if (!plain(x) || x->offset)
			return false;
		for (uint32_t d = 0; d < s->n_dims; d++) {
			if (!x->coef[d] || (s->dims[d].extent == 1 && shape->dim[i] != 1)) /* a dimension of one point adds nothing */
				continue;
			if (dim_of[i] >= 0 || x->coef[d] != 1 || used[d] || s->dims[d].extent != shape->dim[i])
				return false;
			used[d] = true;
			dim_of[i] = (int)d;
		}
		if (dim_of[i] < 0 && shape->dim[i] != 1)
			return false;
	}
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_PARALLEL && !used[d] && s->dims[d].extent != 1)
			return false;
	return true;
}

static bool uses_gather(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_ins; i++)
		for (uint32_t k = 0; k < s->ins[i].map.rank; k++)
			if (s->ins[i].map.index[k].gather >= 0)
				return true;
	return false;
}

static bool mentions_inside(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_inside)
			return true;
	return false;
}

/* Of a product for the matrix unit. */
static bool is_factor(const struct tg_stage *s, uint32_t in)
{
	struct tg_factor f[2];
	return tg_stage_product(s, f) && tg_reuses_factors(s, f) && (f[0].in == (int32_t)in || f[1].in == (int32_t)in);
}

static uint32_t most_operands(const struct tg_stage *s)
{
	struct tg_factor f[2];
	return tg_stage_product(s, f) && tg_reuses_factors(s, f) ? MAX_PRODUCT_OPERANDS : MAX_FUSED_OPERANDS;
}

/* ---- building the joint stage ------------------------------------------------------------------------------------------------- */

static struct tg_map new_map(struct tg_arena *a, uint32_t rank, uint32_t n_dims)
{
	struct tg_map m = { rank, tg_alloc_n(a, rank, sizeof *m.index) };
	for (uint32_t i = 0; i < rank; i++)
		m.index[i] = (struct tg_index){ tg_alloc_n(a, n_dims, sizeof(int64_t)), 0, 1, 0, -1 };
	return m;
}

/* `map` over the dimensions of a stage, rewritten: dimension d is sub[d] (an affine index over new dimensions). */
static struct tg_map substitute(struct tg_arena *a, const struct tg_map *map, uint32_t n_old, const struct tg_index *sub, uint32_t n_new)
{
	struct tg_map out = new_map(a, map->rank, n_new);
	for (uint32_t i = 0; i < map->rank; i++) {
		struct tg_index *to = &out.index[i];
		const struct tg_index *from = &map->index[i];
		to->offset = from->offset;
		to->div = from->div;
		to->mod = from->mod;
		to->gather = from->gather;
		for (uint32_t d = 0; d < n_old; d++) {
			to->offset += from->coef[d] * sub[d].offset;
			for (uint32_t k = 0; k < n_new; k++)
				to->coef[k] += from->coef[d] * sub[d].coef[k];
		}
	}
	return out;
}

static bool same_map(const struct tg_map *a, const struct tg_map *b, uint32_t n_dims)
{
	if (a->rank != b->rank)
		return false;
	for (uint32_t i = 0; i < a->rank; i++) {
		const struct tg_index *x = &a->index[i], *y = &b->index[i];
		if (x->offset != y->offset || x->div != y->div || x->mod != y->mod || x->gather != y->gather ||
		    memcmp(x->coef, y->coef, n_dims * sizeof *x->coef) != 0)
			return false;
	}
	return true;
}

struct joint {
	struct tg_arena *a;
	struct tg_stage *s;
	tg_val *operands;
	uint32_t cap_ins, cap_nodes;
};

static struct joint joint_new(struct tg_module *m, uint32_t n_ins, uint32_t n_nodes)
{
	struct joint j = { .a = m->arena, .s = tg_alloc(m->arena, sizeof *j.s), .cap_ins = n_ins, .cap_nodes = n_nodes };
	j.s->ins = tg_alloc_n(j.a, n_ins + 1, sizeof *j.s->ins);
	j.s->nodes = tg_alloc_n(j.a, n_nodes + 1, sizeof *j.s->nodes);
	j.operands = tg_alloc_n(j.a, n_ins + 2, sizeof *j.operands);
	return j;
}

/* The number of an operand in the joint stage; equal reads of one tensor are one operand. */
static uint32_t joint_in(struct joint *j, tg_val v, const struct tg_stage_in *in)
{
	for (uint32_t i = 0; i < j->s->n_ins; i++)
		if (j->operands[i].id == v.id && j->s->ins[i].guarded == in->guarded && j->s->ins[i].fill == in->fill &&
		    same_map(&j->s->ins[i].map, &in->map, j->s->n_dims))
			return i;
	j->s->ins[j->s->n_ins] = *in;
	j->operands[j->s->n_ins] = v;
	return j->s->n_ins++;
}

static tg_expr moved(tg_expr e, const tg_expr *to)
{
	return e.id ? to[e.id - 1] : e;
}

/* Copies a stage's nodes. in_of: new operand numbers; replaced: the operand whose value is `with` instead. */
static void copy_nodes(struct joint *j, const struct tg_stage *from, const uint32_t *in_of, int64_t replaced, tg_expr with, const int *dim_of, tg_expr *to)
{
	for (uint32_t i = 0; i < from->n_nodes; i++) {
		struct tg_node n = from->nodes[i];
		if (n.op == TG_X_arg && n.k == replaced) {
			to[i] = with;
			continue;
		}
		if (n.op == TG_X_arg || n.op == TG_X_inside)
			n.k = (int32_t)in_of[n.k];
		if (n.op == TG_X_index)
			n.k = dim_of[n.k];
		n.a = moved(n.a, to);
		n.b = moved(n.b, to);
		n.c = moved(n.c, to);
		j->s->nodes[j->s->n_nodes++] = n;
		to[i] = (tg_expr){ j->s->n_nodes };
	}
}

/* Is the value of node e one that memory type t holds exactly? */
static bool holds(const struct joint *j, const struct tg_module *m, tg_expr e, enum tg_dtype t)
{
	const struct tg_node *n = &j->s->nodes[e.id - 1];
	switch (n->op) {
	case TG_X_wrap: case TG_X_sat: return n->dtype == t || n->k == (int32_t)t;
	case TG_X_arg: return n->dtype == t || (tg_value_get(m, j->operands[n->k])->dtype == t && !j->s->ins[n->k].guarded);
	default: return n->dtype == t;
	}
}

/* The tensor between the two stages goes, but what storing in it does to a value stays: rounding or wrapping to its type. */
static tg_expr stored(struct joint *j, const struct tg_module *m, tg_expr e, enum tg_dtype t)
{
	if (holds(j, m, e, t))
		return e;
	j->s->nodes[j->s->n_nodes++] = (struct tg_node){ .op = TG_X_wrap, .dtype = j->s->nodes[e.id - 1].dtype, .k = (int32_t)t, .a = e };
	return (tg_expr){ j->s->n_nodes };
}

static void replace_ops(struct tg_pair *x, struct joint *j)
{
	struct tg_op *c = x->c;
	uint32_t n = j->s->n_ins;
	if (writes_in_part(c))
		j->operands[n++] = c->in[c->n_in - 1];
	c->in = j->operands;
	c->n_in = n;
	c->attrs[TG_AT(tile_stage, body)].stage = j->s;
	c->prov = tg_prov_union(x->m, x->p->prov, c->prov);
}

/* ---- the consumer moves into the producer: c is elementwise over p's result ---------------------------------------------------------- */

/* sub[d]: consumer dimension d in terms of producer dimensions. */
static bool match_points(const struct tg_pair *x, struct tg_index *sub, int *index_dim)
{
	const struct tg_stage *p = stage_of(x->p), *c = stage_of(x->c);
	const struct tg_shape *shape = &tg_value_get(x->m, x->p->out[0])->shape;
	int dim_of[TG_MAX_RANK];
	if (!identity_out(p, shape, dim_of) || c->ins[x->in].guarded)
		return false;
	for (uint32_t d = 0; d < c->n_dims; d++) {
		sub[d] = (struct tg_index){ tg_alloc_n(x->m->arena, p->n_dims, sizeof(int64_t)), 0, 1, 0, -1 };
		index_dim[d] = -1;
	}
	for (uint32_t i = 0; i < shape->rank; i++) {
		const struct tg_index *at = &c->ins[x->in].map.index[i];
		int from = -1;
		if (!plain(at) || at->offset)
			return false;
		for (uint32_t d = 0; d < c->n_dims; d++)
			if (at->coef[d]) {
				if (from >= 0 || at->coef[d] != 1)
					return false;
				from = (int)d;
			}
		if (from < 0) {
			if (shape->dim[i] != 1)
				return false;
			continue;
		}
		if (c->dims[from].extent != shape->dim[i] || index_dim[from] >= 0)
			return false;
		if (dim_of[i] < 0)
			continue;
		sub[from].coef[dim_of[i]] = 1;
		index_dim[from] = dim_of[i];
	}
	for (uint32_t d = 0; d < c->n_dims; d++)
		if (index_dim[d] < 0 && c->dims[d].extent != 1)
			return false;
	return true;
}

bool tg_join_into_producer(struct tg_pair *x)
{
	const struct tg_stage *p = stage_of(x->p), *c = stage_of(x->c);
	struct tg_index sub[MAX_STAGE_DIMS];
	int index_dim[MAX_STAGE_DIMS], same_dim[MAX_STAGE_DIMS];
	if (c->n_reds || writes_in_part(x->p) || p->n_ins + c->n_ins - 1 > most_operands(p) || p->n_nodes + c->n_nodes > MAX_FUSED_NODES ||
	    uses_gather(c) || mentions_inside(c) || !match_points(x, sub, index_dim))
		return false;
	for (uint32_t i = 0; i < c->n_nodes; i++)
		if (c->nodes[i].op == TG_X_index && index_dim[c->nodes[i].k] < 0)
			return false;
	struct joint j = joint_new(x->m, p->n_ins + c->n_ins, p->n_nodes + c->n_nodes + 1);
	uint32_t *in_of = tg_alloc_n(j.a, p->n_ins + c->n_ins, sizeof *in_of);
	tg_expr *to = tg_alloc_n(j.a, p->n_nodes + c->n_nodes, sizeof *to);
	j.s->n_dims = p->n_dims;
	j.s->dims = p->dims;
	for (uint32_t d = 0; d < p->n_dims; d++)
		same_dim[d] = (int)d;
	for (uint32_t i = 0; i < p->n_ins; i++) {
		j.s->ins[i] = p->ins[i];
		j.operands[i] = x->p->in[i];
		in_of[i] = i;
	}
	j.s->n_ins = p->n_ins;
	copy_nodes(&j, p, in_of, -1, (tg_expr){ 0 }, same_dim, to);
	j.s->n_reds = p->n_reds;
	j.s->reds = p->reds; /* the producer's nodes keep their numbers */
	tg_expr result = stored(&j, x->m, moved(p->outs[0].value, to), (enum tg_dtype)tg_value_get(x->m, x->p->out[0])->dtype);
	/* what the consumer reads besides; its own operand keeps its number, read or not */
	for (uint32_t i = 0; i < c->n_ins; i++) {
		if (i == x->in)
			continue;
		struct tg_stage_in in = c->ins[i];
		in.map = substitute(j.a, &c->ins[i].map, c->n_dims, sub, p->n_dims);
		in_of[i] = joint_in(&j, x->c->in[i], &in);
	}
	copy_nodes(&j, c, in_of, x->in, result, index_dim, to);
	j.s->n_outs = 1;
	j.s->outs = tg_alloc(j.a, sizeof *j.s->outs);
	j.s->outs[0].map = substitute(j.a, &c->outs[0].map, c->n_dims, sub, p->n_dims);
	j.s->outs[0].value = moved(c->outs[0].value, to);
	replace_ops(x, &j);
	return true;
}

/* ---- the producer moves into the consumer: p is elementwise ------------------------------------------------------------------------------ */

double tg_tensor_bytes(const struct tg_module *m, tg_val v)
{
	size_t n = 0;
	const struct tg_value *t = tg_value_get(m, v);
	const struct tg_const *c = tg_const_of(m, v);
	return (c && c->kind == TG_CONST_SPLAT) || !tg_shape_bytes(&t->shape, (enum tg_dtype)t->dtype, &n) ? 0 : (double)n;
}

int64_t tg_stage_points(const struct tg_stage *s)
{
	int64_t n = 1;
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (__builtin_mul_overflow(n, s->dims[d].extent, &n))
			return INT64_MAX;
	return n;
}

bool tg_stage_moves(const struct tg_stage *p)
{
	return p->n_nodes == 1 && p->nodes[0].op == TG_X_arg;
}

static bool may_inline(const struct tg_pair *x)
{
	const struct tg_stage *p = stage_of(x->p), *c = stage_of(x->c);
	if (p->n_reds || writes_in_part(x->p) || uses_gather(p) || mentions_inside(p) || mentions_inside(c))
		return false;
	for (uint32_t i = 0; i < c->n_ins; i++)
		for (uint32_t k = 0; k < c->ins[i].map.rank; k++)
			if (c->ins[i].map.index[k].gather == (int32_t)x->in)
				return false; /* an index list stays a tensor */
	for (uint32_t k = 0; k < c->ins[x->in].map.rank; k++)
		if (!plain(&c->ins[x->in].map.index[k]))
			return false;
	for (uint32_t i = 0; i < p->n_nodes; i++)
		if (p->nodes[i].op == TG_X_index)
			return false;
	if (p->n_ins + c->n_ins - 1 > most_operands(c) || p->n_nodes + c->n_nodes > MAX_FUSED_NODES)
		return false;
	if (tg_stage_moves(p)) {
		/* one guard or the other, not both; moving narrows nothing, and widening is what every load does */
		bool guards = p->ins[0].guarded && c->ins[x->in].guarded;
		enum tg_dtype from = (enum tg_dtype)tg_value_get(x->m, x->p->in[0])->dtype, to = (enum tg_dtype)tg_value_get(x->m, x->p->out[0])->dtype;
		bool filled = c->ins[x->in].guarded && !tg_bits_fit(from, c->ins[x->in].fill);
		return !guards && !filled && (from == to || tg_compute_type(from) == to);
	}
	return !c->ins[x->in].guarded && !is_factor(c, x->in);
}

/* Leaving the moved tensor is leaving its source: each of its indices is walked by one dimension, from end to end. */
static bool same_edges(const struct tg_pair *x)
{
	const struct tg_stage *p = stage_of(x->p);
	const struct tg_shape *from = &tg_value_get(x->m, x->p->in[0])->shape;
	for (uint32_t i = 0; i < from->rank; i++) {
		const struct tg_index *at = &p->ins[0].map.index[i];
		uint32_t terms = 0;
		for (uint32_t d = 0; d < p->n_dims; d++)
			if (at->coef[d]) {
				terms++;
				if (at->coef[d] != 1 || p->dims[d].extent != from->dim[i] || !plain(at))
					return false;
			}
		if (at->offset || terms > 1)
			return false;
	}
	for (uint32_t d = 0; d < p->n_dims; d++) {
		bool walked = false;
		for (uint32_t i = 0; i < from->rank; i++)
			walked |= p->ins[0].map.index[i].coef[d] != 0;
		if (!walked)
			return false; /* a broadcast dimension has no edge to leave by */
	}
	return true;
}

/* An axis of length 1 that no dimension of the producer walks is gone after joining: a guard on it must not be what fills. */
static bool stays_where_nothing_walks(const struct tg_pair *x, const int *dim_of)
{
	const struct tg_stage *c = stage_of(x->c);
	const struct tg_map *map = &c->ins[x->in].map;
	for (uint32_t i = 0; i < map->rank; i++) {
		if (dim_of[i] >= 0)
			continue;
		if (map->index[i].offset)
			return false;
		for (uint32_t d = 0; d < c->n_dims; d++)
			if (map->index[i].coef[d] && c->dims[d].extent > 1)
				return false;
	}
	return true;
}

bool tg_join_fits_consumer(const struct tg_pair *x)
{
	const struct tg_stage *p = stage_of(x->p), *c = stage_of(x->c);
	int dim_of[TG_MAX_RANK];
	if (p->n_dims > MAX_STAGE_DIMS || c->n_dims > MAX_STAGE_DIMS || p->n_outs != 1 || c->n_outs != 1 || !may_inline(x) ||
	    !identity_out(p, &tg_value_get(x->m, x->p->out[0])->shape, dim_of))
		return false;
	for (uint32_t i = 0; i < p->n_ins; i++)
		for (uint32_t k = 0; k < p->ins[i].map.rank; k++)
			if (!plain(&p->ins[i].map.index[k]))
				return false;
	/* a guard of the producer is tested by the consumer's points only where the consumer itself stays inside */
	return !c->ins[x->in].guarded || (same_edges(x) && stays_where_nothing_walks(x, dim_of));
}

void tg_join_into_consumer(struct tg_pair *x)
{
	const struct tg_stage *p = stage_of(x->p), *c = stage_of(x->c);
	const struct tg_shape *shape = &tg_value_get(x->m, x->p->out[0])->shape;
	int dim_of[TG_MAX_RANK], same_dim[MAX_STAGE_DIMS];
	bool guarded = c->ins[x->in].guarded;
	uint64_t fill = c->ins[x->in].fill;
	struct tg_index sub[MAX_STAGE_DIMS];
	identity_out(p, shape, dim_of);
	for (uint32_t d = 0; d < p->n_dims; d++)
		sub[d] = (struct tg_index){ tg_alloc_n(x->m->arena, c->n_dims, sizeof(int64_t)), 0, 1, 0, -1 };
	for (uint32_t i = 0; i < shape->rank; i++)
		if (dim_of[i] >= 0)
			sub[dim_of[i]] = c->ins[x->in].map.index[i];
	struct joint j = joint_new(x->m, p->n_ins + c->n_ins, p->n_nodes + c->n_nodes + 1);
	uint32_t *in_of = tg_alloc_n(j.a, p->n_ins + c->n_ins, sizeof *in_of);
	tg_expr *to = tg_alloc_n(j.a, p->n_nodes + c->n_nodes, sizeof *to);
	j.s->n_dims = c->n_dims;
	j.s->dims = c->dims;
	for (uint32_t d = 0; d < c->n_dims; d++)
		same_dim[d] = (int)d;
	/* The consumer's other operands first, in order, so that gathers keep naming their lists. */
	uint32_t *c_in = tg_alloc_n(j.a, c->n_ins, sizeof *c_in);
	for (uint32_t i = 0; i < c->n_ins; i++)
		if (i != x->in) {
			c_in[i] = j.s->n_ins;
			j.s->ins[j.s->n_ins] = c->ins[i];
			j.operands[j.s->n_ins++] = x->c->in[i];
		}
	for (uint32_t i = 0; i < j.s->n_ins; i++) {
		j.s->ins[i].map = substitute(j.a, &j.s->ins[i].map, 0, NULL, c->n_dims);
		const struct tg_map *from = &c->ins[i < x->in ? i : i + 1].map;
		for (uint32_t k = 0; k < from->rank; k++) {
			j.s->ins[i].map.index[k] = from->index[k];
			if (from->index[k].gather >= 0)
				j.s->ins[i].map.index[k].gather = (int32_t)c_in[from->index[k].gather];
		}
	}
	for (uint32_t i = 0; i < p->n_ins; i++) {
		struct tg_stage_in in = p->ins[i];
		in.map = substitute(j.a, &p->ins[i].map, p->n_dims, sub, c->n_dims);
		if (guarded) {
			in.guarded = true;
			in.fill = fill;
		}
		in_of[i] = joint_in(&j, x->p->in[i], &in);
	}
	tg_expr with = { 0 };
	copy_nodes(&j, p, in_of, -1, with, same_dim, to);
	with = stored(&j, x->m, moved(p->outs[0].value, to), (enum tg_dtype)tg_value_get(x->m, x->p->out[0])->dtype);
	copy_nodes(&j, c, c_in, x->in, with, same_dim, to);
	j.s->n_reds = c->n_reds;
	j.s->reds = tg_alloc_n(j.a, c->n_reds + 1, sizeof *j.s->reds);
	for (uint32_t i = 0; i < c->n_reds; i++)
		j.s->reds[i] = (struct tg_reduction){ c->reds[i].combine, moved(c->reds[i].value, to) };
	j.s->n_outs = 1;
	j.s->outs = tg_alloc(j.a, sizeof *j.s->outs);
	j.s->outs[0] = (struct tg_stage_out){ c->outs[0].map, moved(c->outs[0].value, to) };
	replace_ops(x, &j);
}

/* ---- what passes ask of stages --------------------------------------------------------------------------------------------------------- */

bool tg_stage_beyond_lanes(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		bool wide = n->dtype == TG_i64 || n->dtype == TG_u64, hard = n->op == TG_X_div || n->op == TG_X_rem || n->op == TG_X_mod || n->op == TG_X_pow;
		if (n->dtype == TG_f64 || (wide && hard))
			return true;
	}
	for (uint32_t i = 0; i < s->n_reds; i++) {
		enum tg_dtype t = (enum tg_dtype)s->nodes[s->reds[i].value.id - 1].dtype;
		if (t == TG_i64 || t == TG_u64)
			return true;
	}
	return false;
}

void tg_count_operands(const struct tg_op *op, uint32_t *uses, int by)
{
	for (uint32_t i = 0; i < op->n_in; i++)
		uses[op->in[i].id] += (uint32_t)by;
}

void tg_count_readers(const struct tg_module *m, uint32_t *uses)
{
	memset(uses, 0, m->values.n * sizeof *uses);
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		tg_count_operands(op, uses, 1);
	for (size_t i = 0; i < m->outputs.n; i++)
		uses[m->outputs.at[i].value.id] += 2;
}
