//! What is wrong with a file, and where.

use super::Conf;
use crate::kit::eventually;
use nix::sys::signal::Signal;
use std::net::Ipv4Addr;

/// `--check` ends with 100 and these lines, and so does a start.
fn is_wrong(conf: &Conf, lines: &[&str]) {
    conf.fails(100, lines);
    let outcome = conf.skd("--check").outcome();
    let line = |line: &&str| format!("skd: fatal: {}:{line}\n", conf.path);
    let lines: String = lines.iter().map(line).collect();
    assert_eq!((outcome.code, outcome.stderr), (100, lines));
}

#[test]
fn the_column_is_that_of_the_field_that_has_to_be_another() {
    let conf = Conf::of(
        "@x seqpacket unix nowait root internal echo\n\
         @y stream unix wait root internal echo\n\
         @z stream unix,sndbuf=1k,sndbuf=2k nowait root internal echo\n",
    );
    is_wrong(
        &conf,
        &[
            "1:4: \"seqpacket\": an internal service is stream or dgram",
            "2:16: \"wait\": an internal stream service is nowait",
            "3:11: \"unix,sndbuf=1k,sndbuf=2k\": sndbuf=N and rcvbuf=N are expected once each",
        ],
    );
}

/// A host that is looked up, and found to be this.
fn name_of(ip: Ipv4Addr) -> String {
    format!("{:#x}", u32::from(ip))
}

#[test]
fn one_address_by_two_names_is_an_error_on_the_second() {
    let conf = Conf::new();
    let name = name_of(conf.ip);
    let ip = conf.ip.to_string();
    for (one, other) in [(&ip, &name), (&name, &ip), (&ip, &format!("[::ffff:{ip}]"))] {
        let rest = "stream tcp nowait root internal echo";
        conf.put(&format!(
            "{one}:7013 {rest}\n7013 dgram udp wait root internal echo\n{other}:7013 {rest}\n"
        ));
        let line = format!("3:1: \"{other}:7013 stream tcp\": line 1 has the same address");
        is_wrong(&conf, &[&line]);
    }
}

#[test]
fn one_address_twice_in_a_line_is_an_error() {
    let conf = Conf::new();
    let (ip, name) = (conf.ip, name_of(conf.ip));
    let lines = |lines: [&str; 3]| {
        let line = |hosts| format!("{hosts}:7014 stream tcp nowait root internal echo\n");
        conf.put(&lines.map(line).concat());
    };
    let twice = |line: u8, hosts: &str, host: &str| {
        format!("{line}:1: \"{hosts}:7014 stream tcp\": it has {host} twice")
    };
    // What needs no look-up is told with all that does not.
    let (ips, v6, names) = (
        format!("{ip},{ip}"),
        "[::1],[::2],[::1]",
        format!("{name},{name}"),
    );
    lines([&ips, v6, &names]);
    let told = [
        twice(1, &ips, &ip.to_string()),
        twice(2, v6, "::1"),
        twice(3, &names, &name),
    ];
    is_wrong(&conf, &told.each_ref().map(String::as_str));
    let both = format!("127.0.0.1,{ip},{name}");
    lines(["[::1]", &both, "127.0.0.2"]);
    is_wrong(&conf, &[&twice(2, &both, &ip.to_string())]);
}

#[test]
fn two_services_on_one_address_change_nothing_where_others_are_served() {
    let copy = crate::upgrade::Copy::new();
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/echo echo old\n");
    let mut skd = conf.skd("-vv").binary(&copy.path).start();
    let (ip, name) = (conf.ip, name_of(conf.ip));
    let rest = "stream tcp nowait root /bin/echo echo new\n";
    let keeping = "keeping the services as they were";
    let same = |line: u8, at: &str| {
        let other = line - 1;
        format!("{line}:1: \"{at} stream tcp\": line {other} has the same address, {keeping}")
    };
    for (text, told) in [
        (
            format!("IP:7007 {rest}{name}:7007 {rest}"),
            same(2, &format!("{name}:7007")),
        ),
        (
            format!("{name}:7007 {rest}IP:7007 {rest}"),
            same(2, &format!("{ip}:7007")),
        ),
        (
            format!("# new\n{name}:7008 {rest}IP:7008 {rest}"),
            same(3, &format!("{ip}:7008")),
        ),
        (
            format!("{ip},{name}:7008 {rest}"),
            format!("1:1: \"{ip},{name}:7008 stream tcp\": it has {ip} twice, {keeping}"),
        ),
    ] {
        conf.put(&text);
        skd.signal(Signal::SIGHUP);
        skd.waits_for(&told);
        assert_eq!(conf.client().hears_all(), "old\n");
    }
    // Nor does another skd take what has been refused.
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("in the place of the skd before");
    skd.waits_for_nth("1:1: ", 2);
    assert_eq!(conf.client().hears_all(), "old\n");
    // One that leaves is in nobody's way.
    conf.put(&format!("{name}:7007 {rest}"));
    skd.signal(Signal::SIGHUP);
    eventually("the other service", || {
        (conf.client().hears_all() == "new\n").then_some(())
    });
    let outcome = skd.stop();
    assert!(
        !outcome.stderr.contains("trying again"),
        "{}",
        outcome.stderr
    );
}
