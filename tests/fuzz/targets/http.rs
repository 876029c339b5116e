//! What a client of the metrics says: a request in pieces is judged as a whole one, and what is answered is HTTP.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/report"]
mod report {
    pub(crate) mod http;
}

use libfuzzer_sys::fuzz_target;
use report::http::{REQUEST_BYTES, Refusal, Request, answer, read, refuse};

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(REQUEST_BYTES)];
    let request = read(bytes);
    let early = (0..bytes.len()).map(|len| read(&bytes[..len]));
    if let Some(early) = early.into_iter().find(|early| *early != Request::More) {
        assert_eq!(early, request);
    }
    // It ends with what skd has room for, whatever comes.
    for more in [0, b'\n', b' ', b'a'] {
        let mut full = bytes.to_vec();
        full.resize(REQUEST_BYTES, more);
        let full = read(&full);
        assert_ne!(full, Request::More);
        if request != Request::More {
            assert_eq!(full, request);
        }
    }
    let answered = match request {
        Request::More => return,
        Request::Metrics => {
            let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
            let line = &bytes[start.expect("it is not empty")..];
            assert!(line.starts_with(b"GET /metrics ") || line.starts_with(b"GET /metrics?"));
            let is_over = |lines: &[u8]| lines == b"\n\n" || lines.starts_with(b"\n\r\n");
            assert!(line.windows(2).any(is_over) || line.windows(3).any(is_over));
            // Any text is carried whole.
            let text = String::from_utf8_lossy(bytes);
            carries(&answer(&text), 200, text.as_bytes())
        }
        Request::Wrong(refusal) => {
            let (status, body) = match refusal {
                Refusal::BadRequest => (400, "400 Bad Request\n"),
                Refusal::NotFound => (404, "404 Not Found\n"),
                Refusal::MethodNotAllowed => (405, "405 Method Not Allowed\n"),
                Refusal::TooLarge => (431, "431 Request Header Fields Too Large\n"),
                Refusal::Unavailable => unreachable!("it is no answer to what was said"),
            };
            carries(&refuse(refusal), status, body.as_bytes())
        }
    };
    assert!(answered < 300);
});

/// The length of the head.
fn carries(answer: &[u8], status: u16, body: &[u8]) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut response = httparse::Response::new(&mut fields);
    let head = response.parse(answer).expect("it is HTTP").unwrap();
    assert_eq!((response.code, &answer[head..]), (Some(status), body));
    let mut fields = response.headers.iter();
    let length = fields.find(|field| field.name == "Content-Length");
    let length = length.expect("it says how long it is").value;
    assert_eq!(length, body.len().to_string().as_bytes());
    head
}
