/* mach.c: building machine code. */
#include "mach.h"

#include <assert.h>
#include <string.h>

void mfn_init(struct mfn *f, struct tg_arena *a, const struct tg_chip *c)
{
	*f = (struct mfn){ .arena = a, .chip = c };
	*TG_PUSH(a, &f->classes) = 0;
}

vreg mreg(struct mfn *f, enum vclass c)
{
	*TG_PUSH(f->arena, &f->classes) = (uint8_t)c;
	return (vreg){ (uint32_t)f->classes.n - 1 };
}

static struct mnode *append(struct mcursor *at, enum mnode_kind kind)
{
	struct mnode *n = tg_alloc(at->f->arena, sizeof *n);
	n->kind = kind;
	n->prov = at->prov;
	if (at->seq->last)
		at->seq->last->next = n;
	else
		at->seq->first = n;
	at->seq->last = n;
	return n;
}

struct mop *memit(struct mcursor *at, enum tg_opcode op, const int64_t *fields, uint32_t n)
{
	assert(n == tg_insn_info(op)->n_fields);
	struct mnode *node = append(at, NODE_OP);
	node->op.op = (uint16_t)op;
	node->op.pred = at->pred.id;
	node->op.mem = at->mem;
	memcpy(node->op.f, fields, n * sizeof *fields);
	return &node->op;
}

struct mcursor mloop(struct mcursor *at, vreg count)
{
	struct mnode *n = append(at, NODE_LOOP);
	n->control = count;
	struct mcursor in = *at;
	in.seq = &n->body;
	return in;
}

struct mcursor mrepeat(struct mcursor *at, vreg again)
{
	struct mnode *n = append(at, NODE_REPEAT);
	n->control = again;
	struct mcursor in = *at;
	in.seq = &n->body;
	return in;
}

vreg m_const(struct mcursor *at, int64_t v)
{
	if (v == 0)
		return (vreg){ 0 };
	vreg r = mreg(at->f, CLASS_S);
	EMIT(at, smov, R(r), v);
	return r;
}
