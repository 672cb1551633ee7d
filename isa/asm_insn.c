/* asm_insn.c: a line of instructions to one bundle. Operands are the row's fields in order; the encoder checks their ranges. */
#include "asm.h"

#include <string.h>

static const char kind_letters[] = {[TG_FIELD_S] = 's', [TG_FIELD_V] = 'v', [TG_FIELD_M] = 'm', [TG_FIELD_P] = 'p'};

static bool is_register(unsigned kind)
{
	return kind <= TG_FIELD_P;
}

static bool operand(struct as *s, const struct tg_field_info *f, int64_t *v, const char **label)
{
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	const char *t = tg_as_word(s, &n);
	*label = NULL;
	if (is_register(f->kind)) {
		if (n >= 2 && t[0] == kind_letters[f->kind] && tg_as_number_at(t + 1, n - 1, v))
			return true;
		return tg_error(s->d, loc, "found %s, expected a register %cN", tg_quoted(s->arena, tg_strndup(s->arena, t, n)), kind_letters[f->kind]);
	}
	if (tg_as_number_at(t, n, v))
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
	tg_as_blanks(s);
	const char *cut = s->p;
	while (cut < s->end && *cut != ']' && *cut != '+' && *cut != '-' && *cut != '\n')
		cut++;
	const char *end = s->end;
	s->end = cut;
	bool ok = operand(s, f, a, &label);
	s->end = end;
	if (!ok)
		return false;
	tg_as_blanks(s);
	if (tg_as_take(s, '+') || (s->p < s->end && *s->p == '-')) {
		if (!tg_as_number(s, i))
			return false;
	}
	return tg_as_take(s, ']') || tg_error(s->d, tg_as_here(s), "expected ']'");
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
		if (i && !tg_as_take(s, ','))
			return tg_error(s->d, tg_as_here(s), "%s: expected ',' and %u more operand(s)", info->name, info->n_fields - i);
		if (insn_has_address(info) && info->field[i].letter == 'a' && tg_as_take(s, '[')) {
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
	if (!tg_as_take(s, '('))
		return true;
	static const struct tg_field_info p = {.letter = 'p', .kind = TG_FIELD_P};
	int64_t v;
	const char *label;
	struct tg_loc loc = tg_as_here(s);
	if (!operand(s, &p, &v, &label))
		return false;
	if (v < 0 || v > 7)
		return tg_error(s->d, loc, "no such predicate");
	in->pred = (uint8_t)v;
	return tg_as_take(s, ')') || tg_error(s->d, tg_as_here(s), "expected ')'");
}

static bool one_insn(struct as *s, struct tg_bundle *b, const char **labels)
{
	struct tg_insn *in = &b->insn[b->n];
	memset(in, 0, sizeof *in);
	if (!predicate(s, in))
		return false;
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	const char *t = tg_as_word(s, &n);
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

bool tg_as_bundle(struct as *s)
{
	struct tg_loc loc = tg_as_here(s);
	struct tg_bundle *b = tg_alloc(s->arena, sizeof *b);
	const char *labels[TG_MAX_BUNDLE] = {0};
	uint64_t words[1 + TG_MAX_BUNDLE];
	uint32_t n;
	do {
		if (b->n == TG_MAX_BUNDLE)
			return tg_error(s->d, tg_as_here(s), "more than %d instructions in a bundle", TG_MAX_BUNDLE);
		if (!one_insn(s, b, labels))
			return false;
	} while (tg_as_take(s, ';'));
	if (!tg_as_at_end(s))
		return tg_error(s->d, tg_as_here(s), "expected ';' or the end of the line");
	if (!tg_bundle_encode(s->d, loc, s->chip, b, words, &n))
		return false;
	uint32_t first = (uint32_t)s->code.n;
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(s->arena, &s->code) = words[i];
	note_targets(s, b, labels, first, n, loc);
	add_range(s, first, first + n);
	return true;
}
