/* siblings.c: products of one tensor with constant weights of their own become one product.
 *
 *   %q = stage(%x, %wq, %bq) { [128, 768] }                 %w = data { wq | wk }
 *   %k = stage(%x, %wk, %bk) { [128, 768] }                 %b = data { bq | bk }
 *   %s = stage(%q, %k) { in [d0, d2] in [d1, d2] }   ==>    %p = stage(%x, %w, %b) { [128, 1536] }
 *                                                           %s = stage(%p, %p) { in [d0, d2] in [d1, d2 + 768] }
 *
 * In: tile stages behind the other passes, so that types are known and activations have moved into what they follow. Out: the same; the constants of the siblings lie side by side
 * along their columns, none is copied (TG_CONST_PARTS), and who read a sibling's result reads its part of the joint one. The moving tensor is fetched once, and the matrix unit's
 * pipeline is filled and emptied once.
 *
 * Siblings are alike in everything but the number of their columns: dimensions, maps, types, expressions. So scales of columns and biases, which are constants along the columns, go with
 * the weights, for quantised products too. Left alone is
 * - a sibling that computes something else behind its sum (one has a bias and the other none, one ends in a product with the other's result): one loop would have to do both;
 * - constants that somebody else reads, too: they would lie in DRAM twice; and such of one value, which take no room at all as they are;
 * - a result that is an output of the model, a view's source, written into, or read at a computed column: its part cannot be named by a map;
 * - what has no room in SRAM as one tensor, while the moving tensor has: its parts may have room, too. */
#include "isa.h"
#include "parts.h"

#include <string.h>

bool pass_siblings(struct tg_pass *cx, struct tg_module *m);

enum { MOST_SIBLINGS = 16, SHARE = 9, SHARE_OF = 16 }; /* of SRAM: what tensors may have that stay there (codegen/residency.c) */

/* A sibling as it was found; the columns are dimension `dim` of all of them. */
struct family {
	struct tg_op *op[MOST_SIBLINGS];
	uint32_t n;
	uint32_t dim;
	uint32_t axis;  /* of the result */
	bool columns[64]; /* by operand: it has columns */
	uint32_t axis_of[64];
};
struct finder {
	struct tg_pass *cx;
	struct tg_module *m;
	const bool *fixed;  /* by value: its part cannot be named */
};

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool same_index(const struct tg_index *a, const struct tg_index *b, uint32_t n_dims)
{
	return a->offset == b->offset && a->div == b->div && a->mod == b->mod && a->gather == b->gather && !memcmp(a->coef, b->coef, n_dims * sizeof *a->coef);
}

static bool same_map(const struct tg_map *a, const struct tg_map *b, uint32_t n_dims)
{
	bool same = a->rank == b->rank;
	for (uint32_t i = 0; same && i < a->rank; i++)
		same = same_index(&a->index[i], &b->index[i], n_dims);
	return same;
}

/* The one index that is dimension d and nothing else, where no other knows d; -1: d does not occur; -2: otherwise. */
static int axis_of(const struct tg_stage *s, const struct tg_map *map, uint32_t d)
{
	int found = -1;
	for (uint32_t i = 0; i < map->rank; i++) {
		const struct tg_index *x = &map->index[i];
		if (!x->coef[d])
			continue;
		if (found != -1 || !part_walks_alone(s, x, d))
			return -2;
		found = (int)i;
	}
	return found;
}

/* A constant that lies in DRAM for this stage alone, by columns. */
static bool is_column_constant(const struct finder *x, const struct tg_op *op, uint32_t in)
{
	const struct tg_const *c = tg_const_of(x->m, op->in[in]);
	return c && c->kind == TG_CONST_DENSE && tg_dtypes[c->dtype].bits >= 8 && tg_value_get(x->m, op->in[in])->n_uses == 1;
}

/* Could this product lead a family? Finds its columns. */
static bool leads(const struct finder *x, struct tg_op *op, struct family *f)
{
	struct tg_factor factor[2];
	*f = (struct family){ .op = { op }, .n = 1 };
	if (op->code != TG_TILE_stage || op->attrs[TG_AT(tile_stage, into)].i || op->n_in > TG_ARRAY_LEN(f->columns) || x->fixed[op->out[0].id])
		return false;
	const struct tg_stage *s = stage_of(op);
	if (s->n_outs != 1 || !tg_stage_product(s, factor) || !tg_reuses_factors(s, factor) || factor[0].in < 0 || factor[1].in < 0)
		return false;
	int weights = is_column_constant(x, op, (uint32_t)factor[1].in) ? factor[1].in : factor[0].in;
	bool found = false;
	for (uint32_t d = 0; d < s->n_dims && !found; d++) {
		int axis = axis_of(s, &s->outs[0].map, d);
		if (s->dims[d].kind != TG_DIM_PARALLEL || s->dims[d].extent < 2 || axis < 0 || tg_value_get(x->m, op->out[0])->shape.dim[axis] != s->dims[d].extent)
			continue;
		found = axis_of(s, &s->ins[weights].map, d) >= 0;
		f->dim = d;
		f->axis = (uint32_t)axis;
	}
	for (uint32_t i = 0; found && i < op->n_in; i++) {
		int axis = axis_of(s, &s->ins[i].map, f->dim);
		f->columns[i] = axis != -1;
		f->axis_of[i] = (uint32_t)axis;
		if (axis != -1 && (axis < 0 || s->ins[i].guarded || !is_column_constant(x, op, i) || tg_const_of(x->m, op->in[i])->shape.dim[axis] != s->dims[f->dim].extent))
			return false;
	}
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_index && s->nodes[i].k == (int32_t)f->dim)
			return false;
	return found && !(f->columns[factor[0].in] && f->columns[factor[1].in]);
}

static bool same_nodes(const struct tg_stage *a, const struct tg_stage *b)
{
	bool same = a->n_nodes == b->n_nodes && a->outs[0].value.id == b->outs[0].value.id && a->reds[0].value.id == b->reds[0].value.id;
	for (uint32_t i = 0; same && i < a->n_nodes; i++) {
		const struct tg_node *x = &a->nodes[i], *y = &b->nodes[i];
		same = x->op == y->op && x->dtype == y->dtype && x->k == y->k && x->bits == y->bits && x->a.id == y->a.id && x->b.id == y->b.id && x->c.id == y->c.id;
	}
	return same;
}

static bool same_shape_but(const struct tg_shape *a, const struct tg_shape *b, uint32_t axis)
{
	bool same = a->rank == b->rank;
	for (uint32_t i = 0; same && i < a->rank; i++)
		same = i == axis || a->dim[i] == b->dim[i];
	return same;
}

static bool are_siblings(const struct finder *x, const struct family *f, struct tg_op *op)
{
	const struct tg_stage *s = stage_of(f->op[0]);
	struct family own;
	if (!leads(x, op, &own) || own.dim != f->dim || own.axis != f->axis || op->n_in != f->op[0]->n_in)
		return false;
	const struct tg_stage *t = stage_of(op);
	const struct tg_value *a = tg_value_get(x->m, f->op[0]->out[0]), *b = tg_value_get(x->m, op->out[0]);
	if (a->dtype != b->dtype || !same_shape_but(&a->shape, &b->shape, f->axis) || s->n_dims != t->n_dims || !same_nodes(s, t) || !same_map(&s->outs[0].map, &t->outs[0].map, s->n_dims))
		return false;
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind != t->dims[d].kind || (d != f->dim && s->dims[d].extent != t->dims[d].extent))
			return false;
	for (uint32_t i = 0; i < op->n_in; i++) {
		const struct tg_value *v = tg_value_get(x->m, f->op[0]->in[i]), *w = tg_value_get(x->m, op->in[i]);
		if (f->columns[i] != own.columns[i] || s->ins[i].guarded != t->ins[i].guarded || s->ins[i].fill != t->ins[i].fill || !same_map(&s->ins[i].map, &t->ins[i].map, s->n_dims))
			return false;
		if (f->columns[i] ? v->dtype != w->dtype || tg_const_of(x->m, op->in[i])->dtype != tg_const_of(x->m, f->op[0]->in[i])->dtype || !same_shape_but(&v->shape, &w->shape, f->axis_of[i])
				  : op->in[i].id != f->op[0]->in[i].id)
			return false;
	}
	return true;
}

/* ---- results whose parts can be named ------------------------------------------------------------------------------------------------------ */

/* A reader's index along any dimension may become a sum with an offset: plain, and inside without the help of a guard. */
static bool may_move(const struct tg_stage *s, const struct tg_stage_in *in, uint32_t at, int64_t size)
{
	const struct tg_index *x = &in->map.index[at];
	int64_t lo, hi;
	return part_is_plain(x) && tg_index_affine_range(s, x, &lo, &hi) && lo >= 0 && hi < size;
}

/* Outputs of the model, sources of views, what is written into, and lists of indices. */
static bool *fixed_values(struct tg_pass *cx, const struct tg_module *m)
{
	bool *fixed = tg_alloc_n(cx->scratch, m->values.n, sizeof *fixed);
	for (size_t i = 0; i < m->outputs.n; i++)
		fixed[m->outputs.at[i].value.id] = true;
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		for (uint32_t i = 0; i < op->n_in; i++) {
			const struct tg_stage *s = op->code == TG_TILE_stage ? stage_of(op) : NULL;
			fixed[op->in[i].id] |= !s || i >= s->n_ins;
			for (uint32_t k = 0; s && k < s->n_ins; k++) /* a list of indices */
				for (uint32_t x = 0; i < s->n_ins && x < s->ins[k].map.rank; x++)
					fixed[op->in[i].id] |= s->ins[k].map.index[x].gather == (int32_t)i;
		}
	return fixed;
}

static bool readers_can_move(const struct finder *x, tg_val v, uint32_t axis)
{
	for (const struct tg_op *op = x->m->body.first; op; op = op->next)
		for (uint32_t i = 0; op->code == TG_TILE_stage && i < stage_of(op)->n_ins; i++)
			if (op->in[i].id == v.id && !may_move(stage_of(op), &stage_of(op)->ins[i], axis, tg_value_get(x->m, v)->shape.dim[axis]))
				return false;
	return true;
}

/* ---- does it pay ------------------------------------------------------------------------------------------------------------------------------- */

static bool may_stay(const struct finder *x, const struct tg_shape *shape, uint8_t dtype)
{
	const struct tg_chip *c = x->cx->chip;
	size_t bytes;
	return tg_shape_bytes(shape, (enum tg_dtype)dtype, &bytes) && bytes <= c->sram_bytes / SHARE_OF * SHARE;
}

/* Weights and products are the same. What is saved is all but the first fetch of the moving tensor and filling of the pipeline; what can be lost is room: a result
 * that is too large to stay in SRAM goes through DRAM, where its parts may not have had to. But a part moves twice at most, and a moving tensor that does not stay
 * either is fetched for each sibling at least once, often more, as long as it is no smaller than the part. */
static bool pays(const struct finder *x, const struct family *f, int64_t columns)
{
	const struct tg_op *op = f->op[0];
	const struct tg_value *v = tg_value_get(x->m, op->out[0]);
	struct tg_shape shape = v->shape;
	struct tg_factor factor[2];
	shape.dim[f->axis] = columns;
	if (!x->cx->chip || !tg_stage_product(stage_of(op), factor))
		return false;
	const struct tg_value *moving = tg_value_get(x->m, op->in[f->columns[factor[0].in] ? factor[1].in : factor[0].in]);
	size_t a = 0, b = 0;
	bool counted = tg_shape_bytes(&moving->shape, (enum tg_dtype)moving->dtype, &a) && tg_shape_bytes(&v->shape, (enum tg_dtype)v->dtype, &b);
	return may_stay(x, &shape, v->dtype) || (counted && a >= 2 * b && may_stay(x, &v->shape, v->dtype) && !may_stay(x, &moving->shape, moving->dtype));
}

/* ---- joining ------------------------------------------------------------------------------------------------------------------------------------- */

static tg_val joint_constant(const struct finder *x, const struct family *f, uint32_t in)
{
	struct tg_module *m = x->m;
	struct tg_const **parts = tg_alloc_n(m->arena, f->n, sizeof *parts), *c = tg_alloc(m->arena, sizeof *c);
	enum tg_dtype t = (enum tg_dtype)tg_value_get(m, f->op[0]->in[in])->dtype;
	tg_prov prov = { 0 };
	for (uint32_t i = 0; i < f->n; i++) {
		struct tg_op *data = tg_value_get(m, f->op[i]->in[in])->def;
		parts[i] = data->attrs[TG_AT(tile_data, value)].c;
		prov = i ? tg_prov_union(m, prov, data->prov) : data->prov;
	}
	tg_const_join(c, f->axis_of[in], parts, f->n); /* are_siblings has seen that they fit */
	struct tg_op *op = tg_op_new(m, &m->body, f->op[0], TG_TILE_data, NULL, 0, 1, prov);
	op->attrs[TG_AT(tile_data, value)].c = c;
	tg_val v = op->out[0] = tg_value_new(m, TG_TENSOR, t, &c->shape, NULL);
	tg_value_of(m, v)->def = op;
	return v;
}

static void move_readers(const struct finder *x, tg_val from, tg_val to, uint32_t axis, int64_t by)
{
	for (struct tg_op *op = x->m->body.first; op; op = op->next) {
		bool reads = false;
		for (uint32_t i = 0; i < op->n_in; i++)
			reads |= op->in[i].id == from.id;
		if (!reads)
			continue;
		struct tg_stage *s = tg_alloc(x->m->arena, sizeof *s);
		*s = *stage_of(op);
		s->ins = tg_alloc_n(x->m->arena, s->n_ins + 1, sizeof *s->ins);
		for (uint32_t i = 0; i < s->n_ins; i++) {
			struct tg_map *map = &s->ins[i].map;
			s->ins[i] = stage_of(op)->ins[i];
			if (op->in[i].id != from.id)
				continue;
			map->index = tg_alloc_n(x->m->arena, map->rank, sizeof *map->index);
			memcpy(map->index, stage_of(op)->ins[i].map.index, map->rank * sizeof *map->index);
			map->index[axis].offset += by;
			op->in[i] = to;
		}
		op->attrs[TG_AT(tile_stage, body)].stage = s;
	}
}

/* Returns the joint product. */
static struct tg_op *join(const struct finder *x, const struct family *f, int64_t columns)
{
	struct tg_module *m = x->m;
	struct tg_op *lead = f->op[0];
	struct tg_stage *s = tg_alloc(m->arena, sizeof *s);
	tg_val *in = tg_alloc_n(m->arena, lead->n_in, sizeof *in);
	struct tg_shape shape = tg_value_get(m, lead->out[0])->shape;
	tg_prov prov = lead->prov;
	for (uint32_t i = 0; i < lead->n_in; i++)
		in[i] = f->columns[i] ? joint_constant(x, f, i) : lead->in[i];
	for (uint32_t i = 1; i < f->n; i++)
		prov = tg_prov_union(m, prov, f->op[i]->prov);
	*s = *stage_of(lead);
	s->dims = tg_alloc_n(m->arena, s->n_dims, sizeof *s->dims);
	memcpy(s->dims, stage_of(lead)->dims, s->n_dims * sizeof *s->dims);
	s->dims[f->dim].extent = shape.dim[f->axis] = columns;
	tg_val out = part_new_stage(m, lead, lead, &(struct part_stage){ s, in, lead->n_in, false }, &shape);
	struct tg_op *op = tg_value_get(m, out)->def;
	op->prov = prov;
	int64_t at = 0;
	for (uint32_t i = 0; i < f->n; i++) {
		move_readers(x, f->op[i]->out[0], out, f->axis, at);
		at += stage_of(f->op[i])->dims[f->dim].extent;
	}
	for (uint32_t i = 0; i < f->n; i++) {
		for (uint32_t k = 0; k < f->op[i]->n_in; k++)
			if (f->columns[k])
				tg_op_remove(tg_value_get(m, f->op[i]->in[k])->def);
		tg_op_remove(f->op[i]);
	}
	return op;
}

/* Those behind `lead` that read what it reads. What they read besides is constant, so they may as well run where it does. Few products lead: each has weights that
 * nobody else reads, so that there are no more than the file has. */
static bool gather_family(const struct finder *x, struct tg_op *lead, struct family *f, int64_t *columns)
{
	if (!leads(x, lead, f) || !readers_can_move(x, lead->out[0], f->axis))
		return false;
	*columns = stage_of(lead)->dims[f->dim].extent;
	for (struct tg_op *op = lead->next; op && f->n < MOST_SIBLINGS; op = op->next) {
		if (!are_siblings(x, f, op) || !readers_can_move(x, op->out[0], f->axis) || !pays(x, f, *columns + stage_of(op)->dims[f->dim].extent))
			continue;
		*columns += stage_of(op)->dims[f->dim].extent;
		f->op[f->n++] = op;
	}
	return f->n > 1;
}

bool pass_siblings(struct tg_pass *cx, struct tg_module *m)
{
	struct finder x = { cx, m, fixed_values(cx, m) }; /* the loop below asks for no value that it has made */
	tg_count_uses(m);
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		struct family f;
		int64_t columns;
		next = op->next;
		if (gather_family(&x, op, &f, &columns))
			next = join(&x, &f, columns)->next;
	}
	return true;
}
