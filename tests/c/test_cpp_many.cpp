/* redkeep.hpp: pipelines, transactions, scripts, walks, leased connections. */
#include <set>
#include <stdexcept>

#include "keep.hpp"

static void pipelines(redkeep::manager &keep)
{
    auto pipe = keep.pipeline();
    auto replies = pipe.append("SET", "n", 1).append("INCR", "n").append("LPUSH", "n", "x").execute();
    CHECK_EQ_INT(replies.size(), 3);
    CHECK_TEXT(replies[0].text(), "OK");
    CHECK_EQ_INT(replies[1].as<int>(), 2);
    CHECK(replies[2].is_error());
    CHECK_HAS(replies[2].text(), "WRONGTYPE");
    CHECK_HAS(FAILS(RK_ERR_SERVER, replies[2].as<int>()).what(), "WRONGTYPE");
    FAILS(RK_ERR_REPLY_TYPE, replies.as<std::vector<std::string>>());
    FAILS(RK_ERR_SERVER, replies[2].as<std::string>());

    pipe.atomic().timeout(5s).append(std::vector<std::string>{"INCR", "n"});
    pipe.append_eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", "n", {"10"});
    CHECK_EQ_INT(pipe.size(), 2);
    CHECK_EQ_INT(pipe.execute().as<std::vector<int>>().at(1), 13);
    CHECK_EQ_INT(pipe.size(), 0);
    CHECK_EQ_INT(pipe.execute().size(), 0);
    FAILS(RK_ERR_STATEFUL, pipe.append("WATCH", "n"));

    pipe.append("BLPOP", "nothing", 5).timeout(300ms);
    FAILS(RK_ERR_TIMEOUT, pipe.execute());
    CHECK_EQ_INT(pipe.outcome(0), RK_OUTCOME_UNKNOWN);
    CHECK_EQ_INT(pipe.outcome(1), RK_ANSWERED);
}

static void transactions(redkeep::manager &keep)
{
    int runs = 0;

    keep.set("balance", 100);
    auto left = keep.transaction("balance", [&](redkeep::transaction &tx) {
        const auto balance = tx.read("GET", "balance").as<int>();
        if (runs++ == 0)
            keep.set("balance", 60); /* somebody else: begin anew */
        tx.append("DECRBY", "balance", balance / 2).append(std::vector<std::string>{"GET", "balance"});
    });
    CHECK_EQ_INT(runs, 2);
    CHECK_EQ_INT(left[0].as<int>(), 30);
    CHECK_TEXT(left[1].text(), "30");

    /* What is thrown comes out as it was, and nothing is executed. */
    struct overdrawn {
        int by;
    };
    try {
        keep.transaction({"balance", "other"}, [&](redkeep::transaction &tx) {
            tx.append("SET", "balance", 0);
            throw overdrawn{7};
        });
        CHECK(false);
    } catch (const overdrawn &o) {
        CHECK_EQ_INT(o.by, 7);
    }
    CHECK_TEXT(*keep.get("balance"), "30");
    CHECK_HAS(FAILS(RK_ERR_NOT_A_NUMBER, keep.transaction("n",
                                                          [](auto &tx) {
                                                              tx.read(std::vector<std::string>{"INCRBY", "n", "x"});
                                                          }))
                  .what(),
              "integer");
    /* Or is returned. */
    CHECK_TEXT(FAILS(RK_ERR_BAD_VALUE, keep.transaction("n",
                                                        [](redkeep::transaction &) -> redkeep::result<> {
                                                            return redkeep::error(RK_ERR_BAD_VALUE, "too little");
                                                        }))
                   .what(),
               "too little");
    FAILS(RK_ERR_WATCHED, keep.transaction("busy", [&](redkeep::transaction &tx) {
        tx.read("GET", "busy");
        keep.incr("busy");
        tx.append("GET", "busy");
    }));
}

static void scripts(redkeep::manager &keep)
{
    CHECK_EQ_INT(keep.eval("return 7").as<int>(), 7);
    CHECK_TEXT(keep.eval("return KEYS[1] .. ARGV[1] .. ARGV[2]", "k", {"a", 5}).text(), "ka5");
    CHECK_EQ_INT(keep.eval("return {1, {2, 3}}")[1][1].as<int>(), 3);
    FAILS(RK_ERR_SERVER, keep.eval("return nonsense("));
}

static void walks(redkeep::manager &keep)
{
    std::set<std::string> seen;

    for (int i = 0; i < 300; i++)
        keep.set("user:" + std::to_string(i), i);
    for (const std::string &key : keep.scan("user:*"))
        seen.insert(key);
    CHECK_EQ_INT(seen.size(), 300);
    auto none = keep.scan("nobody:*");
    CHECK(none.begin() == none.end());
    CHECK(!none.next());
    auto all = keep.scan();
    CHECK(all.next());
    keep.close_all_pools();
    auto broken = keep.scan();
    FAILS(RK_ERR_UNKNOWN_NODE, broken.begin());
}

static void leases(redkeep::manager &keep)
{
    auto own = keep.lease();
    own.command("SELECT", 1);
    own.command("SET", "here", "only");
    CHECK(!keep.exists("here"));
    CHECK_EQ_INT(own.command(std::vector<std::string>{"STRLEN", "here"}).integer(), 4);
    CHECK_EQ_INT(own.command_within(5s, "STRLEN", "here").integer(), 4);
    CHECK_EQ_INT(own.command_within(5s, std::vector<std::string>{"DBSIZE"}).integer(), 1);
    CHECK_EQ_INT(own.pipeline().append("MULTI").append("DEL", "here").append("EXEC").execute()[2][0].as<int>(), 1);

    auto listener = keep.lease({}, 5s);
    listener.command("SUBSCRIBE", "news");
    CHECK(!listener.receive(0s));
    keep.publish("news", "x");
    auto came = listener.receive(10s);
    CHECK(came && came->size() == 3);
    CHECK_TEXT((*came)[2].text(), "x");
    FAILS(RK_ERR_UNKNOWN_NODE, keep.lease("redis://elsewhere"));
}

int main()
{
    auto keep = open_keep();
    pipelines(keep);
    transactions(keep);
    scripts(keep);
    leases(keep);
    walks(keep);
    return 0;
}
