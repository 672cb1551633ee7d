/* emit_stage.c: the loop over tiles, and the kernel inside.
 *
 * A stage of one tile fetches, computes, stores. A stage of several walks them in one flat loop; the images that move with the tile have two places:
 *
 *   start fetching the first tile
 *   for every tile:  start fetching what the next tile needs anew into the other place;  wait for this tile's images
 *                    wait until the result before the last one has left;  compute;  start storing the result
 *   wait for the last results
 *
 * What the first tile needs may have been fetched while stages before were at work, and a stage does the same for those behind it (ahead.c): DRAM does not
 * rest between stages. The numbers of such transfers lie in the frame's rows SLOT_HANDED.
 *
 * Reduction tiles are the innermost ones: the first sets the partial sums up, the last finishes and stores.
 *
 * The last tile of a parallel dimension starts at extent - tile: it overlaps its neighbour instead of being smaller, so tiles have one shape and the
 * overlap is written twice with the same bytes. The last tile of a reduction reaches beyond the end; there DMA fills, and the vector path masks. */
#include "emit.h"

#include <string.h>

enum { MAX_CHUNKS = 16 }; /* of a transfer for another stage */

static vreg sreg(struct emit *e)
{
	return mreg(e->f, CLASS_S);
}

static bool moved_by(const struct operand *o, uint32_t d)
{
	for (uint32_t i = 0; i < o->n_comps; i++)
		for (uint32_t k = 0; k < o->comp[i].n; k++)
			if (o->comp[i].term[k].dim == d)
				return true;
	return false;
}

static bool stores(const struct emit *e)
{
	return !e->p->operand[e->p->n_ops].direct;
}

static void run_kernel(struct emit *e, enum kernel_mode mode)
{
	struct kernel k;
	vreg at[MAX_DIMS], place[MAX_OPERANDS + 1];
	/* Before and after the loops over reduction tiles there is no reduction tile. */
	bool outside = mode == KERNEL_INIT || mode == KERNEL_FINISH;
	for (uint32_t d = 0; d < e->p->n_dims; d++)
		at[d] = outside && is_reduction(e->p, d) ? (vreg){ 0 } : coordinate(e, d);
	for (uint32_t i = 0; i <= e->p->n_ops; i++)
		place[i] = e->p->operand[i].direct ? tile_offset(e, &e->p->operand[i]) : e->p->operand[i].places > 1 && !stream_has(e->stream, i) ? frame_load(e, SLOT_PLACE + i) : (vreg){ 0 };
	EMIT(&e->at, idle, 1); /* ends the block: what moves tiles gives its registers back before the kernel takes many */
	kernel_begin(&k, e->f, e->p, &e->at, at, place, e->unroll);
	k.stream = e->stream;
	if (e->p->path == PATH_MATRIX)
		kernel_matrix_path(&k, mode);
	else
		kernel_vector_path(&k, mode);
	kernel_end(&k, &e->at);
	e->failed = e->failed ? e->failed : k.failed;
}

/* ---- what a stage fetches for later ones ------------------------------------------------------------------------------------ */

static uint32_t handed_row(const struct plan *p)
{
	return SLOT_HANDED + p->ordinal % HANDED_ROWS * MAX_QUEUES;
}

/* Queues of the images that a stage before has started to fetch. */
static uint64_t handed_queues(struct emit *e)
{
	uint64_t queues = 0;
	for (uint32_t i = 0; i < e->p->n_ops; i++)
		if (e->p->operand[i].handed)
			queues |= transfer_queues(e, i);
	return queues;
}

/* The most pieces, at most one a tile, that a transfer can be cut into. */
static int64_t chunks_of(struct emit *e, uint32_t operand, int64_t tiles)
{
	int64_t n = tiles < MAX_CHUNKS ? tiles : MAX_CHUNKS;
	while (n > 1 && !cut_transfer(e, operand, n))
		n--;
	return n;
}

/* 1 where a next part follows whose image of the operand is another one, else 0. An image that the tiles of its stage write over is fetched for every part. */
static vreg next_part_differs(struct emit *e, const struct operand *o)
{
	vreg last = frame_load(e, SLOT_LAST_PART), follows = sreg(e), sum = { 0 }, one = m_const(&e->at, 1);
	EMIT(&e->at, sxor, R(follows), R(last), R(one));
	if (o->places > 1)
		return follows;
	for (uint32_t l = 0; l < MAX_SHARED; l++) {
		if (!o->part[l])
			continue;
		vreg now = frame_load(e, SLOT_PART + l), next = frame_load(e, SLOT_NEXT_PART + l), differs = sreg(e), any = sreg(e);
		EMIT(&e->at, sxor, R(differs), R(now), R(next));
		EMIT(&e->at, sor, R(any), R(sum), R(differs));
		sum = any;
	}
	vreg some = sreg(e), both = sreg(e);
	EMIT(&e->at, smini, R(some), R(sum), 1);
	EMIT(&e->at, smul, R(both), R(follows), R(some));
	return both;
}

/* Starts what stages behind this one need first, spread over this one's tiles: a piece in each of the last ones. left: tiles that follow. */
static void fetch_for_others(struct emit *e, const struct emit_options *o, int64_t tiles, vreg left)
{
	for (uint32_t i = 0; i < o->n_ahead; i++) {
		struct plan *p = o->ahead[i].plan;
		struct emit other;
		struct started s;
		uint32_t operand = o->ahead[i].operand;
		EMIT(&e->at, idle, 1); /* a block of its own: what it fetches counts for those who read it */
		emit_begin(&other, e->f, p, e->descs, e->at);
		other.at.prov = p->op->prov.id;
		other.next_part = o->ahead[i].next_part;
		int64_t chunks = chunks_of(&other, operand, tiles);
		vreg which = { 0 }, when = { 0 }, wanted = { 0 };
		if (other.next_part)
			wanted = next_part_differs(&other, &p->operand[operand]);
		if (other.next_part && tiles <= 1) {
			when = mreg(e->f, CLASS_P);
			EMIT(&other.at, pnei, R(when), R(wanted), 0);
		}
		if (tiles > 1) {
			vreg minus = sreg(e), w = sreg(e), least = sreg(e);
			which = w;
			EMIT(&other.at, smuli, R(minus), R(left), -1);
			EMIT(&other.at, saddi, R(which), R(minus), chunks - 1); /* negative: not yet */
			when = mreg(e->f, CLASS_P);
			EMIT(&other.at, smini, R(least), R(which), 0);
			if (other.next_part) {
				vreg both = sreg(e);
				EMIT(&other.at, saddi, R(both), R(least), -1);
				least = sreg(e);
				EMIT(&other.at, sadd, R(least), R(both), R(wanted));
			}
			EMIT(&other.at, peqi, R(when), R(least), 0);
		}
		start_chunk(&other, operand, which, when, &s);
		other.at.pred = when;
		for (uint32_t k = 0; k < s.n; k++)
			frame_store(&other, handed_row(p) + s.queue[k], s.number[k]);
		other.at.pred = (vreg){ 0 };
		other.at.prov = e->at.prov;
		e->at = other.at;
		e->failed = e->failed ? e->failed : other.failed;
	}
	if (o->n_ahead)
		EMIT(&e->at, idle, 1);
}

/* ---- one tile ------------------------------------------------------------------------------------------------------------------ */

/* Everything that the tile at hand reads; index lists first: gathers read them. */
static void fetch_all(struct emit *e, const struct emit_options *o)
{
	for (int lists = 1; lists >= 0; lists--) {
		struct started s[MAX_OPERANDS];
		bool is[MAX_OPERANDS];
		for (uint32_t i = 0; i < e->p->n_ops; i++) {
			const struct operand *x = &e->p->operand[i];
			is[i] = plan_fetches(e->p, i) && !x->handed && !stream_in_pieces(e->stream, i) && x->is_list == (lists == 1);
			if (is[i])
				start_transfer(e, i, (vreg){ 0 }, (vreg){ 0 }, &s[i]);
		}
		uint64_t handed = lists ? 0 : handed_queues(e);
		vreg number[MAX_QUEUES];
		load_numbers(e, handed, handed_row(e->p), number);
		if (!lists && e->stream)
			stream_begin(e);
		if (!lists && o)
			fetch_for_others(e, o, 1, (vreg){ 0 });
		for (uint32_t i = 0; i < e->p->n_ops; i++)
			if (is[i])
				wait_started(e, &s[i]);
		wait_numbers(e, handed, number);
	}
}

/* For the first part of a run, what its last stage fetches for all others. */
static void start_carried(struct emit *e)
{
	vreg first = { 0 }, sum = { 0 };
	e->where = AT_FIRST;
	for (uint32_t i = 0; i < e->p->n_ops; i++) {
		struct started s;
		if (!e->p->operand[i].carried)
			continue;
		for (uint32_t l = 0; !first.id && l < MAX_SHARED; l++) {
			vreg any = sreg(e);
			EMIT(&e->at, sor, R(any), R(sum), R(frame_load(e, SLOT_PART + l)));
			sum = any;
		}
		if (!first.id) {
			first = mreg(e->f, CLASS_P);
			EMIT(&e->at, peqi, R(first), R(sum), 0);
		}
		start_transfer(e, i, (vreg){ 0 }, first, &s);
		e->at.pred = first;
		for (uint32_t k = 0; k < s.n; k++)
			frame_store(e, handed_row(e->p) + s.queue[k], s.number[k]);
		e->at.pred = (vreg){ 0 };
	}
	if (first.id)
		EMIT(&e->at, idle, 1);
}

static void one_tile(struct emit *e, const struct emit_options *o)
{
	struct started s;
	e->where = AT_FIRST;
	fetch_all(e, o);
	if (e->stream)
		stream_tile(e, m_const(&e->at, 1));
	run_kernel(e, KERNEL_WHOLE);
	if (!stores(e))
		return;
	if (e->stream && e->stream->results)
		stream_left(e, &s);
	else
		start_transfer(e, e->p->n_ops, (vreg){ 0 }, (vreg){ 0 }, &s);
	wait_started(e, &s);
}

/* ---- many tiles ---------------------------------------------------------------------------------------------------------------- */

static int64_t last_start(const struct plan *p, uint32_t d)
{
	int64_t n = p->extent[d], t = p->tile[d];
	return is_reduction(p, d) ? (ceil_div(n, t) - 1) * t : n - t;
}

/* The tile behind the present one. steps[l]: 1 when loop l moves on (all loops inside of it are at their end), else 0; steps[0] of the loop around
 * all says that there is no further tile. */
static void next_tile(struct emit *e, vreg *steps)
{
	const struct plan *p = e->p;
	vreg carry = m_const(&e->at, 1);
	for (uint32_t l = p->n_loops; l-- > 0;) {
		uint32_t d = (uint32_t)p->loop_order[l];
		int64_t last = last_start(p, d);
		vreg now = coordinate(e, d), left = sreg(e), more = sreg(e), on = sreg(e), capped = sreg(e), to = sreg(e), by = sreg(e), moved = sreg(e), next = sreg(e);
		steps[l + 1] = carry;
		EMIT(&e->at, smuli, R(left), R(now), -1);
		EMIT(&e->at, saddi, R(left), R(left), last);
		EMIT(&e->at, smini, R(more), R(left), 1); /* 0 at the end, else 1 */
		EMIT(&e->at, saddi, R(on), R(now), p->tile[d]);
		EMIT(&e->at, smini, R(capped), R(on), last);
		EMIT(&e->at, smul, R(to), R(capped), R(more));
		EMIT(&e->at, ssub, R(by), R(to), R(now));
		EMIT(&e->at, smul, R(moved), R(by), R(carry));
		EMIT(&e->at, sadd, R(next), R(now), R(moved));
		frame_store(e, SLOT_NEXT + d, next);
		vreg end = sreg(e), on_out = sreg(e);
		EMIT(&e->at, sxor, R(end), R(more), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(on_out), R(carry), R(end));
		carry = on_out;
	}
	steps[0] = carry;
}

/* The innermost loop that moves the operand's image; NO_DIM: none. */
static int innermost_loop(const struct plan *p, const struct operand *o)
{
	for (uint32_t l = p->n_loops; l-- > 0;)
		if (moved_by(o, (uint32_t)p->loop_order[l]))
			return (int)l;
	return NO_DIM;
}

static vreg is_one(struct emit *e, vreg v)
{
	vreg p = mreg(e->f, CLASS_P);
	EMIT(&e->at, peqi, R(p), R(v), 1);
	return p;
}

static vreg other_place(struct emit *e, uint32_t slot, int64_t step)
{
	vreg now = frame_load(e, slot), minus = sreg(e), other = sreg(e);
	EMIT(&e->at, smuli, R(minus), R(now), -1);
	EMIT(&e->at, saddi, R(other), R(minus), step);
	return other;
}

/* Starts what the next tile needs and the present one does not have. */
static void prefetch(struct emit *e, const vreg *steps)
{
	e->where = AT_NEXT;
	for (uint32_t i = 0; i < e->p->n_ops; i++) {
		const struct operand *o = &e->p->operand[i];
		int l = innermost_loop(e->p, o);
		if (!plan_fetches(e->p, i) || l == NO_DIM || stream_has(e->stream, i))
			continue;
		struct started s;
		vreg none = sreg(e), need = sreg(e), place = other_place(e, SLOT_PLACE + i, o->place_step), old = frame_load(e, SLOT_PLACE + i);
		EMIT(&e->at, sxor, R(none), R(steps[0]), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(need), R(steps[l + 1]), R(none));
		vreg step = sreg(e), moved = sreg(e), next = sreg(e);
		start_transfer(e, i, place, is_one(e, need), &s);
		e->at.pred = is_one(e, need);
		for (uint32_t k = 0; k < s.n; k++)
			frame_store(e, SLOT_FETCHED + s.queue[k], s.number[k]);
		e->at.pred = (vreg){ 0 };
		EMIT(&e->at, ssub, R(step), R(place), R(old));
		EMIT(&e->at, smul, R(moved), R(step), R(need));
		EMIT(&e->at, sadd, R(next), R(old), R(moved));
		frame_store(e, SLOT_NEXT_PLACE + i, next);
	}
	e->where = AT_NOW;
}

/* A body that runs once where all the given starts are the first or last ones, else not at all: a loop of one trip or none. */
static struct mcursor open_when(struct emit *e, bool first)
{
	vreg all = m_const(&e->at, 1);
	for (uint32_t l = 0; l < e->p->n_loops; l++) {
		uint32_t d = (uint32_t)e->p->loop_order[l];
		if (!is_reduction(e->p, d))
			continue;
		vreg now = coordinate(e, d), away = sreg(e), some = sreg(e), here = sreg(e), both = sreg(e);
		if (first) {
			EMIT(&e->at, smini, R(some), R(now), 1);
		} else {
			EMIT(&e->at, smuli, R(away), R(now), -1);
			EMIT(&e->at, saddi, R(away), R(away), last_start(e->p, d));
			EMIT(&e->at, smini, R(some), R(away), 1);
		}
		EMIT(&e->at, sxor, R(here), R(some), R(m_const(&e->at, 1)));
		EMIT(&e->at, smul, R(both), R(all), R(here));
		all = both;
	}
	struct mcursor outer = e->at;
	e->at = mloop(&outer, all);
	return outer;
}

static uint64_t store_queues(struct emit *e)
{
	return transfer_queues(e, e->p->n_ops) | stream_result_queues(e->stream);
}

static void wait_for_results(struct emit *e)
{
	vreg number[MAX_QUEUES];
	for (uint32_t half = 0; half < 2 && stores(e); half++) {
		load_numbers(e, store_queues(e), SLOT_STORED + half * MAX_QUEUES, number);
		wait_numbers(e, store_queues(e), number);
	}
}

static bool results_overlap(const struct plan *p)
{
	for (uint32_t l = 0; l < p->n_loops; l++)
		if (!is_reduction(p, (uint32_t)p->loop_order[l]) && p->extent[p->loop_order[l]] % p->tile[p->loop_order[l]])
			return true;
	return false;
}

/* Bytes from the row of numbers of the first place to that of the place at hand: a result's numbers go where the next one in its place will look. */
static vreg half_row(struct emit *e)
{
	vreg place = frame_load(e, SLOT_PLACE + e->p->n_ops), half = sreg(e), row = sreg(e);
	EMIT(&e->at, smini, R(half), R(place), 1);
	EMIT(&e->at, smuli, R(row), R(half), 8 * MAX_QUEUES);
	return row;
}

static void store_result(struct emit *e)
{
	uint32_t out = e->p->n_ops;
	struct started s;
	if (!stores(e))
		return;
	if (results_overlap(e->p)) /* the same bytes again, but not at the same time */
		wait_for_results(e);
	if (e->stream && e->stream->results)
		stream_left(e, &s);
	else
		start_transfer(e, out, frame_load(e, SLOT_PLACE + out), (vreg){ 0 }, &s);
	vreg row = half_row(e);
	e->at.mem = FRAME_MEM;
	for (uint32_t i = 0; i < s.n; i++)
		EMIT(&e->at, sst64, R(s.number[i]), R(row), 8 * (SLOT_STORED + s.queue[i]));
	e->at.mem = MEM_NONE;
	if (e->p->operand[out].places > 1)
		frame_store(e, SLOT_PLACE + out, other_place(e, SLOT_PLACE + out, e->p->operand[out].place_step));
}

static void wait_for_place(struct emit *e)
{
	if (!stores(e))
		return;
	uint64_t queues = store_queues(e);
	vreg row = half_row(e);
	for (uint32_t q = 0; q < e->n_queues; q++) {
		if (!(queues >> q & 1))
			continue;
		vreg number = sreg(e);
		e->at.mem = FRAME_MEM;
		EMIT(&e->at, sld64, R(number), R(row), 8 * (SLOT_STORED + q));
		e->at.mem = MEM_NONE;
		EMIT(&e->at, dma_wait, q, R(number));
	}
}

/* Queues on which this stage's images arrive. */
static uint64_t fetch_queues(struct emit *e)
{
	uint64_t queues = 0;
	for (uint32_t i = 0; i < e->p->n_ops; i++)
		if (plan_fetches(e->p, i))
			queues |= transfer_queues(e, i);
	return queues;
}

static void start_frame(struct emit *e)
{
	for (uint32_t l = 0; l < e->p->n_loops; l++)
		frame_store(e, SLOT_NOW + (uint32_t)e->p->loop_order[l], (vreg){ 0 });
	frame_store(e, SLOT_PLACE + e->p->n_ops, (vreg){ 0 });
	for (uint32_t i = 0; i < e->p->n_ops; i++) {
		if (e->p->operand[i].places < 2 || stream_has(e->stream, i))
			continue;
		frame_store(e, SLOT_PLACE + i, (vreg){ 0 });
		frame_store(e, SLOT_NEXT_PLACE + i, (vreg){ 0 });
	}
	uint64_t handed = handed_queues(e), fetched = fetch_queues(e), stored = stores(e) ? store_queues(e) : 0;
	for (uint32_t q = 0; q < e->n_queues; q++) {
		if (fetched >> q & 1)
			frame_store(e, SLOT_FETCHED + q, handed >> q & 1 ? frame_load(e, handed_row(e->p) + q) : (vreg){ 0 });
		for (uint32_t half = 0; half < 2 && stored >> q & 1; half++)
			frame_store(e, SLOT_STORED + half * MAX_QUEUES + q, (vreg){ 0 });
	}
}

static void fetch_first_tile(struct emit *e)
{
	e->where = AT_FIRST;
	for (uint32_t i = 0; i < e->p->n_ops; i++) {
		struct started s;
		if (!plan_fetches(e->p, i) || e->p->operand[i].handed || stream_in_pieces(e->stream, i))
			continue;
		start_transfer(e, i, (vreg){ 0 }, (vreg){ 0 }, &s);
		for (uint32_t k = 0; k < s.n; k++)
			frame_store(e, SLOT_FETCHED + s.queue[k], s.number[k]);
	}
	for (uint32_t i = 0; i < e->p->n_ops; i++)
		if (plan_fetches(e->p, i) && innermost_loop(e->p, &e->p->operand[i]) != NO_DIM && !stream_has(e->stream, i))
			prepare_transfer(e, i);
}

/* Starts the next tile's transfers and waits for those of the tile at hand. */
static void fetch_tile(struct emit *e, const vreg *steps, const struct emit_options *o, int64_t tiles)
{
	uint64_t queues = fetch_queues(e);
	vreg number[MAX_QUEUES], left = { 0 };
	load_numbers(e, queues, SLOT_FETCHED, number);
	prefetch(e, steps);
	if (o->n_ahead) {
		vreg now = frame_load(e, SLOT_LEFT);
		left = sreg(e);
		EMIT(&e->at, saddi, R(left), R(now), -1);
		frame_store(e, SLOT_LEFT, left);
		fetch_for_others(e, o, tiles, left);
	}
	wait_numbers(e, queues, number);
}

static void compute_tile(struct emit *e, bool partial)
{
	if (!partial) {
		wait_for_place(e);
		run_kernel(e, KERNEL_WHOLE);
		if (e->stream)
			stream_tile_end(e);
		store_result(e);
		return;
	}
	struct mcursor around = open_when(e, true);
	run_kernel(e, KERNEL_INIT);
	e->at = around;
	run_kernel(e, KERNEL_ACCUMULATE);
	around = open_when(e, false);
	wait_for_place(e);
	run_kernel(e, KERNEL_FINISH);
	store_result(e);
	e->at = around;
}

static void many_tiles(struct emit *e, bool prefetches, const struct emit_options *o)
{
	const struct plan *p = e->p;
	int64_t tiles = 1;
	bool partial = false;
	vreg steps[MAX_DIMS + 1];
	for (uint32_t l = 0; l < p->n_loops; l++) {
		tiles *= ceil_div(p->extent[p->loop_order[l]], p->tile[p->loop_order[l]]);
		partial |= is_reduction(p, (uint32_t)p->loop_order[l]);
	}
	start_frame(e);
	if (prefetches)
		fetch_first_tile(e);
	if (e->stream)
		stream_begin(e);
	if (!prefetches)
		fetch_for_others(e, o, 1, (vreg){ 0 });
	if (prefetches && o->n_ahead)
		frame_store(e, SLOT_LEFT, m_const(&e->at, tiles));
	struct mcursor outer = e->at;
	e->at = mloop(&outer, m_const(&outer, tiles));
	e->where = AT_NOW;
	next_tile(e, steps);
	if (prefetches)
		fetch_tile(e, steps, o, tiles);
	else
		fetch_all(e, NULL);
	if (e->stream)
		stream_tile(e, steps[0]);
	compute_tile(e, partial);
	for (uint32_t l = 0; l < p->n_loops; l++)
		frame_store(e, SLOT_NOW + (uint32_t)p->loop_order[l], frame_load(e, SLOT_NEXT + (uint32_t)p->loop_order[l]));
	for (uint32_t i = 0; i < p->n_ops; i++)
		if (p->operand[i].places > 1 && !stream_has(e->stream, i))
			frame_store(e, SLOT_PLACE + i, frame_load(e, SLOT_NEXT_PLACE + i));
	e->at = outer;
	wait_for_results(e);
}

const char *emit_stage(struct mfn *f, struct plan *p, struct descriptors *descs, uint32_t prov, const struct emit_options *o)
{
	struct emit e;
	emit_begin(&e, f, p, descs, (struct mcursor){ .f = f, .seq = &f->top, .prov = prov });
	e.unroll = o->unroll;
	if (o->margin)
		start_margin(&e, o->margin, o->margin_home);
	struct stream s;
	if (p->chunks) {
		stream_describe(&e, &s);
		e.stream = &s;
	}
	start_carried(&e);
	if (p->n_loops)
		many_tiles(&e, plan_prefetches(p), o);
	else
		one_tile(&e, o);
	if (o->margin)
		wait_margin(&e);
	if (o->flush)
		start_flush(&e, o->flush);
	for (uint32_t i = 0; i < o->n_waits; i++)
		wait_flush(&e, o->waits[i]);
	return e.failed;
}
