/* The least that a launcher can do: accept4, start a child, close. No accounting, no environment, no signals: the
 * kernel reaps (SIGCHLD is ignored). What else skd does is measured against this.
 *
 *     floor clone|vfork PORT|PATH PROG
 *
 * clone: in our memory and without waiting, on one of a few stacks, as skd's sys/spawn does it.
 * vfork: waits for exec. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { SLOTS = 8, STACK_BYTES = 32 * 1024, BACKLOG = 4096 };

struct slot {
    int in_use; /* cleared by the kernel when the child has left our memory */
    int conn;
    char *stack_top;
};

static struct slot slots[SLOTS];
static char *prog[2];
extern char **environ;

static void die(const char *what)
{
    perror(what);
    exit(111);
}

/* The child shares our memory, errno included: nothing here but thin system calls. */
static int become_prog(void *argument)
{
    struct slot *slot = argument;
    dup2(slot->conn, 0);
    dup2(slot->conn, 1);
    execve(prog[0], prog, environ);
    _exit(127);
}

static struct slot *free_slot(void)
{
    static unsigned turn;
    struct slot *slot = &slots[turn++ % SLOTS];
    int value;
    while ((value = __atomic_load_n(&slot->in_use, __ATOMIC_ACQUIRE)) != 0)
        syscall(SYS_futex, &slot->in_use, FUTEX_WAIT, value, NULL, NULL, 0);
    return slot;
}

static void by_clone(int conn)
{
    struct slot *slot = free_slot();
    slot->conn = conn;
    __atomic_store_n(&slot->in_use, 1, __ATOMIC_RELEASE);
    int flags = CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD;
    if (clone(become_prog, slot->stack_top, flags, slot, NULL, NULL, &slot->in_use) == -1) {
        perror("clone");
        slot->in_use = 0;
    }
}

static void by_vfork(int conn)
{
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(conn, 0);
        dup2(conn, 1);
        execve(prog[0], prog, environ);
        _exit(127);
    }
    if (pid == -1)
        perror("vfork");
}

static int listen_at(const char *where)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int path = strchr(where, '/') != NULL;
    int listener = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    int bound;
    if (path) {
        strncpy(un.sun_path, where, sizeof un.sun_path - 1);
        bound = bind(listener, (struct sockaddr *)&un, sizeof un);
    } else {
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        in.sin_port = htons(atoi(where));
        bound = bind(listener, (struct sockaddr *)&in, sizeof in);
    }
    if (bound == -1)
        die("bind");
    if (listen(listener, BACKLOG) == -1)
        die("listen");
    return listener;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 100;
    signal(SIGCHLD, SIG_IGN);
    void (*start)(int) = strcmp(argv[1], "vfork") ? by_clone : by_vfork;
    int listener = listen_at(argv[2]);
    prog[0] = argv[3];
    for (int i = 0; i < SLOTS; i++) {
        int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK;
        char *stack = mmap(NULL, STACK_BYTES, protection, flags, -1, 0);
        if (stack == MAP_FAILED)
            die("mmap");
        slots[i].stack_top = stack + STACK_BYTES;
    }
    for (;;) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int conn = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
        if (conn == -1) {
            if (errno != EINTR && errno != ECONNABORTED)
                perror("accept4");
            continue;
        }
        start(conn);
        close(conn);
    }
}
