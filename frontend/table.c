/* table.c: onnx_ops.def as data: lookups, and the public list. */
#include "import.h"

#include <string.h>

const struct tg_im_op_row tg_im_rows[] = {
#define ONNX(name, domain, first, last, fn, arg) { #name, domain, first, last, tg_im_import_##fn, arg, NULL },
#define ONNX_NOT(name, domain, first, last, reason) { #name, domain, first, last, NULL, 0, reason },
#include "onnx_ops.def"
};
const uint32_t tg_im_n_rows = TG_ARRAY_LEN(tg_im_rows);

static const struct tg_onnx_op_info infos[] = {
#define ONNX(name, domain, first, last, fn, arg) { #name, domain, first, last, NULL },
#define ONNX_NOT(name, domain, first, last, reason) { #name, domain, first, last, reason },
#include "onnx_ops.def"
};

const struct tg_onnx_op_info *tg_onnx_ops(uint32_t *n)
{
	*n = TG_ARRAY_LEN(infos);
	return infos;
}

const struct tg_im_op_row *tg_im_find_row(const char *domain, const char *name, int64_t opset)
{
	for (uint32_t i = 0; i < tg_im_n_rows; i++) {
		const struct tg_im_op_row *r = &tg_im_rows[i];
		if (!strcmp(r->name, name) && !strcmp(r->domain, domain) && opset >= r->first && (!r->last || opset <= r->last))
			return r;
	}
	return NULL;
}
