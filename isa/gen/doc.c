/* doc.c: prints the instruction reference of docs/isa.md from the table: `tg_isa_doc > part.md`. The test isa_docs holds the manual against it. */
#include "isa.h"

#include <stdio.h>
#include <string.h>

struct format {
	const char *name, *picture, *fields;
};
static const struct format formats[] = {
#define FORMAT(name, picture, fields) {#name, picture, fields},
#include "isa.def"
};
static const struct {
	const char *name, *latency;
} latencies[] = {
#define INSN(name, opcode, slot, latency, format, doc) {#name, #latency},
#include "isa.def"
};

static const char *latency_of(const char *name)
{
	for (size_t i = 0; i < TG_ARRAY_LEN(latencies); i++) {
		if (strcmp(latencies[i].name, name) == 0)
			return strcmp(latencies[i].latency, "none") ? latencies[i].latency : "—";
	}
	return "";
}

int main(void)
{
	printf("### Formats\n\n| format | 64 bits, highest first | fields in assembly order |\n| --- | --- | --- |\n");
	for (size_t i = 0; i < TG_ARRAY_LEN(formats); i++)
		printf("| %s | `%s` | %s |\n", formats[i].name, formats[i].picture, formats[i].fields);
	for (unsigned slot = 0; slot < TG_N_SLOTS; slot++) {
		printf("\n### Slot %s\n\n| instruction | opcode | format | latency | what it does |\n| --- | --- | --- | --- | --- |\n", tg_slot_names[slot]);
		for (unsigned op = 1; op < TG_N_INSNS; op++) {
			const struct tg_insn_info *in = tg_insn_info((enum tg_opcode)op);
			if (in->slot == slot)
				printf("| `%s` | 0x%02x | %s | %s | %s |\n", in->name, in->opcode, in->format, latency_of(in->name), in->doc);
		}
	}
	return 0;
}
