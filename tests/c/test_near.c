/* The near cache. */
#include <pthread.h>
#include <unistd.h>

#include "keep.h"

static rk_near *open_near(rk_manager *keep, size_t max_bytes)
{
    rk_near *near = NULL;
    OK(rk_near_new(keep, max_bytes, &near, &err));
    return near;
}

/* On a manager of its own, which hears of what is changed from its first read on, and not of what was before: so its
 * hits can be counted. */
static rk_near *open_apart(size_t max_bytes)
{
    rk_manager *keep = NULL;
    rk_near *near;

    OK(rk_manager_open(url_of("RK_TEST_URL"), &keep, &err));
    near = open_near(keep, max_bytes);
    rk_manager_free(keep);
    return near;
}

/* A number of the statistics. */
static long long count(rk_near *near, const char *name)
{
    rk_bytes json = RK_BYTES_INIT;
    char wanted[64];
    const char *at;
    long long number;

    OK(rk_near_stats_json(near, &json, &err));
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    HAS((char *)json.data, wanted);
    at = strstr((char *)json.data, wanted);
    number = atoll(at + strlen(wanted));
    rk_bytes_free(&json);
    return number;
}

static void texts(rk_manager *keep)
{
    rk_near *near = open_near(keep, 1 << 20);
    rk_bytes value = RK_BYTES_INIT;
    char buffer[8];
    size_t len = 99;
    int i;

    OK(rk_set(keep, TEXT("a"), TEXT("value"), &err));
    for (i = 0; i < 10; i++) {
        OK(rk_near_get(near, TEXT("a"), &value, &err));
        BYTES(value, "value");
        OK(rk_near_get_into(near, TEXT("a"), buffer, sizeof buffer, &len, &err));
        CHECK_EQ_INT(len, 5);
        CHECK(!memcmp(buffer, "value", 5));
    }
    CHECK_EQ_INT(count(near, "hits"), 19);
    CHECK_EQ_INT(count(near, "misses"), 1);
    CHECK_EQ_INT(count(near, "entries"), 1);
    CHECK_EQ_INT(count(near, "nodes"), 1);
    CHECK_EQ_INT(count(near, "max_bytes"), 1 << 20);

    STATUS(RK_TRUNCATED, rk_near_get_into(near, TEXT("a"), buffer, 3, &len, &err));
    CHECK_EQ_INT(len, 5);
    STATUS(RK_TRUNCATED, rk_near_get_into(near, TEXT("a"), NULL, 0, &len, &err));

    /* What is written through the same manager is seen at once. */
    for (i = 0; i < 200; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        OK(rk_set(keep, TEXT("a"), TEXT(text), &err));
        OK(rk_near_get(near, TEXT("a"), &value, &err));
        BYTES(value, text);
    }
    STATUS(RK_NIL, rk_near_get(near, TEXT("none"), &value, &err));
    CHECK(value.data == NULL);
    STATUS(RK_NIL, rk_near_get_into(near, TEXT("none"), buffer, sizeof buffer, &len, &err));
    CHECK_EQ_INT(len, 0);
    OK(rk_near_clear(near, &err));
    CHECK_EQ_INT(count(near, "entries"), 0);
    rk_near_free(near);
}

static void others_are_heard(rk_manager *keep)
{
    rk_near *near = open_near(keep, 1 << 20);
    rk_manager *other = NULL;
    rk_bytes value = RK_BYTES_INIT;
    int i, rounds;

    OK(rk_manager_open(url_of("RK_TEST_URL"), &other, &err));
    for (i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        OK(rk_set(other, TEXT("b"), TEXT(text), &err));
        for (rounds = 0; rounds < 10000; rounds++) {
            int same;
            OK(rk_near_get(near, TEXT("b"), &value, &err));
            same = !strcmp((char *)value.data, text);
            rk_bytes_free(&value);
            if (same)
                break;
            usleep(1000);
        }
        CHECK(rounds < 10000);
    }
    CHECK(count(near, "invalidations") > 0);
    rk_near_free(near);
    rk_manager_free(other);
}

static void several(rk_manager *keep)
{
    rk_near *near = open_apart(1 << 20);
    const rk_slice keys[] = {RK_LIT("m1"), RK_LIT("none"), RK_LIT("m2")};
    rk_reply *reply = NULL;
    size_t len = 0;
    int i;

    OK(rk_set(keep, TEXT("m1"), TEXT("1"), &err));
    OK(rk_set(keep, TEXT("m2"), TEXT(""), &err));
    for (i = 0; i < 2; i++) {
        OK(rk_near_mget(near, keys, 3, &reply, &err));
        CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
        CHECK_EQ_INT(rk_reply_len(reply), 3);
        CHECK(!memcmp(rk_reply_bytes(rk_reply_at(reply, 0), &len), "1", 1));
        CHECK_EQ_INT(len, 1);
        CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(reply, 1)), RK_REPLY_NIL);
        CHECK(rk_reply_bytes(rk_reply_at(reply, 2), &len) != NULL);
        CHECK_EQ_INT(len, 0);
        rk_reply_free(reply);
    }
    CHECK_EQ_INT(count(near, "hits"), 3);
    OK(rk_near_mget(near, NULL, 0, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    rk_reply_free(reply);
    rk_near_free(near);
}

static void hashes(rk_manager *keep)
{
    rk_near *near = open_apart(1 << 20);
    const rk_slice pairs[] = {RK_LIT("name"), RK_LIT("Ann"), RK_LIT("city"), RK_LIT("Bonn")};
    rk_bytes value = RK_BYTES_INIT;
    rk_reply *reply = NULL;
    size_t len = 0, seen = 0, i;
    int64_t added = 0;

    OK(rk_hset_many(keep, TEXT("h"), pairs, 2, &added, &err));
    for (i = 0; i < 2; i++) {
        OK(rk_near_hget(near, TEXT("h"), TEXT("name"), &value, &err));
        BYTES(value, "Ann");
        STATUS(RK_NIL, rk_near_hget(near, TEXT("h"), TEXT("none"), &value, &err));
    }
    CHECK_EQ_INT(count(near, "hits"), 2);
    OK(rk_near_hgetall(near, TEXT("h"), &reply, &err));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_MAP);
    CHECK_EQ_INT(rk_reply_len(reply), 2);
    for (i = 0; i < 2; i++) {
        const char *field = rk_reply_bytes(rk_reply_key_at(reply, i), &len);
        const char *text = rk_reply_bytes(rk_reply_at(reply, i), &len);
        seen += !memcmp(field, "name", 4) ? !memcmp(text, "Ann", 3) : 2 * !memcmp(text, "Bonn", 4);
    }
    CHECK_EQ_INT(seen, 3);
    rk_reply_free(reply);
    OK(rk_near_hgetall(near, TEXT("none"), &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    rk_reply_free(reply);
    FAILS(RK_ERR_WRONG_TYPE, rk_near_get(near, TEXT("h"), &value, &err));
    CHECK(value.data == NULL);
    done();
    rk_near_free(near);
}

static void json(rk_manager *keep)
{
    rk_near *near = open_near(keep, 1 << 20);
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_set(keep, TEXT("j"), TEXT(" {\"a\": 1.50}"), &err));
    OK(rk_near_get_json(near, TEXT("j"), &value, &err));
    BYTES(value, " {\"a\": 1.50}");
    OK(rk_set(keep, TEXT("j"), TEXT("{"), &err));
    FAILS(RK_ERR_STORED_JSON, rk_near_get_json(near, TEXT("j"), &value, &err));
    done();
    OK(rk_set(keep, TEXT("j"), "\"\xff\"", 3, &err));
    STATUS(RK_ERR_STORED_JSON, rk_near_get_json(near, TEXT("j"), &value, &err));
    STATUS(RK_NIL, rk_near_get_json(near, TEXT("none"), &value, &err));
    rk_near_free(near);
}

static void options(rk_manager *keep)
{
    rk_near *near = open_apart(1 << 20);
    rk_bytes value = RK_BYTES_INIT;
    int i;

    OK(rk_near_option(near, "prefix", "user:", &err));
    OK(rk_near_option(near, "prefix", "page:", &err));
    OK(rk_near_option(near, "ttl", "500s", &err));
    OK(rk_set(keep, TEXT("user:1"), TEXT("1"), &err));
    OK(rk_set(keep, TEXT("other"), TEXT("1"), &err));
    for (i = 0; i < 2; i++) {
        OK(rk_near_get(near, TEXT("user:1"), &value, &err));
        BYTES(value, "1");
        OK(rk_near_get(near, TEXT("other"), &value, &err));
        BYTES(value, "1");
    }
    CHECK_EQ_INT(count(near, "hits"), 1);
    FAILS(RK_ERR_BAD_VALUE, rk_near_option(near, "ttl", "0", &err));
    HAS(rk_error_message(err), "ttl");
    done();
    FAILS(RK_ERR_UNKNOWN_PROPERTY, rk_near_option(near, "tttl", "1", &err));
    HAS(rk_error_message(err), "prefix");
    done();
    rk_near_free(near);

    near = open_near(keep, 0);
    for (i = 0; i < 2; i++) {
        OK(rk_near_get(near, TEXT("user:1"), &value, &err));
        BYTES(value, "1");
    }
    CHECK_EQ_INT(count(near, "hits"), 0);
    CHECK_EQ_INT(count(near, "misses"), 2);
    rk_near_free(near);
}

static void is_old_after_its_time(rk_manager *keep)
{
    rk_near *near = open_apart(1 << 20);
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_near_option(near, "ttl", "50ms", &err));
    OK(rk_set(keep, TEXT("old"), TEXT("x"), &err));
    OK(rk_near_get(near, TEXT("old"), &value, &err));
    BYTES(value, "x");
    CHECK_EQ_INT(count(near, "misses"), 1);
    usleep(100000);
    OK(rk_near_get(near, TEXT("old"), &value, &err));
    BYTES(value, "x");
    CHECK_EQ_INT(count(near, "misses"), 2);
    CHECK_EQ_INT(count(near, "hits"), 0);
    rk_near_free(near);
}

/* A hundred values of 4 KiB do not fit into 64 KiB: those that go are counted, and what is held stays below. */
static void gives_way(rk_manager *keep)
{
    rk_near *near = open_apart(64 << 10);
    rk_bytes value = RK_BYTES_INIT;
    char key[16], large[4096];
    int i;

    memset(large, 'x', sizeof large);
    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "large:%d", i);
        OK(rk_set(keep, TEXT(key), large, sizeof large, &err));
    }
    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "large:%d", i);
        OK(rk_near_get(near, TEXT(key), &value, &err));
        CHECK_EQ_INT(value.len, sizeof large);
        rk_bytes_free(&value);
        CHECK(count(near, "bytes") <= 64 << 10);
    }
    CHECK(count(near, "entries") <= 16);
    CHECK(count(near, "entries") > 0);
    CHECK_EQ_INT(count(near, "evictions") + count(near, "entries"), 100);
    rk_near_free(near);
}

static void bad_arguments(rk_manager *keep)
{
    rk_near *near = NULL;
    rk_bytes value = RK_BYTES_INIT;
    rk_reply *reply = NULL;
    char buffer[4];
    size_t len = 0;

    STATUS(RK_ERR_ARGUMENT, rk_near_new(NULL, 1, &near, &err));
    CHECK(near == NULL);
    FAILS(RK_ERR_ARGUMENT, rk_near_new(keep, 1, NULL, &err));
    HAS(rk_error_message(err), "out");
    done();
    near = open_near(keep, 1 << 20);
    STATUS(RK_ERR_ARGUMENT, rk_near_get(NULL, TEXT("a"), &value, &err));
    FAILS(RK_ERR_ARGUMENT, rk_near_get(near, NULL, 1, &value, &err));
    HAS(rk_error_message(err), "key");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_near_get(near, TEXT("a"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_get_into(near, TEXT("a"), NULL, 4, &len, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_get_into(near, TEXT("a"), buffer, 4, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_get_json(near, TEXT("a"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_hget(near, TEXT("a"), NULL, 1, &value, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_hgetall(near, TEXT("a"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_mget(near, NULL, 1, &reply, &err));
    CHECK(reply == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_near_option(near, NULL, "1", &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_clear(NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_near_stats_json(near, NULL, &err));
    rk_near_free(near);
    rk_near_free(NULL);
}

static rk_near *shared;

static void *reads(void *number)
{
    char key[16], buffer[16];
    size_t len = 0;
    int i;

    snprintf(key, sizeof key, "t%d", *(int *)number % 3);
    for (i = 0; i < 200; i++) {
        CHECK(rk_near_get_into(shared, TEXT(key), buffer, sizeof buffer, &len, NULL) == RK_OK);
        CHECK(len == 2 && !memcmp(buffer, key, 2));
    }
    return NULL;
}

static void threads(rk_manager *keep)
{
    pthread_t all[8];
    int numbers[8], i;

    shared = open_near(keep, 1 << 20);
    for (i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "t%d", i);
        OK(rk_set(keep, TEXT(key), TEXT(key), &err));
    }
    for (i = 0; i < 8; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&all[i], NULL, reads, &numbers[i]) == 0);
    }
    for (i = 0; i < 8; i++)
        pthread_join(all[i], NULL);
    CHECK_EQ_INT(count(shared, "hits") + count(shared, "misses"), 1600);
    rk_near_free(shared);
}

int main(void)
{
    rk_manager *keep = open_keep();
    rk_bytes value = RK_BYTES_INIT;
    rk_near *near;

    texts(keep);
    others_are_heard(keep);
    several(keep);
    hashes(keep);
    json(keep);
    options(keep);
    is_old_after_its_time(keep);
    gives_way(keep);
    bad_arguments(keep);
    threads(keep);

    /* It keeps its manager alive, and ends with it. */
    near = open_near(keep, 1 << 20);
    OK(rk_near_get(near, TEXT("a"), &value, &err));
    rk_bytes_free(&value);
    OK(rk_manager_close(keep, 5000, &err));
    STATUS(RK_ERR_CLOSED, rk_near_get(near, TEXT("a"), &value, &err));
    rk_manager_free(keep);
    STATUS(RK_ERR_CLOSED, rk_near_get(near, TEXT("a"), &value, &err));
    rk_near_free(near);
    return 0;
}
