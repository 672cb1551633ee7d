/* jit_apart.c: that doing a segment's accesses strip by strip is the same as one instruction after the other, that is, that stores and other accesses do not meet (or
 * lie lane upon lane). */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

static bool rows_apart(const struct place *p)
{
	int64_t s = p->s < 0 ? -p->s : p->s, t = p->t < 0 ? -p->t : p->t;
	uint32_t n = p->n < p->rows ? p->n : p->rows;
	if (p->rows > 1 && n > 1 && s < (int64_t)p->row_bytes)
		return false;
	return n >= p->rows || t >= (n - 1) * s + (int64_t)p->row_bytes;
}

static bool same_shape(const struct place *a, const struct place *b)
{
	return a->fixed && b->fixed && !a->extent && !b->extent && !a->spread && !b->spread && a->s == b->s && a->t == b->t && a->rows == b->rows && a->lanes == b->lanes && a->n == b->n &&
	       a->bytes == b->bytes && rows_apart(a);
}

/* The place's rows begin at multiples of the result from its base, and it divides m; 0: there is one row, and m is 0. */
static int64_t step_with(const struct place *p, int64_t m)
{
	if (p->rows > 1 && p->n > 1)
		m = grid_gcd(m, p->s < 0 ? -p->s : p->s);
	if (p->rows > p->n)
		m = grid_gcd(m, p->t < 0 ? -p->t : p->t);
	return m;
}

/* Rows of both begin at multiples of this from their bases; 0: a row each, or rows that only the run knows. */
static int64_t common_step(const struct place *a, const struct place *b)
{
	return a->extent || b->extent ? 0 : step_with(b, step_with(a, 0));
}

/* Rows that lie in each other's gaps, as neighbours in a line do: b's base is a's and `by`, and the rows do not meet modulo their step. */
static bool interleaved(const struct place *a, const struct place *b, int64_t by)
{
	int64_t m = common_step(a, b);
	return m && grid_beside(by, m, a->row_bytes, b->row_bytes);
}

bool places_apart(const struct place *a, const struct place *b, bool *same)
{
	*same = a->root == b->root && a->off == b->off && same_shape(a, b);
	if (a->root != b->root || !a->fixed || !b->fixed)
		return false;
	return a->off + a->lo >= b->off + b->hi || b->off + b->lo >= a->off + a->hi || interleaved(a, b, b->off - a->off);
}

/* Whether two accesses, one of them a store, may be in one loop: known to be apart, lane upon lane (not where a view stays), or checked when it runs. */
bool places_together(const struct place *a, const struct place *b, bool view)
{
	bool same;
	if (places_apart(a, b, &same))
		return true;
	if (same)
		return !view;
	return a->fixed && b->fixed && a->root != b->root;
}

static bool leaves_view(const struct lane_op *o)
{
	return o->kind == LANE_VIEW || o->lazy;
}

static val apart(struct gen *g, val a_lo, val a_hi, val b_lo, val b_hi)
{
	return g->L->BuildOr(g->b, g->L->BuildICmp(g->b, LLVMIntSGE, a_lo, b_hi, ""), g->L->BuildICmp(g->b, LLVMIntSGE, b_lo, a_hi, ""), "");
}

/* v mod m, not negative. */
static val modulo(struct gen *g, val v, int64_t m)
{
	if ((m & (m - 1)) == 0)
		return g->L->BuildAnd(g->b, v, gen_int(g, m - 1), "");
	val step = gen_int(g, m), d = g->L->BuildSRem(g->b, v, step, "");
	return g->L->BuildSelect(g->b, g->L->BuildICmp(g->b, LLVMIntSLT, d, gen_int(g, 0), ""), g->L->BuildAdd(g->b, d, step, ""), d, "");
}

/* The same when it runs; NULL: not with these steps. */
static val runs_interleaved(struct gen *g, const struct place *a, const struct place *b)
{
	int64_t m = common_step(a, b);
	if (m < (int64_t)(a->row_bytes + b->row_bytes))
		return NULL;
	val d = modulo(g, g->L->BuildSub(g->b, b->base, a->base, ""), m);
	val from = gen_int(g, a->row_bytes), end = gen_int(g, m - (int64_t)b->row_bytes);
	return g->L->BuildAnd(g->b, g->L->BuildICmp(g->b, LLVMIntSGE, d, from, ""), g->L->BuildICmp(g->b, LLVMIntSLE, d, end, ""), "");
}

static val pair_apart(struct gen *g, const struct lane_op *x, const struct lane_op *y)
{
	val x_lo = g->L->BuildAdd(g->b, x->at.base, gen_int(g, x->at.lo), ""), x_hi = g->L->BuildAdd(g->b, x->at.base, gen_int(g, x->at.hi), "");
	val y_lo = g->L->BuildAdd(g->b, y->at.base, gen_int(g, y->at.lo), ""), y_hi = g->L->BuildAdd(g->b, y->at.base, gen_int(g, y->at.hi), "");
	val ok = apart(g, x_lo, x_hi, y_lo, y_hi), between = runs_interleaved(g, &x->at, &y->at);
	if (between)
		ok = g->L->BuildOr(g->b, ok, between, "");
	if (same_shape(&x->at, &y->at) && !leaves_view(x) && !leaves_view(y))
		ok = g->L->BuildOr(g->b, ok, g->L->BuildICmp(g->b, LLVMIntEQ, x->at.base, y->at.base, ""), "");
	return gen_unless(g, x->pred, gen_unless(g, y->pred, ok));
}

/* Whether only the run can tell that two accesses are apart. */
static bool doubtful(const struct lane_op *x, const struct lane_op *y)
{
	bool same;
	if (!gen_accesses(x) || !gen_accesses(y) || (x->kind != LANE_STORE && y->kind != LANE_STORE))
		return false;
	return !places_apart(&x->at, &y->at, &same) && !same;
}

static unsigned count_pairs(struct gen *g)
{
	struct segment *e = &g->seg;
	unsigned n = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		for (unsigned k = i + 1; k < e->n_op; k++)
			n += doubtful(&e->op[i], &e->op[k]);
	}
	return n;
}

static val all_pairs(struct gen *g)
{
	struct segment *e = &g->seg;
	val all = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		for (unsigned k = i + 1; k < e->n_op; k++) {
			if (doubtful(&e->op[i], &e->op[k]))
				all = gen_and(g, all, pair_apart(g, &e->op[i], &e->op[k]));
		}
	}
	return all;
}

/* Accesses with one root, stores or others: the box around them. */
struct box {
	int root;
	bool store;
	val root_at;
	int64_t lo, hi;
};

static unsigned find_boxes(struct gen *g, struct box *box)
{
	struct segment *e = &g->seg;
	unsigned n = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		const struct place *p = &o->at;
		if (!gen_accesses(o) || !p->fixed)
			continue;
		unsigned k = 0;
		while (k < n && (box[k].root != p->root || box[k].store != (o->kind == LANE_STORE)))
			k++;
		if (k == n)
			box[n++] = (struct box){p->root, o->kind == LANE_STORE, g->L->BuildSub(g->b, p->base, gen_int(g, p->off), ""), p->off + p->lo, p->off + p->hi};
		box[k].lo = box[k].lo < p->off + p->lo ? box[k].lo : p->off + p->lo;
		box[k].hi = box[k].hi > p->off + p->hi ? box[k].hi : p->off + p->hi;
	}
	return n;
}

/* ---- rows of two boxes in each other's gaps ----
 * Rows of both begin at multiples of m from their bases, so whether some meet depends on the distance of the two roots modulo m: each pair of accesses forbids an arc of
 * the circle 0..m. Overlapping arcs are one, so what is left to ask does not grow with the number of pairs. */

#define MAX_ARCS 32 /* while they are collected */
#define FEW_ARCS 6  /* worth asking about */
struct arcs {
	int64_t m;
	unsigned n;
	struct {
		int64_t from, to; /* [from, to) */
	} at[MAX_ARCS + 1]; /* in order, with gaps between them */
};

/* 0 <= from < to <= m. False: too many. */
static bool forbid(struct arcs *a, int64_t from, int64_t to)
{
	unsigned i = 0, k;
	while (i < a->n && a->at[i].to < from)
		i++;
	for (k = i; k < a->n && a->at[k].from <= to; k++) {
		from = a->at[k].from < from ? a->at[k].from : from;
		to = a->at[k].to > to ? a->at[k].to : to;
	}
	memmove(&a->at[i + 1], &a->at[k], (a->n - k) * sizeof *a->at);
	a->n += 1 - (k - i);
	a->at[i].from = from;
	a->at[i].to = to;
	return a->n <= MAX_ARCS;
}

static bool in_box(const struct lane_op *o, const struct box *b)
{
	return gen_accesses(o) && o->at.fixed && o->at.root == b->root && b->store == (o->kind == LANE_STORE);
}

/* Accesses of both boxes, and the step of all their rows; 0: rows that only the run knows, or a row each. */
static int64_t step_of_boxes(const struct segment *e, const struct box *x, const struct box *y)
{
	int64_t m = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		if (!in_box(&e->op[i], x) && !in_box(&e->op[i], y))
			continue;
		if (e->op[i].at.extent)
			return 0;
		m = step_with(&e->op[i].at, m);
	}
	return m <= INT32_MAX ? m : 0;
}

/* False: there is no telling by the roots' distance, y's less x's. */
static bool find_arcs(const struct segment *e, const struct box *x, const struct box *y, struct arcs *a)
{
	*a = (struct arcs){.m = step_of_boxes(e, x, y)};
	for (unsigned i = 0; i < e->n_op; i++) {
		for (unsigned k = 0; k < e->n_op && in_box(&e->op[i], x); k++) {
			const struct place *p = &e->op[i].at, *q = &e->op[k].at;
			int64_t length = (int64_t)p->row_bytes + q->row_bytes - 1;
			if (!in_box(&e->op[k], y))
				continue;
			if (length >= a->m)
				return false;
			/* the bases' distance, modulo m, lies neither in [0, p's row) nor less than q's row before m */
			int64_t from = (1 - (int64_t)q->row_bytes - (q->off - p->off)) % a->m;
			from += from < 0 ? a->m : 0;
			if (!(from + length <= a->m ? forbid(a, from, from + length) : forbid(a, from, a->m) && forbid(a, 0, from + length - a->m)))
				return false;
		}
	}
	return a->n <= FEW_ARCS;
}

static val outside_arcs(struct gen *g, const struct box *x, const struct box *y, const struct arcs *a)
{
	val d = modulo(g, g->L->BuildSub(g->b, y->root_at, x->root_at, ""), a->m), all = NULL;
	for (unsigned i = 0; i < a->n; i++) {
		val below = g->L->BuildICmp(g->b, LLVMIntSLT, d, gen_int(g, a->at[i].from), ""), above = g->L->BuildICmp(g->b, LLVMIntSGE, d, gen_int(g, a->at[i].to), "");
		all = gen_and(g, all, g->L->BuildOr(g->b, below, above, ""));
	}
	return all;
}

/* The usual case with many pairs: stores lie far from everything else (or, with `gaps`, in the gaps of what is near). NULL: that asks nothing new. */
static val boxes_apart(struct gen *g, const struct box *box, unsigned n, bool gaps)
{
	val all = NULL;
	bool new = !gaps;
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = i + 1; k < n; k++) {
			const struct box *x = &box[i], *y = &box[k];
			struct arcs arcs;
			if (x->root == y->root || !(x->store || y->store))
				continue;
			val x_lo = g->L->BuildAdd(g->b, x->root_at, gen_int(g, x->lo), ""), x_hi = g->L->BuildAdd(g->b, x->root_at, gen_int(g, x->hi), "");
			val y_lo = g->L->BuildAdd(g->b, y->root_at, gen_int(g, y->lo), ""), y_hi = g->L->BuildAdd(g->b, y->root_at, gen_int(g, y->hi), "");
			val ok = apart(g, x_lo, x_hi, y_lo, y_hi);
			if (gaps && find_arcs(&g->seg, x, y, &arcs)) {
				ok = g->L->BuildOr(g->b, ok, outside_arcs(g, x, y, &arcs), "");
				new = true;
			}
			all = gen_and(g, all, ok);
		}
	}
	return new ? all : NULL;
}

/* Goes on there if that holds. */
static void done_if(struct gen *g, val ok, LLVMBasicBlockRef go_on)
{
	LLVMBasicBlockRef closer = gen_label(g);
	g->L->BuildCondBr(g->b, ok, go_on, closer);
	g->L->PositionBuilderAtEnd(g->b, closer);
}

void gen_check_pairs(struct gen *g, LLVMBasicBlockRef leave)
{
	unsigned n = count_pairs(g);
	if (!n)
		return;
	LLVMBasicBlockRef go_on = gen_label(g);
	if (n > 3) {
		struct box box[MAX_LANE_OPS];
		unsigned n_boxes = find_boxes(g, box);
		done_if(g, boxes_apart(g, box, n_boxes, false), go_on);
		val near = boxes_apart(g, box, n_boxes, true);
		if (near)
			done_if(g, near, go_on);
	}
	g->L->BuildCondBr(g->b, all_pairs(g), go_on, leave);
	g->L->PositionBuilderAtEnd(g->b, go_on);
}
#else
typedef int jit_apart_is_empty;
#endif
