/* Scripts, and walking over keys. */
#include <pthread.h>
#include <stdatomic.h>

#include "keep.h"

static void scripts(rk_manager *keep)
{
    rk_slice keys[] = {RK_LIT("sum")}, args[] = {RK_LIT("5")};
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    int i;

    for (i = 1; i <= 3; i++) {
        OK(rk_eval(keep, "return redis.call('INCRBY', KEYS[1], ARGV[1])", keys, 1, args, 1, &reply, &err));
        CHECK_EQ_INT(rk_reply_integer(reply), 5 * i);
        rk_reply_free(reply);
    }
    OK(rk_eval(keep, "return {#KEYS, 'x'}", NULL, 0, NULL, 0, &reply, &err));
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 0)), 0);
    rk_reply_free(reply);
    OK(rk_eval(keep, "return 1", NULL, 0, NULL, 0, NULL, &err));

    FAILS(RK_ERR_SERVER, rk_eval(keep, "return (", NULL, 0, NULL, 0, &reply, &err));
    HAS(rk_error_message(err), "compiling");
    done();
    CHECK(reply == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_eval(keep, NULL, NULL, 0, NULL, 0, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_eval(keep, "return 1", NULL, 3, NULL, 0, &reply, &err));

    OK(rk_pipeline_new(keep, &pipe, &err));
    for (i = 0; i < 3; i++)
        OK(rk_pipeline_append_eval(pipe, "return tonumber(ARGV[1]) * 2", NULL, 0, args, 1, &err));
    OK(rk_pipeline_execute(pipe, &reply, &err));
    for (i = 0; i < 3; i++)
        CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, (size_t)i)), 10);
    rk_reply_free(reply);
    rk_pipeline_free(pipe);
}

static int count(rk_manager *keep, const char *pattern)
{
    rk_scan *scan = NULL;
    rk_bytes key = RK_BYTES_INIT;
    rk_status status;
    int found = 0;

    OK(rk_scan_new(keep, pattern, &scan, &err));
    while ((status = rk_scan_next(scan, &key, &err)) == RK_OK) {
        found++;
        CHECK(key.len > 0);
        rk_bytes_free(&key);
    }
    CHECK_EQ_INT(status, RK_NIL);
    STATUS(RK_NIL, rk_scan_next(scan, &key, &err));
    CHECK(key.data == NULL);
    rk_scan_free(scan);
    return found;
}

struct walker {
    rk_scan *scan;
    atomic_bool told;
};

/* Until somebody is told that the other one is at it. */
static void *walks(void *data)
{
    struct walker *it = data;
    rk_bytes key = RK_BYTES_INIT;
    int tries;

    for (tries = 0; tries < 100 && !it->told; tries++) {
        rk_status status = rk_scan_next(it->scan, &key, NULL);
        CHECK(key.data == NULL);
        if (status == RK_ERR_CONFLICT)
            it->told = true;
    }
    return NULL;
}

/* A second thread is told, and the walk goes on behind. */
static void from_two_threads(void)
{
    struct walker walker = {NULL, false};
    rk_manager *keep = NULL;
    rk_bytes key = RK_BYTES_INIT;
    rk_status status;
    pthread_t thread;
    int i;

    OK(rk_manager_open("embedded://?embedded_faults=on&command_timeout=200ms", &keep, &err));
    OK(rk_set(keep, TEXT("key"), TEXT("x"), &err));
    OK(rk_scan_new(keep, NULL, &walker.scan, &err));
    OK(rk_manager_embedded_fault(keep, "freeze", &err));
    CHECK(pthread_create(&thread, NULL, walks, &walker) == 0);
    walks(&walker);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(walker.told);
    OK(rk_manager_embedded_fault(keep, "none", &err));
    OK(rk_manager_wait_for_ready(keep, NULL, 20000, 50, 1000, NULL, &err));
    for (i = 0; i < 100; i++) {
        status = rk_scan_next(walker.scan, &key, NULL);
        if (status == RK_OK || status == RK_NIL)
            break;
    }
    CHECK_EQ_INT(status, RK_OK);
    BYTES(key, "key");
    STATUS(RK_NIL, rk_scan_next(walker.scan, &key, &err));
    rk_scan_free(walker.scan);
    rk_manager_free(keep);
}

int main(void)
{
    rk_manager *keep = open_keep();
    rk_scan *scan = NULL;
    rk_bytes key = RK_BYTES_INIT;
    char name[32];
    int i;

    scripts(keep);
    from_two_threads();
    CHECK_EQ_INT(count(keep, "key:*"), 0);
    for (i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "key:%d", i);
        OK(rk_set(keep, TEXT(name), TEXT("x"), &err));
    }
    /* A key may come twice, but not while nothing changes. */
    CHECK_EQ_INT(count(keep, "key:*"), 1000);
    CHECK_EQ_INT(count(keep, NULL), 1001);
    CHECK_EQ_INT(count(keep, "key:99?"), 10);

    STATUS(RK_ERR_ARGUMENT, rk_scan_new(keep, "\xff", &scan, &err));
    STATUS(RK_ERR_ARGUMENT, rk_scan_new(NULL, NULL, &scan, &err));
    STATUS(RK_ERR_ARGUMENT, rk_scan_next(NULL, &key, &err));
    rk_scan_free(NULL);

    /* It keeps its manager alive. */
    OK(rk_scan_new(keep, NULL, &scan, &err));
    rk_manager_free(keep);
    OK(rk_scan_next(scan, &key, &err));
    rk_bytes_free(&key);
    rk_scan_free(scan);
    return 0;
}
