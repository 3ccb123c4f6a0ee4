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

    need(rk_near_stats_json(near, &stats, &err), err);
    printf("%s\n", (char *)stats.data);
    rk_bytes_free(&stats);
    rk_near_free(near);
    rk_manager_free(keep);
    return 0;
}
