//! What is no socket to accept from: FIFOs, message queues, netlink sockets.

use crate::kit::skd::{Skd, field};
use crate::kit::{Folder, probing};
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, sendto, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A FIFO as systemd's ListenFIFO= opens it, and one whose writers come and go.
#[test]
fn a_fifo_starts_a_program_when_there_is_something_to_read() {
    let folder = Folder::new();
    let path = folder.path("fifo");
    mkfifo(path.as_str(), Mode::from_bits_truncate(0o600)).unwrap();
    for flags in [OFlag::O_RDWR, OFlag::O_RDONLY] {
        let fifo = open(path.as_str(), flags | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
        let script = "read line; echo \"$$ $line ${PROTO-no proto}\" >&2";
        let skd = Skd::new("-v sh -c").word(script).listen_fds(vec![fifo]);
        let mut skd = skd.start();
        assert!(
            skd.seen[0].ends_with(&format!("info: listen fifo:{path}")),
            "{:?}",
            skd.seen
        );
        for text in ["one", "two", "three"] {
            // Each a writer of its own, gone at once.
            let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all(format!("{text}\n").as_bytes()).unwrap();
            drop(writer);
            skd.waits_for(&format!(" {text} no proto"));
            let line = skd.waits_for("accept ");
            assert!(
                line.starts_with(&format!("skd: info: accept fifo:{path} pid ")),
                "{line}"
            );
        }
        skd.waits_for_nth("info: end ", 3);
        let before = field(skd.pid(), "voluntary_ctxt_switches").unwrap();
        assert_eq!(skd.status(), "0 accepted 3 denied 0 failed 0");
        let switches = |text: &str| text.parse::<u64>().unwrap();
        let after = field(skd.pid(), "voluntary_ctxt_switches").unwrap();
        assert!(switches(&after) - switches(&before) < 20, "it spins");
        skd.stop();
    }
}

/// As descriptor 0, and left unread: no spinning, and the next program reads it.
#[test]
fn a_pipe_on_stdin_is_read_by_programs() {
    let folder = Folder::new();
    let ready = folder.path("ready");
    let (read, write) = nix::unistd::pipe().unwrap();
    let script = format!("[ -e {ready} ] && read line && echo \"got $line\" >&2");
    let skd = Skd::new("-v -0 sh -c").word(script).descriptor(0, read);
    let mut skd = skd.start();
    let mut write = std::fs::File::from(write);
    let begun = Instant::now();
    write.write_all(b"hello\n").unwrap();
    skd.waits_for_nth("info: accept ", 4);
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    std::fs::write(&ready, "").unwrap();
    skd.waits_for("got hello");
    write.write_all(b"again\n").unwrap();
    skd.waits_for("got again");
    // What a program says may come before what skd says of its start.
    skd.status();
    // The end of all that was to come is nothing to start a program for.
    drop(write);
    let count = skd
        .seen
        .iter()
        .filter(|line| line.contains("info: accept "))
        .count();
    assert!(skd.status().contains(" failed 0"));
    assert_eq!(
        skd.seen
            .iter()
            .filter(|line| line.contains("info: accept "))
            .count(),
        count
    );
    skd.stop();
}

/// A queue of this process's own.
fn message_queue() -> OwnedFd {
    let name = CString::new(format!("/skd-test-{}", std::process::id())).unwrap();
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK;
    let none: *mut libc::mq_attr = std::ptr::null_mut();
    #[allow(unsafe_code, reason = "nix has it behind a feature")]
    // SAFETY: the name ends in NUL and outlives the call; mode and attributes are as O_CREAT wants them.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, none) };
    assert!(queue >= 0);
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: as above; the queue lives as long as it is open.
    unsafe {
        libc::mq_unlink(name.as_ptr())
    };
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the kernel has just made it; nothing else knows of it.
    unsafe {
        OwnedFd::from_raw_fd(queue)
    }
}

pub(crate) fn send_message(queue: &impl AsRawFd, text: &str) {
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the call reads `text.len()` bytes of `text`.
    let sent = unsafe { libc::mq_send(queue.as_raw_fd(), text.as_ptr().cast(), text.len(), 0) };
    assert_eq!(sent, 0);
}

#[test]
fn a_message_queue_starts_a_program_for_what_waits() {
    let queue = message_queue();
    let skd = probing("-v --adopt fd:5", "read-message");
    let mut skd = skd.descriptor(5, queue.try_clone().unwrap()).start();
    assert!(
        skd.seen[0].contains("info: listen mqueue:"),
        "{:?}",
        skd.seen
    );
    for text in ["one", "two", "three", "four", "five", "six"] {
        send_message(&queue, text);
    }
    for text in ["one", "two", "three", "four", "five", "six"] {
        skd.waits_for(&format!(" took {text}"));
    }
    skd.waits_for_nth("info: end ", 6);
    skd.stop();
}

#[test]
fn a_netlink_socket_starts_a_program_for_what_waits() {
    let make = || {
        let protocol = SockProtocol::NetlinkUserSock;
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .unwrap()
    };
    let (receiver, sender) = (make(), make());
    bind(receiver.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
    let address: NetlinkAddr = getsockname(receiver.as_raw_fd()).unwrap();
    let skd = Skd::new("-v sh -c").word("dd count=1 bs=4096 status=none >&2; echo >&2");
    let mut skd = skd.listen_fds(vec![receiver]).start();
    assert_eq!(skd.seen, ["skd: info: listen netlink:descriptor 3"]);
    for text in ["one", "two"] {
        let flags = nix::sys::socket::MsgFlags::empty();
        sendto(sender.as_raw_fd(), text.as_bytes(), &address, flags).unwrap();
        skd.waits_for(text);
    }
    skd.stop();
}
