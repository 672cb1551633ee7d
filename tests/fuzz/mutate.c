/* mutate.c: damaged inputs for everything that is parsed: nothing may crash, hang or lose memory; whatever is accepted must hold up.
 *
 *   mutate KIND [--seed S] [--count N] [--seconds T] [--keep DIR] SEED_FILE...       KIND: onnx, tir, yaml, tgs, tgx, npy
 *
 * Each input is a seed file with a few random edits. Inputs are tried in a child process; one that ends it is a finding, kept in DIR. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "lib.h"
#include "tensor_files.h"

enum { MOST_BYTES = 1 << 20, CASE_SECONDS = 20, HEAP_LIMIT = 512 << 20 };

struct input { struct tg_heap *h; struct tg_arena *a; struct tg_diag *d; struct rng *r; uint8_t *at; size_t n; };

/* ---- what reads it; true: accepted ---- */

static bool on_path(struct input *x, bool (*f)(struct input *x, const char *path))
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, x->at, x->n) != (ssize_t)x->n)
		abort();
	bool ok = f(x, tg_asprintf(x->a, "/proc/self/fd/%d", fd));
	close(fd);
	return ok;
}

static bool import(struct input *x, const char *path)
{
	struct tg_dim_binding all = { "*", 2 };
	struct tg_import_options o = { .dims = &all, .n_dims = 1 };
	struct tg_import_result r = { 0 };
	if (!tg_import_onnx(x->d, x->a, path, &o, &r))
		return false;
	if (!tg_module_verify(x->d, r.module))
		abort();
	return true;
}

static bool try_onnx(struct input *x) { return on_path(x, import); }

static struct tg_module *read_module(struct input *x, const char *text, size_t n)
{
	struct tg_module *m = tg_module_parse_mach(x->d, x->a, "fuzz.tir", text, n, tg_mach_table(x->a));
	return m && tg_module_verify(x->d, m) ? m : NULL;
}

/* What verifies prints to text that reads back to the same text, and compiles or is refused. */
static bool try_tir(struct input *x)
{
	struct tg_module *m = read_module(x, (const char *)x->at, x->n);
	struct tg_buf one, two;
	if (!m)
		return false;
	tg_buf_init(&one, x->a);
	tg_buf_init(&two, x->a);
	tg_module_print(&one, m);
	struct tg_module *again = read_module(x, one.at, one.n);
	if (!again)
		abort();
	tg_module_print(&two, again);
	if (one.n != two.n || memcmp(one.at, two.at, one.n) != 0)
		abort();
	struct tg_chip *chip = tg_alloc(x->a, sizeof *chip);
	struct tg_codegen_options o = { 0 };
	struct tg_options options = { .codegen = &o };
	struct tg_pass cx = { x->d, tg_arena_new(x->h), chip, &options };
	struct tg_pass_run run = { .passes = tg_passes, .n_passes = tg_n_passes, .verify_each = true };
	struct tg_exe exe = { 0 };
	if (!tg_chip_load(x->d, x->a, rng_chance(x->r, 50) ? "t1" : "t1-edge", chip))
		abort();
	bool selected = again->level && !strcmp(again->level, "select"); /* behind every pass of the table */
	bool ok = (selected || tg_run_passes(&cx, again, &run)) && tg_codegen(x->d, x->a, again, chip, &o, &exe);
	if (!ok && x->d->status == TG_ERR_INTERNAL)
		abort();
	tg_arena_free(cx.scratch);
	return ok;
}

static bool try_yaml(struct input *x)
{
	struct tg_chip *c = tg_alloc(x->a, sizeof *c), *again = tg_alloc(x->a, sizeof *again);
	if (!tg_chip_parse(x->d, x->a, "fuzz.yaml", (const char *)x->at, x->n, c))
		return false;
	const char *text = tg_chip_print(x->a, c);
	if (!tg_chip_parse(x->d, x->a, "again.yaml", text, strlen(text), again) || strcmp(text, tg_chip_print(x->a, again)) != 0)
		abort();
	return true;
}

/* Checked and run for a while; it may trap. */
static void exercise(struct input *x, const struct tg_exe *e)
{
	struct tg_diag own;
	struct tg_session s;
	tg_diag_init(&own, x->a);
	bool proven = tg_exe_verify(&own, x->a, e);
	struct tg_buf text;
	tg_buf_init(&text, x->a);
	tg_disasm(&text, e);
	uint64_t bytes = 0;
	for (size_t i = 0; i < e->inputs.n + e->outputs.n; i++) {
		size_t n = 0;
		const struct tg_binding *b = i < e->inputs.n ? &e->inputs.at[i] : &e->outputs.at[i - e->inputs.n];
		tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &n);
		bytes += n;
	}
	if (bytes > 64 << 20)
		return;
	struct tg_tensor *in = tg_alloc_n(x->a, e->inputs.n + 1, sizeof *in), *out = tg_alloc_n(x->a, e->outputs.n + 1, sizeof *out);
	for (size_t i = 0; i < e->inputs.n; i++)
		if (!tg_tensor_alloc(&own, x->a, (enum tg_dtype)e->inputs.at[i].dtype, &e->inputs.at[i].shape, &in[i]))
			return;
	struct tg_sim_options o = { .dma = (enum tg_dma_mode)rng_range(x->r, 0, 2), .seed = 1, .max_cycles = 200000 };
	(void)proven;
	tg_session_open(&s, x->a, e, &o);
	tg_session_run(&s, &own, x->a, in, out);
	tg_session_close(&s);
}

static bool try_tgs(struct input *x)
{
	struct tg_chip *c = tg_alloc(x->a, sizeof *c);
	struct tg_exe e = { 0 }, back;
	uint8_t *bytes;
	size_t n;
	if (!tg_chip_load(x->d, x->a, rng_chance(x->r, 50) ? "t1" : "t1-edge", c))
		abort();
	if (!tg_asm(x->d, x->a, c, "fuzz.tgs", (const char *)x->at, x->n, &e) || !tg_exe_bytes(x->d, x->a, &e, &bytes, &n))
		return false;
	struct tg_file f = { .at = bytes, .n = n, .path = "fuzz.tgx" };
	if (!tg_exe_read(x->d, x->a, &f, &back)) {
		fprintf(stderr, "what was assembled does not read back: %s\n", x->d->list.n ? x->d->list.at[0].text : "");
		abort();
	}
	exercise(x, &back);
	return true;
}

/* Damaged files are refused, by their digest at the latest; damaged code with a right digest must be stopped by checker and traps. */
static bool try_tgx(struct input *x)
{
	struct tg_exe e = { 0 }, back;
	uint8_t *bytes, *copy = tg_alloc(x->a, x->n + 16);
	size_t n;
	memcpy(copy, x->at, x->n);
	struct tg_file f = { .at = copy, .n = x->n, .path = "fuzz.tgx" };
	if (!tg_exe_read(x->d, x->a, &f, &e))
		return false;
	uint64_t *code = tg_alloc_n(x->a, e.n_words + 1, sizeof *code);
	memcpy(code, e.code, e.n_words * sizeof *code);
	for (int64_t i = rng_range(x->r, 0, 3); i > 0 && e.n_words; i--)
		code[rng_next(x->r) % e.n_words] ^= UINT64_C(1) << rng_range(x->r, 0, 63);
	e.code = code;
	if (!tg_exe_bytes(x->d, x->a, &e, &bytes, &n))
		return false;
	f = (struct tg_file){ .at = bytes, .n = n, .path = "fuzz.tgx" };
	if (tg_exe_read(x->d, x->a, &f, &back))
		exercise(x, &back);
	return true;
}

static bool try_npy(struct input *x)
{
	struct tg_tensor t;
	return tg_npy_parse(x->d, x->a, "fuzz.npy", x->at, x->n, &t);
}

static const struct { const char *name; bool (*run)(struct input *x); } kinds[] = {
	{ "onnx", try_onnx }, { "tir", try_tir }, { "yaml", try_yaml }, { "tgs", try_tgs }, { "tgx", try_tgx }, { "npy", try_npy },
};

/* ---- edits ---- */

struct bytes { uint8_t at[MOST_BYTES]; size_t n; };

static void cut(struct bytes *b, size_t from, size_t n)
{
	n = n > b->n - from ? b->n - from : n;
	memmove(b->at + from, b->at + from + n, b->n - from - n);
	b->n -= n;
}

static void insert(struct bytes *b, size_t at, const void *from, size_t n)
{
	if (b->n + n > MOST_BYTES)
		return;
	memmove(b->at + at + n, b->at + at, b->n - at);
	memcpy(b->at + at, from, n);
	b->n += n;
}

/* A number in the text becomes another. */
static void other_number(struct bytes *b, struct rng *r, size_t at)
{
	static const char *const numbers[] = { "0", "1", "-1", "2", "255", "65536", "2147483647", "-2147483648", "4294967296", "9223372036854775807",
					       "-9223372036854775808", "18446744073709551616", "1e999", "999999999999999999999999" };
	while (at < b->n && (b->at[at] < '0' || b->at[at] > '9'))
		at++;
	size_t n = 0;
	while (at + n < b->n && b->at[at + n] >= '0' && b->at[at + n] <= '9')
		n++;
	if (!n)
		return;
	const char *s = numbers[rng_next(r) % TG_ARRAY_LEN(numbers)];
	cut(b, at, n);
	insert(b, at, s, strlen(s));
}

static void edit(struct bytes *b, struct rng *r, const struct bytes *other)
{
	static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '[', '{', '\n', '-', ' ' };
	uint8_t chunk[256];
	size_t at = b->n ? rng_next(r) % b->n : 0, n = 1 + rng_next(r) % (rng_chance(r, 80) ? 8 : 200), from;
	switch (b->n ? rng_range(r, 0, 9) : 8) {
	case 0: case 1: b->at[at] ^= (uint8_t)(1u << rng_range(r, 0, 7)); break;
	case 2: b->at[at] = odd[rng_next(r) % sizeof odd]; break;
	case 3: cut(b, at, n); break;
	case 4: case 5: other_number(b, r, at); break;
	case 6: /* a piece again, somewhere else */
		n = n > b->n - at ? b->n - at : n;
		memcpy(chunk, b->at + at, n);
		insert(b, rng_next(r) % b->n, chunk, n);
		break;
	case 7: /* a piece of another seed */
		from = other->n ? rng_next(r) % other->n : 0;
		n = n > other->n - from ? other->n - from : n;
		memcpy(chunk, other->at + from, n);
		insert(b, at, chunk, n);
		break;
	case 8:
		for (size_t i = 0; i < n; i++)
			chunk[i] = (uint8_t)rng_next(r);
		insert(b, at, chunk, n);
		break;
	default:
		if (rng_chance(r, 15))
			b->n = at;
		else
			b->at[at] = (uint8_t)(b->at[at] + rng_range(r, -2, 2));
	}
}

/* ---- the run ---- */

struct shared { volatile uint64_t at; volatile uint32_t n_inputs, n_accepted, n_nomem; };
struct options { size_t kind; uint64_t seed, count; double seconds; const char *keep; char **files; int n_files; };

static void read_seed(const char *path, struct bytes *b)
{
	FILE *f = fopen(path, "rb");
	b->n = f ? fread(b->at, 1, MOST_BYTES, f) : 0;
	if (f)
		fclose(f);
}

static void make_input(const struct options *o, uint64_t number, struct rng *r, struct bytes *b, struct bytes *other)
{
	*r = (struct rng){ number * 0x51ed2701 + o->kind };
	read_seed(o->files[rng_next(r) % (uint64_t)o->n_files], b);
	read_seed(o->files[rng_next(r) % (uint64_t)o->n_files], other);
	for (int64_t n = rng_chance(r, 50) ? 1 : rng_range(r, 0, 5); n > 0; n--)
		edit(b, r, other);
}

static void try_one(const struct options *o, struct rng *r, struct bytes *b, struct shared *sh)
{
	struct tg_heap h;
	tg_heap_init(&h);
	h.limit_bytes = HEAP_LIMIT;
	if (setjmp(h.unwind)) {
		tg_heap_free(&h);
		sh->n_nomem++;
		return;
	}
	struct tg_arena *a = tg_arena_new(&h);
	struct tg_diag d;
	struct input x = { &h, a, &d, r, b->at, b->n };
	tg_diag_init(&d, a);
	bool ok = kinds[o->kind].run(&x);
	if (!ok && d.n_errors == 0)
		abort(); /* a refusal says why */
	sh->n_accepted += ok;
	tg_heap_free(&h);
}

static double now_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void child(const struct options *o, struct shared *sh, double deadline)
{
	struct bytes *b = calloc(2, sizeof *b);
	if (!b)
		_exit(9);
	for (; sh->at < o->seed + o->count && now_seconds() < deadline; sh->at++) {
		struct rng r;
		alarm(CASE_SECONDS);
		make_input(o, sh->at, &r, &b[0], &b[1]);
		sh->n_inputs++;
		try_one(o, &r, &b[0], sh);
	}
	free(b);
	exit(0);
}

static void keep(const struct options *o, uint64_t number)
{
	struct bytes *b = calloc(2, sizeof *b);
	struct rng r;
	if (!b)
		return;
	make_input(o, number, &r, &b[0], &b[1]);
	char path[4096];
	snprintf(path, sizeof path, "%s/%s-%llu", o->keep, kinds[o->kind].name, (unsigned long long)number);
	FILE *f = fopen(path, "wb");
	if (f) {
		fwrite(b[0].at, 1, b[0].n, f);
		fclose(f);
	}
	free(b);
}

static int run_all(const struct options *o)
{
	struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double deadline = now_seconds() + o->seconds;
	int bad = 0;
	if (sh == MAP_FAILED)
		return 1;
	printf("%s: inputs from %llu\n", kinds[o->kind].name, (unsigned long long)o->seed);
	fflush(stdout);
	for (sh->at = o->seed; sh->at < o->seed + o->count && now_seconds() < deadline;) {
		int status = 0;
		pid_t pid = fork();
		if (pid == 0)
			child(o, sh, deadline);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		printf("input %llu ends with %s %d%s\n", (unsigned long long)sh->at, WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
		fflush(stdout);
		if (o->keep)
			keep(o, sh->at);
		bad++;
		sh->at++;
	}
	printf("%u inputs, %u accepted, %u out of memory, %d bad\n", sh->n_inputs, sh->n_accepted, sh->n_nomem, bad);
	return bad != 0 || sh->n_inputs == 0;
}

/* `mutate KIND --one FILE`: one input as it is. */
static int run_file(const struct options *o, const char *path)
{
	static struct bytes b;
	static struct shared sh;
	for (uint64_t seed = 1; seed <= 8; seed++) { /* what the kind draws besides: chips, DMA orders */
		struct rng r = { seed };
		read_seed(path, &b);
		try_one(o, &r, &b, &sh);
	}
	printf("%s\n", sh.n_accepted ? "accepted" : "refused");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = UINT64_C(1) << 40, .seconds = 1e9 };
	while (argc > 1 && o.kind < TG_ARRAY_LEN(kinds) && strcmp(kinds[o.kind].name, argv[1]) != 0)
		o.kind++;
	int i = 2;
	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			o.seed = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--count"))
			o.count = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--seconds"))
			o.seconds = strtod(argv[i + 1], NULL);
		else if (!strcmp(argv[i], "--keep"))
			o.keep = argv[i + 1];
		else if (!strcmp(argv[i], "--one") && o.kind < TG_ARRAY_LEN(kinds))
			return run_file(&o, argv[i + 1]);
	}
	o.files = argv + i;
	o.n_files = argc - i;
	if (argc < 3 || o.kind == TG_ARRAY_LEN(kinds) || o.n_files < 1) {
		fprintf(stderr, "usage: mutate onnx|tir|yaml|tgs|tgx|npy [--seed S] [--count N] [--seconds T] [--keep DIR] SEED_FILE... | --one FILE\n");
		return 2;
	}
	return run_all(&o);
}
