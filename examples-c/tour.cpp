/* A tour of redkeep in C++. It runs on a private server that ends with the program; give it a URL, and it runs there.
 *
 *   c++ -std=c++17 tour.cpp $(pkg-config --cflags --libs redkeep) -o tour && ./tour
 *
 * What goes wrong is thrown, as a redkeep::error; what is opened is closed at the end of its scope. */

#include <iostream>
#include <map>
#include <stdexcept>

#include <redkeep.hpp>

using namespace std::chrono_literals;

static void chapter(const char *title) { std::cout << "\n" << title << "\n"; }

static void values(redkeep::manager &keep)
{
    chapter("Values, counters, hashes");
    keep.set("greeting", "hello, world");
    std::cout << "  " << *keep.get("greeting") << "\n";
    std::cout << "  no such key: " << keep.get("no such key").value_or("(none)") << "\n";

    const auto once = redkeep::set_options().ex(1h).nx();
    const bool first = keep.set("token", "xyz", once), second = keep.set("token", "abc", once);
    std::cout << "  set by the first: " << first << ", by the second: " << second << "\n";

    keep.incr("visits", 41);
    std::cout << "  visits: " << keep.incr("visits") << "\n";
    keep.hset("user:1", {{"name", "Ann"}, {"age", 40}});
    std::cout << "  user:1 is called " << *keep.hget("user:1", "name") << "\n";
    keep.set_json("order:7", R"({"items": [1, 2], "paid": true})");
    std::cout << "  order:7 is " << *keep.get_json("order:7") << "\n";
    for (const std::string &key : keep.scan("user:*"))
        std::cout << "  a key: " << key << "\n";
}

static void everything_else(redkeep::manager &keep)
{
    chapter("Everything else that Redis has");
    keep.command("ZADD", "scores", 3, "ann", 5.5, "bob");
    auto scores = keep.command("ZRANGE", "scores", 0, -1, "WITHSCORES").as<std::map<std::string, double>>();
    for (const auto &[name, score] : scores)
        std::cout << "  " << name << ": " << score << "\n";
}

static void many_at_once(redkeep::manager &keep)
{
    chapter("Many commands at once, and all or nothing");
    auto replies = keep.pipeline().append("INCR", "visits").append("GET", "greeting").execute();
    std::cout << "  " << replies[0].as<int>() << " visits, " << replies[1].text() << "\n";

    keep.set("balance", 100);
    auto left = keep.transaction("balance", [](redkeep::transaction &tx) {
        const auto balance = tx.read("GET", "balance").as<int>();
        tx.append("DECRBY", "balance", balance / 2);
    });
    std::cout << "  half of the balance is " << left[0].as<int>() << "\n";
}

static void coordination(redkeep::manager &keep)
{
    chapter("A lock, a limit, a session, a cache");
    {
        auto guard = keep.lock("report", 30s).acquire(5s);
        std::cout << "  the lock is ours; its fence is " << *guard.fence() << "\n";
    }
    auto limiter = keep.limiter(2, 1min);
    for (int i = 0; i < 3; i++)
        std::cout << "  request " << i + 1 << (limiter.check("ann") ? " is allowed\n" : " is not\n");

    auto sessions = keep.sessions(1h);
    const auto id = sessions.create("ann", R"({"cart": []})");
    std::cout << "  a session of " << id.size() << " letters; it is there: " << sessions.touch(id) << "\n";

    auto cache = keep.cache("squares");
    cache.option("expire", 1h);
    for (int i = 0; i < 2; i++) {
        auto square = cache.get_or_compute("7", [] {
            std::cout << "  computing 7 * 7\n";
            return std::to_string(7 * 7);
        });
        std::cout << "  7 * 7 is " << *square << "\n";
    }
}

static void messages(redkeep::manager &keep)
{
    chapter("Publish and subscribe, and a stream");
    auto subscriber = keep.subscriber();
    subscriber.add("news");
    keep.publish("news", "it works");
    if (auto event = subscriber.poll(5s); event && event->is_message())
        std::cout << "  " << event->channel() << ": " << event->data() << "\n";

    auto sender = keep.sender();
    sender.register_channel("orders");
    sender.send_many("orders", {{"order.created", R"({"id": 1})"}, {"order.created", R"({"id": 2})"}});

    auto consumer = keep.consumer("billing");
    consumer.register_channel("orders", R"({"backoff": 0.1})");
    consumer.register_handler("orders", [](const redkeep::message &order) {
        if (order.body() == R"({"id": 2})" && order.deliveries() == 1)
            throw std::runtime_error("the bank did not answer"); // it comes again
        std::cout << "  " << order.name() << " " << order.body() << ", delivery " << order.deliveries() << "\n";
    });
    for (int handled = 0; handled < 3;)
        handled += static_cast<int>(consumer.consume("orders", 1s));
}

static void an_error(redkeep::manager &keep)
{
    chapter("An error, read properly");
    try {
        keep.incr("greeting");
    } catch (const redkeep::error &e) {
        std::cout << "  status      " << e.name() << "\n";
        std::cout << "  message     " << e.what() << "\n";
        std::cout << "  outcome     " << (e.outcome() == RK_REFUSED ? "refused: nothing was changed" : "another")
                  << "\n";
        std::cout << "  retriable   " << (e.is_retriable() ? "yes" : "no") << "\n";
    }
}

int main(int argc, char **argv)
{
    try {
        // One manager for the whole program, used from any thread.
        auto keep = redkeep::manager::open(argc > 1 ? argv[1] : "embedded://");

        std::cout << "redkeep " << redkeep::version() << std::boolalpha << "\n";
        values(keep);
        everything_else(keep);
        many_at_once(keep);
        coordination(keep);
        messages(keep);
        an_error(keep);
        return 0;
    } catch (const redkeep::error &e) {
        std::cerr << e.name() << ": " << e.what() << "\n";
        return 1;
    }
}
