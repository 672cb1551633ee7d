/* table.c: every row of the table through assembler, encoder, decoder and disassembler with every field at its limits; chips; executables. */
#include "harness.h"

#include <unistd.h>

static const char *const chips[] = {"t1", "t1-edge", "v4i"};

/* The limits of a field on this chip, found by asking the encoder. */
static bool encodes(struct fixture *f, const struct tg_insn *in, uint64_t *words, uint32_t *n)
{
	struct tg_bundle *b = tg_alloc(f->a, sizeof *b);
	struct tg_diag d;
	tg_diag_init(&d, f->a);
	b->n = 1;
	b->insn[0] = *in;
	return tg_bundle_encode(&d, TG_NOWHERE, &f->chip, b, words, n);
}

static bool on_chip(struct fixture *f, enum tg_opcode op, struct tg_insn *in)
{
	uint64_t words[2];
	uint32_t n;
	memset(in, 0, sizeof *in);
	in->op = (uint16_t)op;
	if (op >= TG_I_mul_f32 && op <= TG_I_mrd)
		tg_insn_set(in, 'n', 1);
	return encodes(f, in, words, &n);
}

static void round_trip(struct fixture *f, const struct tg_insn *in)
{
	uint64_t words[2];
	uint32_t n;
	struct tg_bundle *b = tg_alloc(f->a, sizeof *b);
	size_t next;
	ck_assert(encodes(f, in, words, &n));
	const char *why = tg_bundle_decode(&f->chip, words, n, 0, b, &next);
	ck_assert_msg(!why && b->n == 1 && next == n, "%s: %s", tg_insn_info((enum tg_opcode)in->op)->name, why ? why : "");
	ck_assert_int_eq(memcmp(&b->insn[0], in, sizeof *in), 0);
	/* text: targets print as labels, so the executable gets a label there */
	struct tg_buf t;
	struct tg_exe x;
	tg_buf_init(&t, f->a);
	tg_insn_print(&t, in);
	for (unsigned k = 0; k < tg_insn_info((enum tg_opcode)in->op)->n_fields; k++) {
		if (tg_insn_info((enum tg_opcode)in->op)->field[k].kind == TG_FIELD_T)
			return;
	}
	struct tg_diag d;
	tg_diag_init(&d, f->a);
	ck_assert_msg(tg_asm(&d, f->a, &f->chip, "t", t.at, t.n, &x), "%s", t.at);
	ck_assert_uint_eq(x.n_words, n);
	ck_assert_msg(memcmp(x.code, words, n * 8) == 0, "%s", t.at);
}

/* Walks a field to its highest and lowest legal value and one beyond, which must be refused. */
static void field_limits(struct fixture *f, const struct tg_insn *base, unsigned k)
{
	const struct tg_field_info *fi = &tg_insn_info((enum tg_opcode)base->op)->field[k];
	struct tg_insn in = *base;
	uint64_t words[2];
	uint32_t n;
	bool is_signed = fi->kind == TG_FIELD_I;
	int64_t lo = is_signed ? -(INT64_C(1) << (fi->width - 1)) : 0, hi = is_signed ? (INT64_C(1) << (fi->width - 1)) - 1 : (INT64_C(1) << fi->width) - 1;
	if (fi->kind == TG_FIELD_U && base->f[k] > lo)
		lo = base->f[k];
	int64_t ok = lo, bad = hi + 1;
	/* the legal values are one range from lo: bisect for its end */
	while (bad - ok > 1) {
		int64_t mid = ok + (bad - ok) / 2;
		in.f[k] = mid;
		if (encodes(f, &in, words, &n))
			ok = mid;
		else
			bad = mid;
	}
	in.f[k] = ok;
	round_trip(f, &in);
	in.f[k] = lo;
	round_trip(f, &in);
	bool two_ways = base->op == TG_I_vmovi; /* 32 bits of either signedness */
	in.f[k] = two_ways ? INT64_C(1) << 32 : bad;
	ck_assert(!encodes(f, &in, words, &n));
	in.f[k] = lo - 1;
	ck_assert(!encodes(f, &in, words, &n));
	in.f[k] = (ok + lo) / 2;
	round_trip(f, &in);
}

START_TEST(every_row)
{
	struct fixture *f = fixture_new(chips[_i]);
	unsigned seen = 0;
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
		struct tg_insn in;
		ck_assert_int_eq(tg_opcode_from_name(info->name, strlen(info->name)), op);
		if (!on_chip(f, (enum tg_opcode)op, &in))
			continue;
		seen++;
		round_trip(f, &in);
		for (unsigned k = 0; k < info->n_fields; k++)
			field_limits(f, &in, k);
		in.pred = (uint8_t)(f->chip.n_pregs - 1);
		round_trip(f, &in);
	}
	/* t1 has every instruction; a type that an array lacks has neither push nor multiply: fp8 on t1-edge, f16 too on v4i */
	static const unsigned lacks[] = {0, 4, 6};
	ck_assert_uint_eq(seen, TG_N_INSNS - 1 - lacks[_i]);
	fixture_free(f);
}
END_TEST

/* Any word either is refused or encodes back to itself. */
START_TEST(random_words)
{
	struct fixture *f = fixture_new(chips[_i]);
	uint64_t x = 88172645463325252u;
	for (int i = 0; i < 20000; i++) {
		uint64_t words[1 + TG_MAX_BUNDLE], back[1 + TG_MAX_BUNDLE];
		struct tg_bundle *b = tg_alloc(f->a, sizeof *b);
		size_t next;
		uint32_t n;
		for (unsigned k = 0; k < 8; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			words[k] = k ? x & ~(i & 1 ? UINT64_C(0xffffff) : 0) : UINT64_C(1) << (x % 18) | UINT64_C(1) << (x >> 32) % 18;
		}
		if (tg_bundle_decode(&f->chip, words, 8, 0, b, &next))
			continue;
		ck_assert(tg_bundle_encode(&f->d, TG_NOWHERE, &f->chip, b, back, &n));
		ck_assert_uint_eq(n, next);
		for (unsigned k = 1; k < n; k++)
			ck_assert_uint_eq(back[k], words[k]);
	}
	fixture_free(f);
}
END_TEST

START_TEST(slots_are_counted)
{
	struct fixture *f = fixture_new(chips[_i]);
	static const struct { enum tg_opcode op; enum tg_slot slot; } kinds[] = {
		{TG_I_sadd, TG_SLOT_S}, {TG_I_vld_f32, TG_SLOT_L}, {TG_I_vst_f32, TG_SLOT_W}, {TG_I_vadd_f32, TG_SLOT_V}, {TG_I_vexp2, TG_SLOT_E},
		{TG_I_xlane, TG_SLOT_X}, {TG_I_swap, TG_SLOT_P}, {TG_I_dma_wait, TG_SLOT_D}, {TG_I_halt, TG_SLOT_C}};
	for (size_t i = 0; i < TG_ARRAY_LEN(kinds); i++) {
		struct tg_bundle *b = tg_alloc(f->a, sizeof *b);
		uint64_t words[1 + TG_MAX_BUNDLE];
		uint32_t n, room = tg_slot_count(&f->chip, kinds[i].slot);
		for (b->n = 0; b->n < room; b->n++) {
			b->insn[b->n].op = (uint16_t)kinds[i].op;
			if (kinds[i].slot == TG_SLOT_P) /* each array has its own */
				tg_insn_set(&b->insn[b->n], 'u', b->n);
		}
		ck_assert(tg_bundle_encode(&f->d, TG_NOWHERE, &f->chip, b, words, &n));
		b->insn[b->n++].op = (uint16_t)kinds[i].op;
		ck_assert(!tg_bundle_encode(&f->d, TG_NOWHERE, &f->chip, b, words, &n));
	}
	fixture_free(f);
}
END_TEST

/* ---- chips ---- */

START_TEST(chips_print_and_read_back)
{
	for (const char *const *name = tg_chip_names(); *name; name++) {
		struct fixture *f = fixture_new(*name);
		struct tg_chip again;
		const char *text = tg_chip_print(f->a, &f->chip);
		ck_assert(tg_chip_parse(&f->d, f->a, "again", text, strlen(text), &again));
		ck_assert_str_eq(text, tg_chip_print(f->a, &again));
		fixture_free(f);
	}
}
END_TEST

static const struct { const char *from, *to, *message; } chip_faults[] = {
	{"lanes: 128", "lanes: 100", "expected a power of two"},
	{"lanes: 128", "lanes: 512", "16 .. 256"},
	{"lanes: 128", "lanes: 128\nlanes: 64", "found twice"},
	{"lanes: 128", "colour: 3", "unknown key"},
	{"lanes: 128\n", "", "'lanes' is missing"},
	{"lanes: 128", "lanes: [1, 2]", "found a list"},
	{"lanes: 128", "lanes: &x 128", "anchor"},
	{"lanes: 128", "lanes: *x", "alias"},
	{"lanes: 128", "lanes: { a: 1 }", "unknown group"},
	{"lanes: 128", "lanes: many", "expected a whole number"},
	{"lanes: 128", "lanes: [[[[[[[[[[[[[[[[[[", "nested too deeply"},
	{"lanes: 128", "lanes: 16", "at most lanes"},
	{"f32: 1/4", "f32: 1/0", "fraction"},
	{"vector_lane: 1.5", "vector_lane: 1.5e3", "at most 6 places"},
	{"transcendental: 1,", "transcendental: 4,", "at most slots.alu"},
	{"name: t1", "name: \"a b\"", "expected a name"},
	{"alu: 3", "alu: 16", NULL},
	{"{ count: 4, b", "{ count: 4: b", "not YAML"},
};

START_TEST(chip_errors)
{
	struct fixture *f = fixture_new("t1");
	struct tg_file file;
	struct tg_chip c;
	ck_assert(tg_file_map(&f->d, f->a, TG_SOURCE_DIR "/isa/chips/t1.yaml", 65536, &file));
	const char *text = tg_strndup(f->a, (const char *)file.at, file.n), *at = strstr(text, chip_faults[_i].from);
	ck_assert_ptr_nonnull(at);
	const char *bad = tg_asprintf(f->a, "%.*s%s%s", (int)(at - text), text, chip_faults[_i].to, at + strlen(chip_faults[_i].from));
	bool ok = tg_chip_parse(&f->d, f->a, "bad.yaml", bad, strlen(bad), &c);
	ck_assert_int_eq(ok, chip_faults[_i].message == NULL);
	if (!ok)
		ck_assert_msg(strstr(messages(f), chip_faults[_i].message) && strstr(messages(f), "bad.yaml"), "%s", messages(f));
	tg_file_unmap(&file);
	fixture_free(f);
}
END_TEST

/* ---- executables ---- */

static const char sample[] = ".version \"1\"\n.flags \"-O \\x22q\\x22\"\n.macs 7\n.input x f32 2x3 0\n.output y i8 scalar 64\n"
			     ".data 128 f32 1.5, -2, 0x7fc00000\n.fill 4096 1000 4 0x01020304\n.prov \"Conv_1 (Conv)\"\n"
			     "start: smov s1, 3\n.birth 64 128\nloop s1, over\nsaddi s2, s2, 1 ; vadd_f32 v1, v2, v3\nover: br past\n.noprov\npast: halt\n"
			     ".buffer \"a b\" 0 64 start past\n.step start\n.host 1 \"why\" \"text\"\n.arg x f32 2x3 0\n.arg y i8 scalar 64\n";

static void build_sample(struct fixture *f, struct tg_exe *x)
{
	ck_assert_msg(tg_asm(&f->d, f->a, &f->chip, "sample", sample, strlen(sample), x), "%s", messages(f));
}

START_TEST(executable_round_trip)
{
	struct fixture *f = fixture_new(chips[_i]);
	struct tg_exe x, y, z;
	uint8_t *one, *two;
	size_t n_one, n_two;
	struct tg_buf t1, t2;
	build_sample(f, &x);
	ck_assert(tg_exe_bytes(&f->d, f->a, &x, &one, &n_one));
	ck_assert_msg(tg_exe_read(&f->d, f->a, &(struct tg_file){one, n_one, "a.tgx", NULL}, &y), "%s", messages(f));
	ck_assert(tg_exe_bytes(&f->d, f->a, &y, &two, &n_two));
	ck_assert_uint_eq(n_one, n_two);
	ck_assert_int_eq(memcmp(one, two, n_one), 0);
	tg_buf_init(&t1, f->a);
	tg_buf_init(&t2, f->a);
	tg_disasm(&t1, &y);
	ck_assert_msg(tg_asm(&f->d, f->a, &f->chip, "again", t1.at, t1.n, &z), "%s\n%s", messages(f), t1.at);
	tg_disasm(&t2, &z);
	ck_assert_str_eq(t1.at, t2.at);
	ck_assert(tg_exe_bytes(&f->d, f->a, &z, &two, &n_two));
	ck_assert_uint_eq(n_one, n_two);
	ck_assert_int_eq(memcmp(one, two, n_one), 0);
	fixture_free(f);
}
END_TEST

/* Every byte changed, every length cut: an error or the same program, never a crash. */
START_TEST(executable_faults)
{
	struct fixture *f = fixture_new("t1");
	struct tg_exe x, y;
	uint8_t *bytes;
	size_t n;
	unsigned refused = 0;
	build_sample(f, &x);
	ck_assert(tg_exe_bytes(&f->d, f->a, &x, &bytes, &n));
	for (size_t i = 0; i < n; i++) {
		struct fixture *g = fixture_new("t1");
		uint8_t *copy = malloc(n);
		memcpy(copy, bytes, n);
		copy[i] ^= (uint8_t)(1 + i % 255);
		refused += !tg_exe_read(&g->d, g->a, &(struct tg_file){copy, n, "x", NULL}, &y);
		free(copy);
		copy = malloc(i + 1);
		memcpy(copy, bytes, i);
		ck_assert(!tg_exe_read(&g->d, g->a, &(struct tg_file){copy, i, "x", NULL}, &y));
		free(copy);
		fixture_free(g);
	}
	/* what may change unseen: padding and unused fields of the ELF headers */
	ck_assert_msg(refused > n * 6 / 10, "%u of %zu changed bytes were refused", refused, n);
	fixture_free(f);
}
END_TEST

START_TEST(executable_file)
{
	struct fixture *f = fixture_new("t1");
	struct tg_exe x, y;
	struct tg_file file;
	uint8_t *bytes;
	size_t n;
	char path[4096];
	temporary_name(path, sizeof path);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	build_sample(f, &x);
	ck_assert_msg(tg_exe_write(&f->d, f->a, &x, path), "%s", messages(f));
	ck_assert(tg_file_map(&f->d, f->a, path, 1 << 20, &file));
	ck_assert(tg_exe_bytes(&f->d, f->a, &x, &bytes, &n));
	ck_assert_uint_eq(n, file.n);
	ck_assert_int_eq(memcmp(bytes, file.at, n), 0);
	ck_assert(tg_exe_read(&f->d, f->a, &file, &y));
	tg_file_unmap(&file);
	unlink(path);
	ck_assert(!tg_exe_write(&f->d, f->a, &x, "/nonexistent/x.tgx"));
	fixture_free(f);
}
END_TEST

static const struct { const char *text, *message; } asm_faults[] = {
	{"frob s1", "unknown instruction"}, {"sadd s1, s2", "expected ','"}, {"sadd s1, v2, s3", "expected a register sN"}, {"sadd s99, s0, s0", "no such register"},
	{"saddi s1, s2, 99999999999999999", "immediate out of range"}, {"br nowhere\nhalt", "no label is named"}, {"a: nop\na: nop", "label a is already"},
	{".frob 1", "unknown directive"}, {".prov \"x", "no closing quote"}, {".data 0 f99 1", "expected a type"}, {".birth 0 64", "has no bundle after it"},
	{"vld_f32 v1, [s2+64, s0, s0, s0, m0, 0, 1, s0", "expected ']'"}, {"(p9) halt", "no such predicate"}, {"halt halt", "expected ';'"}, {".arg x f32 1 0", "without a .host"},
	{".fill 0 8 3 0", "expected 1, 2, 4 or 8"}, {".desc 0 colour=1", "unknown descriptor key"}, {".input x f32 2xq 0", "expected dimensions"}, {"halt ; halt", "more than the chip's"},
	{".hex 0 \"0g\"", "hexadecimal"}, {".prov \"\\x00\"", "not NUL"}, {".step 77\nhalt", "past the end"}, {".data 0x7fffffffffffff00 u8 1", "outside the chip's DRAM"},
};

START_TEST(assembler_errors)
{
	struct fixture *f = fixture_new("t1");
	struct tg_exe x;
	ck_assert(!tg_asm(&f->d, f->a, &f->chip, "bad.tgs", asm_faults[_i].text, strlen(asm_faults[_i].text), &x));
	ck_assert_msg(strstr(messages(f), asm_faults[_i].message) != NULL, "%s", messages(f));
	fixture_free(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("isa table");
	TCase *t = tcase_create("table");
	tcase_set_timeout(t, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_loop_test(t, every_row, 0, TG_ARRAY_LEN(chips));
	tcase_add_loop_test(t, random_words, 0, TG_ARRAY_LEN(chips));
	tcase_add_loop_test(t, slots_are_counted, 0, TG_ARRAY_LEN(chips));
	tcase_add_test(t, chips_print_and_read_back);
	tcase_add_loop_test(t, chip_errors, 0, TG_ARRAY_LEN(chip_faults));
	tcase_add_loop_test(t, executable_round_trip, 0, TG_ARRAY_LEN(chips));
	tcase_add_test(t, executable_faults);
	tcase_add_test(t, executable_file);
	tcase_add_loop_test(t, assembler_errors, 0, TG_ARRAY_LEN(asm_faults));
	suite_add_tcase(s, t);
	return run_suite(s);
}
