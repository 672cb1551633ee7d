/* runs.c: tile.group → a loop over parts around the code of its stages.
 *
 *   tile.group {dims = [0, 1, 0, 1], tile = [1, 256]} {        part = 0, 0
 *   %s = stage(%q, %k) { [12, 4096, 4096] }             ==>    loop 12 * 16 times:
 *   %y = stage(%s, %v) { [12, 4096, 64] }                        %s' = stage(%q, %k) { [1, 256, 4096] }      addresses of %q, %k move with the part
 *   }                                                            %y  = stage(%s', %v) { [1, 256, 64] }       so do those of %v and %y
 *                                                                part = the next one
 *
 * Each stage is planned as if it had the extents of one part, and what lies between stages has the shape of a part; so layout, residency and tiles need not know
 * of groups. Everything from outside is whole, and reached from the part's place on: where the part begins, in each shared loop, stands in the frame (SLOT_PART), and an operand's
 * address is that of the first part plus so many bytes for each entry (operand.part). Parts have one size: the last one begins at extent - tile.
 *
 * What is read or written from outside lives as long as the run; nothing is fetched ahead into a run or out of it. What the first stage reads from outside is fetched during the last one for the next part (ahead.c). */
#include "emit.h"
#include "runs.h"

#include <string.h>

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

/* ---- which groups ---------------------------------------------------------------------------------------------------------------------- */

static bool walks(const struct tg_map *map, uint32_t d)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (map->index[i].coef[d])
			return true;
	return false;
}

/* Addresses follow the dimension: no index divides on its way, none is tested against the tensor's end. */
static bool moves_plainly(const struct tg_map *map, uint32_t d)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (map->index[i].coef[d] && (map->index[i].div != 1 || map->index[i].mod != 0))
			return false;
	return true;
}

/* The index that dimension d alone walks from end to end; the map's rank: there is none. */
static uint32_t own_index(const struct tg_stage *s, const struct tg_map *map, const struct tg_shape *shape, uint32_t d)
{
	uint32_t found = map->rank;
	for (uint32_t i = 0; i < map->rank; i++) {
		const struct tg_index *x = &map->index[i];
		bool alone = x->offset == 0 && x->div == 1 && x->mod == 0 && shape->dim[i] == s->dims[d].extent;
		for (uint32_t k = 0; k < s->n_dims; k++)
			alone &= x->coef[k] == (k == d);
		if (x->coef[d] && (!alone || found < map->rank))
			return map->rank;
		found = x->coef[d] ? i : found;
	}
	return found;
}

/* Of a tensor made in the group: the index that the loop walks. */
static uint32_t made_along(const struct tg_module *m, const struct tg_op *group, const struct tg_op *maker, uint32_t loop)
{
	const union tg_attr *dims = &group->attrs[TG_AT(tile_group, dims)];
	uint32_t n = group->attrs[TG_AT(tile_group, tile)].ints.n, number = 0;
	for (const struct tg_op *op = group->regions[0]->first; op != maker; op = op->next)
		number += op->code == TG_TILE_stage;
	return own_index(stage_of(maker), &stage_of(maker)->outs[0].map, &tg_value_get(m, maker->out[0])->shape, (uint32_t)dims->ints.at[(size_t)number * n + loop]);
}

/* A part of it is all that is there: the dimension moves no other index than the loop's own. */
static bool stays_in_part(const struct tg_map *map, uint32_t d, uint32_t own)
{
	for (uint32_t i = 0; i < map->rank; i++)
		if (i != own && map->index[i].coef[d])
			return false;
	return true;
}

static bool stage_suits(const struct tg_module *m, const struct tg_op *group, const struct tg_op *op, const int64_t *dims, uint32_t n)
{
	const struct tg_stage *s = stage_of(op);
	bool last = op->out[0].id == group->out[0].id;
	if (op->n_out != 1 || s->n_outs != 1 || op->attrs[TG_AT(tile_stage, into)].i)
		return false;
	for (uint32_t l = 0; l < n; l++) {
		uint32_t d = (uint32_t)dims[l];
		const struct tg_map *out = &s->outs[0].map;
		if (last ? !walks(out, d) || !moves_plainly(out, d) : own_index(s, out, &tg_value_get(m, op->out[0])->shape, d) == out->rank)
			return false;
		for (uint32_t k = 0; k < s->n_ins; k++) {
			const struct tg_op *def = tg_value_get(m, op->in[k])->def;
			bool inside = def && def->block == group->regions[0];
			if (inside && !stays_in_part(&s->ins[k].map, d, made_along(m, group, def, l)))
				return false;
			if (!inside && walks(&s->ins[k].map, d) && (s->ins[k].guarded || !moves_plainly(&s->ins[k].map, d)))
				return false;
		}
		for (uint32_t k = 0; k < s->n_nodes; k++)
			if (s->nodes[k].op == TG_X_index && s->nodes[k].k == dims[l])
				return false;
	}
	return true;
}

bool runs_suit(const struct tg_module *m, const struct tg_op *group)
{
	const union tg_attr *dims = &group->attrs[TG_AT(tile_group, dims)], *tile = &group->attrs[TG_AT(tile_group, tile)];
	uint32_t n = tile->ints.n, i = 0;
	bool parts = false;
	const struct tg_op *last = NULL;
	if (n > MAX_SHARED || group->n_out != 1)
		return false;
	for (const struct tg_op *op = group->regions[0]->first; op; op = op->next) {
		if (op->code != TG_TILE_stage)
			continue;
		if (!stage_suits(m, group, op, dims->ints.at + (size_t)i++ * n, n))
			return false;
		last = op;
	}
	for (uint32_t l = 0; last && l < n; l++)
		parts |= tile->ints.at[l] && tile->ints.at[l] < stage_of(last)->dims[dims->ints.at[(size_t)(i - 1) * n + l]].extent;
	return parts && last->out[0].id == group->out[0].id;
}

/* ---- stages of a part -------------------------------------------------------------------------------------------------------------------- */

static struct tg_stage *part_stage(struct driver *dr, const struct run *r, const struct tg_stage *s, const int64_t *dims)
{
	struct tg_stage *p = tg_alloc(dr->m->arena, sizeof *p);
	*p = *s;
	p->dims = tg_alloc_n(dr->m->arena, s->n_dims, sizeof *p->dims);
	memcpy(p->dims, s->dims, s->n_dims * sizeof *p->dims);
	for (uint32_t l = 0; l < r->n_loops; l++)
		p->dims[dims[l]].extent = r->tile[l];
	return p;
}

/* The op for one part. What it makes for others of the run is a value of its own, in the shape of a part. */
static struct tg_op *part_op(struct driver *dr, const struct run *r, const struct tg_op *op, const int64_t *dims, const tg_val *stands_for)
{
	struct tg_op *c = tg_alloc(dr->m->arena, sizeof *c);
	const struct tg_stage *s = stage_of(op);
	uint32_t n_attrs = tg_op_info(op->code)->n_attrs;
	*c = *op;
	c->prev = c->next = NULL;
	c->in = tg_alloc_n(dr->m->arena, op->n_in + 1, sizeof *c->in);
	for (uint32_t i = 0; i < op->n_in; i++)
		c->in[i] = stands_for[op->in[i].id].id ? stands_for[op->in[i].id] : op->in[i];
	c->attrs = tg_alloc_n(dr->m->arena, n_attrs + 1, sizeof *c->attrs);
	memcpy(c->attrs, op->attrs, n_attrs * sizeof *c->attrs);
	c->attrs[TG_AT(tile_stage, body)].stage = part_stage(dr, r, s, dims);
	if (op->out[0].id == r->group->out[0].id)
		return c;
	struct tg_value whole = *tg_value_get(dr->m, op->out[0]); /* a copy: values move when one is made */
	for (uint32_t l = 0; l < r->n_loops; l++)
		whole.shape.dim[own_index(s, &s->outs[0].map, &whole.shape, (uint32_t)dims[l])] = r->tile[l];
	c->out = tg_alloc(dr->m->arena, sizeof *c->out);
	c->out[0] = tg_value_new(dr->m, TG_TENSOR, (enum tg_dtype)whole.dtype, &whole.shape, whole.name);
	tg_value_of(dr->m, c->out[0])->def = c;
	return c;
}

void runs_collect(struct driver *dr, struct tg_op *group)
{
	const union tg_attr *dims = &group->attrs[TG_AT(tile_group, dims)], *tile = &group->attrs[TG_AT(tile_group, tile)];
	struct run *r = tg_alloc(dr->a, sizeof *r);
	const struct tg_stage *first = NULL;
	tg_val *stands_for = tg_alloc_n(dr->a, dr->m->values.n, sizeof *stands_for);
	uint32_t n = 0;
	*r = (struct run){ .group = group, .first = dr->n_ops, .n_loops = tile->ints.n };
	for (struct tg_op *op = group->regions[0]->first; op; op = op->next) {
		if (op->code != TG_TILE_stage)
			continue;
		const int64_t *own = dims->ints.at + (size_t)n++ * r->n_loops;
		first = first ? first : stage_of(op);
		for (uint32_t l = 0; l < r->n_loops && n == 1; l++) {
			r->extent[l] = first->dims[own[l]].extent;
			r->tile[l] = tile->ints.at[l] ? tile->ints.at[l] : r->extent[l];
		}
		struct tg_op *part = part_op(dr, r, op, own, stands_for);
		dr->part[dr->n_ops] = tg_alloc(dr->a, sizeof *dr->part[0]);
		*dr->part[dr->n_ops] = (struct run_part){ r, op, { r->n_loops, own } };
		r->last = dr->n_ops;
		dr->ops[dr->n_ops++] = part;
		if (part->out[0].id != op->out[0].id)
			stands_for[op->out[0].id] = part->out[0];
	}
}

struct run *run_of(const struct driver *dr, uint32_t i)
{
	return dr->part[i] ? dr->part[i]->run : NULL;
}

bool run_begins(const struct driver *dr, uint32_t i)
{
	return dr->part[i] && dr->part[i]->run->first == i;
}

bool run_ends(const struct driver *dr, uint32_t i)
{
	return dr->part[i] && dr->part[i]->run->last == i;
}

uint32_t run_first(const struct driver *dr, uint32_t i, tg_val v)
{
	const struct run *r = run_of(dr, i);
	return r && !dr->partial[v.id] ? r->first : i;
}

uint32_t run_last(const struct driver *dr, uint32_t i, tg_val v)
{
	const struct run *r = run_of(dr, i);
	return r && !dr->partial[v.id] ? r->last : i;
}

struct tg_op *runs_failed(const struct driver *dr)
{
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->part[i] && dr->host[i])
			return dr->part[i]->run->group;
	return NULL;
}

tg_val run_result(const struct driver *dr, uint32_t i)
{
	return dr->part[i]->run->group->out[0];
}

int64_t run_parts(const struct run *r)
{
	int64_t n = 1;
	for (uint32_t l = 0; l < r->n_loops; l++)
		n *= ceil_div(r->extent[l], r->tile[l]);
	return n;
}

/* ---- code -------------------------------------------------------------------------------------------------------------------------------- */

static struct mcursor begin(struct driver *dr, struct mfn *f, const struct run *r)
{
	mfn_init(f, dr->work, dr->chip);
	return (struct mcursor){ .f = f, .seq = &f->top, .prov = r->group->prov.id };
}

static bool finish(struct driver *dr, struct mfn *f)
{
	mach_schedule(f, 1, false, 0);
	return mach_allocate(f) && mach_emit(dr->d, f, &dr->code, false);
}

/* The next part: the innermost loop goes on; where it is at its end it starts again and the one around it goes on. */
static void find_next(struct mcursor *at, const struct run *r)
{
	vreg carry = m_const(at, 1), one = m_const(at, 1);
	for (uint32_t l = r->n_loops; l-- > 0;) {
		int64_t last = r->extent[l] - r->tile[l];
		vreg now = slot_load(at, SLOT_PART + l), minus = mreg(at->f, CLASS_S), left = mreg(at->f, CLASS_S), more = mreg(at->f, CLASS_S), on = mreg(at->f, CLASS_S),
		     capped = mreg(at->f, CLASS_S), to = mreg(at->f, CLASS_S), by = mreg(at->f, CLASS_S), moved = mreg(at->f, CLASS_S), next = mreg(at->f, CLASS_S),
		     end = mreg(at->f, CLASS_S), around = mreg(at->f, CLASS_S);
		EMIT(at, smuli, R(minus), R(now), -1);
		EMIT(at, saddi, R(left), R(minus), last);
		EMIT(at, smini, R(more), R(left), 1); /* 0 at the end, else 1 */
		EMIT(at, saddi, R(on), R(now), r->tile[l]);
		EMIT(at, smini, R(capped), R(on), last);
		EMIT(at, smul, R(to), R(capped), R(more));
		EMIT(at, ssub, R(by), R(to), R(now));
		EMIT(at, smul, R(moved), R(by), R(carry));
		EMIT(at, sadd, R(next), R(now), R(moved));
		slot_store(at, SLOT_NEXT_PART + l, next);
		EMIT(at, sxor, R(end), R(more), R(one));
		EMIT(at, smul, R(around), R(carry), R(end));
		carry = around;
	}
	slot_store(at, SLOT_LAST_PART, carry);
}

bool run_open(struct driver *dr, struct run *r)
{
	struct mfn *f = tg_alloc(dr->work, sizeof *f), *head = tg_alloc(dr->work, sizeof *head);
	struct mcursor at = begin(dr, f, r);
	for (uint32_t l = 0; l < MAX_SHARED; l++)
		slot_store(&at, SLOT_PART + l, (vreg){ 0 });
	vreg parts = m_const(&at, run_parts(r));
	if (!finish(dr, f) || !mach_open_loop(dr->d, f, parts, r->group->prov.id, &dr->code, &r->loop))
		return false;
	at = begin(dr, head, r);
	find_next(&at, r);
	return finish(dr, head);
}

bool run_close(struct driver *dr, struct run *r)
{
	struct mfn *f = tg_alloc(dr->work, sizeof *f);
	struct mcursor at = begin(dr, f, r);
	for (uint32_t l = 0; l < r->n_loops; l++)
		slot_store(&at, SLOT_PART + l, slot_load(&at, SLOT_NEXT_PART + l));
	return finish(dr, f) && mach_close_loop(dr->d, dr->chip, &r->loop, &dr->code);
}
