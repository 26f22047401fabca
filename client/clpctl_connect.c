/* clpctl's way to a daemon: connecting, asking for its tables, finding a model,
 * fitting pictures to it; and words for what stands in the way. */
#include "client/clpctl.h"
#include "client/decode.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATIENCE_MS = 10000 };

const char *clpctl_socket_path(const struct clpctl *c) {
    const char *path = c->socket ? c->socket : getenv("CLPD_SOCKET");
    return path && *path ? path : CLPD_DEFAULT_SOCKET;
}

static void tell_forbidden(const struct clpctl *c, const char *path) {
    struct stat st;
    const struct group *g = stat(path, &st) == 0 ? getgrgid(st.st_gid) : NULL;
    if (g && g->gr_gid != 0 && (st.st_mode & S_IWGRP)) /* nobody is told to join root */
        (void)clpctl_fail(
            c,
            "%s: permission denied; it is open to the group %s: sudo usermod -aG %s $USER, then log in again",
            path, g->gr_name, g->gr_name);
    else
        (void)clpctl_fail(
            c, "%s: permission denied; socket.mode and socket.group in clpd.yaml say who may use it", path);
}

struct clpd *clpctl_connect(const struct clpctl *c) {
    const char *path = clpctl_socket_path(c);
    struct clpd *connection;
    int rc = clpd_connect(path, &connection);
    if (rc == 0) {
        clpd_set_timeout(connection, PATIENCE_MS);
        return connection;
    }
    if (rc == -EACCES || rc == -EPERM)
        tell_forbidden(c, path);
    else if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTDIR)
        (void)clpctl_fail(
            c,
            "no daemon answers at %s; start it with: sudo systemctl start clpd, or: clpd --config "
            "/etc/clpd/clpd.yaml. If it listens elsewhere: --socket PATH",
            path);
    else
        (void)clpctl_fail(c, "%s: %s", path, strerror(-rc));
    return NULL;
}

json_t *clpctl_query(const struct clpctl *c, struct clpd *connection, enum clpd_frame_type what) {
    struct clpd_result r;
    if (clpd_query(connection, what, &r) < 0) {
        (void)clpctl_fail(c, "%s: %s", clpctl_socket_path(c), clpd_error(connection));
        return NULL;
    }
    if (r.status != CLPD_OK) {
        (void)clpctl_fail(c, "the daemon refused: %s (%s)", clpd_status_name(r.status), r.text);
        return NULL;
    }
    json_error_t error;
    json_t *document = json_loadb(r.json, r.json_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(document)) {
        json_decref(document);
        (void)clpctl_fail(c, "the daemon's answer is not JSON: %s", error.text);
        return NULL;
    }
    return document;
}

/* --- which model -------------------------------------------------------------------------- */

static bool read_model(json_t *m, struct remote_model *out) {
    const char *name = json_string_value(json_object_get(m, "name"));
    json_t *input = json_object_get(m, "input"), *shape = json_object_get(input, "shape");
    size_t rank = json_array_size(shape);
    *out = (struct remote_model){.rank = (uint32_t)rank, .u8 = json_is_true(json_object_get(input, "u8"))};
    if (!name || strlen(name) >= sizeof out->name || rank < 1 || rank > CLPD_MAX_RANK) return false;
    memcpy(out->name, name, strlen(name) + 1);
    for (size_t i = 0; i < rank; i++) {
        json_int_t d = json_integer_value(json_array_get(shape, i));
        if (d < 1 || d > UINT32_MAX) return false;
        out->dims[i] = (uint32_t)d;
    }
    return !out->u8 || rank == 4;
}

static void list_names(json_t *models, char *buf, size_t cap) {
    size_t i;
    json_t *m;
    buf[0] = 0;
    json_array_foreach(models, i, m) {
        size_t used = strlen(buf);
        const char *name = json_string_value(json_object_get(m, "name"));
        (void)snprintf(buf + used, cap - used, "%s%s", i ? ", " : "", name ? name : "?");
    }
}

static int choose(const struct clpctl *c, json_t *models, const char *name, struct remote_model *out) {
    size_t n = json_array_size(models);
    char names[512];
    list_names(models, names, sizeof names);
    if (n == 0)
        return clpctl_fail(c,
                           "the daemon serves no model yet; copy one into its model folder (clpctl models)");
    if (!name && n > 1)
        return clpctl_fail(c, "the daemon serves %zu models, choose one with -m: %s", n, names);
    for (size_t i = 0; i < n; i++) {
        json_t *m = json_array_get(models, i);
        const char *its = json_string_value(json_object_get(m, "name"));
        if (name && (!its || strcmp(its, name) != 0)) continue;
        if (read_model(m, out)) return 0;
        return clpctl_fail(c, "the daemon does not say what %s takes", its ? its : "its model");
    }
    return clpctl_fail(c, "the daemon serves no model %s; there are: %s", name, names);
}

int clpctl_find_model(const struct clpctl *c, struct clpd *connection, const char *name,
                      struct remote_model *out) {
    json_t *tables = clpctl_query(c, connection, CLPD_MODELS);
    if (!tables) return -1;
    int rc = choose(c, json_object_get(tables, "models"), name, out);
    json_decref(tables);
    return rc ? -1 : 0;
}

int clpctl_read_picture(const char *path, const struct remote_model *m, struct picture *out, struct err *e) {
    struct picture p = {0};
    *out = p;
    if (decode_file(path, &p, e) < 0) return -1;
    if (p.format == CLPD_F32_NCHW) { /* the network's own numbers */
        *out = p;
        return 0;
    }
    int rc = m->u8 ? 0
                   : err_set(e, ERR_UNSUPPORTED, "%s: %s takes no pictures; give it float32 as .npy", path,
                             m->name);
    if (rc == 0 && m->dims[1] == 1 && p.c == 3) rc = picture_to_gray(&p, e);
    if (rc == 0 && (p.h != m->dims[2] || p.w != m->dims[3])) {
        rc = picture_resize(&p, m->dims[2], m->dims[3], out, e);
        picture_free(&p);
        return rc;
    }
    if (rc == 0)
        *out = p;
    else
        picture_free(&p);
    return rc;
}
