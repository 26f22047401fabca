/* One model on disk: NAME.onnx with, beside it, NAME.yaml and the file that holds
 * its weights where they are external. What it is called, whether it has
 * changed, and how it is opened safely, in one place for scan and import.
 * Looks at no byte of any of them. */
#ifndef GUARD_MODEL_FILE_H
#define GUARD_MODEL_FILE_H

#include "guard/link.h"
#include "infer/err.h"

#include <stddef.h>

#define MODEL_FILE_NAME 256 /* of one file, with the NUL */

struct model_stat {
    bool exists;
    /* Not a model as it stands: why, for a person; empty: fine. `passing`: may come right by itself. */
    char trouble[ERR_TEXT];
    bool passing;
    /* Of the ONNX file, its ctime mixed with what stands for the other three, for its signature and
     * for `salt`: a change of any of them is a change of the identity. */
    struct link_identity identity;
    int64_t newest_mtime_ns; /* of all: when was the last write? */
    uint64_t closed_ns;      /* CLOCK_REALTIME of the last change of any kind */
};

struct model_files { /* opened; -1: none */
    int model_fd, sidecar_fd, external_fd, canary_fd;
    bool sidecar_elsewhere; /* it leads out of the model's folder: its bytes are not to be quoted */
    char external_name[MODEL_FILE_NAME];
    struct model_stat stat; /* of the descriptors */
};
/* Closing this closes nothing. */
#define MODEL_FILES_NONE                                                                                     \
    ((struct model_files){.model_fd = -1, .sidecar_fd = -1, .external_fd = -1, .canary_fd = -1})

/* `external`: bare name of the data file that the model is known to want; or
 * NULL: NAME.onnx.data if that is there. `salt`: the settings that an import
 * depends on. Opens nothing. */
void model_file_stat(int dirfd, const char *name, const char *external, uint64_t salt,
                     struct model_stat *out);

/* 0 and open descriptors, to be closed with model_file_close; or -1 with `e`
 * set. A device, FIFO or directory is never opened for reading. */
int model_file_open(int dirfd, const char *name, const char *external, uint64_t salt, struct model_files *out,
                    struct err *e);
void model_file_close(struct model_files *f); /* it is MODEL_FILES_NONE then */

bool model_file_same(const struct link_identity *a, const struct link_identity *b);

/* Whether somebody is at work under that name: dotfiles, *~, *.tmp, *.part. */
bool model_file_is_ignored(const char *name);
/* "NAME.onnx" to "NAME". False where it doesn't end so; then *model is untouched. */
bool model_file_stem(const char *name, char *stem, size_t cap);
/* NAME is 1..63 of [A-Za-z0-9._-] and does not start with a dot. */
bool model_file_name_is_valid(const char *model);
/* Companions of NAME.onnx: NAME.canary.npy (a fixed name, since nothing hostile may say which file it is),
 * NAME.yaml. */
void model_file_canary_name(const char *name, char out[MODEL_FILE_NAME]);
void model_file_sidecar_name(const char *name, char out[MODEL_FILE_NAME]);

#endif
