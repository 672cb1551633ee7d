/* runtime.h: an executable's whole run: chip steps on the simulator, host steps through the evaluator. */
#ifndef TG_RUNTIME_H
#define TG_RUNTIME_H

#include "ir.h"
#include "sim.h"

struct tg_session {
	struct tg_arena *arena;
	const struct tg_exe *exe;
	struct tg_sim *sim;
};
void tg_session_open(struct tg_session *s, struct tg_arena *a, const struct tg_exe *x, const struct tg_sim_options *o);
void tg_session_close(struct tg_session *s);
/* inputs: one for each of exe->inputs, in order, of its type and shape. outputs: allocated in `a`, one for each of exe->outputs. */
bool tg_session_run(struct tg_session *s, struct tg_diag *d, struct tg_arena *a, const struct tg_tensor *inputs, struct tg_tensor *outputs);

#endif
