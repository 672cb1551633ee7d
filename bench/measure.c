/* measure.c: see measure.h. The compiler runs as a process of its own, so that its time and memory are its own. */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool failed(struct measured *out, enum tg_status s, const char *why)
{
	out->status = s;
	out->failure = why;
	return false;
}

/* ---- the compiler ---- */

static const char **arguments(struct tg_arena *a, const struct bench *b, const char *model, const char *exe, const char *chip)
{
	TG_VEC(const char *) v = { 0 };
	const char *const fixed[] = { b->tegula, "compile", model, "--chip", chip, "-o", exe };
	for (size_t i = 0; i < TG_ARRAY_LEN(fixed); i++)
		*TG_PUSH(a, &v) = fixed[i];
	if (strcmp(b->precision, "f32") != 0) {
		*TG_PUSH(a, &v) = "--precision";
		*TG_PUSH(a, &v) = b->precision;
	}
	char *flags = tg_strdup(a, b->flags ? b->flags : ""), *rest = NULL;
	for (char *f = strtok_r(flags, " ", &rest); f; f = strtok_r(NULL, " ", &rest))
		*TG_PUSH(a, &v) = f;
	*TG_PUSH(a, &v) = NULL;
	return v.at;
}

static bool compile(struct tg_diag *d, struct tg_arena *a, const struct bench *b, const char *model, const char *exe, const char *chip, struct measured *out)
{
	const char **argv = arguments(a, b, model, exe, chip);
	struct rusage used;
	int status;
	double start = now();
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		execv(b->tegula, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &used) < 0)
		return tg_io_error(d, tg_at_file(b->tegula), "cannot be run: %s", strerror(errno));
	out->compile_s = now() - start;
	out->compile_mib = (double)used.ru_maxrss / 1024;
	if (!WIFEXITED(status))
		return failed(out, TG_ERR_INTERNAL, tg_asprintf(a, "the compiler died of signal %d", WTERMSIG(status)));
	if (WEXITSTATUS(status) != 0)
		return failed(out, (enum tg_status)WEXITSTATUS(status), tg_asprintf(a, "the compiler ended with status %d", WEXITSTATUS(status)));
	return true;
}

/* ---- the run ---- */

/* The data set's tensors, in the executable's order. */
static bool fill_inputs(struct tg_diag *d, struct tg_arena *a, const struct net *n, const struct tg_exe *x, struct tg_tensor *in)
{
	for (size_t i = 0; i < x->inputs.n; i++) {
		const struct net_tensor *t = n->inputs.at;
		const struct net_tensor *end = t + n->inputs.n;
		int64_t count = 0;
		while (t < end && strcmp(t->name, x->inputs.at[i].name) != 0)
			t++;
		if (t == end)
			return tg_internal(d, TG_NOWHERE, "the executable has an input '%s' that the network has not", x->inputs.at[i].name);
		if (!tg_tensor_alloc(d, a, t->dtype, &t->shape, &in[i]))
			return false;
		tg_shape_count(&t->shape, &count);
		net_fill(n, t, 0, count, in[i].data);
	}
	return true;
}

static bool verify(struct tg_diag *d, struct tg_arena *a, const struct bench *b, struct net *n, const char *model, const struct tg_tensor *in,
		   const struct tg_tensor *have, struct measured *out)
{
	bool product = n->weights.n == 1 && n->macs == (uint64_t)(n->o.m * n->o.k * n->o.n) && n->o.weights == TG_f32;
	if (product && n->macs > 1000000000) {
		out->by = BY_FREIVALDS;
		return by_freivalds(d, a, n, &in[0], &have[0], &out->nrmse);
	}
	if ((double)n->macs > b->max_gmacs * 1e9)
		return true;
	out->by = BY_EVALUATOR;
	return by_evaluator(d, a, model, in, have, &out->nrmse);
}

static bool execute(struct tg_diag *d, struct tg_arena *a, const struct bench *b, struct net *n, const char *model, const char *exe, struct measured *out)
{
	struct tg_file f;
	struct tg_exe x;
	struct tg_session s;
	if (!tg_file_map(d, a, exe, SIZE_MAX / 4, &f) || !tg_exe_read(d, a, &f, &x))
		return failed(out, d->status, "the executable cannot be read");
	struct tg_tensor *in = tg_alloc_n(a, x.inputs.n + 1, sizeof *in), *have = tg_alloc_n(a, x.outputs.n + 1, sizeof *have);
	if (!fill_inputs(d, a, n, &x, in))
		return failed(out, d->status, "the inputs do not fit");
	double start = now();
	tg_session_open(&s, a, &x, &(struct tg_sim_options){ .dma = TG_DMA_EARLY });
	bool ok = tg_session_run(&s, d, a, in, have);
	out->sim_s = now() - start;
	out->counters = *tg_sim_counters(s.sim);
	tg_session_close(&s);
	if (!ok)
		return failed(out, d->status, "the simulator refused it");
	return verify(d, a, b, n, model, in, have, out) || failed(out, d->status, "the reference failed");
}

/* max(MACs / array MACs per cycle, (weights at the compiled precision + inputs + outputs in their own types) / DRAM bytes per cycle) */
static bool bound(struct tg_diag *d, struct tg_arena *a, const struct bench *b, const struct net *n, const char *chip, struct measured *out)
{
	struct tg_chip c;
	if (!tg_chip_load(d, a, chip, &c))
		return failed(out, d->status, "no such chip");
	double per_cycle = c.rate_num[b->type] ? (double)c.n_arrays * c.array_rows * c.array_cols * c.rate_num[b->type] / c.rate_den[b->type] : 0;
	out->macs = n->macs;
	out->min_bytes = n->weight_elems * b->weight_bytes + n->io_bytes;
	out->array_cycles = per_cycle > 0 ? (uint64_t)((double)n->macs / per_cycle) : 0;
	out->dram_cycles = out->min_bytes / c.dram_bytes_per_cycle;
	out->bound_cycles = out->array_cycles > out->dram_cycles ? out->array_cycles : out->dram_cycles;
	return true;
}

bool measure(struct tg_diag *d, struct tg_arena *a, const struct bench *b, const struct entry *e, const char *chip, struct measured *out)
{
	struct stat st;
	*out = (struct measured){ 0 };
	struct net *n = network_build(a, e->network, &e->options);
	if (!n)
		return failed(out, TG_ERR_USAGE, "no such network");
	const char *model = tg_asprintf(a, "%s/%s-%lld-%lld-%lld-%lld.onnx", b->work, e->network, (long long)n->o.batch, (long long)n->o.seq,
					(long long)n->o.cache, (long long)n->o.m);
	const char *exe = tg_asprintf(a, "%s.%ld.tgx", model, (long)getpid());
	if (!bound(d, a, b, n, chip, out))
		return false;
	if (access(model, R_OK) != 0 && !net_write(d, n, model))
		return failed(out, d->status, "the model cannot be written");
	out->model_bytes = stat(model, &st) == 0 ? (uint64_t)st.st_size : 0;
	bool ok = compile(d, a, b, model, exe, chip, out) && execute(d, a, b, n, model, exe, out);
	unlink(exe);
	if (!b->keep)
		unlink(model);
	out->efficiency = ok && out->counters.cycles ? (double)out->bound_cycles / (double)out->counters.cycles : 0;
	return ok;
}
