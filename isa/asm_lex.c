/* asm_lex.c: the tokens of a line of assembly: words, numbers, texts in quotes. */
#include "asm.h"

struct tg_loc tg_as_here(const struct as *s)
{
	return tg_at_line(s->file, s->line, (uint32_t)(s->p - s->line_start) + 1);
}

void tg_as_blanks(struct as *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

bool tg_as_at_end(struct as *s)
{
	tg_as_blanks(s);
	return s->p == s->end || *s->p == '\n' || *s->p == '#';
}

bool tg_as_take(struct as *s, char c)
{
	tg_as_blanks(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

bool tg_as_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '@';
}

/* The word at the cursor; length 0 when there is none. */
const char *tg_as_word(struct as *s, size_t *n)
{
	tg_as_blanks(s);
	const char *from = s->p;
	while (s->p < s->end && tg_as_word_char(*s->p))
		s->p++;
	*n = (size_t)(s->p - from);
	return from;
}

bool tg_as_number_at(const char *t, size_t n, int64_t *v)
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

bool tg_as_number(struct as *s, int64_t *v)
{
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	const char *t = tg_as_word(s, &n);
	if (!tg_as_number_at(t, n, v))
		return tg_error(s->d, loc, "found %s, expected a number", tg_quoted(s->arena, tg_strndup(s->arena, t, n)));
	return true;
}

bool tg_as_number_up_to(struct as *s, int64_t most, int64_t *v)
{
	struct tg_loc loc = tg_as_here(s);
	if (!tg_as_number(s, v))
		return false;
	return (*v >= 0 && *v <= most) || tg_error(s->d, loc, "found %lld, expected 0 .. %lld", (long long)*v, (long long)most);
}

int tg_as_hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "text" with \xNN; a NUL is refused. */
bool tg_as_text(struct as *s, const char **out)
{
	if (!tg_as_take(s, '"'))
		return tg_error(s->d, tg_as_here(s), "expected a text in double quotes");
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	tg_buf_puts(&b, "");
	while (s->p < s->end && *s->p != '"' && *s->p != '\n') {
		char c = *s->p++;
		if (c == '\\') {
			int hi = s->end - s->p >= 3 && s->p[0] == 'x' ? tg_as_hex_digit(s->p[1]) : -1;
			int lo = hi >= 0 ? tg_as_hex_digit(s->p[2]) : -1;
			if (lo < 0 || hi + lo == 0)
				return tg_error(s->d, tg_as_here(s), "expected \\xNN, not NUL");
			c = (char)(hi * 16 + lo);
			s->p += 3;
		}
		tg_buf_add(&b, &c, 1);
	}
	if (!tg_as_take(s, '"'))
		return tg_error(s->d, tg_as_here(s), "the text has no closing quote");
	*out = b.at;
	return true;
}
