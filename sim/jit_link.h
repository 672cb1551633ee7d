/* jit_link.h: from LLVM's object to an image. Private to sim/. */
#ifndef TG_JIT_LINK_H
#define TG_JIT_LINK_H

#include "jit_image.h"
#include "llvm_api.h"

struct region {
	uint8_t *at;
	uint64_t n, used;
};
struct linker {
	const struct llvm_api *L;
	LLVMOrcLLJITRef lljit;
	struct region place[2], *now; /* where sections go */
};
/* It must stay where it is. False: LLVM cannot. */
bool link_open(struct linker *l, const struct llvm_api *L);
void link_close(struct linker *l);
/* The object's code, its entries at these names; `object` stays the caller's. It is linked to two places: what differs between them depends on where it
 * lies, and is refused. The image lies in the arena. False: refused, or a name is missing. */
bool link_object(struct linker *l, struct tg_arena *a, LLVMMemoryBufferRef object, const char *const *names, uint32_t n, struct jit_image *out);

#endif
