/* profile_trace.c: the run in the Chrome trace event format (Perfetto reads it): a track for the stages, for each kind of slot, for stalls and for
 * each DMA queue.
 *
 * One cycle is one microsecond of the trace, so that its ruler counts cycles. Slots are shown as slices of equal stage, made of the recorder's buckets, with the
 * busy share as an argument; DMA transfers one by one. A queue's engine takes transfers in order but their latencies overlap, so a transfer is a slice from
 * the start of its engine's work to the start of the next one's, at most to its end. */
#include "profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PID_CORE = 1, PID_DMA = 2, TID_STAGES = 1, TID_STALLS = 2, TID_SLOTS = 10 };

struct sink { struct tg_buf b; bool any; };

static void name_track(struct sink *s, int pid, int tid, const char *what, const char *name)
{
	tg_buf_printf(&s->b, "%s{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":\"%s\"}}", s->any ? ",\n" : "", pid, tid, what, name);
	s->any = true;
}

static void slice(struct tool *t, struct sink *s, int pid, int tid, const char *name, uint64_t begin, uint64_t end)
{
	json_t *text = json_string(name);
	char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
	if (!quoted)
		tg_heap_exhausted(t->heap);
	tg_buf_printf(&s->b, "%s{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":%s,\"ts\":%llu,\"dur\":%llu", s->any ? ",\n" : "", pid, tid, quoted,
		      (unsigned long long)begin, (unsigned long long)(end - begin));
	s->any = true;
	free(quoted);
	json_decref(text);
}

static const char *stage_name(const struct profile *p, uint32_t prov)
{
	const char *name = prov < p->exe->provs.n ? p->exe->provs.at[prov] : "";
	return *name ? name : "(no node)";
}

/* ---- buckets as slices ---- */

/* The end of the stretch of buckets from `i` that have the same stage. */
static uint32_t stretch(const struct tg_trace *r, uint32_t i)
{
	uint32_t k = i + 1;
	while (k < r->n_buckets && r->bucket[k].prov == r->bucket[i].prov)
		k++;
	return k;
}

static void stages(struct tool *t, const struct profile *p, struct sink *s, uint64_t cycles)
{
	const struct tg_trace *r = p->trace;
	for (uint32_t i = 0, k; i < r->n_buckets; i = k) {
		uint64_t busy[TG_N_SLOTS] = { 0 }, wait = 0, full = 0, fetch = 0, begin = i * r->bucket_cycles;
		k = stretch(r, i);
		uint64_t end = k * r->bucket_cycles < cycles ? k * r->bucket_cycles : cycles;
		if (end <= begin)
			break;
		const char *name = stage_name(p, r->bucket[i].prov);
		for (uint32_t j = i; j < k; j++) {
			wait += r->bucket[j].stall_dma_wait;
			full += r->bucket[j].stall_dma_full;
			fetch += r->bucket[j].stall_fetch;
			for (int n = 0; n < TG_N_SLOTS; n++)
				busy[n] += r->bucket[j].busy[n];
		}
		slice(t, s, PID_CORE, TID_STAGES, name, begin, end);
		tg_buf_puts(&s->b, "}");
		if (wait + full + fetch) {
			slice(t, s, PID_CORE, TID_STALLS, wait >= full && wait >= fetch ? "DMA wait" : full >= fetch ? "queue full" : "code fetch", begin, end);
			tg_buf_printf(&s->b, ",\"args\":{\"dma_wait\":%llu,\"queue_full\":%llu,\"fetch\":%llu}}", (unsigned long long)wait, (unsigned long long)full,
				      (unsigned long long)fetch);
		}
		for (int n = 0; n < TG_N_SLOTS; n++) {
			uint32_t units = n == TG_SLOT_E ? p->chip->n_transcendental : tg_slot_count(p->chip, (enum tg_slot)n);
			if (!busy[n])
				continue;
			slice(t, s, PID_CORE, TID_SLOTS + n, name, begin, end);
			tg_buf_printf(&s->b, ",\"args\":{\"busy\":%.4f,\"instruction_cycles\":%llu}}", (double)busy[n] / units / (double)(end - begin),
				      (unsigned long long)busy[n]);
		}
	}
}

static void counter(struct sink *s, const char *name, uint64_t at, double v)
{
	tg_buf_printf(&s->b, ",\n{\"ph\":\"C\",\"pid\":%d,\"name\":\"%s\",\"ts\":%llu,\"args\":{\"value\":%.4f}}", PID_CORE, name, (unsigned long long)at, v);
}

static void counters(const struct profile *p, struct sink *s)
{
	const struct tg_trace *r = p->trace;
	double length = (double)r->bucket_cycles;
	for (uint32_t i = 0; i < r->n_buckets; i++) {
		const struct tg_trace_bucket *b = &r->bucket[i];
		counter(s, "array busy", i * r->bucket_cycles, (double)b->busy[TG_SLOT_M] / p->chip->n_arrays / length);
		counter(s, "vector ALUs busy", i * r->bucket_cycles, (double)(b->busy[TG_SLOT_V] + b->busy[TG_SLOT_E]) / p->chip->n_alu / length);
		counter(s, "DRAM bytes per cycle", i * r->bucket_cycles, (double)(b->dram_read_bytes + b->dram_written_bytes) / length);
	}
}

/* ---- transfers ---- */

static void transfers(struct tool *t, const struct profile *p, struct sink *s)
{
	const struct tg_trace *r = p->trace;
	size_t *next = tg_alloc_n(t->arena, r->transfers.n + 1, sizeof *next), *last = tg_alloc_n(t->arena, p->chip->dma_queues + 1u, sizeof *last);
	for (size_t i = r->transfers.n; i-- > 0;) { /* of the same queue; 0: none */
		next[i] = last[r->transfers.at[i].queue];
		last[r->transfers.at[i].queue] = i;
	}
	for (size_t i = 0; i < r->transfers.n; i++) {
		const struct tg_trace_transfer *x = &r->transfers.at[i];
		uint64_t end = next[i] && r->transfers.at[next[i]].begin < x->end ? r->transfers.at[next[i]].begin : x->end;
		if (end < x->begin)
			continue;
		slice(t, s, PID_DMA, (int)x->queue + 1, x->dram_read_bytes ? (x->dram_written_bytes ? "copy" : "load") : x->dram_written_bytes ? "store" : "move", x->begin,
		      end);
		json_t *args = json_pack("{s:s s:I s:I s:I s:I s:I}", "stage", stage_name(p, x->prov), "read_bytes", (json_int_t)x->dram_read_bytes, "written_bytes",
					 (json_int_t)x->dram_written_bytes, "sram_bytes", (json_int_t)x->sram_bytes, "issued", (json_int_t)x->issued, "done",
					 (json_int_t)x->end);
		char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;
		if (!text)
			tg_heap_exhausted(t->heap);
		tg_buf_printf(&s->b, ",\"args\":%s}", text);
		free(text);
		json_decref(args);
	}
}

bool profile_trace(struct tool *t, const struct profile *p, const char *path)
{
	struct sink s = { .any = false };
	tg_buf_init(&s.b, t->arena);
	tg_buf_printf(&s.b, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"chip\":\"%s\",\"unit\":\"1 us is one cycle\",\"lost_transfers\":%llu},\"traceEvents\":[\n",
		      p->chip->name, (unsigned long long)p->trace->lost_transfers);
	name_track(&s, PID_CORE, 0, "process_name", "core");
	name_track(&s, PID_DMA, 0, "process_name", "DMA");
	name_track(&s, PID_CORE, TID_STAGES, "thread_name", "stages");
	name_track(&s, PID_CORE, TID_STALLS, "thread_name", "stalls");
	for (int i = 0; i < TG_N_SLOTS; i++)
		name_track(&s, PID_CORE, TID_SLOTS + i, "thread_name", tg_asprintf(t->arena, "slot %s", tg_slot_names[i]));
	for (uint32_t q = 0; q < p->chip->dma_queues; q++)
		name_track(&s, PID_DMA, (int)q + 1, "thread_name", tg_asprintf(t->arena, "queue %u", q));
	stages(t, p, &s, p->total->cycles);
	counters(p, &s);
	transfers(t, p, &s);
	tg_buf_puts(&s.b, "\n]}\n");
	return tg_file_write(&t->diag, path, s.b.at, s.b.n);
}
