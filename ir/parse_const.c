/* parse_const.c: constants in text: decimal elements, hex or base64 bytes, a stretch of a file. Nothing is allocated that the text does not
 * pay for, but for the one element of a splat. */
#include <string.h>

#include "parse_internal.h"

static bool decimals(struct parser *p, enum tg_dtype t, int64_t n, void *data)
{
	if (!tg_parse_punct(p, '['))
		return false;
	for (int64_t i = 0; i < n; i++) {
		int64_t v;
		double f;
		if (i && !tg_parse_punct(p, ','))
			return false;
		if (tg_is_float(t)) {
			if (!tg_parse_f64(p, &f))
				return false;
			tg_put_f64(t, data, (size_t)i, f);
		} else {
			if (!tg_parse_i64(p, &v))
				return false;
			tg_put_i64(t, data, (size_t)i, v);
		}
	}
	return tg_parse_punct(p, ']');
}

static int digit64(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool base64(struct parser *p, struct tg_const *c, size_t bytes)
{
	const struct token *t = &p->l.now;
	if (t->kind != TOK_STRING || t->n != (bytes + 2) / 3 * 4)
		return tg_parse_error(p, "found %zu characters of base64, expected %zu", t->n, (bytes + 2) / 3 * 4);
	uint8_t *out = tg_alloc(p->a, bytes + 16);
	c->data = out;
	for (size_t i = 0, at = 0; i < t->n; i += 4) {
		size_t want = bytes - at < 3 ? bytes - at : 3;
		uint32_t v = 0;
		for (size_t k = 0; k < 4; k++) {
			int digit = k <= want ? digit64(t->at[i + k]) : t->at[i + k] == '=' ? 0 : -1;
			if (digit < 0)
				return tg_parse_error(p, "bad character in base64");
			v = v << 6 | (uint32_t)digit;
		}
		for (size_t k = 0; k < want; k++)
			out[at++] = (uint8_t)(v >> (16 - 8 * k));
	}
	tg_lex_next(&p->l);
	return true;
}

static int nibble(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool hex(struct parser *p, struct tg_const *c, size_t bytes)
{
	const struct token *t = &p->l.now;
	if (t->kind != TOK_STRING || t->n != 2 * bytes)
		return tg_parse_error(p, "found %zu characters of hex, expected %zu", t->n, 2 * bytes);
	uint8_t *out = tg_alloc(p->a, bytes + 16);
	c->data = out;
	for (size_t i = 0; i < bytes; i++) {
		int hi = nibble(t->at[2 * i]), lo = nibble(t->at[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return tg_parse_error(p, "bad character in hex");
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	tg_lex_next(&p->l);
	return true;
}

static bool in_file(struct parser *p, struct tg_const *c, size_t bytes)
{
	uint32_t file;
	uint64_t at;
	if (!tg_parse_u32(p, &file, (uint32_t)p->m->files.n))
		return false;
	if (!tg_parse_take_word(p, "at"))
		return tg_parse_expected(p, "at");
	if (!tg_parse_u64(p, &at))
		return false;
	const struct tg_file *f = &p->m->files.at[file].map;
	if (at > f->n || bytes > f->n - at)
		return tg_parse_error(p, "constant of %zu bytes at %llu lies outside its file of %zu bytes", bytes, (unsigned long long)at, f->n);
	c->file = (int32_t)file;
	c->file_offset = at;
	c->data = f->at + at;
	return true;
}

/* Behind the type. */
static bool contents(struct parser *p, struct tg_const *c)
{
	int64_t n = 1;
	size_t bytes;
	c->kind = tg_parse_take_word(p, "splat") ? TG_CONST_SPLAT : TG_CONST_DENSE;
	if (c->kind == TG_CONST_SPLAT)
		bytes = (tg_dtypes[c->dtype].bits + 7U) / 8;
	else if (!tg_shape_count(&c->shape, &n) || !tg_shape_bytes(&c->shape, c->dtype, &bytes))
		return tg_parse_error(p, "constant is too large");
	if (tg_parse_take_word(p, "file"))
		return in_file(p, c, bytes);
	if (tg_parse_take_word(p, "hex"))
		return hex(p, c, bytes);
	if (tg_parse_take_word(p, "base64"))
		return base64(p, c, bytes);
	if (n > p->l.end - p->l.at) /* an element takes a character at least */
		return tg_parse_error(p, "constant of %lld elements, but the text ends before", (long long)n);
	void *data = tg_alloc(p->a, bytes + 16);
	c->data = data;
	return decimals(p, c->dtype, n, data);
}

static bool type_of(struct parser *p, struct tg_const *c)
{
	c->file = -1;
	if (!tg_parse_type(p, &c->dtype, &c->shape))
		return false;
	if (tg_compute_type(c->dtype) == TG_none)
		return tg_parse_error(p, "constant of type %s, expected a number type or bool", tg_dtypes[c->dtype].name);
	return true;
}

static bool parts(struct parser *p, struct tg_const *c)
{
	TG_VEC(struct tg_const *) list = { 0 };
	struct tg_shape shape = c->shape;
	enum tg_dtype t = c->dtype;
	uint32_t axis;
	if (!tg_parse_u32(p, &axis, TG_MAX_RANK) || !tg_parse_punct(p, '['))
		return false;
	do {
		struct tg_const *part = tg_alloc(p->a, sizeof *part);
		if (!type_of(p, part) || !contents(p, part))
			return false;
		*TG_PUSH(p->a, &list) = part;
	} while (tg_parse_take(p, ','));
	if (!tg_parse_punct(p, ']'))
		return false;
	if (!tg_const_join(c, axis, list.at, (uint32_t)list.n) || c->dtype != t || !tg_shape_equal(&c->shape, &shape))
		return tg_parse_error(p, "parts that do not lie side by side along axis %u of the constant", axis);
	return true;
}

bool tg_parse_const(struct parser *p, struct tg_const **out)
{
	*out = NULL;
	if (tg_parse_take_word(p, "null"))
		return true;
	struct tg_const *c = tg_alloc(p->a, sizeof *c);
	if (!type_of(p, c))
		return false;
	*out = c;
	return tg_parse_take_word(p, "parts") ? parts(p, c) : contents(p, c);
}
