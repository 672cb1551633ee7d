/* engines.c [BUNDLES [SEED]]: random bundle programs on both engines, from that seed on until so many bundles have run. A program is a setup step and many
 * short ones. After each block of translated code the interpreter runs the same bundles, and registers, memory, accumulators, loops and times must be the same to the
 * bit; after each step counters, message and digest too, with any number of threads. Every fourth program runs its steps at a stretch instead.
 *
 * Programs keep the rules mostly, so that they run on: registers are taken when they are free, addresses stay in what is written. Now and then
 * they break one, and then both engines must trap alike; the next program begins. Scalar registers: 1..4 addresses, 5..6 post-increments,
 * 7..10 strides, 11..14 extents, 15 accumulator row, 16..23 data, 24..27 loop counts, 28..31 DMA. */
#include "harness.h"
#include "jit.h"
#include "live.h"
#include "numerics.h"
#include "threads.h"

#define SRAM_USED 65536
#define DMA_AREA 66560
#define OUTSIDE 90000
#define ACC_BLOCKS 8

struct maker {
	struct fixture *f;
	struct program *p;
	uint64_t x;
	uint64_t clock;
	uint64_t ready[4][64]; /* S, V, M, P: the clock from which a register is free */
	bool taken[4][64];     /* written by the bundle at work */
	uint64_t acc_ready[ACC_BLOCKS], mul_free, push_free;
	struct tg_bundle b;
	unsigned depth, array_type, steps;
	bool loaded;           /* an array instruction is in the bundle */
	bool reads_only;       /* loads and lane-wise instructions, nothing else */
};
struct patch {
	uint32_t word;
	struct tg_bundle b;
	unsigned insn, field;
};

static uint32_t draw(struct maker *m, uint32_t n)
{
	m->x ^= m->x << 13, m->x ^= m->x >> 7, m->x ^= m->x << 17;
	return (uint32_t)(m->x >> 20) % n;
}
static bool once_in(struct maker *m, uint32_t n)
{
	return draw(m, n) == 0;
}

/* ---- bundles ---- */

static uint32_t put_bundle(struct maker *m, uint64_t idle)
{
	uint64_t words[TG_MAX_BUNDLE + 1];
	uint32_t n, at = (uint32_t)m->p->code.n;
	struct tg_diag d;
	tg_diag_init(&d, m->f->a);
	if (idle)
		m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_idle, .f = {(int64_t)idle}};
	ck_assert_msg(tg_bundle_encode(&d, TG_NOWHERE, &m->f->chip, &m->b, words, &n), "%s", first_message(&d));
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(m->f->a, &m->p->code) = words[i];
	m->clock += 1 + idle;
	m->b.n = 0;
	memset(m->taken, 0, sizeof m->taken);
	m->loaded = false;
	return at;
}

/* Everything lands. */
static void rest(struct maker *m)
{
	put_bundle(m, m->f->chip.latency.multiply_read + 64);
}

static void set(struct maker *m, int64_t r, int64_t v)
{
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_smov, .f = {r, v}};
	put_bundle(m, 8);
}

/* A register of a kind that may be read and written now; -1: none was found. */
static int64_t take(struct maker *m, unsigned kind, uint32_t from, uint32_t n, bool write)
{
	for (int tries = 0; tries < 20; tries++) {
		uint32_t r = from + draw(m, n);
		if (m->ready[kind][r] > m->clock || (write && m->taken[kind][r]))
			continue;
		if (write)
			m->taken[kind][r] = true;
		return r;
	}
	return -1;
}

static void lands(struct maker *m, unsigned kind, int64_t r, uint32_t latency)
{
	m->ready[kind][r] = m->clock + latency;
}

static int64_t pick_for(struct maker *m, const struct tg_field_info *f)
{
	const uint32_t n[] = {0, m->f->chip.n_vregs, m->f->chip.n_mregs < 5 ? m->f->chip.n_mregs : 5, 4};
	return f->kind == TG_FIELD_S ? take(m, TG_FIELD_S, 16, 8, f->is_def) : take(m, f->kind, f->is_def && f->kind != TG_FIELD_V, n[f->kind] - (f->is_def && f->kind != TG_FIELD_V), f->is_def);
}

static void fill_memory(struct maker *m, struct tg_insn *in, bool load)
{
	bool four = in->op == TG_I_vld_i4 || in->op == TG_I_vld_u4 || in->op >= TG_I_vst_i4;
	int64_t q = draw(m, 3);
	in->f[2] = (int64_t)draw(m, 64) * 4;
	in->f[3] = 7 + draw(m, 4);
	in->f[4] = 7 + draw(m, 4);
	in->f[5] = once_in(m, 3) ? 11 + draw(m, 4) : 0;
	in->f[6] = once_in(m, 6) && !four ? take(m, TG_FIELD_M, 1, 3, false) : 0;
	if (in->f[6] < 0)
		in->f[6] = 0;
	if (load)
		in->f[7] = once_in(m, 2) ? 0 : draw(m, 4);
	in->f[load ? 8 : 7] = !once_in(m, 5);
	in->f[load ? 9 : 8] = q == 0 || m->taken[TG_FIELD_S][in->f[1]] ? 0 : 4 + q;
	if (in->f[load ? 9 : 8]) {
		m->taken[TG_FIELD_S][in->f[1]] = true;
		lands(m, TG_FIELD_S, in->f[1], m->f->chip.latency.scalar);
	}
}

/* A load reads its destination when it keeps lanes of it. */
static bool fill(struct maker *m, struct tg_insn *in)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	bool memory = info->slot == TG_SLOT_L || info->slot == TG_SLOT_W, scalar_memory = in->op >= TG_I_sld32 && in->op <= TG_I_sst64;
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		if (memory && f->kind == TG_FIELD_S)
			in->f[i] = f->is_both ? take(m, TG_FIELD_S, 1, 4, false) : 0;
		else if (scalar_memory && i == 1)
			in->f[i] = take(m, TG_FIELD_S, 1, 4, false);
		else if (f->kind <= TG_FIELD_P)
			in->f[i] = pick_for(m, f);
		else if (scalar_memory)
			in->f[i] = (int64_t)draw(m, 64) * 4;
		else if (f->kind == TG_FIELD_I)
			in->f[i] = (int64_t)draw(m, 200) - 100;
		if (in->f[i] < 0 && f->kind <= TG_FIELD_P)
			return false;
	}
	if (memory)
		fill_memory(m, in, info->slot == TG_SLOT_L);
	if (strcmp(info->format, "XRED") == 0)
		in->f[2] = draw(m, 3);
	if (strcmp(info->format, "XGET") == 0)
		in->f[2] = draw(m, m->f->chip.sublanes), in->f[3] = draw(m, m->f->chip.lanes);
	return true;
}

/* What random code is made of; matrix, control and DMA have their own makers. */
static bool ordinary(unsigned op)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
	switch (op) {
	case TG_I_vldx:
	case TG_I_vstx:
	case TG_I_xtw:
	case TG_I_xtr:
		return false;
	default:
		return info->slot <= TG_SLOT_X;
	}
}
static bool only_reads(unsigned op)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
	bool wide = (op >= TG_I_vld_f32 && op <= TG_I_vld_u8) || info->slot == TG_SLOT_V;
	return wide || (info->slot == TG_SLOT_S && !(op >= TG_I_sld32 && op <= TG_I_sst64));
}

static unsigned used(const struct maker *m, enum tg_slot slot)
{
	unsigned n = 0;
	for (unsigned i = 0; i < m->b.n; i++) {
		unsigned s = tg_insn_info((enum tg_opcode)m->b.insn[i].op)->slot;
		n += s == (unsigned)slot || (slot == TG_SLOT_V && s == TG_SLOT_E);
	}
	return n;
}

static void add_ordinary(struct maker *m)
{
	/* memory often, the rest of the table evenly */
	static const uint16_t often[] = {TG_I_vld_f32, TG_I_vld_i8, TG_I_vld_bf16, TG_I_vst_f32, TG_I_vst_i8s, TG_I_vst_bf16, TG_I_vfma_f32, TG_I_vadd_f32, TG_I_vmax_f32, TG_I_saddi};
	unsigned op = once_in(m, 2) ? often[draw(m, TG_ARRAY_LEN(often))] : 1 + draw(m, TG_N_INSNS - 1);
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
	struct tg_insn in = {.op = (uint16_t)op};
	if (!ordinary(op) || (m->reads_only && !only_reads(op)) || used(m, (enum tg_slot)info->slot) >= tg_slot_count(&m->f->chip, (enum tg_slot)info->slot) ||
	    (info->slot == TG_SLOT_E && used(m, TG_SLOT_V) >= m->f->chip.n_alu) || (info->slot == TG_SLOT_V && used(m, TG_SLOT_V) >= m->f->chip.n_alu))
		return;
	if (once_in(m, 5)) {
		int64_t p = take(m, TG_FIELD_P, 1, 3, false);
		in.pred = p > 0 ? (uint8_t)p : 0;
	}
	if (!fill(m, &in))
		return;
	for (unsigned i = 0; i < info->n_fields; i++) {
		if (info->field[i].is_def)
			lands(m, info->field[i].kind, in.f[i], tg_insn_latency(&m->f->chip, (enum tg_opcode)op));
	}
	m->b.insn[m->b.n++] = in;
}

/* ---- matrix unit ---- */

/* One that reads register v, or any. */
static void add_matrix(struct maker *m, int64_t fed)
{
	const struct tg_chip *c = &m->f->chip;
	struct tg_insn in = {0};
	int64_t v = fed < 0 ? take(m, TG_FIELD_V, 0, c->n_vregs, false) : fed, block = draw(m, ACC_BLOCKS);
	if (v < 0 || m->loaded)
		return;
	if (once_in(m, 3) && m->push_free <= m->clock) {
		in = (struct tg_insn){.op = (uint16_t)(TG_I_push_f32 + m->array_type), .f = {0, v, 0, draw(m, c->array_rows / c->sublanes), once_in(m, 2) ? 11 + draw(m, 4) : 0, 0, draw(m, 2)}};
		m->push_free = m->clock + tg_insn_occupancy(c, &in);
	} else if (fed < 0 && once_in(m, 3) && m->acc_ready[block] <= m->clock) {
		v = take(m, TG_FIELD_V, 0, c->n_vregs, true);
		if (v < 0)
			return;
		in = (struct tg_insn){.op = TG_I_mrd, .f = {v, 0, 15, block * c->sublanes, 1 + draw(m, c->sublanes)}};
		lands(m, TG_FIELD_V, v, c->latency.read);
	} else if (m->mul_free <= m->clock) {
		in = (struct tg_insn){.op = (uint16_t)(TG_I_mul_f32 + m->array_type), .f = {0, v, 15, block * c->sublanes, 1 + draw(m, c->sublanes), draw(m, 2)}};
		m->mul_free = m->clock + tg_insn_occupancy(c, &in);
		m->acc_ready[block] = m->clock + c->latency.multiply_read;
	} else {
		return;
	}
	m->loaded = true;
	m->b.insn[m->b.n++] = in;
}

static void swap_arrays(struct maker *m)
{
	rest(m);
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_swap, .f = {0}};
	put_bundle(m, 0);
}

/* ---- stretches, loops, branches ---- */

static void stretch(struct maker *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned most = 1 + draw(m, 6);
		for (unsigned k = 0; k < most; k++) {
			if (!m->reads_only && once_in(m, 6))
				add_matrix(m, -1);
			else
				add_ordinary(m);
		}
		put_bundle(m, once_in(m, 4) ? 1 + draw(m, 6) : 0);
	}
}

/* A register that only the array reads from one load to the next, and stores between them: what translated code would rather not load. */
static void feed(struct maker *m)
{
	int64_t v = take(m, TG_FIELD_V, 0, m->f->chip.n_vregs, true), a = take(m, TG_FIELD_S, 1, 4, false);
	if (v < 0 || a < 0)
		return;
	for (unsigned loads = 2 + draw(m, 2); loads; loads--) {
		m->b.insn[m->b.n++] = (struct tg_insn){.op = once_in(m, 3) ? TG_I_vld_i32 : TG_I_vld_f32,
						       .f = {v, a, (int64_t)draw(m, 64) * (once_in(m, 8) ? 3 : 4), 7 + draw(m, 4), 7 + draw(m, 4), once_in(m, 3) ? 11 + draw(m, 4) : 0, 0, 0, !once_in(m, 8), 0}};
		put_bundle(m, tg_insn_latency(&m->f->chip, TG_I_vld_f32));
		m->ready[TG_FIELD_V][v] = UINT64_MAX;
		for (unsigned uses = draw(m, 4); uses && loads > 1; uses--) {
			if (once_in(m, 2))
				stretch(m, 1 + draw(m, 3));
			add_matrix(m, v);
			put_bundle(m, draw(m, 4));
		}
		rest(m);
	}
	m->ready[TG_FIELD_V][v] = m->clock;
}

static void patch_target(struct maker *m, const struct patch *p)
{
	struct tg_bundle b = p->b;
	uint64_t words[TG_MAX_BUNDLE + 1];
	uint32_t n;
	struct tg_diag d;
	tg_diag_init(&d, m->f->a);
	b.insn[p->insn].f[p->field] = (int64_t)m->p->code.n;
	ck_assert(tg_bundle_encode(&d, TG_NOWHERE, &m->f->chip, &b, words, &n));
	memcpy(m->p->code.at + p->word, words, n * sizeof *words);
}

static void code(struct maker *m, unsigned size);

static void loop(struct maker *m, unsigned size)
{
	struct patch p = {.insn = 0, .field = 1};
	int64_t count = 24 + (int64_t)m->depth;
	set(m, count, once_in(m, 12) ? 0 : 1 + draw(m, m->depth ? 5 : 60));
	rest(m);
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_loop, .f = {count, 0}};
	p.b = m->b;
	p.word = put_bundle(m, 0);
	m->depth++;
	if (once_in(m, 2)) { /* a flag of the loop as a predicate */
		m->b.insn[m->b.n++] = (struct tg_insn){.op = once_in(m, 2) ? TG_I_pfirst : TG_I_plast, .f = {1 + draw(m, 3), draw(m, m->depth)}};
		put_bundle(m, 0);
	}
	m->reads_only = once_in(m, 3);
	if (m->reads_only)
		stretch(m, 1 + size / 2);
	else
		code(m, size);
	m->reads_only = false;
	/* addresses go back to where they were, or the next iterations leave what is written */
	set(m, 1 + draw(m, 4), 16384 + 64 * (int64_t)draw(m, 128));
	rest(m);
	m->depth--;
	patch_target(m, &p);
}

static void branch(struct maker *m)
{
	struct patch p = {.insn = 0, .field = 0};
	rest(m);
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_br, .pred = (uint8_t)draw(m, 4), .f = {0}};
	p.b = m->b;
	p.word = put_bundle(m, 0);
	stretch(m, 1 + draw(m, 4));
	rest(m);
	patch_target(m, &p);
}

/* A transfer into its own area, so that loads and stores meet one under way. */
static void transfer(struct maker *m)
{
	struct tg_dma_desc *d = tg_alloc(m->f->a, sizeof *d);
	uint64_t at = 4194304 + 256 * (uint64_t)m->steps++;
	*d = (struct tg_dma_desc){.size = {1, 1, 1, 512}, .hi = {1, 1, 1, 512}, .src_stride = {0, 0, 0, 1}, .dst_stride = {0, 0, 0, 1}};
	program_data(m->p, at, d, sizeof *d);
	set(m, 31, TG_DRAM_BASE + (int64_t)at);
	set(m, 30, TG_DRAM_BASE);
	set(m, 29, DMA_AREA + 64 * (int64_t)draw(m, 8));
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_dma_start, .f = {28, 0, 31, 30, 29}};
	put_bundle(m, 0);
	stretch(m, 1 + draw(m, 6));
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_dma_wait, .f = {0, 28}};
	put_bundle(m, 0);
}

static void code(struct maker *m, unsigned size)
{
	unsigned left = size;
	while (left) {
		unsigned n = 1 + draw(m, left < 12 ? left : 12);
		left -= n;
		if (m->depth < 3 && once_in(m, 4))
			loop(m, n);
		else if (once_in(m, 8))
			branch(m);
		else if (once_in(m, 6))
			feed(m);
		else if (once_in(m, 10))
			transfer(m);
		else if (once_in(m, 12))
			swap_arrays(m);
		else
			stretch(m, n);
	}
}

/* ---- programs ---- */

static void entry(struct maker *m)
{
	*TG_PUSH(m->f->a, &m->p->x.steps) = (struct tg_step){.entry_word = (uint32_t)m->p->code.n, .text = "", .reason = ""};
}

static void end_step(struct maker *m)
{
	rest(m);
	m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_halt};
	put_bundle(m, 0);
}

static void known_registers(struct maker *m, bool all)
{
	const struct tg_chip *c = &m->f->chip;
	const int64_t extents[] = {0, 2 | 7 << 16, (int64_t)c->sublanes | 16 << 16 | INT64_C(2) << 32, 1 | (int64_t)(c->lanes - 3) << 16};
	for (int64_t r = 1; r <= 4; r++)
		set(m, r, 16384 + 64 * (int64_t)draw(m, 128) + (once_in(m, 3) ? (int64_t)draw(m, 64) : 0));
	if (once_in(m, 60))
		set(m, 1, OUTSIDE + (int64_t)draw(m, 100));
	for (int64_t r = 5; r <= 14 && all; r++) {
		int64_t strides[] = {64, -64, 4 * (int64_t)c->lanes, 0, 12, 4 * (int64_t)c->lanes + 4};
		set(m, r, r < 11 ? strides[r - 5] : extents[r - 11]);
		if (r > 12 && once_in(m, 2)) { /* an extent that only the run knows */
			m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_smov, .pred = (uint8_t)(1 + draw(m, 3)), .f = {r, extents[draw(m, 4)]}};
			put_bundle(m, 8);
		}
	}
}

static void setup(struct maker *m)
{
	uint32_t *data = tg_alloc(m->f->a, DMA_AREA + 1024);
	const struct tg_chip *c = &m->f->chip;
	for (uint32_t i = 0; i < (DMA_AREA + 1024) / 4; i++)
		data[i] = once_in(m, 3) ? tg_bits((float)((int32_t)draw(m, 20000) - 10000) / 64) : once_in(m, 9) ? 0x7fc00000 | draw(m, 1u << 31) : draw(m, UINT32_MAX);
	program_data(m->p, 0, data, DMA_AREA + 1024);
	entry(m);
	program_copy(m->p, TG_DRAM_BASE, 0, DMA_AREA + 1024, 4000000);
	known_registers(m, true);
	set(m, 15, 0);
	for (int64_t r = 16; r < 24; r++)
		set(m, r, (int64_t)draw(m, 1000) - 500);
	for (int64_t v = 0; v < (int64_t)c->n_vregs; v++) {
		m->b.insn[m->b.n++] = (struct tg_insn){.op = TG_I_vld_i32, .f = {v, 0, 64 * (int64_t)draw(m, 100), 7, 0, 0, 0, 0, 1, 0}};
		put_bundle(m, 0);
	}
	rest(m);
	for (int64_t i = 0; i < ACC_BLOCKS; i++) {
		m->b.insn[m->b.n++] = (struct tg_insn){.op = (uint16_t)(TG_I_mul_f32 + m->array_type), .f = {0, i, 15, i * c->sublanes, c->sublanes, 0}};
		rest(m);
	}
	end_step(m);
}

/* ---- block by block ---- */

struct lockstep {
	struct tg_arena *arena;
	struct tg_sim *interp, *jit;
	const struct liveness *live; /* NULL: the code keeps all registers */
	uint32_t *kept;   /* what registers hold that have views: stale, and to stay so */
	uint64_t blocks, views; /* compared; found in them */
};

/* Registers that are free have any clock that has passed. */
static bool same_clocks(const struct tg_sim *a, const struct tg_sim *b)
{
	for (unsigned r = 0; r < N_REGS; r++) {
		if ((a->ready[r] > a->core.clock ? a->ready[r] : a->core.clock) != (b->ready[r] > b->core.clock ? b->ready[r] : b->core.clock))
			return false;
	}
	return true;
}

/* What somebody may still read. */
static struct live find_live(const struct lockstep *l)
{
	const struct blocks *k = l->jit->jit.blocks;
	uint32_t now = l->jit->now_bundle;
	for (uint32_t i = 0; i < k->n && l->live; i++) {
		if (now >= k->at[i].first && now < k->at[i].whole_end)
			return sim_live_at(l->live, &k->at[i], now);
	}
	return l->live ? (struct live){0} : live_all(l->jit);
}

static bool same_corner(const struct tg_core *core, const uint32_t *a, const uint32_t *b, struct corner c)
{
	bool same = true;
	for (uint32_t r = 0; r < c.rows; r++)
		same = same && memcmp(a + r * core->lanes, b + r * core->lanes, c.lanes * sizeof *a) == 0;
	return same;
}

/* A register that differs; NULL: none does. */
static const char *register_differs(struct tg_arena *arena, const struct tg_core *a, const struct tg_core *b, const struct live *live)
{
	if (memcmp(a->s, b->s, sizeof a->s) != 0 || memcmp(a->p, b->p, sizeof a->p) != 0)
		return "a scalar register or predicate";
	for (unsigned r = 0; r < a->chip->n_vregs; r++) {
		if (!same_corner(a, a->v[r], b->v[r], live->of[r]))
			return tg_asprintf(arena, "v%u", r);
	}
	for (unsigned r = 0; r < a->chip->n_mregs; r++) {
		if (!same_corner(a, a->m[r], b->m[r], live->of[REG_M - REG_V + r]))
			return tg_asprintf(arena, "m%u", r);
	}
	return NULL;
}

static bool same_accumulators(const struct tg_core *a, const struct tg_core *b)
{
	const struct tg_array *x = &a->array[0], *y = &b->array[0];
	bool same = memcmp(x->acc_written, y->acc_written, a->chip->acc_rows) == 0 && x->active == y->active;
	for (uint32_t r = 0; same && r < ACC_BLOCKS * a->rows; r++)
		same = !x->acc_written[r] || memcmp(x->acc + (size_t)r * a->stride, y->acc + (size_t)r * a->stride, a->chip->array_cols * sizeof(uint32_t)) == 0;
	return same;
}

static bool same_memory(const struct tg_memory *a, const struct tg_memory *b)
{
	return memcmp(a->written, b->written, (OUTSIDE + 64 * 1024) / 8) == 0 && memcmp(a->at, b->at, OUTSIDE + 64 * 1024) == 0;
}

static bool same_place(const struct tg_sim *a, const struct tg_sim *b)
{
	bool same = a->n_loops == b->n_loops && a->core.clock == b->core.clock && a->cycle == b->cycle && a->now_bundle == b->now_bundle;
	for (uint32_t i = 0; same && i < a->n_loops; i++)
		same = a->loops[i].start == b->loops[i].start && a->loops[i].end == b->loops[i].end && a->loops[i].index == b->loops[i].index && a->loops[i].count == b->loops[i].count;
	return same;
}

/* Looks through the views, and leaves them. */
static void compare_block(struct lockstep *l, const char *what)
{
	const struct tg_core *a = &l->interp->core, *b = &l->jit->core;
	uint64_t viewed = l->jit->jit.viewed;
	const struct live live = find_live(l);
	for (uint64_t set = viewed; set; set &= set - 1)
		memcpy(l->kept + (size_t)__builtin_ctzll(set) * b->n, b->v[__builtin_ctzll(set)], b->n * sizeof *l->kept);
	jit_calls.settle(l->jit, viewed);
	threads_wait(l->jit);
	threads_wait(l->interp);
	ck_assert_msg(same_place(l->interp, l->jit), "%s, block %llu: at bundle %u, cycle %llu interpreted, at %u, %llu translated", what, (unsigned long long)l->blocks, l->interp->now_bundle,
		      (unsigned long long)l->interp->cycle, l->jit->now_bundle, (unsigned long long)l->jit->cycle);
	const char *differs = register_differs(l->arena, a, b, &live);
	ck_assert_msg(!differs, "%s, block %llu, before bundle %u: %s", what, (unsigned long long)l->blocks, l->jit->now_bundle, differs);
	ck_assert_msg(same_clocks(l->interp, l->jit), "%s, block %llu: when registers land", what, (unsigned long long)l->blocks);
	ck_assert_msg(same_accumulators(a, b), "%s, block %llu: accumulators", what, (unsigned long long)l->blocks);
	ck_assert_msg(same_memory(&a->mem, &b->mem), "%s, block %llu: memory", what, (unsigned long long)l->blocks);
	for (uint64_t set = viewed; set; set &= set - 1)
		memcpy(b->v[__builtin_ctzll(set)], l->kept + (size_t)__builtin_ctzll(set) * b->n, b->n * sizeof *l->kept);
	l->jit->jit.viewed = viewed;
	l->blocks++;
	l->views += (uint64_t)__builtin_popcountll(viewed);
}

static bool step_by_blocks(struct fixture *f, struct lockstep *l, const char *what, uint32_t entry_word, struct tg_diag *d)
{
	struct jit_turn t = {0};
	struct tg_diag other;
	bool halted = false, ok = true, same = true;
	tg_diag_init(&other, f->a);
	ck_assert(sim_begin_run(l->interp, d, entry_word) && sim_begin_run(l->jit, &other, entry_word));
	while (ok && same && !t.halted && !halted) {
		same = jit_turn(l->jit, &t);
		/* a bundle that traps issues no more */
		while (ok && !halted && (l->interp->core.clock < l->jit->core.clock || !same))
			ok = sim_run_bundle(l->interp, &halted);
		if (ok && same)
			compare_block(l, what);
	}
	ck_assert_msg(ok == same && halted == t.halted, "%s: one engine goes on", what);
	ok = sim_end_run(l->interp, d, ok);
	sim_end_run(l->jit, &other, same);
	same_ends(what, l->interp, l->jit, ok || l->jit->options.all_registers, l->interp->x, d, &other);
	return ok;
}

struct seen {
	uint64_t programs, bundles, blocks, views, traps;
};

/* Runs the program's steps while both go on. */
static void run_program(struct maker *m, uint64_t seed, struct seen *seen)
{
	struct tg_sim_options o = {.engine = TG_ENGINE_INTERP, .max_cycles = 1 << 22, .threads = seed % 7 == 3 ? 3 : 1};
	m->p->x.code = m->p->code.at;
	m->p->x.n_words = (uint32_t)m->p->code.n;
	struct tg_sim *interp = tg_sim_new(m->f->a, &m->p->x, &o);
	o.engine = TG_ENGINE_JIT;
	o.translate_all = true;
	o.all_registers = seed % 3 == 0;
	o.threads = (uint32_t)(seed % 4);
	struct tg_sim *jit = tg_sim_new(m->f->a, &m->p->x, &o);
	struct lockstep l = {.arena = m->f->a, .interp = interp, .jit = jit, .kept = tg_alloc_n(m->f->a, (size_t)64 * jit->core.n, sizeof *l.kept)};
	bool trapped = false;
	ck_assert_msg(tg_sim_translates(jit), "seed %llu: nothing was translated", (unsigned long long)seed);
	l.live = o.all_registers ? NULL : sim_find_live(m->f->a, jit, jit->jit.blocks);
	for (size_t i = 0; i < m->p->x.steps.n; i++) {
		struct tg_diag d;
		const char *what = tg_asprintf(m->f->a, "seed %llu step %zu", (unsigned long long)seed, i);
		uint32_t entry_word = m->p->x.steps.at[i].entry_word;
		tg_diag_init(&d, m->f->a);
		if (!(seed / 5 % 4 ? step_by_blocks(m->f, &l, what, entry_word, &d) : step_on_both(m->f, what, interp, jit, o.all_registers, &m->p->x, entry_word, &d))) {
			ck_assert_msg(i > 0, "seed %llu: the setup traps: %s", (unsigned long long)seed, first_message(&d));
			trapped = true;
			break;
		}
	}
	uint64_t n = 0;
	for (size_t i = 0; i <= m->p->x.provs.n; i++)
		n += interp->fetched[i];
	seen->bundles += n;
	seen->blocks += l.blocks;
	seen->views += l.views;
	seen->traps += trapped;
	seen->programs++;
	tg_sim_free(interp);
	tg_sim_free(jit);
}

static void one_program(uint64_t seed, struct seen *seen)
{
	struct fixture *f = fixture_new(seed % 5 == 4 ? "t1" : "t1-edge");
	struct maker *m = tg_alloc(f->a, sizeof *m);
	m->f = f;
	m->p = program_new(f);
	m->x = seed * UINT64_C(0x9e3779b97f4a7c15) + 12345;
	static const unsigned types[] = {TG_ARRAY_f32, TG_ARRAY_bf16, TG_ARRAY_f16, TG_ARRAY_i8, TG_ARRAY_u8};
	m->array_type = types[draw(m, TG_ARRAY_LEN(types))];
	setup(m);
	for (int step = 0; step < 12; step++) {
		entry(m);
		known_registers(m, once_in(m, 2));
		code(m, 10 + draw(m, 40));
		end_step(m);
	}
	run_program(m, seed, seen);
	fixture_free(f);
}

#define PER_TEST 200000 /* bundles: Check cannot report a test of more than half an hour */
#define SEEDS 1000      /* more than a test needs */

static uint64_t wanted = PER_TEST, first_seed = 1;

START_TEST(engines_agree)
{
	struct seen seen = {0};
	uint64_t first = first_seed + SEEDS * (uint64_t)_i, most = wanted < PER_TEST ? wanted : PER_TEST;
	while (seen.bundles < most)
		one_program(first + seen.programs, &seen);
	fprintf(stderr, "%llu programs from seed %llu on, %llu bundles; compared after %llu blocks, with %llu views; %llu ended in a trap\n", (unsigned long long)seen.programs, (unsigned long long)first,
		(unsigned long long)seen.bundles, (unsigned long long)seen.blocks, (unsigned long long)seen.views, (unsigned long long)seen.traps);
}
END_TEST

int main(int argc, char **argv)
{
	if (!tg_sim_can_translate()) {
		printf("no LLVM: there is one engine\n");
		return 77;
	}
	wanted = argc > 1 ? strtoull(argv[1], NULL, 0) : wanted;
	first_seed = argc > 2 ? strtoull(argv[2], NULL, 0) : first_seed;
	Suite *s = suite_create("engines");
	TCase *t = tcase_create("engines");
	tcase_set_timeout(t, 0);
	tcase_add_unchecked_fixture(t, load_translator, NULL);
	tcase_add_loop_test(t, engines_agree, 0, (int)((wanted + PER_TEST - 1) / PER_TEST));
	suite_add_tcase(s, t);
	return run_suite(s);
}
