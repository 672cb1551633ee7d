/* test_verify.c: Freivalds' check lets a right product pass, with the rounding of a narrow type too, and sees one wrong element. */
#include "check_run.h"

#include <math.h>
#include <stdlib.h>

#include "measure.h"

#define SIDE 256

struct product { struct tg_heap heap; struct tg_arena *a; struct tg_diag d; struct net *n; struct tg_tensor x, y; };

/* y = x w with a relative error of about `noise` on every element. */
static void make(struct product *p, double noise)
{
	struct net_options o = { .m = SIDE, .k = SIDE, .n = SIDE };
	tg_heap_init(&p->heap);
	p->a = tg_arena_new(&p->heap);
	tg_diag_init(&p->d, p->a);
	p->n = network_build(p->a, "gemm", &o);
	struct tg_tensor w;
	ck_assert(tg_tensor_alloc(&p->d, p->a, TG_f32, &(struct tg_shape){ 2, { SIDE, SIDE } }, &p->x));
	ck_assert(tg_tensor_alloc(&p->d, p->a, TG_f32, &p->x.shape, &p->y));
	ck_assert(tg_tensor_alloc(&p->d, p->a, TG_f32, &p->x.shape, &w));
	net_fill(p->n, &p->n->inputs.at[0], 0, SIDE * SIDE, p->x.data);
	net_fill(p->n, &p->n->weights.at[0], 0, SIDE * SIDE, w.data);
	const float *x = p->x.data, *wf = w.data;
	uint32_t state = 1;
	for (int i = 0; i < SIDE * SIDE; i++) {
		double sum = 0;
		for (int k = 0; k < SIDE; k++)
			sum += (double)x[i / SIDE * SIDE + k] * (double)wf[k * SIDE + i % SIDE];
		state = state * 1664525 + 1013904223;
		((float *)p->y.data)[i] = (float)(sum + noise * ((double)state * 0x1p-31 - 1));
	}
}

static double check(struct product *p)
{
	double nrmse = -1;
	ck_assert(by_freivalds(&p->d, p->a, p->n, &p->x, &p->y, &nrmse));
	return nrmse;
}

START_TEST(right)
{
	struct product p;
	make(&p, 0);
	ck_assert_double_lt(check(&p), 1e-6);
	tg_heap_free(&p.heap);
	make(&p, 0.005);
	double nrmse = check(&p);
	ck_assert_double_gt(nrmse, 1e-3);
	ck_assert_double_lt(nrmse, 0.01);
	tg_heap_free(&p.heap);
}
END_TEST

START_TEST(one_wrong_element)
{
	struct product p;
	make(&p, 0.005);
	((float *)p.y.data)[77 * SIDE + 5] += 4;
	ck_assert(isinf(check(&p)));
	tg_heap_free(&p.heap);
}
END_TEST

START_TEST(wrong_everywhere)
{
	struct product p;
	make(&p, 0);
	for (int i = 0; i < SIDE * SIDE; i++)
		((float *)p.y.data)[i] *= 1.05F;
	ck_assert_double_gt(check(&p), 0.02);
	((float *)p.y.data)[0] = NAN;
	ck_assert(isinf(check(&p)));
	tg_heap_free(&p.heap);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bench");
	TCase *c = tcase_create("freivalds");
	tcase_set_timeout(c, 0);
	tcase_add_test(c, right);
	tcase_add_test(c, one_wrong_element);
	tcase_add_test(c, wrong_everywhere);
	suite_add_tcase(s, c);
	return run_suite(s);
}
