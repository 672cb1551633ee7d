/* sim_trace.c: records when things happen (struct tg_trace): shares of time in buckets, DMA transfers, first and last run of every bundle. */
#include "sim_int.h"

struct tg_trace *tg_trace_new(struct tg_arena *a, const struct tg_exe *x, size_t max_transfers)
{
	struct tg_trace *t = tg_alloc(a, sizeof *t);
	t->arena = a;
	t->bucket_cycles = 1;
	t->max_transfers = max_transfers;
	t->n_words = x->n_words;
	t->first = tg_alloc_n(a, x->n_words + 1u, sizeof *t->first);
	t->last = tg_alloc_n(a, x->n_words + 1u, sizeof *t->last);
	memset(t->first, 0xff, (x->n_words + 1u) * sizeof *t->first);
	for (uint32_t i = 0; i < TG_TRACE_BUCKETS; i++)
		t->bucket[i].prov = (uint32_t)x->provs.n;
	return t;
}

/* ---- buckets ---- */

static void vote(struct tg_trace_bucket *b, uint32_t prov, uint64_t votes)
{
	if (b->prov == prov) {
		b->lead += votes;
	} else if (b->lead >= votes) {
		b->lead -= votes;
	} else {
		b->prov = prov;
		b->lead = votes - b->lead;
	}
}

static void join(struct tg_trace_bucket *to, const struct tg_trace_bucket *a, const struct tg_trace_bucket *b)
{
	struct tg_trace_bucket sum = *a;
	for (int i = 0; i < TG_N_SLOTS; i++)
		sum.busy[i] += b->busy[i];
	sum.issued += b->issued;
	sum.stall_dma_wait += b->stall_dma_wait;
	sum.stall_dma_full += b->stall_dma_full;
	sum.stall_fetch += b->stall_fetch;
	sum.dram_read_bytes += b->dram_read_bytes;
	sum.dram_written_bytes += b->dram_written_bytes;
	vote(&sum, b->prov, b->lead);
	*to = sum;
}

/* The bucket of a cycle; buckets become longer until there is one. */
static struct tg_trace_bucket *bucket_at(struct tg_sim *s, uint64_t cycle)
{
	struct tg_trace *t = s->options.trace;
	while (cycle / t->bucket_cycles >= TG_TRACE_BUCKETS) {
		for (uint32_t i = 0; i < TG_TRACE_BUCKETS / 2; i++)
			join(&t->bucket[i], &t->bucket[2 * i], &t->bucket[2 * i + 1]);
		memset(t->bucket + TG_TRACE_BUCKETS / 2, 0, sizeof t->bucket / 2);
		for (uint32_t i = TG_TRACE_BUCKETS / 2; i < TG_TRACE_BUCKETS; i++)
			t->bucket[i].prov = (uint32_t)s->x->provs.n;
		t->n_buckets = (t->n_buckets + 1) / 2;
		t->bucket_cycles *= 2;
	}
	uint32_t i = (uint32_t)(cycle / t->bucket_cycles);
	t->n_buckets = i + 1 > t->n_buckets ? i + 1 : t->n_buckets;
	return &t->bucket[i];
}

/* Adds `amount` to the field at `offset` of the buckets of [begin, end), in proportion to the time in each; nothing is lost to rounding. */
static void spread(struct tg_sim *s, uint64_t begin, uint64_t end, size_t offset, uint64_t amount)
{
	if (!amount)
		return;
	end = end > begin ? end : begin + 1;
	bucket_at(s, end - 1); /* from here on buckets keep their length */
	uint64_t length = s->options.trace->bucket_cycles, given = 0;
	for (uint64_t at = begin; at < end;) {
		uint64_t stop = (at / length + 1) * length < end ? (at / length + 1) * length : end;
		uint64_t upto = (uint64_t)((unsigned __int128)amount * (stop - begin) / (end - begin));
		*(uint64_t *)(void *)((char *)bucket_at(s, at) + offset) += upto - given;
		given = upto;
		at = stop;
	}
}

/* ---- events ---- */

void trace_begin(struct tg_sim *s, const struct tg_counters *c)
{
	s->at_begin = *c;
	s->cycle_at_begin = s->cycle;
}

void trace_end(struct tg_sim *s, const struct tg_counters *c, const struct decoded *b)
{
	struct tg_trace *t = s->options.trace;
	const struct tg_counters *was = &s->at_begin;
	uint64_t begin = s->cycle_at_begin, end = s->cycle;
	t->first[b->word] = begin < t->first[b->word] ? begin : t->first[b->word];
	t->last[b->word] = end;
	/* stalls come first, the bundle (and what it idles) last */
	uint64_t fetch = c->stall_fetch - was->stall_fetch, full = c->stall_dma_full - was->stall_dma_full, wait = c->stall_dma_wait - was->stall_dma_wait;
	uint64_t fetched = begin + fetch, queued = fetched + full, waited = queued + wait;
	spread(s, begin, fetched, offsetof(struct tg_trace_bucket, stall_fetch), fetch);
	spread(s, fetched, queued, offsetof(struct tg_trace_bucket, stall_dma_full), full);
	spread(s, queued, waited, offsetof(struct tg_trace_bucket, stall_dma_wait), wait);
	spread(s, waited, end, offsetof(struct tg_trace_bucket, issued), end - waited);
	struct tg_trace_bucket *at = bucket_at(s, end - 1);
	for (int i = 0; i < TG_N_SLOTS; i++)
		at->busy[i] += c->busy[i] - was->busy[i];
	for (uint64_t from = begin; from < end;) { /* every bucket that the bundle crosses */
		uint64_t stop = (from / t->bucket_cycles + 1) * t->bucket_cycles;
		stop = stop < end ? stop : end;
		vote(bucket_at(s, from), b->prov, stop - from);
		from = stop;
	}
}

void trace_transfer(struct tg_sim *s, const struct transfer *x, uint64_t begin, const struct tg_dma_cost *cost)
{
	struct tg_trace *t = s->options.trace;
	uint64_t served = s->dram_free > begin ? s->dram_free : begin;
	uint64_t from = served >= cost->dram_cycles && served - cost->dram_cycles > begin ? served - cost->dram_cycles : begin;
	spread(s, from, served, offsetof(struct tg_trace_bucket, dram_read_bytes), cost->dram_read_bytes);
	spread(s, from, served, offsetof(struct tg_trace_bucket, dram_written_bytes), cost->dram_written_bytes);
	if (t->transfers.n >= t->max_transfers) {
		t->lost_transfers++;
		return;
	}
	*TG_PUSH(t->arena, &t->transfers) = (struct tg_trace_transfer){ s->cycle,         begin,    x->done, cost->dram_read_bytes, cost->dram_written_bytes,
									cost->sram_bytes, x->queue, s->bundles[s->now_bundle].prov };
}
