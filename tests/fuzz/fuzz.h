/* fuzz.h: random stage programs: made, shrunk, compared. Every number depends on the seed alone. */
#ifndef TG_FUZZ_H
#define TG_FUZZ_H

#include "ir_internal.h"

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014) */
struct rng { uint64_t s; };
uint64_t rng_next(struct rng *r);
static inline int64_t rng_range(struct rng *r, int64_t lo, int64_t hi) { return lo + (int64_t)(rng_next(r) % (uint64_t)(hi - lo + 1)); }
static inline bool rng_chance(struct rng *r, int percent) { return rng_range(r, 0, 99) < percent; }

/* generate.c: a module of the tile dialect whose every result is an integer (or a small fraction) that each element type and each order of
 * summation represents exactly. */
struct tg_module *fuzz_generate(struct tg_arena *a, uint64_t seed);
/* Contents of a module input, from its name and type: "idxN..." holds indices below N, "wide..." large values, others small ones. */
void fuzz_fill(const char *name, struct tg_tensor *t, uint64_t seed);

/* shrink.c: the next smaller variant of a module, changed in place; step counts from 0. False: no such step. *applies: false when the step does
 * nothing here. The result may be invalid: verify it. */
bool fuzz_shrink(struct tg_module *m, uint32_t step, bool *applies);

#endif
