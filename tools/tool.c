/* tool.c: options, messages and reports. */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *option(const struct tool *t, const char *name)
{
	for (size_t i = t->given.n; i-- > 0;)
		if (strcmp(t->given.at[i].name, name) == 0)
			return t->given.at[i].value;
	return NULL;
}

bool flag(const struct tool *t, const char *name)
{
	return option(t, name) != NULL;
}

bool parse_number(const char *s, int64_t lo, int64_t hi, int64_t *out)
{
	char *end;
	errno = 0;
	long long v = strtoll(s, &end, 0);
	if (errno || end == s || *end || v < lo || v > hi)
		return false;
	*out = v;
	return true;
}

bool option_number(struct tool *t, const char *name, int64_t lo, int64_t hi, int64_t *out)
{
	const char *s = option(t, name);
	if (!s || parse_number(s, lo, hi, out))
		return true;
	return tg_usage(&t->diag, TG_NOWHERE, "option --%s is '%s', expected a number from %lld to %lld", name, tg_quoted(t->arena, s), (long long)lo, (long long)hi);
}

enum tg_status status_of(const struct tool *t, enum tg_status ok)
{
	return t->diag.n_errors ? t->diag.status : ok;
}

static const char *paint(enum tg_severity s)
{
	static const char *const colours[] = { [TG_NOTE] = "\033[36m", [TG_WARNING] = "\033[33m", [TG_ERROR] = "\033[31m", [TG_HELP] = "\033[32m" };
	return isatty(STDERR_FILENO) && !getenv("NO_COLOR") ? colours[s] : "";
}

void print_messages(const struct tg_diag *d)
{
	for (size_t i = 0; i < d->list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, d->arena);
		tg_message_format(&d->list.at[i], &b);
		const char *colour = paint(d->list.at[i].severity);
		fprintf(stderr, "%s%s%s\n", colour, b.at, *colour ? "\033[0m" : "");
	}
	if (d->n_errors > d->max_errors)
		fprintf(stderr, "%u more errors\n", d->n_errors - d->max_errors);
}

static bool dim_option(struct tool *t, const char *s, struct tg_dim_binding *out)
{
	const char *eq = strrchr(s, '=');
	if (!eq || eq == s || !parse_number(eq + 1, 0, INT32_MAX, &out->value))
		return tg_usage(&t->diag, TG_NOWHERE, "option --dim is '%s', expected NAME=N, INPUT:AXIS=N or '*=N'", tg_quoted(t->arena, s));
	out->name = tg_strndup(t->arena, s, (size_t)(eq - s));
	return true;
}

/* The passes of --skip and of every --no-PASS. */
static const char *skipped(struct tool *t)
{
	const char *list = option(t, "skip");
	for (size_t i = 0; i < t->given.n; i++)
		for (uint32_t k = 0; k < tg_n_passes; k++)
			if (strncmp(t->given.at[i].name, "no-", 3) == 0 && strcmp(t->given.at[i].name + 3, tg_passes[k].name) == 0)
				list = list ? tg_asprintf(t->arena, "%s,%s", list, tg_passes[k].name) : tg_passes[k].name;
	return list;
}

static bool precision_option(struct tool *t, struct tg_compile_options *o)
{
	static const struct { const char *name; enum tg_dtype t; } modes[] = { { "f32", TG_f32 }, { "bf16", TG_bf16 }, { "f16", TG_f16 }, { "mixed", TG_bf16 } };
	const char *s = option(t, "precision");
	o->keep_f32 = option(t, "keep-f32");
	for (size_t i = 0; s && i < TG_ARRAY_LEN(modes); i++)
		if (strcmp(s, modes[i].name) == 0)
			o->precision = modes[i].t;
	if (s && o->precision == TG_none)
		return tg_usage(&t->diag, TG_NOWHERE, "option --precision is '%s', expected f32, bf16, f16 or mixed", tg_quoted(t->arena, s));
	if (o->keep_f32 && (o->precision == TG_none || o->precision == TG_f32))
		return tg_usage(&t->diag, TG_NOWHERE, "option --keep-f32 needs --precision bf16, f16 or mixed");
	if (s && strcmp(s, "mixed") == 0 && !o->keep_f32)
		return tg_usage(&t->diag, TG_NOWHERE, "--precision mixed needs --keep-f32 NODE,...");
	return true;
}

bool compile_options(struct tool *t, struct tg_compile_options *o)
{
	int64_t unroll = 0, window = 0;
	TG_VEC(struct tg_dim_binding) dims = { 0 };
	*o = (struct tg_compile_options){ .chip = option(t, "chip"), .no_host = flag(t, "no-host") };
	for (size_t i = 0; i < t->given.n; i++)
		if (strcmp(t->given.at[i].name, "dim") == 0 && !dim_option(t, t->given.at[i].value, TG_PUSH(t->arena, &dims)))
			return false;
	o->import.dims = dims.at;
	o->import.n_dims = (uint32_t)dims.n;
	o->passes.skip = skipped(t);
	if (!precision_option(t, o))
		return false;
	if (!option_number(t, "unroll", 1, 16, &unroll) || !option_number(t, "window", 1, 4096, &window))
		return false;
	const char *chunks = option(t, "chunks");
	if (chunks && strcmp(chunks, "auto") != 0 && strcmp(chunks, "never") != 0 && strcmp(chunks, "always") != 0)
		return tg_usage(&t->diag, TG_NOWHERE, "option --chunks takes auto, never or always, not '%s'", chunks);
	o->codegen = (struct tg_codegen_options){
		.window = (uint32_t)window, .unroll = (uint32_t)unroll, .no_pipelines = flag(t, "no-pipelines"), .no_residency = flag(t, "no-residency"),
		.no_margins = flag(t, "no-margins"),
		.chunks = !chunks || chunks[1] == 'u' ? TG_CHUNKS_AUTO : chunks[0] == 'n' ? TG_CHUNKS_NEVER : TG_CHUNKS_ALWAYS };
	return true;
}

void put(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

json_t *json_shape(const struct tg_shape *s)
{
	json_t *a = json_array();
	for (uint32_t i = 0; i < s->rank; i++)
		json_array_append_new(a, json_integer(s->dim[i]));
	return a;
}

json_t *json_counters(const struct tg_counters *c)
{
	json_t *o = json_object(), *busy = json_object(), *macs = json_object();
	static const char *const types[TG_N_ARRAY_TYPES] = { "f32", "bf16", "f16", "e4m3", "e5m2", "i8", "u8" };
	put(o, "cycles", json_integer((json_int_t)c->cycles));
	put(o, "bundles", json_integer((json_int_t)c->bundles));
	put(o, "stall_dma_wait", json_integer((json_int_t)c->stall_dma_wait));
	put(o, "stall_dma_full", json_integer((json_int_t)c->stall_dma_full));
	put(o, "stall_fetch", json_integer((json_int_t)c->stall_fetch));
	for (int i = 0; i < TG_N_SLOTS; i++)
		put(busy, tg_slot_names[i], json_integer((json_int_t)c->busy[i]));
	put(o, "busy", busy);
	put(o, "dma_transfers", json_integer((json_int_t)c->dma_transfers));
	put(o, "dram_read_bytes", json_integer((json_int_t)c->dram_read_bytes));
	put(o, "dram_written_bytes", json_integer((json_int_t)c->dram_written_bytes));
	put(o, "fetch_bytes", json_integer((json_int_t)c->fetch_bytes));
	for (int i = 0; i < TG_N_ARRAY_TYPES; i++)
		put(macs, types[i], json_integer((json_int_t)c->macs[i]));
	put(o, "macs", macs);
	put(o, "vector_lane_ops", json_integer((json_int_t)c->vector_lane_ops));
	put(o, "sram_bytes", json_integer((json_int_t)c->sram_bytes));
	put(o, "energy_pj", json_real(c->energy_pj));
	return o;
}
