//! Clocks that jump, as skd sees them: a library before libc answers in the kernel's place. The clocks of the machine
//! are left alone.

use super::{hears_at, is_served, library};
use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::Skd;
use crate::kit::{DEADLINE, Folder, eventually, need};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The time of both clocks is moved by so many seconds, which are in a file that can change.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile const long long *moved;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MOVED");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (map != MAP_FAILED) moved = map;
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, id, now);
    if (!done && moved && id == CLOCK_REALTIME) now->tv_sec += moved[0];
    if (!done && moved && id == CLOCK_MONOTONIC) now->tv_sec += moved[1];
    return done;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
"#;

const DAY: i64 = 86_400;
const YEAR: i64 = 366 * DAY;

/// The library, and the file that it reads.
struct Clocks {
    folder: Folder,
    library: String,
    moved: File,
}

impl Clocks {
    fn new() -> Self {
        let folder = Folder::new();
        let library = library(&folder, SOURCE);
        let moved = File::create(folder.path("moved")).unwrap();
        let it = Self {
            folder,
            library,
            moved,
        };
        it.set(0, 0);
        it
    }

    /// The wall clock and the monotonic one are moved by so many seconds from now on.
    fn set(&self, wall: i64, monotonic: i64) {
        let bytes = [wall.to_ne_bytes(), monotonic.to_ne_bytes()].concat();
        self.moved.write_all_at(&bytes, 0).unwrap();
    }

    fn seen_by(&self, skd: Skd) -> Skd {
        let skd = skd.env("LD_PRELOAD", &self.library);
        skd.env("MOVED", self.folder.path("moved"))
    }
}

/// Long before 1970, beyond 32 bits, beyond year 9999, and as far as numbers go. How long a program ran is another clock's.
#[test]
fn a_wall_clock_may_say_anything() {
    if !need::root() || !need::program("cc") {
        return;
    }
    let clocks = Clocks::new();
    let conf = clocks.folder.path("inetd.conf");
    let paths = ["daytime", "time"].map(|name| clocks.folder.path(name));
    let [daytime, time] = &paths;
    let lines = format!(
        "{daytime} stream unix nowait root internal daytime\n\
         {time} stream unix nowait root internal time\n"
    );
    std::fs::write(&conf, lines).unwrap();
    let words = format!("-1 -v --log-format json --inetd-conf {conf} -t 127.0.0.1:0 cat");
    let mut skd = clocks.seen_by(Skd::new(&words)).spawn();
    let port = skd.port();
    let mut ends = 0;
    for (wall, year) in [
        (0, "2"),
        (-100 * YEAR, "1970-01-01T00:00:00."),
        (100 * YEAR, "21"),
        (9000 * YEAR, "1970-01-01T00:00:00."),
        (i64::MAX / 4, "1970-01-01T00:00:00."),
        (i64::MIN / 4, "1970-01-01T00:00:00."),
        (-YEAR, "2"),
    ] {
        let mut held = Client::tcp(port);
        held.says("hello").hears("hello");
        clocks.set(wall, 0);
        assert!(is_served(port));
        for path in &paths {
            assert!(!hears_at(path).is_empty(), "{wall}");
        }
        drop(held);
        skd.is_alone();
        ends += 4;
        let line = skd.waits_for_nth(r#""event":"end""#, ends);
        let time = line.strip_prefix(r#"{"time":""#).unwrap();
        assert!(time.starts_with(year), "{wall}: {line}");
        let (_, secs) = line.split_once(r#""secs":"#).unwrap();
        let secs: f64 = secs.split([',', '}']).next().unwrap().parse().unwrap();
        assert!((0.0..DEADLINE.as_secs_f64()).contains(&secs), "{line}");
    }
    skd.stop();
}

/// A machine that slept, or was stopped and moved: what was due meanwhile is due at once.
#[test]
fn a_monotonic_clock_that_jumps_ends_what_is_due_and_nothing_else() {
    if !need::program("cc") {
        return;
    }
    let clocks = Clocks::new();
    let words = "-1 -v -c 9 -C 9 --rate 100/1 --rate-per-source 100/1 --proxy-from 127.0.0.2 \
                 --proxy-timeout 3600 --drain 3600 -t 127.0.0.1:0 cat";
    let mut skd = clocks.seen_by(Skd::new(words)).start();
    let port = skd.port();
    let mut held = Client::tcp(port);
    held.says("hello").hears("hello");
    // An answer shows that skd has let go of the connection.
    skd.status();
    let before = skd.descriptors();
    let mut now = 0;
    for jump in [DAY, 100 * YEAR, 1000 * YEAR] {
        // Somebody whose header is awaited for an hour.
        let mut waiting = Client::of_tcp(tcp_from_loopback(2, port));
        eventually("somebody who is awaited", || {
            (skd.descriptors() > before).then_some(())
        });
        now += jump;
        clocks.set(0, now);
        assert!(is_served(port), "{jump}");
        assert_eq!(waiting.hears_rest(), "", "{jump}");
        held.says("again").hears("again");
    }
    drop(held);
    skd.is_alone();
    skd.comes_to_have(before);
    let stderr = skd.stop().stderr;
    assert!(!stderr.contains("warning"), "{stderr}");
}
