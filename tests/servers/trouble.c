/* A disk that is slow or lacks descriptors, for a program that is started with this library in
 * LD_PRELOAD. The files in the folder TROUBLE switch it on, also while the program runs:
 *
 *   sync_ms     syncing a file or a folder takes as many milliseconds as the file says
 *   unlink_ms   removing a file of a folder `new` takes as many milliseconds as the file says
 *   emfile      reading a file of a folder `new` fails for lack of descriptors
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_concerned(const char *path)
{
    return strstr(path, "/new/") != NULL;
}

static int path_of(const char *name, char *path, size_t size)
{
    const char *folder = getenv("TROUBLE");
    return folder != NULL && snprintf(path, size, "%s/%s", folder, name) < (int)size;
}

static void take_long(const char *name)
{
    char setting[4096];
    int ms = 0;
    FILE *file = path_of(name, setting, sizeof setting) ? fopen(setting, "r") : NULL;
    if (file == NULL)
        return;
    if (fscanf(file, "%d", &ms) == 1)
        usleep(ms * 1000);
    fclose(file);
}

int fsync(int file)
{
    take_long("sync_ms");
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return real(file);
}

int fdatasync(int file)
{
    take_long("sync_ms");
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return real(file);
}

int unlink(const char *path)
{
    if (is_concerned(path))
        take_long("unlink_ms");
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    return real(path);
}

static int open_with(const char *real_name, const char *path, int flags, mode_t mode)
{
    char setting[4096];
    int reads = (flags & O_ACCMODE) == O_RDONLY && (flags & O_DIRECTORY) == 0;
    if (reads && is_concerned(path) && path_of("emfile", setting, sizeof setting)
        && access(setting, F_OK) == 0) {
        errno = EMFILE;
        return -1;
    }
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, real_name);
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_with("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_with("open64", path, flags, mode);
}
