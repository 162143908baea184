/* Text to floating point, correctly rounded: decimal, hexadecimal (0x1.8p3), inf, nan. */
#include "applet.h"

/* A natural number, the least significant word first. */
#define WORDS 160
struct natural {
  int count;
  uint32_t words[WORDS];
};

/* Digits after the first 769 affect the rounding of a double only by not being zero. */
#define MAX_DIGITS 800

static void multiply(struct natural *number, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (int i = 0; i < number->count; i++) {
    carry += (uint64_t)number->words[i] * factor;
    number->words[i] = (uint32_t)carry;
    carry >>= 32;
  }
  if (carry != 0) {
    number->words[number->count++] = (uint32_t)carry;
  }
}

static int length_of(const struct natural *number) {
  return number->count == 0 ? 0 : number->count * 32 - __builtin_clz(number->words[number->count - 1]);
}

static void shift(struct natural *number, int bits) {
  int words = bits / 32;
  for (int i = number->count - 1; i >= 0; i--) {
    number->words[i + words] = number->words[i];
  }
  for (int i = 0; i < words; i++) {
    number->words[i] = 0;
  }
  number->count += number->count > 0 ? words : 0;
  multiply(number, (uint32_t)1 << (bits & 31), 0);
}

static int compare(const struct natural *a, const struct natural *b) {
  if (a->count != b->count) {
    return a->count < b->count ? -1 : 1;
  }
  for (int i = a->count - 1; i >= 0; i--) {
    if (a->words[i] != b->words[i]) {
      return a->words[i] < b->words[i] ? -1 : 1;
    }
  }
  return 0;
}

static void subtract(struct natural *from, const struct natural *number) {
  int64_t borrow = 0;
  for (int i = 0; i < from->count; i++) {
    borrow += (int64_t)from->words[i] - (i < number->count ? number->words[i] : 0);
    from->words[i] = (uint32_t)borrow;
    borrow >>= 32;
  }
  while (from->count > 0 && from->words[from->count - 1] == 0) {
    from->count--;
  }
}

/* numerator / denominator * 2^scale as the bits of a binary floating-point number with this number of bits of significand and exponent,
 * rounded to nearest, ties to even. Both are greater than zero. */
static uint64_t rounded(struct natural *numerator, struct natural *denominator, int scale, int precision, int exponent_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1;
  int exponent = length_of(numerator) - length_of(denominator);
  shift(exponent > 0 ? denominator : numerator, exponent > 0 ? exponent : -exponent);
  if (compare(numerator, denominator) < 0) {
    shift(numerator, 1);
    exponent--;
  }
  /* The quotient is from 1 to less than 2. */
  exponent += scale;
  int bits = exponent < 1 - bias ? precision - (1 - bias - exponent) : precision;
  if (bits < 0) {
    return 0;
  }
  if (exponent > bias) {
    return (uint64_t)(2 * bias + 1) << (precision - 1);
  }
  uint64_t significand = 0;
  for (int i = 0; i < bits; i++) {
    significand <<= 1;
    if (compare(numerator, denominator) >= 0) {
      subtract(numerator, denominator);
      significand |= 1;
    }
    shift(numerator, 1);
  }
  int order = compare(numerator, denominator);
  significand += order > 0 || (order == 0 && (significand & 1));
  /* The significand's first bit adds one to the exponent, as does a carry. */
  return bits < precision ? significand : ((uint64_t)(exponent + bias - 1) << (precision - 1)) + significand;
}

static int digit_of(char character, int base) {
  int value = character >= '0' && character <= '9' ? character - '0' : base == 16 && (character | 32) >= 'a' && (character | 32) <= 'f' ? (character | 32) - 'a' + 10 : base;
  return value;
}

static const char *after(const char *text, const char *word) {
  for (; *word != 0; text++, word++) {
    if ((*text | 32) != *word) {
      return NULL;
    }
  }
  return text;
}

/* The exponent after e or p; leaves the text where it is if there is none. */
static int exponent_of(const char **text, char letter) {
  const char *rest = *text;
  if ((*rest | 32) != letter) {
    return 0;
  }
  rest++;
  int is_negative = *rest == '-', value = 0;
  rest += *rest == '-' || *rest == '+';
  if (digit_of(*rest, 10) > 9) {
    return 0;
  }
  for (; digit_of(*rest, 10) < 10; rest++) {
    value = value < 100000 ? value * 10 + digit_of(*rest, 10) : value;
  }
  *text = rest;
  return is_negative ? -value : value;
}

/* The bits of the number without its sign. NULL if the text begins with no number. */
static const char *parse(const char *text, int precision, int exponent_bits, uint64_t *bits) {
  uint64_t infinity = (((uint64_t)1 << exponent_bits) - 1) << (precision - 1);
  const char *rest;
  *bits = 0;
  if ((rest = after(text, "infinity")) != NULL || (rest = after(text, "inf")) != NULL) {
    *bits = infinity;
    return rest;
  }
  if ((rest = after(text, "nan")) != NULL) {
    *bits = infinity | (uint64_t)1 << (precision - 2);
    return rest;
  }
  int base = text[0] == '0' && (text[1] | 32) == 'x' ? 16 : 10;
  struct natural numerator = {0}, denominator = {.count = 1, .words = {1}};
  int digits = 0, exponent = 0, is_any = 0, has_point = 0, is_more = 0;
  for (rest = text + (base == 16 ? 2 : 0);; rest++) {
    if (*rest == '.' && !has_point) {
      has_point = 1;
      continue;
    }
    int digit = digit_of(*rest, base);
    if (digit >= base) {
      break;
    }
    is_any = 1;
    if (digits < MAX_DIGITS) {
      digits += digits > 0 || digit > 0;
      multiply(&numerator, (uint32_t)base, (uint32_t)digit);
      exponent -= has_point;
    } else {
      is_more |= digit;
      exponent += !has_point;
    }
  }
  if (!is_any) {
    return base == 16 ? text + 1 : NULL; /* 0 */
  }
  if (is_more) {
    multiply(&numerator, (uint32_t)base, 1);
    exponent--;
  }
  exponent = base == 16 ? exponent * 4 + exponent_of(&rest, 'p') : exponent + exponent_of(&rest, 'e');
  if (numerator.count == 0) {
    return rest;
  }
  if (base == 16) {
    *bits = rounded(&numerator, &denominator, exponent, precision, exponent_bits);
  } else if (exponent + digits > 400) {
    *bits = infinity;
  } else if (exponent + digits > -400) {
    for (; exponent > 0; exponent--) {
      multiply(&numerator, 10, 0);
    }
    for (; exponent < 0; exponent++) {
      multiply(&denominator, 10, 0);
    }
    *bits = rounded(&numerator, &denominator, 0, precision, exponent_bits);
  }
  return rest;
}

static const char *number(const char *text, int precision, int exponent_bits, uint64_t *bits) {
  int is_negative = *text == '-';
  const char *end = parse(text + (*text == '-' || *text == '+'), precision, exponent_bits, bits);
  *bits |= (uint64_t)is_negative << (precision + exponent_bits - 1);
  return end;
}

static int is_space(char character) {
  return character == ' ' || (character >= '\t' && character <= '\r');
}

double strtod(const char *text, char **end) {
  union { uint64_t bits; double value; } result;
  const char *start = text;
  while (is_space(*start)) {
    start++;
  }
  const char *rest = number(start, 53, 11, &result.bits);
  if (end != NULL) {
    *end = (char *)(rest != NULL ? rest : text);
  }
  return rest != NULL ? result.value : 0;
}

/* Swift's library: the end of the number, or NULL. */
const char *_swift_stdlib_strtod_clocale(const char *text, double *result) {
  return number(text, 53, 11, (uint64_t *)result);
}

const char *_swift_stdlib_strtof_clocale(const char *text, float *result) {
  uint64_t bits;
  const char *end = number(text, 24, 8, &bits);
  *result = ((union { uint32_t bits; float value; }){(uint32_t)bits}).value;
  return end;
}
