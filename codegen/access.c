/* access.c: operand maps of a stage → components with DRAM strides; merging of dimensions that every operand walks as one. */
#include "passes.h"
#include "plan.h"

#include <string.h>

uint32_t elem_bytes(enum tg_dtype t)
{
	return tg_dtypes[t].bits / 8;
}

/* Least and greatest index of a component over the whole stage. */
static void index_range(const struct plan *p, const struct comp *c, int64_t *lo, int64_t *hi)
{
	*lo = *hi = c->offset;
	for (uint32_t i = 0; i < c->n; i++) {
		int64_t far = c->term[i].coef * (p->extent[c->term[i].dim] - 1);
		*(far < 0 ? lo : hi) += far;
	}
}

static const char *make_comp(const struct plan *p, const struct tg_index *x, int64_t size, int64_t stride, bool guarded, struct comp *c)
{
	*c = (struct comp){ .offset = x->offset, .size = size, .stride = stride, .gather = x->gather };
	if (x->div != 1 || x->mod != 0)
		return "an index with division or modulus that does not split into dimensions";
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (x->coef[d] && p->extent[d] > 1)
			c->term[c->n++] = (struct term){ d, x->coef[d] };
	int64_t lo, hi;
	index_range(p, c, &lo, &hi);
	c->guarded = guarded && (lo < 0 || hi >= size);
	if (c->gather >= 0 && (c->n || c->offset))
		return "an index that adds to a gathered one";
	if (c->gather >= 0 && guarded)
		return "a gathered index that may leave the tensor";
	return NULL;
}

/* Does the index stay within a dimension of `size` entries and its margin? */
static bool in_margin(const struct plan *p, const struct tg_index *x, int64_t size, int64_t before, int64_t behind)
{
	struct comp c;
	int64_t lo, hi;
	if (make_comp(p, x, size, 1, true, &c) || c.gather >= 0)
		return false;
	index_range(p, &c, &lo, &hi);
	return lo >= -before && hi < size + behind;
}

/* Terms that never overlap (a split dimension) become components of their own. */
static bool splits(const struct plan *p, const struct comp *c)
{
	if (c->guarded || c->n < 2)
		return false;
	for (uint32_t i = 0; i < c->n; i++) {
		int64_t below = 0, mine = c->term[i].coef < 0 ? -c->term[i].coef : c->term[i].coef;
		for (uint32_t k = 0; k < c->n; k++) {
			int64_t other = c->term[k].coef < 0 ? -c->term[k].coef : c->term[k].coef;
			if (k != i && (other < mine || (other == mine && k < i)))
				below += other * (p->extent[c->term[k].dim] - 1);
		}
		if (mine <= below)
			return false;
	}
	return true;
}

static const char *add_comp(struct operand *o, const struct comp *c)
{
	if (c->n == 0 && !c->guarded && c->gather < 0) {
		o->base += c->offset * c->stride;
		return NULL;
	}
	if (o->n_comps == MAX_COMPS)
		return "too many index terms";
	o->comp[o->n_comps++] = *c;
	return NULL;
}

static const char *add_split(struct operand *o, const struct comp *c)
{
	o->base += c->offset * c->stride;
	for (uint32_t i = 0; i < c->n; i++) {
		struct comp one = *c;
		one.n = 1;
		one.term[0] = c->term[i];
		one.offset = 0;
		one.size = INT64_MAX / 2; /* never tested: not guarded */
		const char *why = add_comp(o, &one);
		if (why)
			return why;
	}
	return NULL;
}

bool plan_asks_inside(const struct tg_stage *s, uint32_t in)
{
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_inside && (uint32_t)s->nodes[i].k == in)
			return true;
	return false;
}

static const char *describe_operand(struct plan *p, struct operand *o, tg_val v, const struct tg_map *map, const struct tg_stage_in *in, bool asked, const struct places_of *at)
{
	const struct tg_value *val = tg_value_get(p->m, v);
	int64_t stride[TG_MAX_RANK];
	bool guarded = in && in->guarded;
	*o = (struct operand){ .value = v, .dtype = val->dtype, .sram_dtype = val->dtype };
	if (at) {
		o->dram = at->dram[v.id];
		o->home = at->home[v.id];
		o->storage = at->storage[v.id];
	}
	const struct tg_const *c = tg_const_of(p->m, v);
	if (c && c->kind == TG_CONST_SPLAT && !guarded) {
		o->constant = c;
		return NULL;
	}
	const struct margin *m = o->home ? at->margin[o->storage] : NULL;
	margin_strides(val, m, stride);
	for (uint32_t l = 0; at && at->walk && !at->partial[v.id] && l < at->walk->n; l++)
		for (uint32_t i = 0; i < map->rank; i++)
			o->part[l] += map->index[i].coef[at->walk->dim[l]] * stride[i] * elem_bytes(o->dtype);
	for (uint32_t i = 0; i < map->rank; i++) {
		struct comp one;
		bool edge = guarded && !(m && m->fill == in->fill && !asked && in_margin(p, &map->index[i], val->shape.dim[i], m->lo[i], m->hi[i]));
		const char *why = make_comp(p, &map->index[i], val->shape.dim[i], stride[i], edge, &one);
		if (!why)
			why = splits(p, &one) ? add_split(o, &one) : add_comp(o, &one);
		if (why)
			return why;
	}
	return NULL;
}

/* Which component walks dimension d alone, unguarded; NULL when none or not so simple. *used: d occurs at all. */
static struct comp *lone(struct operand *o, uint32_t d, bool *used)
{
	struct comp *found = NULL;
	uint32_t n = 0;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if (o->comp[i].term[k].dim == d) {
				n++;
				found = &o->comp[i];
			}
	*used = n > 0;
	return n == 1 && found->n == 1 && !found->guarded && found->gather < 0 ? found : NULL;
}

static bool can_merge(struct plan *p, uint32_t outer, uint32_t inner)
{
	if (p->role[outer] != p->role[inner] || p->pinned[outer] || p->pinned[inner])
		return false;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		bool a, b;
		struct comp *x = lone(&p->operand[i], outer, &a), *y = lone(&p->operand[i], inner, &b);
		if (!a && !b)
			continue;
		if (!x || !y || x->term[0].coef * x->stride != p->extent[inner] * y->term[0].coef * y->stride)
			return false;
	}
	return true;
}

static void drop_dim(struct plan *p, uint32_t d)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		for (uint32_t k = 0; k < o->n_comps; k++)
			for (uint32_t t = 0; t < o->comp[k].n; t++)
				if (o->comp[k].term[t].dim > d)
					o->comp[k].term[t].dim--;
	}
	for (uint32_t k = d; k + 1 < p->n_dims; k++) {
		p->extent[k] = p->extent[k + 1];
		p->role[k] = p->role[k + 1];
		p->pinned[k] = p->pinned[k + 1];
	}
	p->n_dims--;
	for (uint32_t k = 0; k < p->stage->n_dims; k++)
		p->dim_of[k] = p->dim_of[k] == (int)d ? NO_DIM : p->dim_of[k] > (int)d ? p->dim_of[k] - 1 : p->dim_of[k];
}

static void merge(struct plan *p, uint32_t outer, uint32_t inner)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		bool used;
		struct operand *o = &p->operand[i];
		struct comp *x = lone(o, outer, &used);
		if (!x)
			continue;
		uint32_t at = (uint32_t)(x - o->comp);
		/* The offset of the outer index is part of the address. */
		o->base += x->offset * x->stride;
		struct comp *y = lone(o, inner, &used);
		o->base += y->offset * y->stride;
		y->offset = 0;
		memmove(x, x + 1, (o->n_comps - at - 1) * sizeof *x);
		o->n_comps--;
	}
	p->extent[inner] *= p->extent[outer];
	drop_dim(p, outer);
}

static void merge_dims(struct plan *p)
{
	for (uint32_t i = 0; i < p->n_dims; i++)
		for (uint32_t k = 0; k < p->n_dims; k++)
			if (i != k && can_merge(p, i, k)) {
				merge(p, i, k);
				i = k = UINT32_MAX; /* from the start: dimensions have moved */
				break;
			}
}

/* The largest number of lanes into which n entries divide evenly. */
static int64_t even_lanes(int64_t n, int64_t lanes)
{
	int64_t q = lanes;
	while (n % q)
		q--;
	return q;
}

/* Can dimension d become rows of q lanes? */
static bool can_split(struct plan *p, uint32_t d)
{
	if (p->pinned[d] || p->n_dims == MAX_DIMS)
		return false;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		bool used;
		if (!lone(&p->operand[i], d, &used) ? used : p->operand[i].n_comps == MAX_COMPS)
			return false;
	}
	return true;
}

static void split(struct plan *p, uint32_t d, int64_t q)
{
	uint32_t inner = p->n_dims++;
	p->extent[inner] = q;
	p->extent[d] /= q;
	p->role[inner] = p->role[d];
	p->pinned[inner] = false;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		bool used;
		struct operand *o = &p->operand[i];
		struct comp *x = lone(o, d, &used);
		if (!x)
			continue;
		o->base += x->offset * x->stride;
		x->offset = 0;
		o->comp[o->n_comps] = *x;
		o->comp[o->n_comps++].term[0].dim = inner;
		x->term[0].coef *= q;
		x->size = INT64_MAX / 2; /* never tested: not guarded */
	}
}

/* A stage with one long dimension would fill one row of a register only: make rows of it. */
static void split_alone(struct plan *p)
{
	uint32_t n = 0, at = 0;
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (p->role[d] == ROLE_PARALLEL) {
			n++;
			at = d;
		}
	if (n != 1 || p->stage->n_reds || p->extent[at] <= p->chip->lanes || !can_split(p, at))
		return;
	int64_t q = even_lanes(p->extent[at], p->chip->lanes);
	if (q >= p->chip->lanes / 4)
		split(p, at, q);
}

/* 64-bit integers are 32-bit in SRAM where the body allows it; anything else of 64 bits is not for the lanes. */
static const char *lane_type(enum tg_dtype t)
{
	switch (t) {
	case TG_f32: case TG_bf16: case TG_f16: case TG_f8e4m3fn: case TG_f8e5m2:
	case TG_i32: case TG_u32: case TG_i16: case TG_u16: case TG_i8: case TG_u8: case TG_bool:
		return NULL;
	case TG_f64: return "the chip has no 64-bit floats";
	case TG_i64: case TG_u64: return "64-bit integer arithmetic";
	case TG_i4: case TG_u4: case TG_i2: case TG_u2: case TG_f4e2m1: return "packed elements";
	default: return "an element type that the chip does not load";
	}
}

static const char *operand_types(struct plan *p)
{
	const struct tg_stage *s = p->stage;
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		if (o->dtype == TG_i64 && tg_reads_saturated(s, i) && !o->constant)
			o->sram_dtype = TG_i32;
		const char *why = lane_type(o->sram_dtype);
		if (why)
			return why;
		if (s->ins[i].guarded && !tg_bits_fit(o->sram_dtype, s->ins[i].fill))
			return "a fill value that the element type does not hold";
	}
	struct operand *out = &p->operand[p->n_ops];
	const struct tg_node *v = &s->nodes[s->outs[0].value.id - 1];
	if (out->dtype == TG_i64 && v->op == TG_X_cast && s->nodes[v->a.id - 1].dtype == TG_i32)
		out->sram_dtype = TG_i32;
	return lane_type(out->sram_dtype);
}

static const char *node_types(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].dtype == TG_f64)
			return "the chip has no 64-bit floats";
	return tg_computes_wide(s) ? "64-bit integer arithmetic" : NULL;
}

static void mark_lists(struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++)
		for (uint32_t k = 0; k < p->operand[i].n_comps; k++)
			if (p->operand[i].comp[k].gather >= 0)
				p->operand[p->operand[i].comp[k].gather].is_list = true;
}

/* A gathered component moves with the dimensions of its index operand, which must be walked plainly. */
static const char *gather_terms(struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++) {
		for (uint32_t k = 0; k < p->operand[i].n_comps; k++) {
			struct comp *c = &p->operand[i].comp[k];
			if (c->gather < 0)
				continue;
			struct operand *list = &p->operand[c->gather];
			if (list->constant)
				return "a gather whose indices are one constant";
			if (list->sram_dtype != TG_i32)
				return "a gather by indices that are not i32";
			for (uint32_t x = 0; x < list->n_comps; x++) {
				if (list->comp[x].n != 1 || list->comp[x].guarded || list->comp[x].gather >= 0)
					return "a gather whose indices are not walked plainly";
				c->term[c->n++] = list->comp[x].term[0];
				p->pinned[list->comp[x].term[0].dim] = true;
			}
		}
	}
	return NULL;
}

#define MOST_POINTS (INT64_C(1) << 53)

/* Addresses are sums of products of these: within 2^56 bytes nothing overflows on the way. A guarded index may lie anywhere outside of its tensor. */
static bool component_fits(const struct plan *p, const struct comp *c)
{
	const int64_t most = INT64_C(1) << 53; /* elements of up to 8 bytes */
	int64_t reach = c->offset < 0 ? -(c->offset + 1) : c->offset, stride = c->stride < 0 ? -(c->stride + 1) : c->stride;
	for (uint32_t i = 0; i < c->n; i++) {
		int64_t coef = c->term[i].coef, far;
		if (coef == INT64_MIN || __builtin_mul_overflow(coef < 0 ? -coef : coef, p->extent[c->term[i].dim], &far) || __builtin_add_overflow(reach, far, &reach))
			return false;
	}
	return !__builtin_mul_overflow(reach, stride + 1, &reach) && reach <= most;
}

static const char *indices_fit(const struct plan *p)
{
	int64_t points = 1;
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (__builtin_mul_overflow(points, p->extent[d], &points) || points > MOST_POINTS)
			return "more points than any chip would come to the end of";
	for (uint32_t i = 0; i <= p->n_ops; i++)
		for (uint32_t k = 0; k < p->operand[i].n_comps; k++)
			if (!component_fits(p, &p->operand[i].comp[k]))
				return "an index reaches further than addresses do";
	return NULL;
}

const char *plan_describe(struct plan *p, const struct tg_module *m, const struct tg_op *op, const struct tg_chip *c, const struct places_of *at)
{
	const struct tg_stage *s = op->attrs[TG_AT(tile_stage, body)].stage;
	*p = (struct plan){ .chip = c, .m = m, .op = op, .stage = s, .lane = NO_DIM, .row = NO_DIM, .contract = NO_DIM, .lhs = -1, .rhs = -1 };
	if (s->n_dims > MAX_DIMS)
		return "more dimensions than the code generator handles";
	if (s->n_ins > MAX_OPERANDS)
		return "more operands than the code generator handles";
	if (s->n_outs != 1 || s->n_reds > 1)
		return "several results in one stage";
	p->n_dims = s->n_dims;
	p->n_ops = s->n_ins;
	for (uint32_t d = 0; d < s->n_dims; d++) {
		p->dim_of[d] = (int)d;
		p->extent[d] = s->dims[d].extent;
		p->role[d] = s->dims[d].kind == TG_DIM_REDUCE ? ROLE_REDUCE : ROLE_PARALLEL;
	}
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_index)
			p->pinned[s->nodes[i].k] = true; /* numbers are still the stage's own */
	for (uint32_t i = 0; i < s->n_ins; i++) {
		const char *why = describe_operand(p, &p->operand[i], op->in[i], &s->ins[i].map, &s->ins[i], plan_asks_inside(s, i), at);
		if (why)
			return why;
	}
	const char *why = describe_operand(p, &p->operand[s->n_ins], op->out[0], &s->outs[0].map, NULL, false, at);
	why = why ? why : operand_types(p);
	why = why ? why : node_types(s);
	why = why ? why : gather_terms(p);
	why = why ? why : indices_fit(p);
	if (why)
		return why;
	mark_lists(p);
	for (uint32_t d = p->n_dims; d-- > 0;)
		if (p->extent[d] == 1 && !p->pinned[d])
			drop_dim(p, d);
	merge_dims(p);
	split_alone(p);
	return NULL;
}
