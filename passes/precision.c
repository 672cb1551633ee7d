/* precision.c: --precision bf16 or f16: the factors of sums of products are rounded to that type; sums, and everything else, stay f32.
 *
 *   %4 = stage(%3, %2) { sum(x * w) }     ==>     %4 = stage(%3, %2) { sum(wrap bf16 x * wrap bf16 w) }
 *
 * In: tile stages, fused. Out: the same stages; `wrap` says what is computed, and the pass `narrow` makes use of it. A product is only rounded where one factor
 * is used again along some dimension, as on the matrix unit: a plain dot product, such as the sum of squares of a normalisation, stays as it is. So do an outer
 * product, which sums nothing (positions times frequencies must not lose digits), one whose factors are narrow already, and what --keep-f32 names. */
#include "passes.h"

#include <string.h>

bool pass_precision(struct tg_pass *cx, struct tg_module *m);

static bool names(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");
		if (len == n && !memcmp(p, name, n))
			return true;
		p += len + (p[len] == ',');
	}
	return false;
}

static bool kept(const struct tg_module *m, const struct tg_op *op, const char *keep)
{
	const struct tg_prov_set *set = &m->provs.at[op->prov.id];
	for (uint32_t i = 0; keep && i < set->n; i++)
		if (m->nodes.at[set->nodes[i]].name && names(keep, m->nodes.at[set->nodes[i]].name))
			return true;
	return false;
}

static bool check_names(struct tg_diag *d, const struct tg_module *m, const char *keep)
{
	for (const char *p = keep; p && *p;) {
		size_t len = strcspn(p, ",");
		bool found = len == 0;
		for (size_t i = 0; i < m->nodes.n && !found; i++)
			found = m->nodes.at[i].name && strlen(m->nodes.at[i].name) == len && !memcmp(m->nodes.at[i].name, p, len);
		if (!found)
			return tg_usage(d, TG_NOWHERE, "--keep-f32 names '%s', which is no node of the model", tg_quoted(d->arena, tg_strndup(d->arena, p, len)));
		p += len + (p[len] == ',');
	}
	return true;
}

static bool sums(const struct tg_stage *s)
{
	for (uint32_t d = 0; d < s->n_dims; d++)
		if (s->dims[d].kind == TG_DIM_REDUCE && s->dims[d].extent > 1)
			return true;
	return false;
}

static bool is_half(const struct tg_module *m, const struct tg_op *op, const struct tg_factor *f)
{
	return f->round != TG_none || (f->in >= 0 && tg_dtypes[tg_value_get(m, op->in[f->in])->dtype].bits <= 16);
}

bool pass_precision(struct tg_pass *cx, struct tg_module *m)
{
	const struct tg_options *o = cx->options;
	if (!o || (o->precision != TG_bf16 && o->precision != TG_f16))
		return true;
	if (!check_names(cx->d, m, o->keep_f32))
		return false;
	for (struct tg_op *op = m->body.first; op; op = op->next) {
		const struct tg_stage *s = op->code == TG_TILE_stage ? op->attrs[TG_AT(tile_stage, body)].stage : NULL;
		struct tg_factor f[2];
		if (!s || !tg_stage_product(s, f) || s->nodes[s->reds[0].value.id - 1].dtype != TG_f32 || kept(m, op, o->keep_f32))
			continue;
		if (tg_reuses_factors(s, f) && sums(s) && !(is_half(m, op, &f[0]) && is_half(m, op, &f[1])))
			tg_round_factors(cx, m, op, o->precision, o->precision);
	}
	return true;
}
