// A kept board. Each run has its own namespaces for mounts, host name, IPC and network, with a root directory that is a
// copy of the initial one; processes and control groups are shared with the board. When a run ends, all other processes
// are killed, its namespaces end, control groups are removed and settings in /proc/sys are restored.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

static jmp_buf run_ended;

noreturn void end_run(void) {
    if (getpid() != 1) shut_down_system();
    longjmp(run_ended, 1);
}

// The directory that becomes a run's root, on a file system that is not copied.
#define NEXT_ROOT "/run/root"

static const char *copied;  // the directory that copy_entry copies, whose path begins each of its paths

static int copy_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    char to[512], target[256];
    (void)kind, (void)place;
    snprintf(to, sizeof to, NEXT_ROOT "%s", path);
    if (S_ISREG(status->st_mode)) {
        int in = open(path, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        for (off_t left = status->st_size; left > 0;) {
            ssize_t n = sendfile(out, in, NULL, left);
            if (n <= 0) give_up(to);
            left -= n;
        }
        fchmod(out, status->st_mode & 07777);
        close(in), close(out);
        return 0;
    }
    if (S_ISLNK(status->st_mode)) {
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0) give_up(path);
        target[length] = 0;
        return symlink(target, to);
    }
    int failed = S_ISDIR(status->st_mode) ? strcmp(path, copied) != 0 && mkdir(to, 0700)
                                          : mknod(to, status->st_mode, status->st_rdev);
    return failed || chmod(to, status->st_mode & 07777);
}

// Copies a directory, without file systems mounted in it, to the same place in the next root.
static void copy_directory(const char *path) {
    copied = path;
    if (nftw(path, copy_entry, 16, FTW_PHYS | FTW_MOUNT) != 0) give_up(path);
}

// Enters the namespaces and the root directory of the next run.
static void enter_run(void) {
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)) give_up("unshare");
    mkdir(NEXT_ROOT, 0755);
    if (mount("tmpfs", NEXT_ROOT, "tmpfs", 0, NULL)) give_up(NEXT_ROOT);
    copy_directory("/");
    // Device files belong to the run, too: all mounts of devtmpfs are the same file system.
    mkdir(NEXT_ROOT "/dev", 0755);
    if (mount("devtmpfs", NEXT_ROOT "/dev", "tmpfs", 0, "mode=755")) give_up(NEXT_ROOT "/dev");
    copy_directory("/dev");
    enter_root(NEXT_ROOT);
    mount_file_systems(0);
    start_loopback();
}

// The board's own namespaces. A run closes all descriptors except these, the port and the signalfd.
static int namespaces[4], first_of_run;

static void open_namespaces(void) {
    static const char *const names[] = {"mnt", "uts", "ipc", "net"};
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        if ((namespaces[i] = open(path, O_RDONLY | O_CLOEXEC)) < 0) give_up(path);
        if (namespaces[i] >= first_of_run) first_of_run = namespaces[i] + 1;
    }
}

static struct setting {
    struct setting *next;
    char *path, *value;
} *settings;

static ssize_t read_file(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, size - 1);
    close(file);
    if (length >= 0) text[length] = 0;
    return length;
}

static void write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    write(file, text, strlen(text));
    close(file);
}

static int remember_setting(const char *path, const struct stat *status, int kind, struct FTW *place) {
    static char text[4096];
    (void)place;
    if (kind != FTW_F || (status->st_mode & 0600) != 0600 || read_file(path, text, sizeof text) < 1) return 0;
    struct setting *new = malloc(sizeof *new);
    *new = (struct setting){settings, strdup(path), strdup(text)};
    settings = new;
    return 0;
}

static void restore_settings(void) {
    static char text[4096];
    for (struct setting *it = settings; it; it = it->next)
        if (read_file(it->path, text, sizeof text) >= 0 && strcmp(text, it->value) != 0) write_file(it->path, it->value);
}

static int remove_group(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status;
    if (kind == FTW_DP && place->level > 0) rmdir(path);
    return 0;
}

static void remove_groups(void) {
    char names[256], words[300];
    nftw("/sys/fs/cgroup", remove_group, 16, FTW_PHYS | FTW_DEPTH);
    if (read_file("/sys/fs/cgroup/cgroup.subtree_control", names, sizeof names) < 1) return;
    for (char *name = strtok(names, " \n"); name; name = strtok(NULL, " \n")) {
        snprintf(words, sizeof words, "-%s", name);
        write_file("/sys/fs/cgroup/cgroup.subtree_control", words);
    }
}

static void clean_up(void) {
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    syscall(SYS_close_range, first_of_run, ~0U, 0);
    for (int i = 0; i < 4; i++)
        if (setns(namespaces[i], 0)) give_up("setns");
    remove_groups();
    restore_settings();
}

// Reads the next bytes of the run's archive from frames a.
static void read_archive(void *to, size_t length) {
    static size_t used;  // of the frame
    while (length > 0) {
        if (frame.type != 'a' || used == frame.length) {
            read_frame();
            used = 0;
            continue;
        }
        size_t n = frame.length - used < length ? frame.length - used : length;
        memcpy(to, frame.bytes + used, n);
        to = (char *)to + n, used += n, length -= n;
    }
}

// The buffer for the contents of files.
static unsigned char content[FRAME];

static void unpack_file(const char *path, mode_t mode, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while (size > 0) {
        size_t length = size < sizeof content ? size : sizeof content;
        read_archive(content, length);
        if (write(file, content, length) != (ssize_t)length) give_up(path);
        size -= length;
    }
    if (file < 0 || fchmod(file, mode & 07777)) give_up(path);
    close(file);
}

// Unpacks the archive, in the format described in initramfs.py, as the kernel does at boot.
static void unpack(void) {
    static char path[4096];
    for (;;) {
        char header[6 + 13 * 8], field[9] = "";
        uint32_t fields[13];
        read_archive(header, sizeof header);
        for (int i = 0; i < 13; i++) {
            memcpy(field, header + 6 + 8 * i, 8);
            fields[i] = strtoul(field, NULL, 16);
        }
        const mode_t mode = fields[1];
        const size_t size = fields[6], name = fields[11] + (-(sizeof header + fields[11]) & 3);
        errno = ENAMETOOLONG;
        if (name > sizeof path || (S_ISLNK(mode) && size >= sizeof content)) give_up("the files of the run");
        read_archive(path, name);
        if (strcmp(path, "TRAILER!!!") == 0) return;
        if (S_ISREG(mode)) {
            unlink(path);
            unpack_file(path, mode, size);
        } else if (S_ISDIR(mode)) {
            if ((mkdir(path, 0700) && errno != EEXIST) || chmod(path, mode & 07777)) give_up(path);
        } else if (S_ISLNK(mode)) {
            read_archive(content, size);
            content[size] = 0;
            unlink(path);
            if (symlink((char *)content, path)) give_up(path);
        }
        read_archive(content, -size & 3);
    }
}

noreturn void stay(int children) {
    first_of_run = (port > children ? port : children) + 1;
    // The first process shares its root with the kernel, which setns does not allow.
    if (unshare(CLONE_FS)) give_up("unshare");
    open_namespaces();
    nftw("/proc/sys/kernel", remember_setting, 16, FTW_PHYS);
    nftw("/proc/sys/vm", remember_setting, 16, FTW_PHYS);
    nftw("/proc/sys/fs", remember_setting, 16, FTW_PHYS);
    if (setjmp(run_ended)) {
        clean_up();
        enter_run();
        send_frame('d', frame.bytes, NONCE);
        do read_frame();
        while (frame.type != 'b' || frame.length != 8);
        int64_t now;
        memcpy(&now, frame.bytes, 8);
        clock_settime(CLOCK_REALTIME, &(struct timespec){now / 1000000000, now % 1000000000});
        unpack();
        if (chdir("/root")) give_up("/root");
        run_command_file("/board.command", children);
    }
    for (;;) read_frame();  // until the first k
}
