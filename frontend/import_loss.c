/* import_loss.c: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. The class of each target is picked by comparing an iota along the
 * classes with the targets; ignored targets have weight 0. */
#include "import.h"

#include <string.h>

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : im->in[k];
}

/* logp [N, C, d...], target [N, d...] */
static tg_val loss(struct tg_im *im, tg_val logp, tg_val target, tg_val weight)
{
	struct tg_shape s = *tg_im_shape(im, logp), one = s, line = { .rank = s.rank };
	enum tg_dtype t = tg_im_type(im, logp);
	const char *how = tg_im_str(im, "reduction", "mean");
	if (im->failed)
		return logp;
	if (s.rank < 2 || tg_im_rank(im, target) + 1 != s.rank) {
		tg_im_error(im, "the scores have rank %u, the targets %u, expected one less", s.rank, tg_im_rank(im, target));
		return logp;
	}
	one.dim[1] = 1;
	for (uint32_t i = 0; i < s.rank; i++)
		line.dim[i] = i == 1 ? s.dim[1] : 1;
	tg_val classes = tg_im_iota(im, TG_i64, &line, 1), zero = tg_im_scalar(im, t, 0);
	tg_val at = tg_im_reshape(im, tg_im_cast(im, target, TG_i64), &one);
	tg_val hit = X_EQ(classes, at);
	tg_val picked = tg_im_reduce(im, TG_OP_reduce_sum, tg_im_select(im, hit, logp, zero), 2, false);
	tg_val w = { 0 };
	if (tg_has(weight)) {
		/* a class beyond the weights weighs nothing */
		struct tg_shape weights = line;
		weights.dim[1] = tg_im_count(im, weight);
		tg_val along = tg_im_along(im, tg_im_cast(im, weight, t), 1, s.rank);
		tg_val mine = weights.dim[1] == s.dim[1] ? hit : X_EQ(tg_im_iota(im, TG_i64, &weights, 1), at);
		w = tg_im_reduce(im, TG_OP_reduce_sum, tg_im_select(im, mine, along, zero), 2, false);
	} else {
		w = tg_im_splat(im, t, tg_im_shape(im, picked), 1);
	}
	if (tg_im_has(im, "ignore_index")) {
		tg_val ignored = X_EQ(tg_im_cast(im, target, TG_i64), tg_im_scalar_i64(im, TG_i64, tg_im_int(im, "ignore_index", 0)));
		w = tg_im_select(im, ignored, zero, w);
		picked = tg_im_select(im, ignored, zero, picked);
	}
	tg_val each = tg_im_1(im, TG_OP_neg, X_MUL(picked, w));
	uint32_t all = (uint32_t)((1ul << (s.rank - 1)) - 1);
	if (!strcmp(how, "none"))
		return each;
	tg_val sum = tg_im_reduce(im, TG_OP_reduce_sum, each, all, false);
	if (!strcmp(how, "sum"))
		return sum;
	if (strcmp(how, "mean"))
		tg_im_error(im, "attribute reduction is %s, expected none, sum or mean", tg_quoted(im->tmp, how));
	return X_DIV(sum, tg_im_reduce(im, TG_OP_reduce_sum, w, all, false));
}

void tg_im_import_nll_loss(struct tg_im *im)
{
	tg_val x = operand(im, 0), target = operand(im, 1);
	tg_val y = loss(im, tg_im_widen(im, x), target, tg_im_in(im, 2) ? im->in[2] : (tg_val){ 0 });
	im->out[0] = tg_im_cast(im, y, tg_im_type(im, x));
}

void tg_im_import_softmax_cross_entropy(struct tg_im *im)
{
	tg_val x = operand(im, 0), target = operand(im, 1);
	if (!im->failed && tg_im_rank(im, x) < 2)
		tg_im_error(im, "the scores have rank %u, expected 2 or more", tg_im_rank(im, x));
	tg_val logp = tg_im_softmax(im, tg_im_widen(im, x), 2, true);
	tg_val y = loss(im, logp, target, tg_im_in(im, 2) ? im->in[2] : (tg_val){ 0 });
	im->out[0] = tg_im_cast(im, y, tg_im_type(im, x));
	if (im->n_out > 1)
		im->out[1] = tg_im_cast(im, logp, tg_im_type(im, x));
}
