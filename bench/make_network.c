/* make_network.c: writes a reference network as ONNX.
 *
 *   make_network NAME -o FILE.onnx [--batch N] [--seq N] [--cache N] [--size M[xKxN]] [--weights f32|bf16|f16] [--seed N] [--data DIR]
 *   make_network --list
 *
 * Same options, same bytes. --data also writes inputs as a test data set. Exit statuses are those of tegula. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

struct request { const char *network, *out, *data; struct net_options o; };

static bool number(struct tg_diag *d, const char *option, const char *s, int64_t *out)
{
	char *end;
	long long v = strtoll(s, &end, 10);
	if (end == s || *end || v < 1 || v > 1 << 20)
		return tg_usage(d, TG_NOWHERE, "%s is '%s', expected a number from 1 to %d", option, s, 1 << 20);
	*out = v;
	return true;
}

static bool size(struct tg_diag *d, const char *s, struct net_options *o)
{
	long long m, k, n;
	char extra;
	if (sscanf(s, "%lldx%lldx%lld%c", &m, &k, &n, &extra) != 3 && (sscanf(s, "%lld%c", &m, &extra) != 1 || (k = n = m) < 1))
		return tg_usage(d, TG_NOWHERE, "--size is '%s', expected N or MxKxN", s);
	if (m < 1 || k < 1 || n < 1 || m > 1 << 20 || k > 1 << 20 || n > 1 << 20)
		return tg_usage(d, TG_NOWHERE, "--size is '%s', expected numbers from 1 to %d", s, 1 << 20);
	o->m = m;
	o->k = k;
	o->n = n;
	return true;
}

static bool one_option(struct tg_diag *d, const char *name, const char *v, struct request *r)
{
	static const char *const numbers[] = { "--batch", "--seq", "--cache" };
	int64_t *const to[] = { &r->o.batch, &r->o.seq, &r->o.cache };
	char *end;
	for (size_t i = 0; i < TG_ARRAY_LEN(numbers); i++)
		if (strcmp(name, numbers[i]) == 0)
			return number(d, name, v, to[i]);
	if (strcmp(name, "--size") == 0)
		return size(d, v, &r->o);
	if (strcmp(name, "--seed") == 0) {
		r->o.seed = strtoull(v, &end, 10);
		return (end != v && !*end) || tg_usage(d, TG_NOWHERE, "--seed is '%s', expected a number", v);
	}
	if (strcmp(name, "--weights") == 0) {
		r->o.weights = tg_dtype_from_name(v, strlen(v));
		return r->o.weights == TG_f32 || r->o.weights == TG_bf16 || r->o.weights == TG_f16 ||
		       tg_usage(d, TG_NOWHERE, "--weights is '%s', expected f32, bf16 or f16", v);
	}
	if (strcmp(name, "-o") == 0)
		r->out = v;
	else if (strcmp(name, "--data") == 0)
		r->data = v;
	else
		return tg_usage(d, TG_NOWHERE, "unknown option '%s'", name);
	return true;
}

static bool options(struct tg_diag *d, int argc, char **argv, struct request *r)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-') {
			if (r->network)
				return tg_usage(d, TG_NOWHERE, "one network at a time, found '%s'", argv[i]);
			r->network = argv[i];
		} else if (i + 1 == argc) {
			return tg_usage(d, TG_NOWHERE, "%s needs a value", argv[i]);
		} else if (!one_option(d, argv[i], argv[i + 1], r)) {
			return false;
		} else {
			i++;
		}
	}
	return (r->network && r->out) || tg_usage(d, TG_NOWHERE, "expected: make_network NAME -o FILE.onnx [options]; --list lists the names");
}

static bool make(struct tg_diag *d, struct tg_arena *a, int argc, char **argv)
{
	struct request r = { 0 };
	if (!options(d, argc, argv, &r))
		return false;
	struct net *n = network_build(a, r.network, &r.o);
	if (!n)
		return tg_usage(d, TG_NOWHERE, "no network '%s'; --list lists them", r.network);
	if (!net_write(d, n, r.out) || (r.data && !net_write_data(d, n, r.data)))
		return false;
	printf("%s: %llu MACs, %llu weights, %llu bytes of inputs and outputs\n", r.out, (unsigned long long)n->macs, (unsigned long long)n->weight_elems,
	       (unsigned long long)n->io_bytes);
	return true;
}

static void print_messages(const struct tg_diag *d)
{
	for (size_t i = 0; i < d->list.n; i++) {
		struct tg_buf b;
		tg_buf_init(&b, d->arena);
		tg_message_format(&d->list.at[i], &b);
		fprintf(stderr, "%s\n", b.at);
	}
}

int main(int argc, char **argv)
{
	struct tg_heap heap;
	struct tg_diag d;
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (const struct network *w = networks; w->name; w++)
			printf("%-19s %s\n", w->name, w->doc);
		return TG_OK;
	}
	tg_heap_init(&heap);
	if (setjmp(heap.unwind)) {
		tg_heap_free(&heap);
		return TG_ERR_LIMIT;
	}
	struct tg_arena *a = tg_arena_new(&heap);
	tg_diag_init(&d, a);
	make(&d, a, argc, argv);
	print_messages(&d);
	int status = d.n_errors ? (int)d.status : TG_OK;
	tg_heap_free(&heap);
	return status;
}
