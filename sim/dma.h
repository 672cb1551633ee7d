/* dma.h: what the files of the DMA engine share: start and wait (sim_dma.c), hazards (sim_hazard.c), data (sim_move.c). Private to sim/. */
#ifndef TG_SIM_DMA_H
#define TG_SIM_DMA_H

#include "sim_int.h"

static inline bool in_dram(int64_t at)
{
	return at >= TG_DRAM_BASE;
}
static inline bool meet(int64_t a, int64_t a_end, int64_t b, int64_t b_end)
{
	return a < b_end && b < a_end;
}
/* The indices of a gather or scatter, or NULL. */
static inline const uint8_t *list_of(const struct tg_sim *s, const struct tg_dma_plan *p)
{
	return p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER ? s->core.mem.at + p->list_addr : NULL;
}

/* sim_hazard.c: a transfer with its plan goes under way: NULL, or why it must not; and retires. Its cost is asked for between the two halves of the start. */
const char *hazard_prepare(struct tg_sim *s, struct transfer *x);
const char *hazard_enter(struct tg_sim *s, struct transfer *x);
void hazard_leave(struct tg_sim *s, const struct transfer *x);

/* sim_move.c: moves the bytes, once. */
void dma_move(struct tg_sim *s, struct transfer *x);

#endif
