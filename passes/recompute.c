/* recompute.c: an elementwise stage with several readers goes into each of them, where computing it again costs less than its trip through DRAM.
 *
 *   %e = stage(%x, %m) { exp(x - m) }                 %s = stage(%x, %m) { sum(exp(x - m)) }
 *   %s = stage(%e) { sum(e) }                  ==>    %y = stage(%x, %m, %s) { exp(x - m) / s }
 *   %y = stage(%e, %s) { e / s }
 *
 * In: fused tile stages. Out: fewer of them; a normalisation or softmax becomes its reductions and one elementwise stage, whatever exporters made of it. All
 * readers must take it in, or the tensor would be there anyway. */
#include "isa.h"
#include "join.h"

bool pass_recompute(struct tg_pass *cx, struct tg_module *m);

enum { MAX_READERS = 4, HARD = 8 };

struct reading { struct tg_op *op; uint32_t in; };
struct readers { uint32_t n; struct reading at[MAX_READERS]; };

static struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

/* Vector operations of one point, roughly: functions take several. */
static double work(const struct tg_stage *s)
{
	double n = 0;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		uint8_t op = s->nodes[i].op;
		bool hard = (op >= TG_X_sqrt && op <= TG_X_erf) || op == TG_X_div || op == TG_X_rem || op == TG_X_mod || op == TG_X_pow;
		n += op == TG_X_arg || op == TG_X_const ? 0 : hard ? HARD : 1;
	}
	return n;
}

static bool reads(const struct tg_op *op, tg_val v)
{
	for (uint32_t i = 0; i < op->n_in; i++)
		if (op->in[i].id == v.id)
			return true;
	return false;
}

/* What DRAM no longer moves: the result, written once and read by everyone, for its operands, read once before and by everyone (who does not anyway) now. */
static double bytes_saved(const struct tg_module *m, const struct tg_op *p, const struct readers *r)
{
	double saved = tg_tensor_bytes(m, p->out[0]) * (1 + r->n);
	for (uint32_t i = 0; i < p->n_in; i++) {
		saved += tg_tensor_bytes(m, p->in[i]);
		for (uint32_t k = 0; k < r->n; k++)
			saved -= reads(r->at[k].op, p->in[i]) ? 0 : tg_tensor_bytes(m, p->in[i]);
	}
	return saved;
}

static bool pays(const struct tg_pass *cx, const struct tg_module *m, const struct tg_op *p, const struct readers *r)
{
	const struct tg_chip *chip = cx->chip;
	double again = -(double)tg_stage_points(stage_of(p));
	if (!chip)
		return false;
	for (uint32_t k = 0; k < r->n; k++)
		again += (double)tg_stage_points(stage_of(r->at[k].op));
	double cycles = again * work(stage_of(p)) / (double)(chip->lanes * chip->sublanes * chip->n_alu);
	return bytes_saved(m, p, r) / chip->dram_bytes_per_cycle > cycles;
}

static bool fits_all(struct tg_module *m, struct tg_op *p, const struct readers *r)
{
	for (uint32_t k = 0; k < r->n; k++) {
		struct tg_op *c = r->at[k].op;
		struct tg_pair x = { m, p, c, r->at[k].in };
		if (c->code != TG_TILE_stage || r->at[k].in >= stage_of(c)->n_ins || tg_stage_beyond_lanes(stage_of(c)) || !tg_join_fits_consumer(&x))
			return false;
	}
	return true;
}

/* Readers of every value; n > MAX_READERS: too many, or not all of them operands. */
static struct readers *find_readers(struct tg_pass *cx, const struct tg_module *m)
{
	struct readers *of = tg_alloc_n(cx->scratch, m->values.n, sizeof *of);
	for (struct tg_op *op = m->body.first; op; op = op->next)
		for (uint32_t i = 0; i < op->n_in; i++) {
			struct readers *r = &of[op->in[i].id];
			if (r->n < MAX_READERS)
				r->at[r->n] = (struct reading){ op, i };
			r->n += r->n <= MAX_READERS;
			for (uint32_t k = 0; k < i; k++)
				if (op->in[k].id == op->in[i].id)
					r->n = MAX_READERS + 1; /* twice by one stage */
		}
	for (size_t i = 0; i < m->outputs.n; i++)
		of[m->outputs.at[i].value.id].n = MAX_READERS + 1;
	return of;
}

static bool candidate(const struct tg_op *p, const struct readers *r)
{
	if (p->code != TG_TILE_stage || p->n_out != 1 || r->n < 2 || r->n > MAX_READERS)
		return false;
	return !stage_of(p)->n_reds && !p->attrs[TG_AT(tile_stage, into)].i && !tg_stage_beyond_lanes(stage_of(p));
}

/* Joins p into its readers; what is known of the readers of their operands holds no longer. */
static void inline_everywhere(struct tg_module *m, struct tg_op *p, const struct readers *r, struct readers *of)
{
	for (uint32_t k = 0; k < r->n; k++) {
		struct tg_op *c = r->at[k].op;
		tg_join_into_consumer(&(struct tg_pair){ m, p, c, r->at[k].in });
		for (uint32_t i = 0; i < c->n_in; i++)
			of[c->in[i].id].n = MAX_READERS + 1;
	}
	tg_op_remove(p);
}

/* Each sweep sees the readers as they were at its beginning, and leaves alone what has changed since. */
bool pass_recompute(struct tg_pass *cx, struct tg_module *m)
{
	for (bool changed = true; changed;) {
		struct readers *of = find_readers(cx, m);
		changed = false;
		for (struct tg_op *p = m->body.first, *next; p; p = next) {
			next = p->next;
			if (p->n_out != 1 || !candidate(p, &of[p->out[0].id]))
				continue;
			struct readers r = of[p->out[0].id];
			if (!fits_all(m, p, &r) || !pays(cx, m, p, &r))
				continue;
			inline_everywhere(m, p, &r, of);
			changed = true;
		}
	}
	return true;
}
