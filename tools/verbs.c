/* verbs.c: the table of verbs and their options. */
#include "tool.h"

#include <string.h>

static const struct option_row compile_rows[] = {
	COMPILE_OPTIONS,
	{ "data", "DIR", "a test_data_set folder: its inputs decide shapes, as they do where they are run" },
	{ "output", "FILE", "where the executable goes (also -o)" },
	{ "print-after", "PASS|all", "print the IR after a pass to stdout" },
	{ "stop-after", "PASS", "stop there; no executable" },
	{ "verify-each", NULL, "verify the IR after every pass" },
	{ "time-passes", NULL, "print what each pass took" },
	{ "dump-dir", "DIR", "write the IR after every pass into DIR" },
	COMMON_OPTIONS,
};
static const struct option_row run_rows[] = {
	COMPILE_OPTIONS,
	{ "input", "FILE", "an input tensor (.npy, .npz, .pb), in order, or NAME=FILE" },
	{ "data", "DIR", "a test_data_set folder: its inputs are used" },
	{ "output", "FILE", "where an output goes (.npy, .pb), in order (also -o)" },
	{ "seed", "N", "seed of random inputs where none are given (default 0)" },
	SIM_OPTIONS,
	{ "state-hash", NULL, "print the digest of registers, written memory and accumulators after the run" },
	{ "top-k", "LABELS", "print the five largest elements of the first output with the lines of LABELS" },
	{ "image", "FILE", "a PNG image for the first input, resized to it" },
	{ "mean", "A,B,C", "subtracted from each channel of --image (0..1 scale)" },
	{ "std", "A,B,C", "divides each channel of --image" },
	COMMON_OPTIONS,
};
static const struct option_row check_rows[] = {
	COMPILE_OPTIONS,
	{ "data", "DIR", "a test_data_set folder with expected outputs; otherwise the evaluator is the reference" },
	{ "rtol", "X", "relative tolerance (default 1e-3)" },
	{ "atol", "X", "absolute tolerance (default 1e-7)" },
	{ "all-nodes", NULL, "compare every stage with the evaluator and name the first that differs" },
	{ "seed", "N", "seed of random inputs" },
	SIM_OPTIONS,
	COMMON_OPTIONS,
};
static const struct option_row test_rows[] = {
	COMPILE_OPTIONS,
	{ "timeout", "S", "seconds for one case (default 60)" },
	{ "sample", "N", "only N cases, at equal distances" },
	{ "strict", NULL, "unsupported cases fail the run" },
	{ "jobs", "N", "cases at a time (default: processors)" },
	SIM_OPTIONS,
	{ "junit", "FILE", "also write JUnit XML" },
	{ "verify", NULL, "also run the static checker on every executable" },
	COMMON_OPTIONS,
};
static const struct option_row info_rows[] = { COMPILE_OPTIONS, { "ops", NULL, "list the supported ONNX operators" }, COMMON_OPTIONS };
static const struct option_row chips_rows[] = {
	{ "print", "NAME", "print a chip's description with every key" },
	{ "random", "SEED", "print a chip with every key drawn from its range" },
	{ "chips", "A,B,C", "compare: names or files of chips" },
	{ "input", "FILE", "compare: an input tensor (.npy, .npz, .pb), in order, or NAME=FILE" },
	{ "data", "DIR", "compare: a test_data_set folder: its inputs are used" },
	{ "seed", "N", "compare: seed of random inputs where none are given (default 0)" },
	{ "dma", "early|late|random:SEED", "compare: when transfers complete (default early)" },
	COMPILE_OPTIONS,
	COMMON_OPTIONS,
};
static const struct option_row opt_rows[] = {
	{ "passes", "A,B,C", "run these passes, in this order" },
	{ "print-after", "PASS|all", "print the IR after a pass" },
	{ "stop-after", "PASS", "stop there" },
	{ "skip", "PASS,...", "leave passes out" },
	{ "verify-each", NULL, "verify after every pass" },
	{ "time-passes", NULL, "print what each pass took" },
	{ "dump-dir", "DIR", "write the IR after every pass into DIR" },
	{ "chip", "NAME|FILE", "chip for passes that ask (default t1)" },
	{ "output", "FILE", "where the result goes (default stdout)" },
	{ "dim", "NAME=N", "value of a symbolic dimension (ONNX input)" },
	PRECISION_OPTIONS,
	COMMON_OPTIONS,
};
static const struct option_row asm_rows[] = { { "chip", "NAME|FILE", "chip (default t1)" }, { "output", "FILE", "executable (also -o)" }, COMMON_OPTIONS };
static const struct option_row profile_rows[] = {
	COMPILE_OPTIONS,
	{ "input", "FILE", "an input tensor (.npy, .npz, .pb), in order, or NAME=FILE" },
	{ "data", "DIR", "a test_data_set folder: its inputs are used" },
	{ "seed", "N", "seed of random inputs where none are given (default 0)" },
	{ "dma", "early|late|random:SEED", "when transfers complete (default early)" },
	{ "rows", "N", "stages in the table (default 20)" },
	{ "trace", "FILE", "also write a trace for Perfetto (1 us is one cycle)" },
	{ "html", "FILE", "also write a page: roofline, timeline, SRAM map, stages" },
	COMMON_OPTIONS,
};
static const struct option_row alloc_rows[] = {
	{ "capacity", "BYTES", "bytes that there are" },
	{ "output", "FILE", "where the lines with their offsets go (also -o; default stdout)" },
	{ "alignment", "N", "of offsets, where the file has no column `alignment` (default 1)" },
	{ "minimize", NULL, "go on below the capacity: the lowest peak" },
	{ "nodes", "N", "search effort (default 100000000; 0: the fast heuristic only)" },
	COMMON_OPTIONS,
};
static const struct option_row plain_rows[] = { COMMON_OPTIONS };

const struct verb tg_verbs[] = {
	{ "compile", "MODEL.onnx|MODULE.tir -o FILE.tgx", "compile a model to an executable", compile_rows, run_compile, 1, 1 },
	{ "run", "FILE.tgx|MODEL.onnx", "run on the simulator; prints cycles, time and the bottleneck", run_rows, run_run, 1, 1 },
	{ "check", "MODEL.onnx", "compare the simulator's outputs with expected ones or the evaluator's", check_rows, run_check, 1, 1 },
	{ "test", "DIR...", "run every case of ONNX-layout folders", test_rows, run_test, 1, -1 },
	{ "profile", "MODEL.onnx|FILE.tgx", "run, and say where cycles, bytes and energy went", profile_rows, run_profile, 1, 1 },
	{ "info", "MODEL.onnx|FILE.tgx", "inputs, outputs, operators, what the chip will run and what the host will", info_rows, run_info, 0, 1 },
	{ "chips", "[compare MODEL.onnx --chips A,B,C]", "list the built-in chips, or put several side by side with a model", chips_rows, run_chips, 0, 2 },
	{ "opt", "MODULE.tir|MODEL.onnx", "run passes and print the IR", opt_rows, run_opt, 1, 1 },
	{ "asm", "FILE.tgs -o FILE.tgx", "assemble", asm_rows, run_asm, 1, 1 },
	{ "disasm", "FILE.tgx", "disassemble to stdout", plain_rows, run_disasm, 1, 1 },
	{ "verify", "FILE.tgx", "prove the schedule rules and memory bounds of an executable without running it", plain_rows, run_verify, 1, 1 },
	{ "alloc", "IN.csv --capacity BYTES [-o OUT.csv]", "place buffers with lifetimes in a memory; columns id, lower, upper, size [, alignment]", alloc_rows, run_alloc, 1, 1 },
	{ NULL, NULL, NULL, NULL, NULL, 0, 0 },
};

static const struct option_row pass_rows[] = {
#define PASS(level, name, optional, groups, doc) { optional ? "no-" #name : "", NULL, "leave out the pass: " doc },
#include "passes.def"
};

static bool runs_passes(const struct verb *v)
{
	const struct option_row *o = v->options;
	while (o->name && strcmp(o->name, "skip") != 0)
		o++;
	return o->name != NULL;
}

const struct option_row *verb_option(const struct verb *v, size_t i)
{
	size_t own = 0;
	while (v->options[own].name)
		own++;
	if (i < own)
		return &v->options[i];
	i -= own;
	for (size_t k = 0; runs_passes(v) && k < TG_ARRAY_LEN(pass_rows); k++)
		if (*pass_rows[k].name && i-- == 0)
			return &pass_rows[k];
	return NULL;
}
