/* base.h: what every folder shares: memory, diagnostics, element types, checked sizes, hashing, files.
 *
 * Memory: every object belongs to a struct tg_arena; arenas belong to a struct tg_heap, which has the budget and the
 * place to unwind to. Running out of memory never returns: it longjmps to the API entry point (TG_HEAP_TRY), which drops
 * all arenas. Callers never test for NULL. */
#ifndef TG_BASE_H
#define TG_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TG_MAX_RANK 16
#define TG_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TG_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- heap.c ------------------------------------------------------------------------------------------------ */

struct tg_arena;

struct tg_heap {
	jmp_buf unwind;          /* where an exhausted heap continues; set by the entry point through setjmp */
	struct tg_arena *arenas; /* all live arenas, newest first */
	size_t used_bytes;       /* bytes held from malloc */
	size_t limit_bytes;      /* 0: no limit */
	uint64_t n_allocs;       /* chunks asked of malloc so far */
	uint64_t fail_at;        /* test hook: the chunk with this number fails (1-based); 0: none */
	uint64_t n_requests, fail_request; /* the same for tg_alloc, whether it needs a chunk or not */
};

/* `if (setjmp(heap->unwind)) { tg_heap_free(heap); return TG_ERR_NOMEM; }` belongs right after tg_heap_init. */
void tg_heap_init(struct tg_heap *h);
void tg_heap_free(struct tg_heap *h); /* drops every arena */
_Noreturn void tg_heap_exhausted(struct tg_heap *h);

struct tg_arena *tg_arena_new(struct tg_heap *h);
void tg_arena_free(struct tg_arena *a);  /* NULL is fine */
void tg_arena_reset(struct tg_arena *a); /* keeps nothing, frees all but one chunk */
struct tg_heap *tg_arena_heap(struct tg_arena *a);
/* What the arena owns besides memory (a mapping, a library's handle): fn(user) runs when the arena goes or is reset, last added first. So nothing is lost
 * when an exhausted heap unwinds. Add it before the thing is acquired; fn must stand a thing that was not, or was given back early. */
void tg_arena_cleanup(struct tg_arena *a, void (*fn)(void *user), void *user);

void *tg_alloc(struct tg_arena *a, size_t bytes);                /* zeroed, 16-byte aligned */
void *tg_alloc_n(struct tg_arena *a, size_t n, size_t each);      /* zeroed; an overflowing product is exhaustion */
void *tg_grow(struct tg_arena *a, const void *old, size_t old_bytes, size_t new_bytes); /* copies; tail zeroed */
char *tg_strdup(struct tg_arena *a, const char *s);
char *tg_strndup(struct tg_arena *a, const char *s, size_t n);   /* NUL-terminated */
char *tg_asprintf(struct tg_arena *a, const char *fmt, ...) TG_PRINTF(2, 3);

/* A vector in an arena: struct { T *at; size_t n, cap; } v; *TG_PUSH(arena, &v) = x; */
#define TG_VEC(T) struct { T *at; size_t n, cap; }
#define TG_PUSH(arena, v) \
	((v)->at = tg_vec_room((arena), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at), &(v)->at[(v)->n++])
void *tg_vec_room(struct tg_arena *a, void *at, size_t n, size_t *cap, size_t each);

/* ---- buf.c: text and bytes that grow ------------------------------------------------------------------------- */

struct tg_buf {
	struct tg_arena *arena;
	char *at; /* always NUL-terminated once something was added */
	size_t n, cap;
};
void tg_buf_init(struct tg_buf *b, struct tg_arena *a);
void tg_buf_add(struct tg_buf *b, const void *bytes, size_t n);
void tg_buf_puts(struct tg_buf *b, const char *s);
void tg_buf_printf(struct tg_buf *b, const char *fmt, ...) TG_PRINTF(2, 3);
/* A name that came from outside, quoted: control bytes, quotes, backslashes and invalid UTF-8 as \xNN. */
void tg_buf_quote(struct tg_buf *b, const char *s);
const char *tg_quoted(struct tg_arena *a, const char *s);

/* ---- diag.c ---------------------------------------------------------------------------------------------- */

/* Exit statuses of the program and status codes of the library: one list. */
enum tg_status {
	TG_OK = 0,
	TG_ERR_DIFFERS = 1,
	TG_ERR_USAGE = 2,
	TG_ERR_UNSUPPORTED = 3,
	TG_ERR_MALFORMED = 4,
	TG_ERR_LIMIT = 5,
	TG_ERR_IO = 6,
	TG_ERR_TRAP = 7,
	TG_ERR_INTERNAL = 70,
	TG_ERR_NOMEM = 71,
};

/* Where something was found. Any part may be absent: node < 0, line 0, NULL strings. */
struct tg_loc {
	const char *file;
	int32_t node;        /* index in the ONNX graph */
	const char *name;    /* node name, unescaped */
	const char *op_type; /* ONNX operator */
	uint32_t line, column;
};
#define TG_NOWHERE ((struct tg_loc){ .node = -1 })
struct tg_loc tg_at_file(const char *file);
struct tg_loc tg_at_line(const char *file, uint32_t line, uint32_t column);

enum tg_severity { TG_NOTE, TG_WARNING, TG_ERROR, TG_HELP };
struct tg_message {
	enum tg_severity severity;
	enum tg_status status; /* of an error */
	struct tg_loc loc;
	const char *text;
};
/* Collects messages; nothing here prints. The first error decides `status`, but unsupported nodes yield to anything worse. */
struct tg_diag {
	struct tg_arena *arena;
	TG_VEC(struct tg_message) list;
	enum tg_status status;
	uint32_t n_errors;
	uint32_t max_errors; /* further ones are counted, not kept; default 200 */
};
void tg_diag_init(struct tg_diag *d, struct tg_arena *a);
/* All return false, so that `return tg_error(...)` passes failure on. Text: what was found, what was expected. */
bool tg_error(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);       /* malformed input */
bool tg_unsupported(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);
bool tg_limit(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);       /* does not fit */
bool tg_usage(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);
bool tg_io_error(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);
bool tg_internal(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);
bool tg_fail(struct tg_diag *d, enum tg_status s, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(4, 5);
void tg_warning(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) TG_PRINTF(3, 4);
void tg_help(struct tg_diag *d, const char *fmt, ...) TG_PRINTF(2, 3); /* follows the error it belongs to */
/* `file: node 17 'Conv_5' (Conv): error: text`, no newline */
void tg_message_format(const struct tg_message *m, struct tg_buf *out);

/* ---- dtype.c ----------------------------------------------------------------------------------------------- */

enum tg_dtype {
#define DTYPE(name, onnx, bits, kind, npy) TG_##name,
#include "dtypes.def"
	TG_N_DTYPES
};
enum tg_dtype_kind { TG_KIND_NONE, TG_KIND_FLOAT, TG_KIND_SIGNED, TG_KIND_UNSIGNED, TG_KIND_BOOL, TG_KIND_STRING, TG_KIND_COMPLEX };
struct tg_dtype_info {
	const char *name; /* "f32" */
	uint8_t onnx;     /* TensorProto.DataType */
	uint8_t bits;     /* 4 for packed types; 0 for string */
	enum tg_dtype_kind kind;
	const char *npy;  /* descr in an .npy header, NULL when numpy has none */
};
extern const struct tg_dtype_info tg_dtypes[TG_N_DTYPES];
enum tg_dtype tg_dtype_from_onnx(int32_t code); /* TG_none when unknown */
enum tg_dtype tg_dtype_from_name(const char *name, size_t n);
bool tg_is_float(enum tg_dtype t);
bool tg_is_int(enum tg_dtype t); /* signed or unsigned, not bool */
/* One element as a double / int64, and back (round to nearest even, floats to f16 overflow to infinity, f8 saturates; integers wrap).
 * `i` is an element index, so that packed 4-bit types work. */
double tg_get_f64(enum tg_dtype t, const void *data, size_t i);
int64_t tg_get_i64(enum tg_dtype t, const void *data, size_t i);
void tg_put_f64(enum tg_dtype t, void *data, size_t i, double v);
void tg_put_i64(enum tg_dtype t, void *data, size_t i, int64_t v);
/* Numbers as text, with '.' in every locale. */
void tg_f64_text(char *out, size_t n, int digits, double v); /* %.*g */
bool tg_f64_parse(const char *s, size_t n, double *v);       /* all of s[0..n); false: no number of at most 63 characters */
/* n elements of f32 (anywhere in memory) to bf16 or f16, to nearest even; NaNs become 0x7fc0 and 0x7e00. */
void tg_narrow_f32(enum tg_dtype to, void *out, const void *in, size_t n);

/* ---- size.c: the only arithmetic on sizes that come from outside --------------------------------------------- */

struct tg_shape {
	uint32_t rank;
	int64_t dim[TG_MAX_RANK];
};
bool tg_mul_size(size_t a, size_t b, size_t *out); /* false on overflow */
bool tg_add_size(size_t a, size_t b, size_t *out);
/* The one function that makes an element count: false when a dimension is negative or the product exceeds 2^62. */
bool tg_shape_count(const struct tg_shape *s, int64_t *n);
/* Bytes of a dense tensor, 4-bit types rounded up. */
bool tg_shape_bytes(const struct tg_shape *s, enum tg_dtype t, size_t *bytes);
bool tg_shape_equal(const struct tg_shape *a, const struct tg_shape *b);
void tg_shape_print(struct tg_buf *b, const struct tg_shape *s); /* "2x3x4", "scalar" for rank 0 */

/* ---- hash.c ------------------------------------------------------------------------------------------------- */

struct tg_sha256 { uint64_t state[16]; };
void tg_sha256_init(struct tg_sha256 *s);
void tg_sha256_add(struct tg_sha256 *s, const void *p, size_t n);
void tg_sha256_end(struct tg_sha256 *s, uint8_t out[32]);
void tg_sha256_hex(const uint8_t digest[32], char out[65]);

/* ---- file.c ------------------------------------------------------------------------------------------------- */

/* A file's bytes, mapped read-only (an empty file maps to n == 0). Refuses what is not a regular file and more than max_bytes. */
struct tg_mapping; /* belongs to the arena, which unmaps it at its end at the latest */
struct tg_file { const uint8_t *at; size_t n; const char *path; struct tg_mapping *mapping; };
bool tg_file_map(struct tg_diag *d, struct tg_arena *a, const char *path, size_t max_bytes, struct tg_file *out);
/* Beneath `folder` only: openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, O_NOFOLLOW. */
bool tg_file_map_beneath(struct tg_diag *d, struct tg_arena *a, const char *folder, const char *path, struct tg_loc loc, size_t max_bytes, struct tg_file *out);
void tg_file_unmap(struct tg_file *f);
/* Whole or not at all: a temporary file in the same folder, fsync, rename. */
bool tg_file_write(struct tg_diag *d, const char *path, const void *bytes, size_t n);

#endif
