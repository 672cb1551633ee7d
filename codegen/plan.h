/* plan.h: how one stage runs on one chip: which dimensions lie in lanes and rows, tile sizes, SRAM buffers.
 *
 * A stage's operand maps become *accesses*: for each index of the tensor a component with its terms. A component with one term is `single`
 * (its SRAM image has one entry for each value of the dimension, whatever the step); one with several overlapping terms is a `window` (its
 * image is the range of indices that a tile touches, halo included). */
#ifndef TG_PLAN_H
#define TG_PLAN_H

#include "mach.h"

enum { MAX_DIMS = 16, MAX_OPERANDS = 16, MAX_COMPS = TG_MAX_RANK + 4, MAX_SHARED = 2 };

struct term { uint32_t dim; int64_t coef; };
struct comp {
	uint32_t n;
	struct term term[MAX_DIMS];
	int64_t offset;  /* constant part of the index */
	int64_t size;    /* of the tensor's dimension */
	int64_t stride;  /* in DRAM, elements */
	bool guarded;
	int32_t gather;  /* operand that holds the indices, or -1 */
	/* of the tile's image in SRAM */
	int64_t len, sram_stride; /* entries; elements */
};
struct operand {
	tg_val value;
	enum tg_dtype dtype;       /* in DRAM */
	enum tg_dtype sram_dtype;  /* differs where DMA converts */
	const struct tg_const *constant; /* a constant of one value is read through stride 0 */
	uint64_t dram;             /* byte offset in DRAM */
	uint64_t home;             /* SRAM address of the whole tensor where it lives there, in its DRAM layout but for margins; 0: it does not */
	uint32_t storage;
	bool direct;               /* the tile is worked on where the tensor lives: no image, no transfer */
	int64_t base;              /* constant part of the address, elements */
	int64_t part[MAX_SHARED];  /* bytes of the address for each entry of a shared loop around the stage (runs.c) */
	uint32_t n_comps;
	struct comp comp[MAX_COMPS];
	uint64_t fill_bits;        /* of sram_dtype: what a guarded element outside reads */
	bool is_list;              /* indices of a gather: read by DMA, not by loads */
	int64_t step[MAX_DIMS];    /* SRAM elements for one step of a dimension */
	int64_t start;             /* SRAM elements from the image's beginning to the entry of the tile's first point */
	uint64_t sram, bytes;
	uint32_t places;           /* 2 where the next tile's image is fetched, or the last one's stored, while this one is at work */
	uint64_t place_bytes;      /* of a place */
	int64_t place_step;        /* from the first place to the other; results: positive */
	bool early;                /* complete before a stage in front of this one begins: its first image may be fetched during that stage */
	bool apart;                /* so its first image lies apart from its other one */
	bool pending, handed;      /* not decided yet; it is fetched ahead */
	bool carried;              /* so it is, but for the first part of a run: by the run's last stage for the next part */
	uint32_t mem;              /* buffer number */
};
enum role { ROLE_PARALLEL, ROLE_REDUCE, ROLE_M, ROLE_N, ROLE_K, ROLE_BATCH };
enum path { PATH_VECTOR, PATH_MATRIX };
enum { NO_DIM = -1 };

struct plan {
	const struct tg_chip *chip;
	const struct tg_module *m;
	const struct tg_op *op;
	const struct tg_stage *stage;
	uint32_t n_dims;
	int dim_of[MAX_DIMS];      /* stage dimension → dimension here; NO_DIM: gone (extent 1 or merged) */
	int64_t extent[MAX_DIMS];
	enum role role[MAX_DIMS];
	bool pinned[MAX_DIMS];     /* its value is asked for by an index node: not merged */
	uint32_t n_ops;            /* stage inputs; the output is operand[n_ops] */
	struct operand operand[MAX_OPERANDS + 1];
	enum path path;
	int lane, row;             /* vector path: dimensions in lanes and rows; matrix path: N in lanes, M in rows */
	int contract;              /* matrix path: K in lanes of the moving operand */
	int lhs, rhs;              /* matrix path: operand numbers; rhs -2: a constant of one value */
	bool transposed;           /* weights lie with K in lanes */
	enum tg_array_type array;
	bool plain;                /* asked for: nothing that takes many registers */
	int64_t pixels;            /* neighbours whose columns lie side by side in the array, or whose channels do in the lanes (pixels.c); 0: none */
	int pixel_dim, pixel_tap;  /* which neighbour; the contracted dimension that spans their windows */
	int64_t pixel_step;        /* entries of it from one neighbour's window to the next one's */
	int64_t tile[MAX_DIMS];
	int loop_order[MAX_DIMS];  /* tiled dimensions, outermost first */
	uint32_t n_loops;
	int64_t chunks;            /* the contracted dimension comes in so many tiles, which the kernel takes in one loop (stream.c); 0: it is whole */
	uint64_t partial_sram, partial_bytes; /* accumulators between reduction tiles (vector path) */
	uint64_t sram_top, sram_limit; /* in use; as far as it may go */
	uint32_t ordinal;          /* of the stage, among those of the program */
	uint32_t acc_rows;         /* accumulator rows of a tile */
	bool long_epilogue;        /* found by the kernel: finishing takes more registers than the multiplies leave */
	enum tg_chunks chunking;   /* asked for: whether chunks are tried */
	uint32_t eased;            /* asked for: 1: results leave in fewer transfers, 2: with as many rows at a time as may be */
	bool join_epilogue;        /* asked for: beside the multiplies all the same */
	bool push_first;           /* asked for: weights that serve a whole loop are pushed in front of it, not beside its first multiplies */
	bool whole_sums;           /* reductions are not tiled */
	double idle_before;        /* cycles in which DRAM rests during the stages before that may fetch for this one */
	uint64_t early_room;       /* bytes of SRAM that are free while those stages run, at most */
	double dram_idle;          /* the same of this stage */
	double cost;               /* predicted cycles */
	double bulk;               /* the larger of all work and all transfers */
};

/* Element bytes in memory; 0 for packed types. */
uint32_t elem_bytes(enum tg_dtype t);
/* Room around a tensor in SRAM that holds what its readers find outside of it (margins.c). */
enum { MAX_FILLS = 6 };
struct margin {
	bool asked, refused;
	uint64_t fill, bytes;       /* as const bits of the stages that read it; of the tensor and its margins */
	int64_t lo[TG_MAX_RANK], hi[TG_MAX_RANK]; /* entries before and behind each dimension */
	uint32_t writer;            /* op in front of which it is filled */
	uint32_t n_fills;
	struct tg_dma_desc fill_box[MAX_FILLS];
	int64_t fill_at[MAX_FILLS]; /* bytes from the tensor's first element */
};
/* Elements from one entry of each dimension to the next, in DRAM (m: NULL) or with margins; bytes in front of the tensor's first element. */
void margin_strides(const struct tg_value *v, const struct margin *m, int64_t *stride);
uint64_t margin_before(const struct tg_value *v, const struct margin *m);
bool plan_asks_inside(const struct tg_stage *s, uint32_t in); /* whether an element lies in the tensor matters to the stage beyond its value */
uint64_t tg_fill_bits(enum tg_dtype t, uint64_t bits); /* const bits as an element of memory type t */

/* Of a stage in a run: the dimension that each shared loop walks. */
struct part_walk { uint32_t n; const int64_t *dim; };
/* By value: byte offset in DRAM, address in SRAM or 0, storage; by storage: margins or NULL. walk: NULL: the stage stands by itself; by value: a part of it exists at a time. */
struct places_of { const uint64_t *dram, *home; const uint32_t *storage; struct margin *const *margin; const struct part_walk *walk; const bool *partial; };
/* Fills everything but the tiling from the op; NULL or the reason why the chip does not run it. at: NULL when only the reason is asked for. */
const char *plan_describe(struct plan *p, const struct tg_module *m, const struct tg_op *op, const struct tg_chip *c, const struct places_of *at);
/* Chooses path, lanes, rows and tiles, and lays SRAM out from sram_base up to sram_limit. */
const char *plan_choose(struct plan *p, uint64_t sram_base, uint64_t sram_limit);
static inline uint64_t whole_lines(uint64_t bytes) { return (bytes + 63) & ~UINT64_C(63); } /* images begin at multiples of 64 bytes */
static inline int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
static inline bool is_reduction(const struct plan *p, uint32_t d) { return p->role[d] == ROLE_REDUCE || p->role[d] == ROLE_K; }

/* pixels.c. t: lhs and rhs are known, roles are not. Makes n neighbours along d share the array; false when the stage is not of that kind. */
enum { MOST_PIXEL_WEIGHTS = 1 << 20, MOST_PIXELS = 8 };
bool plan_pixels(struct plan *t, uint32_t d, int64_t n);
bool plan_side_by_side(struct plan *t, uint32_t d, int64_t n); /* the same for the lanes of the vector path, which are known */
bool plan_repeat_columns(struct plan *t); /* the lane is known */

/* pack.c. Entries of a dimension; elements of the moving factor and of the weights from one to the next. */
struct pack_dim { int64_t n, lhs, rhs; };
enum { MAX_PACKED = 2, MAX_PARTS = 16 };
/* Which contracted dimensions of the n share the lanes with the `lanes` entries of the innermost one: their numbers, innermost first. weight_row: elements
 * from one row of weights to the next. */
uint32_t plan_pack(const struct plan *p, const struct pack_dim *d, uint32_t n, int64_t lanes, int64_t weight_row, int *chosen);

/* One dimension of rows, one of columns: everything else has one entry. A product in chunks then waits for pieces of its first chunk only, and its results leave
 * in pieces. */
bool plan_is_flat(const struct plan *p);
/* Is the operand's image brought by transfers? */
bool plan_fetches(const struct plan *p, uint32_t operand);
/* Can the next tile be fetched while one is at work? Index lists steer later transfers: their stages fetch tile by tile. */
bool plan_prefetches(const struct plan *p);
/* Into how many parts, for queues of their own, an operand's transfer is worth cutting. */
uint32_t plan_transfer_parts(const struct plan *p, const struct operand *o);
/* Cycles of one transfer of an operand's image without DRAM's latency; 0: there is none. */
double plan_transfer_cycles(const struct plan *p, const struct operand *o);

enum { MOST_EASED = 2 };

/* kernel_window.c: a reduction over few points on the vector slots: `n` neighbours along `dim` at a time; cycles for each block of rows and lanes. */
enum { MOST_NEIGHBOURS = 4 };
struct window { int dim; int64_t n; double each; };
bool window_choose(const struct plan *p, int64_t most_neighbours, struct window *w); /* false: the stage is none */
double plan_instructions(uint8_t expr_op);

/* emit_stage.c: machine code of a planned stage; ahead: operands of later stages whose first images it starts to fetch. */
struct descriptors { TG_VEC(struct tg_dma_desc) list; uint64_t dram; }; /* they lie in DRAM from `dram` on */
struct fetch_ahead { struct plan *plan; uint32_t operand; bool next_part; }; /* next_part: of the run, if there is one and it needs another image */
struct flush { uint64_t sram, dram, bytes; uint32_t slot; }; /* a whole tensor from SRAM to DRAM; its number in the frame */
struct emit_options {
	uint32_t unroll, n_ahead, n_waits;
	const struct fetch_ahead *ahead;
	const struct margin *margin; /* filled while the stage is at work; NULL: none */
	uint64_t margin_home;
	const struct flush *flush;  /* started when the stage is done; NULL: none */
	const uint32_t *waits;      /* then waited for: slots of flushes */
};
const char *emit_stage(struct mfn *f, struct plan *p, struct descriptors *descs, uint32_t prov, const struct emit_options *o);

#endif
