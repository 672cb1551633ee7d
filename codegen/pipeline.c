/* pipeline.c: software pipelining of innermost loops by iterative modulo scheduling (Rau, "Iterative Modulo Scheduling: An Algorithm for Software
 * Pipelining Loops", MICRO 27, 1994), with modulo variable expansion (Lam, "Software Pipelining", PLDI 1988) instead of rotating registers.
 *
 * Every operation gets a time; an iteration starts `interval` bundles after the one before it. The code is the timeline of all iterations cut into
 * windows of `interval` bundles: those in which iterations begin to fill the pipeline, the kernel, which a hardware loop repeats (with as many
 * copies of the body as the longest-lived value needs names), and those in which the pipeline empties. Trips are known, so nothing is tested. */
#include "pipe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPS = 4096, BUDGET = 8, MAX_TRIES = 12, NOT_PLACED = -1, MAX_PASSES = 8, MAX_STAGGER = 2, MOST_STRETCH = 4 };

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

/* Looked up once: the search asks for them again and again. */
static void find_needs(struct pipe *p)
{
	p->need = tg_alloc_n(p->a, p->b.n, sizeof *p->need);
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		uint32_t s = slot_of(op), most = s == TG_SLOT_E ? p->chip->n_transcendental : s == TG_SLOT_V ? p->chip->n_alu : tg_slot_count(p->chip, (enum tg_slot)s);
		p->need[i] = (struct need){ s, is_unit(s) ? (uint32_t)op_unit(op) : 0, is_unit(s) ? op_busy(p->chip, op) : 0, most };
	}
}

static bool room(const struct pipe *p, uint32_t i, int32_t t)
{
	const struct need *n = &p->need[i];
	uint32_t at = (uint32_t)t % p->interval;
	const uint16_t *u = p->used[at];
	if (n->busy) {
		if (n->busy > p->interval)
			return false;
		for (uint32_t k = 0; k < n->busy; k++, at = at + 1 == p->interval ? 0 : at + 1)
			if (p->busy[at][unit_kind(n->slot)] >> n->unit & 1)
				return false;
		return true;
	}
	bool alu = n->slot == TG_SLOT_V || n->slot == TG_SLOT_E;
	if (alu && u[TG_SLOT_E] + u[TG_SLOT_V] >= (int)p->chip->n_alu)
		return false;
	return u[n->slot] < n->most;
}

static void mark(struct pipe *p, uint32_t i, bool on)
{
	const struct need *n = &p->need[i];
	uint32_t at = (uint32_t)p->time[i] % p->interval;
	p->used[at][n->slot] = (uint16_t)(p->used[at][n->slot] + (on ? 1 : -1));
	for (uint32_t k = 0; k < n->busy; k++) {
		uint8_t *b = &p->busy[(at + k) % p->interval][unit_kind(n->slot)];
		*b = (uint8_t)(on ? *b | 1u << n->unit : *b & ~(1u << n->unit));
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
	const struct need *a = &p->need[i], *b = &p->need[j];
	bool alu = (a->slot == TG_SLOT_V || a->slot == TG_SLOT_E) && (b->slot == TG_SLOT_V || b->slot == TG_SLOT_E);
	if (a->slot != b->slot && !alu)
		return false;
	uint32_t x = (uint32_t)t % p->interval, y = (uint32_t)p->time[j] % p->interval;
	if (!is_unit(a->slot))
		return x == y;
	if (a->unit != b->unit)
		return false;
	uint32_t from_y = (y + p->interval - x) % p->interval, from_x = (x + p->interval - y) % p->interval;
	return from_y < a->busy || from_x < b->busy;
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
	bool fits = room(p, i, t);
	for (uint32_t j = 0; j < p->b.n && !fits; j++)
		if (j != i && p->time[j] != NOT_PLACED && competes(p, i, t, j)) {
			unplace(p, j);
			fits = room(p, i, t);
		}
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
		while (t < from + p->interval && !room(p, pick, (int32_t)t))
			t++;
		if (t == from + p->interval)
			t = p->last[pick] == NOT_PLACED || from > p->last[pick] ? from : p->last[pick] + 1;
		if (p->need[pick].busy > p->interval)
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
		while (t >= from && t <= to && !room(p, i, (int32_t)t))
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

/* Moves operations to as late as their neighbours allow, chain by chain. */
static void sink(struct pipe *p, bool (*moves)(const struct mop *op))
{
	bool moved = true;
	for (int pass = 0; pass < MAX_PASSES && moved; pass++) {
		moved = false;
		for (uint32_t i = p->b.n; i-- > 0;) {
			const struct mop *op = &p->b.items[i].node->op;
			int64_t to = latest(p, i), now = p->time[i], t = to;
			if (!moves(op) || to == INT64_MAX || to <= now)
				continue;
			t = t > now + p->interval ? now + p->interval : t;
			mark(p, i, false);
			while (t > now && !room(p, i, (int32_t)t))
				t--;
			moved |= t > now;
			p->time[i] = (int32_t)t;
			mark(p, i, true);
		}
	}
}

static bool waits_or_loads(const struct mop *op)
{
	return op->op == TG_I_dma_wait || slot_of(op) == TG_SLOT_L;
}

/* What was placed as early as possible; as late as possible frees its neighbours. */
static bool placed_early(const struct mop *op)
{
	uint32_t s = slot_of(op);
	bool copy = op->op == TG_I_saddi && op->f[2] == 0; /* early, so that the original can go on */
	return waits_or_loads(op) || ((s == TG_SLOT_S || s == TG_SLOT_R || op->op == TG_I_vmovi) && !copy && op->op != TG_I_sst32 && op->op != TG_I_sst64);
}

static void shorten_lives(struct pipe *p)
{
	bool moved = true;
	sink(p, placed_early);
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

static bool mentions(const struct pipe *p, int64_t r)
{
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		const struct tg_insn_info *info = tg_insn_info(op->op);
		if (op->pred == r)
			return true;
		for (uint32_t k = 0; k < info->n_fields; k++)
			if (info->field[k].kind <= TG_FIELD_P && op->f[k] == r)
				return true;
	}
	return false;
}

/* Registers that hold something throughout the loop: known outside of it, or carried. The trips are not asked for: the kernel has a count of its own. */
static void count_outside(const struct pipe *p, const struct reg_facts *facts, uint32_t *outside)
{
	uint32_t trips = p->loop->control.id;
	for (size_t r = 1; r < p->n_regs; r++)
		if (facts[r].seen && !p->local[r] && facts[r].first <= p->loop->end && facts[r].last >= p->loop->start)
			outside[p->b.f->classes.at[r]] += r != trips || facts[r].last > p->loop->end || mentions(p, (int64_t)r);
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

/* What comes in chunks may come later where its wait, and whatever stands behind that, does: registers permitting. */
static bool wait_late(struct pipe *p, const uint32_t *outside)
{
	if (!p->b.chunk_trips)
		return false;
	memcpy(p->last, p->time, p->b.n * sizeof *p->time);
	sink(p, waits_or_loads);
	settle_start(p);
	if (pipe_cut_windows(p, outside))
		return true;
	memcpy(p->time, p->last, p->b.n * sizeof *p->time);
	p->hopeless = false;
	return false;
}

static bool try_interval(struct pipe *p, const uint32_t *outside)
{
	p->used = tg_alloc_n(p->a, p->interval, sizeof *p->used);
	p->busy = tg_alloc_n(p->a, p->interval, sizeof *p->busy);
	if (!place_all(p))
		return false;
	shorten_lives(p);
	if (wait_late(p, outside))
		return true;
	settle_start(p);
	return pipe_cut_windows(p, outside);
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
	find_needs(&p);
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
		pipe_write_code(&p);
		f->pipelined = done = true;
	}
	tg_arena_reset(scratch);
	return done;
}
