/* ops.c: the op tables of the graph and tile dialects, made from the .def rows, and look-ups by name. */
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
#define ATTR(op, field, kind, dflt, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc }
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) }; static const struct tg_attr_info attrs_tile_##name[] = { { 0 }
#define ATTR(op, field, kind, dflt, doc) , { #field, TG_ATTR_##kind, DFLT_##kind(dflt), doc }
#include "tile_ops.def"
};
/* clang-format on */

static const struct tg_op_info infos[TG_FIRST_MACH] = {
	[TG_OP_none] = { "none", "no op", TG_GRAPH, 0, 0, 0, 0, 0, attrs_none },
#define OP(name, lo, hi, out, traits, doc) \
	[TG_OP_##name] = { #name, doc, TG_GRAPH, lo, hi, out, traits, TG_ARRAY_LEN(attrs_##name) - 1, attrs_##name + 1 },
#include "graph_ops.def"
#define OP(name, lo, hi, out, traits, doc) \
	[TG_TILE_##name] = { #name, doc, TG_TILE, lo, hi, out, traits, TG_ARRAY_LEN(attrs_tile_##name) - 1, attrs_tile_##name + 1 },
#include "tile_ops.def"
};

const struct tg_expr_info tg_expr_infos[TG_N_EXPRS] = {
#define EXPR(name, arity, doc) [TG_X_##name] = { #name, arity, doc },
#include "exprs.def"
};

const char *const tg_combine_names[TG_N_COMBINES] = { "sum", "prod", "max", "min" };

const struct tg_op_info *tg_op_info(uint16_t code) { return code < TG_FIRST_MACH ? &infos[code] : &infos[TG_OP_none]; }

const char *tg_dialect_name(enum tg_dialect d)
{
	static const char *const names[] = { "graph", "tile", "mach" };
	return names[d];
}

static bool same(const char *name, const char *s, size_t n) { return strlen(name) == n && !memcmp(name, s, n); }

uint16_t tg_op_code_from_name(const char *dialect, size_t nd, const char *name, size_t n)
{
	for (uint16_t i = 1; i < TG_FIRST_MACH; i++)
		if (same(infos[i].name, name, n) && same(tg_dialect_name(infos[i].dialect), dialect, nd))
			return i;
	return TG_OP_none;
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
