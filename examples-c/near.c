/* A near cache: what is read often is read from this process, and the server says when it has changed. */

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
    rk_error_free(err);
    exit(1);
}

/* Hashes, several keys, JSON. What is kept is what was asked for. */
static void more(rk_manager *keep, rk_near *near)
{
    rk_error *err = NULL;
    rk_slice keys[] = {RK_LIT("settings:theme"), RK_LIT("settings:menu")};
    rk_bytes text = RK_BYTES_INIT;
    rk_reply *reply = NULL;

    need(rk_set_json(keep, TEXT("settings:menu"), "[\"home\", \"cart\"]", NULL, NULL, &err), err);
    need(rk_near_get_json(near, TEXT("settings:menu"), &text, &err), err);
    printf("the menu is %s\n", (char *)text.data);
    rk_bytes_free(&text);

    need(rk_near_mget(near, keys, 2, &reply, &err), err);
    printf("%zu settings\n", rk_reply_len(reply));
    rk_reply_free(reply);

    need(rk_hset(keep, TEXT("settings:mail"), TEXT("from"), TEXT("shop@example.org"), NULL, &err), err);
    need(rk_near_hgetall(near, TEXT("settings:mail"), &reply, &err), err);
    need(rk_near_hget(near, TEXT("settings:mail"), TEXT("from"), &text, &err), err); /* answered by the line above */
    printf("mail has %zu field; from: %s\n", rk_reply_len(reply), (char *)text.data);
    rk_reply_free(reply);
    rk_bytes_free(&text);
    need(rk_near_clear(near, &err), err); /* the copies, not the keys */
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_near *near = NULL;
    rk_bytes value = RK_BYTES_INIT, stats = RK_BYTES_INIT;
    char theme[32];
    size_t len = 0;
    int i;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    need(rk_near_new(keep, 64 << 20, &near, &err), err); /* 64 MiB at most */
    need(rk_near_option(near, "prefix", "settings:", &err), err);

    need(rk_set(keep, TEXT("settings:theme"), TEXT("dark"), &err), err);
    for (i = 0; i < 1000; i++) /* the first is read from the server */
        need(rk_near_get_into(near, TEXT("settings:theme"), theme, sizeof theme, &len, &err), err);
    printf("the theme is %.*s\n", (int)len, theme);

    /* Whoever changes it, here or elsewhere: the copy goes. */
    need(rk_set(keep, TEXT("settings:theme"), TEXT("light"), &err), err);
    need(rk_near_get(near, TEXT("settings:theme"), &value, &err), err);
    printf("now it is %s\n", (char *)value.data);
    rk_bytes_free(&value);

    more(keep, near);
    need(rk_near_stats_json(near, &stats, &err), err);
    printf("%s\n", (char *)stats.data);
    rk_bytes_free(&stats);
    rk_near_free(near);
    rk_manager_free(keep);
    return 0;
}
