/* import_sample.c: GridSample and AffineGrid.
 *
 * A sample is a weighted sum over the neighbours of its place: 1 (nearest), 2 (linear) or 4 (cubic) along each dimension. For each combination of
 * neighbours the pixel's flat index is computed and gathered from [batch * pixels, channels]; what lies outside is 0, the border or reflected. */
#include "import.h"

#include <string.h>

enum { MAX_DIMS = 3, MAX_TAPS = 4 };
enum padding { PAD_ZEROS, PAD_BORDER, PAD_REFLECTION };

/* Along one spatial dimension: tap k reads pixel index[k] (i32) with weight[k], each [batch, points]. */
struct axis { uint32_t n; tg_val index[MAX_TAPS], weight[MAX_TAPS]; };

static tg_val f(struct tg_im *im, double v)
{
	return tg_im_scalar(im, TG_f32, v);
}

static tg_val denormalise(struct tg_im *im, tg_val g, int64_t n, bool align)
{
	tg_val one = X_ADD(g, f(im, 1));
	if (align)
		return X_MUL(one, f(im, (double)(n - 1) / 2));
	return X_MUL(X_SUB(X_MUL(one, f(im, (double)n)), f(im, 1)), f(im, 0.5));
}

/* A triangle wave between the borders. */
static tg_val reflect(struct tg_im *im, tg_val x, int64_t n, bool align)
{
	double lo = align ? 0 : -0.5, range = align ? (double)(n - 1) : (double)n;
	if (range <= 0)
		return X_MUL(x, f(im, 0));
	union tg_attr a[1];
	a[TG_AT(mod, fmod)].i = 0;
	tg_val t = tg_im_op(im, TG_OP_mod, (tg_val[]){ X_SUB(x, f(im, lo)), f(im, 2 * range) }, 2, a);
	return X_ADD(X_MIN(t, X_SUB(f(im, 2 * range), t)), f(im, lo));
}

/* Keys' cubic with a = -0.75 at distance d, 0 <= d <= 1 (inner) or 1 <= d <= 2 (outer) */
static tg_val cubic(struct tg_im *im, tg_val d, bool outer)
{
	const double a = -0.75;
	if (outer)
		return X_SUB(X_MUL(X_ADD(X_MUL(X_SUB(X_MUL(d, f(im, a)), f(im, 5 * a)), d), f(im, 8 * a)), d), f(im, 4 * a));
	return X_ADD(X_MUL(X_MUL(X_SUB(X_MUL(d, f(im, a + 2)), f(im, a + 3)), d), d), f(im, 1));
}

static void place_tap(struct tg_im *im, struct axis *s, uint32_t k, tg_val at, tg_val weight, int64_t n, enum padding pad, bool align)
{
	tg_val top = f(im, (double)(n - 1)), zero = f(im, 0);
	if (pad == PAD_REFLECTION)
		at = reflect(im, at, n, align);
	if (pad == PAD_ZEROS) {
		tg_val inside = tg_im_cast(im, X_AND(X_LE(zero, at), X_LE(at, top)), TG_f32);
		weight = tg_has(weight) ? X_MUL(weight, inside) : inside;
	}
	s->index[k] = tg_im_cast(im, X_MAX(X_MIN(at, top), zero), TG_i32);
	s->weight[k] = weight;
}

static void place_axis(struct tg_im *im, struct axis *s, tg_val x, int64_t n, const char *mode, enum padding pad, bool align)
{
	if (!strcmp(mode, "nearest")) {
		s->n = 1;
		place_tap(im, s, 0, tg_im_1(im, TG_OP_round, x), (tg_val){ 0 }, n, pad, align);
		return;
	}
	tg_val base = tg_im_1(im, TG_OP_floor, x), t = X_SUB(x, base), u = X_SUB(f(im, 1), t);
	bool is_cubic = !strcmp(mode, "cubic") || !strcmp(mode, "bicubic");
	s->n = is_cubic ? 4 : 2;
	for (uint32_t k = 0; k < s->n; k++) {
		tg_val w;
		if (!is_cubic)
			w = k ? t : u;
		else
			w = k == 0 ? cubic(im, X_ADD(t, f(im, 1)), true) : k == 1 ? cubic(im, t, false) : k == 2 ? cubic(im, u, false) : cubic(im, X_ADD(u, f(im, 1)), true);
		place_tap(im, s, k, X_ADD(base, f(im, (double)k - (is_cubic ? 1 : 0))), w, n, pad, align);
	}
}

void tg_im_import_grid_sample(struct tg_im *im)
{
	static const char *const modes[] = { "bilinear", "linear", "nearest", "bicubic", "cubic" };
	static const char *const paddings[] = { "zeros", "border", "reflection" };
	tg_val x = im->n_in > 0 ? im->in[0] : (tg_val){ 0 }, grid = im->n_in > 1 ? im->in[1] : (tg_val){ 0 };
	const char *mode = tg_im_str(im, "mode", im->opset >= 20 ? "linear" : "bilinear"), *padding = tg_im_str(im, "padding_mode", "zeros");
	const struct tg_shape s = *tg_im_shape(im, x), g = *tg_im_shape(im, grid);
	bool align = tg_im_int(im, "align_corners", 0);
	uint32_t n = s.rank - 2, pad = 0, known = 0;
	while (pad < 3 && strcmp(padding, paddings[pad]))
		pad++;
	while (known < 5 && strcmp(mode, modes[known]))
		known++;
	if (!tg_has(x) || !tg_has(grid) || pad == 3 || known == 5 || s.rank < 3 || g.rank != s.rank || g.dim[g.rank - 1] != n || g.dim[0] != s.dim[0]) {
		tg_im_error(im, "GridSample of rank %u by a grid of rank %u, mode %s, padding %s", s.rank, g.rank, tg_quoted(im->tmp, mode),
			    tg_quoted(im->tmp, padding));
		return;
	}
	if (n > MAX_DIMS || !tg_im_count(im, x)) {
		tg_im_refuse(im, "GridSample over %u dimensions, 1 to %d are supported", n, MAX_DIMS);
		return;
	}
	int64_t batch = s.dim[0], pixels = 1, points = 1;
	for (uint32_t i = 0; i < n; i++) {
		pixels *= s.dim[i + 2];
		points *= g.dim[i + 1];
	}
	enum tg_dtype t = tg_im_type(im, x);
	tg_val coords = tg_im_reshape_n(im, tg_im_cast(im, grid, TG_f32), 3, batch, points, (int64_t)n);
	struct axis axes[MAX_DIMS] = { 0 };
	for (uint32_t i = 0; i < n; i++) { /* the grid's last entry is the first spatial dimension */
		tg_val at = tg_im_reshape_n(im, tg_im_slice(im, coords, 2, n - 1 - i, 1), 2, batch, points);
		place_axis(im, &axes[i], denormalise(im, at, s.dim[i + 2], align), s.dim[i + 2], mode, (enum padding)pad, align);
	}
	static const int64_t swap[] = { 0, 2, 1 };
	tg_val rows = tg_im_transpose(im, tg_im_reshape_n(im, x, 3, batch, s.dim[1], pixels), swap);
	rows = tg_im_reshape_n(im, rows, 2, batch * pixels, s.dim[1]);
	struct tg_shape batches = { 2, { batch, 1 } };
	tg_val first = X_MUL(tg_im_iota(im, TG_i32, &batches, 0), tg_im_scalar_i64(im, TG_i32, pixels)), sum = { 0 };
	uint32_t n_taps = 1;
	for (uint32_t i = 0; i < n; i++)
		n_taps *= axes[i].n;
	for (uint32_t k = 0; k < n_taps && !im->failed; k++) {
		tg_val place = { 0 }, weight = { 0 };
		uint32_t rest = k;
		for (uint32_t i = 0; i < n; i++, rest /= axes[i - 1].n) {
			const struct axis *a = &axes[i];
			tg_val index = a->index[rest % a->n], w = a->weight[rest % a->n];
			place = tg_has(place) ? X_ADD(X_MUL(place, tg_im_scalar_i64(im, TG_i32, s.dim[i + 2])), index) : index;
			weight = !tg_has(weight) ? w : tg_has(w) ? X_MUL(weight, w) : weight;
		}
		tg_val part = tg_im_gather(im, rows, X_ADD(place, first), 0);
		if (tg_has(weight))
			part = X_MUL(tg_im_cast(im, part, t == TG_f64 ? t : TG_f32), tg_im_cast(im, tg_im_reshape_n(im, weight, 3, batch, points, (int64_t)1), t == TG_f64 ? t : TG_f32));
		sum = tg_has(sum) ? X_ADD(sum, part) : part;
	}
	struct tg_shape out = g;
	out.dim[1] = s.dim[1];
	for (uint32_t i = 0; i < n; i++)
		out.dim[i + 2] = g.dim[i + 1];
	im->out[0] = tg_im_cast(im, tg_im_reshape(im, tg_im_transpose(im, sum, swap), &out), t);
}

/* theta [batch, n, n + 1] times the homogeneous coordinates of each place of the output */
void tg_im_import_affine_grid(struct tg_im *im)
{
	tg_val theta = im->n_in > 0 ? im->in[0] : (tg_val){ 0 };
	struct tg_ints size = { NULL, 0 };
	bool align = tg_im_int(im, "align_corners", 0);
	if (!tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "size of AffineGrid", &size))
		return;
	uint32_t n = size.n - 2;
	const struct tg_shape s = *tg_im_shape(im, theta);
	if (size.n < 4 || size.n > 5 || s.rank != 3 || s.dim[1] != n || s.dim[2] != n + 1 || s.dim[0] != size.at[0]) {
		tg_im_error(im, "AffineGrid needs theta [N, n, n + 1] and a size of 4 or 5 entries");
		return;
	}
	struct tg_shape grid = { .rank = n + 1 }, out = { .rank = n + 2, .dim = { size.at[0] } };
	int64_t points = 1;
	for (uint32_t i = 0; i < n; i++) {
		out.dim[i + 1] = grid.dim[i] = size.at[i + 2];
		if (size.at[i + 2] < 1 || __builtin_mul_overflow(points, size.at[i + 2], &points)) {
			tg_im_error(im, "entry %u of the size is %lld", i + 2, (long long)size.at[i + 2]);
			return;
		}
	}
	grid.dim[n] = 1;
	out.dim[n + 1] = n;
	tg_val parts[MAX_DIMS + 1];
	for (uint32_t i = 0; i < n; i++) {
		uint32_t d = n - 1 - i; /* x, the last dimension, comes first */
		double len = (double)size.at[d + 2], step = align ? (len > 1 ? 2 / (len - 1) : 0) : 2 / len, from = align ? (len > 1 ? -1 : 0) : -1 + 1 / len;
		struct tg_shape line = grid;
		for (uint32_t k = 0; k < n; k++)
			line.dim[k] = k == d ? grid.dim[k] : 1;
		tg_val at = X_ADD(X_MUL(tg_im_cast(im, tg_im_iota(im, TG_i32, &line, d), TG_f32), f(im, step)), f(im, from));
		parts[i] = tg_im_broadcast(im, at, &grid);
	}
	parts[n] = tg_im_splat(im, TG_f32, &grid, 1);
	tg_val base = tg_im_reshape_n(im, tg_im_concat(im, parts, n + 1, n), 2, points, (int64_t)n + 1);
	tg_val y = tg_im_matmul(im, base, tg_im_swap_last(im, tg_im_cast(im, theta, TG_f32)));
	im->out[0] = tg_im_cast(im, tg_im_reshape(im, y, &out), tg_im_type(im, theta));
}
