/* table.c: the instruction table, read from isa.def through the build-time generator (isa/gen). Constant data only. */
#include "isa.h"

#include <string.h>

static const struct tg_insn_info table[TG_N_INSNS] = {
	[TG_I_none] = {.name = "none", .doc = "no instruction", .format = "NONE", .latency = -1},
#include "isa_table.inc"
};

const char *const tg_slot_names[TG_N_SLOTS] = {"scalar", "load",     "store", "alu", "transcendental", "cross_lane",
					       "push",   "multiply", "read",  "dma", "control"};

const struct tg_insn_info *tg_insn_info(enum tg_opcode op)
{
	return &table[(unsigned)op < TG_N_INSNS ? op : TG_I_none];
}

enum tg_opcode tg_opcode_from_name(const char *name, size_t n)
{
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		if (strlen(table[op].name) == n && memcmp(table[op].name, name, n) == 0)
			return (enum tg_opcode)op;
	}
	return TG_I_none;
}

uint32_t tg_insn_latency(const struct tg_chip *c, enum tg_opcode op)
{
	int16_t at = tg_insn_info(op)->latency;
	if (at < 0)
		return 0;
	uint32_t v;
	memcpy(&v, (const char *)&c->latency + at, sizeof v);
	return v;
}

static uint32_t ceil_div(uint64_t a, uint64_t b)
{
	return (uint32_t)((a + b - 1) / b);
}

uint32_t tg_insn_occupancy(const struct tg_chip *c, const struct tg_insn *in)
{
	unsigned op = in->op;
	if (op >= TG_I_push_f32 && op <= TG_I_push_u8)
		return ceil_div(c->sublanes, c->push_rows_per_cycle);
	if (op >= TG_I_mul_f32 && op <= TG_I_mul_u8) {
		unsigned type = op - TG_I_mul_f32;
		uint64_t n = (uint64_t)tg_insn_get(in, 'n');
		return c->rate_num[type] ? ceil_div(n * c->rate_den[type], c->rate_num[type]) : 1;
	}
	if (op == TG_I_vldx || op == TG_I_vstx)
		return c->lanes;
	return 1;
}

uint32_t tg_slot_count(const struct tg_chip *c, enum tg_slot s)
{
	switch (s) {
	case TG_SLOT_S:
		return c->n_scalar;
	case TG_SLOT_L:
		return c->n_load;
	case TG_SLOT_W:
		return c->n_store;
	case TG_SLOT_V:
		return c->n_alu;
	case TG_SLOT_E:
		return c->n_transcendental;
	case TG_SLOT_X:
		return c->n_cross_lane;
	case TG_SLOT_P:
	case TG_SLOT_M:
	case TG_SLOT_R:
		return c->n_arrays;
	case TG_SLOT_D:
	case TG_SLOT_C:
		return 1;
	default:
		return 0;
	}
}

static int field_index(const struct tg_insn *in, char letter)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)in->op);
	for (int i = 0; i < info->n_fields; i++) {
		if (info->field[i].letter == letter)
			return i;
	}
	return -1;
}

int64_t tg_insn_get(const struct tg_insn *in, char letter)
{
	int i = field_index(in, letter);
	return i < 0 ? 0 : in->f[i];
}

void tg_insn_set(struct tg_insn *in, char letter, int64_t v)
{
	int i = field_index(in, letter);
	if (i >= 0)
		in->f[i] = v;
}
