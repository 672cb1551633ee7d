/* regalloc.c: linear scan over the scheduled code (Poletto and Sarkar, "Linear Scan Register Allocation", TOPLAS 1999).
 *
 * A position is a bundle in emission order, no more and no less: results land so many bundles later. An interval runs from the first definition to the last read, at least to where the last write has
 * landed; it covers every loop that it enters or leaves. There is no spilling: the caller asks for less unrolling or a smaller scheduling window. */
#include "mach.h"

#include <stdlib.h>
#include <string.h>

struct interval { uint32_t reg, start, end; };
struct span { uint32_t start, end; };
struct walk {
	struct mfn *f;
	struct interval *of; /* by virtual register; start > end: unused */
	TG_VEC(struct span) loops; /* inner before outer */
	uint32_t at;
};

static void touch(struct walk *w, int64_t reg, uint32_t from, uint32_t to)
{
	struct interval *i = &w->of[reg];
	if (from < i->start)
		i->start = from;
	if (to > i->end)
		i->end = to;
}

static void touch_op(struct walk *w, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	uint32_t latency = tg_insn_latency(w->f->chip, op->op);
	if (op->pred)
		touch(w, op->pred, w->at, w->at);
	for (uint32_t k = 0; k < info->n_fields; k++) {
		if (info->field[k].kind > TG_FIELD_P || !op->f[k])
			continue;
		uint32_t lag = info->field[k].is_def ? latency : info->field[k].is_both ? w->f->chip->latency.scalar : 0;
		touch(w, op->f[k], w->at, w->at + lag);
	}
}

static void walk_sched(struct walk *w, const struct sched *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		for (uint32_t k = 0; k < s->at[i].n; k++)
			touch_op(w, s->at[i].ops[k]);
		w->at += 1 + s->at[i].idle;
	}
}

static void walk_pipe(struct walk *w, const struct pipeline *p)
{
	walk_sched(w, &p->before);
	if (p->kernel.n) {
		touch(w, p->rounds.id, w->at, w->at);
		uint32_t start = ++w->at;
		walk_sched(w, &p->kernel);
		*TG_PUSH(w->f->arena, &w->loops) = (struct span){ start, w->at }; /* the end of a loop takes no bundle: what is in flight lands behind it */
	}
	walk_sched(w, &p->after);
}

struct frame { const struct mnode *node, *parent; uint32_t start; };

static void walk_tree(struct walk *w)
{
	TG_VEC(struct frame) stack = { 0 };
	const struct mnode *n = w->f->top.first;
	for (;;) {
		while (!n && stack.n) { /* end of a body */
			struct frame f = stack.at[--stack.n];
			if (f.parent->kind == NODE_REPEAT) {
				touch(w, f.parent->control.id, w->at, w->at);
				w->at++;
			}
			*TG_PUSH(w->f->arena, &w->loops) = (struct span){ f.start, w->at };
			n = f.parent->next;
		}
		if (!n)
			return;
		if (n->sched) {
			walk_sched(w, n->sched);
			n = n->sched->end;
			continue;
		}
		if (n->pipe) {
			walk_pipe(w, n->pipe);
			n = n->next;
			continue;
		}
		if (n->kind == NODE_LOOP)
			touch(w, n->control.id, w->at, w->at);
		w->at++;
		*TG_PUSH(w->f->arena, &stack) = (struct frame){ n, n, w->at };
		n = n->body.first;
	}
}

static void cover_loops(struct walk *w)
{
	for (uint32_t r = 1; r < w->f->classes.n; r++) {
		struct interval *i = &w->of[r];
		if (i->start > i->end)
			continue;
		for (size_t l = 0; l < w->loops.n; l++) {
			struct span s = w->loops.at[l];
			bool apart = i->end < s.start || i->start >= s.end, within = i->start >= s.start && i->end < s.end;
			if (apart || within)
				continue;
			i->start = i->start < s.start ? i->start : s.start;
			i->end = i->end > s.end ? i->end : s.end;
		}
	}
}

static int by_start(const void *a, const void *b)
{
	const struct interval *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->reg < y->reg ? -1 : x->reg > y->reg;
}

static bool scan(struct mfn *f, const struct interval *of, enum vclass c, uint32_t n_regs)
{
	struct interval *list = tg_alloc_n(f->arena, f->classes.n, sizeof *list);
	uint32_t free_at[256] = { 0 }; /* by physical register: first position at which it may be written again */
	uint32_t n = 0;
	for (uint32_t r = 1; r < f->classes.n; r++)
		if (f->classes.at[r] == c && of[r].start <= of[r].end)
			list[n++] = of[r];
	qsort(list, n, sizeof *list, by_start);
	uint32_t first = c == CLASS_V ? 0 : 1;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t best = UINT32_MAX;
		for (uint32_t p = first; p < n_regs && p < TG_ARRAY_LEN(free_at); p++)
			if (free_at[p] <= list[i].start && (best == UINT32_MAX || free_at[p] < free_at[best]))
				best = p;
		if (best == UINT32_MAX)
			return false;
		free_at[best] = list[i].end > list[i].start ? list[i].end : list[i].start + 1;
		f->physical.at[list[i].reg] = (uint8_t)best;
	}
	return true;
}

bool mach_allocate(struct mfn *f)
{
	struct walk w = { .f = f };
	w.of = tg_alloc_n(f->arena, f->classes.n, sizeof *w.of);
	for (uint32_t r = 0; r < f->classes.n; r++)
		w.of[r] = (struct interval){ r, UINT32_MAX, 0 };
	walk_tree(&w);
	cover_loops(&w);
	f->physical.n = 0;
	for (uint32_t r = 0; r < f->classes.n; r++)
		*TG_PUSH(f->arena, &f->physical) = 0;
	const struct tg_chip *c = f->chip;
	return scan(f, w.of, CLASS_S, c->n_sregs) && scan(f, w.of, CLASS_V, c->n_vregs) && scan(f, w.of, CLASS_M, c->n_mregs) &&
	       scan(f, w.of, CLASS_P, c->n_pregs);
}
