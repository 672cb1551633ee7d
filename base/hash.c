/* hash.c: SHA-256 (FIPS 180-4) by libcrypto, whose low-level interface allocates nothing and cannot fail: a digest in progress lies where the
 * caller wants it, and unwinding leaves nothing behind. */
#define OPENSSL_SUPPRESS_DEPRECATED /* the interface is old, and kept */
#include "base.h"

#include <openssl/sha.h>
#include <string.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct tg_sha256), "struct tg_sha256 has room for libcrypto's state");
_Static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct tg_sha256), "and its alignment");

static SHA256_CTX *state(struct tg_sha256 *s)
{
	return (SHA256_CTX *)(void *)s;
}

void tg_sha256_init(struct tg_sha256 *s)
{
	SHA256_Init(state(s));
}

void tg_sha256_add(struct tg_sha256 *s, const void *p, size_t n)
{
	SHA256_Update(state(s), p, n);
}

void tg_sha256_end(struct tg_sha256 *s, uint8_t out[32])
{
	SHA256_Final(out, state(s));
}

void tg_sha256_hex(const uint8_t digest[32], char out[65])
{
	static const char digits[] = "0123456789abcdef";
	for (int i = 0; i < 32; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[64] = 0;
}
