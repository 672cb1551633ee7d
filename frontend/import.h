/* import.h: what the importer files share. Internal to frontend/.
 *
 * An importer of an op reads its node's operands and attributes through struct tg_im and builds graph ops with tg_im_op, which folds ops whose
 * operands are small constants. Errors are sticky: after one, every builder returns the zero value and does nothing, so that importers need not
 * test each step; the driver looks at im->failed once the importer returns. */
#ifndef TG_FRONTEND_IMPORT_H
#define TG_FRONTEND_IMPORT_H

#include "frontend.h"
#include "guard.h"

#define TG_IM_FOLD_ELEMENTS 65536 /* elements of a tensor that folding may compute */
#define TG_IM_MAX_NODES 1000000u  /* nodes imported, those of inlined functions and unrolled loops included */
#define TG_IM_MAX_FRAMES 64u      /* functions and branches within each other */

/* ---- names.c: a table from names to numbers, in an arena; its hash is seeded, so that a file cannot choose its collisions ---- */

struct tg_names {
	struct tg_arena *arena;
	uint64_t seed;
	struct tg_name_slot { const char *name; uint32_t value; } *slots;
	uint32_t n, cap;
};
void tg_names_init(struct tg_names *t, struct tg_arena *a, uint64_t seed);
uint32_t *tg_names_find(const struct tg_names *t, const char *name); /* NULL: absent */
uint32_t *tg_names_add(struct tg_names *t, const char *name, uint32_t value, bool *is_new); /* the old value stays if it was there */

/* ---- tensor_proto.c ---- */

struct tg_im;
/* Where external data may be found and which files are already open. */
struct tg_pb_source {
	const char *path;           /* of the protobuf file */
	const char *folder;         /* external data lies beneath it; NULL: there may be none */
	const uint8_t *bytes;       /* the mapped protobuf file */
	int32_t file;               /* its number in the module's files; -1: none */
	struct tg_module *module;   /* files are added here; NULL: data is copied */
};
/* The tensor as a constant in `a`. Large contents are borrowed from the mapped file. False: reported. */
bool tg_pb_tensor(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__TensorProto *t, struct tg_const **out);
bool tg_pb_sparse(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const struct tg_pb_source *src, const Onnx__SparseTensorProto *t, struct tg_const **out);

/* ---- import.c: the driver ---- */

struct tg_im_op_row;
struct tg_im_frame;
struct tg_im_list { const tg_val *at; uint32_t n; enum tg_dtype dtype; }; /* a sequence, known at import time */

struct tg_im {
	struct tg_diag *d;
	struct tg_arena *arena; /* the module's */
	struct tg_arena *tmp;   /* until the import ends */
	struct tg_arena *fold;  /* emptied after each folded op */
	struct tg_module *m;
	struct tg_pb_source src;
	/* the node being imported */
	const Onnx__NodeProto *node;
	const struct tg_im_op_row *row;
	struct tg_im_frame *frame;
	int64_t opset; /* version of the node's domain */
	struct tg_loc loc;
	tg_prov prov;
	uint32_t n_in, n_out;
	tg_val *in;         /* zero: left out */
	tg_val *out;        /* for the importer to set */
	bool *want;         /* output k is named and used */
	struct tg_im_list **in_list; /* operands that are sequences */
	struct tg_im_list **out_list;
	bool failed;        /* this node: reported */
	bool stop;          /* malformed: the import ends */
	/* budgets */
	uint64_t fold_left;
	/* inputs whose value a shape needs */
	TG_VEC(uint32_t) to_bind;
	void *driver;
};

/* One row of onnx_ops.def. */
typedef void tg_im_fn(struct tg_im *im);
struct tg_im_op_row {
	const char *name, *domain;
	int first, last;
	tg_im_fn *import;   /* NULL: unsupported */
	int arg;            /* for importers that serve several ops */
	const char *reason; /* why unsupported */
};
extern const struct tg_im_op_row tg_im_rows[];
extern const uint32_t tg_im_n_rows;
const struct tg_im_op_row *tg_im_find_row(const char *domain, const char *name, int64_t opset);

/* Ends the node: wrong input. The driver stops. */
void tg_im_error(struct tg_im *im, const char *fmt, ...) TG_PRINTF(2, 3);
/* Ends the node: it is legal, but not supported. The driver goes on to find others. */
void tg_im_refuse(struct tg_im *im, const char *fmt, ...) TG_PRINTF(2, 3);

/* Attributes: the default when absent; a wrong type is an error. */
const Onnx__AttributeProto *tg_im_attr(struct tg_im *im, const char *name);
bool tg_im_has(struct tg_im *im, const char *name);
int64_t tg_im_int(struct tg_im *im, const char *name, int64_t dflt);
double tg_im_float(struct tg_im *im, const char *name, double dflt);
const char *tg_im_str(struct tg_im *im, const char *name, const char *dflt);
struct tg_ints { const int64_t *at; uint32_t n; };
bool tg_im_attr_ints(struct tg_im *im, const char *name, struct tg_ints *out); /* false: absent */
bool tg_im_attr_floats(struct tg_im *im, const char *name, const double **at, uint32_t *n);
struct tg_const *tg_im_attr_tensor(struct tg_im *im, const char *name); /* NULL: absent */
/* The graph attribute, for control flow. */
const Onnx__GraphProto *tg_im_graph(struct tg_im *im, const char *name);

/* Operands. */
bool tg_im_in(const struct tg_im *im, uint32_t k); /* present */
enum tg_dtype tg_im_type(const struct tg_im *im, tg_val v);
const struct tg_shape *tg_im_shape(const struct tg_im *im, tg_val v);
uint32_t tg_im_rank(const struct tg_im *im, tg_val v);
int64_t tg_im_count(const struct tg_im *im, tg_val v);
/* The constant behind a value, else NULL: silently / with an explanation what decides (`what`: "shape of Reshape"). floats: an input of a
 * floating type may be bound too. */
const struct tg_const *tg_im_peek(const struct tg_im *im, tg_val v);
const struct tg_const *tg_im_const(struct tg_im *im, tg_val v, const char *what, bool floats);
/* The constant if it is one, or would be with offered integer inputs bound (then the import starts over); else NULL, without failing. */
const struct tg_const *tg_im_try_const(struct tg_im *im, tg_val v);
/* The same as integers; false: reported or absent. */
bool tg_im_ints(struct tg_im *im, tg_val v, const char *what, struct tg_ints *out);
/* An operand or else an attribute of that name (ops that moved attributes to operands); false: neither is there. */
bool tg_im_ints_of(struct tg_im *im, uint32_t k, const char *name, struct tg_ints *out);
/* 0 <= axis < rank, else an error. */
uint32_t tg_im_axis(struct tg_im *im, int64_t axis, uint32_t rank);
/* Sorted, unique, normal axes as a bit mask. */
uint32_t tg_im_axes(struct tg_im *im, struct tg_ints axes, uint32_t rank);

/* A subgraph or function body to import before this node's results are known; `bind` makes its formal inputs known. See import.c. */
bool tg_im_enter_branch(struct tg_im *im, const Onnx__GraphProto *g, const tg_val *actual, uint32_t n_actual);
typedef void tg_im_done_fn(struct tg_im *im, void *state, const tg_val *results, uint32_t n);
bool tg_im_enter(struct tg_im *im, const Onnx__GraphProto *g, const tg_val *actual, uint32_t n_actual, tg_im_done_fn *done, void *state);

/* ---- build.c: graph ops ---- */

tg_val tg_im_op(struct tg_im *im, enum tg_op_code code, const tg_val *in, uint32_t n, const union tg_attr *attrs);
tg_val tg_im_put_const(struct tg_im *im, struct tg_const *c);
tg_val tg_im_scalar(struct tg_im *im, enum tg_dtype t, double v);
tg_val tg_im_scalar_i64(struct tg_im *im, enum tg_dtype t, int64_t v);
tg_val tg_im_splat(struct tg_im *im, enum tg_dtype t, const struct tg_shape *s, double v);
tg_val tg_im_i64s(struct tg_im *im, const int64_t *v, uint32_t n);
int64_t *tg_im_dims(struct tg_im *im, uint32_t n, int64_t fill); /* n integers in the module's arena */

tg_val tg_im_1(struct tg_im *im, enum tg_op_code code, tg_val x);
/* Operands are often calls that make ops themselves. Compilers disagree about the order in which a function's arguments are evaluated, and so would
 * the ops; the elements of an initializer list come in order. */
#define tg_im_2(im, code, a, b) tg_im_op(im, code, (tg_val[]){ a, b }, 2, NULL)
#define tg_im_select(im, c, a, b) tg_im_op(im, TG_OP_select, (tg_val[]){ c, a, b }, 3, NULL)
#define tg_im_matmul(im, a, b) tg_im_2(im, TG_OP_matmul, a, b)
tg_val tg_im_cast(struct tg_im *im, tg_val x, enum tg_dtype t);      /* nothing when it is that type */
tg_val tg_im_cast_sat(struct tg_im *im, tg_val x, enum tg_dtype t);
tg_val tg_im_reshape(struct tg_im *im, tg_val x, const struct tg_shape *s);
tg_val tg_im_reshape_n(struct tg_im *im, tg_val x, uint32_t rank, ...); /* int64_t each */
tg_val tg_im_broadcast(struct tg_im *im, tg_val x, const struct tg_shape *s);
tg_val tg_im_transpose(struct tg_im *im, tg_val x, const int64_t *perm);
tg_val tg_im_swap_last(struct tg_im *im, tg_val x);
tg_val tg_im_slice(struct tg_im *im, tg_val x, uint32_t axis, int64_t start, int64_t size);
tg_val tg_im_concat(struct tg_im *im, const tg_val *x, uint32_t n, uint32_t axis);
tg_val tg_im_gather(struct tg_im *im, tg_val x, tg_val index, uint32_t axis);
tg_val tg_im_pad(struct tg_im *im, tg_val x, const int64_t *lo, const int64_t *hi, const char *mode, tg_val fill);
tg_val tg_im_iota(struct tg_im *im, enum tg_dtype t, const struct tg_shape *s, uint32_t axis);
tg_val tg_im_reduce(struct tg_im *im, enum tg_op_code code, tg_val x, uint32_t axes_mask, bool keep);
/* A rank-1 operand put along `axis` of rank `rank`, for broadcasting. */
tg_val tg_im_along(struct tg_im *im, tg_val x, uint32_t axis, uint32_t rank);
/* f16 and bf16 as f32 for a composed computation; the result goes back with tg_im_cast. */
tg_val tg_im_widen(struct tg_im *im, tg_val x);
tg_val tg_im_mean(struct tg_im *im, tg_val x, uint32_t axes_mask, bool keep);
tg_val tg_im_softmax(struct tg_im *im, tg_val x, uint32_t axes_mask, bool log);
struct tg_shape tg_im_shape_of(uint32_t rank, const int64_t *dim);
bool tg_im_broadcast_shape(const struct tg_shape *a, const struct tg_shape *b, struct tg_shape *out); /* numpy's rule */

#define X_ADD(a, b) tg_im_2(im, TG_OP_add, a, b)
#define X_SUB(a, b) tg_im_2(im, TG_OP_sub, a, b)
#define X_MUL(a, b) tg_im_2(im, TG_OP_mul, a, b)
#define X_DIV(a, b) tg_im_2(im, TG_OP_div, a, b)
#define X_MIN(a, b) tg_im_2(im, TG_OP_min, a, b)
#define X_MAX(a, b) tg_im_2(im, TG_OP_max, a, b)
#define X_EQ(a, b) tg_im_2(im, TG_OP_eq, a, b)
#define X_LT(a, b) tg_im_2(im, TG_OP_lt, a, b)
#define X_LE(a, b) tg_im_2(im, TG_OP_le, a, b)
#define X_AND(a, b) tg_im_2(im, TG_OP_and, a, b)
#define X_OR(a, b) tg_im_2(im, TG_OP_or, a, b)
#define X_NOT(a) tg_im_1(im, TG_OP_not, a)
/* A number in the type of x. */
#define X_NUM(x, v) tg_im_scalar(im, tg_im_type(im, x), v)

/* The importers, one for each name in onnx_ops.def. */
#define ONNX(name, domain, first, last, fn, arg) tg_im_fn tg_im_import_##fn;
#define ONNX_NOT(name, domain, first, last, reason)
#include "onnx_ops.def"

#endif
