/* walker.c: counters and addresses of flat loops. */
#include "walker.h"

int walker_level(struct mfn *f, struct walker *w, int64_t n)
{
	if (n <= 1 || w->n_levels == MAX_LEVELS)
		return -1;
	w->count[w->n_levels] = n;
	w->left[w->n_levels] = mreg(f, CLASS_S);
	return (int)w->n_levels++;
}

struct follower *walker_follow(struct kernel *k, struct walker *w, struct mcursor *before, vreg start, int64_t offset)
{
	if (w->n == MAX_FOLLOWERS) {
		k->failed = "too many addresses move in one loop";
		return NULL;
	}
	struct follower *f = &w->at[w->n++];
	*f = (struct follower){ .reg = mreg(before->f, CLASS_S) };
	EMIT(before, saddi, R(f->reg), R(start), offset);
	return f;
}

static vreg at_position(struct walker *w, struct mcursor *at, int l, int64_t left)
{
	vreg p = mreg(at->f, CLASS_P);
	w->asked[l] = true;
	EMIT(at, peqi, R(p), R(w->left[l]), left);
	return p;
}

vreg walker_at_first(struct walker *w, struct mcursor *at, int l)
{
	return at_position(w, at, l, w->count[l]);
}

vreg walker_at_last(struct walker *w, struct mcursor *at, int l)
{
	return at_position(w, at, l, 1);
}

/* What a follower moves by when level l steps on. */
static int64_t change(const struct walker *w, const struct follower *f, uint32_t l)
{
	int64_t by = l < w->n_levels ? f->step[l] : 0;
	by -= f->moved_at == l ? f->moved : 0;
	if (l)
		by -= w->count[l - 1] * f->step[l - 1] - (l == 1 && w->overlaps ? f->overlap : 0);
	return by;
}

/* Does anything happen when level l or one outside of it steps on? */
static bool matters(const struct walker *w, uint32_t l)
{
	for (; l < w->n_levels; l++) {
		if (w->asked[l])
			return true;
		for (uint32_t i = 0; i < w->n; i++)
			if (change(w, &w->at[i], l))
				return true;
	}
	return false;
}

/* The outermost level's end is the loop's: its counter is kept only for those who ask. */
static bool counts(const struct walker *w, uint32_t l)
{
	return matters(w, l + 1) || w->asked[l] || (l == 0 && w->overlaps);
}

void walker_begin(struct walker *w, struct mcursor *before)
{
	for (uint32_t l = 0; l < w->n_levels; l++)
		if (counts(w, l))
			EMIT(before, smov, R(w->left[l]), w->count[l]);
}

static void add(struct mcursor *at, const struct follower *f, int64_t by)
{
	if (by)
		EMIT(at, saddi, R(f->reg), R(f->reg), by);
}

/* Before the last position of level 0: it lies closer. */
static void step_back(struct walker *w, struct mcursor *at)
{
	vreg was = at->pred, last = { 0 };
	for (uint32_t i = 0; i < w->n; i++) {
		if (!w->at[i].overlap)
			continue;
		last = last.id ? last : walker_at_last(w, at, 0);
		at->pred = last;
		add(at, &w->at[i], -w->at[i].overlap);
		at->pred = was;
	}
}

void walker_advance(struct walker *w, struct mcursor *at)
{
	vreg outer = at->pred, wrapped = { 0 };
	if (w->overlaps)
		w->asked[0] = true;
	for (uint32_t l = 0; l < w->n_levels || l == 0; l++) {
		at->pred = wrapped;
		for (uint32_t i = 0; i < w->n; i++) {
			add(at, &w->at[i], change(w, &w->at[i], l));
		}
		if (l >= w->n_levels || !counts(w, l))
			break;
		EMIT(at, saddi, R(w->left[l]), R(w->left[l]), -1);
		if (l == 0 && w->overlaps)
			step_back(w, at);
		if (!matters(w, l + 1) && !w->asked[l])
			break;
		wrapped = mreg(at->f, CLASS_P);
		at->pred = (vreg){ 0 };
		EMIT(at, peqi, R(wrapped), R(w->left[l]), 0);
		at->pred = wrapped;
		EMIT(at, smov, R(w->left[l]), w->count[l]);
		if (!matters(w, l + 1))
			break;
	}
	at->pred = outer;
}
