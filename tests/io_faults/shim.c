/* Makes calls of the C library fail on files whose path matches a pattern.
 *
 * Loaded with LD_PRELOAD into the process under test. What shall fail stands in a
 * file that IO_FAULTS names: the test writes it, and this reads it through a mapping, so
 * a fault can begin and end while the process runs. tests/cdrd/io_faults writes the
 * same structure. Without IO_FAULTS nothing ever fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_READ = 1, OP_WRITE = 2, OP_SYNC = 4, OP_TRUNCATE = 8, OP_OPEN = 16, OP_RENAME = 32 };
enum { KIND_EIO = 0, KIND_ENOSPC = 1, KIND_SHORT = 2 };

struct control {
    int32_t armed;
    int32_t ops;   /* which calls: OP_* */
    int32_t kind;  /* how they fail: KIND_* */
    int32_t after; /* so many matching calls still work */
    int32_t times; /* so many fail then */
    int32_t hits;  /* so many have failed */
    char pattern[128]; /* part of the path; with a $ at the end, its end */
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("IO_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(fd);
}

static int matches(const char *path) {
    const char *pattern = control->pattern;
    size_t wanted = strnlen(pattern, sizeof control->pattern), there = strlen(path);
    if (wanted == 0) return 0;
    if (pattern[wanted - 1] != '$') return strstr(path, pattern) != NULL;
    wanted--;
    return there >= wanted && memcmp(path + there - wanted, pattern, wanted) == 0;
}

/* Whether this call is to fail. errno is left alone unless it is. */
static int fails(int op, const char *path) {
    if (!matches(path)) return 0;
    if (__atomic_fetch_sub(&control->after, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    if (__atomic_fetch_sub(&control->times, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
    __atomic_fetch_add(&control->hits, 1, __ATOMIC_SEQ_CST);
    errno = control->kind == KIND_ENOSPC && (op & (OP_WRITE | OP_TRUNCATE | OP_OPEN)) ? ENOSPC : EIO;
    return 1;
}

static int armed(int op) {
    return control && __atomic_load_n(&control->armed, __ATOMIC_SEQ_CST) && (control->ops & op);
}

static int fd_fails(int op, int fd) {
    if (!armed(op)) return 0;
    int before = errno;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(op, path);
}

static int path_fails(int op, const char *path) { return armed(op) && path && fails(op, path); }

/* Less than was wanted, if that is how it shall fail; 0 if not at all. */
static size_t shortened(size_t length) {
    return control->kind == KIND_SHORT ? length / 2 : 0;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* The mode stands behind the flags, if they ask for one. */
#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(name); \
        MODE(flags) \
        return path_fails(OP_OPEN, path) ? -1 : next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(name); \
        MODE(flags) \
        return path_fails(OP_OPEN, path) ? -1 : next(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int fd, void *to, size_t length) {
    NEXT(read);
    return fd_fails(OP_READ, fd) ? -1 : next(fd, to, length);
}

#define PREAD(name, offset_t) \
    ssize_t name(int fd, void *to, size_t length, offset_t at) { \
        NEXT(name); \
        return fd_fails(OP_READ, fd) ? -1 : next(fd, to, length, at); \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t write(int fd, const void *from, size_t length) {
    NEXT(write);
    if (!fd_fails(OP_WRITE, fd)) return next(fd, from, length);
    size_t some = shortened(length);
    return some ? next(fd, from, some) : -1;
}

#define PWRITE(name, offset_t) \
    ssize_t name(int fd, const void *from, size_t length, offset_t at) { \
        NEXT(name); \
        if (!fd_fails(OP_WRITE, fd)) return next(fd, from, length, at); \
        size_t some = shortened(length); \
        return some ? next(fd, from, some, at) : -1; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    return fd_fails(OP_WRITE, fd) ? -1 : next(fd, parts, count);
}

#define SYNC(name) \
    int name(int fd) { \
        NEXT(name); \
        return fd_fails(OP_SYNC, fd) ? -1 : next(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, offset_t) \
    int name(int fd, offset_t length) { \
        NEXT(name); \
        return fd_fails(OP_TRUNCATE, fd) ? -1 : next(fd, length); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    NEXT(rename);
    return path_fails(OP_RENAME, to) ? -1 : next(from, to);
}

int unlink(const char *path) {
    NEXT(unlink);
    return path_fails(OP_RENAME, path) ? -1 : next(path);
}
