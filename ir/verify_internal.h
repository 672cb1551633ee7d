/* verify_internal.h: between the files of the verifier. */
#ifndef TG_IR_VERIFY_INTERNAL_H
#define TG_IR_VERIFY_INTERNAL_H

#include "eval_internal.h"

bool tg_verify_fail(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, const char *fmt, ...) TG_PRINTF(4, 5);
/* verify_mach.c: machine code, in the order of the text */
struct mach_verifier;
struct mach_verifier *tg_mach_verifier(struct tg_diag *d, const struct tg_module *m, struct tg_arena *scratch, const uint32_t *number);
bool tg_verify_mach(struct mach_verifier *v, const struct tg_op *op);     /* an op of the dialect, its own operands and attributes checked */
bool tg_verify_mach_end(struct mach_verifier *v, const struct tg_op *op); /* behind its region */
bool tg_verify_stage(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, struct tg_arena *scratch);

#endif
