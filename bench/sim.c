/* sim.c: bench_sim [--runs N] [--engines both|jit] [--cache DIR] [--threads N] FILE.tgx...: how fast each engine simulates each executable, beside the host's own matrix multiply.
 *
 * A line an executable, and their sums: cycles and MACs of one run, then for both engines the processor time to get ready (translation included) and of the fastest of
 * N runs. Inputs are zeros from fresh DRAM: timing and work of a program do not depend on its numbers. Host steps are not run. */
#include "sgemm.h"
#include "sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct job {
	const char *cache;
	int runs, n;
	uint32_t threads;
	bool both;
	char **paths;
};
struct sums {
	double interp, jit, log_ratio;
	int n;
};
struct figures {
	double ready, run;
	uint64_t cycles, macs;
	bool translated, ok;
};

/* Processor time, since a busy machine must not decide; with several threads there is only the clock on the wall. */
static double now(uint32_t threads)
{
	struct timespec t;
	clock_gettime(threads > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t macs_of(const struct tg_counters *c)
{
	uint64_t n = 0;
	for (int i = 0; i < TG_N_ARRAY_TYPES; i++)
		n += c->macs[i];
	return n;
}

static bool run_steps(struct tg_sim *s, const struct tg_exe *x, struct tg_diag *d)
{
	for (size_t i = 0; i < x->steps.n; i++) {
		if (!x->steps.at[i].on_host && !tg_sim_run(s, d, x->steps.at[i].entry_word))
			return false;
	}
	return true;
}

static struct figures measure(struct tg_arena *a, const struct tg_exe *x, enum tg_engine engine, const struct job *j)
{
	struct figures f = {.run = 1e30, .ok = true};
	struct tg_diag d;
	tg_diag_init(&d, a);
	double start = now(j->threads);
	struct tg_sim *s = tg_sim_new(a, x, &(struct tg_sim_options){.engine = engine, .cache_dir = j->cache, .threads = j->threads});
	f.ready = now(j->threads) - start;
	f.translated = tg_sim_translates(s);
	for (int i = 0; i < j->runs && f.ok; i++) {
		uint64_t cycles = tg_sim_counters(s)->cycles, macs = macs_of(tg_sim_counters(s));
		start = now(j->threads);
		f.ok = run_steps(s, x, &d);
		double took = now(j->threads) - start;
		f.run = took < f.run ? took : f.run;
		f.cycles = tg_sim_counters(s)->cycles - cycles;
		f.macs = macs_of(tg_sim_counters(s)) - macs;
	}
	if (!f.ok)
		fprintf(stderr, "%s\n", d.list.at[0].text);
	tg_sim_free(s);
	return f;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool bench(struct tg_heap *h, const char *path, const struct job *o, struct sums *all)
{
	struct tg_arena *a = tg_arena_new(h);
	struct tg_diag d;
	struct tg_file f;
	struct tg_exe x;
	tg_diag_init(&d, a);
	if (!tg_file_map(&d, a, path, SIZE_MAX / 4, &f) || !tg_exe_read(&d, a, &f, &x)) {
		fprintf(stderr, "%s: %s\n", path, d.list.n ? d.list.at[0].text : "not read");
		return false;
	}
	struct figures j = measure(a, &x, TG_ENGINE_JIT, o), i = o->both ? measure(a, &x, TG_ENGINE_INTERP, o) : j;
	printf("%-36s %9.2f %8.1f | %8.1f %7.1f | %8.1f %8.1f %7.1f %7.2f | %5.1f%s\n", base_name(path), (double)i.cycles * 1e-6, (double)i.macs * 1e-6, i.run * 1e3,
	       (double)i.cycles / i.run * 1e-6, j.ready * 1e3, j.run * 1e3, (double)j.cycles / j.run * 1e-6, (double)j.macs / j.run * 1e-9, i.run / j.run,
	       j.translated ? "" : " (interpreted)");
	fflush(stdout);
	all->interp += i.run;
	all->jit += j.run;
	all->log_ratio += log(i.run / j.run);
	all->n++;
	bool ok = i.ok && j.ok && i.cycles == j.cycles && i.macs == j.macs;
	tg_arena_free(a);
	return ok;
}

/* The host's own rate, on what fits its caches. */
static double sgemm_rate(void)
{
	static float a[SGEMM_M][SGEMM_N], b[SGEMM_N][SGEMM_N], c[SGEMM_M][SGEMM_N];
	double best = 0;
	for (int i = 0; i < SGEMM_N * SGEMM_N; i++)
		b[i / SGEMM_N][i % SGEMM_N] = (float)(i % 7);
	for (int i = 0; i < SGEMM_M * SGEMM_N; i++)
		a[i / SGEMM_N][i % SGEMM_N] = (float)(i % 5);
	for (int round = 0; round < 20; round++) {
		double start = now(1);
		sgemm(a, b, c);
		double rate = (double)SGEMM_M * SGEMM_N * SGEMM_N / (now(1) - start);
		best = rate > best ? rate : best;
	}
	return c[1][1] < 0 ? 0 : best;
}

static int bench_all(const struct job *j)
{
	struct tg_heap h;
	volatile int status = 0;
	static struct sums all;
	printf("this host's f32 matrix multiply, one thread: %.1f GMAC/s\n", sgemm_rate() * 1e-9);
	printf("%-36s %9s %8s | %8s %7s | %8s %8s %7s %7s | %s\n", "", "Mcycles", "MMAC", "interp", "Mcyc/s", "ready", "jit ms", "Mcyc/s", "GMAC/s", "ratio");
	for (volatile int i = 0; i < j->n; i++) {
		tg_heap_init(&h);
		if (setjmp(h.unwind) == 0)
			status |= !bench(&h, j->paths[i], j, &all);
		else
			fprintf(stderr, "%s: out of memory\n", j->paths[i]);
		tg_heap_free(&h);
	}
	if (all.n > 1 && j->both)
		printf("%d programs: interpreted %.1f ms, translated %.1f ms, ratio %.2f of the sums, %.2f the geometric mean of the ratios\n", all.n, all.interp * 1e3,
		       all.jit * 1e3, all.interp / all.jit, exp(all.log_ratio / all.n));
	return status;
}

int main(int argc, char **argv)
{
	struct job j = {.runs = 3, .threads = 1, .both = true};
	int first = 1;
	for (; first + 1 < argc && argv[first][0] == '-'; first += 2) {
		if (strcmp(argv[first], "--runs") == 0)
			j.runs = atoi(argv[first + 1]) > 1 ? atoi(argv[first + 1]) : 1;
		else if (strcmp(argv[first], "--engines") == 0)
			j.both = strcmp(argv[first + 1], "jit") != 0;
		else if (strcmp(argv[first], "--threads") == 0)
			j.threads = atoi(argv[first + 1]) > 1 ? (uint32_t)atoi(argv[first + 1]) : 1;
		else if (strcmp(argv[first], "--cache") == 0)
			j.cache = argv[first + 1];
		else
			return fprintf(stderr, "usage: bench_sim [--runs N] [--engines both|jit] [--cache DIR] [--threads N] FILE.tgx...\n"), 2;
	}
	j.n = argc - first;
	j.paths = argv + first;
	return bench_all(&j);
}
