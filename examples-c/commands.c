/* The everyday commands, and how to read the replies of all the others. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    if (rk_error_node(err))
        fprintf(stderr, "  it happened at %s\n", rk_error_node(err));
    rk_error_free(err);
    exit(1);
}

/* Expiry and conditions of SET; a value read without any allocation; several keys at once. */
static void values(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_set_options *brief = rk_set_options_new(), *again = rk_set_options_new();
    rk_slice pairs[] = {RK_LIT("user:1"), RK_LIT("Ann"), RK_LIT("user:2"), RK_LIT("Bob")};
    rk_slice keys[] = {RK_LIT("user:1"), RK_LIT("user:2"), RK_LIT("user:3")};
    rk_reply *names = NULL;
    char token[8];
    size_t len = 0, i;
    bool yes = false;
    int64_t deleted = 0;

    need(rk_set_options_px(brief, 60 * 1000), NULL);
    need(rk_set_with(keep, TEXT("token"), TEXT("xyz"), brief, NULL, &err), err);
    /* The new value, only if there is one already, for as long as the one before had left. */
    need(rk_set_options_xx(again), NULL);
    need(rk_set_options_keep_ttl(again), NULL);
    need(rk_set_with(keep, TEXT("token"), TEXT("a longer one"), again, &yes, &err), err);
    rk_set_options_free(brief);
    rk_set_options_free(again);

    if (rk_get_into(keep, TEXT("token"), token, sizeof token, &len, &err) == RK_TRUNCATED)
        printf("the token has %zu bytes, of which %zu fit: %.*s\n", len, sizeof token, (int)sizeof token, token);
    need(rk_error_status(err), err);

    need(rk_mset(keep, pairs, 2, &err), err);
    need(rk_mget(keep, keys, 3, &names, &err), err);
    for (i = 0; i < rk_reply_len(names); i++) {
        const char *name = rk_reply_bytes(rk_reply_at(names, i), &len);
        printf("user %zu is %.*s\n", i + 1, name ? (int)len : 6, name ? name : "nobody");
    }
    rk_reply_free(names);

    need(rk_expire(keep, TEXT("user:1"), 3600, &yes, &err), err);
    need(rk_delete(keep, keys, 3, &deleted, &err), err);
    need(rk_exists(keep, TEXT("user:1"), &yes, &err), err);
    printf("%" PRId64 " users deleted; the first is %s\n", deleted, yes ? "there" : "gone");
}

/* A hash, field by field and in one command; HGETALL comes as a map. */
static void hashes(rk_manager *keep)
{
    rk_error *err = NULL;
    rk_slice more[] = {RK_LIT("city"), RK_LIT("Bonn"), RK_LIT("age"), RK_LIT("37")};
    rk_slice all[] = {RK_LIT("HGETALL"), RK_LIT("ann")};
    rk_reply *fields = NULL;
    int64_t added = 0;
    size_t i;

    need(rk_hset(keep, TEXT("ann"), TEXT("name"), TEXT("Ann"), &added, &err), err);
    need(rk_hset_with(keep, TEXT("ann"), TEXT("name"), TEXT("Anna"), more, 2, &added, &err), err);
    printf("%" PRId64 " fields are new\n", added);
    /* With a time of its own, 200 ms, in place of the property "command_timeout". */
    need(rk_command_within(keep, all, 2, 200, &fields, &err), err);
    for (i = 0; i < rk_reply_len(fields); i++) {
        size_t key_len = 0, len = 0;
        const char *key = rk_reply_bytes(rk_reply_key_at(fields, i), &key_len);
        const char *value = rk_reply_bytes(rk_reply_at(fields, i), &len);
        printf("  %.*s: %.*s\n", (int)key_len, key, (int)len, value);
    }
    rk_reply_free(fields);
}

/* A reply of any type. */
static void show(const char *what, const rk_reply *reply)
{
    size_t len = 0;
    const char *text = rk_reply_bytes(reply, &len);

    switch (rk_reply_type_of(reply)) {
    case RK_REPLY_NIL:
        printf("%s: nothing\n", what);
        break;
    case RK_REPLY_INTEGER:
        printf("%s: %" PRId64 "\n", what, rk_reply_integer(reply));
        break;
    case RK_REPLY_DOUBLE:
        printf("%s: %g\n", what, rk_reply_double(reply));
        break;
    case RK_REPLY_BOOL:
        printf("%s: %s\n", what, rk_reply_bool(reply) ? "true" : "false");
        break;
    case RK_REPLY_ARRAY:
    case RK_REPLY_SET:
    case RK_REPLY_MAP:
        printf("%s: %zu elements\n", what, rk_reply_len(reply));
        break;
    default:
        printf("%s: %.*s\n", what, (int)len, text);
    }
}

static void anything(rk_manager *keep)
{
    static const char *const zadd[] = {"ZADD", "scores", "3.5", "ann"}, *const zscore[] = {"ZSCORE", "scores", "ann"};
    const char *grow = "return redis.call('ZINCRBY', KEYS[1], ARGV[1], ARGV[2])";
    rk_slice key = RK_LIT("scores"), args[] = {RK_LIT("2"), RK_LIT("ann")};
    rk_error *err = NULL;
    rk_reply *reply = NULL;
    rk_scan *walk = NULL;
    rk_bytes name = RK_BYTES_INIT;
    rk_status status;

    need(rk_command_argv(keep, 4, zadd, &reply, &err), err);
    show("ZADD", reply);
    rk_reply_free(reply);
    need(rk_command_argv(keep, 3, zscore, &reply, &err), err);
    show("ZSCORE", reply);
    rk_reply_free(reply);
    /* A script: its digest goes to the server, and its text only where that does not know it. */
    need(rk_eval(keep, grow, &key, 1, args, 2, &reply, &err), err);
    show("the script", reply);
    rk_reply_free(reply);

    /* All keys of a pattern, on a cluster those of all nodes. */
    need(rk_scan_new(keep, "s*", &walk, &err), err);
    while ((status = rk_scan_next(walk, &name, &err)) == RK_OK) {
        printf("a key: %s\n", (char *)name.data);
        rk_bytes_free(&name);
    }
    need(status, err);
    rk_scan_free(walk);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    values(keep);
    hashes(keep);
    anything(keep);
    rk_manager_free(keep);
    return 0;
}
