/* verify_stage.c: a stage is well-formed: nodes in order and of defined types, everything they name exists, unguarded maps stay inside their
 * tensors (interval arithmetic in checked 64 bits), the output map is affine, inside and injective, and writes every element unless it
 * writes into a tensor. */
#include "verify_internal.h"

struct sv {
	struct tg_diag *d;
	const struct tg_module *m;
	const struct tg_op *op;
	const struct tg_stage *s;
	struct tg_arena *scratch;
};

#define BAD(v, ...) tg_verify_fail((v)->d, (v)->m, (v)->op, __VA_ARGS__)

static const struct tg_value *operand(const struct sv *v, uint32_t i) { return tg_value_get(v->m, v->op->in[i]); }

static bool check_dims(const struct sv *v)
{
	for (uint32_t i = 0; i < v->s->n_dims; i++) {
		if (v->s->dims[i].extent < 1)
			return BAD(v, "dimension d%u has extent %lld, expected 1 or more", i, (long long)v->s->dims[i].extent);
		if (v->s->dims[i].kind > TG_DIM_REDUCE)
			return BAD(v, "dimension d%u has kind %u", i, v->s->dims[i].kind);
		if (v->s->dims[i].kind == TG_DIM_REDUCE && v->s->n_reds == 0)
			return BAD(v, "dimension d%u is a reduce dimension, but nothing is reduced", i);
	}
	return v->s->n_dims <= TG_MAX_DIMS || BAD(v, "has %u dimensions, at most %d are supported", v->s->n_dims, TG_MAX_DIMS);
}

static bool check_index(const struct sv *v, uint32_t in, uint32_t k)
{
	const struct tg_index *ix = &v->s->ins[in].map.index[k];
	int64_t lo, hi, extent = operand(v, in)->shape.dim[k];
	if (ix->div < 1 || ix->mod < 0)
		return BAD(v, "index %u of operand %u has div %lld and mod %lld", k, in, (long long)ix->div, (long long)ix->mod);
	if (ix->gather >= 0) {
		uint32_t g = (uint32_t)ix->gather;
		if (g >= v->s->n_ins || g == in || !tg_is_int((enum tg_dtype)operand(v, g)->dtype))
			return BAD(v, "index %u of operand %u gathers by operand %u, expected another operand of integer type", k, in, g);
		for (uint32_t j = 0; j < v->s->ins[g].map.rank; j++)
			if (v->s->ins[g].map.index[j].gather >= 0)
				return BAD(v, "operand %u is an index list with a gather of its own", g);
	}
	if (!tg_index_range(v->s, ix, &lo, &hi))
		return BAD(v, "index %u of operand %u leaves 64 bits", k, in);
	if (ix->gather < 0 && !v->s->ins[in].guarded && (lo < 0 || hi >= extent))
		return BAD(v, "index %u of operand %u runs from %lld to %lld without a guard, expected 0 to %lld", k, in, (long long)lo, (long long)hi,
			   (long long)extent - 1);
	return true;
}

static bool check_ins(const struct sv *v)
{
	bool into = v->op->attrs[TG_AT(tile_stage, into)].i != 0;
	if (v->op->n_in != v->s->n_ins + into)
		return BAD(v, "has %u operands, its body %u%s", v->op->n_in, v->s->n_ins, into ? " and one to write into" : "");
	for (uint32_t i = 0; i < v->s->n_ins; i++) {
		const struct tg_map *m = &v->s->ins[i].map;
		if (operand(v, i)->kind != TG_TENSOR || tg_compute_type((enum tg_dtype)operand(v, i)->dtype) == TG_none)
			return BAD(v, "operand %u has type %s, expected a tensor of numbers or bool", i, tg_dtypes[operand(v, i)->dtype].name);
		if (m->rank != operand(v, i)->shape.rank)
			return BAD(v, "map of operand %u has rank %u, expected %u", i, m->rank, operand(v, i)->shape.rank);
		for (uint32_t k = 0; k < m->rank; k++)
			if (!check_index(v, i, k))
				return false;
	}
	return true;
}

/* ---- nodes ---- */

static bool is_compute(uint8_t t) { return t < TG_N_DTYPES && t != TG_none && tg_compute_type((enum tg_dtype)t) == t; }

static uint8_t type_of(const struct sv *v, tg_expr e) { return v->s->nodes[e.id - 1].dtype; }

static bool leaf_ok(const struct sv *v, const struct tg_node *n)
{
	uint32_t k = (uint32_t)n->k;
	switch ((enum tg_expr_op)n->op) {
	case TG_X_arg: return k < v->s->n_ins && n->dtype == tg_compute_type((enum tg_dtype)operand(v, k)->dtype);
	case TG_X_inside: return k < v->s->n_ins && n->dtype == TG_bool;
	case TG_X_acc: return k < v->s->n_reds && n->dtype == type_of(v, v->s->reds[k].value);
	case TG_X_index: return k < v->s->n_dims && n->dtype == TG_i32 && v->s->dims[k].extent <= INT32_MAX;
	default: return true;
	}
}

static bool operation_ok(const struct sv *v, const struct tg_node *n)
{
	uint8_t ta = n->a.id ? type_of(v, n->a) : 0, tb = n->b.id ? type_of(v, n->b) : 0, tc = n->c.id ? type_of(v, n->c) : 0;
	switch ((enum tg_expr_op)n->op) {
	case TG_X_arg:
	case TG_X_inside:
	case TG_X_acc:
	case TG_X_index:
	case TG_X_const: return leaf_ok(v, n);
	case TG_X_cast: return tg_kernel_cast((enum tg_dtype)ta, (enum tg_dtype)n->dtype) != NULL;
	case TG_X_wrap:
	case TG_X_sat: return ta == n->dtype && n->k >= 0 && tg_narrow_defined((enum tg_dtype)ta, (enum tg_dtype)n->k);
	case TG_X_select: return ta == TG_bool && tb == n->dtype && tc == n->dtype && tg_kernel_of(TG_X_select, (enum tg_dtype)tb);
	case TG_X_eq:
	case TG_X_ne:
	case TG_X_lt:
	case TG_X_le: return n->dtype == TG_bool && ta == tb && tg_kernel_of((enum tg_expr_op)n->op, (enum tg_dtype)ta);
	default:
		return ta == n->dtype && (!tb || tb == n->dtype) && (!tc || tc == n->dtype) &&
		       tg_kernel_of((enum tg_expr_op)n->op, (enum tg_dtype)ta);
	}
}

static bool check_nodes(const struct sv *v)
{
	for (uint32_t i = 0; i < v->s->n_reds; i++)
		if (v->s->reds[i].value.id < 1 || v->s->reds[i].value.id > v->s->n_nodes || v->s->reds[i].combine >= TG_N_COMBINES)
			return BAD(v, "reduction %u has no value", i);
	for (uint32_t i = 0; i < v->s->n_nodes; i++) {
		const struct tg_node *n = &v->s->nodes[i];
		const uint32_t args[3] = { n->a.id, n->b.id, n->c.id };
		if (n->op >= TG_N_EXPRS || !is_compute(n->dtype))
			return BAD(v, "node t%u is unknown or has no compute type", i + 1);
		for (uint32_t k = 0; k < 3; k++)
			if (k < tg_expr_infos[n->op].arity ? args[k] < 1 || args[k] > i : args[k] != 0)
				return BAD(v, "node t%u (%s) has operand %u t%u, expected %s", i + 1, tg_expr_infos[n->op].name, k, args[k],
					   k < tg_expr_infos[n->op].arity ? "an earlier node" : "none");
		if (!operation_ok(v, n))
			return BAD(v, "node t%u (%s %s) is not defined for its operands or index", i + 1, tg_expr_infos[n->op].name,
				   tg_dtypes[n->dtype].name);
	}
	return true;
}

/* Reductions' values need no `acc`; outputs need nothing that changes along reduce dimensions. */
static bool uses_reduce_dim(const struct sv *v, const struct tg_node *n)
{
	if (n->op == TG_X_index)
		return v->s->dims[n->k].kind == TG_DIM_REDUCE;
	if (n->op != TG_X_arg && n->op != TG_X_inside)
		return false;
	const struct tg_map *m = &v->s->ins[n->k].map;
	for (uint32_t k = 0; k < m->rank; k++)
		for (uint32_t d = 0; d < v->s->n_dims; d++) {
			int32_t g = m->index[k].gather;
			if (v->s->dims[d].kind != TG_DIM_REDUCE || v->s->dims[d].extent == 1)
				continue;
			if (m->index[k].coef[d] != 0)
				return true;
			for (uint32_t j = 0; g >= 0 && j < v->s->ins[g].map.rank; j++)
				if (v->s->ins[g].map.index[j].coef[d] != 0)
					return true;
		}
	return false;
}

static bool check_levels(const struct sv *v)
{
	const struct tg_stage *s = v->s;
	bool *acc = tg_alloc(v->scratch, s->n_nodes + 1), *varies = tg_alloc(v->scratch, s->n_nodes + 1);
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		acc[i + 1] = n->op == TG_X_acc || acc[n->a.id] || acc[n->b.id] || acc[n->c.id];
		varies[i + 1] = uses_reduce_dim(v, n) || varies[n->a.id] || varies[n->b.id] || varies[n->c.id];
	}
	for (uint32_t i = 0; i < s->n_reds; i++) {
		uint8_t t = type_of(v, s->reds[i].value);
		if (acc[s->reds[i].value.id])
			return BAD(v, "reduction %u depends on the result of a reduction", i);
		if (t == TG_bool && s->reds[i].combine < TG_MAX)
			return BAD(v, "reduction %u is a %s of bool", i, tg_combine_names[s->reds[i].combine]);
	}
	for (uint32_t i = 0; i < s->n_outs; i++)
		if (varies[s->outs[i].value.id])
			return BAD(v, "output %u changes along a reduce dimension", i);
	return true;
}

/* ---- output ---- */

static int64_t magnitude(int64_t c) { return c < 0 ? -c : c; }

/* The terms of this index tell its dimensions apart: sorted by coefficient, each is larger than all smaller ones together. Marks them. */
static bool decodes(const struct sv *v, const struct tg_index *ix, bool *decoded)
{
	uint32_t order[TG_MAX_DIMS], n = 0;
	for (uint32_t d = 0; d < v->s->n_dims; d++) {
		if (ix->coef[d] == 0 || v->s->dims[d].extent == 1)
			continue;
		uint32_t at = n++;
		for (; at > 0 && magnitude(ix->coef[order[at - 1]]) > magnitude(ix->coef[d]); at--)
			order[at] = order[at - 1];
		order[at] = d;
	}
	int64_t reach = 0; /* within 64 bits, as the index' range is */
	for (uint32_t i = 0; i < n; i++) {
		if (magnitude(ix->coef[order[i]]) <= reach)
			return false;
		reach += magnitude(ix->coef[order[i]]) * (v->s->dims[order[i]].extent - 1);
	}
	for (uint32_t i = 0; i < n; i++)
		decoded[order[i]] = true;
	return true;
}

static bool check_out_index(const struct sv *v, const struct tg_index *ix, uint32_t k, int64_t extent)
{
	int64_t lo, hi;
	if (ix->div != 1 || ix->mod != 0 || ix->gather >= 0)
		return BAD(v, "index %u of the result is not affine", k);
	for (uint32_t d = 0; d < v->s->n_dims; d++)
		if (v->s->dims[d].kind == TG_DIM_REDUCE && ix->coef[d] != 0)
			return BAD(v, "index %u of the result depends on reduce dimension d%u", k, d);
	if (!tg_index_range(v->s, ix, &lo, &hi) || lo < 0 || hi >= extent)
		return BAD(v, "index %u of the result leaves the tensor's 0 to %lld", k, (long long)extent - 1);
	return true;
}

static bool check_coverage(const struct sv *v, const struct tg_value *out)
{
	int64_t points = 1, elements;
	for (uint32_t d = 0; d < v->s->n_dims; d++)
		if (v->s->dims[d].kind == TG_DIM_PARALLEL && __builtin_mul_overflow(points, v->s->dims[d].extent, &points))
			return BAD(v, "has more than 2^63 points");
	if (v->op->attrs[TG_AT(tile_stage, into)].i || !tg_shape_count(&out->shape, &elements) || points == elements)
		return true;
	return BAD(v, "writes %lld of its result's %lld elements, expected all", (long long)points, (long long)elements);
}

static bool check_out(const struct sv *v)
{
	const struct tg_value *out = tg_value_get(v->m, v->op->out[0]);
	bool decoded[TG_MAX_DIMS] = { false };
	if (v->s->n_outs != 1)
		return BAD(v, "body has %u outputs, expected 1", v->s->n_outs);
	const struct tg_stage_out *o = &v->s->outs[0];
	if (o->value.id < 1 || o->value.id > v->s->n_nodes)
		return BAD(v, "output has no value");
	if (out->kind != TG_TENSOR || type_of(v, o->value) != tg_compute_type((enum tg_dtype)out->dtype))
		return BAD(v, "output is %s, expected %s for a result of type %s", tg_dtypes[type_of(v, o->value)].name,
			   tg_dtypes[tg_compute_type((enum tg_dtype)out->dtype)].name, tg_dtypes[out->dtype].name);
	if (o->map.rank != out->shape.rank)
		return BAD(v, "map of the result has rank %u, expected %u", o->map.rank, out->shape.rank);
	for (uint32_t k = 0; k < o->map.rank; k++)
		if (!check_out_index(v, &o->map.index[k], k, out->shape.dim[k]))
			return false;
	for (uint32_t k = 0; k < o->map.rank; k++)
		decodes(v, &o->map.index[k], decoded);
	for (uint32_t d = 0; d < v->s->n_dims; d++)
		if (v->s->dims[d].kind == TG_DIM_PARALLEL && v->s->dims[d].extent > 1 && !decoded[d])
			return BAD(v, "points along dimension d%u write the same elements", d);
	return check_coverage(v, out);
}

static bool check_into(const struct sv *v)
{
	const struct tg_value *out = tg_value_get(v->m, v->op->out[0]);
	int64_t into = v->op->attrs[TG_AT(tile_stage, into)].i;
	if (into != 0 && into != 1)
		return BAD(v, "attribute into is %lld, expected 0 or 1", (long long)into);
	if (!into || v->op->n_in == 0)
		return true;
	const struct tg_value *old = operand(v, v->op->n_in - 1);
	if (old->dtype != out->dtype || !tg_shape_equal(&old->shape, &out->shape))
		return BAD(v, "the tensor it writes into has another type than its result");
	return true;
}

bool tg_verify_stage(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, struct tg_arena *scratch)
{
	struct sv v = { d, m, op, op->attrs[TG_AT(tile_stage, body)].stage, scratch };
	if (!v.s)
		return BAD(&v, "has no body");
	return check_dims(&v) && check_into(&v) && check_ins(&v) && check_nodes(&v) && check_out(&v) && check_levels(&v);
}
