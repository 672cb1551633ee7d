/* pixels.c: several neighbours along a moving dimension share the array where a convolution has few channels.
 *
 *   out[w, m] = sum over j, c: x[s w + j, c] * k[j, c, m]
 *
 *   out[P w + p, m] = sum over j', c: x[s P w + j', c] * k[j' - s p, c, m]        j' spans the windows of P neighbours
 *
 * A row of the array's input is then the union of P windows, its columns are (p, m), and a result's row holds P neighbours side by side, as they lie in
 * memory. Where j' - s p leaves the kernel the weight is absent, so that nothing is computed there: the result is exact whatever the inputs hold. DMA
 * fills the image of the weights with a pattern that no weight has, and the pushes leave out what shows it (kernel_weights.c).
 *
 * A product without a window (a 1x1 convolution) is the same with a kernel of one entry: its array is block-diagonal. */
#include "plan.h"

/* The one component that mentions dimension d; NULL when none or several do. *uses: how many. */
static struct comp *only(struct operand *o, uint32_t d, uint32_t *uses)
{
	struct comp *found = NULL;
	*uses = 0;
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if (o->comp[i].term[k].dim == d) {
				++*uses;
				found = &o->comp[i];
			}
	return *uses == 1 ? found : NULL;
}

static bool asks_where(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].op == TG_X_index || s->nodes[i].op == TG_X_inside)
			return true;
	return false;
}

/* Constant weights of a type that has a pattern to spare, and no weight that shows it. */
static bool weights_serve(const struct plan *p, const struct operand *o)
{
	const struct tg_const *c = tg_const_of(p->m, o->value);
	int64_t n;
	if (!c || o->constant || o->dtype != o->sram_dtype || (o->dtype != TG_bf16 && o->dtype != TG_f32))
		return false;
	for (uint32_t i = 0; i < o->n_comps; i++)
		if (o->comp[i].guarded || o->comp[i].gather >= 0 || o->comp[i].n != 1 || o->comp[i].term[0].coef < 0)
			return false;
	if (!tg_shape_count(&tg_value_get(p->m, o->value)->shape, &n) || n > MOST_PIXEL_WEIGHTS)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (__builtin_isnan(tg_const_f64(c, i)))
			return false;
	return true;
}

/* Plainly walked, so that d splits into (d, p)? */
static bool splits_evenly(struct operand *o, uint32_t d)
{
	uint32_t uses;
	struct comp *x = only(o, d, &uses);
	return uses == 0 || (x && x->n == 1 && !x->guarded && x->gather < 0 && o->n_comps < MAX_COMPS);
}

static void split_operand(struct operand *o, uint32_t d, uint32_t p, int64_t n)
{
	uint32_t uses;
	struct comp *x = only(o, d, &uses);
	if (!x)
		return;
	o->base += x->offset * x->stride;
	x->offset = 0;
	x->size = INT64_MAX / 2; /* never tested: not guarded */
	o->comp[o->n_comps] = *x;
	o->comp[o->n_comps++].term[0].dim = p;
	x->term[0].coef *= n;
}

/* The window's dimension beside d in the moving operand's component: NO_DIM: none; false when it is not that simple. */
static bool find_tap(const struct plan *t, const struct comp *x, uint32_t d, int *tap, int64_t *step)
{
	*tap = NO_DIM;
	for (uint32_t i = 0; i < x->n; i++) {
		if (x->term[i].dim == d) {
			*step = x->term[i].coef;
			continue;
		}
		if (*tap != NO_DIM || x->term[i].coef != 1 || t->role[x->term[i].dim] != ROLE_REDUCE)
			return false;
		*tap = (int)x->term[i].dim;
	}
	return *step > 0;
}

static uint32_t new_dim(struct plan *t, enum role role, int64_t extent)
{
	t->role[t->n_dims] = role;
	t->extent[t->n_dims] = extent;
	t->pinned[t->n_dims] = true;
	return t->n_dims++;
}

bool plan_pixels(struct plan *t, uint32_t d, int64_t n)
{
	struct operand *lhs = &t->operand[t->lhs], *rhs = &t->operand[t->rhs >= 0 ? t->rhs : 0];
	uint32_t uses;
	int tap;
	int64_t step = 0;
	struct comp *x = only(lhs, d, &uses), *y = NULL;
	if (t->rhs < 0 || !x || x->gather >= 0 || t->role[d] != ROLE_PARALLEL || t->pinned[d] || t->extent[d] % n || t->n_dims + 2 > MAX_DIMS ||
	    asks_where(t->stage) || rhs->n_comps == MAX_COMPS || !find_tap(t, x, d, &tap, &step) || !weights_serve(t, rhs))
		return false;
	only(rhs, d, &uses);
	if (uses || x->n == MAX_DIMS)
		return false;
	if (tap != NO_DIM) {
		struct comp *again = only(lhs, (uint32_t)tap, &uses);
		y = only(rhs, (uint32_t)tap, &uses);
		if (again != x || !y || y->n != 1 || y->term[0].coef != 1 || y->offset || t->pinned[tap])
			return false;
	}
	for (uint32_t i = 0; i <= t->n_ops; i++)
		if ((int)i != t->lhs && (int)i != t->rhs && !splits_evenly(&t->operand[i], d))
			return false;
	t->pixels = n;
	t->pixel_dim = (int)new_dim(t, ROLE_PARALLEL, n);
	if (tap == NO_DIM) {
		tap = (int)new_dim(t, ROLE_REDUCE, n);
		y = &rhs->comp[rhs->n_comps++];
		*y = (struct comp){ .n = 2, .term = { { (uint32_t)tap, 1 }, { (uint32_t)t->pixel_dim, -1 } }, .size = 1, .gather = -1 };
		x->term[x->n++] = (struct term){ (uint32_t)tap, step };
		step = 1;
	} else {
		y->size = t->extent[tap];
		t->extent[tap] += (n - 1) * step;
		y->term[y->n++] = (struct term){ (uint32_t)t->pixel_dim, -step };
	}
	y->guarded = true;
	t->pixel_step = step;
	t->pixel_tap = tap;
	for (uint32_t i = 0; i < x->n; i++)
		x->term[i].coef *= x->term[i].dim == d ? n : 1;
	t->extent[d] /= n;
	for (uint32_t i = 0; i <= t->n_ops; i++)
		if ((int)i != t->lhs && (int)i != t->rhs)
			split_operand(&t->operand[i], d, (uint32_t)t->pixel_dim, n);
	return true;
}

/* What depends on the columns but not on the neighbour (bias) is the same for all of them: its image repeats it, so that it lies as the columns do. */
bool plan_repeat_columns(struct plan *t)
{
	for (uint32_t i = 0; i < t->n_ops; i++) {
		struct operand *o = &t->operand[i];
		uint32_t columns, neighbours;
		if ((int)i == t->lhs || (int)i == t->rhs || o->constant)
			continue;
		only(o, (uint32_t)t->lane, &columns);
		only(o, (uint32_t)t->pixel_dim, &neighbours);
		if (!columns || neighbours)
			continue;
		if (o->n_comps == MAX_COMPS || o->is_list)
			return false;
		o->comp[o->n_comps++] = (struct comp){ .n = 1, .term = { { (uint32_t)t->pixel_dim, 1 } }, .size = t->pixels, .gather = -1 };
	}
	return true;
}

/* The vector path's form of it: the lanes hold the channels of n neighbours along d, as they lie in memory; what depends on the channels only is repeated. A
 * window moves by one neighbour from one to the next, or the lanes would not find their elements side by side (steps_fit). */
bool plan_side_by_side(struct plan *t, uint32_t d, int64_t n)
{
	if (t->n_dims == MAX_DIMS || t->pinned[d] || t->role[d] != ROLE_PARALLEL || t->extent[d] % n || asks_where(t->stage))
		return false;
	for (uint32_t i = 0; i <= t->n_ops; i++) {
		uint32_t uses;
		struct comp *x = only(&t->operand[i], d, &uses);
		if (uses > 1 || (x && (x->gather >= 0 || (x->n > 1 && x->n == MAX_DIMS) || t->operand[i].n_comps == MAX_COMPS || (x->n == 1 && x->guarded))))
			return false;
	}
	t->pixels = n;
	t->pixel_dim = (int)new_dim(t, ROLE_PARALLEL, n);
	for (uint32_t i = 0; i <= t->n_ops; i++) {
		uint32_t uses;
		struct comp *x = only(&t->operand[i], d, &uses);
		if (!x)
			continue;
		if (x->n == 1) {
			split_operand(&t->operand[i], d, (uint32_t)t->pixel_dim, n);
			continue;
		}
		for (uint32_t k = 0; k < x->n; k++)
			if (x->term[k].dim == d) {
				x->term[x->n++] = (struct term){ (uint32_t)t->pixel_dim, x->term[k].coef };
				x->term[k].coef *= n;
				break;
			}
	}
	t->extent[d] /= n;
	return plan_repeat_columns(t);
}
