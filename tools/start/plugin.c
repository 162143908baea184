// A plugin for QEMU's emulated CPUs (docs/devel/tcg-plugins in QEMU's sources; Debian has no package with its header): writes
// the address of every block of code between LOW and HIGH to FILE when it is run for the first time since the one at START.
//   -plugin file=plugin.so,out=FILE,low=LOW,high=HIGH,start=START
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
typedef void (*translated)(uint64_t id, struct qemu_plugin_tb *block);
typedef void (*executed)(unsigned processor, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated call);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed call, int flags, void *data);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static FILE *out;
static uint64_t low, high, start;
static int on;
static unsigned char *seen;

static void on_execution(unsigned processor, void *data) {
  (void)processor;
  uint64_t address = (uintptr_t)data;
  on |= address == start;
  if (!on || seen[address - low]) return;
  seen[address - low] = 1;
  fprintf(out, "%016lx\n", (unsigned long)address);
  fflush(out);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *block) {
  (void)id;
  uint64_t address = qemu_plugin_tb_vaddr(block);
  if (address >= low && address < high)
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_execution, 0, (void *)(uintptr_t)address);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int count, char **words) {
  (void)info;
  for (int i = 0; i < count; i++) {
    if (strncmp(words[i], "out=", 4) == 0) out = fopen(words[i] + 4, "w");
    if (strncmp(words[i], "low=", 4) == 0) low = strtoull(words[i] + 4, NULL, 0);
    if (strncmp(words[i], "high=", 5) == 0) high = strtoull(words[i] + 5, NULL, 0);
    if (strncmp(words[i], "start=", 6) == 0) start = strtoull(words[i] + 6, NULL, 0);
  }
  if (!out || high <= low) return 1;
  seen = calloc(1, high - low);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
