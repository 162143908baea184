#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"
#include "linux_sandbox.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

// Numbers and structures that old headers lack; the same for all architectures.
enum { CLOSE_RANGE = 436, LANDLOCK_CREATE_RULESET = 444, LANDLOCK_RESTRICT_SELF = 446 };
// All accesses that the first version of Landlock handles (Linux 5.13).
static const uint64_t landlock_accesses = 0x1fff;

long linux_dup_to(int from, int to) { return linux_result(dup2(from, to)); }

long linux_close_range(int first) {
  long result = linux_result(syscall(CLOSE_RANGE, first, ~0u, 0));
  if (result != -ENOSYS) return result;
  for (int fd = first; fd < 1024; fd++) close(fd);
  return 0;
}

bool linux_is_root(void) { return getauxval(AT_EUID) == 0; }

long linux_drop_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {0};
  return linux_result(syscall(SYS_capset, &header, none));
}

long linux_setresuid(unsigned user, unsigned group) {
  // That value would mean "unchanged".
  if (user == (unsigned)-1 || group == (unsigned)-1) return -EINVAL;
  if (setgroups(0, NULL) < 0 || setresgid(group, group, group) < 0) return -(long)errno;
  return linux_result(setresuid(user, user, user));
}

long linux_clear_dumpable(void) { return linux_result(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)); }

long linux_set_no_new_privs(void) { return linux_result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

bool linux_has_landlock(void) {
  enum { VERSION = 1 };  // LANDLOCK_CREATE_RULESET_VERSION
  return syscall(LANDLOCK_CREATE_RULESET, NULL, 0, VERSION) > 0;
}

long linux_landlock(void) {
  long rules = linux_result(syscall(LANDLOCK_CREATE_RULESET, &landlock_accesses, sizeof landlock_accesses, 0));
  if (rules < 0) return rules;
  long result = linux_result(syscall(LANDLOCK_RESTRICT_SELF, (int)rules, 0));
  close((int)rules);
  return result;
}

long linux_seccomp(const struct linux_filter *filter) {
  struct sock_fprog program = filter->program;
  struct sock_filter copy[256];
  if (filter->own) {
    if (program.len > sizeof copy / sizeof copy[0]) return -E2BIG;
    memcpy(copy, program.filter, program.len * sizeof copy[0]);
    copy[filter->own].k = (uint32_t)getpid();
    program.filter = copy;
  }
  return linux_result(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

static void limit(int resource, rlim_t most) {
  struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
  // It only fails for a higher value than the current one.
  setrlimit(resource, &limit);
}

void linux_limit_descriptors(unsigned most) { limit(RLIMIT_NOFILE, most); }

void linux_limit_process(unsigned descriptors, bool threads) {
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_MEMLOCK, 0);
  linux_limit_descriptors(descriptors);
  if (!threads) limit(RLIMIT_NPROC, 0);
}
