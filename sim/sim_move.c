/* sim_move.c: the bytes of DMA transfers: box by box (struct tg_dma_box), its two inner dimensions as a plane of rows.
 *
 * Most rows are short, so what is to be done is decided once a box, and rows of up to 64 bytes are copied without a call: as two pieces of a
 * fixed size that overlap where the row is no multiple of it. Fills are copies of a pattern at steps of 0. */
#include "dma.h"

#define SHORT_ROW 64

/* Rows at every index of dimensions 2 and 3. */
#define EACH_ROW(b, d, p, body)                                                                                                                      \
	for (int64_t i = 0; i < (b)->size[2]; i++, d += (b)->dst_step[2], p += (b)->src_step[2]) {                                                   \
		uint8_t *to = d;                                                                                                                     \
		const uint8_t *from = p;                                                                                                             \
		for (int64_t k = 0; k < (b)->size[3]; k++, to += (b)->dst_step[3], from += (b)->src_step[3])                                         \
			body;                                                                                                                        \
	}

/* A row of n bytes, piece <= n <= 2 piece. */
static inline void copy_pieces(uint8_t *to, const uint8_t *from, size_t n, const size_t piece)
{
	uint8_t low[SHORT_ROW / 2], high[SHORT_ROW / 2];
	memcpy(low, from, piece);
	memcpy(high, from + n - piece, piece);
	memcpy(to, low, piece);
	memcpy(to + n - piece, high, piece);
}

static void copy_rows(const struct tg_dma_box *b, size_t n, uint8_t *d, const uint8_t *p)
{
	if (n > SHORT_ROW)
		EACH_ROW(b, d, p, memcpy(to, from, n))
	else if (n > 32)
		EACH_ROW(b, d, p, copy_pieces(to, from, n, 32))
	else if (n > 16)
		EACH_ROW(b, d, p, copy_pieces(to, from, n, 16))
	else if (n == 16)
		EACH_ROW(b, d, p, memcpy(to, from, 16))
	else if (n > 8)
		EACH_ROW(b, d, p, copy_pieces(to, from, n, 8))
	else if (n == 8)
		EACH_ROW(b, d, p, memcpy(to, from, 8))
	else if (n == 4)
		EACH_ROW(b, d, p, memcpy(to, from, 4))
	else if (n == 2)
		EACH_ROW(b, d, p, memcpy(to, from, 2))
	else if (n == 1)
		EACH_ROW(b, d, p, *to = *from)
	else
		EACH_ROW(b, d, p, memcpy(to, from, n))
}

/* ---- words that lie in a row on one side and in a column on the other ---- */

#define BLOCK 4
typedef uint32_t words __attribute__((vector_size(4 * BLOCK)));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAS_SHUFFLE 1
#endif
#endif

#ifdef HAS_SHUFFLE
/* Four rows of four words each; they become columns. */
static inline void turn_block(uint8_t *to, int64_t to_step, const uint8_t *from, int64_t from_step)
{
	words r[BLOCK], a, b, c, e;
	for (int i = 0; i < BLOCK; i++)
		memcpy(&r[i], from + i * from_step, sizeof r[i]);
	a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
	b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
	c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
	e = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
	r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
	r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
	r[2] = __builtin_shufflevector(c, e, 0, 1, 4, 5);
	r[3] = __builtin_shufflevector(c, e, 2, 3, 6, 7);
	for (int i = 0; i < BLOCK; i++)
		memcpy(to + i * to_step, &r[i], sizeof r[i]);
}
#else
static inline void turn_block(uint8_t *to, int64_t to_step, const uint8_t *from, int64_t from_step)
{
	for (int i = 0; i < BLOCK; i++) {
		for (int k = 0; k < BLOCK; k++)
			memcpy(to + i * to_step + 4 * k, from + k * from_step + 4 * i, 4);
	}
}
#endif

/* Dimension 2 follows on in the source, dimension 3 in the destination. Whole lines of the host's cache are written one after the other where there are so many words. */
#define TURN_AT_ONCE 16
static void turn_words(const struct tg_dma_box *b, uint8_t *d, const uint8_t *p)
{
	int64_t down = b->size[2], across = b->size[3];
	for (int64_t k0 = 0; k0 < across; k0 += TURN_AT_ONCE) {
		int64_t k1 = k0 + TURN_AT_ONCE < across ? k0 + TURN_AT_ONCE : across, whole = k1 - (k1 - k0) % BLOCK, i = 0;
		for (; i + BLOCK <= down; i += BLOCK) {
			uint8_t *to = d + i * b->dst_step[2];
			const uint8_t *from = p + 4 * i;
			for (int64_t k = k0; k < whole; k += BLOCK)
				turn_block(to + 4 * k, b->dst_step[2], from + k * b->src_step[3], b->src_step[3]);
			for (int64_t k = whole; k < k1; k++) {
				for (int64_t j = 0; j < BLOCK; j++)
					memcpy(to + j * b->dst_step[2] + 4 * k, from + k * b->src_step[3] + 4 * j, 4);
			}
		}
		for (; i < down; i++) {
			for (int64_t k = k0; k < k1; k++)
				memcpy(d + i * b->dst_step[2] + 4 * k, p + k * b->src_step[3] + 4 * i, 4);
		}
	}
}

static void exchange_dims(struct tg_dma_box *b, int k, int j)
{
	const struct tg_dma_box was = *b;
	b->size[k] = was.size[j], b->src_step[k] = was.src_step[j], b->dst_step[k] = was.dst_step[j];
	b->size[j] = was.size[k], b->src_step[j] = was.src_step[k], b->dst_step[j] = was.dst_step[k];
}

/* The order in which single elements move is free. Puts words to be turned in dimensions 2 and 3, if there are some; else the longest dimension innermost. */
static bool turn_dims(struct tg_dma_box *b)
{
	for (int k = 0; k < 4; k++) {
		for (int j = 0; j < 4; j++) {
			if (j == k || b->dst_step[k] != 4 || b->src_step[j] != 4 || b->size[k] < BLOCK || b->size[j] < BLOCK)
				continue;
			exchange_dims(b, k, 3);
			exchange_dims(b, j == 3 ? k : j, 2);
			return true;
		}
	}
	int longest = 3;
	for (int k = 0; k < 3; k++)
		longest = b->size[k] > b->size[longest] ? k : longest;
	exchange_dims(b, longest, 3);
	return false;
}

/* ---- conversions ---- */

static void convert_row(uint8_t *d, const uint8_t *p, unsigned from, unsigned to, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		uint64_t raw = 0, out = 0;
		if (from == TG_DMA_f32) {
			uint32_t a;
			memcpy(&a, p + 4 * i, 4);
			out = to == TG_DMA_bf16 ? tg_to_bf16(a) : tg_to_f16(a);
			memcpy(d + 2 * i, &out, 2);
		} else if (to == TG_DMA_f32) {
			memcpy(&raw, p + 2 * i, 2);
			out = from == TG_DMA_bf16 ? tg_from_bf16((uint32_t)raw) : tg_from_f16((uint32_t)raw);
			memcpy(d + 4 * i, &out, 4);
		} else if (from == TG_DMA_i32) {
			int32_t a;
			memcpy(&a, p + 4 * i, 4);
			int64_t wide = a;
			memcpy(d + 8 * i, &wide, 8);
		} else {
			int64_t a;
			memcpy(&a, p + 8 * i, 8);
			int32_t low = a < INT32_MIN ? INT32_MIN : a > INT32_MAX ? INT32_MAX : (int32_t)a;
			memcpy(d + 4 * i, &low, 4);
		}
	}
}

/* ---- boxes ---- */

/* How a box moves; for fills p is the pattern. */
enum way { ROWS, TURN, CONVERT, LONG_FILL };

static void long_fill(const struct tg_dma_box *b, size_t n, uint8_t *d, const uint8_t *pattern)
{
	bool alike = memcmp(pattern, pattern + 1, SHORT_ROW - 1) == 0;
	const uint8_t *p = pattern;
	if (alike) {
		EACH_ROW(b, d, p, (memset(to, *from, n)))
		return;
	}
	EACH_ROW(b, d, p, {
		for (size_t j = 0; j < n; j += SHORT_ROW)
			memcpy(to + j, from, n - j < SHORT_ROW ? n - j : SHORT_ROW);
	})
}

static void move_plane(const struct tg_dma_plan *plan, const struct tg_dma_box *b, enum way way, uint8_t *d, const uint8_t *p)
{
	size_t n = (size_t)b->n * plan->dst_bytes;
	switch (way) {
	case ROWS:
		copy_rows(b, n, d, p);
		break;
	case TURN:
		turn_words(b, d, p);
		break;
	case CONVERT:
		EACH_ROW(b, d, p, convert_row(to, from, plan->src_type, plan->dst_type, b->n))
		break;
	case LONG_FILL:
		long_fill(b, n, d, p);
		break;
	}
}

static void move_box(const struct tg_dma_plan *plan, struct tg_dma_box *b, uint8_t *d, const uint8_t *p)
{
	uint8_t pattern[SHORT_ROW];
	enum way way = !b->fill && plan->src_type != plan->dst_type ? CONVERT : ROWS;
	if (b->fill) {
		for (size_t i = 0; i < SHORT_ROW; i += plan->dst_bytes)
			memcpy(pattern + i, &plan->fill_bits, plan->dst_bytes);
		p = pattern;
		way = b->n * plan->dst_bytes > SHORT_ROW ? LONG_FILL : ROWS;
	} else if (way == ROWS && b->n == 1 && turn_dims(b) && plan->dst_bytes == 4) {
		way = TURN;
	}
	for (int64_t i = 0; i < b->size[0]; i++) {
		for (int64_t k = 0; k < b->size[1]; k++)
			move_plane(plan, b, way, d + i * b->dst_step[0] + k * b->dst_step[1], p + i * b->src_step[0] + k * b->src_step[1]);
	}
}

/* ---- transfers ---- */

/* Where the bytes of a side are: a pointer that stands for its address `first`. */
static uint8_t *write_side(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->dst_first))
		return s->core.mem.at + p->dst_first;
	return dram_write(s, (uint64_t)(p->dst_first - TG_DRAM_BASE), (uint64_t)(p->dst_end - TG_DRAM_BASE));
}
static const uint8_t *read_side(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->src_first))
		return s->core.mem.at + p->src_first;
	return dram_read(s, (uint64_t)(p->src_first - TG_DRAM_BASE), (uint64_t)(p->src_end - TG_DRAM_BASE));
}

/* Notes the pages of a grid's rows. Rows that are no page apart touch all pages from the first to the last. */
static void touch_grid(struct tg_sim *s, const struct tg_dma_plan *p)
{
	const struct grid g = grid_of_side(p, false), c = grid_coarse(&g, INT64_C(1) << DRAM_PAGE_SHIFT);
	for (struct grid_walk w = grid_begin(&c); !w.done; grid_next(&c, &w))
		dram_touch(s, (uint64_t)(w.at - TG_DRAM_BASE), (uint64_t)c.n);
}

static void touch_rows(struct tg_sim *s, const struct tg_dma_plan *p)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	if (p->kind != TG_DMA_SCATTER) {
		touch_grid(s, p);
		return;
	}
	for (tg_dma_walk_init(&w, p, list_of(s, p)); tg_dma_walk_next(&w, &g);) {
		for (int64_t i = 0; i < g.rows; i++)
			dram_touch(s, (uint64_t)(g.dst + i * g.dst_step - TG_DRAM_BASE), (uint64_t)g.n * p->dst_bytes);
	}
}

void dma_move(struct tg_sim *s, struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	struct tg_dma_boxes w;
	struct tg_dma_box b;
	x->moved = true;
	if (p->dst_first == p->dst_end)
		return;
	uint8_t *to = write_side(s, p);
	const uint8_t *from = p->src_first == p->src_end ? NULL : read_side(s, p);
	if (in_dram(p->dst_first))
		touch_rows(s, p);
	tg_dma_boxes_init(&w, p, list_of(s, p));
	while (tg_dma_next_box(&w, &b))
		move_box(p, &b, to + (b.dst - p->dst_first), b.fill ? NULL : from + (b.src - p->src_first));
}
