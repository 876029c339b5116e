//! Turns the source of tcprules(1) into rules.

use super::address::{Spelling, Wrong, keys};
use super::{Broken, Instructions, Rules};

/// Reads lines of `ADDRESS:INSTRUCTIONS`; empty ones and those that begin with `#` are skipped, and blanks at the end
/// of a line.
///
/// # Errors
/// The first line that is wrong.
pub(super) fn read(text: &[u8]) -> Result<Rules, Broken> {
    let mut rules = Rules::default();
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Broken {
            place: Some((1, 1)),
            why: "a byte order mark; the file is expected to begin with the first rule".into(),
        });
    }
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
        let line = line.get(..end.map_or(0, |end| end + 1)).unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        add(&mut rules, line).map_err(|Wrong(place, why)| Broken {
            place: Some((number + 1, place + 1)),
            why: why.into(),
        })?;
    }
    Ok(rules)
}

fn add(rules: &mut Rules, line: &[u8]) -> Result<(), Wrong> {
    if let Some(place) = line.iter().position(|byte| *byte == 0) {
        return Err(Wrong(place, "a NUL byte"));
    }
    if line == b"\r" {
        return Err(Wrong(0, RETURN));
    }
    let (address, place) = split(line)?;
    let keys = keys(address, Spelling::Source)?;
    let instructions = instructions(line, place)?;
    rules
        .add(address, keys, instructions)
        .map_err(|why| Wrong(0, why))
}

/// A line that ends with CR LF. tcprules(1) takes it no better, and a value may have the mark CR around it.
const RETURN: &str = "a carriage return; a line ends with a line feed alone";

const ALLOW: &[u8] = b"allow";
const DENY: &[u8] = b"deny";

/// The address, and the place of the instructions: behind the first colon that has `allow` or `deny` behind it, since
/// an IPv6 address has colons of its own.
fn split(line: &[u8]) -> Result<(&[u8], usize), Wrong> {
    let colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let mut last = None;
    for (colon, _) in colons {
        let rest = line.get(colon + 1..).unwrap_or_default();
        if rest.starts_with(ALLOW) || rest.starts_with(DENY) {
            return Ok((line.get(..colon).unwrap_or_default(), colon + 1));
        }
        last = Some(colon);
    }
    Err(match last {
        Some(colon) => Wrong(colon + 1, "allow or deny is expected"),
        None => Wrong(line.len(), "\":allow\" or \":deny\" is missing"),
    })
}

/// `allow` or `deny`, then `,VAR="value"` any number of times with any byte in place of `"`.
fn instructions(line: &[u8], place: usize) -> Result<Instructions, Wrong> {
    let rest = line.get(place..).unwrap_or_default();
    let mut instructions = Instructions {
        denies: rest.starts_with(DENY),
        variables: Vec::new(),
    };
    let word = if instructions.denies { DENY } else { ALLOW };
    let mut place = place + word.len();
    while let Some(byte) = line.get(place) {
        if *byte == b'\r' && place + 1 == line.len() {
            return Err(Wrong(place, RETURN));
        }
        if *byte != b',' {
            return Err(Wrong(place, "\",\" or the end of the line is expected"));
        }
        place += 1;
        let equals = find(line, place, b'=').ok_or(Wrong(place, "VAR=\"VALUE\" is expected"))?;
        let name = line.get(place..equals).unwrap_or_default();
        if name.is_empty() {
            return Err(Wrong(place, "a variable's name is missing"));
        }
        let mark = equals + 1;
        let quote = line
            .get(mark)
            .ok_or(Wrong(mark, "a value between two marks is expected"))?;
        let end = find(line, mark + 1, *quote)
            .ok_or(Wrong(mark, "the value's second mark is missing"))?;
        instructions.set(name, line.get(mark + 1..end).unwrap_or_default());
        place = end + 1;
    }
    Ok(instructions)
}

/// The place of the first such byte from `start` on.
fn find(line: &[u8], start: usize, wanted: u8) -> Option<usize> {
    let place = line.get(start..)?.iter().position(|byte| *byte == wanted)?;
    Some(start + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::peer::{Peer, PeerFacts};

    fn broken(text: &[u8]) -> String {
        read(text).unwrap_err().shown(b"rules")
    }

    #[test]
    fn the_first_wrong_line_is_named_with_its_place() {
        let table: [(&[u8], &str); 23] = [
            (b"1.2.3.4", "1:8: \":allow\" or \":deny\" is missing"),
            (
                b"# ok\n\n10.:deny\nnonsense \n",
                "4:9: \":allow\" or \":deny\" is missing",
            ),
            (b"1.2.3.4:", "1:9: allow or deny is expected"),
            (b"1.2.3.4: deny", "1:9: allow or deny is expected"),
            (b"1.2.3.4:ALLOW", "1:9: allow or deny is expected"),
            (b"::1:no", "1:5: allow or deny is expected"),
            (
                b"1.2.3.4:denyX",
                "1:13: \",\" or the end of the line is expected",
            ),
            (
                b"1.2.3.4:deny:",
                "1:13: \",\" or the end of the line is expected",
            ),
            (
                b"1.2.3.4:deny\r\n",
                "1:13: a carriage return; a line ends with a line feed alone",
            ),
            (
                b":allow,A=\"b\"\r\n",
                "1:13: a carriage return; a line ends with a line feed alone",
            ),
            (
                b"# ok\r\n\r\n",
                "2:1: a carriage return; a line ends with a line feed alone",
            ),
            (b":deny\rX", "1:6: \",\" or the end of the line is expected"),
            (
                b"\xef\xbb\xbf# x\n:deny",
                "1:1: a byte order mark; the file is expected to begin with the first rule",
            ),
            (b"1.2.3.4:deny,", "1:14: VAR=\"VALUE\" is expected"),
            (b"1.2.3.4:deny,A", "1:14: VAR=\"VALUE\" is expected"),
            (b"1.2.3.4:deny,=\"x\"", "1:14: a variable's name is missing"),
            (
                b"1.2.3.4:deny,A=",
                "1:16: a value between two marks is expected",
            ),
            (
                b"1.2.3.4:deny,A=\"",
                "1:16: the value's second mark is missing",
            ),
            (
                b":allow,A=\"b\"B=\"c\"",
                "1:13: \",\" or the end of the line is expected",
            ),
            (b":allow,A=\"b\0\"", "1:12: a NUL byte"),
            (
                b":allow\n1.2.3.300:deny",
                "2:7: a number of 0 to 255 without leading zeros is expected",
            ),
            (
                b"2001:db8::deny",
                "1:1: an IPv6 address, or an IPv6 network with a length behind \"/\", is expected",
            ),
            (b"  # x", "1:6: \":allow\" or \":deny\" is missing"),
        ];
        for (text, shown) in table {
            assert_eq!(broken(text), format!("rules:{shown}"));
        }
    }

    #[test]
    fn a_file_is_bounded() {
        let many = "0-255.0.0.1:deny\n".repeat(3906) + "0-255.:deny\n";
        assert_eq!(
            broken(many.as_bytes()),
            "rules:3907:1: this is more than a million addresses"
        );
        let large = vec![b'\n'; super::super::FILE_BYTES + 1];
        let shown = Rules::read(b"a\nb", &large).unwrap_err().shown(b"a\nb");
        assert_eq!(shown, "a?b: more than 16 MiB of rules");
    }

    /// What the one rule of a text sets.
    fn set(text: &str) -> String {
        let rules = read(text.as_bytes()).unwrap();
        let peer = Peer::Inet("1.2.3.4:5".parse().unwrap());
        let facts = PeerFacts {
            peer: &peer,
            host: None,
            ident: None,
        };
        let found = rules.judge(&facts).unwrap();
        let variables = found.variables.iter().map(|variable| {
            let (name, value) = (&variable.name, &variable.value);
            format!(" {}={}", name.escape_ascii(), value.escape_ascii())
        });
        format!("{found}{}", variables.collect::<String>())
    }

    #[test]
    fn instructions_set_variables_between_any_two_marks() {
        let table = [
            ("1.2.3.4:deny", "1.2.3.4:deny"),
            ("1.2.3.4:allow \t", "1.2.3.4:allow"),
            (":allow,A=\"\"", ":allow A="),
            (":allow,A=\"x\",B='y',C=|z|", ":allow A=x B=y C=z"),
            (":allow,A=xyx,B=1,1", ":allow A=y B=,"),
            (":allow,B= c ,A=,\"b\",", ":allow B=c A=\\\"b\\\""),
            (":allow,A=\"a=b,c:deny\"", ":allow A=a=b,c:deny"),
            (":allow,A=\"1\",B=\"2\",A=\"3\"", ":allow B=2 A=3"),
            (":deny,A=\"x\"", ":deny A=x"),
            (":allow,,A B=\"x\"", ":allow ,A B=x"),
        ];
        for (text, shown) in table {
            assert_eq!(set(text), shown, "{text}");
        }
    }
}
