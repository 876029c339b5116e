//! skd under a real s6: readiness for its supervisor, and another skd in its place.

use crate::kit::net::{Client, while_clients_come};
use crate::kit::s6::SvScan;
use crate::kit::skd::BINARY;
use crate::kit::{eventually, need};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// listen(2) takes half a second: whoever came too early would be refused.
#[test]
fn svwait_waits_until_clients_are_answered() {
    let Some(mut scan) = SvScan::new() else {
        return;
    };
    if !need::program("strace") {
        return;
    }
    let path = scan.path("socket");
    let slow = "strace -D -qq -o /dev/null -e trace=listen -e inject=listen:delay_enter=500000";
    let run = format!("#!/bin/sh\nexec {slow} {BINARY} --ready-fd 3 -l {path} cat\n");
    scan.start(&run, |_| ());
    scan.run("s6-svwait -U -t 30000");
    Client::unix(&path).says("hello\n").hears("hello\n");
    assert!(scan.run("s6-svstat -o ready").starts_with("true"));
}

/// Same pid, still ready, and everybody is answered.
#[test]
fn s6_goes_on_with_the_skd_that_took_its_place() {
    let Some(mut scan) = SvScan::new() else {
        return;
    };
    let (socket, file) = (scan.path("socket"), scan.path("skd"));
    let run = "#!/bin/sh\nexec ./skd --ready-fd 3 -l socket cat\n";
    let renew = || {
        let script = "cp \"$1\" \"$2.new\" && mv \"$2.new\" \"$2\"";
        let done = Command::new("sh")
            .args(["-c", script, "sh", BINARY, &file])
            .status();
        assert!(done.unwrap().success());
    };
    scan.start(run, |_| renew());
    scan.run("s6-svwait -U -t 30000");
    let stat = || scan.run("s6-svstat -o pid,up,ready");
    let before = stat();
    assert!(before.ends_with(" true true\n"), "{before}");
    let pid = before.split(' ').next().unwrap();
    let client = || {
        Client::unix(&socket).says("hello\n").hears("hello\n");
    };
    while_clients_come(client, || {
        for _ in 0..3 {
            renew();
            let new = fs::metadata(&file).unwrap().ino();
            scan.run("s6-svc -2");
            eventually("the new file", || {
                let executed = fs::metadata(format!("/proc/{pid}/exe"));
                executed.is_ok_and(|it| it.ino() == new).then_some(())
            });
        }
    });
    assert_eq!(stat(), before);
}
