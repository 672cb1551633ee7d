/* session.c: inputs into DRAM, the steps in order, outputs out of DRAM. A host step sees DRAM tensors only; what it computes goes back there. */
#include "runtime.h"

#include <string.h>

void tg_session_open(struct tg_session *s, struct tg_arena *a, const struct tg_exe *x, const struct tg_sim_options *o)
{
	*s = (struct tg_session){ a, x, tg_sim_new(a, x, o) };
}

void tg_session_close(struct tg_session *s)
{
	tg_sim_free(s->sim);
	s->sim = NULL;
}

static bool copy_in(struct tg_session *s, struct tg_diag *d, const struct tg_binding *b, const struct tg_tensor *t)
{
	size_t bytes;
	if (t->dtype != b->dtype || !tg_shape_equal(&t->shape, &b->shape) || !tg_shape_bytes(&b->shape, b->dtype, &bytes)) {
		struct tg_buf text;
		tg_buf_init(&text, d->arena);
		tg_buf_printf(&text, "input '%s' is %s ", tg_quoted(d->arena, b->name), tg_dtypes[t->dtype].name);
		tg_shape_print(&text, &t->shape);
		tg_buf_printf(&text, ", the executable expects %s ", tg_dtypes[b->dtype].name);
		tg_shape_print(&text, &b->shape);
		return tg_usage(d, TG_NOWHERE, "%s", text.at);
	}
	if (bytes)
		memcpy(tg_sim_dram(s->sim, b->dram, bytes, true), t->data, bytes);
	return true;
}

static bool copy_out(struct tg_session *s, struct tg_diag *d, struct tg_arena *a, const struct tg_binding *b, struct tg_tensor *t)
{
	size_t bytes;
	if (!tg_tensor_alloc(d, a, (enum tg_dtype)b->dtype, &b->shape, t) || !tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &bytes))
		return false;
	if (bytes)
		memcpy(t->data, tg_sim_dram(s->sim, b->dram, bytes, false), bytes);
	return true;
}

static bool host_step(struct tg_session *s, struct tg_diag *d, const struct tg_step *step)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(s->arena));
	bool ok = false;
	struct tg_module *m = tg_module_parse(d, scratch, "host step", step->text, strlen(step->text));
	uint32_t n_out = step->n_args - step->n_in;
	if (m && m->inputs.n == step->n_in && m->outputs.n == n_out) {
		struct tg_tensor *in = tg_alloc_n(scratch, step->n_in + 1, sizeof *in), *out = tg_alloc_n(scratch, n_out + 1, sizeof *out);
		ok = true;
		for (uint32_t i = 0; i < step->n_in && ok; i++)
			ok = copy_out(s, d, scratch, &step->args[i], &in[i]);
		ok = ok && tg_eval_module(d, scratch, m, in, out, NULL, NULL);
		for (uint32_t i = 0; i < n_out && ok; i++)
			ok = copy_in(s, d, &step->args[step->n_in + i], &out[i]);
	} else if (m) {
		tg_error(d, TG_NOWHERE, "a host step has %zu inputs and %zu outputs, its arguments say %u and %u", m->inputs.n, m->outputs.n, step->n_in, n_out);
	}
	tg_arena_free(scratch);
	return ok;
}

bool tg_session_run(struct tg_session *s, struct tg_diag *d, struct tg_arena *a, const struct tg_tensor *inputs, struct tg_tensor *outputs)
{
	for (size_t i = 0; i < s->exe->inputs.n; i++)
		if (!copy_in(s, d, &s->exe->inputs.at[i], &inputs[i]))
			return false;
	for (size_t i = 0; i < s->exe->steps.n; i++) {
		const struct tg_step *step = &s->exe->steps.at[i];
		if (step->on_host ? !host_step(s, d, step) : !tg_sim_run(s->sim, d, step->entry_word))
			return false;
	}
	for (size_t i = 0; i < s->exe->outputs.n; i++)
		if (!copy_out(s, d, a, &s->exe->outputs.at[i], &outputs[i]))
			return false;
	return true;
}
