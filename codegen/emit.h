/* emit.h: what the loop over tiles (emit_stage.c) and its transfers (transfer.c) share: the stage at hand and its frame in SRAM.
 *
 * The frame holds what must survive the kernel, which has the registers: the tile's start, the places in use, the numbers of the transfers. Its first rows
 * survive the stage as well: SLOT_HANDED, the numbers of transfers that a stage starts for later ones, a row for each of those in turn; SLOT_PART, where the part
 * at hand of a run of stages begins in each of their shared loops, SLOT_NEXT_PART, the same of the next part, SLOT_LAST_PART, 1 when there is none. */
#ifndef TG_EMIT_H
#define TG_EMIT_H

#include "kernel.h"
#include "stream.h"

enum { MAX_QUEUES = 8, MAX_TRANSFER_PARTS = 8 }; /* of a chip's queues so many are used; a transfer is cut into so many */
enum { MAX_FLUSHES = 7 }; /* copies of tensors to DRAM that may be under way */
enum { HANDED_ROWS = 15 }; /* a stage may fetch for so many stages behind it, less one */
enum { FRAME_MEM = 1 };
_Static_assert(FRAME_MEM < 2, "operands' buffers are numbered from 2");
/* Rows of the frame, each of so many slots of 8 bytes. */
enum { SLOT_HANDED = 0, SLOT_FLUSHED = SLOT_HANDED + HANDED_ROWS * MAX_QUEUES, SLOT_PART = SLOT_FLUSHED + MAX_FLUSHES, SLOT_NEXT_PART = SLOT_PART + MAX_SHARED, SLOT_LAST_PART = SLOT_NEXT_PART + MAX_SHARED, SLOT_NOW, SLOT_NEXT = SLOT_NOW + MAX_DIMS, SLOT_PLACE = SLOT_NEXT + MAX_DIMS,
       SLOT_NEXT_PLACE = SLOT_PLACE + MAX_OPERANDS + 1, SLOT_FETCHED = SLOT_NEXT_PLACE + MAX_OPERANDS + 1, SLOT_STORED = SLOT_FETCHED + MAX_QUEUES,
       SLOT_LEFT = SLOT_STORED + 2 * MAX_QUEUES, SLOT_FILLED, SLOT_STREAM, N_SLOTS = SLOT_STREAM + STREAM_SLOTS };
enum { LASTING_BYTES = 8 * SLOT_NOW }; /* of the frame's beginning: they outlive the stage */
enum { SRAM_RESERVED = 8256 }; /* the frame, and behind it the descriptors that are changed at run time */
enum { MOST_COPIES = 2 }; /* descriptors of an operand that are changed at run time */
_Static_assert(8 * N_SLOTS + MOST_COPIES * MAX_OPERANDS * TG_DMA_DESC_BYTES <= SRAM_RESERVED, "the frame is too large");

/* Where the tile's start is found: at the first tile it is 0, else in one of two rows of the frame. */
enum tile_at { AT_FIRST, AT_NOW, AT_NEXT };

/* One dimension of a transfer. */
struct side { int64_t size, sram, dram; const struct comp *comp; uint32_t limit_dim; bool guarded; };
/* An operand's transfer: its sides, outermost first. The first `extra` are loops around the start, the others a descriptor's. It may be cut into
 * parts along one side, each in a queue of its own; the last part may be shorter and then has a descriptor of its own. Along a side with edges every part
 * has one, as the edges lie elsewhere in each. */
struct transfer {
	bool known, dynamic;        /* described; the descriptor is changed for every tile */
	struct side side[MAX_COMPS];
	uint32_t n_sides, extra, n_parts, n_descs, cut;
	int64_t cut_size;           /* entries of side `cut` in all parts but the last */
	int64_t chunk_sram, chunk_dram; /* elements from one chunk to the next */
	struct tg_dma_desc desc[MAX_TRANSFER_PARTS];
	int64_t lo[4], hi[4], move[4][MAX_DIMS];
	bool moves[4];
	bool made, copied;          /* descriptors are in DRAM; copies that may be changed are in SRAM */
	uint32_t number[MAX_TRANSFER_PARTS]; /* of the descriptors */
	uint64_t copy[MAX_TRANSFER_PARTS]; /* SRAM */
	uint32_t queue, n_queues, first; /* the queues it may use, and which of them the first part does */
};
/* The transfers just started: numbers by part. */
struct started { uint32_t n, queue[MAX_TRANSFER_PARTS]; vreg number[MAX_TRANSFER_PARTS]; };

struct emit {
	struct mfn *f;
	struct plan *p;
	struct descriptors *descs;
	struct mcursor at;
	uint32_t n_copies;
	bool tiled[MAX_DIMS];
	enum tile_at where;
	bool next_part; /* of the run: transfers are for that one */
	struct transfer *transfer; /* by operand */
	uint32_t unroll, n_queues;
	struct stream *stream; /* of a stage whose factors come in chunks */
	const char *failed;
};

/* transfer.c */
void emit_begin(struct emit *e, struct mfn *f, struct plan *p, struct descriptors *descs, struct mcursor at);
vreg slot_load(struct mcursor *at, uint32_t slot);                    /* of the frame */
void slot_store(struct mcursor *at, uint32_t slot, vreg v);
vreg frame_load(struct emit *e, uint32_t slot);
void frame_store(struct emit *e, uint32_t slot, vreg v);
vreg coordinate(struct emit *e, uint32_t d);                          /* start of the tile in dimension d */
vreg transfer_dram(struct emit *e, uint32_t operand);                 /* address, in DRAM or where the tensor lives, of the first entry of the tile's image */
vreg affine(struct emit *e, int64_t base, const int64_t *coef);       /* base + sum over tiled dimensions of coordinate * coef[d] */
vreg tile_offset(struct emit *e, const struct operand *o);            /* bytes from the first tile's start to this one's, of a tensor worked on in place */
/* In front of a loop: copies of the descriptors that its transfers will change. */
void prepare_transfer(struct emit *e, uint32_t operand);
/* Starts an operand's transfer for the tile at hand, where `when` is true; `place`: bytes from the operand's first place. */
void start_transfer(struct emit *e, uint32_t operand, vreg place, vreg when, struct started *s);
/* The transfer of the first tile in `chunks` equal pieces, of which each call starts one: number `which`, a register. False when it cannot be cut so. */
bool cut_transfer(struct emit *e, uint32_t operand, int64_t chunks);
void start_chunk(struct emit *e, uint32_t operand, vreg which, vreg when, struct started *s);
/* An operand's transfer as a loop starts it; o: the operand, or a part of it that lies so many bytes behind the addresses that its start is given. False: it
 * differs from tile to tile. */
bool stream_move_of(struct emit *e, uint32_t operand, const struct operand *o, uint32_t most_parts, int64_t sram, int64_t dram, struct stream_move *m);
uint32_t first_queue(const struct emit *e, uint32_t operand);
uint64_t transfer_queues(struct emit *e, uint32_t operand);           /* a bit for each queue that it uses */
/* Fills the margin of what the stage writes, beside what follows; waits until that is done. */
void start_margin(struct emit *e, const struct margin *m, uint64_t home);
void wait_margin(struct emit *e);
/* Copies a whole tensor to DRAM beside what follows; waits for such a copy. */
void start_flush(struct emit *e, const struct flush *w);
void wait_flush(struct emit *e, uint32_t slot);
void wait_started(struct emit *e, const struct started *s);
/* Of the marked queues: their transfers' numbers in a row of the frame; waiting for those. */
void load_numbers(struct emit *e, uint64_t queues, uint32_t row, vreg *number);
void wait_numbers(struct emit *e, uint64_t queues, const vreg *number);

/* kernel_matrix.c */
void kernel_matrix_rows(struct mfn *f, struct plan *p, uint32_t unroll, struct row_blocks *r);

/* stream.c: the transfers of factors that come in chunks: what they are; the first chunks; in front of a tile's loop; behind it. */
void stream_describe(struct emit *e, struct stream *s);
bool stream_in_pieces(const struct stream *s, uint32_t operand); /* stream_begin starts its first chunk, too */
bool stream_has(const struct stream *s, uint32_t operand);
void stream_begin(struct emit *e);
void stream_tile(struct emit *e, vreg none); /* none: 1 when no tile follows, else 0 */
uint64_t stream_result_queues(const struct stream *s);
void stream_left(struct emit *e, struct started *r); /* the results that left in the loop: on each queue the last ones */
void stream_tile_end(struct emit *e);

#endif
