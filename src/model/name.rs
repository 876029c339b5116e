//! What skd is called as: its own name, or that of a program whose command line it takes then.

use crate::model::error::{Fatal, Kind};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Name {
    #[default]
    Skd,
    /// onenetd(1).
    OneNetd,
    /// s6-ipcserver-socketbinder.
    SocketBinder,
    /// inetd(8), as OpenBSD and Debian have it.
    Inetd,
}

const OTHERS: [(&str, Name); 3] = [
    ("onenetd", Name::OneNetd),
    ("s6-ipcserver-socketbinder", Name::SocketBinder),
    ("inetd", Name::Inetd),
];

impl Name {
    /// By the first word of a command line, which may be a path.
    pub(crate) fn of(word: &OsStr) -> Self {
        let base = word.as_bytes().rsplit(|byte| *byte == b'/').next();
        let mut others = OTHERS.into_iter();
        let found = others.find(|(name, _)| Some(name.as_bytes()) == base);
        found.map_or(Self::Skd, |(_, name)| name)
    }

    /// What begins each line of the log.
    pub(crate) fn shown(self) -> &'static str {
        let mut others = OTHERS.into_iter();
        let found = others.find(|(_, name)| *name == self);
        found.map_or("skd", |(shown, _)| shown)
    }

    /// What a usage error ends with.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Skd => "try \"skd --help\"",
            Self::OneNetd => "try \"onenetd -h\"",
            Self::SocketBinder => {
                "s6-ipcserver-socketbinder [-d|-D] [-b BACKLOG] [-M|-m] [-a PERMS] [-B] PATH PROG"
            }
            Self::Inetd => "inetd [-dEil] [-R RATE] [-a ADDR] [-q BACKLOG] [FILE]",
        }
    }

    /// The exit code of such an end, as that program has it.
    pub(crate) fn exit_code(self, fatal: &Fatal) -> u8 {
        match (self, fatal.kind) {
            (Self::OneNetd, _) => 20,
            // As a shell has it, and s6's programs.
            (Self::SocketBinder, Kind::Program { is_there: false }) => 127,
            (Self::SocketBinder, Kind::Program { is_there: true }) => 126,
            (Self::Skd | Self::SocketBinder | Self::Inetd, _) => fatal.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_path_is_the_name() {
        let table = [
            ("skd", "skd"),
            ("", "skd"),
            ("inetd/", "skd"),
            ("-inetd", "skd"),
            ("inetd", "inetd"),
            ("/usr/sbin/inetd", "inetd"),
            ("./onenetd", "onenetd"),
            (
                "../x/s6-ipcserver-socketbinder",
                "s6-ipcserver-socketbinder",
            ),
        ];
        for (word, shown) in table {
            assert_eq!(Name::of(OsStr::new(word)).shown(), shown, "{word}");
        }
    }

    #[test]
    fn each_program_has_its_own_exit_codes() {
        let missing = Fatal {
            kind: Kind::Program { is_there: false },
            text: String::new(),
        };
        let ends = [Fatal::usage(""), Fatal::system(""), missing];
        let table = [
            (Name::Skd, [100, 111, 111]),
            (Name::OneNetd, [20, 20, 20]),
            (Name::SocketBinder, [100, 111, 127]),
            (Name::Inetd, [100, 111, 111]),
        ];
        for (name, codes) in table {
            assert_eq!(
                ends.each_ref().map(|end| name.exit_code(end)),
                codes,
                "{name:?}"
            );
        }
    }
}
