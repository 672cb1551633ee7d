/* passes.c: the pipeline's table. */
#include "passes.h"

#define PASS(level, name, optional, doc) bool pass_##name(struct tg_pass *cx, struct tg_module *m);
#include "passes.def"

const struct tg_pass_info tg_passes[] = {
#define PASS(level, name, optional, doc) { #level, #name, doc, pass_##name, optional, false },
#include "passes.def"
};
const uint32_t tg_n_passes = TG_ARRAY_LEN(tg_passes);
