/* sink.c: stages whose results are larger than what they use up run as late as they may, so that the result is alive for a shorter time.
 *
 *   %k = cache of keys                  %k = cache of keys
 *   %v = cache of values                %p = softmax of products with %k
 *   %p = softmax of products with %k    %v = cache of values           at no time do both need SRAM
 *   %y = products of %p with %v         %y = products of %p with %v
 *
 * Only where what is alive at one time exceeds what may live in SRAM: elsewhere the order of the model is as good as another. In and out: any tile module, in SSA form; the order of ops is all that changes. A stage does not move beyond one that writes into a tensor it reads: a copy
 * would have to be made (own.c). Ops are visited from the last one on, so that those behind already stand where they will. */
#include "isa.h"
#include "passes.h"

bool pass_sink(struct tg_pass *cx, struct tg_module *m);

struct place { struct tg_op *op, *head; uint64_t key, moved; }; /* keys ascend with the order of ops; head: the first of those that were moved in front of it */
struct sinker {
	struct tg_module *m;
	uint32_t *class_of;      /* by value: values of one storage, views and what is written in place, share one */
	bool *computed;          /* by class: a stage writes it */
	uint64_t *load;          /* by op, as they were: bytes of computed tensors alive, but for those that are too large */
	uint64_t capacity;
	struct place *place;     /* by an op's first result */
	struct place **reader, **writer; /* by class: the nearest of the ops behind the one at hand that read it, or write into it */
	struct place **last;     /* by class: the last one that reads it */
};
enum { LITTLE = 16, SHARE = 9, SHARE_OF = 16 }; /* of SRAM, for what stages leave each other (codegen/residency.c) */
#define APART (UINT64_C(1) << 32) /* between the keys of ops that have not moved */

static uint64_t bytes_of(const struct tg_module *m, uint32_t v)
{
	size_t bytes = 0;
	return tg_shape_bytes(&m->values.at[v].shape, (enum tg_dtype)m->values.at[v].dtype, &bytes) ? bytes : 0;
}

static bool in_place(const struct tg_op *op)
{
	return op->code == TG_TILE_view || op->code == TG_TILE_words || (op->code == TG_TILE_stage && op->attrs[TG_AT(tile_stage, into)].i);
}

static bool computes(const struct tg_op *op)
{
	return op->code == TG_TILE_stage || op->code == TG_TILE_group;
}

/* By differences: what begins and ends at each op. */
static void measure(struct sinker *x, struct tg_arena *a, uint32_t n_ops)
{
	size_t n = x->m->values.n;
	uint32_t *first = tg_alloc_n(a, n, sizeof *first), *last = tg_alloc_n(a, n, sizeof *last), at = 1;
	for (const struct tg_op *op = x->m->body.first; op; op = op->next, at++) {
		for (uint32_t i = 0; i < op->n_in; i++)
			last[x->class_of[op->in[i].id]] = at;
		uint32_t c = x->class_of[op->out[0].id];
		if (computes(op) && !first[c])
			first[c] = at;
	}
	x->load = tg_alloc_n(a, (size_t)n_ops + 2, sizeof *x->load);
	for (uint32_t c = 1; c < n; c++) {
		uint64_t bytes = first[c] ? bytes_of(x->m, c) : 0;
		if (!bytes || bytes > x->capacity || last[c] < first[c])
			continue;
		x->load[first[c]] += bytes;
		x->load[last[c] + 1] -= bytes;
	}
	for (uint32_t i = 1; i <= n_ops; i++)
		x->load[i] += x->load[i - 1];
}

/* Is there too much alive somewhere between the op's place and the other? Keys tell where ops stood. */
static bool crowded(const struct sinker *x, const struct place *from, const struct place *to)
{
	for (uint64_t at = from->key / APART; at <= to->key / APART; at++)
		if (x->load[at] > x->capacity)
			return true;
	return false;
}

static uint32_t classify(struct sinker *x)
{
	uint32_t n_ops = 0;
	uint64_t at = APART;
	for (uint32_t v = 1; v < x->m->values.n; v++)
		x->class_of[v] = v;
	for (struct tg_op *op = x->m->body.first; op; op = op->next, at += APART, n_ops++) {
		if (in_place(op) && op->n_in)
			x->class_of[op->out[0].id] = x->class_of[op->in[op->n_in - 1].id];
		for (uint32_t i = 0; i < op->n_out; i++)
			x->computed[x->class_of[op->out[i].id]] |= computes(op);
		x->place[op->out[0].id] = (struct place){ op, op, at, 0 };
	}
	return n_ops;
}

static uint32_t class_of(const struct sinker *x, tg_val v)
{
	return x->class_of[v.id];
}

/* Bytes that would be free once the stage has run in front of `to`: of what nobody reads from there on. They stay alive until then. */
static uint64_t used_up(const struct sinker *x, const struct tg_op *op, const struct place *to)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < op->n_in; i++) {
		uint32_t c = class_of(x, op->in[i]);
		bool again = (x->last[c] && x->last[c]->key >= to->key) || !x->computed[c] || c == class_of(x, op->out[0]);
		for (uint32_t k = 0; k < i; k++)
			again |= class_of(x, op->in[k]) == c;
		bytes += again ? 0 : bytes_of(x->m, c);
	}
	return bytes;
}

static void nearer(struct place **best, struct place *p)
{
	if (p && (!*best || p->key < (*best)->key))
		*best = p;
}

/* The op in front of which the stage has to stand: the first that reads its result, or that overwrites what it reads. NULL: none reads it. */
static struct place *latest(const struct sinker *x, const struct tg_op *op)
{
	struct place *at = x->reader[class_of(x, op->out[0])];
	for (uint32_t i = 0; i < op->n_in && at; i++)
		nearer(&at, x->writer[class_of(x, op->in[i])]);
	return at;
}

static void move(struct tg_op *op, struct place *p, struct place *to)
{
	struct tg_block *block = op->block;
	struct tg_op *before = to->head;
	if (op->next == before)
		return;
	tg_op_remove(op);
	op->block = block;
	op->prev = before->prev;
	op->next = before;
	*(before->prev ? &before->prev->next : &block->first) = op;
	before->prev = op;
	p->key = to->key - ++to->moved;
	to->head = op;
}

bool pass_sink(struct tg_pass *cx, struct tg_module *m)
{
	size_t n = m->values.n;
	const struct tg_chip *chip = cx->chip;
	if (!chip)
		return true;
	struct sinker x = { .m = m, .capacity = chip->sram_bytes / SHARE_OF * SHARE };
	x.class_of = tg_alloc_n(cx->scratch, n, sizeof *x.class_of);
	x.computed = tg_alloc_n(cx->scratch, n, sizeof *x.computed);
	x.place = tg_alloc_n(cx->scratch, n, sizeof *x.place);
	x.reader = tg_alloc_n(cx->scratch, n, sizeof(struct place *));
	x.last = tg_alloc_n(cx->scratch, n, sizeof(struct place *));
	x.writer = tg_alloc_n(cx->scratch, n, sizeof(struct place *));
	measure(&x, cx->scratch, classify(&x));
	for (struct tg_op *op = m->body.last, *prev; op; op = prev) {
		prev = op->prev;
		struct place *p = &x.place[op->out[0].id], *to = op->code == TG_TILE_stage ? latest(&x, op) : NULL;
		uint64_t bytes = bytes_of(m, class_of(&x, op->out[0])) / (in_place(op) ? LITTLE : 1); /* what others have begun to write is alive already */
		if (to && bytes <= x.capacity && bytes > used_up(&x, op, to) && crowded(&x, p, to))
			move(op, p, to);
		for (uint32_t i = 0; i < op->n_in; i++) {
			uint32_t c = class_of(&x, op->in[i]);
			nearer(&x.reader[c], p);
			x.last[c] = x.last[c] && x.last[c]->key > p->key ? x.last[c] : p;
		}
		for (uint32_t i = 0; i < op->n_out && in_place(op); i++)
			nearer(&x.writer[class_of(&x, op->out[i])], p);
	}
	return true;
}
