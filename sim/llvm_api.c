/* llvm_api.c: finds LLVM's functions. The library stays loaded: its own static state does not survive an unload. */
#ifdef TG_HAS_LLVM
#include "llvm_api.h"

#include <dlfcn.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <string.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

/* LLVM's registry of targets may be entered by one thread at a time; the lock guards LLVM's state, we have none. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;

/* A function pointer from an object pointer, as POSIX has it. */
static bool find(void *library, const char *name, void *to, size_t bytes)
{
	void *p = dlsym(library, name);
	memcpy(to, &p, bytes);
	return p != NULL;
}

static bool start_target(void *library)
{
	static const char *const names[] = {TEXT(LLVM_NATIVE_TARGETINFO), TEXT(LLVM_NATIVE_TARGET), TEXT(LLVM_NATIVE_TARGETMC), TEXT(LLVM_NATIVE_ASMPRINTER)};
	bool ok = true;
	pthread_mutex_lock(&registry);
	for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++) {
		void (*start)(void);
		ok = find(library, names[i], &start, sizeof start);
		if (ok)
			start();
	}
	pthread_mutex_unlock(&registry);
	return ok;
}

bool llvm_load(struct llvm_api *out)
{
	void *library = dlopen(TG_LLVM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool ok = library != NULL;
#define F(name) ok = ok && find(library, "LLVM" #name, &out->name, sizeof out->name);
#include "llvm_api.def"
#undef F
	return ok && start_target(library);
}
#else
typedef int llvm_api_is_empty;
#endif
