/* generate.h: a program under construction, and what the generator's files share. */
#ifndef TG_FUZZ_GENERATE_H
#define TG_FUZZ_GENERATE_H

#include "eval_internal.h"
#include "fuzz.h"

enum { MAX_GEN_DIMS = 8, MAX_POOL = 64, MAX_ELEMENTS = 1 << 17 };

struct known { double bound; int places; }; /* of a value or an expression */
struct item { tg_expr e; enum tg_dtype t; struct known k; bool varies, used; };
struct gen {
	struct rng r;
	struct tg_arena *a;
	struct tg_module *m;
	tg_prov prov;
	TG_VEC(tg_val) vals;      /* that may be read: not index lists */
	TG_VEC(struct known) known; /* by value id */
	int64_t max_points;
	uint32_t n_inputs;
	/* the stage under construction */
	struct tg_body *b;
	uint32_t n_dims, n_ins;
	int64_t extent[MAX_GEN_DIMS];
	uint8_t kind[MAX_GEN_DIMS];
	struct item pool[MAX_POOL];
	uint32_t n_pool;
};
struct index { uint32_t n; uint32_t dim[3]; int64_t coef[3], offset, div, mod; };
struct shape_map { uint32_t rank; struct index at[MAX_GEN_DIMS]; struct tg_shape shape; bool guarded; };

static inline int64_t some(struct gen *g, int64_t lo, int64_t hi) { return rng_range(&g->r, lo, hi); }
static inline bool chance(struct gen *g, int percent) { return rng_chance(&g->r, percent); }

/* generate_operands.c */
const struct tg_value *gen_value(const struct gen *g, tg_val v);
void gen_know(struct gen *g, tg_val v, struct known k);
enum tg_dtype gen_some_type(struct gen *g);
tg_val gen_make_tensor(struct gen *g, enum tg_dtype t, const struct tg_shape *s);
tg_val gen_make_data(struct gen *g, enum tg_dtype t, const struct tg_shape *s); /* a constant */
int64_t gen_some_extent(struct gen *g);
int64_t gen_points(const struct gen *g);
bool gen_add_dim(struct gen *g, enum tg_dim_kind kind, int64_t extent);
void gen_begin(struct gen *g);
void gen_span(const struct gen *g, const struct index *x, int64_t *lo, int64_t *hi);
void gen_add_pool(struct gen *g, tg_expr e, enum tg_dtype t, struct known k, bool varies);
void gen_apply_map(struct gen *g, uint32_t in, const struct shape_map *m);
uint32_t gen_usable(const struct gen *g, bool reduced, uint32_t *dims);
void gen_shuffle(struct gen *g, uint32_t *x, uint32_t n);
void gen_plain_operand(struct gen *g, tg_val v);
void gen_some_operand(struct gen *g, bool reduced);

/* generate_expr.c */
bool gen_exact(enum tg_dtype t, struct known k);
struct known gen_cap(enum tg_dtype t, struct known k);
void gen_index_node(struct gen *g, bool varies);
void gen_grow(struct gen *g, bool varies, int64_t n);
tg_expr gen_gathered(struct gen *g, enum tg_dtype t, bool varies, struct known *k);

/* generate_groups.c */
void gen_groups(struct gen *g);

#endif
