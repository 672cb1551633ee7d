/* threads.h: host threads that multiply. Private to sim/.
 *
 * A multiply's checks, times and counts are done at once, by the thread that runs the program; its products may come later. The columns are cut into
 * pieces, and of each piece all multiplies are done in order, by whoever has time, the program's thread among them when it has to wait: so every sum is made
 * in the defined order, with the same bits for any number of threads. Who looks at accumulators waits for those rows. Operands are copied, weights are exchanged for fresh ones at a swap. */
#ifndef TG_SIM_THREADS_H
#define TG_SIM_THREADS_H

#include "sim_int.h"

/* Starts options.threads - 1 of them, as many as have columns to work on; s->workers stays NULL when there are none. */
void threads_open(struct tg_sim *s);
void threads_close(struct tg_sim *s);
/* A multiply, or false when it must run here and now (all others are done by then). */
bool threads_multiply(struct tg_sim *s, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add);
/* After a swap. */
void threads_swapped(struct tg_sim *s, const struct tg_insn *in);
/* Waits for rows of an array; for everything. */
void threads_wait_rows(const struct tg_sim *s, const struct tg_insn *in, int64_t first);
void threads_wait(const struct tg_sim *s);

#endif
