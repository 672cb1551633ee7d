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

struct push { const struct operand *o; bool transposed; uint32_t full, tail, along, cols; vreg start, short_block, part, not_last, from, fixed; bool walks; struct walker *w; int columns; };

/* Registers of weights one after another; group g holds array rows (transposed: columns) from g * S on. */
static void push_groups(struct kernel *k, struct matrix *x, struct push *u, uint32_t unit)
{
	int64_t row = u->o ? step_bytes(k, u->transposed ? k->lane : x->contract, (uint32_t)k->p->rhs) : 0, moved = 0;
	enum tg_opcode push = typed(TG_I_push_f32, weight_type(k));
	bool walks = u->walks && row * sublanes(k) >= 8192; /* the register is nobody else's: loads move it on */
	vreg by = walks ? kernel_scalar(k, row * sublanes(k)) : (vreg){ 0 };
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
		vreg start = k->at.pred;
		k->at.pred = (vreg){ 0 };
		stream_weights(k, u->w, u->columns, at * row, (at + sublanes(k)) * row);
		k->at.pred = start;
		if (u->o) {
			v = mreg(k->f, CLASS_V);
			k->at.mem = u->o->mem;
			memit(&k->at, load_of(u->o->sram_dtype),
			      (const int64_t[]){ R(v), R(u->from), moved, R(kernel_scalar(k, row)), 0, R(extent), 0, 0, 1, R(by) }, 10)->fresh = true;
			k->at.mem = MEM_NONE;
			if (more && !walks && !kernel_reaches(moved + row * sublanes(k))) {
				vreg next = mreg(k->f, CLASS_S), was = k->at.pred;
				k->at.pred = (vreg){ 0 };
				EMIT(&k->at, saddi, R(next), R(u->from), moved + row * sublanes(k));
				k->at.pred = was;
				u->from = next;
				moved = 0;
			} else {
				moved += walks ? 0 : row * sublanes(k);
			}
		}
		memit(&k->at, push, (const int64_t[]){ unit, R(v), 0, g, R(extent), 0, u->transposed }, 7);
	}
}

/* Each array gets the block of columns that follows the one before it. */
static void push_arrays(struct kernel *k, struct matrix *x, const struct push *u)
{
	for (uint32_t unit = 0; unit < x->arrays; unit++) {
		struct push one = *u;
		int64_t by = u->o ? (int64_t)unit * x->cols * step_bytes(k, k->lane, (uint32_t)k->p->rhs) : 0;
		k->at.pred = (vreg){ 0 };
		one.walks = k->stream && (by || x->arrays == 1);
		if (by) {
			one.from = mreg(k->f, CLASS_S);
			EMIT(&k->at, saddi, R(one.from), R(u->from), by);
		}
		push_groups(k, x, &one, unit);
	}
}

/* ---- several pixels in the array (pixels.c) ---------------------------------------------------------------------------------------- */

enum { MAX_BASES = 128, MAX_KEPT_MASKS = 3, SHORT_MASKS = 4 /* of one piece, and what is present */, GROUPS_AT_ONCE = 4 };
struct base { int64_t offset; vreg reg; };
struct pieces {
	struct push *u;
	uint32_t n_bases;
	struct base base[MAX_BASES];
	uint32_t n_kept, most_kept;
	struct { uint32_t lanes; vreg reg; } kept[MAX_KEPT_MASKS];
};

/* A register near u->from + offset, and what is left for the immediate. */
static vreg base_near(struct kernel *k, struct pieces *s, int64_t *offset)
{
	for (uint32_t i = s->n_bases; i-- > 0;)
		if (kernel_reaches(*offset - s->base[i].offset)) {
			*offset -= s->base[i].offset;
			return s->base[i].reg;
		}
	vreg r = mreg(k->f, CLASS_S), was = k->at.pred;
	k->at.pred = (vreg){ 0 };
	EMIT(&k->at, saddi, R(r), R(s->u->from), *offset);
	k->at.pred = was;
	if (s->n_bases < MAX_BASES)
		s->base[s->n_bases++] = (struct base){ *offset, r };
	*offset = 0;
	return r;
}

static vreg outside(struct mcursor *at, vreg extent)
{
	vreg m = mreg(at->f, CLASS_M), was = at->pred;
	at->pred = (vreg){ 0 };
	EMIT(at, mext, R(m), R(extent));
	EMIT(at, mxor, R(m), R(m), 0);
	at->pred = was;
	return m;
}

/* Lanes from `lane` on, of rows from `row` on. A few masks stay in registers. */
static vreg mask_from(struct kernel *k, struct pieces *s, uint32_t row, uint32_t lane)
{
	vreg lanes = { 0 };
	for (uint32_t i = 0; i < s->n_kept && lane; i++)
		if (s->kept[i].lanes == lane)
			lanes = s->kept[i].reg;
	if (lane && !lanes.id) {
		bool keep = s->n_kept < s->most_kept;
		vreg extent = keep ? kernel_extent(k, sublanes(k), lane) : kernel_extent_near(k, sublanes(k), lane);
		lanes = outside(keep ? &k->pre : &k->at, extent);
		if (keep) {
			s->kept[s->n_kept].lanes = lane;
			s->kept[s->n_kept++].reg = lanes;
		}
	}
	if (!row)
		return lanes;
	vreg rows = outside(&k->at, kernel_extent_near(k, row, k->f->chip->lanes)), was = k->at.pred;
	if (!lane)
		return rows;
	k->at.pred = (vreg){ 0 };
	EMIT(&k->at, mand, R(rows), R(rows), R(lanes));
	k->at.pred = was;
	return rows;
}

/* May neighbour p have weights in the array's rows [from, until), all of one part? Where rows are counted at run time it may. */
static bool reaches(const struct kernel *k, const struct matrix *x, int64_t p, int64_t from, int64_t until, int64_t part)
{
	const struct plan *plan = k->p;
	const struct operand *lhs = &plan->operand[plan->lhs];
	int64_t span = plan->extent[plan->pixel_tap], window = span - (plan->pixels - 1) * plan->pixel_step, first = p * plan->pixel_step;
	int64_t unit = lhs->step[plan->pixel_tap] / lhs->step[plan->contract];
	int apart = NO_DIM;
	for (uint32_t d = 0; d < k->n_dims; d++)
		apart = k->dim[d].plan_dim == plan->pixel_tap ? (int)d : apart;
	for (uint32_t i = 0; i < x->n_packed; i++)
		if (apart == x->packed[i]) {
			int64_t tap = part_entry(k, x, i, part);
			return tap >= first && tap < first + window;
		}
	if ((apart != NO_DIM && apart != x->contract) || k->dim[x->contract].n > k->f->chip->array_rows)
		return true;
	for (int64_t r = from; r < until; r++) {
		int64_t tap = r / unit % span;
		if (tap >= first && tap < first + window)
			return true;
	}
	return false;
}

static int64_t part_of(const struct kernel *k, const struct matrix *x, uint32_t row)
{
	return x->n_packed == 0 ? 0 : row / k->dim[x->contract].n;
}

/* Neighbour p's columns of the block in array rows [from, until), all of one part, as bits, into v. The load begins at array row `at` and at column 0: what
 * lies outside of its rows and columns is overwritten by the loads that follow, or masked where the image has no such entry. */
static void load_piece(struct kernel *k, const struct matrix *x, struct pieces *s, vreg v, int64_t p, uint32_t at, uint32_t from, uint32_t until, vreg partial)
{
	const struct operand *o = s->u->o;
	const struct kdim *c = &k->dim[x->contract];
	uint32_t rhs = (uint32_t)k->p->rhs;
	int64_t elem = elem_bytes(o->sram_dtype), first = p * x->pixel_cols - x->first_col, end = first + x->pixel_cols, part = part_of(k, x, from);
	uint32_t lo = first < 0 ? 0 : (uint32_t)first, hi = end > s->u->cols ? s->u->cols : (uint32_t)end;
	int64_t entry = p * o->step[k->p->pixel_dim] + (at - part * c->n) * c->step[rhs] - first, offset;
	entry += part_offset(k, x, part, rhs);
	offset = entry * elem;
	vreg mask = o->start + entry >= 0 ? (vreg){ 0 } : mask_from(k, s, from - at, lo), base = base_near(k, s, &offset), extent;
	if (partial.id)
		extent = matrix_switched(k, s->u->short_block, matrix_extent(k, until - at, hi), matrix_extent(k, s->u->tail - at, hi));
	else
		extent = kernel_extent_near(k, until - at, hi);
	k->at.mem = o->mem;
	memit(&k->at, o->sram_dtype == TG_bf16 ? TG_I_vld_u16 : TG_I_vld_i32,
	      (const int64_t[]){ R(v), R(base), offset, R(kernel_scalar(k, c->step[rhs] * elem)), 0, R(extent), R(mask), KEEP, 1, 0 }, 10);
	k->at.mem = MEM_NONE;
}

/* The highest neighbour with weights in array rows [at, end), or -1. */
static int64_t highest(const struct kernel *k, const struct matrix *x, const struct push *u, uint32_t at, uint32_t end)
{
	for (int64_t p = k->p->pixels; p-- > 0;) {
		if (p * x->pixel_cols >= x->first_col + u->cols)
			continue;
		for (uint32_t r = at; r < end; r++) {
			int64_t part = part_of(k, x, r), row = r - part * k->dim[x->contract].n;
			if (reaches(k, x, p, row, row + 1, part))
				return p;
		}
	}
	return -1;
}

/* A group of rows: neighbours from the highest down, parts too, so that each load overwrites what the one before had outside of its own columns and rows. */
static void load_group(struct kernel *k, const struct matrix *x, struct pieces *s, vreg v, uint32_t at, uint32_t end, vreg partial)
{
	for (int64_t p = highest(k, x, s->u, at, end); p >= 0 && (p + 1) * x->pixel_cols > x->first_col; p--)
		for (uint32_t until = end; until > at;) {
			int64_t begins = x->n_packed == 0 ? 0 : part_of(k, x, until - 1) * k->dim[x->contract].n;
			uint32_t from = begins > at ? (uint32_t)begins : at;
			load_piece(k, x, s, v, p, at, from, until, partial);
			until = from;
		}
}

/* Weights of all neighbours that have columns in the block: what shows the pattern of no weight is absent. */
static void push_pixels(struct kernel *k, struct matrix *x, struct push *u)
{
	struct pieces s = { .u = u, .n_bases = 1, .base = { { 0, u->from } } };
	int64_t spare = (int64_t)k->f->chip->n_mregs - 1 - SHORT_MASKS - (x->masked ? x->parts - 1 : 0);
	s.most_kept = spare < 0 ? 0 : spare < MAX_KEPT_MASKS ? (uint32_t)spare : MAX_KEPT_MASKS;
	bool wide = u->o->sram_dtype == TG_f32;
	enum tg_opcode push = typed(TG_I_push_f32, weight_type(k));
	vreg none = kernel_vector(k, wide ? UINT32_MAX : UINT16_MAX), by = wide ? (vreg){ 0 } : kernel_vector(k, 16);
	for (uint32_t g = 0; g * sublanes(k) < u->along; g++) {
		uint32_t at = g * sublanes(k), rows = u->along - at < sublanes(k) ? u->along - at : sublanes(k);
		vreg raw = mreg(k->f, CLASS_V), v = raw, there = mreg(k->f, CLASS_M), extent = kernel_extent(k, rows, u->cols), partial = { 0 };
		k->at.pred = u->start;
		if (u->full != u->tail && at < u->tail && at + rows > u->tail)
			partial = extent = matrix_switched(k, u->short_block, matrix_extent(k, rows, u->cols), matrix_extent(k, u->tail - at, u->cols));
		else if (u->full != u->tail && at >= u->tail)
			k->at.pred = u->not_last;
		EMIT(&k->at, vmov, R(raw), R(none))->fresh = true;
		load_group(k, x, &s, raw, at, at + rows, partial);
		EMIT(&k->at, vne_i32, R(there), R(raw), R(none))->fresh = true;
		if (!wide) {
			v = mreg(k->f, CLASS_V);
			EMIT(&k->at, vshl, R(v), R(raw), R(by))->fresh = true;
		}
		memit(&k->at, push, (const int64_t[]){ 0, R(v), 0, g, R(extent), R(there), 0 }, 7);
		if (x->once && g % GROUPS_AT_ONCE == GROUPS_AT_ONCE - 1)
			EMIT(&k->at, idle, 1); /* ends the block: more at once would take all registers */
	}
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
	if (m_total > 1 && !x->once) /* level 0 counts the iterations of a block */
		u.start = walker_at_first(w, &k->at, 0);
	if (u.o && k->stream) {
		u.w = w;
		u.columns = level_of_role(f, level, ROLE_N);
		u.from = stream_place(k, w, f, level, stream_chunk(k, w, f, level), (uint32_t)k->p->rhs, NULL);
	} else if (u.o) {
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
	if (x->pixel_cols)
		push_pixels(k, x, &u);
	else
		push_arrays(k, x, &u);
	k->at.pred = u.start;
	for (uint32_t unit = 0; unit < x->arrays; unit++)
		EMIT(&k->at, swap, unit);
	k->at.pred = (vreg){ 0 };
	if (!x->once)
		walker_advance(w, &k->at);
}
