/* check.c: the static checker. It shares only the tables with the compiler and the simulator.
 *
 * Errors, without running anything: illegal encodings in reachable code; targets that are not bundles; loops that cross, nest more than
 * 8 deep or are reached in different ways; code that runs off its end; registers read or overwritten early and units booked twice on any
 * path, over back edges, joins and zero trips (check_time.c); memory accesses, accumulator rows and DMA transfers out of bounds where
 * the addresses are known (check_value.c); the same for addresses and predicates that go through memory and control, by stepping the
 * scalar program alone (check_walk.c); SRAM buffers that overlap in space and lifetime; bindings and segments outside DRAM.
 * What depends on values that none of them knows is left to the simulator and counted in a note. */
#include "check_int.h"

#include <stdlib.h>
#include <string.h>

bool check_error(struct check *c, const struct node *n, const struct tg_insn *in, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	struct tg_buf b;
	tg_buf_init(&b, c->arena);
	tg_buf_printf(&b, "bundle at word %u: %s", n->word, text);
	if (in) {
		tg_buf_puts(&b, "; in '");
		tg_insn_print(&b, in);
		tg_buf_puts(&b, "'");
	}
	for (size_t i = 0; i < c->x->ranges.n; i++) {
		if (c->x->ranges.at[i].first_word > n->word || c->x->ranges.at[i].end_word <= n->word || c->x->ranges.at[i].prov >= c->x->provs.n)
			continue;
		tg_buf_puts(&b, "; from ");
		tg_buf_quote(&b, c->x->provs.at[c->x->ranges.at[i].prov]);
		break;
	}
	c->ok = false;
	return tg_error(c->d, TG_NOWHERE, "%s", b.at);
}

/* ---- reachable code ---- */

struct todo {
	uint32_t word, loop;
	uint32_t from; /* node that leads here, for the message */
};
struct walk {
	struct check *c;
	TG_VEC(struct todo) list;
	uint8_t *inside; /* by word: lies within a reachable bundle, not at its start */
	struct tg_bundle *raw;
};

static void add_edge(struct walk *k, struct node *n, uint32_t word, enum edge_kind kind, uint32_t loop, uint32_t loop_there)
{
	struct check *c = k->c;
	*TG_PUSH(c->arena, &c->edges) = (struct edge){.word = word, .kind = (uint8_t)kind, .loop = loop};
	n->n_edges++;
	*TG_PUSH(c->arena, &k->list) = (struct todo){word, loop_there, (uint32_t)(n - c->nodes.at)};
}

/* Where execution goes when it arrives at `word` with `loop` innermost: at the end of loops it repeats or leaves. */
static void add_arrivals(struct walk *k, struct node *n, uint32_t word, enum edge_kind kind, uint32_t via, uint32_t loop)
{
	struct check *c = k->c;
	while (loop != NO_LOOP && c->loops.at[loop].end == word) {
		add_edge(k, n, c->loops.at[loop].start, EDGE_REPEAT, loop, loop);
		via = loop;
		kind = EDGE_EXIT;
		loop = c->loops.at[loop].parent;
	}
	add_edge(k, n, word, kind, via, loop);
}

static bool begin_loop(struct walk *k, struct node *n, const struct tg_insn *in)
{
	struct check *c = k->c;
	int64_t end = tg_insn_get(in, 't');
	uint32_t depth = n->loop == NO_LOOP ? 0 : c->loops.at[n->loop].depth;
	if (end <= n->next_word || end > c->x->n_words)
		return check_error(c, n, in, "the loop's end does not lie after its start");
	if (n->loop != NO_LOOP && end > c->loops.at[n->loop].end)
		return check_error(c, n, in, "the loop reaches beyond the loop around it");
	if (depth == CHECK_MAX_DEPTH)
		return check_error(c, n, in, "loops nest more than %d deep", CHECK_MAX_DEPTH);
	uint32_t id = (uint32_t)c->loops.n;
	*TG_PUSH(c->arena, &c->loops) = (struct loop){
		.node = (uint32_t)(n - c->nodes.at), .start = n->next_word, .end = (uint32_t)end, .parent = n->loop, .depth = depth + 1, .trips_lo = INT64_MAX, .trips_hi = INT64_MIN};
	n->begins = id;
	add_edge(k, n, n->next_word, EDGE_ENTER, id, id);
	add_arrivals(k, n, (uint32_t)end, EDGE_ZERO, id, n->loop);
	return true;
}

static bool take_branch(struct walk *k, struct node *n, const struct tg_insn *in)
{
	struct check *c = k->c;
	int64_t to = tg_insn_get(in, 't');
	uint32_t loop = n->loop;
	c->has_branches = true;
	if (to > c->x->n_words)
		return check_error(c, n, in, "the branch's target lies outside the code");
	while (loop != NO_LOOP && (to < c->loops.at[loop].start || to >= c->loops.at[loop].end))
		loop = c->loops.at[loop].parent;
	add_edge(k, n, (uint32_t)to, EDGE_BRANCH, NO_LOOP, loop);
	return true;
}

static bool find_successors(struct walk *k, struct node *n)
{
	struct check *c = k->c;
	bool falls = true, ok = true;
	for (uint32_t i = 0; ok && i < n->n_insn; i++) {
		const struct tg_insn *in = &c->insns.at[n->first_insn + i];
		switch (in->op) {
		case TG_I_loop:
			ok = begin_loop(k, n, in);
			falls = in->pred != 0;
			break;
		case TG_I_br:
			ok = take_branch(k, n, in);
			falls = in->pred != 0;
			break;
		case TG_I_halt:
			falls = in->pred != 0;
			break;
		case TG_I_idle:
			/* under a predicate it may be absent: not counted on */
			n->idle = in->pred ? 0 : (uint32_t)in->f[0];
			break;
		}
	}
	if (ok && falls)
		add_arrivals(k, n, n->next_word, EDGE_NEXT, NO_LOOP, n->loop);
	return ok;
}

static bool visit(struct walk *k, struct todo t)
{
	struct check *c = k->c;
	const struct node *from = t.from == UINT32_MAX ? NULL : &c->nodes.at[t.from];
	struct node here = {.word = t.word};
	if (c->node_at[t.word] != UINT32_MAX) {
		const struct node *seen = &c->nodes.at[c->node_at[t.word]];
		return seen->loop == t.loop || check_error(c, seen, NULL, "reached within different loops, once from word %u", from ? from->word : 0);
	}
	if (t.word >= c->x->n_words)
		return check_error(c, from ? from : &here, NULL, "the program runs past the end of its code");
	if (k->inside[t.word])
		return check_error(c, from ? from : &here, NULL, "control goes to word %u, which is not the start of a bundle", t.word);
	size_t next;
	const char *why = tg_bundle_decode(&c->x->chip, c->x->code, c->x->n_words, t.word, k->raw, &next);
	if (why)
		return check_error(c, &here, NULL, "illegal: %s", why);
	for (size_t w = t.word + 1; w < next; w++) {
		if (c->node_at[w] != UINT32_MAX) /* only where opcodes can look like headers: chips with more than 56 slots */
			return check_error(c, &here, NULL, "another reachable bundle starts within it, at word %zu", w); /* no case: see above */
		k->inside[w] = 1;
	}
	uint32_t id = (uint32_t)c->nodes.n;
	c->node_at[t.word] = id;
	struct node *n = TG_PUSH(c->arena, &c->nodes);
	*n = (struct node){.word = t.word, .next_word = (uint32_t)next, .first_insn = (uint32_t)c->insns.n, .n_insn = k->raw->n, .loop = t.loop, .begins = NO_LOOP};
	n->first_edge = (uint32_t)c->edges.n;
	for (uint32_t i = 0; i < k->raw->n; i++)
		*TG_PUSH(c->arena, &c->insns) = k->raw->insn[i];
	return find_successors(k, n);
}

static void mark_leaders(struct check *c)
{
	uint32_t *ways = tg_alloc_n(c->arena, c->nodes.n + 1, sizeof *ways);
	for (size_t i = 0; i < c->edges.n; i++) {
		uint32_t to = c->edges.at[i].word < c->x->n_words ? c->node_at[c->edges.at[i].word] : UINT32_MAX;
		if (to == UINT32_MAX)
			continue;
		if (++ways[to] > 1 || c->edges.at[i].kind != EDGE_NEXT)
			c->nodes.at[to].leader = true;
	}
}

static bool find_code(struct check *c)
{
	struct walk k = {.c = c};
	size_t n = (size_t)c->x->n_words + 1;
	k.raw = tg_alloc(c->arena, sizeof *k.raw);
	k.inside = tg_alloc(c->arena, n);
	c->node_at = tg_alloc_n(c->arena, n, sizeof *c->node_at);
	memset(c->node_at, 0xff, n * sizeof *c->node_at);
	bool ok = true;
	for (size_t i = 0; i < c->x->steps.n; i++) {
		const struct tg_step *s = &c->x->steps.at[i];
		if (!s->on_host)
			*TG_PUSH(c->arena, &k.list) = (struct todo){s->entry_word < n ? s->entry_word : c->x->n_words, NO_LOOP, UINT32_MAX};
	}
	while (ok && k.list.n)
		ok = visit(&k, k.list.at[--k.list.n]);
	for (size_t i = 0; ok && i < c->x->steps.n; i++) {
		if (!c->x->steps.at[i].on_host)
			c->nodes.at[c->node_at[c->x->steps.at[i].entry_word]].leader = true;
	}
	if (ok)
		mark_leaders(c);
	return ok;
}

/* ---- the maps ---- */

static bool map_error(struct check *c, const char *what, const char *name, const char *why)
{
	c->ok = false;
	return tg_error(c->d, TG_NOWHERE, "%s %s %s", what, tg_quoted(c->arena, name ? name : ""), why);
}

static void check_binding(struct check *c, const char *what, const struct tg_binding *b)
{
	size_t bytes;
	if (b->dtype >= TG_N_DTYPES || !tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &bytes) || b->dram > c->x->dram_bytes || bytes > c->x->dram_bytes - b->dram)
		map_error(c, what, b->name, "lies outside the program's DRAM");
}

static void check_dram(struct check *c)
{
	const struct tg_exe *x = c->x;
	if (x->dram_bytes > x->chip.dram_bytes)
		map_error(c, "chip", x->chip.name, "has less DRAM than the program uses");
	for (size_t i = 0; i < x->inputs.n; i++)
		check_binding(c, "input", &x->inputs.at[i]);
	for (size_t i = 0; i < x->outputs.n; i++)
		check_binding(c, "output", &x->outputs.at[i]);
	for (size_t i = 0; i < x->steps.n; i++) {
		for (uint32_t k = 0; k < x->steps.at[i].n_args; k++)
			check_binding(c, "argument", &x->steps.at[i].args[k]);
	}
	for (size_t i = 0; i < x->segments.n; i++) {
		if (x->segments.at[i].dram > x->dram_bytes || x->segments.at[i].bytes > x->dram_bytes - x->segments.at[i].dram)
			map_error(c, "segment", tg_asprintf(c->arena, "%zu", i), "lies outside the program's DRAM");
	}
}

static int by_first_word(const void *a, const void *b)
{
	const struct tg_sram_buffer *const *x = a, *const *y = b;
	return (*x)->first_word < (*y)->first_word ? -1 : (*x)->first_word > (*y)->first_word;
}

/* Buffers in the order of their birth, against those that still live. */
static void check_buffers(struct check *c)
{
	size_t n = c->x->buffers.n, n_live = 0;
	const struct tg_sram_buffer **by = tg_alloc_n(c->arena, n + 1, sizeof *by), **live = tg_alloc_n(c->arena, n + 1, sizeof *live);
	for (size_t i = 0; i < n; i++)
		by[i] = &c->x->buffers.at[i];
	qsort(by, n, sizeof *by, by_first_word);
	for (size_t i = 0; i < n; i++) {
		const struct tg_sram_buffer *b = by[i];
		if (b->sram > c->x->chip.sram_bytes || b->bytes > c->x->chip.sram_bytes - b->sram)
			map_error(c, "buffer", b->name, "lies outside SRAM");
		size_t kept = 0;
		for (size_t k = 0; k < n_live; k++) {
			if (live[k]->end_word <= b->first_word)
				continue;
			live[kept++] = live[k];
			if (b->end_word > b->first_word && live[k]->sram < b->sram + b->bytes && b->sram < live[k]->sram + live[k]->bytes)
				map_error(c, "buffer", b->name, tg_asprintf(c->arena, "overlaps buffer %s, which lives at the same time", tg_quoted(c->arena, live[k]->name ? live[k]->name : "")));
		}
		n_live = kept;
		live[n_live++] = b;
	}
}

static void check_debug(struct check *c)
{
	const struct tg_exe *x = c->x;
	uint32_t last = 0;
	for (size_t i = 0; i < x->ranges.n; i++) {
		if (x->ranges.at[i].first_word < last || x->ranges.at[i].end_word > x->n_words || x->ranges.at[i].prov >= x->provs.n)
			map_error(c, "debug range", tg_asprintf(c->arena, "%zu", i), "is out of order or names what does not exist");
		last = x->ranges.at[i].end_word;
	}
	for (size_t i = 0; i < x->births.n; i++) {
		const struct tg_birth *b = &x->births.at[i];
		if (b->sram > x->chip.sram_bytes || b->bytes > x->chip.sram_bytes - b->sram || b->word >= x->n_words)
			map_error(c, "birth", tg_asprintf(c->arena, "%zu", i), "lies outside SRAM or the code");
	}
}

static bool binding_meets(const struct check *c, const struct tg_binding *b)
{
	size_t bytes;
	int64_t at = (int64_t)b->dram + TG_DRAM_BASE;
	return tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &bytes) && span_meets(c->trusted, (struct span){at, at + (int64_t)bytes});
}

/* Whether something may write, while the program runs, what the proofs took from the file. */
static bool trust_broken(const struct check *c)
{
	bool broken = false;
	for (size_t i = 0; i < c->insns.n; i++)
		if (c->insns.at[i].op == TG_I_dma_start && c->verdict[i] != NOT_SEEN)
			broken |= c->verdict[i] == UNPROVEN || span_meets(c->trusted, c->span[i]);
	for (size_t i = 0; i < c->x->inputs.n; i++)
		broken |= binding_meets(c, &c->x->inputs.at[i]);
	for (size_t i = 0; i < c->x->steps.n; i++)
		for (uint32_t k = c->x->steps.at[i].n_in; k < c->x->steps.at[i].n_args; k++)
			broken |= binding_meets(c, &c->x->steps.at[i].args[k]);
	return broken;
}

/* Descriptors and copies of them are not what the file says: transfers are open again, and what the walk decided. */
static void reopen(struct check *c)
{
	for (size_t i = 0; i < c->insns.n; i++) {
		uint8_t open = c->open ? c->open[i] : 0;
		if (c->verdict[i] == PROVEN && (open & OPEN_ACCESS || c->insns.at[i].op == TG_I_dma_start))
			c->verdict[i] = UNPROVEN;
		c->early[i] |= (open & OPEN_TIME) != 0;
	}
}

/* Accesses and conflicts that some pass had to look at, and those that none has decided. */
static void count_open(const struct check *c, uint32_t *all, uint32_t *open)
{
	*all = *open = 0;
	for (size_t i = 0; i < c->insns.n; i++) {
		*all += c->verdict[i] != NOT_SEEN || c->early[i];
		*open += c->verdict[i] == UNPROVEN || c->early[i];
	}
}

bool tg_exe_verify(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x)
{
	struct check *c = tg_alloc(a, sizeof *c);
	*c = (struct check){.d = d, .arena = a, .x = x, .ok = true, .trusted = {INT64_MAX, INT64_MIN}};
	check_dram(c);
	check_buffers(c);
	check_debug(c);
	if (!c->ok || !find_code(c))
		return false;
	uint32_t all, open, left;
	c->verdict = tg_alloc(a, c->insns.n + 1);
	c->span = tg_alloc_n(a, c->insns.n + 1, sizeof *c->span);
	for (size_t i = 0; i < c->insns.n; i++)
		c->span[i] = (struct span){INT64_MAX, INT64_MIN};
	check_values(c);
	check_schedule(c);
	count_open(c, &all, &open);
	if (c->ok && open)
		check_walk(c);
	if (c->ok && trust_broken(c))
		reopen(c);
	count_open(c, &left, &open);
	if (c->ok && open)
		*TG_PUSH(d->arena, &d->list) = (struct tg_message){
			.severity = TG_NOTE,
			.loc = TG_NOWHERE,
			.text = tg_asprintf(d->arena, "%u of %u accesses depend on values known only at run time; the simulator checks them", open, all),
		};
	return c->ok;
}
