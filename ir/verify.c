/* verify.c: what must hold between passes, and of every module that was read from text: each value defined once and before its uses, operand
 * counts, graph results as inference says, provenance of every op. verify_stage.c looks inside stages, verify_mach.c at machine code. */
#include <string.h>

#include "verify_internal.h"

enum { UNDEFINED, DEFINED, OUT_OF_SCOPE };

struct verifier {
	struct tg_diag *d;
	const struct tg_module *m;
	struct tg_arena *scratch;
	const uint32_t *number;
	uint8_t *state; /* by value */
	struct mach_verifier *mach;
};

#define BAD(v, op, ...) tg_verify_fail((v)->d, (v)->m, op, __VA_ARGS__)

bool tg_verify_fail(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, const char *fmt, ...)
{
	char text[300];
	const struct tg_op_info *info = tg_op_info_in(m, op->code);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return tg_error(d, tg_op_loc(m, op), "%s.%s: %s", tg_dialect_name(info->dialect), info->name, text);
}

static bool value_ok(const struct tg_value *x)
{
	uint32_t seen = 0;
	size_t bytes;
	if (x->kind != TG_TENSOR)
		return x->kind <= TG_PREG;
	if (x->dtype >= TG_N_DTYPES || x->shape.rank > TG_MAX_RANK || !tg_shape_bytes(&x->shape, (enum tg_dtype)x->dtype, &bytes))
		return false;
	for (uint32_t i = 0; i < x->shape.rank; i++) {
		if (x->layout[i] >= x->shape.rank || seen & 1U << x->layout[i])
			return false;
		seen |= 1U << x->layout[i];
	}
	return true;
}

static const char *kind_text(uint32_t kind) { return kind == TG_TENSOR ? "tensor" : tg_value_kind_name((enum tg_value_kind)kind); }

static bool check_uses(struct verifier *v, const struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(v->m, op->code);
	for (uint32_t i = 0; i < op->n_in; i++) {
		uint32_t id = op->in[i].id, kind = info->in_kinds ? info->in_kinds[i] : TG_TENSOR;
		if (id == 0 && (kind == TG_SREG || kind == TG_MREG || kind == TG_PREG))
			continue; /* the fixed register */
		if (id == 0 || id >= v->m->values.n)
			return BAD(v, op, "operand %u is no value", i);
		if (v->state[id] == UNDEFINED)
			return BAD(v, op, "operand %u, %%%u, is used before its definition", i, v->number[id]);
		if (v->state[id] == OUT_OF_SCOPE)
			return BAD(v, op, "operand %u, %%%u, belongs to a region that has ended", i, v->number[id]);
		if (v->m->values.at[id].kind != kind)
			return BAD(v, op, "operand %u, %%%u, is %s, expected %s", i, v->number[id], kind_text(v->m->values.at[id].kind), kind_text(kind));
	}
	return true;
}

/* The register that an instruction writes. */
static bool check_written(struct verifier *v, const struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(v->m, op->code);
	for (uint32_t i = 0; i < op->n_out; i++) {
		uint32_t id = op->out[i].id;
		if (id >= v->m->values.n || (id == 0 && info->out_kind == TG_VREG))
			return BAD(v, op, "result is no value");
		if (id && v->state[id] != DEFINED)
			return BAD(v, op, "result, %%%u, is not declared here", v->number[id]);
		if (id && v->m->values.at[id].kind != info->out_kind)
			return BAD(v, op, "result, %%%u, is %s, expected %s", v->number[id], kind_text(v->m->values.at[id].kind), kind_text(info->out_kind));
	}
	return true;
}

static bool check_results(struct verifier *v, const struct tg_op *op)
{
	if (op->code >= TG_FIRST_INSN)
		return check_written(v, op);
	for (uint32_t i = 0; op->n_regions == 0 && i < op->n_out; i++) {
		uint32_t id = op->out[i].id;
		if (id == 0 || id >= v->m->values.n)
			return BAD(v, op, "result %u is no value", i);
		const struct tg_value *x = &v->m->values.at[id];
		if (!value_ok(x))
			return BAD(v, op, "result %u has a bad type or layout", i);
		if ((x->kind != TG_TENSOR) != (op->code == TG_MACH_regs))
			return BAD(v, op, "result %u, %%%u, is %s, expected %s", i, v->number[id], kind_text(x->kind), x->kind ? "tensor" : "a register");
		if (v->state[id] != UNDEFINED)
			return BAD(v, op, "result %u, %%%u, is defined twice", i, v->number[id]);
		if (x->def != op)
			return BAD(v, op, "result %u, %%%u, names another op as its definition", i, v->number[id]);
		v->state[id] = DEFINED;
	}
	return true;
}

static bool check_arity(struct verifier *v, const struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(v->m, op->code);
	if (info == tg_op_info(TG_OP_none))
		return BAD(v, op, "unknown op %u", op->code);
	if ((int64_t)op->n_in < info->min_in || (info->max_in >= 0 && (int64_t)op->n_in > info->max_in))
		return BAD(v, op, "has %u operands, expected %d to %d", op->n_in, info->min_in, info->max_in);
	if (info->n_out >= 0 && (int64_t)op->n_out != info->n_out)
		return BAD(v, op, "has %u results, expected %d", op->n_out, info->n_out);
	if (op->n_regions != ((info->traits & T_REGION) != 0))
		return BAD(v, op, "has %u regions, expected %d", op->n_regions, (info->traits & T_REGION) != 0);
	return true;
}

static bool check_attrs(struct verifier *v, const struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(v->m, op->code);
	for (uint32_t i = 0; i < info->n_attrs; i++) {
		const struct tg_attr_info *a = &info->attrs[i];
		if (a->kind == TG_ATTR_INT && a->lo < a->hi && (op->attrs[i].i < a->lo || op->attrs[i].i > a->hi))
			return BAD(v, op, "%s is %lld, expected %lld to %lld", a->name, (long long)op->attrs[i].i, (long long)a->lo, (long long)a->hi);
		if (a->kind == TG_ATTR_INTS && a->count && op->attrs[i].ints.n != a->count)
			return BAD(v, op, "%s has %u numbers, expected %u", a->name, op->attrs[i].ints.n, a->count);
	}
	return true;
}

static bool check_prov(struct verifier *v, const struct tg_op *op)
{
	if (op->prov.id == 0 || op->prov.id >= v->m->provs.n || v->m->provs.at[op->prov.id].n == 0)
		return BAD(v, op, "has no provenance");
	const struct tg_prov_set *s = &v->m->provs.at[op->prov.id];
	for (uint32_t i = 0; i < s->n; i++)
		if (s->nodes[i] >= v->m->nodes.n || (i && s->nodes[i] <= s->nodes[i - 1]))
			return BAD(v, op, "provenance names node %u of %zu, expected ascending nodes", s->nodes[i], v->m->nodes.n);
	return true;
}

static bool same_type(const struct tg_value *v, enum tg_dtype t, const struct tg_shape *s)
{
	return v->dtype == t && v->kind == TG_TENSOR && tg_shape_equal(&v->shape, s);
}

static bool check_graph(struct verifier *v, const struct tg_op *op)
{
	enum tg_dtype t;
	struct tg_shape s;
	if (!tg_infer_op(v->d, tg_op_loc(v->m, op), v->scratch, v->m, op->code, op->in, op->n_in, op->attrs, &t, &s))
		return false;
	if (!same_type(tg_value_get(v->m, op->out[0]), t, &s))
		return BAD(v, op, "result has another type than inference gives (%s, rank %u)", tg_dtypes[t].name, s.rank);
	return true;
}

static bool check_data(struct verifier *v, const struct tg_op *op)
{
	const struct tg_const *c = op->attrs[TG_AT(tile_data, value)].c;
	size_t bytes;
	if (!c || !tg_shape_bytes(&c->shape, c->dtype, &bytes) || (c->kind != TG_CONST_PARTS && !c->data && bytes))
		return BAD(v, op, "has no constant");
	struct tg_const joined;
	if (c->kind == TG_CONST_PARTS && (!tg_const_join(&joined, c->axis, c->parts, c->n_parts) || joined.dtype != c->dtype || !tg_shape_equal(&joined.shape, &c->shape)))
		return BAD(v, op, "has a constant in parts that do not fit");
	const struct tg_value *to = tg_value_get(v->m, op->out[0]);
	bool narrowed = c->kind != TG_CONST_SPLAT && c->dtype == TG_f32 && (to->dtype == TG_bf16 || to->dtype == TG_f16);
	if (tg_compute_type(c->dtype) == TG_none || !same_type(to, narrowed ? (enum tg_dtype)to->dtype : c->dtype, &c->shape))
		return BAD(v, op, "result has another type than the constant");
	return true;
}

static bool check_view(struct verifier *v, const struct tg_op *op)
{
	const struct tg_value *from = tg_value_get(v->m, op->in[0]), *to = tg_value_get(v->m, op->out[0]);
	int64_t a, b;
	if (from->dtype != to->dtype || !tg_shape_count(&from->shape, &a) || !tg_shape_count(&to->shape, &b) || a != b)
		return BAD(v, op, "result has other elements than the operand");
	return true;
}

static bool check_words(struct verifier *v, const struct tg_op *op)
{
	const struct tg_value *a = tg_value_get(v->m, op->in[0]), *b = tg_value_get(v->m, op->out[0]);
	if (a->dtype == TG_u32) {
		const struct tg_value *t = a;
		a = b;
		b = t;
	}
	bool ok = tg_dtypes[a->dtype].bits == 64 && b->dtype == TG_u32 && b->shape.rank == a->shape.rank + 1 && b->shape.dim[a->shape.rank] == 2;
	for (uint32_t i = 0; ok && i < a->shape.rank; i++)
		ok = a->shape.dim[i] == b->shape.dim[i];
	return ok || BAD(v, op, "needs 64-bit elements on one side and u32 [..., 2] of the same shape on the other");
}

static bool check_op(struct verifier *v, const struct tg_op *op)
{
	if (!check_arity(v, op) || !check_prov(v, op) || !check_attrs(v, op) || !check_uses(v, op) || !check_results(v, op))
		return false;
	if (!tg_verify_mach(v->mach, op))
		return false;
	if (tg_is_graph_op(op->code))
		return check_graph(v, op);
	switch (op->code) {
	case TG_TILE_data: return check_data(v, op);
	case TG_TILE_view: return check_view(v, op);
	case TG_TILE_words: return check_words(v, op);
	case TG_TILE_stage: return tg_verify_stage(v->d, v->m, op, v->scratch);
	default: return true;
	}
}

/* Values of ended regions are out of scope, but for the results that the parent yields. */
static bool end_region(struct verifier *v, const struct tg_op *parent)
{
	if (tg_op_info(parent->code)->dialect == TG_MACH && !tg_verify_mach_end(v->mach, parent))
		return false;
	if (parent->code == TG_TILE_group && !tg_group_check(v->d, v->m, parent))
		return false;
	for (uint32_t r = 0; r < parent->n_regions; r++)
		for (const struct tg_op *op = parent->regions[r]->first; op; op = op->next)
			for (uint32_t i = 0; op->code < TG_FIRST_INSN && i < op->n_out; i++)
				v->state[op->out[i].id] = OUT_OF_SCOPE;
	for (uint32_t i = 0; i < parent->n_out; i++) {
		uint32_t id = parent->out[i].id;
		if (id == 0 || id >= v->m->values.n || v->state[id] != OUT_OF_SCOPE)
			return BAD(v, parent, "result %u is not defined in its region", i);
		v->state[id] = DEFINED;
	}
	return true;
}

/* The links of the list: the next op must point back. */
static bool linked(const struct tg_block *b, const struct tg_op *op)
{
	return op->block == b && (op->next ? op->next->prev == op : b->last == op);
}

static bool check_ops(struct verifier *v)
{
	for (struct tg_op *op = v->m->body.first; op; op = tg_op_step(op)) {
		if (!linked(op->block, op))
			return BAD(v, op, "op list is broken");
		if (!check_op(v, op))
			return false;
		bool leaf = true;
		for (uint32_t r = 0; r < op->n_regions; r++)
			leaf &= op->regions[r]->first == NULL;
		if (op->n_regions && leaf && !end_region(v, op))
			return false;
		/* this op may end its region, and the region's parent the next one out; only the last region ends the parent */
		for (const struct tg_op *o = op; leaf && !o->next && o->block->parent; o = o->block->parent) {
			const struct tg_op *parent = o->block->parent;
			if (parent->regions[parent->n_regions - 1] != o->block)
				break;
			if (!end_region(v, parent))
				return false;
		}
	}
	return true;
}

static bool check_ports(struct verifier *v)
{
	for (size_t i = 0; i < v->m->inputs.n; i++) {
		uint32_t id = v->m->inputs.at[i].value.id;
		if (id == 0 || id >= v->m->values.n || v->state[id] != UNDEFINED || v->m->values.at[id].kind != TG_TENSOR || !value_ok(&v->m->values.at[id]))
			return tg_error(v->d, tg_at_file(v->m->source), "module input %zu has no tensor of its own", i);
		v->state[id] = DEFINED;
	}
	return true;
}

static bool check_outputs(struct verifier *v)
{
	for (size_t i = 0; i < v->m->outputs.n; i++) {
		uint32_t id = v->m->outputs.at[i].value.id;
		if (id == 0 || id >= v->m->values.n || v->state[id] != DEFINED || v->m->values.at[id].kind != TG_TENSOR)
			return tg_error(v->d, tg_at_file(v->m->source), "module output %zu is not defined", i);
	}
	return true;
}

bool tg_module_verify(struct tg_diag *d, const struct tg_module *m)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(d->arena));
	struct verifier v = { .d = d, .m = m, .scratch = scratch };
	v.number = tg_value_numbers(scratch, m);
	v.state = tg_alloc(scratch, m->values.n + 1);
	v.mach = tg_mach_verifier(d, m, scratch, v.number);
	bool ok = check_ports(&v) && check_ops(&v) && check_outputs(&v);
	tg_arena_free(scratch);
	return ok;
}
