/* The manager's life: opened, asked how it is, its nodes and tasks, closed and freed in any order. */
#include "keep.h"

static void json_has(rk_bytes *json, const char *wanted)
{
    CHECK(json->data != NULL);
    HAS((char *)json->data, wanted);
}

static void open_wrong(void)
{
    rk_manager *keep = (rk_manager *)(void *)&keep;

    STATUS(RK_ERR_URL, rk_manager_open("nonsense://host", &keep, &err));
    CHECK(keep == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_manager_open("redis://\xff", &keep, &err));
    FAILS(RK_ERR_ARGUMENT, rk_manager_open("redis://localhost", NULL, &err));
    CHECK_STR(rk_error_message(err), "out: NULL");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_manager_open_config(NULL, &keep, &err));
    rk_manager_free(NULL);
}

static void states(void)
{
    rk_manager *keep = NULL;
    rk_bytes json = RK_BYTES_INIT;
    bool connected = false;
    double seconds = -1;

    OK(rk_manager_open(url_of("RK_TEST_TCP_URL"), &keep, &err));
    CHECK(!rk_manager_is_enabled(keep)); /* nothing has been sent yet */
    CHECK(!rk_manager_is_enabled(NULL));
    OK(rk_manager_initialize(keep, &connected, &err));
    CHECK(connected);
    CHECK(rk_manager_is_enabled(keep));
    OK(rk_manager_initialize(keep, NULL, &err));
    CHECK(rk_manager_is_connected(keep, NULL, &err) && err == NULL);
    CHECK(rk_manager_is_connected(keep, url_of("RK_TEST_TCP_URL"), NULL));
    OK(rk_ping(keep, &err));

    OK(rk_manager_wait_for_ready(keep, NULL, -1, -1, -1, &seconds, &err));
    CHECK(seconds >= 0 && seconds < 10);
    OK(rk_manager_wait_for_ready(keep, NULL, 5000, 10, 3, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_wait_for_ready(keep, NULL, -2, -1, -1, &seconds, &err));
    CHECK(seconds == 0);
    STATUS(RK_ERR_ARGUMENT, rk_manager_wait_for_ready(keep, NULL, -1, -3, -1, &seconds, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_wait_for_ready(keep, NULL, -1, -1, -7, &seconds, &err));

    OK(rk_manager_health_check(keep, NULL, &json, &err));
    json_has(&json, "\"status\":\"healthy\"");
    json_has(&json, "\"role\":\"master\"");
    json_has(&json, "\"connected_clients\":");
    json_has(&json, "\"latency_ms\":");
    json_has(&json, "\"version\":\"");
    rk_bytes_free(&json);
    STATUS(RK_ERR_UNKNOWN_NODE, rk_manager_health_check(keep, "redis://127.0.0.1:1", &json, &err));
    STATUS(RK_ERR_URL, rk_manager_health_check(keep, "nonsense://x", &json, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_health_check(keep, NULL, NULL, &err));

    OK(rk_manager_stats_json(keep, &json, &err));
    json_has(&json, "\"calls\":");
    json_has(&json, "\"enabled\":true");
    json_has(&json, "\"version\":\"" RK_VERSION_STRING "\"");
    json_has(&json, "\"consumers\":[]");
    rk_bytes_free(&json);
    OK(rk_manager_stats_prometheus(keep, &json, &err));
    json_has(&json, "# TYPE redkeep_calls_total counter\n");
    rk_bytes_free(&json);
    STATUS(RK_ERR_ARGUMENT, rk_manager_stats_prometheus(keep, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_stats_prometheus(NULL, &json, &err));
    OK(rk_manager_disconnect(keep, &err));
    OK(rk_ping(keep, &err));
    rk_manager_free(keep); /* without a close */
}

static void nodes(void)
{
    const char *other = url_of("RK_TEST_TCP_URL");
    rk_manager *keep = open_keep();
    rk_connection *one = NULL;
    rk_bytes json = RK_BYTES_INIT;

    STATUS(RK_ERR_UNKNOWN_NODE, rk_connection_lease(keep, other, -1, &one, &err));
    OK(rk_manager_add_node_pool(keep, other, -1, &err));
    OK(rk_manager_add_node_pool(keep, other, 2000, &err)); /* twice is no error */
    CHECK(rk_manager_is_connected(keep, other, &err));
    OK(rk_connection_lease(keep, other, -1, &one, &err));
    rk_connection_release(one);

    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    json_has(&json, strstr(other, "127.0.0.1"));
    json_has(&json, "\"state\":\"up\"");
    json_has(&json, "\"size\":10");
    rk_bytes_free(&json);

    OK(rk_manager_close_node_pools(keep, other, &err));
    STATUS(RK_ERR_UNKNOWN_NODE, rk_connection_lease(keep, other, -1, &one, &err));
    CHECK(!rk_manager_is_connected(keep, other, &err));
    CHECK_EQ_INT(rk_error_status(err), RK_ERR_UNKNOWN_NODE);
    done();
    STATUS(RK_ERR_UNKNOWN_NODE, rk_manager_close_node_pools(keep, other, &err));
    OK(rk_manager_add_node_pool(keep, other, -1, &err));
    OK(rk_connection_lease(keep, other, -1, &one, &err));
    rk_connection_release(one);

    OK(rk_manager_close_all_pools(keep, &err));
    STATUS(RK_ERR_UNKNOWN_NODE, rk_ping(keep, &err));
    OK(rk_manager_add_node_pool(keep, url_of("RK_TEST_URL"), -1, &err));
    OK(rk_ping(keep, &err));

    STATUS(RK_ERR_ARGUMENT, rk_manager_add_node_pool(keep, NULL, -1, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_add_node_pool(keep, other, -9, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_close_node_pools(keep, NULL, &err));
    STATUS(RK_ERR_URL, rk_manager_add_node_pool(keep, "nonsense://x", -1, &err));
    rk_manager_free(keep);
}

static void tasks(void)
{
    rk_manager *keep = open_keep();
    rk_bytes json = RK_BYTES_INIT;
    int i;

    for (i = 0; i < 2; i++) {
        OK(rk_manager_stop_health_checks(keep, &err));
        OK(rk_manager_stop_cleanup(keep, &err));
    }
    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    json_has(&json, "\"cleanup\":false");
    json_has(&json, "\"health_checks\":false");
    rk_bytes_free(&json);
    for (i = 0; i < 2; i++) {
        OK(rk_manager_start_health_checks(keep, &err));
        OK(rk_manager_start_cleanup(keep, &err));
    }
    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    json_has(&json, "\"cleanup\":true");
    json_has(&json, "\"health_checks\":true");
    rk_bytes_free(&json);
    rk_manager_free(keep);
}

static void after_the_end(void)
{
    rk_manager *keep = open_keep();
    rk_connection *one = NULL;
    rk_slice ping[] = {RK_LIT("PING")};
    rk_bytes json = RK_BYTES_INIT;
    bool connected = true;

    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    STATUS(RK_ERR_ARGUMENT, rk_manager_close(keep, -2, &err));
    OK(rk_manager_close(keep, -1, &err));
    STATUS(RK_ERR_CLOSED, rk_ping(keep, &err));
    STATUS(RK_ERR_CLOSED, rk_get(keep, TEXT("key"), &json, &err));
    STATUS(RK_ERR_CLOSED, rk_manager_initialize(keep, &connected, &err));
    CHECK(!connected);
    CHECK(!rk_manager_is_enabled(keep));
    STATUS(RK_ERR_CLOSED, rk_manager_add_node_pool(keep, url_of("RK_TEST_URL"), -1, &err));
    STATUS(RK_ERR_CLOSED, rk_manager_start_health_checks(keep, &err));
    STATUS(RK_ERR_CLOSED, rk_manager_wait_for_ready(keep, NULL, -1, -1, -1, NULL, &err));
    CHECK(rk_connection_command(one, ping, 1, NULL, &err) < 0);
    done();
    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    rk_bytes_free(&json);
    OK(rk_manager_close(keep, 0, &err)); /* twice is no error */
    rk_manager_free(keep);
    rk_connection_release(one);
}

static void disabled(void)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    rk_bytes value = RK_BYTES_INIT;
    bool connected = true;
    int64_t n = 5;

    OK(rk_config_set(config, "enabled", "false", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    CHECK(!rk_manager_is_enabled(keep));
    STATUS(RK_ERR_DISABLED, rk_manager_initialize(keep, &connected, &err));
    CHECK(!connected);
    STATUS(RK_ERR_DISABLED, rk_get(keep, TEXT("key"), &value, &err));
    STATUS(RK_ERR_DISABLED, rk_ttl(keep, TEXT("key"), &n, &err));
    CHECK_EQ_INT(n, -2);
    OK(rk_manager_health_check(keep, NULL, &value, &err));
    json_has(&value, "\"status\":\"unhealthy\"");
    json_has(&value, "\"error\":\"");
    rk_bytes_free(&value);
    OK(rk_manager_close(keep, -1, &err));
    rk_manager_free(keep);
}

static void embedded(void)
{
    rk_manager *keep = NULL;
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_manager_open("embedded://", &keep, &err));
    OK(rk_set(keep, TEXT("key"), TEXT("value"), &err));
    OK(rk_get(keep, TEXT("key"), &value, &err));
    BYTES(value, "value");
    OK(rk_manager_close(keep, 10000, &err));
    STATUS(RK_ERR_CLOSED, rk_ping(keep, &err));
    rk_manager_free(keep);
}

static void global(void)
{
    rk_manager *keep;

    setenv("REDIS_URL", url_of("RK_TEST_URL"), 1);
    keep = rk_manager_global();
    CHECK(keep != NULL);
    OK(rk_ping(keep, &err));
    rk_manager_free(keep);
    CHECK(rk_manager_global() == keep);
    OK(rk_ping(keep, &err));
    OK(rk_manager_close(keep, -1, &err));
}

int main(void)
{
    open_wrong();
    states();
    nodes();
    tasks();
    after_the_end();
    disabled();
    embedded();
    global();
    return 0;
}
