/* A library to preload: each sync of a file takes some milliseconds more, as on a memory card, and is counted.
 *
 * SLOW_SYNC_MS has the milliseconds, SLOW_SYNC_COUNT the name of a file whose length grows by a byte for each sync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void slow(void) {
  const char *text = getenv("SLOW_SYNC_MS"), *name = getenv("SLOW_SYNC_COUNT");
  double milliseconds = text ? atof(text) : 0;
  struct timespec left;
  left.tv_sec = (time_t)(milliseconds / 1000);
  left.tv_nsec = (long)((milliseconds - 1000.0 * left.tv_sec) * 1e6);
  nanosleep(&left, NULL);
  int count = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  if (count >= 0) {
    if (write(count, ".", 1) != 1) abort();
    close(count);
  }
}

#define SLOW(name)                                               \
  int name(int file) {                                           \
    static int (*real)(int);                                     \
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);     \
    slow();                                                      \
    return real(file);                                           \
  }

SLOW(fsync)
SLOW(fdatasync)
SLOW(syncfs)
