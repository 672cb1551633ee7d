/* jit_cache.c: a file for some blocks of a program on a host with an LLVM: KEY.tgj holds a digest of the rest, where each block's code begins, and the code. It is written
 * under another name and renamed, so a reader sees a whole file or none; two writers write the same. A file that does not fit its digest is as good as absent. Nothing
 * here asks LLVM: who finds all code kept does without. */
#ifdef TG_HAS_LLVM
#include "jit_cache.h"

#include <llvm/Config/llvm-config.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define MAX_IMAGE (UINT64_C(1) << 30)

/* of a file: digest, number of entries, entries (8 bytes each); code */
enum { DIGEST = 32, ENTRIES = DIGEST + 8 };

static void add_number(struct tg_sha256 *h, uint64_t v)
{
	tg_sha256_add(h, &v, sizeof v);
}

/* Translated code has offsets in these structures. */
static void add_layout(struct tg_sha256 *h)
{
	const uint64_t numbers[] = {sizeof(struct tg_sim), sizeof(struct tg_core), sizeof(struct tg_counters), sizeof(struct loop), sizeof(struct jit),
				    offsetof(struct tg_sim, jit), offsetof(struct tg_sim, core), offsetof(struct tg_sim, cycle), offsetof(struct tg_sim, loops),
				    offsetof(struct tg_sim, by_prov), offsetof(struct tg_sim, ready), offsetof(struct tg_sim, fetch), offsetof(struct tg_core, mem),
				    offsetof(struct tg_core, s), offsetof(struct tg_core, p), offsetof(struct tg_counters, sram_bytes)};
	tg_sha256_add(h, numbers, sizeof numbers);
	/* the translator's sources: another one makes other code for the same program */
	tg_sha256_add(h, TG_JIT_SOURCES, sizeof TG_JIT_SOURCES);
}

/* Provenance is an index in the counters; births and steps decide what is translated. Many numbers at once: each call of the digest costs more than a number. */
static void add_blocks(struct tg_sha256 *h, struct tg_arena *a, const struct tg_sim *s)
{
	enum { MOST = 4096, A_BLOCK = 4 + 32 };
	uint64_t *at = tg_alloc_n(a, (size_t)s->n_bundles + MOST, sizeof *at);
	size_t n = 0;
	for (uint32_t i = 0; i < s->n_bundles; i++)
		at[n++] = (uint64_t)s->bundles[i].prov << 32 | s->bundles[i].n_births;
	tg_sha256_add(h, at, n * sizeof *at);
	n = 0;
	for (uint32_t i = 0; i < s->jit.found->n; i++) {
		const struct block *b = &s->jit.found->at[i];
		at[n++] = b->first;
		at[n++] = b->end;
		at[n++] = (uint64_t)(int64_t)b->ctx;
		at[n++] = b->at_start.known;
		for (uint32_t left = b->at_start.known; left; left &= left - 1)
			at[n++] = (uint64_t)b->at_start.s[__builtin_ctz(left)];
		if (n + A_BLOCK > MOST || i + 1 == s->jit.found->n) {
			tg_sha256_add(h, at, n * sizeof *at);
			n = 0;
		}
	}
}

/* The instructions that this host has: LLVM makes code for its very processor. */
static const char *host_of(struct tg_arena *a)
{
#if defined(__x86_64__)
	unsigned r[4][4] = {{0}};
	__get_cpuid_count(1, 0, &r[0][0], &r[0][1], &r[0][2], &r[0][3]);
	__get_cpuid_count(7, 0, &r[1][0], &r[1][1], &r[1][2], &r[1][3]);
	__get_cpuid_count(7, 1, &r[2][0], &r[2][1], &r[2][2], &r[2][3]);
	__get_cpuid_count(0x80000001, 0, &r[3][0], &r[3][1], &r[3][2], &r[3][3]);
	/* leaf 1's ebx tells processors of a machine apart; what the system leaves out shows in what may be used */
	return tg_asprintf(a, "x86-64 %x.%x.%x %x.%x.%x %x %x.%x %d.%d", r[0][0], r[0][2], r[0][3], r[1][1], r[1][2], r[1][3], r[2][0], r[3][2], r[3][3],
			   __builtin_cpu_supports("avx2") != 0, __builtin_cpu_supports("avx512f") != 0);
#elif defined(__aarch64__) && defined(__linux__)
	return tg_asprintf(a, "aarch64 %lx.%lx", getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
#else
	(void)a;
	return NULL;
#endif
}

bool jit_cache_begin(struct tg_arena *a, const struct tg_sim *s, struct tg_sha256 *out)
{
	struct tg_sha256 h;
	const struct tg_exe *x = s->x;
	const char *chip = tg_chip_print(a, &x->chip), *host = host_of(a);
	if (!host)
		return false;
	tg_sha256_init(&h);
	/* the code first: a digest is quicker while its input is aligned */
	tg_sha256_add(&h, x->code, (size_t)x->n_words * sizeof *x->code);
	add_layout(&h);
	tg_sha256_add(&h, LLVM_VERSION_STRING, sizeof LLVM_VERSION_STRING);
	tg_sha256_add(&h, host, strlen(host) + 1);
	tg_sha256_add(&h, chip, strlen(chip) + 1);
	add_number(&h, x->n_words);
	add_number(&h, s->options.all_registers);
	add_blocks(&h, a, s);
	*out = h;
	return true;
}

void jit_cache_key(const struct tg_sha256 *common, const uint32_t *blocks, uint32_t n, bool best, struct jit_key *out)
{
	struct tg_sha256 h = *common;
	uint8_t digest[32];
	tg_sha256_add(&h, blocks, n * sizeof *blocks);
	tg_sha256_add(&h, &best, sizeof best);
	tg_sha256_end(&h, digest);
	tg_sha256_hex(digest, out->hex);
}

static const char *path_of(struct tg_arena *a, const char *dir, const struct jit_key *key)
{
	return tg_asprintf(a, "%s/%s.tgj", dir, key->hex);
}

static void digest_of(const void *p, size_t n, uint8_t out[32])
{
	struct tg_sha256 h;
	tg_sha256_init(&h);
	tg_sha256_add(&h, p, n);
	tg_sha256_end(&h, out);
}

bool jit_cache_get(struct tg_arena *a, const char *dir, const struct jit_key *key, uint32_t n, struct jit_image *out)
{
	struct tg_diag own;
	struct tg_file f;
	uint8_t digest[DIGEST];
	uint64_t begin = ENTRIES + (uint64_t)n * sizeof *out->entry, entries;
	tg_diag_init(&own, a);
	if (!tg_file_map(&own, a, path_of(a, dir, key), MAX_IMAGE, &f) || f.n <= begin)
		return false;
	digest_of(f.at + DIGEST, f.n - DIGEST, digest);
	memcpy(&entries, f.at + DIGEST, sizeof entries);
	if (memcmp(digest, f.at, DIGEST) != 0 || entries != n)
		return false;
	uint64_t *entry = tg_alloc_n(a, n, sizeof *entry);
	memcpy(entry, f.at + ENTRIES, n * sizeof *entry);
	*out = (struct jit_image){f.at + begin, f.n - begin, entry, n};
	return true;
}

bool jit_cache_has(struct tg_arena *a, const char *dir, const struct jit_key *key)
{
	return access(path_of(a, dir, key), R_OK) == 0;
}

void jit_cache_put(struct tg_arena *a, const char *dir, const struct jit_key *key, const struct jit_image *i)
{
	struct tg_diag own;
	uint64_t entries = i->n_entries, begin = ENTRIES + entries * sizeof *i->entry, n = begin + i->n;
	tg_diag_init(&own, a);
	mkdir(dir, 0777); /* or it is there; else the write fails, and nothing is kept */
	uint8_t *file = tg_alloc(a, n);
	memcpy(file + DIGEST, &entries, sizeof entries);
	memcpy(file + ENTRIES, i->entry, entries * sizeof *i->entry);
	memcpy(file + begin, i->at, i->n);
	digest_of(file + DIGEST, n - DIGEST, file);
	tg_file_write(&own, path_of(a, dir, key), file, n);
}
#else
typedef int jit_cache_is_empty;
#endif
