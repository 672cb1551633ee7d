/* info.c: what a model or an executable is. */
#include "case.h"

#include <string.h>

static void print_ports(struct tool *t, const char *what, const struct tg_binding *b, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++) {
		struct tg_buf s;
		json_t *o = json_object();
		tg_buf_init(&s, t->arena);
		tg_shape_print(&s, &b[i].shape);
		printf("%-8s %s: %s %s\n", what, tg_quoted(t->arena, b[i].name), tg_dtypes[b[i].dtype].name, s.at);
		put(o, "name", json_string(tg_quoted(t->arena, b[i].name)));
		put(o, "type", json_string(tg_dtypes[b[i].dtype].name));
		put(o, "shape", json_shape(&b[i].shape));
		json_array_append_new(list, o);
	}
	put(t->report, what, list);
}

static void print_exe(struct tool *t, const struct tg_exe *x)
{
	uint64_t data = 0;
	print_ports(t, "input", x->inputs.at, x->inputs.n);
	print_ports(t, "output", x->outputs.at, x->outputs.n);
	for (size_t i = 0; i < x->segments.n; i++)
		data += x->segments.at[i].bytes;
	printf("chip     %s\ncode     %u words\ndata     %llu bytes\nDRAM     %llu bytes\nplaced   %s\n", x->chip.name, x->n_words, (unsigned long long)data,
	       (unsigned long long)x->dram_bytes, tg_placement(x));
	for (size_t i = 0; i < x->steps.n; i++)
		if (x->steps.at[i].on_host)
			printf("host     %s\n", x->steps.at[i].reason);
	put(t->report, "placement", json_string(tg_placement(x)));
	put(t->report, "code_words", json_integer(x->n_words));
	put(t->report, "data_bytes", json_integer((json_int_t)data));
}

static void list_ops(struct tool *t)
{
	uint32_t n;
	const struct tg_onnx_op_info *ops = tg_onnx_ops(&n);
	for (uint32_t i = 0; i < n; i++)
		printf("%-28s %-16s %2d..%-6s %s\n", ops[i].name, *ops[i].domain ? ops[i].domain : "ai.onnx", ops[i].first,
		       ops[i].last ? tg_asprintf(t->arena, "%d", ops[i].last) : "newest", ops[i].unsupported ? ops[i].unsupported : "supported");
}

/* Operators in order of appearance. The node that stands for the graph itself (what inputs and constants come from) is none. */
static void print_histogram(const struct tg_module *m)
{
	for (size_t i = 0; i < m->nodes.n; i++) {
		size_t count = 0;
		bool first = true;
		for (size_t k = 0; k < m->nodes.n; k++) {
			bool same = strcmp(m->nodes.at[i].op_type, m->nodes.at[k].op_type) == 0;
			count += same;
			first &= !(same && k < i);
		}
		if (first && strcmp(m->nodes.at[i].op_type, "Graph") != 0)
			printf("op       %s: %zu\n", m->nodes.at[i].op_type, count);
	}
}

enum tg_status run_info(struct tool *t)
{
	struct case_run r = { 0 };
	struct tg_compile_options o;
	if (flag(t, "ops")) {
		list_ops(t);
		return TG_OK;
	}
	if (t->args.n != 1) {
		tg_usage(&t->diag, TG_NOWHERE, "tegula info takes a model or an executable");
		return TG_ERR_USAGE;
	}
	const char *path = t->args.at[0];
	size_t n = strlen(path);
	if (n > 4 && strcmp(path + n - 4, ".tgx") == 0) {
		struct tg_file f;
		if (tg_file_map(&t->diag, t->arena, path, SIZE_MAX / 4, &f) && tg_exe_read(&t->diag, t->arena, &f, &r.compiled.exe))
			print_exe(t, &r.compiled.exe);
		return status_of(t, TG_OK);
	}
	if (compile_options(t, &o) && case_compile(t, path, &o, NULL, &r)) {
		print_histogram(r.compiled.module);
		print_exe(t, &r.compiled.exe);
	}
	return status_of(t, TG_OK);
}
