/* Makes time pass faster for whatever is started with this in LD_PRELOAD: both clocks run
 * at a multiple, and waits are as much shorter. CPU, disk and network stay as slow as they
 * are. CDRD_WARP="RATE REAL WALL MONOTONIC": from REAL on (Unix nanoseconds, when the
 * monotonic clock showed MONOTONIC) the clock on the wall shows WALL and runs at RATE.
 * The same mapping for every process that shares the variable.
 *
 * Only what Rust's standard library, tokio and SQLite use is here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#define SECOND 1000000000LL

static int64_t rate, real0, wall0, mono0;
static long (*kernel)(long, ...);
static int (*clock_of_system)(clockid_t, struct timespec *);
static int (*statx_of_system)(int, const char *, int, unsigned, struct statx *);

__attribute__((constructor)) static void begin(void) {
    const char *warp = getenv("CDRD_WARP");
    kernel = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    clock_of_system = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    statx_of_system =
        (int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx");
    long long r, real, wall, mono;
    if (warp && sscanf(warp, "%lld %lld %lld %lld", &r, &real, &wall, &mono) == 4) {
        real0 = real, wall0 = wall, mono0 = mono, rate = r;
    }
}

static int64_t ns(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }

static struct timespec spec(int64_t n) {
    if (n < 0) n = 0;
    return (struct timespec){.tv_sec = n / SECOND, .tv_nsec = n % SECOND};
}

static int64_t wall(int64_t real) {
    /* What is from before is only moved. */
    return wall0 + (real - real0) * (real < real0 ? 1 : rate);
}

static int is_wall(clockid_t id) {
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI;
}

static int is_monotonic(clockid_t id) {
    return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW || id == CLOCK_MONOTONIC_COARSE ||
           id == CLOCK_BOOTTIME;
}

/* A moment that a program waits for, as the system's clock will show it. */
static struct timespec unwarped(int is_of_wall, const struct timespec *t) {
    return is_of_wall ? spec(real0 + (ns(t) - wall0) / rate) : spec(mono0 + (ns(t) - mono0) / rate);
}

static struct timespec shorter(const struct timespec *t) { return spec((ns(t) + rate - 1) / rate); }

int clock_gettime(clockid_t id, struct timespec *t) {
    if (!clock_of_system) begin();
    /* The coarse clocks would be coarser by the rate. */
    clockid_t fine = is_wall(id) ? CLOCK_REALTIME : is_monotonic(id) ? CLOCK_MONOTONIC : id;
    int result = clock_of_system(rate ? fine : id, t);
    if (result || !rate) return result;
    if (is_wall(id)) *t = spec(wall(ns(t)));
    if (is_monotonic(id)) *t = spec(mono0 + (ns(t) - mono0) * rate);
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    (void)zone;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec, tv->tv_usec = t.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (to) *to = t.tv_sec;
    return t.tv_sec;
}

int clock_nanosleep(clockid_t id, int flags, const struct timespec *wait, struct timespec *rest) {
    struct timespec t = *wait;
    if (rate) t = flags & TIMER_ABSTIME ? unwarped(is_wall(id), wait) : shorter(wait);
    if (kernel(SYS_clock_nanosleep, (long)id, (long)flags, &t, rest) == 0) return 0;
    extern int *__errno_location(void);
    return *__errno_location();
}

int nanosleep(const struct timespec *wait, struct timespec *rest) {
    struct timespec t = rate ? shorter(wait) : *wait;
    return (int)kernel(SYS_clock_nanosleep, (long)CLOCK_MONOTONIC, 0L, &t, rest);
}

int usleep(useconds_t wait) {
    struct timespec t = spec((int64_t)wait * 1000);
    return nanosleep(&t, NULL);
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int wait, const sigset_t *mask) {
    struct timespec t = spec((int64_t)wait * 1000000 / (rate ? rate : 1));
    return (int)kernel(SYS_epoll_pwait2, (long)fd, events, (long)most, wait < 0 ? NULL : &t, mask,
                       (long)(_NSIG / 8));
}

int epoll_wait(int fd, struct epoll_event *events, int most, int wait) {
    return epoll_pwait(fd, events, most, wait, NULL);
}

int poll(struct pollfd *fds, nfds_t count, int wait) {
    struct timespec t = spec((int64_t)wait * 1000000 / (rate ? rate : 1));
    return (int)kernel(SYS_ppoll, fds, (long)count, wait < 0 ? NULL : &t, NULL, (long)(_NSIG / 8));
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict to) {
    int result = statx_of_system(fd, path, flags, mask, to);
    if (result || !rate) return result;
    struct statx_timestamp *times[] = {&to->stx_atime, &to->stx_btime, &to->stx_ctime, &to->stx_mtime};
    for (int i = 0; i < 4; i++) {
        struct timespec t = spec(wall(times[i]->tv_sec * SECOND + times[i]->tv_nsec));
        times[i]->tv_sec = t.tv_sec, times[i]->tv_nsec = t.tv_nsec;
    }
    return 0;
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (!kernel) begin();
    if (number == SYS_futex && rate && a[3]) {
        int command = (int)a[1] & FUTEX_CMD_MASK;
        struct timespec t;
        if (command == FUTEX_WAIT) {
            t = shorter((struct timespec *)a[3]);
            a[3] = (long)&t;
        } else if (command == FUTEX_WAIT_BITSET) {
            t = unwarped(((int)a[1] & FUTEX_CLOCK_REALTIME) != 0, (struct timespec *)a[3]);
            a[3] = (long)&t;
        }
        return kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    return kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
