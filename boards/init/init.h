// The init of an emulated board (see boards/run and boards/up). It sets the board up as a Linux host, runs a command,
// and transfers the command's input and output over a virtio-serial port to boards/run.
//
// All data is sent over one port, in frames: a type, the payload's length (32 bits, little-endian, at most 65536), the
// payload. A zero byte instead of a type is ignored.
//   from the host   b  begin a run on a kept board: the time, nanoseconds since 1970 in 64 bits
//                   a  the next bytes of the run's files, an archive (boards/initramfs.py); the command starts after it
//                   i  input for the command; an empty payload is the end of the input
//                   w  the terminal's size: rows and columns, 16 bits each
//                   k  end the run and clean up: 16 bytes, which the answer repeats; a system shuts down instead
//   to the host     o  standard output of the command                  x  the exit status: one byte, the last frame
//                   e  standard error of the command                   f  the command could not be started: the reason
//                   t  number of input bytes that the command has read: 32 bits
//                   d  the board is ready for a run: the 16 bytes of k
// Ends of streams are frames, since the end of the connection is not reliable: QEMU may drop data when the host closes
// its side, and a port that the host has not opened yet reads as at its end. The host sends at most FRAME bytes of
// input that the command has not read, so that init can always read the port.
#ifndef INIT_H
#define INIT_H

#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

enum { FRAME = 65536, NONCE = 16 };

// link.c: the port and its frames.
extern int port;  // -1 until it is open
extern struct frame {
    char type;
    uint32_t length;
    unsigned char bytes[FRAME];
} frame;  // the last one read

void open_port(void);
void send_frame(char type, const void *payload, uint32_t length);
// Waits for a complete frame. Does not return for a frame k (see stay.c), or if the connection has ended.
void read_frame(void);
// Whether read_frame has buffered data.
int more_is_buffered(void);
// Sends a frame f with an error and errno, and ends the board or the run.
noreturn void give_up(const char *what);

// main.c
// Device files exist in the root directory, or are mounted there.
void mount_file_systems(int devices);
// Changes the root directory, with the file systems mounted there.
void enter_root(const char *directory);
void start_loopback(void);

// command.c: runs the command in a file, serves it until it ends, and sends its exit status. "children" is a signalfd of
// SIGCHLD.
noreturn void run_command_file(const char *path, int children);

// system.c: starts the system (systemd) on a disk, which then starts this program with the argument SERVE as a service.
#define SERVE "serve"
// The directory in the system for this program, the command and the files of the run.
#define SYSTEM_FILES "/run/board"
noreturn void start_system(const char *disk);
noreturn void shut_down_system(void);

// stay.c: serves one run after the other, each with a root directory of its own.
noreturn void stay(int children);
noreturn void end_run(void);  // called for each k

#endif
