/* tool.h: what the verbs of the tegula program share: options by table, messages, reports, exit statuses. */
#ifndef TG_TOOL_H
#define TG_TOOL_H

#include <jansson.h>

#include "lib.h"

struct option_row {
	const char *name; /* "--name" */
	const char *arg;  /* what follows, NULL: a flag */
	const char *doc;
};
struct given { const char *name, *value; };
struct verb;
struct tool {
	struct tg_heap *heap;
	struct tg_arena *arena;
	struct tg_diag diag;
	const struct verb *verb;
	TG_VEC(struct given) given;
	TG_VEC(const char *) args; /* what is not an option */
	json_t *report;            /* of --json; verbs add to it */
};
struct verb {
	const char *name, *args, *doc;
	const struct option_row *options; /* ends with a NULL name */
	enum tg_status (*run)(struct tool *t);
	int min_args, max_args; /* max -1: any number */
};
extern const struct verb tg_verbs[]; /* ends with a NULL name */
/* Option i of a verb: its own rows, then --no-PASS for each optional pass where the verb runs them; NULL behind the last. */
const struct option_row *verb_option(const struct verb *v, size_t i);

const char *option(const struct tool *t, const char *name); /* the last one given, or NULL */
bool flag(const struct tool *t, const char *name);
/* A number option; false and a usage error when it is not one in [lo, hi]. Absent: *out stays. */
bool option_number(struct tool *t, const char *name, int64_t lo, int64_t hi, int64_t *out);
bool parse_number(const char *s, int64_t lo, int64_t hi, int64_t *out);
/* The status to exit with: of the first error, else `ok`. */
enum tg_status status_of(const struct tool *t, enum tg_status ok);
void print_messages(const struct tg_diag *d);

/* Options of every verb that compiles, and what they say. */
#define PRECISION_OPTIONS                                                                                                                  \
	{ "precision", "f32|bf16|f16|mixed", "type of matrix inputs; sums and all else are f32 (default f32); mixed: bf16 but for --keep-f32" },   \
	{ "keep-f32", "NODE,...", "ONNX nodes whose matrix inputs stay f32" }
#define COMPILE_OPTIONS                                                                                                                    \
	{ "chip", "NAME|FILE", "chip to compile for (default t1); `tegula chips` lists them" },                                             \
	{ "dim", "NAME=N", "value of a symbolic dimension; INPUT:AXIS=N for an unnamed one, '*=N' for all others" },                        \
	{ "bind", "INPUT=FILE", "value of an input that decides a shape or an axis (.npy, .pb)" },                                          \
	PRECISION_OPTIONS,                                                                                                                  \
	{ "no-host", NULL, "refuse a model of which a part would run on the host" },                                                        \
	{ "skip", "PASS,...", "leave passes out (ablation)" },                                                                              \
	{ "unroll", "N", "most copies of an inner body (default 8)" },                                                                      \
	{ "window", "N", "how far the scheduler looks ahead, in operations (default 256)" },                                                  \
	{ "no-pipelines", NULL, "inner loops are not overlapped with themselves" },                                                           \
	{ "no-margins", NULL, "what a window reads outside of a tensor is never kept beside it in SRAM" },                                        \
	{ "no-residency", NULL, "every tensor between two stages goes through DRAM" },                                                        \
	{ "chunks", "auto|never|always", "products take the contracted dimension in chunks (default auto: where it is cheaper)" }
/* Options of every verb that simulates. */
#define SIM_OPTIONS                                                                                                                        \
	{ "dma", "early|late|random:SEED", "when transfers complete (default early)" },                                                     \
	{ "engine", "interp|jit", "interpret, or translate to host code (default jit where LLVM is there); results are the same" },        \
	{ "threads", "N", "host threads of a simulation (default 1); results are the same" },                                              \
	{ "cache-dir", "DIR", "where translated code is kept for the next run (default nowhere)" }
#define COMMON_OPTIONS                                                                                                                     \
	{ "json", "FILE", "write one report, whole or not at all" }, { "help", NULL, "this text" }, { NULL, NULL, NULL }
bool compile_options(struct tool *t, struct tg_compile_options *o);

/* Adds to the report: counters of a run, messages. */
json_t *json_counters(const struct tg_counters *c);
json_t *json_shape(const struct tg_shape *s);
void put(json_t *object, const char *key, json_t *value); /* steals value; running out of memory unwinds */

enum tg_status run_compile(struct tool *t);
enum tg_status run_run(struct tool *t);
enum tg_status run_check(struct tool *t);
enum tg_status run_test(struct tool *t);
enum tg_status run_info(struct tool *t);
enum tg_status run_chips(struct tool *t);
enum tg_status run_opt(struct tool *t);
enum tg_status run_asm(struct tool *t);
enum tg_status run_disasm(struct tool *t);
enum tg_status run_verify(struct tool *t);
enum tg_status run_alloc(struct tool *t);
enum tg_status run_profile(struct tool *t);

#endif
