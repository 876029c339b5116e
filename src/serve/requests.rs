//! From a signal to what it asks for.

use crate::model::event::{Event, Trouble};
use crate::serve::Server;
use crate::sys::signal::Request;
use crate::sys::stderr::Stderr;
use std::time::Instant;

impl Server {
    /// Does what a signal asks for; returns whether skd is to end now.
    pub(super) fn obey(&mut self, request: Request) -> bool {
        match request {
            Request::Stop => return self.stop(false),
            Request::StopAll => return self.stop(true),
            Request::Reap => self.reap(),
            Request::Tell => self.log.tell(&Event::Status(self.status()), Instant::now()),
            Request::Reread => self.reread(),
            Request::Replace => self.begin_upgrade(),
        }
        false
    }

    /// HUP: opens the log again, and reads the rules and the inetd.conf(5) again.
    fn reread(&mut self) {
        // The last word to a manager is that we stop.
        let tells = self.stopping.is_none();
        if tells {
            self.notices.reloading();
        }
        match self.words.reopen() {
            Ok(()) => {
                if !self.words.are_inherited() {
                    self.log.redirect(false, Box::new(Stderr::new()));
                }
                self.log.note(|| "asked to open files again".into());
            }
            Err(errno) => {
                let text = format!("unable to open the log again: {errno}, keeping the old one");
                self.warn(Trouble::Other, None, text);
            }
        }
        self.reread_rules();
        self.reread_services();
        if tells {
            self.notices.reloaded();
        }
    }
}
