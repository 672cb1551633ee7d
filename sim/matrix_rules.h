/* matrix_rules.h: when the matrix unit's instructions trap. Their functions ask, and so does translated code before it begins a bundle. */
#ifndef TG_MATRIX_RULES_H
#define TG_MATRIX_RULES_H

#include "core.h"

static inline bool array_type_is_int(unsigned type)
{
	return type == TG_ARRAY_i8 || type == TG_ARRAY_u8;
}

/* Opcodes of pushes and multiplies follow the array types. */
static inline unsigned array_type_of(const struct tg_insn *in)
{
	return (unsigned)in->op - (in->op <= TG_I_push_u8 ? TG_I_push_f32 : TG_I_mul_f32);
}
_Static_assert(TG_I_push_u8 - TG_I_push_f32 == TG_ARRAY_u8 && TG_I_mul_u8 - TG_I_mul_f32 == TG_ARRAY_u8 && TG_I_swap > TG_I_push_u8 && TG_I_mul_f32 > TG_I_swap,
	       "rows of isa.def");

static inline bool array_same_class(unsigned a, unsigned b)
{
	return a == b || (array_type_is_int(a) && array_type_is_int(b));
}

/* The number that an instruction's register and immediate give: a row group, an accumulator row. */
static inline int64_t array_place(const struct tg_core *now, const struct tg_insn *in)
{
	return (int64_t)((uint64_t)now->s[in->f[2]] + (uint64_t)in->f[3]);
}

static inline const char *push_trap(const struct tg_core *now, const struct tg_insn *in, unsigned type, int64_t group)
{
	const struct tg_array *u = &now->array[in->f[0]];
	const struct tg_weights *shadow = &u->set[u->active ^ 1];
	uint32_t side = in->f[6] != 0 ? now->chip->array_cols : now->chip->array_rows;
	if (group < 0 || group >= side / now->rows)
		return "a push outside the array";
	if (shadow->any && !array_same_class(shadow->type, type))
		return "a push of another type than the shadow array holds";
	return NULL;
}

static inline const char *swap_trap(const struct tg_core *now, const struct tg_insn *in)
{
	return now->clock < now->array[in->f[0]].swap_ready ? "a swap before the last push has landed" : NULL;
}

/* Does it add to what is there? A true predicate f makes it overwrite. */
static inline bool multiply_adds(const struct tg_core *now, const struct tg_insn *in)
{
	return in->f[5] && !(in->f[6] && now->p[in->f[6]]);
}

static inline const char *multiply_rows_trap(const struct tg_core *now, const struct tg_insn *in, int64_t first, bool add)
{
	const struct tg_array *u = &now->array[in->f[0]];
	int64_t n = in->f[4];
	if (first < 0 || first > (int64_t)now->chip->acc_rows - n)
		return "a multiply outside the accumulator memory";
	for (int64_t r = first; add && r < first + n; r++) {
		if (!u->acc_written[r])
			return "a multiply adds to an accumulator row that was not written";
	}
	return NULL;
}

static inline const char *weights_trap(const struct tg_core *now, const struct tg_insn *in, unsigned type)
{
	const struct tg_array *u = &now->array[in->f[0]];
	const struct tg_weights *w = &u->set[u->active];
	return w->present && !array_same_class(w->type, type) ? "a multiply of another type than its weights" : NULL;
}

static inline const char *multiply_trap(const struct tg_core *now, const struct tg_insn *in, unsigned type, int64_t first, bool add)
{
	const char *why = first < 0 || first > (int64_t)now->chip->acc_rows - in->f[4] ? NULL : weights_trap(now, in, type);
	return why ? why : multiply_rows_trap(now, in, first, add);
}

static inline const char *read_trap(const struct tg_core *now, const struct tg_insn *in, int64_t first, uint64_t clock)
{
	const struct tg_array *u = &now->array[in->f[1]];
	int64_t n = in->f[4];
	if (first < 0 || first > (int64_t)now->chip->acc_rows - n)
		return "a read outside the accumulator memory";
	for (int64_t r = first; r < first + n; r++) {
		if (!u->acc_written[r])
			return "a read of an accumulator row that was not written";
		if (clock < u->acc_ready[r])
			return "a read of an accumulator row before its last multiply has landed";
	}
	return NULL;
}

#endif
