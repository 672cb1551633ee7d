/* jit_matrix.c: pushes, swaps and multiplies of a segment: what is asked about them before it, and their work after its loop.
 *
 * On small arrays a multiply takes less time than all that is around it. So the usual cases are code: whether a multiply may be, and a push of whole
 * rows of f32 into a plain set. They are functions of their own, since there are few shapes. Everything else is called. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#include "matrix_rules.h"

#define SMALL_PUSH 256 /* words; more are copied by a call */

static size_t array_at(const struct tg_insn *in, size_t member)
{
	return FIELD(core.array) + (size_t)in->f[0] * sizeof(struct tg_array) + member;
}

static val at_offset(struct gen *g, LLVMTypeRef type, val base, size_t offset)
{
	return g->L->BuildLoad2(g->b, type, gen_at(g, base, gen_int(g, (int64_t)offset)), "");
}
static void set_offset(struct gen *g, val base, size_t offset, val v)
{
	g->L->BuildStore(g->b, v, gen_at(g, base, gen_int(g, (int64_t)offset)));
}

/* The active weights of the instruction's array, or its shadow; sim may be another function's argument than g's. */
static val weights_of(struct gen *g, val sim, const struct tg_insn *in, bool shadow)
{
	val set = at_offset(g, g->i32, sim, array_at(in, offsetof(struct tg_array, active)));
	if (shadow)
		set = g->L->BuildXor(g->b, set, g->L->ConstInt(g->i32, 1, 0), "");
	val by = g->L->BuildMul(g->b, g->L->BuildZExt(g->b, set, g->i64, ""), gen_int(g, sizeof(struct tg_weights)), "");
	return gen_at(g, gen_at(g, sim, by), gen_int(g, (int64_t)array_at(in, offsetof(struct tg_array, set))));
}

static val is_zero(struct gen *g, LLVMTypeRef type, val v)
{
	return g->L->BuildICmp(g->b, LLVMIntEQ, v, g->L->ConstInt(type, 0, 0), "");
}

static val same_class(struct gen *g, val weights, unsigned type)
{
	val is = at_offset(g, g->i8, weights, offsetof(struct tg_weights, type)), ok = NULL;
	for (unsigned t = 0; t < TG_N_ARRAY_TYPES; t++) {
		if (!array_same_class(t, type))
			continue;
		val one = g->L->BuildICmp(g->b, LLVMIntEQ, is, g->L->ConstInt(g->i8, t, 0), "");
		ok = ok ? g->L->BuildOr(g->b, ok, one, "") : one;
	}
	return ok;
}

/* Whether the shadow array takes weights of the type, or after a swap multiplies of it. */
static val shadow_takes(struct gen *g, val sim, const struct tg_insn *in, unsigned type)
{
	val shadow = weights_of(g, sim, in, true);
	return g->L->BuildOr(g->b, is_zero(g, g->i8, at_offset(g, g->i8, shadow, offsetof(struct tg_weights, any))), same_class(g, shadow, type), "");
}

static void leave_unless(struct gen *g, val ok, LLVMBasicBlockRef leave)
{
	gen_leave_unless(g, g->L->BuildZExt(g->b, ok, g->i64, ""), leave);
}

/* ---- what is asked ---- */

/* A push into a group that is known: left is whether the shadow array takes the type. */
static bool may_push(struct gen *g, const struct called *c, LLVMBasicBlockRef leave)
{
	const struct tg_insn *in = &c->u->in;
	int64_t group;
	uint32_t side = in->f[6] != 0 ? g->s->core.chip->array_cols : g->s->core.chip->array_rows;
	if (in->op > TG_I_push_u8 || !gen_constant(g, c->place, &group) || group < 0 || group >= side / g->s->core.rows)
		return false;
	if (!c->array.pushed && !c->array.swap_sure) /* else the push before it asked, or the array is empty */
		leave_unless(g, shadow_takes(g, g->sim, in, array_type_of(in)), leave);
	return true;
}

static bool may_swap(struct gen *g, const struct called *c, val clock, LLVMBasicBlockRef leave)
{
	const struct tg_insn *in = &c->u->in;
	if (in->op != TG_I_swap)
		return false;
	val ready = gen_field(g, g->i64, array_at(in, offsetof(struct tg_array, swap_ready)));
	leave_unless(g, g->L->BuildICmp(g->b, LLVMIntULE, ready, gen_clock(g, clock, c->clock), ""), leave);
	return true;
}

/* A function's body; g's place is kept for `end_function`. */
static val begin_function(struct gen *g, const char *name, LLVMTypeRef type, LLVMBasicBlockRef *here, val *own)
{
	val fn = g->L->AddFunction(g->m, name, type);
	*here = g->L->GetInsertBlock(g->b);
	*own = g->fn;
	g->fn = fn;
	g->L->SetLinkage(fn, LLVMInternalLinkage);
	g->L->PositionBuilderAtEnd(g->b, gen_label(g));
	return fn;
}
static void end_function(struct gen *g, LLVMBasicBlockRef here, val own)
{
	g->fn = own;
	g->L->PositionBuilderAtEnd(g->b, here);
}

/* Of a function that says whether it did its work; `no`: where it did not. */
static void end_attempt(struct gen *g, LLVMBasicBlockRef no, LLVMBasicBlockRef here, val own)
{
	g->L->BuildRet(g->b, g->L->ConstInt(g->i1, 1, 0));
	g->L->PositionBuilderAtEnd(g->b, no);
	g->L->BuildRet(g->b, g->L->ConstInt(g->i1, 0, 0));
	end_function(g, here, own);
}

/* Flags of n accumulator rows as one word. */
static bool has_flags(int64_t n)
{
	return n == 1 || n == 2 || n == 4 || n == 8;
}
static LLVMTypeRef flags_type(struct gen *g, unsigned n)
{
	return n == 1 ? g->i8 : n == 2 ? g->i16 : n == 4 ? g->i32 : g->i64;
}
static val all_flags(struct gen *g, unsigned n)
{
	return g->L->ConstInt(flags_type(g, n), UINT64_C(0x0101010101010101) >> (64 - 8 * n), 0);
}

static LLVMTypeRef may_multiply_type(struct gen *g)
{
	LLVMTypeRef in[3] = {g->ptr, g->i64, g->i64};
	return g->L->FunctionType(g->i1, in, 3, 0);
}

/* sim, accumulator row, whether it adds -> whether it may be; after: as may_matrix of struct jit_calls. */
static val may_multiply_for(struct gen *g, const struct tg_insn *in, unsigned after)
{
	char name[64];
	LLVMBasicBlockRef here;
	val own;
	unsigned n = (unsigned)in->f[4], type = array_type_of(in);
	snprintf(name, sizeof name, "may_multiply_%u_%u_%u_%u", (unsigned)in->f[0], n, type, after);
	val fn = g->L->GetNamedFunction(g->m, name);
	if (fn)
		return fn;
	fn = begin_function(g, name, may_multiply_type(g), &here, &own);
	val sim = g->L->GetParam(fn, 0), first = g->L->GetParam(fn, 1), adds = g->L->BuildICmp(g->b, LLVMIntNE, g->L->GetParam(fn, 2), gen_int(g, 0), "");
	val inside = g->L->BuildICmp(g->b, LLVMIntULE, first, gen_int(g, (int64_t)g->s->core.chip->acc_rows - n), "");
	val row = g->L->BuildSelect(g->b, inside, first, gen_int(g, 0), "");
	val written = g->L->BuildLoad2(g->b, flags_type(g, n), gen_at(g, at_offset(g, g->ptr, sim, array_at(in, offsetof(struct tg_array, acc_written))), row), "");
	g->L->SetAlignment(written, 1);
	val all = g->L->BuildICmp(g->b, LLVMIntEQ, written, all_flags(g, n), "");
	val ok = g->L->BuildAnd(g->b, inside, g->L->BuildOr(g->b, all, g->L->BuildNot(g->b, adds, ""), ""), "");
	if (after != 2) {
		val w = weights_of(g, sim, in, false), none = is_zero(g, g->i64, at_offset(g, g->i64, w, offsetof(struct tg_weights, present)));
		ok = g->L->BuildAnd(g->b, ok, g->L->BuildOr(g->b, none, same_class(g, w, type), ""), "");
	}
	if (after)
		ok = g->L->BuildAnd(g->b, ok, shadow_takes(g, sim, in, type), "");
	g->L->BuildRet(g->b, ok);
	end_function(g, here, own);
	return fn;
}

static bool may_multiply(struct gen *g, const struct called *c, unsigned after, LLVMBasicBlockRef leave)
{
	int64_t n = c->u->in.f[4];
	if (c->u->slot != TG_SLOT_M || !has_flags(n) || n > g->s->core.chip->acc_rows)
		return false;
	val args[3] = {g->sim, c->place, c->with};
	leave_unless(g, g->L->BuildCall2(g->b, may_multiply_type(g), may_multiply_for(g, &c->u->in, after), args, 3, ""), leave);
	return true;
}

void gen_may_matrix(struct gen *g, const struct called *c, val clock, LLVMBasicBlockRef leave)
{
	if (may_push(g, c, leave)) /* asked whatever the predicate: those behind it count on the answer */
		return;
	LLVMBasicBlockRef no = gen_around(g, c->pred);
	unsigned swap = c->array.swap_sure ? 2 : c->array.swapped;
	val args[6] = {g->sim, gen_uop(g, c->u), gen_clock(g, clock, c->clock), c->place, c->with, gen_int(g, swap)};
	if (!may_swap(g, c, clock, leave) && !may_multiply(g, c, swap, leave))
		gen_leave_unless(g, CALL(g, may_matrix, g->i64, args), leave);
	gen_meet(g, no);
}

/* ---- what is done ---- */

/* A push of whole rows as they are: no mask, no rounding, panels of lanes to be copied. */
static bool copies_rows(struct gen *g, const struct called *c)
{
	const struct tg_core *core = &g->s->core;
	const struct tg_insn *in = &c->u->in;
	int64_t group, extent;
	uint32_t cols = core->chip->array_cols;
	if (in->op != TG_I_push_f32 || in->f[5] || in->f[6] || !gen_constant(g, c->place, &group) || !gen_constant(g, c->with, &extent))
		return false;
	struct tg_extent x = extent_of(core, extent);
	return group >= 0 && group < core->chip->array_rows / core->rows && group < 64 && x.rows == core->rows && x.lanes >= cols && cols % TG_PANEL == 0 &&
	       TG_PANEL % g->strip == 0 && core->rows * cols <= SMALL_PUSH;
}

static LLVMTypeRef push_type(struct gen *g)
{
	LLVMTypeRef in[4] = {g->ptr, g->ptr, g->i64, g->i64};
	return g->L->FunctionType(g->i1, in, 4, 0);
}

static void copy_rows(struct gen *g, val to, val from)
{
	const struct tg_core *core = &g->s->core;
	for (uint32_t r = 0; r < core->rows; r++) {
		for (uint32_t c = 0; c < core->chip->array_cols; c += g->strip) {
			size_t at = ((size_t)(c / TG_PANEL) * core->chip->array_rows + r) * TG_PANEL + c % TG_PANEL;
			val v = at_offset(g, g->iv, from, ((size_t)r * core->lanes + c) * 4);
			g->L->SetAlignment(v, g->strip * 4);
			g->L->SetAlignment(g->L->BuildStore(g->b, v, gen_at(g, to, gen_int(g, (int64_t)at * 4))), 4);
		}
	}
}

/* sim, lanes, group, clock -> whether it was done: not into a set of another form than whole row groups, or with other columns. */
static val push_for(struct gen *g, const struct tg_insn *in)
{
	char name[32];
	LLVMBasicBlockRef here;
	val own;
	const struct tg_core *core = &g->s->core;
	snprintf(name, sizeof name, "push_%u", (unsigned)in->f[0]);
	val fn = g->L->GetNamedFunction(g->m, name);
	if (fn)
		return fn;
	fn = begin_function(g, name, push_type(g), &here, &own);
	val sim = g->L->GetParam(fn, 0), group = g->L->GetParam(fn, 2), w = weights_of(g, sim, in, true), cols = g->L->ConstInt(g->i16, core->chip->array_cols, 0);
	val groups = at_offset(g, g->i64, w, offsetof(struct tg_weights, groups));
	val alike = g->L->BuildICmp(g->b, LLVMIntEQ, at_offset(g, g->i16, w, offsetof(struct tg_weights, group_side)), cols, "");
	val plain = g->L->BuildAnd(g->b, is_zero(g, g->i8, at_offset(g, g->i8, w, offsetof(struct tg_weights, form))), g->L->BuildOr(g->b, is_zero(g, g->i64, groups), alike, ""), "");
	LLVMBasicBlockRef no = gen_around(g, plain);
	set_offset(g, w, offsetof(struct tg_weights, any), g->L->ConstInt(g->i8, 1, 0));
	set_offset(g, w, offsetof(struct tg_weights, type), g->L->ConstInt(g->i8, TG_ARRAY_f32, 0));
	set_offset(g, w, offsetof(struct tg_weights, group_side), cols);
	set_offset(g, w, offsetof(struct tg_weights, groups), g->L->BuildOr(g->b, groups, g->L->BuildShl(g->b, gen_int(g, 1), group, ""), ""));
	set_offset(g, sim, array_at(in, offsetof(struct tg_array, swap_ready)), gen_clock(g, g->L->GetParam(fn, 3), core->chip->latency.push_swap));
	val by = g->L->BuildMul(g->b, group, gen_int(g, (int64_t)core->rows * TG_PANEL * 4), "");
	copy_rows(g, gen_at(g, at_offset(g, g->ptr, w, offsetof(struct tg_weights, w)), by), g->L->GetParam(fn, 1));
	end_attempt(g, no, here, own);
	return fn;
}

/* Goes on only if the operand's lanes are in its register. */
static void unless_viewed(struct gen *g, const struct tg_insn *in, LLVMBasicBlockRef else_to)
{
	if (!gen_has_views(g))
		return;
	LLVMBasicBlockRef lanes = gen_label(g);
	val view = g->L->BuildAnd(g->b, gen_field(g, g->i64, FIELD(jit.viewed)), gen_int(g, (int64_t)(UINT64_C(1) << in->f[1])), "");
	g->L->BuildCondBr(g->b, is_zero(g, g->i64, view), lanes, else_to);
	g->L->PositionBuilderAtEnd(g->b, lanes);
}

/* Returns where to go on when it is done here; NULL: it is not tried. */
static LLVMBasicBlockRef push_rows(struct gen *g, const struct called *c, val clock)
{
	const struct tg_insn *in = &c->u->in;
	if (!copies_rows(g, c))
		return NULL;
	LLVMBasicBlockRef done = gen_label(g), called = gen_label(g);
	unless_viewed(g, in, called);
	val from = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, (uint64_t)in->f[1])));
	val args[4] = {g->sim, from, c->place, gen_clock(g, clock, c->clock)};
	g->L->BuildCondBr(g->b, g->L->BuildCall2(g->b, push_type(g), push_for(g, in), args, 4, ""), done, called);
	g->L->PositionBuilderAtEnd(g->b, called);
	return done;
}

/* A multiply of f32 rows of a register, in pieces whose accumulator rows' flags are a word. */
static bool multiplies_rows(const struct gen *g, const struct tg_insn *in)
{
	int64_t n = in->f[4];
	return in->op == TG_I_mul_f32 && has_flags(n) && n <= g->s->core.rows;
}

static LLVMTypeRef multiply_type(struct gen *g)
{
	LLVMTypeRef in[6] = {g->ptr, g->ptr, g->i64, g->i64, g->i64, g->i64};
	return g->L->FunctionType(g->i1, in, 6, 0);
}

static void note_rows(struct gen *g, val sim, const struct tg_insn *in, val first, val clock)
{
	unsigned n = (unsigned)in->f[4];
	val flags = gen_at(g, at_offset(g, g->ptr, sim, array_at(in, offsetof(struct tg_array, acc_written))), first);
	g->L->SetAlignment(g->L->BuildStore(g->b, all_flags(g, n), flags), 1);
	val ready = gen_at(g, at_offset(g, g->ptr, sim, array_at(in, offsetof(struct tg_array, acc_ready))), g->L->BuildMul(g->b, first, gen_int(g, 8), ""));
	val when = gen_clock(g, clock, g->s->core.chip->latency.multiply_read);
	for (unsigned r = 0; r < n; r++)
		set_offset(g, ready, 8 * r, when);
}

static void add_offset(struct gen *g, val base, size_t offset, val by)
{
	set_offset(g, base, offset, g->L->BuildAdd(g->b, at_offset(g, g->i64, base, offset), by, ""));
}

static void count_multiply(struct gen *g, val sim, const struct tg_insn *in, val w, val counters, val adds)
{
	unsigned n = (unsigned)in->f[4];
	val by = gen_at(g, at_offset(g, g->ptr, sim, FIELD(by_prov)), counters);
	int64_t bytes = (int64_t)n * g->s->core.chip->array_cols * 4;
	add_offset(g, by, offsetof(struct tg_counters, acc_bytes), g->L->BuildShl(g->b, gen_int(g, bytes), adds, ""));
	val present = at_offset(g, g->i64, w, offsetof(struct tg_weights, present));
	add_offset(g, by, offsetof(struct tg_counters, macs) + TG_ARRAY_f32 * sizeof(uint64_t), g->L->BuildMul(g->b, present, gen_int(g, n), ""));
}

static void call_whole(struct gen *g, val sim, const struct tg_insn *in, val w, val a, val first, val adds)
{
	const struct tg_core *core = &g->s->core;
	LLVMTypeRef types[4] = {g->ptr, g->ptr, g->ptr, g->i64}, type = g->L->FunctionType(g->L->VoidTypeInContext(g->c), types, 4, 0);
	val fn = at_offset(g, g->ptr, at_offset(g, g->ptr, sim, FIELD(matrix)), offsetof(struct tg_matrix, whole));
	val acc = gen_at(g, at_offset(g, g->ptr, sim, array_at(in, offsetof(struct tg_array, acc))), g->L->BuildMul(g->b, first, gen_int(g, (int64_t)core->stride * 4), ""));
	int64_t shape = (int64_t)TG_WHOLE(core->lanes, core->stride, core->chip->array_rows, in->f[4], 0);
	val args[4] = {w, a, acc, g->L->BuildOr(g->b, gen_int(g, shape), g->L->BuildShl(g->b, adds, gen_int(g, 63), ""), "")};
	g->L->BuildCall2(g->b, type, fn, args, 4, "");
}

/* sim, operands, accumulator row, 1 if it adds, clock, bytes to its counters -> whether it was done: not with weights that are not whole, nor where threads multiply. */
static val multiply_for(struct gen *g, const struct tg_insn *in)
{
	char name[32];
	LLVMBasicBlockRef here;
	val own;
	snprintf(name, sizeof name, "multiply_%u_%u", (unsigned)in->f[0], (unsigned)in->f[4]);
	val fn = g->L->GetNamedFunction(g->m, name);
	if (fn)
		return fn;
	fn = begin_function(g, name, multiply_type(g), &here, &own);
	val sim = g->L->GetParam(fn, 0), first = g->L->GetParam(fn, 2), adds = g->L->GetParam(fn, 3), w = weights_of(g, sim, in, false);
	val alone = is_zero(g, g->i64, at_offset(g, g->i64, sim, FIELD(workers)));
	val whole = g->L->BuildNot(g->b, is_zero(g, g->i8, at_offset(g, g->i8, w, offsetof(struct tg_weights, whole))), "");
	LLVMBasicBlockRef no = gen_around(g, g->L->BuildAnd(g->b, whole, alone, ""));
	call_whole(g, sim, in, w, g->L->GetParam(fn, 1), first, adds);
	note_rows(g, sim, in, first, g->L->GetParam(fn, 4));
	count_multiply(g, sim, in, w, g->L->GetParam(fn, 5), adds);
	end_attempt(g, no, here, own);
	return fn;
}

static LLVMBasicBlockRef multiply_rows(struct gen *g, const struct called *c, val clock)
{
	const struct tg_insn *in = &c->u->in;
	if (!multiplies_rows(g, in))
		return NULL;
	LLVMBasicBlockRef done = gen_label(g), called = gen_label(g);
	unless_viewed(g, in, called);
	val from = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, (uint64_t)in->f[1])));
	val counters = gen_int(g, (int64_t)(g->s->bundles[c->bundle].prov * sizeof(struct tg_counters)));
	val args[6] = {g->sim, from, c->place, c->with, gen_clock(g, clock, c->clock), counters};
	g->L->BuildCondBr(g->b, g->L->BuildCall2(g->b, multiply_type(g), multiply_for(g, in), args, 6, ""), done, called);
	g->L->PositionBuilderAtEnd(g->b, called);
	return done;
}

void gen_matrix(struct gen *g, const struct called *c, val clock)
{
	const struct tg_insn *in = &c->u->in;
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	LLVMBasicBlockRef done = in->op == TG_I_mul_f32 ? multiply_rows(g, c, clock) : push_rows(g, c, clock);
	val args[6] = {g->sim, gen_uop(g, c->u), gen_int(g, c->bundle), gen_clock(g, clock, c->clock), c->place, c->with};
	CALL(g, matrix, none, args);
	gen_meet(g, done);
}
#else
typedef int jit_matrix_is_empty;
#endif
