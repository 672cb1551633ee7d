/* sgemm.h: c = a b, of SGEMM_M x SGEMM_N and SGEMM_N x SGEMM_N floats. */
#ifndef TG_BENCH_SGEMM_H
#define TG_BENCH_SGEMM_H

#define SGEMM_M 252
#define SGEMM_N 256

void sgemm(const float (*a)[SGEMM_N], const float (*b)[SGEMM_N], float (*c)[SGEMM_N]);

#endif
