/* verify_internal.h: between the files of the verifier. */
#ifndef TG_IR_VERIFY_INTERNAL_H
#define TG_IR_VERIFY_INTERNAL_H

#include "eval_internal.h"

bool tg_verify_fail(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, const char *fmt, ...) TG_PRINTF(4, 5);
bool tg_verify_stage(struct tg_diag *d, const struct tg_module *m, const struct tg_op *op, struct tg_arena *scratch);

#endif
