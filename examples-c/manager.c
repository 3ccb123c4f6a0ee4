/* A manager from its configuration to its end: properties, nodes, background tasks, statistics, the log. */

#include <stdio.h>
#include <stdlib.h>

#include <redkeep.h>

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* Called in whichever thread something happens in, perhaps in several at once. It must not call the library. */
static void on_log(int32_t level, const char *target, const char *text, void *userdata)
{
    (void)userdata;
    fprintf(stderr, "[%d] %s: %s\n", (int)level, target, text);
}

static void show(const char *what, rk_bytes *text)
{
    printf("%s: %.300s\n", what, (const char *)text->data);
    rk_bytes_free(text);
}

/* What the environment says (REDIS_URL, REDIS_MAX_CONNECTIONS, ...), and then the program. */
static rk_config *configure(void)
{
    rk_error *err = NULL;
    rk_config *config = NULL, *plain = rk_config_new();
    rk_bytes text = RK_BYTES_INIT;

    need(rk_config_from_env(&config, &err), err);
    need(rk_config_set(config, "url", "embedded://", &err), err);
    need(rk_config_set(config, "max_connections", "32", &err), err);
    need(rk_config_set(config, "command_timeout", "500ms", &err), err);
    need(rk_config_get(config, "command_timeout", &text, &err), err);
    show("command_timeout", &text);
    need(rk_config_dump(plain, &text, &err), err);
    show("every default", &text);
    rk_config_free(plain);
    return config;
}

/* More nodes than the one of the URL: each has pools, and is looked after like the first. */
static void nodes(rk_manager *keep, const char *other)
{
    rk_error *err = NULL;
    rk_bytes json = RK_BYTES_INIT;

    /* A node that does not answer is added all the same, and comes in when it does; the error tells. */
    if (rk_manager_add_node_pool(keep, other, 100, &err) < 0)
        printf("not there yet: %s\n", rk_error_message(err));
    rk_error_free(err);
    err = NULL;
    if (!rk_manager_is_connected(keep, other, &err))
        printf("and now? %s\n", rk_status_name(rk_error_status(err)));
    rk_error_free(err);
    err = NULL;
    need(rk_manager_health_check(keep, NULL, &json, &err), err);
    show("health", &json);
    need(rk_manager_close_node_pools(keep, other, &err), err);
}

static void background(rk_manager *keep)
{
    rk_error *err = NULL;

    /* Both run from the start; a program that wants quiet stops them. */
    need(rk_manager_stop_health_checks(keep, &err), err);
    need(rk_manager_stop_cleanup(keep, &err), err);
    need(rk_manager_start_health_checks(keep, &err), err);
    need(rk_manager_start_cleanup(keep, &err), err);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_config *config;
    rk_bytes text = RK_BYTES_INIT;
    bool connected = false;
    double seconds = 0;

    /* A library of another version than the header's may lack what this program calls. */
    if (rk_version_number() / 100 != RK_VERSION_NUMBER / 100)
        fprintf(stderr, "built for %s, runs with %s\n", RK_VERSION_STRING, rk_version_string());
    need(rk_log_set_callback(2, on_log, NULL, NULL), NULL); /* warnings and errors */

    config = configure();
    need(rk_manager_open_config(config, &keep, &err), err);
    rk_config_free(config);
    need(rk_manager_wait_for_ready(keep, NULL, 10000, 250, -1, &seconds, &err), err);
    need(rk_manager_initialize(keep, &connected, &err), err);
    printf("ready after %.0f ms; enabled: %s\n", seconds * 1000, rk_manager_is_enabled(keep) ? "yes" : "no");

    nodes(keep, "redis://127.0.0.1:1");
    background(keep);
    need(rk_manager_stats_json(keep, &text, &err), err);
    show("statistics", &text);
    need(rk_manager_stats_prometheus(keep, &text, &err), err);
    show("for Prometheus", &text);

    need(rk_manager_disconnect(keep, &err), err); /* the next command connects again */
    need(rk_ping(keep, &err), err);
    need(rk_manager_close_all_pools(keep, &err), err);
    need(rk_manager_close(keep, 5000, &err), err);
    rk_manager_free(keep);

    /* The one of the process, opened from the environment when first asked for; it is not freed. */
    printf("the global one is %s\n", rk_manager_is_enabled(rk_manager_global()) ? "connected" : "not connected yet");
    need(rk_log_set_callback(0, NULL, NULL, NULL), NULL);
    return 0;
}
