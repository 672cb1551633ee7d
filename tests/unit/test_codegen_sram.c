/* test_codegen_sram.c: the SRAM allocator against a checker of its own, a brute-force optimum, rectangles that are known to fit, and sizes of real programs. */
#include "check_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sram_alloc.h"

#define MAX_ITEMS 40000

struct bed { struct tg_heap heap; struct tg_arena *a; struct tg_sram_item *items; size_t n; uint64_t state; };

static void make(struct bed *b, uint64_t seed)
{
	tg_heap_init(&b->heap);
	b->a = tg_arena_new(&b->heap);
	b->items = tg_alloc_n(b->a, MAX_ITEMS, sizeof *b->items);
	b->n = 0;
	b->state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static int64_t below(struct bed *b, int64_t n)
{
	b->state = b->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (int64_t)((b->state >> 33) % (uint64_t)n);
}

static void add(struct bed *b, int64_t lower, int64_t upper, int64_t size, int64_t alignment)
{
	ck_assert_uint_lt(b->n, MAX_ITEMS);
	b->items[b->n++] = (struct tg_sram_item){ lower, upper, size, alignment, -1 };
}

/* Every pair by its definition; shares nothing with the allocator. */
static bool placed_well(const struct bed *b, int64_t capacity)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct tg_sram_item *x = &b->items[i];
		if (x->offset < 0 || x->offset % x->alignment || x->offset + x->size > capacity)
			return false;
		for (size_t k = 0; k < i; k++) {
			const struct tg_sram_item *y = &b->items[k];
			bool together = x->lower < y->upper && y->lower < x->upper;
			bool share = x->offset < y->offset + y->size && y->offset < x->offset + x->size;
			if (together && share && x->size && y->size)
				return false;
		}
	}
	return true;
}

static enum tg_sram_result alloc(struct bed *b, int64_t capacity, uint64_t nodes, bool minimize, struct tg_sram_stats *s)
{
	struct tg_sram_options o = { capacity, nodes, minimize };
	size_t at;
	ck_assert_ptr_null(tg_sram_items_valid(b->items, b->n, &at));
	enum tg_sram_result r = tg_sram_alloc(b->a, b->items, b->n, &o, s);
	if (r == TG_SRAM_FITS) {
		ck_assert(placed_well(b, capacity));
		ck_assert(placed_well(b, s->peak));
	}
	if (r == TG_SRAM_UNKNOWN)
		ck_assert(placed_well(b, s->peak));
	return r;
}

/* A rectangle of time x bytes cut into n pieces, alternately by time and by bytes: it fits by construction. */
static void cut_rectangle(struct bed *b, size_t n, int64_t time, int64_t bytes, int64_t unit)
{
	int64_t (*r)[4] = tg_alloc_n(b->a, n + 1, sizeof *r);
	size_t count = 1;
	memcpy(r[0], (int64_t[4]){ 0, time, 0, bytes / unit }, sizeof r[0]);
	for (size_t tries = 0; count < n && tries < 100 * n; tries++) {
		int64_t *x = r[below(b, (int64_t)count)];
		int d = below(b, 2) ? 0 : 2;
		if (x[d + 1] - x[d] < 2)
			continue;
		int64_t at = x[d] + 1 + below(b, x[d + 1] - x[d] - 1);
		memcpy(r[count], x, sizeof r[0]);
		x[d + 1] = r[count][d] = at;
		count++;
	}
	for (size_t i = 0; i < count; i++)
		add(b, r[i][0], r[i][1], (r[i][3] - r[i][2]) * unit, unit);
}

START_TEST(rectangles)
{
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct bed b;
		struct tg_sram_stats s;
		make(&b, seed);
		int64_t unit = seed % 3 == 0 ? 64 : 1;
		cut_rectangle(&b, 10 + (size_t)seed, 50, 4096, unit);
		ck_assert_int_eq(alloc(&b, 4096, 20000000, false, &s), TG_SRAM_FITS);
		ck_assert_int_eq(s.lower_bound, 4096 / unit * unit);
		ck_assert(s.least);
		tg_heap_free(&b.heap);
	}
}
END_TEST

/* ---- the optimum by trying every order ---- */

static int64_t drop_peak(struct bed *b, const int *order)
{
	int64_t peak = 0;
	for (size_t k = 0; k < b->n; k++) {
		struct tg_sram_item *x = &b->items[order[k]];
		int64_t at = 0;
		for (bool moved = true; moved;) {
			moved = false;
			for (size_t j = 0; j < k; j++) {
				const struct tg_sram_item *y = &b->items[order[j]];
				if (x->lower < y->upper && y->lower < x->upper && at < y->offset + y->size && y->offset < at + x->size) {
					at = (y->offset + y->size + x->alignment - 1) / x->alignment * x->alignment;
					moved = true;
				}
			}
		}
		x->offset = at;
		peak = at + x->size > peak ? at + x->size : peak;
	}
	return peak;
}

static int64_t optimum(struct bed *b)
{
	int order[8], n = (int)b->n, counter[8] = { 0 };
	for (int i = 0; i < n; i++)
		order[i] = i;
	int64_t best = drop_peak(b, order);
	for (int i = 1; i < n;) { /* Heap's permutations */
		if (counter[i] < i) {
			int k = i % 2 ? counter[i] : 0, t = order[k];
			order[k] = order[i];
			order[i] = t;
			int64_t peak = drop_peak(b, order);
			best = peak < best ? peak : best;
			counter[i]++;
			i = 1;
		} else {
			counter[i++] = 0;
		}
	}
	return best;
}

START_TEST(least_peak)
{
	int above_bound = 0;
	for (uint64_t seed = 0; seed < 150; seed++) {
		struct bed b;
		struct tg_sram_stats s;
		make(&b, seed + 1000);
		for (int i = 0; i < 7; i++) {
			int64_t lower = below(&b, 10), length = 1 + below(&b, 6), size = 1 + below(&b, 9);
			add(&b, lower, lower + length, size, seed % 4 == 0 ? 1 + below(&b, 3) : 1);
		}
		int64_t best = optimum(&b);
		ck_assert_int_eq(alloc(&b, 1000, 1000000, true, &s), TG_SRAM_FITS);
		ck_assert(s.least);
		ck_assert_int_eq(s.peak, best);
		above_bound += best > s.lower_bound;
		ck_assert_int_eq(alloc(&b, best, 1000000, false, &s), TG_SRAM_FITS);
		ck_assert_int_eq(alloc(&b, best - 1, 1000000, false, &s), TG_SRAM_IMPOSSIBLE);
		tg_heap_free(&b.heap);
	}
	ck_assert_int_ge(above_bound, 5); /* the search proved these, not the bound */
}
END_TEST

START_TEST(deterministic_and_anytime)
{
	struct bed b;
	struct tg_sram_stats first, second, none;
	make(&b, 7);
	cut_rectangle(&b, 300, 400, 100000, 1);
	enum tg_sram_result r = alloc(&b, 100000, 3000, false, &first);
	int64_t *offsets = tg_alloc_n(b.a, b.n, sizeof *offsets);
	for (size_t i = 0; i < b.n; i++)
		offsets[i] = b.items[i].offset;
	ck_assert_int_eq(alloc(&b, 100000, 3000, false, &second), r);
	ck_assert_uint_eq(first.nodes, second.nodes);
	ck_assert_uint_le(first.nodes, 3000);
	for (size_t i = 0; i < b.n; i++)
		ck_assert_int_eq(b.items[i].offset, offsets[i]);
	alloc(&b, 100000, 0, false, &none);
	ck_assert_uint_eq(none.nodes, 0);
	tg_heap_free(&b.heap);
}
END_TEST

START_TEST(odd_cases)
{
	struct bed b;
	struct tg_sram_stats s;
	size_t at;
	make(&b, 1);
	ck_assert_int_eq(alloc(&b, 0, 10, false, &s), TG_SRAM_FITS); /* nothing */
	add(&b, -5, 5, 0, 4096);
	ck_assert_int_eq(alloc(&b, 0, 10, false, &s), TG_SRAM_FITS); /* no bytes */
	add(&b, 0, 1, 10, 8);
	ck_assert_int_eq(alloc(&b, 9, 10, false, &s), TG_SRAM_IMPOSSIBLE);
	ck_assert_int_eq(alloc(&b, 10, 10, false, &s), TG_SRAM_FITS);
	add(&b, 1, 2, 10, 8); /* ends where the other starts */
	ck_assert_int_eq(alloc(&b, 10, 10, false, &s), TG_SRAM_FITS);
	add(&b, 0, 2, 1, 8);
	ck_assert_int_eq(alloc(&b, 17, 10000, false, &s), TG_SRAM_FITS); /* the small one above both, at 16 */
	ck_assert_int_eq(alloc(&b, 16, 10000, false, &s), TG_SRAM_IMPOSSIBLE);
	const struct tg_sram_item bad[] = { { 3, 3, 1, 1, 0 }, { 0, 1, -1, 1, 0 }, { 0, 1, 1, 0, 0 }, { 0, 1, INT64_MAX, 1, 0 }, { INT64_MIN, 1, 1, 1, 0 } };
	for (size_t i = 0; i < TG_ARRAY_LEN(bad); i++)
		ck_assert_ptr_nonnull(tg_sram_items_valid(&bad[i], 1, &at));
	tg_heap_free(&b.heap);
}
END_TEST

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Lives of a program's tensors: most short, some long. */
static double heuristic_seconds(size_t n)
{
	struct bed b;
	struct tg_sram_stats s;
	make(&b, 3);
	for (size_t i = 0; i < n; i++) {
		int64_t at = (int64_t)i, length = below(&b, 50) == 0 ? 1 + below(&b, 2000) : 1 + below(&b, 8);
		add(&b, at, at + length, 64 * (1 + below(&b, 1000)), 64);
	}
	struct tg_sram_options o = { INT64_C(1) << 40, 0, false };
	double start = seconds();
	ck_assert_int_eq(tg_sram_alloc(b.a, b.items, b.n, &o, &s), TG_SRAM_FITS);
	double took = seconds() - start;
	if (n <= 4000)
		ck_assert(placed_well(&b, s.peak));
	ck_assert_int_lt(s.peak, 2 * s.lower_bound);
	tg_heap_free(&b.heap);
	return took;
}

START_TEST(near_linear)
{
	double small = heuristic_seconds(4000), large = heuristic_seconds(40000);
	ck_assert_double_lt(large, 40 * small + 0.5); /* ten times the buffers */
}
END_TEST

/* A pile in which everybody meets everybody: too many pairs for a list of them, and nothing to search. */
START_TEST(all_alive)
{
	struct bed b;
	struct tg_sram_stats s;
	make(&b, 4);
	for (int i = 0; i < 20000; i++)
		add(&b, i, 40000 + i, 1 + below(&b, 100), 1);
	struct tg_sram_options o = { INT64_C(1) << 40, 1000, false };
	ck_assert_int_eq(tg_sram_alloc(b.a, b.items, b.n, &o, &s), TG_SRAM_FITS);
	ck_assert_int_eq(s.peak, s.lower_bound);
	tg_heap_free(&b.heap);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sram");
	TCase *c = tcase_create("alloc");
	tcase_set_timeout(c, 0);
	tcase_add_test(c, rectangles);
	tcase_add_test(c, least_peak);
	tcase_add_test(c, deterministic_and_anytime);
	tcase_add_test(c, odd_cases);
	tcase_add_test(c, near_linear);
	tcase_add_test(c, all_alive);
	suite_add_tcase(s, c);
	return run_suite(s);
}
