/* clpctl load against a daemon that is busy, late, or hangs up: all of it is counted, nothing is hidden. */
#include "tests/clpctl_case.h"
#include "tests/suite.h"

#include <jansson.h>
#include <string.h>

static json_t *document;

/* Runs it for half a second. */
static void load(struct fake_daemon *d, int status, const char *arguments) {
    clpctl_folder_begin();
    fake_daemon_start(d);
    const struct ran *r = clpctl_ran("--socket sock load --json --seconds 0.5 %s", arguments);
    fake_daemon_stop(d);
    clpctl_folder_end();
    if (r->status != status) fprintf(stderr, "\nload %s: %d\n%s%s\n", arguments, r->status, r->out, r->err);
    CU_ASSERT_EQUAL(r->status, status);
    document = json_loads(r->out, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
}
static json_int_t count(const char *key) {
    return json_integer_value(json_object_get(document, key));
}
static double number(const char *key) {
    return json_number_value(json_object_get(document, key));
}

static void closed_loop(void) {
    struct fake_daemon d = {.version = 3};
    load(&d, 0, "--clients 3 --inflight 4");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(document, "transport")), "stream");
    CU_ASSERT(count("requests") > 10);
    CU_ASSERT_EQUAL(count("requests") + 1,
                    (json_int_t)d.requests); /* and the one that asked whether it works */
    CU_ASSERT_EQUAL(count("errors"), 0);
    CU_ASSERT(number("p50_us") > 0 && number("p99_us") >= number("p50_us"));
    CU_ASSERT(number("p999_us") >= number("p99_us") && number("max_us") >= number("p999_us"));
    CU_ASSERT_EQUAL(json_array_size(json_object_get(document, "versions")), 1);
    CU_ASSERT_EQUAL(json_integer_value(json_array_get(json_object_get(document, "versions"), 0)), 3);
    json_decref(document);
}

static void busy_and_late(void) {
    struct fake_daemon d = {.version = 1, .busy_every = 5, .late_every = 7};
    load(&d, 2, "--clients 2 --inflight 3");
    CU_ASSERT(count("busy") > 0);
    CU_ASSERT(count("errors") > 0);
    CU_ASSERT_EQUAL(count("errors"),
                    json_integer_value(json_object_get(json_object_get(document, "by_status"), "deadline")));
    CU_ASSERT_EQUAL(count("lost"), 0);
    json_decref(document);
}

static void hang_ups(void) {
    struct fake_daemon d = {.version = 1, .hang_up_after = 10};
    load(&d, 2, "--inflight 4");
    CU_ASSERT(count("reconnects") > 0);
    CU_ASSERT(count("lost") > 0);
    CU_ASSERT_EQUAL(count("errors"), count("lost"));
    json_decref(document);
}

/* A daemon that takes 20 ms for each of 200 requests a second: what waits, waits from its time on. */
static void open_loop(void) {
    struct fake_daemon d = {.version = 1, .answer_us = 20000};
    load(&d, 0, "--rate 200 --inflight 1000");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(document, "loop")), "open");
    CU_ASSERT(count("requests") >= 20 && count("requests") <= 101);
    CU_ASSERT(number("max_us") >
              1000e3); /* the last one of 100 had 99 in front of it, 2 s of work begun 0.5 s ago */
    json_decref(document);
    struct fake_daemon slow = {.version = 1, .answer_us = 20000};
    load(&slow, 0, "--rate 200 --inflight 1");
    CU_ASSERT(count("unsent") > 0);
    CU_ASSERT(number("p99_us") > 200e3);
    json_decref(document);
    struct fake_daemon quick = {.version = 1};
    load(&quick, 0, "--rate 200 --clients 3");
    CU_ASSERT(count("requests") >= 20 && count("requests") <= 101);
    CU_ASSERT(count("requests") + count("unsent") <= 101);
    json_decref(document);
}

static void refusals(void) {
    clpctl_folder_begin();
    struct fake_daemon d = {.version = 1};
    fake_daemon_start(&d);
    CU_ASSERT_EQUAL(clpctl_ran("--socket sock load --transport pigeon")->status, 2);
    const struct ran *r = clpctl_ran("--socket sock load -m other");
    CU_ASSERT_EQUAL(r->status, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "no model other; there are: model"));
    fake_daemon_stop(&d);
    clpctl_folder_end();
}

SUITE(clpctl_load, {"closed loop", closed_loop}, {"busy and late answers", busy_and_late},
      {"lost connections", hang_ups}, {"open loop: no coordinated omission", open_loop},
      {"what it refuses", refusals});
