/* dram.c: a place in DRAM for every tensor, and the executable's initial data. */
#include "runs.h"

#include <string.h>

enum { ALIGN = 64 };

static uint32_t root(struct driver *dr, uint32_t v)
{
	while (dr->storage[v] != v)
		v = dr->storage[v];
	return v;
}

void driver_storage(struct driver *dr)
{
	for (uint32_t i = 0; i < dr->m->values.n; i++)
		dr->storage[i] = i;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		tg_val from = { 0 };
		if (op->code == TG_TILE_view || op->code == TG_TILE_words)
			from = op->in[0];
		if (op->code == TG_TILE_stage && op->attrs[TG_AT(tile_stage, into)].i)
			from = op->in[op->n_in - 1];
		if (!tg_has(from))
			continue;
		uint32_t r = root(dr, from.id);
		dr->storage[op->out[0].id] = r;
		dr->shared[r] = true;
	}
}

static uint64_t bytes_of(const struct driver *dr, uint32_t v)
{
	size_t bytes = 0;
	tg_shape_bytes(&dr->m->values.at[v].shape, dr->m->values.at[v].dtype, &bytes);
	return (bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

struct live { uint64_t at, bytes; uint32_t last; };

/* Lowest offset at which `bytes` fit between the tensors that are alive (kept in ascending order). */
static uint64_t first_fit(struct tg_arena *a, struct live **list, size_t *n, size_t *cap, uint32_t now, uint64_t bytes, uint32_t last)
{
	size_t kept = 0, where = 0;
	uint64_t at = 0;
	bool found = false;
	for (size_t i = 0; i < *n; i++)
		if ((*list)[i].last >= now)
			(*list)[kept++] = (*list)[i];
	*n = kept;
	for (size_t i = 0; i < kept && !found; i++) {
		if ((*list)[i].at >= at + bytes) {
			found = true;
			where = i;
		} else {
			at = (*list)[i].at + (*list)[i].bytes;
			where = i + 1;
		}
	}
	*list = tg_vec_room(a, *list, *n, cap, sizeof **list);
	memmove(&(*list)[where + 1], &(*list)[where], (*n - where) * sizeof **list);
	(*list)[where] = (struct live){ at, bytes, last };
	(*n)++;
	return at;
}

static void last_uses(const struct driver *dr, uint32_t *last)
{
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		for (uint32_t k = 0; k < dr->ops[i]->n_in; k++)
			last[dr->storage[dr->ops[i]->in[k].id]] = run_last(dr, i, dr->ops[i]->in[k]);
		for (uint32_t k = 0; k < dr->ops[i]->n_out; k++)
			last[dr->storage[dr->ops[i]->out[k].id]] = run_last(dr, i, dr->ops[i]->out[k]);
	}
	for (size_t i = 0; i < dr->m->outputs.n; i++)
		last[dr->storage[dr->m->outputs.at[i].value.id]] = dr->n_ops;
}

/* Behind what has a place already, in ascending order. */
static void put(struct driver *dr, uint32_t v, bool *placed, uint64_t *top)
{
	uint32_t s = dr->storage[v];
	if (placed[s])
		return;
	dr->dram[s] = *top;
	placed[s] = true;
	*top += bytes_of(dr, s);
}

/* Inputs lie first and keep their place throughout; constants behind them; what is computed shares the rest by lifetime. */
bool driver_place(struct driver *dr)
{
	uint32_t *last = tg_alloc_n(dr->a, dr->m->values.n, sizeof *last);
	bool *placed = tg_alloc_n(dr->a, dr->m->values.n, sizeof *placed);
	uint64_t top = 0;
	last_uses(dr, last);
	for (size_t i = 0; i < dr->m->inputs.n; i++)
		put(dr, dr->m->inputs.at[i].value.id, placed, &top);
	for (uint32_t i = 0; i < dr->n_ops; i++) /* in the order of the text, whatever number a pass has given to a constant */
		if (dr->ops[i]->code == TG_TILE_data && dr->in_dram[dr->ops[i]->out[0].id])
			put(dr, dr->ops[i]->out[0].id, placed, &top);
	struct live *list = NULL;
	size_t n = 0, cap = 0;
	uint64_t high = 0;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		uint32_t made[2] = { run_begins(dr, i) ? run_result(dr, i).id : 0, op->n_out ? op->out[0].id : 0 }; /* a run's result is there from its beginning */
		for (uint32_t k = 0; k < 2; k++) {
			uint32_t s = dr->storage[made[k]];
			if (!s || placed[s] || op->code == TG_TILE_data)
				continue;
			uint64_t bytes = bytes_of(dr, s), at = first_fit(dr->a, &list, &n, &cap, i, bytes, last[s]);
			dr->dram[s] = top + at;
			placed[s] = true;
			high = at + bytes > high ? at + bytes : high;
		}
	}
	for (uint32_t v = 1; v < dr->m->values.n; v++)
		dr->dram[v] = dr->dram[dr->storage[v]];
	dr->dram_top = top + high;
	if (dr->dram_top > dr->chip->dram_bytes)
		return tg_limit(dr->d, tg_at_file(dr->m->source), "the model needs %llu bytes of DRAM, chip %s has %llu", (unsigned long long)dr->dram_top,
				dr->chip->name, (unsigned long long)dr->chip->dram_bytes);
	return true;
}

/* Elements of a constant, which begins at entry `first` of dimension `axis` of the whole, go where the whole's layout has them: a line of the layout's innermost
 * dimension at a time. */
static void lay_part(const struct tg_value *v, const struct tg_const *c, uint32_t axis, int64_t first, char *out)
{
	uint32_t rank = v->shape.rank, es = tg_dtypes[c->dtype].bits / 8, to = tg_dtypes[v->dtype].bits / 8, inner = rank ? v->layout[rank - 1] : 0;
	bool narrows = c->dtype != (enum tg_dtype)v->dtype, splat = c->kind == TG_CONST_SPLAT; /* f32 values of a narrower constant */
	int64_t from_step[TG_MAX_RANK], to_step[TG_MAX_RANK], at[TG_MAX_RANK] = { 0 }, lines = 1, s = 1, from = 0, where;
	for (uint32_t i = rank; i-- > 0; s *= c->shape.dim[i])
		from_step[i] = splat ? 0 : s;
	s = 1;
	for (uint32_t i = rank; i-- > 0; s *= v->shape.dim[v->layout[i]])
		to_step[v->layout[i]] = s;
	for (uint32_t i = 0; i + 1 < rank; i++)
		lines *= c->shape.dim[v->layout[i]];
	where = rank ? first * to_step[axis] : 0;
	for (int64_t line = 0; line < lines; line++) {
		int64_t n = rank ? c->shape.dim[inner] : 1, step = rank ? from_step[inner] : 1, piece = step == 1 ? n : 1;
		for (int64_t i = 0; i < n; i += piece) {
			const char *p = (const char *)c->data + (from + i * step) * es;
			if (narrows)
				tg_narrow_f32((enum tg_dtype)v->dtype, out + (where + i) * to, p, (size_t)piece);
			else
				memcpy(out + (where + i) * to, p, (size_t)piece * es);
		}
		for (uint32_t k = rank ? rank - 1 : 0; k-- > 0;) {
			uint32_t d = v->layout[k];
			from += from_step[d];
			where += to_step[d];
			if (++at[d] < c->shape.dim[d])
				break;
			from -= from_step[d] * at[d];
			where -= to_step[d] * at[d];
			at[d] = 0;
		}
	}
}

/* Row-major data, or parts, in the order of the layout. */
static const void *relaid(struct driver *dr, const struct tg_value *v, const struct tg_const *c)
{
	bool same = c->kind == TG_CONST_DENSE && c->dtype == (enum tg_dtype)v->dtype;
	size_t bytes = 0;
	for (uint32_t i = 0; i < v->shape.rank; i++)
		same &= v->layout[i] == i;
	if (same || tg_dtypes[c->dtype].bits < 8 || !tg_shape_bytes(&v->shape, (enum tg_dtype)v->dtype, &bytes))
		return c->data;
	char *out = tg_alloc(dr->a, bytes);
	int64_t first = 0;
	if (c->kind != TG_CONST_PARTS)
		lay_part(v, c, 0, 0, out);
	for (uint32_t i = 0; c->kind == TG_CONST_PARTS && i < c->n_parts; i++) {
		lay_part(v, c->parts[i], c->axis, first, out);
		first += c->parts[i]->shape.dim[c->axis];
	}
	return out;
}

bool driver_segments(struct driver *dr)
{
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		if (op->code != TG_TILE_data || !dr->in_dram[op->out[0].id])
			continue;
		const struct tg_value *v = tg_value_get(dr->m, op->out[0]);
		const struct tg_const *c = tg_const_of(dr->m, op->out[0]);
		size_t bytes;
		if (!tg_shape_bytes(&v->shape, v->dtype, &bytes) || bytes == 0)
			continue;
		struct tg_segment s = { .dram = dr->dram[op->out[0].id], .bytes = bytes };
		if (c->kind == TG_CONST_SPLAT) {
			s.fill_bytes = tg_dtypes[c->dtype].bits / 8;
			memcpy(&s.fill, c->data, s.fill_bytes);
		} else {
			s.data = relaid(dr, v, c);
		}
		*TG_PUSH(dr->a, &dr->x->segments) = s;
	}
	return true;
}
