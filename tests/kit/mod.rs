//! Starts the real skd, talks to it over real sockets, and reads what it says.

pub(crate) mod need;
pub(crate) mod net;
pub(crate) mod skd;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// No event that a test waits for takes longer, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The program that tests run as PROG: tests/kit/probe.rs.
pub(crate) fn probe() -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/probe");
    assert!(path.exists(), "{path:?} is built by cargo test");
    path.into_os_string().into_string().unwrap()
}

/// A folder of its own for one test, removed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skd-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }

    /// Writes an executable shell script and returns its path.
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks again and again until `look` has an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        // There is no event to wait for: what is looked at is the kernel's or another process's state.
        std::thread::sleep(Duration::from_millis(2));
    }
}
