/* jit_prove.c: of which bytes of SRAM is known, for translated code, that an access need not look.
 *
 * A proof belongs to accesses of a segment: they may begin anywhere in [at, at + room). Behind it stands a stretch of bytes of which the same holds
 * (struct tg_known); a transfer or birth that touches it takes away as much of both (forget_proofs of core.h). A loop that walks through a buffer
 * asks once: what is found to hold is widened as far as it holds around, and joined with what was known before. */
#include "jit.h"

/* Bytes that are looked at on each side: none for code that asks once, from one time to the next twice as many. */
#define LEAST_REACH 256
#define MOST_DOUBLINGS 8
static uint64_t reach(const struct tg_known *k)
{
	return k->of->asked ? (uint64_t)LEAST_REACH << (k->of->asked < MOST_DOUBLINGS ? k->of->asked : MOST_DOUBLINGS) : 0;
}

static bool holds(struct tg_memory *m, uint64_t at, uint64_t n, uint8_t how)
{
	if (how == CLEAN_READ)
		return !mem_check_read(m, at, n);
	return (how == CLEAN_ROOM || bits_all_set(m->written, at, n)) && !mem_may_write(m, at, n);
}

/* Whether it surely holds for a piece, or all pieces of a chunk. */
static bool piece_holds(const struct tg_memory *m, uint64_t at, uint8_t how)
{
	return (how == CLEAN_ROOM || m->written[at / CLEAN_BYTES] == ~UINT64_C(0)) && !(how == CLEAN_READ ? m->chunk_write : m->chunk_any)[at >> CHUNK_SHIFT];
}
static bool chunk_holds(const struct tg_memory *m, uint64_t at, uint8_t how)
{
	const uint64_t *w = m->written + at / CLEAN_BYTES;
	_Static_assert(CHUNK_BYTES == 4 * CLEAN_BYTES, "words of `written`");
	return (how == CLEAN_ROOM || (w[0] & w[1] & w[2] & w[3]) == ~UINT64_C(0)) && !(how == CLEAN_READ ? m->chunk_write : m->chunk_any)[at >> CHUNK_SHIFT];
}

static uint64_t grow_up(const struct tg_memory *m, uint64_t at, uint8_t how, uint64_t most)
{
	uint64_t limit = m->bytes - at > most ? at + most : m->bytes / CLEAN_BYTES * CLEAN_BYTES;
	if (at >= limit || (at % CLEAN_BYTES && !piece_holds(m, at, how)))
		return at;
	for (at = (at + CLEAN_BYTES - 1) / CLEAN_BYTES * CLEAN_BYTES; at + CHUNK_BYTES <= limit;) {
		if (at % CHUNK_BYTES == 0 && chunk_holds(m, at, how))
			at += CHUNK_BYTES;
		else if (piece_holds(m, at, how))
			at += CLEAN_BYTES;
		else
			break;
	}
	return at;
}
static uint64_t grow_down(const struct tg_memory *m, uint64_t at, uint8_t how, uint64_t most)
{
	uint64_t limit = at > most ? at - most : 0;
	if (at % CLEAN_BYTES && !piece_holds(m, at, how))
		return at;
	for (at = at / CLEAN_BYTES * CLEAN_BYTES; at >= limit + CHUNK_BYTES;) {
		if (at % CHUNK_BYTES == 0 && chunk_holds(m, at - CHUNK_BYTES, how))
			at -= CHUNK_BYTES;
		else if (piece_holds(m, at - CLEAN_BYTES, how))
			at -= CLEAN_BYTES;
		else
			break;
	}
	return at;
}

/* What others found out. Whether that is all there is to know. */
static bool join_known(const struct tg_memory *m, struct tg_known *k)
{
	for (uint32_t i = m->n_known; i-- > 0;) {
		const struct tg_known *o = &m->known[i];
		if (o->how != k->how || o->first > k->end || o->end < k->first)
			continue;
		bool covers = o->first <= k->first && o->end >= k->end;
		k->first = k->first < o->first ? k->first : o->first;
		k->end = k->end > o->end ? k->end : o->end;
		if (covers)
			return true;
	}
	return false;
}

/* [first, end), of which it holds, and what lies around. */
static void widen_known(const struct tg_memory *m, struct tg_known *k)
{
	if (join_known(m, k))
		return;
	k->first = grow_down(m, k->first, k->how, reach(k));
	k->end = grow_up(m, k->end, k->how, reach(k));
}

/* A place for what is known on behalf of a proof: the one that it has, a free one, or that of another, which is given up. */
static uint32_t place_of_proof(struct tg_memory *m, const struct tg_proof *p)
{
	if (p->room)
		return p->place;
	if (m->n_known < MAX_KNOWN)
		return m->n_known++;
	uint32_t i = m->next_known++ % MAX_KNOWN;
	m->known[i].of->room = 0;
	return i;
}

uint64_t jit_prove(struct tg_sim *s, uint64_t proof, uint64_t at, uint64_t bytes, uint64_t how)
{
	struct tg_memory *m = &s->core.mem;
	struct tg_proof *p = &s->jit.proofs[proof];
	struct tg_known k = {.of = p, .first = at, .end = at + bytes, .at = at, .bytes = bytes, .how = (uint8_t)how};
	if (at - p->at < p->room)
		return 1;
	if (!mem_inside(m, at, bytes) || !holds(m, at, bytes, k.how))
		return 0;
	if (p->asked)
		widen_known(m, &k);
	uint32_t place = place_of_proof(m, p);
	m->known[place] = k;
	*p = (struct tg_proof){k.first, k.end - k.first - bytes + 1, p->asked + (p->asked < MOST_DOUBLINGS), place};
	return 1;
}
