/* select.c: the pass that writes machine code into the module, so that it can be printed, edited and read back.
 *
 *   %y = tile.stage(%x) {...}     ==>     the same, and behind it mach.code(%y) { mach.vld_f32 ... } (or plan = "host: REASON")
 *
 * It runs only when somebody asks for the mach level; without it, code generation does the same in one go. */
#include "codegen.h"
#include "passes.h"

bool pass_select(struct tg_pass *cx, struct tg_module *m)
{
	const struct tg_options *all = cx->options;
	const struct tg_codegen_options *given = all ? all->codegen : NULL;
	struct tg_codegen_options o = given ? *given : (struct tg_codegen_options){ 0 };
	struct tg_exe *x = tg_alloc(m->arena, sizeof *x);
	o.write_code = true;
	return tg_codegen(cx->d, m->arena, m, cx->chip, &o, x);
}
