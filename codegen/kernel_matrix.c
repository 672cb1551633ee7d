/* kernel_matrix.c: a tile on the matrix unit, as one flat loop that the software pipeline overlaps with itself.
 *
 * An iteration concerns one block of weights (rows of the contracted dimensions times output columns) and a few groups of S rows of the moving operand:
 *
 *   push the block's weights, swap            in a block's first iteration
 *   stream the groups through the array       into their accumulator rows; a result's first block overwrites, the others add
 *   read, finish (bias, activation, ...), store   in a result's last block
 *
 * The three parts keep walkers of their own; overlapped, the pushes of the next block and the finishing of the last results run under the multiplies. Results
 * alternate between two halves of the accumulators where there is room. When reduction tiles share accumulators, INIT sets them to +0 by multiplying
 * with an empty array, ACCUMULATE adds, FINISH reads; every block of columns has accumulators of its own. */
#include "matrix.h"

#include <assert.h>

enum { MAX_SHORT_EPILOGUE = 14, FINE_GROUPS = 2, JOINED_GROUPS = 8, MAX_RUN = 4 };

/* ---- levels ----------------------------------------------------------------------------------------------------------------------- */

static uint32_t list_columns(const struct kernel *k, const struct matrix *x, int64_t column_blocks, struct level_of *l)
{
	uint32_t n = 0;
	l[n++] = (struct level_of){ k->lane, (int64_t)k->f->chip->array_cols * x->arrays, column_blocks, ROLE_N };
	for (uint32_t d = k->n_dims; d-- > 0;)
		if ((k->dim[d].role == ROLE_N || k->dim[d].role == ROLE_BATCH) && (int)d != k->lane)
			l[n++] = (struct level_of){ (int)d, 1, k->dim[d].n, ROLE_N };
	return n;
}

/* Innermost first: rows, contracted dimensions, columns, batch. Where the contracted dimension comes in chunks every column block takes its part of each. */
static uint32_t list_levels(const struct kernel *k, const struct matrix *x, int64_t column_blocks, struct level_of *l)
{
	uint32_t n = 0;
	const struct cut *c = &x->cut;
	if (c->split != NO_DIM)
		l[n++] = (struct level_of){ c->split, c->block, c->steps, ROLE_M };
	for (uint32_t d = k->n_dims; d-- > 0;)
		if (k->dim[d].role == ROLE_M && (int)d != c->split && (int)d != k->row)
			l[n++] = (struct level_of){ (int)d, 1, k->dim[d].n, ROLE_M };
	if (k->stream)
		n += list_columns(k, x, column_blocks, l + n);
	if ((x->mode == KERNEL_WHOLE || x->mode == KERNEL_ACCUMULATE) && x->phase != PHASE_READ) {
		l[n++] = (struct level_of){ x->contract, k->f->chip->array_rows, ceil_div(k->dim[x->contract].n, k->f->chip->array_rows), ROLE_K };
		for (uint32_t d = k->n_dims; d-- > 0;)
			if (k->dim[d].role == ROLE_K && (int)d != x->contract && !is_packed(x, (int)d))
				l[n++] = (struct level_of){ (int)d, 1, k->dim[d].n, ROLE_K };
		if (k->stream)
			l[n++] = (struct level_of){ CHUNK_DIM, 1, k->stream->chunks, ROLE_K };
	}
	if (!k->stream)
		n += list_columns(k, x, column_blocks, l + n);
	return n;
}

/* A register that follows the levels whose role is in `roles`, as an operand's address does. */
struct follower *matrix_follow(struct kernel *k, struct walker *w, struct flat *f, const int *level, uint32_t operand, const struct cut *c)
{
	struct follower *r = walker_follow(k, w, &f->before, k->ptr[operand], 0);
	for (uint32_t i = 0; r && i < f->n; i++) {
		if (level[i] < 0 || f->level[i].dim == CHUNK_DIM)
			continue;
		int64_t step = step_bytes(k, f->level[i].dim, operand);
		r->step[level[i]] = step * f->level[i].block;
		if (c && f->level[i].dim == c->split && level[i] == 0)
			r->overlap = step * c->overlap;
	}
	return r;
}

/* A register that counts positions of the levels of some roles, a bit for each, as one number. */
static vreg follow_number(struct kernel *k, struct walker *w, struct flat *f, const int *level, uint64_t roles, int64_t unit, int64_t *total)
{
	*total = 1;
	for (uint32_t i = 0; i < f->n; i++)
		if (roles >> f->level[i].role & 1)
			*total *= f->level[i].count;
	if (*total == 1)
		return (vreg){ 0 };
	struct follower *r = walker_follow(k, w, &f->before, (vreg){ 0 }, 0);
	int64_t radix = unit;
	for (uint32_t i = 0; r && i < f->n; i++) {
		if (!(roles >> f->level[i].role & 1))
			continue;
		if (level[i] >= 0)
			r->step[level[i]] = radix;
		radix *= f->level[i].count;
	}
	return r ? r->reg : (vreg){ 0 };
}

/* Levels of a walker: all; `as_one` joins those of a role into a single one, which then only counts. */
void matrix_levels(struct kernel *k, struct walker *w, const struct flat *f, const struct matrix *x, int as_one, int *level)
{
	int64_t joined = 1;
	for (uint32_t i = 0; i < f->n; i++) {
		level[i] = -1;
		if ((int)f->level[i].role == as_one) {
			joined *= f->level[i].count;
			if (i + 1 < f->n && (int)f->level[i + 1].role == as_one)
				continue;
			if (joined > 1 && walker_level(k->f, w, joined) < 0)
				k->failed = "its loops nest too deep";
			continue;
		}
		level[i] = walker_level(k->f, w, f->level[i].count);
		if (level[i] < 0 && f->level[i].count > 1)
			k->failed = "its loops nest too deep";
		w->overlaps |= level[i] == 0 && f->level[i].dim == x->cut.split && x->cut.overlap;
	}
}

static vreg equals(struct kernel *k, vreg a, int64_t v)
{
	vreg p = mreg(k->f, CLASS_P);
	EMIT(&k->at, peqi, R(p), R(a), v);
	return p;
}

/* ---- blocks of contracted dimensions ------------------------------------------------------------------------------------------------------ */

/* An extent that is `tail` in the last contracted block and `full` in the others. */
vreg matrix_switched(struct kernel *k, vreg last, int64_t full, int64_t tail)
{
	vreg e = mreg(k->f, CLASS_S), was = k->at.pred;
	k->at.pred = (vreg){ 0 };
	EMIT(&k->at, smov, R(e), full);
	k->at.pred = last;
	EMIT(&k->at, smov, R(e), tail);
	k->at.pred = was;
	return e;
}

int64_t matrix_extent(const struct kernel *k, uint32_t rows, uint32_t lanes)
{
	return (rows == sublanes(k) ? 0 : (int64_t)rows) | (lanes == k->f->chip->lanes ? 0 : (int64_t)lanes << 16);
}

/* Rows of the contracted dimension in a full block and in the last one. */
void matrix_block_rows(const struct kernel *k, const struct matrix *x, uint32_t *full, uint32_t *tail)
{
	int64_t n = k->dim[x->contract].n * x->parts, rows = k->f->chip->array_rows;
	*full = (uint32_t)(n < rows ? n : rows);
	*tail = (uint32_t)(n % *full ? n % *full : *full);
}

/* Level of the innermost contracted blocks. */
int matrix_contract_level(const struct flat *f, const int *level, const struct matrix *x)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->level[i].dim == x->contract && f->level[i].role == ROLE_K)
			return level[i];
	return -1;
}

/* The level of a role that has no other with more than one position; -1: none, or several. */
static int only_level(const struct flat *f, const int *level, enum role role)
{
	int only = -1;
	for (uint32_t i = 0; i < f->n; i++) {
		if (f->level[i].role != role || level[i] < 0)
			continue;
		if (only >= 0)
			return -1;
		only = level[i];
	}
	return only;
}

/* ---- rows through the array ------------------------------------------------------------------------------------------------------------- */

static int64_t moving_delta(const struct kernel *k, const struct point *pt)
{
	int64_t offset = 0;
	for (uint32_t d = 0; d < k->n_dims; d++)
		offset += pt->delta[d] * step_bytes(k, (int)d, (uint32_t)k->p->lhs);
	return offset;
}

/* Accumulator row of the iteration's first group: rows in the order of the iterations of a tile, in alternating halves. */
static vreg accumulator(struct kernel *k, struct matrix *x, struct flat *f, struct walker *w, const int *level)
{
	int64_t total, unit = (int64_t)x->cut.n_points * sublanes(k);
	if (k->stream)
		return stream_number(k, w, f, level, unit);
	if (x->phase != PHASE_BOTH) {
		vreg number = follow_number(k, w, f, level, bit(ROLE_M) | bit(ROLE_N), unit, &total), place = number;
		if (x->acc_base) {
			place = mreg(k->f, CLASS_S);
			EMIT(&k->at, saddi, R(place), R(number), x->acc_base);
		}
		return place;
	}
	vreg row = follow_number(k, w, f, level, bit(ROLE_M), unit, &total);
	if (!x->halves)
		return row;
	vreg odd = mreg(k->f, CLASS_S), half = mreg(k->f, CLASS_S), sum = mreg(k->f, CLASS_S);
	int only = only_level(f, level, ROLE_N);
	if (only >= 0) { /* positions left alternate as well as positions done */
		w->asked[only] = true;
		EMIT(&k->at, sandi, R(odd), R(w->left[only]), 1);
		EMIT(&k->at, smuli, R(half), R(odd), x->acc_tile);
		EMIT(&k->at, sadd, R(sum), R(half), R(row));
		return sum;
	}
	struct follower *turn = walker_follow(k, w, &f->before, (vreg){ 0 }, 0);
	for (uint32_t i = 0; turn && i < f->n; i++)
		if (f->level[i].role == ROLE_N && level[i] >= 0) {
			int64_t radix = 1;
			for (uint32_t j = 0; j < i; j++)
				radix *= f->level[j].role == ROLE_N ? f->level[j].count : 1;
			turn->step[level[i]] = radix;
		}
	if (!turn)
		return row;
	EMIT(&k->at, sandi, R(odd), R(turn->reg), 1);
	EMIT(&k->at, smuli, R(half), R(odd), x->acc_tile);
	EMIT(&k->at, sadd, R(sum), R(half), R(row));
	return sum;
}

struct moving { vreg acc, first, from; vreg extent_of[2]; uint32_t full, tail; vreg short_block; bool add; };

static vreg stream_extent(struct kernel *k, struct moving *s, uint32_t rows)
{
	if (s->full == s->tail)
		return kernel_extent(k, rows, s->full);
	vreg *e = &s->extent_of[rows != sublanes(k)]; /* rows of a partial group are the same everywhere */
	if (!e->id)
		*e = matrix_switched(k, s->short_block, matrix_extent(k, rows, s->full), matrix_extent(k, rows, s->tail));
	return *e;
}

/* All groups of rows, parts from the last one down (pack.c). A group's address serves all parts of a run, which lie near each other; extents are made
 * where they are used: registers are scarcer than slots. */
static void load_parts(struct kernel *k, struct matrix *x, const struct moving *s, vreg *v, vreg stride)
{
	const struct operand *o = &k->p->operand[k->p->lhs];
	int64_t lanes = k->dim[x->contract].n, elem = elem_bytes(o->sram_dtype), near = 0, offset[MAX_PARTS];
	vreg base = s->from;
	for (uint32_t g = 0; g < x->cut.n_points; g++)
		v[g] = mreg(k->f, CLASS_V);
	for (int64_t i = 0; i < x->parts; i++)
		offset[i] = (part_offset(k, x, i, (uint32_t)k->p->lhs) - i * lanes) * elem;
	for (int64_t end = x->parts, i = end - 1; end > 0; end = i--) {
		while (i > 0 && end - i < MAX_RUN && kernel_reaches(offset[i - 1] - offset[end - 1]))
			i--;
		for (uint32_t g = 0; g < x->cut.n_points; g++) {
			int64_t delta = moving_delta(k, &x->cut.pts[g]);
			for (int64_t part = end; part-- > i;) {
				int64_t at = offset[part] + delta;
				vreg mask = x->masked && part ? x->part[part - 1] : (vreg){ 0 };
				if (!kernel_reaches(at - near)) {
					base = mreg(k->f, CLASS_S);
					EMIT(&k->at, saddi, R(base), R(s->from), at);
					near = at;
				}
				vreg extent = kernel_extent_near(k, x->cut.pts[g].rows, (uint32_t)(lanes * (part + 1)));
				k->at.mem = o->mem;
				memit(&k->at, load_of(o->sram_dtype),
				      (const int64_t[]){ R(v[g]), R(base), at - near, R(stride), 0, R(extent), R(mask), part == x->parts - 1 ? 0 : KEEP, 1, 0 }, 10);
				k->at.mem = MEM_NONE;
			}
		}
	}
}

static void multiply_groups(struct kernel *k, struct matrix *x, struct moving *s)
{
	const struct operand *o = &k->p->operand[k->p->lhs];
	enum tg_opcode mul = typed(TG_I_mul_f32, k->p->array);
	vreg stride = kernel_scalar(k, k->row == NO_DIM ? 0 : step_bytes(k, k->row, (uint32_t)k->p->lhs));
	vreg parts[MAX_GROUPS];
	if (x->mode != KERNEL_INIT && x->n_packed)
		load_parts(k, x, s, parts, stride);
	for (uint32_t i = 0; i < x->cut.n_points; i++) {
		const struct point *pt = &x->cut.pts[i];
		vreg v = x->zero;
		if (x->mode != KERNEL_INIT && o->constant) {
			v = kernel_load(k, (uint32_t)k->p->lhs, pt);
		} else if (x->mode != KERNEL_INIT && x->n_packed) {
			v = parts[i];
		} else if (x->mode != KERNEL_INIT) {
			int64_t here = moving_delta(k, pt), next = i + 1 < x->cut.n_points ? moving_delta(k, &x->cut.pts[i + 1]) - here : 0;
			vreg extent = stream_extent(k, s, pt->rows), by = kernel_scalar(k, next);
			v = mreg(k->f, CLASS_V);
			k->at.mem = o->mem;
			memit(&k->at, load_of(o->sram_dtype), (const int64_t[]){ R(v), R(s->from), 0, R(stride), 0, R(extent), 0, 0, 1, R(by) }, 10);
			k->at.mem = MEM_NONE;
		}
		for (uint32_t unit = 0; unit < x->arrays; unit++)
			memit(&k->at, mul, (const int64_t[]){ unit, R(v), R(s->acc), (int64_t)i * sublanes(k), pt->rows, s->add, R(s->first) }, 7)->acc = i + 1;
	}
}

/* The innermost level of a role with more than one position, or -1. */
int level_of_role(const struct flat *f, const int *level, enum role role)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->level[i].role == role && level[i] >= 0)
			return level[i];
	return -1;
}

/* Contracted blocks in chunks: is it the first one of the first? */
static vreg first_of_all(struct kernel *k, struct flat *f, struct walker *w, const int *level, vreg chunk)
{
	vreg first = equals(k, chunk, 0);
	for (uint32_t i = 0; i < f->n; i++) {
		if (f->level[i].role != ROLE_K || f->level[i].dim == CHUNK_DIM || level[i] < 0)
			continue;
		vreg here = walker_at_first(w, &k->at, level[i]), both = mreg(k->f, CLASS_P);
		EMIT(&k->at, pand, R(both), R(first), R(here));
		first = both;
	}
	return first;
}

static void multiply_part(struct kernel *k, struct matrix *x, struct flat *f, struct walker *w)
{
	int level[MAX_DIMS];
	struct moving s = { .add = x->mode != KERNEL_INIT };
	matrix_levels(k, w, f, x, -1, level);
	s.acc = accumulator(k, x, f, w, level);
	vreg chunk = k->stream ? stream_chunk(k, w, f, level) : (vreg){ 0 };
	if (k->stream)
		stream_start_part(k, f, w, level, chunk);
	if (x->mode != KERNEL_INIT) {
		int64_t blocks = 1;
		matrix_block_rows(k, x, &s.full, &s.tail);
		if (k->stream && !k->p->operand[k->p->lhs].constant) {
			s.from = stream_place(k, w, f, level, chunk, (uint32_t)k->p->lhs, &x->cut);
		} else if (!k->p->operand[k->p->lhs].constant) {
			struct follower *r = matrix_follow(k, w, f, level, (uint32_t)k->p->lhs, &x->cut);
			if (!r)
				return;
			s.from = r->reg;
			r->moved = x->n_packed == 0 && x->cut.n_points > 1 ? moving_delta(k, &x->cut.pts[x->cut.n_points - 1]) : 0;
		}
		if (k->stream) {
			s.add = true;
			s.first = first_of_all(k, f, w, level, chunk);
		} else if (x->mode == KERNEL_WHOLE) {
			int only = only_level(f, level, ROLE_K);
			if (only >= 0) {
				s.add = true;
				s.first = walker_at_first(w, &k->at, only);
			} else {
				vreg number = follow_number(k, w, f, level, bit(ROLE_K), 1, &blocks);
				s.add = blocks > 1;
				if (blocks > 1)
					s.first = equals(k, number, 0);
			}
		}
		if (s.full != s.tail)
			s.short_block = walker_at_last(w, &k->at, matrix_contract_level(f, level, x));
	}
	multiply_groups(k, x, &s);
	walker_advance(w, &k->at);
}

/* ---- epilogue ------------------------------------------------------------------------------------------------------------------------------ */

static void read_part(struct kernel *k, struct matrix *x, struct flat *f, struct walker *w)
{
	const struct tg_stage *s = k->p->stage;
	const struct plan *p = k->p;
	int level[MAX_DIMS];
	int64_t blocks;
	vreg stand[N_POINTERS], number[MAX_DIMS], last = { 0 };
	matrix_levels(k, w, f, x, ROLE_K, level);
	vreg acc = accumulator(k, x, f, w, level);
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		stand[i] = k->ptr[i];
		bool used = i == p->n_ops;
		for (uint32_t n = 0; n < s->n_nodes; n++)
			used |= k->in_post[n] && s->nodes[n].op == TG_X_arg && (uint32_t)s->nodes[n].k == i;
		if (!used || !k->live[i] || p->operand[i].constant)
			continue;
		struct follower *r = matrix_follow(k, w, f, level, i, &x->cut);
		k->ptr[i] = r ? r->reg : k->ptr[i];
	}
	for (uint32_t d = 0; d < k->n_dims; d++) {
		number[d] = k->index[d];
		if (!k->indexed[d])
			continue;
		struct follower *r = walker_follow(k, w, &f->before, k->index[d], 0);
		for (uint32_t i = 0; r && i < f->n; i++)
			if (f->level[i].dim == (int)d && level[i] >= 0) {
				r->step[level[i]] = f->level[i].block;
				if (f->level[i].dim == x->cut.split && level[i] == 0)
					r->overlap = x->cut.overlap;
			}
		k->index[d] = r ? r->reg : k->index[d];
	}
	/* the joined level of the contracted blocks tells which one is the last */
	blocks = 1;
	for (uint32_t i = 0; i < f->n; i++)
		blocks *= f->level[i].role == ROLE_K ? f->level[i].count : 1;
	if (blocks > 1) {
		uint32_t inner = 0;
		for (uint32_t i = 0; i < f->n && f->level[i].role != ROLE_K; i++)
			inner += f->level[i].count > 1;
		last = walker_at_last(w, &k->at, (int)inner);
	}
	uint32_t parts = k->stream ? k->stream->results : 0, each = parts ? x->cut.n_points * x->arrays / parts : 0;
	vreg to = parts ? stream_results(k, f, w, level) : (vreg){ 0 };
	for (uint32_t n = 0; n < x->cut.n_points * x->arrays; n++) {
		uint32_t i = n / x->arrays, unit = n % x->arrays;
		struct point pt = x->cut.pts[i];
		vreg *of = tg_alloc_n(k->f->arena, s->n_nodes, sizeof *of), sum = mreg(k->f, CLASS_V);
		pt.lanes = x->cols;
		pt.delta[k->lane] += (int64_t)unit * x->cols;
		k->at.pred = last;
		struct mop *read = memit(&k->at, TG_I_mrd, (const int64_t[]){ R(sum), unit, R(acc), (int64_t)i * sublanes(k), pt.rows }, 5);
		read->acc = i + 1;
		read->fresh = true;
		k->at.pred = (vreg){ 0 };
		kernel_eval(k, k->in_post, &pt, sum, of);
		k->store_pred = last;
		kernel_store(k, p->n_ops, &pt, of[s->outs[0].value.id - 1], s->nodes[s->outs[0].value.id - 1].dtype);
		k->store_pred = (vreg){ 0 };
		if (parts && (n + 1) % each == 0)
			stream_result(k, last, to, n / each);
	}
	walker_advance(w, &k->at);
	for (uint32_t i = 0; i <= p->n_ops; i++)
		k->ptr[i] = stand[i];
	for (uint32_t d = 0; d < k->n_dims; d++)
		k->index[d] = number[d];
}

/* ---- the flat loop --------------------------------------------------------------------------------------------------------------------------- */

/* One flat loop over all blocks of `cols` columns, `count` of them, from where the pointers stand. */
static void flat_loop(struct kernel *k, struct matrix *x, uint32_t cols, int64_t count)
{
	struct flat f = { 0 };
	struct walker push = { 0 }, stream = { 0 }, read = { 0 };
	struct mcursor outer = k->at;
	int64_t trips = 1, k_blocks = 1, m_blocks = 1, n_blocks = 1;
	x->cols = cols;
	f.n = list_levels(k, x, count, f.level);
	for (uint32_t i = 0; i < f.n; i++) {
		trips *= f.level[i].count;
		*(f.level[i].role == ROLE_K ? &k_blocks : f.level[i].role == ROLE_M ? &m_blocks : &n_blocks) *= f.level[i].count;
	}
	x->halves = !k->stream && x->mode == KERNEL_WHOLE && x->phase == PHASE_BOTH && n_blocks > 1 && 2 * x->acc_tile <= k->f->chip->acc_rows;
	f.before = k->at;
	f.before.seq = tg_alloc(k->f->arena, sizeof *f.before.seq);
	k->at.seq = tg_alloc(k->f->arena, sizeof *k->at.seq);
	x->once = k->p->push_first && k_blocks * n_blocks == 1 && m_blocks > 1;
	if ((x->mode == KERNEL_WHOLE || x->mode == KERNEL_ACCUMULATE) && x->phase != PHASE_READ) {
		struct mcursor body = k->at;
		k->at = x->once ? f.before : k->at;
		matrix_push_part(k, x, &f, &push);
		k->at = body;
	}
	if (x->mode != KERNEL_FINISH && x->phase != PHASE_READ)
		multiply_part(k, x, &f, &stream);
	if ((x->mode == KERNEL_WHOLE || x->mode == KERNEL_FINISH) && x->phase != PHASE_MULTIPLY)
		read_part(k, x, &f, &read);
	if (!x->once)
		walker_begin(&push, &f.before);
	walker_begin(&stream, &f.before);
	walker_begin(&read, &f.before);
	struct mseq *body = k->at.seq;
	k->at = outer;
	kernel_splice(k->at.seq, f.before.seq);
	struct mcursor in = mloop(&k->at, kernel_scalar(k, trips));
	kernel_splice(in.seq, body);
	bool one_result = x->mode == KERNEL_WHOLE && (n_blocks == 1 || k->stream); /* what is read is not written again */
	k->at.seq->last->acc_reuse = (uint32_t)(x->halves || one_result ? m_blocks * (k_blocks + 1) : m_blocks);
	if (k->stream && x->phase != PHASE_READ) /* chunk c + 1 is started where chunk c begins */
		k->at.seq->last->chunk_trips = (uint32_t)(trips / k->stream->chunks);
}

/* Long epilogues need more registers than the multiplies leave. */
static bool long_epilogue(const struct kernel *k)
{
	const struct tg_stage *s = k->p->stage;
	bool slow = false;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		uint8_t op = s->nodes[i].op;
		slow |= k->in_post[i] && (op == TG_X_exp || op == TG_X_log || op == TG_X_tanh || op == TG_X_erf || op == TG_X_sqrt || op == TG_X_div);
	}
	return slow || k->post_nodes > MAX_SHORT_EPILOGUE;
}

/* Positions of the dimensions that columns have besides the lane's, and of batches. */
static int64_t blocks_around(const struct kernel *k)
{
	int64_t n = 1;
	for (uint32_t d = 0; d < k->n_dims; d++)
		if ((k->dim[d].role == ROLE_N || k->dim[d].role == ROLE_BATCH) && (int)d != k->lane)
			n *= k->dim[d].n;
	return n;
}

/* All blocks of `cols` columns. With a long epilogue: multiply as many as the accumulators hold, then finish those; or, when asked to join the two, few
 * results at a time beside the multiplies. */
static void column_blocks(struct kernel *k, struct matrix *x, uint32_t cols, int64_t count)
{
	int64_t others = blocks_around(k), hold = k->f->chip->acc_rows / x->acc_tile, done = 0;
	x->phase = PHASE_BOTH;
	if (x->mode != KERNEL_WHOLE) {
		x->phase = x->mode == KERNEL_FINISH ? PHASE_READ : PHASE_MULTIPLY;
		flat_loop(k, x, cols, count);
		x->acc_base += count * others * x->acc_tile;
		return;
	}
	if (!long_epilogue(k) || hold / others < 1) {
		flat_loop(k, x, cols, count);
		return;
	}
	k->p->long_epilogue = true;
	if (k->p->join_epilogue) {
		struct cut coarse = x->cut;
		x->cut = matrix_finer_cut(k, x, JOINED_GROUPS);
		flat_loop(k, x, cols, count);
		x->cut = coarse;
		return;
	}
	while (done < count) {
		int64_t n = count - done < hold / others ? count - done : hold / others;
		x->phase = PHASE_MULTIPLY;
		flat_loop(k, x, cols, n);
		x->phase = PHASE_READ;
		struct cut coarse = x->cut;
		x->cut = matrix_finer_cut(k, x, FINE_GROUPS);
		flat_loop(k, x, cols, n);
		x->cut = coarse;
		done += n;
		if (done < count)
			kernel_advance(k, &k->dim[k->lane], n * cols * x->arrays);
	}
	if (done > hold / others)
		kernel_advance(k, &k->dim[k->lane], -((done - 1) / (hold / others)) * (hold / others) * cols * x->arrays);
}

static void fold(struct kernel *k, struct matrix *x)
{
	x->contract = kernel_fold(k, x->contract, bit(k->p->lhs) | bit(k->p->rhs)); /* contracted dimensions concern the two factors only */
	k->row = kernel_fold(k, k->row, ~bit(k->p->rhs));
	x->contract = NO_DIM; /* folding has renumbered it */
	for (uint32_t d = 0; d < k->n_dims; d++)
		if (k->dim[d].role == ROLE_K && (x->contract == NO_DIM || k->dim[d].step[k->p->lhs] == 1))
			x->contract = (int)d;
}

static void part_masks(struct kernel *k, struct matrix *x)
{
	int64_t lanes = k->dim[x->contract].n;
	vreg below = mreg(k->f, CLASS_M); /* one register for all: they are made one after the other */
	for (int64_t i = 1; i < x->parts; i++) {
		x->part[i - 1] = mreg(k->f, CLASS_M);
		vreg wide = kernel_extent(k, sublanes(k), (uint32_t)(lanes * (i + 1))), narrow = kernel_extent(k, sublanes(k), (uint32_t)(lanes * i));
		EMIT(&k->pre, mext, R(x->part[i - 1]), R(wide));
		EMIT(&k->pre, mext, R(below), R(narrow));
		EMIT(&k->pre, mxor, R(x->part[i - 1]), R(x->part[i - 1]), R(below));
	}
}

static void pack(struct kernel *k, struct matrix *x)
{
	const struct plan *p = k->p;
	uint32_t rhs = rhs_is_data(k) ? (uint32_t)p->rhs : MAX_OPERANDS, n = 0;
	struct pack_dim d[MAX_DIMS];
	int dim[MAX_DIMS], chosen[MAX_PACKED];
	if (p->operand[p->lhs].constant || k->dim[x->contract].step[p->lhs] != 1)
		return;
	for (uint32_t i = 0; i < k->n_dims; i++)
		if (k->dim[i].role == ROLE_K && (int)i != x->contract) {
			dim[n] = (int)i;
			d[n++] = (struct pack_dim){ k->dim[i].n, k->dim[i].step[p->lhs], k->dim[i].step[rhs] };
		}
	x->n_packed = plan_pack(p, d, n, k->dim[x->contract].n, k->dim[x->contract].step[rhs], chosen);
	for (uint32_t i = 0; i < x->n_packed; i++) {
		x->packed[i] = dim[chosen[i]];
		x->parts *= k->dim[x->packed[i]].n;
	}
	x->masked = x->n_packed && p->operand[p->lhs].direct;
	if (x->masked)
		part_masks(k, x);
}

/* The columns of neighbours follow each other in all operands but the weights, whose addresses the pushes work out. */
static void join_pixels(struct kernel *k, struct matrix *x)
{
	const struct plan *p = k->p;
	if (!p->pixels)
		return;
	x->pixel_cols = k->dim[k->lane].n;
	k->dim[k->lane].n *= p->pixels;
	k->dim[k->lane].plan_dim = NO_DIM;
	k->dim[k->lane].step[p->rhs] = 0;
	x->contract -= x->contract > p->pixel_dim;
	kernel_remove_dim(k, (uint32_t)p->pixel_dim);
}

/* Which columns neighbours have in a block differs from block to block: each has a loop of its own. */
static void pixel_columns(struct kernel *k, struct matrix *x)
{
	int64_t n = k->dim[k->lane].n, most = k->f->chip->array_cols;
	for (x->first_col = 0; x->first_col < n; x->first_col += most) {
		int64_t cols = n - x->first_col < most ? n - x->first_col : most;
		column_blocks(k, x, (uint32_t)cols, 1);
		kernel_advance(k, &k->dim[k->lane], x->first_col + most < n ? cols : -x->first_col);
	}
}

/* Runs of blocks of columns that a loop each takes: as many arrays as there are, those left over, and what is less than an array. */
struct column_run { int64_t arrays, blocks, cols; };
enum { N_RUNS = 3 };
static void list_runs(const struct kernel *k, struct column_run *r)
{
	int64_t n = k->dim[k->lane].n, cols = k->f->chip->array_cols, full = n / cols, tail = n % cols, most = k->f->chip->n_arrays;
	r[0] = (struct column_run){ most, full / most, cols };
	r[1] = (struct column_run){ full % most, full % most > 0, cols };
	r[2] = (struct column_run){ 1, tail > 0, tail };
}

/* Accumulator rows that a block of columns may have: where sums go on in a later tile or chunk, every block keeps its own. */
static int64_t rows_of_block(const struct kernel *k, enum kernel_mode mode)
{
	struct column_run r[N_RUNS];
	if (mode == KERNEL_WHOLE && !k->p->chunks)
		return k->f->chip->acc_rows;
	list_runs(k, r);
	return k->f->chip->acc_rows / ((r[0].blocks + r[1].blocks + r[2].blocks) * blocks_around(k));
}

void kernel_matrix_rows(struct mfn *f, struct plan *p, uint32_t unroll, struct row_blocks *r)
{
	struct kernel k;
	struct matrix x = { .mode = KERNEL_WHOLE, .contract = p->contract, .parts = 1, .arrays = 1 };
	const vreg none[MAX_DIMS > MAX_OPERANDS ? MAX_DIMS + 1 : MAX_OPERANDS + 1] = { { 0 } };
	struct mcursor nowhere = { .f = f };
	kernel_begin(&k, f, p, &nowhere, none, none, unroll);
	k.live[p->lhs] |= !p->operand[p->lhs].constant;
	fold(&k, &x);
	*r = (struct row_blocks){ 0 };
	if (!matrix_cut_rows(&k, &x, rows_of_block(&k, KERNEL_WHOLE)))
		return;
	bool slow = long_epilogue(&k);
	x.cut = slow && p->join_epilogue ? matrix_finer_cut(&k, &x, JOINED_GROUPS) : x.cut;
	r->apart = slow && !p->join_epilogue;
	r->blocks = x.cut.split == NO_DIM || x.cut.split == k.row ? x.cut.steps : 0;
	r->groups = x.cut.n_points;
	r->rows = x.cut.split != NO_DIM ? x.cut.block : p->row == NO_DIM ? 1 : p->tile[p->row];
	if (x.cut.overlap)
		r->blocks = 0;
}

void kernel_matrix_path(struct kernel *k, enum kernel_mode mode)
{
	struct matrix x = { .mode = mode, .contract = k->p->contract, .parts = 1, .arrays = 1 };
	k->live[k->p->lhs] |= !k->p->operand[k->p->lhs].constant;
	join_pixels(k, &x);
	fold(k, &x);
	int64_t n = k->dim[k->lane].n, most = k->f->chip->n_arrays;
	struct column_run runs[N_RUNS];
	list_runs(k, runs);
	if (!matrix_cut_rows(k, &x, rows_of_block(k, mode))) {
		k->failed = "its rows do not fit the accumulators";
		return;
	}
	if (mode == KERNEL_WHOLE || mode == KERNEL_ACCUMULATE)
		pack(k, &x);
	if (mode == KERNEL_INIT) {
		x.zero = kernel_vector(k, 0);
		for (int64_t unit = 0; unit < most; unit++)
			EMIT(&k->at, swap, unit);
	}
	if (x.pixel_cols) {
		pixel_columns(k, &x);
		return;
	}
	int64_t done = 0;
	for (uint32_t i = 0; i < N_RUNS; i++) {
		int64_t wide = runs[i].arrays * runs[i].blocks * runs[i].cols;
		if (!wide)
			continue;
		x.arrays = (uint32_t)runs[i].arrays;
		column_blocks(k, &x, (uint32_t)runs[i].cols, runs[i].blocks);
		done += wide;
		if (done < n)
			kernel_advance(k, &k->dim[k->lane], wide);
		else if (done > wide)
			kernel_advance(k, &k->dim[k->lane], wide - n);
	}
}
