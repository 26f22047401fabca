/* clpctl's completion: commands, options, values, files, and the models of a daemon that is there, or not. */
#include "tests/clpctl_case.h"
#include "tests/suite.h"

#include <string.h>

/* Whether the answer begins with `kind` and has (or has not) a line of this word. */
static void expect(const char *line, const char *kind, const char *word, bool there) {
    const struct ran *r = clpctl_ran("__complete %s", line);
    char with[128];
    (void)snprintf(with, sizeof with, "\n%s\t", word);
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_STRING_EQUAL(r->err, "");
    if (strncmp(r->out, kind, strlen(kind)) != 0 || r->out[strlen(kind)] != '\n' ||
        (strstr(r->out, with) != NULL) != there) {
        fprintf(stderr, "\n\"clpctl %s\": %s", line, r->out);
        CU_FAIL("not what should be offered");
    }
}

static void words(void) {
    clpctl_folder_begin();
    expect("''", ":words", "scan", true);
    expect("sc", ":words", "rollback", true); /* the shell narrows them down */
    expect("help ''", ":words", "top", true);
    expect("-", ":words", "--socket", true);
    expect("scan --th", ":words", "--threshold", true);
    expect("scan --th", ":words", "--help", true);
    expect("load --transport ''", ":words", "shm", true);
    expect("load --transport=s", ":words", "stream", true);
    expect("run --guard ''", ":words", "off", true);
    expect("load --rate ''", ":words", "on", false);
    expect("nonsense ''", ":words", "scan", false);
    expect("status ''", ":words", "--json", false);
    clpctl_folder_end();
}

static void files(void) {
    clpctl_folder_begin();
    expect("scan ''", ":files onnx", "", false);
    expect("scan --json mod", ":files onnx", "", false);
    expect("scan --html ''", ":files", "", false);
    expect("scan --html --json x", ":files onnx", "", false); /* "--json" is the value there */
    expect("classify -m x -- -", ":files jpg jpeg png npy", "", false);
    expect("run -i ''", ":files", "", false);
    expect("--socket ''", ":files", "", false);
    expect("--socket=/r", ":files", "", false);
    clpctl_folder_end();
}

static void models(void) {
    static const char some[] =
        "{\"schema\":1,\"models\":[{\"name\":\"a b\",\"verdict\":\"pruned\"},{\"name\":3}],"
        "\"files\":[{\"model\":\"h\",\"state\":\"held\"},{\"model\":\"r\",\"state\":\"rejected\"}]}";
    struct fake_daemon d = {.models = some};
    clpctl_folder_begin();
    expect("classify -m ''", ":words", "a b", false); /* nobody answers: nothing is offered, nothing said */
    fake_daemon_start(&d);
    expect("--socket sock classify -m ''", ":words", "a b", true);
    expect("classify --socket sock --model=", ":words", "a b", true);
    expect("classify --socket=sock -m ''", ":words", "a b", true);
    expect("--socket=sock rollback ''", ":words", "a b", true);
    expect("--socket sock accept ''", ":words", "h", true);
    expect("--socket sock accept ''", ":words", "r", false);
    fake_daemon_stop(&d);
    clpctl_folder_end();
}

SUITE(clpctl_complete, {"commands, options, values", words}, {"files", files}, {"models", models});
