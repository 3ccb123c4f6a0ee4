/* An embedded:// server with settings of one's own, and made to fail. */
#include <pthread.h>
#include <time.h>

#include "keep.h"

static rk_manager *open_with(const char *faults, const char *timeout, const char *connections)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    const char *named = getenv("REDKEEP_TEST_SERVER");

    OK(rk_config_set(config, "url", "embedded://", &err));
    if (named && *named)
        OK(rk_config_set(config, "embedded_server", named, &err));
    OK(rk_config_set(config, "embedded_faults", faults, &err));
    OK(rk_config_set(config, "embedded_config", "maxmemory 50mb\nhz 20", &err));
    OK(rk_config_set(config, "command_timeout", timeout, &err));
    if (connections) {
        OK(rk_config_set(config, "shared_lines", connections, &err));
        OK(rk_config_set(config, "max_connections", connections, &err));
    }
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
    rk_manager *keep = open_with("off", "500ms", NULL);
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
    rk_manager *keep = open_with("on", "500ms", NULL);
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

#define CALLERS 16
#define ROUNDS 100
/* What a machine with other work to do may take beyond a deadline, under valgrind too, which runs one thread at a time. */
#define MARGIN_MS 2000

static struct {
    rk_manager *keep;
    pthread_barrier_t frozen, thawed;
} crowd;

static int64_t now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static rk_status echo(const char *tag, int64_t time, rk_error **mine)
{
    const rk_slice args[] = {RK_LIT("ECHO"), {tag, strlen(tag)}};
    rk_reply *reply = NULL;
    rk_status status = rk_command_within(crowd.keep, args, 2, time, &reply, mine);
    size_t len = 0;

    if (status == RK_OK) {
        const char *back = rk_reply_bytes(reply, &len);
        if (len != strlen(tag) || memcmp(back, tag, len) != 0) {
            fprintf(stderr, "%.*s is the reply to %s\n", (int)len, back, tag);
            exit(1);
        }
    }
    rk_reply_free(reply);
    return status;
}

static void *one_of_many(void *number)
{
    int me = (int)(size_t)number, i;
    int64_t time = 100 + 20 * me, began;
    rk_error *mine = NULL; /* one for each thread */
    rk_status status;
    char tag[32];

    for (i = 0; i < ROUNDS; i++) {
        snprintf(tag, sizeof tag, "before %d:%d", me, i);
        CHECK_EQ_INT(echo(tag, 10000, &mine), RK_OK);
    }
    pthread_barrier_wait(&crowd.frozen);
    pthread_barrier_wait(&crowd.frozen);
    snprintf(tag, sizeof tag, "frozen %d", me);
    began = now_ms();
    status = echo(tag, time, &mine);
    /* Whole milliseconds, of either end. */
    CHECK(now_ms() - began >= time - 1);
    CHECK(now_ms() - began < time + MARGIN_MS);
    CHECK(status == RK_ERR_TIMEOUT || status == RK_ERR_POOL_TIMEOUT);
    CHECK_EQ_INT(rk_error_status(mine), status);
    rk_error_free(mine);
    mine = NULL;
    pthread_barrier_wait(&crowd.thawed);
    pthread_barrier_wait(&crowd.thawed);
    /* What had been sent is answered now, to nobody. */
    for (i = 0; i < ROUNDS; i++) {
        snprintf(tag, sizeof tag, "after %d:%d", me, i);
        CHECK_EQ_INT(echo(tag, 10000, &mine), RK_OK);
    }
    return NULL;
}

static void *leads(void *nothing)
{
    rk_error *mine = NULL;

    (void)nothing;
    CHECK_EQ_INT(echo("the leader", 4 * MARGIN_MS, &mine), RK_OK);
    return NULL;
}

/* Each ends by its own deadline: among others like it, or behind one that has more time, where there is one line and no
 * other connection to be had. */
static void many_at_a_frozen_server(bool behind_one)
{
    struct timespec moment = {0, 50000000};
    pthread_t threads[CALLERS], leader;
    rk_connection *held = NULL;
    rk_bytes status = RK_BYTES_INIT;
    size_t i;

    crowd.keep = open_with("on", "10s", behind_one ? "1" : NULL);
    if (behind_one)
        OK(rk_connection_lease(crowd.keep, NULL, -1, &held, &err));
    CHECK(pthread_barrier_init(&crowd.frozen, NULL, CALLERS + 1) == 0);
    CHECK(pthread_barrier_init(&crowd.thawed, NULL, CALLERS + 1) == 0);
    for (i = 0; i < CALLERS; i++)
        CHECK(pthread_create(&threads[i], NULL, one_of_many, (void *)i) == 0);
    pthread_barrier_wait(&crowd.frozen);
    OK(rk_manager_embedded_fault(crowd.keep, "freeze", &err));
    if (behind_one) {
        CHECK(pthread_create(&leader, NULL, leads, NULL) == 0);
        nanosleep(&moment, NULL);
    }
    pthread_barrier_wait(&crowd.frozen);
    pthread_barrier_wait(&crowd.thawed);
    heal(crowd.keep);
    if (behind_one)
        CHECK(pthread_join(leader, NULL) == 0);
    pthread_barrier_wait(&crowd.thawed);
    for (i = 0; i < CALLERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(rk_manager_fetch_pool_status(crowd.keep, &status, &err));
    /* Nobody is left on a line. */
    HAS((char *)status.data, "\"waiting\":0");
    rk_bytes_free(&status);
    pthread_barrier_destroy(&crowd.frozen);
    pthread_barrier_destroy(&crowd.thawed);
    rk_connection_release(held);
    rk_manager_free(crowd.keep);
}

int main(void)
{
    options();
    faults();
    many_at_a_frozen_server(false);
    many_at_a_frozen_server(true);
    return 0;
}
