/* sram_int.h: what the files of the SRAM allocator share. */
#ifndef TG_SRAM_INT_H
#define TG_SRAM_INT_H

#include "sram_alloc.h"

/* Buffers that are connected in time: [lower, upper) has become the sections [first, end) between consecutive ends of lifetimes. */
struct sram_part {
	struct tg_arena *arena;
	uint32_t n, n_sections;
	const uint32_t *first, *end;  /* of each buffer */
	const int64_t *size, *align;
	int64_t *offset;              /* out */
	int64_t *total;               /* bytes alive in each section */
	int64_t lower_bound;          /* largest of them */
	uint64_t n_pairs;             /* pairs of buffers that meet */
	uint32_t *row, *neighbour;    /* neighbours of i: neighbour[row[i] .. row[i + 1]); NULL when there are too many pairs */
	int64_t *contention;          /* of each buffer: largest total of its sections */
};
#define SRAM_MAX_PAIRS (UINT64_C(1) << 22)

static inline int64_t sram_align(int64_t at, int64_t alignment)
{
	return alignment <= 1 ? at : (at + alignment - 1) / alignment * alignment;
}

/* sram_heuristic.c: offsets by best fit under several priorities; the best peak. */
int64_t sram_heuristic(struct sram_part *p, int64_t capacity);
/* sram_search.c: exact. Offsets of a placement whose peak is at most `capacity`, or proof that there is none, or the nodes are used up. */
enum tg_sram_result sram_search(struct sram_part *p, int64_t capacity, uint64_t max_nodes, uint64_t *nodes);
/* The buffers by one of several static orders, most important first; false: no such order. */
bool sram_order(const struct sram_part *p, uint32_t which, uint32_t *order);

#endif
