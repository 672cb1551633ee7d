/* mach_text.c: machine code as text, and back: the mach level of the IR, kept in a stage's attribute `code`.
 *
 *   window 256                          how far the scheduler looked ahead
 *   pipelines 1 0                       innermost loops are overlapped with themselves, with that many registers to spare
 *   birth 8192 4096                     SRAM whose contents begin with the stage: address, bytes
 *   buffer in0 4096 512                 name, address, bytes
 *   desc 0 1 2 2 0 ...                  a DMA descriptor, every field of struct tg_dma_desc in order
 *   regs ssvvmp                         classes of %1, %2, ...
 *   vld_f32 %3 %1 0 %0 %0 %2 %0 0 1 %0 mem 2      fields in the order of isa.def; %0 is the fixed register; `pred %5`, `mem N`, `acc N`
 *   loop %1 0 { ... }   repeat %6 { ... }      a loop: after how many trips numbered accumulator rows are used again, 0: not said
 *
 * Text from outside is checked here for form and register classes, by the encoder for ranges. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REGISTERS = 1 << 20, MAX_NESTING = 64 };

static const char letters[N_CLASSES] = { [CLASS_S] = 's', [CLASS_V] = 'v', [CLASS_M] = 'm', [CLASS_P] = 'p' };

/* ---- printing ---------------------------------------------------------------------------------------------------------- */

static void print_desc(struct tg_buf *b, const struct tg_dma_desc *d)
{
	tg_buf_printf(b, "desc %u %u %u %u %llu %lld %lld", d->kind, d->outside, d->src_type, d->dst_type, (unsigned long long)d->fill_bits,
		      (long long)d->src_offset, (long long)d->dst_offset);
	const int64_t *const rows[] = { d->size, d->src_stride, d->dst_stride, d->lo, d->hi };
	for (size_t r = 0; r < TG_ARRAY_LEN(rows); r++)
		for (int i = 0; i < 4; i++)
			tg_buf_printf(b, " %lld", (long long)rows[r][i]);
	tg_buf_printf(b, " %u %u\n", d->list_addr, d->list_bound);
}

static void print_op(struct tg_buf *b, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	tg_buf_puts(b, info->name);
	for (uint32_t i = 0; i < info->n_fields; i++)
		tg_buf_printf(b, info->field[i].kind <= TG_FIELD_P ? " %%%lld" : " %lld", (long long)op->f[i]);
	if (op->pred)
		tg_buf_printf(b, " pred %%%u", op->pred);
	if (op->mem)
		tg_buf_printf(b, " mem %u", op->mem);
	if (op->fresh)
		tg_buf_puts(b, " fresh");
	if (op->acc)
		tg_buf_printf(b, " acc %u", op->acc);
	tg_buf_puts(b, "\n");
}

static void print_tree(struct tg_buf *b, struct tg_arena *a, const struct mseq *top)
{
	TG_VEC(const struct mnode *) stack = { 0 };
	const struct mnode *n = top->first;
	for (;;) {
		while (!n && stack.n) {
			n = stack.at[--stack.n]->next;
			tg_buf_puts(b, "}\n");
		}
		if (!n)
			return;
		if (n->kind == NODE_OP) {
			print_op(b, &n->op);
			n = n->next;
			continue;
		}
		tg_buf_printf(b, n->kind == NODE_LOOP ? "loop %%%u %u {\n" : "repeat %%%u {\n", n->control.id, n->acc_reuse);
		*TG_PUSH(a, &stack) = n;
		n = n->body.first;
	}
}

void mach_print(struct tg_buf *b, const struct stage_code *c)
{
	tg_buf_printf(b, "window %u\npipelines %d %u\n", c->window, c->pipelines, c->spare);
	for (uint32_t i = 0; i < c->n_births; i++)
		tg_buf_printf(b, "birth %llu %llu\n", (unsigned long long)c->births[i].sram, (unsigned long long)c->births[i].bytes);
	for (uint32_t i = 0; i < c->n_buffers; i++)
		tg_buf_printf(b, "buffer %s %llu %llu\n", c->buffers[i].name, (unsigned long long)c->buffers[i].sram, (unsigned long long)c->buffers[i].bytes);
	for (uint32_t i = 0; i < c->n_descs; i++)
		print_desc(b, &c->descs[i]);
	tg_buf_puts(b, "regs ");
	for (size_t i = 1; i < c->f->classes.n; i++)
		tg_buf_add(b, &letters[c->f->classes.at[i]], 1);
	tg_buf_puts(b, "\n");
	print_tree(b, c->f->arena, &c->f->top);
}

/* ---- parsing -------------------------------------------------------------------------------------------------------------- */

struct reader { const char *at; const char *failed; struct tg_arena *a; };

/* The next word of the line, or of the text when `lines`; empty at the end. */
static size_t word(struct reader *r, const char **w)
{
	while (*r->at == ' ')
		r->at++;
	*w = r->at;
	while (*r->at && *r->at != ' ' && *r->at != '\n')
		r->at++;
	return (size_t)(r->at - *w);
}

static bool is_word(const char *w, size_t n, const char *what)
{
	return n == strlen(what) && memcmp(w, what, n) == 0;
}

static int64_t number(struct reader *r)
{
	const char *w;
	size_t n = word(r, &w);
	char text[32], *end;
	if (n == 0 || n >= sizeof text) {
		r->failed = "a number is missing";
		return 0;
	}
	memcpy(text, w, n);
	text[n] = 0;
	int64_t v = text[0] == '-' ? strtoll(text, &end, 10) : (int64_t)strtoull(text, &end, 10);
	if (*end)
		r->failed = "a number is malformed";
	return v;
}

static int64_t reg(struct reader *r, const struct mfn *f, int want)
{
	while (*r->at == ' ')
		r->at++;
	if (*r->at != '%') {
		r->failed = "a register is missing";
		return 0;
	}
	r->at++;
	int64_t v = number(r);
	if (v < 0 || (uint64_t)v >= f->classes.n || (v > 0 && f->classes.at[v] != want)) {
		r->failed = "a register is of the wrong class";
		return 0;
	}
	return v;
}

static void parse_desc(struct reader *r, struct stage_code *c)
{
	struct tg_dma_desc d = { 0 };
	d.kind = (uint8_t)number(r);
	d.outside = (uint8_t)number(r);
	d.src_type = (uint8_t)number(r);
	d.dst_type = (uint8_t)number(r);
	d.fill_bits = (uint64_t)number(r);
	d.src_offset = number(r);
	d.dst_offset = number(r);
	int64_t *const rows[] = { d.size, d.src_stride, d.dst_stride, d.lo, d.hi };
	for (size_t k = 0; k < TG_ARRAY_LEN(rows); k++)
		for (int i = 0; i < 4; i++)
			rows[k][i] = number(r);
	d.list_addr = (uint32_t)number(r);
	d.list_bound = (uint32_t)number(r);
	c->descs = tg_grow(r->a, c->descs, c->n_descs * sizeof d, (c->n_descs + 1) * sizeof d);
	c->descs[c->n_descs++] = d;
}

static void parse_regs(struct reader *r, struct stage_code *c)
{
	const char *w;
	size_t n = word(r, &w);
	for (size_t i = 0; i < n && n < MAX_REGISTERS; i++) {
		uint32_t k = 0;
		while (k < N_CLASSES && letters[k] != w[i])
			k++;
		if (k == N_CLASSES)
			r->failed = "a register class is none of s, v, m, p";
		else
			mreg(c->f, (enum vclass)k);
	}
}

static void parse_pipelines(struct reader *r, struct stage_code *c)
{
	c->pipelines = number(r) != 0;
	int64_t spare = number(r);
	if (spare < 0 || spare > 256)
		r->failed = "more spare registers than a chip has";
	c->spare = (uint32_t)spare;
}

static void parse_buffer(struct reader *r, struct stage_code *c)
{
	const char *w;
	size_t n = word(r, &w);
	struct tg_sram_buffer b = { .name = tg_strndup(r->a, w, n) };
	b.sram = (uint64_t)number(r);
	b.bytes = (uint64_t)number(r);
	c->buffers = tg_grow(r->a, c->buffers, c->n_buffers * sizeof b, (c->n_buffers + 1) * sizeof b);
	c->buffers[c->n_buffers++] = b;
}

static void parse_birth(struct reader *r, struct stage_code *c)
{
	struct tg_birth b = { .sram = (uint64_t)number(r) };
	b.bytes = (uint64_t)number(r);
	c->births = tg_grow(r->a, c->births, c->n_births * sizeof b, (c->n_births + 1) * sizeof b);
	c->births[c->n_births++] = b;
}

static void parse_op(struct reader *r, struct stage_code *c, struct mcursor *at, enum tg_opcode op)
{
	static const int classes[] = { [TG_FIELD_S] = CLASS_S, [TG_FIELD_V] = CLASS_V, [TG_FIELD_M] = CLASS_M, [TG_FIELD_P] = CLASS_P };
	const struct tg_insn_info *info = tg_insn_info(op);
	int64_t f[TG_MAX_FIELDS] = { 0 };
	const char *w;
	if (info->slot == TG_SLOT_C && op != TG_I_idle) {
		r->failed = "loops and branches are written as loop and repeat";
		return;
	}
	for (uint32_t i = 0; i < info->n_fields; i++)
		f[i] = info->field[i].kind <= TG_FIELD_P ? reg(r, c->f, classes[info->field[i].kind]) : number(r);
	struct mop *m = memit(at, op, f, info->n_fields);
	for (size_t n; (n = word(r, &w));) {
		if (is_word(w, n, "pred"))
			m->pred = (uint32_t)reg(r, c->f, CLASS_P);
		else if (is_word(w, n, "mem"))
			m->mem = (uint32_t)number(r);
		else if (is_word(w, n, "fresh"))
			m->fresh = true;
		else if (is_word(w, n, "acc"))
			m->acc = (uint32_t)number(r);
		else
			r->failed = "a word is none of pred, mem, fresh and acc";
		if (m->acc >= TG_MAX_ACC_GROUPS)
			r->failed = "a number of accumulator rows is too large";
		if (r->failed)
			return;
	}
}

const char *mach_parse(struct tg_arena *a, const struct tg_chip *chip, const char *text, uint32_t prov, struct stage_code *c)
{
	struct reader r = { text, NULL, a };
	struct mcursor stack[MAX_NESTING], at;
	uint32_t depth = 0;
	*c = (struct stage_code){ .f = tg_alloc(a, sizeof *c->f) };
	mfn_init(c->f, a, chip);
	at = (struct mcursor){ .f = c->f, .seq = &c->f->top, .prov = prov };
	while (*r.at && !r.failed) {
		const char *w;
		size_t n = word(&r, &w);
		if (n == 0) {
			r.at += *r.at == '\n';
			continue;
		}
		bool loop = is_word(w, n, "loop"), repeat = is_word(w, n, "repeat");
		if (is_word(w, n, "window"))
			c->window = (uint32_t)number(&r);
		else if (is_word(w, n, "pipelines"))
			parse_pipelines(&r, c);
		else if (is_word(w, n, "birth"))
			parse_birth(&r, c);
		else if (is_word(w, n, "buffer"))
			parse_buffer(&r, c);
		else if (is_word(w, n, "desc"))
			parse_desc(&r, c);
		else if (is_word(w, n, "regs"))
			parse_regs(&r, c);
		else if (loop || repeat) {
			vreg control = { (uint32_t)reg(&r, c->f, loop ? CLASS_S : CLASS_P) };
			int64_t reuse = loop ? number(&r) : 0;
			if (reuse < 0 || reuse > UINT32_MAX)
				r.failed = "a loop's reuse of accumulator rows is negative or too large";
			if (r.failed || depth == MAX_NESTING || word(&r, &w) != 1 || *w != '{') {
				r.failed = r.failed ? r.failed : "a loop does not open, or loops nest too deep";
				break;
			}
			stack[depth++] = at;
			at = loop ? mloop(&stack[depth - 1], control) : mrepeat(&stack[depth - 1], control);
			stack[depth - 1].seq->last->acc_reuse = (uint32_t)reuse;
		} else if (is_word(w, n, "}")) {
			if (depth == 0)
				r.failed = "a loop closes that was not open";
			else
				at = stack[--depth];
		} else {
			enum tg_opcode op = tg_opcode_from_name(w, n);
			if (op == TG_I_none)
				r.failed = "an unknown instruction";
			else
				parse_op(&r, c, &at, op);
		}
	}
	return r.failed ? r.failed : depth ? "a loop is not closed" : NULL;
}
