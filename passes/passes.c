/* passes.c: the pipeline's table. */
#include "passes.h"

#define PASS(level, name, optional, groups, doc) bool pass_##name(struct tg_pass *cx, struct tg_module *m);
#include "passes.def"

const struct tg_pass_info tg_passes[] = {
#define PASS(level, name, optional, groups, doc) { #level, #name, doc, pass_##name, optional, groups },
#include "passes.def"
};
const uint32_t tg_n_passes = TG_ARRAY_LEN(tg_passes);
