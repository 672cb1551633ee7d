/* binaries.c: asm, disasm, verify, chips. */
#include "chip_random.h"
#include "profile.h"

#include <string.h>

enum { MAX_TEXT = 64 << 20 };

enum tg_status run_asm(struct tool *t)
{
	struct tg_file f;
	struct tg_chip c;
	struct tg_exe x;
	const char *out = option(t, "output"), *chip = option(t, "chip");
	if (!out)
		tg_usage(&t->diag, TG_NOWHERE, "tegula asm needs -o FILE.tgx");
	else if (tg_chip_load(&t->diag, t->arena, chip ? chip : "t1", &c) && tg_file_map(&t->diag, t->arena, t->args.at[0], MAX_TEXT, &f) &&
		 tg_asm(&t->diag, t->arena, &c, t->args.at[0], (const char *)f.at, f.n, &x))
		tg_exe_write(&t->diag, t->arena, &x, out);
	return status_of(t, TG_OK);
}

static bool read_exe(struct tool *t, struct tg_exe *x)
{
	struct tg_file f;
	return tg_file_map(&t->diag, t->arena, t->args.at[0], SIZE_MAX / 4, &f) && tg_exe_read(&t->diag, t->arena, &f, x);
}

enum tg_status run_disasm(struct tool *t)
{
	struct tg_exe x;
	struct tg_buf text;
	tg_buf_init(&text, t->arena);
	if (read_exe(t, &x)) {
		tg_disasm(&text, &x);
		fwrite(text.at, 1, text.n, stdout);
	}
	return status_of(t, TG_OK);
}

enum tg_status run_verify(struct tool *t)
{
	struct tg_exe x;
	if (read_exe(t, &x) && tg_exe_verify(&t->diag, t->arena, &x))
		printf("%s: %u words verified\n", tg_quoted(t->arena, t->args.at[0]), x.n_words);
	return status_of(t, TG_OK);
}

enum tg_status run_chips(struct tool *t)
{
	struct tg_chip c;
	const char *one = option(t, "print");
	if (t->args.n == 2 && strcmp(t->args.at[0], "compare") == 0)
		return chips_compare(t, t->args.at[1]);
	if (t->args.n) {
		tg_usage(&t->diag, TG_NOWHERE, "tegula chips takes nothing, or: compare MODEL.onnx --chips A,B,C");
		return TG_ERR_USAGE;
	}
	if (one) {
		if (tg_chip_load(&t->diag, t->arena, one, &c))
			printf("%s", tg_chip_print(t->arena, &c));
		return status_of(t, TG_OK);
	}
	if (option(t, "random")) {
		int64_t seed = 0;
		const char *text = option_number(t, "random", 0, INT64_MAX, &seed) ? chip_random(&t->diag, t->arena, (uint64_t)seed) : NULL;
		if (text)
			printf("%s", text);
		return status_of(t, TG_OK);
	}
	json_t *list = json_array();
	printf("%-12s %9s %12s %10s %12s %12s %10s\n", "chip", "clock", "lanes x subl", "array", "SRAM", "DRAM B/cycle", "bf16 MAC/c");
	for (const char *const *name = tg_chip_names(); *name; name++) {
		if (!tg_chip_load(&t->diag, t->arena, *name, &c))
			break;
		uint64_t macs = (uint64_t)c.array_rows * c.array_cols * c.n_arrays * c.rate_num[TG_ARRAY_bf16] / (c.rate_den[TG_ARRAY_bf16] ? c.rate_den[TG_ARRAY_bf16] : 1);
		printf("%-12s %5u MHz %7u x %-2u %3ux%ux%-3u %8llu KiB %12u %10llu\n", c.name, c.clock_khz / 1000, c.lanes, c.sublanes, c.n_arrays, c.array_rows,
		       c.array_cols, (unsigned long long)c.sram_bytes >> 10, c.dram_bytes_per_cycle, (unsigned long long)macs);
		json_array_append_new(list, json_string(*name));
	}
	put(t->report, "chips", list);
	return status_of(t, TG_OK);
}
