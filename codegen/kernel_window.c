/* kernel_window.c: reductions over a few points (the taps of a depthwise convolution, a pooling window) as flat loops that the pipeline overlaps with
 * themselves.
 *
 *   for every block of lanes:                               what no other dimension moves (weights, bias) is loaded here, once
 *     for every block of rows and every other parallel point, in one flat loop:
 *       a few results that lie next to each other:          what several of them read is loaded once
 *         acc = combine over all taps;  finish;  store
 *
 * Without it every few results have a loop over their taps, which starts and drains a pipeline for each of them and reads weights for every tap.
 * The last block of neighbours overlaps the one before it where they do not divide evenly: the same bytes are written twice. */
#include "walker.h"

#include <string.h>

enum { MAX_HEAD_NODES = 64, MAX_TAPS = 64, MAX_BODY = 150, MAX_ADDRESSES = 512, LEAST_TRIPS = 6 };

/* ---- which stages, and how many results at a time ----------------------------------------------------------------------------------- */

static bool suits(const struct plan *p, int64_t *taps)
{
	const struct tg_stage *s = p->stage;
	*taps = 1;
	if (p->path != PATH_VECTOR || s->n_reds != 1 || p->lane == NO_DIM || p->role[p->lane] != ROLE_PARALLEL)
		return false;
	for (uint32_t d = 0; d < p->n_dims; d++) {
		if (p->role[d] != ROLE_REDUCE)
			continue;
		if (p->tile[d] < p->extent[d] || p->extent[d] > MAX_TAPS)
			return false;
		*taps *= p->extent[d];
		if (*taps > MAX_TAPS)
			return false;
	}
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_index || s->nodes[i].op == TG_X_inside || s->nodes[i].dtype == TG_bool)
			return false;
	return true;
}

/* Does the flat loop walk it? Lanes are outside of it. */
static bool walked(const struct plan *p, uint32_t d)
{
	return p->role[d] == ROLE_PARALLEL && (int)d != p->lane && !(p->pixels && (int)d == p->pixel_dim);
}

/* Moves with something that the flat loop walks? */
static bool moves(const struct plan *p, uint32_t operand)
{
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (walked(p, d) && p->tile[d] > 1 && p->operand[operand].step[d])
			return true;
	return false;
}

/* The next combination of the reduction's points, `first` moving fastest; false after the last. */
static bool next_tap(const struct plan *p, int first, int64_t *at)
{
	if (first != NO_DIM && ++at[first] < p->tile[first])
		return true;
	if (first != NO_DIM)
		at[first] = 0;
	for (uint32_t d = p->n_dims; d-- > 0;) {
		if (p->role[d] != ROLE_REDUCE || (int)d == first)
			continue;
		if (++at[d] < p->tile[d])
			return true;
		at[d] = 0;
	}
	return false;
}

/* The taps along which neighbours along `dim` read the same: one after the other, what they share is needed for a short time only. */
static int shared_taps(const struct plan *p, int dim)
{
	int best = NO_DIM;
	int64_t most = 0;
	for (uint32_t i = 0; i < p->n_ops && dim != NO_DIM; i++)
		for (uint32_t r = 0; r < p->n_dims; r++) {
			int64_t step = p->operand[i].step[r] < 0 ? -p->operand[i].step[r] : p->operand[i].step[r];
			if (p->role[r] != ROLE_REDUCE || step <= most || !p->operand[i].step[dim] || p->operand[i].step[dim] % step)
				continue;
			most = step;
			best = (int)r;
		}
	return best;
}

/* Different addresses among the reads of an operand by n neighbours along d: what is read once serves all. */
static uint32_t addresses(const struct plan *p, uint32_t operand, int d, int64_t n)
{
	int64_t seen[MAX_ADDRESSES], tap[MAX_DIMS] = { 0 };
	uint32_t n_seen = 0;
	do {
		int64_t at = 0;
		for (uint32_t r = 0; r < p->n_dims; r++)
			at += tap[r] * p->operand[operand].step[r];
		for (int64_t i = 0; i < n; i++) {
			int64_t one = at + (d == NO_DIM ? 0 : i * p->operand[operand].step[d]);
			uint32_t k = 0;
			while (k < n_seen && seen[k] != one)
				k++;
			if (k == n_seen && n_seen < MAX_ADDRESSES)
				seen[n_seen++] = one;
		}
	} while (next_tap(p, NO_DIM, tap));
	return n_seen;
}

/* Registers that hold what the flat loop does not move: too many leave none for the pipeline. */
static bool steady_fit(const struct plan *p)
{
	int64_t n = 0;
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (!p->operand[i].constant && !moves(p, i))
			n += addresses(p, i, NO_DIM, 1);
	return n <= p->chip->n_vregs / 3;
}

/* Iterations of the flat loop at n neighbours each. */
static int64_t trips_of(const struct plan *p, int dim, int64_t n)
{
	int64_t trips = 1;
	for (uint32_t d = 0; d < p->n_dims; d++)
		if (walked(p, d))
			trips *= ceil_div(p->tile[d], (int)d == dim ? n : (int)d == p->row ? p->chip->sublanes : 1);
	return trips;
}

/* The maximum of a min(max(x, lo), hi), which is one instruction. */
static bool clamps(const struct tg_stage *s, uint32_t i)
{
	return s->nodes[i].op == TG_X_max && i + 1 < s->n_nodes && s->nodes[s->n_nodes - 1].op == TG_X_min && s->nodes[s->n_nodes - 1].a.id == i + 1;
}

/* A sum of f32 to which something known beforehand is added, and that is all that is done with the sum itself: then it starts with that (a bias) instead of
 * with 0. sum, term: node numbers. */
struct head_start { uint32_t sum, term; };
static bool has_head_start(const struct tg_stage *s, struct head_start *h)
{
	uint32_t acc = 0, users = 0, on_term = 0;
	bool depends[MAX_HEAD_NODES] = { false };
	if (s->n_reds != 1 || s->reds[0].combine != TG_SUM || s->nodes[s->reds[0].value.id - 1].dtype != TG_f32 || s->n_nodes > MAX_HEAD_NODES)
		return false;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		const uint32_t in[] = { n->a.id, n->b.id, n->c.id };
		bool is_acc = n->op == TG_X_acc;
		if (is_acc && acc)
			return false;
		acc = is_acc ? i + 1 : acc;
		depends[i] = is_acc;
		for (int k = 0; k < 3; k++) {
			depends[i] |= in[k] && depends[in[k] - 1];
			users += acc && in[k] == acc;
		}
		if (n->op == TG_X_add && n->dtype == TG_f32 && acc && (in[0] == acc || in[1] == acc)) {
			*h = (struct head_start){ i + 1, in[0] == acc ? in[1] : in[0] };
			on_term++;
		}
	}
	return acc && users == 1 && on_term == 1 && s->outs[0].value.id != acc && !depends[h->term - 1];
}

/* Instructions of one result, about, but for its loads. */
static double instructions(const struct plan *p, int64_t taps)
{
	const struct tg_stage *s = p->stage;
	double in_body = 0, behind = 0;
	uint32_t n = s->reds[0].value.id;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		bool loads = s->nodes[i].op == TG_X_arg || s->nodes[i].op == TG_X_const || s->nodes[i].op == TG_X_acc || clamps(s, i);
		*(i < n ? &in_body : &behind) += loads ? 0 : plan_instructions(s->nodes[i].op);
	}
	bool fused = s->nodes[n - 1].op == TG_X_mul && s->nodes[n - 1].dtype == TG_f32 && s->reds[0].combine == TG_SUM;
	struct head_start h;
	return (double)taps * (in_body + (fused ? 0 : 1)) + behind - (has_head_start(s, &h) ? 1 : 0);
}

bool window_choose(const struct plan *p, int64_t most_neighbours, struct window *w)
{
	const struct tg_chip *c = p->chip;
	int64_t taps;
	if (!suits(p, &taps) || !steady_fit(p))
		return false;
	double alu = instructions(p, taps);
	bool have = false;
	for (int d = NO_DIM; d < (int)p->n_dims; d++) {
		if (d != NO_DIM && (d == p->row || !walked(p, (uint32_t)d)))
			continue;
		for (int64_t n = d == NO_DIM ? 1 : 2; n <= (d == NO_DIM ? 1 : most_neighbours < p->tile[d] ? most_neighbours : p->tile[d]); n++) {
			double loads = 0, most = alu * (double)n / c->n_alu, scalar = (14 + 2.0 * (double)n) / c->n_scalar;
			for (uint32_t i = 0; i < p->n_ops; i++)
				if (!p->operand[i].constant && moves(p, i))
					loads += addresses(p, i, d, n);
			if (trips_of(p, d, n) < LEAST_TRIPS || (n > 1 && loads + alu * (double)n > MAX_BODY))
				continue;
			most = loads / c->n_load > most ? loads / c->n_load : most;
			most = scalar > most ? scalar : most;
			most = (double)n / c->n_store > most ? (double)n / c->n_store : most;
			double each = most / (double)n * (d == NO_DIM ? 1 : (double)(ceil_div(p->tile[d], n) * n) / (double)p->tile[d]);
			if (have && w->each <= each)
				continue;
			*w = (struct window){ d, n, each };
			have = true;
		}
	}
	return have;
}

/* ---- one body -------------------------------------------------------------------------------------------------------------------------- */

static vreg tap_value(struct kernel *k, const struct point *pt, vreg acc)
{
	const struct tg_stage *s = k->p->stage;
	const struct tg_reduction *r = &s->reds[0];
	const struct tg_node *v = &s->nodes[r->value.id - 1];
	vreg *of = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *of), next = mreg(k->f, CLASS_V);
	bool fused = r->combine == TG_SUM && v->op == TG_X_mul && v->dtype == TG_f32;
	k->in_body[r->value.id - 1] = !fused; /* the product is part of the fused multiply-add */
	kernel_eval(k, k->in_body, pt, (vreg){ 0 }, of);
	k->in_body[r->value.id - 1] = true;
	if (fused)
		EMIT(&k->at, vfma_f32, R(next), R(of[v->a.id - 1]), R(of[v->b.id - 1]), R(acc));
	else
		kernel_combine(k, next, acc, r->combine, (enum tg_dtype)v->dtype, of[r->value.id - 1]);
	return next;
}

/* What finishing a result computes before its sum begins, and what behind it; h: NULL where all of it comes behind. */
static void split_finish(const struct kernel *k, const struct head_start *h, bool *before, bool *behind)
{
	const struct tg_stage *s = k->p->stage;
	memcpy(behind, k->in_post, s->n_nodes * sizeof *behind);
	if (!h)
		return;
	before[h->term - 1] = true;
	for (uint32_t i = h->term; i-- > 0;) {
		const uint32_t in[] = { s->nodes[i].a.id, s->nodes[i].b.id, s->nodes[i].c.id };
		for (int n = 0; n < 3 && before[i]; n++)
			if (in[n])
				before[in[n] - 1] = true;
	}
	for (uint32_t i = 0; i < s->n_nodes; i++)
		behind[i] = behind[i] && !before[i] && i + 1 != h->sum && s->nodes[i].op != TG_X_acc;
}

static struct point result_point(const struct point *start, const struct window *w, int64_t i)
{
	struct point pt = *start;
	if (w->dim != NO_DIM)
		pt.delta[w->dim] += i;
	return pt;
}

static void results(struct kernel *k, const struct window *w, const struct point *start)
{
	const struct tg_stage *s = k->p->stage;
	const struct tg_reduction *r = &s->reds[0];
	enum tg_dtype t = (enum tg_dtype)s->nodes[r->value.id - 1].dtype;
	vreg acc[MOST_NEIGHBOURS], *of[MOST_NEIGHBOURS];
	int64_t tap[MAX_DIMS] = { 0 };
	struct head_start h;
	bool early = has_head_start(s, &h), *before = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *before), *behind = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *behind);
	split_finish(k, early ? &h : NULL, before, behind);
	for (int64_t i = 0; i < w->n; i++) {
		struct point pt = result_point(start, w, i);
		of[i] = tg_alloc_n(k->f->arena, s->n_nodes, sizeof **of);
		kernel_eval(k, before, &pt, (vreg){ 0 }, of[i]);
		acc[i] = early ? of[i][h.term - 1] : kernel_identity(k, r->combine, t);
	}
	do {
		for (int64_t i = 0; i < w->n; i++) {
			struct point pt = *start;
			for (uint32_t d = 0; d < k->n_dims; d++)
				pt.delta[d] += k->dim[d].role == ROLE_REDUCE ? tap[d] : (int)d == w->dim ? i : 0;
			acc[i] = tap_value(k, &pt, acc[i]);
		}
	} while (next_tap(k->p, shared_taps(k->p, w->dim), tap));
	for (int64_t i = 0; i < w->n; i++) {
		struct point pt = result_point(start, w, i);
		if (early)
			of[i][h.sum - 1] = acc[i];
		kernel_eval(k, behind, &pt, acc[i], of[i]);
		kernel_store(k, k->p->n_ops, &pt, of[i][s->outs[0].value.id - 1], (enum tg_dtype)s->nodes[s->outs[0].value.id - 1].dtype);
	}
}

/* ---- the flat loop ------------------------------------------------------------------------------------------------------------------------ */

struct step_of { int dim; int64_t block, count, overlap; };

/* Innermost first; the neighbours' dimension is the innermost, as its last block may overlap. */
static uint32_t list_steps(const struct kernel *k, const struct window *w, int64_t row_blocks, struct step_of *l)
{
	uint32_t n = 0;
	if (w->dim != NO_DIM) {
		int64_t blocks = ceil_div(k->dim[w->dim].n, w->n);
		l[n++] = (struct step_of){ w->dim, w->n, blocks, blocks * w->n - k->dim[w->dim].n };
	}
	if (k->row != NO_DIM)
		l[n++] = (struct step_of){ k->row, k->f->chip->sublanes, row_blocks, 0 };
	for (uint32_t d = k->n_dims; d-- > 0;)
		if (k->dim[d].role == ROLE_PARALLEL && (int)d != w->dim && (int)d != k->row && (int)d != k->lane)
			l[n++] = (struct step_of){ (int)d, 1, k->dim[d].n, 0 };
	return n;
}

static void follow(struct kernel *k, struct walker *walk, struct mcursor *before, uint32_t operand, const struct step_of *l, const int *level, uint32_t n)
{
	struct follower *r = walker_follow(k, walk, before, k->ptr[operand], 0);
	for (uint32_t i = 0; r && i < n; i++) {
		if (level[i] < 0)
			continue;
		int64_t step = k->dim[l[i].dim].step[operand] * (int64_t)elem_bytes(k->p->operand[operand].sram_dtype);
		r->step[level[i]] = step * l[i].block;
		if (level[i] == 0)
			r->overlap = step * l[i].overlap;
	}
	k->ptr[operand] = r ? r->reg : k->ptr[operand];
	if (r && operand == k->p->n_ops) { /* a copy for the stores, which come late: what moves the pointer on, and the predicates for it, need not last till then */
		vreg here = mreg(k->f, CLASS_S);
		EMIT(&k->at, saddi, R(here), R(r->reg), 0);
		k->ptr[operand] = here;
	}
}

/* All results whose rows and lanes are full or all of whose are partial alike, from where the pointers stand. */
static void flat_loop(struct kernel *k, const struct window *w, uint32_t rows, uint32_t lanes, int64_t row_blocks)
{
	struct walker walk = { 0 };
	struct step_of l[MAX_DIMS];
	int level[MAX_DIMS];
	int64_t trips = 1;
	vreg stand[N_POINTERS];
	struct mcursor outer = k->at, before = k->at;
	uint32_t n = list_steps(k, w, row_blocks, l);
	before.seq = tg_alloc(k->f->arena, sizeof *before.seq);
	k->at.seq = tg_alloc(k->f->arena, sizeof *k->at.seq);
	memcpy(stand, k->ptr, sizeof stand);
	for (uint32_t i = 0; i < n; i++) {
		trips *= l[i].count;
		level[i] = walker_level(k->f, &walk, l[i].count);
		if (level[i] < 0 && l[i].count > 1)
			k->failed = "its loops nest too deep";
		walk.overlaps |= level[i] == 0 && l[i].overlap;
	}
	k->memo = &(struct load_memo){ .outside = &before };
	for (uint32_t i = 0; i <= k->p->n_ops; i++) {
		if (!k->live[i])
			continue;
		if (i < k->p->n_ops && !moves(k->p, i))
			k->memo->steady |= UINT64_C(1) << i;
		else
			follow(k, &walk, &before, i, l, level, n);
	}
	results(k, w, &(struct point){ .rows = rows, .lanes = lanes });
	k->memo = NULL;
	walker_advance(&walk, &k->at);
	walker_begin(&walk, &before);
	struct mseq *body = k->at.seq;
	k->at = outer;
	kernel_splice(k->at.seq, before.seq);
	struct mcursor in = mloop(&k->at, kernel_scalar(k, trips));
	kernel_splice(in.seq, body);
	memcpy(k->ptr, stand, sizeof stand);
}

static void all_rows(struct kernel *k, const struct window *w, uint32_t lanes)
{
	uint32_t s = k->f->chip->sublanes;
	int64_t n = k->row == NO_DIM ? 1 : k->dim[k->row].n, full = n / s, tail = n % s;
	if (full)
		flat_loop(k, w, s, lanes, full);
	if (!tail)
		return;
	if (full)
		kernel_advance(k, &k->dim[k->row], full * s);
	flat_loop(k, w, (uint32_t)tail, lanes, 1);
	if (full)
		kernel_advance(k, &k->dim[k->row], -full * s);
}

void kernel_window_path(struct kernel *k, const struct window *w)
{
	uint32_t lanes = k->f->chip->lanes;
	if (k->p->pixels) { /* the last dimension */
		k->dim[k->lane].n *= k->p->pixels;
		kernel_remove_dim(k, (uint32_t)k->p->pixel_dim);
	}
	int64_t n = k->dim[k->lane].n, full = n / lanes, tail = n % lanes;
	struct mcursor outer = k->at;
	if (full > 1)
		k->at = mloop(&outer, kernel_scalar(k, full));
	if (full) {
		all_rows(k, w, lanes);
		if (full > 1 || tail)
			kernel_advance(k, &k->dim[k->lane], lanes);
	}
	if (full > 1)
		k->at = outer;
	if (tail)
		all_rows(k, w, (uint32_t)tail);
	if (full && (full > 1 || tail))
		kernel_advance(k, &k->dim[k->lane], -full * lanes);
}
