/* jit_llvm.c: one module for a program's blocks: made, optimised a little, compiled to an object, loaded. The object is what the cache keeps
 * (jit_cache.c); it refers to nothing outside itself, since code reaches the simulator through its argument. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#include "jit_cache.h"

#include <assert.h>

#define PASSES "function(early-cse)"

struct engine {
	struct llvm_api L;
	LLVMTargetMachineRef machine;
	LLVMOrcLLJITRef lljit;
	char *triple, *cpu, *features;
};

static void close_engine(void *user)
{
	struct engine *n = user;
	if (n->lljit)
		n->L.ConsumeError(n->L.OrcDisposeLLJIT(n->lljit));
	if (n->machine)
		n->L.DisposeTargetMachine(n->machine);
	char *const text[] = {n->triple, n->cpu, n->features};
	for (size_t i = 0; i < TG_ARRAY_LEN(text); i++) {
		if (text[i])
			n->L.DisposeMessage(text[i]);
	}
	n->lljit = NULL;
	n->machine = NULL;
	n->triple = n->cpu = n->features = NULL;
}

/* An error of LLVM's is an answer here: the interpreter does the work. */
static bool worked(struct engine *n, LLVMErrorRef e)
{
	if (e)
		n->L.ConsumeError(e);
	return e == NULL;
}

static bool fast_enough(const char *features)
{
#if defined(__x86_64__)
	/* without a hardware fma every lane would be a library call */
	return strstr(features, "+fma") && strstr(features, "+avx2");
#else
	(void)features;
	return true;
#endif
}

static bool open_engine(struct engine *n)
{
	LLVMTargetRef target;
	char *why = NULL;
	if (!llvm_load(&n->L))
		return false;
	n->triple = n->L.GetDefaultTargetTriple();
	n->cpu = n->L.GetHostCPUName();
	n->features = n->L.GetHostCPUFeatures();
	if (!fast_enough(n->features))
		return false;
	if (n->L.GetTargetFromTriple(n->triple, &target, &why)) {
		n->L.DisposeMessage(why);
		return false;
	}
	n->machine = n->L.CreateTargetMachine(target, n->triple, n->cpu, n->features, LLVMCodeGenLevelNone, LLVMRelocPIC, LLVMCodeModelDefault);
	return n->machine && worked(n, n->L.OrcCreateLLJIT(&n->lljit, NULL));
}

static void find_types(struct gen *g)
{
	const struct llvm_api *L = g->L;
	g->i1 = L->Int1TypeInContext(g->c);
	g->i8 = L->Int8TypeInContext(g->c);
	g->i16 = L->Int16TypeInContext(g->c);
	g->i32 = L->Int32TypeInContext(g->c);
	g->i64 = L->Int64TypeInContext(g->c);
	g->f32 = L->FloatTypeInContext(g->c);
	g->ptr = L->PointerTypeInContext(g->c, 0);
	g->iv = L->VectorType(g->i32, STRIP);
	g->fv = L->VectorType(g->f32, STRIP);
	g->cv = L->VectorType(g->i1, STRIP);
	g->code_type = L->FunctionType(g->i64, &g->ptr, 1, 0);
	LLVMTypeRef in[4] = {g->ptr, g->i64, g->i64, g->i64};
	g->lookup_type = L->FunctionType(g->i1, in, 4, 0);
}

static LLVMMemoryBufferRef compile(struct engine *n, struct gen *g)
{
	LLVMMemoryBufferRef object = NULL;
	char *why = NULL;
	LLVMPassBuilderOptionsRef o = n->L.CreatePassBuilderOptions();
	assert(!n->L.VerifyModule(g->m, LLVMPrintMessageAction, NULL));
	bool ok = worked(n, n->L.RunPasses(g->m, PASSES, n->machine, o));
	n->L.DisposePassBuilderOptions(o);
	if (ok && n->L.TargetMachineEmitToMemoryBuffer(n->machine, g->m, LLVMObjectFile, &why, &object)) {
		n->L.DisposeMessage(why);
		object = NULL;
	}
	return object;
}

static LLVMMemoryBufferRef translate(struct engine *n, struct tg_sim *s, const bool *want)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(s->arena));
	struct gen *g = tg_alloc(scratch, sizeof *g);
	g->L = &n->L;
	g->s = s;
	g->c = n->L.ContextCreate();
	g->m = n->L.ModuleCreateWithNameInContext("tegula", g->c);
	g->b = n->L.CreateBuilderInContext(g->c);
	find_types(g);
	n->L.SetTarget(g->m, n->triple);
	LLVMTargetDataRef layout = n->L.CreateTargetDataLayout(n->machine);
	n->L.SetModuleDataLayout(g->m, layout);
	n->L.DisposeTargetData(layout);
	for (uint32_t i = 0; i < s->jit.blocks->n; i++) {
		if (want[i])
			gen_block(g, i);
	}
	LLVMMemoryBufferRef object = compile(n, g);
	n->L.DisposeBuilder(g->b);
	n->L.DisposeModule(g->m);
	n->L.ContextDispose(g->c);
	tg_arena_free(scratch);
	return object;
}

static bool look_up(struct engine *n, struct tg_sim *s, const bool *want)
{
	for (uint32_t i = 0; i < s->jit.blocks->n; i++) {
		char name[32];
		LLVMOrcExecutorAddress at = 0;
		snprintf(name, sizeof name, "block%u", i);
		if (!want[i])
			continue;
		if (!worked(n, n->L.OrcLLJITLookup(n->lljit, &at, name)))
			return false;
		s->jit.code[i] = (jit_code *)(uintptr_t)at;
	}
	return true;
}

bool jit_available(void)
{
	struct llvm_api L;
	return llvm_load(&L);
}

bool jit_translate(struct tg_sim *s, const bool *want)
{
	struct engine *n = tg_alloc(s->arena, sizeof *n);
	struct jit_key key;
	LLVMMemoryBufferRef object = NULL;
	struct jit_object kept = {0};
	tg_arena_cleanup(s->arena, close_engine, n);
	if (!open_engine(n))
		return false;
	if (s->options.cache_dir) {
		unsigned major, minor, patch;
		n->L.GetVersion(&major, &minor, &patch);
		jit_cache_key(s, want, tg_asprintf(s->arena, "%u.%u.%u %s %s %s", major, minor, patch, n->triple, n->cpu, n->features), &key);
		if (jit_cache_get(s->arena, s->options.cache_dir, &key, &kept))
			object = n->L.CreateMemoryBufferWithMemoryRangeCopy((const char *)kept.at, kept.n, "kept");
	}
	if (!object) {
		object = translate(n, s, want);
		if (object && s->options.cache_dir)
			jit_cache_put(s->arena, s->options.cache_dir, &key, n->L.GetBufferStart(object), n->L.GetBufferSize(object));
	}
	if (!object)
		return false;
	LLVMOrcJITDylibRef library = n->L.OrcLLJITGetMainJITDylib(n->lljit);
	return worked(n, n->L.OrcLLJITAddObjectFile(n->lljit, library, object)) && look_up(n, s, want);
}
#else
typedef int jit_llvm_is_empty;
#endif
