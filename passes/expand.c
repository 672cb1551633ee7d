/* expand.c: every graph op becomes stages, by its expand_ function (ir/graph_expand*.c).
 *
 *   %y = graph.relu %x     ==>     %y = tile.stage(%x) { max(arg 0, 0.0) } */
#include "passes.h"

bool pass_expand(struct tg_pass *cx, struct tg_module *m);

bool pass_expand(struct tg_pass *cx, struct tg_module *m)
{
	return tg_expand_module(cx->d, m);
}
