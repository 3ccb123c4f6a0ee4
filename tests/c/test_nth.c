/* The n-th system call fails, for one n after the other: whatever the library was doing, the call that is under way
 * returns, in time, with a reply or an error that says what happened; and all works again afterwards.
 *
 * The calls are those that this program defines: the linker prefers them to those of the C library. Which n are tried in
 * RK_TEST_SECONDS, REDKEEP_TEST_SEED decides; RK_TEST_ALL=1 tries all of them. */
/* ISO C does not like how glibc declares these. */
#define connect declared_connect
#define recvfrom declared_recvfrom
#include <sys/socket.h>
#undef connect
#undef recvfrom

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"

/* ---- The calls ---- */

/* How many calls there are until one fails; 0 and less: none does. */
static atomic_int left;
/* Interrupted and short, every second one of them. */
static atomic_int mean, turn;
static const char *_Atomic failed;

static int fails(const char *name)
{
    if (atomic_load(&left) <= 0 || atomic_fetch_sub(&left, 1) != 1)
        return 0;
    atomic_store(&failed, name);
    return 1;
}

static int is_mean(void)
{
    return atomic_load(&mean) && atomic_fetch_add(&turn, 1) % 2;
}

/* ISO C has no way from the pointer that dlsym() gives to a function. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    memcpy(function, &found, sizeof found);
}

#define FAIL_AS(code)                                                                              \
    do {                                                                                           \
        errno = (code);                                                                            \
        return -1;                                                                                 \
    } while (0)

#define CALL(name, code, interrupted, parameters, arguments, type)                                 \
    type name parameters;                                                                          \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*_Atomic real) parameters;                                                     \
        type(*found) parameters = real;                                                            \
        if (!found) {                                                                              \
            find(&found, #name);                                                                   \
            real = found;                                                                          \
        }                                                                                          \
        if (fails(#name))                                                                          \
            FAIL_AS(code);                                                                         \
        if (interrupted)                                                                           \
            FAIL_AS(EINTR);                                                                        \
        return found arguments;                                                                    \
    }

#define SHORTER(n) ((n) > 1 && is_mean() ? 1 : (n))

CALL(socket, EMFILE, 0, (int domain, int type, int protocol), (domain, type, protocol), int)
CALL(connect, ECONNREFUSED, 0, (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n), int)
CALL(poll, ENOMEM, is_mean(), (struct pollfd * fds, nfds_t n, int time), (fds, n, time), int)
CALL(recv, ECONNRESET, is_mean(), (int fd, void *to, size_t n, int flags), (fd, to, SHORTER(n), flags), ssize_t)
CALL(send, EPIPE, is_mean(), (int fd, const void *from, size_t n, int flags), (fd, from, SHORTER(n), flags), ssize_t)
CALL(recvfrom, ECONNRESET, is_mean(), (int fd, void *to, size_t n, int flags, struct sockaddr *from, socklen_t *m),
     (fd, to, n, flags, from, m), ssize_t)
CALL(recvmsg, ECONNRESET, is_mean(), (int fd, struct msghdr *to, int flags), (fd, to, flags), ssize_t)
CALL(sendmsg, EPIPE, is_mean(), (int fd, const struct msghdr *from, int flags), (fd, from, flags), ssize_t)
CALL(writev, EPIPE, is_mean(), (int fd, const struct iovec *from, int n), (fd, from, n), ssize_t)
CALL(write, EIO, fd > 2 && is_mean(), (int fd, const void *from, size_t n), (fd, from, n), ssize_t)
CALL(eventfd, EMFILE, 0, (unsigned count, int flags), (count, flags), int)
CALL(getrandom, ENOSYS, is_mean(), (void *to, size_t n, unsigned flags), (to, n, flags), ssize_t)
CALL(setsockopt, ENOPROTOOPT, 0, (int fd, int level, int name, const void *value, socklen_t n), (fd, level, name, value, n), int)
CALL(getsockopt, EINVAL, 0, (int fd, int level, int name, void *restrict value, socklen_t *restrict n),
     (fd, level, name, value, n), int)

/* Where getrandom() fails, Rust reads /dev/urandom, and ends the thread that cannot: no system refuses both. */
static int is_random(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISCHR(about.st_mode);
}

ssize_t read(int fd, void *to, size_t n)
{
    static ssize_t (*_Atomic real)(int, void *, size_t);
    ssize_t (*found)(int, void *, size_t) = real;

    if (!found) {
        find(&found, "read");
        real = found;
    }
    if (is_random(fd))
        return found(fd, to, n);
    if (fails("read"))
        FAIL_AS(EIO);
    if (fd > 2 && is_mean())
        FAIL_AS(EINTR);
    return found(fd, to, n);
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict how, void *(*body)(void *), void *restrict with)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    find(&real, "pthread_create");
    return fails("pthread_create") ? EAGAIN : real(thread, how, body, with);
}

int getaddrinfo(const char *restrict host, const char *restrict port, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    find(&real, "getaddrinfo");
    return fails("getaddrinfo") ? EAI_AGAIN : real(host, port, hints, out);
}

/* ---- What the library does meanwhile ---- */

/* No wait of this program is longer, and no call may take longer than this and two seconds, under valgrind. */
#define TIME 1

static int errors;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* It is as it should be, or it is an error that says why. */
static int well(int line, double since, rk_status status)
{
    double took = now() - since;

    if (took > TIME + 2 || (status < 0) != (err != NULL) || (err && strlen(rk_error_message(err)) < 5)
        || status == RK_ERR_INTERNAL) {
        fprintf(stderr, "%s:%d: %s after %.1f s, when %s failed: \"%s\"\n", __FILE__, line, rk_status_name(status), took,
                failed ? failed : "nothing", rk_error_message(err));
        exit(1);
    }
    if (status < 0 && !atomic_load(&failed)) {
        fprintf(stderr, "%s:%d: %s, though nothing failed: \"%s\"\n", __FILE__, line, rk_status_name(status),
                rk_error_message(err));
        exit(1);
    }
    errors += status < 0;
    done();
    return status >= 0;
}

static double before;
#define WELL(call) (before = now(), well(__LINE__, before, (call)))

static int32_t body(rk_transaction *transaction, void *userdata, rk_error **why)
{
    rk_slice incr[] = {RK_LIT("INCR"), RK_LIT("n")};
    (void)userdata;
    return rk_transaction_append(transaction, incr, 2, why);
}

static int32_t compute(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **why)
{
    (void)args_json;
    (void)userdata;
    return rk_bytes_copy(json_out, TEXT("[1]"), why);
}

static void commands(rk_manager *keep)
{
    rk_slice words[] = {RK_LIT("INCR"), RK_LIT("n")}, watched = RK_LIT("n");
    char got[16];
    size_t len = 0;
    int64_t number;
    rk_bytes json = RK_BYTES_INIT;
    rk_pipeline *pipe = NULL;
    rk_connection *one = NULL;
    rk_scan *scan = NULL;

    if (WELL(rk_set(keep, TEXT("key"), TEXT("value"), &err)) && WELL(rk_get_into(keep, TEXT("key"), got, sizeof got, &len, &err)))
        CHECK(len == 5 && memcmp(got, "value", 5) == 0);
    WELL(rk_incr(keep, TEXT("n"), 1, &number, &err));
    if (WELL(rk_pipeline_new(keep, &pipe, &err))) {
        WELL(rk_pipeline_append(pipe, words, 2, &err));
        WELL(rk_pipeline_append(pipe, words, 2, &err));
        WELL(rk_pipeline_execute(pipe, NULL, &err));
    }
    rk_pipeline_free(pipe);
    WELL(rk_transaction_run(keep, &watched, 1, body, NULL, NULL, &err));
    WELL(rk_eval(keep, "return 1", NULL, 0, NULL, 0, NULL, &err));
    if (WELL(rk_connection_lease(keep, NULL, -1, &one, &err)))
        WELL(rk_connection_command(one, words, 2, NULL, &err));
    rk_connection_release(one);
    if (WELL(rk_scan_new(keep, NULL, &scan, &err)) && WELL(rk_scan_next(scan, &json, &err)))
        rk_bytes_free(&json);
    rk_scan_free(scan);
    if (WELL(rk_manager_health_check(keep, NULL, &json, &err)))
        rk_bytes_free(&json);
    if (WELL(rk_manager_stats_json(keep, &json, &err)))
        rk_bytes_free(&json);
}

static void features(rk_manager *keep)
{
    rk_bytes json = RK_BYTES_INIT;
    rk_lock *lock = NULL;
    rk_limiter *limiter = NULL;
    rk_sessions *sessions = NULL;
    rk_cache *cache = NULL;
    rk_near *near = NULL;
    int64_t remaining, wait;
    bool truth;

    if (WELL(rk_lock_new(keep, "nth", 1000, &lock, &err)) && WELL(rk_lock_try_acquire(lock, &truth, &err)))
        WELL(rk_lock_release(lock, &truth, &err));
    rk_lock_free(lock);
    if (WELL(rk_limiter_new(keep, 1000, 1000, &limiter, &err)))
        WELL(rk_limiter_check(limiter, "ann", 1, &truth, &remaining, &wait, &err));
    rk_limiter_free(limiter);
    if (WELL(rk_sessions_new(keep, 10, &sessions, &err)) && WELL(rk_sessions_create(sessions, "ann", NULL, &json, &err)))
        rk_bytes_free(&json);
    rk_sessions_free(sessions);
    if (WELL(rk_cache_new(keep, "nth", &cache, &err)) && WELL(rk_cache_get_or_compute(cache, "1", compute, NULL, &json, &err)))
        rk_bytes_free(&json);
    rk_cache_free(cache);
    if (WELL(rk_near_new(keep, 10000, &near, &err)) && WELL(rk_near_get(near, TEXT("key"), &json, &err)))
        rk_bytes_free(&json);
    rk_near_free(near);
}

static void messages(rk_manager *keep)
{
    rk_subscriber *subscriber = NULL;
    rk_event *event = NULL;
    rk_sender *sender = NULL;
    rk_consumer *consumer = NULL;
    rk_message *message = NULL;

    if (WELL(rk_subscriber_new(keep, &subscriber, &err)) && WELL(rk_subscriber_add(subscriber, "news", &err))) {
        WELL(rk_publish(keep, "news", TEXT("x"), NULL, &err));
        WELL(rk_subscriber_poll(subscriber, 50, &event, &err));
    }
    rk_event_free(event);
    rk_subscriber_free(subscriber);
    if (WELL(rk_sender_new(keep, &sender, &err)) && WELL(rk_sender_register_channel(sender, "orders", &err)))
        WELL(rk_sender_send(sender, "orders", "name", "1", NULL, &err));
    rk_sender_free(sender);
    if (WELL(rk_consumer_new(keep, "nth", &consumer, &err)) && WELL(rk_consumer_register_channel(consumer, "orders", NULL, &err))
        && WELL(rk_consumer_poll(consumer, 50, &message, &err)) && message)
        WELL(rk_message_ack(message, &err));
    rk_message_free(message);
    rk_consumer_free(consumer);
}

static void all_of_it(rk_manager *keep)
{
    commands(keep);
    features(keep);
    messages(keep);
}

static rk_manager *open_here(void)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;

    CHECK(config);
    WELL(rk_config_set(config, "url", url_of("RK_TEST_TCP_URL"), &err));
    WELL(rk_config_set(config, "command_timeout", "1", &err));
    WELL(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    return keep;
}

/* Makes the n-th call fail; false if there were not so many. */
static int try(int n)
{
    rk_manager *keep;
    double since;

    /* Whatever hangs ends here. */
    alarm(60);
    atomic_store(&failed, NULL);
    atomic_store(&left, n);
    keep = open_here();
    if (keep)
        all_of_it(keep);
    atomic_store(&left, 0);
    if (!atomic_load(&failed)) {
        rk_manager_free(keep);
        return 0;
    }
    if (!keep)
        keep = open_here();
    CHECK(keep);
    /* Who failed to connect is tried again soon, and what waits meanwhile is told so. */
    since = now();
    while (rk_ping(keep, NULL) != RK_OK || rk_set(keep, TEXT("key"), TEXT("value"), NULL) != RK_OK) {
        CHECK(now() - since < 10);
        /* Under valgrind one thread runs at a time, and who never sleeps may be it for long. */
        poll(NULL, 0, 10);
    }
    /* What was open may be found broken once; then nothing fails any more. */
    all_of_it(keep);
    atomic_store(&failed, NULL);
    all_of_it(keep);
    WELL(rk_manager_close(keep, 1000, &err));
    rk_manager_free(keep);
    return 1;
}

static void interrupted_and_short(void)
{
    rk_manager *keep;
    int i;

    atomic_store(&mean, 1);
    atomic_store(&failed, NULL);
    for (i = 0; i < 3; i++) {
        keep = open_here();
        all_of_it(keep);
        WELL(rk_manager_close(keep, 1000, &err));
        rk_manager_free(keep);
    }
    atomic_store(&mean, 0);
    CHECK(atomic_load(&turn) > 100);
}

int main(void)
{
    const char *given = getenv("REDKEEP_TEST_SEED"), *seconds = getenv("RK_TEST_SECONDS");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    double end = now() + (seconds ? strtod(seconds, NULL) : 3);
    int total, n, tried = 0;

    printf("REDKEEP_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    rk_manager_free(open_keep());
    interrupted_and_short();
    atomic_store(&left, INT32_MAX);
    try(INT32_MAX);
    /* How many calls there are at all, without those that are made once for the process. */
    atomic_store(&left, INT32_MAX);
    rk_manager *keep = open_here();
    all_of_it(keep);
    total = INT32_MAX - atomic_load(&left);
    atomic_store(&left, 0);
    rk_manager_free(keep);
    CHECK(total > 100);
    if (getenv("RK_TEST_ALL")) {
        for (n = 1; try(n); n++)
            tried++;
        CHECK(tried > 100);
    } else {
        do {
            seed = (seed + 0x9e3779b97f4a7c15u) * 6364136223846793005u;
            n = 1 + (int)((seed >> 33) % (unsigned)total);
            try(n);
            tried++;
        } while (now() < end);
    }
    printf("%d calls, %d of them made to fail, %d errors\n", total, tried, errors);
    return 0;
}
