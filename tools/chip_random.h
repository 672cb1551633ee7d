/* chip_random.h: a chip's YAML with every key drawn at random from its range. */
#ifndef TG_CHIP_RANDOM_H
#define TG_CHIP_RANDOM_H

#include "isa.h"

/* Text that tg_chip_parse accepts; the same for the same seed. NULL: reported (our own fault). */
const char *chip_random(struct tg_diag *d, struct tg_arena *a, uint64_t seed);

#endif
