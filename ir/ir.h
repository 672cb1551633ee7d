/* ir.h: one container for the three dialects (graph, tile, mach), its text, verifier, builder, evaluator and pass manager.
 *
 * A module is one block of ops in execution order (regions nest further blocks), a table of values, a table of provenance sets, named
 * inputs and outputs. graph and tile values are tensors, each defined once. mach values are virtual registers: declared once, written by any
 * number of instructions. Everything lives in the module's arena; weights are borrowed from mapped files. */
#ifndef TG_IR_H
#define TG_IR_H

#include "base.h"

typedef struct { uint32_t id; } tg_val;  /* 0: none */
typedef struct { uint32_t id; } tg_prov; /* a set of ONNX nodes; 0: none, which the verifier refuses on an op */
typedef struct { uint32_t id; } tg_expr; /* node of a stage's body, index + 1; 0: none */
static inline bool tg_has(tg_val v) { return v.id != 0; }

/* ---- op tables ----------------------------------------------------------------------------------------------- */

/* T_REGION: has regions; T_SCALAR, T_PREDICATE: its operand is such a register; T_CONSTANT: its result is its first attribute. */
enum tg_trait { T_ELEMENTWISE = 1, T_COMPARE = 2, T_SHAPE = 4, T_REGION = 8, T_SCALAR = 16, T_PREDICATE = 32, T_CONSTANT = 64 };
enum tg_dialect { TG_GRAPH, TG_TILE, TG_MACH, TG_N_DIALECTS };
enum tg_op_code {
	TG_OP_none,
#define OP(name, lo, hi, out, traits, doc) TG_OP_##name,
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) TG_TILE_##name,
#include "tile_ops.def"
#define OP(name, lo, hi, out, traits, doc) TG_MACH_##name,
#include "mach_ops.def"
	TG_FIRST_INSN /* this and what follows: rows of the module's table of instructions */
};
enum tg_attr_kind { TG_ATTR_INT, TG_ATTR_FLOAT, TG_ATTR_INTS, TG_ATTR_FLOATS, TG_ATTR_STR, TG_ATTR_DTYPE, TG_ATTR_CONST, TG_ATTR_STAGE };
struct tg_attr_info {
	const char *name;
	enum tg_attr_kind kind;
	double dflt;
	const char *dflt_str, *doc;
	int64_t lo, hi; /* range of INT; equal: any */
	uint32_t count; /* numbers in INTS; 0: any */
};
struct tg_op_info {
	const char *name, *doc; /* "relu"; printed as "graph.relu" */
	enum tg_dialect dialect;
	int min_in, max_in, n_out; /* max_in, n_out -1: any number */
	uint32_t traits;
	uint32_t n_attrs;
	const struct tg_attr_info *attrs;
	const uint8_t *in_kinds; /* enum tg_value_kind of each of max_in operands; NULL: tensors */
	uint8_t out_kind;        /* of the result */
};
const struct tg_op_info *tg_op_info(uint16_t code); /* of the rows of the .def files */

/* The instructions of the mach dialect (codegen/mach_ir.c makes them of the chip's table): rows without a name are none. An instruction's
 * results are the registers that it writes; one operand more than min_in is its predicate. */
struct tg_insn_table { const struct tg_op_info *rows; uint32_t n; };

/* Position of an attribute in tg_op.attrs: TG_A_conv_stride etc., generated from the ATTR rows. */
enum tg_attr_index {
#define OP(name, lo, hi, out, traits, doc) TG_A_FIRST_##name, TG_A_BASE_##name = TG_A_FIRST_##name - 1,
#define ATTR(op, field, kind, dflt, doc) TG_AX_##op##_##field,
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) TG_A_FIRST_tile_##name, TG_A_BASE_tile_##name = TG_A_FIRST_tile_##name - 1,
#define ATTR(op, field, kind, dflt, doc) TG_AX_tile_##op##_##field,
#include "tile_ops.def"
#define OP(name, lo, hi, out, traits, doc) TG_A_FIRST_mach_##name, TG_A_BASE_mach_##name = TG_A_FIRST_mach_##name - 1,
#define ATTR(op, field, kind, dflt, doc) TG_AX_mach_##op##_##field,
#include "mach_ops.def"
	TG_AX_END
};
/* TG_AT(conv, stride): index of conv's attribute `stride`. */
#define TG_AT(op, field) (TG_AX_##op##_##field - TG_A_BASE_##op - 1)

/* ---- constants -------------------------------------------------------------------------------------------------- */

enum tg_const_kind { TG_CONST_SPLAT, TG_CONST_DENSE, TG_CONST_PARTS };
/* A constant tensor, row-major. A splat keeps one element whatever its shape. `file` >= 0 names the module file that `data` is mapped from. One in parts has no
 * data of its own: splats and dense constants of its type lie side by side along an axis; only tile.data may hold it. */
struct tg_const {
	enum tg_const_kind kind;
	enum tg_dtype dtype;
	struct tg_shape shape;
	const void *data; /* DENSE: all elements; SPLAT: one */
	int32_t file;
	uint64_t file_offset;
	struct tg_const *const *parts; /* PARTS */
	uint32_t n_parts, axis;
};
/* Element i (row-major), whichever kind. */
double tg_const_f64(const struct tg_const *c, int64_t i);
int64_t tg_const_i64(const struct tg_const *c, int64_t i);
/* The value of every element when they are all the same (bitwise); false otherwise. */
bool tg_const_is_splat(const struct tg_const *c);
struct tg_const *tg_const_splat(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, double v);
struct tg_const *tg_const_splat_i64(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, int64_t v);
/* Copies `data` unless borrow. */
struct tg_const *tg_const_dense(struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, const void *data, bool borrow);
/* A constant of a body (bits of t's compute type) that memory type t holds exactly: what a guarded operand may be filled with on the chip. */
bool tg_bits_fit(enum tg_dtype t, uint64_t bits);
/* A constant of at least one part; false: they do not fit side by side. */
bool tg_const_join(struct tg_const *c, uint32_t axis, struct tg_const *const *parts, uint32_t n);
struct tg_const *tg_const_ints(struct tg_arena *a, const int64_t *v, uint32_t n); /* i64 [n] */

/* ---- stages ----------------------------------------------------------------------------------------------------- */

enum tg_dim_kind { TG_DIM_PARALLEL, TG_DIM_REDUCE };
struct tg_dim { int64_t extent; uint8_t kind; };

/* One index: (sum coef[d] * dim[d] + offset) floordiv div, then mod `mod` (0: none), plus the element of operand `gather` (-1: none) at this
 * point. div and mod are floor division and its remainder. */
struct tg_index {
	int64_t *coef; /* n_dims */
	int64_t offset, div, mod;
	int32_t gather;
};
struct tg_map { uint32_t rank; struct tg_index *index; };
struct tg_stage_in {
	struct tg_map map;
	bool guarded;      /* the map may leave the tensor: then the element is `fill` */
	uint64_t fill;     /* as const bits of the operand's compute type */
};
struct tg_node { uint8_t op; uint8_t dtype; int32_t k; uint64_t bits; tg_expr a, b, c; }; /* op: enum tg_expr_op */
enum tg_combine { TG_SUM, TG_PROD, TG_MAX, TG_MIN, TG_N_COMBINES };
struct tg_reduction { uint8_t combine; tg_expr value; }; /* identity: 0, 1, lowest, highest of the value's type */
struct tg_stage_out { struct tg_map map; tg_expr value; }; /* map: over parallel dimensions, injective, inside */

/* For every point of the parallel dimensions: reduce the reductions' values over the reduce dimensions, then store the outputs. Without
 * reductions there is no reduce dimension. Operand i of the op is ins[i] (the `into` operand has no entry). Nodes are in dependency order. */
struct tg_stage {
	uint32_t n_dims, n_ins, n_nodes, n_reds, n_outs;
	struct tg_dim *dims;
	struct tg_stage_in *ins;
	struct tg_node *nodes;
	struct tg_reduction *reds;
	struct tg_stage_out *outs;
};
enum tg_expr_op {
#define EXPR(name, arity, doc) TG_X_##name,
#include "exprs.def"
	TG_N_EXPRS
};
struct tg_expr_info { const char *name; uint8_t arity; const char *doc; };
extern const struct tg_expr_info tg_expr_infos[TG_N_EXPRS];
extern const char *const tg_combine_names[TG_N_COMBINES];
enum tg_dtype tg_compute_type(enum tg_dtype memory); /* f16 -> f32, u8 -> u32, bool -> bool, f64 -> f64 ... */

/* product.c: a factor of a sum of products: operand `in` (-1: a constant node), rounded to `round` (TG_none: as it is). */
struct tg_factor { int32_t in; enum tg_dtype round; };
bool tg_stage_product(const struct tg_stage *s, struct tg_factor f[2]);

/* ---- module ------------------------------------------------------------------------------------------------------ */

enum tg_value_kind { TG_TENSOR, TG_SREG, TG_VREG, TG_MREG, TG_PREG };
struct tg_op;
struct tg_value {
	uint8_t kind;
	uint8_t dtype;
	struct tg_shape shape;
	const char *name;      /* from the model, unescaped; may be NULL */
	struct tg_op *def;     /* of a register: its declaration; NULL for a module input */
	uint32_t n_uses;       /* kept by tg_count_uses */
	uint8_t layout[TG_MAX_RANK]; /* dimensions from outermost to innermost in memory; identity unless a pass changed it */
};
union tg_attr {
	int64_t i;
	double f;
	struct { const int64_t *at; uint32_t n; } ints;
	struct { const double *at; uint32_t n; } floats;
	const char *s;
	enum tg_dtype dtype;
	struct tg_const *c;
	struct tg_stage *stage;
};
struct tg_block;
struct tg_op {
	uint16_t code;
	uint32_t n_in, n_out, n_regions;
	tg_val *in, *out;
	union tg_attr *attrs; /* one for each ATTR row, in order */
	struct tg_block **regions;
	tg_prov prov;
	struct tg_op *prev, *next;
	struct tg_block *block;
	uint32_t line, column; /* in the module's text; 0: not from text */
};
struct tg_block { struct tg_op *first, *last, *parent; };

struct tg_node_ref { uint32_t index; const char *name, *op_type; }; /* an ONNX node */
struct tg_prov_set { const uint32_t *nodes; uint32_t n; };          /* indices into module nodes, ascending */
struct tg_module_file { const char *path; uint8_t sha256[32]; struct tg_file map; };
struct tg_port { const char *name; tg_val value; };

struct tg_module {
	struct tg_arena *arena;
	const char *source; /* the model's path, for messages */
	const char *text;   /* path of the text that it was read from, or NULL */
	const struct tg_insn_table *insns; /* NULL: no machine code */
	struct tg_block body;
	TG_VEC(struct tg_value) values; /* [0] unused */
	TG_VEC(struct tg_node_ref) nodes;
	TG_VEC(struct tg_prov_set) provs; /* [0] unused */
	TG_VEC(struct tg_module_file) files;
	TG_VEC(struct tg_port) inputs, outputs;
	uint64_t macs;
	const char *chip_text; /* set once a chip has been chosen: text of the chip, else NULL */
	const char *flags;     /* options that decide the result, canonical text */
	const char *level;     /* last pass that ran, NULL at first: `compile x.tir` carries on behind it */
};

/* module.c */
struct tg_module *tg_module_new(struct tg_arena *a, const char *source);
struct tg_value *tg_value_of(struct tg_module *m, tg_val v);
const struct tg_value *tg_value_get(const struct tg_module *m, tg_val v);
tg_val tg_value_new(struct tg_module *m, enum tg_value_kind k, enum tg_dtype t, const struct tg_shape *s, const char *name);
/* Appends to `b` (before `before` when not NULL); attributes get their defaults. Results must be set by the caller. */
struct tg_op *tg_op_new(struct tg_module *m, struct tg_block *b, struct tg_op *before, uint16_t code, const tg_val *in, uint32_t n_in, uint32_t n_out, tg_prov prov);
void tg_op_remove(struct tg_op *op);
struct tg_block *tg_region_new(struct tg_module *m, struct tg_op *op); /* one more region of the op */
const struct tg_op_info *tg_op_info_in(const struct tg_module *m, uint16_t code); /* instructions of m's table too */
void tg_count_uses(struct tg_module *m);
void tg_replace_uses(struct tg_module *m, tg_val from, tg_val to); /* module outputs too */
tg_prov tg_prov_node(struct tg_module *m, uint32_t node);          /* index into m->nodes */
tg_prov tg_prov_union(struct tg_module *m, tg_prov a, tg_prov b);
/* The first ONNX node of the set, as a location; line and column of an op that was read from text. */
struct tg_loc tg_op_loc(const struct tg_module *m, const struct tg_op *op);
const char *tg_prov_text(struct tg_arena *a, const struct tg_module *m, tg_prov p); /* "Conv_5 (Conv), Relu_6 (Relu)", escaped */

/* graph.c: builds a graph op, infers its results and checks operands. On failure reports with `loc` and returns the zero value. attrs: one for
 * each ATTR row, or NULL for all defaults. */
tg_val tg_graph_op(struct tg_diag *d, struct tg_loc loc, struct tg_module *m, tg_prov prov, enum tg_op_code code, const tg_val *in, uint32_t n_in, const union tg_attr *attrs);
tg_val tg_graph_const(struct tg_module *m, tg_prov prov, struct tg_const *c);
/* The constant behind a value defined by graph.constant (or tile.data), else NULL. */
const struct tg_const *tg_const_of(const struct tg_module *m, tg_val v);
/* graph_infer.c / graph_expand.c: every row of graph_ops.def has infer_NAME and expand_NAME. Replaces all graph ops by stages. */
bool tg_expand_module(struct tg_diag *d, struct tg_module *m);

/* body.c: building stages. A body under construction belongs to one op being expanded. */
struct tg_body;
struct tg_body *tg_body_new(struct tg_module *m, tg_prov prov);
uint32_t tg_body_dim(struct tg_body *b, enum tg_dim_kind k, int64_t extent); /* its number */
/* Adds operand v; returns its number. Its map starts as all constants 0: set indices with tg_body_index / _term. */
uint32_t tg_body_in(struct tg_body *b, tg_val v);
void tg_body_term(struct tg_body *b, uint32_t in, uint32_t index, uint32_t dim, int64_t coef);
void tg_body_offset(struct tg_body *b, uint32_t in, uint32_t index, int64_t offset);
void tg_body_divmod(struct tg_body *b, uint32_t in, uint32_t index, int64_t div, int64_t mod);
void tg_body_gather(struct tg_body *b, uint32_t in, uint32_t index, uint32_t index_in);
void tg_body_guard(struct tg_body *b, uint32_t in, double fill); /* fill in the operand's compute type */
tg_expr tg_body_arg(struct tg_body *b, uint32_t in);
tg_expr tg_node_new(struct tg_body *b, enum tg_expr_op op, enum tg_dtype t, tg_expr x, tg_expr y, tg_expr z); /* folds nothing */
tg_expr tg_node_const(struct tg_body *b, enum tg_dtype t, double v);
tg_expr tg_node_const_i64(struct tg_body *b, enum tg_dtype t, int64_t v);
tg_expr tg_node_k(struct tg_body *b, enum tg_expr_op op, enum tg_dtype t, int32_t k, tg_expr x); /* index, acc, inside, wrap, sat */
enum tg_dtype tg_node_type(const struct tg_body *b, tg_expr e);
tg_expr tg_body_reduce(struct tg_body *b, enum tg_combine c, tg_expr value); /* returns the acc node */
/* Finishes: a new tile.stage before `before` in m->body, result type and shape given. out_map NULL: the parallel dimensions in order.
 * into: a tensor to overwrite in part, or zero. */
tg_val tg_body_end(struct tg_body *b, struct tg_op *before, enum tg_dtype t, const struct tg_shape *s, tg_expr value, const struct tg_map *out_map, tg_val into);
/* Interval of an index's affine part over the stage's domain, before div and mod; false when it leaves 64 bits. Domain not empty. */
bool tg_index_affine_range(const struct tg_stage *s, const struct tg_index *ix, int64_t *lo, int64_t *hi);

/* group.c: tile.group. Stages in the order of their block, which they leave for the group's region, at the place of the last one. dims: for each
 * stage, for each of n_shared loops, the stage's dimension; results: what others than these stages read. */
struct tg_group { struct tg_op *const *stages; uint32_t n_stages, n_shared, n_results; const int64_t *dims, *tile; const tg_val *results; };
struct tg_op *tg_group_new(struct tg_module *m, const struct tg_group *g);
void tg_group_inline(struct tg_module *m, struct tg_op *group); /* its stages in its place */
void tg_ungroup(struct tg_module *m);                           /* all groups */
/* verify_group.c: whether its stages, each verified, may share the loops; false and a message. */
bool tg_group_check(struct tg_diag *d, const struct tg_module *m, const struct tg_op *group);

/* macs.c: multiply-accumulates of products and convolutions of the graph dialect, as the graph states them. */
uint64_t tg_module_macs(const struct tg_module *m);

/* verify.c, print.c, parse.c */
bool tg_module_verify(struct tg_diag *d, const struct tg_module *m);
void tg_module_print(struct tg_buf *out, const struct tg_module *m);
/* folder: where relative weight files are looked up; their hash must match. */
struct tg_module *tg_module_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n);
/* Text that may hold machine code. */
struct tg_module *tg_module_parse_mach(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n, const struct tg_insn_table *insns);

/* eval.c: the reference. Shares no arithmetic with the simulator or codegen: libm and host integers. f32 nodes are computed in f32, f64 in f64;
 * sums of f32 reductions accumulate in f64 and round once. */
struct tg_tensor { enum tg_dtype dtype; struct tg_shape shape; void *data; }; /* dense row-major, strings not allowed */
bool tg_tensor_alloc(struct tg_diag *d, struct tg_arena *a, enum tg_dtype t, const struct tg_shape *s, struct tg_tensor *out);
/* One stage: ins[i] for each of the stage's operands; out is written where the output map goes. budget: points of the iteration space allowed, 0: no limit. */
bool tg_eval_stage(struct tg_diag *d, struct tg_loc loc, const struct tg_stage *s, const struct tg_tensor *ins, struct tg_tensor *out);
/* A module in tile dialect (data, stage, empty, view, host). Inputs in the order of m->inputs; outputs are allocated in `a`. `watch`, when not
 * NULL, sees every value once computed. Tensors are freed after their last use. */
typedef bool tg_watch_fn(void *user, const struct tg_module *m, tg_val v, const struct tg_tensor *t);
bool tg_eval_module(struct tg_diag *d, struct tg_arena *a, const struct tg_module *m, const struct tg_tensor *inputs, struct tg_tensor *outputs, tg_watch_fn *watch, void *user);

/* pass.c: the pass manager. A table of passes is given by the caller (passes/passes.def). */
struct tg_pass {
	struct tg_diag *d;
	struct tg_arena *scratch; /* emptied after each pass */
	const void *chip;         /* const struct tg_chip *, or NULL */
	const void *options;      /* const struct tg_options * of passes.h */
};
struct tg_pass_info {
	const char *level, *name, *doc;
	bool (*run)(struct tg_pass *cx, struct tg_module *m);
	bool optional; /* may be skipped */
	bool groups;   /* knows tile.group; the others find none */
};
struct tg_pass_run {
	const struct tg_pass_info *passes;
	uint32_t n_passes;
	const char *only;        /* --passes=a,b,c: these, in this order; NULL: all behind m->level */
	const char *print_after; /* pass name, "all" or NULL */
	const char *stop_after;
	const char *dump_dir;    /* NNN-name.tir after each pass, or NULL */
	const char *skip;        /* comma list of ablated passes */
	bool verify_each, time_passes;
	struct tg_buf *text;     /* where print_after and time_passes write; NULL: nowhere */
};
bool tg_run_passes(struct tg_pass *cx, struct tg_module *m, const struct tg_pass_run *r);

#endif
