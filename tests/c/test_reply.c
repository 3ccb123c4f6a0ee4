/* Replies as trees: every type, nesting, and questions that do not fit. */
#include "keep.h"

static rk_reply *ask(rk_manager *keep, int n, const char *const *args)
{
    rk_reply *reply = NULL;
    OK(rk_command_argv(keep, n, args, &reply, &err));
    CHECK(reply != NULL);
    return reply;
}

static void text_is(const rk_reply *reply, const char *wanted)
{
    size_t len = 0;
    const void *text = rk_reply_bytes(reply, &len);
    CHECK(text != NULL);
    CHECK_EQ_INT(len, strlen(wanted));
    CHECK_MEM(text, wanted, len);
    CHECK(rk_reply_bytes(reply, NULL) == text);
}

static void nothing(void)
{
    size_t len = 5;
    CHECK_EQ_INT(rk_reply_type_of(NULL), RK_REPLY_NIL);
    CHECK_EQ_INT(rk_reply_integer(NULL), 0);
    CHECK(rk_reply_double(NULL) == 0);
    CHECK(!rk_reply_bool(NULL));
    CHECK(rk_reply_bytes(NULL, &len) == NULL);
    CHECK_EQ_INT(len, 0);
    CHECK_EQ_INT(rk_reply_len(NULL), 0);
    CHECK(rk_reply_at(NULL, 0) == NULL);
    CHECK(rk_reply_key_at(NULL, 0) == NULL);
    rk_reply_free(NULL);
}

static void scalars(rk_manager *keep)
{
    const char *const ping[] = {"PING"};
    const char *const incr[] = {"DECRBY", "n", "7"};
    const char *const zadd[] = {"ZADD", "z", "2.5", "ann"};
    const char *const zscore[] = {"ZSCORE", "z", "ann"};
    const char *const big[] = {"EVAL", "redis.setresp(3); return {big_number = '12345678901234567890123'}", "0"};
    const char *const yes[] = {"EVAL", "redis.setresp(3); return true", "0"};
    const char *const verbatim[] = {"DEBUG", "PROTOCOL", "verbatim"};
    rk_reply *reply = ask(keep, 1, ping);
    size_t len = 5;

    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_STATUS);
    text_is(reply, "PONG");
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    CHECK(rk_reply_at(reply, 0) == NULL);
    CHECK_EQ_INT(rk_reply_integer(reply), 0);
    rk_reply_free(reply);

    reply = ask(keep, 3, incr);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_INTEGER);
    CHECK_EQ_INT(rk_reply_integer(reply), -7);
    CHECK(rk_reply_double(reply) == -7.0);
    CHECK(rk_reply_bool(reply));
    CHECK(rk_reply_bytes(reply, &len) == NULL);
    CHECK_EQ_INT(len, 0);
    rk_reply_free(reply);

    rk_reply_free(ask(keep, 4, zadd));
    reply = ask(keep, 3, zscore);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_DOUBLE);
    CHECK(rk_reply_double(reply) == 2.5);
    CHECK_EQ_INT(rk_reply_integer(reply), 0);
    rk_reply_free(reply);

    reply = ask(keep, 3, yes);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_BOOL);
    CHECK(rk_reply_bool(reply));
    CHECK_EQ_INT(rk_reply_integer(reply), 1);
    rk_reply_free(reply);

    reply = ask(keep, 3, big);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_BIG_NUMBER);
    text_is(reply, "12345678901234567890123");
    rk_reply_free(reply);

    reply = NULL;
    if (rk_command_argv(keep, 3, verbatim, &reply, NULL) == RK_OK) { /* servers may forbid DEBUG */
        CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_VERBATIM);
        text_is(reply, "This is a verbatim\nstring");
        rk_reply_free(reply);
    }
}

static void trees(rk_manager *keep)
{
    const char *const nested[] = {"EVAL", "return {1, {'two', {3, {}}}, 'four', {err = 'OOPS no'}}", "0"};
    const char *const hset[] = {"HSET", "h", "a", "1", "b", "2"};
    const char *const hgetall[] = {"HGETALL", "h"};
    const char *const sadd[] = {"SADD", "s", "x"};
    const char *const smembers[] = {"SMEMBERS", "s"};
    const char *const config[] = {"CONFIG", "GET", "maxmemory"};
    rk_reply *reply = ask(keep, 3, nested);
    const rk_reply *inner;

    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
    CHECK_EQ_INT(rk_reply_len(reply), 4);
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 0)), 1);
    inner = rk_reply_at(reply, 1);
    CHECK_EQ_INT(rk_reply_len(inner), 2);
    text_is(rk_reply_at(inner, 0), "two");
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(rk_reply_at(inner, 1), 0)), 3);
    CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(rk_reply_at(inner, 1), 1)), RK_REPLY_ARRAY);
    CHECK_EQ_INT(rk_reply_len(rk_reply_at(rk_reply_at(inner, 1), 1)), 0);
    text_is(rk_reply_at(reply, 2), "four");
    CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(reply, 3)), RK_REPLY_ERROR);
    text_is(rk_reply_at(reply, 3), "OOPS no");
    CHECK(rk_reply_at(reply, 4) == NULL);
    CHECK(rk_reply_key_at(reply, 0) == NULL);
    rk_reply_free((rk_reply *)(size_t)inner); /* only the root can be freed */
    CHECK_EQ_INT(rk_reply_len(inner), 2);
    rk_reply_free(reply);

    rk_reply_free(ask(keep, 6, hset));
    reply = ask(keep, 2, hgetall);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_MAP);
    CHECK_EQ_INT(rk_reply_len(reply), 2);
    text_is(rk_reply_key_at(reply, 1), "b");
    text_is(rk_reply_at(reply, 1), "2");
    CHECK(rk_reply_at(reply, 2) == NULL && rk_reply_key_at(reply, 2) == NULL);
    rk_reply_free(reply);

    rk_reply_free(ask(keep, 3, sadd));
    reply = ask(keep, 2, smembers);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_SET);
    text_is(rk_reply_at(reply, 0), "x");
    rk_reply_free(reply);

    reply = ask(keep, 3, config);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_MAP);
    text_is(rk_reply_key_at(reply, 0), "maxmemory");
    text_is(rk_reply_at(reply, 0), "0");
    rk_reply_free(reply);
}

/* Larger than what a thread keeps, so that the tree takes the buffers along. */
static void large(rk_manager *keep)
{
    const char *const many[] = {"EVAL", "local t = {} for i = 1, 5000 do t[i] = {i, 'v' .. i} end return t", "0"};
    rk_reply *reply = ask(keep, 3, many);
    char text[16];
    size_t i;

    CHECK_EQ_INT(rk_reply_len(reply), 5000);
    for (i = 0; i < 5000; i++) {
        const rk_reply *pair = rk_reply_at(reply, i);
        CHECK_EQ_INT(rk_reply_integer(rk_reply_at(pair, 0)), i + 1);
        snprintf(text, sizeof text, "v%zu", i + 1);
        text_is(rk_reply_at(pair, 1), text);
    }
    rk_reply_free(reply);
    OK(rk_ping(keep, &err));
}

int main(void)
{
    rk_manager *keep = open_keep();
    nothing();
    scalars(keep);
    trees(keep);
    large(keep);
    rk_manager_free(keep);
    return 0;
}
