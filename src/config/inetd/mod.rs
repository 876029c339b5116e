//! Reads an inetd.conf(5): section 10 of the interface, in the notations of OpenBSD and FreeBSD; pure.

mod fields;
mod words;

use crate::config::inetd::fields::Defaults;
use crate::model::inetd::{InetdService, Services, Wrong};
use std::collections::HashMap;

/// So many services one file may have: more than a process may have descriptors, on most machines.
const MOST_SERVICES: usize = 10_000;

/// All services of a file and all that is wrong with it. Names of services, hosts, users and groups are not looked up.
/// `host` is where services listen that name none, up to the first line that says so.
pub(crate) fn parse(text: &[u8], host: Option<&str>) -> Services {
    let (lines, wrong) = words::lines(text);
    let mut services = Services {
        all: Vec::new(),
        wrong,
    };
    let mut defaults = Defaults::of(host);
    for line in &lines {
        match fields::service(line, &mut defaults) {
            Ok(Some(service)) => services.all.push(service),
            Ok(None) => {}
            Err(all) => services.wrong.extend(all),
        }
    }
    if let Some(service) = services.all.get(MOST_SERVICES) {
        let why = format!("a file has at most {MOST_SERVICES} services");
        services.wrong.push(Wrong {
            at: service.at,
            why,
        });
        services.all.truncate(MOST_SERVICES);
    }
    services.wrong.extend(repeated(&services.all));
    services.wrong.sort_unstable();
    services
}

/// Whether hosts are such as a line `HOST:` may have.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn hosts(text: &str) -> Result<(), String> {
    fields::hosts_of(text.as_bytes()).map(drop)
}

/// Services that are named alike; those that only come to the same address are found when it is looked up.
fn repeated(all: &[InetdService]) -> Vec<Wrong> {
    let mut lines = HashMap::new();
    let mut wrong = Vec::new();
    for service in all {
        if let Some(line) = lines.insert(service.name.clone(), service.at.line) {
            let why = format!("line {line} has the same service already");
            wrong.push(Wrong {
                at: service.at,
                why,
            });
            lines.insert(service.name.clone(), line);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrongs(text: &str) -> Vec<String> {
        let wrong = parse(text.as_bytes(), None).wrong;
        wrong.iter().map(|it| it.shown(b"f")).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_in_the_order_of_the_lines() {
        let text = "7 stream tcp nowait root cat\n8 raw tcp wiat root cat\n7 stream tcp nowait root cat\n 9\n'x\n";
        assert_eq!(
            wrongs(text),
            [
                "f:2:3: \"raw\": stream, dgram or seqpacket expected",
                "f:2:11: \"wiat\": wait, nowait, nowait.MAX or nowait/MAX[/PER-MINUTE[/PER-SOURCE]] expected",
                "f:3:1: line 1 has the same service already",
                "f:5:1: the second quote is missing",
            ]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_read_every_place_is_in_the_file(text in "([ -~\u{e9}\t\n]|stream|tcp|nowait|root|:|\n){0,200}") {
            let lines: Vec<&str> = text.split('\n').collect();
            for wrong in parse(text.as_bytes(), None).wrong {
                let line = lines[wrong.at.line - 1];
                prop_assert!((1..=line.chars().count() + 1).contains(&wrong.at.column), "{wrong:?}");
            }
        }

        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&text, None);
        }
    }
}
