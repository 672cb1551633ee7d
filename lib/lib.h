/* lib.h: the compiler as one call; what tools and the public API share. */
#ifndef TG_LIB_H
#define TG_LIB_H

#include "codegen.h"
#include "frontend.h"
#include "passes.h"
#include "runtime.h"

struct tg_compile_options {
	const char *chip;                 /* built-in name or path; NULL: t1 */
	struct tg_import_options import;
	struct tg_codegen_options codegen;
	struct tg_pass_run passes;        /* passes, n_passes are filled in */
	enum tg_dtype precision;          /* of matrix inputs: f32, bf16, f16; none: what IR text says, else f32 */
	const char *keep_f32;             /* comma list of ONNX nodes that stay f32, or NULL */
	bool no_host;                     /* host work is an error */
	bool no_code;                     /* stop before code generation */
	bool keep_all;                    /* every stage's result becomes an output, named after its ONNX nodes */
};
struct tg_compiled {
	struct tg_module *module;
	struct tg_exe exe;
	struct tg_chip chip;
	struct tg_import_result imported;
	bool stopped;                     /* --stop-after: no executable */
};
/* An ONNX model, or IR text when the path ends in .tir. */
bool tg_compile_file(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_compile_options *o, struct tg_compiled *out);
/* "chip", "mixed" or "host": where the executable's work is done. */
const char *tg_placement(const struct tg_exe *x);

#endif
