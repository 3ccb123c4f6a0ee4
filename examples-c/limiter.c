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

/* A request that counts for three, with everything there is to tell the client; a look without counting; forgiveness. */
static void tell(rk_limiter *limiter)
{
    rk_error *err = NULL;
    bool allowed = false;
    int64_t remaining = 0, retry_after_ms = 0, reset_after_ms = 0;

    need(rk_limiter_check_full(limiter, "user:2", 3, &allowed, &remaining, &retry_after_ms, &reset_after_ms, &err), err);
    printf("X-RateLimit-Remaining: %" PRId64 "\nX-RateLimit-Reset: %" PRId64 " ms\n", remaining, reset_after_ms);
    need(rk_limiter_reset(limiter, "user:2", NULL, &err), err);
    need(rk_limiter_peek(limiter, "user:2", &allowed, &remaining, &retry_after_ms, &reset_after_ms, &err), err);
    printf("after the reset %" PRId64 " are left\n", remaining);
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

    tell(limiter);
    rk_limiter_free(limiter);
    rk_manager_free(keep);
    return 0;
}
