/* tensor_files.h: tensors in files (.npy, .npz, .pb), the folders of test data sets, and the comparison of tensors. */
#ifndef TG_TENSOR_FILES_H
#define TG_TENSOR_FILES_H

#include "frontend.h"

struct tg_named_tensor { const char *name; struct tg_tensor t; };
struct tg_tensor_list { struct tg_named_tensor *at; size_t n, cap; };

/* ---- npy.c ---- */
/* One .npy file from its bytes; `path` for messages. The data is copied into `a`, C order. */
bool tg_npy_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const uint8_t *bytes, size_t n, struct tg_tensor *out);
/* Appends the file's bytes. Types that numpy lacks are written as unsigned integers of their width. */
bool tg_npy_print(struct tg_diag *d, const char *path, struct tg_buf *b, const struct tg_tensor *t);
bool tg_npz_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor_list *out); /* names without ".npy" */
bool tg_npz_write(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_named_tensor *t, size_t n);

/* ---- tensor_files.c ---- */
/* By the file's ending: .npy and .pb give one tensor (a .pb may name it; else the name is ""), .npz any number. Appends to `out`. */
bool tg_tensors_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor_list *out);
bool tg_tensors_write(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_named_tensor *t, size_t n);
/* A .npy file of a type that numpy lacks holds unsigned integers: makes `t` the wanted type if the widths match. */
bool tg_tensor_retype(struct tg_tensor *t, enum tg_dtype want);

/* A test data set: input_N.pb and output_N.pb of a folder. */
struct tg_data_set { struct tg_tensor_list inputs, outputs; };
/* Sequences and optionals are reported as unsupported. */
bool tg_data_set_read(struct tg_diag *d, struct tg_arena *a, const char *folder, struct tg_data_set *out);
/* For each of the n named ports the tensor that belongs to it: by the tensor's name if it names a port, else by position. NULL: none. */
void tg_bind_by_name(const struct tg_tensor_list *list, const char *const *ports, size_t n, const struct tg_tensor **out);

/* ---- compare.c ---- */
struct tg_tolerance { double rtol, atol, nrmse; bool use_nrmse; };
#define TG_DEFAULT_TOLERANCE ((struct tg_tolerance){ 1e-3, 1e-7, 0, false })
/* {"rtol": r, "atol": a} or {"nrmse": n}; a missing file leaves `out` as it is. */
bool tg_tolerance_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tolerance *out);

struct tg_comparison {
	bool ok, same_type, same_shape;
	int64_t n, n_bad, worst; /* worst: row-major index of the largest violation, -1: none */
	double worst_have, worst_want;
	double max_abs, max_rel, max_ulp, cosine, sqnr_db, nrmse;
	double rtol_needed; /* with the given atol; infinite when no tolerance would do */
};
/* Shape and type must match; integers and bool must be equal; NaN equals NaN, an infinity one of the same sign. */
void tg_compare(const struct tg_tensor *have, const struct tg_tensor *want, const struct tg_tolerance *tol, struct tg_comparison *out);
/* One line: "max abs 1e-3, ... worst at 17: 1.5, expected 1.25" */
void tg_comparison_print(struct tg_buf *b, const struct tg_comparison *c);

#endif
