/* test_frontend.c: the importer table, the guard's limits, tensors as files, and what binding does. Models are written byte by byte. */
#include "check_run.h"
#include "frontend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture { struct tg_heap heap; struct tg_arena *a; struct tg_diag d; char path[4096]; };
static struct fixture fx;

static void begin(void)
{
	tg_heap_init(&fx.heap);
	fx.a = tg_arena_new(&fx.heap);
	tg_diag_init(&fx.d, fx.a);
	temporary_name(fx.path, sizeof fx.path);
	int fd = mkstemp(fx.path);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void end(void)
{
	unlink(fx.path);
	tg_heap_free(&fx.heap);
}

/* ---- a protobuf writer ---- */

static struct tg_buf *new_buf(void)
{
	struct tg_buf *b = tg_alloc(fx.a, sizeof *b);
	tg_buf_init(b, fx.a);
	return b;
}

static void varint(struct tg_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		tg_buf_add(b, (uint8_t[]){ (uint8_t)(v | 0x80) }, 1);
	tg_buf_add(b, (uint8_t[]){ (uint8_t)v }, 1);
}

static struct tg_buf *num(struct tg_buf *b, uint32_t field, int64_t v)
{
	varint(b, field << 3);
	varint(b, (uint64_t)v);
	return b;
}

static struct tg_buf *bytes(struct tg_buf *b, uint32_t field, const void *at, size_t n)
{
	varint(b, field << 3 | 2);
	varint(b, n);
	tg_buf_add(b, n ? at : "", n);
	return b;
}

static struct tg_buf *str(struct tg_buf *b, uint32_t field, const char *s) { return bytes(b, field, s, strlen(s)); }
static struct tg_buf *sub(struct tg_buf *b, uint32_t field, const struct tg_buf *m) { return bytes(b, field, m->at, m->n); }

static struct tg_buf *value(const char *name, int64_t type, const int64_t *dims, uint32_t n)
{
	struct tg_buf *shape = new_buf(), *tensor = new_buf();
	for (uint32_t i = 0; i < n; i++)
		sub(shape, 1, dims[i] < 0 ? str(new_buf(), 2, "N") : num(new_buf(), 1, dims[i]));
	sub(num(tensor, 1, type), 2, shape);
	return sub(str(new_buf(), 1, name), 2, sub(new_buf(), 1, tensor));
}

static struct tg_buf *node(const char *op, const char *a, const char *b, const char *y)
{
	struct tg_buf *n = str(new_buf(), 1, a);
	if (b)
		str(n, 1, b);
	return str(str(str(n, 2, y), 3, "the_node"), 4, op);
}

static void write_model(struct tg_buf *graph, int64_t opset)
{
	struct tg_buf *m = num(new_buf(), 1, 8);
	sub(m, 7, graph);
	sub(m, 8, num(str(new_buf(), 1, ""), 2, opset));
	ck_assert(tg_file_write(&fx.d, fx.path, m->at, m->n));
}

static bool import(const struct tg_import_options *o, struct tg_import_result *r) { return tg_import_onnx(&fx.d, fx.a, fx.path, o, r); }

static bool says(const char *text)
{
	for (size_t i = 0; i < fx.d.list.n; i++)
		if (strstr(fx.d.list.at[i].text, text))
			return true;
	return false;
}

/* ---- the table ---- */

START_TEST(table_has_no_overlaps)
{
	uint32_t n;
	const struct tg_onnx_op_info *t = tg_onnx_ops(&n);
	ck_assert_uint_gt(n, 180);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert(t[i].first >= 1 && (!t[i].last || t[i].last >= t[i].first));
		ck_assert(!t[i].unsupported || *t[i].unsupported);
		for (uint32_t k = 0; k < i; k++) {
			bool same = !strcmp(t[i].name, t[k].name) && !strcmp(t[i].domain, t[k].domain);
			bool apart = (t[k].last && t[k].last < t[i].first) || (t[i].last && t[i].last < t[k].first);
			ck_assert_msg(!same || apart, "%s has two rows for one opset", t[i].name);
		}
	}
}
END_TEST

/* A one-node model of every row with a reason is refused with that reason and the node's name. */
START_TEST(reasons_are_given)
{
	uint32_t n;
	const struct tg_onnx_op_info *t = tg_onnx_ops(&n);
	const int64_t dims[] = { 2, 3 };
	for (uint32_t i = 0; i < n; i++) {
		struct tg_import_result r;
		if (!t[i].unsupported)
			continue;
		tg_diag_init(&fx.d, fx.a);
		struct tg_buf *nd = node(t[i].name, "x", "x", "y"), *g = new_buf();
		if (*t[i].domain)
			str(nd, 7, t[i].domain);
		sub(sub(sub(g, 1, nd), 11, value("x", 1, dims, 2)), 12, value("y", 1, dims, 2));
		struct tg_buf *m = sub(num(new_buf(), 1, 8), 7, g);
		sub(m, 8, num(str(new_buf(), 1, ""), 2, *t[i].domain ? 17 : t[i].first));
		if (*t[i].domain)
			sub(m, 8, num(str(new_buf(), 1, t[i].domain), 2, t[i].first));
		ck_assert(tg_file_write(&fx.d, fx.path, m->at, m->n));
		ck_assert(!import(NULL, &r));
		ck_assert_int_eq(fx.d.status, TG_ERR_UNSUPPORTED);
		ck_assert_msg(says(t[i].unsupported), "%s", t[i].name);
		ck_assert_str_eq(fx.d.list.at[0].loc.name, "the_node");
	}
}
END_TEST

/* ---- shapes and binding ---- */

static void write_symbolic(void)
{
	const int64_t dims[] = { -1, 3 };
	struct tg_buf *g = sub(new_buf(), 1, node("Relu", "x", NULL, "y"));
	sub(sub(g, 11, value("x", 1, dims, 2)), 12, value("y", 1, dims, 2));
	write_model(g, 17);
}

START_TEST(unbound_dimension_names_its_flag)
{
	struct tg_import_result r;
	write_symbolic();
	ck_assert(!import(NULL, &r));
	ck_assert_int_eq(fx.d.status, TG_ERR_USAGE);
	ck_assert(says("--dim"));
}
END_TEST

START_TEST(dimensions_bind_by_symbol_place_and_wildcard)
{
	static const char *const names[] = { "N", "x:0", "*" };
	for (uint32_t i = 0; i < 3; i++) {
		struct tg_dim_binding b = { names[i], 5 };
		struct tg_import_options o = { .dims = &b, .n_dims = 1 };
		struct tg_import_result r;
		write_symbolic();
		ck_assert(import(&o, &r));
		ck_assert_int_eq(tg_value_get(r.module, r.module->outputs.at[0].value)->shape.dim[0], 5);
		ck_assert_uint_eq(r.bound_inputs.n, 0);
	}
}
END_TEST

START_TEST(input_value_that_decides_a_shape_is_bound)
{
	const int64_t dims[] = { 2, 3 }, one[] = { 1 };
	int64_t want = -1;
	struct tg_buf *g = sub(new_buf(), 1, node("Reshape", "x", "s", "y"));
	sub(sub(sub(g, 11, value("x", 1, dims, 2)), 11, value("s", 7, one, 1)), 12, value("y", 1, one, 0));
	write_model(g, 17);
	struct tg_import_result r;
	ck_assert(!import(NULL, &r));
	ck_assert_int_eq(fx.d.status, TG_ERR_UNSUPPORTED);
	ck_assert(says("--bind"));
	tg_diag_init(&fx.d, fx.a);
	struct tg_input_value v = { "s", { TG_i64, { 1, { 1 } }, &want } };
	struct tg_import_options o = { .values = &v, .n_values = 1 };
	ck_assert(import(&o, &r));
	ck_assert_uint_eq(r.bound_inputs.n, 1);
	ck_assert_str_eq(r.bound_inputs.at[0], "s");
	ck_assert_uint_eq(r.module->inputs.n, 2);
	ck_assert_int_eq(tg_value_get(r.module, r.module->outputs.at[0].value)->shape.dim[0], 6);
}
END_TEST

START_TEST(nodes_are_sorted)
{
	const int64_t dims[] = { 2, 3 };
	struct tg_buf *g = sub(sub(new_buf(), 1, node("Neg", "h", NULL, "y")), 1, node("Relu", "x", NULL, "h"));
	sub(sub(g, 11, value("x", 1, dims, 2)), 12, value("y", 1, dims, 2));
	write_model(g, 17);
	struct tg_import_result r;
	ck_assert(import(NULL, &r));
	ck_assert_int_eq(r.module->body.first->code, TG_OP_relu);
	ck_assert_int_eq(r.module->body.last->code, TG_OP_neg);
}
END_TEST

START_TEST(all_unsupported_nodes_are_reported)
{
	const int64_t dims[] = { 2, 3 };
	struct tg_buf *g = sub(sub(new_buf(), 1, node("NoSuchOp", "x", NULL, "h")), 1, node("NoOtherOp", "x", NULL, "k"));
	sub(g, 1, node("Add", "h", "k", "y"));
	sub(sub(g, 11, value("x", 1, dims, 2)), 12, value("y", 1, dims, 2));
	write_model(g, 17);
	struct tg_import_result r;
	ck_assert(!import(NULL, &r));
	ck_assert_uint_eq(fx.d.n_errors, 2);
	ck_assert(says("NoSuchOp") && says("NoOtherOp"));
}
END_TEST

/* Large weights stay in the mapped file. */
START_TEST(weights_are_borrowed)
{
	const int64_t dims[] = { 1, 8192 };
	float *w = tg_alloc_n(fx.a, 8192, sizeof *w);
	for (uint32_t i = 0; i < 8192; i++)
		w[i] = (float)i;
	struct tg_buf *t = num(num(num(new_buf(), 1, 1), 1, 8192), 2, 1);
	bytes(str(t, 8, "w"), 9, w, 8192 * sizeof *w);
	struct tg_buf *g = sub(sub(new_buf(), 1, node("Add", "x", "w", "y")), 5, t);
	sub(sub(g, 11, value("x", 1, dims, 2)), 12, value("y", 1, dims, 2));
	write_model(g, 17);
	struct tg_import_result r;
	ck_assert(import(NULL, &r));
	const struct tg_file *map = &r.module->files.at[0].map;
	bool found = false;
	for (const struct tg_op *op = r.module->body.first; op; op = op->next) {
		if (op->code != TG_OP_constant)
			continue;
		const struct tg_const *c = op->attrs[TG_AT(constant, value)].c;
		found = true;
		ck_assert_int_eq(c->file, 0);
		ck_assert((const uint8_t *)c->data >= map->at && (const uint8_t *)c->data < map->at + map->n);
		ck_assert_ptr_eq(c->data, map->at + c->file_offset);
		ck_assert_double_eq(tg_const_f64(c, 8191), 8191);
	}
	ck_assert(found);
}
END_TEST

/* ---- tensor files ---- */

START_TEST(tensors_come_back_from_files)
{
	uint16_t data[6] = { 1, 2, 3, 40000, 5, 65535 };
	struct tg_tensor t = { TG_f16, { 2, { 2, 3 } }, data }, back;
	const char *name;
	ck_assert(tg_tensor_write_pb(&fx.d, fx.a, fx.path, &t, "a name"));
	ck_assert(tg_tensor_read_pb(&fx.d, fx.a, fx.path, &back, &name));
	ck_assert_str_eq(name, "a name");
	ck_assert_int_eq(back.dtype, TG_f16);
	ck_assert(tg_shape_equal(&back.shape, &t.shape));
	ck_assert_mem_eq(back.data, data, sizeof data);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frontend");
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 0); /* CTest watches the time: a busy machine must not decide */
	tcase_add_test(c, table_has_no_overlaps);
	tcase_add_test(c, reasons_are_given);
	tcase_add_test(c, unbound_dimension_names_its_flag);
	tcase_add_test(c, dimensions_bind_by_symbol_place_and_wildcard);
	tcase_add_test(c, input_value_that_decides_a_shape_is_bound);
	tcase_add_test(c, nodes_are_sorted);
	tcase_add_test(c, all_unsupported_nodes_are_reported);
	tcase_add_test(c, weights_are_borrowed);
	tcase_add_test(c, tensors_come_back_from_files);
	suite_add_tcase(s, c);
	return run_suite(s);
}
