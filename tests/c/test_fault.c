/* An embedded:// server with settings of one's own, and made to fail. */
#include "keep.h"

static rk_manager *open_with(const char *faults)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    const char *named = getenv("REDKEEP_TEST_SERVER");

    OK(rk_config_set(config, "url", "embedded://", &err));
    if (named && *named)
        OK(rk_config_set(config, "embedded_server", named, &err));
    OK(rk_config_set(config, "embedded_faults", faults, &err));
    OK(rk_config_set(config, "embedded_config", "maxmemory 50mb\nhz 20", &err));
    OK(rk_config_set(config, "command_timeout", "500ms", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    return keep;
}

static void heal(rk_manager *keep)
{
    OK(rk_manager_embedded_fault(keep, "none", &err));
    OK(rk_manager_wait_for_ready(keep, NULL, 10000, 10, 1000, NULL, &err));
}

static void options(void)
{
    static const char *const ask[] = {"INFO", "memory"};
    rk_manager *keep = open_with("off");
    rk_reply *reply = NULL;
    const void *info;
    size_t len = 0;

    OK(rk_command_argv(keep, 2, ask, &reply, &err));
    info = rk_reply_bytes(reply, &len);
    CHECK(info && memmem(info, len, "maxmemory:52428800", 18));
    rk_reply_free(reply);
    FAILS(RK_ERR_EMBEDDED, rk_manager_embedded_fault(keep, "freeze", &err));
    HAS(rk_error_message(err), "embedded_faults");
    done();
    rk_manager_free(keep);
    FAILS(RK_ERR_EMBEDDED, rk_manager_open("embedded://?embedded_server=/no/such/server", &keep, &err));
    HAS(rk_error_message(err), "/no/such/server");
    done();
    FAILS(RK_ERR_EMBEDDED, rk_manager_open("embedded://?embedded_config=no-such-setting%201", &keep, &err));
    HAS(rk_error_message(err), "no-such-setting");
    done();
}

static void faults(void)
{
    rk_manager *keep = open_with("on");
    int64_t n = 0;

    OK(rk_incr(keep, TEXT("n"), 1, &n, &err));
    OK(rk_manager_embedded_fault(keep, "freeze", &err));
    FAILS(RK_ERR_TIMEOUT, rk_incr(keep, TEXT("n"), 1, &n, &err));
    CHECK_EQ_INT(rk_error_outcome(err), RK_OUTCOME_UNKNOWN);
    done();
    CHECK_EQ_INT(n, 0);
    heal(keep);

    OK(rk_manager_embedded_fault(keep, "drop", &err));
    CHECK(rk_incr(keep, TEXT("n"), 1, NULL, &err) < 0);
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    done();
    heal(keep);

    OK(rk_manager_embedded_fault(keep, "slow:2s", &err));
    FAILS(RK_ERR_TIMEOUT, rk_ping(keep, &err));
    done();
    OK(rk_manager_embedded_fault(keep, "slow:5ms", &err));
    OK(rk_manager_wait_for_ready(keep, NULL, 10000, 10, 1000, NULL, &err));
    OK(rk_ping(keep, &err));
    heal(keep);

    FAILS(RK_ERR_BAD_VALUE, rk_manager_embedded_fault(keep, "melt", &err));
    HAS(rk_error_message(err), "none, freeze, drop, or slow:");
    done();
    FAILS(RK_ERR_BAD_VALUE, rk_manager_embedded_fault(keep, "slow:soon", &err));
    HAS(rk_error_message(err), "soon");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_manager_embedded_fault(keep, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_embedded_fault(NULL, "none", &err));
    OK(rk_manager_close(keep, 10000, &err));
    STATUS(RK_ERR_CLOSED, rk_manager_embedded_fault(keep, "none", &err));
    rk_manager_free(keep);
}

int main(void)
{
    options();
    faults();
    return 0;
}
