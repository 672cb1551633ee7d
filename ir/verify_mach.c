/* verify_mach.c: what holds of machine code beyond operand counts, register classes and ranges (verify.c): it belongs to a stage, lies in a
 * mach.code, and every register is written before it is read, on every path.
 *
 * Code is a tree, so paths need no graph: a loop's region may not run at all, so what only it writes counts inside and not behind it, unless its count was
 * last set to a constant above 0; a repeat's runs at least once. On the way around a loop more has been written than on the way in. An instruction under a predicate counts as if it ran:
 * who reads its result stands under the same predicate, or keeps the old value. */
#include "verify_internal.h"

struct mark { size_t log, counts; bool runs; }; /* where an open region began; runs: at least once */
struct mach_verifier {
	struct tg_diag *d;
	const struct tg_module *m;
	struct tg_arena *scratch;
	const uint32_t *number;
	bool *written, *coded;    /* by value: a register with contents; a tensor whose stage has code */
	bool *count;              /* by value: a register that holds a constant above 0 */
	TG_VEC(uint32_t) log;     /* registers in the order in which they became written */
	TG_VEC(uint32_t) counts;  /* the same for `count` */
	TG_VEC(struct mark) marks;
};

#define BAD(v, op, ...) tg_verify_fail((v)->d, (v)->m, op, __VA_ARGS__)

struct mach_verifier *tg_mach_verifier(struct tg_diag *d, const struct tg_module *m, struct tg_arena *scratch, const uint32_t *number)
{
	struct mach_verifier *v = tg_alloc(scratch, sizeof *v);
	*v = (struct mach_verifier){ .d = d, .m = m, .scratch = scratch, .number = number };
	v->written = tg_alloc_n(scratch, m->values.n + 1, sizeof *v->written);
	v->count = tg_alloc_n(scratch, m->values.n + 1, sizeof *v->count);
	v->coded = tg_alloc_n(scratch, m->values.n + 1, sizeof *v->coded);
	return v;
}

static bool is_mach(const struct mach_verifier *v, const struct tg_op *op) { return tg_op_info_in(v->m, op->code)->dialect == TG_MACH; }

static bool check_read(struct mach_verifier *v, const struct tg_op *op, uint32_t i)
{
	uint32_t id = op->in[i].id;
	return id == 0 || v->written[id] || BAD(v, op, "operand %u, %%%u, is read before anything is written to it on every path", i, v->number[id]);
}

static bool check_code(struct mach_verifier *v, const struct tg_op *op)
{
	const struct tg_op *stage = tg_value_get(v->m, op->in[0])->def;
	if (!stage || stage->code != TG_TILE_stage || stage->block != op->block)
		return BAD(v, op, "operand is no result of a stage beside it");
	if (v->coded[op->in[0].id])
		return BAD(v, op, "the stage has machine code already");
	v->coded[op->in[0].id] = true;
	return true;
}

/* Where the op lies: mach.code beside stages, everything else of the dialect in one, nothing else in one. */
static bool check_place(struct mach_verifier *v, const struct tg_op *op)
{
	const struct tg_op *parent = op->block->parent;
	bool in_code = parent && is_mach(v, parent), inner = is_mach(v, op) && op->code != TG_MACH_code;
	if (in_code != inner)
		return BAD(v, op, in_code ? "stands in machine code" : "stands outside mach.code");
	bool head = op->code == TG_MACH_regs || op->code == TG_MACH_buffer || op->code == TG_MACH_birth;
	return !head || parent->code == TG_MACH_code || BAD(v, op, "stands in a loop, expected it in mach.code itself");
}

static void note_write(struct mach_verifier *v, const struct tg_op *op, uint32_t id)
{
	const struct tg_op_info *info = tg_op_info_in(v->m, op->code);
	bool always = (int64_t)op->n_in == info->min_in; /* no predicate */
	if (!v->written[id])
		*TG_PUSH(v->scratch, &v->log) = id;
	v->written[id] = true;
	v->count[id] = info->traits & T_CONSTANT && always && op->attrs[0].i > 0;
	if (v->count[id])
		*TG_PUSH(v->scratch, &v->counts) = id;
}

bool tg_verify_mach(struct mach_verifier *v, const struct tg_op *op)
{
	if (!check_place(v, op))
		return false;
	if (!is_mach(v, op))
		return true;
	if (op->code == TG_MACH_code && !check_code(v, op))
		return false;
	/* a repeat tests its predicate behind the region */
	for (uint32_t i = 0; op->code != TG_MACH_code && op->code != TG_MACH_repeat && i < op->n_in; i++)
		if (!check_read(v, op, i))
			return false;
	for (uint32_t i = 0; op->code >= TG_FIRST_INSN && i < op->n_out; i++)
		if (op->out[i].id)
			note_write(v, op, op->out[i].id);
	if (op->n_regions)
		*TG_PUSH(v->scratch, &v->marks) = (struct mark){ v->log.n, v->counts.n, op->code == TG_MACH_repeat || (op->code == TG_MACH_loop && v->count[op->in[0].id]) };
	return true;
}

bool tg_verify_mach_end(struct mach_verifier *v, const struct tg_op *op)
{
	struct mark mark = v->marks.at[--v->marks.n];
	if (op->code == TG_MACH_repeat && !check_read(v, op, 0))
		return false;
	while (!mark.runs && v->log.n > mark.log)
		v->written[v->log.at[--v->log.n]] = false;
	while (!mark.runs && v->counts.n > mark.counts)
		v->count[v->counts.at[--v->counts.n]] = false;
	return true;
}
