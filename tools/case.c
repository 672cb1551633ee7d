/* case.c: compile for given inputs, run, compare. */
#include "case.h"

#include <math.h>
#include <string.h>

bool sim_options(struct tool *t, struct tg_sim_options *o)
{
	const char *s = option(t, "dma");
	int64_t seed = 0;
	*o = (struct tg_sim_options){ .dma = TG_DMA_EARLY, .cache_dir = option(t, "cache-dir") };
	const char *engine = option(t, "engine");
	if (engine && strcmp(engine, "interp") != 0 && strcmp(engine, "jit") != 0)
		return tg_usage(&t->diag, TG_NOWHERE, "option --engine is '%s', expected interp or jit", tg_quoted(t->arena, engine));
	if (engine && engine[0] == 'j' && !tg_sim_can_translate())
		return tg_usage(&t->diag, TG_NOWHERE, "option --engine jit: this build or this host has no LLVM to translate with");
	const char *threads = option(t, "threads");
	int64_t n_threads = 1;
	if (threads && !parse_number(threads, 1, 64, &n_threads))
		return tg_usage(&t->diag, TG_NOWHERE, "option --threads is '%s', expected 1 to 64", tg_quoted(t->arena, threads));
	o->threads = (uint32_t)n_threads;
	o->engine = !engine ? TG_ENGINE_DEFAULT : engine[0] == 'j' ? TG_ENGINE_JIT : TG_ENGINE_INTERP;
	if (!s || strcmp(s, "early") == 0)
		return true;
	if (strcmp(s, "late") == 0)
		o->dma = TG_DMA_LATE;
	else if (strncmp(s, "random:", 7) == 0 && parse_number(s + 7, 0, INT64_MAX, &seed))
		o->dma = TG_DMA_RANDOM;
	else
		return tg_usage(&t->diag, TG_NOWHERE, "option --dma is '%s', expected early, late or random:SEED", tg_quoted(t->arena, s));
	o->seed = o->dma == TG_DMA_RANDOM ? (uint64_t)seed : 0;
	return true;
}

/* Relative error that rounding matrix inputs may cause: 2^-9 of each factor for bf16, grown by cancellation; f16 has three bits more. */
bool narrow_tolerance(const struct tg_compile_options *o, struct tg_tolerance *tol)
{
	bool narrow = o->precision == TG_bf16 || o->precision == TG_f16;
	double most = o->precision == TG_bf16 ? 0.02 : 0.0025;
	if (narrow && !(tol->use_nrmse && tol->nrmse > most)) {
		tol->use_nrmse = true;
		tol->nrmse = most;
	}
	return narrow;
}

static bool add_bound(struct tool *t, const char *s, struct tg_input_value *out)
{
	const char *eq = strchr(s, '=');
	struct tg_tensor_list one = { 0 };
	if (!eq || eq == s)
		return tg_usage(&t->diag, TG_NOWHERE, "option --bind is '%s', expected INPUT=FILE", tg_quoted(t->arena, s));
	if (!tg_tensors_read(&t->diag, t->arena, eq + 1, &one))
		return false;
	if (one.n != 1)
		return tg_usage(&t->diag, TG_NOWHERE, "'%s' holds %zu tensors, expected one", tg_quoted(t->arena, eq + 1), one.n);
	*out = (struct tg_input_value){ tg_strndup(t->arena, s, (size_t)(eq - s)), one.at[0].t };
	return true;
}

bool case_compile(struct tool *t, const char *model, const struct tg_compile_options *o, const struct tg_tensor_list *inputs, struct case_run *r)
{
	struct tg_compile_options mine = *o;
	size_t n = strlen(model);
	uint32_t n_names = 0;
	const char *const *names = NULL;
	bool given = inputs && inputs->n;
	for (size_t i = 0; i < t->given.n; i++)
		given |= strcmp(t->given.at[i].name, "bind") == 0;
	if (given && (n < 4 || strcmp(model + n - 4, ".tir") != 0)) /* else nobody asks for its inputs */
		if (!tg_onnx_inputs(&t->diag, t->arena, model, &names, &n_names))
			return false;
	const struct tg_tensor **bound = tg_alloc_n(t->arena, n_names + 1u, sizeof *bound);
	struct tg_input_value *values = tg_alloc_n(t->arena, n_names + t->given.n + 1u, sizeof *values);
	if (inputs)
		tg_bind_by_name(inputs, names, n_names, bound);
	for (uint32_t i = 0; i < n_names; i++)
		if (bound[i])
			values[mine.import.n_values++] = (struct tg_input_value){ names[i], *bound[i] };
	mine.import.n_shapes = mine.import.n_values;
	for (size_t i = 0; i < t->given.n; i++)
		if (strcmp(t->given.at[i].name, "bind") == 0 && !add_bound(t, t->given.at[i].value, &values[mine.import.n_values++]))
			return false;
	mine.import.values = mine.import.shapes = values;
	return tg_compile_file(&t->diag, t->arena, model, &mine, &r->compiled);
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the same numbers on every machine. */
static uint64_t next_random(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void fill_random(struct tg_tensor *x, uint64_t *seed)
{
	int64_t n = 0;
	tg_shape_count(&x->shape, &n);
	for (int64_t i = 0; i < n; i++) {
		double u = (double)(next_random(seed) >> 11) * 0x1p-53;
		if (tg_is_float(x->dtype))
			tg_put_f64(x->dtype, x->data, (size_t)i, 2 * u - 1);
		else
			tg_put_i64(x->dtype, x->data, (size_t)i, (int64_t)(u * (x->dtype == TG_bool ? 2 : 10)));
	}
}

bool case_execute(struct tool *t, const struct tg_sim_options *s, const struct tg_tensor_list *inputs, uint64_t seed, struct case_run *r)
{
	const struct tg_exe *x = &r->compiled.exe;
	const char **names = tg_alloc_n(t->arena, x->inputs.n + 1, sizeof *names);
	const struct tg_tensor **bound = tg_alloc_n(t->arena, x->inputs.n + 1, sizeof *bound);
	for (size_t i = 0; i < x->inputs.n; i++)
		names[i] = x->inputs.at[i].name;
	if (inputs)
		tg_bind_by_name(inputs, names, x->inputs.n, bound);
	r->inputs = tg_alloc_n(t->arena, x->inputs.n + 1, sizeof *r->inputs);
	r->outputs = tg_alloc_n(t->arena, x->outputs.n + 1, sizeof *r->outputs);
	for (size_t i = 0; i < x->inputs.n; i++) {
		if (i == 0 && option(t, "image")) {
			if (!image_input(t, &x->inputs.at[0], option(t, "image"), &r->inputs[0]))
				return false;
		} else if (bound[i]) {
			r->inputs[i] = *bound[i];
			tg_tensor_retype(&r->inputs[i], (enum tg_dtype)x->inputs.at[i].dtype);
		} else if (tg_tensor_alloc(&t->diag, t->arena, (enum tg_dtype)x->inputs.at[i].dtype, &x->inputs.at[i].shape, &r->inputs[i])) {
			fill_random(&r->inputs[i], &seed);
		} else {
			return false;
		}
	}
	tg_session_open(&r->session, t->arena, x, s);
	return tg_session_run(&r->session, &t->diag, t->arena, r->inputs, r->outputs);
}

static json_t *number(double v)
{
	return isfinite(v) ? json_real(v) : json_string(isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

json_t *comparison_row(const char *name, const struct tg_comparison *c)
{
	json_t *o = json_object();
	put(o, "output", json_string(name));
	put(o, "ok", json_boolean(c->ok));
	put(o, "max_abs", number(c->max_abs));
	put(o, "max_rel", number(c->max_rel));
	put(o, "max_ulp", number(c->max_ulp));
	put(o, "cosine", number(c->cosine));
	put(o, "sqnr_db", number(c->sqnr_db));
	put(o, "nrmse", number(c->nrmse));
	put(o, "worst_index", json_integer((json_int_t)c->worst));
	put(o, "rtol_needed", number(c->rtol_needed));
	return o;
}

bool case_compare(struct tool *t, const struct case_run *r, const struct tg_tensor_list *want, const struct tg_tolerance *tol, bool *ok, struct tg_buf *why, json_t *rows)
{
	const struct tg_exe *x = &r->compiled.exe;
	const char **names = tg_alloc_n(t->arena, x->outputs.n + 1, sizeof *names);
	const struct tg_tensor **bound = tg_alloc_n(t->arena, x->outputs.n + 1, sizeof *bound);
	for (size_t i = 0; i < x->outputs.n; i++)
		names[i] = x->outputs.at[i].name;
	tg_bind_by_name(want, names, x->outputs.n, bound);
	*ok = true;
	for (size_t i = 0; i < x->outputs.n; i++) {
		struct tg_comparison c;
		if (!bound[i])
			continue;
		tg_compare(&r->outputs[i], bound[i], tol, &c);
		*ok &= c.ok;
		if (rows)
			json_array_append_new(rows, comparison_row(names[i], &c));
		if (c.ok)
			continue;
		tg_buf_printf(why, "%soutput '%s': ", why->n ? "; " : "", tg_quoted(t->arena, names[i]));
		tg_comparison_print(why, &c);
	}
	return true;
}
