/* run.c: `tegula run` and `tegula check`. */
#include "case.h"

#include <math.h>
#include <string.h>

#define NODE_RMS_TOLERANCE 1e-4

static bool has_ending(const char *path, const char *ending)
{
	size_t n = strlen(path), e = strlen(ending);
	return n >= e && strcmp(path + n - e, ending) == 0;
}

bool case_inputs(struct tool *t, struct tg_tensor_list *out)
{
	struct tg_data_set set = { 0 };
	if (option(t, "data")) {
		if (!tg_data_set_read(&t->diag, t->arena, option(t, "data"), &set))
			return false;
		*out = set.inputs;
	}
	for (size_t i = 0; i < t->given.n; i++) {
		const char *v = t->given.at[i].value, *eq = strchr(v, '=');
		if (strcmp(t->given.at[i].name, "input") != 0)
			continue;
		size_t before = out->n;
		if (!tg_tensors_read(&t->diag, t->arena, eq ? eq + 1 : v, out))
			return false;
		if (eq && out->n == before + 1)
			out->at[before].name = tg_strndup(t->arena, v, (size_t)(eq - v));
	}
	return true;
}

bool case_load(struct tool *t, const struct tg_tensor_list *inputs, struct case_run *r)
{
	struct tg_compile_options o;
	struct tg_file f;
	const char *path = t->args.at[0];
	if (!compile_options(t, &o))
		return false;
	if (!has_ending(path, ".tgx"))
		return case_compile(t, path, &o, inputs, r);
	if (!tg_file_map(&t->diag, t->arena, path, SIZE_MAX / 4, &f) || !tg_exe_read(&t->diag, t->arena, &f, &r->compiled.exe))
		return false;
	r->compiled.chip = r->compiled.exe.chip;
	return true;
}

static bool write_outputs(struct tool *t, const struct case_run *r)
{
	size_t at = 0;
	for (size_t i = 0; i < t->given.n; i++) {
		if (strcmp(t->given.at[i].name, "output") != 0)
			continue;
		if (at == r->compiled.exe.outputs.n)
			return tg_usage(&t->diag, TG_NOWHERE, "more --output options than the model has outputs (%zu)", at);
		struct tg_named_tensor one = { r->compiled.exe.outputs.at[at].name, r->outputs[at] };
		if (!tg_tensors_write(&t->diag, t->arena, t->given.at[i].value, &one, 1))
			return false;
		at++;
	}
	return true;
}

static const char *bottleneck(const struct tg_chip *c, const struct tg_counters *n)
{
	double array = (double)n->busy[TG_SLOT_M] / c->n_arrays, vector = (double)(n->busy[TG_SLOT_V] + n->busy[TG_SLOT_E]) / c->n_alu;
	double load = (double)n->busy[TG_SLOT_L] / c->n_load, dma = (double)n->stall_dma_wait + (double)n->stall_dma_full;
	const char *what = "DMA (waiting for transfers)";
	double most = dma;
	if (array > most) {
		most = array;
		what = "matrix unit";
	}
	if (vector > most) {
		most = vector;
		what = "vector ALUs";
	}
	if (load > most)
		what = "vector loads";
	return what;
}

static void print_summary(struct tool *t, const struct case_run *r)
{
	const struct tg_chip *c = &r->compiled.exe.chip;
	const struct tg_counters *n = tg_sim_counters(r->session.sim);
	uint64_t macs = 0;
	for (int i = 0; i < TG_N_ARRAY_TYPES; i++)
		macs += n->macs[i];
	double seconds = (double)n->cycles / (c->clock_khz * 1e3);
	printf("cycles      %llu on %s (%.3f ms at %.2f GHz)\n", (unsigned long long)n->cycles, c->name, seconds * 1e3, c->clock_khz * 1e-6);
	printf("bottleneck  %s\n", bottleneck(c, n));
	printf("matrix      %llu MACs, unit busy %.1f %% of the cycles\n", (unsigned long long)macs,
	       n->cycles ? 100.0 * (double)n->busy[TG_SLOT_M] / c->n_arrays / (double)n->cycles : 0);
	printf("DRAM        %llu bytes read, %llu written\n", (unsigned long long)n->dram_read_bytes, (unsigned long long)n->dram_written_bytes);
	printf("energy      %.3f mJ\n", n->energy_pj * 1e-9);
	printf("placement   %s\n", tg_placement(&r->compiled.exe));
	put(t->report, "counters", json_counters(n));
	put(t->report, "chip", json_string(c->name));
	put(t->report, "placement", json_string(tg_placement(&r->compiled.exe)));
}

static bool print_top(struct tool *t, const struct case_run *r, const char *path)
{
	struct tg_file f;
	TG_VEC(const char *) labels = { 0 };
	if (!tg_file_map(&t->diag, t->arena, path, 16 << 20, &f))
		return false;
	for (size_t i = 0, from = 0; i <= f.n; i++)
		if (i == f.n || f.at[i] == '\n') {
			*TG_PUSH(t->arena, &labels) = tg_strndup(t->arena, (const char *)f.at + from, i - from);
			from = i + 1;
		}
	int64_t n = 0, used[5];
	tg_shape_count(&r->outputs[0].shape, &n);
	for (int64_t k = 0; k < 5 && k < n; k++) {
		int64_t best = -1;
		for (int64_t i = 0; i < n; i++) {
			bool taken = false;
			for (int64_t j = 0; j < k; j++)
				taken |= used[j] == i;
			if (!taken && (best < 0 || tg_get_f64(r->outputs[0].dtype, r->outputs[0].data, (size_t)i) >
							   tg_get_f64(r->outputs[0].dtype, r->outputs[0].data, (size_t)best)))
				best = i;
		}
		used[k] = best;
		printf("top %lld       %s (%.4f)\n", (long long)k + 1, (size_t)best < labels.n ? tg_quoted(t->arena, labels.at[best]) : "?",
		       tg_get_f64(r->outputs[0].dtype, r->outputs[0].data, (size_t)best));
	}
	return true;
}

static void print_state_hash(struct tool *t, const struct case_run *r)
{
	uint8_t digest[32];
	char hex[65];
	tg_sim_state_hash(r->session.sim, digest);
	tg_sha256_hex(digest, hex);
	printf("state       %s\n", hex);
	put(t->report, "state_sha256", json_string(hex));
}

enum tg_status run_run(struct tool *t)
{
	struct case_run r = { 0 };
	struct tg_sim_options s;
	struct tg_tensor_list inputs = { 0 };
	int64_t seed = 0;
	if (!sim_options(t, &s) || !option_number(t, "seed", 0, INT64_MAX, &seed) || !case_inputs(t, &inputs) || !case_load(t, &inputs, &r) ||
	    !case_execute(t, &s, &inputs, (uint64_t)seed, &r) || !write_outputs(t, &r))
		return status_of(t, TG_ERR_INTERNAL);
	if (option(t, "top-k") && r.compiled.exe.outputs.n)
		print_top(t, &r, option(t, "top-k"));
	print_summary(t, &r);
	if (flag(t, "state-hash"))
		print_state_hash(t, &r);
	tg_session_close(&r.session);
	return status_of(t, TG_OK);
}

/* ---- check ----------------------------------------------------------------------------------------------------------------- */

static bool number_option(struct tool *t, const char *name, double *out)
{
	const char *s = option(t, name);
	char extra;
	if (!s || sscanf(s, "%lf%c", out, &extra) == 1)
		return true;
	return tg_usage(&t->diag, TG_NOWHERE, "option --%s is '%s', expected a number", name, tg_quoted(t->arena, s));
}

/* What the evaluator says of the module that was compiled; for a narrow precision, of the same module in f32. */
static bool evaluate(struct tool *t, struct case_run *r, const struct tg_compile_options *o, const struct tg_tensor_list *inputs, bool narrow, struct tg_tensor_list *want)
{
	const struct tg_module *m = r->compiled.module;
	struct tg_compile_options wide = *o;
	struct case_run reference = { 0 };
	wide.precision = TG_f32;
	wide.keep_f32 = NULL;
	wide.no_code = true;
	if (narrow) {
		if (!case_compile(t, t->args.at[0], &wide, inputs, &reference))
			return false;
		m = reference.compiled.module;
	}
	struct tg_tensor *out = tg_alloc_n(t->arena, m->outputs.n + 1, sizeof *out);
	if (!tg_eval_module(&t->diag, t->arena, m, r->inputs, out, NULL, NULL))
		return false;
	for (size_t i = 0; i < m->outputs.n; i++)
		*TG_PUSH(t->arena, want) = (struct tg_named_tensor){ m->outputs.at[i].name, out[i] };
	return true;
}

/* Every stage against the evaluator's, in execution order; the first that differs is named. Both sides computed everything before it themselves, so
 * a sum of large terms may differ by their rounding: the absolute tolerance grows with the tensor's RMS. */
static bool compare_in_order(struct tool *t, const struct case_run *r, const struct tg_tensor_list *want, const struct tg_tolerance *tol, struct tg_buf *why, json_t *rows)
{
	const struct tg_exe *x = &r->compiled.exe;
	size_t n_bad = 0;
	for (size_t i = 0; i < x->outputs.n && i < want->n; i++) {
		struct tg_tolerance mine = *tol;
		struct tg_comparison c;
		int64_t n = 0;
		double squares = 0;
		tg_shape_count(&want->at[i].t.shape, &n);
		for (int64_t k = 0; k < n && tg_is_float(want->at[i].t.dtype); k++) {
			double v = tg_get_f64(want->at[i].t.dtype, want->at[i].t.data, (size_t)k);
			squares += isfinite(v) ? v * v : 0;
		}
		if (n && !mine.use_nrmse)
			mine.atol += NODE_RMS_TOLERANCE * sqrt(squares / (double)n);
		tg_compare(&r->outputs[i], &want->at[i].t, &mine, &c);
		json_array_append_new(rows, comparison_row(x->outputs.at[i].name, &c));
		if (c.ok || n_bad++)
			continue;
		tg_buf_printf(why, "first node that differs: %s: ", tg_quoted(t->arena, x->outputs.at[i].name));
		tg_comparison_print(why, &c);
	}
	if (n_bad)
		tg_buf_printf(why, "; %zu of %zu differ", n_bad, x->outputs.n);
	printf("%zu results compared\n", x->outputs.n);
	return n_bad == 0;
}

/* The largest normalised error of all outputs. */
static void print_errors(size_t n, json_t *rows)
{
	double most = 0;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_object_get(json_array_get(rows, i), "nrmse");
		most = fmax(most, json_is_number(v) ? json_number_value(v) : INFINITY);
	}
	printf("largest nrmse of an output: %.3g\n", most);
}

enum tg_status run_check(struct tool *t)
{
	struct case_run r = { 0 };
	struct tg_sim_options s;
	struct tg_data_set set = { 0 };
	struct tg_compile_options o;
	struct tg_tolerance tol = TG_DEFAULT_TOLERANCE;
	struct tg_buf why;
	int64_t seed = 0;
	bool ok = false;
	tg_buf_init(&why, t->arena);
	if (!compile_options(t, &o))
		return status_of(t, TG_ERR_USAGE);
	o.keep_all = flag(t, "all-nodes");
	if (!sim_options(t, &s) || !number_option(t, "rtol", &tol.rtol) || !number_option(t, "atol", &tol.atol) ||
	    !option_number(t, "seed", 0, INT64_MAX, &seed) || (option(t, "data") && !tg_data_set_read(&t->diag, t->arena, option(t, "data"), &set)) ||
	    !case_compile(t, t->args.at[0], &o, &set.inputs, &r) || !case_execute(t, &s, &set.inputs, (uint64_t)seed, &r))
		return status_of(t, TG_ERR_INTERNAL);
	bool narrow = !option(t, "rtol") && !option(t, "atol") && narrow_tolerance(&o, &tol), by_evaluator = !option(t, "data") || o.keep_all;
	if (by_evaluator)
		set.outputs = (struct tg_tensor_list){ 0 };
	if (by_evaluator && !evaluate(t, &r, &o, &set.inputs, o.precision == TG_bf16 || o.precision == TG_f16, &set.outputs))
		return status_of(t, TG_ERR_INTERNAL);
	json_t *rows = json_array();
	if (o.keep_all)
		ok = compare_in_order(t, &r, &set.outputs, &tol, &why, rows);
	else
		case_compare(t, &r, &set.outputs, &tol, &ok, &why, rows);
	put(t->report, "outputs", rows);
	put(t->report, "counters", json_counters(tg_sim_counters(r.session.sim)));
	if (narrow)
		print_errors(r.compiled.exe.outputs.n, rows);
	printf("%s: %s %s\n", tg_quoted(t->arena, t->args.at[0]), ok ? "agrees with" : "differs from", by_evaluator ? "the evaluator" : "the expected outputs");
	if (!ok)
		printf("%s\n", why.at);
	tg_session_close(&r.session);
	return status_of(t, ok ? TG_OK : TG_ERR_DIFFERS);
}
