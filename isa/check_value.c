/* check_value.c: what scalar registers can hold, and from that trip counts and bounds of memory accesses.
 *
 * A value is an interval, or an interval added to what a register held at the head of the loop at work. A loop's body is walked once with
 * such symbols to learn by how much one trip changes each register; with the trip count that gives every register's range inside the
 * loop and its value behind it, and the body is walked again to check its accesses. An interval is `exact` when both its ends occur:
 * only then is an access that leaves the memory an error; else what cannot be proven is left to the walk (check_walk.c).
 * Loops nest at most 8 deep (check.c), and so do the walks. Code with branches is not analysed. */
#include "check_int.h"

#include <string.h>

#define FAR CHECK_FAR
#define NO_SYM 0

static const struct val anything = {-FAR, FAR, NO_SYM, false};

/* ---- interval arithmetic ---- */

static int64_t clip(__int128 v)
{
	return v > FAR ? FAR : v < -FAR ? -FAR : (int64_t)v;
}

struct val check_constant(int64_t v)
{
	if (v <= -FAR || v >= FAR)
		return anything;
	return (struct val){v, v, NO_SYM, true};
}

static bool is_const(struct val v)
{
	return v.lo == v.hi && v.sym == NO_SYM && v.lo > -FAR && v.hi < FAR;
}

static bool infinite(struct val v)
{
	return v.lo <= -FAR || v.hi >= FAR;
}

static struct val settle(struct val v)
{
	return infinite(v) ? (v.sym ? anything : (struct val){v.lo, v.hi, NO_SYM, false}) : v;
}

static struct val add(struct val a, struct val b)
{
	if (a.sym && b.sym)
		return anything;
	struct val r = {clip((__int128)a.lo + b.lo), clip((__int128)a.hi + b.hi), (uint16_t)(a.sym | b.sym), a.exact && b.exact};
	/* two ranges may hang together: their extremes need not meet */
	r.exact = r.exact && (a.lo == a.hi || b.lo == b.hi);
	return settle(r);
}

static struct val negate(struct val a)
{
	return a.sym ? anything : (struct val){-a.hi, -a.lo, NO_SYM, a.exact};
}

static struct val times(struct val a, int64_t k)
{
	if (k == 0)
		return check_constant(0);
	if (a.sym)
		return k == 1 ? a : anything;
	struct val r = {clip((__int128)a.lo * k), clip((__int128)a.hi * k), NO_SYM, a.exact};
	if (k < 0)
		r = (struct val){r.hi, r.lo, NO_SYM, r.exact};
	return settle(r);
}

static struct val join(struct val a, struct val b)
{
	if (a.sym != b.sym)
		return anything;
	bool same = a.lo == b.lo && a.hi == b.hi;
	return (struct val){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi, a.sym, same && a.exact && b.exact};
}

/* ---- one instruction ---- */

static struct val result(const struct tg_insn *in, const struct env *e)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	struct val a = anything, b = anything;
	if (in->op == TG_I_smov)
		return check_constant(in->f[1]);
	if (info->slot != TG_SLOT_S || info->n_fields != 3)
		return anything;
	a = e->s[in->f[1]];
	b = info->field[2].kind == TG_FIELD_I ? check_constant(in->f[2]) : e->s[in->f[2]];
	switch (in->op) {
	case TG_I_sadd:
	case TG_I_saddi:
		return add(a, b);
	case TG_I_ssub:
		return is_const(b) ? add(a, negate(b)) : a.sym ? anything : add(a, negate(b));
	case TG_I_smul:
	case TG_I_smuli:
		return is_const(b) ? times(a, b.lo) : is_const(a) ? times(b, a.lo) : anything;
	case TG_I_sshl:
	case TG_I_sshli:
		return is_const(b) && (b.lo & 63) < 62 ? times(a, INT64_C(1) << (b.lo & 63)) : anything;
	case TG_I_sshri:
	case TG_I_ssari:
		return !a.sym && a.lo >= 0 && !infinite(a) ? (struct val){a.lo >> (in->f[2] & 63), a.hi >> (in->f[2] & 63), NO_SYM, a.exact} : anything;
	case TG_I_sandi:
		if (is_const(a))
			return check_constant(a.lo & in->f[2]);
		return in->f[2] >= 0 ? (struct val){0, in->f[2], NO_SYM, false} : anything;
	case TG_I_sor:
	case TG_I_sori:
		return is_const(a) && is_const(b) ? check_constant(a.lo | b.lo) : anything;
	case TG_I_smin:
	case TG_I_smini:
		if (a.sym || b.sym)
			return anything;
		return (struct val){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi, NO_SYM, is_const(a) && is_const(b)};
	case TG_I_smax:
	case TG_I_smaxi:
		if (a.sym || b.sym)
			return anything;
		return (struct val){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi, NO_SYM, is_const(a) && is_const(b)};
	default:
		return anything;
	}
}

static void assign(struct env *next, const struct tg_insn *in, int64_t reg, struct val v)
{
	if (reg != 0)
		next->s[reg] = in->pred ? join(next->s[reg], v) : v;
}

/* All reads of a bundle see the environment before it. */
static void run_node(struct check *c, const struct node *n, struct env *e)
{
	struct env now = *e;
	for (uint32_t i = 0; i < n->n_insn; i++) {
		const struct tg_insn *in = &c->insns.at[n->first_insn + i];
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
		for (unsigned k = 0; k < info->n_fields; k++) {
			const struct tg_field_info *f = &info->field[k];
			if (f->kind == TG_FIELD_S && f->is_def)
				assign(e, in, in->f[k], result(in, &now));
			if (f->is_both && tg_insn_get(in, 'q') != 0)
				assign(e, in, in->f[k], add(now.s[in->f[k]], now.s[tg_insn_get(in, 'q')]));
		}
	}
}

uint32_t check_writes(struct check *c, struct loop *l)
{
	for (uint32_t w = l->start; !l->writes_known && w < l->end;) {
		const struct node *n = c->node_at[w] == UINT32_MAX ? NULL : &c->nodes.at[c->node_at[w]];
		if (!n)
			break;
		for (uint32_t i = 0; i < n->n_insn; i++) {
			const struct tg_insn *in = &c->insns.at[n->first_insn + i];
			const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
			for (unsigned k = 0; k < info->n_fields; k++) {
				if (info->field[k].kind == TG_FIELD_S && (info->field[k].is_def || (info->field[k].is_both && tg_insn_get(in, 'q') != 0)))
					l->writes |= UINT32_C(1) << in->f[k];
			}
		}
		w = n->next_word;
	}
	l->writes_known = true;
	l->writes &= ~UINT32_C(1);
	return l->writes;
}

/* ---- accesses ---- */

static void conclude(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e, bool inside, bool sure, const char *why, int64_t lo, int64_t hi)
{
	uint8_t *v = &c->verdict[in - c->insns.at];
	struct span *touched = &c->span[in - c->insns.at];
	if (*v == WRONG)
		return;
	if (inside) {
		touched->lo = lo < touched->lo ? lo : touched->lo;
		touched->hi = hi > touched->hi ? hi : touched->hi;
		*v = *v == UNPROVEN ? UNPROVEN : PROVEN;
	} else if (sure && e->runs >> in->pred & 1) {
		*v = WRONG;
		check_error(c, n, in, "%s: %lld .. %lld", why, (long long)lo, (long long)hi);
	} else {
		*v = UNPROVEN;
	}
}

uint32_t check_element_bits(unsigned op)
{
	switch (op) {
	case TG_I_vld_f32:
	case TG_I_vld_i32:
	case TG_I_vst_f32:
		return 32;
	case TG_I_vld_bf16:
	case TG_I_vld_f16:
	case TG_I_vld_i16:
	case TG_I_vld_u16:
	case TG_I_vst_bf16:
	case TG_I_vst_f16:
	case TG_I_vst_i16:
	case TG_I_vst_i16s:
	case TG_I_vst_u16s:
		return 16;
	case TG_I_vld_i4:
	case TG_I_vld_u4:
	case TG_I_vst_i4:
	case TG_I_vst_i4s:
	case TG_I_vst_u4s:
		return 4;
	default:
		return 8;
	}
}

static void check_vector(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e)
{
	const struct tg_chip *chip = &c->x->chip;
	struct val x = e->s[tg_insn_get(in, 'e')], base = add(e->s[tg_insn_get(in, 'a')], check_constant(tg_insn_get(in, 'i')));
	struct val s = e->s[tg_insn_get(in, 's')], t = e->s[tg_insn_get(in, 't')];
	bool masked = tg_insn_get(in, 'm') != 0, sure = is_const(x) && !masked;
	int64_t rows = chip->sublanes, lanes = chip->lanes, block = rows;
	if (is_const(x)) {
		int64_t r = x.lo & 0xffff, l = x.lo >> 16 & 0xffff, b = x.lo >> 32 & 0xffff;
		rows = r && r < rows ? r : rows;
		lanes = l && l < lanes ? l : lanes;
		block = b ? b : chip->sublanes;
	}
	lanes = tg_insn_get(in, 'k') ? lanes : 1;
	int64_t row_bytes = (lanes * check_element_bits(in->op) + 7) / 8;
	int64_t in_block = rows < block ? rows : block, blocks = (rows + block - 1) / block;
	/* a register that serves both strides, or a stride that is not known, only widens */
	struct val zero = check_constant(0);
	struct val span = add(join(zero, times(s, in_block - 1)), join(zero, times(t, blocks - 1)));
	struct val all = add(base, span);
	sure = sure && base.exact && is_const(s) && is_const(t) && blocks * block == rows;
	sure = sure || (is_const(x) && !masked && base.exact && is_const(s) && blocks == 1);
	conclude(c, n, in, e, !all.sym && all.lo >= 0 && all.hi <= (int64_t)chip->sram_bytes - row_bytes, sure && !all.sym, "leaves SRAM", all.lo, all.hi + row_bytes);
}

static void check_scalar(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e)
{
	int64_t bytes = in->op == TG_I_sld32 || in->op == TG_I_sst32 ? 4 : 8;
	struct val at = add(e->s[tg_insn_get(in, 'a')], check_constant(tg_insn_get(in, 'i')));
	conclude(c, n, in, e, !at.sym && at.lo >= 0 && at.hi <= (int64_t)c->x->chip.sram_bytes - bytes, at.exact && !at.sym, "leaves SRAM", at.lo, at.hi + bytes);
}

/* r + i ... in rows of the accumulator memory, or groups of the array */
static void check_rows(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e, char reg, int64_t count, int64_t limit, const char *why)
{
	struct val at = add(e->s[tg_insn_get(in, reg)], check_constant(tg_insn_get(in, 'i')));
	conclude(c, n, in, e, !at.sym && at.lo >= 0 && at.hi <= limit - count, at.exact && !at.sym, why, at.lo, at.hi + count);
}

const uint8_t *check_dram_bytes(struct check *c, int64_t at, uint64_t bytes)
{
	for (size_t i = 0; i < c->x->segments.n; i++) {
		const struct tg_segment *g = &c->x->segments.at[i];
		uint64_t off = (uint64_t)(at - TG_DRAM_BASE) - g->dram;
		if (!g->data || (uint64_t)(at - TG_DRAM_BASE) < g->dram || g->bytes < bytes || off > g->bytes - bytes)
			continue;
		c->trusted = span_both(c->trusted, (struct span){at, at + (int64_t)bytes});
		return (const uint8_t *)g->data + off;
	}
	return NULL;
}

/* A transfer with every combination of the ends of its bases: what lies between is inside when the ends are. */
void check_transfer(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e, const struct tg_dma_desc *desc)
{
	struct val s = e->s[in->f[3]], t = e->s[in->f[4]];
	struct tg_dma_desc d;
	uint8_t *verdict = &c->verdict[in - c->insns.at];
	if (!desc || s.sym || t.sym || infinite(s) || infinite(t)) {
		*verdict = *verdict == WRONG ? WRONG : UNPROVEN;
		return;
	}
	memcpy(&d, desc, sizeof d); /* bytes of the file: aligned for nothing */
	for (int k = 0; k < 4; k++) {
		struct tg_dma_plan p;
		int64_t src = k & 1 ? s.hi : s.lo, dst = k & 2 ? t.hi : t.lo;
		const char *why = tg_dma_plan(&c->x->chip, &d, src, dst, &p);
		bool one = (s.exact && is_const(t)) || (t.exact && is_const(s));
		conclude(c, n, in, e, why == NULL, one, why, why ? src : p.dst_first, why ? dst : p.dst_end);
		if (why)
			return;
	}
}

/* The descriptor that the executable's segments hold there, or NULL. */
static const void *check_descriptor(struct check *c, struct val at)
{
	return is_const(at) && at.lo >= TG_DRAM_BASE ? check_dram_bytes(c, at.lo, sizeof(struct tg_dma_desc)) : NULL;
}

/* Any element below the bound may be asked for; an index beyond it traps by itself, whatever the memory. */
static void check_indexed(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e)
{
	struct val at = e->s[tg_insn_get(in, 'a')], bytes = times(e->s[tg_insn_get(in, 'n')], 4), end = add(at, bytes);
	bool inside = !at.sym && !end.sym && at.lo >= 0 && end.hi <= (int64_t)c->x->chip.sram_bytes;
	conclude(c, n, in, e, inside, false, "leaves SRAM", at.lo, end.hi);
}

void check_access(struct check *c, const struct node *n, const struct tg_insn *in, const struct env *e)
{
	const struct tg_chip *chip = &c->x->chip;
	const char *format = tg_insn_info((enum tg_opcode)in->op)->format;
	if (strcmp(format, "VLD") == 0 || strcmp(format, "VST") == 0)
		check_vector(c, n, in, e);
	else if (strcmp(format, "SLD") == 0 || strcmp(format, "SST") == 0)
		check_scalar(c, n, in, e);
	else if (strcmp(format, "MUL") == 0 || strcmp(format, "MRD") == 0)
		check_rows(c, n, in, e, 'r', tg_insn_get(in, 'n'), chip->acc_rows, "leaves the accumulator memory");
	else if (strcmp(format, "PUSH") == 0)
		check_rows(c, n, in, e, 'g', 1, (tg_insn_get(in, 't') ? chip->array_cols : chip->array_rows) / chip->sublanes, "leaves the array");
	else if (strcmp(format, "VLX") == 0 || strcmp(format, "VSX") == 0)
		check_indexed(c, n, in, e);
	else if (in->op == TG_I_dma_start)
		check_transfer(c, n, in, e, check_descriptor(c, e->s[in->f[2]]));
}

static void check_node(struct check *c, const struct node *n, const struct env *e)
{
	for (uint32_t i = 0; i < n->n_insn; i++)
		check_access(c, n, &c->insns.at[n->first_insn + i], e);
}

/* ---- loops ---- */

static void walk_range(struct check *c, uint32_t from, uint32_t end, struct env *e, bool checking);

static struct val trips_of(struct check *c, struct loop *l, const struct env *e, bool checking)
{
	const struct node *n = &c->nodes.at[l->node];
	struct val trips = anything;
	for (uint32_t i = 0; i < n->n_insn; i++) {
		const struct tg_insn *in = &c->insns.at[n->first_insn + i];
		if (in->op == TG_I_loop && !in->pred)
			trips = e->s[in->f[0]];
	}
	if (trips.sym)
		trips = anything;
	if (checking) {
		l->trips_lo = trips.lo < l->trips_lo ? trips.lo : l->trips_lo;
		l->trips_hi = trips.hi > l->trips_hi ? trips.hi : l->trips_hi;
	}
	trips.lo = trips.lo < 0 ? 0 : trips.lo;
	trips.hi = trips.hi < 0 ? 0 : trips.hi;
	return trips;
}

/* start + change * [lo trips, hi trips]. With a fixed number of trips every start meets every trip: both ends occur. */
static struct val after_trips(struct val start, struct val change, int64_t lo, int64_t hi, bool fixed)
{
	struct val a = times(change, lo), b = times(change, hi);
	struct val all = {a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi, NO_SYM, change.lo == change.hi && fixed};
	struct val r = add(start, settle(all));
	r.exact = start.exact && all.exact && !infinite(r);
	return r;
}

static void run_loop(struct check *c, struct loop *l, struct env *e, bool checking, const struct env *before)
{
	struct val trips = trips_of(c, l, before, checking);
	if (trips.hi <= 0)
		return;
	uint32_t writes = check_writes(c, l);
	struct env one = *e, head = *e;
	for (unsigned r = 1; r < 32; r++) {
		if (writes >> r & 1)
			one.s[r] = (struct val){0, 0, (uint16_t)(1 + 32 * l->depth + r), true};
	}
	walk_range(c, l->start, l->end, &one, false);
	for (unsigned r = 1; r < 32; r++) {
		struct val v = one.s[r], start = e->s[r];
		if (!(writes >> r & 1))
			continue;
		if (v.sym == 1 + 32 * l->depth + r) {
			v.sym = NO_SYM;
			head.s[r] = after_trips(start, v, 0, trips.hi - 1, is_const(trips));
			e->s[r] = after_trips(start, v, trips.lo, trips.hi, is_const(trips));
		} else {
			bool ours = v.sym > 32 * l->depth;
			head.s[r] = ours ? anything : join(start, v);
			e->s[r] = ours ? anything : trips.lo >= 1 ? v : join(start, v);
		}
	}
	if (checking)
		walk_range(c, l->start, l->end, &head, true);
}

static void walk_range(struct check *c, uint32_t from, uint32_t end, struct env *e, bool checking)
{
	for (uint32_t w = from; w < end;) {
		if (c->node_at[w] == UINT32_MAX)
			return;
		const struct node *n = &c->nodes.at[c->node_at[w]];
		struct env before = *e;
		if (checking)
			check_node(c, n, &before);
		run_node(c, n, e);
		w = n->next_word;
		for (uint32_t i = 0; i < n->n_insn; i++) {
			if (c->insns.at[n->first_insn + i].op == TG_I_halt && !c->insns.at[n->first_insn + i].pred)
				return;
		}
		if (n->begins != NO_LOOP) {
			struct loop *l = &c->loops.at[n->begins];
			run_loop(c, l, e, checking, &before);
			w = l->end;
		}
	}
}

static void give_up(struct check *c)
{
	struct env e = {.runs = 1};
	for (unsigned r = 0; r < 32; r++)
		e.s[r] = r ? anything : check_constant(0);
	for (size_t i = 0; i < c->nodes.n; i++)
		check_node(c, &c->nodes.at[i], &e);
}

void check_values(struct check *c)
{
	if (c->has_branches) {
		give_up(c);
		return;
	}
	for (size_t i = 0; i < c->x->steps.n; i++) {
		struct env e = {.runs = 1};
		if (c->x->steps.at[i].on_host)
			continue;
		for (unsigned r = 0; r < 32; r++)
			e.s[r] = r ? anything : check_constant(0);
		walk_range(c, c->x->steps.at[i].entry_word, c->x->n_words, &e, true);
	}
}
