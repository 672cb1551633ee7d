/* test_sim_trace.c: the recorder keeps within its bounds and loses nothing but what it counts as lost. */
#include "check_run.h"

#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define TRANSFERS 40

/* TRANSFERS stores, each after many empty bundles, each waited for. */
static const char program[] = ".output y i32 2 65536\n"
			      ".desc 4096 size=1:1:1:8 src_stride=0:0:0:1 dst_stride=0:0:0:1\n"
			      "\tsmov s1, 40\n\tsmov s2, 1000\n"
			      "\tsst32 s1, [s0+0]\n\tsst32 s2, [s0+4]\n"
			      "\tsmov s5, 0x10000000000\n\tsaddi s6, s5, 4096\n\tsaddi s7, s5, 65536\n"
			      "\tloop s1, over\n"
			      "\tloop s2, idle\n\tnop\nidle:\n"
			      "\tdma_start s8, 0, s6, s0, s7\n\tdma_wait 0, s8\n"
			      "over:\n\thalt\n";

struct bed { struct tg_heap heap; struct tg_arena *a; struct tg_diag d; struct tg_chip chip; struct tg_exe x; };

static void open_bed(struct bed *b)
{
	tg_heap_init(&b->heap);
	b->a = tg_arena_new(&b->heap);
	tg_diag_init(&b->d, b->a);
	ck_assert(tg_chip_load(&b->d, b->a, "t1-edge", &b->chip));
	bool ok = tg_asm(&b->d, b->a, &b->chip, "program", program, strlen(program), &b->x);
	ck_assert_msg(ok, "%s", b->d.list.n ? b->d.list.at[0].text : "?");
}

static const struct tg_counters *run(struct bed *b, struct tg_trace *t)
{
	struct tg_sim *s = tg_sim_new(b->a, &b->x, &(struct tg_sim_options){ .trace = t });
	bool ok = tg_sim_run(s, &b->d, 0);
	ck_assert_msg(ok, "%s", b->d.list.n ? b->d.list.at[0].text : "?");
	return tg_sim_counters(s);
}

START_TEST(bounds)
{
	struct bed b;
	open_bed(&b);
	struct tg_trace *all = tg_trace_new(b.a, &b.x, TRANSFERS), *some = tg_trace_new(b.a, &b.x, 3), *none = tg_trace_new(b.a, &b.x, 0);
	const struct tg_counters *plain = run(&b, NULL), *with = run(&b, all);
	run(&b, some);
	run(&b, none);
	ck_assert(memcmp(plain, with, sizeof *plain) == 0); /* recording changes nothing */
	ck_assert_uint_eq(all->transfers.n, TRANSFERS);
	ck_assert_uint_eq(all->lost_transfers, 0);
	ck_assert_uint_eq(some->transfers.n, 3);
	ck_assert_uint_eq(some->lost_transfers, TRANSFERS - 3);
	ck_assert_uint_eq(none->lost_transfers, TRANSFERS);
	for (size_t i = 0; i < all->transfers.n; i++) {
		const struct tg_trace_transfer *x = &all->transfers.at[i];
		ck_assert_uint_le(x->issued, x->begin);
		ck_assert_uint_lt(x->begin, x->end);
		ck_assert_uint_le(x->end, with->cycles);
		ck_assert_uint_eq(x->dram_written_bytes, with->dram_written_bytes / TRANSFERS);
	}
	tg_heap_free(&b.heap);
}
END_TEST

START_TEST(buckets)
{
	struct bed b;
	open_bed(&b);
	struct tg_trace *t = tg_trace_new(b.a, &b.x, 0);
	const struct tg_counters *n = run(&b, t);
	uint64_t issued = 0, stalled = 0, busy = 0, written = 0, length = t->bucket_cycles;
	ck_assert_uint_gt(n->cycles, 10 * TG_TRACE_BUCKETS); /* so that buckets have grown */
	ck_assert_uint_eq(length & (length - 1), 0);
	ck_assert_uint_lt((uint64_t)(t->n_buckets - 1) * length, n->cycles + 1000);
	ck_assert_uint_ge((uint64_t)t->n_buckets * length, n->cycles);
	ck_assert_uint_gt(t->n_buckets, TG_TRACE_BUCKETS / 2 - 1);
	for (uint32_t i = 0; i < t->n_buckets; i++) {
		const struct tg_trace_bucket *k = &t->bucket[i];
		ck_assert_uint_le(k->issued + k->stall_dma_wait + k->stall_dma_full + k->stall_fetch, length);
		issued += k->issued;
		stalled += k->stall_dma_wait + k->stall_dma_full + k->stall_fetch;
		busy += k->busy[TG_SLOT_D];
		written += k->dram_written_bytes;
	}
	ck_assert_uint_eq(issued, n->bundles);
	ck_assert_uint_eq(issued + stalled, n->cycles);
	ck_assert_uint_eq(busy, n->busy[TG_SLOT_D]);
	ck_assert_uint_eq(written, n->dram_written_bytes);
	ck_assert_uint_eq(t->first[0], 0);
	ck_assert_uint_gt(t->first[1], t->last[1]); /* inside an instruction, no bundle starts */
	tg_heap_free(&b.heap);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace");
	TCase *c = tcase_create("recorder");
	tcase_set_timeout(c, 0);
	tcase_add_test(c, bounds);
	tcase_add_test(c, buckets);
	suite_add_tcase(s, c);
	return run_suite(s);
}
