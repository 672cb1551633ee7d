/* kernel.c: pointers, constants and loop nests of a tile's code. */
#include "kernel.h"

#include <assert.h>
#include <string.h>

/* ---- constants: emitted once before the loops --------------------------------------------------------------------- */

vreg kernel_scalar(struct kernel *k, int64_t v)
{
	if (v == 0)
		return (vreg){ 0 };
	for (size_t i = 0; i < k->scalars.n; i++)
		if (k->scalars.at[i].value == v)
			return k->scalars.at[i].reg;
	vreg r = m_const(&k->pre, v);
	*TG_PUSH(k->f->arena, &k->scalars) = (struct constant){ v, r };
	return r;
}

vreg kernel_extent(struct kernel *k, uint32_t rows, uint32_t lanes)
{
	int64_t r = rows == k->f->chip->sublanes ? 0 : rows, l = lanes == k->f->chip->lanes ? 0 : lanes;
	return kernel_scalar(k, r | l << 16);
}

vreg kernel_extent_near(struct kernel *k, uint32_t rows, uint32_t lanes)
{
	int64_t r = rows == k->f->chip->sublanes ? 0 : rows, l = lanes == k->f->chip->lanes ? 0 : lanes, v = r | l << 16;
	bool known = v == 0;
	for (size_t i = 0; i < k->scalars.n; i++)
		known |= k->scalars.at[i].value == v;
	if (known)
		return kernel_scalar(k, v);
	vreg e = mreg(k->f, CLASS_S), was = k->at.pred;
	k->at.pred = (vreg){ 0 };
	EMIT(&k->at, smov, R(e), v);
	k->at.pred = was;
	return e;
}

vreg kernel_vector(struct kernel *k, uint32_t bits)
{
	for (size_t i = 0; i < k->vectors.n; i++)
		if (k->vectors.at[i].value == bits)
			return k->vectors.at[i].reg;
	/* A few constants stay in registers; the others are made where they are used. */
	bool keep = k->vectors.n < k->f->chip->n_vregs / 4;
	struct mcursor *at = keep ? &k->pre : &k->at;
	vreg r = mreg(k->f, CLASS_V);
	EMIT(at, vmovi, R(r), (int32_t)bits);
	if (keep)
		*TG_PUSH(k->f->arena, &k->vectors) = (struct constant){ bits, r };
	return r;
}

/* ---- dimensions and pointers ---------------------------------------------------------------------------------------- */

static int64_t pointer_bytes(const struct kernel *k, uint32_t i)
{
	return i == PARTIAL ? 4 : elem_bytes(k->p->operand[i].sram_dtype);
}

static void mark(struct kernel *k, bool *set, tg_expr from)
{
	const struct tg_stage *s = k->p->stage;
	set[from.id - 1] = true;
	for (uint32_t i = from.id; i-- > 0;) { /* operands come before their users */
		const struct tg_node *n = &s->nodes[i];
		if (!set[i])
			continue;
		tg_expr in[3] = { n->a, n->b, n->c };
		for (int j = 0; j < 3; j++)
			if (in[j].id)
				set[in[j].id - 1] = true;
	}
}

static void mark_nodes(struct kernel *k)
{
	const struct tg_stage *s = k->p->stage;
	k->in_body = tg_alloc_n(k->f->arena, s->n_nodes + 1, sizeof(bool));
	k->in_post = tg_alloc_n(k->f->arena, s->n_nodes + 1, sizeof(bool));
	if (s->n_reds)
		mark(k, k->in_body, s->reds[0].value);
	mark(k, k->in_post, s->outs[0].value);
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		k->body_nodes += k->in_body[i];
		k->post_nodes += k->in_post[i];
		if (s->nodes[i].op == TG_X_arg && (k->in_body[i] || k->in_post[i]))
			k->live[s->nodes[i].k] = true;
	}
}

static void mark_indices(struct kernel *k)
{
	const struct tg_stage *s = k->p->stage;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		if (!k->in_body[i] && !k->in_post[i])
			continue;
		if (s->nodes[i].op == TG_X_index && k->p->dim_of[s->nodes[i].k] != NO_DIM)
			k->indexed[k->p->dim_of[s->nodes[i].k]] = true;
		if (s->nodes[i].op != TG_X_inside)
			continue;
		const struct operand *o = &k->p->operand[s->nodes[i].k];
		for (uint32_t c = 0; c < o->n_comps; c++)
			for (uint32_t t = 0; o->comp[c].guarded && t < o->comp[c].n; t++)
				k->indexed[o->comp[c].term[t].dim] = true;
	}
	/* A last reduction tile that reaches beyond the end is masked by its index. */
	for (uint32_t d = 0; d < k->p->n_dims; d++)
		if (k->p->path == PATH_VECTOR && k->p->role[d] == ROLE_REDUCE && k->p->extent[d] % k->p->tile[d])
			k->indexed[d] = true;
}

static void make_dims(struct kernel *k)
{
	const struct plan *p = k->p;
	k->n_dims = p->n_dims;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		k->dim[d] = (struct kdim){ .n = p->tile[d], .role = p->role[d], .plan_dim = (int)d };
		for (uint32_t i = 0; i <= p->n_ops; i++)
			k->dim[d].step[i] = p->operand[i].constant ? 0 : p->operand[i].step[d];
		k->dim[d].step[PARTIAL] = p->operand[p->n_ops].step[d];
	}
	k->lane = p->lane;
	k->row = p->row;
}

void kernel_begin(struct kernel *k, struct mfn *f, struct plan *p, struct mcursor *at, const vreg *coordinates, const vreg *places,
		  uint32_t unroll)
{
	*k = (struct kernel){ .f = f, .p = p, .pre = *at, .at = *at, .unroll = unroll };
	k->pre.seq = tg_alloc(f->arena, sizeof *k->pre.seq);
	k->at.seq = tg_alloc(f->arena, sizeof *k->at.seq);
	mark_nodes(k);
	mark_indices(k);
	make_dims(k);
	k->live[p->n_ops] = true;
	k->live[PARTIAL] = p->partial_bytes != 0;
	for (uint32_t i = 0; i < N_POINTERS; i++) {
		if (i > p->n_ops && i != PARTIAL)
			continue;
		k->live[i] &= i == PARTIAL || !p->operand[i].constant;
		if (!k->live[i])
			continue;
		k->at.mem = k->pre.mem = MEM_NONE;
		k->ptr[i] = mreg(f, CLASS_S);
		EMIT(&k->pre, saddi, R(k->ptr[i]), i == PARTIAL ? 0 : R(places[i]), i == PARTIAL ? (int64_t)p->partial_sram : (int64_t)p->operand[i].sram + p->operand[i].start * pointer_bytes(k, i));
	}
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (k->indexed[d]) {
			k->index[d] = mreg(f, CLASS_S);
			EMIT(&k->pre, saddi, R(k->index[d]), R(coordinates[d]), 0);
		}
}

void kernel_splice(struct mseq *to, struct mseq *from)
{
	if (!from->first)
		return;
	if (to->last)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
}

void kernel_end(struct kernel *k, struct mcursor *at)
{
	kernel_splice(at->seq, k->pre.seq);
	kernel_splice(at->seq, k->at.seq);
}

void kernel_advance(struct kernel *k, const struct kdim *d, int64_t by)
{
	for (uint32_t i = 0; i < N_POINTERS; i++) {
		int64_t bytes = k->live[i] ? by * d->step[i] * pointer_bytes(k, i) : 0;
		if (bytes)
			EMIT(&k->at, saddi, R(k->ptr[i]), R(k->ptr[i]), bytes);
	}
	uint32_t number = (uint32_t)(d - k->dim);
	if (k->indexed[number])
		EMIT(&k->at, saddi, R(k->index[number]), R(k->index[number]), by);
}

static bool continues(const struct kernel *k, const struct kdim *inner, const struct kdim *outer, uint64_t operands)
{
	for (uint32_t i = 0; i < N_POINTERS; i++)
		if (k->live[i] && (operands >> i & 1) && outer->step[i] != inner->n * inner->step[i])
			return false;
	return true;
}

void kernel_remove_dim(struct kernel *k, uint32_t d)
{
	for (uint32_t i = d; i + 1 < k->n_dims; i++) {
		k->dim[i] = k->dim[i + 1];
		k->indexed[i] = k->indexed[i + 1];
		k->index[i] = k->index[i + 1];
	}
	k->n_dims--;
	if (k->lane > (int)d)
		k->lane--;
	if (k->row > (int)d)
		k->row--;
}

int kernel_fold(struct kernel *k, int into, uint64_t operands)
{
	for (uint32_t d = 0; into != NO_DIM && d < k->n_dims; d++) {
		if ((int)d == into || (int)d == k->lane || (int)d == k->row || k->dim[d].role != k->dim[into].role || k->indexed[d] ||
		    k->indexed[into] || !continues(k, &k->dim[into], &k->dim[d], operands))
			continue;
		k->dim[into].n *= k->dim[d].n;
		k->dim[into].plan_dim = NO_DIM;
		kernel_remove_dim(k, d);
		into -= into > (int)d;
		d = UINT32_MAX; /* from the start */
	}
	return into;
}

/* An address of the same body from which a load's immediate reaches `offset`; made where there is none. */
static struct near nearest(struct kernel *k, uint32_t operand, int64_t offset)
{
	struct near one = { operand, k->at.seq, offset, { 0 } };
	for (size_t i = 0; k->memo && i < k->memo->addresses.n; i++) {
		const struct near *a = &k->memo->addresses.at[i];
		if (a->operand == operand && a->seq == k->at.seq && kernel_reaches(offset - a->offset))
			return *a;
	}
	one.reg = mreg(k->f, CLASS_S);
	EMIT(&k->at, saddi, R(one.reg), R(k->ptr[operand]), offset);
	if (k->memo)
		*TG_PUSH(k->f->arena, &k->memo->addresses) = one;
	return one;
}

void kernel_address(struct kernel *k, uint32_t operand, const struct point *pt, int64_t *imm, vreg *base)
{
	int64_t offset = 0;
	for (uint32_t d = 0; d < k->n_dims; d++)
		offset += pt->delta[d] * k->dim[d].step[operand];
	offset *= pointer_bytes(k, operand);
	*base = k->ptr[operand];
	*imm = offset;
	if (kernel_reaches(offset))
		return;
	struct near a = nearest(k, operand, offset);
	*base = a.reg;
	*imm = offset - a.offset;
}

/* ---- loop nests ------------------------------------------------------------------------------------------------------- */

struct nest {
	const struct level *levels;
	uint32_t n, unroll;
	leaf_fn *leaf;
	void *user;
};

static void set_extent(struct kernel *k, struct point *pt, int dim, int64_t n)
{
	if (dim == k->row)
		pt->rows = (uint32_t)n;
	if (dim == k->lane)
		pt->lanes = (uint32_t)n;
}

static void nest_level(struct kernel *k, const struct nest *n, uint32_t i, const struct point *pt);

/* `count` blocks at the pointers, the last one `tail` long when tail != 0; the innermost level makes them points of one leaf. */
static void blocks_here(struct kernel *k, const struct nest *n, uint32_t i, const struct point *pt, int64_t count, int64_t tail)
{
	const struct level *l = &n->levels[i];
	struct point pts[MAX_POINTS];
	uint32_t n_pts = 0;
	for (int64_t b = 0; b < count + (tail != 0); b++) {
		struct point one = *pt;
		one.delta[l->dim] += b * l->block;
		set_extent(k, &one, l->dim, b < count ? l->block : tail);
		if (i + 1 < n->n) {
			assert(count + (tail != 0) == 1);
			nest_level(k, n, i + 1, &one);
			return;
		}
		pts[n_pts++] = one;
	}
	n->leaf(k, pts, n_pts, n->user);
}

static void loop_blocks(struct kernel *k, const struct nest *n, uint32_t i, const struct point *pt, int64_t trips, int64_t each)
{
	const struct level *l = &n->levels[i];
	struct mcursor outer = k->at;
	if (trips > 1)
		k->at = mloop(&outer, kernel_scalar(k, trips));
	blocks_here(k, n, i, pt, each, 0);
	kernel_advance(k, &k->dim[l->dim], each * l->block);
	if (trips > 1)
		k->at = outer;
}

static void nest_level(struct kernel *k, const struct nest *n, uint32_t i, const struct point *pt)
{
	if (i == n->n) {
		struct point one = *pt;
		n->leaf(k, &one, 1, n->user);
		return;
	}
	const struct level *l = &n->levels[i];
	const struct kdim *d = &k->dim[l->dim];
	int64_t full = d->n / l->block, tail = d->n % l->block;
	int64_t each = i + 1 == n->n ? (full < n->unroll ? full : n->unroll) : 1;
	each = each ? each : 1;
	int64_t trips = full / each, rest = full % each;
	bool last_here = trips == 1 && !rest && !tail;
	if (last_here) {
		blocks_here(k, n, i, pt, each, 0);
		return;
	}
	if (trips)
		loop_blocks(k, n, i, pt, trips, each);
	if (i + 1 < n->n) {
		if (tail)
			blocks_here(k, n, i, pt, 0, tail);
	} else if (rest || tail) {
		blocks_here(k, n, i, pt, rest, tail);
	}
	if (trips)
		kernel_advance(k, d, -trips * each * l->block);
}

void kernel_nest(struct kernel *k, const struct level *levels, uint32_t n_levels, uint32_t unroll, const struct point *start, leaf_fn *leaf, void *user)
{
	struct nest n = { levels, n_levels, unroll < MAX_POINTS ? unroll : MAX_POINTS - 1, leaf, user };
	nest_level(k, &n, 0, start);
}
