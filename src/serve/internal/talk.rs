//! A connection of echo, discard or chargen.

use crate::model::inetd::Builtin;
use crate::serve::internal::answers;
use crate::sys::conn::Conn;
use crate::sys::errno::Errno;
use crate::sys::poll::Watch;
use crate::sys::socket;

/// How much is heard at once, in bytes.
const HEARD: usize = 4096;
/// How many lines of chargen are made at once.
const LINES: usize = 32;
/// How often in a turn of the loop, before others have theirs.
const ROUNDS: usize = 16;

pub(super) struct Talk {
    conn: Conn,
    builtin: Builtin,
    /// What is to be sent, and how much of it has been.
    unsent: Vec<u8>,
    sent: usize,
    /// The line of chargen that is next.
    line: usize,
    /// The client has said its last word.
    is_heard_out: bool,
}

impl Talk {
    pub(super) fn new(conn: Conn, builtin: Builtin) -> Self {
        Self {
            conn,
            builtin,
            unsent: Vec::new(),
            sent: 0,
            line: 0,
            is_heard_out: false,
        }
    }

    /// One that another skd has begun.
    pub(super) fn resume(conn: Conn, builtin: Builtin, line: usize, unsent: &[u8]) -> Self {
        Self {
            unsent: unsent.to_vec(),
            line,
            ..Self::new(conn, builtin)
        }
    }

    /// What that needs: the next line of chargen, and what is still to be sent.
    pub(super) fn rest(&self) -> (Builtin, usize, &[u8]) {
        let unsent = self.unsent.get(self.sent..).unwrap_or_default();
        (self.builtin, self.line, unsent)
    }

    pub(super) fn conn(&self) -> &Conn {
        &self.conn
    }

    /// What is to be waited for.
    pub(super) fn watch(&self) -> Watch {
        match self.builtin == Builtin::Chargen || self.sent < self.unsent.len() {
            true => Watch::Room,
            false => Watch::Alone,
        }
    }

    /// Goes on as far as that is possible without waiting; whether it is not at its end.
    pub(super) fn go_on(&mut self) -> bool {
        for _ in 0..ROUNDS {
            match self.step() {
                Ok(()) if self.is_heard_out && self.sent >= self.unsent.len() => return false,
                Ok(()) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends what there is to send, or else hears more.
    ///
    /// # Errors
    /// AGAIN: it would have to wait; anything else: the client is gone.
    fn step(&mut self) -> Result<(), Errno> {
        if let Some(rest @ [_, ..]) = self.unsent.get(self.sent..) {
            self.sent += socket::send(&self.conn, rest)?;
            return Ok(());
        }
        (self.sent, self.unsent) = (0, std::mem::take(&mut self.unsent));
        self.unsent.clear();
        match self.builtin {
            Builtin::Chargen => {
                for _ in 0..LINES {
                    self.unsent.extend(answers::line(self.line));
                    self.line = self.line.wrapping_add(1);
                }
            }
            Builtin::Echo | Builtin::Discard | Builtin::Daytime | Builtin::Time => {
                let mut bytes = [0; HEARD];
                let len = self.conn.hear(&mut bytes)?;
                self.is_heard_out = len == 0;
                if self.builtin == Builtin::Echo {
                    self.unsent.extend(bytes.iter().take(len));
                }
            }
        }
        Ok(())
    }
}
