/* networks_vision.c: convolutional networks as PyTorch exports them in eval mode: batch normalisation is in the weights.
 *
 * ResNet-50: He et al., CVPR 2016, with the stride in the 3 x 3 convolution (torchvision). MobileNetV2: Sandler et al., CVPR 2018. */
#include "net.h"

#include <math.h>

struct image { const char *x; int64_t batch, channels, size; };
struct conv { int64_t out, kernel, stride, group; double gain; };

static struct image convolve(struct net *n, struct image in, const char *name, struct conv c)
{
	int64_t per_group = in.channels / c.group, taps = per_group * c.kernel * c.kernel, pad = c.kernel / 2;
	const char *w = net_matrix(n, net_named(n, "%s.weight", name), DIMS(c.out, per_group, c.kernel, c.kernel), c.gain * sqrt(2.0 / (double)taps));
	const char *b = net_weight(n, net_named(n, "%s.bias", name), DIMS(c.out), UNIFORM(0.05));
	struct image out = { NULL, in.batch, c.out, (in.size + 2 * pad - c.kernel) / c.stride + 1 };
	const char *attrs = net_named(n, "dilations=1,1 group=%lld kernel_shape=%lld,%lld pads=%lld,%lld,%lld,%lld strides=%lld,%lld", (long long)c.group,
				      (long long)c.kernel, (long long)c.kernel, (long long)pad, (long long)pad, (long long)pad, (long long)pad,
				      (long long)c.stride, (long long)c.stride);
	out.x = net_op(n, NULL, "Conv", attrs, in.x, w, b, NULL);
	n->macs += (uint64_t)(in.batch * c.out * out.size * out.size * taps);
	return out;
}

static struct image relu(struct net *n, struct image in)
{
	in.x = net_op(n, NULL, "Relu", "", in.x, NULL);
	return in;
}

/* Average over the image, then one dense layer. */
static void classify(struct net *n, struct image in, int64_t classes)
{
	const char *pooled = net_op(n, NULL, "GlobalAveragePool", "", in.x, NULL);
	const char *flat = net_op(n, NULL, "Flatten", "axis=1", pooled, NULL);
	const char *w = net_matrix(n, "fc.weight", DIMS(classes, in.channels), 1 / sqrt((double)in.channels));
	const char *b = net_weight(n, "fc.bias", DIMS(classes), UNIFORM(0.05));
	net_op(n, "logits", "Gemm", "alpha=1.0 beta=1.0 transB=1", flat, w, b, NULL);
	n->macs += (uint64_t)(in.batch * in.channels * classes);
	net_output(n, "logits", TG_f32, DIMS(in.batch, classes));
}

static struct image image_input(struct net *n)
{
	struct image in = { NULL, n->o.batch, 3, 224 };
	in.x = net_input(n, "image", TG_f32, DIMS(n->o.batch, 3, 224, 224), UNIFORM(1));
	return in;
}

/* ---- ResNet-50 ---- */

/* 1x1, 3x3, 1x1 and the shortcut. The last convolution is small, so that sixteen sums in a row do not grow. */
static struct image bottleneck(struct net *n, struct image in, const char *name, int64_t width, int64_t stride, bool project)
{
	struct image y = convolve(n, in, net_named(n, "%s.conv1", name), (struct conv){ width, 1, 1, 1, 1 });
	y = relu(n, y);
	y = convolve(n, y, net_named(n, "%s.conv2", name), (struct conv){ width, 3, stride, 1, 1 });
	y = relu(n, y);
	y = convolve(n, y, net_named(n, "%s.conv3", name), (struct conv){ 4 * width, 1, 1, 1, 0.3 });
	struct image shortcut = in;
	if (project)
		shortcut = convolve(n, in, net_named(n, "%s.downsample.0", name), (struct conv){ 4 * width, 1, stride, 1, 0.7 });
	y.x = net_op(n, NULL, "Add", "", y.x, shortcut.x, NULL);
	return relu(n, y);
}

void build_resnet50(struct net *n)
{
	static const struct { int64_t blocks, width; } layers[] = { { 3, 64 }, { 4, 128 }, { 6, 256 }, { 3, 512 } };
	struct image y = convolve(n, image_input(n), "conv1", (struct conv){ 64, 7, 2, 1, 1 });
	y = relu(n, y);
	y.x = net_op(n, NULL, "MaxPool", "ceil_mode=0 kernel_shape=3,3 pads=1,1,1,1 strides=2,2", y.x, NULL);
	y.size = (y.size + 2 - 3) / 2 + 1;
	for (size_t i = 0; i < TG_ARRAY_LEN(layers); i++)
		for (int64_t k = 0; k < layers[i].blocks; k++)
			y = bottleneck(n, y, net_named(n, "layer%zu.%lld", i + 1, (long long)k), layers[i].width, i > 0 && k == 0 ? 2 : 1, k == 0);
	classify(n, y, 1000);
}

/* ---- MobileNetV2 ---- */

static struct image relu6(struct net *n, struct image in)
{
	const char *lo = net_const(n, net_named(n, "/Clip_%u_min", n->n_nodes), TG_f32, (struct tg_shape){ 0 }, VALUE(0));
	const char *hi = net_const(n, net_named(n, "/Clip_%u_max", n->n_nodes), TG_f32, (struct tg_shape){ 0 }, VALUE(6));
	in.x = net_op(n, NULL, "Clip", "", in.x, lo, hi, NULL);
	return in;
}

static struct image inverted_residual(struct net *n, struct image in, const char *name, int64_t expand, int64_t out, int64_t stride)
{
	int64_t hidden = in.channels * expand;
	struct image y = in;
	if (expand != 1)
		y = relu6(n, convolve(n, y, net_named(n, "%s.expand", name), (struct conv){ hidden, 1, 1, 1, 1 }));
	y = relu6(n, convolve(n, y, net_named(n, "%s.depthwise", name), (struct conv){ hidden, 3, stride, hidden, 1 }));
	y = convolve(n, y, net_named(n, "%s.project", name), (struct conv){ out, 1, 1, 1, 0.7 });
	if (stride == 1 && in.channels == out)
		y.x = net_op(n, NULL, "Add", "", in.x, y.x, NULL);
	return y;
}

void build_mobilenetv2(struct net *n)
{
	static const struct { int64_t expand, out, repeats, stride; } rows[] = { { 1, 16, 1, 1 },  { 6, 24, 2, 2 },  { 6, 32, 3, 2 }, { 6, 64, 4, 2 },
										 { 6, 96, 3, 1 }, { 6, 160, 3, 2 }, { 6, 320, 1, 1 } };
	struct image y = relu6(n, convolve(n, image_input(n), "features.0", (struct conv){ 32, 3, 2, 1, 1 }));
	for (size_t i = 0; i < TG_ARRAY_LEN(rows); i++)
		for (int64_t k = 0; k < rows[i].repeats; k++)
			y = inverted_residual(n, y, net_named(n, "features.%zu.%lld", i + 1, (long long)k), rows[i].expand, rows[i].out,
					      k == 0 ? rows[i].stride : 1);
	y = relu6(n, convolve(n, y, "features.18", (struct conv){ 1280, 1, 1, 1, 1 }));
	classify(n, y, 1000);
}
