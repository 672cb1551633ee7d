/* sim.c: the simulator object: memories, initial contents, counters, digest. The interpreter is sim_exec.c. */
#include "jit.h"
#include "threads.h"

#include <sys/mman.h>

static void free_memory(void *user)
{
	struct tg_sim *s = user;
	for (struct mapping *m = s->mappings; m; m = m->next)
		munmap(m->at, m->bytes);
	s->mappings = NULL;
	s->core.mem.at = s->core.mem.mark = NULL;
	s->dram = NULL;
}

static void *map(struct tg_sim *s, uint64_t bytes)
{
	struct mapping *m = tg_alloc(s->arena, sizeof *m);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		tg_heap_exhausted(tg_arena_heap(s->arena));
	*m = (struct mapping){.at = p, .bytes = bytes, .next = s->mappings};
	s->mappings = m;
	return p;
}

/* Memory that is looked at all over the place: in large pages where the host gives them, since a page for each row of a matrix would be more than its TLB holds. */
#define LARGE_PAGE (UINT64_C(2) << 20)
static void *map_large(struct tg_sim *s, uint64_t bytes)
{
	uint8_t *p = map(s, bytes + LARGE_PAGE);
	p += -(uintptr_t)p & (LARGE_PAGE - 1);
#ifdef MADV_HUGEPAGE
	madvise(p, bytes, MADV_HUGEPAGE); /* small pages do as well */
#endif
	return p;
}

void *sim_new_table(struct tg_sim *s, uint64_t n, uint64_t bytes)
{
	return n * bytes < LARGE_PAGE ? tg_alloc_n(s->arena, n, bytes) : map_large(s, n * bytes);
}

static void pick_level(struct tg_sim *s)
{
	s->sem = tg_sem_base;
	s->matrix = &tg_matrix_base;
#if defined(TG_HAS_LEVEL_V3) && defined(TG_HAS_LEVEL_V4)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
		s->sem = tg_sem_v4;
		s->matrix = &tg_matrix_v4;
	} else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
		s->sem = tg_sem_v3;
		s->matrix = &tg_matrix_v3;
	}
#endif
}

/* Words that begin a line of the host's cache: vectors of them lie in one line each. */
static void *new_words(struct tg_sim *s, size_t n)
{
	uint8_t *at = tg_alloc_n(s->arena, n + 16, sizeof(uint32_t));
	return at + (-(uintptr_t)at & 63);
}

static void new_registers(struct tg_sim *s)
{
	struct tg_core *c = &s->core;
	/* every register, one buffer for each result of a bundle, m0 */
	for (unsigned i = 0; i < 64; i++)
		c->v[i] = new_words(s, c->n);
	for (unsigned i = 0; i < 8; i++)
		c->m[i] = new_words(s, c->n);
	memset(c->m[0], 0xff, c->n * sizeof(uint32_t));
	for (unsigned i = 0; i < TG_ARRAY_LEN(s->spare); i++)
		s->spare[i] = NULL;
	uint32_t results = c->chip->n_load + c->chip->n_alu + c->chip->n_cross_lane + c->chip->n_arrays + 1;
	for (s->n_spare = 0; s->n_spare < results; s->n_spare++)
		s->spare[s->n_spare] = new_words(s, c->n);
	c->p[0] = true;
}

void sim_new_weights(struct tg_sim *s, struct tg_weights *w)
{
	uint32_t rows = s->core.chip->array_rows;
	w->w = new_words(s, (size_t)rows * s->core.stride);
	w->bits = tg_alloc_n(s->arena, rows, sizeof *w->bits);
	w->lo = tg_alloc_n(s->arena, rows, sizeof *w->lo);
	w->hi = tg_alloc_n(s->arena, rows, sizeof *w->hi);
	w->k = tg_alloc_n(s->arena, rows, sizeof *w->k);
	w->pairs = new_words(s, (size_t)(rows + 1) / 2 * s->core.stride);
	/* the smallest vector has four lanes */
	w->lists = tg_alloc_n(s->arena, s->core.stride / 4, sizeof *w->lists);
	w->list = tg_alloc_n(s->arena, (size_t)rows * (s->core.stride / 4), sizeof *w->list);
	w->uniform = true;
}

static void new_arrays(struct tg_sim *s)
{
	const struct tg_chip *chip = s->core.chip;
	for (uint32_t i = 0; i < chip->n_arrays; i++) {
		struct tg_array *u = &s->core.array[i];
		sim_new_weights(s, &u->set[0]);
		sim_new_weights(s, &u->set[1]);
		u->acc = new_words(s, (size_t)chip->acc_rows * s->core.stride);
		u->acc_written = tg_alloc(s->arena, chip->acc_rows);
		u->acc_ready = tg_alloc_n(s->arena, chip->acc_rows, sizeof *u->acc_ready);
	}
	s->core.transposer = tg_alloc_n(s->arena, (size_t)chip->lanes * chip->lanes, sizeof *s->core.transposer);
}

static void new_memory(struct tg_sim *s)
{
	struct tg_memory *m = &s->core.mem;
	uint64_t chunks = (s->core.chip->sram_bytes >> CHUNK_SHIFT) + 2;
	m->bytes = s->core.chip->sram_bytes;
	m->at = m->bytes < LARGE_PAGE ? map(s, m->bytes) : map_large(s, m->bytes);
	m->mark = map(s, m->bytes);
	m->written = tg_alloc_n(s->arena, m->bytes / 64 + 2, sizeof *m->written);
	m->clean = tg_alloc(s->arena, m->bytes / CLEAN_BYTES + 16);
	m->settle = dma_settle;
	m->user = s;
	m->chunk_any = tg_alloc_n(s->arena, chunks, sizeof *m->chunk_any);
	m->chunk_write = tg_alloc_n(s->arena, chunks, sizeof *m->chunk_write);
	s->dram_bytes = s->core.chip->dram_bytes;
	s->dram = map(s, s->dram_bytes);
	s->dram_touched = tg_alloc_n(s->arena, (s->core.chip->dram_bytes >> DRAM_PAGE_SHIFT) / 64 + 1, sizeof *s->dram_touched);
}

static void new_engines(struct tg_sim *s)
{
	const struct tg_chip *chip = s->core.chip;
	s->queues = tg_alloc_n(s->arena, chip->dma_queues, sizeof *s->queues);
	for (uint32_t i = 0; i < chip->dma_queues; i++)
		s->queues[i].done = tg_alloc_n(s->arena, chip->dma_depth, sizeof(uint64_t));
	s->fetch.n_lines = chip->ibuf_bytes / (FETCH_LINE_WORDS * 8);
	s->fetch.total_lines = (s->x->n_words + FETCH_LINE_WORDS - 1) / FETCH_LINE_WORDS;
	s->fetch.ready = tg_alloc_n(s->arena, s->fetch.n_lines, sizeof *s->fetch.ready);
	s->random = s->options.seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	s->random = s->random ? s->random : 1;
}

struct tg_sim *tg_sim_new(struct tg_arena *a, const struct tg_exe *x, const struct tg_sim_options *o)
{
	struct tg_sim *s = tg_alloc(a, sizeof *s);
	s->arena = a;
	tg_arena_cleanup(a, free_memory, s);
	s->x = x;
	s->options = *o;
	if (s->options.max_cycles == 0)
		s->options.max_cycles = UINT64_C(1) << 40;
	pick_level(s);
	s->core.chip = &x->chip;
	s->core.rows = x->chip.sublanes;
	s->core.lanes = x->chip.lanes;
	s->core.n = s->core.rows * s->core.lanes;
	s->core.stride = (x->chip.array_cols + 31) & ~31u;
	s->core.stride_in = (x->chip.array_rows + 31) & ~31u;
	new_registers(s);
	new_arrays(s);
	new_engines(s);
	s->by_prov = tg_alloc_n(a, x->provs.n + 1, sizeof *s->by_prov);
	s->fetched = tg_alloc_n(a, x->provs.n + 1, sizeof *s->fetched);
	sim_decode(s);
	new_memory(s);
	dram_open(s);
	dma_open(s);
	threads_open(s);
	jit_open(s);
	return s;
}

void tg_sim_free(struct tg_sim *s)
{
	if (!s)
		return;
	jit_close(s);
	threads_close(s);
	free_memory(s);
}

void *tg_sim_dram(struct tg_sim *s, uint64_t offset, uint64_t bytes, bool write)
{
	if (offset > s->x->chip.dram_bytes || bytes > s->x->chip.dram_bytes - offset)
		return NULL;
	if (!write) /* the program's own view is not written through this pointer */
		return (void *)(uintptr_t)dram_read(s, offset, offset + bytes);
	dram_touch(s, offset, bytes);
	return dram_write(s, offset, offset + bytes);
}

const struct tg_counters *tg_sim_counters(const struct tg_sim *s)
{
	return &s->total;
}

const struct tg_counters *tg_sim_by_prov(const struct tg_sim *s)
{
	return s->by_prov;
}

/* Stretches of 64 bytes of which some are written: nobody can read the others. */
static void add_sram(struct tg_sha256 *h, const struct tg_memory *m)
{
	uint64_t n = (m->bytes + 63) / 64;
	for (uint64_t at = 0, end; at < n; at = end) {
		for (end = at + 1; end < n && (m->written[end] == 0) == (m->written[at] == 0);)
			end++;
		if (m->written[at] == 0)
			continue;
		tg_sha256_add(h, &at, sizeof at);
		tg_sha256_add(h, m->written + at, (end - at) * sizeof *m->written);
		tg_sha256_add(h, m->at + 64 * at, (end * 64 < m->bytes ? end * 64 : m->bytes) - 64 * at);
	}
}

static void add_accumulators(struct tg_sha256 *h, const struct tg_core *c, const struct tg_array *u)
{
	for (uint32_t r = 0; r < c->chip->acc_rows; r++) {
		if (!u->acc_written[r])
			continue;
		tg_sha256_add(h, &r, sizeof r);
		tg_sha256_add(h, u->acc + (size_t)r * c->stride, c->chip->array_cols * sizeof(uint32_t));
	}
}

void tg_sim_state_hash(const struct tg_sim *s, uint8_t out[32])
{
	const struct tg_core *c = &s->core;
	struct tg_sha256 h;
	threads_wait(s);
	tg_sha256_init(&h);
	tg_sha256_add(&h, c->s, sizeof c->s);
	tg_sha256_add(&h, c->p, sizeof c->p);
	for (unsigned i = 0; i < c->chip->n_vregs; i++)
		tg_sha256_add(&h, c->v[i], c->n * sizeof(uint32_t));
	for (unsigned i = 0; i < c->chip->n_mregs; i++)
		tg_sha256_add(&h, c->m[i], c->n * sizeof(uint32_t));
	add_sram(&h, &c->mem);
	for (uint32_t u = 0; u < c->chip->n_arrays; u++)
		add_accumulators(&h, c, &c->array[u]);
	for (uint64_t k = 0; k < c->chip->dram_bytes >> DRAM_PAGE_SHIFT; k++) {
		if (!(s->dram_touched[k / 64] >> (k % 64) & 1))
			continue;
		tg_sha256_add(&h, &k, sizeof k);
		tg_sha256_add(&h, s->dram + (k << DRAM_PAGE_SHIFT), UINT64_C(1) << DRAM_PAGE_SHIFT);
	}
	tg_sha256_end(&h, out);
}
