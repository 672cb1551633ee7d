/* gen.c: the build-time generator of the isa library's constant tables. Not shipped.
 *
 *   tg_isa_gen table OUT                 rows of struct tg_insn_info, from isa.def: pictures become shifts and widths
 *   tg_isa_gen chips OUT A.yaml B.yaml   the built-in chips' text as byte arrays
 *   tg_isa_gen names OUT A.yaml B.yaml   their names
 *
 * It refuses a picture that is not 64 bits, a field that is not one run, a letter without a kind, and two rows with one opcode. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct format {
	const char *name, *picture, *fields;
};
struct row {
	const char *name;
	unsigned opcode;
	const char *slot, *latency, *format, *doc;
};

static const struct format formats[] = {
#define FORMAT(name, picture, fields) {#name, picture, fields},
#include "isa.def"
};
static const struct row rows[] = {
#define INSN(name, opcode, slot, latency, format, doc) {#name, opcode, #slot, #latency, #format, doc},
#include "isa.def"
};
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void die(const char *what, const char *where)
{
	fprintf(stderr, "isa.def: %s: %s\n", where, what);
	exit(1);
}

/* Finds the run of `letter` in the picture: its lowest bit and its width. */
static void run_of(const struct format *f, char letter, unsigned *shift, unsigned *width)
{
	char flat[80];
	unsigned n = 0;
	for (const char *p = f->picture; *p; p++) {
		if (*p != ' ' && n < sizeof flat - 1)
			flat[n++] = *p;
	}
	flat[n] = 0;
	if (n != 64)
		die("the picture is not 64 bits", f->name);
	const char *first = strchr(flat, letter);
	if (!first)
		die("a field is not in the picture", f->name);
	const char *end = first;
	while (*end == letter)
		end++;
	if (strchr(end, letter))
		die("a field is in two pieces", f->name);
	*width = (unsigned)(end - first);
	*shift = 64 - (unsigned)(end - flat);
}

static void print_fields(FILE *out, const struct format *f)
{
	char text[128];
	unsigned n = 0, shift, width, bits = 8 + 3;
	snprintf(text, sizeof text, "%s", f->fields);
	char body[1024] = "";
	for (char *t = strtok(text, " "); t; t = strtok(NULL, " ")) {
		if (strlen(t) < 3 || t[1] != ':' || !strchr("SVMPIUT", t[2]))
			die("a field is not LETTER:KIND", f->name);
		run_of(f, t[0], &shift, &width);
		bits += width;
		snprintf(body + strlen(body), sizeof body - strlen(body), "{ '%c', TG_FIELD_%c, %s, %s, %u, %u }, ", t[0], t[2],
			 strchr(t, '=') ? "true" : "false", strchr(t, '+') ? "true" : "false", shift, width);
		n++;
	}
	for (const char *p = f->picture; *p; p++)
		bits += *p == '-';
	if (bits != 64)
		die("letters of the picture and of the field list differ", f->name);
	run_of(f, 'o', &shift, &width);
	if (shift != 56 || width != 8)
		die("the opcode is not bits 63..56", f->name);
	run_of(f, 'p', &shift, &width);
	if (shift != 53 || width != 3)
		die("the predicate is not bits 55..53", f->name);
	fprintf(out, "%u, { %s}", n, n ? body : "{ 0 } ");
}

static int table(FILE *out)
{
	const char *taken[256] = {0};
	for (size_t i = 0; i < LEN(rows); i++) {
		const struct row *r = &rows[i];
		const struct format *f = NULL;
		for (size_t k = 0; k < LEN(formats); k++) {
			if (strcmp(formats[k].name, r->format) == 0)
				f = &formats[k];
		}
		if (!f)
			die("unknown format", r->name);
		if (r->opcode == 0 || r->opcode > 255 || taken[r->opcode])
			die("the opcode is zero, too large or taken", r->name);
		taken[r->opcode] = r->name;
		fprintf(out, "[TG_I_%s] = { \"%s\", \"%s\", \"%s\", 0x%02x, TG_SLOT_%s, ", r->name, r->name, r->doc, r->format, r->opcode, r->slot);
		if (strcmp(r->latency, "none") == 0)
			fprintf(out, "-1, ");
		else
			fprintf(out, "(int16_t)offsetof(struct tg_latency, %s), ", r->latency);
		print_fields(out, f);
		fprintf(out, " },\n");
	}
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int names(FILE *out, int n, char **paths)
{
	for (int i = 0; i < n; i++)
		fprintf(out, "\"%.*s\",\n", (int)strcspn(base_name(paths[i]), "."), base_name(paths[i]));
	return 0;
}

static int chips(FILE *out, int n, char **paths)
{
	for (int i = 0; i < n; i++) {
		FILE *in = fopen(paths[i], "rb");
		if (!in)
			die("cannot be read", paths[i]);
		const char *base = base_name(paths[i]);
		fprintf(out, "{ \"%.*s\", (const char[]){ ", (int)strcspn(base, "."), base);
		long count = 0;
		for (int c = fgetc(in); c != EOF; c = fgetc(in), count++)
			fprintf(out, "%d,%s", c < 128 ? c : c - 256, count % 32 == 31 ? "\n" : "");
		fprintf(out, " }, %ld },\n", count);
		fclose(in);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	FILE *out = fopen(argv[2], "wb");
	if (!out)
		die("cannot be written", argv[2]);
	int status = 2;
	if (strcmp(argv[1], "table") == 0)
		status = table(out);
	else if (strcmp(argv[1], "chips") == 0)
		status = chips(out, argc - 3, argv + 3);
	else if (strcmp(argv[1], "names") == 0)
		status = names(out, argc - 3, argv + 3);
	if (fclose(out) != 0)
		die("cannot be written", argv[2]);
	return status;
}
