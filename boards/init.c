// The first and only resident program of an emulated board (see boards/run): it makes the board look like a Linux host,
// runs one command, and carries the command's input and output over a virtio-serial port to boards/run.
//
// One port carries everything, in frames: a type, the payload's length (32 bits, little-endian), the payload.
//   from the host   i  input for the command; an empty one is the end of the input
//                   w  the terminal's size: rows and columns, 16 bits each
//   to the host     o  what the command wrote to standard output       x  the exit status: one byte, the last frame
//                   e  the same for standard error                     f  the board could not start the command: why
// A frame's end says what a closed connection cannot: QEMU may drop what is under way when the host closes its side,
// and a port that the host has not opened yet reads as if it were at its end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
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
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int port = -1;

static void send_frame(char type, const void *payload, uint32_t length) {
    static unsigned char frame[5 + 65536];
    frame[0] = type;
    memcpy(frame + 1, &length, 4);  // both architectures are little-endian
    memcpy(frame + 5, payload, length);
    for (size_t sent = 0; sent < 5 + (size_t)length;) {
        ssize_t n = write(port, frame + sent, 5 + length - sent);
        if (n > 0)
            sent += n;
        else if (errno == EAGAIN)
            poll(&(struct pollfd){.fd = port, .events = POLLOUT}, 1, -1);
        else if (errno != EINTR)
            reboot(RB_POWER_OFF);
    }
}

static _Noreturn void give_up(const char *what) {
    char text[256];
    int length = snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
    fprintf(stderr, "init: %s\n", text);
    // Without the port boards/run learns of it by the board's end, and shows the console.
    if (port < 0) reboot(RB_POWER_OFF);
    send_frame('f', text, length);
    for (;;) pause();  // boards/run ends the board
}

static void pause_for(long milliseconds) {
    struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0) {}
}

// The kernel refuses pivot_root on its initial file system; on a copy mounted over it, a sandbox works as on any host.
static void mount_root_again(void) {
    mkdir("/root.again", 0755);
    if (mount("/", "/root.again", 0, MS_BIND, 0) || chdir("/root.again") || mount(".", "/", 0, MS_MOVE, 0) ||
        chroot(".") || chdir("/"))
        give_up("mounting the root again");
    rmdir("/root.again");
}

static void mount_file_systems(void) {
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
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
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

static void start_loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(any, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        ioctl(any, SIOCSIFFLAGS, &request);
    }
    close(any);
}

static void open_port(void) {
    for (int i = 0; (port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC)) < 0; i++) {
        if (i == 2000) give_up("/dev/vport0p1");
        pause_for(5);
    }
    // POLLHUP stays set until the kernel has heard that the host's side is open.
    for (struct pollfd host = {.fd = port}; poll(&host, 1, 0), host.revents & POLLHUP;) pause_for(1);
}

// Reads the command, one string after the other, out of the file that boards/run added.
static char **read_command(void) {
    static char text[131072];
    static char *arguments[4096];
    int file = open("/board.command", O_RDONLY | O_CLOEXEC), count = 0;
    ssize_t length = read(file, text, sizeof text - 1);
    if (length < 1) give_up("/board.command");
    for (char *next = text; next < text + length; next += strlen(next) + 1) {
        if (length == sizeof text - 1 || count == 4095) {
            errno = E2BIG;
            give_up("/board.command");
        }
        arguments[count++] = next;
    }
    close(file);
    unlink("/board.command");
    return arguments;
}

static _Noreturn void run_command(char **command, int input, int output, int error, int terminal) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (terminal) ioctl(input, TIOCSCTTY, 0);
    dup2(input, 0);
    dup2(output, 1);
    dup2(error, 2);
    execvp(command[0], command);
    int status = errno == ENOENT ? 127 : 126;
    dprintf(2, "%s: %s\n", command[0], strerror(errno));
    _exit(status);
}

struct command {
    pid_t process;
    int input;      // where the command's input is written; -1 once closed
    int output[2];  // where its standard output and standard error are read
    int terminal;
};

static struct command start(char **command, int terminal) {
    struct command it = {.terminal = terminal};
    int in[2], out[2], err[2];
    if (terminal) {
        int master = open("/dev/ptmx", O_RDWR | O_CLOEXEC | O_NOCTTY), zero = 0;
        char path[32];
        unsigned number;
        if (master < 0 || ioctl(master, TIOCSPTLCK, &zero) || ioctl(master, TIOCGPTN, &number)) give_up("/dev/ptmx");
        snprintf(path, sizeof path, "/dev/pts/%u", number);
        ioctl(master, TIOCSWINSZ, &(struct winsize){.ws_row = 24, .ws_col = 80});  // until the host says its own
        in[0] = out[1] = err[1] = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        in[1] = out[0] = master;
        err[0] = -1;
    } else if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
        give_up("pipe");
    }
    it.process = fork();
    if (it.process < 0) give_up("fork");
    if (it.process == 0) run_command(command, in[0], out[1], err[1], terminal);
    close(in[0]);
    if (!terminal) close(out[1]), close(err[1]);
    it.input = in[1], it.output[0] = out[0], it.output[1] = err[0];
    fcntl(it.input, F_SETFL, O_NONBLOCK);
    fcntl(it.output[0], F_SETFL, O_NONBLOCK);
    if (!terminal) fcntl(it.output[1], F_SETFL, O_NONBLOCK);
    return it;
}

// Sends what the command has written so far; false at the end of the stream.
static int forward_output(int from, char type) {
    static char bytes[32768];
    for (;;) {
        ssize_t n = read(from, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        send_frame(type, bytes, n);
    }
}

// Input under way: the frame being read from the port, and the part of it that the command has not taken yet.
static struct {
    unsigned char header[5], bytes[65536];
    size_t header_length, remaining;  // of the frame, still in the port
    size_t first, last;               // of bytes, still to be written
} incoming;

static void write_input(struct command *it) {
    while (incoming.first < incoming.last && it->input >= 0) {
        ssize_t n = write(it->input, incoming.bytes + incoming.first, incoming.last - incoming.first);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {  // the command reads no more: what still comes is dropped
            if (!it->terminal) close(it->input);
            it->input = -1;
        } else {
            incoming.first += n;
        }
    }
    incoming.first = incoming.last = 0;
}

static void receive(struct command *it) {
    ssize_t n;
    uint32_t length;
    if (incoming.header_length < 5) {
        n = read(port, incoming.header + incoming.header_length, 5 - incoming.header_length);
        if (n == 0) reboot(RB_POWER_OFF);  // boards/run is gone
        if (n < 0) return;
        incoming.header_length += n;
        if (incoming.header_length < 5) return;
        memcpy(&length, incoming.header + 1, 4);
        incoming.remaining = length;
        if (length == 0 && it->terminal) {
            incoming.bytes[0] = 4, incoming.last = 1;  // a terminal's end of input
            write_input(it);
        } else if (length == 0 && it->input >= 0) {
            close(it->input);
            it->input = -1;
        }
    } else {
        size_t most = incoming.remaining < sizeof incoming.bytes ? incoming.remaining : sizeof incoming.bytes;
        n = read(port, incoming.bytes, most);
        if (n == 0) reboot(RB_POWER_OFF);
        if (n < 0) return;
        incoming.remaining -= n;
        if (incoming.header[0] == 'i') {
            incoming.last = n;
            write_input(it);
        } else if (incoming.header[0] == 'w' && n == 4 && it->terminal) {
            struct winsize size = {0};
            memcpy(&size, incoming.bytes, 4);
            ioctl(it->output[0], TIOCSWINSZ, &size);
        }
    }
    if (incoming.remaining == 0) incoming.header_length = 0;
}

// Carries input and output until the command ends; its status as a shell would give it.
static int serve(struct command *it, int children) {
    for (;;) {
        int pending = incoming.first < incoming.last;
        struct pollfd ready[5] = {
            {.fd = it->output[0], .events = POLLIN},
            {.fd = it->output[1], .events = POLLIN},
            {.fd = children, .events = POLLIN},
            {.fd = pending ? it->input : -1, .events = POLLOUT},
            {.fd = pending ? -1 : port, .events = POLLIN},
        };
        poll(ready, 5, -1);
        if (ready[0].revents && !forward_output(it->output[0], 'o') && !it->terminal) it->output[0] = -1;
        if (ready[1].revents && !forward_output(it->output[1], 'e')) it->output[1] = -1;
        if (ready[3].revents) write_input(it);
        if (ready[4].revents) receive(it);
        if (ready[2].revents) {
            struct signalfd_siginfo information;
            int status;
            read(children, &information, sizeof information);
            for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
                if (ended != it->process) continue;
                // Descendants may live on and hold the streams open; what is there now is all that counts.
                if (it->output[0] >= 0) forward_output(it->output[0], 'o');
                if (it->output[1] >= 0) forward_output(it->output[1], 'e');
                return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            }
        }
    }
}

static long take_number(const char *name) {
    const char *value = getenv(name);
    long number = value ? strtol(value, NULL, 10) : 0;
    unsetenv(name);
    return number;
}

int main(void) {
    if (getpid() != 1) return fprintf(stderr, "init: this is an emulated board's first process\n"), 2;
    mount_root_again();
    mount_file_systems();
    load_modules();
    open_port();
    start_loopback();

    // boards/run passes its settings on the kernel's command line, which hands them to init as environment variables.
    long start_at = take_number("board_start_at"), terminal = take_number("board_tty");
    const char *name = getenv("board_name");
    if (name) sethostname(name, strlen(name));
    char *term = getenv("board_term") ? strdup(getenv("board_term")) : NULL;
    clearenv();
    setenv("PATH", "/bin", 1);
    setenv("HOME", "/root", 1);
    if (term) setenv("TERM", term, 1);
    if (chdir("/root")) give_up("/root");
    signal(SIGPIPE, SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);

    char **command = read_command();
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){.tv_sec = start_at}, NULL);
    struct command it = start(command, terminal);
    unsigned char status = serve(&it, children);
    send_frame('x', &status, 1);
    for (;;) pause();
}
