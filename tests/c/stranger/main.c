/* A program of somebody else, who has only what was installed. */
#include <redkeep.h>
#include <stdio.h>

int main(void)
{
    rk_manager *keep = NULL;
    rk_error *err = NULL;
    rk_bytes greeting = RK_BYTES_INIT;
    int fine = rk_manager_open("embedded://", &keep, &err) == RK_OK &&
               rk_set(keep, "greeting", 8, "hello", 5, &err) == RK_OK &&
               rk_get(keep, "greeting", 8, &greeting, &err) == RK_OK;

    if (fine)
        printf("%s from redkeep %s\n", (const char *)greeting.data, rk_version_string());
    else
        fprintf(stderr, "%s\n", rk_error_message(err));
    rk_bytes_free(&greeting);
    rk_error_free(err);
    rk_manager_free(keep);
    return fine ? 0 : 1;
}
