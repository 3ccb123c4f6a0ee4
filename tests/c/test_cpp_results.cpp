/* redkeep.hpp where nothing is thrown: run.sh compiles this with -fno-exceptions -fno-rtti. Every class once, and
 * errors above all. */
#include "keep.hpp"

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "compile this with -fno-exceptions -fno-rtti"
#endif

using redkeep::result;

/* The value; an error is the end. */
template <class T> T ok(result<T> got)
{
    if (!got.has_value())
        std::fprintf(stderr, "%s\n", got.error().what());
    CHECK(got.has_value());
    return std::move(got).value();
}
static void ok(result<> got)
{
    if (!got)
        std::fprintf(stderr, "%s\n", got.error().what());
    CHECK(got.has_value());
}

template <class T> redkeep::error failed(rk_status wanted, const result<T> &got)
{
    CHECK(!got.has_value());
    CHECK_STR(got.error().name(), rk_status_name(wanted));
    return got.error();
}

static void values(redkeep::manager &keep)
{
    ok(keep.set("greeting", "hello"));
    auto greeting = keep.get("greeting");
    CHECK(greeting && *greeting && **greeting == "hello");
    CHECK(!ok(keep.get("none")));
    CHECK_TEXT(keep.get("none").value_or("instead").value_or("nothing"), "nothing");
    auto e = failed(RK_ERR_NOT_A_NUMBER, keep.incr("greeting"));
    CHECK_EQ_INT(e.outcome(), RK_REFUSED);
    CHECK_HAS(e.what(), "not an integer");
    CHECK_EQ_INT(keep.incr("greeting").value_or(-1), -1);
    CHECK(ok(keep.set("token", "x", redkeep::set_options().ex(1h).nx())));
    CHECK(ok(keep.mget({"greeting", "none"})).at(0) == "hello");
    CHECK_EQ_INT(ok(ok(keep.command("STRLEN", "greeting")).as<int>()), 5);
    failed(RK_ERR_REPLY_TYPE, ok(keep.command("GET", "none")).as<int>());
    failed(RK_ERR_URL, redkeep::manager::open("http://x"));
    failed(RK_ERR_ARGUMENT, redkeep::manager::open(std::string_view("a\0b", 3)));
    redkeep::config config;
    failed(RK_ERR_UNKNOWN_PROPERTY, config.set("colour", "red"));
    ok(config.set("url", url_of("RK_TEST_URL")));
    CHECK_TEXT(*ok(config.get("url")), url_of("RK_TEST_URL"));
    ok(config.credentials_provider(
        []() -> result<redkeep::credentials> { return redkeep::error(RK_ERR_TIMEOUT, "the vault sleeps"); }));
    CHECK_HAS(failed(RK_ERR_AUTH, ok(redkeep::manager::open(config)).ping()).what(), "the vault sleeps");
}

static void many(redkeep::manager &keep)
{
    auto pipe = ok(keep.pipeline());
    ok(pipe.append("SET", "n", 1));
    ok(pipe.append("INCR", "n"));
    failed(RK_ERR_STATEFUL, pipe.append("WATCH", "n"));
    CHECK_EQ_INT(ok(ok(pipe.execute())[1].as<int>()), 2);

    auto replies = keep.transaction("n", [](redkeep::transaction &tx) -> result<> {
        auto n = tx.read("GET", "n");
        if (!n)
            return n.error();
        return tx.append("INCRBY", "n", ok(n->as<int>()));
    });
    CHECK_EQ_INT(ok(std::move(replies))[0].integer(), 4);
    auto refused = keep.transaction("n", [](auto &) -> result<> { return redkeep::error(RK_ERR_BUSY, "not now"); });
    CHECK_TEXT(failed(RK_ERR_BUSY, refused).what(), "not now");

    int steps = 0;
    for (auto &key : keep.scan("n").value()) {
        CHECK_TEXT(ok(key), "n");
        steps++;
    }
    CHECK_EQ_INT(steps, 1);
    auto broken = ok(redkeep::manager::open("redis://127.0.0.1:1"));
    auto walk = ok(broken.scan());
    for (auto &key : walk) {
        failed(RK_ERR_CONNECT, key);
        steps++;
    }
    CHECK_EQ_INT(steps, 2);

    auto own = ok(keep.lease());
    ok(own.command("SELECT", 1));
    ok(own.command("SUBSCRIBE", "news"));
    CHECK(!ok(own.receive(0s)));
    CHECK_EQ_INT(ok(keep.eval("return #ARGV", {}, {"a", "b"})).integer(), 2);
}

static void features(redkeep::manager &keep)
{
    auto lock = ok(keep.lock("report", 5s)), other = ok(keep.lock("report", 5s));
    {
        auto guard = ok(lock.acquire(1s));
        CHECK(guard.is_held() && ok(guard.fence()) == 1 && !ok(other.try_acquire()));
        CHECK_TEXT(failed(RK_ERR_LOCK_TIMEOUT, other.acquire(10ms)).what(), "Could not acquire lock: lock:report");
    }
    CHECK(ok(ok(other.acquire(0s)).release()));

    auto limiter = ok(keep.limiter(1, 1min));
    CHECK(ok(limiter.check("ann")).allowed && !ok(limiter.check("ann")));
    auto sessions = ok(keep.sessions());
    CHECK_TEXT(ok(sessions.all_of("ann")).size() == 0 ? "" : "some", "");
    auto id = ok(sessions.create("ann"));
    CHECK(ok(sessions.all_of("ann")) == std::vector<std::string>{id});

    auto cache = ok(keep.cache("rows"));
    ok(cache.option("expire", 1h));
    CHECK_TEXT(*ok(cache.get_or_compute("1", [&] { return keep.get("greeting").has_value() ? "true" : "false"; })),
               "true");
    auto none = [](std::string_view) -> result<std::string> { return redkeep::error(RK_ERR_IO, "no such row"); };
    CHECK_TEXT(failed(RK_ERR_IO, cache.get_or_compute("2", none)).what(), "no such row");
}

static void messages(redkeep::manager &keep)
{
    std::atomic<int> came{0};
    {
        auto subscriber = ok(keep.subscriber());
        ok(subscriber.on_message([&, own = counted()](std::string_view, std::string_view data) -> result<> {
            came++;
            if (data == "bad")
                return redkeep::error(RK_ERR_BAD_VALUE, "no");
            return {};
        }));
        ok(subscriber.add("news"));
        ok(keep.publish("news", "bad"));
        ok(keep.publish("news", "good"));
        EVENTUALLY(came == 2);
        EVENTUALLY(subscriber.failed() == 1);
        failed(RK_ERR_CONFLICT, subscriber.poll(0s));

        auto sender = ok(keep.sender());
        ok(sender.register_channel("orders"));
        ok(sender.send("orders", "a", "1"));
        auto consumer = ok(keep.consumer("billing"));
        ok(consumer.register_channel("orders", R"({"max_deliveries": 1})"));
        ok(consumer.register_handler("orders", [own = counted()](const redkeep::message &message) -> result<> {
            return redkeep::error(RK_ERR_BAD_VALUE, std::string(message.name()) + " is no good");
        }));
        CHECK_EQ_INT(ok(consumer.consume("orders")), 1);
        CHECK_HAS(
            ok(keep.command("XRANGE", "{orders}:dead", "-", "+"))[0][1].at(5).text() +
                ok(keep.eval("return cjson.encode(redis.call('XRANGE', KEYS[1], '-', '+'))", "{orders}:dead")).text(),
            "a is no good");

        auto poller = ok(keep.consumer("poller"));
        ok(poller.register_channel("orders"));
        auto message = ok(poller.poll(10s));
        CHECK(message.has_value());
        ok(message->ack());
        ok(poller.stop(10s));
        failed(RK_ERR_ARGUMENT, redkeep::log_to(9, [own = counted()](int, std::string_view, std::string_view) {}));
    }
    CHECK_EQ_INT(counted::alive, 0);
}

int main()
{
    auto opened = redkeep::manager::open(url_of("RK_TEST_URL"));
    redkeep::manager keep = ok(std::move(opened));
    ok(keep.command("FLUSHALL"));
    values(keep);
    many(keep);
    features(keep);
    messages(keep);
    ok(keep.close());
    failed(RK_ERR_CLOSED, keep.ping());
    return 0;
}
