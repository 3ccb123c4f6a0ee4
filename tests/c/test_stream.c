/* Streams: senders, consumers by callback and by polling with epoll, what fails, life and death of callbacks. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"

static void nap(void)
{
    const struct timespec moment = {0, 2000000};
    nanosleep(&moment, NULL);
}

static long long number(rk_manager *keep, int n, const char *const *args)
{
    rk_reply *reply = NULL;
    long long value;
    OK(rk_command_argv(keep, n, args, &reply, &err));
    value = rk_reply_integer(rk_reply_len(reply) ? rk_reply_at(reply, 0) : reply);
    rk_reply_free(reply);
    return value;
}

static long long pending(rk_manager *keep, const char *channel, const char *group)
{
    const char *const args[] = {"XPENDING", channel, group};
    return number(keep, 3, args);
}

static long long length(rk_manager *keep, const char *stream)
{
    const char *const args[] = {"XLEN", stream};
    return number(keep, 2, args);
}

static rk_sender *sender_of(rk_manager *keep, const char *channel)
{
    rk_sender *sender = NULL;
    OK(rk_sender_new(keep, &sender, &err));
    OK(rk_sender_register_channel(sender, channel, &err));
    return sender;
}

static void sending(rk_manager *keep)
{
    static const char *const all[] = {"XRANGE", "orders", "-", "+"};
    rk_slice many[] = {RK_LIT("a"), RK_LIT("1"), RK_LIT("b"), RK_LIT("{\"x\": []}")};
    rk_slice bad[] = {RK_LIT("a"), RK_LIT("1"), RK_LIT("b"), RK_LIT("{x}")};
    rk_sender *sender = sender_of(keep, "orders");
    rk_bytes id = RK_BYTES_INIT, again = RK_BYTES_INIT;
    rk_reply *reply = NULL;
    int64_t moved = 7;

    OK(rk_sender_send(sender, "orders", "order.created", "{\"id\": 1}", &id, &err));
    OK(rk_command_argv(keep, 4, all, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 1);
    CHECK_MEM(rk_reply_bytes(rk_reply_at(rk_reply_at(reply, 0), 0), NULL), id.data, id.len);
    CHECK_MEM(rk_reply_bytes(rk_reply_at(rk_reply_at(rk_reply_at(reply, 0), 1), 3), NULL), "{\"id\": 1}", 9);
    rk_reply_free(reply);
    rk_bytes_free(&id);

    OK(rk_sender_send_many(sender, "orders", many, 2, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 2);
    rk_reply_free(reply);
    OK(rk_sender_send_many(sender, "orders", NULL, 0, &reply, &err));
    CHECK_EQ_INT(rk_reply_len(reply), 0);
    rk_reply_free(reply);
    FAILS(RK_ERR_JSON, rk_sender_send_many(sender, "orders", bad, 2, &reply, &err));
    HAS(rk_error_message(err), "messages[1]");
    CHECK(reply == NULL);
    done();
    CHECK_EQ_INT(length(keep, "orders"), 3);

    OK(rk_sender_send_once(sender, "orders", "n", "1", "key", &id, &err));
    OK(rk_sender_send_once(sender, "orders", "n", "1", "key", &again, &err));
    CHECK_EQ_INT(id.len, again.len);
    CHECK_MEM(again.data, id.data, id.len);
    rk_bytes_free(&id);
    rk_bytes_free(&again);
    CHECK_EQ_INT(length(keep, "orders"), 4);

    OK(rk_sender_register_channel_with(sender, "short", "{\"max_length\": 2, \"exact\": true}", &err));
    OK(rk_sender_send_many(sender, "short", many, 2, NULL, &err));
    OK(rk_sender_send_many(sender, "short", many, 2, NULL, &err));
    CHECK_EQ_INT(length(keep, "short"), 2);
    OK(rk_sender_redrive(sender, "orders", 10, &moved, &err));
    CHECK_EQ_INT(moved, 0);

    FAILS(RK_ERR_ARGUMENT, rk_sender_send(sender, "others", "n", "1", &id, &err));
    HAS(rk_error_message(err), "others");
    CHECK(id.data == NULL);
    done();
    STATUS(RK_ERR_JSON, rk_sender_send(sender, "orders", "n", "{", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_send(sender, "orders", "n", NULL, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_send(sender, "orders", "\xff", "1", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_send(NULL, "orders", "n", "1", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_register_channel(sender, "", &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_register_channel_with(sender, "x", "{\"max\": 1}", &err));
    STATUS(RK_ERR_JSON, rk_sender_register_channel_with(sender, "x", "{", &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_redrive(sender, "orders", -1, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sender_new(keep, NULL, &err));
    rk_sender_free(sender);
    rk_sender_free(NULL);
}

struct tally {
    pthread_mutex_t mutex;
    int good, bad, freed;
    int64_t deliveries;
    char last[64];
};

static int of(struct tally *tally, const int *field)
{
    int value;
    pthread_mutex_lock(&tally->mutex);
    value = *field;
    pthread_mutex_unlock(&tally->mutex);
    return value;
}

static int32_t handler(const rk_message *message, void *userdata)
{
    struct tally *tally = userdata;
    int32_t status = RK_OK;
    CHECK_STR(rk_message_channel(message), "orders");
    CHECK(strchr(rk_message_id(message), '-') != NULL);
    CHECK(rk_message_ack(message, NULL) == RK_ERR_ARGUMENT);
    pthread_mutex_lock(&tally->mutex);
    if (!strcmp(rk_message_name(message), "bad")) {
        tally->bad++;
        tally->deliveries = rk_message_deliveries(message);
        CHECK(rk_message_fail(message, "it is bad", NULL) == RK_OK);
        status = RK_ERR_ARGUMENT;
    } else {
        tally->good++;
        snprintf(tally->last, sizeof tally->last, "%s", rk_message_body(message));
    }
    pthread_mutex_unlock(&tally->mutex);
    return status;
}

static void forget(void *userdata)
{
    struct tally *tally = userdata;
    pthread_mutex_lock(&tally->mutex);
    tally->freed++;
    pthread_mutex_unlock(&tally->mutex);
}

static const char options[] = "{\"max_deliveries\": 2, \"backoff\": 0.001, \"max_backoff\": 0.002, \"claim_idle\": 5, "
                              "\"message_cleanup\": true}";

static rk_consumer *consumer_of(rk_manager *keep, struct tally *tally)
{
    rk_consumer *consumer = NULL;
    OK(rk_consumer_new(keep, "billing", &consumer, &err));
    OK(rk_consumer_register_channel(consumer, "orders", options, &err));
    if (tally)
        OK(rk_consumer_register_handler(consumer, "orders", handler, tally, forget, &err));
    return consumer;
}

static void by_callback(rk_manager *keep)
{
    static struct tally tally = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0, ""};
    static const char *const dead[] = {"XRANGE", "{orders}:dead", "-", "+"};
    rk_sender *sender = sender_of(keep, "orders");
    rk_consumer *consumer = consumer_of(keep, &tally);
    rk_bytes text = RK_BYTES_INIT;
    rk_reply *reply = NULL;
    const rk_reply *fields;
    int64_t count = -1;

    OK(rk_sender_send(sender, "orders", "good", "\"first\"", NULL, &err));
    OK(rk_sender_send(sender, "orders", "bad", "0", NULL, &err));
    OK(rk_consumer_start(consumer, 0, -1, &err));
    while (of(&tally, &tally.good) < 1 || length(keep, "{orders}:dead") < 1)
        nap();
    OK(rk_sender_send(sender, "orders", "good", "\"second\"", NULL, &err));
    while (of(&tally, &tally.good) < 2 || pending(keep, "orders", "orders:billing:cg") > 0)
        nap();
    CHECK_STR(tally.last, "\"second\"");
    CHECK_EQ_INT(tally.bad, 2);
    CHECK_EQ_INT(tally.deliveries, 2);
    OK(rk_command_argv(keep, 4, dead, &reply, &err));
    fields = rk_reply_at(rk_reply_at(reply, 0), 1);
    CHECK_EQ_INT(rk_reply_len(fields), 14);
    CHECK_MEM(rk_reply_bytes(rk_reply_at(fields, 7), NULL), "it is bad", 9);
    rk_reply_free(reply);

    OK(rk_consumer_stats_json(consumer, &text, &err));
    HAS((char *)text.data, "\"handled\":2");
    rk_bytes_free(&text);
    OK(rk_consumer_stats_prometheus(consumer, &text, &err));
    HAS((char *)text.data, "redkeep_stream_dead_total{channel=\"orders\",group=\"orders:billing:cg\"} 1\n");
    rk_bytes_free(&text);
    OK(rk_consumer_clean_up(consumer, &count, &err));
    CHECK_EQ_INT(count, 3);

    STATUS(RK_ERR_ARGUMENT, rk_consumer_start(consumer, 0, -1, &err));
    STATUS(RK_ERR_ARGUMENT, rk_consumer_consume_all(consumer, 0, NULL, &err));
    CHECK_EQ_INT(rk_consumer_fd(consumer), -1);
    OK(rk_consumer_stop(consumer, 10000, &err));
    OK(rk_consumer_stop(consumer, -1, &err));
    STATUS(RK_ERR_CLOSED, rk_consumer_consume_all(consumer, 0, NULL, &err));
    CHECK_EQ_INT(tally.freed, 0);
    rk_consumer_free(consumer);
    CHECK_EQ_INT(of(&tally, &tally.freed), 1);
    rk_sender_free(sender);
}

static void in_this_thread(rk_manager *keep)
{
    static struct tally tally = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0, ""};
    rk_sender *sender = sender_of(keep, "orders");
    rk_consumer *consumer = consumer_of(keep, &tally);
    int64_t handled = -1;

    OK(rk_consumer_consume(consumer, "orders", NULL, 0, &handled, &err));
    CHECK_EQ_INT(handled, 0);
    OK(rk_sender_send(sender, "orders", "good", "1", NULL, &err));
    OK(rk_consumer_consume(consumer, "orders", NULL, -1, &handled, &err));
    CHECK_EQ_INT(handled, 1);
    OK(rk_sender_send(sender, "orders", "good", "2", NULL, &err));
    OK(rk_consumer_consume_all(consumer, 1000, &handled, &err));
    CHECK_EQ_INT(handled, 1);
    CHECK_EQ_INT(tally.good, 2);
    STATUS(RK_ERR_ARGUMENT, rk_consumer_consume(consumer, "others", NULL, 0, &handled, &err));
    STATUS(RK_ERR_ARGUMENT, rk_consumer_consume(consumer, "orders", NULL, -7, &handled, &err));
    STATUS(RK_ERR_ARGUMENT, rk_consumer_persist(consumer, NULL, "group", 0, 0, &err));
    rk_consumer_free(consumer);
    CHECK_EQ_INT(tally.freed, 1);
    rk_sender_free(sender);
}

static void by_polling(rk_manager *keep)
{
    rk_sender *sender = sender_of(keep, "orders");
    rk_consumer *consumer = consumer_of(keep, NULL);
    rk_message *message = NULL;
    struct epoll_event event = {EPOLLIN, {0}}, came;
    int fd = rk_consumer_fd(consumer), poller = epoll_create1(0), i;

    CHECK(fd >= 0 && poller >= 0);
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK_EQ_INT(epoll_wait(poller, &came, 1, 50), 0);
    STATUS(RK_NIL, rk_consumer_poll(consumer, 0, &message, &err));
    CHECK(message == NULL);
    for (i = 0; i < 3; i++) {
        OK(rk_sender_send(sender, "orders", "n", "{\"a\": 1}", NULL, &err));
        /* It wakes, as often as it is asked, until the message is taken. */
        CHECK_EQ_INT(epoll_wait(poller, &came, 1, 10000), 1);
        CHECK_EQ_INT(epoll_wait(poller, &came, 1, 0), 1);
        OK(rk_consumer_poll(consumer, 0, &message, &err));
        CHECK_EQ_INT(epoll_wait(poller, &came, 1, 0), 0);
        CHECK_STR(rk_message_body(message), "{\"a\": 1}");
        CHECK_STR(rk_message_body(message), "{\"a\": 1}");
        CHECK_STR(rk_message_name(message), "n");
        CHECK_EQ_INT(rk_message_deliveries(message), 1);
        if (i == 2)
            OK(rk_message_fail(message, "not now", &err));
        else
            OK(rk_message_ack(message, &err));
        STATUS(RK_ERR_ARGUMENT, rk_message_ack(message, &err));
        rk_message_free(message);
    }
    OK(rk_consumer_poll(consumer, -1, &message, &err));
    CHECK_EQ_INT(rk_message_deliveries(message), 2);
    OK(rk_message_ack(message, &err));
    rk_message_free(message);
    while (pending(keep, "orders", "orders:billing:cg") > 0)
        nap();
    OK(rk_consumer_stop(consumer, 10000, &err));
    CHECK_EQ_INT(epoll_wait(poller, &came, 1, 0), 1);
    STATUS(RK_ERR_CLOSED, rk_consumer_poll(consumer, 0, &message, &err));
    /* What was polled outlives its consumer, and its manager's handle. */
    OK(rk_sender_send(sender, "orders", "n", "1", NULL, &err));
    rk_consumer_free(consumer);
    consumer = consumer_of(keep, NULL);
    OK(rk_consumer_poll(consumer, -1, &message, &err));
    rk_consumer_free(consumer);
    CHECK_STR(rk_message_body(message), "1");
    OK(rk_message_ack(message, &err));
    rk_message_free(message);
    while (pending(keep, "orders", "orders:billing:cg") > 0)
        nap();
    close(poller);
    rk_sender_free(sender);
}

static void callbacks_are_freed_once(rk_manager *keep)
{
    static struct tally tally = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0, ""};
    rk_consumer *consumer = consumer_of(keep, NULL);

    STATUS(RK_ERR_ARGUMENT, rk_consumer_register_handler(consumer, "others", handler, &tally, forget, &err));
    CHECK_EQ_INT(tally.freed, 1);
    STATUS(RK_ERR_ARGUMENT, rk_consumer_register_handler(consumer, "orders", NULL, &tally, forget, &err));
    CHECK_EQ_INT(tally.freed, 2);
    STATUS(RK_ERR_ARGUMENT, rk_consumer_register_handler(NULL, "orders", handler, &tally, forget, &err));
    CHECK_EQ_INT(tally.freed, 3);
    OK(rk_consumer_register_handler(consumer, "orders", handler, &tally, forget, &err));
    STATUS(RK_ERR_ARGUMENT, rk_consumer_register_handler(consumer, "orders", handler, &tally, forget, &err));
    CHECK_EQ_INT(tally.freed, 4);
    rk_consumer_free(consumer);
    CHECK_EQ_INT(tally.freed, 5);
}

struct freeing {
    rk_consumer *consumer;
    int freed;
};

static int32_t free_yourself(const rk_message *message, void *userdata)
{
    struct freeing *it = userdata;
    (void)message;
    rk_consumer_free(it->consumer);
    return RK_OK;
}

static void was_freed(void *userdata)
{
    struct freeing *it = userdata;
    __atomic_store_n(&it->freed, 1, __ATOMIC_RELEASE);
}

static void freed_in_its_own_handler(rk_manager *keep)
{
    static struct freeing it;
    rk_sender *sender = sender_of(keep, "orders");

    OK(rk_sender_send(sender, "orders", "n", "1", NULL, &err));
    OK(rk_consumer_new(keep, "billing", &it.consumer, &err));
    OK(rk_consumer_register_channel(it.consumer, "orders", NULL, &err));
    OK(rk_consumer_register_handler(it.consumer, "orders", free_yourself, &it, was_freed, &err));
    OK(rk_consumer_start(it.consumer, 0, 100, &err));
    while (!__atomic_load_n(&it.freed, __ATOMIC_ACQUIRE))
        nap();
    CHECK_EQ_INT(pending(keep, "orders", "orders:billing:cg"), 0);
    rk_sender_free(sender);
}

static void bad_arguments(rk_manager *keep)
{
    rk_consumer *consumer = NULL;
    STATUS(RK_ERR_ARGUMENT, rk_consumer_new(keep, "", &consumer, &err));
    CHECK(consumer == NULL);
    STATUS(RK_ERR_ARGUMENT, rk_consumer_new(keep, NULL, &consumer, &err));
    OK(rk_consumer_new(keep, "l", &consumer, &err));
    FAILS(RK_ERR_ARGUMENT, rk_consumer_register_channel(consumer, "orders", "{\"cuont\": 1}", &err));
    HAS(rk_error_message(err), "cuont");
    done();
    STATUS(RK_ERR_JSON, rk_consumer_register_channel(consumer, "orders", "{", &err));
    STATUS(RK_ERR_ARGUMENT, rk_consumer_start(consumer, 0, 0, &err));
    CHECK_EQ_INT(rk_consumer_fd(NULL), -1);
    CHECK(rk_message_id(NULL) == NULL && rk_message_body(NULL) == NULL);
    CHECK_EQ_INT(rk_message_deliveries(NULL), 0);
    STATUS(RK_ERR_ARGUMENT, rk_message_ack(NULL, &err));
    rk_message_free(NULL);
    rk_consumer_free(NULL);
    rk_consumer_free(consumer);
}

int main(void)
{
    static void (*const tests[])(rk_manager *) = {
        sending, by_callback, in_this_thread, by_polling, callbacks_are_freed_once, freed_in_its_own_handler,
        bad_arguments};
    size_t i;
    for (i = 0; i < sizeof tests / sizeof *tests; i++) {
        rk_manager *keep = open_keep();
        tests[i](keep);
        rk_manager_free(keep);
    }
    return 0;
}
