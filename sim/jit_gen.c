/* jit_gen.c: a block's code: its segments one after the other, and where it goes on. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

/* ---- where the block goes on ---- */

static void ran_whole(struct gen *g)
{
	gen_add_item(g, FIELD(jit.runs), (uint64_t)g->index * 8, gen_int(g, 1));
}

static void go_to_bundle(struct gen *g, uint32_t to, int32_t ctx)
{
	if (to == g->block->first && ctx == g->block->ctx)
		g->L->BuildBr(g->b, g->head);
	else
		gen_give_back(g, to, 0);
}

static size_t loop_at(const struct loop_ctx *c, size_t member)
{
	return FIELD(loops) + (c->depth - 1) * sizeof(struct loop) + member;
}

static void set_depth(struct gen *g, uint32_t depth)
{
	gen_set_field(g, FIELD(n_loops), g->L->ConstInt(g->i32, depth, 0));
}

/* To the bundle by falling: ends of loops on the way. */
static void fall(struct gen *g, uint32_t to, int32_t ctx)
{
	const struct blocks *k = g->s->jit.blocks;
	while (ctx >= 0 && to == k->ctx[ctx].end) {
		const struct loop_ctx *c = &k->ctx[ctx];
		LLVMBasicBlockRef again = gen_label(g), out = gen_label(g);
		val index = g->L->BuildAdd(g->b, gen_field(g, g->i64, loop_at(c, offsetof(struct loop, index))), gen_int(g, 1), "");
		gen_set_field(g, loop_at(c, offsetof(struct loop, index)), index);
		val more = g->L->BuildICmp(g->b, LLVMIntSLT, index, gen_field(g, g->i64, loop_at(c, offsetof(struct loop, count))), "");
		g->L->BuildCondBr(g->b, more, again, out);
		g->L->PositionBuilderAtEnd(g->b, again);
		go_to_bundle(g, c->start, ctx);
		g->L->PositionBuilderAtEnd(g->b, out);
		set_depth(g, c->depth - 1);
		ctx = c->parent;
	}
	go_to_bundle(g, to, ctx);
}

static void begin_loop(struct gen *g, const struct uop *u, int32_t inside)
{
	const struct loop_ctx *c = &g->s->jit.blocks->ctx[inside];
	LLVMBasicBlockRef enter = gen_label(g), skip = gen_label(g);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntSGT, g->control_count, gen_int(g, 0), ""), enter, skip);
	g->L->PositionBuilderAtEnd(g->b, enter);
	gen_set_field(g, loop_at(c, offsetof(struct loop, start)), g->L->ConstInt(g->i32, c->start, 0));
	gen_set_field(g, loop_at(c, offsetof(struct loop, end)), g->L->ConstInt(g->i32, c->end, 0));
	gen_set_field(g, loop_at(c, offsetof(struct loop, end_word)), g->L->ConstInt(g->i32, (uint32_t)u->in.f[1], 0));
	gen_set_field(g, loop_at(c, offsetof(struct loop, index)), gen_int(g, 0));
	gen_set_field(g, loop_at(c, offsetof(struct loop, count)), g->control_count);
	set_depth(g, c->depth);
	go_to_bundle(g, c->start, inside);
	g->L->PositionBuilderAtEnd(g->b, skip);
	fall(g, c->end, c->parent);
}

static void take_branch(struct gen *g, const struct uop *u)
{
	const struct blocks *k = g->s->jit.blocks;
	uint32_t to = g->s->bundle_at[u->in.f[0]];
	int32_t ctx = sim_ctx_after_branch(k, g->block->ctx, to);
	LLVMBasicBlockRef past = gen_around(g, g->control_pred);
	if (ctx != g->block->ctx)
		set_depth(g, ctx < 0 ? 0 : k->ctx[ctx].depth);
	go_to_bundle(g, to, ctx);
	if (!past)
		return;
	g->L->PositionBuilderAtEnd(g->b, past);
	fall(g, g->block->end, g->block->ctx);
}

static void go_on(struct gen *g)
{
	const struct uop *u = sim_control_of(g->s, &g->s->bundles[g->block->end - 1]);
	ran_whole(g);
	if (u && u->in.op == TG_I_loop)
		begin_loop(g, u, g->s->jit.blocks->loop_at[g->block->end - 1]);
	else if (u && u->in.op == TG_I_br)
		take_branch(g, u);
	else
		fall(g, g->block->end, g->block->ctx);
}

/* ---- a block ---- */

/* A stall of a line takes at most this long: everything that the buffer can hold has been asked for before it. */
static uint64_t longest_fetch(const struct tg_sim *s)
{
	uint64_t line = FETCH_LINE_WORDS * 8 / s->x->chip.dram_bytes_per_cycle + 1;
	return (2 * (uint64_t)s->fetch.n_lines + 4) * line + s->x->chip.dram_latency;
}

static void check_budget(struct gen *g)
{
	const struct block *b = g->block;
	uint64_t most = 0;
	for (uint32_t i = b->first; i < b->end; i++)
		most += gen_bundle_length(g->s, i);
	most += (gen_last_line(g, b->end - 1) - gen_first_line(g, b->first) + 2) * longest_fetch(g->s);
	LLVMBasicBlockRef go = gen_label(g);
	g->no_budget = gen_label(g);
	val limit = gen_field(g, g->i64, FIELD(options.max_cycles)), end = g->L->BuildAdd(g->b, gen_field(g, g->i64, FIELD(cycle)), gen_int(g, (int64_t)most), "");
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntULT, end, limit, ""), go, g->no_budget);
	g->L->PositionBuilderAtEnd(g->b, go);
}

static void open_function(struct gen *g)
{
	char name[32];
	snprintf(name, sizeof name, "block%u", g->index);
	g->fn = g->L->AddFunction(g->m, name, g->code_type);
	g->L->PositionBuilderAtEnd(g->b, gen_label(g));
	g->sim = g->L->GetParam(g->fn, 0);
	g->mem = gen_field(g, g->ptr, FIELD(core.mem.at));
	g->clean = gen_field(g, g->ptr, FIELD(core.mem.clean));
	g->registers = gen_field(g, g->ptr, FIELD(jit.registers));
	g->calls = gen_field(g, g->ptr, FIELD(jit.calls));
	g->head = gen_label(g);
	gen_go_to(g, g->head);
	memset(g->sreg, 0, sizeof g->sreg);
	memset(g->preg, 0, sizeof g->preg);
	memset(g->s_dirty, 0, sizeof g->s_dirty);
	memset(g->p_dirty, 0, sizeof g->p_dirty);
	g->n_roots = ROOT_CONST + 1;
	g->control_count = g->control_pred = NULL;
	g->rounds.lanes = NULL;
}

/* False: one cannot be translated; what comes before it is. */
static bool gen_segments(struct gen *g)
{
	for (uint32_t at = g->block->first; at < g->block->end; at = g->seg.end) {
		if (!gen_fill_segment(g, at))
			return false;
		gen_segment(g);
	}
	return true;
}

bool gen_block(struct gen *g, uint32_t index)
{
	g->index = index;
	g->block = &g->s->jit.blocks->at[index];
	open_function(g);
	check_budget(g);
	bool all = gen_segments(g);
	if (all)
		go_on(g);
	else
		gen_give_back(g, g->seg.first, JIT_LEAVE);
	g->L->PositionBuilderAtEnd(g->b, g->no_budget);
	gen_give_back(g, g->block->first, JIT_LEAVE);
	return all || g->seg.first > g->block->first;
}
#else
typedef int jit_gen_is_empty;
#endif
