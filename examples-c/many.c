/* Many commands at once: a pipeline, a transaction, and a connection of one's own. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* One write, one batch of replies, one deadline. */
static void pipeline(rk_manager *keep)
{
    const char *twice = "return 2 * redis.call('GET', KEYS[1])";
    rk_slice set[] = {RK_LIT("SET"), RK_LIT("n"), RK_LIT("21")}, key = RK_LIT("n");
    rk_error *err = NULL;
    rk_pipeline *pipe = NULL;
    rk_reply *replies = NULL;
    size_t i, n;

    need(rk_pipeline_new(keep, &pipe, &err), err);
    need(rk_pipeline_append(pipe, set, 3, &err), err);
    need(rk_pipeline_append_eval(pipe, twice, &key, 1, NULL, 0, &err), err);
    need(rk_pipeline_set_atomic(pipe, true, &err), err);  /* MULTI and EXEC around it */
    need(rk_pipeline_set_timeout(pipe, 500, &err), err);  /* all of it, in milliseconds */
    n = rk_pipeline_len(pipe);
    if (rk_pipeline_execute(pipe, &replies, &err) < 0)
        /* Some may have been executed: this says which. */
        for (i = 0; i < n; i++)
            printf("command %zu: %s\n", i, rk_pipeline_outcome(pipe, i) == RK_NOT_SENT ? "not sent" : "perhaps");
    need(rk_error_status(err), err);
    printf("%zu commands; twice 21 is %" PRId64 "\n", n, rk_reply_integer(rk_reply_at(replies, 1)));
    rk_reply_free(replies);
    rk_pipeline_free(pipe);
}

/* Runs again from the start whenever somebody else changed the watched key meanwhile. */
static int32_t take_half(rk_transaction *transaction, void *userdata, rk_error **err)
{
    rk_slice get[] = {RK_LIT("GET"), RK_LIT("balance")}, take[] = {RK_LIT("DECRBY"), RK_LIT("balance"), RK_LIT("")};
    rk_reply *balance = NULL;
    rk_status status = rk_transaction_read(transaction, get, 2, &balance, err);
    char half[24];
    size_t len = 0;
    const char *text;

    (void)userdata;
    if (status < 0)
        return status;
    text = rk_reply_bytes(balance, &len);
    snprintf(half, sizeof half, "%.*s", (int)len, text ? text : ""); /* the bytes of a reply have no zero behind them */
    rk_reply_free(balance);
    snprintf(half, sizeof half, "%d", atoi(half) / 2);
    take[2].data = half;
    take[2].len = strlen(half);
    return rk_transaction_append(transaction, take, 3, err);
}

static void transaction(rk_manager *keep)
{
    rk_slice watched = RK_LIT("balance");
    rk_error *err = NULL;
    rk_reply *replies = NULL;

    need(rk_set(keep, TEXT("balance"), TEXT("100"), &err), err);
    need(rk_transaction_run(keep, &watched, 1, take_half, NULL, &replies, &err), err);
    printf("half is left: %" PRId64 "\n", rk_reply_integer(rk_reply_at(replies, 0)));
    rk_reply_free(replies);
}

/* What changes the state of its connection needs one of its own. */
static void own_connection(rk_manager *keep)
{
    rk_slice select[] = {RK_LIT("SELECT"), RK_LIT("1")}, incr[] = {RK_LIT("INCR"), RK_LIT("visits")};
    rk_slice wait[] = {RK_LIT("BLPOP"), RK_LIT("queue"), RK_LIT("0.05")}, news[] = {RK_LIT("SUBSCRIBE"), RK_LIT("news")};
    rk_error *err = NULL;
    rk_connection *one = NULL;
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;

    need(rk_connection_lease(keep, NULL, -1, &one, &err), err);
    need(rk_connection_command(one, select, 2, NULL, &err), err);
    need(rk_connection_command_within(one, wait, 3, 2000, NULL, &err), err);
    need(rk_connection_pipeline_new(one, &pipe, &err), err);
    need(rk_pipeline_append(pipe, incr, 2, &err), err);
    need(rk_pipeline_append(pipe, incr, 2, &err), err);
    need(rk_pipeline_execute(pipe, &reply, &err), err);
    printf("%" PRId64 " visits in database 1\n", rk_reply_integer(rk_reply_at(reply, 1)));
    rk_reply_free(reply);
    rk_pipeline_free(pipe);

    need(rk_connection_command(one, news, 2, NULL, &err), err);
    need(rk_publish(keep, "news", TEXT("rain"), NULL, &err), err);
    need(rk_connection_receive(one, 5000, &reply, &err), err);
    printf("a %.*s came\n", 7, (const char *)rk_reply_bytes(rk_reply_at(reply, 0), NULL));
    rk_reply_free(reply);
    rk_connection_release(one); /* its state was changed, so it is closed, and not met by others */
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    pipeline(keep);
    transaction(keep);
    own_connection(keep);
    rk_manager_free(keep);
    return 0;
}
