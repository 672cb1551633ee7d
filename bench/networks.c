/* networks.c: the table of reference networks, and square products. */
#include "net.h"

#include <math.h>
#include <string.h>

/* X[M, K] times a constant W[K, N]. */
void build_gemm(struct net *n)
{
	const struct net_options *o = &n->o;
	const char *x = net_input(n, "x", TG_f32, DIMS(o->m, o->k), UNIFORM(1));
	const char *w = net_matrix(n, "weight", DIMS(o->k, o->n), 1 / sqrt((double)o->k));
	net_op(n, "y", "MatMul", "", x, w, NULL);
	n->macs += (uint64_t)o->m * (uint64_t)o->k * (uint64_t)o->n;
	net_output(n, "y", TG_f32, DIMS(o->m, o->n));
}

enum { BLOCK_NODES = 5, SHORT_CUT = 4 /* blocks */ };

/* At least M nodes: blocks of a product, its bias, a gate and a residual from a few blocks before. What the compiler takes for it should grow as M does. */
void build_deep(struct net *n)
{
	const struct net_options *o = &n->o;
	const char *x = net_input(n, "x", TG_f32, DIMS(o->k, o->n), UNIFORM(1)), *before[SHORT_CUT] = { x, x, x, x };
	for (int64_t i = 0; i * BLOCK_NODES < o->m; i++) {
		const char *w = net_weight(n, net_named(n, "w%lld", (long long)i), DIMS(o->n, o->n), UNIFORM(0.5 / sqrt((double)o->n)));
		const char *b = net_weight(n, net_named(n, "b%lld", (long long)i), DIMS(o->n), UNIFORM(0.1));
		const char *y = net_op(n, NULL, "Add", "", net_op(n, NULL, "MatMul", "", x, w, NULL), b, NULL);
		const char *gated = net_op(n, NULL, "Mul", "", y, net_op(n, NULL, "Sigmoid", "", y, NULL), NULL);
		bool last = (i + 1) * BLOCK_NODES >= o->m;
		x = net_op(n, last ? "y" : NULL, "Add", "", gated, before[i % SHORT_CUT], NULL);
		before[i % SHORT_CUT] = x;
		n->macs += (uint64_t)o->k * (uint64_t)o->n * (uint64_t)o->n;
	}
	net_output(n, "y", TG_f32, DIMS(o->k, o->n));
}

const struct network networks[] = {
	{ "resnet50", "ResNet-50 (v1.5), 224 x 224, batch normalisation folded", { .batch = 1 }, build_resnet50 },
	{ "mobilenetv2", "MobileNetV2, 224 x 224, batch normalisation folded", { .batch = 1 }, build_mobilenetv2 },
	{ "bert-base", "BERT-base encoder and pooler", { .batch = 1, .seq = 128 }, build_bert_base },
	{ "gpt2", "GPT-2 small, prefill, logits of every position", { .batch = 1, .seq = 128 }, build_gpt2 },
	{ "gpt2-decode", "GPT-2 small, one step behind a cache", { .batch = 1, .cache = 1024 }, build_gpt2_decode },
	{ "llama-block", "one block of 4096 hidden, 11008 MLP, 32 heads; prefill", { .batch = 1, .seq = 512 }, build_llama_block },
	{ "llama-block-decode", "the same, one step behind a cache in f16", { .batch = 1, .cache = 1024 }, build_llama_block_decode },
	{ "gemm", "a product with a constant", { .m = 1024, .k = 1024, .n = 1024 }, build_gemm },
	{ "deep", "M nodes in a row on K rows of N values, for compile time", { .m = 2000, .k = 8, .n = 32 }, build_deep },
	{ NULL, NULL, { 0 }, NULL },
};

struct net *network_build(struct tg_arena *a, const char *name, const struct net_options *o)
{
	const struct network *w = networks;
	while (w->name && strcmp(w->name, name) != 0)
		w++;
	if (!w->name)
		return NULL;
	struct net_options mine = w->defaults;
#define GIVEN(field) mine.field = o->field ? o->field : mine.field
	GIVEN(batch);
	GIVEN(seq);
	GIVEN(cache);
	GIVEN(m);
	GIVEN(k);
	GIVEN(n);
#undef GIVEN
	mine.seed = o->seed;
	mine.weights = o->weights == TG_none ? TG_f32 : o->weights;
	struct net *n = tg_alloc(a, sizeof *n);
	net_init(n, a, &mine);
	w->build(n);
	return n;
}
