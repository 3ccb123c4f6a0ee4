/* The log: silent by default, told to one callback at a time, whose userdata is freed exactly once. */
#include <pthread.h>
#include <unistd.h>

#include "keep.h"

struct told {
    pthread_mutex_t lock;
    int calls, frees;
    int level;
    char target[64], text[512];
};

static void on_log(int32_t level, const char *target, const char *text, void *userdata)
{
    struct told *told = userdata;
    pthread_mutex_lock(&told->lock);
    CHECK_EQ_INT(told->frees, 0);
    told->calls++;
    told->level = level;
    snprintf(told->target, sizeof told->target, "%s", target);
    snprintf(told->text, sizeof told->text, "%s", text);
    pthread_mutex_unlock(&told->lock);
}

static void on_free(void *userdata)
{
    struct told *told = userdata;
    pthread_mutex_lock(&told->lock);
    told->frees++;
    pthread_mutex_unlock(&told->lock);
}

/* A port where nobody listens is worth a warning: the node is down. */
static void something_happens(void)
{
    rk_manager *keep = NULL;
    OK(rk_manager_open("redis://:topsecret@127.0.0.1:1", &keep, &err));
    CHECK(rk_ping(keep, NULL) < 0);
    rk_manager_free(keep);
}

int main(void)
{
    static struct told a = {.lock = PTHREAD_MUTEX_INITIALIZER}, b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pid_t child;

    something_happens(); /* silent */

    CHECK_EQ_INT(rk_log_set_callback(2, on_log, &a, on_free), RK_OK);
    something_happens();
    CHECK_EQ_INT(a.calls, 1);
    CHECK_EQ_INT(a.level, 2);
    HAS(a.target, "redkeep");
    HAS(a.text, "127.0.0.1:1");
    CHECK(strstr(a.text, "topsecret") == NULL);

    /* The level is a limit. */
    CHECK_EQ_INT(rk_log_set_callback(1, on_log, &b, on_free), RK_OK);
    CHECK_EQ_INT(a.frees, 1);
    something_happens();
    CHECK_EQ_INT(a.calls, 1);
    CHECK_EQ_INT(b.calls, 0);

    /* A refused registration frees its userdata, and leaves the one before. */
    CHECK_EQ_INT(rk_log_set_callback(6, on_log, &a, on_free), RK_ERR_ARGUMENT);
    CHECK_EQ_INT(rk_log_set_callback(-1, on_log, &a, on_free), RK_ERR_ARGUMENT);
    CHECK_EQ_INT(a.frees, 3);
    CHECK_EQ_INT(b.frees, 0);

    /* The same userdata again: the one before is freed, once. */
    CHECK_EQ_INT(rk_log_set_callback(5, on_log, &b, NULL), RK_OK);
    CHECK_EQ_INT(b.frees, 1);
    b.frees = 0;

    /* A child is told as well, and can change who is. */
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        a.frees = 0;
        something_happens();
        CHECK_EQ_INT(b.calls, 1);
        CHECK_EQ_INT(rk_log_set_callback(5, on_log, &a, on_free), RK_OK);
        something_happens();
        CHECK_EQ_INT(b.calls, 1);
        CHECK_EQ_INT(rk_log_set_callback(0, NULL, NULL, NULL), RK_OK);
        CHECK_EQ_INT(a.frees, 1);
        exit(0);
    }
    wait_for(child);

    /* NULL: nobody is told; what was handed over is freed at once. */
    CHECK_EQ_INT(rk_log_set_callback(5, NULL, &a, on_free), RK_OK);
    CHECK_EQ_INT(a.frees, 4);
    something_happens();
    CHECK_EQ_INT(b.calls, 0);
    return 0;
}
