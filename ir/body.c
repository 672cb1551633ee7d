/* body.c: building stages. A body collects dimensions, operands, map terms and expression nodes; tg_body_end drops what nothing needs and
 * makes the tile.stage op.
 *
 * Stages with an empty domain never come to be: without points to write the result is the `into` tensor or tile.empty; a reduction over
 * nothing becomes its identity. */
#include <assert.h>
#include <string.h>

#include "ir_internal.h"

struct term { uint32_t in, index, dim; int64_t coef; };
struct operand {
	tg_val v;
	uint32_t rank;
	struct tg_index *index; /* without coefficients: those are the terms */
	bool guarded;
	uint64_t fill;
};
struct tg_body {
	struct tg_module *m;
	struct tg_arena *arena;
	tg_prov prov;
	TG_VEC(struct tg_dim) dims;
	TG_VEC(struct operand) ins;
	TG_VEC(struct term) terms;
	TG_VEC(struct tg_node) nodes;
	TG_VEC(struct tg_reduction) reds;
};

struct tg_body *tg_body_new(struct tg_module *m, tg_prov prov)
{
	struct tg_body *b = tg_alloc(m->arena, sizeof *b);
	b->m = m;
	b->arena = m->arena;
	b->prov = prov;
	return b;
}

struct tg_module *tg_body_module(const struct tg_body *b) { return b->m; }

uint32_t tg_body_dim(struct tg_body *b, enum tg_dim_kind k, int64_t extent)
{
	assert(b->dims.n < TG_MAX_DIMS && extent >= 0);
	*TG_PUSH(b->arena, &b->dims) = (struct tg_dim){ extent, (uint8_t)k };
	return (uint32_t)(b->dims.n - 1);
}

uint32_t tg_body_in(struct tg_body *b, tg_val v)
{
	uint32_t rank = tg_value_of(b->m, v)->shape.rank;
	struct operand o = { .v = v, .rank = rank, .index = tg_alloc_n(b->arena, rank, sizeof *o.index) };
	for (uint32_t i = 0; i < rank; i++)
		o.index[i] = (struct tg_index){ .div = 1, .gather = -1 };
	*TG_PUSH(b->arena, &b->ins) = o;
	return (uint32_t)(b->ins.n - 1);
}

static struct tg_index *index_at(struct tg_body *b, uint32_t in, uint32_t index)
{
	assert(in < b->ins.n && index < b->ins.at[in].rank);
	return &b->ins.at[in].index[index];
}

void tg_body_term(struct tg_body *b, uint32_t in, uint32_t index, uint32_t dim, int64_t coef)
{
	(void)index_at(b, in, index);
	assert(dim < b->dims.n);
	*TG_PUSH(b->arena, &b->terms) = (struct term){ in, index, dim, coef };
}

void tg_body_offset(struct tg_body *b, uint32_t in, uint32_t index, int64_t offset) { index_at(b, in, index)->offset = offset; }

void tg_body_divmod(struct tg_body *b, uint32_t in, uint32_t index, int64_t div, int64_t mod)
{
	assert(div >= 1 && mod >= 0);
	index_at(b, in, index)->div = div;
	index_at(b, in, index)->mod = mod;
}

void tg_body_gather(struct tg_body *b, uint32_t in, uint32_t index, uint32_t index_in)
{
	assert(index_in < b->ins.n);
	index_at(b, in, index)->gather = (int32_t)index_in;
}

void tg_body_guard_bits(struct tg_body *b, uint32_t in, uint64_t fill)
{
	assert(in < b->ins.n);
	b->ins.at[in].guarded = true;
	b->ins.at[in].fill = fill;
}

static enum tg_dtype operand_type(const struct tg_body *b, uint32_t in)
{
	return tg_compute_type((enum tg_dtype)tg_value_get(b->m, b->ins.at[in].v)->dtype);
}

void tg_body_guard(struct tg_body *b, uint32_t in, double fill) { tg_body_guard_bits(b, in, tg_bits_of_f64(operand_type(b, in), fill)); }

static tg_expr push(struct tg_body *b, struct tg_node n)
{
	*TG_PUSH(b->arena, &b->nodes) = n;
	return (tg_expr){ (uint32_t)b->nodes.n };
}

tg_expr tg_body_arg(struct tg_body *b, uint32_t in)
{
	return push(b, (struct tg_node){ .op = TG_X_arg, .dtype = (uint8_t)operand_type(b, in), .k = (int32_t)in });
}

tg_expr tg_node_new(struct tg_body *b, enum tg_expr_op op, enum tg_dtype t, tg_expr x, tg_expr y, tg_expr z)
{
	return push(b, (struct tg_node){ .op = (uint8_t)op, .dtype = (uint8_t)t, .a = x, .b = y, .c = z });
}

tg_expr tg_node_bits(struct tg_body *b, enum tg_dtype t, uint64_t bits)
{
	return push(b, (struct tg_node){ .op = TG_X_const, .dtype = (uint8_t)t, .bits = bits });
}

tg_expr tg_node_const(struct tg_body *b, enum tg_dtype t, double v) { return tg_node_bits(b, t, tg_bits_of_f64(t, v)); }

tg_expr tg_node_const_i64(struct tg_body *b, enum tg_dtype t, int64_t v)
{
	return tg_node_bits(b, t, tg_type_is_float(t) ? tg_bits_of_f64(t, (double)v) : t == TG_bool ? v != 0 : (uint64_t)v);
}

tg_expr tg_node_k(struct tg_body *b, enum tg_expr_op op, enum tg_dtype t, int32_t k, tg_expr x)
{
	return push(b, (struct tg_node){ .op = (uint8_t)op, .dtype = (uint8_t)t, .k = k, .a = x });
}

enum tg_dtype tg_node_type(const struct tg_body *b, tg_expr e)
{
	assert(e.id >= 1 && e.id <= b->nodes.n);
	return (enum tg_dtype)b->nodes.at[e.id - 1].dtype;
}

tg_expr tg_body_reduce(struct tg_body *b, enum tg_combine c, tg_expr value)
{
	*TG_PUSH(b->arena, &b->reds) = (struct tg_reduction){ (uint8_t)c, value };
	return tg_node_k(b, TG_X_acc, tg_node_type(b, value), (int32_t)b->reds.n - 1, (tg_expr){ 0 });
}

struct tg_map tg_map_alloc(struct tg_arena *a, uint32_t rank, uint32_t n_dims)
{
	struct tg_map m = { rank, tg_alloc_n(a, rank, sizeof *m.index) };
	int64_t *coef = tg_alloc_n(a, (size_t)rank * n_dims, sizeof *coef);
	for (uint32_t i = 0; i < rank; i++)
		m.index[i] = (struct tg_index){ .coef = coef + (size_t)i * n_dims, .div = 1, .gather = -1 };
	return m;
}

struct tg_map tg_map_new(struct tg_body *b, uint32_t rank) { return tg_map_alloc(b->arena, rank, (uint32_t)b->dims.n); }

/* ---- ranges of indices ---- */

bool tg_index_affine_range(const struct tg_stage *s, const struct tg_index *ix, int64_t *lo, int64_t *hi)
{
	*lo = *hi = ix->offset;
	for (uint32_t d = 0; d < s->n_dims; d++) {
		int64_t span;
		if (s->dims[d].extent < 1 || __builtin_mul_overflow(ix->coef[d], s->dims[d].extent - 1, &span))
			return false;
		if (span < 0 ? __builtin_add_overflow(*lo, span, lo) : __builtin_add_overflow(*hi, span, hi))
			return false;
	}
	return true;
}

bool tg_index_range(const struct tg_stage *s, const struct tg_index *ix, int64_t *lo, int64_t *hi)
{
	if (ix->div < 1 || ix->mod < 0 || !tg_index_affine_range(s, ix, lo, hi))
		return false;
	*lo = tg_floordiv(*lo, ix->div);
	*hi = tg_floordiv(*hi, ix->div);
	if (ix->mod > 0 && (*lo < 0 || *hi >= ix->mod)) {
		*lo = 0;
		*hi = ix->mod - 1;
	}
	return true;
}

/* ---- the end ---- */

/* No reduce points: every `acc` is the identity, and the reduce dimensions go. */
static void drop_reductions(struct tg_body *b)
{
	for (size_t i = 0; i < b->nodes.n; i++) {
		struct tg_node *n = &b->nodes.at[i];
		if (n->op != TG_X_acc)
			continue;
		uint64_t bits = tg_identity_bits((enum tg_combine)b->reds.at[n->k].combine, (enum tg_dtype)n->dtype);
		*n = (struct tg_node){ .op = TG_X_const, .dtype = n->dtype, .bits = bits };
	}
	b->reds.n = 0;
}

/* What the outputs need, marked from the last node down: nodes come after what they use. */
static void mark(const struct tg_body *b, tg_expr value, bool *node, bool *in)
{
	node[value.id] = true;
	for (size_t i = 0; i < b->reds.n; i++)
		node[b->reds.at[i].value.id] = true;
	for (size_t i = b->nodes.n; i-- > 0;) {
		const struct tg_node *n = &b->nodes.at[i];
		if (!node[i + 1])
			continue;
		node[n->a.id] = node[n->b.id] = node[n->c.id] = true;
		if (n->op == TG_X_arg || n->op == TG_X_inside)
			in[n->k] = true;
	}
	for (size_t i = b->ins.n; i-- > 0;)
		for (uint32_t r = 0; in[i] && r < b->ins.at[i].rank; r++)
			if (b->ins.at[i].index[r].gather >= 0)
				in[b->ins.at[i].index[r].gather] = true;
}

static void copy_nodes(const struct tg_body *b, const bool *keep, const uint32_t *new_in, struct tg_stage *s, uint32_t *new_node)
{
	s->nodes = tg_alloc_n(b->arena, b->nodes.n, sizeof *s->nodes);
	for (size_t i = 0; i < b->nodes.n; i++) {
		if (!keep[i + 1])
			continue;
		struct tg_node n = b->nodes.at[i];
		n.a.id = new_node[n.a.id];
		n.b.id = new_node[n.b.id];
		n.c.id = new_node[n.c.id];
		if (n.op == TG_X_arg || n.op == TG_X_inside)
			n.k = (int32_t)new_in[n.k];
		s->nodes[s->n_nodes++] = n;
		new_node[i + 1] = s->n_nodes;
	}
}

static void copy_ins(const struct tg_body *b, const bool *keep, const uint32_t *new_in, struct tg_stage *s, tg_val *vals)
{
	s->ins = tg_alloc_n(b->arena, b->ins.n, sizeof *s->ins);
	for (size_t i = 0; i < b->ins.n; i++) {
		if (!keep[i])
			continue;
		const struct operand *o = &b->ins.at[i];
		struct tg_stage_in *si = &s->ins[s->n_ins];
		si->map = tg_map_alloc(b->arena, o->rank, s->n_dims);
		for (uint32_t r = 0; r < o->rank; r++) {
			struct tg_index *ix = &si->map.index[r];
			int64_t *coef = ix->coef;
			*ix = o->index[r];
			ix->coef = coef;
			if (ix->gather >= 0)
				ix->gather = (int32_t)new_in[ix->gather];
		}
		si->guarded = o->guarded;
		si->fill = o->fill;
		vals[s->n_ins++] = o->v;
	}
}

static struct tg_map default_out(const struct tg_body *b, uint32_t rank)
{
	struct tg_map m = tg_map_alloc(b->arena, rank, (uint32_t)b->dims.n);
	uint32_t r = 0;
	for (uint32_t d = 0; d < b->dims.n; d++)
		if (b->dims.at[d].kind == TG_DIM_PARALLEL) {
			assert(r < rank);
			m.index[r++].coef[d] = 1;
		}
	assert(r == rank);
	return m;
}

/* Removes the reduce dimensions; maps refer to them only through operands that are gone with the reductions. */
static void drop_dims(const struct tg_body *b, struct tg_stage *s)
{
	uint32_t n = 0;
	for (uint32_t d = 0; d < b->dims.n; d++) {
		if (b->dims.at[d].kind != TG_DIM_PARALLEL)
			continue;
		s->dims[n] = s->dims[d];
		for (uint32_t i = 0; i < s->n_ins; i++)
			for (uint32_t r = 0; r < s->ins[i].map.rank; r++)
				s->ins[i].map.index[r].coef[n] = s->ins[i].map.index[r].coef[d];
		for (uint32_t r = 0; r < s->outs[0].map.rank; r++)
			s->outs[0].map.index[r].coef[n] = s->outs[0].map.index[r].coef[d];
		for (uint32_t i = 0; i < s->n_nodes; i++)
			if (s->nodes[i].op == TG_X_index && s->nodes[i].k == (int32_t)d)
				s->nodes[i].k = (int32_t)n;
		n++;
	}
	s->n_dims = n;
}

static struct tg_stage *build(struct tg_body *b, tg_expr value, const struct tg_map *out_map, uint32_t rank, bool no_reduce, tg_val *vals)
{
	struct tg_arena *a = b->arena;
	struct tg_stage *s = tg_alloc(a, sizeof *s);
	bool *keep_node = tg_alloc(a, b->nodes.n + 1), *keep_in = tg_alloc(a, b->ins.n + 1);
	uint32_t *new_in = tg_alloc_n(a, b->ins.n + 1, sizeof *new_in), *new_node = tg_alloc_n(a, b->nodes.n + 1, sizeof *new_node);
	if (no_reduce)
		drop_reductions(b);
	mark(b, value, keep_node, keep_in);
	for (uint32_t i = 0, n = 0; i < b->ins.n; i++)
		new_in[i] = keep_in[i] ? n++ : 0;
	s->n_dims = (uint32_t)b->dims.n;
	s->dims = tg_alloc_n(a, s->n_dims, sizeof *s->dims);
	if (s->n_dims)
		memcpy(s->dims, b->dims.at, s->n_dims * sizeof *s->dims);
	copy_nodes(b, keep_node, new_in, s, new_node);
	copy_ins(b, keep_in, new_in, s, vals);
	for (size_t i = 0; i < b->terms.n; i++) {
		const struct term *t = &b->terms.at[i];
		if (keep_in[t->in])
			s->ins[new_in[t->in]].map.index[t->index].coef[t->dim] += t->coef;
	}
	s->n_reds = (uint32_t)b->reds.n;
	s->reds = tg_alloc_n(a, s->n_reds, sizeof *s->reds);
	for (uint32_t i = 0; i < s->n_reds; i++)
		s->reds[i] = (struct tg_reduction){ b->reds.at[i].combine, { new_node[b->reds.at[i].value.id] } };
	s->n_outs = 1;
	s->outs = tg_alloc(a, sizeof *s->outs);
	s->outs[0] = (struct tg_stage_out){ out_map ? *out_map : default_out(b, rank), { new_node[value.id] } };
	if (s->n_reds == 0)
		drop_dims(b, s);
	return s;
}

static tg_val nothing(struct tg_body *b, struct tg_op *before, enum tg_dtype t, const struct tg_shape *shape)
{
	struct tg_op *op = tg_op_new(b->m, &b->m->body, before, TG_TILE_empty, NULL, 0, 1, b->prov);
	op->out[0] = tg_value_new(b->m, TG_TENSOR, t, shape, NULL);
	tg_value_of(b->m, op->out[0])->def = op;
	return op->out[0];
}

tg_val tg_body_end(struct tg_body *b, struct tg_op *before, enum tg_dtype t, const struct tg_shape *shape, tg_expr value, const struct tg_map *out_map,
		   tg_val into)
{
	bool no_points = false, no_reduce = false;
	for (size_t i = 0; i < b->dims.n; i++)
		if (b->dims.at[i].extent == 0)
			*(b->dims.at[i].kind == TG_DIM_PARALLEL ? &no_points : &no_reduce) = true;
	if (no_points)
		return tg_has(into) ? into : nothing(b, before, t, shape);
	tg_val *vals = tg_alloc_n(b->arena, b->ins.n + 1, sizeof *vals);
	struct tg_stage *s = build(b, value, out_map, shape->rank, no_reduce, vals);
	uint32_t n = s->n_ins;
	if (tg_has(into))
		vals[n++] = into;
	struct tg_op *op = tg_op_new(b->m, &b->m->body, before, TG_TILE_stage, vals, n, 1, b->prov);
	op->attrs[TG_AT(tile_stage, body)].stage = s;
	op->attrs[TG_AT(tile_stage, into)].i = tg_has(into);
	op->out[0] = tg_value_new(b->m, TG_TENSOR, t, shape, NULL);
	tg_value_of(b->m, op->out[0])->def = op;
	return op->out[0];
}
