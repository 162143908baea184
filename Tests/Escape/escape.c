// Attempts of an attacker who has compromised a process that runs applets: each in a process of its own, which first
// enters the sandbox with Swiftlet's code (Sources/CLinux/sandbox.c) in the order of Sandbox.enter, with the filter of
// a process that runs one copy of a guest, or several, or Linux, or of the daemon's workers.
//   escape one|several|linux|linux-services|worker|worker-several
// prints a line for each attempt: its name, and "killed" (SIGSYS), the name of the errno, or "done" for a successful
// one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "linux_sandbox.h"

#ifdef __aarch64__
#define HOST AUDIT_ARCH_AARCH64
#else
#define HOST AUDIT_ARCH_RISCV64
#endif

// Opened before the sandbox was entered.
static int kvm, machine, connected, internet, datagrams;
static char *page;

static long open_file(void) { return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0); }
static long make_file(void) { return syscall(SYS_openat, AT_FDCWD, "/tmp/made", O_WRONLY | O_CREAT, 0600); }
static long open_kvm(void) { return syscall(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR, 0); }
static long open_memory(void) { return syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR, 0); }
static long open_in_another_way(void) {
  long how[3] = {O_RDONLY, 0, 0};
  return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
static long remove_file(void) { return syscall(SYS_unlinkat, AT_FDCWD, "/tmp/escape", 0); }
static long make_socket(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long connect_socket(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 80, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  return connect(internet, (struct sockaddr *)&to, sizeof to);
}
static long send_descriptor(void) {
  struct msghdr message = {0};
  return sendmsg(connected, &message, 0);
}
static long fork_process(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static long fork_with_memory(void) { return syscall(SYS_clone, SIGCHLD | CLONE_VM | CLONE_VFORK, 0, 0, 0, 0); }
static long run_program(void) {
  char *words[] = {"true", NULL};
  return execve("/bin/true", words, words + 1);
}
static long trace_parent(void) { return ptrace(PTRACE_ATTACH, getppid(), 0, 0); }
static long read_parent(void) {
  return syscall(SYS_process_vm_readv, 1, NULL, 0ul, NULL, 0ul, 0ul);
}
static long kill_parent(void) { return syscall(SYS_kill, 1, 0); }
static long kill_thread_of_parent(void) { return syscall(SYS_tgkill, getppid(), getppid(), 0); }
static long map_executable(void) {
  return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0;
}
static long make_executable(void) { return mprotect(page, 4096, PROT_READ | PROT_EXEC); }
static long map_by_key(void) { return syscall(SYS_pkey_mprotect, page, 4096ul, PROT_READ | PROT_EXEC, -1); }
static long another_machine(void) { return ioctl(kvm, KVM_CREATE_VM, 0); }
static long another_processor(void) { return ioctl(machine, KVM_CREATE_VCPU, 7); }
static long another_device(void) {
  struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};
  return ioctl(machine, KVM_CREATE_DEVICE, &device);
}
static long store_signals(void) {
  struct kvm_ioeventfd event = {.addr = 0x1000, .len = 4, .fd = connected};
  return ioctl(machine, KVM_IOEVENTFD, &event);
}
static long send_datagram(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 80, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  return sendto(datagrams, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
}
static long handle_signal(void) { return syscall(SYS_rt_sigaction, SIGTERM, NULL, NULL, 8); }
static long listen_somewhere(void) { return listen(internet, 1); }
static long type_into_terminal(void) { return ioctl(0, 0x5412 /* TIOCSTI */, "x"); }
static long become_root(void) { return setuid(0); }
static long lift_limits(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
static long load_program(void) { return syscall(SYS_bpf, 0, NULL, 0); }
static long ring(void) { return syscall(SYS_io_uring_setup, 1, NULL); }
static long fault_handler(void) { return syscall(SYS_userfaultfd, 0); }
static long leave_namespace(void) { return syscall(SYS_unshare, CLONE_NEWUSER); }
static long load_module(void) { return syscall(SYS_finit_module, -1, "", 0); }
static long no_call(void) { return syscall(5000); }
// Calls that the running applet needs.
static long write_nothing(void) { return write(1, "", 0); }
static long take_random(void) { return getrandom(page, 16, 0); }
static long map_memory(void) {
  return (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0;
}

static const struct {
  const char *name;
  long (*make)(void);
} attempts[] = {
    {"open a file", open_file},
    {"make a file", make_file},
    {"open /dev/kvm", open_kvm},
    {"open its own memory", open_memory},
    {"open by openat2", open_in_another_way},
    {"remove a file", remove_file},
    {"make a socket", make_socket},
    {"connect", connect_socket},
    {"send a descriptor", send_descriptor},
    {"fork", fork_process},
    {"vfork", fork_with_memory},
    {"execve", run_program},
    {"ptrace", trace_parent},
    {"read another's memory", read_parent},
    {"signal another", kill_parent},
    {"signal another's thread", kill_thread_of_parent},
    {"map executable memory", map_executable},
    {"make memory executable", make_executable},
    {"make it so by a key", map_by_key},
    {"make a machine", another_machine},
    {"make a vCPU", another_processor},
    {"make a device", another_device},
    {"watch its stores", store_signals},
    {"send a datagram", send_datagram},
    {"listen", listen_somewhere},
    {"set a signal's handler", handle_signal},
    {"type into the terminal", type_into_terminal},
    {"become root", become_root},
    {"be dumpable again", lift_limits},
    {"load a BPF program", load_program},
    {"make an io_uring", ring},
    {"make a userfaultfd", fault_handler},
    {"make a user namespace", leave_namespace},
    {"load a kernel module", load_module},
    {"make a call that does not exist", no_call},
    {"write", write_nothing},
    {"take random numbers", take_random},
    {"map memory", map_memory},
};

// The steps of Sandbox.enter and, before them, a worker's limits.
static int enter(enum linux_filter_kind kind) {
  linux_limit_process(66, kind != LINUX_FILTER_ONE && kind != LINUX_FILTER_WORKER);
  if (linux_drop_capabilities() < 0 || linux_clear_dumpable() < 0 || linux_set_no_new_privs() < 0) return -1;
  long landlock = linux_landlock();
  if (landlock < 0 && landlock != -ENOSYS && landlock != -EOPNOTSUPP) return -1;
  struct linux_filter filter = linux_filter(HOST, kind);
  return filter.program.len > 0 && linux_seccomp(&filter) == 0 ? 0 : -1;
}

int main(int count, char **words) {
  enum linux_filter_kind kind = count < 2 ? LINUX_FILTER_ONE
                                : strcmp(words[1], "several") == 0 ? LINUX_FILTER_SEVERAL
                                : strcmp(words[1], "linux") == 0 ? LINUX_FILTER_LINUX
                                : strcmp(words[1], "linux-services") == 0 ? LINUX_FILTER_LINUX_SERVICES
                                : strcmp(words[1], "worker") == 0 ? LINUX_FILTER_WORKER
                                : strcmp(words[1], "worker-several") == 0 ? LINUX_FILTER_WORKER_SEVERAL : LINUX_FILTER_ONE;
  close(open("/tmp/escape", O_WRONLY | O_CREAT, 0600));
  kvm = open("/dev/kvm", O_RDWR);
  machine = ioctl(kvm, KVM_CREATE_VM, 0);
  internet = socket(AF_INET, SOCK_STREAM, 0);
  datagrams = socket(AF_INET, SOCK_DGRAM, 0);
  int pair[2];
  if (machine < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return perror("escape"), 2;
  connected = pair[0];
  page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t index = 0; index < sizeof attempts / sizeof attempts[0]; index++) {
    fflush(stdout);
    int results[2];
    if (pipe(results) < 0) return perror("escape"), 2;
    pid_t child = fork();
    if (child == 0) {
      int error = -1;
      if (enter(kind) == 0) {
        errno = 0;
        error = attempts[index].make() < 0 ? errno : 0;
      }
      if (write(results[1], &error, sizeof error) != sizeof error) _exit(3);
      _exit(0);
    }
    close(results[1]);
    int status, error = -2;
    if (read(results[0], &error, sizeof error) < 0) error = -3;
    close(results[0]);
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
      printf("%s: %s\n", attempts[index].name, WTERMSIG(status) == SIGSYS ? "killed" : strsignal(WTERMSIG(status)));
    } else if (error < 0) {
      printf("%s: the sandbox cannot be entered (%d)\n", attempts[index].name, error);
    } else {
      printf("%s: %s\n", attempts[index].name, error == 0 ? "done" : error == EACCES ? "EACCES" : strerror(error));
    }
  }
  return 0;
}
