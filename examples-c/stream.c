/* Orders through a stream: one part of the program sends them, another handles them. It runs on a private server that
 * ends with the program; give it a URL, and it runs there.
 *
 *   cc stream.c $(pkg-config --cflags --libs redkeep) -o stream && ./stream */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redkeep.h>

/* For this program every error is the end. */
static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* Called with one message at a time. What it returns decides: RK_OK, and the message is done; anything else, and it
 * comes again after a pause, until it has come so often that it is put aside. */
static int32_t charge(const rk_message *message, void *userdata)
{
    int *left = userdata;

    printf("  %s %s (delivery %" PRId64 ")\n", rk_message_name(message), rk_message_body(message),
           rk_message_deliveries(message));
    if (!strcmp(rk_message_body(message), "{\"id\":2}") && rk_message_deliveries(message) == 1) {
        rk_message_fail(message, "the bank did not answer", NULL);
        return RK_ERR_TIMEOUT;
    }
    --*left;
    return RK_OK;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "embedded://";
    rk_manager *keep = NULL;
    rk_sender *sender = NULL;
    rk_consumer *consumer = NULL;
    rk_error *err = NULL;
    int left = 3, id;

    need(rk_manager_open(url, &keep, &err), err);

    need(rk_sender_new(keep, &sender, &err), err);
    need(rk_sender_register_channel(sender, "orders", &err), err);
    for (id = 1; id <= left; id++) {
        char body[32];
        snprintf(body, sizeof body, "{\"id\":%d}", id);
        need(rk_sender_send(sender, "orders", "order.created", body, NULL, &err), err);
    }
    printf("sent %d orders\n", left);

    need(rk_consumer_new(keep, "billing", &consumer, &err), err);
    need(rk_consumer_register_channel(consumer, "orders", "{\"backoff\": 0.1, \"message_cleanup\": true}", &err), err);
    need(rk_consumer_register_handler(consumer, "orders", charge, &left, NULL, &err), err);
    /* Here, in this thread, until all are done. A service would rather call rk_consumer_start() once. */
    while (left > 0)
        need(rk_consumer_consume_all(consumer, 1000, NULL, &err), err);

    rk_consumer_free(consumer);
    rk_sender_free(sender);
    rk_manager_free(keep);
    printf("all are charged\n");
    return 0;
}
