//! Turns the text format of Prometheus, version 0.0.4, into samples; pure.

/// A line that is neither a comment nor empty.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a str,
    /// Names, and values without escapes.
    pub(crate) labels: Vec<(&'a str, String)>,
    pub(crate) value: f64,
}

impl Sample<'_> {
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Every sample, in order. Lines that are none are left out, timestamps too.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.split('\n').filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' ', '\t'])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample {
        name,
        labels,
        value,
    })
}

/// Labels and what stands behind their `}`.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once('=')?;
        let (value, behind) = unquoted(quoted.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim(), value));
        rest = behind;
    }
}

/// A value without its escapes, and what stands behind its quote. A backslash before another character is itself.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((place, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(place + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels_unescaped() {
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], f64);
        let table: &[Case<'_>] = &[
            ("a 1", "a", &[], 1.0),
            (" a\t1.5e3 1700000000000\r", "a", &[], 1500.0),
            ("a{} 2", "a", &[], 2.0),
            ("a{x=\"y\"} +Inf", "a", &[("x", "y")], f64::INFINITY),
            (
                "a{ x = \"y\" , z=\"}{,=\", } 3",
                "a",
                &[("x", "y"), ("z", "}{,=")],
                3.0,
            ),
            (
                r#"a{x="q\"b\\n\nl\x"} 4"#,
                "a",
                &[("x", "q\"b\\n\nl\\x")],
                4.0,
            ),
            ("a{x=\"\u{e9}\u{1b}\"}5", "a", &[("x", "\u{e9}\u{1b}")], 5.0),
        ];
        for (text, name, labels, value) in table {
            let labels = labels.iter().map(|(name, value)| (*name, (*value).into()));
            let wanted = Sample {
                name,
                labels: labels.collect(),
                value: *value,
            };
            assert_eq!(samples(text).collect::<Vec<_>>(), [wanted], "{text}");
        }
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for junk in [
            "",
            "# TYPE a gauge",
            "a",
            "a x",
            "{x=\"y\"} 1",
            "a{x=\"y\" 1",
            "a{x=\"y} 1",
            "a{x=y} 1",
            "a{x=\"y\\",
            "a{x",
            "a{",
            "\u{e9}",
            "a{x=\"y\"}",
        ] {
            assert_eq!(samples(junk).next(), None, "{junk}");
        }
        assert_eq!(samples("a x\n\na 1\nb").count(), 1);
    }
}
