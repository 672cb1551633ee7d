/* cascade.c: stages whose tensors are too large for SRAM, even of one image, run for a block of rows at a time.
 *
 *   %b = stage(%a) { [96, 112, 112] }                   %b0 = stage(%a) { [96, 17, 112] }                     for rows 0..16
 *   %c = stage(%b) { 3 x 3, [96, 112, 112] }    ==>     %c0 = stage(%b0) { 3 x 3, [96, 16, 112] }             for rows 0..15
 *   %d = stage(%c) { [24, 112, 112] }                   %d' = stage(%c0) { [24, 16, 112] } into []            rows 0..15
 *                                                       %b1 = stage(%a) { [96, 18, 112] }  ...                rows 15..32, and so on
 *
 * In: tile stages behind all other passes. Out: a run of stages that move more bytes than they compute on, once for each block of rows of the last one's result (and for each image): what lies between
 * them stays in SRAM. A window of rows needs some from the neighbouring blocks, which are computed again: every element as before. Only the run's last result is one tensor again.
 *
 * Rows are counted by one index of the first stage's result; in the stages behind it by the dimension that walks this index of what they read, with a step and a window (reduced dimensions beside
 * it). Where the index leaves the tensor, it leaves the block of rows at the same end, so that guards stay as they are. Whether a run pays is a matter of bytes that no longer move, against
 * those of inputs, weights and code that move again, and the work that is done again. */
#include "isa.h"
#include "join.h"
#include "parts.h"

#include <string.h>

bool pass_cascade(struct tg_pass *cx, struct tg_module *m);

enum { LEAST_STAGES = 2, MOST_BETWEEN = 3, MOST_COPIES = 600, CODE_BYTES = 6144 /* of a stage, about */, NODE_SAVES = 500 /* cycles, each node of a copy: it must be worth compiling */ };
enum axis { IMAGES, ROWS, N_AXES };
#define MARGIN 0.5 /* of what moves no longer must be left as a gain: parts are more, and each waits for its first fetch and last store */

#define INNER 1.1 /* an index further inside must gain that much more: transfers of a part of it have shorter rows */

struct range { int64_t lo, hi; };
struct cascade {
	struct tg_pass *cx;
	struct tg_module *m;
	const struct tg_chip *chip;
	struct tg_op **ops;             /* candidates, in order */
	uint32_t n;
	bool images;                    /* the run at hand has images besides rows */
	int *dim[N_AXES];               /* by candidate of the run at hand: its dimension */
	uint32_t *index[N_AXES];        /* and the index of its result that this dimension walks */
	struct range *range[N_AXES];    /* by candidate: of the part at hand */
	uint32_t n_makers, *maker;      /* by value: candidate + 1 that makes it in the run at hand, or 0 */
	tg_val *part;                   /* by value: its part in the copy that is being made, 0: it is no result of the run */
};

static bool has(const struct cascade *r, enum axis x)
{
	return x == ROWS || r->images;
}

static const struct tg_shape *shape_of(const struct cascade *r, tg_val v)
{
	return &tg_value_get(r->m, v)->shape;
}

/* ---- runs ----------------------------------------------------------------------------------------------------------------------------------- */

/* The dimension that walks index `at` of an operand of the run, -1: none does by itself. Images are walked one by one and by nothing else. */
static int walker_in(const struct tg_stage *s, const struct tg_map *map, uint32_t at, enum axis x)
{
	const struct tg_index *ix = &map->index[at];
	int found = -1;
	if (!part_is_plain(ix))
		return -1;
	for (uint32_t d = 0; d < s->n_dims; d++) {
		if (!ix->coef[d] || s->dims[d].kind != TG_DIM_PARALLEL)
			continue;
		if (found >= 0 || ix->coef[d] < 0)
			return -1;
		found = (int)d;
	}
	for (uint32_t i = 0; i < map->rank && found >= 0; i++)
		if (i != at && map->index[i].coef[found])
			return -1;
	return found >= 0 && x == IMAGES && !part_walks_alone(s, ix, (uint32_t)found) ? -1 : found;
}

/* first: the index of the run's first result that counts, in front of it nothing of the run is read. */
static int dim_of(const struct cascade *r, uint32_t i, enum axis x, int first)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	int d = -1;
	if (first >= 0)
		return part_walker(s, &s->outs[0].map, (uint32_t)first);
	for (uint32_t k = 0; k < s->n_ins; k++) {
		uint32_t maker = r->maker[op->in[k].id];
		if (!maker)
			continue;
		int own = walker_in(s, &s->ins[k].map, r->index[x][maker - 1], x);
		if (own < 0 || (d >= 0 && own != d))
			return -1;
		d = own;
	}
	return d;
}

static bool join_axis(struct cascade *r, uint32_t i, enum axis x, int first)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	const struct tg_shape *out = shape_of(r, op->out[0]);
	int d = dim_of(r, i, x, first);
	uint32_t at = 0;
	if (d < 0)
		return false;
	while (at < out->rank && !s->outs[0].map.index[at].coef[d])
		at++;
	if (at == out->rank || !part_only_index(s, &s->outs[0].map, at, (uint32_t)d) || out->dim[at] != s->dims[d].extent || s->dims[d].extent < 2)
		return false;
	for (uint32_t k = 0; k < s->n_ins; k++)
		if (!r->maker[op->in[k].id] && !part_can_move(&s->ins[k].map, (uint32_t)d))
			return false;
	for (uint32_t k = 0; k < s->n_nodes; k++)
		if (s->nodes[k].op == TG_X_index && s->nodes[k].k == d)
			return false;
	r->dim[x][i] = d;
	r->index[x][i] = at;
	return true;
}

/* rows: the index of the first result that counts rows, -1 behind it. */
static bool join_run(struct cascade *r, uint32_t i, int rows)
{
	if (!join_axis(r, i, ROWS, rows) || (r->images && (!join_axis(r, i, IMAGES, rows < 0 ? -1 : 0) || r->dim[IMAGES][i] == r->dim[ROWS][i])))
		return false;
	r->maker[r->ops[i]->out[0].id] = i + 1;
	return true;
}

static void leave_run(struct cascade *r, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		r->maker[r->ops[i]->out[0].id] = 0;
}

/* Bytes of the tensors that a stage moves by rows. */
static double moved_bytes(const struct cascade *r, uint32_t i)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	double sum = tg_tensor_bytes(r->m, op->out[0]);
	for (uint32_t k = 0; k < s->n_ins; k++)
		sum += part_walks(&s->ins[k].map, (uint32_t)r->dim[ROWS][i]) ? tg_tensor_bytes(r->m, op->in[k]) : 0;
	return sum;
}

/* Cycles of a stage's work at best: points on the array or the lanes, and on the lanes what follows a product's sum. */
static double work_cycles(const struct cascade *r, const struct tg_stage *s)
{
	const struct tg_chip *c = r->chip;
	struct tg_factor f[2];
	double points = (double)tg_stage_points(s), results = 1, lanes = (double)c->lanes * c->sublanes;
	for (uint32_t d = 0; d < s->n_dims; d++)
		results *= s->dims[d].kind == TG_DIM_PARALLEL ? (double)s->dims[d].extent : 1;
	if (!tg_stage_product(s, f) || !tg_reuses_factors(s, f))
		return points / lanes;
	double array = points / ((double)c->array_rows * c->array_cols * c->n_arrays), behind = results * s->n_nodes / (lanes * c->n_alu);
	return array > behind ? array : behind;
}

static bool is_pressed(const struct cascade *r, uint32_t i)
{
	const struct tg_stage *s = part_stage_of(r->ops[i]);
	double bytes = moved_bytes(r, i);
	return bytes > (double)r->chip->sram_bytes / 2 && bytes / r->chip->dram_bytes_per_cycle > work_cycles(r, s);
}

/* Only the last result may be read outside of [first, last]. */
static bool is_closed(const struct cascade *r, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i < last; i++)
		if (part_is_read_outside(r->m, r->ops, first, last, r->ops[i]->out[0]))
			return false;
	return true;
}

/* ---- parts ------------------------------------------------------------------------------------------------------------------------------------ */

/* What candidate i reads of an index, for its own range: inside of the tensor, at least one entry. */
static struct range needed(const struct cascade *r, uint32_t i, enum axis x, const struct tg_index *ix, int64_t size)
{
	const struct tg_stage *s = part_stage_of(r->ops[i]);
	struct range own = r->range[x][i], n = { ix->offset, ix->offset };
	for (uint32_t d = 0; d < s->n_dims; d++) {
		int64_t from = (int)d == r->dim[x][i] ? own.lo : 0, to = (int)d == r->dim[x][i] ? own.hi - 1 : s->dims[d].extent - 1;
		n.lo += ix->coef[d] * (ix->coef[d] < 0 ? to : from);
		n.hi += ix->coef[d] * (ix->coef[d] < 0 ? from : to);
	}
	n.hi++;
	n.lo = n.lo < 0 ? 0 : n.lo > size - 1 ? size - 1 : n.lo;
	n.hi = n.hi > size ? size : n.hi <= n.lo ? n.lo + 1 : n.hi;
	return n;
}

/* Ranges of all results for [lo, hi) of the last one; false: one is not needed at all. */
static bool set_ranges(struct cascade *r, uint32_t first, uint32_t last, enum axis x, int64_t lo, int64_t hi)
{
	for (uint32_t i = first; i < last; i++)
		r->range[x][i] = (struct range){ INT64_MAX, INT64_MIN };
	r->range[x][last] = (struct range){ lo, hi };
	for (uint32_t i = last + 1; i-- > first;) {
		const struct tg_op *op = r->ops[i];
		const struct tg_stage *s = part_stage_of(op);
		if (r->range[x][i].lo >= r->range[x][i].hi)
			return false;
		for (uint32_t k = 0; k < s->n_ins; k++) {
			uint32_t maker = r->maker[op->in[k].id];
			if (!maker || maker - 1 < first || maker - 1 >= i)
				continue;
			uint32_t at = r->index[x][maker - 1];
			struct range n = needed(r, i, x, &s->ins[k].map.index[at], shape_of(r, op->in[k])->dim[at]), *all = &r->range[x][maker - 1];
			all->lo = n.lo < all->lo ? n.lo : all->lo;
			all->hi = n.hi > all->hi ? n.hi : all->hi;
		}
	}
	return true;
}

static double share(struct range n, int64_t of)
{
	return (double)(n.hi - n.lo) / (double)of;
}

/* Of a result of the run: its bytes in the part at hand. */
static double part_bytes(const struct cascade *r, uint32_t i)
{
	double bytes = tg_tensor_bytes(r->m, r->ops[i]->out[0]);
	for (int x = 0; x < N_AXES; x++)
		if (has(r, (enum axis)x))
			bytes *= share(r->range[x][i], shape_of(r, r->ops[i]->out[0])->dim[r->index[x][i]]);
	return bytes;
}

/* Of an operand from outside; *walks: it is another one for another part. */
static double outside_bytes(const struct cascade *r, uint32_t i, uint32_t k, bool *walks)
{
	const struct tg_map *map = &part_stage_of(r->ops[i])->ins[k].map;
	double bytes = tg_tensor_bytes(r->m, r->ops[i]->in[k]);
	*walks = false;
	for (int x = 0; x < N_AXES; x++)
		for (uint32_t at = 0; has(r, (enum axis)x) && at < map->rank; at++)
			if (map->index[at].coef[r->dim[x][i]]) {
				int64_t size = shape_of(r, r->ops[i]->in[k])->dim[at];
				bytes *= share(needed(r, i, (enum axis)x, &map->index[at], size), size);
				*walks = true;
			}
	return bytes;
}

/* What a part of the run moves from outside, the cycles of its work, and the most that a stage of it holds. */
struct load { double bytes, cycles, most; };

static void add_part(const struct cascade *r, uint32_t first, uint32_t last, struct load *l)
{
	for (uint32_t i = first; i <= last; i++) {
		const struct tg_op *op = r->ops[i];
		const struct tg_stage *s = part_stage_of(op);
		double held = part_bytes(r, i), cycles = work_cycles(r, s);
		for (uint32_t k = 0; k < s->n_ins; k++) {
			uint32_t maker = r->maker[op->in[k].id];
			bool walks = true;
			double bytes = maker ? part_bytes(r, maker - 1) : outside_bytes(r, i, k, &walks);
			l->bytes += maker ? 0 : bytes;
			held += walks ? bytes : 0;
		}
		for (int x = 0; x < N_AXES; x++)
			cycles *= has(r, (enum axis)x) ? share(r->range[x][i], s->dims[r->dim[x][i]].extent) : 1;
		l->cycles += cycles;
		l->most = held > l->most ? held : l->most;
	}
	l->bytes += (last - first + 1) * CODE_BYTES;
}

static struct range block(int64_t rows, int64_t blocks, int64_t b)
{
	return (struct range){ rows * b / blocks, rows * (b + 1) / blocks };
}

static int64_t extent_of(const struct cascade *r, enum axis x, uint32_t i)
{
	return has(r, x) ? part_stage_of(r->ops[i])->dims[r->dim[x][i]].extent : 1;
}

/* All parts; false: one does not fit. */
static bool weigh(struct cascade *r, uint32_t first, uint32_t last, int64_t blocks, struct load *l)
{
	*l = (struct load){ 0 };
	if (r->images && !set_ranges(r, first, last, IMAGES, 0, 1))
		return false;
	for (int64_t b = 0; b < blocks; b++) {
		struct range n = block(extent_of(r, ROWS, last), blocks, b);
		if (!set_ranges(r, first, last, ROWS, n.lo, n.hi))
			return false;
		add_part(r, first, last, l);
	}
	l->bytes *= (double)extent_of(r, IMAGES, last);
	l->cycles *= (double)extent_of(r, IMAGES, last);
	return l->most <= (double)r->chip->sram_bytes / 2;
}

/* Cycles that a run in so many blocks saves; 0: nothing. The whole stages move everything from outside once, and of the run's own tensors what does not fit beside each other. */
static double gain(struct cascade *r, uint32_t first, uint32_t last, int64_t *blocks)
{
	double whole = 0, work = 0, between = 0, nodes = 0, images = (double)extent_of(r, IMAGES, last);
	int64_t rows = extent_of(r, ROWS, last);
	struct load l;
	for (uint32_t i = first; i <= last; i++) {
		const struct tg_op *op = r->ops[i];
		const struct tg_stage *s = part_stage_of(op);
		double read = 0, made = tg_tensor_bytes(r->m, op->out[0]);
		for (uint32_t k = 0; k < s->n_ins; k++)
			*(r->maker[op->in[k].id] ? &read : &whole) += tg_tensor_bytes(r->m, op->in[k]);
		if (read + made > (double)r->chip->sram_bytes / 2)
			between += read + (i < last ? made : 0);
		work += work_cycles(r, s);
		nodes += s->n_nodes;
	}
	for (*blocks = 1; *blocks <= rows / 2 && (double)*blocks * images * (last - first + 1) <= MOST_COPIES; ++*blocks) {
		if (!weigh(r, first, last, *blocks, &l))
			continue;
		if (*blocks == 1) /* whole images are for the pass `images` */
			return 0;
		double before = (between + whole) / r->chip->dram_bytes_per_cycle, after = l.bytes / r->chip->dram_bytes_per_cycle;
		double saved = (before > work ? before : work) - (after > l.cycles ? after : l.cycles);
		return saved > MARGIN * between / r->chip->dram_bytes_per_cycle && saved > NODE_SAVES * nodes * (double)*blocks * images ? saved : 0;
	}
	return 0;
}

/* ---- copies ------------------------------------------------------------------------------------------------------------------------------------- */

static struct tg_map moved_map(struct cascade *r, uint32_t i, const struct tg_map *from)
{
	struct tg_map to = { from->rank, tg_alloc_n(r->m->arena, from->rank, sizeof *to.index) };
	for (uint32_t at = 0; at < from->rank; at++) {
		to.index[at] = from->index[at];
		for (int x = 0; x < N_AXES; x++)
			if (has(r, (enum axis)x))
				to.index[at].offset += r->range[x][i].lo * from->index[at].coef[r->dim[x][i]];
	}
	return to;
}

static struct tg_stage *part_stage(struct cascade *r, uint32_t i, tg_val *in)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	struct tg_stage *p = tg_alloc(r->m->arena, sizeof *p);
	*p = *s;
	p->dims = tg_alloc_n(r->m->arena, s->n_dims, sizeof *p->dims);
	p->ins = tg_alloc_n(r->m->arena, s->n_ins + 1, sizeof *p->ins);
	memcpy(p->dims, s->dims, s->n_dims * sizeof *p->dims);
	for (int x = 0; x < N_AXES; x++)
		if (has(r, (enum axis)x))
			p->dims[r->dim[x][i]].extent = r->range[x][i].hi - r->range[x][i].lo;
	for (uint32_t k = 0; k < s->n_ins; k++) {
		uint32_t maker = r->maker[op->in[k].id];
		in[k] = maker ? r->part[op->in[k].id] : op->in[k];
		p->ins[k] = s->ins[k];
		p->ins[k].map = moved_map(r, i, &s->ins[k].map);
		for (int x = 0; maker && x < N_AXES; x++)
			if (has(r, (enum axis)x))
				p->ins[k].map.index[r->index[x][maker - 1]].offset -= r->range[x][maker - 1].lo;
	}
	return p;
}

/* into: where the run's last result is collected, or 0: a tensor of its own. */
static tg_val copy_stage(struct cascade *r, struct tg_op *before, uint32_t i, tg_val into)
{
	const struct tg_op *op = r->ops[i];
	struct tg_shape shape = *shape_of(r, op->out[0]);
	tg_val *in = tg_alloc_n(r->cx->scratch, op->n_in + 2, sizeof *in);
	struct tg_stage *s = part_stage(r, i, in);
	uint32_t n_in = s->n_ins;
	if (into.id) {
		in[n_in++] = into;
		s->outs = tg_alloc(r->m->arena, sizeof *s->outs);
		*s->outs = *part_stage_of(op)->outs;
		s->outs->map = moved_map(r, i, &s->outs->map);
	}
	for (int x = 0; x < N_AXES && !into.id; x++)
		if (has(r, (enum axis)x))
			shape.dim[r->index[x][i]] = r->range[x][i].hi - r->range[x][i].lo;
	return part_new_stage(r->m, before, op, &(struct part_stage){ s, in, n_in, into.id != 0 }, &shape);
}

static void split_run(struct cascade *r, uint32_t first, uint32_t last, int64_t blocks)
{
	struct tg_op *end = r->ops[last], *before = end->next;
	tg_val into = part_new_whole(r->m, end);
	int64_t images = extent_of(r, IMAGES, last), rows = extent_of(r, ROWS, last);
	r->part = tg_alloc_n(r->cx->scratch, r->m->values.n, sizeof *r->part);
	for (int64_t image = 0; image < images; image++)
		for (int64_t b = 0; b < blocks; b++) {
			struct range n = block(rows, blocks, b);
			if (r->images)
				set_ranges(r, first, last, IMAGES, image, image + 1);
			set_ranges(r, first, last, ROWS, n.lo, n.hi);
			for (uint32_t i = first; i < last; i++)
				r->part[r->ops[i]->out[0].id] = copy_stage(r, before, i, (tg_val){ 0 });
			into = copy_stage(r, before, last, into);
		}
	leave_run(r, first, last);
	part_replace(r->m, r->ops, first, last, into);
}

/* ---- which runs ----------------------------------------------------------------------------------------------------------------------------------- */

struct choice { uint32_t last; int rows; int64_t blocks; bool images; double gain; };

/* The run from `first` on whose rows are index `rows` of its result, as far as it goes; the best end of it. */
static void try_rows(struct cascade *r, uint32_t first, int rows, struct choice *best)
{
	uint32_t last = first, reach = first;
	if (!join_run(r, first, rows))
		return;
	if (is_pressed(r, first))
		for (uint32_t i = first + 1; i < r->n && i - last <= MOST_BETWEEN && join_run(r, i, -1); i++) {
			reach = i;
			last = is_pressed(r, i) ? i : last;
		}
	for (uint32_t end = reach; end + 1 >= first + LEAST_STAGES; end--) {
		int64_t blocks = 0;
		if (!is_closed(r, first, end))
			continue;
		double saved = gain(r, first, end, &blocks);
		if (saved > best->gain * (best->rows == rows ? 1 : INNER))
			*best = (struct choice){ end, rows, blocks, r->images, saved };
		leave_run(r, end, end);
	}
	leave_run(r, first, reach);
}

/* From candidate `first` on. Returns how many candidates are done with. */
static uint32_t try_run(struct cascade *r, uint32_t first)
{
	const struct tg_shape *out = shape_of(r, r->ops[first]->out[0]);
	struct choice best = { .gain = 0 };
	if (r->n_makers < r->m->values.n) { /* new values came with the last run */
		r->n_makers = (uint32_t)r->m->values.n + (uint32_t)r->m->values.n / 2;
		r->maker = tg_alloc_n(r->cx->scratch, r->n_makers, sizeof *r->maker);
	}
	r->images = out->rank > 1 && out->dim[0] > 1;
	for (uint32_t rows = r->images; rows < out->rank; rows++)
		try_rows(r, first, (int)rows, &best);
	if (best.gain <= 0)
		return 1;
	join_run(r, first, best.rows);
	for (uint32_t i = first + 1; i <= best.last; i++)
		join_run(r, i, -1);
	split_run(r, first, best.last, best.blocks);
	return best.last - first + 1;
}

static void flush(struct cascade *r)
{
	for (uint32_t i = 0; i < r->n;)
		i += try_run(r, i);
	r->n = 0;
}

bool pass_cascade(struct tg_pass *cx, struct tg_module *m)
{
	struct cascade r = { .cx = cx, .m = m, .chip = cx->chip };
	uint32_t n = 0;
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		n++;
	r.ops = tg_alloc_n(cx->scratch, n + 1, sizeof *r.ops);
	for (int x = 0; x < N_AXES; x++) {
		r.dim[x] = tg_alloc_n(cx->scratch, n + 1, sizeof *r.dim[x]);
		r.index[x] = tg_alloc_n(cx->scratch, n + 1, sizeof *r.index[x]);
		r.range[x] = tg_alloc_n(cx->scratch, n + 1, sizeof *r.range[x]);
	}
	for (struct tg_op *op = m->body.first, *next; r.chip && op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_data)
			continue;
		if (part_is_candidate(op))
			r.ops[r.n++] = op;
		else
			flush(&r);
	}
	flush(&r);
	return true;
}
