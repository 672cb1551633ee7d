/* kernel.h: the code that works on one tile in SRAM, shared by the vector and the matrix path.
 *
 * A kernel walks *kernel dimensions*: the tile's dimensions, some folded into one where every operand walks them as one. For each operand it
 * keeps one pointer; loops advance the pointers and put them back. At a leaf, several *points* (copies of the body, next to each other) are
 * computed in one basic block so that the scheduler has something to overlap. */
#ifndef TG_KERNEL_H
#define TG_KERNEL_H

#include "plan.h"

enum { MAX_POINTS = 32, PARTIAL = MAX_OPERANDS + 1, N_POINTERS };

struct kdim {
	int64_t n;
	int64_t step[N_POINTERS]; /* SRAM elements of each operand; [PARTIAL]: of the partial sums */
	enum role role;
	int plan_dim;             /* NO_DIM after folding */
};
struct point {
	int64_t delta[MAX_DIMS];  /* along each kernel dimension, from where the pointers stand */
	uint32_t rows, lanes;
};
struct constant { int64_t value; vreg reg; };
/* Loads of a body, each made once; those of operands that its loop does not move are made in front of it. */
struct loaded { uint32_t operand; int64_t offset; uint32_t rows, lanes; vreg reg; };
struct near { uint32_t operand; const struct mseq *seq; int64_t offset; vreg reg; }; /* bytes from the operand's pointer */
struct load_memo { uint64_t steady; struct mcursor *outside; TG_VEC(struct loaded) list; TG_VEC(struct near) addresses; };
struct stream;
struct kernel {
	struct mfn *f;
	struct plan *p;
	const struct stream *stream; /* factors come in chunks (stream.c); NULL: the tile's images are complete */
	struct mcursor pre;       /* before the loops: constants */
	struct mcursor at;
	uint32_t n_dims;
	struct kdim dim[MAX_DIMS];
	int lane, row;            /* kernel dimensions in lanes and rows, NO_DIM: none */
	vreg ptr[N_POINTERS];
	bool live[N_POINTERS];    /* this pointer is used */
	vreg index[MAX_DIMS];     /* value of a kernel dimension at the pointers, where index nodes ask */
	bool indexed[MAX_DIMS];
	TG_VEC(struct constant) scalars, vectors;
	uint32_t unroll;
	struct load_memo *memo;   /* NULL: every load is its own */
	vreg store_pred;          /* stores happen where it is true */
	vreg lane_numbers, row_numbers;
	uint32_t body_nodes, post_nodes;
	bool *in_body, *in_post;  /* by node: needed before / after the reduction */
	const char *failed;       /* first reason why the body cannot be expressed */
};

/* kernel.c */
void kernel_begin(struct kernel *k, struct mfn *f, struct plan *p, struct mcursor *at, const vreg *coordinates, const vreg *places,
		  uint32_t unroll); /* coordinates: of the tile; places: bytes from each operand's first place */
void kernel_splice(struct mseq *to, struct mseq *from); /* appends */
void kernel_end(struct kernel *k, struct mcursor *at); /* splices constants and code into `at` */
vreg kernel_scalar(struct kernel *k, int64_t v);        /* a scalar register that holds v throughout */
vreg kernel_extent(struct kernel *k, uint32_t rows, uint32_t lanes);
vreg kernel_extent_near(struct kernel *k, uint32_t rows, uint32_t lanes); /* made where it is used, unless a register holds it anyway */
vreg kernel_vector(struct kernel *k, uint32_t bits);
void kernel_advance(struct kernel *k, const struct kdim *d, int64_t by); /* all pointers */
void kernel_advance_index(struct kernel *k, uint32_t dim, int64_t by);
/* Folds every dimension that all live operands walk as a continuation of dimension `into`. Returns its new number. */
int kernel_fold(struct kernel *k, int into, uint64_t operands);
void kernel_remove_dim(struct kernel *k, uint32_t d);
/* Is an offset within what loads and stores hold themselves? Beyond it an address has a register of its own. */
static inline bool kernel_reaches(int64_t offset) { return offset >= -8192 && offset < 8192; }
void kernel_address(struct kernel *k, uint32_t operand, const struct point *pt, int64_t *imm, vreg *base);

/* A nest of blocked loops around a leaf. Level i walks dim[level[i].dim] in blocks; the last level's blocks come `unroll` at a time. */
struct level { int dim; int64_t block; };
typedef void leaf_fn(struct kernel *k, struct point *pts, uint32_t n_pts, void *user);
void kernel_nest(struct kernel *k, const struct level *levels, uint32_t n_levels, uint32_t unroll, const struct point *start, leaf_fn *leaf, void *user);

/* lower.c: expression nodes → vector operations */
struct values { vreg *of; }; /* by node */
vreg kernel_load(struct kernel *k, uint32_t operand, const struct point *pt);
void kernel_store(struct kernel *k, uint32_t operand, const struct point *pt, vreg v, enum tg_dtype node_type);
/* Computes the marked nodes at a point; acc: register of the reduction, or 0. */
void kernel_eval(struct kernel *k, const bool *wanted, const struct point *pt, vreg acc, vreg *of);
vreg kernel_as_mask(struct kernel *k, vreg v);                     /* v != 0 */
vreg kernel_from_mask(struct kernel *k, vreg m, uint32_t one);    /* m ? one : 0 */
vreg kernel_identity(struct kernel *k, uint8_t combine, enum tg_dtype t);
void kernel_combine(struct kernel *k, vreg to, vreg acc, uint8_t combine, enum tg_dtype t, vreg v); /* to = acc combine v */
/* lower_math.c: functions built from several operations; zero register and k->failed when unknown */
vreg lower_math(struct kernel *k, const struct tg_node *n, const vreg *in);

/* kernel_vector.c, kernel_window.c, kernel_matrix.c */
enum kernel_mode { KERNEL_WHOLE, KERNEL_INIT, KERNEL_ACCUMULATE, KERNEL_FINISH };
void kernel_vector_path(struct kernel *k, enum kernel_mode mode);
void kernel_window_path(struct kernel *k, const struct window *w);
void kernel_matrix_path(struct kernel *k, enum kernel_mode mode);

#endif
