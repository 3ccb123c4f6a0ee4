/* A hit in the near cache by rk_near_get_into(), 64 bytes copied, beside a GET by rk_get_into(): benches/run.sh runs it,
 * with the url of a server, and client and server on one processor. Prints medians of rounds in turns as Markdown. */

#include <redkeep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 9
#define SIZE 64

static char buffer[SIZE];
static size_t length;

static void need(rk_status status, rk_error *err)
{
    if (status == RK_OK)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Nanoseconds for each; from the manager where there is no near cache. */
static double reads(rk_manager *keep, rk_near *near, long count)
{
    double before = now();
    rk_error *err = NULL;
    long i;
    for (i = 0; i < count; i++)
        need(near ? rk_near_get_into(near, "key", 3, buffer, SIZE, &length, &err)
                  : rk_get_into(keep, "key", 3, buffer, SIZE, &length, &err),
             err);
    return (now() - before) / (double)count;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_near *near = NULL;
    double hits[ROUNDS], gets[ROUNDS];
    char value[SIZE];
    int i;

    if (argc != 2)
        return 2;
    memset(value, 'x', SIZE);
    need(rk_manager_open(argv[1], &keep, &err), err);
    need(rk_near_new(keep, 64 << 20, &near, &err), err);
    need(rk_set(keep, "key", 3, value, SIZE, &err), err);
    reads(keep, near, 1000);
    for (i = 0; i < ROUNDS; i++) {
        hits[i] = reads(keep, near, 1000000);
        gets[i] = reads(keep, NULL, 20000);
    }
    qsort(hits, ROUNDS, sizeof *hits, by_size);
    qsort(gets, ROUNDS, sizeof *gets, by_size);
    printf("| near cache, C | ns | GET / this |\n|---|---:|---:|\n");
    printf("| rk_near_get_into | %.1f (%.1f - %.1f) | %.0f |\n", hits[ROUNDS / 2], hits[0], hits[ROUNDS - 1],
           gets[ROUNDS / 2] / hits[ROUNDS / 2]);
    printf("| rk_get_into | %.1f (%.1f - %.1f) | 1 |\n", gets[ROUNDS / 2], gets[0], gets[ROUNDS - 1]);
    rk_near_free(near);
    rk_manager_free(keep);
    return 0;
}
