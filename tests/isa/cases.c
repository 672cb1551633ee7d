/* cases.c: runs the assembly cases of cases/ (format: its head comments). Every trap and every checker message of the sources must be
 * asked for by some case: the last test reads the sources' strings and looks. */
#include "harness.h"

#include <glob.h>

/* A file holds cases:
 *   #! case NAME            starts one
 *   #! chip NAME            t1 when absent
 *   #! asm TEXT             the assembler must refuse it so; nothing else is asked
 *   #! trap TEXT            the run must trap with it; else it must halt
 *   #! verify TEXT          the checker must say it; else it must accept
 *   #! open N               accesses and conflicts that the checker, accepting, leaves to the simulator; not asked when absent
 *   #! patch WORD VALUE     a code word replaced after assembly
 *   #! move-maps SRAM       where every buffer and birth of the debug map is put after assembly, which refuses one outside SRAM
 *   #! budget CYCLES        of the run
 *   #! skip-run             only the checker is asked
 *   #! expect NAME v v v    leading values of an output
 *   #! cycles N             exact
 *   #! dram-bytes N         of the program, instead of what the assembler finds
 *   #! scalar-latency N     of the chip, instead of its own
 * `#! prelude` ... `#! end` holds text that every case of the file begins with. */
struct test_case {
	const char *name, *chip, *refused, *trap, *verify, *text;
	TG_VEC(const char *) expect;
	TG_VEC(const char *) patches;
	uint64_t budget, cycles, move_maps;
	const char *open;
	uint32_t scalar_latency;
	uint64_t dram_bytes;
	bool skip_run;
};
struct suite_of {
	TG_VEC(struct test_case) list;
};

static bool starts(const char *line, const char *with, const char **rest)
{
	size_t n = strlen(with);
	if (strncmp(line, with, n) != 0)
		return false;
	*rest = line + n;
	return true;
}

static void load_cases(struct fixture *f, const char *path, struct suite_of *out)
{
	struct tg_file file;
	struct tg_buf prelude, body;
	bool in_prelude = false;
	tg_buf_init(&prelude, f->a);
	tg_buf_init(&body, f->a);
	tg_buf_puts(&prelude, "");
	ck_assert_msg(tg_file_map(&f->d, f->a, path, 1 << 24, &file), "%s", path);
	char *text = tg_strndup(f->a, (const char *)file.at, file.n), *save = NULL;
	struct test_case *c = NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *rest;
		if (starts(line, "#! prelude", &rest)) {
			in_prelude = true;
		} else if (starts(line, "#! end", &rest)) {
			in_prelude = false;
		} else if (starts(line, "#! case ", &rest)) {
			if (c)
				c->text = body.at;
			tg_buf_init(&body, f->a);
			tg_buf_puts(&body, prelude.at);
			c = TG_PUSH(f->a, &out->list);
			*c = (struct test_case){.name = rest, .chip = "t1"};
		} else if (starts(line, "#! chip ", &rest)) {
			c->chip = rest;
		} else if (starts(line, "#! asm ", &rest)) {
			c->refused = rest;
		} else if (starts(line, "#! move-maps ", &rest)) {
			c->move_maps = strtoull(rest, NULL, 0);
		} else if (starts(line, "#! trap ", &rest)) {
			c->trap = rest;
		} else if (starts(line, "#! verify ", &rest)) {
			c->verify = rest;
		} else if (starts(line, "#! open ", &rest)) {
			c->open = rest;
		} else if (starts(line, "#! expect ", &rest)) {
			*TG_PUSH(f->a, &c->expect) = rest;
		} else if (starts(line, "#! patch ", &rest)) {
			*TG_PUSH(f->a, &c->patches) = rest;
		} else if (starts(line, "#! budget ", &rest)) {
			c->budget = strtoull(rest, NULL, 0);
		} else if (starts(line, "#! cycles ", &rest)) {
			c->cycles = strtoull(rest, NULL, 0);
		} else if (starts(line, "#! scalar-latency ", &rest)) {
			c->scalar_latency = (uint32_t)strtoul(rest, NULL, 0);
		} else if (starts(line, "#! dram-bytes ", &rest)) {
			c->dram_bytes = strtoull(rest, NULL, 0);
		} else if (starts(line, "#! skip-run", &rest)) {
			c->skip_run = true;
		} else {
			tg_buf_printf(in_prelude || !c ? &prelude : &body, "%s\n", line);
		}
	}
	if (c)
		c->text = body.at;
	tg_file_unmap(&file);
}

static void expect_output(struct fixture *f, struct tg_sim *s, const struct tg_exe *x, const struct test_case *c, const char *line)
{
	char *copy = tg_strdup(f->a, line), *save = NULL, *name = strtok_r(copy, " ", &save);
	for (size_t i = 0; i < x->outputs.n; i++) {
		const struct tg_binding *b = &x->outputs.at[i];
		size_t bytes, at = 0;
		if (strcmp(b->name, name) != 0)
			continue;
		ck_assert(tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &bytes));
		const void *data = tg_sim_dram(s, b->dram, bytes, false);
		for (char *v = strtok_r(NULL, " ", &save); v; v = strtok_r(NULL, " ", &save), at++) {
			double got = tg_get_f64((enum tg_dtype)b->dtype, data, at), want = strtod(v, NULL);
			ck_assert_msg(got == want, "%s: %s[%zu] = %g, expected %g", c->name, name, at, got, want);
		}
		return;
	}
	ck_abort_msg("%s: no output %s", c->name, name);
}

static void run_mode(struct fixture *f, const struct tg_exe *x, const struct test_case *c, enum tg_dma_mode mode, uint64_t seed, uint8_t hash[32])
{
	struct tg_diag d;
	tg_diag_init(&d, f->a);
	struct tg_sim_options o = {.dma = mode, .seed = seed, .max_cycles = c->budget ? c->budget : 10000000, .all_registers = c->trap != NULL};
	bool ok;
	/* both engines take the same way through the DMA engine: once is enough */
	struct tg_sim *s = mode == TG_DMA_EARLY ? run_on_both(f, c->name, x, o, &d, &ok) : tg_sim_new(f->a, x, &o);
	if (mode != TG_DMA_EARLY)
		ok = tg_sim_run(s, &d, x->steps.at[0].entry_word);
	const char *said = first_message(&d);
	if (c->trap) {
		ck_assert_msg(!ok && d.status == TG_ERR_TRAP && strstr(said, c->trap), "%s: expected a trap '%s', got: %s", c->name, c->trap, said);
	} else {
		ck_assert_msg(ok, "%s: %s", c->name, said);
		for (size_t i = 0; i < c->expect.n; i++)
			expect_output(f, s, x, c, c->expect.at[i]);
		if (c->cycles)
			ck_assert_msg(tg_sim_counters(s)->cycles == c->cycles, "%s: %llu cycles", c->name, (unsigned long long)tg_sim_counters(s)->cycles);
	}
	const struct tg_counters *k = tg_sim_counters(s);
	ck_assert_msg(!ok || k->cycles == k->bundles + k->stall_dma_wait + k->stall_dma_full + k->stall_fetch, "%s: cycles are not bundles and stalls", c->name);
	if (!c->trap)
		tg_sim_state_hash(s, hash);
	tg_sim_free(s);
}

static void run_case(const struct test_case *c)
{
	struct fixture *f = fixture_new(c->chip);
	struct tg_exe x;
	uint8_t early[32], other[32];
	if (c->scalar_latency)
		f->chip.latency.scalar = c->scalar_latency;
	bool assembled = tg_asm(&f->d, f->a, &f->chip, c->name, c->text, strlen(c->text), &x);
	if (c->refused) {
		ck_assert_msg(!assembled && strstr(messages(f), c->refused), "%s: the assembler was to say '%s', and said: %s", c->name, c->refused, messages(f));
		fixture_free(f);
		return;
	}
	ck_assert_msg(assembled, "%s", messages(f));
	for (size_t i = 0; c->move_maps && i < x.buffers.n; i++)
		x.buffers.at[i].sram = (uint32_t)c->move_maps;
	for (size_t i = 0; c->move_maps && i < x.births.n; i++)
		x.births.at[i].sram = (uint32_t)c->move_maps;
	for (size_t i = 0; i < c->patches.n; i++) {
		char *end;
		unsigned long at = strtoul(c->patches.at[i], &end, 0);
		ck_assert(at < x.n_words);
		x.code[at] = strtoull(end, NULL, 0);
	}
	if (c->dram_bytes)
		x.dram_bytes = c->dram_bytes;
	bool accepted = tg_exe_verify(&f->d, f->a, &x);
	if (c->verify)
		ck_assert_msg(!accepted && strstr(messages(f), c->verify), "%s: the checker was to say '%s', and said: %s", c->name, c->verify, messages(f));
	else
		ck_assert_msg(accepted, "%s: the checker refuses it: %s", c->name, messages(f));
	if (c->open) {
		const char *said = strstr(messages(f), " accesses depend"), *wanted = tg_asprintf(f->a, "note: %s of ", c->open);
		ck_assert_msg(strcmp(c->open, "0") == 0 ? !said : said && strstr(messages(f), wanted), "%s: %s accesses were to stay open; the checker says: %s", c->name, c->open,
			      messages(f));
	}
	if (!c->skip_run) {
		run_mode(f, &x, c, TG_DMA_EARLY, 0, early);
		run_mode(f, &x, c, TG_DMA_LATE, 0, other);
		ck_assert_msg(c->trap || memcmp(early, other, 32) == 0, "%s: late DMA changes the outcome", c->name);
		for (uint64_t seed = 1; seed < (c->trap ? 2 : 4); seed++) {
			run_mode(f, &x, c, TG_DMA_RANDOM, seed, other);
			ck_assert_msg(c->trap || memcmp(early, other, 32) == 0, "%s: random DMA changes the outcome", c->name);
		}
	}
	fixture_free(f);
}

static void all_cases(struct fixture *f, struct suite_of *s)
{
	glob_t g;
	ck_assert_int_eq(glob(TG_SOURCE_DIR "/tests/isa/cases/*.tgs", 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++)
		load_cases(f, g.gl_pathv[i], s);
	globfree(&g);
}

START_TEST(cases)
{
	struct fixture *f = fixture_new("t1");
	struct suite_of s = {0};
	all_cases(f, &s);
	run_case(&s.list.at[_i]);
	fixture_free(f);
}
END_TEST

/* ---- every message has a case ---- */

/* Strings of a source file that are messages: they begin as messages of traps and of the checker do, and have several words. */
static bool is_message(const char *s)
{
	static const char *const begins[] = {"a ", "an ", "the ", "two ", "more ", "no such ", "reads", "overwrites", "takes ", "swaps ", "leaves ", "loops ", "lies ", "overlaps ", "reached ",
					     "control ", "another ", "past ", "illegal", "row count", "segment is", "immediate"};
	unsigned spaces = 0;
	for (const char *p = s; *p; p++)
		spaces += *p == ' ';
	for (size_t i = 0; i < TG_ARRAY_LEN(begins); i++) {
		if (strncmp(s, begins[i], strlen(begins[i])) == 0)
			return spaces >= 2 && strlen(s) > 12;
	}
	return false;
}

static bool asked_for(const struct suite_of *s, const char *message)
{
	size_t n = strcspn(message, "%");
	for (size_t i = 0; i < s->list.n; i++) {
		const char *const said[] = {s->list.at[i].trap, s->list.at[i].verify};
		for (int k = 0; k < 2; k++) {
			if (!said[k])
				continue;
			char *at = strdup(message);
			at[n] = 0;
			bool yes = strstr(said[k], at) || (strlen(said[k]) > 9 && strstr(at, said[k]));
			free(at);
			if (yes)
				return true;
		}
	}
	return false;
}

static unsigned missing_in(struct fixture *f, const struct suite_of *s, const char *path)
{
	struct tg_file file;
	unsigned missing = 0;
	ck_assert_msg(tg_file_map(&f->d, f->a, path, 1 << 24, &file), "%s", path);
	const char *p = tg_strndup(f->a, (const char *)file.at, file.n);
	for (const char *nl; *p; p = nl) {
		nl = p + strcspn(p, "\n");
		nl += *nl == '\n';
		const char *open = memchr(p, '"', (size_t)(nl - p));
		if (!open || *p == '#' || strstr(tg_strndup(f->a, p, (size_t)(nl - p)), "no case:"))
			continue;
		const char *close = open + 1 + strcspn(open + 1, "\"\n");
		const char *text = tg_strndup(f->a, open + 1, (size_t)(close - open - 1));
		if (is_message(text) && !asked_for(s, text)) {
			fprintf(stderr, "no case asks for \"%s\" (%s)\n", text, path);
			missing++;
		}
	}
	tg_file_unmap(&file);
	return missing;
}

START_TEST(every_message_has_a_case)
{
	static const char *const files[] = {"sim/core.h", "sim/sim_exec.c", "sim/sim_dma.c", "sim/sim_hazard.c", "sim/sem/mem.c", "sim/sem/alu.c", "sim/sem/matrix.c", "sim/matrix_rules.h", "isa/dma.c", "isa/encode.c",
					    "isa/check.c", "isa/check_time.c", "isa/check_value.c", "isa/check_walk.c"};
	struct fixture *f = fixture_new("t1");
	struct suite_of s = {0};
	unsigned missing = 0;
	all_cases(f, &s);
	for (size_t i = 0; i < TG_ARRAY_LEN(files); i++)
		missing += missing_in(f, &s, tg_asprintf(f->a, "%s/%s", TG_SOURCE_DIR, files[i]));
	ck_assert_msg(missing == 0, "%u messages without a case", missing);
	fixture_free(f);
}
END_TEST

/* Without Check's assertions, which work only inside tests. */
static int n_cases(void)
{
	glob_t g;
	int n = 0;
	char line[1024];
	if (glob(TG_SOURCE_DIR "/tests/isa/cases/*.tgs", 0, NULL, &g) != 0)
		return 0;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		FILE *in = fopen(g.gl_pathv[i], "r");
		while (in && fgets(line, sizeof line, in))
			n += strncmp(line, "#! case ", 8) == 0;
		if (in)
			fclose(in);
	}
	globfree(&g);
	return n;
}

int main(void)
{
	Suite *s = suite_create("cases");
	TCase *t = tcase_create("cases");
	tcase_set_timeout(t, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_unchecked_fixture(t, load_translator, NULL);
	tcase_add_loop_test(t, cases, 0, n_cases());
	tcase_add_test(t, every_message_has_a_case);
	suite_add_tcase(s, t);
	return run_suite(s);
}
