/* frontend.h: ONNX file → graph dialect. */
#ifndef TG_FRONTEND_H
#define TG_FRONTEND_H

#include "ir.h"

/* --dim NAME=N, --dim INPUT:AXIS=N, --dim '*=N' (every unknown dimension that nothing else binds) */
struct tg_dim_binding { const char *name; int64_t value; };
/* The value of a graph input where it determines an output's shape or an axis (Reshape's shape, Slice's starts, ...). */
struct tg_input_value { const char *name; struct tg_tensor tensor; };

struct tg_import_options {
	const struct tg_dim_binding *dims;
	uint32_t n_dims;
	const struct tg_input_value *values; /* offered; only those needed are used */
	uint32_t n_values;
	/* shapes (and so symbol bindings) of given inputs; used by `tegula test` and `check`. NULL tensor data is fine: only dtype and shape are read. */
	const struct tg_input_value *shapes;
	uint32_t n_shapes;
};
struct tg_import_result {
	struct tg_module *module;
	TG_VEC(const char *) bound_inputs; /* inputs whose value entered, in graph order */
};
/* Reads, checks and imports. Unsupported nodes: all of them are reported (status TG_ERR_UNSUPPORTED). Unbound dimensions: status TG_ERR_USAGE, and
 * every flag that is missing is listed. Weights stay mapped in module->files. */
bool tg_import_onnx(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_import_options *o, struct tg_import_result *out);

/* The names of the graph inputs that are no initializers, in order: what the tensors of a data set are bound to by position. */
bool tg_onnx_inputs(struct tg_diag *d, struct tg_arena *a, const char *path, const char *const **names, uint32_t *n);

/* The importer table, for `tegula info --ops` and docs: operator, domain, first opset, last opset, status text. */
struct tg_onnx_op_info { const char *name, *domain; int first, last; const char *unsupported; /* reason, NULL when supported */ };
const struct tg_onnx_op_info *tg_onnx_ops(uint32_t *n);

/* tensor_io.c: TensorProto files */
bool tg_tensor_read_pb(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor *out, const char **name);
bool tg_tensor_write_pb(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_tensor *t, const char *name);

#endif
