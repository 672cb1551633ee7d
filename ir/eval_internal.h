/* eval_internal.h: between the files of the evaluator.
 *
 * The evaluator works on columns: arrays of up to TG_COL elements of one compute type (bool as a byte), one for each node of a stage's body. */
#ifndef TG_EVAL_INTERNAL_H
#define TG_EVAL_INTERNAL_H

#include "ir_internal.h"

#define TG_COL 512

/* ---- eval_columns.c: arithmetic on columns -------------------------------------------------------------------- */

typedef void tg_kernel(void *out, const void *a, const void *b, const void *c, size_t n);
/* For operands of compute type t (of the result, for `select`); NULL: the operation is not defined for it. Not for arg, inside, acc, index,
 * const, cast, wrap, sat. */
tg_kernel *tg_kernel_of(enum tg_expr_op op, enum tg_dtype t);
tg_kernel *tg_kernel_cast(enum tg_dtype from, enum tg_dtype to);
/* wrap or sat to memory type k: k is an integer type for integer columns, a float type for float columns. */
bool tg_narrow_defined(enum tg_dtype t, enum tg_dtype k);
void tg_col_narrow(enum tg_dtype t, enum tg_dtype k, bool sat, void *out, const void *a, size_t n);
void tg_col_fill(enum tg_dtype t, void *col, uint64_t bits, size_t n);
void tg_col_index(int32_t *col, int64_t first, int64_t step, size_t n);
size_t tg_col_size(enum tg_dtype t); /* bytes of an element */

/* Accumulators: sums and products of f32 are kept in f64, the rest in the type itself. */
void tg_acc_init(enum tg_combine c, enum tg_dtype t, void *acc, size_t n);
void tg_acc_column(enum tg_combine c, enum tg_dtype t, void *acc, const void *v, size_t n); /* acc[i] with v[i] */
void tg_acc_row(enum tg_combine c, enum tg_dtype t, void *acc, const void *v, size_t n);    /* acc[0] with all of v */
void tg_acc_end(enum tg_combine c, enum tg_dtype t, void *out, const void *acc, size_t n);

/* ---- eval_memory.c: tensor elements to columns and back ------------------------------------------------------------ */

void tg_col_load(enum tg_dtype memory, void *col, const void *data, int64_t offset, int64_t stride, size_t n);
void tg_col_load_at(enum tg_dtype memory, void *col, const void *data, const int64_t *offsets, size_t n); /* negative: left alone */
void tg_col_store(enum tg_dtype memory, void *data, int64_t offset, int64_t stride, const void *col, size_t n);
double tg_round_to(enum tg_dtype memory, double v, bool saturate); /* to the nearest value of a float type */

/* ---- eval_stage.c ------------------------------------------------------------------------------------------- */

struct tg_source { /* an operand's contents: a splat has one element of data */
	enum tg_dtype dtype;
	const struct tg_shape *shape;
	const void *data;
	bool splat;
};
bool tg_eval_stage_on(struct tg_diag *d, struct tg_loc loc, struct tg_arena *scratch, const struct tg_stage *s, const struct tg_source *ins,
		      struct tg_tensor *out);

/* An index that may leave its tensor: 0 <= offset + sum coef * dim < extent. */
struct tg_check { const int64_t *coef; int64_t offset, extent; };
struct tg_access { /* a linear operand: element lin0 + sum lin[d] * dim[d]; modulo 2^64 outside the tensor */
	const struct tg_source *src;
	const struct tg_stage_in *in;
	enum tg_dtype compute;
	bool linear;
	uint64_t lin0, *lin;
	uint32_t n_checks;
	struct tg_check *check;
	int64_t *offsets; /* a column, where not linear */
	int64_t *stride;  /* of each index */
};

/* eval_contract.c: the sum of products of two linear operands. Returns the sums over all parallel dimensions (row-major, in the reduction's
 * type), or NULL when the stage is not of that form. */
void *tg_eval_contraction(struct tg_arena *scratch, const struct tg_stage *s, const struct tg_access *access);

#endif
