/* Pipelines, huge replies and a mix of sizes, by hiredis or by redkeep: benches/run.sh runs both in turns.
 *
 *     bulk PEER SERVER JOB ROUNDS [SIZE [COUNT]]
 *
 * PEER is `hiredis` or `redkeep`; SERVER is host:port. JOB is `gets` or `sets` (a pipeline of COUNT commands with values
 * of SIZE bytes), `huge` (GET of SIZE bytes), `list` (LRANGE of COUNT elements of SIZE bytes), or `mix` (COUNT threads, as
 * many GETs as SETs, values from 64 bytes to 16 KiB). Prints one line of name=value: `cpu` and `wall` are microseconds
 * for each round, `peak` is by how many KiB the program's memory grew at most. */

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <redkeep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS 64
/* Of what is sent. */
#define LARGEST 16384
static const char *const key_names = "bulk:%02d";
/* Made beforehand: it is not what is measured. */
static char keys[KEYS][16];
static size_t key_lengths[KEYS];

static struct job {
    const char *name, *server;
    int is_hiredis;
    long rounds, size, count;
    rk_manager *manager;
    char *value;
} job;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "not what was expected");
    exit(1);
}

static void ok(rk_status status, rk_error *err)
{
    if (status != RK_OK)
        fail("redkeep", rk_error_message(err));
}

static redisContext *dial(void)
{
    const char *colon = strrchr(job.server, ':');
    char host[256];
    redisContext *context;
    snprintf(host, sizeof host, "%.*s", (int)(colon - job.server), job.server);
    context = redisConnect(host, atoi(colon + 1));
    if (!context || context->err)
        fail("hiredis", context ? context->errstr : "no memory");
    return context;
}

/* ---- a pipeline */

static void checked(int is_get, int is_value, size_t length)
{
    if (is_get ? !is_value || length != (size_t)job.size : is_value)
        fail("pipeline", "a wrong reply");
}

static void hiredis_pipeline(redisContext *context, int is_get)
{
    long i;
    for (i = 0; i < job.count; i++) {
        const char *argv[] = {is_get ? "GET" : "SET", keys[i % KEYS], job.value};
        const size_t lengths[] = {3, key_lengths[i % KEYS], (size_t)job.size};
        if (redisAppendCommandArgv(context, is_get ? 2 : 3, argv, lengths) != REDIS_OK)
            fail("hiredis", context->errstr);
    }
    for (i = 0; i < job.count; i++) {
        redisReply *reply;
        if (redisGetReply(context, (void **)&reply) != REDIS_OK)
            fail("hiredis", context->errstr);
        checked(is_get, reply->type == REDIS_REPLY_STRING, reply->len);
        freeReplyObject(reply);
    }
}

static void redkeep_pipeline(rk_pipeline *pipeline, int is_get)
{
    rk_error *err = NULL;
    rk_reply *replies = NULL;
    long i;
    for (i = 0; i < job.count; i++) {
        rk_slice args[3];
        args[0].data = is_get ? "GET" : "SET";
        args[0].len = 3;
        args[1].data = keys[i % KEYS];
        args[1].len = key_lengths[i % KEYS];
        args[2].data = job.value;
        args[2].len = (size_t)job.size;
        ok(rk_pipeline_append(pipeline, args, is_get ? 2 : 3, &err), err);
    }
    ok(rk_pipeline_execute(pipeline, &replies, &err), err);
    for (i = 0; i < job.count; i++) {
        size_t length = 0;
        const rk_reply *reply = rk_reply_at(replies, (size_t)i);
        rk_reply_bytes(reply, &length);
        checked(is_get, rk_reply_type_of(reply) == RK_REPLY_BYTES, length);
    }
    rk_reply_free(replies);
}

/* ---- one huge reply */

static void hiredis_huge(redisContext *context)
{
    redisReply *reply = redisCommand(context, "GET huge");
    if (!reply || reply->type != REDIS_REPLY_STRING || reply->len != (size_t)job.size)
        fail("hiredis", context->errstr);
    freeReplyObject(reply);
}

static void redkeep_huge(void)
{
    rk_error *err = NULL;
    rk_bytes value = RK_BYTES_INIT;
    ok(rk_get(job.manager, "huge", 4, &value, &err), err);
    if (value.len != (size_t)job.size)
        fail("redkeep", "a wrong reply");
    rk_bytes_free(&value);
}

static void hiredis_list(redisContext *context)
{
    redisReply *reply = redisCommand(context, "LRANGE list 0 -1");
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != (size_t)job.count)
        fail("hiredis", context->errstr);
    freeReplyObject(reply);
}

static void redkeep_list(void)
{
    rk_error *err = NULL;
    rk_reply *reply = NULL;
    rk_slice args[] = {RK_LIT("LRANGE"), RK_LIT("list"), RK_LIT("0"), RK_LIT("-1")};
    ok(rk_command(job.manager, args, 4, &reply, &err), err);
    if (rk_reply_len(reply) != (size_t)job.count)
        fail("redkeep", "a wrong reply");
    rk_reply_free(reply);
}

/* ---- a mix */

static void *mix(void *seed)
{
    redisContext *context = job.is_hiredis ? dial() : NULL;
    unsigned dice = (unsigned)(size_t)seed;
    long i, count = job.rounds / job.count;
    for (i = 0; i < count; i++) {
        const char *key;
        size_t size, length;
        dice = dice * 1103515245u + 12345u;
        key = keys[(dice >> 16) % KEYS];
        length = key_lengths[(dice >> 16) % KEYS];
        /* Small ones are as frequent as large ones: 64, 128, and so on. */
        size = (size_t)64 << (dice >> 8) % 9;
        if (context) {
            redisReply *reply = dice >> 30 & 1 ? redisCommand(context, "GET %b", key, length)
                                               : redisCommand(context, "SET %b %b", key, length, job.value, size);
            if (!reply || reply->type == REDIS_REPLY_ERROR)
                fail("hiredis", context->errstr);
            freeReplyObject(reply);
        } else if (dice >> 30 & 1) {
            rk_bytes value = RK_BYTES_INIT;
            if (rk_get(job.manager, key, length, &value, NULL) < 0)
                fail("redkeep", "an error");
            rk_bytes_free(&value);
        } else if (rk_set(job.manager, key, length, job.value, size, NULL) != RK_OK) {
            fail("redkeep", "an error");
        }
    }
    if (context)
        redisFree(context);
    return NULL;
}

static void all_threads(void)
{
    pthread_t *threads = calloc((size_t)job.count, sizeof *threads);
    long i;
    for (i = 0; i < job.count; i++)
        if (pthread_create(&threads[i], NULL, mix, (void *)(size_t)(i + 1)))
            fail("mix", "no thread");
    for (i = 0; i < job.count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

/* ---- what is measured */

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double wall_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* In a process of its own, so that what it needs is not in the peak. */
static void fill(void)
{
    redisContext *context;
    char *value;
    pid_t child = fork();
    int status;
    long i;
    if (child > 0) {
        waitpid(child, &status, 0);
        if (status)
            fail("fill", "the server could not be filled");
        return;
    }
    value = malloc((size_t)job.size);
    memset(value, 'x', (size_t)job.size);
    context = dial();
    if (!strcmp(job.name, "huge")) {
        freeReplyObject(redisCommand(context, "SET huge %b", value, (size_t)job.size));
    } else if (!strcmp(job.name, "list")) {
        redisReply *reply = redisCommand(context, "LLEN list");
        for (i = reply->integer; i < job.count; i++)
            freeReplyObject(redisCommand(context, "RPUSH list %b", value, (size_t)job.size));
        freeReplyObject(reply);
    } else {
        for (i = 0; i < KEYS; i++)
            freeReplyObject(redisCommand(context, "SET %s %b", keys[i], value, (size_t)job.size));
    }
    _exit(0);
}

static void once(redisContext *mine, rk_pipeline *pipeline)
{
    int is_get = !strcmp(job.name, "gets");
    if (!strcmp(job.name, "mix"))
        all_threads();
    else if (!strcmp(job.name, "huge"))
        mine ? hiredis_huge(mine) : redkeep_huge();
    else if (!strcmp(job.name, "list"))
        mine ? hiredis_list(mine) : redkeep_list();
    else
        mine ? hiredis_pipeline(mine, is_get) : redkeep_pipeline(pipeline, is_get);
}

int main(int argc, char **argv)
{
    struct rusage before, after;
    redisContext *mine = NULL;
    rk_pipeline *pipeline = NULL;
    rk_error *err = NULL;
    char url[300];
    double wall;
    long i, rounds;

    if (argc < 5)
        fail("usage", "bulk hiredis|redkeep HOST:PORT gets|sets|huge|list|mix ROUNDS [SIZE [COUNT]]");
    job.is_hiredis = !strcmp(argv[1], "hiredis");
    job.server = argv[2];
    job.name = argv[3];
    job.rounds = atol(argv[4]);
    job.size = argc > 5 ? atol(argv[5]) : 64;
    job.count = argc > 6 ? atol(argv[6]) : 1;
    if (!strcmp(job.name, "sets") && job.size > LARGEST)
        fail("usage", "what is sent has 16 KiB at most");
    for (i = 0; i < KEYS; i++)
        key_lengths[i] = (size_t)snprintf(keys[i], sizeof keys[i], key_names, (int)i);
    fill();
    job.value = malloc(LARGEST);
    memset(job.value, 'x', LARGEST);
    if (job.is_hiredis) {
        mine = dial();
    } else {
        snprintf(url, sizeof url, "redis://%s", job.server);
        ok(rk_manager_open(url, &job.manager, &err), err);
        ok(rk_set(job.manager, "warm", 4, "", 0, &err), err);
        ok(rk_pipeline_new(job.manager, &pipeline, &err), err);
    }
    /* All rounds of a mix are one; of the others, the first fills buffers and caches, unless it is to be the peak. */
    rounds = strcmp(job.name, "mix") ? job.rounds : 1;
    if (rounds > 1)
        once(mine, pipeline);

    getrusage(RUSAGE_SELF, &before);
    wall = wall_time();
    for (i = 0; i < rounds; i++)
        once(mine, pipeline);
    wall = wall_time() - wall;
    getrusage(RUSAGE_SELF, &after);
    printf("peer=%s cpu=%.3f wall=%.3f peak=%ld\n", argv[1],
           (seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime)) *
               1e6 / (double)job.rounds,
           wall * 1e6 / (double)job.rounds, after.ru_maxrss - before.ru_maxrss);

    if (mine)
        redisFree(mine);
    rk_pipeline_free(pipeline);
    rk_manager_free(job.manager);
    free(job.value);
    return 0;
}
