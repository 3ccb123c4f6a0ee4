/* redkeep.hpp: locks, rate limits, sessions, cache, near cache. */
#include <map>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include "keep.hpp"

static void locks(redkeep::manager &keep)
{
    auto mine = keep.lock("report", 5s), other = keep.lock("report", 5s);
    {
        auto guard = mine.acquire(5s);
        CHECK(guard.is_held() && mine.is_held() && !other.is_held());
        CHECK_EQ_INT(*guard.fence(), 1);
        CHECK(!other.try_acquire());
        auto e = FAILS(RK_ERR_LOCK_TIMEOUT, other.acquire(30ms));
        CHECK_TEXT(e.what(), "Could not acquire lock: lock:report");
        /* It would wait for itself. */
        FAILS(RK_ERR_ARGUMENT, mine.acquire(redkeep::for_ever));
    }
    CHECK(!mine.is_held());
    {
        auto guard = other.try_acquire();
        CHECK(guard && *guard->fence() == 2);
        auto moved = std::move(*guard);
        CHECK(moved.is_held() && !guard->is_held());
        CHECK(moved.release() && !moved.release() && !moved.fence());
        CHECK(!other.is_held());
    }
    /* A guard may outlive its lock, and is released by an exception. */
    try {
        auto guard = keep.lock("report").acquire(0s); // its lease is 10 s
        CHECK(guard.is_held());
        throw std::runtime_error("enough");
    } catch (const std::runtime_error &) {
    }
    CHECK(mine.try_acquire().has_value());

    auto again = keep.lock("again", 5s);
    again.option("reentrant", true).option("fair", "yes").option("max_hold", 2500ms);
    auto one = again.acquire(0s), two = again.acquire(0s);
    CHECK(one.release());
    CHECK(two.is_held() && two.release() && !again.is_held());

    FAILS(RK_ERR_UNKNOWN_PROPERTY, again.option("colour", "red"));
    FAILS(RK_ERR_ARGUMENT, keep.lock("x", 0s));
    FAILS(RK_ERR_ARGUMENT, keep.lock("", 5s));
}

/* A guard of before cannot give back what is held now. */
static void losses(redkeep::manager &keep)
{
    std::atomic<int> lost{0};
    {
        auto lock = keep.lock("lost", 900ms);
        lock.on_lost([&lost, seen = counted()](std::string_view name) {
            CHECK_TEXT(name, "lost");
            lost++;
            throw std::runtime_error("it goes no further");
        });
        FAILS(RK_ERR_CONFLICT, lock.on_lost([seen = counted()](std::string_view) {}));
        CHECK_EQ_INT(counted::alive, 1);
        auto before = lock.acquire(0s);
        keep.del("lock:lost");
        EVENTUALLY(lost == 1);
        CHECK(!before.is_held());
        auto now = lock.acquire(5s);
        CHECK(!before.release() && now.is_held());
        CHECK(now.release());
    }
    EVENTUALLY(counted::alive == 0);
}

static void shared_locks(redkeep::manager &keep)
{
    {
        auto reader = keep.read_lock("book", 5s).acquire(0s), second = keep.read_lock("book", 5s).acquire(0s);
        CHECK(!keep.write_lock("book", 5s).try_acquire());
        CHECK(reader.release() && second.release());
        CHECK(keep.write_lock("book", 5s).try_acquire().has_value());
    }
    auto a = keep.semaphore("seats", 2, 5s).acquire(0s), b = keep.semaphore("seats", 2, 5s).acquire(0s);
    CHECK(!keep.semaphore("seats", 2, 5s).try_acquire());
    a.release();
    CHECK(keep.semaphore("seats", 2, 5s).try_acquire().has_value());

    auto one = redkeep::manager::open("embedded://"), two = redkeep::manager::open("embedded://");
    auto guard = redkeep::manager::redlock({&keep, &one, &two}, "wide", 5s).acquire(5s);
    CHECK(guard.is_held() && !guard.fence());
    FAILS(RK_ERR_ARGUMENT, redkeep::manager::redlock({&keep, &one}, "wide", 5s));
    FAILS(RK_ERR_ARGUMENT, redkeep::manager::redlock({&keep, &one, nullptr}, "wide", 5s));
}

static void failing()
{
    auto frail = redkeep::manager::open("embedded://?embedded_faults=on&command_timeout=300ms");
    frail.ping();
    frail.embedded_fault("freeze");
    FAILS(RK_ERR_TIMEOUT, frail.ping());
    FAILS(RK_ERR_BAD_VALUE, frail.embedded_fault("melt"));
    frail.embedded_fault("none");
    frail.wait_for_ready({}, 10s, 10ms, 1000);
    frail.ping();
}

static void limits(redkeep::manager &keep)
{
    auto limiter = keep.limiter(2, 1min);
    CHECK(limiter.check("ann") && limiter.check("ann"));
    auto no = limiter.check("ann");
    CHECK(!no && no.remaining == 0 && no.retry_after > 50s && no.retry_after <= 1min &&
          no.reset_after >= no.retry_after);
    CHECK(!limiter.peek("ann") && limiter.peek("bob").remaining == 2);
    CHECK(!limiter.check("bob", 2).remaining);
    CHECK(limiter.reset("ann") && !limiter.reset("ann"));
    FAILS(RK_ERR_ARGUMENT, limiter.check("bob", 3));
    FAILS(RK_ERR_BAD_VALUE, limiter.option("algorithm", "guess"));
    FAILS(RK_ERR_ARGUMENT, keep.limiter(0, 1min));
    limiter.option("algorithm", "gcra").option("when_away", "closed");
}

static void user_sessions(redkeep::manager &keep)
{
    auto sessions = keep.sessions(1h);
    const auto id = sessions.create("ann", R"({"cart": 1})"), second = sessions.create("ann");
    CHECK_HAS(*sessions.get(id), "\"cart\"");
    CHECK(sessions.update(id, R"({"cart": null, "seen": true})") && sessions.touch(id));
    CHECK(sessions.get(id)->find("cart") == std::string::npos);
    const auto all = sessions.all_of("ann");
    CHECK_EQ_INT(all.size(), 2);
    CHECK((all[0] == id && all[1] == second) || (all[0] == second && all[1] == id));
    CHECK(sessions.del(id) && !sessions.del(id) && !sessions.get(id) && !sessions.touch(id) &&
          !sessions.update(id, "{}"));
    CHECK_EQ_INT(sessions.del_all_of("ann"), 1);
    CHECK(sessions.all_of("ann").empty());
    CHECK(sessions.all_of("nobody").empty());
    FAILS(RK_ERR_ARGUMENT, sessions.get("a:b"));
}

static void caches(redkeep::manager &keep)
{
    int runs = 0;
    auto cache = keep.cache("rows");
    cache.option("expire", 1h).option("negative", "5s");
    const auto rows = [&](std::string_view args) { return runs++, "[" + std::string(args) + "]"; };

    CHECK_TEXT(*cache.get_or_compute("7", rows), "[7]");
    CHECK_TEXT(*cache.get_or_compute("7", rows), "[7]");
    CHECK_EQ_INT(runs, 1);
    cache.invalidate("7");
    CHECK_TEXT(*cache.get_or_compute("7", rows), "[7]");
    cache.invalidate_all();
    CHECK_TEXT(*cache.get_or_compute("7", [] { return "true"; }), "true");
    CHECK(!cache.get_or_compute("8", [] { return std::optional<std::string>(); }));

    /* What is thrown comes out as it was. */
    try {
        cache.get_or_compute("9", []() -> std::string { throw std::out_of_range("no such row"); });
        CHECK(false);
    } catch (const std::out_of_range &e) {
        CHECK_TEXT(e.what(), "no such row");
    }
    const auto fails = []() -> redkeep::result<std::string> { return redkeep::error(RK_ERR_BAD_VALUE, "no such row"); };
    CHECK_TEXT(FAILS(RK_ERR_BAD_VALUE, cache.get_or_compute("9", fails)).what(), "no such row");
    CHECK_TEXT(
        *cache.get_or_compute(
            "9", []() -> redkeep::result<std::optional<std::string>> { return std::optional<std::string>("9"); }),
        "9");
    FAILS(RK_ERR_JSON, cache.get_or_compute("10", [] { return "["; }));
    FAILS(RK_ERR_DEADLOCK, cache.get_or_compute("11", [&] { return cache.get_or_compute("11", [] { return "1"; }); }));
    FAILS(RK_ERR_ARGUMENT, cache.get_or_compute({}, [] { return "1"; }));
    FAILS(RK_ERR_UNKNOWN_PROPERTY, cache.option("expires", 1h));

    /* Who waits for another thread's computation gets its error with the text. */
    std::atomic<bool> inside{false}, waits{false};
    std::thread first([&] {
        try {
            cache.get_or_compute("12", [&]() -> std::string {
                inside = true;
                EVENTUALLY(waits);
                std::this_thread::sleep_for(100ms);
                throw std::runtime_error("no such row");
            });
            CHECK(false);
        } catch (const std::runtime_error &) {
        }
    });
    EVENTUALLY(inside);
    waits = true;
    bool ran = false;
    auto second = [&]() -> std::string { return ran = true, "1"; };
    try {
        cache.get_or_compute("12", second);
        CHECK(ran); /* it came late */
    } catch (const redkeep::error &e) {
        CHECK(!ran);
        CHECK_EQ_INT(e.status(), RK_ERR_COMPUTE);
        CHECK_HAS(e.what(), "no such row");
    }
    first.join();
}

static void near_caches(redkeep::manager &keep)
{
    char buffer[4] = {};
    auto near = keep.near_cache(1 << 20);
    near.option("prefix", "near:").option("ttl", 1h);
    keep.set("near:a", "{}");
    keep.hset("near:h", {{"x", 1}, {"y", 2}});

    for (int i = 0; i < 3; i++) {
        CHECK_TEXT(*near.get("near:a"), "{}");
        CHECK_TEXT(*near.get_json("near:a"), "{}");
        CHECK_EQ_INT(*near.get_into("near:a", buffer, 1), 2);
        CHECK_TEXT(*near.hget("near:h", "x"), "1");
        CHECK_EQ_INT((near.hgetall("near:h").as<std::map<std::string, int>>().at("y")), 2);
        CHECK(!near.get("near:none") && !near.get_into("near:none", buffer, 1) && !near.hget("near:h", "z"));
        auto both = near.mget({"near:a", "near:none"});
        CHECK(both[0] == "{}" && !both[1]);
    }
    CHECK(near.stats_json().find("\"hits\":0,") == std::string::npos);
    keep.set("near:a", "[");
    CHECK_TEXT(*near.get("near:a"), "[");
    FAILS(RK_ERR_STORED_JSON, near.get_json("near:a"));
    FAILS(RK_ERR_WRONG_TYPE, near.get("near:h"));
    FAILS(RK_ERR_UNKNOWN_PROPERTY, near.option("colour", "red"));
    near.clear();
    CHECK_HAS(near.stats_json(), "\"entries\":0");
}

/* The manager works in a child; a guard of the parent's does not release there. */
static void forks(redkeep::manager &keep)
{
    auto guard = keep.lock("forked", 5s).acquire(0s);
    const pid_t child = fork();
    if (child == 0) {
        const bool well = keep.incr("children") == 1 && !guard.is_held();
        CHECK_HAS(FAILS(RK_ERR_CLOSED, guard.release()).what(), "fork");
        _exit(well ? 0 : 1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(guard.is_held() && guard.release());
}

/* A span goes from the one function to the other, whatever they throw; all of them are destroyed. */
static void traces()
{
    struct span {
        std::string name;
        counted seen;
    };
    std::string last;
    int over = 0;
    {
        redkeep::config config;
        config.set("url", url_of("RK_TEST_URL"));
        config.command_hook(
            [own = counted()](const redkeep::traced_call &call) {
                if (call.name() == "PING")
                    throw std::runtime_error("it goes no further");
                CHECK(!call.node() && call.tries() == 0 && call.time() == 0us);
                return span{std::string(call.name()), {}};
            },
            [&over, &last](span begun, const redkeep::traced_call &call) {
                CHECK_TEXT(call.name(), begun.name);
                CHECK(call.node() && call.tries() == 1 && call.commands() == 1);
                CHECK(call.time() >= call.time("server") && call.time("lunch") == -1us);
                last = begun.name + " " + rk_status_name(call.status());
                over++;
                throw 7;
            });
        auto keep = redkeep::manager::open(config);
        keep.ping();
        keep.set("traced", "word");
        CHECK_TEXT(last, "SET RK_OK");
        FAILS(RK_ERR_NOT_A_NUMBER, keep.incr("traced"));
        CHECK_TEXT(last, "INCRBY RK_ERR_NOT_A_NUMBER");
        CHECK_EQ_INT(over, 2);
        config.no_command_hook();
        CHECK_EQ_INT(counted::alive, 1);
    }
    CHECK_EQ_INT(counted::alive, 0);
}

int main(int argc, char **)
{
    auto keep = open_keep();
    locks(keep);
    losses(keep);
    shared_locks(keep);
    failing();
    limits(keep);
    user_sessions(keep);
    caches(keep);
    near_caches(keep);
    traces();
    /* Given anything, it does not fork: AddressSanitizer's own locks stay locked in a child, and valgrind tells of what
     * the parent's threads held. */
    if (argc == 1)
        forks(keep);
    return 0;
}
