/* verify_group.c: whether the stages of a tile.group may share their outer loops.
 *
 * Each shared loop walks one parallel dimension of every stage, of the same extent in all. What a stage reads from another of the group must have been
 * made in the same tile: where the producer's place along an index follows shared loops, the consumer's index follows the same ones by the same
 * multiples, and what else moves it stays where the producer's own dimensions reach. So a consumer's tile needs the producer's tile and no more;
 * windows and halos (an index that also moves by a kernel's dimension) are refused for now.
 *
 *   producer  out [d0, d1]        consumer  in [d0, d2]          d0 shared: the same; d1 is made whole in every tile
 *   producer  out [d0, d1]        consumer  in [d0 + d3 - 1, d1] refused: a tile needs its neighbours' rows */
#include "verify_internal.h"

enum { MAX_STAGES = 64, MAX_OPERANDS = 256 }; /* lists are searched */

struct group {
	struct tg_diag *d;
	const struct tg_module *m;
	const struct tg_op *op;
	const int64_t *dims, *tile;
	uint32_t n_shared, n_stages;
};

#define BAD(g, ...) tg_verify_fail((g)->d, (g)->m, (g)->op, __VA_ARGS__)

static const struct tg_stage *body(const struct tg_op *op) { return op->attrs[TG_AT(tile_stage, body)].stage; }
static bool writes_in_part(const struct tg_op *op) { return op->attrs[TG_AT(tile_stage, into)].i != 0; }
static const struct tg_op *producer(const struct group *g, tg_val v)
{
	const struct tg_op *def = tg_value_get(g->m, v)->def;
	return def && def->block == g->op->regions[0] ? def : NULL;
}

/* The next stage of the group; the code of one may stand behind it. */
static const struct tg_op *next_stage(const struct tg_op *op)
{
	for (op = op->next; op && op->code == TG_MACH_code;)
		op = op->next;
	return op;
}

/* The stage's number in the group. */
static uint32_t number(const struct tg_op *stage)
{
	uint32_t n = 0;
	for (; stage->prev; stage = stage->prev)
		n += stage->prev->code == TG_TILE_stage;
	return n;
}

static const int64_t *loops_of(const struct group *g, uint32_t stage) { return g->dims + (size_t)stage * g->n_shared; }

/* ---- the loops ---- */

static bool check_loops(const struct group *g, uint32_t n, const struct tg_stage *s)
{
	const struct tg_stage *first = body(g->op->regions[0]->first);
	const int64_t *dims = loops_of(g, n);
	for (uint32_t i = 0; i < g->n_shared; i++) {
		if (dims[i] < 0 || dims[i] >= s->n_dims || s->dims[dims[i]].kind != TG_DIM_PARALLEL)
			return BAD(g, "loop %u walks dimension %lld of stage %u, expected a parallel one", i, (long long)dims[i], n);
		for (uint32_t k = 0; k < i; k++)
			if (dims[k] == dims[i])
				return BAD(g, "loops %u and %u walk the same dimension of stage %u", k, i, n);
		int64_t extent = s->dims[dims[i]].extent, expected = first->dims[g->dims[i]].extent;
		if (extent != expected)
			return BAD(g, "loop %u has %lld points in stage %u, expected %lld as in stage 0", i, (long long)extent, n, (long long)expected);
		if (g->tile[i] < 0 || g->tile[i] > extent)
			return BAD(g, "loop %u has tiles of %lld points, expected 0 to %lld", i, (long long)g->tile[i], (long long)extent);
	}
	return true;
}

/* ---- what passes between stages ---- */

/* Interval of an index without what shared loops add to it; false when it leaves 64 bits. */
static bool rest(const struct tg_stage *s, const struct tg_index *ix, const int64_t *shared, uint32_t n_shared, int64_t *lo, int64_t *hi)
{
	struct tg_index own = *ix;
	int64_t coef[TG_MAX_DIMS];
	for (uint32_t d = 0; d < s->n_dims; d++)
		coef[d] = ix->coef[d];
	for (uint32_t i = 0; i < n_shared; i++)
		coef[shared[i]] = 0;
	own.coef = coef;
	return tg_index_affine_range(s, &own, lo, hi);
}

static int64_t magnitude(int64_t v) { return v == INT64_MIN ? INT64_MAX : v < 0 ? -v : v; }

static bool check_index(const struct group *g, const struct tg_op *from, const struct tg_op *to, uint32_t in, uint32_t k)
{
	const struct tg_stage *p = body(from), *c = body(to);
	const struct tg_index *made = &p->outs[0].map.index[k], *read = &c->ins[in].map.index[k];
	const int64_t *pd = loops_of(g, number(from)), *cd = loops_of(g, number(to));
	int64_t step = INT64_MAX, plo, phi, clo, chi;
	for (uint32_t i = 0; i < g->n_shared; i++) {
		int64_t coef = p->dims[pd[i]].extent > 1 ? made->coef[pd[i]] : 0;
		if (coef && (read->coef[cd[i]] != coef || read->div != 1 || read->mod != 0 || read->gather >= 0))
			return BAD(g, "stage %u reads index %u of operand %u across tiles of loop %u: it does not follow the loop as stage %u does, which makes it", number(to), k, in, i,
				   number(from));
		if (coef)
			step = magnitude(coef) < step ? magnitude(coef) : step;
	}
	if (step == INT64_MAX)
		return true; /* made whole in every tile */
	for (uint32_t i = 0; i < g->n_shared; i++)
		if (c->dims[cd[i]].extent > 1 && !made->coef[pd[i]] && read->coef[cd[i]])
			return BAD(g, "index %u of operand %u of stage %u moves with loop %u, and does not in stage %u, which makes it", k, in, number(to), i, number(from));
	if (!rest(p, made, pd, g->n_shared, &plo, &phi) || !rest(c, read, cd, g->n_shared, &clo, &chi) || phi - plo >= step)
		return BAD(g, "index %u of operand %u of stage %u does not tell tiles apart", k, in, number(to));
	return (clo >= plo && chi <= phi) || BAD(g, "stage %u reads index %u of operand %u at %lld to %lld around the tile, expected %lld to %lld: windows are not shared", number(to), k, in,
						 (long long)clo, (long long)chi, (long long)plo, (long long)phi);
}

static bool check_operand(const struct group *g, const struct tg_op *stage, uint32_t in)
{
	const struct tg_op *from = producer(g, stage->in[in]);
	if (!from)
		return true;
	if (in >= body(stage)->n_ins)
		return BAD(g, "stage %u overwrites in part what stage %u makes, expected a tensor from outside", number(stage), number(from));
	if (writes_in_part(from))
		return BAD(g, "stage %u reads what stage %u writes only in part", number(stage), number(from));
	for (uint32_t k = 0; k < body(stage)->ins[in].map.rank; k++)
		if (!check_index(g, from, stage, in, k))
			return false;
	return true;
}

/* ---- operands and results ---- */

static bool listed(const tg_val *list, uint32_t n, tg_val v)
{
	for (uint32_t i = 0; i < n; i++)
		if (list[i].id == v.id)
			return true;
	return false;
}

static bool read_within(const struct tg_block *region, tg_val v)
{
	for (const struct tg_op *op = region->first; op; op = next_stage(op))
		if (listed(op->in, op->n_in, v))
			return true;
	return false;
}

static bool check_ports(const struct group *g)
{
	const struct tg_block *region = g->op->regions[0];
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->op->n_in; i++)
		if (producer(g, g->op->in[i]) || !read_within(region, g->op->in[i]) || listed(g->op->in, i, g->op->in[i]))
			return BAD(g, "operand %u is read by none of its stages, or listed twice", i);
	for (const struct tg_op *op = region->first; op; op = next_stage(op), n++) {
		for (uint32_t k = 0; k < op->n_in; k++)
			if (!producer(g, op->in[k]) && !listed(g->op->in, g->op->n_in, op->in[k]))
				return BAD(g, "stage %u reads what is no operand of the group", n);
		if (!listed(g->op->out, g->op->n_out, op->out[0]) && !read_within(region, op->out[0]))
			return BAD(g, "nobody reads the result of stage %u", n);
	}
	return true;
}

bool tg_group_check(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op)
{
	const union tg_attr *dims = &op->attrs[TG_AT(tile_group, dims)], *tile = &op->attrs[TG_AT(tile_group, tile)];
	struct group g = { .d = d, .m = m, .op = op, .dims = dims->ints.at, .tile = tile->ints.at, .n_shared = tile->ints.n };
	for (const struct tg_op *s = op->regions[0]->first; s; s = next_stage(s), g.n_stages++)
		if (s->code != TG_TILE_stage)
			return BAD(&g, "holds a %s, expected stages", tg_op_info_in(m, s->code)->name);
	if (g.n_stages > MAX_STAGES || op->n_in > MAX_OPERANDS || op->n_out > MAX_STAGES)
		return BAD(&g, "has %u stages, %u operands and %u results, at most %d, %d and %d are supported", g.n_stages, op->n_in, op->n_out, MAX_STAGES, MAX_OPERANDS,
			   MAX_STAGES);
	if (g.n_stages == 0 || g.n_shared == 0 || dims->ints.n != (uint64_t)g.n_stages * g.n_shared)
		return BAD(&g, "names %u dimensions for %u stages and %u loops, expected one for each stage and loop", dims->ints.n, g.n_stages, g.n_shared);
	uint32_t n = 0;
	for (const struct tg_op *s = op->regions[0]->first; s; s = next_stage(s), n++)
		if (!check_loops(&g, n, body(s)))
			return false;
	if (!check_ports(&g))
		return false;
	for (const struct tg_op *s = op->regions[0]->first; s; s = next_stage(s))
		for (uint32_t k = 0; k < s->n_in; k++)
			if (!check_operand(&g, s, k))
				return false;
	return true;
}
