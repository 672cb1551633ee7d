/* check_step.c: bundles as the steps that the walk takes: what is open, what it depends on, and control; and which loops need not be walked
 * trip by trip.
 *
 * Of all resources only those are booked that an open conflict asks for. A vector store or a transfer becomes a step only where it may
 * reach bytes that scalar stores write, or a descriptor that they may amend, as far as the interval analysis knows.
 *
 * A loop is fast when nothing in it is open, it stores no scalar, inner trips do not change, and each register that it writes is either
 * `linear` (every write adds a constant, or a register that the loop leaves alone) or written anew in each trip before it is read; predicates
 * the latter. Then all trips are alike: the same length, the same steps, the linear registers moved by the same amount. */
#include "check_walk.h"

#include <string.h>

struct planner {
	struct check *c;
	struct walk_plan *p;
	bool watched[N_RESOURCES];
};

static const struct tg_insn_info *info_of(const struct tg_insn *in) { return tg_insn_info((enum tg_opcode)in->op); }
static bool has_format(const struct tg_insn *in, const char *format) { return strcmp(info_of(in)->format, format) == 0; }

/* Bytes that an access may touch: where it is proven those that were seen, else all of SRAM. */
static struct span reach(const struct planner *k, uint32_t i)
{
	uint8_t v = k->c->verdict[i];
	return v == PROVEN ? k->c->span[i] : (struct span){0, v == NOT_SEEN ? 0 : (int64_t)k->c->x->chip.sram_bytes};
}

/* ---- steps ---- */

static struct walk_step *put(struct planner *k, enum walk_kind kind, uint32_t i)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	struct walk_step *u = TG_PUSH(k->c->arena, &k->p->steps);
	*u = (struct walk_step){.kind = (uint8_t)kind, .pred = in->pred, .op = (uint8_t)in->op, .insn = i};
	return u;
}

static uint8_t reg(const struct tg_insn *in, char letter) { return (uint8_t)tg_insn_get(in, letter); }

static void put_vector(struct planner *k, enum walk_kind kind, uint32_t i)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	struct walk_step *u = put(k, kind, i);
	u->a = reg(in, 'a');
	u->b = reg(in, 's');
	u->c = reg(in, 't');
	u->d = reg(in, 'e');
	u->imm = tg_insn_get(in, 'i');
	u->lane_stride = tg_insn_get(in, 'k') != 0;
	u->n = check_element_bits(in->op);
}

static void put_rows(struct planner *k, enum walk_kind kind, uint32_t i, char letter, int64_t n, int64_t limit)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	struct walk_step *u = put(k, kind, i);
	u->a = reg(in, letter);
	u->imm = tg_insn_get(in, 'i');
	u->n = (uint32_t)n;
	u->limit = limit;
}

static void put_access(struct planner *k, uint32_t i)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	const struct tg_chip *chip = &k->c->x->chip;
	if (!(k->p->open[i] & OPEN_ACCESS))
		return;
	if (has_format(in, "VLD") || has_format(in, "VST"))
		put_vector(k, STEP_OPEN_VECTOR, i);
	else if (has_format(in, "MUL") || has_format(in, "MRD"))
		put_rows(k, STEP_OPEN_ROWS, i, 'r', tg_insn_get(in, 'n'), chip->acc_rows);
	else if (has_format(in, "PUSH"))
		put_rows(k, STEP_OPEN_ROWS, i, 'g', 1, (tg_insn_get(in, 't') ? chip->array_cols : chip->array_rows) / chip->sublanes);
	else if (in->op != TG_I_dma_start)
		put(k, STEP_OPEN, i);
}

static void put_booking(struct planner *k, uint32_t i, uint32_t at)
{
	const struct booking *b = &k->c->bookings.at[at];
	const struct tg_insn *in = &k->c->insns.at[i];
	bool open = k->p->open[i] & OPEN_TIME && b->kind != BOOK_KEEP && b->kind != BOOK_LATE;
	bool rows = b->id >= R_ACC && b->id < R_TRANSPOSER;
	if (!open && (!b->bundles || !k->watched[b->id]))
		return;
	if (rows)
		put_rows(k, b->kind == BOOK_ROWS ? STEP_ROWS_READ : STEP_ROWS_KEEP, i, 'r', tg_insn_get(in, 'n'), 0);
	else
		put(k, b->kind == BOOK_PREDICATE ? STEP_BOOK_PREDICATE : STEP_BOOK, i);
	struct walk_step *u = &k->p->steps.at[k->p->steps.n - 1];
	u->open = open;
	u->book = b->kind;
	u->id = b->id;
	u->bundles = b->bundles;
	u->booking = at;
}

static void put_bookings(struct planner *k, const struct node *n, enum book_phase phase)
{
	for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++)
		for (uint32_t b = k->c->first_booking[i]; b < k->c->first_booking[i + 1]; b++)
			if (book_phase((enum book_kind)k->c->bookings.at[b].kind) == phase)
				put_booking(k, i, b);
}

static void put_result(struct planner *k, uint32_t i)
{
	static const struct { const char *format; uint8_t kind; bool immediate; } rows[] = {
		{"SI", STEP_SCALAR, true}, {"SRI", STEP_SCALAR, true}, {"SRR", STEP_SCALAR, false}, {"PRI", STEP_COMPARE, true},
		{"PRR", STEP_COMPARE, false}, {"PPP", STEP_LOGIC, false}, {"SLD", STEP_LOAD, true}, {"PLVL", STEP_LEVEL, true},
	};
	const struct tg_insn *in = &k->c->insns.at[i];
	const struct tg_insn_info *info = info_of(in);
	size_t row = 0;
	while (row < TG_ARRAY_LEN(rows) && !has_format(in, rows[row].format))
		row++;
	for (uint32_t f = 0; f < info->n_fields; f++) {
		if (!info->field[f].is_def || (info->field[f].kind != TG_FIELD_S && info->field[f].kind != TG_FIELD_P))
			continue;
		bool looked_at = row < TG_ARRAY_LEN(rows);
		struct walk_step *u = put(k, looked_at ? rows[row].kind : STEP_UNKNOWN, i);
		u->d = (uint8_t)in->f[f];
		u->immediate = looked_at ? rows[row].immediate : info->field[f].kind == TG_FIELD_P;
		u->a = reg(in, 'a'); /* 0 where there is none */
		u->b = reg(in, 'b');
		u->imm = in->op == TG_I_pfirst || in->op == TG_I_plast ? tg_insn_get(in, 'u') : tg_insn_get(in, 'i');
		u->n = in->op == TG_I_sld32 ? 4 : 8;
	}
	if (tg_insn_get(in, 'q') != 0 && (has_format(in, "VLD") || has_format(in, "VST"))) {
		struct walk_step *u = put(k, STEP_INCREMENT, i);
		u->a = reg(in, 'a');
		u->b = reg(in, 'q');
	}
}

static void put_store(struct planner *k, uint32_t i)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	bool hits = span_meets(reach(k, i), k->p->words), open = (k->p->open[i] & OPEN_ACCESS) != 0;
	if (has_format(in, "SST")) {
		struct walk_step *u = put(k, STEP_STORE, i);
		u->a = reg(in, 'a');
		u->b = reg(in, 'b');
		u->imm = tg_insn_get(in, 'i');
		u->n = in->op == TG_I_sst32 ? 4 : 8;
	} else if (hits && has_format(in, "VST")) {
		put_vector(k, STEP_FORGET_VECTOR, i);
	} else if (hits && in->op == TG_I_vstx) { /* lanes decide where */
		put(k, STEP_FORGET, i);
	} else if ((hits || open) && in->op == TG_I_dma_start) {
		struct walk_step *u = put(k, STEP_TRANSFER, i);
		u->open = open;
		u->a = reg(in, 'a');
		u->b = reg(in, 's');
		u->c = reg(in, 't');
	}
}

static void put_control(struct planner *k, uint32_t i)
{
	const struct tg_insn *in = &k->c->insns.at[i];
	switch (in->op) {
	case TG_I_idle: put(k, STEP_IDLE, i)->imm = tg_insn_get(in, 'i'); break;
	case TG_I_loop: put(k, STEP_LOOP, i)->a = reg(in, 'a'); break;
	case TG_I_br: put(k, STEP_BRANCH, i)->imm = tg_insn_get(in, 't'); break;
	case TG_I_halt: put(k, STEP_HALT, i); break;
	default: break;
	}
}

/* In the order in which a bundle works: all reads see what was before it. */
static void put_node(struct planner *k, const struct node *n)
{
	void (*const parts[])(struct planner *, uint32_t) = {put_access, put_result, put_store, put_control};
	put_bookings(k, n, PHASE_READ);
	for (size_t part = 0; part < TG_ARRAY_LEN(parts); part++) {
		if (parts[part] == put_result)
			put_bookings(k, n, PHASE_UNIT);
		if (parts[part] == put_control)
			put_bookings(k, n, PHASE_LATE);
		for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++)
			parts[part](k, i);
	}
}

/* ---- loops ---- */

enum fate { UNTOUCHED, READ_FIRST, LINEAR, ANEW, OTHER };
struct body {
	struct planner *k;
	uint32_t writes;        /* scalar registers */
	enum fate s[32], p[8];
	bool slow;
};

static bool invariant(const struct body *b, int64_t r) { return !(b->writes >> r & 1); }

/* d = d + what the loop leaves alone */
static bool adds(const struct body *b, const struct tg_insn *in)
{
	if (in->op == TG_I_saddi)
		return in->f[0] == in->f[1];
	return in->op == TG_I_sadd && ((in->f[0] == in->f[1] && invariant(b, in->f[2])) || (in->f[0] == in->f[2] && invariant(b, in->f[1])));
}

static void note_read(enum fate *at) { *at = *at == UNTOUCHED ? READ_FIRST : *at; }

static void note_reads(struct body *b, const struct tg_insn *in)
{
	const struct tg_insn_info *info = info_of(in);
	if (in->pred)
		note_read(&b->p[in->pred]);
	for (uint32_t f = 0; f < info->n_fields; f++) {
		if (info->field[f].is_def)
			continue;
		if (info->field[f].kind == TG_FIELD_S)
			note_read(&b->s[in->f[f]]);
		else if (info->field[f].kind == TG_FIELD_P)
			note_read(&b->p[in->f[f]]);
	}
}

static void note_write(enum fate *at, bool added, bool always)
{
	if (added && always && (*at == UNTOUCHED || *at == READ_FIRST || *at == LINEAR))
		*at = LINEAR;
	else if (*at != ANEW)
		*at = *at == UNTOUCHED && always ? ANEW : OTHER;
}

static void note_writes(struct body *b, const struct tg_insn *in)
{
	const struct tg_insn_info *info = info_of(in);
	for (uint32_t f = 0; f < info->n_fields; f++) {
		if (info->field[f].is_def && info->field[f].kind == TG_FIELD_S)
			note_write(&b->s[in->f[f]], adds(b, in), !in->pred);
		else if (info->field[f].is_def && info->field[f].kind == TG_FIELD_P)
			note_write(&b->p[in->f[f]], false, !in->pred);
		else if (info->field[f].is_both && tg_insn_get(in, 'q') != 0)
			note_write(&b->s[in->f[f]], invariant(b, tg_insn_get(in, 'q')), !in->pred);
	}
}

static void note_node(struct body *b, const struct node *n, struct walk_loop *l)
{
	struct check *c = b->k->c;
	for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++) {
		const struct tg_insn *in = &c->insns.at[i];
		bool inner = in->op == TG_I_loop && (in->pred || !invariant(b, in->f[0]));
		bool timed = in->op == TG_I_idle && in->pred;
		b->slow |= b->k->p->open[i] || inner || timed || has_format(in, "SST") || in->op == TG_I_br || in->op == TG_I_halt;
		if (has_format(in, "VST") || has_format(in, "VSX") || in->op == TG_I_dma_start)
			l->writes = span_both(l->writes, reach(b->k, i));
		note_reads(b, in);
	}
	for (uint32_t i = n->first_insn; i < n->first_insn + n->n_insn; i++)
		note_writes(b, &c->insns.at[i]);
}

static void plan_loop(struct planner *k, uint32_t id)
{
	struct check *c = k->c;
	struct loop *at = &c->loops.at[id];
	struct walk_loop *l = &k->p->loop[id];
	struct body b = {.k = k, .writes = check_writes(c, at)};
	*l = (struct walk_loop){.first = c->node_at[at->start], .behind = c->node_at[at->end], .writes = {INT64_MAX, INT64_MIN}};
	for (uint32_t w = at->start; w < at->end && !b.slow;) {
		const struct node *n = c->node_at[w] == NO_NODE ? NULL : &c->nodes.at[c->node_at[w]];
		if (!n)
			return; /* a gap: something jumps over it */
		note_node(&b, n, l);
		w = n->next_word;
	}
	for (unsigned r = 1; r < 32; r++) {
		l->linear |= (b.s[r] == LINEAR ? UINT32_C(1) : 0) << r;
		b.slow |= b.s[r] == OTHER;
	}
	for (unsigned r = 1; r < 8; r++)
		b.slow |= b.p[r] == OTHER;
	l->fast = !b.slow;
}

/* ---- the plan ---- */

static void mark_open(struct planner *k)
{
	struct check *c = k->c;
	struct walk_plan *p = k->p;
	for (uint32_t i = 0; i < c->insns.n; i++) {
		const struct tg_insn *in = &c->insns.at[i];
		p->open[i] = (uint8_t)((c->verdict[i] == UNPROVEN ? OPEN_ACCESS : 0) | (c->early[i] ? OPEN_TIME : 0));
		if (has_format(in, "SST"))
			p->words = span_both(p->words, reach(k, i));
		for (uint32_t b = c->first_booking[i]; b < c->first_booking[i + 1]; b++) {
			const struct booking *at = &c->bookings.at[b];
			p->longest = at->bundles > p->longest ? at->bundles : p->longest;
			k->watched[at->id] |= c->early[i] && at->kind != BOOK_KEEP && at->kind != BOOK_LATE;
		}
	}
}

void plan_walk(struct check *c, struct walk_plan *p)
{
	struct planner k = {.c = c, .p = p};
	*p = (struct walk_plan){.words = {INT64_MAX / 2, INT64_MIN / 2}, .open = tg_alloc(c->arena, c->insns.n + 1), .reported = tg_alloc(c->arena, c->insns.n + 1)};
	c->open = p->open;
	p->first = tg_alloc_n(c->arena, c->nodes.n + 1, sizeof *p->first);
	p->after = tg_alloc_n(c->arena, c->nodes.n + 1, sizeof *p->after);
	p->loop = tg_alloc_n(c->arena, c->loops.n + 1, sizeof *p->loop);
	mark_open(&k);
	p->words = (struct span){p->words.lo - TG_DMA_DESC_BYTES, p->words.hi + TG_DMA_DESC_BYTES};
	for (uint32_t l = 0; l < c->loops.n; l++)
		plan_loop(&k, l);
	for (uint32_t i = 0; i < c->nodes.n; i++) {
		p->first[i] = (uint32_t)p->steps.n;
		p->after[i] = c->node_at[c->nodes.at[i].next_word];
		put_node(&k, &c->nodes.at[i]);
	}
	p->first[c->nodes.n] = (uint32_t)p->steps.n;
	for (uint32_t i = 0; i < c->insns.n; i++) {
		c->early[i] = false;
		c->verdict[i] = c->verdict[i] == UNPROVEN ? PROVEN : c->verdict[i];
	}
}
