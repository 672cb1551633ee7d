/* plan.c: path, lanes, rows, tile sizes and SRAM places of one stage.
 *
 * Candidates are every pair of dimensions for lanes and rows on the vector slots, and the matrix unit with either operand stationary, each with neighbours
 * side by side or without. Each is tiled (plan_tile.c) and the cheapest (plan_cost.c) wins. */
#include "plan_int.h"

/* What chunks must gain: the prediction does not know everything, least of all where DRAM is busy and stages fetch for each other. */
static double worth_streaming(const struct plan *p)
{
	bool many_rows = p->row != NO_DIM && p->tile[p->row] >= p->chip->array_rows;
	return p->dram_idle * 4 > p->cost ? 1.01 : many_rows ? 1.05 : 1.25;
}

static void consider(const struct plan *candidate, struct plan *best, bool *have)
{
	if (*have && best->cost <= candidate->cost)
		return;
	*best = *candidate;
	*have = true;
}

static bool lanes_fit(struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		p->tile[d] = p->extent[d];
	return plan_place_all(p) && plan_steps_fit(p);
}

/* Few channels leave lanes unused: those of neighbours lie beside them, where a window's loop takes it. */
static void neighbours_in_lanes(const struct plan *p, int lane, uint64_t base, struct plan *best, bool *have)
{
	struct plan leader = { 0 };
	bool found = false;
	if (p->plain || lane == NO_DIM || p->extent[lane] % p->chip->lanes == 0 || p->stage->n_reds != 1)
		return;
	for (uint32_t d = 0; d < p->n_dims; d++)
		for (int64_t n = 2; n <= MOST_PIXELS && (int)d != lane; n++) {
			struct plan t = *p;
			t.path = PATH_VECTOR;
			t.lane = lane;
			if (!plan_side_by_side(&t, d, n))
				continue;
			for (int row = NO_DIM; row < (int)p->n_dims; row++) {
				struct plan one = t;
				struct window w;
				one.row = row;
				if (row == lane || (row != NO_DIM && p->role[row] != ROLE_PARALLEL) || !lanes_fit(&one) || !window_choose(&one, MOST_NEIGHBOURS, &w))
					continue;
				one.n_loops = 0;
				one.cost = plan_cost(&one);
				consider(&one, &leader, &found);
			}
		}
	if (found && plan_search_tile(&leader, base))
		consider(&leader, best, have);
}

static void vector_candidates(const struct plan *p, uint64_t base, struct plan *best, bool *have)
{
	struct plan *t = &(struct plan){ 0 };
	struct plan leader = { 0 };
	bool found = false;
	for (int lane = NO_DIM; lane < (int)p->n_dims; lane++) {
		for (int row = NO_DIM; row < (int)p->n_dims; row++) {
			if ((row != NO_DIM && (row == lane || p->role[row] != ROLE_PARALLEL)) || (lane == NO_DIM && row == NO_DIM && p->n_dims))
				continue;
			*t = *p;
			t->path = PATH_VECTOR;
			t->lane = lane;
			t->row = row;
			if (!lanes_fit(t))
				continue;
			t->n_loops = 0;
			t->cost = plan_cost(t);
			consider(t, &leader, &found);
		}
	}
	if (!found) {
		*t = *p;
		if (!lanes_fit(t))
			return;
		leader = *t;
	}
	if (plan_search_tile(&leader, base))
		consider(&leader, best, have);
	if (found)
		neighbours_in_lanes(p, leader.lane, base, best, have);
}

/* What an operand's elements are when they meet the others: its own type, or what the stage rounds it to. */
static enum tg_dtype factor_type(const struct plan *p, int operand)
{
	struct tg_factor f[2];
	bool is = tg_stage_product(p->stage, f);
	for (int i = 0; is && i < 2; i++)
		if (f[i].in == operand && f[i].round != TG_none)
			return f[i].round;
	return p->operand[operand].dtype;
}

static bool array_of(struct plan *p, int a, int b)
{
	enum tg_dtype x = factor_type(p, a), y = b == -2 ? x : factor_type(p, b);
	enum tg_dtype node = p->stage->nodes[p->stage->reds[0].value.id - 1].dtype;
	if (node == TG_i32)
		p->array = x == TG_u8 ? TG_ARRAY_u8 : TG_ARRAY_i8;
	else
		p->array = x == TG_f16 && y == TG_f16 ? TG_ARRAY_f16 : x == TG_bf16 && y == TG_bf16 ? TG_ARRAY_bf16 : TG_ARRAY_f32;
	if (p->chip->rate_num[p->array] == 0 && node == TG_f32)
		p->array = TG_ARRAY_f32;
	if (p->array == TG_ARRAY_f32 && (x != p->operand[a].dtype || (b != -2 && y != p->operand[b].dtype)))
		return false; /* this array would not round what the stage says is rounded */
	if (node == TG_i32 && ((x != TG_i8 && x != TG_u8) || (y != TG_i8 && y != TG_u8)))
		return false;
	return p->chip->rate_num[p->array] != 0;
}

static bool set_roles(struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++) {
		bool l = depends(&p->operand[p->lhs], d), r = p->rhs >= 0 && depends(&p->operand[p->rhs], d);
		bool spread = p->rhs < 0 || p->operand[p->rhs].constant; /* a weight that is the same everywhere spans every dimension */
		if (p->role[d] == ROLE_REDUCE) {
			if (!l || (!r && !spread))
				return false;
			p->role[d] = ROLE_K;
		} else {
			p->role[d] = l && r ? ROLE_BATCH : l ? ROLE_M : ROLE_N;
		}
	}
	return true;
}

/* The dimension of a role that moves fastest through operand o. */
static int fastest(const struct plan *p, const struct operand *o, enum role role)
{
	int best = NO_DIM;
	int64_t least = INT64_MAX;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++) {
			int64_t s = magnitude(o->comp[i].stride * o->comp[i].term[k].coef);
			if (p->role[o->comp[i].term[k].dim] == role && s < least) {
				least = s;
				best = (int)o->comp[i].term[k].dim;
			}
		}
	return best;
}

/* Weights whose contracted index is contiguous are pushed transposed. */
static bool is_transposed(const struct plan *t)
{
	const struct operand *w = &t->operand[t->rhs >= 0 ? t->rhs : 0];
	int64_t k = INT64_MAX, n = INT64_MAX;
	if (t->rhs < 0 || w->constant || fastest(t, w, ROLE_K) != t->contract || !w->n_comps || fastest(t, w, ROLE_N) == NO_DIM)
		return false;
	for (uint32_t i = 0; i < w->n_comps; i++) {
		if (mentions(&w->comp[i], t->contract))
			k = magnitude(w->comp[i].stride);
		if (mentions(&w->comp[i], t->lane))
			n = magnitude(w->comp[i].stride);
	}
	return k < n;
}

/* Share of the sublanes that hold rows when dimension d lies in them. */
static double rows_used(const struct plan *p, int d)
{
	int64_t s = p->chip->sublanes;
	return (double)p->extent[d] / (double)(ceil_div(p->extent[d], s) * s);
}

/* The contracted dimension in two chunks or more. */
static void chunked(const struct plan *t, uint64_t base, struct plan *best, bool *have)
{
	int64_t extent = t->extent[t->contract];
	if (t->pixels || t->plain || t->chunking == TG_CHUNKS_NEVER)
		return;
	for (int64_t chunk = t->chip->array_rows; 2 * chunk <= extent; chunk *= 2) {
		struct plan one = *t;
		if (extent % (2 * chunk))
			continue;
		one.chunks = extent / chunk;
		if (!plan_search_tile(&one, base))
			continue;
		one.cost *= t->chunking == TG_CHUNKS_ALWAYS ? 1e-6 : 1; /* the winner's is computed again */
		if (!*have || one.cost * worth_streaming(&one) < best->cost)
			consider(&one, best, have);
	}
}

/* Sums in tiles are for saving work or transfers, by so much at least. Smaller first tiles alone are no reason: what is fetched ahead hides much of those. */
#define SUMS_SAVE 1.01

/* Every dimension that fills the sublanes better than the fastest one does is tried for the rows, too. */
static void matrix_rows(struct plan *t, uint64_t base, struct plan *best, bool *have)
{
	const struct operand *out = &t->operand[t->n_ops];
	int first = fastest(t, out, ROLE_M);
	for (int d = NO_DIM; d < (int)t->n_dims; d++) {
		struct plan one = *t;
		if (d != NO_DIM && (first == NO_DIM || d == first || t->role[d] != ROLE_M || !depends(out, (uint32_t)d) || rows_used(t, d) <= rows_used(t, first)))
			continue;
		one.row = d == NO_DIM ? first : d;
		if (!lanes_fit(&one))
			continue;
		struct plan whole = one; /* sums in one piece first: tiling them constrains every other dimension */
		whole.whole_sums = true;
		bool found = plan_search_tile(&whole, base);
		if (found)
			consider(&whole, best, have);
		if ((!found || whole.n_loops) && !one.pixels && plan_search_tile(&one, base) && (!found || one.bulk * SUMS_SAVE < whole.bulk))
			consider(&one, best, have);
		chunked(&one, base, best, have);
	}
}

/* pixels: neighbours along the fastest moving dimension that share the array; 1: none. */
static void matrix_candidate(const struct plan *p, int lhs, int rhs, int64_t pixels, uint64_t base, struct plan *best, bool *have)
{
	struct plan t = *p;
	t.path = PATH_MATRIX;
	t.lhs = lhs;
	t.rhs = rhs;
	if (lhs < 0 || !array_of(&t, lhs, rhs))
		return;
	if (pixels > 1) {
		struct plan roles = t;
		int d = set_roles(&roles) ? fastest(&roles, &roles.operand[roles.n_ops], ROLE_M) : NO_DIM;
		if (d == NO_DIM || !plan_pixels(&t, (uint32_t)d, pixels))
			return;
	}
	if (!set_roles(&t))
		return;
	if (t.pixels)
		t.role[t.pixel_dim] = ROLE_BATCH; /* for a moment: it is not the lane */
	t.contract = fastest(&t, &t.operand[lhs], ROLE_K);
	t.lane = fastest(&t, &t.operand[t.n_ops], ROLE_N);
	if (t.pixels)
		t.role[t.pixel_dim] = ROLE_N;
	if (t.contract == NO_DIM || t.lane == NO_DIM)
		return;
	t.transposed = is_transposed(&t);
	if (t.pixels && (t.transposed || !plan_repeat_columns(&t)))
		return;
	matrix_rows(&t, base, best, have);
}

/* Few columns leave a part of the array unused: neighbours share it. */
static void pixel_candidates(const struct plan *p, int lhs, int rhs, uint64_t base, struct plan *best, bool *have)
{
	if (p->plain || rhs < 0 || p->operand[rhs].constant)
		return;
	for (int64_t n = 2; n <= MOST_PIXELS; n++)
		matrix_candidate(p, lhs, rhs, n, base, best, have);
}

/* The operands of `sum of a * b`; -2 for a constant. */
static bool product(const struct plan *p, int *a, int *b)
{
	const struct tg_stage *s = p->stage;
	struct tg_factor f[2];
	if (!tg_stage_product(s, f))
		return false;
	enum tg_dtype t = (enum tg_dtype)s->nodes[s->reds[0].value.id - 1].dtype;
	*a = f[0].in < 0 ? -2 : f[0].in;
	*b = f[1].in < 0 ? -2 : f[1].in;
	return *a != *b && (t == TG_f32 || t == TG_i32);
}

const char *plan_choose(struct plan *p, uint64_t sram_base, uint64_t sram_limit)
{
	p->sram_limit = sram_limit;
	struct plan best = { 0 };
	bool have = false;
	int a, b;
	if (product(p, &a, &b)) {
		matrix_candidate(p, a, b, 1, sram_base, &best, &have);
		matrix_candidate(p, b, a, 1, sram_base, &best, &have);
		pixel_candidates(p, a, b, sram_base, &best, &have);
		pixel_candidates(p, b, a, sram_base, &best, &have);
	}
	vector_candidates(p, sram_base, &best, &have);
	if (!have)
		return "no tile of it fits the chip's SRAM";
	*p = best;
	plan_is_legal(p, sram_base);
	p->cost = plan_cost(p);
	return NULL;
}
