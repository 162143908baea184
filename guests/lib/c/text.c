/* Text output, formatted into a buffer on the caller's stack. */
#include "format.h"

void text_flush(struct text *text) {
  if (text->length > 0) {
    applet_write(text->bytes, text->length);
  }
  text->written += text->length;
  text->length = 0;
}

void text_character(struct text *text, char character) {
  if (text->length == TEXT_SIZE) {
    text_flush(text);
  }
  text->bytes[text->length++] = character;
}

void text_hex(struct text *text, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = ((const unsigned char *)bytes)[i];
    text_character(text, "0123456789abcdef"[byte >> 4]);
    text_character(text, "0123456789abcdef"[byte & 15]);
  }
}

void __applet_format_fill(struct text *text, char character, size_t count) {
  while (count-- > 0) {
    text_character(text, character);
  }
}

unsigned __applet_format_begin(struct text *text, const struct format *format, const char *prefix, size_t length) {
  length += strlen(prefix);
  unsigned fill = format->width > length ? format->width - (unsigned)length : 0;
  int zeros = (format->flags & (FORMAT_ZERO | FORMAT_LEFT)) == FORMAT_ZERO;
  if (!zeros && !(format->flags & FORMAT_LEFT)) {
    __applet_format_fill(text, ' ', fill);
  }
  for (; *prefix != 0; prefix++) {
    text_character(text, *prefix);
  }
  __applet_format_fill(text, '0', zeros ? fill : 0);
  return format->flags & FORMAT_LEFT ? fill : 0;
}

__attribute__((noinline)) static void format_integer(struct text *text, struct format format, uint64_t value, int is_negative) {
  char digits[64];
  unsigned count = 0;
  const char *prefix = is_negative ? "-" : "";
  const char *symbols = format.conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  unsigned base = 10;
  switch (format.conversion) {
  case 'd':
  case 'i':
    if (!is_negative) {
      prefix = format.flags & FORMAT_SIGN ? "+" : format.flags & FORMAT_SPACE ? " " : "";
    }
    break;
  case 'b':
  case 'B':
    base = 2;
    prefix = format.flags & FORMAT_ALTERNATE && value != 0 ? format.conversion == 'b' ? "0b" : "0B" : "";
    break;
  case 'o':
    base = 8;
    break;
  case 'x':
  case 'X':
    base = 16;
    prefix = format.flags & FORMAT_ALTERNATE && value != 0 ? format.conversion == 'x' ? "0x" : "0X" : "";
    break;
  case 'p':
    base = 16;
    prefix = "0x";
    break;
  }
  for (uint64_t rest = value; rest != 0; rest /= base) {
    digits[count++] = symbols[rest % base];
  }
  unsigned least = format.precision < 0 ? 1 : (unsigned)format.precision;
  if (format.conversion == 'o' && format.flags & FORMAT_ALTERNATE && least <= count) {
    least = count + 1;
  }
  if (format.precision >= 0) {
    format.flags &= ~(unsigned)FORMAT_ZERO;
  }
  unsigned zeros = least > count ? least - count : 0;
  unsigned after = __applet_format_begin(text, &format, prefix, (size_t)zeros + count);
  __applet_format_fill(text, '0', zeros);
  while (count > 0) {
    text_character(text, digits[--count]);
  }
  __applet_format_fill(text, ' ', after);
}

/* A code point as UTF-8; returns its length. */
__attribute__((noinline)) static size_t utf8(char *bytes, uint32_t character) {
  if (character < 0x80) {
    bytes[0] = (char)character;
    return 1;
  }
  size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; i--, character >>= 6) {
    bytes[i] = (char)(0x80 | (character & 0x3f));
  }
  bytes[0] = (char)(0xf00u >> length | character);
  return length;
}

static void format_bytes(struct text *text, struct format format, const char *bytes, size_t length) {
  format.flags &= ~(unsigned)FORMAT_ZERO;
  unsigned after = __applet_format_begin(text, &format, "", length);
  for (size_t i = 0; i < length; i++) {
    text_character(text, bytes[i]);
  }
  __applet_format_fill(text, ' ', after);
}

/* The precision is the maximum number of bytes that are written. A string with a precision needs no terminator. */
static void format_string(struct text *text, struct format format, const char *string) {
  size_t length = 0, most = format.precision < 0 ? SIZE_MAX : (size_t)format.precision;
  string = string != NULL ? string : "(null)";
  while (length < most && string[length] != 0) {
    length++;
  }
  format_bytes(text, format, string, length);
}

/* The same for wide characters, which are written as UTF-8, none in part. */
__attribute__((noinline)) static void format_wide(struct text *text, struct format format, const wchar_t *string) {
  char bytes[4];
  size_t count = 0, length = 0, most = format.precision < 0 ? SIZE_MAX : (size_t)format.precision;
  string = string != NULL ? string : L"(null)";
  while (length < most && string[count] != 0 && utf8(bytes, (uint32_t)string[count]) <= most - length) {
    length += utf8(bytes, (uint32_t)string[count++]);
  }
  format.flags &= ~(unsigned)FORMAT_ZERO;
  unsigned after = __applet_format_begin(text, &format, "", length);
  for (size_t i = 0; i < count; i++) {
    size_t size = utf8(bytes, (uint32_t)string[i]);
    for (size_t j = 0; j < size; j++) {
      text_character(text, bytes[j]);
    }
  }
  __applet_format_fill(text, ' ', after);
}

/* All lengths from l on are of 64 bits. */
enum length { LENGTH_CHAR, LENGTH_SHORT, LENGTH_INT, LENGTH_LONG, LENGTH_LONG_DOUBLE };

static const char *length_of(const char *format, enum length *length) {
  *length = LENGTH_INT;
  switch (*format) {
  case 'h':
    *length = format[1] == 'h' ? LENGTH_CHAR : LENGTH_SHORT;
    return format + (format[1] == 'h' ? 2 : 1);
  case 'l':
    *length = LENGTH_LONG;
    return format + (format[1] == 'l' ? 2 : 1);
  case 'j':
  case 'q':
  case 't':
  case 'z':
    *length = LENGTH_LONG;
    return format + 1;
  case 'L':
    *length = LENGTH_LONG_DOUBLE;
    return format + 1;
  }
  return format;
}

static uint64_t truncated(uint64_t value, enum length length, int is_signed) {
  switch (length) {
  case LENGTH_CHAR:
    return is_signed ? (uint64_t)(int8_t)value : (uint8_t)value;
  case LENGTH_SHORT:
    return is_signed ? (uint64_t)(int16_t)value : (uint16_t)value;
  case LENGTH_INT:
    return is_signed ? (uint64_t)(int32_t)value : (uint32_t)value;
  case LENGTH_LONG:
  case LENGTH_LONG_DOUBLE:
    break;
  }
  return value;
}

static void store_count(void *to, enum length length, uint64_t count) {
  switch (length) {
  case LENGTH_CHAR:
    *(int8_t *)to = (int8_t)count;
    break;
  case LENGTH_SHORT:
    *(int16_t *)to = (int16_t)count;
    break;
  case LENGTH_INT:
    *(int32_t *)to = (int32_t)count;
    break;
  case LENGTH_LONG:
  case LENGTH_LONG_DOUBLE:
    *(uint64_t *)to = count;
    break;
  }
}

static unsigned flag_of(char character) {
  switch (character) {
  case '-':
    return FORMAT_LEFT;
  case '+':
    return FORMAT_SIGN;
  case ' ':
    return FORMAT_SPACE;
  case '#':
    return FORMAT_ALTERNATE;
  case '0':
    return FORMAT_ZERO;
  }
  return 0;
}

static unsigned digits_of(const char **format) {
  unsigned value = 0;
  for (; **format >= '0' && **format <= '9'; (*format)++) {
    value = value > 100000 ? value : value * 10 + (unsigned)(**format - '0');
  }
  return value;
}

/* The next argument other than a floating-point one. Both architectures pass each in 64 bits, of which an int has the lower 32. */
__attribute__((noinline)) static uint64_t next(va_list *list) {
  return va_arg(*list, uint64_t);
}

/* A width or a precision, which may be an argument. */
static int amount(const char **format, va_list *list) {
  if (**format == '*') {
    (*format)++;
    return (int)next(list);
  }
  return (int)digits_of(format);
}

void text_list(struct text *text, const char *format, va_list arguments) {
  va_list list;
  va_copy(list, arguments);
  uint64_t begin = text->written + text->length;
  for (; *format != 0; format++) {
    const char *start = format;
    if (*format != '%') {
      text_character(text, *format);
      continue;
    }
    struct format one = {.precision = -1};
    enum length length;
    for (format++; flag_of(*format) != 0; format++) {
      one.flags |= flag_of(*format);
    }
    int width = amount(&format, &list);
    one.flags |= width < 0 ? FORMAT_LEFT : 0;
    one.width = width < 0 ? -(unsigned)width : (unsigned)width;
    if (*format == '.') {
      format++;
      one.precision = amount(&format, &list);
    }
    format = length_of(format, &length);
    one.conversion = *format;
    switch (*format) {
    case 'd':
    case 'i': {
      uint64_t value = truncated(next(&list), length, 1);
      int is_negative = (int64_t)value < 0;
      format_integer(text, one, is_negative ? -value : value, is_negative);
      break;
    }
    case 'b':
    case 'B':
    case 'o':
    case 'u':
    case 'x':
    case 'X':
      format_integer(text, one, truncated(next(&list), length, 0), 0);
      break;
    case 'p':
      format_integer(text, one, next(&list), 0);
      break;
    case 'a':
    case 'A':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      if (length == LENGTH_LONG_DOUBLE) {
        union { long double value; uint64_t words[2]; } number = {va_arg(list, long double)};
        __applet_format_long_double(text, &one, number.words[1], number.words[0]);
      } else {
        union { double value; uint64_t word; } number = {va_arg(list, double)};
        __applet_format_double(text, &one, number.word);
      }
      break;
    case 'c':
    case 'C': {
      char bytes[4];
      int character = (int)next(&list);
      bytes[0] = (char)character;
      format_bytes(text, one, bytes, length == LENGTH_LONG || *format == 'C' ? utf8(bytes, (uint32_t)character) : 1);
      break;
    }
    case 's':
    case 'S':
      if (length == LENGTH_LONG || *format == 'S') {
        format_wide(text, one, (const wchar_t *)next(&list));
      } else {
        format_string(text, one, (const char *)next(&list));
      }
      break;
    case 'n':
      store_count((void *)next(&list), length, text->written + text->length - begin);
      break;
    case '%':
      text_character(text, '%');
      break;
    default:
      /* The arguments of an unknown conversion are unknown, so that later ones cannot be converted. */
      for (; *start != 0; start++) {
        text_character(text, *start);
      }
      va_end(list);
      return;
    }
  }
  va_end(list);
}

void text_format(struct text *text, const char *format, ...) {
  va_list list;
  va_start(list, format);
  text_list(text, format, list);
  va_end(list);
}

/* Nothing, unless putchar.c is linked, whose text comes first. Here too, since with a C library exit.c is not linked. */
__attribute__((weak)) void flush_output(void) {}

void print(const char *format, ...) {
  struct text text;
  va_list list;
  flush_output();
  text_start(&text);
  va_start(list, format);
  text_list(&text, format, list);
  va_end(list);
  text_flush(&text);
}

void panic(const char *format, ...) {
  struct text text;
  va_list list;
  flush_output();
  text_start(&text);
  text_format(&text, "panic: ");
  va_start(list, format);
  text_list(&text, format, list);
  va_end(list);
  text_character(&text, '\n');
  text_flush(&text);
  applet_exit(134); /* what a shell shows for SIGABRT */
}
