/* Publish and subscribe in C, in the two ways there are: by callback, and in a program's own loop around epoll.
 *
 * cc pubsub.c $(pkg-config --cflags --libs redkeep) -o pubsub && ./pubsub */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

/* For this program every error is the end. */
static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* Called on a thread of the library's: one message of a channel after the other. It may take its time; it must not leave
 * by longjmp(). The data end at len, not at a zero. */
static void on_order(const char *channel, const void *data, size_t len, void *userdata)
{
    (void)userdata;
    printf("callback: %s: %.*s\n", channel, (int)len, (const char *)data);
}

/* The connection was lost and is there again: whatever was published meanwhile will not come. A program that has to know
 * reads the present state again now. */
static void on_gap(const char *channel, void *userdata)
{
    (void)userdata;
    printf("callback: something was missed on %s\n", channel);
}

static void by_callback(rk_manager *keep)
{
    rk_subscriber *orders = NULL;
    rk_error *err = NULL;
    struct timespec moment = {0, 100 * 1000 * 1000};

    need(rk_subscriber_new(keep, &orders, &err), err);
    need(rk_subscriber_on_message(orders, on_order, NULL, NULL, &err), err);
    need(rk_subscriber_on_gap(orders, on_gap, NULL, NULL, &err), err);
    need(rk_subscriber_add(orders, "orders", &err), err); /* confirmed by the server when it returns */

    need(rk_publish_json(keep, "orders", "{\"id\": 1}", NULL, &err), err);
    need(rk_publish_json(keep, "orders", "{\"id\": 2}", NULL, &err), err);

    nanosleep(&moment, NULL);   /* a real program does something else here */
    rk_subscriber_free(orders); /* waits for a callback that runs; none comes later */
}

/* Takes everything that is there, without waiting. False when the program is to end. */
static bool drain(rk_subscriber *news)
{
    rk_error *err = NULL;
    rk_event *event = NULL;
    rk_status status;
    bool go_on = true;

    while ((status = rk_subscriber_poll(news, 0, &event, &err)) == RK_OK) {
        size_t len = 0;
        const char *data = rk_event_data(event, &len);

        if (rk_event_kind(event) == RK_EVENT_GAP)
            printf("epoll: something was missed on %s\n", rk_event_pattern(event));
        else
            printf("epoll: %s (by %s): %.*s\n", rk_event_channel(event), rk_event_pattern(event), (int)len, data);
        if (rk_event_kind(event) == RK_EVENT_MESSAGE && strcmp(rk_event_channel(event), "news:end") == 0)
            go_on = false;
        rk_event_free(event);
    }
    need(status, err); /* RK_NIL: nothing is left */
    return go_on;
}

static void by_epoll(rk_manager *keep)
{
    rk_subscriber *news = NULL;
    rk_error *err = NULL;
    struct epoll_event wish = {.events = EPOLLIN}, came;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    need(rk_subscriber_new(keep, &news, &err), err);
    /* At most a thousand wait; when there are more, the oldest make room. */
    need(rk_subscriber_option(news, "queue_limit", "1000", &err), err);
    need(rk_subscriber_add_pattern(news, "news:*", &err), err);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, rk_subscriber_fd(news), &wish) != 0) {
        perror("epoll");
        exit(1);
    }

    need(rk_publish(keep, "news:local", TEXT("rain"), NULL, &err), err);
    need(rk_publish(keep, "news:end", TEXT("good night"), NULL, &err), err);

    do {
        epoll_wait(epoll, &came, 1, -1); /* together with whatever else the program waits for */
    } while (drain(news));
    rk_subscriber_free(news); /* its descriptor leaves the epoll set by itself */
}

/* Subscriptions come and go while it runs. A sharded channel belongs to one node of a cluster: servers from 7.0 on. */
static void come_and_go(rk_manager *keep)
{
    rk_subscriber *one = NULL;
    rk_error *err = NULL;
    rk_bytes stats = RK_BYTES_INIT;

    need(rk_subscriber_new(keep, &one, &err), err);
    need(rk_subscriber_add(one, "a", &err), err);
    need(rk_subscriber_add_pattern(one, "b:*", &err), err);
    if (rk_subscriber_add_sharded(one, "orders", &err) < 0) {
        printf("no sharded channels here: %s\n", rk_error_message(err));
        rk_error_free(err);
    } else {
        need(rk_publish_sharded(keep, "orders", TEXT("{\"id\": 3}"), NULL, &err), err);
        need(rk_subscriber_remove_sharded(one, "orders", &err), err);
    }
    need(rk_subscriber_remove(one, "a", &err), err);
    need(rk_subscriber_remove_pattern(one, "b:*", &err), err);
    need(rk_subscriber_stats_json(one, &stats, &err), err);
    printf("%s\n", (char *)stats.data);
    rk_bytes_free(&stats);
    rk_subscriber_free(one);
}

int main(void)
{
    rk_manager *keep = NULL;
    rk_error *err = NULL;

    need(rk_manager_open("embedded://", &keep, &err), err); /* or redis://host:6379 */
    by_callback(keep);
    by_epoll(keep);
    come_and_go(keep);
    rk_manager_free(keep);
    return 0;
}
