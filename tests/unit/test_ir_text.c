/* test_ir_text.c: the textual form: what was printed reads back to the same bits; what is wrong is refused with line and column, whatever
 * it is, and never crashes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir_harness.h"

#define HEAD "tegula 1\nnode 0 \"n\" \"N\"\ninput \"x\" %1: f32[2x3]\n"
#define STAGE(body) HEAD "%2: f32[2x3] = tile.stage(%1) @[0] stage {\n" body "}\noutput \"y\" %2\n"

static const struct { const char *text, *says; } malformed[] = {
	{ "", "expected tegula" },
	{ "tegula 9", "expected less than 2" },
	{ HEAD "%2: f32[2x3] = graph.relu(%3) @[0]", "used before its definition" },
	{ HEAD "%1: f32[2x3] = graph.relu(%1) @[0]", "defined twice" },
	{ HEAD "%2: f32[2x3] = graph.relu(%2) @[0]", "uses its own result" },
	{ HEAD "%2: f32[2x3] = graph.nonsense(%1) @[0]", "the name of an op" },
	{ HEAD "%2: f32[2x3] = graph.relu(%1) @[7]", "expected less than 1" },
	{ HEAD "%2: f32[2x3] = graph.relu(%1) @[0, 0]", "ascending" },
	{ HEAD "%2: f99[2x3] = graph.relu(%1) @[0]", "expected an element type" },
	{ HEAD "%2: f32[2x] = graph.relu(%1) @[0]", "extents like" },
	{ HEAD "%2: f32[1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1] = graph.relu(%1)", "more than 16 dimensions" },
	{ HEAD "%2: f32[99999999999999999999] = graph.relu(%1)", "too large" },
	{ HEAD "%2: f32[4611686018427387904x4] = graph.relu(%1)", "too large" },
	{ HEAD "%2: f32[2x3] = graph.leaky_relu(%1) {beta = 1}", "an attribute of this op" },
	{ HEAD "%2: f32[2x3] = graph.leaky_relu(%1) {alpha = }", "expected a number" },
	{ HEAD "%2: f32[2x3] = graph.leaky_relu(%1) {alpha = 1e}", "expected a number" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[2x3] [1, 2]}", "expected ','" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[2x3] hex \"00\"}", "expected 48" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[2x3] base64 \"AAAA\"}", "expected 32" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[2x3] file 0 at 0}", "expected less than 0" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[1000000x1000000] base64 \"AAAA\"}", "4 characters of base64" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = f32[1000000x1000000] [1, 2]}", "the text ends before" },
	{ HEAD "%2: f32[2x3] = graph.constant() {value = str[2] [1, 2]}", "expected a number type" },
	{ HEAD "file \"/nonexistent/x\" sha256 \"0000000000000000000000000000000000000000000000000000000000000000\"", "cannot open" },
	{ HEAD "output \"y\" %99999999999", "too large" },
	{ HEAD "output \"y", "string without end" },
	{ HEAD "output \"\\q\" %1", "bad escape" },
	{ HEAD "output \"\\x00\" %1", "bad escape" },
	{ HEAD "} yields(%1)", "expected an op" },
	{ HEAD "tile.host(%1) {reason = \"\"} @[0] {", "expected '}'" },
	{ HEAD "tile.host(%1) {reason = \"\"} @[0] { } ", "expected yields" },
	{ STAGE("dims par 2, par 3\n in [d0, d2]\n"), "d and a number below 2" },
	{ STAGE("dims par 2, par 3\n in [d0, 9223372036854775807*d1 + 9223372036854775807*d1]\n"), "leaves 64 bits" },
	{ STAGE("dims par 2, par 3\n in [(d0) div 0, d1]\n"), "expected a positive number" },
	{ STAGE("dims par 2, par 3\n in [gather 1, d1]\n"), "expected less than 1" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n in [d0, d1]\n"), "more operands" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n t1 = arg f32 1\n"), "expected less than 1" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n t1 = neg f32 t1\n"), "t and a number below 1" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n t2 = arg f32 0\n"), "" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n t1 = arg f32 0\n reduce avg t1\n"), "sum, prod, max or min" },
	{ STAGE("dims par 2, par 3\n in [d0, d1]\n t1 = const f32 nan\n"), "expected a number" },
};

START_TEST(malformed_texts)
{
	static struct h h;
	h_open(&h, 1);
	const char *text = malformed[_i].text;
	ck_assert_msg(!tg_module_parse(&h.d, h.a, "bad.tir", text, strlen(text)), "accepted: %s", text);
	ck_assert_msg(strstr(h_first_error(&h), malformed[_i].says) != NULL, "%s\nfor %s", h_first_error(&h), text);
	ck_assert_int_eq(h.d.status, strstr(malformed[_i].says, "cannot open") ? TG_ERR_IO : TG_ERR_MALFORMED);
	h_close(&h);
}
END_TEST

/* A module with something of everything. */
static tg_val everything(struct h *h)
{
	struct tg_shape s = { 3, { 2, 4, 6 } }, big = { 2, { 10, 30 } };
	tg_val x = h_input(h, TG_f32, &s, -3, 3), i = h_input(h, TG_i64, &(struct tg_shape){ 1, { 5 } }, 0, 3);
	float odd[4] = { NAN, INFINITY, -0.0F, 1e-45F };
	float many[300];
	for (int k = 0; k < 300; k++)
		many[k] = (float)k / 7;
	tg_graph_const(h->m, h->prov, tg_const_dense(h->a, TG_f32, &(struct tg_shape){ 1, { 4 } }, odd, false));
	tg_graph_const(h->m, h->prov, tg_const_dense(h->a, TG_f32, &big, many, false));
	tg_graph_const(h->m, h->prov, tg_const_splat(h->a, TG_bf16, &big, 0.1));
	tg_graph_const(h->m, h->prov, tg_const_splat_i64(h->a, TG_u64, &big, -1));
	tg_graph_const(h->m, h->prov, tg_const_dense(h->a, TG_i4, &(struct tg_shape){ 1, { 3 } }, "\x21\x0f", false));
	union tg_attr at[8] = { { .i = 1 } };
	tg_val g = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, TG_OP_gather, (tg_val[]){ x, i }, 2, at);
	tg_val sm = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, TG_OP_softplus, &g, 1, NULL);
	at[0].ints.at = h_ints(h, 3, 1);
	at[1].ints.at = h_ints(h, 3, 2);
	at[0].ints.n = at[1].ints.n = 3;
	at[2].s = "reflect";
	tg_val p = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, TG_OP_pad, &sm, 1, at);
	tg_value_of(h->m, p)->name = "näme \"with\" \\ quotes\n";
	return p;
}

START_TEST(all_kinds_round_trip)
{
	static struct h h;
	h_open(&h, 3);
	h.m->macs = 12345678901234;
	h.m->chip_text = "lanes: 128\nsublanes: 8\n";
	h.m->flags = "--precision bf16";
	h_run_module(&h, everything(&h));
	h_close(&h);
}
END_TEST

START_TEST(layouts_and_regions)
{
	static struct h h;
	static const char text[] = HEAD "tile.host(%1) {reason = \"because\"} @[0] {\n"
					"%2: f32[2x3] layout [1, 0] = tile.stage(%1) {into = 0, plan = \"\"} @[0] stage {\n"
					"\tdims par 2, par 3\n\tin [d0, d1] guard bits 0x7ff8000000000000\n\tt1 = arg f32 0\n\tout [d0, d1] t1\n}\n"
					"} yields(%2)\noutput \"y\" %2\n";
	h_open(&h, 3);
	struct tg_module *m = tg_module_parse(&h.d, h.a, "t.tir", text, strlen(text));
	ck_assert_msg(m != NULL, "%s", h_first_error(&h));
	ck_assert_msg(tg_module_verify(&h.d, m), "%s", h_first_error(&h));
	h_round_trip(&h, m);
	struct tg_tensor x = { TG_f32, { 2, { 2, 3 } }, (float[]){ 1, 2, 3, 4, 5, 6 } }, y;
	ck_assert_msg(tg_eval_module(&h.d, h.a, m, &x, &y, NULL, NULL), "%s", h_first_error(&h));
	ck_assert(!memcmp(x.data, y.data, 24));
	h_close(&h);
}
END_TEST

/* Every prefix of a text, and texts with a byte changed: refused or read, and then verified or not, without a crash. */
START_TEST(damaged_texts)
{
	static struct h h;
	struct tg_buf b;
	h_open(&h, 5);
	tg_val y = everything(&h);
	*TG_PUSH(h.a, &h.m->outputs) = (struct tg_port){ "y", y };
	ck_assert(tg_expand_module(&h.d, h.m));
	tg_buf_init(&b, h.a);
	tg_module_print(&b, h.m);
	for (int i = 0; i < 3000; i++) {
		struct tg_arena *a = tg_arena_new(&h.heap);
		struct tg_diag d;
		tg_diag_init(&d, a);
		size_t n = i < 1000 ? b.n * (size_t)i / 1000 : b.n;
		char *text = malloc(n + 1);
		memcpy(text, b.at, n);
		for (int k = 0; i >= 1000 && k < 1 + i % 3; k++)
			text[h_random(&h) % n] = "0129[]{}()%,=+-*dtx\"@\n fi"[h_random(&h) % 25];
		struct tg_module *m = tg_module_parse(&d, a, "damaged.tir", text, n);
		if (m && tg_module_verify(&d, m)) {
			struct tg_buf again;
			tg_buf_init(&again, a);
			tg_module_print(&again, m);
			ck_assert(tg_expand_module(&d, m));
			ck_assert(tg_module_verify(&d, m));
		} else {
			ck_assert_uint_gt(d.n_errors, 0);
		}
		free(text);
		tg_arena_free(a);
	}
	h_close(&h);
}
END_TEST

/* Weights stay in their file; the text names place and hash. */
START_TEST(weights_in_a_file)
{
	static struct h h;
	char path[4096];
	float w[200];
	struct tg_shape s = { 1, { 100 } };
	temporary_name(path, sizeof path);
	int fd = mkstemp(path);
	for (int i = 0; i < 200; i++)
		w[i] = (float)i;
	ck_assert(fd >= 0 && write(fd, w, sizeof w) == sizeof w);
	close(fd);
	h_open(&h, 1);
	struct tg_module_file f = { .path = path };
	ck_assert(tg_file_map(&h.d, h.a, path, 1 << 20, &f.map));
	*TG_PUSH(h.a, &h.m->files) = f;
	struct tg_const *c = tg_const_dense(h.a, TG_f32, &s, f.map.at + 400, true);
	c->file = 0;
	c->file_offset = 400;
	tg_val y = tg_graph_const(h.m, h.prov, c);
	h_run_module(&h, y);
	ck_assert(h_at(&h.y, (int64_t[]){ 7 }) == 107);

	struct tg_buf b;
	tg_buf_init(&b, h.a);
	tg_module_print(&b, h.m);
	char *digit = strstr(b.at, "sha256 \"") + 8;
	*digit = *digit == '0' ? '1' : '0';
	ck_assert(!tg_module_parse(&h.d, h.a, "x.tir", b.at, b.n));
	ck_assert(strstr(h_first_error(&h), "hash") != NULL);
	tg_file_unmap(&f.map);
	unlink(path);
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir text");
	TCase *c = tcase_create("text");
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_loop_test(c, malformed_texts, 0, (int)TG_ARRAY_LEN(malformed));
	tcase_add_test(c, all_kinds_round_trip);
	tcase_add_test(c, layouts_and_regions);
	tcase_add_test(c, damaged_texts);
	tcase_add_test(c, weights_in_a_file);
	suite_add_tcase(s, c);
	return run_suite(s);
}
