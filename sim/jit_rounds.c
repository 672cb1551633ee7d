/* jit_rounds.c: loops that are one segment which loads and computes: the lanes of many rounds are done together, so that what a round passes to the next stays in host registers.
 *
 * A round does all that a segment does but for its lanes: checks, time, counters, scalars. It writes down the scalars that its lanes need (addresses, predicates) and the
 * next begins. The lanes follow when the block is left, whatever the reason, or when there is no room for more rounds:
 *
 *   for each strip of lanes: for each round: load, compute
 *
 * Nothing in between may look at vector registers, and no round stores, so nobody can tell the difference. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

/* ---- which loops ---- */

/* The loop that consists of the block. */
bool gen_is_loop(const struct gen *g)
{
	const struct block *b = g->block;
	const struct loop_ctx *c = b->ctx < 0 ? NULL : &g->s->jit.blocks->ctx[b->ctx];
	return c && c->start == b->first && c->end == b->end;
}

static bool is_simple_loop(const struct gen *g)
{
	const struct segment *e = &g->seg;
	const struct uop *last = sim_control_of(g->s, &g->s->bundles[e->end - 1]);
	bool falls = !last || (last->in.op != TG_I_loop && last->in.op != TG_I_br);
	return gen_is_loop(g) && falls && e->first == g->block->first && e->end == g->block->end && g->s->jit.blocks->ctx[g->block->ctx].trips != 1;
}

/* Only loads and computations, and masks of accesses, which are asked before lanes are done, stay as they are. */
static bool only_reads(const struct segment *e)
{
	if (e->n_call || e->early || e->stores)
		return false;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind == LANE_LOAD && (e->dirty_m >> o->at.mask & 1))
			return false;
		if (o->lazy && (e->reads_v >> o->dest & 1)) /* a view of it would be settled before the lanes are done */
			return false;
	}
	return true;
}

/* ---- what a round writes down ---- */

static bool note_slot(struct gen *g, val v)
{
	struct rounds *r = &g->rounds;
	int64_t c;
	if (!v || gen_constant(g, v, &c))
		return true;
	for (unsigned k = 0; k < r->n_slots; k++) {
		if (r->slot[k] == v)
			return true;
	}
	if (r->n_slots == JIT_ROUND_SLOTS)
		return false;
	r->slot[r->n_slots++] = v;
	return true;
}

#define N_SCALARS 9
static void scalars_of(struct lane_op *o, val *at[N_SCALARS])
{
	val *all[N_SCALARS] = {&o->pred, &o->a, &o->b, &o->at.base, &o->at.step, &o->at.block_step, &o->at.run_rows, &o->at.run_lanes, &o->at.run_n};
	memcpy(at, all, sizeof all);
}

static bool note_scalars(struct gen *g, struct lane_op *o)
{
	val *at[N_SCALARS];
	bool fits = true;
	scalars_of(o, at);
	for (unsigned i = 0; i < N_SCALARS && o->kind != LANE_VIEW; i++)
		fits = fits && note_slot(g, *at[i]);
	return fits;
}

/* Registers of which lanes are read, perhaps what an earlier round left there. */
static void note_registers(struct rounds *r, const struct lane_op *o)
{
	for (unsigned i = 0; i < o->u->n_reads; i++) {
		if (reg_has_lanes(o->u->reads[i]))
			r->read[o->u->reads[i] - REG_V] = true;
	}
	if (o->dest != NO_DEST && o->pred)
		r->read[o->dest] = true;
}

bool gen_choose_rounds(struct gen *g)
{
	struct segment *e = &g->seg;
	struct rounds *r = &g->rounds;
	if (!is_simple_loop(g) || !only_reads(e) || !e->useful.rows)
		return false;
	r->n_slots = 0;
	memset(r->read, 0, sizeof r->read);
	for (unsigned i = 0; i < e->n_op; i++) {
		if (!note_scalars(g, &e->op[i]))
			return false;
		note_registers(r, &e->op[i]);
	}
	return true;
}

/* ---- in the lanes' function ---- */

/* Where a round's scalars are. */
static val record_at(struct gen *g, val round)
{
	val bytes = g->L->BuildMul(g->b, round, gen_int(g, (int64_t)g->rounds.n_slots * 8), "");
	return gen_at(g, g->sim, g->L->BuildAdd(g->b, gen_int(g, FIELD(jit.rounds)), bytes, ""));
}

static val of_round(const struct rounds *r, val v, const val *now)
{
	for (unsigned k = 0; k < r->n_slots; k++) {
		if (v == r->slot[k])
			return now[k];
	}
	return v;
}

/* From now on the segment's instructions have the scalars of that round. */
void gen_take_round(struct gen *g, val round)
{
	struct rounds *r = &g->rounds;
	val now[JIT_ROUND_SLOTS], at = record_at(g, round);
	for (unsigned k = 0; k < r->n_slots; k++) {
		now[k] = g->L->BuildLoad2(g->b, g->i64, gen_at(g, at, gen_int(g, 8 * (int64_t)k)), "");
		if (g->L->TypeOf(r->slot[k]) == g->i1)
			now[k] = g->L->BuildTrunc(g->b, now[k], g->i1, "");
	}
	memcpy(r->saved, g->seg.op, g->seg.n_op * sizeof *r->saved);
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		val *scalar[N_SCALARS];
		scalars_of(&g->seg.op[i], scalar);
		for (unsigned k = 0; k < N_SCALARS; k++)
			*scalar[k] = of_round(r, *scalar[k], now);
	}
}
void gen_end_round(struct gen *g)
{
	memcpy(g->seg.op, g->rounds.saved, g->seg.n_op * sizeof *g->rounds.saved);
}

/* sim -> nothing: the lanes of the rounds that wait. */
static val lanes_function(struct gen *g)
{
	char name[32];
	val was[4] = {g->fn, g->sim, g->mem, g->registers};
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	snprintf(name, sizeof name, "rounds%u", g->index);
	val fn = g->fn = g->L->AddFunction(g->m, name, g->L->FunctionType(none, &g->ptr, 1, 0));
	g->L->SetLinkage(fn, LLVMInternalLinkage);
	g->L->PositionBuilderAtEnd(g->b, gen_label(g));
	g->sim = g->L->GetParam(fn, 0);
	g->rounds.count = g->L->BuildZExt(g->b, gen_field(g, g->i32, FIELD(jit.n_rounds)), g->i64, "");
	LLVMBasicBlockRef past = gen_around(g, g->L->BuildICmp(g->b, LLVMIntNE, g->rounds.count, gen_int(g, 0), ""));
	g->mem = gen_field(g, g->ptr, FIELD(core.mem.at));
	g->registers = gen_field(g, g->ptr, FIELD(jit.registers));
	gen_lanes(g);
	gen_set_field(g, FIELD(jit.n_rounds), g->L->ConstInt(g->i32, 0, 0));
	gen_meet(g, past);
	g->L->BuildRetVoid(g->b);
	g->rounds.count = NULL;
	g->fn = was[0];
	g->sim = was[1];
	g->mem = was[2];
	g->registers = was[3];
	g->L->PositionBuilderAtEnd(g->b, here);
	return fn;
}

void gen_flush_rounds(struct gen *g)
{
	if (g->rounds.lanes)
		g->L->BuildCall2(g->b, g->L->FunctionType(g->L->VoidTypeInContext(g->c), &g->ptr, 1, 0), g->rounds.lanes, &g->sim, 1, "");
}

void gen_write_down_round(struct gen *g)
{
	struct rounds *r = &g->rounds;
	r->lanes = lanes_function(g);
	val n = gen_field(g, g->i32, FIELD(jit.n_rounds)), at = record_at(g, g->L->BuildZExt(g->b, n, g->i64, ""));
	for (unsigned k = 0; k < r->n_slots; k++) {
		val v = g->L->TypeOf(r->slot[k]) == g->i1 ? g->L->BuildZExt(g->b, r->slot[k], g->i64, "") : r->slot[k];
		g->L->BuildStore(g->b, v, gen_at(g, at, gen_int(g, 8 * (int64_t)k)));
	}
	n = g->L->BuildAdd(g->b, n, g->L->ConstInt(g->i32, 1, 0), "");
	gen_set_field(g, FIELD(jit.n_rounds), n);
	LLVMBasicBlockRef past = gen_around(g, g->L->BuildICmp(g->b, LLVMIntEQ, n, g->L->ConstInt(g->i32, JIT_ROUNDS, 0), ""));
	gen_flush_rounds(g);
	gen_meet(g, past);
}
#else
typedef int jit_rounds_is_empty;
#endif
