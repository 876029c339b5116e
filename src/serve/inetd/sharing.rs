//! Services on one address, as it is known when hosts have been looked up.

use crate::model::address::Style;
use crate::model::inetd::Wrong;
use crate::serve::inetd::prepare::{self, Prepared, has_the_same, has_twice};
use std::collections::HashMap;
use std::net::SocketAddr;

/// A service and where it listens.
pub(super) type Located<'a> = (&'a Prepared, Vec<SocketAddr>);

/// What is wrong with those of these services, in the order of the file, whose address one before them has, or which have
/// one twice.
pub(super) fn shared(all: Vec<Located>) -> Vec<Wrong> {
    let mut taken = HashMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for (prepared, addresses) in all {
        let service = &prepared.service;
        let (line, is_udp) = (service.at.line, service.style == Style::Datagram);
        for address in addresses {
            let key = format!("{is_udp} {address}");
            let why = match taken.get(&key) {
                Some(other) if *other == line => has_twice(&address.ip().to_string()),
                Some(other) => has_the_same(*other),
                None => {
                    taken.insert(key, line);
                    continue;
                }
            };
            wrong.push(prepare::at(service.at, &service.name, &why));
            break;
        }
    }
    wrong
}
