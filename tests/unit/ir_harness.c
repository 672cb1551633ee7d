/* ir_harness.c: see ir_harness.h. */
#include <stdlib.h>
#include <string.h>

#include "ir_harness.h"

void h_open(struct h *h, uint64_t seed)
{
	memset(h, 0, sizeof *h);
	tg_heap_init(&h->heap);
	h->a = tg_arena_new(&h->heap);
	tg_diag_init(&h->d, h->a);
	h->m = tg_module_new(h->a, "test.onnx");
	*TG_PUSH(h->a, &h->m->nodes) = (struct tg_node_ref){ 3, "op \"under\" test", "Op" };
	h->prov = tg_prov_node(h->m, 0);
	h->seed = seed * 0x9e3779b97f4a7c15ULL + 1;
}

void h_close(struct h *h) { tg_heap_free(&h->heap); }

uint64_t h_random(struct h *h)
{
	h->seed += 0x9e3779b97f4a7c15ULL;
	uint64_t z = (h->seed ^ h->seed >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

int64_t h_between(struct h *h, int64_t lo, int64_t hi) { return lo + (int64_t)(h_random(h) % (uint64_t)(hi - lo + 1)); }

tg_val h_input(struct h *h, enum tg_dtype t, const struct tg_shape *s, double lo, double hi)
{
	tg_val v = tg_value_new(h->m, TG_TENSOR, t, s, NULL);
	int64_t n;
	ck_assert(tg_shape_count(s, &n));
	ck_assert(tg_tensor_alloc(&h->d, h->a, t, s, &h->x[h->n_in]));
	if (tg_dtypes[t].kind == TG_KIND_UNSIGNED && lo < 0)
		lo = 0;
	for (int64_t i = 0; i < n; i++)
		if (tg_is_float(t))
			tg_put_f64(t, h->x[h->n_in].data, (size_t)i, (double)h_between(h, (int64_t)(lo * 64), (int64_t)(hi * 64)) / 64);
		else
			tg_put_i64(t, h->x[h->n_in].data, (size_t)i, t == TG_bool ? h_between(h, 0, 1) : h_between(h, (int64_t)lo, (int64_t)hi));
	*TG_PUSH(h->a, &h->m->inputs) = (struct tg_port){ tg_asprintf(h->a, "in%u", h->n_in), v };
	h->in[h->n_in++] = v;
	return v;
}

struct tg_shape h_shape(struct h *h, uint32_t lo_rank, uint32_t hi_rank, int64_t most)
{
	struct tg_shape s = { .rank = (uint32_t)h_between(h, lo_rank, hi_rank) };
	for (uint32_t i = 0; i < s.rank; i++)
		s.dim[i] = h_between(h, 1, most);
	return s;
}

const int64_t *h_ints(struct h *h, uint32_t n, int64_t v)
{
	int64_t *p = tg_alloc_n(h->a, n, sizeof *p);
	for (uint32_t i = 0; i < n; i++)
		p[i] = v;
	return p;
}

void h_set_ints(struct h *h, uint32_t attr, const int64_t *v, uint32_t n)
{
	int64_t *p = tg_alloc_n(h->a, n, sizeof *p);
	memcpy(p, v, n * sizeof *p);
	h->attrs[attr].ints.at = p;
	h->attrs[attr].ints.n = n;
}

const char *h_first_error(struct h *h)
{
	struct tg_buf b;
	if (h->d.list.n == 0)
		return "no message";
	tg_buf_init(&b, h->a);
	tg_message_format(&h->d.list.at[0], &b);
	return b.at;
}

struct tg_module *h_round_trip(struct h *h, const struct tg_module *m)
{
	struct tg_buf one, two;
	tg_buf_init(&one, h->a);
	tg_buf_init(&two, h->a);
	tg_module_print(&one, m);
	struct tg_module *back = tg_module_parse(&h->d, h->a, "test.tir", one.at, one.n);
	ck_assert_msg(back != NULL, "%s\n%s", h_first_error(h), one.at);
	tg_module_print(&two, back);
	ck_assert_str_eq(one.at, two.at);
	ck_assert_msg(tg_module_verify(&h->d, back), "%s\n%s", h_first_error(h), one.at);
	return back;
}

void h_run_module(struct h *h, tg_val y)
{
	*TG_PUSH(h->a, &h->m->outputs) = (struct tg_port){ "y", y };
	ck_assert_msg(tg_module_verify(&h->d, h->m), "%s", h_first_error(h));
	struct tg_module *m = h_round_trip(h, h->m);
	ck_assert_msg(tg_expand_module(&h->d, m), "%s", h_first_error(h));
	ck_assert_msg(tg_module_verify(&h->d, m), "%s", h_first_error(h));
	m = h_round_trip(h, m);
	ck_assert_msg(tg_eval_module(&h->d, h->a, m, h->x, &h->y, NULL, NULL), "%s", h_first_error(h));
}

void h_run(struct h *h)
{
	tg_val y = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, h->code, h->in, h->n_in, h->attrs);
	ck_assert_msg(tg_has(y), "%s", h_first_error(h));
	h_run_module(h, y);
}

static double element(const struct tg_tensor *t, int64_t i)
{
	return tg_is_float(t->dtype) ? tg_get_f64(t->dtype, t->data, (size_t)i) : (double)tg_get_i64(t->dtype, t->data, (size_t)i);
}

double h_at(const struct tg_tensor *t, const int64_t *at)
{
	int64_t i = 0;
	for (uint32_t k = 0; k < t->shape.rank; k++)
		i = i * t->shape.dim[k] + at[k];
	return element(t, i);
}

double h_at_broadcast(const struct tg_tensor *t, const int64_t *at, uint32_t rank)
{
	int64_t own[TG_MAX_RANK] = { 0 };
	for (uint32_t k = 0; k < t->shape.rank; k++)
		own[k] = t->shape.dim[k] == 1 ? 0 : at[rank - t->shape.rank + k];
	return h_at(t, own);
}

bool h_next(const struct tg_shape *s, int64_t *at)
{
	for (uint32_t k = s->rank; k-- > 0;) {
		if (++at[k] < s->dim[k])
			return true;
		at[k] = 0;
	}
	return false;
}
