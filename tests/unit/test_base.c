/* test_base.c: the heap with its budget and failing allocations, checked sizes, quoting, SHA-256, conversions of every element type against rules
 * stated here in another way, files written whole or not at all. */
#include "check_run.h"
#include "base.h"

#include <dirent.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tg_heap heap;
static struct tg_arena *a;
static struct tg_diag d;
static char folder[4096];

static void begin(void)
{
	tg_heap_init(&heap);
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
	ck_assert_uint_eq(heap.used_bytes, 0);
}

/* ---- heap ---- */

START_TEST(arenas_give_zeroed_aligned_memory)
{
	for (size_t n = 0; n < 3000; n += 37) {
		unsigned char *p = tg_alloc(a, n);
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < n; i++)
			ck_assert_uint_eq(p[i], 0);
		memset(p, 0xee, n);
	}
	tg_arena_reset(a);
	unsigned char *p = tg_alloc(a, 4000);
	for (size_t i = 0; i < 4000; i++)
		ck_assert_uint_eq(p[i], 0);
}
END_TEST

START_TEST(large_requests_do_not_waste_the_open_chunk)
{
	tg_alloc(a, 16);
	size_t before = heap.n_allocs;
	for (int i = 0; i < 10; i++) {
		tg_alloc(a, 4 << 20);
		tg_alloc(a, 16);
	}
	ck_assert_uint_eq(heap.n_allocs - before, 10);
}
END_TEST

/* The work of a made-up entry point. */
static void work(struct tg_heap *h)
{
	struct tg_arena *x = tg_arena_new(h), *y = tg_arena_new(h);
	TG_VEC(uint32_t) v = { 0 };
	struct tg_buf b;
	tg_buf_init(&b, y);
	for (uint32_t i = 0; i < 20000; i++) {
		*TG_PUSH(x, &v) = i;
		tg_buf_printf(&b, "%u ", i);
	}
	tg_arena_free(y);
	tg_strdup(x, "end");
}

START_TEST(every_allocation_may_fail)
{
	struct tg_heap h;
	tg_heap_init(&h);
	work(&h);
	uint64_t n = h.n_allocs;
	tg_heap_free(&h);
	ck_assert_uint_gt(n, 5);
	for (volatile uint64_t i = 1; i <= n + 1; i++) {
		volatile bool unwound = false;
		tg_heap_init(&h);
		h.fail_at = i;
		if (setjmp(h.unwind))
			unwound = true;
		else
			work(&h);
		tg_heap_free(&h);
		ck_assert_uint_eq(h.used_bytes, 0);
		ck_assert_int_eq(unwound, i <= n);
	}
}
END_TEST

START_TEST(budget_and_overflow_unwind)
{
	struct tg_heap h;
	for (volatile int i = 0; i < 4; i++) {
		volatile bool unwound = false;
		tg_heap_init(&h);
		h.limit_bytes = 1 << 20;
		if (setjmp(h.unwind)) {
			unwound = true;
		} else {
			struct tg_arena *x = tg_arena_new(&h);
			switch (i) {
			case 0: tg_alloc(x, 2 << 20); break;
			case 1: tg_alloc(x, SIZE_MAX); break;
			case 2: tg_alloc_n(x, SIZE_MAX / 4, 8); break;
			default:
				for (;;)
					tg_alloc(x, 1000);
			}
		}
		ck_assert(unwound);
		ck_assert_uint_le(h.used_bytes, 1 << 20);
		tg_heap_free(&h);
	}
}
END_TEST

/* ---- sizes ---- */

START_TEST(element_counts_are_checked)
{
	static const struct { struct tg_shape s; int64_t n; } cases[] = {
		{ { 0, { 0 } }, 1 },
		{ { 3, { 2, 3, 4 } }, 24 },
		{ { 2, { 0, 5 } }, 0 },
		{ { 2, { 5, -1 } }, -1 },
		{ { 2, { 0, -1 } }, -1 },
		{ { 1, { INT64_C(1) << 62 } }, INT64_C(1) << 62 },
		{ { 2, { INT64_C(1) << 31, INT64_C(1) << 31 } }, INT64_C(1) << 62 },
		{ { 2, { INT64_C(1) << 32, INT64_C(1) << 31 } }, -1 },
		{ { 2, { INT64_C(1) << 32, INT64_C(1) << 32 } }, -1 },
		{ { 3, { INT64_MAX, INT64_MAX, 0 } }, -1 },
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++) {
		int64_t n = -1;
		ck_assert_int_eq(tg_shape_count(&cases[i].s, &n), cases[i].n >= 0);
		ck_assert_int_eq(n, cases[i].n);
	}
	size_t bytes;
	ck_assert(tg_shape_bytes(&(struct tg_shape){ 1, { 5 } }, TG_i4, &bytes) && bytes == 3);
	ck_assert(!tg_shape_bytes(&(struct tg_shape){ 1, { INT64_C(1) << 60 } }, TG_f64, &bytes));
	ck_assert(!tg_mul_size(SIZE_MAX, 2, &bytes) && tg_mul_size(SIZE_MAX, 1, &bytes) && !tg_add_size(SIZE_MAX, 1, &bytes));
}
END_TEST

/* ---- text ---- */

START_TEST(names_are_quoted)
{
	static const struct { const char *from, *to; } cases[] = {
		{ "", "" },
		{ "conv_5/w:0", "conv_5/w:0" },
		{ "a\nb\tc\x7f", "a\\x0ab\\x09c\\x7f" },
		{ "it's \"x\" \\", "it\\x27s \\x22x\\x22 \\x5c" },
		{ "\x1b[31m", "\\x1b[31m" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc2\x9b""1m", "\\xc2\\x9b1m" },             /* C1 control */
		{ "\xc0\xaf", "\\xc0\\xaf" },                   /* overlong */
		{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },          /* surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" }, /* beyond U+10FFFF */
		{ "\xe2\x82", "\\xe2\\x82" },                   /* cut */
		{ "\xff\xfe", "\\xff\\xfe" },
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++)
		ck_assert_str_eq(tg_quoted(a, cases[i].from), cases[i].to);
}
END_TEST

START_TEST(messages_have_their_place)
{
	struct tg_loc loc = { .file = "m.onnx", .node = 17, .name = "Conv\n5", .op_type = "Conv" };
	ck_assert(!tg_unsupported(&d, loc, "found %d", 1));
	ck_assert_int_eq(d.status, TG_ERR_UNSUPPORTED);
	ck_assert(!tg_error(&d, tg_at_line("c.yaml", 3, 7), "odd"));
	ck_assert_int_eq(d.status, TG_ERR_MALFORMED); /* worse than unsupported */
	ck_assert(!tg_limit(&d, TG_NOWHERE, "full"));
	ck_assert_int_eq(d.status, TG_ERR_MALFORMED); /* the first one counts */
	static const char *const want[] = { "m.onnx: node 17 'Conv\\x0a5' (Conv): error: found 1", "c.yaml:3:7: error: odd", "error: full" };
	for (size_t i = 0; i < TG_ARRAY_LEN(want); i++) {
		struct tg_buf b;
		tg_buf_init(&b, a);
		tg_message_format(&d.list.at[i], &b);
		ck_assert_str_eq(b.at, want[i]);
	}
	for (int i = 0; i < 1000; i++)
		tg_error(&d, TG_NOWHERE, "again");
	ck_assert_uint_eq(d.n_errors, 1003);
	ck_assert_uint_eq(d.list.n, d.max_errors);
}
END_TEST

/* ---- SHA-256: FIPS 180-2, appendix B, and lengths around the block ---- */

static void digest_of(const void *p, size_t n, size_t step, char hex[65])
{
	struct tg_sha256 s;
	uint8_t out[32];
	tg_sha256_init(&s);
	for (size_t i = 0; i < n; i += step)
		tg_sha256_add(&s, (const char *)p + i, n - i < step ? n - i : step);
	tg_sha256_end(&s, out);
	tg_sha256_hex(out, hex);
}

START_TEST(sha256_vectors)
{
	static const struct { const char *text, *hex; } cases[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	char hex[65], whole[65];
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++) {
		digest_of(cases[i].text, strlen(cases[i].text), 1000, hex);
		ck_assert_str_eq(hex, cases[i].hex);
	}
	char *million = tg_alloc(a, 1000000);
	memset(million, 'a', 1000000);
	digest_of(million, 1000000, 999, hex);
	ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	for (size_t n = 50; n < 140; n++) {
		digest_of(million, n, n, whole);
		for (size_t step = 1; step < 70; step += 13) {
			digest_of(million, n, step, hex);
			ck_assert_str_eq(hex, whole);
		}
	}
}
END_TEST

/* ---- element types ---- */

/* Every small float by its definition: sign, exponent bits, mantissa bits, bias; which codes are infinite or NaN is listed. */
struct format { enum tg_dtype t; int expo, mant, bias; bool has_inf, nan_is_minus_zero, top_is_nan, saturates; };
static const struct format formats[] = {
	{ TG_f16, 5, 10, 15, true, false, false, false },
	{ TG_bf16, 8, 7, 127, true, false, false, false },
	{ TG_f8e4m3fn, 4, 3, 7, false, false, true, true },
	{ TG_f8e4m3fnuz, 4, 3, 8, false, true, false, true },
	{ TG_f8e5m2, 5, 2, 15, true, false, false, true },
	{ TG_f8e5m2fnuz, 5, 2, 16, false, true, false, true },
	{ TG_f4e2m1, 2, 1, 1, false, false, false, true },
};

static void set_code(const struct format *f, uint8_t *p, uint32_t code)
{
	p[0] = (uint8_t)code;
	p[1] = (uint8_t)(code >> 8);
	(void)f;
}

static uint32_t get_code(const struct format *f, const uint8_t *p)
{
	uint32_t bits = tg_dtypes[f->t].bits;
	return bits == 16 ? (uint32_t)p[0] | (uint32_t)p[1] << 8 : p[0] & ((1u << bits) - 1);
}

/* The largest finite code without its sign. */
static uint32_t top_code(const struct format *f)
{
	uint32_t all = (1u << (f->expo + f->mant)) - 1;
	return f->has_inf ? all - (1u << f->mant) : f->top_is_nan ? all - 1 : all;
}

static double value_of(const struct format *f, uint32_t magnitude)
{
	uint32_t e = magnitude >> f->mant, m = magnitude & ((1u << f->mant) - 1);
	double v = (double)(e ? m + (1u << f->mant) : m);
	for (int i = (int)(e ? e : 1) - f->bias - f->mant; i != 0; i += i < 0 ? 1 : -1)
		v = i < 0 ? v / 2 : v * 2;
	return v;
}

static uint32_t put(const struct format *f, double v)
{
	uint8_t p[2] = { 0 };
	tg_put_f64(f->t, p, 0, v);
	return get_code(f, p);
}

static double get(const struct format *f, uint32_t code)
{
	uint8_t p[2];
	set_code(f, p, code);
	return tg_get_f64(f->t, p, 0);
}

START_TEST(small_floats_are_their_definition)
{
	const struct format *f = &formats[_i];
	uint32_t sign = 1u << (f->expo + f->mant), top = top_code(f);
	for (uint32_t c = 0; c <= top; c++) {
		double v = value_of(f, c);
		ck_assert(get(f, c) == v && put(f, v) == c);
		if (c == 0 && f->nan_is_minus_zero)
			continue;
		ck_assert(get(f, c | sign) == -v && put(f, -v) == (c | sign));
		ck_assert_int_eq(signbit(get(f, c | sign)) != 0, 1);
	}
	if (f->nan_is_minus_zero)
		ck_assert(isnan(get(f, sign)) && put(f, -0.0) == 0 && put(f, (double)NAN) == sign);
	if (f->top_is_nan)
		ck_assert(isnan(get(f, sign - 1)) && isnan(get(f, 2 * sign - 1)));
	if (f->has_inf) {
		ck_assert(isinf(get(f, top + 1)) && isinf(get(f, sign | (top + 1))));
		for (uint32_t c = top + 2; c < sign; c++)
			ck_assert(isnan(get(f, c)));
	}
	if (f->t != TG_f4e2m1)
		ck_assert(isnan(get(f, put(f, (double)NAN))));
}
END_TEST

START_TEST(small_floats_round_to_nearest_even)
{
	const struct format *f = &formats[_i];
	uint32_t top = top_code(f);
	for (uint32_t c = 0; c < top; c++) {
		double lo = value_of(f, c), hi = value_of(f, c + 1), middle = lo + (hi - lo) / 2;
		ck_assert_uint_eq(put(f, middle), c & 1 ? c + 1 : c);
		ck_assert_uint_eq(put(f, nextafter(middle, 0)), c);
		ck_assert_uint_eq(put(f, nextafter(middle, (double)INFINITY)), c + 1);
	}
	/* Past the largest: half a step further still rounds down (or to even), then infinity or saturation. */
	double last = value_of(f, top), step = last - value_of(f, top - 1);
	uint32_t over = f->saturates ? top : top + 1;
	ck_assert_uint_eq(put(f, nextafter(last + step / 2, 0)), top);
	ck_assert_uint_eq(put(f, last + step), over);
	ck_assert_uint_eq(put(f, 1e300), over);
	ck_assert_uint_eq(put(f, (double)INFINITY), over);
}
END_TEST

/* Every sixteenth-bit boundary of f32 and its neighbours, against the definition above. */
START_TEST(f32_narrows_to_nearest_even)
{
	const enum tg_dtype types[] = { TG_bf16, TG_f16 };
	for (uint64_t i = 0; i < UINT64_C(1) << 32; i += 99991) {
		uint32_t bits[3] = { (uint32_t)i, ((uint32_t)i & 0xffff0000) | 0x8000, ((uint32_t)i & 0xffffe000) | 0x1000 };
		for (int k = 0; k < 3; k++)
			for (int t = 0; t < 2; t++) {
				float f;
				uint16_t have, want;
				memcpy(&f, &bits[k], sizeof f);
				tg_narrow_f32(types[t], &have, &bits[k], 1);
				tg_put_f64(types[t], &want, 0, (double)f);
				ck_assert_uint_eq(have, isnan(f) ? (types[t] == TG_bf16 ? 0x7fc0 : 0x7e00) : want);
			}
	}
}
END_TEST

/* A locale with a comma, and one whose point has two bytes, where the machine has them; the plain one always. */
START_TEST(numbers_ignore_the_locale)
{
	const char *const locales[] = { "C", "de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8" };
	for (size_t i = 0; i < TG_ARRAY_LEN(locales); i++) {
		char text[64];
		double v = 0;
		if (!setlocale(LC_NUMERIC, locales[i]))
			continue;
		tg_f64_text(text, sizeof text, 17, -1234.5e-3);
		ck_assert_str_eq(text, "-1.2344999999999999");
		ck_assert(tg_f64_parse("2.5e3x", 5, &v) && v == 2500);
		ck_assert(tg_f64_parse("-7", 2, &v) && v == -7);
		ck_assert(!tg_f64_parse("2,5", 3, &v) && !tg_f64_parse("1.2.3", 5, &v) && !tg_f64_parse("", 0, &v) && !tg_f64_parse("0x1p3", 5, &v));
	}
	setlocale(LC_NUMERIC, "C");
}
END_TEST

START_TEST(power_of_two_scales)
{
	const struct format f = { TG_f8e8m0, 8, 0, 127, false, false, true, true };
	for (uint32_t c = 0; c < 255; c++) {
		ck_assert(get(&f, c) == ldexp(1, (int)c - 127));
		ck_assert_uint_eq(put(&f, ldexp(1, (int)c - 127)), c);
	}
	ck_assert(isnan(get(&f, 255)));
	ck_assert_uint_eq(put(&f, (double)NAN), 255);
	ck_assert_uint_eq(put(&f, 1e300), 254);
	ck_assert_uint_eq(put(&f, (double)INFINITY), 254);
	ck_assert_uint_eq(put(&f, 0), 0);
}
END_TEST

START_TEST(integers_wrap_and_floats_truncate)
{
	static const struct { enum tg_dtype t; int64_t in, out; } cases[] = {
		{ TG_i8, 127, 127 }, { TG_i8, 128, -128 }, { TG_i8, -129, 127 }, { TG_u8, 256, 0 }, { TG_u8, -1, 255 },
		{ TG_i16, 40000, -25536 }, { TG_u16, -1, 65535 }, { TG_i32, INT64_C(1) << 31, INT32_MIN }, { TG_u32, -1, UINT32_MAX },
		{ TG_i64, INT64_MIN, INT64_MIN }, { TG_u64, -1, -1 }, { TG_bool, 7, 1 }, { TG_bool, 0, 0 },
		{ TG_i4, 7, 7 }, { TG_i4, 8, -8 }, { TG_u4, 17, 1 }, { TG_i2, 2, -2 }, { TG_u2, 5, 1 },
		{ TG_f32, 16777217, 16777216 }, { TG_f16, 2049, 2048 },
	};
	uint8_t p[8];
	for (size_t i = 0; i < TG_ARRAY_LEN(cases); i++) {
		memset(p, 0, sizeof p);
		tg_put_i64(cases[i].t, p, 0, cases[i].in);
		ck_assert_int_eq(tg_get_i64(cases[i].t, p, 0), cases[i].out);
	}
	static const struct { enum tg_dtype t; double in; int64_t out; } floats[] = {
		{ TG_i32, 2.9, 2 }, { TG_i32, -2.9, -2 }, { TG_i64, 1e30, INT64_MAX }, { TG_i64, -1e30, INT64_MIN }, { TG_u64, 1e30, -1 }, { TG_bool, 0.5, 1 },
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(floats); i++) {
		tg_put_f64(floats[i].t, p, 0, floats[i].in);
		ck_assert_int_eq(tg_get_i64(floats[i].t, p, 0), floats[i].out);
	}
	tg_put_f64(TG_i64, p, 0, (double)NAN);
	ck_assert_int_eq(tg_get_i64(TG_i64, p, 0), 0);
}
END_TEST

START_TEST(packed_elements_leave_their_neighbours)
{
	static const enum tg_dtype types[] = { TG_i4, TG_u4, TG_i2, TG_u2, TG_f4e2m1 };
	for (size_t k = 0; k < TG_ARRAY_LEN(types); k++) {
		uint8_t p[4];
		for (size_t i = 0; i < 8; i++) {
			memset(p, 0xff, sizeof p);
			tg_put_i64(types[k], p, i, 0);
			for (size_t j = 0; j < 8; j++)
				ck_assert_int_eq(tg_get_f64(types[k], p, j) == 0, i == j);
		}
	}
}
END_TEST

START_TEST(types_have_names_and_codes)
{
	for (int t = 1; t < TG_N_DTYPES; t++) {
		ck_assert_int_eq(tg_dtype_from_name(tg_dtypes[t].name, strlen(tg_dtypes[t].name)), t);
		ck_assert_int_eq(tg_dtype_from_onnx(tg_dtypes[t].onnx), t);
	}
	ck_assert_int_eq(tg_dtype_from_name("f3", 2), TG_none);
	ck_assert_int_eq(tg_dtype_from_onnx(-1), TG_none);
	ck_assert_int_eq(tg_dtype_from_onnx(0), TG_none);
}
END_TEST

/* ---- files ---- */

static size_t entries(void)
{
	size_t n = 0;
	DIR *dir = opendir(folder);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void expect_contents(const char *path, const char *text)
{
	struct tg_file f;
	ck_assert(tg_file_map(&d, a, path, 1000, &f));
	ck_assert_uint_eq(f.n, strlen(text));
	ck_assert(f.n == 0 || memcmp(f.at, text, f.n) == 0);
	tg_file_unmap(&f);
}

START_TEST(files_are_replaced_as_a_whole)
{
	char *path = tg_asprintf(a, "%s/file", folder);
	ck_assert(tg_file_write(&d, path, "first", 5));
	expect_contents(path, "first");
	ck_assert(tg_file_write(&d, path, "second one", 10));
	expect_contents(path, "second one");
	ck_assert(tg_file_write(&d, path, "", 0));
	expect_contents(path, "");
	ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(a_failed_write_changes_nothing)
{
	char *path = tg_asprintf(a, "%s/file", folder), *big = tg_alloc(a, 100000);
	ck_assert(tg_file_write(&d, path, "kept", 4));
	pid_t child = fork();
	if (child == 0) { /* a file that cannot grow, as on a full disk */
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 5000, 5000 });
		_exit(tg_file_write(&d, path, big, 100000) ? 1 : (int)d.status);
	}
	int status;
	waitpid(child, &status, 0);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), TG_ERR_IO);
	expect_contents(path, "kept");
	ck_assert_uint_eq(entries(), 1);
	char *taken = tg_asprintf(a, "%s/taken", folder);
	ck_assert_int_eq(mkdir(taken, 0700), 0);
	ck_assert(!tg_file_write(&d, taken, "x", 1));
	ck_assert(!tg_file_write(&d, tg_asprintf(a, "%s/none/file", folder), "x", 1));
	ck_assert_int_eq(d.status, TG_ERR_IO);
	ck_assert_uint_eq(entries(), 2);
}
END_TEST

START_TEST(only_regular_files_are_mapped)
{
	struct tg_file f;
	char *fifo = tg_asprintf(a, "%s/fifo", folder), *path = tg_asprintf(a, "%s/file", folder);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert(!tg_file_map(&d, a, fifo, 1000, &f));
	ck_assert(!tg_file_map(&d, a, folder, 1000, &f));
	ck_assert(!tg_file_map(&d, a, "/dev/zero", 1000, &f));
	ck_assert_int_eq(d.status, TG_ERR_IO);
	ck_assert(tg_file_write(&d, path, "12345", 5));
	ck_assert(!tg_file_map(&d, a, path, 4, &f));
	ck_assert(tg_file_map(&d, a, path, 5, &f));
	tg_file_unmap(&f);
}
END_TEST

START_TEST(nothing_outside_the_folder_is_mapped)
{
	struct tg_file f;
	char *inside = tg_asprintf(a, "%s/in", folder);
	ck_assert_int_eq(mkdir(inside, 0700), 0);
	ck_assert(tg_file_write(&d, tg_asprintf(a, "%s/secret", folder), "s", 1));
	ck_assert(tg_file_write(&d, tg_asprintf(a, "%s/data", inside), "d", 1));
	ck_assert_int_eq(symlink("../secret", tg_asprintf(a, "%s/link", inside)), 0);
	ck_assert_int_eq(symlink("data", tg_asprintf(a, "%s/near", inside)), 0);
	ck_assert_int_eq(symlink("..", tg_asprintf(a, "%s/up", inside)), 0);
	ck_assert(tg_file_map_beneath(&d, a, inside, "data", TG_NOWHERE, 100, &f));
	tg_file_unmap(&f);
	const char *bad[] = { "../secret", "link", "near", "up/secret", ".", "none", tg_asprintf(a, "%s/secret", folder), "data/../../secret" };
	for (size_t i = 0; i < TG_ARRAY_LEN(bad); i++)
		ck_assert_msg(!tg_file_map_beneath(&d, a, inside, bad[i], TG_NOWHERE, 100, &f), "%s was opened", bad[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base");
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_test(c, arenas_give_zeroed_aligned_memory);
	tcase_add_test(c, large_requests_do_not_waste_the_open_chunk);
	tcase_add_test(c, every_allocation_may_fail);
	tcase_add_test(c, budget_and_overflow_unwind);
	tcase_add_test(c, element_counts_are_checked);
	tcase_add_test(c, names_are_quoted);
	tcase_add_test(c, messages_have_their_place);
	tcase_add_test(c, sha256_vectors);
	tcase_add_loop_test(c, small_floats_are_their_definition, 0, TG_ARRAY_LEN(formats));
	tcase_add_loop_test(c, small_floats_round_to_nearest_even, 0, TG_ARRAY_LEN(formats));
	tcase_add_test(c, f32_narrows_to_nearest_even);
	tcase_add_test(c, numbers_ignore_the_locale);
	tcase_add_test(c, power_of_two_scales);
	tcase_add_test(c, integers_wrap_and_floats_truncate);
	tcase_add_test(c, packed_elements_leave_their_neighbours);
	tcase_add_test(c, types_have_names_and_codes);
	tcase_add_test(c, files_are_replaced_as_a_whole);
	tcase_add_test(c, a_failed_write_changes_nothing);
	tcase_add_test(c, only_regular_files_are_mapped);
	tcase_add_test(c, nothing_outside_the_folder_is_mapped);
	suite_add_tcase(s, c);
	return run_suite(s);
}
