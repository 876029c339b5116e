//! What is said on a connection, by its program and by the client.

use crate::net::Conn;

pub(crate) type Outcome = Result<(), String>;

/// What a program is told of a connection over TCP, with what else there is.
pub(crate) fn tcp(peer: &str, port: u16, count: u64, more: &str) -> String {
    let (ip, number) = peer.rsplit_once(':').unwrap_or_default();
    let ip = ip.trim_matches(['[', ']']);
    format!(
        "PROTO=TCP TCPREMOTEIP={ip} TCPREMOTEPORT={number} TCPLOCALPORT={port} TCPCONNNUM={count} {more}"
    )
}

/// The program says this first, and behind it as many bytes as were said with the header. Returns its pid.
pub(crate) fn greets(conn: &mut Conn, wanted: &str, behind: usize) -> Result<i32, String> {
    let wanted = format!("{wanted}uid=0 pid=");
    // What was said already may come along with the line, or behind it.
    let mut heard = Vec::new();
    loop {
        let end = heard.iter().position(|byte| *byte == b'\n');
        if let Some(end) = end
            && heard.len() >= end + 1 + behind
        {
            let line = String::from_utf8_lossy(&heard[..end]).into_owned();
            let pid = line.strip_prefix(&wanted).and_then(|pid| pid.parse().ok());
            return pid.ok_or_else(|| format!("{wanted:?} was expected, not {line:?}"));
        }
        let more = conn.some()?;
        if more.is_empty() {
            return Err(format!("{wanted:?} was expected, not the end"));
        }
        heard.extend(more);
    }
}

/// So many bytes come back, so many times.
pub(crate) fn echoes(conn: &mut Conn, len: usize, times: usize) -> Outcome {
    for time in 0..times {
        let said: Vec<u8> = (0..len).map(|place| (place * 7 + time) as u8).collect();
        conn.say(&said)?;
        if conn.exactly(len)? != said {
            return Err("another echo".into());
        }
    }
    Ok(())
}

/// Nothing more is said, and nothing more is heard.
pub(crate) fn ends(mut conn: Conn) -> Outcome {
    conn.end()?;
    hears_just(&mut conn, "")
}

/// This is said, then the connection ends.
pub(crate) fn hears_just(conn: &mut Conn, wanted: &str) -> Outcome {
    let heard = conn.rest()?;
    if heard == wanted.as_bytes() {
        return Ok(());
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    Err(format!("{wanted:?} was expected, not {heard:?}"))
}
