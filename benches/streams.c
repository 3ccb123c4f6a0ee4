/* Streams: redkeep beside hand-written loops over hiredis.
 *
 *   streams fill    SOCKET COUNT               COUNT messages of 64 bytes into the stream "bench", a fresh group "bench:l:cg"
 *   streams consume hiredis|redkeep SOCKET COUNT   reads and acknowledges them with handlers that do nothing
 *   streams send    hiredis|redkeep SOCKET COUNT   sends them, 1,000 at a time
 *   streams latency hiredis|redkeep|started SOCKET COUNT   from just before one message is sent until its handler runs, idle
 *
 * A line of name=value pairs: microseconds a message, of wall-clock time and of the program's own CPU. */

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <redkeep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHANNEL "bench"
#define GROUP "bench:l:cg"
#define BATCH 1000
#define LIMIT 128

static const char body[] = "{\"id\":1234567,\"text\":\"abcdefghijklmnopqrstuvwxyz0123456789ABCD\"}";

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static redisContext *dial(const char *socket)
{
    redisContext *context = redisConnectUnix(socket);
    if (!context || context->err)
        fail("hiredis", context ? context->errstr : "no memory");
    return context;
}

static rk_manager *keep(const char *socket)
{
    char url[512];
    rk_manager *manager = NULL;
    rk_error *err = NULL;
    snprintf(url, sizeof url, "unix://%s", socket);
    if (rk_manager_open(url, &manager, &err) != RK_OK)
        fail("redkeep", rk_error_message(err));
    return manager;
}

static void need(rk_status status, rk_error *err)
{
    if (status < 0)
        fail(rk_status_name(status), rk_error_message(err));
}

/* ---- sending */

static void hiredis_send(redisContext *c, long count)
{
    const char *argv[] = {"XADD", CHANNEL, "*", "name", "n", "body", body};
    const size_t lengths[] = {4, sizeof CHANNEL - 1, 1, 4, 1, 4, sizeof body - 1};
    while (count > 0) {
        long n = count < BATCH ? count : BATCH, i;
        for (i = 0; i < n; i++)
            redisAppendCommandArgv(c, 7, argv, lengths);
        for (i = 0; i < n; i++) {
            redisReply *reply = NULL;
            if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STRING)
                fail("hiredis", c->errstr);
            freeReplyObject(reply);
        }
        count -= n;
    }
}

static void redkeep_send(rk_manager *manager, long count)
{
    static rk_slice messages[2 * BATCH];
    rk_sender *sender = NULL;
    rk_error *err = NULL;
    long i;
    for (i = 0; i < BATCH; i++) {
        messages[2 * i].data = "n";
        messages[2 * i].len = 1;
        messages[2 * i + 1].data = body;
        messages[2 * i + 1].len = sizeof body - 1;
    }
    need(rk_sender_new(manager, &sender, &err), err);
    need(rk_sender_register_channel(sender, CHANNEL, &err), err);
    while (count > 0) {
        long n = count < BATCH ? count : BATCH;
        rk_reply *ids = NULL;
        need(rk_sender_send_many(sender, CHANNEL, messages, (size_t)n, &ids, &err), err);
        if (rk_reply_len(ids) != (size_t)n)
            fail("redkeep", "ids are missing");
        rk_reply_free(ids);
        count -= n;
    }
    rk_sender_free(sender);
}

/* ---- consuming */

static void hiredis_consume(redisContext *c, long count)
{
    static const char *read[] = {"XREADGROUP", "GROUP", GROUP,     "peer",  "COUNT", "128",
                                 "BLOCK",      "1000",  "STREAMS", CHANNEL, ">"};
    const char *ack[3 + LIMIT] = {"XACK", CHANNEL, GROUP};
    size_t lengths[3 + LIMIT] = {4, sizeof CHANNEL - 1, sizeof GROUP - 1};
    while (count > 0) {
        redisReply *reply = redisCommandArgv(c, 11, read, NULL), *acked;
        redisReply *entries;
        size_t i;
        if (!reply || reply->type != REDIS_REPLY_ARRAY)
            fail("hiredis", c->errstr);
        entries = reply->element[0]->element[1];
        for (i = 0; i < entries->elements; i++) {
            redisReply *id = entries->element[i]->element[0];
            ack[3 + i] = id->str;
            lengths[3 + i] = id->len;
        }
        acked = redisCommandArgv(c, (int)(3 + entries->elements), ack, lengths);
        if (!acked || acked->integer != (long long)entries->elements)
            fail("hiredis", "not acknowledged");
        count -= (long)entries->elements;
        freeReplyObject(acked);
        freeReplyObject(reply);
    }
}

struct job {
    rk_consumer *consumer;
    long left;
    int done;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t handled = PTHREAD_COND_INITIALIZER;

static int32_t nothing(const rk_message *message, void *userdata)
{
    struct job *job = userdata;
    (void)message;
    if (--job->left == 0) {
        rk_consumer_stop(job->consumer, 0, NULL);
        pthread_mutex_lock(&mutex);
        job->done = 1;
        pthread_cond_signal(&handled);
        pthread_mutex_unlock(&mutex);
    }
    return RK_OK;
}

static rk_consumer *consumer(rk_manager *manager, struct job *job, int32_t (*cb)(const rk_message *, void *))
{
    rk_consumer *made = NULL;
    rk_error *err = NULL;
    need(rk_consumer_new(manager, "l", &made, &err), err);
    need(rk_consumer_register_channel(made, CHANNEL, NULL, &err), err);
    need(rk_consumer_register_handler(made, CHANNEL, cb, job, NULL, &err), err);
    job->consumer = made;
    return made;
}

static void redkeep_consume(rk_manager *manager, long count, int started)
{
    struct job job = {NULL, count, 0};
    rk_error *err = NULL;
    rk_consumer *made = consumer(manager, &job, nothing);
    if (started) {
        need(rk_consumer_start(made, 0, 1000, &err), err);
        pthread_mutex_lock(&mutex);
        while (!job.done)
            pthread_cond_wait(&handled, &mutex);
        pthread_mutex_unlock(&mutex);
        need(rk_consumer_stop(made, 10000, &err), err);
    } else {
        need(rk_consumer_persist(made, NULL, NULL, 0, 1000, &err), err);
    }
    rk_consumer_free(made);
}

/* ---- one message at a time, idle in between */

static double sent_at;
static long to_send;
static double *times;
static long taken;

static void arrived(void)
{
    double t = now();
    pthread_mutex_lock(&mutex);
    times[taken++] = (t - sent_at) * 1e6;
    pthread_cond_signal(&handled);
    pthread_mutex_unlock(&mutex);
}

static void *send_one_by_one(void *socket)
{
    redisContext *c = dial(socket);
    long i;
    usleep(200000);
    for (i = 0; i < to_send; i++) {
        usleep(1000);
        sent_at = now();
        freeReplyObject(redisCommand(c, "XADD " CHANNEL " * name n body %s", body));
        pthread_mutex_lock(&mutex);
        while (taken <= i)
            pthread_cond_wait(&handled, &mutex);
        pthread_mutex_unlock(&mutex);
    }
    redisFree(c);
    return NULL;
}

static void hiredis_wait(redisContext *c, long count)
{
    while (count > 0) {
        redisReply *reply = redisCommand(
            c, "XREADGROUP GROUP " GROUP " peer COUNT 128 BLOCK 1000 STREAMS " CHANNEL " >");
        if (reply && reply->type == REDIS_REPLY_ARRAY) {
            redisReply *entries = reply->element[0]->element[1];
            arrived();
            freeReplyObject(redisCommand(c, "XACK " CHANNEL " " GROUP " %s", entries->element[0]->element[0]->str));
            count--;
        }
        freeReplyObject(reply);
    }
}

static int32_t timed(const rk_message *message, void *userdata)
{
    arrived();
    return nothing(message, userdata);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void latency(const char *peer, const char *socket, long count)
{
    pthread_t sender;
    to_send = count;
    times = calloc((size_t)count, sizeof *times);
    pthread_create(&sender, NULL, send_one_by_one, (void *)socket);
    if (!strcmp(peer, "hiredis")) {
        redisContext *c = dial(socket);
        hiredis_wait(c, count);
        redisFree(c);
    } else {
        struct job job = {NULL, count, 0};
        rk_error *err = NULL;
        rk_manager *manager = keep(socket);
        rk_consumer *made = consumer(manager, &job, timed);
        if (!strcmp(peer, "started")) {
            need(rk_consumer_start(made, 0, 1000, &err), err);
            pthread_join(sender, NULL);
            sender = 0;
            rk_consumer_stop(made, 1000, NULL);
        } else {
            need(rk_consumer_persist(made, NULL, NULL, 0, 1000, &err), err);
        }
        rk_consumer_free(made);
        rk_manager_free(manager);
    }
    if (sender)
        pthread_join(sender, NULL);
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("peer=%s p50=%.1f p99=%.1f\n", peer, times[count / 2], times[count * 99 / 100]);
    free(times);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "", *peer, *socket;
    long count;
    double wall, used;
    redisContext *c = NULL;
    rk_manager *manager = NULL;
    if (argc == 4 && !strcmp(what, "fill")) {
        c = dial(argv[2]);
        freeReplyObject(redisCommand(c, "DEL " CHANNEL));
        freeReplyObject(redisCommand(c, "XGROUP CREATE " CHANNEL " " GROUP " 0 MKSTREAM"));
        hiredis_send(c, atol(argv[3]));
        redisFree(c);
        return 0;
    }
    if (argc != 5)
        fail("usage", "fill SOCKET COUNT | consume|send|latency PEER SOCKET COUNT");
    peer = argv[2], socket = argv[3], count = atol(argv[4]);
    if (!strcmp(what, "latency")) {
        latency(peer, socket, count);
        return 0;
    }
    if (!strcmp(peer, "hiredis"))
        c = dial(socket);
    else {
        manager = keep(socket);
        rk_manager_initialize(manager, NULL, NULL);
    }
    used = cpu();
    wall = now();
    if (!strcmp(what, "send"))
        c ? hiredis_send(c, count) : redkeep_send(manager, count);
    else
        c ? hiredis_consume(c, count) : redkeep_consume(manager, count, !strcmp(peer, "started"));
    wall = now() - wall;
    used = cpu() - used;
    printf("peer=%s n=%ld wall=%.4f cpu=%.4f\n", peer, count, wall * 1e6 / (double)count, used * 1e6 / (double)count);
    if (c)
        redisFree(c);
    rk_manager_free(manager);
    return 0;
}
