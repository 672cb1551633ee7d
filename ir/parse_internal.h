/* parse_internal.h: between the files of the parser. Every function returns false once it has reported. */
#ifndef TG_IR_PARSE_INTERNAL_H
#define TG_IR_PARSE_INTERNAL_H

#include "lex.h"

struct parser {
	struct lexer l;
	struct tg_diag *d;
	struct tg_arena *a;
	const char *path;
	struct tg_module *m;
	uint32_t *value; /* id by number in the text */
	size_t n_numbers;
};

bool tg_parse_error(struct parser *p, const char *fmt, ...) TG_PRINTF(2, 3);
bool tg_parse_expected(struct parser *p, const char *what); /* "found 'x', expected what" */
bool tg_parse_punct(struct parser *p, char c);
bool tg_parse_take(struct parser *p, char c);            /* takes it when it is there */
bool tg_parse_take_word(struct parser *p, const char *word);
bool tg_parse_u64(struct parser *p, uint64_t *v);        /* without sign; 0x too */
bool tg_parse_i64(struct parser *p, int64_t *v);         /* -2^63 to 2^64 - 1, the upper half as its bit pattern */
bool tg_parse_u32(struct parser *p, uint32_t *v, uint32_t below);
bool tg_parse_f64(struct parser *p, double *v);
bool tg_parse_string(struct parser *p, const char **s);  /* unescaped; NULL for the word null */
bool tg_parse_dtype(struct parser *p, enum tg_dtype *t);
bool tg_parse_type(struct parser *p, enum tg_dtype *t, struct tg_shape *s);
/* parse_const.c */
bool tg_parse_const(struct parser *p, struct tg_const **c);
/* parse_stage.c: behind the word `stage`; operands tell the types of fill values */
bool tg_parse_stage(struct parser *p, const struct tg_op *op, struct tg_stage **out);

#endif
