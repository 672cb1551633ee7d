/* sim_threads.c: the queue of multiplies and the threads that take from it (threads.h). */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define N_SLOTS 64   /* multiplies under way */
#define N_SPARE 4    /* sets of weights for each array besides the two that are in use */
#define MAX_WORKERS 8
#define MAX_PIECES 8   /* of PIECE columns: the widest array has 256 */
#define PIECE 32
#define SPINS 4000   /* before a thread sleeps or yields */
#define WORTH_IT 4096 /* weights of an array: products of a smaller one are made in less time than it takes to hand them over */

struct slot {
	struct tg_weights w; /* as they were when the multiply was issued */
	struct tg_product p;
	uint32_t *rows;
};
/* Columns whose products are made in order, by one thread at a time. */
struct piece {
	_Alignas(64) _Atomic uint64_t done; /* multiplies */
	atomic_bool taken;
	uint32_t first, end;
};
struct worker {
	struct workers *all;
	uint32_t prefers; /* where it looks for work first */
	pthread_t thread;
};
struct spare {
	struct tg_weights w;
	uint64_t last; /* the multiply after which nobody reads it */
};
struct workers {
	const struct tg_matrix *matrix;
	struct slot slot[N_SLOTS];
	_Alignas(64) _Atomic uint64_t issued;
	atomic_uint sleepers;
	atomic_bool stop;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct piece piece[MAX_PIECES];
	uint32_t n_pieces;
	struct worker worker[MAX_WORKERS];
	uint32_t n;
	uint64_t *rows[TG_MAX_ARRAYS]; /* the last multiply into each accumulator row */
	struct spare spare[TG_MAX_ARRAYS][N_SPARE];
	uint32_t next_spare[TG_MAX_ARRAYS];
};

/* ---- products ---- */

/* Makes what waits of the first piece, from that one on, which has something to do and nobody to do it; false: there is none. Who holds a piece makes all that was
 * issued, so that its weights stay in the host's cache. */
static bool help(struct workers *k, uint32_t from)
{
	uint64_t issued = atomic_load_explicit(&k->issued, memory_order_acquire);
	for (uint32_t i = 0; i < k->n_pieces; i++) {
		struct piece *p = &k->piece[(from + i) % k->n_pieces];
		if (atomic_load_explicit(&p->done, memory_order_relaxed) >= issued || atomic_exchange_explicit(&p->taken, true, memory_order_acquire))
			continue;
		uint64_t was = atomic_load_explicit(&p->done, memory_order_relaxed);
		for (uint64_t done = was; done < issued;) {
			k->matrix->columns(&k->slot[done % N_SLOTS].p, p->first, p->end);
			atomic_store_explicit(&p->done, ++done, memory_order_release);
		}
		atomic_store_explicit(&p->taken, false, memory_order_release);
		if (was < issued)
			return true;
	}
	return false;
}

/* Until more was issued than that, or to stop. */
static void sleep_until_more(struct workers *k, uint64_t than)
{
	pthread_mutex_lock(&k->lock);
	atomic_fetch_add(&k->sleepers, 1);
	while (atomic_load(&k->issued) == than && !atomic_load(&k->stop))
		pthread_cond_wait(&k->more, &k->lock);
	atomic_fetch_sub(&k->sleepers, 1);
	pthread_mutex_unlock(&k->lock);
}

static void *worker_main(void *user)
{
	struct worker *me = user;
	struct workers *k = me->all;
	for (unsigned idle = 0; !atomic_load_explicit(&k->stop, memory_order_relaxed);) {
		uint64_t seen = atomic_load_explicit(&k->issued, memory_order_relaxed);
		idle = help(k, me->prefers) ? 0 : idle + 1;
		if (idle > SPINS) {
			sleep_until_more(k, seen);
			idle = 0;
		}
	}
	return NULL;
}

/* ---- the program's thread ---- */

/* Until so many multiplies are done; it makes products itself rather than look on. */
static void wait_until(struct workers *k, uint64_t done)
{
	for (uint32_t i = 0; i < k->n_pieces; i++) {
		for (unsigned spins = 0; atomic_load_explicit(&k->piece[i].done, memory_order_acquire) < done;) {
			if (help(k, i))
				spins = 0;
			else if (++spins > SPINS)
				sched_yield();
		}
	}
}

void threads_wait(const struct tg_sim *s)
{
	if (s->workers)
		wait_until(s->workers, atomic_load_explicit(&s->workers->issued, memory_order_relaxed));
}

void threads_wait_rows(const struct tg_sim *s, const struct tg_insn *in, int64_t first)
{
	uint64_t last = 0;
	if (!s->workers)
		return;
	for (int64_t r = first; r < first + in->f[4]; r++) {
		uint64_t at = s->workers->rows[in->f[1]][r];
		last = at > last ? at : last;
	}
	wait_until(s->workers, last);
}

static void issue(struct workers *k, uint64_t number)
{
	atomic_store(&k->issued, number);
	if (atomic_load(&k->sleepers) == 0)
		return;
	pthread_mutex_lock(&k->lock);
	pthread_cond_broadcast(&k->more);
	pthread_mutex_unlock(&k->lock);
}

bool threads_multiply(struct tg_sim *s, struct tg_writes *next, const struct tg_insn *in, const struct tg_operand *v, int64_t first, bool add)
{
	struct workers *k = s->workers;
	uint64_t number = atomic_load_explicit(&k->issued, memory_order_relaxed) + 1;
	struct slot *at = &k->slot[(number - 1) % N_SLOTS];
	wait_until(k, number > N_SLOTS ? number - N_SLOTS : 0);
	if (!k->matrix->start(&s->core, next, in, v, first, add, &at->p, at->rows)) {
		threads_wait(s);
		return false;
	}
	if (next->trap)
		return true;
	at->w = *at->p.w;
	at->p.w = &at->w;
	for (int64_t r = first; r < first + in->f[4]; r++)
		k->rows[in->f[0]][r] = number;
	issue(k, number);
	return true;
}

/* The set that was active may still be read: pushes go to another. */
void threads_swapped(struct tg_sim *s, const struct tg_insn *in)
{
	struct workers *k = s->workers;
	uint32_t u = (uint32_t)in->f[0], i = k->next_spare[u]++ % N_SPARE;
	struct spare *spare = &k->spare[u][i];
	struct tg_array *array = &s->core.array[u];
	struct tg_weights *shadow = &array->set[array->active ^ 1], old = *shadow;
	wait_until(k, spare->last);
	*shadow = spare->w;
	shadow->any = false;
	shadow->form = 0;
	shadow->groups = 0;
	*spare = (struct spare){old, atomic_load_explicit(&k->issued, memory_order_relaxed)};
}

/* ---- begin and end ---- */

static void stop(void *user)
{
	struct tg_sim *s = user;
	struct workers *k = s->workers;
	if (!k)
		return;
	s->workers = NULL;
	pthread_mutex_lock(&k->lock);
	atomic_store(&k->stop, true);
	pthread_cond_broadcast(&k->more);
	pthread_mutex_unlock(&k->lock);
	for (uint32_t i = 0; i < k->n; i++)
		pthread_join(k->worker[i].thread, NULL);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->more);
}

static struct workers *new_workers(struct tg_sim *s)
{
	const struct tg_core *c = &s->core;
	uint8_t *at = tg_alloc(s->arena, sizeof(struct workers) + 64);
	struct workers *k = (struct workers *)(void *)(at + (-(uintptr_t)at & 63));
	k->matrix = s->matrix;
	for (uint32_t i = 0; i < N_SLOTS; i++)
		k->slot[i].rows = tg_alloc_n(s->arena, (size_t)16 * c->stride_in, sizeof(uint32_t));
	for (uint32_t u = 0; u < c->chip->n_arrays; u++) {
		k->rows[u] = tg_alloc_n(s->arena, c->chip->acc_rows, sizeof *k->rows[u]);
		for (uint32_t i = 0; i < N_SPARE; i++)
			sim_new_weights(s, &k->spare[u][i].w);
	}
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->more, NULL);
	return k;
}

void threads_open(struct tg_sim *s)
{
	uint32_t pieces = s->core.stride / PIECE, most = pieces < MAX_WORKERS ? pieces : MAX_WORKERS;
	uint32_t want = s->options.threads > 1 ? s->options.threads - 1 : 0, n = want < most ? want : most;
	if (!n || (s->core.chip->array_rows * s->core.chip->array_cols < WORTH_IT && !s->options.translate_all))
		return;
	struct workers *k = new_workers(s);
	k->n_pieces = pieces;
	for (uint32_t i = 0; i < pieces; i++) {
		k->piece[i].first = i * PIECE;
		k->piece[i].end = (i + 1) * PIECE;
	}
	s->workers = k;
	tg_arena_cleanup(s->arena, stop, s);
	for (; k->n < n; k->n++) {
		struct worker *w = &k->worker[k->n];
		*w = (struct worker){.all = k, .prefers = k->n * pieces / n};
		if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
			break; /* those that began do, and if none did the program's thread does all */
	}
}

void threads_close(struct tg_sim *s)
{
	stop(s);
}
