/* guard/state: what is kept is either what was kept, or refused. */
#include "guard/state.h"
#include "infer/image.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static int folder;
static char trouble_said[512];

static void begin(void) {
    struct err e = {0};
    strcpy(dir, "/tmp/clpd-state-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    folder = state_open(dir, &e);
    CU_ASSERT_TRUE_FATAL(folder >= 0);
    trouble_said[0] = 0;
}
static void finish(void) {
    char command[96];
    (void)close(folder);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void on_trouble(void *arg, const char *name, const char *why) {
    (void)arg;
    size_t n = strlen(trouble_said);
    (void)snprintf(trouble_said + n, sizeof trouble_said - n, "%s: %s\n", name, why);
}

/* An image of the fixture's, in a memfd, and the record of it. */
static int an_image(struct state_image *image, uint64_t version) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
    fixture_output(g, fixture_relu(g, fixture_conv(g, x, 4, fixture_window(3, 1, 1, 1), true)));
    struct compiled c = fixture_compile_here(g);
    const struct image_header *h = image_header(c.img);
    int fd = memfd_create("t", MFD_CLOEXEC);
    CU_ASSERT_EQUAL(write(fd, c.bytes, c.size), (ssize_t)c.size);
    *image = (struct state_image){.version = version, .bytes = c.size, .path = "a.onnx", .policy = 5};
    memcpy(image->image_checksum, h->self_checksum, 32);
    memcpy(image->digests.model, h->source_sha256, 32);
    fixture_discard(&c);
    graph_free(g);
    return fd;
}

static struct state_record a_record(void) {
    return (struct state_record){.model = "a", .last_version = 3};
}

static int names(void) { /* how many are there */
    int n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void kept_and_read_back(void) {
    struct state_record r = a_record(), *all = NULL;
    struct err e = {0};
    begin();
    int fd = an_image(&r.current, 3);
    CU_ASSERT_EQUAL(state_keep(folder, &r, fd, &e), 0);
    CU_ASSERT_EQUAL_FATAL(state_read_all(folder, &all, on_trouble, NULL, &e), 1);
    CU_ASSERT_EQUAL(memcmp(&all[0], &r, sizeof r), 0);
    int back = state_load(folder, &all[0], &all[0].current, &e);
    CU_ASSERT_TRUE_FATAL(back >= 0);
    struct image *img = NULL;
    CU_ASSERT_EQUAL(image_map(back, true, &img, &e), 0); /* sealed, and whole */
    image_unmap(img);
    (void)close(back);
    free(all);
    /* The next version: this one stays as the other; the one after that removes it. */
    for (uint64_t v = 4; v < 6; v++) {
        r.other = r.current;
        r.current.version = r.last_version = v;
        CU_ASSERT_EQUAL(state_keep(folder, &r, fd, &e), 0);
        CU_ASSERT_EQUAL(names(), 3);
    }
    (void)close(fd);
    /* Retired: the count alone. */
    r = (struct state_record){.model = "a", .last_version = 5};
    CU_ASSERT_EQUAL(state_keep(folder, &r, -1, &e), 0);
    CU_ASSERT_EQUAL(names(), 1);
    CU_ASSERT_EQUAL(state_read_all(folder, &all, on_trouble, NULL, &e), 1);
    CU_ASSERT_EQUAL(all[0].last_version, 5);
    free(all);
    CU_ASSERT_STRING_EQUAL(trouble_said, "");
    finish();
}

static void a_failed_write_changes_nothing(void) {
    struct state_record r = a_record(), next, *all = NULL;
    struct err e = {0};
    begin();
    int fd = an_image(&r.current, 3);
    CU_ASSERT_EQUAL(state_keep(folder, &r, fd, &e), 0);
    next = r;
    next.other = r.current;
    next.current.version = next.last_version = 4;
    next.current.bytes += 1; /* more than there is to copy: the write ends early */
    CU_ASSERT_EQUAL(state_keep(folder, &next, fd, &e), -1);
    CU_ASSERT_EQUAL(names(), 2);
    next.current.bytes -= 1;
    CU_ASSERT_EQUAL(mkdirat(folder, "a@index.new", 0700), 0); /* the record can't be written */
    CU_ASSERT_EQUAL(state_keep(folder, &next, fd, &e), -1);
    CU_ASSERT_EQUAL(unlinkat(folder, "a@index.new", AT_REMOVEDIR), 0);
    CU_ASSERT_EQUAL(names(), 2);
    CU_ASSERT_EQUAL_FATAL(state_read_all(folder, &all, on_trouble, NULL, &e), 1);
    CU_ASSERT_EQUAL(all[0].current.version, 3);
    free(all);
    (void)close(fd);
    finish();
}

static void leftovers_go_and_others_stay(void) {
    static const char *const left[] = {"a@4.image", "b@1.image", "a@index.new", "a@3.image.new"};
    static const char *const others[] = {"notes", "x.image", "..@index.txt", "a b@1.image"};
    struct state_record r = a_record(), *all = NULL;
    struct err e = {0};
    begin();
    int fd = an_image(&r.current, 3);
    CU_ASSERT_EQUAL(state_keep(folder, &r, fd, &e), 0);
    (void)close(fd);
    for (int i = 0; i < 4; i++) (void)close(openat(folder, left[i], O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 4; i++) (void)close(openat(folder, others[i], O_CREAT | O_WRONLY, 0600));
    CU_ASSERT_EQUAL(state_read_all(folder, &all, on_trouble, NULL, &e), 1);
    free(all);
    CU_ASSERT_EQUAL(names(), 5); /* dotfiles not counted */
    for (int i = 0; i < 4; i++) CU_ASSERT_EQUAL(faccessat(folder, others[i], F_OK, 0), 0);
    finish();
}

static void what_is_not_it_is_refused(void) {
    struct state_record r = a_record();
    struct state_image other;
    struct err e = {0};
    begin();
    int fd = an_image(&r.current, 3);
    CU_ASSERT_EQUAL(state_keep(folder, &r, fd, &e), 0);
    (void)close(fd);
    other = r.current;
    other.image_checksum[5] ^= 1;
    CU_ASSERT_EQUAL(state_load(folder, &r, &other, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not the image that was kept"));
    other = r.current;
    other.digests.model[0] ^= 1;
    CU_ASSERT_EQUAL(state_load(folder, &r, &other, &e), -1);
    other = r.current;
    other.bytes--;
    CU_ASSERT_EQUAL(state_load(folder, &r, &other, &e), -1);
    other = r.current;
    other.version = 9;
    CU_ASSERT_EQUAL(state_load(folder, &r, &other, &e), -1);
    /* A link, of either kind, could lead anywhere. */
    CU_ASSERT_EQUAL(linkat(folder, "a@3.image", folder, "a@8.image", 0), 0);
    CU_ASSERT_EQUAL(state_load(folder, &r, &r.current, &e), -1);
    CU_ASSERT_EQUAL(unlinkat(folder, "a@3.image", 0), 0);
    CU_ASSERT_EQUAL(symlinkat("a@8.image", folder, "a@3.image"), 0);
    CU_ASSERT_EQUAL(state_load(folder, &r, &r.current, &e), -1);
    finish();
}

static void a_folder_of_others_is_refused(void) {
    struct err e = {0};
    begin();
    CU_ASSERT_EQUAL(chmod(dir, 0777), 0);
    CU_ASSERT_EQUAL(state_open(dir, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "anyone may write"));
    CU_ASSERT_EQUAL(state_open("/proc/self/status", &e), -1);
    finish();
}

SUITE(state, {"kept and read back", kept_and_read_back},
      {"a failed write changes nothing", a_failed_write_changes_nothing},
      {"leftovers go, others' files stay", leftovers_go_and_others_stay},
      {"what is not it is refused", what_is_not_it_is_refused},
      {"a folder of others is refused", a_folder_of_others_is_refused});
