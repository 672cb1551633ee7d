/* stream.h: the transfers that the kernel's loop starts and waits for itself. stream.c has the picture. */
#ifndef TG_STREAM_H
#define TG_STREAM_H

#include "walker.h"

enum { MAX_FACTORS = 2, MAX_STREAM_PARTS = 8, MAX_STREAM_QUEUES = 4 };
/* Slots of the frame behind SLOT_STREAM: by queue, the number of the tile's chunk 0; chunks that may be started. SLOT_PLACE and SLOT_NEXT_PLACE of a factor
 * tell where chunk 0 would have to lie for chunk c of the tile to start what lies c chunks further on: in this tile, in the next one. */
enum { STREAM_NUMBER = 0, STREAM_LIMIT = STREAM_NUMBER + MAX_STREAM_QUEUES, STREAM_SLOTS };

struct stream_part { uint32_t queue; int64_t desc, sram, dram; }; /* address of the descriptor; bytes from part 0 to this one */
struct stream_factor {
	uint32_t operand, n_parts;
	struct stream_part part[MAX_STREAM_PARTS];
	int64_t step; /* bytes from one chunk to the next where they come from */
};
struct stream {
	int64_t chunks;
	uint32_t n, n_queues;
	struct stream_factor factor[MAX_FACTORS];
	int64_t starts[MAX_STREAM_QUEUES];      /* transfers of a chunk on each queue */
};

/* Of the `own` queues, how many a plan's stream has for itself; 0: there is none. */
uint32_t stream_queues(const struct plan *p, uint32_t own);

#endif
