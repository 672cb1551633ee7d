/* jit_lanes.c: the loop over the lanes of a segment: a strip at a time through all its lane-wise instructions, in the order of the bundles.
 *
 *   for each range of rows in which the same accesses have bytes
 *     for each row: the rows' addresses; values spread over a row
 *       for each range of lanes in which the same accesses have bytes: for each strip: load, compute, store
 *
 * What lies outside an access is known when the code is made, so tails cost nothing. */
#ifdef TG_HAS_LLVM
#include "jit_lanes.h"

unsigned lanes_load_bytes(unsigned op)
{
	switch (op) {
	case TG_I_vld_f32:
	case TG_I_vld_i32:
		return 4;
	case TG_I_vld_bf16:
	case TG_I_vld_f16:
	case TG_I_vld_i16:
	case TG_I_vld_u16:
		return 2;
	case TG_I_vld_e4m3:
	case TG_I_vld_e5m2:
	case TG_I_vld_i8:
	case TG_I_vld_u8:
		return 1;
	default:
		return 0;
	}
}

unsigned lanes_store_bytes(unsigned op)
{
	switch (op) {
	case TG_I_vst_f32:
		return 4;
	case TG_I_vst_bf16:
	case TG_I_vst_f16:
	case TG_I_vst_i16:
	case TG_I_vst_i16s:
	case TG_I_vst_u16s:
		return 2;
	case TG_I_vst_e4m3:
	case TG_I_vst_e5m2:
	case TG_I_vst_i8:
	case TG_I_vst_i8s:
	case TG_I_vst_u8s:
		return 1;
	default:
		return 0;
	}
}

/* ---- loads and stores ---- */

static LLVMTypeRef element_type(struct gen *g, unsigned bytes)
{
	return bytes == 4 ? g->i32 : bytes == 2 ? g->i16 : g->i8;
}

static struct lane_value widen(struct gen *g, unsigned op, val raw)
{
	val h;
	switch (op) {
	case TG_I_vld_bf16:
		h = g->L->BuildShl(g->b, g->L->BuildZExt(g->b, raw, g->iv, ""), lane_const(g, 16), "");
		return lane_of_float(g->L->BuildBitCast(g->b, h, g->fv, ""));
	case TG_I_vld_f16:
	case TG_I_vld_e4m3:
	case TG_I_vld_e5m2:
		return lane_of_bits(lane_math(g, op, g->L->BuildZExt(g->b, raw, g->iv, "")));
	case TG_I_vld_i16:
	case TG_I_vld_i8:
		return lane_of_bits(g->L->BuildSExt(g->b, raw, g->iv, ""));
	case TG_I_vld_u16:
	case TG_I_vld_u8:
		return lane_of_bits(g->L->BuildZExt(g->b, raw, g->iv, ""));
	default:
		return lane_of_bits(raw);
	}
}

static val outside(struct gen *g, const struct tg_insn *in)
{
	if (in->op == TG_I_mrd)
		return lane_const(g, 0);
	bool is_float = in->op >= TG_I_vld_f32 && in->op <= TG_I_vld_e5m2;
	if (in->f[7] == 1)
		return lane_const(g, is_float ? TG_F32_INF : 0x7fffffff);
	if (in->f[7] == 2)
		return lane_const(g, is_float ? 0xff800000 : 0x80000000);
	return lane_const(g, 0);
}

/* Lanes of the strip that an access reaches: a constant mask, for the strip in which it ends. */
static val first_lanes(struct gen *g, uint32_t n)
{
	val each[MAX_STRIP];
	for (unsigned i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i1, i < n, 0);
	return g->L->ConstVector(each, g->strip);
}

static val acc_of(struct gen *g, const struct lane_op *o)
{
	return gen_field(g, g->ptr, offsetof(struct tg_sim, core.array) + (size_t)o->u->in.f[1] * sizeof(struct tg_array) + offsetof(struct tg_array, acc));
}

/* Memory of a strip; where the predicate is false it is memory that nobody misses. */
static val strip_at(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	val at = g->L->BuildAdd(g->b, y->row_at[k], g->L->BuildMul(g->b, y->lane, gen_int(g, o->at.bytes), ""), "");
	val p = gen_at(g, gen_at(g, o->kind == LANE_ROWS ? acc_of(g, o) : g->mem, at), gen_int(g, y->past[k]));
	val sink = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, JIT_TEMP + JIT_N_TEMPS - 1)));
	return o->pred ? g->L->BuildSelect(g->b, o->pred, p, sink, "") : p;
}

static val masked_load(struct gen *g, LLVMTypeRef vector, val p, val mask)
{
	LLVMTypeRef types[2] = {vector, g->ptr}, in[4] = {g->ptr, g->i32, g->cv, vector};
	val args[4] = {p, g->L->ConstInt(g->i32, 1, 0), mask, g->L->ConstNull(vector)};
	val f = g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID("llvm.masked.load", 16), types, 2);
	return g->L->BuildCall2(g->b, g->L->FunctionType(vector, in, 4, 0), f, args, 4, "");
}

static void masked_store(struct gen *g, LLVMTypeRef vector, val v, val p, val mask)
{
	LLVMTypeRef types[2] = {vector, g->ptr}, in[4] = {vector, g->ptr, g->i32, g->cv};
	val args[4] = {v, p, g->L->ConstInt(g->i32, 1, 0), mask};
	val f = g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID("llvm.masked.store", 17), types, 2);
	g->L->BuildCall2(g->b, g->L->FunctionType(g->L->VoidTypeInContext(g->c), in, 4, 0), f, args, 4, "");
}

/* Lanes [from, from + n) of a vector. */
static val part_of(struct gen *g, val v, uint32_t from, uint32_t n)
{
	val each[MAX_STRIP];
	for (uint32_t i = 0; i < n; i++)
		each[i] = g->L->ConstInt(g->i32, from + i, 0);
	return g->L->BuildShuffleVector(g->b, v, v, g->L->ConstVector(each, n), "");
}

/* `into` with n lanes of `part` from lane `at` on. */
static val with_part(struct gen *g, val into, val part, uint32_t at, uint32_t n)
{
	val each[MAX_STRIP];
	for (uint32_t i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, i < n ? i : 0, 0);
	val wide = g->L->BuildShuffleVector(g->b, part, part, g->L->ConstVector(each, g->strip), "");
	for (uint32_t i = 0; i < g->strip; i++)
		each[i] = g->L->ConstInt(g->i32, i >= at && i < at + n ? g->strip + i - at : i, 0);
	return g->L->BuildShuffleVector(g->b, into, wide, g->L->ConstVector(each, g->strip), "");
}

/* The first n lanes of a strip, in pieces of powers of two: hosts have masked accesses for wide elements only, and slow ones for stores. A piece of one lane is no vector:
 * LLVM 19's quick code for AArch64 takes the wrong lane of those. */
static void store_first(struct gen *g, unsigned bytes, val v, val p, uint32_t n)
{
	for (uint32_t size = g->strip / 2, at = 0; size; size /= 2) {
		if (!(n & size))
			continue;
		val part = size == 1 ? g->L->BuildExtractElement(g->b, v, gen_int(g, at), "") : part_of(g, v, at, size);
		g->L->SetAlignment(g->L->BuildStore(g->b, part, gen_at(g, p, gen_int(g, (int64_t)at * bytes))), 1);
		at += size;
	}
}
static val load_first(struct gen *g, unsigned bytes, val p, uint32_t n)
{
	LLVMTypeRef one = element_type(g, bytes);
	val v = g->L->ConstNull(g->L->VectorType(one, g->strip));
	for (uint32_t size = g->strip / 2, at = 0; size; size /= 2) {
		if (!(n & size))
			continue;
		val part = g->L->BuildLoad2(g->b, size == 1 ? one : g->L->VectorType(one, size), gen_at(g, p, gen_int(g, (int64_t)at * bytes)), "");
		g->L->SetAlignment(part, 1);
		v = size == 1 ? g->L->BuildInsertElement(g->b, v, part, gen_int(g, at), "") : with_part(g, v, part, at, size);
		at += size;
	}
	return v;
}

/* The lanes of the strip that are inside an extent which only the run knows. */
static val run_reaches(struct body *y, const struct place *p)
{
	struct gen *g = y->g;
	val lanes = lane_splat(g, g->L->BuildTrunc(g->b, p->run_lanes, g->i32, ""), g->iv), row_in = g->L->BuildICmp(g->b, LLVMIntULT, y->row, p->run_rows, "");
	return g->L->BuildSelect(g->b, row_in, g->L->BuildICmp(g->b, LLVMIntULT, lane_numbers(y), lanes, ""), g->L->ConstNull(g->cv), "");
}

/* The lanes of the strip that the access reaches and its mask selects; NULL: all. */
static val reached(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	if (o->at.extent)
		return run_reaches(y, &o->at);
	val inside = y->to > o->at.lanes ? first_lanes(g, o->at.lanes - y->from) : NULL;
	if (!o->at.mask)
		return inside;
	val on = g->L->BuildICmp(g->b, LLVMIntNE, lane_bits(g, lane_reg(y, JIT_MASK + o->at.mask)), lane_const(g, 0), "");
	return inside ? g->L->BuildAnd(g->b, inside, on, "") : on;
}

/* What lanes get that are not read: their old value where the mask or the instruction says so, else a constant. */
static val not_read(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	bool part = y->first_row >= o->at.rows || y->to > o->at.lanes;
	if (o->kind == LANE_ROWS || (!o->at.mask && o->u->in.f[7] != 3))
		return outside(g, &o->u->in);
	val old = lane_bits(g, lane_reg(y, (unsigned)(o->u->writes[0] - REG_V)));
	if (!part || o->u->in.f[7] == 3)
		return old;
	val on = g->L->BuildICmp(g->b, LLVMIntNE, lane_bits(g, lane_reg(y, JIT_MASK + o->at.mask)), lane_const(g, 0), "");
	return g->L->BuildSelect(g->b, on, outside(g, &o->u->in), old, "");
}

static struct lane_value load(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	LLVMTypeRef vector = g->L->VectorType(element_type(g, o->at.bytes), g->strip);
	struct lane_value v;
	if (y->first_row >= o->at.rows || y->from >= o->at.lanes)
		return lane_of_bits(not_read(y, o));
	val some = reached(y, o);
	if (o->at.spread) {
		v = lane_of_bits(y->spread[k]);
	} else if (some && !o->at.mask && !o->at.extent && o->at.bytes < 4) {
		v = widen(g, o->u->in.op, load_first(g, o->at.bytes, strip_at(y, k, o), o->at.lanes - y->from));
	} else if (some) {
		v = widen(g, o->u->in.op, masked_load(g, vector, strip_at(y, k, o), some));
	} else {
		val raw = g->L->BuildLoad2(g->b, vector, strip_at(y, k, o), "");
		g->L->SetAlignment(raw, 1);
		v = widen(g, o->u->in.op, raw);
	}
	if (some)
		return lane_of_bits(g->L->BuildSelect(g->b, some, lane_bits(g, &v), not_read(y, o), ""));
	return v;
}

static val clamped(struct gen *g, val a, int32_t lo, int32_t hi)
{
	val low = lane_const(g, (uint32_t)lo), high = lane_const(g, (uint32_t)hi);
	a = lane_pick(g, LLVMIntSLT, a, low, low, a);
	return lane_pick(g, LLVMIntSGT, a, high, high, a);
}

static val narrow(struct gen *g, unsigned op, struct lane_value *v, LLVMTypeRef to)
{
	val a = lane_bits(g, v);
	switch (op) {
	case TG_I_vst_f32:
		return a;
	case TG_I_vst_bf16:
		a = g->L->BuildLShr(g->b, lane_round_bf16(g, v), lane_const(g, 16), "");
		break;
	case TG_I_vst_f16:
	case TG_I_vst_e4m3:
	case TG_I_vst_e5m2:
		a = lane_math(g, op, a);
		break;
	case TG_I_vst_i16s:
		a = clamped(g, a, INT16_MIN, INT16_MAX);
		break;
	case TG_I_vst_u16s:
		a = clamped(g, a, 0, UINT16_MAX);
		break;
	case TG_I_vst_i8s:
		a = clamped(g, a, INT8_MIN, INT8_MAX);
		break;
	case TG_I_vst_u8s:
		a = clamped(g, a, 0, UINT8_MAX);
		break;
	default:
		break;
	}
	return g->L->BuildTrunc(g->b, a, to, "");
}

static void store(struct body *y, unsigned k, const struct lane_op *o)
{
	struct gen *g = y->g;
	LLVMTypeRef vector = g->L->VectorType(element_type(g, o->at.bytes), g->strip);
	if (y->first_row >= o->at.rows || y->from >= o->at.lanes)
		return;
	val v = narrow(g, o->u->in.op, lane_reg(y, (unsigned)o->u->in.f[0]), vector), p = strip_at(y, k, o);
	val some = reached(y, o);
	if (some && !o->at.mask)
		store_first(g, o->at.bytes, v, p, o->at.lanes - y->from);
	else if (some)
		masked_store(g, vector, v, p, some);
	else
		g->L->SetAlignment(g->L->BuildStore(g->b, v, p), 1);
}

/* A function for each shape: mask -> lanes that it selects. */
static val selected_for(struct gen *g, const struct place *p)
{
	char name[48];
	snprintf(name, sizeof name, "selected_%u_%u", p->rows, p->lanes);
	val fn = g->L->GetNamedFunction(g->m, name), all = gen_int(g, 0);
	if (fn)
		return fn;
	LLVMTypeRef type = g->L->FunctionType(g->i64, &g->ptr, 1, 0), bits = g->strip == 16 ? g->i16 : g->i8;
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	fn = g->L->AddFunction(g->m, name, type);
	g->L->SetLinkage(fn, LLVMInternalLinkage);
	g->L->PositionBuilderAtEnd(g->b, g->L->AppendBasicBlockInContext(g->c, fn, ""));
	for (uint32_t r = 0; r < p->rows; r++) {
		for (uint32_t j = 0; j < p->lanes; j += g->strip) {
			val at = gen_at(g, g->L->GetParam(fn, 0), gen_int(g, (int64_t)(r * g->s->core.lanes + j) * 4));
			val v = g->L->BuildLoad2(g->b, g->iv, at, ""), on = g->L->BuildICmp(g->b, LLVMIntNE, v, lane_const(g, 0), "");
			g->L->SetAlignment(v, g->strip * 4);
			if (p->lanes - j < g->strip)
				on = g->L->BuildAnd(g->b, on, first_lanes(g, p->lanes - j), "");
			val word = g->L->BuildBitCast(g->b, on, bits, ""), n = lane_intrinsic(g, "llvm.ctpop", &bits, 1, &word, 1);
			all = g->L->BuildAdd(g->b, all, g->L->BuildZExt(g->b, n, g->i64, ""), "");
		}
	}
	g->L->BuildRet(g->b, all);
	g->L->PositionBuilderAtEnd(g->b, here);
	return fn;
}

val gen_selected(struct gen *g, const struct place *p)
{
	val mask = gen_at(g, g->registers, gen_int(g, (int64_t)jit_register_bytes(&g->s->core, JIT_MASK + p->mask)));
	return g->L->BuildCall2(g->b, g->L->FunctionType(g->i64, &g->ptr, 1, 0), selected_for(g, p), &mask, 1, "");
}

static struct lane_value temporary(struct body *y, const struct lane_op *o)
{
	struct gen *g = y->g;
	val v = g->L->BuildLoad2(g->b, g->iv, lane_register_at(y, JIT_TEMP + o->temp), "");
	g->L->SetAlignment(v, g->strip * 4);
	return lane_of_bits(v);
}

/* ---- where rows are ---- */

/* Whether the rows of two accesses lie the same number of bytes from each other everywhere. */
static bool side_by_side(const struct lane_op *x, const struct lane_op *y)
{
	const struct place *a = &x->at, *b = &y->at;
	if (x->kind == LANE_ROWS || y->kind == LANE_ROWS || a->root != b->root || a->bytes != b->bytes || a->n != b->n)
		return false;
	if (a->extent != b->extent)
		return false;
	bool same = a->step == b->step && a->block_step == b->block_step;
	return same || (a->fixed && b->fixed && a->rows == b->rows && a->s == b->s && a->t == b->t);
}

/* The first access from whose address that of k follows. */
static unsigned leader_of(struct body *y, unsigned k)
{
	const struct lane_op *op = y->g->seg.op;
	unsigned i = 0;
	while (i < k && !(y->row_at[i] && side_by_side(&op[i], &op[k])))
		i++;
	return i;
}

static val row_address(struct body *y, const struct place *p)
{
	struct gen *g = y->g;
	val r = y->row, at = p->base;
	if (p->n < p->rows || p->extent) {
		val n = p->extent ? p->run_n : gen_int(g, p->n);
		at = g->L->BuildAdd(g->b, at, g->L->BuildMul(g->b, g->L->BuildUDiv(g->b, r, n, ""), p->block_step, ""), "");
		r = g->L->BuildURem(g->b, r, n, "");
	}
	return g->L->BuildAdd(g->b, at, g->L->BuildMul(g->b, r, p->step, ""), "");
}

static void row_addresses(struct body *y)
{
	struct gen *g = y->g;
	memset(y->row_at, 0, sizeof y->row_at);
	for (unsigned k = 0; k < g->seg.n_op; k++) {
		const struct lane_op *o = &g->seg.op[k];
		const struct place *p = &o->at;
		unsigned leader;
		if (o->kind == LANE_ALU || o->kind == LANE_TEMP || o->kind == LANE_VIEW || y->first_row >= p->rows)
			continue;
		leader = leader_of(y, k);
		y->row_at[k] = leader < k ? y->row_at[leader] : row_address(y, p);
		y->past[k] = leader < k ? (int64_t)((uint64_t)y->past[leader] + (uint64_t)p->off - (uint64_t)g->seg.op[leader].at.off) : 0;
		if (!p->spread)
			continue;
		y->lane = gen_int(g, 0);
		val one = g->L->BuildLoad2(g->b, element_type(g, p->bytes), strip_at(y, k, o), "");
		g->L->SetAlignment(one, 1);
		struct lane_value v = widen(g, o->u->in.op, lane_splat(g, one, g->L->VectorType(element_type(g, p->bytes), g->strip)));
		y->spread[k] = lane_bits(g, &v);
	}
}

/* ---- the loop ---- */

/* All results of a bundle land together. */
static void all_instructions(struct body *y)
{
	struct gen *g = y->g;
	struct segment *e = &g->seg;
	struct lane_value landing[MAX_LANE_OPS];
	for (unsigned i = 0; i < e->n_op;) {
		unsigned end = i;
		for (; end < e->n_op && e->op[end].bundle == e->op[i].bundle; end++) {
			const struct lane_op *o = &e->op[end];
			if (o->kind == LANE_VIEW)
				continue;
			if (o->kind == LANE_STORE) {
				store(y, end, o);
				continue;
			}
			landing[end] = o->kind == LANE_ALU ? lane_compute(y, o) : o->kind == LANE_TEMP ? temporary(y, o) : load(y, end, o);
			if (o->pred && o->dest != NO_DEST) {
				val now = lane_bits(g, &landing[end]), was = lane_bits(g, lane_reg(y, o->dest));
				landing[end] = lane_of_bits(g->L->BuildSelect(g->b, o->pred, now, was, ""));
			}
		}
		for (; i < end; i++) {
			if (e->op[i].kind == LANE_STORE || e->op[i].dest == NO_DEST)
				continue;
			y->reg[e->op[i].dest] = landing[i];
			y->reg[e->op[i].dest].dirty = !e->op[i].lazy;
		}
	}
}

static void keep_registers(struct body *y)
{
	struct gen *g = y->g;
	struct segment *e = &g->seg;
	for (unsigned r = 0; r < JIT_TEMP; r++) {
		bool kept = y->first_row < e->keep.of[r].rows && y->from < e->keep.of[r].lanes;
		if (!y->reg[r].dirty || !kept)
			continue;
		g->L->SetAlignment(g->L->BuildStore(g->b, lane_bits(g, &y->reg[r]), lane_register_at(y, r)), g->strip * 4);
	}
}

/* A counted loop: from the value of `counter` on; close_loop adds step and goes round until `end`. */
struct counted {
	LLVMBasicBlockRef before, body;
	val counter;
};
static struct counted open_loop(struct gen *g, uint32_t from)
{
	struct counted l = {.body = g->L->AppendBasicBlockInContext(g->c, g->fn, ""), .before = g->L->GetInsertBlock(g->b)};
	val start = gen_int(g, from);
	g->L->BuildBr(g->b, l.body);
	g->L->PositionBuilderAtEnd(g->b, l.body);
	l.counter = g->L->BuildPhi(g->b, g->i64, "");
	g->L->AddIncoming(l.counter, &start, &l.before, 1);
	return l;
}
static void close_loop(struct gen *g, struct counted *l, uint32_t step, val end)
{
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b), out = g->L->AppendBasicBlockInContext(g->c, g->fn, "");
	val next = g->L->BuildAdd(g->b, l->counter, gen_int(g, step), "");
	g->L->AddIncoming(l->counter, &next, &here, 1);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntULT, next, end, ""), l->body, out);
	g->L->PositionBuilderAtEnd(g->b, out);
}

/* Arithmetic, which takes any NaN for any other and gives one of which the bits are not settled yet. */
static bool is_arithmetic(const struct lane_op *o)
{
	unsigned op = o->u->in.op;
	return o->kind == LANE_ALU && !o->pred && (op == TG_I_vadd_f32 || op == TG_I_vsub_f32 || op == TG_I_vmul_f32 || op == TG_I_vfma_f32 || op == TG_I_vfnma_f32);
}

/* Whether a register may go from round to round as f32, of which a NaN becomes canonical when the last round is over: only arithmetic reads and writes it. */
static bool carries_float(const struct segment *e, unsigned reg)
{
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		bool touches = o->dest == reg;
		for (unsigned k = 0; k < o->u->n_reads; k++)
			touches = touches || o->u->reads[k] == REG_V + reg;
		if (touches && !is_arithmetic(o))
			return false;
	}
	return true;
}

/* A strip through all rounds: what one passes to the next are the loop's values. */
static void rounds(struct body *y)
{
	struct gen *g = y->g;
	const struct rounds *r = &g->rounds;
	val phi[JIT_TEMP] = {0}, lane = y->lane;
	for (unsigned k = 0; k < JIT_TEMP; k++) {
		if (r->read[k] && lane_reg(y, k) && segment_writes(&g->seg, k) && carries_float(&g->seg, k))
			lane_float(g, &y->reg[k]);
	}
	struct counted l = open_loop(g, 0);
	for (unsigned k = 0; k < JIT_TEMP; k++) {
		if (!r->read[k] || !segment_writes(&g->seg, k))
			continue;
		bool is_float = y->reg[k].f != NULL;
		val start = is_float ? y->reg[k].f : y->reg[k].i;
		phi[k] = g->L->BuildPhi(g->b, is_float ? g->fv : g->iv, "");
		g->L->AddIncoming(phi[k], &start, &l.before, 1);
		y->reg[k] = is_float ? lane_of_float(phi[k]) : lane_of_bits(phi[k]);
	}
	gen_take_round(g, l.counter);
	row_addresses(y);
	y->lane = lane;
	all_instructions(y);
	gen_end_round(g);
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	for (unsigned k = 0; k < JIT_TEMP; k++) {
		if (!phi[k])
			continue;
		val end = g->L->TypeOf(phi[k]) == g->fv ? lane_float(g, &y->reg[k]) : lane_bits(g, &y->reg[k]);
		g->L->AddIncoming(phi[k], &end, &here, 1);
	}
	close_loop(g, &l, 1, r->count);
}

static void at_lane(struct body *y, val row_element, val lane)
{
	y->lane = lane;
	y->lanes_at = gen_at(y->g, y->g->registers, y->g->L->BuildShl(y->g->b, y->g->L->BuildAdd(y->g->b, row_element, lane, ""), gen_int(y->g, 2), ""));
	memset(y->reg, 0, sizeof y->reg);
	if (y->g->rounds.count)
		rounds(y);
	else
		all_instructions(y);
	keep_registers(y);
}

static void range_of_lanes(struct body *y, val row_element)
{
	struct gen *g = y->g;
	if (y->to - y->from <= 2 * g->strip) {
		for (uint32_t j = y->from; j < y->to; j += g->strip)
			at_lane(y, row_element, gen_int(g, j));
		return;
	}
	struct counted l = open_loop(g, y->from);
	at_lane(y, row_element, l.counter);
	close_loop(g, &l, g->strip, gen_int(g, y->to));
}

static void one_row(struct body *y, val row)
{
	struct gen *g = y->g;
	struct segment *e = &g->seg;
	y->row = row;
	if (!g->rounds.count)
		row_addresses(y);
	val row_element = g->L->BuildMul(g->b, row, gen_int(g, g->s->core.lanes), "");
	for (unsigned k = 0; k < e->n_lanes && e->lanes[k] < e->useful.lanes; k++) {
		y->from = e->lanes[k];
		y->to = k + 1 < e->n_lanes ? e->lanes[k + 1] : g->s->core.lanes;
		range_of_lanes(y, row_element);
	}
}

void gen_lanes(struct gen *g)
{
	struct segment *e = &g->seg;
	struct body body = {.g = g}, *y = &body;
	for (unsigned k = 0; k < e->n_rows && e->rows[k] < e->useful.rows; k++) {
		uint32_t from = e->rows[k], to = k + 1 < e->n_rows ? e->rows[k + 1] : g->s->core.rows;
		y->first_row = from;
		if (to - from == 1) {
			one_row(y, gen_int(g, from));
			continue;
		}
		struct counted l = open_loop(g, from);
		one_row(y, l.counter);
		close_loop(g, &l, 1, gen_int(g, to));
	}
}
#else
typedef int jit_lanes_is_empty;
#endif
