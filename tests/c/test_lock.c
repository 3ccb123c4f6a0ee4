/* Locks: acquire, release, loss, fences, options, the shared kinds, Redlock. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"

static void basics(rk_manager *keep)
{
    rk_lock *lock = NULL, *other = NULL;
    bool yes = true;
    int64_t fence = -1, next = -1, left = 0;

    OK(rk_lock_new(keep, "report", 5000, &lock, &err));
    OK(rk_lock_new(keep, "report", 5000, &other, &err));
    CHECK(!rk_lock_is_held(lock));
    STATUS(RK_NIL, rk_lock_fence(lock, &fence, &err));
    CHECK_EQ_INT(fence, 0);
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(!yes);

    OK(rk_lock_acquire(lock, 1000, &err));
    CHECK(rk_lock_is_held(lock));
    OK(rk_lock_fence(lock, &fence, &err));
    CHECK_EQ_INT(fence, 1);
    /* It would wait for itself. */
    FAILS(RK_ERR_ARGUMENT, rk_lock_acquire(lock, -1, &err));
    HAS(rk_error_message(err), "holds it already");
    done();
    OK(rk_lock_try_acquire(other, &yes, &err));
    CHECK(!yes);
    FAILS(RK_ERR_LOCK_TIMEOUT, rk_lock_acquire(other, 30, &err));
    CHECK_STR(rk_error_message(err), "Could not acquire lock: lock:report");
    CHECK(rk_error_is_retriable(err));
    done();
    /* Not by another handle. */
    OK(rk_lock_release(other, &yes, &err));
    CHECK(!yes);
    CHECK(rk_lock_is_held(lock));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes);
    OK(rk_lock_try_acquire(other, &yes, &err));
    CHECK(yes);
    OK(rk_lock_fence(other, &next, &err));
    CHECK(next > fence);
    /* Freeing releases. */
    rk_lock_free(other);
    OK(rk_lock_try_acquire(lock, &yes, &err));
    CHECK(yes);
    rk_lock_free(lock);

    /* The default lease. */
    OK(rk_lock_new(keep, "ten", -1, &lock, &err));
    OK(rk_lock_acquire(lock, 1000, &err));
    OK(rk_ttl(keep, TEXT("lock:ten"), &left, &err));
    CHECK(left >= 9 && left <= 10);
    rk_lock_free(lock);
}

static void bad_input(rk_manager *keep)
{
    static const char *const push[] = {"LPUSH", "lock:list", "x"};
    rk_lock *lock = NULL;

    FAILS(RK_ERR_ARGUMENT, rk_lock_new(keep, "x", 0, &lock, &err));
    HAS(rk_error_message(err), "lease_ms: 0");
    done();
    CHECK(lock == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, "x", -2, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, "x", INT64_MIN, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, "", 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, "a}b", 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, NULL, 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(NULL, "x", 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new(keep, "x", 1000, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new_semaphore(keep, "x", 0, 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_acquire(NULL, 0, &err));
    OK(rk_lock_new(keep, "list", 1000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_acquire(lock, -2, &err));
    STATUS(RK_ERR_UNKNOWN_PROPERTY, rk_lock_option(lock, "colour", "red", &err));
    STATUS(RK_ERR_BAD_VALUE, rk_lock_option(lock, "renew", "perhaps", &err));
    STATUS(RK_ERR_BAD_VALUE, rk_lock_option(lock, "max_hold", "-1", &err));
    /* Shorter than a round trip: the answer is waited for. */
    OK(rk_lock_acquire(lock, 1, &err));
    OK(rk_lock_release(lock, NULL, &err));
    OK(rk_command_argv(keep, 3, push, NULL, &err));
    STATUS(RK_ERR_WRONG_TYPE, rk_lock_acquire(lock, 100, &err));
    rk_lock_free(lock);
    rk_lock_free(NULL);
    CHECK(!rk_lock_is_held(NULL));
}

static void options(rk_manager *keep)
{
    rk_lock *lock = NULL;
    bool yes = false;

    OK(rk_lock_new(keep, "again", 5000, &lock, &err));
    OK(rk_lock_option(lock, "fair", "yes", &err));
    OK(rk_lock_option(lock, "reentrant", "true", &err));
    OK(rk_lock_option(lock, "renew", "off", &err));
    OK(rk_lock_option(lock, "max_hold", "2500ms", &err));
    OK(rk_lock_acquire(lock, 0, &err));
    OK(rk_lock_acquire(lock, 0, &err));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes && rk_lock_is_held(lock));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes && !rk_lock_is_held(lock));
    rk_lock_free(lock);
}

struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int losses, frees;
};

static void lost(const char *name, void *userdata)
{
    struct seen *seen = userdata;

    CHECK_STR(name, "lost");
    pthread_mutex_lock(&seen->mutex);
    seen->losses++;
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->mutex);
}

static void freed(void *userdata)
{
    struct seen *seen = userdata;

    pthread_mutex_lock(&seen->mutex);
    seen->frees++;
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->mutex);
}

static void loss(rk_manager *keep)
{
    struct seen seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    rk_slice key = RK_LIT("lock:lost");
    rk_lock *lock = NULL;
    bool yes = true;

    OK(rk_lock_new(keep, "lost", 200, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_on_lost(lock, NULL, &seen, freed, &err));
    CHECK_EQ_INT(seen.frees, 1);
    OK(rk_lock_on_lost(lock, lost, &seen, freed, &err));
    STATUS(RK_ERR_CONFLICT, rk_lock_on_lost(lock, lost, &seen, freed, &err));
    CHECK_EQ_INT(seen.frees, 2);
    OK(rk_lock_acquire(lock, 0, &err));
    OK(rk_delete(keep, &key, 1, NULL, &err));
    pthread_mutex_lock(&seen.mutex);
    while (seen.losses == 0)
        pthread_cond_wait(&seen.changed, &seen.mutex);
    pthread_mutex_unlock(&seen.mutex);
    CHECK(!rk_lock_is_held(lock));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(!yes);
    /* It can be acquired again. */
    OK(rk_lock_acquire(lock, 0, &err));
    rk_lock_free(lock);
    CHECK_EQ_INT(seen.losses, 1);
    /* No later than the lock itself, whatever the thread that called us does. */
    CHECK_EQ_INT(seen.frees, 3);
}

static void *count_up(void *keep)
{
    rk_lock *lock = NULL;
    rk_bytes value = RK_BYTES_INIT;
    char text[32];
    int i;

    CHECK(rk_lock_new(keep, "n", 5000, &lock, NULL) == RK_OK);
    for (i = 0; i < 10; i++) {
        CHECK(rk_lock_acquire(lock, -1, NULL) == RK_OK);
        CHECK(rk_get(keep, "n", 1, &value, NULL) >= 0);
        snprintf(text, sizeof text, "%d", value.data ? atoi((char *)value.data) + 1 : 1);
        rk_bytes_free(&value);
        CHECK(rk_set(keep, "n", 1, text, strlen(text), NULL) == RK_OK);
        CHECK(rk_lock_release(lock, NULL, NULL) == RK_OK);
    }
    rk_lock_free(lock);
    return NULL;
}

static void threads(rk_manager *keep)
{
    pthread_t all[4];
    rk_bytes value = RK_BYTES_INIT;
    int i;

    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&all[i], NULL, count_up, keep) == 0);
    for (i = 0; i < 4; i++)
        CHECK(pthread_join(all[i], NULL) == 0);
    OK(rk_get(keep, "n", 1, &value, &err));
    BYTES(value, "40");
}

static void shared(rk_manager *keep)
{
    rk_lock *one = NULL, *two = NULL, *writer = NULL;
    bool yes = false;

    OK(rk_lock_new_read(keep, "map", 5000, &one, &err));
    OK(rk_lock_new_read(keep, "map", 5000, &two, &err));
    OK(rk_lock_new_write(keep, "map", 5000, &writer, &err));
    OK(rk_lock_acquire(one, 0, &err));
    OK(rk_lock_acquire(two, 0, &err));
    OK(rk_lock_try_acquire(writer, &yes, &err));
    CHECK(!yes);
    rk_lock_free(one);
    rk_lock_free(two);
    OK(rk_lock_try_acquire(writer, &yes, &err));
    CHECK(yes);
    rk_lock_free(writer);

    OK(rk_lock_new_semaphore(keep, "few", 1, 5000, &one, &err));
    OK(rk_lock_new_semaphore(keep, "few", 1, 5000, &two, &err));
    OK(rk_lock_acquire(one, 0, &err));
    FAILS(RK_ERR_LOCK_TIMEOUT, rk_lock_acquire(two, 0, &err));
    CHECK_STR(rk_error_message(err), "Could not acquire lock: semaphore:few");
    done();
    OK(rk_lock_release(one, &yes, &err));
    CHECK(yes);
    OK(rk_lock_acquire(two, 0, &err));
    rk_lock_free(one);
    rk_lock_free(two);
}

static void redlock(void)
{
    rk_manager *all[3] = {NULL, NULL, NULL};
    rk_lock *lock = NULL;
    bool yes = false;
    int64_t fence = -1;
    int i;

    for (i = 0; i < 3; i++)
        OK(rk_manager_open("embedded://", &all[i], &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new_redlock(all, 2, "many", 5000, &lock, &err));
    STATUS(RK_ERR_ARGUMENT, rk_lock_new_redlock(all, 3, "many", 5, &lock, &err));
    OK(rk_lock_new_redlock(all, 3, "many", 5000, &lock, &err));
    STATUS(RK_ERR_UNKNOWN_PROPERTY, rk_lock_option(lock, "fair", "yes", &err));
    OK(rk_lock_acquire(lock, 1000, &err));
    CHECK(rk_lock_is_held(lock));
    STATUS(RK_NIL, rk_lock_fence(lock, &fence, &err));
    OK(rk_lock_release(lock, &yes, &err));
    CHECK(yes);
    for (i = 0; i < 3; i++)
        rk_manager_free(all[i]);
    rk_lock_free(lock);
}

struct waiter {
    rk_lock *lock;
    rk_status status;
};

static void *waits(void *data)
{
    struct waiter *it = data;
    /* The other thread may have it for a moment. */
    do {
        it->status = rk_lock_acquire(it->lock, -1, NULL);
    } while (it->status == RK_ERR_CONFLICT);
    return NULL;
}

/* A second thread is told, and does no harm. */
static void from_two_threads(rk_manager *keep)
{
    struct seen seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    struct timespec moment = {0, 1000000};
    struct waiter waiter = {NULL, RK_ERR_INTERNAL};
    rk_status status = RK_OK;
    rk_lock *held = NULL;
    pthread_t thread;
    bool yes = true;
    int64_t fence = -1;
    int tries;

    OK(rk_lock_new(keep, "one", 60000, &held, &err));
    OK(rk_lock_new(keep, "one", 60000, &waiter.lock, &err));
    OK(rk_lock_acquire(held, 0, &err));
    CHECK(pthread_create(&thread, NULL, waits, &waiter) == 0);
    for (tries = 0; tries < 20000 && status != RK_ERR_CONFLICT; tries++) {
        status = rk_lock_try_acquire(waiter.lock, &yes, NULL);
        CHECK(!yes);
        nanosleep(&moment, NULL);
    }
    /* It waits now, until the lock is released. */
    CHECK_EQ_INT(status, RK_ERR_CONFLICT);
    FAILS(RK_ERR_CONFLICT, rk_lock_acquire(waiter.lock, 0, &err));
    CHECK_STR(rk_error_message(err), "lock: another thread is using it");
    done();
    STATUS(RK_ERR_CONFLICT, rk_lock_release(waiter.lock, &yes, &err));
    STATUS(RK_ERR_CONFLICT, rk_lock_option(waiter.lock, "renew", "off", &err));
    STATUS(RK_ERR_CONFLICT, rk_lock_fence(waiter.lock, &fence, &err));
    STATUS(RK_ERR_CONFLICT, rk_lock_on_lost(waiter.lock, lost, &seen, freed, &err));
    CHECK_EQ_INT(seen.frees, 1);
    CHECK(!rk_lock_is_held(waiter.lock));
    OK(rk_lock_release(held, &yes, &err));
    CHECK(yes);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ_INT(waiter.status, RK_OK);
    CHECK(rk_lock_is_held(waiter.lock));
    OK(rk_lock_release(waiter.lock, &yes, &err));
    CHECK(yes);
    rk_lock_free(waiter.lock);
    rk_lock_free(held);
}

int main(void)
{
    rk_manager *keep = open_keep();
    rk_lock *lock = NULL;

    basics(keep);
    bad_input(keep);
    options(keep);
    loss(keep);
    threads(keep);
    from_two_threads(keep);
    shared(keep);
    redlock();
    /* It keeps its manager alive. */
    OK(rk_lock_new(keep, "last", 5000, &lock, &err));
    OK(rk_lock_acquire(lock, 0, &err));
    rk_manager_free(keep);
    CHECK(rk_lock_is_held(lock));
    rk_lock_free(lock);
    return 0;
}
