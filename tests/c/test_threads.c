/* One manager, eight threads: everybody reads what it wrote itself, and no increment is lost. */
#include <pthread.h>

#include "keep.h"

#define THREADS 8
#define ROUNDS 50 /* of four commands each */

static rk_manager *keep;

static void *work(void *number)
{
    int me = (int)(size_t)number, i;
    rk_error *mine = NULL; /* one for each thread */

    for (i = 0; i < ROUNDS; i++) {
        char key[32], value[64], buf[64];
        rk_bytes got = RK_BYTES_INIT;
        size_t len = 0, wanted;

        snprintf(key, sizeof key, "thread:%d:%d", me, i % 7);
        wanted = (size_t)snprintf(value, sizeof value, "value %d of %d", i, me);
        CHECK_EQ_INT(rk_set(keep, TEXT(key), value, wanted, &mine), RK_OK);
        CHECK_EQ_INT(rk_get(keep, TEXT(key), &got, &mine), RK_OK);
        CHECK_STR((char *)got.data, value);
        rk_bytes_free(&got);
        CHECK_EQ_INT(rk_get_into(keep, TEXT(key), buf, sizeof buf, &len, &mine), RK_OK);
        CHECK_EQ_INT(len, wanted);
        CHECK_MEM(buf, value, len);
        CHECK_EQ_INT(rk_incr(keep, TEXT("visits"), 1, NULL, &mine), RK_OK);
        CHECK_EQ_INT(rk_incr(keep, TEXT("word"), 1, NULL, &mine), RK_ERR_NOT_A_NUMBER);
        rk_error_free(mine);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    rk_bytes visits = RK_BYTES_INIT;
    size_t i;

    keep = open_keep();
    OK(rk_set(keep, TEXT("word"), TEXT("many"), &err));
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(rk_get(keep, TEXT("visits"), &visits, &err));
    CHECK_EQ_INT(atoi((char *)visits.data), THREADS * ROUNDS);
    rk_bytes_free(&visits);
    rk_manager_free(keep);
    return 0;
}
