/* redkeep.hpp: opening, configuration, values, replies, errors. */
#include <map>
#include <set>
#include <unordered_map>

#include "keep.hpp"

static_assert(!std::is_copy_constructible_v<redkeep::manager> &&
              std::is_nothrow_move_constructible_v<redkeep::manager>);
static_assert(!std::is_copy_constructible_v<redkeep::held> && std::is_nothrow_move_constructible_v<redkeep::held>);
static_assert(std::is_nothrow_copy_constructible_v<redkeep::error>);
/* Neither NULL nor a flag nor a letter is taken for a text. */
static_assert(!std::is_constructible_v<redkeep::argument, std::nullptr_t>);
static_assert(!std::is_constructible_v<redkeep::argument, bool>);
static_assert(!std::is_constructible_v<redkeep::argument, char>);

static void day_one()
{
    auto keep = redkeep::manager::open("embedded://");
    keep.set("greeting", "hello");
    auto greeting = keep.get("greeting");
    CHECK(greeting && *greeting == "hello");
    CHECK(!keep.get("no such key"));
    keep.close(5s);
    FAILS(RK_ERR_CLOSED, keep.get("greeting"));
}

static void values(redkeep::manager &keep)
{
    const std::string bytes("a\0\xff", 3);
    char buffer[4] = {};

    keep.set(bytes, bytes);
    CHECK_TEXT(*keep.get(bytes), bytes);
    keep.set("empty", "");
    CHECK_TEXT(*keep.get("empty"), "");
    keep.set("number", 0);
    CHECK_EQ_INT(keep.incr("number"), 1);
    CHECK_EQ_INT(keep.incr("number", 41), 42);
    keep.set("double", 0.5);
    CHECK_TEXT(*keep.get("double"), "0.5");
    keep.set("least", std::numeric_limits<std::int64_t>::min());
    CHECK_TEXT(*keep.get("least"), "-9223372036854775808");

    CHECK_EQ_INT(*keep.get_into("number", buffer, sizeof buffer), 2);
    CHECK_MEM(buffer, "42\0\0", 4);
    CHECK_EQ_INT(*keep.get_into("number", buffer, 1), 2);
    CHECK(!keep.get_into("no such key", buffer, sizeof buffer));

    CHECK(keep.set("token", "xyz", redkeep::set_options().ex(1h).nx()));
    CHECK(!keep.set("token", "abc", redkeep::set_options().ex(1h).nx()));
    CHECK(keep.ttl("token") > 3590s && keep.ttl("token") <= 1h);
    CHECK(keep.set("token", "abc", redkeep::set_options().xx().keep_ttl()));
    CHECK(keep.ttl("token") > 0s);
    CHECK(keep.set("token", "abc", redkeep::set_options().px(1500ms)));
    CHECK(keep.ttl("number") == -1s);
    CHECK(keep.ttl("no such key") == -2s);
    CHECK(keep.expire("number", 1min));
    CHECK(!keep.expire("no such key", 1min));
    CHECK(keep.exists("number"));
    CHECK_EQ_INT(keep.del("number"), 1);
    CHECK_EQ_INT(keep.del({"number", "token", "double"}), 2);
    CHECK_EQ_INT(keep.del(std::vector<std::string>{"empty", "least"}), 2);
    CHECK_EQ_INT(keep.del({}), 0);
    CHECK(!keep.exists("number"));
}

static void hashes_json_many(redkeep::manager &keep)
{
    CHECK_EQ_INT(keep.hset("user", "name", "Ann"), 1);
    CHECK_EQ_INT(keep.hset("user", {{"age", 40}, {"name", "Bob"}}), 1);
    CHECK_EQ_INT(keep.hset("user", "a", 1, {{"b", 2}, {"c", "3"}}), 3);
    CHECK_TEXT(*keep.hget("user", "age"), "40");
    CHECK(!keep.hget("user", "none"));

    keep.set_json("order", R"({"id": 1})");
    CHECK_TEXT(*keep.get_json("order"), R"({"id": 1})");
    CHECK(!keep.set_json("order", "2", redkeep::set_options().nx()));
    CHECK(!keep.get_json("no such key"));
    keep.set("order", "{");
    FAILS(RK_ERR_STORED_JSON, keep.get_json("order"));
    FAILS(RK_ERR_JSON, keep.set_json("order", "{"));

    keep.mset({{"{m}a", "1"}, {"{m}b", 2}});
    keep.mset(std::map<std::string, std::string>{{"{m}c", "3"}});
    auto got = keep.mget({"{m}a", "{m}none", "{m}c"});
    CHECK_EQ_INT(got.size(), 3);
    CHECK(got[0] == "1" && !got[1] && got[2] == "3");
    CHECK_EQ_INT(keep.mget(std::set<std::string_view>{"{m}b"}).size(), 1);
}

static void replies(redkeep::manager &keep)
{
    using scores = std::map<std::string, double>;

    CHECK_EQ_INT(keep.command("ZADD", "scores", 3, "ann", 5.5, "bob").integer(), 2);
    auto all = keep.command("ZRANGE", "scores", 0, -1);
    CHECK(all.type() == RK_REPLY_ARRAY);
    CHECK_EQ_INT(all.size(), 2);
    std::string names;
    for (auto name : all)
        names += name.view();
    CHECK_TEXT(names, "annbob");
    CHECK(all[2].is_nil());
    /* A part keeps the whole alive. */
    auto last = keep.command("ZRANGE", "scores", 0, -1)[1];
    CHECK_TEXT(last.text(), "bob");
    CHECK(keep.command("ZRANGE", "scores", 0, -1, "WITHSCORES").as<scores>() == (scores{{"ann", 3}, {"bob", 5.5}}));
    CHECK((keep.command("HGETALL", "user").as<std::unordered_map<std::string, std::string>>().at("name") == "Bob"));
    CHECK_TEXT(keep.command("HGETALL", "user").key_at(0).text(), "name");
    CHECK(keep.command("ZSCORE", "scores", "bob").as<double>() == 5.5);
    CHECK_EQ_INT(keep.command("GET", "{m}b").as<unsigned char>(), 2);
    CHECK(keep.command(std::vector<std::string>{"GET", "{m}b"}).as<std::optional<int>>() == 2);
    CHECK(!keep.command("GET", "no such key").as<std::optional<int>>());
    CHECK(keep.command("EXISTS", "{m}b").as<bool>());
    CHECK_EQ_INT((keep.command({"MGET", "{m}a", "{m}b"}).as<std::vector<int>>().at(1)), 2);
    CHECK_TEXT(keep.command("SET", "x", "70000").as<std::string>(), "OK");

    CHECK_TEXT(FAILS(RK_ERR_REPLY_TYPE, keep.command("ZRANGE", "scores", 0, -1).as<int>()).what(),
               "reply: an array, which does not fit");
    CHECK_HAS(FAILS(RK_ERR_REPLY_TYPE, keep.command("GET", "none").as<std::string>()).what(), "nil");
    FAILS(RK_ERR_REPLY_TYPE, keep.command("GET", "x").as<std::int16_t>());
    FAILS(RK_ERR_REPLY_TYPE, keep.command("STRLEN", "x").as<std::vector<int>>());
    FAILS(RK_ERR_REPLY_TYPE, keep.command("DECRBY", "y", 1).as<unsigned>());
    FAILS(RK_ERR_REPLY_TYPE, keep.command("ZRANGE", "scores", 0, 0).as<scores>());
    FAILS(RK_ERR_REPLY_TYPE, keep.command("ZRANGE", "scores", 0, -1)[7].as<int>());
    CHECK_EQ_INT(keep.command_within(5s, "STRLEN", "x").integer(), 5);
    CHECK_EQ_INT(keep.command_within(5s, std::vector<std::string>{"STRLEN", "x"}).integer(), 5);
    FAILS(RK_ERR_TIMEOUT, keep.command_within(0s, "STRLEN", "x"));
}

template <class T> static void moves(T &from)
{
    const T to = std::move(from);
}

/* No object that was moved from ends the program: it is empty, or its calls fail. */
static void left_behind(redkeep::manager &keep)
{
    redkeep::error error(RK_ERR_TIMEOUT, "too late");
    moves(error);
    CHECK_TEXT(error.what(), "too late");
    CHECK(error.status() == RK_ERR_TIMEOUT && !error.node() && !error.server_code());
    redkeep::error other(RK_ERR_URL, "");
    other = std::move(error);
    CHECK_TEXT(error.what(), other.what());
    redkeep::result<> result = redkeep::error(RK_ERR_TIMEOUT, "too late");
    moves(result);
    CHECK_TEXT(result.error().what(), "too late");

    auto reply = keep.command("PING");
    moves(reply);
    CHECK(reply.is_nil() && reply.text().empty() && reply.view().empty() && reply.size() == 0);
    CHECK(reply.at(0).is_nil() && reply.begin() == reply.end() && reply.integer() == 0);
    FAILS(RK_ERR_REPLY_TYPE, reply.as<int>());

    auto pipeline = keep.pipeline();
    moves(pipeline);
    CHECK(pipeline.size() == 0 && pipeline.outcome(0) == RK_ANSWERED);
    FAILS(RK_ERR_ARGUMENT, pipeline.execute());
    auto connection = keep.lease();
    moves(connection);
    FAILS(RK_ERR_ARGUMENT, connection.command("PING"));
    FAILS(RK_ERR_ARGUMENT, connection.pipeline());
    auto scan = keep.scan();
    moves(scan);
    FAILS(RK_ERR_ARGUMENT, scan.begin());
    auto lock = keep.lock("moved");
    moves(lock);
    CHECK(!lock.is_held());
    FAILS(RK_ERR_ARGUMENT, lock.acquire(0s));
    FAILS(RK_ERR_ARGUMENT, lock.try_acquire());
    redkeep::config config;
    moves(config);
    FAILS(RK_ERR_ARGUMENT, config.set("url", "redis://localhost"));
    FAILS(RK_ERR_ARGUMENT, redkeep::manager::open(config));
    redkeep::set_options options;
    moves(options);
    CHECK(options.ex(1s).nx().raw() == nullptr);
    auto limiter = keep.limiter(1, 1s);
    moves(limiter);
    FAILS(RK_ERR_ARGUMENT, limiter.check("x"));
    auto sessions = keep.sessions();
    moves(sessions);
    FAILS(RK_ERR_ARGUMENT, sessions.all_of("ann"));
    auto cache = keep.cache("moved");
    moves(cache);
    FAILS(RK_ERR_ARGUMENT, cache.get_or_compute("{}", [] { return std::string("1"); }));
    auto near = keep.near_cache();
    moves(near);
    FAILS(RK_ERR_ARGUMENT, near.get("x"));
    auto sender = keep.sender();
    moves(sender);
    FAILS(RK_ERR_ARGUMENT, sender.send("x", "y", "1"));
}

static void errors(redkeep::manager &keep)
{
    rk_error *err = nullptr;

    /* The same text as in C, and everything else that is known. */
    keep.set("text", "hello");
    auto e = FAILS(RK_ERR_NOT_A_NUMBER, keep.incr("text"));
    CHECK_EQ_INT(rk_incr(keep.raw(), "text", 4, 1, nullptr, &err), RK_ERR_NOT_A_NUMBER);
    CHECK_TEXT(e.what(), rk_error_message(err));
    CHECK_TEXT(*e.node(), rk_error_node(err));
    CHECK_TEXT(*e.server_code(), rk_error_server_code(err));
    rk_error_free(err);
    CHECK_EQ_INT(e.outcome(), RK_REFUSED);
    CHECK(!e.is_retriable());
    CHECK_STR(e.name(), "RK_ERR_NOT_A_NUMBER");

    auto away = FAILS(RK_ERR_CONNECT, redkeep::manager::open("redis://127.0.0.1:1").get("x"));
    CHECK_EQ_INT(away.outcome(), RK_NOT_SENT);
    CHECK(away.is_retriable() && !away.server_code());

    FAILS(RK_ERR_URL, redkeep::manager::open("http://localhost"));
    FAILS(RK_ERR_CONFLICT, keep.set("x", "y", redkeep::set_options().nx().xx()));
    FAILS(RK_ERR_ARGUMENT, keep.set("x", "y", redkeep::set_options().ex(0s)));
    FAILS(RK_ERR_STATEFUL, keep.command("MULTI"));
    FAILS(RK_ERR_ARGUMENT, keep.set_json("x", {}));
    /* Names are never cut short in silence. */
    const std::string_view zero("redis://localhost\0.example", 26);
    CHECK_TEXT(FAILS(RK_ERR_ARGUMENT, redkeep::manager::open(zero)).what(), "url: it holds a zero byte");
    FAILS(RK_ERR_ARGUMENT, keep.publish(zero, "x"));
    CHECK(!keep.is_connected(zero));
    FAILS(RK_ERR_ARGUMENT, keep.set_json("x", std::string("1\0", 2)));
    /* What was moved away is an error, and no crash. */
    auto other = std::move(keep);
    FAILS(RK_ERR_ARGUMENT, keep.get("x"));
    CHECK(!keep.is_enabled() && !keep.is_connected());
    keep = std::move(other);
    left_behind(keep);
    CHECK_TEXT(redkeep::error(RK_ERR_TIMEOUT, "too late").what(), "too late");
    CHECK_EQ_INT(redkeep::error(RK_OK, "x").status(), RK_ERR_INTERNAL);
    /* Results may be used in this form too, by functions that are handed over. */
    FAILS(RK_ERR_TIMEOUT, redkeep::result<int>(redkeep::error(RK_ERR_TIMEOUT, "too late")).value());
    CHECK_EQ_INT(redkeep::result<int>(7).value_or(1), 7);
}

static void configuration()
{
    auto config = redkeep::config().set("max_connections", 7).set("command_timeout", 1500ms).set("enabled", true);
    CHECK_TEXT(*config.get("max_connections"), "7");
    CHECK_TEXT(*config.get("command_timeout"), "1500ms");
    CHECK(!config.get("password"));
    CHECK_TEXT(FAILS(RK_ERR_UNKNOWN_PROPERTY, config.set("max_conections", 7)).name(), "RK_ERR_UNKNOWN_PROPERTY");
    FAILS(RK_ERR_BAD_VALUE, config.set("command_timeout", -1ms));
    config.set("password", "secret").set("url", url_of("RK_TEST_URL"));
    CHECK(config.dump().find("secret") == std::string::npos);
    redkeep::config::from_env().set("db", 0);
    redkeep::manager::open(redkeep::config().set("url", url_of("RK_TEST_URL"))).ping();
}

static void nodes_and_health(redkeep::manager &keep)
{
    const auto other = url_of("RK_TEST_TCP_URL");

    keep.initialize();
    CHECK(keep.is_enabled() && keep.is_connected());
    keep.ping();
    CHECK(keep.wait_for_ready() >= 0s);
    CHECK(keep.wait_for_ready({}, 2s, 10ms, 3).count() < 2);
    CHECK_HAS(keep.health_check(), "\"healthy\"");
    keep.add_node_pool(other, 5s);
    CHECK(keep.is_connected(other));
    CHECK_HAS(keep.health_check(other), "\"healthy\"");
    keep.close_node_pools(other);
    FAILS(RK_ERR_UNKNOWN_NODE, keep.health_check("redis://elsewhere"));
    keep.stop_health_checks(), keep.start_health_checks();
    keep.stop_cleanup(), keep.start_cleanup();
    keep.rotate_credentials();
    keep.disconnect();
    keep.ping();
    CHECK_HAS(keep.fetch_pool_status(), "standalone");
    CHECK_HAS(keep.stats_json(), "\"calls\"");
    CHECK_HAS(keep.stats_prometheus(), "redkeep_calls_total");
    keep.close_all_pools();
    FAILS(RK_ERR_UNKNOWN_NODE, keep.ping());
    /* From the environment, which says nothing here: it is never freed. */
    CHECK(redkeep::manager::global().raw() == redkeep::manager::global().raw());
}

static void versions()
{
    using redkeep::detail::fits;
    rk_error *err = nullptr;

    CHECK_TEXT(redkeep::version(), RK_VERSION_STRING);
    CHECK(fits(RK_VERSION_NUMBER, RK_VERSION_NUMBER));
    CHECK(fits(100, 101) && !fits(101, 100) && !fits(100, 200) && !fits(100, 10000));
    CHECK(fits(10000, 10200) && !fits(10200, 10100) && !fits(10000, 20000));
    CHECK_EQ_INT(redkeep::detail::check_version(20304, &err), RK_ERR_CONFIG);
    redkeep::error e(err, RK_ERR_CONFIG);
    CHECK_TEXT(e.what(), "this program was compiled for redkeep " RK_VERSION_STRING ", but runs with version 2.3.4");
}

static void times()
{
    CHECK_EQ_INT(redkeep::timespan(1us).milliseconds(), 1);
    CHECK_EQ_INT(redkeep::timespan(std::chrono::duration<double>(0.0015)).milliseconds(), 2);
    CHECK_EQ_INT(redkeep::timespan(-1ms).milliseconds(), 0);
    CHECK_EQ_INT(redkeep::timespan(std::chrono::hours::max()).milliseconds(), std::numeric_limits<std::int64_t>::max());
    CHECK_EQ_INT(redkeep::for_ever.milliseconds(), -1);
}

int main()
{
    day_one();
    times();
    versions();
    auto keep = open_keep();
    values(keep);
    hashes_json_many(keep);
    replies(keep);
    errors(keep);
    configuration();
    nodes_and_health(keep);
    return 0;
}
