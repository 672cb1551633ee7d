/* isa.h: the chip's description, instructions, bundles, executables. Knows nothing of the IR. */
#ifndef TG_ISA_H
#define TG_ISA_H

#include "base.h"

/* ---- chip.c: a chip is a YAML file; isa/chip_keys.def has the table of keys, types and ranges -------------------- */

#define TG_MAX_ARRAYS 8
enum tg_array_type { TG_ARRAY_f32, TG_ARRAY_bf16, TG_ARRAY_f16, TG_ARRAY_e4m3, TG_ARRAY_e5m2, TG_ARRAY_i8, TG_ARRAY_u8, TG_N_ARRAY_TYPES };

struct tg_latency { uint32_t scalar, scalar_load, vector_load, alu, transcendental, cross_lane, transposer, push_swap, multiply_read, read; };

struct tg_chip {
	const char *name;
	uint32_t clock_khz;
	uint32_t lanes, sublanes; /* L, a power of two 16..256; S, a power of two 4..16 */
	uint32_t n_sregs, n_vregs, n_mregs, n_pregs;
	uint32_t n_scalar, n_load, n_store, n_alu, n_transcendental, n_cross_lane; /* slots a bundle; the first n_transcendental ALUs have them */
	struct tg_latency latency;
	uint32_t n_arrays, array_rows, array_cols; /* both at most lanes; multiples of sublanes */
	uint32_t rate_num[TG_N_ARRAY_TYPES], rate_den[TG_N_ARRAY_TYPES]; /* rows per cycle = num / den; num 0: no such type */
	uint32_t push_rows_per_cycle;
	uint32_t acc_rows;
	uint64_t sram_bytes, dram_bytes;
	uint32_t dram_bytes_per_cycle, dram_latency, dram_burst;
	uint32_t dma_queues, dma_depth;
	uint32_t ibuf_bytes;
	uint32_t cores, links, link_bytes_per_cycle, link_latency;
	/* energy, picojoule */
	double pj_mac[TG_N_ARRAY_TYPES], pj_vector_lane, pj_sram_byte, pj_acc_byte, pj_dram_byte, pj_bundle, mw_leakage;
};
/* From text; `path` only for messages. */
bool tg_chip_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const char *text, size_t n, struct tg_chip *out);
/* A name of a built-in chip ("t1") or the path of a YAML file (one with '/' or ending in .yaml). */
bool tg_chip_load(struct tg_diag *d, struct tg_arena *a, const char *name_or_path, struct tg_chip *out);
/* The built-in chips' names, NULL-terminated. Their YAML is compiled in from isa/chips/. */
const char *const *tg_chip_names(void);
/* Every key with its value, in table order: reading it back gives the same chip. This text is the chip's identity (hash, .tgx). */
const char *tg_chip_print(struct tg_arena *a, const struct tg_chip *c);

/* ---- table.c: the instruction table -------------------------------------------------------------------------- */

enum tg_opcode {
	TG_I_none,
#define INSN(name, opcode, slot, latency, format, doc) TG_I_##name,
#include "isa.def"
	TG_N_INSNS
};
enum tg_slot { TG_SLOT_S, TG_SLOT_L, TG_SLOT_W, TG_SLOT_V, TG_SLOT_E, TG_SLOT_X, TG_SLOT_P, TG_SLOT_M, TG_SLOT_R, TG_SLOT_D, TG_SLOT_C, TG_N_SLOTS };
enum tg_field_kind { TG_FIELD_S, TG_FIELD_V, TG_FIELD_M, TG_FIELD_P, TG_FIELD_I, TG_FIELD_U, TG_FIELD_T };
#define TG_MAX_FIELDS 12
struct tg_field_info {
	char letter;
	uint8_t kind;  /* enum tg_field_kind */
	bool is_def;   /* written ("=") */
	bool is_both;  /* read and written ("+") */
	uint8_t shift, width;
};
struct tg_insn_info {
	const char *name, *doc, *format; /* format: the FORMAT row's name */
	uint8_t opcode, slot;
	int16_t latency; /* offset of the uint32_t in struct tg_latency, -1: no register result */
	uint8_t n_fields;
	struct tg_field_info field[TG_MAX_FIELDS]; /* in the order of the row's field list */
};
extern const char *const tg_slot_names[TG_N_SLOTS];
const struct tg_insn_info *tg_insn_info(enum tg_opcode op);
/* encode.c: what an immediate's bits hold; the chip's own limits (units, rows) are narrower. */
void tg_field_range(enum tg_opcode op, const struct tg_field_info *f, int64_t *lo, int64_t *hi);
enum tg_opcode tg_opcode_from_name(const char *name, size_t n); /* TG_I_none when unknown */
uint32_t tg_insn_latency(const struct tg_chip *c, enum tg_opcode op); /* bundles until the result may be read; 0: no result */
/* Cycles for which the instruction keeps its unit busy: multiplies ceil(n / rate), pushes ceil(S / push rate), indexed accesses L, else 1. */
struct tg_insn;
uint32_t tg_insn_occupancy(const struct tg_chip *c, const struct tg_insn *in);
/* Slots of a kind in a bundle; E counts the transcendental ALUs (E slots are the first V slots). */
uint32_t tg_slot_count(const struct tg_chip *c, enum tg_slot s);

struct tg_insn {
	uint16_t op;     /* enum tg_opcode */
	uint8_t pred;    /* predicate register; 0: always */
	int64_t f[TG_MAX_FIELDS]; /* register numbers and immediates, in the order of the row's field list */
};
/* The value of the field with this letter; the letter must exist. */
int64_t tg_insn_get(const struct tg_insn *in, char letter);
void tg_insn_set(struct tg_insn *in, char letter, int64_t v);

#define TG_MAX_BUNDLE 64
struct tg_bundle {
	uint32_t n;
	struct tg_insn insn[TG_MAX_BUNDLE]; /* sorted by slot when decoded; for P, M, R the unit field u is the slot's number */
};

/* ---- encode.c --------------------------------------------------------------------------------------------------
 * A bundle is a header word and a word for each instruction. Header: bit i set: slot i is present; slots are numbered S..., L..., W...,
 * V..., X..., P..., M..., R..., D, C with the chip's counts. More than 64 slots: the chip is refused. */

/* Assigns instructions to slots of their kind (E before V). False and a message when the bundle does not fit the chip, or a field is out
 * of range. words must hold 1 + b->n. */
bool tg_bundle_encode(struct tg_diag *d, struct tg_loc loc, const struct tg_chip *c, const struct tg_bundle *b, uint64_t *words, uint32_t *n_words);
/* Decodes at words[at]; sets *next. Returns NULL or the reason why it is illegal (a static string). */
const char *tg_bundle_decode(const struct tg_chip *c, const uint64_t *words, size_t n, size_t at, struct tg_bundle *b, size_t *next);

/* ---- DMA descriptor: TG_DMA_DESC_BYTES bytes (struct tg_dma_desc as it stands), 8-byte aligned, little-endian, in SRAM or DRAM --------------------------------------
 * For every index vector (i0, i1, i2, i3) with 0 <= ik < size[k]: one element of `src` becomes one of `dst`:
 *   dst address = dst base + dst_offset + sum ik * dst_stride[k];   src address = src base + src_offset + sum ik * src_stride[k].
 * Dimension 3 is innermost; runs that are contiguous on both sides move as rows (the cost model of docs/isa.md).
 * An index with ik outside [lo[k], hi[k]) is outside the tensor: with `fill` set the destination element becomes fill_bits (in the
 * destination type), with `skip` it is left alone. lo and hi are clamped to [0, size[k]].
 * kind FILL: there is no source, every element becomes fill_bits.
 * kind GATHER: the source offset of dimension 0 is list[i0] * src_stride[0], list: i32 in SRAM at list_addr, each must lie in [0, list_bound)
 * or the program traps; SCATTER: the same for the destination. */
enum tg_dma_kind { TG_DMA_COPY, TG_DMA_FILL, TG_DMA_GATHER, TG_DMA_SCATTER };
enum tg_dma_outside { TG_DMA_SKIP, TG_DMA_FILL_OUTSIDE };
/* Memory types of a transfer: widths in bytes 1, 2, 4, 8 for plain bits, or a conversion from src_type to dst_type. */
enum tg_dma_type { TG_DMA_8, TG_DMA_16, TG_DMA_32, TG_DMA_64, TG_DMA_f32, TG_DMA_bf16, TG_DMA_f16, TG_DMA_i32, TG_DMA_i64 };
/* Conversions: equal types; f32 to bf16 or f16 (nearest even); bf16, f16 to f32; i32 to i64 (sign), i64 to i32 (saturating). */
struct tg_dma_desc {
	uint8_t kind, outside, src_type, dst_type;
	uint32_t reserved;
	uint64_t fill_bits;
	int64_t src_offset, dst_offset;
	int64_t size[4], src_stride[4], dst_stride[4]; /* bytes */
	int64_t lo[4], hi[4];
	uint32_t list_addr, list_bound;
};
#define TG_DMA_DESC_BYTES 200
#define TG_DRAM_BASE (INT64_C(1) << 40)

/* ---- dma.c: what a transfer moves and what it costs; the simulator and the compiler's cost model share it ------------- */

/* A descriptor with its bases, checked against the chip and in its simplest form: dimensions joined where both sides allow it. */
struct tg_dma_plan {
	uint8_t kind, src_type, dst_type; /* enum tg_dma_kind, enum tg_dma_type */
	uint8_t src_bytes, dst_bytes;     /* of an element; src_bytes 0 for FILL */
	bool fill_outside;
	uint64_t fill_bits;
	int64_t src, dst;                 /* addresses of element (0, 0, 0, 0) */
	int64_t size[4], src_stride[4], dst_stride[4], lo[4], hi[4];
	int64_t src_first, src_end;       /* every byte read lies in [first, end); equal when none is */
	int64_t dst_first, dst_end;
	uint32_t list_addr, list_bound;
};
/* NULL, or why the transfer is not legal (a static string). */
const char *tg_dma_plan(const struct tg_chip *c, const struct tg_dma_desc *d, int64_t src_base, int64_t dst_base, struct tg_dma_plan *p);

/* Rows of `n` elements, contiguous on both sides, at every index of four dimensions; the last is innermost, those of one index come first. */
struct tg_dma_box {
	bool fill;
	int64_t src, dst, n;
	int64_t size[4], src_step[4], dst_step[4];
};
/* What a plan moves and fills, in boxes: what lies inside the tensor, and around it what lies outside in each dimension. A box has one index of a listed dimension.
 * list: the i32 indices of a gather or scatter, NULL otherwise (or for a cost estimate: indices count as 0, 1, 2 ...). */
struct tg_dma_boxes { const struct tg_dma_plan *plan; const void *list; struct tg_dma_box first; int64_t i0, end0; unsigned parts, left; int part; };
void tg_dma_boxes_init(struct tg_dma_boxes *w, const struct tg_dma_plan *p, const void *list);
bool tg_dma_next_box(struct tg_dma_boxes *w, struct tg_dma_box *out);

/* The same in groups: `rows` rows, `src_step` and `dst_step` bytes apart. */
struct tg_dma_rows { bool fill; int64_t src, dst, n, rows, src_step, dst_step; };
struct tg_dma_walk { struct tg_dma_boxes boxes; struct tg_dma_box box; int64_t i[3], src, dst; bool more; };
static inline void tg_dma_walk_init(struct tg_dma_walk *w, const struct tg_dma_plan *p, const void *list)
{
	tg_dma_boxes_init(&w->boxes, p, list);
	w->more = false;
}
static inline bool tg_dma_walk_next(struct tg_dma_walk *w, struct tg_dma_rows *out)
{
	const struct tg_dma_box *b = &w->box;
	if (!w->more) {
		if (!tg_dma_next_box(&w->boxes, &w->box))
			return false;
		w->i[0] = w->i[1] = w->i[2] = 0;
		w->src = b->src;
		w->dst = b->dst;
		w->more = true;
	}
	*out = (struct tg_dma_rows){.fill = b->fill, .src = w->src, .dst = w->dst, .n = b->n, .rows = b->size[3], .src_step = b->src_step[3], .dst_step = b->dst_step[3]};
	for (int k = 2; k >= 0; k--) {
		w->src += b->src_step[k];
		w->dst += b->dst_step[k];
		if (++w->i[k] < b->size[k])
			return true;
		w->i[k] = 0;
		w->src -= b->size[k] * b->src_step[k];
		w->dst -= b->size[k] * b->dst_step[k];
	}
	w->more = false;
	return true;
}

struct tg_dma_cost { uint64_t engine_cycles, dram_cycles, dram_read_bytes, dram_written_bytes, sram_bytes, rows; };
void tg_dma_cost(const struct tg_chip *c, const struct tg_dma_plan *p, const void *list, struct tg_dma_cost *out);

/* ---- exe.c: the executable, ELF64 ------------------------------------------------------------------------------- */

struct tg_binding {
	const char *name;
	uint8_t dtype; /* enum tg_dtype */
	struct tg_shape shape;
	uint64_t dram; /* offset in DRAM of the dense row-major tensor */
};
/* Bytes that DRAM holds before the program starts. Everything else in DRAM is unwritten. */
struct tg_segment {
	uint64_t dram, bytes;
	const void *data; /* borrowed; NULL: every `fill_bytes` bytes are `fill` */
	uint64_t fill;
	uint32_t fill_bytes; /* 1, 2, 4, 8 */
};
struct tg_debug_range { uint32_t first_word, end_word; uint32_t prov; }; /* code words [first, end) come from provenance set prov */
struct tg_birth { uint32_t word; uint32_t reserved; uint64_t sram, bytes; }; /* before the bundle at `word` runs, these bytes become unwritten */
struct tg_sram_buffer { const char *name; uint64_t sram, bytes; uint32_t first_word, end_word; }; /* lifetime in code, for verify and profile */
struct tg_prediction { uint32_t word; uint64_t cycles; }; /* of the stage that begins at this word: what the compiler expected */
/* A software pipeline that begins at this word: initiation interval as achieved, and the least that units and recurrences allow. */
struct tg_loop_note { uint32_t word, interval, least, stages, copies; uint64_t trips; };
/* What runs, in order. A host step evaluates IR text (ir/) on DRAM tensors. */
struct tg_step {
	bool on_host;
	uint32_t entry_word;  /* chip: first bundle; runs to its halt */
	const char *text;     /* host: a module in IR text, inputs and outputs named like `args` */
	const char *reason;   /* host: why the chip does not do it */
	uint32_t n_args, n_in;           /* args[0..n_in) are read, the others written */
	struct tg_binding *args;
};
struct tg_exe {
	struct tg_chip chip;
	const char *chip_text;
	uint64_t *code;
	uint32_t n_words;
	uint64_t dram_bytes; /* top of what the program uses */
	TG_VEC(struct tg_segment) segments;
	TG_VEC(struct tg_binding) inputs, outputs;
	TG_VEC(struct tg_step) steps;
	TG_VEC(struct tg_debug_range) ranges;     /* ascending */
	TG_VEC(const char *) provs;               /* text of each provenance set: "Conv_5 (Conv), Relu_6 (Relu)" */
	TG_VEC(struct tg_birth) births;           /* ascending by word */
	TG_VEC(struct tg_sram_buffer) buffers;
	TG_VEC(struct tg_prediction) predictions; /* ascending by word */
	TG_VEC(struct tg_loop_note) loops;        /* ascending by word */
	const char *version, *flags;              /* provenance of the build */
	uint8_t model_sha256[32], chip_sha256[32];
	uint64_t macs; /* as the graph states them; 0 unknown */
};
void tg_exe_init(struct tg_exe *x, struct tg_arena *a, const struct tg_chip *c);
/* The whole ELF image; the digest of everything else is in its note. Same exe, same bytes. */
bool tg_exe_write(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x, const char *path);
bool tg_exe_bytes(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x, uint8_t **out, size_t *n);
/* Checks every size, offset and the digest. Segments borrow from `f`. */
bool tg_exe_read(struct tg_diag *d, struct tg_arena *a, const struct tg_file *f, struct tg_exe *out);

/* ---- asm.c, disasm.c ---------------------------------------------------------------------------------------------
 * One bundle a line: `vld_f32 v1, [s2+64], s3, s4, ... ; sadd s1, s2, s3`; labels `name:`; directives in docs/isa.md. */
bool tg_asm(struct tg_diag *d, struct tg_arena *a, const struct tg_chip *c, const char *path, const char *text, size_t n, struct tg_exe *out);
void tg_disasm(struct tg_buf *out, const struct tg_exe *x);
void tg_insn_print(struct tg_buf *out, const struct tg_insn *in);

/* ---- check.c: the static checker. Shares only the tables with the compiler. ----------------------------------------- */
bool tg_exe_verify(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x);

#endif
