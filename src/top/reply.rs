//! Turns the bytes of an HTTP answer into its body; pure.

/// More headers than this are no answer of skd.
const MOST_HEADERS: usize = 64;

/// The body of an answer that has come to its end.
///
/// # Errors
/// Why it is none: no HTTP, another status than 200, or shorter than it said.
pub(crate) fn body(answer: &[u8]) -> Result<&[u8], String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    if answer.is_empty() {
        return Err("the connection was closed without an answer".into());
    }
    let head = match response.parse(answer) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Err("the answer is cut off".into()),
        Err(_) => return Err("the answer is no HTTP".into()),
    };
    let body = answer.get(head..).unwrap_or_default();
    match response.code {
        Some(200) => {}
        code => return Err(format!("HTTP status {}", code.unwrap_or_default())),
    }
    let mut lengths = response
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = lengths.next() else {
        return Ok(body);
    };
    let length = str::from_utf8(length.value).ok();
    let length: Option<usize> = length.and_then(|digits| digits.trim().parse().ok());
    length
        .and_then(|length| body.get(..length))
        .ok_or_else(|| "the answer is cut off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_had_only_from_a_whole_answer() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));
        let table: &[(&str, Result<&str, &str>)] = &[
            ("", Err("the connection was closed without an answer")),
            ("SSH-2.0-OpenSSH_9.2\r\n", Err("the answer is no HTTP")),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", Err("the answer is cut off")),
            (&many, Err("the answer is no HTTP")),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Err("HTTP status 404")),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
                Err("the answer is cut off"),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nabc",
                Err("the answer is cut off"),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd",
                Ok("abc"),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nabcd", Ok("abcd")),
        ];
        for (answer, wanted) in table {
            let got = body(answer.as_bytes());
            let got = got.map(|body| str::from_utf8(body).unwrap());
            assert_eq!(got, wanted.map_err(str::to_owned), "{answer}");
        }
    }
}
