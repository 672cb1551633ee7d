/* jit_none.c: a build without LLVM interprets. */
#include "jit.h"

#ifndef TG_HAS_LLVM
bool jit_available(void)
{
	return false;
}

bool jit_translate(struct tg_sim *s, const uint32_t *order, uint32_t n, bool wait)
{
	(void)s;
	(void)order;
	(void)n;
	(void)wait;
	return false;
}

bool jit_kept(struct tg_sim *s, const uint32_t *order, uint32_t n)
{
	(void)s;
	(void)order;
	(void)n;
	return false;
}

void jit_close(struct tg_sim *s)
{
	(void)s;
}
#else
typedef int jit_none_is_empty;
#endif
