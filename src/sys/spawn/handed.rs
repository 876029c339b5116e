//! Proves where a real child finds what it is handed. Each has a thread with a descriptor table of its own to come from,
//! so that the descriptor can have any number, the standard ones too.

use super::{Handing, Spawner};
use crate::sys::errno::{Errno, check};
use crate::sys::fork;
use crate::sys::process::Status;
use crate::sys::program::Program;
use crate::sys::signal::Signals;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Writes what it has to the file that REPORT names: descriptors, pid and LISTEN_ variables.
const SCRIPT: &str = "exec 9>\"$REPORT\"
for number in 0 1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 17 18 19 20; do
    if [ -e /proc/$$/fd/$number ]; then echo \"$number $(readlink /proc/$$/fd/$number)\" >&9; fi
done
echo \"pid $$\" >&9
tr '\\0' '\\n' </proc/$$/environ | grep ^LISTEN_ >&9";

const STANDARD: [&str; 3] = ["/dev/zero", "/dev/full", "/dev/null"];
const HANDED: &str = "/dev/random";
/// Something of skd's own that is in the way of the third.
const OWN: &str = "/dev/urandom";

/// Has `path` under this number in this thread, whose descriptor table is its own.
fn open_as(path: &str, number: i32, is_cloexec: bool) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let file = file.into_raw_fd();
    let flags = if is_cloexec { libc::O_CLOEXEC } else { 0 };
    if file != number {
        // SAFETY: the call takes no pointer, and nobody owns what was in this thread's table.
        check(unsafe { libc::dup3(file, number, flags) }).unwrap();
        // SAFETY: as above.
        check(unsafe { libc::close(file) }).unwrap();
    }
}

/// A program that reports to the file `path`.
fn reporter(path: &Path) -> Rc<Program> {
    let words = ["sh", "-c", SCRIPT].map(|word| CString::new(word).unwrap());
    let report = CString::new(format!("REPORT={}", path.display())).unwrap();
    let environment = vec![c"PATH=/usr/bin:/bin".to_owned(), report];
    Rc::new(Program::new(c"/bin/sh".into(), words.into(), environment))
}

/// In a thread whose descriptor table is like skd's: the standard ones open, and everything else close-on-exec.
fn with_own_table<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        // SAFETY: the call takes no pointer; this thread owns no descriptor that another could close.
        check(unsafe { libc::unshare(libc::CLONE_FILES) }).unwrap();
        crate::sys::fd::close_all_but(&[]).unwrap();
        for (number, path) in (0..).zip(STANDARD) {
            open_as(path, number, false);
        }
        open_as(OWN, 3, true);
        deed()
    });
    thread.join().unwrap()
}

/// A child that is handed the descriptor of this number, and has ended: its pid, and why it did not become PROG.
fn hand(number: i32, handing: Handing, report: &Path) -> (i32, Option<Errno>) {
    let program = reporter(report);
    let mut spawner = Spawner::new(Signals::clean(), None).unwrap();
    let mut vacancy = spawner.vacancy().unwrap();
    vacancy.strings().extend_from_slice(b"LISTEN_FDS=1\0");
    // SAFETY: in this thread nobody closes it.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let pid = vacancy.spawn(&program, fd, handing, None).unwrap();
    let ended_well = fork::wait_for(pid);
    let status = if ended_well { 0 } else { 127 };
    let failure = spawner.failure_of(pid, Status::Exit(status));
    assert_eq!(ended_well, failure.is_none());
    (pid, failure)
}

fn report_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("skd-{}-{name}", std::process::id()))
}

#[test]
fn a_child_finds_what_it_is_handed_where_it_is_told_and_nothing_else() {
    for number in [0, 1, 2, 3, 4, 17] {
        for bits in 0..8 {
            let [stdio, stderr, third] = [1, 2, 4].map(|bit| bits & bit != 0);
            let handing = Handing {
                stdio,
                stderr,
                third,
            };
            let path = report_path(&format!("{number}-{bits}"));
            let (pid, failure) = with_own_table({
                let path = path.clone();
                move || {
                    open_as(HANDED, number, true);
                    hand(number, handing, &path)
                }
            });
            assert_eq!(failure, None);
            let heard = fs::read_to_string(&path).unwrap();
            fs::remove_file(path).unwrap();
            let mut expected = String::new();
            for (place, is_handed) in (0..).zip([stdio, stdio, stderr, third]) {
                let own = STANDARD.get(place as usize).filter(|_| place != number);
                if let Some(path) = if is_handed { Some(&HANDED) } else { own } {
                    expected += &format!("{place} {path}\n");
                }
            }
            expected += &format!("pid {pid}\nLISTEN_FDS=1\n");
            if third {
                expected += &format!("LISTEN_PID={pid}\n");
            }
            assert_eq!(heard, expected, "{number} {handing:?}");
        }
    }
}

#[test]
fn a_child_that_cannot_be_handed_its_descriptor_does_not_become_prog() {
    for bits in 1..8 {
        let [stdio, stderr, third] = [1, 2, 4].map(|bit| bits & bit != 0);
        let handing = Handing {
            stdio,
            stderr,
            third,
        };
        let path = report_path(&format!("none-{bits}"));
        let (_, failure) = with_own_table({
            let path = path.clone();
            move || hand(17, handing, &path)
        });
        assert_eq!(failure, Some(Errno(libc::EBADF)), "{handing:?}");
        assert!(!path.exists());
    }
}
