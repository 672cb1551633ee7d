/* kernel_weights.c: the part of an iteration that pushes a block of weights and makes it active.
 *
 * Registers of weights follow each other: group g of a push holds array rows (transposed: columns) from g * S on. Pushes run in a block's first iteration
 * only, by predicate; the multiplies of the block before are still at work then. */
#include "matrix.h"

static enum tg_array_type weight_type(const struct kernel *k)
{
	enum tg_array_type t = k->p->array;
	if (t != TG_ARRAY_i8 && t != TG_ARRAY_u8)
		return t;
	return k->p->rhs >= 0 && k->p->operand[k->p->rhs].dtype == TG_u8 ? TG_ARRAY_u8 : TG_ARRAY_i8;
}

static vreg constant_weight(struct kernel *k)
{
	if (k->p->rhs >= 0)
		return kernel_load(k, (uint32_t)k->p->rhs, &(struct point){ 0 });
	const struct tg_stage *s = k->p->stage;
	const struct tg_node *v = &s->nodes[s->reds[0].value.id - 1];
	const struct tg_node *c = &s->nodes[(s->nodes[v->a.id - 1].op == TG_X_const ? v->a.id : v->b.id) - 1];
	double d;
	float f;
	uint32_t bits;
	__builtin_memcpy(&d, &c->bits, sizeof d);
	f = (float)d;
	__builtin_memcpy(&bits, &f, sizeof bits);
	return kernel_vector(k, c->dtype == TG_f32 ? bits : (uint32_t)c->bits);
}

struct push { const struct operand *o; bool transposed; uint32_t full, tail, along, cols; vreg start, short_block, part, not_last, from, fixed; };

/* Registers of weights one after another; group g holds array rows (transposed: columns) from g * S on. */
static int64_t push_groups(struct kernel *k, struct matrix *x, struct push *u)
{
	int64_t row = u->o ? step_bytes(k, u->transposed ? k->lane : x->contract, (uint32_t)k->p->rhs) : 0, moved = 0;
	enum tg_opcode push = typed(TG_I_push_f32, weight_type(k));
	for (uint32_t g = 0; g * sublanes(k) < u->along; g++) {
		uint32_t at = g * sublanes(k), rows = u->along - at < sublanes(k) ? u->along - at : sublanes(k);
		vreg extent = kernel_extent(k, rows, u->transposed ? u->full : u->cols), v = u->fixed;
		k->at.pred = u->start;
		if (u->full != u->tail && u->transposed) /* lanes run along the contracted dimension */
			extent = rows == sublanes(k) ? u->part : matrix_switched(k, u->short_block, matrix_extent(k, rows, u->full), matrix_extent(k, rows, u->tail));
		else if (u->full != u->tail && at < u->tail && at + rows > u->tail)
			extent = matrix_switched(k, u->short_block, matrix_extent(k, rows, u->cols), matrix_extent(k, u->tail - at, u->cols));
		else if (u->full != u->tail && at >= u->tail)
			k->at.pred = u->not_last;
		bool more = at + sublanes(k) < u->along;
		if (u->o) {
			v = mreg(k->f, CLASS_V);
			k->at.mem = u->o->mem;
			memit(&k->at, load_of(u->o->sram_dtype),
			      (const int64_t[]){ R(v), R(u->from), moved, R(kernel_scalar(k, row)), 0, R(extent), 0, 0, 1, 0 }, 10)->fresh = true;
			k->at.mem = MEM_NONE;
			if (more && (moved + row * sublanes(k) >= 8192 || moved + row * sublanes(k) < -8192)) {
				vreg next = mreg(k->f, CLASS_S), was = k->at.pred;
				k->at.pred = (vreg){ 0 };
				EMIT(&k->at, saddi, R(next), R(u->from), moved + row * sublanes(k));
				k->at.pred = was;
				u->from = next;
				moved = 0;
			} else {
				moved += row * sublanes(k);
			}
		}
		memit(&k->at, push, (const int64_t[]){ 0, R(v), 0, g, R(extent), 0, u->transposed }, 7);
	}
	return moved;
}

void matrix_push_part(struct kernel *k, struct matrix *x, struct flat *f, struct walker *w)
{
	int level[MAX_DIMS];
	int64_t m_total = 1;
	matrix_levels(k, w, f, x, ROLE_M, level);
	for (uint32_t i = 0; i < f->n; i++)
		m_total *= f->level[i].role == ROLE_M ? f->level[i].count : 1;
	struct push u = { .o = rhs_is_data(k) ? &k->p->operand[k->p->rhs] : NULL, .cols = x->cols };
	u.transposed = u.o && k->p->transposed;
	matrix_block_rows(k, x, &u.full, &u.tail);
	u.along = u.transposed ? x->cols : u.full;
	if (m_total > 1) /* level 0 counts the iterations of a block */
		u.start = walker_at_first(w, &k->at, 0);
	if (u.o) {
		struct follower *r = matrix_follow(k, w, f, level, (uint32_t)k->p->rhs, NULL);
		u.from = r ? r->reg : (vreg){ 0 };
	} else {
		u.fixed = constant_weight(k);
	}
	if (u.full != u.tail) {
		vreg not_last = mreg(k->f, CLASS_P);
		u.short_block = walker_at_last(w, &k->at, matrix_contract_level(f, level, x));
		EMIT(&k->at, pxor, R(not_last), R(u.short_block), 0);
		u.not_last = not_last;
		if (u.start.id) {
			u.not_last = mreg(k->f, CLASS_P);
			EMIT(&k->at, pand, R(u.not_last), R(not_last), R(u.start));
		}
		if (u.transposed)
			u.part = matrix_switched(k, u.short_block, matrix_extent(k, sublanes(k), u.full), matrix_extent(k, sublanes(k), u.tail));
	}
	push_groups(k, x, &u);
	k->at.pred = u.start;
	EMIT(&k->at, swap, 0);
	k->at.pred = (vreg){ 0 };
	walker_advance(w, &k->at);
}
