//! Turns bytes that programs wrote into the messages that syslog is sent; pure.

use std::collections::VecDeque;

/// The longest message, its header included. rsyslog says 8 KiB but cuts at this many bytes by default.
const MESSAGE_BYTES: usize = 8096;
/// So much is kept while syslog is away.
const KEPT_BYTES: usize = 1024 * 1024;

/// Cuts a stream of bytes into lines. A line that is longer than `most` bytes becomes several.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes; gives each whole line, cleaned, to `line`. Empty lines are left out.
    pub(super) fn take(&mut self, bytes: &[u8], most: usize, mut line: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if self.pending.last() == Some(&b'\n') {
                self.end(most, &mut line);
            }
            while self.pending.len() > most {
                let rest = self.pending.split_off(cut(&self.pending, most));
                let whole = std::mem::replace(&mut self.pending, rest);
                line(harmless(&whole));
            }
        }
    }

    /// The stream has ended, or a newline stands at the end: what is pending is the last line.
    pub(super) fn end(&mut self, most: usize, line: &mut impl FnMut(String)) {
        let whole = std::mem::take(&mut self.pending);
        let mut rest = whole.trim_ascii_end();
        while !rest.is_empty() {
            let (now, later) = rest
                .split_at_checked(cut(rest, most))
                .unwrap_or((rest, &[]));
            line(harmless(now));
            rest = later;
        }
    }
}

/// Where to cut a line of more than `most` bytes: not inside a character, if it is UTF-8.
fn cut(bytes: &[u8], most: usize) -> usize {
    let most = most.max(4).min(bytes.len());
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (most.saturating_sub(3)..=most)
        .rev()
        .find(|at| !is_inside(at))
        .unwrap_or(most)
}

/// Control characters and bytes that are no UTF-8 become `?`, a tab a blank.
fn harmless(bytes: &[u8]) -> String {
    crate::model::text::harmless(
        &bytes
            .iter()
            .map(|byte| if *byte == b'\t' { b' ' } else { *byte })
            .collect::<Vec<_>>(),
    )
}

/// How many bytes of a line go into one message behind this header.
pub(super) fn room(header: &str) -> usize {
    MESSAGE_BYTES.saturating_sub(header.len()).max(64)
}

/// Messages that wait for syslog, bounded; what does not fit is counted.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: VecDeque<String>,
    bytes: usize,
    lost: u64,
}

impl Queue {
    /// Keeps a message, or counts it as lost.
    pub(super) fn push(&mut self, message: String) {
        if self.bytes + message.len() > KEPT_BYTES {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.bytes += message.len();
            self.messages.push_back(message);
        }
    }

    /// The next message to be sent.
    pub(super) fn first(&self) -> Option<&str> {
        self.messages.front().map(String::as_str)
    }

    /// The first message was sent.
    pub(super) fn sent(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.len();
        }
    }

    /// The first message cannot be sent at all.
    pub(super) fn lose(&mut self) {
        self.sent();
        self.lost = self.lost.saturating_add(1);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// None of what waits will be sent.
    pub(super) fn lose_all(&mut self) {
        while self.first().is_some() {
            self.lose();
        }
    }

    /// How many were lost since this was last asked; only when everything else has been sent, so that the word of it
    /// stands where they would have stood.
    pub(super) fn take_lost(&mut self) -> Option<u64> {
        let lost = self.lost;
        if lost == 0 || !self.messages.is_empty() {
            return None;
        }
        self.lost = 0;
        Some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]], most: usize) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.take(piece, most, |line| lines.push(line));
        }
        splitter.end(most, &mut |line| lines.push(line));
        lines
    }

    #[test]
    fn bytes_become_lines_however_they_arrive() {
        let table: &[(&[&[u8]], &[&str])] = &[
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"o", b"ne\ntw", b"o"], &["one", "two"]),
            (&[b"\n\n  \nx\r\n"], &["x"]),
            (&[b"a\tb\x1b[2J\0c\xff"], &["a b?[2J?c?"]),
            (&[b""], &[]),
        ];
        for (pieces, expected) in table {
            assert_eq!(lines(pieces, 100), *expected);
        }
    }

    #[test]
    fn long_lines_are_split_and_lose_nothing() {
        let long = "\u{e9}".repeat(5000);
        for pieces in [vec![long.as_bytes()], long.as_bytes().chunks(7).collect()] {
            let lines = lines(&pieces, 1001);
            assert!(lines.len() > 9 && lines.iter().all(|line| line.len() <= 1001));
            assert_eq!(lines.concat(), long);
        }
        assert_eq!(
            lines(&[&[b'x'; 8000]], 4000),
            ["x".repeat(4000), "x".repeat(4000)]
        );
    }

    #[test]
    fn the_queue_is_bounded_and_counts_what_it_loses() {
        let mut queue = Queue::default();
        for _ in 0..1100 {
            queue.push("x".repeat(1024));
        }
        assert_eq!(queue.take_lost(), None);
        let mut sent = 0;
        while queue.first().is_some() {
            queue.sent();
            sent += 1;
        }
        assert_eq!(
            (sent, queue.take_lost(), queue.take_lost()),
            (1024, Some(76), None)
        );
        queue.push("x".into());
        queue.lose();
        assert_eq!((queue.bytes, queue.take_lost()), (0, Some(1)));
    }
}
