/* harness.h: what the tests of isa/ and sim/ share: a heap per test, programs built instruction by instruction, messages as text. */
#ifndef TG_TEST_HARNESS_H
#define TG_TEST_HARNESS_H

#include "check_run.h"
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
	struct tg_heap heap;
	struct tg_arena *a;
	struct tg_diag d;
	struct tg_chip chip;
};

static inline struct fixture *fixture_new(const char *chip)
{
	struct fixture *f = calloc(1, sizeof *f);
	tg_heap_init(&f->heap);
	f->a = tg_arena_new(&f->heap);
	tg_diag_init(&f->d, f->a);
	ck_assert(tg_chip_load(&f->d, f->a, chip, &f->chip));
	return f;
}

static inline void fixture_free(struct fixture *f)
{
	tg_heap_free(&f->heap);
	free(f);
}

static inline const char *messages(struct fixture *f)
{
	struct tg_buf b;
	tg_buf_init(&b, f->a);
	tg_buf_puts(&b, "");
	for (size_t i = 0; i < f->d.list.n; i++) {
		tg_message_format(&f->d.list.at[i], &b);
		tg_buf_puts(&b, "\n");
	}
	return b.at;
}

/* ---- both engines ---- */

static inline const char *first_message(const struct tg_diag *d)
{
	return d->list.n ? d->list.at[0].text : "nothing";
}

static inline void same_counters(const char *what, const struct tg_counters *a, const struct tg_counters *b)
{
	const uint64_t *x = (const uint64_t *)(const void *)a, *y = (const uint64_t *)(const void *)b;
	for (size_t i = 0; i < offsetof(struct tg_counters, energy_pj) / sizeof *x; i++)
		ck_assert_msg(x[i] == y[i], "%s: counter %zu is %llu interpreted, %llu translated", what, i, (unsigned long long)x[i], (unsigned long long)y[i]);
	ck_assert_msg(a->energy_pj == b->energy_pj, "%s: energy", what);
}

/* After a step on both engines: end, message, counters must be the same, and with `state` all state. */
static inline void same_ends(const char *what, struct tg_sim *interp, struct tg_sim *jit, bool state, const struct tg_exe *x, const struct tg_diag *d, const struct tg_diag *other)
{
	uint8_t a[32], b[32];
	ck_assert_msg(strcmp(first_message(d), first_message(other)) == 0, "%s: interpreted: %s; translated: %s", what, first_message(d), first_message(other));
	same_counters(what, tg_sim_counters(interp), tg_sim_counters(jit));
	for (size_t i = 0; i < x->provs.n; i++)
		same_counters(what, &tg_sim_by_prov(interp)[i], &tg_sim_by_prov(jit)[i]);
	if (!state)
		return;
	tg_sim_state_hash(interp, a);
	tg_sim_state_hash(jit, b);
	ck_assert_msg(memcmp(a, b, 32) == 0, "%s: the engines leave different states", what);
}

/* Runs a step on two simulators that are in the same state, one for each engine. If it traps, translated code has the same state only where it keeps `all_registers`. */
static inline bool step_on_both(struct fixture *f, const char *what, struct tg_sim *interp, struct tg_sim *jit, bool all_registers, const struct tg_exe *x, uint32_t entry,
				struct tg_diag *d)
{
	struct tg_diag other;
	tg_diag_init(&other, f->a);
	bool ok = tg_sim_run(interp, d, entry), same = tg_sim_run(jit, &other, entry);
	ck_assert_msg(ok == same, "%s: interpreted: %s; translated: %s", what, first_message(d), first_message(&other));
	same_ends(what, interp, jit, ok || all_registers, x, d, &other);
	return ok;
}

/* A whole run on both engines, every block translated; returns the translated one's simulator. Without LLVM there is one engine to ask. */
static inline struct tg_sim *run_on_both(struct fixture *f, const char *what, const struct tg_exe *x, struct tg_sim_options o, struct tg_diag *d, bool *ok)
{
	o.engine = TG_ENGINE_INTERP;
	struct tg_sim *interp = tg_sim_new(f->a, x, &o);
	if (!tg_sim_can_translate()) {
		*ok = tg_sim_run(interp, d, x->steps.at[0].entry_word);
		return interp;
	}
	o.engine = TG_ENGINE_JIT;
	o.translate_all = true;
	struct tg_sim *jit = tg_sim_new(f->a, x, &o);
	*ok = step_on_both(f, what, interp, jit, o.all_registers, x, x->steps.at[0].entry_word, d);
	tg_sim_free(interp);
	return jit;
}

/* A program under construction; `wait` bundles after each instruction let everything land. */
struct program {
	struct fixture *f;
	struct tg_exe x;
	TG_VEC(uint64_t) code;
};

static inline void emit_n(struct program *p, enum tg_opcode op, unsigned n, const int64_t *fields)
{
	struct tg_bundle *b = tg_alloc(p->f->a, sizeof *b);
	uint64_t words[2];
	uint32_t n_words;
	b->n = 1;
	b->insn[0].op = (uint16_t)op;
	memcpy(b->insn[0].f, fields, n * sizeof *fields);
	ck_assert_msg(tg_bundle_encode(&p->f->d, TG_NOWHERE, &p->f->chip, b, words, &n_words), "%s", messages(p->f));
	for (uint32_t i = 0; i < n_words; i++)
		*TG_PUSH(p->f->a, &p->code) = words[i];
}
#define EMIT1(p, op, ...) emit_n(p, TG_I_##op, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
#define EMIT(p, op, ...)                                                                                                                             \
	do {                                                                                                                                         \
		EMIT1(p, op, __VA_ARGS__);                                                                                                           \
		EMIT1(p, idle, 300);                                                                                                                 \
	} while (0)

static inline struct program *program_new(struct fixture *f)
{
	struct program *p = tg_alloc(f->a, sizeof *p);
	p->f = f;
	tg_exe_init(&p->x, f->a, &f->chip);
	return p;
}

static inline void program_data(struct program *p, uint64_t dram, const void *data, uint64_t bytes)
{
	*TG_PUSH(p->f->a, &p->x.segments) = (struct tg_segment){.dram = dram, .bytes = bytes, .data = data};
	if (dram + bytes > p->x.dram_bytes)
		p->x.dram_bytes = dram + bytes;
}

/* Copies `bytes` between SRAM and DRAM through queue 0; uses s29, s30, s31. */
static inline void program_copy(struct program *p, int64_t src, int64_t dst, int64_t bytes, uint64_t desc_at)
{
	struct tg_dma_desc *d = tg_alloc(p->f->a, sizeof *d);
	*d = (struct tg_dma_desc){.size = {1, 1, 1, bytes}, .hi = {1, 1, 1, bytes}, .src_stride = {0, 0, 0, 1}, .dst_stride = {0, 0, 0, 1}};
	program_data(p, desc_at, d, sizeof *d);
	EMIT(p, smov, 31, TG_DRAM_BASE + (int64_t)desc_at);
	EMIT(p, smov, 30, src);
	EMIT(p, smov, 29, dst);
	EMIT(p, dma_start, 28, 0, 31, 30, 29);
	EMIT(p, dma_wait, 0, 28);
}

static inline void program_end(struct program *p)
{
	EMIT1(p, halt, 0);
	p->x.code = p->code.at;
	p->x.n_words = (uint32_t)p->code.n;
	*TG_PUSH(p->f->a, &p->x.steps) = (struct tg_step){.text = "", .reason = ""};
}

/* Has LLVM loaded, where it is there, before tests fork: each would load it again. */
static inline void load_translator(void)
{
	struct fixture *f = fixture_new("t1");
	struct program *p = program_new(f);
	EMIT(p, smov, 1, 1);
	program_end(p);
	tg_sim_free(tg_sim_new(f->a, &p->x, &(struct tg_sim_options){.engine = TG_ENGINE_JIT, .translate_all = true}));
	fixture_free(f);
}

#endif
