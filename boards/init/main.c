// Sets the board up as a Linux host, and runs the command of the boot, stays for further runs, or starts a system.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

// The kernel does not allow pivot_root on its initial file system, which a sandbox may need: use a copy mounted over
// it.
static void mount_root_again(void) {
    mkdir("/root.again", 0755);
    if (mount("/", "/root.again", 0, MS_BIND, 0)) give_up("/root.again");
    enter_root("/root.again");
    rmdir("/root.again");
}

void enter_root(const char *directory) {
    if (chdir(directory) || mount(".", "/", 0, MS_MOVE, 0) || chroot(".") || chdir("/")) give_up("mounting the root again");
}

void mount_file_systems(int devices) {
    static const struct { const char *type, *path, *options; int required; } table[] = {
        {"devtmpfs", "/dev", 0, 1},
        {"proc", "/proc", 0, 1},
        {"sysfs", "/sys", 0, 1},
        {"tmpfs", "/tmp", "mode=1777", 1},
        {"tmpfs", "/run", "mode=755", 1},
        {"devpts", "/dev/pts", "ptmxmode=666,mode=620", 1},
        {"tmpfs", "/dev/shm", "mode=1777", 1},
        {"cgroup2", "/sys/fs/cgroup", 0, 0},
        {"securityfs", "/sys/kernel/security", 0, 0},
        {"debugfs", "/sys/kernel/debug", 0, 0},
    };
    for (size_t i = devices ? 0 : 1; i < sizeof table / sizeof *table; i++) {
        mkdir(table[i].path, 0755);
        if (mount(table[i].type, table[i].path, table[i].type, 0, table[i].options) && table[i].required)
            give_up(table[i].path);
    }
    symlink("/proc/self/fd", "/dev/fd");
    symlink("/proc/self/fd/0", "/dev/stdin");
    symlink("/proc/self/fd/1", "/dev/stdout");
    symlink("/proc/self/fd/2", "/dev/stderr");
}

static void load_modules(void) {
    char names[256], path[300];
    const char *given = getenv("board_modules");  // from the kernel's command line: NAME,NAME
    snprintf(names, sizeof names, "%s", given ? given : "");
    unsetenv("board_modules");
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        snprintf(path, sizeof path, "/lib/modules/%s.ko", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)) give_up(path);
        close(file);
    }
}

void start_loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(any, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        ioctl(any, SIOCSIFFLAGS, &request);
    }
    close(any);
}

static long take_number(const char *name) {
    const char *value = getenv(name);
    long number = value ? strtol(value, NULL, 10) : 0;
    unsetenv(name);
    return number;
}

static int watch_children(void) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], SERVE) == 0) {
        open_port();
        if (chdir(SYSTEM_FILES "/root")) give_up(SYSTEM_FILES "/root");
        run_command_file(SYSTEM_FILES "/board.command", watch_children());
    }
    if (getpid() != 1) return fprintf(stderr, "init: this is an emulated board's first process\n"), 2;
    mount_root_again();
    mount_file_systems(1);
    load_modules();
    if (getenv("board_root")) start_system(getenv("board_root"));
    open_port();
    start_loopback();

    // boards/run passes settings on the kernel's command line, which become environment variables of init.
    long start_at = take_number("board_start_at");
    const char *name = getenv("board_name");
    if (name) sethostname(name, strlen(name));
    clearenv();
    setenv("PATH", "/bin", 1);
    setenv("HOME", "/root", 1);
    if (chdir("/root")) give_up("/root");
    int children = watch_children();

    if (access("/board.command", F_OK) != 0) stay(children);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){.tv_sec = start_at}, NULL);
    run_command_file("/board.command", children);
}
