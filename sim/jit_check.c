/* jit_check.c: what is asked before a segment's accesses: that their bytes may be touched.
 *
 * Accesses that lie near each other are asked about as one stretch of bytes. What is found out about a stretch and the bytes around is kept
 * (struct tg_proof of core.h) until a transfer or a birth makes it doubtful, so a loop asks once, and then compares. Accesses of which the steps
 * are not known beforehand are looked up in the map of clean pieces of SRAM. Where the answer is no, every access is looked at exactly. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

val gen_and(struct gen *g, val a, val b)
{
	return a && b ? g->L->BuildAnd(g->b, a, b, "") : a ? a : b;
}

#define REDUCE "llvm.vector.reduce.and"

static val look(struct gen *g, LLVMTypeRef type, val at)
{
	val v = g->L->BuildLoad2(g->b, type, at, "");
	g->L->SetAlignment(v, 1);
	return v;
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
		/* words of 8 pieces, or of 32, one behind the other, and the last ones */
		uint32_t together = least < 32 ? 8 : 32;
		LLVMTypeRef type = together == 8 ? g->i64 : g->L->VectorType(g->i64, 4);
		word = look(g, type, gen_at(g, piece, g->L->BuildSub(g->b, pieces, gen_int(g, together), "")));
		for (uint32_t k = 0; k < least / together; k++)
			word = g->L->BuildAnd(g->b, word, look(g, type, gen_at(g, piece, gen_int(g, (int64_t)together * k))), "");
		if (together > 8)
			word = g->L->BuildCall2(g->b, g->L->FunctionType(g->i64, &type, 1, 0), g->L->GetIntrinsicDeclaration(g->m, g->L->LookupIntrinsicID(REDUCE, sizeof REDUCE - 1), &type, 1), &word, 1, "");
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
		all = gen_and(g, all, clean_at(g, g->L->GetParam(fn, 0), at, n, how));
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

bool gen_accesses(const struct lane_op *o)
{
	return o->kind == LANE_LOAD || o->kind == LANE_VIEW || o->kind == LANE_STORE;
}

val gen_unless(struct gen *g, val pred, val ok)
{
	return pred ? g->L->BuildOr(g->b, ok, g->L->BuildNot(g->b, pred, ""), "") : ok;
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
	return gen_accesses(o) && !o->at.extent;
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
			t[k].proof = 2 * (uint64_t)o->insn;
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
	return gen_unless(g, t->pred, g->L->BuildICmp(g->b, LLVMIntULT, g->L->BuildSub(g->b, t->at, from, ""), room, ""));
}

static val prove(struct gen *g, const struct stretch *t, uint64_t proof, uint8_t how)
{
	val args[5] = {g->sim, gen_int(g, (int64_t)proof), t->at, gen_int(g, t->hi - t->lo), gen_int(g, how)};
	return gen_unless(g, t->pred, g->L->BuildICmp(g->b, LLVMIntNE, CALL(g, prove, g->i64, args), gen_int(g, 0), ""));
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

/* ---- crowds ----
 * Accesses with one root and predicate that are cheaper to look up together: as rows that reach over theirs, where their rows lie alike, or as all the bytes from the first
 * to the last. Bytes between them may be unclean; then each is looked up. */

struct crowd {
	struct place all; /* its base is not set */
	int64_t lo, hi;   /* from the root */
	bool store;
	val pred, root_at;
	unsigned n;
	unsigned first;   /* member */
};

/* Roughly the host's instructions for a look at this many rows. */
static uint64_t cost_of_look(uint64_t rows, uint64_t row_bytes)
{
	uint64_t pieces = row_bytes / CLEAN_BYTES;
	return rows * (10 + (pieces < 32 ? pieces / 4 : 4 + pieces / 16));
}

static uint64_t cost_of_place(const struct place *p)
{
	return cost_of_look(p->rows, p->row_bytes);
}

static struct place all_bytes(int64_t lo, int64_t hi)
{
	return (struct place){.fixed = true, .off = lo, .rows = 1, .n = 1, .row_bytes = (uint32_t)(hi - lo)};
}

#define MAX_CROWD 65536 /* bytes */

/* The cheapest way to look at both; false: there is none. */
static bool both(const struct crowd *c, const struct crowd *d, struct place *out)
{
	int64_t lo = c->lo < d->lo ? c->lo : d->lo, hi = c->hi > d->hi ? c->hi : d->hi;
	const struct place *p = &c->all, *q = &d->all;
	bool found = false;
	if (hi - lo <= MAX_CROWD) {
		*out = all_bytes(lo, hi);
		found = true;
	}
	if (p->rows == q->rows && p->n == q->n && p->s == q->s && p->t == q->t) {
		struct place rows = *p;
		int64_t end = p->off + p->row_bytes > q->off + q->row_bytes ? p->off + p->row_bytes : q->off + q->row_bytes;
		rows.off = p->off < q->off ? p->off : q->off;
		if (end - rows.off > MAX_CROWD)
			return found;
		rows.row_bytes = (uint32_t)(end - rows.off);
		if (!found || cost_of_place(&rows) < cost_of_place(out))
			*out = rows;
		found = true;
	}
	return found;
}

static struct crowd crowd_of(struct gen *g, unsigned i)
{
	const struct lane_op *o = &g->seg.op[i];
	const struct place *p = &o->at;
	struct crowd c = {.all = *p, .lo = p->off + p->lo, .hi = p->off + p->hi, .store = o->kind == LANE_STORE, .pred = o->pred, .n = 1, .first = i};
	struct place whole = all_bytes(c.lo, c.hi);
	c.root_at = g->L->BuildSub(g->b, p->base, gen_int(g, p->off), "");
	if (c.hi - c.lo <= MAX_CROWD && cost_of_place(&whole) < cost_of_place(p))
		c.all = whole;
	return c;
}

/* Members of crowd k have number k in `of`. */
static unsigned find_crowds(struct gen *g, struct crowd *c, uint8_t *of)
{
	struct segment *e = &g->seg;
	unsigned n = 0;
	for (unsigned i = 0; i < e->n_op; i++) {
		of[i] = NO_STRETCH;
		if (!looked_at(&e->op[i]) || g->stretch_of[i] != NO_STRETCH || !e->op[i].at.fixed)
			continue;
		struct crowd own = crowd_of(g, i);
		unsigned k = 0;
		for (; k < n; k++) {
			struct place together;
			if (e->op[c[k].first].at.root == e->op[i].at.root && c[k].store == own.store && c[k].pred == own.pred && both(&c[k], &own, &together) &&
			    cost_of_place(&together) < cost_of_place(&c[k].all) + cost_of_place(&own.all)) {
				c[k].all = together;
				c[k].lo = c[k].lo < own.lo ? c[k].lo : own.lo;
				c[k].hi = c[k].hi > own.hi ? c[k].hi : own.hi;
				c[k].n++;
				break;
			}
		}
		if (k == n)
			c[n++] = own;
		of[i] = (uint8_t)k;
	}
	return n;
}

static val members_clean(struct gen *g, const uint8_t *of, unsigned number)
{
	struct segment *e = &g->seg;
	val all = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (looked_at(o) && g->stretch_of[i] == NO_STRETCH && of[i] == number)
			all = gen_and(g, all, gen_unless(g, o->pred, clean_place(g, &o->at, o->kind == LANE_STORE ? CLEAN_WRITE : CLEAN_READ)));
	}
	return all;
}

static val crowd_clean(struct gen *g, struct crowd *c, const uint8_t *of, unsigned number)
{
	const struct place *p = &g->seg.op[c->first].at;
	if (c->n == 1 && c->all.rows == p->rows)
		return members_clean(g, of, number);
	c->all.base = g->L->BuildAdd(g->b, c->root_at, gen_int(g, c->all.off), "");
	c->all.step = gen_int(g, c->all.s);
	c->all.block_step = gen_int(g, c->all.t);
	val ok = gen_unless(g, c->pred, clean_place(g, &c->all, c->store ? CLEAN_WRITE : CLEAN_READ));
	LLVMBasicBlockRef before = g->L->GetInsertBlock(g->b), closer = gen_label(g), past = gen_label(g);
	g->L->BuildCondBr(g->b, ok, past, closer);
	g->L->PositionBuilderAtEnd(g->b, closer);
	val each = members_clean(g, of, number);
	LLVMBasicBlockRef end = g->L->GetInsertBlock(g->b);
	gen_go_to(g, past);
	val phi = g->L->BuildPhi(g->b, g->i1, ""), in[2] = {g->L->ConstInt(g->i1, 1, 0), each};
	LLVMBasicBlockRef from[2] = {before, end};
	g->L->AddIncoming(phi, in, from, 2);
	return phi;
}

/* Whether all accesses that are in no stretch go where everything is clean. */
static val other_clean(struct gen *g)
{
	struct crowd c[MAX_LANE_OPS];
	uint8_t of[MAX_LANE_OPS] = {0};
	unsigned n = find_crowds(g, c, of);
	val all = members_clean(g, of, NO_STRETCH);
	for (unsigned k = 0; k < n; k++)
		all = gen_and(g, all, crowd_clean(g, &c[k], of, k));
	return all;
}

/* All stores go where everything is written already; NULL: there are none. */
static val nothing_to_note(struct gen *g, val others)
{
	val all = g->seg.stores ? others : NULL;
	for (unsigned k = 0; k < g->n_stretch; k++) {
		if (g->stretch[k].store)
			all = gen_and(g, all, proven(g, &g->stretch[k], g->stretch[k].proof + 1));
	}
	return all;
}

val gen_checks(struct gen *g, LLVMBasicBlockRef leave)
{
	gen_check_pairs(g, leave);
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		if (gen_accesses(&g->seg.op[i]) && g->seg.op[i].at.extent)
			exact(g, &g->seg.op[i], leave);
	}
	find_stretches(g);
	val others = other_clean(g), fast = others;
	for (unsigned k = 0; k < g->n_stretch; k++)
		fast = gen_and(g, fast, proven(g, &g->stretch[k], g->stretch[k].proof));
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
