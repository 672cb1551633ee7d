/* onnx_support.c: prints docs/onnx-support.md from the importer table. With TG_UPDATE set, writes it to the path given instead; otherwise compares. */
#include "frontend.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
	const struct tg_onnx_op_info *x = a, *y = b;
	int domain = strcmp(x->domain, y->domain), name = strcmp(x->name, y->name);
	return domain ? domain : name ? name : x->first - y->first;
}

static void rows(struct tg_buf *b, const struct tg_onnx_op_info *ops, uint32_t n, bool supported)
{
	const char *domain = NULL;
	for (uint32_t i = 0; i < n; i++) {
		if (!ops[i].unsupported != supported)
			continue;
		if (!domain || strcmp(domain, ops[i].domain)) {
			domain = ops[i].domain;
			tg_buf_printf(b, "\n### %s\n\n| operator | opsets |%s\n| --- | --- |%s\n", *domain ? domain : "ai.onnx", supported ? "" : " reason |",
				      supported ? "" : " --- |");
		}
		tg_buf_printf(b, "| %s | %d to %s", ops[i].name, ops[i].first, ops[i].last ? "" : "newest");
		if (ops[i].last)
			tg_buf_printf(b, "%d", ops[i].last);
		if (!supported)
			tg_buf_printf(b, " | %s", ops[i].unsupported);
		tg_buf_puts(b, " |\n");
	}
}

static void page(struct tg_buf *b, struct tg_arena *a)
{
	uint32_t n;
	const struct tg_onnx_op_info *table = tg_onnx_ops(&n);
	struct tg_onnx_op_info *ops = tg_alloc_n(a, n, sizeof *ops);
	memcpy(ops, table, n * sizeof *ops);
	qsort(ops, n, sizeof *ops, by_name);
	tg_buf_puts(b, "# ONNX operators\n\nMade from `frontend/onnx_ops.def`; do not edit (`TG_UPDATE=1 ctest -R onnx_support`). Opsets up to 27 are read.\n"
		       "\nShapes are fixed at compile time: symbolic dimensions are bound with `--dim`, and where the value of an input decides a shape it is\n"
		       "bound with `--bind`. If, Loop and Scan are unfolded, so their trip counts must be known; recurrences are unrolled.\n\n## Imported\n");
	rows(b, ops, n, true);
	tg_buf_puts(b, "\n## Refused, with the reason that is reported\n");
	rows(b, ops, n, false);
}

int main(int argc, char **argv)
{
	struct tg_heap heap;
	struct tg_diag d;
	struct tg_file have;
	struct tg_buf b;
	tg_heap_init(&heap);
	if (setjmp(heap.unwind))
		return 71;
	struct tg_arena *a = tg_arena_new(&heap);
	tg_diag_init(&d, a);
	tg_buf_init(&b, a);
	page(&b, a);
	int status = 0;
	if (argc < 2) {
		fputs(b.at, stdout);
	} else if (getenv("TG_UPDATE")) {
		status = !tg_file_write(&d, argv[1], b.at, b.n);
	} else {
		status = !tg_file_map(&d, a, argv[1], 1 << 24, &have) || have.n != b.n || memcmp(have.at, b.at, b.n);
		if (status)
			fprintf(stderr, "%s is not what the importer table gives; TG_UPDATE=1 writes it\n", argv[1]);
	}
	tg_heap_free(&heap);
	return status;
}
