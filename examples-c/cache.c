/* A cache: what a slow query brought is kept, and computed once for all who ask at the same time. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <redkeep.h>

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

/* Runs on a miss, in the thread that asks. A real one asks a database, which userdata leads to. */
static rk_status query(const char *args_json, rk_bytes *json_out, void *userdata, rk_error **err)
{
    const char *rows = "[{\"id\": 7, \"name\": \"bicycle\"}]";

    (void)userdata;
    printf("  the query runs for %s\n", args_json);
    usleep(200 * 1000);
    if (strstr(args_json, "unknown")) {
        rk_error_set(err, RK_ERR_COMPUTE, "no such table");
        return RK_ERR_COMPUTE;
    }
    return rk_bytes_copy(json_out, rows, strlen(rows), err);
}

static void ask(rk_cache *cache, const char *args_json)
{
    rk_error *err = NULL;
    rk_bytes rows = RK_BYTES_INIT;
    rk_status status = rk_cache_get_or_compute(cache, args_json, query, NULL, &rows, &err);

    if (status == RK_OK)
        printf("%s\n", (char *)rows.data);
    else
        printf("%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_bytes_free(&rows);
    rk_error_free(err);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_cache *cache = NULL;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    need(rk_cache_new(keep, "rows", &cache, &err), err);
    need(rk_cache_option(cache, "expire", "600", &err), err);
    need(rk_cache_option(cache, "stale", "60", &err), err);
    need(rk_cache_option(cache, "skip_keys", "request", &err), err);

    ask(cache, "{\"table\": \"goods\", \"state\": \"used\", \"request\": 1}");
    ask(cache, "{\"state\": \"used\", \"table\": \"goods\", \"request\": 2}"); /* the same: it is kept */
    ask(cache, "{\"table\": \"unknown\"}");

    /* After a change: forget one value, or all of the namespace at once. */
    need(rk_cache_invalidate(cache, "{\"table\": \"goods\", \"state\": \"used\"}", &err), err);
    ask(cache, "{\"table\": \"goods\", \"state\": \"used\"}");
    need(rk_cache_invalidate(cache, NULL, &err), err);

    rk_cache_free(cache);
    rk_manager_free(keep);
    return 0;
}
