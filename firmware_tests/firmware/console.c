/* printf on the host's console, for firmware that a user would write: the exported example. */
#include "memory.h"
#include "semihosting.h"

#include <stdio.h>

static int32_t console;

#if defined(__PICOLIBC__)

static int put(char c, FILE *stream)
{
    (void)stream;
    semihost_write(console, &c, 1);
    return (unsigned char)c;
}

static FILE out = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdout = &out;

#else

#include <sys/stat.h>

static char heap[4096];
static char *heap_end = heap;

/* What newlib's printf asks of the system below it. */
int _write(int file, const char *data, int size);
void *_sbrk(ptrdiff_t size);
int _close(int file);
int _fstat(int file, struct stat *status);
int _isatty(int file);
int _lseek(int file, int offset, int from);
int _read(int file, char *data, int size);

int _write(int file, const char *data, int size)
{
    (void)file;
    semihost_write(console, data, (size_t)size);
    return size;
}

void *_sbrk(ptrdiff_t size)
{
    char *const begin = heap_end;
    if (size > heap + sizeof heap - heap_end) {
        semihost_fail("the example's heap is full");
    }
    heap_end += size;
    return begin;
}

int _close(int file)
{
    return file;
}

int _fstat(int file, struct stat *status)
{
    (void)file;
    status->st_mode = S_IFCHR;
    return 0;
}

int _isatty(int file)
{
    (void)file;
    return 1;
}

int _lseek(int file, int offset, int from)
{
    (void)file;
    (void)offset;
    (void)from;
    return 0;
}

int _read(int file, char *data, int size)
{
    (void)file;
    (void)data;
    (void)size;
    return 0;
}

#endif

/* The linker puts this around main (-Wl,--wrap=main). */
int __real_main(void);
int __wrap_main(void);

int __wrap_main(void)
{
    int status;
    console = semihost_open(":tt", SEMIHOST_WRITE_FILE);
    status = __real_main();
    (void)fflush(stdout);
    semihost_exit((uint32_t)status);
}
