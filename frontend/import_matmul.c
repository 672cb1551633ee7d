/* import_matmul.c: Gemm, MatMul and Einsum. */
#include "import.h"

#include <string.h>

static tg_val operand(struct tg_im *im, uint32_t k)
{
	if (!tg_im_in(im, k))
		tg_im_error(im, "operand %u is left out", k);
	return im->failed ? (tg_val){ 0 } : im->in[k];
}

static tg_val scaled(struct tg_im *im, tg_val x, double by)
{
	if (by == 1)
		return x;
	if (!tg_is_float(tg_im_type(im, x)) && by != (double)(int64_t)by) {
		tg_im_refuse(im, "integer Gemm with a factor of %g", by);
		return x;
	}
	return X_MUL(x, X_NUM(x, by));
}

void tg_im_import_gemm(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 1);
	if (!im->failed && (tg_im_rank(im, a) != 2 || tg_im_rank(im, b) != 2))
		tg_im_error(im, "Gemm of operands of rank %u and %u, expected 2", tg_im_rank(im, a), tg_im_rank(im, b));
	double alpha = tg_im_float(im, "alpha", 1), beta = tg_im_float(im, "beta", 1);
	a = tg_im_int(im, "transA", 0) ? tg_im_swap_last(im, a) : a;
	b = tg_im_int(im, "transB", 0) ? tg_im_swap_last(im, b) : b;
	tg_val y = scaled(im, tg_im_matmul(im, a, b), alpha);
	if (tg_im_in(im, 2) && beta != 0) {
		tg_val sum = X_ADD(y, scaled(im, im->in[2], beta));
		if (!im->failed && !tg_shape_equal(tg_im_shape(im, sum), tg_im_shape(im, y)))
			tg_im_error(im, "operand C of Gemm cannot be broadcast to the product's shape");
		y = sum;
	}
	im->out[0] = y;
	/* com.microsoft FusedGemm */
	const char *act = tg_im_str(im, "activation", "");
	if (!strcmp(act, "Relu"))
		im->out[0] = tg_im_1(im, TG_OP_relu, y);
	else if (*act)
		tg_im_refuse(im, "FusedGemm with activation %s", tg_quoted(im->tmp, act));
}

/* Vectors become matrices for the product and lose that dimension again. */
static tg_val matmul(struct tg_im *im, tg_val a, tg_val b)
{
	uint32_t ra = tg_im_rank(im, a), rb = tg_im_rank(im, b);
	if (im->failed)
		return a;
	if (!ra || !rb) {
		tg_im_error(im, "MatMul of a scalar");
		return a;
	}
	a = ra == 1 ? tg_im_reshape_n(im, a, 2, (int64_t)1, tg_im_count(im, a)) : a;
	b = rb == 1 ? tg_im_reshape_n(im, b, 2, tg_im_count(im, b), (int64_t)1) : b;
	tg_val y = tg_im_matmul(im, a, b);
	struct tg_shape s = *tg_im_shape(im, y);
	if (im->failed || (ra > 1 && rb > 1))
		return y;
	if (rb == 1)
		s.rank--;
	if (ra == 1) {
		if (rb > 1)
			s.dim[s.rank - 2] = s.dim[s.rank - 1];
		s.rank--;
	}
	return tg_im_reshape(im, y, &s);
}

void tg_im_import_matmul(struct tg_im *im)
{
	im->out[0] = matmul(im, operand(im, 0), operand(im, 1));
}

/* com.microsoft FusedMatMul: alpha, transposed operands. */
void tg_im_import_fused_matmul(struct tg_im *im)
{
	tg_val a = operand(im, 0), b = operand(im, 1);
	if (tg_im_int(im, "transBatchA", 0) || tg_im_int(im, "transBatchB", 0))
		tg_im_refuse(im, "FusedMatMul with transposed batches");
	a = tg_im_int(im, "transA", 0) ? tg_im_swap_last(im, a) : a;
	b = tg_im_int(im, "transB", 0) ? tg_im_swap_last(im, b) : b;
	im->out[0] = scaled(im, matmul(im, a, b), tg_im_float(im, "alpha", 1));
}

/* ---- Einsum ----
 *
 * Labels are small numbers: letters, and after them one for each dimension that an ellipsis stands for. Operands are joined from the left; each
 * join sums a label as soon as no later operand and no result has it, as the contracted dimension of one batched matmul. */

enum { N_LETTERS = 52, N_LABELS = N_LETTERS + TG_MAX_RANK };
struct term { tg_val v; uint32_t n; uint8_t label[TG_MAX_RANK]; };
struct einsum { struct term *terms; uint32_t n; struct term result; int64_t size[N_LABELS]; uint32_t n_dots; };

static int32_t letter(char c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1;
}

/* One term of the equation up to ',' or '-' or its end; an ellipsis takes `dots` dimensions. */
static const char *read_term(struct tg_im *im, const char *s, struct term *t, uint32_t dots, bool *had_dots)
{
	*had_dots = false;
	for (; *s && *s != ',' && *s != '-' && !im->failed;) {
		if (*s == ' ') {
			s++;
			continue;
		}
		bool dot = !strncmp(s, "...", 3);
		uint32_t more = dot ? dots : 1;
		if ((!dot && letter(*s) < 0) || (dot && *had_dots) || t->n + more > TG_MAX_RANK) {
			tg_im_error(im, "the equation cannot be read at %s", tg_quoted(im->tmp, s));
			return s;
		}
		for (uint32_t i = 0; i < more; i++)
			t->label[t->n++] = (uint8_t)(dot ? N_LETTERS + TG_MAX_RANK - dots + i : (uint32_t)letter(*s));
		*had_dots |= dot;
		s += dot ? 3 : 1;
	}
	return s;
}

static uint32_t count_labels(const char *s)
{
	uint32_t n = 0;
	for (; *s && *s != ',' && *s != '-'; s++)
		n += letter(*s) >= 0;
	return n;
}

static bool has_label(const struct term *t, uint8_t label)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->label[i] == label)
			return true;
	return false;
}

/* Puts the dimensions with these labels in this order; others must not exist. A label the term lacks gets extent 1. */
static tg_val arrange(struct tg_im *im, const struct term *t, const uint8_t *label, uint32_t n)
{
	int64_t perm[TG_MAX_RANK];
	struct tg_shape s = { .rank = n };
	uint32_t k = 0;
	for (uint32_t i = 0; i < n; i++) {
		s.dim[i] = 1;
		for (uint32_t j = 0; j < t->n; j++)
			if (t->label[j] == label[i]) {
				perm[k++] = j;
				s.dim[i] = im->failed ? 1 : tg_im_shape(im, t->v)->dim[j];
			}
	}
	return im->failed ? t->v : tg_im_reshape(im, tg_im_transpose(im, t->v, perm), &s);
}

/* A label twice in one operand: its diagonal, as every (n + 1)th element of both dimensions taken together. */
static void take_diagonals(struct tg_im *im, struct term *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		for (uint32_t j = i + 1; j < t->n && !im->failed; j++) {
			if (t->label[i] != t->label[j])
				continue;
			int64_t perm[TG_MAX_RANK], n = tg_im_shape(im, t->v)->dim[i];
			if (n != tg_im_shape(im, t->v)->dim[j]) {
				tg_im_error(im, "a label that an operand has twice has two sizes");
				return;
			}
			struct tg_shape flat = { .rank = t->n - 1 };
			uint8_t both = t->label[i];
			uint32_t k = 0;
			for (uint32_t d = 0; d < t->n; d++)
				if (d != i && d != j) {
					t->label[k] = t->label[d];
					flat.dim[k] = tg_im_shape(im, t->v)->dim[d];
					perm[k++] = d;
				}
			perm[k] = i;
			perm[k + 1] = j;
			flat.dim[k] = n * n;
			t->v = tg_im_reshape(im, tg_im_transpose(im, t->v, perm), &flat);
			struct tg_shape index = { 1, { n } };
			tg_val at = X_MUL(tg_im_iota(im, TG_i64, &index, 0), tg_im_scalar_i64(im, TG_i64, n + 1));
			t->v = tg_im_gather(im, t->v, at, k);
			t->label[k] = both;
			t->n = k + 1;
			i = UINT32_MAX; /* look again from the start */
			break;
		}
}

static bool wanted(const struct einsum *e, uint32_t from, uint8_t label)
{
	for (uint32_t i = from; i < e->n; i++)
		if (has_label(&e->terms[i], label))
			return true;
	return has_label(&e->result, label);
}

static void sum_unwanted(struct tg_im *im, const struct einsum *e, struct term *t, uint32_t from, const struct term *other)
{
	uint32_t mask = 0, k = 0;
	for (uint32_t i = 0; i < t->n; i++) {
		if (wanted(e, from, t->label[i]) || (other && has_label(other, t->label[i])))
			t->label[k++] = t->label[i];
		else
			mask |= 1u << i;
	}
	t->v = tg_im_reduce(im, TG_OP_reduce_sum, t->v, mask, false);
	t->n = k;
}

static int64_t extent(const struct einsum *e, const uint8_t *label, uint32_t n)
{
	int64_t product = 1;
	for (uint32_t i = 0; i < n; i++)
		product *= e->size[label[i]];
	return product;
}

/* a and b become [batch, m, k] and [batch, k, n]; labels of the result: batch, m, n. */
static struct term join(struct tg_im *im, const struct einsum *e, struct term *a, struct term *b, uint32_t next)
{
	sum_unwanted(im, e, a, next, b);
	sum_unwanted(im, e, b, next, a);
	uint8_t batch[TG_MAX_RANK], m[TG_MAX_RANK], n[TG_MAX_RANK], k[TG_MAX_RANK];
	uint32_t nb = 0, nm = 0, nn = 0, nk = 0;
	struct term r = { .n = 0 };
	for (uint32_t i = 0; i < a->n; i++) {
		if (!has_label(b, a->label[i]))
			m[nm++] = a->label[i];
		else if (wanted(e, next, a->label[i]))
			batch[nb++] = a->label[i];
		else
			k[nk++] = a->label[i];
	}
	for (uint32_t i = 0; i < b->n; i++)
		if (!has_label(a, b->label[i]))
			n[nn++] = b->label[i];
	if (nb + nm + nn > TG_MAX_RANK)
		tg_im_refuse(im, "Einsum goes through rank %u, at most %d is supported", nb + nm + nn, TG_MAX_RANK);
	if (im->failed)
		return *a;
	uint8_t order[3 * TG_MAX_RANK];
	memcpy(order, batch, nb);
	memcpy(order + nb, m, nm);
	memcpy(order + nb + nm, k, nk);
	/* an ellipsis dimension may be 1 in one operand: then it is broadcast first */
	struct tg_shape full = { .rank = nb + nm + nk };
	for (uint32_t i = 0; i < full.rank; i++)
		full.dim[i] = e->size[order[i]];
	int64_t xb = extent(e, batch, nb), xm = extent(e, m, nm), xk = extent(e, k, nk), xn = extent(e, n, nn);
	tg_val va = tg_im_reshape_n(im, tg_im_broadcast(im, arrange(im, a, order, full.rank), &full), 3, xb, xm, xk);
	memcpy(order + nb, k, nk);
	memcpy(order + nb + nk, n, nn);
	full.rank = nb + nk + nn;
	for (uint32_t i = 0; i < full.rank; i++)
		full.dim[i] = e->size[order[i]];
	tg_val vb = tg_im_reshape_n(im, tg_im_broadcast(im, arrange(im, b, order, full.rank), &full), 3, xb, xk, xn);
	struct tg_shape s = { 0 };
	const uint8_t *const lists[3] = { batch, m, n };
	const uint32_t lens[3] = { nb, nm, nn };
	for (uint32_t l = 0; l < 3; l++)
		for (uint32_t i = 0; i < lens[l]; i++) {
			r.label[r.n++] = lists[l][i];
			s.dim[s.rank++] = e->size[lists[l][i]];
		}
	r.v = tg_im_reshape(im, tg_im_matmul(im, va, vb), &s);
	return r;
}

/* Without "->": labels that occur once, alphabetically (upper case first), after the ellipsis. */
static void implicit_result(const struct einsum *e, struct term *r)
{
	for (uint32_t i = 0; i < e->n_dots; i++)
		r->label[r->n++] = (uint8_t)(N_LETTERS + TG_MAX_RANK - e->n_dots + i);
	for (uint32_t c = 0; c < N_LETTERS; c++) {
		uint8_t label = (uint8_t)(c < 26 ? c + 26 : c - 26);
		uint32_t n = 0;
		for (uint32_t i = 0; i < e->n; i++)
			for (uint32_t k = 0; k < e->terms[i].n; k++)
				n += e->terms[i].label[k] == label;
		if (n == 1 && r->n < TG_MAX_RANK)
			r->label[r->n++] = label;
	}
}

static bool read_equation(struct tg_im *im, struct einsum *e)
{
	const char *s = tg_im_str(im, "equation", "");
	bool dots;
	for (uint32_t i = 0; i < e->n; i++) {
		struct term *t = &e->terms[i];
		t->v = operand(im, i);
		uint32_t rank = tg_im_rank(im, t->v), letters = count_labels(s);
		s = read_term(im, s, t, rank > letters ? rank - letters : 0, &dots);
		if (!im->failed && t->n != rank)
			tg_im_error(im, "the equation has %u labels for operand %u of rank %u", t->n, i, rank);
		if (dots && rank - letters > e->n_dots)
			e->n_dots = rank - letters;
		if (i + 1 < e->n && *s++ != ',')
			tg_im_error(im, "the equation has fewer terms than there are operands");
		if (im->failed)
			return false;
	}
	if (*s == '-' && s[1] == '>') {
		s = read_term(im, s + 2, &e->result, e->n_dots, &dots);
		if (*s)
			tg_im_error(im, "the equation goes on after its result");
	} else if (*s) {
		tg_im_error(im, "the equation has more terms than there are operands");
	} else {
		implicit_result(e, &e->result);
	}
	return !im->failed;
}

static bool check_sizes(struct tg_im *im, struct einsum *e)
{
	for (uint32_t i = 0; i < N_LABELS; i++)
		e->size[i] = -1;
	for (uint32_t i = 0; i < e->n; i++)
		for (uint32_t k = 0; k < e->terms[i].n; k++) {
			int64_t n = tg_im_shape(im, e->terms[i].v)->dim[k], *have = &e->size[e->terms[i].label[k]];
			if (*have > 0 && n != *have && n != 1 && *have != 1)
				tg_im_error(im, "a label has sizes %lld and %lld", (long long)*have, (long long)n);
			*have = *have == -1 || *have == 1 ? n : *have;
		}
	for (uint32_t i = 0; i < e->result.n; i++) {
		if (e->size[e->result.label[i]] < 0)
			tg_im_error(im, "the result has a label that no operand has");
		for (uint32_t k = i + 1; k < e->result.n; k++)
			if (e->result.label[i] == e->result.label[k])
				tg_im_error(im, "the result has a label twice");
	}
	return !im->failed;
}

void tg_im_import_einsum(struct tg_im *im)
{
	struct einsum e = { .n = im->n_in };
	e.terms = tg_alloc_n(im->tmp, e.n + 1u, sizeof *e.terms);
	if (!e.n)
		tg_im_error(im, "Einsum has no operands");
	if (im->failed || !read_equation(im, &e) || !check_sizes(im, &e))
		return;
	for (uint32_t i = 0; i < e.n; i++)
		take_diagonals(im, &e.terms[i]);
	struct term r = e.terms[0];
	for (uint32_t i = 1; i < e.n && !im->failed; i++)
		r = join(im, &e, &r, &e.terms[i], i + 1);
	sum_unwanted(im, &e, &r, e.n, NULL);
	im->out[0] = arrange(im, &r, e.result.label, e.result.n);
}
