/* deps.c: the dependence graph of a block or of a loop's body.
 *
 * The operations are walked in program order; every resource (register, buffer, array, accumulator rows) remembers who wrote it last and who has
 * read it since. Read after write waits for the latency, write after write too (the machine traps otherwise), write after read may share a bundle,
 * because all reads see the state before it. For a loop the body is walked twice: what the second walk meets of the first are the edges
 * from one iteration to the next (Rau, "Iterative Modulo Scheduling", 1994, section 2). */
#include "deps.h"

#include <string.h>

/* Readers and writers of a resource since its last write. */
struct access { uint32_t item, delay, iteration; struct access *next; };
struct resource { struct access *writers, *readers; };
/* Memory by buffer: one resource a buffer plus one that stands for all. */
struct memory { uint32_t ids[64]; struct resource of[64]; uint32_t n; };
/* One array. `acc[0]` stands for all accumulator rows; operations that carry a number concern their own rows only. */
struct matrix { struct resource shadow, active, acc[TG_MAX_ACC_GROUPS]; };
struct graph {
	struct block *b;
	uint32_t iteration;
	struct resource *regs, transposer;
	struct memory memory;
	struct matrix *arrays;
	struct access *starts; /* of transfers that concern one buffer */
};

/* ---- what an operation is ------------------------------------------------------------------------------------------------ */

bool op_class_of(uint8_t field_kind, enum vclass *c)
{
	static const int map[] = { [TG_FIELD_S] = CLASS_S, [TG_FIELD_V] = CLASS_V, [TG_FIELD_M] = CLASS_M, [TG_FIELD_P] = CLASS_P };
	if (field_kind > TG_FIELD_P)
		return false;
	*c = (enum vclass)map[field_kind];
	return true;
}

bool op_merges(const struct mop *op, const struct tg_insn_info *info)
{
	for (uint32_t i = 0; i < info->n_fields; i++) {
		if (info->slot == TG_SLOT_L && info->field[i].letter == 'f' && op->f[i] == 3)
			return true;
		if (info->slot == TG_SLOT_L && info->field[i].letter == 'm' && op->f[i] != 0)
			return true;
	}
	return op->pred != 0 && !op->fresh;
}

bool op_increments(const struct mop *op, const struct tg_insn_info *info)
{
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].letter == 'q')
			return op->f[k] != 0;
	return false;
}

int64_t op_unit(const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].letter == 'u')
			return op->f[k];
	return 0;
}

uint32_t op_busy(const struct tg_chip *c, const struct mop *op)
{
	struct tg_insn in = { .op = op->op };
	memcpy(in.f, op->f, sizeof in.f);
	return tg_insn_occupancy(c, &in);
}

uint32_t op_settles(const struct tg_chip *c, const struct mop *op)
{
	uint32_t latency = tg_insn_latency(c, op->op), busy = op_busy(c, op), slot = tg_insn_info(op->op)->slot;
	latency = slot == TG_SLOT_M ? c->latency.multiply_read : slot == TG_SLOT_P ? c->latency.push_swap : op->op == TG_I_xtw ? c->latency.transposer : latency;
	latency = latency ? latency : 1;
	return latency > busy ? latency : busy;
}

static bool is_store(const struct tg_insn_info *info, const struct mop *op)
{
	return info->slot == TG_SLOT_W || op->op == TG_I_sst32 || op->op == TG_I_sst64;
}

static bool is_load(const struct tg_insn_info *info, const struct mop *op)
{
	return info->slot == TG_SLOT_L || op->op == TG_I_sld32 || op->op == TG_I_sld64;
}

/* ---- edges ------------------------------------------------------------------------------------------------------------------ */

/* far: iterations between two uses of the resource that are one iteration apart in program order. */
static void add_edge(struct graph *g, const struct access *from, uint32_t to, uint32_t delay, uint32_t far)
{
	uint32_t dist = g->iteration - from->iteration;
	if ((g->iteration && !dist) || (from->item == to && !dist)) /* the second walk repeats what the first has found */
		return;
	struct edge *e = tg_alloc(g->b->a, sizeof *e);
	*e = (struct edge){ to, delay, dist * far, g->b->items[from->item].out };
	g->b->items[from->item].out = e;
	g->b->items[to].n_preds++;
}

static void add_access(struct graph *g, struct access **list, uint32_t item, uint32_t delay)
{
	struct access *x = tg_alloc(g->b->a, sizeof *x);
	*x = (struct access){ item, delay, g->iteration, *list };
	*list = x;
}

static void reads(struct graph *g, struct resource *r, uint32_t item)
{
	for (struct access *w = r->writers; w; w = w->next)
		add_edge(g, w, item, w->delay, 1);
	add_access(g, &r->readers, item, 0);
}

static void writes(struct graph *g, struct resource *r, uint32_t item, uint32_t latency)
{
	for (struct access *x = r->readers; x; x = x->next)
		add_edge(g, x, item, 0, 1);
	for (struct access *w = r->writers; w; w = w->next)
		add_edge(g, w, item, w->delay, 1);
	*r = (struct resource){ 0 };
	add_access(g, &r->writers, item, latency);
}

static void register_edges(struct graph *g, uint32_t i)
{
	const struct mop *op = &g->b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	const struct tg_chip *chip = g->b->f->chip;
	enum vclass c;
	if (op->pred)
		reads(g, &g->regs[op->pred], i);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (op_class_of(info->field[k].kind, &c) && op->f[k] && (!info->field[k].is_def || op_merges(op, info)))
			reads(g, &g->regs[op->f[k]], i);
	for (uint32_t k = 0; k < info->n_fields; k++) {
		if (!op_class_of(info->field[k].kind, &c) || !op->f[k])
			continue;
		if (info->field[k].is_def)
			writes(g, &g->regs[op->f[k]], i, tg_insn_latency(chip, op->op));
		else if (info->field[k].is_both && op_increments(op, info))
			writes(g, &g->regs[op->f[k]], i, chip->latency.scalar);
	}
}

static struct resource *memory_of(struct memory *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (m->ids[i] == id)
			return &m->of[i];
	if (m->n == TG_ARRAY_LEN(m->ids))
		return &m->of[id % m->n]; /* sharing an entry only orders more */
	m->ids[m->n] = id;
	return &m->of[m->n++];
}

/* Where a loop takes chunks from two places in turn, what an iteration waits for and reads is not what it starts to fill. */
static bool beside(const struct graph *g, const struct access *x)
{
	const struct mop *op = &g->b->items[x->item].node->op;
	return g->b->chunk_trips && x->iteration == g->iteration && (op->op == TG_I_dma_wait || is_load(tg_insn_info(op->op), op));
}

/* A transfer that concerns one buffer. A start comes behind whoever works on what it fills or empties, a wait before whoever reads what came; what works on
 * other parts of the buffer meanwhile is the business of whoever made the loop. */
static void transfer_edges(struct graph *g, uint32_t i)
{
	const struct mop *op = &g->b->items[i].node->op;
	struct resource *r = memory_of(&g->memory, op->mem);
	reads(g, memory_of(&g->memory, MEM_ALL), i);
	if (op->op == TG_I_dma_wait) {
		for (struct access *x = g->starts; x; x = x->next)
			add_edge(g, x, i, 1, g->b->chunk_trips ? g->b->chunk_trips : 1);
		add_access(g, &r->writers, i, 1);
		return;
	}
	for (struct access *x = r->readers; x; x = x->next)
		if (!beside(g, x))
			add_edge(g, x, i, 1, 1);
	for (struct access *x = r->writers; x; x = x->next)
		if (!beside(g, x))
			add_edge(g, x, i, x->delay, 1);
	add_access(g, &g->starts, i, 1);
}

static void memory_edges(struct graph *g, uint32_t i)
{
	struct memory *m = &g->memory;
	const struct mop *op = &g->b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	if (info->slot == TG_SLOT_D && op->mem && op->mem != MEM_ALL) {
		transfer_edges(g, i);
	} else if (info->slot == TG_SLOT_D || op->mem == MEM_ALL) {
		for (uint32_t k = 0; k < m->n; k++)
			writes(g, &m->of[k], i, 1);
		writes(g, memory_of(m, MEM_ALL), i, 1);
		for (struct access *x = g->starts; x; x = x->next)
			add_edge(g, x, i, 1, 1);
	} else if (is_store(info, op)) {
		reads(g, memory_of(m, MEM_ALL), i); /* behind the last DMA operation, not behind other buffers */
		writes(g, memory_of(m, op->mem), i, 1);
	} else if (is_load(info, op)) {
		reads(g, memory_of(m, MEM_ALL), i);
		reads(g, memory_of(m, op->mem), i);
	}
}

/* ---- the matrix unit ---------------------------------------------------------------------------------------------------------- */

static void push_or_swap(struct graph *g, struct matrix *u, uint32_t i)
{
	const struct mop *op = &g->b->items[i].node->op;
	if (op->op == TG_I_swap) {
		for (struct access *x = u->shadow.readers; x; x = x->next)
			add_edge(g, x, i, x->delay, 1); /* pushes must have landed */
		writes(g, &u->shadow, i, 1);
		writes(g, &u->active, i, 1);
		return;
	}
	/* Pushes are ordered by their unit alone; towards the swap they count as reads with a delay. */
	for (struct access *w = u->shadow.writers; w; w = w->next)
		add_edge(g, w, i, w->delay, 1);
	add_access(g, &u->shadow.readers, i, g->b->f->chip->latency.push_swap);
}

/* The accumulating adder ends the pipeline: multiplies follow each other at the issue rate, in order; only a read waits for the latency. */
static void multiply_rows(struct graph *g, struct resource *acc, uint32_t i)
{
	uint32_t far = g->b->acc_reuse ? g->b->acc_reuse : 1;
	for (struct access *x = acc->readers; x; x = x->next)
		add_edge(g, x, i, 0, far);
	for (struct access *w = acc->writers; w; w = w->next)
		add_edge(g, w, i, 1, 1);
	*acc = (struct resource){ 0 };
	add_access(g, &acc->writers, i, g->b->f->chip->latency.multiply_read);
}

static void read_rows(struct graph *g, struct resource *acc, uint32_t i)
{
	uint32_t far = g->b->acc_reuse ? g->b->acc_reuse : 1;
	for (struct access *w = acc->writers; w; w = w->next)
		add_edge(g, w, i, w->delay, far);
	add_access(g, &acc->readers, i, 0);
}

static void matrix_edges(struct graph *g, uint32_t i)
{
	const struct mop *op = &g->b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	if (info->slot != TG_SLOT_P && info->slot != TG_SLOT_M && info->slot != TG_SLOT_R)
		return;
	struct matrix *u = &g->arrays[op_unit(op)];
	if (info->slot == TG_SLOT_P) {
		push_or_swap(g, u, i);
		return;
	}
	bool multiply = info->slot == TG_SLOT_M;
	if (multiply)
		reads(g, &u->active, i);
	if (op->acc) { /* behind those that speak of all rows, without becoming one of them */
		for (struct access *w = u->acc[0].writers; w; w = w->next)
			add_edge(g, w, i, multiply ? 1 : w->delay, 1);
		for (struct access *x = u->acc[0].readers; multiply && x; x = x->next)
			add_edge(g, x, i, 0, 1);
	}
	for (uint32_t group = 0; group < TG_MAX_ACC_GROUPS; group++) {
		struct resource *rows = &u->acc[group];
		bool mine = op->acc ? group == op->acc : group == 0 || rows->writers || rows->readers;
		if (mine && multiply)
			multiply_rows(g, rows, i);
		else if (mine)
			read_rows(g, rows, i);
	}
}

static void transposer_edges(struct graph *g, uint32_t i)
{
	const struct mop *op = &g->b->items[i].node->op;
	if (op->op == TG_I_xtw)
		writes(g, &g->transposer, i, g->b->f->chip->latency.transposer);
	else if (op->op == TG_I_xtr)
		reads(g, &g->transposer, i);
}

static void walk(struct graph *g)
{
	for (uint32_t i = 0; i < g->b->n; i++) {
		register_edges(g, i);
		memory_edges(g, i);
		matrix_edges(g, i);
		transposer_edges(g, i);
	}
}

void deps_build(struct block *b, struct mnode *first, uint32_t n, bool carried)
{
	struct graph g = { .b = b };
	b->n = n;
	b->items = tg_alloc_n(b->a, n, sizeof *b->items);
	g.regs = tg_alloc_n(b->a, b->f->classes.n, sizeof *g.regs);
	g.arrays = tg_alloc_n(b->a, TG_MAX_ARRAYS, sizeof *g.arrays);
	for (uint32_t i = 0; i < n; i++, first = first->next)
		b->items[i].node = first;
	walk(&g);
	if (!carried)
		return;
	for (uint32_t r = 0; r < b->n_local; r++)
		if (b->local[r])
			g.regs[r] = (struct resource){ 0 };
	g.iteration = 1;
	walk(&g);
}
