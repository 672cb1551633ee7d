/* npy.c: the .npy format, versions 1 to 3, and .npz archives of it.
 *
 * The header is a Python dict literal with exactly three keys. It is read by a small scanner that accepts only what numpy writes, not by an
 * evaluator of Python. Sizes are checked against the bytes that are there before anything is allocated. */
#include "tensor_files.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

static const char magic[6] = { '\x93', 'N', 'U', 'M', 'P', 'Y' };
enum { MAX_HEADER = 65536, MAX_MEMBERS = 4096 };

/* ---- the header ---- */

struct header { char descr[16]; bool fortran; struct tg_shape shape; bool has_descr, has_order, has_shape; };
struct scan { const char *at, *end; };

static void skip_space(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

static bool take(struct scan *s, const char *word)
{
	size_t n = strlen(word);
	skip_space(s);
	if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n))
		return false;
	s->at += n;
	return true;
}

static bool take_string(struct scan *s, char *out, size_t room)
{
	skip_space(s);
	if (s->at == s->end || (*s->at != '\'' && *s->at != '"'))
		return false;
	char quote = *s->at++;
	const char *close = memchr(s->at, quote, (size_t)(s->end - s->at));
	if (!close || (size_t)(close - s->at) >= room)
		return false;
	memcpy(out, s->at, (size_t)(close - s->at));
	out[close - s->at] = 0;
	s->at = close + 1;
	return true;
}

static bool take_number(struct scan *s, int64_t *v)
{
	skip_space(s);
	const char *from = s->at;
	*v = 0;
	for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
		if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, *s->at - '0', v))
			return false;
	if (s->at < s->end && *s->at == 'L')
		s->at++;
	return s->at > from;
}

static bool take_shape(struct scan *s, struct tg_shape *shape)
{
	if (!take(s, "("))
		return false;
	while (!take(s, ")")) {
		if (shape->rank == TG_MAX_RANK || !take_number(s, &shape->dim[shape->rank++]))
			return false;
		if (!take(s, ",") && (skip_space(s), s->at == s->end || *s->at != ')'))
			return false;
	}
	return true;
}

static bool take_entry(struct scan *s, struct header *h)
{
	char key[24];
	if (!take_string(s, key, sizeof key) || !take(s, ":"))
		return false;
	if (!strcmp(key, "descr") && !h->has_descr)
		return h->has_descr = take_string(s, h->descr, sizeof h->descr);
	if (!strcmp(key, "shape") && !h->has_shape)
		return h->has_shape = take_shape(s, &h->shape);
	if (!strcmp(key, "fortran_order") && !h->has_order) {
		h->fortran = take(s, "True");
		return h->has_order = h->fortran || take(s, "False");
	}
	return false;
}

static bool read_header(const char *text, size_t n, struct header *h)
{
	struct scan s = { text, text + n };
	memset(h, 0, sizeof *h);
	if (!take(&s, "{"))
		return false;
	while (!take(&s, "}")) {
		if (!take_entry(&s, h))
			return false;
		take(&s, ",");
	}
	skip_space(&s);
	return s.at == s.end && h->has_descr && h->has_order && h->has_shape;
}

/* ---- reading ---- */

static enum tg_dtype type_of(const char *descr)
{
	for (uint32_t t = 1; t < TG_N_DTYPES; t++)
		if (tg_dtypes[t].npy && (!strcmp(descr, tg_dtypes[t].npy) || (tg_dtypes[t].npy[0] == '|' && *descr && !strcmp(descr + 1, tg_dtypes[t].npy + 1))))
			return (enum tg_dtype)t;
	return TG_none;
}

/* Column-major elements to row-major. */
static void reorder(const uint8_t *from, uint8_t *to, const struct tg_shape *s, size_t width, int64_t n)
{
	int64_t at[TG_MAX_RANK] = { 0 }, step[TG_MAX_RANK], stride = 1, place = 0;
	for (uint32_t i = 0; i < s->rank; i++) {
		step[i] = stride;
		stride *= s->dim[i];
	}
	for (int64_t k = 0; k < n; k++) {
		memcpy(to + (size_t)k * width, from + (size_t)place * width, width);
		for (uint32_t i = s->rank; i--;) {
			place += step[i];
			if (++at[i] < s->dim[i])
				break;
			place -= step[i] * s->dim[i];
			at[i] = 0;
		}
	}
}

bool tg_npy_parse(struct tg_diag *d, struct tg_arena *a, const char *path, const uint8_t *bytes, size_t n, struct tg_tensor *out)
{
	struct tg_loc loc = tg_at_file(path);
	if (n < 10 || memcmp(bytes, magic, sizeof magic))
		return tg_error(d, loc, "not an .npy file");
	uint32_t major = bytes[6];
	size_t head = major == 1 ? 10 : 12, length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
	if (major < 1 || major > 3 || n < head)
		return tg_error(d, loc, ".npy version %u, expected 1 to 3", major);
	if (major > 1)
		length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
	struct header h;
	if (length > n - head || length > MAX_HEADER || !read_header((const char *)bytes + head, length, &h))
		return tg_error(d, loc, "the .npy header cannot be read");
	enum tg_dtype t = type_of(h.descr);
	size_t want;
	if (t == TG_none)
		return tg_unsupported(d, loc, ".npy element type %s", tg_quoted(d->arena, h.descr));
	if (!tg_shape_bytes(&h.shape, t, &want) || want != n - head - length)
		return tg_error(d, loc, "the .npy file has %zu bytes of data, its shape does not fit them", n - head - length);
	uint8_t *data = tg_alloc(a, want ? want : 1);
	int64_t count = 0;
	tg_shape_count(&h.shape, &count);
	if (h.fortran && h.shape.rank > 1)
		reorder(bytes + head + length, data, &h.shape, tg_dtypes[t].bits / 8, count);
	else if (want)
		memcpy(data, bytes + head + length, want);
	*out = (struct tg_tensor){ t, h.shape, data };
	return true;
}

/* ---- writing ---- */

bool tg_npy_print(struct tg_diag *d, const char *path, struct tg_buf *b, const struct tg_tensor *t)
{
	const char *descr = tg_dtypes[t->dtype].npy;
	uint32_t bits = tg_dtypes[t->dtype].bits;
	size_t bytes;
	if (!descr)
		descr = bits == 16 ? "<u2" : bits == 8 ? "|u1" : NULL;
	if (!descr)
		return tg_unsupported(d, tg_at_file(path), "elements of type %s cannot be written as .npy", tg_dtypes[t->dtype].name);
	if (!tg_shape_bytes(&t->shape, t->dtype, &bytes))
		return tg_limit(d, tg_at_file(path), "the tensor is too large");
	struct tg_buf h;
	tg_buf_init(&h, b->arena);
	tg_buf_printf(&h, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (uint32_t i = 0; i < t->shape.rank; i++)
		tg_buf_printf(&h, i + 1 < t->shape.rank || t->shape.rank == 1 ? "%lld, " : "%lld", (long long)t->shape.dim[i]);
	tg_buf_puts(&h, "), }");
	while ((10 + h.n + 1) % 64)
		tg_buf_puts(&h, " ");
	tg_buf_puts(&h, "\n");
	tg_buf_add(b, magic, sizeof magic);
	tg_buf_add(b, (uint8_t[]){ 1, 0, (uint8_t)h.n, (uint8_t)(h.n >> 8) }, 4);
	tg_buf_add(b, h.at, h.n);
	tg_buf_add(b, t->data, bytes);
	return true;
}

/* ---- .npz ---- */

static bool read_member(struct tg_diag *d, struct tg_arena *a, const char *path, zip_t *z, zip_uint64_t i, struct tg_tensor_list *out)
{
	zip_stat_t st;
	struct tg_loc loc = tg_at_file(path);
	if (zip_stat_index(z, i, 0, &st) || !(st.valid & ZIP_STAT_SIZE) || !(st.valid & ZIP_STAT_NAME))
		return tg_error(d, loc, "member %llu of the archive cannot be read", (unsigned long long)i);
	/* deflate gains at most a factor of 1032 */
	if (st.size > (zip_uint64_t)1 << 34 || (st.valid & ZIP_STAT_COMP_SIZE && st.size / 1100 > st.comp_size + 1))
		return tg_limit(d, loc, "member %s has %llu bytes", tg_quoted(d->arena, st.name), (unsigned long long)st.size);
	zip_file_t *f = zip_fopen_index(z, i, 0);
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	uint8_t *bytes = tg_alloc(tmp, st.size ? st.size : 1);
	bool ok = f && zip_fread(f, bytes, st.size) == (zip_int64_t)st.size;
	size_t n_name = strlen(st.name);
	if (n_name > 4 && !strcmp(st.name + n_name - 4, ".npy"))
		n_name -= 4;
	struct tg_named_tensor named = { .name = tg_strndup(a, st.name, n_name) };
	if (f)
		zip_fclose(f);
	ok = ok ? tg_npy_parse(d, a, path, bytes, st.size, &named.t) : tg_error(d, loc, "member %s is damaged", tg_quoted(d->arena, st.name));
	tg_arena_free(tmp);
	if (ok)
		*TG_PUSH(a, out) = named;
	return ok;
}

bool tg_npz_read(struct tg_diag *d, struct tg_arena *a, const char *path, struct tg_tensor_list *out)
{
	int why;
	zip_t *z = zip_open(path, ZIP_RDONLY, &why);
	if (!z)
		return why == ZIP_ER_NOZIP || why == ZIP_ER_INCONS ? tg_error(d, tg_at_file(path), "not an .npz archive")
								   : tg_io_error(d, tg_at_file(path), "cannot open the archive (libzip error %d)", why);
	zip_int64_t n = zip_get_num_entries(z, 0);
	bool ok = n <= MAX_MEMBERS || tg_limit(d, tg_at_file(path), "the archive has %lld members, at most %d are read", (long long)n, MAX_MEMBERS);
	for (zip_int64_t i = 0; ok && i < n; i++)
		ok = read_member(d, a, path, z, (zip_uint64_t)i, out);
	zip_discard(z);
	return ok;
}

static bool add_member(struct tg_diag *d, struct tg_arena *a, const char *path, zip_t *z, const struct tg_named_tensor *t)
{
	struct tg_buf b;
	tg_buf_init(&b, a);
	if (!tg_npy_print(d, path, &b, &t->t))
		return false;
	zip_source_t *s = zip_source_buffer(z, b.at, b.n, 0);
	zip_int64_t at = s ? zip_file_add(z, tg_asprintf(a, "%s.npy", t->name), s, ZIP_FL_ENC_UTF_8) : -1;
	if (at < 0) {
		zip_source_free(s);
		return tg_io_error(d, tg_at_file(path), "cannot add %s: %s", tg_quoted(d->arena, t->name), zip_strerror(z));
	}
	/* a fixed time, so that equal tensors give equal bytes */
	zip_file_set_mtime(z, (zip_uint64_t)at, 315532800, 0);
	return true;
}

/* The archive is made in memory and written whole or not at all. */
bool tg_npz_write(struct tg_diag *d, struct tg_arena *a, const char *path, const struct tg_named_tensor *t, size_t n)
{
	struct tg_arena *tmp = tg_arena_new(tg_arena_heap(a));
	zip_error_t e;
	zip_error_init(&e);
	zip_source_t *src = zip_source_buffer_create(NULL, 0, 0, &e);
	zip_t *z = src ? zip_open_from_source(src, ZIP_CREATE | ZIP_TRUNCATE, &e) : NULL;
	bool ok = z || tg_io_error(d, tg_at_file(path), "cannot make an archive: %s", zip_error_strerror(&e));
	if (z)
		zip_source_keep(src);
	for (size_t i = 0; ok && i < n; i++)
		ok = add_member(d, tmp, path, z, &t[i]);
	if (z && ok && zip_close(z))
		ok = tg_io_error(d, tg_at_file(path), "cannot finish the archive: %s", zip_strerror(z));
	else if (z && !ok)
		zip_discard(z);
	if (ok) {
		zip_stat_t st;
		zip_source_stat(src, &st);
		uint8_t *bytes = tg_alloc(tmp, st.size ? st.size : 1);
		ok = !zip_source_open(src) && zip_source_read(src, bytes, st.size) == (zip_int64_t)st.size;
		zip_source_close(src);
		ok = ok ? tg_file_write(d, path, bytes, st.size) : tg_io_error(d, tg_at_file(path), "cannot read the archive back");
	}
	if (src)
		zip_source_free(src);
	zip_error_fini(&e);
	tg_arena_free(tmp);
	return ok;
}
