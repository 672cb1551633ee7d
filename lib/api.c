/* api.c: the public interface over lib.h. Each program owns a heap; every entry point that may allocate sets the place to unwind to. */
#include "lib.h"

#include <stdlib.h>
#include <string.h>

#include "tegula/tegula.h"

struct tegula_program {
	struct tg_heap heap;
	struct tg_arena *arena;
	struct tg_diag diag;
	struct tg_compiled compiled;
	struct tg_session session;
	tegula_port *inputs, *outputs;
	const char *messages;
	bool ready;
};

const char *tegula_version(void)
{
	return TG_VERSION;
}

static tegula_status public_status(const tegula_program *p, bool ok)
{
	return ok ? TEGULA_OK : p->diag.status ? (tegula_status)p->diag.status : TEGULA_INTERNAL;
}

static void format_messages(tegula_program *p)
{
	struct tg_buf b;
	tg_buf_init(&b, p->arena);
	tg_buf_puts(&b, "");
	for (size_t i = 0; i < p->diag.list.n; i++) {
		tg_message_format(&p->diag.list.at[i], &b);
		tg_buf_puts(&b, "\n");
	}
	p->messages = b.at ? b.at : "";
}

static tegula_port *make_ports(tegula_program *p, const struct tg_binding *b, size_t n)
{
	tegula_port *ports = tg_alloc_n(p->arena, n + 1, sizeof *ports);
	for (size_t i = 0; i < n; i++) {
		ports[i] = (tegula_port){ b[i].name, (tegula_type)tg_dtypes[b[i].dtype].onnx, b[i].shape.rank, b[i].shape.dim, 0 };
		tg_shape_bytes(&b[i].shape, (enum tg_dtype)b[i].dtype, &ports[i].bytes);
	}
	return ports;
}

static void make_ready(tegula_program *p)
{
	const struct tg_exe *x = &p->compiled.exe;
	p->inputs = make_ports(p, x->inputs.at, x->inputs.n);
	p->outputs = make_ports(p, x->outputs.at, x->outputs.n);
	tg_session_open(&p->session, p->arena, x, &(struct tg_sim_options){ .dma = TG_DMA_EARLY });
	p->ready = true;
}

static tegula_program *new_program(void)
{
	tegula_program *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	tg_heap_init(&p->heap);
	p->messages = "";
	return p;
}

static tegula_status out_of_memory(tegula_program *p)
{
	if (p->session.sim)
		tg_session_close(&p->session);
	tg_heap_free(&p->heap);
	p->arena = NULL;
	p->ready = false;
	p->messages = "out of memory\n";
	return TEGULA_NOMEM;
}

static bool read_dims(tegula_program *p, const char *const *dims, size_t n, struct tg_compile_options *o)
{
	struct tg_dim_binding *list = tg_alloc_n(p->arena, n + 1, sizeof *list);
	for (size_t i = 0; i < n; i++) {
		const char *eq = strrchr(dims[i], '=');
		char *end = NULL;
		long long v = eq ? strtoll(eq + 1, &end, 10) : -1;
		if (!eq || eq == dims[i] || end == eq + 1 || *end || v < 0 || v > INT32_MAX)
			return tg_usage(&p->diag, TG_NOWHERE, "dimension '%s' is not NAME=N or INPUT:AXIS=N", tg_quoted(p->arena, dims[i]));
		list[i] = (struct tg_dim_binding){ tg_strndup(p->arena, dims[i], (size_t)(eq - dims[i])), v };
	}
	o->import.dims = list;
	o->import.n_dims = (uint32_t)n;
	return true;
}

tegula_status tegula_compile(const char *path, const char *chip, const char *const *dims, size_t n_dims, tegula_program **out)
{
	tegula_program *p = *out = new_program();
	if (!p)
		return TEGULA_NOMEM;
	if (setjmp(p->heap.unwind))
		return out_of_memory(*out);
	p->arena = tg_arena_new(&p->heap);
	tg_diag_init(&p->diag, p->arena);
	struct tg_compile_options o = { .chip = chip };
	bool ok = read_dims(p, dims, n_dims, &o) && tg_compile_file(&p->diag, p->arena, path, &o, &p->compiled);
	if (ok)
		make_ready(p);
	format_messages(p);
	return public_status(p, ok);
}

tegula_status tegula_load(const char *path, tegula_program **out)
{
	tegula_program *p = *out = new_program();
	struct tg_file f;
	if (!p)
		return TEGULA_NOMEM;
	if (setjmp(p->heap.unwind))
		return out_of_memory(*out);
	p->arena = tg_arena_new(&p->heap);
	tg_diag_init(&p->diag, p->arena);
	bool ok = tg_file_map(&p->diag, p->arena, path, SIZE_MAX / 4, &f) && tg_exe_read(&p->diag, p->arena, &f, &p->compiled.exe);
	if (ok)
		make_ready(p);
	format_messages(p);
	return public_status(p, ok);
}

tegula_status tegula_save(tegula_program *p, const char *path)
{
	if (!p->ready)
		return TEGULA_USAGE;
	if (setjmp(p->heap.unwind))
		return out_of_memory(p);
	bool ok = tg_exe_write(&p->diag, p->arena, &p->compiled.exe, path);
	format_messages(p);
	return public_status(p, ok);
}

void tegula_free(tegula_program *p)
{
	if (!p)
		return;
	if (p->session.sim)
		tg_session_close(&p->session);
	if (p->compiled.module)
		for (size_t i = 0; i < p->compiled.module->files.n; i++)
			tg_file_unmap(&p->compiled.module->files.at[i].map);
	tg_heap_free(&p->heap);
	free(p);
}

const char *tegula_messages(const tegula_program *p) { return p ? p->messages : "out of memory\n"; }
size_t tegula_input_count(const tegula_program *p) { return p->ready ? p->compiled.exe.inputs.n : 0; }
size_t tegula_output_count(const tegula_program *p) { return p->ready ? p->compiled.exe.outputs.n : 0; }
const tegula_port *tegula_input(const tegula_program *p, size_t i) { return i < tegula_input_count(p) ? &p->inputs[i] : NULL; }
const tegula_port *tegula_output(const tegula_program *p, size_t i) { return i < tegula_output_count(p) ? &p->outputs[i] : NULL; }

static bool run_once(tegula_program *p, struct tg_arena *scratch, const void *const *inputs, void *const *outputs)
{
	const struct tg_exe *x = &p->compiled.exe;
	struct tg_tensor *in = tg_alloc_n(scratch, x->inputs.n + 1, sizeof *in), *have = tg_alloc_n(scratch, x->outputs.n + 1, sizeof *have);
	for (size_t i = 0; i < x->inputs.n; i++)
		in[i] = (struct tg_tensor){ (enum tg_dtype)x->inputs.at[i].dtype, x->inputs.at[i].shape, (void *)(uintptr_t)inputs[i] };
	if (!tg_session_run(&p->session, &p->diag, scratch, in, have))
		return false;
	for (size_t i = 0; i < x->outputs.n; i++)
		memcpy(outputs[i], have[i].data, p->outputs[i].bytes);
	return true;
}

tegula_status tegula_run(tegula_program *p, const void *const *inputs, void *const *outputs)
{
	if (!p->ready)
		return TEGULA_USAGE;
	if (setjmp(p->heap.unwind))
		return out_of_memory(p);
	struct tg_arena *scratch = tg_arena_new(&p->heap);
	bool ok = run_once(p, scratch, inputs, outputs);
	tg_arena_free(scratch);
	format_messages(p);
	return public_status(p, ok);
}

void tegula_get_stats(const tegula_program *p, tegula_stats *out)
{
	memset(out, 0, sizeof *out);
	if (!p->ready)
		return;
	const struct tg_counters *c = tg_sim_counters(p->session.sim);
	*out = (tegula_stats){ .cycles = c->cycles, .bundles = c->bundles, .dram_read_bytes = c->dram_read_bytes, .dram_written_bytes = c->dram_written_bytes };
	for (int i = 0; i < TG_N_ARRAY_TYPES; i++)
		out->macs += c->macs[i];
	out->seconds = (double)c->cycles / (p->compiled.exe.chip.clock_khz * 1e3);
	out->energy_joule = c->energy_pj * 1e-12;
}
