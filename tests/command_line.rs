//! The command line: what is a usage error, what is checked, what help and version say.

use crate::kit::net::Client;
use crate::kit::skd::{Outcome, Skd};
use crate::kit::{Folder, fails, probe};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};

/// What is no whole decimal number above zero.
const NO_NUMBERS: &str =
    "|abc|-1|+1|0|00|1x|x1|1 | 1|1.0|1e3|0x10|1_000|1,0|٣|99999999999999999999999999";

/// A usage error whose text is known: all that is on stderr.
fn is_misused(skd: Skd, text: &str) {
    let line = format!("usage: {text}; try \"skd --help\"");
    fails(skd, 100, &line);
}

/// Each line is a command line and the text of the usage error that it is.
fn are_misused(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (words, text) = line.split_once("=>").unwrap();
        is_misused(Skd::new(words), text.trim());
    }
}

/// What these words make skd do: its exit code, its stdout, its stderr.
fn said(words: &str) -> (i32, String, String) {
    let outcome = Skd::new(words).outcome();
    (outcome.code, outcome.stdout, outcome.stderr)
}

fn nothing() -> (i32, String, String) {
    (0, String::new(), String::new())
}

/// It ended so, and what it said is one line that a log can take: no control character but the last newline.
fn said_one_line(outcome: &Outcome, code: i32) {
    assert!(
        outcome.code == code && outcome.stdout.is_empty(),
        "{outcome:?}"
    );
    let line = outcome.stderr.strip_suffix('\n').unwrap_or("");
    let is_whole = line.starts_with("skd: usage: ") || line.starts_with("skd: fatal: ");
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(is_whole && !line.contains(breaks), "{outcome:?}");
    assert!(line.len() < 4096, "{} bytes", line.len());
    let is_usage = line.starts_with("skd: usage: ") && line.ends_with("; try \"skd --help\"");
    assert_eq!(is_usage, code == 100, "{line}");
}

#[test]
fn numbers_are_whole_decimal_numbers_inside_their_range() {
    for (short, long, above, highest) in [
        ("-c", "--max-connections", "1000001", "1000000"),
        ("-b", "--backlog", "2147483648", "2147483647"),
    ] {
        for number in NO_NUMBERS.split('|').chain([above]) {
            let text = format!("{long}: \"{number}\" is no whole number from 1 to {highest}");
            is_misused(Skd::with_words([short, number, "-t", "0", "cat"]), &text);
            is_misused(
                Skd::with_words([&format!("{long}={number}"), "-t0", "cat"]),
                &text,
            );
            // Nothing behind the letter: the next word would be the value.
            if !number.is_empty() {
                is_misused(
                    Skd::with_words([&format!("{short}{number}"), "-t0", "cat"]),
                    &text,
                );
            }
        }
        for number in ["1", "007", highest] {
            assert_eq!(
                said(&format!("--check -v{}{number} -t 0 cat", &short[1..])),
                nothing()
            );
        }
    }
}

/// The value of a short option is all that stands behind its letter, as getopt(3) has it.
#[test]
fn an_equals_sign_behind_a_short_option_belongs_to_its_value() {
    let text = "--max-connections: \"=5\" is no whole number from 1 to 1000000";
    for before in ["", "--keepalive", "--keepalive=5"] {
        let skd = Skd::new(&format!("--check {before} -c=5 -t 127.0.0.1:0 cat"));
        is_misused(skd, text);
    }
    let folder = Folder::new();
    let skd = Skd::new("-vl=socket cat");
    let skd = skd.under(&format!("env -C {}", folder.path(""))).start();
    assert!(fs::exists(folder.path("=socket")).unwrap());
    skd.stop();
}

#[test]
fn modes_and_descriptors_are_as_strict() {
    let folder = Folder::new();
    let path = folder.path("socket");
    for mode in "|8|0o7|-1|+7|1000|0888|7 | 7|rw|u=rw|٣|77777777777777777777".split('|') {
        let text = format!("--mode: \"{mode}\" is no octal mode from 0 to 0777");
        is_misused(Skd::with_words(["-l", &path, "--mode", mode, "cat"]), &text);
    }
    for number in ["", "x", "-1", "+3", "3x", " 3", "0x3", "99999999999"] {
        let skd = Skd::with_words(["--adopt", &format!("fd:{number}"), "cat"]);
        said_one_line(&skd.outcome(), 100);
    }
    assert!(!fs::exists(&path).unwrap());
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let addresses = "|:80|127.0.0.1|127.0.0.1:|localhost:|*|*:|:|::1|::1:80|[::1]|[::1]:|[::1:80|::1]:80|[]:80\
        |[::1%]:80|[127.0.0.1]:80|[localhost]:80|[::1]80|[::1]]:80|[[::1]:80|65536|127.0.0.1:65536|99999999999999999999\
        |-1|+80|80x|0x50|8 0| 80|80 |80\n|127.0.0.1:-1|a:b:80";
    for address in addresses.split('|') {
        for option in ["--tcp", "--udp", "--inet"] {
            let skd = Skd::with_words([option, address, "cat"]);
            said_one_line(&skd.outcome(), 100);
        }
    }
}

#[test]
fn an_address_of_the_other_family_is_wrong_usage() {
    are_misused(
        "-4 -t [::1]:0 cat => --tcp: ::1 is no IPv4 address, but --ipv4 is given
        -u 127.0.0.1:0 -6 cat => --udp: 127.0.0.1 is no IPv6 address, but --ipv6 is given
        -i [::]:0 -4 cat => --inet: :: is no IPv4 address, but --ipv4 is given",
    );
}

#[test]
fn a_path_may_hold_any_bytes() {
    let folder = Folder::new();
    let mut path = folder.path("a b\n").into_bytes();
    path.push(0xff);
    let path = OsString::from_vec(path);
    let skd = Skd::new("-vl").word(&path).word("cat").start();
    let stream = UnixStream::connect(&path).unwrap();
    Client::of_unix(stream).says("hello").hears("hello");
    let listens = format!("skd: info: listen unix:{}\n", folder.path("a b??"));
    assert!(skd.stop().stderr.starts_with(&listens));
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

#[test]
fn an_option_that_takes_one_value_may_not_be_given_twice() {
    are_misused(
        "-b 5 -b 5 -t 0 cat => --backlog: given more than once
        -c 5 --max-connections=5 -t 0 cat => --max-connections: given more than once
        --mode 600 --mode=600 -l x cat => --mode: given more than once
        --owner 0 -l x --owner 0 cat => --owner: given more than once
        --proto=X -t 0 --proto X cat => --proto: given more than once
        --keepalive -t 0 --keepalive cat => --keepalive: given more than once
        --keepalive=5 -t 0 --keepalive cat => --keepalive: given more than once
        --defer-accept 5 -t 0 --defer-accept=5 cat => --defer-accept: given more than once
        --bind-to-device lo -t 0 --bind-to-device lo cat => --bind-to-device: given more than once",
    );
}

#[test]
fn options_that_exclude_each_other_are_a_usage_error() {
    are_misused(
        "-d -t 0 cat => --datagram and --tcp exclude each other
        -t 0 -l x -d cat => --datagram and --tcp exclude each other
        -d -t 0 -i 0 cat => --datagram and --tcp exclude each other
        -d -l x --vsock 5 cat => --datagram and --vsock exclude each other
        -s -u 0 cat => --stream and --udp exclude each other
        -sd -l x cat => --stream and --datagram exclude each other
        -s --seqpacket -l x cat => --stream and --seqpacket exclude each other
        -d --seqpacket -l x cat => --datagram and --seqpacket exclude each other
        -46 -t 0 cat => --ipv4 and --ipv6 exclude each other
        -qv -t 0 cat => --quiet and --verbose exclude each other
        --no-adopt --adopt listen-fds cat => --no-adopt and --adopt listen-fds exclude each other",
    );
    let fine = "-s -u 0 -l x;-s -u 0 -i 0;-d -u 0;-d -l x -u 0 -i 0;--seqpacket -l x -t 0 -u 0;\
        -ss -nn -vvvv -11 -44 -t 0;-dd -l x;-qq -t 0;--no-adopt --no-adopt -t 0;-t 0 -t 0 -l x -x x";
    for words in fine.split(';') {
        assert_eq!(said(&format!("--check {words} cat")), nothing(), "{words}");
    }
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    are_misused(
        "=> PROG is missing
        -- => PROG is missing
        -t 0 -- => PROG is missing
        -t cat => PROG is missing; \"cat\" was taken for the value of --tcp
        -vl cat => PROG is missing; \"cat\" was taken for the value of --unix
        -P a -l cat => PROG is missing; \"cat\" was taken for the value of --unix
        --proto=cat => PROG is missing
        -t => --tcp: a value is missing
        -vb => --backlog: a value is missing
        --proto => --proto: a value is missing
        --proto= cat => --proto: a name is missing
        --nodelay=1 -t 0 cat => --nodelay: takes no value
        --help=me => --help: takes no value
        --completion => --completion: a value is missing
        --completion= => --completion: \"\": bash, zsh or fish expected
        -v --completion csh cat => --completion: \"csh\": bash, zsh or fish expected
        --completion bash --completion zsh => --completion: given more than once
        --mptcp=1 -t 0 cat => --mptcp: takes no value
        --bind-to-device= -t 0 cat => --bind-to-device: \"\": an interface's name has 1 to 15 bytes
        --bind-to-device sixteen-letters- -t 0 cat => --bind-to-device: \"sixteen-letters-\": an interface's name \
            has 1 to 15 bytes
        --defer-accept -t 0 cat => --defer-accept: \"-t\" is no whole number from 1 to 3600
        --keepalive= -t 0 cat => --keepalive: \"\" is no whole number from 1 to 32767
        --keepalive==5 -t 0 cat => --keepalive: \"=5\" is no whole number from 1 to 32767
        --keepalive=5,6,7,8 -t 0 cat => --keepalive: \"5,6,7,8\": IDLE[,INTERVAL[,COUNT]] expected
        -t 127.0.0.1 cat => --tcp: \"127.0.0.1\": a port is missing behind the host, [HOST:]PORT expected
        -t tcp:127.0.0.1:80 cat => --tcp: \"tcp:127.0.0.1:80\": [HOST:]PORT expected, \"tcp:\" is how the log writes \
            --tcp
        -i udp:[::]:80 cat => --inet: \"udp:[::]:80\": [HOST:]PORT expected, \"udp:\" is how the log writes --udp
        -t 127.0.0.1:80,127.0.0.2:80 cat => --tcp: \"127.0.0.1:80,127.0.0.2:80\": one [HOST:]PORT is expected, --tcp \
            may be given several times
        -t 127.0.0.1:7000x cat => --tcp: there is no tcp service \"7000x\"; [HOST:]PORT expected, PORT being 0 to \
            65535 or a service name
        -u localhost cat => --udp: there is no udp service \"localhost\"; [HOST:]PORT expected, PORT being 0 to 65535 \
            or a service name
        -d -i nosuch cat => --inet: there is no udp service \"nosuch\"; [HOST:]PORT expected, PORT being 0 to 65535 or \
            a service name
        --keepalive 60 -t 80 cat => --keepalive: \"60\" is not joined to it, --keepalive[=IDLE[,INTERVAL[,COUNT]]] expected
        -t 80 --keepalive 60,5 cat => --keepalive: \"60,5\" is not joined to it, --keepalive[=IDLE[,INTERVAL[,COUNT]]] \
            expected
        --vsock= cat => --vsock: \"\": a port is missing
        --vsock 4294967295 cat => --vsock: \"4294967295\": a vsock port is a whole number from 0 to 4294967294
        --vsock http cat => --vsock: \"http\": a vsock port is a whole number from 0 to 4294967294
        --vsock host:5 cat => --vsock: \"host:5\": a CID is a whole number from 0 to 4294967295 or \"*\"
        --vsock :5 cat => --vsock: \":5\": a CID is missing before the colon; leave out the colon for every CID
        -l @ cat => --unix: \"@\": a path or @name is expected
        --unix= cat => --unix: \"\": a path or @name is expected
        --owner= cat => --owner: \"\": USER[:GROUP] expected
        --owner : cat => --owner: \":\": USER[:GROUP] expected
        --owner nosuch -l x cat => --owner: there is no user \"nosuch\"
        --owner 0:nosuch -l x cat => --owner: there is no group \"nosuch\"
        --owner 4294967295 -l x cat => --owner: there is no user \"4294967295\"",
    );
    is_misused(Skd::new("-t 0").word("").word("cat"), "PROG is empty");
}

#[test]
fn what_is_no_option_is_refused_and_named() {
    let unknown = "--bogus -Z -9 --tc --max --TCP --no-nodelay";
    for option in unknown.split_whitespace() {
        let text = format!("there is no option \"{option}\"");
        is_misused(Skd::new(&format!("{option} -t 0 cat")), &text);
        is_misused(Skd::new(&format!("-t 0 {option} 1 cat")), &text);
        let combined = match option.strip_prefix("--") {
            Some(_) => format!("{option}=1"),
            None => option.replacen('-', "-v", 1),
        };
        is_misused(Skd::new(&format!("{combined} cat")), &text);
    }
}

#[test]
fn without_a_socket_options_about_sockets_are_usage_errors() {
    let options = "--backlog=5 --max-connections=5 --mode=600 --owner=0 --proto=X --stream --datagram \
        --seqpacket --ipv4 --ipv6 --nodelay --print-port --stderr-to-client --tcp6 --reuse-port --freebind \
        --bind-to-device=lo --keepalive --keepalive=5 --defer-accept=5 --mptcp";
    for option in options.split_whitespace() {
        let name = option.split('=').next().unwrap();
        let text = format!("{name}: there is no socket");
        is_misused(Skd::new(&format!("{option} echo ran")), &text);
        is_misused(Skd::new(&format!("--check {option} echo ran")), &text);
    }
}

#[test]
fn a_program_that_cannot_be_run_is_fatal() {
    let folder = Folder::new();
    let plain = folder.path("plain");
    fs::write(&plain, "no program").unwrap();
    let itself = folder.path("");
    for (prog, reason) in [
        ("nosuchprogram", "No such file or directory"),
        ("./nosuch/program", "No such file or directory"),
        (plain.as_str(), "Permission denied"),
        (itself.as_str(), "Permission denied"),
    ] {
        for words in ["", "--check", "-1 -t 127.0.0.1:0", "--check -t 127.0.0.1:0"] {
            let line = format!("fatal: unable to run \"{prog}\": {reason}");
            let skd = Skd::new(words).word(prog);
            fails(skd.env("PATH", "/usr/bin:/bin"), 111, &line);
        }
    }
    let skd = Skd::new("-t 127.0.0.1:0 cat").env("PATH", folder.path(""));
    let line = "fatal: unable to run \"cat\": No such file or directory";
    fails(skd, 111, line);
}

/// Where a word that names no program looks like what an option takes, skd says which.
#[test]
fn an_address_in_the_place_of_the_program_is_told_apart() {
    let folder = Folder::new();
    let missing = "No such file or directory";
    for (words, hint) in [
        ("7000", "; to listen there, --tcp 7000"),
        (":7000", "; to listen there, --tcp 7000"),
        ("127.0.0.1:7000", "; to listen there, --tcp 127.0.0.1:7000"),
        ("127.0.0.1 7000", "; to listen there, --tcp 127.0.0.1:7000"),
        ("::1 7000", "; to listen there, --tcp [::1]:7000"),
        ("::1", ""),
        ("127.0.0.1", ""),
        ("0 7000", "; to listen there, --tcp 7000"),
        ("65536", ""),
        ("7000x", ""),
    ] {
        let word = words.split(' ').next().unwrap();
        let line = format!("fatal: unable to run \"{word}\": {missing}{hint}");
        for options in ["", "--check", "-t 127.0.0.1:0"] {
            let skd = Skd::new(&format!("{options} {words} cat"));
            fails(skd, 111, &line);
        }
    }
    let script = folder.script("7000", "echo ran");
    let path = format!("{}:/usr/bin:/bin", folder.path(""));
    for words in ["7000 cat", "--quiet -- 7000", &script] {
        let outcome = Skd::new(words).env("PATH", &path).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "ran\n"));
    }
    fs::remove_file(&script).unwrap();
    fs::create_dir(&script).unwrap();
    let line = "fatal: unable to run \"7000\": Permission denied";
    fails(Skd::new("7000 cat").env("PATH", &path), 111, line);
}

#[test]
fn a_host_that_is_the_logs_word_for_a_protocol_is_told_apart() {
    for (words, host) in [("-t udp:17040", "udp"), ("-u tcp:17040", "tcp")] {
        let outcome = Skd::new(&format!("{words} cat")).outcome();
        said_one_line(&outcome, 111);
        let start = format!("skd: fatal: unable to find the host \"{host}\": ");
        let hint = format!("; \"{host}:\" is how the log writes --{host}\n");
        let said = &outcome.stderr;
        assert!(said.starts_with(&start) && said.ends_with(&hint), "{said}");
    }
}

#[test]
fn hostile_words_make_one_harmless_line() {
    let hostile = b"a\nskd: fatal: b\r\x1b[31m\x07\x7f\xc2\x9b\xe2\x80\xa8\xff%s%n".to_vec();
    let long = vec![b'9'; 120 * 1024];
    for word in [hostile, vec![b'x'; 300], long] {
        let word = OsString::from_vec(word);
        let options =
            "-c -b --mode --owner -t -u -i --vsock --adopt --bind-to-device --defer-accept";
        for option in options.split(' ') {
            let skd = Skd::with_words([option]).word(&word).word("cat");
            said_one_line(&skd.outcome(), 100);
        }
        let mut option = OsString::from("--");
        option.push(&word);
        said_one_line(&Skd::with_words([&option]).word("cat").outcome(), 100);
        let mut path = OsString::from("./nosuch/");
        path.push(&word);
        said_one_line(&Skd::with_words([&path]).outcome(), 111);
        let is_short = path.len() < 108;
        let outcome = Skd::with_words(["-l"]).word(&path).word("cat").outcome();
        said_one_line(&outcome, if is_short { 111 } else { 100 });
    }
}

#[test]
fn a_megabyte_of_arguments_reaches_the_program() {
    let big = "x".repeat(120 * 1024);
    let give = |mut skd: Skd| {
        for _ in 0..9 {
            skd = skd.word(&big);
        }
        skd
    };
    let folder = Folder::new();
    let count = folder.script("count", "IFS=\necho $# $(printf %s \"$*\" | wc -c)");
    let expected = format!("9 {}\n", 9 * big.len());
    let outcome = give(Skd::new(&count)).outcome();
    assert_eq!((outcome.code, &outcome.stdout), (0, &expected));
    let mut skd = give(Skd::new(&format!("-t 127.0.0.1:0 {count}"))).spawn();
    assert_eq!(Client::tcp(skd.port()).hears_all(), expected);
    skd.stop();
    // One that is not run does not make skd say more than a line.
    said_one_line(&give(Skd::new("--bogus")).outcome(), 100);
}

#[test]
fn check_binds_nothing_starts_nothing_and_prints_no_port() {
    let folder = Folder::new();
    let (path, ran) = (folder.path("socket"), folder.path("ran"));
    let prog = folder.script("prog", &format!("touch {ran}"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for words in [
        "",
        "-v",
        &format!("-1 -vv -c 5 -t {address} -u 127.0.0.1:0 -l {path}"),
        &format!("-d --mode 600 -l {path}"),
    ] {
        assert_eq!(
            said(&format!("--check {words} {prog}")),
            nothing(),
            "{words}"
        );
    }
    assert!(!fs::exists(&path).unwrap() && !fs::exists(&ran).unwrap());
    let live = UnixListener::bind(&path).unwrap();
    live.set_nonblocking(true).unwrap();
    assert_eq!(said(&format!("--check -l {path} {prog}")), nothing());
    assert!(live.accept().is_err(), "it connected");
}

#[test]
fn help_and_version_win_over_all_that_is_behind_them() {
    let version = concat!("skd ", env!("CARGO_PKG_VERSION"), "\n");
    for words in "-V;--version;-V --bogus;-Vh;-vV -t;-t 0 -V;-46 -V -c".split(';') {
        assert_eq!(said(words), (0, version.into(), String::new()), "{words}");
    }
    let help = said("--help").1;
    assert!(
        help.starts_with(
            "Usage: skd [OPTION]... [--] PROG [ARG]...\n       skd [OPTION]... --inetd-conf FILE\n       \
             skd [OPTION]... --check-peer PEER\nServe "
        ),
        "{help}"
    );
    for words in "-h;-h --bogus;-hV;-vh -t;-t 0 -h;-h -c junk".split(';') {
        assert_eq!(said(words), (0, help.clone(), String::new()), "{words}");
    }
    are_misused("--bogus -h => there is no option \"--bogus\"");
}

#[test]
fn help_that_cannot_be_written_is_fatal() {
    let folder = Folder::new();
    let full = folder.script("full", "exec \"$@\" >/dev/full");
    let line = "fatal: unable to write to stdout: No space left on device";
    fails(Skd::new("--help").under(&full), 111, line);
    fails(Skd::new("-t 127.0.0.1:0 cat").under(&full), 111, line);
}

#[test]
fn options_end_at_the_first_word_that_is_none() {
    let folder = Folder::new();
    folder.script("-odd", "echo odd \"$@\"");
    let path = format!("{}:{}", folder.path(""), std::env::var("PATH").unwrap());
    for (words, heard) in [
        ("-vt 127.0.0.1:0 echo -n -t --help", "-t --help"),
        ("-vt127.0.0.1:0 echo -- -V", "-- -V\n"),
        ("-v1nt 127.0.0.1:0 -- echo -- -V", "-- -V\n"),
        ("--tcp=127.0.0.1:0 -- -odd -v", "odd -v\n"),
        ("--tcp 127.0.0.1:0 -1vc5 echo x -c 5", "x -c 5\n"),
    ] {
        let mut skd = Skd::new(words).env("PATH", &path).spawn();
        assert_eq!(Client::tcp(skd.port()).hears_all(), heard, "{words}");
        skd.stop();
    }
    let outcome = Skd::new("echo -n -b").outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "-b"));
}

#[test]
fn proto_is_the_value_of_proto_and_changes_no_name() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let body = "echo \"$PROTO ${TCPLOCALIP-unset} ${UNIXLOCALPATH-unset}\"";
    let told = folder.script("told", body);
    for (option, tcp, unix) in [
        ("", "TCP", "UNIX"),
        ("--proto SSL", "SSL", "SSL"),
        ("--proto=tcp6", "tcp6", "tcp6"),
        ("--tcp6 --proto X", "X", "X"),
    ] {
        let mut skd = Skd::new(&format!("{option} -l {path} -t 127.0.0.1:0 {told}")).spawn();
        let heard = Client::tcp(skd.port()).hears_all();
        assert_eq!(heard, format!("{tcp} 127.0.0.1 unset\n"), "{option}");
        let heard = Client::unix(&path).hears_all();
        assert_eq!(heard, format!("{unix} unset {path}\n"), "{option}");
        skd.stop();
    }
}

/// What a command behind this wrapper says, run directly and through skd.
fn both_ways(wrapper: &str, prog: &[&str]) -> [String; 2] {
    let folder = Folder::new();
    ["shift\nexec \"$@\"", "exec \"$@\""].map(|body| {
        // The first of its words is skd.
        let script = folder.script("run", body);
        let skd = Skd::with_words(prog.iter().copied());
        let outcome = skd.under(&format!("{wrapper} {script}")).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        outcome.stdout
    })
}

#[test]
fn without_a_socket_skd_becomes_the_program_as_everything_is() {
    let environment = "env -i PATH=/usr/bin:/bin A=1 PROTO=TCP TCPREMOTEIP=192.0.2.7 EMPTY=";
    let told = both_ways(environment, &[&probe(), "report"]).map(|report| {
        // Descriptors from 3 on are closed at start; a pipe is another one each time.
        let is_told = |line: &&str| {
            let fd = line.strip_prefix("fd ");
            !line.starts_with("pid ") && fd.is_none_or(|fd| fd.starts_with("0 "))
        };
        report
            .lines()
            .filter(is_told)
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert_eq!(told[0], told[1]);
    assert!(told[1].contains("env PROTO=TCP\n"), "{}", told[1]);
    for signals in [
        "--default-signal",
        "--default-signal=PIPE --ignore-signal=HUP,CHLD",
        "--ignore-signal=PIPE,TERM,USR1 --block-signal=INT,USR2,CHLD",
    ] {
        let status = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"];
        let [directly, through] = both_ways(&format!("env {signals}"), &status);
        assert_eq!(directly, through, "{signals}");
        assert_eq!(directly.lines().count(), 3);
    }
}

#[test]
fn without_a_socket_the_pid_and_the_exit_code_are_the_programs() {
    let folder = Folder::new();
    let wrapper = folder.script("pid", "echo $$\nexec \"$@\"");
    let prog = folder.script("prog", "echo $$\necho failed >&2\nexit 7");
    let outcome = Skd::with_words([prog]).under(&wrapper).outcome();
    let pids: Vec<_> = outcome.stdout.lines().collect();
    assert!(pids.len() == 2 && pids[0] == pids[1], "{pids:?}");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (7, "failed\n"));
}
