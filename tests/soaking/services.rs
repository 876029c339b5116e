//! What clients do with the services of the inetd.conf(5), and what each of them must get; and with the metrics.

use crate::clients::{Client, source};
use crate::instance::{Instance, port, says};
use crate::net;
use crate::talk::{Outcome, echoes, ends, greets, hears_just, tcp};
use nix::sys::socket::SockType;
use std::sync::atomic::Ordering;

impl Client<'_> {
    /// A service of the inetd.conf, of another user after each HUP.
    pub(crate) fn nowait(&mut self) -> Outcome {
        let before = self.skd.generation();
        let mut conn = self.fresh(port::NOWAIT)?;
        let peer = conn.name.clone();
        let line = conn.line()?;
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.was_served(port::NOWAIT, &peer);
        let after = self.skd.generation();
        let number = self.skd.port(port::NOWAIT);
        let is_right = (before / 2..=after.div_ceil(2)).any(|generation| {
            let uid = says(2 * generation).uid;
            line.starts_with(&format!("{}uid={uid} pid=", tcp(&peer, number, 1, "")))
        });
        if is_right {
            Ok(())
        } else {
            Err(format!("{line:?} between {before} and {after}"))
        }
    }

    /// A service that accepts by itself.
    pub(crate) fn wait(&mut self) -> Outcome {
        let mut conn = self.fresh(port::WAIT)?;
        let number = self.skd.port(port::WAIT);
        greets(&mut conn, &format!("PROTO=TCP TCPLOCALPORT={number} "), 0)?;
        ends(conn)?;
        self.was_served(port::WAIT, "");
        Ok(())
    }

    /// Those without a process, of both kinds.
    pub(crate) fn internal(&mut self) -> Outcome {
        let mut conn = self.fresh(port::ECHO)?;
        let peer = conn.name.clone();
        echoes(&mut conn, 100, 1)?;
        ends(conn)?;
        self.was_served(port::ECHO, &peer);
        let mut conn = net::v4(
            source(self.all),
            self.skd.port(port::ECHO_UDP),
            SockType::Datagram,
        )?;
        conn.say(b"datagram")?;
        let heard = conn.some()?;
        if heard != b"datagram" {
            return Err(format!("internal echo said {heard:?}"));
        }
        let label = self.skd.label(port::ECHO_UDP);
        self.expect(format!("answered {label}"), &conn.name);
        Ok(())
    }

    /// A service whose program is missing, one that is there by turns, and somebody who wants to know.
    pub(crate) fn rare(&mut self) -> Outcome {
        let mut conn = self.fresh(port::MISSING)?;
        hears_just(&mut conn, "")?;
        let label = self.skd.label(port::MISSING);
        self.expect(format!("accept {label}"), &conn.name);
        self.expect(format!("end {label} exit 127"), &conn.name);
        self.expect(format!("failed {label}"), &conn.name);
        self.sometimes()?;
        self.sees_metrics()
    }

    /// Whoever asks for metrics while skd is replaced may be cut off, and asks again.
    fn sees_metrics(&self) -> Outcome {
        let before = self.skd.replacing.load(Ordering::SeqCst);
        match self.skd.scrape() {
            Ok(metrics) if Instance::total(&metrics, "skd_accepted_total") > 0 => {
                self.all.scrapes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(_) => Err("the metrics tell of nobody".into()),
            Err(_) if before % 2 == 1 || self.skd.replacing.load(Ordering::SeqCst) != before => {
                self.all.cut_off.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(text) => Err(format!("metrics: {text}")),
        }
    }

    /// Where the service goes, those who wait to be accepted are reset; nobody else is.
    fn sometimes(&mut self) -> Outcome {
        let before = self.skd.generation();
        let conn = self.fresh(port::SOMETIMES);
        let mut is_served = false;
        match conn {
            Ok(mut conn) => {
                let peer = conn.name.clone();
                if let Ok(line) = conn.line()
                    && !line.is_empty()
                {
                    ends(conn)?;
                    self.was_served(port::SOMETIMES, &peer);
                    is_served = true;
                }
            }
            Err(error) if error.contains("ECONNREFUSED") || error.contains("ECONNRESET") => {}
            Err(error) => return Err(error),
        }
        self.agrees(before, self.skd.generation(), is_served)
    }
}
