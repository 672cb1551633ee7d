/* pipeline.c: software pipelining of innermost loops by iterative modulo scheduling (Rau, "Iterative Modulo Scheduling: An Algorithm for Software
 * Pipelining Loops", MICRO 27, 1994), with modulo variable expansion (Lam, "Software Pipelining", PLDI 1988) instead of rotating registers.
 *
 * Every operation gets a time; an iteration starts `interval` bundles after the one before it. The code is the timeline of all iterations cut into
 * windows of `interval` bundles: those in which iterations begin to fill the pipeline, the kernel, which a hardware loop repeats (with as many
 * copies of the body as the longest-lived value needs names), and those in which the pipeline empties. Trips are known, so nothing is tested. */
#include "deps.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPS = 4096, MAX_COPIES = 8, BUDGET = 8, MAX_TRIES = 12, NOT_PLACED = -1, MAX_PASSES = 8, MAX_STAGGER = 2, MOST_STRETCH = 4 };

struct user { uint32_t item; struct user *next; };
struct turn { int64_t urgency; uint32_t item; };
struct pipe {
	struct block b;
	struct tg_arena *a;
	const struct tg_chip *chip;
	struct mnode *loop;
	int64_t trips;
	uint32_t least, interval;
	uint32_t stagger;           /* which of the orders is tried: registers may suffice in another one */
	int32_t *time, *last;       /* by item: where it stands; where it stood before it was thrown out */
	struct edge **in;           /* by item: its incoming edges, `to` being where they come from */
	int64_t *height;
	struct turn *order;         /* items, the most urgent first */
	uint32_t *rank, first_open; /* by item: its place in that order; all before first_open are placed */
	/* modulo reservation table, by bundle of the interval */
	uint16_t (*used)[TG_N_SLOTS];
	uint8_t (*busy)[3];         /* P, M, R: a bit for each array */
	/* registers */
	uint32_t spare;
	uint32_t n_regs;            /* those of the code before pipelining */
	bool *local;
	struct user **users;        /* by local register */
	int32_t *born, *gone;       /* by register */
	uint32_t *copies_of;        /* by register */
	uint32_t copies, stages;
	bool hopeless;              /* by far too many registers: another order of the same interval will not do */
	uint32_t *window_name;      /* by register: its name in the window that is being written */
	uint32_t *first_copy;       /* by register: its copies are f->classes numbers from here on, 0: itself */
};

/* ---- which loops -------------------------------------------------------------------------------------------------------------- */

static bool is_plain(const struct mnode *loop, uint32_t *n)
{
	*n = 0;
	for (const struct mnode *x = loop->body.first; x; x = x->next) {
		const struct tg_insn_info *info = tg_insn_info(x->op.op);
		if (x->kind != NODE_OP || info->slot == TG_SLOT_C || (info->slot == TG_SLOT_D && !x->op.mem) || x->op.op == TG_I_vldx || x->op.op == TG_I_vstx)
			return false;
		if (++*n > MAX_OPS)
			return false;
	}
	return *n > 0;
}

/* A register is local when nobody outside the body knows it and each iteration writes it before reading it. */
static void find_local(struct pipe *p, const struct reg_facts *facts)
{
	size_t n = p->n_regs;
	bool *seen = tg_alloc_n(p->a, n, sizeof *seen);
	p->local = tg_alloc_n(p->a, n, sizeof *p->local);
	for (struct mnode *x = p->loop->body.first; x; x = x->next) {
		const struct mop *op = &x->op;
		const struct tg_insn_info *info = tg_insn_info(op->op);
		enum vclass c;
		if (op->pred)
			seen[op->pred] = true;
		for (uint32_t k = 0; k < info->n_fields; k++)
			if (op_class_of(info->field[k].kind, &c) && !info->field[k].is_def)
				seen[op->f[k]] = true;
		for (uint32_t k = 0; k < info->n_fields; k++) {
			if (!op_class_of(info->field[k].kind, &c) || !info->field[k].is_def || seen[op->f[k]])
				continue;
			seen[op->f[k]] = true;
			p->local[op->f[k]] = !op_merges(op, info) && facts[op->f[k]].home == p->loop;
		}
	}
	p->local[0] = false;
}

/* ---- bounds ----------------------------------------------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct mop *op)
{
	return tg_insn_info(op->op)->slot;
}

static uint32_t up(uint64_t a, uint64_t b)
{
	return (uint32_t)((a + b - 1) / b);
}

static uint32_t resource_bound(const struct pipe *p)
{
	uint64_t used[TG_N_SLOTS] = { 0 }, busy[TG_N_SLOTS][TG_MAX_ARRAYS] = { { 0 } };
	uint32_t least = 1;
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		uint32_t s = slot_of(op);
		used[s]++;
		if (s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R)
			busy[s][op_unit(op)] += op_busy(p->chip, op);
	}
	used[TG_SLOT_V] += used[TG_SLOT_E];
	for (uint32_t s = 0; s < TG_N_SLOTS; s++) {
		uint32_t n = s == TG_SLOT_V ? p->chip->n_alu : s == TG_SLOT_E ? p->chip->n_transcendental : tg_slot_count(p->chip, (enum tg_slot)s);
		bool unit = s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R;
		if (used[s] && !unit && up(used[s], n) > least)
			least = up(used[s], n);
		for (uint32_t u = 0; unit && u < TG_MAX_ARRAYS; u++)
			least = busy[s][u] > least ? (uint32_t)busy[s][u] : least;
	}
	return least;
}

/* Longest paths to the end under an interval; false when a recurrence does not fit it. */
static bool find_heights(struct pipe *p)
{
	for (uint32_t i = 0; i < p->b.n; i++)
		p->height[i] = 0;
	for (uint32_t round = 0; round <= 64; round++) {
		bool changed = false;
		for (uint32_t i = p->b.n; i-- > 0;)
			for (const struct edge *e = p->b.items[i].out; e; e = e->next) {
				int64_t h = p->height[e->to] + e->delay - (int64_t)e->dist * p->interval;
				if (h > p->height[i]) {
					p->height[i] = h;
					changed = true;
				}
			}
		if (!changed)
			return true;
	}
	return false;
}

/* ---- the reservation table ---------------------------------------------------------------------------------------------------------- */

static uint32_t unit_kind(uint32_t slot)
{
	return slot == TG_SLOT_P ? 0 : slot == TG_SLOT_M ? 1 : 2;
}

static bool is_unit(uint32_t s)
{
	return s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R;
}

static bool room(const struct pipe *p, const struct mop *op, int32_t t)
{
	uint32_t s = slot_of(op), at = (uint32_t)t % p->interval;
	const uint16_t *u = p->used[at];
	if (is_unit(s)) {
		uint32_t busy = op_busy(p->chip, op);
		if (busy > p->interval)
			return false;
		for (uint32_t k = 0; k < busy; k++)
			if (p->busy[(at + k) % p->interval][unit_kind(s)] >> op_unit(op) & 1)
				return false;
		return true;
	}
	if (s == TG_SLOT_E)
		return u[TG_SLOT_E] < p->chip->n_transcendental && u[TG_SLOT_E] + u[TG_SLOT_V] < p->chip->n_alu;
	if (s == TG_SLOT_V)
		return u[TG_SLOT_E] + u[TG_SLOT_V] < p->chip->n_alu;
	return u[s] < tg_slot_count(p->chip, (enum tg_slot)s);
}

static void mark(struct pipe *p, uint32_t i, bool on)
{
	const struct mop *op = &p->b.items[i].node->op;
	uint32_t s = slot_of(op), at = (uint32_t)p->time[i] % p->interval;
	p->used[at][s] = (uint16_t)(p->used[at][s] + (on ? 1 : -1));
	for (uint32_t k = 0; is_unit(s) && k < op_busy(p->chip, op); k++) {
		uint8_t *b = &p->busy[(at + k) % p->interval][unit_kind(s)];
		*b = (uint8_t)(on ? *b | 1u << op_unit(op) : *b & ~(1u << op_unit(op)));
	}
}

static void unplace(struct pipe *p, uint32_t i)
{
	mark(p, i, false);
	p->last[i] = p->time[i];
	p->time[i] = NOT_PLACED;
	p->first_open = p->rank[i] < p->first_open ? p->rank[i] : p->first_open;
}

/* Do two operations compete for what is left at `t`? Units: whatever overlaps; slots: same kind in the same bundle. */
static bool competes(const struct pipe *p, uint32_t i, int32_t t, uint32_t j)
{
	const struct mop *a = &p->b.items[i].node->op, *b = &p->b.items[j].node->op;
	uint32_t s = slot_of(a), r = slot_of(b);
	bool alu = (s == TG_SLOT_V || s == TG_SLOT_E) && (r == TG_SLOT_V || r == TG_SLOT_E);
	if (s != r && !alu)
		return false;
	uint32_t x = (uint32_t)t % p->interval, y = (uint32_t)p->time[j] % p->interval;
	if (!is_unit(s))
		return x == y;
	if (op_unit(a) != op_unit(b))
		return false;
	uint32_t from_y = (y + p->interval - x) % p->interval, from_x = (x + p->interval - y) % p->interval;
	return from_y < op_busy(p->chip, a) || from_x < op_busy(p->chip, b);
}

/* ---- placing ---------------------------------------------------------------------------------------------------------------------------- */

static int64_t earliest(const struct pipe *p, uint32_t i)
{
	int64_t t = 0;
	for (const struct edge *e = p->in[i]; e; e = e->next)
		if (p->time[e->to] != NOT_PLACED) {
			int64_t at = p->time[e->to] + (int64_t)e->delay - (int64_t)e->dist * p->interval;
			t = at > t ? at : t;
		}
	return t;
}

static int64_t latest(const struct pipe *p, uint32_t i)
{
	int64_t t = INT64_MAX;
	for (const struct edge *e = p->b.items[i].out; e; e = e->next)
		if (p->time[e->to] != NOT_PLACED && e->to != i) {
			int64_t at = p->time[e->to] - (int64_t)e->delay + (int64_t)e->dist * p->interval;
			t = at < t ? at : t;
		}
	return t;
}

static void throw_out(struct pipe *p, uint32_t i, int32_t t)
{
	for (uint32_t j = 0; j < p->b.n && !room(p, &p->b.items[i].node->op, t); j++)
		if (j != i && p->time[j] != NOT_PLACED && competes(p, i, t, j))
			unplace(p, j);
	p->time[i] = t;
	mark(p, i, true);
	for (const struct edge *e = p->b.items[i].out; e; e = e->next)
		if (e->to != i && p->time[e->to] != NOT_PLACED && p->time[e->to] < t + (int64_t)e->delay - (int64_t)e->dist * p->interval)
			unplace(p, e->to);
}

/* Copies of one chain follow each other in the program: staggered over the interval they need registers one after the other, not all at once. */
static int64_t urgency(const struct pipe *p, uint32_t i)
{
	static const int64_t halves[MAX_STAGGER + 1] = { 2, 1, 4 };
	return p->height[i] - (int64_t)i * p->interval * halves[p->stagger] / 2 / p->b.n;
}

static int by_urgency(const void *x, const void *y)
{
	const struct turn *a = x, *b = y;
	if (a->urgency != b->urgency)
		return a->urgency > b->urgency ? -1 : 1;
	return a->item < b->item ? -1 : a->item > b->item;
}

static void set_order(struct pipe *p)
{
	for (uint32_t i = 0; i < p->b.n; i++)
		p->order[i] = (struct turn){ urgency(p, i), i };
	qsort(p->order, p->b.n, sizeof *p->order, by_urgency);
	for (uint32_t i = 0; i < p->b.n; i++)
		p->rank[p->order[i].item] = i;
	p->first_open = 0;
}

static bool place_all(struct pipe *p)
{
	memset(p->used, 0, p->interval * sizeof *p->used);
	memset(p->busy, 0, p->interval * sizeof *p->busy);
	for (uint32_t i = 0; i < p->b.n; i++)
		p->time[i] = p->last[i] = NOT_PLACED;
	set_order(p);
	for (uint64_t budget = (uint64_t)BUDGET * p->b.n; budget > 0; budget--) {
		while (p->first_open < p->b.n && p->time[p->order[p->first_open].item] != NOT_PLACED)
			p->first_open++;
		if (p->first_open == p->b.n)
			return true;
		uint32_t pick = p->order[p->first_open].item;
		int64_t from = earliest(p, pick), t = from;
		if (from > INT32_MAX / 2)
			return false;
		while (t < from + p->interval && !room(p, &p->b.items[pick].node->op, (int32_t)t))
			t++;
		if (t == from + p->interval)
			t = p->last[pick] == NOT_PLACED || from > p->last[pick] ? from : p->last[pick] + 1;
		if (op_busy(p->chip, &p->b.items[pick].node->op) > p->interval && is_unit(slot_of(&p->b.items[pick].node->op)))
			return false;
		throw_out(p, pick, (int32_t)t);
	}
	return false;
}

/* ---- shorter lives ------------------------------------------------------------------------------------------------------------------- */

/* What a bundle of life costs: rare registers more. */
static int64_t weight(const struct pipe *p, int64_t r)
{
	static const uint8_t by_class[N_CLASSES] = { [CLASS_P] = 16, [CLASS_M] = 12, [CLASS_S] = 4, [CLASS_V] = 2 };
	return by_class[p->b.f->classes.at[r]];
}

static void note_user(struct pipe *p, int64_t r, uint32_t item)
{
	if (!r || !p->local[r])
		return;
	struct user *u = tg_alloc(p->a, sizeof *u);
	*u = (struct user){ item, p->users[r] };
	p->users[r] = u;
}

static void find_users(struct pipe *p)
{
	p->users = tg_alloc_n(p->a, p->n_regs, sizeof *p->users);
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		const struct tg_insn_info *info = tg_insn_info(op->op);
		note_user(p, op->pred, i);
		for (uint32_t k = 0; k < info->n_fields; k++)
			if (info->field[k].kind <= TG_FIELD_P)
				note_user(p, op->f[k], i);
	}
}

/* The life of register r if item i stood at t. */
static int64_t life(const struct pipe *p, int64_t r, uint32_t i, int64_t t)
{
	int64_t first = t, last = t;
	for (const struct user *u = p->users[r]; u; u = u->next) {
		int64_t at = u->item == i ? t : p->time[u->item];
		first = at < first ? at : first;
		last = at > last ? at : last;
	}
	return last - first;
}

static int64_t lives_cost(const struct pipe *p, uint32_t i, int64_t t)
{
	const struct mop *op = &p->b.items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	int64_t cost = op->pred && p->local[op->pred] ? weight(p, op->pred) * life(p, op->pred, i, t) : 0;
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].kind <= TG_FIELD_P && op->f[k] && p->local[op->f[k]])
			cost += weight(p, op->f[k]) * life(p, op->f[k], i, t);
	return cost;
}

/* Moves an operation between its neighbours in the graph to where the registers it touches live shortest. */
static bool improve(struct pipe *p, uint32_t i)
{
	int64_t from = earliest(p, i), to = latest(p, i), now = p->time[i], best = now, least = lives_cost(p, i, now);
	to = to == INT64_MAX ? now + p->interval : to;
	if (to - from > 4 * (int64_t)p->interval)
		to = from + 4 * (int64_t)p->interval;
	mark(p, i, false);
	/* costs are piecewise linear in t: from each end to the nearest free bundle, and near the present place */
	const int64_t starts[] = { from, to };
	for (int e = 0; e < 2; e++) {
		int64_t t = starts[e], step = e ? -1 : 1;
		while (t >= from && t <= to && !room(p, &p->b.items[i].node->op, (int32_t)t))
			t += step;
		if (t < from || t > to)
			continue;
		int64_t cost = lives_cost(p, i, t);
		if (cost < least) {
			least = cost;
			best = t;
		}
	}
	p->time[i] = (int32_t)best;
	mark(p, i, true);
	return best != now;
}

/* Scalar work, loads and the waits before them were placed as early as possible: as late as possible frees their neighbours, chain by chain. */
static void sink(struct pipe *p)
{
	bool moved = true;
	for (int pass = 0; pass < MAX_PASSES && moved; pass++) {
		moved = false;
		for (uint32_t i = p->b.n; i-- > 0;) {
			const struct mop *op = &p->b.items[i].node->op;
			uint32_t s = slot_of(op);
			bool moves = s == TG_SLOT_L || s == TG_SLOT_S || s == TG_SLOT_R || op->op == TG_I_dma_wait || op->op == TG_I_vmovi;
			bool copy = op->op == TG_I_saddi && op->f[2] == 0; /* early, so that the original can go on */
			if (!moves || copy || op->op == TG_I_sst32 || op->op == TG_I_sst64)
				continue;
			int64_t to = latest(p, i), now = p->time[i], t = to;
			if (to == INT64_MAX || to <= now)
				continue;
			t = t > now + p->interval ? now + p->interval : t;
			mark(p, i, false);
			while (t > now && !room(p, op, (int32_t)t))
				t--;
			moved |= t > now;
			p->time[i] = (int32_t)t;
			mark(p, i, true);
		}
	}
}

static void shorten_lives(struct pipe *p)
{
	bool moved = true;
	sink(p);
	for (int pass = 0; pass < MAX_PASSES && moved; pass++) {
		moved = false;
		for (uint32_t k = 0; k < p->b.n; k++)
			moved |= improve(p, pass % 2 ? k : p->b.n - 1 - k);
	}
}

/* The first iteration's first operation at 0. */
static void settle_start(struct pipe *p)
{
	int32_t first = INT32_MAX;
	for (uint32_t i = 0; i < p->b.n; i++)
		first = p->time[i] < first ? p->time[i] : first;
	for (uint32_t i = 0; i < p->b.n; i++)
		p->time[i] -= first;
}

static void count_stages(struct pipe *p)
{
	p->stages = 0;
	for (uint32_t i = 0; i < p->b.n; i++)
		if ((uint32_t)p->time[i] / p->interval + 1 > p->stages)
			p->stages = (uint32_t)p->time[i] / p->interval + 1;
}

/* ---- registers ---------------------------------------------------------------------------------------------------------------------------- */

static void touch(struct pipe *p, int64_t r, int32_t from, int32_t to)
{
	p->born[r] = from < p->born[r] ? from : p->born[r];
	p->gone[r] = to > p->gone[r] ? to : p->gone[r];
}

static void find_lives(struct pipe *p)
{
	for (size_t r = 0; r < p->n_regs; r++) {
		p->born[r] = INT32_MAX;
		p->gone[r] = -1;
	}
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		const struct tg_insn_info *info = tg_insn_info(op->op);
		enum vclass c;
		int32_t t = p->time[i];
		if (op->pred)
			touch(p, op->pred, t, t);
		for (uint32_t k = 0; k < info->n_fields; k++)
			if (op_class_of(info->field[k].kind, &c) && op->f[k]) {
				int32_t lag = info->field[k].is_def ? (int32_t)tg_insn_latency(p->chip, op->op) : info->field[k].is_both ? (int32_t)p->chip->latency.scalar : 0;
				touch(p, op->f[k], t, t + lag);
			}
	}
}

/* Where the windows are cut is free: where the fewest local values cross a cut, as the allocator keeps those for the whole kernel. */
static void rotate(struct pipe *p)
{
	int32_t ii = (int32_t)p->interval;
	int32_t *crossing = tg_alloc_n(p->a, (size_t)ii + 1, sizeof *crossing), best = 0;
	find_lives(p);
	for (size_t r = 1; r < p->n_regs; r++) {
		if (p->gone[r] < 0 || !p->local[r] || p->gone[r] - p->born[r] >= ii)
			continue;
		int32_t weight = p->b.f->classes.at[r] == CLASS_P ? 4 : p->b.f->classes.at[r] == CLASS_S ? 2 : 1;
		/* a cut at c divides it when born < c <= gone, modulo the interval */
		for (int32_t t = p->born[r] + 1; t <= p->gone[r]; t++)
			crossing[t % ii] += weight;
	}
	for (int32_t c = 1; c < ii; c++)
		if (crossing[c] < crossing[best])
			best = c;
	for (uint32_t i = 0; i < p->b.n; i++)
		p->time[i] += best ? ii - best : 0;
}

static bool crosses(const struct pipe *p, int64_t r)
{
	return p->gone[r] / (int32_t)p->interval != p->born[r] / (int32_t)p->interval;
}

/* Names that take turns: a value that needs `least` of them gets a number that divides the copies of the body. */
static uint32_t names_of(uint32_t copies, uint32_t least)
{
	while (copies % least)
		least++;
	return least;
}

/* More copies of the body than the longest life needs may let the others do with fewer names. */
static uint32_t best_copies(const struct pipe *p)
{
	uint32_t best = p->copies, fewest = UINT32_MAX;
	for (uint32_t copies = p->copies; copies <= MAX_COPIES && copies <= p->copies + 1; copies++) {
		uint32_t names = 0;
		for (size_t r = 1; r < p->n_regs; r++)
			if (p->local[r] && p->gone[r] >= 0 && p->copies_of[r] > 1)
				names += names_of(copies, p->copies_of[r]);
		if (names < fewest) {
			fewest = names;
			best = copies;
		}
	}
	return best;
}

/* Names that every local value needs, and whether the chip has the registers. */
static bool expand_names(struct pipe *p, const uint32_t *outside)
{
	size_t n = p->n_regs;
	int32_t ii = (int32_t)p->interval;
	uint32_t need[N_CLASSES] = { 0 };
	const uint32_t have[N_CLASSES] = { [CLASS_S] = p->chip->n_sregs - 2, [CLASS_V] = p->chip->n_vregs, [CLASS_M] = p->chip->n_mregs - 1, [CLASS_P] = p->chip->n_pregs - 1 };
	uint16_t (*live)[N_CLASSES] = tg_alloc_n(p->a, p->interval, sizeof *live);
	p->copies = 1;
	p->hopeless = false;
	find_lives(p);
	for (size_t r = 1; r < n; r++) {
		p->copies_of[r] = 1;
		if (p->gone[r] < 0 || !p->local[r])
			continue;
		uint32_t q = up((uint64_t)(p->gone[r] - p->born[r]), p->interval);
		p->copies_of[r] = q ? q : 1;
		p->copies = q > p->copies ? q : p->copies;
	}
	if (p->copies > MAX_COPIES)
		return false;
	p->copies = best_copies(p);
	for (size_t r = 1; r < n; r++) {
		enum vclass c = (enum vclass)p->b.f->classes.at[r];
		if (p->gone[r] < 0 || !p->local[r])
			continue;
		if (p->copies_of[r] > 1)
			need[c] += names_of(p->copies, p->copies_of[r]);
		else if (crosses(p, (int64_t)r))
			need[c]++;
		else
			for (int32_t t = p->born[r]; t < p->gone[r] || t == p->born[r]; t++)
				live[t % ii][c]++;
	}
	for (uint32_t c = 0; c < N_CLASSES; c++) {
		uint32_t most = 0;
		for (int32_t t = 0; t < ii; t++)
			most = live[t][c] > most ? live[t][c] : most;
		if (need[c] + most + outside[c] + p->spare > have[c]) {
			p->b.f->scalars_short |= c == CLASS_S;
			p->hopeless = (need[c] + most + outside[c] + p->spare) * 4 > have[c] * 5;
			return false;
		}
	}
	return true;
}

static void name_copies(struct pipe *p)
{
	struct mfn *f = p->b.f;
	size_t n = p->n_regs;
	p->first_copy = tg_alloc_n(p->a, n, sizeof *p->first_copy);
	p->window_name = tg_alloc_n(p->a, n, sizeof *p->window_name);
	for (size_t r = 1; r < n; r++) {
		if (p->gone[r] < 0 || !p->local[r] || p->copies_of[r] == 1)
			continue;
		p->first_copy[r] = (uint32_t)f->classes.n;
		for (uint32_t k = 0; k < names_of(p->copies, p->copies_of[r]); k++)
			mreg(f, (enum vclass)f->classes.at[r]);
	}
}

/* Copies by iteration where lives overlap; a name of its own in every window where a value stays within one; else its own name. */
static int64_t renamed(struct pipe *p, int64_t r, uint64_t iteration)
{
	if (!r || r >= p->n_regs || !p->local[r])
		return r;
	if (p->first_copy[r])
		return p->first_copy[r] + (int64_t)(iteration % names_of(p->copies, p->copies_of[r]));
	if (crosses(p, r))
		return r;
	if (!p->window_name[r])
		p->window_name[r] = mreg(p->b.f, (enum vclass)p->b.f->classes.at[r]).id;
	return p->window_name[r];
}

static struct mop *copy_op(struct pipe *p, uint32_t item, uint64_t iteration)
{
	struct mop *op = tg_alloc(p->b.f->arena, sizeof *op);
	*op = p->b.items[item].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	op->pred = (uint32_t)renamed(p, op->pred, iteration);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].kind <= TG_FIELD_P)
			op->f[k] = renamed(p, op->f[k], iteration);
	return op;
}

/* ---- code ------------------------------------------------------------------------------------------------------------------------------------ */

/* Bundles of windows [from, to): in window w, an operation of stage s belongs to iteration w - s, if there is one. */
static void write_windows(struct pipe *p, struct sched *s, int64_t from, int64_t to)
{
	TG_VEC(struct sched_bundle) out = { 0 };
	for (int64_t w = from; w < to; w++) {
		size_t base = out.n;
		memset(p->window_name, 0, p->n_regs * sizeof *p->window_name);
		for (uint32_t t = 0; t < p->interval; t++)
			*TG_PUSH(p->b.f->arena, &out) = (struct sched_bundle){ 0 };
		for (uint32_t i = 0; i < p->b.n; i++) {
			int64_t iteration = w - p->time[i] / (int32_t)p->interval;
			if (iteration < 0 || iteration >= p->trips)
				continue;
			struct sched_bundle *b = &out.at[base + (uint32_t)p->time[i] % p->interval];
			b->ops[b->n++] = copy_op(p, i, (uint64_t)iteration);
		}
	}
	/* empty bundles ride on the one before */
	size_t kept = 0;
	for (size_t i = 0; i < out.n; i++) {
		if (out.at[i].n == 0 && kept) {
			out.at[kept - 1].idle++;
			continue;
		}
		out.at[kept++] = out.at[i];
	}
	s->at = out.at;
	s->n = (uint32_t)kept;
}

/* Until everything that is under way behind the last iteration has landed. */
static void drain(const struct pipe *p, struct sched *s, int64_t windows)
{
	int64_t end = windows * p->interval, quiet = end;
	for (uint32_t i = 0; i < p->b.n; i++) {
		int64_t t = (p->trips - 1) * p->interval + p->time[i] + op_settles(p->chip, &p->b.items[i].node->op);
		quiet = t > quiet ? t : quiet;
	}
	if (s->n)
		s->at[s->n - 1].idle += (uint32_t)(quiet - end);
}

/* The timeline's end is the last operation's bundle, not the last window's end. */
static void trim(const struct pipe *p, struct sched *s, int64_t windows)
{
	int64_t last = 0, end = windows * p->interval;
	for (uint32_t i = 0; i < p->b.n; i++) {
		int64_t t = (p->trips - 1) * p->interval + p->time[i] + op_settles(p->chip, &p->b.items[i].node->op);
		last = t > last ? t : last;
	}
	int64_t spare = end - last;
	if (s->n && spare > 0)
		s->at[s->n - 1].idle -= (uint32_t)(spare < s->at[s->n - 1].idle ? spare : s->at[s->n - 1].idle);
}

static void write_code(struct pipe *p)
{
	struct pipeline *out = tg_alloc(p->b.f->arena, sizeof *out);
	*out = (struct pipeline){ .interval = p->interval, .least = p->least, .stages = p->stages, .copies = p->copies, .trips = (uint64_t)p->trips };
	int64_t fill = (int64_t)p->stages - 1, windows = p->trips + fill, rounds = (p->trips - fill) / p->copies;
	name_copies(p);
	if (rounds >= 1 && p->trips > fill) {
		out->rounds = mreg(p->b.f, CLASS_S);
		struct sched_bundle *first = tg_alloc(p->b.f->arena, sizeof *first);
		struct mop *op = tg_alloc(p->b.f->arena, sizeof *op);
		*op = (struct mop){ .op = TG_I_smov, .f = { out->rounds.id, rounds } };
		*first = (struct sched_bundle){ .n = 1, .ops = { op }, .idle = p->chip->latency.scalar - 1 };
		write_windows(p, &out->before, 0, fill);
		struct sched_bundle *at = tg_alloc_n(p->b.f->arena, out->before.n + 1, sizeof *at);
		at[0] = *first;
		if (out->before.n)
			memcpy(at + 1, out->before.at, out->before.n * sizeof *at);
		out->before.at = at;
		out->before.n++;
		write_windows(p, &out->kernel, fill, fill + p->copies);
		write_windows(p, &out->after, fill + rounds * p->copies, windows);
	} else {
		write_windows(p, &out->after, 0, windows);
	}
	if (out->after.n == 0) { /* one stage and no rest: the kernel's last results are still under way */
		out->after.at = tg_alloc(p->b.f->arena, sizeof *out->after.at);
		out->after.at[0] = (struct sched_bundle){ 0 };
		out->after.n = 1;
		drain(p, &out->after, windows);
	} else {
		drain(p, &out->after, windows);
		trim(p, &out->after, windows);
	}
	p->b.f->stretched |= p->interval > p->least;
	p->loop->pipe = out;
}

/* ---- one loop ---------------------------------------------------------------------------------------------------------------------------------- */

static void incoming(struct pipe *p)
{
	p->in = tg_alloc_n(p->a, p->b.n, sizeof *p->in);
	for (uint32_t i = 0; i < p->b.n; i++)
		for (const struct edge *e = p->b.items[i].out; e; e = e->next) {
			struct edge *r = tg_alloc(p->a, sizeof *r);
			*r = (struct edge){ i, e->delay, e->dist, p->in[e->to] };
			p->in[e->to] = r;
		}
}

/* Registers that hold something throughout the loop: known outside of it, or carried. */
static void count_outside(const struct pipe *p, const struct reg_facts *facts, uint32_t *outside)
{
	for (size_t r = 1; r < p->n_regs; r++)
		if (facts[r].seen && !p->local[r] && facts[r].first <= p->loop->end && facts[r].last >= p->loop->start)
			outside[p->b.f->classes.at[r]]++;
}

/* The kernel must stay in the instruction buffer, and filling and emptying must not cost more to fetch than they save. */
static bool code_fits(const struct pipe *p)
{
	uint64_t bundles = p->interval < p->b.n ? p->interval : p->b.n, one = (p->b.n + bundles) * 8;
	return one * p->copies <= p->chip->ibuf_bytes * UINT64_C(3) / 4 && one * (p->copies + p->stages) <= p->chip->ibuf_bytes * UINT64_C(2);
}

/* The least interval that recurrences allow, from p->least on: doubled until it suffices, then halved in between. 0: none that would pay. */
static uint32_t recurrence_bound(struct pipe *p)
{
	uint64_t lo = p->least, hi = lo;
	for (p->interval = (uint32_t)hi; !find_heights(p); p->interval = (uint32_t)hi) {
		lo = hi + 1;
		hi *= 2;
		if (hi > (uint64_t)p->least * MOST_STRETCH)
			return 0;
	}
	while (lo < hi) {
		p->interval = (uint32_t)((lo + hi) / 2);
		if (find_heights(p))
			hi = p->interval;
		else
			lo = (uint64_t)p->interval + 1;
	}
	return (uint32_t)hi;
}

static bool try_interval(struct pipe *p, const uint32_t *outside)
{
	p->used = tg_alloc_n(p->a, p->interval, sizeof *p->used);
	p->busy = tg_alloc_n(p->a, p->interval, sizeof *p->busy);
	if (!place_all(p))
		return false;
	shorten_lives(p);
	settle_start(p);
	rotate(p);
	count_stages(p);
	return expand_names(p, outside);
}

static bool search(struct pipe *p, const uint32_t *outside)
{
	uint64_t ii = recurrence_bound(p);
	for (uint32_t tries = 0; ii && tries < MAX_TRIES; tries++, ii += 1 + ii * tries / 48) { /* small steps first: most loops fit near their bound */
		p->interval = (uint32_t)ii;
		p->hopeless = false;
		for (p->stagger = 0; p->stagger <= MAX_STAGGER && !p->hopeless && find_heights(p); p->stagger++)
			if (try_interval(p, outside))
				return true;
	}
	return false;
}

bool mach_pipeline(struct mfn *f, struct mnode *loop, const struct reg_facts *facts, uint32_t n_facts, uint32_t spare, struct tg_arena *scratch)
{
	struct pipe p = { .a = scratch, .chip = f->chip, .loop = loop, .n_regs = n_facts, .spare = spare };
	uint32_t n, outside[N_CLASSES] = { 0 };
	bool done = false;
	if (!facts[loop->control.id].constant || facts[loop->control.id].n_defs != 1 || !is_plain(loop, &n))
		return false;
	p.trips = facts[loop->control.id].value;
	if (p.trips < 2)
		return false;
	p.b = (struct block){ .a = scratch, .f = f, .acc_reuse = loop->acc_reuse, .chunk_trips = loop->chunk_trips };
	find_local(&p, facts);
	p.b.local = p.local;
	p.b.n_local = n_facts;
	deps_build(&p.b, loop->body.first, n, true);
	incoming(&p);
	find_users(&p);
	p.time = tg_alloc_n(scratch, n, sizeof *p.time);
	p.last = tg_alloc_n(scratch, n, sizeof *p.last);
	p.height = tg_alloc_n(scratch, n, sizeof *p.height);
	p.order = tg_alloc_n(scratch, n, sizeof *p.order);
	p.rank = tg_alloc_n(scratch, n, sizeof *p.rank);
	p.born = tg_alloc_n(scratch, n_facts, sizeof *p.born);
	p.gone = tg_alloc_n(scratch, n_facts, sizeof *p.gone);
	p.copies_of = tg_alloc_n(scratch, n_facts, sizeof *p.copies_of);
	count_outside(&p, facts, outside);
	p.least = resource_bound(&p);
	bool found = search(&p, outside);
	if (found && (p.trips >= p.stages || p.trips <= 4) && code_fits(&p)) {
		write_code(&p);
		f->pipelined = done = true;
	}
	tg_arena_reset(scratch);
	return done;
}
