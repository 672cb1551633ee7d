/* jit_value.c: values that do not depend on lanes: fields of struct tg_sim, scalar registers and predicates, ways that part and meet.
 *
 * Scalar values are known (as LLVM values) at a segment's start for all its bundles, because nothing in a segment but scalar instructions
 * changes them; a load or lane extract into a scalar register ends its segment. At a segment's start all registers stand in struct tg_sim. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

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

val gen_uop(struct gen *g, const struct uop *u)
{
	return gen_int(g, u - g->s->uops);
}

val gen_field(struct gen *g, LLVMTypeRef type, size_t offset)
{
	return g->L->BuildLoad2(g->b, type, field_at(g, offset), "");
}

void gen_set_field(struct gen *g, size_t offset, val v)
{
	g->L->BuildStore(g->b, v, field_at(g, offset));
}

void gen_add_field(struct gen *g, size_t offset, uint64_t by)
{
	if (by)
		gen_set_field(g, offset, g->L->BuildAdd(g->b, gen_field(g, g->i64, offset), gen_int(g, (int64_t)by), ""));
}

val gen_clock(struct gen *g, val clock, uint64_t since)
{
	return g->L->BuildAdd(g->b, clock, gen_int(g, (int64_t)since), "");
}

/* base[index] += by, base a pointer field */
void gen_add_item(struct gen *g, size_t base, uint64_t byte, val by)
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

void gen_give_back(struct gen *g, uint64_t bundle, uint64_t how)
{
	gen_flush_rounds(g);
	g->L->BuildRet(g->b, gen_int(g, (int64_t)(bundle | how)));
}

/* ---- scalar registers ---- */

val gen_s(struct gen *g, int64_t r)
{
	if (r == 0)
		return gen_int(g, 0);
	if (!g->sreg[r]) {
		bool known = g->block->at_start.known >> r & 1;
		g->sreg[r] = known ? gen_int(g, g->block->at_start.s[r]) : gen_field(g, g->i64, FIELD(core.s) + (size_t)r * 8);
		g->sym[r] = known ? (struct symbol){ROOT_CONST, g->block->at_start.s[r]} : (struct symbol){(int)r, 0};
	}
	return g->sreg[r];
}

struct symbol gen_symbol(struct gen *g, int64_t r)
{
	if (r == 0)
		return (struct symbol){ROOT_CONST, 0};
	gen_s(g, r);
	return g->sym[r];
}

val gen_p(struct gen *g, int64_t r)
{
	if (r == 0)
		return g->L->ConstInt(g->i1, 1, 0);
	if (!g->preg[r])
		g->preg[r] = g->L->BuildICmp(g->b, LLVMIntNE, gen_field(g, g->i8, FIELD(core.p) + (size_t)r), g->L->ConstInt(g->i8, 0, 0), "");
	return g->preg[r];
}

val gen_pred(struct gen *g, const struct uop *u)
{
	return u->in.pred ? gen_p(g, u->in.pred) : NULL;
}

val gen_scalar_value(struct gen *g, const struct tg_insn *in, struct symbol *sym)
{
	const struct llvm_api *L = g->L;
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	bool immediate = info->n_fields > 2 && info->field[2].kind == TG_FIELD_I;
	val a = in->op == TG_I_smov ? NULL : gen_s(g, in->f[1]), b = in->op == TG_I_smov ? NULL : immediate ? gen_int(g, in->f[2]) : gen_s(g, in->f[2]);
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
			*sym = gen_symbol(g, in->f[1]);
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

val gen_predicate_value(struct gen *g, const struct uop *u)
{
	static const LLVMIntPredicate how[] = {LLVMIntEQ, LLVMIntNE, LLVMIntSLT, LLVMIntSLE};
	const struct tg_insn *in = &u->in;
	if (u->slot == TG_SLOT_C)
		return flag_value(g, u);
	if (in->op >= TG_I_peq && in->op <= TG_I_ple)
		return g->L->BuildICmp(g->b, how[in->op - TG_I_peq], gen_s(g, in->f[1]), gen_s(g, in->f[2]), "");
	if (in->op >= TG_I_peqi && in->op <= TG_I_plei)
		return g->L->BuildICmp(g->b, how[in->op - TG_I_peqi], gen_s(g, in->f[1]), gen_int(g, in->f[2]), "");
	val a = gen_p(g, in->f[1]), b = gen_p(g, in->f[2]);
	if (in->op == TG_I_pand)
		return g->L->BuildAnd(g->b, a, b, "");
	return in->op == TG_I_por ? g->L->BuildOr(g->b, a, b, "") : g->L->BuildXor(g->b, a, b, "");
}

void gen_land(struct gen *g, const struct scalar_landing *l)
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

struct symbol gen_fresh(struct gen *g)
{
	return (struct symbol){g->n_roots++, 0};
}

/* A predicated result leaves the old value where it is false. */
void gen_mix_old(struct gen *g, val pred, struct scalar_landing *l)
{
	if (!pred)
		return;
	l->v = g->L->BuildSelect(g->b, pred, l->v, l->reg < REG_V ? gen_s(g, l->reg) : gen_p(g, l->reg - REG_P), "");
	l->sym = gen_fresh(g);
}

/* ---- ways ---- */

void gen_leave_unless(struct gen *g, val ok, LLVMBasicBlockRef leave)
{
	LLVMBasicBlockRef go_on = gen_label(g);
	g->L->BuildCondBr(g->b, g->L->BuildICmp(g->b, LLVMIntNE, ok, gen_int(g, 0), ""), go_on, leave);
	g->L->PositionBuilderAtEnd(g->b, go_on);
}

/* Goes around what follows where the predicate is false; returns where to meet again. */
LLVMBasicBlockRef gen_around(struct gen *g, val pred)
{
	if (!pred)
		return NULL;
	LLVMBasicBlockRef yes = gen_label(g), no = gen_label(g);
	g->L->BuildCondBr(g->b, pred, yes, no);
	g->L->PositionBuilderAtEnd(g->b, yes);
	return no;
}
void gen_meet(struct gen *g, LLVMBasicBlockRef at)
{
	if (at)
		gen_go_to(g, at);
}

/* ---- bundles ---- */

uint64_t gen_bundle_length(const struct tg_sim *s, uint32_t bundle)
{
	const struct uop *u = sim_control_of(s, &s->bundles[bundle]);
	return u && u->in.op == TG_I_idle ? 1 + (uint64_t)u->in.f[0] : 1;
}

uint32_t gen_first_line(const struct gen *g, uint32_t bundle)
{
	return g->s->bundles[bundle].word / FETCH_LINE_WORDS;
}

uint32_t gen_last_line(const struct gen *g, uint32_t bundle)
{
	return (g->s->bundles[bundle].end_word - 1) / FETCH_LINE_WORDS;
}
#else
typedef int jit_value_is_empty;
#endif
