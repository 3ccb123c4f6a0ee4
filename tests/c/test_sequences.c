/* Calls in any order, by bytes that decide: with NULL for handles and for data, with lengths that cannot be, on managers
 * that are closed, on parts of what was freed. Whatever comes, each call keeps to what the header promises of all.
 *
 * What C forbids is not done: a handle that was freed is not used again, and not freed again. As a program of its own it
 * makes the bytes from a seed (REDKEEP_TEST_SEED) for RK_TEST_SECONDS. With -DRK_LIBFUZZER it is a target of
 * libFuzzer's: fuzz/fuzz_targets/calls.rs. */
#include <stdint.h>
#include <time.h>

#include "keep.h"

/* ---- Decisions ---- */

static const uint8_t *next_byte, *last_byte;

static unsigned below(unsigned n)
{
    return (next_byte < last_byte ? *next_byte++ : 0) % n;
}

/* Most of the time what is there; now and then nothing. */
#define ANY(slots) (below(12) == 11 ? NULL : (slots)[below(sizeof(slots) / sizeof *(slots))])
#define PICK(list) ((list)[below(sizeof(list) / sizeof *(list))])

/* ---- What is there ---- */

static rk_manager *managers[2];
static rk_config *configs[2];
static rk_set_options *options[1];
static rk_connection *connections[2];
static rk_pipeline *pipelines[2];
static rk_scan *scans[1];
static rk_lock *locks[2];
static rk_limiter *limiters[1];
static rk_sessions *sessions[1];
static rk_cache *caches[1];
static rk_near *nears[1];
static rk_subscriber *subscribers[1];
static rk_event *events[1];
static rk_sender *senders[1];
static rk_consumer *consumers[1];
static rk_message *messages[2];
static rk_reply *replies[2];
static rk_bytes bytes[2];
static rk_error *errors[2];

/* Frees what is in a slot, and what comes next goes there. */
#define EMPTY(slot, release) (release(slot), (slot) = NULL)
/* A slot that is empty now. */
#define ROOM(slots, release) room_##release()
#define DEFINE_ROOM(type, slots, release)                                                          \
    static type **room_##release(void)                                                             \
    {                                                                                              \
        type **slot = &(slots)[below(sizeof(slots) / sizeof *(slots))];                            \
        EMPTY(*slot, release);                                                                     \
        return slot;                                                                               \
    }
DEFINE_ROOM(rk_manager, managers, rk_manager_free)
DEFINE_ROOM(rk_config, configs, rk_config_free)
DEFINE_ROOM(rk_set_options, options, rk_set_options_free)
DEFINE_ROOM(rk_connection, connections, rk_connection_release)
DEFINE_ROOM(rk_pipeline, pipelines, rk_pipeline_free)
DEFINE_ROOM(rk_scan, scans, rk_scan_free)
DEFINE_ROOM(rk_lock, locks, rk_lock_free)
DEFINE_ROOM(rk_limiter, limiters, rk_limiter_free)
DEFINE_ROOM(rk_sessions, sessions, rk_sessions_free)
DEFINE_ROOM(rk_cache, caches, rk_cache_free)
DEFINE_ROOM(rk_near, nears, rk_near_free)
DEFINE_ROOM(rk_subscriber, subscribers, rk_subscriber_free)
DEFINE_ROOM(rk_event, events, rk_event_free)
DEFINE_ROOM(rk_sender, senders, rk_sender_free)
DEFINE_ROOM(rk_consumer, consumers, rk_consumer_free)
DEFINE_ROOM(rk_message, messages, rk_message_free)
DEFINE_ROOM(rk_reply, replies, rk_reply_free)
DEFINE_ROOM(rk_error, errors, rk_error_free)

static rk_bytes *bytes_room(void)
{
    rk_bytes *slot = &PICK(bytes);
    rk_bytes_free(slot);
    /* The second time there is nothing to do. */
    rk_bytes_free(slot);
    CHECK(slot->data == NULL && slot->len == 0);
    return slot;
}

/* ---- What is said ---- */

static const char *const texts[] = {"a", "b", "", "{a}b", "user:1", "\xff\xfe", "a b\r\nc", "0", NULL};
static const char *const jsons[] = {"{}", "{\"a\": 1}", "[1, 2]", "7", "null", "", "{", "\"x\"", "{\"user_id\": 1}", NULL};
static const char *const names[] = {"command_timeout", "expire", "ttl", "lease", "renew", "overflow", "retries", "url",
                                    "password", "nosuch", "", NULL};
static const char *const values[] = {"1", "0", "-1", "500ms", "true", "off", "x", "", "redis://a:1", NULL};
static const char *const words[] = {"GET", "SET", "INCR", "DEL", "LPUSH", "LRANGE", "HSET", "HGETALL", "PING", "ECHO", "MULTI",
                                    "EXEC", "WATCH", "SELECT", "SUBSCRIBE", "QUIT", "RESET", "nosuch", "", "XADD",
                                    "EVAL", "MGET", "OBJECT", "CLIENT", "SCAN", "get", "TYPE", "SINTERSTORE"};
static const int64_t numbers[] = {0, 1, 5, -1, -2, 10, INT64_MAX, INT64_MIN};
/* No call may wait long here. */
static const int64_t waits[] = {0, 1, 3, 0};

static rk_slice slice(void)
{
    static const rk_slice odd[] = {{NULL, 0}, {NULL, 3}, {"x", SIZE_MAX}, {"", 0}, {"a\0b", 3}};
    rk_slice one = {NULL, 0};

    if (below(8) == 7)
        return PICK(odd);
    one.data = PICK(texts);
    one.len = one.data ? strlen(one.data) : 0;
    return one;
}

static rk_slice args[6];

/* A command; how many words it has. */
static size_t command(void)
{
    size_t n = below(6), i;
    const char *word = PICK(words);

    for (i = 0; i <= n && i < 6; i++)
        args[i] = slice();
    if (below(8)) {
        args[0].data = word;
        args[0].len = strlen(word);
    }
    return n;
}

/* ---- What is promised of every call ---- */

static rk_status last;

/* The status has a name; there is an error exactly if the status is one, and it tells something. */
static void is_kept(int line, rk_status status, rk_error **failed)
{
    last = status;
    if (strcmp(rk_status_name(status), "RK_ERR_?") == 0 || (status < 0) != (*failed != NULL)
        || rk_error_status(*failed) != (status < 0 ? status : RK_OK)
        || (*failed && strlen(rk_error_message(*failed)) == 0) || status == RK_ERR_INTERNAL) {
        fprintf(stderr, "%s:%d: %s, \"%s\"\n", __FILE__, line, rk_status_name(status), rk_error_message(*failed));
        exit(1);
    }
    if (*failed && below(4) == 3) {
        rk_error **slot = ROOM(errors, rk_error_free);
        *slot = *failed;
    } else {
        rk_error_free(*failed);
    }
    *failed = NULL;
}

#define GIVES(call) is_kept(__LINE__, (call), &err)
/* As GIVES; without its handle, it says so. */
#define ON(handle, call)                                                                           \
    do {                                                                                           \
        GIVES(call);                                                                               \
        CHECK((handle) != NULL || last == RK_ERR_ARGUMENT);                                        \
    } while (0)
/* As ON; what it makes is there exactly if it went well. */
#define MAKES(handle, slot, call)                                                                  \
    do {                                                                                           \
        ON(handle, call);                                                                          \
        CHECK((*(slot) != NULL) == (last == RK_OK));                                               \
    } while (0)

static int32_t body(rk_transaction *transaction, void *userdata, rk_error **failed)
{
    size_t n = command();
    rk_status status = RK_OK;

    (void)userdata;
    if (below(2))
        status = rk_transaction_read(transaction, args, n, NULL, failed);
    if (status >= 0)
        status = rk_transaction_append(transaction, args, command(), failed);
    return status;
}

static int32_t compute(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **failed)
{
    (void)userdata;
    CHECK(args_json != NULL);
    if (below(4) == 3) {
        rk_error_set(failed, RK_ERR_COMPUTE, PICK(texts));
        return RK_ERR_COMPUTE;
    }
    return rk_bytes_copy(json_out, TEXT("[1]"), failed);
}

/* ---- The calls ---- */

static void of_managers(void)
{
    rk_manager *keep = ANY(managers), **made;
    rk_config *config = ANY(configs);
    rk_bytes *out;
    bool truth;
    double seconds;

    switch (below(12)) {
    case 0:
        made = ROOM(managers, rk_manager_free);
        MAKES(made, made, rk_manager_open(below(4) ? url_of("RK_TEST_URL") : PICK(values), made, &err));
        break;
    case 1:
        made = ROOM(managers, rk_manager_free);
        MAKES(config, made, rk_manager_open_config(config, made, &err));
        break;
    case 2:
        ON(keep, rk_manager_close(keep, 1000, &err));
        CHECK(!keep || last == RK_OK);
        if (keep) {
            GIVES(rk_ping(keep, &err));
            CHECK(last == RK_ERR_CLOSED);
        }
        break;
    case 3:
        *ROOM(configs, rk_config_free) = rk_config_new();
        break;
    case 4:
        ON(config, rk_config_set(config, PICK(names), PICK(values), &err));
        break;
    case 5:
        out = bytes_room();
        ON(config, below(2) ? rk_config_get(config, PICK(names), out, &err) : rk_config_dump(config, out, &err));
        break;
    case 6:
        ON(keep, rk_manager_initialize(keep, below(2) ? &truth : NULL, &err));
        break;
    case 7:
        out = bytes_room();
        ON(keep, rk_manager_health_check(keep, PICK(values), out, &err));
        break;
    case 8:
        ON(keep, rk_manager_wait_for_ready(keep, NULL, PICK(waits), PICK(numbers), 1, &seconds, &err));
        break;
    case 9:
        ON(keep, below(2) ? rk_manager_disconnect(keep, &err) : rk_manager_close_all_pools(keep, &err));
        break;
    case 10:
        out = bytes_room();
        ON(keep, below(2) ? rk_manager_stats_json(keep, out, &err) : rk_manager_fetch_pool_status(keep, out, &err));
        break;
    default:
        (void)rk_manager_is_enabled(keep);
        (void)ROOM(managers, rk_manager_free);
    }
}

static void of_commands(void)
{
    rk_manager *keep = ANY(managers);
    rk_slice key = slice(), value = slice();
    rk_set_options *how = ANY(options);
    rk_reply **reply;
    char room[4];
    int64_t number = 0;
    size_t len = 0, n;
    bool truth;

    switch (below(13)) {
    case 0:
        ON(keep, rk_set(keep, key.data, key.len, value.data, value.len, &err));
        break;
    case 1:
        ON(keep, rk_get(keep, key.data, key.len, bytes_room(), &err));
        break;
    case 2:
        ON(keep, rk_get_into(keep, key.data, key.len, below(4) ? room : NULL, sizeof room, &len, &err));
        break;
    case 3:
        n = command();
        ON(keep, below(2) ? rk_delete(keep, args, n, &number, &err) : rk_exists(keep, key.data, key.len, &truth, &err));
        break;
    case 4:
        ON(keep, rk_incr(keep, key.data, key.len, PICK(numbers), &number, &err));
        break;
    case 5:
        n = command();
        reply = ROOM(replies, rk_reply_free);
        MAKES(keep, reply, rk_mget(keep, args, n, reply, &err));
        break;
    case 6:
    case 7:
        n = command();
        reply = ROOM(replies, rk_reply_free);
        MAKES(keep, reply, rk_command_within(keep, args, n, 50, reply, &err));
        break;
    case 8:
        ON(keep, rk_set_with(keep, key.data, key.len, value.data, value.len, how, &truth, &err));
        break;
    case 9:
        *ROOM(options, rk_set_options_free) = rk_set_options_new();
        break;
    case 10:
        (void)(below(2) ? rk_set_options_ex(how, PICK(numbers)) : rk_set_options_nx(how));
        break;
    case 11:
        ON(keep, rk_set_json(keep, key.data, key.len, PICK(jsons), how, &truth, &err));
        break;
    default:
        n = command();
        reply = ROOM(replies, rk_reply_free);
        GIVES(rk_transaction_run(keep, args, n, body, NULL, reply, &err));
    }
}

static void of_replies(void)
{
    rk_reply *reply = ANY(replies);
    const rk_reply *part = reply;
    const void *data;
    size_t len = 77;
    volatile unsigned sum = 0;
    int i;

    for (i = 0; i < 4; i++) {
        (void)rk_reply_type_of(part);
        (void)rk_reply_integer(part);
        (void)rk_reply_double(part);
        (void)rk_reply_bool(part);
        data = rk_reply_bytes(part, &len);
        CHECK(data != NULL || len == 0);
        /* All of them can be read. */
        while (len > 0)
            sum += ((const unsigned char *)data)[--len];
        part = below(2) ? rk_reply_at(part, below(4)) : rk_reply_key_at(part, below(4));
    }
    CHECK(rk_reply_at(reply, SIZE_MAX) == NULL);
    if (below(3) == 0)
        (void)ROOM(replies, rk_reply_free);
    (void)rk_error_message(errors[0]);
    (void)rk_error_node(errors[1]);
    if (below(3) == 0)
        (void)ROOM(errors, rk_error_free);
}

static void of_connections(void)
{
    rk_manager *keep = ANY(managers);
    rk_connection *one = ANY(connections), **made;
    rk_pipeline *pipe = ANY(pipelines), **new_pipe;
    rk_scan **scan;
    rk_reply **reply;
    size_t n;

    switch (below(11)) {
    case 0:
        made = ROOM(connections, rk_connection_release);
        MAKES(keep, made, rk_connection_lease(keep, NULL, 100, made, &err));
        break;
    case 1:
    case 2:
        n = command();
        reply = ROOM(replies, rk_reply_free);
        ON(one, rk_connection_command_within(one, args, n, 50, reply, &err));
        break;
    case 3:
        reply = ROOM(replies, rk_reply_free);
        ON(one, rk_connection_receive(one, PICK(waits), reply, &err));
        break;
    case 4:
        new_pipe = ROOM(pipelines, rk_pipeline_free);
        MAKES(keep, new_pipe, rk_pipeline_new(keep, new_pipe, &err));
        break;
    case 5:
        new_pipe = ROOM(pipelines, rk_pipeline_free);
        MAKES(one, new_pipe, rk_connection_pipeline_new(one, new_pipe, &err));
        break;
    case 6:
        n = command();
        ON(pipe, rk_pipeline_append(pipe, args, n, &err));
        break;
    case 7:
        reply = ROOM(replies, rk_reply_free);
        ON(pipe, rk_pipeline_execute(pipe, reply, &err));
        (void)rk_pipeline_outcome(pipe, below(4));
        break;
    case 8:
        ON(pipe, rk_pipeline_set_atomic(pipe, below(2), &err));
        (void)rk_pipeline_len(pipe);
        break;
    case 9:
        scan = ROOM(scans, rk_scan_free);
        MAKES(keep, scan, rk_scan_new(keep, PICK(texts), scan, &err));
        ON(*scan, rk_scan_next(*scan, bytes_room(), &err));
        break;
    default:
        if (below(2))
            (void)ROOM(connections, rk_connection_release);
        else
            (void)ROOM(pipelines, rk_pipeline_free);
    }
}

static void of_features(void)
{
    rk_manager *keep = ANY(managers);
    rk_lock *lock = ANY(locks), **new_lock;
    rk_limiter *limiter = ANY(limiters), **new_limiter;
    rk_sessions *some = ANY(sessions), **new_sessions;
    rk_cache *cache = ANY(caches), **new_cache;
    rk_near *near = ANY(nears), **new_near;
    rk_slice key = slice();
    int64_t number = 0, other = 0;
    bool truth = true;

    switch (below(17)) {
    case 0:
        new_lock = ROOM(locks, rk_lock_free);
        MAKES(keep, new_lock, rk_lock_new(keep, PICK(texts), PICK(numbers), new_lock, &err));
        break;
    case 1:
        ON(lock, rk_lock_acquire(lock, PICK(waits), &err));
        break;
    case 2:
        ON(lock, rk_lock_try_acquire(lock, &truth, &err));
        CHECK(lock || !truth);
        break;
    case 3:
        ON(lock, rk_lock_release(lock, &truth, &err));
        CHECK(last != RK_OK || !rk_lock_is_held(lock));
        break;
    case 4:
        ON(lock, below(2) ? rk_lock_fence(lock, &number, &err) : rk_lock_option(lock, PICK(names), PICK(values), &err));
        break;
    case 5:
        new_limiter = ROOM(limiters, rk_limiter_free);
        MAKES(keep, new_limiter, rk_limiter_new(keep, PICK(numbers), PICK(numbers), new_limiter, &err));
        break;
    case 6:
        ON(limiter, rk_limiter_check(limiter, PICK(texts), PICK(numbers), &truth, &number, &other, &err));
        break;
    case 7:
        new_sessions = ROOM(sessions, rk_sessions_free);
        MAKES(keep, new_sessions, rk_sessions_new(keep, PICK(numbers), new_sessions, &err));
        break;
    case 8:
        ON(some, rk_sessions_create(some, PICK(texts), PICK(jsons), bytes_room(), &err));
        break;
    case 9:
        rk_bytes_free(&bytes[1]);
        ON(some, rk_sessions_get(some, bytes[0].data ? (const char *)bytes[0].data : PICK(texts), &bytes[1], &err));
        break;
    case 10:
        ON(some, rk_sessions_delete(some, PICK(texts), &truth, &err));
        break;
    case 11:
        new_cache = ROOM(caches, rk_cache_free);
        MAKES(keep, new_cache, rk_cache_new(keep, PICK(texts), new_cache, &err));
        break;
    case 12:
        ON(cache, rk_cache_get_or_compute(cache, PICK(jsons), compute, NULL, bytes_room(), &err));
        break;
    case 13:
        ON(cache, below(2) ? rk_cache_option(cache, PICK(names), PICK(values), &err)
                           : rk_cache_invalidate(cache, PICK(jsons), &err));
        break;
    case 14:
        new_near = ROOM(nears, rk_near_free);
        MAKES(keep, new_near, rk_near_new(keep, 1000, new_near, &err));
        break;
    case 15:
        ON(near, rk_near_get(near, key.data, key.len, bytes_room(), &err));
        break;
    default:
        switch (below(5)) {
        case 0:
            (void)ROOM(locks, rk_lock_free);
            break;
        case 1:
            EMPTY(limiters[0], rk_limiter_free);
            break;
        case 2:
            EMPTY(sessions[0], rk_sessions_free);
            break;
        case 3:
            EMPTY(caches[0], rk_cache_free);
            break;
        default:
            EMPTY(nears[0], rk_near_free);
        }
    }
}

static void of_messages(void)
{
    rk_manager *keep = ANY(managers);
    rk_subscriber *subscriber = ANY(subscribers), **new_subscriber;
    rk_event *event = ANY(events), **new_event;
    rk_sender *sender = ANY(senders), **new_sender;
    rk_consumer *consumer = ANY(consumers), **new_consumer;
    rk_message *message = ANY(messages), **new_message;
    rk_slice data = slice();
    size_t len;

    switch (below(15)) {
    case 0:
        new_subscriber = ROOM(subscribers, rk_subscriber_free);
        MAKES(keep, new_subscriber, rk_subscriber_new(keep, new_subscriber, &err));
        break;
    case 1:
        ON(subscriber, rk_subscriber_add(subscriber, PICK(texts), &err));
        break;
    case 2:
        ON(subscriber, rk_subscriber_remove(subscriber, PICK(texts), &err));
        break;
    case 3:
        ON(keep, rk_publish(keep, PICK(texts), data.data, data.len, NULL, &err));
        break;
    case 4:
        new_event = ROOM(events, rk_event_free);
        MAKES(subscriber, new_event, rk_subscriber_poll(subscriber, PICK(waits), new_event, &err));
        (void)rk_subscriber_fd(subscriber);
        break;
    case 5:
        (void)rk_event_kind(event);
        (void)rk_event_channel(event);
        (void)rk_event_pattern(event);
        (void)rk_event_data(event, &len);
        break;
    case 6:
        new_sender = ROOM(senders, rk_sender_free);
        MAKES(keep, new_sender, rk_sender_new(keep, new_sender, &err));
        break;
    case 7:
        ON(sender, rk_sender_register_channel(sender, PICK(texts), &err));
        break;
    case 8:
        ON(sender, rk_sender_send(sender, PICK(texts), PICK(texts), PICK(jsons), bytes_room(), &err));
        break;
    case 9:
        new_consumer = ROOM(consumers, rk_consumer_free);
        MAKES(keep, new_consumer, rk_consumer_new(keep, PICK(texts), new_consumer, &err));
        break;
    case 10:
        ON(consumer, rk_consumer_register_channel(consumer, PICK(texts), PICK(jsons), &err));
        break;
    case 11:
        new_message = ROOM(messages, rk_message_free);
        MAKES(consumer, new_message, rk_consumer_poll(consumer, PICK(waits), new_message, &err));
        (void)rk_consumer_fd(consumer);
        break;
    case 12:
        ON(message, below(2) ? rk_message_ack(message, &err) : rk_message_fail(message, PICK(texts), &err));
        (void)rk_message_body(message);
        (void)rk_message_deliveries(message);
        break;
    case 13:
        ON(consumer, rk_consumer_stop(consumer, 1000, &err));
        break;
    default:
        switch (below(4)) {
        case 0:
            EMPTY(subscribers[0], rk_subscriber_free);
            break;
        case 1:
            EMPTY(senders[0], rk_sender_free);
            break;
        case 2:
            EMPTY(consumers[0], rk_consumer_free);
            break;
        default:
            EMPTY(events[0], rk_event_free);
        }
    }
}

static void free_all(void)
{
    int i;

    /* What is held keeps its manager alive: the managers may go first. */
    for (i = 0; i < 2; i++) {
        EMPTY(managers[i], rk_manager_free);
        EMPTY(configs[i], rk_config_free);
        EMPTY(pipelines[i], rk_pipeline_free);
        EMPTY(connections[i], rk_connection_release);
        EMPTY(locks[i], rk_lock_free);
        EMPTY(replies[i], rk_reply_free);
        EMPTY(errors[i], rk_error_free);
        rk_bytes_free(&bytes[i]);
    }
    EMPTY(options[0], rk_set_options_free);
    EMPTY(scans[0], rk_scan_free);
    EMPTY(limiters[0], rk_limiter_free);
    EMPTY(sessions[0], rk_sessions_free);
    EMPTY(caches[0], rk_cache_free);
    EMPTY(nears[0], rk_near_free);
    EMPTY(subscribers[0], rk_subscriber_free);
    EMPTY(events[0], rk_event_free);
    EMPTY(senders[0], rk_sender_free);
    EMPTY(consumers[0], rk_consumer_free);
    /* A message outlives its consumer. */
    EMPTY(messages[0], rk_message_free);
    EMPTY(messages[1], rk_message_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const all[])(void) = {of_managers, of_commands, of_replies, of_connections, of_features, of_messages};

    next_byte = data;
    last_byte = data + size;
    GIVES(rk_manager_open(url_of("RK_TEST_URL"), &managers[0], &err));
    CHECK(last == RK_OK);
    while (next_byte < last_byte)
        PICK(all)();
    free_all();
    return 0;
}

#ifndef RK_LIBFUZZER
static uint64_t seed;
static int well;

static void report(void)
{
    if (!well)
        fprintf(stderr, "again: REDKEEP_TEST_SEED=%llu\n", (unsigned long long)seed);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(void)
{
    const char *given = getenv("REDKEEP_TEST_SEED"), *seconds = getenv("RK_TEST_SECONDS");
    double end = now() + (seconds ? strtod(seconds, NULL) : 1);
    uint8_t data[600];
    size_t i;

    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000;
    /* Where it crashes, this is where to begin again. */
    printf("REDKEEP_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    atexit(report);
    rk_manager_free(open_keep());
    do {
        uint64_t state = seed;
        for (i = 0; i < sizeof data; i++) {
            state = (state + 0x9e3779b97f4a7c15u) * 6364136223846793005u;
            data[i] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(data, 50 + (state >> 40) % 550);
        seed++;
    } while (now() < end);
    well = 1;
    return 0;
}
#endif
