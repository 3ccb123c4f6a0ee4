/* Sentinels: the primary is found, by url and by property. */
#include "keep.h"

static void use(rk_manager *keep)
{
    rk_bytes value = RK_BYTES_INIT, json = RK_BYTES_INIT;

    CHECK(!rk_manager_is_enabled(keep));
    OK(rk_set(keep, TEXT("a"), TEXT("1"), &err));
    OK(rk_get(keep, TEXT("a"), &value, &err));
    BYTES(value, "1");
    CHECK(rk_manager_is_enabled(keep));
    OK(rk_manager_health_check(keep, NULL, &json, &err));
    HAS((char *)json.data, "\"role\":\"master\"");
    rk_bytes_free(&json);
    OK(rk_manager_fetch_pool_status(keep, &json, &err));
    HAS((char *)json.data, "\"topology\":\"sentinel\"");
    HAS((char *)json.data, "\"master_name\":\"mymaster\"");
    HAS((char *)json.data, "\"sentinels\":[{");
    HAS((char *)json.data, "\"role\":\"primary\"");
    rk_bytes_free(&json);
}

static rk_manager *open_by_property(const char *master)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;

    OK(rk_config_set(config, "sentinels", url_of("RK_TEST_SENTINELS"), &err));
    OK(rk_config_set(config, "master_name", master, &err));
    OK(rk_config_set(config, "sentinel_username", "default", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    return keep;
}

int main(void)
{
    rk_manager *keep = NULL;
    rk_bytes value = RK_BYTES_INIT;
    char url[512];

    snprintf(url, sizeof url, "redis+sentinel://%s/mymaster", url_of("RK_TEST_SENTINELS"));
    OK(rk_manager_open(url, &keep, &err));
    use(keep);
    OK(rk_manager_close(keep, 5000, &err));
    STATUS(RK_ERR_CLOSED, rk_get(keep, TEXT("a"), &value, &err));
    rk_manager_free(keep);

    keep = open_by_property("mymaster");
    use(keep);
    rk_manager_free(keep);

    keep = open_by_property("nobody");
    FAILS(RK_ERR_CONFIG, rk_get(keep, TEXT("a"), &value, &err));
    HAS(rk_error_message(err), "'nobody'");
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    done();
    rk_manager_free(keep);
    return 0;
}
