/* jit_segment.c: a segment's code: checks, called instructions, time and counters, the loop, matrix instructions, registers and clocks. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

static void put_reads(struct gen *g, const struct called *c)
{
	for (unsigned i = 0; i < c->n_reads; i++)
		gen_set_field(g, FIELD(jit.reads) + 8 * i, c->reads[i]);
}

static void call_pure(struct gen *g, struct called *c, val clock, LLVMBasicBlockRef leave, struct scalar_landing *out)
{
	val old = c->to == REG_S || c->to == REG_P || !c->to ? NULL : c->to < REG_V ? gen_s(g, c->to) : gen_p(g, c->to - REG_P);
	LLVMBasicBlockRef no = gen_around(g, c->pred);
	put_reads(g, c);
	val args[5] = {g->sim, gen_uop(g, c->u), gen_int(g, c->bundle), g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)c->clock), ""), gen_int(g, JIT_TEMP + c->temp)};
	gen_leave_unless(g, CALL(g, pure, g->i64, args), leave);
	gen_meet(g, no);
	out->reg = 0;
	if (!old)
		return;
	val v = gen_field(g, g->i64, FIELD(jit.scalar));
	out->reg = (uint8_t)c->to;
	out->v = c->to < REG_V ? v : g->L->BuildICmp(g->b, LLVMIntNE, v, gen_int(g, 0), "");
	out->sym = gen_fresh(g);
	if (c->pred)
		out->v = g->L->BuildSelect(g->b, c->pred, out->v, old, "");
}

static void may_act(struct gen *g, const struct called *c, val clock, LLVMBasicBlockRef leave)
{
	if (c->kind == CALL_MATRIX) {
		gen_may_matrix(g, c, clock, leave);
		return;
	}
	LLVMBasicBlockRef no = gen_around(g, c->pred);
	val args[3] = {g->sim, gen_uop(g, c->u), gen_clock(g, clock, c->clock)};
	put_reads(g, c);
	gen_leave_unless(g, CALL(g, may_act, g->i64, args), leave);
	gen_meet(g, no);
}

static void act(struct gen *g, const struct called *c, val clock)
{
	LLVMBasicBlockRef no = gen_around(g, c->pred);
	val args[4] = {g->sim, gen_uop(g, c->u), gen_int(g, c->bundle), gen_clock(g, clock, c->clock)};
	if (c->kind == CALL_MATRIX) {
		gen_matrix(g, c, clock);
	} else {
		put_reads(g, c);
		CALL(g, act, g->L->VoidTypeInContext(g->c), args);
	}
	gen_meet(g, no);
}

static void all_acts(struct gen *g, val clock)
{
	for (unsigned i = 0; i < g->seg.n_call; i++) {
		if (g->seg.call[i].kind != CALL_PURE)
			act(g, &g->seg.call[i], clock);
	}
}

static void may_read_rows(struct gen *g, const struct lane_op *o, val clock, LLVMBasicBlockRef leave)
{
	LLVMBasicBlockRef no = gen_around(g, o->pred);
	uint64_t since = 0;
	for (uint32_t b = g->seg.first; b < o->bundle; b++)
		since += gen_bundle_length(g->s, b);
	val args[4] = {g->sim, gen_uop(g, o->u), gen_clock(g, clock, since), o->a};
	gen_leave_unless(g, CALL(g, may_read_rows, g->i64, args), leave);
	for (unsigned i = 0; i < g->seg.n_call; i++) { /* products of bundles before it, which are made later, go to other rows */
		const struct called *c = &g->seg.call[i];
		if (c->kind != CALL_MATRIX || c->u->slot != TG_SLOT_M || c->u->in.f[0] != o->u->in.f[1] || c->bundle >= o->bundle)
			continue;
		val below = g->L->BuildICmp(g->b, LLVMIntSLE, g->L->BuildAdd(g->b, c->place, gen_int(g, c->u->in.f[4]), ""), o->a, "");
		val above = g->L->BuildICmp(g->b, LLVMIntSLE, g->L->BuildAdd(g->b, o->a, gen_int(g, o->u->in.f[4]), ""), c->place, "");
		val ok = g->L->BuildOr(g->b, below, above, "");
		ok = c->pred ? g->L->BuildOr(g->b, ok, g->L->BuildNot(g->b, c->pred, ""), "") : ok;
		gen_leave_unless(g, g->L->BuildZExt(g->b, ok, g->i64, ""), leave);
	}
	gen_meet(g, no);
}

/* Goes past a fetch, to the result, where it does nothing; NULL: nowhere. */
static LLVMBasicBlockRef past_fetch(struct gen *g, uint32_t bundle)
{
	bool begins = bundle == g->block->first, there = begins && gen_first_line(g, bundle) == gen_last_line(g, bundle);
	if (begins)
		g->quiet = !gen_is_loop(g) ? NULL : g->L->BuildICmp(g->b, LLVMIntEQ, gen_field(g, g->i32, FIELD(fetch.quiet)), g->L->ConstInt(g->i32, g->index, 0), "");
	val skip = g->quiet;
	if (there) {
		val same = g->L->BuildICmp(g->b, LLVMIntEQ, gen_field(g, g->i32, FIELD(fetch.line)), g->L->ConstInt(g->i32, gen_first_line(g, bundle), 0), "");
		skip = skip ? g->L->BuildOr(g->b, skip, same, "") : same;
	}
	return skip ? gen_around(g, g->L->BuildNot(g->b, skip, "")) : NULL;
}

static void fetch_one(struct gen *g, uint32_t bundle, uint64_t *cycles)
{
	bool begins = bundle == g->block->first;
	if (!begins && gen_first_line(g, bundle) == gen_last_line(g, bundle - 1) && gen_first_line(g, bundle) == gen_last_line(g, bundle))
		return;
	gen_add_field(g, FIELD(cycle), *cycles);
	*cycles = 0;
	LLVMBasicBlockRef past = past_fetch(g, bundle);
	val args[2] = {g->sim, gen_int(g, (int64_t)(bundle | (gen_is_loop(g) ? (uint64_t)g->index + 1 : 0) << 32))};
	CALL(g, fetch, g->L->VoidTypeInContext(g->c), args);
	gen_meet(g, past);
}

static void run_time(struct gen *g)
{
	struct segment *e = &g->seg;
	uint64_t cycles = 0;
	for (uint32_t b = e->first; b < e->end; b++) {
		fetch_one(g, b, &cycles);
		cycles += gen_bundle_length(g->s, b);
	}
	gen_add_field(g, FIELD(cycle), cycles);
}

/* Bytes of a load whose extent only the run knows. */
static val moved_by(struct gen *g, const struct place *p)
{
	val shape = gen_shape(g, p, p->bytes);
	return g->L->BuildMul(g->b, g->L->BuildAnd(g->b, shape, gen_int(g, 0xffff), ""), g->L->BuildLShr(g->b, shape, gen_int(g, 32), ""), "");
}

/* What the accesses of a provenance set move, those of one kind: bytes of SRAM or of accumulators. */
static void count_moved(struct gen *g, uint32_t prov, bool rows, size_t counter)
{
	struct segment *e = &g->seg;
	uint64_t bytes = 0;
	val some = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (g->s->bundles[o->bundle].prov != prov || (rows ? o->kind != LANE_ROWS : o->kind != LANE_LOAD && o->kind != LANE_VIEW && o->kind != LANE_STORE))
			continue;
		uint64_t n = (uint64_t)o->at.rows * (rows ? o->at.lanes * 4 : o->at.row_bytes);
		val maybe = o->at.extent ? moved_by(g, &o->at) : o->at.mask ? g->L->BuildMul(g->b, gen_selected(g, &o->at), gen_int(g, o->at.bytes), "") : o->pred ? gen_int(g, (int64_t)n) : NULL;
		if (o->pred)
			maybe = g->L->BuildSelect(g->b, o->pred, maybe, gen_int(g, 0), "");
		bytes += maybe ? 0 : n;
		some = !maybe ? some : some ? g->L->BuildAdd(g->b, some, maybe, "") : maybe;
	}
	size_t at = prov * sizeof(struct tg_counters) + counter;
	if (some)
		gen_add_item(g, FIELD(by_prov), at, g->L->BuildAdd(g->b, some, gen_int(g, (int64_t)bytes), ""));
	else if (bytes)
		gen_add_item(g, FIELD(by_prov), at, gen_int(g, (int64_t)bytes));
}

/* Counters that do not follow from how often a block ran: predicated instructions, bytes of the loop's accesses. */
static void counters(struct gen *g)
{
	for (uint32_t b = g->seg.first; b < g->seg.end; b++) {
		uint32_t prov = g->s->bundles[b].prov, before = g->seg.first;
		while (g->s->bundles[before].prov != prov)
			before++;
		if (before < b) /* done */
			continue;
		count_moved(g, prov, false, offsetof(struct tg_counters, sram_bytes));
		count_moved(g, prov, true, offsetof(struct tg_counters, acc_bytes));
	}
}

static void late_ready(struct gen *g, val clock, const struct written *w, size_t at)
{
	if (w->ready <= g->seg.length)
		return;
	val v = g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)w->ready), "");
	gen_set_field(g, at, w->pred ? g->L->BuildSelect(g->b, w->pred, v, gen_field(g, g->i64, at), "") : v);
}

static void write_back(struct gen *g)
{
	for (unsigned r = 1; r < 32; r++) {
		if (g->s_dirty[r])
			gen_set_field(g, FIELD(core.s) + 8 * r, g->sreg[r]);
		g->s_dirty[r] = false;
	}
	for (unsigned r = 1; r < 8; r++) {
		if (g->p_dirty[r])
			gen_set_field(g, FIELD(core.p) + r, g->L->BuildZExt(g->b, g->preg[r], g->i8, ""));
		g->p_dirty[r] = false;
	}
}

static void count_hits(struct gen *g)
{
	struct segment *e = &g->seg;
	for (unsigned i = 0; i < e->n_hit; i++)
		gen_add_item(g, FIELD(jit.hits), (uint64_t)e->hit[i].insn * 8, g->L->BuildZExt(g->b, e->hit[i].pred, g->i64, ""));
}

void gen_segment(struct gen *g)
{
	struct segment *e = &g->seg;
	LLVMBasicBlockRef leave = gen_label(g);
	struct scalar_landing result[MAX_CALLED];
	unsigned n_result = 0;
	val clock = gen_field(g, g->i64, FIELD(core.clock));
	gen_choose_lazy(g);
	gen_choose_kept(g);
	gen_set_field(g, FIELD(jit.n_pending), g->L->ConstInt(g->i32, 0, 0));
	gen_settle_views(g);
	val unsure = gen_checks(g, leave);
	for (unsigned i = 0; i < e->n_call; i++) {
		if (e->call[i].kind == CALL_PURE)
			call_pure(g, &e->call[i], clock, leave, &result[n_result++]);
	}
	for (unsigned i = 0; i < e->n_op; i++) {
		if (e->op[i].kind == LANE_ROWS)
			may_read_rows(g, &e->op[i], clock, leave);
	}
	for (unsigned i = 0; i < e->n_call; i++) {
		if (e->call[i].kind != CALL_PURE)
			may_act(g, &e->call[i], clock, leave);
	}
	run_time(g);
	counters(g);
	count_hits(g);
	if (e->early)
		all_acts(g, clock);
	if (gen_choose_rounds(g))
		gen_write_down_round(g);
	else
		gen_lanes(g);
	gen_make_views(g);
	if (!e->early)
		all_acts(g, clock);
	gen_note_stores(g, unsure);
	for (unsigned i = 0; i < n_result; i++)
		gen_land(g, &result[i]);
	write_back(g);
	for (unsigned i = 0; i < e->n_wrote; i++)
		late_ready(g, clock, &e->wrote[i], FIELD(ready) + 8 * e->wrote[i].reg);
	for (unsigned i = 0; i < e->n_busy; i++)
		late_ready(g, clock, &e->busy[i], FIELD(slot_free) + 8 * e->busy[i].reg);
	gen_set_field(g, FIELD(core.clock), g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)e->length), ""));
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	g->L->PositionBuilderAtEnd(g->b, leave);
	gen_give_back(g, e->first, JIT_INTERPRET);
	g->L->PositionBuilderAtEnd(g->b, here);
}
#else
typedef int jit_segment_is_empty;
#endif
