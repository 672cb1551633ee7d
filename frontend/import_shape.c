/* import_shape.c: ops that change the shape of a tensor or the place of its elements. */
#include "import.h"

#include <string.h>

void tg_im_import_shape(struct tg_im *im)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	int64_t rank = s->rank, start = tg_im_int(im, "start", 0), end = tg_im_int(im, "end", rank);
	start = start < 0 ? start + rank : start;
	end = end < 0 ? end + rank : end;
	start = start < 0 ? 0 : start > rank ? rank : start;
	end = end < start ? start : end > rank ? rank : end;
	if (tg_has(im->in[0]))
		im->out[0] = tg_im_i64s(im, s->dim + start, (uint32_t)(end - start));
}

void tg_im_import_size(struct tg_im *im)
{
	im->out[0] = tg_im_scalar_i64(im, TG_i64, tg_im_count(im, im->in[0]));
}

/* ---- Reshape and friends ---- */

void tg_im_import_reshape(struct tg_im *im)
{
	struct tg_ints want;
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	if (!tg_im_ints_of(im, 1, "shape", &want)) {
		tg_im_error(im, "Reshape has no shape");
		return;
	}
	bool allow_zero = tg_im_int(im, "allowzero", 0);
	struct tg_shape r = { .rank = want.n };
	int64_t known = 1, total = tg_im_count(im, im->in[0]);
	int32_t open = -1;
	if (want.n > TG_MAX_RANK) {
		tg_im_refuse(im, "Reshape to rank %u, at most %d is supported", want.n, TG_MAX_RANK);
		return;
	}
	for (uint32_t i = 0; i < want.n; i++) {
		int64_t v = want.at[i];
		if (v == 0 && !allow_zero && i < s->rank)
			v = s->dim[i];
		if (v < -1 || (v == -1 && open >= 0) || (v == 0 && !allow_zero && i >= s->rank)) {
			tg_im_error(im, "entry %u of the shape is %lld, which Reshape cannot mean here", i, (long long)v);
			return;
		}
		if (v == -1)
			open = (int32_t)i;
		else if (__builtin_mul_overflow(known, v, &known))
			known = -1;
		r.dim[i] = v;
	}
	if (open >= 0 && known > 0 && total % known == 0)
		r.dim[open] = total / known;
	else if (open >= 0 && known == 0 && total == 0)
		r.dim[open] = 0;
	else if (open >= 0 || known != total) {
		tg_im_error(im, "Reshape of %lld elements to a shape of %s%lld", (long long)total, open >= 0 ? "a multiple of " : "", (long long)known);
		return;
	}
	im->out[0] = tg_im_reshape(im, im->in[0], &r);
}

void tg_im_import_flatten(struct tg_im *im)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	int64_t axis = tg_im_int(im, "axis", 1), a = 1, b = 1;
	axis = axis == (int64_t)s->rank ? axis : s->rank ? tg_im_axis(im, axis, s->rank) : (axis && axis != 1 ? tg_im_axis(im, axis, 0) : 0);
	for (uint32_t i = 0; i < s->rank; i++)
		*(i < axis ? &a : &b) *= s->dim[i];
	im->out[0] = tg_im_reshape_n(im, im->in[0], 2, a, b);
}

void tg_im_import_squeeze(struct tg_im *im)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	struct tg_ints axes;
	bool given = tg_im_ints_of(im, 1, "axes", &axes);
	uint32_t mask = given ? tg_im_axes(im, axes, s->rank) : 0;
	struct tg_shape r = { 0 };
	for (uint32_t i = 0; i < s->rank; i++) {
		bool drop = given ? mask >> i & 1 : s->dim[i] == 1;
		if (drop && s->dim[i] != 1) {
			tg_im_error(im, "dimension %u has extent %lld, Squeeze removes 1 only", i, (long long)s->dim[i]);
			return;
		}
		if (!drop)
			r.dim[r.rank++] = s->dim[i];
	}
	im->out[0] = tg_im_reshape(im, im->in[0], &r);
}

void tg_im_import_unsqueeze(struct tg_im *im)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	struct tg_ints axes;
	if (!tg_im_ints_of(im, 1, "axes", &axes)) {
		tg_im_error(im, "Unsqueeze has no axes");
		return;
	}
	if (s->rank + axes.n > TG_MAX_RANK) {
		tg_im_refuse(im, "Unsqueeze to rank %u, at most %d is supported", s->rank + axes.n, TG_MAX_RANK);
		return;
	}
	struct tg_shape r = { .rank = s->rank + axes.n };
	uint32_t mask = tg_im_axes(im, axes, r.rank);
	for (uint32_t i = 0, k = 0; i < r.rank && !im->failed; i++)
		r.dim[i] = mask >> i & 1 ? 1 : s->dim[k++];
	im->out[0] = tg_im_reshape(im, im->in[0], &r);
}

void tg_im_import_transpose(struct tg_im *im)
{
	uint32_t rank = tg_im_rank(im, im->in[0]);
	struct tg_ints perm;
	int64_t p[TG_MAX_RANK];
	bool given = tg_im_attr_ints(im, "perm", &perm);
	if (given && perm.n != rank) {
		tg_im_error(im, "perm has %u entries, the operand rank %u", perm.n, rank);
		return;
	}
	if (given && (tg_im_axes(im, perm, rank), im->failed))
		return;
	for (uint32_t i = 0; i < rank; i++)
		p[i] = given ? tg_im_axis(im, perm.at[i], rank) : rank - 1 - i;
	if (tg_im_in(im, 0))
		im->out[0] = tg_im_transpose(im, im->in[0], p);
	else
		tg_im_error(im, "Transpose has no operand");
}

void tg_im_import_expand(struct tg_im *im)
{
	struct tg_ints want;
	struct tg_shape s, r;
	if (!tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "shape of Expand", &want)) {
		tg_im_error(im, "Expand has no shape");
		return;
	}
	if (want.n > TG_MAX_RANK) {
		tg_im_refuse(im, "Expand to rank %u, at most %d is supported", want.n, TG_MAX_RANK);
		return;
	}
	s = tg_im_shape_of(want.n, want.at);
	for (uint32_t i = 0; i < s.rank; i++)
		if (s.dim[i] < 0)
			tg_im_error(im, "entry %u of the shape is %lld", i, (long long)s.dim[i]);
	if (!tg_im_broadcast_shape(tg_im_shape(im, im->in[0]), &s, &r))
		tg_im_error(im, "the operand cannot be broadcast to the shape");
	im->out[0] = im->failed ? (tg_val){ 0 } : tg_im_broadcast(im, im->in[0], &r);
}

void tg_im_import_tile(struct tg_im *im)
{
	uint32_t rank = tg_im_rank(im, im->in[0]);
	struct tg_ints n;
	union tg_attr a[1];
	int64_t repeats[TG_MAX_RANK];
	if (!tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "repeats of Tile", &n)) {
		tg_im_error(im, "Tile has no repeats");
		return;
	}
	for (uint32_t i = 0; i < rank; i++)
		repeats[i] = 1;
	if (im->opset < 6) { /* a count and an axis */
		struct tg_ints axis = { NULL, 0 };
		if (n.n != 1 || !tg_im_ints(im, im->n_in > 2 ? im->in[2] : (tg_val){ 0 }, "axis of Tile", &axis) || axis.n != 1)
			tg_im_error(im, "Tile has no axis");
		else
			repeats[tg_im_axis(im, axis.at[0], rank)] = n.at[0];
	} else if (n.n != rank) {
		tg_im_error(im, "Tile has %u repeats, the operand rank %u", n.n, rank);
	} else {
		memcpy(repeats, n.at, rank * sizeof *repeats);
	}
	a[TG_AT(tile, repeats)].ints.at = repeats;
	a[TG_AT(tile, repeats)].ints.n = rank;
	im->out[0] = rank ? tg_im_op(im, TG_OP_tile, im->in, 1, a) : im->in[0];
}

/* ---- Concat, Split ---- */

void tg_im_import_concat(struct tg_im *im)
{
	for (uint32_t i = 0; i < im->n_in; i++)
		if (!tg_im_in(im, i))
			tg_im_error(im, "operand %u is left out", i);
	if (!im->n_in)
		tg_im_error(im, "Concat has no operands");
	if (im->failed)
		return;
	if (im->opset >= 4 && !tg_im_has(im, "axis"))
		tg_im_error(im, "Concat has no axis");
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 1), tg_im_rank(im, im->in[0]));
	im->out[0] = im->failed ? (tg_val){ 0 } : tg_im_concat(im, im->in, im->n_in, axis);
}

void tg_im_import_split(struct tg_im *im)
{
	uint32_t rank = tg_im_rank(im, im->in[0]);
	uint32_t axis = tg_im_axis(im, tg_im_int(im, "axis", 0), rank);
	struct tg_ints sizes;
	bool given = tg_im_ints_of(im, 1, "split", &sizes);
	int64_t n = tg_im_int(im, "num_outputs", im->n_out), total = im->failed ? 0 : tg_im_shape(im, im->in[0])->dim[axis], at = 0;
	if (given && sizes.n < im->n_out)
		tg_im_error(im, "Split has %u sizes for %u results", sizes.n, im->n_out);
	if (!given && (n < 1 || n < im->n_out))
		tg_im_error(im, "Split has %lld parts for %u results", (long long)n, im->n_out);
	for (uint32_t i = 0; i < im->n_out && !im->failed; i++) {
		/* without sizes: equal parts, the last one smaller (opset 18) */
		int64_t each = (total + n - 1) / n, size = given ? sizes.at[i] : each < total - at ? each : total - at;
		if (size < 0 || size > total - at)
			tg_im_error(im, "part %u of %lld elements leaves the axis of %lld", i, (long long)size, (long long)total);
		im->out[i] = tg_im_slice(im, im->in[0], axis, at, size);
		at += size;
	}
	if (given && at != total && sizes.n == im->n_out)
		tg_im_error(im, "the parts have %lld elements, the axis %lld", (long long)at, (long long)total);
}

/* ---- Slice, Pad ---- */

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* One axis, numpy's rule: negative positions count from the end, then everything is clamped. */
static void slice_axis(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *from, int64_t *size)
{
	start += start < 0 ? n : 0;
	end += end < 0 ? n : 0;
	start = step > 0 ? clamp(start, 0, n) : clamp(start, 0, n - 1);
	end = step > 0 ? clamp(end, 0, n) : clamp(end, -1, n);
	int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : step == INT64_MIN ? INT64_MAX : -step;
	*size = span > 0 && n > 0 ? (span - 1) / stride + 1 : 0;
	*from = *size ? start : 0;
}

void tg_im_import_slice(struct tg_im *im)
{
	const struct tg_shape *s = tg_im_shape(im, im->in[0]);
	uint32_t rank = s->rank;
	bool operands = im->opset >= 10;
	struct tg_ints starts, ends, axes, steps = { NULL, 0 };
	bool ok = tg_im_ints_of(im, operands ? 1 : 99, "starts", &starts) && tg_im_ints_of(im, operands ? 2 : 99, "ends", &ends);
	bool has_axes = tg_im_ints_of(im, operands ? 3 : 99, "axes", &axes);
	bool has_steps = operands && tg_im_in(im, 4) && tg_im_ints(im, im->in[4], "steps of Slice", &steps);
	if (!ok || starts.n != ends.n || (has_axes && axes.n != starts.n) || (has_steps && steps.n != starts.n) || (!has_axes && starts.n > rank)) {
		tg_im_error(im, "starts, ends, axes and steps of Slice do not agree");
		return;
	}
	if (has_axes)
		tg_im_axes(im, axes, rank);
	int64_t from[TG_MAX_RANK] = { 0 }, step[TG_MAX_RANK], size[TG_MAX_RANK];
	for (uint32_t i = 0; i < rank; i++) {
		step[i] = 1;
		size[i] = s->dim[i];
	}
	bool all = true;
	for (uint32_t i = 0; i < starts.n && !im->failed; i++) {
		uint32_t axis = has_axes ? tg_im_axis(im, axes.at[i], rank) : i;
		step[axis] = has_steps ? steps.at[i] : 1;
		if (!step[axis]) {
			tg_im_error(im, "step %u of Slice is 0", i);
			return;
		}
		slice_axis(s->dim[axis], starts.at[i], ends.at[i], step[axis], &from[axis], &size[axis]);
		if (size[axis] <= 1)
			step[axis] = 1;
		all &= size[axis] == s->dim[axis] && step[axis] == 1;
	}
	union tg_attr a[3];
	a[TG_AT(slice, start)].ints.at = from;
	a[TG_AT(slice, step)].ints.at = step;
	a[TG_AT(slice, size)].ints.at = size;
	for (uint32_t i = 0; i < 3; i++)
		a[i].ints.n = rank;
	im->out[0] = all || im->failed ? im->in[0] : tg_im_op(im, TG_OP_slice, im->in, 1, a);
}

/* bool has no fill of its own in arithmetic, but pads like any type. */
void tg_im_import_pad(struct tg_im *im)
{
	uint32_t rank = tg_im_rank(im, im->in[0]);
	struct tg_ints pads, axes;
	bool given = tg_im_ints_of(im, im->opset >= 11 ? 1 : 99, im->opset < 2 ? "paddings" : "pads", &pads);
	bool has_axes = im->opset >= 18 && tg_im_in(im, 3) && tg_im_ints(im, im->in[3], "axes of Pad", &axes);
	uint32_t n = has_axes ? axes.n : rank;
	const char *mode = tg_im_str(im, "mode", "constant");
	int64_t lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 };
	if (!given || pads.n != 2 * n) {
		tg_im_error(im, "Pad has %u pads, expected %u", pads.n, 2 * n);
		return;
	}
	if (has_axes)
		tg_im_axes(im, axes, rank);
	for (uint32_t i = 0; i < n && !im->failed; i++) {
		uint32_t axis = has_axes ? tg_im_axis(im, axes.at[i], rank) : i;
		lo[axis] = pads.at[i];
		hi[axis] = pads.at[i + n];
	}
	tg_val fill = { 0 };
	if (!strcmp(mode, "constant"))
		fill = im->opset < 11	 ? X_NUM(im->in[0], tg_im_float(im, "value", 0))
		       : tg_im_in(im, 2) ? tg_im_cast(im, tg_im_reshape_n(im, im->in[2], 0), tg_im_type(im, im->in[0]))
					 : X_NUM(im->in[0], 0);
	im->out[0] = tg_im_pad(im, im->in[0], lo, hi, mode, fill);
}

void tg_im_import_center_crop_pad(struct tg_im *im)
{
	tg_val x = im->in[0];
	uint32_t rank = tg_im_rank(im, x);
	struct tg_ints want, axes;
	bool has_axes = tg_im_attr_ints(im, "axes", &axes);
	if (!tg_im_ints(im, im->n_in > 1 ? im->in[1] : (tg_val){ 0 }, "shape of CenterCropPad", &want) || want.n != (has_axes ? axes.n : rank)) {
		tg_im_error(im, "the shape of CenterCropPad has not one entry for each axis");
		return;
	}
	int64_t lo[TG_MAX_RANK] = { 0 }, hi[TG_MAX_RANK] = { 0 };
	for (uint32_t i = 0; i < want.n && !im->failed; i++) {
		uint32_t axis = has_axes ? tg_im_axis(im, axes.at[i], rank) : i;
		int64_t n = im->failed ? 0 : tg_im_shape(im, x)->dim[axis], more = want.at[i] - n;
		lo[axis] = more >= 0 ? more / 2 : -(-more / 2);
		hi[axis] = more - lo[axis];
	}
	im->out[0] = tg_im_pad(im, x, lo, hi, "constant", X_NUM(x, 0));
}

/* ---- DepthToSpace, SpaceToDepth ---- */

void tg_im_import_depth_to_space(struct tg_im *im)
{
	const char *mode = tg_im_str(im, "mode", "DCR");
	union tg_attr a[2];
	a[TG_AT(depth_to_space, block)].i = tg_im_int(im, "blocksize", 0);
	a[TG_AT(depth_to_space, crd)].i = !strcmp(mode, "CRD");
	if (strcmp(mode, "CRD") && strcmp(mode, "DCR"))
		tg_im_error(im, "attribute mode is %s, expected DCR or CRD", tg_quoted(im->tmp, mode));
	im->out[0] = tg_im_op(im, TG_OP_depth_to_space, im->in, 1, a);
}

void tg_im_import_space_to_depth(struct tg_im *im)
{
	union tg_attr a[1];
	a[TG_AT(space_to_depth, block)].i = tg_im_int(im, "blocksize", 0);
	im->out[0] = tg_im_op(im, TG_OP_space_to_depth, im->in, 1, a);
}

/* ---- ReverseSequence: a gather whose index is computed from the lengths ---- */

void tg_im_import_reverse_sequence(struct tg_im *im)
{
	tg_val x = im->in[0], lens = im->n_in > 1 ? im->in[1] : (tg_val){ 0 };
	const struct tg_shape *s = tg_im_shape(im, x);
	int64_t batch = tg_im_int(im, "batch_axis", 1), time = tg_im_int(im, "time_axis", 0);
	if (batch + time != 1 || batch < 0 || time < 0 || s->rank < 2 || !tg_has(lens)) {
		tg_im_error(im, "batch_axis and time_axis must be 0 and 1, in either order");
		return;
	}
	int64_t n = s->dim[time], nb = s->dim[batch], rest = 1;
	for (uint32_t i = 2; i < s->rank; i++)
		rest *= s->dim[i];
	struct tg_shape times = { 2, { 1, 1 } }, batches = { 2, { 1, 1 } };
	times.dim[time] = n;
	batches.dim[batch] = nb;
	tg_val t = tg_im_iota(im, TG_i64, &times, (uint32_t)time), b = tg_im_iota(im, TG_i64, &batches, (uint32_t)batch);
	tg_val len = tg_im_reshape(im, tg_im_cast(im, lens, TG_i64), &batches);
	tg_val back = X_SUB(X_SUB(len, t), tg_im_scalar_i64(im, TG_i64, 1));
	tg_val from = tg_im_select(im, X_LT(t, len), back, t);
	tg_val flat = X_ADD(X_MUL(from, tg_im_scalar_i64(im, TG_i64, time == 0 ? nb : 1)), X_MUL(b, tg_im_scalar_i64(im, TG_i64, batch == 0 ? n : 1)));
	struct tg_shape out = *s;
	tg_val rows = tg_im_reshape_n(im, x, 2, n * nb, rest);
	im->out[0] = tg_im_reshape(im, tg_im_gather(im, rows, flat, 0), &out);
}
