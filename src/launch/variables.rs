//! Environment variables being written, one behind the other, as execve(2) wants them; pure.

use crate::model::address::UnixName;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// `NAME=VALUE` each ended by NUL. Nothing is allocated while there is room.
pub(super) struct Variables<'a>(pub(super) &'a mut Vec<u8>);

impl Variables<'_> {
    pub(super) fn address(&mut self, ip_name: &str, port_name: &str, address: SocketAddr) {
        self.ip(ip_name, address.ip());
        self.number(port_name, u32::from(address.port()));
    }

    /// RFC 5952 text for IPv6, which is how the standard library shows it: no brackets, no scope.
    pub(super) fn ip(&mut self, name: &str, ip: IpAddr) {
        // Writing to a vector cannot fail.
        let _ = write!(self.0, "{name}={ip}\0");
    }

    pub(super) fn number(&mut self, name: &str, number: u32) {
        // Writing to a vector cannot fail.
        let _ = write!(self.0, "{name}={number}\0");
    }

    pub(super) fn name(&mut self, name: &str, value: Option<&UnixName>) {
        if let Some(value) = value {
            self.begin(name);
            value.show(self.0);
            self.0.push(0);
        }
    }

    /// A value never holds a NUL: it would end the string there.
    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) {
        self.begin(name);
        self.0.extend_from_slice(value);
        self.0.push(0);
    }

    fn begin(&mut self, name: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }
}
