/* parse_basic.c: the small parts of the text: numbers, strings, types, errors with line and column. */
#include <stdlib.h>
#include <string.h>

#include "parse_internal.h"

bool tg_parse_error(struct parser *p, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return tg_error(p->d, tg_at_line(p->path, p->l.now.line, p->l.now.column), "%s", text);
}

bool tg_parse_expected(struct parser *p, const char *what)
{
	const struct token *t = &p->l.now;
	if (t->kind == TOK_END)
		return tg_parse_error(p, "found the end, expected %s", what);
	if (t->kind == TOK_BAD)
		return tg_parse_error(p, "found a string without end, expected %s", what);
	return tg_parse_error(p, "found '%s', expected %s", tg_quoted(p->d->arena, tg_strndup(p->d->arena, t->at, t->n < 40 ? t->n : 40)), what);
}

bool tg_parse_take(struct parser *p, char c)
{
	if (!tg_lex_is(&p->l, c))
		return false;
	tg_lex_next(&p->l);
	return true;
}

bool tg_parse_punct(struct parser *p, char c)
{
	char what[4] = { '\'', c, '\'', 0 };
	return tg_parse_take(p, c) || tg_parse_expected(p, what);
}

bool tg_parse_take_word(struct parser *p, const char *word)
{
	if (!tg_lex_word(&p->l, word))
		return false;
	tg_lex_next(&p->l);
	return true;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool tg_parse_u64(struct parser *p, uint64_t *v)
{
	const struct token *t = &p->l.now;
	bool hex = t->n > 2 && t->at[1] == 'x';
	uint64_t base = hex ? 16 : 10;
	*v = 0;
	if (t->kind != TOK_NUMBER)
		return tg_parse_expected(p, "a whole number");
	for (size_t i = hex ? 2 : 0; i < t->n; i++) {
		int digit = hex_digit(t->at[i]);
		if (digit < 0 || (uint64_t)digit >= base)
			return tg_parse_expected(p, "a whole number");
		if (__builtin_mul_overflow(*v, base, v) || __builtin_add_overflow(*v, (uint64_t)digit, v))
			return tg_parse_error(p, "number is larger than 64 bits");
	}
	tg_lex_next(&p->l);
	return true;
}

bool tg_parse_i64(struct parser *p, int64_t *v)
{
	uint64_t u;
	bool negative = tg_parse_take(p, '-');
	if (!tg_parse_u64(p, &u))
		return false;
	if (negative && u > (uint64_t)INT64_MAX + 1)
		return tg_parse_error(p, "number is below -2^63");
	*v = (int64_t)(negative ? 0 - u : u);
	return true;
}

bool tg_parse_u32(struct parser *p, uint32_t *v, uint32_t below)
{
	uint64_t u;
	struct token at = p->l.now;
	if (!tg_parse_u64(p, &u))
		return false;
	if (u >= below) {
		p->l.now = at;
		return tg_parse_error(p, "found %llu, expected less than %u", (unsigned long long)u, below);
	}
	*v = (uint32_t)u;
	return true;
}

bool tg_parse_f64(struct parser *p, double *v)
{
	uint64_t bits;
	if (tg_parse_take_word(p, "bits")) {
		if (!tg_parse_u64(p, &bits))
			return false;
		memcpy(v, &bits, sizeof bits);
		return true;
	}
	bool negative = tg_parse_take(p, '-');
	const struct token *t = &p->l.now;
	if (t->kind != TOK_NUMBER || !tg_f64_parse(t->at, t->n, v))
		return tg_parse_expected(p, "a number");
	*v = negative ? -*v : *v;
	tg_lex_next(&p->l);
	return true;
}

bool tg_parse_string(struct parser *p, const char **s)
{
	const struct token *t = &p->l.now;
	*s = NULL;
	if (tg_parse_take_word(p, "null"))
		return true;
	if (t->kind == TOK_RAW && !memchr(t->at, 0, t->n)) {
		*s = tg_strndup(p->a, t->at, t->n);
		tg_lex_next(&p->l);
		return true;
	}
	if (t->kind != TOK_STRING)
		return tg_parse_expected(p, "a string");
	char *out = tg_alloc(p->a, t->n + 1);
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++) {
		if (t->at[i] != '\\') {
			out[n++] = t->at[i];
			continue;
		}
		int hi = i + 3 < t->n && t->at[i + 1] == 'x' ? hex_digit(t->at[i + 2]) : -1;
		int lo = hi >= 0 ? hex_digit(t->at[i + 3]) : -1;
		if (lo < 0 || hi * 16 + lo == 0)
			return tg_parse_error(p, "bad escape in string, expected \\xNN");
		out[n++] = (char)(hi * 16 + lo);
		i += 3;
	}
	if (memchr(out, 0, n))
		return tg_parse_error(p, "string holds a zero byte");
	*s = out;
	tg_lex_next(&p->l);
	return true;
}

bool tg_parse_dtype(struct parser *p, enum tg_dtype *t)
{
	if (p->l.now.kind != TOK_WORD)
		return tg_parse_expected(p, "an element type");
	for (int i = 0; i < TG_N_DTYPES; i++)
		if (tg_lex_word(&p->l, tg_dtypes[i].name)) {
			*t = (enum tg_dtype)i;
			tg_lex_next(&p->l);
			return true;
		}
	return tg_parse_expected(p, "an element type");
}

/* The token 2x3x4 between brackets. */
static bool extents(struct parser *p, struct tg_shape *s)
{
	const struct token *t = &p->l.now;
	int64_t n = 0;
	bool digits = false;
	for (size_t i = 0; i <= t->n; i++) {
		char c = i < t->n ? t->at[i] : 'x';
		if (c == 'x') {
			if (!digits)
				return tg_parse_expected(p, "extents like 2x3x4");
			if (s->rank == TG_MAX_RANK)
				return tg_parse_error(p, "shape has more than %d dimensions", TG_MAX_RANK);
			s->dim[s->rank++] = n;
			n = 0;
			digits = false;
		} else if (c < '0' || c > '9') {
			return tg_parse_expected(p, "extents like 2x3x4");
		} else if (__builtin_mul_overflow(n, (int64_t)10, &n) || __builtin_add_overflow(n, (int64_t)(c - '0'), &n)) {
			return tg_parse_error(p, "extent is too large");
		} else {
			digits = true;
		}
	}
	tg_lex_next(&p->l);
	return true;
}

bool tg_parse_type(struct parser *p, enum tg_dtype *t, struct tg_shape *s)
{
	size_t bytes;
	s->rank = 0;
	if (!tg_parse_dtype(p, t) || !tg_parse_punct(p, '['))
		return false;
	if (p->l.now.kind == TOK_NUMBER && !extents(p, s))
		return false;
	if (!tg_shape_bytes(s, *t, &bytes))
		return tg_parse_error(p, "tensor is too large");
	return tg_parse_punct(p, ']');
}
