/* jit_image.c: code from bytes. */
#ifdef TG_HAS_LLVM
#include "jit_image.h"

#include <sys/mman.h>

bool jit_image_load(const struct jit_image *i, struct jit_loaded *out)
{
	*out = (struct jit_loaded){NULL, i->n};
	for (uint32_t k = 0; k < i->n_entries; k++) {
		if (i->entry[k] >= i->n)
			return false;
	}
	void *at = mmap(NULL, i->n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return false;
	out->at = at;
	memcpy(at, i->at, i->n);
	if (mprotect(at, i->n, PROT_READ | PROT_EXEC)) {
		jit_image_unload(out);
		return false;
	}
	__builtin___clear_cache((char *)at, (char *)at + i->n);
	return true;
}

void jit_image_unload(struct jit_loaded *l)
{
	if (l->at)
		munmap(l->at, l->n);
	l->at = NULL;
}
#else
typedef int jit_image_is_empty;
#endif
