/* A conversion of text_list, between text.c and float.c. */
#ifndef FORMAT_H
#define FORMAT_H

#include "applet.h"

#define FORMAT_LEFT 1      /* - */
#define FORMAT_SIGN 2      /* + */
#define FORMAT_SPACE 4     /* a space */
#define FORMAT_ALTERNATE 8 /* # */
#define FORMAT_ZERO 16     /* 0 */

struct format {
  unsigned flags;
  unsigned width;
  int precision; /* -1 if there is none */
  char conversion;
};

/* Writes the padding that comes before the text of a conversion, which is the prefix (a sign, 0x) and so many characters more,
 * and the prefix. Returns the width of the padding that comes after it. */
unsigned __applet_format_begin(struct text *text, const struct format *format, const char *prefix, size_t length);
void __applet_format_fill(struct text *text, char character, size_t count);

/* float.c: a number in the formats binary64 and binary128 of IEEE 754. */
void __applet_format_double(struct text *text, const struct format *format, uint64_t bits);
void __applet_format_long_double(struct text *text, const struct format *format, uint64_t high, uint64_t low);

#endif
