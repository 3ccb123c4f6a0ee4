/* Properties by name: set, read, dumped; from the environment; what is wrong with them is said. */
#include <pthread.h>

#include "keep.h"

static void set_and_get(void)
{
    rk_config *config = rk_config_new();
    rk_bytes text = RK_BYTES_INIT;

    CHECK(config != NULL);
    OK(rk_config_get(config, "max_connections", &text, &err));
    BYTES(text, "10");
    OK(rk_config_set(config, "max_connections", "32", &err));
    OK(rk_config_get(config, "max_connections", &text, &err));
    BYTES(text, "32");
    STATUS(RK_NIL, rk_config_get(config, "username", &text, &err));
    CHECK(text.data == NULL);

    OK(rk_config_set(config, "password", "secret", &err));
    OK(rk_config_get(config, "password", &text, &err));
    BYTES(text, "secret");
    OK(rk_config_dump(config, &text, &err));
    HAS((char *)text.data, "\"max_connections\":32");
    HAS((char *)text.data, "\"password\":\"***\"");
    CHECK(strstr((char *)text.data, "secret") == NULL);
    rk_bytes_free(&text);
    rk_config_free(config);
    rk_config_free(NULL);
}

static void wrong(void)
{
    rk_config *config = rk_config_new();
    rk_bytes text = RK_BYTES_INIT;

    FAILS(RK_ERR_UNKNOWN_PROPERTY, rk_config_set(config, "max_conections", "3", &err));
    HAS(rk_error_message(err), "max_conections");
    done();
    FAILS(RK_ERR_BAD_VALUE, rk_config_set(config, "max_connections", "0", &err));
    HAS(rk_error_message(err), "it takes a whole number from 1 to 10000");
    done();
    STATUS(RK_ERR_UNKNOWN_PROPERTY, rk_config_get(config, "nothing", &text, &err));
    OK(rk_config_get(config, "max_connections", &text, &err));
    BYTES(text, "10");

    FAILS(RK_ERR_ARGUMENT, rk_config_set(config, NULL, "3", &err));
    CHECK_STR(rk_error_message(err), "name: NULL");
    done();
    FAILS(RK_ERR_ARGUMENT, rk_config_set(config, "client_name", "\xff", &err));
    HAS(rk_error_message(err), "value: not UTF-8");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_config_set(config, "url", NULL, &err));
    FAILS(RK_ERR_ARGUMENT, rk_config_set(NULL, "url", "redis://x", &err));
    CHECK_STR(rk_error_message(err), "config: NULL");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_config_get(config, "url", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_config_dump(config, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_config_dump(NULL, &text, &err));
    STATUS(RK_ERR_ARGUMENT, rk_config_from_env(NULL, &err));
    rk_config_free(config);
}

static void environment(void)
{
    rk_config *config = NULL;
    rk_manager *keep = NULL;
    rk_bytes text = RK_BYTES_INIT;

    setenv("REDIS_URL", url_of("RK_TEST_URL"), 1);
    setenv("REDIS_MAX_CONNECTIONS", "3", 1);
    OK(rk_config_from_env(&config, &err));
    OK(rk_config_get(config, "max_connections", &text, &err));
    BYTES(text, "3");
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    OK(rk_ping(keep, &err));
    rk_manager_free(keep);
    OK(rk_manager_open(NULL, &keep, &err));
    OK(rk_ping(keep, &err));
    rk_manager_free(keep);

    setenv("REDIS_MAX_CONNECTIONS", "many", 1);
    FAILS(RK_ERR_BAD_VALUE, rk_config_from_env(&config, &err));
    HAS(rk_error_message(err), "REDIS_MAX_CONNECTIONS");
    CHECK(config == NULL);
    done();
    unsetenv("REDIS_MAX_CONNECTIONS");
}

static int32_t nobody(rk_bytes *username, rk_bytes *password, void *userdata, rk_error **error)
{
    (void)username, (void)password, (void)userdata, (void)error;
    return RK_ERR_AUTH;
}

static void *another_thread(void *config)
{
    rk_bytes text = RK_BYTES_INIT;

    FAILS(RK_ERR_CONFLICT, rk_config_set(config, "max_connections", "3", &err));
    CHECK_STR(rk_error_message(err), "config: another thread is using it");
    done();
    STATUS(RK_ERR_CONFLICT, rk_config_get(config, "max_connections", &text, &err));
    return NULL;
}

static void while_it_is_changed(void *config)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, another_thread, config) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A second thread is told, and does no harm. */
static void from_two_threads(void)
{
    rk_config *config = rk_config_new();

    OK(rk_config_set_credentials_provider(config, nobody, config, while_it_is_changed, &err));
    OK(rk_config_set_credentials_provider(config, nobody, NULL, NULL, &err));
    OK(rk_config_set(config, "max_connections", "3", &err));
    rk_config_free(config);
}

int main(void)
{
    set_and_get();
    wrong();
    from_two_threads();
    environment();
    return 0;
}
