#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
// How a thread is taken out of KVM_RUN: a signal interrupts the guest, and its handler sets immediate_exit in the run
// page, so that a kick that arrives just before the entry is not lost (Documentation/virt/kvm/api.rst, 5.2 "immediate_exit").
#include "CLinux.h"

_Thread_local struct kvm_run *volatile linux_kicked_run;

static void kicked(int signal) {
  (void)signal;
  // The thread may be between a call and its look at errno; finding a variable of the thread's own may allocate.
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
  // It fails for a `how` that does not exist alone.
  pthread_sigmask(how, &kick, &before);
  return sigismember(&before, linux_kick_signal());
}

int linux_kick_unblock(void) { return change_mask(SIG_UNBLOCK); }

void linux_kick_block(void) { change_mask(SIG_BLOCK); }

long linux_thread_id(void) { return syscall(SYS_gettid); }

long linux_kick(long thread) {
  return linux_result(syscall(SYS_tgkill, getpid(), thread, linux_kick_signal()));
}

long linux_kick_timer(clockid_t clock, long thread) {
  // The kernel's own timer calls: glibc's wrapper allocates, and starts a helper thread for some kinds of event.
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
