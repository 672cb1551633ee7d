/* disasm.c: an executable as the text that asm.c reads back to the same executable (large data aside: see print_segment). */
#include "isa_int.h"

#include <string.h>

#define WHOLE_SEGMENT_BYTES 65536 /* larger data is named in a comment by its digest, not printed */

void tg_insn_print(struct tg_buf *out, const struct tg_insn *in)
{
	static const char *const kinds[] = {[TG_FIELD_S] = "s", [TG_FIELD_V] = "v", [TG_FIELD_M] = "m", [TG_FIELD_P] = "p", [TG_FIELD_I] = "", [TG_FIELD_U] = "", [TG_FIELD_T] = "w"};
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	if (in->pred)
		tg_buf_printf(out, "(p%u) ", in->pred);
	tg_buf_puts(out, info->name);
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		tg_buf_puts(out, i ? ", " : " ");
		if (f->letter == 'a' && insn_has_address(info)) {
			tg_buf_printf(out, in->f[i + 1] ? "[s%lld%+lld]" : "[s%lld]", (long long)in->f[i], (long long)in->f[i + 1]);
			i++;
			continue;
		}
		tg_buf_printf(out, "%s%lld", kinds[f->kind], (long long)in->f[i]);
	}
}

static void print_text(struct tg_buf *out, const char *s)
{
	tg_buf_puts(out, "\"");
	tg_buf_quote(out, s ? s : "");
	tg_buf_puts(out, "\"");
}

static void print_binding(struct tg_buf *out, const char *what, const struct tg_binding *b)
{
	tg_buf_printf(out, "%s ", what);
	print_text(out, b->name);
	tg_buf_printf(out, " %s ", tg_dtypes[b->dtype].name);
	tg_shape_print(out, &b->shape);
	tg_buf_printf(out, " %llu\n", (unsigned long long)b->dram);
}

static void print_segment(struct tg_buf *out, const struct tg_segment *s)
{
	const uint8_t *p = s->data;
	if (!p) {
		tg_buf_printf(out, ".fill %llu %llu %u 0x%llx\n", (unsigned long long)s->dram, (unsigned long long)s->bytes, s->fill_bytes, (unsigned long long)s->fill);
		return;
	}
	if (s->bytes > WHOLE_SEGMENT_BYTES) {
		struct tg_sha256 h;
		uint8_t digest[32];
		char hex[65];
		tg_sha256_init(&h);
		tg_sha256_add(&h, p, s->bytes);
		tg_sha256_end(&h, digest);
		tg_sha256_hex(digest, hex);
		tg_buf_printf(out, "# %llu bytes at %llu, sha256 %s\n", (unsigned long long)s->bytes, (unsigned long long)s->dram, hex);
		return;
	}
	for (uint64_t at = 0; at < s->bytes || at == 0; at += 64) {
		tg_buf_printf(out, ".hex %llu \"", (unsigned long long)(s->dram + at));
		for (uint64_t i = at; i < at + 64 && i < s->bytes; i++)
			tg_buf_printf(out, "%02x", p[i]);
		tg_buf_puts(out, "\"\n");
	}
}

static void print_header(struct tg_buf *out, const struct tg_exe *x)
{
	tg_buf_printf(out, "# chip %s\n.version ", x->chip.name);
	print_text(out, x->version);
	tg_buf_puts(out, "\n.flags ");
	print_text(out, x->flags);
	char hex[65];
	tg_sha256_hex(x->model_sha256, hex);
	tg_buf_printf(out, "\n.model_sha256 \"%s\"\n.macs %llu\n.dram_bytes %llu\n", hex, (unsigned long long)x->macs, (unsigned long long)x->dram_bytes);
	for (size_t i = 0; i < x->provs.n; i++) {
		tg_buf_puts(out, ".prov ");
		print_text(out, x->provs.at[i]);
		tg_buf_puts(out, "\n");
	}
	if (x->provs.n)
		tg_buf_puts(out, ".noprov\n");
	for (size_t i = 0; i < x->inputs.n; i++)
		print_binding(out, ".input", &x->inputs.at[i]);
	for (size_t i = 0; i < x->outputs.n; i++)
		print_binding(out, ".output", &x->outputs.at[i]);
	for (size_t i = 0; i < x->segments.n; i++)
		print_segment(out, &x->segments.at[i]);
}

static void print_steps(struct tg_buf *out, const struct tg_exe *x)
{
	for (size_t i = 0; i < x->steps.n; i++) {
		const struct tg_step *s = &x->steps.at[i];
		if (!s->on_host) {
			tg_buf_printf(out, ".step %u\n", s->entry_word);
			continue;
		}
		tg_buf_printf(out, ".host %u ", s->n_in);
		print_text(out, s->reason);
		tg_buf_puts(out, " ");
		print_text(out, s->text);
		tg_buf_puts(out, "\n");
		for (uint32_t k = 0; k < s->n_args; k++)
			print_binding(out, ".arg", &s->args[k]);
	}
	for (size_t i = 0; i < x->buffers.n; i++) {
		const struct tg_sram_buffer *b = &x->buffers.at[i];
		tg_buf_puts(out, ".buffer ");
		print_text(out, b->name);
		tg_buf_printf(out, " %llu %llu %u %u\n", (unsigned long long)b->sram, (unsigned long long)b->bytes, b->first_word, b->end_word);
	}
}

static void print_bundle(struct tg_buf *out, const struct tg_bundle *b)
{
	tg_buf_puts(out, b->n ? "\t" : "\tnop");
	for (uint32_t i = 0; i < b->n; i++) {
		tg_buf_puts(out, i ? " ; " : "");
		tg_insn_print(out, &b->insn[i]);
	}
	tg_buf_puts(out, "\n");
}

/* Which words are the target of some instruction: these get a label. */
static uint8_t *find_targets(struct tg_arena *a, const struct tg_exe *x, struct tg_bundle *b)
{
	uint8_t *is_target = tg_alloc(a, (size_t)x->n_words + 1);
	size_t next;
	for (size_t at = 0; at < x->n_words; at = next) {
		if (tg_bundle_decode(&x->chip, x->code, x->n_words, at, b, &next)) {
			next = at + 1;
			continue;
		}
		for (uint32_t i = 0; i < b->n; i++) {
			const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)b->insn[i].op);
			for (unsigned k = 0; k < info->n_fields; k++) {
				if (info->field[k].kind == TG_FIELD_T && b->insn[i].f[k] <= x->n_words)
					is_target[b->insn[i].f[k]] = 1;
			}
		}
	}
	return is_target;
}

/* What the compiler expected of the code from word `at` on. */
static void print_notes(struct tg_buf *out, const struct tg_exe *x, size_t at, size_t *prediction, size_t *loop)
{
	for (; *prediction < x->predictions.n && x->predictions.at[*prediction].word <= at; ++*prediction)
		tg_buf_printf(out, ".predicted %llu\n", (unsigned long long)x->predictions.at[*prediction].cycles);
	for (; *loop < x->loops.n && x->loops.at[*loop].word <= at; ++*loop) {
		const struct tg_loop_note *l = &x->loops.at[*loop];
		tg_buf_printf(out, ".pipeline %u %u %u %u %llu\n", l->interval, l->least, l->stages, l->copies, (unsigned long long)l->trips);
	}
}

void tg_disasm(struct tg_buf *out, const struct tg_exe *x)
{
	struct tg_arena *a = out->arena;
	struct tg_bundle *b = tg_alloc(a, sizeof *b);
	uint8_t *is_target = find_targets(a, x, b);
	size_t next, range = 0, birth = 0, prediction = 0, loop = 0;
	uint32_t prov = UINT32_MAX;
	print_header(out, x);
	print_steps(out, x);
	for (size_t at = 0; at < x->n_words; at = next) {
		while (range < x->ranges.n && x->ranges.at[range].end_word <= at)
			range++;
		uint32_t now = range < x->ranges.n && x->ranges.at[range].first_word <= at ? x->ranges.at[range].prov : UINT32_MAX;
		if (now != prov) {
			tg_buf_puts(out, now == UINT32_MAX ? ".noprov" : ".prov ");
			if (now != UINT32_MAX)
				print_text(out, x->provs.at[now]);
			tg_buf_puts(out, "\n");
		}
		prov = now;
		if (is_target[at])
			tg_buf_printf(out, "w%zu:\n", at);
		for (; birth < x->births.n && x->births.at[birth].word <= at; birth++)
			tg_buf_printf(out, ".birth %llu %llu\n", (unsigned long long)x->births.at[birth].sram, (unsigned long long)x->births.at[birth].bytes);
		print_notes(out, x, at, &prediction, &loop);
		const char *why = tg_bundle_decode(&x->chip, x->code, x->n_words, at, b, &next);
		if (why) {
			tg_buf_printf(out, "# word %zu: 0x%016llx: %s\n", at, (unsigned long long)x->code[at], why);
			next = at + 1;
			continue;
		}
		print_bundle(out, b);
	}
	print_notes(out, x, x->n_words, &prediction, &loop);
	if (is_target[x->n_words])
		tg_buf_printf(out, "w%u:\n", x->n_words);
}
