/* Faults of a host for one process, which has this library in LD_PRELOAD: a wall clock that is set, a disk
 * that is slow or fails, names whose address changes.
 *
 * The file CHAOS_CONTROL holds 64-bit numbers that another process changes at any time: see host.rs. A fault
 * of the disk concerns the files in the folder CHAOS_FOLDER. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { CLOCK_MS, SYNC_US, WRITE_US, CHANGE_US, ERROR, ERROR_STATE, ERROR_OUTPUT, NAMES = 8, NUMBERS = 16 };

static volatile int64_t no_faults[NUMBERS];
static volatile int64_t *control = no_faults;
static char state[4096], output[4096];

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CHAOS_CONTROL"), *folder = getenv("CHAOS_FOLDER");
    if (path == NULL || folder == NULL)
        return;
    snprintf(state, sizeof state, "%s/state", folder);
    snprintf(output, sizeof output, "%s/out", folder);
    int file = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    void *shared = mmap(NULL, sizeof no_faults, PROT_READ, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED)
        control = shared;
    close(file);
}

/* ---- the wall clock */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL)
        next = REAL(clock_gettime);
    int result = next(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_nsec + control[CLOCK_MS] % 1000 * 1000000;
        now->tv_sec += control[CLOCK_MS] / 1000 + (ns < 0 ? -1 : ns / 1000000000);
        now->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to != NULL)
        *to = now.tv_sec;
    return now.tv_sec;
}

/* ---- the disk */

static void delay(int which)
{
    if (control[which] > 0)
        usleep(control[which]);
}

static int begins(const char *path, const char *with)
{
    return with[0] != 0 && strncmp(path, with, strlen(with)) == 0;
}

static int is_concerned(const char *path)
{
    return begins(path, state) || begins(path, output);
}

/* The error that a change of this path meets, or 0. */
static int error_of(const char *path)
{
    if (control[ERROR_STATE] && begins(path, state))
        return control[ERROR];
    if (control[ERROR_OUTPUT] && begins(path, output))
        return control[ERROR];
    return 0;
}

static int is_quiet(void)
{
    return control[SYNC_US] == 0 && control[WRITE_US] == 0 && control[CHANGE_US] == 0 && control[ERROR] == 0;
}

static int path_of(int file, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_concerned(path);
}

static int fails(int error)
{
    if (error != 0)
        errno = error;
    return error != 0;
}

ssize_t write(int file, const void *bytes, size_t length)
{
    static ssize_t (*next)(int, const void *, size_t);
    char path[4096];
    if (next == NULL)
        next = REAL(write);
    if (is_quiet() || !path_of(file, path, sizeof path))
        return next(file, bytes, length);
    delay(WRITE_US);
    int error = error_of(path);
    /* A disk that becomes full takes a part. */
    if (error == ENOSPC && length > 4096)
        return next(file, bytes, length / 2 < 4096 ? length / 2 : 4096);
    return fails(error) ? -1 : next(file, bytes, length);
}

static int sync_by(int (*next)(int), int file)
{
    char path[4096];
    if (is_quiet() || !path_of(file, path, sizeof path))
        return next(file);
    delay(SYNC_US);
    return fails(error_of(path) == EIO ? EIO : 0) ? -1 : next(file);
}

int fsync(int file)
{
    return sync_by(REAL(fsync), file);
}

int fdatasync(int file)
{
    return sync_by(REAL(fdatasync), file);
}

static int change(const char *path)
{
    if (is_quiet() || !is_concerned(path))
        return 0;
    delay(CHANGE_US);
    return error_of(path);
}

int rename(const char *from, const char *to)
{
    return fails(change(to)) ? -1 : REAL(rename)(from, to);
}

int unlink(const char *path)
{
    int error = change(path);
    /* A full disk does not hinder a removal. */
    return fails(error == ENOSPC ? 0 : error) ? -1 : REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode)
{
    return fails(change(path)) ? -1 : REAL(mkdir)(path, mode);
}

static int open_by(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && fails(change(path)))
        return -1;
    return next(path, flags, mode);
}

#define OPEN(name)                                                                                             \
    int name(const char *path, int flags, ...)                                                                 \
    {                                                                                                          \
        va_list rest;                                                                                          \
        va_start(rest, flags);                                                                                 \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                              \
        va_end(rest);                                                                                          \
        return open_by(REAL(name), path, flags, mode);                                                         \
    }

OPEN(open)
OPEN(open64)

/* ---- names: chaos-0 to chaos-3 */

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = REAL(getaddrinfo);
    if (node == NULL || strncmp(node, "chaos-", 6) != 0 || node[6] < '0' || node[6] > '3')
        return next(node, service, hints, found);
    int place = NAMES + 2 * (node[6] - '0');
    if (control[place + 1] > 0)
        usleep(control[place + 1]);
    if (control[place + 1] < 0)
        return (int)(control[place + 1] == -1 ? EAI_AGAIN : EAI_NONAME);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.%d", (int)control[place]);
    return next(address, service, hints, found);
}
