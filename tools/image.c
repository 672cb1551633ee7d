/* image.c: a PNG as the first input of a model: [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, resized bilinearly, scaled to 0..1, then
 * (v - mean) / std by channel. */
#include "case.h"

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 1 << 14 };

struct picture { uint32_t width, height, channels; uint8_t *at; };

static bool read_png(struct tool *t, const char *path, uint32_t channels, struct picture *out)
{
	struct tg_file f;
	png_image image = { .version = PNG_IMAGE_VERSION };
	if (!tg_file_map(&t->diag, t->arena, path, 256 << 20, &f))
		return false;
	if (!png_image_begin_read_from_memory(&image, f.at, f.n))
		return tg_error(&t->diag, tg_at_file(path), "%s", tg_quoted(t->arena, image.message));
	if (image.width > MAX_SIDE || image.height > MAX_SIDE || image.width == 0 || image.height == 0) {
		png_image_free(&image);
		return tg_limit(&t->diag, tg_at_file(path), "the image is %ux%u, at most %dx%d is read", image.width, image.height, MAX_SIDE, MAX_SIDE);
	}
	image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
	*out = (struct picture){ image.width, image.height, channels, tg_alloc_n(t->arena, (size_t)image.width * image.height, channels) };
	if (!png_image_finish_read(&image, &(png_color){ 0, 0, 0 }, out->at, 0, NULL))
		return tg_error(&t->diag, tg_at_file(path), "%s", tg_quoted(t->arena, image.message));
	tg_file_unmap(&f);
	return true;
}

static double pixel(const struct picture *p, int64_t y, int64_t x, uint32_t c)
{
	y = y < 0 ? 0 : y >= p->height ? p->height - 1 : y;
	x = x < 0 ? 0 : x >= p->width ? p->width - 1 : x;
	return p->at[((size_t)y * p->width + (size_t)x) * p->channels + c] / 255.0;
}

/* Value at the centre of output pixel (y, x) of h x w. */
static double sample(const struct picture *p, int64_t y, int64_t x, int64_t h, int64_t w, uint32_t c)
{
	double sy = ((double)y + 0.5) * p->height / (double)h - 0.5, sx = ((double)x + 0.5) * p->width / (double)w - 0.5;
	double fy = floor(sy), fx = floor(sx), ay = sy - fy, ax = sx - fx;
	int64_t y0 = (int64_t)fy, x0 = (int64_t)fx;
	return (1 - ay) * ((1 - ax) * pixel(p, y0, x0, c) + ax * pixel(p, y0, x0 + 1, c)) +
	       ay * ((1 - ax) * pixel(p, y0 + 1, x0, c) + ax * pixel(p, y0 + 1, x0 + 1, c));
}

/* "0.485,0.456,0.406": one number for each channel, or one for all. */
static bool channel_numbers(struct tool *t, const char *name, uint32_t n, double dflt, double *out)
{
	const char *s = option(t, name);
	for (uint32_t c = 0; c < n; c++)
		out[c] = dflt;
	if (!s)
		return true;
	for (uint32_t c = 0; c < n; c++) {
		char *end;
		out[c] = strtod(s, &end);
		bool more = *end == ',';
		if (end == s || (*end && !more) || !isfinite(out[c]))
			return tg_usage(&t->diag, TG_NOWHERE, "option --%s is not a list of numbers", name);
		if (!more && c == 0) {
			for (uint32_t k = 1; k < n; k++)
				out[k] = out[0];
			return true;
		}
		if (more != (c + 1 < n))
			return tg_usage(&t->diag, TG_NOWHERE, "option --%s needs one number or one for each of %u channels", name, n);
		s = end + 1;
	}
	return true;
}

bool image_input(struct tool *t, const struct tg_binding *b, const char *path, struct tg_tensor *out)
{
	struct picture p = { 0 };
	double mean[4], std[4];
	const struct tg_shape *s = &b->shape;
	bool first = s->rank == 4 && (s->dim[1] == 1 || s->dim[1] == 3), last = s->rank == 4 && (s->dim[3] == 1 || s->dim[3] == 3);
	if (!first && !last) {
		struct tg_buf text;
		tg_buf_init(&text, t->arena);
		tg_shape_print(&text, s);
		return tg_usage(&t->diag, TG_NOWHERE, "--image needs an input [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, the first input is %s", text.at);
	}
	uint32_t channels = (uint32_t)s->dim[first ? 1 : 3];
	int64_t h = s->dim[first ? 2 : 1], w = s->dim[first ? 3 : 2];
	if (!read_png(t, path, channels, &p) || !channel_numbers(t, "mean", channels, 0, mean) || !channel_numbers(t, "std", channels, 1, std) ||
	    !tg_tensor_alloc(&t->diag, t->arena, (enum tg_dtype)b->dtype, s, out))
		return false;
	for (int64_t n = 0; n < s->dim[0]; n++)
		for (int64_t y = 0; y < h; y++)
			for (int64_t x = 0; x < w; x++)
				for (uint32_t c = 0; c < channels; c++) {
					double v = sample(&p, y, x, h, w, c);
					int64_t at = first ? ((n * channels + c) * h + y) * w + x : ((n * h + y) * w + x) * channels + c;
					if (tg_is_float((enum tg_dtype)b->dtype))
						tg_put_f64((enum tg_dtype)b->dtype, out->data, (size_t)at, (v - mean[c]) / std[c]);
					else
						tg_put_i64((enum tg_dtype)b->dtype, out->data, (size_t)at, (int64_t)nearbyint(v * 255));
				}
	return true;
}
