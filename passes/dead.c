/* dead.c: drop ops whose results nothing reads: `prune` before fusion, which counts readers, `clean` behind it. In and out: any tile module. Last users come after their operands, so one walk from the end is
 * enough. */
#include "passes.h"

bool pass_prune(struct tg_pass *cx, struct tg_module *m);
bool pass_clean(struct tg_pass *cx, struct tg_module *m);

static void drop_dead(struct tg_pass *cx, struct tg_module *m)
{
	bool *read = tg_alloc_n(cx->scratch, m->values.n, sizeof *read);
	for (size_t i = 0; i < m->outputs.n; i++)
		read[m->outputs.at[i].value.id] = true;
	for (struct tg_op *op = m->body.last, *prev; op; op = prev) {
		prev = op->prev;
		bool used = false;
		for (uint32_t i = 0; i < op->n_out; i++)
			used |= read[op->out[i].id];
		if (!used) {
			tg_op_remove(op);
			continue;
		}
		for (uint32_t i = 0; i < op->n_in; i++)
			read[op->in[i].id] = true;
	}
}

bool pass_prune(struct tg_pass *cx, struct tg_module *m)
{
	drop_dead(cx, m);
	return true;
}

bool pass_clean(struct tg_pass *cx, struct tg_module *m)
{
	drop_dead(cx, m);
	return true;
}
