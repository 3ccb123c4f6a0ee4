/* Traces: every command, with its node, its outcome and what its time went to, as a tracer would send them on. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

struct span {
    unsigned long number;
};

/* Right before a command is sent, in the thread that called. Several threads may be here at the same time. */
static void *begin(const rk_call *call, void *userdata)
{
    static _Atomic unsigned long next = 1;
    struct span *span = malloc(sizeof *span);

    (void)userdata;
    if (span) {
        span->number = next++;
        /* More than one of a pipeline, which is traced as a whole. */
        printf("span %lu begins: %s, %zu command(s)\n", span->number, rk_call_name(call), rk_call_commands(call));
    }
    return span;
}

/* And right after it, in the same thread, with what begin() returned. */
static void end(const rk_call *call, void *begun, void *userdata)
{
    struct span *span = begun;
    const rk_error *error = rk_call_error(call);

    (void)userdata;
    if (!span)
        return;
    printf("span %lu ends: %s by %s, sent %u time(s), in %lld us (wait %lld, connect %lld, write %lld, server %lld, "
           "read %lld): %s\n",
           span->number, rk_call_name(call), rk_call_node(call) ? "its node" : "nobody", rk_call_tries(call),
           (long long)rk_call_microseconds(call, NULL), (long long)rk_call_microseconds(call, "wait"),
           (long long)rk_call_microseconds(call, "connect"), (long long)rk_call_microseconds(call, "write"),
           (long long)rk_call_microseconds(call, "server"), (long long)rk_call_microseconds(call, "read"),
           error ? rk_status_name(rk_error_status(error)) : "ok");
    free(span);
}

int main(void)
{
    rk_error *err = NULL;
    rk_config *config = rk_config_new();
    rk_manager *keep = NULL;
    int64_t count = 0;
    int failed;

    /* Yours sets "redis://localhost". With "slow_call" set as well, what takes longer is told to the log. */
    failed = rk_config_set(config, "url", "embedded://", &err) < 0
        || rk_config_set_command_hook(config, begin, end, NULL, NULL, &err) < 0
        || rk_manager_open_config(config, &keep, &err) < 0
        || rk_set(keep, TEXT("greeting"), TEXT("hello"), &err) < 0;
    if (failed)
        fprintf(stderr, "%s\n", rk_error_message(err));
    else
        rk_incr(keep, TEXT("greeting"), 1, &count, NULL); /* fails, as its trace says */
    rk_error_free(err);
    rk_manager_free(keep);
    rk_config_free(config);
    return failed;
}
