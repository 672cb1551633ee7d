/* codegen.c: the back end as a whole: for every stage a plan, machine code, bundles; what the chip cannot run becomes a step of the host part.
 *
 * A stage that turns out not to be expressible (an index that does not split, registers that do not suffice) is marked for the host with its reason
 * and the run starts over, because layouts depend on who runs what. A round marks every such stage; each marks at least one, so it ends. */
#include "ahead.h"
#include "runs.h"

#include <string.h>

enum { DEFAULT_WINDOW = 256, DEFAULT_UNROLL = 8, MAX_SPARE = 2 };
#define SLOWER 1.03 /* than predicted: a loop that could not be overlapped with itself as it should */

static const struct tg_stage *stage_of(const struct tg_op *op)
{
	return op->attrs[TG_AT(tile_stage, body)].stage;
}

/* ---- one stage ------------------------------------------------------------------------------------------------------------- */

static void add_buffer(struct stage_code *c, const char *name, uint64_t sram, uint64_t bytes)
{
	if (bytes)
		c->buffers[c->n_buffers++] = (struct tg_sram_buffer){ name, sram, bytes, 0, 0 };
}

/* SRAM whose contents begin with the stage; what lies side by side is one. */
static void add_birth(struct stage_code *c, uint64_t sram, uint64_t bytes)
{
	struct tg_birth *last = c->n_births ? &c->births[c->n_births - 1] : NULL;
	if (last && last->sram + last->bytes == sram)
		last->bytes += bytes;
	else if (last && sram + bytes == last->sram)
		*last = (struct tg_birth){ .sram = sram, .bytes = bytes + last->bytes };
	else if (bytes)
		c->births[c->n_births++] = (struct tg_birth){ .sram = sram, .bytes = bytes };
}

/* Buffers and births of a stage's images; those that were fetched ahead are born in the stage that fetches them. */
static void list_memory(struct driver *dr, const struct stage_plan *sp, struct stage_code *c)
{
	const struct plan *p = &sp->plan;
	uint32_t most = 2 * (p->n_ops + 2) + sp->n_ahead;
	c->buffers = tg_alloc_n(dr->work, most, sizeof *c->buffers);
	c->births = tg_alloc_n(dr->work, most, sizeof *c->births);
	add_birth(c, LASTING_BYTES, SRAM_RESERVED - LASTING_BYTES);
	for (uint32_t i = 0; i <= p->n_ops; i++) {
		const struct operand *o = &p->operand[i];
		const char *name = tg_asprintf(dr->work, "%s%u", i == p->n_ops ? "out" : "in", i);
		for (uint32_t k = 0; !o->direct && k < o->places; k++) { /* what is worked on where it lives has no buffer here */
			uint64_t at = o->sram + k * (uint64_t)o->place_step;
			add_buffer(c, name, at, o->place_bytes);
			if (!o->handed || k)
				add_birth(c, at, o->place_bytes);
		}
	}
	add_birth(c, p->partial_sram, p->partial_bytes);
	for (uint32_t i = 0; i < sp->n_ahead; i++) {
		const struct operand *o = &sp->ahead[i].plan->operand[sp->ahead[i].operand];
		add_buffer(c, tg_asprintf(dr->work, "ahead%u", i), o->sram, o->place_bytes);
		if (!sp->ahead[i].next_part) /* else what is there may still serve */
			add_birth(c, o->sram, o->place_bytes);
	}
}

/* A plan's machine code; NULL and *why when there is none. */
static bool select_stage(struct driver *dr, struct stage_plan *sp, uint32_t unroll, struct stage_code *c, const char **why)
{
	struct descriptors descs = { .dram = dr->descs.dram + dr->descs.list.n * TG_DMA_DESC_BYTES };
	*c = (struct stage_code){ .f = tg_alloc(dr->work, sizeof *c->f) };
	mfn_init(c->f, dr->work, dr->chip);
	*why = emit_stage(c->f, &sp->plan, &descs, sp->plan.op->prov.id, &(struct emit_options){ .unroll = unroll, .n_ahead = sp->n_ahead, .ahead = sp->ahead,
			  .margin = sp->margin, .margin_home = sp->plan.operand[sp->plan.n_ops].home, .flush = sp->flush.bytes ? &sp->flush : NULL, .n_waits = sp->n_waits, .waits = sp->waits });
	if (*why)
		return false;
	c->descs = descs.list.at;
	c->n_descs = (uint32_t)descs.list.n;
	list_memory(dr, sp, c);
	return true;
}

static bool schedule(struct stage_code *c, uint32_t window, bool pipelines, uint32_t spare)
{
	c->n_regs = (uint32_t)c->f->classes.n;
	c->window = window;
	c->pipelines = pipelines;
	c->spare = spare;
	mach_schedule(c->f, window, pipelines, spare);
	return mach_allocate(c->f);
}

static const char *emit_code(struct driver *dr, uint32_t i_op, const struct stage_code *c)
{
	uint32_t word = (uint32_t)dr->code.words.n;
	for (uint32_t i = 0; i < c->n_descs; i++)
		*TG_PUSH(dr->a, &dr->descs.list) = c->descs[i];
	if (c->predicted)
		*TG_PUSH(dr->a, &dr->x->predictions) = (struct tg_prediction){ word, c->predicted };
	for (uint32_t i = 0; i < c->n_births; i++)
		*TG_PUSH(dr->a, &dr->x->births) = (struct tg_birth){ .word = word, .sram = c->births[i].sram, .bytes = c->births[i].bytes };
	if (dr->options->write_code) {
		dr->selected[i_op] = tg_alloc(dr->a, sizeof *c);
		*dr->selected[i_op] = *c;
	}
	if (!mach_emit(dr->d, c->f, &dr->code, false))
		return "its code does not encode";
	for (uint32_t i = 0; i < c->n_buffers; i++) {
		struct tg_sram_buffer b = c->buffers[i];
		b.name = tg_asprintf(dr->a, "%s", b.name);
		b.first_word = word;
		b.end_word = (uint32_t)dr->code.words.n;
		*TG_PUSH(dr->a, &dr->x->buffers) = b;
	}
	return NULL;
}

/* The stage's code stands in the module: from an earlier run, or by hand. */
static const char *given_stage(struct driver *dr, uint32_t i_op, const struct tg_op *code)
{
	struct stage_code c;
	mach_read(dr->work, dr->chip, dr->m, code, dr->reg, &c);
	const char *why = schedule(&c, c.window ? c.window : DEFAULT_WINDOW, c.pipelines, c.spare) ? emit_code(dr, i_op, &c)
												       : "it needs more registers than the chip has";
	if (why)
		tg_error(dr->d, tg_op_loc(dr->m, code), "mach.code: %s", why);
	return why;
}

/* Code that fits the registers: less unrolling, then no pipelines, then less looking ahead, until they suffice. NULL or the reason. */
static const char *build_stage(struct driver *dr, struct stage_plan *sp, struct stage_code *c)
{
	uint32_t window = dr->options->window ? dr->options->window : DEFAULT_WINDOW, unroll = dr->options->unroll ? dr->options->unroll : DEFAULT_UNROLL;
	uint32_t copies = unroll, spare = 0; /* registers that pipelines leave to the allocator */
	bool pipelines = !dr->options->no_pipelines;
	const char *why = NULL;
	while (select_stage(dr, sp, copies, c, &why)) {
		if (schedule(c, window, pipelines, spare))
			return NULL;
		if (pipelines && c->f->pipelined && spare < MAX_SPARE) {
			spare++;
		} else if (copies > 1) {
			spare = 0;
			copies /= 2;
		} else if (pipelines) {
			pipelines = false;
			copies = unroll;
		} else if (window > 1) {
			window = window > 4 ? window / 4 : 1;
		} else {
			return "its body needs more registers than the chip has";
		}
	}
	return why;
}

/* A loop over chunks that registers or slots stretch is made again with less in it; the form of the fewest bundles stays. */
static void ease(struct driver *dr, struct stage_plan *sp, struct stage_code *c)
{
	struct stage_code other;
	uint32_t best = 0;
	for (uint32_t eased = 1; eased <= MOST_EASED && c->f->stretched; eased++) {
		sp->plan.eased = eased;
		if (build_stage(dr, sp, &other) || mach_cycles(other.f) >= mach_cycles(c->f))
			continue;
		*c = other;
		best = eased;
	}
	sp->plan.eased = best;
}

/* The stage's code in another form too, where that is worth a try: whichever takes fewer bundles. */
static void try_form(struct driver *dr, struct stage_plan *sp, struct stage_code *best, bool *form, bool worth)
{
	struct stage_code other;
	*form = worth;
	if (worth && !build_stage(dr, sp, &other) && mach_cycles(other.f) < mach_cycles(best->f))
		*best = other;
	else
		*form = false;
}

static const char *chip_stage(struct driver *dr, uint32_t i_op, uint32_t s)
{
	const struct tg_op *op = dr->ops[i_op];
	if (dr->given[op->out[0].id])
		return given_stage(dr, i_op, dr->given[op->out[0].id]);
	struct stage_plan *sp = ahead_plan(dr, s);
	struct stage_code c;
	const char *why = sp->why ? sp->why : build_stage(dr, sp, &c);
	if (!why && sp->plan.chunks)
		ease(dr, sp, &c);
	if (!why && sp->plan.chunks && sp->plan.chunking == TG_CHUNKS_AUTO && mach_cycles(c.f) > SLOWER * sp->plan.cost)
		why = "its loop over chunks needs more registers than the chip has";
	dr->plain[dr->ahead->stage[s].op] |= why && (sp->plan.pixels || sp->plan.chunks); /* it may fit in its plain form, in another round: the stage before has counted on this one */
	if (why)
		return why;
	try_form(dr, sp, &c, &sp->plan.join_epilogue, sp->plan.long_epilogue);
	try_form(dr, sp, &c, &sp->plan.push_first, sp->plan.pixels && c.f->scalars_short);
	c.predicted = (uint64_t)(sp->plan.cost * (run_of(dr, i_op) ? (double)run_parts(run_of(dr, i_op)) : 1));
	return emit_code(dr, i_op, &c);
}

/* ---- the host part ----------------------------------------------------------------------------------------------------------- */

static struct tg_binding binding(const struct driver *dr, tg_val v, const char *name)
{
	const struct tg_value *val = tg_value_get(dr->m, v);
	return (struct tg_binding){ name, val->dtype, val->shape, dr->dram[v.id] };
}

static void host_step(struct driver *dr, const struct tg_op *op, const char *reason)
{
	struct tg_module sub = *dr->m;
	struct tg_module *m = tg_module_new(dr->a, dr->m->source);
	m->nodes.at = sub.nodes.at;
	m->nodes.n = m->nodes.cap = sub.nodes.n;
	m->provs.at = sub.provs.at;
	m->provs.n = m->provs.cap = sub.provs.n;
	struct tg_step s = { .on_host = true, .reason = tg_asprintf(dr->a, "%s: %s", tg_prov_text(dr->a, dr->m, op->prov), reason), .n_args = op->n_in + 1, .n_in = op->n_in };
	s.args = tg_alloc_n(dr->a, s.n_args, sizeof *s.args);
	tg_val *in = tg_alloc_n(dr->a, op->n_in + 1, sizeof *in);
	for (uint32_t i = 0; i <= op->n_in; i++) {
		tg_val from = i == op->n_in ? op->out[0] : op->in[i];
		const struct tg_value *v = tg_value_get(dr->m, from);
		const char *name = i == op->n_in ? "out" : tg_asprintf(dr->a, "in%u", i);
		in[i] = tg_value_new(m, TG_TENSOR, v->dtype, &v->shape, name);
		s.args[i] = binding(dr, from, name);
		if (i < op->n_in)
			*TG_PUSH(dr->a, &m->inputs) = (struct tg_port){ name, in[i] };
		else
			*TG_PUSH(dr->a, &m->outputs) = (struct tg_port){ name, in[i] };
	}
	struct tg_op *copy = tg_op_new(m, &m->body, NULL, op->code, in, op->n_in, 1, op->prov);
	copy->out[0] = in[op->n_in];
	tg_value_of(m, in[op->n_in])->def = copy;
	memcpy(copy->attrs, op->attrs, tg_op_info(op->code)->n_attrs * sizeof *op->attrs);
	struct tg_buf text;
	tg_buf_init(&text, dr->a);
	tg_module_print(&text, m);
	s.text = text.at;
	*TG_PUSH(dr->a, &dr->x->steps) = s;
}

/* ---- the program ---------------------------------------------------------------------------------------------------------------- */

static void halt(struct driver *dr)
{
	uint64_t words[4];
	uint32_t n = 0;
	struct tg_bundle b = { .n = 1, .insn = { { .op = TG_I_halt } } };
	tg_bundle_encode(dr->d, TG_NOWHERE, dr->chip, &b, words, &n);
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(dr->a, &dr->code.words) = words[i];
}

static void mark_dram(struct driver *dr)
{
	/* Constants of one value that only lanes read need no place. */
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const struct tg_op *op = dr->ops[i];
		for (uint32_t k = 0; k < op->n_in; k++) {
			const struct tg_const *c = tg_const_of(dr->m, op->in[k]);
			if (!c)
				continue;
			bool lanes = op->code == TG_TILE_stage && !dr->host[i] && c->kind == TG_CONST_SPLAT && k < stage_of(op)->n_ins && !stage_of(op)->ins[k].guarded;
			dr->in_dram[op->in[k].id] |= !lanes;
		}
	}
	for (size_t i = 0; i < dr->m->outputs.n; i++)
		if (tg_const_of(dr->m, dr->m->outputs.at[i].value))
			dr->in_dram[dr->m->outputs.at[i].value.id] = true;
	for (uint32_t v = 1; v < dr->m->values.n; v++)
		dr->in_dram[dr->storage[v]] |= dr->in_dram[v];
}

/* All stages in order; false when one had to be marked for the host. */
static bool generate(struct driver *dr)
{
	bool open = false, complete = true;
	uint32_t s = 0;
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		struct tg_op *op = dr->ops[i];
		if (op->code != TG_TILE_stage)
			continue;
		if (dr->host[i]) {
			if (open)
				halt(dr);
			open = false;
			host_step(dr, op, dr->reason[i]);
			continue;
		}
		if (!open)
			*TG_PUSH(dr->a, &dr->x->steps) = (struct tg_step){ .entry_word = (uint32_t)dr->code.words.n };
		open = true;
		bool plain = dr->plain[i];
		if (run_begins(dr, i) && !run_open(dr, run_of(dr, i)))
			return true;
		const char *why = chip_stage(dr, i, s++);
		if (run_ends(dr, i) && !run_close(dr, run_of(dr, i)))
			return true;
		if (dr->work != dr->a)
			tg_arena_reset(dr->work);
		if (why && dr->d->n_errors)
			return true; /* the text is wrong: nothing to place elsewhere */
		if (why && dr->plain[i] != plain) {
			complete = false;
			continue;
		}
		if (why) {
			dr->host[i] = true;
			dr->reason[i] = why;
			complete = false;
			if (dr->options->write_code)
				op->attrs[TG_AT(tile_stage, plan)].s = tg_asprintf(dr->m->arena, "host: %s", why);
		}
	}
	if (open)
		halt(dr);
	return complete;
}

static void descriptor_segment(struct driver *dr)
{
	if (dr->descs.list.n)
		*TG_PUSH(dr->a, &dr->x->segments) =
			(struct tg_segment){ .dram = dr->descs.dram, .bytes = dr->descs.list.n * TG_DMA_DESC_BYTES, .data = dr->descs.list.at };
	dr->x->dram_bytes = dr->descs.dram + dr->descs.list.n * TG_DMA_DESC_BYTES;
}

static void bindings(struct driver *dr)
{
	for (size_t i = 0; i < dr->m->inputs.n; i++)
		*TG_PUSH(dr->a, &dr->x->inputs) = binding(dr, dr->m->inputs.at[i].value, dr->m->inputs.at[i].name);
	for (size_t i = 0; i < dr->m->outputs.n; i++)
		*TG_PUSH(dr->a, &dr->x->outputs) = binding(dr, dr->m->outputs.at[i].value, dr->m->outputs.at[i].name);
}

/* Only sets that code comes from, numbered by first use: the numbers do not tell which passes made which sets on the way. */
static void provenance(struct driver *dr)
{
	uint32_t *number = tg_alloc_n(dr->a, dr->m->provs.n + 1, sizeof *number);
	*TG_PUSH(dr->a, &dr->x->provs) = "";
	for (size_t i = 0; i < dr->code.ranges.n; i++) {
		uint32_t set = dr->code.ranges.at[i].prov;
		if (set && !number[set]) {
			*TG_PUSH(dr->a, &dr->x->provs) = tg_prov_text(dr->a, dr->m, (tg_prov){ set });
			number[set] = (uint32_t)dr->x->provs.n - 1;
		}
		dr->code.ranges.at[i].prov = number[set];
	}
}

/* The module's ops in order, a group's as they are for one part. */
static void collect_ops(struct driver *dr)
{
	for (const struct tg_op *op = dr->m->body.first; op; op = op->next)
		for (const struct tg_op *in = op->code == TG_TILE_group ? op->regions[0]->first : op; in; in = op->code == TG_TILE_group ? in->next : NULL)
			dr->n_ops++;
	dr->ops = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *dr->ops);
	dr->part = tg_alloc_n(dr->a, dr->n_ops + 1, sizeof *dr->part);
	dr->n_ops = 0;
	for (struct tg_op *op = dr->m->body.first; op; op = op->next)
		if (op->code == TG_TILE_group)
			runs_collect(dr, op);
		else if (op->code != TG_MACH_code)
			dr->ops[dr->n_ops++] = op;
}

/* The op of the module that op i is, or stands for. */
static struct tg_op *op_in_module(const struct driver *dr, uint32_t i)
{
	return dr->part[i] ? dr->part[i]->whole : dr->ops[i];
}

static void take_code(struct driver *dr, struct tg_block *block, const uint32_t *maker)
{
	for (struct tg_op *op = block->first, *next; op; op = next) {
		next = op->next;
		if (op->code == TG_MACH_code && dr->options->write_code)
			tg_op_remove(op);
		else if (op->code == TG_MACH_code)
			dr->given[dr->ops[maker[op->in[0].id]]->out[0].id] = op;
	}
}

/* The code of stages, beside them. What is to be written anew goes. */
static void collect_code(struct driver *dr)
{
	uint32_t *maker = tg_alloc_n(dr->a, dr->m->values.n, sizeof *maker); /* by value of the module: op */
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->ops[i]->n_out)
			maker[op_in_module(dr, i)->out[0].id] = i;
	take_code(dr, &dr->m->body, maker);
	for (const struct tg_op *op = dr->m->body.first; op; op = op->next)
		if (op->code == TG_TILE_group)
			take_code(dr, op->regions[0], maker);
}

static void write_code(struct driver *dr)
{
	if (!dr->m->insns)
		dr->m->insns = tg_mach_table(dr->m->arena);
	for (uint32_t i = 0; i < dr->n_ops; i++)
		if (dr->selected[i])
			mach_write(dr->m, dr->a, op_in_module(dr, i), dr->selected[i]);
}

static bool one_round(struct driver *dr, bool *complete)
{
	tg_exe_init(dr->x, dr->a, dr->chip);
	dr->code = (struct mcode){ .arena = dr->a };
	memset(dr->selected, 0, dr->n_ops * sizeof *dr->selected);
	dr->descs = (struct descriptors){ 0 };
	memset(dr->in_dram, 0, dr->m->values.n * sizeof *dr->in_dram);
	mark_dram(dr);
	driver_layout(dr);
	driver_reside(dr);
	if (!driver_place(dr))
		return false;
	dr->descs.dram = dr->dram_top;
	ahead_begin(dr);
	*complete = generate(dr);
	return true;
}

/* What is refused whatever the layout need not wait for its turn in a round. */
static void mark_at_once(struct driver *dr)
{
	struct plan *p = tg_alloc(dr->a, sizeof *p);
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		struct tg_op *op = dr->ops[i];
		if (op->code != TG_TILE_stage || dr->host[i] || dr->given[op->out[0].id])
			continue;
		const char *why = plan_describe(p, dr->m, op, dr->chip, NULL);
		if (!why)
			continue;
		dr->host[i] = true;
		dr->reason[i] = why;
		if (dr->options->write_code)
			op->attrs[TG_AT(tile_stage, plan)].s = tg_asprintf(dr->m->arena, "host: %s", why);
	}
}

/* What an earlier run decided. */
static void read_plans(struct driver *dr)
{
	for (uint32_t i = 0; i < dr->n_ops; i++) {
		const char *plan = dr->ops[i]->code == TG_TILE_stage ? dr->ops[i]->attrs[TG_AT(tile_stage, plan)].s : NULL;
		if (plan && strncmp(plan, "host: ", 6) == 0) {
			dr->host[i] = true;
			dr->reason[i] = plan + 6;
		}
	}
}

static void ungroup_others(struct tg_module *m)
{
	for (struct tg_op *op = m->body.first, *next; op; op = next) {
		next = op->next;
		if (op->code == TG_TILE_group && !runs_suit(m, op))
			tg_group_inline(m, op);
	}
}

/* *failed: a group that the chip does not run as one; then nothing is made. */
static bool attempt(struct tg_diag *d, struct tg_arena *a, struct tg_module *m, const struct tg_chip *chip, const struct tg_codegen_options *o, struct tg_exe *out, struct tg_op **failed)
{
	struct driver dr = { .d = d, .a = a, .m = m, .chip = chip, .options = o, .x = out };
	collect_ops(&dr);
	size_t n = m->values.n; /* those of parts are new */
	dr.given = tg_alloc_n(a, n, sizeof *dr.given);
	dr.reg = tg_alloc_n(a, n, sizeof *dr.reg);
	dr.partial = tg_alloc_n(a, n, sizeof *dr.partial);
	for (uint32_t i = 0; i < dr.n_ops; i++)
		if (dr.part[i] && !run_ends(&dr, i))
			dr.partial[dr.ops[i]->out[0].id] = true;
	collect_code(&dr);
	dr.selected = tg_alloc_n(a, dr.n_ops + 1, sizeof *dr.selected);
	dr.host = tg_alloc_n(a, dr.n_ops + 1, sizeof *dr.host);
	dr.plain = tg_alloc_n(a, dr.n_ops + 1, sizeof *dr.plain);
	dr.reason = tg_alloc_n(a, dr.n_ops + 1, sizeof *dr.reason);
	dr.storage = tg_alloc_n(a, n, sizeof *dr.storage);
	dr.shared = tg_alloc_n(a, n, sizeof *dr.shared);
	dr.pinned = tg_alloc_n(a, n, sizeof *dr.pinned);
	dr.laid = tg_alloc_n(a, n, sizeof *dr.laid);
	dr.dram = tg_alloc_n(a, n, sizeof *dr.dram);
	dr.margin = tg_alloc_n(a, n, sizeof *dr.margin);
	dr.in_dram = tg_alloc_n(a, n, sizeof *dr.in_dram);
	read_plans(&dr);
	driver_storage(&dr);
	mark_at_once(&dr);
	dr.work = o->write_code ? a : tg_arena_new(tg_arena_heap(a));
	bool complete = false, ok = true;
	*failed = runs_failed(&dr);
	while (ok && !complete && !*failed) {
		ok = one_round(&dr, &complete);
		*failed = runs_failed(&dr);
	}
	if (dr.work != a)
		tg_arena_free(dr.work);
	if (!ok || *failed || !driver_segments(&dr))
		return false;
	if (o->write_code && !d->n_errors)
		write_code(&dr);
	descriptor_segment(&dr);
	bindings(&dr);
	provenance(&dr);
	out->code = dr.code.words.at;
	out->n_words = (uint32_t)dr.code.words.n;
	out->ranges.at = dr.code.ranges.at;
	out->ranges.n = out->ranges.cap = dr.code.ranges.n;
	out->loops.at = dr.code.loops.at;
	out->loops.n = out->loops.cap = dr.code.loops.n;
	out->macs = m->macs;
	return d->n_errors == 0;
}

bool tg_codegen(struct tg_diag *d, struct tg_arena *a, struct tg_module *m, const struct tg_chip *chip, const struct tg_codegen_options *o, struct tg_exe *out)
{
	struct tg_op *failed = NULL;
	ungroup_others(m);
	for (;;) {
		bool ok = attempt(d, a, m, chip, o, out, &failed);
		if (!failed || d->n_errors)
			return ok;
		tg_group_inline(m, failed); /* its stages have loops of their own then, and may be for the host one by one */
	}
}
