/* file.c: files are mapped for reading and replaced as a whole for writing. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tg_mapping { void *at; size_t n; };

static void unmap(void *user)
{
	struct tg_mapping *m = user;
	if (m->at)
		munmap(m->at, m->n);
	m->at = NULL;
}

/* The file's fields but for its bytes, made while there is nothing yet to lose. */
static struct tg_file prepare(struct tg_arena *a, const char *path)
{
	struct tg_file f = { .path = tg_strdup(a, path), .mapping = tg_alloc(a, sizeof *f.mapping) };
	tg_arena_cleanup(a, unmap, f.mapping);
	return f;
}

/* Maps and closes fd; allocates nothing in between. */
static bool map_fd(struct tg_diag *d, int fd, const char *path, struct tg_loc loc, size_t max_bytes, struct tg_file *out)
{
	struct stat st = { 0 };
	int why = fstat(fd, &st) != 0 ? errno : 0;
	bool regular = S_ISREG(st.st_mode), fits = st.st_size >= 0 && (uint64_t)st.st_size <= max_bytes;
	void *p = NULL;
	if (!why && regular && fits && st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		why = p == MAP_FAILED ? errno : 0;
		p = p == MAP_FAILED ? NULL : p;
	}
	close(fd);
	if (why)
		return tg_io_error(d, loc, "cannot read '%s': %s", tg_quoted(d->arena, path), strerror(why));
	if (!regular)
		return tg_io_error(d, loc, "'%s' is not a regular file", tg_quoted(d->arena, path));
	if (!fits)
		return tg_limit(d, loc, "'%s' has %lld bytes, the limit is %zu", tg_quoted(d->arena, path), (long long)st.st_size, max_bytes);
	*out->mapping = (struct tg_mapping){ p, (size_t)st.st_size };
	out->at = p;
	out->n = (size_t)st.st_size;
	return true;
}

bool tg_file_map(struct tg_diag *d, struct tg_arena *a, const char *path, size_t max_bytes, struct tg_file *out)
{
	struct tg_loc loc = tg_at_file(path);
	*out = prepare(a, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return tg_io_error(d, loc, "cannot open: %s", strerror(errno));
	return map_fd(d, fd, path, loc, max_bytes, out);
}

bool tg_file_map_beneath(struct tg_diag *d, struct tg_arena *a, const char *folder, const char *path, struct tg_loc loc, size_t max_bytes,
			 struct tg_file *out)
{
	*out = prepare(a, path);
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return tg_io_error(d, loc, "cannot open folder '%s': %s", tg_quoted(d->arena, folder), strerror(errno));
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
	int why = errno;
	close(dir);
	if (fd < 0)
		return tg_io_error(d, loc, "cannot open external data '%s': %s", tg_quoted(d->arena, path),
				   why == EXDEV || why == ELOOP ? "it leaves the model's folder or goes through a link" : strerror(why));
	return map_fd(d, fd, path, loc, max_bytes, out);
}

void tg_file_unmap(struct tg_file *f)
{
	if (f->mapping)
		unmap(f->mapping);
	*f = (struct tg_file){ 0 };
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t part = write(fd, p, n < 1 << 30 ? n : 1 << 30);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return false;
		p += part;
		n -= (size_t)part;
	}
	return true;
}

bool tg_file_write(struct tg_diag *d, const char *path, const void *bytes, size_t n)
{
	struct tg_loc loc = tg_at_file(path);
	struct stat st;
	/* A pipe or device (/dev/stdout) cannot be renamed over: it is written straight. */
	bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	char *temporary = tg_asprintf(d->arena, "%s.XXXXXX", path);
	int fd = special ? open(path, O_WRONLY | O_CLOEXEC) : mkstemp(temporary);
	if (fd < 0)
		return tg_io_error(d, loc, "cannot create: %s", strerror(errno));
	bool ok = write_all(fd, bytes, n) && (special || (fchmod(fd, 0644) == 0 && fsync(fd) == 0));
	int why = errno;
	ok = close(fd) == 0 && ok;
	if (ok && !special)
		ok = rename(temporary, path) == 0;
	if (ok)
		return true;
	if (!special)
		unlink(temporary);
	return tg_io_error(d, loc, "cannot write: %s", strerror(why ? why : errno));
}
