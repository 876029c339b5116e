/* The load generator: clients on loopback, one thread, every run bounded in time and number. It prints what it measured
 * as NAME=VALUE words on one line; latencies are from before connect(2) to the end of the connection, in us.
 *
 *     load run WHERE PID WAY CLIENTS MS MAX PAUSE   CLIENTS at once, for MS or MAX connections, each resting PAUSE ms
 *     load held WHERE PID MS LEVEL...           the same with so many connections held open, one line per level
 *
 * WHERE is a port or a path with a slash. PID is the launcher, whose CPU time is read. WAY is what a client does: eof
 * waits for the end, ask sends x first, echo sends hello, says that this is all, and wants hello back. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HELLO "hello\n"
enum { MAX_CLIENTS = 256, MAX_SAMPLES = 1 << 17, MAX_HELD = 16000, WINDOW = 16, PATIENCE_MS = 10000 };
static const double NEVER = 1e18;

struct client {
    int fd;
    int got;
    double started; /* us */
    double due;     /* us: when to connect; NEVER while connected */
};

static union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
} where;
static socklen_t where_size;
static const char *say = "";
static int echoes;
static double samples[MAX_SAMPLES];
static int held[MAX_HELD], held_count;

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(111);
}

static void pause_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

static void aim(const char *text)
{
    if (strchr(text, '/')) {
        where.un.sun_family = AF_UNIX;
        strncpy(where.un.sun_path, text, sizeof where.un.sun_path - 1);
        where_size = sizeof where.un;
    } else {
        where.in.sin_family = AF_INET;
        where.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        where.in.sin_port = htons(atoi(text));
        where_size = sizeof where.in;
    }
}

/* A reset at close leaves no port in TIME_WAIT, of which there would be tens of thousands. */
static int make_socket(int flags)
{
    int fd = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd == -1)
        die("socket");
    struct linger reset = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return fd;
}

/* What the launcher has used, in ns: the first word of each thread's schedstat. */
static double cpu_ns(const char *pid)
{
    char path[600];
    double sum = 0, one;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && fscanf(file, "%lf", &one) == 1)
            sum += one;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return sum;
}

/* Waits until the launcher has done nothing for `quiet_ms`: children of the last run are reaped, the figure stands. */
static double settled_cpu_ns(const char *pid, long quiet_ms)
{
    double before = cpu_ns(pid), end = now_us() + 20e6;
    while (now_us() < end) {
        pause_ms(quiet_ms);
        double after = cpu_ns(pid);
        if (after == before)
            break;
        before = after;
    }
    return before;
}

static int greet(int fd)
{
    size_t length = strlen(say);
    if (length && send(fd, say, length, MSG_NOSIGNAL) != (ssize_t)length)
        return -1;
    return echoes ? shutdown(fd, SHUT_WR) : 0;
}

/* Returns 0, or -1 if the connection failed at once. */
static int begin(struct client *client, int poller)
{
    client->started = now_us();
    client->due = NEVER;
    client->got = 0;
    client->fd = make_socket(SOCK_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
    if (connect(client->fd, &where.any, where_size) == -1) {
        if (errno != EINPROGRESS) {
            close(client->fd);
            return -1;
        }
        event.events = EPOLLOUT;
    } else if (greet(client->fd) == -1) {
        close(client->fd);
        return -1;
    }
    return epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event);
}

/* Returns 1 while the connection goes on, 0 at its end, -1 if it failed. */
static int go_on(struct client *client, unsigned events, int poller)
{
    if (events & EPOLLOUT) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
        if (error || greet(client->fd) == -1)
            return -1;
        return epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event) == -1 ? -1 : 1;
    }
    char bytes[64];
    ssize_t count = read(client->fd, bytes, sizeof bytes);
    if (count == -1)
        return errno == EAGAIN ? 1 : -1;
    client->got += (int)count;
    if (count > 0)
        return 1;
    return client->got == (echoes ? (int)strlen(HELLO) : 0) ? 0 : -1;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(int count, double part)
{
    int place = (int)(part * count);
    return count ? samples[place < count ? place : count - 1] : 0;
}

struct run {
    int clients;
    double ms;
    long max;
    double pause_ms;
};

struct result {
    int done;     /* good connections, all of them */
    int in_time;  /* those that ended before the time was over */
    int failed;
    double secs;
};

/* Connects what is due, if more may begin. Returns the ms until the next is due. */
static int begin_due(struct client *clients, const struct run *run, int poller, long *begun, struct result *result)
{
    double now = now_us(), next = now + 100e3;
    for (int i = 0; i < run->clients; i++) {
        if (clients[i].due > now) {
            next = clients[i].due < next ? clients[i].due : next;
            continue;
        }
        if (*begun >= run->max) {
            clients[i].due = NEVER;
            continue;
        }
        ++*begun;
        if (begin(&clients[i], poller) == -1) {
            result->failed++;
            clients[i].due = now + 1e3;
        }
    }
    return (int)((next - now) / 1e3 + 0.999);
}

static struct result generate(const struct run *run)
{
    static struct client clients[MAX_CLIENTS];
    struct epoll_event events[MAX_CLIENTS];
    struct result result = { 0 };
    int poller = epoll_create1(EPOLL_CLOEXEC), open = 1;
    long begun = 0;
    double start = now_us(), end = start + run->ms * 1e3, last = start;
    for (int i = 0; i < run->clients; i++)
        clients[i] = (struct client) { .fd = -1, .due = start };
    while (open && now_us() < end + PATIENCE_MS * 1e3) {
        int over = now_us() >= end || begun >= run->max;
        int wait = over ? 100 : begin_due(clients, run, poller, &begun, &result);
        int count = epoll_wait(poller, events, MAX_CLIENTS, wait);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            int state = go_on(client, events[i].events, poller);
            if (state == 1)
                continue;
            close(client->fd);
            last = now_us();
            client->due = last + run->pause_ms * 1e3;
            if (state == -1) {
                result.failed++;
                continue;
            }
            if (result.done < MAX_SAMPLES)
                samples[result.done++] = last - client->started;
            result.in_time += last < end;
            if (!over && last < end && run->pause_ms == 0 && begun < run->max) {
                begun++;
                if (begin(client, poller) == -1) {
                    result.failed++;
                    client->due = last + 1e3;
                }
            }
        }
        open = !over;
        for (int i = 0; i < run->clients; i++)
            open |= over && clients[i].due == NEVER && clients[i].fd != -1;
    }
    for (int i = 0; i < run->clients; i++)
        if (clients[i].due == NEVER && clients[i].fd != -1)
            result.failed++, close(clients[i].fd);
    close(poller);
    result.secs = ((last < end ? last : end) - start) / 1e6;
    qsort(samples, (size_t)result.done, sizeof *samples, by_size);
    return result;
}

/* How many processes this machine has made. */
static long forks(void)
{
    char line[4096];
    long count = 0;
    FILE *file = fopen("/proc/stat", "r");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "processes %ld", &count);
    if (file)
        fclose(file);
    return count;
}

/* A launcher that closes connections and starts nothing is fast, but no launcher: those connections have failed. */
static void measure(const struct run *run, const char *pid)
{
    double before = settled_cpu_ns(pid, 10);
    long made = forks();
    struct result result = generate(run);
    made = forks() - made;
    if (made < result.done)
        result.failed += result.done - (int)made;
    double used = settled_cpu_ns(pid, 10) - before;
    printf("rate=%.0f p50=%.0f p99=%.0f p999=%.0f cpu=%.2f done=%d failed=%d", result.in_time / result.secs,
           quantile(result.done, 0.5), quantile(result.done, 0.99), quantile(result.done, 0.999),
           result.done ? used / 1e3 / result.done : 0, result.done, result.failed);
}

/* Connections whose program says that it is there. Returns how many were added. */
static int hold_some(int count)
{
    struct timeval patience = { PATIENCE_MS / 1000, 0 };
    int first = held_count, good = 0;
    for (int i = 0; i < count; i++) {
        int fd = make_socket(0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (connect(fd, &where.any, where_size) == -1 || send(fd, "h", 1, MSG_NOSIGNAL) != 1) {
            close(fd);
            break;
        }
        held[held_count++] = fd;
    }
    for (int i = first; i < held_count; i++) {
        char byte;
        if (recv(held[i], &byte, 1, 0) != 1)
            return good;
        good++;
    }
    return good;
}

static int hold(int level)
{
    double end = now_us() + 60e6;
    while (held_count < level) {
        int count = level - held_count < WINDOW ? level - held_count : WINDOW;
        if (now_us() > end || hold_some(count) != count)
            return -1;
    }
    return 0;
}

/* Private dirty memory and open descriptors of the launcher. */
static void print_footprint(const char *pid)
{
    char path[64], line[256];
    long dirty = 0, rss = 0;
    int fds = -2; /* . and .. */
    snprintf(path, sizeof path, "/proc/%s/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "Private_Dirty: %ld", &dirty);
        sscanf(line, "Rss: %ld", &rss);
    }
    if (file)
        fclose(file);
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *open = opendir(path);
    while (open && readdir(open))
        fds++;
    if (open)
        closedir(open);
    printf(" dirty=%ld rss=%ld fds=%d", dirty, rss, fds);
}

static void run_held(const char *pid, double ms, char **levels)
{
    struct run run = { .clients = 16, .ms = ms, .max = MAX_SAMPLES };
    for (; *levels; levels++) {
        int level = atoi(*levels);
        if (level > MAX_HELD || hold(level) == -1)
            break;
        settled_cpu_ns(pid, 50);
        say = "x";
        printf("level=%d ", level);
        measure(&run, pid);
        print_footprint(pid);
        putchar('\n');
    }
    while (held_count > 0)
        close(held[--held_count]);
    settled_cpu_ns(pid, 200);
    printf("level=after");
    print_footprint(pid);
    putchar('\n');
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    const char *what = argc > 2 ? argv[1] : "";
    if (strcmp(what, "run") == 0 && argc == 9) {
        struct run run = { atoi(argv[5]), atof(argv[6]), atol(argv[7]), atof(argv[8]) };
        if (run.clients < 1 || run.clients > MAX_CLIENTS || run.max > MAX_SAMPLES)
            return 100;
        aim(argv[2]);
        echoes = strcmp(argv[4], "echo") == 0;
        say = echoes ? HELLO : strcmp(argv[4], "ask") == 0 ? "x" : "";
        measure(&run, argv[3]);
        print_footprint(argv[3]);
        putchar('\n');
    } else if (strcmp(what, "held") == 0 && argc > 5) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        aim(argv[2]);
        run_held(argv[3], atof(argv[4]), argv + 5);
    } else {
        return 100;
    }
    return 0;
}
