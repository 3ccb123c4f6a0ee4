/* A rate limit: at most five requests in two seconds for each user. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <redkeep.h>

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_limiter *limiter = NULL;
    int request;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    need(rk_limiter_new(keep, 5, 2000, &limiter, &err), err);
    /* What happens while Redis cannot be reached: "open" (the default) lets everything through, "closed" nothing. */
    need(rk_limiter_option(limiter, "when_away", "closed", &err), err);

    for (request = 1; request <= 8; request++) {
        bool allowed = false;
        int64_t remaining = 0, retry_after_ms = 0;

        need(rk_limiter_check(limiter, "user:1", 1, &allowed, &remaining, &retry_after_ms, &err), err);
        if (allowed) {
            printf("request %d: go ahead, %" PRId64 " left\n", request, remaining);
        } else {
            printf("request %d: too many; again in %" PRId64 " ms\n", request, retry_after_ms);
            usleep((useconds_t)retry_after_ms * 1000);
        }
    }

    rk_limiter_free(limiter);
    rk_manager_free(keep);
    return 0;
}
