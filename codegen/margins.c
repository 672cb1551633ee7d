/* margins.c: room around tensors that live in SRAM, so that a window which leaves the tensor reads its padding there.
 *
 *   . . . . . .      a convolution's input of 4 x 4 pixels, padded by one: the stage that makes it writes the inside, transfers write what pads it
 *   . x x x x .      beside that stage's work, and every stage that reads it works on it where it lies: no image is made of it, nothing is moved.
 *   . x x x x .
 *   . x x x x .
 *   . x x x x .
 *   . . . . . .
 *
 * A margin is as wide as the readers' indices reach, and holds the fill value on which they agree. The innermost dimension has none: lanes lie side by
 * side. Rows of a padded tensor do not follow each other, so whoever writes it must fill the sublanes along one of its dimensions. */
#include "runs.h"

#include <string.h>

enum { MOST_GROWTH = 2 }; /* a tensor may become so many times as large */

static const struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

static int64_t wider(int64_t a, int64_t b) { return a > b ? a : b; }

/* What a reader needs beyond what is asked for so far. */
static void ask(struct driver *dr, const struct tg_stage *s, uint32_t in, tg_val v)
{
	const struct tg_value *val = tg_value_get(dr->m, v);
	uint32_t id = dr->storage[v.id];
	if (plan_asks_inside(s, in))
		return;
	struct margin *m = dr->margin[id], wanted = { .fill = s->ins[in].fill, .asked = true };
	if (m && m->asked && m->fill != wanted.fill)
		return; /* the first one's is there; this reader has an image as before */
	for (uint32_t d = 0; d < val->shape.rank; d++) {
		int64_t lo, hi, most = val->shape.dim[d];
		const struct tg_index *x = &s->ins[in].map.index[d];
		if (x->div != 1 || x->mod != 0 || x->gather >= 0 || !tg_index_affine_range(s, x, &lo, &hi) || lo < -most || hi > 2 * most)
			return;
		wanted.lo[d] = wider(lo < 0 ? -lo : 0, m ? m->lo[d] : 0);
		wanted.hi[d] = wider(hi >= most ? hi - most + 1 : 0, m ? m->hi[d] : 0);
	}
	if (!m)
		m = dr->margin[id] = tg_alloc(dr->a, sizeof *m);
	wanted.refused = m->refused;
	*m = wanted;
}

static void refuse(struct driver *dr, uint32_t id)
{
	if (!dr->margin[id])
		dr->margin[id] = tg_alloc(dr->a, sizeof *dr->margin[id]);
	dr->margin[id]->refused = true;
}

/* Do the rows of a register fill up along a dimension of what the stage writes, but its innermost one? */
static bool fills_rows(const struct driver *dr, const struct tg_op *op)
{
	const struct tg_value *v = tg_value_get(dr->m, op->out[0]);
	uint32_t rank = v->shape.rank;
	for (uint32_t i = 0; i + 1 < rank; i++)
		if (v->shape.dim[v->layout[i]] % dr->chip->sublanes == 0)
			return true;
	return false;
}

/* The sides of one box behind its run: those of the dimensions outside of layout position i, joined where they follow each other. */
static bool box_sides(const struct tg_value *v, const int64_t *stride, uint32_t i, struct tg_dma_desc *f)
{
	int64_t bytes = elem_bytes((enum tg_dtype)v->dtype);
	uint32_t at = 3;
	for (uint32_t k = i; k-- > 0;) {
		uint32_t d = v->layout[k];
		if (v->shape.dim[d] == 1)
			continue;
		if (at < 3 && stride[d] * bytes == f->size[at] * f->dst_stride[at]) {
			f->size[at] *= v->shape.dim[d];
			continue;
		}
		if (at == 0)
			return false;
		f->size[--at] = v->shape.dim[d];
		f->dst_stride[at] = stride[d] * bytes;
	}
	while (at > 0)
		f->size[--at] = 1;
	return true;
}

/* Boxes around the tensor: before and behind each dimension, over the padded extent of the dimensions inside of it. */
static bool list_fills(const struct tg_value *v, struct margin *m)
{
	int64_t stride[TG_MAX_RANK], inner = 0, bytes = elem_bytes((enum tg_dtype)v->dtype);
	static const uint8_t types[] = { [1] = TG_DMA_8, [2] = TG_DMA_16, [4] = TG_DMA_32 };
	margin_strides(v, m, stride);
	m->n_fills = 0;
	for (uint32_t i = v->shape.rank; i-- > 0;) {
		uint32_t d = v->layout[i];
		for (int behind = 0; behind < 2; behind++) {
			int64_t wide = behind ? m->hi[d] : m->lo[d];
			if (!wide)
				continue;
			if (m->n_fills == MAX_FILLS)
				return false;
			struct tg_dma_desc *f = &m->fill_box[m->n_fills];
			*f = (struct tg_dma_desc){ .kind = TG_DMA_FILL, .dst_type = types[bytes], .fill_bits = tg_fill_bits((enum tg_dtype)v->dtype, m->fill) };
			f->size[3] = wide * stride[d];
			f->dst_stride[3] = bytes;
			if (!box_sides(v, stride, i, f))
				return false;
			memcpy(f->hi, f->size, sizeof f->hi);
			m->fill_at[m->n_fills++] = ((behind ? v->shape.dim[d] : -m->lo[d]) * stride[d] - inner) * bytes;
		}
		inner += m->lo[d] * stride[d];
	}
	return m->n_fills > 0;
}

static bool suits(const struct driver *dr, uint32_t id)
{
	struct margin *m = dr->margin[id];
	const struct tg_value *v = &dr->m->values.at[id];
	uint32_t rank = v->shape.rank, innermost = rank ? v->layout[rank - 1] : 0;
	int64_t plain = 1, padded = 1;
	if (!m->asked || m->refused || !rank || m->lo[innermost] || m->hi[innermost] || elem_bytes((enum tg_dtype)v->dtype) > 4 || !elem_bytes((enum tg_dtype)v->dtype) ||
	    !tg_bits_fit((enum tg_dtype)v->dtype, m->fill))
		return false;
	for (uint32_t d = 0; d < rank; d++) {
		int64_t wide = v->shape.dim[d] + m->lo[d] + m->hi[d];
		if (v->shape.dim[d] < 1 || __builtin_mul_overflow(plain, v->shape.dim[d], &plain) || __builtin_mul_overflow(padded, wide, &padded) || padded > INT64_C(1) << 40)
			return false;
	}
	m->bytes = whole_lines((uint64_t)padded * elem_bytes((enum tg_dtype)v->dtype));
	return padded <= MOST_GROWTH * plain && list_fills(v, m);
}

void driver_margins(struct driver *dr, const bool *outside)
{
	memset(dr->margin, 0, dr->m->values.n * sizeof *dr->margin);
	if (dr->options->no_margins)
		return;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		if (op->code != TG_TILE_stage)
			continue;
		if (!fills_rows(dr, op) || dr->given[op->out[0].id] || run_of(dr, i))
			refuse(dr, dr->storage[op->out[0].id]);
		for (uint32_t k = 0; k < stage_of(op)->n_ins; k++)
			if (stage_of(op)->ins[k].guarded)
				ask(dr, stage_of(op), k, op->in[k]);
	}
	for (uint32_t v = 1; v < dr->m->values.n; v++) /* the same elements under several shapes */
		if (!tg_shape_equal(&dr->m->values.at[v].shape, &dr->m->values.at[dr->storage[v]].shape))
			refuse(dr, dr->storage[v]);
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->flushed[i])
			refuse(dr, dr->flushed[i]);
	for (uint32_t v = 1; v < dr->m->values.n; v++)
		if (dr->margin[v] && (outside[v] || !suits(dr, v)))
			dr->margin[v] = NULL;
}

void margin_strides(const struct tg_value *v, const struct margin *m, int64_t *stride)
{
	int64_t s = 1;
	for (uint32_t i = v->shape.rank; i-- > 0;) {
		uint32_t d = v->layout[i];
		stride[d] = s;
		s *= v->shape.dim[d] + (m ? m->lo[d] + m->hi[d] : 0);
	}
}

uint64_t margin_before(const struct tg_value *v, const struct margin *m)
{
	int64_t stride[TG_MAX_RANK], before = 0;
	margin_strides(v, m, stride);
	for (uint32_t d = 0; d < v->shape.rank; d++)
		before += m->lo[d] * stride[d];
	return (uint64_t)before * elem_bytes((enum tg_dtype)v->dtype);
}
