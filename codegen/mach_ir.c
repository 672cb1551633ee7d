/* mach_ir.c: machine code as ops of the module, and back: the mach dialect of the IR.
 *
 *   mach.code(%4) {window = 256, pipelines = 1} @[0] {
 *   mach.birth() {sram = 4096, bytes = 1024} @[0]                                 SRAM whose contents begin here
 *   mach.buffer() {name = "in0", sram = 4096, bytes = 512} @[0]
 *   mach.dma() {kind = 0, size = [1, 1, 1, 512], ...} @[0]                        a DMA descriptor: the fields of isa/desc_keys.def
 *   %5: sreg, %6: sreg, %7: vreg = mach.regs() @[0]
 *   %5 = mach.smov() {i = 4096} @[0]
 *   mach.loop(%6) @[0] {
 *   %7 = mach.vld_f32(%5, %0, %0, %0, %0, %0) {k = 1, mem = 2} @[0]               operands and attributes in the order of isa.def
 *   }
 *   }
 *
 * The op table is made of the rows of isa.def: registers that a row writes are results, those that it reads operands, its immediates
 * attributes named by their letter. %0 is the fixed register of its class. An operand more is the predicate. Control flow is mach.loop and
 * mach.repeat, so that rows of the control slot are no ops here, but for `idle`. What is true of the op on this chip only (its ranges of units
 * and rows) the encoder checks. */
#include "driver.h"

#include <string.h>

enum { DESC_ROW = TG_N_INSNS, N_ROWS }; /* the descriptor's row follows the instructions */
/* Attributes of every instruction behind its immediates. */
enum { EXTRA_MEM, EXTRA_FRESH, EXTRA_ACC, N_EXTRA };
static const struct tg_attr_info extra[N_EXTRA] = {
	{ "mem", TG_ATTR_INT, 0, NULL, "number of the buffer that it touches: other numbers lie elsewhere; 0: none", 0, UINT32_MAX, 0 },
	{ "fresh", TG_ATTR_INT, 0, NULL, "1: predicated, and nobody reads the result when it does not run", 0, 1, 0 },
	{ "acc", TG_ATTR_INT, 0, NULL, "number of its accumulator rows within the block; 0: any", 0, TG_MAX_ACC_GROUPS - 1, 0 },
};

#define FIELD_MAX(field) (sizeof((struct tg_dma_desc *)0)->field < 8 ? (INT64_C(1) << 8 * sizeof((struct tg_dma_desc *)0)->field % 64) - 1 : 0)
static const struct tg_attr_info desc_attrs[] = {
#define ONE(name, field) { #name, TG_ATTR_INT, 0, NULL, "of a DMA descriptor", 0, FIELD_MAX(field), 0 },
#define FOUR(name, field) { #name, TG_ATTR_INTS, 0, NULL, "of a DMA descriptor", 0, 0, 4 },
#include "desc_keys.def"
};

/* ---- the table ------------------------------------------------------------------------------------------------------------- */

static bool is_reg(const struct tg_field_info *f) { return f->kind <= TG_FIELD_P; }
static uint8_t kind_of(const struct tg_field_info *f) { return (uint8_t)(TG_SREG + f->kind - TG_FIELD_S); }

static struct tg_attr_info immediate(struct tg_arena *a, enum tg_opcode op, const struct tg_field_info *f)
{
	struct tg_attr_info out = { .name = tg_strndup(a, &f->letter, 1), .kind = TG_ATTR_INT, .doc = "immediate" };
	tg_field_range(op, f, &out.lo, &out.hi);
	return out;
}

static struct tg_op_info row(struct tg_arena *a, enum tg_opcode op)
{
	const struct tg_insn_info *info = tg_insn_info(op);
	struct tg_op_info out = { .name = info->name, .doc = info->doc, .dialect = TG_MACH, .traits = op == TG_I_smov ? T_CONSTANT : 0 };
	uint8_t *kinds = tg_alloc_n(a, TG_MAX_FIELDS + 1, sizeof *kinds);
	struct tg_attr_info *attrs = tg_alloc_n(a, TG_MAX_FIELDS + N_EXTRA, sizeof *attrs);
	for (uint32_t i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (!is_reg(f)) {
			attrs[out.n_attrs++] = immediate(a, op, f);
		} else if (f->is_def) {
			out.out_kind = kind_of(f);
			out.n_out = 1;
		} else {
			kinds[out.min_in++] = kind_of(f);
		}
	}
	memcpy(attrs + out.n_attrs, extra, sizeof extra);
	out.n_attrs += N_EXTRA;
	kinds[out.min_in] = TG_PREG;
	out.max_in = out.min_in + 1;
	out.in_kinds = kinds;
	out.attrs = attrs;
	return out;
}

const struct tg_insn_table *tg_mach_table(struct tg_arena *a)
{
	struct tg_op_info *rows = tg_alloc_n(a, N_ROWS, sizeof *rows);
	struct tg_insn_table *t = tg_alloc(a, sizeof *t);
	for (uint32_t op = TG_I_none + 1; op < TG_N_INSNS; op++)
		if (tg_insn_info((enum tg_opcode)op)->slot != TG_SLOT_C || op == TG_I_idle)
			rows[op] = row(a, (enum tg_opcode)op);
	rows[DESC_ROW] = (struct tg_op_info){ .name = "dma", .doc = "a DMA descriptor", .dialect = TG_MACH, .n_attrs = TG_ARRAY_LEN(desc_attrs), .attrs = desc_attrs };
	*t = (struct tg_insn_table){ rows, N_ROWS };
	return t;
}

/* ---- into the module ---------------------------------------------------------------------------------------------------------- */

struct writer { struct tg_module *m; struct tg_block *at; tg_prov prov; const tg_val *reg; /* by virtual register */ };

static struct tg_op *put(struct writer *w, uint32_t code, const tg_val *in, uint32_t n_in, uint32_t n_out)
{
	return tg_op_new(w->m, w->at, NULL, (uint16_t)code, in, n_in, n_out, w->prov);
}

static void put_desc(struct writer *w, const struct tg_dma_desc *d)
{
	union tg_attr *at = put(w, TG_FIRST_INSN + DESC_ROW, NULL, 0, 0)->attrs;
	int64_t *four;
#define ONE(name, field) (at++)->i = (int64_t)d->field;
#define FOUR(name, field) \
	four = tg_alloc_n(w->m->arena, 4, sizeof *four); \
	memcpy(four, d->field, sizeof d->field); \
	at->ints.n = 4; \
	(at++)->ints.at = four;
#include "desc_keys.def"
}

static void put_buffer(struct writer *w, const struct tg_sram_buffer *b)
{
	union tg_attr *at = put(w, TG_MACH_buffer, NULL, 0, 0)->attrs;
	at[TG_AT(mach_buffer, name)].s = tg_strdup(w->m->arena, b->name);
	at[TG_AT(mach_buffer, sram)].i = (int64_t)b->sram;
	at[TG_AT(mach_buffer, bytes)].i = (int64_t)b->bytes;
}

static void put_birth(struct writer *w, const struct tg_birth *b)
{
	union tg_attr *at = put(w, TG_MACH_birth, NULL, 0, 0)->attrs;
	at[TG_AT(mach_birth, sram)].i = (int64_t)b->sram;
	at[TG_AT(mach_birth, bytes)].i = (int64_t)b->bytes;
}

/* The op that declares the registers; reg[0] stays none. */
static tg_val *put_regs(struct writer *w, struct tg_arena *scratch, const struct mfn *f, uint32_t n)
{
	tg_val *reg = tg_alloc_n(scratch, n + 1, sizeof *reg);
	struct tg_op *op = n > 1 ? put(w, TG_MACH_regs, NULL, 0, n - 1) : NULL;
	for (uint32_t i = 1; i < n; i++) {
		reg[i] = op->out[i - 1] = tg_value_new(w->m, (enum tg_value_kind)(TG_SREG + f->classes.at[i]), TG_none, NULL, NULL);
		tg_value_of(w->m, reg[i])->def = op;
	}
	return reg;
}

static void put_op(struct writer *w, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	tg_val in[TG_MAX_FIELDS + 1], out = { 0 };
	uint32_t n_in = 0, n_out = 0, n_attrs = 0;
	for (uint32_t i = 0; i < info->n_fields; i++) {
		if (is_reg(&info->field[i]) && info->field[i].is_def) {
			out = w->reg[op->f[i]];
			n_out = 1;
		} else if (is_reg(&info->field[i])) {
			in[n_in++] = w->reg[op->f[i]];
		}
	}
	if (op->pred)
		in[n_in++] = w->reg[op->pred];
	struct tg_op *to = put(w, (uint32_t)TG_FIRST_INSN + op->op, in, n_in, n_out);
	if (n_out)
		to->out[0] = out;
	for (uint32_t i = 0; i < info->n_fields; i++)
		if (!is_reg(&info->field[i]))
			to->attrs[n_attrs++].i = op->f[i];
	to->attrs[n_attrs + EXTRA_MEM].i = op->mem;
	to->attrs[n_attrs + EXTRA_FRESH].i = op->fresh;
	to->attrs[n_attrs + EXTRA_ACC].i = op->acc;
}

static struct tg_block *put_loop(struct writer *w, const struct mnode *n)
{
	tg_val control = w->reg[n->control.id];
	struct tg_op *op = put(w, n->kind == NODE_LOOP ? TG_MACH_loop : TG_MACH_repeat, &control, 1, 0);
	if (n->kind == NODE_LOOP) {
		op->attrs[TG_AT(mach_loop, reuse)].i = n->acc_reuse;
		op->attrs[TG_AT(mach_loop, transfer)].i = n->chunk_trips;
	}
	return tg_region_new(w->m, op);
}

struct open { const struct mnode *node; struct tg_block *block; };

static void put_tree(struct writer *w, struct tg_arena *scratch, const struct mseq *top)
{
	TG_VEC(struct open) stack = { 0 };
	const struct mnode *n = top->first;
	for (;;) {
		while (!n && stack.n) {
			struct open o = stack.at[--stack.n];
			n = o.node->next;
			w->at = o.block;
		}
		if (!n)
			return;
		w->prov = (tg_prov){ n->prov };
		if (n->kind == NODE_OP) {
			put_op(w, &n->op);
			n = n->next;
			continue;
		}
		*TG_PUSH(scratch, &stack) = (struct open){ n, w->at };
		w->at = put_loop(w, n);
		n = n->body.first;
	}
}

void mach_write(struct tg_module *m, struct tg_arena *scratch, struct tg_op *stage, const struct stage_code *c)
{
	struct writer w = { .m = m, .prov = stage->prov };
	struct tg_op *code = tg_op_new(m, stage->block, stage->next, TG_MACH_code, stage->out, 1, 0, stage->prov);
	code->attrs[TG_AT(mach_code, window)].i = c->window;
	code->attrs[TG_AT(mach_code, pipelines)].i = c->pipelines;
	code->attrs[TG_AT(mach_code, spare)].i = c->spare;
	code->attrs[TG_AT(mach_code, predicted)].i = (int64_t)c->predicted;
	w.at = tg_region_new(m, code);
	for (uint32_t i = 0; i < c->n_births; i++)
		put_birth(&w, &c->births[i]);
	for (uint32_t i = 0; i < c->n_buffers; i++)
		put_buffer(&w, &c->buffers[i]);
	for (uint32_t i = 0; i < c->n_descs; i++)
		put_desc(&w, &c->descs[i]);
	w.reg = put_regs(&w, scratch, c->f, c->n_regs);
	put_tree(&w, scratch, &c->f->top);
}

/* ---- out of the module ---------------------------------------------------------------------------------------------------------- */

struct reader { struct tg_arena *a; struct stage_code *c; vreg *reg; /* by value */ struct mcursor at; };

static void take_desc(struct reader *r, const struct tg_op *op)
{
	const union tg_attr *at = op->attrs;
	struct stage_code *c = r->c;
	struct tg_dma_desc d = { 0 };
#define ONE(name, field) d.field = (__typeof__(d.field))(at++)->i; /* in range */
#define FOUR(name, field) memcpy(d.field, (at++)->ints.at, sizeof d.field);
#include "desc_keys.def"
	c->descs = tg_grow(r->a, c->descs, c->n_descs * sizeof d, (c->n_descs + 1) * sizeof d);
	c->descs[c->n_descs++] = d;
}

static void take_buffer(struct reader *r, const struct tg_op *op)
{
	struct stage_code *c = r->c;
	const char *name = op->attrs[TG_AT(mach_buffer, name)].s;
	struct tg_sram_buffer b = { .name = tg_strdup(r->a, name ? name : "") };
	b.sram = (uint64_t)op->attrs[TG_AT(mach_buffer, sram)].i;
	b.bytes = (uint64_t)op->attrs[TG_AT(mach_buffer, bytes)].i;
	c->buffers = tg_grow(r->a, c->buffers, c->n_buffers * sizeof b, (c->n_buffers + 1) * sizeof b);
	c->buffers[c->n_buffers++] = b;
}

static void take_birth(struct reader *r, const struct tg_op *op)
{
	struct stage_code *c = r->c;
	struct tg_birth b = { .sram = (uint64_t)op->attrs[TG_AT(mach_birth, sram)].i, .bytes = (uint64_t)op->attrs[TG_AT(mach_birth, bytes)].i };
	c->births = tg_grow(r->a, c->births, c->n_births * sizeof b, (c->n_births + 1) * sizeof b);
	c->births[c->n_births++] = b;
}

static void take_regs(struct reader *r, const struct tg_module *m, const struct tg_op *op)
{
	for (uint32_t i = 0; i < op->n_out; i++)
		r->reg[op->out[i].id] = mreg(r->c->f, (enum vclass)(tg_value_get(m, op->out[i])->kind - TG_SREG));
}

static vreg reg_of(const struct reader *r, tg_val v) { return v.id ? r->reg[v.id] : (vreg){ 0 }; }

static void take_insn(struct reader *r, const struct tg_op *op)
{
	uint16_t code = (uint16_t)(op->code - TG_FIRST_INSN);
	const struct tg_insn_info *info = tg_insn_info(code);
	int64_t f[TG_MAX_FIELDS] = { 0 };
	uint32_t n_in = 0, n_attrs = 0;
	for (uint32_t i = 0; i < info->n_fields; i++)
		f[i] = !is_reg(&info->field[i]) ? op->attrs[n_attrs++].i : R(reg_of(r, info->field[i].is_def ? op->out[0] : op->in[n_in++]));
	struct mop *to = memit(&r->at, code, f, info->n_fields);
	to->pred = op->n_in > n_in ? reg_of(r, op->in[n_in]).id : 0;
	to->mem = (uint32_t)op->attrs[n_attrs + EXTRA_MEM].i;
	to->fresh = op->attrs[n_attrs + EXTRA_FRESH].i != 0;
	to->acc = (uint32_t)op->attrs[n_attrs + EXTRA_ACC].i;
}

static struct mcursor take_loop(struct reader *r, const struct tg_op *op)
{
	vreg control = reg_of(r, op->in[0]);
	if (op->code == TG_MACH_repeat)
		return mrepeat(&r->at, control);
	struct mcursor in = mloop(&r->at, control);
	r->at.seq->last->acc_reuse = (uint32_t)op->attrs[TG_AT(mach_loop, reuse)].i;
	r->at.seq->last->chunk_trips = (uint32_t)op->attrs[TG_AT(mach_loop, transfer)].i;
	return in;
}

static void take_op(struct reader *r, const struct tg_module *m, const struct tg_op *op)
{
	r->at.prov = op->prov.id;
	if (op->code == TG_MACH_buffer)
		take_buffer(r, op);
	else if (op->code == TG_MACH_birth)
		take_birth(r, op);
	else if (op->code == TG_MACH_regs)
		take_regs(r, m, op);
	else if (op->code == TG_FIRST_INSN + DESC_ROW)
		take_desc(r, op);
	else
		take_insn(r, op);
}

struct opened { const struct tg_op *op; struct mcursor at; };

static void take_tree(struct reader *r, const struct tg_module *m, const struct tg_op *code)
{
	TG_VEC(struct opened) stack = { 0 };
	const struct tg_op *op = code->regions[0]->first;
	for (;;) {
		while (!op && stack.n) {
			struct opened o = stack.at[--stack.n];
			op = o.op->next;
			r->at = o.at;
		}
		if (!op)
			return;
		if (!op->n_regions) {
			take_op(r, m, op);
			op = op->next;
			continue;
		}
		r->at.prov = op->prov.id;
		struct mcursor in = take_loop(r, op);
		*TG_PUSH(r->a, &stack) = (struct opened){ op, r->at };
		r->at = in;
		op = op->regions[0]->first;
	}
}

void mach_read(struct tg_arena *a, const struct tg_chip *chip, const struct tg_module *m, const struct tg_op *code, vreg *reg, struct stage_code *c)
{
	*c = (struct stage_code){ .f = tg_alloc(a, sizeof *c->f) };
	mfn_init(c->f, a, chip);
	c->window = (uint32_t)code->attrs[TG_AT(mach_code, window)].i;
	c->pipelines = code->attrs[TG_AT(mach_code, pipelines)].i != 0;
	c->spare = (uint32_t)code->attrs[TG_AT(mach_code, spare)].i;
	c->predicted = (uint64_t)code->attrs[TG_AT(mach_code, predicted)].i;
	struct reader r = { .a = a, .c = c, .reg = reg, .at = { .f = c->f, .seq = &c->f->top } };
	take_tree(&r, m, code);
}
