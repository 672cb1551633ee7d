/* plan_tile.c: tile sizes of one candidate.
 *
 * The dimension whose halving costs the fewest predicted cycles is halved until the tile fits SRAM and accumulators; then tiles are halved and doubled as
 * long as that is cheaper, from the tile found and from each dimension halved first.
 *
 * Traffic of a product of M x N results over K in tiles of m x n results is M N K (1 / m + 1 / n) elements, whatever the tile of K. With sums in one piece SRAM must hold K (m + n) elements, so
 * that m and n fall with K; with sums in tiles the accumulators bound m n and SRAM holds results and a few rows and columns of each factor. */
#include "plan_int.h"

enum { MAX_REFINEMENTS = 40 };
#define LEAST_GAIN 0.005

/* Tiled dimensions: parallel ones outside, reductions inside, so that partial sums stay; among the parallel ones the weights' dimension outermost. */
static void order_loops(struct plan *p)
{
	p->n_loops = 0;
	for (int pass = 0; pass < 3; pass++)
		for (uint32_t d = 0; d < p->n_dims; d++) {
			int rank = is_reduction(p, d) ? 2 : p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH ? 0 : 1;
			if (rank == pass && p->tile[d] < p->extent[d] && !is_chunked(p, d))
				p->loop_order[p->n_loops++] = (int)d;
		}
}

/* Accumulator rows: of one block of columns, or, where they must survive from one reduction tile to the next, of all. */
static uint32_t rows_needed(const struct plan *p)
{
	int64_t rows = p->row == NO_DIM ? p->chip->sublanes : 1, whole = p->tile[p->lane] / p->chip->array_cols;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		int64_t t = p->tile[d];
		if ((int)d == p->row)
			t = ceil_div(t, p->chip->sublanes) * p->chip->sublanes;
		else if ((int)d == p->lane && p->role[d] == ROLE_N) /* an array for each of several blocks; the tail has one of its own */
			t = whole / p->chip->n_arrays + (whole % p->chip->n_arrays > 0) + (t % p->chip->array_cols > 0);
		bool apart = tiles_reduction(p) && (p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH);
		if ((p->role[d] == ROLE_M || apart) && (__builtin_mul_overflow(rows, t, &rows) || rows > UINT32_MAX / 2))
			return UINT32_MAX;
	}
	if (p->chunks && __builtin_mul_overflow(rows, plan_column_blocks(p), &rows))
		return UINT32_MAX;
	return rows > UINT32_MAX ? UINT32_MAX : (uint32_t)rows;
}

/* Sizes of all images; false when they do not fit. */
static bool lay_out(struct plan *p, uint64_t base)
{
	uint64_t at = base;
	if (!plan_place_all(p))
		return false;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		o->place_bytes = whole_lines(o->bytes);
		o->places = 1;
		for (uint32_t l = 0; l < p->n_loops && !o->is_list && !o->direct && plan_prefetches(p); l++)
			if (depends(o, (uint32_t)p->loop_order[l]))
				o->places = 2;
		if (p->chunks && depends(o, (uint32_t)p->contract) && !o->direct)
			o->places = 2;
		at += o->places * o->place_bytes;
	}
	p->partial_bytes = 0;
	if (p->path == PATH_VECTOR && tiles_reduction(p)) {
		struct operand *out = &p->operand[p->n_ops];
		p->partial_bytes = out->bytes / elem_bytes(out->sram_dtype) * 4;
		at += whole_lines(p->partial_bytes);
	}
	p->sram_top = at;
	return at <= p->sram_limit;
}

bool plan_fetches(const struct plan *p, uint32_t i)
{
	if (p->operand[i].constant || p->operand[i].direct)
		return false;
	if (p->operand[i].is_list)
		return true;
	for (uint32_t n = 0; n < p->stage->n_nodes; n++)
		if (p->stage->nodes[n].op == TG_X_arg && (uint32_t)p->stage->nodes[n].k == i)
			return true;
	return false;
}

bool plan_prefetches(const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].is_list)
			return false;
	return p->n_loops > 0;
}

/* ---- legal tiles -------------------------------------------------------------------------------------------------------- */

/* A result's index with several terms is one stretch in the image only when the tile leaves out nothing between: holes would be stored as well. Their
 * number of entries. */
static int64_t holes_in_result(const struct plan *p)
{
	const struct operand *out = &p->operand[p->n_ops];
	int64_t holes = 0;
	for (uint32_t i = 0; i < out->n_comps && !out->direct; i++) {
		int64_t points = 1;
		for (uint32_t k = 0; k < out->comp[i].n; k++)
			points *= p->tile[out->comp[i].term[k].dim];
		if (out->comp[i].n > 1 && points < out->comp[i].len)
			holes += out->comp[i].len - points;
	}
	return holes;
}

bool plan_is_legal(struct plan *p, uint64_t base)
{
	order_loops(p);
	if (!lay_out(p, base) || holes_in_result(p))
		return false;
	struct window w;
	if (p->path == PATH_VECTOR)
		return !p->pixels || window_choose(p, MOST_NEIGHBOURS, &w);
	p->acc_rows = rows_needed(p);
	if (p->chunks && !plan_may_stream(p))
		return false;
	return p->acc_rows <= p->chip->acc_rows;
}

/* What a tile of a dimension is a multiple of while it can: whole blocks of lanes, rows and array. */
static int64_t whole_block(const struct plan *p, uint32_t d)
{
	if ((int)d == p->lane)
		return p->path == PATH_MATRIX ? p->chip->array_cols : p->chip->lanes;
	if ((int)d == p->row)
		return p->chip->sublanes;
	return (int)d == p->contract ? p->chip->array_rows : 1;
}

/* The next smaller tile of a dimension: equal parts, the last one overlapping as little as possible. */
static int64_t smaller(const struct plan *p, uint32_t d)
{
	int64_t n = tiles_of(p, d) * 2, t = ceil_div(p->extent[d], n), block = whole_block(p, d);
	if (t > block)
		t = ceil_div(t, block) * block;
	return t < p->tile[d] ? t : p->tile[d] > 1 ? p->tile[d] / 2 : 1;
}

static bool in_list(const struct plan *p, uint32_t d)
{
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].is_list && depends(&p->operand[i], d))
			return true;
	return false;
}

static bool may_tile(const struct plan *p, uint32_t d)
{
	if (p->pixels && (is_reduction(p, d) || (int)d == p->pixel_dim || (int)d == p->lane))
		return false;
	if (is_reduction(p, d) && (p->whole_sums || p->chunks || p->stage->n_reds == 0 || in_list(p, d)))
		return false;
	return p->tile[d] > 1;
}

/* Excess of the present tile over its limits: what halving must reduce first. */
static double excess(struct plan *p, uint64_t base)
{
	order_loops(p);
	if (!lay_out(p, base) && p->sram_top <= p->sram_limit)
		return 1e30; /* an image beyond all sizes */
	double over = (p->sram_top > p->sram_limit ? (double)(p->sram_top - p->sram_limit) : 0) + (double)holes_in_result(p);
	if (p->path == PATH_MATRIX) {
		p->acc_rows = rows_needed(p);
		over += p->acc_rows > p->chip->acc_rows ? ((double)p->acc_rows - p->chip->acc_rows) * 64 : 0;
		for (uint32_t d = 0; d < p->n_dims && p->chunks; d++)
			over += p->role[d] == ROLE_BATCH ? (double)(p->tile[d] - 1) : 0;
	}
	return over;
}

/* The tile when there are n of them, in equal parts. */
static int64_t one_of(const struct plan *p, uint32_t d, int64_t n)
{
	int64_t t = ceil_div(p->extent[d], n > 0 ? n : 1), block = whole_block(p, d);
	t = t > block ? ceil_div(t, block) * block : t;
	return t < p->extent[d] ? t : p->extent[d];
}

/* A step to a neighbouring tile of dimension d; its cost when it is legal and cheaper than `best`. */
static bool try_step(struct plan *p, uint64_t base, uint32_t d, int64_t tile, double *best)
{
	int64_t old = p->tile[d];
	bool better = false;
	p->tile[d] = tile;
	if (tile != old && plan_is_legal(p, base)) {
		double cost = plan_cost(p);
		better = cost < *best;
		*best = better ? cost : *best;
	}
	p->tile[d] = old;
	return better;
}

/* From a legal tile to cheaper neighbours, as long as there is one. Smaller tiles expose less of the first fetch and the last store, larger ones
 * fetch less often. Reductions keep theirs: their tiles decide how the accumulators are used. */
static void refine_tile(struct plan *p, uint64_t base)
{
	bool finely = p->path == PATH_MATRIX && tiles_reduction(p); /* a third of the columns in the accumulators is more than a quarter */
	for (int round = 0; round < MAX_REFINEMENTS; round++) {
		double best = p->cost * (1 - LEAST_GAIN);
		int pick = NO_DIM;
		int64_t tile = 0;
		for (uint32_t d = 0; d < p->n_dims; d++) {
			if (is_reduction(p, d))
				continue;
			int64_t n = tiles_of(p, d);
			bool may = may_tile(p, d);
			const int64_t steps[] = { may ? smaller(p, d) : p->tile[d], one_of(p, d, (n + 1) / 2), may ? one_of(p, d, n + 1) : p->tile[d], one_of(p, d, n - 1) };
			for (uint32_t i = 0; i < (finely ? 4 : 2); i++)
				if (try_step(p, base, d, steps[i], &best)) {
					pick = (int)d;
					tile = steps[i];
				}
		}
		if (pick == NO_DIM)
			break;
		p->tile[pick] = tile;
		p->cost = best;
	}
	plan_is_legal(p, base);
}

/* The best of what is found from the tile as it is and from each dimension halved first: one step down may hide the way to another. */
static void refine_from_each(struct plan *p, uint64_t base)
{
	struct plan start = *p, best;
	start.cost = plan_cost(&start);
	best = start;
	refine_tile(&best, base);
	for (uint32_t d = 0; d < p->n_dims; d++) {
		*p = start;
		if (!may_tile(p, d) || is_reduction(p, d))
			continue;
		p->tile[d] = smaller(p, d);
		if (!plan_is_legal(p, base))
			continue;
		p->cost = plan_cost(p);
		refine_tile(p, base);
		if (p->cost < best.cost)
			best = *p;
	}
	*p = best;
	plan_is_legal(p, base);
}

/* From the tiles as they are. */
static bool shrink_tile(struct plan *p, uint64_t base)
{
	for (int round = 0; round < 400; round++) {
		if (plan_is_legal(p, base)) {
			refine_from_each(p, base);
			p->cost = plan_cost(p); /* and what else it says of this tile, not of the last one tried */
			return true;
		}
		double before = excess(p, base), best = 0;
		int pick = NO_DIM;
		for (uint32_t d = 0; d < p->n_dims; d++) {
			if (!may_tile(p, d))
				continue;
			int64_t old = p->tile[d];
			p->tile[d] = smaller(p, d);
			double after = excess(p, base), gain = (before - after) / (before + 1);
			double score = gain <= 0 && after > 0 ? plan_cost(p) * 1e6 : plan_cost(p) / (gain > 1e-3 ? gain : 1e-3);
			if (pick == NO_DIM || score < best) {
				pick = (int)d;
				best = score;
			}
			p->tile[d] = old;
		}
		if (pick == NO_DIM)
			return false;
		p->tile[pick] = smaller(p, (uint32_t)pick);
	}
	return false;
}

/* Reduction tiles of equal size, `n` along the innermost contracted dimension, of whole blocks of the array; of the others whole or one at a time. False: there are none such. */
static bool cut_sums(struct plan *p, int64_t n, bool singly)
{
	int64_t t = ceil_div(p->extent[p->contract], n);
	bool others = false;
	t = ceil_div(t, p->chip->array_rows) * p->chip->array_rows;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		bool other = is_reduction(p, d) && (int)d != p->contract && p->extent[d] > 1;
		p->tile[d] = other && singly ? 1 : p->extent[d];
		others |= other;
		if (is_reduction(p, d) && in_list(p, d))
			return false;
	}
	p->tile[p->contract] = t < p->extent[p->contract] ? t : p->extent[p->contract];
	return ceil_div(p->extent[p->contract], t) == n && (!singly || others) && (n > 1 || singly);
}

/* On the matrix unit sums in tiles let the tile of the result be large, and what it reads is read seldom: the size of these tiles decides about all others, so it is chosen first. */
static void search_sums(const struct plan *p, uint64_t base, struct plan *best, bool *found)
{
	int64_t most = ceil_div(p->extent[p->contract], p->chip->array_rows);
	for (int singly = 0; singly < 2; singly++)
		for (int64_t n = 1; n <= most; n *= 2) {
			struct plan t = *p;
			t.whole_sums = true; /* for a moment: they keep their tiles */
			if (!cut_sums(&t, n, singly) || !shrink_tile(&t, base))
				continue;
			t.whole_sums = false;
			if (*found && t.cost >= best->cost)
				continue;
			*best = t;
			*found = true;
		}
}

bool plan_search_tile(struct plan *p, uint64_t base)
{
	struct plan start = *p, best;
	for (uint32_t d = 0; d < p->n_dims; d++)
		p->tile[d] = is_chunked(p, d) ? p->extent[d] / p->chunks : p->extent[d];
	bool found = shrink_tile(p, base);
	if (start.path != PATH_MATRIX || start.whole_sums || start.pixels || start.chunks)
		return found;
	best = *p;
	search_sums(&start, base, &best, &found);
	if (found) {
		*p = best;
		plan_is_legal(p, base);
	}
	return found;
}
