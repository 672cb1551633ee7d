/* isa_int.h: what the files of isa/ share among themselves. */
#ifndef TG_ISA_INT_H
#define TG_ISA_INT_H

#include "isa.h"

/* Where the slots of each kind begin in a bundle's header, in the order of isa.h; [TG_SLOT_E] equals [TG_SLOT_V]. */
struct slot_map {
	uint32_t first[TG_N_SLOTS];
	uint32_t n;
};
void slot_map_of(const struct tg_chip *c, struct slot_map *m);

/* Why this instruction is not legal on this chip: NULL, or a static string. Covers every field and the predicate. */
const char *insn_problem(const struct tg_chip *c, const struct tg_insn *in);

/* Whether the assembler writes its fields a and i as [a+i]. */
bool insn_has_address(const struct tg_insn_info *info);

#endif
