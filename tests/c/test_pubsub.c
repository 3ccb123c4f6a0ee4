/* Publish and subscribe: polled and by callback, gaps, limits, freeing in every place. */
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "keep.h"

static rk_subscriber *new_subscriber(rk_manager *keep)
{
    rk_subscriber *subscriber = NULL;
    OK(rk_subscriber_new(keep, &subscriber, &err));
    CHECK(subscriber != NULL);
    return subscriber;
}

/* The next event is a message with this channel and these data. */
static void expect(rk_subscriber *subscriber, const char *channel, const char *pattern, const void *data, size_t len)
{
    rk_event *event = NULL;
    size_t got = 0;

    OK(rk_subscriber_poll(subscriber, 10000, &event, &err));
    CHECK_EQ_INT(rk_event_kind(event), RK_EVENT_MESSAGE);
    CHECK_STR(rk_event_channel(event), channel);
    CHECK_STR(rk_event_pattern(event), pattern);
    CHECK_MEM(rk_event_data(event, &got), data, len);
    CHECK_EQ_INT(got, len);
    rk_event_free(event);
}

static void nothing_comes(rk_subscriber *subscriber)
{
    rk_event *event = (rk_event *)subscriber;
    STATUS(RK_NIL, rk_subscriber_poll(subscriber, 20, &event, &err));
    CHECK(event == NULL);
}

/* Publishes until nobody gets it any more: the end of a subscription reaches the server a moment later. */
static void publish_to_nobody(rk_manager *keep, const char *channel)
{
    int64_t receivers = 1;
    int i;

    for (i = 0; receivers != 0; i++) {
        CHECK(i < 5000);
        OK(rk_publish(keep, channel, TEXT("nobody"), &receivers, &err));
        usleep(2000);
    }
}

static void polled(rk_manager *keep)
{
    rk_subscriber *subscriber = new_subscriber(keep);
    rk_bytes json = RK_BYTES_INIT;
    int64_t receivers = 0;

    OK(rk_subscriber_add(subscriber, "news", &err));
    OK(rk_subscriber_add(subscriber, "news", &err));
    OK(rk_publish(keep, "news", "a\0b", 3, &receivers, &err));
    CHECK_EQ_INT(receivers, 1);
    expect(subscriber, "news", NULL, "a\0b", 3);
    OK(rk_publish(keep, "news", NULL, 0, NULL, &err));
    expect(subscriber, "news", NULL, "", 0);

    OK(rk_subscriber_remove(subscriber, "news", &err));
    STATUS(RK_NIL, rk_subscriber_remove(subscriber, "news", &err));
    OK(rk_subscriber_add_pattern(subscriber, "n*", &err));
    OK(rk_publish_json(keep, "nice", "{\"a\":1}", &receivers, &err));
    CHECK_EQ_INT(receivers, 1);
    expect(subscriber, "nice", "n*", TEXT("{\"a\":1}"));
    STATUS(RK_ERR_JSON, rk_publish_json(keep, "nice", "{", &receivers, &err));
    CHECK_EQ_INT(receivers, 0);

    OK(rk_subscriber_add_sharded(subscriber, "shard", &err));
    OK(rk_publish_sharded(keep, "shard", TEXT("s"), &receivers, &err));
    CHECK_EQ_INT(receivers, 1);
    expect(subscriber, "shard", NULL, "s", 1);
    OK(rk_subscriber_stats_json(subscriber, &json, &err));
    BYTES(json, "{\"subscriptions\":2,\"received\":4,\"delivered\":4,\"dropped\":0,\"gaps\":0,\"failed\":0,"
                "\"waiting\":0}");
    OK(rk_subscriber_remove_sharded(subscriber, "shard", &err));
    OK(rk_subscriber_remove_pattern(subscriber, "n*", &err));
    publish_to_nobody(keep, "nice");
    nothing_comes(subscriber);
    rk_subscriber_free(subscriber);
}

static void by_epoll(rk_manager *keep)
{
    rk_subscriber *subscriber = new_subscriber(keep);
    struct epoll_event wish = {.events = EPOLLIN}, came;
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = rk_subscriber_fd(subscriber), i;

    CHECK(epoll >= 0 && fd >= 0);
    CHECK_EQ_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wish), 0);
    OK(rk_subscriber_add(subscriber, "news", &err));
    CHECK_EQ_INT(epoll_wait(epoll, &came, 1, 0), 0);
    for (i = 0; i < 50; i++) {
        OK(rk_publish(keep, "news", TEXT("x"), NULL, &err));
        CHECK_EQ_INT(epoll_wait(epoll, &came, 1, 10000), 1);
        expect(subscriber, "news", NULL, "x", 1);
        CHECK_EQ_INT(epoll_wait(epoll, &came, 1, 0), 0);
    }
    close(epoll);
    rk_subscriber_free(subscriber);
}

/* The server ends the connection: one gap for each subscription. */
static void gaps(rk_manager *keep)
{
    static const char *const kill[] = {"CLIENT", "KILL", "TYPE", "pubsub"};
    rk_subscriber *subscriber = new_subscriber(keep);
    rk_event *event = NULL;
    size_t len = 1;

    OK(rk_subscriber_add_pattern(subscriber, "n*", &err));
    OK(rk_command_argv(keep, 4, kill, NULL, &err));
    OK(rk_subscriber_poll(subscriber, 10000, &event, &err));
    CHECK_EQ_INT(rk_event_kind(event), RK_EVENT_GAP);
    CHECK_STR(rk_event_channel(event), NULL);
    CHECK_STR(rk_event_pattern(event), "n*");
    CHECK(rk_event_data(event, &len) == NULL);
    CHECK_EQ_INT(len, 0);
    rk_event_free(event);
    OK(rk_publish(keep, "news", TEXT("again"), NULL, &err));
    expect(subscriber, "news", "n*", TEXT("again"));
    nothing_comes(subscriber);
    rk_subscriber_free(subscriber);
}

static void limits(rk_manager *keep)
{
    rk_subscriber *subscriber = new_subscriber(keep);
    rk_bytes json = RK_BYTES_INIT;
    char text[8];
    int i;

    OK(rk_subscriber_option(subscriber, "queue_limit", "3", &err));
    OK(rk_subscriber_option(subscriber, "queue_bytes", "1000000", &err));
    OK(rk_subscriber_option(subscriber, "overflow", "drop_newest", &err));
    OK(rk_subscriber_add(subscriber, "news", &err));
    for (i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "%d", i);
        OK(rk_publish(keep, "news", TEXT(text), NULL, &err));
    }
    do {
        rk_bytes_free(&json);
        OK(rk_subscriber_stats_json(subscriber, &json, &err));
        CHECK(i++ < 10000);
        usleep(1000);
    } while (!strstr((char *)json.data, "\"received\":10,"));
    HAS((char *)json.data, "\"dropped\":7,");
    rk_bytes_free(&json);
    for (i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%d", i);
        expect(subscriber, "news", NULL, TEXT(text));
    }
    nothing_comes(subscriber);

    FAILS(RK_ERR_UNKNOWN_PROPERTY, rk_subscriber_option(subscriber, "colour", "red", &err));
    HAS(rk_error_message(err), "queue_limit");
    done();
    FAILS(RK_ERR_BAD_VALUE, rk_subscriber_option(subscriber, "queue_limit", "0", &err));
    HAS(rk_error_message(err), "queue_limit");
    done();
    STATUS(RK_ERR_BAD_VALUE, rk_subscriber_option(subscriber, "queue_bytes", "many", &err));
    STATUS(RK_ERR_BAD_VALUE, rk_subscriber_option(subscriber, "overflow", "block", &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_option(subscriber, NULL, "1", &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_option(subscriber, "overflow", NULL, &err));
    rk_subscriber_free(subscriber);
}

/* What the callbacks see. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    rk_subscriber *subscriber;
    int messages, gaps, freed;
    int slow, free_inside;
    char last[32];
};

#define SEEN_INIT {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static void on_message(const char *channel, const void *data, size_t len, void *userdata)
{
    struct seen *seen = userdata;
    rk_subscriber *mine = NULL;

    CHECK_STR(channel, "news");
    if (seen->slow)
        usleep(100000);
    pthread_mutex_lock(&seen->lock);
    CHECK(len < sizeof(seen->last));
    memcpy(seen->last, data, len);
    seen->last[len] = 0;
    if (seen->free_inside) {
        mine = seen->subscriber;
        seen->subscriber = NULL;
    }
    pthread_mutex_unlock(&seen->lock);
    rk_subscriber_free(mine);
    pthread_mutex_lock(&seen->lock);
    CHECK_EQ_INT(seen->freed, 0);
    seen->messages++;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void on_gap(const char *channel, void *userdata)
{
    struct seen *seen = userdata;

    CHECK_STR(channel, "news");
    pthread_mutex_lock(&seen->lock);
    seen->gaps++;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void on_free(void *userdata)
{
    struct seen *seen = userdata;

    pthread_mutex_lock(&seen->lock);
    seen->freed++;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void wait_for_count(struct seen *seen, const int *count, int wanted)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    pthread_mutex_lock(&seen->lock);
    while (*count < wanted)
        CHECK_EQ_INT(pthread_cond_timedwait(&seen->changed, &seen->lock, &end), 0);
    CHECK_EQ_INT(*count, wanted);
    pthread_mutex_unlock(&seen->lock);
}

static void by_callback(rk_manager *keep)
{
    static const char *const kill[] = {"CLIENT", "KILL", "TYPE", "pubsub"};
    struct seen seen = SEEN_INIT;
    rk_subscriber *subscriber = new_subscriber(keep);
    rk_event *event = NULL;
    char text[8];
    int i;

    OK(rk_subscriber_on_message(subscriber, on_message, &seen, on_free, &err));
    OK(rk_subscriber_on_gap(subscriber, on_gap, &seen, NULL, &err));
    OK(rk_subscriber_add(subscriber, "news", &err));
    for (i = 1; i <= 100; i++) {
        snprintf(text, sizeof(text), "%d", i);
        OK(rk_publish(keep, "news", TEXT(text), NULL, &err));
    }
    wait_for_count(&seen, &seen.messages, 100);
    CHECK_STR(seen.last, "100");
    OK(rk_command_argv(keep, 4, kill, NULL, &err));
    wait_for_count(&seen, &seen.gaps, 1);
    OK(rk_publish(keep, "news", TEXT("on"), NULL, &err));
    wait_for_count(&seen, &seen.messages, 101);

    FAILS(RK_ERR_CONFLICT, rk_subscriber_poll(subscriber, 0, &event, &err));
    HAS(rk_error_message(err), "handlers");
    done();
    CHECK_EQ_INT(rk_subscriber_fd(subscriber), -1);
    CHECK_EQ_INT(seen.freed, 0);

    /* It waits for the callback that runs; none comes later. */
    seen.slow = 1;
    OK(rk_publish(keep, "news", TEXT("last"), NULL, &err));
    usleep(30000);
    rk_subscriber_free(subscriber);
    CHECK_EQ_INT(seen.freed, 1);
    i = seen.messages;
    CHECK(i == 101 || i == 102);
    publish_to_nobody(keep, "news");
    CHECK_EQ_INT(seen.messages, i);
}

static void freed_inside(rk_manager *keep)
{
    struct seen seen = SEEN_INIT;

    seen.free_inside = 1;
    seen.subscriber = new_subscriber(keep);
    OK(rk_subscriber_on_message(seen.subscriber, on_message, &seen, on_free, &err));
    OK(rk_subscriber_add(seen.subscriber, "news", &err));
    OK(rk_publish(keep, "news", TEXT("x"), NULL, &err));
    wait_for_count(&seen, &seen.messages, 1);
    wait_for_count(&seen, &seen.freed, 1);
}

/* Userdata is freed once, also where the registration fails. */
static void refused(rk_manager *keep)
{
    struct seen seen = SEEN_INIT;
    rk_subscriber *subscriber = new_subscriber(keep);
    rk_event *event = NULL;

    STATUS(RK_ERR_ARGUMENT, rk_subscriber_on_message(NULL, on_message, &seen, on_free, &err));
    CHECK_EQ_INT(seen.freed, 1);
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_on_message(subscriber, NULL, &seen, on_free, &err));
    CHECK_EQ_INT(seen.freed, 2);
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_on_gap(subscriber, NULL, &seen, on_free, &err));
    CHECK_EQ_INT(seen.freed, 3);
    OK(rk_subscriber_on_message(subscriber, on_message, &seen, on_free, &err));
    STATUS(RK_ERR_CONFLICT, rk_subscriber_on_message(subscriber, on_message, &seen, on_free, &err));
    CHECK_EQ_INT(seen.freed, 4);
    rk_subscriber_free(subscriber);
    CHECK_EQ_INT(seen.freed, 5);

    subscriber = new_subscriber(keep);
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_add(subscriber, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_add(NULL, "a", &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_add_pattern(subscriber, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_remove(subscriber, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_poll(subscriber, 0, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_poll(subscriber, -2, &event, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_poll(NULL, 0, &event, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_new(keep, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_subscriber_stats_json(subscriber, NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_publish(keep, NULL, TEXT("x"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_publish(keep, "a", NULL, 3, NULL, &err));
    CHECK_EQ_INT(rk_subscriber_fd(NULL), -1);
    CHECK_EQ_INT(rk_event_kind(NULL), RK_EVENT_NONE);
    CHECK_STR(rk_event_channel(NULL), NULL);
    CHECK_STR(rk_event_pattern(NULL), NULL);
    CHECK(rk_event_data(NULL, NULL) == NULL);
    rk_event_free(NULL);
    rk_subscriber_free(NULL);
    rk_subscriber_free(subscriber);
}

static void *poll_for_ever(void *subscriber)
{
    rk_event *event = NULL;
    rk_status status = rk_subscriber_poll(subscriber, -1, &event, NULL);
    CHECK(event == NULL);
    return (void *)(intptr_t)status;
}

/* Closing wakes whoever polls; the order of freeing does not matter. */
static void closed(void)
{
    rk_manager *keep = open_keep();
    rk_subscriber *subscriber = new_subscriber(keep);
    pthread_t thread;
    void *status = NULL;

    OK(rk_subscriber_add(subscriber, "news", &err));
    CHECK_EQ_INT(pthread_create(&thread, NULL, poll_for_ever, subscriber), 0);
    usleep(50000);
    OK(rk_manager_close(keep, 10000, &err));
    CHECK_EQ_INT(pthread_join(thread, &status), 0);
    CHECK_EQ_INT((intptr_t)status, RK_ERR_CLOSED);
    STATUS(RK_ERR_CLOSED, rk_subscriber_add(subscriber, "more", &err));
    rk_manager_free(keep);
    rk_subscriber_free(subscriber);

    keep = open_keep();
    subscriber = new_subscriber(keep);
    OK(rk_subscriber_add(subscriber, "news", &err));
    OK(rk_publish(keep, "news", TEXT("late"), NULL, &err));
    rk_manager_free(keep);
    expect(subscriber, "news", NULL, TEXT("late"));
    rk_subscriber_free(subscriber);
}

int main(void)
{
    rk_manager *keep = open_keep();

    polled(keep);
    by_epoll(keep);
    gaps(keep);
    limits(keep);
    by_callback(keep);
    freed_inside(keep);
    refused(keep);
    rk_manager_free(keep);
    closed();
    return 0;
}
