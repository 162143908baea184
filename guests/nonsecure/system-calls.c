/* Makes an applet's calls from system mode, and checks that registers are preserved. */
#include "applet.h"

/* Makes a call with a distinct value in each register that must be preserved; returns the result. */
static int64_t call_and_check(uint64_t number) {
  int64_t result;
  uint64_t changed;
#if defined(__aarch64__)
  __asm__ volatile(
      "mov x0, %2\n mov x1, #101\n mov x2, #102\n mov x3, #103\n mov x4, #104\n mov x9, #109\n mov x17, #117\n"
      "mov x18, #118\n mov x28, #128\n"
      ".inst 0xd4000002\n"
      "mov %0, x0\n"
      "sub x1, x1, #101\n sub x2, x2, #102\n sub x3, x3, #103\n sub x4, x4, #104\n sub x9, x9, #109\n"
      "sub x17, x17, #117\n sub x18, x18, #118\n sub x28, x28, #128\n"
      "orr x1, x1, x2\n orr x1, x1, x3\n orr x1, x1, x4\n orr x1, x1, x9\n orr x1, x1, x17\n orr x1, x1, x18\n"
      "orr %1, x1, x28\n"
      : "=&r"(result), "=&r"(changed)
      : "r"(number)
      : "x0", "x1", "x2", "x3", "x4", "x9", "x17", "x18", "x28", "memory");
#elif defined(__riscv)
  __asm__ volatile(
      "mv a6, %2\n lui a7, 0x8000\n li a2, 102\n li a3, 103\n li a4, 104\n li t0, 105\n li t6, 131\n li s11, 127\n"
      "ecall\n"
      "mv %0, a1\n"
      "add %1, a0, zero\n"
      "addi a2, a2, -102\n addi a3, a3, -103\n addi a4, a4, -104\n addi t0, t0, -105\n addi t6, t6, -131\n"
      "addi s11, s11, -127\n"
      "or %1, %1, a2\n or %1, %1, a3\n or %1, %1, a4\n or %1, %1, t0\n or %1, %1, t6\n or %1, %1, s11\n"
      : "=&r"(result), "=&r"(changed)
      : "r"(number)
      : "a0", "a1", "a2", "a3", "a4", "a6", "a7", "t0", "t6", "s11", "memory");
#endif
  if (changed != 0) {
    panic("call 0x%lx changed registers: 0x%lx", number, changed);
  }
  return result;
}

/* The same calls by block. */
static void check_block(void) {
  static struct applet_block block[2] __attribute__((aligned(32)));
  if (applet_call(APPLET_CALL_BY_BLOCK, 0, 0, 0) != NOT_SUPPORTED) {
    panic("there is a block that was not named");
  }
  static const uint64_t bad[] = {0x40000000, 16, -32ull, (uint64_t)1 << 40};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (applet_call(APPLET_CALL_BLOCK, bad[i], 0, 0) != -22) {
      panic("a block at 0x%lx is taken", bad[i]);
    }
  }
  if (applet_call(APPLET_CALL_BLOCK, (uint64_t)block + 8, 0, 0) != -22 ||
      applet_call(APPLET_CALL_BLOCK, (uint64_t)block, 0, 0) != 0) {
    panic("block refused");
  }
  static const char text[] = "system-calls: written by block\n";
  volatile struct applet_block *call = block;
  call->number = APPLET_CALL_WRITE;
  call->arguments[0] = (uint64_t)text;
  call->arguments[1] = sizeof text - 1;
  applet_call(APPLET_CALL_BY_BLOCK, 0, 0, 0);
  if (call->number != sizeof text - 1 || call->arguments[0] != (uint64_t)text) {
    panic("the block says %lu", call->number);
  }
  call->number = 0x777;
  applet_call(APPLET_CALL_BY_BLOCK, 0, 0, 0);
  if (call->number != (uint64_t)NOT_SUPPORTED) {
    panic("an unknown call says %lu", call->number);
  }
}

int main(void) {
  for (const char *c = "system-calls: abc\n"; *c != 0; c++) {
    applet_put_character(*c);
  }
  int64_t before = call_and_check(APPLET_CALL_MONOTONIC);
  if (applet_sleep(10000000) != 0 || applet_monotonic() - before < 10000000) {
    panic("10 ms of sleep were shorter");
  }
  unsigned char random[64] = {0};
  applet_getrandom(random, sizeof random);
  unsigned values = 0;
  for (size_t i = 0; i < sizeof random; i++) {
    values += random[i] != 0;
  }
  if (values < 32) {
    panic("random bytes are zero");
  }
  if (call_and_check(APPLET_CALL_YIELD) != 0) {
    panic("yield failed");
  }
  struct applet_region region;
  uint64_t index = 0;
  while (applet_region(index, &region) == 0) {
    index++;
  }
  print("system-calls: %lu regions\n", index);
  char name[64];
  int64_t size = applet_arguments(name, sizeof name);
  print("system-calls: %ld bytes of arguments, %s\n", size, name);
  uint64_t frequency = (uint64_t)applet_call(APPLET_CALL_COUNTER, 0, 0, 0);
  print("system-calls: counter %s\n", frequency > 1000000 ? "runs" : "stands");
  check_block();
  char line[80];
  int64_t length = applet_read(line, sizeof line - 1);
  print("system-calls: read %ld bytes\n", length);
  return 0;
}
