/* profile_html.c: the report in profile_page.html, which the build puts into the program. No '<' of the data can end its script element. */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

static const char page[] = {
#include "profile_page.inc"
	, 0
};
#define MARK "@DATA@"

bool profile_html(struct tool *t, json_t *report, const char *path)
{
	struct tg_buf b;
	const char *mark = strstr(page, MARK);
	char *data = json_dumps(report, JSON_COMPACT | JSON_SORT_KEYS);
	if (!data)
		tg_heap_exhausted(t->heap);
	tg_buf_init(&b, t->arena);
	tg_buf_add(&b, page, (size_t)(mark - page));
	for (const char *at = data; *at; at++) {
		if (*at == '<')
			tg_buf_puts(&b, "\\u003c");
		else
			tg_buf_add(&b, at, 1);
	}
	free(data);
	tg_buf_puts(&b, mark + strlen(MARK));
	return tg_file_write(&t->diag, path, b.at, b.n);
}
