/* classify.c: libtegula from C: compiles a model, runs it on zeros and prints the largest output.
 *
 *   cc classify.c $(pkg-config --cflags --libs tegula) -o classify && ./classify model.onnx [chip] */
#include <stdio.h>
#include <stdlib.h>
#include <tegula/tegula.h>

int main(int argc, char **argv)
{
	tegula_program *p = NULL;
	if (argc < 2) {
		fprintf(stderr, "usage: classify MODEL.onnx [CHIP]\n");
		return TEGULA_USAGE;
	}
	tegula_status s = tegula_compile(argv[1], argc > 2 ? argv[2] : NULL, NULL, 0, &p);
	size_t n_in = s == TEGULA_OK ? tegula_input_count(p) : 0, n_out = s == TEGULA_OK ? tegula_output_count(p) : 0;
	void **in = calloc(n_in + 1, sizeof *in), **out = calloc(n_out + 1, sizeof *out);
	for (size_t i = 0; i < n_in; i++)
		in[i] = calloc(tegula_input(p, i)->bytes + 1, 1);
	for (size_t i = 0; i < n_out; i++)
		out[i] = calloc(tegula_output(p, i)->bytes + 1, 1);
	if (s == TEGULA_OK)
		s = tegula_run(p, (const void *const *)in, out);
	fputs(tegula_messages(p), stderr);
	if (s == TEGULA_OK && n_out && tegula_output(p, 0)->type == TEGULA_F32) {
		const float *v = out[0];
		size_t n = tegula_output(p, 0)->bytes / sizeof *v, best = 0;
		tegula_stats stats;
		for (size_t i = 1; i < n; i++)
			best = v[i] > v[best] ? i : best;
		tegula_get_stats(p, &stats);
		printf("%s[%zu] = %g after %llu cycles\n", tegula_output(p, 0)->name, best, (double)v[best], (unsigned long long)stats.cycles);
	}
	for (size_t i = 0; i < n_in; i++)
		free(in[i]);
	for (size_t i = 0; i < n_out; i++)
		free(out[i]);
	free(in);
	free(out);
	tegula_free(p);
	return s;
}
