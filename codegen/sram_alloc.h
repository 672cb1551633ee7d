/* sram_alloc.h: offsets for buffers with lifetimes, in a memory of given size: dynamic storage allocation. Knows nothing of the IR.
 *
 * Two buffers whose lifetimes [lower, upper) meet must not share a byte. A fast heuristic (near-linear) comes first; when it does not fit, an exact
 * search with pruning takes over. Anytime and deterministic: effort is counted in search nodes, never in time. */
#ifndef TG_SRAM_ALLOC_H
#define TG_SRAM_ALLOC_H

#include "base.h"

struct tg_sram_item {
	int64_t lower, upper; /* alive in [lower, upper), lower < upper */
	int64_t size;         /* bytes, at least 0 */
	int64_t alignment;    /* of the offset, at least 1 */
	int64_t offset;       /* out */
};
struct tg_sram_options {
	int64_t capacity;
	uint64_t max_nodes; /* of the search; 0: the heuristic only */
	bool minimize;      /* go on below the capacity until the peak is proven least or the nodes are used up */
};
enum tg_sram_result {
	TG_SRAM_FITS,
	TG_SRAM_IMPOSSIBLE, /* proven: no placement exists */
	TG_SRAM_UNKNOWN,    /* none found with these nodes; the offsets are the heuristic's, beyond the capacity */
};
struct tg_sram_stats {
	int64_t peak;        /* largest offset + size of the offsets given */
	int64_t lower_bound; /* most bytes alive at one time: no placement has a lower peak */
	int64_t at;          /* a time at which they are */
	uint64_t nodes;      /* visited */
	bool least;          /* the peak is proven least (only with `minimize`, or when it equals the lower bound) */
};
/* Sizes, offsets and their sums must stay below 2^62 (the caller checks what comes from outside: tg_sram_items_valid). */
enum tg_sram_result tg_sram_alloc(struct tg_arena *a, struct tg_sram_item *items, size_t n, const struct tg_sram_options *o, struct tg_sram_stats *stats);
/* NULL, or what is wrong with the first bad item, whose index is *at. */
const char *tg_sram_items_valid(const struct tg_sram_item *items, size_t n, size_t *at);

#endif
