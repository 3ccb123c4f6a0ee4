// A program of somebody else, who has only what was installed.
#include <iostream>
#include <redkeep.hpp>

int main()
{
    try {
        auto keep = redkeep::manager::open("embedded://");
        keep.set("greeting", "hello");
        std::cout << keep.get("greeting").value() << " from redkeep " << redkeep::version() << "\n";
    } catch (const std::exception &e) {
        std::cerr << e.what() << "\n";
        return 1;
    }
}
