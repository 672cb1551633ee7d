/* jit_cache.h: translated code on disk. Private to sim/. */
#ifndef TG_JIT_CACHE_H
#define TG_JIT_CACHE_H

#include "jit.h"

struct jit_key {
	char hex[65];
};
struct jit_object {
	const uint8_t *at;
	size_t n;
};
/* What all units of a program have in common: the program, this build's layout of the simulator, and `host`: what else the code depends on. */
void jit_cache_begin(struct tg_arena *a, const struct tg_sim *s, const char *host, struct tg_sha256 *out);
/* The key of some of its blocks, at one of two levels of effort. */
void jit_cache_key(const struct tg_sha256 *common, const uint32_t *blocks, uint32_t n, bool best, struct jit_key *out);
/* False: not there, or not whole. */
bool jit_cache_get(struct tg_arena *a, const char *dir, const struct jit_key *key, struct jit_object *out);
/* Whole or not at all, whoever else writes; a failure is nobody's concern. */
void jit_cache_put(struct tg_arena *a, const char *dir, const struct jit_key *key, const void *object, size_t n);

#endif
