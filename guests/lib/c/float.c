/* Floating-point conversions, exact and rounded to nearest, ties to even. */
#include "format.h"

#define BILLION 1000000000u /* a word of a large number has nine digits */
#define MOST_PRECISION 0xfffff

/* A mantissa (high, low) times 2^exponent. */
struct number {
  int is_negative;
  enum { NUMBER_FINITE, NUMBER_INFINITE, NUMBER_NAN } kind;
  uint64_t high;
  uint64_t low;
  int exponent;
};

/* The digits of a number: 0.DIGITS times 10^point. Before the first one there is a byte for a carry. */
struct digits {
  char *first;
  int count;
  int point;
};

/* words = words * factor + addend, the least significant word first; returns the new count of words. */
static int multiply(uint32_t *words, int count, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (int i = 0; i < count; i++) {
    uint64_t value = (uint64_t)words[i] * factor + carry;
    words[i] = (uint32_t)(value % BILLION);
    carry = value / BILLION;
  }
  for (; carry != 0; carry /= BILLION) {
    words[count++] = (uint32_t)(carry % BILLION);
  }
  return count;
}

/* A mantissa that ends in a one needs the fewest words. */
static void remove_zeros(struct number *number) {
  while ((number->low & 1) == 0) {
    number->low = number->low >> 1 | number->high << 63;
    number->high >>= 1;
    number->exponent++;
  }
}

/* At most so many words that multiply() makes for a number: a mantissa of 113 bits, and 29 bits or 9 digits a word. */
static int words_for(int exponent) {
  return 7 + (exponent >= 0 ? exponent / 29 : -exponent * 7 / 90);
}

/* All digits: of mantissa * 2^exponent, or of mantissa * 5^-exponent, which has its point -exponent digits further left. */
static int large_number(uint32_t *words, struct number number) {
  int count = 0;
  for (int shift = 32; shift >= 0; shift -= 32) {
    count = multiply(words, count, 0x80000000u, 0);
    count = multiply(words, count, 2, (uint32_t)(number.high >> shift));
  }
  for (int shift = 32; shift >= 0; shift -= 32) {
    count = multiply(words, count, 0x80000000u, 0);
    count = multiply(words, count, 2, (uint32_t)(number.low >> shift));
  }
  for (int left = number.exponent; left > 0; left -= 31) {
    count = multiply(words, count, (uint32_t)1 << (left < 31 ? left : 31), 0);
  }
  for (int left = -number.exponent; left > 0; left--) {
    uint32_t factor = 5;
    for (int i = 1; i < 13 && left > 1; i++, left--) {
      factor *= 5;
    }
    count = multiply(words, count, factor, 0);
  }
  return count;
}

static struct digits digits_of(char *bytes, const uint32_t *words, int count, int exponent) {
  int length = 0, start = 1;
  for (int i = count - 1; i >= 0; i--) {
    uint32_t word = words[i];
    for (int j = 9; j > 0; j--, word /= 10) {
      bytes[length + j] = (char)('0' + word % 10);
    }
    length += 9;
  }
  while (start <= length && bytes[start] == '0') {
    start++;
  }
  int rest = length + 1 - start;
  return (struct digits){bytes + start, rest, rest + (exponent < 0 ? exponent : 0)};
}

/* Rounds to so many digits; with none left the number is zero. */
static void round_digits(struct digits *digits, int keep) {
  if (keep >= digits->count) {
    return;
  }
  if (keep < 0) {
    digits->count = 0;
    return;
  }
  int up = digits->first[keep] > '5';
  if (digits->first[keep] == '5') {
    int i = keep + 1;
    while (i < digits->count && digits->first[i] == '0') {
      i++;
    }
    up = i < digits->count || (keep > 0 && (digits->first[keep - 1] & 1));
  }
  digits->count = keep;
  if (!up) {
    return;
  }
  int i = keep - 1;
  while (i >= 0 && digits->first[i] == '9') {
    digits->first[i--] = '0';
  }
  if (i >= 0) {
    digits->first[i]++;
  } else {
    *--digits->first = '1';
    digits->point++;
    digits->count += keep == 0;
  }
}

static void put_digits(struct text *text, const struct digits *digits, int from, int count) {
  for (int i = from; i < from + count; i++) {
    text_character(text, i >= 0 && i < digits->count ? digits->first[i] : '0');
  }
}

/* The exponent with its sign and at least so many digits; returns its length. */
static int exponent_text(char *to, char letter, int exponent, int least) {
  char digits[6];
  int count = 0, length = 0;
  to[length++] = letter;
  to[length++] = exponent < 0 ? '-' : '+';
  for (unsigned rest = exponent < 0 ? -(unsigned)exponent : (unsigned)exponent; rest != 0 || count < least; rest /= 10) {
    digits[count++] = (char)('0' + rest % 10);
  }
  while (count > 0) {
    to[length++] = digits[--count];
  }
  to[length] = 0;
  return length;
}

static void format_decimal(
  struct text *text, const struct format *format, const char *sign, struct digits digits, char kind, int precision
) {
  int is_upper = (format->conversion & 32) == 0;
  char exponent[8] = "";
  int is_alternate = (format->flags & FORMAT_ALTERNATE) != 0;
  if (kind == 'g') {
    precision = precision == 0 ? 1 : precision;
    round_digits(&digits, precision);
    int scale = digits.count > 0 ? digits.point - 1 : 0;
    kind = scale < -4 || scale >= precision ? 'e' : 'f';
    if (!is_alternate) { /* no zeros at the end */
      while (digits.count > 0 && digits.first[digits.count - 1] == '0') {
        digits.count--;
      }
      precision = digits.count > 0 ? digits.count : 1;
    }
    precision = kind == 'e' ? precision - 1 : precision - 1 - scale;
    precision = precision < 0 ? 0 : precision;
  } else {
    round_digits(&digits, kind == 'e' ? 1 + precision : digits.point + precision);
  }
  int whole = kind == 'e' || digits.point < 1 ? 1 : digits.point, after = 0;
  int from = kind == 'e' || digits.point > 0 ? 0 : digits.point - 1;
  if (digits.count == 0) {
    from = 0;
    whole = 1;
  }
  if (kind == 'e') {
    after = exponent_text(exponent, is_upper ? 'E' : 'e', digits.count > 0 ? digits.point - 1 : 0, 2);
  }
  int has_point = precision > 0 || is_alternate;
  unsigned fill = __applet_format_begin(text, format, sign, (size_t)whole + (size_t)has_point + (size_t)precision + (size_t)after);
  put_digits(text, &digits, from, whole);
  if (has_point) {
    text_character(text, '.');
  }
  put_digits(text, &digits, from + whole, precision);
  for (const char *rest = exponent; *rest != 0; rest++) {
    text_character(text, *rest);
  }
  __applet_format_fill(text, ' ', fill);
}

/* The mantissa with one bit before the point, in hexadecimal. */
static void format_hexadecimal(struct text *text, const struct format *format, int is_negative, struct number number) {
  const char *symbols = format->conversion == 'a' ? "0123456789abcdef" : "0123456789ABCDEF";
  char prefix[4] = "", exponent[8], nibbles[29];
  int length = 0, digits = 28;
  if (is_negative || format->flags & (FORMAT_SIGN | FORMAT_SPACE)) {
    prefix[length++] = is_negative ? '-' : format->flags & FORMAT_SIGN ? '+' : ' ';
  }
  prefix[length++] = '0';
  prefix[length] = format->conversion == 'a' ? 'x' : 'X';
  int is_zero = (number.low | number.high) == 0;
  for (; !is_zero && number.high >> 48 == 0; number.exponent--) { /* bit 112 is the first */
    number.high = number.high << 1 | number.low >> 63;
    number.low <<= 1;
  }
  for (int i = 0; i < 29; i++) {
    nibbles[i] = (char)((i < 13 ? number.high >> (48 - 4 * i) : number.low >> (112 - 4 * i)) & 15);
  }
  if (format->precision < 0) {
    while (digits > 0 && nibbles[digits] == 0) {
      digits--;
    }
  } else if (format->precision < 28) {
    digits = format->precision;
    int i = digits + 2;
    while (i < 29 && nibbles[i] == 0) {
      i++;
    }
    int up = nibbles[digits + 1] > 8 || (nibbles[digits + 1] == 8 && (i < 29 || nibbles[digits] & 1));
    for (i = digits; up && i >= 0; i--) {
      up = i > 0 && nibbles[i] == 15;
      nibbles[i] = up ? 0 : (char)(nibbles[i] + 1);
    }
  }
  int zeros = format->precision > digits ? format->precision - digits : 0;
  int after = exponent_text(exponent, format->conversion == 'a' ? 'p' : 'P', is_zero ? 0 : number.exponent + 112, 1);
  int has_point = digits + zeros > 0 || format->flags & FORMAT_ALTERNATE;
  unsigned fill = __applet_format_begin(text, format, prefix, 1 + (size_t)has_point + (size_t)digits + (size_t)zeros + (size_t)after);
  text_character(text, symbols[(int)nibbles[0]]);
  if (has_point) {
    text_character(text, '.');
  }
  for (int i = 1; i <= digits; i++) {
    text_character(text, symbols[(int)nibbles[i]]);
  }
  __applet_format_fill(text, '0', (size_t)zeros);
  for (const char *rest = exponent; *rest != 0; rest++) {
    text_character(text, *rest);
  }
  __applet_format_fill(text, ' ', fill);
}

static void format_number(struct text *text, const struct format *format, struct number number) {
  int is_upper = (format->conversion & 32) == 0;
  const char *sign = number.is_negative ? "-" : format->flags & FORMAT_SIGN ? "+" : format->flags & FORMAT_SPACE ? " " : "";
  if (number.kind != NUMBER_FINITE) {
    struct format plain = *format;
    plain.flags &= ~(unsigned)FORMAT_ZERO;
    const char *name = number.kind == NUMBER_NAN ? is_upper ? "NAN" : "nan" : is_upper ? "INF" : "inf";
    unsigned fill = __applet_format_begin(text, &plain, sign, 3);
    for (; *name != 0; name++) {
      text_character(text, *name);
    }
    __applet_format_fill(text, ' ', fill);
    return;
  }
  char kind = (char)(format->conversion | 32);
  if (kind == 'a') {
    format_hexadecimal(text, format, number.is_negative, number);
    return;
  }
  int is_zero = (number.low | number.high) == 0;
  if (is_zero) {
    number.exponent = 0;
  } else {
    remove_zeros(&number);
  }
  /* As much of the stack as this number needs: 50 bytes for most, 20 KiB for the smallest long double. */
  int most = words_for(number.exponent);
  uint32_t words[most];
  char bytes[most * 9 + 1];
  int count = large_number(words, number);
  int precision = format->precision < 0 ? 6 : format->precision < MOST_PRECISION ? format->precision : MOST_PRECISION;
  format_decimal(text, format, sign, digits_of(bytes, words, count, number.exponent), kind, precision);
}

/* From sign and exponent, of so many bits, and a mantissa of so many bits after the point. */
static struct number number_of(uint64_t top, int exponent_bits, uint64_t high, uint64_t low, int mantissa_bits) {
  int largest = (1 << exponent_bits) - 1;
  int exponent = (int)top & largest;
  struct number number = {(int)(top >> exponent_bits), NUMBER_FINITE, high, low, 0};
  if (exponent == largest) {
    number.kind = (low | high) != 0 ? NUMBER_NAN : NUMBER_INFINITE;
  } else if (exponent == 0) {
    exponent = 1;
  } else if (mantissa_bits < 64) {
    number.low |= (uint64_t)1 << mantissa_bits;
  } else {
    number.high |= (uint64_t)1 << (mantissa_bits - 64);
  }
  number.exponent = exponent - largest / 2 - mantissa_bits;
  return number;
}

void __applet_format_double(struct text *text, const struct format *format, uint64_t bits) {
  format_number(text, format, number_of(bits >> 52, 11, 0, bits & 0xfffffffffffff, 52));
}

void __applet_format_long_double(struct text *text, const struct format *format, uint64_t high, uint64_t low) {
  format_number(text, format, number_of(high >> 48, 15, high & 0xffffffffffff, low, 112));
}
