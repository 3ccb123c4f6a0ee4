/* TLS by properties: an authority of one's own, a client's certificate, and refusals that say why. */
#include "keep.h"
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static char path[512];

static const char *file(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", url_of("RK_TEST_FOLDER"), name);
    return path;
}

static rk_config *config_for(const char *url)
{
    rk_config *config = rk_config_new();
    CHECK(config != NULL);
    OK(rk_config_set(config, "url", url, &err));
    OK(rk_config_set(config, "command_timeout", "5", &err));
    return config;
}

static rk_config *trusting(void)
{
    rk_config *config = config_for(url_of("RK_TEST_TLS_URL"));
    OK(rk_config_set(config, "tls_ca", file("ca.crt"), &err));
    return config;
}

static void shows_a_certificate(rk_config *config)
{
    OK(rk_config_set(config, "tls_cert", file("client.crt"), &err));
    OK(rk_config_set(config, "tls_key", file("client.key"), &err));
}

static void talks(void)
{
    size_t size = 300000;
    char *big = malloc(size);
    rk_config *config = trusting();
    rk_manager *keep = NULL;
    rk_bytes got = RK_BYTES_INIT;
    int64_t n = 0;

    CHECK(big != NULL);
    memset(big, 'x', size);
    shows_a_certificate(config);
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    OK(rk_set(keep, TEXT("tls"), "over", 4, &err));
    OK(rk_get(keep, TEXT("tls"), &got, &err));
    BYTES(got, "over");
    OK(rk_set(keep, TEXT("big"), big, size, &err));
    OK(rk_get(keep, TEXT("big"), &got, &err));
    CHECK_EQ_INT(got.len, size);
    CHECK_MEM(got.data, big, size);
    rk_bytes_free(&got);
    OK(rk_delete(keep, (rk_slice[]){RK_LIT("tls"), RK_LIT("big")}, 2, &n, &err));
    CHECK_EQ_INT(n, 2);
    rk_manager_free(keep);
    free(big);
}

static void refused(rk_config *config, rk_status status, const char *text)
{
    rk_manager *keep = NULL;
    bool is = true;

    OK(rk_config_set(config, "health_check_interval", "0", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    FAILS(status, rk_exists(keep, TEXT("a"), &is, &err));
    CHECK(!is);
    HAS(rk_error_message(err), text);
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    done();
    rk_manager_free(keep);
}

static void refusals(void)
{
    rk_config *config;

    refused(trusting(), RK_ERR_TLS, "tls_cert");

    config = trusting();
    shows_a_certificate(config);
    OK(rk_config_set(config, "tls_server_name", "elsewhere.example", &err));
    refused(config, RK_ERR_TLS, "is not for 'elsewhere.example'");

    /* The authority is made a moment ago: the system does not know it; and another trusts nobody but the client. */
    config = config_for(url_of("RK_TEST_TLS_URL"));
    OK(rk_config_set(config, "tls_ca", file("client.crt"), &err));
    refused(config, RK_ERR_TLS, "tls_ca");
}

static void certificate_of_server(rk_manager *keep, const char *name)
{
    rk_slice words[] = {RK_LIT("CONFIG"), RK_LIT("SET"), RK_LIT("tls-cert-file"), {0}};

    words[3].data = file(name);
    words[3].len = strlen(path);
    OK(rk_command(keep, words, 4, NULL, &err));
}

static void expired(void)
{
    rk_config *config = trusting();
    rk_manager *keep = NULL;

    /* Who is connected stays so. */
    OK(rk_manager_open(url_of("RK_TEST_TCP_URL"), &keep, &err));
    certificate_of_server(keep, "expired.crt");
    shows_a_certificate(config);
    refused(config, RK_ERR_TLS, "has expired");
    certificate_of_server(keep, "server.crt");
    rk_manager_free(keep);
}

/* Something on a port that is no TLS server: it says `words` to whoever comes, or hangs up if there are none. */
struct peer {
    pthread_t thread;
    int listener;
    const char *words;
};

static void *serve(void *arg)
{
    struct peer *peer = arg;
    char greeting[4096];
    int fd;

    while ((fd = accept(peer->listener, NULL, NULL)) >= 0) {
        /* Unread bytes would turn the end into a reset. */
        CHECK(read(fd, greeting, sizeof greeting) > 0);
        if (peer->words)
            CHECK(write(fd, peer->words, strlen(peer->words)) > 0);
        close(fd);
    }
    return NULL;
}

static rk_config *config_for_peer(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    char url[64];

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(peer->listener >= 0);
    CHECK(bind(peer->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(peer->listener, 8) == 0);
    CHECK(getsockname(peer->listener, (struct sockaddr *)&address, &len) == 0);
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d", ntohs(address.sin_port));
    return config_for(url);
}

static void no_tls_there(const char *words, rk_status status, const char *text)
{
    struct peer peer = {.words = words};
    rk_config *config = config_for_peer(&peer);

    CHECK(pthread_create(&peer.thread, NULL, serve, &peer) == 0);
    refused(config, status, text);
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
}

/* Between a client and the server: what the server sends goes through up to the byte `cut`, and then the connection is
   closed in good order. */
struct between {
    pthread_t thread;
    int listener;
    atomic_long left;
};

static bool pass(int from, int to, atomic_long *left)
{
    char bytes[4096];
    ssize_t n = read(from, bytes, sizeof bytes), most = n;

    if (n > 0 && left) {
        long before = atomic_fetch_sub(left, n);

        if (before < n)
            most = before > 0 ? before : 0;
    }
    return n > 0 && write(to, bytes, (size_t)most) == n;
}

static void *stand_between(void *arg)
{
    struct between *between = arg;
    struct sockaddr_in server = {.sin_family = AF_INET};
    int port = atoi(strrchr(url_of("RK_TEST_TLS_URL"), ':') + 1);
    struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};

    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.sin_port = htons((uint16_t)port);
    while ((fds[0].fd = accept(between->listener, NULL, NULL)) >= 0) {
        bool goes_on = true;

        fds[1].fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect(fds[1].fd, (struct sockaddr *)&server, sizeof server) == 0);
        while (goes_on && poll(fds, 2, -1) > 0) {
            if (fds[0].revents)
                goes_on = pass(fds[0].fd, fds[1].fd, NULL);
            if (goes_on && fds[1].revents)
                goes_on = pass(fds[1].fd, fds[0].fd, &between->left);
        }
        close(fds[0].fd);
        close(fds[1].fd);
    }
    return NULL;
}

/* An end that nobody announced may be somebody's who cut the reply short. */
static void cut_short(void)
{
    struct between between = {.left = LONG_MAX};
    struct peer place = {0};
    rk_config *config = config_for_peer(&place);
    rk_manager *keep = NULL;
    rk_bytes got = RK_BYTES_INIT;
    char value[1000];

    between.listener = place.listener;
    CHECK(pthread_create(&between.thread, NULL, stand_between, &between) == 0);
    OK(rk_config_set(config, "tls_ca", file("ca.crt"), &err));
    shows_a_certificate(config);
    OK(rk_config_set(config, "retries", "0", &err));
    OK(rk_config_set(config, "health_check_interval", "0", &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    memset(value, 'v', sizeof value);
    OK(rk_set(keep, TEXT("long"), value, sizeof value, &err));
    atomic_store(&between.left, 10);
    FAILS(RK_ERR_IO, rk_get(keep, TEXT("long"), &got, &err));
    HAS(rk_error_message(err), "cut off: TLS ended without its close_notify");
    CHECK_EQ_INT(rk_error_outcome(err), RK_OUTCOME_UNKNOWN);
    done();
    CHECK(got.data == NULL);
    atomic_store(&between.left, LONG_MAX);
    OK(rk_get(keep, TEXT("long"), &got, &err));
    CHECK_MEM(got.data, value, sizeof value);
    rk_bytes_free(&got);
    rk_manager_free(keep);
    shutdown(between.listener, SHUT_RDWR);
    pthread_join(between.thread, NULL);
    close(between.listener);
}

static void silence(void)
{
    struct peer peer = {0};
    rk_config *config = config_for_peer(&peer);

    /* The system accepts, and nobody answers. */
    OK(rk_config_set(config, "command_timeout", "300ms", &err));
    refused(config, RK_ERR_TIMEOUT, "the TLS handshake was not over in time");
    close(peer.listener);
}

static void unusable(const char *name, const char *value, const char *other, const char *other_value)
{
    rk_config *config = trusting();
    rk_manager *keep = NULL;

    OK(rk_config_set(config, name, file(value), &err));
    if (other)
        OK(rk_config_set(config, other, file(other_value), &err));
    FAILS(RK_ERR_BAD_VALUE, rk_manager_open_config(config, &keep, &err));
    CHECK(keep == NULL);
    HAS(rk_error_message(err), name);
    HAS(rk_error_message(err), value);
    done();
    rk_config_free(config);
}

int main(void)
{
    talks();
    refusals();
    expired();
    cut_short();
    no_tls_there("-ERR what is this\r\n", RK_ERR_TLS, "may not speak TLS on this port");
    no_tls_there(NULL, RK_ERR_IO, "in the middle of the TLS handshake");
    silence();
    unusable("tls_ca", "nowhere", NULL, NULL);
    unusable("tls_ca", "server.key", NULL, NULL);
    unusable("tls_key", "server.key", "tls_cert", "client.crt");
    unusable("tls_cert", "nowhere", "tls_key", "client.key");
    return 0;
}
