/* sram_search.c: exact search with pruning, after MiniMalloc (Moffitt, ASPLOS 2023) and TelaMalloc (Maas et al., ASPLOS 2023), with learned priorities.
 *
 * Buffers are placed in order of their offsets, each at the lowest offset that those placed before leave it. Pushing the buffers of any solution down, one
 * after another, gives one that is made so, so that none is missed. At every node
 *   - a buffer whose branch has failed is asleep at that offset (placing others first, without moving it, leads to the same solutions), and one whose
 *     offset lies below the last is behind; both must be lifted by a neighbour that is still to come, or the node is dead;
 *   - sections: the lowest offset that a buffer left in a section can have, and the bytes still to come there, must fit the capacity. Every section
 *     watches one buffer that proves this, every sleeper one neighbour that can lift it; only when a proof breaks is another looked for;
 *   - dominance: where another buffer would fit entirely beneath a candidate, it goes there first;
 *   - decomposition: buffers left that are no longer connected in time are searched one group after the other, without going back.
 * Among candidates at one offset those come first that were left over when sections failed (weights, as in constraint solvers), then a static
 * order. Short runs with budgets of nodes that grow slowly restart with what was learned; each static order learns for itself, and they take turns.
 * The stack is explicit, and everything that a placement changes is on a trail. */
#include <string.h>

#include "sram_int.h"

#define FIRST_BUDGET 500
#define GROWTH 20          /* of the budget: 1/GROWTH in each round */
#define MAX_SEARCHED 8192  /* buffers of a part that is searched; frames take n^2 numbers at worst */
#define MAX_COVER (UINT64_C(1) << 24) /* sum over buffers of their sections */
#define MAX_ORDERS 3        /* static orders that take turns */

struct candidate { int64_t offset; uint64_t weight; uint32_t rank, item; };
struct undo { int64_t *where, was; };
/* A choice: which of `items` is placed next. Its slices lie on the stacks of numbers and candidates. */
struct frame {
	uint32_t items, n_items;      /* in search.pool */
	uint32_t candidates, n_candidates, cursor;
	uint32_t groups, n_groups, next_group; /* in search.pool: ends of groups of the items left after the placement */
	uint32_t left;                /* where these items start */
	uint32_t first_free;          /* of search.pool when the frame opened */
	size_t entry, mark;           /* of the trail: when the frame opened, before the placement */
	int64_t last_offset;          /* whatever comes is not below */
};
struct search {
	const struct sram_part *p;
	struct tg_arena *arena;
	int64_t capacity;
	const uint32_t *rank;
	uint64_t *weight;
	int64_t *min_offset, *asleep, *total, *offset;
	bool *placed;
	uint32_t *cover_row, *cover;    /* buffers of each section */
	uint32_t *watch, *lifter;       /* of each section a buffer, of each buffer a neighbour: hints, always checked */
	TG_VEC(uint32_t) pool;
	TG_VEC(struct candidate) cands;
	TG_VEC(struct frame) frames;
	TG_VEC(struct undo) trail;
};

/* ---- state and its trail ---- */

static void set(struct search *s, int64_t *where, int64_t v)
{
	*TG_PUSH(s->arena, &s->trail) = (struct undo){ where, *where };
	*where = v;
}

static void unplace(struct search *s, uint32_t i)
{
	s->placed[i] = false;
	for (uint32_t k = s->p->first[i]; k < s->p->end[i]; k++)
		s->total[k] += s->p->size[i];
}

/* An entry of s->offset marks a placement. */
static void undo(struct search *s, size_t mark)
{
	while (s->trail.n > mark) {
		struct undo u = s->trail.at[--s->trail.n];
		if (u.where >= s->offset && u.where < s->offset + s->p->n)
			unplace(s, (uint32_t)(u.where - s->offset));
		*u.where = u.was;
	}
}

static bool put(struct search *s, uint32_t i, int64_t at)
{
	const struct sram_part *p = s->p;
	int64_t top = at + p->size[i];
	set(s, &s->offset[i], at);
	s->placed[i] = true;
	for (uint32_t k = p->first[i]; k < p->end[i]; k++)
		s->total[k] -= p->size[i];
	for (uint32_t e = p->row[i]; e < p->row[i + 1]; e++) {
		uint32_t j = p->neighbour[e];
		if (s->placed[j] || s->min_offset[j] >= top)
			continue;
		int64_t up = sram_align(top, p->align[j]);
		if (up + p->size[j] > s->capacity) {
			s->weight[j]++;
			return false;
		}
		set(s, &s->min_offset[j], up);
	}
	return true;
}

/* ---- what may come next ---- */

/* May buffer j be placed where it would lie now? */
static bool is_next(const struct search *s, uint32_t j, int64_t last_offset)
{
	return s->min_offset[j] >= last_offset && s->min_offset[j] != s->asleep[j];
}

/* Where j would lie at the lowest if its neighbour k came beneath it. */
static int64_t lifted_by(const struct search *s, uint32_t j, uint32_t k, int64_t last_offset)
{
	int64_t from = s->min_offset[k] > last_offset ? s->min_offset[k] : last_offset;
	return sram_align(from + s->p->size[k], s->p->align[j]);
}

/* Can buffer j, left, still lie at `limit` or lower? */
static bool can_lie(struct search *s, uint32_t j, int64_t limit, int64_t last_offset)
{
	const struct sram_part *p = s->p;
	if (s->min_offset[j] > limit)
		return false;
	if (is_next(s, j, last_offset))
		return true;
	uint32_t hint = s->lifter[j];
	if (hint != UINT32_MAX && !s->placed[hint] && lifted_by(s, j, hint, last_offset) <= limit)
		return true;
	for (uint32_t e = p->row[j]; e < p->row[j + 1]; e++) {
		uint32_t k = p->neighbour[e];
		if (s->placed[k] || lifted_by(s, j, k, last_offset) > limit)
			continue;
		s->lifter[j] = k;
		return true;
	}
	return false;
}

/* Does some buffer left in the section lie low enough for all of them? */
static bool section_fits(struct search *s, uint32_t section, int64_t last_offset)
{
	int64_t limit = s->capacity - s->total[section];
	uint32_t j = s->watch[section];
	if (!s->placed[j] && can_lie(s, j, limit, last_offset))
		return true;
	for (uint32_t e = s->cover_row[section]; e < s->cover_row[section + 1]; e++) {
		j = s->cover[e];
		if (s->placed[j] || !can_lie(s, j, limit, last_offset))
			continue;
		s->watch[section] = j;
		return true;
	}
	for (uint32_t e = s->cover_row[section]; e < s->cover_row[section + 1]; e++)
		s->weight[s->cover[e]] += !s->placed[s->cover[e]];
	return false;
}

/* False: the buffers left of `items` cannot all fit. */
static bool promising(struct search *s, const uint32_t *items, uint32_t n, int64_t last_offset)
{
	const struct sram_part *p = s->p;
	uint32_t done = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = items[i];
		if (s->placed[j] || can_lie(s, j, s->capacity - p->size[j], last_offset))
			continue;
		s->weight[j]++;
		return false;
	}
	for (uint32_t i = 0; i < n; i++) { /* in order of their first sections */
		uint32_t j = items[i];
		if (s->placed[j])
			continue;
		for (done = p->first[j] > done ? p->first[j] : done; done < p->end[j]; done++)
			if (!section_fits(s, done, last_offset))
				return false;
	}
	return true;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	if (a->offset != b->offset)
		return a->offset < b->offset;
	return a->weight != b->weight ? a->weight > b->weight : a->rank < b->rank;
}

/* Insertion with gaps (Shell, 1959; Ciura's gaps): some tens of candidates, very often. */
static void sort_candidates(struct candidate *c, uint32_t n)
{
	static const uint32_t gaps[] = { 132, 57, 23, 10, 4, 1 };
	for (size_t g = 0; g < TG_ARRAY_LEN(gaps); g++)
		for (uint32_t i = gaps[g]; i < n; i++) {
			struct candidate x = c[i];
			uint32_t k = i;
			for (; k >= gaps[g] && before(&x, &c[k - gaps[g]]); k -= gaps[g])
				c[k] = c[k - gaps[g]];
			c[k] = x;
		}
}

static void open_frame(struct search *s, uint32_t items, uint32_t n, int64_t last_offset)
{
	struct frame f = { .items = items, .n_items = n, .candidates = (uint32_t)s->cands.n, .entry = s->trail.n, .last_offset = last_offset };
	int64_t ceiling = INT64_MAX;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = s->pool.at[items + i];
		int64_t top = s->min_offset[j] + s->p->size[j];
		ceiling = top < ceiling ? top : ceiling;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = s->pool.at[items + i];
		if (s->min_offset[j] < ceiling && is_next(s, j, last_offset))
			*TG_PUSH(s->arena, &s->cands) = (struct candidate){ s->min_offset[j], s->weight[j], s->rank[j], j };
	}
	f.n_candidates = (uint32_t)s->cands.n - f.candidates;
	sort_candidates(s->cands.at + f.candidates, f.n_candidates);
	f.first_free = (uint32_t)s->pool.n;
	*TG_PUSH(s->arena, &s->frames) = f;
}

static void close_frame(struct search *s)
{
	const struct frame *f = &s->frames.at[--s->frames.n];
	s->pool.n = f->first_free;
	s->cands.n = f->candidates;
}

/* What is left of the frame's items (which are in order of their first section), as groups that no section connects. */
static void split(struct search *s, struct frame *f)
{
	const struct sram_part *p = s->p;
	uint32_t reach = 0, n = 0;
	f->left = (uint32_t)s->pool.n;
	for (uint32_t i = 0; i < f->n_items; i++)
		if (!s->placed[s->pool.at[f->items + i]]) {
			uint32_t j = s->pool.at[f->items + i];
			*TG_PUSH(s->arena, &s->pool) = j;
		}
	n = (uint32_t)s->pool.n - f->left;
	f->groups = (uint32_t)s->pool.n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = s->pool.at[f->left + i];
		if (i > 0 && p->first[j] >= reach)
			*TG_PUSH(s->arena, &s->pool) = i;
		reach = p->end[j] > reach || i == 0 ? p->end[j] : reach;
	}
	if (n)
		*TG_PUSH(s->arena, &s->pool) = n;
	f->n_groups = (uint32_t)s->pool.n - f->groups;
	f->next_group = 0;
}

static void open_group(struct search *s)
{
	struct frame *f = &s->frames.at[s->frames.n - 1];
	const struct candidate *c = &s->cands.at[f->candidates + f->cursor - 1];
	uint32_t from = f->next_group ? s->pool.at[f->groups + f->next_group - 1] : 0, to = s->pool.at[f->groups + f->next_group];
	uint32_t items = f->left + from;
	f->next_group++;
	open_frame(s, items, to - from, c->offset);
}

/* The branch of the candidate placed last has failed. */
static void fall_asleep(struct search *s)
{
	const struct frame *f = &s->frames.at[s->frames.n - 1];
	const struct candidate *c = &s->cands.at[f->candidates + f->cursor - 1];
	undo(s, f->mark);
	set(s, &s->asleep[c->item], c->offset);
}

enum step { TRY, SOLVED, FAILED };

/* Places the next candidate of the top frame. */
static enum step try_next(struct search *s)
{
	struct frame *f = &s->frames.at[s->frames.n - 1];
	struct candidate c = s->cands.at[f->candidates + f->cursor++];
	f->mark = s->trail.n;
	s->pool.n = f->first_free;
	if (!put(s, c.item, c.offset) || !promising(s, s->pool.at + f->items, f->n_items, c.offset)) {
		fall_asleep(s);
		return TRY;
	}
	split(s, f);
	if (f->n_groups == 0)
		return SOLVED;
	open_group(s);
	return TRY;
}

/* One budget of nodes with one order. */
static enum tg_sram_result run(struct search *s, uint64_t budget, uint64_t *used)
{
	enum step step = TRY;
	s->pool.n = s->cands.n = s->frames.n = s->trail.n = 0;
	for (uint32_t i = 0; i < s->p->n; i++)
		*TG_PUSH(s->arena, &s->pool) = i;
	open_frame(s, 0, s->p->n, 0);
	for (*used = 0; s->frames.n;) {
		struct frame *f = &s->frames.at[s->frames.n - 1];
		if (step == SOLVED) {
			if (f->next_group < f->n_groups) {
				open_group(s);
				step = TRY;
			} else {
				close_frame(s);
			}
			continue;
		}
		if (step == FAILED)
			fall_asleep(s);
		step = TRY;
		if (f->cursor == f->n_candidates) {
			undo(s, f->entry);
			close_frame(s);
			step = FAILED;
		} else if (*used == budget) {
			undo(s, 0);
			return TG_SRAM_UNKNOWN;
		} else {
			++*used;
			step = try_next(s);
		}
	}
	return step == SOLVED ? TG_SRAM_FITS : TG_SRAM_IMPOSSIBLE;
}

/* The buffers of each section; false: too many to search. */
static bool list_cover(struct search *s)
{
	const struct sram_part *p = s->p;
	uint64_t cover = 0;
	for (uint32_t i = 0; i < p->n; i++)
		cover += p->end[i] - p->first[i];
	if (cover > MAX_COVER)
		return false;
	s->cover_row = tg_alloc_n(s->arena, p->n_sections + 2u, sizeof *s->cover_row);
	s->cover = tg_alloc_n(s->arena, (size_t)cover + 1, sizeof *s->cover);
	s->watch = tg_alloc_n(s->arena, p->n_sections + 1u, sizeof *s->watch);
	for (uint32_t i = 0; i < p->n; i++)
		for (uint32_t k = p->first[i]; k < p->end[i]; k++)
			s->cover_row[k + 1]++;
	for (uint32_t k = 0; k < p->n_sections; k++)
		s->cover_row[k + 1] += s->cover_row[k];
	uint32_t *next = tg_alloc_n(s->arena, p->n_sections + 1u, sizeof *next);
	memcpy(next, s->cover_row, p->n_sections * sizeof *next);
	for (uint32_t i = 0; i < p->n; i++)
		for (uint32_t k = p->first[i]; k < p->end[i]; k++)
			s->cover[next[k]++] = s->watch[k] = i;
	return true;
}

static void prepare(struct search *s, struct sram_part *p, int64_t capacity)
{
	*s = (struct search){ .p = p, .arena = tg_arena_new(tg_arena_heap(p->arena)), .capacity = capacity };
	s->min_offset = tg_alloc_n(s->arena, p->n + 1u, sizeof *s->min_offset);
	s->asleep = tg_alloc_n(s->arena, p->n + 1u, sizeof *s->asleep);
	s->lifter = tg_alloc_n(s->arena, p->n + 1u, sizeof *s->lifter);
	memset(s->asleep, 0xff, p->n * sizeof *s->asleep); /* -1: awake */
	memset(s->lifter, 0xff, p->n * sizeof *s->lifter);
	s->offset = tg_alloc_n(s->arena, p->n + 1u, sizeof *s->offset);
	s->placed = tg_alloc_n(s->arena, p->n + 1u, sizeof *s->placed);
	s->total = tg_alloc_n(s->arena, p->n_sections + 1u, sizeof *s->total);
	memcpy(s->total, p->total, p->n_sections * sizeof *s->total);
}

enum tg_sram_result sram_search(struct sram_part *p, int64_t capacity, uint64_t max_nodes, uint64_t *nodes)
{
	struct search s;
	enum tg_sram_result r = TG_SRAM_UNKNOWN;
	if (p->lower_bound > capacity)
		return TG_SRAM_IMPOSSIBLE;
	if (!p->neighbour || p->n > MAX_SEARCHED)
		return TG_SRAM_UNKNOWN;
	prepare(&s, p, capacity);
	struct { uint32_t *rank; uint64_t *weight; } learner[MAX_ORDERS];
	uint32_t *order = tg_alloc_n(s.arena, p->n + 1u, sizeof *order), n = 0;
	for (; n < MAX_ORDERS && sram_order(p, n, order); n++) {
		learner[n].rank = tg_alloc_n(s.arena, p->n + 1u, sizeof *learner[n].rank);
		learner[n].weight = tg_alloc_n(s.arena, p->n + 1u, sizeof *learner[n].weight);
		for (uint32_t k = 0; k < p->n; k++)
			learner[n].rank[order[k]] = k;
	}
	if (!list_cover(&s))
		n = 0;
	for (uint64_t budget = FIRST_BUDGET; n && r == TG_SRAM_UNKNOWN && *nodes < max_nodes; budget += budget / GROWTH)
		for (uint32_t i = 0; i < n && r == TG_SRAM_UNKNOWN && *nodes < max_nodes; i++) {
			uint64_t used, left = max_nodes - *nodes;
			s.rank = learner[i].rank;
			s.weight = learner[i].weight;
			r = run(&s, budget < left ? budget : left, &used);
			*nodes += used;
		}
	if (r == TG_SRAM_FITS)
		memcpy(p->offset, s.offset, p->n * sizeof *s.offset);
	tg_arena_free(s.arena);
	return r;
}
