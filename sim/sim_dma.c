/* sim_dma.c: the DMA engine: hazards, data, time. docs/isa.md states the cost model.
 *
 * A transfer lives from its start to the wait that retires it. Meanwhile its SRAM bytes carry marks (core.h), which loads, stores and
 * other transfers check byte by byte; DRAM is only reached by transfers, which are compared pair by pair. Because nothing may touch what
 * an unretired transfer writes, or write what it reads, the moment at which the bytes move cannot be seen: early moves them at the start,
 * late at the wait, random somewhere between. Time is the same in all three. */
#include "sim_int.h"

#include <stdlib.h>

/* ---- marks in SRAM ---- */

static void count_chunks(uint32_t *count, uint64_t at, uint64_t n, uint32_t by)
{
	for (uint64_t k = at >> CHUNK_SHIFT; k <= (at + n - 1) >> CHUNK_SHIFT; k++)
		count[k] += by;
}

static const char *mark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (chunks_have(m->chunk_write, at, n) && marks_have(m, at, n, MARK_WRITER))
		return "a DMA transfer reads bytes that an unretired transfer writes";
	if (!bits_all_set(m->written, at, n))
		return "a DMA transfer reads SRAM bytes that were not written";
	uint8_t full = 0;
	for (uint64_t i = 0; i < n; i++) {
		full |= (uint8_t)((m->mark[at + i] & MARK_READERS) == MARK_READERS);
		m->mark[at + i]++;
	}
	count_chunks(m->chunk_any, at, n, 1);
	return full ? "more than 126 unretired transfers read a byte" : NULL;
}

static const char *mark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (chunks_have(m->chunk_any, at, n) && marks_have(m, at, n, MARK_WRITER | MARK_READERS))
		return "a DMA transfer writes bytes that it or an unretired transfer reads or writes";
	memset(m->mark + at, MARK_WRITER, n);
	count_chunks(m->chunk_any, at, n, 1);
	count_chunks(m->chunk_write, at, n, 1);
	bits_set(m->written, at, n);
	return NULL;
}

static void unmark_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		m->mark[at + i]--;
	count_chunks(m->chunk_any, at, n, UINT32_MAX);
}

static void unmark_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	memset(m->mark + at, 0, n);
	count_chunks(m->chunk_any, at, n, UINT32_MAX);
	count_chunks(m->chunk_write, at, n, UINT32_MAX);
}

/* The bytes of one side of a group of rows, as stretches: contiguous rows are one. */
struct stretches {
	int64_t at, n, count, step;
};
static struct stretches side_of(const struct tg_dma_plan *p, const struct tg_dma_rows *g, bool src)
{
	struct stretches t = {src ? g->src : g->dst, g->n * (src ? p->src_bytes : p->dst_bytes), g->rows, src ? g->src_step : g->dst_step};
	if (t.count > 1 && t.step == t.n) {
		t.n *= t.count;
		t.count = 1;
	} else if (src && t.count > 1 && t.step == 0) {
		t.count = 1; /* one element, read again and again */
	}
	return t;
}

static const uint8_t *list_of(const struct tg_sim *s, const struct tg_dma_plan *p)
{
	return p->kind == TG_DMA_GATHER || p->kind == TG_DMA_SCATTER ? s->core.mem.at + p->list_addr : NULL;
}

static const char *check_list(struct tg_sim *s, const struct tg_dma_plan *p, uint32_t *bytes)
{
	const uint8_t *list = list_of(s, p);
	*bytes = 0;
	if (!list || p->size[0] <= 0)
		return NULL;
	*bytes = (uint32_t)p->size[0] * 4;
	const char *why = mark_read(&s->core.mem, p->list_addr, *bytes);
	for (int64_t i = 0; !why && i < p->size[0]; i++) {
		int32_t v;
		memcpy(&v, list + 4 * i, 4);
		if (v < 0 || (uint32_t)v >= p->list_bound)
			why = "a DMA index is out of its bounds";
	}
	return why;
}

static const char *mark_transfer(struct tg_sim *s, const struct tg_dma_plan *p)
{
	struct tg_memory *m = &s->core.mem;
	const char *why = NULL;
	for (int side = 0; side < 2 && !why; side++) {
		struct tg_dma_walk w;
		struct tg_dma_rows g;
		bool src = side == 0;
		if ((src ? p->src_first : p->dst_first) >= TG_DRAM_BASE || (src && p->kind == TG_DMA_FILL))
			continue;
		tg_dma_walk_init(&w, p, list_of(s, p));
		while (!why && tg_dma_walk_next(&w, &g)) {
			if (src && g.fill)
				continue;
			struct stretches t = side_of(p, &g, src);
			for (int64_t i = 0; i < t.count && !why; i++)
				why = (src ? mark_read : mark_write)(m, (uint64_t)(t.at + i * t.step), (uint64_t)t.n);
		}
	}
	return why;
}

static void unmark_transfer(struct tg_sim *s, const struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	for (int side = 0; side < 2; side++) {
		struct tg_dma_walk w;
		struct tg_dma_rows g;
		bool src = side == 0;
		if ((src ? p->src_first : p->dst_first) >= TG_DRAM_BASE || (src && p->kind == TG_DMA_FILL))
			continue;
		tg_dma_walk_init(&w, p, list_of(s, p));
		while (tg_dma_walk_next(&w, &g)) {
			if (src && g.fill)
				continue;
			struct stretches t = side_of(p, &g, src);
			for (int64_t i = 0; i < t.count; i++)
				(src ? unmark_read : unmark_write)(&s->core.mem, (uint64_t)(t.at + i * t.step), (uint64_t)t.n);
		}
	}
	if (x->list_bytes)
		unmark_read(&s->core.mem, p->list_addr, x->list_bytes);
}

/* ---- hazards in DRAM ---- */

static bool in_dram(int64_t at)
{
	return at >= TG_DRAM_BASE;
}

static bool meet(int64_t a, int64_t a_end, int64_t b, int64_t b_end)
{
	return a < b_end && b < a_end;
}

static int by_first(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

static size_t collect(struct tg_sim *s, const struct tg_dma_plan *p, bool src, bool second)
{
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	bool sorted = true;
	struct span last = {INT64_MIN, INT64_MIN};
	size_t n = 0;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (tg_dma_walk_next(&w, &g)) {
		if (src && g.fill)
			continue;
		struct stretches t = side_of(p, &g, src);
		for (int64_t i = 0; i < t.count; i++) {
			struct span v = {t.at + i * t.step, t.at + i * t.step + t.n};
			sorted = sorted && v.first >= last.first;
			last = v;
			if (second)
				*TG_PUSH(s->arena, &s->spans_b) = v;
			else
				*TG_PUSH(s->arena, &s->spans_a) = v;
			n++;
		}
	}
	if (!sorted)
		qsort(second ? s->spans_b.at : s->spans_a.at, n, sizeof(struct span), by_first);
	return n;
}

/* Whether two sides share a byte; boxes first, then row by row in ascending order. */
static bool sides_meet(struct tg_sim *s, const struct tg_dma_plan *a, bool a_src, const struct tg_dma_plan *b, bool b_src)
{
	int64_t a0 = a_src ? a->src_first : a->dst_first, a1 = a_src ? a->src_end : a->dst_end;
	int64_t b0 = b_src ? b->src_first : b->dst_first, b1 = b_src ? b->src_end : b->dst_end;
	if (!in_dram(a0) || !in_dram(b0) || !meet(a0, a1, b0, b1))
		return false;
	s->spans_a.n = s->spans_b.n = 0;
	size_t na = collect(s, a, a_src, false), nb = collect(s, b, b_src, true);
	const struct span *x = s->spans_a.at, *y = s->spans_b.at;
	for (size_t i = 0, k = 0; i < na && k < nb;) {
		if (meet(x[i].first, x[i].end, y[k].first, y[k].end))
			return true;
		if (x[i].end <= y[k].first)
			i++;
		else
			k++;
	}
	return false;
}

/* A transfer that writes a DRAM byte twice, or what it reads. */
static bool meets_itself(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (sides_meet(s, p, false, p, true))
		return true;
	if (!in_dram(p->dst_first))
		return false;
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	int64_t last = INT64_MIN;
	bool ascending = true;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (ascending && tg_dma_walk_next(&w, &g)) {
		struct stretches t = side_of(p, &g, false);
		ascending = t.at >= last && (t.count == 1 || t.step >= t.n);
		last = t.at + (t.count - 1) * t.step + t.n;
	}
	if (ascending)
		return false;
	s->spans_a.n = 0;
	size_t n = collect(s, p, false, false);
	for (size_t i = 1; i < n; i++) {
		if (s->spans_a.at[i].first < s->spans_a.at[i - 1].end)
			return true;
	}
	return false;
}

static const char *check_dram(struct tg_sim *s, const struct tg_dma_plan *p)
{
	if (!in_dram(p->src_first) && !in_dram(p->dst_first))
		return NULL;
	if (in_dram(p->dst_first) && meets_itself(s, p))
		return "a DMA transfer writes a DRAM byte twice, or one that it reads";
	for (const struct transfer *x = s->unretired; x; x = x->next) {
		if (sides_meet(s, p, false, &x->plan, false) || sides_meet(s, p, false, &x->plan, true))
			return "a DMA transfer writes DRAM bytes that an unretired transfer reads or writes";
		if (sides_meet(s, p, true, &x->plan, false))
			return "a DMA transfer reads DRAM bytes that an unretired transfer writes";
	}
	return NULL;
}

/* ---- data ---- */

void dram_touch(struct tg_sim *s, uint64_t at, uint64_t n)
{
	for (uint64_t k = at >> DRAM_PAGE_SHIFT; n && k <= (at + n - 1) >> DRAM_PAGE_SHIFT; k++)
		s->dram_touched[k / 64] |= UINT64_C(1) << (k % 64);
}

static uint8_t *memory_at(struct tg_sim *s, int64_t at)
{
	return in_dram(at) ? s->dram + (at - TG_DRAM_BASE) : s->core.mem.at + at;
}

static void fill_row(uint8_t *d, uint64_t bits, unsigned bytes, int64_t n)
{
	if (bytes == 1 || bits == 0) {
		memset(d, (int)(bits & 0xff), (size_t)n * bytes);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		memcpy(d + i * bytes, &bits, bytes);
}

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

static void copy_elements(uint8_t *d, const uint8_t *p, const struct tg_dma_rows *g, unsigned bytes)
{
#define STEP(w)                                                                                                                                      \
	case w:                                                                                                                                      \
		for (int64_t i = 0; i < g->rows; i++)                                                                                                \
			memcpy(d + i * g->dst_step, p + i * g->src_step, w);                                                                         \
		break
	switch (bytes) {
		STEP(1);
		STEP(2);
		STEP(4);
		STEP(8);
	}
}

static void move(struct tg_sim *s, struct transfer *x)
{
	const struct tg_dma_plan *p = &x->plan;
	struct tg_dma_walk w;
	struct tg_dma_rows g;
	x->moved = true;
	tg_dma_walk_init(&w, p, list_of(s, p));
	while (tg_dma_walk_next(&w, &g)) {
		uint8_t *d = memory_at(s, g.dst);
		const uint8_t *from = memory_at(s, g.fill ? g.dst : g.src);
		if (in_dram(g.dst)) {
			for (int64_t i = 0; i < g.rows; i++)
				dram_touch(s, (uint64_t)(g.dst - TG_DRAM_BASE + i * g.dst_step), (uint64_t)g.n * p->dst_bytes);
		}
		if (!g.fill && g.n == 1 && p->src_type == p->dst_type) {
			copy_elements(d, from, &g, p->dst_bytes);
			continue;
		}
		for (int64_t i = 0; i < g.rows; i++) {
			if (g.fill)
				fill_row(d + i * g.dst_step, p->fill_bits, p->dst_bytes, g.n);
			else if (p->src_type == p->dst_type)
				memcpy(d + i * g.dst_step, from + i * g.src_step, (size_t)g.n * p->dst_bytes);
			else
				convert_row(d + i * g.dst_step, from + i * g.src_step, p->src_type, p->dst_type, g.n);
		}
	}
}

/* ---- time ---- */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The queue's engine takes transfers in order; the DRAM serves queues in the order of their starts; the latency overlaps. */
static void schedule(struct tg_sim *s, struct queue *q, struct transfer *x, const struct tg_dma_cost *cost)
{
	uint64_t begin = later(s->cycle, q->engine_free), end = begin + cost->engine_cycles;
	if (cost->dram_cycles) {
		uint64_t data = later(begin, s->dram_free);
		s->dram_free = data + cost->dram_cycles;
		end = later(end, s->dram_free);
	}
	q->engine_free = end;
	x->done = later(q->last_done, end + (cost->dram_cycles ? s->x->chip.dram_latency : 0));
	q->last_done = x->done;
	q->done[(x->number - 1) % s->x->chip.dma_depth] = x->done;
	if (s->options.trace)
		trace_transfer(s, x, begin, cost);
}

static bool some_of_random(struct tg_sim *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (s->random & 3) == 0;
}

static void random_moves(struct tg_sim *s)
{
	for (struct transfer *x = s->unretired; s->options.dma == TG_DMA_RANDOM && x; x = x->next) {
		if (!x->moved && some_of_random(s))
			move(s, x);
	}
}

/* ---- start and wait ---- */

static bool read_descriptor(struct tg_sim *s, int64_t at, struct tg_dma_desc *d)
{
	if (at % 8)
		return sim_trap(s, "a DMA descriptor is not 8-byte aligned", at, NULL);
	if (in_dram(at)) {
		if ((uint64_t)(at - TG_DRAM_BASE) > s->x->chip.dram_bytes - sizeof *d)
			return sim_trap(s, "a DMA descriptor lies outside DRAM", at, NULL);
		for (const struct transfer *x = s->unretired; x; x = x->next) {
			if (meet(at, at + (int64_t)sizeof *d, x->plan.dst_first, x->plan.dst_end))
				return sim_trap(s, "a DMA descriptor lies where an unretired transfer writes", at, NULL);
		}
	} else {
		const char *why = mem_check_read(&s->core.mem, (uint64_t)at, sizeof *d);
		if (why)
			return sim_trap(s, "a DMA descriptor lies in SRAM that is outside, not written, or being written", at, NULL);
	}
	memcpy(d, memory_at(s, at), sizeof *d);
	return true;
}

static void wait_for_room(struct tg_sim *s, struct tg_counters *c, struct queue *q)
{
	uint32_t depth = s->x->chip.dma_depth;
	if (q->started < depth)
		return;
	uint64_t free = q->done[q->started % depth];
	if (free > s->cycle) {
		c->stall_dma_full += free - s->cycle;
		s->cycle = free;
	}
}

static struct transfer *new_transfer(struct tg_sim *s)
{
	struct transfer *x = s->spare_transfers;
	if (x)
		s->spare_transfers = x->next;
	else
		x = tg_alloc(s->arena, sizeof *x);
	memset(x, 0, sizeof *x);
	return x;
}

bool dma_start(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in, int64_t *number)
{
	struct queue *q = &s->queues[in->f[1]];
	struct tg_dma_desc d;
	struct tg_dma_cost cost;
	if (!read_descriptor(s, s->core.s[in->f[2]], &d))
		return false;
	wait_for_room(s, c, q);
	struct transfer *x = new_transfer(s);
	const char *why = tg_dma_plan(&s->x->chip, &d, s->core.s[in->f[3]], s->core.s[in->f[4]], &x->plan);
	if (!why)
		why = check_list(s, &x->plan, &x->list_bytes);
	if (why)
		return sim_trap(s, why, s->core.s[in->f[2]], NULL);
	tg_dma_cost(&s->x->chip, &x->plan, list_of(s, &x->plan), &cost);
	if (cost.engine_cycles > s->options.max_cycles)
		return sim_trap(s, "a DMA transfer takes longer than the cycle budget", s->core.s[in->f[2]], NULL);
	why = mark_transfer(s, &x->plan);
	if (!why)
		why = check_dram(s, &x->plan);
	if (why)
		return sim_trap(s, why, s->core.s[in->f[2]], NULL);
	x->queue = (uint32_t)in->f[1];
	x->number = ++q->started;
	*number = (int64_t)x->number;
	schedule(s, q, x, &cost);
	c->dma_transfers++;
	c->dram_read_bytes += cost.dram_read_bytes;
	c->dram_written_bytes += cost.dram_written_bytes;
	c->sram_bytes += cost.sram_bytes;
	if (s->options.dma == TG_DMA_EARLY)
		move(s, x);
	random_moves(s);
	x->next = s->unretired;
	s->unretired = x;
	return true;
}

static void retire(struct tg_sim *s, struct queue *q, uint32_t queue, uint64_t last, uint64_t *done)
{
	for (struct transfer **at = &s->unretired; *at;) {
		struct transfer *x = *at;
		if (x->queue != queue || x->number > last) {
			at = &x->next;
			continue;
		}
		if (!x->moved)
			move(s, x);
		unmark_transfer(s, x);
		*done = later(*done, x->done);
		*at = x->next;
		x->next = s->spare_transfers;
		s->spare_transfers = x;
	}
	q->retired = last;
}

bool dma_wait(struct tg_sim *s, struct tg_counters *c, const struct tg_insn *in)
{
	uint32_t queue = (uint32_t)in->f[0];
	struct queue *q = &s->queues[queue];
	int64_t last = s->core.s[in->f[1]];
	random_moves(s);
	if (last <= (int64_t)q->retired)
		return true;
	if ((uint64_t)last > q->started)
		return sim_trap(s, "a wait for a DMA transfer that was not started", last, NULL);
	uint64_t done = 0;
	retire(s, q, queue, (uint64_t)last, &done);
	if (done > s->cycle) {
		c->stall_dma_wait += done - s->cycle;
		s->cycle = done;
	}
	return true;
}

void dma_reset(struct tg_sim *s)
{
	for (uint32_t i = 0; i < s->x->chip.dma_queues; i++) {
		s->queues[i].started = s->queues[i].retired = 0;
		s->queues[i].engine_free = s->queues[i].last_done = 0;
	}
	s->dram_free = 0;
}
