/* kernel_matrix.c: a tile on the matrix unit. For every batch element and block of output columns:
 *
 *   for each block of the contracted dimensions: push its weights, swap, stream every row of the tile through the array into its accumulator row
 *   wait for the last products; for every row: read, finish (bias, activation, ...), store
 *
 * The first block overwrites the accumulators, so its code stands apart from that of the others (peeled). When reduction tiles share accumulators,
 * INIT sets them to +0 by multiplying with an empty array, and every block adds. */
#include "kernel.h"

#include <assert.h>

enum { ACC_UNROLL = 4 };

struct matrix {
	enum kernel_mode mode;
	int contract;
	struct level k_levels[MAX_DIMS];
	struct level m_levels[MAX_DIMS];
	uint32_t n_k, n_m;
	vreg acc;               /* accumulator row where the row loops stand */
	uint32_t k_rows, cols;  /* present rows and columns of the weights */
	bool overwrite;
	vreg zero;
};

static uint32_t sublanes(const struct kernel *k)
{
	return k->f->chip->sublanes;
}

static enum tg_opcode typed(enum tg_opcode f32, enum tg_array_type t)
{
	return (enum tg_opcode)((int)f32 + (int)t); /* isa.def lists pushes and multiplies in the order of enum tg_array_type */
}

static enum tg_opcode load_of(enum tg_dtype t)
{
	return t == TG_f16 ? TG_I_vld_f16 : t == TG_bf16 ? TG_I_vld_bf16 : t == TG_i8 ? TG_I_vld_i8 : t == TG_u8 ? TG_I_vld_u8 : TG_I_vld_f32;
}

/* ---- weights ---------------------------------------------------------------------------------------------------------- */

static bool rhs_is_data(const struct kernel *k)
{
	return k->p->rhs >= 0 && !k->p->operand[k->p->rhs].constant;
}

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

/* Weights of the block at the pointers: k_rows of the contracted dimension times cols columns, S registers' rows at a time. */
static void push_weights(struct kernel *k, struct matrix *x, const struct point *at)
{
	const struct operand *o = rhs_is_data(k) ? &k->p->operand[k->p->rhs] : NULL;
	bool transposed = o && k->p->transposed;
	uint32_t along = transposed ? x->cols : x->k_rows, across = transposed ? x->k_rows : x->cols;
	enum tg_opcode push = typed(TG_I_push_f32, weight_type(k));
	vreg from = { 0 }, stride = { 0 }, next = { 0 }, fixed = { 0 };
	if (o) {
		int64_t imm, bytes = elem_bytes(o->sram_dtype), row = k->dim[transposed ? k->lane : x->contract].step[k->p->rhs] * bytes;
		vreg base;
		kernel_address(k, (uint32_t)k->p->rhs, at, &imm, &base);
		from = mreg(k->f, CLASS_S);
		EMIT(&k->at, saddi, R(from), R(base), imm);
		stride = kernel_scalar(k, row);
		next = kernel_scalar(k, row * sublanes(k));
	} else {
		fixed = constant_weight(k);
	}
	for (uint32_t g = 0; g * sublanes(k) < along; g++) {
		uint32_t rows = along - g * sublanes(k) < sublanes(k) ? along - g * sublanes(k) : sublanes(k);
		vreg extent = kernel_extent(k, rows, across), v = fixed;
		if (o) {
			v = mreg(k->f, CLASS_V);
			k->at.mem = o->mem;
			memit(&k->at, load_of(o->sram_dtype), (const int64_t[]){ R(v), R(from), 0, R(stride), 0, R(extent), 0, 0, 1, R(next) }, 10);
			k->at.mem = MEM_NONE;
		}
		memit(&k->at, push, (const int64_t[]){ 0, R(v), 0, g, R(extent), 0, transposed }, 7);
	}
	EMIT(&k->at, swap, 0);
}

/* ---- rows through the array ---------------------------------------------------------------------------------------------- */

static void multiply_leaf(struct kernel *k, struct point *pts, uint32_t n_pts, void *user)
{
	struct matrix *x = user;
	const struct operand *o = &k->p->operand[k->p->lhs];
	enum tg_opcode mul = typed(TG_I_mul_f32, k->p->array);
	int64_t bytes = elem_bytes(o->sram_dtype);
	vreg stride = kernel_scalar(k, k->row == NO_DIM ? 0 : k->dim[k->row].step[k->p->lhs] * bytes);
	for (uint32_t i = 0; i < n_pts; i++) {
		vreg v = x->zero;
		if (x->mode != KERNEL_INIT) {
			int64_t imm;
			vreg base;
			kernel_address(k, (uint32_t)k->p->lhs, &pts[i], &imm, &base);
			v = o->constant ? kernel_load(k, (uint32_t)k->p->lhs, &pts[i]) : mreg(k->f, CLASS_V);
			k->at.mem = o->mem;
			if (!o->constant)
				memit(&k->at, load_of(o->sram_dtype),
				      (const int64_t[]){ R(v), R(base), imm, R(stride), 0, R(kernel_extent(k, pts[i].rows, x->k_rows)), 0, 0, 1, 0 }, 10);
			k->at.mem = MEM_NONE;
		}
		memit(&k->at, mul, (const int64_t[]){ 0, R(v), R(x->acc), (int64_t)i * sublanes(k), pts[i].rows, !x->overwrite }, 6);
	}
	EMIT(&k->at, saddi, R(x->acc), R(x->acc), (int64_t)n_pts * sublanes(k));
}

static void all_rows(struct kernel *k, struct matrix *x, const struct point *at, leaf_fn *leaf, uint32_t unroll)
{
	struct point start = *at;
	start.rows = k->row == NO_DIM ? 1 : sublanes(k);
	EMIT(&k->at, smov, R(x->acc), 0);
	kernel_nest(k, x->m_levels, x->n_m, unroll, &start, leaf, x);
}

static void one_block(struct kernel *k, struct matrix *x, const struct point *at, uint32_t rows, bool first)
{
	x->k_rows = rows;
	x->overwrite = first;
	push_weights(k, x, at);
	all_rows(k, x, at, multiply_leaf, ACC_UNROLL);
}

/* Level i of the contracted dimensions at the pointers; `first`: this iteration holds the very first block, which overwrites. */
static void contract_level(struct kernel *k, struct matrix *x, uint32_t i, const struct point *at, uint32_t rows, bool first)
{
	if (i == x->n_k) {
		one_block(k, x, at, rows, first);
		return;
	}
	const struct level *l = &x->k_levels[i];
	const struct kdim *d = &k->dim[l->dim];
	bool blocks = l->dim == x->contract;
	int64_t full = d->n / l->block, tail = d->n % l->block, done = 0;
	uint32_t block_rows = blocks ? (uint32_t)l->block : rows;
	if (first && full) {
		contract_level(k, x, i + 1, at, block_rows, true);
		if (full > 1 || tail)
			kernel_advance(k, d, l->block);
		done = full > 1 || tail ? 1 : 0;
	}
	int64_t rest = first && full ? full - 1 : full;
	if (rest) {
		struct mcursor outer = k->at;
		if (rest > 1)
			k->at = mloop(&outer, kernel_scalar(k, rest));
		contract_level(k, x, i + 1, at, block_rows, false);
		kernel_advance(k, d, l->block);
		if (rest > 1)
			k->at = outer;
		done += rest;
	}
	if (tail)
		contract_level(k, x, i + 1, at, (uint32_t)tail, first && !full);
	if (done)
		kernel_advance(k, d, -done * l->block);
}

/* ---- epilogue ---------------------------------------------------------------------------------------------------------------- */

static void finish_leaf(struct kernel *k, struct point *pts, uint32_t n_pts, void *user)
{
	struct matrix *x = user;
	const struct tg_stage *s = k->p->stage;
	for (uint32_t i = 0; i < n_pts; i++) {
		vreg *of = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *of), acc = mreg(k->f, CLASS_V);
		EMIT(&k->at, mrd, R(acc), 0, R(x->acc), (int64_t)i * sublanes(k), pts[i].rows);
		kernel_eval(k, k->in_post, &pts[i], acc, of);
		kernel_store(k, k->p->n_ops, &pts[i], of[s->outs[0].value.id - 1], s->nodes[s->outs[0].value.id - 1].dtype);
	}
	EMIT(&k->at, saddi, R(x->acc), R(x->acc), (int64_t)n_pts * sublanes(k));
}

static uint32_t finish_copies(const struct kernel *k)
{
	uint32_t n = k->post_nodes <= 6 ? 4 : k->post_nodes <= 16 ? 2 : 1;
	return n < k->unroll ? n : k->unroll ? k->unroll : 1;
}

/* One column block of one batch element. */
static void block_leaf(struct kernel *k, struct point *pts, uint32_t n_pts, void *user)
{
	struct matrix *x = user;
	assert(n_pts == 1);
	(void)n_pts;
	x->cols = pts[0].lanes;
	if (x->mode == KERNEL_INIT) {
		x->zero = kernel_vector(k, 0);
		x->overwrite = true;
		EMIT(&k->at, swap, 0);
		all_rows(k, x, &pts[0], multiply_leaf, ACC_UNROLL);
		return;
	}
	if (x->mode != KERNEL_FINISH)
		contract_level(k, x, 0, &pts[0], 0, x->mode == KERNEL_WHOLE);
	if (x->mode == KERNEL_ACCUMULATE)
		return;
	EMIT(&k->at, idle, k->f->chip->latency.multiply_read);
	all_rows(k, x, &pts[0], finish_leaf, finish_copies(k));
}

/* ---- dimensions ------------------------------------------------------------------------------------------------------------------ */

static uint64_t bit(int i)
{
	return i < 0 ? 0 : UINT64_C(1) << i;
}

/* Contracted dimensions concern the two factors only. */
static void fold_contracted(struct kernel *k, struct matrix *x)
{
	x->contract = kernel_fold(k, x->contract, bit(k->p->lhs) | bit(k->p->rhs));
}

static void fold_rows(struct kernel *k, struct matrix *x)
{
	k->row = kernel_fold(k, k->row, ~bit(k->p->rhs));
	x->contract = NO_DIM; /* folding has renumbered it */
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_K && (x->contract == NO_DIM || k->dim[d].step[k->p->lhs] == 1))
			x->contract = (int)d;
}

void kernel_matrix_path(struct kernel *k, enum kernel_mode mode)
{
	struct matrix x = { .mode = mode, .contract = k->p->contract, .acc = mreg(k->f, CLASS_S) };
	k->live[k->p->lhs] |= !k->p->operand[k->p->lhs].constant;
	fold_contracted(k, &x);
	fold_rows(k, &x);
	struct level outer[MAX_DIMS];
	uint32_t n_outer = 0;
	for (uint32_t d = 0; d < k->n_dims; d++) {
		if (k->dim[d].role == ROLE_K && (int)d != x.contract)
			x.k_levels[x.n_k++] = (struct level){ (int)d, 1 };
		else if (k->dim[d].role == ROLE_M && (int)d != k->row)
			x.m_levels[x.n_m++] = (struct level){ (int)d, 1 };
		else if ((k->dim[d].role == ROLE_N || k->dim[d].role == ROLE_BATCH) && (int)d != k->lane)
			outer[n_outer++] = (struct level){ (int)d, 1 };
	}
	x.k_levels[x.n_k++] = (struct level){ x.contract, k->f->chip->array_rows };
	if (k->row != NO_DIM)
		x.m_levels[x.n_m++] = (struct level){ k->row, sublanes(k) };
	outer[n_outer++] = (struct level){ k->lane, k->f->chip->array_cols };
	struct point start = { .rows = 1, .lanes = 1 };
	kernel_nest(k, outer, n_outer, 1, &start, block_leaf, &x);
}
