/* asm_directive.c: the lines that are no code: data, descriptors, bindings, steps, provenance. The table at the end is the list. */
#include "asm.h"

#include <string.h>

static struct tg_segment *new_segment(struct as *s, int64_t at, size_t bytes)
{
	struct tg_segment *g = TG_PUSH(s->arena, &s->x->segments);
	*g = (struct tg_segment){.dram = (uint64_t)at, .bytes = bytes};
	return g;
}

static bool dtype(struct as *s, enum tg_dtype *t)
{
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	const char *w = tg_as_word(s, &n);
	*t = tg_dtype_from_name(w, n);
	return (*t != TG_none && tg_dtypes[*t].bits) || tg_error(s->d, loc, "found %s, expected a type", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
}

/* A decimal: digits, point, digits; parsed here so that the process's locale does not matter. Exact up to 15 digits. */
static bool decimal(const char *t, size_t n, double *v)
{
	bool minus = n && t[0] == '-';
	double num = 0, scale = 1;
	bool point = false;
	size_t seen = 0;
	for (size_t i = minus; i < n; i++) {
		if (t[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (t[i] < '0' || t[i] > '9' || ++seen > 15)
			return false;
		num = num * 10 + (t[i] - '0');
		scale *= point ? 10 : 1;
	}
	*v = minus ? -(num / scale) : num / scale;
	return seen > 0;
}

/* .data OFFSET TYPE value, value ...: decimals for float types, 0x... for their bits */
static bool do_data(struct as *s)
{
	int64_t at, i64;
	enum tg_dtype t;
	double f;
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	if (!tg_as_number_up_to(s, INT64_MAX, &at) || !dtype(s, &t))
		return false;
	unsigned bits = tg_dtypes[t].bits;
	if (bits < 8 || bits > 64)
		return tg_error(s->d, tg_as_here(s), "type %s cannot be written element by element", tg_dtypes[t].name);
	do {
		struct tg_loc loc = tg_as_here(s);
		uint8_t raw[8] = {0};
		size_t n;
		const char *w = tg_as_word(s, &n);
		bool bits_given = n > 2 && w[0] == '0' && (w[1] | 32) == 'x';
		if (tg_is_float(t) && !bits_given && decimal(w, n, &f))
			tg_put_f64(t, raw, 0, f);
		else if (tg_as_number_at(w, n, &i64))
			memcpy(raw, &i64, 8);
		else
			return tg_error(s->d, loc, "found %s, expected a value", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
		tg_buf_add(&b, raw, bits / 8);
	} while (tg_as_take(s, ','));
	new_segment(s, at, b.n)->data = b.at;
	return true;
}

/* .hex OFFSET "0123ab..." */
static bool do_hex(struct as *s)
{
	int64_t at;
	const char *t;
	struct tg_buf b;
	tg_buf_init(&b, s->arena);
	if (!tg_as_number_up_to(s, INT64_MAX, &at) || !tg_as_text(s, &t))
		return false;
	for (; t[0]; t += 2) {
		if (tg_as_hex_digit(t[0]) < 0 || tg_as_hex_digit(t[1]) < 0)
			return tg_error(s->d, tg_as_here(s), "expected pairs of hexadecimal digits");
		char c = (char)(tg_as_hex_digit(t[0]) * 16 + tg_as_hex_digit(t[1]));
		tg_buf_add(&b, &c, 1);
	}
	/* lines that follow on are one segment */
	struct tg_segment *last = s->x->segments.n ? &s->x->segments.at[s->x->segments.n - 1] : NULL;
	if (last && last->data && last->dram + last->bytes == (uint64_t)at && last->bytes % 64 == 0 && b.n) {
		uint8_t *joined = tg_grow(s->arena, last->data, last->bytes, last->bytes + b.n);
		memcpy(joined + last->bytes, b.at, b.n);
		last->data = joined;
		last->bytes += b.n;
		return true;
	}
	new_segment(s, at, b.n)->data = b.n ? b.at : "";
	return true;
}

/* .fill OFFSET BYTES ELEMENT_BYTES VALUE */
static bool do_fill(struct as *s)
{
	int64_t at, bytes, each, v;
	if (!tg_as_number_up_to(s, INT64_MAX, &at) || !tg_as_number_up_to(s, INT64_MAX, &bytes) || !tg_as_number_up_to(s, 8, &each) || !tg_as_number(s, &v))
		return false;
	if (each != 1 && each != 2 && each != 4 && each != 8)
		return tg_error(s->d, tg_as_here(s), "elements of %lld bytes, expected 1, 2, 4 or 8", (long long)each);
	struct tg_segment *g = new_segment(s, at, (size_t)bytes);
	g->fill = (uint64_t)v;
	g->fill_bytes = (uint32_t)each;
	return true;
}

static bool one_key(struct as *s, const char *key, size_t n, struct tg_dma_desc *d)
{
	int64_t v;
#define ONE(name, field)                                                                                                                             \
	if (n == strlen(#name) && memcmp(key, #name, n) == 0) {                                                                                      \
		if (!tg_as_number(s, &v))                                                                                                                  \
			return false;                                                                                                                \
		d->field = (__typeof__(d->field))v;                                                                                                  \
		return true;                                                                                                                         \
	}
#define FOUR(name, field)                                                                                                                            \
	if (n == strlen(#name) && memcmp(key, #name, n) == 0) {                                                                                      \
		for (int k = 0; k < 4; k++) {                                                                                                        \
			if ((k && !tg_as_take(s, ':')) || !tg_as_number(s, &d->field[k]))                                                                        \
				return tg_error(s->d, tg_as_here(s), "expected four numbers joined by ':'");                                               \
		}                                                                                                                                    \
		return true;                                                                                                                         \
	}
#include "desc_keys.def"
	return tg_error(s->d, tg_as_here(s), "unknown descriptor key %s", tg_quoted(s->arena, tg_strndup(s->arena, key, n)));
}

/* .desc OFFSET key=value ...: a DMA descriptor in DRAM data; sizes default to 1 and hi to the sizes */
static bool do_desc(struct as *s)
{
	int64_t at;
	if (!tg_as_number_up_to(s, INT64_MAX, &at))
		return false;
	struct tg_dma_desc *d = tg_alloc(s->arena, sizeof *d);
	*d = (struct tg_dma_desc){.size = {1, 1, 1, 1}, .hi = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}};
	while (!tg_as_at_end(s)) {
		size_t n;
		const char *key = tg_as_word(s, &n);
		if (!tg_as_take(s, '='))
			return tg_error(s->d, tg_as_here(s), "expected key=value");
		if (!one_key(s, key, n, d))
			return false;
	}
	for (int k = 0; k < 4; k++)
		d->hi[k] = d->hi[k] == INT64_MAX ? d->size[k] : d->hi[k];
	new_segment(s, at, sizeof *d)->data = d;
	return true;
}

static bool shape(struct as *s, struct tg_shape *out)
{
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	const char *w = tg_as_word(s, &n);
	memset(out, 0, sizeof *out);
	if (n == 6 && memcmp(w, "scalar", 6) == 0)
		return true;
	for (size_t i = 0; i < n;) {
		size_t k = i;
		while (k < n && w[k] != 'x')
			k++;
		if (out->rank == TG_MAX_RANK || !tg_as_number_at(w + i, k - i, &out->dim[out->rank++]))
			return tg_error(s->d, loc, "found %s, expected dimensions like 2x3", tg_quoted(s->arena, tg_strndup(s->arena, w, n)));
		i = k + 1;
	}
	int64_t count;
	return (n && tg_shape_count(out, &count)) || tg_error(s->d, loc, "expected dimensions like 2x3");
}

/* NAME TYPE DIMS OFFSET; a name that is not a word is quoted */
static bool binding(struct as *s, struct tg_binding *b)
{
	enum tg_dtype t;
	int64_t at;
	size_t n;
	memset(b, 0, sizeof *b);
	tg_as_blanks(s);
	if (s->p < s->end && *s->p == '"') {
		if (!tg_as_text(s, &b->name))
			return false;
	} else {
		const char *w = tg_as_word(s, &n);
		b->name = tg_strndup(s->arena, w, n);
	}
	if (!dtype(s, &t) || !shape(s, &b->shape) || !tg_as_number_up_to(s, INT64_MAX, &at))
		return false;
	b->dtype = (uint8_t)t;
	b->dram = (uint64_t)at;
	return true;
}

static bool do_input(struct as *s)
{
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	*TG_PUSH(s->arena, &s->x->inputs) = b;
	return true;
}

static bool do_output(struct as *s)
{
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	*TG_PUSH(s->arena, &s->x->outputs) = b;
	return true;
}

/* .prov "text": of the bundles that follow; equal texts are one set */
static bool do_prov(struct as *s)
{
	const char *t;
	if (!tg_as_text(s, &t))
		return false;
	for (size_t i = 0; i < s->x->provs.n; i++) {
		if (strcmp(s->x->provs.at[i], t) == 0) {
			s->prov = (uint32_t)i;
			return true;
		}
	}
	s->prov = (uint32_t)s->x->provs.n;
	*TG_PUSH(s->arena, &s->x->provs) = t;
	return true;
}

static bool do_noprov(struct as *s)
{
	s->prov = UINT32_MAX;
	return true;
}

static bool do_birth(struct as *s)
{
	int64_t at, bytes;
	if (!tg_as_number_up_to(s, INT64_MAX, &at) || !tg_as_number_up_to(s, INT64_MAX, &bytes))
		return false;
	*TG_PUSH(s->arena, &s->x->births) = (struct tg_birth){.word = (uint32_t)s->code.n, .sram = (uint64_t)at, .bytes = (uint64_t)bytes};
	return true;
}

/* .predicted CYCLES: of the stage that begins at the next bundle */
static bool do_predicted(struct as *s)
{
	int64_t v;
	if (!tg_as_number_up_to(s, INT64_MAX, &v))
		return false;
	*TG_PUSH(s->arena, &s->x->predictions) = (struct tg_prediction){.word = (uint32_t)s->code.n, .cycles = (uint64_t)v};
	return true;
}

/* .pipeline INTERVAL LEAST STAGES COPIES TRIPS: the software pipeline that begins at the next bundle */
static bool do_pipeline(struct as *s)
{
	int64_t v[5];
	for (int i = 0; i < 5; i++)
		if (!tg_as_number_up_to(s, i == 4 ? INT64_MAX : INT32_MAX, &v[i]))
			return false;
	*TG_PUSH(s->arena, &s->x->loops) = (struct tg_loop_note){.word = (uint32_t)s->code.n, .interval = (uint32_t)v[0], .least = (uint32_t)v[1], .stages = (uint32_t)v[2],
								   .copies = (uint32_t)v[3], .trips = (uint64_t)v[4]};
	return true;
}

/* A code position: a word index or a label that may come later. */
static bool position(struct as *s, uint32_t *now, int kind, size_t at)
{
	struct tg_loc loc = tg_as_here(s);
	size_t n;
	int64_t v;
	const char *w = tg_as_word(s, &n);
	if (tg_as_number_at(w, n, &v)) {
		if (v < 0 || v > INT32_MAX)
			return tg_error(s->d, loc, "no such word of code");
		*now = (uint32_t)v;
		return true;
	}
	if (n == 0)
		return tg_error(s->d, loc, "expected a label or a word index");
	struct pending *r = TG_PUSH(s->arena, &s->refs);
	*r = (struct pending){.name = tg_strndup(s->arena, w, n), .line = loc.line, .column = loc.column, .word = UINT32_MAX, .at = at};
	r->kind = kind == REF_STEP ? REF_STEP : kind == REF_BUFFER_FIRST ? REF_BUFFER_FIRST : REF_BUFFER_END;
	return true;
}

static bool do_buffer(struct as *s)
{
	struct tg_sram_buffer b = {0};
	int64_t at, bytes;
	if (!tg_as_text(s, &b.name) || !tg_as_number_up_to(s, INT64_MAX, &at) || !tg_as_number_up_to(s, INT64_MAX, &bytes))
		return false;
	b.sram = (uint64_t)at;
	b.bytes = (uint64_t)bytes;
	size_t index = s->x->buffers.n;
	if (!position(s, &b.first_word, REF_BUFFER_FIRST, index) || !position(s, &b.end_word, REF_BUFFER_END, index))
		return false;
	*TG_PUSH(s->arena, &s->x->buffers) = b;
	return true;
}

static bool do_step(struct as *s)
{
	struct tg_step step = {0};
	step.text = step.reason = "";
	size_t index = s->x->steps.n;
	if (!position(s, &step.entry_word, REF_STEP, index))
		return false;
	*TG_PUSH(s->arena, &s->x->steps) = step;
	return true;
}

/* .host N_IN "reason" "text"; its arguments follow as .arg lines */
static bool do_host(struct as *s)
{
	struct tg_step step = {.on_host = true};
	int64_t n;
	if (!tg_as_number_up_to(s, UINT16_MAX, &n) || !tg_as_text(s, &step.reason) || !tg_as_text(s, &step.text))
		return false;
	step.n_in = (uint32_t)n;
	*TG_PUSH(s->arena, &s->x->steps) = step;
	return true;
}

static bool do_arg(struct as *s)
{
	struct tg_step *t = s->x->steps.n ? &s->x->steps.at[s->x->steps.n - 1] : NULL;
	if (!t || !t->on_host)
		return tg_error(s->d, tg_as_here(s), ".arg without a .host before it");
	struct tg_binding b;
	if (!binding(s, &b))
		return false;
	t->args = tg_grow(s->arena, t->args, t->n_args * sizeof *t->args, (t->n_args + 1) * sizeof *t->args);
	t->args[t->n_args++] = b;
	return true;
}

static bool do_dram_bytes(struct as *s)
{
	int64_t v;
	if (!tg_as_number_up_to(s, (int64_t)s->chip->dram_bytes, &v))
		return false;
	s->x->dram_bytes = (uint64_t)v;
	return true;
}

static bool do_macs(struct as *s)
{
	int64_t v;
	if (!tg_as_number_up_to(s, INT64_MAX, &v))
		return false;
	s->x->macs = (uint64_t)v;
	return true;
}

static bool do_version(struct as *s)
{
	return tg_as_text(s, &s->x->version);
}

static bool do_flags(struct as *s)
{
	return tg_as_text(s, &s->x->flags);
}

static bool do_model(struct as *s)
{
	const char *t;
	if (!tg_as_text(s, &t))
		return false;
	for (size_t i = 0; i < 32; i++) {
		if (tg_as_hex_digit(t[2 * i]) < 0 || tg_as_hex_digit(t[2 * i + 1]) < 0)
			return tg_error(s->d, tg_as_here(s), "expected 64 hexadecimal digits");
		s->x->model_sha256[i] = (uint8_t)(tg_as_hex_digit(t[2 * i]) * 16 + tg_as_hex_digit(t[2 * i + 1]));
	}
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct as *s);
} directives[] = {
	{".data", do_data},   {".hex", do_hex},	      {".fill", do_fill}, {".desc", do_desc}, {".input", do_input},	      {".output", do_output},
	{".prov", do_prov},   {".noprov", do_noprov}, {".birth", do_birth}, {".buffer", do_buffer}, {".step", do_step},		      {".host", do_host},
	{".predicted", do_predicted}, {".pipeline", do_pipeline},
	{".arg", do_arg},     {".macs", do_macs},     {".version", do_version}, {".flags", do_flags}, {".dram_bytes", do_dram_bytes}, {".model_sha256", do_model},
};

bool tg_as_directive(struct as *s, const char *name, size_t n)
{
	struct tg_loc loc = tg_as_here(s);
	for (size_t i = 0; i < TG_ARRAY_LEN(directives); i++) {
		if (strlen(directives[i].name) == n && memcmp(directives[i].name, name, n) == 0) {
			if (!directives[i].run(s))
				return false;
			return tg_as_at_end(s) || tg_error(s->d, tg_as_here(s), "expected the end of the line");
		}
	}
	return tg_error(s->d, loc, "unknown directive %s", tg_quoted(s->arena, tg_strndup(s->arena, name, n)));
}
