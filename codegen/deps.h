/* deps.h: what must wait for what: the dependence graph of a run of operations, and the chip's units as a scheduler sees them.
 *
 * An edge says: `to`, `dist` iterations later, issues at least `delay` bundles after `from`. In a plain block every dist is 0. */
#ifndef TG_DEPS_H
#define TG_DEPS_H

#include "mach.h"

struct edge { uint32_t to, delay, dist; struct edge *next; };
struct item {
	struct mnode *node;
	struct edge *out;
	uint32_t n_preds;  /* edges that end here */
	uint32_t earliest, height;
	bool done;
};
struct block {
	struct tg_arena *a;
	struct mfn *f;
	struct item *items;
	uint32_t n;
	uint32_t acc_reuse;    /* loops: iterations until the same accumulator rows come again, at least 1 */
	uint32_t chunk_trips;  /* loops: iterations from a start of a transfer to the wait for it, at least; 0: not said */
	uint32_t n_local;
	const bool *local;     /* loops, by register below n_local: born and gone within one iteration, so iterations may have copies of their own */
};

/* Edges between the operations first, first->next, ... (n of them); `carried`: also those from one iteration to the next. */
void deps_build(struct block *b, struct mnode *first, uint32_t n, bool carried);

bool op_class_of(uint8_t field_kind, enum vclass *c);
bool op_merges(const struct mop *op, const struct tg_insn_info *info);     /* the destination keeps part of its old value: it is read as well */
bool op_increments(const struct mop *op, const struct tg_insn_info *info); /* a load or store that writes its base */
int64_t op_unit(const struct mop *op);                                     /* array of a push, swap, multiply or read */
uint32_t op_busy(const struct tg_chip *c, const struct mop *op);           /* cycles for which its unit is taken */
/* Bundles from issue until nothing of the operation is under way. */
uint32_t op_settles(const struct tg_chip *c, const struct mop *op);

#endif
