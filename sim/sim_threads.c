/* sim_threads.c: the queue of multiplies and the threads that take from it (threads.h). */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define N_SLOTS 64   /* multiplies under way */
#define N_SPARE 4    /* sets of weights for each array besides the two that are in use */
#define MAX_WORKERS 8
#define SPINS 4000   /* before a thread sleeps or yields */
#define WORTH_IT 4096 /* weights of an array: products of a smaller one are made in less time than it takes to hand them over */

struct slot {
	struct tg_weights w; /* as they were when the multiply was issued */
	struct tg_product p;
	uint32_t *rows;
};
struct worker {
	_Alignas(64) _Atomic uint64_t done; /* multiplies */
	struct workers *all;
	uint32_t first, end; /* columns */
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
	struct worker worker[MAX_WORKERS];
	uint32_t n;
	uint64_t *rows[TG_MAX_ARRAYS]; /* the last multiply into each accumulator row */
	struct spare spare[TG_MAX_ARRAYS][N_SPARE];
	uint32_t next_spare[TG_MAX_ARRAYS];
};

/* ---- a worker ---- */

/* Until there is more than `done`; false: to stop. */
static bool wait_for_work(struct workers *k, uint64_t done)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&k->issued, memory_order_acquire) > done)
			return true;
	}
	pthread_mutex_lock(&k->lock);
	atomic_fetch_add(&k->sleepers, 1);
	while (atomic_load(&k->issued) == done && !atomic_load(&k->stop))
		pthread_cond_wait(&k->more, &k->lock);
	atomic_fetch_sub(&k->sleepers, 1);
	pthread_mutex_unlock(&k->lock);
	return atomic_load(&k->issued) > done;
}

static void *worker_main(void *user)
{
	struct worker *me = user;
	struct workers *k = me->all;
	for (uint64_t done = 0; wait_for_work(k, done);) {
		k->matrix->columns(&k->slot[done % N_SLOTS].p, me->first, me->end);
		atomic_store_explicit(&me->done, ++done, memory_order_release);
	}
	return NULL;
}

/* ---- the program's thread ---- */

static void wait_until(const struct workers *k, uint64_t done)
{
	for (uint32_t i = 0; i < k->n; i++) {
		for (unsigned spins = 0; atomic_load_explicit(&k->worker[i].done, memory_order_acquire) < done; spins++) {
			if (spins > SPINS)
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
	uint32_t pieces = s->core.stride / 32, most = pieces < MAX_WORKERS ? pieces : MAX_WORKERS;
	uint32_t want = s->options.threads > 1 ? s->options.threads - 1 : 0, n = want < most ? want : most;
	if (!n || (s->core.chip->array_rows * s->core.chip->array_cols < WORTH_IT && !s->options.translate_all))
		return;
	struct workers *k = new_workers(s);
	s->workers = k;
	tg_arena_cleanup(s->arena, stop, s);
	for (uint32_t i = 0; i < n; i++) {
		struct worker *w = &k->worker[i];
		w->all = k;
		w->first = pieces * i / n * 32;
		w->end = pieces * (i + 1) / n * 32;
	}
	for (; k->n < n; k->n++) {
		if (pthread_create(&k->worker[k->n].thread, NULL, worker_main, &k->worker[k->n]) != 0)
			break;
	}
	if (k->n < n) /* columns without a worker: not worth a plan of its own */
		stop(s);
}

void threads_close(struct tg_sim *s)
{
	stop(s);
}
