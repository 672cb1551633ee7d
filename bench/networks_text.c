/* networks_text.c: transformers, spelled the way exporters spell them.
 *
 * BERT-base (Devlin et al., 2018) as PyTorch exports it: MatMul + Add, Reshape/Transpose heads, GELU by Erf in five nodes. GPT-2 small (Radford et al.,
 * 2019): Gemm on rows, Split, a causal Where, GELU by Tanh; its embedding is stored a second time, transposed, for the logits. The Llama-style
 * block (Touvron et al., 2023): RMSNorm by Pow/ReduceMean/Sqrt/Div, rotary embedding from position ids by Cos/Sin/Slice/Neg/Concat, SwiGLU by
 * Sigmoid/Mul. A cache is a pair of inputs for each layer, and a pair of outputs that is one step longer.
 *
 * Weights have the variance that keeps activations at about 1; the products that end a residual branch are smaller. */
#include "net.h"

#include <float.h>
#include <math.h>

#define RESIDUAL_GAIN 0.4

struct rows { int64_t batch, seq, hidden; };

static const char *scalar(struct net *n, const char *name, double v)
{
	return net_const(n, net_named(n, "/%s_%u", name, n->n_nodes), TG_f32, (struct tg_shape){ 0 }, VALUE(v));
}

static const char *binary(struct net *n, const char *type, const char *x, const char *y)
{
	return net_op(n, NULL, type, "", x, y, NULL);
}

static const char *unary(struct net *n, const char *type, const char *x)
{
	return net_op(n, NULL, type, "", x, NULL);
}

static const char *with(struct net *n, const char *type, const char *x, double v)
{
	const char *c = scalar(n, type, v);
	return binary(n, type, x, c);
}

static const char *reshape(struct net *n, const char *x, uint32_t rank, const int64_t *dim)
{
	const char *shape = net_ints(n, net_named(n, "/Reshape_%u_shape", n->n_nodes), rank, dim);
	return net_op(n, NULL, "Reshape", "", x, shape, NULL);
}

static const char *transpose(struct net *n, const char *x, const char *perm)
{
	return net_op(n, NULL, "Transpose", net_named(n, "perm=%s", perm), x, NULL);
}

static const char *unsqueeze(struct net *n, const char *x, uint32_t count, const int64_t *axes)
{
	const char *a = net_ints(n, net_named(n, "/Unsqueeze_%u_axes", n->n_nodes), count, axes);
	return net_op(n, NULL, "Unsqueeze", "", x, a, NULL);
}

/* MatMul by a [in, out] weight; Add unless `bias` is left out. */
static const char *linear(struct net *n, const char *x, struct rows r, const char *name, int64_t out, double gain, bool bias)
{
	const char *w = net_matrix(n, net_named(n, "%s.weight", name), DIMS(r.hidden, out), gain / sqrt((double)r.hidden));
	const char *y = binary(n, "MatMul", x, w);
	n->macs += (uint64_t)(r.batch * r.seq * r.hidden * out);
	if (!bias)
		return y;
	const char *b = net_weight(n, net_named(n, "%s.bias", name), DIMS(out), UNIFORM(0.05));
	return binary(n, "Add", b, y);
}

static const char *layer_norm(struct net *n, const char *x, const char *name, int64_t hidden)
{
	const char *scale = net_weight(n, net_named(n, "%s.weight", name), DIMS(hidden), UNIFORM_AT(0.1, 1));
	const char *bias = net_weight(n, net_named(n, "%s.bias", name), DIMS(hidden), UNIFORM(0.05));
	return net_op(n, NULL, "LayerNormalization", "axis=-1 epsilon=1e-5", x, scale, bias, NULL);
}

/* [batch, seq, heads * size] to [batch, heads, seq, size] (or [.., size, seq]) */
static const char *split_heads(struct net *n, const char *x, struct rows r, int64_t heads, const char *perm)
{
	const char *y = reshape(n, x, 4, (int64_t[]){ r.batch, r.seq, heads, r.hidden / heads });
	return transpose(n, y, perm);
}

static const char *join_heads(struct net *n, const char *x, struct rows r)
{
	const char *y = transpose(n, x, "0,2,1,3");
	return reshape(n, y, 3, (int64_t[]){ r.batch, r.seq, r.hidden });
}

/* ---- BERT ---- */

#define BERT_HIDDEN 768
#define BERT_HEADS 12
#define BERT_LAYERS 12
#define BERT_VOCABULARY 30522
#define BERT_POSITIONS 512

static const char *gelu_erf(struct net *n, const char *x)
{
	const char *y = with(n, "Div", x, 1.4142135623730951);
	y = unary(n, "Erf", y);
	y = with(n, "Add", y, 1);
	y = binary(n, "Mul", x, y);
	return with(n, "Mul", y, 0.5);
}

/* 0 where the mask is 1, the lowest number elsewhere; [batch, 1, 1, seq] */
static const char *bert_mask(struct net *n, const char *mask)
{
	const char *m = unsqueeze(n, mask, 2, (int64_t[]){ 1, 2 });
	m = net_op(n, NULL, "Cast", "to=1", m, NULL);
	const char *one = scalar(n, "one", 1);
	m = binary(n, "Sub", one, m);
	const char *hidden = net_op(n, NULL, "Cast", "to=9", m, NULL);
	const char *lowest = scalar(n, "lowest", -FLT_MAX);
	return net_op(n, NULL, "Where", "", hidden, lowest, m, NULL);
}

static const char *bert_embeddings(struct net *n, struct rows r)
{
	int64_t looked_up = r.batch * r.seq;
	const char *ids = net_input(n, "input_ids", TG_i64, DIMS(r.batch, r.seq), (struct fill){ FILL_BELOW, BERT_VOCABULARY, 0, NULL });
	const char *types = net_input(n, "token_type_ids", TG_i64, DIMS(r.batch, r.seq), VALUE(0));
	const char *words = net_table(n, "embeddings.word_embeddings.weight", DIMS(BERT_VOCABULARY, r.hidden), UNIFORM(0.7), looked_up);
	const char *kinds = net_table(n, "embeddings.token_type_embeddings.weight", DIMS(2, r.hidden), UNIFORM(0.3), looked_up);
	const char *places = net_table(n, "embeddings.position_embeddings.weight", DIMS(BERT_POSITIONS, r.hidden), UNIFORM(0.3), r.seq);
	const char *positions = net_const(n, "embeddings.position_ids", TG_i64, DIMS(1, r.seq), (struct fill){ FILL_RANGE, 0, 0, NULL });
	const char *x = net_op(n, NULL, "Gather", "axis=0", words, ids, NULL);
	const char *y = net_op(n, NULL, "Gather", "axis=0", kinds, types, NULL);
	x = binary(n, "Add", x, y);
	y = net_op(n, NULL, "Gather", "axis=0", places, positions, NULL);
	x = binary(n, "Add", x, y);
	return layer_norm(n, x, "embeddings.LayerNorm", r.hidden);
}

static const char *bert_attention(struct net *n, const char *x, struct rows r, const char *mask, const char *layer)
{
	int64_t size = r.hidden / BERT_HEADS;
	const char *q = linear(n, x, r, net_named(n, "%s.attention.self.query", layer), r.hidden, 1, true);
	const char *k = linear(n, x, r, net_named(n, "%s.attention.self.key", layer), r.hidden, 1, true);
	k = split_heads(n, k, r, BERT_HEADS, "0,2,3,1");
	const char *v = linear(n, x, r, net_named(n, "%s.attention.self.value", layer), r.hidden, 1, true);
	v = split_heads(n, v, r, BERT_HEADS, "0,2,1,3");
	q = split_heads(n, q, r, BERT_HEADS, "0,2,1,3");
	const char *s = binary(n, "MatMul", q, k);
	s = with(n, "Div", s, sqrt((double)size));
	s = binary(n, "Add", s, mask);
	s = net_op(n, NULL, "Softmax", "axis=-1", s, NULL);
	s = binary(n, "MatMul", s, v);
	n->macs += 2 * (uint64_t)(r.batch * r.seq * r.seq * r.hidden);
	s = join_heads(n, s, r);
	return linear(n, s, r, net_named(n, "%s.attention.output.dense", layer), r.hidden, 1, true);
}

static const char *bert_layer(struct net *n, const char *x, struct rows r, const char *mask, const char *layer)
{
	struct rows wide = { r.batch, r.seq, 4 * r.hidden };
	const char *y = bert_attention(n, x, r, mask, layer);
	y = binary(n, "Add", y, x);
	x = layer_norm(n, y, net_named(n, "%s.attention.output.LayerNorm", layer), r.hidden);
	y = linear(n, x, r, net_named(n, "%s.intermediate.dense", layer), wide.hidden, 1, true);
	y = gelu_erf(n, y);
	y = linear(n, y, wide, net_named(n, "%s.output.dense", layer), r.hidden, 1, true);
	y = binary(n, "Add", y, x);
	return layer_norm(n, y, net_named(n, "%s.output.LayerNorm", layer), r.hidden);
}

void build_bert_base(struct net *n)
{
	struct rows r = { n->o.batch, n->o.seq, BERT_HIDDEN };
	const char *x = bert_embeddings(n, r);
	const char *mask = net_input(n, "attention_mask", TG_i64, DIMS(r.batch, r.seq), VALUE(1));
	mask = bert_mask(n, mask);
	for (int i = 0; i < BERT_LAYERS; i++)
		x = bert_layer(n, x, r, mask, net_named(n, "encoder.layer.%d", i));
	x = net_op(n, "last_hidden_state", "Identity", "", x, NULL);
	net_output(n, x, TG_f32, DIMS(r.batch, r.seq, r.hidden));
	const char *first = net_const(n, "pooler.first", TG_i64, (struct tg_shape){ 0 }, VALUE(0));
	const char *y = net_op(n, NULL, "Gather", "axis=1", x, first, NULL);
	const char *w = net_matrix(n, "pooler.dense.weight", DIMS(r.hidden, r.hidden), 1 / sqrt((double)r.hidden));
	const char *b = net_weight(n, "pooler.dense.bias", DIMS(r.hidden), UNIFORM(0.05));
	y = net_op(n, NULL, "Gemm", "alpha=1.0 beta=1.0 transB=1", y, w, b, NULL);
	n->macs += (uint64_t)(r.batch * r.hidden * r.hidden);
	net_op(n, "pooler_output", "Tanh", "", y, NULL);
	net_output(n, "pooler_output", TG_f32, DIMS(r.batch, r.hidden));
}

/* ---- GPT-2 ---- */

#define GPT2_HIDDEN 768
#define GPT2_HEADS 12
#define GPT2_LAYERS 12
#define GPT2_VOCABULARY 50257
#define GPT2_POSITIONS 1024

/* Keys and values of one layer: what came in (NULL: nothing), and the names of what goes out. */
struct cache { const char *past[2], *present[2]; };

static struct cache cache_ports(struct net *n, int layer, struct tg_shape past, enum tg_dtype t)
{
	static const char *const kinds[] = { "key", "value" };
	struct cache c = { 0 };
	struct tg_shape present = past;
	present.dim[2] += n->o.seq ? n->o.seq : 1;
	for (int i = 0; i < 2; i++) {
		if (past.dim[2])
			c.past[i] = net_input(n, net_named(n, "past_key_values.%d.%s", layer, kinds[i]), t, past, UNIFORM(1));
		c.present[i] = net_named(n, "present.%d.%s", layer, kinds[i]);
		net_output(n, c.present[i], t, present);
	}
	return c;
}

/* The past with the new rows behind it, as an output. */
static const char *extend(struct net *n, const struct cache *c, int which, const char *x)
{
	if (!c->past[which])
		return net_op(n, c->present[which], "Identity", "", x, NULL);
	return net_op(n, c->present[which], "Concat", "axis=2", c->past[which], x, NULL);
}

/* torch.addmm on rows. */
static const char *conv1d(struct net *n, const char *x, struct rows r, const char *name, int64_t out, double gain)
{
	const char *w = net_matrix(n, net_named(n, "%s.weight", name), DIMS(r.hidden, out), gain / sqrt((double)r.hidden));
	const char *b = net_weight(n, net_named(n, "%s.bias", name), DIMS(out), UNIFORM(0.05));
	const char *y = reshape(n, x, 2, (int64_t[]){ r.batch * r.seq, r.hidden });
	y = net_op(n, NULL, "Gemm", "alpha=1.0 beta=1.0", y, w, b, NULL);
	n->macs += (uint64_t)(r.batch * r.seq * r.hidden * out);
	return reshape(n, y, 3, (int64_t[]){ r.batch, r.seq, out });
}

static const char *gelu_tanh(struct net *n, const char *x)
{
	const char *half = with(n, "Mul", x, 0.5);
	const char *y = with(n, "Pow", x, 3);
	y = with(n, "Mul", y, 0.044715);
	y = binary(n, "Add", x, y);
	y = with(n, "Mul", y, 0.7978845608028654);
	y = unary(n, "Tanh", y);
	y = with(n, "Add", y, 1);
	return binary(n, "Mul", half, y);
}

static const char *gpt2_attention(struct net *n, const char *x, struct rows r, const char *visible, struct cache c, const char *layer)
{
	const char *qkv[3];
	int64_t size = r.hidden / GPT2_HEADS;
	const char *y = conv1d(n, x, r, net_named(n, "%s.attn.c_attn", layer), 3 * r.hidden, 1);
	net_split(n, y, 2, 3, r.hidden, qkv);
	for (int i = 0; i < 3; i++)
		qkv[i] = split_heads(n, qkv[i], r, GPT2_HEADS, "0,2,1,3");
	const char *k = extend(n, &c, 0, qkv[1]);
	const char *v = extend(n, &c, 1, qkv[2]);
	k = transpose(n, k, "0,1,3,2");
	const char *s = binary(n, "MatMul", qkv[0], k);
	s = with(n, "Div", s, sqrt((double)size));
	if (visible) {
		const char *lowest = scalar(n, "lowest", -FLT_MAX);
		s = net_op(n, NULL, "Where", "", visible, s, lowest, NULL);
	}
	s = net_op(n, NULL, "Softmax", "axis=-1", s, NULL);
	s = binary(n, "MatMul", s, v);
	n->macs += 2 * (uint64_t)(r.batch * r.seq * (n->o.cache + r.seq) * r.hidden);
	s = join_heads(n, s, r);
	return conv1d(n, s, r, net_named(n, "%s.attn.c_proj", layer), r.hidden, RESIDUAL_GAIN);
}

static const char *gpt2_layer(struct net *n, const char *x, struct rows r, const char *visible, struct cache c, const char *layer)
{
	struct rows wide = { r.batch, r.seq, 4 * r.hidden };
	const char *y = layer_norm(n, x, net_named(n, "%s.ln_1", layer), r.hidden);
	y = gpt2_attention(n, y, r, visible, c, layer);
	x = binary(n, "Add", y, x);
	y = layer_norm(n, x, net_named(n, "%s.ln_2", layer), r.hidden);
	y = conv1d(n, y, r, net_named(n, "%s.mlp.c_fc", layer), wide.hidden, 1);
	y = gelu_tanh(n, y);
	y = conv1d(n, y, wide, net_named(n, "%s.mlp.c_proj", layer), r.hidden, RESIDUAL_GAIN);
	return binary(n, "Add", x, y);
}

static void gpt2(struct net *n, struct rows r)
{
	int64_t past = n->o.cache, places = past + r.seq > GPT2_POSITIONS ? past + r.seq : GPT2_POSITIONS;
	struct tg_shape cached = DIMS(r.batch, GPT2_HEADS, past, r.hidden / GPT2_HEADS);
	const char *ids = net_input(n, "input_ids", TG_i64, DIMS(r.batch, r.seq), (struct fill){ FILL_BELOW, GPT2_VOCABULARY, 0, NULL });
	const char *positions = net_input(n, "position_ids", TG_i64, DIMS(1, r.seq), (struct fill){ FILL_RANGE, (double)past, 0, NULL });
	const char *words = net_table(n, "transformer.wte.weight", DIMS(GPT2_VOCABULARY, r.hidden), UNIFORM(0.7), r.batch * r.seq);
	const char *wpe = net_table(n, "transformer.wpe.weight", DIMS(places, r.hidden), UNIFORM(0.3), r.seq);
	const char *visible = NULL;
	const char *x = net_op(n, NULL, "Gather", "axis=0", words, ids, NULL);
	const char *y = net_op(n, NULL, "Gather", "axis=0", wpe, positions, NULL);
	x = binary(n, "Add", x, y);
	if (r.seq > 1)
		visible = net_const(n, "transformer.h.attn.bias", TG_bool, DIMS(1, 1, r.seq, past + r.seq), (struct fill){ FILL_CAUSAL, 1, 0, NULL });
	for (int i = 0; i < GPT2_LAYERS; i++) {
		struct cache c = cache_ports(n, i, cached, TG_f32);
		x = gpt2_layer(n, x, r, visible, c, net_named(n, "transformer.h.%d", i));
	}
	x = layer_norm(n, x, "transformer.ln_f", r.hidden);
	const char *head = net_matrix(n, "lm_head.weight", DIMS(r.hidden, GPT2_VOCABULARY), 1 / sqrt((double)r.hidden));
	net_op(n, "logits", "MatMul", "", x, head, NULL);
	n->macs += (uint64_t)(r.batch * r.seq * r.hidden * GPT2_VOCABULARY);
	net_output(n, "logits", TG_f32, DIMS(r.batch, r.seq, GPT2_VOCABULARY));
}

void build_gpt2(struct net *n)
{
	n->o.cache = 0;
	gpt2(n, (struct rows){ n->o.batch, n->o.seq, GPT2_HIDDEN });
}

void build_gpt2_decode(struct net *n)
{
	n->o.seq = 1;
	gpt2(n, (struct rows){ n->o.batch, 1, GPT2_HIDDEN });
}

/* ---- Llama ---- */

#define LLAMA_HIDDEN 4096
#define LLAMA_MLP 11008
#define LLAMA_HEADS 32
#define LLAMA_HEAD_SIZE (LLAMA_HIDDEN / LLAMA_HEADS)
#define LLAMA_THETA 10000.0

static const char *rms_norm(struct net *n, const char *x, const char *name, int64_t hidden)
{
	const char *w = net_weight(n, net_named(n, "%s.weight", name), DIMS(hidden), UNIFORM_AT(0.1, 1));
	const char *y = with(n, "Pow", x, 2);
	y = net_op(n, NULL, "ReduceMean", "axes=-1, keepdims=1", y, NULL);
	y = with(n, "Add", y, 1e-6);
	y = unary(n, "Sqrt", y);
	const char *one = scalar(n, "one", 1);
	y = binary(n, "Div", one, y);
	y = binary(n, "Mul", x, y);
	return binary(n, "Mul", w, y);
}

/* cos and sin of position times frequency, [batch, 1, seq, head size]. */
static void rotary_tables(struct net *n, const char *positions, const char **cos_out, const char **sin_out)
{
	const char *frequency = net_const(n, "model.rotary_emb.inv_freq", TG_f32, DIMS(1, LLAMA_HEAD_SIZE / 2, 1),
					  (struct fill){ FILL_POWER, LLAMA_THETA, 2.0 / LLAMA_HEAD_SIZE, NULL });
	const char *p = unsqueeze(n, positions, 1, (int64_t[]){ 1 });
	p = net_op(n, NULL, "Cast", "to=1", p, NULL);
	const char *angle = binary(n, "MatMul", frequency, p);
	angle = transpose(n, angle, "0,2,1");
	angle = net_op(n, NULL, "Concat", "axis=-1", angle, angle, NULL);
	const char *c = unary(n, "Cos", angle), *s;
	*cos_out = unsqueeze(n, c, 1, (int64_t[]){ 1 });
	s = unary(n, "Sin", angle);
	*sin_out = unsqueeze(n, s, 1, (int64_t[]){ 1 });
}

static const char *slice_last(struct net *n, const char *x, int64_t from, int64_t to)
{
	uint32_t id = n->n_nodes;
	const char *a = net_ints(n, net_named(n, "/Slice_%u_starts", id), 1, &from);
	const char *b = net_ints(n, net_named(n, "/Slice_%u_ends", id), 1, &to);
	const char *axes = net_ints(n, net_named(n, "/Slice_%u_axes", id), 1, (int64_t[]){ 3 });
	const char *steps = net_ints(n, net_named(n, "/Slice_%u_steps", id), 1, (int64_t[]){ 1 });
	return net_op(n, NULL, "Slice", "", x, a, b, axes, steps, NULL);
}

/* x * cos + rotate_half(x) * sin */
static const char *rotate(struct net *n, const char *x, const char *cosines, const char *sines)
{
	const char *straight = binary(n, "Mul", x, cosines);
	const char *first = slice_last(n, x, 0, LLAMA_HEAD_SIZE / 2);
	const char *second = slice_last(n, x, LLAMA_HEAD_SIZE / 2, INT64_MAX >> 1);
	second = unary(n, "Neg", second);
	const char *turned = net_op(n, NULL, "Concat", "axis=-1", second, first, NULL);
	turned = binary(n, "Mul", turned, sines);
	return binary(n, "Add", straight, turned);
}

/* To f16 for the cache, and back to f32 for the arithmetic. */
static const char *through_cache(struct net *n, const struct cache *c, int which, const char *x)
{
	x = net_op(n, NULL, "Cast", "to=10", x, NULL);
	x = extend(n, c, which, x);
	return net_op(n, NULL, "Cast", "to=1", x, NULL);
}

static const char *llama_attention(struct net *n, const char *x, struct rows r, const char *positions, struct cache c)
{
	const char *cosines, *sines;
	rotary_tables(n, positions, &cosines, &sines);
	const char *q = linear(n, x, r, "model.layers.0.self_attn.q_proj", r.hidden, 1, false);
	const char *k = linear(n, x, r, "model.layers.0.self_attn.k_proj", r.hidden, 1, false);
	const char *v = linear(n, x, r, "model.layers.0.self_attn.v_proj", r.hidden, 1, false);
	q = split_heads(n, q, r, LLAMA_HEADS, "0,2,1,3");
	k = split_heads(n, k, r, LLAMA_HEADS, "0,2,1,3");
	v = split_heads(n, v, r, LLAMA_HEADS, "0,2,1,3");
	q = rotate(n, q, cosines, sines);
	k = rotate(n, k, cosines, sines);
	k = through_cache(n, &c, 0, k);
	v = through_cache(n, &c, 1, v);
	k = transpose(n, k, "0,1,3,2");
	const char *s = binary(n, "MatMul", q, k);
	s = with(n, "Div", s, sqrt((double)LLAMA_HEAD_SIZE));
	if (r.seq > 1) {
		const char *mask = net_const(n, "model.causal_mask", TG_f32, DIMS(1, 1, r.seq, n->o.cache + r.seq), (struct fill){ FILL_CAUSAL, 0, -FLT_MAX, NULL });
		s = binary(n, "Add", s, mask);
	}
	s = net_op(n, NULL, "Softmax", "axis=-1", s, NULL);
	s = binary(n, "MatMul", s, v);
	n->macs += 2 * (uint64_t)(r.batch * r.seq * (n->o.cache + r.seq) * r.hidden);
	s = join_heads(n, s, r);
	return linear(n, s, r, "model.layers.0.self_attn.o_proj", r.hidden, 1, false);
}

static void llama_block(struct net *n, struct rows r)
{
	struct rows wide = { r.batch, r.seq, LLAMA_MLP };
	const char *x = net_input(n, "hidden_states", TG_f32, DIMS(r.batch, r.seq, r.hidden), UNIFORM(1));
	const char *positions = net_input(n, "position_ids", TG_i64, DIMS(1, r.seq), (struct fill){ FILL_RANGE, (double)n->o.cache, 0, NULL });
	struct cache c = cache_ports(n, 0, DIMS(r.batch, LLAMA_HEADS, n->o.cache, LLAMA_HEAD_SIZE), TG_f16);
	const char *y = rms_norm(n, x, "model.layers.0.input_layernorm", r.hidden);
	y = llama_attention(n, y, r, positions, c);
	x = binary(n, "Add", x, y);
	y = rms_norm(n, x, "model.layers.0.post_attention_layernorm", r.hidden);
	const char *gate = linear(n, y, r, "model.layers.0.mlp.gate_proj", LLAMA_MLP, 1, false);
	const char *sigmoid = unary(n, "Sigmoid", gate);
	gate = binary(n, "Mul", gate, sigmoid);
	const char *up = linear(n, y, r, "model.layers.0.mlp.up_proj", LLAMA_MLP, 1, false);
	y = binary(n, "Mul", gate, up);
	y = linear(n, y, wide, "model.layers.0.mlp.down_proj", r.hidden, 1, false);
	net_op(n, "output_hidden_states", "Add", "", x, y, NULL);
	net_output(n, "output_hidden_states", TG_f32, DIMS(r.batch, r.seq, r.hidden));
}

void build_llama_block(struct net *n)
{
	n->o.cache = 0;
	llama_block(n, (struct rows){ n->o.batch, n->o.seq, LLAMA_HIDDEN });
}

void build_llama_block_decode(struct net *n)
{
	n->o.seq = 1;
	llama_block(n, (struct rows){ n->o.batch, 1, LLAMA_HIDDEN });
}
