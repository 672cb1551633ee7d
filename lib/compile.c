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
	out->module = tg_module_parse(d, a, path, (const char *)f.at, f.n);
	tg_file_unmap(&f);
	return out->module && tg_module_verify(d, out->module);
}

static bool hash_model(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_exe *x)
{
	struct tg_file f;
	struct tg_sha256 s;
	if (!tg_file_map(d, a, path, (size_t)1 << 31, &f))
		return false;
	tg_sha256_init(&s);
	tg_sha256_add(&s, f.at, f.n);
	tg_sha256_end(&s, x->model_sha256);
	tg_file_unmap(&f);
	return true;
}

static bool refuse_host(struct tg_diag *d, const struct tg_exe *x)
{
	bool any = false;
	for (size_t i = 0; i < x->steps.n; i++)
		if (x->steps.at[i].on_host)
			any |= !tg_unsupported(d, TG_NOWHERE, "a stage would run on the host: %s", x->steps.at[i].reason);
	return !any;
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

bool tg_compile_file(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_compile_options *o, struct tg_compiled *out)
{
	*out = (struct tg_compiled){ 0 };
	if (!tg_chip_load(d, a, o->chip ? o->chip : "t1", &out->chip) || !read_module(d, a, path, o, out))
		return false;
	struct tg_pass cx = { d, tg_arena_new(tg_arena_heap(a)), &out->chip, NULL };
	struct tg_pass_run run = o->passes;
	run.passes = tg_passes;
	run.n_passes = tg_n_passes;
	if (!tg_run_passes(&cx, out->module, &run))
		return false;
	tg_arena_free(cx.scratch);
	if (run.stop_after || run.only) {
		out->stopped = true;
		return true;
	}
	if (o->keep_all)
		keep_all(out->module);
	if (!tg_codegen(d, a, out->module, &out->chip, &o->codegen, &out->exe) || !hash_model(d, a, path, &out->exe))
		return false;
	out->exe.version = TG_VERSION;
	out->exe.flags = "";
	return !o->no_host || refuse_host(d, &out->exe);
}

const char *tg_placement(const struct tg_exe *x)
{
	bool chip = false, host = false;
	for (size_t i = 0; i < x->steps.n; i++)
		*(x->steps.at[i].on_host ? &host : &chip) = true;
	return host ? chip ? "mixed" : "host" : "chip";
}
