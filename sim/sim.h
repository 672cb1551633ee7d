/* sim.h: runs an executable. */
#ifndef TG_SIM_H
#define TG_SIM_H

#include "isa.h"

enum tg_dma_mode { TG_DMA_EARLY, TG_DMA_LATE, TG_DMA_RANDOM };
struct tg_trace;
/* Both give the same results, counters and traps to the bit. TG_ENGINE_DEFAULT: translated code where the build and the host have it. */
enum tg_engine { TG_ENGINE_DEFAULT, TG_ENGINE_INTERP, TG_ENGINE_JIT };
struct tg_sim_options {
	enum tg_dma_mode dma;
	uint64_t seed;
	uint64_t max_cycles; /* 0: 2^40 */
	struct tg_trace *trace; /* records when things happen; NULL: nothing does. Runs on the interpreter */
	enum tg_engine engine;
	const char *cache_dir; /* where translated code is kept between runs; NULL: nowhere */
	uint32_t threads;      /* host threads, 0 and 1: one; the results are the same */
	bool translate_all;    /* also what hardly runs: for tests */
	bool all_registers;    /* translated code writes vector registers and masks that nobody will read, too: the state is then that of the interpreter even after a trap */
};
struct tg_counters {
	uint64_t cycles, bundles;
	uint64_t stall_dma_wait, stall_dma_full, stall_fetch;
	uint64_t busy[TG_N_SLOTS];      /* instruction-cycles of each kind of slot (occupancy) */
	uint64_t dma_transfers, dram_read_bytes, dram_written_bytes, fetch_bytes;
	uint64_t macs[TG_N_ARRAY_TYPES]; /* present weights only */
	uint64_t vector_lane_ops;        /* lanes written by V, E and X slots */
	uint64_t sram_bytes, acc_bytes;  /* moved */
	double energy_pj;
};
struct tg_sim; /* one core with its memories */

struct tg_sim *tg_sim_new(struct tg_arena *a, const struct tg_exe *x, const struct tg_sim_options *o);
void tg_sim_free(struct tg_sim *s); /* unmaps DRAM */
/* Whether this build on this host can translate, as far as can be told without loading LLVM. */
bool tg_sim_can_translate(void);
/* Whether this simulator does. */
bool tg_sim_translates(const struct tg_sim *s);
/* DRAM as the program sees it; sparse: untouched pages cost nothing. The pointer is to `bytes` contiguous bytes; marks them written when `write`. */
void *tg_sim_dram(struct tg_sim *s, uint64_t offset, uint64_t bytes, bool write);
/* Runs the chip step that starts at this code word to its halt. False: trapped, and `d` has one error of status TG_ERR_TRAP that names bundle,
 * reason and ONNX node. Counters add up over runs. */
bool tg_sim_run(struct tg_sim *s, struct tg_diag *d, uint32_t entry_word);
const struct tg_counters *tg_sim_counters(const struct tg_sim *s);
/* Cycles, stalls, MACs, DMA bytes of each provenance set; array of x->provs.n entries. */
const struct tg_counters *tg_sim_by_prov(const struct tg_sim *s);
/* Digest over registers, what is written of SRAM and accumulators, and touched DRAM. After a trap it says something only for the interpreter, or with all_registers. */
void tg_sim_state_hash(const struct tg_sim *s, uint8_t out[32]);

/* ---- sim_trace.c: what happened when, in bounded memory ---------------------------------------------------------------
 * Time is cut into at most TG_TRACE_BUCKETS buckets of equal length, a power of two that doubles when they are full. Transfers beyond the bound are counted. */

#define TG_TRACE_BUCKETS 2048
struct tg_trace_bucket {
	uint64_t busy[TG_N_SLOTS];  /* instruction-cycles, at the bundle that issued them */
	uint64_t issued;            /* bundles, idle ones included */
	uint64_t stall_dma_wait, stall_dma_full, stall_fetch;
	uint64_t dram_read_bytes, dram_written_bytes; /* spread over the time in which the DRAM serves them */
	uint32_t prov;              /* the provenance set that has most of the bucket; provs.n: none */
	uint64_t lead;              /* by how much (Boyer and Moore's majority vote) */
};
struct tg_trace_transfer {
	uint64_t issued, begin, end; /* cycles: of the start instruction, of its engine, of the last byte */
	uint64_t dram_read_bytes, dram_written_bytes, sram_bytes;
	uint32_t queue, prov;
};
struct tg_trace {
	struct tg_arena *arena;
	uint64_t bucket_cycles;
	struct tg_trace_bucket bucket[TG_TRACE_BUCKETS];
	uint32_t n_buckets;          /* up to the last in which something happened */
	TG_VEC(struct tg_trace_transfer) transfers;
	size_t max_transfers;
	uint64_t lost_transfers;     /* beyond max_transfers */
	uint64_t *first, *last;      /* by code word where a bundle starts: cycles of its first and last run; first > last: it never ran */
	uint32_t n_words;
};
struct tg_trace *tg_trace_new(struct tg_arena *a, const struct tg_exe *x, size_t max_transfers);

#endif
