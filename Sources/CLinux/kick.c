#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
// Makes a thread leave KVM_RUN: a signal interrupts the guest, and its handler sets immediate_exit in the run page, so
// that a kick just before the entry is not lost (Documentation/virt/kvm/api.rst, 5 "immediate_exit").
#include "CLinux.h"

_Thread_local struct kvm_run *volatile linux_kicked_run;

static void kicked(int signal) {
  (void)signal;
  // The thread may be about to read errno. Access to a thread-local variable may allocate.
  int before = errno;
  struct kvm_run *run = linux_kicked_run;
  if (run) linux_set_immediate_exit(run, 1);
  errno = before;
}

long linux_kick_install(void) {
  struct sigaction action = {.sa_handler = kicked};
  return linux_result(sigaction(linux_kick_signal(), &action, NULL));
}

static int change_mask(int how) {
  sigset_t kick, before;
  sigemptyset(&kick);
  sigaddset(&kick, linux_kick_signal());
  // It only fails for an invalid `how`.
  pthread_sigmask(how, &kick, &before);
  return sigismember(&before, linux_kick_signal());
}

int linux_kick_unblock(void) { return change_mask(SIG_UNBLOCK); }

void linux_kick_block(void) { change_mask(SIG_BLOCK); }

long linux_thread_id(void) { return syscall(SYS_gettid); }

long linux_kick(long thread) {
  // A thread that kicks itself is not in the guest or a system call. Its next entry returns at once. The sandbox of a
  // guest with one thread does not allow tgkill(2).
  if (thread == linux_thread_id()) {
    kicked(0);
    return 0;
  }
  return linux_result(syscall(SYS_tgkill, getpid(), thread, linux_kick_signal()));
}

long linux_kick_timer(clockid_t clock, long thread) {
  // The kernel's timer calls: glibc's wrapper allocates memory, and starts a helper thread for some notifications.
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = linux_kick_signal()};
#ifdef sigev_notify_thread_id
  event.sigev_notify_thread_id = (int)thread;
#else
  event._sigev_un._tid = (int)thread;
#endif
  int timer;
  long result = linux_result(syscall(SYS_timer_create, clock, &event, &timer));
  return result < 0 ? result : timer;
}

long linux_kick_timer_set(long timer, int64_t first, int64_t interval) {
  struct itimerspec when = {
      .it_value = {.tv_sec = first / 1000000000, .tv_nsec = first % 1000000000},
      .it_interval = {.tv_sec = interval / 1000000000, .tv_nsec = interval % 1000000000},
  };
  return linux_result(syscall(SYS_timer_settime, (int)timer, 0, &when, NULL));
}

long linux_kick_timer_delete(long timer) { return linux_result(syscall(SYS_timer_delete, (int)timer)); }
