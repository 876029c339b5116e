//! What clients do, and what each of them must get.

use crate::instance::{Instance, PER_SOURCE, REFUSAL, locked, port, says};
use crate::net::{self, Conn};
use crate::talk::{Outcome, echoes, ends, greets, hears_just, tcp};
use nix::sys::socket::SockType;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What all clients of the run have of each other.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next: AtomicU32,
    /// Who was told the metrics, and who was cut off by an upgrade.
    pub(crate) scrapes: AtomicU64,
    pub(crate) cut_off: AtomicU64,
}

/// A client among others, that does one thing after the other.
pub(crate) struct Client<'a> {
    pub(crate) all: &'a Clients,
    pub(crate) skd: &'a Instance,
    /// Connections that say half a line and no more, the oldest in front.
    hanging: VecDeque<(Conn, String)>,
}

/// What a client can do: how often, what it is called, and how it is done.
type Deed<C> = (u32, &'static str, fn(&mut C) -> Outcome);

/// How many connections of one client hang at once.
const HANGING: usize = 20;

/// An address, network or user that nobody has had yet.
fn number(all: &Clients) -> u32 {
    all.next.fetch_add(1, Ordering::Relaxed)
}

/// `127.FIRST.x.y`
fn of_network(first: u8, number: u32) -> Ipv4Addr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, first, high, low)
}

/// A source of its own: 127.64.0.0/10.
pub(crate) fn source(all: &Clients) -> Ipv4Addr {
    let number = number(all);
    of_network(64 + (number >> 16) as u8 % 64, number)
}

impl<'a> Client<'a> {
    /// What a client can do, and how often of a hundred times and a little.
    const DEEDS: [Deed<Self>; 19] = [
        (28, "talk", Self::talk),
        (10, "talk v6", Self::talk_v6),
        (8, "talk unix", Self::talk_unix),
        (8, "datagram", Self::datagram),
        (8, "reset", Self::reset),
        (6, "hang", Self::hang),
        (2, "echo much", Self::echo_much),
        (6, "denied", Self::denied),
        (4, "variable", Self::variable),
        (4, "doubtful", Self::doubtful),
        (4, "too many", Self::too_many),
        (4, "proxied", Self::proxied),
        (3, "proxied v2", Self::proxied_v2),
        (2, "proxied denied", Self::proxied_denied),
        (1, "no header", Self::no_header),
        (4, "nowait", Self::nowait),
        (3, "wait", Self::wait),
        (6, "internal", Self::internal),
        (4, "rare", Self::rare),
    ];

    pub(crate) fn new(all: &'a Clients, skd: &'a Instance) -> Self {
        Self {
            all,
            skd,
            hanging: VecDeque::new(),
        }
    }

    /// Does one thing, which the number chooses.
    pub(crate) fn act(&mut self, chance: u64) -> Outcome {
        let total: u32 = Self::DEEDS.iter().map(|(weight, ..)| weight).sum();
        let mut chance = (chance % u64::from(total)) as u32;
        for (weight, name, deed) in Self::DEEDS {
            if chance < weight {
                return deed(self).map_err(|text| format!("{name}: {text}"));
            }
            chance -= weight;
        }
        Ok(())
    }

    /// Closes what hangs.
    pub(crate) fn leave(&mut self) -> Outcome {
        while !self.hanging.is_empty() {
            self.close_oldest()?;
        }
        Ok(())
    }

    pub(crate) fn expect(&self, kind: impl AsRef<str>, peer: &str) {
        locked(&self.skd.expected).add(kind.as_ref(), peer);
    }

    /// A program was started for this peer, and has ended.
    pub(crate) fn was_served(&self, behind: u16, peer: &str) {
        let label = self.skd.label(behind);
        self.expect(format!("accept {label}"), peer);
        self.expect(format!("end {label} exit 0"), peer);
    }

    fn was_denied(&self, behind: u16, peer: &str, reason: &str) {
        self.expect(format!("deny {} {reason}", self.skd.label(behind)), peer);
    }

    fn v4(&self, from: Ipv4Addr, behind: u16) -> Result<Conn, String> {
        net::v4(from, self.skd.port(behind), SockType::Stream)
    }

    pub(crate) fn fresh(&self, behind: u16) -> Result<Conn, String> {
        self.v4(source(self.all), behind)
    }

    fn talk(&mut self) -> Outcome {
        let mut conn = self.fresh(port::TCP)?;
        let peer = conn.name.clone();
        greets(&mut conn, &tcp(&peer, self.skd.port(port::TCP), 1, ""), 0)?;
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        Ok(())
    }

    fn talk_v6(&mut self) -> Outcome {
        let number = number(self.all);
        let (high, low) = ((number >> 16) as u16, number as u16);
        let from = Ipv6Addr::new(0xfd00, 0, high, low, 0, 0, 0, 1);
        let mut conn = net::v6(from, self.skd.port(port::TCP))?;
        let peer = conn.name.clone();
        greets(&mut conn, &tcp(&peer, self.skd.port(port::TCP), 1, ""), 0)?;
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        Ok(())
    }

    fn talk_unix(&mut self) -> Outcome {
        let uid = 100_000 + number(self.all);
        let path = self.skd.path("sock");
        let mut conn = net::unix(&path, uid)?;
        let peer = conn.name.clone();
        greets(
            &mut conn,
            &format!("PROTO=UNIX UNIXREMOTEEUID={uid} UNIXCONNNUM=1 "),
            0,
        )?;
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.expect(format!("accept unix:{path}"), &peer);
        self.expect(format!("end unix:{path} exit 0"), &peer);
        Ok(())
    }

    fn datagram(&mut self) -> Outcome {
        let mut conn = net::v4(
            source(self.all),
            self.skd.port(port::UDP),
            SockType::Datagram,
        )?;
        conn.say(b"datagram")?;
        let heard = String::from_utf8_lossy(&conn.some()?).into_owned();
        let (ip, number) = (conn.own().ip(), conn.own().port());
        let wanted = format!("PROTO=UDP UDPREMOTEIP={ip} UDPREMOTEPORT={number} uid=0 pid=");
        if !heard.starts_with(&wanted) || !heard.ends_with("\ndatagram") {
            return Err(format!("{wanted:?} was expected, not {heard:?}"));
        }
        let label = self.skd.label(port::UDP);
        self.expect(format!("datagram {label}"), &conn.name);
        self.expect(format!("end {label} exit 0"), "");
        Ok(())
    }

    /// Gone before it could be accepted, or soon after.
    fn reset(&mut self) -> Outcome {
        let conn = self.fresh(port::TCP)?;
        self.was_served(port::TCP, &conn.name);
        conn.reset()
    }

    fn hang(&mut self) -> Outcome {
        let mut conn = self.fresh(port::TCP)?;
        let peer = conn.name.clone();
        greets(&mut conn, &tcp(&peer, self.skd.port(port::TCP), 1, ""), 0)?;
        conn.say(b"GET / HTT")?;
        self.hanging.push_back((conn, peer));
        if self.hanging.len() > HANGING {
            self.close_oldest()
        } else {
            Ok(())
        }
    }

    fn close_oldest(&mut self) -> Outcome {
        let Some((mut conn, peer)) = self.hanging.pop_front() else {
            return Ok(());
        };
        let heard = conn.exactly(9)?;
        drop(conn);
        self.was_served(port::TCP, &peer);
        if heard == b"GET / HTT" {
            Ok(())
        } else {
            Err("another echo of a hanging one".into())
        }
    }

    fn echo_much(&mut self) -> Outcome {
        let mut conn = self.fresh(port::TCP)?;
        let peer = conn.name.clone();
        greets(&mut conn, &tcp(&peer, self.skd.port(port::TCP), 1, ""), 0)?;
        echoes(&mut conn, 32 * 1024, 32)?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        Ok(())
    }

    fn denied(&mut self) -> Outcome {
        let mut conn = self.v4(of_network(2, number(self.all)), port::TCP)?;
        hears_just(&mut conn, "")?;
        self.was_denied(port::TCP, &conn.name, "rule 127.2.:deny");
        Ok(())
    }

    /// A rule sets a variable, to another value after each HUP.
    fn variable(&mut self) -> Outcome {
        let before = self.skd.generation();
        let mut conn = self.v4(of_network(3, number(self.all)), port::TCP)?;
        let peer = conn.name.clone();
        let line = conn.line()?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        let after = self.skd.generation();
        let number = self.skd.port(port::TCP);
        let is_right = (before / 2..=after.div_ceil(2)).any(|generation| {
            let soak = says(2 * generation).soak;
            line.starts_with(&tcp(&peer, number, 1, &format!("SOAK={soak} ")))
        });
        if is_right {
            Ok(())
        } else {
            Err(format!("{line:?} between {before} and {after}"))
        }
    }

    /// Let in or not, by turns.
    fn doubtful(&mut self) -> Outcome {
        let before = self.skd.generation();
        let mut conn = self.v4(of_network(4, number(self.all)), port::TCP)?;
        let peer = conn.name.clone();
        let line = conn.line()?;
        let after = self.skd.generation();
        if line.is_empty() {
            self.was_denied(port::TCP, &peer, "rule 127.4.:deny");
        } else {
            ends(conn)?;
            self.was_served(port::TCP, &peer);
        }
        self.agrees(before, after, !line.is_empty())
    }

    /// Whether this is what the generation says, if it was the same all the time.
    pub(crate) fn agrees(&self, before: u64, after: u64, is_served: bool) -> Outcome {
        let is_sure = before == after && before.is_multiple_of(2);
        if is_sure && says(before).allows != is_served {
            return Err(format!("served: {is_served}, in generation {}", before / 2));
        }
        Ok(())
    }

    /// One source with as many connections as it may have, and one more.
    fn too_many(&mut self) -> Outcome {
        let (from, number) = (source(self.all), self.skd.port(port::TCP));
        let mut served = Vec::new();
        for count in 1..=PER_SOURCE {
            let mut conn = self.v4(from, port::TCP)?;
            let peer = conn.name.clone();
            greets(&mut conn, &tcp(&peer, number, count, ""), 0)?;
            served.push((conn, peer));
        }
        let mut refused = self.v4(from, port::TCP)?;
        hears_just(&mut refused, REFUSAL)?;
        self.was_denied(
            port::TCP,
            &refused.name,
            &format!("--max-per-source {PER_SOURCE}"),
        );
        for (mut conn, peer) in served {
            echoes(&mut conn, 10, 1)?;
            ends(conn)?;
            self.was_served(port::TCP, &peer);
        }
        Ok(())
    }

    /// Version 1, in two pieces.
    fn proxied(&mut self) -> Outcome {
        let client = Ipv4Addr::from(0x0a00_0000 | number(self.all) & 0x00ff_ffff);
        let mut conn = self.v4(of_network(9, number(self.all)), port::TCP)?;
        let (proxy, number) = (conn.own().ip(), self.skd.port(port::TCP));
        conn.say(format!("PROXY TCP4 {client} 127.0.0.1 ").as_bytes())?;
        std::thread::yield_now();
        conn.say(format!("4711 {number}\r\n").as_bytes())?;
        let peer = format!("{client}:4711");
        greets(
            &mut conn,
            &tcp(&peer, number, 1, &format!("PROXYREMOTEIP={proxy} ")),
            0,
        )?;
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        Ok(())
    }

    /// Version 2, with the first words behind it.
    fn proxied_v2(&mut self) -> Outcome {
        let client = Ipv4Addr::from(0x0a00_0000 | number(self.all) & 0x00ff_ffff);
        let mut conn = self.v4(of_network(9, number(self.all)), port::TCP)?;
        let (proxy, number) = (conn.own().ip(), self.skd.port(port::TCP));
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend(client.octets());
        header.extend([127, 0, 0, 1]);
        header.extend(4711_u16.to_be_bytes());
        header.extend(number.to_be_bytes());
        header.extend(b"hello");
        conn.say(&header)?;
        let peer = format!("{client}:4711");
        greets(
            &mut conn,
            &tcp(&peer, number, 1, &format!("PROXYREMOTEIP={proxy} ")),
            5,
        )?;
        ends(conn)?;
        self.was_served(port::TCP, &peer);
        Ok(())
    }

    fn proxied_denied(&mut self) -> Outcome {
        let mut conn = self.v4(of_network(9, number(self.all)), port::TCP)?;
        conn.say(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 7000\r\n")?;
        hears_just(&mut conn, "")?;
        self.was_denied(port::TCP, "192.0.2.7:4711", "rule 192.0.2.:deny");
        Ok(())
    }

    fn no_header(&mut self) -> Outcome {
        let mut conn = self.v4(of_network(9, number(self.all)), port::TCP)?;
        conn.say(b"HELO example.com\r\n")?;
        conn.hears_nothing_more()?;
        self.was_denied(port::TCP, &conn.name, "no PROXY header");
        Ok(())
    }
}
