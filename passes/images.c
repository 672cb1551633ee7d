/* images.c: stages whose tensors are too large for SRAM run for a few images of a batch at a time.
 *
 *   %b = stage(%a) { [8, ...] }            %b0 = stage(%a[0])             ...          %b7 = stage(%a[7])
 *   %c = stage(%b) { [8, ...] }     ==>    %c0 = stage(%b0)                            %c7 = stage(%b7)
 *   %d = stage(%c, %b)                     %d' = stage(%c0, %b0) into []               %d  = stage(%c7, %b7) into %d"
 *
 * In: tile stages behind all other passes. Out: a run of stages that move more bytes than they compute on, once for each part of the batch: what lies between
 * them fits SRAM then and stays there. Only the run's last result is one tensor again. Parts share nothing, so every element is computed as before. */
#include "isa.h"
#include "join.h"

bool pass_images(struct tg_pass *cx, struct tg_module *m);

enum { LEAST_STAGES = 3, MOST_BETWEEN = 3 };

struct runner {
	struct tg_pass *cx;
	struct tg_module *m;
	const struct tg_chip *chip;
	struct tg_op **ops;  /* candidates, in order */
	uint32_t n;
	tg_val *part;        /* by value: its part in the copy that is being made, 0: it is no result of the run */
};

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static bool is_plain(const struct tg_index *x)
{
	return x->div == 1 && x->mod == 0 && x->gather < 0;
}

/* The index is dimension d and nothing else. */
static bool walks_alone(const struct tg_stage *s, const struct tg_index *x, uint32_t d)
{
	for (uint32_t k = 0; k < s->n_dims; k++)
		if (x->coef[k] != (k == d))
			return false;
	return is_plain(x) && x->offset == 0;
}

/* Index 0 is d alone and no other index knows d; or no index does. */
static bool slices(const struct tg_stage *s, const struct tg_map *map, uint32_t d, bool *depends)
{
	*depends = map->rank && map->index[0].coef[d];
	if (*depends && !walks_alone(s, &map->index[0], d))
		return false;
	for (uint32_t i = 1; i < map->rank; i++)
		if (map->index[i].coef[d])
			return false;
	return true;
}

static const struct tg_shape *shape_of(const struct runner *r, tg_val v)
{
	return &tg_value_get(r->m, v)->shape;
}

/* The stage's dimension that counts images, or -1. */
static int batch_dim(const struct runner *r, const struct tg_op *op)
{
	const struct tg_stage *s = stage_of(op);
	const struct tg_shape *out = shape_of(r, op->out[0]);
	bool depends;
	if (op->n_out != 1 || s->n_outs != 1 || op->attrs[TG_AT(tile_stage, into)].i || tg_stage_beyond_lanes(s) || out->rank < 2)
		return -1;
	for (uint32_t d = 0; d < s->n_dims; d++) {
		if (s->dims[d].kind != TG_DIM_PARALLEL || s->dims[d].extent != out->dim[0] || out->dim[0] < 2 || !slices(s, &s->outs[0].map, d, &depends) || !depends)
			continue;
		for (uint32_t i = 0; i < s->n_ins; i++)
			if (!slices(s, &s->ins[i].map, d, &depends) || (depends && shape_of(r, op->in[i])->dim[0] != out->dim[0]))
				return -1;
		for (uint32_t i = 0; i < s->n_nodes; i++)
			if (s->nodes[i].op == TG_X_index && (uint32_t)s->nodes[i].k == d)
				return -1;
		return (int)d;
	}
	return -1;
}

/* ---- which stages ------------------------------------------------------------------------------------------------------------------ */

/* Bytes of the tensors that hold a part for each image. */
static double batch_bytes(const struct runner *r, const struct tg_op *op)
{
	const struct tg_stage *s = stage_of(op);
	int d = batch_dim(r, op);
	double sum = 0;
	for (uint32_t i = 0; i <= s->n_ins; i++) {
		const struct tg_map *map = i < s->n_ins ? &s->ins[i].map : &s->outs[0].map;
		const struct tg_value *v = tg_value_get(r->m, i < s->n_ins ? op->in[i] : op->out[0]);
		size_t bytes = 0;
		bool counts = map->rank && map->index[0].coef[d] && tg_shape_bytes(&v->shape, (enum tg_dtype)v->dtype, &bytes);
		sum += counts ? (double)bytes : 0;
	}
	return sum;
}

/* More cycles for the bytes than for the work, and too many of them to stay in SRAM. */
static bool is_pressed(const struct runner *r, const struct tg_op *op)
{
	const struct tg_stage *s = stage_of(op);
	const struct tg_chip *c = r->chip;
	struct tg_factor f[2];
	double bytes = batch_bytes(r, op), points = (double)tg_stage_points(s);
	bool array = tg_stage_product(s, f) && tg_reuses_factors(s, f);
	double each = array ? (double)c->array_rows * c->array_cols * c->n_arrays : (double)c->lanes * c->sublanes;
	return bytes > (double)c->sram_bytes / 2 && bytes / c->dram_bytes_per_cycle > points / each;
}

static bool used_behind(const struct runner *r, tg_val v, uint32_t first, uint32_t last)
{
	for (const struct tg_op *op = r->m->body.first; op; op = op->next) {
		bool inside = false;
		for (uint32_t i = first; i <= last; i++)
			inside |= r->ops[i] == op;
		for (uint32_t i = 0; i < op->n_in && !inside; i++)
			if (op->in[i].id == v.id)
				return true;
	}
	for (size_t i = 0; i < r->m->outputs.n; i++)
		if (r->m->outputs.at[i].value.id == v.id)
			return true;
	return false;
}

/* Only the last result is read outside of [first, last]: the end moves forward until that holds. */
static uint32_t closed_end(const struct runner *r, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i < last; i++)
		if (used_behind(r, r->ops[i]->out[0], first, last)) {
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
		most = batch_bytes(r, r->ops[i]) > most ? batch_bytes(r, r->ops[i]) : most;
	int64_t n = images / 2;
	while (n > 0 && (images % n || most * (double)n / (double)images > (double)r->chip->sram_bytes / 2))
		n--;
	return n;
}

/* ---- copies -------------------------------------------------------------------------------------------------------------------------- */

static struct tg_map moved_map(struct runner *r, const struct tg_map *from, int64_t by)
{
	struct tg_map to = { from->rank, tg_alloc_n(r->m->arena, from->rank, sizeof *to.index) };
	for (uint32_t i = 0; i < from->rank; i++)
		to.index[i] = from->index[i];
	to.index[0].offset += by;
	return to;
}

/* The stage for images [at, at + n). Results of the run are read from their parts, everything else where the images lie. */
static struct tg_stage *part_stage(struct runner *r, const struct tg_op *op, int64_t at, int64_t n, tg_val *in)
{
	const struct tg_stage *s = stage_of(op);
	struct tg_stage *p = tg_alloc(r->m->arena, sizeof *p);
	int d = batch_dim(r, op);
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
		if (!part.id && s->ins[i].map.rank && s->ins[i].map.index[0].coef[d])
			p->ins[i].map = moved_map(r, &s->ins[i].map, at);
	}
	return p;
}

/* into: where the run's last result is collected, or 0: a tensor of its own. */
static tg_val copy_stage(struct runner *r, struct tg_op *before, const struct tg_op *op, int64_t at, int64_t n, tg_val into)
{
	const struct tg_value *whole = tg_value_get(r->m, op->out[0]);
	struct tg_shape shape = whole->shape;
	enum tg_dtype t = (enum tg_dtype)whole->dtype;
	tg_val *in = tg_alloc_n(r->cx->scratch, op->n_in + 2, sizeof *in);
	struct tg_stage *s = part_stage(r, op, at, n, in);
	uint32_t n_in = s->n_ins;
	if (into.id) {
		in[n_in++] = into;
		s->outs = tg_alloc(r->m->arena, sizeof *s->outs);
		*s->outs = *stage_of(op)->outs;
		s->outs->map = moved_map(r, &s->outs->map, at);
	} else {
		shape.dim[0] = n;
	}
	struct tg_op *c = tg_op_new(r->m, &r->m->body, before, TG_TILE_stage, in, n_in, 1, op->prov);
	for (uint32_t i = 0; i < tg_op_info(op->code)->n_attrs; i++)
		c->attrs[i] = op->attrs[i];
	c->attrs[TG_AT(tile_stage, body)].stage = s;
	c->attrs[TG_AT(tile_stage, into)].i = into.id != 0;
	c->out[0] = tg_value_new(r->m, TG_TENSOR, t, &shape, NULL);
	tg_value_of(r->m, c->out[0])->def = c;
	return c->out[0];
}

static void split_run(struct runner *r, uint32_t first, uint32_t last, int64_t images, int64_t n)
{
	struct tg_op *end = r->ops[last], *before = end->next;
	tg_val whole = end->out[0];
	struct tg_shape shape = *shape_of(r, whole);
	struct tg_op *empty = tg_op_new(r->m, &r->m->body, before, TG_TILE_empty, NULL, 0, 1, end->prov);
	tg_val into = empty->out[0] = tg_value_new(r->m, TG_TENSOR, (enum tg_dtype)tg_value_get(r->m, whole)->dtype, &shape, NULL);
	tg_value_of(r->m, into)->def = empty;
	r->part = tg_alloc_n(r->cx->scratch, r->m->values.n, sizeof *r->part);
	for (int64_t at = 0; at < images; at += n) {
		for (uint32_t i = first; i < last; i++)
			r->part[r->ops[i]->out[0].id] = copy_stage(r, before, r->ops[i], at, n, (tg_val){ 0 });
		into = copy_stage(r, before, end, at, n, into);
	}
	tg_value_of(r->m, into)->name = tg_value_get(r->m, whole)->name;
	tg_replace_uses(r->m, whole, into);
	for (uint32_t i = first; i <= last; i++)
		tg_op_remove(r->ops[i]);
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------------------ */

/* From candidate `first` on: the pressed stages and the few between them. Returns how many candidates are done with. */
static uint32_t try_run(struct runner *r, uint32_t first, uint32_t n)
{
	uint32_t last = first;
	int64_t images = shape_of(r, r->ops[first]->out[0])->dim[0];
	if (!is_pressed(r, r->ops[first]))
		return 1;
	for (uint32_t i = first + 1; i < n && i - last <= MOST_BETWEEN && shape_of(r, r->ops[i]->out[0])->dim[0] == images; i++)
		if (is_pressed(r, r->ops[i]))
			last = i;
	last = closed_end(r, first, last);
	int64_t part = part_images(r, first, last, images);
	if (last - first + 1 < LEAST_STAGES || part == 0)
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
	for (struct tg_op *op = m->body.first, *next; r.chip && op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_data)
			continue;
		if (op->code == TG_TILE_stage && batch_dim(&r, op) >= 0)
			r.ops[r.n++] = op;
		else
			flush(&r);
	}
	flush(&r);
	return true;
}
