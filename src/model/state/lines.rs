//! How a state is written: each thing as the words of a line.

use super::{Child, Farewell, Gone, Held, Listener, Log, Pending, Scraped, Spent, Stage, Visit};
use crate::model::peer::{Credentials, Peer, Source};
use crate::model::tally::{Counts, Histogram, Tally};
use std::fmt::Write;
use std::time::Duration;

pub(super) fn line(out: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(words);
    out.push('\n');
}

pub(super) fn held(at: &Held) -> String {
    format!("{} {}", at.folder, hex(&at.name))
}

/// Two digits for each byte behind an `x`, so that nothing is a word too.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("x".to_owned()).chain(digits).collect()
}

fn or_none<T: ToString>(it: Option<T>) -> String {
    it.map_or("-".into(), |it| it.to_string())
}

/// `None` where there is nothing to say.
pub(super) fn log(log: &Log) -> Option<String> {
    Some(match log {
        Log::Inherited => return None,
        Log::File { at, umask } => format!("logfile {umask} {}", held(at)),
        Log::Syslog {
            read,
            null,
            places,
            pid,
        } => {
            let places: String = places.iter().map(|at| format!(" {}", held(at))).collect();
            format!("logger {read} {null} {pid}{places}")
        }
    })
}

pub(super) fn listener(listener: &Listener) -> String {
    let adopted = or_none(listener.adopted.as_ref().map(|name| hex(name)));
    let service = or_none(listener.service.as_ref().map(|name| hex(name)));
    let waited = or_none(listener.waited);
    let (is_kept, has_news) = (u8::from(listener.is_kept), u8::from(listener.has_news));
    let (was_executed, is_again) = (u8::from(listener.was_executed), u8::from(listener.is_again));
    let (stamp, starts) = listener.unread;
    let stamp = or_none(stamp.as_ref().map(Duration::as_nanos));
    let rests = or_none(listener.rests_until.as_ref().map(Duration::as_nanos));
    let file = file(listener.file.as_ref());
    let tally = tally(&listener.tally);
    format!(
        "listener {adopted} {service} {is_kept} {waited} {has_news} {was_executed} {is_again} \
         {stamp} {starts} {rests} {tally}{file}"
    )
}

/// Behind a blank, if there is one.
fn file(file: Option<&(Held, (u64, u64))>) -> String {
    file.map_or(String::new(), |(at, (device, inode))| {
        format!(" {device} {inode} {}", held(at))
    })
}

pub(super) fn scraped(scraped: &Scraped) -> String {
    format!("metrics {}{}", scraped.socket, file(scraped.file.as_ref()))
}

pub(super) fn counts(counts: &Counts) -> String {
    let Counts {
        accepted,
        denied,
        failed,
    } = counts;
    format!("{accepted} {denied} {failed}")
}

fn tally(tally: &Tally) -> String {
    let counts = counts(&tally.counts);
    let (spawn, run) = (histogram(&tally.spawn), histogram(&tally.run));
    format!("{counts} {spawn} {run}")
}

fn histogram(histogram: &Histogram) -> String {
    let counts = histogram.counts.iter().map(|count| format!("{count} "));
    counts.collect::<String>() + &histogram.sum.as_nanos().to_string()
}

pub(super) fn child(child: &Child) -> String {
    let Child {
        pid,
        listener,
        since,
        peer,
        source,
        stage,
    } = child;
    let stage = match stage {
        Stage::Running => "running",
        Stage::Asking => "asking",
        Stage::Denied => "denied",
    };
    let (since, source) = (since.as_nanos(), source_words(*source));
    let peer = peer_words(peer.as_ref());
    format!("child {pid} {listener} {since} {stage} {source} {peer}")
}

pub(super) fn pending(pending: &Pending) -> String {
    let Pending {
        conn,
        listener,
        until,
        taken,
        peer,
    } = pending;
    let (until, taken, peer) = (until.as_nanos(), hex(taken), peer_words(Some(peer)));
    format!("pending {conn} {listener} {until} {taken} {peer}")
}

pub(super) fn spent(spent: &Spent) -> String {
    let source = spent.source.map_or("all".into(), source_words);
    format!("spent {} {source}", spent.units)
}

pub(super) fn gone(gone: &Gone) -> String {
    format!("gone {} {}", hex(&gone.label), tally(&gone.tally))
}

pub(super) fn visit(visit: &Visit) -> String {
    let (conn, listener, line) = (visit.conn, visit.listener, visit.line);
    let builtin = visit.builtin.name();
    let (since, until) = (visit.since.as_nanos(), visit.until.as_nanos());
    let (unsent, source) = (hex(&visit.unsent), source_words(visit.source));
    let peer = peer_words(Some(&visit.peer));
    format!("visit {conn} {listener} {builtin} {since} {until} {line} {unsent} {source} {peer}")
}

pub(super) fn farewell(farewell: &Farewell) -> String {
    let Farewell { conn, sent, until } = farewell;
    format!("farewell {conn} {sent} {}", until.as_nanos())
}

fn source_words(source: Source) -> String {
    match source {
        Source::V4(ip) => format!("4 {ip}"),
        Source::V6(prefix) => format!("6 {}", u64::from_be_bytes(prefix)),
        Source::Uid(uid) => format!("uid {uid}"),
        Source::Cid(cid) => format!("cid {cid}"),
        Source::Unknown => "nobody".into(),
    }
}

fn peer_words(peer: Option<&Peer>) -> String {
    match peer {
        None => "alone".into(),
        Some(Peer::Inet(address)) => format!("inet {address}"),
        Some(Peer::Unix(Some(Credentials { pid, uid, gid }))) => format!("unix {pid} {uid} {gid}"),
        Some(Peer::Unix(None)) => "unknown".into(),
        Some(Peer::Vsock { cid, port }) => format!("vsock {cid} {port}"),
    }
}
