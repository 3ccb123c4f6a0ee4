/* fork(): the child works over connections of its own, the parent's are left alone, and both end in peace. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "keep.h"

#define WORKERS 4

/* Both use the same manager at the same time, and each gets its own answers. */
static void both_work(rk_manager *keep)
{
    pid_t child;
    char key[32], text[32];
    rk_bytes value = RK_BYTES_INIT;
    int i;

    OK(rk_ping(keep, &err));
    child = fork();
    CHECK(child >= 0);
    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%s:%d", child ? "parent" : "child", i % 5);
        snprintf(text, sizeof text, "%s %d", child ? "p" : "c", i);
        OK(rk_set(keep, TEXT(key), TEXT(text), &err));
        OK(rk_get(keep, TEXT(key), &value, &err));
        BYTES(value, text);
    }
    if (child == 0)
        exit(0);
    wait_for(child);
    OK(rk_get(keep, TEXT("child:4"), &value, &err));
    BYTES(value, "c 99");
    OK(rk_ping(keep, &err));
}

/* A lease stays the parent's. */
static void lease(rk_manager *keep)
{
    rk_connection *one = NULL;
    rk_slice set[] = {RK_LIT("SET"), RK_LIT("whose"), RK_LIT("the parent's")};
    rk_bytes value = RK_BYTES_INIT;
    pid_t child;

    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FAILS(RK_ERR_CLOSED, rk_connection_command(one, set, 3, NULL, &err));
        HAS(rk_error_message(err), "fork");
        done();
        rk_connection_release(one);
        OK(rk_ping(keep, &err));
        rk_manager_free(keep);
        exit(0);
    }
    wait_for(child);
    OK(rk_connection_command(one, set, 3, NULL, &err));
    rk_connection_release(one);
    OK(rk_get(keep, TEXT("whose"), &value, &err));
    BYTES(value, "the parent's");
}

/* The child frees, closes or just ends; the parent does not notice. */
static void ends(rk_manager *keep)
{
    int way;

    for (way = 0; way < 4; way++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            if (way == 0)
                rk_manager_free(keep);
            if (way == 1) {
                OK(rk_ping(keep, &err));
                rk_manager_free(keep);
            }
            if (way == 2)
                OK(rk_manager_close(keep, -1, &err));
            if (way == 3)
                _exit(0);
            exit(0);
        }
        wait_for(child);
        OK(rk_ping(keep, &err));
    }
}

static void grandchild(rk_manager *keep)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        OK(rk_ping(keep, &err));
        child = fork();
        CHECK(child >= 0);
        OK(rk_set(keep, TEXT("generation"), child ? "2" : "3", 1, &err));
        if (child)
            wait_for(child);
        exit(0);
    }
    wait_for(child);
    OK(rk_ping(keep, &err));
}

/* The embedded server is the parent's, and outlives the child. */
static void embedded(void)
{
    rk_manager *keep = NULL;
    pid_t child;

    OK(rk_manager_open("embedded://", &keep, &err));
    OK(rk_ping(keep, &err));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        OK(rk_ping(keep, &err));
        rk_manager_free(keep);
        exit(0);
    }
    wait_for(child);
    OK(rk_ping(keep, &err));
    rk_manager_free(keep);
}

/* A lock stays the parent's: the child neither has it nor releases it. */
static void lock(rk_manager *keep)
{
    rk_lock *lock = NULL, *own = NULL;
    bool yes = false;
    pid_t child;

    OK(rk_lock_new(keep, "parents", 5000, &lock, &err));
    OK(rk_lock_acquire(lock, 0, &err));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(!rk_lock_is_held(lock));
        STATUS(RK_ERR_CLOSED, rk_lock_release(lock, &yes, &err));
        rk_lock_free(lock);
        OK(rk_lock_new(keep, "parents", 5000, &own, &err));
        OK(rk_lock_try_acquire(own, &yes, &err));
        CHECK(!yes);
        rk_lock_free(own);
        OK(rk_lock_new(keep, "childs", 5000, &own, &err));
        OK(rk_lock_acquire(own, 0, &err));
        CHECK(rk_lock_is_held(own));
        rk_lock_free(own);
        rk_manager_free(keep);
        exit(0);
    }
    wait_for(child);
    CHECK(rk_lock_is_held(lock));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes);
    rk_lock_free(lock);
}

static rk_manager *busy;
static atomic_int over, calls[WORKERS];

/* Its own key, its own answers; it ends the whole process if they are not. */
static void *work(void *number)
{
    int me = (int)(size_t)number, i;

    for (i = 0; !atomic_load(&over); i++) {
        char key[32], text[32], got[32];
        size_t len = 0;
        rk_error *mine = NULL;

        snprintf(key, sizeof key, "worker:%d", me);
        snprintf(text, sizeof text, "%d %d", me, i);
        CHECK_EQ_INT(rk_set(busy, TEXT(key), TEXT(text), &mine), RK_OK);
        CHECK_EQ_INT(rk_get_into(busy, TEXT(key), got, sizeof got, &len, &mine), RK_OK);
        CHECK_EQ_INT(len, strlen(text));
        CHECK_MEM(got, text, len);
        atomic_fetch_add(&calls[me], 1);
    }
    return NULL;
}

static int all_called(int times)
{
    int i;
    for (i = 0; i < WORKERS; i++)
        if (atomic_load(&calls[i]) < times)
            return 0;
    return 1;
}

/* A hundred children of a process whose threads are in the middle of calls, and which holds a lock. */
static void under_load(rk_manager *keep)
{
    const char *cycles = getenv("RK_TEST_CYCLES");
    int children = cycles ? atoi(cycles) : 100, n, turn;
    pthread_t workers[WORKERS];
    rk_lock *lock = NULL;
    bool yes = false;
    size_t i;

    busy = keep;
    OK(rk_lock_new(keep, "busy", 60000, &lock, &err));
    OK(rk_lock_acquire(lock, 0, &err));
    for (i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&workers[i], NULL, work, (void *)i) == 0);
    for (n = 0; n < children; n++) {
        pid_t child;
        while (!all_called(n))
            usleep(1000);
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            rk_bytes value = RK_BYTES_INIT;
            char key[32], text[32];

            /* One that hangs is killed. */
            alarm(60);
            CHECK(!rk_lock_is_held(lock));
            for (turn = 0; turn < 5; turn++) {
                snprintf(key, sizeof key, "child:%d", n);
                snprintf(text, sizeof text, "%d %d", n, turn);
                OK(rk_set(keep, TEXT(key), TEXT(text), &err));
                OK(rk_get(keep, TEXT(key), &value, &err));
                BYTES(value, text);
            }
            if (n % 3 == 0)
                OK(rk_manager_close(keep, -1, &err));
            if (n % 3 == 1)
                rk_manager_free(keep);
            _exit(0);
        }
        wait_for(child);
        CHECK(rk_lock_is_held(lock));
    }
    atomic_store(&over, 1);
    for (i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes);
    rk_lock_free(lock);
    printf("figure: %d children worked, their parent had 0 errors and its lock\n", children);
    /* What waits in a buffer would be written by each child to come as well. */
    fflush(stdout);
}

int main(void)
{
    rk_manager *keep = open_keep();
    under_load(keep);
    both_work(keep);
    lease(keep);
    lock(keep);
    ends(keep);
    grandchild(keep);
    embedded();
    rk_manager_free(keep);
    return 0;
}
