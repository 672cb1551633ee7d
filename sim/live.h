/* live.h: which vector registers and masks are read later, and how far: somebody may look at the corner of a register, its first rows and lanes, before it is written. What
 * lies outside need not be computed. Private to sim/.
 *
 * Liveness as in every textbook (Aho, Lam, Sethi, Ullman: Compilers, 9.2.5), with corners in place of bits: a store looks at its extent, a lane of a result asks for the same
 * lane of the operands, whoever mixes lanes asks for all. */
#ifndef TG_SIM_LIVE_H
#define TG_SIM_LIVE_H

#include "blocks.h"

/* The first lanes of the first rows; {0, 0}: none. */
struct corner {
	uint16_t rows, lanes;
};
static inline struct corner corner_join(struct corner a, struct corner b)
{
	return (struct corner){a.rows > b.rows ? a.rows : b.rows, a.lanes > b.lanes ? a.lanes : b.lanes};
}

/* By register, from REG_V on. */
struct live {
	struct corner of[REG_P - REG_V];
};
struct corner live_all_of_one(const struct tg_sim *s); /* rows and lanes of a register */
struct live live_all(const struct tg_sim *s);

struct liveness;
/* Of a program whose blocks were found and are usable. Lives in the arena; the simulator is not changed. */
struct liveness *sim_find_live(struct tg_arena *a, const struct tg_sim *s, const struct blocks *k);
/* What is live before a bundle of the block, or at its end. All is when the program halts. */
struct live sim_live_at(const struct liveness *l, const struct block *b, uint32_t bundle);

#endif
