/* profile.h: where the cycles of a run went: one report, shown as text, JSON, trace and page. */
#ifndef TG_PROFILE_H
#define TG_PROFILE_H

#include "case.h"

struct profile {
	const struct tg_exe *exe;
	const struct tg_chip *chip;
	const struct tg_counters *total, *stage; /* stage: one for each provenance set, the last without one */
	const struct tg_trace *trace;
	enum tg_array_type type;                 /* that most multiplies have */
	double peak;                             /* MACs per cycle of the arrays in that type */
	uint64_t macs;                           /* as the graph states them, else as they ran */
	uint64_t min_bytes;                      /* constants, inputs and outputs of the executable */
	uint64_t array_cycles, dram_cycles;      /* the least that these take */
	uint64_t *predicted;                     /* by stage: cycles that the compiler expected */
	const struct tg_loop_note **loop;        /* by stage: the software pipeline with most to do, or NULL */
};
void profile_init(struct profile *p, struct tg_arena *a, const struct case_run *r, const struct tg_trace *trace);
/* The provenance set of a code word, -1: none. */
int64_t profile_stage_at(const struct tg_exe *x, uint32_t word);

/* Shares of the cycles, in profile.c's table; and what limits most: the name of the largest, or of the stalls. */
struct profile_shares { double array, vector, cross_lane, load, store, scalar, dram, wait, full, fetch; };
struct profile_shares profile_shares(const struct tg_chip *c, const struct tg_counters *n);
const char *profile_limit(const struct profile_shares *s);
double profile_efficiency(const struct profile *p);
uint64_t profile_macs_run(const struct tg_counters *n);
/* Where the energy went: names and picojoule. */
#define N_ENERGIES 7
extern const char *const profile_energy_names[N_ENERGIES];
void profile_energy(const struct tg_chip *c, const struct tg_counters *n, double pj[N_ENERGIES]);

/* ---- profile_json.c ---- */
void profile_json(struct tool *t, const struct profile *p, json_t *report);

/* ---- profile_trace.c: JSON of the Chrome trace format, which Perfetto reads ---- */
bool profile_trace(struct tool *t, const struct profile *p, const char *path);

/* ---- profile_html.c: `report` in one page that needs nothing else ---- */
bool profile_html(struct tool *t, json_t *report, const char *path);

/* ---- chips_compare.c ---- */
enum tg_status chips_compare(struct tool *t, const char *model);

#endif
