/* What the tests that talk to a server share. */
#ifndef KEEP_H
#define KEEP_H

#include <sys/wait.h>

#include <redkeep.h>

#include "check.h"

#define TEXT(text) (text), strlen(text)

static rk_error *err;

/* The call returns this status; an error is there exactly if the status is one, and is freed. */
#define STATUS(wanted, call) check_status(__FILE__, __LINE__, #call, (call), (wanted), 0)
#define OK(call) STATUS(RK_OK, call)
/* As STATUS, but leaves the error in `err`. */
#define FAILS(wanted, call) check_status(__FILE__, __LINE__, #call, (call), (wanted), 1)

static inline void done(void)
{
    rk_error_free(err);
    err = NULL;
}

static inline void check_status(const char *file, int line, const char *text, rk_status got, rk_status wanted, int keep)
{
    if (got != wanted || (got < 0) != (err != NULL) || rk_error_status(err) != (got < 0 ? got : RK_OK)) {
        fprintf(stderr, "%s:%d: %s is %s, not %s; the error is \"%s\"\n", file, line, text, rk_status_name(got),
                rk_status_name(wanted), rk_error_message(err));
        exit(1);
    }
    if (!keep)
        done();
}

static inline void check_has(const char *file, int line, const char *got, const char *wanted)
{
    if (got && strstr(got, wanted))
        return;
    fprintf(stderr, "%s:%d: \"%s\" is not in \"%s\"\n", file, line, wanted, got ? got : "(NULL)");
    exit(1);
}

#define HAS(got, wanted) check_has(__FILE__, __LINE__, (got), (wanted))

/* The bytes are these; they are freed. */
#define BYTES(bytes, wanted) check_bytes(__FILE__, __LINE__, &(bytes), TEXT(wanted))

static inline void check_bytes(const char *file, int line, rk_bytes *got, const char *wanted, size_t len)
{
    if (got->data == NULL)
        check_str(file, line, "data", NULL, wanted);
    check_int(file, line, "len", (long long)got->len, (long long)len);
    check_mem(file, line, "data", got->data, wanted, len);
    check_int(file, line, "the byte after the end", got->data[got->len], 0);
    rk_bytes_free(got);
}

static inline const char *url_of(const char *name)
{
    const char *url = getenv(name);
    if (!url) {
        fprintf(stderr, "%s is not set; tests/c/run.sh sets it\n", name);
        exit(1);
    }
    return url;
}

/* A manager on the server of the tests, which is empty. */
static inline rk_manager *open_keep(void)
{
    static const char *const flush[] = {"FLUSHALL"};
    rk_manager *keep = NULL;
    OK(rk_manager_open(url_of("RK_TEST_URL"), &keep, &err));
    OK(rk_command_argv(keep, 1, flush, NULL, &err));
    return keep;
}

/* The child ended by itself, and well. What its parent's threads held is lost to a child: a leak checker may end it
 * with the code RK_TEST_LOST for that alone. */
static inline void wait_for(pid_t child)
{
    const char *lost = getenv("RK_TEST_LOST");
    int status = 0;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    if (!lost || WEXITSTATUS(status) != atoi(lost))
        CHECK_EQ_INT(WEXITSTATUS(status), 0);
}

#endif
