/* levels.c: pushes, swaps and multiplies of every level of the host's instruction set against their definition, number by number: random pushes (plain and across,
 * cut short, masked, all types) into arrays of several sizes, then products in the defined order. */
#include "core.h"
#include "harness.h"
#include "matrix_rules.h"

#include <math.h>

#define SIDE 256
#define ACC_ROWS 32
#define ROUNDS 1000

/* An array as it is defined: each weight is there or not. */
struct model {
	bool there[2][SIDE][SIDE];
	uint32_t w[2][SIDE][SIDE], acc[ACC_ROWS][SIDE];
};

static uint64_t state = 1;
static uint32_t below(uint32_t n)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return (uint32_t)(state >> 20) % n;
}

/* Every number for rounding: around the formats' limits, halves between their numbers, infinities, NaNs; often small ones, whose sums stay finite. */
static uint32_t number(void)
{
	static const uint32_t near[] = {0, 0x00800000, 0x33000000, 0x33800000, 0x38800000, 0x3c800000, 0x3b000000, 0x37000000, 0x43e00000, 0x43e80000, 0x47600000, 0x47800000,
					0x477fe000, 0x477ff000, 0x7f7f8000, 0x7f800000, 0x7fc00000, 0x3f800000};
	uint32_t sign = below(2) << 31, kind = below(400);
	if (kind == 0)
		return below(UINT32_MAX);
	if (kind == 1)
		return (near[below(sizeof near / sizeof *near)] + below(5) - 2) | sign;
	if (kind < 20)
		return ((0x30000000 + (below(0x18000) << 13)) | (below(4) << 11) | (below(2) ? 0 : below(3))) | sign;
	return (0x3f000000 + below(0x1000000)) | sign;
}

/* By numerics.h alone. */
static uint32_t entered(unsigned type, uint32_t a)
{
	switch (type) {
	case TG_ARRAY_bf16:
		return tg_from_bf16(tg_to_bf16(a));
	case TG_ARRAY_f16:
		return tg_from_f16(tg_to_f16(a));
	case TG_ARRAY_e4m3:
		return tg_from_e4m3(tg_to_e4m3(a));
	case TG_ARRAY_e5m2:
		return tg_from_e5m2(tg_to_e5m2(a));
	case TG_ARRAY_i8:
		return (uint32_t)(int8_t)(uint8_t)a;
	case TG_ARRAY_u8:
		return (uint8_t)a;
	default:
		return a;
	}
}

/* ---- a core with one array ---- */

static void *words(struct fixture *f, size_t n)
{
	return tg_alloc_n(f->a, n, sizeof(uint32_t));
}

static void new_core(struct fixture *f, struct tg_core *c, uint32_t lanes, uint32_t sublanes, uint32_t rows, uint32_t cols)
{
	f->chip.lanes = lanes, f->chip.sublanes = sublanes, f->chip.array_rows = rows, f->chip.array_cols = cols, f->chip.acc_rows = ACC_ROWS;
	*c = (struct tg_core){.chip = &f->chip, .rows = sublanes, .lanes = lanes, .n = lanes * sublanes, .stride = (cols + 31) / 32 * 32, .stride_in = (rows + 31) / 32 * 32};
	for (unsigned i = 0; i < 8; i++)
		c->m[i] = words(f, c->n);
	c->v[0] = words(f, c->n);
	struct tg_array *u = &c->array[0];
	for (int i = 0; i < 2; i++) {
		struct tg_weights *w = &u->set[i];
		w->w = words(f, (size_t)rows * c->stride);
		w->pairs = words(f, (size_t)rows * c->stride);
		w->bits = tg_alloc_n(f->a, rows, sizeof *w->bits);
		w->lo = tg_alloc_n(f->a, rows, sizeof *w->lo);
		w->hi = tg_alloc_n(f->a, rows, sizeof *w->hi);
		w->k = tg_alloc_n(f->a, rows, sizeof *w->k);
		w->lists = tg_alloc_n(f->a, c->stride / 4, sizeof *w->lists);
		w->list = tg_alloc_n(f->a, (size_t)rows * (c->stride / 4), sizeof *w->list);
		w->uniform = true;
	}
	u->acc = words(f, (size_t)ACC_ROWS * c->stride);
	u->acc_written = tg_alloc(f->a, ACC_ROWS);
	u->acc_ready = tg_alloc_n(f->a, ACC_ROWS, sizeof *u->acc_ready);
}

static void fill_operand(struct tg_core *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		c->v[0][i] = number();
}

/* ---- one round ---- */

/* How a round's pushes are: most sets are whole groups in order, the others anything. */
struct habit {
	bool across, mixed;
	uint32_t side, last;
};

static void push_one(const struct tg_matrix *x, struct tg_core *c, struct model *m, unsigned type, const struct habit *h, uint32_t group, uint32_t groups)
{
	const struct tg_chip *chip = c->chip;
	bool across = h->mixed ? below(2) : h->across, masked = h->mixed && below(4) == 0;
	uint32_t shadow = c->array[0].active ^ 1, lines = group + 1 == groups || h->mixed ? h->last : c->rows, side = h->side;
	if (h->mixed && below(4) == 0)
		side = 1 + below(c->lanes);
	fill_operand(c);
	for (uint32_t i = 0; i < c->n; i++)
		c->m[1][i] = below(3) ? UINT32_MAX : 0;
	const struct tg_insn in = {.op = (uint16_t)(TG_I_push_f32 + type), .f = {0, 0, 0, 0, 0, masked, across}};
	/* as where a view shows no more than the extent: beyond it lies nothing that might be read */
	uint32_t most = across ? chip->array_rows : chip->array_cols, lanes = side < most ? side : most;
	size_t n = (size_t)(lines - 1) * c->lanes + lanes;
	uint32_t *extent = malloc(n * sizeof *extent);
	memcpy(extent, c->v[0], n * sizeof *extent);
	const struct tg_operand v = {extent, c->lanes, 0, lines};
	x->push(c, &in, &v, group, (int64_t)lines | (int64_t)side << 16);
	free(extent);
	for (uint32_t r = 0; r < c->rows; r++) {
		for (uint32_t l = 0; l < (across ? chip->array_rows : chip->array_cols); l++) {
			uint32_t line = group * c->rows + r, k = across ? l : line, col = across ? line : l;
			m->there[shadow][k][col] = r < lines && l < side && (!masked || c->m[1][r * c->lanes + l]);
			m->w[shadow][k][col] = entered(type, c->v[0][r * c->lanes + l]);
		}
	}
}

static void push_set(const struct tg_matrix *x, struct tg_core *c, struct model *m, unsigned type)
{
	const struct habit h = {.across = below(2), .mixed = below(3) == 0, .side = below(2) ? c->lanes : 1 + below(c->lanes), .last = below(2) ? c->rows : 1 + below(c->rows)};
	uint32_t shadow = c->array[0].active ^ 1, most = (h.across ? c->chip->array_cols : c->chip->array_rows) / c->rows, n = 1 + below(most);
	uint32_t least = (c->chip->array_cols < c->chip->array_rows ? c->chip->array_cols : c->chip->array_rows) / c->rows;
	memset(m->there[shadow], 0, sizeof m->there[shadow]);
	for (uint32_t i = 0; i < n; i++)
		push_one(x, c, m, type, &h, h.mixed ? below(least) : i, n);
}

static uint32_t product(const struct tg_core *c, const struct model *m, unsigned type, uint32_t r, uint32_t col, uint32_t old, bool add)
{
	uint32_t set = c->array[0].active, sum = 0;
	float p = 0;
	for (uint32_t k = 0; k < c->chip->array_rows; k++) {
		uint32_t a = entered(type, c->v[0][r * c->lanes + k]);
		if (!m->there[set][k][col])
			continue;
		p = fmaf(tg_float(a), tg_float(m->w[set][k][col]), p);
		sum += a * m->w[set][k][col];
	}
	if (array_type_is_int(type))
		return add ? old + sum : sum;
	return tg_canon(add ? tg_float(old) + p : p);
}

static void multiply_one(const char *level, int round, const struct tg_matrix *x, struct tg_core *c, struct model *m, unsigned type)
{
	struct tg_array *u = &c->array[0];
	struct tg_writes next = {0};
	uint32_t n = 1 + below(c->rows), first = below(ACC_ROWS - n + 1);
	bool add = below(2);
	fill_operand(c);
	const struct tg_insn in = {.op = (uint16_t)(TG_I_mul_f32 + type), .f = {0, 0, 0, 0, n}};
	const struct tg_operand v = operand_register(c, 0);
	for (uint32_t r = 0; r < n; r++) {
		for (uint32_t col = 0; col < c->chip->array_cols; col++)
			m->acc[first + r][col] = product(c, m, type, r, col, u->acc[(size_t)(first + r) * c->stride + col], add);
	}
	uint64_t present = 0;
	for (uint32_t k = 0; k < c->chip->array_rows; k++) {
		for (uint32_t col = 0; col < c->chip->array_cols; col++)
			present += m->there[u->active][k][col];
	}
	const struct tg_weights *w = &u->set[u->active];
	if (w->whole && type == TG_ARRAY_f32 && below(2)) {
		x->whole(w, v.at, u->acc + (size_t)first * c->stride, TG_WHOLE(c->lanes, c->stride, c->chip->array_rows, n, add));
		next.macs = w->present * n;
	} else {
		x->multiply(c, &next, &in, &v, first, add);
	}
	ck_assert_msg(next.macs == present * n, "%s, round %d: %llu MACs, expected %llu", level, round, (unsigned long long)next.macs, (unsigned long long)(present * n));
	for (uint32_t r = first; r < first + n; r++) {
		for (uint32_t col = 0; col < c->chip->array_cols; col++) {
			uint32_t is = u->acc[(size_t)r * c->stride + col];
			ck_assert_msg(is == m->acc[r][col], "%s, round %d, type %u: row %u, column %u is %08x, expected %08x", level, round, type, r, col, is, m->acc[r][col]);
		}
	}
}

static void rounds(const char *level, const struct tg_matrix *x)
{
	static const uint32_t shapes[][4] = {{32, 4, 32, 32}, {128, 8, 128, 128}, {64, 16, 64, 32}, {16, 4, 8, 16}, {256, 4, 256, 48}};
	static struct model m;
	state = 88172645463325252u;
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		struct fixture *f = fixture_new("t1");
		struct tg_core c;
		new_core(f, &c, shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3]);
		memset(&m, 0, sizeof m);
		for (int round = 0; round < (int)(ROUNDS * 1024 / (shapes[s][2] * shapes[s][3])); round++) {
			struct tg_writes next = {0};
			unsigned type = below(TG_N_ARRAY_TYPES);
			const struct tg_insn swap = {.op = TG_I_swap};
			push_set(x, &c, &m, type);
			c.clock += 1000; /* the last push has landed */
			x->swap(&c, &next, &swap);
			ck_assert(!next.trap);
			memset(c.array[0].acc, 0, (size_t)ACC_ROWS * c.stride * sizeof(uint32_t));
			for (int i = 0; i < 3; i++)
				multiply_one(level, round, x, &c, &m, type);
		}
		fixture_free(f);
	}
}

START_TEST(base)
{
	rounds("base", &tg_matrix_base);
}
END_TEST

#if defined(__x86_64__)
START_TEST(v3)
{
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		rounds("v3", &tg_matrix_v3);
}
END_TEST
START_TEST(v4)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		rounds("v4", &tg_matrix_v4);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("levels");
	TCase *t = tcase_create("levels");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, base);
#if defined(__x86_64__)
	tcase_add_test(t, v3);
	tcase_add_test(t, v4);
#endif
	suite_add_tcase(s, t);
	return run_suite(s);
}
