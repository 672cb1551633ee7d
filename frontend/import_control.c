/* import_control.c: If, Loop and Scan, as far as they can be unfolded when the model is imported.
 *
 * An If whose condition is known takes one branch; otherwise both are imported and their results selected, which is right because nothing in a
 * branch has side effects. A Loop or Scan whose trip count is known is unrolled; a condition that is not known turns later iterations into
 * selections between the new state and the old. */
#include "import.h"

#include <string.h>

enum { MAX_TRIPS = 16384, MAX_MASKED_TRIPS = 256 };

/* ---- If ---- */

struct branches { tg_val cond, *first; uint32_t n; const Onnx__GraphProto *other; };

static void both_done(struct tg_im *im, void *state, const tg_val *results, uint32_t n)
{
	struct branches *b = state;
	for (uint32_t i = 0; i < n && i < im->n_out; i++) {
		if (!tg_has(results[i]) || !tg_has(b->first[i]) || !tg_shape_equal(tg_im_shape(im, results[i]), tg_im_shape(im, b->first[i]))) {
			tg_im_refuse(im, "If with a condition from the data, whose branches give result %u another shape", i);
			return;
		}
		im->out[i] = tg_im_select(im, b->cond, b->first[i], results[i]);
	}
}

static void first_done(struct tg_im *im, void *state, const tg_val *results, uint32_t n)
{
	struct branches *b = state;
	b->first = tg_alloc_n(im->tmp, n + 1u, sizeof *b->first);
	memcpy(b->first, results, n * sizeof *results);
	tg_im_enter(im, b->other, NULL, 0, both_done, b);
}

void tg_im_import_if(struct tg_im *im)
{
	const Onnx__GraphProto *yes = tg_im_graph(im, "then_branch"), *no = tg_im_graph(im, "else_branch");
	if (!im->failed && (!tg_im_in(im, 0) || tg_im_type(im, im->in[0]) != TG_bool || tg_im_count(im, im->in[0]) != 1))
		tg_im_error(im, "the condition of If is not one bool");
	if (!im->failed && (yes->n_output != im->n_out || no->n_output != im->n_out))
		tg_im_error(im, "the branches give %zu and %zu results, the node has %u", yes->n_output, no->n_output, im->n_out);
	if (im->failed)
		return;
	const struct tg_const *c = tg_im_try_const(im, im->in[0]);
	if (im->failed)
		return;
	if (c) {
		tg_im_enter_branch(im, tg_const_i64(c, 0) ? yes : no, NULL, 0);
		return;
	}
	struct branches *b = tg_alloc(im->tmp, sizeof *b);
	*b = (struct branches){ .cond = tg_im_reshape_n(im, im->in[0], 0), .other = no };
	tg_im_enter(im, yes, NULL, 0, first_done, b);
}

/* ---- Loop ---- */

struct loop {
	const Onnx__GraphProto *body;
	int64_t trip, n_trips; /* n_trips -1: no bound */
	uint32_t n_state, n_scan;
	tg_val *state;         /* n_state */
	tg_val active;         /* zero: certainly */
	tg_val **scans;        /* n_scan lists */
	size_t n_rows, cap;
};

static tg_val row_of(struct tg_im *im, tg_val v, uint32_t axis)
{
	struct tg_shape s = *tg_im_shape(im, v);
	if (s.rank + 1 > TG_MAX_RANK || axis > s.rank) {
		tg_im_refuse(im, "a scanned result of rank %u", s.rank + 1);
		return v;
	}
	memmove(s.dim + axis + 1, s.dim + axis, (s.rank - axis) * sizeof *s.dim);
	s.dim[axis] = 1;
	s.rank++;
	return tg_im_reshape(im, v, &s);
}

static void add_rows(struct tg_im *im, struct loop *l, const tg_val *values)
{
	size_t old = l->n_rows * sizeof(tg_val);
	if (l->n_rows == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		for (uint32_t i = 0; i < l->n_scan; i++)
			l->scans[i] = tg_grow(im->tmp, l->scans[i], old, l->cap * sizeof(tg_val));
	}
	for (uint32_t i = 0; i < l->n_scan; i++)
		l->scans[i][l->n_rows] = values[i];
	l->n_rows++;
}

static void loop_end(struct tg_im *im, struct loop *l)
{
	for (uint32_t i = 0; i < l->n_state && i < im->n_out; i++)
		im->out[i] = l->state[i];
	for (uint32_t i = 0; i < l->n_scan && l->n_state + i < im->n_out; i++) {
		if (!l->n_rows) {
			tg_im_refuse(im, "a Loop without iterations, whose scanned results have no shape");
			return;
		}
		for (size_t k = 0; k < l->n_rows; k++)
			l->scans[i][k] = row_of(im, l->scans[i][k], 0);
		im->out[l->n_state + i] = tg_im_concat(im, l->scans[i], (uint32_t)l->n_rows, 0);
	}
}

static void loop_next(struct tg_im *im, struct loop *l);

/* results: condition, states, scanned values */
static void loop_trip_done(struct tg_im *im, void *state, const tg_val *results, uint32_t n)
{
	struct loop *l = state;
	(void)n;
	for (uint32_t i = 0; i < l->n_state; i++) {
		if (!tg_has(results[1 + i])) {
			tg_im_refuse(im, "a Loop that carries a sequence");
			return;
		}
		l->state[i] = tg_has(l->active) ? tg_im_select(im, l->active, results[1 + i], l->state[i]) : results[1 + i];
	}
	if (l->n_scan)
		add_rows(im, l, results + 1 + l->n_state);
	l->trip++;
	const struct tg_const *c = tg_im_peek(im, results[0]);
	if (c && !tg_const_i64(c, 0)) {
		loop_end(im, l);
		return;
	}
	if (!c) {
		if (l->n_scan || l->n_trips < 0 || l->n_trips > MAX_MASKED_TRIPS) {
			tg_im_refuse(im, "the number of iterations of Loop depends on the data");
			return;
		}
		tg_val go = tg_im_reshape_n(im, results[0], 0);
		l->active = tg_has(l->active) ? X_AND(l->active, go) : go;
	}
	loop_next(im, l);
}

static void loop_next(struct tg_im *im, struct loop *l)
{
	if (l->trip == l->n_trips || im->failed) {
		loop_end(im, l);
		return;
	}
	if (l->trip >= MAX_TRIPS || l->n_trips > MAX_TRIPS) {
		tg_im_refuse(im, "a Loop of more than %d iterations", MAX_TRIPS);
		return;
	}
	tg_val *actual = tg_alloc_n(im->tmp, l->n_state + 2u, sizeof *actual);
	actual[0] = tg_im_scalar_i64(im, TG_i64, l->trip);
	actual[1] = tg_im_scalar_i64(im, TG_bool, 1);
	memcpy(actual + 2, l->state, l->n_state * sizeof *actual);
	tg_im_enter(im, l->body, actual, l->n_state + 2, loop_trip_done, l);
}

void tg_im_import_loop(struct tg_im *im)
{
	struct loop *l = tg_alloc(im->tmp, sizeof *l);
	l->body = tg_im_graph(im, "body");
	if (im->failed)
		return;
	l->n_state = im->n_in > 2 ? im->n_in - 2 : 0;
	if (l->body->n_input != l->n_state + 2 || l->body->n_output < l->n_state + 1) {
		tg_im_error(im, "the body of Loop has %zu inputs and %zu outputs for %u carried values", l->body->n_input, l->body->n_output, l->n_state);
		return;
	}
	l->n_scan = (uint32_t)l->body->n_output - l->n_state - 1;
	l->scans = tg_alloc_n(im->tmp, l->n_scan + 1u, sizeof *l->scans);
	l->state = tg_alloc_n(im->tmp, l->n_state + 1u, sizeof *l->state);
	for (uint32_t i = 0; i < l->n_state; i++) {
		l->state[i] = im->in[2 + i];
		if (!tg_has(l->state[i])) {
			tg_im_refuse(im, "a Loop that carries a sequence or nothing");
			return;
		}
	}
	const struct tg_const *n = tg_im_in(im, 0) ? tg_im_const(im, im->in[0], "number of iterations of Loop", true) : NULL;
	l->n_trips = n && tg_const_i64(n, 0) != INT64_MAX ? tg_const_i64(n, 0) : -1;
	if (n && l->n_trips < 0 && tg_const_i64(n, 0) != INT64_MAX)
		l->n_trips = 0;
	if (!im->failed && n && (tg_is_float(n->dtype) || tg_im_count(im, im->in[0]) != 1))
		tg_im_error(im, "the number of iterations is not one integer");
	if (im->failed)
		return;
	const struct tg_const *go = tg_im_in(im, 1) ? tg_im_try_const(im, im->in[1]) : NULL;
	if (tg_im_in(im, 1) && !go && !im->failed) {
		if (l->n_scan || l->n_trips < 0 || l->n_trips > MAX_MASKED_TRIPS)
			tg_im_refuse(im, "whether Loop runs depends on the data");
		l->active = tg_im_reshape_n(im, im->in[1], 0);
	}
	if (im->failed)
		return;
	if (go && !tg_const_i64(go, 0))
		loop_end(im, l);
	else
		loop_next(im, l);
}

/* ---- Scan ---- */

struct scan { struct loop l; uint32_t n_in, *in_axis, *out_axis; bool *in_back, *out_back; tg_val *in; };

static tg_val element(struct tg_im *im, tg_val x, uint32_t axis, int64_t at)
{
	struct tg_shape s = *tg_im_shape(im, x);
	memmove(s.dim + axis, s.dim + axis + 1, (s.rank - axis - 1) * sizeof *s.dim);
	s.rank--;
	return tg_im_reshape(im, tg_im_slice(im, x, axis, at, 1), &s);
}

static void scan_end(struct tg_im *im, struct scan *s)
{
	struct loop *l = &s->l;
	for (uint32_t i = 0; i < l->n_state && i < im->n_out; i++)
		im->out[i] = l->state[i];
	for (uint32_t i = 0; i < l->n_scan && l->n_state + i < im->n_out; i++) {
		uint32_t n = (uint32_t)l->n_rows;
		tg_val *rows = tg_alloc_n(im->tmp, n + 1u, sizeof *rows);
		uint32_t axis = tg_im_axis(im, (int32_t)s->out_axis[i], tg_im_rank(im, n ? l->scans[i][0] : (tg_val){ 0 }) + 1);
		for (uint32_t k = 0; k < n && !im->failed; k++)
			rows[k] = row_of(im, l->scans[i][s->out_back[i] ? n - 1 - k : k], axis);
		if (!n)
			tg_im_refuse(im, "a Scan over nothing, whose results have no shape");
		im->out[l->n_state + i] = im->failed ? (tg_val){ 0 } : tg_im_concat(im, rows, n, axis);
	}
}

static void scan_next(struct tg_im *im, struct scan *s);

static void scan_trip_done(struct tg_im *im, void *state, const tg_val *results, uint32_t n)
{
	struct scan *s = state;
	for (uint32_t i = 0; i < n; i++)
		if (!tg_has(results[i])) {
			tg_im_refuse(im, "a Scan that carries a sequence");
			return;
		}
	memcpy(s->l.state, results, s->l.n_state * sizeof *results);
	if (s->l.n_scan)
		add_rows(im, &s->l, results + s->l.n_state);
	s->l.trip++;
	scan_next(im, s);
}

static void scan_next(struct tg_im *im, struct scan *s)
{
	struct loop *l = &s->l;
	if (l->trip == l->n_trips || im->failed) {
		scan_end(im, s);
		return;
	}
	tg_val *actual = tg_alloc_n(im->tmp, l->n_state + s->n_in + 1u, sizeof *actual);
	memcpy(actual, l->state, l->n_state * sizeof *actual);
	for (uint32_t i = 0; i < s->n_in; i++)
		actual[l->n_state + i] = element(im, s->in[i], s->in_axis[i], s->in_back[i] ? l->n_trips - 1 - l->trip : l->trip);
	tg_im_enter(im, l->body, actual, l->n_state + s->n_in, scan_trip_done, s);
}

static int64_t at_or(struct tg_ints v, uint32_t i, int64_t dflt)
{
	return i < v.n ? v.at[i] : dflt;
}

static bool scan_axes(struct tg_im *im, struct scan *s)
{
	struct tg_ints axes, back, out_axes, out_back;
	tg_im_attr_ints(im, "scan_input_axes", &axes);
	tg_im_attr_ints(im, "scan_input_directions", &back);
	tg_im_attr_ints(im, "scan_output_axes", &out_axes);
	tg_im_attr_ints(im, "scan_output_directions", &out_back);
	s->in_axis = tg_alloc_n(im->tmp, s->n_in + 1u, sizeof *s->in_axis);
	s->in_back = tg_alloc_n(im->tmp, s->n_in + 1u, sizeof *s->in_back);
	s->out_axis = tg_alloc_n(im->tmp, s->l.n_scan + 1u, sizeof *s->out_axis);
	s->out_back = tg_alloc_n(im->tmp, s->l.n_scan + 1u, sizeof *s->out_back);
	s->l.n_trips = -1;
	for (uint32_t i = 0; i < s->n_in && !im->failed; i++) {
		s->in_axis[i] = tg_im_axis(im, at_or(axes, i, 0), tg_im_rank(im, s->in[i]));
		s->in_back[i] = at_or(back, i, 0);
		int64_t n = im->failed ? 0 : tg_im_shape(im, s->in[i])->dim[s->in_axis[i]];
		if (s->l.n_trips >= 0 && n != s->l.n_trips)
			tg_im_error(im, "the inputs of Scan have %lld and %lld elements", (long long)s->l.n_trips, (long long)n);
		s->l.n_trips = n;
	}
	for (uint32_t i = 0; i < s->l.n_scan; i++) {
		s->out_axis[i] = (uint32_t)(int32_t)at_or(out_axes, i, 0);
		s->out_back[i] = at_or(out_back, i, 0);
	}
	if (s->l.n_trips > MAX_TRIPS)
		tg_im_refuse(im, "a Scan of more than %d iterations", MAX_TRIPS);
	return !im->failed;
}

void tg_im_import_scan(struct tg_im *im)
{
	struct scan *s = tg_alloc(im->tmp, sizeof *s);
	s->l.body = tg_im_graph(im, "body");
	int64_t n_in = tg_im_int(im, "num_scan_inputs", 0);
	if (im->failed)
		return;
	if (n_in < 1 || n_in > im->n_in || s->l.body->n_input != im->n_in || (int64_t)s->l.body->n_output < im->n_in - n_in) {
		tg_im_error(im, "Scan with %lld scanned inputs has %u operands, its body %zu", (long long)n_in, im->n_in, s->l.body->n_input);
		return;
	}
	s->n_in = (uint32_t)n_in;
	s->l.n_state = im->n_in - s->n_in;
	s->l.n_scan = (uint32_t)s->l.body->n_output - s->l.n_state;
	s->l.scans = tg_alloc_n(im->tmp, s->l.n_scan + 1u, sizeof *s->l.scans);
	s->l.state = tg_alloc_n(im->tmp, s->l.n_state + 1u, sizeof *s->l.state);
	for (uint32_t i = 0; i < im->n_in; i++)
		if (!tg_im_in(im, i)) {
			tg_im_error(im, "operand %u is left out", i);
			return;
		}
	memcpy(s->l.state, im->in, s->l.n_state * sizeof *im->in);
	s->in = im->in + s->l.n_state;
	if (scan_axes(im, s))
		scan_next(im, s);
}
