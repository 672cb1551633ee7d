/* exe_read.c: reads what exe.c writes, and believes nothing. Segments borrow from the mapped file; all else is copied to the arena. */
#include "isa_int.h"

#include <gelf.h>
#include <libelf.h>
#include <string.h>

#define FORMAT_VERSION 2

/* A cursor over one section. Once it has failed it stays failed and yields zeros. */
struct cursor {
	struct tg_arena *arena;
	const uint8_t *at;
	size_t n;
	bool bad;
};

static uint64_t get(struct cursor *c, unsigned bytes)
{
	uint64_t v = 0;
	if (c->bad || c->n < bytes) {
		c->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)c->at[i] << (8 * i);
	c->at += bytes;
	c->n -= bytes;
	return v;
}

static void get_bytes(struct cursor *c, void *out, size_t n)
{
	if (c->bad || c->n < n) {
		c->bad = true;
		return;
	}
	memcpy(out, c->at, n);
	c->at += n;
	c->n -= n;
}

static const char *get_text(struct cursor *c)
{
	uint64_t n = get(c, 4);
	if (c->bad || n > c->n || memchr(c->at, 0, n)) {
		c->bad = true;
		return "";
	}
	const char *s = tg_strndup(c->arena, (const char *)c->at, n);
	c->at += n;
	c->n -= n;
	return s;
}

/* A count of records of at least `least` bytes each: what cannot be there is refused before it is allocated. */
static uint32_t get_count(struct cursor *c, size_t least)
{
	uint64_t n = get(c, 4);
	if (n > c->n / least)
		c->bad = true;
	return c->bad ? 0 : (uint32_t)n;
}

/* ---- sections ---- */

enum section { SEC_TEXT, SEC_CHIP, SEC_SEGMENTS, SEC_DATA, SEC_BINDINGS, SEC_STEPS, SEC_DEBUG, SEC_NOTE, N_SECTIONS };
static const char *const names[N_SECTIONS] = {".text", ".tg.chip", ".tg.segments", ".tg.data", ".tg.bindings", ".tg.steps", ".tg.debug", ".note.tegula"};

struct reader {
	struct tg_diag *d;
	struct tg_arena *arena;
	struct tg_loc loc;
	const struct tg_file *file;
	struct tg_exe *x;
	struct cursor sec[N_SECTIONS];
	bool found[N_SECTIONS];
};

/* The header's own figures are checked before libelf follows them. */
static bool sane_header(struct reader *r)
{
	const struct tg_file *f = r->file;
	Elf64_Ehdr h;
	if (f->n < sizeof h || memcmp(f->at, ELFMAG, SELFMAG) != 0)
		return tg_error(r->d, r->loc, "not an ELF file");
	memcpy(&h, f->at, sizeof h);
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_ident[EI_VERSION] != EV_CURRENT)
		return tg_error(r->d, r->loc, "not a little-endian ELF64 file");
	if (h.e_machine != EM_NONE || h.e_type != ET_EXEC || h.e_phnum != 0)
		return tg_error(r->d, r->loc, "an ELF file for another machine, expected a Tegula executable");
	if (h.e_shentsize != sizeof(Elf64_Shdr) || h.e_shnum < 2 || h.e_shnum > 64 || h.e_shstrndx == 0 || h.e_shstrndx >= h.e_shnum)
		return tg_error(r->d, r->loc, "section table of %u entries, expected 2 .. 64", h.e_shnum);
	if (h.e_shoff > f->n || h.e_shoff % 8 || f->n - h.e_shoff < (uint64_t)h.e_shnum * sizeof(Elf64_Shdr))
		return tg_error(r->d, r->loc, "the section table lies outside the file");
	return true;
}

static bool take_section(struct reader *r, Elf *e, Elf_Scn *scn, size_t strings)
{
	Elf64_Shdr *h = elf64_getshdr(scn);
	if (!h)
		return tg_error(r->d, r->loc, "a section header cannot be read");
	if (h->sh_type != SHT_NULL && (h->sh_offset > r->file->n || h->sh_size > r->file->n - h->sh_offset || (h->sh_flags & SHF_COMPRESSED)))
		return tg_error(r->d, r->loc, "section %zu lies outside the file", elf_ndxscn(scn));
	const char *name = elf_strptr(e, strings, h->sh_name);
	for (int k = 0; name && k < N_SECTIONS; k++) {
		if (strcmp(name, names[k]) != 0)
			continue;
		if (r->found[k])
			return tg_error(r->d, r->loc, "section %s is there twice", names[k]);
		if (h->sh_offset % 8 && k != SEC_NOTE)
			return tg_error(r->d, r->loc, "section %s is not aligned", names[k]);
		r->found[k] = true;
		r->sec[k] = (struct cursor){.arena = r->arena, .at = r->file->at + h->sh_offset, .n = h->sh_size};
	}
	return true;
}

static void end_elf(void *user)
{
	Elf **e = user;
	elf_end(*e); /* NULL is fine */
	*e = NULL;
}

static bool take_sections(struct reader *r)
{
	Elf **held = tg_alloc(r->arena, sizeof(Elf *)); /* a message may run out of memory */
	tg_arena_cleanup(r->arena, end_elf, held);
	if (elf_version(EV_CURRENT) == EV_NONE)
		return tg_internal(r->d, r->loc, "libelf does not know this ELF version");
	char *image;
	memcpy(&image, &r->file->at, sizeof image); /* libelf takes char *, and only reads: the file's byte order is refused unless little */
	Elf *e = *held = elf_memory(image, r->file->n);
	if (!e)
		return tg_error(r->d, r->loc, "libelf cannot read it: %s", elf_errmsg(-1));
	size_t strings = 0;
	bool ok = elf_getshdrstrndx(e, &strings) == 0 || tg_error(r->d, r->loc, "no section names");
	/* bounds of every section, the names' among them, before a name is followed */
	for (Elf_Scn *s = NULL; ok && (s = elf_nextscn(e, s)) != NULL;)
		ok = take_section(r, e, s, strings);
	end_elf(held);
	for (int k = 0; ok && k < N_SECTIONS; k++) {
		if (!r->found[k])
			ok = tg_error(r->d, r->loc, "section %s is missing", names[k]);
	}
	return ok;
}

static bool read_note(struct reader *r)
{
	struct cursor c = r->sec[SEC_NOTE];
	uint64_t name_bytes = get(&c, 4), desc_bytes = get(&c, 4), type = get(&c, 4);
	char owner[8] = "";
	get_bytes(&c, owner, sizeof owner);
	if (c.bad || name_bytes != 7 || type != 1 || memcmp(owner, "tegula\0", 8) != 0 || desc_bytes < 32 || desc_bytes > c.n)
		return tg_error(r->d, r->loc, "the note is not Tegula's");
	const uint8_t *desc = c.at;
	c.n = desc_bytes;
	if (get(&c, 4) != FORMAT_VERSION)
		return tg_error(r->d, r->loc, "format version %u, expected %d", desc[0], FORMAT_VERSION);
	r->x->version = get_text(&c);
	r->x->flags = get_text(&c);
	get_bytes(&c, r->x->model_sha256, 32);
	get_bytes(&c, r->x->chip_sha256, 32);
	r->x->macs = get(&c, 8);
	r->x->dram_bytes = get(&c, 8);
	uint8_t stated[32], sum[32];
	get_bytes(&c, stated, 32);
	if (c.bad || c.n)
		return tg_error(r->d, r->loc, "the note is cut short");
	struct tg_sha256 s;
	tg_sha256_init(&s);
	for (int k = 0; k < SEC_NOTE; k++) {
		uint8_t n[8];
		for (unsigned i = 0; i < 8; i++)
			n[i] = (uint8_t)((uint64_t)r->sec[k].n >> (8 * i));
		tg_sha256_add(&s, n, sizeof n);
		tg_sha256_add(&s, r->sec[k].at, r->sec[k].n);
	}
	tg_sha256_end(&s, sum);
	tg_sha256_init(&s);
	tg_sha256_add(&s, sum, sizeof sum);
	tg_sha256_add(&s, desc, desc_bytes - 32);
	tg_sha256_end(&s, sum);
	if (memcmp(sum, stated, 32) != 0)
		return tg_error(r->d, r->loc, "the digest does not match the contents");
	return true;
}

static bool read_chip(struct reader *r)
{
	struct cursor c = r->sec[SEC_CHIP];
	if (!tg_chip_parse(r->d, r->arena, r->loc.file, (const char *)c.at, c.n, &r->x->chip))
		return false;
	r->x->chip_text = tg_strndup(r->arena, (const char *)c.at, c.n);
	return true;
}

static bool read_code(struct reader *r)
{
	struct cursor c = r->sec[SEC_TEXT];
	if (c.n % 8 || c.n / 8 > INT32_MAX)
		return tg_error(r->d, r->loc, "code of %zu bytes, expected a multiple of 8", c.n);
	r->x->n_words = (uint32_t)(c.n / 8);
	r->x->code = tg_alloc_n(r->arena, r->x->n_words, 8);
	for (uint32_t i = 0; i < r->x->n_words; i++)
		r->x->code[i] = get(&c, 8);
	return true;
}

static bool inside_dram(const struct tg_exe *x, uint64_t at, uint64_t n)
{
	return at <= x->dram_bytes && n <= x->dram_bytes - at;
}

static bool read_segments(struct reader *r)
{
	struct cursor c = r->sec[SEC_SEGMENTS], data = r->sec[SEC_DATA];
	uint32_t n = get_count(&c, 36);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_segment s = {.dram = get(&c, 8), .bytes = get(&c, 8)};
		uint64_t at = get(&c, 8);
		s.fill = get(&c, 8);
		s.fill_bytes = (uint32_t)get(&c, 4);
		if (!inside_dram(r->x, s.dram, s.bytes))
			return tg_error(r->d, r->loc, "segment %u lies outside the program's DRAM", i);
		if (at != UINT64_MAX) {
			if (at > data.n || s.bytes > data.n - at || at % 8)
				return tg_error(r->d, r->loc, "segment %u lies outside the data section", i);
			s.data = data.at + at;
		} else if (s.fill_bytes != 1 && s.fill_bytes != 2 && s.fill_bytes != 4 && s.fill_bytes != 8) {
			return tg_error(r->d, r->loc, "segment %u is filled by elements of %u bytes, expected 1, 2, 4 or 8", i, s.fill_bytes);
		}
		*TG_PUSH(r->arena, &r->x->segments) = s;
	}
	return (!c.bad && !c.n) || tg_error(r->d, r->loc, "the segment table is cut short or too long");
}

static bool get_binding(struct reader *r, struct cursor *c, struct tg_binding *b)
{
	b->name = get_text(c);
	b->dtype = (uint8_t)get(c, 1);
	b->shape.rank = (uint32_t)get(c, 4);
	if (c->bad || b->dtype == TG_none || b->dtype >= TG_N_DTYPES || b->shape.rank > TG_MAX_RANK)
		return tg_error(r->d, r->loc, "a binding is malformed");
	for (uint32_t i = 0; i < b->shape.rank; i++)
		b->shape.dim[i] = (int64_t)get(c, 8);
	b->dram = get(c, 8);
	size_t bytes;
	if (c->bad || !tg_shape_bytes(&b->shape, (enum tg_dtype)b->dtype, &bytes) || !inside_dram(r->x, b->dram, bytes))
		return tg_error(r->d, r->loc, "binding %s lies outside the program's DRAM", tg_quoted(r->arena, b->name));
	return true;
}

#define BINDING_LEAST 17 /* bytes of a binding's record without name and dimensions */

static bool read_bindings(struct reader *r)
{
	struct cursor c = r->sec[SEC_BINDINGS];
	for (int side = 0; side < 2; side++) {
		uint32_t n = get_count(&c, BINDING_LEAST);
		for (uint32_t i = 0; i < n; i++) {
			struct tg_binding b;
			memset(&b, 0, sizeof b);
			if (!get_binding(r, &c, &b))
				return false;
			if (side == 0)
				*TG_PUSH(r->arena, &r->x->inputs) = b;
			else
				*TG_PUSH(r->arena, &r->x->outputs) = b;
		}
	}
	return (!c.bad && !c.n) || tg_error(r->d, r->loc, "the bindings are cut short or too long");
}

static bool read_step(struct reader *r, struct cursor *c, struct tg_step *s)
{
	memset(s, 0, sizeof *s);
	s->on_host = get(c, 1) != 0;
	s->entry_word = (uint32_t)get(c, 4);
	s->text = get_text(c);
	s->reason = get_text(c);
	s->n_in = (uint32_t)get(c, 4);
	s->n_args = get_count(c, BINDING_LEAST);
	if (c->bad || s->n_in > s->n_args || (!s->on_host && s->entry_word >= r->x->n_words))
		return tg_error(r->d, r->loc, "a step is malformed");
	s->args = tg_alloc_n(r->arena, s->n_args, sizeof *s->args);
	for (uint32_t i = 0; i < s->n_args; i++) {
		if (!get_binding(r, c, &s->args[i]))
			return false;
	}
	return true;
}

static bool read_steps(struct reader *r)
{
	struct cursor c = r->sec[SEC_STEPS];
	uint32_t n = get_count(&c, 21);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_step s;
		if (!read_step(r, &c, &s))
			return false;
		*TG_PUSH(r->arena, &r->x->steps) = s;
	}
	return (!c.bad && !c.n) || tg_error(r->d, r->loc, "the steps are cut short or too long");
}

static bool read_places(struct reader *r, struct cursor *c)
{
	uint64_t sram = r->x->chip.sram_bytes;
	uint32_t n = get_count(c, 20), last = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tg_birth b = {.word = (uint32_t)get(c, 4)};
		b.sram = get(c, 8);
		b.bytes = get(c, 8);
		if (b.word < last || b.word >= r->x->n_words || b.sram > sram || b.bytes > sram - b.sram)
			return tg_error(r->d, r->loc, "birth %u is out of order or outside SRAM", i);
		last = b.word;
		*TG_PUSH(r->arena, &r->x->births) = b;
	}
	n = get_count(c, 28);
	for (uint32_t i = 0; i < n; i++) {
		struct tg_sram_buffer b = {.name = get_text(c)};
		b.sram = get(c, 8);
		b.bytes = get(c, 8);
		b.first_word = (uint32_t)get(c, 4);
		b.end_word = (uint32_t)get(c, 4);
		if (b.first_word > b.end_word || b.end_word > r->x->n_words || b.sram > sram || b.bytes > sram - b.sram)
			return tg_error(r->d, r->loc, "buffer %u lies outside SRAM or the code", i);
		*TG_PUSH(r->arena, &r->x->buffers) = b;
	}
	return true;
}

static bool read_notes(struct reader *r, struct cursor *c)
{
	uint32_t n = get_count(c, 12), last = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tg_prediction p = {.word = (uint32_t)get(c, 4)};
		p.cycles = get(c, 8);
		if (p.word < last || p.word > r->x->n_words)
			return tg_error(r->d, r->loc, "prediction %u is out of order or outside the code", i);
		last = p.word;
		*TG_PUSH(r->arena, &r->x->predictions) = p;
	}
	n = get_count(c, 28);
	last = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tg_loop_note l = {.word = (uint32_t)get(c, 4)};
		l.interval = (uint32_t)get(c, 4);
		l.least = (uint32_t)get(c, 4);
		l.stages = (uint32_t)get(c, 4);
		l.copies = (uint32_t)get(c, 4);
		l.trips = get(c, 8);
		if (l.word < last || l.word > r->x->n_words)
			return tg_error(r->d, r->loc, "pipeline %u is out of order or outside the code", i);
		last = l.word;
		*TG_PUSH(r->arena, &r->x->loops) = l;
	}
	return true;
}

static bool read_debug(struct reader *r)
{
	struct cursor c = r->sec[SEC_DEBUG];
	uint32_t n = get_count(&c, 12), last = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tg_debug_range g = {.first_word = (uint32_t)get(&c, 4)};
		g.end_word = (uint32_t)get(&c, 4);
		g.prov = (uint32_t)get(&c, 4);
		if (g.first_word < last || g.first_word > g.end_word || g.end_word > r->x->n_words)
			return tg_error(r->d, r->loc, "debug range %u is out of order or outside the code", i);
		last = g.end_word;
		*TG_PUSH(r->arena, &r->x->ranges) = g;
	}
	n = get_count(&c, 4);
	for (uint32_t i = 0; i < n; i++)
		*TG_PUSH(r->arena, &r->x->provs) = get_text(&c);
	for (size_t i = 0; i < r->x->ranges.n; i++) {
		if (r->x->ranges.at[i].prov >= r->x->provs.n)
			return tg_error(r->d, r->loc, "debug range %zu names provenance set %u of %zu", i, r->x->ranges.at[i].prov, r->x->provs.n);
	}
	return read_places(r, &c) && read_notes(r, &c) && ((!c.bad && !c.n) || tg_error(r->d, r->loc, "the debug map is cut short or too long"));
}

bool tg_exe_read(struct tg_diag *d, struct tg_arena *a, const struct tg_file *f, struct tg_exe *out)
{
	memset(out, 0, sizeof *out);
	struct reader *r = tg_alloc(a, sizeof *r);
	*r = (struct reader){.d = d, .arena = a, .loc = tg_at_file(f->path), .file = f, .x = out};
	if (!sane_header(r) || !take_sections(r) || !read_note(r) || !read_chip(r) || !read_code(r))
		return false;
	if (out->dram_bytes > out->chip.dram_bytes)
		return tg_error(d, r->loc, "the program uses %llu bytes of DRAM, the chip has %llu", (unsigned long long)out->dram_bytes,
				(unsigned long long)out->chip.dram_bytes);
	return read_segments(r) && read_bindings(r) && read_steps(r) && read_debug(r);
}
