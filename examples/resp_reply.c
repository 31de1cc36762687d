/* resp_reply.c: replies of RESP2, one behind another in memory that grows. */
#include "resp_protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_FIRST = 4096 };

static bool make_room(struct resp_output *output, size_t size)
{
    size_t capacity = output->capacity == 0 ? OUTPUT_FIRST : output->capacity;
    char  *bytes;

    if (output->failed)
        return false;
    if (output->capacity - output->size >= size)
        return true;
    while (capacity - output->size < size)
        capacity *= 2;
    bytes = realloc(output->bytes, capacity);
    output->failed = bytes == NULL;
    if (output->failed)
        return false;
    output->bytes = bytes;
    output->capacity = capacity;
    return true;
}

static void add(struct resp_output *output, const void *bytes, size_t size)
{
    if (size > 0 && make_room(output, size)) {
        memcpy(output->bytes + output->size, bytes, size);
        output->size += size;
    }
}

static void add_line(struct resp_output *output, char type, const char *text, size_t size)
{
    if (!make_room(output, size + 3))
        return;
    output->bytes[output->size++] = type;
    add(output, text, size);
    add(output, "\r\n", 2);
}

static void add_number(struct resp_output *output, char type, int64_t value)
{
    char     digits[20];
    size_t   first = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do
        digits[--first] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        digits[--first] = '-';
    add_line(output, type, digits + first, sizeof digits - first);
}

void resp_reply_simple(struct resp_output *output, const char *text)
{
    add_line(output, '+', text, strlen(text));
}

void resp_reply_error(struct resp_output *output, const char *text)
{
    add_line(output, '-', text, strlen(text));
}

void resp_reply_integer(struct resp_output *output, int64_t value)
{
    add_number(output, ':', value);
}

void resp_reply_bulk(struct resp_output *output, const void *bytes, size_t size)
{
    add_number(output, '$', (int64_t)size);
    add(output, bytes, size);
    add(output, "\r\n", 2);
}

void resp_reply_text(struct resp_output *output, const char *text)
{
    resp_reply_bulk(output, text, strlen(text));
}

void resp_reply_nil(struct resp_output *output)
{
    add(output, "$-1\r\n", 5);
}

void resp_reply_array(struct resp_output *output, size_t count)
{
    add_number(output, '*', (int64_t)count);
}

void resp_output_free(struct resp_output *output)
{
    free(output->bytes);
    *output = (struct resp_output){0};
}
