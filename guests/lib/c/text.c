/* Text for the console, formatted into a buffer on the caller's stack. */
#include "applet.h"

void text_flush(struct text *text) {
  if (text->length > 0) {
    applet_write(text->bytes, text->length);
  }
  text->length = 0;
}

void text_character(struct text *text, char character) {
  if (text->length == TEXT_SIZE) {
    text_flush(text);
  }
  text->bytes[text->length++] = character;
}

/* A number with at least width digits, filled up with fill. */
static void text_number(struct text *text, uint64_t value, unsigned base, int width, char fill) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (width-- > count) {
    text_character(text, fill);
  }
  while (count > 0) {
    text_character(text, digits[--count]);
  }
}

void text_hex(struct text *text, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    text_number(text, ((const unsigned char *)bytes)[i], 16, 2, '0');
  }
}

void text_list(struct text *text, const char *format, va_list list) {
  for (; *format != 0; format++) {
    if (*format != '%') {
      text_character(text, *format);
      continue;
    }
    format++;
    char fill = ' ';
    int width = 0;
    int is_long = 0;
    if (*format == '0') {
      fill = '0';
    }
    for (; *format >= '0' && *format <= '9'; format++) {
      width = width * 10 + (*format - '0');
    }
    for (; *format == 'l' || *format == 'z'; format++) {
      is_long = 1;
    }
    switch (*format) {
    case 's':
      for (const char *string = va_arg(list, const char *); *string != 0; string++) {
        text_character(text, *string);
      }
      break;
    case 'c':
      text_character(text, (char)va_arg(list, int));
      break;
    case 'd': {
      int64_t value = is_long ? va_arg(list, int64_t) : va_arg(list, int);
      if (value < 0) {
        text_character(text, '-');
      }
      text_number(text, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, fill);
      break;
    }
    case 'p':
      text_character(text, '0');
      text_character(text, 'x');
      text_number(text, va_arg(list, uint64_t), 16, width, fill);
      break;
    case 'u':
    case 'x': {
      uint64_t value = is_long ? va_arg(list, uint64_t) : va_arg(list, unsigned);
      text_number(text, value, *format == 'u' ? 10 : 16, width, fill);
      break;
    }
    default:
      text_character(text, *format);
      break;
    }
  }
}

void text_format(struct text *text, const char *format, ...) {
  va_list list;
  va_start(list, format);
  text_list(text, format, list);
  va_end(list);
}

void print(const char *format, ...) {
  struct text text;
  va_list list;
  text_start(&text);
  va_start(list, format);
  text_list(&text, format, list);
  va_end(list);
  text_flush(&text);
}

void panic(const char *format, ...) {
  struct text text;
  va_list list;
  text_start(&text);
  text_format(&text, "panic: ");
  va_start(list, format);
  text_list(&text, format, list);
  va_end(list);
  text_character(&text, '\n');
  text_flush(&text);
  applet_exit(134); /* what a shell shows for SIGABRT */
}
