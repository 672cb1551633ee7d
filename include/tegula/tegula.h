/* tegula.h: the public interface of libtegula: compile a model, load an executable, run it on the simulator.
 *
 * Opaque handles, no global state. A handle belongs to one thread at a time; different handles may be used by different threads at once. Nothing in
 * the library prints, aborts or exits. Every function that can fail returns a status; tegula_messages tells what was found, one message a line. */
#ifndef TEGULA_H
#define TEGULA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TEGULA_API __attribute__((visibility("default")))
#else
#define TEGULA_API
#endif

typedef enum {
	TEGULA_OK = 0,
	TEGULA_USAGE = 2,       /* an argument is wrong */
	TEGULA_UNSUPPORTED = 3, /* the model holds what cannot be compiled */
	TEGULA_MALFORMED = 4,   /* the file is broken */
	TEGULA_LIMIT = 5,       /* it does not fit the chip, or a limit was reached */
	TEGULA_IO = 6,
	TEGULA_TRAP = 7,        /* the program broke a rule of the chip */
	TEGULA_INTERNAL = 70,
	TEGULA_NOMEM = 71
} tegula_status;

/* Element types, with the codes of ONNX TensorProto.DataType. */
typedef enum {
	TEGULA_F32 = 1, TEGULA_U8 = 2, TEGULA_I8 = 3, TEGULA_U16 = 4, TEGULA_I16 = 5, TEGULA_I32 = 6, TEGULA_I64 = 7, TEGULA_BOOL = 9, TEGULA_F16 = 10,
	TEGULA_F64 = 11, TEGULA_U32 = 12, TEGULA_U64 = 13, TEGULA_BF16 = 16
} tegula_type;

/* An executable and a chip with its memories. */
typedef struct tegula_program tegula_program;

/* A dense row-major tensor. `bytes` must be what type and dims say. */
typedef struct {
	const char *name; /* of a graph input or output; owned by the program */
	tegula_type type;
	size_t rank;
	const int64_t *dims;
	size_t bytes;
} tegula_port;

/* "0.1.0" */
TEGULA_API const char *tegula_version(void);

/* Compiles an ONNX file. chip: a built-in name ("t1", "t1-edge"), a YAML file, or NULL for t1. dims: n_dims strings "NAME=N" or "INPUT:AXIS=N" that bind
 * symbolic dimensions. *out is set on failure too, so that its messages can be read; free it in either case. */
TEGULA_API tegula_status tegula_compile(const char *path, const char *chip, const char *const *dims, size_t n_dims, tegula_program **out);
/* Reads a .tgx file; as above. */
TEGULA_API tegula_status tegula_load(const char *path, tegula_program **out);
/* Writes the executable, whole or not at all. */
TEGULA_API tegula_status tegula_save(tegula_program *p, const char *path);
TEGULA_API void tegula_free(tegula_program *p); /* NULL is fine */

/* What was found so far, one message a line; owned by the program, valid until its next call. */
TEGULA_API const char *tegula_messages(const tegula_program *p);

TEGULA_API size_t tegula_input_count(const tegula_program *p);
TEGULA_API size_t tegula_output_count(const tegula_program *p);
/* NULL when there is no such port. Owned by the program. */
TEGULA_API const tegula_port *tegula_input(const tegula_program *p, size_t i);
TEGULA_API const tegula_port *tegula_output(const tegula_program *p, size_t i);

/* Runs once. inputs[i]: the bytes of input i, outputs[i]: room for those of output i. */
TEGULA_API tegula_status tegula_run(tegula_program *p, const void *const *inputs, void *const *outputs);

/* Counters of all runs of this program. */
typedef struct {
	uint64_t cycles, bundles, macs, dram_read_bytes, dram_written_bytes;
	double seconds;   /* cycles at the chip's clock */
	double energy_joule;
} tegula_stats;
TEGULA_API void tegula_get_stats(const tegula_program *p, tegula_stats *out);

#ifdef __cplusplus
}
#endif
#endif
