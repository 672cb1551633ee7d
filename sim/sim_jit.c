/* sim_jit.c: runs translated blocks, and between them the interpreter; what translated code calls; counters from run counts. */
#include "jit.h"

#include "matrix_rules.h"
#include "threads.h"

#include <stdlib.h>

/* What is left to the interpreter: blocks whose bundles, as often as they run, take fewer lanes than this; and, of what all blocks do, as estimated, what is
 * beyond this part. Where translated code is kept, more is worth translating. */
#define WORTH_IT(s) ((s)->options.cache_dir ? 1024.0 : 4096.0)
#define MOST_WORK(s) ((s)->options.cache_dir ? 0.999 : 0.99)
#define TIRED 200       /* a block that was left early this often is too */

/* ---- what translated code calls ---- */

static void call_fetch(struct tg_sim *s, uint64_t which)
{
	const struct decoded *b = &s->bundles[(uint32_t)which];
	uint32_t block = (uint32_t)(which >> 32);
	struct tg_counters *c = &s->by_prov[b->prov];
	uint64_t before = s->cycle;
	fetch_bundle(s, c, b);
	c->cycles += s->cycle - before;
	if (block && fetch_is_quiet(s, s->bundles[s->jit.blocks->at[block - 1].first].word / FETCH_LINE_WORDS, (s->bundles[s->jit.blocks->at[block - 1].end - 1].end_word - 1) / FETCH_LINE_WORDS))
		s->fetch.quiet = block - 1;
}

struct rows {
	uint64_t at, block, step, block_step;
	uint32_t left, n, in_block;
};
static struct rows rows_of(uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape)
{
	return (struct rows){.at = at, .block = at, .step = step, .block_step = block_step, .left = (uint32_t)(shape & 0xffff), .n = (uint32_t)(shape >> 16 & 0xffff)};
}
static void next_row(struct rows *r)
{
	r->left--;
	r->at += r->step;
	if (++r->in_block == r->n) {
		r->in_block = 0;
		r->at = r->block += r->block_step;
	}
}

static uint64_t call_may_read(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape)
{
	for (struct rows r = rows_of(at, step, block_step, shape); r.left; next_row(&r)) {
		if (mem_check_read(&s->core.mem, r.at, shape >> 32))
			return 0;
	}
	return 1;
}

static uint64_t call_may_write(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape)
{
	for (struct rows r = rows_of(at, step, block_step, shape); r.left; next_row(&r)) {
		if (mem_may_write(&s->core.mem, r.at, shape >> 32))
			return 0;
	}
	return 1;
}

static void call_wrote(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape)
{
	for (struct rows r = rows_of(at, step, block_step, shape); r.left; next_row(&r))
		mem_written(&s->core.mem, r.at, shape >> 32);
}

/* Runs of selected lanes, row by row, until `access` says no. */
typedef bool on_run(struct tg_memory *m, uint64_t at, uint64_t n);
static bool each_run(struct tg_sim *s, struct rows r, uint64_t row_bytes, uint64_t mask, on_run *access)
{
	uint64_t bytes = mask >> 8, lanes = row_bytes / bytes;
	const uint32_t *on = s->core.m[mask & 0xff];
	for (; r.left; next_row(&r), on += s->core.lanes) {
		for (uint64_t from = 0, to; from < lanes; from = to) {
			for (to = from; to < lanes && (on[to] != 0) == (on[from] != 0);)
				to++;
			if (on[from] && !access(&s->core.mem, r.at + from * bytes, (to - from) * bytes))
				return false;
		}
	}
	return true;
}

static bool run_may_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	return !mem_check_read(m, at, n);
}
static bool run_may_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	return !mem_may_write(m, at, n);
}
static bool run_wrote(struct tg_memory *m, uint64_t at, uint64_t n)
{
	mem_written(m, at, n);
	return true;
}

static uint64_t call_may_read_masked(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask)
{
	return each_run(s, rows_of(at, step, block_step, shape), shape >> 32, mask, run_may_read);
}

static uint64_t call_may_write_masked(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask)
{
	return each_run(s, rows_of(at, step, block_step, shape), shape >> 32, mask, run_may_write);
}

static void call_wrote_masked(struct tg_sim *s, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape, uint64_t mask)
{
	each_run(s, rows_of(at, step, block_step, shape), shape >> 32, mask, run_wrote);
}

/* The scalar operands change places with the registers, which translated code may be ahead of or behind. */
static void exchange_reads(struct tg_sim *s, const struct uop *u)
{
	unsigned at = 0;
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] >= REG_V)
			continue;
		int64_t v = s->core.s[u->reads[i]];
		s->core.s[u->reads[i]] = s->jit.reads[at];
		s->jit.reads[at++] = v;
	}
}

static uint64_t call_pure(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock, uint64_t to)
{
	const struct uop *u = &s->uops[uop];
	uint64_t was = s->core.clock;
	struct tg_writes w;
	memset(&w, 0, sizeof w);
	w.v = s->jit.registers + jit_register_bytes(&s->core, to) / sizeof *w.v;
	s->core.clock = clock;
	if (u->slot == TG_SLOT_R)
		threads_wait(s);
	exchange_reads(s, u);
	u->sem(&s->core, &w, &u->in);
	exchange_reads(s, u);
	s->core.clock = was;
	if (w.trap)
		return 0;
	s->jit.scalar = u->result == 'p' ? w.p : w.s;
	uint32_t prov = s->bundles[bundle].prov;
	s->jit.pending[s->jit.n_pending++] = (struct moved){prov, w.sram_bytes, w.acc_bytes};
	sim_count(&s->by_prov[prov], &w);
	return 1;
}

uint32_t jit_store_bytes(unsigned op)
{
	switch (op) {
	case TG_I_vst_f32:
		return 4;
	case TG_I_vst_bf16:
	case TG_I_vst_f16:
	case TG_I_vst_i16:
	case TG_I_vst_i16s:
	case TG_I_vst_u16s:
		return 2;
	case TG_I_vst_e4m3:
	case TG_I_vst_e5m2:
	case TG_I_vst_i8:
	case TG_I_vst_i8s:
	case TG_I_vst_u8s:
		return 1;
	default:
		return 0;
	}
}

static bool store_may(struct tg_sim *s, const struct uop *u)
{
	const struct tg_insn *in = &u->in;
	struct tg_extent x = extent_of(&s->core, s->core.s[in->f[5]]);
	uint32_t bytes = jit_store_bytes(in->op) * (in->f[7] ? x.lanes : 1);
	return call_may_write(s, (uint64_t)s->core.s[in->f[1]] + (uint64_t)in->f[2], (uint64_t)s->core.s[in->f[3]], (uint64_t)s->core.s[in->f[4]],
			      jit_shape(x.rows, x.n, bytes)) != 0;
}

/* ---- views ---- */

static void settle_one(struct tg_sim *s, unsigned r)
{
	const struct view *v = &s->jit.view[r];
	struct tg_core *c = &s->core;
	for (uint32_t i = 0; i < c->rows; i++) {
		uint32_t *to = c->v[r] + (size_t)i * c->lanes, n = i < v->rows ? v->lanes : 0;
		if (n)
			memcpy(to, c->mem.at + (v->at + (int64_t)(i % v->n) * v->step + (int64_t)(i / v->n) * v->block_step), v->spread ? sizeof *to : n * sizeof *to);
		for (uint32_t j = 1; v->spread && j < n; j++)
			to[j] = to[0];
		memset(to + n, 0, (c->lanes - n) * sizeof *to);
	}
	s->jit.viewed &= ~(UINT64_C(1) << r);
}

static void call_settle(struct tg_sim *s, uint64_t set)
{
	for (set &= s->jit.viewed; set; set &= set - 1)
		settle_one(s, (unsigned)__builtin_ctzll(set));
}

static void call_settle_box(struct tg_sim *s, uint64_t at, uint64_t end)
{
	const struct jit *j = &s->jit;
	if ((int64_t)at >= j->views_end || (int64_t)end <= j->views_first)
		return;
	for (uint64_t set = j->viewed; set; set &= set - 1) {
		unsigned r = (unsigned)__builtin_ctzll(set);
		if ((int64_t)at < j->view[r].end && j->view[r].first < (int64_t)end)
			settle_one(s, r);
	}
}

/* Stores ask about the box of a view more often than there are views. */
static void find_box(struct view *v)
{
	int64_t a = (int64_t)((v->rows < v->n ? v->rows : v->n) - 1) * v->step, b = v->rows > v->n ? (int64_t)((v->rows - 1) / v->n) * v->block_step : 0;
	v->first = v->at + (a < 0 ? a : 0) + (b < 0 ? b : 0);
	v->end = v->at + (a > 0 ? a : 0) + (b > 0 ? b : 0) + (int64_t)v->lanes * 4;
}

static void call_view(struct tg_sim *s, uint64_t r, uint64_t at, uint64_t step, uint64_t block_step, uint64_t shape)
{
	struct jit *j = &s->jit;
	struct view *v = &j->view[r];
	*v = (struct view){.at = (int64_t)at, .step = (int64_t)step, .block_step = (int64_t)block_step, .rows = (uint32_t)(shape & 0xffff), .n = (uint32_t)(shape >> 16 & 0xffff)};
	v->lanes = (uint32_t)(shape >> 32 & 0xffff);
	v->spread = shape >> 63;
	find_box(v);
	j->views_first = j->viewed && j->views_first < v->first ? j->views_first : v->first;
	j->views_end = j->viewed && j->views_end > v->end ? j->views_end : v->end;
	j->viewed |= UINT64_C(1) << r;
}

/* Whether the instruction needs no more of its operand than the view has. */
static bool view_serves(const struct tg_core *now, const struct tg_insn *in, const struct view *v, uint64_t with)
{
	const struct tg_chip *chip = now->chip;
	if (v->spread || ((v->at | v->step | v->block_step) & 3)) /* words that are not aligned: nobody but memcpy reads those */
		return false;
	if (in->op <= TG_I_push_u8) {
		struct tg_extent x = extent_of(now, (int64_t)with);
		uint32_t most = in->f[6] ? chip->array_rows : chip->array_cols;
		return v->rows >= x.rows && v->lanes >= (x.lanes < most ? x.lanes : most);
	}
	const struct tg_weights *w = &now->array[in->f[0]].set[now->array[in->f[0]].active];
	uint32_t lanes = array_type_of(in) != TG_ARRAY_f32 || !w->uniform ? chip->array_rows : w->n_k ? w->k[w->n_k - 1] + 1u : 0;
	return v->rows >= (uint64_t)in->f[4] && v->lanes >= lanes;
}

static struct tg_operand operand_of(struct tg_sim *s, const struct tg_insn *in, uint64_t with)
{
	uint64_t r = (uint64_t)in->f[1];
	if (s->jit.viewed >> r & 1) {
		const struct view *v = &s->jit.view[r];
		if (view_serves(&s->core, in, v, with))
			return (struct tg_operand){(const uint32_t *)(const void *)(s->core.mem.at + v->at), v->step / 4, v->block_step / 4, v->n};
		settle_one(s, (unsigned)r);
	}
	return operand_register(&s->core, in->f[1]);
}

/* ---- matrix instructions ---- */

static uint64_t call_may_matrix(struct tg_sim *s, uint64_t uop, uint64_t clock, uint64_t place, uint64_t with, uint64_t after)
{
	const struct tg_insn *in = &s->uops[uop].in;
	const struct tg_core *now = &s->core;
	const struct tg_array *u = &now->array[in->f[0]];
	if (in->op == TG_I_swap)
		return clock >= u->swap_ready;
	unsigned type = array_type_of(in);
	if (in->op <= TG_I_push_u8)
		return !push_trap(now, in, type, (int64_t)place);
	const struct tg_weights *shadow = &u->set[u->active ^ 1];
	if (after && shadow->any && !array_same_class(shadow->type, type))
		return 0;
	return !multiply_rows_trap(now, in, (int64_t)place, with != 0) && (after == 2 || !weights_trap(now, in, type));
}

static void call_matrix(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock, uint64_t place, uint64_t with)
{
	const struct tg_insn *in = &s->uops[uop].in;
	struct tg_core *now = &s->core;
	uint64_t was = now->clock;
	struct tg_writes w;
	w.acc_bytes = w.macs = 0;
	now->clock = clock;
	if (in->op == TG_I_swap) {
		s->matrix->swap(now, &w, in);
		if (s->workers)
			threads_swapped(s, in);
	} else {
		const struct tg_operand v = operand_of(s, in, with);
		if (in->op <= TG_I_push_u8) {
			s->matrix->push(now, in, &v, (int64_t)place, (int64_t)with);
		} else {
			if (!s->workers || !threads_multiply(s, &w, in, &v, (int64_t)place, with != 0))
				s->matrix->multiply(now, &w, in, &v, (int64_t)place, with != 0);
			struct tg_counters *c = &s->by_prov[s->bundles[bundle].prov];
			c->acc_bytes += w.acc_bytes;
			c->macs[array_type_of(in)] += w.macs;
		}
	}
	now->clock = was;
}

static uint64_t call_may_read_rows(struct tg_sim *s, uint64_t uop, uint64_t clock, uint64_t place)
{
	const struct tg_insn *in = &s->uops[uop].in;
	if (read_trap(&s->core, in, (int64_t)place, clock))
		return 0;
	threads_wait_rows(s, in, (int64_t)place);
	return 1;
}

static uint64_t call_may_act(struct tg_sim *s, uint64_t uop, uint64_t clock)
{
	const struct uop *u = &s->uops[uop];
	uint64_t was = s->core.clock;
	bool may;
	s->core.clock = clock;
	exchange_reads(s, u);
	if (u->slot == TG_SLOT_S)
		may = !mem_may_write(&s->core.mem, (uint64_t)s->core.s[u->in.f[1]] + (uint64_t)u->in.f[2], u->in.op == TG_I_sst64 ? 8 : 4);
	else
		may = u->slot != TG_SLOT_W || store_may(s, u); /* a transposer write never traps */
	exchange_reads(s, u);
	s->core.clock = was;
	return may;
}

static void call_act(struct tg_sim *s, uint64_t uop, uint64_t bundle, uint64_t clock)
{
	const struct uop *u = &s->uops[uop];
	uint64_t was = s->core.clock;
	struct tg_writes w;
	memset(&w, 0, sizeof w);
	s->core.clock = clock;
	exchange_reads(s, u);
	u->sem(&s->core, &w, &u->in);
	exchange_reads(s, u);
	s->core.clock = was;
	sim_count(&s->by_prov[s->bundles[bundle].prov], &w);
}

const struct jit_calls jit_calls = {
	.fetch = call_fetch,
	.prove = jit_prove,
	.may_read = call_may_read,
	.may_write = call_may_write,
	.wrote = call_wrote,
	.may_read_masked = call_may_read_masked,
	.may_write_masked = call_may_write_masked,
	.wrote_masked = call_wrote_masked,
	.pure = call_pure,
	.may_act = call_may_act,
	.act = call_act,
	.may_matrix = call_may_matrix,
	.matrix = call_matrix,
	.view = call_view,
	.settle = call_settle,
	.settle_box = call_settle_box,
	.may_read_rows = call_may_read_rows,
};

bool jit_is_pure(const struct uop *u)
{
	return u->sem && u->result && u->slot != TG_SLOT_M && u->slot != TG_SLOT_P && u->slot != TG_SLOT_W;
}

/* ---- counters ---- */

static void count_uop(const struct tg_sim *s, struct tg_counters *c, const struct uop *u, uint64_t times)
{
	c->busy[u->slot] += times * u->occupancy;
	if ((u->result == 'v' || u->result == 'm') && (u->slot == TG_SLOT_V || u->slot == TG_SLOT_E || u->slot == TG_SLOT_X))
		c->vector_lane_ops += times * s->core.n;
}

static void count_bundle(const struct tg_sim *s, uint32_t bundle, uint64_t times, struct tg_counters *c, uint64_t *fetched)
{
	const struct decoded *b = &s->bundles[bundle];
	uint64_t cycles = times;
	for (uint32_t i = b->first_insn; i < b->first_insn + b->n_insns; i++) {
		const struct uop *u = sim_insn(s, i);
		if (!u->in.pred)
			count_uop(s, c, u, times);
		if (u->in.op == TG_I_idle)
			cycles += times * (uint64_t)u->in.f[0];
	}
	*fetched += times;
	c->bundles += cycles;
	c->cycles += cycles;
}

/* What one run of a block adds to one set of counters. */
struct jit_sum {
	uint32_t block, prov;
	uint64_t fetched;
	struct tg_counters c;
};

static struct jit_sum *sum_of(struct tg_sim *s, size_t from, uint32_t block, uint32_t prov)
{
	for (size_t i = from; i < s->jit.sums.n; i++) {
		if (s->jit.sums.at[i].prov == prov)
			return &s->jit.sums.at[i];
	}
	struct jit_sum *sum = TG_PUSH(s->arena, &s->jit.sums);
	*sum = (struct jit_sum){.block = block, .prov = prov};
	return sum;
}

static void sum_blocks(struct tg_sim *s)
{
	const struct blocks *k = s->jit.blocks;
	for (uint32_t i = 0; i < k->n; i++) {
		size_t from = s->jit.sums.n;
		for (uint32_t b = k->at[i].first; b < k->at[i].end; b++) {
			const struct decoded *d = &s->bundles[b];
			struct jit_sum *sum = sum_of(s, from, i, d->prov);
			count_bundle(s, b, 1, &sum->c, &sum->fetched);
			for (uint32_t j = d->first_insn; j < d->first_insn + d->n_insns; j++) {
				if (sim_insn(s, j)->in.pred)
					*TG_PUSH(s->arena, &s->jit.predicated) = (struct jit_predicated){j, d->prov};
			}
		}
	}
}

static void count_parts(struct tg_sim *s)
{
	for (uint32_t b = 0; b < s->n_bundles; b++) {
		if (s->jit.parts[b])
			count_bundle(s, b, s->jit.parts[b], &s->by_prov[s->bundles[b].prov], &s->fetched[s->bundles[b].prov]);
		s->jit.parts[b] = 0;
	}
}

void jit_count(struct tg_sim *s)
{
	if (!s->jit.blocks)
		return;
	if (!s->jit.sums.n)
		sum_blocks(s);
	for (size_t i = 0; i < s->jit.sums.n; i++) {
		const struct jit_sum *sum = &s->jit.sums.at[i];
		const uint64_t *from = (const uint64_t *)(const void *)&sum->c, times = s->jit.runs[sum->block];
		uint64_t *to = (uint64_t *)(void *)&s->by_prov[sum->prov];
		for (size_t k = 0; times && k < offsetof(struct tg_counters, energy_pj) / sizeof *to; k++)
			to[k] += times * from[k];
		s->fetched[sum->prov] += times * sum->fetched;
	}
	for (size_t i = 0; i < s->jit.predicated.n; i++) {
		const struct jit_predicated *p = &s->jit.predicated.at[i];
		if (s->jit.hits[p->insn])
			count_uop(s, &s->by_prov[p->prov], sim_insn(s, p->insn), s->jit.hits[p->insn]);
		s->jit.hits[p->insn] = 0;
	}
	if (s->jit.parted)
		count_parts(s);
	s->jit.parted = false;
	memset(s->jit.runs, 0, s->jit.blocks->n * sizeof *s->jit.runs);
}

/* ---- runs ---- */

/* The interpreter may have come here by a way on which other loops run. */
static bool loops_fit(const struct tg_sim *s, const struct block *b)
{
	const struct blocks *k = s->jit.blocks;
	int32_t c = b->ctx;
	for (uint32_t i = s->n_loops; i-- > 0; c = k->ctx[c].parent) {
		if (c < 0 || k->ctx[c].start != s->loops[i].start || k->ctx[c].end != s->loops[i].end)
			return false;
	}
	return c < 0;
}

static void leave_early(struct tg_sim *s, uint32_t block, uint32_t bundle, bool tiring)
{
	struct block *b = &s->jit.blocks->at[block];
	for (uint32_t i = b->first; i < bundle; i++)
		s->jit.parts[i]++;
	s->jit.parted |= bundle > b->first;
	if (!tiring)
		return;
	for (uint32_t i = 0; i < s->jit.n_pending; i++) {
		const struct moved *m = &s->jit.pending[i];
		s->by_prov[m->prov].sram_bytes -= m->sram_bytes;
		s->by_prov[m->prov].acc_bytes -= m->acc_bytes;
	}
	s->jit.n_pending = 0;
	s->jit.left_early++;
	if (++s->jit.tired[block] == TIRED)
		__atomic_store_n(&s->jit.code[block], NULL, __ATOMIC_RELAXED);
}

/* ---- start ---- */

/* Translated code finds registers in place; the interpreter alone would rather exchange pointers. */
static void place_registers(struct tg_sim *s)
{
	struct tg_core *c = &s->core;
	uint8_t *at = tg_alloc(s->arena, jit_register_bytes(c, JIT_N_REGISTERS) + 64);
	at += -(uintptr_t)at & 63;
	s->jit.registers = (uint32_t *)(void *)at;
	for (unsigned i = 0; i < 72; i++) {
		uint32_t **reg = i < JIT_MASK ? &c->v[i] : &c->m[i - JIT_MASK], *to = s->jit.registers + jit_register_bytes(c, i) / sizeof *to;
		memcpy(to, *reg, c->n * sizeof *to);
		*reg = to;
	}
}

static jit_code *code_of(struct tg_sim *s, uint32_t block)
{
	jit_code *code = block == UINT32_MAX ? NULL : __atomic_load_n(&s->jit.code[block], __ATOMIC_ACQUIRE);
	if (code && !s->jit.registers)
		place_registers(s);
	return code;
}

static bool interpret(struct tg_sim *s, bool *halted)
{
	call_settle(s, s->jit.viewed);
	return sim_run_bundle(s, halted);
}

static inline bool turn(struct tg_sim *s, struct jit_turn *t)
{
	const struct blocks *k = s->jit.blocks;
	uint32_t block = k->block_of[s->now_bundle];
	jit_code *code = code_of(s, block);
	if (!code || (!t->checked && !loops_fit(s, &k->at[block]))) {
		t->checked = false;
		return interpret(s, &t->halted);
	}
	uint64_t next = code(s);
	s->now_bundle = (uint32_t)next;
	t->checked = true;
	if (next & (JIT_INTERPRET | JIT_LEAVE)) {
		leave_early(s, block, (uint32_t)next, (next & JIT_INTERPRET) != 0);
		t->checked = false;
		return interpret(s, &t->halted);
	}
	return true;
}

bool jit_turn(struct tg_sim *s, struct jit_turn *t)
{
	return turn(s, t);
}

bool jit_run(struct tg_sim *s)
{
	struct jit_turn t = {0};
	while (!t.halted) {
		if (!turn(s, &t))
			return false;
	}
	return true;
}

struct share {
	uint32_t block;
	double work;
};
static int by_work(const void *a, const void *b)
{
	const struct share *x = a, *y = b;
	if (x->work != y->work)
		return x->work > y->work ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* The blocks to translate, those that do most of the work first. Returns how many. */
static uint32_t choose(struct tg_sim *s, const struct blocks *k, uint32_t *order)
{
	struct share *of = tg_alloc_n(s->arena, k->n, sizeof *of);
	double all = 0, sum = 0;
	uint32_t n = 0, chosen = 0;
	for (uint32_t i = 0; i < k->n; i++) {
		const struct block *b = &k->at[i];
		double uops = b->end - b->first;
		for (uint32_t j = b->first; j < b->end; j++)
			uops += s->bundles[j].n_insns;
		all += b->weight * uops;
		if (!b->interpret && (s->options.translate_all || b->weight * s->core.n >= WORTH_IT(s)))
			of[n++] = (struct share){i, b->weight * uops};
	}
	qsort(of, n, sizeof *of, by_work);
	for (; chosen < n && (s->options.translate_all || sum < MOST_WORK(s) * all); chosen++) {
		order[chosen] = of[chosen].block;
		sum += of[chosen].work;
	}
	return chosen;
}

void jit_begin(struct tg_sim *s, enum jit_when when)
{
	struct blocks *k = s->jit.found ? s->jit.found : sim_find_blocks(s);
	uint32_t *order = tg_alloc_n(s->arena, (size_t)k->n + 1, sizeof *order), n = k->usable ? choose(s, k, order) : 0;
	s->jit.found = k;
	if (n && when == JIT_IF_KEPT && !jit_kept(s, order, n))
		return;
	s->jit.patience = 0;
	if (!n)
		return;
	s->jit.calls = &jit_calls;
	s->jit.code = tg_alloc_n(s->arena, k->n, sizeof *s->jit.code);
	s->jit.runs = tg_alloc_n(s->arena, k->n, sizeof *s->jit.runs);
	s->jit.tired = tg_alloc(s->arena, k->n);
	s->jit.parts = tg_alloc_n(s->arena, (size_t)s->n_bundles + 1, sizeof *s->jit.parts);
	s->jit.hits = tg_alloc_n(s->arena, (size_t)s->x->n_words + 1, sizeof *s->jit.hits);
	s->jit.proofs = tg_alloc_n(s->arena, 2 * (size_t)s->x->n_words + 2, sizeof *s->jit.proofs);
	s->core.mem.known = tg_alloc_n(s->arena, MAX_KNOWN, sizeof *s->core.mem.known);
	s->jit.blocks = k;
	if (!jit_translate(s, order, n, when == JIT_AT_ONCE))
		s->jit.blocks = NULL;
}

/* A program that is over before translation could pay stays with the interpreter, about a second of it, unless it was translated before. */
void jit_open(struct tg_sim *s)
{
	const uint64_t nanoseconds = 1000000000;
#ifdef TG_SANITIZED
	/* LeakSanitizer, when a process ends, trips over what LLVM's threads leave: only those who ask for translation get it */
	if (s->options.engine == TG_ENGINE_DEFAULT)
		return;
#endif
	if (s->options.trace) /* the interpreter keeps the record */
		return;
	if (s->options.engine == TG_ENGINE_JIT)
		jit_begin(s, JIT_AT_ONCE);
	else if (s->options.engine == TG_ENGINE_DEFAULT) {
		s->jit.patience = nanoseconds / (40 + s->core.n / 4);
		if (s->options.cache_dir)
			jit_begin(s, JIT_IF_KEPT);
	}
}

bool tg_sim_can_translate(void)
{
	return jit_available();
}

bool tg_sim_translates(const struct tg_sim *s)
{
	return s->jit.blocks != NULL;
}
