/* passes.h: what turns a graph module into tile stages that codegen can run, and the options that steer it. */
#ifndef TG_PASSES_H
#define TG_PASSES_H

#include "ir.h"

extern const struct tg_pass_info tg_passes[]; /* passes.def, in order */
extern const uint32_t tg_n_passes;

#endif
