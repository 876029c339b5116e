//! Connections that live long, some of which lose their program on the way.

use crate::clients::{Clients, source};
use crate::instance::{Instance, PER_SOURCE, locked, port};
use crate::net::{self, Conn};
use crate::talk::{echoes, ends, greets, tcp};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::SockType;
use nix::unistd::Pid;
use std::net::Ipv4Addr;

struct Live {
    conn: Conn,
    peer: String,
    /// Of its program.
    pid: i32,
}

/// All of one skd.
#[derive(Default)]
pub(crate) struct Held {
    lives: Vec<Live>,
    pub(crate) killed: u64,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.lives.len()
    }

    /// Opens so many, as many of each source as it may have.
    pub(crate) fn open(
        &mut self,
        skd: &Instance,
        all: &Clients,
        count: usize,
    ) -> Result<(), String> {
        let mut from = source(all);
        for place in 0..count as u64 {
            if place % PER_SOURCE == 0 {
                from = source(all);
            }
            self.open_one(skd, from, place % PER_SOURCE + 1)?;
        }
        Ok(())
    }

    fn open_one(&mut self, skd: &Instance, from: Ipv4Addr, count: u64) -> Result<(), String> {
        let number = skd.port(port::TCP);
        let mut conn = net::v4(from, number, SockType::Stream)?;
        let peer = conn.name.clone();
        let pid = greets(&mut conn, &tcp(&peer, number, count, ""), 0)?;
        locked(&skd.expected).add(&format!("accept {}", skd.label(port::TCP)), &peer);
        self.lives.push(Live { conn, peer, pid });
        Ok(())
    }

    /// Kills the program of one of them, and puts another in its place.
    pub(crate) fn kill_one(
        &mut self,
        skd: &Instance,
        all: &Clients,
        chance: u64,
        signal: Signal,
    ) -> Result<(), String> {
        if self.lives.is_empty() {
            return Ok(());
        }
        let place = (chance % self.lives.len() as u64) as usize;
        let mut live = self.lives.swap_remove(place);
        kill(Pid::from_raw(live.pid), signal).map_err(|errno| format!("kill: {errno}"))?;
        live.conn.hears_nothing_more()?;
        let name = signal.as_str().trim_start_matches("SIG");
        let kind = format!("end {} signal {name}", skd.label(port::TCP));
        locked(&skd.expected).add(&kind, &live.peer);
        self.killed += 1;
        self.open_one(skd, source(all), 1)
    }

    /// Each of them is still answered, and by the same program.
    pub(crate) fn all_answer(&mut self) -> Result<(), String> {
        self.lives
            .iter_mut()
            .try_for_each(|live| echoes(&mut live.conn, 8, 1))
    }

    pub(crate) fn close_all(&mut self, skd: &Instance) -> Result<(), String> {
        for live in self.lives.drain(..) {
            ends(live.conn)?;
            locked(&skd.expected).add(&format!("end {} exit 0", skd.label(port::TCP)), &live.peer);
        }
        Ok(())
    }
}
