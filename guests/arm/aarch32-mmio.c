/* Loads and stores by A32 instructions of every kind, on memory of its own and on a device that the monitor's handler answers like
 * memory: registers and contents must be the same after both. */
#include "aarch32.h"

enum { DEVICE = 0x18000000, SIZE = 256 };
static uint8_t memory[SIZE] __attribute__((aligned(8)));

struct result {
  uint32_t first, second, moved;
};

/* first is r0, second r1, the base r2, an index r3. */
#define TRY(name, text)                                                                                                \
  static struct result name(uint32_t address) {                                                                        \
    register uint32_t first __asm__("r0") = 0x81828384, second __asm__("r1") = 0xf1f2f3f4;                             \
    register uint32_t base __asm__("r2") = address, index __asm__("r3") = 16;                                          \
    __asm__ volatile(text : "+r"(first), "+r"(second), "+r"(base) : "r"(index) : "r4", "memory");                      \
    return (struct result){first, second, base - address};                                                             \
  }
#define EACH(KIND)                                                                                                     \
  KIND(strb, "strb r0, [r2, #3]")                                                                                      \
  KIND(strh_post, "strh r1, [r2], #6")                                                                                 \
  KIND(str_pre, "str r0, [r2, #24]!")                                                                                  \
  KIND(str_index, "str r1, [r2, r3, lsl #2]")                                                                          \
  KIND(strd_pre, "strd r0, r1, [r2, #80]!")                                                                            \
  KIND(strt, "strt r1, [r2], #4")                                                                                      \
  KIND(ldrb, "ldrb r0, [r2, #3]")                                                                                      \
  KIND(ldrsb, "ldrsb r0, [r2, #3]")                                                                                    \
  KIND(ldrh, "ldrh r0, [r2, r3]")                                                                                      \
  KIND(ldrsh_post, "ldrsh r0, [r2], -r3")                                                                              \
  KIND(ldr_pre, "ldr r0, [r2, #24]!")                                                                                  \
  KIND(ldr_back, "add r4, r2, #64\n ldr r1, [r4, -r3, asr #1]")                                                        \
  KIND(ldrd_post, "ldrd r0, r1, [r2], #8")                                                                             \
  KIND(ldr_if, "cmp r3, #16\n ldreq r0, [r2, #40]\n ldrne r1, [r2, #44]")

EACH(TRY)
#define ROW(name, text) {#name, name},
static const struct {
  const char *name;
  struct result (*run)(uint32_t address);
} rows[] = {EACH(ROW)};

static void run(void) {
  volatile uint8_t *device = (volatile uint8_t *)DEVICE;
  for (int i = 0; i < SIZE; i++) {
    memory[i] = (uint8_t)(i * 37 + 129);
    device[i] = memory[i];
  }
  for (unsigned row = 0; row < sizeof rows / sizeof *rows; row++) {
    struct result own = rows[row].run((uint32_t)memory), answered = rows[row].run(DEVICE);
    int isSame = own.first == answered.first && own.second == answered.second && own.moved == answered.moved;
    for (int i = 0; i < SIZE; i++) {
      isSame &= device[i] == memory[i];
    }
    check(isSame, rows[row].name);
  }
  call(APPLET_CALL_EXIT, 0, 0);
}
