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

void walker_begin(struct walker *w, struct mcursor *before)
{
	for (uint32_t l = 0; l < w->n_levels; l++) {
		if (l + 1 == w->n_levels && !w->overlaps)
			break; /* nobody asks when the outermost level ends */
		EMIT(before, smov, R(w->left[l]), w->count[l]);
	}
}

static void add(struct mcursor *at, const struct follower *f, int64_t by)
{
	if (by)
		EMIT(at, saddi, R(f->reg), R(f->reg), by);
}

void walker_advance(struct walker *w, struct mcursor *at)
{
	vreg outer = at->pred, wrapped = { 0 };
	for (uint32_t l = 0; l < w->n_levels || l == 0; l++) {
		at->pred = wrapped;
		for (uint32_t i = 0; i < w->n; i++) {
			const struct follower *f = &w->at[i];
			int64_t by = l < w->n_levels ? f->step[l] : 0;
			by -= f->moved_at == l ? f->moved : 0;
			if (l)
				by -= w->count[l - 1] * f->step[l - 1] - (l == 1 && w->overlaps ? f->overlap : 0);
			add(at, f, by);
		}
		if (l >= w->n_levels || (l + 1 == w->n_levels && !(l == 0 && w->overlaps)))
			break;
		EMIT(at, saddi, R(w->left[l]), R(w->left[l]), -1);
		if (l == 0 && w->overlaps) {
			vreg last = mreg(at->f, CLASS_P);
			EMIT(at, peqi, R(last), R(w->left[0]), 1);
			at->pred = last;
			for (uint32_t i = 0; i < w->n; i++)
				add(at, &w->at[i], -w->at[i].overlap);
			at->pred = wrapped;
		}
		if (l + 1 == w->n_levels)
			break;
		wrapped = mreg(at->f, CLASS_P);
		at->pred = (vreg){ 0 };
		EMIT(at, peqi, R(wrapped), R(w->left[l]), 0);
		at->pred = wrapped;
		EMIT(at, smov, R(w->left[l]), w->count[l]);
	}
	at->pred = outer;
}
