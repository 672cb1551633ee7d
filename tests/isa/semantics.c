/* semantics.c: what every instruction computes, against definitions written here a second time: base/'s conversions, C's own floats
 * and wide integers. Every scalar, vector, transcendental, cross-lane, memory and matrix row of the table is walked; a row that
 * no definition covers fails. Operands are special values and random ones. */
#include "harness.h"
#include "numerics.h"

#include <math.h>

#define VECTOR_BYTES(f) ((int64_t)(f)->chip.lanes * (f)->chip.sublanes * 4)
#define IN_AT 0         /* SRAM: operands a, b, c */
#define OUT_AT 131072
#define DRAM_OUT 8388608

static const uint32_t specials[] = {0,		0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 1,	  0x80000001,
				    0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f000000, 0xbf000000, 0x40200000, 0x4f000000, 0xcf000000, 0x4f800000, 0x4effffff,
				    0x38800000, 0x387fffff, 0x477fe000, 0x477ff000, 0x33000000, 0x43e00000, 0x43e80000, 0x3c800000, 0x7fffffff, 31,	  32,
				    33,		0xffffffff, 0x0000ffff, 0x00010000, 0x4b000001, 0x3effffff, 0x3fc00000, 0x40490fdb, 0xc2b17218};

static uint32_t draw(uint64_t *x)
{
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	uint32_t r = (uint32_t)(*x >> 20);
	switch (*x % 4) {
	case 0:
		return specials[r % TG_ARRAY_LEN(specials)];
	case 1:
		return r;
	case 2: /* numbers of everyday size */
		return tg_bits((float)((int32_t)r >> 12) / 4096);
	default:
		return r % 600 - 300;
	}
}

static uint32_t canon(float v)
{
	return v != v ? 0x7fc00000 : tg_bits(v);
}

/* ---- lane by lane: every definition of one, two or three operands ---- */

#define F(x) tg_float(x)
#define S(x) ((int64_t)(int32_t)(x))
static float f_min(float a, float b) { return a != a || b != b ? NAN : a < b ? a : b < a ? b : signbit(a) ? a : b; }
static float f_max(float a, float b) { return a != a || b != b ? NAN : a > b ? a : b > a ? b : signbit(a) ? b : a; }
static uint32_t through(enum tg_dtype t, uint32_t a)
{
	uint32_t raw = 0;
	tg_put_f64(t, &raw, 0, F(a));
	return canon((float)tg_get_f64(t, &raw, 0));
}
static uint32_t f_to_int(float v, double lo, double hi)
{
	double d = v != v ? 0 : trunc((double)v);
	return (uint32_t)(int64_t)(d < lo ? lo : d > hi ? hi : d);
}

static bool lane(unsigned op, uint32_t a, uint32_t b, uint32_t c, uint32_t *out)
{
#define CASE(name, expr)                                                                                                                             \
	case TG_I_##name:                                                                                                                            \
		*out = (uint32_t)(expr);                                                                                                             \
		return true
	switch (op) {
		CASE(vadd_f32, canon(F(a) + F(b)));
		CASE(vsub_f32, canon(F(a) - F(b)));
		CASE(vmul_f32, canon(F(a) * F(b)));
		CASE(vfma_f32, canon(fmaf(F(a), F(b), F(c))));
		CASE(vfnma_f32, canon(fmaf(-F(a), F(b), F(c))));
		CASE(vmin_f32, canon(f_min(F(a), F(b))));
		CASE(vmax_f32, canon(f_max(F(a), F(b))));
		CASE(vclamp_f32, canon(f_min(f_max(F(a), F(b)), F(c))));
		CASE(vabs_f32, a & 0x7fffffff);
		CASE(vneg_f32, a ^ 0x80000000);
		CASE(vfloor_f32, canon(floorf(F(a))));
		CASE(vceil_f32, canon(ceilf(F(a))));
		CASE(vtrunc_f32, canon(truncf(F(a))));
		CASE(vrne_f32, canon(rintf(F(a))));
		CASE(vrnd_bf16, through(TG_bf16, a));
		CASE(vrnd_f16, through(TG_f16, a));
		CASE(vrnd_e4m3, through(TG_f8e4m3fn, a));
		CASE(vrnd_e5m2, through(TG_f8e5m2, a));
		CASE(veq_f32, F(a) == F(b));
		CASE(vne_f32, F(a) != F(b));
		CASE(vlt_f32, F(a) < F(b));
		CASE(vle_f32, F(a) <= F(b));
		CASE(vf2i, f_to_int(F(a), INT32_MIN, INT32_MAX));
		CASE(vf2u, f_to_int(F(a), 0, UINT32_MAX));
		CASE(vi2f, tg_bits((float)S(a)));
		CASE(vu2f, tg_bits((float)a));
		CASE(vadd_i32, S(a) + S(b));
		CASE(vsub_i32, S(a) - S(b));
		CASE(vmul_i32, (uint64_t)a * b);
		CASE(vmulh_u32, (uint64_t)a * b / 4294967296u);
		CASE(vmin_i32, S(a) < S(b) ? a : b);
		CASE(vmax_i32, S(a) > S(b) ? a : b);
		CASE(vmin_u32, a < b ? a : b);
		CASE(vmax_u32, a > b ? a : b);
		CASE(vand, a & b);
		CASE(vor, a | b);
		CASE(vxor, a ^ b);
		CASE(vshl, b > 31 ? 0 : (uint64_t)a << b);
		CASE(vshr, b > 31 ? 0 : (uint64_t)a >> b);
		CASE(vsar, S(a) >> (b > 31 ? 32 : b));
		CASE(veq_i32, a == b);
		CASE(vne_i32, a != b);
		CASE(vlt_i32, S(a) < S(b));
		CASE(vle_i32, S(a) <= S(b));
		CASE(vlt_u32, a < b);
		CASE(vle_u32, a <= b);
		CASE(vmov, a);
		/* bit-defined by numerics.h and held against MPFR in numerics.c: here only that the lanes agree with it */
		CASE(vexp2, tg_lane_function(op)(a));
		CASE(vlog2, tg_lane_function(op)(a));
		CASE(vrcp, tg_lane_function(op)(a));
		CASE(vrsqrt, tg_lane_function(op)(a));
		CASE(vtanh, tg_lane_function(op)(a));
		CASE(verf, tg_lane_function(op)(a));
		CASE(vsin, tg_lane_function(op)(a));
		CASE(vcos, tg_lane_function(op)(a));
	}
	return false;
}

/* Loads v1, v2, v3 from data, lets `body` compute v4, and returns v4 as stored. */
struct bench {
	struct fixture *f;
	struct program *p;
	uint32_t n, *in, *out;
	struct tg_sim *sim;
};

static struct bench bench_new(const char *chip, uint64_t seed)
{
	struct bench b = {.f = fixture_new(chip)};
	b.p = program_new(b.f);
	b.n = b.f->chip.lanes * b.f->chip.sublanes;
	b.in = tg_alloc_n(b.f->a, 3 * (size_t)b.n, 4);
	for (uint32_t i = 0; i < 3 * b.n; i++)
		b.in[i] = draw(&seed);
	program_data(b.p, 0, b.in, 12 * (uint64_t)b.n);
	program_copy(b.p, TG_DRAM_BASE, IN_AT, 12 * (int64_t)b.n, 1048576);
	EMIT(b.p, smov, 1, b.f->chip.lanes * 4);
	for (int64_t v = 0; v < 3; v++) {
		EMIT(b.p, smov, 2, IN_AT + v * VECTOR_BYTES(b.f));
		EMIT(b.p, vld_i32, v + 1, 2, 0, 1, 0, 0, 0, 0, 1, 0);
	}
	return b;
}

static void bench_run(struct bench *b)
{
	EMIT(b->p, smov, 2, OUT_AT);
	EMIT(b->p, vst_f32, 4, 2, 0, 1, 0, 0, 0, 1, 0);
	program_copy(b->p, OUT_AT, TG_DRAM_BASE + DRAM_OUT, VECTOR_BYTES(b->f), 1049600);
	program_end(b->p);
	bool ok;
	b->sim = run_on_both(b->f, "a row of the table", &b->p->x, (struct tg_sim_options){0}, &b->f->d, &ok);
	ck_assert_msg(ok, "%s", messages(b->f));
	ck_assert_msg(tg_exe_verify(&b->f->d, b->f->a, &b->p->x), "%s", messages(b->f));
	b->out = tg_sim_dram(b->sim, DRAM_OUT, (uint64_t)VECTOR_BYTES(b->f), false);
}

static void bench_free(struct bench *b)
{
	tg_sim_free(b->sim);
	fixture_free(b->f);
}

static void lanes_of(unsigned op, const char *chip)
{
	const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
	struct bench b = bench_new(chip, 1234567 + op);
	bool mask = strcmp(info->format, "MCMP") == 0;
	uint32_t want;
	int64_t fields[4] = {mask ? 1 : 4, 1, 2, 3};
	emit_n(b.p, (enum tg_opcode)op, info->n_fields, fields);
	EMIT(b.p, idle, 300);
	if (mask) { /* a comparison's mask as 1 and 0 */
		EMIT(b.p, vmovi, 5, 1);
		EMIT(b.p, vmovi, 6, 0);
		EMIT(b.p, vsel, 4, 1, 5, 6);
	}
	bench_run(&b);
	for (uint32_t i = 0; i < b.n; i++) {
		uint32_t x = b.in[i], y = b.in[b.n + i], z = b.in[2 * b.n + i];
		ck_assert_msg(lane(op, x, y, z, &want), "%s has no definition in this test", info->name);
		ck_assert_msg(b.out[i] == want, "%s(%08x, %08x, %08x) = %08x, expected %08x", info->name, x, y, z, b.out[i], want);
	}
	bench_free(&b);
}

START_TEST(vector_lanes)
{
	static const char *const apart[] = {"VI", "VS", "VSEL", "MMM", "ME"}; /* test vector_others */
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
		bool skip = info->slot != TG_SLOT_V && info->slot != TG_SLOT_E;
		for (size_t i = 0; i < TG_ARRAY_LEN(apart); i++)
			skip = skip || strcmp(info->format, apart[i]) == 0;
		if (!skip)
			lanes_of(op, _i ? "t1-edge" : "t1");
	}
}
END_TEST

START_TEST(vector_others)
{
	struct bench b = bench_new("t1-edge", 99);
	uint32_t L = b.f->chip.lanes;
	EMIT(b.p, smov, 3, 3 | 20 << 16);
	EMIT(b.p, mext, 1, 3);
	EMIT(b.p, vlt_u32, 2, 1, 2);
	EMIT(b.p, mand, 3, 1, 2);
	EMIT(b.p, mor, 4, 1, 2);
	EMIT(b.p, mxor, 5, 4, 0); /* neither */
	EMIT(b.p, smov, 4, 0x123456789);
	EMIT(b.p, vsplat, 5, 4);
	EMIT(b.p, vmovi, 6, -7);
	EMIT(b.p, vsel, 7, 3, 5, 6);
	EMIT(b.p, vsel, 4, 5, 1, 7);
	bench_run(&b);
	for (uint32_t i = 0; i < b.n; i++) {
		bool ext = i / L < 3 && i % L < 20, less = b.in[i] < b.in[b.n + i];
		uint32_t want = !(ext || less) ? b.in[i] : ext && less ? 0x23456789 : (uint32_t)-7;
		ck_assert_uint_eq(b.out[i], want);
	}
	bench_free(&b);
}
END_TEST

/* ---- scalar: three-operand rows, and their immediate forms under the same definition ---- */

static bool scalar(const char *name, int64_t a, int64_t b, int64_t *out)
{
	uint64_t x = (uint64_t)a, y = (uint64_t)b;
	unsigned n = (unsigned)(y & 63);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"sadd", x + y},
		{"ssub", x - y},
		{"smul", x * y},
		{"sand", x & y},
		{"sor", x | y},
		{"sxor", x ^ y},
		{"sshl", x << n},
		{"sshr", x >> n},
		{"ssar", a < 0 ? ~(~x >> n) : x >> n},
		{"smin", a < b ? x : y},
		{"smax", a > b ? x : y},
		{"peq", x == y},
		{"pne", x != y},
		{"plt", a < b},
		{"ple", a <= b},
	};
	for (size_t i = 0; i < TG_ARRAY_LEN(rows); i++) {
		size_t len = strlen(rows[i].name);
		if (strncmp(rows[i].name, name, len) == 0 && (name[len] == 0 || (name[len] == 'i' && name[len + 1] == 0))) {
			*out = (int64_t)rows[i].value;
			return true;
		}
	}
	return false;
}

/* a and b come from DRAM by sld64; the result goes out by sst64. */
static int64_t run_scalar(unsigned op, int64_t a, int64_t b, bool immediate, bool predicate)
{
	struct fixture *f = fixture_new("t1-edge");
	struct program *p = program_new(f);
	int64_t in[2] = {a, b};
	program_data(p, 0, in, 16);
	program_copy(p, TG_DRAM_BASE, 0, 16, 1024);
	EMIT(p, sld64, 1, 0, 0);
	EMIT(p, sld64, 2, 0, 8);
	emit_n(p, (enum tg_opcode)op, 3, (int64_t[]){predicate ? 1 : 3, 1, immediate ? b : 2});
	EMIT(p, idle, 9);
	if (predicate) {
		EMIT(p, smov, 3, 0);
		struct tg_bundle *bundle = tg_alloc(f->a, sizeof *bundle);
		uint64_t words[2];
		uint32_t n;
		bundle->n = 1;
		bundle->insn[0] = (struct tg_insn){.op = TG_I_smov, .pred = 1, .f = {3, 1}};
		ck_assert(tg_bundle_encode(&f->d, TG_NOWHERE, &f->chip, bundle, words, &n));
		*TG_PUSH(f->a, &p->code) = words[0];
		*TG_PUSH(f->a, &p->code) = words[1];
		EMIT(p, idle, 9);
	}
	EMIT(p, sst64, 3, 0, 64);
	program_copy(p, 64, TG_DRAM_BASE + 4096, 8, 2048);
	program_end(p);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){0});
	ck_assert_msg(tg_sim_run(s, &f->d, 0), "%s", messages(f));
	int64_t got;
	memcpy(&got, tg_sim_dram(s, 4096, 8, false), 8);
	tg_sim_free(s);
	fixture_free(f);
	return got;
}

START_TEST(scalar_rows)
{
	static const int64_t values[] = {0, 1, -1, 5, -7, 63, 64, INT64_MAX, INT64_MIN, 0x123456789abc, -70000000000};
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		const struct tg_insn_info *info = tg_insn_info((enum tg_opcode)op);
		bool rr = !strcmp(info->format, "SRR") || !strcmp(info->format, "PRR"), ri = !strcmp(info->format, "SRI") || !strcmp(info->format, "PRI");
		if (!rr && !ri)
			continue;
		for (size_t i = 0; i < TG_ARRAY_LEN(values); i++) {
			int64_t a = values[i], b = values[(i * 5 + op) % TG_ARRAY_LEN(values)], want;
			if (ri)
				b %= INT64_C(1) << 36;
			ck_assert_msg(scalar(info->name, a, b, &want), "%s has no definition in this test", info->name);
			int64_t got = run_scalar(op, a, b, ri, info->field[0].kind == TG_FIELD_P);
			ck_assert_msg(got == want, "%s(%lld, %lld) = %lld, expected %lld", info->name, (long long)a, (long long)b, (long long)got, (long long)want);
		}
	}
}
END_TEST

/* ---- cross-lane ---- */

static uint32_t combine(const char *name, uint32_t a, uint32_t b)
{
	bool ints = strstr(name, "_i32") != NULL;
	if (strncmp(name, "xadd", 4) == 0)
		return ints ? a + b : canon(F(a) + F(b));
	if (strncmp(name, "xmul", 4) == 0)
		return ints ? a * b : canon(F(a) * F(b));
	if (strncmp(name, "xmin", 4) == 0)
		return ints ? (S(a) < S(b) ? a : b) : canon(f_min(F(a), F(b)));
	return ints ? (S(a) > S(b) ? a : b) : canon(f_max(F(a), F(b)));
}

/* The butterfly as isa.def words it: all lanes, distance by distance. */
static void butterfly(const char *name, const uint32_t *a, uint32_t *out, uint32_t n, uint32_t step, uint32_t segment)
{
	uint32_t *t = malloc(n * sizeof *t);
	memcpy(out, a, n * sizeof *a);
	for (uint32_t d = 1; d < segment; d *= 2) {
		memcpy(t, out, n * sizeof *t);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t low = i - (i / step & d) * step;
			out[i] = combine(name, t[low], t[low + d * step]);
		}
	}
	free(t);
}

START_TEST(reductions)
{
	for (unsigned op = TG_I_xadd_f32; op <= TG_I_xmaxs_i32; op++) {
		const char *name = tg_insn_info((enum tg_opcode)op)->name;
		bool rows = op >= TG_I_xadds_f32;
		for (int64_t u = 0; u < 8; u++) {
			struct bench b = bench_new(_i ? "t1-edge" : "t1", op * 77 + (uint64_t)u);
			uint32_t L = b.f->chip.lanes, side = rows ? b.f->chip.sublanes : L;
			if ((UINT32_C(1) << u) <= side) {
				uint32_t *want = tg_alloc_n(b.f->a, b.n, 4);
				emit_n(b.p, (enum tg_opcode)op, 3, (int64_t[]){4, 1, u});
				EMIT(b.p, idle, 300);
				bench_run(&b);
				butterfly(name, b.in, want, b.n, rows ? L : 1, u ? UINT32_C(1) << u : side);
				for (uint32_t i = 0; i < b.n; i++)
					ck_assert_msg(b.out[i] == want[i], "%s, segments 2^%d, lane %u: %08x, expected %08x", name, (int)u, i, b.out[i], want[i]);
			}
			bench_free(&b);
		}
	}
}
END_TEST

/* rotations, permutation, numbers, transposer */
START_TEST(movement)
{
	static const int64_t by[] = {0, 1, 5, -3, 1000};
	for (size_t k = 0; k < TG_ARRAY_LEN(by); k++) {
		for (unsigned what = 0; what < 5; what++) {
			struct bench b = bench_new(_i ? "t1-edge" : "t1", 5 + k);
			uint32_t L = b.f->chip.lanes, R = b.f->chip.sublanes;
			EMIT(b.p, smov, 5, by[k]);
			switch (what) {
			case 0: EMIT(b.p, xrotl, 4, 1, 5); break;
			case 1: EMIT(b.p, xrots, 4, 1, 5); break;
			case 2: EMIT(b.p, xperm, 4, 1, 2); break;
			case 3:
				EMIT(b.p, xlane, 5);
				EMIT(b.p, xrow, 6);
				EMIT(b.p, vmovi, 7, 1000);
				EMIT(b.p, vmul_i32, 6, 6, 7);
				EMIT(b.p, vadd_i32, 4, 5, 6);
				break;
			default: EMIT(b.p, xget, 6, 1, R - 1, L - 2); EMIT(b.p, vsplat, 4, 6);
			}
			bench_run(&b);
			for (uint32_t i = 0; i < b.n; i++) {
				uint32_t r = i / L, j = i % L;
				uint32_t lane_ = (uint32_t)(((int64_t)j + by[k]) % L + L) % L, row = (uint32_t)(((int64_t)r + by[k]) % R + R) % R;
				uint32_t want = what == 0 ? b.in[r * L + lane_] : what == 1 ? b.in[row * L + j] : what == 2 ? b.in[r * L + b.in[b.n + i] % L] : what == 3 ? j + 1000 * r : b.in[(R - 1) * L + L - 2];
				ck_assert_uint_eq(b.out[i], want);
			}
			bench_free(&b);
		}
	}
}
END_TEST

START_TEST(transposer)
{
	struct bench b = bench_new(_i ? "t1-edge" : "t1", 31);
	uint32_t L = b.f->chip.lanes, R = b.f->chip.sublanes;
	for (uint32_t g = 0; g < L / R; g++)
		EMIT(b.p, xtw, g % 2 ? 2 : 1, g);
	EMIT(b.p, xtr, 4, 1);
	bench_run(&b);
	for (uint32_t r = 0; r < R; r++) {
		for (uint32_t j = 0; j < L; j++)
			ck_assert_uint_eq(b.out[r * L + j], b.in[(j / R % 2) * b.n + (j % R) * L + R + r]);
	}
	bench_free(&b);
}
END_TEST

/* ---- loads and stores: every type, tails, strides, masks, fills ---- */

static const struct {
	enum tg_opcode op;
	enum tg_dtype type;
	int64_t lo, hi; /* of a saturating store; lo == hi: wraps */
} memory_rows[] = {
	{TG_I_vld_f32, TG_f32, 0, 0}, {TG_I_vld_bf16, TG_bf16, 0, 0}, {TG_I_vld_f16, TG_f16, 0, 0}, {TG_I_vld_e4m3, TG_f8e4m3fn, 0, 0}, {TG_I_vld_e5m2, TG_f8e5m2, 0, 0},
	{TG_I_vld_i32, TG_i32, 0, 0}, {TG_I_vld_i16, TG_i16, 0, 0}, {TG_I_vld_u16, TG_u16, 0, 0}, {TG_I_vld_i8, TG_i8, 0, 0}, {TG_I_vld_u8, TG_u8, 0, 0},
	{TG_I_vld_i4, TG_i4, 0, 0}, {TG_I_vld_u4, TG_u4, 0, 0}, {TG_I_vst_f32, TG_i32, 0, 0}, {TG_I_vst_bf16, TG_bf16, 0, 0}, {TG_I_vst_f16, TG_f16, 0, 0},
	{TG_I_vst_e4m3, TG_f8e4m3fn, 0, 0}, {TG_I_vst_e5m2, TG_f8e5m2, 0, 0}, {TG_I_vst_i16, TG_i16, 0, 0}, {TG_I_vst_i8, TG_i8, 0, 0}, {TG_I_vst_i4, TG_i4, 0, 0},
	{TG_I_vst_i16s, TG_i16, INT16_MIN, INT16_MAX}, {TG_I_vst_u16s, TG_u16, 0, UINT16_MAX}, {TG_I_vst_i8s, TG_i8, INT8_MIN, INT8_MAX}, {TG_I_vst_u8s, TG_u8, 0, UINT8_MAX},
	{TG_I_vst_i4s, TG_i4, -8, 7}, {TG_I_vst_u4s, TG_u4, 0, 15},
};

static uint32_t loaded(enum tg_dtype t, const uint8_t *row, uint32_t j)
{
	if (t == TG_f32) {
		uint32_t raw;
		memcpy(&raw, row + 4 * (size_t)j, 4);
		return raw;
	}
	return tg_is_float(t) ? canon((float)tg_get_f64(t, row, j)) : (uint32_t)tg_get_i64(t, row, j);
}

struct access {
	int64_t rows, lanes, n, s, t, mask, fill, step, post;
};
static const struct access accesses[] = {
	{0, 0, 0, 460, 0, 0, 0, 1, 0},    {3, 17, 0, 301, 0, 0, 0, 1, 0}, {2, 5, 0, 64, 0, 0, 1, 1, 0},	     {3, 30, 2, 100, 999, 0, 2, 1, 77},
	{3, 9, 0, 0, 0, 0, 3, 1, 0},	  {0, 0, 1, 5, 111, 0, 0, 0, 0},  {0, 0, 0, 460, 0, 1, 0, 1, -8}, {3, 29, 0, 131, 0, 1, 2, 1, 0}, {2, 7, 0, 33, 0, 1, 1, 0, 0},
};

static void set_access(struct bench *b, const struct access *x)
{
	EMIT(b->p, smov, 6, x->rows | x->lanes << 16 | x->n << 32);
	EMIT(b->p, smov, 7, x->s);
	EMIT(b->p, smov, 8, x->t);
	EMIT(b->p, smov, 9, x->post);
	EMIT(b->p, vlt_i32, 1, 2, 3); /* m1 */
}

static void one_load(unsigned k, const struct access *x)
{
	struct bench b = bench_new("t1-edge", 17 + k);
	uint32_t L = b.f->chip.lanes, R = b.f->chip.sublanes, rows = x->rows ? (uint32_t)x->rows : R, lanes = x->lanes ? (uint32_t)x->lanes : L, n = x->n ? (uint32_t)x->n : R;
	bool is_float = memory_rows[k].op <= TG_I_vld_e5m2;
	set_access(&b, x);
	EMIT(b.p, vmov, 4, 3);
	EMIT(b.p, smov, 2, IN_AT + 3);
	emit_n(b.p, memory_rows[k].op, 10, (int64_t[]){4, 2, 4, 7, 8, 6, x->mask, x->fill, x->step, x->post ? 9 : 0});
	EMIT(b.p, idle, 20);
	EMIT(b.p, vsplat, 5, 2);
	EMIT(b.p, vmovi, 6, 0);
	EMIT(b.p, vadd_i32, 5, 5, 6);
	EMIT(b.p, xget, 10, 5, 0, 0);
	EMIT(b.p, sst64, 10, 0, OUT_AT - 8);
	program_copy(b.p, OUT_AT - 8, TG_DRAM_BASE + DRAM_OUT - 8, 8, 1050624);
	bench_run(&b);
	int64_t after;
	memcpy(&after, tg_sim_dram(b.sim, DRAM_OUT - 8, 8, false), 8);
	ck_assert_int_eq(after, IN_AT + 3 + x->post);
	const uint8_t *base = (const uint8_t *)b.in + 7;
	for (uint32_t r = 0; r < R; r++) {
		const uint8_t *row = base + (r % n) * x->s + (r / n) * x->t;
		for (uint32_t j = 0; j < L; j++) {
			uint32_t old = b.in[2 * b.n + r * L + j], want = old;
			bool selected = !x->mask || (int32_t)b.in[b.n + r * L + j] < (int32_t)old;
			if (selected && r < rows && j < lanes)
				want = loaded(memory_rows[k].type, row, x->step ? j : 0);
			else if (selected && x->fill != 3)
				want = x->fill == 0 ? 0 : x->fill == 1 ? (is_float ? 0x7f800000 : 0x7fffffff) : is_float ? 0xff800000 : 0x80000000;
			ck_assert_msg(b.out[r * L + j] == want, "%s row %u lane %u: %08x, expected %08x", tg_insn_info(memory_rows[k].op)->name, r, j, b.out[r * L + j], want);
		}
	}
	bench_free(&b);
}

static void stored(unsigned k, uint8_t *row, uint32_t j, uint32_t v)
{
	if (memory_rows[k].op == TG_I_vst_e5m2 && isinf(F(v)))
		row[j] = signbit(F(v)) ? 0xfc : 0x7c; /* an e5m2 store saturates finite values only */
	else if (tg_is_float(memory_rows[k].type))
		tg_put_f64(memory_rows[k].type, row, j, F(v));
	else if (memory_rows[k].lo == memory_rows[k].hi)
		tg_put_i64(memory_rows[k].type, row, j, (int32_t)v);
	else
		tg_put_i64(memory_rows[k].type, row, j, S(v) < memory_rows[k].lo ? memory_rows[k].lo : S(v) > memory_rows[k].hi ? memory_rows[k].hi : S(v));
}

static void one_store(unsigned k, const struct access *x)
{
	struct bench b = bench_new("t1-edge", 170 + k);
	uint32_t L = b.f->chip.lanes, R = b.f->chip.sublanes, rows = x->rows ? (uint32_t)x->rows : R, lanes = x->lanes ? (uint32_t)x->lanes : L, n = x->n ? (uint32_t)x->n : R;
	uint8_t *want = tg_alloc(b.f->a, 12 * (size_t)b.n);
	bool nibbles = tg_dtypes[memory_rows[k].type].bits == 4;
	memcpy(want, b.in, 12 * (size_t)b.n);
	set_access(&b, x);
	EMIT(b.p, smov, 2, IN_AT + 3);
	emit_n(b.p, memory_rows[k].op, 9, (int64_t[]){1, 2, 4, 7, 8, 6, x->mask, x->step, x->post ? 9 : 0});
	EMIT(b.p, idle, 20);
	EMIT(b.p, smov, 2, IN_AT);
	EMIT(b.p, vmovi, 4, 0);
	program_copy(b.p, IN_AT, TG_DRAM_BASE + DRAM_OUT + 65536, 12 * (int64_t)b.n, 1050624);
	bench_run(&b);
	for (uint32_t r = 0; r < rows; r++) {
		uint8_t *row = want + 7 + (r % n) * x->s + (r / n) * x->t;
		for (uint32_t j = 0; j < lanes; j++) {
			bool other = nibbles && x->step && (j ^ 1) < lanes && (!x->mask || (int32_t)b.in[b.n + r * L + (j ^ 1)] < (int32_t)b.in[2 * b.n + r * L + (j ^ 1)]);
			if (x->mask && (int32_t)b.in[b.n + r * L + j] >= (int32_t)b.in[2 * b.n + r * L + j])
				continue;
			uint32_t v = b.in[r * L + j];
			if (nibbles && !(other && (j & 1))) /* a byte's first nibble to be written clears the byte */
				row[x->step ? j / 2 : 0] = 0;
			stored(k, row, x->step ? j : 0, v);
			if (tg_is_float(memory_rows[k].type) && F(v) != F(v)) { /* canonical NaNs, by their bits */
				uint32_t nan = memory_rows[k].type == TG_bf16 ? 0x7fc0 : memory_rows[k].type == TG_f16 ? 0x7e00 : 0x7f;
				memcpy(row + (x->step ? j : 0) * tg_dtypes[memory_rows[k].type].bits / 8, &nan, tg_dtypes[memory_rows[k].type].bits / 8);
			}
		}
	}
	const uint8_t *got = tg_sim_dram(b.sim, DRAM_OUT + 65536, 12 * (uint64_t)b.n, false);
	for (uint32_t i = 0; i < 12 * b.n; i++)
		ck_assert_msg(got[i] == want[i], "%s access %d byte %u: %02x, expected %02x", tg_insn_info(memory_rows[k].op)->name, (int)(x - accesses), i, got[i], want[i]);
	bench_free(&b);
}

START_TEST(loads_and_stores)
{
	unsigned covered = 0;
	for (unsigned op = 1; op < TG_N_INSNS; op++) {
		const char *format = tg_insn_info((enum tg_opcode)op)->format;
		covered += !strcmp(format, "VLD") || !strcmp(format, "VST");
	}
	ck_assert_uint_eq(covered, TG_ARRAY_LEN(memory_rows));
	for (unsigned k = 0; k < TG_ARRAY_LEN(memory_rows); k++) {
		if (memory_rows[k].op < TG_I_vst_f32)
			one_load(k, &accesses[_i]);
		else
			one_store(k, &accesses[_i]);
	}
}
END_TEST

START_TEST(indexed)
{
	struct bench b = bench_new("t1-edge", 3);
	uint32_t L = b.f->chip.lanes;
	EMIT(b.p, smov, 6, 3 | 20 << 16);
	EMIT(b.p, smov, 7, b.n);
	EMIT(b.p, vlt_i32, 1, 2, 3);
	EMIT(b.p, vmovi, 5, (int64_t)(b.n - 1));
	EMIT(b.p, vand, 6, 1, 5);
	EMIT(b.p, vmov, 4, 3);
	EMIT(b.p, smov, 2, IN_AT + VECTOR_BYTES(b.f));
	EMIT(b.p, vldx, 4, 2, 6, 7, 6, 1);
	EMIT(b.p, smov, 2, IN_AT);
	EMIT(b.p, vstx, 4, 2, 6, 7, 6, 1);
	program_copy(b.p, IN_AT, TG_DRAM_BASE + DRAM_OUT + 65536, VECTOR_BYTES(b.f), 1050624);
	bench_run(&b);
	uint32_t *mem = tg_alloc_n(b.f->a, b.n, 4);
	memcpy(mem, b.in, (size_t)VECTOR_BYTES(b.f));
	for (uint32_t i = 0; i < b.n; i++) {
		bool on = i / L < 3 && i % L < 20 && (int32_t)b.in[b.n + i] < (int32_t)b.in[2 * b.n + i];
		uint32_t want = on ? b.in[b.n + (b.in[i] & (b.n - 1))] : b.in[2 * b.n + i];
		ck_assert_uint_eq(b.out[i], want);
		if (on)
			mem[b.in[i] & (b.n - 1)] = want;
	}
	ck_assert_int_eq(memcmp(mem, tg_sim_dram(b.sim, DRAM_OUT + 65536, (uint64_t)VECTOR_BYTES(b.f), false), (size_t)VECTOR_BYTES(b.f)), 0);
	bench_free(&b);
}
END_TEST

/* ---- the matrix unit: the defined order, term by term ---- */

struct matrix_case {
	int64_t rows, lanes; /* extent of a push */
	bool transposed, masked;
	int64_t n, add;
	bool steps; /* each group has columns of its own number */
};
static const struct matrix_case matrix_cases[] = {
	{0, 0, false, false, 4, 0, false}, {3, 20, false, false, 4, 1, false}, {0, 0, true, false, 3, 1, false}, {2, 17, true, false, 4, 0, false},
	{0, 0, false, true, 4, 1, false}, {3, 31, true, true, 1, 1, false}, {0, 0, false, false, 4, 1, true}, {0, 0, false, false, 3, 0, true}, {5, 0, false, false, 1, 1, true},
};
/* rows with holes, vectors of columns that are there in part, and those that are alike in two panels */
static const int64_t step_lanes[] = {40, 128, 24, 96, 20};
static const enum tg_dtype array_dtypes[] = {TG_f32, TG_bf16, TG_f16, TG_f8e4m3fn, TG_f8e5m2, TG_i8, TG_u8};

static uint32_t enters(unsigned type, uint32_t a)
{
	if (type >= TG_ARRAY_i8) {
		uint8_t raw = (uint8_t)a;
		return (uint32_t)tg_get_i64(array_dtypes[type], &raw, 0);
	}
	return type == TG_ARRAY_f32 ? a : through(array_dtypes[type], a);
}

static void multiply_case(const char *chip, unsigned type, const struct matrix_case *m)
{
	struct bench b = bench_new(chip, 1000 + type);
	uint32_t L = b.f->chip.lanes, R = b.f->chip.sublanes, K = b.f->chip.array_rows, N = b.f->chip.array_cols;
	for (uint32_t i = 0; m->steps && type < TG_ARRAY_i8 && i < 3 * b.n; i++) /* any bits would sum up to NaN, whatever was left out */
		b.in[i] = tg_bits((float)(int32_t)(b.in[i] % 31) - 15.25f);
	uint32_t *w = tg_alloc_n(b.f->a, (size_t)K * N, 4);
	bool *present = tg_alloc(b.f->a, (size_t)K * N);
	EMIT(b.p, vlt_i32, 1, 2, 3);
	for (uint32_t g = 0; g < (m->transposed ? N : K) / R - 1; g++) { /* the last group stays absent */
		int64_t lanes = m->steps ? step_lanes[g % TG_ARRAY_LEN(step_lanes)] : m->lanes;
		EMIT(b.p, smov, 5, g);
		EMIT(b.p, smov, 6, m->rows | lanes << 16);
		emit_n(b.p, (enum tg_opcode)(TG_I_push_f32 + type), 7, (int64_t[]){0, g % 2 ? 2 : 1, 5, 0, 6, m->masked, m->transposed});
		EMIT(b.p, idle, 8);
		for (uint32_t i = 0; i < b.n; i++) {
			uint32_t r = g * R + i / L, j = i % L;
			uint32_t k = m->transposed ? j : r, c = m->transposed ? r : j;
			if (k >= K || c >= N || (m->rows && i / L >= m->rows) || (lanes && j >= lanes) || (m->masked && (int32_t)b.in[b.n + i] >= (int32_t)b.in[2 * b.n + i]))
				continue;
			w[k * N + c] = enters(type, b.in[(g % 2) * b.n + i]);
			present[k * N + c] = true;
		}
	}
	EMIT(b.p, swap, 0);
	emit_n(b.p, (enum tg_opcode)(TG_I_mul_f32 + type), 7, (int64_t[]){0, 3, 0, 8, m->n, 0, 0});
	EMIT(b.p, idle, 300);
	if (m->add)
		emit_n(b.p, (enum tg_opcode)(TG_I_mul_f32 + type), 7, (int64_t[]){0, 3, 0, 8, m->n, 1, 0});
	EMIT(b.p, idle, 300);
	EMIT(b.p, mrd, 4, 0, 0, 8, m->n);
	bench_run(&b);
	for (uint32_t i = 0; i < b.n; i++) {
		uint32_t r = i / L, c = i % L, p = 0, acc;
		for (uint32_t k = 0; k < K && c < N; k++) {
			uint32_t a = enters(type, b.in[2 * b.n + r * L + k]);
			if (present[k * N + c])
				p = type >= TG_ARRAY_i8 ? p + a * w[k * N + c] : tg_bits(fmaf(F(a), F(w[k * N + c]), F(p)));
		}
		acc = type >= TG_ARRAY_i8 ? p : canon(F(p));
		if (m->add)
			acc = type >= TG_ARRAY_i8 ? p + p : canon(F(acc) + F(p));
		acc = r < (uint32_t)m->n && c < N ? acc : 0;
		ck_assert_msg(b.out[i] == acc, "type %u row %u column %u: %08x, expected %08x", type, r, c, b.out[i], acc);
	}
	bench_free(&b);
}

START_TEST(matrix)
{
	for (unsigned type = 0; type < TG_N_ARRAY_TYPES; type++)
		multiply_case("t1", type, &matrix_cases[_i]);
	multiply_case("t1-edge", TG_ARRAY_bf16, &matrix_cases[_i]);
	multiply_case("t1-edge", TG_ARRAY_u8, &matrix_cases[_i]);
}
END_TEST

/* ---- DMA: random descriptors against the sentence in isa.h ---- */

static int64_t below(uint64_t *x, int64_t n)
{
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	return (int64_t)((*x >> 11) % (uint64_t)n);
}

static void dma_case(uint64_t seed, enum tg_dma_mode mode)
{
	static const uint8_t bytes[] = {1, 2, 4, 8, 4, 2, 2, 4, 8};
	static const uint8_t pairs[][2] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 5}, {4, 6}, {5, 4}, {6, 4}, {7, 8}, {8, 7}};
	struct fixture *f = fixture_new("t1-edge");
	struct program *p = program_new(f);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 7;
	enum { REGION = 32768 };
	uint8_t *src = tg_alloc(f->a, REGION), *want = tg_alloc(f->a, REGION);
	struct tg_dma_desc *d = tg_alloc(f->a, sizeof *d);
	for (int i = 0; i < REGION; i++)
		src[i] = (uint8_t)below(&x, 256);
	int64_t list[4];
	int pair = (int)below(&x, 10);
	*d = (struct tg_dma_desc){.kind = (uint8_t)below(&x, 4), .outside = (uint8_t)below(&x, 2), .src_type = pairs[pair][0], .dst_type = pairs[pair][1]};
	d->fill_bits = 0x1122334455667788u;
	/* destinations of a random order of dimensions, dense; sources anywhere */
	int64_t dense = bytes[d->dst_type], low = 0;
	for (int k = 3; k >= 0; k--) {
		d->size[k] = 1 + below(&x, k == 3 ? 9 : 4);
		d->lo[k] = below(&x, 3) == 0 ? below(&x, 3) : 0;
		d->hi[k] = below(&x, 3) == 0 ? below(&x, d->size[k] + 1) : d->size[k] + below(&x, 3);
		bool flip = below(&x, 4) == 0;
		d->dst_stride[k] = flip ? -dense : dense;
		low += flip ? (d->size[k] - 1) * dense : 0;
		dense *= (k == 0 && d->kind == TG_DMA_SCATTER ? 6 : d->size[k]);
		dense += below(&x, 3) == 0 ? bytes[d->dst_type] * below(&x, 3) : 0;
		d->src_stride[k] = below(&x, 2) ? bytes[d->src_type] * (k == 3 ? 1 : d->size[3]) : below(&x, 100) - 50;
	}
	if (d->kind == TG_DMA_SCATTER && d->dst_stride[0] < 0)
		low += 6 * -d->dst_stride[0];
	d->dst_offset = low;
	d->src_offset = REGION / 2;
	d->list_addr = 65536;
	d->list_bound = 6;
	for (int i = 0; i < 4; i++)
		list[i] = (i * 5 + (int64_t)seed) % 6; /* distinct */
	int32_t list32[4] = {(int32_t)list[0], (int32_t)list[1], (int32_t)list[2], (int32_t)list[3]};
	program_data(p, 0, src, REGION);
	program_data(p, 1 << 20, d, sizeof *d);
	program_data(p, 1 << 21, list32, sizeof list32);
	program_copy(p, TG_DRAM_BASE + (1 << 21), 65536, 16, 3 << 20);
	bool from_sram = below(&x, 2), to_sram = below(&x, 2);
	if (from_sram)
		program_copy(p, TG_DRAM_BASE, 131072, REGION, 4 << 20);
	if (to_sram)
		program_copy(p, TG_DRAM_BASE, 262144, REGION, 5 << 20);
	else
		program_copy(p, TG_DRAM_BASE, TG_DRAM_BASE + (8 << 20), REGION, 5 << 20);
	EMIT(p, smov, 5, TG_DRAM_BASE + (1 << 20));
	EMIT(p, smov, 6, from_sram ? 131072 : TG_DRAM_BASE);
	EMIT(p, smov, 7, to_sram ? 262144 : TG_DRAM_BASE + (8 << 20));
	EMIT(p, dma_start, 8, 1, 5, 6, 7);
	EMIT(p, dma_wait, 1, 8);
	if (to_sram)
		program_copy(p, 262144, TG_DRAM_BASE + (8 << 20), REGION, 6 << 20);
	program_end(p);
	struct tg_sim *s = tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.dma = mode, .seed = seed, .engine = TG_ENGINE_INTERP}); /* transfers are never translated */
	ck_assert_msg(tg_sim_run(s, &f->d, 0), "seed %llu: %s", (unsigned long long)seed, messages(f));
	memcpy(want, src, REGION);
	for (int64_t i = 0; i < d->size[0] * d->size[1] * d->size[2] * d->size[3]; i++) {
		int64_t at[4], rest = i, from = d->src_offset, to = d->dst_offset;
		bool inside = true;
		for (int k = 3; k >= 0; k--) {
			at[k] = rest % d->size[k];
			rest /= d->size[k];
			inside = inside && at[k] >= d->lo[k] && at[k] < d->hi[k];
			from += (k == 0 && d->kind == TG_DMA_GATHER ? list[at[k]] : at[k]) * d->src_stride[k];
			to += (k == 0 && d->kind == TG_DMA_SCATTER ? list[at[k]] : at[k]) * d->dst_stride[k];
		}
		uint64_t out = d->fill_bits;
		if (d->kind != TG_DMA_FILL && inside) {
			uint64_t raw = 0;
			memcpy(&raw, src + from, bytes[d->src_type]);
			uint32_t low32 = (uint32_t)raw;
			int64_t wide = (int64_t)raw;
			if (pair < 4)
				out = raw;
			else if (pair == 4 || pair == 5)
				out = pair == 4 ? tg_to_bf16(low32) : tg_to_f16(low32);
			else if (pair == 6 || pair == 7)
				out = pair == 6 ? tg_from_bf16(low32) : tg_from_f16(low32);
			else if (pair == 8)
				out = (uint64_t)(int64_t)(int32_t)low32;
			else
				out = (uint32_t)(int32_t)(wide < INT32_MIN ? INT32_MIN : wide > INT32_MAX ? INT32_MAX : wide);
		} else if (d->kind != TG_DMA_FILL && !d->outside) {
			continue;
		}
		memcpy(want + to, &out, bytes[d->dst_type]);
	}
	const uint8_t *got = tg_sim_dram(s, 8 << 20, REGION, false);
	for (int i = 0; i < REGION; i++)
		ck_assert_msg(got[i] == want[i], "seed %llu: byte %d: %02x, expected %02x", (unsigned long long)seed, i, got[i], want[i]);
	tg_sim_free(s);
	fixture_free(f);
}

START_TEST(transfers)
{
	for (uint64_t seed = 1; seed <= 150; seed++)
		dma_case(seed, (enum tg_dma_mode)_i);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("semantics");
	TCase *t = tcase_create("semantics");
	tcase_set_timeout(t, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_unchecked_fixture(t, load_translator, NULL);
	tcase_add_loop_test(t, vector_lanes, 0, 2);
	tcase_add_test(t, vector_others);
	tcase_add_test(t, scalar_rows);
	tcase_add_loop_test(t, reductions, 0, 2);
	tcase_add_loop_test(t, movement, 0, 2);
	tcase_add_loop_test(t, transposer, 0, 2);
	tcase_add_loop_test(t, loads_and_stores, 0, TG_ARRAY_LEN(accesses));
	tcase_add_test(t, indexed);
	tcase_add_loop_test(t, matrix, 0, TG_ARRAY_LEN(matrix_cases));
	tcase_add_loop_test(t, transfers, 0, 3);
	suite_add_tcase(s, t);
	return run_suite(s);
}
