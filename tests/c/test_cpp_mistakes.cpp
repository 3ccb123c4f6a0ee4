/* redkeep.hpp: the mistakes of mistakes.h. */
#include "keep.hpp"

using namespace std::chrono_literals;
using redkeep::config, redkeep::manager, redkeep::set_options;

static void unknown_property(manager &) { config().set("colour", "red"); }
static void value_out_of_range(manager &) { config().set("max_connections", 0); }
static void no_number(manager &) { config().set("max_connections", "many"); }
static void bad_url(manager &) { manager::open("http://localhost"); }
static void unknown_fault(manager &keep) { keep.embedded_fault("nap"); }
static void unnamed_lock(manager &keep) { keep.lock(""); }
static void lease_of_nothing(manager &keep) { keep.lock("l", 0ms); }
static void unknown_option(manager &keep) { keep.lock("l").option("colour", "red"); }
static void option_out_of_range(manager &keep) { keep.lock("l").option("max_hold", "soon"); }
static void two_expiries(manager &keep) { keep.set("k", "v", set_options().ex(5s).px(5ms)); }
static void expires_at_once(manager &keep) { keep.set("k", "v", set_options().ex(0s)); }
static void transaction_by_command(manager &keep) { keep.command("MULTI"); }
static void unnamed_listener(manager &keep) { keep.consumer(""); }
static void unnamed_channel(manager &keep) { keep.sender().register_channel(""); }

int main()
{
    auto keep = open_keep();
#define MISTAKE(name, status, text) CHECK_TEXT(FAILS(status, name(keep)).what(), text);
#include "mistakes.h"
    return 0;
}
