/* The library is the one that the header describes. */
#include <redkeep.h>

#include "check.h"

int main(void)
{
    CHECK_EQ_INT(rk_version_number(), RK_VERSION_NUMBER);
    CHECK_STR(rk_version_string(), RK_VERSION_STRING);
    CHECK_EQ_INT(sizeof(rk_status), 4);
    CHECK_EQ_INT(sizeof(rk_outcome), 4);
    CHECK_EQ_INT(sizeof(rk_reply_type), 4);
    return 0;
}
