/* asm.c: assembly text to an executable. Instructions come from the table: operands are the row's fields in order.
 *
 *   name:                       a label, the word index of the next bundle
 *   op a, b, c ; op d           one bundle a line; `(p2) op` under a predicate; `nop` an empty bundle; '#' starts a comment
 *   [s2+64]                     in loads and stores stands for the two operands s2, 64
 *   .directive ...              docs/isa.md lists them; the table `directives` below is the list
 *
 * Untrusted text: lines and tokens are bounded, nothing recurses, every number is range-checked by the encoder. */
#include "isa_int.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES (64u << 20)

struct label {
	const char *name;
	uint32_t word, line;
};
struct pending { /* an instruction's target that names a label, or a directive's word */
	const char *name;
	uint32_t line, column;
	uint32_t word;  /* of the instruction's word in the code; UINT32_MAX: `at` is what to set */
	uint8_t shift, width;
	size_t at;      /* index in what `kind` says */
	enum { REF_CODE, REF_STEP, REF_BUFFER_FIRST, REF_BUFFER_END } kind;
};
struct as {
	struct tg_diag *d;
	struct tg_arena *arena;
	const struct tg_chip *chip;
	const char *file;
	struct tg_exe *x;
	const char *p, *end, *line_start; /* the cursor */
	uint32_t line;
	TG_VEC(uint64_t) code;
	TG_VEC(struct label) labels;
	TG_VEC(struct pending) refs;
	uint32_t prov;      /* of the bundles that follow; UINT32_MAX none */
};

/* ---- lexing ---- */

static struct tg_loc here(const struct as *s)
{
	return tg_at_line(s->file, s->line, (uint32_t)(s->p - s->line_start) + 1);
}

static void blanks(struct as *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

static bool at_end(struct as *s)
{
	blanks(s);
	return s->p == s->end || *s->p == '\n' || *s->p == '#';
}

static bool take(struct as *s, char c)
{
	blanks(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '@';
}

/* The word at the cursor; length 0 when there is none. */
static const char *word(struct as *s, size_t *n)
{
	blanks(s);
	const char *from = s->p;
	while (s->p < s->end && word_char(*s->p))
		s->p++;
	*n = (size_t)(s->p - from);
	return from;
}

static bool number_at(const char *t, size_t n, int64_t *v)
{
	bool minus = n && t[0] == '-';
	size_t i = minus;
	uint64_t u = 0, base = 10;
	if (n - i > 2 && t[i] == '0' && (t[i + 1] == 'x' || t[i + 1] == 'X')) {
		base = 16;
		i += 2;
	}
	if (i >= n)
		return false;
	for (; i < n; i++) {
		uint64_t dgt = t[i] >= '0' && t[i] <= '9' ? (uint64_t)(t[i] - '0') : (t[i] | 32) >= 'a' && (t[i] | 32) <= 'f' ? (uint64_t)((t[i] | 32) - 'a') + 10 : 99;
		if (dgt >= base || u > (UINT64_MAX - dgt) / base)
			return false;
		u = u * base + dgt;
	}
	if (minus && u > UINT64_C(1) << 63)
		return false;
	*v = (int64_t)(minus ? 0 - u : u);
	return true;
}

static bool number(struct as *s, int64_t *v)
{
	struct tg_loc loc = here(s);
	size_t n;
	const char *t = word(s, &n);
	if (!number_at(t, n, v))
		return tg_error(s->d, loc, "found %s, expected a number", tg_quoted(s->arena, tg_strndup(s->arena, t, n)));
	return true;
}

static bool number_up_to(struct as *s, int64_t most, int64_t *v)
{
	struct tg_loc loc = here(s);
	if (!number(s, v))
		return false;
	return (*v >= 0 && *v <= most) || tg_error(s->d, loc, "found %lld, expected 0 .. %lld", (long long)*v, (long long)most);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "text" with \xNN; a NUL is refused. */
static bool text(struct as *s, const char **out)
{
	if (!take(s, '"'))
		return tg_error(s->d, here(s), "expected a text in double quotes");
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	tg_buf_puts(&b, "");
	while (s->p < s->end && *s->p != '"' && *s->p != '\n') {
		char c = *s->p++;
		if (c == '\\') {
			int hi = s->end - s->p >= 3 && s->p[0] == 'x' ? hex_digit(s->p[1]) : -1;
			int lo = hi >= 0 ? hex_digit(s->p[2]) : -1;
			if (lo < 0 || hi + lo == 0)
				return tg_error(s->d, here(s), "expected \\xNN, not NUL");
			c = (char)(hi * 16 + lo);
			s->p += 3;
		}
		tg_buf_add(&b, &c, 1);
	}
	if (!take(s, '"'))
		return tg_error(s->d, here(s), "the text has no closing quote");
	*out = b.at;
	return true;
}

/* ---- instructions ---- */

static const char kind_letters[] = {[TG_FIELD_S] = 's', [TG_FIELD_V] = 'v', [TG_FIELD_M] = 'm', [TG_FIELD_P] = 'p'};

static bool is_register(unsigned kind)
{
	return kind <= TG_FIELD_P;
}

static bool operand(struct as *s, const struct tg_field_info *f, int64_t *v, const char **label)
{
	struct tg_loc loc = here(s);
	size_t n;
	const char *t = word(s, &n);
	*label = NULL;
	if (is_register(f->kind)) {
		if (n >= 2 && t[0] == kind_letters[f->kind] && number_at(t + 1, n - 1, v))
			return true;
		return tg_error(s->d, loc, "found %s, expected a register %cN", tg_quoted(s->arena, tg_strndup(s->arena, t, n)), kind_letters[f->kind]);
	}
	if (number_at(t, n, v))
		return true;
	if (f->kind == TG_FIELD_T && n) {
		*label = tg_strndup(s->arena, t, n);
		*v = 0;
		return true;
	}
	return tg_error(s->d, loc, "found %s, expected a number", tg_quoted(s->arena, tg_strndup(s->arena, t, n)));
}

/* [a], [a+i], [a-i]: two fields */
static bool address(struct as *s, const struct tg_field_info *f, int64_t *a, int64_t *i)
{
	const char *label;
	*i = 0;
	/* the word would swallow "-64": cut it off here */
	blanks(s);
	const char *cut = s->p;
	while (cut < s->end && *cut != ']' && *cut != '+' && *cut != '-' && *cut != '\n')
		cut++;
	const char *end = s->end;
	s->end = cut;
	bool ok = operand(s, f, a, &label);
	s->end = end;
	if (!ok)
		return false;
	blanks(s);
	if (take(s, '+') || (s->p < s->end && *s->p == '-')) {
		if (!number(s, i))
			return false;
	}
	return take(s, ']') || tg_error(s->d, here(s), "expected ']'");
}

bool insn_has_address(const struct tg_insn_info *info)
{
	static const char *const formats[] = {"VLD", "VST", "SLD", "SST"};
	for (size_t i = 0; i < TG_ARRAY_LEN(formats); i++) {
		if (strcmp(formats[i], info->format) == 0)
			return true;
	}
	return false;
}

static bool operands(struct as *s, const struct tg_insn_info *info, struct tg_insn *in, const char **label)
{
	for (unsigned i = 0; i < info->n_fields; i++) {
		const char *name = NULL;
		if (i && !take(s, ','))
			return tg_error(s->d, here(s), "%s: expected ',' and %u more operand(s)", info->name, info->n_fields - i);
		if (insn_has_address(info) && info->field[i].letter == 'a' && take(s, '[')) {
			if (!address(s, &info->field[i], &in->f[i], &in->f[i + 1]))
				return false;
			i++;
			continue;
		}
		if (!operand(s, &info->field[i], &in->f[i], &name))
			return false;
		if (name)
			*label = name;
	}
	return true;
}

static bool predicate(struct as *s, struct tg_insn *in)
{
	if (!take(s, '('))
		return true;
	static const struct tg_field_info p = {.letter = 'p', .kind = TG_FIELD_P};
	int64_t v;
	const char *label;
	struct tg_loc loc = here(s);
	if (!operand(s, &p, &v, &label))
		return false;
	if (v < 0 || v > 7)
		return tg_error(s->d, loc, "no such predicate");
	in->pred = (uint8_t)v;
	return take(s, ')') || tg_error(s->d, here(s), "expected ')'");
}

static bool one_insn(struct as *s, struct tg_bundle *b, const char **labels)
{
	struct tg_insn *in = &b->insn[b->n];
	memset(in, 0, sizeof *in);
	if (!predicate(s, in))
		return false;
	struct tg_loc loc = here(s);
	size_t n;
	const char *t = word(s, &n);
	if (n == 3 && memcmp(t, "nop", 3) == 0)
		return true;
	enum tg_opcode op = tg_opcode_from_name(t, n);
	if (op == TG_I_none)
		return tg_error(s->d, loc, "unknown instruction %s", tg_quoted(s->arena, tg_strndup(s->arena, t, n)));
	in->op = (uint16_t)op;
	labels[b->n] = NULL;
	if (!operands(s, tg_insn_info(op), in, &labels[b->n]))
		return false;
	b->n++;
	return true;
}

static void add_range(struct as *s, uint32_t first, uint32_t end)
{
	if (s->prov == UINT32_MAX)
		return;
	if (s->x->ranges.n) {
		struct tg_debug_range *last = &s->x->ranges.at[s->x->ranges.n - 1];
		if (last->prov == s->prov && last->end_word == first) {
			last->end_word = end;
			return;
		}
	}
	*TG_PUSH(s->arena, &s->x->ranges) = (struct tg_debug_range){first, end, s->prov};
}

/* The word of an instruction with a label, found by its opcode: control instructions are one a bundle. */
static void note_targets(struct as *s, const struct tg_bundle *b, const char **labels, uint32_t first, uint32_t n_words, struct tg_loc loc)
{
	for (uint32_t i = 0; i < b->n; i++) {
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)b->insn[i].op);
		for (uint32_t w = 1; labels[i] && w < n_words; w++) {
			if (s->code.at[first + w] >> 56 != info->opcode)
				continue;
			for (unsigned k = 0; k < info->n_fields; k++) {
				if (info->field[k].kind == TG_FIELD_T)
					*TG_PUSH(s->arena, &s->refs) = (struct pending){labels[i], loc.line, loc.column, first + w, info->field[k].shift, info->field[k].width, 0, REF_CODE};
			}
		}
	}
}

static bool bundle(struct as *s)
{
	struct tg_loc loc = here(s);
	struct tg_bundle *b = tg_alloc(s->arena, sizeof *b);
	const char *labels[TG_MAX_BUNDLE] = {0};
	uint64_t words[1 + TG_MAX_BUNDLE];
	uint32_t n;
	do {
		if (b->n == TG_MAX_BUNDLE)
			return tg_error(s->d, here(s), "more than %d instructions in a bundle", TG_MAX_BUNDLE);
		if (!one_insn(s, b, labels))
			return false;
	} while (take(s, ';'));
	if (!at_end(s))
		return tg_error(s->d, here(s), "expected ';' or the end of the line");
	if (!tg_bundle_encode(s->d, loc, s->chip, b, words, &n))
		return false;
	uint32_t first = (uint32_t)s->code.n;
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(s->arena, &s->code) = words[i];
	note_targets(s, b, labels, first, n, loc);
	add_range(s, first, first + n);
	return true;
}

/* ---- directives ---- */

static struct tg_segment *new_segment(struct as *s, int64_t at, size_t bytes)
{
	struct tg_segment *g = TG_PUSH(s->arena, &s->x->segments);
	*g = (struct tg_segment){.dram = (uint64_t)at, .bytes = bytes};
	return g;
}

static bool dtype(struct as *s, enum tg_dtype *t)
{
	struct tg_loc loc = here(s);
	size_t n;
	const char *w = word(s, &n);
	*t = tg_dtype_from_name(w, n);
	return (*t != TG_none && tg_dtypes[*t].bits) || tg_error(s->d, loc, "found %s, expected a type", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
}

/* A decimal: digits, point, digits; parsed here so that the process's locale does not matter. Exact up to 15 digits. */
static bool decimal(const char *t, size_t n, double *v)
{
	bool minus = n && t[0] == '-';
	double num = 0, scale = 1;
	bool point = false;
	size_t seen = 0;
	for (size_t i = minus; i < n; i++) {
		if (t[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (t[i] < '0' || t[i] > '9' || ++seen > 15)
			return false;
		num = num * 10 + (t[i] - '0');
		scale *= point ? 10 : 1;
	}
	*v = minus ? -(num / scale) : num / scale;
	return seen > 0;
}

/* .data OFFSET TYPE value, value ...: decimals for float types, 0x... for their bits */
static bool do_data(struct as *s)
{
	int64_t at, i64;
	enum tg_dtype t;
	double f;
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	if (!number_up_to(s, INT64_MAX, &at) || !dtype(s, &t))
		return false;
	unsigned bits = tg_dtypes[t].bits;
	if (bits < 8 || bits > 64)
		return tg_error(s->d, here(s), "type %s cannot be written element by element", tg_dtypes[t].name);
	do {
		struct tg_loc loc = here(s);
		uint8_t raw[8] = {0};
		size_t n;
		const char *w = word(s, &n);
		bool bits_given = n > 2 && w[0] == '0' && (w[1] | 32) == 'x';
		if (tg_is_float(t) && !bits_given && decimal(w, n, &f))
			tg_put_f64(t, raw, 0, f);
		else if (number_at(w, n, &i64))
			memcpy(raw, &i64, 8);
		else
			return tg_error(s->d, loc, "found %s, expected a value", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
		tg_buf_add(&b, raw, bits / 8);
	} while (take(s, ','));
	new_segment(s, at, b.n)->data = b.at;
	return true;
}

/* .hex OFFSET "0123ab..." */
static bool do_hex(struct as *s)
{
	int64_t at;
	const char *t;
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	if (!number_up_to(s, INT64_MAX, &at) || !text(s, &t))
		return false;
	for (; t[0]; t += 2) {
		if (hex_digit(t[0]) < 0 || hex_digit(t[1]) < 0)
			return tg_error(s->d, here(s), "expected pairs of hexadecimal digits");
		char c = (char)(hex_digit(t[0]) * 16 + hex_digit(t[1]));
		tg_buf_add(&b, &c, 1);
	}
	/* lines that follow on are one segment */
	struct tg_segment *last = s->x->segments.n ? &s->x->segments.at[s->x->segments.n - 1] : NULL;
	if (last && last->data && last->dram + last->bytes == (uint64_t)at && last->bytes % 64 == 0 && b.n) {
		uint8_t *joined = tg_grow(s->arena, last->data, last->bytes, last->bytes + b.n);
		memcpy(joined + last->bytes, b.at, b.n);
		last->data = joined;
		last->bytes += b.n;
		return true;
	}
	new_segment(s, at, b.n)->data = b.n ? b.at : "";
	return true;
}

/* .fill OFFSET BYTES ELEMENT_BYTES VALUE */
static bool do_fill(struct as *s)
{
	int64_t at, bytes, each, v;
	if (!number_up_to(s, INT64_MAX, &at) || !number_up_to(s, INT64_MAX, &bytes) || !number_up_to(s, 8, &each) || !number(s, &v))
		return false;
	if (each != 1 && each != 2 && each != 4 && each != 8)
		return tg_error(s->d, here(s), "elements of %lld bytes, expected 1, 2, 4 or 8", (long long)each);
	struct tg_segment *g = new_segment(s, at, (size_t)bytes);
	g->fill = (uint64_t)v;
	g->fill_bytes = (uint32_t)each;
	return true;
}

static bool one_key(struct as *s, const char *key, size_t n, struct tg_dma_desc *d)
{
	int64_t v;
#define ONE(name, field)                                                                                                                             \
	if (n == strlen(#name) && memcmp(key, #name, n) == 0) {                                                                                      \
		if (!number(s, &v))                                                                                                                  \
			return false;                                                                                                                \
		d->field = (__typeof__(d->field))v;                                                                                                  \
		return true;                                                                                                                         \
	}
#define FOUR(name, field)                                                                                                                            \
	if (n == strlen(#name) && memcmp(key, #name, n) == 0) {                                                                                      \
		for (int k = 0; k < 4; k++) {                                                                                                        \
			if ((k && !take(s, ':')) || !number(s, &d->field[k]))                                                                        \
				return tg_error(s->d, here(s), "expected four numbers joined by ':'");                                               \
		}                                                                                                                                    \
		return true;                                                                                                                         \
	}
#include "desc_keys.def"
	return tg_error(s->d, here(s), "unknown descriptor key %s", tg_quoted(s->arena, tg_strndup(s->arena, key, n)));
}

/* .desc OFFSET key=value ...: a DMA descriptor in DRAM data; sizes default to 1 and hi to the sizes */
static bool do_desc(struct as *s)
{
	int64_t at;
	if (!number_up_to(s, INT64_MAX, &at))
		return false;
	struct tg_dma_desc *d = tg_alloc(s->arena, sizeof *d);
	*d = (struct tg_dma_desc){.size = {1, 1, 1, 1}, .hi = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
	while (!at_end(s)) {
		size_t n;
		const char *key = word(s, &n);
		if (!take(s, '='))
			return tg_error(s->d, here(s), "expected key=value");
		if (!one_key(s, key, n, d))
			return false;
	}
	for (int k = 0; k < 4; k++)
		d->hi[k] = d->hi[k] == INT64_MAX ? d->size[k] : d->hi[k];
	new_segment(s, at, sizeof *d)->data = d;
	return true;
}

static bool shape(struct as *s, struct tg_shape *out)
{
	struct tg_loc loc = here(s);
	size_t n;
	const char *w = word(s, &n);
	memset(out, 0, sizeof *out);
	if (n == 6 && memcmp(w, "scalar", 6) == 0)
		return true;
	for (size_t i = 0; i < n;) {
		size_t k = i;
		while (k < n && w[k] != 'x')
			k++;
		if (out->rank == TG_MAX_RANK || !number_at(w + i, k - i, &out->dim[out->rank++]))
			return tg_error(s->d, loc, "found %s, expected dimensions like 2x3", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
		i = k + 1;
	}
	int64_t count;
	return (n && tg_shape_count(out, &count)) || tg_error(s->d, loc, "expected dimensions like 2x3");
}

/* NAME TYPE DIMS OFFSET; a name that is not a word is quoted */
static bool binding(struct as *s, struct tg_binding *b)
{
	enum tg_dtype t;
	int64_t at;
	size_t n;
	memset(b, 0, sizeof *b);
	blanks(s);
	if (s->p < s->end && *s->p == '"') {
		if (!text(s, &b->name))
			return false;
	} else {
		const char *w = word(s, &n);
		b->name = tg_strndup(s->arena, w, n);
	}
	if (!dtype(s, &t) || !shape(s, &b->shape) || !number_up_to(s, INT64_MAX, &at))
		return false;
	b->dtype = (uint8_t)t;
	b->dram = (uint64_t)at;
	return true;
}

static bool do_input(struct as *s)
{
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	*TG_PUSH(s->arena, &s->x->inputs) = b;
	return true;
}

static bool do_output(struct as *s)
{
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	*TG_PUSH(s->arena, &s->x->outputs) = b;
	return true;
}

/* .prov "text": of the bundles that follow; equal texts are one set */
static bool do_prov(struct as *s)
{
	const char *t;
	if (!text(s, &t))
		return false;
	for (size_t i = 0; i < s->x->provs.n; i++) {
		if (strcmp(s->x->provs.at[i], t) == 0) {
			s->prov = (uint32_t)i;
			return true;
		}
	}
	s->prov = (uint32_t)s->x->provs.n;
	*TG_PUSH(s->arena, &s->x->provs) = t;
	return true;
}

static bool do_noprov(struct as *s)
{
	s->prov = UINT32_MAX;
	return true;
}

static bool do_birth(struct as *s)
{
	int64_t at, bytes;
	if (!number_up_to(s, INT64_MAX, &at) || !number_up_to(s, INT64_MAX, &bytes))
		return false;
	*TG_PUSH(s->arena, &s->x->births) = (struct tg_birth){.word = (uint32_t)s->code.n, .sram = (uint64_t)at, .bytes = (uint64_t)bytes};
	return true;
}

/* A code position: a word index or a label that may come later. */
static bool position(struct as *s, uint32_t *now, int kind, size_t at)
{
	struct tg_loc loc = here(s);
	size_t n;
	int64_t v;
	const char *w = word(s, &n);
	if (number_at(w, n, &v)) {
		if (v < 0 || v > INT32_MAX)
			return tg_error(s->d, loc, "no such word of code");
		*now = (uint32_t)v;
		return true;
	}
	if (n == 0)
		return tg_error(s->d, loc, "expected a label or a word index");
	struct pending *r = TG_PUSH(s->arena, &s->refs);
	*r = (struct pending){.name = tg_strndup(s->arena, w, n), .line = loc.line, .column = loc.column, .word = UINT32_MAX, .at = at};
	r->kind = kind == REF_STEP ? REF_STEP : kind == REF_BUFFER_FIRST ? REF_BUFFER_FIRST : REF_BUFFER_END;
	return true;
}

static bool do_buffer(struct as *s)
{
	struct tg_sram_buffer b = {0};
	int64_t at, bytes;
	if (!text(s, &b.name) || !number_up_to(s, INT64_MAX, &at) || !number_up_to(s, INT64_MAX, &bytes))
		return false;
	b.sram = (uint64_t)at;
	b.bytes = (uint64_t)bytes;
	size_t index = s->x->buffers.n;
	if (!position(s, &b.first_word, REF_BUFFER_FIRST, index) || !position(s, &b.end_word, REF_BUFFER_END, index))
		return false;
	*TG_PUSH(s->arena, &s->x->buffers) = b;
	return true;
}

static bool do_step(struct as *s)
{
	struct tg_step step = {0};
	step.text = step.reason = "";
	size_t index = s->x->steps.n;
	if (!position(s, &step.entry_word, REF_STEP, index))
		return false;
	*TG_PUSH(s->arena, &s->x->steps) = step;
	return true;
}

/* .host N_IN "reason" "text"; its arguments follow as .arg lines */
static bool do_host(struct as *s)
{
	struct tg_step step = {.on_host = true};
	int64_t n;
	if (!number_up_to(s, UINT16_MAX, &n) || !text(s, &step.reason) || !text(s, &step.text))
		return false;
	step.n_in = (uint32_t)n;
	*TG_PUSH(s->arena, &s->x->steps) = step;
	return true;
}

static bool do_arg(struct as *s)
{
	struct tg_step *t = s->x->steps.n ? &s->x->steps.at[s->x->steps.n - 1] : NULL;
	if (!t || !t->on_host)
		return tg_error(s->d, here(s), ".arg without a .host before it");
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	t->args = tg_grow(s->arena, t->args, t->n_args * sizeof *t->args, (t->n_args + 1) * sizeof *t->args);
	t->args[t->n_args++] = b;
	return true;
}

static bool do_dram_bytes(struct as *s)
{
	int64_t v;
	if (!number_up_to(s, (int64_t)s->chip->dram_bytes, &v))
		return false;
	s->x->dram_bytes = (uint64_t)v;
	return true;
}

static bool do_macs(struct as *s)
{
	int64_t v;
	if (!number_up_to(s, INT64_MAX, &v))
		return false;
	s->x->macs = (uint64_t)v;
	return true;
}

static bool do_version(struct as *s)
{
	return text(s, &s->x->version);
}

static bool do_flags(struct as *s)
{
	return text(s, &s->x->flags);
}

static bool do_model(struct as *s)
{
	const char *t;
	if (!text(s, &t))
		return false;
	for (size_t i = 0; i < 32; i++) {
		if (hex_digit(t[2 * i]) < 0 || hex_digit(t[2 * i + 1]) < 0)
			return tg_error(s->d, here(s), "expected 64 hexadecimal digits");
		s->x->model_sha256[i] = (uint8_t)(hex_digit(t[2 * i]) * 16 + hex_digit(t[2 * i + 1]));
	}
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct as *s);
} directives[] = {
	{".data", do_data},   {".hex", do_hex},	      {".fill", do_fill}, {".desc", do_desc}, {".input", do_input},	      {".output", do_output},
	{".prov", do_prov},   {".noprov", do_noprov}, {".birth", do_birth}, {".buffer", do_buffer}, {".step", do_step},		      {".host", do_host},
	{".arg", do_arg},     {".macs", do_macs},     {".version", do_version}, {".flags", do_flags}, {".dram_bytes", do_dram_bytes}, {".model_sha256", do_model},
};

static bool directive(struct as *s, const char *name, size_t n)
{
	struct tg_loc loc = here(s);
	for (size_t i = 0; i < TG_ARRAY_LEN(directives); i++) {
		if (strlen(directives[i].name) == n && memcmp(directives[i].name, name, n) == 0) {
			if (!directives[i].run(s))
				return false;
			return at_end(s) || tg_error(s->d, here(s), "expected the end of the line");
		}
	}
	return tg_error(s->d, loc, "unknown directive %s", tg_quoted(s->arena, tg_strndup(s->arena, name, n)));
}

/* ---- lines ---- */

static bool is_label(struct as *s)
{
	const char *q = s->p;
	while (q < s->end && word_char(*q))
		q++;
	return q > s->p && q < s->end && *q == ':';
}

static bool line(struct as *s)
{
	blanks(s);
	size_t n;
	while (is_label(s)) {
		const char *w = word(s, &n);
		*TG_PUSH(s->arena, &s->labels) = (struct label){tg_strndup(s->arena, w, n), (uint32_t)s->code.n, s->line};
		s->p++;
		blanks(s);
	}
	if (at_end(s))
		return true;
	if (*s->p == '.') {
		const char *w = word(s, &n);
		return directive(s, w, n);
	}
	return bundle(s);
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
			return tg_limit(s->d, here(s), "more than %d words of code", INT32_MAX / 2);
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
