/* net.h: builds an ONNX model and streams it to a file.
 *
 * Nodes and value infos are written into memory as they are added; weights are only described, and made element by element while the file is
 * written, so that a model of gigabytes needs kilobytes. Every tensor has a random stream of its own, seeded by its name: the same options give
 * the same bytes, and adding a layer moves no other weight. Names belong to the arena. A function that adds nodes returns its result's name. */
#ifndef TG_BENCH_NET_H
#define TG_BENCH_NET_H

#include "base.h"

enum fill_kind {
	FILL_UNIFORM, /* uniform in [b - a, b + a) */
	FILL_VALUE,   /* a everywhere */
	FILL_RANGE,   /* a + i */
	FILL_BELOW,   /* whole numbers in [0, a) */
	FILL_CAUSAL,  /* over the last two dimensions: a where column <= row + (columns - rows), else b */
	FILL_POWER,   /* a to the power of -i * b */
	FILL_LIST,    /* given */
};
struct fill { enum fill_kind kind; double a, b; const double *list; };
#define UNIFORM(std) ((struct fill){ FILL_UNIFORM, (std) * 1.7320508075688772, 0, NULL })
#define UNIFORM_AT(std, mean) ((struct fill){ FILL_UNIFORM, (std) * 1.7320508075688772, mean, NULL })
#define VALUE(v) ((struct fill){ FILL_VALUE, v, 0, NULL })

struct net_tensor { const char *name; enum tg_dtype dtype; struct tg_shape shape; struct fill fill; };
struct net_options {
	int64_t batch, seq, cache, m, k, n; /* what a network does not have it ignores; 0: its default */
	enum tg_dtype weights;              /* type of matrix weights in the file; others than f32 are followed by a Cast */
	uint64_t seed;
};
struct net {
	struct tg_arena *arena;
	struct net_options o;
	struct tg_buf nodes, outputs;
	TG_VEC(struct net_tensor) weights, inputs;
	uint32_t n_nodes;
	/* as the graph states them, for the bound */
	uint64_t macs;         /* of products and convolutions */
	uint64_t weight_elems; /* that a run must read: of a table only the rows that are looked up */
	uint64_t io_bytes;     /* inputs and outputs in their own types */
};
#define DIMS(...) \
	((struct tg_shape){ (uint32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })

/* ---- net.c ---- */
void net_init(struct net *n, struct tg_arena *a, const struct net_options *o);
const char *net_input(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s, struct fill f); /* f: the data set's values */
void net_output(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s);
/* An initializer that counts as weights. net_const: one that does not (shapes, masks). net_table: one of which `rows` rows are read. */
const char *net_weight(struct net *n, const char *name, struct tg_shape s, struct fill f);
const char *net_table(struct net *n, const char *name, struct tg_shape s, struct fill f, int64_t rows);
const char *net_const(struct net *n, const char *name, enum tg_dtype t, struct tg_shape s, struct fill f);
const char *net_ints(struct net *n, const char *name, uint32_t count, const int64_t *v);
/* The weight of a product, in the file's type for those. */
const char *net_matrix(struct net *n, const char *name, struct tg_shape s, double std);
/* One node with one output. attrs: "axis=-1 epsilon=1e-5 perm=0,2,1,3 mode=:linear": a whole number is INT, with commas INTS, with '.' or 'e' FLOAT, behind
 * ':' STRING. Inputs end with NULL; "" is one that is left out. The result is called `out`, or named after the node when NULL. */
const char *net_op(struct net *n, const char *out, const char *type, const char *attrs, ...) __attribute__((sentinel));
const char *net_named(struct net *n, const char *fmt, ...) TG_PRINTF(2, 3);
/* Split along an axis into equal parts. */
void net_split(struct net *n, const char *x, int64_t axis, uint32_t parts, int64_t each, const char **out);

/* ---- net_write.c ---- */
bool net_write(struct tg_diag *d, struct net *n, const char *path);
/* input_0.pb ... of a test data set; makes the folder. */
bool net_write_data(struct tg_diag *d, struct net *n, const char *folder);
/* The elements [first, first + count) of a tensor. */
void net_fill(const struct net *n, const struct net_tensor *t, int64_t first, int64_t count, void *out);

/* ---- networks.c ---- */
struct network {
	const char *name, *doc;
	struct net_options defaults;
	void (*build)(struct net *n);
};
extern const struct network networks[]; /* ends with a NULL name */
/* Builds by name with the options that are not 0; NULL: no such network. */
struct net *network_build(struct tg_arena *a, const char *name, const struct net_options *o);

/* networks_vision.c, networks_text.c */
void build_resnet50(struct net *n);
void build_mobilenetv2(struct net *n);
void build_bert_base(struct net *n);
void build_gpt2(struct net *n);
void build_gpt2_decode(struct net *n);
void build_llama_block(struct net *n);
void build_llama_block_decode(struct net *n);
void build_gemm(struct net *n);
void build_deep(struct net *n);

#endif
