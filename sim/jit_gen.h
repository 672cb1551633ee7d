/* jit_gen.h: what the files of the translator share. Private to sim/.
 *
 * A block is cut into segments: bundles that are checked together and then done together. A segment is
 *   checks (leave, if anything might trap) -> called instructions with nothing but a result -> instruction fetch -> one loop over the lanes
 *   -> matrix instructions and stores that are called -> scalars, clocks.
 * The loop takes a strip of lanes at a time through all lane-wise instructions of the segment, so that what passes from one to the next stays in
 * host registers. What is not lane-wise is called; its vector result goes to a temporary that the loop reads. */
#ifndef TG_JIT_GEN_H
#define TG_JIT_GEN_H

#ifdef TG_HAS_LLVM
#include "jit.h"
#include "live.h"
#include "llvm_api.h"

#define MAX_STRIP 16
#define MAX_LANE_OPS 144
#define QUICK_LANE_OPS 32 /* in quick code, since LLVM takes more than twice the time for twice the loop; twice as many where registers are large */
/* Where a register is larger than this many bytes, most time goes into lanes: passing values from one instruction to the next is worth more of LLVM's time, and looking at each
 * access costs less than what lies between them. */
#define LARGE_REGISTER 2048
static inline bool large_registers(const struct tg_sim *s)
{
	return (uint64_t)s->core.rows * s->core.lanes * 4 > LARGE_REGISTER;
}
#define MAX_CALLED 40
#define MAX_RANGES 6
#define MAX_HITS 256

typedef LLVMValueRef val;

/* How an access lies in SRAM, as far as it is known when the code is made. */
struct place {
	val base, step, block_step;
	int root;        /* addresses with one root differ by constants */
	int64_t off;     /* from the root */
	bool fixed;      /* both steps are known */
	int64_t s, t;    /* then these are the steps */
	int64_t lo, hi;  /* and the bytes lie in base + [lo, hi) */
	uint32_t rows, lanes, n, bytes, row_bytes; /* bytes: of an element; row_bytes: that a row touches */
	val extent;      /* of a load whose extent only the run knows: rows, lanes and n above are the most; else NULL */
	val run_rows, run_lanes, run_n; /* and these are then its own */
	bool spread;     /* a load of element 0 for all lanes */
	unsigned mask;   /* the mask register that selects lanes; 0: all */
};
enum lane_kind { LANE_ALU, LANE_LOAD, LANE_ROWS, LANE_STORE, LANE_TEMP, LANE_VIEW }; /* ROWS: of accumulators; VIEW: a load that is not done */
struct lane_op {
	enum lane_kind kind;
	const struct uop *u;
	uint32_t bundle, insn; /* insn: its number in the code */
	val pred;          /* NULL: always */
	val a, b;          /* scalar operands */
	struct place at;
	unsigned dest;     /* a register of struct jit; NO_DEST: dropped or none */
	unsigned temp;     /* of LANE_VIEW: the register */
	bool lazy;         /* a load whose register gets a view: its lanes are read in this segment only */
};
#define NO_DEST 255u
/* What the matrix instructions of a segment, which run after its loop, will have done to an array. */
struct array_plan {
	bool pushed, swapped, swap_sure; /* sure: no predicate */
	unsigned type, swapped_type;     /* of the pushes since the last swap, of those before it */
	bool swapped_pushes;             /* there were some before it */
	uint64_t last_push;              /* clock since the segment's start */
	bool multiplied;
	uint64_t first_multiply;
};
enum call_kind { CALL_PURE, CALL_ACT, CALL_MATRIX, CALL_STORE };
struct called {
	enum call_kind kind;
	const struct uop *u;
	uint32_t bundle;
	uint64_t clock;    /* bundles since the segment's start */
	val pred;
	val reads[JIT_MAX_READS];
	unsigned n_reads, temp;
	unsigned to;       /* scalar or predicate register of the result, else 0 */
	val place, with;   /* of CALL_MATRIX (jit.h) */
	struct array_plan array; /* and its array before it */
};
struct written { /* a result that may still be under way at the segment's end */
	unsigned reg;      /* or unit */
	uint64_t ready;    /* clock since the segment's start */
	val pred;
};
struct hit { /* a predicated instruction, and its predicate at its bundle */
	uint32_t insn; /* its number in the code */
	val pred;
};
struct segment {
	uint32_t first, end; /* bundles */
	struct array_plan array[TG_MAX_ARRAYS];
	uint64_t late_v;  /* vector registers that they read */
	uint32_t late_m;
	struct lane_op op[MAX_LANE_OPS];
	unsigned n_op, effort; /* effort: what the loop costs LLVM, a simple instruction counting one */
	struct called call[MAX_CALLED];
	unsigned n_call, n_temp;
	struct written wrote[4 * TG_MAX_BUNDLE];
	unsigned n_wrote;
	struct written busy[TG_MAX_BUNDLE];
	unsigned n_busy;
	struct hit hit[MAX_HITS];
	unsigned n_hit;
	uint64_t reads_v; /* vector registers of which lanes are read */
	uint64_t viewed;  /* those that become views */
	uint64_t dirty_v; /* vector registers that ops write */
	uint32_t dirty_m;
	struct live keep;     /* what somebody reads behind the segment's loop */
	struct corner useful; /* all lanes that the loop has to take */
	uint64_t length;  /* bundles with idle ones */
	bool stores, ends; /* ends: what comes after must see what this segment does */
	bool early;        /* one bundle, and a push or multiply of it reads a register that the loop writes: it goes first */
	uint32_t rows[MAX_RANGES + 1], lanes[MAX_RANGES + 1]; /* where ranges begin */
	unsigned n_rows, n_lanes;
};

/* Whether the loop writes the register of struct jit. */
static inline bool segment_writes(const struct segment *e, unsigned reg)
{
	return reg < JIT_MASK ? e->dirty_v >> reg & 1 : e->dirty_m >> (reg - JIT_MASK) & 1;
}

/* What the instructions of a bundle are to the translator. */
enum role { R_SCALAR, R_FLAG, R_LANE, R_LOAD, R_VIEW, R_ROWS, R_STORE, R_PURE, R_PURE_SCALAR, R_ACT, R_MATRIX, R_LATE_STORE, R_CONTROL, R_NO };
struct bundle_plan {
	struct {
		enum role role;
		struct place at;
	} of[TG_MAX_BUNDLE];
	uint32_t rows[MAX_RANGES + 1], lanes[MAX_RANGES + 1];
	unsigned n_rows, n_lanes;
	struct array_plan array[TG_MAX_ARRAYS];
	bool impossible; /* the interpreter must do it */
	bool early;
};

/* Accesses with one root and predicate, stores or others, that lie near each other: the bytes from the first to the last. */
struct stretch {
	int root;
	bool store;
	val pred, root_at, at;
	int64_t lo, hi;
	uint64_t proof; /* its number; of a store that nothing has to be noted: the next */
};
#define NO_STRETCH 255u

/* Of a block whose lanes wait until many rounds of it are over (jit_rounds.c). */
struct rounds {
	val lanes; /* the function that does them; NULL: it is no such block */
	val count; /* rounds, while that function is made */
	val slot[JIT_ROUND_SLOTS];
	unsigned n_slots;
	bool read[JIT_TEMP]; /* by lanes */
	struct lane_op saved[MAX_LANE_OPS];
};

struct symbol {
	int root;
	int64_t off;
};
struct gen {
	const struct llvm_api *L;
	struct tg_sim *s;
	const struct liveness *live;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	LLVMTypeRef i1, i8, i16, i32, i64, ptr, f16, f32, iv, fv, cv, code_type, lookup_type;
	bool quick;      /* LLVM's quickest code, not its best */
	bool has_half;   /* the host converts half precision */
	unsigned strip;  /* lanes that the loop takes at a time: a host register of them, so that as many values as possible stay in registers */
	/* the block at work */
	const struct block *block;
	uint32_t index, at_bundle; /* at_bundle: the one that is looked at */
	val fn, sim, mem, clean, registers, calls;
	val quiet;       /* of a block that is all of a loop: no fetch of this round does anything; else NULL */
	LLVMBasicBlockRef head, no_budget;
	val sreg[32], preg[8];
	bool s_dirty[32], p_dirty[8];
	struct symbol sym[32];
	int n_roots;
	val control_count, control_pred; /* operands of the block's last instruction */
	struct segment seg;
	struct rounds rounds;
	struct bundle_plan plan;
	struct stretch stretch[MAX_LANE_OPS];
	unsigned n_stretch;
	uint8_t stretch_of[MAX_LANE_OPS]; /* by access; NO_STRETCH: where its rows are is not known beforehand */
};
enum { ROOT_CONST = 32 };

/* A result of a scalar instruction, until its bundle is over. */
struct scalar_landing {
	uint8_t reg;
	val v;
	struct symbol sym;
};
#define FIELD(path) offsetof(struct tg_sim, path)

/* jit_gen.c */
bool gen_block(struct gen *g, uint32_t block); /* false: nothing of it was worth it */
/* jit_value.c */
val gen_int(struct gen *g, int64_t v);
val gen_uop(struct gen *g, const struct uop *u); /* its number */
val gen_field(struct gen *g, LLVMTypeRef type, size_t offset); /* loads a field of struct tg_sim */
void gen_set_field(struct gen *g, size_t offset, val v);
void gen_add_field(struct gen *g, size_t offset, uint64_t by);
void gen_add_item(struct gen *g, size_t base, uint64_t byte, val by); /* base[byte] += by, base a pointer field */
val gen_clock(struct gen *g, val clock, uint64_t since);
val gen_at(struct gen *g, val base, val bytes); /* pointer arithmetic in bytes */
bool gen_constant(struct gen *g, val v, int64_t *out);
#define CALL(g, name, result, args) gen_call(g, offsetof(struct jit_calls, name), result, args, sizeof(args) / sizeof *(args))
val gen_call(struct gen *g, size_t which, LLVMTypeRef result, val *args, size_t n);
LLVMBasicBlockRef gen_label(struct gen *g);
void gen_go_to(struct gen *g, LLVMBasicBlockRef label); /* continues there */
void gen_give_back(struct gen *g, uint64_t bundle, uint64_t how); /* returns */
void gen_leave_unless(struct gen *g, val ok, LLVMBasicBlockRef leave);
LLVMBasicBlockRef gen_around(struct gen *g, val pred); /* goes around what follows where it is false; NULL: never */
void gen_meet(struct gen *g, LLVMBasicBlockRef at);
val gen_s(struct gen *g, int64_t r);
val gen_p(struct gen *g, int64_t r);
val gen_pred(struct gen *g, const struct uop *u); /* NULL: always */
struct symbol gen_symbol(struct gen *g, int64_t r);
struct symbol gen_fresh(struct gen *g);
val gen_scalar_value(struct gen *g, const struct tg_insn *in, struct symbol *sym);
val gen_predicate_value(struct gen *g, const struct uop *u);
void gen_mix_old(struct gen *g, val pred, struct scalar_landing *l);
void gen_land(struct gen *g, const struct scalar_landing *l);
uint64_t gen_bundle_length(const struct tg_sim *s, uint32_t bundle); /* with idle ones */
uint32_t gen_first_line(const struct gen *g, uint32_t bundle);
uint32_t gen_last_line(const struct gen *g, uint32_t bundle);
/* jit_plan.c */
bool gen_fill_segment(struct gen *g, uint32_t from); /* as many bundles as go together; false: not even the first */
val gen_shape(struct gen *g, const struct place *p, uint32_t unit); /* jit_shape, a row as so many `unit`s a lane */
void gen_choose_kept(struct gen *g);
/* jit_views.c */
bool gen_has_views(const struct gen *g);
bool gen_view_works(struct gen *g, const struct uop *u, const struct place *p);
bool gen_has_late_store(const struct segment *e);
void gen_choose_lazy(struct gen *g);  /* loads whose registers nobody needs after the segment, it seems */
void gen_settle_views(struct gen *g); /* before the segment */
void gen_make_views(struct gen *g);   /* behind its loop */
/* jit_segment.c */
void gen_segment(struct gen *g);
/* jit_rounds.c */
bool gen_is_loop(const struct gen *g);         /* the block is all of a loop */
bool gen_choose_rounds(struct gen *g);         /* whether the segment's lanes may wait */
void gen_write_down_round(struct gen *g);      /* in place of gen_lanes */
void gen_flush_rounds(struct gen *g);          /* before the block is left */
void gen_take_round(struct gen *g, val round); /* until gen_end_round the segment has that round's scalars */
void gen_end_round(struct gen *g);
/* jit_matrix.c: leaves unless a push, swap or multiply may be; does it */
void gen_may_matrix(struct gen *g, const struct called *c, val clock, LLVMBasicBlockRef leave);
void gen_matrix(struct gen *g, const struct called *c, val clock);
/* jit_check.c: leaves for the interpreter at the segment's start, or goes on; the result says whether what stores write has to be noted */
val gen_checks(struct gen *g, LLVMBasicBlockRef leave);
void gen_note_stores(struct gen *g, val unsure); /* which this does, after them */
bool gen_accesses(const struct lane_op *o);
val gen_unless(struct gen *g, val pred, val ok); /* pred may be NULL: always */
val gen_and(struct gen *g, val a, val b);        /* of what is not NULL */
/* jit_apart.c: leaves unless all accesses may be in one loop */
void gen_check_pairs(struct gen *g, LLVMBasicBlockRef leave);
bool places_apart(const struct place *a, const struct place *b, bool *same);
bool places_together(const struct place *a, const struct place *b, bool view);
/* jit_compute.c */
bool lanes_has(unsigned op);
unsigned lanes_effort(unsigned op);
/* jit_lanes.c */
unsigned lanes_load_bytes(unsigned op);  /* of an element that the loop can load; 0: it cannot */
unsigned lanes_store_bytes(unsigned op);
void gen_lanes(struct gen *g);
val gen_selected(struct gen *g, const struct place *p); /* how many lanes the mask selects */
#endif
#endif
