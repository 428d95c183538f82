/* Files and exit of the host, as debuggers and QEMU offer them to a program on a board. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

#define SEMIHOST_READ_FILE 1u  /* fopen's "rb" */
#define SEMIHOST_WRITE_FILE 5u /* "wb" */

/* Each ends the program with a message if the host refuses. */
int32_t semihost_open(const char *name, uint32_t mode);
void semihost_close(int32_t file);
void semihost_read(int32_t file, void *data, size_t size);
void semihost_write(int32_t file, const void *data, size_t size);

/* Ends the program; 0 is success. */
__attribute__((noreturn)) void semihost_exit(uint32_t code);
__attribute__((noreturn)) void semihost_fail(const char *message);
/* The same with numbers: an exception and the words from `at` on, at most 8 and below `end`. */
__attribute__((noreturn)) void semihost_fault(uint32_t number, const uint32_t *at,
                                              const uint32_t *end);

#endif
