/* Every command on the manager: what it does, what it answers, and what it does with arguments that are wrong. */
#include <limits.h>

#include "keep.h"

static const char *const TYPE[] = {"LPUSH", "list", "x"};

static void get_and_set(rk_manager *keep)
{
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_set(keep, TEXT("name"), TEXT("Ann"), &err));
    OK(rk_get(keep, TEXT("name"), &value, &err));
    BYTES(value, "Ann");

    value.data = (uint8_t *)"rubbish";
    STATUS(RK_NIL, rk_get(keep, TEXT("no such key"), &value, &err));
    CHECK(value.data == NULL && value.len == 0);

    /* Zeros, line ends and bytes that are no text, in keys and values; an empty key. */
    OK(rk_set(keep, "k\0\r\n\xff", 5, "v\0\r\n\xfe", 5, &err));
    OK(rk_get(keep, "k\0\r\n\xff", 5, &value, &err));
    CHECK_EQ_INT(value.len, 5);
    CHECK_MEM(value.data, "v\0\r\n\xfe", 6);
    rk_bytes_free(&value);
    STATUS(RK_NIL, rk_get(keep, "k", 1, &value, &err));
    OK(rk_set(keep, NULL, 0, TEXT("of the empty key"), &err));
    OK(rk_get(keep, "", 0, &value, &err));
    BYTES(value, "of the empty key");
    OK(rk_set(keep, TEXT("empty"), "", 0, &err));
    OK(rk_get(keep, TEXT("empty"), &value, &err));
    BYTES(value, "");
}

static void get_into(rk_manager *keep)
{
    char buf[8];
    size_t len = 99;

    memset(buf, '#', sizeof buf);
    OK(rk_set(keep, TEXT("five"), TEXT("12345"), &err));
    OK(rk_get_into(keep, TEXT("five"), buf, sizeof buf, &len, &err));
    CHECK_EQ_INT(len, 5);
    CHECK_MEM(buf, "12345###", 8);
    OK(rk_get_into(keep, TEXT("five"), buf, 5, &len, &err));

    memset(buf, '#', sizeof buf);
    STATUS(RK_TRUNCATED, rk_get_into(keep, TEXT("five"), buf, 3, &len, &err));
    CHECK_EQ_INT(len, 5);
    CHECK_MEM(buf, "123#####", 8);
    STATUS(RK_TRUNCATED, rk_get_into(keep, TEXT("five"), NULL, 0, &len, &err));
    CHECK_EQ_INT(len, 5);

    STATUS(RK_NIL, rk_get_into(keep, TEXT("no such key"), buf, sizeof buf, &len, &err));
    CHECK_EQ_INT(len, 0);
    OK(rk_set(keep, TEXT("empty"), NULL, 0, &err));
    OK(rk_get_into(keep, TEXT("empty"), NULL, 0, &len, &err));
    CHECK_EQ_INT(len, 0);

    len = 99;
    FAILS(RK_ERR_ARGUMENT, rk_get_into(keep, TEXT("five"), NULL, 3, &len, &err));
    CHECK_STR(rk_error_message(err), "buf: NULL with a length of 3");
    CHECK_EQ_INT(len, 0);
    done();
    STATUS(RK_ERR_ARGUMENT, rk_get_into(keep, TEXT("five"), buf, sizeof buf, NULL, &err));
    STATUS(RK_ERR_WRONG_TYPE, rk_get_into(keep, TEXT("list"), buf, sizeof buf, &len, &err));
}

static void options(rk_manager *keep)
{
    rk_set_options *o = rk_set_options_new();
    rk_bytes value = RK_BYTES_INIT;
    bool was_set = false;
    int64_t seconds = 0;

    CHECK(o != NULL);
    CHECK_EQ_INT(rk_set_options_nx(o), RK_OK);
    CHECK_EQ_INT(rk_set_options_ex(o, 100), RK_OK);
    OK(rk_set_with(keep, TEXT("token"), TEXT("one"), o, &was_set, &err));
    CHECK(was_set);
    OK(rk_set_with(keep, TEXT("token"), TEXT("two"), o, &was_set, &err));
    CHECK(!was_set);
    OK(rk_ttl(keep, TEXT("token"), &seconds, &err));
    CHECK(seconds > 90 && seconds <= 100);

    CHECK_EQ_INT(rk_set_options_xx(o), RK_ERR_CONFLICT);
    FAILS(RK_ERR_CONFLICT, rk_set_with(keep, TEXT("token"), TEXT("three"), o, &was_set, &err));
    HAS(rk_error_message(err), "nx and xx exclude each other");
    done();
    rk_set_options_free(o);

    o = rk_set_options_new();
    CHECK_EQ_INT(rk_set_options_keep_ttl(o), RK_OK);
    CHECK_EQ_INT(rk_set_options_xx(o), RK_OK);
    OK(rk_set_with(keep, TEXT("token"), TEXT("four"), o, &was_set, &err));
    CHECK(was_set);
    OK(rk_ttl(keep, TEXT("token"), &seconds, &err));
    CHECK(seconds > 0);
    OK(rk_set_with(keep, TEXT("nothing there"), TEXT("x"), o, NULL, &err));
    STATUS(RK_NIL, rk_get(keep, TEXT("nothing there"), &value, &err));
    CHECK_EQ_INT(rk_set_options_px(o, 5), RK_ERR_CONFLICT);
    rk_set_options_free(o);

    /* A time that is refused must not become a value that stays for ever. */
    o = rk_set_options_new();
    CHECK_EQ_INT(rk_set_options_ex(o, 0), RK_ERR_ARGUMENT);
    STATUS(RK_ERR_ARGUMENT, rk_set_with(keep, TEXT("for ever"), TEXT("x"), o, &was_set, &err));
    STATUS(RK_NIL, rk_get(keep, TEXT("for ever"), &value, &err));
    CHECK_EQ_INT(rk_set_options_ex(o, 50), RK_OK);
    OK(rk_set_with(keep, TEXT("for long"), TEXT("x"), o, &was_set, &err));
    rk_set_options_free(o);

    OK(rk_set_with(keep, TEXT("plain"), TEXT("x"), NULL, &was_set, &err));
    CHECK(was_set);
    CHECK_EQ_INT(rk_set_options_nx(NULL), RK_ERR_ARGUMENT);
    rk_set_options_free(NULL);
}

static void keys(rk_manager *keep)
{
    rk_slice two[] = {RK_LIT("plain"), RK_LIT("no such key")};
    bool yes = false;
    int64_t n = 77;

    OK(rk_set(keep, TEXT("plain"), TEXT("x"), &err));
    OK(rk_exists(keep, TEXT("plain"), &yes, &err));
    CHECK(yes);
    OK(rk_ttl(keep, TEXT("plain"), &n, &err));
    CHECK_EQ_INT(n, -1);
    OK(rk_expire(keep, TEXT("plain"), 100, &yes, &err));
    CHECK(yes);
    OK(rk_ttl(keep, TEXT("plain"), &n, &err));
    CHECK(n > 90 && n <= 100);
    OK(rk_delete(keep, two, 2, &n, &err));
    CHECK_EQ_INT(n, 1);
    OK(rk_exists(keep, TEXT("plain"), &yes, &err));
    CHECK(!yes);
    OK(rk_expire(keep, TEXT("plain"), 100, &yes, &err));
    CHECK(!yes);
    OK(rk_ttl(keep, TEXT("plain"), &n, &err));
    CHECK_EQ_INT(n, -2);
    OK(rk_delete(keep, NULL, 0, &n, &err));
    CHECK_EQ_INT(n, 0);
    OK(rk_delete(keep, two, 2, NULL, &err));

    OK(rk_set(keep, TEXT("brief"), TEXT("x"), &err));
    OK(rk_expire(keep, TEXT("brief"), 0, NULL, &err));
    OK(rk_exists(keep, TEXT("brief"), &yes, &err));
    CHECK(!yes);
}

static void counters(rk_manager *keep)
{
    int64_t n = 5;

    OK(rk_incr(keep, TEXT("n"), 1, &n, &err));
    CHECK_EQ_INT(n, 1);
    OK(rk_incr(keep, TEXT("n"), -11, &n, &err));
    CHECK_EQ_INT(n, -10);
    OK(rk_incr(keep, TEXT("n"), 10, NULL, &err));
    OK(rk_incr(keep, TEXT("n"), INT64_MAX, &n, &err));
    CHECK(n == INT64_MAX);
    FAILS(RK_ERR_NOT_A_NUMBER, rk_incr(keep, TEXT("n"), 1, &n, &err));
    HAS(rk_error_message(err), "overflow");
    CHECK_EQ_INT(rk_error_outcome(err), RK_REFUSED);
    CHECK_EQ_INT(n, 0);
    done();
    OK(rk_set(keep, TEXT("word"), TEXT("ten"), &err));
    STATUS(RK_ERR_NOT_A_NUMBER, rk_incr(keep, TEXT("word"), 1, &n, &err));
}

static void hashes(rk_manager *keep)
{
    rk_slice pairs[] = {RK_LIT("city"), RK_LIT("Bonn"), RK_LIT("zip\0"), RK_LIT("")};
    rk_bytes value = RK_BYTES_INIT;
    int64_t added = 9;

    OK(rk_hset(keep, TEXT("user"), TEXT("name"), TEXT("Ann"), &added, &err));
    CHECK_EQ_INT(added, 1);
    OK(rk_hset(keep, TEXT("user"), TEXT("name"), TEXT("Anna"), &added, &err));
    CHECK_EQ_INT(added, 0);
    OK(rk_hset_many(keep, TEXT("user"), pairs, 2, &added, &err));
    CHECK_EQ_INT(added, 2);
    OK(rk_hset_many(keep, TEXT("user"), NULL, 0, &added, &err));
    CHECK_EQ_INT(added, 0);
    OK(rk_hset_with(keep, TEXT("user2"), TEXT("name"), TEXT("Bob"), pairs, 2, &added, &err));
    CHECK_EQ_INT(added, 3);
    OK(rk_hset_with(keep, TEXT("user2"), TEXT("age"), TEXT("50"), NULL, 0, NULL, &err));

    OK(rk_hget(keep, TEXT("user"), TEXT("name"), &value, &err));
    BYTES(value, "Anna");
    OK(rk_hget(keep, TEXT("user2"), "zip\0", 4, &value, &err));
    BYTES(value, "");
    STATUS(RK_NIL, rk_hget(keep, TEXT("user"), TEXT("zip"), &value, &err));
    STATUS(RK_NIL, rk_hget(keep, TEXT("nobody"), TEXT("zip"), &value, &err));
    STATUS(RK_ERR_WRONG_TYPE, rk_hset(keep, TEXT("list"), TEXT("f"), TEXT("v"), &added, &err));
    STATUS(RK_ERR_WRONG_TYPE, rk_hget(keep, TEXT("list"), TEXT("f"), &value, &err));
}

static void many(rk_manager *keep)
{
    rk_slice pairs[] = {RK_LIT("m1"), RK_LIT("one"), RK_LIT("m2"), RK_LIT("")};
    rk_slice wanted[] = {RK_LIT("m1"), RK_LIT("no such key"), RK_LIT("m2")};
    rk_reply *reply = NULL;
    size_t len = 9;

    OK(rk_mset(keep, pairs, 2, &err));
    OK(rk_mset(keep, NULL, 0, &err));
    OK(rk_mget(keep, wanted, 3, &reply, &err));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
    CHECK_EQ_INT(rk_reply_len(reply), 3);
    CHECK_MEM(rk_reply_bytes(rk_reply_at(reply, 0), &len), "one", 3);
    CHECK_EQ_INT(len, 3);
    CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(reply, 1)), RK_REPLY_NIL);
    CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(reply, 2)), RK_REPLY_BYTES);
    CHECK(rk_reply_bytes(rk_reply_at(reply, 2), &len) != NULL);
    CHECK_EQ_INT(len, 0);
    rk_reply_free(reply);
    OK(rk_mget(keep, NULL, 0, &reply, &err));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    CHECK(rk_reply_at(reply, 0) == NULL);
    rk_reply_free(reply);
}

static void any_command(rk_manager *keep)
{
    rk_slice echo[] = {RK_LIT("ECHO"), RK_LIT("a\0b")};
    rk_slice multi[] = {RK_LIT("multi")};
    rk_slice blpop[] = {RK_LIT("BLPOP"), RK_LIT("nothing comes"), RK_LIT("0")};
    const char *const get[] = {"GET", "no such key"};
    const char *const hole[] = {"GET", NULL};
    rk_reply *reply = NULL;
    size_t len = 0;

    OK(rk_command(keep, echo, 2, &reply, &err));
    CHECK_MEM(rk_reply_bytes(reply, &len), "a\0b", 3);
    CHECK_EQ_INT(len, 3);
    rk_reply_free(reply);
    OK(rk_command(keep, echo, 2, NULL, &err));
    OK(rk_command_within(keep, echo, 2, 2000, &reply, &err));
    rk_reply_free(reply);
    OK(rk_command_within(keep, echo, 2, -1, &reply, &err));
    rk_reply_free(reply);

    OK(rk_command_argv(keep, 2, get, &reply, &err));
    CHECK(reply != NULL);
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_NIL);
    rk_reply_free(reply);

    FAILS(RK_ERR_STATEFUL, rk_command(keep, multi, 1, &reply, &err));
    HAS(rk_error_message(err), "MULTI");
    HAS(rk_error_message(err), "rk_connection_lease()");
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    CHECK(reply == NULL);
    done();
    STATUS(RK_ERR_TIMEOUT, rk_command_within(keep, blpop, 3, 60, &reply, &err));

    STATUS(RK_ERR_ARGUMENT, rk_command(keep, NULL, 0, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_command(keep, NULL, 2, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_command(keep, echo, (size_t)-1, &reply, &err));
    FAILS(RK_ERR_ARGUMENT, rk_command_within(keep, echo, 2, -2, &reply, &err));
    HAS(rk_error_message(err), "timeout_ms: -2 is not allowed");
    done();
    FAILS(RK_ERR_ARGUMENT, rk_command_argv(keep, 2, hole, &reply, &err));
    CHECK_STR(rk_error_message(err), "args[1]: NULL");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_command_argv(keep, -1, get, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_command_argv(keep, 0, get, &reply, &err));
}

/* Each with an argument that is wrong: the status says so, and the outputs are neutral. */
static void wrong(rk_manager *keep)
{
    const size_t too_long = (size_t)SSIZE_MAX + 1;
    rk_slice bad[] = {RK_LIT("good"), {NULL, 4}};
    rk_bytes value = {(uint8_t *)"rubbish", 7};
    rk_reply *reply = (rk_reply *)(void *)&value;
    bool yes = true;
    int64_t n = 99;

    FAILS(RK_ERR_ARGUMENT, rk_get(keep, NULL, 5, &value, &err));
    CHECK_STR(rk_error_message(err), "key: NULL with a length of 5");
    CHECK(value.data == NULL && value.len == 0);
    done();
    FAILS(RK_ERR_ARGUMENT, rk_get(keep, "key", too_long, &value, &err));
    HAS(rk_error_message(err), "key: a length of 9223372036854775808");
    done();
    FAILS(RK_ERR_ARGUMENT, rk_get(keep, TEXT("key"), NULL, &err));
    CHECK_STR(rk_error_message(err), "out: NULL");
    done();
    FAILS(RK_ERR_ARGUMENT, rk_set(keep, TEXT("key"), NULL, 3, &err));
    CHECK_STR(rk_error_message(err), "value: NULL with a length of 3");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_set(keep, TEXT("key"), "value", too_long, &err));
    STATUS(RK_ERR_ARGUMENT, rk_set_with(keep, TEXT("key"), NULL, 3, NULL, &yes, &err));
    CHECK(!yes);

    FAILS(RK_ERR_ARGUMENT, rk_delete(keep, bad, 2, &n, &err));
    CHECK_STR(rk_error_message(err), "keys[1]: NULL with a length of 4");
    CHECK_EQ_INT(n, 0);
    done();
    FAILS(RK_ERR_ARGUMENT, rk_delete(keep, NULL, 2, &n, &err));
    CHECK_STR(rk_error_message(err), "keys: NULL with 2 elements");
    done();

    yes = true;
    STATUS(RK_ERR_ARGUMENT, rk_exists(keep, NULL, 1, &yes, &err));
    CHECK(!yes);
    STATUS(RK_ERR_ARGUMENT, rk_exists(keep, TEXT("key"), NULL, &err));
    yes = true;
    STATUS(RK_ERR_ARGUMENT, rk_expire(keep, NULL, 1, 5, &yes, &err));
    CHECK(!yes);
    STATUS(RK_ERR_ARGUMENT, rk_ttl(keep, NULL, 1, &n, &err));
    CHECK_EQ_INT(n, -2);
    STATUS(RK_ERR_ARGUMENT, rk_ttl(keep, TEXT("key"), NULL, &err));
    n = 99;
    STATUS(RK_ERR_ARGUMENT, rk_incr(keep, NULL, 1, 1, &n, &err));
    CHECK_EQ_INT(n, 0);
    STATUS(RK_ERR_ARGUMENT, rk_hset(keep, TEXT("h"), NULL, 1, TEXT("v"), &n, &err));
    STATUS(RK_ERR_ARGUMENT, rk_hset_many(keep, TEXT("h"), bad, 1, &n, &err));
    STATUS(RK_ERR_ARGUMENT, rk_hset_many(keep, TEXT("h"), bad, (size_t)-1, &n, &err));
    STATUS(RK_ERR_ARGUMENT, rk_hset_with(keep, TEXT("h"), TEXT("f"), TEXT("v"), bad, 1, &n, &err));
    STATUS(RK_ERR_ARGUMENT, rk_hget(keep, TEXT("h"), NULL, 1, &value, &err));
    STATUS(RK_ERR_ARGUMENT, rk_hget(keep, TEXT("h"), TEXT("f"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_mget(keep, bad, 2, &reply, &err));
    CHECK(reply == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_mget(keep, bad, 1, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_mset(keep, bad, 1, &err));

    /* No manager. */
    n = 99;
    STATUS(RK_ERR_ARGUMENT, rk_get(NULL, TEXT("key"), &value, &err));
    STATUS(RK_ERR_ARGUMENT, rk_set(NULL, TEXT("key"), TEXT("value"), &err));
    STATUS(RK_ERR_ARGUMENT, rk_ttl(NULL, TEXT("key"), &n, &err));
    CHECK_EQ_INT(n, -2);
    STATUS(RK_ERR_ARGUMENT, rk_command(NULL, bad, 1, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_mset(NULL, NULL, 0, &err));
}

int main(void)
{
    rk_manager *keep = open_keep();
    OK(rk_command_argv(keep, 3, TYPE, NULL, &err));
    get_and_set(keep);
    get_into(keep);
    options(keep);
    keys(keep);
    counters(keep);
    hashes(keep);
    many(keep);
    any_command(keep);
    wrong(keep);
    rk_manager_free(keep);
    return 0;
}
