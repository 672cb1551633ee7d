/* bundle.c: scheduled and allocated code → words. Loops get their targets once the length of their body is known. */
#include "mach.h"

#include <string.h>

struct emitter {
	struct tg_diag *d;
	struct mfn *f;
	struct mcode *code;
	uint32_t prov;
};
struct open_loop { const struct mnode *node; vreg control; size_t at; };

static bool put_bundle(struct emitter *e, const struct tg_bundle *b, uint32_t prov)
{
	uint64_t words[1 + TG_MAX_BUNDLE];
	uint32_t n;
	if (!tg_bundle_encode(e->d, TG_NOWHERE, e->f->chip, b, words, &n))
		return false;
	uint32_t first = (uint32_t)e->code->words.n;
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(e->code->arena, &e->code->words) = words[i];
	struct tg_debug_range *last = e->code->ranges.n ? &e->code->ranges.at[e->code->ranges.n - 1] : NULL;
	if (last && last->prov == prov && last->end_word == first)
		last->end_word = first + n;
	else
		*TG_PUSH(e->code->arena, &e->code->ranges) = (struct tg_debug_range){ first, first + n, prov };
	return true;
}

static struct tg_insn physical(const struct mfn *f, const struct mop *op)
{
	const struct tg_insn_info *info = tg_insn_info(op->op);
	struct tg_insn in = { .op = op->op, .pred = f->physical.at[op->pred] };
	for (uint32_t k = 0; k < info->n_fields; k++)
		in.f[k] = info->field[k].kind <= TG_FIELD_P && op->f[k] ? f->physical.at[op->f[k]] : op->f[k];
	return in;
}

static bool put_control(struct emitter *e, uint32_t prov, struct tg_insn in)
{
	struct tg_bundle b = { .n = 1, .insn = { in } };
	return put_bundle(e, &b, prov);
}

static bool put_idle(struct emitter *e, uint32_t prov, uint32_t cycles)
{
	while (cycles) {
		/* `idle i` is one bundle and i more. */
		uint32_t more = cycles - 1 > 65535 ? 65535 : cycles - 1;
		struct tg_insn in = { .op = TG_I_idle };
		tg_insn_set(&in, 'i', more);
		if (!put_control(e, prov, in))
			return false;
		cycles -= more + 1;
	}
	return true;
}

static bool put_sched(struct emitter *e, const struct sched *s, uint32_t prov)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const struct sched_bundle *from = &s->at[i];
		struct tg_bundle b = { .n = from->n };
		uint32_t idle = from->idle;
		bool control = false;
		for (uint32_t k = 0; k < from->n; k++) {
			b.insn[k] = physical(e->f, from->ops[k]);
			control |= tg_insn_info(b.insn[k].op)->slot == TG_SLOT_C;
		}
		if (idle && !control && idle < 65536) { /* the idle rides in the bundle itself */
			b.insn[b.n].op = TG_I_idle;
			tg_insn_set(&b.insn[b.n++], 'i', idle);
			idle = 0;
		}
		if (b.n && !put_bundle(e, &b, prov))
			return false;
		if (!put_idle(e, prov, idle + (b.n == 0)))
			return false;
	}
	return true;
}

bool mach_open_loop(struct tg_diag *d, struct mfn *f, vreg count, uint32_t prov, struct mcode *code, struct mloop_mark *m)
{
	struct emitter e = { .d = d, .f = f, .code = code };
	struct tg_insn in = { .op = TG_I_loop };
	*m = (struct mloop_mark){ code->words.n, f->physical.at[count.id] };
	tg_insn_set(&in, 'a', m->count);
	return put_control(&e, prov, in);
}

bool mach_close_loop(struct tg_diag *d, const struct tg_chip *chip, const struct mloop_mark *m, struct mcode *code)
{
	struct tg_insn in = { .op = TG_I_loop };
	tg_insn_set(&in, 'a', m->count);
	tg_insn_set(&in, 't', (int64_t)code->words.n);
	struct tg_bundle b = { .n = 1, .insn = { in } };
	uint64_t words[1 + TG_MAX_BUNDLE];
	uint32_t n;
	if (!tg_bundle_encode(d, TG_NOWHERE, chip, &b, words, &n))
		return false;
	memcpy(code->words.at + m->word, words, n * sizeof *words);
	return true;
}

static bool open_body(struct emitter *e, const struct mnode *n, struct open_loop *out)
{
	*out = (struct open_loop){ n, n->pipe ? n->pipe->rounds : n->control, e->code->words.n };
	if (n->kind == NODE_REPEAT)
		return true;
	struct tg_insn in = { .op = TG_I_loop };
	tg_insn_set(&in, 'a', e->f->physical.at[out->control.id]);
	return put_control(e, n->prov, in);
}

static bool close_body(struct emitter *e, const struct open_loop *o)
{
	struct tg_insn in = { .op = o->node->kind == NODE_LOOP ? TG_I_loop : TG_I_br };
	if (in.op == TG_I_br) {
		in.pred = e->f->physical.at[o->control.id];
		tg_insn_set(&in, 't', (int64_t)o->at);
		return put_control(e, o->node->prov, in);
	}
	return mach_close_loop(e->d, e->f->chip, &(struct mloop_mark){ o->at, e->f->physical.at[o->control.id] }, e->code);
}

static bool put_pipe(struct emitter *e, const struct mnode *n)
{
	struct open_loop o;
	const struct pipeline *p = n->pipe;
	*TG_PUSH(e->code->arena, &e->code->loops) = (struct tg_loop_note){ (uint32_t)e->code->words.n, p->interval, p->least, p->stages, p->copies, p->trips };
	if (!put_sched(e, &n->pipe->before, n->prov))
		return false;
	if (n->pipe->kernel.n && (!open_body(e, n, &o) || !put_sched(e, &n->pipe->kernel, n->prov) || !close_body(e, &o)))
		return false;
	return put_sched(e, &n->pipe->after, n->prov);
}

bool mach_emit(struct tg_diag *d, struct mfn *f, struct mcode *code, bool halt)
{
	struct emitter e = { .d = d, .f = f, .code = code };
	TG_VEC(struct open_loop) stack = { 0 };
	const struct mnode *n = f->top.first;
	for (;;) {
		while (!n && stack.n) {
			struct open_loop o = stack.at[--stack.n];
			if (!close_body(&e, &o))
				return false;
			n = o.node->next;
		}
		if (!n)
			break;
		if (n->sched) {
			if (!put_sched(&e, n->sched, n->prov))
				return false;
			n = n->sched->end;
			continue;
		}
		if (n->pipe) {
			if (!put_pipe(&e, n))
				return false;
			n = n->next;
			continue;
		}
		struct open_loop o;
		if (!open_body(&e, n, &o))
			return false;
		*TG_PUSH(f->arena, &stack) = o;
		n = n->body.first;
	}
	return !halt || put_control(&e, 0, (struct tg_insn){ .op = TG_I_halt });
}
