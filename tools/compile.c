/* compile.c: compile and opt. */
#include "case.h"

#include <string.h>

static void pass_options(struct tool *t, struct tg_pass_run *r, struct tg_buf *text)
{
	r->only = option(t, "passes");
	r->print_after = option(t, "print-after");
	r->stop_after = option(t, "stop-after");
	r->dump_dir = option(t, "dump-dir");
	r->verify_each = flag(t, "verify-each");
	r->time_passes = flag(t, "time-passes");
	tg_buf_init(text, t->arena);
	r->text = text;
}

static void report_exe(struct tool *t, const struct tg_compiled *c)
{
	json_t *host = json_array(), *bound = json_array();
	for (size_t i = 0; i < c->exe.steps.n; i++)
		if (c->exe.steps.at[i].on_host)
			json_array_append_new(host, json_string(c->exe.steps.at[i].reason));
	for (size_t i = 0; i < c->imported.bound_inputs.n; i++)
		json_array_append_new(bound, json_string(c->imported.bound_inputs.at[i]));
	put(t->report, "placement", json_string(tg_placement(&c->exe)));
	put(t->report, "host_steps", host);
	put(t->report, "bound_inputs", bound);
	put(t->report, "code_words", json_integer(c->exe.n_words));
	put(t->report, "dram_bytes", json_integer((json_int_t)c->exe.dram_bytes));
	put(t->report, "chip", json_string(c->chip.name));
	for (size_t i = 0; i < c->exe.steps.n; i++)
		if (c->exe.steps.at[i].on_host)
			fprintf(stderr, "note: on the host: %s\n", c->exe.steps.at[i].reason);
}

/* For the shapes of --data and the values of --bind, if there are any. */
static bool compile_case(struct tool *t, const struct tg_compile_options *o, struct tg_compiled *c)
{
	struct tg_tensor_list inputs = { 0 };
	struct case_run r = { 0 };
	bool ok = case_inputs(t, &inputs) && case_compile(t, t->args.at[0], o, &inputs, &r);
	*c = r.compiled;
	return ok;
}

enum tg_status run_compile(struct tool *t)
{
	struct tg_compile_options o;
	struct tg_compiled c;
	struct tg_buf text;
	const char *out = option(t, "output");
	if (!compile_options(t, &o))
		return TG_ERR_USAGE;
	pass_options(t, &o.passes, &text);
	if (!out && !o.passes.stop_after && !o.passes.print_after) {
		tg_usage(&t->diag, TG_NOWHERE, "tegula compile needs -o FILE.tgx");
		return TG_ERR_USAGE;
	}
	bool ok = compile_case(t, &o, &c);
	if (text.n)
		fwrite(text.at, 1, text.n, stdout);
	if (ok && !c.stopped) {
		report_exe(t, &c);
		if (out)
			tg_exe_write(&t->diag, t->arena, &c.exe, out);
	}
	return status_of(t, ok ? TG_OK : TG_ERR_INTERNAL);
}

enum tg_status run_opt(struct tool *t)
{
	struct tg_compile_options o;
	struct tg_compiled c;
	struct tg_buf text;
	const char *out = option(t, "output");
	if (!compile_options(t, &o))
		return TG_ERR_USAGE;
	pass_options(t, &o.passes, &text);
	if (!o.passes.only && !o.passes.stop_after)
		o.passes.stop_after = tg_passes[tg_n_passes - 1].name;
	bool ok = compile_case(t, &o, &c);
	if (text.n)
		fwrite(text.at, 1, text.n, stdout);
	if (ok) {
		struct tg_buf result;
		tg_buf_init(&result, t->arena);
		tg_module_print(&result, c.module);
		if (out)
			tg_file_write(&t->diag, out, result.at, result.n);
		else if (!o.passes.print_after)
			fwrite(result.at, 1, result.n, stdout);
	}
	return status_of(t, ok ? TG_OK : TG_ERR_INTERNAL);
}
