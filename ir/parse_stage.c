/* parse_stage.c: the body of a stage from text. Indices of dimensions, operands and nodes are checked to exist; the verifier does the rest. */
#include <string.h>

#include "parse_internal.h"

struct stage_parser {
	struct parser *p;
	const struct tg_op *op;
	TG_VEC(struct tg_dim) dims;
	TG_VEC(struct tg_stage_in) ins;
	TG_VEC(struct tg_node) nodes;
	TG_VEC(struct tg_reduction) reds;
	TG_VEC(struct tg_stage_out) outs;
};

/* d7 or t7: a letter and a number below `below` */
static bool lettered(struct parser *p, char letter, uint32_t below, uint32_t *v)
{
	const struct token *t = &p->l.now;
	uint64_t u = 0;
	char what[40];
	snprintf(what, sizeof what, "%c and a number below %u", letter, below);
	if (t->kind != TOK_WORD || t->at[0] != letter || t->n < 2 || t->n > 11)
		return tg_parse_expected(p, what);
	for (size_t i = 1; i < t->n; i++) {
		if (t->at[i] < '0' || t->at[i] > '9')
			return tg_parse_expected(p, what);
		u = u * 10 + (uint64_t)(t->at[i] - '0');
	}
	if (u >= below)
		return tg_parse_expected(p, what);
	*v = (uint32_t)u;
	tg_lex_next(&p->l);
	return true;
}

static bool parse_dims(struct stage_parser *s)
{
	struct parser *p = s->p;
	if (!tg_parse_take_word(p, "dims"))
		return tg_parse_expected(p, "dims");
	while (tg_lex_word(&p->l, "par") || tg_lex_word(&p->l, "red")) {
		struct tg_dim d = { .kind = tg_lex_word(&p->l, "red") ? TG_DIM_REDUCE : TG_DIM_PARALLEL };
		tg_lex_next(&p->l);
		if (s->dims.n == TG_MAX_DIMS)
			return tg_parse_error(p, "stage has more than %d dimensions", TG_MAX_DIMS);
		if (!tg_parse_i64(p, &d.extent))
			return false;
		*TG_PUSH(p->a, &s->dims) = d;
		if (!tg_parse_take(p, ','))
			break;
	}
	return true;
}

/* ---- maps ---- */

static bool add(struct parser *p, int64_t *to, int64_t v, bool negative)
{
	if (negative ? __builtin_sub_overflow(*to, v, to) : __builtin_add_overflow(*to, v, to))
		return tg_parse_error(p, "coefficient leaves 64 bits");
	return true;
}

/* 3, d0, 3*d0, d0*3 */
static bool term(struct stage_parser *s, struct tg_index *ix, bool negative)
{
	struct parser *p = s->p;
	uint32_t dim, n = (uint32_t)s->dims.n;
	int64_t c = 1;
	if (p->l.now.kind == TOK_WORD) {
		if (!lettered(p, 'd', n, &dim) || (tg_parse_take(p, '*') && !tg_parse_i64(p, &c)))
			return false;
		return add(p, &ix->coef[dim], c, negative);
	}
	if (!tg_parse_i64(p, &c))
		return false;
	if (!tg_parse_take(p, '*'))
		return add(p, &ix->offset, c, negative);
	return lettered(p, 'd', n, &dim) && add(p, &ix->coef[dim], c, negative);
}

static bool gather(struct stage_parser *s, struct tg_index *ix)
{
	uint32_t k;
	if (!tg_parse_u32(s->p, &k, s->op->n_in))
		return false;
	ix->gather = (int32_t)k;
	return true;
}

/* terms, up to a closing bracket, a comma, div, mod or the gather */
static bool affine(struct stage_parser *s, struct tg_index *ix)
{
	struct parser *p = s->p;
	bool negative = false;
	if (tg_parse_take_word(p, "gather"))
		return gather(s, ix);
	do {
		if (tg_parse_take_word(p, "gather"))
			return !negative ? gather(s, ix) : tg_parse_error(p, "a gather cannot be subtracted");
		if (!term(s, ix, negative))
			return false;
		negative = tg_lex_is(&p->l, '-');
	} while (tg_parse_take(p, '+') || tg_parse_take(p, '-'));
	return true;
}

static bool positive(struct parser *p, int64_t *v)
{
	if (!tg_parse_i64(p, v))
		return false;
	return *v > 0 || tg_parse_error(p, "found %lld, expected a positive number", (long long)*v);
}

static bool index_of(struct stage_parser *s, struct tg_index *ix)
{
	struct parser *p = s->p;
	if (!tg_parse_take(p, '('))
		return affine(s, ix);
	if (!affine(s, ix) || !tg_parse_punct(p, ')'))
		return false;
	if (ix->gather >= 0)
		return tg_parse_error(p, "a gather is added behind div and mod");
	if ((tg_parse_take_word(p, "div") && !positive(p, &ix->div)) || (tg_parse_take_word(p, "mod") && !positive(p, &ix->mod)))
		return false;
	if (!tg_parse_take(p, '+'))
		return true;
	return tg_parse_take_word(p, "gather") ? gather(s, ix) : tg_parse_expected(p, "gather");
}

static bool map_of(struct stage_parser *s, struct tg_map *m)
{
	struct parser *p = s->p;
	struct tg_map all = tg_map_alloc(p->a, 0, 0);
	TG_VEC(struct tg_index) list = { 0 };
	if (!tg_parse_punct(p, '['))
		return false;
	while (!tg_lex_is(&p->l, ']')) {
		if (list.n && !tg_parse_punct(p, ','))
			return false;
		if (list.n == TG_MAX_RANK)
			return tg_parse_error(p, "map has more than %d indices", TG_MAX_RANK);
		struct tg_index ix = { .coef = tg_alloc_n(p->a, s->dims.n + 1, sizeof(int64_t)), .div = 1, .gather = -1 };
		if (!index_of(s, &ix))
			return false;
		*TG_PUSH(p->a, &list) = ix;
	}
	all.rank = (uint32_t)list.n;
	all.index = list.at;
	*m = all;
	return tg_parse_punct(p, ']');
}

/* ---- nodes ---- */

static bool bits_of(struct parser *p, enum tg_dtype t, uint64_t *bits)
{
	double v;
	int64_t i;
	if (tg_type_is_float(t)) {
		if (!tg_parse_f64(p, &v))
			return false;
		memcpy(bits, &v, sizeof v);
		return true;
	}
	if (!tg_parse_i64(p, &i))
		return false;
	*bits = (uint64_t)i;
	return true;
}

static bool parse_in(struct stage_parser *s)
{
	struct tg_stage_in in = { 0 };
	uint32_t i = (uint32_t)s->ins.n;
	if (i >= s->op->n_in)
		return tg_parse_error(s->p, "stage body has more operands than the op's %u", s->op->n_in);
	if (!map_of(s, &in.map))
		return false;
	if (tg_parse_take_word(s->p, "guard")) {
		in.guarded = true;
		if (!bits_of(s->p, tg_compute_type((enum tg_dtype)tg_value_get(s->p->m, s->op->in[i])->dtype), &in.fill))
			return false;
	}
	*TG_PUSH(s->p->a, &s->ins) = in;
	return true;
}

static bool node_k(struct stage_parser *s, struct tg_node *n)
{
	uint32_t k = 0, below = 0;
	enum tg_dtype t;
	switch ((enum tg_expr_op)n->op) {
	case TG_X_const: return bits_of(s->p, (enum tg_dtype)n->dtype, &n->bits);
	case TG_X_arg:
	case TG_X_inside: below = (uint32_t)s->ins.n; break;
	case TG_X_index: below = (uint32_t)s->dims.n; break;
	case TG_X_acc: below = 1U << 16; break;
	case TG_X_wrap:
	case TG_X_sat:
		if (!tg_parse_dtype(s->p, &t))
			return false;
		n->k = (int32_t)t;
		return true;
	default: return true;
	}
	if (!tg_parse_u32(s->p, &k, below))
		return false;
	n->k = (int32_t)k;
	return true;
}

/* t3 = add f32 t1, t2 */
static bool parse_node(struct stage_parser *s)
{
	struct parser *p = s->p;
	struct tg_node n = { 0 };
	enum tg_dtype t;
	uint32_t number, args[3] = { 0 };
	if (!lettered(p, 't', (uint32_t)s->nodes.n + 2, &number))
		return false;
	if (number != s->nodes.n + 1)
		return tg_parse_error(p, "found node t%u, expected t%zu", number, s->nodes.n + 1);
	if (!tg_parse_punct(p, '='))
		return false;
	enum tg_expr_op op = p->l.now.kind == TOK_WORD ? tg_expr_from_name(p->l.now.at, p->l.now.n) : TG_N_EXPRS;
	if (op == TG_N_EXPRS)
		return tg_parse_expected(p, "a scalar operation");
	tg_lex_next(&p->l);
	if (!tg_parse_dtype(p, &t))
		return false;
	n.op = (uint8_t)op;
	n.dtype = (uint8_t)t;
	if (!node_k(s, &n))
		return false;
	for (uint32_t i = 0; i < tg_expr_infos[op].arity; i++)
		if ((i && !tg_parse_punct(p, ',')) || !lettered(p, 't', number, &args[i]))
			return false;
	n.a.id = args[0];
	n.b.id = args[1];
	n.c.id = args[2];
	*TG_PUSH(p->a, &s->nodes) = n;
	return true;
}

static bool parse_reduce(struct stage_parser *s)
{
	struct parser *p = s->p;
	struct tg_reduction r = { .combine = TG_N_COMBINES };
	for (uint8_t i = 0; i < TG_N_COMBINES; i++)
		if (tg_lex_word(&p->l, tg_combine_names[i]))
			r.combine = i;
	if (r.combine == TG_N_COMBINES)
		return tg_parse_expected(p, "sum, prod, max or min");
	tg_lex_next(&p->l);
	if (!lettered(p, 't', (uint32_t)s->nodes.n + 1, &r.value.id))
		return false;
	*TG_PUSH(p->a, &s->reds) = r;
	return true;
}

static bool parse_out(struct stage_parser *s)
{
	struct tg_stage_out o = { 0 };
	if (!map_of(s, &o.map) || !lettered(s->p, 't', (uint32_t)s->nodes.n + 1, &o.value.id))
		return false;
	*TG_PUSH(s->p->a, &s->outs) = o;
	return true;
}

static bool parse_line(struct stage_parser *s)
{
	if (tg_parse_take_word(s->p, "in"))
		return parse_in(s);
	if (tg_parse_take_word(s->p, "reduce"))
		return parse_reduce(s);
	if (tg_parse_take_word(s->p, "out"))
		return parse_out(s);
	return parse_node(s);
}

bool tg_parse_stage(struct parser *p, const struct tg_op *op, struct tg_stage **out)
{
	struct stage_parser s = { .p = p, .op = op };
	if (!tg_parse_punct(p, '{') || !parse_dims(&s))
		return false;
	while (!tg_parse_take(p, '}'))
		if (!parse_line(&s))
			return false;
	*out = tg_alloc(p->a, sizeof **out);
	**out = (struct tg_stage){ (uint32_t)s.dims.n, (uint32_t)s.ins.n, (uint32_t)s.nodes.n, (uint32_t)s.reds.n, (uint32_t)s.outs.n,
				   s.dims.at, s.ins.at, s.nodes.at, s.reds.at, s.outs.at };
	return true;
}
