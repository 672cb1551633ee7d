/* jit_image.h: translated code as bytes that may lie anywhere: made by the linker (jit_link.c), kept on disk (jit_cache.c), loaded (jit_image.c). Private to sim/. */
#ifndef TG_JIT_IMAGE_H
#define TG_JIT_IMAGE_H

#include "jit.h"

/* Code and its constants, for memory that begins with a page; it refers to nothing outside itself, and to itself by distances only. */
struct jit_image {
	const uint8_t *at;
	uint64_t n;
	const uint64_t *entry; /* of each block: where its code begins */
	uint32_t n_entries;
};
/* Memory of the host's that may be executed and not written. */
struct jit_loaded {
	uint8_t *at;
	uint64_t n;
};
/* False: an entry lies outside, or the host has no memory for it. */
bool jit_image_load(const struct jit_image *i, struct jit_loaded *out);
void jit_image_unload(struct jit_loaded *l);

#endif
