/* groups.c: stages whose tensors are too large for SRAM share outer loops: all of them run for one part of their points, then for the next.
 *
 *   %s = stage(%q, %k) { [12, 4096, 4096] }         tile.group(%q, %k, %v) {dims = [0, 1, 0, 1, ...], tile = [1, 256]} {
 *   %m = stage(%s)     { max, [12, 4096] }     ==>  %s = stage(%q, %k) ...
 *   ...                                             ...
 *   %y = stage(%p, %v) { [12, 4096, 64] }           %y = stage(%p, %v) ...
 *                                                   } yields(%y)
 *
 * In: tile stages behind all other passes. Out: runs of stages that move more bytes than they compute on in a tile.group each, of which code generation makes one loop: of what
 * lies between them a part exists at a time, which stays in SRAM. So the scores of an attention never reach DRAM however many keys it has, as long as a few rows of scores fit:
 * rows are whole, so a softmax needs no rescaling. The last part overlaps its neighbour where parts do not divide the whole; every element is computed as before.
 *
 * A loop counts one index of the first stage's result; in the stages behind it the dimension that alone walks this index of what they read. One loop counts images or heads, in
 * the outermost index that has more than one value, another one rows; windows over rows are for the pass `cascade`. Whether a run pays is a matter of bytes that no longer move,
 * against those of operands that parts read again, and of the time that every stage of a part waits for its first fetch and its last store. */
#include "isa.h"
#include "join.h"
#include "parts.h"

#include <string.h>

bool pass_groups(struct tg_pass *cx, struct tg_module *m);

enum { LEAST_STAGES = 2, MOST_STAGES = 16, MOST_BETWEEN = 3, MOST_LOOPS = 2, MOST_PARTS = 1 << 20 };
enum { SHARE = 3, SHARE_OF = 8 };  /* what lies between the stages may have so much of SRAM: operands and results want the rest */
#define MARGIN 0.25                /* of what moves no longer must be left as a gain */

struct grouper {
	struct tg_pass *cx;
	struct tg_module *m;
	const struct tg_chip *chip;
	struct tg_op **ops;            /* candidates, in order */
	uint32_t n, n_loops;           /* loops of the run at hand */
	int (*dim)[MOST_LOOPS];        /* by candidate of the run at hand: the dimension that a loop walks */
	uint32_t (*index)[MOST_LOOPS]; /* and the index of its result that this dimension alone walks */
	bool *inner;                   /* by candidate of the run: there is one for each loop, so that others may read its result */
	uint32_t n_makers, *maker;     /* by value: candidate + 1 that makes it in the run at hand, or 0 */
};
struct choice { uint32_t last, n_loops; uint32_t index[MOST_LOOPS]; int64_t tile[MOST_LOOPS]; double gain; };

static const struct tg_shape *shape_of(const struct grouper *g, tg_val v)
{
	return &tg_value_get(g->m, v)->shape;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------------------ */

/* The dimension of candidate i that walks the loop's index of everything that it reads of the run, -1: none does. */
static int follower(const struct grouper *g, uint32_t i, uint32_t loop)
{
	const struct tg_op *op = g->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	int d = -1;
	for (uint32_t k = 0; k < s->n_ins; k++) {
		uint32_t maker = g->maker[op->in[k].id];
		if (!maker)
			continue;
		int own = g->inner[maker - 1] ? part_walker(s, &s->ins[k].map, g->index[maker - 1][loop]) : -1;
		if (own < 0 || (d >= 0 && own != d))
			return -1;
		d = own;
	}
	return d;
}

/* Operands from outside are reached for each part by moving addresses: nothing at their edges may depend on the part. */
static bool operands_move(const struct grouper *g, uint32_t i, uint32_t d)
{
	const struct tg_op *op = g->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	for (uint32_t k = 0; k < s->n_ins; k++)
		if (!g->maker[op->in[k].id] && part_walks(&s->ins[k].map, d) && (s->ins[k].guarded || !part_can_move(&s->ins[k].map, d)))
			return false;
	for (uint32_t k = 0; k < s->n_nodes; k++)
		if (s->nodes[k].op == TG_X_index && s->nodes[k].k == (int)d)
			return false;
	return part_can_move(&s->outs[0].map, d);
}

/* index: of the run's first result, for each loop; NULL behind it. */
static bool join_run(struct grouper *g, uint32_t first, uint32_t i, const uint32_t *index)
{
	const struct tg_op *op = g->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	const struct tg_map *out = &s->outs[0].map;
	g->inner[i] = true;
	for (uint32_t l = 0; l < g->n_loops; l++) {
		int d = index ? part_walker(s, out, index[l]) : follower(g, i, l);
		uint32_t at = 0;
		if (d < 0 || !operands_move(g, i, (uint32_t)d) || s->dims[d].extent < 2 || (i > first && s->dims[d].extent != part_stage_of(g->ops[first])->dims[g->dim[first][l]].extent))
			return false;
		for (uint32_t k = 0; k < l; k++)
			if (g->dim[i][k] == d)
				return false;
		while (at < out->rank && !out->index[at].coef[d])
			at++;
		if (at == out->rank)
			return false; /* a result that parts would all write whole */
		g->inner[i] &= part_only_index(s, out, at, (uint32_t)d) && shape_of(g, op->out[0])->dim[at] == s->dims[d].extent;
		g->dim[i][l] = d;
		g->index[i][l] = at;
	}
	g->maker[op->out[0].id] = i + 1;
	return true;
}

static void leave_run(struct grouper *g, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		g->maker[g->ops[i]->out[0].id] = 0;
}

static bool walks_loop(const struct grouper *g, uint32_t i, const struct tg_map *map)
{
	for (uint32_t l = 0; l < g->n_loops; l++)
		if (part_walks(map, (uint32_t)g->dim[i][l]))
			return true;
	return false;
}

/* Bytes of the tensors that a stage reads or writes in parts. */
static double moved_bytes(const struct grouper *g, uint32_t i)
{
	const struct tg_op *op = g->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	double sum = tg_tensor_bytes(g->m, op->out[0]);
	for (uint32_t k = 0; k < s->n_ins; k++)
		sum += walks_loop(g, i, &s->ins[k].map) ? tg_tensor_bytes(g->m, op->in[k]) : 0;
	return sum;
}

/* Cycles of a stage's work at best. */
static double work_cycles(const struct grouper *g, uint32_t i)
{
	const struct tg_stage *s = part_stage_of(g->ops[i]);
	const struct tg_chip *c = g->chip;
	struct tg_factor f[2];
	bool array = tg_stage_product(s, f) && tg_reuses_factors(s, f);
	double points = (double)tg_stage_points(s), each = (double)s->n_nodes / c->n_alu; /* instructions of a point, about */
	return array ? points / ((double)c->array_rows * c->array_cols * c->n_arrays) : points * (each > 1 ? each : 1) / ((double)c->lanes * c->sublanes);
}

static bool is_pressed(const struct grouper *g, uint32_t i)
{
	double bytes = moved_bytes(g, i);
	return bytes > (double)g->chip->sram_bytes / 2 && bytes / g->chip->dram_bytes_per_cycle > work_cycles(g, i);
}

static bool is_closed(const struct grouper *g, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i < last; i++)
		if (!g->inner[i] || part_is_read_outside(g->m, g->ops, first, last, g->ops[i]->out[0]))
			return false;
	return true;
}

/* ---- parts ------------------------------------------------------------------------------------------------------------------------------- */

static int64_t extent_of(const struct grouper *g, uint32_t first, uint32_t loop)
{
	return part_stage_of(g->ops[first])->dims[g->dim[first][loop]].extent;
}

static int64_t parts_of(const struct grouper *g, uint32_t first, const int64_t *tile)
{
	int64_t n = 1;
	for (uint32_t l = 0; l < g->n_loops; l++)
		n *= (extent_of(g, first, l) + tile[l] - 1) / tile[l];
	return n;
}

static uint32_t last_reader(const struct grouper *g, uint32_t i, uint32_t last)
{
	uint32_t reader = i;
	for (uint32_t j = i + 1; j <= last; j++)
		for (uint32_t k = 0; k < g->ops[j]->n_in; k++)
			reader = g->ops[j]->in[k].id == g->ops[i]->out[0].id ? j : reader;
	return reader;
}

/* The most bytes of a part that lie between stages at one time. */
static double most_between(const struct grouper *g, uint32_t first, uint32_t last, const int64_t *tile)
{
	double share = 1, most = 0;
	for (uint32_t l = 0; l < g->n_loops; l++)
		share *= (double)tile[l] / (double)extent_of(g, first, l);
	for (uint32_t now = first; now <= last; now++) {
		double sum = 0;
		for (uint32_t i = first; i < last && i <= now; i++)
			sum += last_reader(g, i, last) >= now ? tg_tensor_bytes(g->m, g->ops[i]->out[0]) * share : 0;
		most = sum > most ? sum : most;
	}
	return most;
}

/* Of an operand: the bytes that the stage reads, since several may share a tensor (queries, keys and values as one product). */
static double read_bytes(const struct grouper *g, uint32_t i, uint32_t k)
{
	const struct tg_stage *s = part_stage_of(g->ops[i]);
	const struct tg_shape *shape = shape_of(g, g->ops[i]->in[k]);
	double bytes = tg_tensor_bytes(g->m, g->ops[i]->in[k]);
	for (uint32_t at = 0; at < shape->rank; at++) {
		const struct tg_index *x = &s->ins[k].map.index[at];
		int64_t lo, hi;
		if (part_is_plain(x) && tg_index_affine_range(s, x, &lo, &hi) && hi - lo + 1 < shape->dim[at])
			bytes *= (double)(hi - lo + 1) / (double)shape->dim[at];
	}
	return bytes;
}

/* What all parts of a stage move from outside: an operand again for each part that is the same to it, but in the first stage, where it stays from one part to the next;
 * and the last result. */
static double outside_bytes(const struct grouper *g, uint32_t first, uint32_t last, uint32_t i, const int64_t *tile)
{
	const struct tg_op *op = g->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	double sum = i == last ? tg_tensor_bytes(g->m, op->out[0]) : 0;
	for (uint32_t k = 0; k < s->n_ins; k++) {
		double bytes = g->maker[op->in[k].id] ? 0 : read_bytes(g, i, k);
		bool changes = i > first;
		for (uint32_t l = g->n_loops; l-- > 0;) {
			bool walked = part_walks(&s->ins[k].map, (uint32_t)g->dim[i][l]);
			changes |= walked;
			bytes *= walked || !changes ? 1 : (double)((extent_of(g, first, l) + tile[l] - 1) / tile[l]);
		}
		sum += bytes;
	}
	return sum;
}

/* What a stage moves of what lies between the stages, when they run one after the other; nothing where it would fit SRAM. */
static double between_bytes(const struct grouper *g, uint32_t last, uint32_t i)
{
	const struct tg_op *op = g->ops[i];
	double sum = i < last ? tg_tensor_bytes(g->m, op->out[0]) : 0;
	for (uint32_t k = 0; k < part_stage_of(op)->n_ins; k++)
		sum += g->maker[op->in[k].id] ? tg_tensor_bytes(g->m, op->in[k]) : 0;
	return sum > (double)g->chip->sram_bytes / 2 ? sum : 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* Cycles that the run saves in parts of this size: a stage takes as long as its work or its transfers; one of a part waits for those first, which are most of them, but for the
 * first one, for which the last one of the part before fetches. */
static double saved_cycles(const struct grouper *g, uint32_t first, uint32_t last, const int64_t *tile)
{
	int64_t whole[MOST_LOOPS];
	double bandwidth = g->chip->dram_bytes_per_cycle, saved = 0, moved = 0;
	for (uint32_t l = 0; l < g->n_loops; l++)
		whole[l] = extent_of(g, first, l);
	for (uint32_t i = first; i <= last; i++) {
		double work = work_cycles(g, i), between = between_bytes(g, last, i), waits = 2.0 * g->chip->dram_latency * (double)parts_of(g, first, tile);
		double before = (outside_bytes(g, first, last, i, whole) + between) / bandwidth, after = outside_bytes(g, first, last, i, tile) / bandwidth;
		saved += larger(before, work) - (i == first ? larger(after, work) : after + work) - waits;
		moved += between / bandwidth;
	}
	return saved > MARGIN * moved ? saved : 0;
}

/* Sizes of the innermost loop's parts, from the whole down: as equal as may be, whole sublanes. */
static int64_t inner_tile(const struct grouper *g, int64_t extent, int64_t parts)
{
	int64_t rows = g->chip->sublanes, even = (extent + parts - 1) / parts, whole = (even + rows - 1) / rows * rows;
	return whole < extent ? whole : even;
}

/* The largest rows that fit, for each number of images or heads that divides all of them. */
static void try_tiles(const struct grouper *g, uint32_t first, uint32_t last, struct choice *best)
{
	uint32_t in = g->n_loops - 1;
	int64_t extent = extent_of(g, first, in), outer = g->n_loops > 1 ? extent_of(g, first, 0) : 1, tile[MOST_LOOPS] = { 0 };
	double room = (double)g->chip->sram_bytes * SHARE / SHARE_OF;
	for (int64_t images = outer; images > 0; images--) {
		if (outer % images)
			continue;
		tile[0] = images;
		for (int64_t parts = 1; parts <= extent; parts = parts < 16 ? parts + 1 : parts + parts / 8) {
			tile[in] = inner_tile(g, extent, parts);
			if (most_between(g, first, last, tile) > room)
				continue;
			double saved = parts_of(g, first, tile) > 1 && parts_of(g, first, tile) <= MOST_PARTS ? saved_cycles(g, first, last, tile) : 0;
			if (saved > best->gain) {
				*best = (struct choice){ .last = last, .n_loops = g->n_loops, .gain = saved };
				memcpy(best->tile, tile, sizeof tile);
				memcpy(best->index, g->index[first], sizeof best->index);
			}
			break;
		}
	}
}

/* ---- which runs ---------------------------------------------------------------------------------------------------------------------------- */

/* The runs from `first` on whose loops count these indices of its result. */
static void try_loops(struct grouper *g, uint32_t first, const uint32_t *index, uint32_t n_loops, struct choice *best)
{
	uint32_t last = first, reach = first;
	g->n_loops = n_loops;
	if (!join_run(g, first, first, index))
		return;
	if (is_pressed(g, first))
		for (uint32_t i = first + 1; i < g->n && i - first < MOST_STAGES && i - last <= MOST_BETWEEN && join_run(g, first, i, NULL); i++) {
			reach = i;
			last = is_pressed(g, i) ? i : last;
		}
	for (uint32_t end = reach; end + 1 >= first + LEAST_STAGES; end--) {
		if (is_closed(g, first, end))
			try_tiles(g, first, end, best);
		leave_run(g, end, end);
	}
	leave_run(g, first, reach);
}

static void make_group(struct grouper *g, uint32_t first, const struct choice *c)
{
	uint32_t n = c->last - first + 1;
	int64_t *dims = tg_alloc_n(g->cx->scratch, n * c->n_loops, sizeof *dims);
	g->n_loops = c->n_loops;
	for (uint32_t i = first; i <= c->last; i++) {
		join_run(g, first, i, i == first ? c->index : NULL);
		for (uint32_t l = 0; l < c->n_loops; l++)
			dims[(i - first) * c->n_loops + l] = g->dim[i][l];
	}
	leave_run(g, first, c->last);
	tg_group_new(g->m, &(struct tg_group){ .stages = g->ops + first, .n_stages = n, .n_shared = c->n_loops, .n_results = 1, .dims = dims, .tile = c->tile, .results = g->ops[c->last]->out });
}

/* From candidate `first` on. Returns how many candidates are done with. */
static uint32_t try_run(struct grouper *g, uint32_t first)
{
	const struct tg_shape *out = shape_of(g, g->ops[first]->out[0]);
	struct choice best = { .gain = 0 };
	uint32_t outermost = 0;
	while (outermost < out->rank && out->dim[outermost] < 2)
		outermost++;
	for (uint32_t rows = outermost; rows < out->rank; rows++) {
		try_loops(g, first, &rows, 1, &best);
		if (rows > outermost)
			try_loops(g, first, (const uint32_t[]){ outermost, rows }, 2, &best);
	}
	if (best.gain <= 0)
		return 1;
	make_group(g, first, &best);
	return best.last - first + 1;
}

static void flush(struct grouper *g)
{
	for (uint32_t i = 0; i < g->n;)
		i += try_run(g, i);
	g->n = 0;
}

bool pass_groups(struct tg_pass *cx, struct tg_module *m)
{
	struct grouper g = { .cx = cx, .m = m, .chip = cx->chip };
	uint32_t n = 0;
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		n++;
	g.ops = tg_alloc_n(cx->scratch, n + 1, sizeof *g.ops);
	g.dim = tg_alloc_n(cx->scratch, n + 1, sizeof *g.dim);
	g.index = tg_alloc_n(cx->scratch, n + 1, sizeof *g.index);
	g.inner = tg_alloc_n(cx->scratch, n + 1, sizeof *g.inner);
	g.n_makers = (uint32_t)m->values.n;
	g.maker = tg_alloc_n(cx->scratch, g.n_makers + 1, sizeof *g.maker);
	for (struct tg_op *op = m->body.first, *next; g.chip && op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_data)
			continue;
		if (part_is_candidate(op))
			g.ops[g.n++] = op;
		else
			flush(&g);
	}
	flush(&g);
	return true;
}
