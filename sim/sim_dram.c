/* sim_dram.c: DRAM: sparse, and the executable's contents in it.
 *
 * The address space is mapped without being reserved, so what is not touched costs nothing. A segment of the executable stays where it is
 * (in the mapped file) and is read there, until something writes near it or reads across its border: then it is copied to its place in
 * DRAM, once. So weights exist once, and a segment that is never read costs nothing. Segments that overlap are copied in order at the start. */
#include "sim_int.h"

#include <stdlib.h>

struct dram_segment {
	uint64_t first, end;
	const struct tg_segment *from;
	bool copied;
};

static void fill(uint8_t *to, const struct tg_segment *g)
{
	uint64_t low = g->fill_bytes == 8 ? g->fill : g->fill & ((UINT64_C(1) << (8 * g->fill_bytes)) - 1);
	if (low == 0) /* fresh memory is zero, and need not be touched */
		return;
	for (uint64_t at = 0; at < g->bytes; at += g->fill_bytes)
		memcpy(to + at, &g->fill, g->bytes - at < g->fill_bytes ? g->bytes - at : g->fill_bytes);
}

static void copy_segment(struct tg_sim *s, struct dram_segment *g)
{
	if (g->copied)
		return;
	g->copied = true;
	if (g->from->data)
		memcpy(s->dram + g->first, g->from->data, g->from->bytes);
	else
		fill(s->dram + g->first, g->from);
}

static int by_first(const void *a, const void *b)
{
	const struct dram_segment *x = a, *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

void dram_open(struct tg_sim *s)
{
	size_t n = s->x->segments.n, at = 0;
	s->segments = tg_alloc_n(s->arena, n + 1, sizeof *s->segments);
	for (size_t i = 0; i < n; i++) {
		const struct tg_segment *g = &s->x->segments.at[i];
		if (g->bytes)
			s->segments[at++] = (struct dram_segment){.first = g->dram, .end = g->dram + g->bytes, .from = g};
	}
	s->n_segments = at;
	bool apart = true;
	for (size_t i = 1; i < at; i++)
		apart = apart && s->segments[i - 1].end <= s->segments[i].first;
	if (apart)
		return;
	/* in file order the later one wins; sorted, neighbours that meet say that this matters */
	struct dram_segment *sorted = tg_alloc_n(s->arena, at, sizeof *sorted);
	memcpy(sorted, s->segments, at * sizeof *sorted);
	qsort(sorted, at, sizeof *sorted, by_first);
	apart = true;
	for (size_t i = 1; i < at; i++)
		apart = apart && sorted[i - 1].end <= sorted[i].first;
	if (apart) {
		s->segments = sorted;
		return;
	}
	for (size_t i = 0; i < at; i++)
		copy_segment(s, &s->segments[i]);
	s->n_segments = 0;
}

/* The first segment that ends behind `at`. */
static size_t find(const struct tg_sim *s, uint64_t at)
{
	size_t lo = 0, hi = s->n_segments;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->segments[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void copy_meeting(struct tg_sim *s, uint64_t first, uint64_t end)
{
	for (size_t i = find(s, first); i < s->n_segments && s->segments[i].first < end; i++)
		copy_segment(s, &s->segments[i]);
}

const uint8_t *dram_read(struct tg_sim *s, uint64_t first, uint64_t end)
{
	size_t i = find(s, first);
	if (i < s->n_segments) {
		struct dram_segment *g = &s->segments[i];
		if (!g->copied && g->from->data && g->first <= first && end <= g->end)
			return (const uint8_t *)g->from->data + (first - g->first);
		copy_meeting(s, first, end);
	}
	return s->dram + first;
}

uint8_t *dram_write(struct tg_sim *s, uint64_t first, uint64_t end)
{
	/* whole pages: the digest of a touched page reads all of it */
	uint64_t low = first >> DRAM_PAGE_SHIFT << DRAM_PAGE_SHIFT;
	uint64_t high = ((end >> DRAM_PAGE_SHIFT) + 1) << DRAM_PAGE_SHIFT;
	copy_meeting(s, low, high);
	return s->dram + first;
}

void dram_touch(struct tg_sim *s, uint64_t at, uint64_t n)
{
	for (uint64_t k = at >> DRAM_PAGE_SHIFT; n && k <= (at + n - 1) >> DRAM_PAGE_SHIFT; k++)
		s->dram_touched[k / 64] |= UINT64_C(1) << (k % 64);
}
