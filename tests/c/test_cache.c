/* The cache. */
#include <pthread.h>
#include <unistd.h>

#include "keep.h"

/* What a function is to do, and how often it ran. */
typedef struct work {
    const char *says;
    rk_status status;
    const char *error;
    rk_cache *asks;
    int runs;
} work;

static rk_status compute(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **failed)
{
    work *it = userdata;

    it->runs++;
    CHECK(args_json != NULL && json_out != NULL && failed != NULL);
    if (it->asks)
        return rk_cache_get_or_compute(it->asks, args_json, compute, userdata, json_out, failed);
    if (it->error)
        rk_error_set(failed, it->status, it->error);
    if (it->says)
        CHECK(rk_bytes_copy(json_out, it->says, strlen(it->says), NULL) == RK_OK);
    return it->status;
}

static rk_cache *open_cache(rk_manager *keep, const char *ns)
{
    rk_cache *cache = NULL;
    OK(rk_cache_new(keep, ns, &cache, &err));
    return cache;
}

static void a_value(rk_manager *keep)
{
    rk_cache *cache = open_cache(keep, "rows");
    work it = {.says = " {\"rows\": [1, 2.50]} "};
    rk_bytes json = RK_BYTES_INIT;
    int i;

    for (i = 0; i < 3; i++) {
        OK(rk_cache_get_or_compute(cache, i % 2 ? "{\"a\":1,\"b\":2}" : "{\"b\": 2, \"a\": 1}", compute, &it, &json, &err));
        BYTES(json, " {\"rows\": [1, 2.50]} ");
        CHECK_EQ_INT(it.runs, 1);
    }
    OK(rk_cache_invalidate(cache, "{\"a\":1,\"b\":2}", &err));
    OK(rk_cache_get_or_compute(cache, "{\"a\":1,\"b\":2}", compute, &it, &json, &err));
    CHECK_EQ_INT(it.runs, 2);
    rk_bytes_free(&json);
    OK(rk_cache_invalidate(cache, NULL, &err));
    OK(rk_cache_get_or_compute(cache, "{\"a\":1,\"b\":2}", compute, &it, &json, &err));
    CHECK_EQ_INT(it.runs, 3);
    rk_bytes_free(&json);
    rk_cache_free(cache);
}

static void none(rk_manager *keep)
{
    rk_cache *cache = open_cache(keep, "none");
    work it = {.status = RK_NIL}, empty = {.says = "null"};
    rk_bytes json = RK_BYTES_INIT;

    STATUS(RK_NIL, rk_cache_get_or_compute(cache, "1", compute, &it, &json, &err));
    STATUS(RK_NIL, rk_cache_get_or_compute(cache, "1", compute, &it, &json, &err));
    CHECK_EQ_INT(it.runs, 2);
    OK(rk_cache_option(cache, "negative", "5", &err));
    STATUS(RK_NIL, rk_cache_get_or_compute(cache, "1", compute, &it, &json, &err));
    STATUS(RK_NIL, rk_cache_get_or_compute(cache, "1", compute, &it, &json, &err));
    CHECK_EQ_INT(it.runs, 3);
    STATUS(RK_NIL, rk_cache_get_or_compute(cache, "2", compute, &empty, &json, &err));
    CHECK(json.data == NULL);
    rk_cache_free(cache);
}

static void options(rk_manager *keep)
{
    rk_cache *cache = open_cache(keep, "options");
    work it = {.says = "1"};
    rk_bytes json = RK_BYTES_INIT;
    const char *const good[][2] = {{"expire", "500ms"}, {"jitter", "0.1"},         {"early", "1"},
                                   {"stale", "off"},    {"wait", "10"},            {"across_processes", "no"},
                                   {"negative", "off"}, {"skip_keys", "db, user"}, {"only_for", "[]"}};
    const char *const bad[][2] = {{"expire", "0"},
                                  {"expire", "soon"},
                                  {"jitter", "2"},
                                  {"early", "-1"},
                                  {"across_processes", "perhaps"},
                                  {"only_for", "{}"},
                                  {"only_for", "["},
                                  {"only_for", "[{\"kwarg\": \"a\", \"operator\": \"=~\", \"value\": 1}]"},
                                  {"only_for", "[{\"kwarg\": \"a\", \"operator\": \"==\"}]"}};
    size_t i;

    for (i = 0; i < sizeof good / sizeof *good; i++)
        OK(rk_cache_option(cache, good[i][0], good[i][1], &err));
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(RK_ERR_BAD_VALUE, rk_cache_option(cache, bad[i][0], bad[i][1], &err));
        HAS(rk_error_message(err), bad[i][0]);
        done();
    }
    STATUS(RK_ERR_ARGUMENT,
           rk_cache_option(cache, "only_for", "[{\"kwarg\": \"a\", \"operator\": \"in\", \"value\": 1}]", &err));
    FAILS(RK_ERR_UNKNOWN_PROPERTY, rk_cache_option(cache, "colour", "red", &err));
    HAS(rk_error_message(err), "only_for");
    done();

    OK(rk_cache_option(cache, "only_for", "[{\"kwarg\": \"state\", \"operator\": \"in\", \"value\": [\"used\"]}]", &err));
    for (i = 1; i <= 2; i++) {
        OK(rk_cache_get_or_compute(cache, "{\"state\": \"new\"}", compute, &it, &json, &err));
        CHECK_EQ_INT(it.runs, i);
        rk_bytes_free(&json);
    }
    for (i = 1; i <= 2; i++) {
        OK(rk_cache_get_or_compute(cache, i == 1 ? "{\"state\": \"used\", \"db\": 1}" : "{\"state\": \"used\"}", compute,
                                   &it, &json, &err));
        CHECK_EQ_INT(it.runs, 3);
        rk_bytes_free(&json);
    }
    rk_cache_free(cache);
}

static void failures(rk_manager *keep)
{
    static const char *const not_json[] = {"", "{", "'a'", "1 2", "\xff", "\"\xff\""};
    rk_cache *cache = open_cache(keep, "failures");
    work fails = {.status = RK_ERR_CONNECT, .error = "the database is down", .says = "1"};
    work plain = {.status = RK_ERR_SYSTEM}, odd = {.status = 77}, silent = {.status = RK_OK}, loop = {.asks = cache};
    rk_bytes json = RK_BYTES_INIT;
    size_t i;

    FAILS(RK_ERR_CONNECT, rk_cache_get_or_compute(cache, "1", compute, &fails, &json, &err));
    HAS(rk_error_message(err), "the database is down");
    done();
    FAILS(RK_ERR_COMPUTE, rk_cache_get_or_compute(cache, "1", compute, &plain, &json, &err));
    HAS(rk_error_message(err), "-401");
    done();
    STATUS(RK_ERR_COMPUTE, rk_cache_get_or_compute(cache, "1", compute, &odd, &json, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_get_or_compute(cache, "1", compute, &silent, &json, &err));
    for (i = 0; i < sizeof not_json / sizeof *not_json; i++) {
        work wrong = {.says = not_json[i]};
        FAILS(RK_ERR_JSON, rk_cache_get_or_compute(cache, "1", compute, &wrong, &json, &err));
        HAS(rk_error_message(err), "compute: what it returned is not JSON");
        done();
    }
    STATUS(RK_ERR_DEADLOCK, rk_cache_get_or_compute(cache, "1", compute, &loop, &json, &err));
    CHECK_EQ_INT(loop.runs, 1);
    CHECK(json.data == NULL);

    OK(rk_cache_option(cache, "expire", "20ms", &err));
    OK(rk_cache_option(cache, "stale", "60", &err));
    fails.status = RK_OK;
    fails.error = NULL;
    OK(rk_cache_get_or_compute(cache, "2", compute, &fails, &json, &err));
    BYTES(json, "1");
    usleep(40000);
    OK(rk_cache_get_or_compute(cache, "2", compute, &plain, &json, &err));
    BYTES(json, "1");
    rk_cache_free(cache);
}

static void bad_input(rk_manager *keep)
{
    rk_cache *cache = NULL;
    work it = {.says = "1"};
    rk_bytes json = RK_BYTES_INIT;

    STATUS(RK_ERR_ARGUMENT, rk_cache_new(keep, "", &cache, &err));
    FAILS(RK_ERR_ARGUMENT, rk_cache_new(keep, "{x}", &cache, &err));
    HAS(rk_error_message(err), "namespace");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_cache_new(keep, NULL, &cache, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_new(NULL, "x", &cache, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_new(keep, "x", NULL, &err));
    CHECK(cache == NULL);
    cache = open_cache(keep, "bad");
    FAILS(RK_ERR_JSON, rk_cache_get_or_compute(cache, "{", compute, &it, &json, &err));
    HAS(rk_error_message(err), "args_json");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_cache_get_or_compute(cache, NULL, compute, &it, &json, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_get_or_compute(cache, "1", NULL, &it, &json, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_get_or_compute(cache, "1", compute, &it, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_get_or_compute(NULL, "1", compute, &it, &json, &err));
    CHECK_EQ_INT(it.runs, 0);
    STATUS(RK_ERR_JSON, rk_cache_invalidate(cache, "{", &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_invalidate(NULL, "1", &err));
    STATUS(RK_ERR_ARGUMENT, rk_cache_option(cache, NULL, "1", &err));
    rk_cache_free(cache);
    rk_cache_free(NULL);
}

static rk_status slowly(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **failed)
{
    usleep(100000);
    return compute(args_json, json_out, userdata, failed);
}

static work shared = {.says = "[1]"};

static void *ask(void *cache)
{
    rk_bytes json = RK_BYTES_INIT;

    CHECK(rk_cache_get_or_compute(cache, "1", slowly, &shared, &json, NULL) == RK_OK);
    CHECK_EQ_INT(json.len, 3);
    rk_bytes_free(&json);
    return NULL;
}

static void at_once(rk_manager *keep)
{
    rk_cache *cache = open_cache(keep, "at once");
    pthread_t threads[8];
    int i;

    for (i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, ask, cache) == 0);
    for (i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ_INT(shared.runs, 1);
    rk_cache_free(cache);
}

/* Nobody listens there: the function runs. */
static void away(void)
{
    rk_manager *keep = NULL;
    rk_cache *cache = NULL;
    work it = {.says = "1"};
    rk_bytes json = RK_BYTES_INIT;
    int i;

    OK(rk_manager_open("redis://127.0.0.1:1", &keep, &err));
    cache = open_cache(keep, "away");
    /* It keeps its manager alive. */
    rk_manager_free(keep);
    for (i = 1; i <= 2; i++) {
        OK(rk_cache_get_or_compute(cache, "1", compute, &it, &json, &err));
        BYTES(json, "1");
        CHECK_EQ_INT(it.runs, i);
    }
    CHECK(rk_cache_invalidate(cache, NULL, NULL) < 0);
    rk_cache_free(cache);
}

int main(void)
{
    rk_manager *keep = open_keep();

    a_value(keep);
    none(keep);
    options(keep);
    failures(keep);
    bad_input(keep);
    at_once(keep);
    away();
    rk_manager_free(keep);
    return 0;
}
