//! What a test needs beyond Rust: it is skipped without, and fails under SKD_TEST_NEED=all.

use std::path::Path;

/// Whether we are root. Use as `if !need::root() { return; }`.
pub(crate) fn root() -> bool {
    have("root", nix::unistd::geteuid().is_root())
}

/// Whether a systemd can be booted: root, its files, and a cgroup2 that is mounted somewhere.
pub(crate) fn systemd() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_there = Path::new("/lib/systemd/systemd").exists();
    root()
        && have(
            "systemd and a cgroup2",
            is_there && mounts.contains(" cgroup2 "),
        )
}

/// Whether a program is in PATH.
pub(crate) fn program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    have(
        name,
        path.split(':')
            .any(|folder| Path::new(folder).join(name).exists()),
    )
}

/// Whether there is a file that tests/run has put there.
pub(crate) fn file(what: &str, path: &str) -> bool {
    have(what, Path::new(path).exists())
}

/// Whether there is an IPv6 loopback address.
pub(crate) fn ipv6() -> bool {
    have("IPv6", std::net::TcpListener::bind("[::1]:0").is_ok())
}

/// Whether we may make a network of our own for a test, and furnish it.
pub(crate) fn own_network() -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["-n", "busybox", "ip", "link", "set", "lo", "up"])
        .output();
    have(
        "unshare -n and busybox",
        tried.is_ok_and(|tried| tried.status.success()),
    )
}

/// Whether a process can have a mount namespace of its own, and so files of its own in /etc.
pub(crate) fn mounts() -> bool {
    let made = std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .status();
    have(
        "a mount namespace",
        made.is_ok_and(|status| status.success()),
    )
}

/// Whether control groups can be made that limit this.
pub(crate) fn group(controller: &str) -> bool {
    let what = format!("control groups of {controller}");
    have(&what, crate::kit::group::is_there(controller))
}

/// Whether the kernel has vsock.
pub(crate) fn vsock() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let style = SockType::Stream;
    let made = socket(AddressFamily::Vsock, style, SockFlag::SOCK_CLOEXEC, None);
    have("vsock", made.is_ok())
}

/// Whether the kernel has MPTCP, and lets us use it.
pub(crate) fn mptcp() -> bool {
    have("MPTCP", crate::kit::net::mptcp_socket().is_some())
}

fn have(what: &str, is_there: bool) -> bool {
    if !is_there {
        let all = std::env::var_os("SKD_TEST_NEED").is_some_and(|need| need == "all");
        assert!(!all, "this test needs {what}");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("{test}: skipped, it needs {what}");
    }
    is_there
}
