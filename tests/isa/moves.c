/* moves.c: what a DMA transfer moves, against the definition of its descriptor (isa.h): boxes element by element and row by row of the cost model, and the
 * bytes that the simulator moves in shapes which it moves in different ways: rows of every short length, words turned from rows to columns, fills. */
#include "harness.h"

static uint64_t state = 1;
static int64_t below(int64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (int64_t)(state >> 11) % n;
}

/* ---- boxes and cost ---- */

/* An element, in a sum that does not depend on the order. */
static uint64_t element(int64_t src, int64_t dst, bool fill)
{
	uint64_t h = ((uint64_t)dst * 3 + fill) * UINT64_C(0x9e3779b97f4a7c15) ^ (fill ? 0 : (uint64_t)src * UINT64_C(0xc2b2ae3d27d4eb4f));
	h ^= h >> 31;
	return h * UINT64_C(0xff51afd7ed558ccd);
}

static void random_plan(const struct tg_chip *chip, struct tg_dma_plan *p)
{
	static const int64_t steps[] = {0, 4, 8, 12, 36, 144, 1024, -4, -36, -144};
	const char *why;
	do {
		int64_t src = below(2) ? TG_DRAM_BASE : 0, dst = below(2) ? TG_DRAM_BASE : 0;
		struct tg_dma_desc d = {.kind = (uint8_t)below(4), .outside = (uint8_t)below(2), .src_type = TG_DMA_32, .dst_type = TG_DMA_32, .src_offset = 65536 + 4 * below(64),
					.dst_offset = 65536 + 4 * below(64), .list_bound = 8};
		for (int k = 0; k < 4; k++) {
			d.size[k] = below(3) ? 1 + below(8) : below(2);
			d.src_stride[k] = steps[below(TG_ARRAY_LEN(steps))];
			d.dst_stride[k] = steps[below(TG_ARRAY_LEN(steps))];
			d.lo[k] = below(3) ? 0 : below(4) - 1;
			d.hi[k] = d.size[k] - (below(3) ? 0 : below(4) - 1);
		}
		if (below(2))
			d.src_stride[3] = d.dst_stride[3] = 4;
		why = tg_dma_plan(chip, &d, src, dst, p);
	} while (why);
}

/* A row of the cost model: a burst is what its memory transfers at least. */
static uint64_t bursts(const struct tg_chip *c, int64_t at, int64_t n)
{
	int64_t b = c->dram_burst, first = (at - TG_DRAM_BASE) / b, last = (at - TG_DRAM_BASE + n - 1) / b;
	return (uint64_t)((last - first + 1) * b);
}
static void add_row(const struct tg_chip *c, const struct tg_dma_plan *p, int64_t src, int64_t dst, int64_t n, bool fill, struct tg_dma_cost *cost)
{
	int64_t from = fill ? 0 : n * p->src_bytes, to = n * p->dst_bytes;
	bool src_dram = !fill && src >= TG_DRAM_BASE, dst_dram = dst >= TG_DRAM_BASE;
	uint64_t in = src_dram ? bursts(c, src, from) : 0, out = dst_dram ? bursts(c, dst, to) : 0, pieces = (uint64_t)((from > to ? from : to) + 31) / 32 * 32;
	uint64_t most = in + out > pieces ? in + out : pieces, width = c->dram_bytes_per_cycle;
	cost->engine_cycles += (most + width - 1) / width;
	cost->dram_read_bytes += in;
	cost->dram_written_bytes += out;
	cost->sram_bytes += (uint64_t)((src_dram ? 0 : from) + (dst_dram ? 0 : to));
	cost->rows++;
}

/* The plan by its definition: index vector by index vector. */
static uint64_t define(const struct tg_chip *c, const struct tg_dma_plan *p, const int32_t *list, struct tg_dma_cost *cost)
{
	bool run = p->dst_stride[3] == p->dst_bytes;
	uint64_t sum = 0;
	memset(cost, 0, sizeof *cost);
	for (int64_t i = 0; i < p->size[0] * p->size[1] * p->size[2]; i++) {
		int64_t at[4] = {i / (p->size[1] * p->size[2]), i / p->size[2] % p->size[1], i % p->size[2], 0}, first_src = 0, first_dst = 0, n = 0;
		int was = -1;
		for (at[3] = 0; at[3] <= p->size[3]; at[3]++) {
			bool inside = true, end = at[3] == p->size[3];
			int64_t src = p->src, dst = p->dst;
			for (int k = 0; k < 4; k++) {
				inside = inside && at[k] >= p->lo[k] && at[k] < p->hi[k];
				src += (k == 0 && p->kind == TG_DMA_GATHER ? list[at[0]] : at[k]) * p->src_stride[k];
				dst += (k == 0 && p->kind == TG_DMA_SCATTER ? list[at[0]] : at[k]) * p->dst_stride[k];
			}
			bool outer = true;
			for (int k = 0; k < 3; k++)
				outer = outer && at[k] >= p->lo[k] && at[k] < p->hi[k];
			bool fill = p->kind == TG_DMA_FILL || !inside, some = !end && (inside || p->kind == TG_DMA_FILL || p->fill_outside);
			/* what a row is part of: below, inside, above; or a line that is outside as a whole */
			int part = !some ? -1 : !outer ? 3 : at[3] < p->lo[3] ? 0 : at[3] < p->hi[3] ? 1 : 2;
			bool whole = run && (fill || p->src_stride[3] == p->src_bytes);
			if (n && (part != was || !whole)) {
				add_row(c, p, first_src, first_dst, n, was != 1 || p->kind == TG_DMA_FILL, cost);
				n = 0;
			}
			if (some) {
				first_src = n ? first_src : src;
				first_dst = n ? first_dst : dst;
				n++;
				sum += element(src, dst, fill);
			}
			was = part;
		}
	}
	cost->dram_cycles = (cost->dram_read_bytes + cost->dram_written_bytes + c->dram_bytes_per_cycle - 1) / c->dram_bytes_per_cycle;
	return sum;
}

static uint64_t walk(const struct tg_dma_plan *p, const int32_t *list)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	uint64_t sum = 0;
	for (tg_dma_walk_init(&w, p, list); tg_dma_walk_next(&w, &g);) {
		for (int64_t r = 0; r < g.rows; r++) {
			for (int64_t i = 0; i < g.n; i++)
				sum += element(g.src + r * g.src_step + i * p->src_bytes, g.dst + r * g.dst_step + i * p->dst_bytes, g.fill);
		}
	}
	return sum;
}

START_TEST(boxes)
{
	static const char *const chips[] = {"t1", "t1-edge"};
	static const int32_t list[8] = {3, 0, 7, 4, 1, 6, 5, 2};
	for (int round = 0; round < 20000; round++) {
		static struct fixture *f[2];
		struct fixture **at = &f[round & 1];
		struct tg_dma_plan p;
		struct tg_dma_cost want, got;
		*at = *at ? *at : fixture_new(chips[round & 1]);
		random_plan(&(*at)->chip, &p);
		ck_assert_msg(define(&(*at)->chip, &p, list, &want) == walk(&p, list), "round %d: other elements than the descriptor says", round);
		tg_dma_cost(&(*at)->chip, &p, list, &got);
		ck_assert_uint_eq(got.rows, want.rows);
		ck_assert_uint_eq(got.engine_cycles, want.engine_cycles);
		ck_assert_uint_eq(got.dram_cycles, want.dram_cycles);
		ck_assert_uint_eq(got.dram_read_bytes, want.dram_read_bytes);
		ck_assert_uint_eq(got.dram_written_bytes, want.dram_written_bytes);
		ck_assert_uint_eq(got.sram_bytes, want.sram_bytes);
	}
}
END_TEST

/* ---- bytes ---- */

#define REGION 65536

/* Dense in an order of the dimensions of its own on each side, with gaps now and then. */
static void strides(int64_t *stride, const int64_t *size, int64_t bytes)
{
	int order[4] = {0, 1, 2, 3};
	for (int k = 3; k > 0; k--) {
		int j = (int)below(k + 1), was = order[k];
		order[k] = order[j];
		order[j] = was;
	}
	for (int k = 3; k >= 0; k--) {
		stride[order[k]] = bytes;
		bytes = bytes * size[order[k]] + (below(4) ? 0 : stride[order[3]] * below(3));
	}
}

static void expected(const struct tg_dma_desc *d, int64_t bytes, const uint8_t *src, uint8_t *dst)
{
	for (int64_t i = 0; i < d->size[0] * d->size[1] * d->size[2] * d->size[3]; i++) {
		int64_t rest = i, from = 0, to = 0;
		for (int k = 3; k >= 0; k--) {
			from += rest % d->size[k] * d->src_stride[k];
			to += rest % d->size[k] * d->dst_stride[k];
			rest /= d->size[k];
		}
		memcpy(dst + to, d->kind == TG_DMA_FILL ? (const uint8_t *)&d->fill_bits : src + from, (size_t)bytes);
	}
}

static void move_case(struct fixture *f, const struct tg_dma_desc *d, int64_t bytes, const uint8_t *src)
{
	struct program *p = program_new(f);
	uint8_t *want = tg_alloc(f->a, REGION);
	program_data(p, 0, src, REGION);
	program_data(p, 1 << 20, d, sizeof *d);
	EMIT(p, smov, 5, TG_DRAM_BASE + (1 << 20));
	EMIT(p, smov, 6, TG_DRAM_BASE);
	EMIT(p, smov, 7, TG_DRAM_BASE + (8 << 20));
	EMIT(p, dma_start, 8, 1, 5, 6, 7);
	EMIT(p, dma_wait, 1, 8);
	program_end(p);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_INTERP});
	ck_assert_msg(tg_sim_run(s, &f->d, 0), "%s", messages(f));
	expected(d, bytes, src, want);
	const uint8_t *got = tg_sim_dram(s, 8 << 20, REGION, false);
	for (int i = 0; i < REGION; i++) {
		if (got[i] != want[i])
			ck_abort_msg("%lld x %lld x %lld x %lld of %lld bytes: byte %d is %02x, expected %02x", (long long)d->size[0], (long long)d->size[1], (long long)d->size[2],
				     (long long)d->size[3], (long long)bytes, i, got[i], want[i]);
	}
	tg_sim_free(s);
}

static uint8_t *random_bytes(struct fixture *f)
{
	uint8_t *src = tg_alloc(f->a, REGION);
	for (int i = 0; i < REGION; i++)
		src[i] = (uint8_t)below(256);
	return src;
}

/* Rows of every length up to 80 bytes, copied and filled. */
START_TEST(short_rows)
{
	for (int64_t n = 1; n <= 80; n++) {
		struct fixture *f = fixture_new("t1-edge");
		for (int kind = 0; kind < 4; kind++) {
			int64_t bytes = INT64_C(1) << below(4), elements = (n + bytes - 1) / bytes;
			struct tg_dma_desc *d = tg_alloc(f->a, sizeof *d);
			*d = (struct tg_dma_desc){.kind = kind & 1 ? TG_DMA_FILL : TG_DMA_COPY, .src_type = (uint8_t)__builtin_ctzll((uint64_t)bytes), .dst_type = (uint8_t)__builtin_ctzll((uint64_t)bytes),
						  .fill_bits = kind & 2 ? 0 : UINT64_C(0x8877665544332211), .size = {1, 1 + below(3), 1 + below(5), elements},
						  .src_stride = {0, 2000, 3 + bytes * elements, bytes}, .dst_stride = {0, 3000, 5 + bytes * elements, bytes}};
			memcpy(d->hi, d->size, sizeof d->hi);
			move_case(f, d, bytes, random_bytes(f));
		}
		fixture_free(f);
	}
}
END_TEST

/* Any order of dimensions on either side: rows become columns. */
START_TEST(orders_of_dimensions)
{
	for (int round = 0; round < 300; round++) {
		struct fixture *f = fixture_new("t1-edge");
		struct tg_dma_desc *d = tg_alloc(f->a, sizeof *d);
		int64_t bytes = round % 3 ? 4 : INT64_C(1) << below(4), all = 1;
		*d = (struct tg_dma_desc){.src_type = (uint8_t)__builtin_ctzll((uint64_t)bytes), .dst_type = (uint8_t)__builtin_ctzll((uint64_t)bytes)};
		for (int k = 0; k < 4; k++) {
			d->size[k] = below(3) ? 1 + below(40) : 1;
			d->size[k] = all * d->size[k] > 2000 ? 1 : d->size[k];
			all *= d->size[k];
		}
		memcpy(d->hi, d->size, sizeof d->hi);
		strides(d->src_stride, d->size, bytes);
		strides(d->dst_stride, d->size, bytes);
		move_case(f, d, bytes, random_bytes(f));
		fixture_free(f);
	}
}
END_TEST

/* ---- pages ---- */

static void state_after(struct fixture *f, int64_t rows, int64_t step, bool at_once, uint8_t hash[32])
{
	struct program *p = program_new(f);
	struct tg_dma_desc *d = tg_alloc_n(f->a, (size_t)rows, sizeof *d);
	for (int64_t i = 0; i < (at_once ? 1 : rows); i++) {
		d[i] = (struct tg_dma_desc){.kind = TG_DMA_FILL, .dst_type = TG_DMA_32, .dst_offset = i * step, .size = {1, 1, at_once ? rows : 1, 1}, .dst_stride = {0, 0, step, 4}};
		program_data(p, (1 << 20) + (uint64_t)i * sizeof *d, &d[i], sizeof *d);
		EMIT(p, smov, 5, TG_DRAM_BASE + (1 << 20) + i * (int64_t)sizeof *d);
		EMIT(p, smov, 7, TG_DRAM_BASE + (16 << 20) + 12);
		EMIT(p, dma_start, 8, 1, 5, 0, 7);
		EMIT(p, dma_wait, 1, 8);
	}
	EMIT(p, smov, 5, 0);
	EMIT(p, smov, 8, 0);
	program_end(p);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_INTERP});
	ck_assert_msg(tg_sim_run(s, &f->d, 0), "%s", messages(f));
	tg_sim_state_hash(s, hash);
	tg_sim_free(s);
}

/* The digest has the pages that were written and no others, whether rows come in one transfer or in many. */
START_TEST(touched_pages)
{
	static const int64_t steps[] = {4, 4096, 65532, 65536, 65540, 65544, 131068, 131072, 131076, 200000};
	for (size_t i = 0; i < TG_ARRAY_LEN(steps); i++) {
		struct fixture *f = fixture_new("t1-edge");
		uint8_t one[32], many[32];
		state_after(f, 9, steps[i], true, one);
		state_after(f, 9, steps[i], false, many);
		ck_assert_msg(memcmp(one, many, sizeof one) == 0, "rows %lld bytes apart: other pages", (long long)steps[i]);
		fixture_free(f);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("moves");
	TCase *t = tcase_create("moves");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, boxes);
	tcase_add_test(t, short_rows);
	tcase_add_test(t, orders_of_dimensions);
	tcase_add_test(t, touched_pages);
	suite_add_tcase(s, t);
	return run_suite(s);
}
