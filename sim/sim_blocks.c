/* sim_blocks.c: finds blocks (blocks.h): bundles that are reached, with the loops around each; then two analyses over the blocks to a
 * fixpoint: constants in scalar registers, and for how many bundles each register and unit may still be busy. A bundle that might break a rule of the schedule, or does what is not
 * translated, becomes a block of its own that the interpreter runs. */
#include "blocks.h"

#define NOT_REACHED (-2)
#define UNKNOWN_TRIPS 8.0

/* Units whose instructions may keep them busy beyond a bundle: push and multiply of each array; then loads and stores, all of a kind together. */
enum { UNIT_PUSH = N_REGS, UNIT_MUL = UNIT_PUSH + TG_MAX_ARRAYS, UNIT_LOAD = UNIT_MUL + TG_MAX_ARRAYS, UNIT_STORE, N_BUSY };

struct facts {
	uint32_t busy[N_BUSY]; /* bundles, at most, until it is free */
	struct constants c;
	bool reached;
};
struct visit {
	uint32_t bundle;
	int32_t ctx;
};
struct finder {
	struct tg_sim *s;
	struct tg_arena *a; /* scratch */
	struct blocks *k;
	int32_t *ctx_of; /* by bundle */
	bool *leader;
	bool *alone; /* the interpreter's */
	bool conflict;
	struct facts *in; /* by block */
	struct tg_core *core; /* for evaluating scalar instructions */
	TG_VEC(struct visit) todo;
	TG_VEC(struct loop_ctx) ctx;
	TG_VEC(uint32_t) next;
};

const struct uop *sim_control_of(const struct tg_sim *s, const struct decoded *b)
{
	const struct uop *last = b->n_insns ? sim_insn(s, b->first_insn + b->n_insns - 1) : NULL;
	return last && last->slot == TG_SLOT_C ? last : NULL;
}

/* An idle or a loop flag does not end a block. */
static bool ends_block(const struct tg_sim *s, const struct decoded *b)
{
	const struct uop *u = sim_control_of(s, b);
	return u && (u->in.op == TG_I_loop || u->in.op == TG_I_br || u->in.op == TG_I_halt);
}

int32_t sim_ctx_after_branch(const struct blocks *k, int32_t ctx, uint32_t to)
{
	while (ctx >= 0 && !(to >= k->ctx[ctx].start && to < k->ctx[ctx].end))
		ctx = k->ctx[ctx].parent;
	return ctx;
}

static void reach(struct finder *f, uint32_t bundle, int32_t ctx, bool leader)
{
	if (bundle >= f->s->n_bundles)
		return;
	f->leader[bundle] |= leader;
	if (f->ctx_of[bundle] == ctx)
		return;
	if (f->ctx_of[bundle] != NOT_REACHED) {
		f->conflict = true;
		return;
	}
	f->ctx_of[bundle] = ctx;
	*TG_PUSH(f->a, &f->todo) = (struct visit){bundle, ctx};
}

/* Successors: fn(user, bundle, ctx, far). `far`: not simply the next bundle. */
typedef void on_next(struct finder *f, uint32_t bundle, int32_t ctx, bool far);

static void each_fall(struct finder *f, uint32_t to, int32_t ctx, bool far, on_next *fn)
{
	while (ctx >= 0 && to == f->ctx.at[ctx].end) {
		fn(f, f->ctx.at[ctx].start, ctx, true);
		ctx = f->ctx.at[ctx].parent;
		far = true;
	}
	fn(f, to, ctx, far);
}

static bool target(const struct tg_sim *s, int64_t word, uint32_t *bundle)
{
	if (word < 0 || word > s->x->n_words || s->bundle_at[word] == UINT32_MAX)
		return false;
	*bundle = s->bundle_at[word];
	return true;
}

/* The context inside the loop that bundle b begins, or -1 when it traps. */
static int32_t enter_loop(struct finder *f, uint32_t b, int32_t ctx, const struct uop *u)
{
	uint32_t end, depth = ctx < 0 ? 0 : f->ctx.at[ctx].depth;
	if (f->k->loop_at[b] >= 0)
		return f->k->loop_at[b];
	if (!target(f->s, u->in.f[1], &end) || end <= b + 1 || (ctx >= 0 && end > f->ctx.at[ctx].end) || depth == MAX_LOOPS)
		return -1;
	*TG_PUSH(f->a, &f->ctx) = (struct loop_ctx){.parent = ctx, .start = b + 1, .end = end, .depth = depth + 1};
	return f->k->loop_at[b] = (int32_t)f->ctx.n - 1;
}

static void each_next(struct finder *f, uint32_t b, int32_t ctx, on_next *fn)
{
	const struct uop *u = sim_control_of(f->s, &f->s->bundles[b]);
	uint32_t to;
	int32_t inside;
	bool fall = !u || u->in.pred;
	if (f->s->bundles[b].illegal)
		return;
	switch (u ? u->in.op : TG_I_none) {
	case TG_I_halt:
		break;
	case TG_I_br:
		if (target(f->s, u->in.f[0], &to)) {
			int32_t left = ctx;
			while (left >= 0 && !(to >= f->ctx.at[left].start && to < f->ctx.at[left].end))
				left = f->ctx.at[left].parent;
			fn(f, to, left, true);
		}
		break;
	case TG_I_loop:
		inside = enter_loop(f, b, ctx, u);
		if (inside >= 0) {
			fn(f, b + 1, inside, true);
			each_fall(f, f->ctx.at[inside].end, ctx, true, fn);
		}
		break;
	default:
		fall = true;
	}
	if (fall)
		each_fall(f, b + 1, ctx, ends_block(f->s, &f->s->bundles[b]), fn);
}

/* Bundles that the translator leaves alone for what they do. */
static bool not_translated(const struct tg_sim *s, const struct decoded *b)
{
	unsigned stores = 0, scalar_stores = 0;
	if (b->illegal || b->n_births)
		return true;
	for (uint32_t i = b->first_insn; i < b->first_insn + b->n_insns; i++) {
		const struct uop *u = sim_insn(s, i);
		switch (u->in.op) {
		case TG_I_dma_start:
		case TG_I_dma_wait:
		case TG_I_halt:
		case TG_I_vldx:
		case TG_I_vstx:
			return true;
		case TG_I_sst32:
		case TG_I_sst64:
			scalar_stores++;
			break;
		case TG_I_loop:
		case TG_I_idle:
			if (u->in.pred)
				return true;
			break;
		default:
			stores += u->slot == TG_SLOT_W;
			break;
		}
	}
	return scalar_stores && scalar_stores + stores > 1; /* several stores of a bundle would have to be asked about together */
}

static void walk(struct finder *f)
{
	const struct tg_sim *s = f->s;
	for (size_t i = 0; i < s->x->steps.n; i++) {
		uint32_t to;
		if (!s->x->steps.at[i].on_host && target(s, s->x->steps.at[i].entry_word, &to))
			reach(f, to, -1, true);
	}
	while (f->todo.n && !f->conflict) {
		struct visit v = f->todo.at[--f->todo.n];
		f->alone[v.bundle] = not_translated(s, &s->bundles[v.bundle]);
		if (f->alone[v.bundle])
			f->leader[v.bundle] = true;
		each_next(f, v.bundle, v.ctx, reach);
		if (f->alone[v.bundle] && v.bundle + 1 < s->n_bundles)
			f->leader[v.bundle + 1] = true;
	}
}

static void make_blocks(struct finder *f)
{
	struct blocks *k = f->k;
	uint32_t n = f->s->n_bundles;
	k->at = tg_alloc_n(f->s->arena, (size_t)n + 1, sizeof *k->at);
	memset(k->block_of, 0xff, ((size_t)n + 1) * sizeof *k->block_of);
	for (uint32_t b = 0; b < n;) {
		if (f->ctx_of[b] == NOT_REACHED) {
			b++;
			continue;
		}
		struct block *at = &k->at[k->n];
		*at = (struct block){.first = b, .ctx = f->ctx_of[b], .interpret = f->alone[b]};
		k->block_of[b] = k->n++;
		do {
			b++;
		} while (!at->interpret && b < n && !f->leader[b] && f->ctx_of[b] == at->ctx && !ends_block(f->s, &f->s->bundles[b - 1]));
		at->end = at->whole_end = b;
	}
}

/* ---- facts ---- */

static bool busy_unit(const struct uop *u, uint32_t *unit)
{
	if (u->slot == TG_SLOT_P || u->slot == TG_SLOT_M)
		*unit = (u->slot == TG_SLOT_P ? (uint32_t)UNIT_PUSH : (uint32_t)UNIT_MUL) + u->unit;
	else if (u->slot == TG_SLOT_L || u->slot == TG_SLOT_W)
		*unit = u->slot == TG_SLOT_L ? UNIT_LOAD : UNIT_STORE;
	else
		return false;
	return true;
}

static bool dropped(unsigned reg)
{
	return reg == REG_S || reg == REG_M || reg == REG_P;
}

/* Whether all instructions of the bundle surely find their registers and units free. */
static bool keeps_rules(const struct tg_sim *s, const struct decoded *b, const struct facts *in)
{
	uint64_t written[2] = {0, 0};
	uint32_t unit;
	for (uint32_t i = b->first_insn; i < b->first_insn + b->n_insns; i++) {
		const struct uop *u = sim_insn(s, i);
		for (unsigned k = 0; k < u->n_reads; k++) {
			if (in->busy[u->reads[k]])
				return false;
		}
		for (unsigned k = 0; k < u->n_writes; k++) {
			unsigned r = u->writes[k];
			if (dropped(r))
				continue;
			if (in->busy[r] || (written[r / 64] >> (r % 64) & 1))
				return false;
			written[r / 64] |= UINT64_C(1) << (r % 64);
		}
		if (busy_unit(u, &unit) && in->busy[unit])
			return false;
	}
	return true;
}

static uint32_t length_of(const struct tg_sim *s, const struct decoded *b)
{
	const struct uop *u = sim_control_of(s, b);
	return u && u->in.op == TG_I_idle ? 1 + (uint32_t)u->in.f[0] : 1;
}

static void step_busy(const struct tg_sim *s, const struct decoded *b, struct facts *f)
{
	uint32_t unit, n = length_of(s, b);
	for (uint32_t i = b->first_insn; i < b->first_insn + b->n_insns; i++) {
		const struct uop *u = sim_insn(s, i);
		for (unsigned k = 0; k < u->n_writes; k++) {
			uint32_t *r = &f->busy[u->writes[k]];
			if (!dropped(u->writes[k]))
				*r = *r > u->latency[k] ? *r : u->latency[k];
		}
		if (busy_unit(u, &unit) && u->occupancy > f->busy[unit])
			f->busy[unit] = u->occupancy;
	}
	for (unsigned k = 0; k < N_BUSY; k++)
		f->busy[k] = f->busy[k] > n ? f->busy[k] - n : 0;
}

/* What a scalar instruction on known registers gives, by its own function. */
static bool known_result(struct tg_core *scratch, const struct uop *u, const struct constants *at, int64_t *to)
{
	bool known = u->slot == TG_SLOT_S && u->in.op != TG_I_sld32 && u->in.op != TG_I_sld64 && !u->in.pred;
	for (unsigned j = 0; known && j < u->n_reads; j++)
		known = u->reads[j] < REG_V && (at->known >> u->reads[j] & 1);
	if (!known)
		return false;
	struct tg_writes w = {0};
	memcpy(scratch->s, at->s, sizeof at->s);
	scratch->s[0] = 0;
	u->sem(scratch, &w, &u->in);
	*to = w.s;
	return true;
}

/* Results land when all of the bundle have been found. */
void sim_step_constants(const struct tg_sim *s, struct tg_core *scratch, const struct decoded *b, struct constants *c)
{
	struct {
		unsigned reg;
		bool known;
		int64_t v;
	} found[2 * TG_MAX_BUNDLE];
	uint32_t n = 0;
	for (uint32_t i = b->first_insn; i < b->first_insn + b->n_insns; i++) {
		const struct uop *u = sim_insn(s, i);
		for (unsigned k = 0; k < u->n_writes; k++) {
			if (u->writes[k] == REG_S || u->writes[k] >= REG_V)
				continue;
			found[n].reg = u->writes[k];
			found[n].known = known_result(scratch, u, c, &found[n].v);
			n++;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		c->known &= ~(UINT32_C(1) << found[i].reg);
		c->known |= (uint32_t)found[i].known << found[i].reg;
		c->s[found[i].reg] = found[i].known ? found[i].v : c->s[found[i].reg];
	}
}

static bool join(struct facts *into, const struct facts *from)
{
	bool changed = !into->reached;
	if (!into->reached) {
		*into = *from;
		into->reached = true;
		return true;
	}
	for (unsigned k = 0; k < N_BUSY; k++) {
		if (from->busy[k] > into->busy[k]) {
			into->busy[k] = from->busy[k];
			changed = true;
		}
	}
	for (unsigned r = 0; r < 32; r++) {
		bool same = (from->c.known >> r & 1) && from->c.s[r] == into->c.s[r];
		if ((into->c.known >> r & 1) && !same) {
			into->c.known &= ~(UINT32_C(1) << r);
			changed = true;
		}
	}
	return changed;
}

/* ---- which blocks follow each ---- */

static void note_next(struct finder *f, uint32_t bundle, int32_t ctx, bool far)
{
	(void)ctx;
	(void)far;
	if (bundle < f->s->n_bundles && f->k->block_of[bundle] != UINT32_MAX)
		*TG_PUSH(f->a, &f->next) = f->k->block_of[bundle];
}

static void find_next(struct finder *f)
{
	struct blocks *k = f->k;
	for (uint32_t i = 0; i < k->n; i++) {
		k->at[i].next = (uint32_t)f->next.n;
		each_next(f, k->at[i].end - 1, k->at[i].ctx, note_next);
		k->at[i].n_next = (uint32_t)f->next.n - k->at[i].next;
	}
	k->next = tg_alloc_n(f->s->arena, f->next.n + 1, sizeof *k->next);
	if (f->next.n)
		memcpy(k->next, f->next.at, f->next.n * sizeof *k->next);
}

/* ---- to a fixpoint ---- */

static void fixpoint(struct finder *f)
{
	const struct tg_sim *s = f->s;
	struct blocks *k = f->k;
	const struct facts entry = {.c.known = 1, .reached = true};
	bool *pending = tg_alloc(f->a, (size_t)k->n + 1);
	for (size_t i = 0; i < s->x->steps.n; i++) {
		uint32_t to;
		if (s->x->steps.at[i].on_host || !target(s, s->x->steps.at[i].entry_word, &to) || to >= s->n_bundles)
			continue;
		join(&f->in[k->block_of[to]], &entry);
		pending[k->block_of[to]] = true;
	}
	for (uint32_t i = 0, lowest; i < k->n; i = lowest) {
		lowest = i + 1;
		if (!pending[i])
			continue;
		pending[i] = false;
		struct facts now = f->in[i];
		for (uint32_t b = k->at[i].first; b < k->at[i].end; b++) {
			sim_step_constants(s, f->core, &s->bundles[b], &now.c);
			step_busy(s, &s->bundles[b], &now);
		}
		for (uint32_t j = 0; j < k->at[i].n_next; j++) {
			uint32_t to = k->next[k->at[i].next + j];
			if (!join(&f->in[to], &now))
				continue;
			pending[to] = true;
			lowest = to < lowest ? to : lowest;
		}
	}
}

/* Blocks keep facts; those with a doubtful bundle are the interpreter's from there on. */
static void settle(struct finder *f)
{
	struct blocks *k = f->k;
	for (uint32_t i = 0; i < k->n; i++) {
		struct block *at = &k->at[i];
		struct facts now = f->in[i];
		at->at_start = now.c;
		for (uint32_t b = at->first; b < at->end; b++) {
			if (!keeps_rules(f->s, &f->s->bundles[b], &now)) {
				/* what stays of the block ends before it; an empty one is not translated */
				at->interpret |= b == at->first;
				at->end = b == at->first ? at->end : b;
				break;
			}
			step_busy(f->s, &f->s->bundles[b], &now);
		}
	}
}

/* Trips of loops: the block that ends with a loop knows. */
static void count_trips(struct finder *f)
{
	struct blocks *k = f->k;
	for (uint32_t i = 0; i < k->n; i++) {
		const struct uop *u = sim_control_of(f->s, &f->s->bundles[k->at[i].whole_end - 1]);
		int32_t inside = u ? k->loop_at[k->at[i].whole_end - 1] : -1;
		if (!u || u->in.op != TG_I_loop || inside < 0)
			continue;
		struct constants now = f->in[i].c;
		for (uint32_t b = k->at[i].first; b + 1 < k->at[i].whole_end; b++)
			sim_step_constants(f->s, f->core, &f->s->bundles[b], &now);
		if (now.known >> u->in.f[0] & 1)
			k->ctx[inside].trips = now.s[u->in.f[0]] > 0 ? (uint64_t)now.s[u->in.f[0]] : 0;
	}
}

static void weigh(struct finder *f)
{
	struct blocks *k = f->k;
	for (uint32_t i = 0; i < k->n; i++) {
		k->at[i].weight = 1;
		for (int32_t c = k->at[i].ctx; c >= 0; c = k->ctx[c].parent)
			k->at[i].weight *= k->ctx[c].trips ? (double)k->ctx[c].trips : UNKNOWN_TRIPS;
	}
}

struct blocks *sim_find_blocks(struct tg_sim *s)
{
	struct blocks *k = tg_alloc(s->arena, sizeof *k);
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(s->arena));
	struct finder *f = tg_alloc(scratch, sizeof *f);
	uint32_t n = s->n_bundles;
	f->s = s;
	f->a = scratch;
	f->k = k;
	f->ctx_of = tg_alloc_n(f->a, (size_t)n + 1, sizeof *f->ctx_of);
	for (uint32_t i = 0; i <= n; i++)
		f->ctx_of[i] = NOT_REACHED;
	f->leader = tg_alloc(f->a, (size_t)n + 1);
	f->alone = tg_alloc(f->a, (size_t)n + 1);
	k->block_of = tg_alloc_n(s->arena, (size_t)n + 1, sizeof *k->block_of);
	k->loop_at = tg_alloc_n(s->arena, (size_t)n + 1, sizeof *k->loop_at);
	memset(k->loop_at, 0xff, ((size_t)n + 1) * sizeof *k->loop_at);
	walk(f);
	k->usable = !f->conflict;
	if (k->usable) {
		k->n_ctx = f->ctx.n;
		k->ctx = tg_alloc_n(s->arena, f->ctx.n + 1, sizeof *k->ctx);
		if (f->ctx.n)
			memcpy(k->ctx, f->ctx.at, f->ctx.n * sizeof *k->ctx);
		make_blocks(f);
		f->in = tg_alloc_n(f->a, (size_t)k->n + 1, sizeof *f->in);
		f->core = tg_alloc(f->a, sizeof *f->core);
		find_next(f);
		fixpoint(f);
		count_trips(f);
		settle(f);
		weigh(f);
	}
	tg_arena_free(scratch);
	return k;
}
