//! The manual states the limits that the code has.

use super::{INETD, MANUAL, ROOT, RULES, prose};
use crate::kit::need;
use crate::kit::skd::Skd;

/// The value of a constant in the source, digits only.
pub(crate) fn constant(file: &str, name: &str) -> String {
    let source = std::fs::read_to_string(format!("{ROOT}/src/{file}")).unwrap();
    let value = source
        .split_once(&format!("const {name}: "))
        .map(|(_, rest)| rest);
    let value = value.and_then(|rest| rest.split_once(" = ")?.1.split_once(";\n"));
    let (value, _) = value.unwrap_or_else(|| panic!("{name} is not in {file}"));
    let digits = value.replace('_', "").replace("Duration::from", "");
    let words = digits.split(|c: char| !c.is_ascii_digit() && !c.is_ascii_alphabetic());
    let words = words
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "secs" => "s",
            "millis" => "ms",
            other => other,
        });
    words.collect::<Vec<_>>().join(" ")
}

/// The same for skd-inetd.conf(5).
const INETD_LIMITS: &str = "\
serve/inetd/mod.rs FILE_BYTES | 1 20 | at most 1 MiB and 10000 services
config/inetd/mod.rs MOST_SERVICES | 10000 | at most 1 MiB and 10000 services
config/inetd/words.rs MOST_WORDS | 1024 | a service at most 1024 words
config/inetd/fields.rs MOST_BUFFER | 1 30 | from 1 to 1073741824
serve/internal/mod.rs MOST | 64 | At most 64 connections are talked to at once
serve/internal/mod.rs PATIENCE | s 60 | for 60 s is closed
serve/internal/answers.rs DATAGRAM_BYTES | 512 | with more than 512 bytes
serve/internal/answers.rs LOWEST_PORT | 1024 | from a port below 1024
serve/inetd/change.rs FIRST_PAUSE | s 1 | after 1 s, 2 s and so on
serve/inetd/change.rs LONGEST_PAUSE | s 60 | up to 60 s.
admit/quota.rs MINUTE | s 60 | starts in a minute";

/// The same for skd-rules(5).
const RULES_LIMITS: &str = "\
admit/rules/mod.rs FILE_BYTES | 16 20 | at most 16 MiB and 1000000 addresses
admit/rules/mod.rs ADDRESSES | 1000000 | at most 16 MiB and 1000000 addresses
serve/rulesfile.rs LOOK_EVERY | s 1 | at most once a second, and at HUP";

/// A constant, its value as `constant` has it, and how the manual says it.
const LIMITS: &str = "\
config/draft.rs BACKLOG | 4096 | Default: 4096.
config/draft.rs MOST_CONNECTIONS | 1000000 | from 1 to 1000000.
config/names/inetd.rs RATE | 256 | times in a minute, 256 if that is left out
config/logspec.rs TAG_BYTES | 64 | has 1 to 64 bytes
config/logspec.rs DEFAULT_FACILITY | 3 | Default: daemon.notice.
config/logspec.rs DEFAULT_SEVERITY | 5 | Default: daemon.notice.
listen/inherit.rs MOST | 4096 | a whole number from 1 to 4096
listen/inherit.rs MOST | 4096 | at most 4096 descriptors
listen/inherit.rs MOST | 4096 | With more than 4096 sockets there is no upgrade
config/addr.rs HIGHEST_VSOCK_PORT | 4294967294 | is a whole number from 0 to 4294967294.
config/sockopt.rs MOST_KEEPALIVE_SECS | 32767 | each from 1 to 32767
config/sockopt.rs MOST_PROBES | 127 | from 1 to 127.
config/sockopt.rs MOST_DEFER_SECS | 3600 | from 1 to 3600.
config/sockopt.rs DEVICE_BYTES | 15 | at most 15 bytes
model/address.rs UNIX_NAME_BYTES | 107 | has at most 107 bytes
model/text.rs FOREIGN_CHARS | 100 | at most 100 characters are shown
report/line.rs LINE_BYTES | 4096 | at most 4096 bytes each
report/repeats.rs TOLD | 10 | 10 are written in a minute
report/repeats.rs SPAN | s 60 | 10 are written in a minute
report/repeats.rs ENTRIES | 256 | At most 256 different warnings
daemon/lines.rs MESSAGE_BYTES | 8096 | no message has more than 8096 bytes
daemon/lines.rs KEPT_BYTES | 1024 1024 | keeps 1 MiB of messages
daemon/logger.rs RETRY | ms 200 | tries again every 0.2 s
daemon/logger.rs FAREWELL | s 5 | it waits 5 s for it at most
sys/aside.rs KEPT | s 2 | are let go of after 2 s
sys/aside.rs THREADS | 16 | at most 16 threads
sys/lingering.rs LONGEST | s 1 | none of which waits longer than 1 s
sys/aside.rs WAITING | 64 | While 64 such connections
serve/mod.rs BATCH | 16 | Up to 16 connections are taken
serve/mod.rs REST | ms 100 | that listener rests for 100 ms
config/draft.rs MOST_SECS | 31536000 | from 1 to 31536000.
config/draft.rs MOST_SECS | 31536000 | from 0 to 31536000,
serve/stopping.rs GRACE | s 5 | and 5 s later KILL
serve/notices.rs STATUS_EVERY | s 1 | at most once a second
serve/notices.rs RETRY | ms 100 | is tried again every 0.1 s, at most 100 times
serve/notices.rs TRIES | 100 | is tried again every 0.1 s, at most 100 times
serve/upgrade.rs PATIENCE | s 2 | exits 0 within 2 s
serve/upgrade.rs SAID_BYTES | 4096 | of the first 4096 bytes that it writes to stderr
serve/scrapes.rs MOST | 64 | At most 64 ask at once
serve/scrapes.rs UNSENT_BYTES | 8 20 | while 8 MiB of answers are still to be read
serve/scrapes.rs PATIENCE | s 5 | whoever has not said all of it after 5 s is closed
report/http.rs REQUEST_BYTES | 8 1024 | A request has at most 8192 bytes
serve/lent.rs DOUBTS | 16 | up to 16 starts in a row
serve/guard.rs STARTS | 5 | at most 5 times
serve/guard.rs PAUSES | ms 100 ms 400 s 1 s 2 | with pauses of 0.1, 0.4, 1 and 2 seconds
serve/supervise.rs YOUNG | s 5 | lived for less than 5 s
serve/supervise.rs FIRST_PAUSE | s 1 | there is a pause of 1 s, which doubles
serve/supervise.rs LONGEST_PAUSE | s 60 | up to 60 s;
serve/supervise.rs FIRST_EXEC | s 5 | waits up to 5 s until PROG runs
serve/supervise.rs GRACE | s 5 | after 5 s PROG is killed by KILL
sys/spawn/mod.rs SLOTS | 8 | At most 8 children at once
serve/connections.rs LONG | s 1 | when none of those 8 has got there for 1 s
sys/spawn/child.rs NOT_EXECUTED | 127 | exits 127
config/rate.rs COUNTS | 1 1000000 | is from 1 to 1000000, and SECS from 1 to 86400.
config/rate.rs SECS | 1 86400 | is from 1 to 1000000, and SECS from 1 to 86400.
config/admission.rs MOST_SECS | 3600 | seconds, from 1 to 3600, for a whole PROXY header. Default: 3.
config/admission.rs PROXY_SECS | s 3 | seconds, from 1 to 3600, for a whole PROXY header. Default: 3.
config/admission.rs LOOKUP_SECS | s 5 | is left out. Default: 5.
admit/rates.rs SOURCES | 65536 | At most 65536 sources are remembered
admit/proxy/mod.rs HEADER_BYTES | 4096 | A header has at most 4096 bytes
admit/proxy/tls.rs VALUE_BYTES | 255 | One that has more than 255 bytes
serve/pending.rs MOST | 1024 | At most 1024 connections wait for the rest of a PROXY header
serve/farewell.rs MOST | 64 | At most 64 are seen off so at once
serve/farewell.rs PATIENCE | s 5 | has not closed the connection after 5 s
launch/told.rs NAME_BYTES | 255 | at most 255 bytes; others count as none.
launch/told.rs NAME_BYTES | 255 | 255 bytes of the user are taken
launch/lookup.rs ANSWER_BYTES | 1000 | 1000 bytes are read
admit/proxy/v1.rs LINE_BYTES | 107 | a line at most 107 of them.
launch/plan.rs DEFAULT_PATH | bin usr bin | Default: /bin:/usr/bin.
";

#[test]
fn the_manual_states_the_limits_that_the_code_has() {
    let manual = prose(&MANUAL.lines().collect::<Vec<_>>());
    let inetd = prose(&INETD.lines().collect::<Vec<_>>());
    let rules = prose(&RULES.lines().collect::<Vec<_>>());
    let pages = [
        (LIMITS, &manual),
        (INETD_LIMITS, &inetd),
        (RULES_LIMITS, &rules),
    ];
    for (limits, page) in pages {
        for line in limits.lines() {
            let parts: Vec<&str> = line.split(" | ").collect();
            let (file, name) = parts[0].split_once(' ').unwrap();
            assert_eq!(constant(file, name), parts[1], "{name} of {file}");
            assert!(page.contains(parts[2]), "{}", parts[2]);
        }
    }
    let ranges = [
        ("-b 2147483648", "from 1 to 2147483647"),
        ("--mode 1000", "from 0 to 0777"),
        ("--umask 1000", "from 0 to 0777"),
    ];
    for (words, range) in ranges {
        let skd = Skd::new(&format!("-t 127.0.0.1:0 {words} cat"));
        assert!(skd.outcome().stderr.contains(range), "{words}");
        assert!(manual.contains(range), "{range}");
    }
    for (gid, code) in [("4294967294", 0), ("4294967295", 100)] {
        let skd = Skd::new("--check -U true").env("UID", "0").env("GID", gid);
        assert!(!need::root() || skd.outcome().code == code, "{gid}");
    }
    assert!(manual.contains("whole numbers from 0 to 4294967294."));
}
