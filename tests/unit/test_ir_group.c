/* test_ir_group.c: tile.group: what may share loops and what may not, into a group and out of it, the same results either way. */
#include <stdlib.h>
#include <string.h>

#include "ir_harness.h"

#define HEAD "tegula 1\nnode 0 \"a\" \"A\"\nnode 1 \"b\" \"B\"\ninput \"x\" %1: f32[4x6]\ninput \"w\" %2: f32[6x3]\n"
/* %3 = relu(x): element [d0, d1]; its operand's map and its output's are given */
#define MAKES(maps) "%3: f32[4x6] = tile.stage(%1) @[0] stage {\n dims par 4, par 6\n" maps "}\n"
#define RELU MAKES(" in [d0, d1]\n t1 = arg f32 0\n t2 = const f32 0\n t3 = max f32 t1, t2\n out [d0, d1] t3\n")
/* %4 = %3 * w */
#define PRODUCT                                                                                                                               \
	"%4: f32[4x3] = tile.stage(%3, %2) @[1] stage {\n dims par 4, par 3, red 6\n in [d0, d2]\n in [d2, d1]\n t1 = arg f32 0\n t2 = arg f32 1\n" \
	" t3 = mul f32 t1, t2\n t4 = acc f32 0\n reduce sum t3\n out [d0, d1] t4\n}\n"
/* %4 reads %3 by a map over dims par 4, par 6, red 3 */
#define READS(in) "%4: f32[4x6] = tile.stage(%3) @[1] stage {\n dims par 4, par 6, red 3\n in " in "\n t1 = arg f32 0\n t2 = acc f32 0\n reduce max t1\n out [d0, d1] t2\n}\n"
#define GROUP(operands, attrs, body) HEAD "tile.group(" operands ") {" attrs "} @[0, 1] {\n" body "} yields(%4)\noutput \"y\" %4\n"

static const struct { const char *text, *says; } cases[] = {
	{ GROUP("%1, %2", "dims = [0, 0], tile = [0]", RELU PRODUCT), NULL },
	{ GROUP("%1, %2", "dims = [0, 0], tile = [4]", RELU PRODUCT), NULL },
	{ GROUP("%1", "dims = [0, 1, 0, 1], tile = [2, 3]", RELU READS("[d0, d1]")), NULL },
	{ GROUP("%1", "dims = [0, 0], tile = [2]", RELU READS("[d0, (d1 + d2) mod 6]")), NULL },
	{ GROUP("%1", "dims = [0, 0], tile = [1]", RELU READS("[d0, d1 + d2 - 1] guard 0")), NULL },
	{ GROUP("%1", "dims = [0, 0], tile = [1]", "tile.host(%1) {reason = \"r\"} @[0] {\n" RELU "} yields(%3)\n" READS("[d0, d1]")), "expected stages" },
	{ GROUP("%1, %2", "dims = [0], tile = [0]", RELU PRODUCT), "names 1 dimensions for 2 stages and 1 loops" },
	{ GROUP("%1, %2", "dims = [], tile = []", RELU PRODUCT), "names 0 dimensions" },
	{ HEAD "tile.group() {dims = [], tile = [0]} @[0] {\n} yields()\n", "for 0 stages" },
	{ GROUP("%1, %2", "dims = [0, 3], tile = [0]", RELU PRODUCT), "walks dimension 3 of stage 1, expected a parallel one" },
	{ GROUP("%1, %2", "dims = [0, 2], tile = [0]", RELU PRODUCT), "walks dimension 2 of stage 1, expected a parallel one" },
	{ GROUP("%1", "dims = [0, 1, 0, 0], tile = [0, 0]", RELU READS("[d0, d1]")), "walk the same dimension of stage 1" },
	{ GROUP("%1, %2", "dims = [0, 1], tile = [0]", RELU PRODUCT), "has 3 points in stage 1, expected 4 as in stage 0" },
	{ GROUP("%1, %2", "dims = [0, 0], tile = [5]", RELU PRODUCT), "tiles of 5 points, expected 0 to 4" },
	{ GROUP("%1, %2", "dims = [0, 0], tile = [-1]", RELU PRODUCT), "tiles of -1 points" },
	{ GROUP("%1", "dims = [1, 1], tile = [0]", RELU READS("[d0, d1 + d2 - 1] guard 0")), "at -1 to 1 around the tile, expected 0 to 0: windows are not shared" },
	{ GROUP("%1", "dims = [1, 1], tile = [0]", RELU READS("[d0, (d1) mod 6]")), "does not follow the loop as stage 0 does" },
	{ GROUP("%1", "dims = [1, 1], tile = [0]", RELU READS("[d0, 5 - d1]")), "does not follow the loop as stage 0 does" },
	{ GROUP("%1", "dims = [1, 1], tile = [0]", RELU READS("[d0, d2]")), "does not follow the loop as stage 0 does" },
	{ GROUP("%1", "dims = [0, 1, 0, 1], tile = [0, 0]", RELU READS("[d0, d1 + d0] guard 0")), "moves with loop 0, and does not in stage 0" },
	{ GROUP("%1", "dims = [1, 1], tile = [0]", MAKES(" in [d0, d1]\n t1 = arg f32 0\n out [d0, 5 - d1] t1\n") READS("[d0, 5 - d1]")), NULL },
	{ GROUP("%1", "dims = [0, 0], tile = [0]", RELU PRODUCT), "reads what is no operand of the group" },
	{ GROUP("%1, %2, %2", "dims = [0, 0], tile = [0]", RELU PRODUCT), "operand 2 is read by none of its stages, or listed twice" },
	{ GROUP("%1, %2", "dims = [0, 0], tile = [0]", RELU READS("[d0, d1]")), "operand 1 is read by none of its stages" },
	{ HEAD "tile.group(%1) {dims = [0], tile = [0]} @[0] {\n" RELU "} yields()\n", "nobody reads the result of stage 0" },
	{ HEAD "tile.group(%1) {dims = [0], tile = [0]} {\n" RELU "} yields(%3)\noutput \"y\" %3\n", "has no provenance" },
	{ GROUP("%1, %2", "dims = [0, 0], tile = [0]", RELU PRODUCT) "output \"z\" %3\n", "output 1 is not defined" },
	{ HEAD "%5: f32[4x6] = tile.empty() @[0]\ntile.group(%1, %5) {dims = [0, 0], tile = [0]} @[0, 1] {\n"
	       "%3: f32[4x6] = tile.stage(%1, %5) {into = 1} @[0] stage {\n dims par 4, par 3\n in [d0, d1]\n t1 = arg f32 0\n out [d0, d1] t1\n}\n" READS("[d0, d1]") "} yields(%4)\n",
	  "reads what stage 0 writes only in part" },
	{ HEAD "tile.group(%1) {dims = [0, 0], tile = [0]} @[0, 1] {\n" RELU
	       "%4: f32[4x6] = tile.stage(%1, %3) {into = 1} @[0] stage {\n dims par 4, par 3\n in [d0, d1]\n t1 = arg f32 0\n out [d0, d1] t1\n}\n} yields(%4)\n",
	  "overwrites in part what stage 0 makes" },
};

static struct tg_module *parse(struct h *h, const char *text)
{
	struct tg_module *m = tg_module_parse(&h->d, h->a, "t.tir", text, strlen(text));
	ck_assert_msg(m != NULL, "%s\n%s", h_first_error(h), text);
	return m;
}

static void eval(struct h *h, const struct tg_module *m, struct tg_tensor *y)
{
	float x[24], w[18];
	for (int i = 0; i < 24; i++)
		x[i] = (float)(i * 7 % 11 - 5);
	for (int i = 0; i < 18; i++)
		w[i] = (float)(i * 5 % 7 - 3);
	struct tg_tensor in[2] = { { TG_f32, { 2, { 4, 6 } }, x }, { TG_f32, { 2, { 6, 3 } }, w } };
	ck_assert_msg(tg_eval_module(&h->d, h->a, m, in, y, NULL, NULL), "%s", h_first_error(h));
}

/* Accepted groups go through text and give what their stages give; what is refused says why. */
START_TEST(groups)
{
	static struct h h;
	struct tg_tensor grouped, apart;
	size_t bytes;
	h_open(&h, 1);
	struct tg_module *m = parse(&h, cases[_i].text);
	bool ok = tg_module_verify(&h.d, m);
	ck_assert_msg(ok == !cases[_i].says, "case %d: %s\n%s", _i, ok ? "accepted" : h_first_error(&h), cases[_i].text);
	if (!ok) {
		ck_assert_msg(strstr(h_first_error(&h), cases[_i].says) != NULL, "%s, expected '%s'", h_first_error(&h), cases[_i].says);
		h_close(&h);
		return;
	}
	h_round_trip(&h, m);
	eval(&h, m, &grouped);
	tg_ungroup(m);
	for (const struct tg_op *op = m->body.first; op; op = op->next)
		ck_assert_uint_eq(op->code, TG_TILE_stage);
	ck_assert_msg(tg_module_verify(&h.d, m), "%s", h_first_error(&h));
	eval(&h, m, &apart);
	ck_assert(tg_shape_bytes(&grouped.shape, TG_f32, &bytes) && bytes > 0 && !memcmp(grouped.data, apart.data, bytes));
	h_close(&h);
}
END_TEST

/* Stages become a group with the operands and results that they need, and come out as they were. */
START_TEST(in_and_out)
{
	static struct h h;
	h_open(&h, 1);
	struct tg_module *m = parse(&h, HEAD RELU PRODUCT "output \"y\" %4\noutput \"z\" %3\n");
	struct tg_op *relu = m->body.first, *product = relu->next;
	struct tg_group g = { .stages = (struct tg_op *[]){ relu, product }, .n_stages = 2, .n_shared = 1, .n_results = 2,
			      .dims = (int64_t[]){ 0, 0 }, .tile = (int64_t[]){ 2 }, .results = (tg_val[]){ relu->out[0], product->out[0] } };
	struct tg_op *group = tg_group_new(m, &g);
	ck_assert(m->body.first == group && group->next == NULL);
	ck_assert_uint_eq(group->n_in, 2);
	ck_assert(group->in[0].id == m->inputs.at[0].value.id && group->in[1].id == m->inputs.at[1].value.id);
	ck_assert_uint_eq(m->provs.at[group->prov.id].n, 2);
	ck_assert_msg(tg_module_verify(&h.d, m), "%s", h_first_error(&h));
	h_round_trip(&h, m);
	tg_group_inline(m, group);
	ck_assert(m->body.first == relu && relu->next == product && product->next == NULL && m->body.last == product);
	ck_assert_msg(tg_module_verify(&h.d, m), "%s", h_first_error(&h));
	h_close(&h);
}
END_TEST

/* More stages than lists are searched for. */
START_TEST(too_many_stages)
{
	static struct h h;
	struct tg_buf b;
	h_open(&h, 1);
	tg_buf_init(&b, h.a);
	tg_buf_puts(&b, HEAD "tile.group(%1) {dims = [], tile = [0]} @[0] {\n");
	for (int i = 0; i < 65; i++)
		tg_buf_printf(&b, "%%%d: f32[4x6] = tile.stage(%%1) @[0] stage {\n dims par 4, par 6\n in [d0, d1]\n t1 = arg f32 0\n out [d0, d1] t1\n}\n", 3 + i);
	tg_buf_puts(&b, "} yields(%3)\n");
	ck_assert(!tg_module_verify(&h.d, parse(&h, b.at)));
	ck_assert_msg(strstr(h_first_error(&h), "has 65 stages") != NULL, "%s", h_first_error(&h));
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir group");
	TCase *c = tcase_create("group");
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_loop_test(c, groups, 0, (int)TG_ARRAY_LEN(cases));
	tcase_add_test(c, in_and_out);
	tcase_add_test(c, too_many_stages);
	suite_add_tcase(s, c);
	return run_suite(s);
}
