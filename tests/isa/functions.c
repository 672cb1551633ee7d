/* functions.c: the functions of one lane over dense samples, on both engines: every bit pattern of the narrow formats, and of f32 each exponent with the ends of
 * its mantissas and a stride of all numbers. numerics.h says what comes out; numerics.c holds that against MPFR. */
#include "harness.h"
#include "numerics.h"

#define SAMPLE (1u << 18)
#define IN_AT 0
#define OUT_AT (4 * (int64_t)SAMPLE)
#define DRAM_OUT (16 << 20)

static uint32_t pattern(uint32_t i)
{
	static const uint32_t mantissas[] = {0, 1, 0x7ffffe, 0x7fffff, 0x400000, 0x3fffff, 0x001000, 0x000fff};
	if (i < 512 * TG_ARRAY_LEN(mantissas))
		return (i % 512) << 23 | mantissas[i / 512];
	return i * 16381u;
}

/* Loads the input vector by vector, has `op` compute, stores. */
struct row {
	unsigned load, op, store;
	uint32_t in_bytes, out_bytes;
	tg_lane_fn *expected;
};

static void loop_body(struct program *p, const struct row *r)
{
	emit_n(p, (enum tg_opcode)r->load, 10, (int64_t[]){1, 5, 0, 1, 0, 0, 0, 0, 1, 3});
	EMIT1(p, idle, 300);
	emit_n(p, (enum tg_opcode)r->op, 2, (int64_t[]){4, 1});
	EMIT1(p, idle, 300);
	emit_n(p, (enum tg_opcode)r->store, 9, (int64_t[]){4, 6, 0, 2, 0, 0, 0, 1, 4});
	EMIT1(p, idle, 300);
}

static void run_row(const struct row *r)
{
	struct fixture *f = fixture_new("t1");
	struct program *p = program_new(f), *alone = program_new(f);
	const int64_t lanes = f->chip.lanes, n = lanes * f->chip.sublanes;
	uint8_t *in = tg_alloc(f->a, (size_t)SAMPLE * r->in_bytes);
	for (uint32_t i = 0; i < SAMPLE; i++) {
		uint32_t v = r->in_bytes < 4 ? i : pattern(i);
		memcpy(in + (size_t)i * r->in_bytes, &v, r->in_bytes);
	}
	program_data(p, 0, in, (uint64_t)SAMPLE * r->in_bytes);
	program_copy(p, TG_DRAM_BASE, IN_AT, (int64_t)SAMPLE * r->in_bytes, 8 << 20);
	const int64_t set[][2] = {{1, lanes * r->in_bytes}, {2, lanes * r->out_bytes}, {3, n * r->in_bytes}, {4, n * r->out_bytes}, {5, IN_AT}, {6, OUT_AT}, {7, SAMPLE / n}};
	for (size_t i = 0; i < TG_ARRAY_LEN(set); i++)
		EMIT(p, smov, set[i][0], set[i][1]);
	loop_body(alone, r);
	size_t before = p->code.n;
	EMIT1(p, loop, 7, 0);
	int64_t end = (int64_t)(p->code.n + alone->code.n);
	p->code.n = before;
	EMIT1(p, loop, 7, end);
	loop_body(p, r);
	program_copy(p, OUT_AT, TG_DRAM_BASE + DRAM_OUT, (int64_t)SAMPLE * r->out_bytes, (8 << 20) + 1024);
	program_end(p);
	bool ok;
	const char *name = tg_insn_info((enum tg_opcode)(r->op == TG_I_vmov ? r->in_bytes < 4 ? r->load : r->store : r->op))->name;
	struct tg_sim *sim = run_on_both(f, name, &p->x, (struct tg_sim_options){0}, &f->d, &ok);
	ck_assert_msg(ok, "%s: %s", name, messages(f));
	const uint8_t *out = tg_sim_dram(sim, DRAM_OUT, (uint64_t)SAMPLE * r->out_bytes, false);
	for (uint32_t i = 0; i < SAMPLE; i++) {
		uint32_t a = 0, got = 0, want;
		memcpy(&a, in + (size_t)i * r->in_bytes, r->in_bytes);
		memcpy(&got, out + (size_t)i * r->out_bytes, r->out_bytes);
		want = r->expected(a);
		ck_assert_msg(got == want, "%s(%08x) = %08x, expected %08x", name, a, got, want);
	}
	tg_sim_free(sim);
	fixture_free(f);
}

START_TEST(of_one_operand)
{
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		if (tg_lane_function(op))
			run_row(&(struct row){TG_I_vld_i32, op, TG_I_vst_f32, 4, 4, tg_lane_function(op)});
	}
}
END_TEST

START_TEST(of_loads_and_stores)
{
	static const struct row rows[] = {
		{TG_I_vld_bf16, TG_I_vmov, TG_I_vst_f32, 2, 4, tg_from_bf16}, {TG_I_vld_f16, TG_I_vmov, TG_I_vst_f32, 2, 4, tg_from_f16},
		{TG_I_vld_e4m3, TG_I_vmov, TG_I_vst_f32, 1, 4, tg_from_e4m3}, {TG_I_vld_e5m2, TG_I_vmov, TG_I_vst_f32, 1, 4, tg_from_e5m2},
		{TG_I_vld_i32, TG_I_vmov, TG_I_vst_bf16, 4, 2, tg_to_bf16},   {TG_I_vld_i32, TG_I_vmov, TG_I_vst_f16, 4, 2, tg_to_f16},
		{TG_I_vld_i32, TG_I_vmov, TG_I_vst_e4m3, 4, 1, tg_to_e4m3},   {TG_I_vld_i32, TG_I_vmov, TG_I_vst_e5m2, 4, 1, tg_to_e5m2_store},
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(rows); i++)
		run_row(&rows[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("functions");
	TCase *t = tcase_create("functions");
	tcase_set_timeout(t, 0);
	tcase_add_test(t, of_one_operand);
	tcase_add_test(t, of_loads_and_stores);
	suite_add_tcase(s, t);
	return run_suite(s);
}
