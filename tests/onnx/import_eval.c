/* import_eval.c: imports case folders, evaluates them with the reference evaluator and compares with the stored outputs.
 *
 *   import_eval [-v] CASE...      a case: model.onnx and test_data_set_K/{input_N,output_N}.pb
 *
 * One line a case on stdout: pass | unsupported | differs | error, the case, the reason. Exit status 1 if any differs or fails otherwise. */
#include "tensor_files.h"

#include <string.h>
#include <unistd.h>

struct run { struct tg_arena *a; struct tg_diag d; bool verbose; struct tg_buf why; };

static const char *first_error(struct run *r)
{
	for (size_t i = 0; i < r->d.list.n; i++)
		if (r->d.list.at[i].severity == TG_ERROR) {
			struct tg_buf b;
			tg_buf_init(&b, r->a);
			if (r->d.list.at[i].loc.op_type)
				tg_buf_printf(&b, "%s: ", r->d.list.at[i].loc.op_type);
			tg_buf_puts(&b, r->d.list.at[i].text);
			return b.at;
		}
	return "?";
}

static const char *const *port_names(struct run *r, const struct tg_port *ports, size_t n)
{
	const char **names = tg_alloc_n(r->a, n + 1, sizeof *names);
	for (size_t i = 0; i < n; i++)
		names[i] = ports[i].name;
	return names;
}

static bool check_outputs(struct run *r, const struct tg_module *m, const struct tg_tensor *have, const struct tg_data_set *set, const struct tg_tolerance *tol)
{
	const struct tg_tensor **want = tg_alloc_n(r->a, m->outputs.n + 1, sizeof *want);
	bool ok = true;
	tg_bind_by_name(&set->outputs, port_names(r, m->outputs.at, m->outputs.n), m->outputs.n, want);
	for (size_t i = 0; i < m->outputs.n; i++) {
		struct tg_comparison c;
		if (!want[i])
			continue;
		tg_compare(&have[i], want[i], tol, &c);
		ok &= c.ok;
		if (!c.ok && !r->why.n) {
			tg_buf_printf(&r->why, "%s: ", m->outputs.at[i].name);
			tg_comparison_print(&r->why, &c);
			if (!c.same_type || !c.same_shape) {
				tg_buf_printf(&r->why, " %s ", tg_dtypes[have[i].dtype].name);
				tg_shape_print(&r->why, &have[i].shape);
				tg_buf_printf(&r->why, " want %s ", tg_dtypes[want[i]->dtype].name);
				tg_shape_print(&r->why, &want[i]->shape);
			}
		}
	}
	return ok;
}

static const char *run_set(struct run *r, const char *path, const struct tg_data_set *set, const struct tg_tolerance *tol)
{
	struct tg_import_options o = { 0 };
	struct tg_import_result res;
	const char *const *names;
	uint32_t n_names;
	if (!tg_onnx_inputs(&r->d, r->a, path, &names, &n_names))
		return "error";
	const struct tg_tensor **bound = tg_alloc_n(r->a, n_names + 1u, sizeof *bound);
	struct tg_input_value *values = tg_alloc_n(r->a, n_names + 1u, sizeof *values);
	tg_bind_by_name(&set->inputs, names, n_names, bound);
	for (uint32_t i = 0; i < n_names; i++)
		if (bound[i])
			values[o.n_values++] = (struct tg_input_value){ names[i], *bound[i] };
	o.values = o.shapes = values;
	o.n_shapes = o.n_values;
	if (!tg_import_onnx(&r->d, r->a, path, &o, &res)) {
		tg_buf_printf(&r->why, "%s", first_error(r));
		return r->d.status == TG_ERR_UNSUPPORTED ? "unsupported" : "error";
	}
	struct tg_module *m = res.module;
	struct tg_tensor *in = tg_alloc_n(r->a, m->inputs.n + 1, sizeof *in), *out = tg_alloc_n(r->a, m->outputs.n + 1, sizeof *out);
	for (size_t i = 0; i < m->inputs.n; i++)
		for (uint32_t k = 0; k < o.n_values; k++)
			if (!strcmp(values[k].name, m->inputs.at[i].name))
				in[i] = values[k].tensor;
	for (size_t i = 0; i < m->inputs.n; i++)
		if (!in[i].data) {
			tg_buf_printf(&r->why, "no data for input %s", m->inputs.at[i].name);
			return "error";
		}
	if (!tg_module_verify(&r->d, m) || !tg_expand_module(&r->d, m) || !tg_module_verify(&r->d, m) ||
	    !tg_eval_module(&r->d, r->a, m, in, out, NULL, NULL)) {
		tg_buf_printf(&r->why, "after import: %s", first_error(r));
		return "error";
	}
	const char *verdict = check_outputs(r, m, out, set, tol) ? "pass" : "differs";
	for (size_t i = 0; i < m->files.n; i++)
		tg_file_unmap(&m->files.at[i].map);
	return verdict;
}

static const char *run_case(struct run *r, const char *folder)
{
	struct tg_tolerance tol = TG_DEFAULT_TOLERANCE;
	const char *path = tg_asprintf(r->a, "%s/model.onnx", folder), *verdict = "error";
	if (!tg_tolerance_read(&r->d, r->a, tg_asprintf(r->a, "%s/tolerance.json", folder), &tol))
		return "error";
	for (uint32_t k = 0; k < 8; k++) {
		struct tg_data_set set;
		const char *data = tg_asprintf(r->a, "%s/test_data_set_%u", folder, k);
		if (access(data, F_OK))
			break;
		if (!tg_data_set_read(&r->d, r->a, data, &set)) {
			tg_buf_printf(&r->why, "data: %s", first_error(r));
			return r->d.status == TG_ERR_UNSUPPORTED || r->d.status == TG_ERR_MALFORMED ? "unsupported" : "error";
		}
		verdict = run_set(r, path, &set, &tol);
		if (strcmp(verdict, "pass"))
			return verdict;
	}
	if (!strcmp(verdict, "error"))
		tg_buf_puts(&r->why, "no data sets");
	return verdict;
}

static int one(const char *folder, bool verbose)
{
	struct tg_heap heap;
	tg_heap_init(&heap);
	if (setjmp(heap.unwind)) {
		tg_heap_free(&heap);
		printf("error\t%s\tout of memory\n", folder);
		return 1;
	}
	struct run r = { .a = tg_arena_new(&heap), .verbose = verbose };
	tg_diag_init(&r.d, r.a);
	tg_buf_init(&r.why, r.a);
	const char *verdict = run_case(&r, folder);
	printf("%s\t%s\t%s\n", verdict, folder, r.why.n ? r.why.at : "");
	for (size_t i = 0; verbose && i < r.d.list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, r.a);
		tg_message_format(&r.d.list.at[i], &b);
		fprintf(stderr, "%s\n", b.at);
	}
	fflush(stdout);
	int status = strcmp(verdict, "pass") && strcmp(verdict, "unsupported");
	tg_heap_free(&heap);
	return status;
}

int main(int argc, char **argv)
{
	bool verbose = argc > 1 && !strcmp(argv[1], "-v");
	int status = 0;
	for (int i = verbose ? 2 : 1; i < argc; i++)
		status |= one(argv[i], verbose);
	return status;
}
