/* chip_random.c: chips at random, so that nothing learns the numbers of the built-in ones.
 *
 * Every key is drawn from the range of its row, evenly on a logarithmic scale; relations between keys (isa/chip.c checks them) are kept by drawing again. What a
 * random chip must not be is in the table below: a DRAM or SRAM far beyond any host's patience, or latencies that only make tests slow. */
#include "chip_random.h"

#include <math.h>
#include <string.h>

enum { MAX_TRIES = 20000 };

struct row { const char *path, *kind; double low, high; };
static const struct row rows[] = {
#define KEY(path, kind, field, low, high, doc) { path, #kind, (double)(low), (double)(high) },
#include "chip_keys.def"
};

/* Narrower than the row: whole prefixes of paths. */
static const struct { const char *prefix; double low, high; } narrower[] = {
	{ "sram_bytes", 65536, 1 << 26 },
	{ "dram.bytes", 0x1p31, 0x1p36 }, /* only the first of the keys that begin so: see bounds() */
	{ "dram.latency", 1, 2000 },
	{ "latency.", 1, 64 },
	{ "array.accumulator_rows", 64, 8192 },
	{ "dram.bytes_per_cycle", 4, 4096 },
};

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014) */
static uint64_t next(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void bounds(const struct row *k, double *low, double *high)
{
	*low = k->low;
	*high = k->high;
	for (size_t i = 0; i < TG_ARRAY_LEN(narrower); i++) {
		size_t n = strlen(narrower[i].prefix);
		if (narrower[i].prefix[n - 1] == '.' ? strncmp(k->path, narrower[i].prefix, n) != 0 : strcmp(k->path, narrower[i].prefix) != 0)
			continue;
		*low = fmax(*low, narrower[i].low);
		*high = fmin(*high, narrower[i].high);
	}
}

/* Evenly on a logarithmic scale in [low, high]; 0 counts as one more step below 1. */
static uint64_t draw(uint64_t *s, double low, double high)
{
	double u = (double)(next(s) >> 11) * 0x1p-53, from = log2(fmax(low, 1) - (low < 1 ? 0.5 : 0)), v = floor(exp2(from + u * (log2(high + 1) - from)));
	return (uint64_t)fmin(fmax(v, low), high);
}

static uint64_t multiple(uint64_t v, uint64_t of, double high)
{
	v = (v + of / 2) / of * of;
	return v == 0 ? of : (double)v > high ? v - of : v;
}

/* Keys whose values are whole multiples of something (isa/chip.c says so). */
static uint64_t rounded(const char *path, uint64_t v, uint32_t sublanes, double high)
{
	if (strcmp(path, "sram_bytes") == 0)
		return multiple(v, 64, high);
	if (strcmp(path, "dram.bytes") == 0)
		return multiple(v, 65536, high);
	if (strcmp(path, "instruction_buffer_bytes") == 0)
		return multiple(v, 512, high);
	if (strcmp(path, "array.rows") == 0 || strcmp(path, "array.columns") == 0)
		return multiple(v, sublanes, high);
	return v;
}

static void add_value(struct tg_buf *b, uint64_t *s, const struct row *k, uint64_t seed, uint32_t *sublanes)
{
	double low, high;
	bounds(k, &low, &high);
	if (strcmp(k->kind, "NAME") == 0) {
		tg_buf_printf(b, "random-%llu", (unsigned long long)(seed % 1000000000));
	} else if (strcmp(k->kind, "REAL") == 0) {
		tg_buf_printf(b, "%llu.%02llu", (unsigned long long)draw(s, low, fmin(high, 1000)), (unsigned long long)(next(s) % 100));
	} else if (strcmp(k->kind, "RATE") == 0) {
		uint64_t how = next(s) % 4; /* f32 may not be missing: it is what everything else falls back to */
		if (how == 0 && strcmp(k->path, "array.rate.f32") != 0)
			tg_buf_puts(b, "0");
		else
			tg_buf_printf(b, how == 1 ? "1/%llu" : "%llu", (unsigned long long)draw(s, 1, how == 1 ? 8 : 4));
	} else if (strcmp(k->kind, "POW2") == 0) {
		uint64_t v = 1;
		while (v * 2 <= draw(s, low, high))
			v *= 2;
		v = (double)v < low ? (uint64_t)low : v;
		if (strcmp(k->path, "sublanes") == 0)
			*sublanes = (uint32_t)v;
		tg_buf_printf(b, "%llu", (unsigned long long)v);
	} else {
		tg_buf_printf(b, "%llu", (unsigned long long)rounded(k->path, draw(s, low, high), *sublanes, high));
	}
}

/* Groups of keys as nested mappings, in the rows' order. */
static void add_path(struct tg_buf *b, const char *path, const char *before)
{
	const char *dot = strrchr(path, '.');
	size_t same = 0;
	for (size_t k = 0; path[k] && path[k] == before[k]; k++)
		if (path[k] == '.')
			same = k + 1;
	unsigned depth = 0;
	for (size_t k = 0; k < same; k++)
		depth += path[k] == '.';
	const char *part = path + same;
	for (const char *next_dot; dot && part <= dot && (next_dot = strchr(part, '.')); part = next_dot + 1, depth++)
		tg_buf_printf(b, "%*s%.*s:\n", (int)(2 * depth), "", (int)(next_dot - part), part);
	tg_buf_printf(b, "%*s%s: ", (int)(2 * depth), "", part);
}

const char *chip_random(struct tg_diag *d, struct tg_arena *a, uint64_t seed)
{
	uint64_t s = seed ^ UINT64_C(0xc41b5);
	for (int i = 0; i < MAX_TRIES; i++) {
		struct tg_arena *scratch = tg_arena_new(tg_arena_heap(a));
		struct tg_buf b;
		struct tg_diag own;
		struct tg_chip c;
		const char *before = "", *text = NULL;
		uint32_t sublanes = 4;
		tg_buf_init(&b, scratch);
		tg_diag_init(&own, scratch);
		for (size_t k = 0; k < TG_ARRAY_LEN(rows); k++) {
			add_path(&b, rows[k].path, before);
			add_value(&b, &s, &rows[k], seed, &sublanes);
			tg_buf_puts(&b, "\n");
			before = rows[k].path;
		}
		if (tg_chip_parse(&own, scratch, "random chip", b.at, b.n, &c))
			text = tg_strndup(a, b.at, b.n);
		tg_arena_free(scratch);
		if (text)
			return text;
	}
	tg_internal(d, TG_NOWHERE, "no random chip in %d tries", MAX_TRIES);
	return NULL;
}
