/* enter.h: numbers on their way into the array, rounded to its type, for matrix.c. The definition is numerics.h's: to the narrow format and back. */
#ifndef TG_SIM_ENTER_H
#define TG_SIM_ENTER_H

#include "tiles.h"

static inline uint32_t entering(unsigned type, uint32_t a)
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

static inline vu pick(vu where, vu yes, vu no)
{
	return (yes & where) | (no & ~where);
}

/* A float format: bits of its fraction; its smallest normal number (0: as small as f32's) and largest one as f32 bits; and what a larger one becomes. */
struct format {
	uint32_t man, normal, most, beyond;
};

/* To a format and back without leaving f32: the bits below its fraction are rounded off where it is normal; below that, adding a number
 * whose last bit is the format's smallest step lets the adder round, and taking it away again is exact. */
static inline __attribute__((always_inline)) vu round_vector(const struct format f, vu a)
{
	const uint32_t drop = 23 - f.man, step = f.normal + (drop << 23);
	vu mag = a & 0x7fffffff, sign = a & 0x80000000;
	vu r = (mag + ((UINT32_C(1) << (drop - 1)) - 1) + ((mag >> drop) & 1)) & ~((UINT32_C(1) << drop) - 1);
	vu magic = step + (vu){0};
	vu small = (vu)(((vf)mag + (vf)magic) - (vf)magic);
	r = pick((vu)((vi)mag < (int32_t)f.normal), small, r);
	r = pick((vu)((vi)r > (int32_t)f.most), f.beyond + (vu){0}, r) | sign;
	return pick((vu)((vi)mag > (int32_t)TG_F32_INF), TG_F32_NAN + (vu){0}, r);
}

static inline __attribute__((always_inline)) void round_row(const struct format f, unsigned type, uint32_t *restrict d, const uint32_t *restrict a, uint32_t n)
{
	uint32_t j = 0;
	for (; j + VW <= n; j += VW)
		*(vu_row *)(void *)(d + j) = (vu_row)round_vector(f, (vu) * (const vu_row *)(const void *)(a + j));
	for (; j < n; j++)
		d[j] = entering(type, a[j]);
}

static inline void enter_row(unsigned type, uint32_t *restrict d, const uint32_t *restrict a, uint32_t n)
{
	switch (type) {
	case TG_ARRAY_bf16:
		round_row((struct format){7, 0, TG_F32_INF, TG_F32_INF}, type, d, a, n);
		break;
	case TG_ARRAY_f16:
		round_row((struct format){10, 0x38800000, 0x477fe000, TG_F32_INF}, type, d, a, n);
		break;
	case TG_ARRAY_e4m3:
		round_row((struct format){3, 0x3c800000, 0x43e00000, 0x43e00000}, type, d, a, n);
		break;
	case TG_ARRAY_e5m2:
		round_row((struct format){2, 0x38800000, 0x47600000, 0x47600000}, type, d, a, n);
		break;
	case TG_ARRAY_i8:
	case TG_ARRAY_u8:
		for (uint32_t j = 0; j < n; j++)
			d[j] = type == TG_ARRAY_i8 ? (uint32_t)(int32_t)(int8_t)a[j] : a[j] & 0xff;
		break;
	default:
		memcpy(d, a, n * sizeof *d);
	}
}

#endif
