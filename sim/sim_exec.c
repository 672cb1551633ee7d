/* sim_exec.c: the interpreter: bundle after bundle, every rule of the schedule checked.
 *
 * A register result lands at once, but its register may not be read or written again before `latency` bundles have issued; so nobody can
 * see that it landed early. The clock counts issued bundles, the cycle counts stalls too. */
#include "jit.h"
#include "matrix_rules.h"
#include "threads.h"

bool sim_trap(struct tg_sim *s, const char *why, int64_t at, const struct uop *op)
{
	if (!s->trap) {
		s->trap = why;
		s->trap_at = at;
	}
	if (op && !s->trap_op)
		s->trap_op = op;
	return false;
}

/* What a bundle's instructions produced; lands when all have run. */
struct pending {
	uint8_t reg;
	uint32_t latency;
	uint32_t *v;
	int64_t s;
};
struct landing {
	struct pending at[2 * TG_MAX_BUNDLE];
	uint32_t n;
};

static void land(struct tg_sim *s, const struct landing *l)
{
	struct tg_core *core = &s->core;
	for (uint32_t i = 0; i < l->n; i++) {
		const struct pending *p = &l->at[i];
		unsigned r = p->reg;
		if (p->v) {
			uint32_t **reg = r >= REG_M ? &core->m[r - REG_M] : &core->v[r - REG_V];
			if (r == REG_M) { /* m0 is constant */
				s->spare[s->n_spare++] = p->v;
				continue;
			}
			if (s->jit.registers) { /* translated code finds registers in place */
				memcpy(*reg, p->v, core->n * sizeof *p->v);
				s->spare[s->n_spare++] = p->v;
				continue;
			}
			s->spare[s->n_spare++] = *reg;
			*reg = p->v;
		} else if (r == REG_S || r == REG_P) {
			continue;
		} else if (r >= REG_P) {
			core->p[r - REG_P] = p->s != 0;
		} else {
			core->s[r] = p->s;
		}
	}
}

static bool check_reads(struct tg_sim *s, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (s->ready[u->reads[i]] > s->core.clock)
			return sim_trap(s, "a register is read before its result has landed", u->reads[i], u);
	}
	return true;
}

/* After all reads of the bundle are checked: two writes of one bundle to a register are caught here too. */
static bool claim_writes(struct tg_sim *s, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_writes; i++) {
		unsigned r = u->writes[i];
		if (r == REG_S || r == REG_M || r == REG_P)
			continue;
		if (s->ready[r] > s->core.clock)
			return sim_trap(s, "a register is overwritten before its result has landed", r, u);
		s->ready[r] = s->core.clock + u->latency[i];
	}
	return true;
}

/* Array units are named by the instruction; loads and stores take any unit of their kind that is free. */
static bool claim_unit(struct tg_sim *s, const struct uop *u)
{
	uint64_t *free = s->slot_free[u->slot];
	bool named = u->slot == TG_SLOT_P || u->slot == TG_SLOT_M || u->slot == TG_SLOT_R;
	uint32_t first = named ? u->unit : 0, end = named ? u->unit + 1u : tg_slot_count(&s->x->chip, (enum tg_slot)u->slot);
	for (uint32_t i = first; i < end; i++) {
		if (free[i] <= s->core.clock) {
			free[i] = s->core.clock + u->occupancy;
			return true;
		}
	}
	return sim_trap(s, "two instructions on one unit: it is still busy", first, u);
}

void sim_count(struct tg_counters *c, const struct tg_writes *w)
{
	c->sram_bytes += w->sram_bytes;
	c->acc_bytes += w->acc_bytes;
	c->macs[w->mac_type] += w->macs;
}

static void count(struct tg_sim *s, struct tg_counters *c, const struct uop *u, const struct tg_writes *w)
{
	sim_count(c, w);
	if ((u->result == 'v' || u->result == 'm') && (u->slot == TG_SLOT_V || u->slot == TG_SLOT_E || u->slot == TG_SLOT_X))
		c->vector_lane_ops += s->core.n;
}

/* Instructions of the array where others do the products. */
static void run_array(struct tg_sim *s, struct tg_writes *w, const struct uop *u)
{
	const struct tg_insn *in = &u->in;
	if (u->slot == TG_SLOT_M) {
		const struct tg_operand v = operand_register(&s->core, in->f[1]);
		if (threads_multiply(s, w, in, &v, array_place(&s->core, in), multiply_adds(&s->core, in)))
			return;
	} else if (u->slot == TG_SLOT_R) {
		threads_wait(s);
	}
	u->sem(&s->core, w, in);
	if (in->op == TG_I_swap && !w->trap)
		threads_swapped(s, in);
}

static bool run_sem(struct tg_sim *s, struct tg_counters *c, const struct uop *u, struct landing *l)
{
	struct tg_writes w;
	w.v = NULL;
	w.s = w.post = 0;
	w.p = false;
	w.trap = NULL;
	w.at = 0;
	w.sram_bytes = w.acc_bytes = w.macs = 0;
	w.mac_type = 0;
	if (u->result == 'v' || u->result == 'm')
		w.v = s->spare[--s->n_spare];
	if (s->workers && (u->slot == TG_SLOT_M || u->slot == TG_SLOT_P || u->slot == TG_SLOT_R))
		run_array(s, &w, u);
	else
		u->sem(&s->core, &w, &u->in);
	if (w.trap) {
		if (w.v)
			s->spare[s->n_spare++] = w.v;
		return sim_trap(s, w.trap, w.at, u);
	}
	if (u->result)
		l->at[l->n++] = (struct pending){.reg = u->writes[0], .v = w.v, .s = u->result == 'p' ? w.p : w.s};
	if (u->posts)
		l->at[l->n++] = (struct pending){.reg = u->writes[u->n_writes - 1], .s = w.post};
	count(s, c, u, &w);
	return true;
}

/* ---- control ---- */

struct next {
	uint32_t bundle;  /* index */
	bool taken, halt; /* a taken branch leaves loops */
};

static bool jump(struct tg_sim *s, const struct uop *u, int64_t word, struct next *n)
{
	if (word < 0 || word > s->x->n_words || s->bundle_at[word] == UINT32_MAX)
		return sim_trap(s, "a branch to what is not the start of a bundle", word, u);
	n->bundle = s->bundle_at[word];
	return true;
}

static bool begin_loop(struct tg_sim *s, const struct uop *u, struct next *n)
{
	uint32_t start = n->bundle;
	int64_t count_ = s->core.s[u->in.f[0]];
	struct next end = {0};
	if (!jump(s, u, u->in.f[1], &end))
		return false;
	if (end.bundle <= start)
		return sim_trap(s, "a loop whose end does not lie after its start", u->in.f[1], u);
	if (s->n_loops && end.bundle > s->loops[s->n_loops - 1].end)
		return sim_trap(s, "a loop that reaches beyond the loop around it", u->in.f[1], u);
	if (count_ <= 0) {
		n->bundle = end.bundle;
		return true;
	}
	if (s->n_loops == MAX_LOOPS)
		return sim_trap(s, "loops more than 8 deep", 0, u);
	s->loops[s->n_loops++] = (struct loop){.start = start, .end = end.bundle, .end_word = (uint32_t)u->in.f[1], .count = count_};
	return true;
}

static bool loop_flag(struct tg_sim *s, const struct uop *u, struct landing *l)
{
	uint32_t level = (uint32_t)u->in.f[1];
	if (level >= s->n_loops)
		return sim_trap(s, "a first or last predicate of a loop that is not running", level, u);
	const struct loop *at = &s->loops[s->n_loops - 1 - level];
	bool yes = u->in.op == TG_I_pfirst ? at->index == 0 : at->index == at->count - 1;
	l->at[l->n++] = (struct pending){.reg = u->writes[0], .s = yes};
	return true;
}

static bool control(struct tg_sim *s, struct tg_counters *c, const struct uop *u, struct landing *l, struct next *n)
{
	switch (u->in.op) {
	case TG_I_loop:
		return begin_loop(s, u, n);
	case TG_I_br:
		n->taken = true;
		return jump(s, u, u->in.f[0], n);
	case TG_I_idle:
		c->bundles += (uint64_t)u->in.f[0];
		s->core.clock += (uint64_t)u->in.f[0];
		s->cycle += (uint64_t)u->in.f[0];
		return true;
	case TG_I_halt:
		n->halt = true;
		return !s->unretired || sim_trap(s, "a halt with DMA transfers that were not waited for", 0, u);
	default:
		return loop_flag(s, u, l);
	}
}

static bool run_special(struct tg_sim *s, struct tg_counters *c, const struct uop *u, struct landing *l, struct next *n)
{
	int64_t number;
	switch (u->in.op) {
	case TG_I_dma_start:
		if (!dma_start(s, c, &u->in, &number))
			return sim_trap(s, NULL, 0, u);
		l->at[l->n++] = (struct pending){.reg = u->writes[0], .s = number};
		return true;
	case TG_I_dma_wait:
		return dma_wait(s, c, &u->in) || sim_trap(s, NULL, 0, u);
	default:
		return control(s, c, u, l, n);
	}
}

/* Where the program goes on: ends of loops are found by address, innermost first; a taken branch leaves the loops around it. */
static void go_on(struct tg_sim *s, struct next *n)
{
	while (s->n_loops) {
		struct loop *l = &s->loops[s->n_loops - 1];
		if (n->taken) {
			if (n->bundle >= l->start && n->bundle < l->end)
				break;
			s->n_loops--;
			continue;
		}
		if (n->bundle != l->end)
			break;
		if (++l->index < l->count) {
			n->bundle = l->start;
			break;
		}
		s->n_loops--;
	}
	s->now_bundle = n->bundle;
}

/* ---- bundles ---- */

static bool births(struct tg_sim *s, const struct decoded *b)
{
	struct tg_memory *m = &s->core.mem;
	for (uint32_t i = b->birth; i < b->birth + b->n_births; i++) {
		const struct tg_birth *t = &s->x->births.at[i];
		uint64_t at = t->sram, end = t->sram + t->bytes;
		if (t->bytes && chunks_have(m->chunk_write, at, t->bytes)) {
			dma_settle(s, at, t->bytes);
			if (marks_have(m, at, t->bytes, MARK_WRITER))
				return sim_trap(s, "a buffer is born where an unretired DMA transfer writes", (int64_t)at, NULL);
		}
		forget_clean(m, at, t->bytes, 0);
		for (; at < end && (at & 63); at++)
			m->written[at >> 6] &= ~(UINT64_C(1) << (at & 63));
		uint64_t words = (end - at) / 64;
		memset(m->written + (at >> 6), 0, words * sizeof *m->written);
		for (at += words * 64; at < end; at++)
			m->written[at >> 6] &= ~(UINT64_C(1) << (at & 63));
	}
	return true;
}

static bool run_uops(struct tg_sim *s, struct tg_counters *c, const struct decoded *b, struct landing *l, struct next *n)
{
	uint64_t active = 0;
	for (uint32_t i = 0; i < b->n_insns; i++) {
		const struct uop *u = sim_insn(s, b->first_insn + i);
		unsigned pred = u->in.pred;
		if (pred && s->ready[REG_P + pred] > s->core.clock)
			return sim_trap(s, "a predicate is read before its result has landed", pred, u);
		if (pred && !s->core.p[pred])
			continue;
		active |= UINT64_C(1) << i;
		if (!check_reads(s, u))
			return false;
	}
	for (uint32_t i = 0; i < b->n_insns; i++) {
		const struct uop *u = sim_insn(s, b->first_insn + i);
		if (!(active >> i & 1))
			continue;
		if (!claim_writes(s, u) || !claim_unit(s, u))
			return false;
		c->busy[u->slot] += u->occupancy;
		if (!(u->sem ? run_sem(s, c, u, l) : run_special(s, c, u, l, n)))
			return false;
	}
	return true;
}

bool sim_run_bundle(struct tg_sim *s, bool *halted)
{
	const struct decoded *b = &s->bundles[s->now_bundle];
	struct tg_counters *c = &s->by_prov[b->prov];
	struct landing l;
	struct next n = {.bundle = s->now_bundle + 1};
	l.n = 0;
	if (s->now_bundle >= s->n_bundles)
		return sim_trap(s, "the program runs past the end of its code", 0, NULL);
	if (b->illegal)
		return sim_trap(s, b->illegal, b->word, NULL);
	if (s->cycle >= s->options.max_cycles)
		return sim_trap(s, "the cycle budget is used up", (int64_t)s->cycle, NULL);
	uint64_t before = s->cycle;
	if (s->options.trace)
		trace_begin(s, c);
	fetch_bundle(s, c, b);
	if (b->n_births && !births(s, b))
		return false;
	if (!run_uops(s, c, b, &l, &n))
		return false;
	land(s, &l);
	uint64_t stalls = s->cycle - before;
	s->cycle++;
	s->core.clock++;
	s->fetched[b->prov]++;
	c->bundles++;
	c->cycles += 1 + stalls;
	if (s->options.trace)
		trace_end(s, c, b);
	*halted = n.halt;
	if (!n.halt)
		go_on(s, &n);
	return true;
}

/* ---- runs ---- */

static const char *reg_name(struct tg_arena *a, int64_t id)
{
	if (id >= REG_P)
		return tg_asprintf(a, "p%lld", (long long)id - REG_P);
	if (id >= REG_M)
		return tg_asprintf(a, "m%lld", (long long)id - REG_M);
	if (id >= REG_V)
		return tg_asprintf(a, "v%lld", (long long)id - REG_V);
	return tg_asprintf(a, "s%lld", (long long)id);
}

static bool report(struct tg_sim *s, struct tg_diag *d)
{
	const struct decoded *b = &s->bundles[s->now_bundle];
	struct tg_buf t;
	tg_buf_init(&t, d->arena);
	tg_buf_printf(&t, "trap in the bundle at word %u, cycle %llu: %s", b->word, (unsigned long long)s->cycle, s->trap);
	if (strncmp(s->trap, "a register", 10) == 0)
		tg_buf_printf(&t, ": %s", reg_name(d->arena, s->trap_at));
	else
		tg_buf_printf(&t, " (%lld)", (long long)s->trap_at);
	if (s->trap_op) {
		tg_buf_puts(&t, "; in '");
		tg_insn_print(&t, &s->trap_op->in);
		tg_buf_puts(&t, "'");
	}
	if (s->now_bundle < s->n_bundles && b->prov < s->x->provs.n) {
		tg_buf_puts(&t, "; from ");
		tg_buf_quote(&t, s->x->provs.at[b->prov]);
	}
	return tg_fail(d, TG_ERR_TRAP, TG_NOWHERE, "%s", t.at);
}

static void start(struct tg_sim *s, uint32_t entry_word)
{
	s->trap = NULL;
	s->trap_op = NULL;
	s->n_loops = 0;
	/* everything of the run before has landed */
	s->core.clock += 1 << 20;
	dma_reset(s);
	s->fetch.free = 0;
	fetch_reset(s, entry_word);
}

static double energy(const struct tg_sim *s, const struct tg_counters *c, uint64_t fetched)
{
	const struct tg_chip *p = &s->x->chip;
	double pj = 0;
	for (int t = 0; t < TG_N_ARRAY_TYPES; t++)
		pj += p->pj_mac[t] * (double)c->macs[t];
	pj += p->pj_vector_lane * (double)c->vector_lane_ops + p->pj_sram_byte * (double)c->sram_bytes + p->pj_acc_byte * (double)c->acc_bytes;
	pj += p->pj_dram_byte * (double)(c->dram_read_bytes + c->dram_written_bytes + c->fetch_bytes) + p->pj_bundle * (double)fetched;
	return pj + p->mw_leakage * 1e6 * (double)c->cycles / p->clock_khz;
}

/* All counters but energy are uint64_t: the total is their sum over the provenance sets. */
static void add_up(struct tg_sim *s)
{
	struct tg_counters total = {0};
	uint64_t fetched = 0;
	for (size_t i = 0; i <= s->x->provs.n; i++) {
		struct tg_counters *c = &s->by_prov[i];
		const uint64_t *from = (const uint64_t *)(const void *)c;
		uint64_t *to = (uint64_t *)(void *)&total;
		for (size_t k = 0; k < offsetof(struct tg_counters, energy_pj) / sizeof *to; k++)
			to[k] += from[k];
		fetched += s->fetched[i];
		c->energy_pj = energy(s, c, s->fetched[i]);
	}
	total.energy_pj = energy(s, &total, fetched);
	s->total = total;
}

bool sim_begin_run(struct tg_sim *s, struct tg_diag *d, uint32_t entry_word)
{
	start(s, entry_word);
	if (entry_word >= s->x->n_words || s->bundle_at[entry_word] == UINT32_MAX)
		return tg_fail(d, TG_ERR_TRAP, TG_NOWHERE, "trap: a step starts at word %u, where no bundle starts", entry_word);
	s->now_bundle = s->bundle_at[entry_word];
	return true;
}

bool sim_end_run(struct tg_sim *s, struct tg_diag *d, bool ok)
{
	jit_count(s);
	add_up(s);
	return ok || report(s, d);
}

bool tg_sim_run(struct tg_sim *s, struct tg_diag *d, uint32_t entry_word)
{
	bool halted = false, ok = true;
	if (!sim_begin_run(s, d, entry_word))
		return false;
	while (ok && !halted && !s->jit.blocks) {
		ok = sim_run_bundle(s, &halted);
		if (s->jit.patience && --s->jit.patience == 0)
			jit_begin(s, JIT_BESIDE);
	}
	if (ok && !halted)
		ok = jit_run(s);
	return sim_end_run(s, d, ok);
}
