/* sim_decode.c: the whole code once into bundles of decoded instructions, in the order in which they run within a bundle. */
#include "sim_int.h"

/* Reads of accumulators and transposer come before what writes them, loads before stores, waits and control last. */
static unsigned order_of(const struct tg_insn *in)
{
	switch (tg_insn_info((enum tg_opcode)in->op)->slot) {
	case TG_SLOT_R:
		return 0;
	case TG_SLOT_X:
		return in->op == TG_I_xtw ? 3 : 1;
	case TG_SLOT_S:
		return in->op == TG_I_sst32 || in->op == TG_I_sst64 ? 6 : 2;
	case TG_SLOT_M:
		return 3;
	case TG_SLOT_P:
		return 4;
	case TG_SLOT_D:
		return in->op == TG_I_dma_wait ? 8 : 5;
	case TG_SLOT_W:
		return 7;
	case TG_SLOT_C:
		return 9;
	default:
		return 2;
	}
}

static uint8_t reg_id(unsigned kind, int64_t n)
{
	static const uint8_t base[] = {[TG_FIELD_S] = REG_S, [TG_FIELD_V] = REG_V, [TG_FIELD_M] = REG_M, [TG_FIELD_P] = REG_P};
	return (uint8_t)(base[kind] + n);
}

static bool is_load(const struct tg_insn_info *info)
{
	return info->slot == TG_SLOT_L;
}

/* A load keeps lanes of its destination when it is masked, indexed, or keeps what lies outside its extent. */
static bool keeps_destination(const struct tg_insn *in, const struct tg_insn_info *info)
{
	return is_load(info) && (in->op == TG_I_vldx || tg_insn_get(in, 'm') != 0 || tg_insn_get(in, 'f') == 3);
}

static void add_read(struct uop *u, unsigned kind, int64_t n)
{
	/* s0, m0 and p0 are constants */
	if (n == 0 && kind != TG_FIELD_V)
		return;
	uint8_t id = reg_id(kind, n);
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] == id)
			return;
	}
	u->reads[u->n_reads++] = id;
}

static void add_write(struct uop *u, unsigned kind, int64_t n, uint32_t latency)
{
	u->writes[u->n_writes] = reg_id(kind, n);
	u->latency[u->n_writes++] = latency;
}

static void find_registers(const struct tg_chip *c, struct uop *u)
{
	static const char letters[] = {[TG_FIELD_S] = 's', [TG_FIELD_V] = 'v', [TG_FIELD_M] = 'm', [TG_FIELD_P] = 'p'};
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)u->in.op);
	add_read(u, TG_FIELD_P, u->in.pred);
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (f->kind > TG_FIELD_P)
			continue;
		if (!f->is_def) {
			add_read(u, f->kind, u->in.f[i]);
			continue;
		}
		u->result = (uint8_t)letters[f->kind];
		add_write(u, f->kind, u->in.f[i], tg_insn_latency(c, (enum tg_opcode)u->in.op));
		if (keeps_destination(&u->in, info))
			add_read(u, f->kind, u->in.f[i]);
	}
	for (unsigned i = 0; i < info->n_fields; i++) {
		if (info->field[i].is_both && tg_insn_get(&u->in, 'q') != 0) {
			u->posts = true;
			add_write(u, TG_FIELD_S, u->in.f[i], c->latency.scalar);
		}
	}
}

static void fill_uop(struct tg_sim *s, struct uop *u, const struct tg_insn *in)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	*u = (struct uop){.in = *in, .sem = s->sem[in->op], .slot = info->slot, .occupancy = tg_insn_occupancy(&s->x->chip, in)};
	if (info->slot == TG_SLOT_P || info->slot == TG_SLOT_M || info->slot == TG_SLOT_R)
		u->unit = (uint8_t)tg_insn_get(in, 'u');
	find_registers(&s->x->chip, u);
}

/* ---- instructions that are the same are decoded once: unrolled code repeats itself, and a decoded one takes much more room than its number ---- */

/* Open addressing; 0: free, else a number of s->uops and 1. */
struct uop_table {
	struct tg_arena *a;
	uint32_t *slot;
	uint32_t n_slots, n; /* n_slots: a power of two */
};

static bool same_insn(const struct tg_insn *a, const struct tg_insn *b)
{
	return a->op == b->op && a->pred == b->pred && memcmp(a->f, b->f, tg_insn_info((enum tg_opcode)a->op)->n_fields * sizeof *a->f) == 0;
}

/* Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4). */
static uint32_t hash_of(const struct tg_insn *in)
{
	uint64_t h = (uint64_t)in->op << 8 | in->pred;
	for (unsigned i = 0; i < tg_insn_info((enum tg_opcode)in->op)->n_fields; i++)
		h = ((h ^ h >> 32) + (uint64_t)in->f[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(h >> 32);
}

/* Where the instruction is, or where it belongs. */
static uint32_t *slot_of(const struct tg_sim *s, const struct uop_table *t, const struct tg_insn *in)
{
	uint32_t at = hash_of(in) & (t->n_slots - 1);
	while (t->slot[at] && !same_insn(&s->uops[t->slot[at] - 1].in, in))
		at = (at + 1) & (t->n_slots - 1);
	return &t->slot[at];
}

static void grow_table(const struct tg_sim *s, struct uop_table *t)
{
	t->n_slots = t->n_slots ? 2 * t->n_slots : 4096;
	t->slot = tg_alloc_n(t->a, t->n_slots, sizeof *t->slot);
	for (uint32_t i = 0; i < t->n; i++)
		*slot_of(s, t, &s->uops[i].in) = i + 1;
}

static uint32_t uop_number(struct tg_sim *s, struct uop_table *t, const struct tg_insn *in)
{
	if (2 * t->n >= t->n_slots)
		grow_table(s, t);
	uint32_t *slot = slot_of(s, t, in);
	if (!*slot) {
		fill_uop(s, &s->uops[t->n], in);
		*slot = ++t->n;
	}
	return *slot - 1;
}

static void fill_bundle(struct tg_sim *s, struct uop_table *t, struct decoded *b, const struct tg_bundle *raw, uint32_t *n_insns)
{
	b->first_insn = *n_insns;
	b->n_insns = raw->n;
	uint8_t order[TG_MAX_BUNDLE];
	unsigned left = 0; /* orders that some instruction has */
	for (uint32_t i = 0; i < raw->n; i++) {
		order[i] = (uint8_t)order_of(&raw->insn[i]);
		left |= 1u << order[i];
	}
	for (; left; left &= left - 1) {
		for (uint32_t i = 0; i < raw->n; i++) {
			if (order[i] == __builtin_ctz(left))
				s->insns[(*n_insns)++] = uop_number(s, t, &raw->insn[i]);
		}
	}
}

static void attach_debug(struct tg_sim *s)
{
	const struct tg_exe *x = s->x;
	size_t range = 0, birth = 0;
	for (uint32_t i = 0; i < s->n_bundles; i++) {
		struct decoded *b = &s->bundles[i];
		while (range < x->ranges.n && x->ranges.at[range].end_word <= b->word)
			range++;
		bool covered = range < x->ranges.n && x->ranges.at[range].first_word <= b->word;
		b->prov = covered ? x->ranges.at[range].prov : (uint32_t)x->provs.n;
		while (birth < x->births.n && x->births.at[birth].word < b->word)
			birth++;
		b->birth = (uint32_t)birth;
		while (birth < x->births.n && x->births.at[birth].word == b->word)
			birth++;
		b->n_births = (uint32_t)birth - b->birth;
	}
}

/* Bundles follow one another from word 0. Behind an illegal one nothing is known: it and all after it must not run. */
void sim_decode(struct tg_sim *s)
{
	const struct tg_exe *x = s->x;
	struct uop_table table = {.a = tg_arena_new(tg_arena_heap(s->arena))};
	struct tg_bundle *raw = tg_alloc(table.a, sizeof *raw);
	uint32_t n_insns = 0;
	s->bundles = sim_new_table(s, (uint64_t)x->n_words + 1, sizeof *s->bundles);
	s->bundle_at = tg_alloc_n(s->arena, (size_t)x->n_words + 1, sizeof *s->bundle_at);
	s->uops = sim_new_table(s, (uint64_t)x->n_words + 1, sizeof *s->uops);
	s->insns = sim_new_table(s, (uint64_t)x->n_words + 1, sizeof *s->insns);
	memset(s->bundle_at, 0xff, ((size_t)x->n_words + 1) * sizeof *s->bundle_at);
	for (size_t at = 0, next; at < x->n_words; at = next) {
		struct decoded *b = &s->bundles[s->n_bundles];
		s->bundle_at[at] = s->n_bundles++;
		b->word = (uint32_t)at;
		b->illegal = tg_bundle_decode(&x->chip, x->code, x->n_words, at, raw, &next);
		if (b->illegal)
			next = x->n_words;
		else
			fill_bundle(s, &table, b, raw, &n_insns);
		b->end_word = (uint32_t)next;
	}
	s->bundles[s->n_bundles].word = x->n_words;
	s->bundle_at[x->n_words] = s->n_bundles;
	tg_arena_free(table.a);
	attach_debug(s);
}
