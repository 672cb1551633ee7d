/* ahead.c: plans ahead of the code: where the images of every stage lie in SRAM, and during which earlier stage their first contents are fetched.
 *
 *   stage     32 softmax         33 matmul     34 layer norm    35 matmul
 *   fetches   w33, then w35                    -                -
 *
 * Plans are made a few stages before their code. What a stage reads and no stage between writes may be fetched as soon as SRAM has room. When the code of a
 * stage is made, it is known what the stages behind it still want, and for how long DRAM rests until each begins: from the last one backwards every fetch
 * is given the latest time that lets it end before its stage begins and before the fetch behind it starts. Those whose time has come are started here, in
 * the order in which they are needed, since DRAM serves them in that order.
 *
 * Images live for their stage; a first image that is fetched ahead lives from the stage that fetches it. Images that live at the same time do not overlap:
 * a stage's own lie from the lower end of SRAM upwards (first fit), those that are fetched ahead from the upper end downwards, below the residents. */
#include "ahead.h"
#include "runs.h"

#include <assert.h>
#include <string.h>

enum { HIGHEST_SHARE = 5, SHARES = 8 }; /* a plan may use so much of SRAM, and more only where that is much cheaper */
#define MUCH_CHEAPER 1.02
#define COUNTED_ON 0.75 /* of predicted idle time: too early costs room, too late costs time */

/* ---- the stages of a round ----------------------------------------------------------------------------------------------------------- */

/* Its code stands in the module. */
static bool is_given(const struct driver *dr, const struct tg_op *stage)
{
	return dr->given[stage->out[0].id] != NULL;
}

void ahead_begin(struct driver *dr)
{
	struct ahead *h = dr->ahead ? dr->ahead : tg_alloc(dr->a, sizeof *h);
	bool open = false;
	const struct run *run = NULL;
	if (!dr->ahead) {
		h->stage = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *h->stage);
		h->spare = tg_alloc(dr->a, sizeof *h->spare);
		dr->ahead = h;
	}
	h->n_stages = h->n_planned = 0;
	h->placed.n = 0;
	memset(h->flush_ends, 0, sizeof h->flush_ends);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		if (dr->ops[i]->code != TG_TILE_stage)
			continue;
		bool ours = !dr->host[i] && !is_given(dr, dr->ops[i]);
		if (!dr->host[i])
			h->stage[h->n_stages++] = (struct stage_ref){ i, open && ours && run_of(dr, i) == run };
		open = ours;
		run = run_of(dr, i); /* what lies before a loop is fetched once, what lies in it each time */
	}
}

static struct stage_plan *plan_at(const struct ahead *h, uint32_t s)
{
	return (struct stage_plan *)&h->ring[s % RING];
}

static uint32_t written_by(const struct driver *dr, uint32_t s)
{
	return dr->storage[dr->ops[dr->ahead->stage[s].op]->out[0].id];
}

/* ---- room ----------------------------------------------------------------------------------------------------------------------------- */

static bool in_use(const struct placed *p, uint32_t first, uint32_t last)
{
	return p->first <= last && first <= p->last;
}

/* The end of SRAM that images of the stages first..last may use. */
static uint64_t limit_of(const struct driver *dr, uint32_t first, uint32_t last)
{
	uint64_t limit = UINT64_MAX;
	for (uint32_t s = first; s <= last; s++) {
		uint64_t l = dr->limit[dr->ahead->stage[s].op];
		limit = l < limit ? l : limit;
	}
	return limit & ~UINT64_C(63);
}

/* The highest address with `bytes` free during the stages first..last but for what `owner` holds, or 0. */
static uint64_t highest_room(const struct driver *dr, uint64_t bytes, uint32_t first, uint32_t last, const struct operand *owner)
{
	const struct ahead *h = dr->ahead;
	uint64_t end = limit_of(dr, first, last);
	for (bool moved = true; moved;) {
		moved = false;
		if (end < SRAM_RESERVED + bytes)
			return 0;
		for (size_t i = 0; i < h->placed.n; i++) {
			const struct placed *p = &h->placed.at[i];
			if (p->owner != owner && in_use(p, first, last) && p->at < end && end - bytes < p->end) {
				end = p->at;
				moved = true;
				break;
			}
		}
	}
	return end - bytes;
}

/* The lowest address from `at` on with `bytes` free during stage s, or 0. */
static uint64_t lowest_room_from(const struct driver *dr, uint64_t at, uint64_t bytes, uint32_t s)
{
	const struct ahead *h = dr->ahead;
	for (bool moved = true; moved;) {
		moved = false;
		for (size_t i = 0; i < h->placed.n; i++) {
			const struct placed *p = &h->placed.at[i];
			if (in_use(p, s, s) && p->at < at + bytes && at < p->end) {
				at = p->end;
				moved = true;
				break;
			}
		}
	}
	return at + bytes <= limit_of(dr, s, s) ? at : 0;
}

/* The same, where the stage before cannot have images if possible: what is fetched ahead needs the rest. */
static uint64_t lowest_room(const struct driver *dr, uint64_t bytes, uint32_t s)
{
	uint64_t before = s && dr->ahead->stage[s].joined ? limit_of(dr, s - 1, s) : SRAM_RESERVED, limit = limit_of(dr, s, s);
	uint64_t above = before < limit ? lowest_room_from(dr, before, bytes, s) : 0;
	return above ? above : lowest_room_from(dr, SRAM_RESERVED, bytes, s);
}

static void hold(struct driver *dr, uint64_t at, uint64_t bytes, uint32_t s, const struct operand *owner)
{
	if (bytes)
		*TG_PUSH(dr->a, &dr->ahead->placed) = (struct placed){ at, at + bytes, s, s, owner };
}

/* Stages before `now` are over. */
static void forget(struct ahead *h, uint32_t now)
{
	size_t kept = 0;
	for (size_t i = 0; i < h->placed.n; i++)
		if (h->placed.at[i].last >= now)
			h->placed.at[kept++] = h->placed.at[i];
	h->placed.n = kept;
}

/* ---- fetching ahead ------------------------------------------------------------------------------------------------------------------- */

/* The first of the stages open..s-1 from which on nobody writes the operand's tensor; s: there is none. */
static uint32_t unwritten_from(const struct driver *dr, const struct operand *o, uint32_t open, uint32_t s)
{
	uint32_t from = s;
	while (from > open && written_by(dr, from - 1) != o->storage)
		from--;
	return from;
}

static bool is_gathered(const struct operand *o)
{
	for (uint32_t k = 0; k < o->n_comps; k++)
		if (o->comp[k].gather >= 0)
			return true;
	return false;
}

/* The earliest stage whose code is not made yet and after which no halt lies between. */
static uint32_t open_from(const struct ahead *h, uint32_t s, uint32_t now)
{
	uint32_t from = s;
	while (from > now && s - from < LOOKAHEAD && h->stage[from].joined)
		from--;
	return from;
}

/* What stage `before` leaves of the SRAM that stage s may use, in bytes. */
static uint64_t room_beside(const struct driver *dr, uint32_t before, uint32_t s)
{
	const struct ahead *h = dr->ahead;
	uint64_t used = 0, room = limit_of(dr, before, s) - SRAM_RESERVED;
	for (size_t i = 0; i < h->placed.n; i++)
		used += in_use(&h->placed.at[i], before, before) ? h->placed.at[i].end - h->placed.at[i].at : 0;
	return used < room ? room - used : 0;
}

/* DRAM's idle time in the stages from `open` up to s, less what is still to be fetched for them. */
static double idle_before(const struct driver *dr, uint32_t s, uint32_t open)
{
	double idle = 0;
	for (uint32_t k = open; k < s; k++) {
		const struct stage_plan *sp = plan_at(dr->ahead, k);
		idle += sp->idle;
		for (uint32_t i = 0; i < sp->plan.n_ops; i++)
			idle -= sp->plan.operand[i].pending && k > open ? plan_transfer_cycles(&sp->plan, &sp->plan.operand[i]) : 0;
	}
	return idle > 0 ? idle : 0;
}

/* Is stage s the first of a run whose last one, another, is planned before the code of this one is made? */
static bool carries(const struct driver *dr, uint32_t s)
{
	uint32_t op = dr->ahead->stage[s].op;
	return run_begins(dr, op) && run_of(dr, op)->last - op < LOOKAHEAD && run_of(dr, op)->last > op;
}

static void mark_early(struct driver *dr, struct plan *p, uint32_t s, uint32_t open)
{
	p->idle_before = idle_before(dr, s, open);
	p->early_room = open < s ? room_beside(dr, s - 1, s) : 0;
	uint32_t op = dr->ahead->stage[s].op, result = carries(dr, s) ? dr->storage[run_result(dr, op).id] : 0;
	if (result) { /* while the run's last stage is at work, of which nothing is known yet */
		p->idle_before = 1e300;
		p->early_room = (limit_of(dr, s, s) - SRAM_RESERVED) / 2;
	}
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		o->early = !is_gathered(o) && !o->is_list && (result ? o->storage != result : unwritten_from(dr, o, open, s) < s);
	}
}

/* ---- one plan --------------------------------------------------------------------------------------------------------------------------- */

/* An early operand's first image apart from the rest: it may be moved once it is fetched ahead. */
static bool place_first(struct driver *dr, struct operand *o, uint32_t s)
{
	o->sram = highest_room(dr, o->place_bytes, s, s, o);
	o->apart = o->pending = true;
	hold(dr, o->sram, o->place_bytes, s, o);
	return o->sram != 0;
}

static bool place_rest(struct driver *dr, struct operand *o, uint32_t s)
{
	uint64_t bytes = (o->places - o->pending) * o->place_bytes, at = lowest_room(dr, bytes, s);
	hold(dr, at, bytes, s, NULL);
	o->place_step = o->pending && bytes ? (int64_t)at - (int64_t)o->sram : (int64_t)o->place_bytes;
	if (!o->pending) /* a constant is one element that a vector load reads with strides of 0 */
		o->sram = at;
	return at != 0;
}

/* What operations touch: one buffer for each operand, one for a tensor that several work on in place. */
static void number_buffers(struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		o->mem = i + 2;
		for (uint32_t k = 0; k < i && o->direct; k++)
			if (p->operand[k].direct && p->operand[k].storage == o->storage)
				o->mem = p->operand[k].mem;
	}
}

/* Early operands whose first image is still without a place: the smallest, or NULL. Small ones at the edge leave the others one stretch to move in. */
static struct operand *smallest_early(struct plan *p)
{
	struct operand *least = NULL;
	for (uint32_t i = 0; i < p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		bool early = o->early && !o->apart && plan_fetches(p, i) && (p->n_loops == 0 || plan_prefetches(p));
		if (early && (!least || o->place_bytes < least->place_bytes))
			least = o;
	}
	return least;
}

static void forget_places(struct plan *p)
{
	for (uint32_t i = 0; i <= p->n_ops; i++)
		p->operand[i].handed = p->operand[i].carried = p->operand[i].pending = p->operand[i].apart = false;
}

/* First images of early operands at the upper end, where they may be moved from, everything else in the gaps; false: the gaps do not suffice. */
static bool place_in_gaps(struct driver *dr, struct plan *p, uint32_t s)
{
	bool ok = true;
	for (struct operand *o = smallest_early(p); ok && o; o = smallest_early(p))
		ok = place_first(dr, o, s);
	for (uint32_t i = 0; ok && i <= p->n_ops; i++)
		ok = p->operand[i].direct || place_rest(dr, &p->operand[i], s);
	uint64_t partial = whole_lines(p->partial_bytes);
	p->partial_sram = lowest_room(dr, partial, s);
	hold(dr, p->partial_sram, partial, s, NULL);
	return ok && p->partial_sram != 0;
}

/* One behind the other, as the plan counted them; nothing is fetched ahead. */
static void place_in_a_row(struct driver *dr, struct plan *p, uint32_t s)
{
	uint64_t at = SRAM_RESERVED;
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		struct operand *o = &p->operand[i];
		if (o->direct)
			continue;
		o->sram = at;
		o->place_step = (int64_t)o->place_bytes;
		at += o->places * o->place_bytes;
	}
	p->partial_sram = at;
	at += whole_lines(p->partial_bytes);
	assert(at <= limit_of(dr, s, s));
	hold(dr, SRAM_RESERVED, at - SRAM_RESERVED, s, NULL);
}

/* Nothing else lives in stage s yet: at least in a row the images fit. */
static void place(struct driver *dr, struct plan *p, uint32_t s)
{
	size_t n_placed = dr->ahead->placed.n;
	forget_places(p);
	if (!place_in_gaps(dr, p, s)) {
		dr->ahead->placed.n = n_placed;
		forget_places(p);
		place_in_a_row(dr, p, s);
	}
	for (uint32_t i = 0; i <= p->n_ops; i++)
		if (p->operand[i].direct)
			p->operand[i].sram = p->operand[i].home;
	number_buffers(p);
}

/* Tiles that use a part of SRAM leave room for what is fetched ahead. */
static const char *choose(struct driver *dr, struct plan *p, uint32_t s)
{
	uint64_t limit = limit_of(dr, s, s), part = SRAM_RESERVED + (limit - SRAM_RESERVED) / SHARES * HIGHEST_SHARE;
	struct plan *small = dr->ahead->spare;
	*small = *p; /* as described: choosing changes it */
	const char *why = plan_choose(p, SRAM_RESERVED, limit);
	if (why || p->sram_top <= part)
		return why;
	if (!plan_choose(small, SRAM_RESERVED, part & ~UINT64_C(63)) && small->cost <= p->cost * MUCH_CHEAPER)
		*p = *small;
	return NULL;
}

static void plan_stage(struct driver *dr, uint32_t s, uint32_t now)
{
	struct stage_plan *sp = plan_at(dr->ahead, s);
	const struct tg_op *op = dr->ops[dr->ahead->stage[s].op];
	struct plan *p = &sp->plan;
	sp->n_ahead = 0;
	sp->idle = 0;
	sp->why = is_given(dr, op) ? NULL : plan_describe(p, dr->m, op, dr->chip, &(struct places_of){ dr->dram, dr->home, dr->storage, dr->margin, run_of(dr, dr->ahead->stage[s].op) ? &dr->part[dr->ahead->stage[s].op]->walk : NULL, dr->partial });
	if (is_given(dr, op) || sp->why)
		return;
	uint32_t open = open_from(dr->ahead, s, now);
	const struct margin *margin = dr->margin[written_by(dr, s)];
	sp->margin = margin && margin->writer == dr->ahead->stage[s].op ? margin : NULL;
	p->ordinal = s;
	p->plain = dr->plain[dr->ahead->stage[s].op];
	p->chunking = dr->options->chunks;
	mark_early(dr, p, s, open);
	sp->why = choose(dr, p, s);
	if (sp->why)
		return;
	sp->idle = p->dram_idle;
	place(dr, p, s);
}

/* ---- fetching ahead ------------------------------------------------------------------------------------------------------------------------ */

/* Moves the operand's first image of stage s to where it may live from stage `now` on; false: there is no room. */
static bool extend(struct driver *dr, struct operand *o, uint32_t now, uint32_t s)
{
	struct ahead *h = dr->ahead;
	uint64_t at = highest_room(dr, o->place_bytes, now, s, o);
	for (size_t i = 0; i < h->placed.n && at; i++) {
		struct placed *p = &h->placed.at[i];
		if (p->owner == o)
			*p = (struct placed){ at, at + o->place_bytes, now, s, o };
	}
	if (at && o->places > 1)
		o->place_step += (int64_t)o->sram - (int64_t)at;
	if (at)
		o->sram = at;
	return at != 0;
}

/* A fetch takes the idle time of this stage first, then of those behind it. */
static void spend(struct driver *dr, uint32_t now, uint32_t s, double cycles)
{
	for (uint32_t k = now; k < s; k++) {
		double *idle = &plan_at(dr->ahead, k)->idle, part = *idle < cycles ? *idle : cycles;
		*idle -= part;
		cycles -= part;
	}
}

struct wanted { struct plan *plan; uint32_t operand, stage; double cycles, start; };

/* What the stages behind `now` still want, in the order in which they run. */
static uint32_t list_wanted(struct driver *dr, uint32_t now, struct wanted *w, uint32_t most)
{
	struct ahead *h = dr->ahead;
	uint32_t n = 0;
	for (uint32_t s = now + 1; s < h->n_planned && h->stage[s].joined && n < most; s++) {
		struct plan *p = &plan_at(h, s)->plan;
		if (plan_at(h, s)->why)
			break;
		for (uint32_t i = 0; i < p->n_ops && n < most; i++)
			if (p->operand[i].pending && unwritten_from(dr, &p->operand[i], now, s) == now)
				w[n++] = (struct wanted){ p, i, s, plan_transfer_cycles(p, &p->operand[i]), 0 };
	}
	return n;
}

/* Latest starts in DRAM's idle time from the beginning of stage `now` on. */
static void set_starts(const struct driver *dr, uint32_t now, struct wanted *w, uint32_t n)
{
	double next = 1e300;
	for (uint32_t i = n; i-- > 0;) {
		double before = 0;
		for (uint32_t k = now; k < w[i].stage; k++)
			before += plan_at(dr->ahead, k)->idle * COUNTED_ON;
		w[i].start = (before < next ? before : next) - w[i].cycles;
		next = w[i].start;
	}
}

/* A stage whose one tile comes in chunks starts all that it fetches for others in front of its loop: chunks would wait behind what takes longer than DRAM
 * rests until the third one is wanted. */
static double most_at_once(const struct plan *p)
{
	return p->chunks && !p->n_loops ? 2 * p->dram_idle / (double)p->chunks : 1e300;
}

static void fetch_for_others(struct driver *dr, uint32_t now)
{
	struct stage_plan *sp = plan_at(dr->ahead, now);
	struct wanted w[RING * MAX_OPERANDS];
	uint32_t n = list_wanted(dr, now, w, RING * MAX_OPERANDS);
	double idle = sp->idle, most = most_at_once(&sp->plan);
	set_starts(dr, now, w, n);
	for (uint32_t i = 0; i < n && w[i].start < idle && sp->n_ahead < MAX_AHEAD; i++) {
		struct operand *o = &w[i].plan->operand[w[i].operand];
		if (sp->idle <= 0 && w[i].stage > now + 1)
			break; /* it would hold room and gain nothing: DRAM is busy with this stage */
		most -= w[i].cycles;
		if (most < 0 || !extend(dr, o, now, w[i].stage))
			break; /* nothing overtakes it */
		o->pending = false;
		o->handed = true;
		sp->ahead[sp->n_ahead++] = (struct fetch_ahead){ w[i].plan, w[i].operand, false };
		spend(dr, now, w[i].stage, w[i].cycles);
	}
}

/* ---- outputs that stay in SRAM ----------------------------------------------------------------------------------------------------------- */

/* A copy to DRAM ends with the last reader of the tensor, or before a halt, whichever comes first. */
static void flush_output(struct driver *dr, uint32_t s)
{
	struct ahead *h = dr->ahead;
	struct stage_plan *sp = plan_at(h, s);
	uint32_t op = h->stage[s].op, v = dr->flushed[op];
	uint32_t next = s + 1 < h->n_stages && h->stage[s + 1].joined ? h->stage[s + 1].op : UINT32_MAX; /* none: a halt */
	size_t bytes = 0;
	sp->flush.bytes = 0;
	sp->n_waits = 0;
	if (v && tg_shape_bytes(&dr->m->values.at[v].shape, dr->m->values.at[v].dtype, &bytes) && bytes) {
		uint32_t slot = 0;
		while (slot + 1 < MAX_FLUSHES && h->flush_ends[slot])
			slot++;
		if (h->flush_ends[slot]) /* none is free */
			sp->waits[sp->n_waits++] = slot;
		sp->flush = (struct flush){ dr->home[v], dr->dram[v], bytes, slot };
		h->flush_ends[slot] = h->flush_ends[slot] ? op : dr->last_use[v];
	}
	for (uint32_t i = 0; i < MAX_FLUSHES; i++)
		if (h->flush_ends[i] && h->flush_ends[i] < next) {
			if (!sp->n_waits || sp->waits[0] != i)
				sp->waits[sp->n_waits++] = i;
			h->flush_ends[i] = 0;
		}
}

/* What the first stage of a run reads from outside is fetched during its last one, for the next part: so DRAM does not rest between parts, and what is the same for
 * several parts is fetched once. Its image lives through the whole run. */
static void carry(struct driver *dr, uint32_t s)
{
	struct ahead *h = dr->ahead;
	struct plan *p = &plan_at(h, s)->plan;
	uint32_t op = h->stage[s].op, last = carries(dr, s) ? s + run_of(dr, op)->last - op : s;
	if (last == s || last >= h->n_planned || p->chunks || is_given(dr, dr->ops[op]))
		return;
	for (uint32_t k = s; k <= last; k++)
		if (plan_at(h, k)->why || is_given(dr, dr->ops[h->stage[k].op]))
			return;
	struct stage_plan *end = plan_at(h, last);
	for (uint32_t i = 0; i < p->n_ops && end->n_ahead < MAX_AHEAD; i++) {
		struct operand *o = &p->operand[i];
		if (!o->pending || !extend(dr, o, s, last))
			continue;
		o->pending = false;
		o->handed = o->carried = true;
		end->ahead[end->n_ahead++] = (struct fetch_ahead){ p, i, true };
	}
}

struct stage_plan *ahead_plan(struct driver *dr, uint32_t s)
{
	struct ahead *h = dr->ahead;
	forget(h, s);
	while (h->n_planned < h->n_stages && h->n_planned <= s + LOOKAHEAD) {
		uint32_t k = h->n_planned;
		if (k > s && (!h->stage[k].joined || plan_at(h, k - 1)->why)) /* what lies behind a halt waits */
			break;
		plan_stage(dr, k, s);
		h->n_planned++;
	}
	if (!plan_at(h, s)->why) {
		carry(dr, s);
		fetch_for_others(dr, s);
		flush_output(dr, s);
	}
	return plan_at(h, s);
}
