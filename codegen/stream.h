/* stream.h: the transfers that the kernel's loop starts and waits for itself. stream.c has the picture. */
#ifndef TG_STREAM_H
#define TG_STREAM_H

#include "walker.h"

#define RESULT_MEM (UINT32_MAX - 1) /* a slot that the loop only writes: SLOT_NEXT of the contracted dimension, the number of the last result that left */
enum { MAX_FACTORS = 2, MAX_STREAM_PARTS = 8, MAX_STREAM_QUEUES = 4 };
/* Slots of the frame behind SLOT_STREAM: by queue, the number of the tile's chunk 0; chunks that may be started. SLOT_PLACE and SLOT_NEXT_PLACE of a factor
 * tell where chunk 0 would have to lie for chunk c of the tile to start what lies c chunks further on: in this tile, in the next one. */
enum { STREAM_NUMBER = 0, STREAM_LIMIT = STREAM_NUMBER + MAX_STREAM_QUEUES, STREAM_SLOTS };

struct stream_part { uint32_t queue; int64_t desc, sram, dram; }; /* address of the descriptor; bytes from part 0 to this one */
struct stream_move { uint32_t operand, n_parts; struct stream_part part[MAX_STREAM_PARTS]; };
/* A factor's chunks, and the first of all, which may come in pieces as the loop wants them: blocks of rows, blocks of columns. */
struct stream_factor {
	struct stream_move chunk, piece;
	int64_t step;   /* bytes from one chunk to the next where they come from */
	int64_t pieces; /* 0: chunk 0 is complete before the loop */
	int64_t piece_sram, piece_dram; /* bytes from one piece to the next */
};
/* How the kernel takes the rows. */
struct row_blocks { int64_t rows, blocks; bool apart; /* results are finished behind the loop */ };
struct stream {
	int64_t chunks;
	uint32_t n, n_queues;
	struct stream_factor factor[MAX_FACTORS];
	int64_t starts[MAX_STREAM_QUEUES];      /* transfers of a chunk on each queue */
	struct row_blocks rows;
	/* The last tile's results leave block by block. SLOT_NEXT_PLACE of the result tells where the tile goes. */
	bool results;
	struct stream_move result;
	int64_t result_rows, result_cols;       /* bytes from one block of rows, or columns, to the next */
};

/* Of the `own` queues, how many a plan's stream has for itself; 0: there is none. */
uint32_t stream_queues(const struct plan *p, uint32_t own);

#endif
