/* test_ir_mach.c: the mach dialect over a table of instructions that no chip has: ir knows only what the table says. */
#include <string.h>

#include "ir_harness.h"

/* set: a scalar = i; sum: a vector = a + b; test: a predicate of a; put: stores a at b. Row 2 is none. */
static const struct tg_attr_info small = { "i", TG_ATTR_INT, 0, NULL, "", -8, 7, 0 }, four = { "size", TG_ATTR_INTS, 0, NULL, "", 0, 0, 4 };
static const uint8_t to_set[] = { TG_PREG }, to_sum[] = { TG_VREG, TG_VREG, TG_PREG }, to_test[] = { TG_SREG, TG_PREG }, to_put[] = { TG_VREG, TG_SREG, TG_PREG };
static const struct tg_op_info rows[] = {
	{ "set", "", TG_MACH, 0, 1, 1, T_CONSTANT, 1, &small, to_set, TG_SREG },
	{ "sum", "", TG_MACH, 2, 3, 1, 0, 0, NULL, to_sum, TG_VREG },
	{ NULL, NULL, TG_MACH, 0, 0, 0, 0, 0, NULL, NULL, 0 },
	{ "test", "", TG_MACH, 1, 2, 1, 0, 0, NULL, to_test, TG_PREG },
	{ "put", "", TG_MACH, 2, 3, 0, 0, 0, NULL, to_put, TG_TENSOR },
	{ "desc", "", TG_MACH, 0, 0, 0, 0, 1, &four, NULL, TG_TENSOR },
	{ "clear", "", TG_MACH, 0, 1, 1, 0, 0, NULL, to_set, TG_VREG },
};
static const struct tg_insn_table table = { rows, TG_ARRAY_LEN(rows) };

#define STAGE "%2: f32[4] = tile.stage(%1) @[0] stage {\n dims par 4\n in [d0]\n t1 = arg f32 0\n out [d0] t1\n}\n"
#define REGS "%3: sreg, %4: vreg, %5: preg, %6: mreg = mach.regs() @[0]\n"
#define MODULE(code) "tegula 1\nnode 0 \"n\" \"N\"\ninput \"x\" %1: f32[4]\n" STAGE code "output \"y\" %2\n"
#define CODE(body) MODULE("mach.code(%2) {window = 8} @[0] {\n" REGS body "}\n")
#define OK NULL

static const struct { const char *text, *says; } cases[] = {
	{ CODE(""), OK },
	{ CODE("mach.buffer() {name = \"a\", sram = 64, bytes = 8} @[0]\nmach.birth() {bytes = 8} @[0]\nmach.desc() {size = [1, 2, 3, 4]} @[0]\n"), OK },
	{ CODE("%3 = mach.set() {i = -8} @[0]\n%3 = mach.set(%0) {i = 7} @[0]\n%0 = mach.set() @[0]\n"), OK },
	{ CODE("%5 = mach.test(%0) @[0]\n%4 = mach.clear(%5) @[0]\nmach.put(%4, %0, %5) @[0]\n"), OK },
	{ CODE("%4 = mach.clear() @[0]\nmach.repeat(%5) @[0] {\n%3 = mach.set() {i = 1} @[0]\n%5 = mach.test(%3) @[0]\n}\nmach.put(%4, %3) @[0]\n"), OK },
	{ CODE("%3 = mach.set() {i = 2} @[0]\nmach.loop(%3) {reuse = 4} @[0] {\nmach.loop(%3) @[0] {\n%4 = mach.clear() @[0]\n}\n}\nmach.put(%4, %3) @[0]\n"), OK },
	{ CODE("%3 = mach.set() {i = 0} @[0]\nmach.loop(%3) @[0] {\n%4 = mach.clear() @[0]\n}\nmach.put(%4, %3) @[0]\n"), "operand 0, %4, is read before anything is written" },
	{ CODE("%5 = mach.test(%0) @[0]\n%3 = mach.set(%5) {i = 1} @[0]\nmach.loop(%3) @[0] {\n%4 = mach.clear() @[0]\n}\nmach.put(%4, %3) @[0]\n"), "%4, is read before" },
	{ CODE("mach.loop(%0) @[0] {\n%3 = mach.set() {i = 1} @[0]\n}\nmach.loop(%3) @[0] {\n}\n"), "operand 0, %3, is read before" },
	{ CODE("mach.loop(%0) @[0] {\n%4 = mach.sum(%4, %4) @[0]\n%4 = mach.clear() @[0]\n}\n"), "%4, is read before" },
	{ CODE("mach.repeat(%5) @[0] {\n%3 = mach.set() @[0]\n}\n"), "operand 0, %5, is read before" },
	{ CODE("%3 = mach.set() {i = 8} @[0]\n"), "i is 8, expected -8 to 7" },
	{ CODE("mach.desc() {size = [1, 2, 3]} @[0]\n"), "size has 3 numbers, expected 4" },
	{ CODE("mach.buffer() {bytes = -1} @[0]\n"), "bytes is -1, expected 0 to" },
	{ CODE("%4 = mach.set() @[0]\n"), "result, %4, is vreg, expected sreg" },
	{ CODE("%4 = mach.clear() @[0]\n%4 = mach.sum(%4, %3) @[0]\n"), "operand 1, %3, is sreg, expected vreg" },
	{ CODE("%4 = mach.clear() @[0]\n%4 = mach.sum(%4, %0) @[0]\n"), "operand 1 is no value" },
	{ CODE("%0 = mach.clear() @[0]\n"), "result is no value" },
	{ CODE("%4 = mach.clear() @[0]\n%4 = mach.sum(%4, %1) @[0]\n"), "operand 1, %1, is tensor, expected vreg" },
	{ CODE("%4 = mach.clear(%3) @[0]\n"), "operand 0, %3, is sreg, expected preg" },
	{ CODE("%4 = mach.sum() @[0]\n"), "has 0 operands, expected 2 to 3" },
	{ CODE("mach.clear() @[0]\n"), "has 0 results, expected 1" },
	{ CODE("%3 = mach.set()\n"), "has no provenance" },
	{ CODE("mach.repeat(%0) @[] {\n}\n"), "has no provenance" },
	{ CODE("mach.loop(%0) @[0]\n"), "has 0 regions, expected 1" },
	{ CODE("mach.loop(%0) @[0] {\n} {\n}\n"), "has 2 regions, expected 1" },
	{ CODE("mach.loop(%0) @[0] {\n%7: sreg = mach.regs() @[0]\n}\n"), "stands in a loop" },
	{ CODE("%7: f32[4] = mach.regs() @[0]\n"), "result 0, %7, is tensor, expected a register" },
	{ CODE("%7: f32[4] = tile.empty() @[0]\n"), "stands in machine code" },
	{ CODE("mach.code(%2) @[0] {\n}\n"), "stands in machine code" },
	{ MODULE("%3: sreg = mach.regs() @[0]\n"), "stands outside mach.code" },
	{ MODULE("%3: sreg = tile.empty() @[0]\n"), "result 0, %3, is sreg, expected tensor" },
	{ MODULE("mach.code(%1) @[0] {\n}\n"), "no result of a stage" },
	{ MODULE("mach.code(%2) @[0] {\n}\nmach.code(%2) @[0] {\n}\n"), "has machine code already" },
	{ MODULE("mach.code(%2) @[0] {\n" REGS "}\nmach.code(%2) @[0] {\n%3 = mach.set() @[0]\n}\n"), "has machine code already" },
	{ MODULE("mach.code(%2) @[0] {\n" REGS "}\n%7: f32[4] = tile.view(%3) @[0]\n"), "belongs to a region that has ended" },
	{ CODE("%3: sreg = mach.set() @[0]\n"), "value %3 is defined twice" },
	{ CODE("%0: sreg = mach.regs() @[0]\n"), "the fixed register" },
	{ CODE("%9 = mach.set() @[0]\n"), "expected ':'" },
	{ CODE("%3 = mach.add() @[0]\n"), "expected the name of an op" },
};

/* What is accepted goes through text, and computes what it computes without machine code; what is refused says why. */
START_TEST(codes)
{
	static struct h h;
	struct tg_buf one, two;
	const char *text = cases[_i].text;
	h_open(&h, 1);
	struct tg_module *m = tg_module_parse_mach(&h.d, h.a, "t.tir", text, strlen(text), &table);
	bool ok = m && tg_module_verify(&h.d, m);
	ck_assert_msg(ok == !cases[_i].says, "case %d: %s\n%s", _i, ok ? "accepted" : h_first_error(&h), text);
	if (!ok) {
		ck_assert_msg(strstr(h_first_error(&h), cases[_i].says) != NULL, "%s, expected '%s'", h_first_error(&h), cases[_i].says);
		h_close(&h);
		return;
	}
	tg_buf_init(&one, h.a);
	tg_buf_init(&two, h.a);
	tg_module_print(&one, m);
	struct tg_module *again = tg_module_parse_mach(&h.d, h.a, "t.tir", one.at, one.n, &table);
	ck_assert_msg(again && tg_module_verify(&h.d, again), "%s\n%s", h_first_error(&h), one.at);
	tg_module_print(&two, again);
	ck_assert_str_eq(one.at, two.at);
	struct tg_tensor x = { TG_f32, { 1, { 4 } }, (float[]){ 1, 2, 3, 4 } }, y;
	ck_assert_msg(tg_eval_module(&h.d, h.a, again, &x, &y, NULL, NULL), "%s", h_first_error(&h));
	ck_assert(!memcmp(x.data, y.data, 16));
	h_close(&h);
}
END_TEST

/* Without a table there are no instructions, and an error of the verifier says where the text is wrong. */
START_TEST(places)
{
	static struct h h;
	static const char code[] = CODE("%3 = mach.set() {i = 1} @[0]\n"), wrong[] = CODE("%3 = mach.set() {i = 1} @[0]\n  %3 = mach.set() {i = 9} @[0]\n");
	h_open(&h, 1);
	ck_assert(!tg_module_parse(&h.d, h.a, "t.tir", code, strlen(code)));
	ck_assert_msg(strstr(h_first_error(&h), "the name of an op") != NULL, "%s", h_first_error(&h));
	h_close(&h);
	h_open(&h, 1);
	struct tg_module *m = tg_module_parse_mach(&h.d, h.a, "t.tir", wrong, strlen(wrong), &table);
	ck_assert(m && !tg_module_verify(&h.d, m));
	ck_assert_str_eq(h.d.list.at[0].loc.file, "t.tir");
	ck_assert_uint_eq(h.d.list.at[0].loc.line, 13);
	ck_assert_uint_eq(h.d.list.at[0].loc.column, 3);
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir mach");
	TCase *c = tcase_create("mach");
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_loop_test(c, codes, 0, (int)TG_ARRAY_LEN(cases));
	tcase_add_test(c, places);
	suite_add_tcase(s, c);
	return run_suite(s);
}
