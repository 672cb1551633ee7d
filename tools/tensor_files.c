/* tensor_files.c: tensors by file ending, and the folders of test data sets. */
#include "tensor_files.h"

#include <string.h>
#include <unistd.h>

enum { MAX_PORTS = 4096 };

static bool ends_in(const char *path, const char *ending)
{
	size_t n = strlen(path), m = strlen(ending);
	return n >= m && !strcmp(path + n - m, ending);
}

bool tg_tensors_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor_list *out)
{
	struct tg_named_tensor t = { .name = "" };
	if (ends_in(path, ".npz"))
		return tg_npz_read(d, a, path, out);
	if (ends_in(path, ".npy")) {
		struct tg_file f;
		if (!tg_file_map(d, a, path, SIZE_MAX / 4, &f))
			return false;
		bool ok = tg_npy_parse(d, a, path, f.at, f.n, &t.t);
		tg_file_unmap(&f);
		if (!ok)
			return false;
	} else if (ends_in(path, ".pb")) {
		if (!tg_tensor_read_pb(d, a, path, &t.t, &t.name))
			return false;
	} else {
		return tg_usage(d, tg_at_file(path), "the file ending is not known, expected .npy, .npz or .pb");
	}
	*TG_PUSH(a, out) = t;
	return true;
}

bool tg_tensors_write(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_named_tensor *t, size_t n)
{
	if (ends_in(path, ".npz"))
		return tg_npz_write(d, a, path, t, n);
	if (n != 1)
		return tg_usage(d, tg_at_file(path), "%zu tensors for one file, only .npz holds more than one", n);
	if (ends_in(path, ".pb"))
		return tg_tensor_write_pb(d, a, path, &t->t, t->name);
	if (!ends_in(path, ".npy"))
		return tg_usage(d, tg_at_file(path), "the file ending is not known, expected .npy, .npz or .pb");
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	struct tg_buf b;
	tg_buf_init(&b, tmp);
	bool ok = tg_npy_print(d, path, &b, &t->t) && tg_file_write(d, path, b.at, b.n);
	tg_arena_free(tmp);
	return ok;
}

bool tg_tensor_retype(struct tg_tensor *t, enum tg_dtype want)
{
	const struct tg_dtype_info *have = &tg_dtypes[t->dtype], *need = &tg_dtypes[want];
	if (t->dtype == want)
		return true;
	if (need->npy || have->kind != TG_KIND_UNSIGNED || have->bits != need->bits)
		return false;
	t->dtype = want;
	return true;
}

static bool read_numbered(struct tg_diag *d, struct tg_arena *a, const char *folder, const char *kind, struct tg_tensor_list *out)
{
	for (uint32_t i = 0; i < MAX_PORTS; i++) {
		const char *path = tg_asprintf(a, "%s/%s_%u.pb", folder, kind, i);
		struct tg_named_tensor t;
		if (access(path, F_OK))
			return true;
		if (!tg_tensor_read_pb(d, a, path, &t.t, &t.name))
			return false;
		*TG_PUSH(a, out) = t;
	}
	return tg_limit(d, tg_at_file(folder), "more than %d %ss", MAX_PORTS, kind);
}

bool tg_data_set_read(struct tg_diag *d, struct tg_arena *a, const char *folder, struct tg_data_set *out)
{
	*out = (struct tg_data_set){ 0 };
	return read_numbered(d, a, folder, "input", &out->inputs) && read_numbered(d, a, folder, "output", &out->outputs);
}

void tg_bind_by_name(const struct tg_tensor_list *list, const char *const *ports, size_t n, const struct tg_tensor **out)
{
	memset(out, 0, n * sizeof *out);
	for (size_t i = 0; i < list->n; i++) {
		size_t port = i;
		for (size_t k = 0; *list->at[i].name && k < n; k++)
			if (!strcmp(list->at[i].name, ports[k])) {
				port = k;
				break;
			}
		if (port < n && !out[port])
			out[port] = &list->at[i].t;
	}
}
