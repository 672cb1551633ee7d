/* exe.c: the executable, an ELF64 file written and read with libelf.
 *
 *   .text           code words                .tg.chip     the chip, as tg_chip_print prints it
 *   .tg.segments    table of DRAM contents    .tg.data     their bytes, each 8-byte aligned; fills stay fills
 *   .tg.bindings    inputs, then outputs      .tg.steps    what runs, in order
 *   .tg.debug       ranges, provenance sets, births, buffers, predicted cycles, pipelines
 *   .note.tegula    version, flags, digests, sizes; last the SHA-256 of all sections before it
 *
 * Records are little-endian, text is length + bytes. The layout is ours (ELF_F_LAYOUT) and holds no time or path, so the same executable
 * gives the same bytes. The reader believes nothing: every offset, count and text is checked against its section, then the digest. */
#include "isa_int.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FORMAT_VERSION 2

enum section { SEC_NULL, SEC_TEXT, SEC_CHIP, SEC_SEGMENTS, SEC_DATA, SEC_BINDINGS, SEC_STEPS, SEC_DEBUG, SEC_NOTE, SEC_NAMES, N_SECTIONS };
static const struct {
	const char *name;
	uint32_t type;
	uint64_t flags, align;
} sections[N_SECTIONS] = {
	[SEC_NULL] = {"", SHT_NULL, 0, 0},
	[SEC_TEXT] = {".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 8},
	[SEC_CHIP] = {".tg.chip", SHT_PROGBITS, 0, 8},
	[SEC_SEGMENTS] = {".tg.segments", SHT_PROGBITS, 0, 8},
	[SEC_DATA] = {".tg.data", SHT_PROGBITS, 0, 64},
	[SEC_BINDINGS] = {".tg.bindings", SHT_PROGBITS, 0, 8},
	[SEC_STEPS] = {".tg.steps", SHT_PROGBITS, 0, 8},
	[SEC_DEBUG] = {".tg.debug", SHT_PROGBITS, 0, 8},
	[SEC_NOTE] = {".note.tegula", SHT_NOTE, 0, 4},
	[SEC_NAMES] = {".shstrtab", SHT_STRTAB, 0, 1},
};

void tg_exe_init(struct tg_exe *x, struct tg_arena *a, const struct tg_chip *c)
{
	memset(x, 0, sizeof *x);
	x->chip = *c;
	x->chip_text = tg_chip_print(a, c);
	x->version = "";
	x->flags = "";
	struct tg_sha256 s;
	tg_sha256_init(&s);
	tg_sha256_add(&s, x->chip_text, strlen(x->chip_text));
	tg_sha256_end(&s, x->chip_sha256);
}

/* ---- writing records ---- */

static void put(struct tg_buf *b, uint64_t v, unsigned bytes)
{
	uint8_t raw[8];
	for (unsigned i = 0; i < bytes; i++)
		raw[i] = (uint8_t)(v >> (8 * i));
	tg_buf_add(b, raw, bytes);
}

static void put_text(struct tg_buf *b, const char *s)
{
	size_t n = s ? strlen(s) : 0;
	put(b, n, 4);
	tg_buf_add(b, s ? s : "", n);
}

static void put_binding(struct tg_buf *b, const struct tg_binding *v)
{
	put_text(b, v->name);
	put(b, v->dtype, 1);
	put(b, v->shape.rank, 4);
	for (uint32_t i = 0; i < v->shape.rank && i < TG_MAX_RANK; i++)
		put(b, (uint64_t)v->shape.dim[i], 8);
	put(b, v->dram, 8);
}

static void put_step(struct tg_buf *b, const struct tg_step *s)
{
	put(b, s->on_host, 1);
	put(b, s->entry_word, 4);
	put_text(b, s->text);
	put_text(b, s->reason);
	put(b, s->n_in, 4);
	put(b, s->n_args, 4);
	for (uint32_t i = 0; i < s->n_args; i++)
		put_binding(b, &s->args[i]);
}

static void put_debug(struct tg_buf *b, const struct tg_exe *x)
{
	put(b, x->ranges.n, 4);
	for (size_t i = 0; i < x->ranges.n; i++) {
		put(b, x->ranges.at[i].first_word, 4);
		put(b, x->ranges.at[i].end_word, 4);
		put(b, x->ranges.at[i].prov, 4);
	}
	put(b, x->provs.n, 4);
	for (size_t i = 0; i < x->provs.n; i++)
		put_text(b, x->provs.at[i]);
	put(b, x->births.n, 4);
	for (size_t i = 0; i < x->births.n; i++) {
		put(b, x->births.at[i].word, 4);
		put(b, x->births.at[i].sram, 8);
		put(b, x->births.at[i].bytes, 8);
	}
	put(b, x->buffers.n, 4);
	for (size_t i = 0; i < x->buffers.n; i++) {
		put_text(b, x->buffers.at[i].name);
		put(b, x->buffers.at[i].sram, 8);
		put(b, x->buffers.at[i].bytes, 8);
		put(b, x->buffers.at[i].first_word, 4);
		put(b, x->buffers.at[i].end_word, 4);
	}
	put(b, x->predictions.n, 4);
	for (size_t i = 0; i < x->predictions.n; i++) {
		put(b, x->predictions.at[i].word, 4);
		put(b, x->predictions.at[i].cycles, 8);
	}
	put(b, x->loops.n, 4);
	for (size_t i = 0; i < x->loops.n; i++) {
		const struct tg_loop_note *l = &x->loops.at[i];
		const uint32_t fields[] = { l->word, l->interval, l->least, l->stages, l->copies };
		for (size_t k = 0; k < TG_ARRAY_LEN(fields); k++)
			put(b, fields[k], 4);
		put(b, l->trips, 8);
	}
}

static uint64_t round8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* Table of segments; the data of segment i begins at the running offset. *data_bytes: all of it. */
static void put_segments(struct tg_buf *b, const struct tg_exe *x, uint64_t *data_bytes)
{
	uint64_t at = 0;
	put(b, x->segments.n, 4);
	for (size_t i = 0; i < x->segments.n; i++) {
		const struct tg_segment *s = &x->segments.at[i];
		put(b, s->dram, 8);
		put(b, s->bytes, 8);
		put(b, s->data ? at : UINT64_MAX, 8);
		put(b, s->fill, 8);
		put(b, s->data ? 0 : s->fill_bytes, 4);
		at += s->data ? round8(s->bytes) : 0;
	}
	*data_bytes = at;
}

/* One section's contents: pieces in memory, in order; nothing is copied. */
struct piece {
	const void *at;
	uint64_t n;
};
struct image {
	TG_VEC(struct piece) piece[N_SECTIONS];
	uint64_t bytes[N_SECTIONS];
};

static void add_piece(struct tg_arena *a, struct image *im, enum section s, const void *at, uint64_t n)
{
	static const uint8_t zeros[8];
	if (n == 0)
		return;
	*TG_PUSH(a, &im->piece[s]) = (struct piece){at, n};
	im->bytes[s] += n;
	if (s == SEC_DATA && n % 8) {
		*TG_PUSH(a, &im->piece[s]) = (struct piece){zeros, 8 - n % 8};
		im->bytes[s] += 8 - n % 8;
	}
}

static void digest(const struct image *im, uint8_t out[32])
{
	struct tg_sha256 s;
	tg_sha256_init(&s);
	for (int k = SEC_TEXT; k < SEC_NOTE; k++) {
		uint8_t n[8];
		for (unsigned i = 0; i < 8; i++)
			n[i] = (uint8_t)(im->bytes[k] >> (8 * i));
		tg_sha256_add(&s, n, sizeof n);
		for (size_t i = 0; i < im->piece[k].n; i++)
			tg_sha256_add(&s, im->piece[k].at[i].at, im->piece[k].at[i].n);
	}
	tg_sha256_end(&s, out);
}

static void add_buf(struct tg_arena *a, struct image *im, enum section s, const struct tg_buf *b)
{
	add_piece(a, im, s, b->at, b->n);
}

/* An ELF note: sizes, type, the owner's name, the description; the digest is the description's end. */
static void build_note(struct tg_arena *a, const struct tg_exe *x, struct image *im, struct tg_buf *note)
{
	struct tg_buf desc;
	tg_buf_init(&desc, a);
	put(&desc, FORMAT_VERSION, 4);
	put_text(&desc, x->version);
	put_text(&desc, x->flags);
	tg_buf_add(&desc, x->model_sha256, 32);
	tg_buf_add(&desc, x->chip_sha256, 32);
	put(&desc, x->macs, 8);
	put(&desc, x->dram_bytes, 8);
	uint8_t sum[32];
	struct tg_sha256 s;
	digest(im, sum);
	tg_sha256_init(&s);
	tg_sha256_add(&s, sum, sizeof sum);
	tg_sha256_add(&s, desc.at, desc.n);
	tg_sha256_end(&s, sum);
	tg_buf_add(&desc, sum, sizeof sum);
	put(note, 7, 4);
	put(note, desc.n, 4);
	put(note, 1, 4);
	tg_buf_add(note, "tegula\0", 8);
	tg_buf_add(note, desc.at, desc.n);
	put(note, 0, (unsigned)((4 - desc.n % 4) % 4));
}

static void build(struct tg_arena *a, const struct tg_exe *x, struct image *im)
{
	struct tg_buf b[N_SECTIONS];
	uint64_t data_bytes;
	for (int i = 0; i < N_SECTIONS; i++)
		tg_buf_init(&b[i], a);
	for (uint32_t i = 0; i < x->n_words; i++)
		put(&b[SEC_TEXT], x->code[i], 8);
	tg_buf_puts(&b[SEC_CHIP], x->chip_text);
	put_segments(&b[SEC_SEGMENTS], x, &data_bytes);
	put(&b[SEC_BINDINGS], x->inputs.n, 4);
	for (size_t i = 0; i < x->inputs.n; i++)
		put_binding(&b[SEC_BINDINGS], &x->inputs.at[i]);
	put(&b[SEC_BINDINGS], x->outputs.n, 4);
	for (size_t i = 0; i < x->outputs.n; i++)
		put_binding(&b[SEC_BINDINGS], &x->outputs.at[i]);
	put(&b[SEC_STEPS], x->steps.n, 4);
	for (size_t i = 0; i < x->steps.n; i++)
		put_step(&b[SEC_STEPS], &x->steps.at[i]);
	put_debug(&b[SEC_DEBUG], x);
	for (int i = SEC_TEXT; i < SEC_NOTE; i++)
		add_buf(a, im, (enum section)i, &b[i]);
	for (size_t i = 0; i < x->segments.n; i++) {
		if (x->segments.at[i].data)
			add_piece(a, im, SEC_DATA, x->segments.at[i].data, x->segments.at[i].bytes);
	}
	build_note(a, x, im, &b[SEC_NOTE]);
	add_buf(a, im, SEC_NOTE, &b[SEC_NOTE]);
	for (int i = 0; i < N_SECTIONS; i++)
		tg_buf_add(&b[SEC_NAMES], sections[i].name, strlen(sections[i].name) + 1);
	add_buf(a, im, SEC_NAMES, &b[SEC_NAMES]);
}

/* ---- writing ELF ---- */

static bool add_section(Elf *e, const struct image *im, int k, uint64_t offset, uint64_t name)
{
	Elf_Scn *scn = elf_newscn(e);
	Elf64_Shdr *h = scn ? elf64_getshdr(scn) : NULL;
	if (!h)
		return false;
	h->sh_name = (Elf64_Word)name;
	h->sh_type = sections[k].type;
	h->sh_flags = sections[k].flags;
	h->sh_addralign = sections[k].align;
	h->sh_offset = offset;
	h->sh_size = im->bytes[k];
	uint64_t at = 0;
	for (size_t i = 0; i < im->piece[k].n; i++) {
		Elf_Data *d = elf_newdata(scn);
		if (!d)
			return false;
		memcpy(&d->d_buf, &im->piece[k].at[i].at, sizeof d->d_buf);
		d->d_type = ELF_T_BYTE;
		d->d_size = im->piece[k].at[i].n;
		d->d_off = (int64_t)at;
		d->d_align = 1;
		d->d_version = EV_CURRENT;
		at += d->d_size;
	}
	return true;
}

static bool write_elf(int fd, const struct image *im)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return false;
	Elf *e = elf_begin(fd, ELF_C_WRITE, NULL);
	Elf64_Ehdr *h = e ? elf64_newehdr(e) : NULL;
	bool ok = h != NULL;
	if (ok) {
		elf_fill(0);
		elf_flagelf(e, ELF_C_SET, ELF_F_LAYOUT);
		h->e_ident[EI_DATA] = ELFDATA2LSB;
		h->e_type = ET_EXEC;
		h->e_machine = EM_NONE;
		h->e_version = EV_CURRENT;
		h->e_shstrndx = SEC_NAMES;
	}
	uint64_t offset = sizeof(Elf64_Ehdr), name = 1;
	for (int k = SEC_TEXT; ok && k < N_SECTIONS; k++) {
		offset = (offset + sections[k].align - 1) / sections[k].align * sections[k].align;
		ok = add_section(e, im, k, offset, name);
		offset += im->bytes[k];
		name += strlen(sections[k].name) + 1;
	}
	if (ok) {
		h->e_shoff = round8(offset);
		ok = elf_update(e, ELF_C_WRITE) >= 0;
	}
	elf_end(e);
	return ok;
}

bool tg_exe_write(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x, const char *path)
{
	struct image im = {0};
	build(a, x, &im);
	char *temp = tg_asprintf(a, "%s.%ld.tmp", path, (long)getpid());
	int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0)
		return tg_io_error(d, tg_at_file(path), "cannot be written: %s", strerror(errno));
	bool ok = write_elf(fd, &im) && fsync(fd) == 0;
	int why = errno;
	ok = close(fd) == 0 && ok;
	ok = ok && rename(temp, path) == 0;
	if (ok)
		return true;
	unlink(temp);
	return tg_io_error(d, tg_at_file(path), "cannot be written: %s", why ? strerror(why) : elf_errmsg(-1));
}

static void close_fd(void *user)
{
	int *fd = user;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool tg_exe_bytes(struct tg_diag *d, struct tg_arena *a, const struct tg_exe *x, uint8_t **out, size_t *n)
{
	struct image im = {0};
	build(a, x, &im);
	int *held = tg_alloc(a, sizeof *held);
	*held = -1;
	tg_arena_cleanup(a, close_fd, held);
	int fd = *held = memfd_create("tgx", MFD_CLOEXEC);
	if (fd < 0)
		return tg_io_error(d, TG_NOWHERE, "no memory file: %s", strerror(errno));
	off_t size = write_elf(fd, &im) ? lseek(fd, 0, SEEK_END) : -1;
	bool ok = size > 0;
	if (ok) {
		*n = (size_t)size;
		*out = tg_alloc(a, *n);
		for (size_t at = 0; ok && at < *n;) {
			ssize_t got = pread(fd, *out + at, *n - at, (off_t)at);
			ok = got > 0;
			at += ok ? (size_t)got : 0;
		}
	}
	close_fd(held);
	return ok || tg_internal(d, TG_NOWHERE, "libelf cannot write the executable: %s", elf_errmsg(-1));
}
