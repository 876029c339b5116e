//! What is added to a connection's variables by others than the kernel: a proxy, a look-up, a rule; pure.

use crate::launch::lookup::Names;
use crate::launch::variables::Variables;
use std::collections::HashSet;
use std::net::SocketAddr;

/// Who announced the connection: the proxy's own address.
pub(crate) fn proxy(proxy: SocketAddr, out: &mut Vec<u8>) {
    Variables(out).address("PROXYREMOTEIP", "PROXYREMOTEPORT", proxy);
}

/// What was looked up.
pub(crate) fn names(names: &Names, out: &mut Vec<u8>) {
    let found = [
        ("TCPREMOTEHOST", &names.remote_host),
        ("TCPLOCALHOST", &names.local_host),
        ("TCPREMOTEINFO", &names.remote_info),
    ];
    for (name, value) in found {
        if let Some(value) = value {
            text(name, value, out);
        }
    }
}

/// A variable whose value is known as text, without NUL.
pub(crate) fn text(name: &str, value: &[u8], out: &mut Vec<u8>) {
    Variables(out).bytes(name, value);
}

/// Variables, each name once, that take the place of those of the same names in `out`.
pub(crate) fn replace<'a>(
    variables: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    out: &mut Vec<u8>,
) {
    // A rule may have thousands.
    let names: HashSet<&[u8]> = variables.clone().map(|(name, _)| name).collect();
    let is_other = |string: &&[u8]| {
        let name = string.split(|byte| *byte == b'=').next();
        name.is_none_or(|name| !names.contains(name))
    };
    let strings = out.split_inclusive(|byte| *byte == 0).filter(is_other);
    *out = strings.flatten().copied().collect();
    for (name, value) in variables {
        for part in [name, b"=", value, b"\0"] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_stands_and_the_others_are_gone() {
        let mut out = b"A=1\0AB=2\0A=3\0C\0".to_vec();
        let pairs: [(&[u8], &[u8]); 3] = [(b"A", b"x=y"), (b"D", b""), (b"B", b"4")];
        replace(pairs.into_iter(), &mut out);
        assert_eq!(out, b"AB=2\0C\0A=x=y\0D=\0B=4\0");
        replace([(&b"D"[..], &b"5"[..])].into_iter(), &mut out);
        assert_eq!(out, b"AB=2\0C\0A=x=y\0B=4\0D=5\0");
    }

    #[test]
    fn a_proxy_is_told_by_its_address() {
        let mut out = Vec::new();
        proxy("[2001:db8::1]:4711".parse().unwrap(), &mut out);
        text("TCPREMOTEHOST", b"a.example", &mut out);
        assert_eq!(
            out,
            b"PROXYREMOTEIP=2001:db8::1\0PROXYREMOTEPORT=4711\0TCPREMOTEHOST=a.example\0"
        );
    }
}
