/* random_stages.c: random programs of stages, on the simulator and by the evaluator: the results must be equal.
 *
 *   random_stages [--seed S] [--count N] [--seconds T] [--keep DIR]     programs S, S + 1, ...; what fails is shrunk and printed as IR text
 *   random_stages --replay FILE.tir...                                  every chip and a set of options
 *
 * Each program runs on t1, t1-edge, a chip like t1-edge with little SRAM and a small array, and a random chip, each time with other options of the compiler and
 * another DMA order. Programs run in a child process, so that a crash is one finding and not the end. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "chip_random.h"
#include "fuzz.h"
#include "lib.h"

enum { CHIP_T1, CHIP_EDGE, CHIP_TIGHT, CHIP_RANDOM, N_CHIP_KINDS, CHILD_SECONDS = 120, MAX_SHRINK_ROUNDS = 60 };

struct config {
	int chip;
	uint64_t chip_seed;
	bool no_fusion, verify, no_pipelines, no_residency, no_margins;
	bool groups; /* the program's groups reach code generation: passes that know none are left out */
	enum tg_chunks chunks;
	uint32_t unroll, window;
	enum tg_dtype precision; /* narrow: the reference is the module behind the passes */
	struct tg_sim_options sim;
};
enum verdict { AGREES, ON_HOST, DIFFERS, FAILS, INVALID };
struct shared { volatile uint64_t seed; volatile uint32_t n_programs, n_runs, n_host, n_bad; };
struct options { uint64_t seed, count; double seconds; const char *keep; bool quiet_host; };

/* ---- one run ---- */

static const char *config_text(struct tg_arena *a, const struct config *c)
{
	static const char *const chunks[] = { "auto", "never", "always" };
	static const char *const chips[] = { "t1", "t1-edge", "tight", "random" };
	static const char *const dma[] = { "early", "late", "random" };
	return tg_asprintf(a, "chip %s:%llu unroll %u window %u%s%s%s chunks %s precision %s dma %s:%llu", chips[c->chip], (unsigned long long)c->chip_seed, c->unroll, c->window,
			   c->groups ? " groups" : c->no_fusion ? " no fusion" : "", c->no_pipelines ? " no pipelines" : "", c->no_residency ? " no residency" : c->no_margins ? " no margins" : "", chunks[c->chunks], tg_dtypes[c->precision].name, dma[c->sim.dma], (unsigned long long)c->sim.seed);
}

static bool load_chip(struct tg_diag *d, struct tg_arena *a, const struct config *c, struct tg_chip *out)
{
	if (c->chip == CHIP_RANDOM) {
		const char *text = chip_random(d, a, c->chip_seed);
		return text && tg_chip_parse(d, a, "random chip", text, strlen(text), out);
	}
	if (!tg_chip_load(d, a, c->chip == CHIP_T1 ? "t1" : "t1-edge", out))
		return false;
	if (c->chip == CHIP_TIGHT) {
		out->sram_bytes = 65536;
		out->array_rows = out->array_cols = 2 * out->sublanes; /* small products have many blocks, and chunks */
	}
	return true;
}

static bool equal(const struct tg_tensor *x, const struct tg_tensor *y, struct tg_buf *why)
{
	int64_t n = 0;
	tg_shape_count(&x->shape, &n);
	for (int64_t i = 0; i < n; i++) {
		bool same = tg_is_float(x->dtype) ? tg_get_f64(x->dtype, x->data, (size_t)i) == tg_get_f64(y->dtype, y->data, (size_t)i)
						  : tg_get_i64(x->dtype, x->data, (size_t)i) == tg_get_i64(y->dtype, y->data, (size_t)i);
		if (same)
			continue;
		tg_buf_printf(why, "element %lld is %.17g, the evaluator says %.17g", (long long)i, tg_get_f64(x->dtype, x->data, (size_t)i),
			      tg_get_f64(y->dtype, y->data, (size_t)i));
		return false;
	}
	return true;
}

static void messages(const struct tg_diag *d, struct tg_buf *why)
{
	for (size_t i = 0; i < d->list.n; i++) {
		tg_message_format(&d->list.at[i], why);
		tg_buf_puts(why, "; ");
	}
}

static struct tg_tensor *make_inputs(struct tg_diag *d, struct tg_arena *a, const struct tg_module *m)
{
	struct tg_tensor *in = tg_alloc_n(a, m->inputs.n + 1, sizeof *in);
	for (size_t i = 0; i < m->inputs.n; i++) {
		const struct tg_value *v = tg_value_get(m, m->inputs.at[i].value);
		if (!tg_tensor_alloc(d, a, (enum tg_dtype)v->dtype, &v->shape, &in[i]))
			return NULL;
		fuzz_fill(m->inputs.at[i].name ? m->inputs.at[i].name : "x", &in[i], 7);
	}
	return in;
}

/* `widen` changes what is rounded: only where the reference is the module behind it. */
static const char *passes_left_out(const struct config *c)
{
	bool same = c->precision == TG_none;
	return c->no_fusion ? same ? "fuse,widen" : "fuse" : same ? "widen" : NULL;
}

static bool compile(struct tg_diag *d, struct tg_arena *a, struct tg_module *m, const struct config *c, struct tg_exe *x, struct tg_buf *why)
{
	struct tg_chip *chip = tg_alloc(a, sizeof *chip);
	struct tg_codegen_options o = { .unroll = c->unroll, .window = c->window, .no_pipelines = c->no_pipelines, .no_residency = c->no_residency, .no_margins = c->no_margins, .chunks = c->chunks };
	struct tg_options options = { .precision = c->precision, .codegen = &o };
	struct tg_pass cx = { d, tg_arena_new(tg_arena_heap(a)), chip, &options };
	struct tg_pass_run run = { .passes = tg_passes, .n_passes = tg_n_passes, .verify_each = true, .skip = passes_left_out(c) };
	if (c->groups)
		m->level = "groups";
	bool ok = load_chip(d, a, c, chip) && tg_run_passes(&cx, m, &run) && tg_codegen(d, a, m, chip, &o, x);
	x->version = "fuzz";
	x->flags = "";
	if (ok && c->verify && !tg_exe_verify(d, a, x)) {
		tg_buf_puts(why, "the checker: ");
		ok = false;
	}
	tg_arena_free(cx.scratch);
	return ok;
}

/* Compiles and runs the module (which it uses up) and compares with `want`. */
static enum verdict run_one(struct tg_arena *a, struct tg_module *m, const struct config *c, const struct tg_tensor *in, const struct tg_tensor *want, struct tg_buf *why)
{
	struct tg_diag d;
	struct tg_exe x = { 0 };
	struct tg_session s;
	enum verdict v = FAILS;
	tg_diag_init(&d, a);
	if (!compile(&d, a, m, c, &x, why)) {
		messages(&d, why);
		return FAILS;
	}
	struct tg_tensor *out = tg_alloc_n(a, m->outputs.n + 1, sizeof *out), *narrow = tg_alloc_n(a, m->outputs.n + 1, sizeof *narrow);
	if (c->precision != TG_none && !tg_eval_module(&d, a, m, in, narrow, NULL, NULL)) {
		messages(&d, why);
		return FAILS;
	}
	want = c->precision != TG_none ? narrow : want;
	struct tg_sim_options sim = c->sim;
	sim.max_cycles = UINT64_C(1) << 30;
	tg_session_open(&s, a, &x, &sim);
	if (tg_session_run(&s, &d, a, in, out)) {
		v = strcmp(tg_placement(&x), "chip") ? ON_HOST : AGREES;
		for (size_t i = 0; i < x.steps.n && getenv("TG_VERBOSE"); i++)
			if (x.steps.at[i].on_host)
				printf("host (chip %d): %s\n", c->chip, x.steps.at[i].reason);
		for (size_t i = 0; i < m->outputs.n && v != DIFFERS; i++)
			if (!equal(&out[i], &want[i], why)) {
				tg_buf_printf(why, " (output %zu)", i);
				v = DIFFERS;
			}
	}
	tg_session_close(&s);
	messages(&d, why);
	return v;
}

static struct tg_module *read_text(struct tg_arena *a, const char *text, size_t n)
{
	struct tg_diag d;
	tg_diag_init(&d, a);
	struct tg_module *m = tg_module_parse(&d, a, "fuzz.tir", text, n);
	return m && tg_module_verify(&d, m) && m->outputs.n ? m : NULL;
}

static bool evaluate(struct tg_arena *a, const struct tg_module *m, struct tg_tensor **in, struct tg_tensor **want)
{
	struct tg_diag d;
	tg_diag_init(&d, a);
	*want = tg_alloc_n(a, m->outputs.n + 1, sizeof **want);
	*in = make_inputs(&d, a, m);
	return *in && tg_eval_module(&d, a, m, *in, *want, NULL, NULL);
}

static enum verdict check_text(struct tg_heap *h, const char *text, size_t n, const struct config *c, struct tg_buf *why)
{
	struct tg_arena *a = tg_arena_new(h);
	struct tg_tensor *in, *want;
	struct tg_module *m = read_text(a, text, n);
	enum verdict v = m && evaluate(a, m, &in, &want) ? run_one(a, m, c, in, want, why) : INVALID;
	tg_arena_free(a);
	return v;
}

/* ---- shrinking ---- */

/* The text of the program's next smaller variant that fails too; NULL: none. */
static char *shrink_once(struct tg_heap *h, struct tg_arena *keep, const char *text, const struct config *c, uint32_t *step)
{
	for (;; (*step)++) {
		struct tg_arena *a = tg_arena_new(h);
		struct tg_buf out, why;
		bool applies = false;
		struct tg_module *m = read_text(a, text, strlen(text));
		bool more = m && fuzz_shrink(m, *step, &applies);
		char *smaller = NULL;
		tg_buf_init(&out, a);
		tg_buf_init(&why, a);
		if (more && applies && m->outputs.n) {
			tg_module_print(&out, m);
			enum verdict v = strcmp(out.at, text) == 0 ? INVALID : check_text(h, out.at, out.n, c, &why);
			if (v == DIFFERS || v == FAILS)
				smaller = tg_strndup(keep, out.at, out.n);
		}
		tg_arena_free(a);
		if (!more || smaller)
			return smaller;
	}
}

static void simplify_config(struct tg_heap *h, const char *text, struct config *c)
{
	struct config tries[5];
	for (int i = 0; i < 5; i++)
		tries[i] = *c;
	tries[0].sim = (struct tg_sim_options){ .dma = TG_DMA_EARLY };
	tries[1].no_fusion = true;
	tries[2].unroll = 1;
	tries[3].window = 0;
	tries[4].window = 1;
	for (int i = 0; i < 5; i++) {
		struct tg_arena *a = tg_arena_new(h);
		struct tg_buf why;
		tg_buf_init(&why, a);
		enum verdict v = check_text(h, text, strlen(text), &tries[i], &why);
		if (v == DIFFERS || v == FAILS) {
			for (int k = i + 1; k < 5; k++) {
				tries[k].sim = i == 0 ? tries[i].sim : tries[k].sim;
				tries[k].no_fusion |= i == 1;
				tries[k].unroll = i == 2 ? 1 : tries[k].unroll;
			}
			*c = tries[i];
		}
		tg_arena_free(a);
	}
}

static void report(struct tg_heap *h, const char *text, struct config c, uint64_t seed, const struct options *o, const char *first)
{
	struct tg_arena *a = tg_arena_new(h);
	printf("program %llu: %s\n  %s\n", (unsigned long long)seed, first, config_text(a, &c));
	fflush(stdout);
	time_t start = time(NULL);
	simplify_config(h, text, &c);
	const char *now = text;
	uint32_t step = 0;
	for (bool again = true; again;) {
		again = false;
		step = 0;
		for (char *next; time(NULL) - start < MAX_SHRINK_ROUNDS && (next = shrink_once(h, a, now, &c, &step));) {
			now = next;
			again = true;
		}
	}
	struct tg_buf why;
	tg_buf_init(&why, a);
	check_text(h, now, strlen(now), &c, &why);
	const char *notes = tg_asprintf(a, "// program %llu, %s\n// %s\n", (unsigned long long)seed, config_text(a, &c), why.at ? why.at : "");
	printf("%s%s\n", notes, now);
	if (o->keep) {
		struct tg_diag d;
		tg_diag_init(&d, a);
		const char *whole = tg_asprintf(a, "%s%s", notes, now);
		tg_file_write(&d, tg_asprintf(a, "%s/%llu.tir", o->keep, (unsigned long long)seed), whole, strlen(whole));
	}
	fflush(stdout);
	tg_arena_free(a);
}

/* ---- programs ---- */

static struct config some_config(struct rng *r, int chip)
{
	struct config c = { .chip = chip, .no_fusion = rng_chance(r, 30), .verify = rng_chance(r, 25) };
	c.chip_seed = chip == CHIP_RANDOM ? rng_next(r) % 100000 : 0;
	c.unroll = rng_chance(r, 50) ? 0 : (uint32_t)rng_range(r, 1, 8);
	c.window = rng_chance(r, 60) ? 0 : (uint32_t)1 << rng_range(r, 0, 8);
	c.no_pipelines = rng_chance(r, 20);
	c.no_residency = rng_chance(r, 20);
	c.no_margins = rng_chance(r, 20);
	c.sim.dma = (enum tg_dma_mode)rng_range(r, 0, 2);
	c.sim.seed = rng_next(r) % 1000;
	c.chunks = rng_chance(r, 50) ? TG_CHUNKS_ALWAYS : (enum tg_chunks)rng_range(r, 0, 1);
	if (rng_chance(r, 25))
		c.groups = true;
	else if (rng_chance(r, 40))
		c.precision = rng_chance(r, 50) ? TG_bf16 : TG_f16;
	return c;
}

static bool one_program(struct tg_heap *h, uint64_t seed, const struct options *o, struct shared *sh)
{
	struct tg_arena *a = tg_arena_new(h);
	struct tg_buf text;
	struct rng r = { seed * 77 + 5 };
	bool ok = true;
	tg_buf_init(&text, a);
	tg_module_print(&text, fuzz_generate(a, seed));
	for (int chip = 0; chip < N_CHIP_KINDS && ok; chip++) {
		struct config c = some_config(&r, chip);
		struct tg_buf why;
		tg_buf_init(&why, a);
		enum verdict v = check_text(h, text.at, text.n, &c, &why);
		if (v == INVALID && chip == 0) {
			struct tg_diag d;
			tg_diag_init(&d, a);
			struct tg_module *m = tg_module_parse(&d, a, "fuzz.tir", text.at, text.n);
			if (m && tg_module_verify(&d, m) && m->outputs.n == 0)
				break; /* nothing to see */
			messages(&d, &why);
			printf("program %llu is invalid: %s\n%s", (unsigned long long)seed, why.at ? why.at : "not evaluated", getenv("TG_VERBOSE") ? text.at : "");
			fflush(stdout);
			ok = false;
			break;
		}
		sh->n_runs++;
		sh->n_host += v == ON_HOST;
		if (v != DIFFERS && v != FAILS)
			continue;
		ok = false;
		report(h, text.at, c, seed, o, why.at ? why.at : "fails");
	}
	tg_arena_free(a);
	return ok;
}

static double now_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Programs from sh->seed on until `end` or the time is up. */
static void child(struct shared *sh, uint64_t end, double deadline, const struct options *o)
{
	struct tg_heap h;
	tg_heap_init(&h);
	if (setjmp(h.unwind))
		_exit(9);
	for (; sh->seed < end && now_seconds() < deadline; sh->seed++) {
		alarm(CHILD_SECONDS);
		sh->n_programs++;
		sh->n_bad += !one_program(&h, sh->seed, o, sh);
	}
	tg_heap_free(&h);
	exit(0); /* leaks are reported here */
}

static int run_all(const struct options *o)
{
	struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double deadline = now_seconds() + o->seconds;
	uint64_t end = o->seed + o->count;
	if (sh == MAP_FAILED)
		return 1;
	printf("programs from seed %llu\n", (unsigned long long)o->seed);
	fflush(stdout);
	for (sh->seed = o->seed; sh->seed < end && now_seconds() < deadline;) {
		int status = 0;
		pid_t pid = fork();
		if (pid == 0)
			child(sh, end, deadline, o);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		printf("program %llu ends with %s %d\n", (unsigned long long)sh->seed, WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		fflush(stdout);
		sh->n_bad++;
		sh->seed++;
	}
	printf("%u programs, %u runs, %u with host steps, %u bad\n", sh->n_programs, sh->n_runs, sh->n_host, sh->n_bad);
	return sh->n_bad != 0 || sh->n_programs == 0;
}

/* ---- replay ---- */

/* The chip on which a program was found, where its first line names it as "chip random:N"; 0: none. */
static uint64_t chip_named(const char *text, size_t n)
{
	static const char name[] = "chip random:";
	for (size_t i = 0; i + sizeof name < n && text[i] != '\n'; i++)
		if (memcmp(text + i, name, sizeof name - 1) == 0)
			return strtoull(text + i + sizeof name - 1, NULL, 10);
	return 0;
}

static int replay(char **files, int n)
{
	struct tg_heap h;
	volatile int bad = 0;
	tg_heap_init(&h);
	if (setjmp(h.unwind))
		return 9;
	for (int i = 0; i < n; i++) {
		struct tg_arena *a = tg_arena_new(&h);
		struct tg_diag d;
		struct tg_file f;
		tg_diag_init(&d, a);
		if (!tg_file_map(&d, a, files[i], 1 << 24, &f)) {
			printf("%s: cannot be read\n", files[i]);
			bad++;
			continue;
		}
		struct rng r = { 1 };
		uint64_t named = chip_named((const char *)f.at, f.n);
		for (int k = 0; k < 24; k++) {
			struct config c = some_config(&r, k % N_CHIP_KINDS);
			struct tg_buf why;
			tg_buf_init(&why, a);
			c.verify = true;
			if (k < N_CHIP_KINDS)
				c = (struct config){ .chip = k, .verify = true };
			if (c.chip == CHIP_RANDOM && named)
				c.chip_seed = named;
			enum verdict v = check_text(&h, (const char *)f.at, f.n, &c, &why);
			if (v == AGREES || v == ON_HOST)
				continue;
			printf("%s: %s: %s\n", files[i], config_text(a, &c), v == INVALID ? "not a valid module" : why.at ? why.at : "fails");
			bad++;
			break;
		}
		tg_file_unmap(&f);
		tg_arena_free(a);
	}
	tg_heap_free(&h);
	printf("%d files, %d bad\n", n, bad);
	return bad != 0;
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = UINT64_C(1) << 40, .seconds = 1e9 };
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--replay"))
			return replay(argv + i + 1, argc - i - 1);
		if (i + 1 < argc && !strcmp(argv[i], "--seed"))
			o.seed = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && !strcmp(argv[i], "--count"))
			o.count = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && !strcmp(argv[i], "--seconds"))
			o.seconds = strtod(argv[++i], NULL);
		else if (i + 1 < argc && !strcmp(argv[i], "--keep"))
			o.keep = argv[++i];
		else {
			fprintf(stderr, "usage: random_stages [--seed S] [--count N] [--seconds T] [--keep DIR] | --replay FILE.tir...\n");
			return 2;
		}
	}
	return run_all(&o);
}
