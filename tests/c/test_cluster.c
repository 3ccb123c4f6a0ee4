/* A cluster: every call finds its node, by url and by property. */
#include "keep.h"

static rk_manager *open_by_url(void)
{
    rk_manager *keep = NULL;
    char url[1024];

    snprintf(url, sizeof url, "redis+cluster://%s", url_of("RK_TEST_CLUSTER"));
    OK(rk_manager_open(url, &keep, &err));
    return keep;
}

static rk_manager *open_by_property(void)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;

    OK(rk_config_set(config, "use_cluster", "true", &err));
    OK(rk_config_set(config, "startup_nodes", url_of("RK_TEST_CLUSTER"), &err));
    OK(rk_config_set(config, "read_from", "nearest", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    return keep;
}

enum { KEYS = 30 };

static char names[KEYS][16];
static rk_slice keys[KEYS];

static void single_keys(rk_manager *keep)
{
    rk_bytes value = RK_BYTES_INIT;
    int64_t sum = 0;
    int i;

    for (i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "key%d", i);
        keys[i].data = names[i];
        keys[i].len = strlen(names[i]);
        OK(rk_set(keep, TEXT(names[i]), TEXT("1"), &err));
        OK(rk_incr(keep, TEXT(names[i]), i, &sum, &err));
        CHECK_EQ_INT(sum, i + 1);
    }
    OK(rk_get(keep, TEXT("key7"), &value, &err));
    BYTES(value, "8");
    CHECK(rk_manager_is_enabled(keep));
}

static void several_keys(rk_manager *keep)
{
    static const char *const across[] = {"RENAME", "key1", "key2"};
    rk_slice pairs[] = {RK_LIT("m1"), RK_LIT("1"), RK_LIT("m2"), RK_LIT("2"), RK_LIT("m3"), RK_LIT("3")};
    rk_slice set[] = {RK_LIT("m1"), RK_LIT("m2"), RK_LIT("m3"), RK_LIT("none")};
    rk_reply *reply = NULL;
    int64_t count = 0;
    int i;

    OK(rk_mget(keep, keys, KEYS, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), KEYS);
    for (i = 0; i < KEYS; i++) {
        char wanted[16];
        size_t len = 0;
        const void *got = rk_reply_bytes(rk_reply_at(reply, (size_t)i), &len);
        snprintf(wanted, sizeof wanted, "%d", i + 1);
        CHECK_EQ_INT(len, strlen(wanted));
        CHECK_MEM(got, wanted, len);
    }
    rk_reply_free(reply);
    OK(rk_mset(keep, pairs, 3, &err));
    OK(rk_delete(keep, set, 4, &count, &err));
    CHECK_EQ_INT(count, 3);

    FAILS(RK_ERR_CROSS_SLOT, rk_command_argv(keep, 3, across, &reply, &err));
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    HAS(rk_error_message(err), "RENAME");
    done();
    CHECK(reply == NULL);
}

static void pipelines(rk_manager *keep)
{
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    int i;

    OK(rk_pipeline_new(keep, &pipe, &err));
    for (i = 0; i < KEYS; i++) {
        rk_slice incr[2] = {RK_LIT("INCR"), keys[i]};
        OK(rk_pipeline_append(pipe, incr, 2, &err));
    }
    OK(rk_pipeline_execute(pipe, &reply, &err));
    for (i = 0; i < KEYS; i++)
        CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, (size_t)i)), i + 2);
    rk_reply_free(reply);

    OK(rk_pipeline_set_atomic(pipe, true, &err));
    for (i = 0; i < 2; i++) {
        rk_slice incr[2] = {RK_LIT("INCR"), RK_LIT("{tx}n")};
        OK(rk_pipeline_append(pipe, incr, 2, &err));
    }
    OK(rk_pipeline_execute(pipe, &reply, &err));
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 1)) % 2, 0);
    rk_reply_free(reply);
    rk_pipeline_free(pipe);
}

static void walk(rk_manager *keep)
{
    rk_scan *scan = NULL;
    rk_bytes key = RK_BYTES_INIT;
    int found = 0;

    OK(rk_scan_new(keep, "key*", &scan, &err));
    while (rk_scan_next(scan, &key, &err) == RK_OK) {
        found++;
        rk_bytes_free(&key);
    }
    CHECK(found >= KEYS);
    rk_scan_free(scan);
}

static void status(rk_manager *keep)
{
    const char *all = url_of("RK_TEST_CLUSTER");
    rk_connection *one = NULL;
    rk_bytes json = RK_BYTES_INIT;
    char url[64];

    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    HAS((char *)json.data, "\"topology\":\"cluster\"");
    HAS((char *)json.data, "\"role\":\"primary\"");
    HAS((char *)json.data, "\"role\":\"replica\"");
    HAS((char *)json.data, "\"slots\":[[0,");
    rk_bytes_free(&json);

    snprintf(url, sizeof url, "redis://%.*s", (int)strcspn(all, ","), all);
    OK(rk_connection_lease(keep, url, -1, &one, &err));
    rk_connection_release(one);
    OK(rk_manager_health_check(keep, url, &json, &err));
    HAS((char *)json.data, "healthy");
    rk_bytes_free(&json);
}

static void a_single_server_is_told(void)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_config_set(config, "use_cluster", "true", &err));
    OK(rk_config_set(config, "url", url_of("RK_TEST_TCP_URL"), &err));
    OK(rk_manager_open_config(config, &keep, &err));
    FAILS(RK_ERR_CONFIG, rk_get(keep, TEXT("a"), &value, &err));
    HAS(rk_error_message(err), "not part of a cluster");
    done();
    rk_manager_free(keep);
    rk_config_free(config);
}

int main(void)
{
    rk_manager *(*const ways[])(void) = {open_by_url, open_by_property};
    size_t i;

    for (i = 0; i < 2; i++) {
        rk_manager *keep = ways[i]();
        int64_t n;
        single_keys(keep);
        several_keys(keep);
        pipelines(keep);
        walk(keep);
        status(keep);
        OK(rk_delete(keep, keys, KEYS, &n, &err));
        CHECK_EQ_INT(n, KEYS);
        OK(rk_manager_close(keep, 5000, &err));
        rk_manager_free(keep);
    }
    a_single_server_is_told();
    return 0;
}
