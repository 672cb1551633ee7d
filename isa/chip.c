/* chip.c: a chip's description from YAML. The keys are isa/chip_keys.def; this file only walks libyaml's events.
 *
 * A chip file is a mapping of mappings of scalars. The text is untrusted: at most 64 KiB, nesting checked before libyaml sees the text
 * (its scanner is quadratic in flow depth), no aliases, anchors or tags, every key once. Errors carry file, line and column. */
#include "isa_int.h"

#include <string.h>
#include <yaml.h>

#define MAX_TEXT_BYTES 65536
#define MAX_DEPTH 4
#define MAX_PATH 96

enum kind { KIND_NAME, KIND_U32, KIND_U64, KIND_POW2, KIND_RATE, KIND_REAL };
struct key {
	const char *path, *doc;
	enum kind kind;
	size_t offset; /* of the value, or of the numerator */
	uint64_t low, high;
};

#define rate rate_num
static const struct key keys[] = {
#define KEY(path, kind, field, low, high, doc) {path, doc, KIND_##kind, offsetof(struct tg_chip, field), low, high},
#include "chip_keys.def"
};
#undef rate
#define N_KEYS TG_ARRAY_LEN(keys)

static const struct {
	const char *name, *text;
	size_t n;
} builtin[] = {
#include "isa_chips.inc"
};
#define N_BUILTIN TG_ARRAY_LEN(builtin)

/* ---- values ---- */

static uint32_t *u32_at(struct tg_chip *c, size_t offset)
{
	return (uint32_t *)(void *)((char *)c + offset);
}

/* The denominator of a rate lies in rate_den at the place that its numerator has in rate_num. */
static uint32_t *den_at(struct tg_chip *c, size_t offset)
{
	return u32_at(c, offset - offsetof(struct tg_chip, rate_num) + offsetof(struct tg_chip, rate_den));
}

static bool digits(const char **p, uint64_t *v)
{
	if (**p < '0' || **p > '9')
		return false;
	*v = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		if (*v > UINT64_C(100000000000000000))
			return false;
		*v = *v * 10 + (uint64_t)(**p - '0');
	}
	return true;
}

static bool whole(const char *s, uint64_t *v)
{
	static const struct { const char *unit; unsigned shift; } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
	if (!digits(&s, v))
		return false;
	while (*s == ' ')
		s++;
	for (size_t i = 0; i < TG_ARRAY_LEN(units); i++) {
		if (strcmp(s, units[i].unit) == 0 && *v <= UINT64_C(1) << 40) {
			*v <<= units[i].shift;
			return true;
		}
	}
	return false;
}

/* Up to 9 digits and 6 places: numerator and power of ten are exact, so the one division rounds correctly on every host. */
static bool real(const char *s, double *v)
{
	uint64_t n, scale = 1;
	if (!digits(&s, &n) || n > 999999999)
		return false;
	if (*s == '.') {
		s++;
		for (int places = 0; *s >= '0' && *s <= '9'; s++, places++) {
			if (places == 6)
				return false;
			n = n * 10 + (uint64_t)(*s - '0');
			scale *= 10;
		}
		if (scale == 1)
			return false;
	}
	*v = (double)n / (double)scale;
	return *s == 0;
}

static bool rate_of(const char *s, uint64_t *num, uint64_t *den)
{
	*den = 1;
	if (!digits(&s, num))
		return false;
	if (*s == '/') {
		s++;
		if (!digits(&s, den))
			return false;
	}
	return *s == 0;
}

static bool good_name(const char *s, const struct key *k)
{
	size_t n = strlen(s);
	return n >= k->low && n <= k->high && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

static bool set_value(struct tg_diag *d, struct tg_arena *a, struct tg_loc loc, const struct key *k, const char *s, struct tg_chip *c)
{
	uint64_t v = 0, den = 1;
	double r = 0;
	switch (k->kind) {
	case KIND_NAME:
		if (!good_name(s, k))
			return tg_error(d, loc, "%s: found %s, expected %s", k->path, tg_quoted(a, s), k->doc);
		c->name = tg_strdup(a, s);
		return true;
	case KIND_REAL:
		if (!real(s, &r) || r > (double)k->high)
			return tg_error(d, loc, "%s: found %s, expected a number of at most 6 places, 0 .. %llu", k->path, tg_quoted(a, s),
					(unsigned long long)k->high);
		*(double *)(void *)((char *)c + k->offset) = r;
		return true;
	case KIND_RATE:
		if (!rate_of(s, &v, &den) || v > k->high || den < 1 || den > k->high)
			return tg_error(d, loc, "%s: found %s, expected a whole number or a fraction of numbers up to %llu", k->path,
					tg_quoted(a, s), (unsigned long long)k->high);
		*u32_at(c, k->offset) = (uint32_t)v;
		*den_at(c, k->offset) = (uint32_t)den;
		return true;
	default:
		break;
	}
	if (!whole(s, &v) || v < k->low || v > k->high)
		return tg_error(d, loc, "%s: found %s, expected a whole number %llu .. %llu", k->path, tg_quoted(a, s), (unsigned long long)k->low,
				(unsigned long long)k->high);
	if (k->kind == KIND_POW2 && (v & (v - 1)) != 0)
		return tg_error(d, loc, "%s: found %llu, expected a power of two", k->path, (unsigned long long)v);
	if (k->kind == KIND_U64)
		*(uint64_t *)(void *)((char *)c + k->offset) = v;
	else
		*u32_at(c, k->offset) = (uint32_t)v;
	return true;
}

/* ---- relations between values ---- */

static bool check_chip(struct tg_diag *d, struct tg_loc loc, const struct tg_chip *c)
{
	struct slot_map m;
	slot_map_of(c, &m);
	if (m.n > 64)
		return tg_error(d, loc, "the slots of a bundle add up to %u, at most 64 fit its header", m.n);
	if (c->sublanes > c->lanes)
		return tg_error(d, loc, "sublanes is %u, expected at most lanes (%u)", c->sublanes, c->lanes);
	if (c->n_transcendental > c->n_alu)
		return tg_error(d, loc, "slots.transcendental is %u, expected at most slots.alu (%u)", c->n_transcendental, c->n_alu);
	if (c->array_rows > c->lanes || c->array_rows % c->sublanes)
		return tg_error(d, loc, "array.rows is %u, expected a multiple of sublanes (%u), at most lanes (%u)", c->array_rows, c->sublanes, c->lanes);
	if (c->array_cols > c->lanes || c->array_cols % c->sublanes)
		return tg_error(d, loc, "array.columns is %u, expected a multiple of sublanes (%u), at most lanes (%u)", c->array_cols, c->sublanes, c->lanes);
	if (c->sram_bytes % 64)
		return tg_error(d, loc, "sram_bytes is %llu, expected a multiple of 64", (unsigned long long)c->sram_bytes);
	if (c->dram_bytes % 65536)
		return tg_error(d, loc, "dram.bytes is %llu, expected a multiple of 65536", (unsigned long long)c->dram_bytes);
	if (c->ibuf_bytes % 512)
		return tg_error(d, loc, "instruction_buffer_bytes is %u, expected a multiple of 512", c->ibuf_bytes);
	return true;
}

/* ---- events ---- */

struct reader {
	struct tg_diag *d;
	struct tg_arena *arena;
	const char *file;
	struct tg_chip *chip;
	struct tg_loc seen[N_KEYS]; /* line 0: not yet */
	char path[MAX_PATH];        /* of the mapping we are in, with a dot at its end */
	size_t cut[MAX_DEPTH];      /* lengths of the path at the enclosing mappings */
	unsigned depth;
	char word[MAX_PATH]; /* the key whose value comes next; "" when a key is expected */
};

static struct tg_loc at_mark(const struct reader *r, yaml_mark_t m)
{
	return tg_at_line(r->file, (uint32_t)m.line + 1, (uint32_t)m.column + 1);
}

static bool add_word(struct reader *r, struct tg_loc loc, const char *word, size_t n)
{
	if (memchr(word, 0, n) || n == 0 || n + strlen(r->path) + 2 > MAX_PATH)
		return tg_error(r->d, loc, "unknown key");
	memcpy(r->word, word, n);
	r->word[n] = 0;
	return true;
}

static bool is_group(const char *prefix)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strncmp(keys[i].path, prefix, strlen(prefix)) == 0)
			return true;
	}
	return false;
}

static bool on_map(struct reader *r, struct tg_loc loc)
{
	if (r->depth == 0) {
		r->depth = 1;
		return true;
	}
	if (r->word[0] == 0)
		return tg_error(r->d, loc, "found a mapping, expected a key");
	size_t n = strlen(r->path);
	char longer[2 * MAX_PATH + 2];
	snprintf(longer, sizeof longer, "%s%s.", r->path, r->word);
	if (r->depth >= MAX_DEPTH || strlen(longer) >= MAX_PATH || !is_group(longer))
		return tg_error(r->d, loc, "unknown group of keys %s", tg_quoted(r->arena, r->word));
	r->cut[r->depth++] = n;
	memcpy(r->path, longer, strlen(longer) + 1);
	r->word[0] = 0;
	return true;
}

static bool on_scalar(struct reader *r, struct tg_loc loc, const char *text, size_t n)
{
	if (r->depth == 0)
		return tg_error(r->d, loc, "found text, expected a mapping of keys");
	if (r->word[0] == 0)
		return add_word(r, loc, text, n);
	char full[2 * MAX_PATH];
	snprintf(full, sizeof full, "%s%s", r->path, r->word);
	r->word[0] = 0;
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].path, full) != 0)
			continue;
		if (r->seen[i].line)
			return tg_error(r->d, loc, "%s: found twice, first in line %u", full, r->seen[i].line);
		r->seen[i] = loc;
		if (memchr(text, 0, n))
			return tg_error(r->d, loc, "%s: the value holds a NUL", full);
		return set_value(r->d, r->arena, loc, &keys[i], tg_strndup(r->arena, text, n), r->chip);
	}
	return tg_error(r->d, loc, "unknown key %s", tg_quoted(r->arena, full));
}

static void on_map_end(struct reader *r)
{
	r->depth--;
	r->path[r->depth ? r->cut[r->depth] : 0] = 0;
}

static bool on_event(struct reader *r, const yaml_event_t *e)
{
	struct tg_loc loc = at_mark(r, e->start_mark);
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		if (e->data.scalar.anchor || e->data.scalar.tag)
			return tg_error(r->d, loc, "found an anchor or a tag, expected plain text");
		return on_scalar(r, loc, (const char *)e->data.scalar.value, e->data.scalar.length);
	case YAML_MAPPING_START_EVENT:
		if (e->data.mapping_start.anchor || e->data.mapping_start.tag)
			return tg_error(r->d, loc, "found an anchor or a tag, expected a plain mapping");
		return on_map(r, loc);
	case YAML_MAPPING_END_EVENT:
		on_map_end(r);
		return true;
	case YAML_SEQUENCE_START_EVENT:
		return tg_error(r->d, loc, "found a list, expected a mapping or a value");
	case YAML_ALIAS_EVENT:
		return tg_error(r->d, loc, "found an alias, expected a value");
	default:
		return true;
	}
}

/* libyaml's scanner takes quadratic time in the depth of brackets and of indentation: count both first, generously. */
static bool too_deep(const char *text, size_t n, uint32_t *line)
{
	unsigned depth = 0;
	size_t indent = 0, dashes = 0;
	bool at_start = true;
	*line = 1;
	for (size_t i = 0; i < n; i++) {
		char ch = text[i];
		if (ch == '\n') {
			(*line)++;
			indent = 0;
			dashes = 0;
			at_start = true;
			continue;
		}
		if (at_start && (ch == ' ' || ch == '\t' || ch == '-' || ch == '?' || ch == ':')) {
			indent++;
			dashes += ch != ' ';
		} else {
			at_start = false;
		}
		depth += ch == '[' || ch == '{';
		depth -= depth > 0 && (ch == ']' || ch == '}');
		if (depth > 16 || indent > 256 || dashes > 16)
			return true;
	}
	return false;
}

struct events { yaml_parser_t parser; yaml_event_t event; bool open, has_event; };

static void drop_event(struct events *v)
{
	if (v->has_event)
		yaml_event_delete(&v->event);
	v->has_event = false;
}

static void end_events(void *user)
{
	struct events *v = user;
	drop_event(v);
	if (v->open)
		yaml_parser_delete(&v->parser);
	v->open = false;
}

static bool read_events(struct reader *r, const char *text, size_t n)
{
	struct events *v = tg_alloc(r->arena, sizeof *v);
	tg_arena_cleanup(r->arena, end_events, v);
	if (!yaml_parser_initialize(&v->parser))
		tg_heap_exhausted(tg_arena_heap(r->arena));
	v->open = true;
	yaml_parser_set_input_string(&v->parser, (const unsigned char *)text, n);
	bool ok = true, more = true;
	unsigned documents = 0;
	while (ok && more) {
		if (!yaml_parser_parse(&v->parser, &v->event)) {
			if (v->parser.error == YAML_MEMORY_ERROR)
				tg_heap_exhausted(tg_arena_heap(r->arena));
			ok = tg_error(r->d, at_mark(r, v->parser.problem_mark), "not YAML: %s", v->parser.problem ? v->parser.problem : "unreadable text");
			break;
		}
		v->has_event = true;
		documents += v->event.type == YAML_DOCUMENT_START_EVENT;
		more = v->event.type != YAML_STREAM_END_EVENT;
		if (documents > 1)
			ok = tg_error(r->d, at_mark(r, v->event.start_mark), "found a second document, expected one");
		else
			ok = on_event(r, &v->event);
		drop_event(v);
	}
	end_events(v);
	return ok;
}

bool tg_chip_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n, struct tg_chip *out)
{
	memset(out, 0, sizeof *out);
	uint32_t line;
	if (n > MAX_TEXT_BYTES)
		return tg_limit(d, tg_at_file(path), "the chip's text has %zu bytes, at most %d are read", n, MAX_TEXT_BYTES);
	if (too_deep(text, n, &line))
		return tg_error(d, tg_at_line(path, line, 1), "nested too deeply, expected at most %d levels", MAX_DEPTH);
	struct reader *r = tg_alloc(a, sizeof *r);
	*r = (struct reader){.d = d, .arena = a, .file = path, .chip = out};
	if (!read_events(r, text, n))
		return false;
	bool ok = true;
	for (size_t i = 0; i < N_KEYS; i++) {
		if (!r->seen[i].line)
			ok = tg_error(d, tg_at_file(path), "key '%s' is missing: %s", keys[i].path, keys[i].doc);
	}
	return ok && check_chip(d, tg_at_file(path), out);
}

bool tg_chip_load(struct tg_diag *d, struct tg_arena *a, const char *name_or_path, struct tg_chip *out)
{
	size_t len = strlen(name_or_path);
	bool is_path = strchr(name_or_path, '/') || (len > 5 && strcmp(name_or_path + len - 5, ".yaml") == 0);
	for (size_t i = 0; i < N_BUILTIN && !is_path; i++) {
		if (strcmp(builtin[i].name, name_or_path) == 0)
			return tg_chip_parse(d, a, tg_asprintf(a, "%s.yaml", builtin[i].name), builtin[i].text, builtin[i].n, out);
	}
	if (!is_path) {
		tg_usage(d, TG_NOWHERE, "no chip is named %s", tg_quoted(a, name_or_path));
		struct tg_buf names;
		tg_buf_init(&names, a);
		for (size_t i = 0; i < N_BUILTIN; i++)
			tg_buf_printf(&names, "%s%s", i ? ", " : "", builtin[i].name);
		tg_help(d, "built-in chips: %s; or give the path of a YAML file", names.at);
		return false;
	}
	struct tg_file f;
	if (!tg_file_map(d, a, name_or_path, MAX_TEXT_BYTES, &f))
		return false;
	bool ok = tg_chip_parse(d, a, name_or_path, (const char *)f.at, f.n, out);
	tg_file_unmap(&f);
	return ok;
}

const char *const *tg_chip_names(void)
{
	static const char *const names[] = {
#include "isa_chip_names.inc"
		NULL,
	};
	return names;
}

/* ---- printing ---- */

static void print_real(struct tg_buf *b, double v)
{
	uint64_t micro = (uint64_t)(v * 1e6 + 0.5);
	tg_buf_printf(b, "%llu", (unsigned long long)(micro / 1000000));
	micro %= 1000000;
	if (micro == 0)
		return;
	char frac[8];
	snprintf(frac, sizeof frac, "%06u", (unsigned)micro);
	size_t n = 6;
	while (frac[n - 1] == '0')
		frac[--n] = 0;
	tg_buf_printf(b, ".%s", frac);
}

static void print_value(struct tg_buf *b, const struct key *k, const struct tg_chip *c)
{
	struct tg_chip copy = *c;
	switch (k->kind) {
	case KIND_NAME:
		tg_buf_puts(b, c->name);
		break;
	case KIND_U64:
		tg_buf_printf(b, "%llu", (unsigned long long)*(uint64_t *)(void *)((char *)&copy + k->offset));
		break;
	case KIND_REAL:
		print_real(b, *(double *)(void *)((char *)&copy + k->offset));
		break;
	case KIND_RATE:
		tg_buf_printf(b, "%u/%u", *u32_at(&copy, k->offset), *den_at(&copy, k->offset));
		break;
	default:
		tg_buf_printf(b, "%u", *u32_at(&copy, k->offset));
	}
}

const char *tg_chip_print(struct tg_arena *a, const struct tg_chip *c)
{
	struct tg_buf b;
	tg_buf_init(&b, a);
	const char *before = "";
	for (size_t i = 0; i < N_KEYS; i++) {
		const char *p = keys[i].path;
		size_t same = 0; /* length of the dotted prefix shared with the key before */
		for (size_t k = 0; p[k] && p[k] == before[k]; k++) {
			if (p[k] == '.')
				same = k + 1;
		}
		unsigned depth = 0;
		for (size_t k = 0; k < same; k++)
			depth += p[k] == '.';
		const char *part = p + same;
		for (const char *dot = strchr(part, '.'); dot; part = dot + 1, dot = strchr(part, '.'), depth++)
			tg_buf_printf(&b, "%*s%.*s:\n", (int)(2 * depth), "", (int)(dot - part), part);
		tg_buf_printf(&b, "%*s%s: ", (int)(2 * depth), "", part);
		print_value(&b, &keys[i], c);
		tg_buf_puts(&b, "\n");
		before = p;
	}
	return b.at;
}
