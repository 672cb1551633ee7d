/* test.c: `tegula test`: every case folder beneath the given ones, each in a child process, several at a time. */
#include "case.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOBS = 64, MAX_DEPTH = 32 };

struct one_case { const char *path, *name; };
struct cases { struct one_case *at; size_t n, cap; };
struct result { char *text; size_t n, cap; json_t *json; };
struct job { size_t which; pid_t pid; int fd; double started; struct tg_buf text; bool timed_out; };

/* ---- finding ---------------------------------------------------------------------------------------------------------- */

static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct one_case *)a)->name, ((const struct one_case *)b)->name);
}

struct folder { const char *path; int depth; };

static bool find_cases(struct tool *t, const char *root, struct cases *out)
{
	TG_VEC(struct folder) todo = { 0 };
	size_t first = out->n, skip = strlen(root);
	*TG_PUSH(t->arena, &todo) = (struct folder){ root, 0 };
	while (todo.n) {
		struct folder f = todo.at[--todo.n];
		if (is_file(tg_asprintf(t->arena, "%s/model.onnx", f.path))) {
			const char *name = f.path + skip;
			while (*name == '/')
				name++;
			if (!*name) {
				const char *slash = strrchr(f.path, '/');
				name = slash ? slash + 1 : f.path;
			}
			*TG_PUSH(t->arena, out) = (struct one_case){ f.path, name };
			continue;
		}
		DIR *d = opendir(f.path);
		if (!d && f.depth == 0)
			return tg_io_error(&t->diag, tg_at_file(root), "cannot open: %s", strerror(errno));
		struct dirent *e;
		while (d && (e = readdir(d))) {
			struct stat st;
			char *path = tg_asprintf(t->arena, "%s/%s", f.path, e->d_name);
			if (e->d_name[0] != '.' && f.depth < MAX_DEPTH && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
				*TG_PUSH(t->arena, &todo) = (struct folder){ path, f.depth + 1 };
		}
		if (d)
			closedir(d);
	}
	qsort(out->at + first, out->n - first, sizeof *out->at, by_name);
	return true;
}

/* ---- one case, in the child --------------------------------------------------------------------------------------------------- */

static const char *first_error(struct tool *t)
{
	for (size_t i = 0; i < t->diag.list.n; i++) {
		struct tg_message m = t->diag.list.at[i];
		struct tg_buf b;
		if (m.severity != TG_ERROR || (m.status != t->diag.status))
			continue;
		tg_buf_init(&b, t->arena);
		m.loc.file = NULL;
		tg_message_format(&m, &b);
		return b.at;
	}
	return "failed without a message";
}

static const char *outcome(const struct tool *t)
{
	return t->diag.status == TG_ERR_UNSUPPORTED ? "unsupported" : "error";
}

static int set_number(const char *name)
{
	int64_t n;
	return strncmp(name, "test_data_set_", 14) == 0 && parse_number(name + 14, 0, 1 << 20, &n) ? (int)n : -1;
}

static uint32_t count_sets(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int most = -1;
	while (d && (e = readdir(d))) {
		int n = set_number(e->d_name);
		most = n > most ? n : most;
	}
	if (d)
		closedir(d);
	return (uint32_t)(most + 1);
}

struct case_result { const char *status, *placement, *reason; uint64_t cycles; json_t *bound; };

static bool merge_placement(struct case_result *r, const struct tg_exe *x)
{
	const char *p = tg_placement(x);
	if (!r->placement)
		r->placement = p;
	else if (strcmp(r->placement, p) != 0)
		r->placement = "mixed";
	return true;
}

/* Sequences and optionals are files of another kind; the model then says what is not supported. */
static bool why_unreadable(struct tool *t, const char *model, const struct tg_compile_options *o)
{
	struct tg_diag files = t->diag;
	struct case_run run = { 0 };
	tg_diag_init(&t->diag, t->arena);
	bool compiles = case_compile(t, model, o, NULL, &run);
	if (compiles || t->diag.status != TG_ERR_UNSUPPORTED)
		t->diag = files;
	return false;
}

static bool run_set(struct tool *t, const char *model, const char *folder, const struct tg_compile_options *o, const struct tg_sim_options *s,
		    const struct tg_tolerance *tol, struct case_result *r)
{
	struct tg_data_set set = { 0 };
	struct case_run run = { 0 };
	struct tg_buf why;
	bool ok;
	tg_buf_init(&why, t->arena);
	if (!tg_data_set_read(&t->diag, t->arena, folder, &set))
		return why_unreadable(t, model, o);
	if (!case_compile(t, model, o, &set.inputs, &run))
		return false;
	merge_placement(r, &run.compiled.exe);
	for (size_t i = 0; i < run.compiled.imported.bound_inputs.n; i++) {
		json_t *name = json_string(run.compiled.imported.bound_inputs.at[i]);
		bool known = false;
		for (size_t k = 0; k < json_array_size(r->bound); k++)
			known |= json_equal(json_array_get(r->bound, k), name);
		if (!known)
			json_array_append(r->bound, name);
		json_decref(name);
	}
	if (flag(t, "verify") && !tg_exe_verify(&t->diag, t->arena, &run.compiled.exe))
		return false;
	if (!case_execute(t, s, &set.inputs, 0, &run) || !case_compare(t, &run, &set.outputs, tol, &ok, &why, NULL))
		return false;
	r->cycles += tg_sim_counters(run.session.sim)->cycles;
	tg_session_close(&run.session);
	if (!ok) {
		r->status = "fail";
		r->reason = why.at;
	}
	return true;
}

static json_t *run_case(struct tool *t, const struct one_case *c)
{
	struct tg_compile_options o;
	struct tg_sim_options s;
	struct tg_tolerance tol = TG_DEFAULT_TOLERANCE;
	struct case_result r = { .status = "pass", .bound = json_array() };
	char *tolerance = tg_asprintf(t->arena, "%s/tolerance.json", c->path), *model = tg_asprintf(t->arena, "%s/model.onnx", c->path);
	bool ok = compile_options(t, &o) && sim_options(t, &s) && tg_tolerance_read(&t->diag, t->arena, tolerance, &tol);
	narrow_tolerance(&o, &tol);
	uint32_t sets = count_sets(c->path), run = 0;
	for (uint32_t i = 0; ok && i < sets && strcmp(r.status, "pass") == 0; i++) {
		struct stat st;
		char *folder = tg_asprintf(t->arena, "%s/test_data_set_%u", c->path, i);
		if (stat(folder, &st) != 0)
			continue;
		ok = run_set(t, model, folder, &o, &s, &tol, &r);
		run++;
	}
	if (ok && run == 0)
		ok = tg_error(&t->diag, tg_at_file(c->path), "the case has no test_data_set_K folder");
	if (!ok) {
		r.status = outcome(t);
		r.reason = first_error(t);
	}
	json_t *out = json_object();
	put(out, "name", json_string(c->name));
	put(out, "status", json_string(r.status));
	put(out, "placement", r.placement ? json_string(r.placement) : json_null());
	put(out, "reason", json_string(r.reason ? r.reason : ""));
	put(out, "bound_inputs", r.bound);
	put(out, "cycles", json_integer((json_int_t)r.cycles));
	return out;
}

static void child(struct tool *t, const struct one_case *c, int fd)
{
	json_t *r = run_case(t, c);
	char *text = json_dumps(r, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	for (size_t done = 0; done < n;) {
		ssize_t w = write(fd, text + done, n - done);
		if (w <= 0)
			_exit(70);
		done += (size_t)w;
	}
	_exit(0);
}

/* ---- the parent --------------------------------------------------------------------------------------------------------------------- */

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static bool start(struct tool *t, const struct one_case *c, struct job *j)
{
	int fd[2];
	if (pipe2(fd, O_CLOEXEC) != 0)
		return false;
	fflush(NULL);
	j->pid = fork();
	if (j->pid == 0) {
		close(fd[0]);
		child(t, c, fd[1]);
	}
	close(fd[1]);
	j->fd = fd[0];
	j->started = now();
	j->timed_out = false;
	tg_buf_init(&j->text, t->arena);
	return j->pid > 0;
}

static json_t *broken(const struct one_case *c, const char *reason)
{
	json_t *o = json_object();
	put(o, "name", json_string(c->name));
	put(o, "status", json_string("error"));
	put(o, "placement", json_null());
	put(o, "reason", json_string(reason));
	put(o, "bound_inputs", json_array());
	put(o, "cycles", json_integer(0));
	return o;
}

static json_t *finish(struct tool *t, const struct one_case *c, struct job *j)
{
	int status = 0;
	close(j->fd);
	waitpid(j->pid, &status, 0);
	json_t *r = NULL;
	if (!j->timed_out && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		r = json_loadb(j->text.at ? j->text.at : "", j->text.n, 0, NULL);
	if (!r && j->timed_out)
		r = broken(c, "timeout");
	else if (!r && WIFSIGNALED(status))
		r = broken(c, tg_asprintf(t->arena, "crash: signal %d", WTERMSIG(status)));
	else if (!r)
		r = broken(c, tg_asprintf(t->arena, "the case's process ended with status %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1));
	put(r, "seconds", json_real(now() - j->started));
	return r;
}

static const char *text_of(const json_t *r, const char *key)
{
	const char *s = json_string_value(json_object_get(r, key));
	return s ? s : "";
}

static void progress(const struct cases *c, size_t done, const size_t *tally)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%zu/%zu  pass %zu  fail %zu  unsupported %zu  error %zu ", done, c->n, tally[0], tally[1], tally[2], tally[3]);
}

static const char *const statuses[] = { "pass", "fail", "unsupported", "error" };

static void run_all(struct tool *t, const struct cases *c, int64_t jobs, double timeout, json_t **results, size_t *tally)
{
	struct job job[MAX_JOBS];
	size_t next = 0, done = 0;
	int64_t active = 0;
	while (done < c->n) {
		while (active < jobs && next < c->n) {
			job[active].which = next;
			if (!start(t, &c->at[next], &job[active]))
				break;
			active++;
			next++;
		}
		struct pollfd p[MAX_JOBS];
		for (int64_t i = 0; i < active; i++)
			p[i] = (struct pollfd){ .fd = job[i].fd, .events = POLLIN };
		poll(p, (nfds_t)active, 200);
		for (int64_t i = active; i-- > 0;) {
			char part[4096];
			ssize_t n = -1;
			if (p[i].revents)
				n = read(job[i].fd, part, sizeof part);
			if (n > 0) {
				tg_buf_add(&job[i].text, part, (size_t)n);
				continue;
			}
			if (n < 0 && now() - job[i].started > timeout && !job[i].timed_out) {
				job[i].timed_out = true;
				kill(job[i].pid, SIGKILL);
			}
			if (n != 0)
				continue;
			json_t *r = finish(t, &c->at[job[i].which], &job[i]);
			results[job[i].which] = r;
			for (int k = 0; k < 4; k++)
				tally[k] += strcmp(text_of(r, "status"), statuses[k]) == 0;
			job[i] = job[--active];
			done++;
			progress(c, done, tally);
		}
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n");
}

static void xml_text(struct tg_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
			tg_buf_printf(b, "&#%d;", *s);
		else if ((unsigned char)*s >= 0x20)
			tg_buf_add(b, s, 1);
	}
}

static bool write_junit(struct tool *t, const char *path, json_t *const *results, size_t n, const size_t *tally)
{
	struct tg_buf b;
	tg_buf_init(&b, t->arena);
	tg_buf_printf(&b, "<testsuite name=\"tegula\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\">\n", n, tally[1], tally[3], tally[2]);
	for (size_t i = 0; i < n; i++) {
		const char *s = text_of(results[i], "status");
		tg_buf_puts(&b, "<testcase name=\"");
		xml_text(&b, text_of(results[i], "name"));
		tg_buf_printf(&b, "\" time=\"%.3f\">", json_real_value(json_object_get(results[i], "seconds")));
		if (strcmp(s, "pass") != 0) {
			const char *tag = strcmp(s, "fail") == 0 ? "failure" : strcmp(s, "error") == 0 ? "error" : "skipped";
			tg_buf_printf(&b, "<%s message=\"", tag);
			xml_text(&b, text_of(results[i], "reason"));
			tg_buf_puts(&b, "\"/>");
		}
		tg_buf_puts(&b, "</testcase>\n");
	}
	tg_buf_puts(&b, "</testsuite>\n");
	return tg_file_write(&t->diag, path, b.at, b.n);
}

/* Cases at equal distances. */
static void keep_sample(struct cases *c, int64_t sample)
{
	size_t n = (uint64_t)sample < c->n ? (size_t)sample : c->n;
	for (size_t i = 0; i < n; i++)
		c->at[i] = c->at[i * c->n / n];
	c->n = n;
}

enum tg_status run_test(struct tool *t)
{
	struct cases c = { 0 };
	int64_t timeout = 60, sample = INT64_MAX, jobs = sysconf(_SC_NPROCESSORS_ONLN);
	size_t tally[4] = { 0 }, by_place[3] = { 0 };
	if (!option_number(t, "timeout", 1, 86400, &timeout) || !option_number(t, "sample", 1, INT64_MAX, &sample) || !option_number(t, "jobs", 1, MAX_JOBS, &jobs))
		return TG_ERR_USAGE;
	jobs = jobs < 1 ? 1 : jobs > MAX_JOBS ? MAX_JOBS : jobs;
	for (size_t i = 0; i < t->args.n; i++)
		if (!find_cases(t, t->args.at[i], &c))
			return status_of(t, TG_OK);
	keep_sample(&c, sample);
	json_t **results = tg_alloc_n(t->arena, c.n + 1, sizeof(json_t *)), *list = json_array();
	run_all(t, &c, jobs, (double)timeout, results, tally);
	for (size_t i = 0; i < c.n; i++) {
		const char *s = text_of(results[i], "status"), *place = text_of(results[i], "placement");
		if (strcmp(s, "pass") == 0)
			by_place[strcmp(place, "chip") == 0 ? 0 : strcmp(place, "mixed") == 0 ? 1 : 2]++;
		else
			printf("%-11s %s: %s\n", s, text_of(results[i], "name"), text_of(results[i], "reason"));
		json_array_append_new(list, results[i]);
	}
	printf("%zu cases: %zu pass (%zu on the chip, %zu mixed, %zu on the host), %zu fail, %zu unsupported, %zu error\n", c.n, tally[0], by_place[0], by_place[1],
	       by_place[2], tally[1], tally[2], tally[3]);
	if (option(t, "junit"))
		write_junit(t, option(t, "junit"), results, c.n, tally);
	put(t->report, "cases", list);
	bool bad = tally[1] || tally[3] || (flag(t, "strict") && tally[2]);
	return status_of(t, bad ? TG_ERR_DIFFERS : TG_OK);
}
