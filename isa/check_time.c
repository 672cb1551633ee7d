/* check_time.c: latencies and units, by dataflow over every path.
 *
 * The state before a bundle says for each resource (register, unit, shadow array, transposer, accumulator) in how many bundles it is free:
 * the largest figure over all paths. A bundle uses resources (they must be free) and claims them (for a latency or an occupancy), then
 * time passes. Two figures are kept: `sure` from instructions that always run, `may` with predicated ones too. A conflict with `sure` is
 * an error; one that only `may` shows depends on predicates and is left to the simulator. Paths that the trip counts rule out
 * (check_value.c) are not walked. Figures only grow towards the fixpoint and are bounded by the largest latency, so it ends. */
#include "check_int.h"

#include <string.h>

enum {
	R_S = 0,
	R_V = 32,
	R_M = 96,
	R_P = 104,
	R_LOAD = 112,   /* units of the pooled kinds, sorted: the first is the next free */
	R_STORE = 120,
	R_PUSH = 128,   /* by array from here on */
	R_MUL = 136,
	R_READ = 144,
	R_SHADOW = 152, /* the last push has landed */
	R_ACC = 160,    /* the last multiply has landed */
	R_TRANSPOSER = 168,
	N_RESOURCES = 169
};
struct state {
	uint16_t sure[N_RESOURCES], may[N_RESOURCES];
};
struct timing {
	struct check *c;
	struct state **at;    /* before each leader; NULL: not reached */
	uint32_t *queue;      /* leaders to walk */
	uint8_t *queued;
	uint32_t n_queue;
	uint32_t unproven;
	bool reporting;
};

static uint16_t cap(uint64_t v)
{
	return v > UINT16_MAX ? UINT16_MAX : (uint16_t)v;
}

static unsigned register_id(const struct tg_field_info *f, int64_t n)
{
	static const uint8_t base[] = {[TG_FIELD_S] = R_S, [TG_FIELD_V] = R_V, [TG_FIELD_M] = R_M, [TG_FIELD_P] = R_P};
	return base[f->kind] + (unsigned)n;
}

static bool is_constant(const struct tg_field_info *f, int64_t n)
{
	return n == 0 && f->kind != TG_FIELD_V;
}

/* ---- conflicts ---- */

static void use(struct timing *t, const struct state *s, const struct node *n, const struct tg_insn *in, unsigned id, const char *what, const char *name)
{
	if (!t->reporting || s->may[id] == 0)
		return;
	if (s->sure[id] && !in->pred)
		check_error(t->c, n, in, "%s%s: %u bundle(s) too early", what, name, s->sure[id]);
	else
		t->unproven++;
}

static const char *register_name(struct timing *t, unsigned id)
{
	static const struct { unsigned base; char letter; } kinds[] = {{R_P, 'p'}, {R_M, 'm'}, {R_V, 'v'}, {R_S, 's'}};
	for (size_t i = 0; i < TG_ARRAY_LEN(kinds); i++) {
		if (id >= kinds[i].base)
			return tg_asprintf(t->c->arena, " %c%u", kinds[i].letter, id - kinds[i].base);
	}
	return "";
}

static bool keeps_destination(const struct tg_insn *in, const struct tg_insn_info *info)
{
	return info->slot == TG_SLOT_L && (in->op == TG_I_vldx || tg_insn_get(in, 'm') != 0 || tg_insn_get(in, 'f') == 3);
}

static void use_registers(struct timing *t, const struct state *s, const struct node *n, const struct tg_insn *in)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	if (in->pred && t->reporting && s->sure[R_P + in->pred])
		check_error(t->c, n, in, "predicate p%u is read %u bundle(s) too early", in->pred, s->sure[R_P + in->pred]);
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (f->kind > TG_FIELD_P || is_constant(f, in->f[i]) || (f->is_def && !keeps_destination(in, info)))
			continue;
		unsigned id = register_id(f, in->f[i]);
		if (t->reporting && s->may[id])
			use(t, s, n, in, id, "reads", register_name(t, id));
	}
}

static void claim(struct state *s, const struct tg_insn *in, unsigned id, uint64_t bundles)
{
	uint16_t v = cap(bundles);
	s->may[id] = v > s->may[id] ? v : s->may[id];
	if (!in->pred)
		s->sure[id] = v > s->sure[id] ? v : s->sure[id];
}

static void write_register(struct timing *t, struct state *s, const struct node *n, const struct tg_insn *in, unsigned id, uint32_t latency)
{
	if (t->reporting && s->may[id])
		use(t, s, n, in, id, "overwrites", register_name(t, id));
	claim(s, in, id, latency);
}

static void write_registers(struct timing *t, struct state *s, const struct node *n, const struct tg_insn *in)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	const struct tg_chip *chip = &t->c->x->chip;
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (f->kind > TG_FIELD_P || is_constant(f, in->f[i]))
			continue;
		if (f->is_def)
			write_register(t, s, n, in, register_id(f, in->f[i]), tg_insn_latency(chip, (enum tg_opcode)in->op));
		else if (f->is_both && tg_insn_get(in, 'q') != 0)
			write_register(t, s, n, in, register_id(f, in->f[i]), chip->latency.scalar);
	}
}

/* ---- units ---- */

static void sort_pool(uint16_t *v, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		for (uint32_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
			uint16_t swap = v[k];
			v[k] = v[k - 1];
			v[k - 1] = swap;
		}
	}
}

static void use_pool(struct timing *t, struct state *s, const struct node *n, const struct tg_insn *in, unsigned base, uint32_t count, uint32_t occupancy)
{
	use(t, s, n, in, base, "takes a unit that is still busy", "");
	s->may[base] = cap(occupancy);
	if (!in->pred)
		s->sure[base] = cap(occupancy);
	sort_pool(s->may + base, count);
	sort_pool(s->sure + base, count);
}

static void use_units(struct timing *t, struct state *s, const struct node *n, const struct tg_insn *in)
{
	const struct tg_chip *chip = &t->c->x->chip;
	unsigned slot = tg_insn_info((enum tg_opcode)in->op)->slot, unit = (unsigned)tg_insn_get(in, 'u');
	uint32_t occupancy = tg_insn_occupancy(chip, in);
	switch (slot) {
	case TG_SLOT_L:
		use_pool(t, s, n, in, R_LOAD, chip->n_load, occupancy);
		break;
	case TG_SLOT_W:
		use_pool(t, s, n, in, R_STORE, chip->n_store, occupancy);
		break;
	case TG_SLOT_P:
		use(t, s, n, in, R_PUSH + unit, "takes a unit that is still busy", "");
		claim(s, in, R_PUSH + unit, occupancy);
		if (in->op == TG_I_swap)
			use(t, s, n, in, R_SHADOW + unit, "swaps before the last push has landed", "");
		else
			claim(s, in, R_SHADOW + unit, chip->latency.push_swap);
		break;
	case TG_SLOT_M:
		use(t, s, n, in, R_MUL + unit, "takes a unit that is still busy", "");
		claim(s, in, R_MUL + unit, occupancy);
		break;
	case TG_SLOT_R:
		/* other rows may be at work: which, only the simulator knows */
		t->unproven += t->reporting && s->may[R_ACC + unit];
		break;
	case TG_SLOT_X:
		if (in->op == TG_I_xtr)
			use(t, s, n, in, R_TRANSPOSER, "reads the transposer before its last write has landed", "");
		break;
	default:
		break;
	}
}

/* What later bundles wait for and instructions of the same bundle do not: they read the state before it. */
static void after_units(struct timing *t, struct state *s, const struct tg_insn *in)
{
	const struct tg_chip *chip = &t->c->x->chip;
	if (in->op >= TG_I_mul_f32 && in->op <= TG_I_mul_u8)
		claim(s, in, R_ACC + (unsigned)tg_insn_get(in, 'u'), chip->latency.multiply_read);
	if (in->op == TG_I_xtw)
		claim(s, in, R_TRANSPOSER, chip->latency.transposer);
}

/* ---- bundles and paths ---- */

static void pass_time(struct state *s, uint64_t bundles)
{
	uint16_t by = cap(bundles);
	for (unsigned i = 0; i < N_RESOURCES; i++) {
		s->sure[i] = s->sure[i] > by ? (uint16_t)(s->sure[i] - by) : 0;
		s->may[i] = s->may[i] > by ? (uint16_t)(s->may[i] - by) : 0;
	}
}

static void step(struct timing *t, struct state *s, const struct node *n)
{
	const struct tg_insn *in = &t->c->insns.at[n->first_insn];
	for (uint32_t i = 0; i < n->n_insn; i++)
		use_registers(t, s, n, &in[i]);
	for (uint32_t i = 0; i < n->n_insn; i++) {
		use_units(t, s, n, &in[i]);
		write_registers(t, s, n, &in[i]);
	}
	for (uint32_t i = 0; i < n->n_insn; i++)
		after_units(t, s, &in[i]);
	pass_time(s, 1 + (uint64_t)n->idle);
}

/* Trip counts that rule an edge out. */
static bool impossible(const struct check *c, const struct edge *e)
{
	if (e->kind == EDGE_NEXT || e->kind == EDGE_BRANCH)
		return false;
	const struct loop *l = &c->loops.at[e->loop];
	if (l->trips_lo > l->trips_hi)
		return false;
	return (e->kind == EDGE_ZERO && l->trips_lo >= 1) || (e->kind == EDGE_REPEAT && l->trips_hi <= 1) || (e->kind == EDGE_ENTER && l->trips_hi <= 0);
}

static void arrive(struct timing *t, uint32_t leader, const struct state *s)
{
	bool grew = false;
	if (!t->at[leader]) {
		t->at[leader] = tg_alloc(t->c->arena, sizeof *s);
		*t->at[leader] = *s;
		grew = true;
	} else {
		uint16_t *old = t->at[leader]->sure;
		const uint16_t *new = s->sure;
		for (unsigned i = 0; i < 2 * N_RESOURCES; i++) {
			grew |= new[i] > old[i];
			old[i] = new[i] > old[i] ? new[i] : old[i];
		}
	}
	if (grew && !t->queued[leader]) {
		t->queued[leader] = 1;
		t->queue[t->n_queue++] = leader;
	}
}

static void walk_block(struct timing *t, uint32_t leader)
{
	struct check *c = t->c;
	struct state s = *t->at[leader];
	for (uint32_t i = leader;;) {
		const struct node *n = &c->nodes.at[i];
		step(t, &s, n);
		uint32_t on = UINT32_MAX;
		for (uint32_t k = 0; k < n->n_edges; k++) {
			const struct edge *e = &c->edges.at[n->first_edge + k];
			uint32_t to = c->node_at[e->word];
			if (impossible(c, e))
				continue;
			if (c->nodes.at[to].leader) {
				if (!t->reporting)
					arrive(t, to, &s);
			} else {
				on = to;
			}
		}
		if (on == UINT32_MAX)
			return;
		i = on;
	}
}

void check_schedule(struct check *c)
{
	struct timing t = {.c = c};
	struct state start;
	size_t n = c->nodes.n + 1;
	memset(&start, 0, sizeof start);
	t.at = tg_alloc_n(c->arena, n, sizeof *t.at);
	t.queue = tg_alloc_n(c->arena, n, sizeof *t.queue);
	t.queued = tg_alloc(c->arena, n);
	for (size_t i = 0; i < c->x->steps.n; i++) {
		if (!c->x->steps.at[i].on_host)
			arrive(&t, c->node_at[c->x->steps.at[i].entry_word], &start);
	}
	while (t.n_queue) {
		uint32_t leader = t.queue[--t.n_queue];
		t.queued[leader] = 0;
		walk_block(&t, leader);
	}
	t.reporting = true;
	for (uint32_t i = 0; i < c->nodes.n; i++) {
		if (t.at[i])
			walk_block(&t, i);
	}
	c->n_unproven += t.unproven;
}
