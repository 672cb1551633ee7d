/* ops.c: the op tables made from the .def rows, and look-ups by name; the instructions of the mach dialect are the module's. */
#include <string.h>

#include "ir_internal.h"

#define DFLT_INT(v) (double)(v), NULL
#define DFLT_FLOAT(v) (double)(v), NULL
#define DFLT_INTS(v) (double)(v), NULL
#define DFLT_FLOATS(v) (double)(v), NULL
#define DFLT_DTYPE(v) (double)(v), NULL
#define DFLT_CONST(v) (double)(v), NULL
#define DFLT_STAGE(v) (double)(v), NULL
#define DFLT_STR(v) 0, v

/* One array of attributes for each op; its first entry is a filler, so that no array is empty. */
/* clang-format off */
static const struct tg_attr_info attrs_none[] = { { 0 }
#define OP(name, lo, hi, out, traits, doc) }; static const struct tg_attr_info attrs_##name[] = { { 0 }
#define ATTR(op, field, kind, dflt, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc, 0, 0, 0 }
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) }; static const struct tg_attr_info attrs_tile_##name[] = { { 0 }
#define ATTR(op, field, kind, dflt, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc, 0, 0, 0 }
#include "tile_ops.def"
#define OP(name, lo, hi, out, traits, doc) }; static const struct tg_attr_info attrs_mach_##name[] = { { 0 }
#define ATTR(op, field, kind, dflt, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc, 0, 0, 0 }
#define ATTR_IN(op, field, kind, dflt, lo, hi, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc, lo, hi, 0 }
#include "mach_ops.def"
};
/* clang-format on */

static const uint8_t scalar_kind = TG_SREG, predicate_kind = TG_PREG;

#define ROW(name, doc, dialect, lo, hi, out, traits, attrs, kinds) { #name, doc, dialect, lo, hi, out, traits, TG_ARRAY_LEN(attrs) - 1, (attrs) + 1, kinds, TG_TENSOR }
static const struct tg_op_info infos[TG_FIRST_INSN] = {
	[TG_OP_none] = ROW(none, "no op", TG_GRAPH, 0, 0, 0, 0, attrs_none, NULL),
#define OP(name, lo, hi, out, traits, doc) [TG_OP_##name] = ROW(name, doc, TG_GRAPH, lo, hi, out, traits, attrs_##name, NULL),
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) [TG_TILE_##name] = ROW(name, doc, TG_TILE, lo, hi, out, traits, attrs_tile_##name, NULL),
#include "tile_ops.def"
#define OP(name, lo, hi, out, traits, doc) \
	[TG_MACH_##name] = ROW(name, doc, TG_MACH, lo, hi, out, traits, attrs_mach_##name, \
			       (traits) & T_SCALAR ? &scalar_kind : (traits) & T_PREDICATE ? &predicate_kind : NULL),
#include "mach_ops.def"
};

const struct tg_expr_info tg_expr_infos[TG_N_EXPRS] = {
#define EXPR(name, arity, doc) [TG_X_##name] = { #name, arity, doc },
#include "exprs.def"
};

const char *const tg_combine_names[TG_N_COMBINES] = { "sum", "prod", "max", "min" };

const struct tg_op_info *tg_op_info(uint16_t code) { return code < TG_FIRST_INSN ? &infos[code] : &infos[TG_OP_none]; }

const struct tg_op_info *tg_op_info_in(const struct tg_module *m, uint16_t code)
{
	uint32_t row = code < TG_FIRST_INSN ? UINT32_MAX : (uint32_t)code - TG_FIRST_INSN;
	return m->insns && row < m->insns->n && m->insns->rows[row].name ? &m->insns->rows[row] : tg_op_info(code);
}

const char *tg_dialect_name(enum tg_dialect d)
{
	static const char *const names[] = { "graph", "tile", "mach" };
	return names[d];
}

static bool same(const char *name, const char *s, size_t n) { return strlen(name) == n && !memcmp(name, s, n); }

/* The first and the end of each dialect's codes. */
static const uint16_t first_code[TG_N_DIALECTS + 1] = { TG_OP_none + 1, TG_TILE_data, TG_MACH_code, TG_FIRST_INSN };

static uint16_t insn_from_name(const struct tg_insn_table *t, const char *name, size_t n)
{
	for (uint32_t i = 0; t && i < t->n; i++)
		if (t->rows[i].name && same(t->rows[i].name, name, n))
			return (uint16_t)(TG_FIRST_INSN + i);
	return TG_OP_none;
}

uint16_t tg_op_code_from_name(const struct tg_module *m, const char *dialect, size_t nd, const char *name, size_t n)
{
	int k = 0;
	while (k < TG_N_DIALECTS && !same(tg_dialect_name((enum tg_dialect)k), dialect, nd))
		k++;
	for (uint16_t i = k < TG_N_DIALECTS ? first_code[k] : TG_FIRST_INSN; k < TG_N_DIALECTS && i < first_code[k + 1]; i++)
		if (same(infos[i].name, name, n))
			return i;
	return k == TG_MACH ? insn_from_name(m->insns, name, n) : (uint16_t)TG_OP_none;
}

enum tg_expr_op tg_expr_from_name(const char *name, size_t n)
{
	for (int i = 0; i < TG_N_EXPRS; i++)
		if (same(tg_expr_infos[i].name, name, n))
			return (enum tg_expr_op)i;
	return TG_N_EXPRS;
}

void tg_attrs_default(const struct tg_op_info *info, union tg_attr *attrs)
{
	for (uint32_t i = 0; i < info->n_attrs; i++) {
		const struct tg_attr_info *a = &info->attrs[i];
		memset(&attrs[i], 0, sizeof attrs[i]);
		switch (a->kind) {
		case TG_ATTR_INT: attrs[i].i = (int64_t)a->dflt; break;
		case TG_ATTR_FLOAT: attrs[i].f = a->dflt; break;
		case TG_ATTR_STR: attrs[i].s = a->dflt_str; break;
		case TG_ATTR_DTYPE: attrs[i].dtype = (enum tg_dtype)a->dflt; break;
		default: break;
		}
	}
}

enum tg_dtype tg_compute_type(enum tg_dtype memory)
{
	const struct tg_dtype_info *t = &tg_dtypes[memory];
	switch (t->kind) {
	case TG_KIND_FLOAT: return t->bits == 64 ? TG_f64 : TG_f32;
	case TG_KIND_SIGNED: return t->bits == 64 ? TG_i64 : TG_i32;
	case TG_KIND_UNSIGNED: return t->bits == 64 ? TG_u64 : TG_u32;
	case TG_KIND_BOOL: return TG_bool;
	default: return TG_none;
	}
}
