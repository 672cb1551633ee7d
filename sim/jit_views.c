/* jit_views.c: registers that translated code does not load: a view says where their rows lie in SRAM, for pushes and multiplies to read there.
 *
 * Before: who will read the register, as far as the code around tells. In a segment: what it reads or may overwrite is settled first, and what it loads by view
 * has one from then on. A wrong guess costs time only: whoever wants lanes settles the view. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

/* ---- for which loads ---- */

#define VIEW_BYTES 1024 /* smaller registers are copied in less time than it takes to remember where their lanes are */
#define VIEW_AHEAD 512  /* bundles in which the readers are looked for */

bool gen_has_views(const struct gen *g)
{
	return g->s->options.translate_all || g->s->core.n * 4 >= VIEW_BYTES;
}

enum readers { READ_NEVER, READ_BY_ARRAY, READ_BY_LANES };

/* Who reads the register in bundles [first, end), until it is written again: `*written`. */
static enum readers readers_in(const struct tg_sim *s, unsigned reg, uint32_t first, uint32_t end, bool *written)
{
	enum readers found = READ_NEVER;
	for (uint32_t b = first; b < end && b < s->n_bundles && !*written; b++) {
		const struct decoded *d = &s->bundles[b];
		for (uint32_t i = d->first_insn; i < d->first_insn + d->n_insns; i++) {
			const struct uop *u = sim_insn(s, i);
			for (unsigned k = 0; k < u->n_reads; k++) {
				if (u->reads[k] != reg)
					continue;
				if (u->slot != TG_SLOT_P && u->slot != TG_SLOT_M)
					return READ_BY_LANES;
				found = READ_BY_ARRAY;
			}
			*written = *written || (u->n_writes && u->writes[0] == reg);
		}
	}
	return found;
}

/* The same from bundle `from` on, as far as the code that follows tells: around the innermost loop once, else straight on. */
static enum readers readers_after(const struct gen *g, unsigned reg, uint32_t from)
{
	bool written = false;
	if (g->block->ctx < 0)
		return readers_in(g->s, reg, from, from + VIEW_AHEAD, &written);
	const struct loop_ctx *c = &g->s->jit.blocks->ctx[g->block->ctx];
	enum readers a = readers_in(g->s, reg, from, c->end, &written);
	enum readers b = written || a == READ_BY_LANES ? READ_NEVER : readers_in(g->s, reg, c->start, from, &written);
	return a > b ? a : b;
}

/* A load that a view can stand for. */
static bool plain_load(const struct gen *g, const struct uop *u, const struct place *p)
{
	const struct tg_core *c = &g->s->core;
	bool whole = p->rows == c->rows && p->lanes == c->lanes;
	return gen_has_views(g) && (u->in.op == TG_I_vld_f32 || u->in.op == TG_I_vld_i32) && p->fixed && !p->mask && (whole || u->in.f[7] == 0);
}

bool gen_view_works(struct gen *g, const struct uop *u, const struct place *p)
{
	return plain_load(g, u, p) && !p->spread && readers_after(g, u->writes[0], g->at_bundle + 1) == READ_BY_ARRAY;
}

bool gen_has_late_store(const struct segment *e)
{
	for (unsigned i = 0; i < e->n_call; i++) {
		if (e->call[i].kind == CALL_STORE)
			return true;
	}
	return false;
}

static bool lazy_works(struct gen *g, unsigned at)
{
	struct segment *e = &g->seg;
	const struct lane_op *o = &e->op[at];
	if (o->kind != LANE_LOAD || o->dest == NO_DEST || o->pred || !plain_load(g, o->u, &o->at) || gen_has_late_store(e))
		return false;
	for (unsigned i = 0; i < e->n_op; i++) {
		if (i > at && e->op[i].dest == o->dest)
			return false;
		if (e->op[i].kind == LANE_STORE && !places_together(&e->op[i].at, &o->at, true))
			return false;
	}
	return readers_after(g, o->u->writes[0], e->end) != READ_BY_LANES;
}

/* Loads whose registers nobody needs after the segment, it seems. */
void gen_choose_lazy(struct gen *g)
{
	for (unsigned i = 0; i < g->seg.n_op; i++)
		g->seg.op[i].lazy = lazy_works(g, i);
}

/* ---- in a segment ---- */

/* Before anything else: registers whose lanes the segment reads, and those that look at what it may write. */
void gen_settle_views(struct gen *g)
{
	struct segment *e = &g->seg;
	bool late = gen_has_late_store(e);
	uint64_t mask = late ? ~UINT64_C(0) : e->reads_v;
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	if ((!mask && !e->stores) || !gen_has_views(g))
		return;
	val set = g->L->BuildAnd(g->b, gen_field(g, g->i64, FIELD(jit.viewed)), gen_int(g, e->stores ? -1 : (int64_t)mask), "");
	LLVMBasicBlockRef past = gen_around(g, g->L->BuildICmp(g->b, LLVMIntNE, set, gen_int(g, 0), ""));
	val args[2] = {g->sim, gen_int(g, (int64_t)mask)};
	if (mask)
		CALL(g, settle, none, args);
	for (unsigned i = 0; i < e->n_op && !late; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind != LANE_STORE)
			continue;
		LLVMBasicBlockRef no = gen_around(g, o->pred);
		val box[3] = {g->sim, g->L->BuildAdd(g->b, o->at.base, gen_int(g, o->at.lo), ""), g->L->BuildAdd(g->b, o->at.base, gen_int(g, o->at.hi), "")};
		val all[2] = {g->sim, gen_int(g, -1)};
		if (o->at.fixed)
			CALL(g, settle_box, none, box);
		else
			CALL(g, settle, none, all);
		gen_meet(g, no);
	}
	gen_meet(g, past);
}

/* Written registers are no views any more; loads that are not done leave one. */
void gen_make_views(struct gen *g)
{
	struct segment *e = &g->seg;
	if (!gen_has_views(g))
		return;
	if (e->dirty_v)
		gen_set_field(g, FIELD(jit.viewed), g->L->BuildAnd(g->b, gen_field(g, g->i64, FIELD(jit.viewed)), gen_int(g, (int64_t)~e->dirty_v), ""));
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind != LANE_VIEW && !(o->lazy && e->keep.of[o->dest].rows))
			continue;
		val shape = o->at.extent ? gen_shape(g, &o->at, 1) : gen_int(g, (int64_t)jit_view_shape(o->at.rows, o->at.n, o->at.lanes, o->at.spread));
		LLVMBasicBlockRef no = gen_around(g, o->pred);
		val args[6] = {g->sim, gen_int(g, o->lazy ? o->dest : o->temp), o->at.base, o->at.step, o->at.block_step, shape};
		CALL(g, view, g->L->VoidTypeInContext(g->c), args);
		gen_meet(g, no);
	}
}
#else
typedef int jit_views_is_empty;
#endif
