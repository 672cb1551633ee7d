/* check_run.h: what every Check program ends with, and where tests put their files. */
#ifndef TG_CHECK_RUN_H
#define TG_CHECK_RUN_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs the suite; the program's exit status. CTest watches the time, so test cases have no limit of their own: a busy machine must not decide. */
static inline int run_suite(Suite *s)
{
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A template for mkstemp or mkdtemp in TMPDIR. */
static inline void temporary_name(char *out, size_t n)
{
	const char *folder = getenv("TMPDIR");
	int len = snprintf(out, n, "%s/tg_XXXXXX", folder && *folder ? folder : "/tmp");
	ck_assert(len > 0 && (size_t)len < n);
}

#endif
