// What a process gives up before it runs a guest: see docs/sandbox.md. Functions return 0 or -errno.
#ifndef SWIFTLET_CLINUX_SANDBOX_H
#define SWIFTLET_CLINUX_SANDBOX_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

/// Gives an open file another descriptor too, dup2(2).
long linux_dup_to(int from, int to);
/// Closes all descriptors from this one on (close_range(2); individually before Linux 5.9).
long linux_close_range(int first);
/// Whether the process is root, from the auxiliary vector: without a system call.
bool linux_is_root(void);
/// Drops all capabilities (capset(2)).
long linux_drop_capabilities(void);
/// Changes user and group permanently, and drops supplementary groups (setgroups(2), setresgid(2), setresuid(2)).
long linux_setresuid(unsigned user, unsigned group);
/// Disables core files, and tracing by processes of the same user (PR_SET_DUMPABLE).
long linux_clear_dumpable(void);
/// PR_SET_NO_NEW_PRIVS.
long linux_set_no_new_privs(void);
/// Whether the kernel has Landlock, and it is enabled.
bool linux_has_landlock(void);
/// Landlock: forbids to open, create, rename and remove files. -ENOSYS or -EOPNOTSUPP if it is not available.
long linux_landlock(void);
/// The kinds of processes that have a filter.
enum linux_filter_kind {
  /// One copy of a guest with one CPU.
  LINUX_FILTER_ONE,
  /// Several copies or CPUs of a guest.
  LINUX_FILTER_SEVERAL,
  /// A worker of the daemon, with one copy of its guest, or several.
  LINUX_FILTER_WORKER,
  LINUX_FILTER_WORKER_SEVERAL,
  /// A Linux guest and its peer, which may have services of other programs.
  LINUX_FILTER_LINUX,
  LINUX_FILTER_LINUX_SERVICES,
};
/// A seccomp filter. `own` is the index of the instruction that compares with the process ID, which is set when the
/// filter is installed; 0 for none.
struct linux_filter {
  struct sock_fprog program;
  unsigned own;
};
/// The filter for an architecture by its number in linux/audit.h; `program.len` is 0 if there is none.
struct linux_filter linux_filter(uint32_t architecture, enum linux_filter_kind kind);
/// Installs a filter (PR_SET_SECCOMP).
long linux_seccomp(const struct linux_filter *filter);
/// Limits the number of descriptors (RLIMIT_NOFILE).
void linux_limit_descriptors(unsigned most);
/// Sets permanent limits (setrlimit(2)): no core file, no locked memory, this number of descriptors, and no new
/// processes or threads unless they are allowed.
void linux_limit_process(unsigned descriptors, bool threads);

#endif
