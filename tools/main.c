/* main.c: the tegula program: picks the verb, parses its options, prints what was found, writes the report, exits with the status. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_help(const struct verb *v)
{
	printf("usage: tegula %s [options] %s\n\n%s\n\noptions:\n", v->name, v->args, v->doc);
	const struct option_row *o;
	for (size_t i = 0; (o = verb_option(v, i)); i++) {
		char left[64];
		snprintf(left, sizeof left, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-30s %s\n", left, o->doc);
	}
}

static void print_verbs(FILE *to)
{
	fprintf(to, "usage: tegula VERB [options] ...\n\nverbs:\n");
	for (const struct verb *v = tg_verbs; v->name; v++)
		fprintf(to, "  %-9s %s\n", v->name, v->doc);
	fprintf(to, "\n`tegula VERB --help` tells more. `tegula --version` prints the version.\n"
		    "exit status: 0 success; 1 numbers differ or a test failed; 2 usage; 3 unsupported model; 4 malformed input; 5 does not fit;\n"
		    "6 I/O error; 7 the program trapped; 70 internal error\n");
}

/* bash completion: the verbs, and each verb's options, from the same table. */
static void print_completion(void)
{
	printf("_tegula()\n{\n\tlocal word=${COMP_WORDS[COMP_CWORD]} words\n\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\twords=\"");
	for (const struct verb *v = tg_verbs; v->name; v++)
		printf("%s ", v->name);
	printf("\"\n\telse\n\t\tcase ${COMP_WORDS[1]} in\n");
	for (const struct verb *v = tg_verbs; v->name; v++) {
		printf("\t\t%s) words=\"", v->name);
		const struct option_row *o;
		for (size_t i = 0; (o = verb_option(v, i)); i++)
			printf("--%s ", o->name);
		printf("\" ;;\n");
	}
	printf("\t\tesac\n\tfi\n\tCOMPREPLY=( $(compgen -f -W \"$words\" -- \"$word\") )\n}\ncomplete -o filenames -F _tegula tegula\n");
}

static const struct option_row *find_option(const struct verb *v, const char *name, size_t n)
{
	const struct option_row *o;
	for (size_t i = 0; (o = verb_option(v, i)); i++)
		if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
			break;
	return o;
}

static bool parse_options(struct tool *t, int argc, char **argv)
{
	bool only_args = false;
	for (int i = 0; i < argc; i++) {
		const char *a = argv[i];
		if (only_args || a[0] != '-' || a[1] == 0) {
			*TG_PUSH(t->arena, &t->args) = a;
			continue;
		}
		if (strcmp(a, "--") == 0) {
			only_args = true;
			continue;
		}
		if (strcmp(a, "-o") == 0)
			a = "--output";
		if (strcmp(a, "-h") == 0)
			a = "--help";
		const char *name = a + 2, *eq = strchr(a, '=');
		size_t n = eq ? (size_t)(eq - name) : strlen(name);
		const struct option_row *o = a[1] == '-' ? find_option(t->verb, name, n) : NULL;
		if (!o)
			return tg_usage(&t->diag, TG_NOWHERE, "unknown option '%s' of tegula %s", tg_quoted(t->arena, a), t->verb->name);
		if (!o->arg && eq)
			return tg_usage(&t->diag, TG_NOWHERE, "option --%s takes no value", o->name);
		if (o->arg && !eq && i + 1 == argc)
			return tg_usage(&t->diag, TG_NOWHERE, "option --%s needs a value: %s", o->name, o->arg);
		*TG_PUSH(t->arena, &t->given) = (struct given){ o->name, !o->arg ? "" : eq ? eq + 1 : argv[++i] };
	}
	int n = (int)t->args.n;
	if (flag(t, "help") || (n >= t->verb->min_args && (t->verb->max_args < 0 || n <= t->verb->max_args)))
		return true;
	return tg_usage(&t->diag, TG_NOWHERE, "tegula %s takes: %s", t->verb->name, t->verb->args);
}

/* One report, on failure too. */
static bool write_report(struct tool *t, enum tg_status status)
{
	const char *path = option(t, "json");
	if (!path)
		return true;
	json_t *messages = json_array();
	for (size_t i = 0; i < t->diag.list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, t->arena);
		tg_message_format(&t->diag.list.at[i], &b);
		json_array_append_new(messages, json_string(b.at));
	}
	put(t->report, "schema_version", json_integer(1));
	put(t->report, "verb", json_string(t->verb->name));
	put(t->report, "exit_status", json_integer(status));
	put(t->report, "messages", messages);
	char *text = json_dumps(t->report, JSON_INDENT(1) | JSON_SORT_KEYS);
	if (!text)
		tg_heap_exhausted(t->heap);
	struct tg_diag d;
	tg_diag_init(&d, t->arena);
	bool ok = tg_file_write(&d, path, text, strlen(text));
	free(text);
	print_messages(&d);
	return ok;
}

static enum tg_status run_verb(struct tool *t, int argc, char **argv)
{
	if (!parse_options(t, argc, argv)) {
		print_messages(&t->diag);
		fprintf(stderr, "help: tegula %s --help\n", t->verb->name);
		write_report(t, TG_ERR_USAGE);
		return TG_ERR_USAGE;
	}
	if (flag(t, "help")) {
		print_help(t->verb);
		return TG_OK;
	}
	enum tg_status s = t->verb->run(t);
	print_messages(&t->diag);
	if (!write_report(t, s) && s == TG_OK)
		s = TG_ERR_IO;
	if (fflush(stdout) != 0 && s == TG_OK)
		s = TG_ERR_IO;
	return s;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "--help";
	if (strcmp(name, "--version") == 0) {
		printf("tegula %s\n", TG_VERSION);
		return TG_OK;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		print_verbs(stdout);
		return argc > 1 ? TG_OK : TG_ERR_USAGE;
	}
	if (strcmp(name, "--completion") == 0) {
		print_completion();
		return TG_OK;
	}
	const struct verb *v = tg_verbs;
	while (v->name && strcmp(v->name, name) != 0)
		v++;
	if (!v->name) {
		fprintf(stderr, "tegula: error: unknown verb '%s'\n", name);
		print_verbs(stderr);
		return TG_ERR_USAGE;
	}
	struct tg_heap heap;
	tg_heap_init(&heap);
	if (setjmp(heap.unwind)) {
		fprintf(stderr, "tegula: error: out of memory\n");
		tg_heap_free(&heap);
		return TG_ERR_LIMIT;
	}
	struct tool t = { .heap = &heap, .verb = v };
	t.arena = tg_arena_new(&heap);
	tg_diag_init(&t.diag, t.arena);
	t.report = json_object();
	int status = (int)run_verb(&t, argc - 2, argv + 2);
	json_decref(t.report);
	tg_heap_free(&heap);
	return status;
}
