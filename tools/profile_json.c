/* profile_json.c: the profile as JSON. docs/profile.md has the schema. */
#include "profile.h"

#include <string.h>

static void put_int(json_t *o, const char *key, uint64_t v)
{
	put(o, key, json_integer((json_int_t)v));
}

static json_t *shares(const struct profile_shares *s)
{
	json_t *o = json_object();
	put(o, "array", json_real(s->array));
	put(o, "vector", json_real(s->vector));
	put(o, "cross_lane", json_real(s->cross_lane));
	put(o, "load", json_real(s->load));
	put(o, "store", json_real(s->store));
	put(o, "scalar", json_real(s->scalar));
	put(o, "dram", json_real(s->dram));
	put(o, "stall_dma_wait", json_real(s->wait));
	put(o, "stall_dma_full", json_real(s->full));
	put(o, "stall_fetch", json_real(s->fetch));
	return o;
}

static json_t *energies(const struct tg_chip *c, const struct tg_counters *n)
{
	json_t *o = json_object();
	double pj[N_ENERGIES];
	profile_energy(c, n, pj);
	for (int i = 0; i < N_ENERGIES; i++)
		put(o, profile_energy_names[i], json_real(pj[i]));
	return o;
}

/* A set's text "Conv_5 (Conv), Relu_6 (Relu)" as nodes; their operators joined, each once, say what kind of stage it is. A name may hold anything but a quote. */
static json_t *nodes_of(struct tool *t, const char *text, const char **kind)
{
	json_t *list = json_array();
	struct tg_buf ops;
	tg_buf_init(&ops, t->arena);
	tg_buf_puts(&ops, "");
	for (const char *at = text; *at;) {
		const char *end = strstr(at, "), ");
		size_t n = end ? (size_t)(end + 1 - at) : strlen(at);
		const char *one = tg_strndup(t->arena, at, n), *open = strrchr(one, '(');
		json_array_append_new(list, json_string(one));
		if (open && one[n - 1] == ')') {
			const char *op = tg_strndup(t->arena, open + 1, n - (size_t)(open + 1 - one) - 1), *have = ops.at;
			size_t length = strlen(op);
			while ((have = strstr(have, op)) && ((have != ops.at && have[-1] != '+') || (have[length] && have[length] != '+')))
				have++;
			if (!have)
				tg_buf_printf(&ops, "%s%s", ops.n ? "+" : "", op);
		}
		at += n + (end ? 2 : 0);
	}
	*kind = ops.at;
	return list;
}

/* Stages of one kind together. */
static void add_kind(json_t *kinds, const char *kind, const struct tg_counters *c)
{
	json_t *o = json_object_get(kinds, *kind ? kind : "-");
	if (!o) {
		o = json_pack("{s:i s:i s:i s:f}", "stages", 0, "cycles", 0, "macs", 0, "energy_pj", 0.0);
		put(kinds, *kind ? kind : "-", o);
	}
	put(o, "stages", json_integer(json_integer_value(json_object_get(o, "stages")) + 1));
	put(o, "cycles", json_integer(json_integer_value(json_object_get(o, "cycles")) + (json_int_t)c->cycles));
	put(o, "macs", json_integer(json_integer_value(json_object_get(o, "macs")) + (json_int_t)profile_macs_run(c)));
	put(o, "energy_pj", json_real(json_real_value(json_object_get(o, "energy_pj")) + c->energy_pj));
}

static bool is_loop(const json_t *o, const struct tg_loop_note *l)
{
	const struct { const char *key; uint64_t value; } rows[] = { { "interval", l->interval }, { "least", l->least }, { "stages", l->stages }, { "copies", l->copies }, { "trips", l->trips } };
	for (size_t i = 0; i < TG_ARRAY_LEN(rows); i++)
		if ((uint64_t)json_integer_value(json_object_get(o, rows[i].key)) != rows[i].value)
			return false;
	return true;
}

/* A stage's software pipelines; equal ones once, with their number. */
static void add_loop(json_t *list, const struct tg_loop_note *l)
{
	size_t i;
	json_t *o;
	json_array_foreach(list, i, o) {
		if (is_loop(o, l)) {
			put(o, "count", json_integer(json_integer_value(json_object_get(o, "count")) + 1));
			return;
		}
	}
	json_array_append_new(list, json_pack("{s:I s:I s:I s:I s:I s:i}", "interval", (json_int_t)l->interval, "least", (json_int_t)l->least, "stages", (json_int_t)l->stages,
					      "copies", (json_int_t)l->copies, "trips", (json_int_t)l->trips, "count", 1));
}

static json_t *stage(struct tool *t, const struct profile *p, size_t i, json_t *kinds)
{
	const struct tg_counters *c = &p->stage[i];
	struct profile_shares s = profile_shares(p->chip, c);
	uint64_t macs = profile_macs_run(c), bytes = c->dram_read_bytes + c->dram_written_bytes;
	json_t *o = json_object();
	const char *kind;
	put_int(o, "id", i);
	put(o, "nodes", nodes_of(t, i < p->exe->provs.n ? p->exe->provs.at[i] : "", &kind));
	put(o, "kind", json_string(kind));
	add_kind(kinds, kind, c);
	put_int(o, "cycles", c->cycles);
	put_int(o, "predicted_cycles", p->predicted[i]);
	put(o, "loops", json_array());
	put_int(o, "bundles", c->bundles);
	put_int(o, "macs", macs);
	put_int(o, "dram_read_bytes", c->dram_read_bytes);
	put_int(o, "dram_written_bytes", c->dram_written_bytes);
	put_int(o, "dma_transfers", c->dma_transfers);
	put_int(o, "stall_dma_wait", c->stall_dma_wait);
	put_int(o, "stall_dma_full", c->stall_dma_full);
	put_int(o, "stall_fetch", c->stall_fetch);
	put(o, "shares", shares(&s));
	put(o, "limit", json_string(profile_limit(&s)));
	put(o, "macs_per_cycle", json_real(c->cycles ? (double)macs / (double)c->cycles : 0));
	put(o, "macs_per_byte", bytes ? json_real((double)macs / (double)bytes) : json_null());
	put(o, "energy_pj", json_real(c->energy_pj));
	return o;
}

/* Every ONNX node with the stages that it is part of. A stage's cycles count for each of its nodes; `alone` says that nobody shares them. */
static json_t *nodes(const json_t *stages)
{
	json_t *o = json_object(), *one, *name;
	size_t i, k;
	json_array_foreach((json_t *)(uintptr_t)stages, i, one) {
		json_t *list = json_object_get(one, "nodes");
		json_array_foreach(list, k, name) {
			json_t *n = json_object_get(o, json_string_value(name));
			if (!n) {
				n = json_pack("{s:[] s:i s:b}", "stages", "cycles", 0, "alone", 1);
				put(o, json_string_value(name), n);
			}
			json_array_append(json_object_get(n, "stages"), json_object_get(one, "id"));
			put(n, "cycles", json_integer(json_integer_value(json_object_get(n, "cycles")) + json_integer_value(json_object_get(one, "cycles"))));
			if (json_array_size(list) > 1)
				put(n, "alone", json_false());
		}
	}
	return o;
}

/* One list for each series, a number for each bucket. */
static json_t *timeline(const struct profile *p)
{
	const struct tg_trace *t = p->trace;
	json_t *o = json_object(), *stages = json_array(), *busy[TG_N_SLOTS], *issued = json_array();
	static const struct { const char *name; size_t offset; } series[] = {
		{ "stall_dma_wait", offsetof(struct tg_trace_bucket, stall_dma_wait) },   { "stall_dma_full", offsetof(struct tg_trace_bucket, stall_dma_full) },
		{ "stall_fetch", offsetof(struct tg_trace_bucket, stall_fetch) },         { "dram_read_bytes", offsetof(struct tg_trace_bucket, dram_read_bytes) },
		{ "dram_written_bytes", offsetof(struct tg_trace_bucket, dram_written_bytes) },
	};
	for (size_t k = 0; k < TG_ARRAY_LEN(series); k++) {
		json_t *list = json_array();
		for (uint32_t i = 0; i < t->n_buckets; i++)
			json_array_append_new(list, json_integer((json_int_t) * (const uint64_t *)(const void *)((const char *)&t->bucket[i] + series[k].offset)));
		put(o, series[k].name, list);
	}
	for (int k = 0; k < TG_N_SLOTS; k++)
		busy[k] = json_array();
	for (uint32_t i = 0; i < t->n_buckets; i++) {
		json_array_append_new(stages, json_integer(t->bucket[i].prov < p->exe->provs.n ? (json_int_t)t->bucket[i].prov : -1));
		json_array_append_new(issued, json_integer((json_int_t)t->bucket[i].issued));
		for (int k = 0; k < TG_N_SLOTS; k++)
			json_array_append_new(busy[k], json_integer((json_int_t)t->bucket[i].busy[k]));
	}
	json_t *slots = json_object();
	for (int k = 0; k < TG_N_SLOTS; k++)
		put(slots, tg_slot_names[k], busy[k]);
	put(o, "busy", slots);
	put(o, "stage", stages);
	put(o, "issued", issued);
	put_int(o, "bucket_cycles", t->bucket_cycles);
	return o;
}

/* When a buffer is in use: from the first to the last run of the code that the debug map names for it. */
static bool lifetime(const struct tg_trace *t, const struct tg_sram_buffer *b, uint64_t *from, uint64_t *to)
{
	*from = UINT64_MAX;
	*to = 0;
	for (uint32_t w = b->first_word; w < b->end_word && w < t->n_words; w++) {
		if (t->first[w] > t->last[w])
			continue;
		*from = t->first[w] < *from ? t->first[w] : *from;
		*to = t->last[w] > *to ? t->last[w] : *to;
	}
	return *from < *to;
}

static json_t *sram(const struct profile *p)
{
	json_t *o = json_object(), *list = json_array();
	uint64_t top = 0;
	for (size_t i = 0; i < p->exe->buffers.n; i++) {
		const struct tg_sram_buffer *b = &p->exe->buffers.at[i];
		uint64_t from, to;
		if (!lifetime(p->trace, b, &from, &to))
			continue;
		json_t *one = json_object();
		put(one, "name", json_string(b->name));
		put(one, "stage", json_integer(profile_stage_at(p->exe, b->first_word)));
		put_int(one, "address", b->sram);
		put_int(one, "bytes", b->bytes);
		put_int(one, "from", from);
		put_int(one, "to", to);
		json_array_append_new(list, one);
		top = b->sram + b->bytes > top ? b->sram + b->bytes : top;
	}
	put_int(o, "bytes", p->chip->sram_bytes);
	put_int(o, "top", top);
	put(o, "buffers", list);
	return o;
}

static json_t *roofline(const struct profile *p)
{
	static const char *const types[TG_N_ARRAY_TYPES] = { "f32", "bf16", "f16", "e4m3", "e5m2", "i8", "u8" };
	json_t *o = json_object();
	put(o, "type", json_string(types[p->type]));
	put(o, "macs_per_cycle", json_real(p->peak));
	put_int(o, "bytes_per_cycle", p->chip->dram_bytes_per_cycle);
	put_int(o, "macs", p->macs);
	put_int(o, "min_dram_bytes", p->min_bytes);
	put_int(o, "array_cycles", p->array_cycles);
	put_int(o, "dram_cycles", p->dram_cycles);
	put(o, "efficiency", json_real(profile_efficiency(p)));
	return o;
}

void profile_json(struct tool *t, const struct profile *p, json_t *report)
{
	struct profile_shares s = profile_shares(p->chip, p->total);
	json_t *stages = json_array(), *kinds = json_object();
	json_t **loops = tg_alloc_n(t->arena, p->exe->provs.n + 1, sizeof(json_t *));
	for (size_t i = 0; i <= p->exe->provs.n; i++) {
		if (!p->stage[i].cycles && !p->stage[i].bundles)
			continue;
		json_t *one = stage(t, p, i, kinds);
		loops[i] = json_object_get(one, "loops");
		json_array_append_new(stages, one);
	}
	for (size_t i = 0; i < p->exe->loops.n; i++) {
		int64_t at = profile_stage_at(p->exe, p->exe->loops.at[i].word);
		if (at >= 0 && loops[at])
			add_loop(loops[at], &p->exe->loops.at[i]);
	}
	put(report, "chip", json_string(p->chip->name));
	put_int(report, "clock_khz", p->chip->clock_khz);
	put(report, "model", json_string(tg_quoted(t->arena, t->args.at[0])));
	put(report, "placement", json_string(tg_placement(p->exe)));
	put(report, "counters", json_counters(p->total));
	put(report, "shares", shares(&s));
	put(report, "limit", json_string(profile_limit(&s)));
	put(report, "energy_pj", energies(p->chip, p->total));
	put(report, "roofline", roofline(p));
	put(report, "units", json_pack("{s:i s:i s:i s:i}", "arrays", (int)p->chip->n_arrays, "alu", (int)p->chip->n_alu, "load", (int)p->chip->n_load, "queues",
				     (int)p->chip->dma_queues));
	put(report, "stages", stages);
	put(report, "kinds", kinds);
	put(report, "nodes", nodes(stages));
	put(report, "timeline", timeline(p));
	put(report, "sram", sram(p));
	put_int(report, "transfers_recorded", p->trace->transfers.n);
	put_int(report, "transfers_lost", p->trace->lost_transfers);
}
