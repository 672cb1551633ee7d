/* ir_internal.h: what the files of this folder share and nobody else needs: the functions behind each row of graph_ops.def, and helpers over
 * stages. */
#ifndef TG_IR_INTERNAL_H
#define TG_IR_INTERNAL_H

#include "ir.h"

#define TG_MAX_DIMS 64         /* dimensions of a stage: rank 16 split in two, and kernels */
#define TG_MAX_WINDOW (1 << 30) /* strides, kernels, extents of windows: products of two stay far from 2^63 */

/* ops.c */
uint16_t tg_op_code_from_name(const struct tg_module *m, const char *dialect, size_t nd, const char *name, size_t n); /* TG_OP_none when unknown */
const char *tg_dialect_name(enum tg_dialect d);
void tg_attrs_default(const struct tg_op_info *info, union tg_attr *attrs);
enum tg_expr_op tg_expr_from_name(const char *name, size_t n); /* TG_N_EXPRS when unknown */
static inline bool tg_is_graph_op(uint16_t code) { return code > TG_OP_none && code < TG_TILE_data; }

/* consts.c: fill bits and const nodes have one coding: f64 bits for floats, i64 for the rest */
uint64_t tg_bits_of_f64(enum tg_dtype compute, double v);
static inline bool tg_type_is_float(enum tg_dtype t) { return t == TG_f32 || t == TG_f64; }
uint64_t tg_const_bits(const struct tg_const *c, int64_t i); /* element i, coded for its compute type */
/* Range of an integer (or bool) memory type; u64's highest as its bit pattern -1. */
void tg_int_range(enum tg_dtype t, int64_t *lo, int64_t *hi);
/* Identity of a reduction in a compute type, coded as const bits. */
uint64_t tg_identity_bits(enum tg_combine c, enum tg_dtype compute);
double tg_lowest(enum tg_dtype memory), tg_highest(enum tg_dtype memory);

/* graph.c, graph_infer.c */
struct tg_infer {
	struct tg_diag *d;
	struct tg_loc loc;
	const struct tg_op_info *info;
	const struct tg_value *const *in;
	uint32_t n_in;
	const union tg_attr *attrs;
	enum tg_dtype dtype; /* result */
	struct tg_shape shape;
};
typedef bool tg_infer_fn(struct tg_infer *x);
/* Infers op `code` over these operands; checks arity first. */
bool tg_infer_op(struct tg_diag *d, struct tg_loc loc, struct tg_arena *scratch, const struct tg_module *m, uint16_t code, const tg_val *in,
		 uint32_t n_in, const union tg_attr *attrs, enum tg_dtype *t, struct tg_shape *s);
#define OP(name, lo, hi, out, traits, doc) tg_infer_fn infer_##name;
#include "graph_ops.def"

/* graph_expand*.c */
struct tg_expand {
	struct tg_module *m;
	struct tg_op *op; /* new ops go before it */
	tg_prov prov;
	const union tg_attr *attrs;
	const tg_val *in; /* already in the tile dialect */
	uint32_t n_in;
	enum tg_dtype dtype; /* of the result */
	struct tg_shape shape;
};
typedef tg_val tg_expand_fn(struct tg_expand *x);
#define OP(name, lo, hi, out, traits, doc) tg_expand_fn expand_##name;
#include "graph_ops.def"

/* One element of an elementwise op. */
struct tg_elem {
	struct tg_body *b;
	const tg_expr *in;
	const union tg_attr *attrs;
	enum tg_dtype t;    /* compute type of operand 0 */
	enum tg_dtype from; /* memory type of operand 0 */
	enum tg_dtype to;   /* memory type of the result */
};
typedef tg_expr tg_elem_fn(const struct tg_elem *e);
/* exact: results never leave the result type, no `wrap` needed */
tg_val tg_expand_elementwise(struct tg_expand *x, tg_elem_fn *f, bool exact);

/* graph_expand_util.c: what expansions have in common */
tg_val tg_tile_data(struct tg_expand *x, struct tg_const *c);
tg_val tg_tile_empty(struct tg_expand *x, enum tg_dtype t, const struct tg_shape *s);
tg_val tg_tile_view(struct tg_expand *x, tg_val v, const struct tg_shape *s);
const struct tg_shape *tg_shape_of(const struct tg_expand *x, uint32_t in);
enum tg_dtype tg_dtype_of(const struct tg_expand *x, uint32_t in);
/* Rounds or wraps e to memory type t where t is narrower than its compute type. */
tg_expr tg_wrap_to(struct tg_body *b, enum tg_dtype t, tg_expr e);
tg_expr tg_cast_expr(struct tg_body *b, tg_expr e, enum tg_dtype from, enum tg_dtype to, bool saturate);
tg_expr tg_cast_node(struct tg_body *b, enum tg_dtype compute, tg_expr e); /* e itself when it has that type */
/* Adds operand v broadcast against the parallel dimensions first_dim... that stand for a tensor of rank out_rank. */
uint32_t tg_body_in_broadcast(struct tg_body *b, tg_val v, uint32_t first_dim, uint32_t out_rank);
/* The element of such an operand, or a const node when v is a constant of one value. */
tg_expr tg_body_operand(struct tg_body *b, tg_val v, uint32_t first_dim, uint32_t out_rank);
void tg_body_guard_bits(struct tg_body *b, uint32_t in, uint64_t fill);
tg_expr tg_node_bits(struct tg_body *b, enum tg_dtype t, uint64_t bits);
/* An output map under construction: constants 0 at first. All dimensions must exist already. */
struct tg_map tg_map_new(struct tg_body *b, uint32_t rank);

/* body.c */
struct tg_module *tg_body_module(const struct tg_body *b);
struct tg_map tg_map_alloc(struct tg_arena *a, uint32_t rank, uint32_t n_dims);
/* tg_index_affine_range after div and mod (without the gathered element). */
bool tg_index_range(const struct tg_stage *s, const struct tg_index *ix, int64_t *lo, int64_t *hi);
static inline int64_t tg_floordiv(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }
static inline int64_t tg_floormod(int64_t a, int64_t b) { return a - tg_floordiv(a, b) * b; }

/* module.c */
void tg_op_insert(struct tg_block *b, struct tg_op *before, struct tg_op *op); /* one that is in no block; at the end when before is NULL */
/* The op after this one in execution order, an op's regions right after it; NULL at the end. */
struct tg_op *tg_op_step(struct tg_op *op);
struct tg_op *tg_op_skip(struct tg_op *op); /* the same, but not into the op's regions */
tg_prov tg_prov_intern(struct tg_module *m, const uint32_t *nodes, uint32_t n); /* ascending, no doubles */

/* print.c */
const char *tg_value_kind_name(enum tg_value_kind k); /* of registers */
/* Numbers by which the text names values, index by value id: in order of definition. */
const uint32_t *tg_value_numbers(struct tg_arena *a, const struct tg_module *m);

#endif
