/* macs.c: multiply-accumulates of a module as its graph states them: those of products and convolutions, padding included. */
#include "ir.h"

static uint64_t elems(const struct tg_module *m, tg_val v)
{
	int64_t n = 0;
	return tg_shape_count(&tg_value_get(m, v)->shape, &n) ? (uint64_t)n : 0;
}

/* For each element of which tensor there is how much work. */
static uint64_t macs_of(const struct tg_module *m, const struct tg_op *op)
{
	const struct tg_shape *x = op->n_in > 0 ? &tg_value_get(m, op->in[0])->shape : NULL, *w = op->n_in > 1 ? &tg_value_get(m, op->in[1])->shape : NULL;
	uint64_t each = 0, times = 0;
	switch (op->code) {
	case TG_OP_matmul:
		times = elems(m, op->out[0]);
		each = (uint64_t)x->dim[x->rank - 1];
		break;
	case TG_OP_conv:
		times = elems(m, op->out[0]);
		each = w->dim[0] ? elems(m, op->in[1]) / (uint64_t)w->dim[0] : 0;
		break;
	case TG_OP_conv_transpose:
		times = elems(m, op->in[0]);
		each = w->dim[0] ? elems(m, op->in[1]) / (uint64_t)w->dim[0] : 0;
		break;
	default:
		break;
	}
	return each && times > UINT64_MAX / each ? UINT64_MAX : times * each;
}

uint64_t tg_module_macs(const struct tg_module *m)
{
	uint64_t sum = 0;
	for (const struct tg_op *op = m->body.first; op; op = op->next) {
		uint64_t n = macs_of(m, op);
		sum = sum > UINT64_MAX - n ? UINT64_MAX : sum + n;
	}
	return sum;
}
