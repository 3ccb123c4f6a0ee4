/* Rate limits. */
#include <stdint.h>
#include <unistd.h>

#include "keep.h"

static void counting(rk_manager *keep, const char *algorithm)
{
    rk_limiter *limiter = NULL;
    bool allowed = false, existed = true;
    int64_t remaining = -7, retry = -7, reset = -7;
    int i;

    OK(rk_limiter_new(keep, 3, 60000, &limiter, &err));
    OK(rk_limiter_option(limiter, "algorithm", algorithm, &err));
    for (i = 2; i >= 0; i--) {
        OK(rk_limiter_check(limiter, "user:1", 1, &allowed, &remaining, &retry, &err));
        CHECK(allowed);
        CHECK_EQ_INT(remaining, i);
        CHECK_EQ_INT(retry, 0);
    }
    OK(rk_limiter_check_full(limiter, "user:1", 1, &allowed, &remaining, &retry, &reset, &err));
    CHECK(!allowed);
    CHECK_EQ_INT(remaining, 0);
    CHECK(retry > 0 && retry <= reset && reset <= 60000);
    OK(rk_limiter_peek(limiter, "user:1", &allowed, &remaining, &retry, &reset, &err));
    CHECK(!allowed && retry > 0 && reset > 50000);
    OK(rk_limiter_peek(limiter, "user:2", &allowed, &remaining, &retry, &reset, &err));
    CHECK(allowed);
    CHECK_EQ_INT(remaining, 3);
    CHECK_EQ_INT(reset, 0);
    OK(rk_limiter_check(limiter, "user:2", 3, NULL, NULL, NULL, &err));
    OK(rk_limiter_reset(limiter, "user:1", &existed, &err));
    CHECK(existed);
    OK(rk_limiter_reset(limiter, "user:1", &existed, &err));
    CHECK(!existed);
    OK(rk_limiter_reset(limiter, "user:2", NULL, &err));
    rk_limiter_free(limiter);
}

static void waiting(rk_manager *keep)
{
    rk_limiter *limiter = NULL;
    bool allowed = true;
    int64_t retry = 0;

    OK(rk_limiter_new(keep, 1, 50, &limiter, &err));
    OK(rk_limiter_check(limiter, "x", 1, &allowed, NULL, NULL, &err));
    OK(rk_limiter_check(limiter, "x", 1, &allowed, NULL, &retry, &err));
    CHECK(!allowed || retry == 0);
    usleep((useconds_t)retry * 1000);
    OK(rk_limiter_check(limiter, "x", 1, &allowed, NULL, NULL, &err));
    CHECK(allowed);
    rk_limiter_free(limiter);
}

static void bad_input(rk_manager *keep)
{
    rk_limiter *limiter = NULL;
    bool allowed = true;
    int64_t remaining = 5, retry = 5;

    FAILS(RK_ERR_ARGUMENT, rk_limiter_new(keep, 0, 1000, &limiter, &err));
    HAS(rk_error_message(err), "max_requests: 0 is not allowed");
    done();
    CHECK(limiter == NULL);
    FAILS(RK_ERR_ARGUMENT, rk_limiter_new(keep, 5, 0, &limiter, &err));
    HAS(rk_error_message(err), "window_ms: 0 is not allowed");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_limiter_new(keep, -2, 1000, &limiter, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_new(keep, 5, INT64_MAX, &limiter, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_new(keep, INT64_MAX, 1000, &limiter, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_new(NULL, 5, 1000, &limiter, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_new(keep, 5, 1000, NULL, &err));

    OK(rk_limiter_new(keep, 5, 1000, &limiter, &err));
    FAILS(RK_ERR_UNKNOWN_PROPERTY, rk_limiter_option(limiter, "colour", "red", &err));
    HAS(rk_error_message(err), "algorithm, when_away");
    done();
    FAILS(RK_ERR_BAD_VALUE, rk_limiter_option(limiter, "algorithm", "guess", &err));
    HAS(rk_error_message(err), "sliding or gcra");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_limiter_option(limiter, NULL, "x", &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_option(NULL, "algorithm", "gcra", &err));
    FAILS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, "x", 6, &allowed, &remaining, &retry, &err));
    HAS(rk_error_message(err), "cost: 6");
    done();
    CHECK(!allowed);
    CHECK_EQ_INT(remaining, 0);
    CHECK_EQ_INT(retry, 0);
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, "x", 0, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, "x", -1, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, "", 1, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, NULL, 1, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(limiter, "\xff", 1, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_check(NULL, "x", 1, &allowed, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_peek(NULL, "x", &allowed, NULL, NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_limiter_reset(limiter, "", NULL, &err));
    rk_limiter_free(limiter);
    rk_limiter_free(NULL);
}

/* Nobody listens there. */
static void away(void)
{
    rk_manager *keep = NULL;
    rk_limiter *limiter = NULL;
    bool allowed = false;
    int64_t remaining = 0;

    OK(rk_manager_open("redis://127.0.0.1:1", &keep, &err));
    OK(rk_limiter_new(keep, -1, -1, &limiter, &err));
    /* It keeps its manager alive. */
    rk_manager_free(keep);
    OK(rk_limiter_check(limiter, "x", 1, &allowed, &remaining, NULL, &err));
    CHECK(allowed);
    CHECK_EQ_INT(remaining, -1);
    OK(rk_limiter_option(limiter, "when_away", "closed", &err));
    OK(rk_limiter_check(limiter, "x", 1, &allowed, &remaining, NULL, &err));
    CHECK(!allowed);
    CHECK_EQ_INT(remaining, -1);
    CHECK(rk_limiter_reset(limiter, "x", NULL, NULL) < 0);
    rk_limiter_free(limiter);
}

int main(void)
{
    rk_manager *keep = open_keep();

    counting(keep, "sliding");
    counting(keep, "gcra");
    waiting(keep);
    bad_input(keep);
    away();
    rk_manager_free(keep);
    return 0;
}
