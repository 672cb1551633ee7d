/* stream.h: the transfers that the kernel's loop starts and waits for itself. stream.c has the picture. */
#ifndef TG_STREAM_H
#define TG_STREAM_H

#include "walker.h"

#define RESULT_MEM (UINT32_MAX - 1) /* slots that the loop only writes: the numbers of the last results that left */
enum { MAX_FACTORS = 2, MAX_STREAM_PARTS = 8, MAX_STREAM_QUEUES = 4 };
/* Slots of the frame behind SLOT_STREAM: by queue, the number of the tile's chunk 0; chunks that may be started. SLOT_PLACE and SLOT_NEXT_PLACE of a factor
 * say where chunk 1 lies, so that what is started in chunk c lies c chunks behind it: in this tile; in the next one, when c is the last. */
enum { STREAM_NUMBER = 0, STREAM_LIMIT = STREAM_NUMBER + MAX_STREAM_QUEUES, STREAM_SLOTS };

struct stream_part { uint32_t queue; int64_t desc, sram; }; /* address of the descriptor, which knows where the part lies; bytes from part 0 to this one in SRAM */
struct stream_move { uint32_t operand, n_parts; struct stream_part part[MAX_STREAM_PARTS]; };
/* A factor's chunks, and the first of all, which may come in pieces as the loop wants them: blocks of rows, blocks of columns. */
struct stream_factor {
	struct stream_move chunk, piece;
	int64_t step;   /* bytes from one chunk to the next where they come from */
	int64_t pieces; /* 0: chunk 0 is complete before the loop */
	bool piece_by_row; /* parts of a piece are waited for one by one, as their rows are pushed */
	int64_t piece_sram, piece_dram; /* bytes from one piece to the next */
};
/* How the kernel takes the rows. */
struct row_blocks { int64_t rows, blocks, groups; bool apart; /* results are finished behind the loop */ };
struct stream {
	int64_t chunks;
	uint32_t n, n_queues;
	struct stream_factor factor[MAX_FACTORS];
	int64_t starts[MAX_STREAM_QUEUES];      /* transfers of a chunk on each queue */
	struct row_blocks rows;
	/* Results leave block by block. SLOT_NEXT_PLACE of the result tells how far it is from where a tile lies to where it goes. */
	uint32_t results, result_queues;        /* transfers of a block, on so many queues in turn; 0: they leave when their tile is done */
	struct stream_move result;
	int64_t result_rows, result_cols;       /* bytes by which a block of rows, or columns, lies further from the one before there than here */
};

/* Of the `own` queues, how many a plan's stream has for itself; 0: there is none. */
uint32_t stream_queues(const struct plan *p, uint32_t own);

#endif
