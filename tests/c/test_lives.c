/* Lives and deaths: opened and closed a thousand times, ended in the middle of calls, disturbed by signals. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"

#define WORKERS 4

static int cycles(int usual)
{
    const char *text = getenv("RK_TEST_CYCLES");
    return text ? atoi(text) : usual;
}

/* Between two looks at something that comes by itself. */
static void moment(void)
{
    struct timespec time = {0, 2000000};
    nanosleep(&time, NULL);
}

static int entries(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;

    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The kernel lists a thread for a moment after it was joined. */
static void comes_back_to(const char *folder, int wanted)
{
    int i;
    for (i = 0; i < 5000 && entries(folder) != wanted; i++)
        moment();
    CHECK_EQ_INT(entries(folder), wanted);
}

static void open_and_close(int n)
{
    rk_manager *keep = NULL;

    OK(rk_manager_open(url_of("RK_TEST_URL"), &keep, &err));
    OK(rk_ping(keep, &err));
    if (n % 2)
        OK(rk_manager_close(keep, -1, &err));
    rk_manager_free(keep);
}

static void nothing_is_left_over(void)
{
    /* The main thread alone, beside "." and "..". */
    int rounds = cycles(1000), threads = 3, descriptors, i;

    /* What is made once for the process is made here. */
    open_and_close(0);
    comes_back_to("/proc/self/task", threads);
    descriptors = entries("/proc/self/fd");
    for (i = 0; i < rounds; i++)
        open_and_close(i);
    comes_back_to("/proc/self/fd", descriptors);
    comes_back_to("/proc/self/task", threads);
    printf("figure: opened and closed %d times: 0 descriptors and threads left over\n", rounds);
}

static rk_manager *shared;
static atomic_int calls[WORKERS], over, closing;
static pthread_t workers[WORKERS];

/* Its own key, its own answers; it ends the whole process if they are not. */
static void *work(void *number)
{
    int me = (int)(size_t)number, i;

    for (i = 0; !atomic_load(&over); i++) {
        char key[32], value[32], got[32];
        size_t len = 0;
        rk_error *mine = NULL;
        rk_status status;

        snprintf(key, sizeof key, "life:%d", me);
        snprintf(value, sizeof value, "%d %d", me, i);
        status = rk_set(shared, TEXT(key), TEXT(value), &mine);
        if (status == RK_OK)
            status = rk_get_into(shared, TEXT(key), got, sizeof got, &len, &mine);
        if (status == RK_ERR_CLOSED && atomic_load(&closing)) {
            rk_error_free(mine);
            break;
        }
        if (status != RK_OK || len != strlen(value) || memcmp(got, value, len)) {
            fprintf(stderr, "worker %d: %s: %s\n", me, rk_status_name(status), rk_error_message(mine));
            _exit(3);
        }
        atomic_fetch_add(&calls[me], 1);
    }
    return NULL;
}

static void start_workers(void)
{
    size_t i;

    atomic_store(&over, 0);
    for (i = 0; i < WORKERS; i++) {
        atomic_store(&calls[i], 0);
        CHECK(pthread_create(&workers[i], NULL, work, (void *)i) == 0);
    }
}

static int all_called(int times)
{
    int i;
    for (i = 0; i < WORKERS; i++)
        if (atomic_load(&calls[i]) < times)
            return 0;
    return 1;
}

static void stop_workers(void)
{
    int i;

    atomic_store(&over, 1);
    for (i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
}

/* The process ends while its threads are in the middle of calls; each time in a child, which had no manager before. */
static void ends_in_the_middle(void)
{
    int way;

    for (way = 0; way < cycles(40); way++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* One that hangs is killed. */
            alarm(60);
            shared = open_keep();
            start_workers();
            while (!all_called(1 + way % 5))
                moment();
            if (way % 4 == 3) {
                atomic_store(&closing, 1);
                rk_manager_close(shared, 0, NULL);
            }
            if (way % 2)
                _exit(0);
            exit(0);
        }
        wait_for(child);
    }
    printf("figure: %d processes ended in the middle of calls, by exit and _exit: 0 crashes\n", way);
}

static atomic_int hits, pipes;

static void on_hit(int number)
{
    (void)number;
    atomic_fetch_add(&hits, 1);
}

static void on_pipe(int number)
{
    (void)number;
    atomic_fetch_add(&pipes, 1);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(number, &action, NULL) == 0);
}

static void calls_go_on_under_signals(void)
{
    static const int flags[] = {0, SA_RESTART};
    int enough = cycles(500), i, k;

    for (i = 0; i < 2; i++) {
        handle(SIGUSR1, on_hit, flags[i]);
        atomic_store(&hits, 0);
        shared = open_keep();
        start_workers();
        while (!all_called(enough) || atomic_load(&hits) < 100) {
            for (k = 0; k < WORKERS; k++)
                CHECK(pthread_kill(workers[k], SIGUSR1) == 0);
            CHECK(kill(getpid(), SIGUSR1) == 0);
            /* A connection is opened and closed meanwhile. */
            open_and_close(k);
            moment();
        }
        stop_workers();
        rk_manager_free(shared);
        printf("figure: %d signals, handled with%s SA_RESTART, 0 calls disturbed\n", atomic_load(&hits),
               i ? "" : "out");
    }
    handle(SIGUSR1, SIG_IGN, 0);
}

/* The server closes a connection, and the next request is written to it. */
static void a_broken_connection_raises_no_signal(void)
{
    static const char *const kill_all[] = {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"};
    static const char *const urls[] = {"RK_TEST_URL", "RK_TEST_TCP_URL"};
    rk_manager *killer = open_keep();
    int i, k;

    handle(SIGPIPE, on_pipe, 0);
    for (i = 0; i < 2; i++) {
        rk_manager *keep = NULL;
        OK(rk_manager_open(url_of(urls[i]), &keep, &err));
        for (k = 0; k < 20; k++) {
            rk_bytes value = RK_BYTES_INIT;
            OK(rk_ping(keep, &err));
            OK(rk_command_argv(killer, 6, kill_all, NULL, &err));
            /* Written to the connection that was closed, unless it was found out before; it may or may not count. */
            (void)rk_incr(keep, TEXT("broken"), 1, NULL, NULL);
            STATUS(RK_NIL, rk_get(keep, TEXT("no such key"), &value, &err));
        }
        rk_manager_free(keep);
    }
    rk_manager_free(killer);
    CHECK_EQ_INT(atomic_load(&pipes), 0);
    printf("figure: 40 closed connections written to: 0 SIGPIPE\n");
}

int main(void)
{
    ends_in_the_middle();
    nothing_is_left_over();
    calls_go_on_under_signals();
    a_broken_connection_raises_no_signal();
    return 0;
}
