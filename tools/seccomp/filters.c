// Generates seccomp filters from the list in tools/seccomp/calls, with libseccomp: see tools/seccomp-filters.
//   filters c < calls     the C source of the filters of both architectures
//   filters table < calls the documentation's table
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The first FIRST instructions are those of print_first. OWN_PROCESS stands for the process's own ID until the filter
// is installed; no process has this number.
enum { MOST_LINES = 200, MOST_INSTRUCTIONS = 1024, FIRST = 7, OWN_PROCESS = 0x7fffffff };

struct line {
  char *call, *where, *condition, *reason;
  int places;
};

static struct line lines[MOST_LINES];
static int count;

// In which processes a call is allowed.
enum { ALWAYS = 1, SEVERAL = 2, WORKER = 4, LINUX = 8, SERVICES = 16, PLACES = 5 };
static const char *const places[] = {"always", "several", "worker", "linux", "services"};

// The kinds of processes with a filter, in the order of linux_filter_kind in linux_sandbox.h.
static const struct {
  const char *name;
  int where;
} kinds[] = {
    {"one", ALWAYS},
    {"several", ALWAYS | SEVERAL},
    {"worker", ALWAYS | WORKER},
    {"worker_several", ALWAYS | WORKER | SEVERAL},
    {"linux", ALWAYS | LINUX},
    {"linux_services", ALWAYS | LINUX | SERVICES},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], HOSTS = 2 };

static const struct host {
  const char *name;
  uint32_t architecture;
} hosts[HOSTS] = {{"arm64", SCMP_ARCH_AARCH64}, {"riscv64", SCMP_ARCH_RISCV64}};

static void fail(const char *what, const char *which) {
  fprintf(stderr, "filters: %s: %s\n", what, which);
  exit(1);
}

static char *trimmed(char *text) {
  if (!text) fail("a column is missing", lines[count].call ? lines[count].call : "");
  while (isspace((unsigned char)*text)) text++;
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
  return text;
}

static int place(const char *word) {
  for (int index = 0; index < PLACES; index++)
    if (strcmp(word, places[index]) == 0) return 1 << index;
  fail("no such place", word);
  return 0;
}

static void read_lines(void) {
  static char text[MOST_LINES][400];
  while (count < MOST_LINES && fgets(text[count], sizeof text[0], stdin)) {
    char *line = text[count];
    if (line[0] == '#' || line[0] == '\n') continue;
    lines[count].call = trimmed(strtok(line, "|"));
    lines[count].where = trimmed(strtok(NULL, "|"));
    lines[count].condition = trimmed(strtok(NULL, "|"));
    lines[count].reason = trimmed(strtok(NULL, "|"));
    char words[100];
    snprintf(words, sizeof words, "%s", lines[count].where);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) lines[count].places |= place(word);
    count++;
  }
}

static int error_number(const char *name) {
  if (strcmp(name, "EACCES") == 0) return EACCES;
  if (strcmp(name, "ENOSYS") == 0) return ENOSYS;
  if (strcmp(name, "EPERM") == 0) return EPERM;
  fail("unknown error", name);
  return 0;
}

static void add(scmp_filter_ctx filter, const struct line *line, int priority) {
  int number = seccomp_syscall_resolve_name(line->call);
  if (number == __NR_SCMP_ERROR) fail("no such system call", line->call);
  if (priority < 0 || seccomp_syscall_priority(filter, number, priority) < 0) fail("no such priority", line->call);
  unsigned argument;
  unsigned long long mask, value;
  char name[32];
  int result, end = 0;
  if (strcmp(line->condition, "-") == 0) {
    result = seccomp_rule_add_exact(filter, SCMP_ACT_ALLOW, number, 0);
  } else if (sscanf(line->condition, "refuse %31s", name) == 1) {
    result = seccomp_rule_add_exact(filter, SCMP_ACT_ERRNO(error_number(name)), number, 0);
  } else if (sscanf(line->condition, "%u == own%n", &argument, &end) == 1 && end > 0) {
    result = seccomp_rule_add_exact(filter, SCMP_ACT_ALLOW, number, 1, SCMP_CMP64(argument, SCMP_CMP_EQ, OWN_PROCESS));
  } else if (sscanf(line->condition, "%u & %llx == %llx", &argument, &mask, &value) == 3) {
    result = seccomp_rule_add_exact(filter, SCMP_ACT_ALLOW, number, 1, SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value));
  } else if (sscanf(line->condition, "%u == %llx", &argument, &value) == 2) {
    result = seccomp_rule_add_exact(filter, SCMP_ACT_ALLOW, number, 1, SCMP_CMP64(argument, SCMP_CMP_EQ, value));
  } else {
    fail("a condition that cannot be read", line->condition);
    return;
  }
  if (result < 0) fail("libseccomp refuses", line->call);
}

static void print_instruction(struct sock_filter instruction) {
  printf("  {0x%02x, %u, %u, 0x%x},\n", instruction.code, instruction.jt, instruction.jf, instruction.k);
}

// Handles the first line of the list, the only call of the run path, before all others with seven instructions. Each
// instruction costs a call of the applet seven to ten more if the kernel interprets them (riscv64). The kernel uses
// only the low half of an ioctl's request, and so does this.
//
// If a filter begins by loading an argument, the kernel skips a part of the installation: otherwise it tries each
// system call, to find those that are allowed with any arguments (seccomp_is_const_allow in kernel/seccomp.c), which
// takes 20,000 instructions for each comparison.
static void print_first(const struct line *line, uint32_t architecture) {
  unsigned request;
  if (strcmp(line->call, "ioctl") != 0 || sscanf(line->condition, "1 == %x", &request) != 1)
    fail("the list must begin with an ioctl", line->call);
  uint32_t number = seccomp_syscall_resolve_name_arch(architecture, line->call);
  const struct sock_filter program[FIRST] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  for (int index = 0; index < FIRST; index++) print_instruction(program[index]);
}

// Returns the index of the instruction that compares with the process's own ID; 0 for none.
static size_t print_filter(const struct host *host, int kind) {
  char name[64];
  snprintf(name, sizeof name, "%s_%s", host->name, kinds[kind].name);
  uint32_t architecture = host->architecture;
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  if (!filter) fail("libseccomp", "no filter");
  // Replaces the host's architecture by the target's: no code of the target is executed.
  if (seccomp_arch_native() != architecture &&
      (seccomp_arch_add(filter, architecture) < 0 || seccomp_arch_remove(filter, seccomp_arch_native()) < 0))
    fail("libseccomp does not know", name);
  seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // One comparison after the other, by priority; print_first has done the first line.
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 1);
  for (int index = 1; index < count; index++)
    // A call that only one architecture has has no number on the other.
    if (lines[index].places & kinds[kind].where && seccomp_syscall_resolve_name_arch(architecture, lines[index].call) >= 0)
      add(filter, &lines[index], 255 - index);

  FILE *file = tmpfile();
  if (!file || seccomp_export_bpf(filter, fileno(file)) < 0) fail("export", name);
  seccomp_release(filter);
  struct sock_filter program[MOST_INSTRUCTIONS];
  lseek(fileno(file), 0, SEEK_SET);
  ssize_t size = read(fileno(file), program, sizeof program);
  fclose(file);
  if (size <= 0 || size == sizeof program) fail("export", name);
  printf("\nstatic const struct sock_filter %s[] = {\n", name);
  print_first(&lines[0], architecture);
  size_t own = 0;
  for (size_t index = 0; index < size / sizeof program[0]; index++) {
    print_instruction(program[index]);
    if (program[index].k != OWN_PROCESS) continue;
    if (own) fail("more than one comparison with the process's own id", name);
    own = FIRST + index;
  }
  printf("};\n");
  return own;
}

int main(int words, char **word) {
  read_lines();
  if (words == 2 && strcmp(word[1], "table") == 0) {
    printf("| call | where | condition | purpose |\n| --- | --- | --- | --- |\n");
    for (int index = 0; index < count; index++)
      printf("| `%s` | %s | %s | %s |\n", lines[index].call,
             lines[index].where,
             strcmp(lines[index].condition, "-") == 0 ? "" : lines[index].condition, lines[index].reason);
    return 0;
  }
  if (words != 2 || strcmp(word[1], "c") != 0) fail("usage", "filters c|table < calls");
  const struct scmp_version *version = seccomp_version();
  printf("// Made by tools/seccomp-filters from tools/seccomp/calls, with libseccomp %u.%u.%u: not to be edited.\n",
         version->major, version->minor, version->micro);
  printf("#include \"linux_sandbox.h\"\n");
  size_t own[HOSTS][KINDS];
  for (int host = 0; host < HOSTS; host++)
    for (int kind = 0; kind < KINDS; kind++) own[host][kind] = print_filter(&hosts[host], kind);
  printf("\n#define PROGRAM(name, own) {{sizeof name / sizeof name[0], (struct sock_filter *)name}, own}\n\n"
         "struct linux_filter linux_filter(uint32_t architecture, enum linux_filter_kind kind) {\n");
  for (int host = 0; host < HOSTS; host++) {
    printf("  static const struct linux_filter %s[] = {\n", hosts[host].name);
    for (int kind = 0; kind < KINDS; kind++)
      printf("      PROGRAM(%s_%s, %zu),\n", hosts[host].name, kinds[kind].name, own[host][kind]);
    printf("  };\n");
  }
  printf("  switch (architecture) {\n");
  for (int host = 0; host < HOSTS; host++)
    printf("  case 0x%xu: return %s[kind];\n", hosts[host].architecture, hosts[host].name);
  printf("  default: return (struct linux_filter){{0, 0}, 0};\n  }\n}\n");
  return 0;
}
