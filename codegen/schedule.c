/* schedule.c: list scheduling of basic blocks.
 *
 * In: operations in program order between loops. Out: bundles in which every result is old enough when it is read or overwritten, no unit is
 * taken twice, and at whose end nothing is in flight, so that blocks and loop iterations can follow each other in any order.
 *
 * Edges: read after write waits for the latency, write after write too (the machine traps otherwise), write after read may share a bundle,
 * because all reads see the state before it. Memory is ordered by buffer. Priority is the length of the longest path to the block's end. */
#include "mach.h"

#include <assert.h>
#include <string.h>

struct edge { uint32_t to, delay; struct edge *next; };
struct item {
	struct mnode *node;
	struct edge *out;
	uint32_t n_preds, earliest, height;
	bool done;
};
struct block {
	struct tg_arena *a;
	struct mfn *f;
	struct item *items;
	uint32_t n;
};
/* Readers and writers of a resource since its last write. */
struct access { uint32_t item; uint32_t delay; struct access *next; };
struct resource { struct access *writers, *readers; };

static void add_edge(struct block *b, uint32_t from, uint32_t to, uint32_t delay)
{
	if (from == to)
		return;
	struct edge *e = tg_alloc(b->a, sizeof *e);
	*e = (struct edge){ to, delay, b->items[from].out };
	b->items[from].out = e;
	b->items[to].n_preds++;
}

static void add_access(struct block *b, struct access **list, uint32_t item, uint32_t delay)
{
	struct access *x = tg_alloc(b->a, sizeof *x);
	*x = (struct access){ item, delay, *list };
	*list = x;
}

static void reads(struct block *b, struct resource *r, uint32_t item)
{
	for (struct access *w = r->writers; w; w = w->next)
		add_edge(b, w->item, item, w->delay);
	add_access(b, &r->readers, item, 0);
}

static void writes(struct block *b, struct resource *r, uint32_t item, uint32_t latency)
{
	for (struct access *x = r->readers; x; x = x->next)
		add_edge(b, x->item, item, 0);
	for (struct access *w = r->writers; w; w = w->next)
		add_edge(b, w->item, item, w->delay);
	*r = (struct resource){ 0 };
	add_access(b, &r->writers, item, latency);
}

static bool is_store(const struct tg_insn_info *info, const struct mop *op)
{
	return info->slot == TG_SLOT_W || op->op == TG_I_sst32 || op->op == TG_I_sst64;
}

static bool is_load(const struct tg_insn_info *info, const struct mop *op)
{
	return info->slot == TG_SLOT_L || op->op == TG_I_sld32 || op->op == TG_I_sld64;
}

static bool class_of(uint8_t field_kind, enum vclass *c)
{
	static const int map[] = { [TG_FIELD_S] = CLASS_S, [TG_FIELD_V] = CLASS_V, [TG_FIELD_M] = CLASS_M, [TG_FIELD_P] = CLASS_P };
	if (field_kind > TG_FIELD_P)
		return false;
	*c = (enum vclass)map[field_kind];
	return true;
}

/* A destination that keeps part of its old value is read as well. */
static bool merges(const struct mop *op, const struct tg_insn_info *info)
{
	for (uint32_t i = 0; i < info->n_fields; i++) {
		if (info->slot == TG_SLOT_L && info->field[i].letter == 'f' && op->f[i] == 3)
			return true;
		if (info->slot == TG_SLOT_L && info->field[i].letter == 'm' && op->f[i] != 0)
			return true;
	}
	return op->pred != 0;
}

/* A load or store whose post-increment is a register writes its base. */
static bool increments(const struct mop *op, const struct tg_insn_info *info)
{
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].letter == 'q')
			return op->f[k] != 0;
	return false;
}

/* Array of a push, swap, multiply or read: its field u. */
static int64_t unit_of(const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (info->field[k].letter == 'u')
			return op->f[k];
	return 0;
}

static void register_edges(struct block *b, struct resource *regs, uint32_t i)
{
	const struct mop *op = &b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	enum vclass c;
	if (op->pred)
		reads(b, &regs[op->pred], i);
	for (uint32_t k = 0; k < info->n_fields; k++)
		if (class_of(info->field[k].kind, &c) && op->f[k] && (!info->field[k].is_def || merges(op, info)))
			reads(b, &regs[op->f[k]], i);
	for (uint32_t k = 0; k < info->n_fields; k++) {
		if (!class_of(info->field[k].kind, &c) || !op->f[k])
			continue;
		if (info->field[k].is_def)
			writes(b, &regs[op->f[k]], i, tg_insn_latency(b->f->chip, op->op));
		else if (info->field[k].is_both && increments(op, info))
			writes(b, &regs[op->f[k]], i, b->f->chip->latency.scalar);
	}
}

/* Memory by buffer: one resource a buffer plus one that stands for all. */
struct memory {
	uint32_t ids[64];
	struct resource of[64];
	uint32_t n;
};

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

static void memory_edges(struct block *b, struct memory *m, uint32_t i)
{
	const struct mop *op = &b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	if (info->slot == TG_SLOT_D) {
		for (uint32_t k = 0; k < m->n; k++)
			writes(b, &m->of[k], i, 1);
		writes(b, memory_of(m, MEM_ALL), i, 1);
	} else if (is_store(info, op)) {
		reads(b, memory_of(m, MEM_ALL), i); /* behind the last DMA operation, not behind other buffers */
		writes(b, memory_of(m, op->mem), i, 1);
	} else if (is_load(info, op)) {
		reads(b, memory_of(m, MEM_ALL), i);
		reads(b, memory_of(m, op->mem), i);
	}
}

struct matrix { struct resource shadow, active, acc; };

static void matrix_edges(struct block *b, struct matrix *m, uint32_t i)
{
	const struct mop *op = &b->items[i].node->op;
	const struct tg_insn_info *info = tg_insn_info(op->op);
	const struct tg_latency *l = &b->f->chip->latency;
	struct matrix *u;
	if (info->slot != TG_SLOT_P && info->slot != TG_SLOT_M && info->slot != TG_SLOT_R)
		return;
	u = &m[unit_of(op)];
	if (op->op == TG_I_swap) {
		writes(b, &u->shadow, i, 1);
		writes(b, &u->active, i, 1);
	} else if (info->slot == TG_SLOT_P) {
		/* Pushes are ordered by their unit alone; towards the swap they count as reads with a delay. */
		for (struct access *w = u->shadow.writers; w; w = w->next)
			add_edge(b, w->item, i, w->delay);
		add_access(b, &u->shadow.readers, i, l->push_swap);
	} else if (info->slot == TG_SLOT_M) {
		reads(b, &u->active, i);
		/* The accumulating adder ends the pipeline: multiplies follow each other at the issue rate, in order; only a read waits for the latency. */
		for (struct access *x = u->acc.readers; x; x = x->next)
			add_edge(b, x->item, i, 0);
		for (struct access *w = u->acc.writers; w; w = w->next)
			add_edge(b, w->item, i, 1);
		u->acc = (struct resource){ 0 };
		add_access(b, &u->acc.writers, i, l->multiply_read);
	} else {
		reads(b, &u->acc, i);
	}
}

/* Pushes reach the swap through `readers` with a delay; `writes` uses 0 for readers, so swaps add these edges themselves. */
static void swap_edges(struct block *b, struct matrix *m, uint32_t i)
{
	const struct mop *op = &b->items[i].node->op;
	if (op->op != TG_I_swap)
		return;
	for (struct access *x = m[op->f[0]].shadow.readers; x; x = x->next)
		add_edge(b, x->item, i, x->delay);
}

static void heights(struct block *b)
{
	for (uint32_t i = b->n; i-- > 0;) {
		uint32_t h = tg_insn_latency(b->f->chip, b->items[i].node->op.op);
		for (struct edge *e = b->items[i].out; e; e = e->next)
			if (b->items[e->to].height + e->delay > h)
				h = b->items[e->to].height + e->delay;
		b->items[i].height = h;
	}
}

struct units {
	uint32_t used[TG_N_SLOTS];
	uint64_t unit_used[TG_N_SLOTS]; /* P, M, R by array in this cycle */
	uint32_t busy[TG_N_SLOTS][TG_MAX_ARRAYS];
	uint32_t load_busy;
};

static bool fits(const struct tg_chip *c, struct units *u, uint32_t cycle, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	enum tg_slot s = info->slot;
	if (s == TG_SLOT_E)
		return u->used[TG_SLOT_E] < c->n_transcendental && u->used[TG_SLOT_E] + u->used[TG_SLOT_V] < c->n_alu;
	if (s == TG_SLOT_V)
		return u->used[TG_SLOT_E] + u->used[TG_SLOT_V] < c->n_alu;
	if (s == TG_SLOT_P || s == TG_SLOT_M || s == TG_SLOT_R) {
		int64_t unit = unit_of(op);
		return !(u->unit_used[s] >> unit & 1) && u->busy[s][unit] <= cycle;
	}
	if (s == TG_SLOT_L && u->load_busy > cycle)
		return false;
	return u->used[s] < tg_slot_count(c, s);
}

static void occupy(const struct tg_chip *c, struct units *u, uint32_t cycle, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	struct tg_insn in = { .op = op->op };
	memcpy(in.f, op->f, sizeof in.f);
	uint32_t busy = tg_insn_occupancy(c, &in);
	u->used[info->slot]++;
	if (info->slot == TG_SLOT_P || info->slot == TG_SLOT_M || info->slot == TG_SLOT_R) {
		int64_t unit = tg_insn_get(&in, 'u');
		u->unit_used[info->slot] |= UINT64_C(1) << unit;
		u->busy[info->slot][unit] = cycle + busy;
	} else if (busy > 1) {
		u->load_busy = cycle + busy;
	}
}

static void new_cycle(struct units *u)
{
	memset(u->used, 0, sizeof u->used);
	memset(u->unit_used, 0, sizeof u->unit_used);
}

static struct item *pick(struct block *b, struct units *u, uint32_t head, uint32_t window, uint32_t cycle)
{
	struct item *best = NULL;
	uint32_t seen = 0;
	for (uint32_t i = head; i < b->n && seen < window; i++) {
		struct item *x = &b->items[i];
		if (x->done)
			continue;
		seen++;
		if (x->n_preds || x->earliest > cycle || (best && x->height <= best->height) || !fits(b->f->chip, u, cycle, &x->node->op))
			continue;
		best = x;
	}
	return best;
}

static void release(struct block *b, struct item *x, uint32_t cycle)
{
	x->done = true;
	for (struct edge *e = x->out; e; e = e->next) {
		struct item *to = &b->items[e->to];
		to->n_preds--;
		if (to->earliest < cycle + e->delay)
			to->earliest = cycle + e->delay;
	}
}

/* The first cycle after which nothing of this operation is under way. */
static uint32_t settled(const struct block *b, const struct mop *op, uint32_t cycle)
{
	struct tg_insn in = { .op = op->op };
	memcpy(in.f, op->f, sizeof in.f);
	uint32_t latency = tg_insn_latency(b->f->chip, op->op), busy = tg_insn_occupancy(b->f->chip, &in);
	if (latency < 1)
		latency = 1;
	return cycle + (latency > busy ? latency : busy);
}

static struct sched *place(struct block *b, uint32_t window, const struct mnode *end)
{
	struct sched *s = tg_alloc(b->f->arena, sizeof *s);
	TG_VEC(struct sched_bundle) out = { 0 };
	struct units u = { 0 };
	uint32_t head = 0, left = b->n, cycle = 0, quiet = 0;
	while (left) {
		struct sched_bundle *now = TG_PUSH(b->f->arena, &out);
		*now = (struct sched_bundle){ 0 };
		struct item *x;
		new_cycle(&u);
		while ((x = pick(b, &u, head, window, cycle))) {
			occupy(b->f->chip, &u, cycle, &x->node->op);
			release(b, x, cycle);
			now->ops[now->n++] = &x->node->op;
			uint32_t t = settled(b, &x->node->op, cycle);
			quiet = t > quiet ? t : quiet;
			left--;
			while (head < b->n && b->items[head].done)
				head++;
		}
		if (now->n == 0 && out.n > 1) {
			out.n--;
			out.at[out.n - 1].idle++;
		}
		cycle++;
	}
	if (out.n && quiet > cycle)
		out.at[out.n - 1].idle += quiet - cycle;
	*s = (struct sched){ out.at, (uint32_t)out.n, end };
	return s;
}

static bool ends_block(const struct mnode *n)
{
	return n->kind != NODE_OP || n->op.op == TG_I_idle;
}

static void schedule_block(struct mfn *f, struct tg_arena *scratch, struct mnode *first, const struct mnode *end, uint32_t n, uint32_t window)
{
	struct block b = { .a = scratch, .f = f, .n = n };
	b.items = tg_alloc_n(scratch, n, sizeof *b.items);
	struct resource *regs = tg_alloc_n(scratch, f->classes.n, sizeof *regs);
	struct memory *m = tg_alloc(scratch, sizeof *m);
	struct matrix *arrays = tg_alloc_n(scratch, TG_MAX_ARRAYS, sizeof *arrays);
	struct mnode *node = first;
	for (uint32_t i = 0; i < n; i++, node = node->next) {
		b.items[i].node = node;
		register_edges(&b, regs, i);
		memory_edges(&b, m, i);
		swap_edges(&b, arrays, i);
		matrix_edges(&b, arrays, i);
	}
	heights(&b);
	first->sched = place(&b, window, end);
	tg_arena_reset(scratch);
}

static void schedule_idle(struct mfn *f, struct mnode *n)
{
	struct sched *s = tg_alloc(f->arena, sizeof *s);
	s->at = tg_alloc(f->arena, sizeof *s->at);
	s->at[0].idle = n->op.f[0] > 0 ? (uint32_t)n->op.f[0] - 1 : 0;
	s->n = 1;
	s->end = n->next;
	n->sched = s;
}

/* Sequences still to do are kept on a list: loops nest as deep as the model's dimensions, the C stack need not. */
void mach_schedule(struct mfn *f, uint32_t window)
{
	struct tg_arena *scratch = tg_arena_new(tg_arena_heap(f->arena));
	TG_VEC(struct mseq *) todo = { 0 };
	*TG_PUSH(f->arena, &todo) = &f->top;
	while (todo.n) {
		struct mseq *seq = todo.at[--todo.n];
		for (struct mnode *n = seq->first; n;) {
			struct mnode *end = n;
			uint32_t count = 0;
			while (end && !ends_block(end)) {
				end = end->next;
				count++;
			}
			if (count) {
				schedule_block(f, scratch, n, end, count, window);
				n = end;
				continue;
			}
			if (n->kind == NODE_OP)
				schedule_idle(f, n);
			else
				*TG_PUSH(f->arena, &todo) = &n->body;
			n = n->next;
		}
	}
	tg_arena_free(scratch);
}
