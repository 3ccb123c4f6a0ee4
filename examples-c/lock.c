/* One program at a time: a nightly report that must not be made twice.
 *
 *   cc lock.c $(pkg-config --cflags --libs redkeep) && ./a.out redis://localhost
 */
#include <redkeep.h>
#include <stdio.h>

static void lost(const char *name, void *userdata)
{
    (void)userdata;
    fprintf(stderr, "lost %s: stop what it protects\n", name);
}

int main(int argc, char **argv)
{
    rk_manager *keep = NULL;
    rk_lock *lock = NULL;
    rk_error *err = NULL;
    int64_t fence = 0;
    bool was_held = false;
    int failed = 1;

    /* A lease of 10 s, renewed while it is held; up to 5 s of waiting for whoever has it. */
    if (rk_manager_open(argc > 1 ? argv[1] : "embedded://", &keep, &err) == RK_OK
        && rk_lock_new(keep, "report", 10000, &lock, &err) == RK_OK
        && rk_lock_on_lost(lock, lost, NULL, NULL, &err) == RK_OK
        && rk_lock_acquire(lock, 5000, &err) == RK_OK
        && rk_lock_fence(lock, &fence, &err) == RK_OK) {
        /* The store refuses a fence smaller than the last that it saw: so a late writer does no harm. */
        printf("making the report, number %lld\n", (long long)fence);
        failed = rk_lock_release(lock, &was_held, &err) != RK_OK || !was_held;
        printf("%s\n", was_held ? "done, and nobody else did it" : "the lock was lost meanwhile");
    }
    if (err)
        fprintf(stderr, "%s: %s\n", rk_status_name(rk_error_status(err)), rk_error_message(err));

    rk_error_free(err);
    rk_lock_free(lock);
    rk_manager_free(keep);
    return failed;
}
