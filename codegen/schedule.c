/* schedule.c: list scheduling of basic blocks; innermost loops go to pipeline.c first.
 *
 * In: operations in program order between loops. Out: bundles in which every result is old enough when it is read or overwritten, no unit is
 * taken twice, and at whose end nothing is in flight, so that blocks and loop iterations can follow each other in any order.
 * Priority is the length of the longest path to the block's end. */
#include "deps.h"

#include <string.h>

static void heights(struct block *b)
{
	for (uint32_t i = b->n; i-- > 0;) {
		uint32_t h = tg_insn_latency(b->f->chip, b->items[i].node->op.op);
		for (struct edge *e = b->items[i].out; e; e = e->next)
			if (b->items[e->to].height + e->delay > h)
				h = b->items[e->to].height + e->delay;
		b->items[i].height = h;
	}
}

struct units {
	uint32_t used[TG_N_SLOTS];
	uint64_t unit_used[TG_N_SLOTS]; /* P, M, R by array in this cycle */
	uint32_t busy[TG_N_SLOTS][TG_MAX_ARRAYS];
	uint32_t load_busy;
};

static bool fits(const struct tg_chip *c, struct units *u, uint32_t cycle, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	enum tg_slot s = info->slot;
	if (s == TG_SLOT_E)
		return u->used[TG_SLOT_E] < c->n_transcendental && u->used[TG_SLOT_E] + u->used[TG_SLOT_V] < c->n_alu;
	if (s == TG_SLOT_V)
		return u->used[TG_SLOT_E] + u->used[TG_SLOT_V] < c->n_alu;
	if (s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R) {
		int64_t unit = op_unit(op);
		return !(u->unit_used[s] >> unit & 1) && u->busy[s][unit] <= cycle;
	}
	if (s == TG_SLOT_L && u->load_busy > cycle)
		return false;
	return u->used[s] < tg_slot_count(c, s);
}

static void occupy(const struct tg_chip *c, struct units *u, uint32_t cycle, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	uint32_t busy = op_busy(c, op);
	u->used[info->slot]++;
	if (info->slot == TG_SLOT_P || info->slot == TG_SLOT_M || info->slot == TG_SLOT_R) {
		int64_t unit = op_unit(op);
		u->unit_used[info->slot] |= UINT64_C(1) << unit;
		u->busy[info->slot][unit] = cycle + busy;
	} else if (busy > 1) {
		u->load_busy = cycle + busy;
	}
}

static void new_cycle(struct units *u)
{
	memset(u->used, 0, sizeof u->used);
	memset(u->unit_used, 0, sizeof u->unit_used);
}

static struct item *pick(struct block *b, struct units *u, uint32_t head, uint32_t window, uint32_t cycle)
{
	struct item *best = NULL;
	uint32_t seen = 0;
	for (uint32_t i = head; i < b->n && seen < window; i++) {
		struct item *x = &b->items[i];
		if (x->done)
			continue;
		seen++;
		if (x->n_preds || x->earliest > cycle || (best && x->height <= best->height) || !fits(b->f->chip, u, cycle, &x->node->op))
			continue;
		best = x;
	}
	return best;
}

static void release(struct block *b, struct item *x, uint32_t cycle)
{
	x->done = true;
	for (struct edge *e = x->out; e; e = e->next) {
		struct item *to = &b->items[e->to];
		to->n_preds--;
		if (to->earliest < cycle + e->delay)
			to->earliest = cycle + e->delay;
	}
}

static struct sched *place(struct block *b, uint32_t window, const struct mnode *end)
{
	struct sched *s = tg_alloc(b->f->arena, sizeof *s);
	TG_VEC(struct sched_bundle) out = { 0 };
	struct units u = { 0 };
	uint32_t head = 0, left = b->n, cycle = 0, quiet = 0;
	while (left) {
		struct sched_bundle *now = TG_PUSH(b->f->arena, &out);
		*now = (struct sched_bundle){ 0 };
		struct item *x;
		new_cycle(&u);
		while ((x = pick(b, &u, head, window, cycle))) {
			occupy(b->f->chip, &u, cycle, &x->node->op);
			release(b, x, cycle);
			now->ops[now->n++] = &x->node->op;
			uint32_t t = cycle + op_settles(b->f->chip, &x->node->op);
			quiet = t > quiet ? t : quiet;
			left--;
			while (head < b->n && b->items[head].done)
				head++;
		}
		if (now->n == 0 && out.n > 1) {
			out.n--;
			out.at[out.n - 1].idle++;
		}
		cycle++;
	}
	if (out.n && quiet > cycle)
		out.at[out.n - 1].idle += quiet - cycle;
	*s = (struct sched){ out.at, (uint32_t)out.n, end };
	return s;
}

static bool ends_block(const struct mnode *n)
{
	return n->kind != NODE_OP || n->op.op == TG_I_idle;
}

static void schedule_block(struct mfn *f, struct tg_arena *scratch, struct mnode *first, const struct mnode *end, uint32_t n, uint32_t window)
{
	struct block b = { .a = scratch, .f = f };
	deps_build(&b, first, n, false);
	heights(&b);
	first->sched = place(&b, window, end);
	tg_arena_reset(scratch);
}

static void schedule_idle(struct mfn *f, struct mnode *n)
{
	struct sched *s = tg_alloc(f->arena, sizeof *s);
	s->at = tg_alloc(f->arena, sizeof *s->at);
	s->at[0].idle = n->op.f[0] > 0 ? (uint32_t)n->op.f[0] - 1 : 0;
	s->n = 1;
	s->end = n->next;
	n->sched = s;
}

/* Who defines every register, where it is in use, and whether one loop's body has all that concerns it. */
static void note_access(struct reg_facts *x, const struct mnode *home, uint32_t at)
{
	x->home = !x->seen || x->home == home ? home : NULL;
	x->first = x->seen ? x->first : at;
	x->last = at;
	x->seen = true;
}

static void note_op(struct reg_facts *facts, const struct mop *op, const struct mnode *home, uint32_t at)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	if (op->pred)
		note_access(&facts[op->pred], home, at);
	for (uint32_t k = 0; k < info->n_fields; k++) {
		enum vclass c;
		if (!op_class_of(info->field[k].kind, &c) || !op->f[k])
			continue;
		struct reg_facts *x = &facts[op->f[k]];
		note_access(x, home, at);
		if (!info->field[k].is_def && !info->field[k].is_both)
			continue;
		x->constant = x->n_defs++ == 0 && op->op == TG_I_smov && !op->pred;
		x->value = op->f[1];
	}
}

/* In program order; loops learn where they begin and end. */
static struct reg_facts *note_all(struct mfn *f, struct tg_arena *a)
{
	struct reg_facts *facts = tg_alloc_n(a, f->classes.n, sizeof *facts);
	TG_VEC(struct mnode *) stack = { 0 };
	struct mnode *n = f->top.first;
	for (uint32_t at = 0;; at++) {
		while (!n && stack.n) {
			struct mnode *loop = stack.at[--stack.n];
			note_access(&facts[loop->control.id], NULL, at);
			loop->end = at;
			n = loop->next;
		}
		if (!n)
			return facts;
		if (n->kind == NODE_OP) {
			note_op(facts, &n->op, stack.n ? stack.at[stack.n - 1] : NULL, at);
			n = n->next;
			continue;
		}
		note_access(&facts[n->control.id], NULL, at);
		n->start = at;
		*TG_PUSH(a, &stack) = n;
		n = n->body.first;
	}
}

/* Sequences still to do are kept on a list: loops nest as deep as the model's dimensions, the C stack need not. */
void mach_schedule(struct mfn *f, uint32_t window, bool pipelines, uint32_t spare)
{
	struct tg_arena *lasting = tg_arena_new(tg_arena_heap(f->arena)), *scratch = tg_arena_new(tg_arena_heap(f->arena));
	uint32_t n_facts = (uint32_t)f->classes.n; /* pipelines add registers of their own */
	const struct reg_facts *facts = note_all(f, lasting);
	TG_VEC(struct mseq *) todo = { 0 };
	*TG_PUSH(lasting, &todo) = &f->top;
	while (todo.n) {
		struct mseq *seq = todo.at[--todo.n];
		for (struct mnode *n = seq->first; n;) {
			struct mnode *end = n;
			uint32_t count = 0;
			while (end && !ends_block(end)) {
				end = end->next;
				count++;
			}
			if (count) {
				schedule_block(f, scratch, n, end, count, window);
				n = end;
				continue;
			}
			if (n->kind == NODE_OP)
				schedule_idle(f, n);
			else if (n->kind != NODE_LOOP || !pipelines || !mach_pipeline(f, n, facts, n_facts, spare, scratch))
				*TG_PUSH(lasting, &todo) = &n->body;
			n = n->next;
		}
	}
	tg_arena_free(scratch);
	tg_arena_free(lasting);
}

static double bundles_of(const struct sched *s)
{
	double n = s->n;
	for (uint32_t i = 0; i < s->n; i++)
		n += s->at[i].idle;
	return n;
}

static double pipeline_bundles(const struct pipeline *p, int64_t trips)
{
	int64_t rounds = (trips - ((int64_t)p->stages - 1)) / p->copies;
	return bundles_of(&p->before) + bundles_of(&p->after) + (p->kernel.n && rounds > 0 ? (double)rounds * bundles_of(&p->kernel) : 0);
}

double mach_cycles(struct mfn *f)
{
	struct tg_arena *a = tg_arena_new(tg_arena_heap(f->arena));
	const struct reg_facts *facts = note_all(f, a);
	struct open_loop { const struct mnode *next; double times; };
	TG_VEC(struct open_loop) stack = { 0 };
	const struct mnode *n = f->top.first;
	double sum = 0, times = 1;
	while (n || stack.n) {
		if (!n) {
			n = stack.at[--stack.n].next;
			times = stack.at[stack.n].times;
			continue;
		}
		if (n->sched)
			sum += times * bundles_of(n->sched);
		if (n->kind == NODE_OP) {
			n = n->next;
			continue;
		}
		const struct reg_facts *x = &facts[n->control.id];
		int64_t trips = n->kind == NODE_LOOP && x->constant && x->n_defs == 1 ? x->value : 1;
		if (n->pipe) {
			sum += times * pipeline_bundles(n->pipe, trips);
			n = n->next;
			continue;
		}
		*TG_PUSH(a, &stack) = (struct open_loop){ n->next, times };
		times *= (double)trips;
		n = n->body.first;
	}
	tg_arena_free(a);
	return sum;
}
