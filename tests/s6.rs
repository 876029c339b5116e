//! skd under a real s6: readiness for its supervisor, and a listener that outlives it.

use crate::kit::need;
use crate::kit::net::Client;
use crate::kit::s6::SvScan;
use crate::kit::skd::BINARY;

/// listen(2) takes half a second: whoever came too early would be refused.
#[test]
fn svwait_waits_until_clients_are_answered() {
    let Some(scan) = SvScan::start() else { return };
    if !need::program("strace") {
        return;
    }
    let path = scan.path("it", "socket");
    let slow = "strace -D -qq -o /dev/null -e trace=listen -e inject=listen:delay_enter=500000";
    let run = format!("#!/bin/sh\nexec {slow} {BINARY} --ready-fd 3 -l {path} cat\n");
    scan.add("it", &run, |_| ());
    scan.run("s6-svwait -U -t 30000", "it");
    Client::unix(&path).says("hello\n").hears("hello\n");
    assert!(scan.run("s6-svstat -o ready", "it").starts_with("true"));
}
