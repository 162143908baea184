/* Loads and stores by instructions of every kind, on memory of its own and on a device that the monitor's handler answers like
 * memory: registers and contents must be the same after both. */
#include "probe.h"

enum { DEVICE = 0x10000000, SIZE = 256 };
static uint8_t memory[SIZE] __attribute__((aligned(16)));

struct result {
  uint64_t first, second, moved;
};

#if defined(__aarch64__)
/* first is x0, second x1, the base x2, an index x3. */
#define TRY(name, text)                                                                                                \
  static struct result name(uint64_t address) {                                                                        \
    register uint64_t first __asm__("x0") = 0x8182838485868788, second __asm__("x1") = 0xf1f2f3f4f5f6f7f8;             \
    register uint64_t base __asm__("x2") = address, index __asm__("x3") = 0xfffffffffffffffc;                          \
    __asm__ volatile(text : "+r"(first), "+r"(second), "+r"(base) : "r"(index) : "x9", "memory");                      \
    return (struct result){first, second, base - address};                                                             \
  }
#define FROM_STACK(text) "mov x9, sp\n mov sp, x2\n" text "\n mov x2, sp\n mov sp, x9"
#define EACH(KIND)                                                                                                     \
  KIND(strb, "strb w0, [x2, #3]")                                                                                      \
  KIND(strh_post, "strh w1, [x2], #6")                                                                                 \
  KIND(str_pre, "str x0, [x2, #24]!")                                                                                  \
  KIND(stur_zero, "stur wzr, [x2, #9]")                                                                                \
  KIND(str_index, "add x2, x2, #64\n str w1, [x2, w3, sxtw #2]")                                                       \
  KIND(stp_pre, "stp x0, x1, [x2, #80]!")                                                                              \
  KIND(stp_words, "stp w1, wzr, [x2, #100]")                                                                           \
  KIND(stlr, "add x2, x2, #128\n stlr w0, [x2]")                                                                       \
  KIND(ldrb, "ldrb w0, [x2, #3]")                                                                                      \
  KIND(ldrsb, "ldrsb w0, [x2, #3]")                                                                                    \
  KIND(ldrsb_wide, "ldrsb x0, [x2, #3]")                                                                               \
  KIND(ldrsh_post, "ldrsh w0, [x2], #-2")                                                                              \
  KIND(ldrsw_pre, "ldrsw x0, [x2, #24]!")                                                                              \
  KIND(ldur, "ldur x1, [x2, #9]")                                                                                      \
  KIND(ldr_index, "add x2, x2, #128\n ldr x0, [x2, x3, lsl #3]")                                                       \
  KIND(ldr_unsigned, "mov w9, w3\n sub x9, x2, x9\n ldr w0, [x9, w3, uxtw]")                                           \
  KIND(ldp_pre, "ldp x0, x1, [x2, #80]!")                                                                              \
  KIND(ldp_stack, FROM_STACK("ldp w0, w1, [sp], #16"))                                                                 \
  KIND(ldpsw, "ldpsw x0, x1, [x2, #100]")                                                                              \
  KIND(ldnp, "ldnp x0, x1, [x2, #16]")                                                                                 \
  KIND(ldar, "add x2, x2, #128\n ldar w0, [x2]")                                                                       \
  KIND(ldr_zero, "ldr xzr, [x2], #8")
#elif defined(__riscv)
/* first is a0, second a1, the base a2. */
#define TRY(name, text)                                                                                                \
  static struct result name(uint64_t address) {                                                                        \
    register uint64_t first __asm__("a0") = 0x8182838485868788, second __asm__("a1") = 0xf1f2f3f4f5f6f7f8;             \
    register uint64_t base __asm__("a2") = address;                                                                    \
    __asm__ volatile(text : "+r"(first), "+r"(second), "+r"(base) : : "t0", "memory");                                 \
    return (struct result){first, second, base - address};                                                             \
  }
#define FROM_STACK(text) "mv t0, sp\n mv sp, a2\n" text "\n mv sp, t0"
#define EACH(KIND)                                                                                                     \
  KIND(sb, "sb a0, 3(a2)")                                                                                             \
  KIND(sh, "sh a1, 6(a2)")                                                                                             \
  KIND(sw_zero, "sw zero, 16(a2)")                                                                                     \
  KIND(sd, "addi a2, a2, 40\n sd a0, -16(a2)")                                                                         \
  KIND(c_sw, "c.sw a1, 68(a2)")                                                                                        \
  KIND(c_sd, "c.sd a0, 200(a2)")                                                                                       \
  KIND(c_swsp, FROM_STACK("c.swsp a0, 132(sp)"))                                                                       \
  KIND(c_sdsp, FROM_STACK("c.sdsp a1, 240(sp)"))                                                                       \
  KIND(amoswap, "addi a2, a2, 48\n amoswap.w zero, a1, (a2)")                                                          \
  KIND(lb, "lb a0, 3(a2)")                                                                                             \
  KIND(lbu, "lbu a0, 3(a2)")                                                                                           \
  KIND(lh, "lh a0, 6(a2)")                                                                                             \
  KIND(lhu, "lhu a0, 6(a2)")                                                                                           \
  KIND(lw, "lw a0, 68(a2)")                                                                                            \
  KIND(lwu, "lwu a0, 68(a2)")                                                                                          \
  KIND(ld, "addi a2, a2, 40\n ld a1, -16(a2)")                                                                         \
  KIND(c_lw, "c.lw a1, 68(a2)")                                                                                        \
  KIND(c_ld, "c.ld a0, 200(a2)")                                                                                       \
  KIND(c_lwsp, FROM_STACK("c.lwsp a0, 132(sp)"))                                                                       \
  KIND(c_ldsp, FROM_STACK("c.ldsp a1, 240(sp)"))                                                                       \
  KIND(lr_w, "addi a2, a2, 48\n lr.w.aqrl a0, (a2)")                                                                   \
  KIND(lr_d, "addi a2, a2, 200\n lr.d a1, (a2)")                                                                       \
  KIND(ld_zero, "ld zero, 0(a2)")
#endif

EACH(TRY)
#define ROW(name, text) {#name, name},
static const struct {
  const char *name;
  struct result (*run)(uint64_t address);
} rows[] = {EACH(ROW)};

int main(void) {
  volatile uint8_t *device = (volatile uint8_t *)DEVICE;
  for (int i = 0; i < SIZE; i++) {
    memory[i] = (uint8_t)(i * 37 + 129);
    device[i] = memory[i];
  }
  for (unsigned row = 0; row < sizeof rows / sizeof *rows; row++) {
    struct result own = rows[row].run((uint64_t)memory), answered = rows[row].run(DEVICE);
    if (own.first != answered.first || own.second != answered.second || own.moved != answered.moved) {
      panic("%s: %lx %lx %lx, on the device %lx %lx %lx", rows[row].name, own.first, own.second, own.moved,
            answered.first, answered.second, answered.moved);
    }
    for (int i = 0; i < SIZE; i++) {
      if (device[i] != memory[i]) {
        panic("%s: byte %ld is %ld, on the device %ld", rows[row].name, (int64_t)i, (int64_t)memory[i], (int64_t)device[i]);
      }
    }
  }
  print("mmio: %lu instructions\n", sizeof rows / sizeof *rows);
  return 0;
}
