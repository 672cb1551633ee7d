/* diag.c: messages are collected with where they were found; tools/ prints them. */
#include "base.h"

struct tg_loc tg_at_file(const char *file)
{
	return (struct tg_loc){ .file = file, .node = -1 };
}

struct tg_loc tg_at_line(const char *file, uint32_t line, uint32_t column)
{
	return (struct tg_loc){ .file = file, .node = -1, .line = line, .column = column };
}

void tg_diag_init(struct tg_diag *d, struct tg_arena *a)
{
	*d = (struct tg_diag){ .arena = a, .max_errors = 200 };
}

static const char *format(struct tg_arena *a, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *p = tg_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}

static void keep(struct tg_diag *d, enum tg_severity severity, enum tg_status s, struct tg_loc loc, const char *fmt, va_list ap)
{
	if (severity == TG_ERROR) {
		/* An unsupported node is the mildest error: anything else found later says more about the model. */
		if (d->status == TG_OK || d->status == TG_ERR_UNSUPPORTED)
			d->status = s;
		d->n_errors++;
	}
	if (d->list.n >= d->max_errors)
		return;
	struct tg_message m = { .severity = severity, .status = s, .loc = loc, .text = format(d->arena, fmt, ap) };
	*TG_PUSH(d->arena, &d->list) = m;
}

#define FAIL_WITH(status)                                                                                                                  \
	va_list ap;                                                                                                                        \
	va_start(ap, fmt);                                                                                                                 \
	keep(d, TG_ERROR, status, loc, fmt, ap);                                                                                           \
	va_end(ap);                                                                                                                        \
	return false

bool tg_error(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_MALFORMED); }
bool tg_unsupported(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_UNSUPPORTED); }
bool tg_limit(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_LIMIT); }
bool tg_usage(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_USAGE); }
bool tg_io_error(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_IO); }
bool tg_internal(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(TG_ERR_INTERNAL); }
bool tg_fail(struct tg_diag *d, enum tg_status s, struct tg_loc loc, const char *fmt, ...) { FAIL_WITH(s); }

void tg_warning(struct tg_diag *d, struct tg_loc loc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	keep(d, TG_WARNING, TG_OK, loc, fmt, ap);
	va_end(ap);
}

void tg_help(struct tg_diag *d, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	keep(d, TG_HELP, TG_OK, TG_NOWHERE, fmt, ap);
	va_end(ap);
}

static void format_loc(const struct tg_loc *l, struct tg_buf *out)
{
	if (l->file) {
		tg_buf_quote(out, l->file);
		if (l->line)
			tg_buf_printf(out, ":%u", l->line);
		if (l->line && l->column)
			tg_buf_printf(out, ":%u", l->column);
		tg_buf_puts(out, ": ");
	}
	if (l->node < 0)
		return;
	tg_buf_printf(out, "node %d", l->node);
	if (l->name && *l->name) {
		tg_buf_puts(out, " '");
		tg_buf_quote(out, l->name);
		tg_buf_puts(out, "'");
	}
	if (l->op_type) {
		tg_buf_puts(out, " (");
		tg_buf_quote(out, l->op_type);
		tg_buf_puts(out, ")");
	}
	tg_buf_puts(out, ": ");
}

void tg_message_format(const struct tg_message *m, struct tg_buf *out)
{
	static const char *const words[] = { [TG_NOTE] = "note", [TG_WARNING] = "warning", [TG_ERROR] = "error", [TG_HELP] = "help" };
	format_loc(&m->loc, out);
	tg_buf_printf(out, "%s: %s", words[m->severity], m->text);
}
