/* import_one.c: imports one model and exits with the status; messages on stderr. For the malformed corpus: it is run under limits.
 *
 *   import_one MODEL [NAME=SIZE...]      or      import_one FILE.npy | FILE.npz | FILE.pb */
#include "tensor_files.h"

#include <stdlib.h>
#include <string.h>

enum { HEAP_LIMIT = 200 << 20, MAX_DIMS = 16 };

static bool is_tensor(const char *path)
{
	size_t n = strlen(path);
	return n > 4 && (!strcmp(path + n - 4, ".npy") || !strcmp(path + n - 4, ".npz") || !strcmp(path + n - 3, ".pb"));
}

static bool import(struct tg_diag *d, struct tg_arena *a, int argc, char **argv)
{
	struct tg_dim_binding dims[MAX_DIMS];
	struct tg_import_options o = { .dims = dims };
	struct tg_import_result r;
	struct tg_tensor_list tensors = { 0 };
	for (int i = 2; i < argc && o.n_dims < MAX_DIMS; i++) {
		char *eq = strrchr(argv[i], '=');
		if (!eq)
			return tg_usage(d, TG_NOWHERE, "%s is not NAME=SIZE", argv[i]);
		*eq = 0;
		dims[o.n_dims++] = (struct tg_dim_binding){ argv[i], atoll(eq + 1) };
	}
	if (is_tensor(argv[1]))
		return tg_tensors_read(d, a, argv[1], &tensors);
	return tg_import_onnx(d, a, argv[1], &o, &r) && tg_module_verify(d, r.module);
}

int main(int argc, char **argv)
{
	struct tg_heap heap;
	if (argc < 2)
		return TG_ERR_USAGE;
	tg_heap_init(&heap);
	heap.limit_bytes = HEAP_LIMIT;
	if (setjmp(heap.unwind)) {
		tg_heap_free(&heap);
		fprintf(stderr, "out of memory\n");
		return TG_ERR_NOMEM;
	}
	struct tg_arena *a = tg_arena_new(&heap);
	struct tg_diag d;
	tg_diag_init(&d, a);
	bool ok = import(&d, a, argc, argv);
	for (size_t i = 0; i < d.list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, a);
		tg_message_format(&d.list.at[i], &b);
		fprintf(stderr, "%s\n", b.at);
	}
	int status = ok ? TG_OK : d.status ? (int)d.status : TG_ERR_INTERNAL;
	tg_heap_free(&heap);
	return status;
}
