/* generate_operands.c: tensors with their contents, dimensions, and operands: maps made first and tensors made to fit, or fitted to tensors that exist. */
#include "generate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

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

const struct tg_value *gen_value(const struct gen *g, tg_val v) { return tg_value_get(g->m, v); }

void gen_know(struct gen *g, tg_val v, struct known k)
{
	while (g->known.n <= v.id)
		*TG_PUSH(g->a, &g->known) = (struct known){ 0 };
	g->known.at[v.id] = k;
}

enum tg_dtype gen_some_type(struct gen *g)
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

tg_val gen_make_tensor(struct gen *g, enum tg_dtype t, const struct tg_shape *s)
{
	const char *name = tg_asprintf(g->a, "%s%u", chance(g, 15) ? "wide" : "x", g->n_inputs++);
	int64_t how = some(g, 0, 9);
	tg_val v = how < 6 ? make_input(g, name, t, s) : make_data(g, name, t, s, how == 9);
	gen_know(g, v, contents(name, t));
	*TG_PUSH(g->a, &g->vals) = v;
	return v;
}

tg_val gen_make_data(struct gen *g, enum tg_dtype t, const struct tg_shape *s)
{
	tg_val v = make_data(g, tg_asprintf(g->a, "x%u", g->n_inputs++), t, s, false);
	gen_know(g, v, contents("x", t));
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

int64_t gen_some_extent(struct gen *g)
{
	static const uint8_t odd[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 65, 127, 128, 129 };
	return chance(g, 40) ? some(g, 1, 12) : odd[some(g, 0, (int64_t)TG_ARRAY_LEN(odd) - 1)];
}

int64_t gen_points(const struct gen *g)
{
	int64_t n = 1;
	for (uint32_t i = 0; i < g->n_dims; i++)
		n *= g->extent[i];
	return n;
}

bool gen_add_dim(struct gen *g, enum tg_dim_kind kind, int64_t extent)
{
	if (g->n_dims == MAX_GEN_DIMS)
		return false;
	int64_t room = g->max_points / gen_points(g);
	if (extent > room)
		extent = room < 1 ? 1 : room;
	g->extent[g->n_dims] = extent;
	g->kind[g->n_dims++] = (uint8_t)kind;
	tg_body_dim(g->b, kind, extent);
	return true;
}

void gen_begin(struct gen *g)
{
	g->b = tg_body_new(g->m, g->prov);
	g->n_dims = g->n_ins = g->n_pool = 0;
}

/* ---- operands ---- */


void gen_span(const struct gen *g, const struct index *x, int64_t *lo, int64_t *hi)
{
	*lo = *hi = x->offset;
	for (uint32_t i = 0; i < x->n; i++) {
		int64_t far = x->coef[i] * (g->extent[x->dim[i]] - 1);
		*(far < 0 ? lo : hi) += far;
	}
}

void gen_add_pool(struct gen *g, tg_expr e, enum tg_dtype t, struct known k, bool varies)
{
	if (g->n_pool < MAX_POOL)
		g->pool[g->n_pool++] = (struct item){ e, t, k, varies, false };
}

void gen_apply_map(struct gen *g, uint32_t in, const struct shape_map *m)
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
	enum tg_dtype t = tg_compute_type((enum tg_dtype)gen_value(g, v)->dtype);
	gen_apply_map(g, in, m);
	if (m->guarded) {
		int64_t fill = chance(g, 50) ? 0 : t == TG_bool || t == TG_u32 ? some(g, 0, 1) : some(g, -3, 3);
		tg_body_guard(g->b, in, (double)fill);
		k.bound = fmax(k.bound, 3);
	}
	tg_expr e = tg_body_arg(g->b, in);
	gen_add_pool(g, e, t, k, map_varies(g, m));
	if (m->guarded && chance(g, 15))
		gen_add_pool(g, tg_node_k(g->b, TG_X_inside, TG_bool, (int32_t)in, (tg_expr){ 0 }), TG_bool, (struct known){ 1, 0 }, map_varies(g, m));
	g->n_ins++;
	return e;
}

static int64_t some_coef(struct gen *g)
{
	static const int8_t coefs[] = { 1, 1, 1, 1, 1, 2, 2, 3, -1, -2 };
	return coefs[some(g, 0, (int64_t)TG_ARRAY_LEN(coefs) - 1)];
}

/* Dimensions that an operand may walk. */
uint32_t gen_usable(const struct gen *g, bool reduced, uint32_t *dims)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_dims; i++)
		if (reduced || g->kind[i] == TG_DIM_PARALLEL)
			dims[n++] = i;
	return n;
}

void gen_shuffle(struct gen *g, uint32_t *x, uint32_t n)
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
		gen_span(g, x, &lo, &hi);
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
	uint32_t dims[MAX_GEN_DIMS], n = gen_usable(g, reduced, dims);
	struct shape_map m = { 0 };
	if (chance(g, 65)) { /* every dimension at most once */
		if (chance(g, 50))
			gen_shuffle(g, dims, n);
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
	add_operand(g, gen_make_tensor(g, t, &m.shape), &m);
}

/* A map into a tensor that exists: each index a dimension that fits, else a guarded one, else a constant. */
static void fitted_operand(struct gen *g, tg_val v, bool reduced)
{
	uint32_t dims[MAX_GEN_DIMS], n = gen_usable(g, reduced, dims);
	const struct tg_value *val = gen_value(g, v);
	struct shape_map m = { .rank = val->shape.rank };
	bool taken[MAX_GEN_DIMS] = { false };
	if (m.rank > MAX_GEN_DIMS)
		return;
	if (chance(g, 30))
		gen_shuffle(g, dims, n);
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
void gen_plain_operand(struct gen *g, tg_val v)
{
	struct shape_map m = { .rank = gen_value(g, v)->shape.rank };
	for (uint32_t r = 0; r < m.rank; r++)
		m.at[r] = (struct index){ .n = 1, .div = 1, .dim = { r }, .coef = { 1 } };
	add_operand(g, v, &m);
}

static void gather_operand(struct gen *g, bool reduced)
{
	uint32_t dims[MAX_GEN_DIMS], n = gen_usable(g, reduced, dims), n_list = n ? (uint32_t)some(g, 1, n > 2 ? 2 : n) : 0;
	int64_t bound = gen_some_extent(g);
	struct shape_map list = { 0 }, data = { .rank = 1 };
	gen_shuffle(g, dims, n);
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
	tg_val v = gen_make_tensor(g, gen_some_type(g), &data.shape), l = make_list(g, bound, &list.shape);
	uint32_t li = tg_body_in(g->b, l), in = tg_body_in(g->b, v);
	gen_apply_map(g, li, &list);
	gen_apply_map(g, in, &data);
	tg_body_gather(g->b, in, where, li);
	g->n_ins += 2;
	gen_add_pool(g, tg_body_arg(g->b, in), tg_compute_type((enum tg_dtype)gen_value(g, v)->dtype), g->known.at[v.id],
		 map_varies(g, &list) || map_varies(g, &data));
}

void gen_some_operand(struct gen *g, bool reduced)
{
	if (g->n_ins >= 7)
		return;
	if (chance(g, 6))
		gather_operand(g, reduced);
	else if (g->vals.n && chance(g, 40))
		fitted_operand(g, g->vals.at[some(g, 0, (int64_t)g->vals.n - 1)], reduced);
	else
		fresh_operand(g, reduced, gen_some_type(g));
}
