/* kernel_rows.c: how many rows of the moving operand an iteration of the matrix unit's loop takes, and which.
 *
 * Many in one iteration share its counters and addresses; few let a product that comes in chunks begin early and end soon. Whatever is chosen, a tile's rows are whole
 * iterations: the last one overlaps its neighbour. */
#include "matrix.h"

enum { MAX_BODY_OPS = 700, SCALAR_WORK = 96 /* of an iteration in chunks: operations, measured */, SCALAR_OPERAND = 6 };

static double iteration_cost(const struct kernel *k, uint32_t points)
{
	const struct tg_chip *c = k->f->chip;
	double stream = (double)points * (double)ceil_div((int64_t)c->sublanes * c->rate_den[k->p->array], c->rate_num[k->p->array]);
	double push = (double)c->array_rows / c->sublanes * (double)ceil_div(c->sublanes, c->push_rows_per_cycle);
	double alu = (double)points * k->post_nodes / c->n_alu, scalar = 40.0 / c->n_scalar + (double)points * 2 / c->n_scalar;
	double most = stream > push ? stream : push;
	most = alu > most ? alu : most;
	return (scalar > most ? scalar : most) + 1;
}

static void add_lines(const struct kernel *k, struct cut *c, int64_t groups, int64_t lines)
{
	for (int64_t line = 0; line < lines; line++)
		for (int64_t g = 0; g < groups; g++) {
			struct point *p = &c->pts[c->n_points++];
			*p = (struct point){ .rows = 1, .lanes = 1 };
			if (c->lines != NO_DIM)
				p->delta[c->lines] = line;
			if (k->row == NO_DIM)
				continue;
			int64_t at = g * sublanes(k), left = k->dim[k->row].n - at;
			p->delta[k->row] = at;
			p->rows = left < sublanes(k) ? (uint32_t)left : sublanes(k);
		}
}

/* Blocks of `block` entries of a dimension; accumulator rows of the whole tile, or -1 when they do not fit. */
static int64_t cut_along(const struct kernel *k, struct cut *c, int dim, int64_t block, int64_t groups_each, int64_t most_rows)
{
	int64_t others = 1;
	c->split = dim;
	c->block = block;
	c->steps = dim == NO_DIM ? 1 : ceil_div(k->dim[dim].n, block);
	c->overlap = dim == NO_DIM ? 0 : c->steps * block - k->dim[dim].n;
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_M && (int)d != dim && (int)d != k->row)
			others *= k->dim[d].n;
	c->cost = (double)c->steps * (double)others * iteration_cost(k, (uint32_t)groups_each);
	int64_t rows = c->steps * groups_each * sublanes(k) * others;
	return rows <= most_rows ? rows : -1;
}

static int64_t most_groups(const struct kernel *k)
{
	int64_t n = MAX_BODY_OPS / ((k->post_nodes + 6) * k->f->chip->n_arrays), unrolled = 2 * (int64_t)(k->unroll ? k->unroll : 1);
	n = n < unrolled ? n : unrolled;
	return n < 1 ? 1 : n > MAX_GROUPS ? MAX_GROUPS : n;
}

/* A product in chunks waits for its first rows, and the last ones leave, block by block: as few groups at a time as the scalar slots keep up with. */
static bool fine_rows(const struct kernel *k, struct matrix *x, int64_t groups, int64_t most_rows)
{
	const struct tg_chip *c = k->f->chip;
	int64_t others = 0;
	for (uint32_t d = 0; d < k->n_dims; d++)
		others += k->dim[d].role == ROLE_M && (int)d != k->row && k->dim[d].n > 1;
	if (k->row == NO_DIM || others || k->dim[k->row].n % sublanes(k))
		return false;
	for (int64_t g = 1; g < groups && g <= most_groups(k); g++) {
		struct cut cut = { .lines = NO_DIM };
		int64_t cycles = ceil_div(g * (int64_t)sublanes(k) * c->rate_den[k->p->array], c->rate_num[k->p->array]), acc;
		if (groups % g || groups / g > c->dma_depth || cycles * c->n_scalar < SCALAR_WORK + SCALAR_OPERAND * (int64_t)k->p->n_ops || (acc = cut_along(k, &cut, k->row, g * sublanes(k), g, most_rows)) < 0)
			continue;
		add_lines(k, &cut, g, 1);
		x->cut = cut;
		x->acc_tile = acc;
		return true;
	}
	return false;
}

bool matrix_cut_rows(struct kernel *k, struct matrix *x, int64_t most_rows)
{
	int64_t most = most_groups(k), rows = k->row == NO_DIM ? 1 : k->dim[k->row].n, groups = ceil_div(rows, sublanes(k));
	bool have = false;
	if (k->p->chunks && k->p->eased < MOST_EASED && fine_rows(k, x, groups, most_rows))
		return true;
	for (int64_t g = 1; groups > most && g <= most; g++) { /* a part of the row dimension at a time */
		struct cut c = { .lines = NO_DIM };
		int64_t acc = cut_along(k, &c, k->row, g * sublanes(k), g, most_rows);
		if (acc < 0 || (have && x->cut.cost <= c.cost))
			continue;
		add_lines(k, &c, g, 1);
		x->cut = c;
		x->acc_tile = acc;
		have = true;
	}
	for (int d = NO_DIM; groups <= most && d < (int)k->n_dims; d++) { /* whole rows, several lines at a time */
		if (d != NO_DIM && (k->dim[d].role != ROLE_M || d == k->row))
			continue;
		for (int64_t lines = 1; lines * groups <= most && (lines == 1 || (d != NO_DIM && lines <= k->dim[d].n)); lines++) {
			struct cut c = { .lines = d };
			int64_t acc = cut_along(k, &c, d, lines, groups * lines, most_rows);
			if (acc < 0 || (have && x->cut.cost <= c.cost))
				continue;
			add_lines(k, &c, groups, lines);
			x->cut = c;
			x->acc_tile = acc;
			have = true;
		}
	}
	return have;
}

/* Few results at a time overlap better than many. Their accumulator rows stay the same where the rows of the tile are one row of whole groups. */
struct cut matrix_finer_cut(const struct kernel *k, const struct matrix *x, int64_t each)
{
	struct cut fine = { .lines = NO_DIM };
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_M && (int)d != k->row)
			return x->cut;
	int64_t groups = k->row == NO_DIM ? 1 : ceil_div(k->dim[k->row].n, sublanes(k));
	if (x->cut.overlap || groups <= each || groups % each || k->dim[k->row].n % sublanes(k) || cut_along(k, &fine, k->row, each * (int64_t)sublanes(k), each, k->f->chip->acc_rows) < 0)
		return x->cut;
	add_lines(k, &fine, each, 1);
	return fine;
}
