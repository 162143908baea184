// The command: started, served over the port, and its exit status.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

// Reads the file that boards/run has added: the type of the command's terminal (empty for none), and its arguments,
// each terminated by a zero byte.
static char **read_command(const char *path, char **terminal) {
    static char text[131072];
    static char *words[4096];
    int file = open(path, O_RDONLY | O_CLOEXEC), count = 0;
    ssize_t length = read(file, text, sizeof text - 1);
    if (length < 1) give_up(path);
    for (char *next = text; next < text + length; next += strlen(next) + 1) {
        if (length == sizeof text - 1 || count == 4095) {
            errno = E2BIG;
            give_up(path);
        }
        words[count++] = next;
    }
    words[count] = NULL;
    close(file);
    unlink(path);
    *terminal = *words[0] ? words[0] : NULL;
    return words + 1;
}

static noreturn void execute(char **command, int input, int output, int error, const char *terminal) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (terminal) {
        ioctl(input, TIOCSCTTY, 0);
        setenv("TERM", terminal, 1);
    }
    dup2(input, 0);
    dup2(output, 1);
    dup2(error, 2);
    execvp(command[0], command);
    int status = errno == ENOENT ? 127 : 126;
    dprintf(2, "%s: %s\n", command[0], strerror(errno));
    _exit(status);
}

// The command.
static struct {
    pid_t process;
    int terminal;         // whether it has one
    int input;            // where its input is written; -1 once closed
    int input_ended;      // no more comes than is pending
    int output[2];        // where its standard output and standard error are read
    size_t first, last;   // of pending
    unsigned char pending[FRAME + 1];  // input that it has not taken yet; one more for a terminal's end of input
} it;

static void start(char **command, const char *terminal) {
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
    if (it.process == 0) execute(command, in[0], out[1], err[1], terminal);
    close(in[0]);
    if (!terminal) close(out[1]), close(err[1]);
    it.terminal = terminal != NULL;
    it.input = in[1], it.output[0] = out[0], it.output[1] = err[0];
    it.input_ended = it.first = it.last = 0;
    fcntl(it.input, F_SETFL, O_NONBLOCK);
    fcntl(it.output[0], F_SETFL, O_NONBLOCK);
    if (!terminal) fcntl(it.output[1], F_SETFL, O_NONBLOCK);
}

// Sends available output of the command; false at the end of the stream.
static int forward_output(int from, char type) {
    static char bytes[32768];
    for (;;) {
        ssize_t n = read(from, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        send_frame(type, bytes, n);
    }
}

static void write_input(void) {
    uint32_t taken = 0;
    while (it.first < it.last) {
        size_t length = it.last - it.first;
        ssize_t n = it.input < 0 ? (ssize_t)length : write(it.input, it.pending + it.first, length);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) {  // the command reads no more: what still comes is dropped
            if (!it.terminal) close(it.input);
            it.input = -1;
        } else {
            it.first += n;
            taken += n;
        }
    }
    if (taken > 0) send_frame('t', &taken, 4);
    if (it.first == it.last && it.input_ended && it.input >= 0 && !it.terminal) {
        close(it.input);
        it.input = -1;
    }
}

static void receive(void) {
    read_frame();
    if (frame.type == 'i') {
        if (frame.length == 0) it.input_ended = 1;
        if (frame.length == 0 && it.terminal) frame.bytes[0] = 4, frame.length = 1;  // a terminal's end of input
        memmove(it.pending, it.pending + it.first, it.last - it.first);
        it.last -= it.first, it.first = 0;
        if (frame.length > sizeof it.pending - it.last) frame.length = sizeof it.pending - it.last;
        memcpy(it.pending + it.last, frame.bytes, frame.length);
        it.last += frame.length;
        write_input();
    } else if (frame.type == 'w' && frame.length == 4 && it.terminal) {
        struct winsize size = {0};
        memcpy(&size, frame.bytes, 4);
        ioctl(it.output[0], TIOCSWINSZ, &size);
    }
}

// Transfers input and output until the command ends; returns its status as a shell would.
static int serve(int children) {
    for (;;) {
        struct pollfd ready[5] = {
            {.fd = it.output[0], .events = POLLIN},
            {.fd = it.output[1], .events = POLLIN},
            {.fd = children, .events = POLLIN},
            {.fd = it.first < it.last ? it.input : -1, .events = POLLOUT},
            {.fd = port, .events = POLLIN},
        };
        poll(ready, 5, more_is_buffered() ? 0 : -1);
        if (ready[0].revents && !forward_output(it.output[0], 'o') && !it.terminal) it.output[0] = -1;
        if (ready[1].revents && !forward_output(it.output[1], 'e')) it.output[1] = -1;
        if (ready[3].revents) write_input();
        if (ready[4].revents || more_is_buffered()) receive();
        if (ready[2].revents) {
            struct signalfd_siginfo information;
            int status;
            read(children, &information, sizeof information);
            for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
                if (ended != it.process) continue;
                // Descendants may keep the streams open: only output that is available now counts.
                if (it.output[0] >= 0) forward_output(it.output[0], 'o');
                if (it.output[1] >= 0) forward_output(it.output[1], 'e');
                return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            }
        }
    }
}

noreturn void run_command_file(const char *path, int children) {
    char *terminal, **command = read_command(path, &terminal);
    start(command, terminal);
    unsigned char status = serve(children);
    send_frame('x', &status, 1);
    for (;;) read_frame();  // until boards/run ends the board, or the run
}
