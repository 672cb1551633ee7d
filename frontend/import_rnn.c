/* import_rnn.c: RNN, GRU and LSTM, unrolled over the sequence.
 *
 * The products with the inputs are one matmul over all steps; what remains in a step is the product with the state and the gates. Sequences of
 * different lengths run in step: behind a sequence's end its state is kept and its outputs are 0. */
#include "import.h"

#include <string.h>

enum { MAX_STEPS = 8192, N_GATES_MAX = 4, CELL_RNN = 0, CELL_GRU = 1, CELL_LSTM = 2 };

struct act { const char *name; double alpha, beta; };
struct rnn {
	uint32_t cell, n_gates, n_acts;
	int64_t steps, batch, inputs, hidden, dirs;
	bool layout, linear_before_reset, input_forget, has_clip;
	double clip;
	enum tg_dtype type;
	tg_val x; /* [steps, batch, inputs] */
	tg_val lens; /* i32 [batch, 1], or zero */
	tg_val h0, c0; /* [dirs, batch, hidden], or zero */
	struct act act[6];
};
/* One direction's weights: w [inputs, gates * hidden], r [hidden, gates * hidden], biases [1, gates * hidden] or zero, peepholes */
struct weights { tg_val w, r, wb, rb, peep; };
struct state { tg_val h, c; };

static tg_val num(struct tg_im *im, const struct rnn *r, double v)
{
	return tg_im_scalar(im, r->type, v);
}

static tg_val gate(struct tg_im *im, const struct rnn *r, tg_val v, uint32_t i)
{
	return tg_im_slice(im, v, tg_im_rank(im, v) - 1, (int64_t)i * r->hidden, r->hidden);
}

/* Slice `dir` of the first dimension, which is dropped. */
static tg_val of_dir(struct tg_im *im, tg_val v, uint32_t dir)
{
	struct tg_shape s = *tg_im_shape(im, v);
	if (!tg_has(v) || im->failed)
		return v;
	s.rank--;
	memmove(s.dim, s.dim + 1, s.rank * sizeof *s.dim);
	return tg_im_reshape(im, tg_im_slice(im, v, 0, dir, 1), &s);
}

/* ---- activations ---- */

static tg_val activate_f(struct tg_im *im, enum tg_op_code code, tg_val x, double a, double b)
{
	union tg_attr attrs[2];
	attrs[0].f = a;
	attrs[1].f = b;
	return tg_im_op(im, code, &x, 1, attrs);
}

static tg_val activate(struct tg_im *im, const struct rnn *r, uint32_t which, tg_val x)
{
	const struct act *a = &r->act[which];
	if (r->has_clip)
		x = X_MIN(X_MAX(x, num(im, r, -r->clip)), num(im, r, r->clip));
	if (!strcmp(a->name, "tanh"))
		return tg_im_1(im, TG_OP_tanh, x);
	if (!strcmp(a->name, "sigmoid"))
		return tg_im_1(im, TG_OP_sigmoid, x);
	if (!strcmp(a->name, "relu"))
		return tg_im_1(im, TG_OP_relu, x);
	if (!strcmp(a->name, "softsign"))
		return tg_im_1(im, TG_OP_softsign, x);
	if (!strcmp(a->name, "softplus"))
		return tg_im_1(im, TG_OP_softplus, x);
	if (!strcmp(a->name, "affine"))
		return X_ADD(X_MUL(x, num(im, r, a->alpha)), num(im, r, a->beta));
	if (!strcmp(a->name, "scaledtanh"))
		return X_MUL(tg_im_1(im, TG_OP_tanh, X_MUL(x, num(im, r, a->beta))), num(im, r, a->alpha));
	if (!strcmp(a->name, "leakyrelu"))
		return activate_f(im, TG_OP_leaky_relu, x, a->alpha, 0);
	if (!strcmp(a->name, "thresholdedrelu"))
		return activate_f(im, TG_OP_thresholded_relu, x, a->alpha, 0);
	if (!strcmp(a->name, "elu"))
		return activate_f(im, TG_OP_elu, x, a->alpha, 0);
	if (!strcmp(a->name, "hardsigmoid"))
		return activate_f(im, TG_OP_hard_sigmoid, x, a->alpha, a->beta);
	tg_im_refuse(im, "activation function %s", tg_quoted(im->tmp, a->name));
	return x;
}

static void default_factors(struct act *a)
{
	static const struct act table[] = { { "affine", 1, 0 },	      { "leakyrelu", (double)0.01f, 0 }, { "thresholdedrelu", 1, 0 },
					    { "scaledtanh", 1, 1 },   { "elu", 1, 0 },			 { "hardsigmoid", (double)0.2f, 0.5 } };
	for (uint32_t i = 0; i < TG_ARRAY_LEN(table); i++)
		if (!strcmp(a->name, table[i].name))
			*a = table[i];
}

static const char *lower(struct tg_im *im, const ProtobufCBinaryData *s)
{
	char *p = tg_strndup(im->tmp, (const char *)s->data, s->len);
	for (char *c = p; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	return p;
}

static bool read_activations(struct tg_im *im, struct rnn *r)
{
	static const char *const defaults[3][3] = { { "tanh" }, { "sigmoid", "tanh" }, { "sigmoid", "tanh", "tanh" } };
	static const uint32_t counts[3] = { 1, 2, 3 };
	const Onnx__AttributeProto *names = tg_im_attr(im, "activations");
	const double *alpha = NULL, *beta = NULL;
	uint32_t n_alpha = 0, n_beta = 0, n = (uint32_t)(counts[r->cell] * r->dirs);
	tg_im_attr_floats(im, "activation_alpha", &alpha, &n_alpha);
	tg_im_attr_floats(im, "activation_beta", &beta, &n_beta);
	r->n_acts = counts[r->cell];
	if (names && names->n_strings && names->n_strings != n) {
		tg_im_error(im, "the cell has %zu activations, expected %u", names->n_strings, n);
		return false;
	}
	for (uint32_t i = 0; i < n; i++) {
		r->act[i] = (struct act){ names && names->n_strings ? lower(im, &names->strings[i]) : defaults[r->cell][i % r->n_acts], 0, 0 };
		default_factors(&r->act[i]);
		r->act[i].alpha = i < n_alpha ? alpha[i] : r->act[i].alpha;
		r->act[i].beta = i < n_beta ? beta[i] : r->act[i].beta;
	}
	return !im->failed;
}

/* ---- cells: xw is this step's x W + Wb, [batch, gates * hidden] ---- */

static tg_val recur(struct tg_im *im, tg_val h, tg_val r, tg_val rb)
{
	tg_val y = tg_im_matmul(im, h, r);
	return tg_has(rb) ? X_ADD(y, rb) : y;
}

static struct state step_rnn(struct tg_im *im, const struct rnn *r, const struct weights *w, uint32_t act, tg_val xw, struct state s)
{
	s.h = activate(im, r, act, X_ADD(xw, recur(im, s.h, w->r, w->rb)));
	return s;
}

static struct state step_gru(struct tg_im *im, const struct rnn *r, const struct weights *w, uint32_t act, tg_val xw, struct state s)
{
	int64_t h = r->hidden;
	tg_val zr_r = tg_im_slice(im, w->r, 1, 0, 2 * h), h_r = tg_im_slice(im, w->r, 1, 2 * h, h);
	tg_val zr_b = tg_has(w->rb) ? tg_im_slice(im, w->rb, 1, 0, 2 * h) : w->rb, h_b = tg_has(w->rb) ? gate(im, r, w->rb, 2) : w->rb;
	tg_val zr = activate(im, r, act, X_ADD(tg_im_slice(im, xw, 1, 0, 2 * h), recur(im, s.h, zr_r, zr_b)));
	tg_val z = gate(im, r, zr, 0), reset = gate(im, r, zr, 1);
	tg_val inner = r->linear_before_reset ? X_MUL(reset, recur(im, s.h, h_r, h_b)) : recur(im, X_MUL(reset, s.h), h_r, h_b);
	tg_val fresh = activate(im, r, act + 1, X_ADD(gate(im, r, xw, 2), inner));
	s.h = X_ADD(X_MUL(X_SUB(num(im, r, 1), z), fresh), X_MUL(z, s.h));
	return s;
}

static tg_val peep(struct tg_im *im, const struct rnn *r, const struct weights *w, uint32_t i, tg_val x, tg_val c)
{
	return tg_has(w->peep) ? X_ADD(x, X_MUL(tg_im_slice(im, w->peep, 1, (int64_t)i * r->hidden, r->hidden), c)) : x;
}

/* gates in the order input, output, forget, cell; peepholes input, output, forget */
static struct state step_lstm(struct tg_im *im, const struct rnn *r, const struct weights *w, uint32_t act, tg_val xw, struct state s)
{
	tg_val all = X_ADD(xw, recur(im, s.h, w->r, w->rb));
	tg_val i = activate(im, r, act, peep(im, r, w, 0, gate(im, r, all, 0), s.c));
	tg_val f = r->input_forget ? X_SUB(num(im, r, 1), i) : activate(im, r, act, peep(im, r, w, 2, gate(im, r, all, 2), s.c));
	tg_val c = activate(im, r, act + 1, gate(im, r, all, 3));
	s.c = X_ADD(X_MUL(f, s.c), X_MUL(i, c));
	tg_val o = activate(im, r, act, peep(im, r, w, 1, gate(im, r, all, 1), s.c));
	/* the clip applies to the gates' inputs, not to the cell on its way out */
	struct rnn plain = *r;
	plain.has_clip = false;
	s.h = X_MUL(o, activate(im, &plain, act + 2, s.c));
	return s;
}

/* ---- one direction ---- */

static struct weights read_weights(struct tg_im *im, const struct rnn *r, uint32_t dir)
{
	struct weights w = { 0 };
	int64_t n = r->n_gates * r->hidden;
	w.w = tg_im_swap_last(im, of_dir(im, im->in[1], dir));
	w.r = tg_im_swap_last(im, of_dir(im, im->in[2], dir));
	if (tg_im_in(im, 3)) {
		tg_val b = tg_im_reshape_n(im, of_dir(im, im->in[3], dir), 2, (int64_t)1, 2 * n);
		w.wb = tg_im_slice(im, b, 1, 0, n);
		w.rb = tg_im_slice(im, b, 1, n, n);
	}
	if (r->cell == CELL_LSTM && tg_im_in(im, 7))
		w.peep = tg_im_reshape_n(im, of_dir(im, im->in[7], dir), 2, (int64_t)1, 3 * r->hidden);
	return w;
}

static tg_val initial(struct tg_im *im, const struct rnn *r, tg_val v, uint32_t dir)
{
	struct tg_shape s = { 2, { r->batch, r->hidden } };
	return tg_has(v) ? of_dir(im, v, dir) : tg_im_splat(im, r->type, &s, 0);
}

/* y: [steps, batch, hidden] */
static struct state run(struct tg_im *im, const struct rnn *r, uint32_t dir, bool backward, tg_val *y)
{
	static struct state (*const steps[3])(struct tg_im *, const struct rnn *, const struct weights *, uint32_t, tg_val, struct state) = { step_rnn, step_gru,
																	     step_lstm };
	struct weights w = read_weights(im, r, dir);
	int64_t n = r->n_gates * r->hidden;
	tg_val xw = tg_im_matmul(im, tg_im_reshape_n(im, r->x, 2, r->steps * r->batch, r->inputs), w.w);
	xw = tg_im_reshape_n(im, tg_has(w.wb) ? X_ADD(xw, w.wb) : xw, 3, r->steps, r->batch, n);
	struct state s = { initial(im, r, r->h0, dir), initial(im, r, r->c0, dir) };
	tg_val *rows = tg_alloc_n(im->tmp, (size_t)r->steps + 1, sizeof *rows);
	for (int64_t k = 0; k < r->steps && !im->failed; k++) {
		int64_t t = backward ? r->steps - 1 - k : k;
		tg_val now = tg_im_reshape_n(im, tg_im_slice(im, xw, 0, t, 1), 2, r->batch, n);
		struct state next = steps[r->cell](im, r, &w, dir * r->n_acts, now, s);
		tg_val out = next.h;
		if (tg_has(r->lens)) {
			tg_val runs = X_LT(tg_im_scalar_i64(im, TG_i32, t), r->lens);
			out = tg_im_select(im, runs, next.h, num(im, r, 0));
			next.h = tg_im_select(im, runs, next.h, s.h);
			next.c = tg_im_select(im, runs, next.c, s.c);
		}
		s = next;
		rows[t] = tg_im_reshape_n(im, out, 3, (int64_t)1, r->batch, r->hidden);
	}
	*y = im->failed ? (tg_val){ 0 } : tg_im_concat(im, rows, (uint32_t)r->steps, 0);
	return s;
}

/* ---- the node ---- */

static bool fits(struct tg_im *im, tg_val v, const char *what, uint32_t rank, int64_t a, int64_t b, int64_t c)
{
	struct tg_shape want = { rank, { a, b, c } };
	if (!tg_has(v) || tg_shape_equal(tg_im_shape(im, v), &want))
		return true;
	tg_im_error(im, "%s has not the shape that direction, hidden_size and the input ask for", what);
	return false;
}

/* [batch, dirs, hidden] to [dirs, batch, hidden] */
static tg_val swap_first(struct tg_im *im, tg_val v)
{
	static const int64_t perm[] = { 1, 0, 2 };
	return tg_has(v) && tg_im_rank(im, v) == 3 ? tg_im_transpose(im, v, perm) : v;
}

static void read_lengths(struct tg_im *im, struct rnn *r)
{
	if (!tg_im_in(im, 4) || im->failed)
		return;
	const struct tg_const *c = tg_im_peek(im, im->in[4]);
	bool all = c;
	if (tg_im_count(im, im->in[4]) != r->batch) {
		tg_im_error(im, "sequence_lens has %lld elements, expected %lld", (long long)tg_im_count(im, im->in[4]), (long long)r->batch);
		return;
	}
	for (int64_t i = 0; all && i < r->batch; i++)
		all = tg_const_i64(c, i) == r->steps;
	if (!all)
		r->lens = tg_im_reshape_n(im, tg_im_cast(im, im->in[4], TG_i32), 2, r->batch, (int64_t)1);
}

static bool read_rnn(struct tg_im *im, struct rnn *r)
{
	static const uint32_t gates[3] = { 1, 3, 4 };
	const char *dir = tg_im_str(im, "direction", "forward");
	r->cell = (uint32_t)im->row->arg;
	r->n_gates = gates[r->cell];
	r->dirs = !strcmp(dir, "bidirectional") ? 2 : 1;
	if (r->dirs == 1 && strcmp(dir, "forward") && strcmp(dir, "reverse"))
		tg_im_error(im, "attribute direction is %s, expected forward, reverse or bidirectional", tg_quoted(im->tmp, dir));
	for (uint32_t i = 0; i < 3; i++)
		if (!tg_im_in(im, i))
			tg_im_error(im, "operand %u is left out", i);
	if (!im->failed && (tg_im_rank(im, im->in[0]) != 3 || tg_im_rank(im, im->in[1]) != 3 || tg_im_rank(im, im->in[2]) != 3))
		tg_im_error(im, "X, W and R must have rank 3");
	if (im->failed)
		return false;
	r->layout = tg_im_int(im, "layout", 0);
	r->linear_before_reset = tg_im_int(im, "linear_before_reset", 0);
	r->input_forget = tg_im_int(im, "input_forget", 0);
	r->has_clip = tg_im_has(im, "clip");
	r->clip = tg_im_float(im, "clip", 0);
	r->type = tg_im_type(im, im->in[0]);
	r->x = r->layout ? swap_first(im, im->in[0]) : im->in[0];
	const struct tg_shape *s = tg_im_shape(im, r->x);
	r->steps = s->dim[0];
	r->batch = s->dim[1];
	r->inputs = s->dim[2];
	r->hidden = tg_im_shape(im, im->in[2])->dim[2];
	int64_t n = r->n_gates * r->hidden;
	r->h0 = tg_im_in(im, 5) ? im->in[5] : (tg_val){ 0 };
	r->c0 = r->cell == CELL_LSTM && tg_im_in(im, 6) ? im->in[6] : (tg_val){ 0 };
	if (r->layout) {
		r->h0 = swap_first(im, r->h0);
		r->c0 = swap_first(im, r->c0);
	}
	if (tg_im_int(im, "hidden_size", r->hidden) != r->hidden)
		tg_im_error(im, "hidden_size is %lld, R is for %lld", (long long)tg_im_int(im, "hidden_size", 0), (long long)r->hidden);
	if (r->steps > MAX_STEPS || r->steps == 0)
		tg_im_refuse(im, "a recurrence over %lld steps, 1 to %d can be unrolled", (long long)r->steps, MAX_STEPS);
	return !im->failed && fits(im, im->in[1], "W", 3, r->dirs, n, r->inputs) && fits(im, im->in[2], "R", 3, r->dirs, n, r->hidden) &&
	       fits(im, tg_im_in(im, 3) ? im->in[3] : (tg_val){ 0 }, "B", 2, r->dirs, 2 * n, 0) && fits(im, r->h0, "initial_h", 3, r->dirs, r->batch, r->hidden) &&
	       fits(im, r->c0, "initial_c", 3, r->dirs, r->batch, r->hidden) && read_activations(im, r);
}

void tg_im_import_rnn(struct tg_im *im)
{
	struct rnn r = { 0 };
	tg_val y[2], h[2], c[2];
	if (!read_rnn(im, &r))
		return;
	read_lengths(im, &r);
	bool reverse = !strcmp(tg_im_str(im, "direction", "forward"), "reverse");
	for (uint32_t dir = 0; dir < r.dirs; dir++) {
		struct state s = run(im, &r, dir, reverse || dir == 1, &y[dir]);
		y[dir] = tg_im_reshape_n(im, y[dir], 4, r.steps, (int64_t)1, r.batch, r.hidden);
		h[dir] = tg_im_reshape_n(im, s.h, 3, (int64_t)1, r.batch, r.hidden);
		c[dir] = tg_im_reshape_n(im, s.c, 3, (int64_t)1, r.batch, r.hidden);
	}
	if (im->failed)
		return;
	static const int64_t to_batch[] = { 2, 0, 1, 3 };
	tg_val all = tg_im_concat(im, y, (uint32_t)r.dirs, 1), last[2] = { tg_im_concat(im, h, (uint32_t)r.dirs, 0), tg_im_concat(im, c, (uint32_t)r.dirs, 0) };
	if (im->n_out > 0)
		im->out[0] = r.layout ? tg_im_transpose(im, all, to_batch) : all;
	for (uint32_t i = 0; i < 2 && i + 1 < im->n_out; i++)
		im->out[1 + i] = r.layout ? swap_first(im, last[i]) : last[i];
}
