/* residency.c: which tensors live in SRAM from the stage that makes them to the last one that reads them.
 *
 * They lie at the top of SRAM, in their DRAM layout; tiles' images lie below. In program order each takes the first gap between those alive (first fit
 * by lifetime), within a share of SRAM, so that tiles keep room; what finds none stays in DRAM. */
#include "driver.h"

enum { ALIGN = 64, SHARE = 9, SHARE_OF = 16 }; /* residents have at most SHARE / SHARE_OF of SRAM: most of what is left must hold tiles */

struct resident { uint64_t at, bytes; uint32_t last; };

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
		if (reader[s] <= writer[s])
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

/* Lowest offset with `bytes` free among the residents alive, which are in ascending order; kept in that order. */
static bool first_gap(struct resident *list, uint32_t *n, uint64_t bytes, uint64_t capacity, uint32_t last, uint64_t *at)
{
	uint32_t where = 0;
	*at = 0;
	for (; where < *n && list[where].at < *at + bytes; where++)
		*at = list[where].at + list[where].bytes;
	if (bytes > capacity || *at > capacity - bytes)
		return false;
	for (uint32_t i = (*n)++; i > where; i--)
		list[i] = list[i - 1];
	list[where] = (struct resident){ *at, bytes, last };
	return true;
}

void driver_reside(struct driver *dr)
{
	size_t n_values = dr->m->values.n;
	uint32_t *last = tg_alloc_n(dr->a, n_values, sizeof *last), n = 0;
	bool *outside = tg_alloc_n(dr->a, n_values, sizeof *outside), *tried = tg_alloc_n(dr->a, n_values, sizeof *tried);
	struct resident *list = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *list);
	uint64_t capacity = dr->options->no_residency ? 0 : dr->chip->sram_bytes / SHARE_OF * SHARE;
	dr->home = tg_alloc_n(dr->a, n_values, sizeof *dr->home);
	dr->limit = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *dr->limit);
	mark_outsiders(dr, outside);
	for (uint32_t i = 0; i < dr->n_ops; i++)
		for (uint32_t k = 0; k < dr->ops[i]->n_in; k++)
			last[dr->storage[dr->ops[i]->in[k].id]] = i;
	mark_outputs(dr, outside);
	driver_margins(dr, outside);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		uint32_t kept = 0, s = op->n_out ? dr->storage[op->out[0].id] : 0;
		uint64_t at;
		for (uint32_t k = 0; k < n; k++)
			if (list[k].last >= i)
				list[kept++] = list[k];
		n = kept;
		if (s && op->code == TG_TILE_stage && !outside[s] && !tried[s] && bytes_of(dr, s)) {
			uint32_t until = last[s] > i ? last[s] : i;
			struct margin *m = dr->margin[s];
			if (m && first_gap(list, &n, m->bytes, capacity, until, &at)) {
				m->writer = i;
				dr->home[s] = dr->chip->sram_bytes - at - m->bytes + margin_before(&dr->m->values.at[s], m);
			} else {
				dr->margin[s] = NULL;
				if (first_gap(list, &n, bytes_of(dr, s), capacity, until, &at))
					dr->home[s] = dr->chip->sram_bytes - at - bytes_of(dr, s);
			}
		}
		tried[s] |= op->code == TG_TILE_stage; /* `empty` only names what stages will write */
		dr->limit[i] = dr->chip->sram_bytes;
		for (uint32_t k = 0; k < n; k++)
			if (dr->chip->sram_bytes - list[k].at - list[k].bytes < dr->limit[i])
				dr->limit[i] = dr->chip->sram_bytes - list[k].at - list[k].bytes;
	}
	for (uint32_t v = 1; v < n_values; v++)
		dr->home[v] = dr->home[dr->storage[v]];
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->flushed[i] && !dr->home[dr->flushed[i]])
			dr->flushed[i] = 0;
	dr->last_use = last;
}
