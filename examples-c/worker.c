/* A service that consumes in the background, and one that does so in a thread of its own. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <redkeep.h>

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* Called on threads of the library's, or in the thread that persists. */
static int32_t charge(const rk_message *message, void *userdata)
{
    atomic_int *left = userdata;

    printf("charged %s\n", rk_message_body(message));
    atomic_fetch_sub(left, 1);
    return RK_OK;
}

static rk_consumer *consumer_of(rk_manager *keep, const char *listener, atomic_int *left)
{
    rk_consumer *consumer = NULL;
    rk_error *err = NULL;

    need(rk_consumer_new(keep, listener, &consumer, &err), err);
    need(rk_consumer_register_channel(consumer, "orders", NULL, &err), err);
    need(rk_consumer_register_handler(consumer, "orders", charge, left, NULL, &err), err);
    return consumer;
}

static void until_none(atomic_int *left)
{
    struct timespec moment = {0, 5 * 1000 * 1000};

    while (atomic_load(left) > 0) /* a service waits for its signal to end here */
        nanosleep(&moment, NULL);
}

/* Until rk_consumer_stop() is called elsewhere; without a rest after an empty round. */
static void *loop(void *consumer)
{
    rk_error *err = NULL;

    need(rk_consumer_persist(consumer, "orders", NULL, 0, 1000, &err), err);
    return NULL;
}

int main(void)
{
    atomic_int left = 2;
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_sender *sender = NULL;
    rk_consumer *consumer;
    pthread_t thread;
    int64_t handled = 0;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    need(rk_sender_new(keep, &sender, &err), err);
    need(rk_sender_register_channel(sender, "orders", &err), err);
    need(rk_sender_send(sender, "orders", "order.created", "{\"id\": 1}", NULL, &err), err);
    need(rk_sender_send(sender, "orders", "order.created", "{\"id\": 2}", NULL, &err), err);

    consumer = consumer_of(keep, "billing", &left);
    need(rk_consumer_start(consumer, 0, 1000, &err), err);
    until_none(&left);
    need(rk_consumer_stop(consumer, 10000, &err), err); /* what was begun is finished */
    rk_consumer_free(consumer);

    /* Another listener gets all of them again. */
    atomic_store(&left, 2);
    consumer = consumer_of(keep, "mail", &left);
    if (pthread_create(&thread, NULL, loop, consumer) != 0)
        return 1;
    until_none(&left);
    need(rk_consumer_stop(consumer, 10000, &err), err);
    pthread_join(thread, NULL);
    rk_consumer_free(consumer);

    /* And one batch of one channel, in this thread. */
    atomic_store(&left, 2);
    consumer = consumer_of(keep, "audit", &left);
    need(rk_consumer_consume(consumer, "orders", NULL, 1000, &handled, &err), err);
    printf("%d in one batch\n", (int)handled);
    rk_consumer_free(consumer);

    rk_sender_free(sender);
    rk_manager_free(keep);
    return 0;
}
