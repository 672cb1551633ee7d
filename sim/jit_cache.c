/* jit_cache.c: a file for each program, host and LLVM: KEY.tgj holds the object's digest and the object. It is written under another name
 * and renamed, so a reader sees a whole file or none; two writers write the same. A file that does not fit its digest is as good as absent. */
#ifdef TG_HAS_LLVM
#include "jit_cache.h"

#include <sys/stat.h>

#define MAX_OBJECT (UINT64_C(1) << 30)

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

void jit_cache_begin(struct tg_arena *a, const struct tg_sim *s, const char *host, struct tg_sha256 *out)
{
	struct tg_sha256 h;
	const struct tg_exe *x = s->x;
	const char *chip = tg_chip_print(a, &x->chip);
	tg_sha256_init(&h);
	/* the code first: a digest is quicker while its input is aligned */
	tg_sha256_add(&h, x->code, (size_t)x->n_words * sizeof *x->code);
	add_layout(&h);
	tg_sha256_add(&h, host, strlen(host) + 1);
	tg_sha256_add(&h, chip, strlen(chip) + 1);
	add_number(&h, x->n_words);
	/* provenance is an index in the counters; births and steps decide what is translated */
	for (uint32_t i = 0; i < s->n_bundles; i++)
		add_number(&h, (uint64_t)s->bundles[i].prov << 32 | s->bundles[i].n_births);
	for (uint32_t i = 0; i < s->jit.blocks->n; i++) {
		const struct block *b = &s->jit.blocks->at[i];
		const uint64_t numbers[] = {b->first, b->end, (uint64_t)(int64_t)b->ctx, b->known};
		tg_sha256_add(&h, numbers, sizeof numbers);
		tg_sha256_add(&h, b->s, sizeof b->s);
	}
	*out = h;
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

bool jit_cache_get(struct tg_arena *a, const char *dir, const struct jit_key *key, struct jit_object *out)
{
	struct tg_diag own;
	struct tg_file f;
	uint8_t digest[32];
	tg_diag_init(&own, a);
	if (!tg_file_map(&own, a, path_of(a, dir, key), MAX_OBJECT, &f) || f.n <= sizeof digest)
		return false;
	*out = (struct jit_object){f.at + sizeof digest, f.n - sizeof digest};
	digest_of(out->at, out->n, digest);
	return memcmp(digest, f.at, sizeof digest) == 0;
}

void jit_cache_put(struct tg_arena *a, const char *dir, const struct jit_key *key, const void *object, size_t n)
{
	struct tg_diag own;
	tg_diag_init(&own, a);
	mkdir(dir, 0777); /* or it is there; else the write fails, and nothing is kept */
	uint8_t *file = tg_alloc(a, n + 32);
	digest_of(object, n, file);
	memcpy(file + 32, object, n);
	tg_file_write(&own, path_of(a, dir, key), file, n + 32);
}
#else
typedef int jit_cache_is_empty;
#endif
