/* module.c: modules, values, ops, provenance. */
#include <string.h>

#include "ir_internal.h"

struct tg_module *tg_module_new(struct tg_arena *a, const char *source)
{
	struct tg_module *m = tg_alloc(a, sizeof *m);
	m->arena = a;
	m->source = source ? tg_strdup(a, source) : NULL;
	*TG_PUSH(a, &m->values) = (struct tg_value){ 0 };
	*TG_PUSH(a, &m->provs) = (struct tg_prov_set){ 0 };
	return m;
}

struct tg_value *tg_value_of(struct tg_module *m, tg_val v) { return &m->values.at[v.id < m->values.n ? v.id : 0]; }

const struct tg_value *tg_value_get(const struct tg_module *m, tg_val v) { return &m->values.at[v.id < m->values.n ? v.id : 0]; }

tg_val tg_value_new(struct tg_module *m, enum tg_value_kind k, enum tg_dtype t, const struct tg_shape *s, const char *name)
{
	struct tg_value v = { .kind = (uint8_t)k, .dtype = (uint8_t)t, .name = name };
	if (s)
		v.shape = *s;
	for (uint8_t i = 0; i < TG_MAX_RANK; i++)
		v.layout[i] = i;
	*TG_PUSH(m->arena, &m->values) = v;
	return (tg_val){ (uint32_t)(m->values.n - 1) };
}

void tg_op_insert(struct tg_block *b, struct tg_op *before, struct tg_op *op)
{
	op->block = b;
	op->next = before;
	op->prev = before ? before->prev : b->last;
	*(op->prev ? &op->prev->next : &b->first) = op;
	*(before ? &before->prev : &b->last) = op;
}

struct tg_op *tg_op_new(struct tg_module *m, struct tg_block *b, struct tg_op *before, uint16_t code, const tg_val *in, uint32_t n_in, uint32_t n_out,
			tg_prov prov)
{
	const struct tg_op_info *info = tg_op_info_in(m, code);
	struct tg_op *op = tg_alloc(m->arena, sizeof *op);
	op->code = code;
	op->n_in = n_in;
	op->n_out = n_out;
	op->prov = prov;
	op->in = tg_alloc_n(m->arena, n_in, sizeof *op->in);
	op->out = tg_alloc_n(m->arena, n_out, sizeof *op->out);
	op->attrs = tg_alloc_n(m->arena, info->n_attrs, sizeof *op->attrs);
	if (n_in)
		memcpy(op->in, in, n_in * sizeof *in);
	tg_attrs_default(info, op->attrs);
	tg_op_insert(b, before, op);
	return op;
}

void tg_op_remove(struct tg_op *op)
{
	*(op->prev ? &op->prev->next : &op->block->first) = op->next;
	*(op->next ? &op->next->prev : &op->block->last) = op->prev;
	op->prev = op->next = NULL;
	op->block = NULL;
}

struct tg_block *tg_region_new(struct tg_module *m, struct tg_op *op)
{
	struct tg_block *b = tg_alloc(m->arena, sizeof *b);
	b->parent = op;
	op->regions = tg_grow(m->arena, op->regions, op->n_regions * sizeof b, (op->n_regions + 1) * sizeof b);
	return op->regions[op->n_regions++] = b;
}

/* The op after this one in execution order, regions before what follows them. */
struct tg_op *tg_op_step(struct tg_op *op)
{
	for (uint32_t r = 0; r < op->n_regions; r++)
		if (op->regions[r]->first)
			return op->regions[r]->first;
	return tg_op_skip(op);
}

struct tg_op *tg_op_skip(struct tg_op *op)
{
	for (;;) {
		if (op->next)
			return op->next;
		struct tg_op *parent = op->block->parent;
		if (!parent)
			return NULL;
		/* the next non-empty region of the parent, else on behind the parent */
		uint32_t r = 0;
		while (r < parent->n_regions && parent->regions[r] != op->block)
			r++;
		for (r++; r < parent->n_regions; r++)
			if (parent->regions[r]->first)
				return parent->regions[r]->first;
		op = parent;
	}
}

void tg_count_uses(struct tg_module *m)
{
	for (size_t i = 0; i < m->values.n; i++)
		m->values.at[i].n_uses = 0;
	for (struct tg_op *op = m->body.first; op; op = tg_op_step(op))
		for (uint32_t i = 0; i < op->n_in; i++)
			tg_value_of(m, op->in[i])->n_uses++;
	for (size_t i = 0; i < m->outputs.n; i++)
		tg_value_of(m, m->outputs.at[i].value)->n_uses++;
}

void tg_replace_uses(struct tg_module *m, tg_val from, tg_val to)
{
	for (struct tg_op *op = m->body.first; op; op = tg_op_step(op))
		for (uint32_t i = 0; i < op->n_in; i++)
			if (op->in[i].id == from.id)
				op->in[i] = to;
	for (size_t i = 0; i < m->outputs.n; i++)
		if (m->outputs.at[i].value.id == from.id)
			m->outputs.at[i].value = to;
}

/* ---- provenance ---- */

/* Sets repeat among neighbours: looking back a little keeps the table small without an index. */
enum { LOOK_BACK = 64 };

tg_prov tg_prov_intern(struct tg_module *m, const uint32_t *nodes, uint32_t n)
{
	if (n == 0)
		return (tg_prov){ 0 };
	for (size_t i = m->provs.n, left = LOOK_BACK; i-- > 1 && left--;)
		if (m->provs.at[i].n == n && !memcmp(m->provs.at[i].nodes, nodes, n * sizeof *nodes))
			return (tg_prov){ (uint32_t)i };
	uint32_t *copy = tg_alloc_n(m->arena, n, sizeof *copy);
	memcpy(copy, nodes, n * sizeof *nodes);
	*TG_PUSH(m->arena, &m->provs) = (struct tg_prov_set){ copy, n };
	return (tg_prov){ (uint32_t)(m->provs.n - 1) };
}

tg_prov tg_prov_node(struct tg_module *m, uint32_t node) { return tg_prov_intern(m, &node, 1); }

static uint32_t merge(const struct tg_prov_set *a, const struct tg_prov_set *b, uint32_t *out)
{
	uint32_t n = 0;
	for (uint32_t i = 0, j = 0; i < a->n || j < b->n; n++) {
		uint32_t x = i < a->n ? a->nodes[i] : UINT32_MAX, y = j < b->n ? b->nodes[j] : UINT32_MAX;
		out[n] = x < y ? x : y;
		i += x <= y;
		j += y <= x;
	}
	return n;
}

tg_prov tg_prov_union(struct tg_module *m, tg_prov a, tg_prov b)
{
	if (a.id == b.id || b.id == 0)
		return a;
	if (a.id == 0)
		return b;
	struct tg_prov_set x = m->provs.at[a.id], y = m->provs.at[b.id];
	uint32_t *both = tg_alloc_n(m->arena, (size_t)x.n + y.n, sizeof *both);
	uint32_t n = merge(&x, &y, both);
	if (n == x.n)
		return a;
	if (n == y.n)
		return b;
	return tg_prov_intern(m, both, n);
}

static const struct tg_node_ref *node_of(const struct tg_module *m, uint32_t i) { return i < m->nodes.n ? &m->nodes.at[i] : NULL; }

struct tg_loc tg_op_loc(const struct tg_module *m, const struct tg_op *op)
{
	struct tg_loc loc = TG_NOWHERE;
	loc.file = op->line && m->text ? m->text : m->source;
	loc.line = m->text ? op->line : 0;
	loc.column = op->column;
	const struct tg_prov_set *s = op->prov.id < m->provs.n ? &m->provs.at[op->prov.id] : NULL;
	const struct tg_node_ref *r = s && s->n ? node_of(m, s->nodes[0]) : NULL;
	if (!r)
		return loc;
	loc.node = (int32_t)r->index;
	loc.name = r->name;
	loc.op_type = r->op_type;
	return loc;
}

const char *tg_prov_text(struct tg_arena *a, const struct tg_module *m, tg_prov p)
{
	struct tg_buf b;
	tg_buf_init(&b, a);
	tg_buf_puts(&b, "");
	if (p.id >= m->provs.n)
		return b.at ? b.at : "";
	for (uint32_t i = 0; i < m->provs.at[p.id].n; i++) {
		const struct tg_node_ref *r = node_of(m, m->provs.at[p.id].nodes[i]);
		if (!r)
			continue;
		tg_buf_puts(&b, i ? ", " : "");
		if (r->name && *r->name)
			tg_buf_puts(&b, tg_quoted(a, r->name));
		else
			tg_buf_printf(&b, "node %u", r->index);
		tg_buf_printf(&b, " (%s)", r->op_type ? tg_quoted(a, r->op_type) : "?");
	}
	return b.at ? b.at : "";
}
