/* weights.h: which weights of an array are present, and pushes that enter them turned, for matrix.c.
 *
 * A set is plain as long as its pushes are whole groups: of rows, all with the columns [0, group_side), or, pushed across, of columns, all with the rows
 * [0, group_side); of one group the last lines may be missing. Then a bit a group tells everything. Of what is not plain `bits` tells each weight. */
#ifndef TG_SIM_WEIGHTS_H
#define TG_SIM_WEIGHTS_H

#include "tiles.h"

#define HOLES UINT16_MAX
#define MAX_ROWS 16

static inline void set_bit(uint64_t bits[4], uint32_t i, bool on)
{
	uint64_t one = UINT64_C(1) << (i & 63);
	bits[i >> 6] = on ? bits[i >> 6] | one : bits[i >> 6] & ~one;
}

/* Bits [0, n) of one row of present columns. */
static inline void set_low(uint64_t bits[4], uint32_t n)
{
	for (uint32_t k = 0; k < 4; k++)
		bits[k] = n >= 64 * (k + 1) ? ~UINT64_C(0) : n <= 64 * k ? 0 : ~UINT64_C(0) >> (64 * (k + 1) - n);
}

/* How many lines of a plain set's group are there. */
static inline uint32_t lines_of(const struct tg_core *now, const struct tg_weights *w, uint32_t group)
{
	return (w->form & TG_WEIGHTS_CUT) && group == w->cut_group ? w->cut_lines : now->rows;
}

/* From now on `bits` tells what is present. */
static inline void spell_out(const struct tg_core *now, struct tg_weights *w)
{
	uint64_t columns[4] = {0};
	if (w->form & TG_WEIGHTS_ODD)
		return;
	memset(w->bits, 0, now->chip->array_rows * sizeof *w->bits);
	for (uint64_t groups = w->groups; groups; groups &= groups - 1) {
		uint32_t group = (uint32_t)__builtin_ctzll(groups), first = group * now->rows;
		for (uint32_t i = first; i < first + lines_of(now, w, group); i++) {
			if (w->form & TG_WEIGHTS_ACROSS)
				set_bit(columns, i, true);
			else
				set_low(w->bits[i], w->group_side);
		}
	}
	for (uint32_t k = 0; (w->form & TG_WEIGHTS_ACROSS) && k < w->group_side; k++)
		memcpy(w->bits[k], columns, sizeof columns);
	w->form = TG_WEIGHTS_ODD;
}

/* A push of some lines (rows, or columns when across) of a group, each with [0, side) of the others. */
struct pushed {
	uint32_t group, lines, side;
	bool across, masked;
};

/* Takes a push into account, in `groups` as long as the set is plain. Returns whether it still is. */
static inline bool note_push(const struct tg_core *now, struct tg_weights *w, const struct pushed *p)
{
	if (w->form & TG_WEIGHTS_ODD)
		return false;
	if (!w->groups) {
		w->form = p->across ? TG_WEIGHTS_ACROSS : 0;
		w->group_side = (uint16_t)p->side;
	}
	bool same = p->across == ((w->form & TG_WEIGHTS_ACROSS) != 0) && p->side == w->group_side, cut = (w->form & TG_WEIGHTS_CUT) != 0, again = cut && w->cut_group == p->group;
	if (p->masked || p->group > 63 || !same || (p->lines < now->rows && cut && !again)) {
		spell_out(now, w);
		return false;
	}
	w->groups |= UINT64_C(1) << p->group;
	if (again)
		w->form &= (uint8_t)~TG_WEIGHTS_CUT;
	if (p->lines < now->rows) {
		w->form |= TG_WEIGHTS_CUT;
		w->cut_group = (uint8_t)p->group;
		w->cut_lines = (uint8_t)p->lines;
	}
	return true;
}

/* The run of a row's present columns. */
static inline void find_run(const uint64_t bits[4], uint16_t *lo, uint16_t *hi, uint64_t *present)
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

static inline void find_uniform(struct tg_weights *w, uint32_t rows)
{
	w->uniform = true;
	w->n_k = 0;
	for (uint32_t k = 0; k < rows; k++) {
		if (w->lo[k] == w->hi[k])
			continue;
		if (w->n_k == 0) {
			w->from = w->lo[k];
			w->to = w->hi[k];
		}
		w->uniform = w->uniform && w->hi[k] != HOLES && w->lo[k] == w->from && w->hi[k] == w->to;
		w->k[w->n_k++] = (uint16_t)k;
	}
}

/* Of a plain set whose groups follow one another from the first on, nothing is left to find out. */
static inline bool plain_groups(const struct tg_core *now, struct tg_weights *w)
{
	if ((w->form & TG_WEIGHTS_ODD) || !w->groups || (w->groups & (w->groups + 1)))
		return false;
	uint32_t n = (uint32_t)__builtin_popcountll(w->groups);
	if ((w->form & TG_WEIGHTS_CUT) && w->cut_group != n - 1)
		return false;
	uint32_t lines = (n - 1) * now->rows + lines_of(now, w, n - 1);
	w->uniform = true;
	w->from = 0;
	w->to = (uint16_t)((w->form & TG_WEIGHTS_ACROSS) ? lines : w->group_side);
	w->n_k = (w->form & TG_WEIGHTS_ACROSS) ? w->group_side : lines;
	w->k[w->n_k - 1] = (uint16_t)(w->n_k - 1); /* all up to it: nobody asks for the others */
	w->present = (uint64_t)w->n_k * w->to;
	return true;
}

/* What a swap makes of a set that becomes active. */
static inline void settle_weights(const struct tg_core *now, struct tg_weights *w)
{
	w->paired = w->listed = false;
	if (!plain_groups(now, w)) {
		spell_out(now, w);
		w->present = 0;
		for (uint32_t k = 0; k < now->chip->array_rows; k++)
			find_run(w->bits[k], &w->lo[k], &w->hi[k], &w->present);
		find_uniform(w, now->chip->array_rows);
	}
	w->whole = w->uniform && w->n_k && w->k[w->n_k - 1] + 1u == w->n_k && w->from == 0 && now->stride - w->to < PANEL / 4;
}

/* ---- turning ---- */

#if defined(__clang__)
#define PICK4(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define PICK8(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK4(a, b, ...) __builtin_shuffle(a, b, (v4){__VA_ARGS__})
#define PICK8(a, b, ...) __builtin_shuffle(a, b, (v8){__VA_ARGS__})
#endif
typedef uint32_t v4 __attribute__((vector_size(16)));
typedef uint32_t v4_row __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows, lanes [k, k + 4) of them -> d: four rows of PANEL. */
static inline void turn4(uint32_t *d, const uint32_t *const row[], uint32_t k)
{
	v4 a = *(const v4_row *)(const void *)(row[0] + k), b = *(const v4_row *)(const void *)(row[1] + k);
	v4 c = *(const v4_row *)(const void *)(row[2] + k), e = *(const v4_row *)(const void *)(row[3] + k);
	v4 p = PICK4(a, b, 0, 4, 1, 5), q = PICK4(a, b, 2, 6, 3, 7), r = PICK4(c, e, 0, 4, 1, 5), s = PICK4(c, e, 2, 6, 3, 7);
	*(v4_row *)(void *)d = (v4_row)PICK4(p, r, 0, 1, 4, 5);
	*(v4_row *)(void *)(d + PANEL) = (v4_row)PICK4(p, r, 2, 3, 6, 7);
	*(v4_row *)(void *)(d + 2 * PANEL) = (v4_row)PICK4(q, s, 0, 1, 4, 5);
	*(v4_row *)(void *)(d + 3 * PANEL) = (v4_row)PICK4(q, s, 2, 3, 6, 7);
}

#if VW >= 8
typedef uint32_t v8 __attribute__((vector_size(32)));
typedef uint32_t v8_row __attribute__((vector_size(32), aligned(4), may_alias));

static inline v8 halves(const uint32_t *low, const uint32_t *high)
{
	v4 a = *(const v4_row *)(const void *)low, b = *(const v4_row *)(const void *)high;
	return (v8){a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]};
}

/* The same of eight rows: four lanes of row i and row i + 4 share a vector, so that no lane has to cross the middle. */
static inline void turn8(uint32_t *d, const uint32_t *const row[], uint32_t k)
{
	v8 a = halves(row[0] + k, row[4] + k), b = halves(row[1] + k, row[5] + k), c = halves(row[2] + k, row[6] + k), e = halves(row[3] + k, row[7] + k);
	v8 p = PICK8(a, b, 0, 8, 1, 9, 4, 12, 5, 13), q = PICK8(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
	v8 r = PICK8(c, e, 0, 8, 1, 9, 4, 12, 5, 13), s = PICK8(c, e, 2, 10, 3, 11, 6, 14, 7, 15);
	*(v8_row *)(void *)d = (v8_row)PICK8(p, r, 0, 1, 8, 9, 4, 5, 12, 13);
	*(v8_row *)(void *)(d + PANEL) = (v8_row)PICK8(p, r, 2, 3, 10, 11, 6, 7, 14, 15);
	*(v8_row *)(void *)(d + 2 * PANEL) = (v8_row)PICK8(q, s, 0, 1, 8, 9, 4, 5, 12, 13);
	*(v8_row *)(void *)(d + 3 * PANEL) = (v8_row)PICK8(q, s, 2, 3, 10, 11, 6, 7, 14, 15);
}
#endif

/* Lanes [0, n) of `rows` rows become columns [0, rows) of n rows of a panel; both are multiples of four, as all chips' sublanes. */
static inline void turn(uint32_t *d, const uint32_t *const row[], uint32_t rows, uint32_t n)
{
	uint32_t c = 0;
#if VW >= 8
	for (; c + 8 <= rows; c += 8) {
		for (uint32_t k = 0; k < n; k += 4)
			turn8(d + k * PANEL + c, row + c, k);
	}
#endif
	for (; c < rows; c += 4) {
		for (uint32_t k = 0; k < n; k += 4)
			turn4(d + k * PANEL + c, row + c, k);
	}
}

#endif
