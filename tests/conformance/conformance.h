/* ONNX's own test cases, run as a model would be: import worker in its sandbox,
 * sealed image, engine; the results held against the ones that came with the case.
 *
 *   find_cases -> a child process per case: run_case -> struct outcome, by pipe -> summary
 *
 * A program of its own for `make conformance`; test-only, and the one program
 * that holds the ONNX reader and the engine together. Single thread per process. */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include "guard/tensor.h"

#include <limits.h>

#define CASE_INPUTS  32
#define CASE_OUTPUTS 32

enum result {
    PASSED,
    PASSED_ADAPTED, /* with inputs written into the file as constants, its operator set taken for 7, or its
                       truth cast to floats */
    REFUSED,        /* the importer says no, with a reason */
    OUT_OF_SCOPE,   /* nothing that a request could bring: its inputs are no floats, or there are none */
    FAILED,         /* wrong numbers, or an image that could not be run */
    CRASHED,        /* a process ended badly or took too long */
    ABSENT,         /* its model is not on this machine */
    RESULTS
};

struct test_case {
    char group[32], name[96];
    char model[PATH_MAX], data[PATH_MAX]; /* data: the folder test_data_set_0, or the .pb of the one output */
    bool made_input;                      /* the one input is arange(n) / n */
    double rtol, atol;
};

struct outcome { /* small enough for one write to a pipe */
    enum result result;
    char reason[ERR_TEXT];
};

/* --- cases.c ------------------------------------------------------------------------ */
struct case_list {
    struct test_case *cases; /* sorted by group as given, then by name */
    int n;
};
/* `data` has a folder per group; `light` (may be NULL) the networks of the group "real".
 * 0, or -1: told on stderr. */
int find_cases(const char *data, const char *light, struct case_list *out);
void sort_names(char **names, int n);

/* --- protobuf.c: a case's .pb files ------------------------------------------------------ */
struct bytes {
    uint8_t *at;
    size_t n;
};
/* 0, or -1 with `e` set; free out->at. */
int read_bytes(const char *path, struct bytes *out, struct err *e);
/* Reads a TensorProto; what it returns lives as long as m->g and the bytes. `declared` is
 * its type in the model, or 0: bfloat16 comes as uint16 in these files. NULL: `e` is set. */
struct tensor *read_tensor(struct tensor_memory *m, struct onnx_model *memory, struct bytes file,
                           int32_t declared, struct err *e);
/* The model with one more initializer called `name`: protobuf joins messages by appending. 0 or -1. */
int bind_tensor(struct bytes *model, struct text name, struct bytes tensor);
/* Writes 7 where the model says that it is of an operator set before. False: it does not. */
bool raise_opset(struct bytes model);
/* Gives each output that is a truth value a Cast to float behind it. How many; -1: no memory. */
int cast_truth(struct bytes *model);

/* --- run.c ---------------------------------------------------------------------------- */
void run_case(const struct test_case *c, const char *guard, struct outcome *out);

/* --- compare.c: ONNX's rule, |a - b| <= atol + rtol |b|, NaN equal to NaN ------------------ */
/* Element `i` of `n` that differs most, or -1: all the same. */
int64_t find_difference(const float *got, const struct tensor *want, double rtol, double atol);
double tensor_number(const struct tensor *t, int64_t i);

/* --- summary.c --------------------------------------------------------------------------- */
void print_summary(const struct case_list *l, const struct outcome *o);
/* The page for docs/. 0 or -errno. */
int write_page(const char *path, const struct case_list *l, const struct outcome *o, double seconds);
/* Whether every case that is named in the file passed; names those that did not. */
int check_list(const char *path, const struct case_list *l, const struct outcome *o, bool quick);
int write_list(const char *path, const struct case_list *l, const struct outcome *o);

#endif
