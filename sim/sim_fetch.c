/* sim_fetch.c: the instruction buffer. docs/isa.md states the model.
 *
 * Code comes in lines of 512 bytes over a port of the DRAM's width that has priority over DMA. The buffer holds consecutive lines
 * [first, end). Prefetch runs ahead of the bundle at work as far as the buffer allows while it keeps the outermost loop that fits, or
 * half a buffer behind the bundle. A bundle whose line is not there yet stalls; a bundle outside [first, end) starts the buffer anew. */
#include "sim_int.h"

#define LINE_BYTES (FETCH_LINE_WORDS * 8)

static void request_line(struct tg_sim *s, struct tg_counters *c)
{
	struct fetch *f = &s->fetch;
	uint64_t cycles = (LINE_BYTES + s->x->chip.dram_bytes_per_cycle - 1) / s->x->chip.dram_bytes_per_cycle;
	uint64_t start = f->free > s->cycle ? f->free : s->cycle;
	f->free = start + cycles;
	f->ready[f->end % f->n_lines] = start + cycles + s->x->chip.dram_latency;
	/* what code takes, DMA waits for */
	s->dram_free = (s->dram_free > s->cycle ? s->dram_free : s->cycle) + cycles;
	f->end++;
	c->fetch_bytes += LINE_BYTES;
}

/* The first line to keep: that of the outermost loop that fits in the buffer, else half a buffer back. */
static uint32_t keep_from(const struct tg_sim *s, uint32_t line)
{
	uint32_t half = s->fetch.n_lines / 2;
	for (uint32_t i = 0; i < s->n_loops; i++) {
		uint32_t from = s->bundles[s->loops[i].start].word / FETCH_LINE_WORDS;
		uint32_t to = (s->loops[i].end_word - 1) / FETCH_LINE_WORDS;
		if (to - from < s->fetch.n_lines && from <= line)
			return from;
	}
	return line > half ? line - half : 0;
}

static void prefetch(struct tg_sim *s, struct tg_counters *c, uint32_t line)
{
	struct fetch *f = &s->fetch;
	uint32_t keep = keep_from(s, line);
	while (f->end < f->total_lines && (f->end <= line || f->end < keep + f->n_lines)) {
		request_line(s, c);
		if (f->end - f->first > f->n_lines)
			f->first = f->end - f->n_lines;
	}
}

void fetch_reset(struct tg_sim *s, uint32_t entry_word)
{
	struct fetch *f = &s->fetch;
	f->first = f->end = entry_word / FETCH_LINE_WORDS;
	f->line = f->quiet = UINT32_MAX;
}

static void reach_line(struct tg_sim *s, struct tg_counters *c, uint32_t line)
{
	struct fetch *f = &s->fetch;
	f->quiet = UINT32_MAX;
	if (line < f->first || line > f->end)
		f->first = f->end = line;
	prefetch(s, c, line);
	uint64_t ready = f->ready[line % f->n_lines];
	if (ready > s->cycle) {
		c->stall_fetch += ready - s->cycle;
		s->cycle = ready;
	}
	f->line = line;
}

void fetch_bundle(struct tg_sim *s, struct tg_counters *c, const struct decoded *b)
{
	uint32_t first = b->word / FETCH_LINE_WORDS, last = (b->end_word - 1) / FETCH_LINE_WORDS;
	if (first != s->fetch.line)
		reach_line(s, c, first);
	if (last != first)
		reach_line(s, c, last);
}

bool fetch_is_quiet(const struct tg_sim *s, uint32_t first_line, uint32_t last_line)
{
	const struct fetch *f = &s->fetch;
	if (first_line < f->first || last_line >= f->end)
		return false;
	for (uint32_t line = first_line; line <= last_line; line++) {
		if (f->ready[line % f->n_lines] > s->cycle || (f->end < f->total_lines && f->end < keep_from(s, line) + f->n_lines))
			return false;
	}
	return true;
}
