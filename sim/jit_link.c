/* jit_link.c: ORC links an object into memory that is ours, so that the linked bytes can be kept and loaded again without LLVM, whose library alone takes more memory than
 * many a program. */
#ifdef TG_HAS_LLVM
#include "jit_link.h"

#include <sys/mman.h>

/* Address space for a link; only what sections fill is touched. LLVM adds room for calls out of reach, a few bytes for each reference. */
#define ROOM(object) (UINT64_C(8) * (object) + (UINT64_C(1) << 20))

/* ---- LLVM asks for memory ---- */

static void *context_of(void *linker)
{
	return linker;
}
static void no_more(void *linker)
{
	(void)linker;
}

static uint8_t *take(void *linker, uintptr_t bytes, unsigned align)
{
	struct region *r = ((struct linker *)linker)->now;
	uint64_t from = (r->used + align - 1) / align * align;
	if (from > r->n || bytes > r->n - from)
		return NULL;
	r->used = from + bytes;
	return r->at + from;
}
static uint8_t *take_code(void *linker, uintptr_t bytes, unsigned align, unsigned id, const char *name)
{
	(void)id, (void)name;
	return take(linker, bytes, align);
}
static uint8_t *take_data(void *linker, uintptr_t bytes, unsigned align, unsigned id, const char *name, LLVMBool read_only)
{
	(void)id, (void)name, (void)read_only;
	return take(linker, bytes, align);
}

/* The code runs elsewhere: nothing is left to do here. */
static LLVMBool finish(void *linker, char **why)
{
	(void)linker, (void)why;
	return 0;
}

static LLVMOrcObjectLayerRef layer_of(void *linker, LLVMOrcExecutionSessionRef session, const char *triple)
{
	struct linker *l = linker;
	(void)triple;
	return l->L->OrcCreateRTDyldObjectLinkingLayerWithMCJITMemoryManagerLikeCallbacks(session, l, context_of, no_more, take_code, take_data, finish, no_more);
}

bool link_open(struct linker *l, const struct llvm_api *L)
{
	*l = (struct linker){.L = L};
	LLVMOrcLLJITBuilderRef b = L->OrcCreateLLJITBuilder();
	L->OrcLLJITBuilderSetObjectLinkingLayerCreator(b, layer_of, l);
	return llvm_worked(l->L, L->OrcCreateLLJIT(&l->lljit, b));
}

static void give_back(struct linker *l)
{
	for (unsigned i = 0; i < TG_ARRAY_LEN(l->place); i++) {
		if (l->place[i].at)
			munmap(l->place[i].at, l->place[i].n);
		l->place[i] = (struct region){.at = NULL};
	}
}

void link_close(struct linker *l)
{
	if (l->lljit)
		llvm_worked(l->L, l->L->OrcDisposeLLJIT(l->lljit));
	l->lljit = NULL;
	give_back(l);
}

static bool find_entries(struct linker *l, const char *const *names, uint32_t n, uint64_t *entry)
{
	for (uint32_t i = 0; i < n; i++) {
		LLVMOrcExecutorAddress at = 0;
		if (!llvm_worked(l->L, l->L->OrcLLJITLookup(l->lljit, &at, names[i])))
			return false;
		entry[i] = at - (uintptr_t)l->now->at;
	}
	return true;
}

static bool link_into(struct linker *l, struct region *r, LLVMMemoryBufferRef object, const char *const *names, uint32_t n, uint64_t *entry)
{
	const struct llvm_api *L = l->L;
	LLVMMemoryBufferRef copy = L->CreateMemoryBufferWithMemoryRangeCopy(L->GetBufferStart(object), L->GetBufferSize(object), "object");
	LLVMOrcResourceTrackerRef tracker = L->OrcJITDylibCreateResourceTracker(L->OrcLLJITGetMainJITDylib(l->lljit));
	l->now = r;
	bool ok = llvm_worked(l->L, L->OrcLLJITAddObjectFileWithRT(l->lljit, tracker, copy)) && find_entries(l, names, n, entry);
	ok &= llvm_worked(l->L, L->OrcResourceTrackerRemove(tracker));
	L->OrcReleaseResourceTracker(tracker);
	return ok;
}

static bool open_region(struct region *r, uint64_t n)
{
	void *at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	*r = (struct region){.at = at == MAP_FAILED ? NULL : at, .n = n};
	return r->at != NULL;
}

bool link_object(struct linker *l, struct tg_arena *a, LLVMMemoryBufferRef object, const char *const *names, uint32_t n, struct jit_image *out)
{
	struct region *here = &l->place[0], *there = &l->place[1];
	uint64_t room = ROOM(l->L->GetBufferSize(object)), *entry = tg_alloc_n(a, (size_t)n + 1, sizeof *entry), *again = tg_alloc_n(a, (size_t)n + 1, sizeof *again);
	bool ok = open_region(here, room) && open_region(there, room) && link_into(l, here, object, names, n, entry) && link_into(l, there, object, names, n, again) &&
		  here->used == there->used && memcmp(here->at, there->at, here->used) == 0 && memcmp(entry, again, n * sizeof *entry) == 0;
	if (ok) {
		uint8_t *bytes = tg_alloc(a, here->used);
		memcpy(bytes, here->at, here->used);
		*out = (struct jit_image){bytes, here->used, entry, n};
	}
	give_back(l);
	return ok;
}
#else
typedef int jit_link_is_empty;
#endif
