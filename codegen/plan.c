/* plan.c: path, lanes, rows, tile sizes and SRAM places of one stage.
 *
 * Every candidate (a dimension for the lanes and one for the rows, or the matrix unit with either operand stationary) is tiled greedily: the
 * dimension whose halving costs the fewest predicted cycles is halved until the tile fits SRAM and accumulators. The cheapest candidate wins. */
#include "plan.h"

#include <math.h>
#include <string.h>

/* ---- SRAM image of an operand ------------------------------------------------------------------------------------ */

static int64_t magnitude(int64_t x)
{
	return x < 0 ? -x : x;
}

static int64_t image_len(const struct plan *p, const struct comp *c)
{
	int64_t len = 1;
	if (c->gather >= 0 || c->n == 1) {
		for (uint32_t i = 0; i < c->n; i++)
			len *= p->tile[c->term[i].dim];
		return len;
	}
	for (uint32_t i = 0; i < c->n; i++)
		len += magnitude(c->term[i].coef) * (p->tile[c->term[i].dim] - 1);
	return len;
}

static bool mentions(const struct comp *c, int d)
{
	for (uint32_t i = 0; i < c->n; i++)
		if ((int)c->term[i].dim == d)
			return true;
	return false;
}

/* Components from innermost to outermost: those of the wanted dimensions first, then by ascending DRAM stride. */
static void order_comps(const struct operand *o, const int *inner, uint32_t n_inner, uint32_t *order)
{
	uint32_t n = 0;
	bool taken[MAX_COMPS] = { false };
	for (uint32_t w = 0; w < n_inner; w++)
		for (uint32_t i = 0; i < o->n_comps; i++)
			if (!taken[i] && inner[w] != NO_DIM && mentions(&o->comp[i], inner[w])) {
				taken[i] = true;
				order[n++] = i;
			}
	while (n < o->n_comps) {
		uint32_t best = UINT32_MAX;
		for (uint32_t i = 0; i < o->n_comps; i++) {
			int64_t mine = magnitude(o->comp[i].stride * (o->comp[i].n == 1 ? o->comp[i].term[0].coef : 1));
			if (taken[i])
				continue;
			if (best == UINT32_MAX ||
			    mine < magnitude(o->comp[best].stride * (o->comp[best].n == 1 ? o->comp[best].term[0].coef : 1)))
				best = i;
		}
		taken[best] = true;
		order[n++] = best;
	}
}

static void set_steps(struct plan *p, struct operand *o)
{
	memset(o->step, 0, sizeof o->step);
	o->start = 0;
	for (uint32_t i = 0; i < o->n_comps; i++) {
		const struct comp *c = &o->comp[i];
		int64_t radix = 1;
		for (uint32_t k = c->n; k-- > 0;) {
			uint32_t d = c->term[k].dim;
			if (c->gather >= 0) {
				o->step[d] += radix * c->sram_stride;
				radix *= p->tile[d];
			} else {
				o->step[d] += (c->n == 1 ? 1 : c->term[k].coef) * c->sram_stride;
				if (c->n > 1 && c->term[k].coef < 0) /* a window that is walked backwards begins at its far end */
					o->start -= c->term[k].coef * (p->tile[d] - 1) * c->sram_stride;
			}
		}
	}
}

/* Lays the image out; false when it does not fit 2^40 elements. */
static bool place_image(struct plan *p, struct operand *o, const int *inner, uint32_t n_inner)
{
	uint32_t order[MAX_COMPS];
	int64_t at = 1;
	order_comps(o, inner, n_inner, order);
	for (uint32_t i = 0; i < o->n_comps; i++) {
		struct comp *c = &o->comp[order[i]];
		c->len = image_len(p, c);
		c->sram_stride = at;
		if (__builtin_mul_overflow(at, c->len, &at) || at > INT64_C(1) << 40)
			return false;
	}
	o->bytes = (uint64_t)at * elem_bytes(o->sram_dtype);
	set_steps(p, o);
	return true;
}

static bool depends(const struct operand *o, uint32_t d)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		if (mentions(&o->comp[i], (int)d))
			return true;
	return false;
}

static bool tiles_reduction(const struct plan *p)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (is_reduction(p, d) && p->tile[d] < p->extent[d])
			return true;
	return false;
}

/* The tensor itself serves as image where nothing has to be filled, gathered or converted and the lanes find their elements side by side. */
static bool place_direct(struct plan *p, uint32_t i)
{
	struct operand *o = &p->operand[i];
	bool weights = p->path == PATH_MATRIX && (int)i == p->rhs;
	int lane = p->path == PATH_MATRIX && ((int)i == p->lhs || (weights && p->transposed)) ? p->contract : p->lane;
	o->direct = false;
	if (!o->home || o->is_list || o->constant || o->dtype != o->sram_dtype)
		return false;
	for (uint32_t k = 0; k < o->n_comps; k++)
		if (o->comp[k].guarded || o->comp[k].gather >= 0)
			return false;
	for (uint32_t k = 0; k < p->n_ops; k++) /* read and written at once: as if through DRAM */
		if (p->operand[k].storage == p->operand[p->n_ops].storage && p->operand[k].storage == o->storage)
			return false;
	if (i == p->n_ops && p->path == PATH_VECTOR && tiles_reduction(p)) /* partial sums lie as the result's image does */
		return false;
	for (uint32_t d = 0; d < p->n_dims; d++) /* a ragged reduction tile must be filled up */
		if (is_reduction(p, d) && p->extent[d] % p->tile[d] && depends(o, d))
			return false;
	memset(o->step, 0, sizeof o->step);
	o->start = o->base;
	for (uint32_t k = 0; k < o->n_comps; k++) {
		o->start += o->comp[k].offset * o->comp[k].stride;
		for (uint32_t t = 0; t < o->comp[k].n; t++)
			o->step[o->comp[k].term[t].dim] += o->comp[k].term[t].coef * o->comp[k].stride;
	}
	if (p->pixels && (int)i != p->lhs && o->step[p->pixel_dim] != p->extent[p->lane] * o->step[p->lane])
		return false;
	if (lane != NO_DIM && p->extent[lane] > 1 && o->step[lane] != 1 && (o->step[lane] != 0 || i == p->n_ops || p->path == PATH_MATRIX))
		return false;
	o->bytes = 0;
	o->direct = true;
	return true;
}

static bool place_all(struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		if (place_direct(p, i))
			continue;
		int inner[2] = { p->lane, p->pixels ? p->pixel_dim : NO_DIM }; /* rows may lie anywhere: in DRAM's order, transfers have long rows */
		if (p->path == PATH_MATRIX && (int)i == p->lhs) {
			inner[0] = p->contract;
			inner[1] = NO_DIM;
		} else if (p->path == PATH_MATRIX && (int)i == p->rhs) {
			inner[0] = p->transposed ? p->contract : p->lane;
			inner[1] = p->transposed ? p->lane : p->contract;
		} else if (o->is_list) { /* in DRAM's own order, the last index fastest: gathers count on it */
			inner[0] = inner[1] = NO_DIM;
		}
		if (!place_image(p, o, inner, 2))
			return false;
	}
	return true;
}

static bool steps_fit(const struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		const struct operand *o = &p->operand[i];
		int lane = p->lane;
		if (o->is_list || o->constant || (p->path == PATH_MATRIX && (int)i == p->rhs && p->transposed))
			continue;
		if (p->path == PATH_MATRIX && (int)i == p->lhs)
			lane = p->contract;
		if (lane != NO_DIM && o->step[lane] != 0 && o->step[lane] != 1)
			return false;
	}
	for (uint32_t i = 0; i <= p->n_ops && p->pixels; i++)
		if ((int)i != p->lhs && (int)i != p->rhs && !p->operand[i].constant && p->operand[i].step[p->pixel_dim] != p->extent[p->lane] * p->operand[i].step[p->lane])
			return false;
	const struct operand *out = &p->operand[p->n_ops];
	if (p->path == PATH_MATRIX && p->lane != NO_DIM && p->extent[p->lane] > 1 && out->step[p->lane] != 1)
		return false;
	if (p->path == PATH_MATRIX && p->transposed && p->operand[p->rhs].step[p->contract] != 1)
		return false;
	return true;
}

enum { MAX_REFINEMENTS = 40 };
#define LEAST_GAIN 0.005

/* ---- cost ----------------------------------------------------------------------------------------------------------- */

static int64_t tiles_of(const struct plan *p, uint32_t d)
{
	return ceil_div(p->extent[d], p->tile[d]);
}

/* Elements that lie side by side at both ends of a transfer. */
static double elements_in_row(const struct operand *o)
{
	int64_t run = 1;
	for (bool grown = true; grown;) {
		grown = false;
		for (uint32_t i = 0; i < o->n_comps; i++) {
			const struct comp *x = &o->comp[i];
			if (x->gather >= 0 || x->len == 1 || x->sram_stride != run || x->stride * (x->n == 1 ? x->term[0].coef : 1) != run)
				continue;
			run *= x->len;
			grown = true;
			if (x->guarded)
				return (double)run;
		}
	}
	return (double)run;
}

/* Do all rows begin where a burst does? */
static bool rows_aligned(const struct plan *p, const struct operand *o, int64_t run)
{
	int64_t burst = p->chip->dram_burst;
	for (uint32_t i = 0; i < o->n_comps; i++) {
		const struct comp *x = &o->comp[i];
		bool in_row = x->sram_stride < run && x->gather < 0;
		for (uint32_t k = 0; k < x->n; k++) /* the tile's start moves the row, the image's entries lie apart */
			if (x->stride * x->term[k].coef * (in_row ? p->tile[x->term[k].dim] : 1) * elem_bytes(o->dtype) % burst && (!in_row || p->tile[x->term[k].dim] < p->extent[x->term[k].dim]))
				return false;
	}
	return true;
}

/* Cycles of one transfer of an operand's image without its latency: of one queue's engine, and of DRAM. */
static void transfer_time(const struct plan *p, const struct operand *o, double *engine, double *dram)
{
	const struct tg_chip *c = p->chip;
	double elems = 1, run = elements_in_row(o);
	for (uint32_t i = 0; i < o->n_comps; i++)
		elems *= (double)o->comp[i].len;
	int64_t row = (int64_t)run * elem_bytes(o->dtype), unit = o->home ? 32 : c->dram_burst;
	int64_t bytes = ceil_div(row, unit) * unit + (o->home || rows_aligned(p, o, (int64_t)run) ? 0 : unit);
	double rows = elems / run;
	*engine = rows * (double)ceil_div(bytes, c->dram_bytes_per_cycle);
	*dram = o->home ? 0 : rows * (double)bytes / c->dram_bytes_per_cycle;
}

/* A part costs its start; it must save a few times as much. */
enum { PART_SAVES = 32, MOST_PARTS = 8 };

uint32_t plan_transfer_parts(const struct plan *p, const struct operand *o)
{
	double engine, dram;
	uint32_t parts = 1, most = p->chip->dma_queues < MOST_PARTS ? p->chip->dma_queues : MOST_PARTS;
	transfer_time(p, o, &engine, &dram);
	while (parts < most && engine / parts > dram && engine / parts - engine / (parts + 1) > PART_SAVES)
		parts++;
	return parts;
}

double plan_transfer_cycles(const struct plan *p, const struct operand *o)
{
	double engine, dram;
	if (o->constant || o->direct)
		return 0;
	transfer_time(p, o, &engine, &dram);
	engine /= plan_transfer_parts(p, o);
	return engine > dram ? engine : dram;
}

/* How often an operand's image is fetched: once for each round of the loops down to the innermost one that it depends on. */
static double fetches(const struct plan *p, const struct operand *o)
{
	double n = 1, all = 1;
	for (uint32_t i = 0; i < p->n_loops; i++) {
		all *= (double)tiles_of(p, (uint32_t)p->loop_order[i]);
		if (depends(o, (uint32_t)p->loop_order[i]))
			n = all;
	}
	return n;
}

/* Filling and emptying a software pipeline, opening a tile: bundles, measured over the models at hand. */
enum { VECTOR_RAMP = 60, WINDOW_RAMP = 120, MATRIX_RAMP = 250, TILE_OVERHEAD = 160, REDUCED_TOGETHER = 4, MOST_PIPELINED = 60 };
#define CHAIN_SHARE 0.6

/* Instructions of an expression, about. */
double plan_instructions(uint8_t op)
{
	switch (op) {
	case TG_X_arg: case TG_X_const: return 0;
	case TG_X_exp: case TG_X_log: case TG_X_tanh: case TG_X_erf: return 4;
	case TG_X_div: case TG_X_rem: case TG_X_mod: case TG_X_sqrt: case TG_X_rsqrt: return 14;
	case TG_X_tan: case TG_X_asin: case TG_X_acos: case TG_X_atan: case TG_X_sinh: case TG_X_cosh: case TG_X_asinh: case TG_X_acosh: case TG_X_atanh: return 30;
	case TG_X_pow: return 70;
	default: return 1;
	}
}

static int64_t lane_blocks(const struct plan *p)
{
	return ceil_div(p->tile[p->lane] * (p->pixels ? p->pixels : 1), p->chip->lanes);
}

static double vector_work(const struct plan *p)
{
	double blocks = 1, results = 1, loads = 0, alu = 0;
	const struct tg_chip *c = p->chip;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		bool beside = p->pixels && (int)d == p->pixel_dim;
		double n = (double)((int)d == p->lane ? lane_blocks(p) : (int)d == p->row ? ceil_div(p->tile[d], c->sublanes) : beside ? 1 : p->tile[d]);
		blocks *= n;
		results *= is_reduction(p, d) ? 1 : n;
	}
	for (uint32_t i = 0; i < p->stage->n_nodes; i++) {
		uint8_t op = p->stage->nodes[i].op;
		loads += op == TG_X_arg;
		alu += plan_instructions(op);
	}
	struct window w;
	if (window_choose(p, MOST_NEIGHBOURS, &w)) {
		double loops = p->lane == NO_DIM ? 1 : (double)lane_blocks(p);
		return results * w.each + loops * WINDOW_RAMP;
	}
	double each = loads / c->n_load > alu / c->n_alu ? loads / c->n_load : alu / c->n_alu;
	if (alu > MOST_PIPELINED) /* too long for the registers: one result at a time, at the latency of its chain */
		each = alu * c->latency.alu * CHAIN_SHARE;
	if (blocks > results && results < REDUCED_TOGETHER && each < c->latency.alu) /* too few to hide that each sum waits for the one before */
		each = c->latency.alu;
	/* Every few results have a loop over what they reduce; where that is one block there is one loop over all results. */
	double ramps = blocks > results ? ceil(results / REDUCED_TOGETHER) : 1;
	return blocks * (each > 1.0 / c->n_store ? each : 1.0 / c->n_store) + ramps * VECTOR_RAMP;
}

/* Blocks of the contracted dimensions: those that the kernel folds into the lanes, or packs beside each other there, count with the innermost. */
static double contracted_blocks(const struct plan *p)
{
	const struct operand *lhs = &p->operand[p->lhs], none = { 0 }, *rhs = p->rhs >= 0 ? &p->operand[p->rhs] : &none;
	int64_t lanes = p->tile[p->contract], rows = p->chip->array_rows, parts = 1;
	bool done[MAX_DIMS] = { false };
	int dim[MAX_DIMS], chosen[MAX_PACKED];
	struct pack_dim other[MAX_DIMS];
	uint32_t n = 0;
	done[p->contract] = true;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		if (p->role[d] != ROLE_K || done[d] || rhs->step[d] != lanes * rhs->step[p->contract] || lhs->step[d] != lanes * lhs->step[p->contract])
			continue;
		lanes *= p->tile[d];
		done[d] = true;
		d = UINT32_MAX; /* from the start */
	}
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (p->role[d] == ROLE_K && !done[d]) {
			dim[n] = (int)d;
			other[n++] = (struct pack_dim){ p->tile[d], lhs->step[d], rhs->step[d] };
		}
	for (uint32_t i = lhs->constant ? 0 : plan_pack(p, other, n, lanes, rhs->step[p->contract], chosen); i-- > 0;) {
		parts *= p->tile[dim[chosen[i]]];
		done[dim[chosen[i]]] = true;
	}
	double blocks = (double)ceil_div(lanes * parts, rows);
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (p->role[d] == ROLE_K && !done[d])
			blocks *= (double)p->tile[d];
	return blocks;
}

static double matrix_work(const struct plan *p)
{
	const struct tg_chip *c = p->chip;
	double rows = 1, batch = 1, outer_n = 1;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		double t = (double)p->tile[d];
		if (p->role[d] == ROLE_M)
			rows *= (int)d == p->row ? (double)ceil_div(p->tile[d], c->sublanes) * c->sublanes : t;
		else if (p->role[d] == ROLE_BATCH)
			batch *= t;
		else if (p->role[d] == ROLE_N && (int)d != p->lane && !(p->pixels && (int)d == p->pixel_dim))
			outer_n *= t;
	}
	double kb = contracted_blocks(p);
	int64_t columns = p->tile[p->lane] * (p->pixels ? p->pixels : 1);
	int64_t whole = columns / c->array_cols, arrays = p->pixels || tiles_reduction(p) ? 1 : c->n_arrays; /* blocks of columns side by side */
	double nb = outer_n * (double)(ceil_div(whole, arrays) + (columns % c->array_cols > 0));
	double stream = rows * c->rate_den[p->array] / c->rate_num[p->array];
	double push = c->array_rows / (double)c->push_rows_per_cycle;
	double loops = p->pixels ? nb : columns > c->array_cols && columns % c->array_cols ? 2 : 1; /* the last columns have a loop of their own */
	return batch * nb * kb * (stream > push ? stream : push) + loops * (MATRIX_RAMP + c->latency.multiply_read);
}

/* Transfers run beside the work but for the first tile's and the last result's. Of what can be fetched during the stage before, only that is waited for
 * which exceeds the time in which DRAM rests there. */
static double total_cost(struct plan *p)
{
	const struct operand *out = &p->operand[p->n_ops];
	double n_tiles = 1, dma = 0, first = 0, early = 0, last = out->direct ? 0 : plan_transfer_cycles(p, out) + p->chip->dram_latency;
	for (uint32_t i = 0; i < p->n_loops; i++)
		n_tiles *= (double)tiles_of(p, (uint32_t)p->loop_order[i]);
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		const struct operand *o = &p->operand[i];
		double each = plan_transfer_cycles(p, o);
		dma += each * fetches(p, o);
		if (i == p->n_ops || each <= 0)
			continue;
		if (o->early)
			early += each;
		else
			first += each + (first > 0 ? 0 : p->chip->dram_latency);
	}
	double busy = n_tiles * ((p->path == PATH_MATRIX ? matrix_work(p) : vector_work(p)) + TILE_OVERHEAD);
	if (p->n_loops && !plan_prefetches(p))
		return dma + busy + n_tiles * 2 * p->chip->dram_latency;
	double beside = p->n_loops ? dma - first - early - last : 0, tail = busy / n_tiles; /* nothing is left to fetch during the last tile */
	double work = busy > beside + tail ? busy : beside + tail;
	p->dram_idle = work > beside ? work - beside : 0;
	return first + (early > p->idle_before ? early - p->idle_before : 0) + last + work;
}

/* ---- tiling ------------------------------------------------------------------------------------------------------------ */

/* Tiled dimensions: parallel ones outside, reductions inside, so that partial sums stay; among the parallel ones the weights' dimension outermost. */
static void order_loops(struct plan *p)
{
	p->n_loops = 0;
	for (int pass = 0; pass < 3; pass++)
		for (uint32_t d = 0; d < p->n_dims; d++) {
			int rank = is_reduction(p, d) ? 2 : p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH ? 0 : 1;
			if (rank == pass && p->tile[d] < p->extent[d])
				p->loop_order[p->n_loops++] = (int)d;
		}
}

static uint32_t rows_needed(const struct plan *p)
{
	int64_t rows = 1;
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (p->role[d] == ROLE_M) {
			int64_t t = (int)d == p->row ? ceil_div(p->tile[d], p->chip->sublanes) * p->chip->sublanes : p->tile[d];
			if (__builtin_mul_overflow(rows, t, &rows) || rows > UINT32_MAX / 2)
				return UINT32_MAX;
		}
	if (p->row == NO_DIM)
		rows *= p->chip->sublanes;
	return rows > UINT32_MAX ? UINT32_MAX : (uint32_t)rows;
}

static uint64_t whole_lines(uint64_t bytes)
{
	return (bytes + 63) & ~UINT64_C(63);
}

/* Sizes of all images; false when they do not fit. */
static bool lay_out(struct plan *p, uint64_t base)
{
	uint64_t at = base;
	if (!place_all(p))
		return false;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		o->place_bytes = whole_lines(o->bytes);
		o->places = 1;
		for (uint32_t l = 0; l < p->n_loops && !o->is_list && !o->direct && plan_prefetches(p); l++)
			if (depends(o, (uint32_t)p->loop_order[l]))
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

static bool tile_is_legal(struct plan *p, uint64_t base)
{
	order_loops(p);
	if (!lay_out(p, base) || holes_in_result(p))
		return false;
	struct window w;
	if (p->path == PATH_VECTOR)
		return !p->pixels || window_choose(p, MOST_NEIGHBOURS, &w);
	p->acc_rows = rows_needed(p);
	if (p->acc_rows > p->chip->acc_rows)
		return false;
	if (!tiles_reduction(p))
		return true;
	/* Accumulators must survive from one reduction tile to the next: one column block, one batch element. */
	for (uint32_t d = 0; d < p->n_dims; d++) {
		int64_t most = (int)d == p->lane ? p->chip->array_cols : 1;
		if ((p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH) && p->tile[d] > most)
			return false;
	}
	return true;
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
	if (is_reduction(p, d) && (p->whole_sums || p->stage->n_reds == 0 || in_list(p, d)))
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
		for (uint32_t d = 0; d < p->n_dims && tiles_reduction(p); d++) {
			int64_t most = (int)d == p->lane ? p->chip->array_cols : 1;
			if ((p->role[d] == ROLE_N || p->role[d] == ROLE_BATCH) && p->tile[d] > most)
				over += (double)(p->tile[d] - most);
		}
	}
	return over;
}

/* The next larger tile: half as many, in equal parts. */
static int64_t larger(const struct plan *p, uint32_t d)
{
	int64_t n = (tiles_of(p, d) + 1) / 2, t = ceil_div(p->extent[d], n), block = whole_block(p, d);
	t = t > block ? ceil_div(t, block) * block : t;
	return t < p->extent[d] ? t : p->extent[d];
}

/* A step to a neighbouring tile of dimension d; its cost when it is legal and cheaper than `best`. */
static bool try_step(struct plan *p, uint64_t base, uint32_t d, int64_t tile, double *best)
{
	int64_t old = p->tile[d];
	bool better = false;
	p->tile[d] = tile;
	if (tile != old && tile_is_legal(p, base)) {
		double cost = total_cost(p);
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
	for (int round = 0; round < MAX_REFINEMENTS; round++) {
		double best = p->cost * (1 - LEAST_GAIN);
		int pick = NO_DIM;
		int64_t tile = 0;
		for (uint32_t d = 0; d < p->n_dims; d++) {
			if (is_reduction(p, d))
				continue;
			const int64_t steps[] = { may_tile(p, d) ? smaller(p, d) : p->tile[d], larger(p, d) };
			for (int i = 0; i < 2; i++)
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
	tile_is_legal(p, base);
}

/* The best of what is found from the tile as it is and from each dimension halved first: one step down may hide the way to another. */
static void refine_from_each(struct plan *p, uint64_t base)
{
	struct plan start = *p, best;
	start.cost = total_cost(&start);
	best = start;
	refine_tile(&best, base);
	for (uint32_t d = 0; d < p->n_dims; d++) {
		*p = start;
		if (!may_tile(p, d) || is_reduction(p, d))
			continue;
		p->tile[d] = smaller(p, d);
		if (!tile_is_legal(p, base))
			continue;
		p->cost = total_cost(p);
		refine_tile(p, base);
		if (p->cost < best.cost)
			best = *p;
	}
	*p = best;
	tile_is_legal(p, base);
}

static bool search_tile(struct plan *p, uint64_t base)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		p->tile[d] = p->extent[d];
	for (int round = 0; round < 400; round++) {
		if (tile_is_legal(p, base)) {
			refine_from_each(p, base);
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
			double score = gain <= 0 && after > 0 ? total_cost(p) * 1e6 : total_cost(p) / (gain > 1e-3 ? gain : 1e-3);
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

/* ---- candidates ---------------------------------------------------------------------------------------------------------- */

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
	return place_all(p) && steps_fit(p);
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
				one.cost = total_cost(&one);
				consider(&one, &leader, &found);
			}
		}
	if (found && search_tile(&leader, base))
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
			t->cost = total_cost(t);
			consider(t, &leader, &found);
		}
	}
	if (!found) {
		*t = *p;
		if (!lanes_fit(t))
			return;
		leader = *t;
	}
	if (search_tile(&leader, base))
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
		bool found = search_tile(&whole, base);
		if (found)
			consider(&whole, best, have);
		if ((!found || whole.n_loops) && !one.pixels && search_tile(&one, base))
			consider(&one, best, have);
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
	tile_is_legal(p, sram_base);
	p->cost = total_cost(p);
	return NULL;
}
