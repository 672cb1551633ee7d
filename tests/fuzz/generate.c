/* generate.c: random programs of stages.
 *
 * Every expression carries a bound of its magnitude and how many binary places it has behind the point; floats whose bound and places together
 * leave 24 bits are not built, so that no operation ever rounds but where rounding is itself defined to the bit (conversions, narrow stores).
 * Operands come from earlier results, inputs and constants; maps are built first and tensors made to fit, or fitted to tensors that exist. */
#include "fuzz.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "eval_internal.h"

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

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int64_t some(struct gen *g, int64_t lo, int64_t hi) { return rng_range(&g->r, lo, hi); }
static bool chance(struct gen *g, int percent) { return rng_chance(&g->r, percent); }

/* ---- contents ---- */

static int64_t element(const char *name, enum tg_dtype t, struct rng *r)
{
	if (strncmp(name, "idx", 3) == 0) {
		int64_t n = 0;
		for (const char *p = name + 3; *p >= '0' && *p <= '9'; p++)
			n = n * 10 + *p - '0';
		return rng_range(r, 0, n ? n - 1 : 0);
	}
	bool wide = strncmp(name, "wide", 4) == 0;
	switch (t) {
	case TG_bool: return rng_range(r, 0, 1);
	case TG_u8: return rng_range(r, 0, wide ? 255 : 8);
	case TG_u16: return rng_range(r, 0, wide ? 65535 : 8);
	case TG_u32: return rng_range(r, 0, wide ? UINT32_MAX : 8);
	case TG_i8: return rng_range(r, wide ? -128 : -4, wide ? 127 : 4);
	case TG_i16: return rng_range(r, wide ? -32768 : -4, wide ? 32767 : 4);
	case TG_i32: case TG_i64: return rng_range(r, wide ? INT32_MIN : -4, wide ? INT32_MAX : 4);
	default: return rng_range(r, wide ? -200 : -4, wide ? 200 : 4);
	}
}

static struct known contents(const char *name, enum tg_dtype t)
{
	bool wide = strncmp(name, "wide", 4) == 0;
	if (!wide)
		return (struct known){ t == TG_bool ? 1 : 8, 0 };
	switch (t) {
	case TG_bool: return (struct known){ 1, 0 };
	case TG_u8: case TG_i8: case TG_f16: case TG_f32: case TG_bf16: return (struct known){ 256, 0 };
	case TG_u16: case TG_i16: return (struct known){ 65536, 0 };
	default: return (struct known){ 4294967296.0, 0 };
	}
}

static uint64_t hash_name(const char *s, uint64_t seed)
{
	for (; *s; s++)
		seed = (seed ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	return seed;
}

void fuzz_fill(const char *name, struct tg_tensor *t, uint64_t seed)
{
	struct rng r = { hash_name(name, seed) };
	int64_t n = 0;
	tg_shape_count(&t->shape, &n);
	for (int64_t i = 0; i < n; i++)
		tg_put_i64(t->dtype, t->data, (size_t)i, element(name, t->dtype, &r));
}

/* ---- values ---- */

static const struct tg_value *value(const struct gen *g, tg_val v) { return tg_value_get(g->m, v); }

static void know(struct gen *g, tg_val v, struct known k)
{
	while (g->known.n <= v.id)
		*TG_PUSH(g->a, &g->known) = (struct known){ 0 };
	g->known.at[v.id] = k;
}

static enum tg_dtype some_type(struct gen *g)
{
	static const uint8_t types[] = { TG_f32, TG_f32, TG_f32, TG_f32, TG_f16, TG_bf16, TG_i32, TG_i32, TG_i16, TG_i8, TG_i8, TG_u8, TG_u8, TG_u16, TG_u32, TG_bool };
	return (enum tg_dtype)types[some(g, 0, (int64_t)TG_ARRAY_LEN(types) - 1)];
}

static tg_val make_input(struct gen *g, const char *name, enum tg_dtype t, const struct tg_shape *s)
{
	tg_val v = tg_value_new(g->m, TG_TENSOR, t, s, name);
	*TG_PUSH(g->a, &g->m->inputs) = (struct tg_port){ name, v };
	return v;
}

static tg_val make_data(struct gen *g, const char *name, enum tg_dtype t, const struct tg_shape *s, bool splat)
{
	struct tg_tensor x;
	size_t bytes = 0;
	tg_shape_bytes(s, t, &bytes);
	x = (struct tg_tensor){ t, *s, tg_alloc(g->a, bytes + 16) };
	fuzz_fill(name, &x, 1);
	struct tg_const *c = splat ? tg_const_splat_i64(g->a, t, s, tg_get_i64(t, x.data, 0)) : tg_const_dense(g->a, t, s, x.data, true);
	struct tg_op *op = tg_op_new(g->m, &g->m->body, NULL, TG_TILE_data, NULL, 0, 1, g->prov);
	op->attrs[TG_AT(tile_data, value)].c = c;
	op->out[0] = tg_value_new(g->m, TG_TENSOR, t, s, NULL);
	tg_value_of(g->m, op->out[0])->def = op;
	return op->out[0];
}

static tg_val make_tensor(struct gen *g, enum tg_dtype t, const struct tg_shape *s)
{
	const char *name = tg_asprintf(g->a, "%s%u", chance(g, 15) ? "wide" : "x", g->n_inputs++);
	int64_t how = some(g, 0, 9);
	tg_val v = how < 6 ? make_input(g, name, t, s) : make_data(g, name, t, s, how == 9);
	know(g, v, contents(name, t));
	*TG_PUSH(g->a, &g->vals) = v;
	return v;
}

static tg_val make_list(struct gen *g, int64_t bound, const struct tg_shape *s)
{
	const char *name = tg_asprintf(g->a, "idx%lldn%u", (long long)bound, g->n_inputs++);
	enum tg_dtype t = chance(g, 85) ? TG_i32 : TG_i64;
	return chance(g, 60) ? make_input(g, name, t, s) : make_data(g, name, t, s, false);
}

/* ---- dimensions ---- */

static int64_t some_extent(struct gen *g)
{
	static const uint8_t odd[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 65, 127, 128, 129 };
	return chance(g, 40) ? some(g, 1, 12) : odd[some(g, 0, (int64_t)TG_ARRAY_LEN(odd) - 1)];
}

static int64_t points(const struct gen *g)
{
	int64_t n = 1;
	for (uint32_t i = 0; i < g->n_dims; i++)
		n *= g->extent[i];
	return n;
}

static bool add_dim(struct gen *g, enum tg_dim_kind kind, int64_t extent)
{
	if (g->n_dims == MAX_GEN_DIMS)
		return false;
	int64_t room = g->max_points / points(g);
	if (extent > room)
		extent = room < 1 ? 1 : room;
	g->extent[g->n_dims] = extent;
	g->kind[g->n_dims++] = (uint8_t)kind;
	tg_body_dim(g->b, kind, extent);
	return true;
}

static void begin(struct gen *g)
{
	g->b = tg_body_new(g->m, g->prov);
	g->n_dims = g->n_ins = g->n_pool = 0;
}

/* ---- operands ---- */

struct index { uint32_t n; uint32_t dim[3]; int64_t coef[3], offset, div, mod; };
struct shape_map { uint32_t rank; struct index at[MAX_GEN_DIMS]; struct tg_shape shape; bool guarded; };

static void span(const struct gen *g, const struct index *x, int64_t *lo, int64_t *hi)
{
	*lo = *hi = x->offset;
	for (uint32_t i = 0; i < x->n; i++) {
		int64_t far = x->coef[i] * (g->extent[x->dim[i]] - 1);
		*(far < 0 ? lo : hi) += far;
	}
}

static void add_pool(struct gen *g, tg_expr e, enum tg_dtype t, struct known k, bool varies)
{
	if (g->n_pool < MAX_POOL)
		g->pool[g->n_pool++] = (struct item){ e, t, k, varies, false };
}

static void apply_map(struct gen *g, uint32_t in, const struct shape_map *m)
{
	for (uint32_t r = 0; r < m->rank; r++) {
		const struct index *x = &m->at[r];
		for (uint32_t i = 0; i < x->n; i++)
			tg_body_term(g->b, in, r, x->dim[i], x->coef[i]);
		tg_body_offset(g->b, in, r, x->offset);
		if (x->div > 1 || x->mod)
			tg_body_divmod(g->b, in, r, x->div ? x->div : 1, x->mod);
	}
}

static bool map_varies(const struct gen *g, const struct shape_map *m)
{
	for (uint32_t r = 0; r < m->rank; r++)
		for (uint32_t i = 0; i < m->at[r].n; i++)
			if (g->kind[m->at[r].dim[i]] == TG_DIM_REDUCE)
				return true;
	return false;
}

/* The operand v under this map, and its element in the pool; returns the expression. */
static tg_expr add_operand(struct gen *g, tg_val v, const struct shape_map *m)
{
	uint32_t in = tg_body_in(g->b, v);
	struct known k = g->known.at[v.id];
	enum tg_dtype t = tg_compute_type((enum tg_dtype)value(g, v)->dtype);
	apply_map(g, in, m);
	if (m->guarded) {
		int64_t fill = chance(g, 50) ? 0 : t == TG_bool || t == TG_u32 ? some(g, 0, 1) : some(g, -3, 3);
		tg_body_guard(g->b, in, (double)fill);
		k.bound = fmax(k.bound, 3);
	}
	tg_expr e = tg_body_arg(g->b, in);
	add_pool(g, e, t, k, map_varies(g, m));
	if (m->guarded && chance(g, 15))
		add_pool(g, tg_node_k(g->b, TG_X_inside, TG_bool, (int32_t)in, (tg_expr){ 0 }), TG_bool, (struct known){ 1, 0 }, map_varies(g, m));
	g->n_ins++;
	return e;
}

static int64_t some_coef(struct gen *g)
{
	static const int8_t coefs[] = { 1, 1, 1, 1, 1, 2, 2, 3, -1, -2 };
	return coefs[some(g, 0, (int64_t)TG_ARRAY_LEN(coefs) - 1)];
}

/* Dimensions that an operand may walk. */
static uint32_t usable(const struct gen *g, bool reduced, uint32_t *dims)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_dims; i++)
		if (reduced || g->kind[i] == TG_DIM_PARALLEL)
			dims[n++] = i;
	return n;
}

static void shuffle(struct gen *g, uint32_t *x, uint32_t n)
{
	for (uint32_t i = n; i-- > 1;) {
		uint32_t k = (uint32_t)some(g, 0, i), t = x[i];
		x[i] = x[k];
		x[k] = t;
	}
}

static void random_index(struct gen *g, struct index *x, const uint32_t *dims, uint32_t n)
{
	*x = (struct index){ .div = 1 };
	uint32_t terms = n == 0 ? 0 : (uint32_t)some(g, chance(g, 20) ? 0 : 1, chance(g, 30) ? 2 : 1);
	for (uint32_t i = 0; i < terms; i++) {
		x->dim[x->n] = dims[some(g, 0, n - 1)];
		x->coef[x->n++] = some_coef(g);
	}
}

/* A dimension split in two: coefficients nest. */
static void split_index(struct gen *g, struct index *x, uint32_t outer, uint32_t inner)
{
	*x = (struct index){ .n = 2, .div = 1, .dim = { outer, inner }, .coef = { g->extent[inner], 1 } };
}

/* Sizes for the map: an offset that brings the range to 0 or above, and slack; guarded: a part of the range outside. */
static bool fit_shape(struct gen *g, struct shape_map *m)
{
	int64_t count = 1;
	bool may_guard = chance(g, 35);
	m->shape.rank = m->rank;
	for (uint32_t r = 0; r < m->rank; r++) {
		struct index *x = &m->at[r];
		int64_t lo, hi;
		span(g, x, &lo, &hi);
		x->offset = -lo + (chance(g, 25) ? some(g, 0, 3) : 0);
		int64_t size = hi - lo + 1 + x->offset + lo + (chance(g, 25) ? some(g, 0, 3) : 0);
		if (may_guard && x->n && chance(g, 60)) {
			int64_t before = some(g, 0, 2), after = some(g, 0, 2);
			m->guarded = true;
			x->offset -= before;
			size -= before + after;
			size = size < 1 ? 1 : size;
		} else if (x->n && chance(g, 2)) {
			if (chance(g, 50)) {
				x->div = some(g, 2, 4);
				size = size / x->div + 1;
			} else {
				x->mod = some(g, 1, size);
				size = x->mod;
			}
		}
		m->shape.dim[r] = size;
		count *= size;
		if (count > MAX_ELEMENTS)
			return false;
	}
	return true;
}

static void fresh_operand(struct gen *g, bool reduced, enum tg_dtype t)
{
	uint32_t dims[MAX_GEN_DIMS], n = usable(g, reduced, dims);
	struct shape_map m = { 0 };
	if (chance(g, 65)) { /* every dimension at most once */
		if (chance(g, 50))
			shuffle(g, dims, n);
		uint32_t n_here = chance(g, 30) ? (uint32_t)some(g, 0, n) : n;
		for (uint32_t i = 0; i < n_here; i++) {
			if (i + 1 < n_here && chance(g, 12)) {
				split_index(g, &m.at[m.rank++], dims[i], dims[i + 1]);
				i++;
			} else {
				m.at[m.rank++] = (struct index){ .n = 1, .div = 1, .dim = { dims[i] }, .coef = { chance(g, 85) ? 1 : some_coef(g) } };
			}
		}
	} else {
		m.rank = (uint32_t)some(g, 0, 4);
		for (uint32_t r = 0; r < m.rank; r++)
			random_index(g, &m.at[r], dims, n);
	}
	if (!fit_shape(g, &m)) {
		m = (struct shape_map){ 0 };
	}
	add_operand(g, make_tensor(g, t, &m.shape), &m);
}

/* A map into a tensor that exists: each index a dimension that fits, else a guarded one, else a constant. */
static void fitted_operand(struct gen *g, tg_val v, bool reduced)
{
	uint32_t dims[MAX_GEN_DIMS], n = usable(g, reduced, dims);
	const struct tg_value *val = value(g, v);
	struct shape_map m = { .rank = val->shape.rank };
	bool taken[MAX_GEN_DIMS] = { false };
	if (m.rank > MAX_GEN_DIMS)
		return;
	if (chance(g, 30))
		shuffle(g, dims, n);
	for (uint32_t r = 0; r < m.rank; r++) {
		struct index *x = &m.at[r];
		int64_t size = val->shape.dim[r];
		*x = (struct index){ .div = 1 };
		for (uint32_t i = 0; i < n && !x->n; i++) {
			int64_t e = g->extent[dims[i]];
			if (taken[i] || e > size || (e < size && chance(g, 60)))
				continue;
			taken[i] = true;
			x->n = 1;
			x->dim[0] = dims[i];
			int64_t most = e > 1 ? (size - 1) / (e - 1) : 1, k = most > 1 && chance(g, 30) ? some(g, 1, most > 3 ? 3 : most) : 1;
			bool back = chance(g, 8);
			x->coef[0] = back ? -k : k;
			x->offset = some(g, 0, size - 1 - k * (e - 1)) + (back ? k * (e - 1) : 0);
		}
		if (x->n)
			continue;
		if (n && chance(g, 40)) {
			x->n = 1;
			x->dim[0] = dims[some(g, 0, n - 1)];
			x->coef[0] = some_coef(g);
			x->offset = some(g, -3, 3);
			m.guarded = true;
		} else {
			x->offset = some(g, 0, size - 1);
		}
	}
	add_operand(g, v, &m);
}

/* v as it lies, when the first dimensions were made from its shape. */
static void plain_operand(struct gen *g, tg_val v)
{
	struct shape_map m = { .rank = value(g, v)->shape.rank };
	for (uint32_t r = 0; r < m.rank; r++)
		m.at[r] = (struct index){ .n = 1, .div = 1, .dim = { r }, .coef = { 1 } };
	add_operand(g, v, &m);
}

static void gather_operand(struct gen *g, bool reduced)
{
	uint32_t dims[MAX_GEN_DIMS], n = usable(g, reduced, dims), n_list = n ? (uint32_t)some(g, 1, n > 2 ? 2 : n) : 0;
	int64_t bound = some_extent(g);
	struct shape_map list = { 0 }, data = { .rank = 1 };
	shuffle(g, dims, n);
	for (uint32_t i = 0; i < n_list; i++) {
		list.at[i] = (struct index){ .n = 1, .div = 1, .dim = { dims[i] }, .coef = { 1 } };
		list.shape.dim[i] = g->extent[dims[i]];
	}
	list.rank = list.shape.rank = n_list;
	data.at[0] = (struct index){ .div = 1 };
	data.shape.dim[0] = bound;
	for (uint32_t i = n_list; i < n && data.rank < 4; i++) {
		data.at[data.rank] = (struct index){ .n = 1, .div = 1, .dim = { dims[i] }, .coef = { 1 } };
		data.shape.dim[data.rank++] = g->extent[dims[i]];
	}
	uint32_t where = (uint32_t)some(g, 0, data.rank - 1);
	struct index t = data.at[where];
	data.at[where] = data.at[0];
	data.at[0] = t;
	data.shape.dim[0] = data.shape.dim[where];
	data.shape.dim[where] = bound;
	data.shape.rank = data.rank;
	int64_t count;
	if (!tg_shape_count(&data.shape, &count) || count > MAX_ELEMENTS)
		return;
	tg_val v = make_tensor(g, some_type(g), &data.shape), l = make_list(g, bound, &list.shape);
	uint32_t li = tg_body_in(g->b, l), in = tg_body_in(g->b, v);
	apply_map(g, li, &list);
	apply_map(g, in, &data);
	tg_body_gather(g->b, in, where, li);
	g->n_ins += 2;
	add_pool(g, tg_body_arg(g->b, in), tg_compute_type((enum tg_dtype)value(g, v)->dtype), g->known.at[v.id],
		 map_varies(g, &list) || map_varies(g, &data));
}

static void some_operand(struct gen *g, bool reduced)
{
	if (g->n_ins >= 7)
		return;
	if (chance(g, 6))
		gather_operand(g, reduced);
	else if (g->vals.n && chance(g, 40))
		fitted_operand(g, g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)], reduced);
	else
		fresh_operand(g, reduced, some_type(g));
}

/* ---- expressions ---- */

static bool exact(enum tg_dtype t, struct known k)
{
	return t != TG_f32 || ldexp(k.bound, k.places) <= 16777216.0;
}

static struct item *pick(struct gen *g, enum tg_dtype t, bool varies_ok)
{
	for (int tries = 0; tries < 24; tries++) {
		struct item *x = &g->pool[some(g, 0, (int64_t)g->n_pool - 1)];
		if ((t == TG_none || x->t == t) && (varies_ok || !x->varies) && (!x->used || tries > 12))
			return x;
	}
	for (uint32_t i = g->n_pool; i-- > 0;)
		if ((t == TG_none || g->pool[i].t == t) && (varies_ok || !g->pool[i].varies))
			return &g->pool[i];
	return NULL;
}

static struct known cap(enum tg_dtype t, struct known k)
{
	if (t == TG_bool)
		return (struct known){ 1, 0 };
	if (t != TG_f32)
		return (struct known){ fmin(k.bound, 4294967296.0), 0 };
	return k;
}

static struct item constant(struct gen *g, enum tg_dtype t)
{
	int64_t v = t == TG_bool ? some(g, 0, 1) : t == TG_u32 ? some(g, 0, 9) : some(g, -5, 5);
	if (t == TG_f32 && chance(g, 20))
		return (struct item){ tg_node_const(g->b, t, 0.25 * (double)v), t, { 5, 2 }, false, false };
	return (struct item){ tg_node_const_i64(g->b, t, v), t, { 9, 0 }, false, false };
}

static struct item operand_or_constant(struct gen *g, enum tg_dtype t, bool varies)
{
	struct item *x = chance(g, 80) ? pick(g, t, varies) : NULL;
	if (!x)
		return constant(g, t);
	x->used = true;
	return *x;
}

static tg_expr converted(struct gen *g, const struct item *x, enum tg_dtype t, struct known *k)
{
	*k = x->k;
	if (x->t == t)
		return x->e;
	if (t == TG_f32 && x->k.bound > 16777216.0) { /* would round: bring it down first */
		tg_expr small = tg_node_k(g->b, TG_X_wrap, x->t, x->t == TG_u32 ? TG_u8 : TG_i8, x->e);
		*k = (struct known){ 256, 0 };
		return tg_node_new(g->b, TG_X_cast, t, small, (tg_expr){ 0 }, (tg_expr){ 0 });
	}
	if (t == TG_u32 || t == TG_i32)
		k->bound = x->t == TG_f32 ? k->bound : 4294967296.0; /* negative numbers wrap */
	*k = cap(t, *k);
	if (t == TG_u32 && x->t == TG_f32)
		k->places = 0;
	return tg_node_new(g->b, TG_X_cast, t, x->e, (tg_expr){ 0 }, (tg_expr){ 0 });
}

static struct known result(enum tg_expr_op op, enum tg_dtype t, struct known a, struct known b)
{
	struct known k = { fmax(a.bound, b.bound), a.places > b.places ? a.places : b.places };
	switch (op) {
	case TG_X_add: case TG_X_sub: k.bound = a.bound + b.bound; break;
	case TG_X_mul: k = (struct known){ a.bound * b.bound, a.places + b.places }; break;
	case TG_X_floor: case TG_X_ceil: case TG_X_trunc: case TG_X_rne: k = (struct known){ a.bound + 1, 0 }; break;
	case TG_X_sign: k = (struct known){ 1, 0 }; break;
	case TG_X_min: case TG_X_max: case TG_X_neg: case TG_X_abs: break;
	default: k.bound = t == TG_f32 ? k.bound : 4294967296.0;
	}
	if (t == TG_i32 && (op == TG_X_neg || op == TG_X_abs))
		k.bound = fmax(k.bound, 1);
	return cap(t, k);
}

static void binary_or_unary(struct gen *g, bool varies)
{
	static const uint8_t ops[] = { TG_X_add, TG_X_add, TG_X_add, TG_X_sub, TG_X_sub, TG_X_mul, TG_X_mul, TG_X_min, TG_X_max, TG_X_neg, TG_X_abs, TG_X_sign,
				       TG_X_floor, TG_X_ceil, TG_X_trunc, TG_X_rne, TG_X_and, TG_X_or, TG_X_xor, TG_X_not, TG_X_div, TG_X_rem, TG_X_mod };
	struct item *first = pick(g, TG_none, varies);
	if (!first)
		return;
	enum tg_expr_op op = (enum tg_expr_op)ops[some(g, 0, (int64_t)TG_ARRAY_LEN(ops) - 1)];
	enum tg_dtype t = first->t;
	bool divides = op == TG_X_div || op == TG_X_rem || op == TG_X_mod;
	if (!tg_kernel_of(op, t) || (divides && t == TG_f32))
		return;
	first->used = true;
	struct item a = *first, b = tg_expr_infos[op].arity == 2 ? operand_or_constant(g, t, varies) : (struct item){ .k = { 0, 0 } };
	struct known k = result(op, t, a.k, b.k);
	if (!exact(t, k))
		return;
	add_pool(g, tg_node_new(g->b, op, t, a.e, b.e, (tg_expr){ 0 }), t, k, a.varies || b.varies);
}

static void shift(struct gen *g, bool varies)
{
	struct item *x = pick(g, chance(g, 50) ? TG_i32 : TG_u32, varies);
	if (!x)
		return;
	x->used = true;
	tg_expr n = tg_node_const_i64(g->b, x->t, some(g, 0, chance(g, 80) ? 8 : 40));
	struct item *by = pick(g, x->t, varies);
	bool dynamic = by && chance(g, 25);
	if (dynamic)
		n = tg_node_new(g->b, TG_X_and, x->t, by->e, tg_node_const_i64(g->b, x->t, 63), (tg_expr){ 0 });
	enum tg_dtype t = x->t;
	bool v = x->varies || (dynamic && by->varies);
	add_pool(g, tg_node_new(g->b, chance(g, 50) ? TG_X_shl : TG_X_shr, t, x->e, n, (tg_expr){ 0 }), t, (struct known){ 4294967296.0, 0 }, v);
}

static void compare_select(struct gen *g, bool varies)
{
	struct item *x = pick(g, TG_none, varies);
	if (!x)
		return;
	x->used = true;
	struct item a = *x, b = operand_or_constant(g, a.t, varies);
	if (chance(g, 60)) {
		enum tg_expr_op op = (enum tg_expr_op)(TG_X_eq + some(g, 0, 3));
		if (tg_kernel_of(op, a.t))
			add_pool(g, tg_node_new(g->b, op, TG_bool, a.e, b.e, (tg_expr){ 0 }), TG_bool, (struct known){ 1, 0 }, a.varies || b.varies);
		return;
	}
	struct item *c = pick(g, TG_bool, varies);
	if (!c || !tg_kernel_of(TG_X_select, a.t))
		return;
	c->used = true;
	bool v = a.varies || b.varies || c->varies;
	add_pool(g, tg_node_new(g->b, TG_X_select, a.t, c->e, a.e, b.e), a.t, result(TG_X_max, a.t, a.k, b.k), v);
}

static void convert(struct gen *g, bool varies)
{
	static const uint8_t types[] = { TG_f32, TG_i32, TG_u32, TG_bool, TG_f32, TG_i32 };
	static const uint8_t narrow[] = { TG_i8, TG_u8, TG_i16, TG_u16, TG_f16, TG_bf16, TG_bool, TG_i32, TG_u32 };
	struct item *x = pick(g, TG_none, varies);
	if (!x)
		return;
	if (chance(g, 60)) {
		enum tg_dtype t = (enum tg_dtype)types[some(g, 0, (int64_t)TG_ARRAY_LEN(types) - 1)];
		struct known k;
		if (t == x->t || !tg_kernel_cast(x->t, t))
			return;
		x->used = true;
		bool v = x->varies;
		tg_expr e = converted(g, x, t, &k);
		add_pool(g, e, t, k, v);
		return;
	}
	enum tg_dtype n = (enum tg_dtype)narrow[some(g, 0, (int64_t)TG_ARRAY_LEN(narrow) - 1)];
	if (!tg_narrow_defined(x->t, n) || x->k.bound > (x->t == TG_f32 ? 60000 : 1e10))
		return;
	x->used = true;
	enum tg_dtype t = x->t;
	struct known k = x->k;
	if (t != TG_f32)
		k.bound = fmin(4294967296.0, n == TG_i8 || n == TG_u8 ? 256 : n == TG_i16 || n == TG_u16 ? 65536 : n == TG_bool ? 1 : 4294967296.0);
	else
		k.bound *= 1.01;
	bool v = x->varies;
	add_pool(g, tg_node_k(g->b, chance(g, 50) ? TG_X_wrap : TG_X_sat, t, (int32_t)n, x->e), t, k, v);
}

static void fused(struct gen *g, bool varies)
{
	struct item a = operand_or_constant(g, TG_f32, varies), b = operand_or_constant(g, TG_f32, varies), c = operand_or_constant(g, TG_f32, varies);
	struct known k = result(TG_X_add, TG_f32, result(TG_X_mul, TG_f32, a.k, b.k), c.k);
	if (exact(TG_f32, k))
		add_pool(g, tg_node_new(g->b, TG_X_fma, TG_f32, a.e, b.e, c.e), TG_f32, k, a.varies || b.varies || c.varies);
}

static void index_node(struct gen *g, bool varies)
{
	uint32_t dims[MAX_GEN_DIMS], n = usable(g, varies, dims);
	if (!n)
		return;
	uint32_t d = dims[some(g, 0, n - 1)];
	add_pool(g, tg_node_k(g->b, TG_X_index, TG_i32, (int32_t)d, (tg_expr){ 0 }), TG_i32, (struct known){ (double)g->extent[d], 0 }, g->kind[d] == TG_DIM_REDUCE);
}

static void grow(struct gen *g, bool varies, int64_t n)
{
	for (int64_t i = 0; i < n && g->n_pool; i++) {
		int64_t how = some(g, 0, 99);
		if (how < 55)
			binary_or_unary(g, varies);
		else if (how < 62)
			shift(g, varies);
		else if (how < 78)
			compare_select(g, varies);
		else if (how < 90)
			convert(g, varies);
		else if (how < 96)
			fused(g, varies);
		else
			index_node(g, varies);
	}
}

/* One expression of type t that depends on most of the pool. */
static tg_expr gathered(struct gen *g, enum tg_dtype t, bool varies, struct known *k)
{
	tg_expr e = { 0 };
	*k = (struct known){ 0, 0 };
	for (uint32_t i = g->n_pool; i-- > 0;) {
		struct item *x = &g->pool[i];
		struct known mine, both;
		if (x->used || (x->varies && !varies) || (e.id && chance(g, 15)) || (x->t != t && !tg_kernel_cast(x->t, t)))
			continue;
		x->used = true;
		tg_expr c = converted(g, x, t, &mine);
		if (!exact(t, mine))
			continue;
		if (!e.id) {
			e = c;
			*k = mine;
			continue;
		}
		enum tg_expr_op op = t == TG_bool ? (chance(g, 50) ? TG_X_xor : TG_X_or) : chance(g, 70) ? TG_X_add : TG_X_max;
		both = result(op, t, *k, mine);
		if (!exact(t, both))
			continue;
		e = tg_node_new(g->b, op, t, e, c, (tg_expr){ 0 });
		*k = both;
	}
	if (e.id)
		return e;
	struct item c = constant(g, t);
	*k = c.k;
	return c.e;
}

/* ---- reductions ---- */

static int64_t reduce_points(const struct gen *g)
{
	int64_t n = 1;
	for (uint32_t i = 0; i < g->n_dims; i++)
		n *= g->kind[i] == TG_DIM_REDUCE ? g->extent[i] : 1;
	return n;
}

static void reduce(struct gen *g)
{
	static const uint8_t types[] = { TG_f32, TG_f32, TG_f32, TG_i32, TG_u32, TG_bool };
	enum tg_dtype t = (enum tg_dtype)types[some(g, 0, (int64_t)TG_ARRAY_LEN(types) - 1)];
	struct known k, sum, product;
	tg_expr e = gathered(g, t, true, &k);
	double n = (double)reduce_points(g);
	enum tg_combine c = (enum tg_combine)some(g, 0, TG_N_COMBINES - 1);
	sum = (struct known){ k.bound * n, k.places };
	product = (struct known){ pow(k.bound, n), (int)fmin(1000, k.places * n) };
	if (t == TG_bool && c < TG_MAX)
		c = TG_MAX;
	if ((c == TG_SUM && !exact(t, sum)) || (c == TG_PROD && !exact(t, product)))
		c = TG_MIN;
	k = cap(t, c == TG_SUM ? sum : c == TG_PROD ? product : k);
	tg_expr acc = tg_body_reduce(g->b, c, e);
	for (uint32_t i = 0; i < g->n_pool; i++)
		g->pool[i].used |= g->pool[i].varies;
	if (chance(g, 6)) /* two reductions: while no result is in the pool yet */
		tg_body_reduce(g->b, TG_MAX, e);
	add_pool(g, acc, t, k, false);
}

/* ---- results ---- */

/* Parallel dimensions in some order, some joined into one index, some walked backwards. */
static struct tg_map result_map(struct gen *g, struct tg_shape *s, bool plain)
{
	uint32_t dims[MAX_GEN_DIMS], n = usable(g, false, dims), rank = 0;
	struct tg_map m = tg_map_new(g->b, MAX_GEN_DIMS);
	*s = (struct tg_shape){ 0 };
	if (!plain && chance(g, 30))
		shuffle(g, dims, n);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_index *x = &m.index[rank];
		uint32_t d = dims[i];
		int64_t size = g->extent[d];
		x->coef[d] = 1;
		if (!plain && i + 1 < n && chance(g, 10)) {
			x->coef[d] = g->extent[dims[i + 1]];
			x->coef[dims[++i]] = 1;
			size *= g->extent[dims[i]];
		} else if (!plain && chance(g, 4)) {
			x->coef[d] = -1;
			x->offset = size - 1;
		}
		s->dim[rank++] = size;
	}
	if (!plain && chance(g, 5))
		s->dim[rank++] = 1;
	m.rank = s->rank = rank;
	return m;
}

static struct known stored(enum tg_dtype t, struct known k)
{
	switch (t) {
	case TG_i8: case TG_u8: return (struct known){ 256, 0 };
	case TG_i16: case TG_u16: return (struct known){ 65536, 0 };
	case TG_f16: case TG_bf16: return (struct known){ k.bound * 1.01, k.places };
	default: return k;
	}
}

static enum tg_dtype result_type(struct gen *g)
{
	return chance(g, 3) ? TG_i64 : some_type(g);
}

/* The output expression for memory type t. */
static tg_expr final_value(struct gen *g, enum tg_dtype t, struct known *k)
{
	enum tg_dtype c = tg_compute_type(t);
	tg_expr e;
	if (t == TG_i64) {
		e = gathered(g, TG_i32, false, k);
		e = tg_node_new(g->b, TG_X_cast, TG_i64, e, (tg_expr){ 0 }, (tg_expr){ 0 });
	} else {
		e = gathered(g, c, false, k);
	}
	if (t == TG_f16 && k->bound > 60000) {
		e = tg_node_new(g->b, TG_X_min, c, e, tg_node_const_i64(g->b, c, 1000), (tg_expr){ 0 });
		e = tg_node_new(g->b, TG_X_max, c, e, tg_node_const_i64(g->b, c, -1000), (tg_expr){ 0 });
		k->bound = 1000;
	}
	*k = stored(t, *k);
	return e;
}

static void done(struct gen *g, tg_val v, struct known k)
{
	know(g, v, k);
	*TG_PUSH(g->a, &g->vals) = v;
}

/* ---- stages ---- */

/* Dimensions like an earlier result's, so that stages chain and fuse. */
static bool dims_of(struct gen *g, tg_val v)
{
	const struct tg_value *val = value(g, v);
	if (val->shape.rank > 5 || value(g, v)->dtype == TG_i64)
		return false;
	for (uint32_t r = 0; r < val->shape.rank; r++)
		if (val->shape.dim[r] > g->max_points / points(g))
			return false;
	int64_t n;
	if (!tg_shape_count(&val->shape, &n) || n > g->max_points)
		return false;
	for (uint32_t r = 0; r < val->shape.rank; r++)
		add_dim(g, TG_DIM_PARALLEL, val->shape.dim[r]);
	return true;
}

static void general_stage(struct gen *g)
{
	begin(g);
	bool chained = g->vals.n && chance(g, 60);
	tg_val from = { 0 };
	if (chained) {
		from = g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)];
		chained = dims_of(g, from);
	}
	if (!chained)
		for (int64_t n = some(g, chance(g, 10) ? 0 : 1, 4); n > 0; n--)
			add_dim(g, TG_DIM_PARALLEL, some_extent(g));
	bool reduces = chance(g, 40);
	for (int64_t n = reduces ? some(g, 1, 3) : 0; n > 0; n--)
		add_dim(g, TG_DIM_REDUCE, some_extent(g));
	if (chained)
		plain_operand(g, from);
	for (int64_t n = some(g, chained ? 0 : 1, 3); n > 0; n--)
		some_operand(g, reduces);
	if (chance(g, 10) || g->n_pool == 0)
		index_node(g, reduces);
	if (reduces) {
		grow(g, true, some(g, 0, 5));
		reduce(g);
		for (int64_t n = some(g, 0, 1); n > 0; n--)
			some_operand(g, false);
	}
	grow(g, false, some(g, 0, chance(g, 15) ? 30 : 7));
	enum tg_dtype t = result_type(g);
	struct tg_shape s;
	struct tg_map m = result_map(g, &s, chance(g, 50));
	struct known k;
	tg_expr e = final_value(g, t, &k);
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, (tg_val){ 0 }), k);
}

static tg_expr factor(struct gen *g, tg_expr e, enum tg_dtype from, enum tg_dtype to)
{
	return from == to ? e : tg_node_new(g->b, TG_X_cast, to, e, (tg_expr){ 0 }, (tg_expr){ 0 });
}

/* An operand of a contraction: its dimensions in random order, a window over pairs (image, kernel) where given. */
static tg_expr contraction_operand(struct gen *g, enum tg_dtype t, uint32_t *dims, uint32_t n, const int64_t *stride, const int64_t *dilation,
				   const uint32_t *image, const uint32_t *kernel, uint32_t n_windows)
{
	struct shape_map m = { 0 };
	if (chance(g, 50))
		shuffle(g, dims, n);
	for (uint32_t i = 0; i < n; i++)
		m.at[m.rank++] = (struct index){ .n = 1, .div = 1, .dim = { dims[i] }, .coef = { 1 } };
	for (uint32_t w = 0; w < n_windows; w++) {
		uint32_t where = (uint32_t)some(g, 0, m.rank);
		memmove(&m.at[where + 1], &m.at[where], (m.rank - where) * sizeof m.at[0]);
		m.at[where] = (struct index){ .n = 2, .div = 1, .dim = { image[w], kernel[w] }, .coef = { stride[w], dilation[w] } };
		m.rank++;
	}
	int64_t count = 1;
	m.shape.rank = m.rank;
	for (uint32_t r = 0; r < m.rank; r++) {
		int64_t lo, hi;
		span(g, &m.at[r], &lo, &hi);
		int64_t before = m.at[r].n == 2 ? some(g, 0, 2) : 0, after = m.at[r].n == 2 ? some(g, 0, 2) : 0, size = hi + 1 - before - after;
		m.guarded |= before || after;
		m.at[r].offset = -before;
		m.shape.dim[r] = size < 1 ? 1 : size;
		m.guarded |= size < 1;
		count *= m.shape.dim[r];
	}
	if (count > 4 * MAX_ELEMENTS)
		m.rank = m.shape.rank = 0, m.guarded = false;
	tg_val v = make_tensor(g, t, &m.shape);
	uint32_t in = tg_body_in(g->b, v);
	apply_map(g, in, &m);
	if (m.guarded)
		tg_body_guard(g->b, in, 0);
	g->n_ins++;
	return tg_body_arg(g->b, in);
}

struct contraction { enum tg_dtype lhs, rhs, node; };

static void contraction_stage(struct gen *g)
{
	static const struct contraction kinds[] = { { TG_f32, TG_f32, TG_f32 }, { TG_f32, TG_f32, TG_f32 }, { TG_f16, TG_f16, TG_f32 }, { TG_bf16, TG_bf16, TG_f32 },
						    { TG_i8, TG_i8, TG_i32 }, { TG_u8, TG_u8, TG_i32 }, { TG_u8, TG_i8, TG_i32 }, { TG_i8, TG_u8, TG_i32 },
						    { TG_i16, TG_i8, TG_i32 }, { TG_f32, TG_f16, TG_f32 }, { TG_u8, TG_u8, TG_u32 } };
	const struct contraction *k = &kinds[some(g, 0, (int64_t)TG_ARRAY_LEN(kinds) - 1)];
	uint32_t lhs[MAX_GEN_DIMS], rhs[MAX_GEN_DIMS], n_l = 0, n_r = 0, image[2], kernel[2], n_windows = chance(g, 50) ? (uint32_t)some(g, 1, 2) : 0;
	int64_t stride[2] = { some(g, 1, 3), some(g, 1, 2) }, dilation[2] = { some(g, 1, 2), some(g, 1, 2) }, old = g->max_points;
	g->max_points *= 8;
	begin(g);
	if (chance(g, 35)) { /* batch or groups */
		lhs[n_l++] = rhs[n_r++] = g->n_dims;
		add_dim(g, TG_DIM_PARALLEL, some(g, 1, 4));
	}
	for (uint32_t w = 0; w < n_windows; w++) {
		image[w] = g->n_dims;
		add_dim(g, TG_DIM_PARALLEL, some(g, 1, 20));
	}
	for (int64_t n = some(g, n_windows ? 0 : 1, n_windows ? 1 : 2); n > 0 && g->n_dims < 5; n--) {
		lhs[n_l++] = g->n_dims;
		add_dim(g, TG_DIM_PARALLEL, n_windows ? some(g, 1, 3) : some_extent(g));
	}
	for (int64_t n = some(g, chance(g, 10) ? 0 : 1, 1); n > 0; n--) {
		rhs[n_r++] = g->n_dims;
		add_dim(g, TG_DIM_PARALLEL, some_extent(g));
	}
	for (uint32_t w = 0; w < n_windows; w++) {
		kernel[w] = rhs[n_r++] = g->n_dims;
		add_dim(g, TG_DIM_REDUCE, some(g, 1, 4));
	}
	for (int64_t n = some(g, n_windows ? 0 : 1, 1); n > 0 && g->n_dims < MAX_GEN_DIMS; n--) {
		lhs[n_l++] = rhs[n_r++] = g->n_dims;
		add_dim(g, TG_DIM_REDUCE, some_extent(g));
	}
	tg_expr a = factor(g, contraction_operand(g, k->lhs, lhs, n_l, stride, dilation, image, kernel, n_windows), tg_compute_type(k->lhs), k->node);
	tg_expr b = factor(g, contraction_operand(g, k->rhs, rhs, n_r, NULL, NULL, NULL, NULL, 0), tg_compute_type(k->rhs), k->node);
	g->max_points = old;
	if (k->node == TG_i32 && chance(g, 35)) /* zero points */
		a = tg_node_new(g->b, TG_X_sub, TG_i32, a, tg_node_const_i64(g->b, TG_i32, some(g, -3, 130)), (tg_expr){ 0 });
	if (k->node == TG_i32 && chance(g, 20))
		b = tg_node_new(g->b, TG_X_sub, TG_i32, b, tg_node_const_i64(g->b, TG_i32, some(g, -3, 130)), (tg_expr){ 0 });
	bool swap = chance(g, 30);
	tg_expr p = tg_node_new(g->b, TG_X_mul, k->node, swap ? b : a, swap ? a : b, (tg_expr){ 0 });
	bool has_reduce = false;
	for (uint32_t i = 0; i < g->n_dims; i++)
		has_reduce |= g->kind[i] == TG_DIM_REDUCE;
	struct known known = { k->node == TG_f32 ? 65536.0 * (double)reduce_points(g) : 4294967296.0, 0 };
	add_pool(g, has_reduce ? tg_body_reduce(g->b, TG_SUM, p) : p, k->node, known, false);
	if (chance(g, 50)) {
		for (int64_t n = some(g, 0, 2); n > 0; n--)
			some_operand(g, false);
		grow(g, false, some(g, 0, 6));
	}
	enum tg_dtype t = chance(g, 60) ? (k->node == TG_f32 ? TG_f32 : TG_i32) : result_type(g);
	if (t == TG_f16)
		t = TG_f32;
	struct tg_shape s;
	struct tg_map m = result_map(g, &s, chance(g, 60));
	tg_expr e;
	if (g->n_pool == 1) {
		struct item x = g->pool[0];
		e = tg_compute_type(t) == x.t ? x.e : final_value(g, t, &known);
		known = stored(t, known);
	} else {
		e = final_value(g, t, &known);
	}
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, (tg_val){ 0 }), known);
}

/* Parts side by side (or interleaved) along one axis of an empty tensor. */
static void into_chain(struct gen *g)
{
	enum tg_dtype t = result_type(g);
	uint32_t rank = (uint32_t)some(g, 1, 3), axis = (uint32_t)some(g, 0, rank - 1), n_parts = (uint32_t)some(g, 2, 3);
	bool interleaved = chance(g, 20);
	struct tg_shape s = { .rank = rank };
	int64_t part[3], at = 0, room = g->max_points;
	for (uint32_t r = 0; r < rank; r++) {
		s.dim[r] = some_extent(g);
		s.dim[r] = s.dim[r] > room ? room : s.dim[r];
		room /= s.dim[r];
	}
	s.dim[axis] = 0;
	for (uint32_t i = 0; i < n_parts; i++) {
		part[i] = interleaved && i ? part[0] : some(g, 1, 12);
		s.dim[axis] += part[i];
	}
	struct tg_op *empty = tg_op_new(g->m, &g->m->body, NULL, TG_TILE_empty, NULL, 0, 1, g->prov);
	tg_val v = empty->out[0] = tg_value_new(g->m, TG_TENSOR, t, &s, NULL);
	tg_value_of(g->m, v)->def = empty;
	struct known all = { 0, 0 };
	for (uint32_t i = 0; i < n_parts; i++) {
		struct known k;
		begin(g);
		for (uint32_t r = 0; r < rank; r++)
			add_dim(g, TG_DIM_PARALLEL, r == axis ? part[i] : s.dim[r]);
		if (points(g) > g->max_points)
			return;
		for (int64_t n = some(g, 1, 2); n > 0; n--)
			some_operand(g, false);
		grow(g, false, some(g, 0, 3));
		tg_expr e = final_value(g, t, &k);
		struct tg_map m = tg_map_new(g->b, rank);
		for (uint32_t r = 0; r < rank; r++)
			m.index[r].coef[r] = 1;
		m.index[axis].coef[axis] = interleaved ? n_parts : 1;
		m.index[axis].offset = interleaved ? i : at;
		bool short_dim = false;
		for (uint32_t r = 0; r < rank; r++)
			short_dim |= g->extent[r] != (r == axis ? part[i] : s.dim[r]);
		if (short_dim)
			return;
		v = tg_body_end(g->b, NULL, t, &s, e, &m, v);
		at += part[i];
		all = (struct known){ fmax(all.bound, k.bound), all.places > k.places ? all.places : k.places };
	}
	done(g, v, all);
}

/* Overwrites a part of an earlier result, which others may still read. */
static void overwrite(struct gen *g)
{
	tg_val old = g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)];
	struct tg_shape s = value(g, old)->shape;
	enum tg_dtype t = (enum tg_dtype)value(g, old)->dtype;
	int64_t n;
	if (s.rank == 0 || s.rank > 4 || t == TG_i64 || !tg_shape_count(&s, &n) || n > g->max_points)
		return;
	begin(g);
	struct tg_map m = { 0 };
	int64_t step[4], from[4];
	for (uint32_t r = 0; r < s.rank; r++) {
		int64_t extent = some(g, 1, s.dim[r]), most = extent > 1 ? (s.dim[r] - 1) / (extent - 1) : 1;
		step[r] = some(g, 1, most > 3 ? 3 : most);
		from[r] = some(g, 0, s.dim[r] - 1 - step[r] * (extent - 1));
		add_dim(g, TG_DIM_PARALLEL, extent);
		if (g->extent[r] != extent)
			return;
	}
	some_operand(g, false);
	grow(g, false, some(g, 0, 3));
	struct known k, was = g->known.at[old.id];
	tg_expr e = final_value(g, t, &k);
	m = tg_map_new(g->b, s.rank);
	for (uint32_t r = 0; r < s.rank; r++) {
		m.index[r].coef[r] = step[r];
		m.index[r].offset = from[r];
	}
	k = (struct known){ fmax(k.bound, was.bound), k.places > was.places ? k.places : was.places };
	done(g, tg_body_end(g->b, NULL, t, &s, e, &m, old), k);
}

static void view(struct gen *g)
{
	tg_val v = g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)];
	struct tg_shape s = value(g, v)->shape, to = { 0 };
	int64_t n, d;
	if (!tg_shape_count(&s, &n) || n < 1)
		return;
	for (uint32_t r = (uint32_t)some(g, 0, 2); r > 0 && n > 1; r--) {
		for (d = some(g, 1, n < 40 ? n : 40); n % d; d--)
			;
		to.dim[to.rank++] = d;
		n /= d;
	}
	to.dim[to.rank++] = n;
	struct tg_op *op = tg_op_new(g->m, &g->m->body, NULL, TG_TILE_view, &v, 1, 1, g->prov);
	op->out[0] = tg_value_new(g->m, TG_TENSOR, (enum tg_dtype)value(g, v)->dtype, &to, NULL);
	tg_value_of(g->m, op->out[0])->def = op;
	done(g, op->out[0], g->known.at[v.id]);
}

/* ---- programs ---- */

/* What nobody reads, and a few others. */
static void pick_outputs(struct gen *g)
{
	tg_count_uses(g->m);
	for (size_t i = 0; i < g->vals.n; i++) {
		struct tg_value *v = tg_value_of(g->m, g->vals.at[i]);
		if (!v->def || v->def->code == TG_TILE_data || (v->n_uses && !chance(g, 15)))
			continue;
		*TG_PUSH(g->a, &g->m->outputs) = (struct tg_port){ tg_asprintf(g->a, "y%zu", g->m->outputs.n), g->vals.at[i] };
	}
}

struct tg_module *fuzz_generate(struct tg_arena *a, uint64_t seed)
{
	struct gen *g = tg_alloc(a, sizeof *g);
	*g = (struct gen){ .r = { seed }, .a = a, .m = tg_module_new(a, "fuzz") };
	*TG_PUSH(a, &g->m->nodes) = (struct tg_node_ref){ 0, "fuzz", "Fuzz" };
	g->prov = tg_prov_node(g->m, 0);
	g->m->level = "expand";
	g->max_points = chance(g, 10) ? 200000 : chance(g, 40) ? 20000 : 3000;
	for (int64_t n = some(g, 1, chance(g, 50) ? 2 : 6); n > 0; n--) {
		int64_t how = some(g, 0, 99);
		if (how < 55)
			general_stage(g);
		else if (how < 82)
			contraction_stage(g);
		else if (how < 90)
			into_chain(g);
		else if (g->vals.n && how < 94)
			overwrite(g);
		else if (g->vals.n)
			view(g);
	}
	pick_outputs(g);
	return g->m;
}
