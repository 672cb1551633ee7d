/* guard.h: protobuf bytes that nobody vouches for, unpacked within limits. Internal to frontend/. */
#ifndef TG_FRONTEND_GUARD_H
#define TG_FRONTEND_GUARD_H

#include "base.h"
#include "onnx.pb-c.h"

#define TG_PB_MAX_FILE ((size_t)2147483647)    /* protobuf's own limit: 2 GiB - 1 */
#define TG_PB_MAX_DEPTH 60u                    /* nested messages; protobuf-c takes about 1.5 KiB of stack for each */
#define TG_PB_MAX_SKELETON ((size_t)24 << 20)  /* bytes of a model without its large tensors' contents */
#define TG_PB_MAX_HEAP ((size_t)112 << 20)     /* bytes that the unpacked messages may take */
#define TG_PB_ELIDE_BYTES 64u                  /* tensor data fields of this size or more stay in the file */

/* Unpacks `n` bytes as a message of type `desc`. Tensor data fields of TG_PB_ELIDE_BYTES and more are not unpacked: the tensor's tg_field,
 * tg_offset and tg_length say where they lie in `bytes`. The result lives in `a`. NULL: reported, TG_ERR_MALFORMED or TG_ERR_LIMIT. */
ProtobufCMessage *tg_pb_unpack(struct tg_diag *d, struct tg_arena *a, const char *path, const uint8_t *bytes, size_t n, const ProtobufCMessageDescriptor *desc);

#endif
