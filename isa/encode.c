/* encode.c: bundles to words and back. Both directions go through insn_problem, so what encodes decodes, and the reverse. */
#include "isa_int.h"

#include <string.h>

void slot_map_of(const struct tg_chip *c, struct slot_map *m)
{
	static const uint8_t order[] = {TG_SLOT_S, TG_SLOT_L, TG_SLOT_W, TG_SLOT_V, TG_SLOT_X, TG_SLOT_P, TG_SLOT_M, TG_SLOT_R, TG_SLOT_D, TG_SLOT_C};
	uint32_t at = 0;
	for (size_t i = 0; i < sizeof order; i++) {
		m->first[order[i]] = at;
		at += tg_slot_count(c, (enum tg_slot)order[i]);
	}
	m->first[TG_SLOT_E] = m->first[TG_SLOT_V];
	m->n = at;
}

enum format {
#define FORMAT(name, picture, fields) FORMAT_##name,
#include "isa.def"
	N_FORMATS
};
static const uint8_t format_of[TG_N_INSNS] = {
	[TG_I_none] = N_FORMATS,
#define INSN(name, opcode, slot, latency, format, doc) [TG_I_##name] = FORMAT_##format,
#include "isa.def"
};
static const uint8_t op_of[256] = {
#define INSN(name, opcode, slot, latency, format, doc) [opcode] = TG_I_##name,
#include "isa.def"
};
_Static_assert(TG_N_INSNS <= 256, "opcodes");

/* Immediates whose range is the chip's and not only the field's width. One row a rule; the test table.c goes to every field's limits. */
enum limit { LIM_ARRAYS, LIM_ROWS_1, LIM_ACC, LIM_LOG_LANES, LIM_LOG_ROWS, LIM_ROW, LIM_LANE, LIM_GROUP, LIM_PUSH_GROUP, LIM_QUEUE, LIM_LEVEL };
static const struct {
	enum format format;
	char letter;
	enum limit limit;
	const char *why;
} limits[] = {
	{FORMAT_PUSH, 'u', LIM_ARRAYS, "no such matrix unit"}, /* no case: table.c */
	{FORMAT_SWAP, 'u', LIM_ARRAYS, "no such matrix unit"}, /* no case: table.c */
	{FORMAT_MUL, 'u', LIM_ARRAYS, "no such matrix unit"}, /* no case: table.c */
	{FORMAT_MRD, 'u', LIM_ARRAYS, "no such matrix unit"}, /* no case: table.c */
	{FORMAT_MUL, 'n', LIM_ROWS_1, "row count is not 1 .. sublanes"}, /* no case: table.c */
	{FORMAT_MRD, 'n', LIM_ROWS_1, "row count is not 1 .. sublanes"}, /* no case: table.c */
	{FORMAT_MUL, 'i', LIM_ACC, "no such accumulator row"}, /* no case: table.c */
	{FORMAT_MRD, 'i', LIM_ACC, "no such accumulator row"}, /* no case: table.c */
	{FORMAT_XRED, 'u', LIM_LOG_LANES, "segment is larger than the register"}, /* no case: table.c */
	{FORMAT_XGET, 'r', LIM_ROW, "no such row"}, /* no case: table.c */
	{FORMAT_XGET, 'u', LIM_LANE, "no such lane"}, /* no case: table.c */
	{FORMAT_XW, 'g', LIM_GROUP, "no such row group of the transposer"}, /* no case: table.c */
	{FORMAT_XR, 'g', LIM_GROUP, "no such column group of the transposer"}, /* no case: table.c */
	{FORMAT_PUSH, 'i', LIM_PUSH_GROUP, "no such row group of the array"}, /* no case: table.c */
	{FORMAT_DMAS, 'q', LIM_QUEUE, "no such DMA queue"}, /* no case: table.c */
	{FORMAT_DMAW, 'q', LIM_QUEUE, "no such DMA queue"}, /* no case: table.c */
	{FORMAT_PLVL, 'u', LIM_LEVEL, "loops are at most 8 deep"}, /* no case: table.c */
};

static int64_t log2_of(uint32_t v)
{
	int64_t n = 0;
	while (v > 1) {
		v >>= 1;
		n++;
	}
	return n;
}

static bool over_rows(unsigned op)
{
	return op >= TG_I_xadds_f32 && op <= TG_I_xmaxs_i32;
}

static int64_t highest(const struct tg_chip *c, enum limit l, unsigned op)
{
	switch (l) {
	case LIM_ARRAYS:
		return (int64_t)c->n_arrays - 1;
	case LIM_ROWS_1:
		return c->sublanes;
	case LIM_ACC:
		return (int64_t)c->acc_rows - 1;
	case LIM_LOG_LANES:
	case LIM_LOG_ROWS:
		return log2_of(over_rows(op) ? c->sublanes : c->lanes);
	case LIM_ROW:
		return (int64_t)c->sublanes - 1;
	case LIM_LANE:
		return (int64_t)c->lanes - 1;
	case LIM_GROUP:
		return (int64_t)(c->lanes / c->sublanes) - 1;
	case LIM_PUSH_GROUP:
		return (int64_t)((c->array_rows > c->array_cols ? c->array_rows : c->array_cols) / c->sublanes) - 1;
	case LIM_QUEUE:
		return (int64_t)c->dma_queues - 1;
	case LIM_LEVEL:
		return 7;
	}
	return 0;
}

static uint32_t reg_count(const struct tg_chip *c, unsigned kind)
{
	switch (kind) {
	case TG_FIELD_S:
		return c->n_sregs;
	case TG_FIELD_V:
		return c->n_vregs;
	case TG_FIELD_M:
		return c->n_mregs;
	case TG_FIELD_P:
		return c->n_pregs;
	default:
		return 0;
	}
}

void tg_field_range(enum tg_opcode op, const struct tg_field_info *f, int64_t *lo, int64_t *hi)
{
	*lo = 0;
	*hi = (INT64_C(1) << f->width) - 1;
	if (f->kind != TG_FIELD_I)
		return;
	/* vmovi carries 32 bits of either signedness: the register's bits are what counts */
	*lo = op == TG_I_vmovi ? INT32_MIN : -(INT64_C(1) << (f->width - 1));
	*hi = op == TG_I_vmovi ? UINT32_MAX : (INT64_C(1) << (f->width - 1)) - 1;
}

static const char *field_problem(const struct tg_chip *c, const struct tg_field_info *f, int64_t v, uint16_t op)
{
	int64_t low, high;
	if (f->kind <= TG_FIELD_P)
		return v < 0 || v >= reg_count(c, f->kind) ? "no such register" : NULL;
	tg_field_range((enum tg_opcode)op, f, &low, &high);
	return v < low || v > high ? "immediate out of range" : NULL; /* no case: a word's fields cannot; table.c has one */
}

const char *insn_problem(const struct tg_chip *c, const struct tg_insn *in)
{
	if (in->op == TG_I_none || in->op >= TG_N_INSNS)
		return "no such instruction"; /* no case: decoding says "no such opcode" */
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	if (in->pred >= c->n_pregs)
		return "no such predicate"; /* no case: both chips have all eight; table.c has one */
	for (unsigned i = 0; i < info->n_fields; i++) {
		const char *why = field_problem(c, &info->field[i], in->f[i], in->op);
		if (why)
			return why;
	}
	for (size_t k = 0; k < TG_ARRAY_LEN(limits); k++) {
		if (limits[k].format != format_of[in->op])
			continue;
		int64_t v = tg_insn_get(in, limits[k].letter);
		if (v > highest(c, limits[k].limit, in->op) || (limits[k].limit == LIM_ROWS_1 && v < 1))
			return limits[k].why;
	}
	bool push = in->op >= TG_I_push_f32 && in->op <= TG_I_push_u8, mul = in->op >= TG_I_mul_f32 && in->op <= TG_I_mul_u8;
	if ((push || mul) && c->rate_num[in->op - (push ? TG_I_push_f32 : TG_I_mul_f32)] == 0)
		return "the array does not have this type";
	return NULL;
}

static uint64_t mask_of(unsigned width)
{
	return width >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << width) - 1;
}

static uint64_t word_of(const struct tg_insn *in)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	uint64_t w = (uint64_t)info->opcode << 56 | (uint64_t)in->pred << 53;
	for (unsigned i = 0; i < info->n_fields; i++)
		w |= ((uint64_t)in->f[i] & mask_of(info->field[i].width)) << info->field[i].shift;
	return w;
}

/* A unit's slot is the unit; other instructions take the first free slot of their kind. */
static int place(const struct slot_map *m, const struct tg_chip *c, const struct tg_insn *in, uint64_t taken)
{
	enum tg_slot s = (enum tg_slot)tg_insn_info((enum tg_opcode)in->op)->slot;
	uint32_t n = tg_slot_count(c, s);
	for (uint32_t i = 0; i < n; i++) {
		bool mine = (s != TG_SLOT_P && s != TG_SLOT_M && s != TG_SLOT_R) || tg_insn_get(in, 'u') == (int64_t)i;
		if (mine && !(taken >> (m->first[s] + i) & 1))
			return (int)(m->first[s] + i);
	}
	return -1;
}

bool tg_bundle_encode(struct tg_diag *d, struct tg_loc loc, const struct tg_chip *c, const struct tg_bundle *b, uint64_t *words, uint32_t *n_words)
{
	struct slot_map m;
	slot_map_of(c, &m);
	uint64_t slot_word[64], taken = 0;
	if (b->n > TG_MAX_BUNDLE)
		return tg_error(d, loc, "bundle of %u instructions, at most %d fit", b->n, TG_MAX_BUNDLE);
	/* transcendentals first: they can go to fewer slots than other vector instructions */
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < b->n; i++) {
			const struct tg_insn *in = &b->insn[i];
			const char *why = insn_problem(c, in);
			const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
			if (why)
				return tg_error(d, loc, "%s: %s on chip %s", info->name, why, c->name);
			if ((info->slot == TG_SLOT_E) != (pass == 0))
				continue;
			int at = place(&m, c, in, taken);
			if (at < 0)
				return tg_error(d, loc, "%s: the bundle has more than the chip's %u %s slot(s)", info->name,
						tg_slot_count(c, (enum tg_slot)info->slot), tg_slot_names[info->slot]);
			taken |= UINT64_C(1) << at;
			slot_word[at] = word_of(in);
		}
	}
	uint32_t n = 0;
	words[n++] = taken;
	for (uint32_t i = 0; i < m.n; i++) {
		if (taken >> i & 1)
			words[n++] = slot_word[i];
	}
	*n_words = n;
	return true;
}

static uint64_t defined_bits(const struct tg_insn_info *info)
{
	uint64_t bits = UINT64_C(0x7ff) << 53;
	for (unsigned i = 0; i < info->n_fields; i++)
		bits |= mask_of(info->field[i].width) << info->field[i].shift;
	return bits;
}

static const char *decode_word(const struct tg_chip *c, uint64_t w, struct tg_insn *in)
{
	memset(in, 0, sizeof *in);
	in->op = op_of[w >> 56];
	if (in->op == TG_I_none)
		return "no such opcode";
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	if (w & ~defined_bits(info))
		return "a bit that must be zero is set";
	in->pred = (uint8_t)(w >> 53 & 7);
	for (unsigned i = 0; i < info->n_fields; i++) {
		const struct tg_field_info *f = &info->field[i];
		uint64_t v = w >> f->shift & mask_of(f->width);
		if (f->kind == TG_FIELD_I && v >> (f->width - 1) & 1)
			v |= ~mask_of(f->width);
		in->f[i] = (int64_t)v;
	}
	return insn_problem(c, in);
}

static bool kind_fits(const struct slot_map *m, const struct tg_chip *c, const struct tg_insn *in, uint32_t slot)
{
	enum tg_slot s = (enum tg_slot)tg_insn_info((enum tg_opcode)in->op)->slot;
	if (slot < m->first[s] || slot >= m->first[s] + tg_slot_count(c, s))
		return false;
	if (s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R)
		return tg_insn_get(in, 'u') == (int64_t)(slot - m->first[s]);
	return true;
}

const char *tg_bundle_decode(const struct tg_chip *c, const uint64_t *words, size_t n, size_t at, struct tg_bundle *b, size_t *next)
{
	struct slot_map m;
	slot_map_of(c, &m);
	b->n = 0;
	*next = at;
	if (at >= n)
		return "past the end of the code";
	uint64_t header = words[at];
	if (m.n < 64 && header >> m.n)
		return "the header names a slot that the chip does not have";
	if ((size_t)__builtin_popcountll(header) > n - at - 1)
		return "the bundle runs past the end of the code";
	size_t w = at + 1;
	for (uint32_t slot = 0; slot < m.n; slot++) {
		if (!(header >> slot & 1))
			continue;
		struct tg_insn *in = &b->insn[b->n];
		const char *why = decode_word(c, words[w++], in);
		if (why)
			return why;
		if (!kind_fits(&m, c, in, slot))
			return "an instruction is in a slot of another kind";
		b->n++;
	}
	*next = w;
	return NULL;
}
