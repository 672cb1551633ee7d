/* check_time.c: latencies and units, by dataflow over every path.
 *
 * What an instruction needs and keeps is a list of bookings of resources (register, unit, shadow array, transposer, accumulator), made once.
 * The state before a bundle says for each resource in how many bundles it is free: the largest figure over all paths. A bundle's bookings
 * must find their resource free and keep it for a latency or an occupancy, then time passes. Two figures are kept: `sure` from instructions that always run, `may` with
 * predicated ones too. A conflict with `sure` is an error; one that only `may` shows depends on predicates and is left to the walk
 * (check_walk.c), as are accumulator reads while other rows are at work. Paths that the trip counts rule out (check_value.c) are not
 * walked. Figures only grow towards the fixpoint and are bounded by the largest latency, so it ends. */
#include "check_int.h"

#include <string.h>

struct state {
	uint16_t sure[N_RESOURCES], may[N_RESOURCES];
};
struct timing {
	struct check *c;
	struct state **at;    /* before each leader; NULL: not reached */
	uint32_t *queue;      /* leaders to walk */
	uint8_t *queued;
	uint32_t n_queue;
	bool reporting;
};

static uint16_t cap(uint64_t v)
{
	return v > UINT16_MAX ? UINT16_MAX : (uint16_t)v;
}

/* ---- what an instruction books ---- */

static unsigned register_id(const struct tg_field_info *f, int64_t n)
{
	static const uint8_t base[] = {[TG_FIELD_S] = R_S, [TG_FIELD_V] = R_V, [TG_FIELD_M] = R_M, [TG_FIELD_P] = R_P};
	return base[f->kind] + (unsigned)n;
}

static bool is_constant(const struct tg_field_info *f, int64_t n)
{
	return n == 0 && f->kind != TG_FIELD_V;
}

static bool keeps_destination(const struct tg_insn *in, const struct tg_insn_info *info)
{
	return info->slot == TG_SLOT_L && (in->op == TG_I_vldx || tg_insn_get(in, 'm') != 0 || tg_insn_get(in, 'f') == 3);
}

static void book(struct check *c, enum book_kind kind, unsigned id, uint64_t bundles)
{
	*TG_PUSH(c->arena, &c->bookings) = (struct booking){.kind = (uint8_t)kind, .id = (uint16_t)id, .bundles = cap(bundles)};
}

static void book_reads(struct check *c, const struct tg_insn *in, const struct tg_insn_info *info)
{
	if (in->pred)
		book(c, BOOK_PREDICATE, R_P + in->pred, 0);
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (f->kind <= TG_FIELD_P && !is_constant(f, in->f[i]) && (!f->is_def || keeps_destination(in, info)))
			book(c, BOOK_READ, register_id(f, in->f[i]), 0);
	}
}

static void book_units(struct check *c, const struct tg_insn *in, const struct tg_insn_info *info)
{
	const struct tg_chip *chip = &c->x->chip;
	unsigned unit = (unsigned)tg_insn_get(in, 'u');
	uint32_t occupancy = tg_insn_occupancy(chip, in);
	switch (info->slot) {
	case TG_SLOT_L:
	case TG_SLOT_W:
		book(c, BOOK_POOL, info->slot == TG_SLOT_L ? R_LOAD : R_STORE, occupancy);
		break;
	case TG_SLOT_P:
		book(c, BOOK_UNIT, R_PUSH + unit, occupancy);
		if (in->op == TG_I_swap)
			book(c, BOOK_SWAP, R_SHADOW + unit, 0);
		else
			book(c, BOOK_KEEP, R_SHADOW + unit, chip->latency.push_swap);
		break;
	case TG_SLOT_M:
		book(c, BOOK_UNIT, R_MUL + unit, occupancy);
		break;
	case TG_SLOT_R:
		book(c, BOOK_ROWS, R_ACC + unit, 0);
		break;
	case TG_SLOT_X:
		if (in->op == TG_I_xtr)
			book(c, BOOK_TRANSPOSER, R_TRANSPOSER, 0);
		break;
	default:
		break;
	}
}

static void book_writes(struct check *c, const struct tg_insn *in, const struct tg_insn_info *info)
{
	const struct tg_chip *chip = &c->x->chip;
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (f->kind > TG_FIELD_P || is_constant(f, in->f[i]))
			continue;
		if (f->is_def)
			book(c, BOOK_WRITE, register_id(f, in->f[i]), tg_insn_latency(chip, (enum tg_opcode)in->op));
		else if (f->is_both && tg_insn_get(in, 'q') != 0)
			book(c, BOOK_WRITE, register_id(f, in->f[i]), chip->latency.scalar);
	}
}

/* What later bundles wait for and instructions of the same bundle do not: they read the state before it. */
static void book_late(struct check *c, const struct tg_insn *in)
{
	const struct tg_chip *chip = &c->x->chip;
	if (in->op >= TG_I_mul_f32 && in->op <= TG_I_mul_u8)
		book(c, BOOK_LATE, R_ACC + (unsigned)tg_insn_get(in, 'u'), chip->latency.multiply_read);
	if (in->op == TG_I_xtw)
		book(c, BOOK_LATE, R_TRANSPOSER, chip->latency.transposer);
}

static void book_all(struct check *c)
{
	c->first_booking = tg_alloc_n(c->arena, c->insns.n + 1, sizeof *c->first_booking);
	for (size_t i = 0; i < c->insns.n; i++) {
		const struct tg_insn *in = &c->insns.at[i];
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
		c->first_booking[i] = (uint32_t)c->bookings.n;
		book_reads(c, in, info);
		book_units(c, in, info);
		book_writes(c, in, info);
		book_late(c, in);
	}
	c->first_booking[c->insns.n] = (uint32_t)c->bookings.n;
}

enum book_phase book_phase(enum book_kind k)
{
	return k <= BOOK_READ ? PHASE_READ : k == BOOK_LATE ? PHASE_LATE : PHASE_UNIT;
}

/* ---- conflicts ---- */

static const char *register_name(struct check *c, unsigned id)
{
	static const struct { unsigned base; char letter; } kinds[] = {{R_P, 'p'}, {R_M, 'm'}, {R_V, 'v'}, {R_S, 's'}};
	for (size_t i = 0; i < TG_ARRAY_LEN(kinds); i++) {
		if (id >= kinds[i].base)
			return tg_asprintf(c->arena, " %c%u", kinds[i].letter, id - kinds[i].base);
	}
	return "";
}

void check_book_error(struct check *c, const struct node *n, const struct tg_insn *in, const struct booking *b, uint64_t early)
{
	static const char *const texts[] = {
		[BOOK_READ] = "reads",
		[BOOK_POOL] = "takes a unit that is still busy",
		[BOOK_UNIT] = "takes a unit that is still busy",
		[BOOK_SWAP] = "swaps before the last push has landed",
		[BOOK_TRANSPOSER] = "reads the transposer before its last write has landed",
		[BOOK_ROWS] = "reads accumulator rows before their last multiply has landed",
		[BOOK_WRITE] = "overwrites",
	};
	bool named = b->kind == BOOK_READ || b->kind == BOOK_WRITE;
	if (b->kind == BOOK_PREDICATE)
		check_error(c, n, in, "predicate p%u is read %llu bundle(s) too early", in->pred, (unsigned long long)early);
	else
		check_error(c, n, in, "%s%s: %llu bundle(s) too early", texts[b->kind], named ? register_name(c, b->id) : "", (unsigned long long)early);
}

static void use(struct timing *t, const struct state *s, const struct node *n, const struct tg_insn *in, const struct booking *b)
{
	if (!t->reporting || s->may[b->id] == 0)
		return;
	if (s->sure[b->id] && b->kind != BOOK_ROWS && (!in->pred || b->kind == BOOK_PREDICATE))
		check_book_error(t->c, n, in, b, s->sure[b->id]);
	else
		t->c->early[in - t->c->insns.at] = true;
}

/* ---- bundles and paths ---- */

static void claim(struct state *s, const struct tg_insn *in, unsigned id, uint16_t bundles)
{
	s->may[id] = bundles > s->may[id] ? bundles : s->may[id];
	if (!in->pred)
		s->sure[id] = bundles > s->sure[id] ? bundles : s->sure[id];
}

/* Units of a pool are kept sorted, the next free one first. */
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

static void claim_pool(struct state *s, const struct tg_chip *chip, const struct tg_insn *in, const struct booking *b)
{
	uint32_t count = b->id == R_LOAD ? chip->n_load : chip->n_store;
	s->may[b->id] = b->bundles;
	if (!in->pred)
		s->sure[b->id] = b->bundles;
	sort_pool(s->may + b->id, count);
	sort_pool(s->sure + b->id, count);
}

static void apply(struct timing *t, struct state *s, const struct node *n, const struct tg_insn *in, const struct booking *b)
{
	if (b->kind != BOOK_KEEP && b->kind != BOOK_LATE)
		use(t, s, n, in, b);
	if (b->kind == BOOK_POOL)
		claim_pool(s, &t->c->x->chip, in, b);
	else
		claim(s, in, b->id, b->bundles);
}

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
	struct check *c = t->c;
	for (int phase = PHASE_READ; phase <= PHASE_LATE; phase++) {
		for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++) {
			for (uint32_t b = c->first_booking[i]; b < c->first_booking[i + 1]; b++) {
				if ((int)book_phase((enum book_kind)c->bookings.at[b].kind) == phase)
					apply(t, s, n, &c->insns.at[i], &c->bookings.at[b]);
			}
		}
	}
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
	book_all(c);
	c->early = tg_alloc(c->arena, c->insns.n + 1);
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
}
