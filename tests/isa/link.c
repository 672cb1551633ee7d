/* link.c: translated code from object to memory: it may lie anywhere, and what may not is refused. */
#include "harness.h"
#include "jit_link.h"

#include <dlfcn.h>
#include <llvm-c/IRReader.h>

static LLVMMemoryBufferRef object_of(struct llvm_api *L, const char *ir)
{
	__typeof__(LLVMParseIRInContext) *parse; /* no business of the translator's, so not in its table */
	LLVMTargetRef target;
	LLVMModuleRef m = NULL;
	LLVMMemoryBufferRef object = NULL;
	char *why = NULL;
	ck_assert(llvm_load(L));
	void *p = dlsym(dlopen(TG_LLVM_LIBRARY, RTLD_NOW | RTLD_LOCAL), "LLVMParseIRInContext");
	memcpy(&parse, &p, sizeof p);
	ck_assert(p != NULL);
	LLVMContextRef c = L->ContextCreate();
	ck_assert_msg(!parse(c, L->CreateMemoryBufferWithMemoryRangeCopy(ir, strlen(ir), "ir"), &m, &why), "%s", why ? why : "");
	char *triple = L->GetDefaultTargetTriple();
	ck_assert(!L->GetTargetFromTriple(triple, &target, &why));
	LLVMTargetMachineRef machine = L->CreateTargetMachine(target, triple, "", "", LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
	L->SetTarget(m, triple);
	ck_assert_msg(!L->TargetMachineEmitToMemoryBuffer(machine, m, LLVMObjectFile, &why, &object), "%s", why ? why : "");
	L->DisposeModule(m);
	L->ContextDispose(c);
	L->DisposeTargetMachine(machine);
	L->DisposeMessage(triple);
	return object;
}

/* block(i) = table[i], of numbers and of addresses */
#define READER "define i64 @block(i64 %i) nounwind {\n %p = getelementptr i64, ptr @table, i64 %i\n %v = load i64, ptr %p\n ret i64 %v\n}\n"
#define NUMBERS "@table = internal constant [2 x i64] [i64 7, i64 1234567890123]\n" READER
#define ADDRESSES "@table = internal constant [2 x ptr] [ptr @block, ptr @block]\n" READER

static bool link_ir(struct fixture *f, const char *ir, const char *name, struct jit_image *image)
{
	struct llvm_api L;
	struct linker l;
	LLVMMemoryBufferRef object = object_of(&L, ir);
	ck_assert(link_open(&l, &L));
	bool ok = link_object(&l, f->a, object, &name, 1, image);
	link_close(&l);
	L.DisposeMemoryBuffer(object);
	return ok;
}

START_TEST(code_with_constants)
{
	struct fixture *f = fixture_new("t1");
	struct jit_image image;
	struct jit_loaded loaded[2];
	ck_assert(link_ir(f, NUMBERS, "block", &image));
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(jit_image_load(&image, &loaded[i]));
		const uint8_t *at = loaded[i].at + image.entry[0];
		uint64_t (*code)(uint64_t);
		memcpy(&code, &at, sizeof code);
		ck_assert(code(0) == 7 && code(1) == 1234567890123);
	}
	ck_assert(loaded[0].at != loaded[1].at);
	jit_image_unload(&loaded[0]);
	jit_image_unload(&loaded[1]);
	const uint64_t outside = image.n;
	image.entry = &outside;
	ck_assert_msg(!jit_image_load(&image, &loaded[0]), "an entry behind the end is taken");
	fixture_free(f);
}
END_TEST

/* A table of addresses holds what it held where it was linked. */
START_TEST(code_with_addresses)
{
	struct fixture *f = fixture_new("t1");
	struct jit_image image;
	ck_assert_msg(!link_ir(f, ADDRESSES, "block", &image), "code that depends on its place is taken");
	fixture_free(f);
}
END_TEST

START_TEST(missing_entry)
{
	struct fixture *f = fixture_new("t1");
	struct jit_image image;
	ck_assert(!link_ir(f, NUMBERS, "other", &image));
	fixture_free(f);
}
END_TEST

int main(void)
{
	if (!tg_sim_can_translate()) {
		printf("no LLVM: nothing to link\n");
		return 77;
	}
	Suite *s = suite_create("link");
	TCase *t = tcase_create("link");
	tcase_set_timeout(t, 0);
	tcase_add_test(t, code_with_constants);
	tcase_add_test(t, code_with_addresses);
	tcase_add_test(t, missing_entry);
	suite_add_tcase(s, t);
	return run_suite(s);
}
