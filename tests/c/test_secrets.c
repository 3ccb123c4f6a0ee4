/* Secrets: whatever goes wrong, no text that the library gives out holds a password, a value, or the id of a session. */
#include <pthread.h>

#include "keep.h"

static const char *const PASSWORD = "canary-password-5e1f09", *const VALUE = "canary-value-d03a86";

/* Everything that was said, one after the other. */
static char *said;
static size_t length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(const char *text, size_t len)
{
    pthread_mutex_lock(&lock);
    said = realloc(said, length + len + 2);
    CHECK(said);
    memcpy(said + length, text, len);
    length += len + 1;
    said[length - 1] = '\n';
    said[length] = 0;
    pthread_mutex_unlock(&lock);
}

static void on_log(int32_t level, const char *target, const char *text, void *userdata)
{
    (void)level;
    (void)userdata;
    note(target, strlen(target));
    note(text, strlen(text));
}

/* An error in all its parts, or nothing. */
static void error(void)
{
    const char *const parts[] = {rk_error_message(err), rk_error_server_code(err), rk_error_node(err)};
    size_t i;

    for (i = 0; i < 3; i++)
        if (parts[i])
            note(parts[i], strlen(parts[i]));
    done();
}

/* What a hook is told. */
static void after(const rk_call *call, void *span, void *userdata)
{
    const rk_error *failed = rk_call_error(call);
    const char *const parts[] = {rk_call_name(call), rk_call_node(call), failed ? rk_error_message(failed) : NULL};
    size_t i;

    (void)span;
    (void)userdata;
    for (i = 0; i < 3; i++)
        if (parts[i])
            note(parts[i], strlen(parts[i]));
}

static void text(rk_bytes *bytes)
{
    if (bytes->data)
        note((const char *)bytes->data, bytes->len);
    rk_bytes_free(bytes);
}

static void is_not_said(const char *secret)
{
    const char *at;

    pthread_mutex_lock(&lock);
    at = said ? strstr(said, secret) : NULL;
    if (at) {
        while (at > said && at[-1] != '\n')
            at--;
        fprintf(stderr, "%s was said: %.*s\n", secret, (int)strcspn(at, "\n"), at);
        exit(1);
    }
    pthread_mutex_unlock(&lock);
}

static int32_t compute(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **failed)
{
    (void)args_json;
    (void)userdata;
    return rk_bytes_copy(json_out, TEXT(VALUE), failed); /* which is no JSON */
}

/* Locks, limits, copies, messages: with values where they do not belong. */
static void features(rk_manager *keep)
{
    char args[64];
    rk_lock *lock = NULL;
    rk_limiter *limiter = NULL;
    rk_cache *cache = NULL;
    rk_near *near = NULL;
    rk_subscriber *subscriber = NULL;
    rk_event *event = NULL;
    rk_sender *sender = NULL;
    rk_consumer *consumer = NULL;
    rk_message *message = NULL;
    rk_bytes bytes = RK_BYTES_INIT;
    bool allowed;
    int64_t left, wait;

    snprintf(args, sizeof args, "[\"%s\"]", VALUE);
    rk_lock_new(keep, "report", 1000, &lock, &err);
    error();
    rk_set(keep, TEXT("lock:report"), TEXT(VALUE), &err);
    rk_lock_acquire(lock, 0, &err);
    error();
    rk_lock_release(lock, NULL, &err);
    error();
    rk_lock_free(lock);
    rk_limiter_new(keep, 1, 60, &limiter, &err);
    error();
    rk_limiter_check(limiter, VALUE, 7, &allowed, &left, &wait, &err);
    error();
    rk_limiter_free(limiter);
    rk_cache_new(keep, "rows", &cache, &err);
    error();
    rk_cache_get_or_compute(cache, args, compute, NULL, &bytes, &err);
    error();
    rk_cache_get_or_compute(cache, VALUE, compute, NULL, &bytes, &err);
    error();
    rk_cache_free(cache);
    rk_near_new(keep, 10000, &near, &err);
    error();
    rk_near_get_json(near, TEXT("secret"), &bytes, &err);
    error();
    rk_near_stats_json(near, &bytes, &err);
    text(&bytes);
    error();
    rk_near_free(near);
    rk_subscriber_new(keep, &subscriber, &err);
    error();
    rk_subscriber_add(subscriber, "news", &err);
    error();
    rk_publish(keep, "news", TEXT(VALUE), NULL, &err);
    error();
    rk_subscriber_poll(subscriber, 100, &event, &err);
    error();
    rk_event_free(event);
    rk_subscriber_stats_json(subscriber, &bytes, &err);
    text(&bytes);
    error();
    rk_subscriber_free(subscriber);
    rk_sender_new(keep, &sender, &err);
    error();
    rk_sender_register_channel(sender, "orders", &err);
    error();
    rk_sender_send(sender, "orders", "paid", VALUE, NULL, &err); /* which is no JSON */
    error();
    rk_sender_send(sender, "orders", "paid", args, NULL, &err);
    error();
    rk_sender_free(sender);
    rk_consumer_new(keep, "billing", &consumer, &err);
    error();
    rk_consumer_register_channel(consumer, "orders", VALUE, &err);
    error();
    rk_consumer_register_channel(consumer, "orders", NULL, &err);
    error();
    rk_consumer_poll(consumer, 100, &message, &err);
    error();
    rk_message_free(message);
    rk_consumer_stats_json(consumer, &bytes, &err);
    text(&bytes);
    rk_consumer_stats_prometheus(consumer, &bytes, &err);
    text(&bytes);
    error();
    rk_consumer_free(consumer);
    rk_delete(keep, (const rk_slice[]){{"orders", 6}, {"lock:report", 11}}, 2, NULL, &err);
    error();
}

static void everything(rk_manager *keep)
{
    const char *const odd[] = {"NOSUCH", VALUE}, *const multi[] = {"MULTI", VALUE}, *const none[] = {"OBJECT", VALUE};
    /* Its > was forgotten. */
    const char *const user[] = {"ACL", "SETUSER", "eve", VALUE};
    rk_slice pair[] = {{"INCR", 4}, {"secret", 6}};
    rk_bytes bytes = RK_BYTES_INIT;
    rk_sessions *sessions = NULL;
    rk_pipeline *pipe = NULL;
    int64_t number;

    rk_set(keep, TEXT("secret"), TEXT(VALUE), &err);
    error();
    rk_incr(keep, TEXT("secret"), 1, &number, &err);
    error();
    rk_get_json(keep, TEXT("secret"), &bytes, &err);
    error();
    rk_hset(keep, TEXT("secret"), TEXT(VALUE), TEXT(VALUE), &number, &err);
    error();
    rk_set_json(keep, TEXT("secret"), VALUE, NULL, NULL, &err);
    error();
    rk_command_argv(keep, 2, odd, NULL, &err);
    error();
    rk_command_argv(keep, 2, multi, NULL, &err);
    error();
    rk_command_argv(keep, 2, none, NULL, &err);
    error();
    rk_command_argv(keep, 4, user, NULL, &err);
    error();
    if (rk_pipeline_new(keep, &pipe, &err) == RK_OK) {
        rk_pipeline_append(pipe, pair, 2, &err);
        rk_pipeline_execute(pipe, NULL, &err);
    }
    error();
    rk_pipeline_free(pipe);
    if (rk_sessions_new(keep, 60, &sessions, &err) == RK_OK
        && rk_sessions_create(sessions, VALUE, NULL, &bytes, &err) == RK_OK) {
        char id[64];
        snprintf(id, sizeof id, "%s", (const char *)bytes.data);
        rk_bytes_free(&bytes);
        rk_sessions_update(sessions, id, VALUE, NULL, &err);
        error();
        rk_sessions_get(sessions, "not an id", &bytes, &err);
        error();
        is_not_said(id);
    }
    error();
    rk_sessions_free(sessions);
    if (rk_ping(keep, &err) == RK_OK)
        features(keep);
    error();
    rk_manager_health_check(keep, NULL, &bytes, &err);
    error();
    text(&bytes);
    rk_manager_fetch_pool_status(keep, &bytes, &err);
    text(&bytes);
    rk_manager_stats_json(keep, &bytes, &err);
    text(&bytes);
    rk_manager_stats_prometheus(keep, &bytes, &err);
    text(&bytes);
    error();
}

/* `what` with its first %s as where, and its second as the password. */
static void logs_in(const char *what, const char *where)
{
    char url[256];
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    rk_bytes dump = RK_BYTES_INIT;

    snprintf(url, sizeof url, what, PASSWORD, where);
    rk_config_set(config, "url", url, &err);
    error();
    rk_config_set(config, "command_timeout", "1", &err);
    rk_config_set(config, "slow_call", "1ms", &err);
    rk_config_set_command_hook(config, NULL, after, NULL, NULL, &err);
    error();
    rk_config_dump(config, &dump, &err);
    text(&dump);
    if (rk_manager_open_config(config, &keep, &err) == RK_OK)
        everything(keep);
    error();
    rk_manager_add_node_pool(keep, url, -1, &err);
    error();
    rk_manager_close(keep, -1, &err);
    error();
    rk_manager_free(keep);
    rk_config_free(config);
}

/* What the environment says, and cannot be. */
static void by_environment(const char *name, const char *value)
{
    rk_config *config = NULL;
    rk_manager *keep = NULL;
    rk_bytes dump = RK_BYTES_INIT;
    char given[256];

    snprintf(given, sizeof given, value, PASSWORD);
    setenv(name, given, 1);
    if (rk_config_from_env(&config, &err) == RK_OK) {
        rk_config_dump(config, &dump, &err);
        text(&dump);
    }
    error();
    rk_config_free(config);
    if (rk_manager_open(NULL, &keep, &err) == RK_OK)
        rk_ping(keep, &err);
    error();
    rk_manager_free(keep);
    unsetenv(name);
}

int main(void)
{
    rk_manager *keep = open_keep();
    const char *const user[] = {"ACL", "SETUSER", "ann", "on", ">canary-password-5e1f09", "~*", "&*", "+@all"};
    const char *const nobody[] = {"ACL", "DELUSER", "ann"};
    const char *tcp = url_of("RK_TEST_TCP_URL") + strlen("redis://");

    OK(rk_log_set_callback(5, on_log, NULL, NULL));
    everything(keep);
    OK(rk_command_argv(keep, 8, user, NULL, &err));
    logs_in("redis://ann:%s@%s", tcp);
    logs_in("redis://ann:%s-not@%s", tcp);
    logs_in("redis://bob:%s@%s/2", tcp);
    logs_in("redis://:%s@%s:1", "127.0.0.1");
    logs_in("redis://ann:%s@%s", "no such host");
    logs_in("redis+cluster://ann:%s@%s", tcp);
    logs_in("redis+sentinel://ann:%s@%s/mymaster", tcp);
    logs_in("nosuch://ann:%s@%s", tcp);
    logs_in("redis://ann/%s@%s", tcp);
    logs_in("redis://?password=%s&nosuch=%s", tcp);
    by_environment("REDIS_URL", "redis://ann:%s@host:99999");
    by_environment("REDIS_URL", "redis://ann:%s@127.0.0.1:1");
    by_environment("REDIS_URL", "%s");
    by_environment("REDIS_CLUSTER_URL", "redis://ann:%s@a:1,b:x");
    by_environment("REDIS_PASSWORD", "%s");
    OK(rk_command_argv(keep, 3, nobody, NULL, &err));
    OK(rk_log_set_callback(0, NULL, NULL, NULL));
    rk_manager_free(keep);
    CHECK(strstr(said, "WRONGPASS") && strstr(said, "unknown subcommand"));
    CHECK(strstr(said, "\nHSET\n")); /* by the hook */
    is_not_said("canary-pass");
    is_not_said(VALUE);
    free(said);
    return 0;
}
