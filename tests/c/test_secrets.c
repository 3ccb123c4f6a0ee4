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

static void everything(rk_manager *keep)
{
    const char *const odd[] = {"NOSUCH", VALUE}, *const multi[] = {"MULTI", VALUE};
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
    OK(rk_command_argv(keep, 3, nobody, NULL, &err));
    OK(rk_log_set_callback(0, NULL, NULL, NULL));
    rk_manager_free(keep);
    CHECK(strstr(said, "WRONGPASS"));
    is_not_said("canary-pass");
    is_not_said(VALUE);
    free(said);
    return 0;
}
