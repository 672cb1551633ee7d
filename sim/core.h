/* core.h: the state of one simulated core, and what an instruction's function sees of it. Private to sim/.
 *
 * A bundle's instructions read the registers as they were before it. Results go to struct tg_writes and land after the bundle; stores
 * run after every load of their bundle. So within a bundle the order of execution is: reads of accumulators and transposer, scalar and
 * vector operations and loads, multiplies, pushes and swaps, DMA start, stores, DMA wait, control (sim_exec.c, order_of). */
#ifndef TG_SIM_CORE_H
#define TG_SIM_CORE_H

#include "isa.h"
#include "numerics.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "simulated memory is little-endian and so must the host be"
#endif

#define CHUNK_SHIFT 8    /* boxes are counted per chunk of 256 bytes, so that most accesses need not look at them */
#define CHUNK_BYTES (1 << CHUNK_SHIFT)
#define MARK_WRITER 0x80 /* an unretired transfer writes the byte; the low bits count those that read it */
#define MARK_READERS 0x7f

#define CLEAN_BYTES 64   /* what an entry of `clean` stands for */
#define CLEAN_READ 1     /* all bytes are written, no unretired transfer writes near: a load need not look closer */
#define CLEAN_WRITE 2    /* all bytes are written, no unretired transfer reads or writes near: nor need a store */
#define CLEAN_ROOM 4     /* of proofs only: no unretired transfer reads or writes near */

/* What translated code found out about accesses of a kind: they may begin in [at, at + room). */
struct tg_proof {
	uint64_t at, room;
	uint32_t asked; /* how often it did not reach */
	uint32_t place; /* of what is known on its behalf, while there is room */
};
#define MAX_KNOWN 128
/* Why: of the bytes [first, end) holds what CLEAN_READ, CLEAN_WRITE or CLEAN_ROOM says. */
struct tg_known {
	struct tg_proof *of;
	uint64_t first, end;
	uint64_t at, bytes; /* of the access for which that was found out */
	uint8_t how;
};

/* The scratchpad. An unretired transfer counts in the chunks of the box around its bytes. Its exact bytes get marks only when
 * somebody asks about a byte inside the box: `settle` does that. `clean` remembers what was found out; what makes it wrong clears it. */
struct tg_memory {
	uint8_t *at;
	uint64_t bytes;
	uint64_t *written;    /* a bit per byte */
	uint8_t *mark;        /* a byte per byte: unretired DMA, where settled */
	uint32_t *chunk_any;  /* boxes that touch a chunk */
	uint32_t *chunk_write;
	uint8_t *clean;       /* a byte per CLEAN_BYTES, and 16 more */
	struct tg_known *known; /* MAX_KNOWN of them, n_known in use; NULL: nobody proves anything */
	uint32_t n_known, next_known; /* next: to be given up when all are in use */
	void (*settle)(void *user, uint64_t at, uint64_t n);
	void *user;
};

#define TG_PANEL 32 /* columns of weights that lie together */

/* Rows of weights that a vector of columns has. */
struct tg_row_list {
	uint16_t n;
	bool run;    /* they follow one another */
	bool partly; /* some have only a part of the columns */
	bool twin;   /* the next vector of its panel has the same, and all of them whole */
};

/* What the pushes of a set have in common (sem/weights.h); none of these: whole row groups. */
#define TG_WEIGHTS_ACROSS 1 /* groups are of columns */
#define TG_WEIGHTS_CUT 2    /* one group has cut_lines lines only */
#define TG_WEIGHTS_ODD 4    /* nothing: `bits` tells what is present */

/* Weights of an array. */
struct tg_weights {
	uint32_t *w; /* rows x stride, in panels: all rows of TG_PANEL columns, then those of the next; f32 bits, or i32 for i8 and u8 */
	uint64_t (*bits)[4];
	uint8_t type; /* enum tg_array_type of the last push */
	bool any;     /* something was pushed since the last swap */
	uint8_t form; /* TG_WEIGHTS_ bits */
	uint8_t cut_group, cut_lines;
	uint16_t group_side; /* lanes of each line of a group */
	uint64_t groups; /* unless odd, bit g: group g was pushed */
	/* set by swap */
	uint16_t *lo, *hi; /* a row's run; lo == hi: none; hi == UINT16_MAX: the row has holes */
	uint64_t present;  /* all present weights */
	bool uniform;      /* rows that have weights have the same columns [from, to), without holes */
	uint16_t from, to;
	uint16_t *k;       /* the rows that have weights, ascending; uniform only */
	uint32_t n_k;
	bool whole;        /* uniform; the rows [0, n_k), all columns or all but the last few: what is absent is better masked than left out */
	uint32_t *pairs;   /* of i8 and u8 weights: rows 2 i and 2 i + 1 as the halves of a word, absent ones 0; made when first used */
	bool paired;
	uint16_t *list;    /* of weights that are not uniform: for each vector of the host's of columns, the rows that have some in it (matrix.c); made when first used */
	struct tg_row_list *lists;
	bool listed;
};
struct tg_array {
	struct tg_weights set[2];
	uint32_t active; /* index in set; the other is the shadow */
	uint32_t *acc;   /* acc_rows x stride */
	uint8_t *acc_written;
	uint64_t *acc_ready; /* issue clock from which the row may be read */
	uint64_t swap_ready; /* issue clock from which a swap may come */
	uint64_t push_free, mul_free;
};

struct tg_core {
	const struct tg_chip *chip;
	uint32_t rows, lanes, n; /* S, L, S*L */
	uint32_t stride;         /* columns of an array, rounded up to 32 */
	uint32_t stride_in;      /* the same for its rows */
	uint64_t clock;          /* bundles issued */
	int64_t s[32];
	bool p[8];
	uint32_t *v[64];
	uint32_t *m[8]; /* a lane is 0 or ~0 */
	struct tg_memory mem;
	struct tg_array array[TG_MAX_ARRAYS];
	uint32_t *transposer; /* L x L */
	uint64_t transposer_ready;
};

/* What one instruction did. */
struct tg_writes {
	uint32_t *v; /* where a vector or mask result goes: a buffer of n lanes that no register uses */
	int64_t s;   /* a scalar result */
	bool p;
	int64_t post; /* the post-incremented address */
	const char *trap; /* a static string: the instruction is illegal in this state */
	int64_t at;       /* the address or number that the trap is about */
	uint64_t sram_bytes, acc_bytes, macs;
	uint8_t mac_type;
};

typedef void tg_sem(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in);

/* The functions of all instructions, compiled for a level of the host's instruction set; NULL for DMA and control. */
extern tg_sem *const tg_sem_base[TG_N_INSNS];
extern tg_sem *const tg_sem_v3[TG_N_INSNS]; /* AVX2 and fma */
extern tg_sem *const tg_sem_v4[TG_N_INSNS]; /* AVX-512 */

/* The rows that a push or multiply takes: a vector register, or SRAM where a load into it would read them. Row r is at
 * at + (r mod n) step + (r div n) block_step, in words. */
struct tg_operand {
	const uint32_t *at;
	int64_t step, block_step;
	uint32_t n;
};
static inline const uint32_t *operand_row(const struct tg_operand *v, uint32_t r)
{
	return r < v->n ? v->at + (int64_t)r * v->step : v->at + (int64_t)(r % v->n) * v->step + (int64_t)(r / v->n) * v->block_step;
}
static inline struct tg_operand operand_register(const struct tg_core *now, int64_t r)
{
	return (struct tg_operand){now->v[r], now->lanes, 0, now->rows};
}

/* Products to be made: n rows of `a` times the weights, into accumulator rows from `acc` on. Rows that have weights have the same columns. */
struct tg_product {
	const struct tg_weights *w;
	const uint32_t *a;
	size_t a_stride, stride; /* of rows of a, of accumulator rows */
	uint32_t *acc;
	uint32_t n, array_rows;
	bool add;
};

/* The shape of products of whole weights: words from one row of operands to the next, from one accumulator row to the next; rows of the array, and of operands; whether they add. */
#define TG_WHOLE(a_stride, stride, array_rows, n, add) \
	((uint64_t)(a_stride) | (uint64_t)(stride) << 12 | (uint64_t)(array_rows) << 24 | (uint64_t)(n) << 36 | (uint64_t)(add) << 63)

/* Legal pushes, swaps and multiplies of a level with their operands given: a row group and an extent; an accumulator row and whether to add. */
struct tg_matrix {
	void (*push)(struct tg_core *now, const struct tg_insn *in, const struct tg_operand *v, int64_t group, int64_t extent);
	void (*swap)(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in);
	void (*multiply)(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add);
	/* A multiply in two parts: all but the products, with its operands copied to `rows` (stride_in a row); false: it cannot be, and nothing was done */
	bool (*start)(struct tg_core *now, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add, struct tg_product *p,
		      uint32_t *rows);
	/* and the products in columns [first, end), multiples of 32 */
	void (*columns)(const struct tg_product *p, uint32_t first, uint32_t end);
	/* All products of weights that are whole with rows of f32 from `a` on; shape: TG_WHOLE */
	void (*whole)(const struct tg_weights *w, const uint32_t *a, uint32_t *acc, uint64_t shape);
};
extern const struct tg_matrix tg_matrix_base, tg_matrix_v3, tg_matrix_v4;

/* ---- memory access, inlined into loads and stores ---- */

static inline bool mem_inside(const struct tg_memory *m, uint64_t at, uint64_t n)
{
	return at <= m->bytes && n <= m->bytes - at;
}

static inline bool bits_all_set(const uint64_t *bits, uint64_t at, uint64_t n)
{
	uint64_t first = at >> 6, last = (at + n - 1) >> 6;
	uint64_t low = ~UINT64_C(0) << (at & 63), high = ~UINT64_C(0) >> (63 - ((at + n - 1) & 63));
	if (first == last)
		return (bits[first] & low & high) == (low & high);
	uint64_t all = bits[first] | ~low;
	for (uint64_t i = first + 1; i < last; i++)
		all &= bits[i];
	return (all & (bits[last] | ~high)) == ~UINT64_C(0);
}

static inline void bits_set(uint64_t *bits, uint64_t at, uint64_t n)
{
	uint64_t first = at >> 6, last = (at + n - 1) >> 6;
	uint64_t low = ~UINT64_C(0) << (at & 63), high = ~UINT64_C(0) >> (63 - ((at + n - 1) & 63));
	if (first == last) {
		bits[first] |= low & high;
		return;
	}
	bits[first] |= low;
	for (uint64_t i = first + 1; i < last; i++)
		bits[i] = ~UINT64_C(0);
	bits[last] |= high;
}

static inline bool marks_have(const struct tg_memory *m, uint64_t at, uint64_t n, uint8_t which)
{
	uint8_t any = 0;
	for (uint64_t i = 0; i < n; i++)
		any |= m->mark[at + i];
	return (any & which) != 0;
}

static inline bool chunks_have(const uint32_t *count, uint64_t at, uint64_t n)
{
	uint32_t any = 0;
	for (uint64_t k = at >> CHUNK_SHIFT; k <= (at + n - 1) >> CHUNK_SHIFT; k++)
		any |= count[k];
	return any != 0;
}

static inline bool all_clean(const struct tg_memory *m, uint64_t at, uint64_t n, uint8_t how)
{
	uint64_t k = at / CLEAN_BYTES, left = (at + n - 1) / CLEAN_BYTES - k + 1, want = how * UINT64_C(0x0101010101010101), word;
	for (; left >= 8; k += 8, left -= 8) {
		memcpy(&word, m->clean + k, 8);
		if ((word & want) != want)
			return false;
	}
	if (left == 0)
		return true;
	memcpy(&word, m->clean + k, 8);
	want &= ~UINT64_C(0) >> (64 - 8 * left);
	return (word & want) == want;
}

/* After a successful access: what holds for whole entries around it. */
static inline void note_clean(struct tg_memory *m, uint64_t at, uint64_t n)
{
	for (uint64_t k = at / CLEAN_BYTES; k <= (at + n - 1) / CLEAN_BYTES; k++) {
		uint64_t chunk = k * CLEAN_BYTES >> CHUNK_SHIFT;
		if (m->written[k] != ~UINT64_C(0) || m->chunk_write[chunk])
			continue;
		m->clean[k] = m->chunk_any[chunk] ? CLEAN_READ : CLEAN_READ | CLEAN_WRITE;
	}
}

/* What is doubtful from now on is cut off; what is left is the side of the access that asked. */
static inline void forget_proofs(struct tg_memory *m, uint64_t at, uint64_t n, uint8_t keep)
{
	for (uint32_t i = 0; i < m->n_known;) {
		struct tg_known *k = &m->known[i];
		bool below = k->at + k->bytes <= at, above = k->at >= at + n;
		if (k->first >= at + n || at >= k->end || (keep & k->how)) {
			i++;
		} else if (below || above) {
			k->first = above ? at + n : k->first;
			k->end = below ? at : k->end;
			k->of->at = k->first;
			k->of->room = k->end - k->first - k->bytes + 1;
			i++;
		} else {
			k->of->room = 0;
			*k = m->known[--m->n_known];
			k->of->place = i;
		}
	}
}

static inline void forget_clean(struct tg_memory *m, uint64_t at, uint64_t n, uint8_t keep)
{
	forget_proofs(m, at, n, keep);
	uint64_t first = at / CLEAN_BYTES, end = n ? (at + n - 1) / CLEAN_BYTES + 1 : first;
	if (!keep)
		memset(m->clean + first, 0, end - first);
	for (uint64_t k = first; keep && k < end; k++)
		m->clean[k] &= keep;
}

/* NULL, or why these bytes may not be read now. */
static inline const char *mem_check_read(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (!mem_inside(m, at, n))
		return "a load outside SRAM";
	if (n == 0 || all_clean(m, at, n, CLEAN_READ))
		return NULL;
	if (chunks_have(m->chunk_write, at, n)) {
		m->settle(m->user, at, n);
		if (marks_have(m, at, n, MARK_WRITER))
			return "a load of bytes that an unretired DMA transfer writes";
	}
	if (!bits_all_set(m->written, at, n))
		return "a load of SRAM bytes that were not written";
	note_clean(m, at, n);
	return NULL;
}

/* NULL, or why these bytes may not be written now. */
static inline const char *mem_may_write(const struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (!mem_inside(m, at, n))
		return "a store outside SRAM";
	if (n == 0 || all_clean(m, at, n, CLEAN_WRITE))
		return NULL;
	if (chunks_have(m->chunk_any, at, n)) {
		m->settle(m->user, at, n);
		if (marks_have(m, at, n, MARK_WRITER | MARK_READERS))
			return "a store to bytes that an unretired DMA transfer reads or writes";
	}
	return NULL;
}

/* Afterwards these bytes, which may be written, count as written. */
static inline void mem_written(struct tg_memory *m, uint64_t at, uint64_t n)
{
	if (n == 0 || all_clean(m, at, n, CLEAN_WRITE))
		return;
	bits_set(m->written, at, n);
	note_clean(m, at, n);
}

static inline const char *mem_check_write(struct tg_memory *m, uint64_t at, uint64_t n)
{
	const char *why = mem_may_write(m, at, n);
	if (!why)
		mem_written(m, at, n);
	return why;
}

/* ---- the extent operand ---- */

struct tg_extent {
	uint32_t rows, lanes, n;
};
static inline struct tg_extent extent_of(const struct tg_core *now, int64_t e)
{
	struct tg_extent x = {(uint32_t)(e & 0xffff), (uint32_t)(e >> 16 & 0xffff), (uint32_t)(e >> 32 & 0xffff)};
	x.rows = x.rows == 0 || x.rows > now->rows ? now->rows : x.rows;
	x.lanes = x.lanes == 0 || x.lanes > now->lanes ? now->lanes : x.lanes;
	x.n = x.n == 0 ? now->rows : x.n;
	return x;
}

#endif
