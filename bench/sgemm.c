/* sgemm.c: a plain f32 matrix multiply, as fast as this host's fma units allow, for bench_sim to compare with.
 *
 * Vectors of the compiler, one body for each instruction set that the host may have; compiled so that products and sums become fma (cmake/bench.cmake). */
#include "sgemm.h"

#include <string.h>

#define TILE 6 /* rows by two vectors: as many sums as fma units want under way and registers hold */

#define BODY(name, lanes, attributes)                                                                                                                \
	typedef float name##_v __attribute__((vector_size(4 * (lanes)), aligned(4), may_alias));                                                     \
	static attributes void name(const float (*a)[SGEMM_N], const float (*b)[SGEMM_N], float (*c)[SGEMM_N])                                       \
	{                                                                                                                                            \
		float panel[SGEMM_N][2 * (lanes)]; /* columns of b side by side, since rows of b lie in the same sets of a cache */                  \
		for (int j = 0; j < SGEMM_N; j += 2 * (lanes)) {                                                                                     \
			for (int k = 0; k < SGEMM_N; k++)                                                                                            \
				memcpy(panel[k], &b[k][j], sizeof panel[k]);                                                                         \
			for (int i = 0; i < SGEMM_M; i += TILE) {                                                                                    \
				name##_v p[TILE][2];                                                                                                 \
				_Pragma("GCC unroll 6") for (int r = 0; r < TILE; r++)                                                               \
				{                                                                                                                    \
					p[r][0] = p[r][1] = (name##_v){0};                                                                           \
				}                                                                                                                    \
				for (int k = 0; k < SGEMM_N; k++) {                                                                                  \
					const name##_v *w = (const name##_v *)(const void *)panel[k];                                                \
					_Pragma("GCC unroll 6") for (int r = 0; r < TILE; r++)                                                       \
					{                                                                                                            \
						p[r][0] += a[i + r][k] * w[0];                                                                       \
						p[r][1] += a[i + r][k] * w[1];                                                                       \
					}                                                                                                            \
				}                                                                                                                    \
				_Pragma("GCC unroll 6") for (int r = 0; r < TILE; r++)                                                               \
				{                                                                                                                    \
					((name##_v *)(void *)&c[i + r][j])[0] = p[r][0];                                                             \
					((name##_v *)(void *)&c[i + r][j])[1] = p[r][1];                                                             \
				}                                                                                                                    \
			}                                                                                                                            \
		}                                                                                                                                    \
	}

BODY(plain, 4, )
#if defined(__x86_64__)
BODY(avx2, 8, __attribute__((target("avx2,fma"))))
BODY(avx512, 16, __attribute__((target("avx512f"))))
#endif

void sgemm(const float (*a)[SGEMM_N], const float (*b)[SGEMM_N], float (*c)[SGEMM_N])
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f")) {
		avx512(a, b, c);
		return;
	}
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
		avx2(a, b, c);
		return;
	}
#endif
	plain(a, b, c);
}
