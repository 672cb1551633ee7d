/* llvm_api.h: LLVM's C interface, loaded when the first program is translated: what never translates never maps it. Private to sim/. */
#ifndef TG_LLVM_API_H
#define TG_LLVM_API_H

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/OrcEE.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdbool.h>
#include <stddef.h>

struct llvm_api {
#define F(name) __typeof__(LLVM##name) *name;
#include "llvm_api.def"
#undef F
};

/* False: there is no such library, or it lacks something. */
bool llvm_load(struct llvm_api *out);
/* An error of LLVM's is an answer here: the interpreter does the work. */
static inline bool llvm_worked(const struct llvm_api *L, LLVMErrorRef e)
{
	if (e)
		L->ConsumeError(e);
	return e == NULL;
}

#endif
