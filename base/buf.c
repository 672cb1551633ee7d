/* buf.c: growing text, and the quoting of names that came from outside. */
#include "base.h"

#include <string.h>

void tg_buf_init(struct tg_buf *b, struct tg_arena *a)
{
	*b = (struct tg_buf){ .arena = a };
}

static char *room(struct tg_buf *b, size_t n)
{
	if (n >= SIZE_MAX / 4 - b->n)
		tg_heap_exhausted(tg_arena_heap(b->arena));
	if (b->n + n + 1 > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < b->n + n + 1)
			cap *= 2;
		b->at = tg_grow(b->arena, b->at, b->n, cap);
		b->cap = cap;
	}
	return b->at + b->n;
}

void tg_buf_add(struct tg_buf *b, const void *bytes, size_t n)
{
	char *to = room(b, n);
	if (n)
		memcpy(to, bytes, n);
	b->n += n;
	b->at[b->n] = 0;
}

void tg_buf_puts(struct tg_buf *b, const char *s)
{
	tg_buf_add(b, s, strlen(s));
}

void tg_buf_printf(struct tg_buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *to = room(b, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629, table of section 4), 0 when there is none. */
static size_t utf8_length(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
	bool surrogate = s[0] == 0xed && s[1] > 0x9f;
	bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
	bool control = s[0] == 0xc2 && s[1] < 0xa0; /* C1 controls move terminals */
	return overlong || surrogate || beyond || control ? 0 : n;
}

void tg_buf_quote(struct tg_buf *b, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	while (*p) {
		size_t n = utf8_length(p);
		if (n == 0 || *p < 0x20 || *p == 0x7f || *p == '\'' || *p == '"' || *p == '\\') {
			tg_buf_printf(b, "\\x%02x", *p);
			n = 1;
		} else {
			tg_buf_add(b, p, n);
		}
		p += n;
	}
	tg_buf_add(b, "", 0);
}

const char *tg_quoted(struct tg_arena *a, const char *s)
{
	struct tg_buf b;
	tg_buf_init(&b, a);
	tg_buf_quote(&b, s);
	return b.at;
}
