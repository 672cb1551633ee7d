/* product.c: which stages are sums of products of two operands: what the matrix unit does.
 *
 *   reduce sum mul(x, y), x and y each: an element, an element rounded to a 16-bit float, or a constant */
#include "ir.h"

static bool factor_of(const struct tg_stage *s, tg_expr e, struct tg_factor *f)
{
	const struct tg_node *n = &s->nodes[e.id - 1];
	*f = (struct tg_factor){ -1, TG_none };
	if (n->op == TG_X_wrap && (n->k == TG_bf16 || n->k == TG_f16)) {
		f->round = (enum tg_dtype)n->k;
		n = &s->nodes[n->a.id - 1];
		if (n->op != TG_X_arg)
			return false;
	}
	if (n->op == TG_X_arg)
		f->in = n->k;
	return n->op == TG_X_arg || n->op == TG_X_const;
}

bool tg_stage_product(const struct tg_stage *s, struct tg_factor f[2])
{
	if (s->n_reds != 1 || s->reds[0].combine != TG_SUM)
		return false;
	const struct tg_node *v = &s->nodes[s->reds[0].value.id - 1];
	return v->op == TG_X_mul && factor_of(s, v->a, &f[0]) && factor_of(s, v->b, &f[1]) && (f[0].in >= 0 || f[1].in >= 0);
}
