//! What strangers tell of a connection's ends, a name server and who answers to ident, becomes names that can stand in an
//! environment.

/// The most that is taken of a name, in bytes; no host name is longer.
pub(crate) const NAME_BYTES: usize = 255;

/// What can be the name of a host, without the dot at the end; a stranger has chosen it. It is no number: getaddrinfo(3)
/// takes `127.1`, `0x7f.1` and `2130706433` for addresses and asks nobody, so that any of them would confirm itself.
pub(crate) fn host_name(name: &[u8]) -> Option<Vec<u8>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_name = name.iter().all(fits) && (1..=NAME_BYTES).contains(&name.len());
    let labels = || name.split(|byte| *byte == b'.');
    let is_whole = is_name && labels().all(|label| !label.is_empty());
    (is_whole && !labels().all(is_number)).then(|| name.to_vec())
}

/// Whether inet_aton(3) reads it as a part of an address: decimal, octal or hexadecimal.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// The user of an answer, `PORT, PORT : USERID : SYSTEM : USER`; `None` for any other, and for one to another question.
pub(crate) fn user(answer: &[u8], ports: (u16, u16)) -> Option<Vec<u8>> {
    let answer = answer.strip_suffix(b"\r").unwrap_or(answer);
    let mut parts = answer.splitn(4, |byte| *byte == b':');
    let (asked, kind, _system, user) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let asked = std::str::from_utf8(asked).ok()?;
    let (one, other) = asked.split_once(',')?;
    let answered = (one.trim().parse().ok()?, other.trim().parse().ok()?);
    if answered != ports || kind.trim_ascii() != b"USERID" {
        return None;
    }
    let user = user.trim_ascii();
    let user = user.get(..NAME_BYTES).unwrap_or(user);
    let shown = user.iter().map(|byte| match byte {
        b' '..=b'~' => *byte,
        _ => b'?',
    });
    (!user.is_empty()).then(|| shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_host() {
        let long = "x".repeat(NAME_BYTES);
        let longer = format!("{long}x");
        let table = [
            ("a.example", Some("a.example")),
            ("A_b-1.Example.", Some("A_b-1.Example")),
            (&long, Some(&long)),
            (&longer, None),
            ("", None),
            (".", None),
            ("7.example", Some("7.example")),
            ("0xg.7", Some("0xg.7")),
            ("192.0.2.7", None),
            ("192.0.2.7.", None),
            ("127.1", None),
            ("2130706433", None),
            ("0X7f.1", None),
            ("0177.0.0.1", None),
            ("..", None),
            ("a b", None),
            ("a\nb", None),
            ("a=b", None),
            ("\u{e9}.example", None),
            ("$(x)", None),
        ];
        for (name, found) in table {
            let found = found.map(|found: &str| found.as_bytes().to_vec());
            assert_eq!(host_name(name.as_bytes()), found, "{name}");
        }
    }

    #[test]
    fn an_answer_is_to_our_question_and_names_a_user() {
        let long = format!("6193, 23 : USERID : UNIX : {}", "x".repeat(400));
        let most = "x".repeat(NAME_BYTES);
        let table = [
            ("6193, 23 : USERID : UNIX : joe", Some("joe")),
            ("6193,23:USERID:UNIX:joe\r", Some("joe")),
            ("6193 , 23 : USERID : UNIX,UTF-8 :  j:o e ", Some("j:o e")),
            ("6193, 23 : USERID : OTHER : j\x1b\u{e9}e", Some("j???e")),
            (&long, Some(&most)),
            ("6193, 23 : ERROR : NO-USER", None),
            ("6193, 23 : ERROR : X : joe", None),
            ("6193, 24 : USERID : UNIX : joe", None),
            ("23, 6193 : USERID : UNIX : joe", None),
            ("6193, 23 : USERID : UNIX :", None),
            ("6193, 23 : USERID : joe", None),
            ("6193 23 : USERID : UNIX : joe", None),
            ("", None),
        ];
        for (answer, found) in table {
            let found = found.map(|found: &str| found.as_bytes().to_vec());
            assert_eq!(user(answer.as_bytes(), (6193, 23)), found, "{answer}");
        }
    }
}
