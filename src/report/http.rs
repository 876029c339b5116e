//! What an HTTP client has asked for, and the answer; pure.

/// The most bytes that a request may have, its empty line included.
pub(crate) const REQUEST_BYTES: usize = 8 * 1024;
/// So many header fields are looked at.
const FIELDS: usize = 64;

/// What has been asked for so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    /// It is not whole.
    More,
    /// GET of `/metrics`.
    Metrics,
    /// Nothing that is answered but with this.
    Wrong(Refusal),
}

/// A status and its reason phrase, RFC 9110.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    Unavailable,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Reads what a client has said, up to the empty line; RFC 9112.
pub(crate) fn read(bytes: &[u8]) -> Request {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => asked(request.method, request.path),
        Ok(httparse::Status::Partial) if bytes.len() < REQUEST_BYTES => Request::More,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Request::Wrong(Refusal::TooLarge)
        }
        Err(_) => Request::Wrong(Refusal::BadRequest),
    }
}

fn asked(method: Option<&str>, target: Option<&str>) -> Request {
    let path = target.map(|target| path_of(target).split('?').next().unwrap_or_default());
    match (path, method) {
        (Some("/metrics"), Some("GET")) => Request::Metrics,
        (Some("/metrics"), _) => Request::Wrong(Refusal::MethodNotAllowed),
        (_, Some("GET")) => Request::Wrong(Refusal::NotFound),
        _ => Request::Wrong(Refusal::MethodNotAllowed),
    }
}

/// Of a target in origin form or in absolute form, RFC 9112 section 3.2, whichever host that names.
fn path_of(target: &str) -> &str {
    let scheme = "http://";
    match target.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => {
            let behind = target.get(scheme.len()..).unwrap_or_default();
            let end = behind.find(['/', '?']);
            end.and_then(|end| behind.get(end..)).unwrap_or("/")
        }
        _ => target,
    }
}

/// The whole answer with these metrics, in the Prometheus text format 0.0.4.
pub(crate) fn answer(metrics: &str) -> Vec<u8> {
    whole(
        "200 OK",
        "text/plain; version=0.0.4; charset=utf-8",
        "",
        metrics,
    )
}

/// The whole answer to what cannot be answered.
pub(crate) fn refuse(refusal: Refusal) -> Vec<u8> {
    let status = refusal.status();
    let allow = match refusal {
        Refusal::MethodNotAllowed => "Allow: GET\r\n",
        _ => "",
    };
    whole(
        status,
        "text/plain; charset=utf-8",
        allow,
        &format!("{status}\n"),
    )
}

fn whole(status: &str, kind: &str, more: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n{more}Connection: close\r\n\r\n"
    );
    (head + body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whole_and_strictly() {
        use Refusal::{BadRequest, MethodNotAllowed, NotFound, TooLarge};
        let many = "GET /metrics HTTP/1.1\r\n".to_owned() + &"A: b\r\n".repeat(65) + "\r\n";
        let long = "GET /metrics HTTP/1.1\r\nA: ".to_owned() + &"b".repeat(REQUEST_BYTES);
        let table = [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Request::Metrics),
            ("GET /metrics HTTP/1.0\r\n\r\n", Request::Metrics),
            ("GET /metrics?name=x HTTP/1.1\r\n\r\nmore", Request::Metrics),
            ("\r\nGET /metrics HTTP/1.1\n\n", Request::Metrics),
            (
                "GET http://[::1]:9/metrics?x HTTP/1.1\r\n\r\n",
                Request::Metrics,
            ),
            ("GET HTTP://x/metrics HTTP/1.1\r\n\r\n", Request::Metrics),
            ("GET http://x HTTP/1.1\r\n\r\n", Request::Wrong(NotFound)),
            (
                "GET http://x?/metrics HTTP/1.1\r\n\r\n",
                Request::Wrong(NotFound),
            ),
            (
                "GET http://x/metrics/ HTTP/1.1\r\n\r\n",
                Request::Wrong(NotFound),
            ),
            (
                "GET https://x/metrics HTTP/1.1\r\n\r\n",
                Request::Wrong(NotFound),
            ),
            ("GET / HTTP/1.1\r\n\r\n", Request::Wrong(NotFound)),
            ("GET /metricsx HTTP/1.1\r\n\r\n", Request::Wrong(NotFound)),
            (
                "HEAD /metrics HTTP/1.1\r\n\r\n",
                Request::Wrong(MethodNotAllowed),
            ),
            ("POST /x HTTP/1.1\r\n\r\n", Request::Wrong(MethodNotAllowed)),
            (
                "get /metrics HTTP/1.1\r\n\r\n",
                Request::Wrong(MethodNotAllowed),
            ),
            ("GET /metrics\r\n\r\n", Request::Wrong(BadRequest)),
            ("GET /metrics HTTP/3.0\r\n\r\n", Request::Wrong(BadRequest)),
            (
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                Request::Wrong(BadRequest),
            ),
            ("\x16\x03\x01\x02\0\x01", Request::Wrong(BadRequest)),
            (
                "GET /metrics HTTP/1.1\r\nno field\r\n\r\n",
                Request::Wrong(BadRequest),
            ),
            ("", Request::More),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", Request::More),
            (&many, Request::Wrong(TooLarge)),
            (&long, Request::Wrong(TooLarge)),
        ];
        for (text, request) in table {
            assert_eq!(read(text.as_bytes()), request, "{text}");
        }
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let text = String::from_utf8(answer("x 1\n")).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\nx 1\n"
        );
        let text = String::from_utf8(refuse(Refusal::MethodNotAllowed)).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(text.contains("\r\nAllow: GET\r\n"));
    }
}
