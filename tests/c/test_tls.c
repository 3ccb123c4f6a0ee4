/* TLS by properties: an authority of one's own, a client's certificate, and refusals that say why. */
#include "keep.h"

static char path[512];

static const char *file(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", url_of("RK_TEST_FOLDER"), name);
    return path;
}

static rk_config *config_for(const char *url)
{
    rk_config *config = rk_config_new();
    CHECK(config != NULL);
    OK(rk_config_set(config, "url", url, &err));
    OK(rk_config_set(config, "command_timeout", "5", &err));
    return config;
}

static rk_config *trusting(void)
{
    rk_config *config = config_for(url_of("RK_TEST_TLS_URL"));
    OK(rk_config_set(config, "tls_ca", file("ca.crt"), &err));
    return config;
}

static void shows_a_certificate(rk_config *config)
{
    OK(rk_config_set(config, "tls_cert", file("client.crt"), &err));
    OK(rk_config_set(config, "tls_key", file("client.key"), &err));
}

static void talks(void)
{
    size_t size = 300000;
    char *big = malloc(size);
    rk_config *config = trusting();
    rk_manager *keep = NULL;
    rk_bytes got = RK_BYTES_INIT;
    int64_t n = 0;

    CHECK(big != NULL);
    memset(big, 'x', size);
    shows_a_certificate(config);
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    OK(rk_set(keep, TEXT("tls"), "over", 4, &err));
    OK(rk_get(keep, TEXT("tls"), &got, &err));
    BYTES(got, "over");
    OK(rk_set(keep, TEXT("big"), big, size, &err));
    OK(rk_get(keep, TEXT("big"), &got, &err));
    CHECK_EQ_INT(got.len, size);
    CHECK_MEM(got.data, big, size);
    rk_bytes_free(&got);
    OK(rk_delete(keep, (rk_slice[]){RK_LIT("tls"), RK_LIT("big")}, 2, &n, &err));
    CHECK_EQ_INT(n, 2);
    rk_manager_free(keep);
    free(big);
}

static void refused(rk_config *config, rk_status status, const char *text)
{
    rk_manager *keep = NULL;
    bool is = true;

    OK(rk_config_set(config, "health_check_interval", "0", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    FAILS(status, rk_exists(keep, TEXT("a"), &is, &err));
    CHECK(!is);
    HAS(rk_error_message(err), text);
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    done();
    rk_manager_free(keep);
}

static void refusals(void)
{
    rk_config *config;

    refused(trusting(), RK_ERR_TLS, "tls_cert");

    config = trusting();
    shows_a_certificate(config);
    OK(rk_config_set(config, "tls_server_name", "elsewhere.example", &err));
    refused(config, RK_ERR_TLS, "is not for 'elsewhere.example'");

    /* The authority is made a moment ago: the system does not know it; and another trusts nobody but the client. */
    config = config_for(url_of("RK_TEST_TLS_URL"));
    OK(rk_config_set(config, "tls_ca", file("client.crt"), &err));
    refused(config, RK_ERR_TLS, "tls_ca");
}

static void unusable(const char *name, const char *value, const char *other, const char *other_value)
{
    rk_config *config = trusting();
    rk_manager *keep = NULL;

    OK(rk_config_set(config, name, file(value), &err));
    if (other)
        OK(rk_config_set(config, other, file(other_value), &err));
    FAILS(RK_ERR_BAD_VALUE, rk_manager_open_config(config, &keep, &err));
    CHECK(keep == NULL);
    HAS(rk_error_message(err), name);
    HAS(rk_error_message(err), value);
    done();
    rk_config_free(config);
}

int main(void)
{
    talks();
    refusals();
    unusable("tls_ca", "nowhere", NULL, NULL);
    unusable("tls_ca", "server.key", NULL, NULL);
    unusable("tls_key", "server.key", "tls_cert", "client.crt");
    unusable("tls_cert", "nowhere", "tls_key", "client.key");
    return 0;
}
