/* pack.c: entries of further contracted dimensions share the lanes where a product contracts few channels.
 *
 *   lanes of a row:  c0 c1 c2 | c0 c1 c2 | c0 c1 c2 | ...       one part for each entry (a kernel tap), or pair of entries of two dimensions
 *
 * A row is gathered by one load for each part, from the last part down. A load begins at lane 0: below its own lanes it reads what lies in front of its
 * part, which the loads that follow overwrite. That needs no masks, but every part must lie at least as far from the row's beginning as in the lanes, and what
 * lies between must have been written: the image of an operand has been. A tensor that is worked on in place is read by masked loads instead. */
#include "plan.h"

struct combination { int at[MAX_PACKED]; uint32_t n; int64_t parts; };

/* May `d` go behind `parts` parts of `lanes` lanes each? */
static bool goes_behind(const struct plan *p, const struct pack_dim *d, int64_t lanes, int64_t parts, int64_t weight_row)
{
	bool masked = p->operand[p->lhs].direct, data = p->rhs >= 0 && !p->operand[p->rhs].constant;
	if (d->n < 2 || (!masked && d->lhs < lanes * parts))
		return false;
	return !data || p->pixels || d->rhs == lanes * parts * weight_row; /* weights' rows follow each other, or their pushes find them */
}

/* Parts that a row is made of, at most: masks, or as many loads as the array leaves time for. */
static int64_t most_parts(const struct plan *p)
{
	const struct tg_chip *c = p->chip;
	int64_t masks = (int64_t)c->n_mregs - 1 - (p->pixels ? 2 : 0), time = ceil_div((int64_t)c->sublanes * c->rate_den[p->array], c->rate_num[p->array]);
	int64_t most = p->operand[p->lhs].direct ? masks : time * c->n_load;
	return most < MAX_PARTS ? most : MAX_PARTS;
}

/* As many parts as fit; of equal combinations the one whose neighbouring parts lie closer together, as one address reaches more of them. */
static void better(struct combination *best, const struct combination *one, int64_t lanes, const struct plan *p, const struct pack_dim *d)
{
	bool closer = best->n && one->parts == best->parts && d[one->at[0]].lhs < d[best->at[0]].lhs;
	if ((one->parts > best->parts || closer) && one->parts <= most_parts(p) && one->parts * lanes <= p->chip->array_rows)
		*best = *one;
}

uint32_t plan_pack(const struct plan *p, const struct pack_dim *d, uint32_t n, int64_t lanes, int64_t weight_row, int *chosen)
{
	struct combination best = { .parts = 1 };
	for (uint32_t a = 0; a < n; a++) {
		if (!goes_behind(p, &d[a], lanes, 1, weight_row))
			continue;
		better(&best, &(struct combination){ { (int)a }, 1, d[a].n }, lanes, p, d);
		for (uint32_t b = 0; b < n; b++)
			if (b != a && goes_behind(p, &d[b], lanes, d[a].n, weight_row))
				better(&best, &(struct combination){ { (int)a, (int)b }, 2, d[a].n * d[b].n }, lanes, p, d);
	}
	for (uint32_t i = 0; i < best.n; i++)
		chosen[i] = best.at[i];
	return best.n;
}
