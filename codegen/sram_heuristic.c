/* sram_heuristic.c: near-linear placement by best fit on a skyline (Burke, Kendall and Whitwell, Operations Research 2004; Sekiyama et al., 2018).
 *
 * The skyline is the height already used in each section, as a list of level stretches. The lowest stretch takes, of the buffers that live within it, the
 * most important one; if none does, it is raised to its lower neighbour. Importance is contention first (what must share the busiest section),
 * then other orders are tried; the lowest peak wins. Parts with few enough pairs also try first fit in each order, which sees holes. */
#include "sram_int.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define MAX_VISITS 512 /* tree nodes looked at for one placement; what is found by then is taken */

/* ---- orders ---- */

struct key { int64_t k[3]; uint32_t i; };

static int by_key(const void *x, const void *y)
{
	const struct key *a = x, *b = y;
	for (int i = 0; i < 3; i++)
		if (a->k[i] != b->k[i])
			return a->k[i] > b->k[i] ? -1 : 1;
	return a->i < b->i ? -1 : a->i > b->i;
}

/* total contention, area, width, size; each row is an order */
enum by { TOTAL, AREA, WIDTH, SIZE };
static const enum by orders[][3] = { { TOTAL, WIDTH, AREA }, { WIDTH, AREA, TOTAL }, { TOTAL, AREA, WIDTH }, { AREA, TOTAL, WIDTH }, { SIZE, WIDTH, TOTAL } };

static int64_t value(const struct sram_part *p, uint32_t i, enum by by)
{
	int64_t width = (int64_t)p->end[i] - p->first[i];
	switch (by) {
	case TOTAL: return p->contention[i];
	case WIDTH: return width;
	case SIZE: return p->size[i];
	case AREA: break;
	}
	return width > INT64_MAX / 2 / (p->size[i] + 1) ? INT64_MAX / 2 : width * p->size[i];
}

bool sram_order(const struct sram_part *p, uint32_t which, uint32_t *order)
{
	if (which >= TG_ARRAY_LEN(orders))
		return false;
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(p->arena));
	struct key *keys = tg_alloc_n(scratch, p->n + 1u, sizeof *keys);
	for (uint32_t i = 0; i < p->n; i++) {
		keys[i].i = i;
		for (int k = 0; k < 3; k++)
			keys[i].k[k] = value(p, i, orders[which][k]);
	}
	qsort(keys, p->n, sizeof *keys, by_key);
	for (uint32_t i = 0; i < p->n; i++)
		order[i] = keys[i].i;
	tg_arena_free(scratch);
	return true;
}

/* ---- unplaced buffers: a tree over them in order of their first section ---- */

struct tree {
	const struct sram_part *p;
	uint32_t leaves;         /* a power of two */
	uint32_t *soonest;       /* smallest end below a node; NONE: nobody is left */
	uint32_t *rank;          /* best (lowest) rank below */
};

static void refresh(struct tree *t, uint32_t node)
{
	for (; node >= 1; node /= 2) {
		uint32_t l = 2 * node, r = l + 1;
		t->soonest[node] = t->soonest[l] < t->soonest[r] ? t->soonest[l] : t->soonest[r];
		t->rank[node] = t->rank[l] < t->rank[r] ? t->rank[l] : t->rank[r];
	}
}

/* first[] ascends, so that buffers that start within [lo, hi) are a range of leaves. */
static uint32_t first_from(const struct sram_part *p, uint32_t section)
{
	uint32_t lo = 0, hi = p->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (p->first[mid] < section)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The best buffer within the sections [lo, hi), or NONE. */
static uint32_t best_within(const struct tree *t, uint32_t lo, uint32_t hi)
{
	uint32_t from = first_from(t->p, lo), to = first_from(t->p, hi), best = NONE, best_rank = NONE, visits = 0;
	struct { uint32_t node, first, count; } stack[72];
	uint32_t depth = 0;
	stack[depth].node = 1;
	stack[depth].first = 0;
	stack[depth++].count = t->leaves;
	while (depth) {
		depth--;
		uint32_t node = stack[depth].node, first = stack[depth].first, count = stack[depth].count;
		if (first >= to || first + count <= from || t->soonest[node] > hi || t->rank[node] >= best_rank)
			continue;
		if (visits++ > MAX_VISITS && best != NONE)
			break;
		if (count == 1) {
			best = first;
			best_rank = t->rank[node];
			continue;
		}
		/* the better half is looked at first */
		uint32_t near = t->rank[2 * node] < t->rank[2 * node + 1] ? 0 : 1;
		for (uint32_t k = 0; k < 2; k++) {
			uint32_t side = k == 0 ? !near : near;
			stack[depth].node = 2 * node + side;
			stack[depth].first = first + side * (count / 2);
			stack[depth++].count = count / 2;
		}
	}
	return best;
}

static void remove_leaf(struct tree *t, uint32_t i)
{
	t->soonest[t->leaves + i] = t->rank[t->leaves + i] = NONE;
	refresh(t, (t->leaves + i) / 2);
}

static void plant(struct tree *t, struct tg_arena *a, const struct sram_part *p, const uint32_t *order)
{
	t->p = p;
	for (t->leaves = 1; t->leaves < p->n;)
		t->leaves *= 2;
	t->soonest = tg_alloc_n(a, 2 * (size_t)t->leaves, sizeof *t->soonest);
	t->rank = tg_alloc_n(a, 2 * (size_t)t->leaves, sizeof *t->rank);
	memset(t->soonest, 0xff, 2 * (size_t)t->leaves * sizeof *t->soonest);
	memset(t->rank, 0xff, 2 * (size_t)t->leaves * sizeof *t->rank);
	for (uint32_t k = 0; k < p->n; k++) {
		t->rank[t->leaves + order[k]] = k;
		t->soonest[t->leaves + order[k]] = p->end[order[k]];
	}
	for (uint32_t node = t->leaves - 1; node >= 1; node--) {
		uint32_t l = 2 * node, r = l + 1;
		t->soonest[node] = t->soonest[l] < t->soonest[r] ? t->soonest[l] : t->soonest[r];
		t->rank[node] = t->rank[l] < t->rank[r] ? t->rank[l] : t->rank[r];
	}
}

/* ---- the skyline: stretches in a list, the lowest on top of a heap ---- */

struct stretch { uint32_t first, end, left, right; int64_t level; bool gone; };
struct sky {
	struct tg_arena *arena;
	TG_VEC(struct stretch) s;
	TG_VEC(uint32_t) heap; /* of stretches; those gone or raised are dropped when they come up */
	TG_VEC(int64_t) level; /* of each heap entry when it was added */
};

static bool lower(const struct sky *k, size_t a, size_t b)
{
	if (k->level.at[a] != k->level.at[b])
		return k->level.at[a] < k->level.at[b];
	return k->s.at[k->heap.at[a]].first < k->s.at[k->heap.at[b]].first;
}

static void swap(struct sky *k, size_t a, size_t b)
{
	uint32_t h = k->heap.at[a];
	int64_t l = k->level.at[a];
	k->heap.at[a] = k->heap.at[b];
	k->level.at[a] = k->level.at[b];
	k->heap.at[b] = h;
	k->level.at[b] = l;
}

static void push(struct sky *k, uint32_t stretch)
{
	size_t i = k->heap.n;
	*TG_PUSH(k->arena, &k->heap) = stretch;
	*TG_PUSH(k->arena, &k->level) = k->s.at[stretch].level;
	for (; i > 0 && lower(k, i, (i - 1) / 2); i = (i - 1) / 2)
		swap(k, i, (i - 1) / 2);
}

static void pop(struct sky *k)
{
	swap(k, 0, --k->heap.n);
	k->level.n--;
	for (size_t i = 0;;) {
		size_t l = 2 * i + 1, m = i;
		if (l < k->heap.n && lower(k, l, m))
			m = l;
		if (l + 1 < k->heap.n && lower(k, l + 1, m))
			m = l + 1;
		if (m == i)
			return;
		swap(k, i, m);
		i = m;
	}
}

static uint32_t add_stretch(struct sky *k, uint32_t first, uint32_t end, int64_t level, uint32_t left, uint32_t right)
{
	uint32_t id = (uint32_t)k->s.n;
	*TG_PUSH(k->arena, &k->s) = (struct stretch){ first, end, left, right, level, false };
	if (left != NONE)
		k->s.at[left].right = id;
	if (right != NONE)
		k->s.at[right].left = id;
	return id;
}

/* The part [first, end) of a stretch goes up to `level`; what is left on either side stays. */
static void raise_part(struct sky *k, uint32_t id, uint32_t first, uint32_t end, int64_t level)
{
	struct stretch s = k->s.at[id];
	uint32_t left = s.left, right = s.right;
	k->s.at[id].gone = true;
	if (first > s.first)
		push(k, left = add_stretch(k, s.first, first, s.level, left, right));
	uint32_t middle = add_stretch(k, first, end, level, left, right);
	push(k, middle);
	if (end < s.end)
		push(k, add_stretch(k, end, s.end, s.level, middle, right));
}

/* Nobody fits: up to the lower neighbour, and one with it. */
static bool raise(struct sky *k, uint32_t id)
{
	struct stretch s = k->s.at[id];
	int64_t l = s.left == NONE ? INT64_MAX : k->s.at[s.left].level, r = s.right == NONE ? INT64_MAX : k->s.at[s.right].level;
	int64_t level = l < r ? l : r;
	if (level == INT64_MAX)
		return false;
	k->s.at[id].gone = true;
	if (l == level) {
		k->s.at[s.left].gone = true;
		s.first = k->s.at[s.left].first;
		s.left = k->s.at[s.left].left;
	}
	if (r == level) {
		k->s.at[s.right].gone = true;
		s.end = k->s.at[s.right].end;
		s.right = k->s.at[s.right].right;
	}
	push(k, add_stretch(k, s.first, s.end, level, s.left, s.right));
	return true;
}

static int64_t skyline(struct sram_part *p, const uint32_t *order, int64_t *offset)
{
	struct sky k = { .arena = tg_arena_new(tg_arena_heap(p->arena)) };
	struct tree t;
	int64_t peak = 0;
	uint32_t left = p->n;
	plant(&t, k.arena, p, order);
	push(&k, add_stretch(&k, 0, p->n_sections, 0, NONE, NONE));
	while (left && k.heap.n) {
		uint32_t id = k.heap.at[0];
		if (k.s.at[id].gone) {
			pop(&k);
			continue;
		}
		uint32_t i = best_within(&t, k.s.at[id].first, k.s.at[id].end);
		if (i == NONE) {
			pop(&k);
			if (!raise(&k, id))
				break;
			continue;
		}
		offset[i] = sram_align(k.s.at[id].level, p->align[i]);
		int64_t top = offset[i] + p->size[i];
		peak = top > peak ? top : peak;
		remove_leaf(&t, i);
		left--;
		pop(&k);
		raise_part(&k, id, p->first[i], p->end[i], top);
	}
	tg_arena_free(k.arena);
	return peak;
}

/* ---- first fit ---- */

struct span { int64_t from, to; };

static int by_from(const void *x, const void *y)
{
	const struct span *a = x, *b = y;
	return a->from < b->from ? -1 : a->from > b->from;
}

static int64_t first_fit(struct sram_part *p, const uint32_t *order, int64_t *offset)
{
	struct tg_arena *a = tg_arena_new(tg_arena_heap(p->arena));
	struct span *taken = tg_alloc_n(a, p->n + 1u, sizeof *taken);
	bool *placed = tg_alloc_n(a, p->n + 1u, sizeof *placed);
	int64_t peak = 0;
	for (uint32_t k = 0; k < p->n; k++) {
		uint32_t i = order[k], n = 0;
		int64_t at = 0;
		for (uint32_t e = p->row[i]; e < p->row[i + 1]; e++) {
			uint32_t j = p->neighbour[e];
			if (placed[j])
				taken[n++] = (struct span){ offset[j], offset[j] + p->size[j] };
		}
		qsort(taken, n, sizeof *taken, by_from);
		for (uint32_t j = 0; j < n && taken[j].from < at + p->size[i]; j++)
			if (taken[j].to > at)
				at = sram_align(taken[j].to, p->align[i]);
		offset[i] = at;
		placed[i] = true;
		peak = at + p->size[i] > peak ? at + p->size[i] : peak;
	}
	tg_arena_free(a);
	return peak;
}

int64_t sram_heuristic(struct sram_part *p, int64_t capacity)
{
	uint32_t *order = tg_alloc_n(p->arena, p->n + 1u, sizeof *order);
	int64_t *offset = tg_alloc_n(p->arena, p->n + 1u, sizeof *offset), best = INT64_MAX;
	int64_t enough = capacity > p->lower_bound ? capacity : p->lower_bound;
	for (uint32_t which = 0; best > enough && sram_order(p, which, order); which++)
		for (int method = 0; method < (p->neighbour ? 2 : 1) && best > enough; method++) {
			int64_t peak = method == 0 ? skyline(p, order, offset) : first_fit(p, order, offset);
			if (peak >= best)
				continue;
			best = peak;
			memcpy(p->offset, offset, p->n * sizeof *offset);
		}
	return best;
}
