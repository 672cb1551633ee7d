/* names.c: open addressing with a seeded hash; the names are borrowed. */
#include "import.h"

#include <string.h>

void tg_names_init(struct tg_names *t, struct tg_arena *a, uint64_t seed)
{
	*t = (struct tg_names){ .arena = a, .seed = seed };
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 29;
	h *= 0xa0761d6478bd642fu;
	return h ^ h >> 32;
}

static uint64_t hash(uint64_t seed, const char *name)
{
	size_t n = strlen(name);
	uint64_t h = seed ^ n;
	for (; n >= 8; n -= 8, name += 8) {
		uint64_t w;
		memcpy(&w, name, 8);
		h = mix(h ^ w) + seed;
	}
	uint64_t w = 0;
	memcpy(&w, name, n);
	return mix(h ^ w);
}

static struct tg_name_slot *slot_of(const struct tg_names *t, const char *name)
{
	uint32_t mask = t->cap - 1;
	for (uint32_t i = (uint32_t)hash(t->seed, name) & mask;; i = (i + 1) & mask)
		if (!t->slots[i].name || !strcmp(t->slots[i].name, name))
			return &t->slots[i];
}

uint32_t *tg_names_find(const struct tg_names *t, const char *name)
{
	struct tg_name_slot *s = t->cap ? slot_of(t, name) : NULL;
	return s && s->name ? &s->value : NULL;
}

static void widen(struct tg_names *t)
{
	struct tg_names old = *t;
	t->cap = old.cap ? old.cap * 2 : 16;
	t->slots = tg_alloc_n(t->arena, t->cap, sizeof *t->slots);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.slots[i].name)
			*slot_of(t, old.slots[i].name) = old.slots[i];
}

uint32_t *tg_names_add(struct tg_names *t, const char *name, uint32_t value, bool *is_new)
{
	if ((t->n + 1) * 2 > t->cap)
		widen(t);
	struct tg_name_slot *s = slot_of(t, name);
	*is_new = !s->name;
	if (*is_new) {
		*s = (struct tg_name_slot){ name, value };
		t->n++;
	}
	return &s->value;
}
