/* GET of 64 bytes, by hiredis or by redkeep: benches/run.sh runs both in turns.
 *
 *     hiredis PEER SERVER COUNT [stats | THREADS]
 *
 * PEER is `hiredis`, `timed` (hiredis with a timeout, as redkeep always has one) or `redkeep`; SERVER is the path of a unix socket or host:port. Prints one line of name=value:
 * times are in microseconds for each operation, and CPU times are those of this process with all its threads. With
 * `stats`, also how many GETs and other commands the server has counted in that time. With a number of threads, these
 * make COUNT GETs between them, hiredis with a connection for each and redkeep with one manager for all; then `wall` is
 * what one GET takes of the whole time, and `p50` and `p99` are what callers wait. OPTIONS="?shared_lines=1" in the
 * environment is appended to redkeep's url. */

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <redkeep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define KEY "key"
#define SIZE 64
/* Not measured: connects, and fills buffers and caches. */
#define WARM_UP 100

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "not what was expected");
    exit(1);
}

/* ---- hiredis */

static int timed;

static redisContext *dial(const char *server)
{
    const struct timeval patience = {5, 0};
    const char *colon = strrchr(server, ':');
    redisContext *context;
    if (colon) {
        char host[256];
        snprintf(host, sizeof host, "%.*s", (int)(colon - server), server);
        context = redisConnect(host, atoi(colon + 1));
    } else {
        context = redisConnectUnix(server);
    }
    if (!context || context->err)
        fail("hiredis", context ? context->errstr : "no memory");
    if (timed && redisSetTimeout(context, patience) != REDIS_OK)
        fail("hiredis", context->errstr);
    return context;
}

static void hiredis_gets(redisContext *context, long count)
{
    const char *argv[] = {"GET", KEY};
    const size_t lengths[] = {3, sizeof KEY - 1};
    while (count-- > 0) {
        redisReply *reply = redisCommandArgv(context, 2, argv, lengths);
        if (!reply)
            fail("hiredis", context->errstr);
        if (reply->type != REDIS_REPLY_STRING || reply->len != SIZE)
            fail("hiredis", "a wrong reply");
        freeReplyObject(reply);
    }
}

/* ---- redkeep */

static rk_manager *keep(const char *server)
{
    char url[512];
    rk_manager *manager = NULL;
    rk_error *err = NULL;
    const char *options = getenv("OPTIONS");
    snprintf(url, sizeof url, "%s%s%s", strchr(server, ':') ? "redis://" : "unix://", server, options ? options : "");
    if (rk_manager_open(url, &manager, &err) != RK_OK)
        fail("redkeep", rk_error_message(err));
    return manager;
}

static void redkeep_gets(rk_manager *manager, long count)
{
    char buffer[SIZE];
    rk_error *err = NULL;
    while (count-- > 0) {
        size_t length = 0;
        if (rk_get_into(manager, KEY, sizeof KEY - 1, buffer, sizeof buffer, &length, &err) != RK_OK)
            fail("redkeep", rk_error_message(err));
        if (length != SIZE)
            fail("redkeep", "a wrong reply");
    }
}

/* ---- many threads */

struct worker {
    pthread_t thread;
    redisContext *context;
    rk_manager *manager;
    pthread_barrier_t *start;
    float *times;
    long count;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    long i;
    if (worker->context)
        hiredis_gets(worker->context, WARM_UP);
    else
        redkeep_gets(worker->manager, WARM_UP);
    pthread_barrier_wait(worker->start);
    pthread_barrier_wait(worker->start);
    for (i = 0; i < worker->count; i++) {
        double before = now();
        if (worker->context)
            hiredis_gets(worker->context, 1);
        else
            redkeep_gets(worker->manager, 1);
        worker->times[i] = (float)(now() - before);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double cpu_time(void);

static void measure_threads(const char *peer, const char *server, long count, int threads)
{
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    float *times;
    pthread_barrier_t start;
    rk_manager *manager = strcmp(peer, "hiredis") ? keep(server) : NULL;
    double cpu, wall;
    int i;

    count -= count % threads;
    times = malloc((size_t)count * sizeof *times);
    if (!workers || !times || pthread_barrier_init(&start, NULL, (unsigned)threads + 1))
        fail(peer, "no memory");
    for (i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->count = count / threads;
        worker->times = times + i * worker->count;
        worker->start = &start;
        worker->manager = manager;
        worker->context = manager ? NULL : dial(server);
        if (pthread_create(&worker->thread, NULL, work, worker))
            fail(peer, "no thread");
    }
    pthread_barrier_wait(&start);
    cpu = cpu_time();
    wall = now();
    pthread_barrier_wait(&start);
    for (i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    wall = now() - wall;
    cpu = cpu_time() - cpu;
    qsort(times, (size_t)count, sizeof *times, by_size);
    printf("peer=%s ops=%ld cpu=%.3f wall=%.3f p50=%.1f p99=%.1f\n", peer, count, cpu / (double)count,
           wall / (double)count, (double)times[count / 2], (double)times[count * 99 / 100]);
    for (i = 0; i < threads; i++)
        if (workers[i].context)
            redisFree(workers[i].context);
    rk_manager_free(manager);
    pthread_barrier_destroy(&start);
    free(times);
    free(workers);
}

/* ---- what is measured */

/* How many commands of this name the server has executed; of all but INFO itself if there is no name. */
static long long executed(redisContext *context, const char *name)
{
    long long total = 0;
    redisReply *reply = redisCommand(context, "INFO commandstats");
    char *line;
    if (!reply || reply->type != REDIS_REPLY_STRING)
        fail("INFO", context->errstr);
    for (line = strtok(reply->str, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        char command[64];
        long long calls;
        if (sscanf(line, "cmdstat_%63[^:]:calls=%lld", command, &calls) == 2 &&
            (name ? !strcmp(command, name) : strcmp(command, "info")))
            total += calls;
    }
    freeReplyObject(reply);
    return total;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* Of this process with all its threads, in microseconds. */
static double cpu_time(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (seconds(usage.ru_utime) + seconds(usage.ru_stime)) * 1e6;
}

int main(int argc, char **argv)
{
    struct rusage before, after;
    struct timespec start, end;
    long long gets = 0, all = 0;
    double user, system, wall, each;
    rk_manager *manager = NULL;
    redisContext *mine = NULL, *other;
    char value[SIZE];
    long count;
    int stats;

    if (argc < 4 || (strcmp(argv[1], "hiredis") && strcmp(argv[1], "timed") && strcmp(argv[1], "redkeep")))
        fail("usage", "hiredis|timed|redkeep SOCKET|HOST:PORT COUNT [stats | THREADS]");
    timed = !strcmp(argv[1], "timed");
    count = atol(argv[3]);
    stats = argc > 4 && !strcmp(argv[4], "stats");

    /* Whatever is not measured goes over a connection of its own. */
    other = dial(argv[2]);
    memset(value, 'x', SIZE);
    freeReplyObject(redisCommand(other, "SET %s %b", KEY, value, (size_t)SIZE));
    if (argc > 4 && !stats) {
        measure_threads(argv[1], argv[2], count, atoi(argv[4]));
        redisFree(other);
        return 0;
    }

    if (strcmp(argv[1], "redkeep"))
        hiredis_gets(mine = dial(argv[2]), WARM_UP);
    else
        redkeep_gets(manager = keep(argv[2]), WARM_UP);
    if (stats) {
        gets = executed(other, "get");
        all = executed(other, NULL);
    }

    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (mine)
        hiredis_gets(mine, count);
    else
        redkeep_gets(manager, count);
    clock_gettime(CLOCK_MONOTONIC, &end);
    getrusage(RUSAGE_SELF, &after);

    user = seconds(after.ru_utime) - seconds(before.ru_utime);
    system = seconds(after.ru_stime) - seconds(before.ru_stime);
    wall = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    each = 1e6 / (double)count;
    printf("peer=%s ops=%ld cpu=%.3f user=%.3f system=%.3f wall=%.3f", argv[1], count, (user + system) * each,
           user * each, system * each, wall * each);
    if (stats) {
        gets = executed(other, "get") - gets;
        all = executed(other, NULL) - all;
        printf(" gets=%lld others=%lld", gets, all - gets);
    }
    printf("\n");

    if (mine)
        redisFree(mine);
    rk_manager_free(manager);
    redisFree(other);
    return 0;
}
