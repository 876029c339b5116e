//! The table "Beside others" of the README: what is in it is what each launcher did when it was tried.

use super::{Launcher, README, have_all, trials};
use crate::kit::systemd::Systemd;
use std::rc::Rc;

/// The columns.
const LAUNCHERS: [&str; 8] = [
    "skd",
    "inetd",
    "xinetd",
    "tcpserver",
    "ipsvd",
    "s6-ipcserver",
    "socat",
    "systemd",
];

/// A row: what it says of a launcher, how that is found out, and how each is started for it; not at all where it has no
/// option for this. `+` stands for the plain service of xinetd or systemd with more lines in it.
struct Row {
    about: &'static str,
    found: fn(&Launcher) -> String,
    start: [&'static str; 8],
}

/// Each as it is without any option.
const PLAIN: [&str; 8] = [
    "skd -t 7000 prog",
    "7000 stream tcp nowait root /usr/bin/prog prog",
    "+",
    "tcpserver -HRl0 0 7000 prog",
    "tcpsvd -l0 0 7000 prog",
    "s6-ipcserver ./prog.sock prog",
    "socat TCP4-LISTEN:7000,fork EXEC:prog",
    "+",
];

const ROWS: &[Row] = &[
    Row {
        about: "several addresses in one process",
        found: trials::has_two_addresses,
        start: [
            "skd -t 7000 -t 7001 prog",
            "7000 stream tcp nowait root /usr/bin/prog prog\n7001 stream tcp nowait root /usr/bin/prog prog",
            "+}\nservice two\n{\ntype = UNLISTED\nsocket_type = stream\nprotocol = tcp\nwait = no\nuser = root\nport = 7001\nserver = /usr/bin/prog",
            "",
            "",
            "",
            "",
            "+ListenStream=7001",
        ],
    },
    Row {
        about: "one socket for IPv4 and IPv6",
        found: trials::has_both_families,
        start: [
            PLAIN[0],
            "7000 stream tcp46 nowait root /usr/bin/prog prog",
            "+flags = IPv6",
            PLAIN[3],
            "",
            "",
            "socat TCP6-LISTEN:7000,ipv6only=0,fork EXEC:prog",
            "+",
        ],
    },
    Row {
        about: "unix stream sockets",
        found: trials::serves,
        start: [
            "skd -l ./prog.sock prog",
            "./prog.sock stream unix nowait root /usr/bin/prog prog",
            "",
            "",
            "",
            PLAIN[5],
            "socat UNIX-LISTEN:./prog.sock,fork EXEC:prog",
            "+ListenStream=/run/prog.sock",
        ],
    },
    Row {
        about: "datagrams",
        found: trials::answers_datagrams,
        start: [
            "skd -u 7000 in.tftpd",
            "7000 dgram udp wait root /usr/bin/in.tftpd in.tftpd",
            "service two\n{\ntype = UNLISTED\nsocket_type = dgram\nprotocol = udp\nport = 7000\nwait = yes\nuser = root\nserver = /usr/bin/in.tftpd\n}",
            "",
            "udpsvd -l0 0 7000 in.tftpd",
            "",
            "socat UDP4-RECVFROM:7000,fork EXEC:cat",
            "",
        ],
    },
    Row {
        about: "takes over a listener from stdin",
        found: trials::serves,
        start: [
            "s6-ipcserver-socketbinder ./prog.sock skd -0 prog",
            "",
            "",
            "",
            "",
            "s6-ipcserver-socketbinder ./prog.sock s6-ipcserverd prog",
            "",
            "",
        ],
    },
    Row {
        about: "stdin of a program is",
        found: trials::is_the_connection,
        start: PLAIN,
    },
    Row {
        about: "its stderr goes to",
        found: trials::hears_stderr,
        start: PLAIN,
    },
    Row {
        about: "the client is named in",
        found: trials::names_the_client,
        start: PLAIN,
    },
    Row {
        about: "an inherited `TCPREMOTEHOST`",
        found: trials::forgets_others,
        start: PLAIN,
    },
    Row {
        about: "open beyond 2, with an inherited 7",
        found: trials::has_open,
        start: PLAIN,
    },
    Row {
        about: "ignored, with inherited HUP USR1 PIPE",
        found: trials::ignores,
        start: PLAIN,
    },
    Row {
        about: "becomes another user",
        found: trials::becomes_nobody,
        start: [
            "skd --user nobody -t 7000 prog",
            "7000 stream tcp nowait nobody /usr/bin/prog prog",
            "+user = nobody",
            "tcpserver -HRl0 -u 65534 -g 65534 0 7000 prog",
            "tcpsvd -l0 -u nobody 0 7000 prog",
            "s6-ipcserver -a 0777 -u 65534 -g 65534 ./prog.sock prog",
            "socat TCP4-LISTEN:7000,fork,su=nobody EXEC:prog",
            "+\n[Service]\nUser=nobody",
        ],
    },
    Row {
        about: "a cgroup for each program",
        found: trials::is_alone_in_its_cgroup,
        start: PLAIN,
    },
    Row {
        about: "limit of connections; beyond it, a client",
        found: trials::limits_all,
        start: [
            "skd -c 2 -t 7000 prog",
            "",
            "+instances = 2",
            "tcpserver -HRl0 -c 2 0 7000 prog",
            "tcpsvd -l0 -c 2 0 7000 prog",
            "s6-ipcserver -c 2 ./prog.sock prog",
            "socat TCP4-LISTEN:7000,fork,max-children=2 EXEC:prog",
            "+MaxConnections=2",
        ],
    },
    Row {
        about: "limit of an address or uid; beyond it",
        found: trials::limits_sources,
        start: [
            "skd -C 2 -r busy -t 7000 prog",
            "",
            "+per_source = 2",
            "",
            "tcpsvd -l0 -C 2:busy 0 7000 prog",
            "s6-ipcserver -C 2 ./prog.sock prog",
            "",
            "+MaxConnectionsPerSource=2",
        ],
    },
    Row {
        about: "limit of a rate; beyond it",
        found: trials::limits_rate,
        start: [
            "skd --rate 2/12 -t 7000 prog",
            "700 stream tcp nowait.2 root /usr/bin/prog prog",
            "+cps = 2 60",
            "",
            "",
            "",
            "",
            "+TriggerLimitIntervalSec=60\nTriggerLimitBurst=2",
        ],
    },
    Row {
        about: "keeps addresses out",
        found: trials::keeps_out,
        start: [
            "skd --rules ./rules -t 7000 prog",
            "7000 stream tcp nowait root /usr/bin/prog prog | sh -c 'cp -a /etc etc; echo prog: 127.0.0.66 >etc/hosts.deny; mount --bind etc /etc && exec inetd -il ./inetd.conf'",
            "+no_access = 127.0.0.66",
            "tcpserver -HRl0 -x ./rules.cdb 0 7000 prog",
            "tcpsvd -l0 -i ./rules.d 0 7000 prog",
            "not tried",
            "socat TCP4-LISTEN:7000,fork,range=127.0.0.0/26 EXEC:prog",
            "not tried",
        ],
    },
    Row {
        about: "PROXY headers",
        found: trials::hears_of_a_proxy,
        start: [
            "skd --proxy-from 127.0.0.1 -t 7000 prog",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
    },
    Row {
        about: "TLS",
        found: trials::ends_tls,
        start: [
            "",
            "",
            "",
            "",
            "",
            "",
            "sh -c 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out pem -subj /CN=x && cat key >>pem && exec socat OPENSSL-LISTEN:7000,fork,verify=0,cert=pem EXEC:prog'",
            "",
        ],
    },
    Row {
        about: "metrics",
        found: trials::tells_its_counts,
        start: [
            "skd --metrics ./metrics.sock -t 7000 prog",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
    },
    Row {
        about: "says when it listens",
        found: trials::says_it_listens,
        start: [
            PLAIN[0],
            PLAIN[1],
            "",
            "tcpserver -HRl0 -1 0 7000 prog",
            "",
            "s6-ipcserver -1 ./prog.sock prog",
            "",
            "+",
        ],
    },
    Row {
        about: "a program that is not there",
        found: trials::serves_nothing,
        start: [
            "skd -t 7000 absent",
            "7000 stream tcp nowait root /usr/bin/absent absent",
            "+server = /usr/bin/absent\n}\nservice two\n{\ntype = UNLISTED\nsocket_type = stream\nprotocol = tcp\nwait = no\nuser = root\nport = 7001\nserver = /usr/bin/prog",
            "tcpserver -HRl0 0 7000 absent",
            "tcpsvd -l0 0 7000 absent",
            "s6-ipcserver ./prog.sock absent",
            "socat TCP4-LISTEN:7000,fork EXEC:absent",
            "+\n[Service]\nExecStart=/usr/bin/absent",
        ],
    },
    Row {
        about: "told to stop, its programs",
        found: trials::leaves_programs,
        start: PLAIN,
    },
    Row {
        about: "replaced while it serves",
        found: trials::is_replaced,
        start: [PLAIN[0], "", "", "", "", "", "", "+"],
    },
];

/// A file of xinetd's with these lines in its service.
fn xinetd(more: &str) -> String {
    let mut text = "service one\n{\n".to_owned();
    let lines = "type = UNLISTED\nsocket_type = stream\nprotocol = tcp\nport = 7000\nwait = no\nuser = root\nserver = /usr/bin/prog";
    let is_there = |line: &&str| {
        more.lines()
            .take(1)
            .any(|it| it.split(' ').next() == line.split(' ').next())
    };
    for line in lines.lines().filter(|line| !is_there(line)) {
        text += &format!("{line}\n");
    }
    format!("{text}{more}\n}}")
}

/// A .socket with these lines in it, and in its service behind `[Service]`.
fn units(more: &str) -> String {
    let (socket, service) = more.split_once("\n[Service]\n").unwrap_or((more, ""));
    let address = if socket.contains("ListenStream=/") {
        ""
    } else {
        "ListenStream=7000\n"
    };
    let program = if service.contains("ExecStart=") {
        ""
    } else {
        "ExecStart=/usr/bin/prog\n"
    };
    format!(
        "[Socket]\nAccept=yes\n{address}{socket}\n[Service]\nStandardInput=socket\n{program}{service}\n"
    )
}

/// What a launcher does in each row.
fn column(number: usize) -> Vec<String> {
    let machine = (LAUNCHERS[number] == "systemd").then(|| Rc::new(Systemd::boot().unwrap()));
    let cell = |row: &Row| {
        let text = row.start[number];
        if text.is_empty() {
            return "no".to_owned();
        }
        if text == "not tried" {
            return text.to_owned();
        }
        let launcher = match (text.strip_prefix('+'), &machine) {
            (Some(more), Some(machine)) => Ok(Launcher::units(machine, &units(more))),
            (Some(more), None) => {
                let file = xinetd(more);
                Launcher::beside(&file, &file)
            }
            (None, _) => {
                let (file, line) = text.split_once(" | ").unwrap_or((text, text));
                Launcher::beside(line, file)
            }
        };
        match launcher {
            Ok(launcher) => (row.found)(&launcher),
            Err(said) => {
                let is_told = row.about == "a program that is not there";
                assert!(is_told, "{}: {said}", LAUNCHERS[number]);
                "error at start".into()
            }
        }
    };
    ROWS.iter().map(cell).collect()
}

#[test]
fn the_table_beside_others_is_what_was_found() {
    if !have_all() {
        return;
    }
    let columns: Vec<Vec<String>> = std::thread::scope(|scope| {
        let numbers = 0..LAUNCHERS.len();
        let columns: Vec<_> = numbers
            .map(|number| scope.spawn(move || column(number)))
            .collect();
        columns
            .into_iter()
            .map(|column| column.join().unwrap())
            .collect()
    });
    let mut table = format!(
        "| | {} |\n{}|\n",
        LAUNCHERS.join(" | "),
        "|---".repeat(LAUNCHERS.len() + 1)
    );
    for (number, row) in ROWS.iter().enumerate() {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| column[number].as_str())
            .collect();
        table += &format!("| {} | {} |\n", row.about, cells.join(" | "));
    }
    let (_, section) = README.split_once("\n## Beside others\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let written: String = section
        .split_inclusive('\n')
        .filter(|line| line.starts_with('|'))
        .collect();
    assert!(written == table, "found:\n{table}");
}
