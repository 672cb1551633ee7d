/* chips_compare.c: `tegula chips compare`: one model on several chips, side by side. */
#include "profile.h"

#include <string.h>

struct column {
	const char *chip, *failure; /* failure: NULL when it ran */
	enum tg_status status;
	uint32_t clock_khz;
	struct tg_counters n;
	struct profile_shares shares;
	double efficiency, energy[N_ENERGIES];
	uint64_t array_cycles, dram_cycles, sram_top;
	const char *placement;
};

static uint64_t sram_top(const struct tg_exe *x)
{
	uint64_t top = 0;
	for (size_t i = 0; i < x->buffers.n; i++)
		top = x->buffers.at[i].sram + x->buffers.at[i].bytes > top ? x->buffers.at[i].sram + x->buffers.at[i].bytes : top;
	return top;
}

static bool one_run(struct tool *t, const char *model, const struct tg_compile_options *o, struct column *c)
{
	struct case_run r = { 0 };
	struct tg_sim_options s;
	struct tg_tensor_list inputs = { 0 };
	struct profile p;
	int64_t seed = 0;
	if (!sim_options(t, &s) || !option_number(t, "seed", 0, INT64_MAX, &seed) || !case_inputs(t, &inputs) || !case_compile(t, model, o, &inputs, &r) ||
	    !case_execute(t, &s, &inputs, (uint64_t)seed, &r))
		return false;
	profile_init(&p, t->arena, &r, NULL);
	c->clock_khz = p.chip->clock_khz;
	c->n = *p.total;
	c->shares = profile_shares(p.chip, p.total);
	c->efficiency = profile_efficiency(&p);
	c->array_cycles = p.array_cycles;
	c->dram_cycles = p.dram_cycles;
	c->sram_top = sram_top(p.exe);
	c->placement = tg_placement(p.exe);
	profile_energy(p.chip, p.total, c->energy);
	tg_session_close(&r.session);
	return true;
}

/* A chip on which the model does not run is a column that says why; the others go on. */
static void measure_chip(struct tool *t, const char *model, const struct tg_compile_options *o, struct column *c)
{
	struct tg_diag mine, all = t->diag;
	struct tg_compile_options with = *o;
	struct tg_chip chip;
	with.chip = c->chip;
	tg_diag_init(&mine, t->arena);
	t->diag = mine;
	if (tg_chip_load(&t->diag, t->arena, c->chip, &chip)) {
		c->chip = chip.name;
		one_run(t, model, &with, c);
	}
	mine = t->diag;
	t->diag = all;
	if (!mine.n_errors)
		return;
	c->status = mine.status;
	c->failure = mine.list.n ? mine.list.at[0].text : "failed";
	for (size_t i = 0; i < mine.list.n; i++)
		*TG_PUSH(t->arena, &t->diag.list) = mine.list.at[i];
}

/* ---- output ---- */

static void line(const char *what)
{
	printf("%-16s", what);
}

#define LINE(what, ...)                                           \
	do {                                                       \
		line(what);                                        \
		for (size_t i = 0; i < n; i++) {                   \
			const struct column *k = &c[i];            \
			if (k->failure)                            \
				printf(" %14s", "-");              \
			else                                       \
				printf(" " __VA_ARGS__);           \
		}                                                  \
		printf("\n");                                      \
	} while (0)

static void print_columns(const struct column *c, size_t n)
{
	line("chip");
	for (size_t i = 0; i < n; i++)
		printf(" %14s", c[i].chip);
	printf("\n");
	LINE("clock MHz", "%14.0f", k->clock_khz / 1e3);
	LINE("cycles", "%14llu", (unsigned long long)k->n.cycles);
	LINE("time ms", "%14.4f", (double)k->n.cycles / k->clock_khz);
	LINE("bound, arrays", "%14llu", (unsigned long long)k->array_cycles);
	LINE("bound, DRAM", "%14llu", (unsigned long long)k->dram_cycles);
	LINE("efficiency", "%14.3f", k->efficiency);
	LINE("arrays busy", "%12.1f %%", 100 * k->shares.array);
	LINE("vector busy", "%12.1f %%", 100 * k->shares.vector);
	LINE("DRAM used", "%12.1f %%", 100 * k->shares.dram);
	LINE("stalled, DMA", "%12.1f %%", 100 * (k->shares.wait + k->shares.full));
	LINE("stalled, code", "%12.1f %%", 100 * k->shares.fetch);
	LINE("limit", "%14s", profile_limit(&k->shares));
	LINE("DRAM bytes", "%14llu", (unsigned long long)(k->n.dram_read_bytes + k->n.dram_written_bytes));
	LINE("SRAM used", "%14llu", (unsigned long long)k->sram_top);
	LINE("energy mJ", "%14.4f", k->n.energy_pj * 1e-9);
	LINE("mean power W", "%14.3f", k->n.cycles ? k->n.energy_pj * 1e-12 / ((double)k->n.cycles / (k->clock_khz * 1e3)) : 0);
	LINE("placement", "%14s", k->placement);
}

static json_t *column_json(const struct column *c)
{
	if (c->failure)
		return json_pack("{s:s s:s}", "chip", c->chip, "failure", c->failure);
	json_t *energy = json_object();
	for (int i = 0; i < N_ENERGIES; i++)
		put(energy, profile_energy_names[i], json_real(c->energy[i]));
	return json_pack("{s:s s:I s:I s:f s:f s:I s:I s:{s:f s:f s:f s:f s:f s:f s:f s:f s:f s:f} s:s s:o s:I s:I s:s}", "chip", c->chip, "clock_khz",
			 (json_int_t)c->clock_khz, "cycles", (json_int_t)c->n.cycles, "milliseconds", (double)c->n.cycles / c->clock_khz, "efficiency", c->efficiency,
			 "array_cycles", (json_int_t)c->array_cycles, "dram_cycles", (json_int_t)c->dram_cycles, "shares", "array", c->shares.array, "vector",
			 c->shares.vector, "cross_lane", c->shares.cross_lane, "load", c->shares.load, "store", c->shares.store, "scalar", c->shares.scalar, "dram",
			 c->shares.dram, "stall_dma_wait", c->shares.wait, "stall_dma_full", c->shares.full, "stall_fetch", c->shares.fetch, "limit",
			 profile_limit(&c->shares), "energy_pj", energy, "sram_top", (json_int_t)c->sram_top, "dram_bytes",
			 (json_int_t)(c->n.dram_read_bytes + c->n.dram_written_bytes), "placement", c->placement);
}

enum tg_status chips_compare(struct tool *t, const char *model)
{
	struct tg_compile_options o;
	TG_VEC(struct column) columns = { 0 };
	const char *list = option(t, "chips");
	char *rest = NULL;
	if (!list || option(t, "chip")) {
		tg_usage(&t->diag, TG_NOWHERE, "tegula chips compare needs --chips A,B,C (and no --chip)");
		return TG_ERR_USAGE;
	}
	if (!compile_options(t, &o))
		return status_of(t, TG_ERR_USAGE);
	json_t *rows = json_array();
	enum tg_status status = TG_OK;
	for (char *name = strtok_r(tg_strdup(t->arena, list), ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		struct column *c = TG_PUSH(t->arena, &columns);
		*c = (struct column){ .chip = name };
		measure_chip(t, model, &o, c);
		status = status == TG_OK ? c->status : status;
		json_array_append_new(rows, column_json(c));
	}
	put(t->report, "chips", rows);
	if (!columns.n) {
		tg_usage(&t->diag, TG_NOWHERE, "--chips names no chip");
		return TG_ERR_USAGE;
	}
	print_columns(columns.at, columns.n);
	return status;
}
