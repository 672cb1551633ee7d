/* pass.c: runs passes in the order of their table (or those asked for), and does around each what no pass does itself: verify, print, dump,
 * time, stop, skip, empty the scratch arena. */
#include <string.h>
#include <time.h>

#include "ir_internal.h"

/* Is this name one of a comma list? A NULL list has none. */
static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; p && *p;) {
		size_t len = strcspn(p, ",");
		if (len == n && !memcmp(p, name, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

static const struct tg_pass_info *find(const struct tg_pass_run *r, const char *name, size_t n)
{
	for (uint32_t i = 0; i < r->n_passes; i++)
		if (strlen(r->passes[i].name) == n && !memcmp(r->passes[i].name, name, n))
			return &r->passes[i];
	return NULL;
}

static bool known(struct tg_diag *d, const struct tg_pass_run *r, const char *list, const char *what)
{
	for (const char *p = list; p && *p;) {
		size_t len = strcspn(p, ",");
		if (!find(r, p, len))
			return tg_usage(d, TG_NOWHERE, "%s names '%s', which is no pass", what, tg_quoted(d->arena, tg_strndup(d->arena, p, len)));
		p += len + (p[len] == ',');
	}
	return true;
}

static bool all_optional(struct tg_diag *d, const struct tg_pass_run *r)
{
	for (uint32_t i = 0; i < r->n_passes; i++)
		if (!r->passes[i].optional && listed(r->skip, r->passes[i].name))
			return tg_usage(d, TG_NOWHERE, "pass '%s' cannot be left out", r->passes[i].name);
	return true;
}

static bool check_names(struct tg_diag *d, const struct tg_pass_run *r)
{
	bool all = r->print_after && !strcmp(r->print_after, "all");
	return known(d, r, r->only, "list of passes") && known(d, r, r->skip, "list of skipped passes") && all_optional(d, r) &&
	       known(d, r, r->stop_after, "stop-after") && (all || known(d, r, r->print_after, "print-after"));
}

/* Messages of the verifier come out as our own fault, with the culprit's name. */
static bool verify(struct tg_pass *cx, const struct tg_module *m, const char *after)
{
	struct tg_diag own;
	tg_diag_init(&own, cx->d->arena);
	if (tg_module_verify(&own, m))
		return true;
	if (!after)
		return tg_fail(cx->d, own.status, own.list.n ? own.list.at[0].loc : TG_NOWHERE, "%s", own.list.n ? own.list.at[0].text : "");
	for (size_t i = 0; i < own.list.n; i++)
		tg_internal(cx->d, own.list.at[i].loc, "after pass %s: %s", after, own.list.at[i].text);
	return false;
}

static bool dump(struct tg_pass *cx, const struct tg_module *m, const char *folder, uint32_t number, const char *name)
{
	struct tg_arena *a = tg_arena_new(tg_arena_heap(cx->d->arena));
	struct tg_buf b;
	tg_buf_init(&b, a);
	tg_module_print(&b, m);
	bool ok = tg_file_write(cx->d, tg_asprintf(a, "%s/%03u-%s.tir", folder, number, name), b.at, b.n);
	tg_arena_free(a);
	return ok;
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool run_one(struct tg_pass *cx, struct tg_module *m, const struct tg_pass_run *r, const struct tg_pass_info *p, uint32_t number)
{
	double start = seconds();
	uint32_t errors = cx->d->n_errors;
	if (!p->groups)
		tg_ungroup(m);
	bool ok = p->run(cx, m);
	double took = seconds() - start;
	if (cx->scratch)
		tg_arena_reset(cx->scratch);
	if (!ok)
		return cx->d->n_errors > errors ? false : tg_internal(cx->d, TG_NOWHERE, "pass %s failed without a message", p->name);
	m->level = p->name;
	if (r->time_passes && r->text)
		tg_buf_printf(r->text, "%10.3f ms  %s\n", 1e3 * took, p->name);
	if (r->verify_each && !verify(cx, m, p->name))
		return false;
	if (r->text && r->print_after && (!strcmp(r->print_after, "all") || listed(r->print_after, p->name))) {
		tg_buf_printf(r->text, "// after %s\n", p->name);
		tg_module_print(r->text, m);
	}
	return !r->dump_dir || dump(cx, m, r->dump_dir, number, p->name);
}

static bool run_listed(struct tg_pass *cx, struct tg_module *m, const struct tg_pass_run *r)
{
	uint32_t number = 0;
	for (const char *p = r->only; *p;) {
		size_t len = strcspn(p, ",");
		const struct tg_pass_info *info = find(r, p, len);
		if (!listed(r->skip, info->name) && !run_one(cx, m, r, info, number++))
			return false;
		if (listed(r->stop_after, info->name))
			return true;
		p += len + (p[len] == ',');
	}
	return true;
}

static bool run_rest(struct tg_pass *cx, struct tg_module *m, const struct tg_pass_run *r)
{
	uint32_t i = 0;
	if (m->level) {
		const struct tg_pass_info *last = find(r, m->level, strlen(m->level));
		if (!last)
			return tg_error(cx->d, tg_at_file(m->source), "module is behind pass '%s', which is unknown",
					tg_quoted(cx->d->arena, m->level));
		i = (uint32_t)(last - r->passes) + 1;
	}
	for (; i < r->n_passes; i++) {
		if (!listed(r->skip, r->passes[i].name) && !run_one(cx, m, r, &r->passes[i], i))
			return false;
		if (listed(r->stop_after, r->passes[i].name))
			return true;
	}
	return true;
}

bool tg_run_passes(struct tg_pass *cx, struct tg_module *m, const struct tg_pass_run *r)
{
	if (!check_names(cx->d, r) || (r->verify_each && !verify(cx, m, NULL)))
		return false;
	return r->only ? run_listed(cx, m, r) : run_rest(cx, m, r);
}
