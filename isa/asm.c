/* asm.c: assembly text to an executable. Instructions come from the table: operands are the row's fields in order.
 *
 *   name:                       a label, the word index of the next bundle
 *   op a, b, c ; op d           one bundle a line; `(p2) op` under a predicate; `nop` an empty bundle; '#' starts a comment
 *   [s2+64]                     in loads and stores stands for the two operands s2, 64
 *   .directive ...              docs/isa.md lists them; the table `directives` of asm_directive.c is the list
 *
 * Untrusted text: lines and tokens are bounded, nothing recurses, every number is range-checked by the encoder. */
#include "asm.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES (64u << 20)

/* ---- lines ---- */

static bool is_label(struct as *s)
{
	const char *q = s->p;
	while (q < s->end && tg_as_word_char(*q))
		q++;
	return q > s->p && q < s->end && *q == ':';
}

static bool line(struct as *s)
{
	tg_as_blanks(s);
	size_t n;
	while (is_label(s)) {
		const char *w = tg_as_word(s, &n);
		*TG_PUSH(s->arena, &s->labels) = (struct label){tg_strndup(s->arena, w, n), (uint32_t)s->code.n, s->line};
		s->p++;
		tg_as_blanks(s);
	}
	if (tg_as_at_end(s))
		return true;
	if (*s->p == '.') {
		const char *w = tg_as_word(s, &n);
		return tg_as_directive(s, w, n);
	}
	return tg_as_bundle(s);
}

static bool lines(struct as *s)
{
	bool ok = true;
	while (s->p < s->end) {
		s->line++;
		s->line_start = s->p;
		if (!line(s)) {
			ok = false;
			if (s->d->n_errors > s->d->max_errors)
				return false;
		}
		while (s->p < s->end && *s->p != '\n')
			s->p++;
		s->p += s->p < s->end;
		if (s->code.n > INT32_MAX / 2)
			return tg_limit(s->d, tg_as_here(s), "more than %d words of code", INT32_MAX / 2);
	}
	return ok;
}

static int by_name(const void *a, const void *b)
{
	const struct label *x = a, *y = b;
	int c = strcmp(x->name, y->name);
	return c ? c : x->line < y->line ? -1 : x->line > y->line;
}

static const struct label *find_label(const struct as *s, const char *name)
{
	size_t lo = 0, hi = s->labels.n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(name, s->labels.at[mid].name);
		if (c == 0)
			return &s->labels.at[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static bool resolve(struct as *s)
{
	if (s->labels.n)
		qsort(s->labels.at, s->labels.n, sizeof *s->labels.at, by_name);
	bool ok = true;
	for (size_t i = 1; i < s->labels.n; i++) {
		if (strcmp(s->labels.at[i].name, s->labels.at[i - 1].name) == 0)
			ok = tg_error(s->d, tg_at_line(s->file, s->labels.at[i].line, 1), "label %s is already in line %u", tg_quoted(s->arena, s->labels.at[i].name),
				      s->labels.at[i - 1].line);
	}
	for (size_t i = 0; i < s->refs.n; i++) {
		struct pending *r = &s->refs.at[i];
		const struct label *l = find_label(s, r->name);
		if (!l)
			ok = tg_error(s->d, tg_at_line(s->file, r->line, r->column), "no label is named %s", tg_quoted(s->arena, r->name));
		else if (r->kind == REF_CODE)
			s->code.at[r->word] |= (uint64_t)l->word << r->shift;
		else if (r->kind == REF_STEP)
			s->x->steps.at[r->at].entry_word = l->word;
		else if (r->kind == REF_BUFFER_FIRST)
			s->x->buffers.at[r->at].first_word = l->word;
		else
			s->x->buffers.at[r->at].end_word = l->word;
	}
	return ok;
}

/* ---- the whole ---- */

static bool covers(struct as *s, uint64_t at, uint64_t bytes, const char *what)
{
	if (at > s->chip->dram_bytes || bytes > s->chip->dram_bytes - at)
		return tg_error(s->d, tg_at_file(s->file), "%s lies outside the chip's DRAM", what);
	if (at + bytes > s->x->dram_bytes)
		s->x->dram_bytes = at + bytes;
	return true;
}

static bool cover_bindings(struct as *s, const struct tg_binding *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t bytes;
		if (!tg_shape_bytes(&b[i].shape, (enum tg_dtype)b[i].dtype, &bytes) || !covers(s, b[i].dram, bytes, "a binding"))
			return false;
	}
	return true;
}

static bool finish(struct as *s)
{
	struct tg_exe *x = s->x;
	x->code = s->code.at;
	x->n_words = (uint32_t)s->code.n;
	if (x->steps.n == 0 && x->n_words)
		*TG_PUSH(s->arena, &x->steps) = (struct tg_step){.text = "", .reason = ""};
	for (size_t i = 0; i < x->segments.n; i++) {
		if (!covers(s, x->segments.at[i].dram, x->segments.at[i].bytes, "a segment"))
			return false;
	}
	for (size_t i = 0; i < x->steps.n; i++) {
		if (!x->steps.at[i].on_host && x->steps.at[i].entry_word >= x->n_words)
			return tg_error(s->d, tg_at_file(s->file), "a step starts past the end of the code");
		if (!cover_bindings(s, x->steps.at[i].args, x->steps.at[i].n_args))
			return false;
	}
	for (size_t i = 0; i < x->births.n; i++) {
		if (x->births.at[i].word >= x->n_words)
			return tg_error(s->d, tg_at_file(s->file), "a .birth has no bundle after it");
		if (x->births.at[i].sram > x->chip.sram_bytes || x->births.at[i].bytes > x->chip.sram_bytes - x->births.at[i].sram)
			return tg_error(s->d, tg_at_file(s->file), "a .birth lies outside SRAM");
	}
	for (size_t i = 0; i < x->buffers.n; i++) {
		const struct tg_sram_buffer *b = &x->buffers.at[i];
		if (b->first_word > b->end_word || b->end_word > x->n_words || b->sram > x->chip.sram_bytes || b->bytes > x->chip.sram_bytes - b->sram)
			return tg_error(s->d, tg_at_file(s->file), "a .buffer lies outside SRAM or the code");
	}
	return cover_bindings(s, x->inputs.at, x->inputs.n) && cover_bindings(s, x->outputs.at, x->outputs.n);
}

bool tg_asm(struct tg_diag *d, struct tg_arena *a, const struct tg_chip *c, const char *path, const char *source, size_t n, struct tg_exe *out)
{
	if (n > MAX_TEXT_BYTES)
		return tg_limit(d, tg_at_file(path), "the text has %zu bytes, at most %u are read", n, MAX_TEXT_BYTES);
	struct as *s = tg_alloc(a, sizeof *s);
	tg_exe_init(out, a, c);
	*s = (struct as){.d = d, .arena = a, .chip = c, .file = path, .x = out, .p = source, .end = source + n, .line_start = source, .prov = UINT32_MAX};
	bool ok = lines(s);
	return resolve(s) && ok && finish(s);
}
