//! What programs write, on its way to syslog: the same lines however it arrives, none too long, and none lost.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/daemon"]
mod daemon {
    mod lines;

    /// The lines of a stream of these pieces.
    pub(crate) fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>, most: usize) -> Vec<String> {
        let mut splitter = lines::Splitter::default();
        let mut all = Vec::new();
        for piece in pieces {
            splitter.take(piece, most, |line| all.push(line));
        }
        splitter.end(most, &mut |line| all.push(line));
        all
    }
}
#[path = "../../../src/model/mod.rs"]
mod model;

use daemon::lines;
use libfuzzer_sys::fuzz_target;
use model::text::harmless;

// A byte for the length of a line, one for that of the pieces, and what is written.
fuzz_target!(|bytes: &[u8]| {
    let [most, piece, bytes @ ..] = bytes else {
        return;
    };
    let most = 64 + usize::from(*most);
    let whole = lines(std::iter::once(bytes), most);
    for line in &whole {
        assert!((1..=most).contains(&line.len()));
        assert!(harmless(line.as_bytes()) == *line && !line.contains('\t'));
    }
    // What is left out at the end of a line, blanks and a carriage return, is known for that only when the line is over.
    let shown = |lines: &[String]| -> Vec<String> {
        let lines = lines
            .iter()
            .map(|line| line.trim_end_matches([' ', '?']).to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    for len in [1, 1 + usize::from(*piece)] {
        assert_eq!(shown(&lines(bytes.chunks(len), most)), shown(&whole));
    }
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b'\n';
    if bytes.iter().all(is_plain) {
        let written: Vec<u8> = bytes.iter().copied().filter(|it| *it != b'\n').collect();
        assert_eq!(whole.concat().as_bytes(), written);
    }
});
