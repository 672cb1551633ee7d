/* window.h: what convolutions and poolings share: kernel, strides, dilations, padding in all its spellings. Internal to frontend/. */
#ifndef TG_FRONTEND_WINDOW_H
#define TG_FRONTEND_WINDOW_H

#include "import.h"

struct tg_window {
	uint32_t n; /* spatial dimensions */
	int64_t in[TG_MAX_RANK], kernel[TG_MAX_RANK], stride[TG_MAX_RANK], dilation[TG_MAX_RANK], before[TG_MAX_RANK], after[TG_MAX_RANK], out[TG_MAX_RANK];
};
/* Reads the node's attributes for an operand [N, C, spatial...]; kernel: from kernel_shape, or `weight`'s trailing dimensions when given. False:
 * reported. */
bool tg_im_window(struct tg_im *im, tg_val x, tg_val weight, struct tg_window *w);
/* w->out for a convolution or pooling; ceil as the op's ceil_mode. */
bool tg_im_window_out(struct tg_im *im, struct tg_window *w, bool ceil);
/* conv or a pooling over x with these windows. */
tg_val tg_im_conv(struct tg_im *im, tg_val x, tg_val weight, tg_val bias, const struct tg_window *w, int64_t groups);
tg_val tg_im_pool(struct tg_im *im, enum tg_op_code code, tg_val x, const struct tg_window *w);

#endif
