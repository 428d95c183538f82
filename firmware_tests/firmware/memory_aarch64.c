/* What the compiler and our firmware take of string.h, where no C library is meant for firmware.
 *
 * Words of 16 bytes and then bytes: no shorter than the C library of a Raspberry Pi.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Or the loops would become calls of the functions that they are in. */
#define PLAIN __attribute__((optimize("no-tree-loop-distribute-patterns")))

typedef struct {
    uint64_t low, high;
} __attribute__((packed, may_alias)) pair_t;

PLAIN void *memcpy(void *restrict target, const void *restrict source, size_t size)
{
    unsigned char *to = target;
    const unsigned char *from = source;
    for (; size >= sizeof(pair_t); size -= sizeof(pair_t)) {
        *(pair_t *)(void *)to = *(const pair_t *)(const void *)from;
        to += sizeof(pair_t);
        from += sizeof(pair_t);
    }
    for (; size > 0; --size) {
        *to++ = *from++;
    }
    return target;
}

PLAIN void *memset(void *target, int value, size_t size)
{
    unsigned char *to = target;
    const uint64_t word = 0x0101010101010101u * (unsigned char)value;
    const pair_t pair = {word, word};
    for (; size >= sizeof(pair_t); size -= sizeof(pair_t)) {
        *(pair_t *)(void *)to = pair;
        to += sizeof(pair_t);
    }
    for (; size > 0; --size) {
        *to++ = (unsigned char)value;
    }
    return target;
}

PLAIN int memcmp(const void *first, const void *second, size_t size)
{
    const unsigned char *a = first, *b = second;
    for (; size > 0; --size, ++a, ++b) {
        if (*a != *b) {
            return *a < *b ? -1 : 1;
        }
    }
    return 0;
}

PLAIN size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != 0) {
        ++length;
    }
    return length;
}

PLAIN char *strncpy(char *restrict target, const char *restrict source, size_t size)
{
    size_t i;
    for (i = 0; i < size && source[i] != 0; ++i) {
        target[i] = source[i];
    }
    for (; i < size; ++i) {
        target[i] = 0;
    }
    return target;
}
