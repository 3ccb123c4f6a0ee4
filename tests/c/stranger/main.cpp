// A program of somebody else, who has only what was installed.
#include <iostream>
#include <string_view>
#include <redkeep.hpp>

int main(int argc, char **argv)
{
    try {
        // Asked for "global", the manager of the process, which the environment opens.
        const bool global = argc > 1 && std::string_view(argv[1]) == "global";
        auto keep = global ? redkeep::manager::global() : redkeep::manager::open("embedded://");
        keep.set("greeting", "hello");
        std::cout << keep.get("greeting").value() << " from redkeep " << redkeep::version() << "\n";
    } catch (const std::exception &e) {
        std::cerr << e.what() << "\n";
        return 1;
    }
}
