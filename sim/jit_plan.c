/* jit_plan.c: which bundles go together in a segment, and what each of their instructions is in it.
 *
 * Comes in: a block, a bundle. Goes out: struct segment, with what is done in the loop over the lanes and what is called. A bundle joins
 * when everything that could go wrong in it can be asked before the segment changes anything. */
#ifdef TG_HAS_LLVM
#include "jit_gen.h"

#include "matrix_rules.h"

/* ---- what an instruction is to the translator ---- */

/* Bytes around the base that the access touches. */
static void bound_place(struct place *p)
{
	uint32_t in_block = p->n < p->rows ? p->n : p->rows, blocks = (p->rows - 1) / p->n;
	if (p->extent) /* whatever n is */
		blocks = p->rows - 1;
	int64_t a = p->s * (in_block - 1), b = p->t * blocks;
	p->lo = (a < 0 ? a : 0) + (b < 0 ? b : 0);
	p->hi = (a > 0 ? a : 0) + (b > 0 ? b : 0) + (int64_t)p->row_bytes;
}

/* A field of an extent that only the run knows: 0, or more than `most`, stands for `all`. */
static val extent_field(struct gen *g, val extent, unsigned shift, uint32_t all, uint32_t most)
{
	val v = g->L->BuildAnd(g->b, g->L->BuildLShr(g->b, extent, gen_int(g, shift), ""), gen_int(g, 0xffff), "");
	val no = g->L->BuildOr(g->b, g->L->BuildICmp(g->b, LLVMIntEQ, v, gen_int(g, 0), ""), g->L->BuildICmp(g->b, LLVMIntUGT, v, gen_int(g, most), ""), "");
	return g->L->BuildSelect(g->b, no, gen_int(g, all), v, "");
}

static bool vector_place(struct gen *g, const struct uop *u, struct place *p)
{
	const struct tg_insn *in = &u->in;
	bool store = u->slot == TG_SLOT_W;
	unsigned bytes = store ? lanes_store_bytes(in->op) : lanes_load_bytes(in->op);
	int64_t extent = 0, k = store ? in->f[7] : in->f[8];
	bool known = gen_constant(g, gen_s(g, in->f[5]), &extent);
	if (!bytes || (!known && (store || !k || in->f[6] || in->f[7])) || ((store || in->f[6]) && !k))
		return false;
	struct tg_extent x = extent_of(&g->s->core, known ? extent : 0);
	struct symbol sym = gen_symbol(g, in->f[1]);
	*p = (struct place){.root = sym.root, .off = (int64_t)((uint64_t)sym.off + (uint64_t)in->f[2]), .rows = x.rows, .lanes = x.lanes, .n = x.n, .bytes = bytes, .spread = !k, .mask = (unsigned)in->f[6]};
	p->row_bytes = p->spread ? bytes : x.lanes * bytes;
	if (!known) {
		const struct tg_core *c = &g->s->core;
		p->extent = gen_s(g, in->f[5]);
		p->run_rows = extent_field(g, p->extent, 0, c->rows, c->rows);
		p->run_lanes = extent_field(g, p->extent, 16, c->lanes, c->lanes);
		p->run_n = extent_field(g, p->extent, 32, c->rows, 0xffff);
	}
	p->base = g->L->BuildAdd(g->b, gen_s(g, in->f[1]), gen_int(g, in->f[2]), "");
	p->step = gen_s(g, in->f[3]);
	p->block_step = gen_s(g, in->f[4]);
	uint32_t in_block = p->n < p->rows ? p->n : p->rows, blocks = (p->rows - 1) / p->n;
	const int64_t far = INT64_C(1) << 40;
	p->fixed = (in_block == 1 || gen_constant(g, p->step, &p->s)) && ((blocks == 0 && known) || gen_constant(g, p->block_step, &p->t));
	p->fixed = p->fixed && p->s < far && p->s > -far && p->t < far && p->t > -far && p->off < far && p->off > -far;
	if (p->fixed)
		bound_place(p);
	return true;
}

/* The number that an instruction's register and immediate give (array_place of matrix_rules.h). */
static val array_number(struct gen *g, const struct tg_insn *in)
{
	return g->L->BuildAdd(g->b, gen_s(g, in->f[2]), gen_int(g, in->f[3]), "");
}

/* Accumulator rows are read like memory: base counts from the array's first row. */
static void rows_place(struct gen *g, const struct uop *u, struct place *p)
{
	const struct tg_core *c = &g->s->core;
	uint32_t row_bytes = c->stride * 4;
	*p = (struct place){.rows = (uint32_t)u->in.f[4], .n = c->rows, .lanes = c->chip->array_cols, .bytes = 4, .row_bytes = row_bytes, .block_step = gen_int(g, 0)};
	p->step = gen_int(g, row_bytes);
	p->base = g->L->BuildMul(g->b, array_number(g, &u->in), p->step, "");
}

val gen_shape(struct gen *g, const struct place *p, uint32_t unit)
{
	if (!p->extent)
		return gen_int(g, (int64_t)jit_shape(p->rows, p->n, p->spread ? unit : p->lanes * unit));
	val n = g->L->BuildShl(g->b, p->run_n, gen_int(g, 16), "");
	val lanes = g->L->BuildMul(g->b, p->run_lanes, gen_int(g, (int64_t)((uint64_t)unit << 32)), "");
	return g->L->BuildOr(g->b, p->run_rows, g->L->BuildOr(g->b, n, lanes, ""), "");
}

/* An extent that only the run knows selects lanes like a mask, which hosts have for wide elements. */
static enum role without_view(const struct place *p)
{
	return p->extent && (p->bytes < 4 || !p->fixed) ? R_PURE : R_LOAD;
}

static enum role role_of(struct gen *g, const struct uop *u, struct place *p)
{
	switch (u->slot) {
	case TG_SLOT_S:
		if (u->in.op == TG_I_sld32 || u->in.op == TG_I_sld64)
			return R_PURE_SCALAR;
		if (u->in.op == TG_I_sst32 || u->in.op == TG_I_sst64)
			return R_LATE_STORE;
		return u->result == 'p' ? R_FLAG : R_SCALAR;
	case TG_SLOT_V:
	case TG_SLOT_E:
		return lanes_has(u->in.op) ? R_LANE : R_PURE;
	case TG_SLOT_X:
		if (u->in.op == TG_I_xtw)
			return R_ACT;
		if (u->in.op == TG_I_xget)
			return R_PURE_SCALAR;
		return lanes_has(u->in.op) ? R_LANE : R_PURE;
	case TG_SLOT_L:
		return !vector_place(g, u, p) ? R_PURE : gen_view_works(g, u, p) ? R_VIEW : without_view(p);
	case TG_SLOT_W:
		if (vector_place(g, u, p))
			return R_STORE;
		return u->in.f[6] == 0 && jit_store_bytes(u->in.op) ? R_LATE_STORE : R_NO;
	case TG_SLOT_P:
	case TG_SLOT_M:
		return R_MATRIX;
	case TG_SLOT_R:
		rows_place(g, u, p);
		return R_ROWS;
	case TG_SLOT_C:
		if (u->in.op == TG_I_pfirst || u->in.op == TG_I_plast)
			return g->block->ctx >= 0 && u->in.f[1] < g->s->jit.blocks->ctx[g->block->ctx].depth ? R_FLAG : R_NO;
		return R_CONTROL;
	default:
		return R_NO;
	}
}

static bool reads_dirty(const struct segment *e, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		unsigned r = u->reads[i];
		if ((r >= REG_V && r < REG_M && (e->dirty_v >> (r - REG_V) & 1)) || (r >= REG_M && r < REG_P && (e->dirty_m >> (r - REG_M) & 1)))
			return true;
	}
	return false;
}

static bool add_split(uint32_t *at, unsigned *n, uint32_t v, uint32_t all, unsigned most)
{
	unsigned i = 0;
	while (i < *n && at[i] < v)
		i++;
	if (v >= all || (i < *n && at[i] == v))
		return true;
	if (*n == most)
		return false;
	memmove(at + i + 1, at + i, (*n - i) * sizeof *at);
	at[i] = v;
	++*n;
	return true;
}

static bool split_for(struct gen *g, struct bundle_plan *b, const struct place *p)
{
	uint32_t low = p->lanes / g->strip * g->strip, high = (p->lanes + g->strip - 1) / g->strip * g->strip;
	return add_split(b->rows, &b->n_rows, p->rows, g->s->core.rows, MAX_RANGES) && add_split(b->lanes, &b->n_lanes, low, g->s->core.lanes, MAX_RANGES) &&
	       add_split(b->lanes, &b->n_lanes, high, g->s->core.lanes, MAX_RANGES);
}

static bool fits_accesses(struct gen *g, const struct bundle_plan *b, unsigned n, unsigned at)
{
	bool store = b->of[at].role == R_STORE, view = b->of[at].role == R_VIEW;
	for (unsigned i = 0; i < g->seg.n_op; i++) {
		const struct lane_op *o = &g->seg.op[i];
		if (o->kind == LANE_STORE || (store && (o->kind == LANE_LOAD || o->kind == LANE_VIEW))) {
			if (!places_together(&o->at, &b->of[at].at, view || o->kind == LANE_VIEW))
				return false;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		enum role role = b->of[i].role;
		bool other = role == R_STORE || (store && (role == R_LOAD || role == R_VIEW));
		if (i != at && other && !places_together(&b->of[i].at, &b->of[at].at, view || role == R_VIEW))
			return false;
	}
	return true;
}

static void plan_bundle(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	unsigned late = 0, stores = 0;
	memcpy(b->rows, g->seg.rows, sizeof b->rows);
	memcpy(b->lanes, g->seg.lanes, sizeof b->lanes);
	b->n_rows = g->seg.n_rows;
	b->n_lanes = g->seg.n_lanes;
	b->impossible = false;
	for (unsigned i = 0; i < d->n_insns; i++) {
		const struct uop *u = sim_insn(g->s, d->first_insn + i);
		g->at_bundle = (uint32_t)(d - g->s->bundles);
		b->of[i].role = role_of(g, u, &b->of[i].at);
		b->impossible |= b->of[i].role == R_NO;
		late += b->of[i].role == R_LATE_STORE;
		stores += b->of[i].role == R_STORE || b->of[i].role == R_LATE_STORE;
	}
	b->impossible |= late && stores > 1;
	for (unsigned i = 0; i < d->n_insns; i++) {
		if (b->of[i].role == R_VIEW && late)
			b->of[i].role = without_view(&b->of[i].at);
	}
}

/* ---- matrix instructions: they run after the loop, in order ---- */

/* Whether the instruction is legal after those that wait before it, as far as the run's own checks, made before any of them, cannot tell. */
static bool matrix_follows(struct gen *g, const struct uop *u, struct array_plan *a)
{
	const struct tg_insn *in = &u->in;
	const struct tg_chip *chip = g->s->core.chip;
	if (in->op == TG_I_swap) {
		if (a->pushed && g->seg.length < a->last_push + chip->latency.push_swap)
			return false;
		*a = (struct array_plan){.swapped = true, .swap_sure = a->swap_sure || !in->pred, .swapped_pushes = a->pushed, .swapped_type = a->type,
					 .multiplied = a->multiplied, .first_multiply = a->first_multiply};
		return true;
	}
	unsigned type = array_type_of(in);
	if (u->slot == TG_SLOT_P) {
		if (a->pushed && !array_same_class(type, a->type))
			return false;
		a->pushed = true;
		a->type = type;
		a->last_push = g->seg.length;
		return true;
	}
	if (a->swapped_pushes && !array_same_class(type, a->swapped_type))
		return false;
	a->first_multiply = a->multiplied ? a->first_multiply : g->seg.length;
	a->multiplied = true;
	return true;
}

/* A read of accumulator rows cannot see products that wait unless it comes when they have landed; before, it traps or reads other rows. */
static bool read_precedes(struct gen *g, const struct uop *u)
{
	const struct array_plan *a = &g->seg.array[u->in.f[1]];
	return !a->multiplied || g->seg.length < a->first_multiply + g->s->core.chip->latency.multiply_read;
}

/* Whether the bundle leaves alone what the waiting ones read. */
static bool spares_late(const struct gen *g, const struct decoded *d)
{
	for (unsigned i = 0; i < d->n_insns; i++) {
		const struct uop *u = sim_insn(g->s, d->first_insn + i);
		for (unsigned k = 0; k < u->n_writes; k++) {
			unsigned r = u->writes[k];
			if ((r >= REG_V && r < REG_M && (g->seg.late_v >> (r - REG_V) & 1)) || (r >= REG_M && r < REG_P && (g->seg.late_m >> (r - REG_M) & 1)))
				return false;
		}
	}
	return true;
}

static void note_late(struct segment *e, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		unsigned r = u->reads[i];
		if (r >= REG_V && r < REG_M)
			e->late_v |= UINT64_C(1) << (r - REG_V);
		else if (r >= REG_M && r < REG_P)
			e->late_m |= UINT32_C(1) << (r - REG_M);
	}
}

/* Pushes, multiplies and late stores run after the loop: nobody in their bundle may write a vector that they read. */
static bool late_works(struct gen *g, const struct decoded *d, const struct uop *late)
{
	for (unsigned i = 0; i < d->n_insns; i++) {
		const struct uop *u = sim_insn(g->s, d->first_insn + i);
		for (unsigned k = 0; k < u->n_writes; k++) {
			for (unsigned j = 0; j < late->n_reads; j++) {
				if (u->writes[k] == late->reads[j] && reg_has_lanes(u->writes[k]))
					return false;
			}
		}
	}
	return true;
}

/* A bundle of its own, with a push or multiply that must go before the loop. */
static bool goes_early(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	bool conflict = false;
	if (g->seg.end > g->seg.first)
		return false;
	for (unsigned i = 0; i < d->n_insns; i++) {
		enum role role = b->of[i].role;
		if (role == R_ROWS || role == R_LATE_STORE)
			return false;
		if (role == R_MATRIX || role == R_ACT)
			conflict = conflict || !late_works(g, d, sim_insn(g->s, d->first_insn + i));
	}
	for (unsigned i = 0; conflict && i < d->n_insns; i++)
		b->of[i].role = b->of[i].role == R_VIEW ? without_view(&b->of[i].at) : b->of[i].role;
	return conflict;
}

/* Registers that became views in this segment are for pushes and multiplies only. */
static bool touches_view(const struct segment *e, const struct uop *u)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] >= REG_V && u->reads[i] < REG_M && (e->viewed >> (u->reads[i] - REG_V) & 1))
			return true;
	}
	return u->result == 'v' && (e->viewed >> (u->writes[0] - REG_V) & 1);
}

/* What the instruction makes of the loop (struct segment). */
static unsigned effort_of(enum role role, const struct uop *u)
{
	if (role == R_VIEW || role == R_ROWS || role == R_PURE)
		return 1;
	return role == R_LANE || role == R_LOAD || role == R_STORE ? lanes_effort(u->in.op) : 0;
}

/* Whether the bundle can join the segment. For a segment's first bundle false means that it cannot be translated. */
static bool joins(struct gen *g, const struct decoded *d, struct bundle_plan *b)
{
	struct segment *e = &g->seg;
	unsigned n_op = e->n_op, effort = e->effort, n_call = e->n_call, n_temp = e->n_temp;
	b->early = goes_early(g, d, b);
	memcpy(b->array, e->array, sizeof b->array);
	if (!spares_late(g, d))
		return false;
	if (e->n_wrote + 2 * d->n_insns > TG_ARRAY_LEN(e->wrote) || e->n_busy + d->n_insns > TG_ARRAY_LEN(e->busy) || e->n_hit + d->n_insns > MAX_HITS)
		return false;
	for (unsigned i = 0; i < d->n_insns; i++) {
		const struct uop *u = sim_insn(g->s, d->first_insn + i);
		enum role *role = &b->of[i].role;
		if (e->viewed && (*role == R_LATE_STORE || (*role != R_MATRIX && touches_view(e, u))))
			return false;
		if (*role == R_VIEW && !fits_accesses(g, b, d->n_insns, i))
			*role = without_view(&b->of[i].at);
		if (*role == R_LOAD && (!fits_accesses(g, b, d->n_insns, i) || !split_for(g, b, &b->of[i].at)))
			*role = R_PURE;
		if (*role == R_ROWS && !split_for(g, b, &b->of[i].at))
			*role = R_PURE;
		if (u->slot == TG_SLOT_R && (!read_precedes(g, u) || (*role == R_PURE && e->array[u->in.f[1]].multiplied)))
			return false;
		if (*role == R_MATRIX && !matrix_follows(g, u, &b->array[u->in.f[0]]))
			return false;
		if (*role == R_STORE && (!fits_accesses(g, b, d->n_insns, i) || !split_for(g, b, &b->of[i].at)))
			return false;
		if ((*role == R_LOAD || *role == R_STORE) && (e->dirty_m >> b->of[i].at.mask & 1)) /* masks are asked before the loop */
			return false;
		bool reads_memory = u->slot == TG_SLOT_L || u->in.op == TG_I_sld32 || u->in.op == TG_I_sld64;
		if ((*role == R_PURE || *role == R_PURE_SCALAR) &&
		    (reads_dirty(e, u) || (reads_memory && e->stores)))
			return false;
		if ((*role == R_ACT || *role == R_MATRIX || *role == R_LATE_STORE) && !b->early && !late_works(g, d, u))
			return false;
		n_op += *role == R_LANE || *role == R_LOAD || *role == R_VIEW || *role == R_ROWS || *role == R_STORE || *role == R_PURE;
		effort += effort_of(*role, u);
		n_call += *role == R_PURE || *role == R_PURE_SCALAR || *role == R_ACT || *role == R_MATRIX || *role == R_LATE_STORE;
		n_temp += *role == R_PURE;
		if (n_op > MAX_LANE_OPS || (g->quick && effort > (large_registers(g->s) ? 2 * QUICK_LANE_OPS : QUICK_LANE_OPS) && e->end > e->first) || n_call > MAX_CALLED || n_temp >= JIT_N_TEMPS)
			return false;
	}
	return true;
}

/* ---- taking a bundle into the segment ---- */

static void take_call(struct gen *g, const struct uop *u, uint32_t bundle, enum call_kind kind, val pred, unsigned temp, unsigned to)
{
	struct called *c = &g->seg.call[g->seg.n_call++];
	*c = (struct called){.kind = kind, .u = u, .bundle = bundle, .clock = g->seg.length, .pred = pred, .temp = temp, .to = to};
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] < REG_V)
			c->reads[c->n_reads++] = gen_s(g, u->reads[i]);
	}
}

/* Operands of a push, swap or multiply. */
static void take_matrix(struct gen *g, const struct uop *u, uint32_t bundle)
{
	const struct tg_insn *in = &u->in;
	take_call(g, u, bundle, CALL_MATRIX, gen_pred(g, u), 0, 0);
	struct called *c = &g->seg.call[g->seg.n_call - 1];
	c->array = g->seg.array[in->f[0]];
	matrix_follows(g, u, &g->seg.array[in->f[0]]);
	note_late(&g->seg, u);
	c->place = in->op == TG_I_swap ? gen_int(g, 0) : array_number(g, in);
	if (u->slot == TG_SLOT_M) {
		val adds = g->L->ConstInt(g->i1, in->f[5] != 0, 0);
		if (in->f[5] && in->f[6])
			adds = g->L->BuildNot(g->b, gen_p(g, in->f[6]), "");
		c->with = g->L->BuildZExt(g->b, adds, g->i64, "");
	} else {
		c->with = in->op == TG_I_swap ? gen_int(g, 0) : gen_s(g, in->f[4]);
	}
	c->n_reads = 0;
}

static void take_lane(struct gen *g, const struct lane_op *o)
{
	struct segment *e = &g->seg;
	e->op[e->n_op++] = *o;
	if (o->dest == NO_DEST)
		return;
	if (o->dest < JIT_MASK)
		e->dirty_v |= UINT64_C(1) << o->dest;
	else
		e->dirty_m |= UINT32_C(1) << (o->dest - JIT_MASK);
}

static unsigned dest_of(const struct uop *u)
{
	if (u->result == 'v')
		return u->writes[0] - (unsigned)REG_V;
	return u->result == 'm' && u->writes[0] != REG_M ? JIT_MASK + u->writes[0] - (unsigned)REG_M : NO_DEST;
}

static void extent_operands(struct gen *g, val e, struct lane_op *o)
{
	val low = gen_int(g, 0xffff), zero = gen_int(g, 0), all[2] = {gen_int(g, g->s->core.rows), gen_int(g, g->s->core.lanes)}, part[2];
	for (int i = 0; i < 2; i++) {
		val v = g->L->BuildAnd(g->b, g->L->BuildLShr(g->b, e, gen_int(g, 16 * i), ""), low, "");
		val whole = g->L->BuildOr(g->b, g->L->BuildICmp(g->b, LLVMIntEQ, v, zero, ""), g->L->BuildICmp(g->b, LLVMIntUGT, v, all[i], ""), "");
		part[i] = g->L->BuildSelect(g->b, whole, all[i], v, "");
	}
	o->a = part[0];
	o->b = part[1];
}

static void take_vector(struct gen *g, uint32_t insn, uint32_t bundle, enum role role, const struct place *at)
{
	const struct uop *u = sim_insn(g->s, insn);
	struct lane_op o = {.u = u, .bundle = bundle, .insn = insn, .pred = gen_pred(g, u), .dest = dest_of(u)};
	o.kind = role == R_LANE ? LANE_ALU : role == R_LOAD ? LANE_LOAD : role == R_ROWS ? LANE_ROWS : role == R_STORE ? LANE_STORE : role == R_VIEW ? LANE_VIEW : LANE_TEMP;
	if (role == R_VIEW) {
		o.temp = o.dest;
		o.dest = NO_DEST;
		g->seg.viewed |= UINT64_C(1) << o.temp;
	}
	if (role == R_PURE) {
		o.temp = g->seg.n_temp++;
		take_call(g, u, bundle, CALL_PURE, o.pred, o.temp, 0);
	} else if (role != R_LANE) {
		o.at = *at;
		g->seg.stores |= role == R_STORE;
		if (role == R_ROWS)
			o.a = array_number(g, &u->in);
	} else if (u->in.op == TG_I_vsplat) {
		o.a = gen_s(g, u->in.f[1]);
	} else if (u->in.op == TG_I_mext) {
		extent_operands(g, gen_s(g, u->in.f[1]), &o);
	}
	take_lane(g, &o);
	g->seg.effort += effort_of(role, u);
}

static void post_increment(struct gen *g, const struct uop *u, struct scalar_landing *l)
{
	int64_t a = u->in.f[1], q = tg_insn_get(&u->in, 'q'), c;
	l->reg = (uint8_t)a;
	l->v = g->L->BuildAdd(g->b, gen_s(g, a), gen_s(g, q), "");
	l->sym = gen_fresh(g);
	if (gen_constant(g, gen_s(g, q), &c)) {
		l->sym = gen_symbol(g, a);
		l->sym.off = (int64_t)((uint64_t)l->sym.off + (uint64_t)c);
	}
	gen_mix_old(g, gen_pred(g, u), l);
}

static void note_latency(struct gen *g, const struct uop *u)
{
	struct segment *e = &g->seg;
	for (unsigned k = 0; k < u->n_writes; k++) {
		if (u->writes[k] != REG_S && u->writes[k] != REG_M && u->writes[k] != REG_P)
			e->wrote[e->n_wrote++] = (struct written){u->writes[k], e->length + u->latency[k], gen_pred(g, u)};
	}
	if ((u->slot == TG_SLOT_P || u->slot == TG_SLOT_M) && u->occupancy > 1)
		e->busy[e->n_busy++] = (struct written){u->slot * 16u + u->unit, e->length + u->occupancy, gen_pred(g, u)};
}

/* Of registers that the segment has not written before. */
static void note_lanes_read(struct segment *e, const struct uop *u, uint64_t of)
{
	for (unsigned i = 0; i < u->n_reads; i++) {
		if (u->reads[i] >= REG_V && u->reads[i] < REG_M)
			e->reads_v |= UINT64_C(1) << (u->reads[i] - REG_V) & of;
	}
	if (u->in.pred && u->result == 'v') /* the old value may stay */
		e->reads_v |= UINT64_C(1) << (u->writes[0] - REG_V) & of;
}

static void take_control(struct gen *g, const struct uop *u)
{
	if (u->in.op == TG_I_loop)
		g->control_count = gen_s(g, u->in.f[0]);
	g->control_pred = gen_pred(g, u);
}
static void take(struct gen *g, uint32_t bundle, const struct bundle_plan *b)
{
	const struct decoded *d = &g->s->bundles[bundle];
	struct segment *e = &g->seg;
	struct scalar_landing l[2 * TG_MAX_BUNDLE];
	uint64_t written = e->dirty_v;
	unsigned n = 0;
	for (unsigned i = 0; i < d->n_insns; i++) {
		const struct uop *u = sim_insn(g->s, d->first_insn + i);
		enum role role = b->of[i].role;
		note_latency(g, u);
		if (role != R_MATRIX && role != R_VIEW)
			note_lanes_read(e, u, ~written);
		if (u->in.pred)
			e->hit[e->n_hit++] = (struct hit){d->first_insn + i, gen_pred(g, u)};
		if (role == R_SCALAR || role == R_FLAG) {
			l[n] = (struct scalar_landing){.reg = u->writes[0], .sym = gen_fresh(g)};
			l[n].v = role == R_SCALAR ? gen_scalar_value(g, &u->in, &l[n].sym) : gen_predicate_value(g, u);
			if (u->writes[0] != REG_S && u->writes[0] != REG_P)
				gen_mix_old(g, gen_pred(g, u), &l[n]);
			n++;
		} else if (role == R_PURE_SCALAR) {
			take_call(g, u, bundle, CALL_PURE, gen_pred(g, u), JIT_N_TEMPS - 1, u->writes[0]);
			e->ends = true;
		} else if (role == R_MATRIX) {
			take_matrix(g, u, bundle);
		} else if (role == R_ACT || role == R_LATE_STORE) {
			take_call(g, u, bundle, role == R_ACT ? CALL_ACT : CALL_STORE, gen_pred(g, u), 0, 0);
			e->ends = true;
		} else if (role == R_CONTROL) {
			take_control(g, u);
		} else {
			take_vector(g, d->first_insn + i, bundle, role, &b->of[i].at);
		}
		if (u->posts)
			post_increment(g, u, &l[n++]);
	}
	for (unsigned i = 0; i < n; i++)
		gen_land(g, &l[i]);
	memcpy(e->rows, b->rows, sizeof e->rows);
	memcpy(e->lanes, b->lanes, sizeof e->lanes);
	e->n_rows = b->n_rows;
	e->n_lanes = b->n_lanes;
	e->end = bundle + 1;
	e->early = b->early;
	e->ends = e->ends || b->early;
	e->length += gen_bundle_length(g->s, bundle);
}

/* ---- a segment ---- */

/* Whether the last instruction's way is known: a loop or branch that would trap is the interpreter's. */
static bool control_works(struct gen *g, uint32_t bundle)
{
	const struct uop *u = sim_control_of(g->s, &g->s->bundles[bundle]);
	if (u && u->in.op == TG_I_loop)
		return g->s->jit.blocks->loop_at[bundle] >= 0;
	if (u && u->in.op == TG_I_br) {
		int64_t to = u->in.f[0];
		return to >= 0 && to <= g->s->x->n_words && g->s->bundle_at[to] != UINT32_MAX;
	}
	return true;
}
static void begin_segment(struct gen *g, uint32_t first)
{
	struct segment *e = &g->seg;
	memset(e, 0, offsetof(struct segment, op));
	e->first = e->end = first;
	e->n_op = e->effort = e->n_call = e->n_temp = e->n_wrote = e->n_busy = e->n_hit = 0;
	e->dirty_v = e->reads_v = e->viewed = 0;
	e->dirty_m = e->late_m = 0;
	e->late_v = 0;
	memset(e->array, 0, sizeof e->array);
	e->length = 0;
	e->stores = e->ends = e->early = false;
	e->rows[0] = e->lanes[0] = 0;
	e->n_rows = e->n_lanes = 1;
}

/* Bundles of the block from `from` on that go together; false: not even the first. */
bool gen_fill_segment(struct gen *g, uint32_t from)
{
	struct bundle_plan *b = &g->plan;
	begin_segment(g, from);
	for (uint32_t i = from; i < g->block->end; i++) {
		const struct decoded *d = &g->s->bundles[i];
		plan_bundle(g, d, b);
		if (b->impossible || !control_works(g, i) || !joins(g, d, b))
			return i > from;
		take(g, i, b);
		if (g->seg.ends)
			return true;
	}
	return true;
}

/* ---- lanes that somebody looks at ---- */

/* What registers must hold in memory when the loop is done; the loop goes as far as that and stores do. */
void gen_choose_kept(struct gen *g)
{
	struct segment *e = &g->seg;
	e->keep = g->s->options.all_registers ? live_all(g->s) : sim_live_at(g->live, g->block, e->end);
	for (unsigned i = 0; i < e->n_call; i++) {
		const struct uop *u = e->call[i].u;
		for (unsigned k = 0; e->call[i].kind != CALL_PURE && k < u->n_reads; k++) {
			if (reg_has_lanes(u->reads[k]))
				e->keep.of[u->reads[k] - REG_V] = live_all_of_one(g->s);
		}
	}
	e->useful = (struct corner){0, 0};
	for (unsigned i = 0; i < e->n_op; i++) {
		const struct lane_op *o = &e->op[i];
		if (o->kind == LANE_STORE)
			e->useful = corner_join(e->useful, (struct corner){(uint16_t)o->at.rows, (uint16_t)o->at.lanes});
		else if (o->dest != NO_DEST && !o->lazy)
			e->useful = corner_join(e->useful, e->keep.of[o->dest]);
	}
	add_split(e->rows, &e->n_rows, e->useful.rows, g->s->core.rows, MAX_RANGES + 1);
	add_split(e->lanes, &e->n_lanes, (e->useful.lanes + g->strip - 1) / g->strip * g->strip, g->s->core.lanes, MAX_RANGES + 1);
}
#else
typedef int jit_plan_is_empty;
#endif
