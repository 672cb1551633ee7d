/* alloc_fail.c: each allocation fails in turn, over compiling, writing, reading and running a model: the status is TG_ERR_NOMEM each time, and nothing is lost:
 * no memory (the leak checker of the dev build sees to it), no mapping, no open file.
 *
 *   alloc_fail MODEL...       what does not exist is left out; 77 when nothing is left */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib.h"

enum { MOST_RUNS = 300 }; /* beyond, every k-th */

static uint32_t open_files(void)
{
	uint32_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Mappings of files, and anonymous ones as large as a simulator's DRAM: malloc's own come and go. */
static uint32_t mappings(const char *model)
{
	char line[4096];
	uint32_t n = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof line, f)) {
		unsigned long long from = 0, to = 0;
		bool anonymous = sscanf(line, "%llx-%llx %*s %*s %*s %*u %*[^\n]", &from, &to) == 2 && !strchr(line, '/') && !strchr(line, '[');
		n += strstr(line, model) != NULL || (anonymous && to - from == UINT64_C(1) << 34);
	}
	if (f)
		fclose(f);
	return n;
}

static bool run(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x)
{
	struct tg_session s;
	struct tg_tensor *in = tg_alloc_n(a, x->inputs.n + 1, sizeof *in), *out = tg_alloc_n(a, x->outputs.n + 1, sizeof *out);
	for (size_t i = 0; i < x->inputs.n; i++)
		if (!tg_tensor_alloc(d, a, (enum tg_dtype)x->inputs.at[i].dtype, &x->inputs.at[i].shape, &in[i]))
			return false;
	tg_session_open(&s, a, x, &(struct tg_sim_options){ .dma = TG_DMA_EARLY });
	bool ok = tg_session_run(&s, d, a, in, out);
	tg_session_close(&s);
	return ok;
}

static bool whole_path(struct tg_diag *d, struct tg_arena *a, const char *model)
{
	struct tg_compiled c;
	struct tg_exe again;
	uint8_t *bytes;
	size_t n;
	if (!tg_compile_file(d, a, model, &(struct tg_compile_options){ 0 }, &c) || !tg_exe_bytes(d, a, &c.exe, &bytes, &n))
		return false;
	struct tg_file f = { .at = bytes, .n = n, .path = "model.tgx" };
	return tg_exe_read(d, a, &f, &again) && tg_exe_verify(d, a, &again) && run(d, a, &again);
}

/* One attempt whose allocation number fail_at fails: a chunk from malloc, or a piece of one. *n: how many it asked for. */
static enum tg_status attempt(const char *model, bool pieces, uint64_t fail_at, uint64_t *n)
{
	struct tg_heap h;
	struct tg_diag d;
	tg_heap_init(&h);
	*(pieces ? &h.fail_request : &h.fail_at) = fail_at;
	if (setjmp(h.unwind)) {
		tg_heap_free(&h);
		return TG_ERR_NOMEM;
	}
	struct tg_arena *a = tg_arena_new(&h);
	tg_diag_init(&d, a);
	bool ok = whole_path(&d, a, model);
	for (size_t i = 0; i < d.list.n && !ok; i++)
		printf("%s\n", d.list.at[i].text);
	enum tg_status s = ok ? TG_OK : d.status ? d.status : TG_ERR_INTERNAL;
	*n = pieces ? h.n_requests : h.n_allocs;
	tg_heap_free(&h);
	return s;
}

static bool test_model(const char *model, bool pieces)
{
	uint64_t n = 0, left;
	if (attempt(model, pieces, 0, &n) != TG_OK) {
		printf("%s: does not run\n", model);
		return false;
	}
	uint32_t files = open_files(), maps = mappings(model);
	uint64_t step = n / MOST_RUNS + 1, runs = 0;
	for (uint64_t at = 1; at <= n; at += step, runs++) {
		enum tg_status s = attempt(model, pieces, at, &left);
		if (s != TG_ERR_NOMEM || open_files() != files || mappings(model) != maps) {
			printf("%s: allocation %llu of %llu: status %d, expected %d; %u open files, expected %u; %u mappings, expected %u\n", model,
			       (unsigned long long)at, (unsigned long long)n, (int)s, (int)TG_ERR_NOMEM, open_files(), files, mappings(model), maps);
			return false;
		}
	}
	printf("%s: %llu allocations%s, %llu failed in turn\n", model, (unsigned long long)n, pieces ? " from arenas" : "", (unsigned long long)runs);
	return true;
}

int main(int argc, char **argv)
{
	int n = 0, bad = 0;
	for (int i = 1; i < argc; i++) {
		if (access(argv[i], R_OK) != 0)
			continue;
		n++;
		bad += !test_model(argv[i], false) || !test_model(argv[i], true);
	}
	return bad ? 1 : n ? 0 : 77;
}
