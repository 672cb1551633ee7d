/* jit_none.c: a build without LLVM interprets. */
#include "jit.h"

#ifndef TG_HAS_LLVM
bool jit_available(void)
{
	return false;
}

bool jit_translate(struct tg_sim *s, const bool *want)
{
	(void)s;
	(void)want;
	return false;
}
#else
typedef int jit_none_is_empty;
#endif
