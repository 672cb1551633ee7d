/* case.h: one model with given inputs: compile for their shapes, run, compare. */
#ifndef TG_CASE_H
#define TG_CASE_H

#include "tensor_files.h"
#include "tool.h"

struct case_run {
	struct tg_compiled compiled;
	struct tg_session session;
	struct tg_tensor *inputs, *outputs; /* in the executable's order */
};
/* run.c: the tensors of --data and --input; FILE.tgx read, or a model compiled for these inputs. */
bool case_inputs(struct tool *t, struct tg_tensor_list *out);
bool case_load(struct tool *t, const struct tg_tensor_list *inputs, struct case_run *r);
bool sim_options(struct tool *t, struct tg_sim_options *o);
/* The model's inputs from a list (by name, else position); false when one is missing or superfluous types differ. */
bool case_compile(struct tool *t, const char *model, const struct tg_compile_options *o, const struct tg_tensor_list *inputs, struct case_run *r);
/* True for a narrow --precision; the tolerance is then the normalised error that the mode allows, unless it was larger. */
bool narrow_tolerance(const struct tg_compile_options *o, struct tg_tolerance *tol);
/* Inputs that nobody gave are drawn from `seed`. */
bool case_execute(struct tool *t, const struct tg_sim_options *s, const struct tg_tensor_list *inputs, uint64_t seed, struct case_run *r);
/* Compares every expected output; *ok: all within tolerance. Appends a line for each that is not to `why`. */
bool case_compare(struct tool *t, const struct case_run *r, const struct tg_tensor_list *want, const struct tg_tolerance *tol, bool *ok, struct tg_buf *why, json_t *rows);

/* image.c: the PNG as that input. */
bool image_input(struct tool *t, const struct tg_binding *b, const char *path, struct tg_tensor *out);
json_t *comparison_row(const char *name, const struct tg_comparison *c);

#endif
