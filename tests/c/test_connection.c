/* A connection of one's own: transactions, state, timeouts, life and death. */
#include "keep.h"

static rk_status run(rk_connection *one, int n, const char *const *args, rk_reply **out)
{
    rk_slice slices[8];
    int i;
    for (i = 0; i < n; i++) {
        slices[i].data = args[i];
        slices[i].len = strlen(args[i]);
    }
    return rk_connection_command(one, slices, (size_t)n, out, &err);
}

int main(void)
{
    static const char *const multi[] = {"MULTI"}, *const incr[] = {"INCR", "visits"}, *const exec[] = {"EXEC"};
    static const char *const select[] = {"SELECT", "3"}, *const set[] = {"SET", "where", "three"};
    static const char *const subscribe[] = {"SUBSCRIBE", "news", "weather"}, *const sync[] = {"SYNC"};
    static const char *const off[] = {"CLIENT", "REPLY", "OFF"}, *const on[] = {"CLIENT", "REPLY", "ON"};
    static const char *const publish[] = {"PUBLISH", "weather", "rain"};
    size_t len = 0;
    rk_slice blpop[] = {RK_LIT("BLPOP"), RK_LIT("nothing comes"), RK_LIT("0")};
    rk_manager *keep = open_keep();
    rk_connection *one = NULL, *two = NULL;
    rk_reply *reply = NULL;
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    OK(run(one, 1, multi, NULL));
    OK(run(one, 2, incr, NULL));
    OK(run(one, 1, exec, &reply));
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 0)), 1);
    rk_reply_free(reply);
    STATUS(RK_ERR_STATEFUL, run(one, 1, sync, &reply));
    STATUS(RK_ERR_STATEFUL, rk_connection_receive(one, 0, &reply, &err));
    CHECK(reply == NULL);

    /* Without replies, and with them again. */
    OK(run(one, 3, off, &reply));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_NIL);
    rk_reply_free(reply);
    OK(run(one, 2, incr, NULL));
    OK(run(one, 3, on, &reply));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_STATUS);
    rk_reply_free(reply);

    /* Messages. */
    OK(run(one, 3, subscribe, &reply));
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 2)), 2);
    rk_reply_free(reply);
    STATUS(RK_NIL, rk_connection_receive(one, 0, &reply, &err));
    STATUS(RK_NIL, rk_connection_receive(one, 20, &reply, &err));
    CHECK(reply == NULL);
    OK(run(one, 3, publish, NULL));
    OK(rk_connection_receive(one, 5000, &reply, &err));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
    CHECK(memcmp(rk_reply_bytes(rk_reply_at(reply, 2), &len), "rain", 4) == 0 && len == 4);
    rk_reply_free(reply);
    STATUS(RK_ERR_ARGUMENT, rk_connection_receive(one, -5, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_connection_receive(one, 0, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_connection_receive(NULL, 0, &reply, &err));
    rk_connection_release(one);

    /* What one did to its connection is not met by others. */
    OK(rk_connection_lease(keep, url_of("RK_TEST_URL"), 1000, &one, &err));
    OK(run(one, 2, select, NULL));
    OK(run(one, 3, set, NULL));
    rk_connection_release(one);
    STATUS(RK_NIL, rk_get(keep, TEXT("where"), &value, &err));
    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    OK(run(one, 2, incr, &reply));
    CHECK_EQ_INT(rk_reply_integer(reply), 3);
    rk_reply_free(reply);

    /* After its time is over, the connection is of no use. */
    OK(rk_connection_lease(keep, NULL, -1, &two, &err));
    STATUS(RK_ERR_TIMEOUT, rk_connection_command_within(two, blpop, 3, 60, &reply, &err));
    CHECK(reply == NULL);
    STATUS(RK_ERR_IO, run(two, 2, incr, NULL));
    rk_connection_release(two);

    STATUS(RK_ERR_UNKNOWN_NODE, rk_connection_lease(keep, "redis://127.0.0.1:1", -1, &two, &err));
    STATUS(RK_ERR_URL, rk_connection_lease(keep, "nonsense://x", -1, &two, &err));
    STATUS(RK_ERR_ARGUMENT, rk_connection_lease(keep, NULL, -5, &two, &err));
    CHECK(two == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_connection_lease(keep, NULL, -1, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_connection_lease(NULL, NULL, -1, &two, &err));
    STATUS(RK_ERR_ARGUMENT, run(NULL, 2, incr, &reply));
    STATUS(RK_ERR_ARGUMENT, run(one, 0, incr, &reply));
    STATUS(RK_ERR_ARGUMENT, rk_connection_command_within(one, blpop, 3, -5, &reply, &err));

    /* It keeps its manager alive. */
    rk_manager_free(keep);
    OK(run(one, 2, incr, NULL));
    rk_connection_release(one);
    rk_connection_release(NULL);
    return 0;
}
