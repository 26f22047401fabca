/* What can be made to fail, and how: CALL(result, name, (parameters), (arguments), what it returns, errno).
 * The Makefile reads the names from here and links with --wrap, so that calls of our own objects come to shim.c.
 * Libraries' own calls don't: they fail as a whole, by the functions that we call (json_pack, MHD_start_daemon).
 *
 * Not here, since they can't fail where they are given what is theirs, or nothing could be done about it: close,
 * munmap, free, clock_gettime, kill and waitpid of our own child, settings of timers and masks, locks. */

/* Memory. */
CALL(void *, malloc, (size_t n), (n), NULL, ENOMEM)
CALL(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
CALL(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
CALL(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size), NULL, ENOMEM)
CALL(void *, aligned_alloc, (size_t alignment, size_t n), (alignment, n), NULL, ENOMEM)
CALL(char *, strdup, (const char *s), (s), NULL, ENOMEM)
CALL(char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM)
CALL(FILE *, open_memstream, (char **at, size_t *size), (at, size), NULL, ENOMEM)
CALL(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t from), (at, n, prot, flags, fd, from), MAP_FAILED, ENOMEM)
CALL(int, madvise, (void *at, size_t n, int advice), (at, n, advice), -1, ENOMEM)
CALL(int, mprotect, (void *at, size_t n, int prot), (at, n, prot), -1, ENOMEM)

/* Descriptors. */
CALL(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, EMFILE)
CALL(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
CALL(int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), -1, EMFILE)
CALL(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags), -1, EMFILE)
CALL(int, eventfd, (unsigned n, int flags), (n, flags), -1, EMFILE)
CALL(int, epoll_create1, (int flags), (flags), -1, EMFILE)
CALL(int, timerfd_create, (clockid_t clock, int flags), (clock, flags), -1, EMFILE)
CALL(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), -1, EMFILE)
CALL(int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE)
CALL(int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags), -1, EMFILE)
CALL(int, inotify_init1, (int flags), (flags), -1, EMFILE)
CALL(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask), -1, ENOSPC)
CALL(DIR *, opendir, (const char *path), (path), NULL, EMFILE)
CALL(DIR *, fdopendir, (int fd), (fd), NULL, ENOMEM)

/* Files. */
CALL(ssize_t, pread, (int fd, void *to, size_t n, off_t from), (fd, to, n, from), -1, EIO)
CALL(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (to, from, at, n), -1, EIO)
CALL(int, fstat, (int fd, struct stat *s), (fd, s), -1, EIO)
CALL(int, lstat, (const char *path, struct stat *s), (path, s), -1, EIO)
CALL(int, fstatat, (int fd, const char *path, struct stat *s, int flags), (fd, path, s, flags), -1, EIO)
CALL(struct dirent *, readdir, (DIR *d), (d), NULL, EIO)
CALL(ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), -1, EIO)
CALL(int, ftruncate, (int fd, off_t n), (fd, n), -1, ENOSPC)
CALL(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), -1, ENOSPC)
CALL(int, fsync, (int fd), (fd), -1, EIO)
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), -1, ENOSPC)
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), -1, EIO)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), -1, EPERM)
CALL(int, flock, (int fd, int how), (fd, how), -1, ENOLCK)

/* Sockets and waiting. */
CALL(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1, EADDRINUSE)
CALL(int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)
CALL(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1, EAGAIN)
CALL(int, getsockopt, (int fd, int level, int name, void *to, socklen_t *n), (fd, level, name, to, n), -1, ENOBUFS)
CALL(int, setsockopt, (int fd, int level, int name, const void *from, socklen_t n), (fd, level, name, from, n), -1, ENOBUFS)
CALL(ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags), -1, ENOBUFS)
CALL(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), -1, ENOBUFS)
CALL(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags), -1, ECONNRESET)
CALL(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags), -1, ECONNRESET)
CALL(int, poll, (struct pollfd *p, nfds_t n, int ms), (p, n, ms), -1, EINTR)
CALL(int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), (fd, e, n, ms), -1, EINTR)
CALL(int, epoll_pwait2, (int fd, struct epoll_event *e, int n, const struct timespec *t, const sigset_t *s), (fd, e, n, t, s), -1, EINTR)
CALL(int, io_uring_queue_init_params, (unsigned n, struct io_uring *r, struct io_uring_params *p), (n, r, p), -ENOMEM, 0)
CALL(int, io_uring_register_buf_ring, (struct io_uring *r, struct io_uring_buf_reg *b, unsigned flags), (r, b, flags), -ENOMEM, 0)
CALL(int, io_uring_submit, (struct io_uring *r), (r), -EAGAIN, 0)
CALL(int, io_uring_submit_and_get_events, (struct io_uring *r), (r), -EAGAIN, 0)
CALL(int, io_uring_submit_and_wait_timeout, (struct io_uring *r, struct io_uring_cqe **c, unsigned n, struct __kernel_timespec *t, sigset_t *s), (r, c, n, t, s), -EINTR, 0)

/* Threads, processes, limits. */
CALL(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg), (t, a, f, arg), EAGAIN, 0)
CALL(int, posix_spawn, (pid_t *pid, const char *path, const posix_spawn_file_actions_t *f, const posix_spawnattr_t *a, char *const argv[], char *const env[]), (pid, path, f, a, argv, env), EAGAIN, 0)
CALL(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *f, int a, int b), (f, a, b), ENOMEM, 0)
CALL(int, posix_spawn_file_actions_addopen, (posix_spawn_file_actions_t *f, int fd, const char *path, int flags, mode_t mode), (f, fd, path, flags, mode), ENOMEM, 0)
CALL(int, posix_spawn_file_actions_addclosefrom_np, (posix_spawn_file_actions_t *f, int fd), (f, fd), ENOMEM, 0)
CALL(int, sched_getaffinity, (pid_t pid, size_t n, cpu_set_t *set), (pid, n, set), -1, EPERM)
CALL(int, sched_setscheduler, (pid_t pid, int policy, const struct sched_param *p), (pid, policy, p), -1, EPERM)
CALL(int, setrlimit, (__rlimit_resource_t what, const struct rlimit *r), (what, r), -1, EPERM)
CALL(int, getrlimit, (__rlimit_resource_t what, struct rlimit *r), (what, r), -1, EPERM)

/* Libraries. */
CALL(int, sd_listen_fds_with_names, (int unset, char ***names), (unset, names), -ENOMEM, 0)
CALL(int, sd_notify, (int unset, const char *text), (unset, text), -ENOMEM, 0)
CALL(int, yaml_parser_initialize, (yaml_parser_t *p), (p), 0, 0)
CALL(json_t *, json_array, (void), (), NULL, 0)
CALL(char *, json_dumps, (const json_t *j, size_t flags), (j, flags), NULL, 0)
CALL(json_t *, json_string, (const char *s), (s), NULL, 0)
CALL(json_t *, json_integer, (json_int_t n), (n), NULL, 0)
CALL(int, json_array_append_new, (json_t *a, json_t *j), (a, j), (json_decref(j), -1), 0)
CALL(struct MHD_Response *, MHD_create_response_from_buffer_with_free_callback, (size_t n, void *p, MHD_ContentReaderFreeCallback f), (n, p, f), NULL, 0)
