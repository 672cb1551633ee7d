/* profile.c: `tegula profile`: runs a model with a recorder, and says where the cycles went. */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TRANSFERS 200000
#define DEFAULT_ROWS 20

/* ---- the numbers ---- */

static enum tg_array_type main_type(const struct tg_chip *c, const struct tg_counters *n)
{
	int best = -1;
	for (int t = 0; t < TG_N_ARRAY_TYPES; t++)
		if (n->macs[t] && (best < 0 || n->macs[t] > n->macs[best]))
			best = t;
	return best >= 0 ? (enum tg_array_type)best : c->rate_num[TG_ARRAY_bf16] ? TG_ARRAY_bf16 : TG_ARRAY_f32;
}

uint64_t profile_macs_run(const struct tg_counters *n)
{
	uint64_t sum = 0;
	for (int t = 0; t < TG_N_ARRAY_TYPES; t++)
		sum += n->macs[t];
	return sum;
}

static uint64_t bytes_of(const struct tg_binding *b, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		size_t bytes = 0;
		if (tg_shape_bytes(&b[i].shape, (enum tg_dtype)b[i].dtype, &bytes))
			sum += bytes;
	}
	return sum;
}

int64_t profile_stage_at(const struct tg_exe *x, uint32_t word)
{
	size_t lo = 0, hi = x->ranges.n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (x->ranges.at[mid].end_word <= word)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->ranges.n && x->ranges.at[lo].first_word <= word ? (int64_t)x->ranges.at[lo].prov : -1;
}

/* What the compiler expected, by stage. */
static void read_notes(struct profile *p, struct tg_arena *a)
{
	const struct tg_exe *x = p->exe;
	p->predicted = tg_alloc_n(a, x->provs.n + 1, sizeof *p->predicted);
	p->loop = tg_alloc_n(a, x->provs.n + 1, sizeof *p->loop);
	for (size_t i = 0; i < x->predictions.n; i++) {
		int64_t at = profile_stage_at(x, x->predictions.at[i].word);
		if (at >= 0)
			p->predicted[at] += x->predictions.at[i].cycles;
	}
	for (size_t i = 0; i < x->loops.n; i++) {
		const struct tg_loop_note *l = &x->loops.at[i], *most;
		int64_t at = profile_stage_at(x, l->word);
		if (at < 0)
			continue;
		most = p->loop[at];
		p->loop[at] = most && (double)most->interval * (double)most->trips >= (double)l->interval * (double)l->trips ? most : l;
	}
}

void profile_init(struct profile *p, struct tg_arena *a, const struct case_run *r, const struct tg_trace *trace)
{
	const struct tg_exe *x = &r->compiled.exe;
	const struct tg_chip *c = &x->chip;
	*p = (struct profile){ .exe = x, .chip = c, .total = tg_sim_counters(r->session.sim), .stage = tg_sim_by_prov(r->session.sim), .trace = trace };
	p->type = main_type(c, p->total);
	p->peak = c->rate_num[p->type] ? (double)c->n_arrays * c->array_rows * c->array_cols * c->rate_num[p->type] / c->rate_den[p->type] : 0;
	p->macs = x->macs ? x->macs : profile_macs_run(p->total);
	p->min_bytes = bytes_of(x->inputs.at, x->inputs.n) + bytes_of(x->outputs.at, x->outputs.n);
	for (size_t i = 0; i < x->segments.n; i++)
		p->min_bytes += x->segments.at[i].data ? x->segments.at[i].bytes : 0;
	p->array_cycles = p->peak > 0 ? (uint64_t)((double)p->macs / p->peak) : 0;
	p->dram_cycles = p->min_bytes / c->dram_bytes_per_cycle;
	read_notes(p, a);
}

double profile_efficiency(const struct profile *p)
{
	uint64_t bound = p->array_cycles > p->dram_cycles ? p->array_cycles : p->dram_cycles;
	return p->total->cycles ? (double)bound / (double)p->total->cycles : 0;
}

struct profile_shares profile_shares(const struct tg_chip *c, const struct tg_counters *n)
{
	double cycles = n->cycles ? (double)n->cycles : 1;
	const uint64_t *b = n->busy;
	return (struct profile_shares){
		.array = (double)b[TG_SLOT_M] / c->n_arrays / cycles,
		.vector = (double)(b[TG_SLOT_V] + b[TG_SLOT_E]) / c->n_alu / cycles,
		.cross_lane = (double)b[TG_SLOT_X] / c->n_cross_lane / cycles,
		.load = (double)b[TG_SLOT_L] / c->n_load / cycles,
		.store = (double)b[TG_SLOT_W] / c->n_store / cycles,
		.scalar = (double)b[TG_SLOT_S] / c->n_scalar / cycles,
		.dram = (double)(n->dram_read_bytes + n->dram_written_bytes + n->fetch_bytes) / c->dram_bytes_per_cycle / cycles,
		.wait = (double)n->stall_dma_wait / cycles,
		.full = (double)n->stall_dma_full / cycles,
		.fetch = (double)n->stall_fetch / cycles,
	};
}

const char *profile_limit(const struct profile_shares *s)
{
	const struct { const char *name; double share; } rows[] = {
		{ "array", s->array }, { "vector", s->vector }, { "load", s->load },       { "store", s->store }, { "cross-lane", s->cross_lane },
		{ "DMA", s->wait + s->full }, { "fetch", s->fetch }, { "scalar", s->scalar },
	};
	size_t best = 0;
	for (size_t i = 1; i < TG_ARRAY_LEN(rows); i++)
		if (rows[i].share > rows[best].share)
			best = i;
	return rows[best].share > 0 ? rows[best].name : "-";
}

const char *const profile_energy_names[N_ENERGIES] = { "macs", "vector", "sram", "accumulators", "dram", "bundles", "leakage" };

/* The same terms as the simulator's sum; bundles are what remains, since idle ones are not fetched. */
void profile_energy(const struct tg_chip *c, const struct tg_counters *n, double pj[N_ENERGIES])
{
	double sum = 0;
	memset(pj, 0, N_ENERGIES * sizeof *pj);
	for (int t = 0; t < TG_N_ARRAY_TYPES; t++)
		pj[0] += c->pj_mac[t] * (double)n->macs[t];
	pj[1] = c->pj_vector_lane * (double)n->vector_lane_ops;
	pj[2] = c->pj_sram_byte * (double)n->sram_bytes;
	pj[3] = c->pj_acc_byte * (double)n->acc_bytes;
	pj[4] = c->pj_dram_byte * (double)(n->dram_read_bytes + n->dram_written_bytes + n->fetch_bytes);
	pj[6] = c->mw_leakage * 1e6 * (double)n->cycles / c->clock_khz;
	for (int i = 0; i < N_ENERGIES; i++)
		sum += pj[i];
	pj[5] = n->energy_pj > sum ? n->energy_pj - sum : 0;
}

/* ---- text ---- */

static void print_share(const char *name, double share)
{
	printf("  %-12s %5.1f %%\n", name, 100 * share);
}

static void print_total(const struct profile *p)
{
	const struct tg_counters *n = p->total;
	struct profile_shares s = profile_shares(p->chip, n);
	double pj[N_ENERGIES];
	uint64_t moved = n->dram_read_bytes + n->dram_written_bytes;
	printf("cycles      %llu on %s (%.3f ms at %.2f GHz)\n", (unsigned long long)n->cycles, p->chip->name, (double)n->cycles / p->chip->clock_khz,
	       p->chip->clock_khz * 1e-6);
	printf("bound       %llu by the arrays, %llu by the DRAM; efficiency %.3f\n", (unsigned long long)p->array_cycles, (unsigned long long)p->dram_cycles,
	       profile_efficiency(p));
	printf("busy\n");
	print_share("array", s.array);
	print_share("vector ALU", s.vector);
	print_share("cross-lane", s.cross_lane);
	print_share("load", s.load);
	print_share("store", s.store);
	print_share("scalar", s.scalar);
	print_share("DRAM", s.dram);
	printf("stalled\n");
	print_share("DMA wait", s.wait);
	print_share("queue full", s.full);
	print_share("code fetch", s.fetch);
	printf("DRAM        %llu bytes read, %llu written: %.2f times the least (%llu: constants, inputs, outputs)\n", (unsigned long long)n->dram_read_bytes,
	       (unsigned long long)n->dram_written_bytes, p->min_bytes ? (double)moved / (double)p->min_bytes : 0, (unsigned long long)p->min_bytes);
	profile_energy(p->chip, n, pj);
	printf("energy      %.3f mJ:", n->energy_pj * 1e-9);
	for (int i = 0; i < N_ENERGIES; i++)
		printf(" %s %.0f %%%s", profile_energy_names[i], n->energy_pj > 0 ? 100 * pj[i] / n->energy_pj : 0, i + 1 < N_ENERGIES ? "," : "\n");
}

struct ranked { uint32_t stage; uint64_t cycles; };

static int by_cycles(const void *x, const void *y)
{
	const struct ranked *a = x, *b = y;
	return a->cycles != b->cycles ? (a->cycles > b->cycles ? -1 : 1) : (a->stage > b->stage) - (a->stage < b->stage);
}

static void print_stages(struct tool *t, const struct profile *p, int64_t rows)
{
	size_t n = p->exe->provs.n + 1;
	struct ranked *list = tg_alloc_n(t->arena, n, sizeof *list);
	for (size_t i = 0; i < n; i++)
		list[i] = (struct ranked){ (uint32_t)i, p->stage[i].cycles };
	qsort(list, n, sizeof *list, by_cycles);
	printf("\n%10s %6s %10s %9s %6s %6s %6s %6s %8s %8s %-10s %s\n", "cycles", "share", "predicted", "interval", "array", "vector", "DRAM", "stall", "MAC/cyc", "MAC/B", "limit", "nodes");
	for (size_t i = 0; i < n && (int64_t)i < rows && list[i].cycles; i++) {
		const struct tg_counters *c = &p->stage[list[i].stage];
		struct profile_shares s = profile_shares(p->chip, c);
		uint64_t macs = profile_macs_run(c), bytes = c->dram_read_bytes + c->dram_written_bytes;
		const char *nodes = list[i].stage < p->exe->provs.n ? p->exe->provs.at[list[i].stage] : "";
		const struct tg_loop_note *l = p->loop[list[i].stage];
		char interval[32] = "-";
		if (l)
			snprintf(interval, sizeof interval, "%u/%u", l->interval, l->least);
		printf("%10llu %5.1f%% %10llu %9s %5.1f%% %5.1f%% %5.1f%% %5.1f%% %8.0f %8.1f %-10s %s\n", (unsigned long long)c->cycles,
		       100 * (double)c->cycles / (double)(p->total->cycles ? p->total->cycles : 1), (unsigned long long)p->predicted[list[i].stage], interval, 100 * s.array, 100 * s.vector, 100 * s.dram,
		       100 * (s.wait + s.full + s.fetch), (double)macs / (double)c->cycles, bytes ? (double)macs / (double)bytes : 0, profile_limit(&s),
		       *nodes ? nodes : "(no node)");
	}
}

static void print_kinds(const json_t *kinds, uint64_t cycles)
{
	const char *kind;
	json_t *o;
	printf("\n%10s %6s %7s %9s  %s\n", "cycles", "share", "stages", "energy uJ", "operators");
	json_object_foreach((json_t *)(uintptr_t)kinds, kind, o) {
		json_int_t n = json_integer_value(json_object_get(o, "cycles"));
		printf("%10lld %5.1f%% %7lld %9.1f  %s\n", (long long)n, 100 * (double)n / (double)(cycles ? cycles : 1),
		       (long long)json_integer_value(json_object_get(o, "stages")), json_real_value(json_object_get(o, "energy_pj")) * 1e-6, kind);
	}
}

/* ---- the verb ---- */

enum tg_status run_profile(struct tool *t)
{
	struct case_run r = { 0 };
	struct tg_sim_options s;
	struct tg_tensor_list inputs = { 0 };
	struct profile p;
	int64_t seed = 0, rows = DEFAULT_ROWS;
	if (!sim_options(t, &s) || !option_number(t, "seed", 0, INT64_MAX, &seed) || !option_number(t, "rows", 0, INT32_MAX, &rows) ||
	    !case_inputs(t, &inputs) || !case_load(t, &inputs, &r))
		return status_of(t, TG_ERR_INTERNAL);
	s.trace = tg_trace_new(t->arena, &r.compiled.exe, MAX_TRANSFERS);
	if (!case_execute(t, &s, &inputs, (uint64_t)seed, &r))
		return status_of(t, TG_ERR_INTERNAL);
	profile_init(&p, t->arena, &r, s.trace);
	print_total(&p);
	print_stages(t, &p, rows);
	profile_json(t, &p, t->report);
	print_kinds(json_object_get(t->report, "kinds"), p.total->cycles);
	if (option(t, "trace"))
		profile_trace(t, &p, option(t, "trace"));
	if (option(t, "html"))
		profile_html(t, t->report, option(t, "html"));
	tg_session_close(&r.session);
	return status_of(t, TG_OK);
}
