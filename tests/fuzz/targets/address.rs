//! Addresses, and what else is one word on the command line: what is read is shown in a way that is read as the same.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/config"]
mod config {
    pub(crate) mod addr;
    mod number;
}
#[path = "../../../src/model/mod.rs"]
mod model;

use config::addr::{adopt, inet, owner, unix, vsock};
use libfuzzer_sys::fuzz_target;
use model::address::{EVERY_CID, Host, Port, UNIX_NAME_BYTES, UnixName};
use model::error::Fatal;
use model::service::{Adopt, MOST_DESCRIPTORS};
use model::text::harmless;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

fuzz_target!(|bytes: &[u8]| {
    // No word of a command line has a NUL.
    if bytes.contains(&0) {
        return;
    }
    let word = OsStr::from_bytes(bytes);
    one_line(inet("-t", word), |place| {
        let shown = shown(&place);
        assert_eq!(inet("-t", OsStr::new(&shown)).unwrap(), place);
        // Names are as they were typed.
        let (host, port) = &place;
        let host = match host {
            Host::Name(name) => Some(format!("{name}:")),
            Host::V6(_, scope) => scope.as_ref().map(|scope| format!("%{scope}]:")),
            Host::Every | Host::V4(_) => None,
        };
        let port = match port {
            Port::Service(name) => Some(name.clone()),
            Port::Number(_) => None,
        };
        let typed = word.to_str().expect("it was read as text");
        assert!(host.is_none_or(|host| typed.contains(&host)));
        assert!(port.is_none_or(|port| typed.ends_with(&port)));
    });
    if let Some(address) = word
        .to_str()
        .and_then(|text| text.parse::<SocketAddr>().ok())
    {
        // The standard library's parser takes it too, and for the same.
        let (host, port) = inet("-t", word).expect("it is an address");
        assert_eq!(port, Port::Number(address.port()));
        match (host, address) {
            (Host::V4(ip), SocketAddr::V4(theirs)) => assert_eq!(ip, *theirs.ip()),
            (Host::V6(ip, _), SocketAddr::V6(theirs)) => assert_eq!(ip, *theirs.ip()),
            other => panic!("{other:?}"),
        }
    }
    one_line(unix("-l", word), |name| {
        let (UnixName::Path(inside) | UnixName::Abstract(inside)) = &name;
        assert!((1..=UNIX_NAME_BYTES).contains(&inside.len()));
        assert_eq!(name.shown(), bytes);
    });
    one_line(vsock(word), |(cid, port)| {
        assert_ne!(port, u32::MAX);
        let shown = match cid {
            EVERY_CID => format!("*:{port}"),
            cid => format!("{cid}:{port}"),
        };
        assert_eq!(vsock(OsStr::new(&shown)).unwrap(), (cid, port));
    });
    one_line(adopt(word), |what| match &what {
        Adopt::Descriptor(number) => {
            let number = u64::try_from(*number).expect("it is not negative");
            assert!(number <= MOST_DESCRIPTORS);
            assert_eq!(adopt(OsStr::new(&format!("fd:{number}"))).unwrap(), what);
        }
        Adopt::S6(id) => is_behind(id.as_deref(), b"s6", bytes),
        Adopt::ListenFds(name) => is_behind(name.as_deref(), b"listen-fds", bytes),
    });
    one_line(owner("--owner", word), |owner| {
        let group = owner.group.as_ref().map(|group| format!(":{group}"));
        let shown = owner.user.clone() + &group.unwrap_or_default();
        assert!(!owner.user.is_empty() && owner.group != Some(String::new()));
        assert_eq!(shown.as_bytes(), bytes);
    });
});

/// What goes wrong is told in one line that is not long.
fn one_line<T>(read: Result<T, Fatal>, right: impl FnOnce(T)) {
    match read {
        Ok(it) => right(it),
        Err(fatal) => {
            assert_eq!(fatal.exit_code(), 100);
            assert!(harmless(fatal.text.as_bytes()) == fatal.text && fatal.text.len() <= 700);
        }
    }
}

fn shown((host, port): &(Host, Port)) -> String {
    // Behind a colon a `]` is taken for the end of a host.
    if let (Host::Every, Port::Service(name)) = (host, port)
        && name.contains(']')
    {
        return name.clone();
    }
    let host = match host {
        Host::Every => "*".into(),
        Host::V4(ip) => ip.to_string(),
        Host::V6(ip, None) => format!("[{ip}]"),
        Host::V6(ip, Some(scope)) => format!("[{ip}%{scope}]"),
        Host::Name(name) => name.clone(),
    };
    match port {
        Port::Number(port) => format!("{host}:{port}"),
        Port::Service(name) => format!("{host}:{name}"),
    }
}

fn is_behind(detail: Option<&OsStr>, kind: &[u8], word: &[u8]) {
    let detail = detail.map(OsStr::as_bytes);
    assert_ne!(detail, Some(&b""[..]));
    let whole = detail.map_or(kind.to_vec(), |detail| [kind, b":", detail].concat());
    assert_eq!(whole, word);
}
