/* Time from before vfork(2) to readiness, in us, and free ports.
 *
 *     start ports N                 N free ports of loopback, away from those that the kernel hands out
 *     start connect PORT COMMAND    until the first connect that succeeds
 *     start line COMMAND            until the first whole line on stdout
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, LOWEST_PORT = 20000, PORTS = 12000 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    perror(what);
    exit(111);
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    in.sin_port = htons((unsigned short)port);
    return in;
}

/* vfork(2) and exec, with stdout into `out` if that is a descriptor. */
static pid_t launch(char **command, int out)
{
    pid_t pid = vfork();
    if (pid == 0) {
        if (out >= 0)
            dup2(out, 1);
        execv(command[0], command);
        _exit(127);
    }
    if (pid == -1)
        die("vfork");
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int i = 0; i < 2000; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return;
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void run_connect(int port, char **command)
{
    struct sockaddr_in in = loopback(port);
    double start = now_us(), took = -1;
    pid_t pid = launch(command, -1);
    while (took < 0 && now_us() < start + PATIENCE_MS * 1e3) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&in, sizeof in) == 0)
            took = now_us() - start;
        close(fd);
        if (took < 0 && waitpid(pid, NULL, WNOHANG) == pid)
            return;
    }
    printf("ready=%.0f\n", took);
    end(pid);
}

static void run_line(char **command)
{
    int ends[2];
    char byte = 0;
    if (pipe2(ends, O_CLOEXEC) == -1)
        die("pipe2");
    double start = now_us(), took = -1;
    pid_t pid = launch(command, ends[1]);
    close(ends[1]);
    struct pollfd readable = { ends[0], POLLIN, 0 };
    while (byte != '\n' && poll(&readable, 1, PATIENCE_MS) == 1 && read(ends[0], &byte, 1) == 1)
        took = now_us() - start;
    printf("ready=%.0f\n", byte == '\n' ? took : -1);
    end(pid);
}

static void print_ports(int count)
{
    srand((unsigned)getpid() ^ (unsigned)time(NULL));
    int first = rand() % PORTS;
    for (int i = 0; count > 0 && i < PORTS; i++) {
        int port = LOWEST_PORT + (first + i) % PORTS;
        struct sockaddr_in in = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && count-- > 0)
            printf("%d\n", port);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    if (strcmp(what, "ports") == 0)
        print_ports(atoi(argv[2]));
    else if (strcmp(what, "line") == 0)
        run_line(argv + 2);
    else if (strcmp(what, "connect") == 0 && argc > 3)
        run_connect(atoi(argv[2]), argv + 3);
    else
        return 100;
    return 0;
}
