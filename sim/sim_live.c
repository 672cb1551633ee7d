/* sim_live.c: live.h, backwards over the blocks to a fixpoint. A predicated write may leave the register as it was; a load that keeps lanes reads it. Results that are
 * under way are no matter: whoever read the register before they land would trap. */
#include "live.h"

struct liveness {
	const struct tg_sim *s;
	const struct blocks *k;
	struct corner *reach; /* by instruction: what it touches of registers by its extent, as far as that is known beforehand */
	struct live *out;     /* by block */
};

struct corner live_all_of_one(const struct tg_sim *s)
{
	return (struct corner){(uint16_t)s->core.rows, (uint16_t)s->core.lanes};
}

struct live live_all(const struct tg_sim *s)
{
	struct live l;
	for (unsigned r = 0; r < TG_ARRAY_LEN(l.of); r++)
		l.of[r] = live_all_of_one(s);
	return l;
}

/* ---- extents ---- */

/* The scalar register with the extent of an access or push; -1: it has none. */
static int64_t extent_register(const struct uop *u)
{
	bool indexed = u->in.op == TG_I_vldx || u->in.op == TG_I_vstx;
	if ((u->slot == TG_SLOT_L || u->slot == TG_SLOT_W) && !indexed)
		return u->in.f[5];
	return u->slot == TG_SLOT_P && u->in.op != TG_I_swap ? u->in.f[4] : -1;
}

static struct corner reach_of(const struct tg_sim *s, const struct uop *u, const struct constants *c)
{
	int64_t r = extent_register(u);
	if (u->slot == TG_SLOT_M)
		return (struct corner){(uint16_t)u->in.f[4], (uint16_t)(s->core.chip->array_rows < s->core.lanes ? s->core.chip->array_rows : s->core.lanes)};
	if (r < 0 || !(c->known >> r & 1))
		return live_all_of_one(s);
	struct tg_extent x = extent_of(&s->core, c->s[r]);
	return (struct corner){(uint16_t)x.rows, (uint16_t)x.lanes};
}

static void find_reach(struct liveness *l, struct tg_arena *scratch)
{
	struct tg_core *core = tg_alloc(scratch, sizeof *core);
	for (uint32_t i = 0; i < l->k->n; i++) {
		const struct block *b = &l->k->at[i];
		struct constants now = b->at_start;
		for (uint32_t at = b->first; at < b->whole_end; at++) {
			const struct decoded *d = &l->s->bundles[at];
			for (uint32_t j = d->first_insn; j < d->first_insn + d->n_insns; j++)
				l->reach[j] = reach_of(l->s, sim_insn(l->s, j), &now);
			sim_step_constants(l->s, core, d, &now);
		}
	}
}

/* ---- what an instruction asks for ---- */

/* Of register r, which instruction i reads, when `after` is what is live behind its bundle. */
static struct corner asks_for(const struct liveness *l, uint32_t i, unsigned r, const struct live *after)
{
	const struct uop *u = sim_insn(l->s, i);
	switch (u->slot) {
	case TG_SLOT_V:
	case TG_SLOT_E:
		return after->of[u->writes[0] - REG_V];
	case TG_SLOT_L:
		if (u->in.op == TG_I_vldx)
			return l->reach[i];
		if (r < REG_M) /* lanes that stay */
			return after->of[u->writes[0] - REG_V];
		/* a mask says inside the extent what is read, which counts and may trap, and outside what stays */
		return corner_join(l->reach[i], after->of[u->writes[0] - REG_V]);
	case TG_SLOT_W:
	case TG_SLOT_P:
	case TG_SLOT_M:
		return l->reach[i];
	default:
		return live_all_of_one(l->s);
	}
}

/* From behind a bundle to before it. */
static void step(const struct liveness *l, const struct decoded *d, struct live *now)
{
	struct {
		unsigned reg;
		struct corner c;
	} asked[TG_MAX_BUNDLE * MAX_READS];
	unsigned n = 0;
	for (uint32_t i = d->first_insn; i < d->first_insn + d->n_insns; i++) {
		const struct uop *u = sim_insn(l->s, i);
		for (unsigned k = 0; k < u->n_reads; k++) {
			if (!reg_has_lanes(u->reads[k]))
				continue;
			asked[n].reg = u->reads[k];
			asked[n++].c = asks_for(l, i, u->reads[k], now);
		}
	}
	for (uint32_t i = d->first_insn; i < d->first_insn + d->n_insns; i++) {
		const struct uop *u = sim_insn(l->s, i);
		for (unsigned k = 0; k < u->n_writes && !u->in.pred; k++) {
			if (reg_has_lanes(u->writes[k]))
				now->of[u->writes[k] - REG_V] = (struct corner){0, 0};
		}
	}
	for (unsigned i = 0; i < n; i++) {
		struct corner *c = &now->of[asked[i].reg - REG_V];
		*c = corner_join(*c, asked[i].c);
	}
}

struct live sim_live_at(const struct liveness *l, const struct block *b, uint32_t bundle)
{
	struct live now = l->out[b - l->k->at];
	for (uint32_t i = b->whole_end; i-- > bundle;)
		step(l, &l->s->bundles[i], &now);
	return now;
}

/* ---- to a fixpoint ---- */

/* A loop that is known to run: what lies behind its end does not follow the bundle that begins it. */
static bool surely_enters(const struct blocks *k, uint32_t bundle, const struct uop *control)
{
	int32_t inside = control && control->in.op == TG_I_loop ? k->loop_at[bundle] : -1;
	return inside >= 0 && k->ctx[inside].trips > 0;
}

/* What is live behind the block; what is not followed by anything traps there. */
static struct live live_behind(const struct liveness *l, uint32_t block, const struct live *in)
{
	const struct block *b = &l->k->at[block];
	const struct uop *last = sim_control_of(l->s, &l->s->bundles[b->whole_end - 1]);
	bool enters = surely_enters(l->k, b->whole_end - 1, last);
	struct live out = {0};
	if (last && last->in.op == TG_I_halt)
		return live_all(l->s);
	for (uint32_t j = 0; j < b->n_next; j++) {
		uint32_t to = l->k->next[b->next + j];
		if (enters && l->k->at[to].first != b->whole_end)
			continue;
		for (unsigned r = 0; r < TG_ARRAY_LEN(out.of); r++)
			out.of[r] = corner_join(out.of[r], in[to].of[r]);
	}
	return out;
}

static size_t n_insns(const struct tg_sim *s)
{
	const struct decoded *last = s->n_bundles ? &s->bundles[s->n_bundles - 1] : NULL;
	return last ? (size_t)last->first_insn + last->n_insns : 0;
}

struct liveness *sim_find_live(struct tg_arena *a, const struct tg_sim *s, const struct blocks *k)
{
	struct liveness *l = tg_alloc(a, sizeof *l);
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
	struct live *in = tg_alloc_n(scratch, (size_t)k->n + 1, sizeof *in);
	bool *done = tg_alloc(scratch, (size_t)k->n + 1);
	*l = (struct liveness){.s = s, .k = k, .reach = tg_alloc_n(a, n_insns(s) + 1, sizeof *l->reach), .out = tg_alloc_n(a, (size_t)k->n + 1, sizeof *l->out)};
	find_reach(l, scratch);
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = k->n; i-- > 0;) {
			struct live out = live_behind(l, i, in);
			if (done[i] && memcmp(&out, &l->out[i], sizeof out) == 0)
				continue;
			done[i] = true;
			l->out[i] = out;
			struct live now = sim_live_at(l, &k->at[i], k->at[i].first);
			changed |= memcmp(&now, &in[i], sizeof now) != 0;
			in[i] = now;
		}
	}
	tg_arena_free(scratch);
	return l;
}
