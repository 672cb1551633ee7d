/* alloc.c: `tegula alloc`: SRAM offsets for the buffers of a CSV file, by the allocator that the compiler uses.
 *
 * The first line names the columns: id, lower, upper, size, and if wanted alignment; others are carried along. A buffer lives in [lower, upper). The
 * result has the same lines with the column `offset` behind them (in its place where the input has one). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sram_alloc.h"
#include "tool.h"

#define MAX_CSV_BYTES ((size_t)1 << 30)
#define MAX_COLUMNS 64
#define DEFAULT_NODES 100000000
#define MAX_CAPACITY ((int64_t)1 << 60)

enum column { COL_ID, COL_LOWER, COL_UPPER, COL_SIZE, COL_ALIGNMENT, COL_OFFSET, N_COLUMNS };
static const struct { const char *name; bool needed; } columns[N_COLUMNS] = {
	[COL_ID] = { "id", true },     [COL_LOWER] = { "lower", true },          [COL_UPPER] = { "upper", true },
	[COL_SIZE] = { "size", true }, [COL_ALIGNMENT] = { "alignment", false }, [COL_OFFSET] = { "offset", false },
};
struct cell { const char *at; size_t n; };
struct row { struct cell *cells; uint32_t line; };
struct table {
	const char *path;
	uint32_t n_columns;
	struct cell *names;
	int32_t place[N_COLUMNS]; /* of each known column in the file; -1: absent */
	TG_VEC(struct row) rows;
	TG_VEC(struct tg_sram_item) items;
};

static struct cell trimmed(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	while (end > at && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	return (struct cell){ at, (size_t)(end - at) };
}

/* The cells of one line; 0: more than `max`. */
static uint32_t cut(const char *at, const char *end, struct cell *cells, uint32_t max)
{
	uint32_t n = 0;
	for (;; n++) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		if (n == max)
			return 0;
		cells[n] = trimmed(at, comma ? comma : end);
		if (!comma)
			return n + 1;
		at = comma + 1;
	}
}

static const char *text_of(struct tool *t, struct cell c)
{
	return tg_quoted(t->arena, tg_strndup(t->arena, c.at, c.n < 80 ? c.n : 80));
}

static bool header(struct tool *t, struct table *v, const struct cell *cells, uint32_t n)
{
	struct tg_loc at = tg_at_line(v->path, 1, 0);
	memset(v->place, 0xff, sizeof v->place);
	v->n_columns = n;
	v->names = tg_alloc_n(t->arena, n, sizeof *v->names);
	memcpy(v->names, cells, n * sizeof *cells);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < N_COLUMNS; k++) {
			if (strlen(columns[k].name) != cells[i].n || memcmp(columns[k].name, cells[i].at, cells[i].n) != 0)
				continue;
			if (v->place[k] >= 0)
				return tg_error(&t->diag, at, "the column '%s' comes twice", columns[k].name);
			v->place[k] = (int32_t)i;
		}
	for (uint32_t k = 0; k < N_COLUMNS; k++)
		if (columns[k].needed && v->place[k] < 0)
			return tg_error(&t->diag, at, "there is no column '%s'; expected id, lower, upper, size and if wanted alignment", columns[k].name);
	return true;
}

static bool number(struct tool *t, const struct table *v, const struct row *r, enum column k, int64_t *out)
{
	struct cell c = r->cells[v->place[k]];
	char text[24], *end;
	errno = 0;
	if (c.n && c.n < sizeof text) {
		memcpy(text, c.at, c.n);
		text[c.n] = 0;
		*out = strtoll(text, &end, 10);
		if (!errno && *end == 0 && end == text + c.n)
			return true;
	}
	return tg_error(&t->diag, tg_at_line(v->path, r->line, 0), "%s is '%s', expected a whole number", columns[k].name, text_of(t, c));
}

static bool data_line(struct tool *t, struct table *v, const struct cell *cells, uint32_t n, uint32_t line, int64_t alignment)
{
	struct row r = { tg_alloc_n(t->arena, n + 1u, sizeof *r.cells), line };
	struct tg_sram_item item = { .alignment = alignment };
	if (n != v->n_columns)
		return tg_error(&t->diag, tg_at_line(v->path, line, 0), "the line has %u cells, the first line has %u", n, v->n_columns);
	memcpy(r.cells, cells, n * sizeof *cells);
	if (!number(t, v, &r, COL_LOWER, &item.lower) || !number(t, v, &r, COL_UPPER, &item.upper) || !number(t, v, &r, COL_SIZE, &item.size) ||
	    (v->place[COL_ALIGNMENT] >= 0 && !number(t, v, &r, COL_ALIGNMENT, &item.alignment)))
		return false;
	*TG_PUSH(t->arena, &v->rows) = r;
	*TG_PUSH(t->arena, &v->items) = item;
	return true;
}

static bool read_table(struct tool *t, const struct tg_file *f, int64_t alignment, struct table *v)
{
	const char *at = (const char *)f->at, *end = at + f->n;
	struct cell cells[MAX_COLUMNS];
	size_t bad;
	for (uint32_t line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		struct cell whole = trimmed(at, stop);
		uint32_t n = whole.n || line == 1 ? cut(at, stop, cells, MAX_COLUMNS) : 0;
		if (memchr(at, 0, (size_t)(stop - at)))
			return tg_error(&t->diag, tg_at_line(f->path, line, 0), "the line holds a zero byte, expected text");
		if (whole.n && !n)
			return tg_error(&t->diag, tg_at_line(f->path, line, 0), "the line has more than %d cells", MAX_COLUMNS);
		if (line == 1 ? !header(t, v, cells, n) : whole.n && !data_line(t, v, cells, n, line, alignment))
			return false;
		at = stop + (stop < end);
	}
	if (!v->names)
		return tg_error(&t->diag, tg_at_file(f->path), "the file is empty, expected a line with the names of the columns");
	const char *why = tg_sram_items_valid(v->items.at, v->items.n, &bad);
	return !why || tg_error(&t->diag, tg_at_line(f->path, bad < v->rows.n ? v->rows.at[bad].line : 0, 0), "a buffer is not possible: %s", why);
}

static void print_table(struct tg_buf *b, const struct table *v)
{
	int32_t offset = v->place[COL_OFFSET];
	for (size_t r = 0; r <= v->rows.n; r++) {
		const struct cell *cells = r == 0 ? v->names : v->rows.at[r - 1].cells;
		for (uint32_t i = 0; i < v->n_columns; i++) {
			if (i)
				tg_buf_puts(b, ",");
			if (r > 0 && (int32_t)i == offset)
				tg_buf_printf(b, "%lld", (long long)v->items.at[r - 1].offset);
			else
				tg_buf_add(b, cells[i].at, cells[i].n);
		}
		if (offset < 0 && r == 0)
			tg_buf_puts(b, ",offset");
		else if (offset < 0)
			tg_buf_printf(b, ",%lld", (long long)v->items.at[r - 1].offset);
		tg_buf_puts(b, "\n");
	}
}

static void report(struct tool *t, const struct table *v, const struct tg_sram_options *o, const struct tg_sram_stats *s)
{
	put(t->report, "buffers", json_integer((json_int_t)v->items.n));
	put(t->report, "capacity", json_integer(o->capacity));
	put(t->report, "peak", json_integer(s->peak));
	put(t->report, "lower_bound", json_integer(s->lower_bound));
	put(t->report, "nodes", json_integer((json_int_t)s->nodes));
	put(t->report, "least", json_boolean(s->least));
}

static bool refuse(struct tool *t, const struct table *v, enum tg_sram_result r, const struct tg_sram_options *o, const struct tg_sram_stats *s)
{
	if (s->lower_bound > o->capacity)
		return tg_limit(&t->diag, tg_at_file(v->path), "the buffers need %lld bytes at time %lld, the capacity is %lld", (long long)s->lower_bound,
				(long long)s->at, (long long)o->capacity);
	if (r == TG_SRAM_IMPOSSIBLE)
		return tg_limit(&t->diag, tg_at_file(v->path), "no placement within %lld bytes exists (%llu nodes searched)", (long long)o->capacity,
				(unsigned long long)s->nodes);
	tg_limit(&t->diag, tg_at_file(v->path), "no placement within %lld bytes was found in %llu nodes; the best has %lld", (long long)o->capacity,
		 (unsigned long long)s->nodes, (long long)s->peak);
	tg_help(&t->diag, "--nodes allows more");
	return false;
}

enum tg_status run_alloc(struct tool *t)
{
	struct table v = { .path = t->args.at[0] };
	struct tg_sram_options o = { .capacity = -1, .minimize = flag(t, "minimize") };
	struct tg_sram_stats stats;
	struct tg_file f;
	struct tg_buf text;
	int64_t nodes = DEFAULT_NODES, alignment = 1;
	if (!option_number(t, "capacity", 0, MAX_CAPACITY, &o.capacity) || !option_number(t, "nodes", 0, INT64_MAX, &nodes) ||
	    !option_number(t, "alignment", 1, 1 << 30, &alignment))
		return status_of(t, TG_ERR_USAGE);
	if (o.capacity < 0) {
		tg_usage(&t->diag, TG_NOWHERE, "tegula alloc needs --capacity BYTES");
		return TG_ERR_USAGE;
	}
	o.max_nodes = (uint64_t)nodes;
	if (!tg_file_map(&t->diag, t->arena, v.path, MAX_CSV_BYTES, &f) || !read_table(t, &f, alignment, &v))
		return status_of(t, TG_ERR_MALFORMED);
	enum tg_sram_result r = tg_sram_alloc(t->arena, v.items.at, v.items.n, &o, &stats);
	report(t, &v, &o, &stats);
	if (r != TG_SRAM_FITS) {
		refuse(t, &v, r, &o, &stats);
		return status_of(t, TG_ERR_LIMIT);
	}
	tg_buf_init(&text, t->arena);
	print_table(&text, &v);
	if (!option(t, "output")) {
		fwrite(text.at, 1, text.n, stdout);
	} else if (tg_file_write(&t->diag, option(t, "output"), text.at, text.n)) {
		printf("buffers     %zu\npeak        %lld bytes of %lld%s\nalive       %lld bytes at most, at time %lld\nsearched    %llu nodes\n", v.items.n,
		       (long long)stats.peak, (long long)o.capacity, stats.least ? ", and no placement is lower" : "", (long long)stats.lower_bound,
		       (long long)stats.at, (unsigned long long)stats.nodes);
	}
	return status_of(t, TG_OK);
}
