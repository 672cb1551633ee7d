/* heap.c: arenas with one budget and one place to unwind to. Chunks double up to 1 MiB; a large request gets a chunk of its own. */
#include "base.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_CHUNK = 4096, MAX_CHUNK = 1 << 20, ALIGN = 16 };

struct chunk {
	struct chunk *next;
	size_t bytes, used; /* of `data` */
	_Alignas(ALIGN) unsigned char data[];
};

struct cleanup {
	struct cleanup *next;
	void (*fn)(void *user);
	void *user;
};

struct tg_arena {
	struct tg_heap *heap;
	struct tg_arena *prev, *next;
	struct chunk *chunks; /* the one that is filled first in the list */
	struct cleanup *cleanups; /* in the arena itself */
	size_t next_bytes;
};

void tg_heap_init(struct tg_heap *h)
{
	memset(h, 0, sizeof *h);
}

void tg_heap_exhausted(struct tg_heap *h)
{
	longjmp(h->unwind, 1);
}

static void *take(struct tg_heap *h, size_t bytes)
{
	h->n_allocs++;
	bool refused = h->n_allocs == h->fail_at || (h->limit_bytes && bytes > h->limit_bytes - h->used_bytes);
	void *p = refused ? NULL : calloc(1, bytes);
	if (!p)
		tg_heap_exhausted(h);
	h->used_bytes += bytes;
	return p;
}

static void drop_chunk(struct tg_heap *h, struct chunk *c)
{
	h->used_bytes -= sizeof *c + c->bytes;
	free(c);
}

struct tg_arena *tg_arena_new(struct tg_heap *h)
{
	struct tg_arena *a = take(h, sizeof *a);
	a->heap = h;
	a->next_bytes = MIN_CHUNK;
	a->next = h->arenas;
	if (h->arenas)
		h->arenas->prev = a;
	h->arenas = a;
	return a;
}

static void drop_chunks(struct tg_arena *a)
{
	while (a->chunks) {
		struct chunk *next = a->chunks->next;
		drop_chunk(a->heap, a->chunks);
		a->chunks = next;
	}
}

static void clean_up(struct tg_arena *a)
{
	while (a->cleanups) {
		struct cleanup *c = a->cleanups;
		a->cleanups = c->next;
		c->fn(c->user);
	}
}

void tg_arena_free(struct tg_arena *a)
{
	if (!a)
		return;
	clean_up(a);
	drop_chunks(a);
	if (a->prev)
		a->prev->next = a->next;
	else
		a->heap->arenas = a->next;
	if (a->next)
		a->next->prev = a->prev;
	a->heap->used_bytes -= sizeof *a;
	free(a);
}

void tg_arena_reset(struct tg_arena *a)
{
	clean_up(a);
	struct chunk *keep = a->chunks;
	if (!keep)
		return;
	a->chunks = keep->next;
	drop_chunks(a);
	memset(keep->data, 0, keep->used);
	keep->used = 0;
	keep->next = NULL;
	a->chunks = keep;
}

void tg_arena_cleanup(struct tg_arena *a, void (*fn)(void *user), void *user)
{
	struct cleanup *c = tg_alloc(a, sizeof *c);
	*c = (struct cleanup){ a->cleanups, fn, user };
	a->cleanups = c;
}

void tg_heap_free(struct tg_heap *h)
{
	while (h->arenas)
		tg_arena_free(h->arenas);
}

struct tg_heap *tg_arena_heap(struct tg_arena *a)
{
	return a->heap;
}

static void *from_new_chunk(struct tg_arena *a, size_t bytes)
{
	size_t room = bytes > a->next_bytes ? bytes : a->next_bytes;
	if (room > SIZE_MAX / 2)
		tg_heap_exhausted(a->heap);
	struct chunk *c = take(a->heap, sizeof *c + room);
	c->bytes = room;
	c->used = bytes;
	if (a->next_bytes < MAX_CHUNK)
		a->next_bytes *= 2;
	/* A chunk that is full at once goes behind the one still being filled. */
	bool full = a->chunks && room == bytes;
	c->next = full ? a->chunks->next : a->chunks;
	*(full ? &a->chunks->next : &a->chunks) = c;
	return c->data;
}

void *tg_alloc(struct tg_arena *a, size_t bytes)
{
	if (bytes > SIZE_MAX - ALIGN)
		tg_heap_exhausted(a->heap);
	bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	struct chunk *c = a->chunks;
	if (!c || bytes > c->bytes - c->used)
		return from_new_chunk(a, bytes);
	c->used += bytes;
	return c->data + c->used - bytes;
}

void *tg_alloc_n(struct tg_arena *a, size_t n, size_t each)
{
	size_t bytes;
	if (!tg_mul_size(n, each, &bytes))
		tg_heap_exhausted(a->heap);
	return tg_alloc(a, bytes);
}

void *tg_grow(struct tg_arena *a, const void *old, size_t old_bytes, size_t new_bytes)
{
	void *p = tg_alloc(a, new_bytes);
	if (old_bytes)
		memcpy(p, old, old_bytes < new_bytes ? old_bytes : new_bytes);
	return p;
}

void *tg_vec_room(struct tg_arena *a, void *at, size_t n, size_t *cap, size_t each)
{
	if (n < *cap)
		return at;
	size_t more = *cap ? 2 * *cap : 8, bytes;
	if (!tg_mul_size(more, each, &bytes))
		tg_heap_exhausted(a->heap);
	*cap = more;
	return tg_grow(a, at, n * each, bytes);
}

char *tg_strndup(struct tg_arena *a, const char *s, size_t n)
{
	char *p = tg_alloc(a, n + 1);
	if (n)
		memcpy(p, s, n);
	return p;
}

char *tg_strdup(struct tg_arena *a, const char *s)
{
	return tg_strndup(a, s, strlen(s));
}

char *tg_asprintf(struct tg_arena *a, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *p = tg_alloc(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
