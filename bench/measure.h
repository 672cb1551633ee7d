/* measure.h: one network on one chip: written, compiled by the program, simulated, verified. */
#ifndef TG_BENCH_MEASURE_H
#define TG_BENCH_MEASURE_H

#include "lib.h"
#include "net.h"

struct entry {
	const char *label, *network;
	struct net_options options;
	double goal;          /* of efficiency on t1; 0: none */
	uint64_t goal_cycles; /* at most, on t1; 0: none */
};
struct bench {
	const char *tegula, *work; /* the program; a folder for models and executables */
	const char *precision;     /* "f32", "bf16", "f16" */
	const char *flags;         /* further options of `tegula compile`, blank-separated; NULL: none */
	enum tg_array_type type;
	uint32_t weight_bytes;
	double max_gmacs;          /* products above are checked by sampling, everything else above is not verified */
	bool keep;                 /* the files stay */
};
enum verification { BY_NOTHING, BY_EVALUATOR, BY_FREIVALDS };
struct measured {
	enum tg_status status;  /* of the compiler, then of the run */
	const char *failure;    /* NULL: none */
	struct tg_counters counters;
	uint64_t macs, min_bytes, bound_cycles, array_cycles, dram_cycles;
	double efficiency, nrmse, compile_s, compile_mib, sim_s;
	uint64_t model_bytes;
	enum verification by;
};
/* False: something failed; out->failure says what, messages are in d. */
bool measure(struct tg_diag *d, struct tg_arena *a, const struct bench *b, const struct entry *e, const char *chip, struct measured *out);

/* ---- verify.c ---- */
/* Outputs against the evaluator's of the model as imported, in f32: the largest NRMSE of any output. */
bool by_evaluator(struct tg_diag *d, struct tg_arena *a, const char *model, const struct tg_tensor *inputs, const struct tg_tensor *have, double *nrmse);
/* y = x w: Freivalds' check (y r = x (w r) for random signs r) and 4,096 sampled elements, in double: the larger NRMSE; infinite when one row stands out. */
bool by_freivalds(struct tg_diag *d, struct tg_arena *a, const struct net *n, const struct tg_tensor *x, const struct tg_tensor *y, double *nrmse);

#endif
