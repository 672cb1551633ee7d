/* kernel_vector.c: a tile on the vector slots: for every block of rows and lanes, reduce over the reduction dimensions, then finish and store.
 *
 * Reductions are tiled by keeping partial results in SRAM: INIT writes identities, ACCUMULATE combines, FINISH computes the output. */
#include "kernel.h"

#include <string.h>

enum { MAX_UNROLLED_REDUCTION = 16, MAX_LEAF_NODES = 160 };

struct reduce {
	enum kernel_mode mode;
	struct point *pts;    /* parallel points of this leaf */
	uint32_t n_pts;
	vreg acc[MAX_POINTS];
};

static const struct tg_reduction *reduction(const struct kernel *k)
{
	return k->p->stage->n_reds ? &k->p->stage->reds[0] : NULL;
}

static bool reduces_bool(const struct kernel *k)
{
	return k->p->stage->nodes[reduction(k)->value.id - 1].dtype == TG_bool;
}

/* Of the accumulator: truth values are reduced as 0 and 1 of i32. */
static enum tg_dtype red_type(const struct kernel *k)
{
	return reduces_bool(k) ? TG_i32 : (enum tg_dtype)k->p->stage->nodes[reduction(k)->value.id - 1].dtype;
}

static bool lane_is_reduced(const struct kernel *k)
{
	return k->lane != NO_DIM && k->dim[k->lane].role == ROLE_REDUCE;
}

/* Lanes that lie past the extent, and points past the end of a ragged reduction tile, must not count. */
static vreg masked(struct kernel *k, const struct point *pt, vreg v)
{
	enum tg_dtype t = red_type(k);
	vreg identity = { 0 };
	if (lane_is_reduced(k) && pt->lanes < k->f->chip->lanes) {
		vreg m = mreg(k->f, CLASS_M), out = mreg(k->f, CLASS_V);
		identity = kernel_identity(k, reduction(k)->combine, t);
		EMIT(&k->at, mext, R(m), R(kernel_extent(k, pt->rows, pt->lanes)));
		EMIT(&k->at, vsel, R(out), R(m), R(v), R(identity));
		v = out;
	}
	for (uint32_t d = 0; d < k->n_dims; d++) {
		int pd = k->dim[d].plan_dim;
		if (k->dim[d].role != ROLE_REDUCE || pd == NO_DIM || k->p->extent[pd] % k->p->tile[pd] == 0)
			continue;
		vreg at = mreg(k->f, CLASS_V), m = mreg(k->f, CLASS_M), out = mreg(k->f, CLASS_V), s = mreg(k->f, CLASS_S);
		EMIT(&k->at, saddi, R(s), R(k->index[d]), pt->delta[d]);
		EMIT(&k->at, vsplat, R(at), R(s));
		if ((int)d == k->lane) {
			vreg sum = mreg(k->f, CLASS_V), number = mreg(k->f, CLASS_V);
			EMIT(&k->at, xlane, R(number));
			EMIT(&k->at, vadd_i32, R(sum), R(at), R(number));
			at = sum;
		}
		EMIT(&k->at, vlt_i32, R(m), R(at), R(kernel_vector(k, (uint32_t)k->p->extent[pd])));
		EMIT(&k->at, vsel, R(out), R(m), R(v), R(kernel_identity(k, reduction(k)->combine, t)));
		v = out;
	}
	return v;
}

static bool is_ragged(const struct kernel *k, const struct point *pt)
{
	if (lane_is_reduced(k) && pt->lanes < k->f->chip->lanes)
		return true;
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_REDUCE && k->dim[d].plan_dim != NO_DIM &&
		    k->p->extent[k->dim[d].plan_dim] % k->p->tile[k->dim[d].plan_dim])
			return true;
	return false;
}

static void accumulate(struct kernel *k, const struct point *pt, vreg acc)
{
	const struct tg_stage *s = k->p->stage;
	const struct tg_reduction *r = reduction(k);
	const struct tg_node *v = &s->nodes[r->value.id - 1];
	vreg *of = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *of);
	if (r->combine == TG_SUM && v->op == TG_X_mul && v->dtype == TG_f32 && !is_ragged(k, pt)) {
		k->in_body[r->value.id - 1] = false; /* the product is part of the fused multiply-add */
		kernel_eval(k, k->in_body, pt, (vreg){ 0 }, of);
		k->in_body[r->value.id - 1] = true;
		EMIT(&k->at, vfma_f32, R(acc), R(of[v->a.id - 1]), R(of[v->b.id - 1]), R(acc));
		return;
	}
	kernel_eval(k, k->in_body, pt, (vreg){ 0 }, of);
	vreg value = of[r->value.id - 1];
	value = reduces_bool(k) ? kernel_from_mask(k, value, 1) : value;
	kernel_combine(k, acc, acc, r->combine, red_type(k), masked(k, pt, value));
}

/* Reduction points times parallel points in one basic block. */
static void reduce_leaf(struct kernel *k, struct point *rpts, uint32_t n_rpts, void *user)
{
	struct reduce *r = user;
	for (uint32_t j = 0; j < n_rpts; j++)
		for (uint32_t i = 0; i < r->n_pts; i++) {
			struct point pt = r->pts[i];
			for (uint32_t d = 0; d < k->n_dims; d++)
				pt.delta[d] += rpts[j].delta[d];
			if (lane_is_reduced(k))
				pt.lanes = rpts[j].lanes;
			accumulate(k, &pt, r->acc[i]);
		}
}

static void cross_lane(struct kernel *k, vreg acc)
{
	static const enum tg_opcode f32[TG_N_COMBINES] = { [TG_SUM] = TG_I_xadd_f32, [TG_PROD] = TG_I_xmul_f32, [TG_MAX] = TG_I_xmax_f32, [TG_MIN] = TG_I_xmin_f32 };
	static const enum tg_opcode i32[TG_N_COMBINES] = { [TG_SUM] = TG_I_xadd_i32, [TG_PROD] = TG_I_xmul_i32, [TG_MAX] = TG_I_xmax_i32, [TG_MIN] = TG_I_xmin_i32 };
	uint8_t c = reduction(k)->combine;
	enum tg_dtype t = red_type(k);
	bool by_order = c == TG_MAX || c == TG_MIN;
	vreg sign = { 0 };
	if (t == TG_u32 && by_order) { /* unsigned order is signed order with the top bit flipped */
		sign = kernel_vector(k, 0x80000000u);
		EMIT(&k->at, vxor, R(acc), R(acc), R(sign));
	}
	memit(&k->at, t == TG_f32 ? f32[c] : i32[c], (const int64_t[]){ R(acc), R(acc), 0 }, 3);
	if (t == TG_u32 && by_order)
		EMIT(&k->at, vxor, R(acc), R(acc), R(sign));
}

static void reduce_points(struct kernel *k, struct reduce *r)
{
	struct level levels[MAX_DIMS];
	uint32_t n = 0;
	/* Long dimensions outside; the innermost is unrolled. */
	for (uint32_t d = 0; d < k->n_dims; d++) {
		if (k->dim[d].role != ROLE_REDUCE)
			continue;
		struct level l = { (int)d, (int)d == k->lane ? k->f->chip->lanes : 1 };
		uint32_t i = n++;
		for (; i > 0 && k->dim[levels[i - 1].dim].n / levels[i - 1].block < k->dim[d].n / l.block; i--)
			levels[i] = levels[i - 1];
		levels[i] = l;
	}
	uint32_t unroll = MAX_LEAF_NODES / (k->body_nodes * r->n_pts + 1);
	unroll = unroll > MAX_UNROLLED_REDUCTION ? MAX_UNROLLED_REDUCTION : unroll ? unroll : 1;
	kernel_nest(k, levels, n, k->unroll ? unroll : 1, &(struct point){ 0 }, reduce_leaf, r);
}

static vreg partial(struct kernel *k, const struct point *pt, bool store, vreg v)
{
	int64_t imm;
	vreg base;
	kernel_address(k, PARTIAL, pt, &imm, &base);
	int64_t rows = k->row == NO_DIM ? 0 : k->dim[k->row].step[PARTIAL] * 4;
	bool lanes = k->lane != NO_DIM && !lane_is_reduced(k);
	vreg stride = kernel_scalar(k, rows), extent = kernel_extent(k, pt->rows, lanes ? pt->lanes : store ? 1 : k->f->chip->lanes);
	k->at.mem = PARTIAL;
	if (store) {
		EMIT(&k->at, vst_f32, R(v), R(base), imm, R(stride), 0, R(extent), 0, lanes, 0);
	} else {
		v = mreg(k->f, CLASS_V);
		EMIT(&k->at, vld_f32, R(v), R(base), imm, R(stride), 0, R(extent), 0, 0, lanes, 0);
	}
	k->at.mem = MEM_NONE;
	return v;
}

static void finish(struct kernel *k, const struct point *pt, vreg acc)
{
	const struct tg_stage *s = k->p->stage;
	vreg *of = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *of);
	kernel_eval(k, k->in_post, pt, reduction(k) && reduces_bool(k) ? kernel_as_mask(k, acc) : acc, of);
	struct point to = *pt;
	if (k->lane == NO_DIM || lane_is_reduced(k))
		to.lanes = 1;
	kernel_store(k, k->p->n_ops, &to, of[s->outs[0].value.id - 1], s->nodes[s->outs[0].value.id - 1].dtype);
}

static void parallel_leaf(struct kernel *k, struct point *pts, uint32_t n_pts, void *user)
{
	const enum kernel_mode mode = *(const enum kernel_mode *)user;
	const struct tg_reduction *red = reduction(k);
	struct reduce r = { mode, pts, n_pts, { { 0 } } };
	for (uint32_t i = 0; red && i < n_pts; i++) {
		r.acc[i] = mreg(k->f, CLASS_V);
		EMIT(&k->at, vmov, R(r.acc[i]), R(kernel_identity(k, red->combine, red_type(k))));
		if (mode == KERNEL_INIT)
			partial(k, &pts[i], true, r.acc[i]);
	}
	if (mode == KERNEL_INIT)
		return;
	if (red && mode != KERNEL_FINISH) {
		reduce_points(k, &r);
		for (uint32_t i = 0; i < n_pts && lane_is_reduced(k); i++)
			cross_lane(k, r.acc[i]);
	}
	for (uint32_t i = 0; i < n_pts; i++) {
		if (mode == KERNEL_ACCUMULATE || mode == KERNEL_FINISH)
			kernel_combine(k, r.acc[i], r.acc[i], red->combine, red_type(k), partial(k, &pts[i], false, (vreg){ 0 }));
		if (mode == KERNEL_ACCUMULATE)
			partial(k, &pts[i], true, r.acc[i]);
		else
			finish(k, &pts[i], r.acc[i]);
	}
}

static uint32_t copies(const struct kernel *k)
{
	uint32_t nodes = k->body_nodes + k->post_nodes;
	uint32_t n = nodes <= 4 ? 8 : nodes <= 12 ? 4 : nodes <= 30 ? 2 : 1;
	if (k->f->chip->n_vregs < 64)
		n = n > 1 ? n / 2 : 1;
	return n < k->unroll ? n : k->unroll ? k->unroll : 1;
}

void kernel_vector_path(struct kernel *k, enum kernel_mode mode)
{
	uint64_t all = ~UINT64_C(0);
	struct window w;
	int64_t most = k->unroll / 2 < MOST_NEIGHBOURS ? k->unroll / 2 : MOST_NEIGHBOURS; /* fewer where registers did not suffice */
	if (mode == KERNEL_WHOLE && window_choose(k->p, most, &w)) {
		kernel_window_path(k, &w);
		return;
	}
	k->lane = kernel_fold(k, k->lane, all);
	k->row = kernel_fold(k, k->row, all);
	struct level levels[MAX_DIMS];
	uint32_t n = 0, widest = 0;
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_PARALLEL) {
			int64_t block = (int)d == k->lane ? k->f->chip->lanes : (int)d == k->row ? k->f->chip->sublanes : 1;
			levels[n++] = (struct level){ (int)d, block };
			if (k->dim[d].n / block > k->dim[levels[widest].dim].n / levels[widest].block)
				widest = n - 1;
		}
	if (n) { /* the level with the most blocks goes inside, where it is unrolled */
		struct level l = levels[widest];
		memmove(&levels[widest], &levels[widest + 1], (n - widest - 1) * sizeof l);
		levels[n - 1] = l;
	}
	struct point start = { .rows = 1, .lanes = lane_is_reduced(k) ? k->f->chip->lanes : 1 };
	kernel_nest(k, levels, n, copies(k), &start, parallel_leaf, &mode);
}
