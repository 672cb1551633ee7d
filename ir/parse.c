/* parse.c: a module from text. The text is untrusted: regions nest on an explicit stack with a limit, sizes are checked, whatever is refused
 * is reported with line and column. What comes out is safe to hand to the verifier, which must see it before anything else does. */
#include <string.h>

#include "parse_internal.h"

enum { MAX_DEPTH = 32, MAX_NUMBERS = 1 << 24 };
#define MAX_WEIGHTS ((size_t)1 << 37)

/* ---- values ---- */

static bool number_of(struct parser *p, uint32_t *number)
{
	const struct token *t = &p->l.now;
	uint64_t v = 0;
	if (t->kind != TOK_VALUE || t->n < 2)
		return tg_parse_expected(p, "a value like %1");
	for (size_t i = 1; i < t->n && v < p->n_numbers; i++)
		v = v * 10 + (uint64_t)(t->at[i] - '0');
	if (v >= p->n_numbers)
		return tg_parse_error(p, "value number is too large, expected less than %zu", p->n_numbers);
	*number = (uint32_t)v;
	return true;
}

static bool use(struct parser *p, tg_val *v)
{
	uint32_t number = 0;
	if (!number_of(p, &number))
		return false;
	v->id = p->value[number];
	if (!v->id)
		return tg_parse_error(p, "value %%%u is used before its definition", number);
	tg_lex_next(&p->l);
	return true;
}

static enum tg_value_kind kind_of(struct parser *p)
{
	for (unsigned i = TG_SREG; i <= TG_PREG; i++)
		if (tg_parse_take_word(p, tg_value_kind_name((enum tg_value_kind)i)))
			return (enum tg_value_kind)i;
	return TG_TENSOR;
}

static bool layout(struct parser *p, struct tg_value *v)
{
	if (!tg_parse_take_word(p, "layout"))
		return true;
	if (!tg_parse_punct(p, '['))
		return false;
	for (uint32_t i = 0; i < v->shape.rank; i++) {
		uint32_t d;
		if ((i && !tg_parse_punct(p, ',')) || !tg_parse_u32(p, &d, v->shape.rank))
			return false;
		v->layout[i] = (uint8_t)d;
	}
	return tg_parse_punct(p, ']');
}

/* %0 or a register that is declared: an instruction may write it. */
static bool writable(const struct parser *p, uint32_t number)
{
	return number == 0 || (p->value[number] && tg_value_get(p->m, (tg_val){ p->value[number] })->kind != TG_TENSOR);
}

/* %3: f32[1x64] layout [1, 0] "conv1", or %3 alone for a register that an instruction writes */
static bool define(struct parser *p, tg_val *out)
{
	uint32_t number = 0;
	enum tg_dtype t = TG_none;
	struct tg_shape s = { 0 };
	const char *name = NULL;
	if (!number_of(p, &number))
		return false;
	struct token at = p->l.now;
	tg_lex_next(&p->l);
	if (writable(p, number) && !tg_lex_is(&p->l, ':')) {
		out->id = p->value[number];
		return true;
	}
	if (number == 0 || p->value[number]) {
		p->l.now = at;
		return tg_parse_error(p, number ? "value %%%u is defined twice" : "value %%%u is the fixed register, expected another number", number);
	}
	if (!tg_parse_punct(p, ':'))
		return false;
	enum tg_value_kind kind = kind_of(p);
	if (kind == TG_TENSOR && !tg_parse_type(p, &t, &s))
		return false;
	*out = tg_value_new(p->m, kind, t, &s, NULL);
	p->value[number] = out->id;
	if (!layout(p, tg_value_of(p->m, *out)))
		return false;
	if (p->l.now.kind == TOK_STRING && !tg_parse_string(p, &name))
		return false;
	tg_value_of(p->m, *out)->name = name;
	return true;
}

/* ---- attributes ---- */

static bool list_of(struct parser *p, bool floats, union tg_attr *a)
{
	TG_VEC(int64_t) ints = { 0 };
	TG_VEC(double) fs = { 0 };
	if (!tg_parse_punct(p, '['))
		return false;
	while (!tg_lex_is(&p->l, ']')) {
		if (ints.n + fs.n && !tg_parse_punct(p, ','))
			return false;
		if (floats ? !tg_parse_f64(p, TG_PUSH(p->a, &fs)) : !tg_parse_i64(p, TG_PUSH(p->a, &ints)))
			return false;
	}
	if (floats) {
		a->floats.at = fs.at;
		a->floats.n = (uint32_t)fs.n;
	} else {
		a->ints.at = ints.at;
		a->ints.n = (uint32_t)ints.n;
	}
	return tg_parse_punct(p, ']');
}

static bool attribute(struct parser *p, enum tg_attr_kind kind, union tg_attr *a)
{
	switch (kind) {
	case TG_ATTR_INT: return tg_parse_i64(p, &a->i);
	case TG_ATTR_FLOAT: return tg_parse_f64(p, &a->f);
	case TG_ATTR_INTS: return list_of(p, false, a);
	case TG_ATTR_FLOATS: return list_of(p, true, a);
	case TG_ATTR_STR: return tg_parse_string(p, &a->s);
	case TG_ATTR_DTYPE: return tg_parse_dtype(p, &a->dtype);
	case TG_ATTR_CONST: return tg_parse_const(p, &a->c);
	case TG_ATTR_STAGE: break;
	}
	return tg_parse_expected(p, "another attribute");
}

static bool attributes(struct parser *p, const struct tg_op_info *info, struct tg_op *op)
{
	if (info->n_attrs == 0 || !tg_parse_take(p, '{'))
		return true;
	for (bool first = true; !tg_lex_is(&p->l, '}'); first = false) {
		uint32_t i = 0;
		if (!first && !tg_parse_punct(p, ','))
			return false;
		while (i < info->n_attrs && !tg_lex_word(&p->l, info->attrs[i].name))
			i++;
		if (i == info->n_attrs)
			return tg_parse_expected(p, "an attribute of this op");
		tg_lex_next(&p->l);
		if (!tg_parse_punct(p, '=') || !attribute(p, info->attrs[i].kind, &op->attrs[i]))
			return false;
	}
	return tg_parse_punct(p, '}');
}

/* @[0, 3] */
static bool provenance(struct parser *p, struct tg_op *op)
{
	TG_VEC(uint32_t) nodes = { 0 };
	if (!tg_parse_take(p, '@'))
		return true;
	if (!tg_parse_punct(p, '['))
		return false;
	while (!tg_lex_is(&p->l, ']')) {
		uint32_t n;
		if ((nodes.n && !tg_parse_punct(p, ',')) || !tg_parse_u32(p, &n, (uint32_t)p->m->nodes.n))
			return false;
		if (nodes.n && n <= nodes.at[nodes.n - 1])
			return tg_parse_error(p, "node %u after %u, expected ascending nodes", n, nodes.at[nodes.n - 1]);
		*TG_PUSH(p->a, &nodes) = n;
	}
	op->prov = tg_prov_intern(p->m, nodes.at, (uint32_t)nodes.n);
	return tg_parse_punct(p, ']');
}

/* ---- ops ---- */

struct stack { struct tg_block *block[MAX_DEPTH + 1]; uint32_t depth; };

static bool open_region(struct parser *p, struct stack *st, struct tg_op *op)
{
	if (st->depth == MAX_DEPTH)
		return tg_parse_error(p, "regions nest deeper than %d", MAX_DEPTH);
	st->block[++st->depth] = tg_region_new(p->m, op);
	return true;
}

/* behind a closing brace: another region, or `yields(%1, %2)` */
static bool close_region(struct parser *p, struct stack *st)
{
	struct tg_op *op = st->block[st->depth--]->parent;
	TG_VEC(tg_val) out = { 0 };
	tg_lex_next(&p->l);
	if (tg_parse_take(p, '{'))
		return open_region(p, st, op);
	if (tg_op_info_in(p->m, op->code)->n_out == 0)
		return true;
	if (!tg_parse_take_word(p, "yields"))
		return tg_parse_expected(p, "yields");
	if (!tg_parse_punct(p, '('))
		return false;
	while (!tg_lex_is(&p->l, ')')) {
		if ((out.n && !tg_parse_punct(p, ',')) || !use(p, TG_PUSH(p->a, &out)))
			return false;
	}
	op->out = out.at;
	op->n_out = (uint32_t)out.n;
	return tg_parse_punct(p, ')');
}

static bool op_name(struct parser *p, uint16_t *code)
{
	struct token dialect = p->l.now;
	if (dialect.kind != TOK_WORD)
		return tg_parse_expected(p, "an op");
	tg_lex_next(&p->l);
	if (!tg_parse_punct(p, '.'))
		return false;
	*code = p->l.now.kind == TOK_WORD ? tg_op_code_from_name(p->m, dialect.at, dialect.n, p->l.now.at, p->l.now.n) : (uint16_t)TG_OP_none;
	if (*code == TG_OP_none)
		return tg_parse_expected(p, "the name of an op");
	tg_lex_next(&p->l);
	return true;
}

static bool op_rest(struct parser *p, struct tg_op *op)
{
	const struct tg_op_info *info = tg_op_info_in(p->m, op->code);
	if (!attributes(p, info, op) || !provenance(p, op))
		return false;
	if (!tg_parse_take_word(p, "stage"))
		return true;
	for (uint32_t i = 0; i < info->n_attrs; i++)
		if (info->attrs[i].kind == TG_ATTR_STAGE)
			return tg_parse_stage(p, op, &op->attrs[i].stage);
	return tg_parse_error(p, "%s has no stage", info->name);
}

/* An operand; where they are registers %0 is one, and an op may read what it writes. */
static bool operand(struct parser *p, bool registers, const tg_val *out, size_t n_out, tg_val *v)
{
	v->id = 0;
	if (registers && p->l.now.kind == TOK_VALUE && p->l.now.n == 2 && p->l.now.at[1] == '0') {
		tg_lex_next(&p->l);
		return true;
	}
	if (!use(p, v))
		return false;
	for (size_t i = 0; !registers && i < n_out; i++)
		if (out[i].id == v->id)
			return tg_parse_error(p, "op uses its own result");
	return true;
}

static void set_results(struct parser *p, struct tg_op *op, const tg_val *out)
{
	for (uint32_t i = 0; i < op->n_out; i++) {
		op->out[i] = out[i];
		if (out[i].id && !tg_value_of(p->m, out[i])->def)
			tg_value_of(p->m, out[i])->def = op;
	}
}

static bool operation(struct parser *p, struct stack *st)
{
	TG_VEC(tg_val) out = { 0 }, in = { 0 };
	struct token start = p->l.now;
	uint16_t code;
	while (p->l.now.kind == TOK_VALUE) {
		tg_val v;
		if (!define(p, &v))
			return false;
		*TG_PUSH(p->a, &out) = v;
		if (!tg_parse_take(p, ','))
			break;
	}
	if ((out.n && !tg_parse_punct(p, '=')) || !op_name(p, &code) || !tg_parse_punct(p, '('))
		return false;
	bool registers = tg_op_info_in(p->m, code)->in_kinds != NULL;
	while (!tg_lex_is(&p->l, ')')) {
		tg_val v;
		if ((in.n && !tg_parse_punct(p, ',')) || !operand(p, registers, out.at, out.n, &v))
			return false;
		*TG_PUSH(p->a, &in) = v;
	}
	tg_lex_next(&p->l);
	struct tg_op *op = tg_op_new(p->m, st->block[st->depth], NULL, code, in.at, (uint32_t)in.n, (uint32_t)out.n, (tg_prov){ 0 });
	set_results(p, op, out.at);
	op->line = start.line;
	op->column = start.column;
	if (!op_rest(p, op))
		return false;
	return !tg_parse_take(p, '{') || open_region(p, st, op);
}

/* ---- header ---- */

static bool hash_matches(const struct tg_file *f, const char *hex)
{
	struct tg_sha256 h;
	uint8_t digest[32];
	char text[65];
	tg_sha256_init(&h);
	tg_sha256_add(&h, f->at, f->n);
	tg_sha256_end(&h, digest);
	tg_sha256_hex(digest, text);
	return !strcmp(text, hex);
}

/* First beneath the folder of the text, then beneath the model's folder, then as the path stands. A stranger's path discloses nothing: the text must know the hash. */
static bool map_weights(struct parser *p, const char *path, struct tg_file *f)
{
	struct tg_diag quiet;
	const char *slash = p->path ? strrchr(p->path, '/') : NULL;
	const char *folder = slash ? tg_strndup(p->a, p->path, (size_t)(slash - p->path) + 1) : ".";
	tg_diag_init(&quiet, p->a);
	if (path[0] != '/' && tg_file_map_beneath(&quiet, p->a, folder, path, TG_NOWHERE, MAX_WEIGHTS, f))
		return true;
	slash = p->m->source ? strrchr(p->m->source, '/') : NULL;
	folder = slash ? tg_strndup(p->a, p->m->source, (size_t)(slash - p->m->source) + 1) : ".";
	if (path[0] != '/' && tg_file_map_beneath(&quiet, p->a, folder, path, TG_NOWHERE, MAX_WEIGHTS, f))
		return true;
	return tg_file_map(p->d, p->a, path, MAX_WEIGHTS, f);
}

static bool file_line(struct parser *p)
{
	struct tg_module_file f = { 0 };
	const char *hex;
	if (!tg_parse_string(p, &f.path))
		return false;
	if (!f.path || !tg_parse_take_word(p, "sha256"))
		return tg_parse_expected(p, "a path and sha256");
	if (!tg_parse_string(p, &hex) || !hex || strlen(hex) != 64)
		return tg_parse_error(p, "expected a hash of 64 digits");
	if (!map_weights(p, f.path, &f.map))
		return false;
	if (!hash_matches(&f.map, hex)) {
		tg_file_unmap(&f.map);
		return tg_parse_error(p, "file %s does not have the hash that the text expects", tg_quoted(p->d->arena, f.path));
	}
	for (int i = 0; i < 32; i++)
		sscanf(hex + 2 * (size_t)i, "%2hhx", &f.sha256[i]);
	*TG_PUSH(p->a, &p->m->files) = f;
	return true;
}

static bool node_line(struct parser *p)
{
	struct tg_node_ref r;
	if (!tg_parse_u32(p, &r.index, INT32_MAX) || !tg_parse_string(p, &r.name) || !tg_parse_string(p, &r.op_type))
		return false;
	*TG_PUSH(p->a, &p->m->nodes) = r;
	return true;
}

static bool input_line(struct parser *p)
{
	struct tg_port port;
	if (!tg_parse_string(p, &port.name) || !define(p, &port.value))
		return false;
	*TG_PUSH(p->a, &p->m->inputs) = port;
	return true;
}

static bool output_line(struct parser *p)
{
	struct tg_port port;
	if (!tg_parse_string(p, &port.name) || !use(p, &port.value))
		return false;
	*TG_PUSH(p->a, &p->m->outputs) = port;
	return true;
}

static bool source_line(struct parser *p) { return tg_parse_string(p, &p->m->source); }
static bool level_line(struct parser *p) { return tg_parse_string(p, &p->m->level); }
static bool flags_line(struct parser *p) { return tg_parse_string(p, &p->m->flags); }
static bool chip_line(struct parser *p) { return tg_parse_string(p, &p->m->chip_text); }
static bool macs_line(struct parser *p) { return tg_parse_u64(p, &p->m->macs); }

static const struct { const char *word; bool (*parse)(struct parser *p); } lines[] = {
	{ "source", source_line }, { "level", level_line }, { "flags", flags_line }, { "chip", chip_line },	{ "macs", macs_line },
	{ "file", file_line },	   { "node", node_line },   { "input", input_line }, { "output", output_line },
};

static bool line(struct parser *p, struct stack *st)
{
	for (size_t i = 0; st->depth == 0 && i < TG_ARRAY_LEN(lines); i++)
		if (tg_parse_take_word(p, lines[i].word))
			return lines[i].parse(p);
	if (tg_lex_is(&p->l, '}') && st->depth > 0)
		return close_region(p, st);
	return operation(p, st);
}

static bool module(struct parser *p)
{
	struct stack st = { .block = { &p->m->body } };
	uint32_t version;
	if (!tg_parse_take_word(p, "tegula"))
		return tg_parse_expected(p, "tegula and a version");
	if (!tg_parse_u32(p, &version, 2))
		return false;
	while (p->l.now.kind != TOK_END)
		if (!line(p, &st))
			return false;
	return st.depth == 0 || tg_parse_expected(p, "'}'");
}

struct tg_module *tg_module_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n)
{
	return tg_module_parse_mach(d, a, path, text, n, NULL);
}

struct tg_module *tg_module_parse_mach(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n, const struct tg_insn_table *insns)
{
	struct parser p = { .d = d, .a = a, .path = path, .m = tg_module_new(a, NULL) };
	p.m->text = path ? tg_strdup(a, path) : NULL;
	p.m->insns = insns;
	p.n_numbers = n < 1 << 16 ? 1 << 16 : n < MAX_NUMBERS ? n : MAX_NUMBERS;
	struct tg_arena *numbers = tg_arena_new(tg_arena_heap(a));
	p.value = tg_alloc_n(numbers, p.n_numbers, sizeof *p.value);
	tg_lex_start(&p.l, text, n);
	bool ok = module(&p);
	tg_arena_free(numbers);
	for (size_t i = 0; !ok && i < p.m->files.n; i++)
		tg_file_unmap(&p.m->files.at[i].map);
	return ok ? p.m : NULL;
}
