/* jit_llvm.c: modules of a program's blocks: made, optimised a little, compiled to an object, linked (jit_link.c), loaded (jit_image.c). The linked code is what the
 * cache keeps (jit_cache.c); it refers to nothing outside itself, since code reaches the simulator through its argument. LLVM is opened for the first block that
 * was not kept.
 *
 * All this may happen in a thread beside the interpreter. The thread reads what does not change once a simulator is made (program, blocks,
 * chip) and writes nothing but struct jit's code pointers. Few blocks do most of the work: for those LLVM makes its best code, for the
 * others its quickest (no optimiser but common subexpressions, fast instruction selection), which takes a quarter of the time. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#include "jit_cache.h"
#include "jit_link.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define QUICK_PASSES "function(early-cse)"
#define BEST_PASSES "function(early-cse,instcombine<no-verify-fixpoint>,early-cse)"

#define UNIT 12 /* blocks translated together, those that do most of the work first */
#define N_UNITS(n) (((n) + UNIT - 1) / UNIT)
/* of so many bundles LLVM makes the best code it can; of more, where it is kept */
#define HOT(s) (!(s)->options.cache_dir ? 400 : large_registers(s) ? 6000 : 2400)

struct engine {
	struct llvm_api L;
	LLVMTargetMachineRef quick, best;
	struct linker linker;
	char *triple, *cpu, *features;
};
struct translator {
	struct tg_sim *s;
	const uint32_t *order; /* blocks */
	uint32_t n;
	uint64_t bundles; /* of the blocks before the unit at work */
	bool opened;      /* the engine was, or could not be */
	struct engine engine;
	const struct liveness *live; /* of the program, once it is opened */
	bool keeps;
	struct tg_sha256 common; /* of the cache's keys */
	struct jit_loaded *units; /* what runs, unit by unit */
	struct tg_heap heap; /* its own: a heap is one thread's */
	pthread_t thread;
	bool running;        /* there is a thread to join */
	atomic_bool stop;
};

static void close_engine(struct engine *n)
{
	link_close(&n->linker);
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
	for (uint32_t i = 0; i < N_UNITS(t->n); i++)
		jit_image_unload(&t->units[i]);
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
	return n->quick && n->best && link_open(&n->linker, &n->L);
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
	bool ok = llvm_worked(&n->L, n->L.RunPasses(g->m, machine == n->best ? BEST_PASSES : QUICK_PASSES, machine, o));
	n->L.DisposePassBuilderOptions(o);
	if (ok && n->L.TargetMachineEmitToMemoryBuffer(machine, g->m, LLVMObjectFile, &why, &object)) {
		n->L.DisposeMessage(why);
		object = NULL;
	}
	return object;
}

/* Nothing is ever thrown through translated code: no tables for that. */
static void forget_unwinding(struct gen *g)
{
	static const char name[] = "nounwind";
	LLVMAttributeRef a = g->L->CreateEnumAttribute(g->c, g->L->GetEnumAttributeKindForName(name, sizeof name - 1), 0);
	for (LLVMValueRef f = g->L->GetFirstFunction(g->m); f; f = g->L->GetNextFunction(f))
		g->L->AddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

static LLVMMemoryBufferRef translate(struct translator *t, struct tg_arena *scratch, const uint32_t *blocks, uint32_t n_blocks, LLVMTargetMachineRef machine)
{
	struct engine *n = &t->engine;
	struct gen *g = tg_alloc(scratch, sizeof *g);
	g->L = &n->L;
	g->s = t->s;
	g->live = t->live;
	g->c = n->L.ContextCreate();
	g->m = n->L.ModuleCreateWithNameInContext("tegula", g->c);
	g->b = n->L.CreateBuilderInContext(g->c);
	g->strip = strstr(n->features, "+avx512f") ? MAX_STRIP : 8;
	g->has_half = strstr(n->features, "+f16c") || strstr(n->features, "+neon");
	g->quick = machine == n->quick && !t->s->options.translate_all; /* tests want the long loops */
	find_types(g);
	n->L.SetTarget(g->m, n->triple);
	LLVMTargetDataRef layout = n->L.CreateTargetDataLayout(machine);
	n->L.SetModuleDataLayout(g->m, layout);
	n->L.DisposeTargetData(layout);
	for (uint32_t i = 0; i < n_blocks; i++)
		gen_block(g, blocks[i]);
	forget_unwinding(g);
	LLVMMemoryBufferRef object = compile(n, g, machine);
	n->L.DisposeBuilder(g->b);
	n->L.DisposeModule(g->m);
	n->L.ContextDispose(g->c);
	return object;
}

/* Has LLVM make the blocks' code. */
static bool make(struct translator *t, struct tg_arena *scratch, const uint32_t *blocks, uint32_t n_blocks, bool best, struct jit_image *out)
{
	struct engine *n = &t->engine;
	const char *names[UNIT];
	if (!t->opened && !open_engine(n))
		close_engine(n);
	if (!t->opened && n->best)
		t->live = sim_find_live(tg_arena_new(&t->heap), t->s, t->s->jit.blocks);
	t->opened = true;
	LLVMMemoryBufferRef object = n->best ? translate(t, scratch, blocks, n_blocks, best ? n->best : n->quick) : NULL;
	if (!object)
		return false;
	for (uint32_t i = 0; i < n_blocks; i++)
		names[i] = tg_asprintf(scratch, "block%u", blocks[i]);
	bool ok = link_object(&n->linker, scratch, object, names, n_blocks, out);
	n->L.DisposeMemoryBuffer(object);
	return ok;
}

/* For blocks behind so many bundles of others. */
static bool best_code(const struct tg_sim *s, uint64_t bundles)
{
	return bundles < HOT(s) && !s->options.translate_all;
}

static bool image_of(struct translator *t, struct tg_arena *scratch, const uint32_t *blocks, uint32_t n_blocks, struct jit_image *out)
{
	const char *dir = t->s->options.cache_dir;
	struct jit_key key;
	bool best = best_code(t->s, t->bundles);
	if (t->keeps) {
		jit_cache_key(&t->common, blocks, n_blocks, best, &key);
		if (jit_cache_get(scratch, dir, &key, n_blocks, out))
			return true;
	}
	if (!make(t, scratch, blocks, n_blocks, best, out))
		return false;
	if (t->keeps)
		jit_cache_put(scratch, dir, &key, out);
	return true;
}

/* When it is there, the simulator may run these blocks' code. */
static bool unit(struct translator *t, uint32_t number)
{
	uint32_t first = number * UNIT, n_blocks = t->n - first < UNIT ? t->n - first : UNIT;
	const uint32_t *blocks = t->order + first;
	struct tg_arena *scratch = tg_arena_new(&t->heap);
	struct jit_image image;
	bool ok = image_of(t, scratch, blocks, n_blocks, &image) && jit_image_load(&image, &t->units[number]);
	for (uint32_t i = 0; ok && i < n_blocks; i++) {
		const uint8_t *at = t->units[number].at + image.entry[i];
		jit_code *code;
		memcpy(&code, &at, sizeof code); /* a function's address from an object's, as POSIX has it */
		__atomic_store_n(&t->s->jit.code[blocks[i]], code, __ATOMIC_RELEASE);
	}
	for (uint32_t i = 0; i < n_blocks; i++)
		t->bundles += t->s->jit.blocks->at[blocks[i]].end - t->s->jit.blocks->at[blocks[i]].first;
	tg_arena_free(scratch);
	return ok;
}

/* All units, until told to stop or one fails. Out of memory: what is translated stays. */
static bool work(struct translator *t)
{
	bool ok = false;
	tg_heap_init(&t->heap);
	if (setjmp(t->heap.unwind) == 0) {
		struct tg_arena *scratch = tg_arena_new(&t->heap);
		t->keeps = t->s->options.cache_dir && jit_cache_begin(scratch, t->s, &t->common);
		tg_arena_free(scratch);
		ok = true;
		for (uint32_t i = 0; ok && i < N_UNITS(t->n) && !atomic_load(&t->stop); i++)
			ok = unit(t, i);
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
	return access(TG_LLVM_FILE, R_OK) == 0 || llvm_load(&L); /* to load it takes long and much memory, and all code may be kept */
}

bool jit_translate(struct tg_sim *s, const uint32_t *order, uint32_t n, bool wait)
{
	struct translator *t = tg_alloc(s->arena, sizeof *t);
	*t = (struct translator){.s = s, .order = order, .n = n, .units = tg_alloc_n(s->arena, N_UNITS((size_t)n) + 1, sizeof *t->units)};
	tg_arena_cleanup(s->arena, close_translator, t);
	s->jit.translator = t;
	if (wait)
		return work(t);
	t->running = pthread_create(&t->thread, NULL, thread_main, t) == 0;
	return t->running;
}

bool jit_kept(struct tg_sim *s, const uint32_t *order, uint32_t n)
{
	struct tg_sha256 common;
	struct jit_key key;
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(s->arena));
	bool kept = s->options.cache_dir && jit_cache_begin(scratch, s, &common);
	if (kept) {
		jit_cache_key(&common, order, n < UNIT ? n : UNIT, best_code(s, 0), &key);
		kept = jit_cache_has(scratch, s->options.cache_dir, &key);
	}
	tg_arena_free(scratch);
	return kept;
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
