/* guard/model_file: what a model may be called, when it has changed, what is never opened. */
#include "guard/model_file.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static int folder = -1;

static void begin(void) {
    strcpy(dir, "/tmp/clpd-model-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(folder >= 0);
}
static void finish(void) {
    char command[96];
    (void)close(folder);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}
static void put(const char *name, const char *text) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}
static struct model_stat look(const char *name, const char *external) {
    struct model_stat st;
    model_file_stat(folder, name, external, 1, &st);
    return st;
}

static void names(void) {
    static const char *const ignored[] = {".a.onnx", "a.onnx~", "a.onnx.tmp", "a.onnx.part", ".", ".."};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        CU_ASSERT_TRUE(model_file_is_ignored(ignored[i]));
    CU_ASSERT_FALSE(model_file_is_ignored("a.onnx"));
    CU_ASSERT_FALSE(model_file_is_ignored("tmp"));
    char text[80] = "", sidecar[MODEL_FILE_NAME];
    CU_ASSERT_TRUE(model_file_stem("a.b.onnx", text, sizeof text));
    CU_ASSERT_STRING_EQUAL(text, "a.b");
    CU_ASSERT_FALSE(model_file_stem("a.onnx.data", text, sizeof text));
    CU_ASSERT_FALSE(model_file_stem("onnx", text, sizeof text));
    model_file_sidecar_name("a.onnx", sidecar);
    CU_ASSERT_STRING_EQUAL(sidecar, "a.yaml");
    model_file_sidecar_name("x", sidecar);
    CU_ASSERT_STRING_EQUAL(sidecar, "x.yaml");
    static const char *const bad[] = {"", ".a", "a b", "a/b", "\xc3\xb6", "a\n", "a\"b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CU_ASSERT_FALSE(model_file_name_is_valid(bad[i]));
    CU_ASSERT_TRUE(model_file_name_is_valid("Signs_2.1-b"));
    memset(text, 'a', 64), text[64] = 0;
    CU_ASSERT_FALSE(model_file_name_is_valid(text));
    text[63] = 0;
    CU_ASSERT_TRUE(model_file_name_is_valid(text));
}

static void identity_follows_all_three(void) {
    begin();
    put("a.onnx", "model");
    struct model_stat first = look("a.onnx", NULL), again = look("a.onnx", NULL), other;
    CU_ASSERT_TRUE(first.exists && !first.trouble[0]);
    CU_ASSERT_TRUE(model_file_same(&first.identity, &again.identity));
    CU_ASSERT_EQUAL(first.identity.size, 5);
    model_file_stat(folder, "a.onnx", NULL, 2, &other); /* other settings */
    CU_ASSERT_FALSE(model_file_same(&first.identity, &other.identity));
    put("a.yaml", "labels");
    again = look("a.onnx", NULL);
    CU_ASSERT_FALSE(model_file_same(&first.identity, &again.identity));
    CU_ASSERT_TRUE(again.newest_mtime_ns >= first.newest_mtime_ns && again.closed_ns >= first.closed_ns);
    put("a.onnx.data", "weights");
    other = look("a.onnx", NULL);
    CU_ASSERT_FALSE(model_file_same(&again.identity, &other.identity));
    put("w.bin", "weights");
    again = look("a.onnx", "w.bin");
    CU_ASSERT_FALSE(model_file_same(&again.identity, &other.identity));
    put("unrelated", "x");
    other = look("a.onnx", "w.bin");
    CU_ASSERT_TRUE(model_file_same(&again.identity, &other.identity));
    CU_ASSERT_EQUAL(unlinkat(folder, "a.yaml", 0), 0);
    other = look("a.onnx", "w.bin");
    CU_ASSERT_FALSE(model_file_same(&again.identity, &other.identity));
    CU_ASSERT_FALSE(look("b.onnx", NULL).exists);
    finish();
}

static void opening_gives_what_stat_gave(void) {
    begin();
    struct model_files f;
    struct err e;
    put("a.onnx", "model");
    put("a.yaml", "labels");
    put("a.onnx.data", "weights");
    CU_ASSERT_EQUAL_FATAL(model_file_open(folder, "a.onnx", NULL, 1, &f, &e), 0);
    struct model_stat st = look("a.onnx", NULL);
    CU_ASSERT_TRUE(model_file_same(&st.identity, &f.stat.identity));
    CU_ASSERT_EQUAL(st.closed_ns, f.stat.closed_ns);
    CU_ASSERT_TRUE(f.sidecar_fd >= 0 && f.external_fd >= 0);
    CU_ASSERT_STRING_EQUAL(f.external_name, "a.onnx.data");
    CU_ASSERT_TRUE(fcntl(f.model_fd, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT_EQUAL(fcntl(f.model_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    model_file_close(&f);
    CU_ASSERT_EQUAL(f.model_fd, -1);
    /* a guess that may not be used is left aside, and counts for the identity all the same */
    CU_ASSERT_EQUAL(linkat(folder, "a.onnx.data", folder, "second", 0), 0);
    CU_ASSERT_EQUAL_FATAL(model_file_open(folder, "a.onnx", NULL, 1, &f, &e), 0);
    st = look("a.onnx", NULL);
    CU_ASSERT_TRUE(model_file_same(&st.identity, &f.stat.identity));
    CU_ASSERT_EQUAL(f.external_fd, -1);
    model_file_close(&f);
    finish();
}

static void none_is_none(void) {
    struct model_files f = MODEL_FILES_NONE;
    CU_ASSERT_TRUE_FATAL(fcntl(0, F_GETFD) >= 0 || dup2(1, 0) == 0);
    model_file_close(&f); /* descriptor 0 is somebody else's: a field that nobody set would be that */
    CU_ASSERT_TRUE(fcntl(0, F_GETFD) >= 0);
}

static void expect_trouble(const char *name, const char *external, bool passing, const char *part) {
    struct model_stat st = look(name, external);
    CU_ASSERT_TRUE(st.exists);
    CU_ASSERT_EQUAL(st.passing, passing);
    CU_ASSERT_PTR_NOT_NULL(strstr(st.trouble, part));
    if (!strstr(st.trouble, part)) fprintf(stderr, "%s: got '%s'\n", name, st.trouble);
    if (passing) return;
    struct model_files f;
    struct err e = {0};
    CU_ASSERT_EQUAL(model_file_open(folder, name, external, 1, &f, &e), -1);
    CU_ASSERT_NOT_EQUAL(e.text[0], 0);
}

static void what_is_no_model(void) {
    begin();
    CU_ASSERT_EQUAL(mkdirat(folder, "dir.onnx", 0755), 0);
    CU_ASSERT_EQUAL(mkfifoat(folder, "pipe.onnx", 0600), 0); /* opening it would wait for a writer */
    CU_ASSERT_EQUAL(symlinkat("/dev/zero", folder, "zero.onnx"), 0);
    CU_ASSERT_EQUAL(symlinkat("loop.onnx", folder, "loop.onnx"), 0);
    CU_ASSERT_EQUAL(symlinkat("nowhere", folder, "dangling.onnx"), 0);
    put("empty.onnx", "");
    expect_trouble("dir.onnx", NULL, false, "a directory");
    expect_trouble("pipe.onnx", NULL, false, "a pipe");
    expect_trouble("zero.onnx", NULL, false, "a device; a model is a regular file");
    expect_trouble("loop.onnx", NULL, false, "symbolic links");
    expect_trouble("dangling.onnx", NULL, true, "not there");
    expect_trouble("empty.onnx", NULL, true, "empty");
    put("a.onnx", "model");
    CU_ASSERT_EQUAL(symlinkat("a.onnx", folder, "link.onnx"), 0); /* links to files are followed */
    CU_ASSERT_STRING_EQUAL(look("link.onnx", NULL).trouble, "");
    CU_ASSERT_EQUAL(mkdirat(folder, "a.yaml", 0755), 0);
    expect_trouble("a.onnx", NULL, false, "a.yaml is a directory");
    finish();
}

static void external_data_is_a_plain_file(void) {
    begin();
    put("a.onnx", "model");
    put("w.bin", "weights");
    CU_ASSERT_STRING_EQUAL(look("a.onnx", "w.bin").trouble, "");
    CU_ASSERT_EQUAL(symlinkat("w.bin", folder, "soft.bin"), 0);
    expect_trouble("a.onnx", "soft.bin", false, "soft.bin is a symbolic link");
    CU_ASSERT_EQUAL(linkat(folder, "w.bin", folder, "hard.bin", 0), 0);
    expect_trouble("a.onnx", "hard.bin", false, "hard.bin is a hard link");
    CU_ASSERT_EQUAL(mkfifoat(folder, "pipe.bin", 0600), 0);
    expect_trouble("a.onnx", "pipe.bin", false, "pipe.bin is a pipe");
    CU_ASSERT_STRING_EQUAL(look("a.onnx", "absent.bin").trouble, "");
    finish();
}

static void unreadable_says_what_to_do(void) {
    begin();
    struct model_files f;
    struct err e = {0};
    put("a.onnx", "model");
    CU_ASSERT_EQUAL(fchmodat(folder, "a.onnx", 0, 0), 0);
    if (geteuid() == 0) {
        suite_skip("unreadable says what to do", "root can read everything");
    } else {
        CU_ASSERT_EQUAL(model_file_open(folder, "a.onnx", NULL, 1, &f, &e), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "make it readable"));
    }
    CU_ASSERT_EQUAL(model_file_open(folder, "absent.onnx", NULL, 1, &f, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "absent.onnx"));
    finish();
}

SUITE(model_file, {"names", names}, {"the identity follows all three files", identity_follows_all_three},
      {"opening gives what stat gave", opening_gives_what_stat_gave}, {"what is no model", what_is_no_model},
      {"none is none", none_is_none}, {"external data is a plain file", external_data_is_a_plain_file},
      {"unreadable says what to do", unreadable_says_what_to_do});
