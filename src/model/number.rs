//! Numbers as words hold them: whole, decimal, nothing else.

/// Digits only, no sign and no blank, consumed whole; `None` for anything else and for what does not fit.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    str::from_utf8(text).ok().filter(digits)?.parse().ok()
}

/// A uid or gid; the highest number is none, since it means "as it is" to chown(2) and setresuid(2).
pub(crate) fn id(text: &str) -> Option<u32> {
    let number = decimal(text.as_bytes())?;
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_numbers() {
        for junk in [
            "",
            " 5",
            "5 ",
            "+5",
            "-5",
            "5x",
            "0x5",
            "5.0",
            "\u{665}",
            "99999999999999999999999",
        ] {
            assert_eq!(decimal(junk.as_bytes()), None, "{junk:?}");
        }
        assert_eq!(decimal(b"\xff"), None);
        assert_eq!([decimal(b"0"), decimal(b"0007")], [Some(0), Some(7)]);
    }

    #[test]
    fn ids_fit_and_are_not_the_one_that_means_none() {
        assert_eq!([id("0"), id("4294967294")], [Some(0), Some(u32::MAX - 1)]);
        assert_eq!(
            [id("4294967295"), id("4294967296"), id("-1"), id("nobody")],
            [None; 4]
        );
    }
}
