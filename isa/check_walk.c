/* check_walk.c: decides what interval analysis (check_value.c) and dataflow (check_time.c) left open, by stepping the scalar program.
 *
 * Control and addresses of a program seldom depend on tensors: trip counts, predicates, frames in SRAM and transfers are functions of the
 * executable alone. So the walk goes through the code from each entry with scalar registers, predicates, hardware loops and the words of
 * SRAM that scalar stores wrote or a transfer brought from the executable's data (descriptors that the program amends), each known or
 * not: what comes from lanes or other transfers is unknown, and bytes that a vector store or such a transfer may have written are forgotten. Each time an open access or conflict comes by, it is decided for the values at hand: inside, an
 * error, or still open. A trip count, a taken branch or a halt that is unknown ends the walk; what can still be reached stays open.
 *
 * Vector work is no part of it: a bundle becomes the few steps (check_step.c) that matter. A loop that holds nothing open, stores no
 * scalar and changes registers by constants only is not stepped through: two trips are, then what they changed is multiplied, then the last
 * trips are, long enough for every latency to show. A budget of steps ends walks that are too long. */
#include "check_walk.h"

#include <string.h>

enum { WORDS = 4096, MAX_WORK = 200000000, TRANSFER_WORK = 32 };

/* A word of SRAM that a scalar store wrote; the table is direct-mapped, a newer word displaces an older one, which is then unknown. */
struct word { uint32_t at1, value; }; /* at1: address / 4 + 1; 0: none */
struct running {
	uint32_t loop;
	int64_t index, count;
	int64_t s[32];    /* of fast loops: when its second trip began */
	uint64_t now;
};
enum when { NEVER, PERHAPS, SURELY };
struct machine {
	struct check *c;
	const struct walk_plan *plan;
	int64_t s[32];
	uint32_t s_known;      /* a bit each */
	uint8_t p, p_known;
	uint64_t now;          /* bundles issued */
	uint64_t ready[N_RESOURCES];
	uint64_t *rows;        /* by array and accumulator row: its last multiply has landed */
	bool vague;            /* something under an unknown predicate took time: a conflict need not be one */
	struct word *words;
	int64_t words_lo, words_hi; /* bytes that may hold known words */
	struct running loop[CHECK_MAX_DEPTH];
	uint32_t depth;
	uint64_t work;         /* bundles and steps taken */
	const struct node *node;
	/* of the bundle at work: what lands behind it */
	uint32_t next;         /* node, NO_NODE at the end */
	bool halted, lost, taken;
	uint32_t n_pending;
	struct { uint8_t reg; bool known, predicate; int64_t v; } pending[TG_MAX_BUNDLE * 2];
};

static bool known(const struct machine *m, unsigned r) { return m->s_known >> r & 1; }

static enum when runs(const struct machine *m, unsigned p)
{
	return !(m->p_known >> p & 1) ? PERHAPS : m->p >> p & 1 ? SURELY : NEVER;
}

static void write_later(struct machine *m, enum when w, bool predicate, unsigned reg, bool is_known, int64_t v)
{
	if (reg == 0)
		return;
	m->pending[m->n_pending].reg = (uint8_t)reg;
	m->pending[m->n_pending].predicate = predicate;
	m->pending[m->n_pending].known = is_known && w == SURELY;
	m->pending[m->n_pending++].v = v;
}

static void land(struct machine *m)
{
	for (uint32_t i = 0; i < m->n_pending; i++) {
		unsigned r = m->pending[i].reg;
		if (m->pending[i].predicate) {
			m->p_known = (uint8_t)((m->p_known & ~(1U << r)) | (unsigned)m->pending[i].known << r);
			m->p = (uint8_t)((m->p & ~(1U << r)) | (unsigned)(m->pending[i].v != 0) << r);
		} else {
			m->s_known = (m->s_known & ~(UINT32_C(1) << r)) | (uint32_t)m->pending[i].known << r;
			m->s[r] = m->pending[i].v;
		}
	}
	m->n_pending = 0;
}

/* ---- words in SRAM ---- */

static struct word *word_at(const struct machine *m, int64_t at) { return &m->words[at / 4 % WORDS]; }

static void forget(struct machine *m, int64_t lo, int64_t hi)
{
	if (lo >= m->words_hi || hi <= m->words_lo)
		return;
	for (uint32_t i = 0; i < WORDS; i++) {
		int64_t at = ((int64_t)m->words[i].at1 - 1) * 4;
		if (m->words[i].at1 && at < hi && at + 4 > lo)
			m->words[i].at1 = 0;
	}
	m->work += WORDS / 8; /* it takes time: it counts */
}

static void store(struct machine *m, enum when w, const struct walk_step *u)
{
	int64_t at = (int64_t)((uint64_t)m->s[u->a] + (uint64_t)u->imm), bytes = u->n;
	if (!known(m, u->a)) {
		forget(m, INT64_MIN, INT64_MAX);
		return;
	}
	if (at < 0 || at > (int64_t)m->c->x->chip.sram_bytes - bytes)
		return; /* its own access is an error */
	forget(m, at, at + bytes);
	if (at % 4 || w != SURELY || !known(m, u->b))
		return;
	for (int64_t k = 0; k < bytes; k += 4)
		*word_at(m, at + k) = (struct word){(uint32_t)((at + k) / 4 + 1), (uint32_t)((uint64_t)m->s[u->b] >> 8 * k)};
	m->words_lo = at < m->words_lo ? at : m->words_lo;
	m->words_hi = at + bytes > m->words_hi ? at + bytes : m->words_hi;
}

static bool load(const struct machine *m, const struct walk_step *u, int64_t *v)
{
	int64_t at = (int64_t)((uint64_t)m->s[u->a] + (uint64_t)u->imm);
	uint64_t bits = 0;
	if (!known(m, u->a) || at < 0 || at % 4 || at > (int64_t)m->c->x->chip.sram_bytes - u->n)
		return false;
	for (int64_t k = 0; k < u->n; k += 4) {
		const struct word *w = word_at(m, at + k);
		if (w->at1 != (uint32_t)((at + k) / 4 + 1))
			return false;
		bits |= (uint64_t)w->value << 8 * k;
	}
	*v = u->n == 4 ? (int32_t)(uint32_t)bits : (int64_t)bits;
	return true;
}

/* ---- open accesses ---- */

static const struct tg_insn *insn_of(const struct machine *m, const struct walk_step *u) { return &m->c->insns.at[u->insn]; }

/* Intervals of the one value that each register has. */
static void exactly(const struct machine *m, enum when w, struct env *e)
{
	e->runs = w == SURELY ? 0xff : 1;
	for (unsigned r = 0; r < 32; r++)
		e->s[r] = known(m, r) ? check_constant(m->s[r]) : (struct val){-CHECK_FAR, CHECK_FAR, 0, false};
}

static void check_exactly(struct machine *m, enum when w, const struct walk_step *u)
{
	struct env e;
	exactly(m, w, &e);
	check_access(m->c, m->node, insn_of(m, u), &e);
}

/* The bytes of a vector access; false when a register is unknown or far. Masks only make it smaller. */
static bool vector_bytes(const struct machine *m, const struct walk_step *u, int64_t *lo, int64_t *hi)
{
	const struct tg_chip *chip = &m->c->x->chip;
	const uint8_t regs[] = {u->a, u->b, u->c};
	for (int i = 0; i < 3; i++)
		if (!known(m, regs[i]) || m->s[regs[i]] > INT64_C(1) << 40 || m->s[regs[i]] < -(INT64_C(1) << 40))
			return false;
	int64_t x = known(m, u->d) ? m->s[u->d] : 0, rows = chip->sublanes, lanes = chip->lanes;
	int64_t r = x & 0xffff, l = x >> 16 & 0xffff, block = x >> 32 & 0xffff;
	rows = r && r < rows ? r : rows;
	lanes = !u->lane_stride ? 1 : l && l < lanes ? l : lanes;
	block = block ? block : chip->sublanes;
	if (!known(m, u->d))
		return false;
	int64_t last = (rows < block ? rows : block) - 1, last_block = (rows - 1) / block;
	int64_t s = m->s[u->b] * last, t = m->s[u->c] * last_block, at = m->s[u->a] + u->imm;
	*lo = at + (s < 0 ? s : 0) + (t < 0 ? t : 0);
	*hi = at + (s > 0 ? s : 0) + (t > 0 ? t : 0) + (lanes * u->n + 7) / 8;
	return true;
}

static void open_vector(struct machine *m, enum when w, const struct walk_step *u)
{
	int64_t lo, hi;
	if (!vector_bytes(m, u, &lo, &hi) || lo < 0 || hi > (int64_t)m->c->x->chip.sram_bytes)
		check_exactly(m, w, u);
}

static void open_rows(struct machine *m, enum when w, const struct walk_step *u)
{
	int64_t at = m->s[u->a];
	if (!known(m, u->a) || at < 0 || at > UINT32_MAX || at + u->imm > u->limit - u->n)
		check_exactly(m, w, u);
}

/* What a vector store may write is unknown from now on. */
static void forget_vector(struct machine *m, const struct walk_step *u)
{
	int64_t lo, hi;
	if (vector_bytes(m, u, &lo, &hi))
		forget(m, lo, hi);
	else
		forget(m, INT64_MIN, INT64_MAX);
}

/* ---- transfers ---- */

/* The descriptor at a step's register: in the executable's data, or word by word in SRAM. */
static bool descriptor(const struct machine *m, const struct walk_step *u, struct tg_dma_desc *d)
{
	int64_t at = m->s[u->a];
	const uint8_t *data = known(m, u->a) && at >= TG_DRAM_BASE ? check_dram_bytes(m->c, at, sizeof *d) : NULL;
	if (data)
		memcpy(d, data, sizeof *d);
	if (data || !known(m, u->a) || at < m->words_lo || at > m->words_hi - (int64_t)sizeof *d)
		return data != NULL;
	for (size_t k = 0; k < sizeof *d; k += 4) {
		const struct word *w = word_at(m, at + (int64_t)k);
		if (at % 4 || w->at1 != (uint32_t)((at + (int64_t)k) / 4 + 1))
			return false;
		memcpy((uint8_t *)d + k, &w->value, 4);
	}
	return true;
}

/* A plain copy of a descriptor that the executable holds, where words are worth knowing. It counts as done at once: a program that looks before it
 * has waited traps. */
static void remember_copy(struct machine *m, const struct tg_dma_plan *p)
{
	int64_t n = p->size[3] * p->dst_bytes, at = p->dst;
	bool row = p->size[0] == 1 && p->size[1] == 1 && p->size[2] == 1 && p->src_stride[3] == p->src_bytes && p->dst_stride[3] == p->dst_bytes;
	bool whole = p->lo[3] == 0 && p->hi[3] == p->size[3];
	if (p->kind != TG_DMA_COPY || !row || !whole || p->src_type != p->dst_type || at % 4 || at < m->plan->words.lo || at + n > m->plan->words.hi || n != TG_DMA_DESC_BYTES)
		return;
	const uint8_t *from = p->src >= TG_DRAM_BASE ? check_dram_bytes(m->c, p->src, (uint64_t)n) : NULL;
	for (int64_t k = 0; from && k < n; k += 4) {
		word_at(m, at + k)->at1 = (uint32_t)((at + k) / 4 + 1);
		memcpy(&word_at(m, at + k)->value, from + k, 4);
	}
	if (from) {
		m->words_lo = at < m->words_lo ? at : m->words_lo;
		m->words_hi = at + n > m->words_hi ? at + n : m->words_hi;
	}
}

static void transfer(struct machine *m, enum when w, const struct walk_step *u)
{
	struct tg_dma_desc d;
	struct tg_dma_plan p;
	bool there = descriptor(m, u, &d);
	m->work += TRANSFER_WORK;
	if (u->open) {
		struct env e;
		exactly(m, w, &e);
		check_transfer(m->c, m->node, insn_of(m, u), &e, there ? &d : NULL);
	}
	if (!there || !known(m, u->b) || !known(m, u->c) || tg_dma_plan(&m->c->x->chip, &d, m->s[u->b], m->s[u->c], &p)) {
		forget(m, INT64_MIN, INT64_MAX);
		return;
	}
	forget(m, p.dst_first, p.dst_end);
	if (w == SURELY)
		remember_copy(m, &p);
}

/* ---- open conflicts ---- */

static void conflict(struct machine *m, enum when w, const struct walk_step *u, uint64_t ready)
{
	if (m->vague || w == PERHAPS)
		m->c->early[u->insn] = true;
	else if (!m->plan->reported[u->insn])
		check_book_error(m->c, m->node, insn_of(m, u), &m->c->bookings.at[u->booking], ready - m->now);
	m->plan->reported[u->insn] = true;
}

/* The unit of a pool that is free first. */
static uint64_t *pool_unit(struct machine *m, unsigned id)
{
	uint32_t n = id == R_LOAD ? m->c->x->chip.n_load : m->c->x->chip.n_store, best = 0;
	for (uint32_t i = 1; i < n; i++)
		best = m->ready[id + i] < m->ready[id + best] ? i : best;
	return &m->ready[id + best];
}

static void rows_of(struct machine *m, enum when w, const struct walk_step *u, bool read)
{
	uint64_t *row = m->rows + (size_t)(u->id - R_ACC) * m->c->x->chip.acc_rows;
	int64_t at = m->s[u->a] + u->imm;
	bool sure = known(m, u->a) && m->s[u->a] >= 0 && m->s[u->a] <= UINT32_MAX && at + u->n <= m->c->x->chip.acc_rows;
	if (!sure) {
		m->vague = true;
		at = 0;
	}
	for (int64_t i = 0; i < (sure ? u->n : (int64_t)m->c->x->chip.acc_rows); i++) {
		if (!read)
			row[at + i] = m->now + u->bundles;
		else if (row[at + i] > m->now)
			conflict(m, w, u, row[at + i]);
	}
	m->work += sure ? 0 : m->c->x->chip.acc_rows / 8;
}

static void booked(struct machine *m, enum when w, const struct walk_step *u)
{
	uint64_t *at = u->book == BOOK_POOL ? pool_unit(m, u->id) : &m->ready[u->id];
	if (u->open && *at > m->now)
		conflict(m, w, u, *at);
	if (u->bundles && m->now + u->bundles > *at)
		*at = m->now + u->bundles;
	m->vague |= u->bundles && w == PERHAPS;
}

/* ---- scalar instructions ---- */

static uint64_t shift_right(int64_t a, unsigned by) { return a < 0 ? ~(~(uint64_t)a >> by) : (uint64_t)a >> by; }

static int64_t compute(unsigned op, int64_t x, int64_t y)
{
	uint64_t a = (uint64_t)x, b = (uint64_t)y;
	switch (op) {
	case TG_I_smov: return y;
	case TG_I_sadd:
	case TG_I_saddi: return (int64_t)(a + b);
	case TG_I_ssub: return (int64_t)(a - b);
	case TG_I_smul:
	case TG_I_smuli: return (int64_t)(a * b);
	case TG_I_sand:
	case TG_I_sandi: return (int64_t)(a & b);
	case TG_I_sor:
	case TG_I_sori: return (int64_t)(a | b);
	case TG_I_sxor: return (int64_t)(a ^ b);
	case TG_I_sshl:
	case TG_I_sshli: return (int64_t)(a << (b & 63));
	case TG_I_sshr:
	case TG_I_sshri: return (int64_t)(a >> (b & 63));
	case TG_I_ssar:
	case TG_I_ssari: return (int64_t)shift_right(x, b & 63);
	case TG_I_smin:
	case TG_I_smini: return x < y ? x : y;
	case TG_I_smax:
	case TG_I_smaxi: return x > y ? x : y;
	case TG_I_peq:
	case TG_I_peqi: return x == y;
	case TG_I_pne:
	case TG_I_pnei: return x != y;
	case TG_I_plt:
	case TG_I_plti: return x < y;
	case TG_I_ple:
	case TG_I_plei: return x <= y;
	default: return 0;
	}
}

static void scalar(struct machine *m, enum when w, const struct walk_step *u)
{
	bool is_known = known(m, u->a) && (u->immediate || known(m, u->b));
	write_later(m, w, u->kind == STEP_COMPARE, u->d, is_known, compute(u->op, m->s[u->a], u->immediate ? u->imm : m->s[u->b]));
}

/* One operand can decide. */
static void logic(struct machine *m, enum when w, const struct walk_step *u)
{
	enum when a = runs(m, u->a), b = runs(m, u->b);
	bool decided = a != PERHAPS && b != PERHAPS, value = false;
	if (u->op == TG_I_pand) {
		decided |= a == NEVER || b == NEVER;
		value = a == SURELY && b == SURELY;
	} else if (u->op == TG_I_por) {
		decided |= a == SURELY || b == SURELY;
		value = a == SURELY || b == SURELY;
	} else {
		value = a != b;
	}
	write_later(m, w, true, u->d, decided, value);
}

/* ---- control ---- */

static void level(struct machine *m, enum when w, const struct walk_step *u)
{
	bool there = u->imm < m->depth;
	const struct running *l = &m->loop[there ? m->depth - 1 - (uint32_t)u->imm : 0];
	write_later(m, w, true, u->d, there, u->op == TG_I_pfirst ? l->index == 0 : l->index == l->count - 1);
}

static void begin_loop(struct machine *m, enum when w, const struct walk_step *u)
{
	uint32_t loop = m->node->begins;
	if (w == PERHAPS || !known(m, u->a) || m->depth == CHECK_MAX_DEPTH) {
		m->lost = true;
		return;
	}
	if (m->s[u->a] <= 0) {
		m->next = m->plan->loop[loop].behind;
		m->taken = false;
		return;
	}
	m->loop[m->depth++] = (struct running){.loop = loop, .count = m->s[u->a]};
	m->taken = true; /* the body comes next, and it is not empty */
}

static void branch(struct machine *m, enum when w, const struct walk_step *u)
{
	if (w == PERHAPS) {
		m->lost = true;
		return;
	}
	m->next = m->c->node_at[u->imm];
	m->taken = true;
	while (m->depth) {
		const struct loop *l = &m->c->loops.at[m->loop[m->depth - 1].loop];
		if (u->imm >= l->start && u->imm < l->end)
			break;
		m->depth--;
	}
}

/* Behind the second trip of a loop whose trips are alike: all but the last ones at once. */
static void leap(struct machine *m, struct running *r)
{
	const struct walk_loop *l = &m->plan->loop[r->loop];
	uint64_t length = m->now - r->now, keep = length ? m->plan->longest / length + 2 : 0;
	int64_t left = r->count - r->index;
	if (r->index != 2 || !length || left <= 0 || (uint64_t)left <= keep || (l->writes.lo < m->words_hi && l->writes.hi > m->words_lo))
		return;
	uint64_t skip = (uint64_t)left - keep;
	for (unsigned i = 1; i < 32; i++)
		if (l->linear >> i & 1)
			m->s[i] = (int64_t)((uint64_t)m->s[i] + ((uint64_t)m->s[i] - (uint64_t)r->s[i]) * skip);
	m->now += length * skip;
	r->index += (int64_t)skip;
}

/* At the ends of loops it repeats or leaves. */
static void go_on(struct machine *m)
{
	while (!m->taken && m->depth) {
		struct running *r = &m->loop[m->depth - 1];
		if (m->next != m->plan->loop[r->loop].behind)
			return;
		r->index++;
		if (m->plan->loop[r->loop].fast && r->index == 1) {
			memcpy(r->s, m->s, sizeof r->s);
			r->now = m->now;
		} else if (m->plan->loop[r->loop].fast && r->index == 2) {
			leap(m, r);
		}
		if (r->index < r->count) {
			m->next = m->plan->loop[r->loop].first;
			return;
		}
		m->depth--;
	}
}

/* ---- bundles ---- */

static void step(struct machine *m, const struct walk_step *u)
{
	enum when w = runs(m, u->pred);
	int64_t v = 0;
	bool is_known;
	if (w == NEVER && u->kind != STEP_BOOK_PREDICATE)
		return;
	switch (u->kind) {
	case STEP_BOOK_PREDICATE: booked(m, SURELY, u); break;
	case STEP_BOOK: booked(m, w, u); break;
	case STEP_ROWS_READ: rows_of(m, w, u, true); break;
	case STEP_ROWS_KEEP: rows_of(m, w, u, false); break;
	case STEP_OPEN_VECTOR: open_vector(m, w, u); break;
	case STEP_OPEN_ROWS: open_rows(m, w, u); break;
	case STEP_OPEN: check_exactly(m, w, u); break;
	case STEP_SCALAR:
	case STEP_COMPARE: scalar(m, w, u); break;
	case STEP_LOGIC: logic(m, w, u); break;
	case STEP_LEVEL: level(m, w, u); break;
	case STEP_UNKNOWN: write_later(m, w, u->immediate, u->d, false, 0); break;
	case STEP_LOAD:
		is_known = load(m, u, &v);
		write_later(m, w, false, u->d, is_known, v);
		break;
	case STEP_INCREMENT: write_later(m, w, false, u->a, known(m, u->a) && known(m, u->b), (int64_t)((uint64_t)m->s[u->a] + (uint64_t)m->s[u->b])); break;
	case STEP_STORE: store(m, w, u); break;
	case STEP_FORGET_VECTOR: forget_vector(m, u); break;
	case STEP_FORGET: forget(m, INT64_MIN, INT64_MAX); break;
	case STEP_TRANSFER: transfer(m, w, u); break;
	case STEP_IDLE:
		m->now += w == SURELY ? (uint64_t)u->imm : 0;
		m->vague |= w == PERHAPS;
		break;
	case STEP_LOOP: begin_loop(m, w, u); break;
	case STEP_BRANCH: branch(m, w, u); break;
	case STEP_HALT:
		m->lost = w == PERHAPS;
		m->halted = true;
		break;
	}
}

/* Everything that can still be reached keeps what is open there. */
static void leave_open(struct machine *m)
{
	struct check *c = m->c;
	TG_VEC(uint32_t) list = {0};
	uint8_t *seen = tg_alloc(c->arena, c->nodes.n + 1);
	*TG_PUSH(c->arena, &list) = (uint32_t)(m->node - c->nodes.at);
	while (list.n) {
		const struct node *n = &c->nodes.at[list.at[--list.n]];
		if (seen[n - c->nodes.at]++)
			continue;
		for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++) {
			c->early[i] |= (m->plan->open[i] & OPEN_TIME) != 0;
			if (m->plan->open[i] & OPEN_ACCESS && c->verdict[i] == PROVEN)
				c->verdict[i] = UNPROVEN;
		}
		for (uint32_t k = 0; k < n->n_edges; k++)
			*TG_PUSH(c->arena, &list) = c->node_at[c->edges.at[n->first_edge + k].word];
	}
}

static void walk(struct machine *m, uint32_t entry)
{
	const struct walk_plan *p = m->plan;
	m->next = entry;
	while (!m->halted && !m->lost) {
		uint32_t first, end;
		if (m->next == NO_NODE) /* dead by check.c's graph */
			break;
		m->node = &m->c->nodes.at[m->next];
		first = p->first[m->node - m->c->nodes.at];
		end = p->first[m->node - m->c->nodes.at + 1];
		m->work += 1 + end - first;
		m->lost = m->work > MAX_WORK;
		m->next = p->after[m->next];
		m->taken = false;
		for (uint32_t i = first; i < end; i++)
			step(m, &p->steps.at[i]);
		land(m);
		m->now++;
		go_on(m);
	}
	if (m->lost)
		leave_open(m);
}

void check_walk(struct check *c)
{
	struct walk_plan plan;
	struct machine *m = tg_alloc(c->arena, sizeof *m);
	uint64_t work = 0;
	size_t n_rows = (size_t)c->x->chip.n_arrays * c->x->chip.acc_rows;
	plan_walk(c, &plan);
	struct word *words = tg_alloc_n(c->arena, WORDS, sizeof *words);
	uint64_t *rows = tg_alloc_n(c->arena, n_rows + 1, sizeof *rows);
	for (size_t i = 0; i < c->x->steps.n; i++) {
		if (c->x->steps.at[i].on_host)
			continue;
		*m = (struct machine){.c = c, .plan = &plan, .s_known = 1, .p = 1, .p_known = 1, .words = words, .rows = rows, .words_lo = INT64_MAX, .words_hi = INT64_MIN, .work = work};
		memset(words, 0, WORDS * sizeof *words);
		memset(rows, 0, n_rows * sizeof *rows);
		walk(m, c->node_at[c->x->steps.at[i].entry_word]);
		work = m->work;
	}
}
