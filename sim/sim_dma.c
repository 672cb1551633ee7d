/* sim_dma.c: the DMA engine: transfers from their start to the wait that retires them, and their time. docs/isa.md states the cost model.
 *
 * sim_hazard.c says which may start, sim_move.c moves the bytes. Because nothing may touch what an unretired transfer writes, or write what it reads, the
 * moment at which the bytes move cannot be seen: early moves them at the start, late at the wait, random somewhere between. Time is the same in all three. */
#include "dma.h"

/* ---- time ---- */

/* Transfers of a loop cost the same again and again: what the cost depends on, and the cost. */
#define N_COSTS 256
struct cost_memo {
	struct tg_dma_plan key;
	struct tg_dma_cost cost;
	bool used;
};

void dma_open(struct tg_sim *s)
{
	s->costs = tg_alloc_n(s->arena, N_COSTS, sizeof *s->costs);
}

/* Where a side begins matters within a burst only. */
static int64_t within_burst(const struct tg_sim *s, int64_t at)
{
	return in_dram(at) ? TG_DRAM_BASE + (at - TG_DRAM_BASE) % s->x->chip.dram_burst : 0;
}

static void cost_of(struct tg_sim *s, const struct tg_dma_plan *p, struct tg_dma_cost *out)
{
	struct tg_dma_plan key;
	uint64_t hash = UINT64_C(0xcbf29ce484222325), word;
	if (list_of(s, p)) {
		tg_dma_cost(&s->x->chip, p, list_of(s, p), out);
		return;
	}
	memcpy(&key, p, sizeof key); /* padding too: plans are zeroed first */
	key.fill_bits = 0;
	key.src = within_burst(s, p->src);
	key.dst = within_burst(s, p->dst);
	key.src_first = key.src_end = in_dram(p->src_first);
	key.dst_first = key.dst_end = in_dram(p->dst_first);
	for (size_t i = 0; i + 8 <= sizeof key; i += 8) {
		memcpy(&word, (const uint8_t *)&key + i, 8);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	struct cost_memo *m = &s->costs[hash % N_COSTS];
	if (!m->used || memcmp(&m->key, &key, sizeof key) != 0) {
		m->used = true;
		memcpy(&m->key, &key, sizeof key);
		tg_dma_cost(&s->x->chip, p, NULL, &m->cost);
	}
	*out = m->cost;
}

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
			dma_move(s, x);
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
	uint64_t offset = (uint64_t)(at - TG_DRAM_BASE);
	memcpy(d, in_dram(at) ? dram_read(s, offset, offset + sizeof *d) : s->core.mem.at + at, sizeof *d);
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
		why = hazard_prepare(s, x);
	if (why)
		return sim_trap(s, why, s->core.s[in->f[2]], NULL);
	cost_of(s, &x->plan, &cost);
	if (cost.engine_cycles > s->options.max_cycles)
		return sim_trap(s, "a DMA transfer takes longer than the cycle budget", s->core.s[in->f[2]], NULL);
	why = hazard_enter(s, x);
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
		dma_move(s, x);
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
			dma_move(s, x);
		hazard_leave(s, x);
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
