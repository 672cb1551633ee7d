/* test_ir_eval.c: the evaluator on what graph ops alone do not reach: div and mod, gathers out of range, `into`, splats, special values,
 * rounding of small floats, integer corner cases, contractions of odd shapes and types, empty tensors, liveness, memory. */
#include <math.h>
#include <string.h>

#include "ir_harness.h"

static struct tg_module *parse(struct h *h, const char *text)
{
	struct tg_module *m = tg_module_parse(&h->d, h->a, "t.tir", text, strlen(text));
	ck_assert_msg(m != NULL, "%s", h_first_error(h));
	ck_assert_msg(tg_module_verify(&h->d, m), "%s", h_first_error(h));
	return m;
}

static struct tg_tensor eval(struct h *h, const char *text, const struct tg_tensor *in)
{
	struct tg_tensor y;
	ck_assert_msg(tg_eval_module(&h->d, h->a, parse(h, text), in, &y, NULL, NULL), "%s", h_first_error(h));
	return y;
}

#define HEAD "tegula 1\nnode 0 \"n\" \"N\"\n"

START_TEST(div_mod_and_gather)
{
	static struct h h;
	static const char text[] = HEAD "input \"x\" %1: f32[2x3]\ninput \"i\" %2: i32[6]\n"
					"%3: f32[6] = tile.stage(%1, %2) @[0] stage {\n dims par 6\n"
					" in [(d0) div 3, (d0 + 1) mod 3]\n in [d0]\n t1 = arg f32 0\n out [d0] t1\n}\n"
					"%4: f32[6] = tile.stage(%3, %2) @[0] stage {\n dims par 6\n"
					" in [gather 1] guard -1\n in [d0]\n t1 = arg f32 0\n t2 = inside bool 0\n t3 = const f32 100\n t4 = select f32 t2, t1, t3\n"
					" t5 = add f32 t1, t4\n out [d0] t5\n}\noutput \"y\" %4\n";
	h_open(&h, 1);
	struct tg_tensor in[2] = { { TG_f32, { 2, { 2, 3 } }, (float[]){ 0, 1, 2, 3, 4, 5 } },
				   { TG_i32, { 1, { 6 } }, (int32_t[]){ 0, 5, -1, 6, 3, 2 } } };
	struct tg_tensor y = eval(&h, text, in);
	static const float want[] = { 2, 6, 99, 99, 8, 0 }; /* the rotated rows 1 2 0, 4 5 3 */
	for (int i = 0; i < 6; i++)
		ck_assert_msg(((float *)y.data)[i] == want[i], "%d: %g", i, (double)((float *)y.data)[i]);
	h_close(&h);
}
END_TEST

START_TEST(gather_out_of_range_is_an_error)
{
	static struct h h;
	h_open(&h, 1);
	struct tg_shape s = { 1, { 4 } }, one = { 0 };
	tg_val x = h_input(&h, TG_f32, &s, 0, 1), i = h_input(&h, TG_i64, &one, 4, 4);
	union tg_attr at[1] = { { .i = 0 } };
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_gather, (tg_val[]){ x, i }, 2, at);
	*TG_PUSH(h.a, &h.m->outputs) = (struct tg_port){ "y", y };
	ck_assert(tg_expand_module(&h.d, h.m));
	ck_assert(!tg_eval_module(&h.d, h.a, h.m, h.x, &h.y, NULL, NULL));
	ck_assert_int_eq(h.d.status, TG_ERR_MALFORMED);
	ck_assert_msg(strstr(h_first_error(&h), "node 3") && strstr(h_first_error(&h), "index 4 is outside"), "%s", h_first_error(&h));
	h_close(&h);
}
END_TEST

/* An old value that is still wanted survives a write into it. */
START_TEST(into_keeps_what_others_use)
{
	static struct h h;
	static const char text[] = HEAD "input \"x\" %1: i32[4]\n"
					"%2: i32[4] = tile.stage(%1) @[0] stage {\n dims par 4\n in [d0]\n t1 = arg i32 0\n out [d0] t1\n}\n"
					"%3: i32[4] = tile.stage(%2) {into = 1} @[0] stage {\n dims par 2\n t1 = const i32 9\n out [2*d0 + 1] t1\n}\n"
					"%4: i32[4] = tile.stage(%2, %3) @[0] stage {\n dims par 4\n in [d0]\n in [d0]\n t1 = arg i32 0\n t2 = arg i32 1\n"
					" t3 = const i32 10\n t4 = mul i32 t1, t3\n t5 = add i32 t4, t2\n out [d0] t5\n}\noutput \"y\" %4\n";
	h_open(&h, 1);
	struct tg_tensor in = { TG_i32, { 1, { 4 } }, (int32_t[]){ 1, 2, 3, 4 } };
	struct tg_tensor y = eval(&h, text, &in);
	ck_assert(!memcmp(y.data, (int32_t[]){ 11, 29, 33, 49 }, 16));
	h_close(&h);
}
END_TEST

/* One scalar operation over two i32, i64, u8 or f32 operands, by text. */
static int64_t integer_op(struct h *h, const char *op, const char *type, int64_t a, int64_t b)
{
	char text[600];
	bool one = !strcmp(op, "neg") || !strcmp(op, "abs") || !strcmp(op, "not");
	snprintf(text, sizeof text,
		 HEAD "%%1: %s[] = tile.stage() @[0] stage {\n dims\n t1 = const %s %lld\n t2 = const %s %lld\n t3 = %s %s t1%s\n out [] t3\n}\noutput \"y\" %%1\n",
		 type, type, (long long)a, type, (long long)b, op, type, one ? "" : ", t2");
	struct tg_tensor y = eval(h, text, NULL);
	return tg_get_i64(y.dtype, y.data, 0);
}

START_TEST(integer_corners)
{
	static struct h h;
	h_open(&h, 1);
	static const struct { const char *op, *type; int64_t a, b, want; } cases[] = {
		{ "add", "i32", INT32_MAX, 1, INT32_MIN }, { "mul", "i64", INT64_MAX, 2, -2 }, { "div", "i32", 7, 0, 0 },
		{ "div", "i32", INT32_MIN, -1, INT32_MIN }, { "div", "i64", INT64_MIN, -1, INT64_MIN }, { "div", "i32", -7, 2, -3 },
		{ "rem", "i32", -7, 2, -1 }, { "rem", "i64", INT64_MIN, -1, 0 }, { "rem", "i32", 5, 0, 0 }, { "mod", "i32", -7, 2, 1 },
		{ "mod", "i32", 7, -2, -1 }, { "mod", "i32", 7, 0, 0 }, { "pow", "i32", 3, 4, 81 }, { "pow", "i32", 2, -1, 0 },
		{ "pow", "i32", -1, -3, -1 }, { "pow", "i32", 1, -9, 1 }, { "pow", "i64", 0, 0, 1 }, { "shl", "i32", 1, 32, 0 },
		{ "shl", "u32", 3, 31, 0x80000000LL }, { "shr", "i32", -8, 1, -4 }, { "shr", "i32", -8, 40, -1 }, { "shr", "u32", 0xffffffffLL, 31, 1 },
		{ "shr", "u32", 8, 32, 0 }, { "neg", "i32", INT32_MIN, 0, INT32_MIN }, { "abs", "i64", INT64_MIN, 0, INT64_MIN },
		{ "not", "i32", 5, 0, -6 }, { "min", "u64", -1, 3, 3 }, { "max", "u64", -1, 3, -1 }, { "div", "u64", -1, 2, INT64_MAX },
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++) {
		int64_t got = integer_op(&h, cases[i].op, cases[i].type, cases[i].a, cases[i].b);
		ck_assert_msg(got == cases[i].want, "%s %s %lld %lld: got %lld", cases[i].op, cases[i].type, (long long)cases[i].a,
			      (long long)cases[i].b, (long long)got);
	}
	h_close(&h);
}
END_TEST

static double float_op(struct h *h, const char *op, double a, double b)
{
	char text[600];
	uint64_t x, y;
	memcpy(&x, &a, 8);
	memcpy(&y, &b, 8);
	snprintf(text, sizeof text,
		 HEAD "%%1: f32[] = tile.stage() @[0] stage {\n dims\n t1 = const f32 bits 0x%llx\n t2 = const f32 bits 0x%llx\n t3 = %s f32 t1, t2\n out [] t3\n}\noutput \"y\" %%1\n",
		 (unsigned long long)x, (unsigned long long)y, op);
	struct tg_tensor t = eval(h, text, NULL);
	return tg_get_f64(TG_f32, t.data, 0);
}

START_TEST(float_corners)
{
	static struct h h;
	h_open(&h, 1);
	ck_assert(isnan(float_op(&h, "max", NAN, 1)) && isnan(float_op(&h, "max", 1, NAN)) && isnan(float_op(&h, "min", 1, NAN)));
	ck_assert(!signbit(float_op(&h, "max", -0.0, 0.0)) && !signbit(float_op(&h, "max", 0.0, -0.0)));
	ck_assert(signbit(float_op(&h, "min", -0.0, 0.0)) && signbit(float_op(&h, "min", 0.0, -0.0)));
	ck_assert(float_op(&h, "mod", -7, 3) == 2 && float_op(&h, "mod", 7, -3) == -2 && float_op(&h, "rem", -7, 3) == -1);
	ck_assert(float_op(&h, "div", 1, 0) == INFINITY && isnan(float_op(&h, "div", 0, 0)));
	h_close(&h);
}
END_TEST

/* wrap and sat of f32 to every small float, against base's conversion of the same value */
START_TEST(rounding)
{
	static struct h h;
	static const enum tg_dtype types[] = { TG_f16, TG_bf16, TG_f8e4m3fn, TG_f8e4m3fnuz, TG_f8e5m2, TG_f8e5m2fnuz, TG_f4e2m1 };
	enum tg_dtype t = types[_i];
	char text[500];
	enum { N = 4000 };
	static float x[N];
	h_open(&h, (uint64_t)_i);
	for (int i = 0; i < N; i++) {
		uint32_t bits = (uint32_t)h_random(&h);
		memcpy(&x[i], &bits, 4);
		if (i % 2 || isnan(x[i]))
			x[i] = (float)h_between(&h, -(1 << 20), 1 << 20) / (float)(1 << h_between(&h, 0, 30));
	}
	snprintf(text, sizeof text,
		 HEAD "input \"x\" %%1: f32[%d]\n%%2: f32[%d] = tile.stage(%%1) @[0] stage {\n dims par %d\n in [d0]\n t1 = arg f32 0\n t2 = sat f32 %s t1\n out [d0] t2\n}\noutput \"y\" %%2\n",
		 N, N, N, tg_dtypes[t].name);
	struct tg_tensor in = { TG_f32, { 1, { N } }, x }, y = eval(&h, text, &in);
	for (int i = 0; i < N; i++) {
		uint8_t raw[8] = { 0 };
		tg_put_f64(t, raw, 0, x[i]);
		double want = tg_get_f64(t, raw, 0), got = ((float *)y.data)[i];
		ck_assert_msg(got == want, "%s of %a: got %a, want %a", tg_dtypes[t].name, (double)x[i], got, want);
	}
	h_close(&h);
}
END_TEST

/* Stores of small types read back as what was stored. */
START_TEST(stores_and_loads)
{
	static struct h h;
	static const enum tg_dtype types[] = { TG_f16, TG_bf16, TG_f8e4m3fn, TG_f8e5m2, TG_i8, TG_u8, TG_i16, TG_u16, TG_i4, TG_u4, TG_i2, TG_u2, TG_i64, TG_f64 };
	h_open(&h, (uint64_t)_i);
	struct tg_shape s = { 2, { 7, 9 } };
	tg_val x = h_input(&h, types[_i], &s, types[_i] == TG_i2 ? -2 : types[_i] == TG_u2 ? 0 : -8, types[_i] == TG_i2 ? 1 : types[_i] == TG_u2 ? 3 : 7);
	union tg_attr at[1];
	at[0].ints.at = (int64_t[]){ 1, 0 };
	at[0].ints.n = 2;
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_transpose, &x, 1, at);
	h_run_module(&h, y);
	for (int64_t i = 0; i < 7; i++)
		for (int64_t j = 0; j < 9; j++)
			ck_assert(h_at(&h.y, (int64_t[]){ j, i }) == h_at(&h.x[0], (int64_t[]){ i, j }));
	h_close(&h);
}
END_TEST

/* Long columns, more than one block each way, both sides guarded. */
START_TEST(large_contraction)
{
	static struct h h;
	struct tg_shape a = { 3, { 2, 37, 611 } }, b = { 2, { 611, 290 } };
	h_open(&h, 9);
	tg_val in[2] = { h_input(&h, _i ? TG_i8 : TG_f32, &a, -9, 9), h_input(&h, _i ? TG_u8 : TG_f32, &b, -9, 9) };
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_matmul, in, 2, NULL);
	h_run_module(&h, y);
	for (int64_t q = 0; q < 2; q++)
		for (int64_t i = 0; i < 37; i++)
			for (int64_t j = 0; j < 290; j++) {
				double sum = 0;
				for (int64_t k = 0; k < 611; k++)
					sum += h_at(&h.x[0], (int64_t[]){ q, i, k }) * h_at(&h.x[1], (int64_t[]){ k, j });
				double got = h_at(&h.y, (int64_t[]){ q, i, j });
				ck_assert_msg(fabs(got - sum) <= (_i ? 0 : 1e-6 * (1 + fabs(sum))), "%g, want %g", got, sum);
			}
	h_close(&h);
}
END_TEST

/* i32 products that leave 2^53 must wrap, not round. */
START_TEST(wide_integers_wrap)
{
	static struct h h;
	struct tg_shape a = { 2, { 1, 3 } }, b = { 2, { 3, 1 } };
	h_open(&h, 9);
	tg_val in[2] = { h_input(&h, TG_i64, &a, 0x1fffffffffffff, 0x1fffffffffffff), h_input(&h, TG_i64, &b, 1001, 1001) };
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_matmul, in, 2, NULL);
	h_run_module(&h, y);
	uint64_t want = 3ULL * 1001 * 0x1fffffffffffff;
	ck_assert(tg_get_i64(TG_i64, h.y.data, 0) == (int64_t)want);
	h_close(&h);
}
END_TEST

START_TEST(empty_tensors)
{
	static struct h h;
	struct tg_shape a = { 2, { 0, 4 } }, b = { 2, { 4, 3 } };
	h_open(&h, 1);
	tg_val in[2] = { h_input(&h, TG_f32, &a, -9, 9), h_input(&h, TG_f32, &b, -9, 9) };
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_matmul, in, 2, NULL);
	y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_relu, &y, 1, NULL);
	h_run_module(&h, y);
	ck_assert(h.y.shape.dim[0] == 0 && h.y.shape.dim[1] == 3);
	h_close(&h);
}
END_TEST

/* A chain of large tensors needs no more than a few of them at a time. */
static bool count_watch(void *user, const struct tg_module *m, tg_val v, const struct tg_tensor *t)
{
	(void)m, (void)v, (void)t;
	++*(int *)user;
	return true;
}

START_TEST(tensors_go_after_their_last_use)
{
	static struct h h;
	struct tg_shape s = { 1, { 1 << 20 } };
	int seen = 0;
	h_open(&h, 1);
	tg_val v = h_input(&h, TG_f32, &s, -1, 1);
	for (int i = 0; i < 40; i++)
		v = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_neg, &v, 1, NULL);
	*TG_PUSH(h.a, &h.m->outputs) = (struct tg_port){ "y", v };
	ck_assert(tg_expand_module(&h.d, h.m));
	h.heap.limit_bytes = h.heap.used_bytes + (24U << 20); /* 4 MiB each */
	if (setjmp(h.heap.unwind))
		ck_abort_msg("out of memory");
	ck_assert_msg(tg_eval_module(&h.d, h.a, h.m, h.x, &h.y, count_watch, &seen), "%s", h_first_error(&h));
	ck_assert_int_eq(seen, 40);
	ck_assert(!memcmp(h.y.data, h.x[0].data, 4U << 20));
	h_close(&h);
}
END_TEST

/* A splat of 2^40 elements is never made whole. */
START_TEST(splats_stay_small)
{
	static struct h h;
	struct tg_shape s = { 2, { 1 << 20, 1 << 20 } };
	h_open(&h, 1);
	tg_val v = tg_graph_const(h.m, h.prov, tg_const_splat(h.a, TG_f32, &s, 2.5));
	union tg_attr at[3];
	at[0].ints.at = (int64_t[]){ 5, 7 };
	at[1].ints.at = (int64_t[]){ 1, 1 };
	at[2].ints.at = (int64_t[]){ 2, 3 };
	at[0].ints.n = at[1].ints.n = at[2].ints.n = 2;
	v = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_slice, &v, 1, at);
	h_run_module(&h, v);
	ck_assert(h_at(&h.y, (int64_t[]){ 1, 2 }) == 2.5);
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir eval");
	TCase *c = tcase_create("eval");
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_test(c, div_mod_and_gather);
	tcase_add_test(c, gather_out_of_range_is_an_error);
	tcase_add_test(c, into_keeps_what_others_use);
	tcase_add_test(c, integer_corners);
	tcase_add_test(c, float_corners);
	tcase_add_loop_test(c, rounding, 0, 7);
	tcase_add_loop_test(c, stores_and_loads, 0, 14);
	tcase_add_loop_test(c, large_contraction, 0, 2);
	tcase_add_test(c, wide_integers_wrap);
	tcase_add_test(c, empty_tensors);
	tcase_add_test(c, tensors_go_after_their_last_use);
	tcase_add_test(c, splats_stay_small);
	suite_add_tcase(s, c);
	return run_suite(s);
}
