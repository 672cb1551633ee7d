/* fold_affine.c: a constant scale or shift of each output channel goes into the convolution's weights and bias.
 *
 *   %c = conv %x, %w            %y = conv %x, w * s, b * s + t
 *   %m = mul %c, s      ==>
 *   %y = add %m, t
 *
 * In: graph ops. Out: fewer of them; this is what is left of an exported batch normalisation. Only f32, only constants, and only where nothing else
 * reads the convolution. The products are rounded once to f32. */
#include "passes.h"

#include <string.h>

bool pass_fold_affine(struct tg_pass *cx, struct tg_module *m);

/* The constant holds one value for each of n channels of a tensor whose channel dimension is 1 of `rank`; *step is 0 for a single value. */
static bool per_channel(const struct tg_const *c, uint32_t rank, int64_t n, int64_t *step)
{
	int64_t count;
	if (!c || c->dtype != TG_f32 || !tg_shape_count(&c->shape, &count) || c->shape.rank > rank)
		return false;
	*step = 0;
	if (count == 1 || c->kind == TG_CONST_SPLAT) {
		for (uint32_t i = 0; i < c->shape.rank; i++)
			if (c->shape.dim[i] != 1 && rank - c->shape.rank + i != 1)
				return false; /* it would broadcast the convolution itself */
		return count == 1 || count == n;
	}
	*step = 1;
	for (uint32_t i = 0; i < c->shape.rank; i++)
		if (c->shape.dim[i] != (rank - c->shape.rank + i == 1 ? n : 1))
			return false;
	return count == n;
}

static struct tg_const *scaled_weights(struct tg_module *m, const struct tg_const *w, const struct tg_const *s, int64_t step)
{
	int64_t n, outer = w->shape.dim[0];
	tg_shape_count(&w->shape, &n);
	if (w->kind == TG_CONST_SPLAT && step == 0)
		return tg_const_splat(m->arena, TG_f32, &w->shape, tg_const_f64(w, 0) * tg_const_f64(s, 0));
	float *data = tg_alloc_n(m->arena, (size_t)n, sizeof *data);
	for (int64_t i = 0; i < n; i++)
		data[i] = (float)(tg_const_f64(w, i) * tg_const_f64(s, step * (i / (n / outer))));
	return tg_const_dense(m->arena, TG_f32, &w->shape, data, true);
}

/* b * s + t for each channel; any of the three may be absent. */
static struct tg_const *new_bias(struct tg_module *m, int64_t n, const struct tg_const *b, const struct tg_const *s, int64_t s_step, const struct tg_const *t,
				 int64_t t_step)
{
	struct tg_shape shape = { 1, { n } };
	float *data = tg_alloc_n(m->arena, (size_t)n, sizeof *data);
	for (int64_t i = 0; i < n; i++) {
		double v = b ? tg_const_f64(b, i) : 0;
		v = s ? v * tg_const_f64(s, s_step * i) : v;
		data[i] = (float)(t ? v + tg_const_f64(t, t_step * i) : v);
	}
	return tg_const_dense(m->arena, TG_f32, &shape, data, true);
}

static tg_val constant_before(struct tg_module *m, struct tg_op *before, struct tg_const *c)
{
	struct tg_op *op = tg_op_new(m, &m->body, before, TG_OP_constant, NULL, 0, 1, before->prov);
	op->attrs[TG_AT(constant, value)].c = c;
	op->out[0] = tg_value_new(m, TG_TENSOR, c->dtype, &c->shape, NULL);
	tg_value_of(m, op->out[0])->def = op;
	return op->out[0];
}

static void fold(struct tg_module *m, struct tg_op *conv, struct tg_op *user, const struct tg_const *c, int64_t step)
{
	bool is_scale = user->code == TG_OP_mul;
	const struct tg_const *w = tg_const_of(m, conv->in[1]), *b = conv->n_in == 3 ? tg_const_of(m, conv->in[2]) : NULL;
	int64_t n = w->shape.dim[0];
	tg_val in[3] = { conv->in[0], conv->in[1] };
	uint32_t n_in = 2;
	if (is_scale)
		in[1] = constant_before(m, conv, scaled_weights(m, w, c, step));
	if (b || !is_scale)
		in[n_in++] = constant_before(m, conv, new_bias(m, n, b, is_scale ? c : NULL, step, is_scale ? NULL : c, step));
	conv->in = tg_grow(m->arena, in, n_in * sizeof *in, n_in * sizeof *in);
	conv->n_in = n_in;
	conv->prov = tg_prov_union(m, conv->prov, user->prov);
	tg_replace_uses(m, user->out[0], conv->out[0]);
	tg_op_remove(user);
}

static bool try_fold(struct tg_module *m, struct tg_op *user)
{
	if (user->code != TG_OP_mul && user->code != TG_OP_add)
		return false;
	for (uint32_t i = 0; i < 2; i++) {
		struct tg_op *conv = tg_value_get(m, user->in[i])->def;
		const struct tg_const *c = tg_const_of(m, user->in[1 - i]);
		int64_t step;
		if (!conv || conv->code != TG_OP_conv || !c || tg_value_get(m, conv->out[0])->n_uses != 1)
			continue;
		const struct tg_value *y = tg_value_get(m, conv->out[0]);
		const struct tg_const *w = tg_const_of(m, conv->in[1]), *b = conv->n_in == 3 ? tg_const_of(m, conv->in[2]) : NULL;
		if (y->dtype != TG_f32 || !w || w->dtype != TG_f32 || (conv->n_in == 3 && !b) || y->shape.rank < 2 || w->shape.dim[0] != y->shape.dim[1] ||
		    !tg_shape_equal(&tg_value_get(m, user->out[0])->shape, &y->shape) || !per_channel(c, y->shape.rank, y->shape.dim[1], &step))
			continue;
		fold(m, conv, user, c, step);
		return true;
	}
	return false;
}

bool pass_fold_affine(struct tg_pass *cx, struct tg_module *m)
{
	(void)cx;
	tg_count_uses(m);
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		next = op->next;
		if (try_fold(m, op))
			tg_count_uses(m); /* a fold makes the next one possible: mul, then add */
	}
	return true;
}
