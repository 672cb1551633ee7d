/* compile.c: file → module → passes → executable. */
#include "lib.h"

#include <string.h>

static bool read_module(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_compile_options *o, struct tg_compiled *out)
{
	size_t n = strlen(path);
	if (n < 4 || strcmp(path + n - 4, ".tir") != 0) {
		if (!tg_import_onnx(d, a, path, &o->import, &out->imported))
			return false;
		out->module = out->imported.module;
		return true;
	}
	struct tg_file f;
	if (!tg_file_map(d, a, path, (size_t)1 << 31, &f))
		return false;
	out->module = tg_module_parse_mach(d, a, path, (const char *)f.at, f.n, tg_mach_table(a));
	tg_file_unmap(&f);
	return out->module && tg_module_verify(d, out->module);
}

/* The model is the module's first file, whether it was imported now or named by IR text. */
static void hash_model(const struct tg_module *m, struct tg_exe *x)
{
	if (m->files.n)
		memcpy(x->model_sha256, m->files.at[0].sha256, sizeof x->model_sha256);
}

static bool refuse_host(struct tg_diag *d, const struct tg_exe *x)
{
	bool any = false;
	for (size_t i = 0; i < x->steps.n; i++)
		if (x->steps.at[i].on_host)
			any |= !tg_unsupported(d, TG_NOWHERE, "a stage would run on the host: %s", x->steps.at[i].reason);
	return !any;
}

static bool names_pass(const char *list, const char *name)
{
	const char *at = list ? strstr(list, name) : NULL;
	return at && (at == list || at[-1] == ',') && (at[strlen(name)] == 0 || at[strlen(name)] == ',');
}

/* The pipeline, and the mach level behind it when it is asked for by name. */
static void all_passes(struct tg_arena *a, const struct tg_module *m, struct tg_pass_run *run)
{
	struct tg_pass_info *list = tg_alloc_n(a, tg_n_passes + 1, sizeof *list);
	memcpy(list, tg_passes, tg_n_passes * sizeof *list);
	list[tg_n_passes] = (struct tg_pass_info){ "mach", "select", "machine code for every stage", pass_select, false, true };
	bool asked = names_pass(run->print_after, "select") || names_pass(run->print_after, "all") || names_pass(run->stop_after, "select") ||
		     names_pass(run->only, "select") || run->dump_dir || (m->level && strcmp(m->level, "select") == 0);
	run->passes = list;
	run->n_passes = tg_n_passes + asked;
}

/* What a stage writes only in part is complete once no later stage writes into it. */
static void keep_all(struct tg_module *m)
{
	bool *partial = tg_alloc_n(m->arena, m->values.n, sizeof *partial);
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		if (op->code == TG_TILE_stage && op->attrs[TG_AT(tile_stage, into)].i)
			partial[op->in[op->n_in - 1].id] = true;
	for (size_t i = 0; i < m->outputs.n; i++)
		partial[m->outputs.at[i].value.id] = true; /* is an output already */
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		if (op->code == TG_TILE_stage && !partial[op->out[0].id])
			*TG_PUSH(m->arena, &m->outputs) = (struct tg_port){ tg_prov_text(m->arena, m, op->prov), op->out[0] };
}

/* Options that decide the result stay with the module, so that its text compiles to the same bytes. */
static bool flags(struct tg_diag *d, struct tg_module *m, struct tg_options *o)
{
	static const char precision[] = "precision=", keep[] = " keep-f32=";
	const char *f = m->flags && strncmp(m->flags, precision, sizeof precision - 1) == 0 ? m->flags + sizeof precision - 1 : NULL;
	if (o->precision == TG_none && f) {
		const char *list = strstr(f, keep);
		o->precision = tg_dtype_from_name(f, list ? (size_t)(list - f) : strlen(f));
		o->keep_f32 = list ? list + sizeof keep - 1 : NULL;
		if (o->precision != TG_bf16 && o->precision != TG_f16)
			return tg_error(d, tg_at_file(m->source), "flags '%s' of the module are not known", tg_quoted(d->arena, m->flags));
	} else if (o->precision == TG_bf16 || o->precision == TG_f16) {
		m->flags = tg_asprintf(m->arena, "%s%s%s%s", precision, tg_dtypes[o->precision].name, o->keep_f32 ? keep : "", o->keep_f32 ? o->keep_f32 : "");
	}
	return true;
}

bool tg_compile_file(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_compile_options *o, struct tg_compiled *out)
{
	*out = (struct tg_compiled){ 0 };
	if (!tg_chip_load(d, a, o->chip ? o->chip : "t1", &out->chip) || !read_module(d, a, path, o, out))
		return false;
	struct tg_options options = { o->precision, o->keep_f32, &o->codegen };
	if (!flags(d, out->module, &options))
		return false;
	if (!out->module->macs)
		out->module->macs = tg_module_macs(out->module); /* before passes fold any; the text of every level keeps it */
	struct tg_pass cx = { d, tg_arena_new(tg_arena_heap(a)), &out->chip, &options };
	struct tg_pass_run run = o->passes;
	all_passes(a, out->module, &run);
	if (!tg_run_passes(&cx, out->module, &run))
		return false;
	tg_arena_free(cx.scratch);
	if (run.stop_after || run.only) {
		out->stopped = true;
		return true;
	}
	if (o->keep_all) {
		tg_ungroup(out->module);
		keep_all(out->module);
	}
	if (o->no_code)
		return true;
	if (!tg_codegen(d, a, out->module, &out->chip, &o->codegen, &out->exe))
		return false;
	hash_model(out->module, &out->exe);
	out->exe.version = TG_VERSION;
	out->exe.flags = out->module->flags ? out->module->flags : "";
	return !o->no_host || refuse_host(d, &out->exe);
}

const char *tg_placement(const struct tg_exe *x)
{
	bool chip = false, host = false;
	for (size_t i = 0; i < x->steps.n; i++)
		*(x->steps.at[i].on_host ? &host : &chip) = true;
	return host ? chip ? "mixed" : "host" : "chip";
}
