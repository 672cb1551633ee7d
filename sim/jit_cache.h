/* jit_cache.h: translated code on disk. Private to sim/. */
#ifndef TG_JIT_CACHE_H
#define TG_JIT_CACHE_H

#include "jit_image.h"

struct jit_key {
	char hex[65];
};
/* What all units of a program have in common: the program, this build's layout of the simulator and the LLVM it was built for, the host's processor. False: of such a host
 * too little is known to keep code for it. */
bool jit_cache_begin(struct tg_arena *a, const struct tg_sim *s, struct tg_sha256 *out);
/* The key of some of its blocks, at one of two levels of effort. */
void jit_cache_key(const struct tg_sha256 *common, const uint32_t *blocks, uint32_t n, bool best, struct jit_key *out);
/* The image for n blocks, in the arena or mapped there. False: not there, or not whole. */
bool jit_cache_get(struct tg_arena *a, const char *dir, const struct jit_key *key, uint32_t n, struct jit_image *out);
/* Whether there is something under this key. */
bool jit_cache_has(struct tg_arena *a, const char *dir, const struct jit_key *key);
/* Whole or not at all, whoever else writes; a failure is nobody's concern. */
void jit_cache_put(struct tg_arena *a, const char *dir, const struct jit_key *key, const struct jit_image *i);

#endif
