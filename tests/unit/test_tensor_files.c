/* test_tensor_files.c: tensors through .npy, .npz and .pb files and back, damaged and hostile headers, data sets, and the comparison of tensors. */
#include "check_run.h"
#include "tensor_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tg_heap heap;
static struct tg_arena *a;
static struct tg_diag d;
static char folder[4096];

static void begin(void)
{
	tg_heap_init(&heap);
	heap.limit_bytes = 64 << 20; /* a size from a header must not be believed */
	a = tg_arena_new(&heap);
	tg_diag_init(&d, a);
	temporary_name(folder, sizeof folder);
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void end(void)
{
	char *command = tg_asprintf(a, "rm -r '%s'", folder);
	ck_assert_int_eq(system(command), 0);
	tg_heap_free(&heap);
}

static char *in_folder(const char *name) { return tg_asprintf(a, "%s/%s", folder, name); }

static struct tg_tensor pattern(enum tg_dtype t, struct tg_shape s)
{
	struct tg_tensor x;
	size_t bytes;
	ck_assert(tg_tensor_alloc(&d, a, t, &s, &x) && tg_shape_bytes(&s, t, &bytes));
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)x.data)[i] = (uint8_t)(t == TG_bool ? i % 2 : i * 37 + 11);
	if (tg_dtypes[t].bits < 8 && bytes) { /* the unused bits of the last byte are zero */
		int64_t n;
		tg_shape_count(&s, &n);
		uint32_t used = (uint32_t)(n * tg_dtypes[t].bits % 8);
		if (used)
			((uint8_t *)x.data)[bytes - 1] &= (uint8_t)((1u << used) - 1);
	}
	return x;
}

static void expect_same(const struct tg_tensor *have, const struct tg_tensor *want)
{
	size_t bytes;
	ck_assert_int_eq(have->dtype, want->dtype);
	ck_assert(tg_shape_equal(&have->shape, &want->shape));
	ck_assert(tg_shape_bytes(&want->shape, want->dtype, &bytes));
	ck_assert(bytes == 0 || memcmp(have->data, want->data, bytes) == 0);
}

static const struct tg_shape shapes[] = { { 0, { 0 } }, { 1, { 5 } }, { 1, { 0 } }, { 3, { 2, 3, 4 } }, { 16, { 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 3 } } };

/* ---- round trips ---- */

static bool is_plain(enum tg_dtype t)
{
	return t != TG_none && t != TG_str && tg_dtypes[t].kind != TG_KIND_COMPLEX;
}

START_TEST(npy_comes_back)
{
	char *path = in_folder("x.npy");
	for (int t = 1; t < TG_N_DTYPES; t++)
		for (size_t k = 0; is_plain((enum tg_dtype)t) && tg_dtypes[t].bits >= 8 && k < TG_ARRAY_LEN(shapes); k++) {
			struct tg_named_tensor x = { "x", pattern((enum tg_dtype)t, shapes[k]) };
			struct tg_tensor_list back = { 0 };
			ck_assert(tg_tensors_write(&d, a, path, &x, 1));
			ck_assert(tg_tensors_read(&d, a, path, &back));
			ck_assert_uint_eq(back.n, 1);
			ck_assert_str_eq(back.at[0].name, "");
			ck_assert(tg_tensor_retype(&back.at[0].t, (enum tg_dtype)t));
			expect_same(&back.at[0].t, &x.t);
		}
	struct tg_named_tensor packed = { "x", pattern(TG_i4, shapes[1]) };
	ck_assert(!tg_tensors_write(&d, a, path, &packed, 1));
	ck_assert_int_eq(d.status, TG_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(pb_comes_back_with_its_name)
{
	char *path = in_folder("x.pb");
	for (int t = 1; t < TG_N_DTYPES; t++)
		for (size_t k = 0; is_plain((enum tg_dtype)t) && k < TG_ARRAY_LEN(shapes); k++) {
			struct tg_named_tensor x = { "a\"name", pattern((enum tg_dtype)t, shapes[k]) };
			struct tg_tensor_list back = { 0 };
			ck_assert_msg(tg_tensors_write(&d, a, path, &x, 1) && tg_tensors_read(&d, a, path, &back), "type %s: %s", tg_dtypes[t].name,
				      d.list.n ? d.list.at[0].text : "");
			ck_assert_str_eq(back.at[0].name, "a\"name");
			expect_same(&back.at[0].t, &x.t);
		}
}
END_TEST

START_TEST(npz_comes_back_and_is_the_same_file)
{
	struct tg_named_tensor x[] = { { "first", pattern(TG_f32, shapes[3]) }, { "sec/ond", pattern(TG_i64, shapes[1]) }, { "none", pattern(TG_u8, shapes[2]) } };
	struct tg_tensor_list back = { 0 };
	struct tg_file one, two;
	ck_assert(tg_tensors_write(&d, a, in_folder("x.npz"), x, 3));
	ck_assert(tg_tensors_read(&d, a, in_folder("x.npz"), &back));
	ck_assert_uint_eq(back.n, 3);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_str_eq(back.at[i].name, x[i].name);
		expect_same(&back.at[i].t, &x[i].t);
	}
	sleep(1); /* the archive holds no time of day */
	ck_assert(tg_tensors_write(&d, a, in_folder("y.npz"), x, 3));
	ck_assert(tg_file_map(&d, a, in_folder("x.npz"), 1 << 20, &one) && tg_file_map(&d, a, in_folder("y.npz"), 1 << 20, &two));
	ck_assert(one.n == two.n && memcmp(one.at, two.at, one.n) == 0);
	for (size_t n = 0; n < one.n; n += 7) { /* cut anywhere, and with one byte changed */
		uint8_t *bytes = tg_alloc(a, one.n);
		memcpy(bytes, one.at, one.n);
		ck_assert(tg_file_write(&d, in_folder("cut.npz"), bytes, n));
		back.n = 0;
		ck_assert(!tg_tensors_read(&d, a, in_folder("cut.npz"), &back));
		bytes[n] ^= 0x5a;
		ck_assert(tg_file_write(&d, in_folder("flip.npz"), bytes, one.n));
		back.n = 0;
		tg_tensors_read(&d, a, in_folder("flip.npz"), &back);
	}
	tg_file_unmap(&one);
	tg_file_unmap(&two);
}
END_TEST

START_TEST(one_file_holds_what_its_ending_says)
{
	struct tg_named_tensor x[] = { { "a", pattern(TG_f32, shapes[1]) }, { "b", pattern(TG_f32, shapes[1]) } };
	struct tg_tensor_list back = { 0 };
	ck_assert(!tg_tensors_write(&d, a, in_folder("x.npy"), x, 2));
	ck_assert_int_eq(d.status, TG_ERR_USAGE);
	ck_assert(!tg_tensors_write(&d, a, in_folder("x.txt"), x, 1));
	ck_assert(!tg_tensors_read(&d, a, in_folder("x.txt"), &back));
	tg_diag_init(&d, a);
	ck_assert(!tg_tensors_read(&d, a, in_folder("nowhere.npz"), &back));
	ck_assert_int_eq(d.status, TG_ERR_IO);
}
END_TEST

/* ---- the header of .npy ---- */

static bool parse(const char *header, uint8_t major, size_t n_data, struct tg_tensor *out)
{
	struct tg_buf b;
	size_t n = strlen(header);
	tg_buf_init(&b, a);
	tg_buf_add(&b, "\x93NUMPY", 6);
	tg_buf_add(&b, (uint8_t[]){ major, 0, (uint8_t)n, (uint8_t)(n >> 8), 0, 0 }, major == 1 ? 4 : 6);
	tg_buf_add(&b, header, n);
	uint8_t *data = tg_alloc(a, n_data + 1);
	for (size_t i = 0; i < n_data; i++)
		data[i] = (uint8_t)i;
	tg_buf_add(&b, data, n_data);
	tg_diag_init(&d, a);
	return tg_npy_parse(&d, a, "x.npy", (const uint8_t *)b.at, b.n, out);
}

START_TEST(headers_that_numpy_writes)
{
	struct tg_tensor x;
	ck_assert(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }       \n", 1, 24, &x) && x.dtype == TG_f32 && x.shape.rank == 2);
	ck_assert(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", 2, 24, &x) && x.shape.dim[0] == 6);
	ck_assert(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", 3, 4, &x) && x.shape.rank == 0);
	ck_assert(parse("{\"shape\":(2L,3L),\"fortran_order\":False,\"descr\":\"|u1\"}", 1, 6, &x) && x.dtype == TG_u8);
	ck_assert(parse("{'descr': '<i8', 'fortran_order': True, 'shape': (0, 3), }\n", 1, 0, &x));
	ck_assert(parse("{'descr': '<u1', 'fortran_order': True, 'shape': (2, 3), }\n", 1, 6, &x));
	static const uint8_t rows[] = { 0, 2, 4, 1, 3, 5 };
	ck_assert_mem_eq(x.data, rows, 6);
	ck_assert(parse("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2), }\n", 1, 8, &x));
	static const uint8_t cube[] = { 0, 4, 2, 6, 1, 5, 3, 7 };
	ck_assert_mem_eq(x.data, cube, 8);
}
END_TEST

static const struct { const char *header; uint8_t major; size_t n_data; enum tg_status status; } bad[] = {
	{ "", 1, 0, TG_ERR_MALFORMED },
	{ "{", 1, 0, TG_ERR_MALFORMED },
	{ "{}", 1, 0, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 0, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 4, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 1, 23, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 1, 25, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3], }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': 6, }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }", 1, 0, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 1, 0, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, ), }", 1, 0, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1), }", 1, 4, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'extra': 1}", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } or exit()", 1, 24, TG_ERR_MALFORMED },
	{ "__import__('os').system('true')", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': 'a descr that is longer than any', 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_MALFORMED },
	{ "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_UNSUPPORTED },
	{ "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_UNSUPPORTED },
	{ "{'descr': '<U4', 'fortran_order': False, 'shape': (2, 3), }", 1, 96, TG_ERR_UNSUPPORTED },
	{ "{'descr': '', 'fortran_order': False, 'shape': (2, 3), }", 1, 24, TG_ERR_UNSUPPORTED },
};

START_TEST(other_headers_are_refused)
{
	struct tg_tensor x;
	ck_assert_msg(!parse(bad[_i].header, bad[_i].major, bad[_i].n_data, &x), "%s", bad[_i].header);
	ck_assert_int_eq(d.status, bad[_i].status);
}
END_TEST

START_TEST(cut_files_are_refused)
{
	struct tg_buf b;
	struct tg_tensor x = pattern(TG_f32, shapes[3]), back;
	tg_buf_init(&b, a);
	ck_assert(tg_npy_print(&d, "x.npy", &b, &x));
	ck_assert_uint_eq((b.n - 96) % 64, 0); /* the data is aligned */
	for (size_t n = 0; n < b.n; n++) {
		uint8_t *exact = malloc(n ? n : 1); /* so that the sanitizer sees a read past the end */
		memcpy(exact, b.at, n);
		ck_assert(!tg_npy_parse(&d, a, "x.npy", exact, n, &back));
		free(exact);
	}
	for (size_t i = 6; i < 128; i++)
		for (int bit = 0; bit < 8; bit++) {
			b.at[i] ^= (char)(1 << bit);
			tg_npy_parse(&d, a, "x.npy", (const uint8_t *)b.at, b.n, &back);
			b.at[i] ^= (char)(1 << bit);
		}
	ck_assert(tg_npy_parse(&d, a, "x.npy", (const uint8_t *)b.at, b.n, &back));
}
END_TEST

START_TEST(damaged_pb_files_are_refused)
{
	struct tg_file f;
	struct tg_named_tensor x = { "x", pattern(TG_f32, shapes[3]) };
	struct tg_tensor_list back = { 0 };
	ck_assert(tg_tensors_write(&d, a, in_folder("x.pb"), &x, 1) && tg_file_map(&d, a, in_folder("x.pb"), 1 << 20, &f));
	for (size_t n = 0; n < f.n; n++) {
		ck_assert(tg_file_write(&d, in_folder("cut.pb"), f.at, n));
		ck_assert_msg(!tg_tensors_read(&d, a, in_folder("cut.pb"), &back), "cut at %zu", n);
	}
	tg_file_unmap(&f);
}
END_TEST

/* ---- data sets ---- */

START_TEST(data_sets_are_read_in_order_until_a_number_is_missing)
{
	struct tg_data_set set;
	for (int i = 0; i < 12; i++) {
		struct tg_named_tensor x = { tg_asprintf(a, "in%d", i), pattern(TG_f32, (struct tg_shape){ 1, { i + 1 } }) };
		ck_assert(tg_tensors_write(&d, a, in_folder(tg_asprintf(a, "input_%d.pb", i)), &x, 1));
	}
	ck_assert(tg_data_set_read(&d, a, folder, &set));
	ck_assert_uint_eq(set.inputs.n, 12);
	ck_assert_uint_eq(set.outputs.n, 0);
	for (size_t i = 0; i < 12; i++)
		ck_assert_int_eq(set.inputs.at[i].t.shape.dim[0], (int64_t)i + 1);
}
END_TEST

START_TEST(tensors_bind_by_name_and_else_by_position)
{
	struct tg_named_tensor x[] = { { "c", { 0 } }, { "", { 0 } }, { "a", { 0 } }, { "odd", { 0 } } };
	struct tg_tensor_list list = { x, 4, 4 };
	const char *ports[] = { "a", "b", "c", "d" };
	const struct tg_tensor *out[4];
	tg_bind_by_name(&list, ports, 4, out);
	ck_assert_ptr_eq(out[0], &x[2].t);
	ck_assert_ptr_eq(out[1], &x[1].t);
	ck_assert_ptr_eq(out[2], &x[0].t);
	ck_assert_ptr_eq(out[3], &x[3].t);
}
END_TEST

/* ---- comparison ---- */

static bool compare(enum tg_dtype t, size_t n, const double *have, const double *want, struct tg_tolerance tol, struct tg_comparison *c)
{
	struct tg_shape s = { 1, { (int64_t)n } };
	struct tg_tensor h, w;
	ck_assert(tg_tensor_alloc(&d, a, t, &s, &h) && tg_tensor_alloc(&d, a, t, &s, &w));
	for (size_t i = 0; i < n; i++) {
		tg_put_f64(t, h.data, i, have[i]);
		tg_put_f64(t, w.data, i, want[i]);
	}
	tg_compare(&h, &w, &tol, c);
	return c->ok;
}
#define COMPARE(t, tol, have, want) compare(t, TG_ARRAY_LEN(((double[])have)), (double[])have, (double[])want, tol, &c)
#define V(...) { __VA_ARGS__ }

START_TEST(comparison_rules)
{
	struct tg_comparison c;
	struct tg_tolerance tol = { 1e-3, 1e-7, 0, false }, rms = { 0, 0, 0.01, true };
	double inf = (double)INFINITY, nan_value = (double)NAN;
	ck_assert(COMPARE(TG_f32, tol, V(1, 2, 3), V(1, 2, 3)) && c.max_abs == 0 && c.cosine > 0.999999 && isinf(c.sqnr_db));
	ck_assert(COMPARE(TG_f32, tol, V(1000.9), V(1000)) && !COMPARE(TG_f32, tol, V(1001.1), V(1000)));
	ck_assert(fabs(c.rtol_needed - 1.1e-3) < 1e-6 && c.worst == 0 && c.n_bad == 1);
	ck_assert(COMPARE(TG_f32, tol, V(5e-8), V(0)) && !COMPARE(TG_f32, tol, V(5e-7), V(0)) && isinf(c.rtol_needed));
	ck_assert(COMPARE(TG_f32, tol, V(nan_value, inf, -inf), V(nan_value, inf, -inf)));
	ck_assert(!COMPARE(TG_f32, tol, V(inf), V(-inf)) && !COMPARE(TG_f32, tol, V(nan_value), V(0)) && !COMPARE(TG_f32, tol, V(0), V(nan_value)));
	ck_assert(!COMPARE(TG_f32, tol, V(1e38), V(inf)));
	ck_assert(COMPARE(TG_i32, tol, V(100000, -5), V(100000, -5)) && !COMPARE(TG_i32, tol, V(100001, -5), V(100000, -5)) && c.worst == 0 && c.max_abs == 1);
	ck_assert(!COMPARE(TG_bool, tol, V(1, 0), V(1, 1)) && c.worst == 1);
	ck_assert(COMPARE(TG_f32, rms, V(10, 10, 10.1), V(10, 10, 10)) && !COMPARE(TG_f32, rms, V(10, 10, 10.5), V(10, 10, 10)));
	ck_assert(!COMPARE(TG_f32, rms, V(10, nan_value), V(10, 10)));
	struct tg_tensor f = pattern(TG_f32, shapes[1]), g = pattern(TG_f32, shapes[3]), h = pattern(TG_i32, shapes[1]);
	tg_compare(&f, &g, &tol, &c);
	ck_assert(!c.ok && c.same_type && !c.same_shape);
	tg_compare(&f, &h, &tol, &c);
	ck_assert(!c.ok && !c.same_type);
}
END_TEST

START_TEST(tolerance_files)
{
	static const struct { const char *text; bool ok; } cases[] = {
		{ "{\"rtol\": 0.5, \"atol\": 2}", true }, { "{\"nrmse\": 0.1}", true }, { "{}", true }, { "[]", false }, { "", false }, { "{\"rtol\": -1}", false },
		{ "{\"rtol\": \"x\"}", false }, { "{\"rtol\": 1, \"rtol\": 2}", false }, { "{\"rtol\": 1e999}", false },
	};
	struct tg_tolerance tol = TG_DEFAULT_TOLERANCE;
	ck_assert(tg_tolerance_read(&d, a, in_folder("none.json"), &tol) && tol.rtol == 1e-3);
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++) {
		tol = TG_DEFAULT_TOLERANCE;
		ck_assert(tg_file_write(&d, in_folder("t.json"), cases[i].text, strlen(cases[i].text)));
		ck_assert_msg(tg_tolerance_read(&d, a, in_folder("t.json"), &tol) == cases[i].ok, "%s", cases[i].text);
		ck_assert(i != 0 || (tol.rtol == 0.5 && tol.atol == 2 && !tol.use_nrmse));
		ck_assert(i != 1 || (tol.nrmse == 0.1 && tol.use_nrmse));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tensor_files");
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_test(c, npy_comes_back);
	tcase_add_test(c, pb_comes_back_with_its_name);
	tcase_add_test(c, npz_comes_back_and_is_the_same_file);
	tcase_add_test(c, one_file_holds_what_its_ending_says);
	tcase_add_test(c, headers_that_numpy_writes);
	tcase_add_loop_test(c, other_headers_are_refused, 0, TG_ARRAY_LEN(bad));
	tcase_add_test(c, cut_files_are_refused);
	tcase_add_test(c, damaged_pb_files_are_refused);
	tcase_add_test(c, data_sets_are_read_in_order_until_a_number_is_missing);
	tcase_add_test(c, tensors_bind_by_name_and_else_by_position);
	tcase_add_test(c, comparison_rules);
	tcase_add_test(c, tolerance_files);
	suite_add_tcase(s, c);
	return run_suite(s);
}
