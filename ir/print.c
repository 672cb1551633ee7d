/* print.c: a module as text; docs/ir.md has the grammar, parse.c reads it back. Printing what was parsed gives the same text: values are
 * numbered in the order of their definition, numbers are written so that they read back to the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir_internal.h"

enum { INLINE_ELEMENTS = 64 };

struct out {
	struct tg_buf *b;
	const struct tg_module *m;
	const uint32_t *number; /* by value id */
	struct tg_arena *arena;
};

const char *tg_value_kind_name(enum tg_value_kind k)
{
	static const char *const names[] = { [TG_SREG] = "sreg", [TG_VREG] = "vreg", [TG_MREG] = "mreg", [TG_PREG] = "preg" };
	return names[k];
}

const uint32_t *tg_value_numbers(struct tg_arena *a, const struct tg_module *m)
{
	uint32_t *number = tg_alloc_n(a, m->values.n, sizeof *number), n = 0;
	for (size_t i = 0; i < m->inputs.n; i++)
		if (m->inputs.at[i].value.id < m->values.n && !number[m->inputs.at[i].value.id])
			number[m->inputs.at[i].value.id] = ++n;
	for (struct tg_op *op = m->body.first; op; op = tg_op_step(op))
		for (uint32_t i = 0; op->n_regions == 0 && i < op->n_out; i++)
			if (op->out[i].id && op->out[i].id < m->values.n && !number[op->out[i].id])
				number[op->out[i].id] = ++n;
	return number;
}

/* ---- small things ---- */

static void quoted(struct out *o, const char *s)
{
	if (!s) {
		tg_buf_puts(o->b, "null");
		return;
	}
	tg_buf_puts(o->b, "\"");
	tg_buf_quote(o->b, s);
	tg_buf_puts(o->b, "\"");
}

static void float_text(struct tg_buf *b, double v)
{
	uint64_t bits;
	char text[64];
	double back;
	memcpy(&bits, &v, sizeof bits);
	if (!isfinite(v)) {
		tg_buf_printf(b, "bits 0x%016llx", (unsigned long long)bits);
		return;
	}
	for (int digits = 6; digits <= 17; digits += digits == 6 ? 3 : 8) {
		tg_f64_text(text, sizeof text, digits, v);
		if (tg_f64_parse(text, strlen(text), &back) && back == v)
			break;
	}
	tg_buf_puts(b, text);
}

static void ints(struct out *o, const int64_t *v, uint32_t n)
{
	tg_buf_puts(o->b, "[");
	for (uint32_t i = 0; i < n; i++)
		tg_buf_printf(o->b, "%s%lld", i ? ", " : "", (long long)v[i]);
	tg_buf_puts(o->b, "]");
}

static void value(struct out *o, tg_val v)
{
	tg_buf_printf(o->b, "%%%u", v.id < o->m->values.n ? o->number[v.id] : 0);
}

static void type(struct out *o, uint8_t dtype, const struct tg_shape *s)
{
	tg_buf_printf(o->b, "%s[", tg_dtypes[dtype].name);
	for (uint32_t i = 0; i < s->rank; i++)
		tg_buf_printf(o->b, i ? "x%lld" : "%lld", (long long)s->dim[i]);
	tg_buf_puts(o->b, "]");
}

/* %3: f32[1x64] layout [1, 0] "conv1" */
static void definition(struct out *o, tg_val id)
{
	const struct tg_value *v = tg_value_get(o->m, id);
	bool moved = false;
	value(o, id);
	tg_buf_puts(o->b, ": ");
	if (v->kind != TG_TENSOR) {
		tg_buf_puts(o->b, tg_value_kind_name((enum tg_value_kind)v->kind));
		return;
	}
	type(o, v->dtype, &v->shape);
	for (uint32_t i = 0; i < v->shape.rank && i < TG_MAX_RANK; i++)
		moved |= v->layout[i] != i;
	for (uint32_t i = 0; moved && i < v->shape.rank && i < TG_MAX_RANK; i++)
		tg_buf_printf(o->b, "%s%u%s", i ? ", " : " layout [", v->layout[i], i + 1 == v->shape.rank ? "]" : "");
	if (v->name) {
		tg_buf_puts(o->b, " ");
		quoted(o, v->name);
	}
}

/* ---- constants ---- */

static void base64(struct tg_buf *b, const uint8_t *p, size_t n)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char line[4 * 64];
	size_t at = 0;
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0U);
		line[at++] = digit[v >> 18];
		line[at++] = digit[v >> 12 & 63];
		line[at++] = left > 1 ? digit[v >> 6 & 63] : '=';
		line[at++] = left > 2 ? digit[v & 63] : '=';
		if (at == sizeof line) {
			tg_buf_add(b, line, at);
			at = 0;
		}
	}
	tg_buf_add(b, line, at);
}

/* Decimal numbers say the same as the bytes. */
static bool plain(const struct tg_const *c, int64_t n)
{
	uint8_t back[16];
	unsigned bits = tg_dtypes[c->dtype].bits;
	for (int64_t i = 0; i < n; i++) {
		if (bits < 8)
			continue; /* nibbles in range are all plain */
		memset(back, 0, sizeof back);
		if (tg_is_float(c->dtype)) {
			double v = tg_get_f64(c->dtype, c->data, (size_t)i);
			if (!isfinite(v))
				return false;
			tg_put_f64(c->dtype, back, 0, v);
		} else {
			tg_put_i64(c->dtype, back, 0, tg_get_i64(c->dtype, c->data, (size_t)i));
		}
		if (memcmp(back, (const uint8_t *)c->data + (size_t)i * (bits / 8), bits / 8) != 0)
			return false;
	}
	return bits != 0 && tg_compute_type(c->dtype) != TG_none;
}

static void elements(struct out *o, const struct tg_const *c, int64_t n)
{
	tg_buf_puts(o->b, "[");
	for (int64_t i = 0; i < n; i++) {
		tg_buf_puts(o->b, i ? ", " : "");
		if (tg_is_float(c->dtype))
			float_text(o->b, tg_get_f64(c->dtype, c->data, (size_t)i));
		else
			tg_buf_printf(o->b, "%lld", (long long)tg_get_i64(c->dtype, c->data, (size_t)i));
	}
	tg_buf_puts(o->b, "]");
}

static void one_constant(struct out *o, const struct tg_const *c)
{
	int64_t n = 1;
	size_t bytes = 0;
	if (!c) {
		tg_buf_puts(o->b, "null");
		return;
	}
	type(o, (uint8_t)c->dtype, &c->shape);
	tg_buf_puts(o->b, c->kind == TG_CONST_SPLAT ? " splat " : " ");
	if (c->kind == TG_CONST_SPLAT)
		bytes = (tg_dtypes[c->dtype].bits + 7U) / 8;
	else if (!tg_shape_count(&c->shape, &n) || !tg_shape_bytes(&c->shape, c->dtype, &bytes))
		return;
	if (n <= INLINE_ELEMENTS && plain(c, n)) {
		elements(o, c, n);
	} else if (n <= INLINE_ELEMENTS) {
		tg_buf_puts(o->b, "hex \"");
		for (size_t i = 0; i < bytes; i++)
			tg_buf_printf(o->b, "%02x", ((const uint8_t *)c->data)[i]);
		tg_buf_puts(o->b, "\"");
	} else if (c->file >= 0) {
		tg_buf_printf(o->b, "file %d at %llu", c->file, (unsigned long long)c->file_offset);
	} else {
		tg_buf_puts(o->b, "base64 \"");
		base64(o->b, c->data, bytes);
		tg_buf_puts(o->b, "\"");
	}
}

static void constant(struct out *o, const struct tg_const *c)
{
	if (!c || c->kind != TG_CONST_PARTS) {
		one_constant(o, c);
		return;
	}
	type(o, (uint8_t)c->dtype, &c->shape);
	tg_buf_printf(o->b, " parts %u [", c->axis);
	for (uint32_t i = 0; i < c->n_parts; i++) {
		tg_buf_puts(o->b, i ? ", " : "");
		one_constant(o, c->parts[i]);
	}
	tg_buf_puts(o->b, "]");
}

/* ---- stages ---- */

static void index_text(struct tg_buf *b, const struct tg_stage *s, const struct tg_index *ix)
{
	bool paren = ix->div > 1 || ix->mod > 0, any = false;
	tg_buf_puts(b, paren ? "(" : "");
	for (uint32_t d = 0; d < s->n_dims; d++) {
		int64_t c = ix->coef[d];
		if (c == 0)
			continue;
		if (c == 1 || (c == -1 && any))
			tg_buf_printf(b, "%sd%u", !any ? "" : c > 0 ? " + " : " - ", d);
		else if (any && c < 0 && c != INT64_MIN)
			tg_buf_printf(b, " - %lld*d%u", (long long)-c, d);
		else
			tg_buf_printf(b, "%s%lld*d%u", any ? " + " : "", (long long)c, d);
		any = true;
	}
	if (ix->offset != 0 || (!any && ix->gather < 0) || (!any && paren)) {
		if (any && ix->offset < 0 && ix->offset != INT64_MIN)
			tg_buf_printf(b, " - %lld", (long long)-ix->offset);
		else
			tg_buf_printf(b, "%s%lld", any ? " + " : "", (long long)ix->offset);
		any = true;
	}
	tg_buf_puts(b, paren ? ")" : "");
	if (ix->div > 1)
		tg_buf_printf(b, " div %lld", (long long)ix->div);
	if (ix->mod > 0)
		tg_buf_printf(b, " mod %lld", (long long)ix->mod);
	if (ix->gather >= 0)
		tg_buf_printf(b, "%sgather %d", any ? " + " : "", ix->gather);
}

static void map_text(struct tg_buf *b, const struct tg_stage *s, const struct tg_map *m)
{
	tg_buf_puts(b, " [");
	for (uint32_t i = 0; i < m->rank; i++) {
		tg_buf_puts(b, i ? ", " : "");
		index_text(b, s, &m->index[i]);
	}
	tg_buf_puts(b, "]");
}

static void bits_text(struct tg_buf *b, enum tg_dtype t, uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof v);
	if (tg_type_is_float(t))
		float_text(b, v);
	else
		tg_buf_printf(b, "%lld", (long long)bits);
}

static void node_text(struct tg_buf *b, const struct tg_node *n, uint32_t number)
{
	const struct tg_expr_info *info = &tg_expr_infos[n->op];
	const tg_expr args[3] = { n->a, n->b, n->c };
	tg_buf_printf(b, "\tt%u = %s %s", number, info->name, tg_dtypes[n->dtype].name);
	switch ((enum tg_expr_op)n->op) {
	case TG_X_const:
		tg_buf_puts(b, " ");
		bits_text(b, (enum tg_dtype)n->dtype, n->bits);
		break;
	case TG_X_arg:
	case TG_X_inside:
	case TG_X_acc:
	case TG_X_index: tg_buf_printf(b, " %d", n->k); break;
	case TG_X_wrap:
	case TG_X_sat: tg_buf_printf(b, " %s", n->k >= 0 && n->k < TG_N_DTYPES ? tg_dtypes[n->k].name : "none"); break;
	default: break;
	}
	for (uint32_t i = 0; i < info->arity; i++)
		tg_buf_printf(b, "%st%u", i ? ", " : " ", args[i].id);
	tg_buf_puts(b, "\n");
}

static void stage(struct out *o, const struct tg_op *op, const struct tg_stage *s)
{
	struct tg_buf *b = o->b;
	tg_buf_puts(b, " stage {\n\tdims");
	for (uint32_t i = 0; i < s->n_dims; i++)
		tg_buf_printf(b, "%s %s %lld", i ? "," : "", s->dims[i].kind == TG_DIM_REDUCE ? "red" : "par", (long long)s->dims[i].extent);
	tg_buf_puts(b, "\n");
	for (uint32_t i = 0; i < s->n_ins; i++) {
		tg_buf_puts(b, "\tin");
		map_text(b, s, &s->ins[i].map);
		if (s->ins[i].guarded) {
			tg_buf_puts(b, " guard ");
			enum tg_dtype t = i < op->n_in ? (enum tg_dtype)tg_value_get(o->m, op->in[i])->dtype : TG_f32;
			bits_text(b, tg_compute_type(t), s->ins[i].fill);
		}
		tg_buf_puts(b, "\n");
	}
	for (uint32_t i = 0; i < s->n_nodes; i++)
		node_text(b, &s->nodes[i], i + 1);
	for (uint32_t i = 0; i < s->n_reds; i++)
		tg_buf_printf(b, "\treduce %s t%u\n", tg_combine_names[s->reds[i].combine], s->reds[i].value.id);
	for (uint32_t i = 0; i < s->n_outs; i++) {
		tg_buf_puts(b, "\tout");
		map_text(b, s, &s->outs[i].map);
		tg_buf_printf(b, " t%u\n", s->outs[i].value.id);
	}
	tg_buf_puts(b, "}");
}

/* ---- ops ---- */

static void attribute(struct out *o, enum tg_attr_kind kind, const union tg_attr *a)
{
	switch (kind) {
	case TG_ATTR_INT: tg_buf_printf(o->b, "%lld", (long long)a->i); break;
	case TG_ATTR_FLOAT: float_text(o->b, a->f); break;
	case TG_ATTR_INTS: ints(o, a->ints.at, a->ints.n); break;
	case TG_ATTR_FLOATS:
		tg_buf_puts(o->b, "[");
		for (uint32_t i = 0; i < a->floats.n; i++) {
			tg_buf_puts(o->b, i ? ", " : "");
			float_text(o->b, a->floats.at[i]);
		}
		tg_buf_puts(o->b, "]");
		break;
	case TG_ATTR_STR:
		if (a->s && strchr(a->s, '\n') && !strstr(a->s, "\"\"\"")) /* lines stay lines */
			tg_buf_printf(o->b, "\"\"\"\n%s\"\"\"", a->s);
		else
			quoted(o, a->s);
		break;
	case TG_ATTR_DTYPE: tg_buf_puts(o->b, tg_dtypes[a->dtype].name); break;
	case TG_ATTR_CONST: constant(o, a->c); break;
	case TG_ATTR_STAGE: break;
	}
}

static void results(struct out *o, const struct tg_op *op)
{
	for (uint32_t i = 0; op->n_regions == 0 && i < op->n_out; i++) {
		tg_buf_puts(o->b, i ? ", " : "");
		if (op->code >= TG_FIRST_INSN)
			value(o, op->out[i]); /* a register, declared elsewhere */
		else
			definition(o, op->out[i]);
	}
}

/* Machine code has many attributes and mostly their defaults, which it leaves out. */
static bool printed(const struct tg_op_info *info, const struct tg_attr_info *i, const union tg_attr *a)
{
	return i->kind != TG_ATTR_STAGE && (info->dialect != TG_MACH || i->kind != TG_ATTR_INT || (double)a->i != i->dflt);
}

static void op_head(struct out *o, const struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(o->m, op->code);
	bool first = true;
	results(o, op);
	tg_buf_printf(o->b, "%s%s.%s(", op->n_regions == 0 && op->n_out ? " = " : "", tg_dialect_name(info->dialect), info->name);
	for (uint32_t i = 0; i < op->n_in; i++) {
		tg_buf_puts(o->b, i ? ", " : "");
		value(o, op->in[i]);
	}
	tg_buf_puts(o->b, ")");
	for (uint32_t i = 0; i < info->n_attrs; i++) {
		if (!printed(info, &info->attrs[i], &op->attrs[i]))
			continue;
		tg_buf_printf(o->b, "%s%s = ", first ? " {" : ", ", info->attrs[i].name);
		attribute(o, info->attrs[i].kind, &op->attrs[i]);
		first = false;
	}
	tg_buf_puts(o->b, first ? "" : "}");
	const struct tg_prov_set *p = op->prov.id && op->prov.id < o->m->provs.n ? &o->m->provs.at[op->prov.id] : NULL;
	for (uint32_t i = 0; p && i < p->n; i++)
		tg_buf_printf(o->b, "%s%u%s", i ? ", " : " @[", p->nodes[i], i + 1 == p->n ? "]" : "");
	for (uint32_t i = 0; i < info->n_attrs; i++)
		if (info->attrs[i].kind == TG_ATTR_STAGE && op->attrs[i].stage)
			stage(o, op, op->attrs[i].stage);
}

static void yields(struct out *o, const struct tg_op *op)
{
	if (tg_op_info_in(o->m, op->code)->n_out == 0) {
		tg_buf_puts(o->b, "\n");
		return;
	}
	tg_buf_puts(o->b, " yields(");
	for (uint32_t i = 0; i < op->n_out; i++) {
		tg_buf_puts(o->b, i ? ", " : "");
		value(o, op->out[i]);
	}
	tg_buf_puts(o->b, ")\n");
}

/* } yields(%5, %6): closes the regions that end with this op, whose parents may end with it too */
static void close_regions(struct out *o, const struct tg_op *op)
{
	const struct tg_op *parent = op->block->parent;
	while (parent && !op->next) {
		uint32_t r = 0;
		while (parent->regions[r] != op->block)
			r++;
		tg_buf_puts(o->b, "}");
		for (r++; r < parent->n_regions; r++) {
			tg_buf_puts(o->b, " {\n");
			if (parent->regions[r]->first)
				return;
			tg_buf_puts(o->b, "}");
		}
		yields(o, parent);
		op = parent;
		parent = op->block->parent;
	}
}

static void open_regions(struct out *o, const struct tg_op *op)
{
	for (uint32_t r = 0; r < op->n_regions; r++) {
		tg_buf_puts(o->b, " {\n");
		if (op->regions[r]->first)
			return; /* its ops come next, and close it */
		tg_buf_puts(o->b, "}");
	}
	yields(o, op);
	close_regions(o, op);
}

static void one_op(struct out *o, const struct tg_op *op)
{
	op_head(o, op);
	if (op->n_regions) {
		open_regions(o, op);
		return;
	}
	tg_buf_puts(o->b, "\n");
	close_regions(o, op);
}

/* ---- module ---- */

static void string_line(struct out *o, const char *key, const char *s)
{
	if (!s)
		return;
	tg_buf_printf(o->b, "%s ", key);
	quoted(o, s);
	tg_buf_puts(o->b, "\n");
}

static void file_line(struct out *o, const struct tg_module_file *f)
{
	static const uint8_t unknown[32] = { 0 };
	uint8_t digest[32];
	char hex[65];
	memcpy(digest, f->sha256, sizeof digest);
	if (!memcmp(digest, unknown, sizeof digest) && f->map.at) {
		struct tg_sha256 h;
		tg_sha256_init(&h);
		tg_sha256_add(&h, f->map.at, f->map.n);
		tg_sha256_end(&h, digest);
	}
	tg_sha256_hex(digest, hex);
	tg_buf_puts(o->b, "file ");
	quoted(o, f->path ? f->path : "");
	tg_buf_printf(o->b, " sha256 \"%s\"\n", hex);
}

static void header(struct out *o)
{
	const struct tg_module *m = o->m;
	tg_buf_puts(o->b, "tegula 1\n");
	string_line(o, "source", m->source);
	string_line(o, "level", m->level);
	string_line(o, "flags", m->flags);
	string_line(o, "chip", m->chip_text);
	if (m->macs)
		tg_buf_printf(o->b, "macs %llu\n", (unsigned long long)m->macs);
	for (size_t i = 0; i < m->files.n; i++)
		file_line(o, &m->files.at[i]);
	for (size_t i = 0; i < m->nodes.n; i++) {
		tg_buf_printf(o->b, "node %u ", m->nodes.at[i].index);
		quoted(o, m->nodes.at[i].name);
		tg_buf_puts(o->b, " ");
		quoted(o, m->nodes.at[i].op_type);
		tg_buf_puts(o->b, "\n");
	}
	for (size_t i = 0; i < m->inputs.n; i++) {
		tg_buf_puts(o->b, "input ");
		quoted(o, m->inputs.at[i].name);
		tg_buf_puts(o->b, " ");
		definition(o, m->inputs.at[i].value);
		tg_buf_puts(o->b, "\n");
	}
}

void tg_module_print(struct tg_buf *out, const struct tg_module *m)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(out->arena));
	struct out o = { .b = out, .m = m, .arena = scratch, .number = tg_value_numbers(scratch, m) };
	header(&o);
	for (struct tg_op *op = m->body.first; op; op = tg_op_step(op))
		one_op(&o, op);
	for (size_t i = 0; i < m->outputs.n; i++) {
		tg_buf_puts(out, "output ");
		quoted(&o, m->outputs.at[i].name);
		tg_buf_puts(out, " ");
		value(&o, m->outputs.at[i].value);
		tg_buf_puts(out, "\n");
	}
	tg_arena_free(scratch);
}
