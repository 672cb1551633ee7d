/* mem.c: loads and stores. One function for all vector loads and one for all stores; the element type is a constant argument, so that
 * each instruction becomes a loop of its own. */
#include "level.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- scalar ---- */

INLINE void scalar_load(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, uint32_t bytes)
{
	uint64_t at = (uint64_t)now->s[in->f[1]] + (uint64_t)in->f[2];
	next->trap = mem_check_read(&now->mem, at, bytes);
	next->at = (int64_t)at;
	if (next->trap)
		return;
	int32_t narrow;
	if (bytes == 4) {
		memcpy(&narrow, now->mem.at + at, 4);
		next->s = narrow;
	} else {
		memcpy(&next->s, now->mem.at + at, 8);
	}
	next->sram_bytes = bytes;
}
INLINE void scalar_store(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, uint32_t bytes)
{
	uint64_t at = (uint64_t)now->s[in->f[1]] + (uint64_t)in->f[2];
	next->trap = mem_check_write(&now->mem, at, bytes);
	next->at = (int64_t)at;
	if (next->trap)
		return;
	memcpy(now->mem.at + at, &now->s[in->f[0]], bytes);
	next->sram_bytes = bytes;
}
SEM(sld32) { scalar_load(now, next, in, 4); }
SEM(sld64) { scalar_load(now, next, in, 8); }
SEM(sst32) { scalar_store(now, next, in, 4); }
SEM(sst64) { scalar_store(now, next, in, 8); }

/* ---- vector loads ---- */

enum element { E_f32, E_bf16, E_f16, E_e4m3, E_e5m2, E_i32, E_i16, E_u16, E_i8, E_u8, E_i4, E_u4, E_i16s, E_u16s, E_i8s, E_u8s, E_i4s, E_u4s };

INLINE uint32_t element_bits(enum element e)
{
	switch (e) {
	case E_f32:
	case E_i32:
		return 32;
	case E_bf16:
	case E_f16:
	case E_i16:
	case E_u16:
	case E_i16s:
	case E_u16s:
		return 16;
	case E_i4:
	case E_u4:
	case E_i4s:
	case E_u4s:
		return 4;
	default:
		return 8;
	}
}

INLINE uint64_t bytes_of(enum element e, uint32_t lanes)
{
	return ((uint64_t)lanes * element_bits(e) + 7) / 8;
}

INLINE uint32_t widen(enum element e, uint32_t raw)
{
	switch (e) {
	case E_bf16:
		return tg_from_bf16(raw);
	case E_f16:
		return tg_from_f16(raw);
	case E_e4m3:
		return tg_from_e4m3(raw);
	case E_e5m2:
		return tg_from_e5m2(raw);
	case E_i16:
		return (uint32_t)(int32_t)(int16_t)raw;
	case E_i8:
		return (uint32_t)(int32_t)(int8_t)raw;
	case E_i4:
		return (raw ^ 8) - 8;
	default:
		return raw;
	}
}

/* n elements from byte address p, the first one `skip` elements (0 or 1, for nibbles) in */
INLINE void widen_row(enum element e, uint32_t *restrict d, const uint8_t *restrict p, uint32_t n, uint32_t skip)
{
	if (element_bits(e) == 32) {
		memcpy(d, p, (size_t)n * 4);
	} else if (element_bits(e) == 16) {
		for (uint32_t j = 0; j < n; j++) {
			uint16_t raw;
			memcpy(&raw, p + 2 * (size_t)j, 2);
			d[j] = widen(e, raw);
		}
	} else if (element_bits(e) == 8) {
		for (uint32_t j = 0; j < n; j++)
			d[j] = widen(e, p[j]);
	} else {
		for (uint32_t j = 0; j < n; j++)
			d[j] = widen(e, p[(j + skip) / 2] >> ((j + skip) & 1 ? 4 : 0) & 15);
	}
}

/* One stretch of lanes [from, to) of a row at `base`; lane stride 0 reads element 0 for all. */
INLINE bool load_run(struct tg_core *now, struct tg_writes *next, enum element e, uint64_t base, bool step, uint32_t *d, uint32_t from, uint32_t to)
{
	uint32_t first = step ? from : 0, n = step ? to - from : 1, skip = element_bits(e) == 4 ? first & 1 : 0;
	uint64_t at = base + (uint64_t)first * element_bits(e) / 8, bytes = bytes_of(e, n + skip);
	const char *why = mem_check_read(&now->mem, at, bytes);
	if (why) {
		next->trap = why;
		next->at = (int64_t)at;
		return false;
	}
	next->sram_bytes += bytes;
	widen_row(e, d + from, now->mem.at + at, n, skip);
	for (uint32_t j = from + 1; !step && j < to; j++)
		d[j] = d[from];
	return true;
}

/* Runs of lanes [from, to) that the mask selects: the end of the run that starts at `from`; from == to: none is left. */
INLINE uint32_t run_of(const uint32_t *mask, uint32_t *from, uint32_t to)
{
	while (*from < to && !mask[*from])
		(*from)++;
	uint32_t end = *from;
	while (end < to && mask[end])
		end++;
	return end;
}

INLINE uint32_t outside_value(enum element e, int64_t fill)
{
	bool is_float = e <= E_e5m2;
	if (fill == 1)
		return is_float ? TG_F32_INF : 0x7fffffff;
	if (fill == 2)
		return is_float ? 0xff800000 : 0x80000000;
	return 0;
}

INLINE void load(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, enum element e)
{
	struct tg_extent x = extent_of(now, now->s[in->f[5]]);
	uint64_t base = (uint64_t)now->s[in->f[1]] + (uint64_t)in->f[2], s = (uint64_t)now->s[in->f[3]], t = (uint64_t)now->s[in->f[4]];
	uint32_t outside = outside_value(e, in->f[7]), L = now->lanes, in_block = 0;
	bool masked = in->f[6] != 0, step = in->f[8] != 0, keep = in->f[7] == 3;
	uint64_t row = base, block = base;
	if (masked || (keep && (x.rows < now->rows || x.lanes < L)))
		memcpy(next->v, now->v[in->f[0]], now->n * sizeof(uint32_t));
	for (uint32_t r = 0; r < now->rows; r++) {
		uint32_t *d = next->v + r * L, inside = r < x.rows ? x.lanes : 0;
		const uint32_t *mask = now->m[in->f[6]] + r * L;
		uint32_t from = 0, to = masked ? run_of(mask, &from, inside) : inside;
		for (; from < to; from = to, to = masked ? run_of(mask, &from, inside) : from) {
			if (!load_run(now, next, e, row, step, d, from, to))
				return;
		}
		for (uint32_t j = inside; !keep && j < L; j++)
			d[j] = masked && !mask[j] ? d[j] : outside;
		row += s;
		if (++in_block == x.n) {
			in_block = 0;
			row = block += t;
		}
	}
	next->post = (int64_t)((uint64_t)now->s[in->f[1]] + (uint64_t)now->s[in->f[9]]);
}

SEM(vld_f32) { load(now, next, in, E_f32); }
SEM(vld_bf16) { load(now, next, in, E_bf16); }
SEM(vld_f16) { load(now, next, in, E_f16); }
SEM(vld_e4m3) { load(now, next, in, E_e4m3); }
SEM(vld_e5m2) { load(now, next, in, E_e5m2); }
SEM(vld_i32) { load(now, next, in, E_i32); }
SEM(vld_i16) { load(now, next, in, E_i16); }
SEM(vld_u16) { load(now, next, in, E_u16); }
SEM(vld_i8) { load(now, next, in, E_i8); }
SEM(vld_u8) { load(now, next, in, E_u8); }
SEM(vld_i4) { load(now, next, in, E_i4); }
SEM(vld_u4) { load(now, next, in, E_u4); }

/* ---- vector stores ---- */

INLINE uint32_t clamped(uint32_t a, int32_t lo, int32_t hi)
{
	int32_t v = (int32_t)a;
	v = v < lo ? lo : v;
	return (uint32_t)(v > hi ? hi : v);
}

INLINE uint32_t narrow(enum element e, uint32_t a)
{
	switch (e) {
	case E_bf16:
		return tg_to_bf16(a);
	case E_f16:
		return tg_to_f16(a);
	case E_e4m3:
		return tg_to_e4m3(a);
	case E_e5m2:
		return tg_to_e5m2_store(a);
	case E_i16s:
		return clamped(a, INT16_MIN, INT16_MAX);
	case E_u16s:
		return clamped(a, 0, UINT16_MAX);
	case E_i8s:
		return clamped(a, INT8_MIN, INT8_MAX);
	case E_u8s:
		return clamped(a, 0, UINT8_MAX);
	case E_i4s:
		return clamped(a, -8, 7);
	case E_u4s:
		return clamped(a, 0, 15);
	default:
		return a;
	}
}

/* Lanes [0, n) of a row to p. */
INLINE void narrow_row(enum element e, uint8_t *restrict p, const uint32_t *restrict a, uint32_t n)
{
	if (element_bits(e) == 32) {
		memcpy(p, a, (size_t)n * 4);
	} else if (element_bits(e) == 16) {
		for (uint32_t j = 0; j < n; j++) {
			uint16_t v = (uint16_t)narrow(e, a[j]);
			memcpy(p + 2 * (size_t)j, &v, 2);
		}
	} else {
		for (uint32_t j = 0; j < n; j++)
			p[j] = (uint8_t)narrow(e, a[j]);
	}
}

/* A nibble that is not selected is written as zero when its byte is written at all. */
INLINE bool store_nibbles(struct tg_core *now, struct tg_writes *next, enum element e, uint64_t base, bool step, const uint32_t *a,
			  const uint32_t *mask, uint32_t n)
{
	uint32_t bytes = step ? (n + 1) / 2 : 1;
	for (uint32_t k = 0; k < bytes; k++) {
		uint32_t v = 0;
		bool any = false;
		for (uint32_t j = step ? 2 * k : 0; j < (step ? 2 * k + 2 : n); j++) {
			if (j >= n || (mask && !mask[j]))
				continue;
			uint32_t shift = step ? 4 * (j & 1) : 0;
			v = (v & ~(15u << shift)) | (narrow(e, a[j]) & 15) << shift;
			any = true;
		}
		if (!any)
			continue;
		next->at = (int64_t)(base + k);
		next->trap = mem_check_write(&now->mem, base + k, 1);
		if (next->trap)
			return false;
		now->mem.at[base + k] = (uint8_t)v;
		next->sram_bytes++;
	}
	return true;
}

INLINE bool store_run(struct tg_core *now, struct tg_writes *next, enum element e, uint64_t base, bool step, const uint32_t *a, uint32_t from, uint32_t to)
{
	/* with lane stride 0 every lane goes to element 0: the last one stays */
	uint32_t first = step ? from : to - 1, n = to - first;
	uint64_t at = base + (step ? bytes_of(e, from) : 0), bytes = bytes_of(e, n);
	next->trap = mem_check_write(&now->mem, at, bytes);
	next->at = (int64_t)at;
	if (next->trap)
		return false;
	next->sram_bytes += bytes;
	narrow_row(e, now->mem.at + at, a + first, n);
	return true;
}

INLINE void store(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, enum element e)
{
	struct tg_extent x = extent_of(now, now->s[in->f[5]]);
	uint64_t base = (uint64_t)now->s[in->f[1]] + (uint64_t)in->f[2], s = (uint64_t)now->s[in->f[3]], t = (uint64_t)now->s[in->f[4]];
	uint32_t L = now->lanes, in_block = 0;
	bool masked = in->f[6] != 0, step = in->f[7] != 0;
	uint64_t row = base, block = base;
	for (uint32_t r = 0; r < x.rows; r++) {
		const uint32_t *a = now->v[in->f[0]] + r * L, *mask = now->m[in->f[6]] + r * L;
		if (element_bits(e) == 4) {
			if (!store_nibbles(now, next, e, row, step, a, masked ? mask : NULL, x.lanes))
				return;
		} else {
			uint32_t from = 0, to = masked ? run_of(mask, &from, x.lanes) : x.lanes;
			for (; from < to; from = to, to = masked ? run_of(mask, &from, x.lanes) : from) {
				if (!store_run(now, next, e, row, step, a, from, to))
					return;
			}
		}
		row += s;
		if (++in_block == x.n) {
			in_block = 0;
			row = block += t;
		}
	}
	next->post = (int64_t)((uint64_t)now->s[in->f[1]] + (uint64_t)now->s[in->f[8]]);
}

SEM(vst_f32) { store(now, next, in, E_f32); }
SEM(vst_bf16) { store(now, next, in, E_bf16); }
SEM(vst_f16) { store(now, next, in, E_f16); }
SEM(vst_e4m3) { store(now, next, in, E_e4m3); }
SEM(vst_e5m2) { store(now, next, in, E_e5m2); }
SEM(vst_i16) { store(now, next, in, E_i16); }
SEM(vst_i8) { store(now, next, in, E_i8); }
SEM(vst_i4) { store(now, next, in, E_i4); }
SEM(vst_i16s) { store(now, next, in, E_i16s); }
SEM(vst_u16s) { store(now, next, in, E_u16s); }
SEM(vst_i8s) { store(now, next, in, E_i8s); }
SEM(vst_u8s) { store(now, next, in, E_u8s); }
SEM(vst_i4s) { store(now, next, in, E_i4s); }
SEM(vst_u4s) { store(now, next, in, E_u4s); }

/* ---- indexed ---- */

/* The address of a selected lane's element; false: the index is out of bounds. */
INLINE bool indexed(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, uint32_t lane, uint64_t *at)
{
	int32_t index = (int32_t)now->v[in->f[2]][lane];
	if (index < 0 || index >= now->s[in->f[3]]) {
		next->trap = "an index is out of its bounds";
		next->at = index;
		return false;
	}
	*at = (uint64_t)now->s[in->f[1]] + 4 * (uint64_t)index;
	return true;
}

SEM(vldx)
{
	struct tg_extent x = extent_of(now, now->s[in->f[4]]);
	uint64_t at;
	memcpy(next->v, now->v[in->f[0]], now->n * sizeof(uint32_t));
	for (uint32_t r = 0; r < x.rows; r++) {
		for (uint32_t i = r * now->lanes; i < r * now->lanes + x.lanes; i++) {
			if (!now->m[in->f[5]][i])
				continue;
			if (!indexed(now, next, in, i, &at))
				return;
			next->at = (int64_t)at;
			next->trap = mem_check_read(&now->mem, at, 4);
			if (next->trap)
				return;
			memcpy(&next->v[i], now->mem.at + at, 4);
			next->sram_bytes += 4;
		}
	}
}
SEM(vstx)
{
	struct tg_extent x = extent_of(now, now->s[in->f[4]]);
	uint64_t at;
	for (uint32_t r = 0; r < x.rows; r++) {
		for (uint32_t i = r * now->lanes; i < r * now->lanes + x.lanes; i++) {
			if (!now->m[in->f[5]][i])
				continue;
			if (!indexed(now, next, in, i, &at))
				return;
			next->at = (int64_t)at;
			next->trap = mem_check_write(&now->mem, at, 4);
			if (next->trap)
				return;
			memcpy(now->mem.at + at, &now->v[in->f[0]][i], 4);
			next->sram_bytes += 4;
		}
	}
}
