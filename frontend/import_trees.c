/* import_trees.c: ai.onnx.ml TreeEnsembleClassifier and TreeEnsembleRegressor.
 *
 * All trees are walked in step: the current node of every (row, tree) is an index into tables of features, thresholds and children; a leaf is its
 * own child, so walking as often as the deepest tree needs is right for all. Then the leaves' weights are gathered and summed. */
#include "import.h"

#include <string.h>

enum { MAX_NODES = 1 << 20, MAX_DEPTH = 256, MAX_WEIGHTS = 1 << 22 };
enum mode { BRANCH_LEQ, BRANCH_LT, BRANCH_GTE, BRANCH_GT, BRANCH_EQ, BRANCH_NEQ, LEAF, N_MODES };

struct trees {
	uint32_t n, n_roots, depth, modes; /* modes: a bit for each that occurs */
	int64_t *feature, *yes, *no, *root, *mode, *missing;
	float *value, *weight;
	uint32_t n_targets;
	struct tg_names index; /* "tree:node" -> node */
};

static tg_val table(struct tg_im *im, enum tg_dtype t, const void *at, int64_t n, int64_t width)
{
	struct tg_shape s = { width ? 2 : 1, { n, width } };
	return tg_im_put_const(im, tg_const_dense(im->arena, t, &s, at, true));
}

static tg_val ints_table(struct tg_im *im, const int64_t *v, uint32_t n)
{
	int32_t *at = tg_alloc_n(im->arena, n + 1u, sizeof *at);
	for (uint32_t i = 0; i < n; i++)
		at[i] = (int32_t)v[i];
	return table(im, TG_i32, at, n, 0);
}

static bool column(struct tg_im *im, const char *name, uint32_t n, struct tg_ints *out)
{
	if (!tg_im_attr_ints(im, name, out) || out->n != n)
		tg_im_error(im, "attribute %s has %u entries, expected %u", name, out->n, n);
	return !im->failed;
}

static bool read_modes(struct tg_im *im, struct trees *t)
{
	static const char *const names[N_MODES] = { "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "LEAF" };
	const Onnx__AttributeProto *a = tg_im_attr(im, "nodes_modes");
	if (!a || a->n_strings != t->n) {
		tg_im_error(im, "attribute nodes_modes has %zu entries, expected %u", a ? a->n_strings : 0, t->n);
		return false;
	}
	for (uint32_t i = 0; i < t->n; i++) {
		uint32_t m = 0;
		while (m < N_MODES && (a->strings[i].len != strlen(names[m]) || memcmp(a->strings[i].data, names[m], a->strings[i].len)))
			m++;
		if (m == N_MODES) {
			tg_im_error(im, "entry %u of nodes_modes is unknown", i);
			return false;
		}
		t->mode[i] = m;
		t->modes |= 1u << m;
	}
	return true;
}

static const char *key(struct tg_im *im, int64_t tree, int64_t node)
{
	return tg_asprintf(im->tmp, "%lld:%lld", (long long)tree, (long long)node);
}

static bool link_children(struct tg_im *im, struct trees *t, struct tg_ints trees, struct tg_ints yes, struct tg_ints no)
{
	bool *child = tg_alloc_n(im->tmp, t->n + 1u, sizeof *child);
	for (uint32_t i = 0; i < t->n; i++) {
		t->yes[i] = t->no[i] = i;
		if (t->mode[i] == LEAF)
			continue;
		uint32_t *a = tg_names_find(&t->index, key(im, trees.at[i], yes.at[i])), *b = tg_names_find(&t->index, key(im, trees.at[i], no.at[i]));
		if (!a || !b || child[*a] || (child[*b] && a != b) || *a == i || *b == i) {
			tg_im_error(im, "node %u of the trees has a child that is missing or not its own", i);
			return false;
		}
		t->yes[i] = *a;
		t->no[i] = *b;
		child[*a] = child[*b] = true;
	}
	for (uint32_t i = 0; i < t->n; i++)
		if (!child[i])
			t->root[t->n_roots++] = i;
	return true;
}

/* Every node but the roots has one parent, so levels from the roots find the depth; nodes on a cycle are never reached. */
static bool find_depth(struct tg_im *im, struct trees *t)
{
	uint32_t *level = tg_alloc_n(im->tmp, t->n + 1u, sizeof *level), n = t->n_roots, reached = 0;
	for (uint32_t i = 0; i < n; i++)
		level[i] = (uint32_t)t->root[i];
	for (t->depth = 0; n; t->depth++) {
		uint32_t *next = tg_alloc_n(im->tmp, t->n + 1u, sizeof *next), k = 0;
		reached += n;
		for (uint32_t i = 0; i < n; i++)
			if (t->mode[level[i]] != LEAF) {
				next[k++] = (uint32_t)t->yes[level[i]];
				if (t->no[level[i]] != t->yes[level[i]])
					next[k++] = (uint32_t)t->no[level[i]];
			}
		level = next;
		n = k;
		if (t->depth > MAX_DEPTH) {
			tg_im_refuse(im, "trees of more than %d levels", MAX_DEPTH);
			return false;
		}
	}
	if (reached != t->n)
		tg_im_error(im, "the nodes of the trees form a cycle");
	return !im->failed;
}

static bool read_trees(struct tg_im *im, struct trees *t)
{
	struct tg_ints trees, nodes, features, yes, no, missing;
	const double *values = NULL;
	uint32_t n_values;
	if (!tg_im_attr_ints(im, "nodes_treeids", &trees) || !trees.n || trees.n > MAX_NODES) {
		tg_im_refuse(im, "an ensemble of %u nodes, 1 to %d are supported", trees.n, MAX_NODES);
		return false;
	}
	t->n = trees.n;
	if (!column(im, "nodes_nodeids", t->n, &nodes) || !column(im, "nodes_featureids", t->n, &features) || !column(im, "nodes_truenodeids", t->n, &yes) ||
	    !column(im, "nodes_falsenodeids", t->n, &no))
		return false;
	if (!tg_im_attr_floats(im, "nodes_values", &values, &n_values) || n_values != t->n) {
		tg_im_refuse(im, "thresholds that are not in nodes_values");
		return false;
	}
	int64_t **columns[] = { &t->feature, &t->yes, &t->no, &t->root, &t->mode, &t->missing };
	for (uint32_t i = 0; i < TG_ARRAY_LEN(columns); i++)
		*columns[i] = tg_im_dims(im, t->n, 0);
	t->value = tg_alloc_n(im->arena, t->n + 1u, sizeof *t->value);
	tg_names_init(&t->index, im->tmp, 1);
	bool has_missing = tg_im_attr_ints(im, "nodes_missing_value_tracks_true", &missing) && missing.n == t->n;
	for (uint32_t i = 0; i < t->n; i++) {
		bool is_new;
		tg_names_add(&t->index, key(im, trees.at[i], nodes.at[i]), i, &is_new);
		if (!is_new) {
			tg_im_error(im, "node %lld of tree %lld comes twice", (long long)nodes.at[i], (long long)trees.at[i]);
			return false;
		}
		t->feature[i] = features.at[i];
		t->value[i] = (float)values[i];
		t->missing[i] = has_missing ? missing.at[i] != 0 : 0;
	}
	return read_modes(im, t) && link_children(im, t, trees, yes, no) && find_depth(im, t);
}

/* Names of the columns differ between classifier (class_) and regressor (target_). */
static bool read_weights(struct tg_im *im, struct trees *t, const char *what, bool *all_positive, bool *one_id, int64_t *the_id)
{
	struct tg_ints trees, nodes, ids;
	const double *weights = NULL;
	uint32_t n;
	if (!tg_im_attr_ints(im, tg_asprintf(im->tmp, "%s_treeids", what), &trees) || !tg_im_attr_floats(im, tg_asprintf(im->tmp, "%s_weights", what), &weights, &n) ||
	    n != trees.n || !column(im, tg_asprintf(im->tmp, "%s_nodeids", what), n, &nodes) || !column(im, tg_asprintf(im->tmp, "%s_ids", what), n, &ids)) {
		tg_im_refuse(im, "leaf weights that are not in %s_weights", what);
		return false;
	}
	if ((uint64_t)t->n * t->n_targets > MAX_WEIGHTS) {
		tg_im_refuse(im, "an ensemble with more than %d weights", MAX_WEIGHTS);
		return false;
	}
	t->weight = tg_alloc_n(im->arena, (size_t)t->n * t->n_targets + 1, sizeof *t->weight);
	*all_positive = *one_id = true;
	*the_id = n ? ids.at[0] : 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t *at = tg_names_find(&t->index, key(im, trees.at[i], nodes.at[i]));
		if (!at || ids.at[i] < 0 || ids.at[i] >= t->n_targets) {
			tg_im_error(im, "weight %u belongs to no node or target", i);
			return false;
		}
		t->weight[(size_t)*at * t->n_targets + (size_t)ids.at[i]] += (float)weights[i];
		*all_positive &= weights[i] >= 0;
		*one_id &= ids.at[i] == *the_id;
	}
	return true;
}

static tg_val decide(struct tg_im *im, const struct trees *t, tg_val x, tg_val v, tg_val at)
{
	tg_val result = { 0 }, mode = { 0 };
	uint32_t present = t->modes & ~(1u << LEAF);
	for (uint32_t m = 0; m < LEAF; m++) {
		if (!(present >> m & 1))
			continue;
		tg_val c = m == BRANCH_LEQ   ? X_LE(x, v)
			   : m == BRANCH_LT  ? X_LT(x, v)
			   : m == BRANCH_GTE ? X_LE(v, x)
			   : m == BRANCH_GT  ? X_LT(v, x)
			   : m == BRANCH_EQ  ? X_EQ(x, v)
					     : X_NOT(X_EQ(x, v));
		if (tg_has(result) && !tg_has(mode))
			mode = tg_im_gather(im, ints_table(im, t->mode, t->n), at, 0);
		result = tg_has(result) ? tg_im_select(im, X_EQ(mode, tg_im_scalar_i64(im, TG_i32, m)), c, result) : c;
	}
	return result;
}

/* [rows, targets]: the sum of the weights of the leaves that each row reaches */
static tg_val walk(struct tg_im *im, const struct trees *t, tg_val x)
{
	int64_t rows = tg_im_shape(im, x)->dim[0], width = tg_im_shape(im, x)->dim[1];
	tg_val feature = ints_table(im, t->feature, t->n), yes = ints_table(im, t->yes, t->n), no = ints_table(im, t->no, t->n);
	tg_val value = table(im, TG_f32, t->value, t->n, 0), flat = tg_im_reshape_n(im, tg_im_cast(im, x, TG_f32), 1, rows * width);
	struct tg_shape start = { 2, { rows, t->n_roots } }, lines = { 2, { rows, 1 } };
	tg_val at = tg_im_broadcast(im, tg_im_reshape_n(im, ints_table(im, t->root, t->n_roots), 2, (int64_t)1, (int64_t)t->n_roots), &start);
	tg_val row = X_MUL(tg_im_iota(im, TG_i32, &lines, 0), tg_im_scalar_i64(im, TG_i32, width));
	bool any_missing = false;
	for (uint32_t i = 0; i < t->n; i++)
		any_missing |= t->missing[i] && t->mode[i] != LEAF;
	for (uint32_t k = 1; k < t->depth && !im->failed; k++) {
		tg_val have = tg_im_gather(im, flat, X_ADD(row, tg_im_gather(im, feature, at, 0)), 0);
		tg_val go = decide(im, t, have, tg_im_gather(im, value, at, 0), at);
		if (any_missing) {
			tg_val tracks = X_LT(tg_im_scalar_i64(im, TG_i32, 0), tg_im_gather(im, ints_table(im, t->missing, t->n), at, 0));
			go = X_OR(go, X_AND(tg_im_1(im, TG_OP_is_nan, have), tracks));
		}
		at = tg_im_select(im, go, tg_im_gather(im, yes, at, 0), tg_im_gather(im, no, at, 0));
	}
	tg_val leaves = tg_im_gather(im, table(im, TG_f32, t->weight, t->n, t->n_targets), at, 0);
	return tg_im_reduce(im, TG_OP_reduce_sum, leaves, 2, false);
}

static bool check_rows(struct tg_im *im, const struct trees *t)
{
	const struct tg_shape *s = tg_im_in(im, 0) ? tg_im_shape(im, im->in[0]) : NULL;
	if (!s || s->rank != 2) {
		tg_im_error(im, "the operand has not rank 2");
		return false;
	}
	for (uint32_t i = 0; i < t->n; i++)
		if (t->mode[i] != LEAF && (t->feature[i] < 0 || t->feature[i] >= s->dim[1])) {
			tg_im_error(im, "node %u asks for feature %lld of %lld", i, (long long)t->feature[i], (long long)s->dim[1]);
			return false;
		}
	for (uint32_t i = 0; i < t->n; i++)
		t->feature[i] = t->mode[i] == LEAF ? 0 : t->feature[i];
	return s->dim[1] > 0;
}

static tg_val add_base(struct tg_im *im, tg_val scores)
{
	const double *base;
	uint32_t n;
	if (!tg_im_attr_floats(im, "base_values", &base, &n) || !n)
		return scores;
	float *at = tg_alloc_n(im->arena, n, sizeof *at);
	for (uint32_t i = 0; i < n; i++)
		at[i] = (float)base[i];
	return X_ADD(scores, table(im, TG_f32, at, n, 0));
}

static tg_val transform(struct tg_im *im, tg_val y)
{
	const char *how = tg_im_str(im, "post_transform", "NONE");
	if (!strcmp(how, "SOFTMAX"))
		return tg_im_softmax(im, y, 2, false);
	if (!strcmp(how, "LOGISTIC"))
		return tg_im_1(im, TG_OP_sigmoid, y);
	if (strcmp(how, "NONE"))
		tg_im_refuse(im, "post_transform %s", tg_quoted(im->tmp, how));
	return y;
}

void tg_im_import_tree_classifier(struct tg_im *im)
{
	struct trees t = { 0 };
	struct tg_ints labels;
	bool all_positive, one_id;
	int64_t the_id;
	if (!tg_im_attr_ints(im, "classlabels_int64s", &labels) || !labels.n) {
		tg_im_refuse(im, "classes that are labelled with strings");
		return;
	}
	t.n_targets = labels.n;
	if (!read_trees(im, &t) || !read_weights(im, &t, "class", &all_positive, &one_id, &the_id) || !check_rows(im, &t))
		return;
	tg_val scores = walk(im, &t, im->in[0]), label, table_of = tg_im_i64s(im, labels.at, labels.n);
	if (labels.n == 2 && one_id) { /* one score decides between two classes */
		tg_val s = add_base(im, tg_im_slice(im, scores, 1, (uint32_t)the_id, 1));
		tg_val yes = X_LT(X_NUM(s, all_positive ? 0.5 : 0), s);
		tg_val other = all_positive ? X_SUB(X_NUM(s, 1), s) : tg_im_1(im, TG_OP_neg, s);
		scores = tg_im_concat(im, (tg_val[]){ other, s }, 2, 1);
		label = tg_im_gather(im, table_of, tg_im_reshape_n(im, tg_im_cast(im, yes, TG_i32), 1, tg_im_count(im, yes)), 0);
	} else {
		union tg_attr a[3];
		a[TG_AT(arg_max, axis)].i = 1;
		a[TG_AT(arg_max, keep)].i = 0;
		a[TG_AT(arg_max, last)].i = 0;
		scores = add_base(im, scores);
		label = tg_im_gather(im, table_of, tg_im_op(im, TG_OP_arg_max, &scores, 1, a), 0);
	}
	im->out[0] = label;
	if (im->n_out > 1)
		im->out[1] = transform(im, scores);
}

void tg_im_import_tree_regressor(struct tg_im *im)
{
	struct trees t = { 0 };
	bool all_positive, one_id;
	int64_t the_id, n = tg_im_int(im, "n_targets", 1);
	const char *how = tg_im_str(im, "aggregate_function", "SUM");
	if (n < 1 || n > MAX_WEIGHTS || (strcmp(how, "SUM") && strcmp(how, "AVERAGE"))) {
		tg_im_refuse(im, "%lld targets, aggregated by %s", (long long)n, tg_quoted(im->tmp, how));
		return;
	}
	t.n_targets = (uint32_t)n;
	if (!read_trees(im, &t) || !read_weights(im, &t, "target", &all_positive, &one_id, &the_id) || !check_rows(im, &t))
		return;
	tg_val y = walk(im, &t, im->in[0]);
	if (!strcmp(how, "AVERAGE"))
		y = X_DIV(y, X_NUM(y, t.n_roots));
	im->out[0] = transform(im, add_base(im, y));
}
