/* plan_cost.c: predicted cycles of a tile's work, of its transfers, and of a whole stage. */
#include "plan_int.h"

#include <math.h>

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
	return p->chunks && depends(o, (uint32_t)p->contract) ? all * (double)p->chunks : n;
}

/* Filling and emptying a software pipeline, opening a tile: bundles, measured over the models at hand. */
enum { VECTOR_RAMP = 60, WINDOW_RAMP = 120, MATRIX_RAMP = 250, TILE_OVERHEAD = 160, REDUCED_TOGETHER = 4, MOST_PIPELINED = 60, PIECE_GROUPS = 16 };
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

/* Blocks of columns one after the other on the fullest array, for each of the batch's tiles and the outer columns; rows of the tile, whole groups. */
struct blocks { double batch, columns, rows, loops; };

static struct blocks matrix_blocks(const struct plan *p)
{
	const struct tg_chip *c = p->chip;
	struct blocks b = { 1, 1, 1, 1 };
	for (uint32_t d = 0; d < p->n_dims; d++) {
		double t = (double)p->tile[d];
		if (p->role[d] == ROLE_M)
			b.rows *= (int)d == p->row ? (double)ceil_div(p->tile[d], c->sublanes) * c->sublanes : t;
		else if (p->role[d] == ROLE_BATCH)
			b.batch *= t;
		else if (p->role[d] == ROLE_N && (int)d != p->lane && !(p->pixels && (int)d == p->pixel_dim))
			b.columns *= t;
	}
	int64_t columns = p->tile[p->lane] * (p->pixels ? p->pixels : 1);
	int64_t whole = columns / c->array_cols, arrays = p->pixels ? 1 : c->n_arrays; /* blocks of columns side by side */
	b.columns *= (double)(ceil_div(whole, arrays) + (columns % c->array_cols > 0));
	b.loops = p->pixels ? b.columns : columns > c->array_cols && columns % c->array_cols ? 2 : 1; /* the last columns have a loop of their own */
	return b;
}

static double stream_cycles(const struct plan *p, const struct blocks *b)
{
	return b->rows * p->chip->rate_den[p->array] / p->chip->rate_num[p->array];
}

static double matrix_work(const struct plan *p)
{
	const struct tg_chip *c = p->chip;
	struct blocks b = matrix_blocks(p);
	double stream = stream_cycles(p, &b), push = c->array_rows / (double)c->push_rows_per_cycle, pieces = p->chunks ? (double)p->chunks : 1;
	return b.batch * b.columns * contracted_blocks(p) * pieces * (stream > push ? stream : push) + b.loops * (MATRIX_RAMP + c->latency.multiply_read);
}

/* Sums in tiles: setting the accumulators of a result's tile to zero and, in the end, reading and finishing them have loops of their own. */
static double open_and_finish(const struct plan *p)
{
	const struct tg_chip *c = p->chip;
	struct blocks b = matrix_blocks(p);
	double loads = 0, alu = 0, groups = b.batch * b.columns * b.rows / c->sublanes * c->n_arrays;
	for (uint32_t i = 0; i < p->stage->n_nodes; i++) {
		const struct tg_node *n = &p->stage->nodes[i];
		loads += n->op == TG_X_arg && n->k != p->lhs && n->k != p->rhs;
		alu += plan_instructions(n->op);
	}
	double each = loads / c->n_load > alu / c->n_alu ? loads / c->n_load : alu / c->n_alu;
	return b.batch * b.columns * stream_cycles(p, &b) + groups * (each > 1 ? each : 1) + 2 * b.loops * VECTOR_RAMP;
}

/* Of what a product in chunks waits for before it begins, or of what is left to store when it is done: a block of rows, a block of columns. */
static double piece_of(const struct plan *p, uint32_t operand)
{
	if (!p->chunks || !plan_is_flat(p)) /* flat: there are rows */
		return 1;
	double rows = PIECE_GROUPS * (double)p->chip->sublanes / (double)p->tile[p->row], cols = (double)p->chip->array_cols / (double)p->tile[p->lane];
	rows = rows < 1 && (int)operand != p->rhs ? rows : 1;
	cols = cols < 1 && (int)operand != p->lhs ? cols : 1;
	return (int)operand == p->lhs || (int)operand == p->rhs || operand == p->n_ops ? rows * cols : 1;
}

/* Transfers run beside the work but for the first tile's and the last result's. Of what can be fetched during the stage before, only that is waited for
 * which exceeds the time in which DRAM rests there, or the room that is left there. */
double plan_cost(struct plan *p)
{
	const struct operand *out = &p->operand[p->n_ops];
	double n_tiles = 1, n_results = 1, dma = 0, first = 0, early = 0, last = out->direct ? 0 : plan_transfer_cycles(p, out) * piece_of(p, p->n_ops) + p->chip->dram_latency;
	uint64_t room = p->early_room;
	for (uint32_t i = 0; i < p->n_loops; i++) {
		uint32_t d = (uint32_t)p->loop_order[i];
		n_tiles *= (double)tiles_of(p, d);
		n_results *= is_reduction(p, d) ? 1 : (double)tiles_of(p, d);
	}
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		const struct operand *o = &p->operand[i];
		double each = plan_transfer_cycles(p, o);
		dma += each * fetches(p, o);
		if (i == p->n_ops || each <= 0)
			continue;
		if (o->early && o->place_bytes <= room) {
			early += each;
			room -= o->place_bytes;
		} else {
			first += each * piece_of(p, i) + (first > 0 ? 0 : p->chip->dram_latency);
		}
	}
	double pieces = p->chunks ? (double)p->chunks : 1;
	double busy = n_tiles * ((p->path == PATH_MATRIX ? matrix_work(p) : vector_work(p)) + TILE_OVERHEAD);
	if (p->path == PATH_MATRIX && tiles_reduction(p))
		busy += n_results * open_and_finish(p);
	p->bulk = busy > dma ? busy : dma;
	if (p->n_loops && !plan_prefetches(p))
		return dma + busy + n_tiles * 2 * p->chip->dram_latency;
	bool moves = p->n_loops || p->chunks;
	double beside = moves ? dma - first - early - last : 0, tail = busy / (n_tiles * pieces); /* nothing is left to fetch during the last tile */
	double work = busy > beside + tail ? busy : beside + tail;
	double results = plan_transfer_cycles(p, out) * (1 - piece_of(p, p->n_ops)); /* beside the last chunk */
	last += p->chunks && results > tail ? results - tail : 0;
	if (p->chunks) { /* two pieces have places: one comes, one is at work */
		double turns = (busy + dma + n_tiles * pieces * p->chip->dram_latency) / 2;
		work = turns > work ? turns : work;
	}
	p->dram_idle = work > beside ? work - beside : 0;
	return first + (early > p->idle_before ? early - p->idle_before : 0) + last + work;
}
