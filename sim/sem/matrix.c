/* matrix.c: the matrix unit: push, swap, multiply, read.
 *
 * The defined order: for each output, p = +0; for k ascending over the present weights p = fma(a[k], w[k], p); then acc = p or acc + p.
 * The kernels (tiles.h) keep that order while they work on blocks of a few rows x 2 vectors of columns. */
#include "level.h"
#include "enter.h"
#include "matrix_rules.h"
#include "tiles.h"
#include "weights.h"

/* ---- weights ---- */

/* n lanes, PANEL at most; a library call would take longer than most copies. */
static inline void copy_panel(uint32_t *restrict d, const uint32_t *restrict a, uint32_t n)
{
	if (n == PANEL) {
		vu v[PANEL / VW];
		for (uint32_t i = 0; i < PANEL / VW; i++)
			v[i] = (vu) * (const vu_row *)(const void *)(a + i * VW);
		for (uint32_t i = 0; i < PANEL / VW; i++)
			*(vu_row *)(void *)(d + i * VW) = (vu_row)v[i];
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		d[i] = a[i];
}

/* Weights mostly come group by group from SRAM, rows far from each other: the host is told which ones will be next. */
static void fetch_ahead(const struct tg_operand *v, uint32_t rows, uint32_t cols)
{
	uintptr_t at = (uintptr_t)v->at + (uintptr_t)(v->step * 4) * rows;
	if (v->step <= (int64_t)cols || v->n < rows)
		return;
	for (uint32_t r = 0; r < rows; r++, at += (uintptr_t)v->step * 4) {
		for (uint32_t c = 0; c < cols * 4; c += 64)
			__builtin_prefetch((const void *)(at + c));
	}
}

static void push_plain(struct tg_core *now, struct tg_weights *w, unsigned type, const struct tg_operand *v, uint32_t first, struct tg_extent x, const uint32_t *mask)
{
	uint32_t cols = now->chip->array_cols < x.lanes ? now->chip->array_cols : x.lanes;
	bool plain = note_push(now, w, &(struct pushed){.group = first / now->rows, .lines = x.rows, .side = cols, .masked = mask != NULL});
	fetch_ahead(v, x.rows, cols);
	for (uint32_t r = 0; r < x.rows; r++) {
		const uint32_t *a = operand_row(v, r);
		for (uint32_t c = 0; c < cols; c += PANEL) {
			uint32_t *d = w->w + weight_at(now->chip->array_rows, first + r, c), n = cols - c < PANEL ? cols - c : PANEL;
			if (type == TG_ARRAY_f32)
				copy_panel(d, a + c, n);
			else
				enter_row(type, d, a + c, n);
		}
	}
	for (uint32_t r = 0; !plain && r < now->rows; r++) {
		uint64_t *bits = w->bits[first + r];
		set_low(bits, r < x.rows ? cols : 0);
		for (uint32_t j = 0; mask && r < x.rows && j < cols; j++)
			set_bit(bits, j, mask[r * now->lanes + j]);
	}
}

static void push_transposed(struct tg_core *now, struct tg_weights *w, unsigned type, const struct tg_operand *v, uint32_t first, struct tg_extent x,
			    const uint32_t *mask)
{
	uint32_t rows = now->chip->array_rows, lanes = rows < x.lanes ? rows : x.lanes, entered[MAX_ROWS][256];
	const uint32_t *row[MAX_ROWS];
	bool plain = note_push(now, w, &(struct pushed){.group = first / now->rows, .lines = x.rows, .side = lanes, .across = true, .masked = mask != NULL});
	uint32_t whole = (lanes + 3) / 4 * 4;
	for (uint32_t r = 0; r < now->rows; r++) {
		row[r] = r < x.rows ? operand_row(v, r) : row[0]; /* absent: any number will do, but only the extent may be read */
		if (r >= x.rows || (type == TG_ARRAY_f32 && whole == lanes))
			continue;
		memset(entered[r] + lanes, 0, (whole - lanes) * sizeof **entered);
		enter_row(type, entered[r], row[r], lanes);
		row[r] = entered[r];
	}
	turn(w->w + weight_at(rows, 0, first), row, now->rows, whole);
	if (plain)
		return;
	if (!mask && (first & 63) + now->rows <= 64) { /* columns of one word, all rows alike */
		uint64_t group = (~UINT64_C(0) >> (64 - now->rows)) << (first & 63), present = (~UINT64_C(0) >> (64 - x.rows)) << (first & 63);
		for (uint32_t k = 0; k < rows; k++)
			w->bits[k][first >> 6] = (w->bits[k][first >> 6] & ~group) | (k < x.lanes ? present : 0);
		return;
	}
	for (uint32_t r = 0; r < now->rows; r++) {
		for (uint32_t k = 0; k < rows; k++)
			set_bit(w->bits[k], first + r, r < x.rows && k < x.lanes && (!mask || mask[r * now->lanes + k]));
	}
}

/* A push that was found legal. */
static void push(struct tg_core *now, const struct tg_insn *in, const struct tg_operand *v, int64_t group, int64_t extent)
{
	unsigned type = array_type_of(in);
	struct tg_array *u = &now->array[in->f[0]];
	struct tg_weights *shadow = &u->set[u->active ^ 1];
	bool across = in->f[6] != 0;
	shadow->any = true;
	shadow->type = (uint8_t)type;
	const uint32_t *mask = in->f[5] ? now->m[in->f[5]] : NULL;
	struct tg_extent x = extent_of(now, extent);
	(across ? push_transposed : push_plain)(now, shadow, type, v, (uint32_t)group * now->rows, x, mask);
	u->swap_ready = now->clock + now->chip->latency.push_swap;
}
static void push_register(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in)
{
	const struct tg_operand v = operand_register(now, in->f[1]);
	next->at = array_place(now, in);
	next->trap = push_trap(now, in, array_type_of(in), next->at);
	if (!next->trap)
		push(now, in, &v, next->at, now->s[in->f[4]]);
}
SEM(push_f32) { push_register(now, next, in); }
SEM(push_bf16) { push_register(now, next, in); }
SEM(push_f16) { push_register(now, next, in); }
SEM(push_e4m3) { push_register(now, next, in); }
SEM(push_e5m2) { push_register(now, next, in); }
SEM(push_i8) { push_register(now, next, in); }
SEM(push_u8) { push_register(now, next, in); }

SEM(swap)
{
	struct tg_array *u = &now->array[in->f[0]];
	next->trap = swap_trap(now, in);
	next->at = in->f[0];
	if (next->trap)
		return;
	u->active ^= 1;
	struct tg_weights *w = &u->set[u->active], *shadow = &u->set[u->active ^ 1];
	settle_weights(now, w);
	shadow->any = false;
	shadow->form = 0;
	shadow->groups = 0;
}

/* ---- multiply ---- */

static void accumulate(uint32_t *restrict acc, const uint32_t *restrict p, uint32_t n, bool add)
{
	if (add) {
		for (uint32_t j = 0; j < n; j++)
			acc[j] = tg_canon(tg_float(acc[j]) + tg_float(p[j]));
	} else {
		for (uint32_t j = 0; j < n; j++)
			acc[j] = tg_canon(tg_float(p[j]));
	}
}

/* ---- products ---- */

/* Weights as pairs: a word of pairs row i, column c holds the low 16 bits of rows 2 i and 2 i + 1. Integer sums come out the same in any order,
 * and 0 stands for what is absent. */
static void make_pairs(const struct tg_core *now, struct tg_weights *w, uint32_t rows, uint32_t stride)
{
	w->paired = true;
	spell_out(now, w);
	for (uint32_t i = 0; i < (rows + 1) / 2; i++) {
		for (uint32_t c = 0; c < stride; c++) {
			uint32_t word = 0;
			for (uint32_t k = 2 * i; k < 2 * i + 2 && k < rows; k++) {
				if (w->bits[k][c >> 6] >> (c & 63) & 1)
					word |= (w->w[weight_at(rows, k, c)] & 0xffff) << (16 * (k & 1));
			}
			w->pairs[weight_at((rows + 1) / 2, i, c)] = word;
		}
	}
}

static void multiply_ints(struct tg_core *now, struct tg_array *u, const uint32_t *a, size_t a_stride, int64_t first, uint32_t n, bool add)
{
	struct tg_weights *w = &u->set[u->active];
	uint32_t rows = now->chip->array_rows, half = (rows + 1) / 2, pairs[TILE_ROWS * 128];
	if (!w->paired)
		make_pairs(now, w, rows, now->stride);
	for (uint32_t r = 0; r < n; r += TILE_ROWS) {
		uint32_t some = n - r < TILE_ROWS ? n - r : TILE_ROWS;
		for (uint32_t j = 0; j < some; j++) {
			for (uint32_t i = 0; i < half; i++) {
				const uint32_t *x = a + (r + j) * a_stride + 2 * i;
				pairs[j * 128 + i] = (x[0] & 0xffff) | (2 * i + 1 < rows ? x[1] << 16 : 0);
			}
		}
		const struct tile t = {.a = pairs, .a_stride = 128, .w = w->pairs, .w_rows = half, .stride = now->stride, .n_k = half, .add = add,
				       .acc = u->acc + (size_t)(first + r) * now->stride};
		tiles_i32(&t, some, 0, now->stride);
	}
}

/* Columns [first, end), multiples of PANEL, of the products of weights that are uniform. */
static void multiply_columns(const struct tg_product *p, uint32_t first, uint32_t end)
{
	static const uint32_t zeros[256];
	const struct tg_weights *w = p->w;
	const uint32_t step = 2 * VW;
	uint32_t from = w->n_k ? w->from / step * step : 0, to = w->n_k ? (w->to + step - 1) / step * step : 0;
	bool in_order = w->n_k == 0 || w->k[w->n_k - 1] + 1u == w->n_k;
	from = from < first ? first : from > end ? end : from;
	to = to < from ? from : to > end ? end : to;
	const struct tile t = {.a = p->a, .a_stride = p->a_stride, .w = w->w, .w_rows = p->array_rows, .stride = p->stride, .k = in_order ? NULL : w->k, .n_k = w->n_k,
			       .from = w->from, .to = w->to, .acc = p->acc, .add = p->add};
	tiles_f32(&t, p->n, from, to);
	if (from == first && to >= end)
		return;
	for (uint32_t r = 0; r < p->n; r++) {
		accumulate(p->acc + r * p->stride + first, zeros, from - first, p->add);
		accumulate(p->acc + r * p->stride + to, zeros, end - to, p->add);
	}
}

static void multiply_whole(const struct tg_weights *w, const uint32_t *a, uint32_t *acc, uint64_t shape)
{
	const uint32_t n = shape >> 36 & 0xfff, stride = shape >> 12 & 0xfff;
	const struct tile t = {.a = a, .a_stride = shape & 0xfff, .w = w->w, .w_rows = shape >> 24 & 0xfff, .stride = stride, .n_k = w->n_k, .to = w->to, .acc = acc,
			       .add = shape >> 63};
	bands_f32(&t, n, 0, stride, false);
}

static void multiply_uniform(struct tg_core *now, struct tg_array *u, const uint32_t *a, size_t a_stride, int64_t first, uint32_t n, bool add)
{
	const struct tg_product p = {.w = &u->set[u->active], .a = a, .a_stride = a_stride, .stride = now->stride, .acc = u->acc + (size_t)first * now->stride, .n = n,
				     .array_rows = now->chip->array_rows, .add = add};
	multiply_columns(&p, 0, now->stride);
}

/* ---- rows with holes or different columns: each vector of columns has a list of the rows that have weights in it ---- */

/* Whether two neighbours lie in one panel and have the same rows. */
static bool twins(const struct tg_weights *w, uint32_t rows, uint32_t v)
{
	const struct tg_row_list *a = &w->lists[v], *b = a + 1;
	const uint16_t *list = w->list + (size_t)v * rows;
	return (v + 1) * VW % PANEL != 0 && a->n == b->n && !a->partly && !b->partly && memcmp(list, list + rows, a->n * sizeof *list) == 0;
}

static void list_rows(struct tg_weights *w, uint32_t rows, uint32_t stride)
{
	const uint64_t all = ~UINT64_C(0) >> (64 - VW);
	w->listed = true;
	for (uint32_t v = 0; v < stride / VW; v++) {
		uint32_t c = v * VW, n = 0;
		uint16_t *list = w->list + (size_t)v * rows;
		struct tg_row_list *l = &w->lists[v];
		*l = (struct tg_row_list){0};
		for (uint32_t k = 0; k < rows; k++) {
			uint64_t here = w->bits[k][c >> 6] >> (c & 63) & all;
			l->partly |= here && here != all;
			if (here)
				list[n++] = (uint16_t)k;
		}
		l->n = (uint16_t)n;
		l->run = n > 0 && list[n - 1] - list[0] + 1u == n;
	}
	for (uint32_t v = 0; v + 1 < stride / VW; v++)
		w->lists[v].twin = twins(w, rows, v);
}

static void multiply_ragged(struct tg_core *now, struct tg_array *u, const uint32_t *a, size_t a_stride, int64_t first, uint32_t n, bool add)
{
	struct tg_weights *w = &u->set[u->active];
	uint32_t rows = now->chip->array_rows;
	struct tile t = {.a = a, .a_stride = a_stride, .w = w->w, .w_rows = rows, .stride = now->stride, .to = now->stride, .acc = u->acc + (size_t)first * now->stride, .add = add};
	if (!w->listed)
		list_rows(w, rows, now->stride);
	for (; n >= 2 * TILE_ROWS; n -= 2 * TILE_ROWS)
		rows_listed(&t, w, 2 * TILE_ROWS);
	for (; n >= 4; n -= 4)
		rows_listed(&t, w, 4);
	for (; n > 0; n--)
		rows_listed(&t, w, 1);
}

/* Operands that enter rounded. */
static __attribute__((noinline)) void multiply_entered(struct tg_core *now, struct tg_array *u, const struct tg_operand *v, unsigned type, int64_t first, uint32_t n, bool add)
{
	uint32_t entered[MAX_ROWS * 256];
	for (uint32_t r = 0; r < n; r++)
		enter_row(type, entered + r * 256, operand_row(v, r), now->chip->array_rows);
	if (array_type_is_int(type))
		multiply_ints(now, u, entered, 256, first, n, add);
	else if (u->set[u->active].uniform)
		multiply_uniform(now, u, entered, 256, first, n, add);
	else
		multiply_ragged(now, u, entered, 256, first, n, add);
}

/* What else a multiply does. */
static void multiplied(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, int64_t first, bool add)
{
	struct tg_array *u = &now->array[in->f[0]];
	uint32_t n = (uint32_t)in->f[4];
	for (uint32_t r = 0; r < n; r++) {
		u->acc_written[first + r] = 1;
		u->acc_ready[first + r] = now->clock + now->chip->latency.multiply_read;
	}
	next->macs = u->set[u->active].present * n;
	next->mac_type = (uint8_t)array_type_of(in);
	next->acc_bytes = (uint64_t)n * now->chip->array_cols * (add ? 8 : 4);
}

/* A multiply that was found legal. */
static void multiply(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add)
{
	unsigned type = array_type_of(in);
	struct tg_array *u = &now->array[in->f[0]];
	const struct tg_weights *w = &u->set[u->active];
	uint32_t n = (uint32_t)in->f[4];
	if (type == TG_ARRAY_f32 && n <= v->n) {
		(w->uniform ? multiply_uniform : multiply_ragged)(now, u, v->at, (size_t)v->step, first, n, add);
	} else if (type == TG_ARRAY_f32) {
		for (uint32_t r = 0; r < n; r += v->n)
			(w->uniform ? multiply_uniform : multiply_ragged)(now, u, operand_row(v, r), (size_t)v->step, first + r, n - r < v->n ? n - r : v->n, add);
	} else {
		multiply_entered(now, u, v, type, first, n, add);
	}
	multiplied(now, next, in, first, add);
}

/* All of a multiply but its products. */
static bool multiply_start(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add, struct tg_product *p,
			   uint32_t *rows)
{
	unsigned type = array_type_of(in);
	struct tg_array *u = &now->array[in->f[0]];
	const struct tg_weights *w = &u->set[u->active];
	uint32_t n = (uint32_t)in->f[4], lanes = w->n_k ? w->k[w->n_k - 1] + 1u : 0;
	if (array_type_is_int(type) || !w->uniform)
		return false;
	next->trap = multiply_trap(now, in, type, first, add);
	next->at = first;
	if (next->trap)
		return true;
	for (uint32_t r = 0; r < n; r++)
		enter_row(type, rows + (size_t)r * now->stride_in, operand_row(v, r), lanes);
	*p = (struct tg_product){.w = w, .a = rows, .a_stride = now->stride_in, .stride = now->stride, .acc = u->acc + (size_t)first * now->stride, .n = n,
				 .array_rows = now->chip->array_rows, .add = add};
	multiplied(now, next, in, first, add);
	return true;
}

static void multiply_register(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in)
{
	const struct tg_operand v = operand_register(now, in->f[1]);
	bool add = multiply_adds(now, in);
	next->at = array_place(now, in);
	next->trap = multiply_trap(now, in, array_type_of(in), next->at, add);
	if (!next->trap)
		multiply(now, next, in, &v, next->at, add);
}
SEM(mul_f32) { multiply_register(now, next, in); }
SEM(mul_bf16) { multiply_register(now, next, in); }
SEM(mul_f16) { multiply_register(now, next, in); }
SEM(mul_e4m3) { multiply_register(now, next, in); }
SEM(mul_e5m2) { multiply_register(now, next, in); }
SEM(mul_i8) { multiply_register(now, next, in); }
SEM(mul_u8) { multiply_register(now, next, in); }

SEM(mrd)
{
	const struct tg_array *u = &now->array[in->f[1]];
	int64_t first = (int64_t)((uint64_t)now->s[in->f[2]] + (uint64_t)in->f[3]);
	uint32_t n = (uint32_t)in->f[4], cols = now->chip->array_cols;
	next->at = first;
	next->trap = read_trap(now, in, first, now->clock);
	if (next->trap)
		return;
	for (uint32_t r = 0; r < n; r++) {
		memcpy(next->v + r * now->lanes, u->acc + (size_t)(first + r) * now->stride, cols * sizeof(uint32_t));
		memset(next->v + r * now->lanes + cols, 0, (now->lanes - cols) * sizeof(uint32_t));
	}
	memset(next->v + n * now->lanes, 0, (size_t)(now->rows - n) * now->lanes * sizeof(uint32_t));
	next->acc_bytes = (uint64_t)n * cols * 4;
}

/* ---- the same for translated code, which knows the operands ---- */

static void swap_known(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in)
{
	SEM_NAME(swap)(now, next, in);
}

const struct tg_matrix LEVEL_JOIN(tg_, matrix, TG_LEVEL) = {.push = push, .swap = swap_known, .multiply = multiply, .start = multiply_start, .columns = multiply_columns,
							    .whole = multiply_whole};
