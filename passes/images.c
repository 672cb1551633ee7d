/* images.c: stages whose tensors are too large for SRAM run for a few images of a batch at a time.
 *
 *   %b = stage(%a) { [8, ...] }            %b0 = stage(%a[0])             ...          %b7 = stage(%a[7])
 *   %c = stage(%b) { [8, ...] }     ==>    %c0 = stage(%b0)                            %c7 = stage(%b7)
 *   %d = stage(%c, %b)                     %d' = stage(%c0, %b0) into []               %d  = stage(%c7, %b7) into %d"
 *
 * Images may as well be the heads of an attention: then the scores of a few heads at a time stay in SRAM from the product to the next.
 *
 * In: tile stages behind all other passes. Out: a run of stages that move more bytes than they compute on, once for each part of the batch: what lies between
 * them fits SRAM then and stays there. It ends where most bytes are saved: every part reads the weights of all its stages again. Only the run's last result is one tensor again. Parts share nothing, so every element is computed as before.
 *
 * A run's first stage counts images by the outermost index of its result that has more than one value; in the stages behind it the dimension that walks this
 * index of what they read counts them, wherever it stands in their own result. */
#include "isa.h"
#include "join.h"
#include "parts.h"

#include <string.h>

bool pass_images(struct tg_pass *cx, struct tg_module *m);

enum { LEAST_STAGES = 3, MOST_BETWEEN = 3 };
#define NEARLY 0.875
#define MARGIN 1.25 /* where all images fit the sublanes, fewer of them may fill those worse */

struct runner {
	struct tg_pass *cx;
	struct tg_module *m;
	const struct tg_chip *chip;
	struct tg_op **ops;  /* candidates, in order */
	uint32_t n;
	int *dim;            /* by candidate of the run at hand: its dimension that counts images */
	uint32_t *index;     /* and the index of its result that this dimension walks */
	uint32_t n_makers, *maker; /* by value: candidate + 1 that makes it in the run at hand, or 0 */
	tg_val *part;        /* by value: its part in the copy that is being made, 0: it is no result of the run */
};

static const struct tg_shape *shape_of(const struct runner *r, tg_val v)
{
	return &tg_value_get(r->m, v)->shape;
}

/* What counts images in candidate i: as what it reads of the run says, or the outermost of its result; -1: nothing does. */
static int wanted_dim(const struct runner *r, uint32_t i)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	const struct tg_shape *out = shape_of(r, op->out[0]);
	for (uint32_t k = 0; k < s->n_ins; k++)
		if (r->maker[op->in[k].id])
			return part_walker(s, &s->ins[k].map, r->index[r->maker[op->in[k].id] - 1]);
	for (uint32_t at = 0; at < out->rank; at++)
		if (out->dim[at] > 1)
			return part_walker(s, &s->outs[0].map, at);
	return -1;
}

/* Takes candidate i into the run that begins at `first`: false where its parts cannot be told apart. */
static bool join_run(struct runner *r, uint32_t first, uint32_t i)
{
	const struct tg_op *op = r->ops[i];
	const struct tg_stage *s = part_stage_of(op);
	const struct tg_shape *out = shape_of(r, op->out[0]);
	int d = wanted_dim(r, i);
	uint32_t at = 0;
	if (d < 0)
		return false;
	while (at < out->rank && !s->outs[0].map.index[at].coef[d])
		at++;
	int64_t images = s->dims[d].extent;
	if (at == out->rank || !part_only_index(s, &s->outs[0].map, at, (uint32_t)d) || out->dim[at] != images || images < 2 ||
	    (i > first && images != part_stage_of(r->ops[first])->dims[r->dim[first]].extent))
		return false;
	for (uint32_t k = 0; k < s->n_ins; k++) {
		uint32_t maker = r->maker[op->in[k].id];
		if (maker ? !part_only_index(s, &s->ins[k].map, r->index[maker - 1], (uint32_t)d) : !part_can_move(&s->ins[k].map, (uint32_t)d))
			return false;
	}
	for (uint32_t k = 0; k < s->n_nodes; k++)
		if (s->nodes[k].op == TG_X_index && s->nodes[k].k == d)
			return false;
	r->dim[i] = d;
	r->index[i] = at;
	r->maker[op->out[0].id] = i + 1;
	return true;
}

/* ---- which stages ------------------------------------------------------------------------------------------------------------------ */

/* Bytes of the tensors that hold a part for each image. */
static double batch_bytes(const struct runner *r, uint32_t candidate)
{
	const struct tg_op *op = r->ops[candidate];
	const struct tg_stage *s = part_stage_of(op);
	uint32_t d = (uint32_t)r->dim[candidate];
	double sum = 0;
	for (uint32_t i = 0; i <= s->n_ins; i++) {
		const struct tg_map *map = i < s->n_ins ? &s->ins[i].map : &s->outs[0].map;
		const struct tg_value *v = tg_value_get(r->m, i < s->n_ins ? op->in[i] : op->out[0]);
		size_t bytes = 0;
		bool counts = part_walks(map, d) && tg_shape_bytes(&v->shape, (enum tg_dtype)v->dtype, &bytes);
		sum += counts ? (double)bytes : 0;
	}
	return sum;
}

/* More cycles for the bytes than for the work, and too many of them to stay in SRAM. */
static bool is_pressed(const struct runner *r, uint32_t candidate)
{
	const struct tg_stage *s = part_stage_of(r->ops[candidate]);
	const struct tg_chip *c = r->chip;
	struct tg_factor f[2];
	double bytes = batch_bytes(r, candidate), points = (double)tg_stage_points(s);
	bool array = tg_stage_product(s, f) && tg_reuses_factors(s, f);
	double each = array ? (double)c->array_rows * c->array_cols * c->n_arrays : (double)c->lanes * c->sublanes;
	double margin = s->dims[r->dim[candidate]].extent <= (int64_t)c->sublanes ? MARGIN : 1;
	return bytes > (double)c->sram_bytes / 2 && bytes / c->dram_bytes_per_cycle > margin * points / each;
}

/* Only the last result may be read outside of [first, last]: the end moves back until that holds. */
static uint32_t closed_end(const struct runner *r, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i < last; i++)
		if (part_is_read_outside(r->m, r->ops, first, last, r->ops[i]->out[0])) {
			last = i;
			i = first - 1; /* from the start */
		}
	return last;
}

/* Images in a part: as many as half of SRAM holds for every stage, 0: not even one. */
static int64_t part_images(const struct runner *r, uint32_t first, uint32_t last, int64_t images)
{
	double most = 0;
	for (uint32_t i = first; i <= last; i++)
		most = batch_bytes(r, i) > most ? batch_bytes(r, i) : most;
	int64_t n = images / 2;
	while (n > 0 && (images % n || most * (double)n / (double)images > (double)r->chip->sram_bytes / 2))
		n--;
	return n;
}

/* Bytes that no longer move when [first, last] runs in `parts` parts: what lies between its stages and is too large to stay in SRAM whole; less what every part
 * reads again: weights, which do not know of images. */
static double bytes_saved(const struct runner *r, uint32_t first, uint32_t last, double parts)
{
	double saved = 0;
	for (uint32_t i = first; i <= last; i++) {
		const struct tg_op *op = r->ops[i];
		const struct tg_stage *s = part_stage_of(op);
		bool pressed = batch_bytes(r, i) > (double)r->chip->sram_bytes / 2;
		for (uint32_t k = 0; k < s->n_ins; k++) {
			double bytes = tg_tensor_bytes(r->m, op->in[k]);
			bool ours = false, repeated = false;
			for (uint32_t j = first; j < i; j++)
				ours |= r->ops[j]->out[0].id == op->in[k].id;
			for (uint32_t j = 0; j < k; j++)
				repeated |= op->in[j].id == op->in[k].id;
			if (ours)
				saved += pressed && !repeated ? bytes : 0;
			else if (!part_walks(&s->ins[k].map, (uint32_t)r->dim[i]))
				saved -= (parts - 1) * bytes;
		}
		if (i < last && pressed)
			saved += tg_tensor_bytes(r->m, op->out[0]);
	}
	return saved;
}

/* The last end from which nearly as much is saved as from the best, since what crosses a run's end lies in DRAM; `first`: nothing is. *part: how many images a part has. */
static uint32_t best_end(const struct runner *r, uint32_t first, uint32_t last, int64_t images, int64_t *part)
{
	uint32_t best = first;
	double most = 0;
	for (last = closed_end(r, first, last); last + 1 >= first + LEAST_STAGES; last = closed_end(r, first, last - 1)) {
		int64_t n = part_images(r, first, last, images);
		double saved = n ? bytes_saved(r, first, last, (double)(images / n)) : 0;
		if (saved * NEARLY <= most)
			continue;
		most = saved;
		best = last;
		*part = n;
	}
	return best;
}

/* ---- copies -------------------------------------------------------------------------------------------------------------------------- */

static struct tg_map moved_map(struct runner *r, const struct tg_map *from, uint32_t d, int64_t by)
{
	struct tg_map to = { from->rank, tg_alloc_n(r->m->arena, from->rank, sizeof *to.index) };
	for (uint32_t i = 0; i < from->rank; i++) {
		to.index[i] = from->index[i];
		to.index[i].offset += by * from->index[i].coef[d];
	}
	return to;
}

/* The stage for images [at, at + n). Results of the run are read from their parts, everything else where the images lie. */
static struct tg_stage *part_stage(struct runner *r, uint32_t candidate, int64_t at, int64_t n, tg_val *in)
{
	const struct tg_op *op = r->ops[candidate];
	const struct tg_stage *s = part_stage_of(op);
	struct tg_stage *p = tg_alloc(r->m->arena, sizeof *p);
	uint32_t d = (uint32_t)r->dim[candidate];
	*p = *s;
	p->dims = tg_alloc_n(r->m->arena, s->n_dims, sizeof *p->dims);
	p->ins = tg_alloc_n(r->m->arena, s->n_ins + 1, sizeof *p->ins);
	for (uint32_t i = 0; i < s->n_dims; i++)
		p->dims[i] = s->dims[i];
	p->dims[d].extent = n;
	for (uint32_t i = 0; i < s->n_ins; i++) {
		tg_val part = r->part[op->in[i].id];
		p->ins[i] = s->ins[i];
		in[i] = part.id ? part : op->in[i];
		if (!part.id && part_walks(&s->ins[i].map, d))
			p->ins[i].map = moved_map(r, &s->ins[i].map, d, at);
	}
	return p;
}

/* into: where the run's last result is collected, or 0: a tensor of its own. */
static tg_val copy_stage(struct runner *r, struct tg_op *before, uint32_t candidate, int64_t at, int64_t n, tg_val into)
{
	const struct tg_op *op = r->ops[candidate];
	struct tg_shape shape = *shape_of(r, op->out[0]);
	tg_val *in = tg_alloc_n(r->cx->scratch, op->n_in + 2, sizeof *in);
	struct tg_stage *s = part_stage(r, candidate, at, n, in);
	uint32_t n_in = s->n_ins;
	if (into.id) {
		in[n_in++] = into;
		s->outs = tg_alloc(r->m->arena, sizeof *s->outs);
		*s->outs = *part_stage_of(op)->outs;
		s->outs->map = moved_map(r, &s->outs->map, (uint32_t)r->dim[candidate], at);
	} else {
		shape.dim[r->index[candidate]] = n;
	}
	return part_new_stage(r->m, before, op, &(struct part_stage){ s, in, n_in, into.id != 0 }, &shape);
}

static void split_run(struct runner *r, uint32_t first, uint32_t last, int64_t images, int64_t n)
{
	struct tg_op *end = r->ops[last], *before = end->next;
	tg_val into = part_new_whole(r->m, end);
	r->part = tg_alloc_n(r->cx->scratch, r->m->values.n, sizeof *r->part);
	for (int64_t at = 0; at < images; at += n) {
		for (uint32_t i = first; i < last; i++)
			r->part[r->ops[i]->out[0].id] = copy_stage(r, before, i, at, n, (tg_val){ 0 });
		into = copy_stage(r, before, last, at, n, into);
	}
	part_replace(r->m, r->ops, first, last, into);
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------------------ */

/* New values came with the last run. */
static void make_room(struct runner *r)
{
	if (r->n_makers >= r->m->values.n)
		return;
	r->n_makers = (uint32_t)r->m->values.n + (uint32_t)r->m->values.n / 2;
	r->maker = tg_alloc_n(r->cx->scratch, r->n_makers, sizeof *r->maker);
}

/* Candidates first..last leave the run. */
static void leave_run(struct runner *r, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		r->maker[r->ops[i]->out[0].id] = 0;
}

/* From candidate `first` on: the pressed stages and the few between them. Returns how many candidates are done with. */
static uint32_t try_run(struct runner *r, uint32_t first, uint32_t n)
{
	uint32_t last = first, reach = first;
	make_room(r);
	if (join_run(r, first, first) && is_pressed(r, first))
		for (uint32_t i = first + 1; i < n && i - last <= MOST_BETWEEN && join_run(r, first, i); i++) {
			reach = i;
			if (is_pressed(r, i))
				last = i;
		}
	leave_run(r, first, reach);
	if (last == first)
		return 1;
	int64_t images = part_stage_of(r->ops[first])->dims[r->dim[first]].extent, part = 0;
	last = best_end(r, first, last, images, &part);
	if (last == first)
		return 1;
	split_run(r, first, last, images, part);
	return last - first + 1;
}

static void flush(struct runner *r)
{
	for (uint32_t i = 0; i < r->n;)
		i += try_run(r, i, r->n);
	r->n = 0;
}

bool pass_images(struct tg_pass *cx, struct tg_module *m)
{
	struct runner r = { .cx = cx, .m = m, .chip = cx->chip };
	uint32_t n = 0;
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		n++;
	r.ops = tg_alloc_n(cx->scratch, n + 1, sizeof *r.ops);
	r.dim = tg_alloc_n(cx->scratch, n + 1, sizeof *r.dim);
	r.index = tg_alloc_n(cx->scratch, n + 1, sizeof *r.index);
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
