/* Commands are told to a hook, before and after, and slow ones to the log. */
#include "keep.h"

#include <pthread.h>

struct trace {
    pthread_t thread;
    rk_manager *keep; /* to be used by the hook, if there */
    int begun, over, freed, failed;
    char last[64], node[128], text[256];
    int64_t whole, parts;
};

static void *before(const rk_call *call, void *userdata)
{
    struct trace *trace = userdata;

    CHECK(pthread_equal(trace->thread, pthread_self()));
    CHECK_EQ_INT(trace->freed, 0);
    CHECK(rk_call_node(call) == NULL && rk_call_error(call) == NULL);
    CHECK_EQ_INT(rk_call_tries(call), 0);
    CHECK_EQ_INT(rk_call_microseconds(call, NULL), 0);
    trace->begun++;
    snprintf(trace->last, sizeof trace->last, "%s %zu", rk_call_name(call), rk_call_commands(call));
    return strdup(rk_call_name(call));
}

static void after(const rk_call *call, void *span, void *userdata)
{
    static const char *const parts[] = {"wait", "connect", "write", "server", "read"};
    struct trace *trace = userdata;
    size_t i;

    CHECK_STR(rk_call_name(call), span);
    free(span);
    trace->over++;
    trace->whole = rk_call_microseconds(call, NULL);
    for (trace->parts = 0, i = 0; i < 5; i++) {
        CHECK(rk_call_microseconds(call, parts[i]) >= 0);
        trace->parts += rk_call_microseconds(call, parts[i]);
    }
    CHECK_EQ_INT(rk_call_microseconds(call, "lunch"), -1);
    if (rk_call_node(call))
        snprintf(trace->node, sizeof trace->node, "%s", rk_call_node(call));
    trace->failed = rk_error_status(rk_call_error(call));
    snprintf(trace->text, sizeof trace->text, "%s", rk_error_message(rk_call_error(call)));
    if (trace->keep) /* is not told */
        OK(rk_set(trace->keep, TEXT("of the hook"), TEXT("1"), NULL));
}

static void freed(void *userdata)
{
    struct trace *trace = userdata;
    trace->freed++;
}

static rk_manager *traced(struct trace *trace, const char *url)
{
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;

    trace->thread = pthread_self();
    OK(rk_config_set(config, "url", url, &err));
    OK(rk_config_set_command_hook(config, before, after, trace, freed, &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    CHECK_EQ_INT(trace->freed, 0);
    return keep;
}

static void commands_are_told(void)
{
    struct trace trace = {.begun = 0};
    rk_manager *keep = traced(&trace, url_of("RK_TEST_URL"));
    rk_slice get[] = {RK_LIT("GET"), RK_LIT("traced")};
    rk_pipeline *pipe = NULL;
    rk_reply *replies = NULL;
    int64_t number;
    pid_t child;

    OK(rk_set(keep, TEXT("traced"), TEXT("word"), &err));
    CHECK_STR(trace.last, "SET 1");
    CHECK_EQ_INT(trace.failed, RK_OK);
    CHECK_STR(trace.text, "no error");
    HAS(trace.node, "redis.sock");
    CHECK(trace.whole > 0 && trace.parts <= trace.whole && trace.parts + 5 >= trace.whole);
    STATUS(RK_ERR_NOT_A_NUMBER, rk_incr(keep, TEXT("traced"), 1, &number, &err));
    CHECK_EQ_INT(trace.failed, RK_ERR_NOT_A_NUMBER);
    HAS(trace.text, "not an integer");

    trace.keep = keep;
    OK(rk_pipeline_new(keep, &pipe, &err));
    OK(rk_pipeline_append(pipe, get, 2, &err));
    OK(rk_pipeline_append(pipe, get, 2, &err));
    OK(rk_pipeline_execute(pipe, &replies, &err));
    rk_reply_free(replies);
    rk_pipeline_free(pipe);
    CHECK_STR(trace.last, "PIPELINE 2");
    CHECK_EQ_INT(trace.begun, 3);
    CHECK_EQ_INT(trace.over, 3);
    trace.keep = NULL;

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        trace.thread = pthread_self();
        OK(rk_ping(keep, &err));
        CHECK_EQ_INT(trace.over, 4);
        exit(0);
    }
    wait_for(child);
    rk_manager_free(keep);
    CHECK_EQ_INT(trace.freed, 1);
}

static void userdata_is_freed_once(void)
{
    struct trace one = {.begun = 0}, two = {.begun = 0};
    rk_config *config = rk_config_new();

    STATUS(RK_ERR_ARGUMENT, rk_config_set_command_hook(NULL, before, after, &one, freed, &err));
    CHECK_EQ_INT(one.freed, 1);
    OK(rk_config_set_command_hook(config, NULL, after, &one, freed, &err));
    OK(rk_config_set_command_hook(config, before, NULL, &two, freed, &err));
    CHECK_EQ_INT(one.freed, 2);
    OK(rk_config_set_command_hook(config, NULL, NULL, &one, freed, &err));
    CHECK_EQ_INT(one.freed, 3);
    CHECK_EQ_INT(two.freed, 1);
    OK(rk_config_set_command_hook(config, NULL, NULL, NULL, NULL, &err));
    rk_config_free(config);
    CHECK(rk_call_name(NULL) == NULL && rk_call_node(NULL) == NULL && rk_call_error(NULL) == NULL);
    CHECK_EQ_INT(rk_call_commands(NULL), 0);
    CHECK_EQ_INT(rk_call_tries(NULL), 0);
    CHECK_EQ_INT(rk_call_microseconds(NULL, NULL), -1);
}

static void on_log(int32_t level, const char *target, const char *text, void *userdata)
{
    CHECK_EQ_INT(level, 2);
    HAS(target, "redkeep");
    snprintf(userdata, 512, "%s", text);
}

static void slow_calls_are_logged(void)
{
    static const char *const nap[] = {"EVAL", "local t = redis.call('TIME') repeat local n = redis.call('TIME') until "
                                              "(n[1] - t[1]) * 1000000 + n[2] - t[2] > 20000 return ARGV[1]",
                                      "0", "a secret"};
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    char text[512] = "";

    OK(rk_config_set(config, "url", url_of("RK_TEST_URL"), &err));
    OK(rk_config_set(config, "slow_call", "10ms", &err));
    STATUS(RK_ERR_BAD_VALUE, rk_config_set(config, "slow_call", "soon", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    CHECK_EQ_INT(rk_log_set_callback(2, on_log, text, NULL), RK_OK);
    OK(rk_command_argv(keep, 4, nap, NULL, &err));
    HAS(text, "slow: EVAL to ");
    HAS(text, ", server ");
    CHECK(strstr(text, "secret") == NULL);
    CHECK_EQ_INT(rk_log_set_callback(0, NULL, NULL, NULL), RK_OK);
    rk_manager_free(keep);
}

int main(void)
{
    rk_manager_free(open_keep());
    commands_are_told();
    userdata_is_freed_once();
    slow_calls_are_logged();
    return 0;
}
