/* jit_gen.c: a block's code, segment by segment: which bundles may go together, scalars, calls, clocks, and where the block goes on.
 *
 * Scalar values are known (as LLVM values) at a segment's start for all its bundles, because nothing in a segment but scalar instructions
 * changes them; a load or lane extract into a scalar register ends its segment. At a segment's start all registers stand in struct tg_sim. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#define FIELD(path) offsetof(struct tg_sim, path)

/* ---- small things ---- */

val gen_int(struct gen *g, int64_t v)
{
	return g->L->ConstInt(g->i64, (unsigned long long)v, 1);
}

val gen_at(struct gen *g, val base, val bytes)
{
	return g->L->BuildGEP2(g->b, g->i8, base, &bytes, 1, "");
}

static val field_at(struct gen *g, size_t offset)
{
	return gen_at(g, g->sim, gen_int(g, (int64_t)offset));
}

val gen_field(struct gen *g, LLVMTypeRef type, size_t offset)
{
	return g->L->BuildLoad2(g->b, type, field_at(g, offset), "");
}

static void set_field(struct gen *g, size_t offset, val v)
{
	g->L->BuildStore(g->b, v, field_at(g, offset));
}

static void add_field(struct gen *g, size_t offset, uint64_t by)
{
	if (by)
		set_field(g, offset, g->L->BuildAdd(g->b, gen_field(g, g->i64, offset), gen_int(g, (int64_t)by), ""));
}

/* base[index] += by, base a pointer field */
static void add_item(struct gen *g, size_t base, uint64_t byte, val by)
{
	val p = gen_at(g, gen_field(g, g->ptr, base), gen_int(g, (int64_t)byte));
	g->L->BuildStore(g->b, g->L->BuildAdd(g->b, g->L->BuildLoad2(g->b, g->i64, p, ""), by, ""), p);
}

bool gen_constant(struct gen *g, val v, int64_t *out)
{
	if (!g->L->IsAConstantInt(v))
		return false;
	*out = g->L->ConstIntGetSExtValue(v);
	return true;
}

LLVMBasicBlockRef gen_label(struct gen *g)
{
	return g->L->AppendBasicBlockInContext(g->c, g->fn, "");
}

void gen_go_to(struct gen *g, LLVMBasicBlockRef label)
{
	g->L->BuildBr(g->b, label);
	g->L->PositionBuilderAtEnd(g->b, label);
}

val gen_call(struct gen *g, size_t which, LLVMTypeRef result, val *args, size_t n)
{
	LLVMTypeRef in[8];
	for (size_t i = 0; i < n; i++)
		in[i] = i == 0 ? g->ptr : g->i64;
	val f = g->L->BuildLoad2(g->b, g->ptr, gen_at(g, g->calls, gen_int(g, (int64_t)which)), "");
	return g->L->BuildCall2(g->b, g->L->FunctionType(result, in, (unsigned)n, 0), f, args, (unsigned)n, "");
}

static void give_back(struct gen *g, uint64_t bundle, uint64_t how)
{
	g->L->BuildRet(g->b, gen_int(g, (int64_t)(bundle | how)));
}

/* ---- scalar registers ---- */

static val s_reg(struct gen *g, int64_t r)
{
	if (r == 0)
		return gen_int(g, 0);
	if (!g->sreg[r]) {
		bool known = g->block->known >> r & 1;
		g->sreg[r] = known ? gen_int(g, g->block->s[r]) : gen_field(g, g->i64, FIELD(core.s) + (size_t)r * 8);
		g->sym[r] = known ? (struct symbol){ROOT_CONST, g->block->s[r]} : (struct symbol){(int)r, 0};
	}
	return g->sreg[r];
}

static struct symbol symbol_of(struct gen *g, int64_t r)
{
	if (r == 0)
		return (struct symbol){ROOT_CONST, 0};
	s_reg(g, r);
	return g->sym[r];
}

static val p_reg(struct gen *g, int64_t r)
{
	if (r == 0)
		return g->L->ConstInt(g->i1, 1, 0);
	if (!g->preg[r])
		g->preg[r] = g->L->BuildICmp(g->b, LLVMIntNE, gen_field(g, g->i8, FIELD(core.p) + (size_t)r), g->L->ConstInt(g->i8, 0, 0), "");
	return g->preg[r];
}

static val pred_of(struct gen *g, const struct uop *u)
{
	return u->in.pred ? p_reg(g, u->in.pred) : NULL;
}

struct scalar_landing {
	uint8_t reg;
	val v;
	struct symbol sym;
};

static val scalar_value(struct gen *g, const struct tg_insn *in, struct symbol *sym)
{
	const struct llvm_api *L = g->L;
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	bool immediate = info->n_fields > 2 && info->field[2].kind == TG_FIELD_I;
	val a = in->op == TG_I_smov ? NULL : s_reg(g, in->f[1]), b = in->op == TG_I_smov ? NULL : immediate ? gen_int(g, in->f[2]) : s_reg(g, in->f[2]);
	val shift = b ? L->BuildAnd(g->b, b, gen_int(g, 63), "") : NULL, out;
	int64_t c;
	switch (in->op) {
	case TG_I_smov:
		out = gen_int(g, in->f[1]);
		break;
	case TG_I_sadd:
	case TG_I_saddi:
		out = L->BuildAdd(g->b, a, b, "");
		if (gen_constant(g, b, &c)) {
			*sym = symbol_of(g, in->f[1]);
			sym->off = (int64_t)((uint64_t)sym->off + (uint64_t)c);
		}
		break;
	case TG_I_ssub:
		out = L->BuildSub(g->b, a, b, "");
		break;
	case TG_I_smul:
	case TG_I_smuli:
		out = L->BuildMul(g->b, a, b, "");
		break;
	case TG_I_sand:
	case TG_I_sandi:
		out = L->BuildAnd(g->b, a, b, "");
		break;
	case TG_I_sor:
	case TG_I_sori:
		out = L->BuildOr(g->b, a, b, "");
		break;
	case TG_I_sxor:
		out = L->BuildXor(g->b, a, b, "");
		break;
	case TG_I_sshl:
	case TG_I_sshli:
		out = L->BuildShl(g->b, a, shift, "");
		break;
	case TG_I_sshr:
	case TG_I_sshri:
		out = L->BuildLShr(g->b, a, shift, "");
		break;
	case TG_I_ssar:
	case TG_I_ssari:
		out = L->BuildAShr(g->b, a, shift, "");
		break;
	case TG_I_smin:
	case TG_I_smini:
		out = L->BuildSelect(g->b, L->BuildICmp(g->b, LLVMIntSLT, a, b, ""), a, b, "");
		break;
	default: /* smax, smaxi */
		out = L->BuildSelect(g->b, L->BuildICmp(g->b, LLVMIntSLT, a, b, ""), b, a, "");
		break;
	}
	if (gen_constant(g, out, &c))
		*sym = (struct symbol){ROOT_CONST, c};
	return out;
}

static val flag_value(struct gen *g, const struct uop *u)
{
	const struct loop_ctx *inside = &g->s->jit.blocks->ctx[g->block->ctx];
	size_t at = FIELD(loops) + (size_t)(inside->depth - 1 - (uint32_t)u->in.f[1]) * sizeof(struct loop);
	val index = gen_field(g, g->i64, at + offsetof(struct loop, index));
	if (u->in.op == TG_I_pfirst)
		return g->L->BuildICmp(g->b, LLVMIntEQ, index, gen_int(g, 0), "");
	val count = gen_field(g, g->i64, at + offsetof(struct loop, count));
	return g->L->BuildICmp(g->b, LLVMIntEQ, index, g->L->BuildSub(g->b, count, gen_int(g, 1), ""), "");
}

static val predicate_value(struct gen *g, const struct uop *u)
{
	static const LLVMIntPredicate how[] = {LLVMIntEQ, LLVMIntNE, LLVMIntSLT, LLVMIntSLE};
	const struct tg_insn *in = &u->in;
	if (u->slot == TG_SLOT_C)
		return flag_value(g, u);
	if (in->op >= TG_I_peq && in->op <= TG_I_ple)
		return g->L->BuildICmp(g->b, how[in->op - TG_I_peq], s_reg(g, in->f[1]), s_reg(g, in->f[2]), "");
	if (in->op >= TG_I_peqi && in->op <= TG_I_plei)
		return g->L->BuildICmp(g->b, how[in->op - TG_I_peqi], s_reg(g, in->f[1]), gen_int(g, in->f[2]), "");
	val a = p_reg(g, in->f[1]), b = p_reg(g, in->f[2]);
	if (in->op == TG_I_pand)
		return g->L->BuildAnd(g->b, a, b, "");
	return in->op == TG_I_por ? g->L->BuildOr(g->b, a, b, "") : g->L->BuildXor(g->b, a, b, "");
}

static void land_scalar(struct gen *g, const struct scalar_landing *l)
{
	if (l->reg < REG_V && l->reg != REG_S) {
		g->sreg[l->reg] = l->v;
		g->sym[l->reg] = l->sym;
		g->s_dirty[l->reg] = true;
	} else if (l->reg > REG_P) {
		g->preg[l->reg - REG_P] = l->v;
		g->p_dirty[l->reg - REG_P] = true;
	}
}

static struct symbol fresh(struct gen *g)
{
	return (struct symbol){g->n_roots++, 0};
}

/* A predicated result leaves the old value where it is false. */
static void mix_old(struct gen *g, val pred, struct scalar_landing *l)
{
	if (!pred)
		return;
	l->v = g->L->BuildSelect(g->b, pred, l->v, l->reg < REG_V ? s_reg(g, l->reg) : p_reg(g, l->reg - REG_P), "");
	l->sym = fresh(g);
}

/* ---- what an instruction is to the translator ---- */

static bool vector_place(struct gen *g, const struct uop *u, struct place *p)
{
	const struct tg_insn *in = &u->in;
	bool store = u->slot == TG_SLOT_W;
	unsigned bytes = store ? lanes_store_bytes(in->op) : lanes_load_bytes(in->op);
	int64_t extent, k = store ? in->f[7] : in->f[8];
	if (!bytes || !gen_constant(g, s_reg(g, in->f[5]), &extent) || ((store || in->f[6]) && !k))
		return false;
	struct tg_extent x = extent_of(&g->s->core, extent);
	struct symbol sym = symbol_of(g, in->f[1]);
	*p = (struct place){.root = sym.root, .off = (int64_t)((uint64_t)sym.off + (uint64_t)in->f[2]), .rows = x.rows, .lanes = x.lanes, .n = x.n, .bytes = bytes, .spread = !k, .mask = (unsigned)in->f[6]};
	p->row_bytes = p->spread ? bytes : x.lanes * bytes;
	p->base = g->L->BuildAdd(g->b, s_reg(g, in->f[1]), gen_int(g, in->f[2]), "");
	p->step = s_reg(g, in->f[3]);
	p->block_step = s_reg(g, in->f[4]);
	uint32_t in_block = p->n < p->rows ? p->n : p->rows, blocks = (p->rows - 1) / p->n;
	const int64_t far = INT64_C(1) << 40;
	p->fixed = (in_block == 1 || gen_constant(g, p->step, &p->s)) && (blocks == 0 || gen_constant(g, p->block_step, &p->t));
	p->fixed = p->fixed && p->s < far && p->s > -far && p->t < far && p->t > -far && p->off < far && p->off > -far;
	if (p->fixed) {
		int64_t a = p->s * (in_block - 1), b = p->t * blocks;
		p->lo = (a < 0 ? a : 0) + (b < 0 ? b : 0);
		p->hi = (a > 0 ? a : 0) + (b > 0 ? b : 0) + (int64_t)p->row_bytes;
	}
	return true;
}

/* The number that an instruction's register and immediate give (array_place of matrix_rules.h). */
static val array_number(struct gen *g, const struct tg_insn *in)
{
	return g->L->BuildAdd(g->b, s_reg(g, in->f[2]), gen_int(g, in->f[3]), "");
}

/* Accumulator rows are read like memory: base counts from the array's first row. */
static void rows_place(struct gen *g, const struct uop *u, struct place *p)
{
	const struct tg_core *c = &g->s->core;
	uint32_t row_bytes = c->stride * 4;
	*p = (struct place){.rows = (uint32_t)u->in.f[4], .n = c->rows, .lanes = c->chip->array_cols, .bytes = 4, .row_bytes = row_bytes, .block_step = gen_int(g, 0)};
	p->step = gen_int(g, row_bytes);
	p->base = g->L->BuildMul(g->b, array_number(g, &u->in), p->step, "");
}

#define VIEW_BYTES 1024 /* smaller registers are copied in less time than it takes to remember where their lanes are */
#define VIEW_AHEAD 512  /* bundles in which the readers are looked for */

static bool has_views(const struct gen *g)
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
		for (uint32_t i = d->first_uop; i < d->first_uop + d->n_uops; i++) {
			const struct uop *u = &s->uops[i];
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
	return has_views(g) && (u->in.op == TG_I_vld_f32 || u->in.op == TG_I_vld_i32) && !u->in.pred && p->fixed && !p->mask && (whole || u->in.f[7] == 0);
}

static bool view_works(struct gen *g, const struct uop *u, const struct place *p)
{
	return plain_load(g, u, p) && !p->spread && readers_after(g, u->writes[0], g->at_bundle + 1) == READ_BY_ARRAY;
}

static enum role role_of(struct gen *g, const struct uop *u, struct place *p)
{
	switch (u->slot) {
	case TG_SLOT_S:
		if (u->in.op == TG_I_sld32 || u->in.op == TG_I_sld64)
			return R_PURE_SCALAR;
		return u->result == 'p' ? R_FLAG : R_SCALAR;
	case TG_SLOT_V:
	case TG_SLOT_E:
		return lanes_has(u->in.op) ? R_LANE : R_PURE;
	case TG_SLOT_X:
		if (u->in.op == TG_I_xtw)
			return R_ACT;
		if (u->in.op == TG_I_xget)
			return R_PURE_SCALAR;
		return lanes_has(u->in.op) ? R_LANE : R_PURE;
	case TG_SLOT_L:
		return !vector_place(g, u, p) ? R_PURE : view_works(g, u, p) ? R_VIEW : R_LOAD;
	case TG_SLOT_W:
		if (vector_place(g, u, p))
			return R_STORE;
		return u->in.f[6] == 0 && jit_store_bytes(u->in.op) ? R_LATE_STORE : R_NO;
	case TG_SLOT_P:
	case TG_SLOT_M:
		return R_MATRIX;
	case TG_SLOT_R:
		rows_place(g, u, p);
		return R_ROWS;
	case TG_SLOT_C:
		if (u->in.op == TG_I_pfirst || u->in.op == TG_I_plast)
			return g->block->ctx >= 0 && u->in.f[1] < g->s->jit.blocks->ctx[g->block->ctx].depth ? R_FLAG : R_NO;
		return R_CONTROL;
	default:
		return R_NO;
	}
}

static bool reads_dirty(const struct segment *e, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		unsigned r = u->reads[i];
		if ((r >= REG_V && r < REG_M && (e->dirty_v >> (r - REG_V) & 1)) || (r >= REG_M && r < REG_P && (e->dirty_m >> (r - REG_M) & 1)))
			return true;
	}
	return false;
}

static bool add_split(uint32_t *at, unsigned *n, uint32_t v, uint32_t all)
{
	unsigned i = 0;
	while (i < *n && at[i] < v)
		i++;
	if (v >= all || (i < *n && at[i] == v))
		return true;
	if (*n == MAX_RANGES)
		return false;
	memmove(at + i + 1, at + i, (*n - i) * sizeof *at);
	at[i] = v;
	++*n;
	return true;
}

static bool split_for(struct gen *g, struct bundle_plan *b, const struct place *p)
{
	uint32_t low = p->lanes / STRIP * STRIP, high = (p->lanes + STRIP - 1) / STRIP * STRIP;
	return add_split(b->rows, &b->n_rows, p->rows, g->s->core.rows) && add_split(b->lanes, &b->n_lanes, low, g->s->core.lanes) &&
	       add_split(b->lanes, &b->n_lanes, high, g->s->core.lanes);
}

/* Whether two accesses, one of them a store, may be in one loop: known to be apart, lane upon lane (not where a view stays), or checked when it runs. */
static bool together(struct gen *g, const struct place *a, const struct place *b, bool view)
{
	bool same;
	if (places_apart(g, a, b, &same))
		return true;
	if (same)
		return !view;
	return a->fixed && b->fixed && a->root != b->root;
}

static bool fits_accesses(struct gen *g, const struct bundle_plan *b, unsigned n, unsigned at)
{
	bool store = b->of[at].role == R_STORE, view = b->of[at].role == R_VIEW;
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		const struct lane_op *o = &g->seg.op[i];
		if (o->kind == LANE_STORE || (store && (o->kind == LANE_LOAD || o->kind == LANE_VIEW))) {
			if (!together(g, &o->at, &b->of[at].at, view || o->kind == LANE_VIEW))
				return false;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		enum role role = b->of[i].role;
		bool other = role == R_STORE || (store && (role == R_LOAD || role == R_VIEW));
		if (i != at && other && !together(g, &b->of[i].at, &b->of[at].at, view || role == R_VIEW))
			return false;
	}
	return true;
}

static void plan_bundle(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	unsigned late = 0, stores = 0;
	memcpy(b->rows, g->seg.rows, sizeof b->rows);
	memcpy(b->lanes, g->seg.lanes, sizeof b->lanes);
	b->n_rows = g->seg.n_rows;
	b->n_lanes = g->seg.n_lanes;
	b->impossible = false;
	for (unsigned i = 0; i < d->n_uops; i++) {
		const struct uop *u = &g->s->uops[d->first_uop + i];
		g->at_bundle = (uint32_t)(d - g->s->bundles);
		b->of[i].role = role_of(g, u, &b->of[i].at);
		b->impossible |= b->of[i].role == R_NO;
		late += b->of[i].role == R_LATE_STORE;
		stores += b->of[i].role == R_STORE || b->of[i].role == R_LATE_STORE;
	}
	b->impossible |= late && stores > 1;
	for (unsigned i = 0; i < d->n_uops; i++) {
		if (b->of[i].role == R_VIEW && late)
			b->of[i].role = R_LOAD;
	}
}

/* Pushes, multiplies and late stores run after the loop, in the segment's last bundle: nobody in it may write a vector that they read. */
static bool late_works(struct gen *g, const struct decoded *d, const struct uop *late)
{
	for (unsigned i = 0; i < d->n_uops; i++) {
		const struct uop *u = &g->s->uops[d->first_uop + i];
		for (unsigned k = 0; k < u->n_writes; k++) {
			for (unsigned j = 0; j < late->n_reads; j++) {
				if (u->writes[k] == late->reads[j] && u->writes[k] >= REG_V && u->writes[k] < REG_P)
					return false;
			}
		}
	}
	return true;
}

/* A bundle of its own, with a push or multiply that must go before the loop. */
static bool goes_early(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	bool conflict = false;
	if (g->seg.end > g->seg.first)
		return false;
	for (unsigned i = 0; i < d->n_uops; i++) {
		enum role role = b->of[i].role;
		if (role == R_ROWS || role == R_LATE_STORE)
			return false;
		if (role == R_MATRIX || role == R_ACT)
			conflict = conflict || !late_works(g, d, &g->s->uops[d->first_uop + i]);
	}
	for (unsigned i = 0; conflict && i < d->n_uops; i++)
		b->of[i].role = b->of[i].role == R_VIEW ? R_LOAD : b->of[i].role;
	return conflict;
}

/* Registers that became views in this segment are for pushes and multiplies only. */
static bool touches_view(const struct segment *e, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] >= REG_V && u->reads[i] < REG_M && (e->viewed >> (u->reads[i] - REG_V) & 1))
			return true;
	}
	return u->result == 'v' && (e->viewed >> (u->writes[0] - REG_V) & 1);
}

/* Whether the bundle can join the segment. For a segment's first bundle false means that it cannot be translated. */
static bool joins(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	struct segment *e = &g->seg;
	unsigned n_op = e->n_op, n_call = e->n_call, n_temp = e->n_temp;
	b->early = goes_early(g, d, b);
	if (e->n_wrote + 2 * d->n_uops > TG_ARRAY_LEN(e->wrote) || e->n_busy + d->n_uops > TG_ARRAY_LEN(e->busy) || e->n_hit + d->n_uops > MAX_HITS)
		return false;
	for (unsigned i = 0; i < d->n_uops; i++) {
		const struct uop *u = &g->s->uops[d->first_uop + i];
		enum role *role = &b->of[i].role;
		if (e->viewed && (*role == R_LATE_STORE || (*role != R_MATRIX && touches_view(e, u))))
			return false;
		if (*role == R_VIEW && !fits_accesses(g, b, d->n_uops, i))
			*role = R_LOAD;
		if (*role == R_LOAD && (!fits_accesses(g, b, d->n_uops, i) || !split_for(g, b, &b->of[i].at)))
			*role = R_PURE;
		if (*role == R_ROWS && !split_for(g, b, &b->of[i].at))
			*role = R_PURE;
		if (*role == R_STORE && (!fits_accesses(g, b, d->n_uops, i) || !split_for(g, b, &b->of[i].at)))
			return false;
		if ((*role == R_LOAD || *role == R_STORE) && (e->dirty_m >> b->of[i].at.mask & 1)) /* masks are asked before the loop */
			return false;
		bool reads_memory = u->slot == TG_SLOT_L || u->in.op == TG_I_sld32 || u->in.op == TG_I_sld64;
		if ((*role == R_PURE || *role == R_PURE_SCALAR) &&
		    (reads_dirty(e, u) || (reads_memory && e->stores)))
			return false;
		if ((*role == R_ACT || *role == R_MATRIX || *role == R_LATE_STORE) && !b->early && !late_works(g, d, u))
			return false;
		n_op += *role == R_LANE || *role == R_LOAD || *role == R_VIEW || *role == R_ROWS || *role == R_STORE || *role == R_PURE;
		n_call += *role == R_PURE || *role == R_PURE_SCALAR || *role == R_ACT || *role == R_MATRIX || *role == R_LATE_STORE;
		n_temp += *role == R_PURE;
		if (n_op > MAX_LANE_OPS || n_call > MAX_CALLED || n_temp >= JIT_N_TEMPS)
			return false;
	}
	return true;
}

/* ---- taking a bundle into the segment ---- */

static void take_call(struct gen *g, const struct uop *u, uint32_t bundle, enum call_kind kind, val pred, unsigned temp, unsigned to)
{
	struct called *c = &g->seg.call[g->seg.n_call++];
	*c = (struct called){.kind = kind, .u = u, .bundle = bundle, .clock = g->seg.length, .pred = pred, .temp = temp, .to = to};
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] < REG_V)
			c->reads[c->n_reads++] = s_reg(g, u->reads[i]);
	}
}

/* Operands of a push, swap or multiply. */
static void take_matrix(struct gen *g, const struct uop *u, uint32_t bundle)
{
	const struct tg_insn *in = &u->in;
	take_call(g, u, bundle, CALL_MATRIX, pred_of(g, u), 0, 0);
	struct called *c = &g->seg.call[g->seg.n_call - 1];
	c->place = in->op == TG_I_swap ? gen_int(g, 0) : array_number(g, in);
	if (u->slot == TG_SLOT_M) {
		val adds = g->L->ConstInt(g->i1, in->f[5] != 0, 0);
		if (in->f[5] && in->f[6])
			adds = g->L->BuildNot(g->b, p_reg(g, in->f[6]), "");
		c->with = g->L->BuildZExt(g->b, adds, g->i64, "");
	} else {
		c->with = in->op == TG_I_swap ? gen_int(g, 0) : s_reg(g, in->f[4]);
	}
	c->n_reads = 0;
}

static void take_lane(struct gen *g, const struct lane_op *o)
{
	struct segment *e = &g->seg;
	e->op[e->n_op++] = *o;
	if (o->dest == NO_DEST)
		return;
	if (o->dest < JIT_MASK)
		e->dirty_v |= UINT64_C(1) << o->dest;
	else
		e->dirty_m |= UINT32_C(1) << (o->dest - JIT_MASK);
}

static unsigned dest_of(const struct uop *u)
{
	if (u->result == 'v')
		return u->writes[0] - (unsigned)REG_V;
	return u->result == 'm' && u->writes[0] != REG_M ? JIT_MASK + u->writes[0] - (unsigned)REG_M : NO_DEST;
}

static void extent_operands(struct gen *g, val e, struct lane_op *o)
{
	val low = gen_int(g, 0xffff), zero = gen_int(g, 0), all[2] = {gen_int(g, g->s->core.rows), gen_int(g, g->s->core.lanes)}, part[2];
	for (int i = 0; i < 2; i++) {
		val v = g->L->BuildAnd(g->b, g->L->BuildLShr(g->b, e, gen_int(g, 16 * i), ""), low, "");
		val whole = g->L->BuildOr(g->b, g->L->BuildICmp(g->b, LLVMIntEQ, v, zero, ""), g->L->BuildICmp(g->b, LLVMIntUGT, v, all[i], ""), "");
		part[i] = g->L->BuildSelect(g->b, whole, all[i], v, "");
	}
	o->a = part[0];
	o->b = part[1];
}

static void take_vector(struct gen *g, const struct uop *u, uint32_t bundle, enum role role, const struct place *at)
{
	struct lane_op o = {.u = u, .bundle = bundle, .pred = pred_of(g, u), .dest = dest_of(u)};
	o.kind = role == R_LANE ? LANE_ALU : role == R_LOAD ? LANE_LOAD : role == R_ROWS ? LANE_ROWS : role == R_STORE ? LANE_STORE : role == R_VIEW ? LANE_VIEW : LANE_TEMP;
	if (role == R_VIEW) {
		o.temp = o.dest;
		o.dest = NO_DEST;
		g->seg.viewed |= UINT64_C(1) << o.temp;
	}
	if (role == R_PURE) {
		o.temp = g->seg.n_temp++;
		take_call(g, u, bundle, CALL_PURE, o.pred, o.temp, 0);
	} else if (role != R_LANE) {
		o.at = *at;
		g->seg.stores |= role == R_STORE;
		if (role == R_ROWS)
			o.a = array_number(g, &u->in);
	} else if (u->in.op == TG_I_vsplat) {
		o.a = s_reg(g, u->in.f[1]);
	} else if (u->in.op == TG_I_mext) {
		extent_operands(g, s_reg(g, u->in.f[1]), &o);
	}
	take_lane(g, &o);
}

static void post_increment(struct gen *g, const struct uop *u, struct scalar_landing *l)
{
	int64_t a = u->in.f[1], q = tg_insn_get(&u->in, 'q'), c;
	l->reg = (uint8_t)a;
	l->v = g->L->BuildAdd(g->b, s_reg(g, a), s_reg(g, q), "");
	l->sym = fresh(g);
	if (gen_constant(g, s_reg(g, q), &c)) {
		l->sym = symbol_of(g, a);
		l->sym.off = (int64_t)((uint64_t)l->sym.off + (uint64_t)c);
	}
	mix_old(g, pred_of(g, u), l);
}

static void note_latency(struct gen *g, const struct uop *u)
{
	struct segment *e = &g->seg;
	for (unsigned k = 0; k < u->n_writes; k++) {
		if (u->writes[k] != REG_S && u->writes[k] != REG_M && u->writes[k] != REG_P)
			e->wrote[e->n_wrote++] = (struct written){u->writes[k], e->length + u->latency[k], pred_of(g, u)};
	}
	if ((u->slot == TG_SLOT_P || u->slot == TG_SLOT_M) && u->occupancy > 1)
		e->busy[e->n_busy++] = (struct written){u->slot * 16u + u->unit, e->length + u->occupancy, pred_of(g, u)};
}

/* Of registers that the segment has not written before. */
static void note_lanes_read(struct segment *e, const struct uop *u, uint64_t of)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] >= REG_V && u->reads[i] < REG_M)
			e->reads_v |= UINT64_C(1) << (u->reads[i] - REG_V) & of;
	}
	if (u->in.pred && u->result == 'v') /* the old value may stay */
		e->reads_v |= UINT64_C(1) << (u->writes[0] - REG_V) & of;
}

static void take_control(struct gen *g, const struct uop *u)
{
	if (u->in.op == TG_I_loop)
		g->control_count = s_reg(g, u->in.f[0]);
	g->control_pred = pred_of(g, u);
}

static uint64_t bundle_length(const struct tg_sim *s, uint32_t bundle)
{
	const struct uop *u = sim_control_of(s, &s->bundles[bundle]);
	return u && u->in.op == TG_I_idle ? 1 + (uint64_t)u->in.f[0] : 1;
}

static void take(struct gen *g, uint32_t bundle, const struct bundle_plan *b)
{
	const struct decoded *d = &g->s->bundles[bundle];
	struct segment *e = &g->seg;
	struct scalar_landing l[2 * TG_MAX_BUNDLE];
	uint64_t written = e->dirty_v;
	unsigned n = 0;
	for (unsigned i = 0; i < d->n_uops; i++) {
		const struct uop *u = &g->s->uops[d->first_uop + i];
		enum role role = b->of[i].role;
		note_latency(g, u);
		if (role != R_MATRIX)
			note_lanes_read(e, u, ~written);
		if (u->in.pred)
			e->hit[e->n_hit++] = (struct hit){d->first_uop + i, pred_of(g, u)};
		if (role == R_SCALAR || role == R_FLAG) {
			l[n] = (struct scalar_landing){.reg = u->writes[0], .sym = fresh(g)};
			l[n].v = role == R_SCALAR ? scalar_value(g, &u->in, &l[n].sym) : predicate_value(g, u);
			if (u->writes[0] != REG_S && u->writes[0] != REG_P)
				mix_old(g, pred_of(g, u), &l[n]);
			n++;
		} else if (role == R_PURE_SCALAR) {
			take_call(g, u, bundle, CALL_PURE, pred_of(g, u), JIT_N_TEMPS - 1, u->writes[0]);
			e->ends = true;
		} else if (role == R_MATRIX) {
			take_matrix(g, u, bundle);
			e->ends = true;
		} else if (role == R_ACT || role == R_LATE_STORE) {
			take_call(g, u, bundle, role == R_ACT ? CALL_ACT : CALL_STORE, pred_of(g, u), 0, 0);
			e->ends = true;
		} else if (role == R_CONTROL) {
			take_control(g, u);
		} else {
			take_vector(g, u, bundle, role, &b->of[i].at);
		}
		if (u->posts)
			post_increment(g, u, &l[n++]);
	}
	for (unsigned i = 0; i < n; i++)
		land_scalar(g, &l[i]);
	memcpy(e->rows, b->rows, sizeof e->rows);
	memcpy(e->lanes, b->lanes, sizeof e->lanes);
	e->n_rows = b->n_rows;
	e->n_lanes = b->n_lanes;
	e->end = bundle + 1;
	e->early = b->early;
	e->length += bundle_length(g->s, bundle);
}

/* ---- a segment's code ---- */

static void put_reads(struct gen *g, const struct called *c)
{
	for (unsigned i = 0; i < c->n_reads; i++)
		set_field(g, FIELD(jit.reads) + 8 * i, c->reads[i]);
}

static void leave_unless(struct gen *g, val ok, LLVMBasicBlockRef leave)
{
	LLVMBasicBlockRef go_on = gen_label(g);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntNE, ok, gen_int(g, 0), ""), go_on, leave);
	g->L->PositionBuilderAtEnd(g->b, go_on);
}

/* Goes around what follows where the predicate is false; returns where to meet again. */
static LLVMBasicBlockRef around(struct gen *g, val pred)
{
	if (!pred)
		return NULL;
	LLVMBasicBlockRef yes = gen_label(g), no = gen_label(g);
	g->L->BuildCondBr(g->b, pred, yes, no);
	g->L->PositionBuilderAtEnd(g->b, yes);
	return no;
}
static void meet_again(struct gen *g, LLVMBasicBlockRef at)
{
	if (at)
		gen_go_to(g, at);
}

static val uop_number(struct gen *g, const struct uop *u)
{
	return gen_int(g, u - g->s->uops);
}

static void call_pure(struct gen *g, struct called *c, val clock, LLVMBasicBlockRef leave, struct scalar_landing *out)
{
	val old = c->to == REG_S || c->to == REG_P || !c->to ? NULL : c->to < REG_V ? s_reg(g, c->to) : p_reg(g, c->to - REG_P);
	LLVMBasicBlockRef no = around(g, c->pred);
	put_reads(g, c);
	val args[5] = {g->sim, uop_number(g, c->u), gen_int(g, c->bundle), g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)c->clock), ""), gen_int(g, JIT_TEMP + c->temp)};
	leave_unless(g, CALL(g, pure, g->i64, args), leave);
	meet_again(g, no);
	out->reg = 0;
	if (!old)
		return;
	val v = gen_field(g, g->i64, FIELD(jit.scalar));
	out->reg = (uint8_t)c->to;
	out->v = c->to < REG_V ? v : g->L->BuildICmp(g->b, LLVMIntNE, v, gen_int(g, 0), "");
	out->sym = fresh(g);
	if (c->pred)
		out->v = g->L->BuildSelect(g->b, c->pred, out->v, old, "");
}

static val clock_of(struct gen *g, val clock, uint64_t since)
{
	return g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)since), "");
}

static void may_act(struct gen *g, const struct called *c, val clock, LLVMBasicBlockRef leave)
{
	LLVMBasicBlockRef no = around(g, c->pred);
	put_reads(g, c);
	if (c->kind == CALL_MATRIX) {
		val args[5] = {g->sim, uop_number(g, c->u), clock_of(g, clock, c->clock), c->place, c->with};
		leave_unless(g, CALL(g, may_matrix, g->i64, args), leave);
	} else {
		val args[3] = {g->sim, uop_number(g, c->u), clock_of(g, clock, c->clock)};
		leave_unless(g, CALL(g, may_act, g->i64, args), leave);
	}
	meet_again(g, no);
}

static void act(struct gen *g, const struct called *c, val clock)
{
	LLVMBasicBlockRef no = around(g, c->pred);
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	put_reads(g, c);
	if (c->kind == CALL_MATRIX) {
		val args[6] = {g->sim, uop_number(g, c->u), gen_int(g, c->bundle), clock_of(g, clock, c->clock), c->place, c->with};
		CALL(g, matrix, none, args);
	} else {
		val args[4] = {g->sim, uop_number(g, c->u), gen_int(g, c->bundle), clock_of(g, clock, c->clock)};
		CALL(g, act, none, args);
	}
	meet_again(g, no);
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
	LLVMBasicBlockRef no = around(g, o->pred);
	uint64_t since = 0;
	for (uint32_t b = g->seg.first; b < o->bundle; b++)
		since += bundle_length(g->s, b);
	val args[4] = {g->sim, uop_number(g, o->u), clock_of(g, clock, since), o->a};
	leave_unless(g, CALL(g, may_read_rows, g->i64, args), leave);
	meet_again(g, no);
}

static uint32_t first_line(const struct gen *g, uint32_t bundle)
{
	return g->s->bundles[bundle].word / FETCH_LINE_WORDS;
}
static uint32_t last_line(const struct gen *g, uint32_t bundle)
{
	return (g->s->bundles[bundle].end_word - 1) / FETCH_LINE_WORDS;
}

static void fetch_one(struct gen *g, uint32_t bundle, uint64_t *cycles)
{
	val args[2] = {g->sim, gen_int(g, bundle)};
	LLVMBasicBlockRef past = NULL;
	bool begins = bundle == g->block->first;
	if (!begins && first_line(g, bundle) == last_line(g, bundle - 1) && first_line(g, bundle) == last_line(g, bundle))
		return;
	add_field(g, FIELD(cycle), *cycles);
	*cycles = 0;
	if (begins && first_line(g, bundle) == last_line(g, bundle)) {
		val there = gen_field(g, g->i32, FIELD(fetch.line));
		LLVMBasicBlockRef other = gen_label(g);
		past = gen_label(g);
		g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntEQ, there, g->L->ConstInt(g->i32, first_line(g, bundle), 0), ""), past, other);
		g->L->PositionBuilderAtEnd(g->b, other);
	}
	CALL(g, fetch, g->L->VoidTypeInContext(g->c), args);
	meet_again(g, past);
}

static void run_time(struct gen *g)
{
	struct segment *e = &g->seg;
	uint64_t cycles = 0;
	for (uint32_t b = e->first; b < e->end; b++) {
		fetch_one(g, b, &cycles);
		cycles += bundle_length(g->s, b);
	}
	add_field(g, FIELD(cycle), cycles);
}

/* What the accesses of a bundle move, those of one kind: bytes of SRAM or of accumulators. */
static void count_moved(struct gen *g, uint32_t bundle, bool rows, size_t counter)
{
	struct segment *e = &g->seg;
	uint64_t bytes = 0;
	val some = NULL;
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->bundle != bundle || (rows ? o->kind != LANE_ROWS : o->kind != LANE_LOAD && o->kind != LANE_VIEW && o->kind != LANE_STORE))
			continue;
		uint64_t n = (uint64_t)o->at.rows * (rows ? o->at.lanes * 4 : o->at.row_bytes);
		val maybe = o->at.mask ? g->L->BuildMul(g->b, gen_selected(g, &o->at), gen_int(g, o->at.bytes), "") : o->pred ? gen_int(g, (int64_t)n) : NULL;
		if (o->pred)
			maybe = g->L->BuildSelect(g->b, o->pred, maybe, gen_int(g, 0), "");
		bytes += maybe ? 0 : n;
		some = !maybe ? some : some ? g->L->BuildAdd(g->b, some, maybe, "") : maybe;
	}
	size_t at = g->s->bundles[bundle].prov * sizeof(struct tg_counters) + counter;
	if (some)
		add_item(g, FIELD(by_prov), at, g->L->BuildAdd(g->b, some, gen_int(g, (int64_t)bytes), ""));
	else if (bytes)
		add_item(g, FIELD(by_prov), at, gen_int(g, (int64_t)bytes));
}

/* Counters that do not follow from how often a block ran: predicated instructions, bytes of the loop's accesses. */
static void counters(struct gen *g)
{
	for (uint32_t b = g->seg.first; b < g->seg.end; b++) {
		count_moved(g, b, false, offsetof(struct tg_counters, sram_bytes));
		count_moved(g, b, true, offsetof(struct tg_counters, acc_bytes));
	}
}

static void late_ready(struct gen *g, val clock, const struct written *w, size_t at)
{
	if (w->ready <= g->seg.length)
		return;
	val v = g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)w->ready), "");
	set_field(g, at, w->pred ? g->L->BuildSelect(g->b, w->pred, v, gen_field(g, g->i64, at), "") : v);
}

static void write_back(struct gen *g)
{
	for (unsigned r = 1; r < 32; r++) {
		if (g->s_dirty[r])
			set_field(g, FIELD(core.s) + 8 * r, g->sreg[r]);
		g->s_dirty[r] = false;
	}
	for (unsigned r = 1; r < 8; r++) {
		if (g->p_dirty[r])
			set_field(g, FIELD(core.p) + r, g->L->BuildZExt(g->b, g->preg[r], g->i8, ""));
		g->p_dirty[r] = false;
	}
}

static void note_stores(struct gen *g, val slow)
{
	struct segment *e = &g->seg;
	if (!slow || !e->stores)
		return;
	LLVMBasicBlockRef past = around(g, slow);
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind == LANE_STORE)
			gen_touch(g, o, true);
	}
	meet_again(g, past);
}

static void count_hits(struct gen *g)
{
	struct segment *e = &g->seg;
	for (unsigned i = 0; i < e->n_hit; i++)
		add_item(g, FIELD(jit.hits), (uint64_t)e->hit[i].uop * 8, g->L->BuildZExt(g->b, e->hit[i].pred, g->i64, ""));
}

static bool has_late_store(const struct segment *e)
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
	if (o->kind != LANE_LOAD || o->dest == NO_DEST || !plain_load(g, o->u, &o->at) || has_late_store(e))
		return false;
	for (unsigned i = 0; i < e->n_op; i++) {
		if (i > at && e->op[i].dest == o->dest)
			return false;
		if (e->op[i].kind == LANE_STORE && !together(g, &e->op[i].at, &o->at, true))
			return false;
	}
	return readers_after(g, o->u->writes[0], e->end) != READ_BY_LANES;
}

/* Loads whose registers nobody needs after the segment, it seems. */
static void choose_lazy(struct gen *g)
{
	for (unsigned i = 0; i < g->seg.n_op; i++)
		g->seg.op[i].lazy = lazy_works(g, i);
}

/* Before anything else: registers whose lanes the segment reads, and those that look at what it may write. */
static void settle_views(struct gen *g)
{
	struct segment *e = &g->seg;
	bool late = has_late_store(e);
	uint64_t mask = late ? ~UINT64_C(0) : e->reads_v;
	LLVMTypeRef none = g->L->VoidTypeInContext(g->c);
	if ((!mask && !e->stores) || !has_views(g))
		return;
	val set = g->L->BuildAnd(g->b, gen_field(g, g->i64, FIELD(jit.viewed)), gen_int(g, e->stores ? -1 : (int64_t)mask), "");
	LLVMBasicBlockRef past = around(g, g->L->BuildICmp(g->b, LLVMIntNE, set, gen_int(g, 0), ""));
	val args[2] = {g->sim, gen_int(g, (int64_t)mask)};
	if (mask)
		CALL(g, settle, none, args);
	for (unsigned i = 0; i < e->n_op && !late; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind != LANE_STORE)
			continue;
		LLVMBasicBlockRef no = around(g, o->pred);
		val box[3] = {g->sim, g->L->BuildAdd(g->b, o->at.base, gen_int(g, o->at.lo), ""), g->L->BuildAdd(g->b, o->at.base, gen_int(g, o->at.hi), "")};
		val all[2] = {g->sim, gen_int(g, -1)};
		if (o->at.fixed)
			CALL(g, settle_box, none, box);
		else
			CALL(g, settle, none, all);
		meet_again(g, no);
	}
	meet_again(g, past);
}

/* Written registers are no views any more; loads that are not done leave one. */
static void make_views(struct gen *g)
{
	struct segment *e = &g->seg;
	if (!has_views(g))
		return;
	if (e->dirty_v)
		set_field(g, FIELD(jit.viewed), g->L->BuildAnd(g->b, gen_field(g, g->i64, FIELD(jit.viewed)), gen_int(g, (int64_t)~e->dirty_v), ""));
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind != LANE_VIEW && !o->lazy)
			continue;
		uint64_t shape = jit_view_shape(o->at.rows, o->at.n, o->at.lanes, o->at.spread);
		val args[6] = {g->sim, gen_int(g, o->lazy ? o->dest : o->temp), o->at.base, o->at.step, o->at.block_step, gen_int(g, (int64_t)shape)};
		CALL(g, view, g->L->VoidTypeInContext(g->c), args);
	}
}

static void emit_segment(struct gen *g)
{
	struct segment *e = &g->seg;
	LLVMBasicBlockRef leave = gen_label(g);
	struct scalar_landing result[MAX_CALLED];
	unsigned n_result = 0;
	val clock = gen_field(g, g->i64, FIELD(core.clock));
	choose_lazy(g);
	set_field(g, FIELD(jit.n_pending), g->L->ConstInt(g->i32, 0, 0));
	settle_views(g);
	val slow = gen_checks(g, leave);
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
	gen_lanes(g);
	make_views(g);
	if (!e->early)
		all_acts(g, clock);
	note_stores(g, slow);
	for (unsigned i = 0; i < n_result; i++)
		land_scalar(g, &result[i]);
	write_back(g);
	for (unsigned i = 0; i < e->n_wrote; i++)
		late_ready(g, clock, &e->wrote[i], FIELD(ready) + 8 * e->wrote[i].reg);
	for (unsigned i = 0; i < e->n_busy; i++)
		late_ready(g, clock, &e->busy[i], FIELD(slot_free) + 8 * e->busy[i].reg);
	set_field(g, FIELD(core.clock), g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)e->length), ""));
	LLVMBasicBlockRef here = g->L->GetInsertBlock(g->b);
	g->L->PositionBuilderAtEnd(g->b, leave);
	give_back(g, e->first, JIT_INTERPRET);
	g->L->PositionBuilderAtEnd(g->b, here);
}

/* ---- where the block goes on ---- */

static void ran_whole(struct gen *g)
{
	add_item(g, FIELD(jit.runs), (uint64_t)g->index * 8, gen_int(g, 1));
}

static void go_to_bundle(struct gen *g, uint32_t to, int32_t ctx)
{
	if (to == g->block->first && ctx == g->block->ctx)
		g->L->BuildBr(g->b, g->head);
	else
		give_back(g, to, 0);
}

static size_t loop_at(const struct loop_ctx *c, size_t member)
{
	return FIELD(loops) + (c->depth - 1) * sizeof(struct loop) + member;
}

static void set_depth(struct gen *g, uint32_t depth)
{
	set_field(g, FIELD(n_loops), g->L->ConstInt(g->i32, depth, 0));
}

/* To the bundle by falling: ends of loops on the way. */
static void fall(struct gen *g, uint32_t to, int32_t ctx)
{
	const struct blocks *k = g->s->jit.blocks;
	while (ctx >= 0 && to == k->ctx[ctx].end) {
		const struct loop_ctx *c = &k->ctx[ctx];
		LLVMBasicBlockRef again = gen_label(g), out = gen_label(g);
		val index = g->L->BuildAdd(g->b, gen_field(g, g->i64, loop_at(c, offsetof(struct loop, index))), gen_int(g, 1), "");
		set_field(g, loop_at(c, offsetof(struct loop, index)), index);
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
	set_field(g, loop_at(c, offsetof(struct loop, start)), g->L->ConstInt(g->i32, c->start, 0));
	set_field(g, loop_at(c, offsetof(struct loop, end)), g->L->ConstInt(g->i32, c->end, 0));
	set_field(g, loop_at(c, offsetof(struct loop, end_word)), g->L->ConstInt(g->i32, (uint32_t)u->in.f[1], 0));
	set_field(g, loop_at(c, offsetof(struct loop, index)), gen_int(g, 0));
	set_field(g, loop_at(c, offsetof(struct loop, count)), g->control_count);
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
	LLVMBasicBlockRef past = around(g, g->control_pred);
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

/* Whether the last instruction's way is known: a loop or branch that would trap is the interpreter's. */
static bool control_works(struct gen *g, uint32_t bundle)
{
	const struct uop *u = sim_control_of(g->s, &g->s->bundles[bundle]);
	if (u && u->in.op == TG_I_loop)
		return g->s->jit.blocks->loop_at[bundle] >= 0;
	if (u && u->in.op == TG_I_br) {
		int64_t to = u->in.f[0];
		return to >= 0 && to <= g->s->x->n_words && g->s->bundle_at[to] != UINT32_MAX;
	}
	return true;
}

/* ---- a block ---- */

static void begin_segment(struct gen *g, uint32_t first)
{
	struct segment *e = &g->seg;
	memset(e, 0, offsetof(struct segment, op));
	e->first = e->end = first;
	e->n_op = e->n_call = e->n_temp = e->n_wrote = e->n_busy = e->n_hit = 0;
	e->dirty_v = e->reads_v = e->viewed = 0;
	e->dirty_m = 0;
	e->length = 0;
	e->stores = e->ends = e->early = false;
	e->rows[0] = e->lanes[0] = 0;
	e->n_rows = e->n_lanes = 1;
}

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
		most += bundle_length(g->s, i);
	most += (last_line(g, b->end - 1) - first_line(g, b->first) + 2) * longest_fetch(g->s);
	LLVMBasicBlockRef go = gen_label(g), leave = gen_label(g);
	val limit = gen_field(g, g->i64, FIELD(options.max_cycles)), end = g->L->BuildAdd(g->b, gen_field(g, g->i64, FIELD(cycle)), gen_int(g, (int64_t)most), "");
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntULT, end, limit, ""), go, leave);
	g->L->PositionBuilderAtEnd(g->b, leave);
	give_back(g, b->first, JIT_LEAVE);
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
}

/* Bundles of the block from `from` on that go together; false: not even the first. */
static bool fill_segment(struct gen *g, uint32_t from)
{
	struct bundle_plan *b = &g->plan;
	begin_segment(g, from);
	for (uint32_t i = from; i < g->block->end; i++) {
		const struct decoded *d = &g->s->bundles[i];
		plan_bundle(g, d, b);
		if (b->impossible || !control_works(g, i) || !joins(g, d, b))
			return i > from;
		take(g, i, b);
		if (g->seg.ends)
			return true;
	}
	return true;
}

bool gen_block(struct gen *g, uint32_t index)
{
	g->index = index;
	g->block = &g->s->jit.blocks->at[index];
	open_function(g);
	check_budget(g);
	for (uint32_t at = g->block->first; at < g->block->end; at = g->seg.end) {
		if (!fill_segment(g, at)) {
			give_back(g, at, JIT_LEAVE);
			return at > g->block->first;
		}
		emit_segment(g);
	}
	go_on(g);
	return true;
}
#else
typedef int jit_gen_is_empty;
#endif
