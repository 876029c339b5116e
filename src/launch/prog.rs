//! PROG: found once, while starting, and kept ready to run.

use crate::launch::plan;
use crate::model::error::{Fatal, Kind};
use crate::model::number;
use crate::model::text::{Quoted, foreign, harmless};
use crate::sys::errno::Errno;
use crate::sys::process;
use crate::sys::program::Program;
use std::ffi::{CString, OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// A program's file and its words.
#[derive(Clone, Debug)]
pub(crate) struct Prog {
    path: CString,
    argv: Vec<CString>,
}

impl Prog {
    /// Looks PROG up in `path` as execvp(3) does: the first file that can be executed.
    ///
    /// # Errors
    /// 111: `unable to run "PROG": REASON`; a file that may not be executed is told of rather than none.
    pub(crate) fn find(words: &[OsString], path: Option<&OsStr>) -> Result<Self, Fatal> {
        let prog = words.first().map_or(OsStr::new(""), |word| word);
        let mut reason = Errno::NOT_FOUND;
        for path in plan::candidates(prog, path) {
            match process::check_executable(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        argv: plan::c_strings(words.iter().cloned()),
                    });
                }
                Err(errno) if errno.says_nothing_is_there() => {}
                Err(errno) => reason = errno,
            }
        }
        let next = words.get(1).map(OsString::as_os_str);
        Err(unable_to_run(prog, next, (reason, reason.to_string())))
    }

    /// A file that needs not be looked for.
    pub(crate) fn at(path: CString, words: impl IntoIterator<Item = OsString>) -> Self {
        let argv = plan::c_strings(words);
        Self { path, argv }
    }

    /// The same file with other words.
    pub(crate) fn with_words(self, words: impl IntoIterator<Item = OsString>) -> Self {
        Self::at(self.path, words)
    }

    /// Its file, for a message.
    pub(crate) fn shown_path(&self) -> String {
        harmless(self.path.to_bytes())
    }

    /// As what every child is started by; `environment` is what all of them get.
    pub(crate) fn ready(self, environment: Vec<(OsString, OsString)>) -> Rc<Program> {
        Rc::new(self.program(environment))
    }

    /// The same for children that lead a session each.
    pub(crate) fn ready_to_lead(self, environment: Vec<(OsString, OsString)>) -> Rc<Program> {
        Rc::new(self.program(environment).leading_session())
    }

    fn program(self, environment: Vec<(OsString, OsString)>) -> Program {
        Program::new(self.path, self.argv, plan::assignments(environment))
    }

    /// execve(2) in our place; `more` are further variables, `NAME=VALUE` each ended by NUL, which take the place of those
    /// of the same name.
    ///
    /// # Errors
    /// It returns only on failure: 111.
    pub(crate) fn become_it(&self, environment: Vec<(OsString, OsString)>, more: &[u8]) -> Fatal {
        let word = |place: usize| Some(OsStr::from_bytes(self.argv.get(place)?.to_bytes()));
        let program = self.clone().program(environment);
        let errno = program.execute(more);
        let reason = (errno, program.reason(errno));
        unable_to_run(word(0).unwrap_or_default(), word(1), reason)
    }
}

/// `next` is the word behind PROG.
fn unable_to_run(prog: &OsStr, next: Option<&OsStr>, (errno, reason): (Errno, String)) -> Fatal {
    let address = match errno {
        Errno::NOT_FOUND => seeming_address(prog, next),
        _ => None,
    };
    let hint = address.map_or(String::new(), |address| {
        format!("; to listen there, --tcp {}", foreign(address.as_bytes()))
    });
    let deed = format!("run {}", Quoted(prog.as_bytes()));
    Fatal {
        kind: Kind::Program {
            is_there: !errno.says_nothing_is_there(),
        },
        ..Fatal::unable(deed, format!("{reason}{hint}"))
    }
}

/// What --tcp would take, if the words look as others take an address: `7000`, `:7000`, `HOST:7000` or, as tcpserver has
/// it, `ADDRESS 7000` and `0 7000`.
fn seeming_address(prog: &OsStr, next: Option<&OsStr>) -> Option<String> {
    let is_port = |word: &str| matches!(number::decimal(word.as_bytes()), Some(0..=65535));
    let prog = prog.to_str()?;
    let next = next.and_then(OsStr::to_str).filter(|next| is_port(next));
    match (prog.parse(), next) {
        (Ok(IpAddr::V4(address)), Some(port)) => return Some(format!("{address}:{port}")),
        (Ok(IpAddr::V6(address)), Some(port)) => return Some(format!("[{address}]:{port}")),
        (Ok(_), None) => return None,
        (Err(_), Some(port)) if prog == "0" => return Some(port.to_owned()),
        (Err(_), _) => {}
    }
    let (host, port) = prog.rsplit_once(':').unwrap_or(("", prog));
    let address = if host.is_empty() { port } else { prog };
    is_port(port).then(|| address.to_owned())
}
