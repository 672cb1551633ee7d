/* jit_check.c: what is asked before a segment's accesses: that their bytes may be touched, and that doing them strip by strip is the same as
 * one instruction after the other, that is, that stores and other accesses of the segment do not meet (or lie lane upon lane).
 *
 * Accesses that lie near each other are asked about as one stretch of bytes. What is found out about a stretch and the bytes around is kept
 * (struct tg_proof of core.h) until a transfer or a birth makes it doubtful, so a loop asks once, and then compares. Accesses of which the steps
 * are not known beforehand are looked up in the map of clean pieces of SRAM. Where the answer is no, every access is looked at exactly. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

static bool rows_apart(const struct place *p)
{
	int64_t s = p->s < 0 ? -p->s : p->s, t = p->t < 0 ? -p->t : p->t;
	uint32_t n = p->n < p->rows ? p->n : p->rows;
	if (p->rows > 1 && n > 1 && s < (int64_t)p->row_bytes)
		return false;
	return n >= p->rows || t >= (n - 1) * s + (int64_t)p->row_bytes;
}

static bool same_shape(const struct place *a, const struct place *b)
{
	return a->fixed && b->fixed && !a->extent && !b->extent && !a->spread && !b->spread && a->s == b->s && a->t == b->t && a->rows == b->rows && a->lanes == b->lanes && a->n == b->n &&
	       a->bytes == b->bytes && rows_apart(a);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

/* Rows of both begin at multiples of this from their bases; 0: a row each, or rows that only the run knows. */
static uint64_t common_step(const struct place *a, const struct place *b)
{
	const struct place *of[2] = {a, b};
	uint64_t m = 0;
	if (a->extent || b->extent)
		return 0;
	for (int i = 0; i < 2; i++) {
		const struct place *p = of[i];
		if (p->rows > 1 && p->n > 1)
			m = gcd(m, (uint64_t)(p->s < 0 ? -p->s : p->s));
		if (p->rows > p->n)
			m = gcd(m, (uint64_t)(p->t < 0 ? -p->t : p->t));
	}
	return m;
}

/* Rows that lie in each other's gaps, as neighbours in a line do: b's base is a's and `by`, and the rows do not meet modulo their step. */
static bool interleaved(const struct place *a, const struct place *b, int64_t by)
{
	int64_t m = (int64_t)common_step(a, b), d = m ? by % m : 0;
	d += d < 0 ? m : 0;
	return m && d >= (int64_t)a->row_bytes && d + (int64_t)b->row_bytes <= m;
}

bool places_apart(const struct gen *g, const struct place *a, const struct place *b, bool *same)
{
	(void)g;
	*same = a->root == b->root && a->off == b->off && same_shape(a, b);
	if (a->root != b->root || !a->fixed || !b->fixed)
		return false;
	return a->off + a->lo >= b->off + b->hi || b->off + b->lo >= a->off + a->hi || interleaved(a, b, b->off - a->off);
}

static val and_also(struct gen *g, val a, val b)
{
	return a && b ? g->L->BuildAnd(g->b, a, b, "") : a ? a : b;
}

/* Whether all pieces of [at, at + n) are clean: 1 for loads, 2 for stores. */
static val clean_at(struct gen *g, val clean, val at, uint32_t n, uint8_t how)
{
	val zero = gen_int(g, 0), want = gen_int(g, (int64_t)(how * UINT64_C(0x0101010101010101)));
	if (n > g->s->core.mem.bytes)
		return g->L->ConstInt(g->i1, 0, 0);
	val inside = g->L->BuildICmp(g->b, LLVMIntULE, at, gen_int(g, (int64_t)(g->s->core.mem.bytes - n)), "");
	val from = g->L->BuildSelect(g->b, inside, at, zero, "");
	val piece = gen_at(g, clean, g->L->BuildLShr(g->b, from, gen_int(g, 6), ""));
	val off = g->L->BuildAnd(g->b, from, gen_int(g, CLEAN_BYTES - 1), "");
	val pieces = g->L->BuildLShr(g->b, g->L->BuildAdd(g->b, off, gen_int(g, (int64_t)n + CLEAN_BYTES - 1), ""), gen_int(g, 6), "");
	uint32_t least = (n + CLEAN_BYTES - 1) / CLEAN_BYTES;
	val word;
	if (least < 8) { /* at most 8 pieces: one look */
		val used = g->L->BuildLShr(g->b, gen_int(g, -1), g->L->BuildSub(g->b, gen_int(g, 64), g->L->BuildShl(g->b, pieces, gen_int(g, 3), ""), ""), "");
		word = g->L->BuildLoad2(g->b, g->i64, piece, "");
		g->L->SetAlignment(word, 1);
		want = g->L->BuildAnd(g->b, want, used, "");
	} else {
		word = g->L->BuildLoad2(g->b, g->i64, gen_at(g, piece, g->L->BuildSub(g->b, pieces, gen_int(g, 8), "")), "");
		g->L->SetAlignment(word, 1);
		for (uint32_t k = 0; k < least / 8; k++) {
			val more = g->L->BuildLoad2(g->b, g->i64, gen_at(g, piece, gen_int(g, 8 * (int64_t)k)), "");
			g->L->SetAlignment(more, 1);
			word = g->L->BuildAnd(g->b, word, more, "");
		}
	}
	val hit = g->L->BuildICmp(g->b, LLVMIntEQ, g->L->BuildAnd(g->b, word, want, ""), want, "");
	return g->L->BuildAnd(g->b, inside, hit, "");
}

/* The look-up of a shape is a function of its own: there are few shapes. clean, base, step, block step -> i1. */
static val lookup_for(struct gen *g, const struct place *p, uint8_t how)
{
	char name[64];
	uint32_t n = p->row_bytes, rows = p->rows, in_block = p->n < rows ? p->n : rows;
	snprintf(name, sizeof name, "clean_%u_%u_%u_%u", rows, in_block, n, how);
	val fn = g->L->GetNamedFunction(g->m, name), all = NULL;
	if (fn)
		return fn;
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	fn = g->L->AddFunction(g->m, name, g->lookup_type);
	g->L->SetLinkage(fn, LLVMInternalLinkage);
	g->L->PositionBuilderAtEnd(g->b, g->L->AppendBasicBlockInContext(g->c, fn, ""));
	val base = g->L->GetParam(fn, 1), step = g->L->GetParam(fn, 2), block_step = g->L->GetParam(fn, 3);
	for (uint32_t r = 0; r < rows; r++) {
		val a = g->L->BuildMul(g->b, step, gen_int(g, r % in_block), ""), b = g->L->BuildMul(g->b, block_step, gen_int(g, r / in_block), "");
		val at = g->L->BuildAdd(g->b, base, g->L->BuildAdd(g->b, a, b, ""), "");
		all = and_also(g, all, clean_at(g, g->L->GetParam(fn, 0), at, n, how));
	}
	g->L->BuildRet(g->b, all);
	g->L->PositionBuilderAtEnd(g->b, here);
	return fn;
}

static val clean_place(struct gen *g, const struct place *p, uint8_t how)
{
	val args[4] = {g->clean, p->base, p->step, p->block_step};
	return g->L->BuildCall2(g->b, g->lookup_type, lookup_for(g, p, how), args, 4, "");
}

static bool accesses(const struct lane_op *o)
{
	return o->kind == LANE_LOAD || o->kind == LANE_VIEW || o->kind == LANE_STORE;
}

static val unless(struct gen *g, val pred, val ok)
{
	return pred ? g->L->BuildOr(g->b, ok, g->L->BuildNot(g->b, pred, ""), "") : ok;
}

static bool leaves_view(const struct lane_op *o)
{
	return o->kind == LANE_VIEW || o->lazy;
}

static val apart(struct gen *g, val a_lo, val a_hi, val b_lo, val b_hi)
{
	return g->L->BuildOr(g->b, g->L->BuildICmp(g->b, LLVMIntSGE, a_lo, b_hi, ""), g->L->BuildICmp(g->b, LLVMIntSGE, b_lo, a_hi, ""), "");
}

/* The same when it runs; NULL: not with these steps. */
static val runs_interleaved(struct gen *g, const struct place *a, const struct place *b)
{
	int64_t m = (int64_t)common_step(a, b);
	if (m < (int64_t)(a->row_bytes + b->row_bytes))
		return NULL;
	val step = gen_int(g, m), d = g->L->BuildSRem(g->b, g->L->BuildSub(g->b, b->base, a->base, ""), step, "");
	d = g->L->BuildSelect(g->b, g->L->BuildICmp(g->b, LLVMIntSLT, d, gen_int(g, 0), ""), g->L->BuildAdd(g->b, d, step, ""), d, "");
	val from = gen_int(g, a->row_bytes), end = gen_int(g, m - (int64_t)b->row_bytes);
	return g->L->BuildAnd(g->b, g->L->BuildICmp(g->b, LLVMIntSGE, d, from, ""), g->L->BuildICmp(g->b, LLVMIntSLE, d, end, ""), "");
}

static val pair_apart(struct gen *g, const struct lane_op *x, const struct lane_op *y)
{
	val x_lo = g->L->BuildAdd(g->b, x->at.base, gen_int(g, x->at.lo), ""), x_hi = g->L->BuildAdd(g->b, x->at.base, gen_int(g, x->at.hi), "");
	val y_lo = g->L->BuildAdd(g->b, y->at.base, gen_int(g, y->at.lo), ""), y_hi = g->L->BuildAdd(g->b, y->at.base, gen_int(g, y->at.hi), "");
	val ok = apart(g, x_lo, x_hi, y_lo, y_hi), between = runs_interleaved(g, &x->at, &y->at);
	if (between)
		ok = g->L->BuildOr(g->b, ok, between, "");
	if (same_shape(&x->at, &y->at) && !leaves_view(x) && !leaves_view(y))
		ok = g->L->BuildOr(g->b, ok, g->L->BuildICmp(g->b, LLVMIntEQ, x->at.base, y->at.base, ""), "");
	return unless(g, x->pred, unless(g, y->pred, ok));
}

/* Whether only the run can tell that two accesses are apart. */
static bool doubtful(struct gen *g, const struct lane_op *x, const struct lane_op *y)
{
	bool same;
	if (!accesses(x) || !accesses(y) || (x->kind != LANE_STORE && y->kind != LANE_STORE))
		return false;
	return !places_apart(g, &x->at, &y->at, &same) && !same;
}

static unsigned count_pairs(struct gen *g)
{
	struct segment *e = &g->seg;
	unsigned n = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		for (unsigned k = i + 1; k < e->n_op; k++)
			n += doubtful(g, &e->op[i], &e->op[k]);
	}
	return n;
}

static val all_pairs(struct gen *g)
{
	struct segment *e = &g->seg;
	val all = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		for (unsigned k = i + 1; k < e->n_op; k++) {
			if (doubtful(g, &e->op[i], &e->op[k]))
				all = and_also(g, all, pair_apart(g, &e->op[i], &e->op[k]));
		}
	}
	return all;
}

/* Accesses with one root, stores or others: the box around them. */
struct box {
	int root;
	bool store;
	val root_at;
	int64_t lo, hi;
};

static unsigned find_boxes(struct gen *g, struct box *box)
{
	struct segment *e = &g->seg;
	unsigned n = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		const struct place *p = &o->at;
		if (!accesses(o) || !p->fixed)
			continue;
		unsigned k = 0;
		while (k < n && (box[k].root != p->root || box[k].store != (o->kind == LANE_STORE)))
			k++;
		if (k == n)
			box[n++] = (struct box){p->root, o->kind == LANE_STORE, g->L->BuildSub(g->b, p->base, gen_int(g, p->off), ""), p->off + p->lo, p->off + p->hi};
		box[k].lo = box[k].lo < p->off + p->lo ? box[k].lo : p->off + p->lo;
		box[k].hi = box[k].hi > p->off + p->hi ? box[k].hi : p->off + p->hi;
	}
	return n;
}

/* The usual case with many pairs: stores lie far from everything else. */
static val boxes_apart(struct gen *g)
{
	struct box box[MAX_LANE_OPS];
	unsigned n = find_boxes(g, box);
	val all = NULL, lo[MAX_LANE_OPS], hi[MAX_LANE_OPS];
	for (unsigned i = 0; i < n; i++) {
		lo[i] = g->L->BuildAdd(g->b, box[i].root_at, gen_int(g, box[i].lo), "");
		hi[i] = g->L->BuildAdd(g->b, box[i].root_at, gen_int(g, box[i].hi), "");
	}
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = i + 1; k < n; k++) {
			if (box[i].root != box[k].root && (box[i].store || box[k].store))
				all = and_also(g, all, apart(g, lo[i], hi[i], lo[k], hi[k]));
		}
	}
	return all;
}

/* Leaves unless all accesses may be in one loop. */
static void check_pairs(struct gen *g, LLVMBasicBlockRef leave)
{
	unsigned n = count_pairs(g);
	if (!n)
		return;
	LLVMBasicBlockRef go_on = gen_label(g);
	if (n > 3) {
		LLVMBasicBlockRef closer = gen_label(g);
		g->L->BuildCondBr(g->b, boxes_apart(g), go_on, closer);
		g->L->PositionBuilderAtEnd(g->b, closer);
	}
	g->L->BuildCondBr(g->b, all_pairs(g), go_on, leave);
	g->L->PositionBuilderAtEnd(g->b, go_on);
}

/* Asks whether the access may be, or notes that it was. */
static val touch(struct gen *g, const struct lane_op *o, bool written)
{
	const struct place *p = &o->at;
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	val shape = gen_shape(g, p, p->bytes);
	shape = o->pred ? g->L->BuildSelect(g->b, o->pred, shape, gen_int(g, 0), "") : shape;
	val args[5] = {g->sim, p->base, p->step, p->block_step, shape};
	val masked[6] = {g->sim, p->base, p->step, p->block_step, shape, gen_int(g, (int64_t)(p->mask | p->bytes << 8))};
	if (written)
		return p->mask ? CALL(g, wrote_masked, none, masked) : CALL(g, wrote, none, args);
	if (o->kind == LANE_STORE)
		return p->mask ? CALL(g, may_write_masked, g->i64, masked) : CALL(g, may_write, g->i64, args);
	return p->mask ? CALL(g, may_read_masked, g->i64, masked) : CALL(g, may_read, g->i64, args);
}

static void exact(struct gen *g, const struct lane_op *o, LLVMBasicBlockRef leave)
{
	LLVMBasicBlockRef go_on = gen_label(g);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntNE, touch(g, o, false), gen_int(g, 0), ""), go_on, leave);
	g->L->PositionBuilderAtEnd(g->b, go_on);
}

/* ---- stretches ---- */

/* Of an access whose extent only the run knows every row is looked at. */
static bool looked_at(const struct lane_op *o)
{
	return accesses(o) && !o->at.extent;
}

#define NEAR 2048         /* bytes between accesses that are asked about together */
#define MAX_STRETCH 65536
#define MAX_ALONE 16384   /* of one access: rows that lie further apart are looked at one by one, not what lies between them */

static bool near_to(const struct stretch *t, const struct lane_op *o)
{
	const struct place *p = &o->at;
	int64_t lo = p->off + p->lo, hi = p->off + p->hi;
	if (t->root != p->root || t->store != (o->kind == LANE_STORE) || t->pred != o->pred || lo > t->hi + NEAR || hi < t->lo - NEAR)
		return false;
	return (hi > t->hi ? hi : t->hi) - (lo < t->lo ? lo : t->lo) <= MAX_STRETCH;
}

static void find_stretches(struct gen *g)
{
	struct segment *e = &g->seg;
	struct stretch *t = g->stretch;
	bool large = large_registers(g->s);
	g->n_stretch = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		const struct place *p = &o->at;
		unsigned k = 0;
		g->stretch_of[i] = NO_STRETCH;
		if (large || !looked_at(o) || !p->fixed || p->hi - p->lo > MAX_ALONE)
			continue;
		while (k < g->n_stretch && !near_to(&t[k], o))
			k++;
		if (k == g->n_stretch) {
			t[k] = (struct stretch){.root = p->root, .store = o->kind == LANE_STORE, .pred = o->pred, .lo = p->off + p->lo, .hi = p->off + p->hi};
			t[k].root_at = g->L->BuildSub(g->b, p->base, gen_int(g, p->off), "");
			t[k].proof = 2 * (uint64_t)(o->u - g->s->uops);
			g->n_stretch++;
		}
		t[k].lo = t[k].lo < p->off + p->lo ? t[k].lo : p->off + p->lo;
		t[k].hi = t[k].hi > p->off + p->hi ? t[k].hi : p->off + p->hi;
		g->stretch_of[i] = (uint8_t)k;
	}
	for (unsigned k = 0; k < g->n_stretch; k++)
		t[k].at = g->L->BuildAdd(g->b, t[k].root_at, gen_int(g, t[k].lo), "");
}

/* Whether the proof covers the stretch now. */
static val proven(struct gen *g, const struct stretch *t, uint64_t proof)
{
	val p = gen_at(g, gen_field(g, g->ptr, FIELD(jit.proofs)), gen_int(g, (int64_t)(proof * sizeof(struct tg_proof))));
	val from = g->L->BuildLoad2(g->b, g->i64, gen_at(g, p, gen_int(g, offsetof(struct tg_proof, at))), "");
	val room = g->L->BuildLoad2(g->b, g->i64, gen_at(g, p, gen_int(g, offsetof(struct tg_proof, room))), "");
	return unless(g, t->pred, g->L->BuildICmp(g->b, LLVMIntULT, g->L->BuildSub(g->b, t->at, from, ""), room, ""));
}

static val prove(struct gen *g, const struct stretch *t, uint64_t proof, uint8_t how)
{
	val args[5] = {g->sim, gen_int(g, (int64_t)proof), t->at, gen_int(g, t->hi - t->lo), gen_int(g, how)};
	return unless(g, t->pred, g->L->BuildICmp(g->b, LLVMIntNE, CALL(g, prove, g->i64, args), gen_int(g, 0), ""));
}

/* Where a stretch is not all right, its accesses are looked at one by one. */
static void look_at(struct gen *g, unsigned number, val ok, LLVMBasicBlockRef leave)
{
	struct segment *e = &g->seg;
	LLVMBasicBlockRef closer = gen_label(g), past = gen_label(g);
	g->L->BuildCondBr(g->b, ok, past, closer);
	g->L->PositionBuilderAtEnd(g->b, closer);
	for (unsigned i = 0; i < e->n_op; i++) {
		if (looked_at(&e->op[i]) && g->stretch_of[i] == number)
			exact(g, &e->op[i], leave);
	}
	gen_go_to(g, past);
}

static val other_clean(struct gen *g)
{
	struct segment *e = &g->seg;
	val all = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (looked_at(o) && g->stretch_of[i] == NO_STRETCH)
			all = and_also(g, all, unless(g, o->pred, clean_place(g, &o->at, o->kind == LANE_STORE ? CLEAN_WRITE : CLEAN_READ)));
	}
	return all;
}

/* All stores go where everything is written already; NULL: there are none. */
static val nothing_to_note(struct gen *g, val others)
{
	val all = g->seg.stores ? others : NULL;
	for (unsigned k = 0; k < g->n_stretch; k++) {
		if (g->stretch[k].store)
			all = and_also(g, all, proven(g, &g->stretch[k], g->stretch[k].proof + 1));
	}
	return all;
}

val gen_checks(struct gen *g, LLVMBasicBlockRef leave)
{
	check_pairs(g, leave);
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		if (accesses(&g->seg.op[i]) && g->seg.op[i].at.extent)
			exact(g, &g->seg.op[i], leave);
	}
	find_stretches(g);
	val others = other_clean(g), fast = others;
	for (unsigned k = 0; k < g->n_stretch; k++)
		fast = and_also(g, fast, proven(g, &g->stretch[k], g->stretch[k].proof));
	if (!fast)
		return NULL;
	val noted = nothing_to_note(g, others);
	LLVMBasicBlockRef slow = gen_label(g), ready = gen_label(g);
	g->L->BuildCondBr(g->b, fast, ready, slow);
	g->L->PositionBuilderAtEnd(g->b, slow);
	for (unsigned k = 0; k < g->n_stretch; k++)
		look_at(g, k, prove(g, &g->stretch[k], g->stretch[k].proof, g->stretch[k].store ? CLEAN_ROOM : CLEAN_READ), leave);
	if (others)
		look_at(g, NO_STRETCH, others, leave);
	gen_go_to(g, ready);
	return noted ? g->L->BuildNot(g->b, noted, "") : NULL;
}

static void note_stretch(struct gen *g, unsigned number)
{
	LLVMBasicBlockRef past = NULL;
	if (number != NO_STRETCH)
		past = gen_around(g, g->L->BuildNot(g->b, prove(g, &g->stretch[number], g->stretch[number].proof + 1, CLEAN_WRITE), ""));
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		if (g->seg.op[i].kind == LANE_STORE && g->stretch_of[i] == number)
			touch(g, &g->seg.op[i], true);
	}
	gen_meet(g, past);
}

void gen_note_stores(struct gen *g, val unsure)
{
	if (!unsure)
		return;
	LLVMBasicBlockRef past = gen_around(g, unsure);
	for (unsigned k = 0; k < g->n_stretch; k++) {
		if (g->stretch[k].store)
			note_stretch(g, k);
	}
	note_stretch(g, NO_STRETCH);
	gen_meet(g, past);
}
#else
typedef int jit_check_is_empty;
#endif
