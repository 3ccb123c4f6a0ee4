/* A server that fails on demand: how to test what a program does when Redis hangs, without Redis at hand. */

#include <stdio.h>
#include <string.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

/* What is to be tested: it goes on without its counter. */
static long long visits(rk_manager *keep)
{
    int64_t count = 0;
    rk_error *err = NULL;

    if (rk_incr(keep, TEXT("visits"), 1, &count, &err) != RK_OK) {
        printf("not counted (%s)\n", rk_status_name(rk_error_status(err)));
        rk_error_free(err);
        return -1;
    }
    return count;
}

int main(void)
{
    rk_manager *keep = NULL;
    rk_error *err = NULL;
    int failed = 1;

    if (rk_manager_open("embedded://?embedded_faults=on&command_timeout=200ms", &keep, &err) == RK_OK
        && visits(keep) == 1
        && rk_manager_embedded_fault(keep, "freeze", &err) == RK_OK /* or "drop", or "slow:50ms" */
        && visits(keep) == -1
        && rk_manager_embedded_fault(keep, "none", &err) == RK_OK
        && rk_manager_wait_for_ready(keep, NULL, 5000, 10, 500, NULL, &err) == RK_OK)
        failed = visits(keep) < 1;
    if (err)
        fprintf(stderr, "%s\n", rk_error_message(err));
    rk_error_free(err);
    rk_manager_free(keep);
    return failed;
}
