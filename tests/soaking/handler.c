/* PROG of tests/soak: one line with what it was told, and then everything back until the client has said all.
 *
 *     handler          a connection, or a socket of datagrams, of which it answers one
 *     handler accept   a listener, of which it accepts one connection */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const names[] = { "PROTO",        "TCPREMOTEIP",    "TCPREMOTEPORT", "TCPLOCALPORT",
                                     "TCPCONNNUM",   "UNIXREMOTEEUID", "UNIXCONNNUM",   "UDPREMOTEIP",
                                     "UDPREMOTEPORT", "PROXYREMOTEIP", "SOAK" };

static char buffer[64 * 1024];

static size_t greet(void)
{
    size_t len = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value)
            len += (size_t)snprintf(buffer + len, 256, "%s=%.100s ", names[i], value);
    }
    return len + (size_t)snprintf(buffer + len, 256, "uid=%d pid=%d\n", (int)getuid(), (int)getpid());
}

static int put(int fd, const char *from, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, from, len);
        if (written < 1)
            return -1;
        from += written;
        len -= (size_t)written;
    }
    return 0;
}

static int answer_datagram(void)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    size_t len = greet();
    ssize_t heard = recvfrom(0, buffer + len, 1024, 0, (struct sockaddr *)&peer, &size);
    return heard < 0 || sendto(0, buffer, len + (size_t)heard, 0, (struct sockaddr *)&peer, size) < 0;
}

/* A client that has gone is no failure: its program ends as any other. */
int main(int argc, char **argv)
{
    int type = 0, conn = 0;
    socklen_t size = sizeof type;
    ssize_t heard;
    signal(SIGPIPE, SIG_IGN);
    if (getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM)
        return answer_datagram();
    if (argc > 1 && strcmp(argv[1], "accept") == 0 && (conn = accept(0, NULL, NULL)) == -1)
        return 1;
    if (put(conn, buffer, greet()) == 0)
        while ((heard = read(conn, buffer, sizeof buffer)) > 0)
            if (put(conn, buffer, (size_t)heard) == -1)
                break;
    return 0;
}
