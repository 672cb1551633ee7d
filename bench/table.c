/* table.c: the table of `make bench`: the reference networks on chips, against the roofline.
 *
 *   bench_table --tegula PROGRAM --work FOLDER [--chips a,b] [--only LABEL,...] [--precision bf16] [--flags "..."] [--json FILE] [--max-gmacs N] [--keep]
 *
 * Bound = max(MACs as the graph states them / MACs per cycle of the arrays, (weights at the compiled precision + inputs + outputs in their own types) /
 * DRAM bytes per cycle). Efficiency = bound / simulated cycles. Status 1: a result is wrong or a run failed. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "measure.h"

/* Goals are those for t1 and bf16. MobileNetV2's: 1.3 times the cycles of its narrow products. */
static const struct entry entries[] = {
	{ "gemm-512", "gemm", { .m = 512, .k = 512, .n = 512 }, 0.87, 0 },
	{ "gemm-1024", "gemm", { .m = 1024, .k = 1024, .n = 1024 }, 0.97, 0 },
	{ "gemm-4096", "gemm", { .m = 4096, .k = 4096, .n = 4096 }, 0.98, 0 },
	{ "resnet50", "resnet50", { .batch = 1 }, 0.60, 0 },
	{ "resnet50-b8", "resnet50", { .batch = 8 }, 0.75, 0 },
	{ "mobilenetv2-b8", "mobilenetv2", { .batch = 8 }, 0, 553800 },
	{ "bert-base", "bert-base", { .seq = 128 }, 0.85, 0 },
	{ "gpt2", "gpt2", { .seq = 128 }, 0.85, 0 },
	{ "gpt2-decode", "gpt2-decode", { .cache = 1024 }, 0.92, 0 },
	{ "llama-block", "llama-block", { .seq = 512 }, 0.92, 0 },
	{ "llama-decode", "llama-block-decode", { .cache = 1024 }, 0.95, 0 },
};
static const struct { const char *name; enum tg_array_type type; uint32_t bytes; double nrmse; } precisions[] = {
	{ "f32", TG_ARRAY_f32, 4, 1e-4 },
	{ "bf16", TG_ARRAY_bf16, 2, 0.02 },
	{ "f16", TG_ARRAY_f16, 2, 0.02 },
};
static const char *const methods[] = { [BY_NOTHING] = "-", [BY_EVALUATOR] = "evaluator", [BY_FREIVALDS] = "Freivalds" };

struct settings {
	struct bench b;
	const char *chips, *only, *json;
	double nrmse; /* largest that passes */
};

static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, n) == 0 && (at[n] == 0 || at[n] == ','))
			return true;
	return false;
}

static bool parse(struct tg_diag *d, int argc, char **argv, struct settings *s)
{
	const char *limit = "120";
	const struct { const char *name, **to; } options[] = { { "--tegula", &s->b.tegula },     { "--work", &s->b.work },   { "--chips", &s->chips },
							       { "--only", &s->only },           { "--json", &s->json },     { "--flags", &s->b.flags },
							       { "--precision", &s->b.precision }, { "--max-gmacs", &limit } };
	for (int i = 1; i < argc; i++) {
		size_t k = 0;
		if (strcmp(argv[i], "--keep") == 0) {
			s->b.keep = true;
			continue;
		}
		while (k < TG_ARRAY_LEN(options) && strcmp(options[k].name, argv[i]) != 0)
			k++;
		if (k == TG_ARRAY_LEN(options) || i + 1 == argc)
			return tg_usage(d, TG_NOWHERE, "option '%s' is unknown or lacks its value", argv[i]);
		*options[k].to = argv[++i];
	}
	s->b.max_gmacs = atof(limit);
	for (size_t i = 0; i < TG_ARRAY_LEN(precisions); i++)
		if (strcmp(precisions[i].name, s->b.precision) == 0) {
			s->b.type = precisions[i].type;
			s->b.weight_bytes = precisions[i].bytes;
			s->nrmse = precisions[i].nrmse;
			return (s->b.tegula && s->b.work) || tg_usage(d, TG_NOWHERE, "--tegula and --work are needed");
		}
	return tg_usage(d, TG_NOWHERE, "--precision is '%s', expected f32, bf16 or f16", s->b.precision);
}

static bool has_goal(const struct settings *s, const char *chip)
{
	return strcmp(chip, "t1") == 0 && strcmp(s->b.precision, "bf16") == 0;
}

static const char *verdict(const struct entry *e, const char *chip, const struct settings *s, const struct measured *m)
{
	if (m->failure)
		return "FAILED";
	if (m->by != BY_NOTHING && !(m->nrmse <= s->nrmse))
		return "WRONG";
	if (!has_goal(s, chip) || (e->goal == 0 && e->goal_cycles == 0))
		return "";
	return (e->goal_cycles ? m->counters.cycles <= e->goal_cycles : m->efficiency >= e->goal) ? "met" : "missed";
}

static void print_row(const struct entry *e, const char *chip, const struct settings *s, const struct measured *m)
{
	char goal[32] = "-";
	if (has_goal(s, chip) && e->goal > 0)
		snprintf(goal, sizeof goal, "%.2f", e->goal);
	if (has_goal(s, chip) && e->goal_cycles)
		snprintf(goal, sizeof goal, "<=%llu", (unsigned long long)e->goal_cycles);
	printf("%-15s %-8s %9.3f %9.2f %10llu %-5s %10llu %6.3f %8s %-7s", e->label, chip, (double)m->macs * 1e-9, (double)m->min_bytes * 1e-6,
	       (unsigned long long)m->bound_cycles, m->array_cycles > m->dram_cycles ? "array" : "DRAM", (unsigned long long)m->counters.cycles, m->efficiency, goal,
	       verdict(e, chip, s, m));
	if (m->failure)
		printf(" %s\n", m->failure);
	else
		printf(" %8.2g %-9s %6.2f %7.1f %6.2f %7.1f\n", m->nrmse, methods[m->by], m->compile_s, m->compile_mib,
		       m->model_bytes ? m->compile_mib * 1048576 / (double)m->model_bytes : 0, m->sim_s);
	fflush(stdout);
}

static json_t *row_json(const struct entry *e, const char *chip, const struct settings *s, const struct measured *m)
{
	return json_pack("{s:s s:s s:s s:I s:I s:I s:I s:I s:f s:f s:s s:s s:f s:f s:f s:s s:I s:I s:I s:I s:I}", "network", e->label, "chip", chip, "precision",
			 s->b.precision, "macs", (json_int_t)m->macs, "min_bytes", (json_int_t)m->min_bytes, "array_cycles", (json_int_t)m->array_cycles,
			 "dram_cycles", (json_int_t)m->dram_cycles, "cycles", (json_int_t)m->counters.cycles, "efficiency", m->efficiency, "nrmse",
			 isfinite(m->nrmse) ? m->nrmse : -1.0, "verified_by", methods[m->by], "verdict", verdict(e, chip, s, m), "compile_seconds", m->compile_s,
			 "compile_mib", m->compile_mib, "sim_seconds", m->sim_s, "failure", m->failure ? m->failure : "", "dram_read_bytes",
			 (json_int_t)m->counters.dram_read_bytes, "dram_written_bytes", (json_int_t)m->counters.dram_written_bytes, "stall_dma_wait",
			 (json_int_t)m->counters.stall_dma_wait, "stall_dma_full", (json_int_t)m->counters.stall_dma_full, "stall_fetch",
			 (json_int_t)m->counters.stall_fetch);
}

static void print_messages(const struct tg_diag *d)
{
	for (size_t i = 0; i < d->list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, d->arena);
		tg_message_format(&d->list.at[i], &b);
		fprintf(stderr, "%s\n", b.at);
	}
}

/* One entry with memory of its own. */
static bool one(struct tg_heap *heap, const struct settings *s, const struct entry *e, const char *chip, json_t *rows)
{
	struct tg_arena *a = tg_arena_new(heap);
	struct tg_diag d;
	struct measured m;
	tg_diag_init(&d, a);
	bool ok = measure(&d, a, &s->b, e, chip, &m) && strcmp(verdict(e, chip, s, &m), "WRONG") != 0;
	print_row(e, chip, s, &m);
	print_messages(&d);
	json_array_append_new(rows, row_json(e, chip, s, &m));
	tg_arena_free(a);
	return ok;
}

static bool all(struct tg_heap *heap, struct tg_arena *a, const struct settings *s, json_t *rows)
{
	bool ok = true;
	char *rest = NULL, *chips = tg_strdup(a, s->chips);
	printf("precision %s\n%-15s %-8s %9s %9s %10s %-5s %10s %6s %8s %-7s %8s %-9s %6s %7s %6s %7s\n", s->b.precision, "network", "chip", "GMACs", "MB", "bound",
	       "by", "cycles", "eff", "goal", "", "NRMSE", "against", "comp s", "MiB", "xmodel", "sim s");
	for (char *chip = strtok_r(chips, ",", &rest); chip; chip = strtok_r(NULL, ",", &rest))
		for (size_t i = 0; i < TG_ARRAY_LEN(entries); i++)
			if (!s->only || in_list(s->only, entries[i].label))
				ok &= one(heap, s, &entries[i], chip, rows);
	return ok;
}

int main(int argc, char **argv)
{
	struct tg_heap heap;
	struct tg_diag d;
	tg_heap_init(&heap);
	if (setjmp(heap.unwind)) {
		fprintf(stderr, "out of memory\n");
		tg_heap_free(&heap);
		return TG_ERR_LIMIT;
	}
	struct tg_arena *a = tg_arena_new(&heap);
	struct settings *s = tg_alloc(a, sizeof *s);
	s->b.precision = "bf16";
	s->chips = "t1";
	tg_diag_init(&d, a);
	int status = TG_OK;
	if (parse(&d, argc, argv, s)) {
		json_t *report = json_object(), *rows = json_array();
		json_object_set_new(report, "schema_version", json_integer(1));
		json_object_set_new(report, "rows", rows);
		mkdir(s->b.work, 0777);
		status = all(&heap, a, s, rows) ? TG_OK : TG_ERR_DIFFERS;
		char *text = s->json ? json_dumps(report, JSON_INDENT(1)) : NULL;
		if (text)
			tg_file_write(&d, s->json, text, strlen(text));
		free(text);
		json_decref(report);
	}
	print_messages(&d);
	status = d.n_errors ? (int)d.status : status;
	tg_heap_free(&heap);
	return status;
}
