/* tiles.h: products of a few rows with a few vectors of columns, for matrix.c, at the level of the host's instruction set that it is compiled for.
 *
 * The defined order: for each output, p = +0; for k ascending over the present weights p = fma(a[k], w[k], p); then acc = p or acc + p.
 * Lanes (columns) are independent, so a tile keeps that order; its sums stay in registers from the first k to the accumulator. */
#ifndef TG_SIM_TILES_H
#define TG_SIM_TILES_H

#include "core.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

/* VW lanes a vector, by the level's instruction set */
#if defined(__AVX512F__)
#define VW 16
#define LANES {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define SPLAT(x) (vf)_mm512_set1_ps(x)
#define FMA(a, w, p) (p) = (vf)_mm512_fmadd_ps((__m512)(a), (__m512)(w), (__m512)(p))
#elif defined(__AVX2__) && defined(__FMA__)
#define VW 8
#define LANES {0, 1, 2, 3, 4, 5, 6, 7}
#define SPLAT(x) (vf)_mm256_set1_ps(x)
#define FMA(a, w, p) (p) = (vf)_mm256_fmadd_ps((__m256)(a), (__m256)(w), (__m256)(p))
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define VW 4
#define LANES {0, 1, 2, 3}
#define SPLAT(x) (vf)vdupq_n_f32(x)
#define FMA(a, w, p) (p) = (vf)vfmaq_f32((float32x4_t)(p), (float32x4_t)(a), (float32x4_t)(w))
#else
#define VW 4
#define LANES {0, 1, 2, 3}
#define SPLAT(x) {x, x, x, x}
#define FMA(a, w, p)                                                                                                                                 \
	for (int l_ = 0; l_ < VW; l_++)                                                                                                              \
	(p)[l_] = __builtin_fmaf((a)[l_], (w)[l_], (p)[l_])
#endif
typedef float vf __attribute__((vector_size(4 * VW)));
typedef uint32_t vu __attribute__((vector_size(4 * VW)));
typedef int32_t vi __attribute__((vector_size(4 * VW)));
typedef float vf_row __attribute__((vector_size(4 * VW), aligned(4), may_alias));
typedef uint32_t vu_row __attribute__((vector_size(4 * VW), aligned(4), may_alias));

/* Weights lie in panels of 32 columns, all rows of a panel one after the other, so that a tile's weights are together in the host's cache. */
#define PANEL TG_PANEL
static inline size_t weight_at(uint32_t rows, uint32_t k, uint32_t c)
{
	return ((size_t)(c / PANEL) * rows + k) * PANEL + c % PANEL;
}

/* sums of two products of 16-bit halves */
#if defined(__AVX512BW__)
#define MADD(a, w, p) (p) += (vu)_mm512_madd_epi16((__m512i)(a), (__m512i)(w))
#elif defined(__AVX2__)
#if VW == 8
#define MADD(a, w, p) (p) += (vu)_mm256_madd_epi16((__m256i)(a), (__m256i)(w))
#endif
#endif
#ifndef MADD
#define LOW(x) (((vi)(x) << 16) >> 16)
#define MADD(a, w, p) (p) += (vu)(LOW(a) * LOW(w) + ((vi)(a) >> 16) * ((vi)(w) >> 16))
#endif

/* Before loops over a tile's rows and vectors, so that its sums are registers. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

/* As many sums as the host has registers for and its fma units want under way: an instruction of each unit in each cycle of its latency, and some to spare. */
#define TILE_ROWS (VW == 16 ? 8 : 4)
#define TILE_WIDE (VW == 8 ? 3 : 2)

/* p's bits, NaN made canonical */
#if defined(__AVX512F__)
#define CANON(p) (vu)_mm512_mask_blend_epi32(_mm512_cmp_ps_mask((__m512)(p), (__m512)(p), _CMP_UNORD_Q), (__m512i)(p), _mm512_set1_epi32(TG_F32_NAN))
#elif defined(__AVX2__) && defined(__FMA__)
#define CANON(p) (vu)_mm256_blendv_ps((__m256)(p), (__m256)_mm256_set1_epi32(TG_F32_NAN), _mm256_cmp_ps((__m256)(p), (__m256)(p), _CMP_UNORD_Q))
#else
#define CANON(p) (((vu)(p) & ~(vu)((p) != (p))) | ((vu)((p) != (p)) & TG_F32_NAN))
#endif

struct tile {
	const uint32_t *a;   /* rows of operands, or of pairs of them */
	size_t a_stride;
	const uint32_t *w;
	uint32_t w_rows;     /* of a panel */
	size_t stride;       /* of accumulator rows */
	const uint16_t *k;   /* which rows of w; NULL: all n_k */
	uint32_t n_k, from, to; /* columns that are present */
	uint32_t *acc;
	bool add;
};

/* p, where it has weights: the others' products are 0 */
static inline vf present_f32(const struct tile *t, vf p, uint32_t c)
{
	static const vi lane = LANES;
	if (c < t->from || c + VW > t->to)
		p = (vf)((vu)p & (vu)(lane >= (int32_t)(t->from - c)) & (vu)(lane < (int32_t)(t->to - c)));
	return p;
}

/* acc = p or acc + p */
static inline __attribute__((always_inline)) void finish_f32(uint32_t *acc, vf p, bool add)
{
	if (add)
		p = *(const vf_row *)(const void *)acc + p;
	*(vu_row *)(void *)acc = (vu_row)CANON(p);
}

/* Up to TILE_ROWS rows by up to four vectors of columns from c on; two of them lie in one panel. Weights of rows k; NULL: of all n_k. */
static inline __attribute__((always_inline)) void tile_f32(const struct tile *t, const uint32_t *operands, uint32_t *acc, uint32_t c, const uint32_t rows, const uint32_t vectors,
							   const uint16_t *k)
{
	vf p[TILE_ROWS][4];
	const float *a = (const float *)(const void *)operands;
	const uint32_t *w[4];
	const size_t a_stride = t->a_stride, stride = t->stride;
	w[0] = t->w + weight_at(t->w_rows, 0, c);
UNROLLED
	for (uint32_t v = 1; v < vectors; v++)
		w[v] = vectors == 2 ? w[0] + VW : t->w + weight_at(t->w_rows, 0, c + v * VW);
UNROLLED
	for (uint32_t r = 0; r < rows; r++) {
UNROLLED
		for (uint32_t v = 0; v < vectors; v++)
			p[r][v] = (vf){0};
	}
	for (uint32_t i = 0, n = t->n_k; i < n; i++) {
		uint32_t at = k ? k[i] : i;
		vf of[4];
UNROLLED
		for (uint32_t v = 0; v < vectors; v++)
			of[v] = (vf) * (const vf_row *)(const void *)(w[v] + (size_t)at * PANEL);
UNROLLED
		for (uint32_t r = 0; r < rows; r++) {
			vf x = SPLAT(a[r * a_stride + at]);
UNROLLED
			for (uint32_t v = 0; v < vectors; v++)
				FMA(x, of[v], p[r][v]);
		}
	}
	if (c < t->from || c + vectors * VW > t->to) {
UNROLLED
		for (uint32_t r = 0; r < rows; r++) {
UNROLLED
			for (uint32_t v = 0; v < vectors; v++)
				p[r][v] = present_f32(t, p[r][v], c + v * VW);
		}
	}
	const bool add = t->add;
UNROLLED
	for (uint32_t r = 0; r < rows; r++) {
UNROLLED
		for (uint32_t v = 0; v < vectors; v++)
			finish_f32(acc + r * stride + c + v * VW, p[r][v], add);
	}
}

/* One function a shape, so that each is compiled by itself. */
typedef void tile_fn(const struct tile *t, const uint32_t *a, uint32_t *acc, uint32_t c);
#define TILE(name, rows, vectors)                                                                                                                    \
	static __attribute__((noinline)) void name(const struct tile *t, const uint32_t *a, uint32_t *acc, uint32_t c)                               \
	{                                                                                                                                            \
		tile_f32(t, a, acc, c, rows, vectors, NULL);                                                                                         \
	}                                                                                                                                            \
	static __attribute__((noinline)) void name##_listed(const struct tile *t, const uint32_t *a, uint32_t *acc, uint32_t c)                      \
	{                                                                                                                                            \
		tile_f32(t, a, acc, c, rows, vectors, t->k);                                                                                         \
	}
#if TILE_ROWS > 4
TILE(tile_most, TILE_ROWS, 2)
#endif
TILE(tile_4_wide, 4, TILE_WIDE)
TILE(tile_4_2, 4, 2)
TILE(tile_2_4, 2, 4)
TILE(tile_2_2, 2, 2)
TILE(tile_1_4, 1, 4)
TILE(tile_1_2, 1, 2)

/* As many of the rows as there are tiles of so many rows, columns [first, end), an even number of vectors. Columns go outside: a tile's weights are in the host's first
 * cache when the next rows want them. `wide` vectors of columns at a time, and two where an odd one would be left. */
static inline __attribute__((always_inline)) uint32_t band_f32(const struct tile *t, uint32_t from, uint32_t rows, const uint32_t tile_rows, const uint32_t wide, uint32_t first,
							       uint32_t end, tile_fn *one, tile_fn *two)
{
	uint32_t to = from + (rows - from) / tile_rows * tile_rows;
	for (uint32_t c = first, v; from < to && c < end; c += v * VW) {
		uint32_t left = (end - c) / VW;
		v = left >= wide && (wide != 3 || left != 4) ? wide : 2;
		for (uint32_t r = from; r < to; r += tile_rows)
			(v == wide ? one : two)(t, t->a + r * t->a_stride, t->acc + r * t->stride, c);
	}
	return to;
}

static inline __attribute__((always_inline)) void bands_f32(const struct tile *t, uint32_t rows, uint32_t first, uint32_t end, const bool listed)
{
	uint32_t r = 0;
#if TILE_ROWS > 4
	r = band_f32(t, r, rows, TILE_ROWS, 2, first, end, listed ? tile_most_listed : tile_most, NULL);
#endif
	r = band_f32(t, r, rows, 4, TILE_WIDE, first, end, listed ? tile_4_wide_listed : tile_4_wide, listed ? tile_4_2_listed : tile_4_2);
	r = band_f32(t, r, rows, 2, 4, first, end, listed ? tile_2_4_listed : tile_2_4, listed ? tile_2_2_listed : tile_2_2);
	band_f32(t, r, rows, 1, 4, first, end, listed ? tile_1_4_listed : tile_1_4, listed ? tile_1_2_listed : tile_1_2);
}

static void tiles_f32(const struct tile *t, uint32_t rows, uint32_t first, uint32_t end)
{
	if (t->k)
		bands_f32(t, rows, first, end, true);
	else
		bands_f32(t, rows, first, end, false);
}

static inline __attribute__((always_inline)) void tile_i32(const struct tile *t, uint32_t c, const uint32_t rows)
{
	vu p[TILE_ROWS][2];
	for (uint32_t r = 0; r < rows; r++) {
		for (uint32_t h = 0; h < 2; h++)
			p[r][h] = t->add ? (vu) * (const vu_row *)(const void *)(t->acc + r * t->stride + c + h * VW) : (vu){0};
	}
	for (uint32_t i = 0; i < t->n_k; i++) {
		const vu_row *w = (const vu_row *)(const void *)(t->w + weight_at(t->w_rows, i, c));
		vu w0 = w[0], w1 = w[1];
UNROLLED
		for (uint32_t r = 0; r < rows; r++) {
			vu x = t->a[r * t->a_stride + i] + (vu){0};
			MADD(x, w0, p[r][0]);
			MADD(x, w1, p[r][1]);
		}
	}
UNROLLED
	for (uint32_t r = 0; r < rows; r++) {
		for (uint32_t h = 0; h < 2; h++)
			*(vu_row *)(void *)(t->acc + r * t->stride + c + h * VW) = p[r][h];
	}
}

static void tiles_i32(const struct tile *t, uint32_t rows, uint32_t first, uint32_t end)
{
	uint32_t r = 0;
	for (struct tile now = *t; r < rows;) {
		uint32_t some = rows - r >= TILE_ROWS ? TILE_ROWS : rows - r >= 4 ? 4 : rows - r >= 2 ? 2 : 1;
		now.a = t->a + r * t->a_stride;
		now.acc = t->acc + r * t->stride;
		for (uint32_t c = first; c < end; c += 2 * VW) {
			if (some == TILE_ROWS)
				tile_i32(&now, c, TILE_ROWS);
			else if (some == 4)
				tile_i32(&now, c, 4);
			else if (some == 2)
				tile_i32(&now, c, 2);
			else
				tile_i32(&now, c, 1);
		}
		r += some;
	}
}

/* ---- rows of weights by list ---- */

/* Lanes whose bit is set. */
static inline vu lanes_of_bits(uint32_t bits)
{
	vu at;
	for (uint32_t l = 0; l < VW; l++)
		at[l] = UINT32_C(1) << l;
	return (vu)((at & bits) != 0);
}

static inline vf keep_where(vu here, vf yes, vf no)
{
	return (vf)(((vu)yes & here) | ((vu)no & ~here));
}

/* Rows of one or two vectors of columns; list: NULL where the rows of weights follow one another. */
static inline __attribute__((always_inline)) void tile_listed(const struct tile *t, uint32_t c, const uint32_t rows, const uint32_t vectors, const struct tg_row_list *l,
							      const uint16_t *list)
{
	vf p[2 * TILE_ROWS][2];
	const float *a = (const float *)(const void *)t->a;
	for (uint32_t r = 0; r < rows; r++)
		p[r][0] = p[r][1] = (vf){0};
	for (uint32_t i = 0, first = l->n && !list ? t->k[0] : 0; i < l->n; i++) {
		uint32_t at = list ? list[i] : first + i;
		const vf_row *of = (const vf_row *)(const void *)(t->w + weight_at(t->w_rows, at, c));
		vf w0 = of[0], w1 = of[vectors - 1];
UNROLLED
		for (uint32_t r = 0; r < rows; r++) {
			vf x = SPLAT(a[r * t->a_stride + at]);
			FMA(x, w0, p[r][0]);
			if (vectors == 2)
				FMA(x, w1, p[r][1]);
		}
	}
UNROLLED
	for (uint32_t r = 0; r < rows; r++) {
		finish_f32(t->acc + r * t->stride + c, p[r][0], t->add);
		if (vectors == 2)
			finish_f32(t->acc + r * t->stride + c + VW, p[r][1], t->add);
	}
}

/* One vector of columns of which some rows of weights have only a part. */
static void tile_partly(const struct tile *t, const struct tg_weights *w, uint32_t c, uint32_t rows, uint32_t n)
{
	vf p[2 * TILE_ROWS];
	const float *a = (const float *)(const void *)t->a;
	for (uint32_t r = 0; r < rows; r++)
		p[r] = (vf){0};
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = t->k[i];
		vf w0 = *(const vf_row *)(const void *)(t->w + weight_at(t->w_rows, k, c));
		vu here = lanes_of_bits((uint32_t)(w->bits[k][c >> 6] >> (c & 63)));
		for (uint32_t r = 0; r < rows; r++) {
			vf y = p[r], x = SPLAT(a[r * t->a_stride + k]);
			FMA(x, w0, y);
			p[r] = keep_where(here, y, p[r]);
		}
	}
	for (uint32_t r = 0; r < rows; r++)
		finish_f32(t->acc + r * t->stride + c, p[r], t->add);
}

static inline __attribute__((always_inline)) void pair_listed(const struct tile *t, uint32_t c, const uint32_t rows, const struct tg_row_list *l)
{
	const uint32_t some = rows < TILE_ROWS ? rows : TILE_ROWS;
	struct tile now = *t;
	for (uint32_t r = 0; r < rows; r += some) {
		if (l->run)
			tile_listed(&now, c, some, 2, l, NULL);
		else
			tile_listed(&now, c, some, 2, l, t->k);
		now.a += some * t->a_stride;
		now.acc += some * t->stride;
	}
}

static inline __attribute__((always_inline)) void rows_listed(struct tile *t, const struct tg_weights *w, const uint32_t rows)
{
	for (uint32_t v = 0; v < t->stride / VW; v++) {
		const struct tg_row_list *l = &w->lists[v];
		t->k = w->list + (size_t)v * t->w_rows;
		if (l->partly)
			tile_partly(t, w, v * VW, rows, l->n);
		else if (l->twin)
			pair_listed(t, v++ * VW, rows, l);
		else if (l->run)
			tile_listed(t, v * VW, rows, 1, l, NULL);
		else
			tile_listed(t, v * VW, rows, 1, l, t->k);
	}
	t->a += rows * t->a_stride;
	t->acc += rows * t->stride;
}

#endif
