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
/// The seccomp filter for an architecture by its number in linux/audit.h; `len` 0 where there is none.
/// `several`: for a process that runs several copies or processors of a guest; `worker`: for one of the daemon's.
struct sock_fprog linux_filter(uint32_t architecture, bool several, bool worker);
/// Installs a filter (PR_SET_SECCOMP).
long linux_seccomp(const struct sock_fprog *filter);
/// Limits the process for good (setrlimit(2)): no core file, no locked memory, so many descriptors, and processes or threads
/// only where it says so.
void linux_limit_process(unsigned descriptors, bool threads);

#endif
