/* pipeline_code.c: from the times of a pipelined loop's operations to its code: where the windows are cut, what its registers are called in them, and the bundles. */
#include "pipe.h"

#include <string.h>

enum { MAX_COPIES = 8, MAX_CUTS = 8 };

/* ---- registers ---------------------------------------------------------------------------------------------------------------------------- */

static void touch(struct pipe *p, int64_t r, int32_t from, int32_t to)
{
	p->born[r] = from < p->born[r] ? from : p->born[r];
	p->gone[r] = to > p->gone[r] ? to : p->gone[r];
}

static void find_lives(struct pipe *p)
{
	for (size_t r = 0; r < p->n_regs; r++) {
		p->born[r] = INT32_MAX;
		p->gone[r] = -1;
	}
	for (uint32_t i = 0; i < p->b.n; i++) {
		const struct mop *op = &p->b.items[i].node->op;
		const struct tg_insn_info *info = tg_insn_info(op->op);
		enum vclass c;
		int32_t t = p->time[i];
		if (op->pred)
			touch(p, op->pred, t, t);
		for (uint32_t k = 0; k < info->n_fields; k++)
			if (op_class_of(info->field[k].kind, &c) && op->f[k]) {
				int32_t lag = info->field[k].is_def ? (int32_t)tg_insn_latency(p->chip, op->op) : info->field[k].is_both ? (int32_t)p->chip->latency.scalar : 0;
				touch(p, op->f[k], t, t + lag);
			}
	}
}

static bool crosses(const struct pipe *p, int64_t r)
{
	return p->gone[r] / (int32_t)p->interval != p->born[r] / (int32_t)p->interval;
}

/* Names that take turns: a value that needs `least` of them gets a number that divides the copies of the body. */
static uint32_t names_of(uint32_t copies, uint32_t least)
{
	while (copies % least)
		least++;
	return least;
}

/* More copies of the body than the longest life needs may let the others do with fewer names. */
static uint32_t best_copies(const struct pipe *p)
{
	uint32_t best = p->copies, fewest = UINT32_MAX;
	for (uint32_t copies = p->copies; copies <= MAX_COPIES && copies <= p->copies + 1; copies++) {
		uint32_t names = 0;
		for (size_t r = 1; r < p->n_regs; r++)
			if (p->local[r] && p->gone[r] >= 0 && p->copies_of[r] > 1)
				names += names_of(copies, p->copies_of[r]);
		if (names < fewest) {
			fewest = names;
			best = copies;
		}
	}
	return best;
}

/* Names that every local value needs, and whether the chip has the registers. */
static bool expand_names(struct pipe *p, const uint32_t *outside)
{
	size_t n = p->n_regs;
	int32_t ii = (int32_t)p->interval;
	uint32_t need[N_CLASSES] = { 0 };
	const uint32_t have[N_CLASSES] = { [CLASS_S] = p->chip->n_sregs - 1, [CLASS_V] = p->chip->n_vregs, [CLASS_M] = p->chip->n_mregs - 1, [CLASS_P] = p->chip->n_pregs - 1 };
	uint16_t (*live)[N_CLASSES] = tg_alloc_n(p->a, p->interval, sizeof *live);
	p->copies = 1;
	p->hopeless = false;
	find_lives(p);
	for (size_t r = 1; r < n; r++) {
		p->copies_of[r] = 1;
		if (p->gone[r] < 0 || !p->local[r])
			continue;
		uint32_t q = up((uint64_t)(p->gone[r] - p->born[r]), p->interval);
		p->copies_of[r] = q ? q : 1;
		p->copies = q > p->copies ? q : p->copies;
	}
	if (p->copies > MAX_COPIES)
		return false;
	p->copies = best_copies(p);
	for (size_t r = 1; r < n; r++) {
		enum vclass c = (enum vclass)p->b.f->classes.at[r];
		if (p->gone[r] < 0 || !p->local[r])
			continue;
		if (p->copies_of[r] > 1)
			need[c] += names_of(p->copies, p->copies_of[r]);
		else if (crosses(p, (int64_t)r))
			need[c]++;
		else
			for (int32_t t = p->born[r]; t < p->gone[r] || t == p->born[r]; t++)
				live[t % ii][c]++;
	}
	for (uint32_t c = 0; c < N_CLASSES; c++) {
		uint32_t most = 0;
		for (int32_t t = 0; t < ii; t++)
			most = live[t][c] > most ? live[t][c] : most;
		if (need[c] + most + outside[c] + p->spare > have[c]) {
			p->b.f->scalars_short |= c == CLASS_S;
			p->hopeless = (need[c] + most + outside[c] + p->spare) * 4 > have[c] * 5;
			return false;
		}
	}
	return true;
}

static void count_stages(struct pipe *p)
{
	p->stages = 0;
	for (uint32_t i = 0; i < p->b.n; i++)
		if ((uint32_t)p->time[i] / p->interval + 1 > p->stages)
			p->stages = (uint32_t)p->time[i] / p->interval + 1;
}

/* What is divided when the windows are cut there, by bundle of the interval. */
static int32_t *crossings(struct pipe *p)
{
	int32_t ii = (int32_t)p->interval, *crossing = tg_alloc_n(p->a, (size_t)ii, sizeof *crossing);
	find_lives(p);
	for (size_t r = 1; r < p->n_regs; r++) {
		if (p->gone[r] < 0 || !p->local[r] || p->gone[r] - p->born[r] >= ii)
			continue;
		int32_t weight = p->b.f->classes.at[r] == CLASS_P ? 4 : p->b.f->classes.at[r] == CLASS_S ? 2 : 1;
		/* a cut at c divides it when born < c <= gone, modulo the interval */
		for (int32_t t = p->born[r] + 1; t <= p->gone[r]; t++)
			crossing[t % ii] += weight;
	}
	return crossing;
}

static void shift(struct pipe *p, int32_t by)
{
	for (uint32_t i = 0; i < p->b.n; i++)
		p->time[i] += by;
}

/* Where the windows are cut is free: where the fewest local values cross a cut, as the allocator keeps those for the whole kernel; where registers do not
 * suffice then, at the next best of all. */
bool pipe_cut_windows(struct pipe *p, const uint32_t *outside)
{
	int32_t ii = (int32_t)p->interval, *crossing = crossings(p);
	for (uint32_t tries = 0; tries < MAX_CUTS && !p->hopeless; tries++) {
		int32_t best = 0, by;
		for (int32_t c = 1; c < ii; c++)
			if (crossing[c] < crossing[best])
				best = c;
		if (crossing[best] == INT32_MAX)
			return false;
		crossing[best] = INT32_MAX;
		by = best ? ii - best : 0;
		shift(p, by);
		count_stages(p);
		if (expand_names(p, outside))
			return true;
		shift(p, -by);
	}
	return false;
}

static void name_copies(struct pipe *p)
{
	struct mfn *f = p->b.f;
	size_t n = p->n_regs;
	p->first_copy = tg_alloc_n(p->a, n, sizeof *p->first_copy);
	p->window_name = tg_alloc_n(p->a, n, sizeof *p->window_name);
	for (size_t r = 1; r < n; r++) {
		if (p->gone[r] < 0 || !p->local[r] || p->copies_of[r] == 1)
			continue;
		p->first_copy[r] = (uint32_t)f->classes.n;
		for (uint32_t k = 0; k < names_of(p->copies, p->copies_of[r]); k++)
			mreg(f, (enum vclass)f->classes.at[r]);
	}
}

/* Copies by iteration where lives overlap; a name of its own in every window where a value stays within one; else its own name. */
static int64_t renamed(struct pipe *p, int64_t r, uint64_t iteration)
{
	if (!r || r >= p->n_regs || !p->local[r])
		return r;
	if (p->first_copy[r])
		return p->first_copy[r] + (int64_t)(iteration % names_of(p->copies, p->copies_of[r]));
	if (crosses(p, r))
		return r;
	if (!p->window_name[r])
		p->window_name[r] = mreg(p->b.f, (enum vclass)p->b.f->classes.at[r]).id;
	return p->window_name[r];
}

static struct mop *copy_op(struct pipe *p, uint32_t item, uint64_t iteration)
{
	struct mop *op = tg_alloc(p->b.f->arena, sizeof *op);
	*op = p->b.items[item].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	op->pred = (uint32_t)renamed(p, op->pred, iteration);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].kind <= TG_FIELD_P)
			op->f[k] = renamed(p, op->f[k], iteration);
	return op;
}

/* ---- code ------------------------------------------------------------------------------------------------------------------------------------ */

/* Bundles of windows [from, to): in window w, an operation of stage s belongs to iteration w - s, if there is one. */
static void write_windows(struct pipe *p, struct sched *s, int64_t from, int64_t to)
{
	TG_VEC(struct sched_bundle) out = { 0 };
	for (int64_t w = from; w < to; w++) {
		size_t base = out.n;
		memset(p->window_name, 0, p->n_regs * sizeof *p->window_name);
		for (uint32_t t = 0; t < p->interval; t++)
			*TG_PUSH(p->b.f->arena, &out) = (struct sched_bundle){ 0 };
		for (uint32_t i = 0; i < p->b.n; i++) {
			int64_t iteration = w - p->time[i] / (int32_t)p->interval;
			if (iteration < 0 || iteration >= p->trips)
				continue;
			struct sched_bundle *b = &out.at[base + (uint32_t)p->time[i] % p->interval];
			b->ops[b->n++] = copy_op(p, i, (uint64_t)iteration);
		}
	}
	/* empty bundles ride on the one before */
	size_t kept = 0;
	for (size_t i = 0; i < out.n; i++) {
		if (out.at[i].n == 0 && kept) {
			out.at[kept - 1].idle++;
			continue;
		}
		out.at[kept++] = out.at[i];
	}
	s->at = out.at;
	s->n = (uint32_t)kept;
}

/* Until everything that is under way behind the last iteration has landed. */
static void drain(const struct pipe *p, struct sched *s, int64_t windows)
{
	int64_t end = windows * p->interval, quiet = end;
	for (uint32_t i = 0; i < p->b.n; i++) {
		int64_t t = (p->trips - 1) * p->interval + p->time[i] + op_settles(p->chip, &p->b.items[i].node->op);
		quiet = t > quiet ? t : quiet;
	}
	if (s->n)
		s->at[s->n - 1].idle += (uint32_t)(quiet - end);
}

/* The timeline's end is the last operation's bundle, not the last window's end. */
static void trim(const struct pipe *p, struct sched *s, int64_t windows)
{
	int64_t last = 0, end = windows * p->interval;
	for (uint32_t i = 0; i < p->b.n; i++) {
		int64_t t = (p->trips - 1) * p->interval + p->time[i] + op_settles(p->chip, &p->b.items[i].node->op);
		last = t > last ? t : last;
	}
	int64_t spare = end - last;
	if (s->n && spare > 0)
		s->at[s->n - 1].idle -= (uint32_t)(spare < s->at[s->n - 1].idle ? spare : s->at[s->n - 1].idle);
}

/* The timeline begins with the first operation's bundle, not with the first window. */
static void trim_start(struct sched *s)
{
	if (s->n == 0 || s->at[0].n)
		return;
	s->at++;
	s->n--;
}

/* The rounds are known just before the kernel begins: until then the register is free for others. The loop takes no time of its own: it stands in the last bundle
 * of `before`, or in place of an idle one behind it. */
static void open_kernel(struct pipe *p, struct pipeline *out, int64_t rounds)
{
	struct sched *before = &out->before;
	struct mop *op = tg_alloc(p->b.f->arena, sizeof *op);
	out->rounds = mreg(p->b.f, CLASS_S);
	*op = (struct mop){ .op = TG_I_smov, .f = { out->rounds.id, rounds } };
	uint32_t until = 0; /* bundles from the one looked at to the loop's */
	for (uint32_t i = before->n; i-- > 0; until++) {
		struct sched_bundle *b = &before->at[i];
		uint32_t scalars = 0;
		until += b->idle;
		for (uint32_t k = 0; k < b->n; k++)
			scalars += slot_of(b->ops[k]) == TG_SLOT_S;
		if (until < p->chip->latency.scalar || scalars == p->chip->n_scalar || b->n == TG_MAX_BUNDLE)
			continue;
		struct sched_bundle *last = &before->at[before->n - 1];
		b->ops[b->n++] = op;
		out->joined = last->idle == 0 && last->n < TG_MAX_BUNDLE;
		last->idle -= last->idle > 0;
		return;
	}
	struct sched_bundle *at = tg_alloc_n(p->b.f->arena, before->n + 1, sizeof *at);
	at[0] = (struct sched_bundle){ .n = 1, .ops = { op }, .idle = p->chip->latency.scalar - 1 };
	if (before->n)
		memcpy(at + 1, before->at, before->n * sizeof *at);
	before->at = at;
	before->n++;
}

void pipe_write_code(struct pipe *p)
{
	struct pipeline *out = tg_alloc(p->b.f->arena, sizeof *out);
	*out = (struct pipeline){ .interval = p->interval, .least = p->least, .stages = p->stages, .copies = p->copies, .trips = (uint64_t)p->trips };
	int64_t fill = (int64_t)p->stages - 1, windows = p->trips + fill, rounds = (p->trips - fill) / p->copies;
	name_copies(p);
	if (rounds > 1 && p->trips > fill) { /* a kernel that would run once is written down like the rest */
		write_windows(p, &out->before, 0, fill);
		trim_start(&out->before);
		open_kernel(p, out, rounds);
		write_windows(p, &out->kernel, fill, fill + p->copies);
		write_windows(p, &out->after, fill + rounds * p->copies, windows);
	} else {
		write_windows(p, &out->after, 0, windows);
		trim_start(&out->after);
	}
	if (out->after.n == 0) { /* one stage and no rest: the kernel's last results are still under way */
		out->after.at = tg_alloc(p->b.f->arena, sizeof *out->after.at);
		out->after.at[0] = (struct sched_bundle){ 0 };
		out->after.n = 1;
		drain(p, &out->after, windows);
	} else {
		drain(p, &out->after, windows);
		trim(p, &out->after, windows);
	}
	p->b.f->stretched |= p->interval > p->least;
	p->loop->pipe = out;
}
