/* matrix.c: the matrix unit: push, swap, multiply, read.
 *
 * The defined order: for each output, p = +0; for k ascending over the present weights p = fma(a[k], w[k], p); then acc = p or acc + p.
 * Lanes (columns) are independent, so the kernel keeps that order while it works on blocks of 4 rows x 16 columns. Weights that are
 * present form, row by row, one run of columns; consecutive rows with the same run go to the kernel together, rows with holes take a
 * scalar path. */
#include "level.h"
#include "matrix_rules.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

typedef float v8f __attribute__((vector_size(32)));
typedef uint32_t v8u __attribute__((vector_size(32)));
/* the same in memory, where rows are aligned to a lane only */
typedef float v8f_row __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t v8u_row __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__AVX2__) && defined(__FMA__)
#define FMA8(a, w, p) ((p) = (v8f)_mm256_fmadd_ps((__m256)(a), (__m256)(w), (__m256)(p)))
#else
#define FMA8(a, w, p)                                                                                                                                \
	do {                                                                                                                                         \
		for (int l_ = 0; l_ < 8; l_++)                                                                                                       \
			(p)[l_] = __builtin_fmaf((a)[l_], (w)[l_], (p)[l_]);                                                                         \
	} while (0)
#endif
#define SPLAT8(x) {x, x, x, x, x, x, x, x}
#define HOLES UINT16_MAX
#define MAX_ROWS 16

/* ---- weights ---- */

static uint32_t entering(unsigned type, uint32_t a)
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
		return (uint32_t)(int32_t)(int8_t)a;
	case TG_ARRAY_u8:
		return a & 0xff;
	default:
		return a;
	}
}

static inline __attribute__((always_inline)) void enter_row(unsigned type, uint32_t *restrict d, const uint32_t *restrict a, uint32_t n)
{
#define CASE(t)                                                                                                                                      \
	case t:                                                                                                                                      \
		for (uint32_t j = 0; j < n; j++)                                                                                                     \
			d[j] = entering(t, a[j]);                                                                                                    \
		break
	switch (type) {
		CASE(TG_ARRAY_bf16);
		CASE(TG_ARRAY_f16);
		CASE(TG_ARRAY_e4m3);
		CASE(TG_ARRAY_e5m2);
		CASE(TG_ARRAY_i8);
		CASE(TG_ARRAY_u8);
	default:
		memcpy(d, a, n * sizeof *d);
	}
}

static void set_bit(uint64_t bits[4], uint32_t i, bool on)
{
	uint64_t one = UINT64_C(1) << (i & 63);
	bits[i >> 6] = on ? bits[i >> 6] | one : bits[i >> 6] & ~one;
}

/* Bits [0, n) of one row of present columns. */
static void set_low(uint64_t bits[4], uint32_t n)
{
	for (uint32_t k = 0; k < 4; k++)
		bits[k] = n >= 64 * (k + 1) ? ~UINT64_C(0) : n <= 64 * k ? 0 : ~UINT64_C(0) >> (64 * (k + 1) - n);
}

static void push_plain(struct tg_core *now, struct tg_weights *w, unsigned type, const uint32_t *a, uint32_t first, struct tg_extent x, const uint32_t *mask)
{
	uint32_t cols = now->chip->array_cols < x.lanes ? now->chip->array_cols : x.lanes;
	for (uint32_t r = 0; r < now->rows; r++) {
		uint64_t *bits = w->bits[first + r];
		uint32_t n = r < x.rows ? cols : 0;
		enter_row(type, w->w + (first + r) * now->stride, a + r * now->lanes, n);
		set_low(bits, n);
		for (uint32_t j = 0; mask && j < n; j++)
			set_bit(bits, j, mask[r * now->lanes + j]);
	}
}

static void push_transposed(struct tg_core *now, struct tg_weights *w, unsigned type, const uint32_t *a, uint32_t first, struct tg_extent x,
			    const uint32_t *mask)
{
	uint32_t rows = now->chip->array_rows, t[256];
	for (uint32_t r = 0; r < now->rows; r++) {
		enter_row(type, t, a + r * now->lanes, rows);
		for (uint32_t k = 0; k < rows; k++) {
			bool present = r < x.rows && k < x.lanes && (!mask || mask[r * now->lanes + k]);
			set_bit(w->bits[k], first + r, present);
			w->w[k * now->stride + first + r] = t[k];
		}
	}
}

static void push(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, unsigned type)
{
	struct tg_array *u = &now->array[in->f[0]];
	struct tg_weights *shadow = &u->set[u->active ^ 1];
	bool across = in->f[6] != 0;
	int64_t group = array_place(now, in);
	next->at = group;
	next->trap = push_trap(now, in, type);
	if (next->trap)
		return;
	shadow->any = true;
	shadow->type = (uint8_t)type;
	const uint32_t *mask = in->f[5] ? now->m[in->f[5]] : NULL;
	struct tg_extent x = extent_of(now, now->s[in->f[4]]);
	(across ? push_transposed : push_plain)(now, shadow, type, now->v[in->f[1]], (uint32_t)group * now->rows, x, mask);
	u->swap_ready = now->clock + now->chip->latency.push_swap;
}
SEM(push_f32) { push(now, next, in, TG_ARRAY_f32); }
SEM(push_bf16) { push(now, next, in, TG_ARRAY_bf16); }
SEM(push_f16) { push(now, next, in, TG_ARRAY_f16); }
SEM(push_e4m3) { push(now, next, in, TG_ARRAY_e4m3); }
SEM(push_e5m2) { push(now, next, in, TG_ARRAY_e5m2); }
SEM(push_i8) { push(now, next, in, TG_ARRAY_i8); }
SEM(push_u8) { push(now, next, in, TG_ARRAY_u8); }

/* The run of a row's present columns. */
static void find_run(const uint64_t bits[4], uint16_t *lo, uint16_t *hi, uint64_t *present)
{
	uint32_t n = 0, first = 0, last = 0;
	for (uint32_t k = 0; k < 4; k++) {
		if (!bits[k])
			continue;
		if (n == 0)
			first = 64 * k + (uint32_t)__builtin_ctzll(bits[k]);
		last = 64 * k + 63 - (uint32_t)__builtin_clzll(bits[k]);
		n += (uint32_t)__builtin_popcountll(bits[k]);
	}
	*present += n;
	*lo = (uint16_t)first;
	*hi = (uint16_t)(n == 0 ? first : n == last - first + 1 ? last + 1 : HOLES);
}

SEM(swap)
{
	struct tg_array *u = &now->array[in->f[0]];
	next->trap = swap_trap(now, in);
	next->at = in->f[0];
	if (next->trap)
		return;
	u->active ^= 1;
	struct tg_weights *w = &u->set[u->active], *shadow = &u->set[u->active ^ 1];
	w->present = 0;
	for (uint32_t k = 0; k < now->chip->array_rows; k++)
		find_run(w->bits[k], &w->lo[k], &w->hi[k], &w->present);
	memset(shadow->bits, 0, now->chip->array_rows * sizeof *shadow->bits);
	shadow->any = false;
}

/* ---- multiply ---- */

struct job {
	const uint32_t *a; /* MAX_ROWS x 256: operands as they entered */
	uint32_t n;        /* rows */
	const uint32_t *w;
	uint32_t stride;
	uint16_t k[256]; /* the array rows of this stretch, ascending */
	uint32_t n_k, lo, hi;
	uint32_t *p; /* MAX_ROWS x stride */
};

/* Stores the lanes of [lo, hi) of a block of 8 columns at c. */
static inline void keep(uint32_t *p, const v8u *v, uint32_t c, uint32_t lo, uint32_t hi)
{
	if (c >= lo && c + 8 <= hi) {
		memcpy(p + c, v, sizeof *v);
		return;
	}
	for (uint32_t l = 0; l < 8; l++) {
		if (c + l >= lo && c + l < hi)
			p[c + l] = (*v)[l];
	}
}

static void block_f32(const struct job *j, uint32_t r, uint32_t c)
{
	const v8f_row *p = (const v8f_row *)(const void *)(j->p + r * j->stride + c);
	uint32_t next = j->stride / 8;
	v8f p00 = p[0], p01 = p[1], p10 = p[next], p11 = p[next + 1], p20 = p[2 * next], p21 = p[2 * next + 1], p30 = p[3 * next], p31 = p[3 * next + 1];
	const float *a = (const float *)(const void *)(j->a + (size_t)r * 256);
	for (uint32_t i = 0; i < j->n_k; i++) {
		uint32_t k = j->k[i];
		const v8f_row *w = (const v8f_row *)(const void *)(j->w + (size_t)k * j->stride + c);
		v8f w0 = w[0], w1 = w[1];
		v8f a0 = SPLAT8(a[k]), a1 = SPLAT8(a[256 + k]), a2 = SPLAT8(a[512 + k]), a3 = SPLAT8(a[768 + k]);
		FMA8(a0, w0, p00);
		FMA8(a0, w1, p01);
		FMA8(a1, w0, p10);
		FMA8(a1, w1, p11);
		FMA8(a2, w0, p20);
		FMA8(a2, w1, p21);
		FMA8(a3, w0, p30);
		FMA8(a3, w1, p31);
	}
	v8u out[4][2] = {{(v8u)p00, (v8u)p01}, {(v8u)p10, (v8u)p11}, {(v8u)p20, (v8u)p21}, {(v8u)p30, (v8u)p31}};
	for (uint32_t i = 0; i < 4; i++) {
		for (uint32_t h = 0; h < 2; h++)
			keep(j->p + (r + i) * j->stride, &out[i][h], c + 8 * h, j->lo, j->hi);
	}
}

static void block_i32(const struct job *j, uint32_t r, uint32_t c)
{
	const v8u_row *p = (const v8u_row *)(const void *)(j->p + r * j->stride + c);
	uint32_t next = j->stride / 8;
	v8u p00 = p[0], p01 = p[1], p10 = p[next], p11 = p[next + 1], p20 = p[2 * next], p21 = p[2 * next + 1], p30 = p[3 * next], p31 = p[3 * next + 1];
	const uint32_t *a = j->a + (size_t)r * 256;
	for (uint32_t i = 0; i < j->n_k; i++) {
		uint32_t k = j->k[i];
		const v8u_row *w = (const v8u_row *)(const void *)(j->w + (size_t)k * j->stride + c);
		v8u w0 = w[0], w1 = w[1];
		v8u a0 = SPLAT8(a[k]), a1 = SPLAT8(a[256 + k]), a2 = SPLAT8(a[512 + k]), a3 = SPLAT8(a[768 + k]);
		p00 += a0 * w0;
		p01 += a0 * w1;
		p10 += a1 * w0;
		p11 += a1 * w1;
		p20 += a2 * w0;
		p21 += a2 * w1;
		p30 += a3 * w0;
		p31 += a3 * w1;
	}
	v8u out[4][2] = {{p00, p01}, {p10, p11}, {p20, p21}, {p30, p31}};
	for (uint32_t i = 0; i < 4; i++) {
		for (uint32_t h = 0; h < 2; h++)
			keep(j->p + (r + i) * j->stride, &out[i][h], c + 8 * h, j->lo, j->hi);
	}
}

static void row_with_holes(const struct job *j, uint32_t k, const uint64_t bits[4], bool ints)
{
	const uint32_t *w = j->w + (size_t)k * j->stride;
	for (uint32_t c = 0; c < j->stride; c++) {
		if (!(bits[c >> 6] >> (c & 63) & 1))
			continue;
		for (uint32_t r = 0; r < j->n; r++) {
			uint32_t a = j->a[(size_t)r * 256 + k], *p = &j->p[r * j->stride + c];
			*p = ints ? *p + a * w[c] : tg_bits(__builtin_fmaf(tg_float(a), tg_float(w[c]), tg_float(*p)));
		}
	}
}

/* p = the products of all present weights, run by run, k ascending. */
static void products(const struct tg_weights *w, struct job *j, uint32_t array_rows, bool ints)
{
	for (uint32_t k = 0; k < array_rows;) {
		if (w->lo[k] == w->hi[k]) {
			k++;
			continue;
		}
		if (w->hi[k] == HOLES) {
			row_with_holes(j, k, w->bits[k], ints);
			k++;
			continue;
		}
		j->lo = w->lo[k];
		j->hi = w->hi[k];
		for (j->n_k = 0; k < array_rows && (w->lo[k] == w->hi[k] || (w->lo[k] == j->lo && w->hi[k] == j->hi)); k++) {
			if (w->lo[k] != w->hi[k])
				j->k[j->n_k++] = (uint16_t)k;
		}
		for (uint32_t r = 0; r < j->n; r += 4) {
			for (uint32_t c = j->lo & ~15u; c < j->hi; c += 16)
				(ints ? block_i32 : block_f32)(j, r, c);
		}
	}
}

static void accumulate(uint32_t *restrict acc, const uint32_t *restrict p, uint32_t n, bool add, bool ints)
{
	if (ints) {
		for (uint32_t j = 0; j < n; j++)
			acc[j] = (add ? acc[j] : 0) + p[j];
	} else if (add) {
		for (uint32_t j = 0; j < n; j++)
			acc[j] = tg_canon(tg_float(acc[j]) + tg_float(p[j]));
	} else {
		for (uint32_t j = 0; j < n; j++)
			acc[j] = tg_canon(tg_float(p[j]));
	}
}

static void multiply(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, unsigned type)
{
	struct tg_array *u = &now->array[in->f[0]];
	const struct tg_weights *w = &u->set[u->active];
	int64_t first = array_place(now, in);
	uint32_t n = (uint32_t)in->f[4], a[MAX_ROWS * 256];
	next->trap = multiply_trap(now, in, type);
	next->at = first;
	if (next->trap)
		return;
	for (uint32_t r = 0; r < (n + 3) / 4 * 4; r++) {
		/* rows past n fill the kernel's block of 4; their products are not used */
		uint32_t from = r < n ? r : 0;
		enter_row(type, a + r * 256, now->v[in->f[1]] + from * now->lanes, now->chip->array_rows);
	}
	uint32_t *p = (uint32_t *)(void *)now->partial;
	memset(p, 0, (size_t)((n + 3) / 4 * 4) * now->stride * sizeof *p);
	struct job j;
	j.a = a;
	j.n = n;
	j.w = w->w;
	j.stride = now->stride;
	j.p = p;
	products(w, &j, now->chip->array_rows, array_type_is_int(type));
	for (uint32_t r = 0; r < n; r++) {
		accumulate(u->acc + (size_t)(first + r) * now->stride, p + r * now->stride, now->chip->array_cols, multiply_adds(now, in), array_type_is_int(type));
		u->acc_written[first + r] = 1;
		u->acc_ready[first + r] = now->clock + now->chip->latency.multiply_read;
	}
	next->macs = w->present * n;
	next->mac_type = (uint8_t)type;
	next->acc_bytes = (uint64_t)n * now->chip->array_cols * (multiply_adds(now, in) ? 8 : 4);
}
SEM(mul_f32) { multiply(now, next, in, TG_ARRAY_f32); }
SEM(mul_bf16) { multiply(now, next, in, TG_ARRAY_bf16); }
SEM(mul_f16) { multiply(now, next, in, TG_ARRAY_f16); }
SEM(mul_e4m3) { multiply(now, next, in, TG_ARRAY_e4m3); }
SEM(mul_e5m2) { multiply(now, next, in, TG_ARRAY_e5m2); }
SEM(mul_i8) { multiply(now, next, in, TG_ARRAY_i8); }
SEM(mul_u8) { multiply(now, next, in, TG_ARRAY_u8); }

SEM(mrd)
{
	const struct tg_array *u = &now->array[in->f[1]];
	int64_t first = (int64_t)((uint64_t)now->s[in->f[2]] + (uint64_t)in->f[3]);
	uint32_t n = (uint32_t)in->f[4], cols = now->chip->array_cols;
	next->at = first;
	if (first < 0 || first > (int64_t)now->chip->acc_rows - (int64_t)n) {
		next->trap = "a read outside the accumulator memory";
		return;
	}
	for (uint32_t r = 0; r < n; r++) {
		if (!u->acc_written[first + r]) {
			next->trap = "a read of an accumulator row that was not written";
			return;
		}
		if (now->clock < u->acc_ready[first + r]) {
			next->trap = "a read of an accumulator row before its last multiply has landed";
			return;
		}
		memcpy(next->v + r * now->lanes, u->acc + (size_t)(first + r) * now->stride, cols * sizeof(uint32_t));
		memset(next->v + r * now->lanes + cols, 0, (now->lanes - cols) * sizeof(uint32_t));
	}
	memset(next->v + n * now->lanes, 0, (size_t)(now->rows - n) * now->lanes * sizeof(uint32_t));
	next->acc_bytes = (uint64_t)n * cols * 4;
}
