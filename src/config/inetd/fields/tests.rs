//! Lines of an inetd.conf(5), and what each comes to.

use crate::config::inetd::parse;
use crate::model::address::{Family, Host, Named, Port, Style, UnixName};
use crate::model::inetd::{At, Builtin, InetdService, Limits, Server};
use crate::model::sockopt::Buffers;
use std::num::NonZeroU32;

/// The one service of a text, or the first thing that is wrong.
fn read(text: &str) -> Result<InetdService, String> {
    let mut services = parse(text.as_bytes(), None);
    match services.wrong.first() {
        Some(wrong) => Err(wrong.shown(b"f")),
        None => Ok(services.all.remove(0)),
    }
}

fn some(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

#[test]
fn a_line_is_read_field_by_field() {
    let service = read("ftp stream tcp nowait.60 root:adm /usr/sbin/ftpd 'ftp d' -l\n -x").unwrap();
    let words = ["ftp d", "-l", "-x"].map(Into::into).to_vec();
    assert_eq!(
        service,
        InetdService {
            at: At { line: 1, column: 1 },
            name: "ftp stream tcp".into(),
            style: Style::Stream,
            named: vec![Named::Inet {
                option: "inetd.conf",
                style: Style::Stream,
                host: Host::Every,
                port: Port::Service("ftp".into()),
            }],
            family: Family::Either,
            is_split: true,
            buffers: Buffers::default(),
            waits: false,
            limits: Limits {
                starts_per_minute: some(60),
                ..Limits::default()
            },
            user: "root:adm".into(),
            user_at: At {
                line: 1,
                column: 26
            },
            server: Server::Program {
                file: "/usr/sbin/ftpd".into(),
                words
            },
            server_at: At {
                line: 1,
                column: 35
            },
        }
    );
}

#[test]
fn argv_is_the_basename_where_it_is_left_out() {
    for (program, argv) in [("/usr/bin/cat", "cat"), ("cat", "cat"), ("./a/b", "b")] {
        let service = read(&format!("7 stream tcp nowait root {program}")).unwrap();
        let words = vec![argv.into()];
        assert_eq!(
            service.server,
            Server::Program {
                file: program.into(),
                words
            }
        );
    }
}

#[test]
fn protocols_have_families_and_buffers() {
    let table = [
        ("stream tcp", Family::Either, true),
        ("stream tcp4", Family::V4, false),
        ("stream tcp6", Family::V6, false),
        ("stream tcp46", Family::Either, false),
        ("dgram udp", Family::Either, true),
        ("dgram udp4", Family::V4, false),
        ("dgram udp6", Family::V6, false),
        ("dgram udp46", Family::Either, false),
    ];
    for (words, family, is_split) in table {
        let service = read(&format!("7 {words},rcvbuf=2k,sndbuf=1m wait root cat")).unwrap();
        assert_eq!(
            (service.family, service.is_split),
            (family, is_split),
            "{words}"
        );
        let buffers = Buffers {
            send: Some(1 << 20),
            receive: Some(2048),
        };
        assert_eq!(service.buffers, buffers);
    }
}

#[test]
fn hosts_are_those_of_the_line_or_of_the_default_before_it() {
    let text = "1 stream tcp nowait root cat
127.0.0.1,[::1]:2 stream tcp nowait root cat
localhost:
3 stream tcp nowait root cat
*:4 stream tcp nowait root cat
/run/x stream unix nowait root cat
*:
5 stream tcp nowait root cat";
    let services = parse(text.as_bytes(), None);
    assert_eq!(services.wrong, []);
    let hosts = |service: &InetdService| {
        let host = |named: &Named| match named {
            Named::Inet { host, .. } => format!("{host:?}"),
            other => format!("{other:?}"),
        };
        service.named.iter().map(host).collect::<Vec<_>>().join(" ")
    };
    let all: Vec<String> = services.all.iter().map(hosts).collect();
    let unix = Named::Unix {
        style: Style::Stream,
        name: UnixName::Path((*b"/run/x").into()),
    };
    assert_eq!(
        all,
        [
            "Every",
            "V4(127.0.0.1) V6(::1, None)",
            "Name(\"localhost\")",
            "Every",
            &format!("{unix:?}"),
            "Every"
        ]
    );
    let names: Vec<&str> = services.all.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names[1..3],
        ["127.0.0.1,[::1]:2 stream tcp", "localhost:3 stream tcp"]
    );
}

#[test]
fn unix_names_have_the_length_that_they_have_on_the_command_line() {
    for (name, fits) in [
        (format!("/{}", "x".repeat(106)), true),
        (format!("/{}", "x".repeat(107)), false),
        (format!("@{}", "x".repeat(107)), true),
        (format!("@{}", "x".repeat(108)), false),
        ("/".into(), false),
        ("@".into(), false),
    ] {
        let service = read(&format!("{name} stream unix nowait root cat"));
        let wrong = format!("f:1:1: \"{name:.100}\": a unix socket's name has 1 to 107 bytes");
        assert_eq!(service.err(), (!fits).then_some(wrong), "{name}");
    }
}

#[test]
fn limits_are_in_either_notation() {
    let limits = |at_once, per_minute, per_source| Limits {
        starts_per_minute: None,
        at_once: some(at_once),
        per_minute: some(per_minute),
        per_source: some(per_source),
    };
    let table = [
        ("nowait", (false, Limits::default())),
        ("wait", (true, Limits::default())),
        ("nowait/3", (false, limits(3, 0, 0))),
        ("nowait/3/60", (false, limits(3, 60, 0))),
        ("nowait/0/0/2", (false, limits(0, 0, 2))),
        (
            "wait.9",
            (
                true,
                Limits {
                    starts_per_minute: some(9),
                    ..Limits::default()
                },
            ),
        ),
    ];
    for (word, expected) in table {
        let service = read(&format!("7 stream tcp {word} root cat")).unwrap();
        assert_eq!((service.waits, service.limits), expected, "{word}");
    }
}

#[test]
fn internal_services_are_named_by_the_service_or_behind_it() {
    let table = [
        ("echo stream tcp nowait root internal", Builtin::Echo),
        (
            "127.0.0.1:time stream tcp nowait root internal",
            Builtin::Time,
        ),
        (
            "7007 dgram udp wait root internal discard",
            Builtin::Discard,
        ),
        (
            "/run/d stream unix nowait root internal daytime",
            Builtin::Daytime,
        ),
        ("chargen dgram udp nowait root internal", Builtin::Chargen),
    ];
    for (text, builtin) in table {
        assert_eq!(
            read(text).unwrap().server,
            Server::Internal(builtin),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_told_at_the_column_of_its_field() {
    let limit = "a limit is a whole number from 0 to 1000000, 0 being none";
    let protocol = "tcp, tcp4, tcp6, tcp46, udp, udp4, udp6, udp46 or unix expected, [,sndbuf=N][,rcvbuf=N] behind it";
    let wait = "wait, nowait, nowait.MAX or nowait/MAX[/PER-MINUTE[/PER-SOURCE]] expected";
    let internal = "skd itself has chargen, daytime, discard, echo and time, by SERVICE or as the only word behind it";
    let table = [
        ("7", "1:2: TYPE is missing".into()),
        ("7 stream tcp nowait root  ", "1:25: PROGRAM is missing".into()),
        ("7 stream tcp\n nowait", "2:8: USER is missing".into()),
        ("7 rdm tcp nowait root cat", "1:3: \"rdm\": stream, dgram or seqpacket expected".into()),
        ("7 stream sctp nowait root cat", format!("1:10: \"sctp\": {protocol}")),
        ("7 stream rpc/tcp nowait root cat", "1:10: \"rpc/tcp\": services of rpc(3) are not supported".into()),
        ("7 stream udp nowait root cat", "1:10: \"udp\": it is for dgram".into()),
        ("7 seqpacket tcp nowait root cat", "1:13: \"tcp\": it is for stream".into()),
        ("7 stream tcp,nodelay nowait root cat", "1:10: \"tcp,nodelay\": sndbuf=N or rcvbuf=N expected behind the comma".into()),
        ("7 stream tcp,sndbuf=0 nowait root cat", "1:10: \"tcp,sndbuf=0\": the size of a buffer is 1 to 1073741824, k or m may follow".into()),
        ("7 stream tcp,sndbuf=2000m nowait root cat", "1:10: \"tcp,sndbuf=2000m\": the size of a buffer is 1 to 1073741824, k or m may follow".into()),
        ("7 stream tcp,sndbuf=1k,rcvbuf=1,sndbuf=1k nowait root cat", "1:10: \"tcp,sndbuf=1k,rcvbuf=1,sndbuf=1k\": sndbuf=N and rcvbuf=N are expected once each".into()),
        ("7 stream tcp never root cat", format!("1:14: \"never\": {wait}")),
        ("7 stream tcp nowaits root cat", format!("1:14: \"nowaits\": {wait}")),
        ("7 stream tcp nowait.0 root cat", "1:14: \"nowait.0\": MAX is a whole number from 1 to 1000000".into()),
        ("7 stream tcp nowait.x root cat", format!("1:14: \"nowait.x\": {limit}")),
        ("7 stream tcp nowait/1/2/3/4 root cat", format!("1:14: \"nowait/1/2/3/4\": {wait}")),
        ("7 stream tcp nowait/ root cat", format!("1:14: \"nowait/\": {limit}")),
        ("7 stream tcp wait/1 root cat", "1:14: \"wait/1\": limits of connections are for nowait".into()),
        ("7 dgram udp nowait root cat", "1:13: \"nowait\": a dgram service is wait: its program gets the socket".into()),
        ("7 stream tcp nowait root/daemon cat", "1:21: \"root/daemon\": login classes are not supported".into()),
        ("7 stream tcp nowait root: cat", "1:21: \"root:\": USER, USER:GROUP or USER.GROUP expected".into()),
        ("7 stream tcp nowait '' cat", "1:21: \"\": USER, USER:GROUP or USER.GROUP expected".into()),
        ("7 stream tcp nowait root /bin/", "1:26: \"/bin/\": a program or internal is expected".into()),
        ("7 stream tcp nowait root internal", format!("1:26: \"internal\": {internal}")),
        ("echo stream tcp nowait root internal a b", format!("1:29: \"internal\": {internal}")),
        ("echo stream tcp wait root internal", "1:17: \"wait\": an internal stream service is nowait".into()),
        ("/x seqpacket unix nowait root internal echo", "1:4: \"seqpacket\": an internal service is stream or dgram".into()),
        ("echo dgram udp wait.9 root internal", "1:16: \"wait.9\": an internal dgram service starts no program that could be limited".into()),
        ("x stream unix nowait root cat", "1:1: \"x\": the whole path of a socket, or @NAME, is expected".into()),
        ("tcpmux stream tcp nowait root cat", "1:1: \"tcpmux\": tcpmux is not supported".into()),
        ("tcpmux/+x stream tcp nowait root cat", "1:1: \"tcpmux/+x\": tcpmux is not supported".into()),
        ("0 stream tcp nowait root cat", "1:1: \"0\": a port is 1 to 65535 or a service name".into()),
        ("65536 stream tcp nowait root cat", "1:1: \"65536\": a port is 1 to 65535 or a service name".into()),
        ("[::1 stream tcp nowait root cat", "1:1: \"[::1\": a \"]\" is missing".into()),
        ("[::1] stream tcp nowait root cat", "1:1: \"[::1]\": a service is missing behind the host".into()),
        ("::1:7 stream tcp nowait root cat", "1:1: \"::1:7\": an IPv6 address goes in brackets, [HOST]:PORT".into()),
        ("*,127.0.0.1:7 stream tcp nowait root cat", "1:1: \"*,127.0.0.1:7\": \"*\" goes with no other host".into()),
        ("127.0.0.1:7 stream tcp6 nowait root cat", "1:1: \"127.0.0.1:7\": 127.0.0.1 is no IPv6 address".into()),
        ("[::1]:7 dgram udp4 wait root cat", "1:1: \"[::1]:7\": ::1 is no IPv4 address".into()),
        (":", "1:1: \":\": a host is missing before the colon; leave out the colon for every address".into()),
    ];
    for (text, expected) in table {
        assert_eq!(read(text).unwrap_err(), format!("f:{expected}"), "{text}");
    }
}
