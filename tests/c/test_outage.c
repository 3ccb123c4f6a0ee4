/* Nobody listens: neutral outputs, a status, and an error that names the node and what became of the command. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keep.h"

/* A port that was free a moment ago. */
static int closed_port(void)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

int main(void)
{
    char url[96], node[64];
    rk_manager *keep = NULL;
    rk_connection *one = (rk_connection *)(void *)&one;
    rk_bytes value = {(uint8_t *)"rubbish", 7};
    rk_reply *reply = (rk_reply *)(void *)&value;
    rk_slice get[] = {RK_LIT("GET"), RK_LIT("key")};
    double seconds = 5;
    int64_t n = 5;
    bool yes = true;
    size_t len = 5;

    snprintf(node, sizeof node, "127.0.0.1:%d", closed_port());
    snprintf(url, sizeof url, "redis://%s", node);
    OK(rk_manager_open(url, &keep, &err)); /* nothing is sent yet */

    FAILS(RK_ERR_CONNECT, rk_get(keep, TEXT("key"), &value, &err));
    CHECK_STR(rk_error_node(err), node);
    HAS(rk_error_message(err), node);
    CHECK_STR(rk_error_server_code(err), NULL);
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    CHECK(rk_error_is_retriable(err));
    CHECK(value.data == NULL && value.len == 0);
    done();

    /* From now on it is known, and calls fail at once, with the cause. */
    FAILS(RK_ERR_NO_HEALTHY_POOLS, rk_ttl(keep, TEXT("key"), &n, &err));
    HAS(rk_error_message(err), node);
    HAS(rk_error_message(err), "refused");
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    CHECK_EQ_INT(n, -2);
    done();

    CHECK(rk_incr(keep, TEXT("key"), 1, &n, NULL) < 0 && n == 0);
    CHECK(rk_exists(keep, TEXT("key"), &yes, NULL) < 0 && !yes);
    CHECK(rk_get_into(keep, TEXT("key"), NULL, 0, &len, NULL) < 0 && len == 0);
    CHECK(rk_command(keep, get, 2, &reply, NULL) < 0 && reply == NULL);
    CHECK(rk_connection_lease(keep, NULL, 200, &one, NULL) < 0 && one == NULL);
    yes = true;
    CHECK(rk_manager_initialize(keep, &yes, NULL) < 0 && !yes);
    CHECK(!rk_manager_is_enabled(keep));
    CHECK(!rk_manager_is_connected(keep, NULL, &err));
    HAS(rk_error_message(err), node);
    done();
    FAILS(RK_ERR_CONNECT, rk_manager_wait_for_ready(keep, NULL, 100, 10, 2, &seconds, &err));
    HAS(rk_error_message(err), "not ready after 3 tries");
    CHECK(seconds == 0);
    done();

    OK(rk_manager_health_check(keep, NULL, &value, &err));
    HAS((char *)value.data, "\"status\":\"unhealthy\"");
    HAS((char *)value.data, node);
    rk_bytes_free(&value);
    OK(rk_manager_fetch_pool_status(keep, &value, &err));
    HAS((char *)value.data, "\"state\":\"down\"");
    rk_bytes_free(&value);
    rk_manager_free(keep);
    return 0;
}
