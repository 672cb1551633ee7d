/* views.c: a stage that reads a tensor under another shape reads the tensor itself.
 *
 *   %v: [1, 128, 12, 64] = view %u: [128, 768]              %y = stage(%u) { ... in [d1, 64*d2 + d3] }
 *   %y = stage(%v) { ... in [0, d1, d2, d3] }        ==>
 *
 * In: tile stages as expanded. Out: the same; views that nobody reads any more are for `prune`. The reshapes of attention heads, and dimensions of extent 1 that
 * come and go, no longer stand between stages that could be one, nor do they pin the layout of what they look at. Row-major order pairs runs of dimensions of the
 * two shapes whose products are equal. Where a run ends in one dimension of the source, its index is a sum; where a run begins in one, its index must fall apart
 * into terms that are multiples of the inner extents and terms that stay below them. Anything else stays a view. */
#include "passes.h"

#include <string.h>

bool pass_views(struct tg_pass *cx, struct tg_module *m);

struct folding {
	struct tg_module *m;
	const struct tg_stage *s;
	const struct tg_stage_in *in;
	const struct tg_shape *from, *to; /* of the view, of its source */
	struct tg_map map;                /* over `to` */
};

static bool plain(const struct tg_index *x)
{
	return x->div == 1 && x->mod == 0 && x->gather < 0;
}

static bool is_zero(const struct folding *f, const struct tg_index *x)
{
	for (uint32_t d = 0; d < f->s->n_dims; d++)
		if (x->coef[d] && f->s->dims[d].extent > 1)
			return false;
	return plain(x) && x->offset == 0;
}

static struct tg_index nothing(const struct folding *f)
{
	return (struct tg_index){ tg_alloc_n(f->m->arena, f->s->n_dims + 1u, sizeof(int64_t)), 0, 1, 0, -1 };
}

/* Dimensions [v0, v1) of the view are dimension u of its source. */
static bool join_run(struct folding *f, uint32_t v0, uint32_t v1, uint32_t u)
{
	uint32_t wide = 0, which = v0;
	struct tg_index *to = &f->map.index[u];
	*to = nothing(f);
	for (uint32_t v = v0; v < v1; v++)
		if (f->from->dim[v] != 1) {
			wide++;
			which = v;
		}
	if (wide == 1) { /* whatever the index is */
		*to = f->in->map.index[which];
		return true;
	}
	int64_t stride = 1;
	for (uint32_t v = v1; v-- > v0; stride *= f->from->dim[v]) {
		const struct tg_index *x = &f->in->map.index[v];
		if (f->from->dim[v] == 1)
			continue;
		if (!plain(x) || f->in->guarded)
			return false;
		to->offset += stride * x->offset;
		for (uint32_t d = 0; d < f->s->n_dims; d++)
			to->coef[d] += stride * x->coef[d];
	}
	return true;
}

/* Takes what x modulo `inner` is out of x, if the terms say so; x is divided by `inner`. */
static bool take_inner(const struct folding *f, struct tg_index *x, int64_t inner, struct tg_index *out)
{
	int64_t lo = 0, hi = 0, rest = ((x->offset % inner) + inner) % inner;
	*out = nothing(f);
	for (uint32_t d = 0; d < f->s->n_dims; d++) {
		if (x->coef[d] % inner) {
			int64_t far = x->coef[d] * (f->s->dims[d].extent - 1);
			*(far < 0 ? &lo : &hi) += far;
			out->coef[d] = x->coef[d];
			x->coef[d] = 0;
		}
		x->coef[d] /= inner;
	}
	out->offset = rest;
	x->offset = (x->offset - rest) / inner;
	return rest + lo >= 0 && rest + hi < inner;
}

/* Dimension v of the view is dimensions [u0, u1) of its source. */
static bool split_run(struct folding *f, uint32_t v, uint32_t u0, uint32_t u1)
{
	struct tg_index x = nothing(f);
	const struct tg_index *from = &f->in->map.index[v];
	if (!plain(from) || f->in->guarded)
		return false;
	x.offset = from->offset;
	for (uint32_t d = 0; d < f->s->n_dims; d++)
		x.coef[d] = f->s->dims[d].extent > 1 ? from->coef[d] : 0;
	for (uint32_t u = u1; u-- > u0;) {
		if (f->to->dim[u] == 1)
			f->map.index[u] = nothing(f);
		else if (!take_inner(f, &x, f->to->dim[u], &f->map.index[u]))
			return false;
	}
	return is_zero(f, &x);
}

/* The map over the source; false where it is none. */
static bool fold_map(struct folding *f)
{
	uint32_t v = 0, u = 0;
	f->map = (struct tg_map){ f->to->rank, tg_alloc_n(f->m->arena, f->to->rank + 1u, sizeof(struct tg_index)) };
	for (uint32_t i = 0; i < f->from->rank; i++)
		if (f->from->dim[i] == 1 && !is_zero(f, &f->in->map.index[i]) && (f->in->guarded || f->in->map.index[i].gather >= 0))
			return false; /* may leave the tensor by a dimension that goes */
	while (u < f->to->rank || v < f->from->rank) {
		uint32_t v0 = v, u0 = u;
		int64_t have = 1, want = 1;
		while (u < f->to->rank && want == 1)
			want *= f->to->dim[u++];
		while (v < f->from->rank && have == 1)
			have *= f->from->dim[v++];
		while (have < want && v < f->from->rank)
			have *= f->from->dim[v++];
		while (want < have && v == v0 + 1 && u < f->to->rank)
			want *= f->to->dim[u++];
		if (have != want)
			return false;
		for (uint32_t i = u0; i + 1 < u && f->to->dim[i] == 1; i++, u0++)
			f->map.index[i] = nothing(f);
		if (want == 1) {
			for (; u0 < u; u0++)
				f->map.index[u0] = nothing(f);
			continue;
		}
		while (v0 + 1 < v && f->from->dim[v0] == 1)
			v0++;
		if (u - u0 == 1 ? !join_run(f, v0, v, u0) : v - v0 != 1 || !split_run(f, v0, u0, u))
			return false;
	}
	return true;
}

static bool fold_operand(struct tg_module *m, struct tg_op *op, uint32_t i)
{
	struct tg_stage *s = op->attrs[TG_AT(tile_stage, body)].stage;
	const struct tg_op *view = tg_value_get(m, op->in[i])->def;
	if (!view || view->code != TG_TILE_view)
		return false;
	struct folding f = { .m = m, .s = s, .in = &s->ins[i], .from = &tg_value_get(m, op->in[i])->shape, .to = &tg_value_get(m, view->in[0])->shape };
	for (uint32_t k = 0; k < s->n_ins; k++) /* an index list keeps its shape */
		for (uint32_t x = 0; x < s->ins[k].map.rank; x++)
			if (s->ins[k].map.index[x].gather == (int32_t)i)
				return false;
	if (!fold_map(&f))
		return false;
	s->ins[i].map = f.map;
	op->in[i] = view->in[0];
	return true;
}

bool pass_views(struct tg_pass *cx, struct tg_module *m)
{
	(void)cx;
	for (struct tg_op *op = m->body.first; op; op = op->next)
		for (uint32_t i = 0; op->code == TG_TILE_stage && i < op->attrs[TG_AT(tile_stage, body)].stage->n_ins; i++)
			while (fold_operand(m, op, i))
				;
	return true;
}
