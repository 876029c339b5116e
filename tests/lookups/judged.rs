//! Rules about names are asked when the names are known.

use super::{HOSTS, Server, client, inside};
use crate::kit::net::{self, Client};
use crate::kit::skd::Skd;
use crate::kit::{Folder, need, own_etc};
use std::net::TcpListener;

/// Rules for names are asked when the names are known, and only then; all others as ever.
#[test]
fn rules_see_the_names() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    let text = "=client.test:allow,WORD=\"client\",TCPLOCALHOST=\"mine\"\n\
                =.test:deny\n\
                root@10.77.0.4:allow,WORD=\"root\"\n\
                fd77::3:allow\n\
                =:deny\n\
                :deny\n";
    std::fs::write(&rules, text).unwrap();
    if !need::program("dnsmasq") || !need::program("oidentd") {
        return;
    }
    let script =
        "echo \"${WORD-none} ${TCPREMOTEHOST-none} ${TCPLOCALHOST-none} ${TCPREMOTEINFO-none}\"";
    for (options, fates) in [
        (
            "--resolve --ident",
            [
                "client Client.test mine none",
                "",
                "root none server.test root",
                "none none none none",
            ],
        ),
        (
            "--resolve",
            [
                "client Client.test mine none",
                "",
                "",
                "none none none none",
            ],
        ),
        (
            "--ident",
            ["", "", "root none none root", "none none none none"],
        ),
        ("", ["", "", "", "none none none none"]),
    ] {
        let skd = inside(&folder, &format!("{options} --rules {rules} sh -c"))
            .map(|skd| skd.word(script));
        let Some(mut skd) = skd.map(Skd::start) else {
            return;
        };
        let record =
            "--host-record=other.test,10.77.0.3 --ptr-record=3.0.77.10.in-addr.arpa,other.test";
        let _names = Server::names(&skd, record);
        let mut ident = Server::start(&skd, "oidentd -i -S -C /dev/null -a 10.77.0.4");
        ident.listens_at(&skd, "10.77.0.4:113");
        let clients = ["10.77.0.2", "10.77.0.3", "10.77.0.4", "fd77::3"];
        for (from, fate) in clients.into_iter().zip(fates) {
            assert_eq!(client(&skd, from).hears_line(), fate, "{options} {from}");
        }
        let denied = fates.iter().filter(|fate| fate.is_empty()).count();
        skd.waits_for_nth("info: deny ", denied);
        let line = skd.waits_for("info: deny tcp:[::]:7000 10.77.0.3:");
        let rule = if options.contains("--resolve") {
            "=.test:deny"
        } else {
            ":deny"
        };
        assert!(line.ends_with(&format!(" rule {rule}")), "{line}");
        skd.is_alone();
        let accepted = fates.len() - denied;
        assert_eq!(
            skd.status(),
            format!("0 accepted {accepted} denied {denied} failed 0")
        );
        skd.stop();
    }
}

#[test]
fn a_connected_socket_has_names_too() {
    if !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let files = [("hosts", HOSTS), ("nsswitch.conf", "hosts: files\n")];
    let rules = folder.path("rules");
    for (text, heard) in [
        (
            "=localhost:allow,WORD=\"known\"\n:deny\n",
            "localhost localhost known\n",
        ),
        ("=localhost:deny\n", ""),
    ] {
        std::fs::write(&rules, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::tcp_from_loopback(1, listener.local_addr().unwrap().port());
        let (conn, _) = listener.accept().unwrap();
        let words = format!("-v -0 --resolve --rules {rules} sh -c");
        let skd = Skd::new(&words).word("echo $TCPREMOTEHOST $TCPLOCALHOST $WORD");
        let outcome = skd
            .under(&own_etc(&folder, &files))
            .descriptor(0, conn)
            .outcome();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(Client::of_tcp(client).hears_rest(), heard);
        assert_eq!(
            outcome.stderr.contains(" rule =localhost:deny\n"),
            heard.is_empty()
        );
    }
}
