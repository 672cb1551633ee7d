/* sram_alloc.c: from buffers with lifetimes to parts that are independent in time; each is placed by itself.
 *
 * A part first gets its offsets from the heuristic; if these exceed the capacity (or a lower peak is wanted), from the search. */
#include "sram_int.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUE (INT64_C(1) << 62)

const char *tg_sram_items_valid(const struct tg_sram_item *items, size_t n, size_t *at)
{
	int64_t sum = 0;
	for (*at = 0; *at < n; (*at)++) {
		const struct tg_sram_item *i = &items[*at];
		if (i->lower >= i->upper)
			return "its lifetime is empty";
		if (i->lower <= -MAX_VALUE || i->upper >= MAX_VALUE)
			return "its lifetime is beyond 2^62";
		if (i->size < 0)
			return "its size is negative";
		if (i->alignment < 1)
			return "its alignment is less than 1";
		/* in the worst case everything lies in one pile */
		if (i->size >= MAX_VALUE || i->alignment >= MAX_VALUE || i->size + i->alignment >= MAX_VALUE - sum)
			return "the sizes add up to more than 2^62";
		sum += i->size + i->alignment;
	}
	return n > INT32_MAX / 4 ? "there are too many" : NULL;
}

/* ---- parts ---- */

struct ordered { const struct tg_sram_item *item; uint32_t index; };

static int by_lower(const void *x, const void *y)
{
	const struct ordered *a = x, *b = y;
	if (a->item->lower != b->item->lower)
		return a->item->lower < b->item->lower ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static int by_value(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
	return a < b ? -1 : a > b;
}

static uint32_t place_of(const int64_t *times, uint32_t n, int64_t t)
{
	uint32_t lo = 0, hi = n;
	while (lo + 1 < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		*(times[mid] <= t ? &lo : &hi) = mid;
	}
	return lo;
}

static void count_totals(struct sram_part *p)
{
	int64_t *delta = tg_alloc_n(p->arena, p->n_sections + 1u, sizeof *delta), live = 0;
	int64_t *starts = tg_alloc_n(p->arena, p->n_sections + 1u, sizeof *starts), alive = 0;
	int64_t *ends = tg_alloc_n(p->arena, p->n_sections + 1u, sizeof *ends);
	p->total = tg_alloc_n(p->arena, p->n_sections + 1u, sizeof *p->total);
	for (uint32_t i = 0; i < p->n; i++) {
		delta[p->first[i]] += p->size[i];
		delta[p->end[i]] -= p->size[i];
		starts[p->first[i]]++;
		ends[p->end[i]]++;
	}
	for (uint32_t s = 0; s < p->n_sections; s++) {
		p->total[s] = live += delta[s];
		p->lower_bound = live > p->lower_bound ? live : p->lower_bound;
		alive -= ends[s]; /* those who start here meet those who are alive, and each other */
		p->n_pairs += (uint64_t)(starts[s] * alive + starts[s] * (starts[s] - 1) / 2);
		alive += starts[s];
	}
}

/* Largest total over each buffer's sections: a sparse table of maxima. */
static void count_contention(struct sram_part *p)
{
	uint32_t levels = 1;
	while ((UINT32_C(1) << levels) <= p->n_sections)
		levels++;
	int64_t **max = tg_alloc_n(p->arena, levels, sizeof *max);
	max[0] = p->total;
	for (uint32_t k = 1; k < levels; k++) {
		uint32_t step = UINT32_C(1) << (k - 1);
		max[k] = tg_alloc_n(p->arena, p->n_sections + 1u, sizeof **max);
		for (uint32_t s = 0; s + 2 * step <= p->n_sections; s++)
			max[k][s] = max[k - 1][s] > max[k - 1][s + step] ? max[k - 1][s] : max[k - 1][s + step];
	}
	p->contention = tg_alloc_n(p->arena, p->n + 1u, sizeof *p->contention);
	for (uint32_t i = 0; i < p->n; i++) {
		uint32_t k = 0, width = p->end[i] - p->first[i];
		while ((UINT32_C(2) << k) <= width)
			k++;
		int64_t left = max[k][p->first[i]], right = max[k][p->end[i] - (UINT32_C(1) << k)];
		p->contention[i] = left > right ? left : right;
	}
}

/* Buffers come in order of their first section; so the live ones are found by going back while some may reach here. */
static void list_neighbours(struct sram_part *p)
{
	if (p->n_pairs > SRAM_MAX_PAIRS)
		return;
	uint32_t *live = tg_alloc_n(p->arena, p->n + 1u, sizeof *live), n_live = 0, *pairs = tg_alloc_n(p->arena, 2 * (size_t)p->n_pairs + 1, sizeof *pairs);
	size_t n_pairs = 0;
	p->row = tg_alloc_n(p->arena, p->n + 2u, sizeof *p->row);
	p->neighbour = tg_alloc_n(p->arena, 2 * (size_t)p->n_pairs + 1, sizeof *p->neighbour);
	for (uint32_t i = 0; i < p->n; i++) {
		uint32_t kept = 0;
		for (uint32_t k = 0; k < n_live; k++)
			if (p->end[live[k]] > p->first[i]) {
				live[kept++] = live[k];
				pairs[n_pairs++] = live[k];
				pairs[n_pairs++] = i;
			}
		n_live = kept;
		live[n_live++] = i;
	}
	for (size_t k = 0; k < n_pairs; k++)
		p->row[pairs[k] + 1]++;
	for (uint32_t i = 0; i < p->n; i++)
		p->row[i + 1] += p->row[i];
	uint32_t *next = tg_alloc_n(p->arena, p->n + 1u, sizeof *next);
	memcpy(next, p->row, p->n * sizeof *next);
	for (size_t k = 0; k < n_pairs; k += 2) {
		p->neighbour[next[pairs[k]]++] = pairs[k + 1];
		p->neighbour[next[pairs[k + 1]]++] = pairs[k];
	}
}

static struct sram_part make_part(struct tg_arena *a, const struct ordered *list, uint32_t n)
{
	int64_t *times = tg_alloc_n(a, 2 * (size_t)n + 1, sizeof *times);
	uint32_t n_times = 0;
	for (uint32_t i = 0; i < n; i++) {
		times[2 * i] = list[i].item->lower;
		times[2 * i + 1] = list[i].item->upper;
	}
	qsort(times, 2 * (size_t)n, sizeof *times, by_value);
	for (uint32_t i = 0; i < 2 * n; i++)
		if (i == 0 || times[i] != times[n_times - 1])
			times[n_times++] = times[i];
	uint32_t *first = tg_alloc_n(a, n + 1u, sizeof *first), *end = tg_alloc_n(a, n + 1u, sizeof *end);
	int64_t *size = tg_alloc_n(a, n + 1u, sizeof *size), *align = tg_alloc_n(a, n + 1u, sizeof *align);
	for (uint32_t i = 0; i < n; i++) {
		first[i] = place_of(times, n_times, list[i].item->lower);
		end[i] = place_of(times, n_times, list[i].item->upper);
		size[i] = list[i].item->size;
		align[i] = list[i].item->alignment;
	}
	struct sram_part p = { .arena = a, .n = n, .n_sections = n_times - 1, .first = first, .end = end, .size = size, .align = align };
	p.offset = tg_alloc_n(a, n + 1u, sizeof *p.offset);
	count_totals(&p);
	count_contention(&p);
	list_neighbours(&p);
	return p;
}

/* ---- placing ---- */

static int64_t peak_of(const struct sram_part *p)
{
	int64_t peak = 0;
	for (uint32_t i = 0; i < p->n; i++)
		peak = p->offset[i] + p->size[i] > peak ? p->offset[i] + p->size[i] : peak;
	return peak;
}

/* Ever lower, from a placement that is known: halving what lies between it and what is known to be impossible. */
static bool lower_peak(struct sram_part *p, int64_t floor, uint64_t max_nodes, uint64_t *nodes)
{
	int64_t impossible = (p->lower_bound > floor ? p->lower_bound : floor) - 1, have = peak_of(p);
	while (have > impossible + 1) {
		int64_t want = impossible + 1 + (have - impossible - 2) / 2;
		enum tg_sram_result r = *nodes < max_nodes ? sram_search(p, want, max_nodes, nodes) : TG_SRAM_UNKNOWN;
		if (r == TG_SRAM_UNKNOWN)
			return false;
		if (r == TG_SRAM_FITS)
			have = peak_of(p);
		else
			impossible = want;
	}
	return true;
}

/* `floor`: a peak that other parts need anyway. *least: this part cannot be lower (or is below the floor). */
static enum tg_sram_result place(struct sram_part *p, const struct tg_sram_options *o, int64_t floor, uint64_t *nodes, bool *least)
{
	int64_t peak = sram_heuristic(p, o->minimize ? 0 : o->capacity);
	*least = peak <= p->lower_bound || peak <= floor;
	if (peak > o->capacity) {
		if (p->lower_bound > o->capacity)
			return TG_SRAM_IMPOSSIBLE;
		enum tg_sram_result r = o->max_nodes ? sram_search(p, o->capacity, o->max_nodes, nodes) : TG_SRAM_UNKNOWN;
		if (r != TG_SRAM_FITS)
			return r;
		*least = peak_of(p) <= p->lower_bound;
	}
	if (o->minimize && !*least)
		*least = lower_peak(p, floor, o->max_nodes, nodes);
	return TG_SRAM_FITS;
}

static enum tg_sram_result place_part(struct tg_arena *a, struct tg_sram_item *items, const struct ordered *list, uint32_t n, const struct tg_sram_options *o,
				      struct tg_sram_stats *stats)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
	struct sram_part p = make_part(scratch, list, n);
	bool least;
	enum tg_sram_result r = place(&p, o, stats->peak, &stats->nodes, &least);
	if (p.lower_bound > stats->lower_bound) {
		stats->lower_bound = p.lower_bound;
		for (uint32_t i = 0; i < n; i++)
			if (p.total[p.first[i]] == p.lower_bound)
				stats->at = list[i].item->lower;
	}
	int64_t peak = peak_of(&p);
	for (uint32_t i = 0; i < n; i++)
		items[list[i].index].offset = p.offset[i];
	if (peak > stats->peak) {
		stats->peak = peak;
		stats->least = least;
	}
	tg_arena_free(scratch);
	return r;
}

enum tg_sram_result tg_sram_alloc(struct tg_arena *a, struct tg_sram_item *items, size_t n, const struct tg_sram_options *o, struct tg_sram_stats *stats)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
	struct ordered *list = tg_alloc_n(scratch, n + 1, sizeof *list);
	enum tg_sram_result worst = TG_SRAM_FITS;
	int64_t reach = 0;
	size_t from = 0, kept = 0;
	*stats = (struct tg_sram_stats){ .least = true };
	for (size_t i = 0; i < n; i++) {
		items[i].offset = 0;
		if (items[i].size > 0)
			list[kept++] = (struct ordered){ &items[i], (uint32_t)i };
	}
	qsort(list, kept, sizeof *list, by_lower);
	for (size_t i = 0; i <= kept; i++) {
		if (i > from && (i == kept || list[i].item->lower >= reach)) {
			enum tg_sram_result r = place_part(scratch, items, list + from, (uint32_t)(i - from), o, stats);
			worst = r == TG_SRAM_IMPOSSIBLE || worst == TG_SRAM_IMPOSSIBLE ? TG_SRAM_IMPOSSIBLE : r > worst ? r : worst;
			from = i;
		}
		if (i < kept && (i == from || list[i].item->upper > reach))
			reach = list[i].item->upper;
	}
	tg_arena_free(scratch);
	return worst;
}
