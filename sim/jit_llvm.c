/* jit_llvm.c: modules of a program's blocks: made, optimised a little, compiled to an object, loaded. The object is what the cache keeps
 * (jit_cache.c); it refers to nothing outside itself, since code reaches the simulator through its argument.
 *
 * All this may happen in a thread beside the interpreter. The thread reads what does not change once a simulator is made (program, blocks,
 * chip) and writes nothing but struct jit's code pointers. Few blocks do most of the work: for those LLVM makes its best code, for the
 * others its quickest (no optimiser but common subexpressions, fast instruction selection), which takes a quarter of the time. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#include "jit_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#define QUICK_PASSES "function(early-cse)"
#define BEST_PASSES "function(early-cse,instcombine<no-verify-fixpoint>,early-cse)"

#define UNIT 12 /* blocks translated together, those that do most of the work first */
/* of so many bundles LLVM makes the best code it can; of more, where it is kept */
#define HOT(s) (!(s)->options.cache_dir ? 400 : large_registers(s) ? 6000 : 2400)

struct engine {
	struct llvm_api L;
	LLVMTargetMachineRef quick, best;
	LLVMOrcLLJITRef lljit;
	char *triple, *cpu, *features;
};
struct translator {
	struct tg_sim *s;
	const uint32_t *order; /* blocks */
	uint32_t n;
	uint64_t bundles; /* of the blocks before the unit at work */
	struct engine engine;
	struct tg_sha256 common; /* of the cache's keys */
	struct tg_heap heap; /* its own: a heap is one thread's */
	pthread_t thread;
	bool running;        /* there is a thread to join */
	atomic_bool stop;
};

static void close_engine(struct engine *n)
{
	if (n->lljit)
		n->L.ConsumeError(n->L.OrcDisposeLLJIT(n->lljit));
	if (n->quick)
		n->L.DisposeTargetMachine(n->quick);
	if (n->best)
		n->L.DisposeTargetMachine(n->best);
	char *const text[] = {n->triple, n->cpu, n->features};
	for (size_t i = 0; i < TG_ARRAY_LEN(text); i++) {
		if (text[i])
			n->L.DisposeMessage(text[i]);
	}
	memset(n, 0, sizeof *n);
}

static void close_translator(void *user)
{
	struct translator *t = user;
	if (t->running) {
		atomic_store(&t->stop, true);
		pthread_join(t->thread, NULL);
	}
	t->running = false;
	close_engine(&t->engine);
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
	n->quick = n->L.CreateTargetMachine(target, n->triple, n->cpu, n->features, LLVMCodeGenLevelNone, LLVMRelocPIC, LLVMCodeModelDefault);
	n->best = n->L.CreateTargetMachine(target, n->triple, n->cpu, n->features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
	return n->quick && n->best && worked(n, n->L.OrcCreateLLJIT(&n->lljit, NULL));
}

static void find_types(struct gen *g)
{
	const struct llvm_api *L = g->L;
	g->i1 = L->Int1TypeInContext(g->c);
	g->i8 = L->Int8TypeInContext(g->c);
	g->i16 = L->Int16TypeInContext(g->c);
	g->i32 = L->Int32TypeInContext(g->c);
	g->i64 = L->Int64TypeInContext(g->c);
	g->f16 = L->HalfTypeInContext(g->c);
	g->f32 = L->FloatTypeInContext(g->c);
	g->ptr = L->PointerTypeInContext(g->c, 0);
	g->iv = L->VectorType(g->i32, g->strip);
	g->fv = L->VectorType(g->f32, g->strip);
	g->cv = L->VectorType(g->i1, g->strip);
	g->code_type = L->FunctionType(g->i64, &g->ptr, 1, 0);
	LLVMTypeRef in[4] = {g->ptr, g->i64, g->i64, g->i64};
	g->lookup_type = L->FunctionType(g->i1, in, 4, 0);
}

static LLVMMemoryBufferRef compile(struct engine *n, struct gen *g, LLVMTargetMachineRef machine)
{
	LLVMMemoryBufferRef object = NULL;
	char *why = NULL;
	LLVMPassBuilderOptionsRef o = n->L.CreatePassBuilderOptions();
	assert(!n->L.VerifyModule(g->m, LLVMPrintMessageAction, NULL));
	bool ok = worked(n, n->L.RunPasses(g->m, machine == n->best ? BEST_PASSES : QUICK_PASSES, machine, o));
	n->L.DisposePassBuilderOptions(o);
	if (ok && n->L.TargetMachineEmitToMemoryBuffer(machine, g->m, LLVMObjectFile, &why, &object)) {
		n->L.DisposeMessage(why);
		object = NULL;
	}
	return object;
}

static LLVMMemoryBufferRef translate(struct engine *n, struct tg_sim *s, struct tg_arena *scratch, const uint32_t *blocks, uint32_t n_blocks, LLVMTargetMachineRef machine)
{
	struct gen *g = tg_alloc(scratch, sizeof *g);
	g->L = &n->L;
	g->s = s;
	g->c = n->L.ContextCreate();
	g->m = n->L.ModuleCreateWithNameInContext("tegula", g->c);
	g->b = n->L.CreateBuilderInContext(g->c);
	g->strip = strstr(n->features, "+avx512f") ? MAX_STRIP : 8;
	g->has_half = strstr(n->features, "+f16c") || strstr(n->features, "+neon");
	g->quick = machine == n->quick && !s->options.translate_all; /* tests want the long loops */
	find_types(g);
	n->L.SetTarget(g->m, n->triple);
	LLVMTargetDataRef layout = n->L.CreateTargetDataLayout(machine);
	n->L.SetModuleDataLayout(g->m, layout);
	n->L.DisposeTargetData(layout);
	for (uint32_t i = 0; i < n_blocks; i++)
		gen_block(g, blocks[i]);
	LLVMMemoryBufferRef object = compile(n, g, machine);
	n->L.DisposeBuilder(g->b);
	n->L.DisposeModule(g->m);
	n->L.ContextDispose(g->c);
	return object;
}

/* From then on the simulator may run these blocks' code. */
static bool publish(struct engine *n, struct tg_sim *s, const uint32_t *blocks, uint32_t n_blocks)
{
	for (uint32_t i = 0; i < n_blocks; i++) {
		char name[32];
		LLVMOrcExecutorAddress at = 0;
		snprintf(name, sizeof name, "block%u", blocks[i]);
		if (!worked(n, n->L.OrcLLJITLookup(n->lljit, &at, name)))
			return false;
		jit_code *code = (jit_code *)(uintptr_t)at;
		__atomic_store_n(&s->jit.code[blocks[i]], code, __ATOMIC_RELEASE);
	}
	return true;
}

static LLVMMemoryBufferRef object_of(struct translator *t, struct tg_arena *scratch, const uint32_t *blocks, uint32_t n_blocks)
{
	struct engine *n = &t->engine;
	const char *dir = t->s->options.cache_dir;
	struct jit_key key;
	struct jit_object kept;
	bool best = t->bundles < HOT(t->s) && !t->s->options.translate_all;
	if (dir) {
		jit_cache_key(&t->common, blocks, n_blocks, best, &key);
		if (jit_cache_get(scratch, dir, &key, &kept))
			return n->L.CreateMemoryBufferWithMemoryRangeCopy((const char *)kept.at, kept.n, "kept");
	}
	LLVMMemoryBufferRef object = translate(n, t->s, scratch, blocks, n_blocks, best ? n->best : n->quick);
	if (object && dir)
		jit_cache_put(scratch, dir, &key, n->L.GetBufferStart(object), n->L.GetBufferSize(object));
	return object;
}

static bool unit(struct translator *t, uint32_t first)
{
	struct engine *n = &t->engine;
	const uint32_t *blocks = t->order + first;
	uint32_t n_blocks = t->n - first < UNIT ? t->n - first : UNIT;
	struct tg_arena *scratch = tg_arena_new(&t->heap);
	LLVMMemoryBufferRef object = object_of(t, scratch, blocks, n_blocks);
	tg_arena_free(scratch);
	for (uint32_t i = 0; i < n_blocks; i++)
		t->bundles += t->s->jit.blocks->at[blocks[i]].end - t->s->jit.blocks->at[blocks[i]].first;
	return object && worked(n, n->L.OrcLLJITAddObjectFile(n->lljit, n->L.OrcLLJITGetMainJITDylib(n->lljit), object)) && publish(n, t->s, blocks, n_blocks);
}

static void begin_keys(struct translator *t)
{
	const struct engine *n = &t->engine;
	struct tg_arena *scratch = tg_arena_new(&t->heap);
	unsigned major, minor, patch;
	n->L.GetVersion(&major, &minor, &patch);
	jit_cache_begin(scratch, t->s, tg_asprintf(scratch, "%u.%u.%u %s %s %s", major, minor, patch, n->triple, n->cpu, n->features), &t->common);
	tg_arena_free(scratch);
}

/* All units, until told to stop or one fails. Out of memory: what is translated stays. */
static bool work(struct translator *t)
{
	bool ok = false;
	tg_heap_init(&t->heap);
	if (setjmp(t->heap.unwind) == 0) {
		ok = open_engine(&t->engine);
		if (ok && t->s->options.cache_dir)
			begin_keys(t);
		for (uint32_t first = 0; ok && first < t->n && !atomic_load(&t->stop); first += UNIT)
			ok = unit(t, first);
	} else {
		ok = false;
	}
	tg_heap_free(&t->heap);
	return ok;
}

static void *thread_main(void *user)
{
	work(user);
	return NULL;
}

bool jit_available(void)
{
	struct llvm_api L;
	return llvm_load(&L);
}

bool jit_translate(struct tg_sim *s, const uint32_t *order, uint32_t n, bool wait)
{
	struct translator *t = tg_alloc(s->arena, sizeof *t);
	*t = (struct translator){.s = s, .order = order, .n = n};
	tg_arena_cleanup(s->arena, close_translator, t);
	s->jit.translator = t;
	if (wait)
		return work(t);
	t->running = pthread_create(&t->thread, NULL, thread_main, t) == 0;
	return t->running;
}

void jit_close(struct tg_sim *s)
{
	if (s->jit.translator)
		close_translator(s->jit.translator);
	s->jit.translator = NULL;
}
#else
typedef int jit_llvm_is_empty;
#endif
