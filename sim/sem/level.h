/* level.h: the files of this folder are compiled once for each level of the host's instruction set; TG_LEVEL names it. */
#ifndef TG_SEM_LEVEL_H
#define TG_SEM_LEVEL_H

#include "core.h"

#ifndef TG_LEVEL
#define TG_LEVEL base
#endif
#define LEVEL_JOIN2(a, b, c) a##b##_##c
#define LEVEL_JOIN(a, b, c) LEVEL_JOIN2(a, b, c)
#define SEM_NAME(name) LEVEL_JOIN(sem_, name, TG_LEVEL)
#define SEM(name) void SEM_NAME(name)(struct tg_core * now, struct tg_writes * next, const struct tg_insn *in)

#define INSN(name, opcode, slot, latency, format, doc) SEM(name);
#include "isa.def"

#endif
