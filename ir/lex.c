/* lex.c: tokens of the textual form. Numbers keep their text: who reads them knows what they must be. */
#include <string.h>

#include "lex.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static void skip_space(struct lexer *l)
{
	while (l->at < l->end) {
		if (*l->at == '\n') {
			l->line++;
			l->line_start = ++l->at;
		} else if (*l->at == ' ' || *l->at == '\t' || *l->at == '\r') {
			l->at++;
		} else if (*l->at == '/' && l->at + 1 < l->end && l->at[1] == '/') {
			const char *nl = memchr(l->at, '\n', (size_t)(l->end - l->at));
			l->at = nl ? nl : l->end;
		} else {
			return;
		}
	}
}

void tg_lex_start(struct lexer *l, const char *text, size_t n)
{
	*l = (struct lexer){ .text = text, .end = text + n, .at = text, .line_start = text, .line = 1 };
	tg_lex_next(l);
}

/* 12, 0x1f, 1.5e-3: an exponent's sign belongs to it, a leading one does not */
static void number(struct lexer *l)
{
	bool hex = *l->at == '0' && l->at + 1 < l->end && l->at[1] == 'x';
	l->at += hex ? 2 : 0;
	while (l->at < l->end && (is_digit(*l->at) || is_letter(*l->at) || *l->at == '.' ||
				  ((*l->at == '-' || *l->at == '+') && !hex && (l->at[-1] == 'e' || l->at[-1] == 'E'))))
		l->at++;
}

/* """ and a newline, then text as it stands, up to the next """ */
static bool raw_string(struct lexer *l)
{
	if (l->end - l->at < 3 || memcmp(l->at, "\"\"\n", 3) != 0)
		return false;
	const char *from = l->at + 3, *close = from;
	while (close + 3 <= l->end && memcmp(close, "\"\"\"", 3) != 0)
		close++;
	l->now.kind = close + 3 <= l->end ? TOK_RAW : TOK_BAD;
	l->now.at = from;
	l->now.n = (size_t)(close - from);
	for (const char *s = l->at; s < close; s++)
		if (*s == '\n') {
			l->line++;
			l->line_start = s + 1;
		}
	l->at = close + 3 <= l->end ? close + 3 : l->end;
	return true;
}

static void string(struct lexer *l)
{
	if (raw_string(l))
		return;

	const char *close = memchr(l->at, '"', (size_t)(l->end - l->at));
	l->now.kind = TOK_STRING;
	l->now.at = l->at;
	if (!close || memchr(l->at, '\n', (size_t)(close - l->at))) {
		l->now.kind = TOK_BAD;
		return;
	}
	l->now.n = (size_t)(close - l->at);
	l->at = close + 1;
}

void tg_lex_next(struct lexer *l)
{
	skip_space(l);
	l->now = (struct token){ .kind = TOK_END, .at = l->at, .line = l->line, .column = (uint32_t)(l->at - l->line_start) + 1 };
	if (l->at >= l->end)
		return;
	char c = *l->at;
	if (c == '"') {
		l->at++;
		string(l);
		return;
	}
	if (is_letter(c)) {
		l->now.kind = TOK_WORD;
		while (l->at < l->end && (is_letter(*l->at) || is_digit(*l->at)))
			l->at++;
	} else if (is_digit(c)) {
		l->now.kind = TOK_NUMBER;
		number(l);
	} else if (c == '%') {
		l->now.kind = TOK_VALUE;
		for (l->at++; l->at < l->end && is_digit(*l->at); l->at++)
			;
	} else {
		l->now.kind = TOK_PUNCT;
		l->at++;
	}
	l->now.n = (size_t)(l->at - l->now.at);
}

bool tg_lex_word(const struct lexer *l, const char *word)
{
	return l->now.kind == TOK_WORD && l->now.n == strlen(word) && !memcmp(l->now.at, word, l->now.n);
}
