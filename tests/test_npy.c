/* .npy: what NumPy writes is read, everything else is refused with a reason;
 * every truncation and every changed byte ends in a yes or a no, at a guard page. */
#include "infer/npy.h"

#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct file {
    uint8_t bytes[1024];
    size_t size;
};

static struct file make(int version, const char *header, const void *data, size_t bytes) {
    struct file f = {.bytes = "\x93NUMPY"};
    const size_t n = strlen(header), length = version == 1 ? 2 : 4;
    f.bytes[6] = (uint8_t)version;
    for (size_t i = 0; i < length; i++) f.bytes[8 + i] = (uint8_t)(n >> 8 * i);
    memcpy(f.bytes + 8 + length, header, n);
    memcpy(f.bytes + 8 + length + n, data, bytes);
    f.size = 8 + length + n + bytes;
    return f;
}

static void test_versions(void) {
    const float data[6] = {0, 1, -2.5f, 3e38f, INFINITY, NAN};
    for (int version = 1; version <= 3; version++) {
        struct npy a;
        float to[6];
        const struct file f =
            make(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }      \n", data,
                 sizeof data);
        CU_ASSERT_EQUAL_FATAL(npy_parse(f.bytes, f.size, &a, NULL), 0);
        CU_ASSERT(a.type == NPY_F32 && a.shape.rank == 2 && a.shape.dim[0] == 2 && a.shape.dim[1] == 3);
        CU_ASSERT(a.elements == 6 && a.bytes == 24);
        npy_to_f32(&a, to);
        CU_ASSERT_EQUAL(memcmp(to, data, sizeof to), 0);
    }
}

static void test_shapes(void) {
    static const struct {
        const char *header;
        int32_t rank;
        int64_t n;
    } good[] = {{"{'descr':'|u1','fortran_order':False,'shape':()}\n", 0, 1},
                {"{'shape': (4,), 'fortran_order': False, 'descr': '|u1'}\n", 1, 4},
                {"{\"descr\": \"|u1\", 'fortran_order' : False , 'shape': ( 2 ,2 , ) , } \n", 2, 4},
                {"{'descr': '<u1', 'fortran_order': False, 'shape': (2, 0, 5), }\n", 3, 0},
                {"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 2, 3), }\n", 8, 6}};
    const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct npy a;
        struct err e = {0};
        const struct file f = make(1, good[i].header, data, (size_t)good[i].n);
        CU_ASSERT_EQUAL(npy_parse(f.bytes, f.size, &a, &e), 0);
        if (e.code) fprintf(stderr, "\n%s: %s\n", good[i].header, e.text);
        CU_ASSERT(a.shape.rank == good[i].rank && a.elements == good[i].n && a.type == NPY_U8);
    }
}

static void test_types(void) {
    const double f8 = -1.5;
    const uint8_t u1 = 200, b1 = 1;
    const int8_t i1 = -100;
    const uint16_t u2 = 60000;
    const int16_t i2 = -30000;
    const uint32_t u4 = 4000000000u;
    const int32_t i4 = -2000000000;
    const uint64_t u8 = 1ull << 63;
    const int64_t i8 = -(1ll << 40);
    const struct {
        const char *name;
        const void *data;
        size_t bytes;
        float value;
    } types[] = {{"<f8", &f8, 8, -1.5f},
                 {"|u1", &u1, 1, 200},
                 {"|b1", &b1, 1, 1},
                 {"|i1", &i1, 1, -100},
                 {"<u2", &u2, 2, 60000},
                 {"<i2", &i2, 2, -30000},
                 {"<u4", &u4, 4, 4e9f},
                 {"<i4", &i4, 4, -2e9f},
                 {"<u8", &u8, 8, 9223372036854775808.0f},
                 {"<i8", &i8, 8, -1099511627776.0f}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[100];
        struct npy a;
        float v;
        (void)snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (1,)}\n",
                       types[i].name);
        const struct file f = make(1, header, types[i].data, types[i].bytes);
        CU_ASSERT_EQUAL_FATAL(npy_parse(f.bytes, f.size, &a, NULL), 0);
        CU_ASSERT_STRING_EQUAL(npy_type_name(a.type), types[i].name);
        CU_ASSERT_EQUAL(npy_type_bytes(a.type), types[i].bytes);
        npy_to_f32(&a, &v);
        CU_ASSERT_EQUAL(v, types[i].value);
    }
}

static void test_refusals(void) {
    static const struct {
        const char *header;
        size_t bytes;
        enum err_code code;
    } bad[] = {
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}\n", 16, ERR_UNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}\n", 4, ERR_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}\n", 8, ERR_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", 8, ERR_UNSUPPORTED},
        {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}\n", 4, ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", 7, ERR_TRUNCATED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", 9, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}\n", 8, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}\n", 4, ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}\n", 4, ERR_LIMIT},
        {"{'descr': '<f4', 'fortran_order': False}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}\n", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x\n", 4, ERR_FORMAT},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}\n", 4, ERR_FORMAT},
        {"['descr']\n", 4, ERR_FORMAT},
        {"", 4, ERR_FORMAT},
    };
    const uint8_t data[64] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct npy a;
        struct err e = {0};
        const struct file f = make(1, bad[i].header, data, bad[i].bytes);
        CU_ASSERT_EQUAL(npy_parse(f.bytes, f.size, &a, &e), -1);
        if (e.code != bad[i].code) fprintf(stderr, "\n%s: %s\n", bad[i].header, e.text);
        CU_ASSERT_EQUAL(e.code, bad[i].code);
    }
    struct file f = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n", data, 4);
    struct npy a;
    f.bytes[6] = 4;
    CU_ASSERT_EQUAL(npy_parse(f.bytes, f.size, &a, NULL), -1);
    f.bytes[6] = 2; /* its length then is 4 bytes, the last two being the header's first: too large */
    CU_ASSERT_EQUAL(npy_parse(f.bytes, f.size, &a, NULL), -1);
}

static void test_hostile(void) {
    const float data[6] = {1, 2, 3, 4, 5, 6};
    const struct file f =
        make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", data, sizeof data);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(map != MAP_FAILED && mprotect(map + page, page, PROT_NONE) == 0);
    struct npy a;
    for (size_t n = 0; n < f.size; n++) { /* truncations */
        memcpy(map + page - n, f.bytes, n);
        CU_ASSERT_EQUAL(npy_parse(map + page - n, n, &a, NULL), -1);
    }
    for (size_t at = 0; at < f.size - sizeof data; at++)
        for (int v = 0; v < 256; v++) {
            uint8_t *copy = map + page - f.size;
            float to[64];
            memcpy(copy, f.bytes, f.size);
            copy[at] = (uint8_t)v;
            if (npy_parse(copy, f.size, &a, NULL) == 0 && a.elements <= 64) npy_to_f32(&a, to);
        }
    (void)munmap(map, 2 * page);
}

static void test_round_trip(void) {
    static const struct shape shapes[] = {{.rank = 0},
                                          {.rank = 1, .dim = {5}},
                                          {.rank = 2, .dim = {2, 3}},
                                          {.rank = 4, .dim = {1, 2, 0, 3}},
                                          {.rank = 8, .dim = {1, 1, 2, 1, 1, 3, 1, 1}}};
    const float data[6] = {1, 2, 3, 4, 5, 6};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char *bytes = NULL;
        size_t size = 0;
        struct npy a;
        float to[6];
        FILE *f = open_memstream(&bytes, &size);
        CU_ASSERT_FATAL(f != NULL);
        CU_ASSERT_EQUAL(npy_write_f32(f, &shapes[i], data), 0);
        (void)fclose(f);
        CU_ASSERT_EQUAL(npy_parse((const uint8_t *)bytes, size, &a, NULL), 0);
        CU_ASSERT(shape_equal(&a.shape, &shapes[i]) && a.type == NPY_F32);
        CU_ASSERT_EQUAL((size_t)(a.data - (const uint8_t *)bytes) % 64, 0);
        npy_to_f32(&a, to);
        CU_ASSERT_EQUAL(memcmp(to, data, a.bytes), 0);
        free(bytes);
    }
}

static void test_full_disk(void) {
    FILE *f = fopen("/dev/full", "w");
    if (!f) {
        suite_skip("npy", "no /dev/full");
        return;
    }
    CU_ASSERT(npy_write_f32(f, &(struct shape){.rank = 1, .dim = {1}}, &(float){1}) < 0);
    (void)fclose(f);
}

SUITE(npy, {"versions 1 to 3", test_versions}, {"shapes and spellings", test_shapes},
      {"types, converted to float32", test_types}, {"what is refused, and why", test_refusals},
      {"truncations and changed bytes", test_hostile}, {"written and read again", test_round_trip},
      {"a full disk is an error", test_full_disk});
