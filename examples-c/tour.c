/* A tour of redkeep in C. It runs on a private server that ends with the program: `make demo`.
 *
 * The pattern is the same everywhere: a call returns a status, fills its outputs, and tells more in an rk_error. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redkeep.h>

/* A C string as pointer and length, which is how data is handed over. */
#define TEXT(text) (text), strlen(text)

static void chapter(const char *title)
{
    printf("\n%s\n", title);
}

/* For this program every error but the one that it provokes is the end. */
static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

static void values(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_bytes value = RK_BYTES_INIT;
    rk_status status;

    chapter("Values");
    need(rk_set(keep, TEXT("greeting"), TEXT("hello, world"), &err), err);
    need(rk_get(keep, TEXT("greeting"), &value, &err), err);
    printf("  greeting is \"%s\", %zu bytes\n", (char *)value.data, value.len);
    rk_bytes_free(&value); /* what the library hands out, the library takes back */

    status = rk_get(keep, TEXT("no such key"), &value, &err);
    need(status, err); /* RK_NIL is no error: there is just no value */
    printf("  no such key: %s\n", rk_status_name(status));
}

static void options(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_set_options *once = rk_set_options_new();
    bool first = false, second = false;
    int64_t seconds = 0;

    chapter("Only once, and for an hour");
    rk_set_options_ex(once, 3600);
    rk_set_options_nx(once);
    need(rk_set_with(keep, TEXT("token"), TEXT("xyz"), once, &first, &err), err);
    need(rk_set_with(keep, TEXT("token"), TEXT("abc"), once, &second, &err), err);
    need(rk_ttl(keep, TEXT("token"), &seconds, &err), err);
    printf("  set by the first: %s, by the second: %s; %" PRId64 " seconds left\n", first ? "yes" : "no",
           second ? "yes" : "no", seconds);
    rk_set_options_free(once);
}

static void counter_and_hash(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_bytes city = RK_BYTES_INIT;
    int64_t visits = 0, added = 0;
    /* Arrays of data are slices; pairs are slices in turn. */
    rk_slice user[] = {RK_LIT("name"), RK_LIT("Ann"), RK_LIT("city"), RK_LIT("Bonn")};

    chapter("A counter and a hash");
    need(rk_incr(keep, TEXT("visits"), 1, NULL, &err), err); /* an output that nobody wants may be NULL */
    need(rk_incr(keep, TEXT("visits"), 41, &visits, &err), err);
    printf("  visits: %" PRId64 "\n", visits);

    need(rk_hset_many(keep, TEXT("user:1"), user, 2, &added, &err), err);
    need(rk_hget(keep, TEXT("user:1"), TEXT("city"), &city, &err), err);
    printf("  user:1 has %" PRId64 " fields; the city is %s\n", added, (char *)city.data);
    rk_bytes_free(&city);
}

static void json(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_bytes text = RK_BYTES_INIT;

    chapter("JSON, checked on the way in and on the way out");
    need(rk_set_json(keep, TEXT("order:7"), "{\"items\": [1, 2], \"paid\": true}", NULL, NULL, &err), err);
    need(rk_get_json(keep, TEXT("order:7"), &text, &err), err);
    printf("  order:7 is %s\n", (char *)text.data);
    rk_bytes_free(&text);
}

static void any_command(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_reply *reply = NULL;
    const char *add[] = {"ZADD", "scores", "3", "ann", "5", "bob", "4", "cem"};
    rk_slice top[] = {RK_LIT("ZREVRANGE"), RK_LIT("scores"), RK_LIT("0"), RK_LIT("1")};
    size_t i;

    chapter("Everything else that Redis has");
    need(rk_command_argv(keep, 8, add, NULL, &err), err);
    need(rk_command(keep, top, 4, &reply, &err), err);
    for (i = 0; i < rk_reply_len(reply); i++) {
        size_t len = 0;
        const char *name = rk_reply_bytes(rk_reply_at(reply, i), &len);
        printf("  %zu. %.*s\n", i + 1, (int)len, name);
    }
    rk_reply_free(reply); /* the root; its parts go with it */
}

static void an_error(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_status status = rk_incr(keep, TEXT("greeting"), 1, NULL, &err);

    chapter("An error, read properly");
    printf("  status      %d, %s\n", (int)status, rk_status_name(status));
    printf("  message     %s\n", rk_error_message(err));
    printf("  server code %s\n", rk_error_server_code(err));
    printf("  outcome     %s\n", rk_error_outcome(err) == RK_REFUSED ? "refused: nothing was changed" : "another");
    printf("  retriable   %s\n", rk_error_is_retriable(err) ? "yes" : "no");
    rk_error_free(err);
}

static void health_and_pools(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_bytes text = RK_BYTES_INIT;

    chapter("Health and pools");
    need(rk_manager_health_check(keep, NULL, &text, &err), err);
    printf("  %s\n", (char *)text.data);
    rk_bytes_free(&text);
    need(rk_manager_fetch_pool_status(keep, &text, &err), err);
    printf("  %s\n", (char *)text.data);
    rk_bytes_free(&text);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;

    printf("redkeep %s\n", rk_version_string());

    /* One manager for the whole program, used from any thread. Yours opens "redis://localhost", or NULL to go by the
     * environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);

    values(keep);
    options(keep);
    counter_and_hash(keep);
    json(keep);
    any_command(keep);
    an_error(keep);
    health_and_pools(keep);

    chapter("The end");
    need(rk_manager_close(keep, 5000, &err), err);
    printf("  closed; a call now returns %s\n", rk_status_name(rk_ping(keep, NULL)));
    rk_manager_free(keep);
    return 0;
}
