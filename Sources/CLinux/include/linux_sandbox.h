// What a process gives up before it runs guests: see docs/sandbox.md. Every function answers 0 or -errno.
#ifndef SWIFTLET_CLINUX_SANDBOX_H
#define SWIFTLET_CLINUX_SANDBOX_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

/// Closes every descriptor from this one on (close_range(2); one by one before Linux 5.9).
long linux_close_from(int first);
/// Whether the process is root, as the kernel told it at its start: no system call.
bool linux_is_root(void);
/// Gives up all capabilities (capset(2)).
long linux_drop_capabilities(void);
/// Takes another user and group, and no further groups, for good (setgroups(2), setresgid(2), setresuid(2)).
long linux_become(unsigned user, unsigned group);
/// No core files, and nobody of the same user may trace it (PR_SET_DUMPABLE).
long linux_hide_memory(void);
/// PR_SET_NO_NEW_PRIVS.
long linux_no_new_privileges(void);
/// Landlock: no file can be opened, made, renamed or removed from now on. -ENOSYS or -EOPNOTSUPP where the kernel has none.
long linux_landlock(void);
/// The processes that there are filters for.
enum linux_filter_kind {
  /// One copy of a guest on one processor.
  LINUX_FILTER_ONE,
  /// Several copies or processors of a guest.
  LINUX_FILTER_SEVERAL,
  /// A worker of the daemon's, with one copy of its guest, or several.
  LINUX_FILTER_WORKER,
  LINUX_FILTER_WORKER_SEVERAL,
  /// A Linux guest, and the applet beside it.
  LINUX_FILTER_LINUX,
};
/// A seccomp filter. `own` is the index of the one instruction that compares with the process's id, which is filled in when
/// it is installed; 0 where there is none.
struct linux_filter {
  struct sock_fprog program;
  unsigned own;
};
/// The filter for an architecture by its number in linux/audit.h; `program.len` 0 where there is none.
struct linux_filter linux_filter(uint32_t architecture, enum linux_filter_kind kind);
/// Installs a filter (PR_SET_SECCOMP).
long linux_seccomp(const struct linux_filter *filter);
/// So many descriptors at most (RLIMIT_NOFILE).
void linux_limit_descriptors(unsigned most);
/// Limits the process for good (setrlimit(2)): no core file, no locked memory, so many descriptors, and processes or threads
/// only where it says so.
void linux_limit_process(unsigned descriptors, bool threads);

#endif
