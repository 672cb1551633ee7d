/* alu.c: scalar, vector ALU, transcendental and cross-lane instructions: what each row of isa.def says, one expression each.
 * Operands are in->f[], in the order of the row's field list. Loops over lanes are plain, so that the compiler vectorises them. */
#include "level.h"

/* ---- scalar ---- */

#define SRR(name, expr)                                                                                                                              \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		uint64_t a = (uint64_t)now->s[in->f[1]], b = (uint64_t)now->s[in->f[2]];                                                             \
		next->s = (int64_t)(expr);                                                                                                           \
	}
#define SRI(name, expr)                                                                                                                              \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		uint64_t a = (uint64_t)now->s[in->f[1]], b = (uint64_t)in->f[2];                                                                     \
		next->s = (int64_t)(expr);                                                                                                           \
	}
#define LESS(a, b) ((int64_t)(a) < (int64_t)(b))
#define SAR(a, n) ((uint64_t)((int64_t)(a) >> (n)))

SEM(smov) { (void)now; next->s = in->f[1]; }
SRR(sadd, a + b)
SRR(ssub, a - b)
SRR(smul, a *b)
SRR(sand, a &b)
SRR(sor, a | b)
SRR(sxor, a ^ b)
SRR(sshl, a << (b & 63))
SRR(sshr, a >> (b & 63))
SRR(ssar, SAR(a, b & 63))
SRR(smin, LESS(a, b) ? a : b)
SRR(smax, LESS(a, b) ? b : a)
SRI(saddi, a + b)
SRI(smuli, a *b)
SRI(sandi, a &b)
SRI(sori, a | b)
SRI(sshli, a << (b & 63))
SRI(sshri, a >> (b & 63))
SRI(ssari, SAR(a, b & 63))
SRI(smini, LESS(a, b) ? a : b)
SRI(smaxi, LESS(a, b) ? b : a)

#define PRR(name, expr)                                                                                                                              \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		int64_t a = now->s[in->f[1]], b = now->s[in->f[2]];                                                                                  \
		next->p = expr;                                                                                                                      \
	}
#define PRI(name, expr)                                                                                                                              \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		int64_t a = now->s[in->f[1]], b = in->f[2];                                                                                          \
		next->p = expr;                                                                                                                      \
	}
PRR(peq, a == b)
PRR(pne, a != b)
PRR(plt, a < b)
PRR(ple, a <= b)
PRI(peqi, a == b)
PRI(pnei, a != b)
PRI(plti, a < b)
PRI(plei, a <= b)
SEM(pand) { next->p = now->p[in->f[1]] & now->p[in->f[2]]; }
SEM(por) { next->p = now->p[in->f[1]] | now->p[in->f[2]]; }
SEM(pxor) { next->p = now->p[in->f[1]] ^ now->p[in->f[2]]; }

/* ---- vector ---- */

#define EACH(expr)                                                                                                                                   \
	uint32_t *restrict d = next->v;                                                                                                              \
	const uint32_t n = now->n; /* a store to d could change it, for all the compiler knows */                                                    \
	for (uint32_t i = 0; i < n; i++)                                                                                                             \
		d[i] = (uint32_t)(expr);
#define V1(name, expr)                                                                                                                               \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		const uint32_t *a_ = now->v[in->f[1]];                                                                                               \
		uint32_t *restrict d = next->v;                                                                                                      \
		const uint32_t n = now->n; /* a store to d could change it, for all the compiler knows */                                            \
		for (uint32_t i = 0; i < n; i++) {                                                                                                   \
			uint32_t a = a_[i];                                                                                                          \
			d[i] = (uint32_t)(expr);                                                                                                     \
		}                                                                                                                                    \
	}
#define V2(name, expr)                                                                                                                               \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		const uint32_t *a_ = now->v[in->f[1]], *b_ = now->v[in->f[2]];                                                                       \
		uint32_t *restrict d = next->v;                                                                                                      \
		const uint32_t n = now->n; /* a store to d could change it, for all the compiler knows */                                            \
		for (uint32_t i = 0; i < n; i++) {                                                                                                   \
			uint32_t a = a_[i], b = b_[i];                                                                                               \
			d[i] = (uint32_t)(expr);                                                                                                     \
		}                                                                                                                                    \
	}
#define V3(name, expr)                                                                                                                               \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		const uint32_t *a_ = now->v[in->f[1]], *b_ = now->v[in->f[2]], *c_ = now->v[in->f[3]];                                               \
		uint32_t *restrict d = next->v;                                                                                                      \
		const uint32_t n = now->n; /* a store to d could change it, for all the compiler knows */                                            \
		for (uint32_t i = 0; i < n; i++) {                                                                                                   \
			uint32_t a = a_[i], b = b_[i], c = c_[i];                                                                                    \
			d[i] = (uint32_t)(expr);                                                                                                     \
		}                                                                                                                                    \
	}
#define MASK(test) ((test) ? ~UINT32_C(0) : 0)
#define I(x) ((int32_t)(x))

V2(vadd_f32, tg_f32_add(a, b))
V2(vsub_f32, tg_f32_sub(a, b))
V2(vmul_f32, tg_f32_mul(a, b))
V3(vfma_f32, tg_f32_fma(a, b, c))
V3(vfnma_f32, tg_f32_fnma(a, b, c))
V2(vmin_f32, tg_f32_min(a, b))
V2(vmax_f32, tg_f32_max(a, b))
V3(vclamp_f32, tg_f32_min(tg_f32_max(a, b), c))
V1(vabs_f32, a & 0x7fffffff)
V1(vneg_f32, a ^ 0x80000000)
V1(vfloor_f32, tg_f32_floor(a))
V1(vceil_f32, tg_f32_ceil(a))
V1(vtrunc_f32, tg_f32_trunc(a))
V1(vrne_f32, tg_f32_rne(a))
V1(vrnd_bf16, tg_from_bf16(tg_to_bf16(a)))
V1(vrnd_f16, tg_round_f16(a))
V1(vrnd_e4m3, tg_round_e4m3(a))
V1(vrnd_e5m2, tg_round_e5m2(a))
V2(veq_f32, MASK(tg_float(a) == tg_float(b)))
V2(vne_f32, MASK(tg_float(a) != tg_float(b)))
V2(vlt_f32, MASK(tg_float(a) < tg_float(b)))
V2(vle_f32, MASK(tg_float(a) <= tg_float(b)))
V1(vf2i, tg_f2i(a))
V1(vf2u, tg_f2u(a))
V1(vi2f, tg_i2f(a))
V1(vu2f, tg_u2f(a))

V2(vadd_i32, a + b)
V2(vsub_i32, a - b)
V2(vmul_i32, a *b)
V2(vmulh_u32, (uint64_t)a *b >> 32)
V2(vmin_i32, I(a) < I(b) ? a : b)
V2(vmax_i32, I(a) < I(b) ? b : a)
V2(vmin_u32, a < b ? a : b)
V2(vmax_u32, a < b ? b : a)
V2(vand, a &b)
V2(vor, a | b)
V2(vxor, a ^ b)
V2(vshl, b > 31 ? 0 : a << (b & 31))
V2(vshr, b > 31 ? 0 : a >> (b & 31))
V2(vsar, I(a) >> (b > 31 ? 31 : b))
V2(veq_i32, MASK(a == b))
V2(vne_i32, MASK(a != b))
V2(vlt_i32, MASK(I(a) < I(b)))
V2(vle_i32, MASK(I(a) <= I(b)))
V2(vlt_u32, MASK(a < b))
V2(vle_u32, MASK(a <= b))
V1(vmov, a)
SEM(vmovi) { EACH(in->f[1]) }
SEM(vsplat)
{
	uint32_t a = (uint32_t)now->s[in->f[1]];
	EACH(a)
}
SEM(vsel)
{
	const uint32_t *m = now->m[in->f[1]], *a = now->v[in->f[2]], *b = now->v[in->f[3]];
	EACH((a[i] & m[i]) | (b[i] & ~m[i]))
}
#define MMM(name, expr)                                                                                                                              \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		const uint32_t *a = now->m[in->f[1]], *b = now->m[in->f[2]];                                                                         \
		EACH(expr)                                                                                                                           \
	}
MMM(mand, a[i] & b[i])
MMM(mor, a[i] | b[i])
MMM(mxor, a[i] ^ b[i])
SEM(mext)
{
	struct tg_extent x = extent_of(now, now->s[in->f[1]]);
	for (uint32_t r = 0; r < now->rows; r++) {
		for (uint32_t j = 0; j < now->lanes; j++)
			next->v[r * now->lanes + j] = MASK(r < x.rows && j < x.lanes);
	}
}

/* ---- transcendentals ---- */

V1(vexp2, tg_f32_exp2(a))
V1(vlog2, tg_f32_log2(a))
V1(vrcp, tg_f32_rcp(a))
V1(vrsqrt, tg_f32_rsqrt(a))
V1(vtanh, tg_f32_tanh(a))
V1(verf, tg_f32_erf(a))
V1(vsin, tg_f32_sin(a))
V1(vcos, tg_f32_cos(a))

/* ---- cross-lane. The butterfly gives every lane of a segment the same value, so one half of each step is enough. ---- */

#define REDUCE_LANES(name, fn)                                                                                                                       \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		uint32_t seg = in->f[2] ? UINT32_C(1) << in->f[2] : now->lanes, total = now->n;                                                      \
		const uint32_t *a = now->v[in->f[1]];                                                                                                \
		uint32_t *d = next->v, t[2][256];                                                                                                    \
		for (uint32_t at = 0; at < total; at += seg) {                                                                                       \
			const uint32_t *from = a + at;                                                                                               \
			unsigned side = 0;                                                                                                           \
			for (uint32_t n = seg / 2; n; n /= 2, side ^= 1) {                                                                           \
				uint32_t *restrict to = t[side];                                                                                     \
				for (uint32_t j = 0; j < n; j++)                                                                                     \
					to[j] = fn(from[2 * j], from[2 * j + 1]);                                                                    \
				from = to;                                                                                                           \
			}                                                                                                                            \
			uint32_t all = from[0];                                                                                                      \
			for (uint32_t j = 0; j < seg; j++)                                                                                           \
				d[at + j] = all;                                                                                                     \
		}                                                                                                                                    \
	}
#define REDUCE_ROWS(name, fn)                                                                                                                        \
	SEM(name)                                                                                                                                    \
	{                                                                                                                                            \
		uint32_t seg = in->f[2] ? UINT32_C(1) << in->f[2] : now->rows, L = now->lanes;                                                       \
		uint32_t *d = next->v;                                                                                                               \
		memcpy(d, now->v[in->f[1]], now->n * sizeof *d);                                                                                     \
		for (uint32_t dist = 1; dist < seg; dist *= 2) {                                                                                     \
			for (uint32_t r = 0; r < now->rows; r += 2 * dist) {                                                                         \
				uint32_t *low = d + r * L, *high = d + (r + dist) * L;                                                               \
				for (uint32_t j = 0; j < L; j++)                                                                                     \
					low[j] = fn(low[j], high[j]);                                                                                \
			}                                                                                                                            \
		}                                                                                                                                    \
		for (uint32_t r = 0; r < now->rows; r++) {                                                                                           \
			if (r & (seg - 1))                                                                                                           \
				memcpy(d + r * L, d + (r & ~(seg - 1)) * L, L * sizeof *d);                                                          \
		}                                                                                                                                    \
	}
static inline uint32_t i_add(uint32_t a, uint32_t b) { return a + b; }
static inline uint32_t i_mul(uint32_t a, uint32_t b) { return a * b; }
static inline uint32_t i_min(uint32_t a, uint32_t b) { return I(a) < I(b) ? a : b; }
static inline uint32_t i_max(uint32_t a, uint32_t b) { return I(a) < I(b) ? b : a; }
REDUCE_LANES(xadd_f32, tg_f32_add)
REDUCE_LANES(xmin_f32, tg_f32_min)
REDUCE_LANES(xmax_f32, tg_f32_max)
REDUCE_LANES(xmul_f32, tg_f32_mul)
REDUCE_LANES(xadd_i32, i_add)
REDUCE_LANES(xmin_i32, i_min)
REDUCE_LANES(xmax_i32, i_max)
REDUCE_LANES(xmul_i32, i_mul)
REDUCE_ROWS(xadds_f32, tg_f32_add)
REDUCE_ROWS(xmins_f32, tg_f32_min)
REDUCE_ROWS(xmaxs_f32, tg_f32_max)
REDUCE_ROWS(xadds_i32, i_add)
REDUCE_ROWS(xmins_i32, i_min)
REDUCE_ROWS(xmaxs_i32, i_max)

SEM(xrotl)
{
	const uint32_t *a = now->v[in->f[1]];
	uint32_t L = now->lanes, by = (uint32_t)(now->s[in->f[2]] & (L - 1));
	for (uint32_t at = 0; at < now->n; at += L) {
		memcpy(next->v + at, a + at + by, (L - by) * sizeof *a);
		memcpy(next->v + at + L - by, a + at, by * sizeof *a);
	}
}
SEM(xrots)
{
	uint32_t L = now->lanes, by = (uint32_t)(now->s[in->f[2]] & (now->rows - 1));
	for (uint32_t r = 0; r < now->rows; r++)
		memcpy(next->v + r * L, now->v[in->f[1]] + ((r + by) & (now->rows - 1)) * L, L * sizeof(uint32_t));
}
SEM(xlane)
{
	const uint32_t last = now->lanes - 1;
	(void)in;
	EACH(i & last)
}
SEM(xrow)
{
	const uint32_t lanes = now->lanes;
	(void)in;
	EACH(i / lanes)
}
SEM(xperm)
{
	const uint32_t *a = now->v[in->f[1]], *b = now->v[in->f[2]];
	uint32_t low = now->lanes - 1;
	EACH(a[(i & ~low) + (b[i] & low)])
}
SEM(xget)
{
	next->s = (int32_t)now->v[in->f[1]][(uint32_t)in->f[2] * now->lanes + (uint32_t)in->f[3]];
}
SEM(xtw)
{
	memcpy(now->transposer + (uint32_t)in->f[1] * now->n, now->v[in->f[0]], now->n * sizeof(uint32_t));
	now->transposer_ready = now->clock + now->chip->latency.transposer;
	(void)next;
}
SEM(xtr)
{
	uint32_t L = now->lanes;
	if (now->clock < now->transposer_ready) {
		next->trap = "the transposer is read before its last write has landed";
		return;
	}
	for (uint32_t r = 0; r < now->rows; r++) {
		for (uint32_t j = 0; j < L; j++)
			next->v[r * L + j] = now->transposer[j * L + (uint32_t)in->f[1] * now->rows + r];
	}
}
