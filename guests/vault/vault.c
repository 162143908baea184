/* A secure applet next to an untrusted system. It replies to each line of its input with the number of the line and a code
 * that only the holder of a key can compute (SipHash-2-4 by Aumasson and Bernstein). The key is random and never leaves the
 * applet. */
#include "applet.h"

static uint64_t key[2];

static uint64_t rotated(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

static void rounds(uint64_t v[4], int count) {
  while (count-- > 0) {
    v[0] += v[1], v[2] += v[3];
    v[1] = rotated(v[1], 13) ^ v[0], v[3] = rotated(v[3], 16) ^ v[2];
    v[0] = rotated(v[0], 32);
    v[2] += v[1], v[0] += v[3];
    v[1] = rotated(v[1], 17) ^ v[2], v[3] = rotated(v[3], 21) ^ v[0];
    v[2] = rotated(v[2], 32);
  }
}

static uint64_t code_of(const char *bytes, size_t length) {
  uint64_t v[4] = {
    key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
  for (size_t start = 0; start <= length; start += 8) {
    uint64_t word = 0;
    size_t count = length - start < 8 ? length - start : 8;
    memcpy(&word, bytes + start, count);
    if (count < 8) {
      word |= (uint64_t)length << 56;
    }
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  rounds(v, 4);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int main(void) {
  char line[512];
  size_t length = 0;
  uint64_t number = 0;
  arc4random_buf(key, sizeof key);
  for (;;) {
    int64_t count = applet_read(line + length, sizeof line - length);
    if (count <= 0) {
      return count == 0 ? 0 : 1;
    }
    length += (size_t)count;
      /* A read may return parts of lines, or several. */
    size_t start = 0;
    for (size_t end = 0; end < length; end++) {
      if (line[end] == '\n') {
        number += 1;
        print("line %lu: %016lx\n", number, code_of(line + start, end - start));
        start = end + 1;
      }
    }
    memmove(line, line + start, length - start);
    length -= start;
    if (length == sizeof line) {
      print("too long\n");
      length = 0;
    }
  }
}
