/* test_codegen_pipeline.c: software pipelines seen from inside: what a loop over chunks may overlap, which registers count, where the timeline begins. */
#include "check_run.h"

#include <string.h>

#include "deps.h"

enum { CHUNKS_MEM = 2, RESULT = 3, TRIPS = 64, SLOTS = 4096 };

struct bed { struct tg_heap heap; struct tg_arena *a; struct tg_diag d; struct tg_chip chip; struct mfn f; struct mcursor at; struct mnode *loop; };

static void make(struct bed *b)
{
	memset(b, 0, sizeof *b);
	tg_heap_init(&b->heap);
	b->a = tg_arena_new(&b->heap);
	tg_diag_init(&b->d, b->a);
	ck_assert(tg_chip_load(&b->d, b->a, "t1", &b->chip));
	mfn_init(&b->f, b->a, &b->chip);
	b->at = (struct mcursor){ .f = &b->f, .seq = &b->f.top, .prov = 1 };
}

/* Opens the loop; operations that follow are its body. */
static void open(struct bed *b, uint32_t chunk_trips)
{
	vreg trips = m_const(&b->at, TRIPS);
	b->at = mloop(&b->at, trips);
	b->loop = b->f.top.last;
	b->loop->chunk_trips = chunk_trips;
}

static void drop(struct bed *b)
{
	tg_heap_free(&b->heap);
}

static vreg load(struct bed *b, uint32_t mem)
{
	vreg v = mreg(&b->f, CLASS_V);
	b->at.mem = mem;
	EMIT(&b->at, vld_f32, R(v), 0, 0, 0, 0, 0, 0, 0, 1, 0);
	b->at.mem = MEM_NONE;
	return v;
}

static void transfer(struct bed *b, uint32_t mem, bool wait)
{
	b->at.mem = mem;
	if (wait)
		EMIT(&b->at, dma_wait, 0, 0);
	else
		EMIT(&b->at, dma_start, 0, 0, 0, 0, 0);
	b->at.mem = MEM_NONE;
}

/* Iterations from operation `from` to `to`, by the nearest edge between them; UINT32_MAX: there is none. */
static uint32_t distance(const struct block *g, uint32_t from, uint32_t to)
{
	uint32_t least = UINT32_MAX;
	for (const struct edge *e = g->items[from].out; e; e = e->next)
		least = e->to == to && e->dist < least ? e->dist : least;
	return least;
}

static void graph(struct bed *b, uint32_t n, struct block *g)
{
	*g = (struct block){ .a = b->a, .f = &b->f, .chunk_trips = b->loop->chunk_trips };
	deps_build(g, b->loop->body.first, n, true);
}

/* wait, load, store a result, start the next chunk, start the result on its way */
static void chunk_body(struct bed *b)
{
	transfer(b, CHUNKS_MEM, true);
	vreg v = load(b, CHUNKS_MEM);
	b->at.mem = RESULT;
	EMIT(&b->at, vst_f32, R(v), 0, SLOTS, 0, 0, 0, 0, 1, 0);
	b->at.mem = MEM_NONE;
	transfer(b, CHUNKS_MEM, false);
	transfer(b, RESULT, false);
}

START_TEST(the_next_chunk_starts_beside_this_one)
{
	struct bed b;
	struct block g;
	enum { WAIT, LOAD, STORE, START, LEAVE, N };
	make(&b);
	open(&b, 16);
	chunk_body(&b);
	graph(&b, N, &g);
	ck_assert_uint_eq(distance(&g, WAIT, LOAD), 0);
	ck_assert_uint_eq(distance(&g, LOAD, START), 1); /* of the iteration before: what is read there is what is filled here */
	ck_assert_uint_eq(distance(&g, WAIT, START), 1);
	ck_assert_uint_eq(distance(&g, START, WAIT), 16);
	ck_assert_uint_eq(distance(&g, STORE, LEAVE), 0); /* a result leaves behind its own store */
	drop(&b);
}
END_TEST

START_TEST(a_loop_that_says_nothing_of_chunks_keeps_its_order)
{
	struct bed b;
	struct block g;
	enum { WAIT, LOAD, STORE, START, LEAVE, N };
	make(&b);
	open(&b, 0);
	chunk_body(&b);
	graph(&b, N, &g);
	ck_assert_uint_eq(distance(&g, LOAD, START), 0);
	ck_assert_uint_eq(distance(&g, WAIT, START), 0);
	ck_assert_uint_eq(distance(&g, START, WAIT), 1);
	drop(&b);
}
END_TEST

/* A body that stores `n` scalars from in front of the loop. */
static bool pipelines_with(uint32_t n)
{
	struct bed b;
	vreg held[64];
	make(&b);
	for (uint32_t i = 0; i < n; i++)
		held[i] = m_const(&b.at, i + 1);
	open(&b, 0);
	for (uint32_t i = 0; i < n; i++) {
		b.at.mem = RESULT;
		EMIT(&b.at, sst64, R(held[i]), 0, SLOTS + 8 * (int64_t)i);
		b.at.mem = MEM_NONE;
	}
	mach_schedule(&b.f, 64, true, 0);
	bool done = b.loop->pipe && mach_allocate(&b.f);
	drop(&b);
	return done;
}

START_TEST(neither_trips_nor_rounds_take_a_register_throughout)
{
	struct bed b;
	make(&b);
	uint32_t have = b.chip.n_sregs - 1; /* s0 is 0 */
	drop(&b);
	ck_assert(pipelines_with(have - 1)); /* in front of the loop the rounds need one for a moment */
	ck_assert(!pipelines_with(have + 1));
}
END_TEST

static uint64_t bundles(const struct sched *s)
{
	uint64_t n = s->n;
	for (uint32_t i = 0; i < s->n; i++)
		n += s->at[i].idle;
	return n;
}

/* A chain that takes several iterations to pass, so that there is a pipeline to fill. */
START_TEST(the_timeline_begins_with_an_operation_and_the_loop_takes_no_bundle)
{
	struct bed b;
	uint32_t rounds_at = UINT32_MAX, after = 0;
	make(&b);
	open(&b, 0);
	vreg v = load(&b, CHUNKS_MEM), w = load(&b, CHUNKS_MEM);
	for (int i = 0; i < 8; i++) {
		vreg sum = mreg(&b.f, CLASS_V);
		EMIT(&b.at, vadd_f32, R(sum), R(v), R(w), 0);
		v = sum;
	}
	b.at.mem = RESULT;
	EMIT(&b.at, vst_f32, R(v), 0, SLOTS, 0, 0, 0, 0, 1, 0);
	mach_schedule(&b.f, 64, true, 0);
	const struct pipeline *p = b.loop->pipe;
	ck_assert(p && mach_allocate(&b.f));
	ck_assert_uint_gt(p->stages, 1);
	ck_assert_uint_gt(p->before.at[0].n, 0);
	for (uint32_t i = p->before.n; i-- > 0 && rounds_at == UINT32_MAX;) {
		after += p->before.at[i].idle;
		for (uint32_t k = 0; k < p->before.at[i].n; k++)
			if (p->before.at[i].ops[k]->f[0] == p->rounds.id && p->before.at[i].ops[k]->op == TG_I_smov)
				rounds_at = i;
		after += rounds_at == UINT32_MAX;
	}
	ck_assert_uint_ne(rounds_at, UINT32_MAX);
	ck_assert_uint_ge(after + !p->joined, b.chip.latency.scalar);
	/* the bundles in front of the kernel and the loop's own, if it has one, are those of `stages - 1` intervals at most */
	ck_assert_uint_le(bundles(&p->before) + !p->joined, (uint64_t)(p->stages - 1) * p->interval);
	drop(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline");
	TCase *c = tcase_create("pipeline");
	tcase_add_test(c, the_next_chunk_starts_beside_this_one);
	tcase_add_test(c, a_loop_that_says_nothing_of_chunks_keeps_its_order);
	tcase_add_test(c, neither_trips_nor_rounds_take_a_register_throughout);
	tcase_add_test(c, the_timeline_begins_with_an_operation_and_the_loop_takes_no_bundle);
	suite_add_tcase(s, c);
	return run_suite(s);
}
