/* sim.h: runs an executable. */
#ifndef TG_SIM_H
#define TG_SIM_H

#include "isa.h"

enum tg_dma_mode { TG_DMA_EARLY, TG_DMA_LATE, TG_DMA_RANDOM };
/* Both give the same results, counters and traps to the bit. TG_ENGINE_DEFAULT: translated code where the build and the host have it. */
enum tg_engine { TG_ENGINE_DEFAULT, TG_ENGINE_INTERP, TG_ENGINE_JIT };
struct tg_sim_options {
	enum tg_dma_mode dma;
	uint64_t seed;
	uint64_t max_cycles; /* 0: 2^40 */
	enum tg_engine engine;
	const char *cache_dir; /* where translated code is kept between runs; NULL: nowhere */
	bool translate_all;    /* also what hardly runs: for tests */
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
/* Whether this build on this host can translate. */
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
/* Digest over registers, what is written of SRAM and accumulators, and touched DRAM. */
void tg_sim_state_hash(const struct tg_sim *s, uint8_t out[32]);

#endif
