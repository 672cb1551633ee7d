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

static void fill_bundle(struct tg_sim *s, struct decoded *b, const struct tg_bundle *raw, uint32_t *n_uops)
{
	b->first_uop = *n_uops;
	b->n_uops = raw->n;
	uint8_t order[TG_MAX_BUNDLE];
	unsigned left = 0; /* orders that some instruction has */
	for (uint32_t i = 0; i < raw->n; i++) {
		order[i] = (uint8_t)order_of(&raw->insn[i]);
		left |= 1u << order[i];
	}
	for (; left; left &= left - 1) {
		for (uint32_t i = 0; i < raw->n; i++) {
			if (order[i] == __builtin_ctz(left))
				fill_uop(s, &s->uops[(*n_uops)++], &raw->insn[i]);
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
	struct tg_bundle *raw = tg_alloc(s->arena, sizeof *raw);
	uint32_t n_uops = 0;
	s->bundles = sim_new_table(s, (uint64_t)x->n_words + 1, sizeof *s->bundles);
	s->bundle_at = tg_alloc_n(s->arena, (size_t)x->n_words + 1, sizeof *s->bundle_at);
	s->uops = sim_new_table(s, (uint64_t)x->n_words + 1, sizeof *s->uops);
	memset(s->bundle_at, 0xff, ((size_t)x->n_words + 1) * sizeof *s->bundle_at);
	for (size_t at = 0, next; at < x->n_words; at = next) {
		struct decoded *b = &s->bundles[s->n_bundles];
		s->bundle_at[at] = s->n_bundles++;
		b->word = (uint32_t)at;
		b->illegal = tg_bundle_decode(&x->chip, x->code, x->n_words, at, raw, &next);
		if (b->illegal)
			next = x->n_words;
		else
			fill_bundle(s, b, raw, &n_uops);
		b->end_word = (uint32_t)next;
	}
	s->bundles[s->n_bundles].word = x->n_words;
	s->bundle_at[x->n_words] = s->n_bundles;
	attach_debug(s);
}
