/* Pipelines and transactions: replies in order, all or nothing, what became of each command, life and death. */
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#include "keep.h"

static void append(rk_pipeline *pipe, int n, const char *const *args)
{
    rk_slice slices[8];
    int i;
    for (i = 0; i < n; i++) {
        slices[i].data = args[i];
        slices[i].len = strlen(args[i]);
    }
    OK(rk_pipeline_append(pipe, slices, (size_t)n, &err));
}

static void in_order(rk_manager *keep)
{
    static const char *const incr[] = {"INCR", "n"}, *const push[] = {"LPUSH", "n", "x"};
    rk_slice multi[] = {RK_LIT("MULTI")};
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    int round, i;

    OK(rk_pipeline_new(keep, &pipe, &err));
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 50; i++)
            append(pipe, 2, incr);
        append(pipe, 3, push);
        STATUS(RK_ERR_STATEFUL, rk_pipeline_append(pipe, multi, 1, &err));
        CHECK_EQ_INT(rk_pipeline_len(pipe), 51);
        OK(rk_pipeline_execute(pipe, &reply, &err));
        CHECK_EQ_INT(rk_reply_len(reply), 51);
        for (i = 0; i < 50; i++)
            CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, (size_t)i)), round * 50 + i + 1);
        CHECK_EQ_INT(rk_reply_type_of(rk_reply_at(reply, 50)), RK_REPLY_ERROR);
        CHECK_MEM(rk_reply_bytes(rk_reply_at(reply, 50), NULL), "WRONGTYPE", 9);
        rk_reply_free(reply);
        CHECK_EQ_INT(rk_pipeline_len(pipe), 0);
    }
    OK(rk_pipeline_execute(pipe, &reply, &err));
    CHECK_EQ_INT(rk_reply_type_of(reply), RK_REPLY_ARRAY);
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    rk_reply_free(reply);
    append(pipe, 2, incr);
    OK(rk_pipeline_execute(pipe, NULL, &err));

    STATUS(RK_ERR_ARGUMENT, rk_pipeline_append(pipe, NULL, 0, &err));
    STATUS(RK_ERR_ARGUMENT, rk_pipeline_append(NULL, multi, 1, &err));
    STATUS(RK_ERR_ARGUMENT, rk_pipeline_execute(NULL, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_pipeline_set_timeout(pipe, -7, &err));
    STATUS(RK_ERR_ARGUMENT, rk_pipeline_new(keep, NULL, &err));
    CHECK_EQ_INT(rk_pipeline_len(NULL), 0);
    rk_pipeline_free(pipe);
    rk_pipeline_free(NULL);
}

static void all_or_nothing(rk_manager *keep)
{
    static const char *const set[] = {"SET", "a", "1"}, *const incr[] = {"INCR", "a"}, *const bad[] = {"GET"};
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_pipeline_new(keep, &pipe, &err));
    OK(rk_pipeline_set_atomic(pipe, true, &err));
    append(pipe, 3, set);
    append(pipe, 2, incr);
    OK(rk_pipeline_execute(pipe, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 2);
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 1)), 2);
    rk_reply_free(reply);

    OK(rk_pipeline_set_atomic(pipe, true, &err));
    append(pipe, 2, incr);
    append(pipe, 1, bad);
    FAILS(RK_ERR_EXEC_ABORT, rk_pipeline_execute(pipe, &reply, &err));
    HAS(rk_error_message(err), "command 1");
    CHECK_EQ_INT(rk_error_outcome(err), RK_REFUSED);
    done();
    CHECK(reply == NULL);
    CHECK_EQ_INT(rk_pipeline_outcome(pipe, 0), RK_REFUSED);
    CHECK_EQ_INT(rk_pipeline_outcome(pipe, 99), RK_ANSWERED);
    OK(rk_get(keep, TEXT("a"), &value, &err));
    BYTES(value, "2");
    rk_pipeline_free(pipe);
}

static void on_a_leased_connection(rk_manager *keep)
{
    static const char *const watch[] = {"WATCH", "a"}, *const incr[] = {"INCR", "a"};
    rk_connection *one = NULL;
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    int64_t sum = 0;

    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    OK(rk_connection_pipeline_new(one, &pipe, &err));
    append(pipe, 2, watch);
    OK(rk_pipeline_execute(pipe, NULL, &err));
    OK(rk_incr(keep, TEXT("a"), 1, &sum, &err));
    OK(rk_pipeline_set_atomic(pipe, true, &err));
    append(pipe, 2, incr);
    FAILS(RK_ERR_WATCHED, rk_pipeline_execute(pipe, &reply, &err));
    CHECK_EQ_INT(rk_error_outcome(err), RK_REFUSED);
    done();
    append(pipe, 2, incr);
    OK(rk_pipeline_execute(pipe, &reply, &err));
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 0)), sum + 1);
    rk_reply_free(reply);
    rk_connection_release(one);
    append(pipe, 2, incr);
    STATUS(RK_ERR_CLOSED, rk_pipeline_execute(pipe, &reply, &err));
    rk_pipeline_free(pipe);
}

/* In bytes: the most that this process ever had. */
static size_t peak(void)
{
    struct rusage usage;

    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)usage.ru_maxrss << 10;
}

/* Of memory for each command: itself, where it ends and what may be done with it, and its reply. */
#define EACH 192

/* What looks on (valgrind, ASan) takes memory of its own, and time. */
static bool is_watched(void)
{
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return getenv("RK_TEST_CYCLES") != NULL;
#endif
}

/* Run first: the peak is that of the whole process. */
static void a_million(rk_manager *keep)
{
    size_t count = is_watched() ? 20000 : 1000000, len = 0, i, before, took;
    rk_pipeline *pipe = NULL;
    rk_reply *reply = NULL;
    rk_bytes value = RK_BYTES_INIT;
    char key[24], text[24];
    const void *last;

    OK(rk_pipeline_new(keep, &pipe, &err));
    OK(rk_pipeline_set_timeout(pipe, 120000, &err));
    before = peak();
    for (i = 0; i < count; i++) {
        rk_slice args[] = {RK_LIT("SET"), {key, 0}, {text, 0}};

        args[1].len = (size_t)snprintf(key, sizeof key, "%zu", i % 1000);
        args[2].len = (size_t)snprintf(text, sizeof text, "%zu", i);
        OK(rk_pipeline_append(pipe, args, 3, &err));
    }
    OK(rk_pipeline_execute(pipe, &reply, &err));
    took = peak() - before;
    CHECK_EQ_INT(rk_reply_len(reply), count);
    last = rk_reply_bytes(rk_reply_at(reply, count - 1), &len);
    CHECK_EQ_INT(len, 2);
    CHECK_MEM(last, "OK", len);
    rk_reply_free(reply);
    OK(rk_get(keep, TEXT("999"), &value, &err));
    BYTES(value, text);
    if (!is_watched()) {
        printf("figure: %zu commands in one pipeline: %zu bytes of memory each at most\n", count, took / count);
        CHECK(took <= EACH * count);
    }
    rk_pipeline_free(pipe);
}

struct account {
    rk_manager *keep;
    int rounds, disturbed;
};

/* Doubles what is there; until it has been disturbed often enough, somebody else comes in between. */
static int32_t twice(rk_transaction *tx, void *userdata, rk_error **error)
{
    rk_slice get[] = {RK_LIT("GET"), RK_LIT("balance")}, incrby[] = {RK_LIT("INCRBY"), RK_LIT("balance"), {NULL, 0}};
    struct account *it = userdata;
    rk_reply *reply = NULL;
    char text[32];
    size_t len = 0;
    const void *bytes;
    int64_t sum;

    it->rounds++;
    if (rk_transaction_read(tx, get, 2, &reply, error) != RK_OK)
        return rk_error_status(error ? *error : NULL);
    bytes = rk_reply_bytes(reply, &len);
    CHECK(len < sizeof(text));
    memcpy(text, bytes, len);
    rk_reply_free(reply);
    if (it->disturbed-- > 0)
        OK(rk_incr(it->keep, TEXT("balance"), 1, &sum, &err));
    incrby[2].data = text;
    incrby[2].len = len;
    return rk_transaction_append(tx, incrby, 3, error);
}

static int32_t unwilling(rk_transaction *tx, void *userdata, rk_error **error)
{
    (void)tx;
    if (userdata)
        rk_error_set(error, RK_ERR_CONFLICT, "not today");
    return RK_ERR_CONFLICT;
}

/* Hands back the error of what it read. */
static int32_t hands_back(rk_transaction *tx, void *userdata, rk_error **error)
{
    rk_slice llen[] = {RK_LIT("LLEN"), RK_LIT("balance")};
    (void)userdata;
    return rk_transaction_read(tx, llen, 2, NULL, error);
}

static void optimistic(rk_manager *keep)
{
    rk_slice keys[] = {RK_LIT("balance")};
    struct account account = {keep, 0, 2};
    rk_reply *reply = NULL;

    OK(rk_set(keep, TEXT("balance"), TEXT("10"), &err));
    OK(rk_transaction_run(keep, keys, 1, twice, &account, &reply, &err));
    CHECK_EQ_INT(account.rounds, 3);
    CHECK_EQ_INT(rk_reply_integer(rk_reply_at(reply, 0)), 24);
    rk_reply_free(reply);

    account.disturbed = 1000;
    FAILS(RK_ERR_WATCHED, rk_transaction_run(keep, keys, 1, twice, &account, &reply, &err));
    HAS(rk_error_message(err), "16 times");
    done();
    CHECK(reply == NULL);

    FAILS(RK_ERR_CONFLICT, rk_transaction_run(keep, keys, 1, unwilling, &account, &reply, &err));
    CHECK_STR(rk_error_message(err), "not today");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_transaction_run(keep, keys, 1, unwilling, NULL, &reply, &err));
    FAILS(RK_ERR_WRONG_TYPE, rk_transaction_run(keep, keys, 1, hands_back, NULL, &reply, &err));
    CHECK_STR(rk_error_server_code(err), "WRONGTYPE");
    CHECK(rk_error_node(err) != NULL);
    CHECK_EQ_INT(rk_error_outcome(err), RK_REFUSED);
    done();
    STATUS(RK_ERR_ARGUMENT, rk_transaction_run(keep, keys, 1, NULL, NULL, &reply, &err));
    STATUS(RK_ERR_ARGUMENT, rk_transaction_run(keep, NULL, 0, twice, &account, &reply, &err));
}

struct busy {
    rk_pipeline *pipe;
    rk_status status;
};

static void *blocks(void *data)
{
    struct busy *it = data;
    /* The other thread may hold it for a moment. */
    do {
        it->status = rk_pipeline_execute(it->pipe, NULL, NULL);
    } while (it->status == RK_ERR_CONFLICT);
    return NULL;
}

/* A second thread is told, and does no harm. */
static void from_two_threads(rk_manager *keep)
{
    static const char *const blpop[] = {"BLPOP", "list", "0"}, *const push[] = {"RPUSH", "list", "x"};
    struct busy busy = {NULL, RK_ERR_INTERNAL};
    struct timespec moment = {0, 1000000};
    rk_slice ping[] = {RK_LIT("PING")};
    pthread_t thread;
    rk_status status;

    OK(rk_pipeline_new(keep, &busy.pipe, &err));
    append(busy.pipe, 3, blpop);
    CHECK(pthread_create(&thread, NULL, blocks, &busy) == 0);
    do {
        nanosleep(&moment, NULL);
        status = rk_pipeline_append(busy.pipe, ping, 1, NULL);
    } while (status == RK_OK);
    CHECK_EQ_INT(status, RK_ERR_CONFLICT);
    OK(rk_command_argv(keep, 3, push, NULL, &err));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ_INT(busy.status, RK_OK);
    rk_pipeline_free(busy.pipe);
}

/* Without its connection it is executed nowhere, and says so. */
static void on_a_released_connection(rk_manager *keep)
{
    rk_connection *one = NULL;
    rk_pipeline *pipe = NULL;
    rk_slice incr[] = {RK_LIT("INCR"), RK_LIT("n")};

    OK(rk_connection_lease(keep, NULL, -1, &one, &err));
    OK(rk_connection_pipeline_new(one, &pipe, &err));
    OK(rk_pipeline_append(pipe, incr, 2, &err));
    rk_connection_release(one);
    STATUS(RK_ERR_CLOSED, rk_pipeline_execute(pipe, NULL, &err));
    CHECK_EQ_INT(rk_pipeline_outcome(pipe, 0), RK_NOT_SENT);
    CHECK_EQ_INT(rk_pipeline_len(pipe), 0);
    rk_pipeline_free(pipe);
}

int main(void)
{
    rk_manager *keep = open_keep();
    rk_pipeline *pipe = NULL;
    rk_slice ping[] = {RK_LIT("PING")};

    a_million(keep);
    in_order(keep);
    all_or_nothing(keep);
    on_a_leased_connection(keep);
    optimistic(keep);
    from_two_threads(keep);
    on_a_released_connection(keep);

    /* A pipeline keeps its manager alive; a closed one says so. */
    OK(rk_pipeline_new(keep, &pipe, &err));
    OK(rk_manager_close(keep, -1, &err));
    rk_manager_free(keep);
    OK(rk_pipeline_append(pipe, ping, 1, &err));
    STATUS(RK_ERR_CLOSED, rk_pipeline_execute(pipe, NULL, &err));
    CHECK_EQ_INT(rk_pipeline_outcome(pipe, 0), RK_NOT_SENT);
    rk_pipeline_free(pipe);
    return 0;
}
