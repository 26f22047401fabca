/* clpctl classify, status and models against a daemon that is none. */
#include "tests/clpctl_case.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

static void classify(void) {
    clpctl_folder_begin();
    struct fake_daemon d = {.version = 9};
    fake_daemon_start(&d);
    const struct ran *r = clpctl_ran("--socket sock classify -k 2 x.npy");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "x.npy [1]   model version 9"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "  stop     50.00 %\n  class 1  50.00 %\n"));
    r = clpctl_ran("classify --socket sock -m model -k 1 --json x.npy nothere.png x.npy");
    CU_ASSERT_EQUAL(r->status, 2); /* one of them failed; the others are answered */
    CU_ASSERT_PTR_NOT_NULL(
        strstr(r->out, "{\"image\":\"x.npy\",\"item\":0,\"model\":\"model\",\"version\":9,"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(r->out, "\"classes\":[{\"index\":0,\"label\":\"stop\",\"score\":0.0,\"probability\":0.5}]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "{\"image\":\"nothere.png\",\"error\":"));
    int lines = 0;
    for (const char *s = r->out; *s; s++) lines += *s == '\n';
    CU_ASSERT_EQUAL(lines, 5);
    d.busy_every = 1;
    r = clpctl_ran("--socket sock classify x.npy");
    CU_ASSERT_EQUAL(r->status, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "busy"));
    fake_daemon_stop(&d);
    clpctl_folder_end();
}

static void models(void) {
    clpctl_folder_begin();
    struct fake_daemon d = {
        .models = "{\"models\":[{\"name\":\"a\",\"version\":1,\"input\":{\"shape\":[1,3],\"u8\":false}},"
                  "{\"name\":\"b\",\"version\":2}],\"files\":[{\"path\":\"c.onnx\",\"state\":\"rejected\","
                  "\"reason\":\"no good\"}]}"};
    fake_daemon_start(&d);
    const struct ran *r = clpctl_ran("--socket sock models");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "f32 [1,3]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "c.onnx: no good"));
    r = clpctl_ran("--socket sock models --json");
    CU_ASSERT_EQUAL(strncmp(r->out, "{\"models\":[{\"name\":\"a\"", 22), 0);
    CU_ASSERT_EQUAL(clpctl_ran("--socket sock status")->status, 0);
    r = clpctl_ran("--socket sock classify x.npy");
    CU_ASSERT_EQUAL(r->status, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "serves 2 models, choose one with -m: a, b"));
    r = clpctl_ran("--socket sock classify -m b x.npy");
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "does not say what b takes"));
    r = clpctl_ran("--socket sock classify -m a x.npy");
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "a takes no pictures"));
    fake_daemon_stop(&d);
    clpctl_folder_end();
}

static void bad_daemons(void) {
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"models\":{}}",
        "{\"models\":[]}",
        "{\"models\":[7]}",
        "{\"models\":[{\"name\":\"m\",\"input\":{\"shape\":[1,3,-8,8],\"u8\":true}}]}",
        "{\"models\":[{\"name\":\"m\",\"input\":{\"shape\":[3,8],\"u8\":true}}]}",
        "{\"models\":[{\"name\":\"m\",\"input\":{\"shape\":[1,1,1,1,1,1,1],\"u8\":false}}]}"};
    clpctl_folder_begin();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fake_daemon d = {.models = bad[i]};
        fake_daemon_start(&d);
        const struct ran *r = clpctl_ran("--socket sock classify x.npy");
        CU_ASSERT_EQUAL(r->status, 2);
        CU_ASSERT(strlen(r->err) > 10);
        CU_ASSERT_EQUAL(clpctl_ran("--socket sock load --seconds 0.1")->status, 2);
        CU_ASSERT(clpctl_ran("--socket sock models")->status >= 0);
        fake_daemon_stop(&d);
    }
    clpctl_folder_end();
}

SUITE(clpctl_classify, {"labels, JSON, failures", classify}, {"models and status", models},
      {"strange daemons", bad_daemons});
