/* wide.c: which stages use 64-bit integers only where DMA converts them. */
#include "passes.h"

bool tg_reads_saturated(const struct tg_stage *s, uint32_t in)
{
	bool read = false;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		tg_expr x[3] = { n->a, n->b, n->c };
		for (int k = 0; k < 3; k++) {
			if (!x[k].id || s->nodes[x[k].id - 1].op != TG_X_arg || (uint32_t)s->nodes[x[k].id - 1].k != in)
				continue;
			if (n->op != TG_X_sat || n->k != TG_i32)
				return false;
			read = true;
		}
	}
	for (uint32_t i = 0; i < s->n_outs; i++) {
		const struct tg_node *n = &s->nodes[s->outs[i].value.id - 1];
		if (n->op == TG_X_arg && (uint32_t)n->k == in)
			return false;
	}
	return read;
}

bool tg_computes_wide(const struct tg_stage *s)
{
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		const struct tg_node *n = &s->nodes[i];
		const struct tg_node *a = n->a.id ? &s->nodes[n->a.id - 1] : NULL;
		bool wide = n->dtype == TG_i64 || n->dtype == TG_u64, of_wide = a && (a->dtype == TG_i64 || a->dtype == TG_u64);
		bool narrowed = n->op == TG_X_arg && n->dtype == TG_i64 && tg_reads_saturated(s, (uint32_t)n->k);
		bool sat = n->op == TG_X_sat && n->k == TG_i32 && a->op == TG_X_arg && a->dtype == TG_i64;
		bool widened = n->op == TG_X_cast && n->dtype == TG_i64 && a->dtype == TG_i32 && s->n_outs == 1 && s->outs[0].value.id == i + 1;
		bool from_sat = n->op == TG_X_cast && n->dtype == TG_i32 && a->op == TG_X_sat && of_wide;
		if ((wide && !narrowed && !sat && !widened) || (of_wide && !wide && !from_sat))
			return true;
	}
	return false;
}
