/* lex.h: tokens of the textual form. `//` starts a comment; white space separates. */
#ifndef TG_IR_LEX_H
#define TG_IR_LEX_H

#include "ir_internal.h"

enum token_kind { TOK_END, TOK_WORD, TOK_NUMBER, TOK_STRING, TOK_RAW, TOK_VALUE, TOK_PUNCT, TOK_BAD };
struct token {
	enum token_kind kind;
	const char *at; /* in the text; of a string: behind the quote */
	size_t n;
	uint32_t line, column;
};
struct lexer {
	const char *text, *end, *at, *line_start;
	uint32_t line;
	struct token now;
};
void tg_lex_start(struct lexer *l, const char *text, size_t n);
void tg_lex_next(struct lexer *l);
static inline bool tg_lex_is(const struct lexer *l, char c) { return l->now.kind == TOK_PUNCT && l->now.at[0] == c; }
bool tg_lex_word(const struct lexer *l, const char *word);

#endif
