/* matrix.h: what the parts of the matrix unit's flat loop share. kernel_matrix.c has the picture. */
#ifndef TG_MATRIX_H
#define TG_MATRIX_H

#include "stream.h"

enum { KEEP = 3 }; /* a load's fill: what is outside the extent stays */
enum { MAX_GROUPS = 16 };

/* How the rows are cut: an iteration takes `points`; `split` is the dimension whose blocks follow each other, the last one overlapping. */
struct cut {
	uint32_t n_points;
	struct point pts[MAX_GROUPS];
	int split;             /* kernel dimension, NO_DIM: all rows in one iteration */
	int64_t block, steps;  /* entries of `split` an iteration covers; iterations along it */
	int64_t overlap;       /* entries that the last one shares with its neighbour */
	int lines;             /* the dimension beside the rows that an iteration spans, or NO_DIM */
	double cost;
};
struct matrix {
	enum kernel_mode mode;
	int contract;
	uint32_t n_packed;       /* contracted dimensions whose entries lie side by side in the lanes (pack.c) */
	int packed[MAX_PACKED];  /* innermost first */
	int64_t parts;           /* their entries */
	bool masked;
	vreg part[MAX_PARTS];    /* masks: lanes of part i + 1 */
	struct cut cut;
	int64_t acc_tile;        /* accumulator rows of the tile, for one block of columns */
	int64_t acc_base;        /* the first of the blocks at work, where all have accumulators of their own */
	bool once;               /* one block of weights serves the whole loop and is pushed in front of it */
	bool halves;             /* column blocks alternate between two halves of the accumulators */
	enum { PHASE_BOTH, PHASE_MULTIPLY, PHASE_READ } phase; /* apart: every column block has accumulators of its own */
	uint32_t cols;           /* columns of the blocks at work */
	uint32_t arrays;         /* so many blocks side by side, each on an array of its own, which the same rows pass */
	int64_t pixel_cols;      /* of each of the neighbours that share the array; 0: none do */
	int64_t first_col;       /* where the block at work begins among the columns of all neighbours */
	vreg zero;
};
/* A level of the flat loop. Chunks of the contracted dimension are the level of CHUNK_DIM. */
enum { CHUNK_DIM = -2 };
struct level_of { int dim; int64_t block, count; enum role role; };

struct flat {
	struct level_of level[MAX_DIMS];
	uint32_t n;
	struct mcursor before;  /* code in front of the loop */
	vreg column_start;      /* unused levels aside, where the operands' pointers stand */
};

static inline uint32_t sublanes(const struct kernel *k)
{
	return k->f->chip->sublanes;
}

static inline enum tg_opcode typed(enum tg_opcode f32, enum tg_array_type t)
{
	return (enum tg_opcode)((int)f32 + (int)t); /* isa.def lists pushes and multiplies in the order of enum tg_array_type */
}

static inline enum tg_opcode load_of(enum tg_dtype t)
{
	return t == TG_f16 ? TG_I_vld_f16 : t == TG_bf16 ? TG_I_vld_bf16 : t == TG_i8 ? TG_I_vld_i8 : t == TG_u8 ? TG_I_vld_u8 : TG_I_vld_f32;
}

static inline uint64_t bit(int i)
{
	return i < 0 ? 0 : UINT64_C(1) << i;
}

static inline int64_t step_bytes(const struct kernel *k, int dim, uint32_t operand)
{
	return k->dim[dim].step[operand] * (int64_t)elem_bytes(k->p->operand[operand].sram_dtype);
}

static inline bool rhs_is_data(const struct kernel *k)
{
	return k->p->rhs >= 0 && !k->p->operand[k->p->rhs].constant;
}

/* The entry of packed dimension i in a part; elements of an operand from the first part to this one. */
static inline int64_t part_entry(const struct kernel *k, const struct matrix *x, uint32_t i, int64_t part)
{
	return i ? part / k->dim[x->packed[0]].n : x->n_packed > 1 ? part % k->dim[x->packed[0]].n : part;
}

static inline int64_t part_offset(const struct kernel *k, const struct matrix *x, int64_t part, uint32_t operand)
{
	int64_t at = 0;
	for (uint32_t i = 0; i < x->n_packed; i++)
		at += part_entry(k, x, i, part) * k->dim[x->packed[i]].step[operand];
	return at;
}

static inline bool is_packed(const struct matrix *x, int dim)
{
	return (x->n_packed > 0 && x->packed[0] == dim) || (x->n_packed > 1 && x->packed[1] == dim);
}

/* kernel_rows.c: the rows of an iteration; false: they do not fit the accumulators. The same with `each` groups at a time, where that is possible. */
bool matrix_cut_rows(struct kernel *k, struct matrix *x, int64_t most_rows);
struct cut matrix_finer_cut(const struct kernel *k, const struct matrix *x, int64_t each);

/* kernel_matrix.c */
/* A register that follows the levels that `level` numbers, as an operand's address does. */
struct follower *matrix_follow(struct kernel *k, struct walker *w, struct flat *f, const int *level, uint32_t operand, const struct cut *c);
/* Levels of a walker: all; `as_one` joins those of a role into a single one, which then only counts. */
void matrix_levels(struct kernel *k, struct walker *w, const struct flat *f, const struct matrix *x, int as_one, int *level);
/* An extent that is `tail` in the last contracted block and `full` in the others. */
vreg matrix_switched(struct kernel *k, vreg last, int64_t full, int64_t tail);
int64_t matrix_extent(const struct kernel *k, uint32_t rows, uint32_t lanes);
/* Rows of the contracted dimension in a full block and in the last one. */
void matrix_block_rows(const struct kernel *k, const struct matrix *x, uint32_t *full, uint32_t *tail);
/* Level of the innermost contracted blocks. */
int matrix_contract_level(const struct flat *f, const int *level, const struct matrix *x);

/* kernel_weights.c: the part of an iteration that pushes the block's weights and swaps. */
void matrix_push_part(struct kernel *k, struct matrix *x, struct flat *f, struct walker *w);

/* The innermost level of a role with more than one position, or -1. */
int level_of_role(const struct flat *f, const int *level, enum role role);

/* stream.c: number of the chunk that a walker has reached; address of an operand there, when it has come (cut: of the rows, or NULL); what starts chunks,
 * before the multiplies; what starts results on their way, behind their stores. */
vreg stream_chunk(struct kernel *k, struct walker *w, struct flat *f, const int *level);
vreg stream_number(struct kernel *k, struct walker *w, const struct flat *f, const int *level, int64_t unit); /* of the block of rows and columns, times unit */
vreg stream_place(struct kernel *k, struct walker *w, struct flat *f, const int *level, vreg chunk, uint32_t operand, const struct cut *cut);
void stream_start_part(struct kernel *k, struct flat *f, struct walker *w, const int *level, vreg chunk);
/* Weights of a piece that lie between these bytes of it, before they are pushed. level: the one that counts blocks of columns. */
void stream_weights(struct kernel *k, struct walker *w, int level, int64_t from, int64_t until);
vreg stream_results(struct kernel *k, struct flat *f, struct walker *w, const int *level); /* where the iteration's block goes */
void stream_result(struct kernel *k, vreg when, vreg to, uint32_t part);

#endif
