/* redkeep.hpp: publish and subscribe, streams, the log, credentials; what handlers throw, and what becomes of them. */
#include <poll.h>

#include <mutex>
#include <stdexcept>

#include "keep.hpp"

static std::string next(redkeep::subscriber &subscriber)
{
    auto event = subscriber.poll(10s);
    CHECK(event.has_value() && event->is_message() && !event->is_gap());
    return std::string(event->pattern()) + "|" + std::string(event->channel()) + "|" + std::string(event->data());
}

static void polled(redkeep::manager &keep)
{
    auto subscriber = keep.subscriber();
    subscriber.option("queue_limit", 100).add("news").add_pattern("n?").add_sharded("shard");
    CHECK(!subscriber.poll(0s));
    CHECK_EQ_INT(keep.publish("news", std::string_view("a\0b", 3)), 1);
    pollfd ready{subscriber.fd(), POLLIN, 0};
    CHECK_EQ_INT(poll(&ready, 1, 10000), 1);
    CHECK_TEXT(next(subscriber), std::string_view("|news|a\0b", 9));
    CHECK_EQ_INT(keep.publish_json("no", "{}"), 1);
    CHECK_TEXT(next(subscriber), "n?|no|{}");
    keep.publish_sharded("shard", 7);
    CHECK_TEXT(next(subscriber), "|shard|7");
    CHECK(subscriber.remove("news") && !subscriber.remove("news"));
    CHECK(!subscriber.remove_sharded("news"));
    keep.command("CLIENT", "KILL", "TYPE", "pubsub");
    auto gap = subscriber.poll(10s);
    CHECK(gap && gap->is_gap() && gap->data().empty());
    CHECK(subscriber.remove_pattern("n?") && subscriber.remove_sharded("shard"));
    CHECK_HAS(subscriber.stats_json(), "\"subscriptions\":0");
    FAILS(RK_ERR_CONFLICT, subscriber.on_message([seen = counted()](std::string_view, std::string_view) {}));
    CHECK_EQ_INT(counted::alive, 0);
    FAILS(RK_ERR_JSON, keep.publish_json("news", "{"));
}

static void by_handler(redkeep::manager &keep)
{
    std::mutex mutex;
    std::string got;
    std::atomic<int> gaps{0};
    const auto has = [&](const char *text) {
        std::lock_guard<std::mutex> guard(mutex);
        return got == text;
    };
    {
        auto subscriber = keep.subscriber();
        subscriber.on_message([&, seen = counted()](std::string_view channel, std::string_view data) {
            if (data == "bad")
                throw std::runtime_error("it goes no further");
            if (data == "worse")
                throw 7;
            std::lock_guard<std::mutex> guard(mutex);
            got += std::string(channel) + "=" + std::string(data) + ";";
        });
        subscriber.on_gap([&, seen = counted()](std::string_view channel) {
            gaps += channel == "news";
            throw std::runtime_error("it goes no further");
        });
        subscriber.add("news");
        for (const char *data : {"1", "bad", "worse", "2"})
            keep.publish("news", data);
        EVENTUALLY(has("news=1;news=2;"));
        CHECK_EQ_INT(subscriber.failed(), 2);
        keep.command("CLIENT", "KILL", "TYPE", "pubsub");
        EVENTUALLY(gaps == 1 && subscriber.failed() == 3);
        FAILS(RK_ERR_CONFLICT, subscriber.poll(0s));
        CHECK_EQ_INT(counted::alive, 2);
    }
    CHECK_EQ_INT(counted::alive, 0);
}

static void by_hand(redkeep::manager &keep)
{
    std::string seen;
    auto sender = keep.sender();
    sender.register_channel("orders").register_channel("capped", R"({"max_length": 1000})");
    CHECK(sender.send("orders", "created", R"({"id":1})").find('-') != std::string::npos);
    CHECK_TEXT(sender.send_once("orders", "paid", "2", "key"), sender.send_once("orders", "paid", "2", "key"));
    CHECK_EQ_INT(sender.send_many("orders", {{"a", "3"}, {"bad", "4"}, {"worse", "5"}, {"refused", "6"}}).size(), 4);
    FAILS(RK_ERR_JSON, sender.send("orders", "x", "{"));
    FAILS(RK_ERR_ARGUMENT, sender.send("unknown", "x", "1"));
    {
        auto consumer = keep.consumer("billing");
        consumer.register_channel("orders", R"({"max_deliveries": 1})");
        consumer.register_handler("orders", [&, own = counted()](const redkeep::message &message) -> redkeep::result<> {
            if (message.name() == "bad")
                throw std::runtime_error("the bank is closed");
            if (message.name() == "worse")
                throw 7;
            if (message.name() == "refused")
                return redkeep::error(RK_ERR_BAD_VALUE, "not in this currency");
            CHECK_TEXT(message.channel(), "orders");
            CHECK_EQ_INT(message.deliveries(), 1);
            CHECK(!message.id().empty());
            seen += std::string(message.name()) + std::string(message.body());
            return {};
        });
        FAILS(RK_ERR_ARGUMENT, consumer.register_handler("unknown", [own = counted()](const redkeep::message &) {}));
        FAILS(RK_ERR_ARGUMENT,
              consumer.register_handler(std::string_view("orders\0x", 8), [own = counted()](auto &) {}));
        CHECK_EQ_INT(counted::alive, 1);
        CHECK_EQ_INT(consumer.consume("orders", 1s), 6);
        CHECK_TEXT(seen, R"(created{"id":1}paid2a3)");
        CHECK_EQ_INT(consumer.consume_all(0s), 0);
        const auto dead = keep.command("XRANGE", "{orders}:dead", "-", "+");
        CHECK_EQ_INT(dead.size(), 3);
        std::string reasons;
        for (auto entry : dead)
            for (auto field : entry[1])
                reasons += field.text() + ";";
        CHECK_HAS(reasons, "the bank is closed");
        CHECK_HAS(reasons, "not in this currency");
        CHECK_HAS(reasons, "something was thrown that is no std::exception");
        CHECK_HAS(consumer.stats_json(), "\"failed\":3");
        CHECK_HAS(consumer.stats_prometheus(), "orders");
        CHECK_EQ_INT(consumer.clean_up(), 0);
        CHECK_EQ_INT(sender.redrive("orders", 2), 2);
    }
    CHECK_EQ_INT(counted::alive, 0);
}

static void in_background(redkeep::manager &keep)
{
    std::atomic<int> handled{0};
    auto sender = keep.sender();
    sender.register_channel("jobs");
    auto consumer = keep.consumer("workers"), second = keep.consumer("auditors");
    consumer.register_channel("jobs", R"({"backoff": 0.05})")
        .register_handler("jobs", [&](const redkeep::message &message) {
            if (message.deliveries() == 1)
                return static_cast<void>(message.fail("once more"));
            handled++;
        });
    consumer.start(0s);
    sender.send("jobs", "one", "1");
    EVENTUALLY(handled == 1);
    consumer.stop(10s);

    second.register_channel("jobs").register_handler("jobs", [&](const redkeep::message &) {
        handled++;
        second.stop(0s);
    });
    second.persist("jobs", 0s, 1s);
    CHECK_EQ_INT(handled, 2);
    FAILS(RK_ERR_CLOSED, second.persist(0s, 1s));
}

/* What was moved from is empty, and does nothing. */
static void left_behind(const redkeep::message &message)
{
    CHECK(message.id().empty() && message.channel().empty() && message.name().empty() && message.body().empty());
    CHECK_EQ_INT(message.deliveries(), 0);
    CHECK_TEXT(FAILS(RK_ERR_ARGUMENT, message.ack()).what(), "message: NULL");
    FAILS(RK_ERR_ARGUMENT, message.fail("no"));
}

template <class T> static void moves(T &from)
{
    const T to = std::move(from);
}

static void left_behind(redkeep::manager &keep)
{
    auto subscriber = keep.subscriber();
    subscriber.add("news");
    keep.publish("news", "x");
    auto event = subscriber.poll(10s);
    CHECK(event.has_value());
    moves(*event);
    CHECK(!event->is_message() && !event->is_gap() && event->channel().empty() && event->pattern().empty());
    CHECK(event->data().empty());
    moves(subscriber);
    CHECK(subscriber.failed() == 0 && subscriber.fd() == -1);
    FAILS(RK_ERR_ARGUMENT, subscriber.poll(0s));
    FAILS(RK_ERR_ARGUMENT, subscriber.on_message([own = counted()](std::string_view, std::string_view) {}));
    CHECK_EQ_INT(counted::alive, 0);
    FAILS(RK_ERR_ARGUMENT, subscriber.stats_json());

    auto consumer = keep.consumer("nobody");
    moves(consumer);
    CHECK_EQ_INT(consumer.fd(), -1);
    FAILS(RK_ERR_ARGUMENT, consumer.poll(0s));
    FAILS(RK_ERR_ARGUMENT, consumer.stop(0s));
}

static void polled_streams(redkeep::manager &keep)
{
    auto sender = keep.sender();
    sender.register_channel("tasks");
    auto consumer = keep.consumer("pollers");
    consumer.register_channel("tasks");
    sender.send_many("tasks", {{"a", "1"}, {"b", "2"}});
    auto one = consumer.poll(10s), two = consumer.poll(10s);
    CHECK(one && two);
    CHECK_TEXT(one->name(), "a");
    one->ack();
    FAILS(RK_ERR_ARGUMENT, one->ack());
    auto moved = std::move(*two);
    CHECK_TEXT(moved.name(), "b");
    moved.fail("no");
    left_behind(*two);
    CHECK(consumer.fd() >= 0);
    CHECK(!consumer.poll(0s));
    consumer.stop(10s);
    FAILS(RK_ERR_CLOSED, consumer.poll(0s));
}

static void the_log()
{
    std::atomic<int> told{0};
    redkeep::log_to(2, [&told, own = counted()](int level, std::string_view target, std::string_view text) {
        CHECK(level >= 1 && level <= 2 && !target.empty() && !text.empty());
        told++;
        throw std::runtime_error("it goes no further");
    });
    FAILS(RK_ERR_CONNECT, redkeep::manager::open("redis://127.0.0.1:1").ping());
    EVENTUALLY(told > 0);
    CHECK_EQ_INT(counted::alive, 1);
    FAILS(RK_ERR_ARGUMENT, redkeep::log_to(9, [own = counted()](int, std::string_view, std::string_view) {}));
    CHECK_EQ_INT(counted::alive, 1);
    redkeep::log_off();
    CHECK_EQ_INT(counted::alive, 0);
}

static void credentials(redkeep::manager &keep)
{
    keep.command("ACL", "SETUSER", "cpp", "on", ">pass", "+@all", "~*");
    {
        redkeep::config config;
        config.set("url", url_of("RK_TEST_URL"));
        config.credentials_provider([own = counted()] { return redkeep::credentials{"cpp", "pass"}; });
        auto other = redkeep::manager::open(config);
        CHECK_TEXT(other.command("ACL", "WHOAMI").text(), "cpp");
        config.set("url", "redis://cpp@" + url_of("RK_TEST_TCP_URL").substr(std::string("redis://").size()));
        config.credentials_provider([] { return redkeep::credentials{{}, "pass"}; });
        CHECK_TEXT(redkeep::manager::open(config).command("ACL", "WHOAMI").text(), "cpp");
        config.set("url", url_of("RK_TEST_URL"));

        config.credentials_provider([]() -> redkeep::credentials { throw std::runtime_error("the vault is closed"); });
        CHECK_HAS(FAILS(RK_ERR_AUTH, redkeep::manager::open(config).ping()).what(), "the vault is closed");
        config.credentials_provider([]() -> redkeep::result<redkeep::credentials> {
            return redkeep::error(RK_ERR_TIMEOUT, "the vault sleeps");
        });
        CHECK_HAS(FAILS(RK_ERR_AUTH, redkeep::manager::open(config).ping()).what(), "the vault sleeps");
        config.no_credentials_provider();
        redkeep::manager::open(config).ping();
    }
    EVENTUALLY(counted::alive == 0);
    keep.command("ACL", "DELUSER", "cpp");
}

int main()
{
    auto keep = open_keep();
    polled(keep);
    by_handler(keep);
    by_hand(keep);
    in_background(keep);
    polled_streams(keep);
    left_behind(keep);
    the_log();
    credentials(keep);
    return 0;
}
