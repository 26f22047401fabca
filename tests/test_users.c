/* Users: counted by uid, forgotten with their last connection. */
#include "daemon/users.h"

#include "tests/suite.h"

static void counting(void) {
    struct users u = {0};
    struct user *a = users_get(&u, 1000), *b = users_get(&u, 0), *again = users_get(&u, 1000);
    CU_ASSERT_TRUE_FATAL(a && b);
    CU_ASSERT_TRUE(again == a && a != b && a->connections == 2 && b->connections == 1);
    a->requests = 7;
    a->requests = 0;
    users_put(&u, b);
    CU_ASSERT_TRUE(u.first == a && !a->next);
    users_put(&u, a);
    CU_ASSERT_TRUE(u.first == a && a->connections == 1);
    users_put(&u, a);
    CU_ASSERT_PTR_NULL(u.first);
}

SUITE(users, {"connections of a uid are one user's", counting});
