/* test_ir_verify.c: faults put into a good module one at a time, each caught and named. */
#include <string.h>

#include "ir_harness.h"

/* relu of a padded max pool: a graph op, a guarded stage with a reduction, a second stage */
static struct tg_op *stage_module(struct h *h)
{
	struct tg_shape s = { 3, { 2, 3, 8 } };
	h_open(h, 1);
	h_input(h, TG_f32, &s, -9, 9);
	union tg_attr at[5] = { { .ints = { h_ints(h, 1, 3), 1 } }, { .ints = { h_ints(h, 1, 1), 1 } }, { .ints = { h_ints(h, 1, 1), 1 } },
				{ .ints = { h_ints(h, 1, 1), 1 } }, { .ints = { h_ints(h, 1, 8), 1 } } };
	tg_val p = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, TG_OP_pool_max, h->in, 1, at);
	tg_val y = tg_graph_op(&h->d, TG_NOWHERE, h->m, h->prov, TG_OP_sqrt, &p, 1, NULL);
	*TG_PUSH(h->a, &h->m->outputs) = (struct tg_port){ "y", y };
	ck_assert(tg_expand_module(&h->d, h->m));
	ck_assert_msg(tg_module_verify(&h->d, h->m), "%s", h_first_error(h));
	return h->m->body.first;
}

static struct tg_stage *body(struct tg_op *op) { return op->attrs[TG_AT(tile_stage, body)].stage; }

typedef void fault_fn(struct h *h, struct tg_op *pool, struct tg_op *root);
#define FAULT(name) static void name(struct h *h, struct tg_op *pool, struct tg_op *root)
#define U (void)h, (void)pool, (void)root

FAULT(no_prov) { U; pool->prov.id = 0; }
FAULT(far_prov) { U; pool->prov.id = 99; }
FAULT(no_operand) { U; root->in[0].id = 0; }
FAULT(far_operand) { U; root->in[0].id = 1000; }
FAULT(own_operand) { U; root->in[0] = root->out[0]; }
FAULT(later_operand) { U; pool->in[0] = root->out[0]; }
FAULT(twice) { U; root->out[0] = pool->out[0]; }
FAULT(foreign_def) { U; tg_value_of(h->m, root->out[0])->def = pool; }
FAULT(missing_output) { U; h->m->outputs.at[0].value.id = 77; }
FAULT(bad_rank) { U; tg_value_of(h->m, root->out[0])->shape.rank = 99; }
FAULT(bad_layout) { U; tg_value_of(h->m, root->out[0])->layout[0] = 2; }
FAULT(negative_shape) { U; tg_value_of(h->m, root->out[0])->shape.dim[0] = -1; }
FAULT(no_body) { U; pool->attrs[TG_AT(tile_stage, body)].stage = NULL; }
FAULT(operand_count) { U; body(pool)->n_ins = 0; }
FAULT(zero_extent) { U; body(root)->dims[0].extent = 0; }
FAULT(reduce_alone) { U; body(root)->dims[0].kind = TG_DIM_REDUCE; }
FAULT(no_guard) { U; body(pool)->ins[0].guarded = false; }
FAULT(map_leaves) { U; body(root)->ins[0].map.index[1].offset = 1; }
FAULT(map_huge) { U; body(root)->ins[0].map.index[1].coef[2] = INT64_MAX; }
FAULT(map_rank) { U; body(root)->ins[0].map.rank = 2; }
FAULT(div_zero) { U; body(root)->ins[0].map.index[1].div = 0; }
FAULT(gather_far) { U; body(root)->ins[0].map.index[1].gather = 5; }
FAULT(gather_self) { U; body(root)->ins[0].map.index[1].gather = 0; }
FAULT(node_unknown) { U; body(root)->nodes[0].op = 200; }
FAULT(node_type) { U; body(root)->nodes[0].dtype = TG_f16; }
FAULT(node_operand_type) { U; body(root)->nodes[0].dtype = TG_i32; }
FAULT(node_order) { U; body(root)->nodes[1].a.id = 2; }
FAULT(node_arity) { U; body(root)->nodes[1].b.id = 1; }
FAULT(arg_far) { U; body(root)->nodes[0].k = 3; }
FAULT(acc_far) { U; body(pool)->nodes[1].k = 3; }
FAULT(reduction_value) { U; body(pool)->reds[0].value.id = 99; }
FAULT(reduction_of_acc) { U; body(pool)->reds[0].value.id = 2; }
FAULT(combine_far) { U; body(pool)->reds[0].combine = 9; }
FAULT(out_varies) { U; body(pool)->outs[0].value.id = 1; }
FAULT(out_value) { U; body(root)->outs[0].value.id = 0; }
FAULT(out_type) { U; tg_value_of(h->m, root->out[0])->dtype = TG_i32; }
FAULT(out_leaves) { U; body(root)->outs[0].map.index[0].offset = 1; }
FAULT(out_reduce_dim) { U; body(pool)->outs[0].map.index[2].coef[3] = 1; }
FAULT(out_div) { U; body(root)->outs[0].map.index[2].div = 2; }
FAULT(out_not_injective) { U; body(root)->outs[0].map.index[2].coef[2] = 0; }
FAULT(out_partial) { U; body(root)->dims[2].extent = 7; }
FAULT(into_flag) { U; root->attrs[TG_AT(tile_stage, into)].i = 2; }
FAULT(into_without) { U; root->attrs[TG_AT(tile_stage, into)].i = 1; }
FAULT(two_outs) { U; body(root)->n_outs = 2; }
FAULT(broken_list) { U; root->prev = NULL; }
FAULT(unknown_op) { U; root->code = TG_FIRST_INSN + 5; }

static const struct { fault_fn *put; const char *says; } faults[] = {
	{ no_prov, "provenance" }, { far_prov, "provenance" }, { no_operand, "no value" }, { far_operand, "no value" },
	{ own_operand, "before its definition" }, { later_operand, "before its definition" }, { twice, "defined twice" },
	{ foreign_def, "another op" }, { missing_output, "output 0" }, { bad_rank, "bad type" }, { bad_layout, "bad type" },
	{ negative_shape, "bad type" }, { no_body, "no body" }, { operand_count, "its body 0" }, { zero_extent, "has extent 0" },
	{ reduce_alone, "nothing is reduced" }, { no_guard, "without a guard" }, { map_leaves, "from 1 to 3" }, { map_huge, "leaves 64 bits" },
	{ map_rank, "rank 2, expected 3" }, { div_zero, "div 0" }, { gather_far, "gathers by operand 5" }, { gather_self, "another operand" },
	{ node_unknown, "unknown" }, { node_type, "compute type" }, { node_operand_type, "not defined" }, { node_order, "earlier node" },
	{ node_arity, "expected none" }, { arg_far, "not defined" }, { acc_far, "not defined" }, { reduction_value, "no value" },
	{ reduction_of_acc, "" }, { combine_far, "no value" }, { out_varies, "changes along" }, { out_value, "no value" },
	{ out_type, "expected i32" }, { out_leaves, "leaves the tensor" }, { out_reduce_dim, "depends on reduce dimension" },
	{ out_div, "not affine" }, { out_not_injective, "same elements" }, { out_partial, "writes 42 of" }, { into_flag, "expected 0 or 1" },
	{ into_without, "one to write into" }, { two_outs, "2 outputs" }, { broken_list, "list is broken" }, { unknown_op, "unknown op" },
};

START_TEST(faults_are_caught)
{
	static struct h h;
	struct tg_op *pool = stage_module(&h);
	faults[_i].put(&h, pool, pool->next);
	ck_assert_msg(!tg_module_verify(&h.d, h.m), "fault %d was not caught", _i);
	ck_assert_msg(strstr(h_first_error(&h), faults[_i].says) != NULL, "%s", h_first_error(&h));
	h_close(&h);
}
END_TEST

START_TEST(graph_results_are_inferred_again)
{
	static struct h h;
	struct tg_shape s = { 1, { 4 } };
	h_open(&h, 1);
	h_input(&h, TG_f32, &s, 0, 1);
	tg_val y = tg_graph_op(&h.d, TG_NOWHERE, h.m, h.prov, TG_OP_relu, h.in, 1, NULL);
	tg_value_of(h.m, y)->dtype = TG_f16;
	ck_assert(!tg_module_verify(&h.d, h.m));
	ck_assert(strstr(h_first_error(&h), "inference") != NULL);
	h_close(&h);
}
END_TEST

START_TEST(regions_hide_their_values)
{
	static struct h h;
	static const char text[] = "tegula 1\nnode 0 \"n\" \"N\"\ninput \"x\" %1: f32[2]\n"
				   "tile.host(%1) {reason = \"\"} @[0] {\n%2: f32[2] = tile.view(%1) @[0]\n} yields()\n"
				   "%3: f32[2] = tile.view(%2) @[0]\noutput \"y\" %3\n";
	h_open(&h, 1);
	struct tg_module *m = tg_module_parse(&h.d, h.a, "t.tir", text, strlen(text));
	ck_assert_msg(m != NULL, "%s", h_first_error(&h));
	ck_assert(!tg_module_verify(&h.d, m));
	ck_assert_msg(strstr(h_first_error(&h), "region that has ended") != NULL, "%s", h_first_error(&h));
	h_close(&h);
}
END_TEST

/* ---- pass manager ---- */

static bool pass_good(struct tg_pass *cx, struct tg_module *m)
{
	m->macs++;
	tg_alloc(cx->scratch, 100);
	return true;
}
static bool pass_breaks(struct tg_pass *cx, struct tg_module *m)
{
	(void)cx;
	m->body.first->prov.id = 0;
	return true;
}
static bool pass_silent(struct tg_pass *cx, struct tg_module *m)
{
	(void)cx, (void)m;
	return false;
}
static const struct tg_pass_info passes[] = {
	{ "tile", "one", "", pass_good, true, false }, { "tile", "two", "", pass_good, true, false }, { "tile", "breaks", "", pass_breaks, true, false }, { "tile", "silent", "", pass_silent, true, false },
};

static bool run(struct h *h, struct tg_pass_run r)
{
	struct tg_pass cx = { .d = &h->d, .scratch = tg_arena_new(&h->heap) };
	r.passes = passes;
	r.n_passes = TG_ARRAY_LEN(passes);
	return tg_run_passes(&cx, h->m, &r);
}

START_TEST(pass_manager)
{
	static struct h h;
	struct tg_buf text;
	stage_module(&h);
	tg_buf_init(&text, h.a);
	ck_assert(run(&h, (struct tg_pass_run){ .stop_after = "two", .verify_each = true, .print_after = "one", .time_passes = true, .text = &text }));
	ck_assert_uint_eq(h.m->macs, 2);
	ck_assert_str_eq(h.m->level, "two");
	ck_assert(strstr(text.at, "// after one\ntegula 1") && !strstr(text.at, "// after two") && strstr(text.at, "ms  two"));
	ck_assert(run(&h, (struct tg_pass_run){ .only = "two,one,two" }));
	ck_assert_uint_eq(h.m->macs, 5);
	ck_assert(run(&h, (struct tg_pass_run){ .skip = "breaks,silent" })); /* carries on behind `two` */
	ck_assert_uint_eq(h.m->macs, 5);
	ck_assert(!run(&h, (struct tg_pass_run){ .only = "one,nothing" }));
	ck_assert_int_eq(h.d.status, TG_ERR_USAGE);
	h_close(&h);
}
END_TEST

START_TEST(pass_manager_names_the_culprit)
{
	static struct h h;
	stage_module(&h);
	ck_assert(!run(&h, (struct tg_pass_run){ .verify_each = true }));
	ck_assert_int_eq(h.d.status, TG_ERR_INTERNAL);
	ck_assert(strstr(h_first_error(&h), "after pass breaks") != NULL);
	h_close(&h);
	stage_module(&h);
	ck_assert(!run(&h, (struct tg_pass_run){ .only = "silent" }));
	ck_assert(strstr(h_first_error(&h), "pass silent failed without a message") != NULL);
	h_close(&h);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ir verify");
	TCase *c = tcase_create("verify");
	tcase_add_loop_test(c, faults_are_caught, 0, (int)TG_ARRAY_LEN(faults));
	tcase_add_test(c, graph_results_are_inferred_again);
	tcase_add_test(c, regions_hide_their_values);
	tcase_add_test(c, pass_manager);
	tcase_add_test(c, pass_manager_names_the_culprit);
	suite_add_tcase(s, c);
	return run_suite(s);
}
