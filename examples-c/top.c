/* A live view of a manager in a terminal, drawn from rk_manager_stats_prometheus() alone: copy draw() and what is above
 * it into your program. Here it looks at a manager that some threads keep busy.
 *
 *     top [url] [seconds]        q ends it; without a terminal it prints a few pictures and ends
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <redkeep.h>

#define TEXT(text) (text), strlen(text)

/* ---- The statistics: lines of `name{labels} value` --------------------------------------------------------------- */

struct sample {
    const char *name, *labels; /* labels as they stand in the braces, or "" */
    double value;
};

struct stats {
    rk_bytes text; /* the samples point into it */
    struct sample *all;
    size_t count;
};

static void forget(struct stats *stats)
{
    rk_bytes_free(&stats->text);
    free(stats->all);
    stats->all = NULL;
    stats->count = 0;
}

static int look(rk_manager *keep, struct stats *stats, rk_error **err)
{
    char *line, *next, *end, *labels;
    size_t room = 0;

    memset(stats, 0, sizeof *stats);
    if (rk_manager_stats_prometheus(keep, &stats->text, err) < 0)
        return 0;
    for (line = (char *)stats->text.data; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        end = strrchr(line, ' ');
        if (*line == '#' || !end)
            continue;
        *end = '\0';
        labels = strchr(line, '{');
        if (labels) {
            *labels++ = '\0';
            labels[strlen(labels) - 1] = '\0';
        }
        if (stats->count == room) {
            room = room ? 2 * room : 256;
            stats->all = realloc(stats->all, room * sizeof *stats->all);
            if (!stats->all)
                exit(1);
        }
        stats->all[stats->count++] = (struct sample){line, labels ? labels : "", strtod(end + 1, NULL)};
    }
    return 1;
}

/* The value with exactly these labels; 0 if there is none. */
static double of(const struct stats *stats, const char *name, const char *labels)
{
    size_t i;
    for (i = 0; i < stats->count; i++)
        if (strcmp(stats->all[i].name, name) == 0 && strcmp(stats->all[i].labels, labels) == 0)
            return stats->all[i].value;
    return 0;
}

/* The same of redkeep_{what}_{name} for `what`, such as a pool. */
static double its(const struct stats *stats, const char *what, const char *name, const char *labels)
{
    char whole[96];
    snprintf(whole, sizeof whole, "redkeep_%s_%s", what, name);
    return of(stats, whole, labels);
}

/* All values of a metric together. */
static double sum(const struct stats *stats, const char *name)
{
    double sum = 0;
    size_t i;
    for (i = 0; i < stats->count; i++)
        if (strcmp(stats->all[i].name, name) == 0)
            sum += stats->all[i].value;
    return sum;
}

/* The value of one label. */
static const char *label(const char *labels, const char *name, char *to, size_t room)
{
    char begin[32];
    const char *at;
    size_t n = 0;

    snprintf(begin, sizeof begin, "%s=\"", name);
    at = strstr(labels, begin);
    for (at = at ? at + strlen(begin) : ""; *at && *at != '"' && n + 1 < room; at++) {
        if (*at == '\\' && at[1])
            at++;
        to[n++] = *at;
    }
    to[n] = '\0';
    return to;
}

/* ---- The picture ------------------------------------------------------------------------------------------------- */

#define KEPT 256
#define TALL 4

struct screen {
    int columns, rows, row, live;
    struct stats before;
    double seconds; /* since before */
    double calls[KEPT], batch[KEPT];
    int count; /* of both */
};

static void line(struct screen *screen, const char *format, ...)
{
    char text[512];
    va_list arguments;

    if (++screen->row > screen->rows)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("%s%.*s%s", screen->row > 1 ? "\n" : "", screen->columns, text, screen->live ? "\033[K" : "");
}

/* One row of a chart: the last `width` values, of which the largest reaches the top of the highest of TALL rows. */
static void bars(char *to, const double *values, int count, int width, int row)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double most = 0;
    int i, height, from = count > width ? count - width : 0;

    for (i = from; i < count; i++)
        most = values[i] > most ? values[i] : most;
    for (i = 0; i < width; i++) {
        height = from + i < count && most > 0 ? (int)(values[from + i] / most * 8 * TALL + 0.5) : 0;
        height -= 8 * (TALL - 1 - row);
        strcat(to, blocks[height < 0 ? 0 : height > 8 ? 8 : height]);
    }
}

static void remember(double *values, int count, double value)
{
    if (count == KEPT)
        memmove(values, values + 1, (KEPT - 1) * sizeof *values);
    values[count < KEPT ? count : KEPT - 1] = value;
}

static double per_second(const struct screen *screen, double now, double before)
{
    return screen->seconds > 0 && now > before ? (now - before) / screen->seconds : 0;
}

static void charts(struct screen *screen, const struct stats *now)
{
    int row, width = screen->columns / 2 - 2;
    double before = of(&screen->before, "redkeep_calls_total", "");
    double calls = per_second(screen, of(now, "redkeep_calls_total", ""), before);
    double batch = 0;
    size_t i;

    for (i = 0; i < now->count; i++)
        if (strcmp(now->all[i].name, "redkeep_node_batch_seconds") == 0 && now->all[i].value > batch)
            batch = now->all[i].value;
    width = width > KEPT ? KEPT : width < 1 ? 1 : width;
    if (screen->seconds > 0) {
        remember(screen->calls, screen->count, calls);
        remember(screen->batch, screen->count, batch * 1e3);
        screen->count += screen->count < KEPT;
    }
    line(screen, "%-*s  %s", width, "calls a second", "ms there and back, by the slowest node");
    for (row = 0; row < TALL; row++) {
        static char text[2 * KEPT * 4];
        text[0] = '\0';
        bars(text, screen->calls, screen->count, width, row);
        strcat(text, "  ");
        bars(text, screen->batch, screen->count, width, row);
        if (++screen->row <= screen->rows)
            printf("\n%s%s", text, screen->live ? "\033[K" : "");
    }
    line(screen, "%-*.0f  %.3f", width, calls, batch * 1e3);
}

static void node(struct screen *screen, const struct stats *now, const struct sample *it)
{
    char name[128], role[16], state[16], own[160], key[192], health[32] = "-";
    const struct stats *old = &screen->before;
    const char *end = strstr(it->labels, "\",role="); /* a name may hold commas */
    double waits, slow, latency;
    size_t skip;
    int i;

    label(it->labels, "node", name, sizeof name);
    skip = strlen(name) > 34 ? strlen(name) - 34 : 0; /* the end of a long path says more than its beginning */
    snprintf(own, sizeof own, "%.*s", end ? (int)(end + 1 - it->labels) : 0, it->labels);
    latency = its(now, "node", "latency_seconds", own);
    if (latency > 0) /* none before the first health check */
        snprintf(health, sizeof health, "%.3f ms", latency * 1e3);
    snprintf(key, sizeof key, "%s,le=\"0.01\"", own);
    waits = its(now, "pool", "wait_seconds_count", own);
    slow = waits - its(now, "pool", "wait_seconds_bucket", key);
    line(screen, "%-34s %-11s %-7s health %-9s waits %.0f, %.0f > 10 ms", name + skip,
         label(it->labels, "role", role, sizeof role), label(it->labels, "state", state, sizeof state),
         health, waits, slow);
    for (i = 0;; i++) {
        snprintf(key, sizeof key, "%s,pool=\"%d\"", own, i);
        if (its(now, "pool", "size", key) == 0)
            break;
        line(screen, "  pool %d   %3.0f of %3.0f in use %3.0f idle %3.0f wait   opened %5.0f  closed %5.0f", i,
             its(now, "pool", "in_use", key), its(now, "pool", "size", key), its(now, "pool", "idle", key),
             its(now, "pool", "waiting", own), its(now, "pool", "opened_total", key),
             its(now, "pool", "closed_total", key));
    }
    for (i = 0;; i++) {
        double batches, commands;
        snprintf(key, sizeof key, "%s,line=\"%d\"", own, i);
        batches = its(now, "line", "batches_total", key) - its(old, "line", "batches_total", key);
        commands = its(now, "line", "commands_total", key) - its(old, "line", "commands_total", key);
        if (its(now, "line", "batches_total", key) == 0 && its(now, "line", "opened_total", key) == 0)
            break;
        line(screen, "  line %d   %-6s %8.0f commands/s  %6.2f a batch  %3.0f wait   opened %5.0f  closed %5.0f", i,
             its(now, "line", "open", key) > 0 ? "open" : "closed", per_second(screen, commands, 0),
             batches > 0 ? commands / batches : 0, its(now, "line", "waiting", key),
             its(now, "line", "opened_total", key), its(now, "line", "closed_total", key));
    }
}

static void near(struct screen *screen, const struct stats *now, const struct sample *it)
{
    const char *own = it->labels;
    const struct stats *old = &screen->before;
    double hits = it->value - of(old, it->name, own);
    double all = hits + its(now, "near", "misses_total", own) - its(old, "near", "misses_total", own);
    char number[16];

    line(screen, "near %-4s  %5.1f %% hits of %8.0f/s  %6.0f keys  %.0f of %.0f KiB  %.0f invalidated  %.0f evicted",
         label(own, "cache", number, sizeof number), all > 0 ? 100 * hits / all : 0, per_second(screen, all, 0),
         its(now, "near", "entries", own), its(now, "near", "bytes", own) / 1024,
         its(now, "near", "max_bytes", own) / 1024, its(now, "near", "invalidations_total", own),
         its(now, "near", "evictions_total", own));
}

static void consumer(struct screen *screen, const struct stats *now, const struct sample *it)
{
    const char *own = it->labels;
    double count = its(now, "stream", "handler_seconds_count", own);
    char channel[32], group[32];

    line(screen, "%-14s %-22s lag %.0f  pending %.0f  %.0f/s  failed %.0f  dead %.0f  handler %.3f ms",
         label(own, "channel", channel, sizeof channel), label(own, "group", group, sizeof group),
         its(now, "stream", "lag", own), its(now, "stream", "pending", own),
         per_second(screen, it->value, of(&screen->before, it->name, own)), its(now, "stream", "failed_total", own),
         its(now, "stream", "dead_total", own),
         count > 0 ? its(now, "stream", "handler_seconds_sum", own) / count * 1e3 : 0);
}

/* What follows a heading: one picture for each value of this metric. */
static void each(struct screen *screen, const struct stats *now, const char *metric, const char *heading,
                 void (*picture)(struct screen *, const struct stats *, const struct sample *))
{
    size_t i;
    int none = 1;

    for (i = 0; i < now->count; i++) {
        if (strcmp(now->all[i].name, metric) != 0)
            continue;
        if (none)
            line(screen, "%s", heading);
        none = 0;
        picture(screen, now, &now->all[i]);
    }
}

static void draw(struct screen *screen, rk_manager *keep)
{
    static const char *const counts[] = {"errors", "timeouts", "retries", "redirects", "slow", "swallowed"};
    struct stats now;
    rk_error *err = NULL;
    char text[256] = "";
    double locks;
    size_t i;

    if (!look(keep, &now, &err)) {
        fprintf(stderr, "%s\n", rk_error_message(err));
        exit(1);
    }
    screen->row = 0;
    if (screen->live)
        printf("\033[H");
    for (i = 0; i < sizeof counts / sizeof *counts; i++) {
        char name[64];
        snprintf(name, sizeof name, "redkeep_%s_total", counts[i]);
        snprintf(text + strlen(text), sizeof text - strlen(text), "  %s %.0f", counts[i], of(&now, name, ""));
    }
    line(screen, "redkeep %s  %s%s", rk_version_string(), of(&now, "redkeep_enabled", "") > 0 ? "enabled" : "away",
         text);
    charts(screen, &now);
    each(screen, &now, "redkeep_node", "NODES", node);
    each(screen, &now, "redkeep_near_hits_total", "NEAR CACHES", near);
    each(screen, &now, "redkeep_stream_handled_total", "CONSUMERS", consumer);
    locks = sum(&now, "redkeep_lock_wait_seconds_count");
    if (locks > 0)
        line(screen, "LOCKS      %.0f acquired, after %.3f ms on average  %.0f in vain", locks,
             sum(&now, "redkeep_lock_wait_seconds_sum") / locks * 1e3, of(&now, "redkeep_lock_timeouts_total", ""));
    printf("%s", screen->live ? "\033[J" : "\n\n");
    fflush(stdout);
    forget(&screen->before);
    screen->before = now;
}

/* ---- Something to look at ---------------------------------------------------------------------------------------- */

static atomic_int over;

static void *work(void *manager)
{
    rk_manager *keep = manager;
    rk_near *near = NULL;
    rk_sender *sender = NULL;
    rk_lock *lock = NULL;
    char value[16];
    size_t len;
    unsigned i;

    rk_near_new(keep, 1 << 20, &near, NULL);
    rk_sender_new(keep, &sender, NULL);
    rk_sender_register_channel(sender, "orders", NULL);
    rk_lock_new(keep, "top", 2000, &lock, NULL);
    for (i = 0; !atomic_load(&over); i++) {
        rk_set(keep, TEXT("top:name"), TEXT("value"), NULL);
        rk_get_into(keep, TEXT("top:name"), value, sizeof value, &len, NULL);
        rk_near_get_into(near, TEXT("top:settled"), value, sizeof value, &len, NULL);
        rk_near_get_into(near, TEXT("top:settled"), value, sizeof value, &len, NULL);
        if (i % 64 == 0) {
            rk_sender_send(sender, "orders", "order.created", "{\"id\": 1}", NULL, NULL);
            if (rk_lock_acquire(lock, 100, NULL) == RK_OK)
                rk_lock_release(lock, NULL, NULL);
        }
        /* As one draws a breath: what is shown is not a benchmark. */
        usleep(500);
    }
    rk_lock_free(lock);
    rk_sender_free(sender);
    rk_near_free(near);
    return NULL;
}

static int32_t handle(const rk_message *message, void *userdata)
{
    (void)message, (void)userdata;
    return RK_OK;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void interrupted(int signal)
{
    (void)signal;
    atomic_store(&over, 1);
}

int main(int argc, char **argv)
{
    static struct screen screen = {.columns = 100, .rows = 30};
    struct termios before, quiet;
    struct winsize size;
    struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
    pthread_t threads[3];
    rk_manager *keep = NULL;
    rk_consumer *consumer = NULL;
    rk_error *err = NULL;
    double began, last = 0, limit = argc > 2 ? atof(argv[2]) : 1e9;
    size_t i;
    char key = 0;

    if (rk_manager_open(argc > 1 ? argv[1] : "embedded://", &keep, &err) < 0 || rk_ping(keep, &err) < 0
        || rk_consumer_new(keep, "billing", &consumer, &err) < 0
        || rk_consumer_register_channel(consumer, "orders", NULL, &err) < 0
        || rk_consumer_register_handler(consumer, "orders", handle, NULL, NULL, &err) < 0
        || rk_consumer_start(consumer, 0, -1, &err) < 0) {
        fprintf(stderr, "%s\n", rk_error_message(err));
        rk_error_free(err);
        rk_consumer_free(consumer);
        rk_manager_free(keep);
        return 1;
    }
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    for (i = 0; i < sizeof threads / sizeof *threads; i++)
        if (pthread_create(&threads[i], NULL, work, keep) != 0)
            return 1;

    screen.live = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (screen.live) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
        printf("\033[?1049h\033[?25l"); /* the other screen, without a cursor */
    } else {
        limit = 1.5;
    }
    for (began = seconds(); !atomic_load(&over) && seconds() - began < limit;) {
        if (screen.live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
            screen.columns = size.ws_col;
            screen.rows = size.ws_row;
        }
        screen.seconds = last > 0 ? seconds() - last : 0;
        last = seconds();
        draw(&screen, keep);
        if (!screen.live)
            usleep(500 * 1000);
        else if (poll(&keys, 1, 250) > 0 && read(STDIN_FILENO, &key, 1) == 1 && key == 'q')
            break;
    }
    if (screen.live) {
        printf("\033[?25h\033[?1049l");
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    }
    atomic_store(&over, 1);
    for (i = 0; i < sizeof threads / sizeof *threads; i++)
        pthread_join(threads[i], NULL);
    forget(&screen.before);
    rk_consumer_free(consumer);
    rk_manager_free(keep);
    return 0;
}
