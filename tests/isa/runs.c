/* runs.c: what a run costs and leaves behind: memory for a sparse DRAM, blocks as long as they can be, translated code on disk with many writers at once. */
#include "harness.h"
#include "live.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB (INT64_C(1) << 30)
#define MIB (INT64_C(1) << 20)
#define WRITERS 4

/* ---- memory ---- */

static int64_t peak_bytes(void)
{
	struct rusage u;
	ck_assert(getrusage(RUSAGE_SELF, &u) == 0);
	return (int64_t)u.ru_maxrss * 1024;
}

/* A page in each GiB of DRAM is written: the run needs SRAM and these pages, not the 16 GiB. Each test is a process of its own, so peaks are its own. */
START_TEST(sparse_dram)
{
	struct fixture *f = fixture_new("t1");
	struct program *p = program_new(f);
	int64_t n = (int64_t)f->chip.dram_bytes / GIB;
	uint32_t data[1024] = {7};
	program_data(p, 0, data, sizeof data);
	program_copy(p, TG_DRAM_BASE, 0, sizeof data, 8192);
	for (int64_t i = 1; i < n; i++)
		program_copy(p, 0, TG_DRAM_BASE + i * GIB, sizeof data, (uint64_t)(8192 + 256 * i));
	program_end(p);
	p->x.dram_bytes = f->chip.dram_bytes;
	ck_assert_int_ge(n, 16);
	int64_t before = peak_bytes();
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_INTERP});
	ck_assert_msg(tg_sim_run(s, &f->d, p->x.steps.at[0].entry_word), "%s", messages(f));
	ck_assert_uint_eq(*(uint32_t *)tg_sim_dram(s, (uint64_t)((n - 1) * GIB), 4, false), 7);
	int64_t took = peak_bytes() - before;
	ck_assert_msg(took < (int64_t)f->chip.sram_bytes + 64 * MIB, "a sparse run takes %lld MiB", (long long)(took / MIB));
	tg_sim_free(s);
	fixture_free(f);
}
END_TEST

/* ---- translated code on disk ---- */

static struct program *loop_program(struct fixture *f)
{
	static const float data[4096] = {1, 2, 3};
	struct program *p = program_new(f);
	program_data(p, 0, data, sizeof data);
	program_copy(p, TG_DRAM_BASE, 0, sizeof data, 65536);
	EMIT(p, smov, 7, 512);
	EMIT(p, smov, 8, 100);
	EMIT1(p, loop, 8, (int64_t)p->code.n + 8);
	EMIT1(p, vld_f32, 2, 0, 0, 7, 0, 0, 0, 0, 1, 0);
	EMIT1(p, idle, 8);
	EMIT1(p, vadd_f32, 3, 3, 2);
	EMIT1(p, idle, 8);
	EMIT1(p, saddi, 9, 9, 1);
	program_end(p);
	return p;
}

/* Bundles that idle are part of the block around them: what is cut apart passes its values through memory. */
START_TEST(idle_ends_no_block)
{
	struct fixture *f = fixture_new("t1");
	struct program *p = loop_program(f);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_INTERP});
	const struct blocks *k = sim_find_blocks(s);
	ck_assert(k->usable);
	for (uint32_t i = 0; i < k->n; i++) {
		const struct block *b = &k->at[i];
		if (b->end >= s->n_bundles || k->block_of[b->end] == UINT32_MAX || k->at[k->block_of[b->end]].interpret || b->interpret)
			continue;
		const struct uop *last = sim_insn(s, s->bundles[b->end - 1].first_insn + s->bundles[b->end - 1].n_insns - 1);
		const struct loop_ctx *c = b->ctx < 0 ? NULL : &k->ctx[b->ctx];
		ck_assert_msg(last->in.op == TG_I_loop || (c && c->end == b->end), "bundle %u ends a block of straight code", b->end - 1);
	}
	tg_sim_free(s);
	fixture_free(f);
}
END_TEST

/* Registers are live from a write to its last read, around loops and past writes that may not happen, and all when the program halts. */
static struct program *live_program(struct fixture *f, int64_t end, int64_t *body_end)
{
	struct program *p = program_new(f);
	EMIT1(p, smov, 7, 0);                            /* 0 */
	EMIT1(p, smov, 8, 3);                            /* 1 */
	EMIT1(p, loop, 8, end);                          /* 2 */
	EMIT1(p, vadd_f32, 3, 4, 2);                     /* 3: v3 is dead, the next round writes it again; v4 comes from the round before */
	EMIT1(p, vadd_f32, 4, 2, 2);                     /* 4 */
	EMIT1(p, idle, 8);                               /* 5 */
	*body_end = (int64_t)p->code.n;
	EMIT1(p, vmov, 5, 2);                            /* 6 */
	EMIT1(p, vld_f32, 6, 0, 0, 7, 0, 0, 1, 0, 1, 0); /* 7: lanes that m1 does not select stay */
	EMIT1(p, vmov, 3, 5);                            /* 8 */
	program_end(p);
	return p;
}

struct analysed {
	struct tg_sim *s;
	const struct blocks *k;
	const struct liveness *live;
};
/* A program whose loop ends where its first making says. */
static struct analysed analyse(struct fixture *f, struct program *(*make)(struct fixture *f, int64_t end, int64_t *body_end))
{
	int64_t end;
	make(f, 0, &end);
	struct program *p = make(f, end, &end);
	struct analysed a = {.s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_INTERP})};
	a.k = sim_find_blocks(a.s);
	ck_assert(a.k->usable);
	a.live = sim_find_live(f->a, a.s, a.k);
	return a;
}

/* Before the bundle, v0 to v9 and m1: rows x lanes. */
static const char *live_text(struct fixture *f, const struct analysed *a, uint32_t block, uint32_t bundle)
{
	const struct live now = sim_live_at(a->live, &a->k->at[a->k->block_of[block]], bundle);
	const struct corner all = live_all_of_one(a->s);
	const char *text = "";
	for (unsigned r = 0; r < 11; r++) {
		const struct corner c = now.of[r < 10 ? r : REG_M - REG_V + 1];
		text = c.rows == all.rows && c.lanes == all.lanes ? tg_asprintf(f->a, "%s all", text) : c.rows || c.lanes ? tg_asprintf(f->a, "%s %ux%u", text, c.rows, c.lanes) : tg_asprintf(f->a, "%s -", text);
	}
	return text;
}

START_TEST(live_registers)
{
	struct fixture *f = fixture_new("t1");
	struct analysed a = analyse(f, live_program);
	ck_assert_str_eq(live_text(f, &a, 3, 3), " all all all - - - all all all all all");   /* v4 is written again before anybody can look at it: v3 is dead */
	ck_assert_str_eq(live_text(f, &a, 3, 5), " all all all - all - all all all all all"); /* behind the loop's body */
	ck_assert_str_eq(live_text(f, &a, 6, 7), " all all all - all all all all all all all");
	ck_assert_str_eq(live_text(f, &a, 6, 9), " all all all all all all all all all all all");
	tg_sim_free(a.s);
	fixture_free(f);
}
END_TEST

/* A store looks at its extent, a multiply at the array's rows, lanes ask for the same lanes of operands; what mixes lanes, and an extent that is not known, ask for all. */
static struct program *corner_program(struct fixture *f, int64_t end, int64_t *body_end)
{
	struct program *p = program_new(f);
	EMIT1(p, smov, 7, 0);                               /* 0 */
	EMIT1(p, smov, 9, 2 | 5 << 16);                     /* 1 */
	EMIT1(p, smov, 10, 3 | 2 << 16);                    /* 2 */
	EMIT1(p, sld64, 11, 0, 0);                          /* 3 */
	EMIT1(p, smov, 8, 3);                               /* 4 */
	EMIT1(p, loop, 8, end);                             /* 5 */
	EMIT1(p, vfma_f32, 1, 0, 2, 1);                     /* 6: a sum, of which the store below looks at a corner */
	EMIT1(p, idle, 8);                                  /* 7 */
	*body_end = (int64_t)p->code.n;
	EMIT1(p, vst_f32, 1, 0, 0, 7, 0, 9, 0, 1, 0);       /* 8 */
	EMIT1(p, vst_f32, 3, 0, 0, 7, 0, 11, 0, 1, 0);      /* 9 */
	EMIT1(p, vadd_f32, 3, 4, 5);                        /* 10 */
	EMIT1(p, veq_f32, 1, 6, 6);                         /* 11: m1 */
	EMIT1(p, vst_f32, 3, 0, 0, 7, 0, 10, 1, 1, 0);      /* 12 */
	EMIT1(p, xrotl, 7, 8, 7);                           /* 13 */
	EMIT1(p, mul_f32, 0, 9, 7, 0, 2, 0);                /* 14 */
	EMIT1(p, mand, 1, 0, 0);                            /* 15 */
	EMIT1(p, vld_f32, 4, 0, 0, 7, 0, 9, 1, 0, 1, 0);    /* 16: the mask also says which lanes outside the extent stay */
	EMIT1(p, vst_f32, 4, 0, 0, 7, 0, 10, 0, 1, 0);      /* 17 */
	EMIT1(p, mand, 1, 0, 0);                            /* 18 */
	for (int64_t v = 0; v < 10; v++)
		EMIT1(p, vmovi, v, 0);
	program_end(p);
	return p;
}

START_TEST(live_corners)
{
	struct fixture *f = fixture_new("t1-edge");
	struct analysed a = analyse(f, corner_program);
	ck_assert_str_eq(live_text(f, &a, 6, 6), " 2x5 2x5 2x5 all 3x2 3x2 3x2 - all 2x32 -");
	ck_assert_str_eq(live_text(f, &a, 8, 9), " - - - all 3x2 3x2 3x2 - all 2x32 -");
	ck_assert_str_eq(live_text(f, &a, 8, 11), " - - - 3x2 3x2 - 3x2 - all 2x32 -");
	ck_assert_str_eq(live_text(f, &a, 8, 12), " - - - 3x2 3x2 - - - all 2x32 3x2");
	ck_assert_str_eq(live_text(f, &a, 8, 16), " - - - - 3x2 - - - - - 3x5");
	tg_sim_free(a.s);
	fixture_free(f);
}
END_TEST

static void hash_with(struct fixture *f, enum tg_engine engine, const char *dir, uint8_t out[32])
{
	struct program *p = loop_program(f);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = engine, .cache_dir = dir, .translate_all = true});
	ck_assert_msg(tg_sim_run(s, &f->d, p->x.steps.at[0].entry_word), "%s", messages(f));
	ck_assert(engine != TG_ENGINE_JIT || tg_sim_translates(s));
	tg_sim_state_hash(s, out);
	tg_sim_free(s);
}

static bool same_result(const char *dir, const uint8_t want[32])
{
	uint8_t got[32];
	struct fixture *f = fixture_new("t1");
	hash_with(f, TG_ENGINE_JIT, dir, got);
	fixture_free(f);
	return memcmp(got, want, sizeof got) == 0;
}

/* Calls `fn` with the path of each file in the folder; returns how many. */
static int each_file(const char *dir, void (*fn)(const char *path))
{
	int n = 0;
	DIR *d = opendir(dir);
	ck_assert(d != NULL);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		char path[600];
		if (e->d_name[0] == '.')
			continue;
		n++;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		fn(path);
	}
	closedir(d);
	return n;
}

static void must_be_whole(const char *path)
{
	ck_assert_msg(strcmp(path + strlen(path) - 4, ".tgj") == 0, "'%s' is left over", path);
}
static void spoil(const char *path)
{
	struct stat s;
	int file = open(path, O_RDWR);
	ck_assert(file >= 0 && fstat(file, &s) == 0 && ftruncate(file, s.st_size / 2) == 0);
	close(file);
}
static void take_away(const char *path)
{
	ck_assert(unlink(path) == 0);
}

START_TEST(many_writers)
{
	char dir[256];
	uint8_t want[32];
	struct fixture *f = fixture_new("t1");
	temporary_name(dir, sizeof dir);
	ck_assert(mkdtemp(dir) != NULL);
	hash_with(f, TG_ENGINE_INTERP, NULL, want);
	for (int i = 0; i < WRITERS; i++) {
		pid_t pid = fork();
		ck_assert(pid >= 0);
		if (pid == 0)
			_exit(same_result(dir, want) && same_result(dir, want) ? 0 : 1);
	}
	for (int i = 0; i < WRITERS; i++) {
		int status = 1;
		ck_assert(wait(&status) > 0);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_gt(each_file(dir, must_be_whole), 0);
	each_file(dir, spoil);
	ck_assert_msg(same_result(dir, want), "a spoilt file is used");
	each_file(dir, take_away);
	ck_assert(rmdir(dir) == 0);
	fixture_free(f);
}
END_TEST

/* Whether this process has LLVM's library; 1 where the host does not say. */
static int has_llvm(void)
{
	char line[1024];
	int found = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	if (!maps)
		return 1;
	while (fgets(line, sizeof line, maps))
		found |= strstr(line, "libLLVM") != NULL;
	fclose(maps);
	return found;
}

/* Whoever finds all code kept does without LLVM, with --engine jit and by default. */
START_TEST(kept_code_runs_alone)
{
	char dir[256];
	uint8_t want[32], got[32];
	struct fixture *f = fixture_new("t1");
	temporary_name(dir, sizeof dir);
	ck_assert(mkdtemp(dir) != NULL);
	hash_with(f, TG_ENGINE_INTERP, NULL, want);
	hash_with(f, TG_ENGINE_DEFAULT, dir, got); /* nothing is kept: too short to be translated */
	ck_assert_int_eq(each_file(dir, must_be_whole), 0);
	pid_t pid = fork();
	ck_assert(pid >= 0);
	if (pid == 0)
		_exit(same_result(dir, want) && has_llvm() ? 0 : 1);
	int status = 1;
	ck_assert(wait(&status) == pid);
	ck_assert_int_eq(status, 0);
	for (unsigned i = 0; i < 2; i++) {
		hash_with(f, i ? TG_ENGINE_DEFAULT : TG_ENGINE_JIT, dir, got);
		ck_assert_mem_eq(got, want, sizeof want);
	}
	FILE *maps = fopen("/proc/self/maps", "r");
	ck_assert_msg(!maps || !has_llvm(), "LLVM was loaded");
	if (maps)
		fclose(maps);
	each_file(dir, take_away);
	ck_assert(rmdir(dir) == 0);
	fixture_free(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("runs");
	TCase *t = tcase_create("runs");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, sparse_dram);
	tcase_add_test(t, idle_ends_no_block);
	tcase_add_test(t, live_registers);
	tcase_add_test(t, live_corners);
	if (tg_sim_can_translate()) {
		tcase_add_test(t, many_writers);
		tcase_add_test(t, kept_code_runs_alone);
	}
	suite_add_tcase(s, t);
	return run_suite(s);
}
