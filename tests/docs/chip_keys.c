/* chip_keys.c: prints the table of docs/chips.md from isa/chip_keys.def. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "isa.h"

enum kind { NAME, U32, U64, POW2, RATE, REAL };
static const char *const kinds[] = { "name", "whole number", "whole number", "power of two", "rate", "real" };
static const struct { const char *path, *doc; enum kind kind; uint64_t low, high; } keys[] = {
#define KEY(path, kind, field, low, high, doc) { path, doc, kind, low, high },
#include "chip_keys.def"
};

int main(void)
{
	printf("| key | kind | range | meaning |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		printf("| `%s` | %s | %" PRIu64 " .. %" PRIu64 "%s | %s |\n", keys[i].path, kinds[keys[i].kind], keys[i].low, keys[i].high,
		       keys[i].kind == NAME ? " characters" : "", keys[i].doc);
	return 0;
}
