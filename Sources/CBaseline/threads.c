// Baselines that need threads, in a file of their own so that others are linked without them.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdlib.h>

#include "CLinux.h"
#include "baseline.h"
#include "machine.h"

#if BASELINE_HAS_GUESTS

// A thread that runs a guest on request until it is kicked. One thread for all runs: if a vCPU changes its thread,
// KVM_RUN first waits for a grace period of RCU (synchronize_rcu), which takes 10 ms.
struct runner {
  struct machine machine;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  long thread; // 0 until it waits for a request
  enum { WAITS, RUNS, LEAVES } state;
  long result; // of the last run
};

static void runner_set(struct runner *runner, int state) {
  pthread_mutex_lock(&runner->lock);
  runner->state = state;
  pthread_cond_broadcast(&runner->changed);
  pthread_mutex_unlock(&runner->lock);
}

static void *run_when_started(void *argument) {
  struct runner *runner = argument;
  linux_kick_target(runner->machine.run);
  pthread_mutex_lock(&runner->lock);
  runner->thread = linux_thread_id();
  pthread_cond_broadcast(&runner->changed);
  for (;;) {
    while (runner->state == WAITS) pthread_cond_wait(&runner->changed, &runner->lock);
    if (runner->state == LEAVES) break;
    pthread_mutex_unlock(&runner->lock);
    long result = linux_ioctl(runner->machine.vcpu, KVM_RUN, 0);
    pthread_mutex_lock(&runner->lock);
    runner->result = result;
    runner->state = WAITS;
    pthread_cond_broadcast(&runner->changed);
  }
  pthread_mutex_unlock(&runner->lock);
  linux_kick_target(NULL);
  return NULL;
}

static long stop_once(struct runner *runner, int64_t *time, int64_t rest) {
  runner->machine.run->immediate_exit = 0;
  runner_set(runner, RUNS);
  nanosleep(&(struct timespec){.tv_nsec = rest}, NULL);
  int64_t start = now();
  runner->machine.run->immediate_exit = 1;
  linux_kick(runner->thread);
  pthread_mutex_lock(&runner->lock);
  while (runner->state == RUNS) pthread_cond_wait(&runner->changed, &runner->lock);
  pthread_mutex_unlock(&runner->lock);
  *time = now() - start;
  // The run must have been ended by the kick.
  return runner->result == -EINTR ? 0 : runner->result < 0 ? runner->result : -EPROTO;
}

long baseline_stop(int64_t *times, long count, int64_t rest) {
  struct runner runner = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
  CHECK(linux_kick_install());
  CHECK(machine_open(&runner.machine, GUEST_SPINS, 0));
  pthread_t thread;
  long result = -pthread_create(&thread, NULL, run_when_started, &runner);
  if (result == 0) {
    pthread_mutex_lock(&runner.lock);
    while (runner.thread == 0) pthread_cond_wait(&runner.changed, &runner.lock);
    pthread_mutex_unlock(&runner.lock);
    for (long i = 0; result == 0 && i < count; i++) result = stop_once(&runner, &times[i], rest);
    runner_set(&runner, LEAVES);
    pthread_join(thread, NULL);
  }
  machine_close(&runner.machine);
  return result;
}

// Blocks threads until all that are expected have arrived, or one cannot arrive.
struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int missing;
  bool is_given_up;
};

// Returns whether all have arrived.
static bool gate_pass(struct gate *gate) {
  pthread_mutex_lock(&gate->lock);
  if (--gate->missing == 0) pthread_cond_broadcast(&gate->changed);
  while (gate->missing > 0 && !gate->is_given_up) pthread_cond_wait(&gate->changed, &gate->lock);
  bool is_given_up = gate->is_given_up;
  pthread_mutex_unlock(&gate->lock);
  return !is_given_up;
}

static void gate_give_up(struct gate *gate) {
  pthread_mutex_lock(&gate->lock);
  gate->is_given_up = true;
  pthread_cond_broadcast(&gate->changed);
  pthread_mutex_unlock(&gate->lock);
}

// A thread that makes calls when the gate opens.
struct caller {
  struct machine machine;
  pthread_t thread;
  struct gate *gate;
  long calls, result;
  int64_t begin, end;
};

static void *make_calls(void *argument) {
  struct caller *caller = argument;
  if (!gate_pass(caller->gate)) return NULL;
  caller->begin = now();
  for (long i = 0; caller->result == 0 && i < caller->calls; i++) caller->result = machine_call(&caller->machine);
  caller->end = now();
  return NULL;
}

static long call_together(struct caller *callers, int threads, long calls, int64_t *time) {
  struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .missing = threads};
  int64_t begin = INT64_MAX, end = 0;
  long result = 0;
  int made = 0;
  for (; result == 0 && made < threads; made++) {
    callers[made].gate = &gate, callers[made].calls = calls;
    result = -pthread_create(&callers[made].thread, NULL, make_calls, &callers[made]);
    if (result < 0) break;
  }
  if (result < 0) gate_give_up(&gate);
  for (int i = 0; i < made; i++) {
    pthread_join(callers[i].thread, NULL);
    if (callers[i].result < 0) result = callers[i].result;
    if (callers[i].begin < begin) begin = callers[i].begin;
    if (callers[i].end > end) end = callers[i].end;
  }
  *time = end - begin;
  return result;
}

long baseline_parallel(int threads, long calls, int64_t *time) {
  struct caller *callers = calloc((size_t)threads, sizeof *callers);
  if (!callers) return -ENOMEM;
  long result = 0;
  for (int i = 0; result == 0 && i < threads; i++) result = machine_open(&callers[i].machine, GUEST_CALLS, 0);
  if (result == 0) result = call_together(callers, threads, calls, time);
  for (int i = 0; i < threads; i++) machine_close(&callers[i].machine);
  free(callers);
  return result;
}

#else

long baseline_stop(int64_t *times, long count, int64_t rest) {
  (void)times, (void)count, (void)rest;
  return -ENOSYS;
}
long baseline_parallel(int threads, long calls, int64_t *time) {
  (void)threads, (void)calls, (void)time;
  return -ENOSYS;
}

#endif
