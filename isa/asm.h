/* asm.h: the assembler's state and what its files share. Internal to isa/. */
#ifndef TG_ASM_H
#define TG_ASM_H

#include "isa_int.h"

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

/* asm_lex.c */
struct tg_loc tg_as_here(const struct as *s);
void tg_as_blanks(struct as *s);
bool tg_as_at_end(struct as *s);
bool tg_as_take(struct as *s, char c);
bool tg_as_word_char(char c);
const char *tg_as_word(struct as *s, size_t *n);
bool tg_as_number_at(const char *t, size_t n, int64_t *v);
bool tg_as_number(struct as *s, int64_t *v);
bool tg_as_number_up_to(struct as *s, int64_t most, int64_t *v);
int tg_as_hex_digit(char c);
bool tg_as_text(struct as *s, const char **out);

/* asm_insn.c */
bool tg_as_bundle(struct as *s);

/* asm_directive.c */
bool tg_as_directive(struct as *s, const char *name, size_t n);

#endif
