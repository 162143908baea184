/* Arguments, and numbers and regions that they specify. */
#include "applet.h"

void arguments_load(struct arguments *arguments) {
  int64_t size = applet_arguments(arguments->bytes, ARGUMENTS_SIZE);
  if (size < 0) {
    size = 0;
  }
  if (size > ARGUMENTS_SIZE) {
    size = ARGUMENTS_SIZE;
    arguments->bytes[ARGUMENTS_SIZE - 1] = 0;
  }
  arguments->size = (size_t)size;
}

const char *argument(const struct arguments *arguments, size_t index) {
  size_t at = 0;
  for (; at < arguments->size && index > 0; index--) {
    at += strlen(arguments->bytes + at) + 1;
  }
  return at < arguments->size ? arguments->bytes + at : NULL;
}

const char *text_after(const char *text, const char *prefix) {
  if (text == NULL) {
    return NULL;
  }
  for (; *prefix != 0; text++, prefix++) {
    if (*text != *prefix) {
      return NULL;
    }
  }
  return text;
}

uint64_t number_from(const char *text) {
  const char *hexadecimal = text_after(text, "0x");
  const char *digit = hexadecimal ? hexadecimal : text;
  uint64_t base = hexadecimal ? 16 : 10;
  uint64_t value = 0;
  do {
    uint64_t one = 16;
    if (*digit >= '0' && *digit <= '9') {
      one = (uint64_t)(*digit - '0');
    } else if (*digit >= 'a' && *digit <= 'f') {
      one = (uint64_t)(*digit - 'a') + 10;
    }
    if (one >= base || __builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, one, &value)) {
      panic("not a number: %s", text);
    }
  } while (*++digit != 0);
  return value;
}

uint64_t argument_number(size_t index, uint64_t otherwise) {
  struct arguments arguments;
  arguments_load(&arguments);
  const char *text = argument(&arguments, index);
  return text ? number_from(text) : otherwise;
}

struct applet_region region_of_use(uint64_t use) {
  struct applet_region region;
  for (uint64_t index = 0; applet_region(index, &region) == 0; index++) {
    if (region.use == use) {
      return region;
    }
  }
  panic("no region of use %lu", use);
}
