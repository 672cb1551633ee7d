/* table.c: the functions of one level by opcode. DMA and control are sim_exec.c's own. */
#include "level.h"

#define AT_S(name) SEM_NAME(name)
#define AT_L(name) SEM_NAME(name)
#define AT_W(name) SEM_NAME(name)
#define AT_V(name) SEM_NAME(name)
#define AT_E(name) SEM_NAME(name)
#define AT_X(name) SEM_NAME(name)
#define AT_P(name) SEM_NAME(name)
#define AT_M(name) SEM_NAME(name)
#define AT_R(name) SEM_NAME(name)
#define AT_D(name) NULL
#define AT_C(name) NULL

#define TABLE_JOIN2(level) tg_sem_##level
#define TABLE_JOIN(level) TABLE_JOIN2(level)
tg_sem *const TABLE_JOIN(TG_LEVEL)[TG_N_INSNS] = {
#define INSN(name, opcode, slot, latency, format, doc) [TG_I_##name] = AT_##slot(name),
#include "isa.def"
};
