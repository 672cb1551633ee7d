/* residency.c: which tensors live in SRAM from the stage that makes them to the last one that reads them.
 *
 * They lie at the top of SRAM, in their DRAM layout; tiles' images lie below. Whoever, in program order, finds enough bytes free throughout its life within a
 * share of SRAM is placed (sram_alloc.h); what finds none stays in DRAM, so that tiles keep room. */
#include "runs.h"
#include "sram_alloc.h"

#include <string.h>

enum { ALIGN = 64, SHARE = 9, SHARE_OF = 16 }; /* residents have at most SHARE / SHARE_OF of SRAM: most of what is left must hold tiles */

enum { SEARCH_NODES = 20000, TRIES = 4, TRIES_OF = 16 }; /* each try takes a sixteenth less */

/* padded: bytes with a margin, 0: it has none. bytes: what it gets, 0: it stays in DRAM; at: where; item: its number among those placed. */
struct resident { uint32_t storage, first, last, item; uint64_t plain, padded, bytes, at; bool partial; };

static bool is_gathered(const struct tg_stage *s, uint32_t in)
{
	for (uint32_t k = 0; k < s->ins[in].map.rank; k++)
		if (s->ins[in].map.index[k].gather >= 0)
			return true;
	return false;
}

/* What the host, or somebody outside, writes or reads; and what is gathered: one transfer may read a row of it any number of times, and in SRAM the
 * chip counts readers of a byte up to 126. */
static void mark_outsiders(const struct driver *dr, bool *outside)
{
	for (uint32_t v = 1; v < dr->m->values.n; v++)
		if (tg_const_of(dr->m, (tg_val){ v }))
			outside[dr->storage[v]] = true;
	for (size_t i = 0; i < dr->m->inputs.n; i++)
		outside[dr->storage[dr->m->inputs.at[i].value.id]] = true;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		if (op->code == TG_TILE_words || (op->code == TG_TILE_stage && dr->host[i])) {
			for (uint32_t k = 0; k < op->n_in; k++)
				outside[dr->storage[op->in[k].id]] = true;
			outside[dr->storage[op->out[0].id]] = true;
		}
		const struct tg_stage *s = op->code == TG_TILE_stage ? op->attrs[TG_AT(tile_stage, body)].stage : NULL;
		for (uint32_t k = 0; s && k < s->n_ins; k++)
			outside[dr->storage[op->in[k].id]] |= is_gathered(s, k);
	}
}

/* Outputs that stages read again lie in SRAM for those, and are copied to DRAM once their last writer is done; the others gain nothing. */
static void mark_outputs(struct driver *dr, bool *outside)
{
	uint32_t *writer = tg_alloc_n(dr->a, dr->m->values.n, sizeof *writer), *reader = tg_alloc_n(dr->a, dr->m->values.n, sizeof *reader);
	dr->flushed = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *dr->flushed);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		if (dr->ops[i]->code != TG_TILE_stage)
			continue;
		writer[dr->storage[dr->ops[i]->out[0].id]] = i;
		for (uint32_t k = 0; k < dr->ops[i]->n_in; k++)
			reader[dr->storage[dr->ops[i]->in[k].id]] = i;
	}
	for (size_t i = 0; i < dr->m->outputs.n; i++) {
		uint32_t s = dr->storage[dr->m->outputs.at[i].value.id];
		if (reader[s] <= writer[s] || run_of(dr, writer[s])) /* a copy would follow each part */
			outside[s] = true;
		else if (!outside[s])
			dr->flushed[writer[s]] = s;
	}
}

static uint64_t bytes_of(const struct driver *dr, uint32_t v)
{
	size_t bytes = 0;
	if (!tg_shape_bytes(&dr->m->values.at[v].shape, dr->m->values.at[v].dtype, &bytes))
		return UINT64_MAX / 2;
	return ((uint64_t)bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

/* Every tensor that may live in SRAM, in the order of their first writers. */
static uint32_t list_candidates(struct driver *dr, const bool *outside, const uint32_t *last, struct resident *r)
{
	bool *tried = tg_alloc_n(dr->a, dr->m->values.n, sizeof *tried);
	uint32_t n = 0;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		uint32_t s = op->n_out ? dr->storage[op->out[0].id] : 0;
		if (!s || op->code != TG_TILE_stage) /* `empty` only names what stages will write */
			continue;
		if (!outside[s] && !tried[s] && bytes_of(dr, s)) {
			r[n++] = (struct resident){ .storage = s, .first = run_first(dr, i, op->out[0]), .last = last[s] > i ? last[s] : i, .plain = bytes_of(dr, s), .partial = dr->partial[op->out[0].id] };
			if (dr->margin[s]) {
				dr->margin[s]->writer = i;
				r[n - 1].padded = dr->margin[s]->bytes;
			}
		}
		tried[s] = true;
	}
	return n;
}

static bool has_room(const uint64_t *load, const struct resident *r, uint64_t bytes, uint64_t capacity)
{
	for (uint32_t i = r->first; i <= r->last; i++)
		if (bytes > capacity || load[i] > capacity - bytes)
			return false;
	return true;
}

/* Whoever finds enough bytes free throughout its life, with its margin if possible. */
static void take(struct resident *r, uint64_t *load, uint64_t capacity)
{
	r->bytes = r->padded && has_room(load, r, r->padded, capacity) ? r->padded : has_room(load, r, r->plain, capacity) ? r->plain : 0;
	for (uint32_t i = r->first; i <= r->last && r->bytes; i++)
		load[i] += r->bytes;
}

/* First what lies between the stages of a run, which were put together for its sake, then the others, in program order. Returns how many. */
static uint32_t accept(struct driver *dr, struct resident *r, uint32_t n, uint64_t capacity, struct tg_sram_item *items)
{
	uint64_t *load = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *load);
	uint32_t taken = 0;
	for (uint32_t k = 0; k < n; k++)
		if (r[k].partial)
			take(&r[k], load, capacity);
	for (uint32_t k = 0; k < n; k++) {
		if (!r[k].partial)
			take(&r[k], load, capacity);
		r[k].item = taken;
		if (r[k].bytes)
			items[taken++] = (struct tg_sram_item){ .lower = r[k].first, .upper = (int64_t)r[k].last + 1, .size = (int64_t)r[k].bytes, .alignment = ALIGN };
	}
	return taken;
}

/* In program order each at the lowest offset that is free: what lives side by side lies close together. False when one sticks out. */
static bool first_fit(struct driver *dr, struct tg_sram_item *items, uint32_t n, uint64_t capacity)
{
	struct tg_sram_item **alive = tg_alloc_n(dr->a, n + 1, sizeof(struct tg_sram_item *)); /* by ascending offset */
	uint32_t n_alive = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t kept = 0, where = 0;
		int64_t at = 0;
		for (uint32_t k = 0; k < n_alive; k++)
			if (alive[k]->upper > items[i].lower)
				alive[kept++] = alive[k];
		n_alive = kept;
		for (; where < n_alive && alive[where]->offset < at + items[i].size; where++)
			at = alive[where]->offset + alive[where]->size;
		if ((uint64_t)(at + items[i].size) > capacity)
			return false;
		items[i].offset = at;
		for (uint32_t k = n_alive++; k > where; k--)
			alive[k] = alive[k - 1];
		alive[where] = &items[i];
	}
	return true;
}

/* Bytes that a placement takes from tiles, over all ops: up to the highest resident alive. */
static double taken_from_tiles(struct driver *dr, const struct tg_sram_item *items, uint32_t n)
{
	int64_t *peak = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *peak);
	double sum = 0;
	for (uint32_t k = 0; k < n; k++)
		for (int64_t i = items[k].lower; i < items[k].upper; i++)
			peak[i] = items[k].offset + items[k].size > peak[i] ? items[k].offset + items[k].size : peak[i];
	for (uint32_t i = 0; i < dr->n_ops; i++)
		sum += (double)peak[i];
	return sum;
}

/* Places within the capacity, or false. Of two placements the one that leaves tiles more room. */
static bool place_all(struct driver *dr, struct tg_sram_item *items, uint32_t n, uint64_t capacity)
{
	struct tg_sram_item *other = tg_alloc_n(dr->a, n + 1, sizeof *other);
	struct tg_sram_options o = { .capacity = (int64_t)capacity, .max_nodes = SEARCH_NODES };
	struct tg_sram_stats stats;
	memcpy(other, items, n * sizeof *other);
	bool fits = first_fit(dr, other, n, capacity), found = tg_sram_alloc(dr->a, items, n, &o, &stats) == TG_SRAM_FITS;
	if (fits && (!found || taken_from_tiles(dr, other, n) <= taken_from_tiles(dr, items, n)))
		memcpy(items, other, n * sizeof *items);
	return fits || found;
}

/* Bytes from the top of SRAM. The more of the capacity is taken at one time, the harder it is to place; what sticks out in the end stays in DRAM. */
static void place(struct driver *dr, struct resident *r, uint32_t n, uint64_t capacity)
{
	struct tg_sram_item *items = tg_alloc_n(dr->a, n + 1, sizeof *items);
	for (uint32_t slack = 0; slack < TRIES; slack++)
		if (place_all(dr, items, accept(dr, r, n, capacity / TRIES_OF * (TRIES_OF - slack), items), capacity))
			break;
	for (uint32_t k = 0; k < n; k++) {
		if (!r[k].bytes)
			continue;
		uint64_t end = (uint64_t)items[r[k].item].offset + r[k].bytes;
		r[k].bytes = end <= capacity ? r[k].bytes : 0;
		r[k].at = dr->chip->sram_bytes - end;
	}
}

void driver_reside(struct driver *dr)
{
	size_t n_values = dr->m->values.n;
	uint32_t *last = tg_alloc_n(dr->a, n_values, sizeof *last);
	bool *outside = tg_alloc_n(dr->a, n_values, sizeof *outside);
	struct resident *r = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *r);
	uint64_t capacity = dr->options->no_residency ? 0 : dr->chip->sram_bytes / SHARE_OF * SHARE;
	dr->home = tg_alloc_n(dr->a, n_values, sizeof *dr->home);
	dr->limit = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *dr->limit);
	mark_outsiders(dr, outside);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		dr->limit[i] = dr->chip->sram_bytes;
		for (uint32_t k = 0; k < dr->ops[i]->n_in; k++)
			last[dr->storage[dr->ops[i]->in[k].id]] = run_last(dr, i, dr->ops[i]->in[k]);
	}
	mark_outputs(dr, outside);
	driver_margins(dr, outside);
	uint32_t n = list_candidates(dr, outside, last, r);
	place(dr, r, n, capacity);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t s = r[k].storage;
		struct margin *m = dr->margin[s];
		if (r[k].bytes != r[k].padded || !r[k].bytes)
			m = dr->margin[s] = NULL;
		if (r[k].bytes)
			dr->home[s] = r[k].at + (m ? margin_before(&dr->m->values.at[s], m) : 0);
		for (uint32_t i = r[k].first; i <= r[k].last && r[k].bytes; i++)
			dr->limit[i] = r[k].at < dr->limit[i] ? r[k].at : dr->limit[i];
	}
	for (uint32_t v = 1; v < n_values; v++)
		dr->home[v] = dr->home[dr->storage[v]];
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->flushed[i] && !dr->home[dr->flushed[i]])
			dr->flushed[i] = 0;
	dr->last_use = last;
}
