#include "semihosting.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    ADP_STOPPED_APPLICATION_EXIT = 0x20026
};

#if defined(__arm__)
static int32_t call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}
#elif defined(__aarch64__)
static int32_t call(uint32_t operation, const void *argument)
{
    register uint64_t x0 __asm__("x0") = operation;
    register const void *x1 __asm__("x1") = argument;
    __asm__ volatile("hlt 0xf000" : "+r"(x0) : "r"(x1) : "memory");
    return (int32_t)x0;
}
#else
static int32_t call(uint32_t operation, const void *argument)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    /* These three, uncompressed and in one page, are how a host knows the call. */
    __asm__ volatile(".balign 16\n\t"
                     ".option push\n\t"
                     ".option norvc\n\t"
                     "slli x0, x0, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai x0, x0, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int32_t)a0;
}
#endif

int32_t semihost_open(const char *name, uint32_t mode)
{
    const uintptr_t block[3] = {(uintptr_t)name, mode, strlen(name)};
    const int32_t file = call(SYS_OPEN, block);
    if (file < 0) {
        semihost_fail("a file cannot be opened");
    }
    return file;
}

void semihost_close(int32_t file)
{
    const uintptr_t block[1] = {(uintptr_t)file};
    if (call(SYS_CLOSE, block) != 0) {
        semihost_fail("a file cannot be closed");
    }
}

void semihost_read(int32_t file, void *data, size_t size)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, size};
    if (call(SYS_READ, block) != 0) {
        semihost_fail("a file is too short");
    }
}

void semihost_write(int32_t file, const void *data, size_t size)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, size};
    if (call(SYS_WRITE, block) != 0) {
        semihost_fail("a file cannot be written");
    }
}

void semihost_exit(uint32_t code)
{
    const uintptr_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, code};
    (void)call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void semihost_fail(const char *message)
{
    (void)call(SYS_WRITE0, message);
    (void)call(SYS_WRITE0, "\n");
    semihost_exit(1);
}

static void print_hexadecimal(uint32_t value)
{
    char text[] = " 00000000";
    int i;
    for (i = 8; i > 0; --i, value >>= 4) {
        text[i] = "0123456789abcdef"[value & 15u];
    }
    (void)call(SYS_WRITE0, text);
}

void semihost_fault(uint32_t number, const uint32_t *at, const uint32_t *end)
{
    int i;
    (void)call(SYS_WRITE0, "exception");
    print_hexadecimal(number);
    (void)call(SYS_WRITE0, " stack or address");
    for (i = 0; i < 8 && at + i < end; ++i) {
        print_hexadecimal(at[i]);
    }
    semihost_fail("");
}
