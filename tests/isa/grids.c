/* grids.c: sides of DMA transfers as grids against the bytes themselves: random descriptors, and those that programs have. */
#include "grid.h"
#include "harness.h"

#define BYTES 4096 /* of a small memory */
#define ROUNDS 40000

static uint64_t state = 1;
static int64_t below(int64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (int64_t)(state % (uint64_t)n);
}

/* The bytes of a side, as the engine's own walk gives them. */
static void bytes_of_side(const struct tg_dma_plan *p, bool src, uint8_t *at)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	memset(at, 0, BYTES);
	for (tg_dma_walk_init(&w, p, NULL); tg_dma_walk_next(&w, &g);) {
		for (int64_t i = 0; i < g.rows && !(src && g.fill); i++) {
			int64_t to = src ? g.src + i * g.src_step : g.dst + i * g.dst_step;
			memset(at + to, 1, (size_t)g.n * (src ? p->src_bytes : p->dst_bytes));
		}
	}
}

static void bytes_of_grid(const struct grid *g, uint8_t *at)
{
	bool inside = true;
	memset(at, 0, BYTES);
	for (struct grid_walk w = grid_begin(g); inside && !w.done; grid_next(g, &w)) {
		inside = w.at >= g->first && w.at + g->n <= g->end && w.at + g->n <= BYTES;
		if (inside)
			memset(at + w.at, 1, (size_t)g->n);
	}
	ck_assert_msg(inside, "a row lies outside the grid");
}

/* A copy or fill within the small memory, of few or of many bytes. */
static bool random_plan(const struct tg_chip *chip, struct tg_dma_plan *p)
{
	static const int64_t steps[] = {0, 1, 2, 4, 8, 12, 16, 36, 64, 144, 512, -4, -36, -128};
	struct tg_dma_desc d = {.kind = (uint8_t)below(2), .outside = (uint8_t)below(2), .src_type = TG_DMA_32, .dst_type = TG_DMA_32, .src_offset = below(BYTES), .dst_offset = below(BYTES)};
	for (int k = 0; k < 4; k++) {
		d.size[k] = below(3) ? 1 : 1 + below(9);
		d.src_stride[k] = steps[below(TG_ARRAY_LEN(steps))];
		d.dst_stride[k] = steps[below(TG_ARRAY_LEN(steps))];
		d.lo[k] = below(4) ? 0 : below(3);
		d.hi[k] = d.size[k] - (below(4) ? 0 : below(3));
	}
	return !tg_dma_plan(chip, &d, 0, 0, p) && p->src_end <= BYTES && p->dst_end <= BYTES;
}

static bool share(const uint8_t *a, const uint8_t *b)
{
	for (int i = 0; i < BYTES; i++) {
		if (a[i] && b[i])
			return true;
	}
	return false;
}

static bool covers(const uint8_t *a, const uint8_t *b)
{
	for (int i = 0; i < BYTES; i++) {
		if (b[i] && !a[i])
			return false;
	}
	return true;
}

START_TEST(random_sides)
{
	static uint8_t is[2][BYTES], want[BYTES];
	struct fixture *f = fixture_new("t1");
	struct tg_dma_plan p[2];
	int told = 0, met = 0, done = 0;
	for (int round = 0; round < ROUNDS; round++) {
		struct grid g[2];
		if (!random_plan(&f->chip, &p[0]) || !random_plan(&f->chip, &p[1]))
			continue;
		for (int i = 0; i < 2; i++) {
			g[i] = grid_of_side(&p[i], i == 0);
			bytes_of_side(&p[i], i == 0, want);
			bytes_of_grid(&g[i], is[i]);
			ck_assert_msg(memcmp(want, is[i], BYTES) == 0, "round %d: the grid has other bytes than the side", round);
			const struct grid c = grid_coarse(&g[i], 64);
			bytes_of_grid(&c, want);
			ck_assert_msg(covers(want, is[i]), "round %d: the coarse grid lacks a byte", round);
		}
		done++;
		bool meet = share(is[0], is[1]);
		enum meeting known = grids_meet(&g[0], &g[1]);
		ck_assert_msg(known != (meet ? APART : MEET), "round %d: they %s", round, meet ? "meet" : "are apart");
		ck_assert(grids_meet(&g[1], &g[0]) == known);
		ck_assert(grids_may_meet(&g[1], &g[0]) == (known != APART));
		told += !meet && known == APART && g[0].n && g[1].n && g[0].first < g[1].end && g[1].first < g[0].end;
		met += known == MEET;
	}
	ck_assert_int_gt(done, ROUNDS / 10);
	ck_assert_msg(told > 0, "no two sides were told apart whose boxes meet");
	ck_assert_msg(met > 0, "no two sides are known to meet");
	fixture_free(f);
}
END_TEST

/* Weights that come in four pieces beside each other; a frame around an image, and a line of the image. */
START_TEST(beside_each_other)
{
	struct fixture *f = fixture_new("t1");
	struct tg_dma_desc d = {.src_type = TG_DMA_32, .dst_type = TG_DMA_32, .size = {1, 2, 36, 9}, .src_stride = {0, 0, 36, 4}, .dst_stride = {0, 576, 4, 1152}};
	struct tg_dma_plan p;
	struct grid g[2];
	memcpy(d.hi, d.size, sizeof d.hi);
	for (int i = 0; i < 2; i++) {
		d.dst_offset = 1024 + 144 * i;
		ck_assert(tg_dma_plan(&f->chip, &d, TG_DRAM_BASE, 0, &p) == NULL);
		g[i] = grid_of_side(&p, false);
		ck_assert(grid_in_sram(&p, true).n == 0);
		ck_assert(grid_of_side(&p, true).n > 0);
	}
	ck_assert_int_eq(g[0].n, 144);
	ck_assert(!grids_may_meet(&g[0], &g[1]));
	g[1].first += 4;
	g[1].end += 4;
	ck_assert(!grids_may_meet(&g[0], &g[1]));
	g[1].first -= 8;
	ck_assert(grids_may_meet(&g[0], &g[1]));
	const struct grid frame = {.first = 0, .end = 128 + 111 * 14592, .n = 128, .levels = 1, .size = {112}, .step = {14592}}, line = grid_of_bytes(14592 + 128, 14592 - 128);
	ck_assert(!grids_may_meet(&frame, &line));
	/* every third column of one matrix, and rows of another that end before its first column or lie between two */
	const struct grid columns = {.first = 4096, .end = 4096 + 9 * 400 + 30 * 12 + 4, .n = 4, .levels = 2, .size = {31, 10}, .step = {12, 400}};
	const struct grid between = {.first = 4100, .end = 4100 + 8 * 400 + 8, .n = 8, .levels = 1, .size = {9}, .step = {400}};
	const struct grid across = {.first = 4100, .end = 4100 + 7 * 404 + 4, .n = 4, .levels = 1, .size = {8}, .step = {404}};
	ck_assert_int_eq(grids_meet(&columns, &between), APART);
	ck_assert_int_eq(grids_meet(&columns, &across), MEET);
	const struct grid longer = grid_of_bytes(14592 + 128, 14592 - 127);
	ck_assert(grids_may_meet(&frame, &longer));
	fixture_free(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grids");
	TCase *t = tcase_create("grids");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, random_sides);
	tcase_add_test(t, beside_each_other);
	suite_add_tcase(s, t);
	return run_suite(s);
}
